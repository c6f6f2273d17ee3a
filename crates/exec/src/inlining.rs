//! Few rows as segments inside their descriptors: an INSERT of some rows writes no file.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use base::ids::SliceId;
use base::segment::Segment;
use base::{Error, Result, error};
use columnar::SegmentWriter;

use crate::engine::Engine;
use crate::error::from_datafusion;
use crate::placement;
use crate::write::{IdentityFill, Run, WriteSpec, check_columns};
use crate::writing::WriteTarget;

/// More rows are written as files.
pub const INLINE_ROWS_MAX: usize = 1_000;
/// More encoded bytes are written as files.
pub const INLINE_BYTES_MAX: usize = 64 << 10;

impl Engine {
    /// Encodes few rows on the leader, placed as a write would place them.
    ///
    /// # Errors
    /// 54000 for more than [`INLINE_ROWS_MAX`] rows or [`INLINE_BYTES_MAX`] bytes: then
    /// [`Engine::write`] is the way; otherwise what a write finds wrong with a row.
    pub fn inline_segments(
        &self,
        rows: &[RecordBatch],
        target: &WriteTarget,
    ) -> Result<Vec<Segment>> {
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if count > INLINE_ROWS_MAX {
            return Err(too_much(format!("{count} rows")));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut spec = self.write_spec(target);
        for batch in rows {
            check_columns(&batch.schema(), &spec, 0).map_err(from_datafusion)?;
        }
        let schema = spec.schema();
        let mut rows =
            concat_batches(&schema, rows).map_err(|error| from_datafusion(error.into()))?;
        if let Some(key) = spec.key
            && spec.identity.iter().any(|fill| fill.column == key)
        {
            rows = numbered(rows, &std::mem::take(&mut spec.identity))?;
        }
        let mut segments = Vec::new();
        for (slice, rows) in self.by_slice(rows, &spec)? {
            segments.push(encoded(&spec, rows, slice)?);
        }
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        if bytes > INLINE_BYTES_MAX as u64 {
            return Err(too_much(format!("{bytes} bytes")));
        }
        Ok(segments)
    }

    /// The rows of each slice that gets some.
    fn by_slice(
        &self,
        rows: RecordBatch,
        spec: &WriteSpec,
    ) -> Result<Vec<(Option<SliceId>, RecordBatch)>> {
        if spec.replica {
            return Ok(vec![(None, rows)]);
        }
        let Some(key) = spec.key else {
            return Ok(vec![(Some(self.next_slice()), rows)]);
        };
        let mut slices = Vec::with_capacity(rows.num_rows());
        placement::slices_of(&rows.columns()[key..=key], spec.slices, &mut slices)
            .map_err(from_datafusion)?;
        let mut of_slice: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        for (row, slice) in slices.into_iter().enumerate() {
            of_slice.entry(slice).or_default().push(row as u32);
        }
        if let [slice] = of_slice.keys().copied().collect::<Vec<_>>()[..] {
            return Ok(vec![(Some(SliceId(slice)), rows)]);
        }
        let picked = of_slice.into_iter().map(|(slice, places)| {
            let part = take_record_batch(&rows, &UInt32Array::from(places));
            Ok((Some(SliceId(slice)), part.map_err(|error| from_datafusion(error.into()))?))
        });
        picked.collect()
    }
}

fn too_much(what: String) -> Error {
    error!(ProgramLimitExceeded, "{what} are too much for a segment without a file")
}

/// Rows of which an IDENTITY column decides the slice.
fn numbered(rows: RecordBatch, fills: &[IdentityFill]) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    for fill in fills {
        if let Some(column) = columns.get_mut(fill.column) {
            *column = fill.filled(column, 0, 0, 1)?;
        }
    }
    RecordBatch::try_new(rows.schema(), columns).map_err(|error| from_datafusion(error.into()))
}

fn encoded(spec: &WriteSpec, rows: RecordBatch, slice: Option<SliceId>) -> Result<Segment> {
    let count = rows.num_rows();
    let stored = spec.stored(&spec.schema(), rows, slice, 0).map_err(from_datafusion)?;
    let mut run = Run::default();
    run.push(stored, 0);
    let order = run.order(&spec.sort).map_err(from_datafusion)?;
    let sorted = run.slice(&order, 0, count).map_err(from_datafusion)?;
    let mut writer = SegmentWriter::new(spec.column_specs()?, spec.options());
    writer.push(&sorted)?;
    let encoded = writer.finish()?;
    let bytes: Arc<[u8]> = Arc::from(&*encoded.to_bytes());
    Ok(Segment { inline: Some(bytes), ..spec.descriptor(&encoded, slice, 0) })
}
