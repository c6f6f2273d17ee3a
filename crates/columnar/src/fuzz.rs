//! The fuzz target: arbitrary bytes as a segment file.

use bytes::Bytes;

use crate::inspect::{block_bytes, describe};
use crate::{Block, CompareOp, Footer, Predicate, Selection};
use base::segment::Datum;

/// Reads `data` as a whole segment in every way there is. Errors are fine, panics are not.
pub fn fuzz_segment(data: &[u8]) {
    let file = Bytes::copy_from_slice(data);
    let Ok(footer) = Footer::parse(&file, "fuzz") else { return };
    for column in &footer.columns {
        for number in 0..column.blocks.len() {
            let opened = block_bytes(&file, column, number, "fuzz")
                .and_then(|bytes| Block::open(bytes, column, number, "fuzz"));
            if let Ok(block) = opened {
                exercise(&block);
            }
        }
    }
    let _ = describe(&file, "fuzz");
}

/// Decodes and filters a block in every way there is. Errors are fine, panics are not.
pub fn exercise(block: &Block) {
    let rows = block.rows();
    let _ = block.decode();
    let _ = block.decode_range(rows / 3..rows - rows / 3);
    let mut some = Selection::all(rows);
    some.clear_range(0..rows / 2);
    let _ = block.decode_selected(&some);
    for value in [Datum::Int(7), Datum::Float(0.5), Datum::Text("m".into())] {
        for op in [CompareOp::Eq, CompareOp::NotEq, CompareOp::Lt] {
            let mut selection = Selection::all(rows);
            let _ = block.filter(&Predicate::Compare { op, value: value.clone() }, &mut selection);
        }
        let mut selection = Selection::all(rows);
        let _ = block.filter(&Predicate::In(vec![value]), &mut selection);
    }
}
