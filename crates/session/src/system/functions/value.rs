//! Arguments of leader functions as plain values.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

/// One argument in one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    /// A list, its items as text.
    List(Vec<Option<String>>),
}

impl Argument {
    pub(crate) fn at(array: &ArrayRef, row: usize) -> Argument {
        if array.is_null(row) {
            return Argument::Null;
        }
        match array.data_type() {
            DataType::Boolean => Argument::Bool(array.as_boolean().value(row)),
            DataType::Int16 => Argument::Int(array.as_primitive::<Int16Type>().value(row).into()),
            DataType::Int32 => Argument::Int(array.as_primitive::<Int32Type>().value(row).into()),
            DataType::Int64 => Argument::Int(array.as_primitive::<Int64Type>().value(row)),
            DataType::Utf8 => Argument::Text(array.as_string::<i32>().value(row).to_owned()),
            DataType::LargeUtf8 => Argument::Text(array.as_string::<i64>().value(row).to_owned()),
            DataType::Utf8View => Argument::Text(array.as_string_view().value(row).to_owned()),
            DataType::List(_) => {
                let items = array.as_list::<i32>().value(row);
                let item = |i| Argument::at(&items, i).text();
                Argument::List((0..items.len()).map(item).collect())
            }
            DataType::Null => Argument::Null,
            _ => shown(array, row),
        }
    }

    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Argument::Null => None,
            Argument::Bool(value) => Some(if *value { "t".to_owned() } else { "f".to_owned() }),
            Argument::Int(value) => Some(value.to_string()),
            Argument::Text(value) => Some(value.clone()),
            Argument::List(items) => {
                let items = items.iter().map(|item| item.clone().unwrap_or("NULL".to_owned()));
                Some(format!("{{{}}}", items.collect::<Vec<_>>().join(",")))
            }
        }
    }

    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Argument::Int(value) => Some(*value),
            Argument::Bool(value) => Some(i64::from(*value)),
            Argument::Text(value) => value.trim().parse().ok(),
            Argument::Null | Argument::List(_) => None,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Argument::Bool(value) => *value,
            Argument::Text(value) => matches!(value.as_str(), "t" | "true" | "on" | "1"),
            Argument::Int(value) => *value != 0,
            _ => false,
        }
    }
}

/// Any other type by Arrow's own text form.
fn shown(array: &ArrayRef, row: usize) -> Argument {
    match datafusion::common::ScalarValue::try_from_array(array, row) {
        Ok(value) => Argument::Text(value.to_string()),
        Err(_) => Argument::Null,
    }
}
