//! COMMENT ON.

use base::client::Outcome;
use base::{Error, Result, error};
use catalog::Op;
use sql::ast::{Comment, CommentOn, ObjectName};

use super::definition::find_column;
use super::done;
use crate::client::ClientSession;
use crate::privileges;
use crate::relations::at;

impl ClientSession {
    pub(crate) fn comment(&mut self, comment: &Comment) -> Result<Outcome> {
        let context = self.context()?;
        let (object, column) = match &comment.on {
            CommentOn::Table(name) => (self.commented(name, "table")?.oid(), None),
            CommentOn::View(name) => (self.commented(name, "view")?.oid(), None),
            CommentOn::Column { table, column } => {
                let relation = self.commented(table, "table")?;
                let catalog::Relation::Table(table) = &relation else {
                    return Err(Error::internal("a table is a table"));
                };
                (table.oid, Some(find_column(table, column)?.id))
            }
            CommentOn::Schema(name) => {
                let found = context.state.schema(context.database.oid, &name.name);
                let schema = found.ok_or_else(|| {
                    let error =
                        error!(InvalidSchemaName, "schema \"{}\" does not exist", name.name);
                    at(error, name.position)
                })?;
                privileges::owner(&context.user, schema.owner, "schema", &schema.name)?;
                (schema.oid, None)
            }
            CommentOn::Database(name) => {
                let database = context.state.database(&name.name).ok_or_else(|| {
                    let error =
                        error!(InvalidCatalogName, "database \"{}\" does not exist", name.name);
                    at(error, name.position)
                })?;
                privileges::owner(&context.user, database.owner, "database", &database.name)?;
                (database.oid, None)
            }
            CommentOn::Constraint { .. } => {
                return Err(Error::unsupported("COMMENT ON CONSTRAINT is not supported"));
            }
        };
        self.apply(Op::Comment { object, column, text: comment.text.clone() })?;
        done("COMMENT")
    }

    fn commented(&mut self, name: &ObjectName, kind: &str) -> Result<catalog::Relation> {
        let relation = self.relation(name)?;
        let context = self.context()?;
        if relation.kind() != kind {
            return Err(at(
                error!(WrongObjectType, "\"{}\" is not a {kind}", relation.name()),
                name.position(),
            ));
        }
        privileges::owner(&context.user, relation.owner(), kind, relation.name())?;
        Ok(relation)
    }
}
