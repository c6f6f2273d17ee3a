//! A second reading of the log: what its records mean, told without the catalog's state.

use std::collections::BTreeMap;

use base::ids::Oid;
use base::segment::Segment;

use crate::record::Record;
use crate::{Op, State};

/// Every transaction of a history sets a setting of this name and its number: what it saw of the
/// segments that it changes, as `path=deleted rows`.
pub(super) const MARKER: &str = "m";

/// The rows of a segment and how many of them are deleted.
type Rows = (u64, u64);

#[derive(Debug, Default)]
pub(super) struct Model {
    tables: BTreeMap<Oid, BTreeMap<String, Rows>>,
}

fn deleted(segment: &Segment) -> u64 {
    segment.rows - segment.live_rows()
}

impl Model {
    /// Follows a record.
    ///
    /// # Errors
    /// When a transaction changed rows that it had not seen as they were.
    pub(super) fn follow(&mut self, record: &Record) -> Result<(), String> {
        for transaction in &record.transactions {
            let mut seen = BTreeMap::new();
            for op in &transaction.ops {
                if let Op::SetSetting { name, value: Some(value) } = op
                    && name.starts_with(MARKER)
                {
                    let pairs = value.split_whitespace().filter_map(|pair| pair.split_once('='));
                    seen.extend(pairs.map(|(path, rows)| (path.to_owned(), rows.to_owned())));
                }
            }
            for op in &transaction.ops {
                self.apply(op, &seen).map_err(|error| format!("{error} by {op:?}"))?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op, seen: &BTreeMap<String, String>) -> Result<(), String> {
        match op {
            Op::AddSegments { table, segments, .. } => self.add(*table, segments),
            Op::RemoveAllSegments { table } => {
                self.tables.remove(table);
                Ok(())
            }
            Op::DeleteRows { table, deletes } => {
                for one in deletes {
                    let (rows, before) = self.take(*table, &one.segment.path, seen)?;
                    if one.deletes.rows <= before {
                        return Err(format!("rows of {} came back", one.segment.path));
                    }
                    if one.deletes.rows < rows {
                        let rows = (rows, one.deletes.rows);
                        self.table(*table).insert(one.segment.path.clone(), rows);
                    }
                }
                Ok(())
            }
            Op::ReplaceSegments { table, removed, added } => {
                for name in removed {
                    self.take(*table, &name.path, seen)?;
                }
                self.add(*table, added)
            }
            _ => Ok(()),
        }
    }

    fn table(&mut self, table: Oid) -> &mut BTreeMap<String, Rows> {
        self.tables.entry(table).or_default()
    }

    fn add(&mut self, table: Oid, segments: &[Segment]) -> Result<(), String> {
        for segment in segments {
            let rows = (segment.rows, deleted(segment));
            if self.table(table).insert(segment.path.clone(), rows).is_some() {
                return Err(format!("{} is there twice", segment.path));
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        table: Oid,
        path: &str,
        seen: &BTreeMap<String, String>,
    ) -> Result<Rows, String> {
        let rows = self.table(table).remove(path).ok_or_else(|| format!("{path} is not there"))?;
        match seen.get(path) {
            Some(deleted) if *deleted == rows.1.to_string() => Ok(rows),
            other => Err(format!("{path} had {} rows deleted, {other:?} were seen", rows.1)),
        }
    }

    /// Compares with a table of the state.
    pub(super) fn compare(&mut self, table: Oid, state: &State) -> Result<(), String> {
        let there: BTreeMap<String, Rows> = state
            .segments(table)
            .iter()
            .map(|segment| (segment.path.clone(), (segment.rows, deleted(segment))))
            .collect();
        let expected = self.table(table);
        if there == *expected {
            Ok(())
        } else {
            Err(format!("table {table} has {there:?} instead of {expected:?}"))
        }
    }
}
