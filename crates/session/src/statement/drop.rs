//! DROP TABLE, VIEW and SCHEMA; TRUNCATE.

use base::client::{Outcome, Severity};
use base::{Result, SqlState, error};
use catalog::{Op, Relation};
use sql::ast::{Drop, ObjectName, Truncate};

use super::done;
use crate::client::ClientSession;
use crate::privileges;
use crate::relations::{SessionRelations, at};
use crate::system::{AnyRelation, Space};

impl ClientSession {
    /// The user's relation of a name.
    ///
    /// # Errors
    /// 3F000, 42P01; 42501 for a system table.
    pub(crate) fn relation(&mut self, name: &ObjectName) -> Result<Relation> {
        let context = self.context()?;
        let engine = std::sync::Arc::clone(&self.leader.engine);
        match SessionRelations::new(context, engine).find(name)? {
            AnyRelation::User(relation) => Ok(relation),
            other => Err(at(
                error!(
                    InsufficientPrivilege,
                    "permission denied: \"{}\" is a system catalog",
                    other.name()
                ),
                name.position(),
            )),
        }
    }

    /// DROP TABLE or DROP VIEW, as `kind` says.
    pub(crate) fn drop_relations(&mut self, drop: &Drop, kind: &'static str) -> Result<Outcome> {
        for name in &drop.names {
            let relation = match self.relation(name) {
                Ok(relation) => relation,
                Err(error) if drop.if_exists && is_missing(error.sqlstate()) => {
                    let notice = error!(
                        SuccessfulCompletion,
                        "{kind} \"{}\" does not exist, skipping",
                        name.last().name
                    );
                    self.notice(Severity::Notice, notice);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if relation.kind() != kind {
                return Err(at(
                    error!(WrongObjectType, "\"{}\" is not a {kind}", relation.name())
                        .hint(format!("Use DROP {}.", relation.kind().to_uppercase())),
                    name.position(),
                ));
            }
            self.may_drop(&relation)?;
            self.apply(Op::DropRelation { relation: relation.oid(), cascade: drop.cascade })?;
        }
        done(if kind == "view" { "DROP VIEW" } else { "DROP TABLE" })
    }

    fn may_drop(&mut self, relation: &Relation) -> Result<()> {
        let context = self.context()?;
        let held =
            privileges::held(&context.state, &context.user, relation.oid(), relation.owner());
        if held.contains(catalog::Privileges::DROP) {
            return Ok(());
        }
        // The owner of a schema may drop what others made in it.
        let schema = context.state.schema_by_oid(relation.schema());
        if schema.is_some_and(|schema| schema.owner == context.user.oid) {
            return Ok(());
        }
        privileges::owner(&context.user, relation.owner(), "relation", relation.name())
    }

    pub(crate) fn drop_schemas(&mut self, drop: &Drop) -> Result<Outcome> {
        for name in &drop.names {
            let context = self.context()?;
            let schema = name.last();
            if Space::from_name(&schema.name).is_some() {
                return Err(error!(
                    InsufficientPrivilege,
                    "permission denied for schema {}", schema.name
                ));
            }
            let Some(found) = context.state.schema(context.database.oid, &schema.name) else {
                if drop.if_exists {
                    let notice = error!(
                        SuccessfulCompletion,
                        "schema \"{}\" does not exist, skipping", schema.name
                    );
                    self.notice(Severity::Notice, notice);
                    continue;
                }
                return Err(at(
                    error!(InvalidSchemaName, "schema \"{}\" does not exist", schema.name),
                    schema.position,
                ));
            };
            privileges::owner(&context.user, found.owner, "schema", &found.name)?;
            self.apply(Op::DropSchema { schema: found.oid, cascade: drop.cascade })?;
        }
        done("DROP SCHEMA")
    }

    pub(crate) async fn truncate(&mut self, truncate: &Truncate) -> Result<Outcome> {
        let Relation::Table(table) = self.relation(&truncate.table)? else {
            return Err(at(
                error!(WrongObjectType, "\"{}\" is not a table", truncate.table.last().name),
                truncate.table.position(),
            ));
        };
        self.may_end_transaction()?;
        let context = self.context()?;
        let relation = Relation::Table(std::sync::Arc::clone(&table));
        let wanted = catalog::Privileges::TRUNCATE;
        privileges::on_relation(&context.state, &context.user, &relation, wanted)?;
        self.apply(Op::RemoveAllSegments { table: table.oid })?;
        // TRUNCATE commits at once, as documented, also inside a block.
        self.chain(true).await?;
        done("TRUNCATE TABLE")
    }
}

fn is_missing(state: SqlState) -> bool {
    matches!(
        state,
        SqlState::UndefinedTable | SqlState::InvalidSchemaName | SqlState::InvalidCatalogName
    )
}
