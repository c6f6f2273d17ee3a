//! The functions of JSON in text: a document is read once, from front to back, and nothing of it
//! is copied but the value that is asked for.

mod document;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, StringViewArray};
use arrow_schema::DataType;
use base::{Error, Result, error};
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};

use self::document::{Found, Invalid, Step};
use super::kernel::{Kernel, any, nulls, text, whole};

/// The most keys in a path.
const PATH_MAX: usize = 5;

fn invalid(document: &str, fault: &Invalid) -> Error {
    const SHOWN: usize = 60;
    let shown: String = document.chars().take(SHOWN).collect();
    let more = if shown.len() < document.len() { "…" } else { "" };
    error!(InvalidTextRepresentation, "invalid json: \"{shown}{more}\"")
        .detail(format!("{} at byte {}.", fault.what, fault.at + 1))
        .hint("With true as the last argument the result is NULL instead.")
}

/// The last argument says whether a document that is no JSON gives NULL; without it, an error.
fn lenient(args: &[ArrayRef]) -> (&[ArrayRef], Option<BooleanArray>) {
    match args.split_last() {
        Some((last, rest)) if *last.data_type() == DataType::Boolean => {
            (rest, Some(last.as_boolean().clone()))
        }
        _ => (args, None),
    }
}

/// Reads the document of each row; a NULL among the arguments gives NULL.
fn rows<T>(
    args: &[ArrayRef],
    lenient: Option<&BooleanArray>,
    mut body: impl FnMut(usize, &str) -> std::result::Result<Option<T>, Invalid>,
) -> Result<Vec<Option<T>>> {
    let documents = text(args, 0)?;
    let nulls = nulls(args);
    let has_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let one = |(row, document): (usize, Option<&str>)| {
        let Some(document) = document.filter(|_| !has_null(row)) else { return Ok(None) };
        match body(row, document) {
            Ok(found) => Ok(found),
            Err(_) if lenient.is_some_and(|flags| flags.is_valid(row) && flags.value(row)) => {
                Ok(None)
            }
            Err(fault) => Err(invalid(document, &fault)),
        }
    };
    documents.iter().enumerate().map(one).collect()
}

/// A value as text: a string without its quotes, NULL for null, and anything else as it stands.
fn shown(found: Option<Found<'_>>) -> Option<String> {
    match found? {
        Found::Null => None,
        Found::String(raw) => Some(document::unescaped(raw)),
        Found::Other(raw) => Some(raw.to_owned()),
    }
}

/// `json_extract_path_text(json, key [, key …] [, null_if_invalid])`.
fn extract_path(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (args, lenient) = lenient(args);
    if !(2..=PATH_MAX + 1).contains(&args.len()) {
        return Err(error!(
            UndefinedFunction,
            "json_extract_path_text() does not take {} keys",
            args.len().saturating_sub(1)
        )
        .hint(format!("It takes a document and 1 to {PATH_MAX} keys.")));
    }
    let keys = (1..args.len()).map(|n| text(args, n)).collect::<Result<Vec<_>>>()?;
    let mut path = Vec::with_capacity(keys.len());
    let values = rows(args, lenient.as_ref(), |row, document| {
        path.clear();
        path.extend(keys.iter().map(|keys| Step::Key(keys.value(row).to_owned())));
        document::find(document, &path).map(shown)
    })?;
    Ok(Arc::new(StringViewArray::from_iter(values)))
}

/// `json_extract_array_element_text(json, place [, null_if_invalid])`, the first place being 0.
fn extract_element(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (args, lenient) = lenient(args);
    let places = whole(args, 1)?;
    let values = rows(args, lenient.as_ref(), |row, document| {
        let place = usize::try_from(places.value(row)).unwrap_or(usize::MAX);
        document::find(document, &[Step::Element(place)]).map(shown)
    })?;
    Ok(Arc::new(StringViewArray::from_iter(values)))
}

/// `json_array_length(json [, null_if_invalid])`; a document that is no array is refused as one
/// that is no JSON.
fn array_length(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (args, lenient) = lenient(args);
    let lengths = rows(args, lenient.as_ref(), |_, document| {
        let length = document::array_length(document)?;
        Ok(Some(i32::try_from(length).unwrap_or(i32::MAX)))
    })?;
    Ok(Arc::new(Int32Array::from(lengths)))
}

/// What is true of each document that is not NULL.
fn test(args: &[ArrayRef], of: fn(&str) -> bool) -> Result<ArrayRef> {
    let documents = text(args, 0)?;
    let results = documents.iter().map(|document| document.map(of));
    Ok(Arc::new(results.collect::<BooleanArray>()))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let view = |_: &[DataType]| Ok(DataType::Utf8View);
    let number = |_: &[DataType]| Ok(DataType::Int32);
    let boolean = |_: &[DataType]| Ok(DataType::Boolean);
    let many = Signature::variadic_any(Volatility::Immutable);
    let is_valid = Kernel::udf("is_valid_json", any(1..=1), boolean, |args| {
        test(args, document::is_container)
    });
    vec![
        Kernel::udf("json_extract_path_text", many, view, extract_path),
        Kernel::udf("json_extract_array_element_text", any(2..=3), view, extract_element),
        Kernel::udf("json_array_length", any(1..=2), number, array_length),
        is_valid,
        Kernel::udf("is_valid_json_array", any(1..=1), boolean, |args| {
            test(args, |document| document::array_length(document).is_ok())
        }),
        Kernel::udf("can_json_parse", any(1..=1), boolean, |args| {
            test(args, |document| document::find(document, &[]).is_ok())
        }),
    ]
}
