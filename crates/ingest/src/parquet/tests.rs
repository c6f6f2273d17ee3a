//! Tests of `parquet`.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int16Type, TimestampMicrosecondType};
use arrow_array::{
    BinaryArray, Decimal128Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use base::SqlType;

use super::convert::{column, compatible};
use super::*;

fn target(sql_type: SqlType) -> Target {
    Target { name: "c".to_owned(), sql_type, nullable: true, fill: Fill::Field(0) }
}

fn converted(source: ArrayRef, sql_type: SqlType) -> ArrayRef {
    assert!(compatible(source.data_type(), sql_type));
    let array = column(&source, &target(sql_type), None).unwrap().unwrap();
    assert_eq!(*array.data_type(), sql_type.arrow());
    array
}

fn misfit(source: ArrayRef, sql_type: SqlType) -> (usize, i32, String) {
    let misfit = column(&source, &target(sql_type), None).unwrap().unwrap_err();
    (misfit.row, misfit.code, misfit.reason)
}

#[test]
fn integers_narrow_when_they_fit() {
    let fits: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None]));
    let array = converted(fits, SqlType::SmallInt);
    assert_eq!(array.as_primitive::<Int16Type>().iter().collect::<Vec<_>>(), [Some(5), None]);
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(40_000)]));
    assert_eq!(
        misfit(wide, SqlType::SmallInt),
        (2, 1222, "Overflow, Value '40000', Type: Short".to_owned())
    );
}

#[test]
fn decimals_keep_their_value() {
    let source = Decimal128Array::from(vec![Some(12_345)]).with_precision_and_scale(10, 2);
    let source: ArrayRef = Arc::new(source.unwrap());
    let wide = converted(Arc::clone(&source), SqlType::Decimal { precision: 18, scale: 4 });
    assert_eq!(wide.as_primitive::<Decimal128Type>().value(0), 1_234_500);
    let same = converted(Arc::clone(&source), SqlType::Decimal { precision: 12, scale: 2 });
    assert_eq!(same.as_primitive::<Decimal128Type>().value(0), 12_345);
    let narrow = misfit(Arc::clone(&source), SqlType::Decimal { precision: 4, scale: 2 });
    assert_eq!((narrow.0, narrow.1), (0, 1222));
    assert!(!compatible(source.data_type(), SqlType::Decimal { precision: 10, scale: 1 }));
}

#[test]
fn strings_are_checked() {
    let source: ArrayRef = Arc::new(StringArray::from(vec![Some("ab  "), None, Some("abcde")]));
    let text = converted(Arc::clone(&source), SqlType::Varchar(5));
    assert_eq!(text.as_string_view().value(0), "ab  ");
    let padded: ArrayRef = Arc::new(StringArray::from(vec!["ab     "]));
    assert_eq!(converted(padded, SqlType::Char(2)).as_string_view().value(0), "ab");
    assert_eq!(misfit(Arc::clone(&source), SqlType::Varchar(4)).1, 1204);
    assert_eq!(misfit(source, SqlType::Char(4)).2, "Char length exceeds DDL length");
    let accents: ArrayRef = Arc::new(StringArray::from(vec!["é"]));
    assert_eq!(misfit(accents, SqlType::Char(4)).1, 1215);
    let zero: ArrayRef = Arc::new(StringArray::from(vec!["a\0"]));
    assert_eq!(misfit(zero, SqlType::Varchar(4)).1, 1220);
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"a\xff"[..]]));
    assert_eq!(misfit(Arc::clone(&bytes), SqlType::Varchar(4)).1, 1220);
    let replaced = column(&bytes, &target(SqlType::Varchar(4)), Some(b'?')).unwrap().unwrap();
    assert_eq!(replaced.as_string_view().value(0), "a?");
}

#[test]
fn timestamps_of_any_unit_and_zone() {
    let source = TimestampNanosecondArray::from(vec![1_500]);
    let with_zone: ArrayRef = Arc::new(source.clone().with_timezone("Europe/Berlin"));
    let array = converted(with_zone, SqlType::TimestampTz);
    assert_eq!(array.as_primitive::<TimestampMicrosecondType>().value(0), 1);
    let array = converted(Arc::new(source), SqlType::Timestamp);
    assert_eq!(array.as_primitive::<TimestampMicrosecondType>().value(0), 1);
}

#[test]
fn nulls_for_a_column_that_takes_none() {
    let source: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let strict = Target { nullable: false, ..target(SqlType::BigInt) };
    let misfit = column(&source, &strict, None).unwrap().unwrap_err();
    assert_eq!((misfit.row, misfit.code), (1, 1213));
}

#[test]
fn types_that_do_not_correspond() {
    for (from, to) in [
        (DataType::Utf8, SqlType::Integer),
        (DataType::Int64, SqlType::Varchar(9)),
        (DataType::Float64, SqlType::Decimal { precision: 9, scale: 2 }),
        (DataType::Date32, SqlType::Timestamp),
        (DataType::Boolean, SqlType::SmallInt),
        (DataType::new_list(DataType::Int32, true), SqlType::Varchar(9)),
    ] {
        assert!(!compatible(&from, to), "{from} to {to}");
    }
}
