//! What a join gives out, and how its columns come from rows of both sides.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::filter::prep_null_mask_filter;
use arrow_select::take::take;
use datafusion::common::{
    JoinSide, JoinType, NullEquality, Result, internal_datafusion_err, internal_err,
};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter, build_join_schema};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use jointable::{NO_ROW, Pairs};

/// Where an output column comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    Build(usize),
    Probe(usize),
    /// Whether there was a match.
    Mark,
}

/// The fixed part of a join, shared by its partitions.
pub(super) struct Shape {
    pub(super) join_type: JoinType,
    pub(super) nulls_equal: bool,
    pub(super) on_build: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) on_probe: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) filter: Option<JoinFilter>,
    pub(super) schema: SchemaRef,
    pub(super) build_schema: SchemaRef,
    pub(super) probe_schema: SchemaRef,
    /// The build columns that the output or the filter needs.
    pub(super) build_columns: Vec<bool>,
    pub(super) fetch: Option<usize>,
    sources: Vec<Source>,
}

impl Shape {
    pub(super) fn new(join: &HashJoinExec) -> Result<Shape> {
        let (build_schema, probe_schema) = (join.left().schema(), join.right().schema());
        let (_, columns) = build_join_schema(&build_schema, &probe_schema, join.join_type());
        let all = (0..columns.len()).collect::<Vec<_>>();
        let projection = join.projection.as_deref().unwrap_or(&all);
        let sources: Vec<Source> = projection.iter().map(|at| source(&columns[*at])).collect();
        let mut build_columns = vec![false; build_schema.fields().len()];
        for source in &sources {
            if let Source::Build(index) = source {
                build_columns[*index] = true;
            }
        }
        for column in join.filter().iter().flat_map(|filter| filter.column_indices()) {
            if column.side == JoinSide::Left {
                build_columns[column.index] = true;
            }
        }
        Ok(Shape {
            join_type: *join.join_type(),
            nulls_equal: join.null_equality() == NullEquality::NullEqualsNull,
            on_build: join.on().iter().map(|(build, _)| Arc::clone(build)).collect(),
            on_probe: join.on().iter().map(|(_, probe)| Arc::clone(probe)).collect(),
            filter: join.filter().cloned(),
            schema: join.schema(),
            build_schema,
            probe_schema,
            build_columns,
            fetch: join.fetch(),
            sources,
        })
    }

    /// An output batch of `rows` rows.
    pub(super) fn batch(
        &self,
        rows: usize,
        build: &BuildRows<'_>,
        probe: &ProbeRows<'_>,
        mark: Option<&BooleanBuffer>,
    ) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.sources.len());
        for (source, field) in self.sources.iter().zip(self.schema.fields()) {
            columns.push(match source {
                Source::Build(at) => build.column(*at, rows, field.data_type())?,
                Source::Probe(at) => probe.column(*at, rows, field.data_type())?,
                Source::Mark => {
                    let mark =
                        mark.ok_or_else(|| internal_datafusion_err!("a join without a mark"))?;
                    Arc::new(BooleanArray::new(mark.clone(), None))
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    /// Keeps the pairs that the filter accepts.
    pub(super) fn filtered(
        &self,
        filter: &JoinFilter,
        side: &[Option<ArrayRef>],
        batch: &RecordBatch,
        pairs: &mut Pairs,
    ) -> Result<()> {
        let build = UInt32Array::from(std::mem::take(&mut pairs.build));
        let probe = UInt32Array::from(std::mem::take(&mut pairs.probe));
        let column = |at: &ColumnIndex| match at.side {
            JoinSide::Left => Ok(take(stored(side, at.index)?, &build, None)?),
            JoinSide::Right => Ok(take(batch.column(at.index), &probe, None)?),
            JoinSide::None => internal_err!("a join filter on a mark"),
        };
        let columns: Vec<ArrayRef> =
            filter.column_indices().iter().map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(probe.len()));
        let schema: &Arc<Schema> = filter.schema();
        let rows = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
        let kept = filter.expression().evaluate(&rows)?.into_array(rows.num_rows())?;
        let kept = kept
            .as_boolean_opt()
            .ok_or_else(|| internal_datafusion_err!("a join filter without truth"))?;
        let kept = match kept.null_count() {
            0 => kept.clone(),
            _ => prep_null_mask_filter(kept),
        };
        for at in kept.values().set_indices() {
            pairs.probe.push(probe.value(at));
            pairs.build.push(build.value(at));
        }
        Ok(())
    }
}

fn source(column: &ColumnIndex) -> Source {
    match column.side {
        JoinSide::Left => Source::Build(column.index),
        JoinSide::Right => Source::Probe(column.index),
        JoinSide::None => Source::Mark,
    }
}

fn stored(side: &[Option<ArrayRef>], at: usize) -> Result<&ArrayRef> {
    let column = side.get(at).and_then(Option::as_ref);
    column.ok_or_else(|| internal_datafusion_err!("column {at} of the build side was not kept"))
}

/// Build rows of an output batch.
pub(super) enum BuildRows<'a> {
    Picked(&'a [Option<ArrayRef>], UInt32Array),
    Slice(&'a [Option<ArrayRef>], usize),
    Null,
}

impl BuildRows<'_> {
    /// The build rows of pairs, of which some may be [`NO_ROW`] when `outer`.
    pub(super) fn of_pairs(
        side: &[Option<ArrayRef>],
        mut rows: Vec<u32>,
        outer: bool,
    ) -> BuildRows<'_> {
        let mut valid = None;
        if outer {
            let found = BooleanBuffer::collect_bool(rows.len(), |at| rows[at] != NO_ROW);
            rows.iter_mut().for_each(|row| *row = if *row == NO_ROW { 0 } else { *row });
            valid = Some(NullBuffer::new(found)).filter(|nulls| nulls.null_count() > 0);
        }
        BuildRows::Picked(side, UInt32Array::new(rows.into(), valid))
    }

    fn column(
        &self,
        at: usize,
        rows: usize,
        data_type: &arrow_schema::DataType,
    ) -> Result<ArrayRef> {
        Ok(match self {
            BuildRows::Picked(_, picked) if picked.null_count() == rows => {
                new_null_array(data_type, rows)
            }
            BuildRows::Picked(side, picked) => take(stored(side, at)?, picked, None)?,
            BuildRows::Slice(side, first) => stored(side, at)?.slice(*first, rows),
            BuildRows::Null => new_null_array(data_type, rows),
        })
    }
}

/// Probe rows of an output batch.
pub(super) enum ProbeRows<'a> {
    /// All from a row on.
    Slice(&'a RecordBatch, usize),
    Picked(&'a RecordBatch, UInt32Array),
    Null,
}

impl<'a> ProbeRows<'a> {
    /// The probe rows of pairs, in order.
    pub(super) fn of_pairs(batch: &'a RecordBatch, rows: Vec<u32>) -> ProbeRows<'a> {
        let follows = |pair: &[u32]| pair[1] == pair[0].wrapping_add(1);
        match rows.first() {
            // Every row matched once: the columns as they are.
            Some(first)
                if rows.last().is_some_and(|last| (last - first) as usize + 1 == rows.len())
                    && rows.windows(2).all(follows) =>
            {
                ProbeRows::Slice(batch, *first as usize)
            }
            _ => ProbeRows::Picked(batch, UInt32Array::from(rows)),
        }
    }

    fn column(
        &self,
        at: usize,
        rows: usize,
        data_type: &arrow_schema::DataType,
    ) -> Result<ArrayRef> {
        Ok(match self {
            ProbeRows::Slice(batch, first) => {
                let column = batch.column(at);
                if *first == 0 && column.len() == rows {
                    Arc::clone(column)
                } else {
                    column.slice(*first, rows)
                }
            }
            ProbeRows::Picked(batch, picked) => take(batch.column(at), picked, None)?,
            ProbeRows::Null => new_null_array(data_type, rows),
        })
    }
}
