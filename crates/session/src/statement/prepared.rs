//! PREPARE, EXECUTE, DEALLOCATE.

use std::sync::Arc;

use base::client::{Column, Outcome, Value};
use base::{Error, Result, SqlType, error, suggest};
use datafusion::common::ScalarValue;
use sql::Statement;
use sql::ast::{Execute, Ident, Prepare};

use super::done;
use crate::client::{ClientSession, NAMES_MAX, Parsed, Run};

impl ClientSession {
    pub(crate) async fn prepare_named(&mut self, prepare: &Prepare) -> Result<Outcome> {
        let name = &prepare.name.name;
        if self.statements.contains_key(name) {
            return Err(error!(
                DuplicatePreparedStatement,
                "prepared statement \"{name}\" already exists"
            )
            .at(prepare.name.position));
        }
        if self.statements.len() >= NAMES_MAX {
            return Err(error!(
                ConfigurationLimitExceeded,
                "a session cannot have more than {NAMES_MAX} prepared statements"
            ));
        }
        if matches!(
            prepare.statement.as_ref(),
            Statement::Prepare(_) | Statement::Execute(_) | Statement::Explain(_)
        ) {
            return Err(Error::unsupported(format!(
                "PREPARE of {} is not supported",
                prepare.statement.command()
            )));
        }
        let statement = prepare.statement.as_ref().clone();
        let described =
            Box::pin(self.describe(&prepare.text, statement, prepare.types.clone())).await?;
        let parsed = Arc::clone(&described.plan)
            .downcast::<Parsed>()
            .map_err(|_| Error::internal("a prepared statement of another kind"))?;
        *parsed.fresh.lock() = None;
        self.statements.insert(name.clone(), parsed);
        done("PREPARE")
    }

    fn named(&self, name: &Ident) -> Result<Arc<Parsed>> {
        self.statements.get(&name.name).cloned().ok_or_else(|| {
            let names = self.statements.keys().map(String::as_str);
            error!(InvalidSqlStatementName, "prepared statement \"{}\" does not exist", name.name)
                .maybe_hint(suggest::did_you_mean(&name.name, names))
                .at(name.position.max(1))
        })
    }

    pub(crate) async fn executed_columns(
        &mut self,
        execute: &Execute,
    ) -> Result<Option<Arc<[Column]>>> {
        let parsed = self.named(&execute.name)?;
        let (_, columns) = Box::pin(self.columns_of(&parsed)).await?;
        *parsed.fresh.lock() = None;
        Ok(columns)
    }

    pub(crate) async fn execute_named(&mut self, execute: &Execute, run: &Run) -> Result<Outcome> {
        let parsed = self.named(&execute.name)?;
        let (parameters, _) = Box::pin(self.columns_of(&parsed)).await?;
        if parameters.len() != execute.arguments.len() {
            return Err(error!(
                SyntaxError,
                "wrong number of parameters for prepared statement \"{}\"", execute.name.name
            )
            .detail(format!(
                "Expected {} parameters but got {}.",
                parameters.len(),
                execute.arguments.len()
            )));
        }
        let values = self.arguments(execute, &parameters)?;
        self.dispatch(&parsed, values, run).await
    }

    fn arguments(&mut self, execute: &Execute, _types: &[SqlType]) -> Result<Vec<Value>> {
        let scope = self.scope(&[])?;
        let binder = scope.binder();
        let arguments = execute.arguments.iter();
        arguments.map(|argument| value(binder.constant(argument)?.0)).collect()
    }

    pub(crate) fn deallocate(&mut self, name: Option<&Ident>) -> Result<Outcome> {
        match name {
            None => self.statements.clear(),
            Some(name) => {
                self.named(name)?;
                self.statements.remove(&name.name);
            }
        }
        done("DEALLOCATE")
    }
}

/// A constant as a parameter's value; what has no form of its own goes as text.
pub(super) fn value(scalar: ScalarValue) -> Result<Value> {
    if scalar.is_null() {
        return Ok(Value::Null);
    }
    Ok(match &scalar {
        ScalarValue::Boolean(Some(v)) => Value::Bool(*v),
        ScalarValue::Int16(Some(v)) => Value::Int(i64::from(*v)),
        ScalarValue::Int32(Some(v)) => Value::Int(i64::from(*v)),
        ScalarValue::Int64(Some(v)) => Value::Int(*v),
        ScalarValue::Float32(Some(v)) => Value::Float(f64::from(*v)),
        ScalarValue::Float64(Some(v)) => Value::Float(*v),
        ScalarValue::Decimal128(Some(v), _, scale) => {
            Value::Decimal { unscaled: *v, scale: u8::try_from(*scale).unwrap_or(0) }
        }
        ScalarValue::Date32(Some(v)) => Value::Date(*v),
        ScalarValue::Time64Microsecond(Some(v)) => Value::Time(*v),
        ScalarValue::TimestampMicrosecond(Some(v), None) => Value::Timestamp(*v),
        ScalarValue::TimestampMicrosecond(Some(v), Some(_)) => Value::TimestampTz(*v),
        ScalarValue::Utf8(Some(v))
        | ScalarValue::LargeUtf8(Some(v))
        | ScalarValue::Utf8View(Some(v)) => Value::Text(v.clone()),
        ScalarValue::Binary(Some(v)) | ScalarValue::BinaryView(Some(v)) => Value::Bytes(v.clone()),
        other => Value::Text(other.to_string()),
    })
}
