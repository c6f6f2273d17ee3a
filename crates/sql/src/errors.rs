//! DataFusion's errors as ours: the one place where its messages are read.
//!
//! An error of ours that travelled through DataFusion comes out untouched. Everything else gets
//! its SQLSTATE here, and a place in the text where a span or a name tells it.

use base::{Error, Retry, SqlState, error};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, Diagnostic, SchemaError};
use sqlparser::tokenizer::Location;

use crate::bind::shown;
use crate::functions::catalogue::NOT_SERVED;
use crate::text::Source;

/// Converts an error; `text` is the statement that it is about, empty when there is none.
pub fn error_from_datafusion(error: DataFusionError, text: &str) -> Error {
    let converter = Converter { text };
    converter.convert(error, None)
}

/// The error of ours that ended a walk through a tree.
pub(crate) fn walked(failure: planner::Failure) -> Error {
    match failure.downcast::<Error>() {
        Ok(ours) => *ours,
        Err(other) => Error::internal(other.to_string()),
    }
}

struct Converter<'a> {
    text: &'a str,
}

impl Converter<'_> {
    fn convert(&self, error: DataFusionError, place: Option<u32>) -> Error {
        let converted = match error {
            DataFusionError::Diagnostic(diagnostic, inner) => {
                let place = self.place(&diagnostic).or(place);
                return self.convert(*inner, place);
            }
            DataFusionError::Context(_, inner) => return self.convert(*inner, place),
            DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
                Ok(inner) => return self.convert(inner, place),
                Err(shared) => return self.shared(&shared, place),
            },
            DataFusionError::Collection(errors) => {
                return match errors.into_iter().next() {
                    Some(first) => self.convert(first, place),
                    None => Error::internal("an empty collection of errors"),
                };
            }
            DataFusionError::External(inner) => return self.external(inner, place),
            DataFusionError::SchemaError(schema, _) => self.schema(*schema),
            DataFusionError::ArrowError(arrow, _) => self.arrow(*arrow),
            DataFusionError::SQL(parser, _) => {
                error!(SyntaxError, "syntax error: {parser}")
            }
            DataFusionError::NotImplemented(message) => not_implemented(&message),
            DataFusionError::Plan(message) => self.plan(&message),
            DataFusionError::Execution(message) => execution(&message),
            DataFusionError::Configuration(message) => {
                Error::new(SqlState::InvalidParameterValue, first_line(&message))
            }
            DataFusionError::ResourcesExhausted(message) => error!(OutOfMemory, "out of memory")
                .detail(sentence(&message))
                .hint("Raise the query memory limit, or let the query handle fewer rows."),
            DataFusionError::IoError(io) => Error::io("read or write a file", io),
            DataFusionError::ObjectStore(store) => {
                error!(IoError, "object store: {store}").retry(Retry::SameStatement)
            }
            DataFusionError::ParquetError(parquet) => {
                error!(DataCorrupted, "invalid Parquet data: {parquet}")
            }
            DataFusionError::ExecutionJoin(join) if join.is_cancelled() => {
                error!(QueryCanceled, "canceling statement due to user request")
            }
            other => Error::internal(first_line(&other.strip_backtrace()))
                .detail("This is a fault of the query engine."),
        };
        with_place(converted, place)
    }

    /// An error that others hold too: what can be read of it without taking it.
    fn shared(&self, error: &DataFusionError, place: Option<u32>) -> Error {
        match error {
            DataFusionError::Shared(inner) => self.shared(inner, place),
            DataFusionError::Context(_, inner) => self.shared(inner, place),
            DataFusionError::Diagnostic(diagnostic, inner) => {
                self.shared(inner, self.place(diagnostic).or(place))
            }
            DataFusionError::Collection(errors) => match errors.first() {
                Some(first) => self.shared(first, place),
                None => Error::internal("an empty collection of errors"),
            },
            DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
                Some(ours) => with_place(ours.clone(), place),
                None => match inner.downcast_ref::<DataFusionError>() {
                    Some(nested) => self.shared(nested, place),
                    None => Error::internal(inner.to_string()),
                },
            },
            DataFusionError::ArrowError(arrow, _) => with_place(self.arrow_shared(arrow), place),
            DataFusionError::Plan(message) => with_place(self.plan(message), place),
            DataFusionError::Execution(message) => with_place(execution(message), place),
            DataFusionError::NotImplemented(message) => with_place(not_implemented(message), place),
            DataFusionError::ResourcesExhausted(message) => {
                self.convert(DataFusionError::ResourcesExhausted(message.clone()), place)
            }
            other => Error::internal(first_line(&other.to_string())),
        }
    }

    fn external(
        &self,
        inner: Box<dyn std::error::Error + Send + Sync>,
        place: Option<u32>,
    ) -> Error {
        let inner = match inner.downcast::<Error>() {
            Ok(ours) => return with_place(*ours, place),
            Err(other) => other,
        };
        match inner.downcast::<DataFusionError>() {
            Ok(nested) => self.convert(*nested, place),
            Err(other) => match other.downcast::<ArrowError>() {
                Ok(arrow) => with_place(self.arrow(*arrow), place),
                Err(other) => Error::internal(other.to_string()),
            },
        }
    }

    /// The place of a diagnostic's span in the text.
    fn place(&self, diagnostic: &Diagnostic) -> Option<u32> {
        let start = diagnostic.span?.start;
        if self.text.is_empty() {
            return None;
        }
        Source::new(self.text).position(Location::new(start.line, start.column))
    }

    /// Where a name stands in the text.
    fn find(&self, name: &str) -> Option<u32> {
        if self.text.is_empty() { None } else { Source::new(self.text).find_word(name) }
    }

    /// Where a name stands in the text before a dot.
    fn find_qualifier(&self, name: &str) -> Option<u32> {
        if self.text.is_empty() {
            return None;
        }
        let source = Source::new(self.text);
        source.find_qualifier(name).or_else(|| source.find_word(name))
    }

    fn schema(&self, error: SchemaError) -> Error {
        match error {
            SchemaError::FieldNotFound { field, valid_fields } => {
                self.undefined_column(&field, &valid_fields)
            }
            SchemaError::AmbiguousReference { field } => {
                let name = shown(&field.name);
                let error = error!(AmbiguousColumn, "column reference \"{name}\" is ambiguous");
                with_place(error, self.find(name))
            }
            SchemaError::DuplicateQualifiedField { qualifier, name } => {
                let table = qualifier.table();
                if shown(&name) == name && self.text.is_empty() {
                    return error!(DuplicateColumn, "column \"{name}\" specified more than once");
                }
                error!(DuplicateAlias, "table name \"{table}\" specified more than once")
                    .hint("Give each use of the table an alias of its own.")
            }
            SchemaError::DuplicateUnqualifiedField { name } => {
                error!(DuplicateColumn, "column \"{}\" specified more than once", shown(&name))
            }
        }
    }

    fn undefined_column(&self, field: &Column, valid: &[Column]) -> Error {
        let name = shown(&field.name);
        if let Some(relation) = &field.relation {
            let table = relation.table();
            let known = valid.iter().any(|other| {
                other.relation.as_ref().is_some_and(|relation| relation.table() == table)
            });
            if !known && !valid.is_empty() {
                let tables = valid.iter().filter_map(|other| other.relation.as_ref());
                let error =
                    error!(UndefinedTable, "missing FROM-clause entry for table \"{table}\"")
                        .maybe_hint(base::suggest::did_you_mean(table, tables.map(|t| t.table())));
                return with_place(error, self.find_qualifier(table));
            }
        }
        let shown_name = match &field.relation {
            Some(relation) => format!("{}.{name}", relation.table()),
            None => format!("\"{name}\""),
        };
        let error =
            error!(UndefinedColumn, "column {shown_name} does not exist").column(name).maybe_hint(
                base::suggest::did_you_mean(name, valid.iter().map(|other| shown(&other.name))),
            );
        with_place(error, self.find(name))
    }

    fn arrow(&self, error: ArrowError) -> Error {
        match error {
            ArrowError::ExternalError(inner) => self.external(inner, None),
            other => self.arrow_shared(&other),
        }
    }

    fn arrow_shared(&self, error: &ArrowError) -> Error {
        match error {
            ArrowError::DivideByZero => error!(DivisionByZero, "division by zero"),
            ArrowError::ArithmeticOverflow(message) => overflow(message),
            ArrowError::CastError(message)
            | ArrowError::ParseError(message)
            | ArrowError::ComputeError(message)
            | ArrowError::InvalidArgumentError(message) => arrow_message(message),
            ArrowError::NotYetImplemented(message) => not_implemented(message),
            ArrowError::ExternalError(inner) => match inner.downcast_ref::<Error>() {
                Some(ours) => ours.clone(),
                None => Error::internal(inner.to_string()),
            },
            ArrowError::IoError(message, _) => Error::new(SqlState::IoError, message.clone()),
            other => Error::internal(other.to_string()),
        }
    }

    /// Plan errors are told apart by their words.
    fn plan(&self, message: &str) -> Error {
        let message = message.trim();
        if let Some(rest) = after(message, "Invalid function '") {
            return self.undefined_function(rest);
        }
        if let Some(rest) = after(message, "given name and argument types '") {
            let name = rest.split('(').next().unwrap_or(rest);
            let error =
                error!(UndefinedFunction, "function {name}() does not take these arguments")
                    .hint("Their number is wrong, or an explicit cast is needed.");
            return with_place(error, self.find(name));
        }
        if let Some(rest) = after(message, "table '")
            && message.contains("not found")
        {
            let name = rest.split('\'').next().unwrap_or(rest);
            let error = error!(UndefinedTable, "relation \"{name}\" does not exist");
            return with_place(error, self.find(name.rsplit('.').next().unwrap_or(name)));
        }
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        let state = if says(&[
            "must appear in the GROUP BY clause",
            "must be part of GROUP BY",
            "could not be resolved from available columns",
            "Aggregate functions are not allowed",
            "aggregate function calls",
            "Projection references non-aggregate values",
        ]) {
            SqlState::GroupingError
        } else if says(&["does not support zero arguments", "No function matches"]) {
            SqlState::UndefinedFunction
        } else if says(&["coerc", "Cannot infer common", "data type", "types", "Cannot cast"]) {
            SqlState::DatatypeMismatch
        } else if says(&["window function", "Window function", "QUALIFY", "OVER"]) {
            SqlState::WindowingError
        } else if says(&["same number of columns", "must return exactly one column"]) {
            SqlState::SyntaxError
        } else if says(&["unique expression names", "more than once"]) {
            SqlState::DuplicateColumn
        } else {
            SqlState::SyntaxError
        };
        let (head, tail) = message.split_once(". ").unwrap_or((message, ""));
        let error = Error::new(state, lower_first(first_line(head)));
        if tail.is_empty() { error } else { error.detail(sentence(tail)) }
    }

    fn undefined_function(&self, rest: &str) -> Error {
        let name = rest.split('\'').next().unwrap_or(rest);
        if NOT_SERVED.contains(&name) {
            let error = Error::unsupported(format!("function {name}() is not supported"));
            return with_place(error, self.find(name));
        }
        let near = crate::functions::Registry::shared();
        let near = near.nearest(name);
        let error = error!(UndefinedFunction, "function {name}() does not exist")
            .maybe_hint(near.map(|near| format!("Did you mean {near}()?")));
        with_place(error, self.find(name))
    }
}

fn with_place(error: Error, place: Option<u32>) -> Error {
    match place {
        Some(place) if error.position().is_none() => error.at(place),
        _ => error,
    }
}

fn after<'m>(message: &'m str, words: &str) -> Option<&'m str> {
    message.split_once(words).map(|(_, rest)| rest)
}

fn not_implemented(message: &str) -> Error {
    if message.contains("Physical plan does not support logical expression") {
        return Error::unsupported("this form of a correlated subquery is not supported").hint(
            "Write it as a join, or take LIMIT, window functions and set operations out of it.",
        );
    }
    let message = message
        .trim_start_matches("This feature is not implemented: ")
        .trim_start_matches("Unsupported ");
    let message = first_line(message);
    let message = message.trim_end_matches('.');
    if message.contains("does not support logical expression") && message.contains("ubquery") {
        return Error::unsupported("this type of correlated subquery pattern is not supported")
            .hint("Relate it to the outer query by equalities only, or join it in FROM.");
    }
    if message.contains("not supported") || message.contains("not implemented") {
        return Error::unsupported(lower_first(message.to_owned()));
    }
    Error::unsupported(format!("{} is not supported", message))
}

fn execution(message: &str) -> Error {
    if message.contains("Divide by zero") || message.contains("division by zero") {
        return error!(DivisionByZero, "division by zero");
    }
    if message.to_lowercase().contains("overflow") {
        return overflow(message);
    }
    if message.contains("Cancelled") || message.contains("cancelled") {
        return error!(QueryCanceled, "canceling statement due to user request");
    }
    if message.contains("more than one row") {
        return error!(CardinalityViolation, "single-row subquery returns more than one row");
    }
    if message.contains("regex") || message.contains("Regular expression") {
        return Error::new(SqlState::InvalidRegularExpression, lower_first(first_line(message)));
    }
    arrow_message(message)
}

fn overflow(message: &str) -> Error {
    error!(NumericValueOutOfRange, "numeric value out of range").detail(sentence(message))
}

/// Arrow's messages of casts and kernels.
fn arrow_message(message: &str) -> Error {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let state = if says(&["divide by zero", "division by zero"]) {
        return error!(DivisionByZero, "division by zero");
    } else if says(&["overflow", "out of range", "too large", "too small", "can't cast value"]) {
        SqlState::NumericValueOutOfRange
    } else if says(&["timestamp", "date32", "date64", "time64", "interval", "timezone"])
        && says(&["parsing", "parse", "cannot cast string"])
    {
        SqlState::InvalidDatetimeFormat
    } else if says(&["cannot cast string", "cannot parse", "parse"]) {
        SqlState::InvalidTextRepresentation
    } else if says(&["not supported", "unsupported"]) {
        SqlState::CannotCoerce
    } else if says(&["more than one row"]) {
        SqlState::CardinalityViolation
    } else {
        SqlState::DataException
    };
    Error::new(state, lower_first(first_line(message)))
}

fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or("").trim();
    let line = line.split("\n\nbacktrace").next().unwrap_or(line);
    line.trim_end_matches('.').to_owned()
}

fn sentence(message: &str) -> String {
    let line = first_line(message);
    let mut letters = line.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

/// House messages begin in lower case, except for names such as SQL words.
fn lower_first(message: String) -> String {
    let mut letters = message.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            format!("{}{}", first.to_lowercase(), letters.as_str())
        }
        _ => message,
    }
}
