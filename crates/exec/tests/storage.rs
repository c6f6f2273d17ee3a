//! Tables written by the write operator and read back by the scan, against DataFusion's own
//! in-memory tables.

#![cfg(test)]

#[path = "storage/fixture.rs"]
mod fixture;
#[path = "storage/prune.rs"]
mod prune;
#[path = "storage/speed.rs"]
mod speed;

use std::sync::Arc;

use base::SqlState;
use base::ids::ColumnId;
use catalog::{DistStyle, SortKey};
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use self::fixture::{Cluster, Definition, ID, assert_same, random_rows};
use exec::error::from_datafusion;
use exec::placement;
use exec::write::SortBy;

/// One for each kind of predicate, alone and together.
const PREDICATES: &[&str] = &[
    "true",
    "id < 100",
    "id = 77",
    "77 > id",
    "id between 5000 and 6000",
    "id >= 9000 and id < 9001",
    "k in (1, 5, 7)",
    "k not in (1, 2)",
    "k in (1, null)",
    "k is null",
    "k is not null and s = 'red'",
    "s = 'red'",
    "s <> 'blue'",
    "s > 'green'",
    "s in ('red', 'green') and k between 3 and 9",
    "s like 're%'",
    "s like 'red'",
    "s like '%e%'",
    "s not like 'r%'",
    "s ilike 'RE%'",
    "d > 10.50 and d <= 99.99",
    "d = 0.05",
    "d is null or k is null",
    "wide > 12345678901234567890.5",
    "dt >= date '1995-01-01' and dt < date '1995-03-01'",
    "ts > timestamp '2001-01-01 00:00:00'",
    "b",
    "not b",
    "b = true",
    "b is null",
    "f > 0.5",
    "f <= 0.25 and f is not null",
    "r < 0.5",
    "sm = 3",
    "sm = 3 or k = 4",
    "(sm = 3 and s = 'red') or (sm = 4 and s = 'blue')",
    "id % 7 = 3",
    "id % 7 = 3 and s = 'red'",
    "id % 1000 = 3 and id % 7 = 3",
    "c > 'm'",
    "c like 'text of row 77%'",
    "bin = x'4d00'",
    "length(c) > 40",
    "k = 5 and id % 2 = 0 and d is not null",
    "case when k > 3 then s = 'red' else b end",
    "1 = 0",
    "dt < date '1900-01-01'",
];

/// What is selected: all, nothing but a count, some, columns in another order, aggregates.
const OUTPUTS: &[&str] =
    &["*", "count(*)", "s, d", "c, id", "k", "sum(d), min(ts), max(c), count(k)"];

#[tokio::test]
async fn every_predicate_agrees_with_a_naive_filter() {
    let rows = random_rows(20_000, 1);
    for (sort, slices) in [(SortKey::None, 1), (SortKey::Compound(vec![ColumnId(7)]), 4)] {
        let definition = Definition { sort, ..Definition::keyed() };
        let cluster = Cluster::new(slices, slices);
        let table = cluster.load(&definition, &rows, |spec| spec.block_rows = 2_048).await;
        let (ours, naive) = (cluster.session(&[("t", &table)]), cluster.naive("t", &rows));
        for predicate in PREDICATES {
            for output in OUTPUTS {
                let sql = format!("select {output} from t where {predicate}");
                assert_same(&ours, &naive, &sql).await;
            }
        }
    }
}

/// A conjunct guards those after it: only rows that passed it are computed on.
#[tokio::test]
async fn what_can_fail_runs_on_selected_rows_only() {
    let rows = random_rows(10_000, 30);
    let cluster = Cluster::new(1, 1);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    let session = cluster.session(&[("t", &table)]);
    let divided = session.count("select id from t where k <> 0 and 100 / k > 20").await;
    assert_eq!(divided, session.count("select id from t where k between 1 and 4").await);
    let error = session.try_rows("select id from t where 100 / k > 20").await.unwrap_err();
    assert_eq!(from_datafusion(error).sqlstate(), SqlState::DivisionByZero);
}

#[tokio::test]
async fn limits_and_whole_blocks() {
    let rows = random_rows(20_000, 2);
    let cluster = Cluster::new(2, 2);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    let ours = cluster.session(&[("t", &table)]);
    for (sql, expected) in [
        ("select * from t limit 7", 7),
        ("select id from t where k = 3 limit 5", 5),
        ("select id from t where id < 3 limit 50", 3),
        ("select id from t limit 0", 0),
        ("select id from t limit 19999", 19_999),
        ("select 1 from t", 20_000),
    ] {
        let count: usize = ours.rows(sql).await.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(count, expected, "{sql}");
    }
}

#[tokio::test]
async fn every_distribution_gives_every_row_once() {
    let rows = random_rows(10_000, 3);
    let styles = [DistStyle::Even, DistStyle::Key(ID), DistStyle::Key(ColumnId(2)), DistStyle::All];
    for style in styles {
        for (slices, partitions) in [(1, 1), (4, 4), (4, 2)] {
            let cluster = Cluster::new(slices, partitions);
            let definition = Definition { style, ..Definition::keyed() };
            let table = cluster.load(&definition, &rows, |_| {}).await;
            let (ours, naive) = (cluster.session(&[("t", &table)]), cluster.naive("t", &rows));
            assert_same(&ours, &naive, "select * from t").await;
            assert_same(&ours, &naive, "select s, count(*), sum(d) from t group by s").await;
            if style == DistStyle::Even {
                let counts: Vec<u64> =
                    (0..slices).map(|slice| cluster.rows_of_slice(&table, slice)).collect();
                let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
                assert!(spread <= 1, "{counts:?}");
            }
        }
    }
}

#[tokio::test]
async fn placed_rows_are_where_the_hash_says() {
    let rows = random_rows(5_000, 4);
    for key in 1..=12 {
        let cluster = Cluster::new(5, 5);
        let definition = Definition { style: DistStyle::Key(ColumnId(key)), ..Definition::keyed() };
        let table = cluster.load(&definition, &rows, |_| {}).await;
        assert!(table.is_placed());
        let session = cluster.session(&[("t", &table)]);
        let plan = session.plan("select * from t").await;
        for partition in 0..5 {
            let stream = plan.execute(partition, session.context()).unwrap();
            let batches = datafusion::physical_plan::common::collect(stream).await.unwrap();
            for batch in batches {
                let column = batch.column(key as usize - 1).clone();
                let mut slices = Vec::new();
                placement::slices_of(&[column], 5, &mut slices).unwrap();
                assert!(slices.iter().all(|slice| usize::from(*slice) == partition), "{key}");
            }
        }
    }
}

#[tokio::test]
async fn foreign_placement_is_not_declared() {
    let rows = random_rows(2_000, 5);
    let cluster = Cluster::new(2, 2);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    let session = cluster.session(&[("t", &table)]);
    let hashed = |plan: Arc<dyn ExecutionPlan>| format!("{:?}", plan.properties().partitioning);
    assert!(hashed(session.plan("select id, s from t").await).starts_with("Hash"));
    assert!(hashed(session.plan("select s from t").await).starts_with("Unknown"));
    let stale = cluster.with_segments(&table, |segment| segment.placement ^= 2);
    assert!(!stale.is_placed());
    let session = cluster.session(&[("t", &stale)]);
    assert!(hashed(session.plan("select id, s from t").await).starts_with("Unknown"));
    let naive = cluster.naive("t", &rows);
    assert_same(&session, &naive, "select * from t where id in (5, 900)").await;
}

#[tokio::test]
async fn a_row_on_the_wrong_slice_is_refused() {
    let rows = random_rows(1_000, 6);
    let cluster = Cluster::new(2, 2);
    let error = cluster.load_unplaced(&Definition::keyed(), &rows).await.unwrap_err();
    assert!(error.to_string().contains("was sent to slice"), "{error}");
}

#[tokio::test]
async fn co_located_joins_need_no_redistribution() {
    let (left, right) = (random_rows(4_000, 7), random_rows(3_000, 8));
    let cluster = Cluster::new(4, 4);
    let (a, b) = (
        cluster.load(&Definition::keyed(), &left, |_| {}).await,
        cluster.load(&Definition::keyed(), &right, |_| {}).await,
    );
    let ours = cluster.session(&[("a", &a), ("b", &b)]);
    let sql = "select a.id, a.s, b.c from a join b on a.id = b.id where b.k > 2";
    let text = ours.explain(sql).await;
    assert!(!text.contains("RepartitionExec"), "{text}");
    let naive = cluster.naive("a", &left);
    naive.add("b", &right);
    assert_same(&ours, &naive, sql).await;
    assert_same(&ours, &naive, "select id, count(*) from a group by id").await;
    let text = ours.explain("select id, count(*) from a group by id").await;
    assert!(!text.contains("RepartitionExec"), "{text}");
}

#[tokio::test]
async fn order_is_declared_only_when_true() {
    let rows = random_rows(9_000, 9);
    let by_id = Definition { sort: SortKey::Compound(vec![ID]), ..Definition::keyed() };
    let sql = "select id, c from t order by id limit 100";
    for (slices, partitions) in [(2, 2), (4, 2), (4, 1)] {
        let cluster = Cluster::new(slices, partitions);
        let naive = cluster.naive("t", &rows);
        let table = cluster.load(&by_id, &rows, |spec| spec.block_rows = 1_024).await;
        let session = cluster.session(&[("t", &table)]);
        assert!(!session.explain(sql).await.contains("SortExec"));
        session.assert_ordered("select id, c from t", "id").await;
        assert_same(&session, &naive, sql).await;

        // Segments that overlap are in no order together.
        let overlapping = cluster.load_more(&table, &by_id, &random_rows(500, 10)).await;
        let session = cluster.session(&[("t", &overlapping)]);
        assert!(session.explain(sql).await.contains("SortExec"));

        // Runs of rows that come in order follow one another.
        let narrow = |spec: &mut exec::write::WriteSpec| spec.run_bytes = 200_000;
        let ordered = cluster.sorted_by_id(&rows);
        let table = cluster.load(&by_id, &ordered, narrow).await;
        assert!(table.segments().len() > slices as usize);
        let session = cluster.session(&[("t", &table)]);
        assert!(!session.explain(sql).await.contains("SortExec"));
        session.assert_ordered("select id, c from t", "id").await;
        assert_same(&session, &naive, "select * from t where k = 3").await;
    }
    let cluster = Cluster::new(2, 2);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    assert!(cluster.session(&[("t", &table)]).explain(sql).await.contains("SortExec"));
}

#[tokio::test]
async fn runs_and_segments_stay_within_their_limits() {
    let rows = random_rows(30_000, 11);
    let cluster = Cluster::new(1, 1);
    let naive = cluster.naive("t", &rows);
    let by_date = Definition { sort: SortKey::Compound(vec![ColumnId(7)]), ..Definition::keyed() };
    let interleaved = SortKey::Interleaved(vec![ColumnId(2), ColumnId(7)]);
    let interleaved = Definition { sort: interleaved, ..Definition::keyed() };
    for definition in [&Definition::keyed(), &by_date, &interleaved] {
        let table = cluster
            .load(definition, &rows, |spec| {
                spec.run_bytes = 1_000_000;
                spec.segment_bytes = 100_000;
                spec.block_rows = 1_024;
            })
            .await;
        let segments = table.segments();
        assert!(segments.len() > 3);
        assert!(segments.iter().all(|segment| segment.bytes < 300_000));
        let sorted = matches!(table.table().sort_key, SortKey::Compound(_));
        assert!(segments.iter().all(|segment| segment.sorted == sorted));
        let session = cluster.session(&[("t", &table)]);
        assert_same(&session, &naive, "select * from t where k < 4").await;
    }
    let limited = Cluster::limited(1, 1, 3 << 20);
    let table = limited.load(&by_date, &rows, |_| {}).await;
    assert!(table.segments().len() > 1, "memory ends a run early");
    let session = limited.session(&[("t", &table)]);
    assert_same(&session, &naive, "select * from t").await;
    assert_eq!(limited.reserved(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_segment_is_said() {
    let rows = random_rows(3_000, 12);
    let cluster = Cluster::new(1, 1);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    let path = Path::from(table.segments()[0].path.as_str());
    let session = cluster.session(&[("t", &table)]);
    let whole = cluster.store().get(&path).await.unwrap().bytes().await.unwrap();

    let mut damaged = whole.to_vec();
    damaged[100] ^= 0x10;
    cluster.store().put(&path, damaged.into()).await.unwrap();
    let error = from_datafusion(session.try_rows("select * from t").await.unwrap_err());
    assert_eq!(error.sqlstate(), SqlState::DataCorrupted);
    assert!(error.message().contains(path.as_ref()), "{error}");

    cluster.clear_cache();
    cluster.store().put(&path, whole.slice(..whole.len() / 2).into()).await.unwrap();
    let error = from_datafusion(session.try_rows("select * from t").await.unwrap_err());
    assert!(matches!(error.sqlstate(), SqlState::DataCorrupted | SqlState::IoError), "{error:?}");

    cluster.store().delete(&path).await.unwrap();
    let error = from_datafusion(session.try_rows("select * from t").await.unwrap_err());
    assert_eq!(error.sqlstate(), SqlState::DataCorrupted);

    let bare = cluster.without_storage(&[("t", &table)]);
    let error = from_datafusion(bare.try_rows("select * from t").await.unwrap_err());
    assert_eq!(error.sqlstate(), SqlState::InternalError);
    assert!(error.message().contains("no storage"), "{error}");
}

#[tokio::test]
async fn nulls_are_refused_where_the_table_refuses_them() {
    let rows = random_rows(1_000, 13);
    let cluster = Cluster::new(1, 1);
    let strict = Definition { strict: Some(ColumnId(2)), ..Definition::keyed() };
    let error = from_datafusion(cluster.try_load(&strict, &rows, |_| {}).await.unwrap_err());
    assert_eq!(error.sqlstate(), SqlState::NotNullViolation);
}

#[tokio::test]
async fn columns_added_later_read_as_their_fill() {
    let rows = random_rows(3_000, 14);
    let cluster = Cluster::new(2, 2);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    let wider = cluster.with_column(&table, "added", None);
    let session = cluster.session(&[("t", &wider)]);
    for (sql, expected) in [
        ("select id from t where added is null", 3_000),
        ("select id from t where added = 5", 0),
        ("select added from t where id < 10 and added is null", 10),
    ] {
        assert_eq!(session.count(sql).await, expected, "{sql}");
    }
    let filled = cluster.with_column(&table, "added", Some(5));
    let session = cluster.session(&[("t", &filled)]);
    for (sql, expected) in [
        ("select id from t where added is null", 0),
        ("select id from t where added = 5", 3_000),
        ("select id from t where added + id = 9", 1),
        ("select id from t where added > 5", 0),
    ] {
        assert_eq!(session.count(sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn identity_values_are_unique_over_loads() {
    let rows = random_rows(5_000, 15);
    let cluster = Cluster::new(4, 4);
    let fill =
        |base| exec::write::IdentityFill { column: 0, seed: 1, step: 1, base, only_nulls: false };
    let even = Definition { style: DistStyle::Even, ..Definition::keyed() };
    let first = cluster.load(&even, &rows, |spec| spec.identity = vec![fill(0)]).await;
    let segments: Vec<_> = first.segments().iter().map(|s| s.as_ref().clone()).collect();
    let next = exec::write::next_identity_bases(0, &segments, 4);
    let second =
        cluster.load_with(&first, &even, &rows, |spec| spec.identity = vec![fill(next)]).await;
    let session = cluster.session(&[("t", &second)]);
    assert_eq!(session.count("select distinct id from t").await, 10_000);
    assert_eq!(session.count("select id from t where id >= 1").await, 10_000);
}

#[tokio::test]
async fn arrival_order_is_kept_without_a_sort_key() {
    let rows = random_rows(5_000, 16);
    let cluster = Cluster::new(1, 1);
    let even = Definition { style: DistStyle::Even, ..Definition::keyed() };
    let table = cluster.load(&even, &rows, |spec| assert_eq!(spec.sort, SortBy::Arrival)).await;
    let session = cluster.session(&[("t", &table)]);
    session.assert_ordered("select id from t", "id").await;
}
