//! ANALYZE COMPRESSION: what each encoding makes of a sample of each column, measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use base::client::{Column as ClientColumn, Outcome};
use base::ids::SliceId;
use base::segment::Segment;
use base::{Result, SqlType, error};
use catalog::{Column, Relation, Table};
use columnar::{ColumnSpec, Encode, SegmentWriter, WriteOptions};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use futures::TryStreamExt;
use sql::ast::AnalyzeCompression;

use super::column;
use super::definition::find_column;
use crate::client::{ClientSession, Run};
use crate::privileges;
use crate::relations::at;
use crate::system::{Cell, Rows};

/// Rows of a table that are encoded unless COMPROWS says otherwise.
const SAMPLE_ROWS: u64 = 100_000;
/// Redshift's limits of COMPROWS.
const SAMPLE_ROWS_RANGE: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000;
/// A sample is never larger than this: it is encoded on the leader.
const SAMPLE_BYTES_MAX: usize = 64 << 20;
/// An encoding other than the usual one has to save this much more, in percent.
const ADVANTAGE_PERCENT: u64 = 5;

const PERCENT: SqlType = SqlType::Decimal { precision: 5, scale: 2 };

/// The columns of the answer.
pub(super) fn columns() -> Arc<[ClientColumn]> {
    Arc::from(vec![
        column("Table", SqlType::Text),
        column("Column", SqlType::Text),
        column("Encoding", SqlType::Text),
        column("Est_reduction_pct", PERCENT),
    ])
}

impl ClientSession {
    pub(crate) async fn analyze_compression(
        &mut self,
        analyze: &AnalyzeCompression,
        run: &Run,
    ) -> Result<Outcome> {
        let sample = analyze.comp_rows.unwrap_or(SAMPLE_ROWS);
        if !SAMPLE_ROWS_RANGE.contains(&sample) {
            return Err(error!(InvalidParameterValue, "COMPROWS {sample} is out of range")
                .hint("It takes 1000 to 1000000000 rows."));
        }
        let context = self.context()?;
        let tables = match &analyze.table {
            Some(name) => {
                let relation = self.relation(name)?;
                privileges::owner(&context.user, relation.owner(), "relation", relation.name())?;
                let Relation::Table(table) = relation else {
                    return Err(at(
                        error!(WrongObjectType, "\"{}\" is not a table", relation.name()),
                        name.position(),
                    ));
                };
                vec![table]
            }
            None => {
                let tables = context.user_relations().into_iter();
                let tables = tables.filter_map(|relation| relation.table().cloned());
                let user = &context.user;
                tables.filter(|table| user.superuser || table.owner == user.oid).collect()
            }
        };
        let mut rows = Rows::new();
        for table in tables {
            let places = if analyze.columns.is_empty() {
                (0..table.columns.len()).collect()
            } else {
                let place = |name| {
                    let id = find_column(&table, name)?.id;
                    Ok(table.columns.iter().position(|column| column.id == id).unwrap_or(0))
                };
                analyze.columns.iter().map(place).collect::<Result<Vec<usize>>>()?
            };
            rows.extend(self.compress(&table, places, sample, run).await?);
        }
        super::show::rows(columns(), rows, "ANALYZE COMPRESSION")
    }

    /// Encodes a sample of some columns of a table; one row of the answer for each.
    ///
    /// Each slice gives an equal share, read one slice after the other: how well values pack
    /// depends on the order in which they are stored.
    async fn compress(
        &mut self,
        table: &Arc<Table>,
        places: Vec<usize>,
        sample: u64,
        run: &Run,
    ) -> Result<Rows> {
        let mut slices: BTreeMap<Option<SliceId>, Vec<Arc<Segment>>> = BTreeMap::new();
        for segment in self.work.state(&self.leader.catalog).segments(table.oid).iter() {
            slices.entry(segment.slice).or_default().push(Arc::clone(segment));
        }
        let share = usize::try_from(sample).unwrap_or(usize::MAX).div_ceil(slices.len().max(1));
        let share_bytes = SAMPLE_BYTES_MAX / slices.len().max(1);
        let mut trials: Vec<Trial> =
            places.iter().map(|place| Trial::new(table, &table.columns[*place])).collect();
        for segments in slices.into_values() {
            let source = self.leader.engine.table(Arc::clone(table), segments.into());
            let source = provider_as_source(source);
            let plan = LogicalPlanBuilder::scan("sample", source, Some(places.clone()))
                .and_then(|plan| plan.limit(0, Some(share)))
                .and_then(LogicalPlanBuilder::build)
                .map_err(|e| sql::error_from_datafusion(e, ""))?;
            let mut batches = self.stream(plan, run).await?;
            let mut bytes = 0;
            while let Some(batch) = batches.try_next().await? {
                run.count(batch.num_rows() as u64);
                bytes += batch.get_array_memory_size();
                trials = base::task::blocking("encode", move || encode(trials, &batch)).await?;
                if bytes > share_bytes {
                    break;
                }
            }
        }
        let name = table.name.clone();
        base::task::blocking("encode", move || {
            trials.into_iter().map(|trial| trial.row(&name)).collect()
        })
        .await
    }
}

fn encode(mut trials: Vec<Trial>, batch: &RecordBatch) -> Result<Vec<Trial>> {
    for (n, trial) in trials.iter_mut().enumerate() {
        let one = batch.project(&[n]).map_err(|e| base::Error::internal(e.to_string()))?;
        for (_, writer) in &mut trial.writers {
            writer.push(&one)?;
        }
    }
    Ok(trials)
}

/// One column under several encodings.
struct Trial {
    column: String,
    /// The encoding that it has, then those that it could have.
    writers: Vec<(Encode, SegmentWriter)>,
}

impl Trial {
    fn new(table: &Table, column: &Column) -> Trial {
        let leads = table.sort_key.columns().first() == Some(&column.id);
        let declared = column.encode.as_deref().and_then(|name| name.parse().ok());
        let usual = usual(column.sql_type);
        // The leading column of the sort key stays as it is, so that scans skip by it.
        let others = if leads { Vec::new() } else { vec![usual, Encode::Zstd, Encode::Raw] };
        let current = declared.filter(|encode| *encode != Encode::Auto).unwrap_or(usual);
        let writer = |encode: Encode| {
            let spec =
                ColumnSpec { id: column.id, sql_type: column.sql_type, encode: Some(encode) };
            (encode, SegmentWriter::new(vec![spec], WriteOptions::default()))
        };
        let writers = std::iter::once(current).chain(others).map(writer).collect();
        Trial { column: column.name.clone(), writers }
    }

    /// Table, column, the best encoding and how much less it takes than the present one.
    fn row(self, table: &str) -> Result<Vec<Cell>> {
        let sizes = self
            .writers
            .into_iter()
            .map(|(encode, writer)| {
                let encoded = writer.finish()?;
                Ok((encode, encoded.columns.first().map_or(0, |stats| stats.bytes)))
            })
            .collect::<Result<Vec<(Encode, u64)>>>()?;
        let (best, reduction) = best(&sizes);
        Ok(vec![
            Cell::Text(table.to_owned()),
            Cell::Text(self.column),
            Cell::Text(best.name().to_owned()),
            Cell::Decimal(i128::from(reduction)),
        ])
    }
}

/// The encoding that a column of a type gets when none is declared, by Redshift's name.
fn usual(sql_type: SqlType) -> Encode {
    match sql_type {
        SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Varbyte(_) => Encode::Lzo,
        SqlType::Boolean | SqlType::Real | SqlType::Double => Encode::Raw,
        _ => Encode::Az64,
    }
}

/// The best of several encodings and its reduction against the first, in hundredths of a percent.
fn best(sizes: &[(Encode, u64)]) -> (Encode, u64) {
    let Some((current, size)) = sizes.first().copied() else { return (Encode::Auto, 0) };
    let mut best = (current, size);
    for (encode, bytes) in &sizes[1..] {
        if bytes.saturating_mul(100) < best.1.saturating_mul(100 - ADVANTAGE_PERCENT) {
            best = (*encode, *bytes);
        }
    }
    let saved = size.saturating_sub(best.1);
    (best.0, saved.saturating_mul(10_000).checked_div(size).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_wins_when_it_saves_enough() {
        let sizes = [(Encode::Raw, 1_000), (Encode::Az64, 250), (Encode::Zstd, 245)];
        assert_eq!(best(&sizes), (Encode::Az64, 7_500));
        assert_eq!(best(&[(Encode::Az64, 100), (Encode::Raw, 99)]), (Encode::Az64, 0));
        assert_eq!(best(&[(Encode::Az64, 0)]), (Encode::Az64, 0));
    }
}
