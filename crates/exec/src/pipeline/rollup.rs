//! Grouping sets over a pipeline: ROLLUP and CUBE.
//!
//! DataFusion takes every row once for each set. Here a pipeline groups the rows once, by all
//! keys together, and only the groups are taken for each set and merged. Done where one of the
//! sets is that of all keys, so that its groups are asked for at any rate.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow_schema::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode,
    Partitioning, PhysicalExpr, PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use futures::stream::Fuse;
use futures::{StreamExt, TryStreamExt};

use super::PipelineExec;
use super::translate::Outcome;
use crate::distribute::Plan;

/// A partial aggregation over grouping sets.
#[derive(Debug)]
pub(crate) struct RollupExec {
    /// What it stands for, with its input.
    aggregate: Arc<AggregateExec>,
    finest: Arc<PipelineExec>,
    metrics: ExecutionPlanMetricsSet,
}

impl RollupExec {
    /// # Errors
    /// Why its groups are not made of finer ones.
    pub(super) fn try_new(aggregate: Arc<AggregateExec>) -> Outcome<RollupExec> {
        let finest = Arc::new(finest(&aggregate)?);
        Ok(RollupExec { aggregate, finest, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// What it stands for.
    pub(crate) fn aggregate(&self) -> &AggregateExec {
        &self.aggregate
    }

    /// In words, for EXPLAIN.
    pub(super) fn summary(&self) -> String {
        let sets = self.aggregate.group_expr().groups().len();
        format!("{sets} grouping sets over a {}", self.finest.fused.summary())
    }

    /// The states of all sets' groups, made of the finest groups.
    fn merged(&self) -> Result<AggregateExec> {
        let schema = self.aggregate.schema();
        let keys = self.aggregate.group_expr().num_group_exprs();
        let key = |(place, field): (usize, &Arc<arrow_schema::Field>)| {
            let column = Arc::new(Column::new(field.name(), place)) as Arc<dyn PhysicalExpr>;
            (column, field.name().clone())
        };
        let keys = schema.fields().iter().enumerate().take(keys).map(key).collect();
        AggregateExec::try_new(
            AggregateMode::PartialReduce,
            PhysicalGroupBy::new_single(keys),
            self.aggregate.aggr_expr().to_vec(),
            vec![None; self.aggregate.aggr_expr().len()],
            Arc::new(SetsExec::new(Arc::clone(&self.finest), schema, &self.aggregate)),
            self.aggregate.input_schema(),
        )
    }

    /// What there is without rows: the group of all of them.
    fn without_rows(&self, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let nothing = Arc::new(EmptyExec::new(self.aggregate.input().schema()));
        let aggregate = Arc::clone(&self.aggregate) as Plan;
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        aggregate.replace_children(vec![nothing], options)?.execute(0, context)
    }
}

/// The pipeline that groups by all keys of an aggregation over grouping sets.
fn finest(aggregate: &AggregateExec) -> Outcome<PipelineExec> {
    let groups = aggregate.group_expr();
    let sets = groups.groups();
    if !groups.has_grouping_set() || *aggregate.mode() != AggregateMode::Partial {
        return Err("grouping sets that are not taken in parts".to_owned());
    }
    let is_whole = |set: &Vec<bool>| set.iter().all(|is_null| !is_null);
    if sets.len() < 2 || !sets.iter().any(is_whole) {
        return Err("grouping sets without that of all keys".to_owned());
    }
    if (1..sets.len()).any(|at| sets[..at].contains(&sets[at])) {
        return Err("a grouping set that comes twice".to_owned());
    }
    if *aggregate.input_order_mode() != InputOrderMode::Linear
        || aggregate.limit_options().is_some()
        || !aggregate.dynamic_expressions_produced().is_empty()
    {
        return Err("grouping sets in order".to_owned());
    }
    let finest = AggregateExec::try_new(
        AggregateMode::Partial,
        PhysicalGroupBy::new_single(groups.expr().to_vec()),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        Arc::clone(aggregate.input()),
        aggregate.input_schema(),
    );
    PipelineExec::try_new(Arc::new(finest.map_err(|error| error.to_string())?))
}

impl DisplayAs for RollupExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RollupExec: {}: ", self.summary())?;
        self.aggregate.fmt_as(format, f)
    }
}

impl ExecutionPlan for RollupExec {
    fn name(&self) -> &'static str {
        "RollupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Plan> {
        vec![self.aggregate.input()]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        let aggregate = Arc::clone(&self.aggregate) as Plan;
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let aggregate = aggregate.replace_children(children, options)?;
        let Some(changed) = aggregate.downcast_ref::<AggregateExec>() else {
            return internal_err!("an aggregation became another operator");
        };
        match RollupExec::try_new(Arc::new(changed.clone())) {
            Ok(rollup) => Ok(Arc::new(rollup)),
            Err(_) => Ok(aggregate),
        }
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(visit)
    }

    fn reset_state(self: Arc<Self>) -> Result<Plan> {
        match RollupExec::try_new(Arc::clone(&self.aggregate)) {
            Ok(rollup) => Ok(Arc::new(rollup)),
            Err(reason) => internal_err!("grouping sets that could be taken: {reason}"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let merged = self.merged()?.execute(partition, Arc::clone(&context))?;
        let otherwise = self.without_rows(context)?;
        let schema = self.aggregate.schema();
        let (given, own) = (Arc::clone(&schema), baseline);
        let (merged, otherwise) = (merged.fuse(), otherwise.fuse());
        let stream = futures::stream::try_unfold(Rows { merged, otherwise, any: false }, next);
        let stream = stream.and_then(move |batch| {
            own.record_output(batch.num_rows());
            let batch = RecordBatch::try_new(Arc::clone(&given), batch.columns().to_vec());
            futures::future::ready(batch.map_err(DataFusionError::from))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, Box::pin(stream))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.aggregate.statistics_from_inputs(inputs, args)
    }
}

/// What a partition gives: merged groups, or what there is without any.
struct Rows {
    merged: Fuse<SendableRecordBatchStream>,
    otherwise: Fuse<SendableRecordBatchStream>,
    any: bool,
}

async fn next(mut rows: Rows) -> Result<Option<(RecordBatch, Rows)>> {
    while let Some(batch) = rows.merged.try_next().await? {
        if batch.num_rows() > 0 {
            rows.any = true;
            return Ok(Some((batch, rows)));
        }
    }
    if rows.any {
        return Ok(None);
    }
    Ok(rows.otherwise.try_next().await?.map(|batch| (batch, rows)))
}

/// Gives every group of its input once for each grouping set: keys that are not of the set are
/// NULL, and the set's number follows the keys.
#[derive(Debug)]
struct SetsExec {
    finest: Plan,
    /// For each set, which keys are NULL in it.
    sets: Arc<[Vec<bool>]>,
    properties: Arc<PlanProperties>,
}

impl SetsExec {
    fn new(finest: Arc<PipelineExec>, schema: SchemaRef, aggregate: &AggregateExec) -> SetsExec {
        let partitions = finest.properties().partitioning.partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let sets = aggregate.group_expr().groups().to_vec().into();
        SetsExec { finest, sets, properties: Arc::new(properties) }
    }
}

/// Groups with the keys of one set.
fn in_set(groups: &RecordBatch, set: &[bool], schema: &SchemaRef) -> Result<RecordBatch> {
    let (keys, states) = groups.columns().split_at(set.len());
    let key = |(key, is_null): (&ArrayRef, &bool)| match is_null {
        true => new_null_array(key.data_type(), key.len()),
        false => Arc::clone(key),
    };
    // As DataFusion numbers sets: a bit for each key, the last one's the lowest.
    let number = set.iter().fold(0, |number, is_null| number << 1 | u64::from(*is_null));
    let number = UInt64Array::from_value(number, groups.num_rows());
    let number = arrow_cast::cast(&number, schema.field(set.len()).data_type())?;
    let keys = keys.iter().zip(set).map(key);
    let columns = keys.chain([number]).chain(states.iter().cloned()).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

impl DisplayAs for SetsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetsExec: {} sets", self.sets.len())
    }
}

impl ExecutionPlan for SetsExec {
    fn name(&self) -> &'static str {
        "SetsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.finest]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        let [finest] = children.as_slice() else {
            return internal_err!("grouping sets have one input");
        };
        let (sets, properties) = (Arc::clone(&self.sets), Arc::clone(&self.properties));
        Ok(Arc::new(SetsExec { finest: Arc::clone(finest), sets, properties }))
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let groups = self.finest.execute(partition, context)?;
        let (sets, schema) = (Arc::clone(&self.sets), self.schema());
        let given = Arc::clone(&schema);
        let stream = groups.map_ok(move |batch| {
            let (sets, schema) = (Arc::clone(&sets), Arc::clone(&given));
            let batches = (0..sets.len()).map(move |at| in_set(&batch, &sets[at], &schema));
            futures::stream::iter(batches)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream.try_flatten())))
    }
}
