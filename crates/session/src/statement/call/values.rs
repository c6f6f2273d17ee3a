//! Values between SQL and variables.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;
use base::client::{Column, Value};
use base::types::timetz;
use base::{Result, SqlType, error};
use datafusion::common::ScalarValue;
use plpgsql::{Typed, Variable};
use sql::{Binder, BinderOptions, Constant};

use crate::statement::prepared;

/// A value of Arrow as one of a type.
pub(super) fn value_of(scalar: ScalarValue, sql_type: SqlType) -> Result<Value> {
    if scalar.is_null() {
        return Ok(Value::Null);
    }
    match (&scalar, sql_type) {
        (ScalarValue::Int64(Some(packed)), SqlType::TimeTz) => Ok(Value::TimeTz(*packed)),
        (ScalarValue::UInt32(Some(number)), _) => Ok(Value::Int(i64::from(*number))),
        _ => {
            check_type(sql_type)?;
            prepared::value(scalar)
        }
    }
}

/// Refuses types that variables cannot have: their values have no text that SQL reads back.
///
/// # Errors
/// 0A000.
pub(in crate::statement) fn check_type(sql_type: SqlType) -> Result<()> {
    match sql_type {
        SqlType::Interval
        | SqlType::IntervalYearMonth
        | SqlType::IntervalDaySecond
        | SqlType::TextArray
        | SqlType::NameArray
        | SqlType::Int2Array
        | SqlType::Int4Array
        | SqlType::OidArray
        | SqlType::AclItemArray
        | SqlType::Int2Vector
        | SqlType::OidVector => {
            Err(error!(FeatureNotSupported, "variables of type {sql_type} are not supported"))
        }
        _ => Ok(()),
    }
}

/// `hh:mm:ss.ffffff±hh:mm:ss`, as far as it is not zero.
fn time_with_zone(packed: i64) -> String {
    let (time_us, zone_s) = timetz::unpack(packed);
    let (seconds, fraction) = (time_us / 1_000_000, time_us % 1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    let zone = zone_s.unsigned_abs();
    text.push_str(&format!("{}{:02}", if zone_s < 0 { '-' } else { '+' }, zone / 3_600));
    if zone % 3_600 != 0 {
        text.push_str(&format!(":{:02}", zone / 60 % 60));
    }
    if zone % 60 != 0 {
        text.push_str(&format!(":{:02}", zone % 60));
    }
    text
}

/// A row of a batch.
pub(super) fn row(batch: &RecordBatch, at: usize, columns: &[Column]) -> Result<Vec<Value>> {
    let arrays = batch.columns().iter().zip(columns);
    arrays
        .map(|(array, column)| {
            let scalar = ScalarValue::try_from_array(array, at)
                .map_err(|e| sql::error_from_datafusion(e, ""))?;
            value_of(scalar, column.sql_type)
        })
        .collect()
}

/// A value as an assignment to another type makes it.
pub(super) fn assigned(value: &Typed, to: SqlType, options: &BinderOptions) -> Result<Value> {
    match &value.value {
        Value::Null => return Ok(Value::Null),
        same if value.sql_type == to => return Ok(same.clone()),
        // As psql prints it: SQL has no cast from BOOLEAN to text.
        Value::TimeTz(packed) if is_text(to) => return Ok(Value::Text(time_with_zone(*packed))),
        Value::Bool(on) if is_text(to) => {
            return Ok(Value::Text(if *on { "t" } else { "f" }.to_owned()));
        }
        _ => {}
    }
    value_of(Binder::assigned_value(&value.value, value.sql_type, to, options)?, to)
}

fn is_text(sql_type: SqlType) -> bool {
    matches!(sql_type, SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_))
}

/// A row of values as a result.
pub(super) fn row_batch(columns: &[Column], values: &[&Typed]) -> Result<RecordBatch> {
    let options = BinderOptions::default();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(values.len());
    for value in values {
        let to = value.sql_type;
        let array = match &value.value {
            Value::Null => arrow_array::new_null_array(&to.arrow(), 1),
            given => Binder::assigned_value(given, to, to, &options)?
                .to_array()
                .map_err(|e| sql::error_from_datafusion(e, ""))?,
        };
        arrays.push(array);
    }
    let fields: Vec<_> =
        columns.iter().map(|column| column.sql_type.field(&column.name, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(schema, arrays, &rows)
        .map_err(|e| base::Error::internal(format!("a row of values: {e}")))
}

/// The variables in scope as constants for the binder.
pub(super) struct Scope<'s> {
    pub(super) variables: Option<plpgsql::Variables<'s>>,
    /// The values of `$1`, `$2`, …
    pub(super) parameters: Option<&'s [Typed]>,
    pub(super) options: &'s BinderOptions,
}

impl Scope<'_> {
    fn constant(&self, value: &Typed) -> Result<Option<Constant>> {
        let text = match assigned(value, SqlType::Text, self.options)? {
            Value::Text(text) => Some(text),
            _ => None,
        };
        Ok(Some(Constant { sql_type: value.sql_type, text }))
    }

    fn field(
        &self,
        record: &str,
        row: Option<&plpgsql::Row>,
        name: &str,
    ) -> Result<Option<Constant>> {
        let row = row.ok_or_else(|| {
            error!(ObjectNotInPrerequisiteState, "record \"{record}\" is not assigned yet")
                .detail("The tuple structure of a not-yet-assigned record is indeterminate.")
        })?;
        let value = row.field(name).ok_or_else(|| {
            let fields = row.columns.iter().map(|(name, _)| name.as_str());
            error!(UndefinedColumn, "record \"{record}\" has no field \"{name}\"")
                .maybe_hint(base::suggest::did_you_mean(name, fields))
        })?;
        self.constant(&value)
    }
}

impl sql::Variables for Scope<'_> {
    fn variable(&self, name: &[&str]) -> Result<Option<Constant>> {
        if let [parameter] = name
            && let Some(number) = parameter.strip_prefix('$')
            && let Some(parameters) = self.parameters
        {
            let number = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            return match number.and_then(|n| parameters.get(n)) {
                Some(value) => self.constant(value),
                None => Err(error!(UndefinedParameter, "there is no parameter {parameter}")),
            };
        }
        let Some(variables) = self.variables else { return Ok(None) };
        match name {
            [name] => match variables.get(name) {
                Some(Variable::Scalar(value)) => self.constant(value),
                Some(Variable::Record(_)) | None => Ok(None),
            },
            [first, second] => match (variables.get(first), variables.labelled(first, second)) {
                (Some(Variable::Record(row)), _) => self.field(first, row, second),
                (_, Some(Variable::Scalar(value))) => self.constant(value),
                _ => Ok(None),
            },
            [label, record, field] => match variables.labelled(label, record) {
                Some(Variable::Record(row)) => self.field(record, row, field),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }
}
