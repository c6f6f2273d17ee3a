//! ANALYZE: what a sample of a table's rows tells of its values.
//!
//! Owns which rows are looked at; `summary` makes distributions of them. Reads blocks spread
//! evenly over each segment, so that the cost hardly grows with the table.

mod summary;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use base::ids::ColumnId;
use base::segment::{ROW_ADDRESS, Segment};
use base::{Error, Result};
use catalog::{Table, ValueDistribution};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, lit};
use futures::StreamExt;

use crate::engine::Engine;
use crate::error::from_datafusion;
use crate::query::QueryContext;

/// About so many rows are looked at: 600 for each of 100 ranges.
const ROWS: u64 = 60_000;
/// Rows that are beside each other are taken together, 2 to this power of them: fewer would
/// touch every block, more would look alike.
const CLUMP_BITS: u32 = 7;
/// Texts can be long: a sample ends at this size.
const BYTES_MAX: usize = 128 << 20;
/// What the sampled table is called in its plan.
const NAME: &str = "sampled";

/// Rows of a table with their addresses in the last column.
struct Sample {
    rows: RecordBatch,
    /// True when these are all rows of the table.
    whole: bool,
}

impl Engine {
    /// Looks at some rows of a table and tells how the values of `columns` are spread.
    ///
    /// # Errors
    /// Those of a query.
    pub async fn distributions(
        &self,
        table: &Arc<Table>,
        segments: &Arc<[Arc<Segment>]>,
        columns: &[ColumnId],
        query: &QueryContext,
    ) -> Result<Vec<ValueDistribution>> {
        let live: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
        if live == 0 || columns.is_empty() {
            return Ok(Vec::new());
        }
        let sample = self.sample(table, segments, columns, live, query).await?;
        let places: Vec<usize> = (0..table.columns.len())
            .filter(|at| columns.contains(&table.columns[*at].id))
            .collect();
        let provider = self.segment_table(Arc::clone(table), Arc::clone(segments));
        let known = provider.column_statistics(&places);
        let of = |(place, at): (usize, &usize)| {
            let distinct = known.get(place).and_then(|known| known.distinct_count.get_value());
            let distinct = distinct.map(|distinct| *distinct as u64);
            let values = sample.rows.column(place);
            let source = summary::Source { column: &table.columns[*at], live, distinct };
            summary::distribution(&source, values, sample.addresses()?, sample.whole)
        };
        places.iter().enumerate().map(of).collect()
    }

    async fn sample(
        &self,
        table: &Arc<Table>,
        segments: &Arc<[Arc<Segment>]>,
        columns: &[ColumnId],
        live: u64,
        query: &QueryContext,
    ) -> Result<Sample> {
        let stride = live / ROWS;
        let plan = self.sampled(table, segments, columns, stride)?;
        let mut rows = self.plan(plan, query).await?.execute()?;
        let mut batches = Vec::new();
        let (mut bytes, mut whole) = (0, stride < 2);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            bytes += batch.get_array_memory_size();
            batches.push(batch);
            if bytes > BYTES_MAX {
                whole = false;
                break;
            }
        }
        let schema: SchemaRef = match batches.first() {
            Some(batch) => batch.schema(),
            None => return Err(Error::internal("a table with rows gave none of them")),
        };
        let rows = concat_batches(&schema, &batches).map_err(|e| from_datafusion(e.into()))?;
        Ok(Sample { rows, whole })
    }

    /// The columns of every `stride`th clump of rows, with the rows' addresses.
    fn sampled(
        &self,
        table: &Arc<Table>,
        segments: &Arc<[Arc<Segment>]>,
        columns: &[ColumnId],
        stride: u64,
    ) -> Result<LogicalPlan> {
        let column = |name: &str| {
            Expr::Column(Column::new(Some(TableReference::bare(NAME)), name.to_owned()))
        };
        let provider = self.table_with_address(Arc::clone(table), Arc::clone(segments));
        let mut plan = LogicalPlanBuilder::scan(NAME, provider_as_source(provider), None);
        if stride >= 2 {
            // An odd stride meets other rows in each segment.
            let stride = i64::try_from(stride | 1).unwrap_or(i64::MAX);
            let start = i64::try_from(base::rng::u64() >> 1).unwrap_or(0) % stride;
            let clump = binary_expr(
                column(ROW_ADDRESS),
                Operator::BitwiseShiftRight,
                lit(i64::from(CLUMP_BITS)),
            );
            let chosen = binary_expr(clump, Operator::Modulo, lit(stride)).eq(lit(start));
            plan = plan.and_then(|plan| plan.filter(chosen));
        }
        let wanted = table.columns.iter().filter(|column| columns.contains(&column.id));
        let names = wanted.map(|column| column.name.as_str()).chain([ROW_ADDRESS]);
        let exprs: Vec<Expr> = names.map(column).collect();
        let plan = plan.and_then(|plan| plan.project(exprs)).and_then(LogicalPlanBuilder::build);
        plan.map_err(from_datafusion)
    }
}

impl Sample {
    fn addresses(&self) -> Result<&arrow_array::Int64Array> {
        use arrow_array::cast::AsArray;
        let last = self.rows.columns().last();
        let addresses = last.and_then(|last| last.as_primitive_opt());
        addresses.ok_or_else(|| Error::internal("sampled rows have no addresses"))
    }
}
