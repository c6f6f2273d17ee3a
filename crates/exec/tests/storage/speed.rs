//! How fast scans are: run by hand with `--ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::types::Decimal128Type;
use arrow_array::{
    ArrayRef, Date32Array, Int64Array, PrimitiveArray, RecordBatch, StringViewArray,
};
use arrow_schema::Schema;
use base::SqlType;
use base::ids::ColumnId;
use catalog::{DistStyle, SortKey};

use crate::fixture::{Cluster, Definition, Numbers, Session};

const ROWS: usize = 6_000_000;

fn columns() -> Vec<(&'static str, SqlType)> {
    let decimal = SqlType::Decimal { precision: 15, scale: 2 };
    vec![
        ("l_orderkey", SqlType::BigInt),
        ("l_partkey", SqlType::BigInt),
        ("l_quantity", decimal),
        ("l_extendedprice", decimal),
        ("l_discount", decimal),
        ("l_tax", decimal),
        ("l_returnflag", SqlType::Char(1)),
        ("l_linestatus", SqlType::Char(1)),
        ("l_shipdate", SqlType::Date),
    ]
}

fn batch(first: usize, rows: usize, numbers: &mut Numbers) -> RecordBatch {
    let mut decimal = |low: u64, high: u64, step: u64| -> ArrayRef {
        let value = |_| i128::from((low + numbers.below(high - low + 1)) * step);
        let array = PrimitiveArray::<Decimal128Type>::from_iter_values((0..rows).map(value));
        Arc::new(array.with_precision_and_scale(15, 2).unwrap())
    };
    let quantity = decimal(1, 50, 100);
    let price = decimal(90_000, 10_495_000, 1);
    let (discount, tax) = (decimal(0, 10, 1), decimal(0, 8, 1));
    let dates: Vec<i32> = (0..rows).map(|_| 8_036 + numbers.below(2_526) as i32).collect();
    let flag = |date: &i32| if *date > 9_298 { "N" } else { ["A", "R"][(*date % 2) as usize] };
    let status = |date: &i32| if *date > 9_298 { "O" } else { "F" };
    let keys = (first..first + rows).map(|row| (row / 4) as i64);
    let parts = (0..rows).map(|_| numbers.below(200_000) as i64).collect::<Vec<_>>();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(keys)),
        Arc::new(Int64Array::from(parts)),
        quantity,
        price,
        discount,
        tax,
        Arc::new(StringViewArray::from_iter_values(dates.iter().map(flag))),
        Arc::new(StringViewArray::from_iter_values(dates.iter().map(status))),
        Arc::new(Date32Array::from(dates)),
    ];
    let fields = columns().into_iter().map(|(name, sql_type)| sql_type.field(name, true));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays).unwrap()
}

const QUERIES: &[(&str, &str)] = &[
    ("count decoded", "select count(l_partkey + 0) from t"),
    (
        "four packed ints",
        "select count(*) from (select l_orderkey + 0 a, l_partkey + 0 b, l_shipdate c, l_quantity \
         d from t) where a > 0 and b >= 0",
    ),
    (
        "Q1",
        "select l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), \
         sum(l_extendedprice * (1 - l_discount)), sum(l_extendedprice * (1 - l_discount) * \
         (1 + l_tax)), avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*) \
         from t where l_shipdate <= date '1998-09-02' group by l_returnflag, l_linestatus",
    ),
    (
        "Q6",
        "select sum(l_extendedprice * l_discount) from t where l_shipdate >= date '1994-01-01' \
         and l_shipdate < date '1995-01-01' and l_discount between 0.05 and 0.07 and \
         l_quantity < 24",
    ),
    (
        "Q6 without date",
        "select sum(l_extendedprice * l_discount) from t where l_discount between 0.05 and 0.07 \
         and l_quantity < 24",
    ),
    ("point", "select * from t where l_orderkey = 777777"),
];

async fn best(session: &Session, sql: &str) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        session.rows(sql).await;
        best = best.min(started.elapsed());
    }
    best
}

#[test]
#[ignore = "a measurement, not a check"]
fn scan_throughput() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut numbers = Numbers::new(99);
        let mut rows = Vec::new();
        for first in (0..ROWS).step_by(8_192) {
            rows.push(batch(first, (ROWS - first).min(8_192), &mut numbers));
        }
        let mut cluster = Cluster::limited(2, 2, 8 << 30);
        cluster.write_rows = 8_192;
        for (name, sort) in
            [("unsorted", SortKey::None), ("by date", SortKey::Compound(vec![ColumnId(9)]))]
        {
            let style = DistStyle::Key(ColumnId(1));
            let definition = Definition { style, sort, strict: None };
            let started = Instant::now();
            let table = cluster.load_columns(&columns(), &definition, &rows, |_| {}).await.unwrap();
            let bytes: u64 = table.segments().iter().map(|segment| segment.bytes).sum();
            println!(
                "{name}: load {:?}, {:.1} bytes a row, {} segments",
                started.elapsed(),
                bytes as f64 / ROWS as f64,
                table.segments().len()
            );
            let (ours, memory) = (cluster.session(&[("t", &table)]), cluster.naive("t", &rows));
            for (query, sql) in QUERIES {
                let (ours_time, memory_time) = (best(&ours, sql).await, best(&memory, sql).await);
                let times = ours.counters(sql, &["decode_time", "filter_time"]).await;
                println!(
                    "  {query}: ours {ours_time:?}, MemTable {memory_time:?}; \
                     decode {} ms, filter {} ms",
                    times[0] / 1_000_000,
                    times[1] / 1_000_000
                );
            }
        }
    });
}
