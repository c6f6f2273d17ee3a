//! Changes of rows: INSERT, DELETE, UPDATE and MERGE.

use std::sync::Arc;

use sqlparser::ast as sqlast;

use super::{Ident, ObjectName, Query};
use crate::text::Source;

/// INSERT.
#[derive(Clone, Debug)]
pub struct Insert {
    pub table: ObjectName,
    /// Empty: all columns in order.
    pub columns: Vec<Ident>,
    pub input: InsertInput,
    pub source: Arc<Source>,
}

/// Where the rows of an INSERT come from.
#[derive(Clone, Debug)]
pub enum InsertInput {
    DefaultValues,
    /// VALUES (where the bare word DEFAULT stands for a column's default) or a query.
    Query(Query),
}

/// DELETE, UPDATE or MERGE.
#[derive(Clone, Debug)]
pub struct Change {
    /// WITH in front.
    pub with: Option<Box<sqlast::With>>,
    /// The table that is changed.
    pub table: ObjectName,
    pub alias: Option<Ident>,
    pub what: ChangeWhat,
    pub source: Arc<Source>,
}

/// What a change does with the rows of its table.
#[derive(Clone, Debug)]
pub enum ChangeWhat {
    Delete(Delete),
    Update(Update),
    Merge(Box<Merge>),
}

/// DELETE [FROM] table [USING …] [WHERE …].
#[derive(Clone, Debug)]
pub struct Delete {
    pub using: Vec<sqlast::TableWithJoins>,
    pub selection: Option<sqlast::Expr>,
}

/// UPDATE table SET … [FROM …] [WHERE …].
#[derive(Clone, Debug)]
pub struct Update {
    pub assignments: Vec<Assignment>,
    pub from: Vec<sqlast::TableWithJoins>,
    pub selection: Option<sqlast::Expr>,
}

/// `column = value`; the bare word DEFAULT is the column's default.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub column: Ident,
    pub value: sqlast::Expr,
}

/// MERGE INTO table USING source ON condition ….
#[derive(Clone, Debug)]
pub struct Merge {
    pub using: sqlast::TableFactor,
    pub on: sqlast::Expr,
    pub action: MergeAction,
}

/// What MERGE does.
#[derive(Clone, Debug)]
pub enum MergeAction {
    /// At least one.
    Clauses(Vec<MergeClause>),
    /// Matched rows go, all rows of the source come.
    RemoveDuplicates,
}

/// WHEN [NOT] MATCHED [AND condition] THEN ….
#[derive(Clone, Debug)]
pub struct MergeClause {
    /// 1-based position of WHEN.
    pub position: u32,
    pub condition: Option<sqlast::Expr>,
    pub then: MergeThen,
}

/// The action of one clause. INSERT stands under NOT MATCHED, the others under MATCHED.
#[derive(Clone, Debug)]
pub enum MergeThen {
    Update(Vec<Assignment>),
    Delete,
    Insert {
        /// Empty: all columns in order.
        columns: Vec<Ident>,
        values: Vec<sqlast::Expr>,
    },
    /// DO NOTHING.
    Nothing {
        matched: bool,
    },
}

impl MergeThen {
    /// True for an action on rows of the target that have a match.
    pub fn matched(&self) -> bool {
        match self {
            MergeThen::Update(_) | MergeThen::Delete => true,
            MergeThen::Insert { .. } => false,
            MergeThen::Nothing { matched } => *matched,
        }
    }
}
