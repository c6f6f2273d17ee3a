//! Writing a table: rows go to their slice, each slice writes its segments, the leader gets
//! descriptors only. Committing them is the session's.

mod number;

use std::sync::Arc;

use base::segment::Segment;
use base::{Error, Result, SqlType};
use catalog::{DistStyle, Table};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;

pub(crate) use self::number::NumberRowsExec;
use crate::distribute::Plan;
use crate::engine::{Engine, lost_write};
use crate::error::{from_datafusion, is_hash_join_memory, is_node_lost};
use crate::leaf::{DistributedSource, SourceExec};
use crate::query::{Executable, QueryContext, drain};
use crate::write::{EvenSliceExec, IdentityFill, SegmentWriteExec, WriteSpec, segments_of};

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
        let mut sorted_joins = false;
        loop {
            let mut context = query.clone();
            if sorted_joins {
                let name = "datafusion.optimizer.prefer_hash_join".to_owned();
                context.settings.push((name, "false".to_owned()));
            }
            let attempt = self.write_once(&source, &logical, target, &context).await;
            match attempt {
                Err(error) if is_hash_join_memory(&error) && !sorted_joins && logical.is_some() => {
                    sorted_joins = true;
                }
                Err(error) if is_node_lost(&error) => {
                    self.probe().await;
                    return Err(lost_write(error));
                }
                other => return other,
            }
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
        let slices = u16::try_from(self.layout().slices()).unwrap_or(u16::MAX);
        let mut spec = WriteSpec::new(&target.table, slices, target.prefix.clone())
            .with_identity(target.identity.clone());
        check_columns(&rows, &spec)?;
        let placed: Plan = match &target.table.distribution.effective {
            DistStyle::All => Arc::new(CoalescePartitionsExec::new(rows)),
            DistStyle::Key(column) => {
                let key = spec.key.ok_or_else(|| {
                    Error::internal(format!("distkey {column} of {} is no column", spec.name))
                })?;
                let rows = if spec.identity.iter().any(|fill| fill.column == key) {
                    let one: Plan = Arc::new(CoalescePartitionsExec::new(rows));
                    Arc::new(NumberRowsExec::new(one, std::mem::take(&mut spec.identity)))
                } else {
                    rows
                };
                let name = rows.schema().field(key).name().clone();
                self.to_slices(rows, Arc::new(Column::new(&name, key)))?
            }
            DistStyle::Even | DistStyle::Auto => {
                let spread = EvenSliceExec::new(rows, slices, base::rng::u64());
                let key = spread.slice_column();
                self.to_slices(Arc::new(spread), key)?
            }
        };
        let write = SegmentWriteExec::try_new(placed, Arc::new(spec)).map_err(from_datafusion)?;
        Ok(Arc::new(CoalescePartitionsExec::new(Arc::new(write))))
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

/// Checks that the rows have the table's columns.
fn check_columns(rows: &Plan, spec: &WriteSpec) -> Result<()> {
    let schema = rows.schema();
    if schema.fields().len() != spec.columns.len() {
        return Err(Error::internal(format!(
            "rows for {} have {} columns instead of {}",
            spec.name,
            schema.fields().len(),
            spec.columns.len()
        )));
    }
    for (field, column) in schema.fields().iter().zip(&spec.columns) {
        if *field.data_type() != SqlType::arrow(column.sql_type) {
            return Err(Error::internal(format!(
                "rows for {} have {} in column {} of type {}",
                spec.name,
                field.data_type(),
                column.name,
                column.sql_type
            )));
        }
    }
    Ok(())
}

impl Executable {
    /// Runs a plan that ends in a write and gathers its descriptors.
    async fn write(self) -> Result<Written> {
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
