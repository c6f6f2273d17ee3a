//! What scans leave out, counted.

use std::sync::Arc;

use base::ids::ColumnId;
use catalog::SortKey;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, DefaultPhysicalProtoConverter,
};

use crate::fixture::{Cluster, Definition, assert_same, random_rows};
use exec::scan::{SegmentScanExec, decode, encode};

const COUNTERS: &[&str] =
    &["segments_read", "blocks_read", "blocks_pruned", "blocks_empty", "rows_scanned"];

fn sorted_by(column: u32) -> Definition {
    Definition { sort: SortKey::Compound(vec![ColumnId(column)]), ..Definition::keyed() }
}

#[tokio::test]
async fn zone_maps_rule_out_blocks() {
    let rows = random_rows(32_768, 20);
    let cluster = Cluster::new(1, 1);
    let table = cluster.load(&sorted_by(1), &rows, |spec| spec.block_rows = 1_024).await;
    let session = cluster.session(&[("t", &table)]);
    let cases: &[(&str, [usize; 5])] = &[
        ("select c from t where id = 5000", [1, 1, 31, 0, 1_024]),
        ("select c from t where id between 2048 and 4095", [1, 2, 30, 0, 2_048]),
        ("select c from t where id in (1, 30000)", [1, 2, 30, 0, 2_048]),
        ("select c from t where id = 10 or id = 32000", [1, 2, 30, 0, 2_048]),
        ("select c from t where (id = 10 and k = 3) or id = 32000", [1, 2, 30, 0, 2_048]),
        ("select c from t where id < 100000", [1, 32, 0, 0, 32_768]),
        ("select c from t where id < 0", [0, 0, 0, 0, 0]),
        ("select c from t where k = 99", [0, 0, 0, 0, 0]),
    ];
    for (sql, expected) in cases {
        assert_eq!(session.counters(sql, COUNTERS).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn the_leader_leaves_segments_out() {
    let rows = random_rows(20_000, 21);
    let cluster = Cluster::new(1, 1);
    let table = cluster
        .load(&sorted_by(1), &rows, |spec| (spec.run_bytes, spec.block_rows) = (400_000, 1_024))
        .await;
    let all = table.segments().len();
    assert!(all > 5);
    let session = cluster.session(&[("t", &table)]);
    for (filter, most) in [("id = 7000", 1), ("id < 200", 1), ("id is null", 0), ("id >= 0", all)] {
        let plan = session.plan(&format!("select c from t where {filter}")).await;
        let scan = find(&plan).expect("a scan");
        let left = scan.segments().len();
        assert!(left <= most && (most == 0 || left > 0), "{filter}: {left} of {all}");
    }
}

#[tokio::test]
async fn a_constant_distkey_names_its_slice() {
    let rows = random_rows(8_000, 22);
    let cluster = Cluster::new(8, 8);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    let session = cluster.session(&[("t", &table)]);
    let plan = session.plan("select c from t where id = 4321").await;
    assert_eq!(find(&plan).unwrap().segments().len(), 1);
    let naive = cluster.naive("t", &rows);
    assert_same(&session, &naive, "select * from t where id = 4321").await;
    assert_same(&session, &naive, "select * from t where id in (1, 2, 3, 7999)").await;
}

#[tokio::test]
async fn covered_predicates_read_no_column() {
    let rows = random_rows(16_384, 23);
    let cluster = Cluster::new(1, 1);
    let table = cluster.load(&sorted_by(1), &rows, |spec| spec.block_rows = 1_024).await;
    let session = cluster.session(&[("t", &table)]);
    let io = ["cache_hits", "cache_misses"];
    // All blocks but one lie inside the range: `id` is read for that one only.
    let counts = session.counters("select sum(k) from t where id >= 100", &io).await;
    assert_eq!(counts, [0, 16 + 1]);
    let counts = session.counters("select sum(k) from t where id >= 100", &io).await;
    assert_eq!(counts, [16 + 1, 0]);
}

#[tokio::test]
async fn blocks_are_read_once_and_then_cached() {
    let rows = random_rows(16_384, 24);
    let cluster = Cluster::new(2, 2);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    let session = cluster.session(&[("t", &table)]);
    let first = session.counters("select * from t", &["bytes_read", "requests"]).await;
    assert!(first[0] > 100_000 && first[1] <= 2 * 3, "{first:?}");
    let second = session.counters("select * from t", &["bytes_read", "requests"]).await;
    assert_eq!(second, [0, 0]);
    // A column alone reads far less than all of them.
    cluster.clear_cache();
    let narrow = session.counters("select sum(k) from t", &["bytes_read"]).await;
    assert!(narrow[0] * 5 < first[0], "{narrow:?} of {first:?}");
}

#[tokio::test]
async fn joins_publish_their_keys_to_the_scan() {
    let rows = random_rows(32_768, 25);
    let few = random_rows(40, 26);
    let cluster = Cluster::new(2, 2);
    let big = cluster.load(&sorted_by(1), &rows, |spec| spec.block_rows = 1_024).await;
    let small = cluster.load(&Definition::keyed(), &few, |_| {}).await;
    let session = cluster.session(&[("big", &big), ("small", &small)]);
    let naive = cluster.naive("big", &rows);
    naive.add("small", &few);
    let sql = "select big.c, small.s from small join big on small.id = big.id where small.k < 6";
    assert_same(&session, &naive, sql).await;
    let text = session.explain(sql).await;
    assert!(text.contains("dynamic_filter"), "{text}");
    let counts = session.counters(sql, &["blocks_pruned", "blocks_read"]).await;
    assert!(counts[0] >= 28 && counts[1] <= 4, "{counts:?}\n{text}");
}

#[tokio::test]
async fn a_top_k_publishes_its_threshold() {
    let rows = random_rows(32_768, 27);
    let cluster = Cluster::new(1, 1);
    let table = cluster.load(&Definition::keyed(), &rows, |spec| spec.block_rows = 1_024).await;
    let session = cluster.session(&[("t", &table)]);
    let naive = cluster.naive("t", &rows);
    // Ids ascend, so that after the first blocks no later one can matter.
    let sql = "select id, c, d from t order by id limit 10";
    assert_same(&session, &naive, sql).await;
    let counts = session.counters(sql, &["blocks_pruned"]).await;
    assert!(counts[0] >= 16, "{counts:?}");
    for sql in [
        "select id, c from t order by d desc, id limit 17",
        "select id, s from t order by s, dt, id limit 40",
        "select id from t where k = 3 order by dt desc nulls last, id limit 5",
    ] {
        assert_same(&session, &naive, sql).await;
    }
}

#[tokio::test]
async fn statistics_answer_and_estimate() {
    let rows = random_rows(10_000, 28);
    let cluster = Cluster::new(2, 2);
    let table = cluster.load(&Definition::keyed(), &rows, |_| {}).await;
    let session = cluster.session(&[("t", &table)]);
    let naive = cluster.naive("t", &rows);
    let sql = "select count(*), count(k), min(id), max(id), min(d), max(dt) from t";
    assert_same(&session, &naive, sql).await;
    let text = session.explain(sql).await;
    assert!(!text.contains("SegmentScanExec"), "answered without a scan: {text}");
    let text = session.explain("select count(*) from t where k = 3").await;
    assert!(text.contains("SegmentScanExec"), "{text}");
}

#[tokio::test]
async fn a_scan_survives_its_way_to_a_node() {
    let rows = random_rows(6_000, 29);
    let cluster = Cluster::new(4, 4);
    let table = cluster.load(&sorted_by(1), &rows, |_| {}).await;
    let session = cluster.session(&[("t", &table)]);
    let sql = "select s, id from t where k in (1, 2, 3) and id % 3 = 1 and d is not null limit 900";
    let plan = session.plan(sql).await;
    let scan = find(&plan).unwrap();
    let (codec, converter) = (DefaultPhysicalExtensionCodec {}, DefaultPhysicalProtoConverter {});
    let context = session.context();
    let mut buffer = Vec::new();
    encode(scan, &mut buffer, &codec, &converter).unwrap();
    let back = decode(&buffer, &context, &codec, &converter).unwrap();
    let text = |plan: &dyn ExecutionPlan| {
        format!(
            "{} {:?}",
            datafusion::physical_plan::displayable(plan).one_line(),
            plan.properties().partitioning
        )
    };
    assert_eq!(text(back.as_ref()), text(scan));
    let mut count = 0;
    for start in [0, 2] {
        let variant = scan.for_slices(start..start + 2).unwrap();
        let mut buffer = Vec::new();
        let variant = variant.downcast_ref::<SegmentScanExec>().unwrap();
        encode(variant, &mut buffer, &codec, &converter).unwrap();
        let variant = decode(&buffer, &context, &codec, &converter).unwrap();
        for partition in 0..2 {
            let stream = variant.execute(partition, Arc::clone(&context)).unwrap();
            let batches = datafusion::physical_plan::common::collect(stream).await.unwrap();
            count += batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
        }
    }
    let naive = cluster.naive("t", &rows);
    let all = "select id from t where k in (1, 2, 3) and id % 3 = 1 and d is not null";
    assert_eq!(count, naive.count(all).await.min(900 * 4));
    assert!(scan.for_slices(1..3).is_err() && scan.for_slices(0..3).is_err());
    assert!(decode(&buffer[..buffer.len() / 2], &context, &codec, &converter).is_err());
}

/// The first scan of a plan.
fn find(plan: &Arc<dyn ExecutionPlan>) -> Option<&SegmentScanExec> {
    plan.downcast_ref::<SegmentScanExec>().or_else(|| plan.children().into_iter().find_map(find))
}
