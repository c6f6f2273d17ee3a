//! Files of every format version stay readable, and the writer keeps writing the same bytes.
//!
//! `BLUESHIFT_BLESS=1` writes the files anew; only a change of `WRITER_VERSION` justifies it, and
//! a file of an older format version is never written again.

use std::path::PathBuf;

use arrow_array::{ArrayRef, RecordBatch};
use base::SqlType;
use bytes::Bytes;
use columnar::inspect::block_bytes;
use columnar::*;

use super::rows::*;

fn path(name: &str) -> PathBuf {
    // From the folder of the package, in which tests run.
    PathBuf::from("../../tests/golden/segments").join(name)
}

/// Every type in every shape, with and without NULLs, two blocks.
fn rows() -> (Vec<(SqlType, Option<Encode>)>, RecordBatch) {
    let mut dice = Dice(2_026);
    let mut columns: Vec<(SqlType, ArrayRef)> = Vec::new();
    for sql_type in TYPES {
        for shape in 0..SHAPES {
            columns.push((*sql_type, array(*sql_type, 1_400, shape, shape % 3, &mut dice)));
        }
    }
    (columns.iter().map(|(sql_type, _)| (*sql_type, None)).collect(), batch(columns))
}

fn encode(types: &[(SqlType, Option<Encode>)], rows: &RecordBatch) -> Bytes {
    let options = WriteOptions { block_rows: 1_100, ..WriteOptions::default() };
    let mut writer = SegmentWriter::new(specs(types), options);
    writer.push(rows).unwrap();
    writer.finish().unwrap().to_bytes()
}

fn check(name: &str, fresh: &Bytes, rows: &RecordBatch, same_bytes: bool) {
    if std::env::var_os("BLUESHIFT_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::create_dir_all(path("")).unwrap();
        std::fs::write(path(name), fresh).unwrap();
    }
    let golden = Bytes::from(std::fs::read(path(name)).unwrap());
    assert!(!same_bytes || golden == fresh, "{name}: the writer writes other bytes");
    let footer = Footer::parse(&golden, name).unwrap();
    assert_eq!(footer.rows, rows.num_rows() as u64);
    for (column, expected) in footer.columns.iter().zip(rows.columns()) {
        let mut at = 0;
        for number in 0..column.blocks.len() {
            let bytes = block_bytes(&golden, column, number, name).unwrap();
            let block = Block::open(bytes, column, number, name).unwrap();
            let array = block.decode().unwrap();
            assert_eq!(&array, &expected.slice(at, array.len()), "column {}", column.id);
            at += array.len();
        }
    }
}

#[test]
fn version_1() {
    let (types, rows) = rows();
    check("v1.seg", &encode(&types, &rows), &rows, true);
}

/// ZSTD's own bytes may change with its version: only reading is golden.
#[test]
fn version_1_under_zstd() {
    let (mut types, rows) = rows();
    types.iter_mut().for_each(|(_, encode)| *encode = Some(Encode::Zstd));
    check("v1-zstd.seg", &encode(&types, &rows), &rows, false);
}

#[test]
fn declared_encodings() {
    let (types, rows) = rows();
    for (name, declared) in Encode::ALL {
        let types: Vec<_> = types.iter().map(|(t, _)| (*t, Some(*declared))).collect();
        let file = encode(&types, &rows);
        assert!(inspect::describe(&file, "t").unwrap().contains(&format!("encode {name}")));
    }
}
