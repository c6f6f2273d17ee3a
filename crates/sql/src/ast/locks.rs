//! The tables that a statement writes, told before it is planned, so that locks can be taken
//! first and the snapshot after them.

use super::{AlterTableAction, ObjectName, Statement};

/// How a statement writes a table, the weakest mode first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// Adds rows: INSERT, COPY.
    Append,
    /// Changes or removes rows: DELETE, UPDATE, MERGE.
    Modify,
    /// Changes the table itself or all of it: DDL, TRUNCATE, LOCK.
    Exclusive,
}

/// A table that a statement writes.
#[derive(Clone, Copy, Debug)]
pub struct Written<'s> {
    pub table: &'s ObjectName,
    pub mode: LockMode,
}

impl Statement {
    /// The tables that the statement writes. A table that it makes is not among them, nor is one
    /// that only its maintenance rewrites (VACUUM, ANALYZE). EXPLAIN ANALYZE writes what its
    /// statement writes.
    pub fn written(&self) -> Vec<Written<'_>> {
        let one = |table, mode| vec![Written { table, mode }];
        match self {
            Statement::Insert(insert) => one(&insert.table, LockMode::Append),
            Statement::Copy(copy) => one(&copy.table, LockMode::Append),
            Statement::Delete(change) | Statement::Update(change) | Statement::Merge(change) => {
                one(&change.table, LockMode::Modify)
            }
            Statement::Truncate(truncate) => one(&truncate.table, LockMode::Exclusive),
            Statement::DropTable(drop) => exclusive(&drop.names),
            Statement::Lock(tables) => exclusive(tables),
            Statement::AlterTable(alter) => {
                let sources = alter.actions.iter().filter_map(|action| match action {
                    AlterTableAction::AppendFrom { source, .. } => Some(source),
                    _ => None,
                });
                let tables = std::iter::once(&alter.table).chain(sources);
                tables.map(|table| Written { table, mode: LockMode::Exclusive }).collect()
            }
            Statement::Explain(explain) if explain.analyze => explain.statement.written(),
            _ => Vec::new(),
        }
    }
}

fn exclusive(tables: &[ObjectName]) -> Vec<Written<'_>> {
    tables.iter().map(|table| Written { table, mode: LockMode::Exclusive }).collect()
}
