//! Changing a table: old rows are marked as deleted, new ones written, in one pass.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base::segment::Segment;
use base::{Error, Result};
use catalog::{SegmentDeletes, SegmentName};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use futures::FutureExt;

use crate::change::item::{self, Item, Merged, PLACE_COLUMN};
use crate::change::{ChangeExec, MergeDeletesExec, MergeSpec};
use crate::distribute::unary::is_partition_wise;
use crate::distribute::{Plan, contains};
use crate::engine::Engine;
use crate::error::from_datafusion;
use crate::query::{Executable, QueryContext, drain};
use crate::scan::SegmentScanExec;
use crate::writing::WriteTarget;

/// The last column of the rows of [`ChangeKind::Write`].
pub const WRITE_COLUMN: &str = "$write";

/// What the rows of a change are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// One column, [`base::segment::ROW_ADDRESS`]: what goes.
    Delete,
    /// The table's columns, the address of the row that goes (NULL for none), and
    /// [`WRITE_COLUMN`]: whether the columns are a row to write.
    Write,
}

/// What was changed and is not visible yet.
#[derive(Clone, Debug, Default)]
pub struct Modified {
    /// The rows written.
    pub segments: Vec<Segment>,
    /// By segment all of its deleted rows, those of before included.
    pub deletes: Vec<SegmentDeletes>,
    /// Rows that went, each counted once.
    pub deleted: u64,
    /// Rows in `segments`.
    pub written: u64,
    /// Rows that went, came or were given other values, each counted once: what a command's tag
    /// says.
    pub changed: u64,
    /// Some row came more than once.
    pub repeated: bool,
}

impl Engine {
    /// Runs a change of a table at the snapshot `segments`, which the rows were read at.
    ///
    /// # Errors
    /// What the rows' plan or the write finds; 08006 with a retry class when a node was lost.
    /// Files of a change that failed are left for the store's garbage collection.
    pub async fn modify(
        &self,
        rows: LogicalPlan,
        change: ChangeKind,
        target: &WriteTarget,
        segments: Arc<[Arc<Segment>]>,
        query: &QueryContext,
    ) -> Result<Modified> {
        let (rows, segments) = (&rows, &segments);
        let run = |target: WriteTarget, query: QueryContext| {
            async move { self.modify_once(rows, change, &target, segments, &query).await }.boxed()
        };
        self.run_write(target, query, true, run).await
    }

    async fn modify_once(
        &self,
        rows: &LogicalPlan,
        change: ChangeKind,
        target: &WriteTarget,
        segments: &Arc<[Arc<Segment>]>,
        query: &QueryContext,
    ) -> Result<Modified> {
        let state = self.state(query)?;
        let rows = self.plan_rows(&state, rows.clone()).await?;
        let read = read_segments(&rows, target, segments)?;
        if change == ChangeKind::Delete && read.is_empty() {
            return Ok(Modified::default());
        }
        let plan = self.change_plan(rows, change, target, read)?;
        let executable = self.executable(state, None, plan, query)?;
        executable.modify(segments).await
    }

    fn change_plan(
        &self,
        rows: Plan,
        change: ChangeKind,
        target: &WriteTarget,
        read: Vec<Arc<Segment>>,
    ) -> Result<Plan> {
        let mut spec = self.write_spec(target);
        let (placed, spec) = match change {
            ChangeKind::Delete => (rows, None),
            ChangeKind::Write => (self.placed(rows, &mut spec, true)?, Some(Arc::new(spec))),
        };
        let one = placed.output_partitioning().partition_count() == 1;
        let in_place = one || stays(&placed)?;
        let merge = MergeSpec {
            name: target.table.name.clone(),
            prefix: target.prefix.clone(),
            segments: read,
            in_place,
        };
        let change = ChangeExec::try_new(placed, spec).map_err(from_datafusion)?;
        let mut changed: Plan = Arc::new(change);
        if !in_place {
            let place = Arc::new(Column::new(PLACE_COLUMN, 0));
            let hash = Partitioning::Hash(vec![place], self.layout().slices());
            changed = Arc::new(RepartitionExec::try_new(changed, hash).map_err(from_datafusion)?);
        }
        let merged = Arc::new(MergeDeletesExec::new(changed, Arc::new(merge)));
        Ok(Arc::new(CoalescePartitionsExec::new(merged)))
    }
}

/// True for a scan that gives addresses.
fn gives_addresses(scan: &SegmentScanExec) -> bool {
    scan.spec().address().is_some_and(|at| scan.projection().contains(&at))
}

/// The segments of the target whose rows the plan can name.
fn read_segments(
    rows: &Plan,
    target: &WriteTarget,
    segments: &Arc<[Arc<Segment>]>,
) -> Result<Vec<Arc<Segment>>> {
    let mut read: BTreeMap<u32, Arc<Segment>> = BTreeMap::new();
    rows.apply(|node| {
        if let Some(scan) = node.downcast_ref::<SegmentScanExec>()
            && scan.spec().table == target.table.oid
            && gives_addresses(scan)
        {
            read.extend(scan.segments().iter().map(|s| (s.number, Arc::clone(s))));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(from_datafusion)?;
    let known = segments.iter().filter(|segment| read.contains_key(&segment.number)).count();
    if known != read.len() {
        let name = &target.table.name;
        return Err(Error::internal(format!("a change of {name} reads another snapshot of it")));
    }
    Ok(read.into_values().collect())
}

/// True when the rows of one segment never come in two partitions: between their scan, which
/// has a segment in one partition, and here, each partition comes from the same one below.
fn stays(rows: &Plan) -> Result<bool> {
    let addressed = |plan: &Plan| {
        contains(plan, &|node| node.downcast_ref::<SegmentScanExec>().is_some_and(gives_addresses))
    };
    if !addressed(rows) {
        return Ok(true);
    }
    if let Some(scan) = rows.downcast_ref::<SegmentScanExec>() {
        return Ok(!scan.is_replica());
    }
    if let Some(join) = rows.downcast_ref::<HashJoinExec>() {
        let left = match join.partition_mode() {
            PartitionMode::Partitioned => stays(join.left())?,
            _ => !addressed(join.left()),
        };
        return Ok(left && stays(join.right())?);
    }
    match rows.children().as_slice() {
        [child] if is_partition_wise(rows.as_ref()) => stays(child),
        _ => Ok(false),
    }
}

impl Executable {
    /// Runs a plan that ends in a change and gathers what it did.
    async fn modify(self, segments: &[Arc<Segment>]) -> Result<Modified> {
        let cancel = &self.context.cancel;
        let _slot = self.inner.admission.enter(cancel).await?;
        let started = self.runner(0, false)?.start(self.divided.clone()).await?;
        let mut modified = Modified::default();
        let mut merged: HashMap<u32, Merged> = HashMap::new();
        drain(started.stream, cancel, |batch| {
            for item in item::of_batch(&batch).map_err(from_datafusion)? {
                match item {
                    Item::Written(segment) => modified.segments.push(*segment),
                    // Two sets of one segment would each bring back what the other deletes.
                    Item::Merged(one) => {
                        if merged.insert(one.number, one).is_some() {
                            return Err(Error::internal("the deletes of a segment were divided"));
                        }
                    }
                    Item::Changed(rows) => modified.changed += rows,
                    Item::Partial(_) => {
                        return Err(Error::internal("the deletes of a segment were not merged"));
                    }
                }
            }
            Ok(())
        })
        .await?;
        for segment in segments {
            let Some(one) = merged.remove(&segment.number) else {
                continue;
            };
            modified.deleted += one.deleted;
            modified.changed = modified.changed.saturating_sub(one.named - one.deleted);
            modified.repeated |= one.named != one.deleted;
            let deletes = Arc::new(one.into_deletes());
            let segment = SegmentName::from(segment.as_ref());
            modified.deletes.push(SegmentDeletes { segment, deletes });
        }
        if let Some(number) = merged.into_keys().next() {
            return Err(Error::internal(format!("segment {number} is not of the snapshot")));
        }
        modified.written = modified.segments.iter().map(|segment| segment.rows).sum();
        // Descriptors come in the order in which slices end.
        modified.segments.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(modified)
    }
}
