//! What the log's history gives: clones, dropped tables that come back, and for how long data that
//! is gone is kept.

use std::sync::Arc;

use base::client::Outcome;
use base::ids::Oid;
use base::segment::Segment;
use base::{Result, error};
use catalog::{
    Constraint, IdentityNext, Op, Privileges, RETENTION_SETTING, Relation, State, Table,
};
use sql::ast::{AlterSystem, CloneTable, ObjectName, SetValue};

use super::{done, found_table};
use crate::client::ClientSession;
use crate::past;
use crate::privileges;
use crate::relations::{at, table_then};
use crate::settings::Settings;

impl ClientSession {
    /// CREATE TABLE … CLONE: a table with the rows of another, whose files both name from then
    /// on. Neither sees what becomes of the other.
    pub(crate) async fn clone_table(&mut self, clone: &CloneTable) -> Result<Outcome> {
        let context = self.context()?;
        let temporary = clone.temporary || clone.name.is_temporary_form();
        let target = self.target(&context, &clone.name, temporary)?;
        if self.is_taken(&context, &target, clone.if_not_exists)? {
            return done("CREATE TABLE");
        }
        let scope = self.scope(&[])?;
        let now = found_table(&scope.relations, &clone.source)?;
        let relation = Relation::Table(Arc::clone(&now));
        privileges::on_relation(&context.state, &context.user, &relation, Privileges::SELECT)?;
        if let Some(schema) = context.state.schema_by_oid(now.schema) {
            privileges::on_schema(&context.state, &context.user, &schema, Privileges::USAGE)?;
        }
        let position = clone.source.position();
        let state = match &clone.at {
            Some(moment) => {
                let moment = base::stack::deep(|| scope.binder().moment(moment))?;
                let state = past::state_at(&self.leader.catalog, moment).await;
                state.map_err(|error| at(error, position))?
            }
            None => Arc::clone(&context.state),
        };
        self.work.past().keep(Arc::clone(&state));
        let source = table_then(&state, &now).map_err(|error| at(error, position))?;
        self.note_read(source.oid);
        let blank = self.blank(&context, target);
        let mut table = Table {
            oid: blank.oid,
            schema: blank.schema,
            name: blank.name,
            owner: blank.owner,
            temporary: blank.temporary,
            created_us: blank.created_us,
            ..Table::clone(&source)
        };
        keep_constraints(&mut table, source.oid, &context.state);
        self.recreate(table, &source, &state)?;
        done("CREATE TABLE")
    }

    /// UNDROP TABLE: the table of this name that was dropped last, as it was, with its rows and
    /// privileges. Views that went with it do not come back.
    pub(crate) async fn undrop_table(&mut self, name: &ObjectName) -> Result<Outcome> {
        let context = self.context()?;
        let target = self.target(&context, name, false)?;
        let position = name.position();
        if target.temporary.is_some() {
            let refused = base::Error::unsupported("temporary tables cannot be undropped");
            return Err(at(refused, position));
        }
        if let Some(other) = context.state.relation(target.schema, &target.name) {
            return Err(at(
                error!(DuplicateTable, "relation \"{}\" already exists", other.name())
                    .table(other.name())
                    .hint("Rename it first with ALTER TABLE … RENAME TO."),
                position,
            ));
        }
        let catalog = self.leader.catalog.clone();
        if catalog.head().relation(target.schema, &target.name).is_some() {
            let name = &target.name;
            return Err(at(
                error!(UndefinedTable, "the drop of table \"{name}\" is not committed yet")
                    .table(name)
                    .hint("Roll it back."),
                position,
            ));
        }
        let database = context.database.oid;
        let dropped = catalog.dropped_table(database, &target.schema_name, &target.name).await?;
        let Some(dropped) = dropped else {
            let oldest = base::clock::shown_utc(catalog.oldest_readable_us());
            return Err(at(
                error!(UndefinedTable, "no dropped table \"{}\" is kept", target.name)
                    .table(&target.name)
                    .hint(format!(
                        "Tables that were dropped after {oldest} can come back. The cluster \
                         setting {RETENTION_SETTING} says for how long they are kept."
                    )),
                position,
            ));
        };
        privileges::owner(&context.user, dropped.table.owner, "table", &target.name)?;
        self.work.past().keep(Arc::clone(&dropped.state));
        let mut table = Table { schema: target.schema, ..Table::clone(&dropped.table) };
        if context.state.user_by_oid(table.owner).is_none() {
            table.owner = context.user.oid;
        }
        keep_constraints(&mut table, dropped.table.oid, &context.state);
        let oid = table.oid;
        self.recreate(table, &dropped.table, &dropped.state)?;
        for grant in dropped.state.grants(oid) {
            let known = grant.grantee == catalog::PUBLIC_GRANTEE_OID
                || context.state.user_by_oid(grant.grantee).is_some();
            let parts =
                [(grant.privileges.without(grant.grantable), false), (grant.grantable, true)];
            for (privileges, with_grant_option) in parts {
                if known && !privileges.is_empty() {
                    let grantee = grant.grantee;
                    self.apply(Op::Grant { object: oid, grantee, privileges, with_grant_option })?;
                }
            }
        }
        done("UNDROP TABLE")
    }

    /// Makes a table with the segments that another has in a state.
    fn recreate(&mut self, table: Table, source: &Table, state: &State) -> Result<()> {
        let oid = table.oid;
        let next = |column: &catalog::Column| {
            let next = column.identity.and_then(|_| state.identity_next(source.oid, column.id))?;
            // Nobody else can give numbers of a table that is not there yet.
            Some(IdentityNext { column: column.id, next, reserved: true })
        };
        let identity_next: Vec<IdentityNext> = source.columns.iter().filter_map(next).collect();
        self.apply(Op::CreateTable(table))?;
        let segments = state.segments(source.oid);
        let segments: Vec<Segment> = segments.iter().map(|one| Segment::clone(one)).collect();
        if !segments.is_empty() || !identity_next.is_empty() {
            self.apply(Op::AddSegments { table: oid, segments, identity_next })?;
        }
        self.leader.upkeep.touched(oid);
        Ok(())
    }

    /// ALTER SYSTEM SET time_travel_retention.
    pub(crate) fn alter_system(&mut self, alter: &AlterSystem) -> Result<Outcome> {
        let context = self.context()?;
        privileges::superuser(&context.user, "change settings of the cluster")?;
        self.work.must_be_alone("ALTER SYSTEM")?;
        let position = alter.name.position;
        if alter.name.name != RETENTION_SETTING {
            // A name that is no setting at all says so.
            Settings::default().show(&alter.name.name).map_err(|error| at(error, position))?;
            let name = &alter.name.name;
            let refused = error!(
                CantChangeRuntimeParam,
                "parameter \"{name}\" is not one of the whole cluster"
            )
            .hint("Use SET, or ALTER USER … SET for all sessions of a user.");
            return Err(at(refused, position));
        }
        let value = match &alter.value {
            SetValue::Default => None,
            SetValue::Values(values) => {
                let value = Settings::checked(RETENTION_SETTING, &values.join(", "));
                Some(value.map_err(|error| at(error, position))?)
            }
        };
        self.apply(Op::SetSetting { name: RETENTION_SETTING.to_owned(), value })?;
        done("ALTER SYSTEM")
    }
}

/// Leaves out what references tables that are gone. A reference to the table itself stays one.
fn keep_constraints(table: &mut Table, old: Oid, state: &State) {
    let own = table.oid;
    table.constraints.retain_mut(|constraint| match constraint {
        Constraint::ForeignKey { table: referenced, references, .. } => {
            if *referenced == old {
                *referenced = own;
                return true;
            }
            let found = state.relation_by_oid(*referenced);
            let found = found.as_ref().and_then(Relation::table);
            found.is_some_and(|found| references.iter().all(|id| found.column_by_id(*id).is_some()))
        }
        _ => true,
    });
}
