//! Tests of `reader`.

use std::io::Cursor;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, Int32Array};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::Schema;
use base::SqlType;

use super::super::{Conversion, Dialect, Quoting, Target};
use super::*;

fn schema(spec: &TextSpec) -> SchemaRef {
    let fields = spec.targets.iter().map(|t| t.sql_type.field(&t.name, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn spec(types: &[SqlType]) -> TextSpec {
    let target = |(i, sql_type): (usize, &SqlType)| Target {
        name: format!("c{i}"),
        sql_type: *sql_type,
        nullable: true,
        fill: Fill::Field(i),
    };
    TextSpec {
        dialect: Dialect {
            delimiter: b'|',
            quoting: Quoting::Text { escape: false, remove_quotes: false },
            fields: types.len(),
            fill: false,
            skip_blank: false,
        },
        conversion: Conversion::default(),
        targets: types.iter().enumerate().map(target).collect(),
        skip_lines: 0,
        batch_rows: 3,
        rejections_max: u64::MAX,
    }
}

fn csv(types: &[SqlType]) -> TextSpec {
    let mut spec = spec(types);
    spec.dialect.delimiter = b',';
    spec.dialect.quoting = Quoting::Csv { quote: b'"' };
    spec
}

/// Arrow prints UTC only with its zone database.
fn without_zone(array: &ArrayRef) -> ArrayRef {
    match array.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(array) => Arc::new(array.clone().with_timezone_opt(None::<&str>)),
        None => Arc::clone(array),
    }
}

fn read_range(spec: &TextSpec, data: &[u8], range: UnitRange) -> (Vec<String>, Outcome) {
    let mut reader = TextReader::new(Arc::new(spec.clone()), schema(spec));
    let mut rows = Vec::new();
    let mut emit = |batch: RecordBatch| {
        let options = FormatOptions::default().with_null("NULL");
        let plain: Vec<ArrayRef> = batch.columns().iter().map(without_zone).collect();
        let columns: Vec<ArrayFormatter<'_>> =
            plain.iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(values.join("|"));
        }
        Ok(true)
    };
    let from = usize::try_from(range.read_from()).unwrap();
    let mut input = Cursor::new(&data[from..]);
    let outcome = reader.read_unit(0, range, &mut input, &mut emit).unwrap();
    (rows, outcome)
}

fn read(spec: &TextSpec, data: &[u8]) -> (Vec<String>, Outcome) {
    read_range(spec, data, UnitRange::WHOLE)
}

/// The code, column, position and reason of the only rejected row.
fn refused(spec: &TextSpec, data: &[u8]) -> (i32, Option<u32>, u32, String) {
    let (_, outcome) = read(spec, data);
    assert_eq!(outcome.rejections.len(), 1, "{outcome:?}");
    let rejection = &outcome.rejections[0];
    (rejection.code, rejection.column, rejection.position, rejection.reason.clone())
}

#[test]
fn every_type() {
    let types = [
        SqlType::Boolean,
        SqlType::SmallInt,
        SqlType::Integer,
        SqlType::BigInt,
        SqlType::Real,
        SqlType::Double,
        SqlType::Decimal { precision: 10, scale: 2 },
        SqlType::Char(5),
        SqlType::Varchar(30),
        SqlType::Date,
        SqlType::Time,
        SqlType::Timestamp,
        SqlType::TimestampTz,
        SqlType::Varbyte(4),
    ];
    let data = b"t|1|2|3|1.5|2.5|12.34|ab   |h\xc3\xa9llo, a long string|1996-01-08|04:05:06|\
                 1996-01-08 04:05:06.5|1996-01-08 04:05:06+01|cafe\n||||||||||||||\n\
                 \\N|\\N|\\N|\\N|\\N|\
                 \\N|\\N|\\N|\\N|\\N|\\N|\\N|\\N|\\N";
    let (rows, outcome) = read(&spec(&types), data);
    assert_eq!(outcome.rejections, []);
    assert_eq!(
        rows,
        [
            "true|1|2|3|1.5|2.5|12.34|ab|héllo, a long string|1996-01-08|04:05:06|\
             1996-01-08T04:05:06.500|1996-01-08T03:05:06|cafe",
            "NULL|NULL|NULL|NULL|NULL|NULL|NULL|||NULL|NULL|NULL|NULL|NULL",
            "NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
        ]
    );
    assert_eq!((outcome.rows, outcome.lines), (3, 3));
}

#[test]
fn bad_rows_are_dropped_and_described() {
    let mut spec = csv(&[SqlType::Integer, SqlType::Varchar(3)]);
    spec.targets[1].nullable = false;
    let data = b"1,one\n2,abcd\nx3,abc\n4\n5,a,b\n\n6,\\N\n7,\"a\nb\"\n9,ok\n10,toolong";
    let (rows, outcome) = read(&spec, data);
    assert_eq!(rows, ["1|one", "7|a\nb", "9|ok"]);
    let seen: Vec<(u64, i32, &str, &str)> = outcome
        .rejections
        .iter()
        .map(|r| (r.line + 1, r.code, r.raw_line.as_str(), r.reason.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (2, 1204, "2,abcd", "String length exceeds DDL length"),
            (3, 1207, "x3,abc", "Invalid digit, Value 'x', Pos 0, Type: Integer"),
            (4, 1214, "4", "Delimiter not found"),
            (5, 1202, "5,a,b", "Extra column(s) found"),
            (6, 1211, "", "Empty line"),
            (7, 1213, "6,\\N", "Missing data for not-null field"),
            (11, 1204, "10,toolong", "String length exceeds DDL length"),
        ]
    );
    assert_eq!(outcome.rejections[0].raw_field, "abcd");
    assert_eq!(outcome.rejections[0].offset, 6);
    assert_eq!((outcome.rows, outcome.rejected, outcome.lines), (3, 7, 11));
}

#[test]
fn reading_stops_at_the_limit_of_rejections() {
    let mut spec = spec(&[SqlType::Integer]);
    spec.rejections_max = 2;
    let data = "x\n1\n2\ny\n3\n4\n5\nz\n".repeat(100);
    let (rows, outcome) = read(&spec, data.as_bytes());
    assert!(outcome.stopped);
    assert_eq!(outcome.rejected, 2);
    assert!(rows.len() < 5);
}

#[test]
fn the_first_bad_column_of_a_row_is_reported() {
    let spec = csv(&[SqlType::Integer, SqlType::Date, SqlType::Integer]);
    let refused = refused(&spec, b"1,1996-13-01,x\n");
    assert_eq!(refused, (1205, Some(1), 0, "Invalid Date Format or value [YYYY-MM-DD]".to_owned()));
}

#[test]
fn null_and_blank_options() {
    let types = [SqlType::Varchar(10), SqlType::Integer];
    let mut with = csv(&types);
    let data = b",1\n  ,2\nNIL,3\n\\N,NIL\n\"\",5\n";
    assert_eq!(read(&with, b",1\n  ,2\n").0, ["|1", "  |2"]);
    with.conversion.null = b"NIL".to_vec();
    assert_eq!(read(&with, data).0, ["|1", "  |2", "NULL|3", "\\N|NULL", "|5"]);
    with.conversion.empty_as_null = true;
    assert_eq!(read(&with, data).0, ["NULL|1", "  |2", "NULL|3", "\\N|NULL", "NULL|5"]);
    with.conversion.blanks_as_null = true;
    assert_eq!(read(&with, data).0[1], "NULL|2");
    with.conversion.blanks_as_null = false;
    with.conversion.trim_blanks = true;
    assert_eq!(read(&with, data).0[1], "|2");
    assert_eq!(read(&with, b" a b  ,1\n").0, [" a b|1"]);
    with.conversion.null = vec![0];
    assert_eq!(read(&with, b"\0,1\n").0, ["NULL|1"]);
    assert_eq!(refused(&with, b"a\0,1\n").0, 1218);
}

#[test]
fn lengths_count_bytes() {
    let mut spec = csv(&[SqlType::Varchar(3), SqlType::Char(3)]);
    assert_eq!(refused(&spec, "éé,a\n".as_bytes()).0, 1204);
    assert_eq!(
        refused(&spec, "a,é\n".as_bytes()),
        (
            1215,
            Some(1),
            0,
            "Multibyte character not supported for CHAR (Hint: try using VARCHAR). \
             Invalid char: c3 a9"
                .to_owned()
        )
    );
    assert_eq!(refused(&spec, b"a,abcd\n").3, "Char length exceeds DDL length");
    assert_eq!(read(&spec, b"a,abc   \n").0, ["a|abc"]);
    spec.conversion.truncate_columns = true;
    assert_eq!(read(&spec, "éé,abcd\n".as_bytes()).0, ["é|abc"]);
}

#[test]
fn invalid_characters() {
    let mut spec = csv(&[SqlType::Varchar(9), SqlType::Integer]);
    let data = b"ok,1\na\xe9b,2\n\xf0\x9f,3\nx\0y,4\n\xed\xa0\x80,5\n";
    let (rows, outcome) = read(&spec, data);
    assert_eq!(rows, ["ok|1"]);
    let reasons: Vec<&str> = outcome.rejections.iter().map(|r| r.reason.as_str()).collect();
    let text = "String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: ";
    assert_eq!(
        reasons,
        [
            format!("{text}e9 62 (error 4)"),
            format!("{text}f0 9f (error 2)"),
            format!("{text}00 (error 3)"),
            format!("{text}ed a0 80 (error 5)"),
        ]
    );
    assert!(outcome.rejections.iter().all(|r| r.code == 1220));
    spec.conversion.replace_invalid = Some(b'?');
    assert_eq!(read(&spec, data).0, ["ok|1", "a?b|2", "??|3", "x?y|4", "???|5"]);
}

#[test]
fn dates_and_formats() {
    let mut spec = csv(&[SqlType::Date, SqlType::Timestamp]);
    let data = b"08.01.1996,821073906\n";
    assert_eq!(refused(&spec, data).0, 1205);
    spec.conversion.set_date_format("DD.MM.YYYY").unwrap();
    assert_eq!(
        refused(&spec, data),
        (1206, Some(1), 0, "Invalid timestamp format or value [YYYY-MM-DD HH24:MI:SS]".to_owned())
    );
    spec.conversion.set_time_format("epochsecs").unwrap();
    assert_eq!(read(&spec, data).0, ["1996-01-08|1996-01-08T04:05:06"]);
    spec.conversion.set_date_format("auto").unwrap();
    spec.conversion.set_time_format("auto").unwrap();
    let rows = read(&spec, b"Jan-08-1996,1996-01-08T04:05:06Z\n").0;
    assert_eq!(rows, ["1996-01-08|1996-01-08T04:05:06"]);
    spec.conversion.accept_any_date = true;
    assert_eq!(read(&spec, b"00/00/00,never\n").0, ["NULL|NULL"]);
    spec.targets[0].nullable = false;
    assert_eq!(refused(&spec, b"00/00/00,never\n").0, 1213);
}

#[test]
fn header_blank_lines_and_byte_order_mark() {
    let mut spec = csv(&[SqlType::Integer, SqlType::Integer]);
    spec.skip_lines = 2;
    spec.dialect.skip_blank = true;
    let data = b"\xef\xbb\xbfa,b,c\nunits\n1,2\r\n\r\n3,4";
    let (rows, outcome) = read(&spec, data);
    assert_eq!(rows, ["1|2", "3|4"]);
    assert_eq!(outcome.lines, 5);
    assert_eq!(read(&spec, b"one line").0, Vec::<String>::new());
    assert_eq!(read(&spec, b"").0, Vec::<String>::new());
}

#[test]
fn fill_record_and_fills() {
    let types = [SqlType::Integer, SqlType::Varchar(5), SqlType::Char(5), SqlType::Integer];
    let mut filled = csv(&types);
    filled.dialect.fill = true;
    assert_eq!(read(&filled, b"1\n2,x\n").0, ["1||NULL|NULL", "2|x|NULL|NULL"]);
    filled.dialect.fill = false;
    filled.dialect.fields = 1;
    filled.targets[0].fill = Fill::Constant(Arc::new(Int32Array::from(vec![None])));
    filled.targets[1].fill = Fill::Field(0);
    filled.targets[2].fill =
        Fill::Constant(Arc::new(arrow_array::StringViewArray::from(vec![None::<&str>])));
    filled.targets[3].fill = Fill::Constant(Arc::new(Int32Array::from(vec![7])));
    let rows = read(&filled, b"a\nb\ntoolong\nc\nd\n").0;
    assert_eq!(rows, ["NULL|a|NULL|7", "NULL|b|NULL|7", "NULL|c|NULL|7", "NULL|d|NULL|7"]);
}

#[test]
fn rounding() {
    let mut spec = csv(&[SqlType::Decimal { precision: 4, scale: 1 }]);
    assert_eq!(read(&spec, b"1.25\n-1.29\n").0, ["1.2", "-1.2"]);
    spec.conversion.round_decimals = true;
    assert_eq!(read(&spec, b"1.25\n-1.29\n").0, ["1.3", "-1.3"]);
    assert_eq!(refused(&spec, b"999.95\n").0, 1222);
}

/// All rows of `data` cut into two units at `at`, when the units fit together.
fn split_rows(spec: &TextSpec, data: &[u8], at: u64) -> Option<(Vec<String>, u64)> {
    let (mut rows, first) = read_range(spec, data, UnitRange { start: 0, end: at });
    let (more, second) = read_range(spec, data, UnitRange { start: at, end: u64::MAX });
    if first.next_record != second.first_record {
        return None;
    }
    rows.extend(more);
    Some((rows, first.lines + second.lines))
}

#[test]
fn a_split_at_every_byte_gives_the_same_rows() {
    let types = [SqlType::Integer, SqlType::Varchar(30)];
    let mut text = spec(&types);
    text.dialect.quoting = Quoting::Text { escape: true, remove_quotes: false };
    let data = b"1|one\n22|two\\\nlines\\\\\n\n333|\\|three\n4|\\\\\\\nfour\n5|end";
    let (whole, outcome) = read(&text, data);
    assert_eq!(whole.len(), 5);
    for at in 1..data.len() as u64 {
        let split = split_rows(&text, data, at);
        assert_eq!(split, Some((whole.clone(), outcome.lines)), "split at {at}");
    }

    let mut quoted = csv(&types);
    quoted.skip_lines = 1;
    let data = b"n,text\n1,\"two\nlines\"\n22,\"a \"\"quoted\"\" word\"\n333,\"x,y\"\r\n4,z\n5,e";
    let (whole, outcome) = read(&quoted, data);
    assert_eq!(whole.len(), 5);
    let mut together = 0;
    // The first unit holds the header; a unit never begins within it in practice.
    for at in 7..data.len() as u64 {
        if let Some(split) = split_rows(&quoted, data, at) {
            assert_eq!(split, (whole.clone(), outcome.lines), "split at {at}");
            together += 1;
        }
    }
    assert!(together > 40, "{together} of {} splits were usable", data.len());
}

#[test]
fn chunks_smaller_than_a_record_and_larger_than_a_read() {
    let types = [SqlType::BigInt, SqlType::Varchar(65_535)];
    let spec = csv(&types);
    let long = "x".repeat(60_000);
    let mut data = String::new();
    for i in 0..60 {
        data.push_str(&format!("{i},{long}\n"));
    }
    let (rows, outcome) = read(&spec, data.as_bytes());
    assert_eq!(rows.len(), 60);
    assert_eq!(outcome.next_record, data.len() as u64);
    for at in [1_u64 << 20, (1 << 20) + 1, 3_000_000, 3_500_000] {
        assert_eq!(split_rows(&spec, data.as_bytes(), at).map(|s| s.0.len()), Some(60));
    }
}

#[test]
fn an_open_quote_over_64_mb_is_an_error() {
    let spec = csv(&[SqlType::Varchar(9)]);
    let mut reader = TextReader::new(Arc::new(spec.clone()), schema(&spec));
    let mut input = Cursor::new(b"\"").chain(std::io::repeat(b'x'));
    let error = reader.read_unit(0, UnitRange::WHOLE, &mut input, &mut |_| Ok(true)).unwrap_err();
    assert_eq!(error.sqlstate(), base::SqlState::ProgramLimitExceeded);
}

#[test]
fn arrays_have_the_types_of_their_columns() {
    let spec = csv(&[SqlType::Decimal { precision: 12, scale: 2 }, SqlType::TimeTz]);
    let mut reader = TextReader::new(Arc::new(spec.clone()), schema(&spec));
    let mut emit = |batch: RecordBatch| {
        assert_eq!(batch.column(0).as_primitive::<Decimal128Type>().value(0), 150);
        assert!(batch.column(1).as_primitive::<Int64Type>().is_valid(0));
        assert!(batch.column(0).as_primitive_opt::<Int32Type>().is_none());
        Ok(true)
    };
    let mut input = Cursor::new(b"1.5,12:00:00+01\n");
    let outcome = reader.read_unit(0, UnitRange::WHOLE, &mut input, &mut emit).unwrap();
    assert_eq!(outcome.rows, 1);
}
