//! Aggregation over chains of filters and projections as one operator on typed vectors.
//!
//! Owns which `AggregateExec` are replaced and what the replacement promises: the same schema,
//! partitions and rows. The replaced chain stays below as children, so that counters and the
//! leaf are found where they were; over a scan of segments blocks are taken as they are encoded.

mod fuse;
mod load;
mod machine;
mod output;
mod rollup;
mod run;
mod spill;
mod translate;

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};

use crate::distribute::Plan;
use fuse::Fused;
pub(crate) use rollup::RollupExec;

/// The session setting that turns pipelines off.
pub(crate) const SETTING: &str = "enable_vector_pipelines";

/// Replaces every aggregation that a pipeline can compute.
pub(crate) fn replace_aggregates(plan: Plan) -> Result<Plan> {
    plan.transform_up(|node| {
        let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
            return Ok(Transformed::no(node));
        };
        let aggregate = Arc::new(aggregate.clone());
        if aggregate.group_expr().has_grouping_set() {
            return Ok(match RollupExec::try_new(aggregate) {
                Ok(rollup) => Transformed::yes(Arc::new(rollup) as Plan),
                Err(_) => Transformed::no(node),
            });
        }
        match PipelineExec::try_new(aggregate) {
            Ok(pipeline) => Ok(Transformed::yes(Arc::new(pipeline) as Plan)),
            Err(_) => Ok(Transformed::no(node)),
        }
    })
    .data()
}

/// For each aggregation of a plan, in its order: how a pipeline computes it, or why none does.
pub(crate) fn describe(plan: &Plan, lines: &mut Vec<String>) {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let line = displayed(aggregate);
        let summary = match aggregate.group_expr().has_grouping_set() {
            true => RollupExec::try_new(Arc::new(aggregate.clone())).map(|rollup| rollup.summary()),
            false => fuse::fuse(aggregate).map(|fused| fused.summary()),
        };
        lines.push(match summary {
            Ok(summary) => format!("{line}: {summary}"),
            Err(reason) => format!("{line}: not fused, {reason}"),
        });
    }
    for child in plan.children() {
        describe(child, lines);
    }
}

fn displayed(aggregate: &AggregateExec) -> String {
    let keys = aggregate.group_expr().expr().iter().map(|(_, name)| name.as_str());
    let keys: Vec<&str> = keys.collect();
    match keys.is_empty() {
        true => format!("{:?} Aggregate", aggregate.mode()),
        false => format!("{:?} HashAggregate by {}", aggregate.mode(), keys.join(", ")),
    }
}

/// An aggregation with the filters and projections below it.
#[derive(Debug)]
pub(crate) struct PipelineExec {
    /// What it stands for, with its input.
    aggregate: Arc<AggregateExec>,
    fused: Arc<Fused>,
    metrics: ExecutionPlanMetricsSet,
}

impl PipelineExec {
    /// # Errors
    /// Why no pipeline computes this aggregation.
    fn try_new(aggregate: Arc<AggregateExec>) -> std::result::Result<PipelineExec, String> {
        let fused = Arc::new(fuse::fuse(&aggregate)?);
        Ok(PipelineExec { aggregate, fused, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// What it stands for.
    pub(crate) fn aggregate(&self) -> &AggregateExec {
        &self.aggregate
    }
}

impl DisplayAs for PipelineExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipelineExec: {}: ", self.fused.summary())?;
        self.aggregate.fmt_as(format, f)
    }
}

impl ExecutionPlan for PipelineExec {
    fn name(&self) -> &'static str {
        "PipelineExec"
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
        match PipelineExec::try_new(Arc::new(changed.clone())) {
            Ok(pipeline) => Ok(Arc::new(pipeline)),
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
        Ok(Arc::new(PipelineExec {
            aggregate: Arc::clone(&self.aggregate),
            fused: Arc::clone(&self.fused),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        run::execute(self, partition, &context)
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
