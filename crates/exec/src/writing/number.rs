//! Numbers rows before they are divided, for a table whose DISTKEY is an IDENTITY column.
//!
//! Elsewhere each slice numbers its own rows. Here the number decides the slice, so one
//! partition gives all numbers first.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::StreamExt;

use crate::error::into_datafusion;
use crate::write::IdentityFill;

/// Fills IDENTITY columns of rows that come in one partition.
#[derive(Debug)]
pub(crate) struct NumberRowsExec {
    input: Arc<dyn ExecutionPlan>,
    fills: Vec<IdentityFill>,
    properties: Arc<PlanProperties>,
}

impl NumberRowsExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, fills: Vec<IdentityFill>) -> NumberRowsExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        NumberRowsExec { input, fills, properties: Arc::new(properties) }
    }

    pub(crate) fn fills(&self) -> &[IdentityFill] {
        &self.fills
    }
}

fn numbered(fills: &[IdentityFill], batch: &RecordBatch, first: u64) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    for fill in fills {
        if let Some(column) = columns.get_mut(fill.column) {
            *column = fill.filled(column, first, 0, 1).map_err(into_datafusion)?;
        }
    }
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

impl DisplayAs for NumberRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NumberRowsExec")
    }
}

impl ExecutionPlan for NumberRowsExec {
    fn name(&self) -> &str {
        "NumberRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(NumberRowsExec::new(children.swap_remove(0), self.fills.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let fills = self.fills.clone();
        let mut first = 0;
        let rows = input.map(move |batch| {
            let batch = batch?;
            let numbered = numbered(&fills, &batch, first);
            first += batch.num_rows() as u64;
            numbered
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), rows)))
    }
}
