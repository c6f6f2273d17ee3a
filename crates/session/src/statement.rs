//! What each kind of statement does.

mod access;
mod alter;
mod append;
mod block;
pub(crate) mod call;
mod change;
mod comment;
mod compression;
mod constant;
pub(crate) mod copy;
mod create;
pub(crate) mod cursor;
mod database;
mod definition;
mod drop;
mod explain;
mod history;
pub(crate) mod insert;
pub(crate) mod layout;
mod locking;
mod prepared;
mod query;
pub(crate) mod routine;
mod show;
mod show_objects;
mod statistics;
mod vacuum;
mod variables;
mod view;

pub(crate) use create::found_table;

use std::sync::Arc;

use base::client::{Column, Outcome, Prepared, Value};
use base::{Error, Result, SqlType, error};
use futures::future::BoxFuture;
use sql::Statement;

use crate::client::{ClientSession, Parsed, Run};
use crate::planning::with_room;

/// A command without rows.
pub(crate) fn done(tag: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Done { tag: tag.into() })
}

impl ClientSession {
    /// Parses and describes a statement.
    ///
    /// # Errors
    /// Those of the parser and the binder; 25P02 in a failed block.
    pub(crate) async fn prepare_statement(
        &mut self,
        text: &str,
        parameter_oids: &[u32],
    ) -> Result<Prepared> {
        let owned = crate::forms::plain(text).into_owned();
        let statement = with_room(owned.len(), move || sql::parse(&owned)).await?;
        let wanted = wanted_types(parameter_oids)?;
        self.describe(text, statement, wanted).await
    }

    /// Describes a parsed statement.
    pub(crate) async fn describe(
        &mut self,
        text: &str,
        statement: Statement,
        wanted: Vec<SqlType>,
    ) -> Result<Prepared> {
        self.check_block(&statement)?;
        self.work.enter(&self.settings);
        let parsed = Parsed {
            text: Arc::from(text),
            statement,
            wanted,
            fresh: parking_lot::Mutex::new(None),
            insert: parking_lot::Mutex::new(None),
        };
        let (parameters, columns) = self.columns_of(&parsed).await?;
        Ok(Prepared { parameters, columns, plan: Arc::new(parsed) })
    }

    /// The parameter types and the result columns of a statement.
    async fn columns_of(
        &mut self,
        parsed: &Parsed,
    ) -> Result<(Vec<SqlType>, Option<Arc<[Column]>>)> {
        let text = |name: &str| -> Arc<[Column]> { Arc::from(vec![column(name, SqlType::Text)]) };
        match &parsed.statement {
            Statement::Query(query) => {
                let fresh = self.bind_query(query, &parsed.wanted).await?;
                let described = (fresh.bound.parameters.clone(), Some(Arc::clone(&fresh.columns)));
                *parsed.fresh.lock() = Some(fresh);
                Ok(described)
            }
            Statement::Insert(insert) => {
                let known = self.bind_insert(insert, &parsed.wanted).await?;
                let parameters = known.bound.parameters.clone();
                parsed.keep_insert(known);
                Ok((parameters, None))
            }
            Statement::Delete(_) | Statement::Update(_) | Statement::Merge(_) => {
                let bound = self.bind_change(&parsed.statement, &parsed.wanted).await?;
                Ok((bound.parameters, None))
            }
            Statement::AnalyzeCompression(_) => Ok((Vec::new(), Some(compression::columns()))),
            Statement::Explain(explain) => {
                let parameters = self.explain_parameters(explain, &parsed.wanted).await?;
                Ok((parameters, Some(text("QUERY PLAN"))))
            }
            Statement::Show(show) => {
                let (count, columns) = self.show_columns(show)?;
                // Names and patterns are text.
                Ok((vec![SqlType::Varchar(base::types::VARCHAR_BYTES_MAX); count], Some(columns)))
            }
            Statement::Fetch(fetch) => Ok((Vec::new(), Some(self.cursor_columns(fetch)?))),
            Statement::Execute(execute) => Ok((Vec::new(), self.executed_columns(execute).await?)),
            Statement::Call(call) => self.called_columns(call, &parsed.wanted).await,
            _ => Ok((Vec::new(), None)),
        }
    }

    /// Runs a statement. Boxed: EXECUTE comes back here, and the state of the largest statement
    /// need not be part of every caller's.
    pub(crate) fn dispatch<'a>(
        &'a mut self,
        parsed: &'a Arc<Parsed>,
        values: Vec<Value>,
        run: &'a Run,
    ) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(self.dispatch_one(parsed, values, run))
    }

    async fn dispatch_one(
        &mut self,
        parsed: &Arc<Parsed>,
        values: Vec<Value>,
        run: &Run,
    ) -> Result<Outcome> {
        match &parsed.statement {
            Statement::Empty => Ok(Outcome::Empty),
            Statement::Query(query) => {
                self.pin();
                let fresh = parsed.fresh.lock().take();
                self.select(query, &parsed.wanted, fresh, values, run).await
            }
            Statement::Explain(explain) => {
                self.pin();
                self.explain(explain, &parsed.wanted, values, run).await
            }
            Statement::Set(set) => self.set(set),
            Statement::Reset(reset) => self.reset(reset),
            Statement::Show(show) => self.show(show, &values),
            Statement::Begin(begin) => self.begin(begin),
            Statement::Savepoint(name) => self.savepoint(name),
            Statement::Release(name) => self.release_savepoint(name),
            Statement::RollbackTo(name) => self.roll_back_to(name),
            Statement::Prepare(prepare) => self.prepare_named(prepare).await,
            Statement::Execute(execute) => self.execute_named(execute, run).await,
            Statement::Deallocate(name) => self.deallocate(name.as_ref()),
            Statement::DeclareCursor(declare) => {
                self.pin();
                self.declare(declare, run).await
            }
            Statement::Fetch(fetch) => self.fetch(fetch, run).await,
            Statement::Move(fetch) => self.skip(fetch, run).await,
            Statement::Close(name) => self.close(name.as_ref()),
            Statement::Cancel { pid, message } => self.cancel_other(*pid, message.as_deref()),
            Statement::Use(name) => self.use_database(name),
            Statement::Lock(tables) => self.lock(tables).await,
            Statement::Vacuum(vacuum) => self.vacuum(vacuum, run).await,
            Statement::Call(call) => self.call(call, &parsed.wanted, values, run).await,
            writes => {
                self.lock_for(writes).await?;
                if let Statement::Insert(insert) = writes {
                    return self.insert(insert, parsed, values, run).await;
                }
                self.change(writes, &parsed.wanted, values, run).await
            }
        }
    }

    /// Statements that change something.
    async fn change(
        &mut self,
        statement: &Statement,
        wanted: &[SqlType],
        values: Vec<Value>,
        run: &Run,
    ) -> Result<Outcome> {
        match statement {
            Statement::Copy(copy) => self.copy(copy, run).await,
            Statement::CreateTable(create) => self.create_table(create).await,
            Statement::CreateTableAs(create) => self.create_table_as(create, run).await,
            Statement::CloneTable(clone) => self.clone_table(clone).await,
            Statement::UndropTable(name) => self.undrop_table(name).await,
            Statement::AlterSystem(alter) => self.alter_system(alter),
            Statement::AlterTable(alter) => self.alter_table(alter, run).await,
            Statement::DropTable(drop) => self.drop_relations(drop, "table"),
            Statement::Truncate(truncate) => self.truncate(truncate).await,
            Statement::CreateView(create) => self.create_view(create).await,
            Statement::DropView(drop) => self.drop_relations(drop, "view"),
            Statement::CreateRoutine(create) => self.create_routine(create).await,
            Statement::AlterRoutine(alter) => self.alter_routine(alter),
            Statement::DropRoutines(drop) => self.drop_routines(drop),
            Statement::CreateSchema(create) => self.create_schema(create),
            Statement::AlterSchema(alter) => self.alter_schema(alter),
            Statement::DropSchema(drop) => self.drop_schemas(drop),
            Statement::CreateDatabase(create) => self.create_database(create),
            Statement::AlterDatabase(alter) => self.alter_database(alter),
            Statement::DropDatabase(drop) => self.drop_database(drop),
            Statement::CreateUser(create) => self.create_user(create),
            Statement::AlterUser(alter) => self.alter_user(alter),
            Statement::DropUser(drop) => self.drop_users(drop),
            Statement::Grant(grant) => self.grant(grant),
            Statement::Revoke(revoke) => self.revoke(revoke),
            Statement::Comment(comment) => self.comment(comment),
            Statement::Delete(_) | Statement::Update(_) | Statement::Merge(_) => {
                self.change_rows(statement, wanted, values, run).await
            }
            Statement::Analyze(analyze) => self.analyze(analyze, run).await,
            Statement::AnalyzeCompression(analyze) => self.analyze_compression(analyze, run).await,
            other => Err(refused(other)),
        }
    }
}

/// What this version does not do, by name.
fn refused(statement: &Statement) -> Error {
    Error::unsupported(format!("{} is not supported", statement.command()))
}

/// The types that a client asked for.
///
/// # Errors
/// 42704 for an OID that is not served.
fn wanted_types(oids: &[u32]) -> Result<Vec<SqlType>> {
    let one = |oid: &u32| match SqlType::from_oid(*oid) {
        Some(SqlType::Decimal { .. }) => Ok(SOME_DECIMAL),
        Some(sql_type) => Ok(sql_type),
        None => Err(error!(UndefinedObject, "type with OID {oid} does not exist")),
    };
    oids.iter().map(one).collect()
}

/// A numeric parameter before its value, and so its scale, is known.
const SOME_DECIMAL: SqlType = SqlType::Decimal { precision: 38, scale: 18 };

/// The types that the client asked for, numeric ones with the precision of their values: an OID
/// alone does not say how many digits follow the point, and none may be rounded away.
pub(crate) fn exact_types(wanted: &[SqlType], values: &[Value]) -> Vec<SqlType> {
    let one = |(n, sql_type): (usize, &SqlType)| match (sql_type, values.get(n)) {
        (SqlType::Decimal { .. }, Some(Value::Text(text))) => decimal_of(text).unwrap_or(*sql_type),
        (SqlType::Decimal { .. }, Some(Value::Decimal { scale, .. })) => {
            SqlType::Decimal { precision: 38, scale: (*scale).min(37) }
        }
        _ => *sql_type,
    };
    wanted.iter().enumerate().map(one).collect()
}

/// The narrowest numeric type of plain digits with a point.
fn decimal_of(text: &str) -> Option<SqlType> {
    let digits = text.trim().trim_start_matches(['+', '-']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit()) {
        return None;
    }
    let scale = u8::try_from(fraction.len()).ok().filter(|scale| *scale <= 37)?;
    let precision = u8::try_from(whole.len() + fraction.len()).ok()?.max(1);
    (precision <= 38).then_some(SqlType::Decimal { precision, scale })
}

/// A result column that comes from no table.
pub(crate) fn column(name: &str, sql_type: SqlType) -> Column {
    Column { name: name.to_owned(), sql_type, origin: None, nullable: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_parameters_keep_their_digits() {
        let text = |text: &str| [Value::Text(text.to_owned())];
        let typed = |value: &str| exact_types(&[SOME_DECIMAL], &text(value))[0];
        assert_eq!(typed("1.50"), SqlType::Decimal { precision: 3, scale: 2 });
        assert_eq!(typed("-12"), SqlType::Decimal { precision: 2, scale: 0 });
        assert_eq!(typed("1e5"), SOME_DECIMAL);
        assert_eq!(exact_types(&[SqlType::Integer], &text("1.5")), [SqlType::Integer]);
    }
}
