//! Hash joins on vectors of keys, instead of DataFusion's.
//!
//! Owns [`VectorJoinExec`], which takes the place of a `HashJoinExec` with the same inputs,
//! schema, partitioning and order, feeds the same dynamic filter, and joins by partitions on disk
//! what does not fit into memory. The tables of keys are those of the `jointable` crate.
//!
//! It never crosses the network: plans are divided, checked and sent with DataFusion's operator,
//! and each node replaces it where it runs.

mod build;
mod filter;
mod grace;
mod output;
mod prober;
mod spill;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, OnceLock};

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, async_try_stream};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PhysicalExpr, PlanProperties,
};

use self::build::{Collector, SharedBuild};
use self::filter::{FilterTarget, ReportGuard, Reports};
use self::output::Shape;
use self::stream::{JoinMetrics, JoinStream};

/// The session setting that turns them off.
pub(crate) const SETTING: &str = "enable_vector_joins";

/// Puts [`VectorJoinExec`] in the place of every hash join that it can do.
///
/// # Errors
/// What rebuilding a parent finds.
pub(crate) fn replace_joins(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        Ok(match replaceable(&node).map(VectorJoinExec::new).transpose()? {
            Some(join) => Transformed::yes(Arc::new(join)),
            None => Transformed::no(node),
        })
    })
    .data()
}

/// True for a hash join that [`replace_joins`] replaces.
pub(crate) fn is_replaced(node: &Arc<dyn ExecutionPlan>) -> bool {
    replaceable(node).is_some()
}

/// Takes the dynamic filter from every join of DataFusion that would choose the wrong one of its
/// partitions' filters, and so lose rows.
///
/// # Errors
/// What rebuilding a parent finds.
pub(crate) fn without_misrouted_filters(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let misrouted = datafusions(&node).is_some_and(filter::is_misrouted);
        if !misrouted {
            return Ok(Transformed::no(node));
        }
        node.reset_state().map(Transformed::yes)
    })
    .data()
}

/// The join of `node` when it is DataFusion's own.
fn datafusions(node: &Arc<dyn ExecutionPlan>) -> Option<&HashJoinExec> {
    // One that is replaced already passes for what it replaces, under its own name.
    node.downcast_ref::<HashJoinExec>().filter(|join| join.name() == node.name())
}

/// The join of `node` when it is DataFusion's and all that it asks for can be done.
fn replaceable(node: &Arc<dyn ExecutionPlan>) -> Option<&HashJoinExec> {
    let join = datafusions(node)?;
    let (left, right) = (join.left().schema(), join.right().schema());
    let keys = join.on().iter().all(|(build, probe)| {
        match (build.data_type(&left), probe.data_type(&right)) {
            (Ok(build), Ok(probe)) => build == probe && jointable::is_supported(&build),
            _ => false,
        }
    });
    let bounded = !join.properties().boundedness.is_unbounded();
    (keys && bounded && !join.null_aware && join.mode != PartitionMode::Auto).then_some(join)
}

/// A hash join: builds a table of its left input and looks up the rows of its right input.
pub(crate) struct VectorJoinExec {
    /// What it replaces, which speaks for schema, properties and statistics.
    original: Arc<HashJoinExec>,
    shape: Arc<Shape>,
    metrics: ExecutionPlanMetricsSet,
    /// The build side that all partitions share, when it is collected.
    shared: OnceLock<SharedBuild>,
    /// What the partitions say of their build sides, for the dynamic filter.
    reports: OnceLock<Option<Arc<Reports>>>,
}

impl VectorJoinExec {
    fn new(original: &HashJoinExec) -> Result<VectorJoinExec> {
        Ok(VectorJoinExec {
            shape: Arc::new(Shape::new(original)?),
            original: Arc::new(original.builder().build()?),
            metrics: ExecutionPlanMetricsSet::new(),
            shared: OnceLock::new(),
            reports: OnceLock::new(),
        })
    }

    fn reports(&self, context: &TaskContext) -> Result<Option<Arc<Reports>>> {
        if let Some(reports) = self.reports.get() {
            return Ok(reports.clone());
        }
        let target = FilterTarget::of(&self.original, context.session_config().options())?;
        Ok(self.reports.get_or_init(|| target.map(|target| Arc::new(Reports::new(target)))).clone())
    }

    fn collector(
        &self,
        partition: usize,
        metrics: &JoinMetrics,
        context: &Arc<TaskContext>,
    ) -> Result<Collector> {
        let collected = self.original.mode == PartitionMode::CollectLeft;
        let probers = match collected {
            true => self.original.right().output_partitioning().partition_count(),
            false => 1,
        };
        Ok(Collector {
            shape: Arc::clone(&self.shape),
            input: self.original.left().execute(partition, Arc::clone(context))?,
            metrics: metrics.clone(),
            context: Arc::clone(context),
            shares: if collected { 1 } else { self.partitions() },
            probers,
            reports: self.reports(context)?,
            report_as: partition,
        })
    }

    fn partitions(&self) -> usize {
        self.original.right().output_partitioning().partition_count()
    }
}

impl fmt::Debug for VectorJoinExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorJoinExec").field("original", &self.original).finish_non_exhaustive()
    }
}

impl DisplayAs for VectorJoinExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str("VectorJoin")?,
            DisplayFormatType::TreeRender => {}
        }
        self.original.fmt_as(t, f)
    }
}

impl ExecutionPlan for VectorJoinExec {
    fn name(&self) -> &'static str {
        "VectorJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.original.properties()
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.original.as_ref())
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.original.input_distribution_requirements()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.original.maintains_input_order()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.original.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.original.apply_expressions(f)
    }

    fn dynamic_expressions_produced(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        self.original.dynamic_expressions_produced()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        again(Arc::clone(&self.original).replace_children(children, options)?)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        again(Arc::clone(&self.original).reset_state()?)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = JoinMetrics::new(partition, &self.metrics);
        let collected = self.original.mode == PartitionMode::CollectLeft;
        let build = if collected {
            match self.shared.get() {
                Some(build) => build.clone(),
                None => {
                    let build = self.collector(0, &metrics, &context)?.shared();
                    self.shared.get_or_init(|| build).clone()
                }
            }
        } else {
            self.collector(partition, &metrics, &context)?.shared()
        };
        // A build side that all share reports when it is made, whoever makes it.
        let reports = if collected { None } else { self.reports(&context)? };
        let join = JoinStream {
            shape: Arc::clone(&self.shape),
            build,
            probe: self.original.right().execute(partition, Arc::clone(&context))?,
            guard: reports.map(|reports| ReportGuard { reports, partition }),
            metrics,
            context,
            shares: self.partitions(),
            ordering: self.properties().output_ordering().cloned(),
        };
        let batches = async_try_stream(|emitter| join.run(emitter));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.original.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.original.statistics_from_inputs(inputs, args)
    }

    fn fetch(&self) -> Option<usize> {
        self.original.fetch()
    }
}

fn again(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(join) = plan.downcast_ref::<HashJoinExec>() else {
        return internal_err!("a hash join became {}", plan.name());
    };
    Ok(Arc::new(VectorJoinExec::new(join)?))
}

/// True for joins that give build rows at their end: by what all probe rows matched.
fn gives_build_rows(join_type: JoinType) -> bool {
    use JoinType::{Full, Left, LeftAnti, LeftMark, LeftSemi};
    matches!(join_type, Left | Full | LeftAnti | LeftMark | LeftSemi)
}
