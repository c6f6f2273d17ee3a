//! Orders that are chosen, and that they give the rows which the statement's own order gives.

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use joinorder::{Limits, Machine};

use super::reorder;
use crate::outer::OuterJoins;

/// A table that knows its statistics, whether or not it has such rows.
#[derive(Debug)]
struct Known {
    rows: Arc<MemTable>,
    statistics: Statistics,
}

#[async_trait]
impl TableProvider for Known {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics.clone())
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.rows.scan(state, projection, filters, limit).await
    }
}

/// A table of integer columns, each with its distinct values from zero on.
fn known(context: &SessionContext, name: &str, rows: usize, columns: &[(&str, usize)]) {
    let fields = columns.iter().map(|(name, _)| Field::new(*name, DataType::Int32, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let column_statistics = columns
        .iter()
        .map(|(_, distinct)| ColumnStatistics {
            null_count: Precision::Exact(0),
            min_value: Precision::Exact(ScalarValue::Int32(Some(0))),
            max_value: Precision::Exact(ScalarValue::Int32(Some(*distinct as i32 - 1))),
            distinct_count: Precision::Inexact(*distinct),
            sum_value: Precision::Absent,
            byte_size: Precision::Absent,
        })
        .collect();
    let statistics = Statistics {
        num_rows: Precision::Exact(rows),
        total_byte_size: Precision::Absent,
        column_statistics,
    };
    let rows = MemTable::try_new(schema, vec![vec![]]).unwrap();
    let table = Known { rows: Arc::new(rows), statistics };
    context.register_table(name, Arc::new(table)).unwrap();
}

fn machine() -> Machine {
    Machine { nodes: 2, slices: 4, memory_bytes: 1e9 }
}

async fn optimized(state: &SessionState, sql: &str) -> LogicalPlan {
    let plan = state.create_logical_plan(sql).await.unwrap();
    state.optimize(&plan).unwrap()
}

/// The inputs of joins in brackets, the built side first.
fn shape(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Join(join) => {
            let kind = match join.join_type {
                datafusion::common::JoinType::Inner => String::new(),
                other => format!("{other} "),
            };
            format!("({kind}{} {})", shape(&join.left), shape(&join.right))
        }
        LogicalPlan::TableScan(scan) => scan.table_name.table().to_owned(),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::TableScan(_) => alias.alias.table().to_owned(),
            other => shape(other),
        },
        other => other.inputs().into_iter().map(shape).collect::<Vec<_>>().join(" "),
    }
}

fn warehouse() -> SessionContext {
    let context = SessionContext::new();
    known(
        &context,
        "lineitem",
        6_000_000,
        &[("l_key", 1_500_000), ("l_part", 200_000), ("l_supp", 10_000), ("l_day", 2_500)],
    );
    known(
        &context,
        "orders",
        1_500_000,
        &[("o_key", 1_500_000), ("o_cust", 100_000), ("o_day", 2_400)],
    );
    known(&context, "customer", 150_000, &[("c_key", 150_000), ("c_nation", 25)]);
    known(&context, "supplier", 10_000, &[("s_key", 10_000), ("s_nation", 25)]);
    known(&context, "part", 200_000, &[("p_key", 200_000), ("p_size", 50), ("p_type", 150)]);
    known(&context, "nation", 25, &[("n_key", 25), ("n_region", 5), ("n_name", 25)]);
    known(&context, "region", 5, &[("r_key", 5), ("r_name", 5)]);
    // Two centuries, of which lineitem knows 2,500 days.
    known(&context, "days", 73_000, &[("d_key", 73_000), ("d_year", 200), ("d_month", 12)]);
    context
}

async fn chosen(sql: &str) -> String {
    let state = warehouse().state();
    let before = optimized(&state, sql).await;
    let after = reorder(before.clone(), &machine(), &Limits::default()).unwrap();
    assert_eq!(before.schema(), after.schema(), "{sql}");
    shape(&after)
}

#[tokio::test]
async fn small_sides_are_built_and_filters_come_first() {
    let sql = "SELECT count(*) FROM lineitem, part WHERE l_part = p_key AND p_type = 3";
    assert_eq!(chosen(sql).await, "(part lineitem)");
    // The part that few orders are left of comes before the customers.
    let sql = "SELECT l_day FROM customer, lineitem, orders WHERE c_key = o_cust \
               AND l_key = o_key AND o_day = 7 AND c_nation = 3";
    assert_eq!(chosen(sql).await, "((orders customer) lineitem)");
}

#[tokio::test]
async fn what_nothing_joins_directly_is_joined_over_equal_columns() {
    // Both hang on lineitem in the statement; their keys are equal nevertheless.
    let sql = "SELECT 1 FROM lineitem a, lineitem b, part WHERE a.l_part = p_key \
               AND b.l_part = a.l_part AND p_size = 4 AND p_type = 1";
    let shape = chosen(sql).await;
    assert!(shape.contains("(part a)") || shape.contains("(part b)"), "{shape}");
}

#[tokio::test]
async fn rows_are_tested_where_few_are_left() {
    let sql = "SELECT l_day FROM customer, orders, lineitem WHERE c_key = o_cust \
               AND o_key = l_key AND o_key IN (SELECT l_key FROM lineitem GROUP BY l_key \
               HAVING count(*) > 300)";
    let shape = chosen(sql).await;
    assert!(!shape.starts_with("(LeftSemi") && !shape.starts_with("(RightSemi"), "{shape}");
}

#[tokio::test]
async fn other_joins_keep_their_place_and_build_the_small_side() {
    let sql = "SELECT * FROM lineitem LEFT JOIN region ON l_supp = r_key";
    assert_eq!(chosen(sql).await, "(Right region lineitem)");
    let sql = "SELECT * FROM region LEFT JOIN lineitem ON l_supp = r_key";
    assert_eq!(chosen(sql).await, "(Left region lineitem)");
}

#[tokio::test]
async fn inner_joins_with_the_kept_side_come_before_a_left_join() {
    let from = "lineitem LEFT JOIN orders ON l_key = o_key JOIN part ON l_part = p_key";
    let filter = "p_type = 3 AND p_size = 4";
    let before = chosen(&format!("SELECT l_day, o_day FROM {from} WHERE {filter}")).await;
    assert_eq!(before, "(Left (part lineitem) orders)");
    // A key that the left join adds has to be there first.
    let from = "lineitem LEFT JOIN orders ON l_key = o_key JOIN part ON coalesce(o_day, 1) = p_key";
    let after = chosen(&format!("SELECT l_day, o_day FROM {from} WHERE {filter}")).await;
    assert_eq!(after, "(part (Right orders lineitem))");
}

#[tokio::test]
async fn groups_that_nobody_asks_for_are_not_computed() {
    let state = warehouse().state();
    let reduced = async |filter: &str| {
        let sql = format!(
            "SELECT count(*) FROM lineitem a, (SELECT * FROM part {filter}) p \
             WHERE l_part = p_key AND l_day < \
             (SELECT avg(b.l_day) FROM lineitem b WHERE b.l_part = p_key)"
        );
        let plan = reorder(optimized(&state, &sql).await, &machine(), &Limits::default()).unwrap();
        let shown = plan.display_indent().to_string();
        let below = shown.split_once("Aggregate: groupBy=[[b.l_part]]");
        let (above, below) = below.unwrap_or_else(|| panic!("{shown}"));
        assert!(!above.contains("asked_for"), "{shown}");
        below.contains("asked_for")
    };
    assert!(reduced("WHERE p_type = 3 AND p_size = 4").await);
    assert!(!reduced("").await && !reduced("WHERE p_size < 40").await);
    assert!(!reduced("WHERE p_type = 3 AND p_size = 4 AND random() < 0.5").await);
}

#[tokio::test]
async fn tables_without_statistics_are_ordered_too() {
    let context = small(1);
    let state = context.state();
    let sql = "SELECT * FROM a, b, c WHERE a.x = b.x AND b.y = c.y";
    let plan = optimized(&state, sql).await;
    let ordered = reorder(plan.clone(), &machine(), &Limits::default()).unwrap();
    assert_eq!(plan.schema(), ordered.schema());
}

#[tokio::test]
async fn filters_keep_what_statistics_say() {
    let state = warehouse().state();
    let cases = [
        ("orders", 1.5e6),
        ("orders WHERE o_day >= 600 AND o_day < 1200", 1.5e6 / 4.0),
        ("orders WHERE o_day BETWEEN 600 AND 1199", 1.5e6 / 4.0),
        ("orders WHERE 1200 <= o_day", 1.5e6 / 2.0),
        ("orders WHERE o_day > 9999", 1.0),
        ("orders WHERE NOT (o_day < 600)", 1.5e6 * 0.75),
        ("part WHERE p_type = 7", 2e5 / 150.0),
        ("part WHERE p_type IN (7, 8, 9)", 2e5 / 50.0),
        ("part WHERE p_type = 7 AND p_size = 3", 2e5 / 150.0 / 50.0),
        ("part WHERE p_type = 7 OR p_size = 3", 2e5 * (1.0 / 150.0 + 1.0 / 50.0)),
        ("part WHERE p_type <> 7", 2e5 * 149.0 / 150.0),
        ("part WHERE p_type IS NULL", 1.0),
        ("part JOIN lineitem ON p_key = l_part", 6e6),
        // Days without facts do not count; a year moves along with the days, a month does not.
        ("days JOIN lineitem ON d_key = l_day", 6e6),
        (
            "(SELECT * FROM days WHERE d_year = 7) d JOIN lineitem ON d_key = l_day",
            6e6 * 365.0 / 2_500.0,
        ),
        ("(SELECT * FROM days WHERE d_month = 7) d JOIN lineitem ON d_key = l_day", 6e6 / 12.0),
        ("(SELECT p_size, p_type FROM part GROUP BY p_size, p_type) g", 7_500.0),
        ("(SELECT p_key FROM part LIMIT 10) l", 10.0),
        ("(SELECT count(*) FROM part) c", 1.0),
        ("part WHERE p_key IN (SELECT l_part FROM lineitem WHERE l_supp = 4)", 600.0),
    ];
    for (from, expected) in cases {
        let plan = optimized(&state, &format!("SELECT * FROM {from}")).await;
        let rows = super::estimate::Estimator::default().of_plan(&plan).rows;
        assert!((rows / expected).max(expected / rows) < 1.1, "{from}: {rows}, not {expected}");
    }
}

/// Draws that depend on a seed alone.
struct Draws(u64);

impl Draws {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % count
    }
}

const TABLES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Six small tables with NULLs and repeated values.
fn small(seed: u64) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let mut draws = Draws(seed);
    for name in TABLES {
        let rows = 1 + draws.below(14);
        let mut column = |most: usize| -> ArrayRef {
            let value = |draws: &mut Draws| match draws.below(8) {
                0 => None,
                _ => Some(draws.below(most) as i32),
            };
            Arc::new(Int32Array::from_iter((0..rows).map(|_| value(&mut draws))))
        };
        let (x, y, z) = (column(5), column(4), column(30));
        let texts = (0..rows).map(|_| ["p", "q", "r"][draws.below(3)]);
        let t: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let columns = [("x", x), ("y", y), ("z", z), ("t", t)];
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        );
        context.register_batch(name, batch.unwrap()).unwrap();
    }
    context
}

fn statement(draws: &mut Draws) -> String {
    let count = 2 + draws.below(4);
    let names: Vec<String> = (0..count).map(|at| format!("t{at}")).collect();
    let source = |draws: &mut Draws, name: &String| match draws.below(6) {
        0 => format!("(SELECT x, max(y) AS y, sum(z) AS z, min(t) AS t FROM a GROUP BY x) {name}"),
        1 => format!(
            "(SELECT l.x, r.y, l.z, r.t FROM b l JOIN c r ON l.y = r.x WHERE l.z > 3) {name}"
        ),
        _ => format!("{} {name}", TABLES[draws.below(6)]),
    };
    let mut from = source(draws, &names[0]);
    let mut conditions = Vec::new();
    for at in 1..count {
        let (other, name) = (&names[draws.below(at)], &names[at]);
        let columns = ["x", "y"];
        let (l, r) = (columns[draws.below(2)], columns[draws.below(2)]);
        let table = source(draws, name);
        match draws.below(10) {
            8 => from += &format!(" RIGHT JOIN {table} ON {other}.{l} = {name}.{r}"),
            9 => from += &format!(" FULL JOIN {table} ON {other}.{l} = {name}.{r}"),
            0 => from += &format!(" LEFT JOIN {table} ON {other}.{l} = {name}.{r}"),
            1 => from += &format!(" CROSS JOIN {table}"),
            2 => from += &format!(" JOIN {table} ON {other}.{l} = {name}.{r} + 1"),
            3 => {
                from += &format!(" JOIN {table} ON {other}.x = {name}.x AND {other}.y = {name}.y");
            }
            _ => from += &format!(" JOIN {table} ON {other}.{l} = {name}.{r}"),
        }
    }
    let (first, last) = (&names[draws.below(count)], &names[draws.below(count)]);
    for _ in 0..draws.below(4) {
        conditions.push(match draws.below(13) {
            10 => format!("{last}.x IS NULL"),
            11 => format!("{first}.z + {last}.z > 9"),
            12 => format!("({last}.y > 1 OR {last}.y IS NULL)"),
            0 => format!("{first}.z < {last}.z + 5"),
            1 => format!("{first}.x = {last}.y"),
            2 => format!("{first}.t = 'p'"),
            3 => format!("{last}.z BETWEEN 4 AND 22"),
            4 => format!("EXISTS (SELECT 1 FROM d s WHERE s.x = {first}.x AND s.z <> {first}.z)"),
            5 => format!("NOT EXISTS (SELECT 1 FROM e s WHERE s.y = {last}.y)"),
            6 => format!("{first}.x IN (SELECT y FROM f WHERE z > 2)"),
            7 => format!("{last}.y NOT IN (SELECT x FROM d WHERE x IS NOT NULL)"),
            8 => format!("({first}.t = 'q' AND {last}.x = 1 OR {first}.t = 'r' AND {last}.x = 2)"),
            _ => format!("{first}.z > (SELECT avg(z) FROM b WHERE b.x = {first}.x)"),
        });
    }
    let wanted = match draws.below(3) {
        0 => "count(*), sum(t0.z)".to_owned(),
        1 => "*".to_owned(),
        _ => names.iter().map(|name| format!("{name}.z AS {name}z")).collect::<Vec<_>>().join(", "),
    };
    let filter = match conditions.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", conditions.join(" AND ")),
    };
    format!("SELECT {wanted} FROM {from}{filter}")
}

async fn rows(state: &SessionState, plan: &LogicalPlan) -> Result<Vec<String>> {
    let physical = state.query_planner().create_physical_plan(plan, state).await?;
    let mut batches = collect(physical, state.task_ctx()).await?;
    // No rows may come as no batch or as an empty one.
    batches.retain(|batch| batch.num_rows() > 0);
    let text = pretty_format_batches(&batches)?.to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

#[tokio::test]
async fn every_order_gives_the_same_rows() {
    let (mut ordered, mut changed) = (0, 0);
    for seed in 0..400_u64 {
        let mut state = small(seed).state();
        let sql = statement(&mut Draws(seed * 31 + 7));
        let Ok(plan) = state.create_logical_plan(&sql).await else {
            continue;
        };
        // What DataFusion cannot plan is no matter of order.
        let Ok(plan) = state.optimize(&plan) else {
            continue;
        };
        let Ok(expected) = rows(&state, &plan).await else {
            continue;
        };
        let other = reorder(plan.clone(), &machine(), &Limits::default())
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(plan.schema(), other.schema(), "{sql}");
        state.config_mut().options_mut().optimizer.join_reordering = false;
        let found = rows(&state, &other).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(expected, found, "{sql}\n{}", other.display_indent());
        ordered += 1;
        changed += usize::from(plan != other);
    }
    assert!(ordered > 250 && changed > 150, "{ordered} statements, {changed} in another order");
}

#[tokio::test]
async fn outer_joins_are_narrowed_where_nobody_sees_it() {
    let (mut compared, mut changed, mut tested) = (0, 0, 0);
    for seed in 0..600_u64 {
        let plain = small(seed).state();
        let narrowing = SessionStateBuilder::new_from_existing(plain.clone());
        let narrowing = narrowing.with_optimizer_rule(Arc::new(OuterJoins)).build();
        let sql = statement(&mut Draws(seed * 17 + 3));
        let Ok(plan) = plain.create_logical_plan(&sql).await else {
            continue;
        };
        let Ok(expected) = plain.optimize(&plan) else {
            continue;
        };
        let found = narrowing.optimize(&plan).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let differs = expected.display_indent().to_string() != found.display_indent().to_string();
        changed += usize::from(differs);
        tested += usize::from(differs && found.display_indent().to_string().contains("Anti"));
        let Ok(expected) = rows(&plain, &expected).await else {
            continue;
        };
        let shown = found.display_indent().to_string();
        let found = rows(&plain, &found).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(expected, found, "{sql}\n{shown}");
        compared += 1;
    }
    assert!(compared > 350 && changed > 40 && tested > 10, "{compared}, {changed}, {tested}");
}
