//! What the binder asks of the catalog. The session implements [`Relations`] over its snapshot,
//! search path, temporary tables and system tables.

use std::sync::Arc;

use base::ids::Oid;
use base::{Error, Result, SqlType};
use catalog::Table;
use datafusion::logical_expr::{Expr, TableSource};

use crate::ast::ObjectName;

/// The relations that a statement can see.
pub trait Relations: Send + Sync {
    /// Finds a relation. `search_path` is that of the view being expanded; `None` is the
    /// session's own.
    ///
    /// # Errors
    /// 42P01 with a did-you-mean, 3F000 or 3D000; the binder adds the position.
    fn resolve(
        &self,
        name: &ObjectName,
        search_path: Option<&[String]>,
    ) -> Result<ResolvedRelation>;

    /// Finds a relation as it was: `AT (…)` after its name.
    ///
    /// # Errors
    /// As [`Relations::resolve`]; 0A000 where relations have no past.
    fn resolve_at(
        &self,
        name: &ObjectName,
        search_path: Option<&[String]>,
        at: At,
    ) -> Result<ResolvedRelation> {
        let _ = (search_path, at);
        Err(Error::unsupported(format!("AT (…) for relation \"{name}\" is not supported")))
    }

    /// Finds the table that DELETE, UPDATE or MERGE changes. Names go by the session's own search
    /// path.
    ///
    /// # Errors
    /// As [`Relations::resolve`]; 42809 for a view and others that cannot be changed.
    fn target(&self, name: &ObjectName) -> Result<ResolvedTarget>;

    /// A set-returning function in FROM; `None` when there is none of that name.
    ///
    /// # Errors
    /// 42883 for wrong arguments.
    fn table_function(&self, name: &str, args: &[Expr]) -> Result<Option<Arc<dyn TableSource>>> {
        let _ = (name, args);
        Ok(None)
    }

    /// True when there may be any functions in SQL.
    fn has_functions(&self) -> bool {
        false
    }

    /// The functions in SQL of a name, which may be qualified, that take `count` arguments.
    /// `search_path` is that of the view being expanded.
    ///
    /// # Errors
    /// 42501 for one that the user may not execute.
    fn functions(
        &self,
        name: &[&str],
        count: usize,
        search_path: Option<&[String]>,
    ) -> Result<Vec<InlineFunction>> {
        let _ = (name, count, search_path);
        Ok(Vec::new())
    }

    /// Names of relations, for suggestions.
    fn candidates(&self) -> Vec<String>;
}

/// A moment in a table's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Microseconds since 1970-01-01 UTC: what was committed by then.
    Timestamp(i64),
    /// The number of a commit.
    Snapshot(u64),
}

/// A function in SQL, whose calls become its body.
#[derive(Clone, Debug)]
pub struct InlineFunction {
    pub oid: Oid,
    pub arguments: Vec<SqlType>,
    pub returns: SqlType,
    /// SELECT and one expression over `$1`, `$2`, ….
    pub body: String,
}

/// The table that a change is about.
#[derive(Clone)]
pub struct ResolvedTarget {
    pub table: Arc<Table>,
    /// The table's columns in order in their stored Arrow types, then
    /// [`base::segment::ROW_ADDRESS`].
    pub source: Arc<dyn TableSource>,
    pub database: String,
    pub schema: String,
    pub name: String,
    pub oid: Oid,
}

/// A relation found by [`Relations::resolve`].
#[derive(Clone)]
pub enum ResolvedRelation {
    Table(ResolvedTable),
    View(ResolvedView),
}

/// A table: its scan and where it belongs. The fields of the source's schema carry their SQL type
/// in their metadata ([`SqlType::field`]).
#[derive(Clone)]
pub struct ResolvedTable {
    pub source: Arc<dyn TableSource>,
    pub database: String,
    pub schema: String,
    pub name: String,
    pub oid: Oid,
}

/// A view: its text, bound again at each use.
#[derive(Clone, Debug)]
pub struct ResolvedView {
    pub database: String,
    pub schema: String,
    pub name: String,
    pub oid: Oid,
    /// The query.
    pub sql: String,
    /// The path that was in force when the view was made.
    pub search_path: Vec<String>,
    /// The view's column names and types, in order. Empty for a late-binding view without a
    /// column list: the query's own names and types hold.
    pub columns: Vec<(String, SqlType)>,
    /// WITH NO SCHEMA BINDING: the types are the query's of today.
    pub late_binding: bool,
}

/// A relation that a bound statement reads, or a function in SQL that it calls, for privileges
/// and dependencies. What a view reads is listed with the view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelationUse {
    pub oid: Oid,
    /// The view through which it is reached; `None` when the statement itself names it.
    pub through: Option<Oid>,
}
