//! Functions of TIMETZ, which is held packed in a whole number.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType};
use arrow_array::{ArrayRef, PrimitiveArray, StringViewArray};
use arrow_schema::{DataType, TimeUnit};
use base::Result;
use base::types::{UTC, timetz};
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};

use super::datetime::{self, DAY_US};
use super::kernel::{Kernel, coerced};

/// `timetz_time(x)`: the time of day where the value was written.
pub(crate) const TIME: &str = "timetz_time";
/// `timetz_text(x)`: as it is shown.
pub(crate) const TEXT: &str = "timetz_text";
/// `date_plus_timetz(date, x)`: the moment.
pub(crate) const DATE_PLUS: &str = "date_plus_timetz";

/// `timetz_of(moment, 'zone')`: the time of day in the zone.
pub(crate) const OF_MOMENT: &str = "timetz_of";

fn of_moment(args: &[ArrayRef]) -> Result<ArrayRef> {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    let moments = coerced(args, 0, &moment)?;
    let zone = coerced(args, 1, &DataType::Utf8View)?;
    let zone = zone.as_string_view().iter().flatten().next().unwrap_or("UTC");
    let zone = datetime::zone(zone).unwrap_or(datetime::Zone::Fixed(0));
    let packed = moments.as_primitive::<TimestampMicrosecondType>().iter().map(|value| {
        let utc_us = value?;
        let offset_s = zone.offset_of_utc(datetime::datetime_of(utc_us)?);
        let local_us = utc_us + i64::from(offset_s) * 1_000_000;
        Some(timetz::pack(local_us.rem_euclid(DAY_US), offset_s))
    });
    Ok(Arc::new(packed.collect::<PrimitiveArray<Int64Type>>()))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    vec![
        Kernel::strict_udf(
            TIME,
            any(1),
            |_| Ok(DataType::Time64(TimeUnit::Microsecond)),
            |args| {
                let packed = coerced(args, 0, &DataType::Int64)?;
                let packed = packed.as_primitive::<Int64Type>();
                Ok(Arc::new(packed.unary::<_, Time64MicrosecondType>(|x| timetz::unpack(x).0)))
            },
        ),
        Kernel::strict_udf(OF_MOMENT, any(2), |_| Ok(DataType::Int64), of_moment),
        Kernel::strict_udf(
            TEXT,
            any(1),
            |_| Ok(DataType::Utf8View),
            |args| {
                let packed = coerced(args, 0, &DataType::Int64)?;
                let shown = packed.as_primitive::<Int64Type>().iter().map(|value| {
                    value.map(|value| {
                        let (time_us, zone_s) = timetz::unpack(value);
                        datetime::print_time(time_us) + &datetime::print_offset(zone_s)
                    })
                });
                Ok(Arc::new(shown.collect::<StringViewArray>()))
            },
        ),
        Kernel::strict_udf(
            DATE_PLUS,
            any(2),
            |_| Ok(DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))),
            |args| {
                let (days, packed) =
                    (coerced(args, 0, &DataType::Date32)?, coerced(args, 1, &DataType::Int64)?);
                let rows = days.as_primitive::<Date32Type>().iter();
                let moments = rows.zip(packed.as_primitive::<Int64Type>()).map(|pair| {
                    let (day, (time_us, zone_s)) = (i64::from(pair.0?), timetz::unpack(pair.1?));
                    Some(day * DAY_US + time_us - i64::from(zone_s) * 1_000_000)
                });
                let moments: PrimitiveArray<TimestampMicrosecondType> = moments.collect();
                let made: ArrayRef = Arc::new(moments.with_timezone(UTC));
                Ok(made)
            },
        ),
    ]
}
