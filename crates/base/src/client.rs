//! The contract between the protocol floor (`wire`) and the session floor: `wire` turns bytes
//! into these calls and these values into bytes, `session` implements [`Leader`] and
//! [`Session`]. Neither knows the other.

use std::any::Any;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::Stream;

use crate::ids::Oid;
use crate::{CancellationToken, Error, Result, SqlType, error};

/// Result rows, batch by batch. The stream is polled only as fast as the client reads.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// What is kept of a password. The password itself is never kept.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// Redshift's digest: `hash` = SHA-256(password ‖ salt).
    pub digest: Option<DigestVerifier>,
    pub scram: Option<ScramVerifier>,
    /// Hex MD5(password ‖ user), for users created with an md5 hash.
    pub md5: Option<String>,
    /// False for an unknown or disabled user: the exchange is carried out all the same, with
    /// made-up salts that do not change between tries, and fails at its end.
    pub may_log_in: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DigestVerifier {
    pub salt: Vec<u8>,
    pub hash: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScramVerifier {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

/// A client that has proved who it is.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub user: String,
    pub database: String,
    pub peer: Option<SocketAddr>,
    pub tls: bool,
    /// Redshift's extension level agreed with the client: 0, 1 or 2.
    pub protocol_version: u8,
    /// All other start-up parameters as sent (application_name, driver_version, os_version,
    /// client_encoding, DateStyle, TimeZone, search_path, extra_float_digits, …); names are
    /// lower case. What came in `options` (`-c name=value`) is already merged in.
    pub parameters: Vec<(String, String)>,
}

/// The leader as the protocol floor sees it.
#[async_trait]
pub trait Leader: Send + Sync + 'static {
    /// The verifier of a user, made up for one that does not exist.
    async fn verifier(&self, user: &str) -> Result<Verifier>;

    /// Opens a session for an authenticated client.
    ///
    /// # Errors
    /// 3D000 unknown database, 53300 too many connections, 57P03 not ready, 42501.
    async fn open(&self, login: Login) -> Result<Box<dyn Session>>;

    /// Cancels the running statement of the session with this process id and key; silent when
    /// there is none (as PostgreSQL).
    fn cancel(&self, process_id: i32, key: &[u8]);

    /// Records a failed login (audit, throttling).
    fn login_failed(&self, user: &str, peer: Option<SocketAddr>);
}

/// The byte after `ReadyForQuery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    Open,
    Failed,
}

/// Something the client is told outside of results.
#[derive(Clone, Debug)]
pub enum Event {
    /// A NOTICE, INFO or WARNING: the severity and the text with its fields.
    Notice(Severity, Error),
    /// A reported parameter changed.
    Parameter(String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Info,
    Notice,
    Warning,
}

/// A bound parameter value as it came from the client, decoded from the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// Text format of whatever type the parameter has.
    Text(String),
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal {
        unscaled: i128,
        scale: u8,
    },
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Packed as [`crate::types::timetz`].
    TimeTz(i64),
    /// Microseconds since 1970-01-01, local.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 UTC.
    TimestampTz(i64),
    Array(Vec<Value>),
}

/// A result column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub sql_type: SqlType,
    /// The table column it comes from, when it comes from one unchanged.
    pub origin: Option<Origin>,
    pub nullable: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub database: String,
    pub schema: String,
    pub table: String,
    pub column: String,
    pub table_oid: Oid,
    /// 1-based position of the column in the table.
    pub attribute: i16,
}

/// A statement that was parsed and described. Cheap to clone; planned again when the catalog
/// has moved on since.
#[derive(Clone)]
pub struct Prepared {
    /// One type per `$n`.
    pub parameters: Vec<SqlType>,
    /// `None` for a statement that returns no rows.
    pub columns: Option<Arc<[Column]>>,
    /// The session's own form of the statement.
    pub plan: Arc<dyn Any + Send + Sync>,
}

/// What a statement gave.
pub enum Outcome {
    /// An empty string or a comment.
    Empty,
    /// A command without rows; the tag as clients read it, for example `CREATE TABLE`.
    Done { tag: String },
    /// Rows. The tag is `verb` followed by the row count where `counted`: `SELECT 5`, `SHOW`.
    Rows { columns: Arc<[Column]>, batches: BatchStream, verb: &'static str, counted: bool },
}

/// One client's session on the leader. Calls come one at a time.
#[async_trait]
pub trait Session: Send {
    fn process_id(&self) -> i32;

    /// The secret of `BackendKeyData`.
    fn cancel_key(&self) -> &[u8];

    /// The parameters reported at start-up, in order.
    fn reported_parameters(&self) -> Vec<(String, String)>;

    fn transaction_status(&self) -> TransactionStatus;

    /// Notices and parameter changes since the last call, in order.
    fn take_events(&mut self) -> Vec<Event>;

    /// Splits the text of a simple query into statements: each with its offset in characters
    /// from the start of the text, so that error positions can be shifted.
    ///
    /// # Errors
    /// 42601 for an unterminated literal or comment; 54000 when it is longer than 16 MB.
    fn split(&self, text: &str) -> Result<Vec<(String, u32)>>;

    /// Parses and describes one statement. `parameter_oids` are the client's wishes; 0 or 705
    /// leaves a type to be inferred.
    async fn prepare(&mut self, text: &str, parameter_oids: &[u32]) -> Result<Prepared>;

    /// Runs a prepared statement. Rows come through the returned stream; dropping the stream
    /// cancels what still runs and frees all it holds.
    async fn execute(&mut self, prepared: &Prepared, values: Vec<Value>) -> Result<Outcome>;

    /// The end of a simple query or a Sync: an implicit transaction ends here.
    /// `failed` says that a statement since the last call failed.
    async fn sync(&mut self, failed: bool) -> Result<()>;

    /// Ended when the session must end (`pg_terminate_backend`, idle limits, shutdown); `wire`
    /// then sends the reason as FATAL and closes.
    fn termination(&self) -> Termination;
}

/// The end of a session from outside, and why.
#[derive(Clone, Debug, Default)]
pub struct Termination {
    token: CancellationToken,
    reason: Arc<OnceLock<Error>>,
}

impl Termination {
    /// Ends the session. The first reason counts.
    pub fn end(&self, reason: Error) {
        // A session that ends already has its reason.
        drop(self.reason.set(reason));
        self.token.cancel();
    }

    /// Resolves with the reason once the session must end.
    pub async fn ended(&self) -> Error {
        self.token.cancelled().await;
        self.reason.get().cloned().unwrap_or_else(by_administrator)
    }
}

/// Why sessions end that somebody terminates, or when the server stops.
pub fn by_administrator() -> Error {
    error!(AdminShutdown, "terminating connection due to administrator command")
}
