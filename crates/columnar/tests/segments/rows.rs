//! Rows of every type in every shape, and a slow, obvious reading of predicates.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::NullBuffer;
use arrow_schema::{Field, Schema};
use base::SqlType;
use base::ids::ColumnId;
use base::segment::Datum;
use columnar::*;

pub(crate) const TYPES: &[SqlType] = &[
    SqlType::Boolean,
    SqlType::SmallInt,
    SqlType::Integer,
    SqlType::BigInt,
    SqlType::Real,
    SqlType::Double,
    SqlType::Decimal { precision: 12, scale: 2 },
    SqlType::Decimal { precision: 38, scale: 10 },
    SqlType::Char(20),
    SqlType::Varchar(60_000),
    SqlType::Date,
    SqlType::Time,
    SqlType::TimeTz,
    SqlType::Timestamp,
    SqlType::TimestampTz,
    SqlType::Varbyte(60_000),
];

/// Kinds of data: constant, ascending, narrow, anything, few values, runs, round numbers.
pub(crate) const SHAPES: usize = 7;

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn integers(rows: usize, shape: usize, dice: &mut Dice) -> Vec<i128> {
    let start = dice.next() as i64 as i128 / 4;
    let mut at = start;
    (0..rows)
        .map(|row| match shape {
            0 => start,
            1 => {
                at += i128::from(dice.below(5));
                at
            }
            2 => start + i128::from(dice.below(1_000)),
            3 => match dice.below(12) {
                0 => i128::MAX,
                1 => i128::MIN,
                2 => i128::from(i64::MAX),
                3 => i128::from(i64::MIN),
                4 => 0,
                _ => i128::from(dice.next() as i64) * i128::from(dice.next() as i64),
            },
            4 => i128::from(dice.below(7)) * 1_000_003 - 3,
            5 => {
                if dice.below(50) == 0 || row == 0 {
                    at = i128::from(dice.next() as i64);
                }
                at
            }
            _ => i128::from(dice.below(5_000)) * 100,
        })
        .collect()
}

fn doubles(rows: usize, shape: usize, dice: &mut Dice) -> Vec<f64> {
    let odd = [
        f64::NAN,
        -f64::NAN,
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        1e300,
    ];
    integers(rows, shape, dice)
        .into_iter()
        .map(|value| match shape {
            3 => odd[dice.below(8) as usize] * if dice.below(2) == 0 { 1.0 } else { 0.7 },
            2 => (value % 100_000) as f64 / 100.0,
            4 => odd[(value.unsigned_abs() % 8) as usize],
            _ => value as f64,
        })
        .collect()
}

fn texts(rows: usize, shape: usize, dice: &mut Dice) -> Vec<String> {
    const WORDS: &[&str] =
        &["", "the", "slyly", "ironic", "déjà vu", "日本語", "packages", "z", "\u{10FFFF}", " "];
    let sentence = |dice: &mut Dice, n: u64| {
        (0..n).map(|_| WORDS[dice.below(10) as usize]).collect::<Vec<_>>().join(" ")
    };
    let mut held = sentence(dice, 4);
    (0..rows)
        .map(|row| match shape {
            0 => held.clone(),
            1 => format!("customer#{row:09}"),
            2 => WORDS[dice.below(10) as usize].to_owned(),
            3 => match dice.below(200) {
                0 => "x".repeat(dice.below(3_000) as usize),
                n => sentence(dice, n % 9),
            },
            4 => format!("value number {}", dice.below(5)),
            5 => {
                if dice.below(40) == 0 {
                    held = sentence(dice, 3);
                }
                held.clone()
            }
            _ => sentence(dice, 6),
        })
        .collect()
}

/// An array of `rows` values; `nulls`: 0 none, 1 few, 2 most, 3 all.
pub(crate) fn array(
    sql_type: SqlType,
    rows: usize,
    shape: usize,
    nulls: usize,
    dice: &mut Dice,
) -> ArrayRef {
    let valid: Vec<bool> = (0..rows)
        .map(|_| match nulls {
            0 => true,
            1 => dice.below(10) != 0,
            2 => dice.below(10) == 0,
            _ => false,
        })
        .collect();
    let nulls = (nulls != 0).then(|| NullBuffer::from(valid));
    macro_rules! primitive {
        ($arrow:ty, $of:expr) => {{
            let values = integers(rows, shape, dice).into_iter().map($of);
            let array = PrimitiveArray::<$arrow>::from_iter_values(values);
            let array = array.with_data_type(sql_type.arrow());
            Arc::new(
                PrimitiveArray::<$arrow>::new(array.values().clone(), nulls)
                    .with_data_type(sql_type.arrow()),
            )
        }};
    }
    match sql_type {
        SqlType::Boolean => {
            let bits = integers(rows, shape, dice).into_iter().map(|v| v % 2 != 0);
            Arc::new(BooleanArray::new(bits.collect(), nulls))
        }
        SqlType::SmallInt => primitive!(Int16Type, |v| v as i16),
        SqlType::Integer => primitive!(Int32Type, |v| v as i32),
        SqlType::Date => primitive!(Date32Type, |v| v as i32),
        SqlType::BigInt | SqlType::TimeTz => primitive!(Int64Type, |v| v as i64),
        SqlType::Time => {
            primitive!(Time64MicrosecondType, |v| (v as i64).rem_euclid(86_400_000_000))
        }
        SqlType::Timestamp | SqlType::TimestampTz => {
            primitive!(TimestampMicrosecondType, |v| v as i64)
        }
        SqlType::Decimal { precision: 38, .. } => primitive!(Decimal128Type, |v| v),
        SqlType::Decimal { .. } => primitive!(Decimal128Type, |v| v % 1_000_000_000_000),
        SqlType::Real => {
            let values = doubles(rows, shape, dice).into_iter().map(|v| v as f32);
            let array = Float32Array::from_iter_values(values);
            Arc::new(Float32Array::new(array.values().clone(), nulls))
        }
        SqlType::Double => {
            let array = Float64Array::from_iter_values(doubles(rows, shape, dice));
            Arc::new(Float64Array::new(array.values().clone(), nulls))
        }
        SqlType::Varbyte(_) => {
            let texts = texts(rows, shape, dice);
            let array = BinaryViewArray::from_iter_values(texts.iter().map(|t| {
                let mut bytes = t.clone().into_bytes();
                bytes.reverse();
                bytes
            }));
            let (views, buffers, _) = array.into_parts();
            Arc::new(BinaryViewArray::new(views, buffers, nulls))
        }
        _ => {
            let array = StringViewArray::from_iter_values(texts(rows, shape, dice));
            let (views, buffers, _) = array.into_parts();
            Arc::new(StringViewArray::new(views, buffers, nulls))
        }
    }
}

pub(crate) fn batch(columns: Vec<(SqlType, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(i, (sql_type, _))| sql_type.field(format!("c{i}"), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

pub(crate) fn specs(types: &[(SqlType, Option<Encode>)]) -> Vec<ColumnSpec> {
    let spec = |(i, (sql_type, encode)): (usize, &(SqlType, Option<Encode>))| ColumnSpec {
        id: ColumnId(i as u32 + 10),
        sql_type: *sql_type,
        encode: *encode,
    };
    types.iter().enumerate().map(spec).collect()
}

/// The value of a row as statistics and predicates have it; `None` for NULL.
pub(crate) fn datum(array: &dyn Array, row: usize, sql_type: SqlType) -> Option<Datum> {
    if array.is_null(row) {
        return None;
    }
    Some(match sql_type {
        SqlType::Boolean => Datum::Int(array.as_boolean().value(row).into()),
        SqlType::SmallInt => Datum::Int(array.as_primitive::<Int16Type>().value(row).into()),
        SqlType::Integer => Datum::Int(array.as_primitive::<Int32Type>().value(row).into()),
        SqlType::Date => Datum::Int(array.as_primitive::<Date32Type>().value(row).into()),
        SqlType::BigInt | SqlType::TimeTz => {
            Datum::Int(array.as_primitive::<Int64Type>().value(row).into())
        }
        SqlType::Time => {
            Datum::Int(array.as_primitive::<Time64MicrosecondType>().value(row).into())
        }
        SqlType::Timestamp | SqlType::TimestampTz => {
            Datum::Int(array.as_primitive::<TimestampMicrosecondType>().value(row).into())
        }
        SqlType::Decimal { .. } => Datum::Int(array.as_primitive::<Decimal128Type>().value(row)),
        SqlType::Real => Datum::Float(array.as_primitive::<Float32Type>().value(row).into()),
        SqlType::Double => Datum::Float(array.as_primitive::<Float64Type>().value(row)),
        SqlType::Varbyte(_) => Datum::Bytes(array.as_binary_view().value(row).to_vec()),
        _ => Datum::Text(array.as_string_view().value(row).to_owned()),
    })
}

/// The order that the format promises, read naively.
pub(crate) fn order(a: &Datum, b: &Datum) -> std::cmp::Ordering {
    match (a, b) {
        (Datum::Float(a), Datum::Float(b)) => match (a.is_nan(), b.is_nan()) {
            (true, true) => std::cmp::Ordering::Equal,
            (true, false) => std::cmp::Ordering::Greater,
            (false, true) => std::cmp::Ordering::Less,
            _ => a.partial_cmp(b).unwrap(),
        },
        _ => a.partial_cmp(b).unwrap(),
    }
}

pub(crate) fn qualifies(predicate: &Predicate, value: Option<&Datum>) -> bool {
    let Some(value) = value else { return *predicate == Predicate::IsNull };
    match predicate {
        Predicate::IsNull => false,
        Predicate::IsNotNull => true,
        Predicate::Compare { op, value: constant } => {
            let ordering = order(value, constant);
            match op {
                CompareOp::Eq => ordering.is_eq(),
                CompareOp::NotEq => ordering.is_ne(),
                CompareOp::Lt => ordering.is_lt(),
                CompareOp::LtEq => ordering.is_le(),
                CompareOp::Gt => ordering.is_gt(),
                CompareOp::GtEq => ordering.is_ge(),
            }
        }
        Predicate::Between { low, high } => order(value, low).is_ge() && order(value, high).is_le(),
        Predicate::In(values) => values.iter().any(|one| order(value, one).is_eq()),
        Predicate::Prefix(prefix) => match value {
            Datum::Text(text) => text.starts_with(prefix.as_str()),
            Datum::Bytes(bytes) => bytes.starts_with(prefix.as_bytes()),
            _ => panic!("a prefix of a number"),
        },
    }
}
