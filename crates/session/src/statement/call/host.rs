//! The session as a running procedure sees it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use base::client::{BatchStream, Column, Outcome, Severity, Value};
use base::{Error, Result, SqlType, error};
use futures::StreamExt;
use plpgsql::tree::{Count, TypeName};
use plpgsql::{Columns, Fetched, Host, Level, Message, Portal, Ran, Shape, Sql, Typed};
use sql::ast::{Begin, Expression, Fetch, FetchCount, Ident, ObjectName, Query};
use sql::{BinderOptions, Statement};
use sqlparser::ast::{Expr, SelectItem, SetExpr};

use super::values::{self, Scope};
use crate::client::{ClientSession, Parsed, Run};
use crate::statement::constant;
use crate::system::AnyRelation;

/// The bytes of a statement's messages: they are kept until it ends.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// What a message takes beside its text.
const MESSAGE_BYTES: usize = 256;
/// Loops over rows that are open at once.
const LOOPS_MAX: usize = 1_000;

pub(super) struct ProcedureHost<'h> {
    session: &'h mut ClientSession,
    run: &'h Run,
    loops: HashMap<String, LoopRows>,
    /// Names given so far.
    named: u64,
}

/// The rows of a loop that it has not seen.
struct LoopRows {
    columns: Arc<[Column]>,
    batches: BatchStream,
    batch: Option<(RecordBatch, usize)>,
    /// Of the transaction whose own changes it may read: true once they are taken back.
    undone: Option<Arc<AtomicBool>>,
}

impl LoopRows {
    /// # Errors
    /// 34000 after the end of the transaction that wrote what it reads, those of the query.
    async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        if self.undone.as_ref().is_some_and(|undone| undone.load(Ordering::Relaxed)) {
            return Err(error!(InvalidCursorName, "the rows of the loop were rolled back")
                .detail("It reads what its own transaction wrote before the loop began."));
        }
        loop {
            if let Some((batch, at)) = &mut self.batch
                && *at < batch.num_rows()
            {
                *at += 1;
                return values::row(batch, *at - 1, &self.columns).map(Some);
            }
            match self.batches.next().await {
                Some(batch) => self.batch = Some((batch?, 0)),
                None => return Ok(None),
            }
        }
    }
}

/// Names and types without the rest that a client is told.
fn plain(columns: &[Column]) -> Columns {
    columns.iter().map(|column| (column.name.clone(), column.sql_type)).collect()
}

impl<'h> ProcedureHost<'h> {
    pub(super) fn new(session: &'h mut ClientSession, run: &'h Run) -> ProcedureHost<'h> {
        ProcedureHost { session, run, loops: HashMap::new(), named: 0 }
    }

    fn options(&self) -> Result<BinderOptions> {
        self.session.execution_options()
    }

    /// Parses a statement and puts the values of its variables in.
    fn parsed(&self, sql: Sql<'_>) -> Result<Statement> {
        let text = crate::forms::plain(sql.text);
        let mut statement = base::stack::deep(|| sql::parse(&text))?;
        let options = self.options()?;
        let scope = Scope {
            variables: sql.using.is_none().then_some(sql.variables),
            parameters: sql.using,
            options: &options,
        };
        base::stack::deep(|| sql::put_variables(&mut statement, &scope))?;
        Ok(statement)
    }

    fn query(&self, sql: Sql<'_>) -> Result<Query> {
        match self.parsed(sql)? {
            Statement::Query(query) => Ok(query),
            other => {
                Err(error!(InvalidCursorName, "cannot open {} query as cursor", other.command()))
            }
        }
    }

    /// Runs a statement that is not a query of ours alone.
    async fn dispatch(&mut self, text: &str, statement: Statement) -> Result<Outcome> {
        let parsed = Arc::new(Parsed {
            text: Arc::from(text),
            statement,
            wanted: Vec::new(),
            fresh: parking_lot::Mutex::new(None),
            insert: parking_lot::Mutex::new(None),
        });
        self.session.dispatch(&parsed, Vec::new(), &self.run.child()).await
    }

    /// True while each statement is a transaction of its own.
    fn commits_each(&self) -> bool {
        self.session.calls.frame.autocommit && !self.session.calls.in_block
    }

    /// After a statement.
    async fn settle(&mut self) -> Result<()> {
        if self.commits_each() {
            self.session.chain(true).await?;
        }
        Ok(())
    }

    /// START TRANSACTION in a NONATOMIC procedure.
    fn start_block(&mut self, begin: &Begin) -> Result<Ran> {
        if !self.session.calls.frame.autocommit {
            return Err(Error::unsupported("BEGIN is not supported in a procedure that is atomic")
                .hint("CREATE PROCEDURE … NONATOMIC allows START TRANSACTION."));
        }
        if begin.modes.read_only == Some(true) {
            return Err(Error::unsupported(
                "START TRANSACTION READ ONLY is not supported in a procedure",
            ));
        }
        if self.session.calls.in_block {
            let warning =
                error!(ActiveSqlTransaction, "there is already a transaction in progress");
            self.session.notice(Severity::Warning, warning);
        }
        self.session.calls.in_block = true;
        Ok(Ran::default())
    }
}

/// Refuses what a procedure must not run.
fn check_allowed(statement: &Statement) -> Result<()> {
    let what = match statement {
        Statement::Prepare(_)
        | Statement::CreateDatabase(_)
        | Statement::DropDatabase(_)
        | Statement::AlterSystem(_)
        | Statement::Vacuum(_)
        | Statement::Savepoint(_)
        | Statement::Release(_)
        | Statement::RollbackTo(_)
        | Statement::Use(_) => statement.command(),
        Statement::AlterTable(alter) if alter.appends() => "ALTER TABLE APPEND",
        Statement::Set(set) if set.local => "SET LOCAL",
        Statement::Set(set) => match set.what {
            sql::ast::SetWhat::SessionAuthorization(_) => "SET SESSION AUTHORIZATION",
            _ => return Ok(()),
        },
        Statement::Reset(sql::ast::Reset::SessionAuthorization) => "RESET SESSION AUTHORIZATION",
        Statement::Commit | Statement::Rollback => "EXECUTE of transaction commands",
        _ => return Ok(()),
    };
    Err(Error::unsupported(format!("{what} is not supported in a procedure")))
}

#[async_trait]
impl Host for ProcedureHost<'_> {
    async fn shape(&mut self, type_name: &TypeName) -> Result<Shape> {
        match type_name {
            TypeName::Sql(fragment) => {
                let text = format!("cast(null as {})", fragment.text);
                let unknown = |e: Error| e.within(&fragment.text);
                let expression = sql::parse_expression(&text).map_err(unknown)?;
                let sql_type = self.session.type_of(&expression, &[]).await?;
                values::check_type(sql_type)?;
                Ok(Shape::Scalar(sql_type))
            }
            TypeName::Like(parts, fragment) => {
                let Some((column, table)) = parts.split_last().filter(|(_, t)| !t.is_empty())
                else {
                    let name = &fragment.text;
                    return Err(error!(UndefinedObject, "variable \"{name}\" does not exist"));
                };
                let columns = self.session.columns_of_table(table)?;
                let found = columns.iter().find(|(name, _)| name == column);
                found.map(|(_, sql_type)| Shape::Scalar(*sql_type)).ok_or_else(|| {
                    let names = columns.iter().map(|(name, _)| name.as_str());
                    error!(
                        UndefinedColumn,
                        "column \"{column}\" of relation \"{}\" does not exist",
                        table.join(".")
                    )
                    .maybe_hint(base::suggest::did_you_mean(column, names))
                })
            }
            TypeName::RowOf(parts, _) => {
                Ok(Shape::Row(self.session.columns_of_table(parts)?.into()))
            }
            TypeName::Record | TypeName::RefCursor => Ok(Shape::Scalar(SqlType::Text)),
        }
    }

    async fn evaluate(&mut self, sql: Sql<'_>) -> Result<Typed> {
        let expression = base::stack::deep(|| sql::parse_expression(sql.text))?;
        let options = self.options()?;
        let scope = Scope {
            variables: sql.using.is_none().then_some(sql.variables),
            parameters: sql.using,
            options: &options,
        };
        let (value, reads) = self.session.value_of(expression, &scope, &self.run.child()).await?;
        // One that reads tables is a statement too: the next sees what was committed meanwhile.
        if reads {
            self.settle().await?;
        }
        Ok(value)
    }

    fn convert(&mut self, value: &Typed, to: SqlType) -> Result<Value> {
        self.session.convert_value(value, to)
    }

    async fn run(&mut self, sql: Sql<'_>, limit: Option<u64>) -> Result<Ran> {
        let statement = self.parsed(sql)?;
        if let Statement::Begin(begin) = &statement {
            return self.start_block(begin);
        }
        check_allowed(&statement)?;
        let outcome = self.dispatch(sql.text, statement).await?;
        let ran = match outcome {
            Outcome::Empty => Ran::default(),
            Outcome::Done { tag } => {
                let count = tag.rsplit(' ').next().and_then(|count| count.parse().ok());
                Ran { count: count.unwrap_or(0), ..Ran::default() }
            }
            Outcome::Rows { columns, batches, .. } => collect(&columns, batches, limit).await?,
        };
        self.settle().await?;
        Ok(ran)
    }

    async fn call(&mut self, sql: Sql<'_>) -> Result<Vec<(usize, Typed)>> {
        let statement = self.parsed(sql)?;
        let Statement::Call(call) = statement else {
            return Err(Error::internal("a CALL is a CALL"));
        };
        let called = Box::pin(self.session.called(&call, &[], self.run)).await?;
        let outputs = called.outputs();
        self.settle().await?;
        Ok(outputs)
    }

    async fn open(&mut self, portal: Portal<'_>, sql: Sql<'_>) -> Result<String> {
        let query = self.query(sql)?;
        self.session.pin();
        let name = match portal {
            Portal::Named(name) => name.to_owned(),
            Portal::Loop => {
                self.named += 1;
                if self.loops.len() >= LOOPS_MAX {
                    return Err(error!(StatementTooComplex, "too many open loops over rows"));
                }
                let changes = self.session.work.has_changes();
                let undone = changes.then(|| Arc::clone(&self.session.calls.undone));
                let (columns, batches, _) = self.session.rows(&query, &self.run.child()).await?;
                let name = format!("<loop {}>", self.named);
                let rows = LoopRows { columns, batches, batch: None, undone };
                self.loops.insert(name.clone(), rows);
                return Ok(name);
            }
            Portal::Unnamed => loop {
                self.named += 1;
                let name = format!("<unnamed portal {}>", self.named);
                if !self.session.cursors.contains_key(&name) {
                    break name;
                }
            },
        };
        let hold = self.commits_each();
        let ident = Ident::made(name.clone());
        self.session.open_cursor(&ident, &query, hold, &self.run.child()).await?;
        if hold {
            self.session.calls.held.push(name.clone());
        }
        Ok(name)
    }

    async fn fetch(&mut self, cursor: &str) -> Result<Fetched> {
        if let Some(rows) = self.loops.get_mut(cursor) {
            let values = rows.next().await?;
            return Ok(Fetched { columns: plain(&rows.columns), values });
        }
        let (columns, batch) = self.session.fetch_row(&Ident::made(cursor)).await?;
        let values = match batch {
            Some(batch) => Some(values::row(&batch, 0, &columns)?),
            None => None,
        };
        Ok(Fetched { columns: plain(&columns), values })
    }

    async fn skip(&mut self, cursor: &str, count: Count) -> Result<u64> {
        let count = match count {
            Count::All => FetchCount::All,
            Count::Rows(rows) => FetchCount::Rows(rows),
        };
        let fetch = Fetch { count, cursor: Ident::made(cursor) };
        match self.session.skip(&fetch, self.run).await? {
            Outcome::Done { tag } => {
                Ok(tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0))
            }
            _ => Ok(0),
        }
    }

    fn close(&mut self, cursor: &str) -> Result<()> {
        if self.loops.remove(cursor).is_some() {
            return Ok(());
        }
        self.session.close(Some(&Ident::made(cursor))).map(drop)
    }

    async fn commit(&mut self) -> Result<()> {
        self.session.may_end_transaction()?;
        self.session.take_held_cursors();
        self.session.chain(true).await
    }

    async fn roll_back(&mut self) -> Result<()> {
        self.session.may_end_transaction()?;
        self.session.chain(false).await
    }

    async fn recover(&mut self) -> Result<()> {
        let held = self.session.take_held_cursors();
        let done = self.session.chain(false).await;
        self.session.calls.held.extend(held.keys().cloned());
        self.session.cursors.extend(held);
        done
    }

    async fn recovered(&mut self) -> Result<bool> {
        if !self.session.calls.in_block {
            self.session.chain(true).await?;
        }
        Ok(!self.session.calls.frame.autocommit)
    }

    fn message(&mut self, message: Message) -> Result<()> {
        let bytes = MESSAGE_BYTES + message.text.message().len();
        if self.session.calls.message_bytes + bytes > MESSAGE_BYTES_MAX {
            return Err(error!(
                ProgramLimitExceeded,
                "the messages of a statement cannot take more than {MESSAGE_BYTES_MAX} bytes"
            ));
        }
        let severity = match message.level {
            Level::Info => Severity::Info,
            Level::Notice | Level::Exception => Severity::Notice,
            Level::Warning => Severity::Warning,
            Level::Debug | Level::Log => {
                tracing::debug!(text = message.text.message(), "RAISE LOG");
                return Ok(());
            }
        };
        let before = self.session.events.len();
        self.session.notice(severity, message.text);
        if self.session.events.len() > before {
            self.session.calls.message_bytes += bytes;
        }
        Ok(())
    }

    async fn breathe(&mut self) {
        tokio::task::yield_now().await;
    }
}

/// The first rows of a result, or the number of all.
async fn collect(columns: &[Column], mut batches: BatchStream, limit: Option<u64>) -> Result<Ran> {
    let mut ran = Ran { columns: Some(plain(columns)), ..Ran::default() };
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let Some(limit) = limit else {
            ran.count += batch.num_rows() as u64;
            continue;
        };
        for at in 0..batch.num_rows() {
            ran.rows.push(values::row(&batch, at, columns)?);
            ran.count += 1;
            if ran.count >= limit {
                return Ok(ran);
            }
        }
    }
    Ok(ran)
}

impl ClientSession {
    pub(super) fn convert_value(&self, value: &Typed, to: SqlType) -> Result<Value> {
        values::assigned(value, to, &self.execution_options()?)
    }

    /// Binds a query and starts it; true when it reads more than its own text.
    async fn rows(
        &mut self,
        query: &Query,
        run: &Run,
    ) -> Result<(Arc<[Column]>, BatchStream, bool)> {
        let fresh = self.bind_query(query, &[]).await?;
        self.note_reads(&fresh.bound.relations);
        let columns = Arc::clone(&fresh.columns);
        let plan = fresh.bound.with_values(&[], &self.execution_options()?)?;
        // What reads nothing is computed here, without the engine.
        if let Ok(Some(batch)) = constant::evaluate(&plan) {
            return Ok((columns, Box::pin(futures::stream::iter([Ok(batch)])), false));
        }
        let batches = self.stream(plan, run).await?;
        Ok((columns, batches, true))
    }

    /// The value of an expression in which names may be variables; true when it reads tables.
    async fn value_of(
        &mut self,
        expression: Expression,
        scope: &Scope<'_>,
        run: &Run,
    ) -> Result<(Typed, bool)> {
        let mut statement = Statement::Query(selecting(&expression)?);
        base::stack::deep(|| sql::put_variables(&mut statement, scope))?;
        let Statement::Query(query) = statement else {
            return Err(Error::internal("a query is a query"));
        };
        self.pin();
        let (columns, batches, reads) = self.rows(&query, run).await?;
        let ran = collect(&columns, batches, Some(2)).await?;
        let sql_type = columns.first().map_or(SqlType::Unknown, |column| column.sql_type);
        let value = match ran.rows.as_slice() {
            [] => Typed::null(sql_type),
            [row] => Typed::new(sql_type, row.first().cloned().unwrap_or(Value::Null)),
            _ => return Err(error!(CardinalityViolation, "query returned more than one row")),
        };
        Ok((value, reads))
    }

    /// The value of an argument of CALL.
    pub(super) async fn evaluate_argument(
        &mut self,
        argument: &Expression,
        parameters: &[Typed],
        run: &Run,
    ) -> Result<Typed> {
        let options = self.execution_options()?;
        let scope = Scope { variables: None, parameters: Some(parameters), options: &options };
        Ok(self.value_of(argument.clone(), &scope, run).await?.0)
    }

    /// The type of an expression without variables.
    pub(super) async fn type_of(
        &mut self,
        expression: &Expression,
        wanted: &[SqlType],
    ) -> Result<SqlType> {
        let fresh = self.bind_query(&selecting(expression)?, wanted).await?;
        Ok(fresh.columns.first().map_or(SqlType::Unknown, |column| column.sql_type))
    }

    /// The names and types of a relation's columns.
    fn columns_of_table(&mut self, parts: &[String]) -> Result<Vec<(String, SqlType)>> {
        let name = ObjectName(parts.iter().cloned().map(Ident::made).collect());
        let context = self.context()?;
        let engine = Arc::clone(&self.leader.engine);
        let relation =
            crate::relations::SessionRelations::new(Arc::clone(&context), engine).find(&name)?;
        if let AnyRelation::User(relation) = &relation {
            crate::privileges::on_relation(
                &context.state,
                &context.user,
                relation,
                catalog::Privileges::SELECT,
            )?;
        }
        let columns = relation.columns().into_iter();
        Ok(columns.map(|column| (column.name, column.sql_type)).collect())
    }
}

/// `SELECT expression`.
fn selecting(expression: &Expression) -> Result<Query> {
    let mut query = sql::parse_query("select null")?;
    select_only(&mut query, expression.expr.as_ref().clone());
    query.text.clone_from(&expression.text);
    query.source = Arc::clone(&expression.source);
    Ok(query)
}

/// Puts an expression in the place of the one that a query selects.
pub(crate) fn select_only(query: &mut Query, expr: Expr) {
    if let SetExpr::Select(select) = query.body.body.as_mut()
        && let Some(item) = select.projection.first_mut()
    {
        *item = SelectItem::UnnamedExpr(expr);
    }
}
