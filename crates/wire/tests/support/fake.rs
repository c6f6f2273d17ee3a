//! A made-up leader: a handful of statements that give every kind of answer.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use arrow_array::builder::{ListBuilder, StringViewBuilder};
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, ListArray, PrimitiveArray, RecordBatch, StringViewArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_schema::Schema;
use async_trait::async_trait;
use base::client::{
    BatchStream, Column, Event, Leader, Login, Origin, Outcome, Prepared, Session, Severity,
    Termination, TransactionStatus, Value, Verifier,
};
use base::ids::Oid;
use base::password::{self, Verifiers};
use base::types::timetz;
use base::{CancellationToken, Error, Result, Secret, SqlState, SqlType, error, fail};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;

pub(crate) const PASSWORD: &str = "Secret123";
const BATCH_ROWS: u64 = 8_192;

/// What tests look at from outside.
#[derive(Default)]
pub(crate) struct Observed {
    pub streams_dropped: AtomicUsize,
    pub batches_made: AtomicUsize,
    pub failed_logins: AtomicUsize,
    pub logins: Mutex<Vec<Login>>,
    pub syncs: Mutex<Vec<bool>>,
}

struct Ends {
    key: Vec<u8>,
    cancel: Arc<Mutex<CancellationToken>>,
}

#[derive(Default)]
pub(crate) struct FakeLeader {
    pub observed: Arc<Observed>,
    sessions: Mutex<HashMap<i32, Ends>>,
    verifiers: Mutex<HashMap<String, Verifiers>>,
    next: AtomicI32,
}

impl FakeLeader {
    fn made(&self, user: &str) -> Verifiers {
        self.verifiers
            .lock()
            .entry(user.to_owned())
            .or_insert_with(|| {
                let secret = Secret::new(PASSWORD);
                let all = password::parse(user, &secret).unwrap();
                match user {
                    "md5user" => Verifiers {
                        md5: Some(password::md5_verifier(user, &secret)),
                        ..Verifiers::default()
                    },
                    "digestuser" => Verifiers { scram: None, ..all },
                    _ => all,
                }
            })
            .clone()
    }
}

#[async_trait]
impl Leader for FakeLeader {
    async fn verifier(&self, user: &str) -> Result<Verifier> {
        if !matches!(user, "awsuser" | "md5user" | "digestuser") {
            return Ok(password::decoy(user, b"cluster"));
        }
        let made = self.made(user);
        let Verifiers { digest, scram, md5 } = made;
        Ok(Verifier { digest, scram, md5, may_log_in: true })
    }

    async fn open(&self, login: Login) -> Result<Box<dyn Session>> {
        if login.database != "dev" {
            fail!(InvalidCatalogName, "database \"{}\" does not exist", login.database);
        }
        let process_id = 1_000 + self.next.fetch_add(1, Ordering::Relaxed);
        let key = base::rng::bytes::<32>().to_vec();
        let cancel = Arc::new(Mutex::new(CancellationToken::new()));
        let ends = Ends { key: key.clone(), cancel: Arc::clone(&cancel) };
        self.sessions.lock().insert(process_id, ends);
        let session = FakeSession {
            process_id,
            key,
            cancel,
            events: Vec::new(),
            status: TransactionStatus::Idle,
            termination: Termination::default(),
            observed: Arc::clone(&self.observed),
            application: login
                .parameters
                .iter()
                .find(|(name, _)| name == "application_name")
                .map_or(String::new(), |(_, value)| value.clone()),
        };
        self.observed.logins.lock().push(login);
        Ok(Box::new(session))
    }

    fn cancel(&self, process_id: i32, key: &[u8]) {
        if let Some(ends) = self.sessions.lock().get(&process_id)
            && ends.key == key
        {
            ends.cancel.lock().cancel();
        }
    }

    fn login_failed(&self, _user: &str, _peer: Option<SocketAddr>) {
        self.observed.failed_logins.fetch_add(1, Ordering::Relaxed);
    }
}

struct FakeSession {
    process_id: i32,
    key: Vec<u8>,
    cancel: Arc<Mutex<CancellationToken>>,
    events: Vec<Event>,
    status: TransactionStatus,
    termination: Termination,
    observed: Arc<Observed>,
    application: String,
}

/// The plan of a fake statement is its text.
struct Plan {
    text: String,
    columns: Arc<[Column]>,
}

fn column(name: &str, sql_type: SqlType) -> Column {
    Column { name: name.to_owned(), sql_type, origin: None, nullable: true }
}

#[async_trait]
impl Session for FakeSession {
    fn process_id(&self) -> i32 {
        self.process_id
    }

    fn cancel_key(&self) -> &[u8] {
        &self.key
    }

    fn reported_parameters(&self) -> Vec<(String, String)> {
        [
            ("server_version", "8.0.2"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, MDY"),
            ("integer_datetimes", "on"),
            ("TimeZone", "UTC"),
            ("standard_conforming_strings", "off"),
            ("application_name", &self.application),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn split(&self, text: &str) -> Result<Vec<(String, u32)>> {
        if text.len() > 16 << 20 {
            fail!(ProgramLimitExceeded, "statement of {} bytes is longer than 16 MB", text.len());
        }
        let mut offset = 0;
        let mut statements = Vec::new();
        for piece in text.split(';') {
            if !piece.trim().is_empty() {
                statements.push((piece.to_owned(), offset));
            }
            offset += u32::try_from(piece.chars().count()).unwrap_or(u32::MAX) + 1;
        }
        Ok(statements)
    }

    async fn prepare(&mut self, text: &str, parameter_oids: &[u32]) -> Result<Prepared> {
        let text = text.trim().to_owned();
        if self.status == TransactionStatus::Failed && !text.to_lowercase().starts_with("rollback")
        {
            fail!(
                InFailedSqlTransaction,
                "current transaction is aborted, commands ignored until end of transaction block"
            );
        }
        if text.starts_with("FETCH") {
            fail!(InvalidCursorName, "there is no cursor");
        }
        let parameters: Vec<SqlType> = parameters(&text, parameter_oids);
        let columns: Option<Arc<[Column]>> = columns(&text, &parameters)?.map(Into::into);
        let plan = Plan { text, columns: columns.clone().unwrap_or_else(|| Arc::new([])) };
        Ok(Prepared { parameters, columns, plan: Arc::new(plan) })
    }

    async fn execute(&mut self, prepared: &Prepared, values: Vec<Value>) -> Result<Outcome> {
        let plan = prepared.plan.downcast_ref::<Plan>().ok_or_else(|| Error::internal("plan"))?;
        *self.cancel.lock() = CancellationToken::new();
        let cancel = self.cancel.lock().clone();
        let mut words = plan.text.split_whitespace();
        let verb = words.next().unwrap_or("").to_lowercase();
        let argument = words.next().unwrap_or("");
        let rows = |batches: BatchStream| Outcome::Rows {
            columns: Arc::clone(&plan.columns),
            batches,
            verb: "SELECT",
            counted: true,
        };
        let done = |tag: &str| Ok(Outcome::Done { tag: tag.to_owned() });
        match verb.as_str() {
            "" => Ok(Outcome::Empty),
            "begin" | "start" => {
                self.status = TransactionStatus::Open;
                done("BEGIN")
            }
            "commit" | "rollback" => {
                self.status = TransactionStatus::Idle;
                done(if verb == "commit" { "COMMIT" } else { "ROLLBACK" })
            }
            "set" => {
                let value = words.last().unwrap_or("").trim_matches('\'').to_owned();
                self.events.push(Event::Parameter(argument.to_owned(), value));
                done("SET")
            }
            "notice" => {
                let notice = Error::new(SqlState::SuccessfulCompletion, "take notice");
                self.events.push(Event::Notice(Severity::Notice, notice));
                done("NOTICE")
            }
            "sleep" => {
                cancel.cancelled().await;
                Err(error!(QueryCanceled, "query canceled on user request"))
            }
            "panic" => panic!("as asked"),
            "terminate" => {
                self.termination.end(base::client::by_administrator());
                std::future::pending().await
            }
            "rows" => {
                let count = argument.parse().unwrap_or(0);
                Ok(rows(self.many(count, cancel)))
            }
            "types" => Ok(rows(once(types()?))),
            "echo" => Ok(rows(once(echo(&plan.columns, &values)?))),
            _ => {
                let array: ArrayRef = Arc::new(Int32Array::from(vec![1]));
                Ok(rows(once(batch(&plan.columns, vec![array])?)))
            }
        }
    }

    async fn sync(&mut self, failed: bool) -> Result<()> {
        self.observed.syncs.lock().push(failed);
        if failed && self.status == TransactionStatus::Open {
            self.status = TransactionStatus::Failed;
        }
        Ok(())
    }

    fn termination(&self) -> Termination {
        self.termination.clone()
    }
}

fn parameters(text: &str, oids: &[u32]) -> Vec<SqlType> {
    let count = (1..100).take_while(|n| text.contains(&format!("${n}"))).count();
    let declared = |index: usize| oids.get(index).and_then(|oid| SqlType::from_oid(*oid));
    let named = |index: usize| {
        // `echo $1::int4 …`
        let marker = format!("${}::", index + 1);
        let rest = text.split(&marker).nth(1)?;
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        SqlType::all().into_iter().find(|sql_type| sql_type.pg_name() == name)
    };
    (0..count)
        .map(|index| {
            named(index)
                .or(declared(index).filter(|sql_type| *sql_type != SqlType::Unknown))
                .unwrap_or(SqlType::Text)
        })
        .collect()
}

fn columns(text: &str, parameters: &[SqlType]) -> Result<Option<Vec<Column>>> {
    let verb = text.split_whitespace().next().unwrap_or("").to_lowercase();
    Ok(match verb.as_str() {
        "fail" => {
            return Err(error!(UndefinedTable, "relation \"t\" does not exist")
                .detail("There is none.")
                .hint("Make one.")
                .at(6));
        }
        "rows" => Some(vec![
            column("id", SqlType::BigInt),
            column("name", SqlType::Varchar(25)),
            column("price", SqlType::Decimal { precision: 12, scale: 2 }),
            column("ratio", SqlType::Double),
        ]),
        "types" => Some(type_columns()),
        "echo" => Some(
            parameters
                .iter()
                .enumerate()
                .map(|(index, sql_type)| column(&format!("c{}", index + 1), *sql_type))
                .collect(),
        ),
        "" | "begin" | "start" | "commit" | "rollback" | "set" | "notice" | "sleep" | "panic"
        | "terminate" => None,
        _ => Some(vec![column("?column?", SqlType::Integer)]),
    })
}

pub(crate) fn type_columns() -> Vec<Column> {
    let mut columns = vec![
        column("bool", SqlType::Boolean),
        column("int2", SqlType::SmallInt),
        column("int4", SqlType::Integer),
        column("int8", SqlType::BigInt),
        column("float4", SqlType::Real),
        column("float8", SqlType::Double),
        column("numeric", SqlType::Decimal { precision: 18, scale: 4 }),
        column("wide", SqlType::Decimal { precision: 38, scale: 2 }),
        column("char", SqlType::Char(5)),
        column("varchar", SqlType::Varchar(20)),
        column("date", SqlType::Date),
        column("time", SqlType::Time),
        column("timetz", SqlType::TimeTz),
        column("timestamp", SqlType::Timestamp),
        column("timestamptz", SqlType::TimestampTz),
        column("varbyte", SqlType::Varbyte(10)),
        column("oid", SqlType::Oid),
        column("texts", SqlType::TextArray),
        column("ints", SqlType::Int4Array),
        column("vector", SqlType::Int2Vector),
        column("name", SqlType::Name),
        column("unknown", SqlType::Unknown),
    ];
    columns[2].origin = Some(Origin {
        database: "dev".into(),
        schema: "public".into(),
        table: "t".into(),
        column: "int4".into(),
        table_oid: Oid(100_001),
        attribute: 3,
    });
    columns[2].nullable = false;
    columns
}

/// One row of values and one of NULLs.
fn types() -> Result<RecordBatch> {
    let mut texts = ListBuilder::new(StringViewBuilder::new());
    texts.values().append_value("a b");
    texts.values().append_null();
    texts.values().append_value("c\"d");
    texts.append(true);
    texts.append(false);
    let ints = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None, Some(3)]),
        None,
    ]);
    let vector =
        ListArray::from_iter_primitive::<Int16Type, _, _>([Some(vec![Some(1), Some(2)]), None]);
    let decimals = |value, precision, scale| -> ArrayRef {
        let values = PrimitiveArray::<Decimal128Type>::from(vec![Some(value), None]);
        Arc::new(values.with_precision_and_scale(precision, scale).unwrap())
    };
    let text =
        |value: &str| -> ArrayRef { Arc::new(StringViewArray::from(vec![Some(value), None])) };
    let noon = timetz::pack(12 * 3_600_000_000, 19_800);
    let us = 1_700_000_000_123_456;
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(Int16Array::from(vec![Some(-2), None])),
        Arc::new(Int32Array::from(vec![Some(4), Some(5)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
        Arc::new(Float32Array::from(vec![Some(0.1), None])),
        Arc::new(Float64Array::from(vec![Some(1e20), None])),
        decimals(-123_456_789, 18, 4),
        decimals(10_i128.pow(38) - 1, 38, 2),
        text("ab"),
        text("grüße"),
        Arc::new(PrimitiveArray::<Date32Type>::from(vec![Some(19_675), None])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(45_296_500_000), None])),
        Arc::new(Int64Array::from(vec![Some(noon), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(us), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(us), None]).with_timezone("UTC")),
        Arc::new(BinaryViewArray::from(vec![Some(&b"\x00\x7f"[..]), None])),
        Arc::new(Int64Array::from(vec![Some(4_294_967_295), None])),
        Arc::new(texts.finish()),
        Arc::new(ints),
        Arc::new(vector),
        text("nm"),
        text("?"),
    ];
    batch(&type_columns(), arrays)
}

fn batch(columns: &[Column], arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields: Vec<_> = columns
        .iter()
        .zip(&arrays)
        .map(|(column, array)| {
            arrow_schema::Field::new(&column.name, array.data_type().clone(), true)
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|fault| Error::internal(fault.to_string()))
}

fn once(batch: RecordBatch) -> BatchStream {
    Box::pin(futures::stream::iter([Ok(batch)]))
}

fn echo(columns: &[Column], values: &[Value]) -> Result<RecordBatch> {
    let arrays = columns
        .iter()
        .zip(values)
        .map(|(column, value)| echoed(column.sql_type, value))
        .collect::<Result<_>>()?;
    batch(columns, arrays)
}

/// A value as an array of one, in the type it came in: the encoder casts it to what was
/// announced.
fn echoed(sql_type: SqlType, value: &Value) -> Result<ArrayRef> {
    Ok(match value {
        Value::Null => arrow_array::new_null_array(&sql_type.arrow(), 1),
        Value::Text(text) => Arc::new(StringViewArray::from(vec![text.as_str()])),
        Value::Bool(value) => Arc::new(BooleanArray::from(vec![*value])),
        Value::Int(value) => Arc::new(Int64Array::from(vec![*value])),
        Value::Float(value) => Arc::new(PrimitiveArray::<Float64Type>::from(vec![*value])),
        Value::Decimal { unscaled, scale } => Arc::new(
            PrimitiveArray::<Decimal128Type>::from(vec![*unscaled])
                .with_precision_and_scale(38, *scale as i8)
                .unwrap(),
        ),
        Value::Bytes(bytes) => Arc::new(BinaryViewArray::from(vec![bytes.as_slice()])),
        Value::Date(days) => Arc::new(PrimitiveArray::<Date32Type>::from(vec![*days])),
        Value::Time(us) => Arc::new(Time64MicrosecondArray::from(vec![*us])),
        Value::TimeTz(packed) => Arc::new(PrimitiveArray::<Int64Type>::from(vec![*packed])),
        Value::Timestamp(us) => Arc::new(TimestampMicrosecondArray::from(vec![*us])),
        Value::TimestampTz(us) => {
            Arc::new(TimestampMicrosecondArray::from(vec![*us]).with_timezone("UTC"))
        }
        Value::Array(values) => {
            let items: Vec<Option<i64>> = values
                .iter()
                .map(|value| match value {
                    Value::Int(value) => Some(*value),
                    _ => None,
                })
                .collect();
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(items)]))
        }
    })
}

struct Dropped(Arc<Observed>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.streams_dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl FakeSession {
    /// `count` rows, made batch by batch as they are asked for.
    fn many(&self, count: u64, cancel: CancellationToken) -> BatchStream {
        let observed = Arc::clone(&self.observed);
        let dropped = Dropped(Arc::clone(&self.observed));
        let columns = columns("rows", &[]).unwrap().unwrap();
        let starts = (0..count).step_by(BATCH_ROWS as usize);
        let batches = futures::stream::iter(starts).map(move |start| {
            let _held = &dropped;
            if cancel.is_cancelled() {
                return Err(error!(QueryCanceled, "query canceled on user request"));
            }
            observed.batches_made.fetch_add(1, Ordering::SeqCst);
            let ids = start..(start + BATCH_ROWS).min(count);
            let int = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
            batch(
                &columns,
                vec![
                    Arc::new(Int64Array::from_iter_values(ids.clone().map(int))),
                    Arc::new(StringViewArray::from_iter_values(
                        ids.clone().map(|id| format!("name {}", id % 1_000)),
                    )),
                    Arc::new(
                        PrimitiveArray::<Decimal128Type>::from_iter_values(
                            ids.clone().map(|id| i128::from(id) * 7),
                        )
                        .with_precision_and_scale(12, 2)
                        .unwrap(),
                    ),
                    Arc::new(Float64Array::from_iter_values(ids.map(|id| id as f64 / 8.0))),
                ],
            )
        });
        let batches: std::pin::Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>> =
            Box::pin(batches);
        batches
    }
}
