//! The one error type. It is made where the fault is seen and travels unchanged to the client:
//! through DataFusion as `External`, between nodes as a structured message, never as text.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;

use serde::{Deserialize, Serialize};

use crate::sqlstate::SqlState;

/// The result of anything that can fail towards a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a client may do about an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// The same statement will fail again.
    #[default]
    Never,
    /// The same statement may succeed now (a node was lost, a lock timed out).
    SameStatement,
    /// The whole transaction has to be run again.
    NewTransaction,
}

/// The object that an error is about; sent in the fields of `ErrorResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub constraint: Option<String>,
    pub data_type: Option<String>,
}

/// An error with its SQLSTATE. One pointer wide.
#[derive(Clone, Serialize, Deserialize)]
pub struct Error(Box<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    sqlstate: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<u32>,
    /// The five characters in the place of the SQLSTATE's own: RAISE … USING ERRCODE.
    #[serde(default)]
    code: Option<String>,
    /// What ran when it happened, the innermost first.
    #[serde(default)]
    context: Option<String>,
    /// A text that the client did not send, and the position in it.
    #[serde(default)]
    internal: Option<(String, u32)>,
    object: Object,
    retry: Retry,
    #[serde(skip)]
    source: Option<std::sync::Arc<dyn StdError + Send + Sync>>,
    #[serde(skip)]
    location: Option<&'static Location<'static>>,
}

impl Error {
    /// A new error. `message` is lower case without a full stop and names the kind of object.
    #[track_caller]
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            code: None,
            context: None,
            internal: None,
            object: Object::default(),
            retry: Retry::Never,
            source: None,
            location: Some(Location::caller()),
        }))
    }

    /// A fault of ours: a state that the code holds to be impossible.
    #[track_caller]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::InternalError, message)
    }

    /// A feature that Blueshift refuses by name instead of ignoring it.
    #[track_caller]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SqlState::FeatureNotSupported, message)
    }

    /// An operating-system error while doing `what`; a full disk gets its own SQLSTATE.
    #[track_caller]
    pub fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        let state = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                SqlState::DiskFull
            }
            std::io::ErrorKind::NotFound => SqlState::UndefinedFile,
            _ => SqlState::IoError,
        };
        Self::new(state, format!("could not {what}: {error}")).with_source(error)
    }

    /// A full sentence with the particulars.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// A full sentence that says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// A hint when there is one, for example from [`crate::suggest::did_you_mean`].
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        if hint.is_some() {
            self.0.hint = hint;
        }
        self
    }

    /// Where in the statement text: 1-based, in characters.
    pub fn at(mut self, position: u32) -> Self {
        self.0.position = Some(position);
        self
    }

    /// The position is one in `text`, which the client did not send.
    pub fn within(mut self, text: &str) -> Self {
        if let Some(position) = self.0.position.take() {
            self.0.internal = Some((text.to_owned(), position));
        }
        self
    }

    /// A line more of what ran when it happened.
    pub fn context(mut self, line: impl AsRef<str>) -> Self {
        let context = self.0.context.get_or_insert_default();
        if !context.is_empty() {
            context.push('\n');
        }
        context.push_str(line.as_ref());
        self
    }

    /// Gives it a code of the user's choice.
    ///
    /// # Errors
    /// 42601 unless the code has five digits or upper-case letters; 22023 for `00000`.
    pub fn with_code(mut self, code: &str) -> Result<Self> {
        let fits = |b: u8| b.is_ascii_digit() || b.is_ascii_uppercase();
        if code.len() != 5 || !code.bytes().all(fits) {
            crate::fail!(SyntaxError, "invalid SQLSTATE code \"{code}\"");
        }
        if code == SqlState::SuccessfulCompletion.code() {
            crate::fail!(InvalidParameterValue, "SQLSTATE {code} is that of success");
        }
        match SqlState::from_code(code) {
            Some(sqlstate) => self.0.sqlstate = sqlstate,
            None => self.0.code = Some(code.to_owned()),
        }
        Ok(self)
    }

    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.0.object.schema = Some(schema.into());
        self
    }

    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.0.object.table = Some(table.into());
        self
    }

    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.0.object.column = Some(column.into());
        self
    }

    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(std::sync::Arc::new(source));
        self
    }

    pub fn sqlstate(&self) -> SqlState {
        self.0.sqlstate
    }

    /// The five characters that the client is told.
    pub fn code(&self) -> &str {
        self.0.code.as_deref().unwrap_or(self.0.sqlstate.code())
    }

    /// What ran when it happened, a line each, the innermost first.
    pub fn get_context(&self) -> Option<&str> {
        self.0.context.as_deref()
    }

    /// A text that the client did not send, and the position in it.
    pub fn internal_position(&self) -> Option<(&str, u32)> {
        self.0.internal.as_ref().map(|(text, position)| (text.as_str(), *position))
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn get_detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    pub fn get_hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// 1-based position in characters, when the fault has a place in the statement.
    pub fn position(&self) -> Option<u32> {
        self.0.position
    }

    pub fn object(&self) -> &Object {
        &self.0.object
    }

    pub fn get_retry(&self) -> Retry {
        self.0.retry
    }

    /// Where in the source it was made; for logs only.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.0.location
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.sqlstate.code())?;
        if let Some(detail) = &self.0.detail {
            write!(f, " detail: {detail}")?;
        }
        if let Some(location) = self.0.location {
            write!(f, " at {location}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Returns an error from the enclosing function, or is an [`Error`] with [`crate::error!`].
///
/// `fail!(UndefinedTable, "relation \"{name}\" does not exist")`
#[macro_export]
macro_rules! fail {
    ($state:ident, $($message:tt)*) => {
        return Err($crate::error!($state, $($message)*))
    };
}

/// An [`Error`] value: `error!(UndefinedTable, "relation \"{name}\" does not exist").hint(..)`.
#[macro_export]
macro_rules! error {
    ($state:ident, $($message:tt)*) => {
        $crate::Error::new($crate::SqlState::$state, format!($($message)*))
    };
}

/// Takes the value out of an option that cannot be empty; `why` says what proves it.
#[track_caller]
#[expect(clippy::panic, reason = "the one place where an impossible state ends the task")]
pub fn proven<T>(value: Option<T>, why: &str) -> T {
    match value {
        Some(value) => value,
        None => panic!("impossible state: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire_between_nodes() {
        let error = error!(UndefinedColumn, "column \"{}\" does not exist", "x")
            .detail("There are two.")
            .hint("Did you mean \"y\"?")
            .at(8)
            .table("t")
            .within("select y")
            .context("inner")
            .context("outer")
            .retry(Retry::SameStatement);
        let text = serde_json::to_string(&error).unwrap();
        let back: Error = serde_json::from_str(&text).unwrap();
        assert_eq!(back.sqlstate(), SqlState::UndefinedColumn);
        assert_eq!(back.message(), "column \"x\" does not exist");
        assert_eq!(back.get_detail(), Some("There are two."));
        assert_eq!(back.get_hint(), Some("Did you mean \"y\"?"));
        assert_eq!((back.position(), back.internal_position()), (None, Some(("select y", 8))));
        assert_eq!(back.get_context(), Some("inner\nouter"));
        assert_eq!(back.object().table.as_deref(), Some("t"));
        assert_eq!(back.get_retry(), Retry::SameStatement);
    }

    #[test]
    fn codes_of_the_users_choice() {
        let coded = |code: &str| error!(RaiseException, "x").with_code(code);
        assert_eq!(coded("AB123").unwrap().code(), "AB123");
        assert_eq!(coded("22012").unwrap().sqlstate(), SqlState::DivisionByZero);
        assert_eq!(coded("x").unwrap_err().sqlstate(), SqlState::SyntaxError);
        assert_eq!(coded("00000").unwrap_err().sqlstate(), SqlState::InvalidParameterValue);
    }

    #[test]
    fn a_full_disk_is_named() {
        let error = Error::io("write", std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(error.sqlstate(), SqlState::DiskFull);
    }
}
