//! Which concurrent transactions conflict: the first committer wins, appends commute.
//!
//! Owns the versions stamped on objects and the check made at commit. Versions live only in
//! memory: a snapshot never outlives the process that took it.

use std::sync::Arc;

use base::ids::{LogPosition, Oid};
use base::{Error, Result, Retry, error};

use super::State;
use crate::op::{Op, SegmentName, TableChange};

/// The positions at which an object last changed, by kind of change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Versions {
    /// Anything in its definition.
    pub(crate) definition: LogPosition,
    /// What segments written under the old definition depend on.
    pub(crate) structure: LogPosition,
    /// Its rows.
    pub(crate) data: LogPosition,
    /// The next values of its identity columns.
    pub(crate) identity: LogPosition,
}

/// What an operation relies on in an object that it found in its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// That it is still there.
    Existence,
    /// That segments written for it still fit.
    Structure,
    /// That nothing of its definition changed.
    Definition,
    /// That neither its rows nor what they depend on changed.
    Rows,
    /// That no identity value was given since.
    Identity,
}

/// The check of a transaction's operations against what has been committed since its snapshot.
pub(crate) struct Conflicts<'a> {
    pub(crate) snapshot: &'a State,
    pub(crate) head: &'a State,
}

impl Conflicts<'_> {
    /// # Errors
    /// 40001 naming the object that changed.
    pub(crate) fn check(&self, ops: &[Op]) -> Result<()> {
        if self.snapshot.position == self.head.position {
            return Ok(());
        }
        let mut emptied = Vec::new();
        for op in ops {
            if let Op::RemoveAllSegments { table } = op {
                emptied.push(*table);
            }
            if let Op::AddSegments { table, segments, .. } = op
                && emptied.contains(table)
                && !segments.is_empty()
            {
                self.need(*table, Needs::Rows)?;
            }
            self.check_op(op)?;
        }
        Ok(())
    }

    fn check_op(&self, op: &Op) -> Result<()> {
        match op {
            Op::CreateCluster(_)
            | Op::StartEpoch { .. }
            | Op::CreateDatabase { .. }
            | Op::DropTemporaries { .. }
            | Op::CreateUser(_)
            | Op::SetSetting { .. }
            | Op::LoadErrors(_)
            | Op::CollectFiles { .. } => Ok(()),
            Op::AlterDatabase { database, .. } | Op::DropDatabase { database } => {
                self.need(*database, Needs::Definition)
            }
            Op::CreateSchema(schema) => self.need(schema.database, Needs::Existence),
            Op::AlterSchema { schema, .. } | Op::DropSchema { schema, .. } => {
                self.need(*schema, Needs::Definition)
            }
            Op::CreateTable(table) => {
                self.need(table.schema, Needs::Existence)?;
                table
                    .constraints
                    .iter()
                    .filter_map(|constraint| constraint.referenced())
                    .try_for_each(|referenced| self.need(referenced, Needs::Definition))
            }
            Op::AlterTable { table, change } => self.check_alter(*table, change),
            Op::DropRelation { relation, .. } => self.need(*relation, Needs::Definition),
            Op::CreateView(view) | Op::ReplaceView(view) => {
                self.need(view.schema, Needs::Existence)?;
                self.need(view.oid, Needs::Definition)?;
                view.depends_on.iter().try_for_each(|oid| self.need(*oid, Needs::Definition))
            }
            Op::CreateRoutine(routine) => self.need(routine.schema, Needs::Existence),
            Op::ReplaceRoutine(routine) => {
                self.need(routine.schema, Needs::Existence)?;
                self.need(routine.oid, Needs::Definition)
            }
            Op::AlterRoutine { routine, .. } | Op::DropRoutine { routine, .. } => {
                self.need(*routine, Needs::Definition)
            }
            Op::AddSegments { table, identity_next, .. } => {
                self.need(*table, Needs::Structure)?;
                if identity_next.iter().any(|identity| !identity.reserved) {
                    self.need(*table, Needs::Identity)?;
                }
                Ok(())
            }
            Op::RemoveAllSegments { table } => self.need(*table, Needs::Existence),
            Op::SetStatistics(statistics) => self.need(statistics.table, Needs::Existence),
            Op::DeleteRows { table, deletes } => {
                self.need(*table, Needs::Existence)?;
                self.same_segments(*table, deletes.iter().map(|one| &one.segment))
            }
            Op::ReplaceSegments { table, removed, .. } => {
                self.need(*table, Needs::Structure)?;
                self.same_segments(*table, removed.iter())
            }
            Op::AlterUser { user, .. } | Op::DropUser { user } => {
                self.need(*user, Needs::Definition)
            }
            Op::Comment { object, .. } => self.need(*object, Needs::Existence),
            Op::Grant { object, grantee, .. } | Op::Revoke { object, grantee, .. } => {
                self.need(*object, Needs::Existence)?;
                self.need(*grantee, Needs::Existence)
            }
        }
    }

    /// Requires that segments found in the snapshot still have the rows that they had there.
    fn same_segments<'s>(
        &self,
        table: Oid,
        segments: impl Iterator<Item = &'s SegmentName>,
    ) -> Result<()> {
        let Some(old) = self.snapshot.contents.get(&table) else { return Ok(()) };
        let now = self.head.contents.get(&table);
        for name in segments {
            // The transaction's own: looking for it in the snapshot would pass all segments.
            if name.number > old.numbered() {
                continue;
            }
            let Some(before) = old.find(name) else { continue };
            let after = now.and_then(|contents| contents.find(name));
            if after.is_none_or(|after| after.deletes != before.deletes) {
                let table = self.snapshot.object_name(table).unwrap_or_default();
                return Err(conflict(&table, "had rows changed or removed"));
            }
        }
        Ok(())
    }

    fn check_alter(&self, table: Oid, change: &TableChange) -> Result<()> {
        self.need(table, Needs::Definition)?;
        if change.new_style().is_some() {
            self.need(table, Needs::Rows)?;
        }
        if let TableChange::SetSchema(schema) = change {
            self.need(*schema, Needs::Existence)?;
        }
        Ok(())
    }

    /// An object that the transaction itself made has no version to compare.
    fn need(&self, oid: Oid, needs: Needs) -> Result<()> {
        let Some(name) = self.snapshot.object_name(oid) else { return Ok(()) };
        if self.head.object_name(oid).is_none() {
            return Err(conflict(&name, "was dropped"));
        }
        let Some(versions) = self.head.versions.get(&oid) else { return Ok(()) };
        let since = |position: LogPosition| position > self.snapshot.position;
        let (changed, how) = match needs {
            Needs::Existence => (false, ""),
            Needs::Structure => (since(versions.structure), "was altered"),
            Needs::Definition => (since(versions.definition), "was altered"),
            Needs::Rows => (
                since(versions.structure) || since(versions.data),
                "was altered or had rows added or removed",
            ),
            Needs::Identity => (since(versions.identity), "had identity values given out"),
        };
        if changed { Err(conflict(&name, how)) } else { Ok(()) }
    }
}

fn conflict(name: &str, how: &str) -> Error {
    error!(SerializationFailure, "could not serialize access due to a concurrent change of {name}")
        .detail(format!(
            "The {name} {how} by a transaction that committed after this one took its snapshot."
        ))
        .hint("Run the transaction again.")
        .retry(Retry::NewTransaction)
}

impl State {
    /// True when a relation or its rows changed since a snapshot, or it is gone.
    pub(crate) fn changed_since(&self, oid: Oid, snapshot: &State) -> bool {
        let since = snapshot.position;
        let versions = self.versions.get(&oid).copied().unwrap_or_default();
        (snapshot.relations.contains_key(&oid) && !self.relations.contains_key(&oid))
            || versions.definition > since
            || versions.structure > since
            || versions.data > since
    }

    /// This snapshot with the segments that `head` has for its rows of a table, when they were
    /// rewritten since.
    pub(crate) fn rewritten(&self, head: &State, table: Oid) -> Option<State> {
        let (own, now) = (self.contents.get(&table)?, head.contents.get(&table)?);
        let contents = own.rewritten(now, self.position)?;
        let mut next = self.clone();
        next.contents.insert_mut(table, Arc::new(contents));
        Some(next)
    }

    /// `schema.name` of a relation without quotes.
    pub(crate) fn plain_name(&self, oid: Oid) -> Option<String> {
        let relation = self.relations.get(&oid)?;
        let schema = self.schemas.get(&relation.schema());
        let schema = schema.map_or("pg_temp", |schema| schema.name.as_str());
        Some(format!("{schema}.{}", relation.name()))
    }

    /// The kind and name of an object as messages show it.
    pub(crate) fn object_name(&self, oid: Oid) -> Option<String> {
        if let Some(relation) = self.relations.get(&oid) {
            return Some(format!("{} \"{}\"", relation.kind(), relation.name()));
        }
        if let Some(routine) = self.routines.get(&oid) {
            return Some(format!("{} \"{}\"", routine.kind.name(), routine.name));
        }
        if let Some(schema) = self.schemas.get(&oid) {
            return Some(format!("schema \"{}\"", schema.name));
        }
        if let Some(database) = self.databases.get(&oid) {
            return Some(format!("database \"{}\"", database.name));
        }
        self.users.get(&oid).map(|user| format!("user \"{}\"", user.name))
    }
}
