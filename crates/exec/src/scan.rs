//! The scan leaf: segments of a table as a DataFusion plan.
//!
//! Owns which partition reads which segments, what the leaf declares of order, placement and
//! statistics, and how filters reach it. Reading blocks is `stream`'s, translating predicates
//! `predicate`'s. Must not hold anything that cannot travel to a compute node.

mod block;
mod compiled;
mod dynamic;
mod fetch;
mod metrics;
mod predicate;
mod proto;
mod pushdown;
mod spec;
pub(crate) mod statistics;
mod stream;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{SchemaRef, SortOptions};
use base::segment::Segment;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
    StatisticsArgs,
};

use crate::cache::NodeStorage;

pub(crate) use block::{BlockColumn, BlockRows};
pub use predicate::value_text;
pub(crate) use predicate::{ColumnPredicate, Split, datum_of, scalar_of, segment_can_match};
pub(crate) use proto::{SegmentMessage, from_json, json, segment_message, segment_of};
pub use proto::{decode, encode};
pub(crate) use spec::order_by_key;
pub use spec::{ScanColumn, ScanSpec, Slices};
pub(crate) use stream::{PartitionScan, Piece};

/// Ascending with NULLs last: the order of a SORTKEY, and of ORDER BY without options.
pub const SORT_OPTIONS: SortOptions = SortOptions { descending: false, nulls_first: false };

/// Reads the segments of some slices of a table; one partition per slice.
#[derive(Clone, Debug)]
pub struct SegmentScanExec {
    spec: Arc<ScanSpec>,
    slices: Slices,
    segments: Arc<[Arc<Segment>]>,
    /// Indices into the spec's columns.
    projection: Vec<usize>,
    /// Conjuncts over the spec's columns that every row given out satisfies.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Filters that other operators publish while they run; they only spare work.
    dynamic: Vec<Arc<dyn PhysicalExpr>>,
    fetch: Option<usize>,
    /// Of the output, before `fetch`; known where the plan was made.
    statistics: Option<Arc<Statistics>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SegmentScanExec {
    /// A scan of `segments` that gives out the columns `projection` of the spec.
    ///
    /// # Errors
    /// When the projection names a column that the spec does not have.
    pub fn try_new(
        spec: Arc<ScanSpec>,
        slices: Slices,
        segments: Arc<[Arc<Segment>]>,
        projection: Vec<usize>,
        filters: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<SegmentScanExec> {
        let properties = Arc::new(plan_properties(&spec, slices, &projection)?);
        Ok(SegmentScanExec {
            spec,
            slices,
            segments,
            projection,
            filters,
            dynamic: Vec::new(),
            fetch: None,
            statistics: None,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The scan with statistics of its output.
    pub fn with_statistics(mut self, statistics: Statistics) -> SegmentScanExec {
        self.statistics = Some(Arc::new(statistics));
        self
    }

    /// The variant for a task that holds the slices of `range`, partition by partition.
    ///
    /// # Errors
    /// When this is no planning view, or the range does not line up with its partitions.
    pub fn for_slices(&self, range: Range<u16>) -> Result<Arc<dyn ExecutionPlan>> {
        let slices = self.slices.narrowed(&range)?;
        let own = |segment: &&Arc<Segment>| slices.partition_of(segment).is_some();
        let segments = self.segments.iter().filter(own).cloned().collect();
        let properties = Arc::new(plan_properties(&self.spec, slices, &self.projection)?);
        Ok(Arc::new(SegmentScanExec { slices, segments, properties, ..self.fresh() }))
    }

    /// The variant for a task that takes no part, for example all but one of those that count
    /// the rows of a DISTSTYLE ALL table.
    pub fn without_segments(&self) -> Arc<dyn ExecutionPlan> {
        Arc::new(SegmentScanExec { segments: Arc::from([]), ..self.fresh() })
    }

    /// A copy that counts its own metrics.
    fn fresh(&self) -> SegmentScanExec {
        SegmentScanExec { metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }
    }

    /// The table, its columns, key and order.
    pub fn spec(&self) -> &Arc<ScanSpec> {
        &self.spec
    }

    /// Which slices this leaf holds.
    pub fn slices(&self) -> Slices {
        self.slices
    }

    /// True for DISTSTYLE ALL: each task that holds the leaf reads the whole table.
    pub fn is_replica(&self) -> bool {
        matches!(self.slices, Slices::Replica { .. })
    }

    /// The segments that the leaf reads, those pruned on the leader left out.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The conjuncts that the scan evaluates, over the columns of [`ScanSpec::schema`].
    pub fn filters(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.filters
    }

    /// The dynamic filters that reached the scan.
    pub fn dynamic_filters(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.dynamic
    }

    /// The columns given out, indices into the spec's.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// Starts a partition for an operator that decodes blocks itself; `None` when its rows come
    /// as batches only.
    ///
    /// # Errors
    /// When no storage is at hand.
    pub(crate) fn execute_blocks(
        &self,
        partition: usize,
        context: &TaskContext,
    ) -> Result<Option<PartitionScan>> {
        let address = self.spec.address().is_some_and(|at| self.projection.contains(&at));
        let (segments, _) = self.partition_segments(partition);
        if self.fetch.is_some() || address || segments.is_empty() {
            return Ok(None);
        }
        let storage = NodeStorage::of(context, &format!("a scan of {}", self.spec.name))?;
        stream::blocks(self, partition, segments, &storage, context).map(Some)
    }

    /// The rows of a partition before filters and deletions.
    pub(crate) fn partition_rows(&self, partition: usize) -> u64 {
        let (segments, _) = self.partition_segments(partition);
        segments.iter().map(|segment| segment.rows).sum()
    }

    /// The segments of one partition, in the order of the sort key.
    fn partition_segments(&self, partition: usize) -> (Vec<Arc<Segment>>, bool) {
        let own = |segment: &&Arc<Segment>| self.slices.partition_of(segment) == Some(partition);
        let mut segments: Vec<_> = self.segments.iter().filter(own).cloned().collect();
        let order = &self.spec.order;
        let key: Vec<_> = order.iter().filter_map(|at| self.spec.columns.get(*at)).collect();
        let key: Vec<_> = key.iter().map(|column| column.id).collect();
        let ordered = key.is_empty() || order_by_key(&mut segments, &key);
        (segments, ordered)
    }
}

/// What the leaf declares to the planner.
fn plan_properties(
    spec: &ScanSpec,
    slices: Slices,
    projection: &[usize],
) -> Result<PlanProperties> {
    let schema = output_schema(spec, projection)?;
    let given_out = |column: usize| -> Option<Arc<dyn PhysicalExpr>> {
        let place = projection.iter().position(|at| *at == column)?;
        Some(Arc::new(Column::new(&spec.columns.get(column)?.name, place)))
    };
    let partitions = slices.partitions();
    let key = spec.key.filter(|_| !matches!(slices, Slices::Replica { .. })).and_then(given_out);
    let partitioning = match key {
        Some(key) => Partitioning::Hash(vec![key], partitions),
        None => Partitioning::UnknownPartitioning(partitions),
    };
    // Order holds for the leading key columns up to the first that is not given out.
    let ordering: Vec<_> = spec
        .order
        .iter()
        .map_while(|column| given_out(*column))
        .map(|column| PhysicalSortExpr::new(column, SORT_OPTIONS))
        .collect();
    let orderings = (!ordering.is_empty()).then_some(ordering);
    let equivalence = EquivalenceProperties::new_with_orderings(schema, orderings);
    let emission = EmissionType::Incremental;
    Ok(PlanProperties::new(equivalence, partitioning, emission, Boundedness::Bounded)
        .with_scheduling_type(SchedulingType::Cooperative))
}

fn output_schema(spec: &ScanSpec, projection: &[usize]) -> Result<SchemaRef> {
    Ok(Arc::new(spec.schema().project(projection)?))
}

impl DisplayAs for SegmentScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentScanExec: table={}", self.spec.name)?;
        let names = |columns: &[usize]| {
            let names = columns.iter().filter_map(|at| self.spec.columns.get(*at));
            names.map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        write!(f, ", projection=[{}]", names(&self.projection))?;
        write!(f, ", segments={}", self.segments.len())?;
        let list = |exprs: &[Arc<dyn PhysicalExpr>]| {
            exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" AND ")
        };
        if !self.filters.is_empty() {
            write!(f, ", filter=[{}]", list(&self.filters))?;
        }
        if !self.dynamic.is_empty() {
            write!(f, ", dynamic_filter=[{}]", list(&self.dynamic))?;
        }
        if !self.spec.order.is_empty() {
            write!(f, ", order=[{}]", names(&self.spec.order))?;
        }
        match self.fetch {
            Some(fetch) => write!(f, ", fetch={fetch}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for SegmentScanExec {
    fn name(&self) -> &'static str {
        "SegmentScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return internal_err!("a scan has no inputs");
        }
        Ok(self)
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut recursion = TreeNodeRecursion::Continue;
        for expr in self.filters.iter().chain(&self.dynamic) {
            recursion = visit(expr)?;
            if recursion == TreeNodeRecursion::Stop {
                break;
            }
        }
        Ok(recursion)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.fresh()))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition >= self.slices.partitions() {
            return internal_err!("scan of {} has no partition {partition}", self.spec.name);
        }
        let (segments, ordered) = self.partition_segments(partition);
        let storage = match segments.is_empty() {
            true => None,
            false => Some(NodeStorage::of(&context, &format!("a scan of {}", self.spec.name))?),
        };
        stream::execute(self, partition, segments, ordered, storage, &context)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        if let Some(partition) = args.partition() {
            let mut statistics = Statistics::new_unknown(&self.schema());
            if self.filters.is_empty() && self.dynamic.is_empty() && self.fetch.is_none() {
                let (segments, _) = self.partition_segments(partition);
                let rows: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
                statistics.num_rows = Precision::Exact(rows as usize);
            }
            return Ok(Arc::new(statistics));
        }
        let Some(statistics) = &self.statistics else {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema())));
        };
        match self.fetch {
            // The limit is for each partition.
            Some(fetch) => {
                let partitions = self.slices.partitions();
                let statistics = Statistics::clone(statistics);
                Ok(Arc::new(statistics.with_fetch(Some(fetch), 0, partitions)?))
            }
            None => Ok(Arc::clone(statistics)),
        }
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(SegmentScanExec { fetch: limit, ..self.fresh() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        pushdown::projected(self, projection)
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        pushdown::filtered(self, result)
    }
}
