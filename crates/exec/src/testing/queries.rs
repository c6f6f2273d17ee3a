//! Statements that must give on every cluster what one process gives.

use base::SqlState;

use super::{Place, Rows, TestCluster, ints, lines, longs, rows, some_ints, texts};
use crate::query::QueryContext;

pub(super) fn next(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *state >> 8
}

/// A small TPC-H: lineitem and orders beside each other, nation and region everywhere.
pub(crate) fn warehouse() -> Vec<Rows> {
    let mut seed = 7;
    let mut pick = |below: u32| (next(&mut seed) % below) as i32;
    let orders = 600;
    let order_keys: Vec<i32> = (0..orders).map(|key| key * 3).collect();
    let customers: Vec<i32> = (0..orders).map(|_| pick(120)).collect();
    let totals: Vec<i64> = (0..orders).map(|_| i64::from(pick(10_000))).collect();
    let lines: Vec<i32> = (0..2_400).map(|_| pick(650) * 3).collect();
    let parts: Vec<i32> = lines.iter().map(|_| pick(90)).collect();
    let quantities: Vec<i64> = lines.iter().map(|_| i64::from(pick(50))).collect();
    let flags: Vec<String> =
        lines.iter().map(|_| ["A", "N", "R"][pick(3) as usize].into()).collect();
    let nations: Vec<i32> = (0..120).map(|_| pick(25)).collect();
    let maybe: Vec<Option<i32>> = (0..90).map(|_| Some(pick(40)).filter(|v| v % 7 != 0)).collect();
    let returned: Vec<Option<i32>> =
        (0..400).map(|_| Some(pick(120)).filter(|key| key % 9 != 0).map(|key| key * 3)).collect();
    let returned_parts: Vec<Option<i32>> =
        returned.iter().map(|_| Some(pick(30)).filter(|part| part % 7 != 0)).collect();
    let wide: Vec<i64> = maybe.iter().map(|v| i64::from(v.unwrap_or(3))).collect();
    let mut tables = vec![
        (
            "orders",
            rows(&[
                ("o_key", ints(order_keys)),
                ("o_cust", ints(customers)),
                ("o_total", longs(totals)),
            ]),
            Place::Key(0),
        ),
        (
            "lineitem",
            rows(&[
                ("l_key", ints(lines)),
                ("l_part", ints(parts)),
                ("l_qty", longs(quantities)),
                ("l_flag", texts(flags)),
            ]),
            Place::Key(0),
        ),
        (
            "customer",
            rows(&[
                ("c_key", ints(0..120)),
                ("c_nation", ints(nations)),
                ("c_name", texts((0..120).map(|n| format!("customer {n}")))),
            ]),
            Place::Key(0),
        ),
        (
            "part",
            rows(&[("p_key", ints(0..90)), ("p_size", ints((0..90).map(|n| n % 11)))]),
            Place::Even,
        ),
        (
            "returned",
            rows(&[
                ("t_key", some_ints(returned)),
                ("t_part", some_ints(returned_parts)),
                ("t_row", ints(0..400)),
            ]),
            Place::Key(0),
        ),
        ("maybe", rows(&[("m", some_ints(maybe)), ("w", longs(wide))]), Place::Key(0)),
        ("none", rows(&[("z", ints([]))]), Place::Key(0)),
    ];
    tables.extend(places());
    tables
}

/// What every node has.
fn places() -> Vec<Rows> {
    vec![
        (
            "nation",
            rows(&[
                ("n_key", ints(0..25)),
                ("n_region", ints((0..25).map(|n| n % 5))),
                ("n_name", texts((0..25).map(|n| format!("nation {n}")))),
            ]),
            Place::All,
        ),
        (
            "region",
            rows(&[("r_key", ints(0..5)), ("r_name", texts((0..5).map(|n| format!("r{n}"))))]),
            Place::All,
        ),
    ]
}

const QUERIES: &[&str] = &[
    "SELECT * FROM orders",
    "SELECT count(*), sum(l_qty), min(l_flag), max(l_part) FROM lineitem",
    "SELECT l_flag, count(*), sum(l_qty), avg(l_qty) FROM lineitem GROUP BY l_flag",
    "SELECT l_key, sum(l_qty) q FROM lineitem GROUP BY l_key ORDER BY q DESC, l_key LIMIT 7",
    "SELECT l_key, l_flag, count(*) FROM lineitem GROUP BY l_key, l_flag",
    "SELECT count(*) FROM lineitem JOIN orders ON l_key = o_key",
    "SELECT o_total, l_qty FROM lineitem JOIN orders ON l_key = o_key WHERE o_total < 500",
    "SELECT count(*), sum(o_total) FROM lineitem RIGHT JOIN orders ON l_key = o_key",
    "SELECT count(*), sum(o_total), sum(l_qty) FROM lineitem LEFT JOIN orders ON l_key = o_key",
    "SELECT count(*), sum(o_total), sum(l_qty) FROM lineitem FULL JOIN orders ON l_key = o_key",
    "SELECT c_name, sum(o_total) FROM customer JOIN orders ON c_key = o_cust GROUP BY c_name",
    "SELECT c_name, o_total FROM customer LEFT JOIN orders ON c_key = o_cust",
    "SELECT count(*), sum(o_total) FROM customer FULL JOIN orders ON c_key = o_cust",
    "SELECT n_name, count(*) FROM customer JOIN nation ON c_nation = n_key GROUP BY n_name",
    "SELECT r_name, n_name, c_name FROM customer JOIN nation ON c_nation = n_key JOIN region ON \
     n_region = r_key",
    "SELECT n_name, c_name FROM nation LEFT JOIN customer ON c_nation = n_key",
    "SELECT n_name, c_name FROM customer LEFT JOIN nation ON c_nation = n_key AND n_region = 2",
    "SELECT n_name, c_name FROM nation FULL JOIN customer ON c_nation = n_key AND n_region = 1",
    "SELECT n_name, r_name FROM nation JOIN region ON n_region = r_key",
    "SELECT n_name FROM nation ORDER BY n_name LIMIT 3",
    "SELECT n_region, count(*) FROM nation GROUP BY n_region",
    "SELECT r_name, sum(l_qty) FROM lineitem JOIN orders ON l_key = o_key JOIN customer ON \
     o_cust = c_key \
     JOIN nation ON c_nation = n_key JOIN region ON n_region = r_key \
     GROUP BY r_name ORDER BY r_name",
    "SELECT p_size, sum(l_qty) FROM lineitem JOIN part ON l_part = p_key GROUP BY p_size",
    "SELECT o_key FROM orders WHERE o_key IN (SELECT l_key FROM lineitem WHERE l_qty > 45)",
    "SELECT o_key FROM orders WHERE o_key NOT IN (SELECT l_key FROM lineitem)",
    "SELECT o_key FROM orders WHERE EXISTS (SELECT 1 FROM lineitem WHERE l_key = o_key AND \
     l_qty = 3)",
    "SELECT o_key FROM orders WHERE NOT EXISTS (SELECT 1 FROM lineitem WHERE l_key = o_key)",
    "SELECT c_key FROM customer WHERE c_key NOT IN (SELECT o_cust FROM orders)",
    "SELECT c_key FROM customer WHERE c_key NOT IN (SELECT m FROM maybe)",
    "SELECT c_key FROM customer WHERE c_key NOT IN (SELECT m FROM maybe WHERE m IS NOT NULL)",
    "SELECT m FROM maybe WHERE m NOT IN (SELECT n_key FROM nation)",
    "SELECT n_key FROM nation WHERE n_key NOT IN (SELECT m FROM maybe WHERE m > 3)",
    "SELECT n_key FROM nation WHERE n_key IN (SELECT m FROM maybe)",
    "SELECT n_key FROM nation WHERE EXISTS (SELECT 1 FROM customer WHERE c_nation = n_key)",
    "SELECT m, count(*) FROM maybe GROUP BY m",
    "SELECT a.m, b.w FROM maybe a JOIN maybe b ON a.m = b.m",
    "SELECT a.m, b.m FROM maybe a LEFT JOIN maybe b ON a.m = b.w",
    "SELECT count(*) FROM maybe JOIN orders ON w = o_key",
    "SELECT DISTINCT l_part FROM lineitem",
    "SELECT count(DISTINCT l_part), count(DISTINCT l_flag) FROM lineitem",
    "SELECT l_flag, count(DISTINCT l_part) FROM lineitem GROUP BY l_flag",
    "SELECT o_key FROM orders WHERE o_total > (SELECT avg(o_total) FROM orders)",
    "SELECT o_key FROM orders WHERE o_total = (SELECT max(o_total) FROM orders x WHERE x.o_cust \
     = orders.o_cust)",
    "SELECT o_cust, o_key, row_number() OVER (PARTITION BY o_cust ORDER BY o_key) FROM orders",
    "SELECT o_key, sum(o_total) OVER (ORDER BY o_key) FROM orders",
    "SELECT l_key, l_part, rank() OVER (PARTITION BY l_key ORDER BY l_part) FROM lineitem",
    "SELECT o_key FROM orders UNION ALL SELECT c_key FROM customer",
    "SELECT o_key FROM orders UNION SELECT l_key FROM lineitem",
    "SELECT o_key FROM orders UNION ALL SELECT n_key FROM nation",
    "SELECT o_key FROM orders UNION ALL VALUES (1), (2)",
    "SELECT o_key FROM orders UNION ALL SELECT k FROM system",
    "SELECT o_key FROM orders UNION ALL SELECT max(c_key) FROM customer",
    "SELECT n_key FROM nation UNION ALL VALUES (1), (2)",
    "SELECT o_key FROM orders INTERSECT SELECT l_key FROM lineitem",
    "SELECT o_key FROM orders EXCEPT SELECT l_key FROM lineitem",
    "SELECT o_key, column1 FROM orders CROSS JOIN (VALUES (1), (2))",
    "SELECT o_key, column2 FROM orders JOIN (VALUES (3, 'x'), (6, 'y'), (7, 'z')) v ON o_key = \
     column1",
    "SELECT column2, o_key FROM (VALUES (3, 'x'), (6, 'y'), (7, 'z')) v LEFT JOIN orders ON \
     o_key = column1",
    "SELECT column2, o_key FROM (VALUES (3, 'x'), (7, 'z')) v FULL JOIN orders ON o_key = column1",
    "SELECT o_key, k FROM orders JOIN system ON o_cust = k",
    "SELECT k, c_name FROM system LEFT JOIN customer ON c_key = k",
    "SELECT k FROM system",
    "SELECT k, n_name FROM system JOIN nation ON k = n_key",
    "SELECT 1, 'x'",
    "SELECT count(*) FROM customer a, customer b WHERE a.c_key < b.c_key",
    "SELECT a.c_key, b.n_key FROM customer a LEFT JOIN nation b ON a.c_nation < b.n_key - 20",
    "SELECT a.n_key, b.c_key FROM nation a LEFT JOIN customer b ON a.n_key + 90 < b.c_key - 15",
    "SELECT count(*) FROM customer a FULL JOIN part b ON a.c_key < b.p_key - 60",
    "SELECT count(*), count(b.p_key) FROM customer a LEFT JOIN part b ON a.c_key < b.p_key - 60",
    "SELECT count(*) FROM customer, nation",
    "SELECT * FROM none",
    "SELECT l_qty, t_row FROM lineitem JOIN returned ON l_key = t_key AND l_part = t_part",
    "SELECT l_qty, t_row FROM lineitem JOIN returned ON l_part = t_part AND l_key = t_key",
    "SELECT l_qty, t_row FROM lineitem LEFT JOIN returned ON l_key = t_key AND l_part = t_part",
    "SELECT l_qty, t_row FROM lineitem RIGHT JOIN returned ON l_key = t_key AND l_part = t_part",
    "SELECT l_qty, t_row FROM lineitem FULL JOIN returned ON l_key = t_key AND l_part = t_part",
    "SELECT l_qty FROM lineitem WHERE EXISTS (SELECT 1 FROM returned WHERE l_key = t_key AND \
     l_part = t_part)",
    "SELECT l_qty FROM lineitem WHERE NOT EXISTS (SELECT 1 FROM returned WHERE l_key = t_key AND \
     l_part = t_part)",
    "SELECT t_row FROM returned WHERE NOT EXISTS (SELECT 1 FROM lineitem WHERE l_key = t_key AND \
     l_part = t_part)",
    "SELECT t_key, t_part FROM returned INTERSECT SELECT l_key, l_part FROM lineitem",
    "SELECT t_key, t_part FROM returned EXCEPT SELECT t_key, t_part FROM returned WHERE t_row > 9",
    "SELECT a.t_row, b.t_row FROM returned a JOIN returned b ON a.t_key = b.t_part AND a.t_part = \
     b.t_key",
    "SELECT a.t_row, b.t_row FROM returned a LEFT JOIN returned b ON a.t_key = b.t_part AND \
     a.t_part = b.t_part",
    "SELECT t_row, p_size FROM returned FULL JOIN part ON t_key = p_size * 3 AND t_part = p_key",
    "SELECT a.t_row, b.t_row, l_qty FROM returned a JOIN returned b ON a.t_key = b.t_key AND \
     a.t_part = b.t_part JOIN lineitem ON l_key = b.t_key WHERE a.t_row < 50",
    "SELECT a.t_row, b.t_row, l_qty FROM returned a JOIN returned b ON a.t_key = b.t_key AND \
     a.t_part = b.t_part LEFT JOIN lineitem ON l_part = b.t_part AND l_key = b.t_row",
    "SELECT l_key, l_part, count(t_row), sum(l_qty) FROM lineitem LEFT JOIN returned ON l_key = \
     t_key AND l_part = t_part GROUP BY l_key, l_part",
    "SELECT l_key, count(t_row), sum(l_qty) FROM lineitem LEFT JOIN returned ON l_key = t_key AND \
     l_part = t_part GROUP BY l_key",
    "SELECT l_key, l_flag, count(*) FROM lineitem JOIN returned ON l_key = t_key AND l_part = \
     t_part GROUP BY ROLLUP (l_key, l_flag)",
    "SELECT t_part, count(*) FROM lineitem JOIN returned ON l_key = t_key AND l_part = t_part \
     GROUP BY t_part",
    "SELECT t_key, t_part, rank() OVER (PARTITION BY t_key, t_part ORDER BY t_row) FROM returned",
    "SELECT count(*), sum(z) FROM none",
    "SELECT o_key, z FROM orders LEFT JOIN none ON o_key = z WHERE o_key < 30",
    "SELECT c_key FROM customer WHERE c_key NOT IN (SELECT z FROM none)",
    "SELECT o_key FROM (SELECT o_key FROM orders ORDER BY o_total, o_key LIMIT 10) x JOIN \
     lineitem ON l_key = o_key",
    "SELECT x.c_key, n_name FROM (SELECT c_key, c_nation FROM customer ORDER BY c_key LIMIT 5) \
     x JOIN nation ON c_nation = n_key",
    "SELECT count(*) FROM (SELECT n_key FROM nation ORDER BY n_name LIMIT 4) x JOIN customer ON \
     c_nation = n_key",
    "SELECT o_key FROM orders ORDER BY o_total DESC, o_key LIMIT 5 OFFSET 3",
    "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 20) SELECT \
     sum(n) FROM t",
    "WITH RECURSIVE t(n) AS (VALUES (0) UNION ALL SELECT o_key FROM t JOIN orders ON o_key = n \
     + 3 WHERE n < 90) SELECT * FROM t",
    "WITH RECURSIVE t(n) AS (SELECT min(o_key) FROM orders UNION ALL SELECT n + 3 FROM t WHERE \
     n < 30) \
     SELECT n, o_total FROM t JOIN orders ON o_key = n",
    "SELECT o_cust, sum(o_total) FROM orders GROUP BY ROLLUP (o_cust) HAVING o_cust < 4 OR \
     o_cust IS NULL",
    "SELECT l_flag, p_size, sum(l_qty) FROM lineitem JOIN part ON l_part = p_key GROUP BY CUBE \
     (l_flag, p_size)",
    "WITH q AS (SELECT l_key k, sum(l_qty) s FROM lineitem GROUP BY l_key) \
     SELECT k, s, o_total FROM q JOIN orders ON k = o_key WHERE s > (SELECT avg(s) FROM q)",
    "SELECT c.c_key, (SELECT count(*) FROM orders o WHERE o.o_cust = c.c_key) FROM customer c",
    "SELECT sum(CASE WHEN l_flag = 'A' THEN l_qty ELSE 0 END) FROM lineitem WHERE l_part \
     BETWEEN 5 AND 40",
    "SELECT o_key, (SELECT c_name FROM customer WHERE c_key = 7) FROM orders WHERE o_key < 20",
    "SELECT o_key, (SELECT c_name FROM customer WHERE c_key = -7) FROM orders WHERE o_key < 20",
    "SELECT o_key FROM orders WHERE o_total > (SELECT n_key FROM nation WHERE n_key = 5) + 9900",
    "SELECT o_key % 5 g, max(o_total) FROM orders GROUP BY o_key % 5 ORDER BY g",
];

const ORDERED: &[&str] = &[
    "SELECT o_key, o_total FROM orders ORDER BY o_total DESC, o_key",
    "SELECT l_key, l_part, l_qty FROM lineitem ORDER BY l_key, l_part, l_qty LIMIT 100",
    "SELECT n_name FROM nation ORDER BY n_name DESC",
    "SELECT c_name, s FROM (SELECT c_name, sum(o_total) s FROM customer JOIN orders ON c_key = \
     o_cust \
     GROUP BY c_name) ORDER BY s DESC, c_name",
];

async fn check(nodes: u16, per_node: u16, settings: &[(&str, &str)]) {
    let cluster = TestCluster::new(nodes, per_node, warehouse());
    let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let context = QueryContext { settings: settings.collect(), ..QueryContext::default() };
    let mut wrong = Vec::new();
    for sql in QUERIES.iter().chain(ORDERED) {
        let expected = lines(&cluster.plain(sql).await);
        let run = async {
            use futures::TryStreamExt;
            let plan = cluster.plan(sql, &context).await?;
            plan.execute()?.try_collect::<Vec<_>>().await
        };
        let time = std::time::Duration::from_secs(30);
        match tokio::time::timeout(time, run).await {
            Err(_) => wrong.push(format!("{sql}\n    hangs")),
            Ok(Err(error)) => wrong.push(format!("{sql}\n    {error:?}")),
            Ok(Ok(got)) => {
                let got = lines(&got);
                if got != expected {
                    let differs = got.iter().zip(&expected).find(|(a, b)| a != b);
                    wrong.push(format!(
                        "{sql}\n    {} rows instead of {}, first difference {differs:?}",
                        got.len(),
                        expected.len()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{nodes}x{per_node}: {}\n{}", wrong.len(), wrong.join("\n"));
    for sql in ORDERED {
        let got = cluster.run(sql).await.unwrap();
        let expected = cluster.plain(sql).await;
        let text = |batches: &[_]| {
            arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string()
        };
        assert_eq!(text(&got), text(&expected), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_one_slice() {
    check(1, 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_two_slices() {
    check(1, 2, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_one_slice_each() {
    check(2, 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_two_slices_each() {
    check(2, 2, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_one_slice_each() {
    check(3, 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_two_slices_each() {
    check(3, 2, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_that_sort() {
    check(2, 2, &[("datafusion.optimizer.prefer_hash_join", "false")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_that_never_broadcast() {
    let never = [
        ("datafusion.optimizer.hash_join_single_partition_threshold", "0"),
        ("datafusion.optimizer.hash_join_single_partition_threshold_rows", "0"),
    ];
    check(3, 2, &never).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sorts_that_are_kept() {
    check(2, 2, &[("datafusion.optimizer.prefer_existing_sort", "true")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_keep_their_fields_between_nodes() {
    let cluster = TestCluster::new(2, 2, warehouse());
    let error = cluster.run("SELECT 1 / (o_key - o_key) FROM orders").await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DivisionByZero, "{error:?}");
    let error = cluster.run("SELECT CAST(c_name AS int) FROM customer").await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::InvalidTextRepresentation, "{error:?}");
    cluster.run("SELECT count(*) FROM orders").await.unwrap();
    let several = "SELECT o_key FROM orders WHERE o_total > (SELECT o_total FROM orders)";
    let error = cluster.run(several).await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::CardinalityViolation, "{error:?}");
}
