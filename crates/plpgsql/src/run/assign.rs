//! Assignments, SQL statements and where their rows go.

use std::sync::Arc;

use base::client::Value;
use base::{Error, Result, SqlType, error};

use super::Run;
use super::frame::Content;
use crate::host::{Columns, Ran, Row, Sql, Typed, Variables};
use crate::tree::{Fragment, Into, Target};

impl Run<'_> {
    pub(super) async fn assign(&mut self, target: &Target, value: &Fragment) -> Result<()> {
        if target.field.is_none() && self.is_record(&target.name) {
            return self.assign_record(target, value);
        }
        let value = self.value(value).await?;
        self.store(target, &value)
    }

    pub(super) fn is_record(&self, name: &str) -> bool {
        self.frames.find(name).is_some_and(|slot| matches!(slot.content, Content::Record(_)))
    }

    /// `record := other`, by the names' words: rows are no values of SQL.
    fn assign_record(&mut self, target: &Target, value: &Fragment) -> Result<()> {
        let from = value.text.trim().to_lowercase();
        if from == "null" {
            if let Some(slot) = self.frames.find_mut(&target.name) {
                slot.content = Content::Record(slot.columns.clone().map(Row::nulls));
            }
            return Ok(());
        }
        let Some(Content::Record(row)) = self.frames.find(&from).map(|slot| slot.content.clone())
        else {
            return Err(error!(
                DatatypeMismatch,
                "cannot assign non-composite value to the record \"{}\"", target.name
            )
            .hint("Use SELECT … INTO, or assign its fields."));
        };
        match row {
            Some(row) => self.store_row(&target.name, &row),
            None => Err(not_assigned(&from)),
        }
    }

    /// Puts a value into a variable or a field.
    pub(super) fn store(&mut self, target: &Target, value: &Typed) -> Result<()> {
        let Some(field) = &target.field else { return self.store_scalar(&target.name, value) };
        let Some(slot) = self.frames.find(&target.name) else { return Err(unknown(&target.name)) };
        let Content::Record(row) = &slot.content else {
            return Err(error!(
                UndefinedColumn,
                "variable \"{}\" is no record and has no field \"{field}\"", target.name
            ));
        };
        let row = row.as_ref().ok_or_else(|| not_assigned(&target.name))?;
        let at = row.columns.iter().position(|(name, _)| name == field).ok_or_else(|| {
            error!(UndefinedColumn, "record \"{}\" has no field \"{field}\"", target.name)
        })?;
        let value = self.host.convert(value, row.columns[at].1)?;
        if let Some(slot) = self.frames.find_mut(&target.name)
            && let Content::Record(Some(row)) = &mut slot.content
        {
            row.values[at] = value;
        }
        Ok(())
    }

    pub(super) fn store_scalar(&mut self, name: &str, value: &Typed) -> Result<()> {
        let Some(slot) = self.frames.find(name) else { return Err(unknown(name)) };
        let Content::Scalar(before) = &slot.content else {
            return Err(error!(
                DatatypeMismatch,
                "cannot assign non-composite value to the record \"{name}\""
            ));
        };
        let sql_type = before.sql_type;
        if value.is_null() && slot.not_null {
            return Err(error!(
                NullValueNotAllowed,
                "null value cannot be assigned to variable \"{name}\" declared NOT NULL"
            ));
        }
        let value = self.host.convert(value, sql_type)?;
        self.frames.set(name, Typed::new(sql_type, value));
        Ok(())
    }

    /// Puts a row into a record: a RECORD takes its columns, a %ROWTYPE casts to its own.
    pub(super) fn store_row(&mut self, name: &str, row: &Row) -> Result<()> {
        let Some(slot) = self.frames.find(name) else { return Err(unknown(name)) };
        let stored = match slot.columns.clone() {
            None => row.clone(),
            Some(columns) => {
                let mut values = Vec::with_capacity(columns.len());
                for (n, (_, sql_type)) in columns.iter().enumerate() {
                    let value = row.get(n).unwrap_or_else(|| Typed::null(*sql_type));
                    values.push(self.host.convert(&value, *sql_type)?);
                }
                Row { columns, values }
            }
        };
        if let Some(slot) = self.frames.find_mut(name) {
            slot.content = Content::Record(Some(stored));
        }
        Ok(())
    }

    /// Puts a row where INTO or a loop says.
    pub(super) fn store_into(&mut self, targets: &[Target], row: &Row) -> Result<()> {
        if let [only] = targets
            && only.field.is_none()
            && self.is_record(&only.name)
        {
            return self.store_row(&only.name, row);
        }
        for (n, target) in targets.iter().enumerate() {
            let value = row.get(n).unwrap_or_else(|| Typed::null(SqlType::Unknown));
            self.store(target, &value)?;
        }
        Ok(())
    }

    pub(super) async fn perform(&mut self, query: &Fragment) -> Result<()> {
        let text = format!("SELECT {}", query.text);
        let sql = Sql { text: &text, variables: Variables(&self.frames), using: None };
        let ran = self.host.run(sql, None).await.map_err(|error| error.within(&text))?;
        self.rows = ran.count;
        self.set_found(ran.count > 0);
        Ok(())
    }

    pub(super) async fn sql(&mut self, fragment: &Fragment, into: Option<&Into>) -> Result<()> {
        let sql = Sql { text: &fragment.text, variables: Variables(&self.frames), using: None };
        let ran = self.host.run(sql, limit(into)).await;
        let ran = ran.map_err(|error| error.within(&fragment.text))?;
        if into.is_none() && ran.columns.is_some() {
            return Err(error!(SyntaxError, "query has no destination for result data")
                .hint("If you want to discard the results of a SELECT, use PERFORM instead."));
        }
        self.rows = ran.count;
        self.set_found(ran.count > 0);
        match into {
            Some(into) => self.take_rows(into, &ran),
            None => Ok(()),
        }
    }

    /// CALL of another procedure.
    pub(super) async fn nested_call(
        &mut self,
        fragment: &Fragment,
        arguments: &[Fragment],
    ) -> Result<()> {
        let sql = Sql { text: &fragment.text, variables: Variables(&self.frames), using: None };
        let outputs = self.host.call(sql).await.map_err(|error| error.within(&fragment.text))?;
        for (n, value) in outputs {
            let Some(argument) = arguments.get(n) else { continue };
            if let Some(target) = self.variable_of(argument) {
                self.store(&target, &value)?;
            }
        }
        Ok(())
    }

    /// The variable that an argument is, alone.
    fn variable_of(&self, argument: &Fragment) -> Option<Target> {
        let text = argument.text.to_lowercase();
        let (name, field) = match text.split_once('.') {
            Some((name, field)) => (name, Some(field.to_owned())),
            None => (text.as_str(), None),
        };
        self.frames.find(name)?;
        Some(Target { name: name.to_owned(), field, position: argument.position })
    }

    /// EXECUTE. It leaves FOUND alone, as in PostgreSQL.
    pub(super) async fn execute(
        &mut self,
        query: &Fragment,
        into: Option<&Into>,
        using: &[Fragment],
    ) -> Result<()> {
        let (text, values) = self.dynamic(query, using).await?;
        let sql = Sql { text: &text, variables: Variables(&self.frames), using: Some(&values) };
        let ran = self.host.run(sql, limit(into)).await.map_err(|error| error.within(&text))?;
        self.rows = ran.count;
        match into {
            Some(into) => self.take_rows(into, &ran),
            None => Ok(()),
        }
    }

    /// The text of a dynamic statement and the values it is given.
    pub(super) async fn dynamic(
        &mut self,
        query: &Fragment,
        using: &[Fragment],
    ) -> Result<(String, Vec<Typed>)> {
        let text = self.value(query).await?;
        let text = match self.host.convert(&text, SqlType::Text)? {
            Value::Text(text) => text,
            _ => {
                return Err(error!(
                    NullValueNotAllowed,
                    "query string argument of EXECUTE is null"
                ));
            }
        };
        let mut values = Vec::with_capacity(using.len());
        for value in using {
            values.push(self.value(value).await?);
        }
        Ok((text, values))
    }

    fn take_rows(&mut self, into: &Into, ran: &Ran) -> Result<()> {
        let Some(columns) = &ran.columns else {
            return Err(error!(SyntaxError, "INTO used with a command that cannot return data"));
        };
        if into.strict && ran.rows.is_empty() {
            return Err(error!(NoDataFound, "query returned no rows"));
        }
        if into.strict && ran.rows.len() > 1 {
            return Err(error!(TooManyRows, "query returned more than one row")
                .hint("Make sure the query returns a single row, or use LIMIT 1."));
        }
        let row = match ran.rows.first() {
            Some(values) => Row { columns: Columns::clone(columns), values: values.clone() },
            None => Row::nulls(Arc::clone(columns)),
        };
        self.store_into(&into.targets, &row)
    }
}

/// A second row is read only to be refused.
fn limit(into: Option<&Into>) -> Option<u64> {
    into.map(|into| if into.strict { 2 } else { 1 })
}

fn unknown(name: &str) -> Error {
    error!(UndefinedObject, "variable \"{name}\" does not exist")
}

pub(super) fn not_assigned(name: &str) -> Error {
    error!(ObjectNotInPrerequisiteState, "record \"{name}\" is not assigned yet")
        .detail("The tuple structure of a not-yet-assigned record is indeterminate.")
}
