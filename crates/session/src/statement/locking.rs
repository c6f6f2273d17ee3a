//! Which tables a statement locks, and LOCK itself.
//!
//! Locks are taken before the statement uses a snapshot, so that a writer that had to wait sees
//! what the one before it did.

use std::sync::Arc;

use base::client::Outcome;
use base::{Result, error};
use catalog::{Privileges, Relation, Table};
use sql::Statement;
use sql::ast::{InsertInput, LockMode, ObjectName};
use sqlparser::ast::SetExpr;

use super::done;
use crate::client::ClientSession;
use crate::locks::{Mode, Target};
use crate::privileges;
use crate::transaction::Block;

/// How often a name is looked up again when the wait for its lock gave it another meaning.
const LOOKUPS_MAX: usize = 10;

impl ClientSession {
    /// Takes the locks that a statement needs and then its snapshot.
    ///
    /// # Errors
    /// 40P01, 55P03; 25006 for a write in a read-only transaction.
    pub(crate) async fn lock_for(&mut self, statement: &Statement) -> Result<()> {
        let mut temporary = true;
        for (name, mode) in wanted(statement) {
            let mode = if counts_identities(statement) && self.has_identity(name) {
                Mode::Exclusive
            } else {
                mode
            };
            let locked = self.lock_named(name, mode).await?;
            temporary &= locked.is_some_and(|relation| {
                relation.table().is_some_and(|table| table.temporary.is_some())
            });
        }
        // A read-only transaction may fill temporary tables, as in PostgreSQL.
        let fills = matches!(
            statement,
            Statement::Insert(_)
                | Statement::Update(_)
                | Statement::Delete(_)
                | Statement::Merge(_)
                | Statement::Copy(_)
        );
        let reads = matches!(
            statement,
            Statement::Analyze(_) | Statement::AnalyzeCompression(_) | Statement::Vacuum(_)
        );
        let exempt = reads || (fills && temporary);
        if !exempt {
            self.work.may_write(statement.command())?;
        }
        if let Statement::DropSchema(drop) = statement
            && drop.cascade
        {
            self.lock_schemas(&drop.names).await?;
        }
        self.pin();
        Ok(())
    }

    /// Locks all that is in schemas.
    async fn lock_schemas(&mut self, names: &[ObjectName]) -> Result<()> {
        let state = self.work.state(&self.leader.catalog);
        let database = self.entry.database_oid;
        let schemas = names.iter().filter_map(|name| state.schema(database, &name.last().name));
        let relations: Vec<Relation> =
            schemas.flat_map(|schema| state.relations(schema.oid)).collect();
        for relation in &relations {
            if self.may_lock(relation) {
                self.lock_relation(relation, Mode::Exclusive).await?;
            }
        }
        Ok(())
    }

    fn has_identity(&mut self, name: &ObjectName) -> bool {
        let found = self.relation(name).ok();
        let table = found.as_ref().and_then(Relation::table);
        table.is_some_and(|table| table.columns.iter().any(|column| column.identity.is_some()))
    }

    /// Locks the relation that a name means. A name without a relation, or with one that the
    /// user may not change, is left to the statement to refuse.
    async fn lock_named(&mut self, name: &ObjectName, mode: Mode) -> Result<Option<Relation>> {
        for _ in 0..LOOKUPS_MAX {
            let Ok(relation) = self.relation(name) else { return Ok(None) };
            if !self.may_lock(&relation) {
                return Ok(Some(relation));
            }
            self.lock_relation(&relation, mode).await?;
            // While it waited, the table may have been dropped or renamed.
            match self.relation(name) {
                Ok(now) if now.oid() == relation.oid() => return Ok(Some(now)),
                Ok(_) if !self.work.is_pinned() => {}
                _ => return Ok(None),
            }
        }
        Err(error!(LockNotAvailable, "relation \"{name}\" is replaced all the time")
            .hint("Run the statement again."))
    }

    /// Who may change nothing of a table may not keep others from it.
    fn may_lock(&mut self, relation: &Relation) -> bool {
        let Ok(context) = self.context() else { return false };
        let held =
            privileges::held(&context.state, &context.user, relation.oid(), relation.owner());
        let schema = context.state.schema_by_oid(relation.schema());
        let owns_schema = schema.is_some_and(|schema| schema.owner == context.user.oid);
        let changing = Privileges(
            Privileges::INSERT.0
                | Privileges::UPDATE.0
                | Privileges::DELETE.0
                | Privileges::TRUNCATE.0
                | Privileges::ALTER.0
                | Privileges::DROP.0,
        );
        owns_schema || held.0 & changing.0 != 0
    }

    /// Locks a relation until the transaction ends, waiting as long as `lock_timeout` allows.
    ///
    /// # Errors
    /// 40P01 and 55P03.
    pub(crate) async fn lock_relation(&mut self, relation: &Relation, mode: Mode) -> Result<()> {
        // Nobody else sees a temporary table.
        if relation.table().is_some_and(|table| table.temporary.is_some()) {
            return Ok(());
        }
        let target = self.lock_target(relation);
        let timeout = self.settings.lock_timeout();
        let leader = Arc::clone(&self.leader);
        leader.locks.lock(self.entry.process_id, mode, &target, timeout).await?;
        self.work.follow(&leader.catalog, relation.oid());
        Ok(())
    }

    fn lock_target(&self, relation: &Relation) -> Target {
        Target {
            table: relation.oid(),
            name: Arc::from(relation.name()),
            database: self.entry.database_oid,
        }
    }

    /// Keeps all other writers from a table if that is possible without waiting: for changes
    /// of its layout that can as well be made later.
    pub(crate) fn try_exclusive(&mut self, table: &Arc<Table>) -> bool {
        if table.temporary.is_some() {
            return true;
        }
        let target = self.lock_target(&Relation::Table(Arc::clone(table)));
        self.leader.locks.try_lock(self.entry.process_id, Mode::Exclusive, &target)
    }

    /// LOCK TABLE.
    pub(crate) async fn lock(&mut self, tables: &[ObjectName]) -> Result<Outcome> {
        if self.work.block() != Block::Explicit {
            return Err(error!(
                NoActiveSqlTransaction,
                "LOCK TABLE can only be used in transaction blocks"
            ));
        }
        self.work.may_write("LOCK TABLE")?;
        for name in tables {
            let relation = self.relation(name)?;
            if relation.table().is_none() {
                return Err(crate::relations::at(
                    error!(WrongObjectType, "\"{}\" is not a table", relation.name()),
                    name.position(),
                ));
            }
            if !self.may_lock(&relation) {
                let name = relation.name();
                return Err(error!(InsufficientPrivilege, "permission denied for relation {name}")
                    .table(name));
            }
            if self.lock_named(name, Mode::Exclusive).await?.is_none() {
                // Dropped while this waited.
                self.relation(name)?;
            }
        }
        done("LOCK TABLE")
    }
}

/// The tables that a statement locks by name, in the order in which it names them.
fn wanted(statement: &Statement) -> Vec<(&ObjectName, Mode)> {
    if let Statement::DropView(drop) = statement {
        return drop.names.iter().map(|name| (name, Mode::Exclusive)).collect();
    }
    let mode = |mode: LockMode| match mode {
        LockMode::Append => Mode::Append,
        LockMode::Modify => Mode::Modify,
        LockMode::Exclusive => Mode::Exclusive,
    };
    statement.written().into_iter().map(|one| (one.table, mode(one.mode))).collect()
}

/// True when the statement gives numbers of identity columns whose count is not known before:
/// two of them at once would give the same ones.
fn counts_identities(statement: &Statement) -> bool {
    match statement {
        Statement::Insert(insert) => match &insert.input {
            InsertInput::DefaultValues => false,
            InsertInput::Query(query) => !matches!(*query.body.body, SetExpr::Values(_)),
        },
        Statement::Copy(_) | Statement::Merge(_) => true,
        _ => false,
    }
}
