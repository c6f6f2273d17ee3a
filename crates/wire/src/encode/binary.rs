//! Values in binary format: PostgreSQL's, and Redshift's own for DECIMAL from its extension
//! level 2 on.

use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray};
use base::types::timetz;
use base::{Result, SqlType};

use super::{Cell, Style, array, datetime, downcast, interval, numeric, text};

/// The level from which Redshift's drivers read DECIMAL as an integer.
const INTEGER_DECIMALS: u8 = 2;

pub(super) fn cell(array: &ArrayRef, sql_type: SqlType, style: &Style) -> Result<Cell> {
    Ok(match sql_type {
        SqlType::Boolean => {
            let values: BooleanArray = downcast(array)?;
            Box::new(move |row, out| out.push(u8::from(values.value(row))))
        }
        SqlType::SmallInt => {
            let values: PrimitiveArray<Int16Type> = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(&values.value(row).to_be_bytes()))
        }
        SqlType::Integer | SqlType::IntervalYearMonth => {
            let values: PrimitiveArray<Int32Type> = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(&values.value(row).to_be_bytes()))
        }
        SqlType::BigInt | SqlType::IntervalDaySecond => {
            let values: PrimitiveArray<Int64Type> = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(&values.value(row).to_be_bytes()))
        }
        SqlType::Oid | SqlType::Xid | SqlType::RegProc | SqlType::RegClass | SqlType::RegType => {
            let values: PrimitiveArray<Int64Type> = downcast(array)?;
            // An OID is 32 bits wide; Int64 carries it because Arrow's users like signed types.
            Box::new(move |row, out| {
                out.extend_from_slice(&(values.value(row) as u32).to_be_bytes());
            })
        }
        SqlType::Real => {
            let values: PrimitiveArray<Float32Type> = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(&values.value(row).to_be_bytes()))
        }
        SqlType::Double => {
            let values: PrimitiveArray<Float64Type> = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(&values.value(row).to_be_bytes()))
        }
        SqlType::Decimal { precision, scale } => {
            let values: PrimitiveArray<Decimal128Type> = downcast(array)?;
            if style.extension >= INTEGER_DECIMALS {
                Box::new(move |row, out| numeric::put_redshift(out, values.value(row), precision))
            } else {
                Box::new(move |row, out| numeric::put_postgres(out, values.value(row), scale))
            }
        }
        SqlType::Char(width) => text::padded(array, width as usize)?,
        SqlType::Varchar(_)
        | SqlType::Unknown
        | SqlType::Text
        | SqlType::Name
        | SqlType::QuotedChar => text::string(array)?,
        SqlType::Varbyte(_) => text::bytes(array, text::put_raw)?,
        SqlType::Date
        | SqlType::Time
        | SqlType::TimeTz
        | SqlType::Timestamp
        | SqlType::TimestampTz => moment(array, sql_type)?,
        SqlType::Interval => interval::binary(array)?,
        SqlType::Int2Vector
        | SqlType::OidVector
        | SqlType::TextArray
        | SqlType::NameArray
        | SqlType::Int2Array
        | SqlType::Int4Array
        | SqlType::OidArray
        | SqlType::AclItemArray => array::binary(array, sql_type, style)?,
        SqlType::Void => Box::new(|_, _| ()),
    })
}

fn moment(array: &ArrayRef, sql_type: SqlType) -> Result<Cell> {
    Ok(match sql_type {
        SqlType::Date => {
            let values: PrimitiveArray<Date32Type> = downcast(array)?;
            Box::new(move |row, out| {
                out.extend_from_slice(&datetime::date_since_2000(values.value(row)).to_be_bytes());
            })
        }
        SqlType::Time => {
            let values: PrimitiveArray<Time64MicrosecondType> = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(&values.value(row).to_be_bytes()))
        }
        SqlType::TimeTz => {
            let values: PrimitiveArray<Int64Type> = downcast(array)?;
            Box::new(move |row, out| {
                let (time_us, zone_s) = timetz::unpack(values.value(row));
                out.extend_from_slice(&time_us.to_be_bytes());
                // The protocol counts seconds west of UTC.
                out.extend_from_slice(&(-zone_s).to_be_bytes());
            })
        }
        _ => {
            let values: PrimitiveArray<TimestampMicrosecondType> = downcast(array)?;
            Box::new(move |row, out| {
                let us = datetime::us_since_2000(values.value(row));
                out.extend_from_slice(&us.to_be_bytes());
            })
        }
    })
}
