//! What a pipeline does with groups that do not fit into memory but may be given out only once:
//! their partial states go to disk, divided by the hash of the keys, and part after part is
//! merged. A part that does not fit is divided again.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode, AggregateMode};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::SpillMetrics;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr, SpillManager};

use super::fuse::{self, Fused};
use crate::parts::{Partitioner, manager};

/// How the partial states of an aggregation look on disk and how they are merged.
pub(super) struct States {
    pub(super) schema: SchemaRef,
    /// Takes states and gives what the aggregation gives.
    pub(super) merge: Arc<Fused>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
}

impl States {
    /// For an aggregation that gives final results.
    pub(super) fn new(aggregate: &AggregateExec) -> Result<States> {
        let schema = state_schema(aggregate)?;
        let group_by = match aggregate.mode().input_mode() {
            AggregateInputMode::Partial => aggregate.group_expr().clone(),
            AggregateInputMode::Raw => aggregate.group_expr().as_final(),
        };
        let merge = AggregateExec::try_new(
            AggregateMode::Final,
            group_by,
            aggregate.aggr_expr().to_vec(),
            vec![None; aggregate.aggr_expr().len()],
            Arc::new(EmptyExec::new(Arc::clone(&schema))),
            aggregate.input_schema(),
        )?;
        let merge = fuse::fuse_merge(&merge)
            .map_err(|reason| internal_datafusion_err!("states that cannot be merged: {reason}"))?;
        let key = |(place, field): (usize, &Arc<arrow_schema::Field>)| {
            Arc::new(Column::new(field.name(), place)) as Arc<dyn PhysicalExpr>
        };
        let keys = schema.fields().iter().enumerate().take(merge.keys.len()).map(key).collect();
        Ok(States { schema, merge: Arc::new(merge), keys })
    }

    /// Reads what was written.
    pub(super) fn manager(&self, context: &TaskContext, metrics: &SpillMetrics) -> SpillManager {
        manager(context, metrics.clone(), &self.schema)
    }

    /// Divides states of parts that were divided `level` times before.
    pub(super) fn partitioner(
        &self,
        context: &TaskContext,
        metrics: &SpillMetrics,
        level: usize,
    ) -> Partitioner {
        Partitioner::new(self.manager(context, metrics), &self.keys, level)
    }
}

/// The schema of the partial states of an aggregation that gives final results.
fn state_schema(aggregate: &AggregateExec) -> Result<SchemaRef> {
    if aggregate.mode().input_mode() == AggregateInputMode::Partial {
        return Ok(aggregate.input().schema());
    }
    let partial = AggregateExec::try_new(
        AggregateMode::Partial,
        aggregate.group_expr().clone(),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        Arc::clone(aggregate.input()),
        aggregate.input_schema(),
    )?;
    Ok(partial.schema())
}
