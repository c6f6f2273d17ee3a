//! Spreads rows evenly over the slices for DISTSTYLE EVEN.
//!
//! Redistribution knows only hashes. This operator adds a column whose values are chosen so
//! that their hash names each slice in turn; the write operator drops it again.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PhysicalExpr, PlanProperties,
};
use futures::StreamExt;

use crate::placement;

/// The column by whose hash rows are redistributed.
pub const EVEN_COLUMN: &str = "\u{1}slice";

/// Adds [`EVEN_COLUMN`] after the columns of its input.
#[derive(Clone, Debug)]
pub struct EvenSliceExec {
    input: Arc<dyn ExecutionPlan>,
    slices: u16,
    /// The slice that gets the first row, so that many small loads do not all fill slice 0.
    start: u64,
    properties: Arc<PlanProperties>,
}

impl EvenSliceExec {
    /// Spreads the rows of `input` over `slices` slices, beginning with slice `start` modulo
    /// their number.
    pub fn new(input: Arc<dyn ExecutionPlan>, slices: u16, start: u64) -> EvenSliceExec {
        let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(EVEN_COLUMN, DataType::Int64, false)));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        EvenSliceExec { input, slices: slices.max(1), start, properties: Arc::new(properties) }
    }

    /// The expression to redistribute by.
    pub fn slice_column(&self) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(EVEN_COLUMN, self.input.schema().fields().len()))
    }

    pub fn slices(&self) -> u16 {
        self.slices
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }
}

/// For each slice a value that the hash places there.
fn values_of_slices(slices: u16) -> Result<Vec<i64>> {
    let count = usize::from(slices);
    let mut values: Vec<Option<i64>> = vec![None; count];
    let mut missing = count;
    let mut next = 0_i64;
    // A hash that leaves a slice out of so many values would be no hash.
    while missing > 0 && next < 1 << 24 {
        let candidates: ArrayRef = Arc::new(Int64Array::from_iter_values(next..next + 1_024));
        let mut places = Vec::with_capacity(1_024);
        placement::slices_of(&[candidates], slices, &mut places)?;
        for (offset, place) in places.into_iter().enumerate() {
            let value = &mut values[usize::from(place)];
            if value.is_none() {
                *value = Some(next + offset as i64);
                missing -= 1;
            }
        }
        next += 1_024;
    }
    match values.into_iter().collect::<Option<Vec<i64>>>() {
        Some(values) => Ok(values),
        None => internal_err!("no value hashes to one of {slices} slices"),
    }
}

/// Cuts each batch into one piece a slice; the slice that takes the odd row moves on.
struct Spreader {
    values: Vec<i64>,
    next: usize,
    schema: SchemaRef,
}

impl Spreader {
    fn spread(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (rows, slices) = (batch.num_rows(), self.values.len());
        let mut column = Vec::with_capacity(rows);
        for piece in 0..slices {
            let size = rows / slices + usize::from(piece < rows % slices);
            let value = self.values[(self.next + piece) % slices];
            column.resize(column.len() + size, value);
        }
        self.next = (self.next + rows % slices) % slices;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(column)));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

impl DisplayAs for EvenSliceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvenSliceExec: slices={}", self.slices)
    }
}

impl ExecutionPlan for EvenSliceExec {
    fn name(&self) -> &'static str {
        "EvenSliceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return internal_err!("rows are spread from one input");
        };
        Ok(Arc::new(EvenSliceExec::new(input, self.slices, self.start)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partitions = self.input.output_partitioning().partition_count();
        let slices = usize::from(self.slices);
        let offset = partition * slices / partitions.max(1);
        let mut spreader = Spreader {
            values: values_of_slices(self.slices)?,
            next: (self.start as usize % slices + offset) % slices,
            schema: Arc::clone(self.properties.eq_properties.schema()),
        };
        let input = self.input.execute(partition, context)?;
        let schema = Arc::clone(&spreader.schema);
        let stream = input.map(move |batch| spreader.spread(&batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slice_has_a_value_of_its_own() {
        for slices in [1, 2, 3, 16, 100] {
            let values = values_of_slices(slices).unwrap();
            let column: ArrayRef = Arc::new(Int64Array::from(values));
            let mut places = Vec::new();
            placement::slices_of(&[column], slices, &mut places).unwrap();
            assert_eq!(places, (0..slices).collect::<Vec<_>>());
        }
    }

    #[test]
    fn rows_differ_by_one_at_most() {
        let schema = Arc::new(Schema::new(vec![Field::new(EVEN_COLUMN, DataType::Int64, false)]));
        let mut spreader = Spreader { values: vec![0, 1, 2, 3], next: 1, schema };
        let mut counts = [0_usize; 4];
        for rows in [1, 1, 7, 8_192, 3, 0, 2] {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let empty = Arc::new(Schema::empty());
            let batch = RecordBatch::try_new_with_options(empty, vec![], &options).unwrap();
            let batch = spreader.spread(&batch).unwrap();
            let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            column.values().iter().for_each(|slice| counts[*slice as usize] += 1);
            let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(max - min <= 1, "{counts:?}");
        }
    }
}
