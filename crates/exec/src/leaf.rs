//! Leaves of a plan and where they may be read.
//!
//! Owns the sorting of leaves into kinds and the leaf of other floors ([`SourceExec`]). Whoever
//! adds a leaf that reads user data adds it here: an unknown leaf is read on the leader.

use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};

use crate::layout::Layout;
use crate::scan::SegmentScanExec;

/// Rows that the compute nodes fetch themselves, each task its own share: the files of a COPY.
pub trait DistributedSource: fmt::Debug + Send + Sync + 'static {
    fn schema(&self) -> SchemaRef;

    /// What EXPLAIN calls it, for example `copy lineitem`.
    fn name(&self) -> String;

    /// The leaf of task `task` of `tasks`, with `partitions` partitions. Its codec is given to
    /// leader and nodes in [`crate::Extensions`]. Shares are disjoint and together complete.
    ///
    /// # Errors
    /// When the share cannot be made.
    fn for_task(
        &self,
        task: usize,
        tasks: usize,
        partitions: usize,
    ) -> base::Result<Arc<dyn ExecutionPlan>>;
}

/// A [`DistributedSource`] in a plan that is not divided yet; never executed.
#[derive(Debug)]
pub struct SourceExec {
    source: Arc<dyn DistributedSource>,
    properties: Arc<PlanProperties>,
}

impl SourceExec {
    /// The source over all `slices` of the cluster.
    pub fn new(source: Arc<dyn DistributedSource>, slices: usize) -> SourceExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(source.schema()),
            Partitioning::UnknownPartitioning(slices),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        SourceExec { source, properties: Arc::new(properties) }
    }

    pub fn source(&self) -> &Arc<dyn DistributedSource> {
        &self.source
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceExec: {}", self.source.name())
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a source is read by the tasks that it was divided into")
    }
}

/// Where a leaf's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafKind {
    /// Divided over the slices: task `t` reads the slices that it owns.
    Sliced,
    /// The whole of it can be read by any compute node (DISTSTYLE ALL).
    Replica,
    /// Rows inside the plan: VALUES, one row, no row.
    Literal,
    /// Only the leader has it: system tables.
    Leader,
}

/// Sorts a leaf of a plan that is not divided yet.
pub(crate) fn kind(leaf: &dyn ExecutionPlan) -> LeafKind {
    if let Some(scan) = leaf.downcast_ref::<SegmentScanExec>() {
        return if scan.is_replica() { LeafKind::Replica } else { LeafKind::Sliced };
    }
    #[cfg(test)]
    if let Some(leaf) = leaf.downcast_ref::<crate::testing::TestLeafExec>() {
        return if leaf.is_replica() { LeafKind::Replica } else { LeafKind::Sliced };
    }
    if leaf.is::<SourceExec>() {
        return LeafKind::Sliced;
    }
    if crate::distribute::rows::is_literal(leaf) {
        return LeafKind::Literal;
    }
    LeafKind::Leader
}

/// The leaf that one task reads in place of a sliced leaf.
pub(crate) fn for_task(
    leaf: &Arc<dyn ExecutionPlan>,
    layout: Layout,
    task: usize,
) -> base::Result<Arc<dyn ExecutionPlan>> {
    if let Some(source) = leaf.downcast_ref::<SourceExec>() {
        return source.source().for_task(task, layout.tasks(), layout.per_task());
    }
    let range = layout.range(task);
    let start = u16::try_from(range.start).unwrap_or(u16::MAX);
    let end = u16::try_from(range.end).unwrap_or(u16::MAX);
    if let Some(scan) = leaf.downcast_ref::<SegmentScanExec>() {
        return scan.for_slices(start..end).map_err(crate::error::from_datafusion);
    }
    #[cfg(test)]
    if let Some(leaf) = leaf.downcast_ref::<crate::testing::TestLeafExec>() {
        return Ok(leaf.for_slices(start..end));
    }
    Err(base::Error::internal(format!("{} is not divided over slices", leaf.name())))
}

/// True for a leaf that reads user data as it is executed (a divided one included).
pub(crate) fn reads_user_data(leaf: &dyn ExecutionPlan) -> bool {
    if let Some(divided) = leaf.downcast_ref::<datafusion_distributed::DistributedLeafExec>() {
        return divided.variants().iter().any(|variant| reads_user_data(variant.as_ref()))
            || reads_user_data(divided.original().as_ref());
    }
    matches!(kind(leaf), LeafKind::Sliced | LeafKind::Replica)
}
