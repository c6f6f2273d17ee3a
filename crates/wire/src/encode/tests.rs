//! Whole batches through the encoder.

use std::sync::Arc;

use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    ArrayRef, BooleanArray, Date64Array, Decimal256Array, DictionaryArray, FixedSizeBinaryArray,
    Float32Array, Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch, StringArray,
    Time32SecondArray, TimestampNanosecondArray, UInt32Array,
};
use arrow_buffer::i256;
use arrow_schema::{Field, Schema};

use super::*;

fn written(array: ArrayRef, sql_type: SqlType, format: Format, extension: u8) -> Vec<u8> {
    let field = Field::new("c", array.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
    let column = Column { name: "c".to_owned(), sql_type, origin: None, nullable: true };
    let style = Style { extension, ..Style::default() };
    let mut rows = Rows::new(&batch, &[column], &[format], &style).unwrap();
    let mut out = Vec::new();
    assert_eq!(rows.write(&mut out, 1, usize::MAX).unwrap(), 1);
    let len = u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize;
    assert_eq!((out[0], out.len(), &out[5..7]), (b'D', len + 1, &[0, 1][..]));
    out.split_off(7)
}

fn text(array: ArrayRef, sql_type: SqlType) -> String {
    let out = written(array, sql_type, Format::Text, 0);
    assert_eq!(out[..4], u32::try_from(out.len() - 4).unwrap().to_be_bytes());
    String::from_utf8(out[4..].to_vec()).unwrap()
}

#[test]
fn other_arrow_types_become_what_was_announced() {
    let decimal = SqlType::Decimal { precision: 20, scale: 2 };
    let wide =
        Decimal256Array::from(vec![i256::from(-12_345)]).with_precision_and_scale(50, 3).unwrap();
    let dictionary: DictionaryArray<Int8Type> = vec!["x", "y"].into_iter().collect();
    let bytes = FixedSizeBinaryArray::try_from_iter([[1_u8, 254]].into_iter()).unwrap();
    let cases: Vec<(ArrayRef, SqlType, &str)> = vec![
        (Arc::new(wide), decimal, "-12.35"),
        (Arc::new(Int64Array::from(vec![7])), decimal, "7.00"),
        (Arc::new(dictionary), SqlType::Varchar(4), "x"),
        (Arc::new(LargeStringArray::from(vec!["l"])), SqlType::Text, "l"),
        (Arc::new(StringArray::from(vec!["s"])), SqlType::Char(3), "s  "),
        (Arc::new(UInt32Array::from(vec![u32::MAX])), SqlType::Oid, "4294967295"),
        (Arc::new(bytes), SqlType::Varbyte(2), "01fe"),
        (Arc::new(Date64Array::from(vec![86_400_000])), SqlType::Date, "1970-01-02"),
        (Arc::new(Time32SecondArray::from(vec![3_661])), SqlType::Time, "01:01:01"),
        (
            Arc::new(TimestampNanosecondArray::from(vec![1_500])),
            SqlType::Timestamp,
            "1970-01-01 00:00:00.000001",
        ),
        (Arc::new(BooleanArray::from(vec![true])), SqlType::Integer, "1"),
        (Arc::new(Float32Array::from(vec![0.5])), SqlType::Double, "0.5"),
    ];
    for (array, sql_type, expected) in cases {
        assert_eq!(text(array, sql_type), expected, "{sql_type}");
    }
}

#[test]
fn nulls_have_length_minus_one() {
    let null: ArrayRef = Arc::new(NullArray::new(1));
    for format in [Format::Text, Format::Binary] {
        assert_eq!(written(Arc::clone(&null), SqlType::Unknown, format, 0), [255; 4]);
    }
}

#[test]
fn redshift_decimals_are_integers() {
    let narrow = SqlType::Decimal { precision: 18, scale: 4 };
    let wide = SqlType::Decimal { precision: 19, scale: 0 };
    let one: ArrayRef = Arc::new(Int64Array::from(vec![-1]));
    let out = written(Arc::clone(&one), narrow, Format::Binary, 2);
    assert_eq!(out, [[0, 0, 0, 8].as_slice(), &(-10_000_i64).to_be_bytes()].concat());
    let out = written(Arc::clone(&one), wide, Format::Binary, 2);
    assert_eq!(out, [[0, 0, 0, 16].as_slice(), &(-1_i128).to_be_bytes()].concat());
    let out = written(one, wide, Format::Binary, 1);
    assert_eq!(out, [0, 0, 0, 10, 0, 1, 0, 0, 0x40, 0, 0, 0, 0, 1]);
}

#[test]
fn arrays_print_and_quote() {
    let words: ArrayRef = {
        let mut list =
            arrow_array::builder::ListBuilder::new(arrow_array::builder::StringViewBuilder::new());
        for word in ["a", "", "NULL", "b c", "d\"e\\", "{f}"] {
            list.values().append_value(word);
        }
        list.values().append_null();
        list.append(true);
        Arc::new(list.finish())
    };
    assert_eq!(
        text(words, SqlType::TextArray),
        "{a,\"\",\"NULL\",\"b c\",\"d\\\"e\\\\\",\"{f}\",NULL}"
    );
    let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)])]);
    let numbers: ArrayRef = Arc::new(numbers);
    assert_eq!(text(Arc::clone(&numbers), SqlType::Int4Array), "{1,2}");
    assert_eq!(text(Arc::clone(&numbers), SqlType::Int2Vector), "1 2");
    let out = written(numbers, SqlType::Int2Vector, Format::Binary, 0);
    assert_eq!(
        out[4..],
        [
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0,
            2, 0, 2
        ]
    );
}

#[test]
fn rows_stop_at_either_limit() {
    let array: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let field = Field::new("c", array.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
    let column =
        Column { name: "c".to_owned(), sql_type: SqlType::BigInt, origin: None, nullable: true };
    let mut rows = Rows::new(&batch, &[column], &[Format::Text], &Style::default()).unwrap();
    let mut out = Vec::new();
    assert_eq!(rows.write(&mut out, 3, usize::MAX).unwrap(), 3);
    assert_eq!(rows.write(&mut out, u64::MAX, out_limit()).unwrap(), 1);
    assert_eq!(rows.write(&mut out, u64::MAX, usize::MAX).unwrap(), 6);
    assert!(rows.is_done());
}

/// Three rows of twelve bytes are in the buffer already.
fn out_limit() -> usize {
    37
}
