//! Joins against DataFusion's: types of join, duplicates, NULLs, several keys, strings, filters,
//! projections, and memory that is far too small.

use std::cell::Cell;
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use arrow_array::{
    ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterPhysicalExpr, lit};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{HashJoinExec, HashJoinExecBuilder, PartitionMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    ExecutionPlan, Partitioning, PhysicalExpr, collect_partitioned, execute_stream_partitioned,
};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{replace_joins, without_misrouted_filters};

const JOIN_TYPES: [JoinType; 10] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::RightSemi,
    JoinType::LeftAnti,
    JoinType::RightAnti,
    JoinType::LeftMark,
    JoinType::RightMark,
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Int,
    Sparse,
    Date,
    Decimal,
    Text,
}

fn column(kind: Kind, numbers: &[Option<i32>]) -> ArrayRef {
    let wide = |scale: i64| numbers.iter().map(move |n| n.map(|n| i64::from(n) * scale));
    match kind {
        Kind::Int => Arc::new(Int32Array::from_iter(numbers.iter().copied())),
        Kind::Sparse => Arc::new(Int64Array::from_iter(wide(1_000_000_007))),
        Kind::Date => Arc::new(Date32Array::from_iter(numbers.iter().copied())),
        Kind::Decimal => Arc::new(
            Decimal128Array::from_iter(wide(3).map(|n| n.map(i128::from)))
                .with_precision_and_scale(30, 2)
                .unwrap(),
        ),
        Kind::Text => Arc::new(StringViewArray::from_iter(
            numbers.iter().map(|n| n.map(|n| format!("text of some length {n}"))),
        )),
    }
}

/// Batches of `numbers.len()` rows: a column per kind and last a number that no other row has.
fn batches(
    kinds: &[Kind],
    numbers: &[Option<i32>],
    batch_rows: usize,
) -> (SchemaRef, Vec<RecordBatch>) {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        let moved: Vec<_> = numbers.iter().map(|n| n.map(|n| n / (1 + at as i32))).collect();
        columns.push(column(*kind, &moved));
    }
    columns.push(Arc::new(Int64Array::from_iter_values(0..numbers.len() as i64)));
    let field = |(at, column): (usize, &ArrayRef)| {
        let name = if at == kinds.len() { "v".to_owned() } else { format!("k{at}") };
        Field::new(name, column.data_type().clone(), true)
    };
    let schema = Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()));
    let all = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let starts = (0..all.num_rows()).step_by(batch_rows);
    let batches = starts.map(|at| all.slice(at, batch_rows.min(all.num_rows() - at))).collect();
    (schema, batches)
}

fn memory(
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
    partitions: usize,
) -> Arc<dyn ExecutionPlan> {
    let mut parts = vec![Vec::new(); partitions];
    for (at, batch) in batches.into_iter().enumerate() {
        parts[at % partitions].push(batch);
    }
    MemorySourceConfig::try_new_exec(&parts, Arc::clone(schema), None).unwrap()
}

#[derive(Clone, Debug)]
struct Case {
    kinds: Vec<Kind>,
    build: Vec<Option<i32>>,
    probe: Vec<Option<i32>>,
    partitions: usize,
    join_type: JoinType,
    mode: PartitionMode,
    filter: bool,
    nulls_equal: bool,
    projection: bool,
    batch_rows: usize,
}

impl Case {
    fn join(&self) -> Arc<dyn ExecutionPlan> {
        let (schema, build) = batches(&self.kinds, &self.build, self.batch_rows);
        let (_, probe) = batches(&self.kinds, &self.probe, self.batch_rows);
        let key = |at: usize| Arc::new(Column::new(&format!("k{at}"), at)) as Arc<dyn PhysicalExpr>;
        let keys: Vec<_> = (0..self.kinds.len()).map(key).collect();
        let collected = self.mode == PartitionMode::CollectLeft;
        let mut left = memory(&schema, build, 1);
        let mut right = memory(&schema, probe, self.partitions);
        if !collected {
            let hash = || Partitioning::Hash(keys.clone(), self.partitions);
            left = Arc::new(RepartitionExec::try_new(left, hash()).unwrap());
            right = Arc::new(RepartitionExec::try_new(right, hash()).unwrap());
        }
        let on = keys.iter().map(|key| (Arc::clone(key), Arc::clone(key))).collect();
        let value = self.kinds.len();
        let filter = self.filter.then(|| {
            let side = |side| ColumnIndex { index: value, side };
            let field = |name: &str| Field::new(name, DataType::Int64, true);
            let schema = Arc::new(Schema::new(vec![field("l"), field("r")]));
            let (l, r) = (Arc::new(Column::new("l", 0)), Arc::new(Column::new("r", 1)));
            let less = Arc::new(BinaryExpr::new(l, Operator::Lt, r));
            JoinFilter::new(less, vec![side(JoinSide::Left), side(JoinSide::Right)], schema)
        });
        let nulls = match self.nulls_equal {
            true => NullEquality::NullEqualsNull,
            false => NullEquality::NullEqualsNothing,
        };
        let builder = HashJoinExecBuilder::new(left, right, on, self.join_type)
            .with_filter(filter)
            .with_partition_mode(self.mode)
            .with_null_equality(nulls);
        let join = builder.build().unwrap();
        let columns = join.schema().fields().len();
        // The last column, and the first one twice removed: some of each side, out of order.
        let projection = self.projection.then(|| vec![columns - 1, 0]);
        Arc::new(join.with_projection(projection).unwrap())
    }
}

fn context(memory_bytes: Option<usize>, batch_rows: usize) -> Arc<TaskContext> {
    let config = SessionConfig::new().with_batch_size(batch_rows);
    let mut builder = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory_bytes {
        builder = builder.with_memory_limit(bytes, 1.0);
    }
    let runtime = builder.build_arc().unwrap();
    Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime))
}

/// The rows as text, in no order.
async fn rows(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Vec<String> {
    let parts = collect_partitioned(Arc::clone(plan), Arc::clone(context)).await.unwrap();
    let batches: Vec<RecordBatch> = parts.into_iter().flatten().collect();
    for batch in &batches {
        assert_eq!(batch.schema(), plan.schema());
        assert!(batch.num_rows() > 0);
    }
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    if batches.is_empty() {
        lines.clear();
    }
    lines
}

fn replaced(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let fresh = reset_plan_states(Arc::clone(plan)).unwrap();
    let replaced = replace_joins(fresh).unwrap();
    assert_eq!(replaced.name(), "VectorJoinExec");
    assert!(replaced.is::<HashJoinExec>());
    replaced
}

fn spilled(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.metrics().unwrap().spilled_rows().unwrap_or(0)
}

fn numbers(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Option<i32>>> {
    let value = prop_oneof![
        8 => (0..60).prop_map(Some),
        3 => (-40_000..40_000).prop_map(Some),
        3 => Just(Some(7)),
        1 => Just(None),
    ];
    prop::collection::vec(value, rows)
}

fn cases(rows: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    let kind = prop_oneof![
        Just(Kind::Int),
        Just(Kind::Sparse),
        Just(Kind::Date),
        Just(Kind::Decimal),
        Just(Kind::Text)
    ];
    let mode = prop_oneof![Just(PartitionMode::CollectLeft), Just(PartitionMode::Partitioned)];
    let inputs = (
        prop::collection::vec(kind, 1..3),
        numbers(rows.clone()),
        numbers(rows),
        1_usize..4,
        prop::sample::select(&JOIN_TYPES[..]),
        mode,
    );
    let rest = (any::<bool>(), any::<bool>(), any::<bool>(), prop_oneof![Just(5_usize), Just(64)]);
    (inputs, rest).prop_map(
        |(
            (kinds, build, probe, partitions, join_type, mode),
            (filter, nulls_equal, projection, batch_rows),
        )| Case {
            kinds,
            build,
            probe,
            partitions,
            join_type,
            mode,
            filter,
            nulls_equal,
            projection,
            batch_rows,
        },
    )
}

fn check(cases_run: u32, rows_range: std::ops::Range<usize>, memory_bytes: Option<usize>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { failure_persistence: None, ..Config::with_cases(cases_run) };
    let any_spilled = Cell::new(0);
    TestRunner::new(config)
        .run(&cases(rows_range), |case| {
            runtime.block_on(async {
                let plan = case.join();
                let expected = rows(&plan, &context(None, case.batch_rows)).await;
                let join = replaced(&plan);
                let found = rows(&join, &context(memory_bytes, case.batch_rows)).await;
                prop_assert_eq!(found, expected);
                any_spilled.set(any_spilled.get() + spilled(&join));
                Ok(())
            })
        })
        .unwrap();
    let any_spilled = any_spilled.get();
    assert_eq!(memory_bytes.is_some(), any_spilled > 0, "{any_spilled} rows on disk");
}

#[test]
fn equals_datafusions_join() {
    check(400, 0..150, None);
}

#[test]
fn equals_datafusions_join_on_disk() {
    check(150, 100..300, Some(24 << 10));
}

/// One key that is most of the build side can be divided no further.
#[tokio::test]
async fn one_key_that_does_not_fit_is_joined_in_passes() {
    for join_type in JOIN_TYPES {
        for filter in [false, true] {
            let mut build = vec![Some(7); 2_000];
            build.extend((0..400).map(Some));
            let mut probe: Vec<_> = (0..300).map(Some).collect();
            probe.push(None);
            let case = Case {
                kinds: vec![Kind::Sparse],
                build,
                probe,
                partitions: 2,
                join_type,
                mode: PartitionMode::CollectLeft,
                filter,
                nulls_equal: false,
                projection: false,
                batch_rows: 128,
            };
            let plan = case.join();
            let expected = rows(&plan, &context(None, 128)).await;
            let join = replaced(&plan);
            let found = rows(&join, &context(Some(60 << 10), 128)).await;
            assert_eq!(found, expected, "{join_type} filter {filter}");
            assert!(spilled(&join) > 0);
        }
    }
}

#[tokio::test]
async fn keeps_the_order_of_the_probe_side() {
    let numbers: Vec<_> = (0..2_000).map(|n| Some(n % 197)).collect();
    let build: Vec<_> = (0..6_000).map(|n| Some(n % 150)).collect();
    for memory_bytes in [None, Some(64 << 10)] {
        for join_type in
            [JoinType::Inner, JoinType::Right, JoinType::RightSemi, JoinType::RightAnti]
        {
            let (schema, left) = batches(&[Kind::Int], &build, 50);
            let (_, right) = batches(&[Kind::Int], &numbers, 50);
            let sort = PhysicalSortExpr::new_default(Arc::new(Column::new("v", 1)));
            let source = MemorySourceConfig::try_new(&[right], Arc::clone(&schema), None)
                .unwrap()
                .try_with_sort_information(vec![LexOrdering::new(vec![sort]).unwrap()])
                .unwrap();
            let right = datafusion::datasource::source::DataSourceExec::from_data_source(source);
            let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new("k0", 0));
            let on = vec![(Arc::clone(&key), key)];
            let plan: Arc<dyn ExecutionPlan> =
                HashJoinExecBuilder::new(memory(&schema, left, 1), right, on, join_type)
                    .with_partition_mode(PartitionMode::CollectLeft)
                    .build_exec()
                    .unwrap();
            let join = replaced(&plan);
            let context = context(memory_bytes, 64);
            let mut last = -1;
            for batch in collect_partitioned(Arc::clone(&join), context).await.unwrap().remove(0) {
                let values = batch.column(batch.num_columns() - 1);
                let values = values.as_any().downcast_ref::<Int64Array>().unwrap();
                for value in values.values() {
                    assert!(*value >= last, "{join_type}: {value} after {last}");
                    last = *value;
                }
            }
            assert!(last > 0, "{join_type}");
            assert_eq!(memory_bytes.is_some(), spilled(&join) > 0);
        }
    }
}

fn plain(join_type: JoinType, mode: PartitionMode, partitions: usize) -> Case {
    Case {
        kinds: vec![Kind::Int],
        build: (0..500).map(Some).collect(),
        probe: (0..2_000).map(|n| Some(n % 1_000)).collect(),
        partitions,
        join_type,
        mode,
        filter: false,
        nulls_equal: false,
        projection: false,
        batch_rows: 100,
    }
}

#[tokio::test]
async fn a_partition_does_not_wait_for_one_that_is_not_polled() {
    for mode in [PartitionMode::CollectLeft, PartitionMode::Partitioned] {
        let join = replaced(&plain(JoinType::Inner, mode, 3).join());
        let mut streams = execute_stream_partitioned(join, context(None, 100)).unwrap();
        let mut found = 0;
        let one = streams.remove(1);
        let mut one = Box::pin(one);
        while let Some(batch) = one.next().await {
            found += batch.unwrap().num_rows();
        }
        assert!(found > 0);
    }
}

#[tokio::test]
async fn gives_no_more_rows_than_are_fetched() {
    let plan = plain(JoinType::Inner, PartitionMode::CollectLeft, 1).join();
    let limited = plan.with_fetch(Some(150)).unwrap();
    let join = replaced(&limited);
    assert_eq!(join.fetch(), Some(150));
    let parts = collect_partitioned(join, context(None, 100)).await.unwrap();
    assert_eq!(parts.iter().flatten().map(RecordBatch::num_rows).sum::<usize>(), 150);
}

#[tokio::test]
async fn a_join_can_run_again_and_be_counted() {
    let plan = plain(JoinType::Inner, PartitionMode::CollectLeft, 2).join();
    let join = replaced(&plan);
    let first = rows(&join, &context(None, 100)).await;
    let metrics = join.metrics().unwrap();
    assert_eq!(metrics.output_rows(), Some(1_000));
    assert_eq!(metrics.sum_by_name("build_input_rows").unwrap().as_usize(), 500);
    assert_eq!(metrics.sum_by_name("input_rows").unwrap().as_usize(), 2_000);
    let again = reset_plan_states(Arc::clone(&join)).unwrap();
    assert_eq!(again.name(), "VectorJoinExec");
    assert_eq!(rows(&again, &context(None, 100)).await, first);
    assert_eq!(join.schema(), plan.schema());
    assert_eq!(join.properties().partitioning.partition_count(), 2);
}

#[test]
fn a_null_aware_join_stays_as_it_is() {
    let case = plain(JoinType::LeftAnti, PartitionMode::CollectLeft, 1);
    let plan = case.join();
    let join = plan.downcast_ref::<HashJoinExec>().unwrap();
    let aware = join.builder().with_null_aware(true).build_exec().unwrap();
    let kept = replace_joins(aware).unwrap();
    assert_eq!(kept.name(), "HashJoinExec");
}

/// A join of rows that lie by the first of two keys, with a filter that a scan below would read.
fn placed_by_one_of_two() -> (Arc<dyn ExecutionPlan>, Arc<DynamicFilterPhysicalExpr>) {
    let kinds = [Kind::Int, Kind::Sparse];
    let build: Vec<_> = (0..300).map(|n| Some(n).filter(|n| n % 11 != 0)).collect();
    let probe: Vec<_> = (0..1_000).map(|n| Some(n % 500).filter(|n| n % 7 != 0)).collect();
    let keys: Vec<Arc<dyn PhysicalExpr>> =
        (0..2).map(|at| Arc::new(Column::new(&format!("k{at}"), at)) as _).collect();
    let placed = |numbers: &[Option<i32>]| -> Arc<dyn ExecutionPlan> {
        let (schema, batches) = batches(&kinds, numbers, 64);
        let hash = Partitioning::Hash(vec![Arc::clone(&keys[0])], 4);
        Arc::new(RepartitionExec::try_new(memory(&schema, batches, 1), hash).unwrap())
    };
    let filter = Arc::new(DynamicFilterPhysicalExpr::new(keys.clone(), lit(true)));
    let read = FilterExec::try_new(Arc::clone(&filter) as _, placed(&probe)).unwrap();
    let on = keys.iter().map(|key| (Arc::clone(key), Arc::clone(key))).collect();
    let join = HashJoinExecBuilder::new(placed(&build), Arc::new(read), on, JoinType::Inner)
        .with_partition_mode(PartitionMode::Partitioned)
        .build()
        .unwrap()
        .with_dynamic_filter_expr(Arc::clone(&filter))
        .unwrap();
    (Arc::new(join), filter)
}

fn with_filters() -> Arc<TaskContext> {
    let mut config = SessionConfig::new().with_batch_size(64);
    config.options_mut().optimizer.enable_join_dynamic_filter_pushdown = true;
    Arc::new(TaskContext::default().with_session_config(config))
}

#[tokio::test]
async fn a_filter_is_found_by_the_key_that_rows_lie_by() {
    let (plan, _) = placed_by_one_of_two();
    let expected = rows(&reset_plan_states(plan).unwrap(), &context(None, 64)).await;
    assert!(expected.len() > 100);
    let (plan, filter) = placed_by_one_of_two();
    let join = replace_joins(plan).unwrap();
    assert_eq!(join.name(), "VectorJoinExec");
    assert_eq!(rows(&join, &with_filters()).await, expected);
    let published = filter.current().unwrap().to_string();
    assert!(published.contains("CASE"), "{published}");
}

#[tokio::test]
async fn a_join_of_datafusion_loses_a_filter_that_would_lose_rows() {
    let (plan, _) = placed_by_one_of_two();
    let expected = rows(&reset_plan_states(plan).unwrap(), &context(None, 64)).await;
    let (plan, _) = placed_by_one_of_two();
    let safe = without_misrouted_filters(plan).unwrap();
    assert_eq!(safe.name(), "HashJoinExec");
    assert!(safe.dynamic_expressions_produced().is_empty());
    assert_eq!(rows(&safe, &with_filters()).await, expected);
    // By all keys it chooses right and keeps it.
    let (plan, filter) = placed_by_one_of_two();
    let join = plan.downcast_ref::<HashJoinExec>().unwrap();
    let on = vec![join.on()[0].clone()];
    let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
    let single = HashJoinExecBuilder::new(left, right, on, JoinType::Inner)
        .with_partition_mode(PartitionMode::Partitioned)
        .build()
        .unwrap()
        .with_dynamic_filter_expr(filter)
        .unwrap();
    let kept = without_misrouted_filters(Arc::new(single)).unwrap();
    assert_eq!(kept.dynamic_expressions_produced().len(), 1);
}
