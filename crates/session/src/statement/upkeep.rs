//! ANALYZE and USE.

use base::client::Outcome;
use base::{Error, Result};
use sql::ast::{Analyze, Ident};

use super::definition::find_column;
use super::done;
use crate::client::ClientSession;

impl ClientSession {
    /// Statistics are exact and committed with each write, so that there is nothing to gather:
    /// the names are checked.
    pub(crate) fn analyze(&mut self, analyze: &Analyze) -> Result<Outcome> {
        if let Some(name) = &analyze.table {
            let relation = self.relation(name)?;
            if let Some(table) = relation.table() {
                for column in &analyze.columns {
                    find_column(table, column)?;
                }
            }
        }
        done("ANALYZE")
    }

    pub(crate) fn use_database(&mut self, name: &Ident) -> Result<Outcome> {
        if name.name == self.entry.database {
            return done("USE");
        }
        Err(Error::unsupported("USE of another database is not supported")
            .hint(format!("Connect to database \"{}\".", name.name))
            .at(name.position.max(1)))
    }
}
