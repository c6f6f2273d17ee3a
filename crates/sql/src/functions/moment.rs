//! The functions of the present moment. They have one value per statement or transaction, put
//! into the plan as literals before it is distributed, so that all nodes agree.

use arrow_schema::{DataType, TimeUnit};
use base::types::UTC;
use chrono::{DateTime, NaiveDateTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::Planned;
use crate::bind::external;

/// When statement and transaction began, and the session's time zone.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Microseconds since 1970-01-01 UTC.
    pub statement_us: i64,
    /// Microseconds since 1970-01-01 UTC.
    pub transaction_us: i64,
    pub time_zone: Tz,
}

impl Moment {
    /// A statement that is its own transaction and begins now, in UTC.
    pub fn now() -> Self {
        let now = base::clock::now_us();
        Self { statement_us: now, transaction_us: now, time_zone: Tz::UTC }
    }

    /// The statement's begin for DataFusion.
    pub(crate) fn statement_time(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.statement_us)
    }

    fn local(&self, us: i64) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_micros(us)?;
        Some(utc.with_timezone(&self.time_zone).naive_local())
    }

    /// The value of an expression that is one of these functions.
    pub(crate) fn value_of(&self, expr: &Expr) -> Option<ScalarValue> {
        let Expr::ScalarFunction(call) = expr else { return None };
        if !call.args.is_empty() {
            return None;
        }
        self.value(call.func.name())
    }

    fn value(&self, name: &str) -> Option<ScalarValue> {
        let statement = self.local(self.statement_us)?;
        let micros = |at: NaiveDateTime| at.and_utc().timestamp_micros();
        let time = i64::from(statement.num_seconds_from_midnight()) * 1_000_000
            + i64::from(statement.nanosecond() / 1_000);
        Some(match name {
            "getdate" => {
                let second = statement.with_nanosecond(0)?;
                ScalarValue::TimestampMicrosecond(Some(micros(second)), None)
            }
            "sysdate" => {
                let at = micros(self.local(self.transaction_us)?);
                ScalarValue::TimestampMicrosecond(Some(at), None)
            }
            "current_date" => {
                let days =
                    statement.date().signed_duration_since(DateTime::UNIX_EPOCH.date_naive());
                ScalarValue::Date32(i32::try_from(days.num_days()).ok())
            }
            "now" => ScalarValue::TimestampMicrosecond(Some(self.transaction_us), Some(UTC.into())),
            "localtimestamp" => ScalarValue::TimestampMicrosecond(Some(micros(statement)), None),
            "localtime" => ScalarValue::Time64Microsecond(Some(time)),
            "current_time" => {
                let zone = self.time_zone.offset_from_utc_datetime(&statement).fix();
                let packed = base::types::timetz::pack(time, zone.local_minus_utc());
                ScalarValue::Int64(Some(packed))
            }
            "timeofday" => {
                let text = statement.format("%a %b %d %H:%M:%S%.6f %Y").to_string();
                ScalarValue::Utf8View(Some(format!("{text} {}", self.time_zone)))
            }
            _ => return None,
        })
    }
}

/// One of the functions. Its value comes from [`Moment`]; where none was set (an expression
/// simplified on its own), from the time that DataFusion has for the query.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MomentFunction {
    name: &'static str,
    aliases: Vec<String>,
    result: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for MomentFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Planned<DataType> {
        Ok(self.result.clone())
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Planned<ExprSimplifyResult> {
        let Some(time) = context.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let us = time.timestamp_micros();
        let moment = Moment { statement_us: us, transaction_us: us, time_zone: Tz::UTC };
        Ok(match moment.value(self.name) {
            Some(value) => ExprSimplifyResult::Simplified(Expr::Literal(value, None)),
            None => ExprSimplifyResult::Original(args),
        })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        Err(external(base::Error::internal(format!(
            "{}() reached execution without a value",
            self.name
        ))))
    }
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    let time = DataType::Time64(TimeUnit::Microsecond);
    let table: [(&'static str, &[&str], DataType); 8] = [
        ("getdate", &[], timestamp.clone()),
        ("sysdate", &[], timestamp.clone()),
        ("current_date", &["today"], DataType::Date32),
        ("now", &["current_timestamp", "transaction_timestamp"], zoned),
        ("localtimestamp", &[], timestamp),
        ("localtime", &[], time),
        ("current_time", &[], DataType::Int64),
        ("timeofday", &[], DataType::Utf8View),
    ];
    let functions = table.into_iter().map(|(name, aliases, result)| {
        ScalarUDF::new_from_impl(MomentFunction {
            name,
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            result,
            signature: Signature::nullary(Volatility::Stable),
        })
    });
    functions.collect()
}
