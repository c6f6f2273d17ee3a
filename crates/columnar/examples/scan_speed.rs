//! Values a second, one thread: decoding packed integer columns, filtering, encoding; and the
//! size of TPC-H lineitem.
//!
//! `cargo run --release -p columnar --example scan_speed [scale factor of lineitem]`

#![expect(clippy::expect_used, reason = "a benchmark stops at the first fault")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::types::{Date32Type, Decimal128Type, Int32Type, Int64Type};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, StringViewArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Schema;
use base::SqlType;
use base::ids::ColumnId;
use base::segment::Datum;
use columnar::inspect::block_bytes;
use columnar::{
    Block, ColumnSpec, CompareOp, Footer, Predicate, SegmentWriter, Selection, WriteOptions,
};
use tpchgen::generators::LineItemGenerator;

const DECIMAL: SqlType = SqlType::Decimal { precision: 15, scale: 2 };

/// The time of one run: processor time, where the system tells it, of as many runs as fill a
/// quarter of a second. Other processes on the machine disturb that less than the clock.
fn time_of(mut run: impl FnMut()) -> Duration {
    let (start, wall) = (processor_time(), Instant::now());
    let mut runs = 0;
    while wall.elapsed() < Duration::from_millis(250) {
        run();
        runs += 1;
    }
    let spent = match (start, processor_time()) {
        (Some(start), Some(end)) => end - start,
        _ => wall.elapsed(),
    };
    spent / runs
}

fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn rate(values: usize, time: Duration) -> f64 {
    values as f64 / time.as_secs_f64() / 1e6
}

/// Blocks of one column of a segment.
fn blocks(file: &bytes::Bytes, footer: &Footer, column: usize) -> Vec<Block> {
    let column = &footer.columns[column];
    (0..column.blocks.len())
        .map(|n| {
            let bytes = block_bytes(file, column, n, "bench").expect("a block");
            Block::open(bytes, column, n, "bench").expect("an intact block")
        })
        .collect()
}

fn write(types: &[SqlType], batches: &[RecordBatch]) -> columnar::Encoded {
    let specs = types
        .iter()
        .enumerate()
        .map(|(i, t)| ColumnSpec { id: ColumnId(i as u32), sql_type: *t, encode: None })
        .collect();
    let mut writer = SegmentWriter::new(specs, WriteOptions::default());
    batches.iter().for_each(|batch| writer.push(batch).expect("rows of the right types"));
    writer.finish().expect("a segment")
}

fn batch(types: &[SqlType], arrays: Vec<ArrayRef>) -> RecordBatch {
    let field = |(i, t): (usize, &SqlType)| t.field(format!("c{i}"), false);
    let fields: Vec<_> = types.iter().enumerate().map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
}

fn integers() {
    const ROWS: usize = 65_536 * 8;
    let types = [SqlType::Integer, SqlType::BigInt, SqlType::Date, DECIMAL];
    let mut at = 1_u64;
    let mut dice = move |n: u64| {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (at >> 33) % n
    };
    let mut column = |n: u64| (0..ROWS).map(|_| dice(n)).collect::<Vec<u64>>();
    let a = column(200_000).into_iter().map(|v| v as i32);
    let b = column(6_000_000).into_iter().map(|v| v as i64);
    let c = column(2_500).into_iter().map(|v| v as i32 + 8_000);
    let d = column(10_400_000).into_iter().map(|v| i128::from(v) + 90_000);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(PrimitiveArray::<Int32Type>::from_iter_values(a)),
        Arc::new(PrimitiveArray::<Int64Type>::from_iter_values(b)),
        Arc::new(PrimitiveArray::<Date32Type>::from_iter_values(c)),
        Arc::new(
            PrimitiveArray::<Decimal128Type>::from_iter_values(d).with_data_type(DECIMAL.arrow()),
        ),
    ];
    let rows = batch(&types, arrays);
    let time = time_of(|| drop(black_box(write(&types, std::slice::from_ref(&rows)))));
    println!("encode 4 integer columns: {:.0} M values/s", rate(ROWS * 4, time));
    let file = write(&types, std::slice::from_ref(&rows)).to_bytes();
    let footer = Footer::parse(&file, "bench").expect("a footer");
    let columns: Vec<Vec<Block>> = (0..4).map(|column| blocks(&file, &footer, column)).collect();
    let time = time_of(|| {
        for n in 0..footer.blocks() {
            columns.iter().for_each(|column| drop(black_box(column[n].decode().expect("rows"))));
        }
    });
    println!("decode 4 integer columns: {:.0} M values/s", rate(ROWS * 4, time));
    let open = time_of(|| {
        for column in 0..4 {
            blocks(&file, &footer, column)
                .iter()
                .for_each(|block| drop(black_box(block.decode().expect("rows"))));
        }
    });
    println!("  with opening and checksums: {:.0} M values/s", rate(ROWS * 4, open));
    for (column, sql_type) in types.iter().enumerate() {
        let decode = time_of(|| {
            columns[column].iter().for_each(|b| drop(black_box(b.decode().expect("rows"))));
        });
        let middle = Datum::Int(i128::from([100_000, 3_000_000, 9_000, 5_000_000][column]));
        let predicate = Predicate::Compare { op: CompareOp::Lt, value: middle };
        let filter = time_of(|| {
            for block in &columns[column] {
                let mut selection = Selection::all(block.rows());
                block.filter(&predicate, &mut selection).expect("a selection");
                black_box(selection);
            }
        });
        println!(
            "  {sql_type}: decode {:.0}, {}, filter {:.0} M values/s",
            rate(ROWS, decode),
            without_some(&columns[column]),
            rate(ROWS, filter)
        );
    }
}

/// Decoding where some rows are left out here and there, as deleted ones are.
fn without_some(blocks: &[Block]) -> String {
    let rows = blocks[0].rows();
    let rates = [2, 5, 10].map(|out| {
        let bits: BooleanBuffer = (0..rows).map(|row| row * 7 % 101 >= 101 / out).collect();
        let live = Selection::from_bits(&bits);
        let time = time_of(|| {
            for block in blocks {
                drop(black_box(block.decode_selected(&live).expect("rows")));
            }
        });
        format!("1 of {out} left out {:.0}", rate(rows * blocks.len(), time))
    });
    rates.join(", ")
}

/// TPC-H lineitem sorted by l_shipdate.
fn lineitem(scale: f64) -> (Vec<SqlType>, Vec<RecordBatch>) {
    let types = vec![
        SqlType::BigInt,
        SqlType::BigInt,
        SqlType::BigInt,
        SqlType::Integer,
        DECIMAL,
        DECIMAL,
        DECIMAL,
        DECIMAL,
        SqlType::Char(1),
        SqlType::Char(1),
        SqlType::Date,
        SqlType::Date,
        SqlType::Date,
        SqlType::Char(25),
        SqlType::Char(10),
        SqlType::Varchar(44),
    ];
    let mut items: Vec<_> = LineItemGenerator::new(scale, 1, 1).iter().collect();
    items.sort_by_key(|item| item.l_shipdate);
    let batches = items
        .chunks(8_192)
        .map(|items| {
            macro_rules! numbers {
                ($arrow:ty, $of:expr) => {
                    Arc::new(PrimitiveArray::<$arrow>::from_iter_values(items.iter().map($of)))
                };
            }
            macro_rules! decimals {
                ($of:expr) => {
                    Arc::new(
                        PrimitiveArray::<Decimal128Type>::from_iter_values(items.iter().map($of))
                            .with_data_type(DECIMAL.arrow()),
                    )
                };
            }
            macro_rules! texts {
                ($of:expr) => {
                    Arc::new(StringViewArray::from_iter_values(items.iter().map($of)))
                };
            }
            let arrays: Vec<ArrayRef> = vec![
                numbers!(Int64Type, |i| i.l_orderkey),
                numbers!(Int64Type, |i| i.l_partkey),
                numbers!(Int64Type, |i| i.l_suppkey),
                numbers!(Int32Type, |i| i.l_linenumber),
                decimals!(|i| i128::from(i.l_quantity) * 100),
                decimals!(|i| i128::from(i.l_extendedprice.0)),
                decimals!(|i| i128::from(i.l_discount.0)),
                decimals!(|i| i128::from(i.l_tax.0)),
                texts!(|i| i.l_returnflag),
                texts!(|i| i.l_linestatus),
                numbers!(Date32Type, |i| i.l_shipdate.to_unix_epoch()),
                numbers!(Date32Type, |i| i.l_commitdate.to_unix_epoch()),
                numbers!(Date32Type, |i| i.l_receiptdate.to_unix_epoch()),
                texts!(|i| i.l_shipinstruct),
                texts!(|i| i.l_shipmode),
                texts!(|i| i.l_comment),
            ];
            batch(&types, arrays)
        })
        .collect();
    (types, batches)
}

fn tpch(scale: f64) {
    let (types, batches) = lineitem(scale);
    let encoded = write(&types, &batches);
    let time = time_of(|| drop(black_box(write(&types, &batches))));
    let rows = encoded.rows as usize;
    println!(
        "lineitem at scale {scale}: {rows} rows encoded in {:.2} s ({:.2} M rows/s), \
         {:.2} bytes a row",
        time.as_secs_f64(),
        rate(rows, time),
        encoded.bytes as f64 / rows as f64
    );
    let file = encoded.to_bytes();
    let footer = Footer::parse(&file, "bench").expect("a footer");
    for (column, sql_type) in types.iter().enumerate() {
        let blocks = blocks(&file, &footer, column);
        let decode = time_of(|| {
            blocks.iter().for_each(|block| drop(black_box(block.decode().expect("rows"))));
        });
        let arrays = batches.iter().map(|batch| batch.project(&[column]).expect("a column"));
        let arrays: Vec<RecordBatch> = arrays.collect();
        let types = &types[column..=column];
        let encode = time_of(|| drop(black_box(write(types, &arrays))));
        println!(
            "  column {column} {sql_type}: {:.2} bytes a row, \
             decode {:.0}, encode {:.0} M values/s",
            encoded.columns[column].bytes as f64 / rows as f64,
            rate(rows, decode),
            rate(rows, encode)
        );
    }
}

fn main() {
    integers();
    let scale = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0.2);
    tpch(scale);
}
