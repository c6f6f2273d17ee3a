//! Writing a table: rows go to their slice, each slice writes its segments, the leader gets
//! descriptors only. Committing them is the session's.

mod number;

use std::sync::Arc;

use base::segment::Segment;
use base::{Error, Result};
use catalog::Table;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use futures::FutureExt;
use futures::future::BoxFuture;

pub(crate) use self::number::NumberRowsExec;
use crate::distribute::unary::is_partition_wise;
use crate::distribute::{Plan, rows};
use crate::engine::{Engine, lost_write};
use crate::error::{from_datafusion, is_hash_join_memory, is_node_lost};
use crate::leaf::{DistributedSource, SourceExec};
use crate::query::{Executable, QueryContext, UNSHARED, WITHOUT_HASH, drain};
use crate::scan::SegmentScanExec;
use crate::write::{
    EvenSliceExec, IdentityFill, SegmentWriteExec, WriteSpec, check_columns, segments_of,
};

/// Where rows come from. Their columns are the table's, in order and of its types.
#[derive(Clone, Debug)]
pub enum WriteInput {
    /// INSERT, CREATE TABLE AS.
    Plan(LogicalPlan),
    /// COPY: every task fetches its own share.
    Source(Arc<dyn DistributedSource>),
}

/// Where rows go.
#[derive(Clone, Debug)]
pub struct WriteTarget {
    pub table: Arc<Table>,
    /// The start of each segment's path: directory of the table, epoch and transaction, for
    /// example `data/100001/1-42`. Used for one write only.
    pub prefix: String,
    pub identity: Vec<IdentityFill>,
}

/// What was written and is not visible yet.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub segments: Vec<Segment>,
    pub rows: u64,
}

impl Engine {
    /// Writes rows to new segments on the compute nodes.
    ///
    /// # Errors
    /// What the rows' plan or the write finds; 08006 with a retry class when a node was lost.
    /// Segments of a write that failed are left for the store's garbage collection.
    pub async fn write(
        &self,
        input: WriteInput,
        target: &WriteTarget,
        query: &QueryContext,
    ) -> Result<Written> {
        let (source, logical): (Option<Plan>, _) = match input {
            WriteInput::Plan(logical) => (None, Some(logical)),
            WriteInput::Source(source) => {
                let slices = self.layout().slices();
                (Some(Arc::new(SourceExec::new(source, slices))), None)
            }
        };
        let again = logical.is_some();
        let (source, logical) = (&source, &logical);
        let run = |target: WriteTarget, context: QueryContext| {
            async move { self.write_once(source, logical, &target, &context).await }.boxed()
        };
        self.run_write(target, query, again, run).await
    }

    /// Runs a write, and once more with joins that spill or without sharing subplans when memory
    /// did not suffice and the rows can be planned `again`.
    pub(crate) async fn run_write<'a, T>(
        &self,
        target: &WriteTarget,
        query: &QueryContext,
        again: bool,
        run: impl Fn(WriteTarget, QueryContext) -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T> {
        let mut outcome = run(target.clone(), query.clone()).await;
        let (mut target, mut query) = (target.clone(), query.clone());
        let mut remedies: Vec<Remedy> =
            vec![(is_hash_join_memory, WITHOUT_HASH), (rows::is_too_much_shared, UNSHARED)];
        while again
            && let Err(error) = &outcome
            && let Some(at) = remedies.iter().position(|(helps, _)| helps(error))
        {
            query.set(remedies.remove(at).1);
            // Paths are used once, and some slice may have been done before.
            target.prefix.push_str("-again");
            outcome = run(target.clone(), query.clone()).await;
        }
        match outcome {
            Err(error) if is_node_lost(&error) => {
                self.probe().await;
                Err(lost_write(error))
            }
            other => other,
        }
    }

    async fn write_once(
        &self,
        source: &Option<Plan>,
        logical: &Option<LogicalPlan>,
        target: &WriteTarget,
        query: &QueryContext,
    ) -> Result<Written> {
        let state = self.state(query)?;
        let rows = match (source, logical) {
            (Some(source), _) => Arc::clone(source),
            (None, Some(logical)) => self.plan_rows(&state, logical.clone()).await?,
            (None, None) => return Err(Error::internal("a write has no rows")),
        };
        let plan = self.write_plan(rows, target)?;
        let executable = self.executable(state, None, plan, query)?;
        executable.write().await
    }

    fn write_plan(&self, rows: Plan, target: &WriteTarget) -> Result<Plan> {
        let mut spec = self.write_spec(target);
        check_columns(&rows.schema(), &spec, 0).map_err(from_datafusion)?;
        let placed = self.placed(rows, &mut spec, false)?;
        self.write_of(placed, spec)
    }

    /// How the rows of `target` are written.
    pub(crate) fn write_spec(&self, target: &WriteTarget) -> WriteSpec {
        let slices = u16::try_from(self.layout().slices()).unwrap_or(u16::MAX);
        WriteSpec::new(&target.table, slices, target.prefix.clone())
            .with_identity(target.identity.clone())
    }

    /// The write of rows that are where they belong.
    pub(crate) fn write_of(&self, placed: Plan, spec: WriteSpec) -> Result<Plan> {
        let write = SegmentWriteExec::try_new(placed, Arc::new(spec)).map_err(from_datafusion)?;
        Ok(Arc::new(CoalescePartitionsExec::new(Arc::new(write))))
    }

    /// Rows on their way to the slices that they belong to. With `stay`, rows of a table
    /// without a DISTKEY that come from slices are written where they are.
    pub(crate) fn placed(&self, rows: Plan, spec: &mut WriteSpec, stay: bool) -> Result<Plan> {
        if spec.replica {
            return Ok(match rows.output_partitioning().partition_count() {
                1 => rows,
                _ => Arc::new(CoalescePartitionsExec::new(rows)),
            });
        }
        let Some(key) = spec.key else {
            if stay && is_of_slices(&rows, self.layout().slices()) {
                return Ok(rows);
            }
            let spread = EvenSliceExec::new(rows, spec.slices, base::rng::u64());
            let key = spread.slice_column();
            return self.to_slices(Arc::new(spread), key);
        };
        let rows = if spec.identity.iter().any(|fill| fill.column == key) {
            let one: Plan = Arc::new(CoalescePartitionsExec::new(rows));
            Arc::new(NumberRowsExec::new(one, std::mem::take(&mut spec.identity)))
        } else {
            rows
        };
        let name = rows.schema().field(key).name().clone();
        self.to_slices(rows, Arc::new(Column::new(&name, key)))
    }

    /// Rows that lie on the slices of `key` already stay there.
    fn to_slices(&self, rows: Plan, key: Arc<dyn PhysicalExpr>) -> Result<Plan> {
        let slices = self.layout().slices();
        if let Partitioning::Hash(keys, partitions) = rows.output_partitioning()
            && *partitions == slices
            && matches!(keys.as_slice(), [only] if only.eq(&key))
        {
            return Ok(rows);
        }
        let partitioning = Partitioning::Hash(vec![key], slices);
        let plan = RepartitionExec::try_new(rows, partitioning).map_err(from_datafusion)?;
        Ok(Arc::new(plan))
    }
}

/// An error that a setting helps against.
type Remedy = (fn(&Error) -> bool, (&'static str, &'static str));

/// True for rows of a scan with one partition a slice, which nothing on the way moved.
pub(crate) fn is_of_slices(rows: &Plan, slices: usize) -> bool {
    let mut plan = rows;
    loop {
        if plan.output_partitioning().partition_count() != slices {
            return false;
        }
        let children = plan.children();
        plan = match children.as_slice() {
            [] => {
                let scan = plan.downcast_ref::<SegmentScanExec>();
                return scan.is_some_and(|scan| !scan.is_replica());
            }
            [child] if is_partition_wise(plan.as_ref()) => child,
            _ => return false,
        };
    }
}

impl Executable {
    /// Runs a plan that ends in a write and gathers its descriptors.
    pub(crate) async fn write(self) -> Result<Written> {
        let cancel = &self.context.cancel;
        let _slot = self.inner.admission.enter(cancel).await?;
        let started = self.runner(0, false)?.start(self.divided.clone()).await?;
        let mut written = Written::default();
        drain(started.stream, cancel, |batch| {
            written.segments.extend(segments_of(&batch).map_err(from_datafusion)?);
            Ok(())
        })
        .await?;
        written.rows = written.segments.iter().map(|segment| segment.rows).sum();
        // Descriptors come in the order in which slices end.
        written.segments.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(written)
    }
}
