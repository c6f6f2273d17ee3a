//! Aggregations on vectors against DataFusion's own: random tables, random statements, both ways
//! the same rows.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow_schema::Schema;
use base::SqlType;
use base::ids::ColumnId;
use catalog::{Column, DistStyle, Distribution, SortKey, Table};
use datafusion::catalog::MemTable;
use futures::TryStreamExt;
use object_store::memory::InMemory;

use super::queries::next;
use super::warehouse::{Warehouse, definition};
use super::{config, lines};
use crate::engine::{Cluster, EngineConfig};
use crate::pipeline::SETTING;
use crate::query::QueryContext;
use crate::writing::WriteInput;

const DECIMAL: SqlType = SqlType::Decimal { precision: 15, scale: 2 };
const WIDE: SqlType = SqlType::Decimal { precision: 38, scale: 4 };

/// Columns of the random table; `true` where NULLs are.
const COLUMNS: &[(&str, SqlType, bool)] = &[
    ("id", SqlType::BigInt, false),
    ("k", SqlType::Integer, true),
    ("i", SqlType::SmallInt, true),
    ("big", SqlType::BigInt, true),
    ("d", DECIMAL, false),
    ("e", DECIMAL, true),
    ("w", WIDE, true),
    ("t", SqlType::Date, true),
    ("ts", SqlType::Timestamp, true),
    ("f", SqlType::Double, true),
    ("b", SqlType::Boolean, true),
    ("s", SqlType::Varchar(100), true),
    ("c", SqlType::Varchar(100), false),
];

fn columns() -> Vec<Column> {
    let template = definition(DistStyle::Even, SortKey::None).columns.remove(0);
    let column = |(at, (name, sql_type, nullable)): (usize, &(&str, SqlType, bool))| Column {
        id: ColumnId(at as u32 + 1),
        name: (*name).to_owned(),
        sql_type: *sql_type,
        nullable: *nullable,
        ..template.clone()
    };
    COLUMNS.iter().enumerate().map(column).collect()
}

fn random_table() -> Table {
    let style = DistStyle::Key(ColumnId(1));
    Table {
        columns: columns(),
        next_column: ColumnId(COLUMNS.len() as u32 + 1),
        distribution: Distribution { declared: style, effective: style },
        ..definition(DistStyle::Even, SortKey::None)
    }
}

/// Random rows: few and many different values, runs, extremes and NULLs.
fn random_rows(seed: &mut u32, count: usize) -> RecordBatch {
    let extremes = next(seed).is_multiple_of(3);
    let spread = [2, 40, 3_000][next(seed) as usize % 3];
    let text = |n: u32| match n % 5 {
        0 => String::new(),
        1 => "A".to_owned(),
        2 => format!("a longer text, number {}", n % spread),
        _ => format!("t{}", n % spread),
    };
    let mut some = |null: bool| {
        let value = next(seed);
        (!null || !value.is_multiple_of(6)).then_some(value)
    };
    let mut values: Vec<Vec<Option<u32>>> = Vec::new();
    for (_, _, nullable) in COLUMNS {
        values.push((0..count).map(|_| some(*nullable)).collect());
    }
    let signed = |v: u32| i64::from(v % spread) - i64::from(spread / 2);
    let money = |v: u32| match (extremes, v % 17) {
        (true, 0) => 999_999_999_999_999,
        (true, 1) => -999_999_999_999_999,
        _ => i128::from(v % 100_000) - 1_000,
    };
    let wide = |v: u32| match (extremes, v % 17) {
        (true, 0) => 10_i128.pow(36),
        _ => i128::from(signed(v)) * 1_000_000,
    };
    let big = |v: u32| match (extremes, v % 23) {
        (true, 0) => i64::MAX,
        (true, 1) => i64::MIN,
        _ => signed(v),
    };
    let of = |at: usize| values[at].iter().copied();
    let decimals = |values: &mut dyn Iterator<Item = Option<i128>>, p, s| -> ArrayRef {
        Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(p, s).unwrap())
    };
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter(of(0).map(|v| v.map(i64::from)))),
        Arc::new(Int32Array::from_iter(of(1).map(|v| v.map(|v| signed(v) as i32)))),
        Arc::new(Int16Array::from_iter(of(2).map(|v| v.map(|v| (v % 9) as i16 - 4)))),
        Arc::new(Int64Array::from_iter(of(3).map(|v| v.map(big)))),
        decimals(&mut of(4).map(|v| v.map(money)), 15, 2),
        decimals(&mut of(5).map(|v| v.map(money)), 15, 2),
        decimals(&mut of(6).map(|v| v.map(wide)), 38, 4),
        Arc::new(Date32Array::from_iter(of(7).map(|v| v.map(|v| (v % 20_000) as i32 - 9_000)))),
        Arc::new(TimestampMicrosecondArray::from_iter(of(8).map(|v| v.map(i64::from)))),
        // Halves add up exactly in every order.
        Arc::new(Float64Array::from_iter(of(9).map(|v| v.map(|v| signed(v) as f64 / 2.0)))),
        Arc::new(BooleanArray::from_iter(of(10).map(|v| v.map(|v| v % 3 == 0)))),
        Arc::new(StringViewArray::from_iter(of(11).map(|v| v.map(text)))),
        Arc::new(StringViewArray::from_iter(of(12).map(|v| v.map(|v| text(v % 4))))),
    ];
    let fields = COLUMNS.iter().map(|(name, sql_type, null)| sql_type.field(*name, *null));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), arrays).unwrap()
}

const KEYS: &[&str] = &[
    "id",
    "k",
    "i",
    "big",
    "d",
    "e",
    "w",
    "t",
    "ts",
    "b",
    "s",
    "c",
    "d * 2.5",
    "k IS NULL",
    "CASE WHEN i > 0 THEN s ELSE 'none of these' END",
    "date_part('year', t)",
    "upper(c)",
    "coalesce(k, 0)",
    "b AND k > 3",
    "CASE i WHEN 1 THEN 'one' WHEN 2 THEN 'two' END",
];

const RESULTS: &[&str] = &[
    "count(*)",
    "count(k)",
    "count(s)",
    "count(b)",
    "sum(k)",
    "sum(i)",
    "sum(d)",
    "sum(e)",
    "sum(w / 1000)",
    "sum(f)",
    "avg(d)",
    "avg(e)",
    "avg(k)",
    "avg(f)",
    "min(k)",
    "max(k)",
    "min(big)",
    "max(big)",
    "min(d)",
    "max(e)",
    "min(w)",
    "max(w)",
    "min(t)",
    "max(ts)",
    "sum(d * (1 - e / 10000000))",
    "sum(d * (1 - e))",
    "sum((d + e) * (d - cast(1.5 AS decimal(3, 1))))",
    "sum(CASE WHEN b THEN d ELSE 0 END)",
    "sum(d) FILTER (WHERE i > 0)",
    "count(*) FILTER (WHERE s = 'A' OR b)",
    "avg(CASE WHEN k IN (1, 2, 3) THEN e END)",
    "min(s)",
    "max(f)",
    "count(DISTINCT k)",
    "sum(f * 2 + 1)",
    "sum(-d)",
    // DataFusion takes sums of casts for one column unless something comes on top.
    "sum(cast(k AS decimal(12, 2)) + 0)",
    "sum(cast(i AS double) + 0)",
    "bool_or(b)",
];

const CONDITIONS: &[&str] = &[
    "i > 0",
    "s = 'A'",
    "s <> 'a longer text, number 1'",
    "d BETWEEN 10.00 AND 500.00",
    "t >= DATE '1990-01-01'",
    "b",
    "NOT b",
    "k IN (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)",
    "s NOT IN ('A', 'a longer text, number 2')",
    "d * 2 > e",
    "k IS NULL OR i IS NOT NULL",
    "s LIKE '%1%'",
    "f < 3.5",
    "k + i > 2",
    "id % 7 = 3",
    "NOT (b AND i < 2)",
    "false",
];

fn pick<'a>(seed: &mut u32, from: &[&'a str]) -> &'a str {
    from[next(seed) as usize % from.len()]
}

fn random_statement(seed: &mut u32) -> String {
    let keys: Vec<String> =
        (0..next(seed) % 4).map(|n| format!("{} AS g{n}", pick(seed, KEYS))).collect();
    let results: Vec<String> =
        (0..1 + next(seed) % 5).map(|n| format!("{} AS r{n}", pick(seed, RESULTS))).collect();
    let conditions: Vec<&str> = (0..next(seed) % 3).map(|_| pick(seed, CONDITIONS)).collect();
    let mut sql = format!("SELECT {} FROM ", [keys.clone(), results].concat().join(", "));
    // A LIMIT keeps a filter from reaching the scan.
    sql.push_str(match next(seed) % 3 {
        0 => "(SELECT * FROM r LIMIT 1000000)",
        1 => "(SELECT r.* FROM r JOIN (SELECT DISTINCT i AS j FROM r) ON i = j)",
        _ => "r",
    });
    if !conditions.is_empty() {
        sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    if !keys.is_empty() {
        let places: Vec<String> = (1..=keys.len()).map(|n| n.to_string()).collect();
        sql.push_str(&format!(" GROUP BY {}", places.join(", ")));
    }
    sql
}

fn query(fused: bool) -> QueryContext {
    let value = if fused { "on" } else { "off" };
    let settings = vec![(SETTING.to_owned(), value.to_owned())];
    QueryContext { settings, ..QueryContext::default() }
}

struct Pipelines {
    warehouse: Warehouse,
}

impl Pipelines {
    fn new(nodes: u16, config: EngineConfig) -> Pipelines {
        let store = Arc::new(InMemory::new());
        let cluster = Cluster::Embedded { nodes };
        Pipelines { warehouse: Warehouse::with(config, cluster, store, random_table()) }
    }

    async fn insert(&mut self, rows: RecordBatch) {
        let session = super::session(&self.warehouse.engine, &query(true)).unwrap();
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap();
        session.register_table("rows", Arc::new(table)).unwrap();
        let plan = session.state().create_logical_plan("SELECT * FROM rows").await.unwrap();
        let target = self.warehouse.target();
        let (input, query) = (WriteInput::Plan(plan), query(true));
        let written = self.warehouse.engine.write(input, &target, &query).await.unwrap();
        self.warehouse.add(written.segments);
    }

    async fn run(&self, sql: &str, query: &QueryContext) -> base::Result<(Vec<String>, String)> {
        let engine = &self.warehouse.engine;
        let session = super::session(engine, query).unwrap();
        let table = engine.table(Arc::clone(&self.warehouse.table), self.warehouse.snapshot());
        session.register_table("r", table).unwrap();
        let plan = super::logical(&session, sql).await.unwrap();
        let executable = engine.plan(plan, query).await?;
        let explained = executable.explain_verbose().join("\n");
        let rows: Vec<RecordBatch> = executable.execute()?.try_collect().await?;
        Ok((lines(&rows), explained))
    }

    /// Runs a statement both ways; true when some of it was fused.
    async fn check(&self, sql: &str) -> bool {
        let plain = self.run(sql, &query(false)).await;
        let fused = self.run(sql, &query(true)).await;
        match (plain, fused) {
            (Ok((expected, _)), Ok((rows, explained))) => {
                assert_eq!(rows, expected, "{sql}\n{explained}");
                explained.contains(": fused pipeline")
            }
            (Err(expected), Err(error)) => {
                assert_eq!(error.sqlstate(), expected.sqlstate(), "{sql}: {error} / {expected}");
                true
            }
            (plain, fused) => panic!("{sql}: {plain:?} / {fused:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fused_and_plain_aggregations_agree() {
    let mut fused = 0;
    let mut seed = 11;
    let tables = 8_u16;
    let statements = 60;
    for nodes in (0..tables).map(|table| 1 + table % 2) {
        let mut pipelines = Pipelines::new(nodes, config("pipelines", 2));
        let count = [1, 700, 20_000][next(&mut seed) as usize % 3];
        pipelines.insert(random_rows(&mut seed, count)).await;
        pipelines.insert(random_rows(&mut seed, 1 + count / 2)).await;
        for _ in 0..statements {
            let sql = random_statement(&mut seed);
            fused += usize::from(pipelines.check(&sql).await);
        }
    }
    assert!(fused * 4 > usize::from(tables) * statements, "only {fused} statements were fused");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rows_give_one_row_without_keys_and_none_with() {
    let pipelines = Pipelines::new(1, config("pipelines-empty", 2));
    let none = "SELECT count(*), sum(d), avg(e), min(k) FROM r";
    assert!(pipelines.check(none).await);
    let rows = pipelines.run(none, &query(true)).await.unwrap().0;
    assert_eq!(rows, ["0|NULL|NULL|NULL"]);
    assert!(pipelines.check("SELECT k, count(*) FROM r GROUP BY k").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_beyond_the_memory_limit_are_counted_all_the_same() {
    let with = |name, query_memory_bytes| {
        let config = EngineConfig { query_memory_bytes, ..config(name, 2) };
        Pipelines::new(1, config)
    };
    let mut roomy = with("pipelines-roomy", 1 << 30);
    let mut small = with("pipelines-memory", 6 << 20);
    let mut seed = 5;
    for _ in 0..3 {
        let rows = random_rows(&mut seed, 60_000);
        roomy.insert(rows.clone()).await;
        small.insert(rows).await;
    }
    // Grouped by the distribution key there is one stage, by others two. Text beside two other
    // keys is grouped on vectors only because a scan gives it.
    for (groups, kept) in [
        ("SELECT id, count(*) AS c, sum(d) AS n, avg(e) AS a FROM r GROUP BY id", "min(a), sum(n)"),
        ("SELECT ts, s, count(*) AS c, min(t) AS n FROM r GROUP BY ts, s", "count(s), max(n)"),
        (
            "SELECT id, ts, s, count(f) AS c, max(k) AS n FROM r GROUP BY id, ts, s",
            "count(s), max(n)",
        ),
    ] {
        let sql = format!("SELECT count(*), sum(c), {kept} FROM ({groups})");
        let expected = roomy.run(&sql, &query(false)).await.unwrap().0;
        let (rows, explained) = small.run(&sql, &query(true)).await.unwrap();
        assert_eq!(rows, expected, "{sql}\n{explained}");
        assert!(!explained.contains("not fused"), "{sql}\n{explained}");
    }
}
