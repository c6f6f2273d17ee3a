//! Which slice a row belongs to.
//!
//! Owns the one hash by which DISTSTYLE KEY places rows. It is the hash of DataFusion's own
//! `RepartitionExec`, so that a table placed by it lines up with anything the engine
//! redistributes. What was placed under another hash is told apart by the fingerprint. Must not
//! know of plans or files.

use std::sync::{Arc, OnceLock};

use arrow_array::types::{Decimal128Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, PrimitiveArray, StringViewArray, Time64MicrosecondArray,
};
use base::ids::{ColumnId, SliceId};
use base::segment::Segment;
use base::types::UTC;
use datafusion::common::hash_utils::create_hashes;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;

/// The placement mark of a segment whose rows were not placed by a key.
pub const NOT_PLACED: u64 = 0;

/// Appends the slice of each row of `keys` to `slices`.
///
/// # Errors
/// When a key has a type that cannot be hashed.
pub fn slices_of(keys: &[ArrayRef], count: u16, slices: &mut Vec<u16>) -> Result<()> {
    let Some(first) = keys.first() else {
        return Ok(());
    };
    let mut hashes = vec![0; first.len()];
    create_hashes(keys, REPARTITION_RANDOM_STATE.random_state(), &mut hashes)?;
    let count = u64::from(count.max(1));
    slices.extend(hashes.iter().map(|hash| (hash % count) as u16));
    Ok(())
}

/// The slice of one key value.
///
/// # Errors
/// When the value has a type that cannot be hashed.
pub fn slice_of(value: &ScalarValue, count: u16) -> Result<SliceId> {
    let mut slices = Vec::with_capacity(1);
    slices_of(&[value.to_array_of_size(1)?], count, &mut slices)?;
    Ok(SliceId(slices.first().copied().unwrap_or(0)))
}

/// What the running binary's hash makes of a fixed vector of values of every storable type.
///
/// Two binaries with the same fingerprint place every row alike.
pub fn placement_fingerprint() -> u64 {
    static FINGERPRINT: OnceLock<u64> = OnceLock::new();
    *FINGERPRINT.get_or_init(|| {
        let mut fold: u64 = 0xcbf2_9ce4_8422_2325;
        for array in witnesses() {
            let mut hashes = vec![0; array.len()];
            let state = REPARTITION_RANDOM_STATE.random_state();
            // A type that can no longer be hashed changes the fingerprint, which is what it
            // has to do.
            if create_hashes([&array], state, &mut hashes).is_err() {
                hashes.fill(u64::MAX);
            }
            for hash in hashes {
                fold = (fold ^ hash).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
            }
        }
        fold | 1
    })
}

/// The mark of a segment whose rows were placed by the DISTKEY `column` over `slices` slices.
///
/// It binds the fingerprint to the key and the number of slices, so that neither a changed
/// DISTKEY nor a classic resize is taken for the placement that a plan needs.
pub fn placement_mark(column: ColumnId, slices: u16) -> u64 {
    let salt = (u64::from(column.0) << 16) | u64::from(slices);
    let mixed = salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (placement_fingerprint() ^ mixed ^ (mixed >> 29)).max(1)
}

/// True when every segment was placed by the DISTKEY `column` under the running binary's hash.
pub fn is_placed(segments: &[Arc<Segment>], column: ColumnId, slices: u16) -> bool {
    let mark = placement_mark(column, slices);
    segments.iter().all(|segment| segment.placement == mark && segment.slice.is_some())
}

/// Values of every storable type, NULLs and both string representations among them.
fn witnesses() -> Vec<ArrayRef> {
    let decimal = |values: Vec<Option<i128>>, precision, scale| -> ArrayRef {
        let array = PrimitiveArray::<Decimal128Type>::from(values);
        Arc::new(array.clone().with_precision_and_scale(precision, scale).unwrap_or(array))
    };
    let instants = vec![Some(0), Some(-1), Some(1_700_000_000_123_456), None];
    vec![
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(Int16Array::from(vec![Some(0), Some(-7), Some(i16::MAX), None])),
        Arc::new(Int32Array::from(vec![Some(0), Some(-7), Some(i32::MAX), None])),
        Arc::new(Int64Array::from(vec![Some(0), Some(-7), Some(i64::MAX), None])),
        Arc::new(Float32Array::from(vec![Some(0.0), Some(-1.5), Some(f32::MAX), None])),
        Arc::new(Float64Array::from(vec![Some(0.0), Some(-1.5), Some(f64::MAX), None])),
        decimal(vec![Some(0), Some(-12_345), Some(999_999_999), None], 9, 2),
        decimal(vec![Some(1), Some(-1), Some(999_999_999_999_999_999), None], 18, 4),
        decimal(vec![Some(i128::from(i64::MAX) * 1_000), Some(-5), None], 38, 10),
        Arc::new(StringViewArray::from(vec![
            Some(""),
            Some("short"),
            Some("exactly 12 b"),
            Some("a string longer than the twelve bytes kept inline"),
            None,
        ])),
        Arc::new(Date32Array::from(vec![Some(0), Some(-1), Some(19_000), None])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(0), Some(86_399_999_999), None])),
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(instants.clone())),
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(instants).with_timezone(UTC)),
        Arc::new(BinaryViewArray::from(vec![
            Some(&b""[..]),
            Some(&b"\x00\xff"[..]),
            Some(&b"bytes that do not fit into a view"[..]),
            None,
        ])),
    ]
}

#[cfg(test)]
mod tests {
    use arrow_array::{RecordBatch, UInt32Array};
    use arrow_schema::{Field, Schema};
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_plan::repartition::RepartitionExec;
    use datafusion::physical_plan::{ExecutionPlan, Partitioning};
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn fingerprint_is_pinned() {
        // A change here means that tables already stored are no longer co-located.
        assert_eq!(placement_fingerprint(), GOLDEN);
    }

    const GOLDEN: u64 = 16_734_272_564_529_785_059;

    #[test]
    fn marks_differ_by_key_and_slices() {
        let mark = placement_mark(ColumnId(1), 4);
        assert_ne!(mark, placement_mark(ColumnId(2), 4));
        assert_ne!(mark, placement_mark(ColumnId(1), 8));
        assert_ne!(mark, NOT_PLACED);
    }

    #[tokio::test]
    async fn repartition_places_rows_as_we_do() {
        for array in witnesses() {
            for count in [1_u16, 2, 3, 4, 7, 16] {
                let rows = array.len();
                let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows as u32));
                let schema = Arc::new(Schema::new(vec![
                    Field::new("k", array.data_type().clone(), true),
                    Field::new("row", numbers.data_type().clone(), false),
                ]));
                let columns = vec![Arc::clone(&array), numbers];
                let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
                let source =
                    MemorySourceConfig::try_new_exec(&[vec![batch]], Arc::clone(&schema), None);
                let hash = Partitioning::Hash(vec![col("k", &schema).unwrap()], count.into());
                let plan: Arc<dyn ExecutionPlan> =
                    Arc::new(RepartitionExec::try_new(source.unwrap(), hash).unwrap());
                let mut expected = Vec::new();
                slices_of(&[Arc::clone(&array)], count, &mut expected).unwrap();
                let mut seen = 0;
                let context = SessionContext::new().task_ctx();
                for partition in 0..usize::from(count) {
                    let stream = plan.execute(partition, Arc::clone(&context)).unwrap();
                    let batches = datafusion::physical_plan::common::collect(stream).await;
                    for batch in batches.unwrap() {
                        let column = batch.column(1).as_any().downcast_ref::<UInt32Array>();
                        for row in column.unwrap().values() {
                            assert_eq!(usize::from(expected[*row as usize]), partition);
                            seen += 1;
                        }
                    }
                }
                assert_eq!(seen, rows, "{:?} over {count}", array.data_type());
            }
        }
    }

    #[test]
    fn scalar_and_array_agree() {
        for array in witnesses() {
            let mut slices = Vec::new();
            slices_of(&[Arc::clone(&array)], 5, &mut slices).unwrap();
            for (row, slice) in slices.iter().enumerate() {
                let value = ScalarValue::try_from_array(&array, row).unwrap();
                assert_eq!(slice_of(&value, 5).unwrap(), SliceId(*slice));
            }
        }
    }
}
