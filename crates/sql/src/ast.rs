//! The statement tree. Utility statements have types of our own, with every Redshift attribute;
//! queries and the expressions of data changes carry sqlparser's tree.
//!
//! A tree is what the text says: nothing here is checked against the catalog. Names are folded
//! already and know their place in the text.

mod access;
mod change;
mod copy;
mod locks;
mod routine;
mod schema;
mod session;
mod table;

use std::fmt;
use std::sync::Arc;

use base::SqlType;

pub use self::access::*;
pub use self::change::*;
pub use self::copy::*;
pub use self::locks::*;
pub use self::routine::*;
pub use self::schema::*;
pub use self::session::*;
pub use self::table::*;
use crate::text::Source;

/// A name with its place in the statement.
#[derive(Clone, Debug, Eq)]
pub struct Ident {
    /// Folded to lower case as Redshift folds it.
    pub name: String,
    /// 1-based, in characters.
    pub position: u32,
}

impl Ident {
    /// A name that no text holds: made by code, at position 0.
    pub fn made(name: impl Into<String>) -> Self {
        Self { name: name.into(), position: 0 }
    }
}

impl PartialEq for Ident {
    /// Names are equal wherever they stand.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base::ident::quote(&self.name))
    }
}

/// A possibly qualified name: `name`, `schema.name` or `database.schema.name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName(pub Vec<Ident>);

impl ObjectName {
    /// The last part: the object's own name.
    pub fn last(&self) -> &Ident {
        base::proven(self.0.last(), "the parser makes no empty name")
    }

    /// The schema part, when it is given.
    pub fn schema(&self) -> Option<&Ident> {
        self.0.len().checked_sub(2).and_then(|i| self.0.get(i))
    }

    /// The database part, when it is given.
    pub fn database(&self) -> Option<&Ident> {
        self.0.len().checked_sub(3).and_then(|i| self.0.get(i))
    }

    /// 1-based position of the first part.
    pub fn position(&self) -> u32 {
        self.0.first().map_or(0, |ident| ident.position)
    }

    /// True for `#name`, Redshift's short form of a temporary table.
    pub fn is_temporary_form(&self) -> bool {
        self.last().name.starts_with('#')
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

/// An expression: its own text (kept for DEFAULT), its tree and the statement it stands in.
#[derive(Clone, Debug)]
pub struct Expression {
    pub text: String,
    pub expr: Box<sqlparser::ast::Expr>,
    pub source: Arc<Source>,
}

/// A query: SELECT, VALUES, set operations, WITH.
#[derive(Clone, Debug)]
pub struct Query {
    /// The query's own text, kept for views and cursors.
    pub text: String,
    pub body: Box<sqlparser::ast::Query>,
    /// The whole statement, for positions.
    pub source: Arc<Source>,
}

/// One statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Nothing but blanks and comments.
    Empty,
    Query(Query),
    Insert(Insert),
    Delete(Change),
    Update(Change),
    Merge(Change),
    CreateTable(CreateTable),
    /// CREATE TABLE … AS and SELECT … INTO.
    CreateTableAs(CreateTableAs),
    /// CREATE TABLE … CLONE.
    CloneTable(CloneTable),
    /// UNDROP TABLE.
    UndropTable(ObjectName),
    AlterSystem(AlterSystem),
    AlterTable(AlterTable),
    DropTable(Drop),
    Truncate(Truncate),
    CreateView(CreateView),
    DropView(Drop),
    CreateSchema(CreateSchema),
    AlterSchema(AlterSchema),
    DropSchema(Drop),
    CreateDatabase(CreateDatabase),
    AlterDatabase(AlterDatabase),
    DropDatabase(DropDatabase),
    Copy(Box<CopyStatement>),
    Explain(Explain),
    Set(Set),
    Reset(Reset),
    Show(Show),
    Begin(Begin),
    Commit,
    Rollback,
    Savepoint(Ident),
    /// RELEASE SAVEPOINT.
    Release(Ident),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(Ident),
    Prepare(Prepare),
    Execute(Execute),
    /// `None` for DEALLOCATE ALL.
    Deallocate(Option<Ident>),
    DeclareCursor(DeclareCursor),
    Fetch(Fetch),
    /// Skips rows; counted as FETCH is.
    Move(Fetch),
    /// `None` for CLOSE ALL.
    Close(Option<Ident>),
    Lock(Vec<ObjectName>),
    CreateRoutine(Box<CreateRoutine>),
    AlterRoutine(AlterRoutine),
    DropRoutines(DropRoutines),
    Call(Call),
    CreateUser(CreateUser),
    AlterUser(AlterUser),
    DropUser(DropUsers),
    CreateGroup(CreateGroup),
    AlterGroup(AlterGroup),
    DropGroup(DropUsers),
    Grant(Grant),
    Revoke(Revoke),
    Comment(Comment),
    Analyze(Analyze),
    AnalyzeCompression(AnalyzeCompression),
    Vacuum(Vacuum),
    /// CANCEL pid 'message'.
    Cancel {
        pid: i32,
        message: Option<String>,
    },
    /// USE database.
    Use(Ident),
}

impl Statement {
    /// The command's name as clients read it in tags and errors, for example `CREATE TABLE`.
    pub fn command(&self) -> &'static str {
        match self {
            Statement::Empty => "",
            Statement::Query(_) => "SELECT",
            Statement::Insert(_) => "INSERT",
            Statement::Delete(_) => "DELETE",
            Statement::Update(_) => "UPDATE",
            Statement::Merge(_) => "MERGE",
            Statement::CreateTable(_) => "CREATE TABLE",
            Statement::CreateTableAs(_) => "CREATE TABLE AS",
            Statement::CloneTable(_) => "CREATE TABLE CLONE",
            Statement::UndropTable(_) => "UNDROP TABLE",
            Statement::AlterSystem(_) => "ALTER SYSTEM",
            Statement::AlterTable(_) => "ALTER TABLE",
            Statement::DropTable(_) => "DROP TABLE",
            Statement::Truncate(_) => "TRUNCATE TABLE",
            Statement::CreateView(_) => "CREATE VIEW",
            Statement::DropView(_) => "DROP VIEW",
            Statement::CreateSchema(_) => "CREATE SCHEMA",
            Statement::AlterSchema(_) => "ALTER SCHEMA",
            Statement::DropSchema(_) => "DROP SCHEMA",
            Statement::CreateDatabase(_) => "CREATE DATABASE",
            Statement::AlterDatabase(_) => "ALTER DATABASE",
            Statement::DropDatabase(_) => "DROP DATABASE",
            Statement::Copy(_) => "COPY",
            Statement::Explain(_) => "EXPLAIN",
            Statement::Set(_) => "SET",
            Statement::Reset(_) => "RESET",
            Statement::Show(_) => "SHOW",
            Statement::Begin(begin) => begin.command,
            Statement::Commit => "COMMIT",
            Statement::Rollback => "ROLLBACK",
            Statement::Savepoint(_) => "SAVEPOINT",
            Statement::Release(_) => "RELEASE",
            Statement::RollbackTo(_) => "ROLLBACK TO SAVEPOINT",
            Statement::Prepare(_) => "PREPARE",
            Statement::Execute(_) => "EXECUTE",
            Statement::Deallocate(_) => "DEALLOCATE",
            Statement::DeclareCursor(_) => "DECLARE CURSOR",
            Statement::Fetch(_) => "FETCH",
            Statement::Move(_) => "MOVE",
            Statement::Close(_) => "CLOSE CURSOR",
            Statement::Lock(_) => "LOCK TABLE",
            Statement::CreateRoutine(create) => create.command(),
            Statement::AlterRoutine(alter) => alter.command(),
            Statement::DropRoutines(drop) => drop.command(),
            Statement::Call(_) => "CALL",
            Statement::CreateUser(_) => "CREATE USER",
            Statement::AlterUser(_) => "ALTER USER",
            Statement::DropUser(_) => "DROP USER",
            Statement::CreateGroup(_) => "CREATE GROUP",
            Statement::AlterGroup(_) => "ALTER GROUP",
            Statement::DropGroup(_) => "DROP GROUP",
            Statement::Grant(_) => "GRANT",
            Statement::Revoke(_) => "REVOKE",
            Statement::Comment(_) => "COMMENT",
            Statement::Analyze(_) => "ANALYZE",
            Statement::AnalyzeCompression(_) => "ANALYZE COMPRESSION",
            Statement::Vacuum(_) => "VACUUM",
            Statement::Cancel { .. } => "CANCEL",
            Statement::Use(_) => "USE",
        }
    }
}

/// EXPLAIN [VERBOSE] [ANALYZE] statement.
#[derive(Clone, Debug)]
pub struct Explain {
    pub verbose: bool,
    pub analyze: bool,
    pub statement: Box<Statement>,
}

/// PREPARE name [(types)] AS statement.
#[derive(Clone, Debug)]
pub struct Prepare {
    pub name: Ident,
    pub types: Vec<SqlType>,
    pub statement: Box<Statement>,
    /// The text of the statement after AS.
    pub text: String,
}

/// EXECUTE name [(values)].
#[derive(Clone, Debug)]
pub struct Execute {
    pub name: Ident,
    pub arguments: Vec<Expression>,
}
