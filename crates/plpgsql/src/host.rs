//! What the language needs of the server that runs it.

use std::sync::Arc;

use async_trait::async_trait;
use base::client::Value;
use base::{Error, Result, SqlType};

use crate::run::Frames;
use crate::tree::{Count, TypeName};

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed {
    pub sql_type: SqlType,
    pub value: Value,
}

impl Typed {
    pub fn new(sql_type: SqlType, value: Value) -> Typed {
        Typed { sql_type, value }
    }

    pub fn null(sql_type: SqlType) -> Typed {
        Typed { sql_type, value: Value::Null }
    }

    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }
}

/// The names and types of a row's columns.
pub type Columns = Arc<[(String, SqlType)]>;

/// A row of a result, or the value of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub columns: Columns,
    pub values: Vec<Value>,
}

impl Row {
    pub fn nulls(columns: Columns) -> Row {
        let values = vec![Value::Null; columns.len()];
        Row { columns, values }
    }

    /// The value of the column of this name.
    pub fn field(&self, name: &str) -> Option<Typed> {
        let at = self.columns.iter().position(|(column, _)| column == name)?;
        self.get(at)
    }

    pub fn get(&self, at: usize) -> Option<Typed> {
        let ((_, sql_type), value) = (self.columns.get(at)?, self.values.get(at)?);
        Some(Typed::new(*sql_type, value.clone()))
    }
}

/// What a declared type holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Scalar(SqlType),
    Row(Columns),
}

/// SQL with the values that it may name.
#[derive(Clone, Copy)]
pub struct Sql<'s> {
    pub text: &'s str,
    pub variables: Variables<'s>,
    /// The values of `$1`, `$2`, … of a dynamic statement, which sees no variables.
    pub using: Option<&'s [Typed]>,
}

/// The variables in scope.
#[derive(Clone, Copy)]
pub struct Variables<'v>(pub(crate) &'v Frames);

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Variable<'v> {
    Scalar(&'v Typed),
    /// `None` before the first assignment.
    Record(Option<&'v Row>),
}

impl<'v> Variables<'v> {
    /// The innermost variable of a name.
    pub fn get(self, name: &str) -> Option<Variable<'v>> {
        self.0.find(name).map(|slot| slot.variable())
    }

    /// A variable of the block or procedure with this label.
    pub fn labelled(self, label: &str, name: &str) -> Option<Variable<'v>> {
        self.0.find_in(label, name).map(|slot| slot.variable())
    }
}

/// What a statement did.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// The columns of its result, for one that returns rows.
    pub columns: Option<Columns>,
    /// The first rows, as many as were asked for.
    pub rows: Vec<Vec<Value>>,
    /// Rows returned or changed.
    pub count: u64,
}

/// A row that was fetched, or the columns where there is none.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub columns: Columns,
    pub values: Option<Vec<Value>>,
}

/// What a cursor is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portal<'n> {
    /// A loop, which nothing else can name and which no end of a transaction ends.
    Loop,
    /// OPEN of a variable without a name: the host makes one up.
    Unnamed,
    Named(&'n str),
}

/// The levels of RAISE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Log,
    Info,
    Notice,
    Warning,
    Exception,
}

/// What RAISE tells the client.
#[derive(Clone, Debug)]
pub struct Message {
    pub level: Level,
    pub text: Error,
}

/// The server as a procedure sees it.
#[async_trait]
pub trait Host: Send {
    /// The shape of a declared type; RECORD and REFCURSOR do not come here.
    ///
    /// # Errors
    /// 42704, 42P01 and 42703 for names that do not exist.
    async fn shape(&mut self, type_name: &TypeName) -> Result<Shape>;

    /// The value of an expression.
    ///
    /// # Errors
    /// Those of the expression, with positions in its text.
    async fn evaluate(&mut self, sql: Sql<'_>) -> Result<Typed>;

    /// A value as an assignment to another type makes it.
    ///
    /// # Errors
    /// 22P02, 22003, 42804 and the like.
    fn convert(&mut self, value: &Typed, to: SqlType) -> Result<Value>;

    /// Runs a statement and gives at most `limit` of its rows; `None` runs it to its end and
    /// counts all.
    ///
    /// # Errors
    /// Those of the statement.
    async fn run(&mut self, sql: Sql<'_>, limit: Option<u64>) -> Result<Ran>;

    /// Runs a CALL; gives the values of OUT and INOUT arguments by their place in the call.
    ///
    /// # Errors
    /// Those of the procedure.
    async fn call(&mut self, sql: Sql<'_>) -> Result<Vec<(usize, Typed)>>;

    /// Opens a cursor and gives its name.
    ///
    /// # Errors
    /// 42P03 for a name that is taken, and those of the query.
    async fn open(&mut self, portal: Portal<'_>, sql: Sql<'_>) -> Result<String>;

    /// The next row of a cursor.
    ///
    /// # Errors
    /// 34000, and those of the query.
    async fn fetch(&mut self, cursor: &str) -> Result<Fetched>;

    /// Skips rows and gives their number.
    ///
    /// # Errors
    /// 34000, and those of the query.
    async fn skip(&mut self, cursor: &str, count: Count) -> Result<u64>;

    /// # Errors
    /// 34000.
    fn close(&mut self, cursor: &str) -> Result<()>;

    /// COMMIT: what comes next is in a new transaction.
    ///
    /// # Errors
    /// 2D000 where a transaction must not end, 40001 and others of the commit.
    async fn commit(&mut self) -> Result<()>;

    /// ROLLBACK: what comes next is in a new transaction.
    ///
    /// # Errors
    /// 2D000 where a transaction must not end.
    async fn roll_back(&mut self) -> Result<()>;

    /// A handler is about to run: what the failed statements did is taken back.
    ///
    /// # Errors
    /// Those of taking it back.
    async fn recover(&mut self) -> Result<()>;

    /// A handler has run to its end. True when the error goes on to the caller all the same, as
    /// it does in a procedure that is not NONATOMIC; the handler's work is then committed.
    ///
    /// # Errors
    /// Those of the commit.
    async fn recovered(&mut self) -> Result<bool>;

    /// Tells the client something.
    ///
    /// # Errors
    /// 54000 when it has been told too much.
    fn message(&mut self, message: Message) -> Result<()>;

    /// Gives others their turn: called now and then by what loops.
    async fn breathe(&mut self);
}
