//! How queries run: what EXPLAIN shows, what the verifier refuses, cancel, memory.

use std::sync::Arc;
use std::time::Duration;

use base::{CancellationToken, SqlState};
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExecBuilder, PartitionMode};
use datafusion::physical_plan::union::UnionExec;
use datafusion_distributed::{DistributedLeafExec, NetworkCoalesceExec};
use futures::StreamExt;

use super::queries::warehouse;
use super::{Place, TestCluster, TestLeafExec, config, ints, lines, longs, rows, table};
use crate::distribute::stage::StageOutputExec;
use crate::distribute::verify::verify;
use crate::distribute::{Distributed, Plan};
use crate::engine::Cluster;
use crate::layout::Layout;
use crate::query::QueryContext;

async fn explain(cluster: &TestCluster, sql: &str) -> String {
    cluster.plan(sql, &QueryContext::default()).await.unwrap().explain().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_what_moves() {
    let cluster = TestCluster::new(2, 2, warehouse());
    let colocated = "SELECT count(*) FROM lineitem JOIN orders ON l_key = o_key";
    let text = explain(&cluster, colocated).await;
    assert!(text.contains("XN Hash Join DS_DIST_NONE"), "{text}");
    assert!(text.contains("Hash Cond: (\"outer\"."), "{text}");
    assert!(text.contains("Send to leader"), "{text}");
    let all = "SELECT n_name, c_name FROM customer JOIN nation ON c_nation = n_key";
    let text = explain(&cluster, all).await;
    assert!(text.contains("DS_DIST_ALL_NONE") && text.contains("XN Seq Scan on nation"), "{text}");
    let text =
        explain(&cluster, "SELECT c_name, o_total FROM customer JOIN orders ON c_key = o_cust")
            .await;
    assert!(text.contains("DS_BCAST_INNER") || text.contains("DS_DIST_"), "{text}");
    let text = explain(&cluster, "SELECT 1").await;
    assert!(!text.contains("XN"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colocated_join_moves_nothing_between_nodes() {
    let cluster = TestCluster::new(2, 2, warehouse());
    let context = QueryContext::default();
    for sql in [
        "SELECT count(*), sum(l_qty) FROM lineitem JOIN orders ON l_key = o_key",
        "SELECT n_name, c_name FROM customer JOIN nation ON c_nation = n_key",
    ] {
        let text = cluster.plan(sql, &context).await.unwrap().analyze().await.unwrap().join("\n");
        assert!(text.contains("moved between nodes: 0 bytes"), "{text}");
        assert!(!text.contains("sent to leader: 0 bytes"), "{text}");
        assert!(text.contains("slice 3:"), "{text}");
        assert!(text.contains("actual time="), "{text}");
    }
    let moves = "SELECT l_part, sum(l_qty) FROM lineitem GROUP BY l_part";
    let text = cluster.plan(moves, &context).await.unwrap().analyze().await.unwrap().join("\n");
    assert!(!text.contains("moved between nodes: 0 bytes"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_by_more_keys_than_the_distkey_move_nothing() {
    let context = QueryContext::default();
    let unplaced = QueryContext {
        settings: vec![
            ("datafusion.optimizer.hash_join_single_partition_threshold".into(), "0".into()),
            ("datafusion.optimizer.hash_join_single_partition_threshold_rows".into(), "0".into()),
        ],
        ..QueryContext::default()
    };
    for (nodes, per_node) in [(2, 2), (1, 2), (3, 1)] {
        let cluster = TestCluster::new(nodes, per_node, warehouse());
        for from in [
            "lineitem JOIN returned ON l_key = t_key AND l_part = t_part",
            "lineitem JOIN returned ON l_part = t_part AND l_key = t_key",
            "lineitem LEFT JOIN returned ON l_key = t_key AND l_part = t_part",
            "lineitem RIGHT JOIN returned ON l_key = t_key AND l_part = t_part",
            "lineitem FULL JOIN returned ON l_key = t_key AND l_part = t_part",
            "lineitem WHERE EXISTS (SELECT 1 FROM returned WHERE l_key = t_key AND l_part = t_part)",
            "lineitem WHERE NOT EXISTS (SELECT 1 FROM returned WHERE l_key = t_key AND l_part = \
             t_part)",
            "(SELECT l_key, l_part, count(*) FROM lineitem GROUP BY l_key, l_part)",
            "(SELECT l_key, count(t_row) FROM lineitem LEFT JOIN returned ON l_key = t_key AND \
             l_part = t_part GROUP BY l_key)",
        ] {
            let sql = format!("SELECT count(*) FROM {from}");
            let plan = cluster.plan(&sql, &context).await.unwrap();
            let text = plan.analyze().await.unwrap().join("\n");
            assert!(text.contains("moved between nodes: 0 bytes"), "{sql}\n{text}");
            let joins = text.lines().filter(|line| line.contains(" Join "));
            for line in joins {
                assert!(line.contains("DS_DIST_NONE"), "{sql}\n{text}");
            }
        }
        // The DISTKEY of one side is a key: only the other one moves.
        let one = "SELECT count(*) FROM returned JOIN part ON t_key = p_size AND t_part = p_key";
        let text = cluster.plan(one, &unplaced).await.unwrap().explain().join("\n");
        assert!(text.contains("DS_DIST_INNER") || text.contains("DS_DIST_OUTER"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_by_more_than_the_distkey_are_made_in_one_stage() {
    let cluster = TestCluster::new(1, 2, warehouse());
    for sql in [
        "SELECT l_key, l_part, count(*) FROM lineitem GROUP BY l_key, l_part",
        "SELECT l_key, count(t_row) FROM lineitem LEFT JOIN returned ON l_key = t_key AND l_part \
         = t_part GROUP BY l_key",
    ] {
        let text = explain(&cluster, sql).await;
        assert_eq!(text.matches("HashAggregate").count(), 1, "{text}");
    }
}

#[test]
fn misplaced_joins_are_refused() {
    let layout = Layout::new(4, 2).unwrap();
    let left = table("l", rows(&[("a", ints(0..40)), ("b", ints(0..40))]), Place::Key(0), 4);
    let right = table("r", rows(&[("x", ints(0..40)), ("y", ints(0..40))]), Place::Key(0), 4);
    let divided = |name: &str| -> Plan {
        let leaf = |slices| -> Plan { Arc::new(TestLeafExec::new(name, vec![0, 1], slices)) };
        Arc::new(DistributedLeafExec::try_new(leaf(0..4), [leaf(0..2), leaf(2..4)]).unwrap())
    };
    let joined = |on: &[(usize, usize)]| {
        let (left, right) = (divided(&left.name), divided(&right.name));
        let key = |plan: &Plan, at: usize| -> Arc<dyn PhysicalExpr> {
            Arc::new(Column::new(plan.schema().field(at).name(), at))
        };
        let on = on.iter().map(|(l, r)| (key(&left, *l), key(&right, *r))).collect();
        let join = HashJoinExecBuilder::new(left, right, on, JoinType::Inner)
            .with_partition_mode(PartitionMode::Partitioned)
            .build_exec()
            .unwrap();
        let output = Arc::new(StageOutputExec::new(join));
        let network: Plan = Arc::new(NetworkCoalesceExec::try_new(output, 2, 1).unwrap());
        Distributed::from_root(Arc::new(CoalescePartitionsExec::new(network)))
    };
    for right in [&[(0, 0)][..], &[(0, 0), (1, 1)], &[(1, 1), (0, 0)]] {
        verify(&joined(right), layout).unwrap();
    }
    for wrong in [&[(1, 1)][..], &[(0, 1), (1, 0)], &[(0, 1)], &[(1, 0), (1, 1)]] {
        let error = verify(&joined(wrong), layout).expect_err("rows lie by other columns");
        assert!(error.message().contains("lie by other columns"), "{error}");
    }
}

#[test]
fn misplaced_plans_are_refused() {
    let layout = Layout::new(4, 2).unwrap();
    let keyed = table("t", rows(&[("a", ints(0..40))]), Place::Key(0), 4);
    let copied = table("r", rows(&[("a", ints(0..4))]), Place::All, 4);
    let leaf = |slices| -> Plan { Arc::new(TestLeafExec::new(&keyed.name, vec![0], slices)) };
    let divided = || -> Plan {
        Arc::new(DistributedLeafExec::try_new(leaf(0..4), [leaf(0..2), leaf(2..4)]).unwrap())
    };
    let replica = || -> Plan { Arc::new(TestLeafExec::new(&copied.name, vec![0], 0..1)) };
    let gathered = |plan: Plan, tasks| {
        let output = Arc::new(StageOutputExec::new(plan));
        let network: Plan = Arc::new(NetworkCoalesceExec::try_new(output, tasks, 1).unwrap());
        Distributed::from_root(Arc::new(CoalescePartitionsExec::new(network)))
    };
    verify(&gathered(divided(), 2), layout).unwrap();
    verify(&gathered(replica(), 1), layout).unwrap();
    let refused = [
        (
            "the leader reads",
            Distributed::from_root(Arc::new(CoalescePartitionsExec::new(leaf(0..4)))),
        ),
        ("too few tasks", gathered(divided(), 1)),
        ("not divided", gathered(leaf(0..4), 2)),
        ("read twice", gathered(replica(), 2)),
        (
            "repeated by a union",
            gathered(UnionExec::try_new(vec![divided(), replica()]).unwrap(), 2),
        ),
        ("other tasks", gathered(divided(), 3)),
    ];
    for (what, plan) in refused {
        let error = verify(&plan, layout).expect_err(what);
        assert_eq!(error.sqlstate(), SqlState::InternalError, "{what}");
        assert!(error.message().starts_with("refused to run"), "{what}: {error}");
    }
}

async fn released(cluster: &TestCluster) {
    for _ in 0..200 {
        if cluster.engine.held_bytes() == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("still held: {:?}", cluster.engine.held_bytes());
}

const ENDLESS: &str = "SELECT count(*), sum(a.l_qty * b.l_qty + c.l_qty) \
    FROM lineitem a, lineitem b, lineitem c WHERE a.l_part + b.l_part <> c.l_part";

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_a_query_and_frees_what_it_held() {
    let cluster = TestCluster::new(2, 2, warehouse());
    let context = QueryContext { cancel: CancellationToken::new(), ..QueryContext::default() };
    let mut stream = cluster.plan(ENDLESS, &context).await.unwrap().execute().unwrap();
    let token = context.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel();
    });
    let next = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap();
    let error = next.unwrap().unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::QueryCanceled);
    drop(stream);
    released(&cluster).await;
    let stream = cluster.plan(ENDLESS, &QueryContext::default()).await.unwrap().execute().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    released(&cluster).await;
    assert_eq!(cluster.run("SELECT count(*) FROM orders").await.unwrap()[0].num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn little_memory_spills_or_says_so() {
    let count = 300_000;
    let big = rows(&[
        ("k", ints((0..count).map(|n| (n * 7) % count))),
        ("v", longs((0..count).map(i64::from))),
    ]);
    let other = rows(&[("j", ints(0..count)), ("w", longs((0..count).map(i64::from)))]);
    let tables = vec![("big", big, Place::Key(0)), ("other", other, Place::Even)];
    let mut config = config("memory", 4);
    config.memory_limit_bytes = 24 << 20;
    config.query_memory_bytes = 24 << 20;
    let cluster = TestCluster::with(config, Cluster::Embedded { nodes: 2 }, tables);
    for sql in [
        "SELECT count(*), sum(v) FROM (SELECT v, row_number() OVER (ORDER BY v DESC) FROM big) x",
        "SELECT count(*) FROM (SELECT v, count(*) FROM big GROUP BY v) x",
        "SELECT count(*), sum(v + w) FROM big JOIN other ON v = w",
    ] {
        match cluster.run(sql).await {
            Ok(got) => assert_eq!(lines(&got), lines(&cluster.plain(sql).await), "{sql}"),
            Err(error) => assert_eq!(error.sqlstate(), SqlState::OutOfMemory, "{sql}: {error:?}"),
        }
        released(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_larger_than_memory_finish() {
    let count = 400_000;
    let side = |key: &'static str, value: &'static str| {
        let keys = ints((0..count).map(|n| (n * 7) % count));
        rows(&[(key, keys), (value, longs((0..count).map(i64::from)))])
    };
    let tables = vec![("big", side("k", "v"), Place::Even), ("other", side("j", "w"), Place::Even)];
    let mut config = config("join-memory", 4);
    config.memory_limit_bytes = 6 << 20;
    config.query_memory_bytes = 6 << 20;
    let cluster = TestCluster::with(config, Cluster::Embedded { nodes: 2 }, tables);
    for sql in [
        "SELECT count(*), sum(v + w) FROM big JOIN other ON k = j",
        "SELECT count(*), sum(v), sum(w) FROM big LEFT JOIN other ON k = j + 1000",
        "SELECT count(*), sum(v), sum(w) FROM big FULL JOIN other ON k = j + 1000",
        "SELECT count(*), sum(v) FROM big WHERE NOT EXISTS (SELECT 1 FROM other WHERE j + 9 = k)",
    ] {
        let got = cluster.run(sql).await.unwrap();
        assert_eq!(lines(&got), lines(&cluster.plain(sql).await), "{sql}");
        released(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_reach_the_plan_and_bad_ones_are_refused() {
    let cluster = TestCluster::new(1, 1, warehouse());
    let bad = ("datafusion.execution.no_such_thing".to_owned(), "1".to_owned());
    let context = QueryContext { settings: vec![bad], ..QueryContext::default() };
    let error = cluster.plan("SELECT 1", &context).await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::InvalidParameterValue);
}
