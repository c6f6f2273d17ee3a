//! Errors on their way through DataFusion and between nodes.
//!
//! Owns the conversion of execution-time DataFusion errors to [`base::Error`] and the form in
//! which a [`base::Error`] crosses a node boundary. Planning errors are the `sql` floor's.

use std::error::Error as StdError;
use std::fmt;

use arrow_schema::ArrowError;
use base::{Error, Retry, SqlState, error};
use datafusion::common::DataFusionError;
use tonic::{Code, Status};

/// Starts a serialised error inside a message. The node protocol carries errors of other crates
/// as text only, so the text is the structure.
const MARK: &str = "\u{1}blueshift-error:";
/// Ends it: what surrounds an error in transit (context lines) must not be parsed.
const END: &str = "\u{2}";

/// A [`base::Error`] as it leaves a node: its text form is lossless.
#[derive(Debug)]
pub(crate) struct WireError(pub(crate) Error);

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_string(&self.0) {
            Ok(json) => write!(f, "{MARK}{json}{END}"),
            Err(_) => self.0.fmt(f),
        }
    }
}

impl StdError for WireError {}

/// Prepares an error for the way to another node.
pub(crate) fn to_wire(error: DataFusionError) -> DataFusionError {
    DataFusionError::External(Box::new(WireError(from_datafusion(error))))
}

/// Puts an error of ours into DataFusion, unchanged.
pub(crate) fn into_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Finds the error that a node sent inside a text.
fn from_text(text: &str) -> Option<Error> {
    let start = text.find(MARK)? + MARK.len();
    let end = text[start..].find(END)? + start;
    serde_json::from_str(&text[start..end]).ok()
}

/// The error of ours that an execution-time DataFusion error is or stands for.
pub fn from_datafusion(error: DataFusionError) -> Error {
    find(&error, 0).unwrap_or_else(|| {
        let text = error.to_string();
        from_text(&text).unwrap_or_else(|| Error::internal(first_line(&text)))
    })
}

const DEPTH_MAX: usize = 64;

fn find(error: &DataFusionError, depth: usize) -> Option<Error> {
    if depth > DEPTH_MAX {
        return None;
    }
    match error {
        DataFusionError::External(source) => from_source(source.as_ref(), depth),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            find(inner, depth + 1)
        }
        DataFusionError::Shared(inner) => find(inner, depth + 1),
        DataFusionError::Collection(errors) => {
            errors.iter().find_map(|error| find(error, depth + 1))
        }
        DataFusionError::ArrowError(arrow, _) => from_arrow(arrow, depth),
        DataFusionError::ResourcesExhausted(text) => Some(exhausted(text)),
        DataFusionError::IoError(io) => {
            Some(Error::io("use a temporary file", std::io::Error::new(io.kind(), io.to_string())))
        }
        DataFusionError::ObjectStore(store) => {
            Some(error!(IoError, "object store failed: {store}"))
        }
        DataFusionError::Execution(text) => {
            Some(from_text(text).unwrap_or_else(|| execution(text)))
        }
        DataFusionError::Plan(text) => {
            Some(from_text(text).unwrap_or_else(|| Error::internal(first_line(text))))
        }
        DataFusionError::NotImplemented(text) => {
            Some(from_text(text).unwrap_or_else(|| Error::unsupported(first_line(text))))
        }
        DataFusionError::ExecutionJoin(join) => {
            Some(Error::internal(format!("a task of the query did not finish: {join}")))
        }
        _ => None,
    }
}

fn from_source(source: &(dyn StdError + Send + Sync + 'static), depth: usize) -> Option<Error> {
    if let Some(error) = source.downcast_ref::<Error>() {
        return Some(error.clone());
    }
    if let Some(wire) = source.downcast_ref::<WireError>() {
        return Some(wire.0.clone());
    }
    if let Some(inner) = source.downcast_ref::<DataFusionError>() {
        return find(inner, depth + 1);
    }
    if let Some(arrow) = source.downcast_ref::<ArrowError>() {
        return from_arrow(arrow, depth + 1);
    }
    if let Some(status) = source.downcast_ref::<Status>() {
        return Some(from_status(status, None));
    }
    let text = source.to_string();
    from_text(&text)
        .or_else(|| {
            let status = find_status(source.source()?, 0)?;
            Some(from_status(status, None))
        })
        .or_else(|| is_transport(&text).then(|| node_lost(None, &text)))
        .or_else(|| Some(Error::internal(first_line(&text))))
}

fn find_status<'a>(source: &'a (dyn StdError + 'static), depth: usize) -> Option<&'a Status> {
    if depth > DEPTH_MAX {
        return None;
    }
    match source.downcast_ref::<Status>() {
        Some(status) => Some(status),
        None => find_status(source.source()?, depth + 1),
    }
}

fn from_arrow(arrow: &ArrowError, depth: usize) -> Option<Error> {
    Some(match arrow {
        ArrowError::ExternalError(source) => return from_source(source.as_ref(), depth + 1),
        ArrowError::DivideByZero => error!(DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(text) => {
            error!(NumericValueOutOfRange, "value out of range").detail(sentence(text))
        }
        ArrowError::ParseError(text) => {
            error!(InvalidTextRepresentation, "{}", first_line(text))
        }
        ArrowError::CastError(text) => cast(text),
        ArrowError::MemoryError(text) => exhausted(text),
        ArrowError::InvalidArgumentError(text)
            if text.contains("verflow") || text.contains("to store in a Decimal") =>
        {
            error!(NumericValueOutOfRange, "value out of range").detail(sentence(text))
        }
        ArrowError::IoError(text, _) => error!(IoError, "{}", first_line(text)),
        ArrowError::OffsetOverflowError(_) => {
            error!(ProgramLimitExceeded, "intermediate result column exceeds 2 GB in one batch")
        }
        other => {
            let text = other.to_string();
            return Some(from_text(&text).unwrap_or_else(|| Error::internal(first_line(&text))));
        }
    })
}

fn cast(text: &str) -> Error {
    let lower = text.to_ascii_lowercase();
    if lower.contains("overflow")
        || lower.contains("out of range")
        || lower.contains("can't cast value")
        || lower.contains("too large")
    {
        return error!(NumericValueOutOfRange, "value out of range").detail(sentence(text));
    }
    error!(InvalidTextRepresentation, "invalid input syntax").detail(sentence(text))
}

fn execution(text: &str) -> Error {
    let lower = text.to_ascii_lowercase();
    if lower.contains("waiting for the plan to be set") {
        return error!(ConnectionFailure, "a compute node did not receive its part of the query")
            .retry(Retry::SameStatement);
    }
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return error!(DivisionByZero, "division by zero");
    }
    if lower.contains("overflow") {
        return error!(NumericValueOutOfRange, "value out of range").detail(sentence(text));
    }
    if lower.contains("returned more than one row") || lower.contains("more than one row") {
        return error!(
            CardinalityViolation,
            "more than one row returned by a subquery used as an expression"
        );
    }
    if is_transport(text) {
        return node_lost(None, text);
    }
    error!(InternalError, "{}", first_line(text))
}

/// 53200 for a statement that needs more than it may have.
pub(crate) fn exhausted(text: &str) -> Error {
    if text.contains("disk space") || text.contains("temp_directory") {
        return error!(DiskFull, "query exceeds the space for spilled intermediate results")
            .detail(sentence(text))
            .hint("Reduce the rows that the query sorts, joins or groups, or raise the limit.");
    }
    error!(OutOfMemory, "query exceeds its memory limit").detail(sentence(text)).hint(
        "Reduce the rows that the query joins or groups, or give it more memory with a \
         larger query memory setting.",
    )
}

/// True for an allocation that a sort-merge join would not need.
pub(crate) fn is_hash_join_memory(error: &Error) -> bool {
    error.sqlstate() == SqlState::OutOfMemory
        && error.get_detail().is_some_and(|detail| detail.contains("HashJoinInput"))
}

/// The error for a status of the node protocol; `node` is who was called, when known.
pub(crate) fn from_status(status: &Status, node: Option<&str>) -> Error {
    if let Some(error) = from_text(status.message()) {
        return error;
    }
    match status.code() {
        Code::ResourceExhausted => exhausted(status.message()),
        Code::Unauthenticated | Code::PermissionDenied => {
            error!(ConnectionException, "compute node refused the connection")
                .detail(sentence(status.message()))
        }
        Code::Internal | Code::InvalidArgument if !is_transport(status.message()) => {
            Error::internal(first_line(status.message()))
        }
        _ => node_lost(node, status.message()),
    }
}

/// 08006: the statement may be run again on the nodes that remain.
pub(crate) fn node_lost(node: Option<&str>, text: &str) -> Error {
    let message = match node {
        Some(node) => format!("compute node {node} was lost"),
        None => "a compute node was lost".to_owned(),
    };
    Error::new(SqlState::ConnectionFailure, message)
        .detail(sentence(text))
        .hint("The statement can be run again.")
        .retry(Retry::SameStatement)
}

/// True for an error that a node which stays up could have spared the client.
pub(crate) fn is_node_lost(error: &Error) -> bool {
    error.sqlstate() == SqlState::ConnectionFailure && error.get_retry() == Retry::SameStatement
}

fn is_transport(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    [
        "h2 protocol error",
        "transport error",
        "tcp connect error",
        "error connecting",
        "connection refused",
        "connection reset",
        "broken pipe",
        "connection closed",
        "keep-alive timed out",
        "operation was canceled",
    ]
    .iter()
    .any(|sign| lower.contains(sign))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn sentence(text: &str) -> String {
    let line = first_line(text);
    let mut characters = line.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_error_survives_text_and_wrapping() {
        let error = error!(InvalidTextRepresentation, "invalid input \"{}\"", "x")
            .detail("Column c.")
            .hint("Use a number.");
        let wire = to_wire(DataFusionError::Shared(Arc::new(DataFusionError::ArrowError(
            Box::new(ArrowError::ExternalError(Box::new(error))),
            None,
        ))));
        // The node protocol keeps only the text of an external error.
        let text: Box<dyn StdError + Send + Sync> = wire.to_string().into();
        let back = from_datafusion(DataFusionError::Context(
            "while joining".into(),
            Box::new(DataFusionError::External(text)),
        ));
        assert_eq!(back.sqlstate(), SqlState::InvalidTextRepresentation);
        assert_eq!(back.message(), "invalid input \"x\"");
        assert_eq!(back.get_detail(), Some("Column c."));
        assert_eq!(back.get_hint(), Some("Use a number."));
    }

    #[test]
    fn conditions_have_their_sqlstates() {
        let state = |error| from_datafusion(error).sqlstate();
        let arrow = |error| DataFusionError::ArrowError(Box::new(error), None);
        assert_eq!(state(arrow(ArrowError::DivideByZero)), SqlState::DivisionByZero);
        let overflow = ArrowError::ArithmeticOverflow("i64".into());
        assert_eq!(state(arrow(overflow)), SqlState::NumericValueOutOfRange);
        let cast = ArrowError::CastError("Cannot cast string 'x' to Int32".into());
        assert_eq!(state(arrow(cast)), SqlState::InvalidTextRepresentation);
        let memory = DataFusionError::ResourcesExhausted("HashJoinInput[0]".into());
        let memory = from_datafusion(memory);
        assert_eq!(memory.sqlstate(), SqlState::OutOfMemory);
        assert!(is_hash_join_memory(&memory));
        let lost = DataFusionError::External(Box::new(Status::unavailable("tcp connect error")));
        assert!(is_node_lost(&from_datafusion(lost)));
    }
}
