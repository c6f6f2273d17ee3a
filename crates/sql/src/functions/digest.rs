//! Hashes and checksums. Texts are hashed as their bytes, and shown in hexadecimal digits.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, StringViewArray};
use arrow_schema::{DataType, TimeUnit};
use base::{Error, Result, error};
use datafusion::logical_expr::ScalarUDF;
use sha2::Digest;

use super::datetime::DAY_US;
use super::kernel::{Kernel, any, coerced, text, whole_or};

/// The state that FNV-1a begins with.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
/// Days from 1970-01-01 to 2000-01-01, from which Redshift counts dates and times.
const EPOCH_DAYS: i32 = 10_957;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(args: &[ArrayRef], of: fn(&[u8]) -> String) -> Result<ArrayRef> {
    let shown = text(args, 0)?;
    let shown = shown.iter().map(|value| value.map(|value| of(value.as_bytes())));
    Ok(Arc::new(shown.collect::<StringViewArray>()))
}

/// The digest by its number of bits; empty for one that there is not.
fn sha2_text(bytes: &[u8], bits: i64) -> String {
    match bits {
        0 | 256 => hex(&sha2::Sha256::digest(bytes)),
        224 => hex(&sha2::Sha224::digest(bytes)),
        384 => hex(&sha2::Sha384::digest(bytes)),
        512 => hex(&sha2::Sha512::digest(bytes)),
        _ => String::new(),
    }
}

/// `sha2(text, bits)`.
fn sha2_of(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, bits) = (text(args, 0)?, whole_or(args, 1, 0)?);
    let rows = texts.iter().zip(&bits);
    let shown = rows.map(|pair| Some(sha2_text(pair.0?.as_bytes(), pair.1?)));
    Ok(Arc::new(shown.collect::<StringViewArray>()))
}

fn sha1_text(bytes: &[u8]) -> String {
    hex(&<sha1::Sha1 as sha1::Digest>::digest(bytes))
}

fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// Calls back with each value's bytes as Redshift stores them, least significant first.
fn each_value(array: &ArrayRef, mut take: impl FnMut(usize, &[u8])) -> Result<()> {
    fn numbers<T: ArrowPrimitiveType, const N: usize>(
        array: &ArrayRef,
        bytes: impl Fn(T::Native) -> [u8; N],
        take: &mut impl FnMut(usize, &[u8]),
    ) {
        for (row, value) in array.as_primitive::<T>().iter().enumerate() {
            if let Some(value) = value {
                take(row, &bytes(value));
            }
        }
    }
    let take = &mut take;
    match array.data_type() {
        DataType::Boolean => {
            for (row, value) in array.as_boolean().iter().enumerate() {
                if let Some(value) = value {
                    take(row, &[u8::from(value)]);
                }
            }
        }
        DataType::Int16 => numbers::<Int16Type, 2>(array, i16::to_le_bytes, take),
        DataType::Int32 => numbers::<Int32Type, 4>(array, i32::to_le_bytes, take),
        DataType::Int64 => numbers::<Int64Type, 8>(array, i64::to_le_bytes, take),
        DataType::Float32 => numbers::<Float32Type, 4>(array, f32::to_le_bytes, take),
        DataType::Float64 => numbers::<Float64Type, 8>(array, f64::to_le_bytes, take),
        DataType::Decimal128(..=19, _) => {
            // Up to 19 digits are stored in 64 bits.
            numbers::<Decimal128Type, 8>(array, |n| (n as i64).to_le_bytes(), take);
        }
        DataType::Decimal128(..) => {
            numbers::<Decimal128Type, 16>(array, i128::to_le_bytes, take);
        }
        DataType::Date32 => {
            numbers::<Date32Type, 4>(array, |days| (days - EPOCH_DAYS).to_le_bytes(), take);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let since = |us: i64| us.wrapping_sub(i64::from(EPOCH_DAYS) * DAY_US);
            let bytes = |us: i64| since(us).to_le_bytes();
            numbers::<TimestampMicrosecondType, 8>(array, bytes, take);
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            numbers::<Time64MicrosecondType, 8>(array, i64::to_le_bytes, take);
        }
        DataType::BinaryView => {
            for (row, value) in array.as_binary_view().iter().enumerate() {
                if let Some(value) = value {
                    take(row, value);
                }
            }
        }
        DataType::Null => {}
        other if other.is_string() => {
            let values = text(std::slice::from_ref(array), 0)?;
            for (row, value) in values.iter().enumerate() {
                if let Some(value) = value {
                    take(row, value.as_bytes());
                }
            }
        }
        other => {
            let named = base::SqlType::of_arrow(other);
            return Err(error!(UndefinedFunction, "a value of type {named} cannot be hashed"));
        }
    }
    Ok(())
}

/// `fnv_hash(value [, seed])`: 64-bit FNV-1a.
fn fnv_hash(args: &[ArrayRef]) -> Result<ArrayRef> {
    let seeds = whole_or(args, 1, FNV_OFFSET as i64)?;
    let mut hashes: Vec<Option<i64>> = vec![None; seeds.len()];
    each_value(&args[0], |row, bytes| {
        if seeds.is_valid(row) {
            hashes[row] = Some(fnv(seeds.value(row) as u64, bytes) as i64);
        }
    })?;
    Ok(Arc::new(Int64Array::from(hashes)))
}

fn murmur3(bytes: &[u8]) -> u32 {
    let mixed =
        |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = 0u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        hash ^= mixed(u32::from_le_bytes(*word));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        hash ^= mixed(u32::from_le_bytes(last));
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// A decimal's digits as a number of the fewest bytes, most significant first.
fn fewest_bytes(unscaled: i128) -> Vec<u8> {
    let bytes = unscaled.to_be_bytes();
    let sign = if unscaled < 0 { 0xff } else { 0 };
    let spare = bytes
        .windows(2)
        .take_while(|pair| pair[0] == sign && (pair[1] & 0x80 == 0) == (unscaled >= 0));
    bytes[spare.count()..].to_vec()
}

/// `murmur3_32_hash(value)`. Values have the bytes that Iceberg's specification gives them: whole
/// numbers, conditions, dates and times are 64 bits wide. How Redshift brings in a seed is not
/// known.
fn murmur3_hash(args: &[ArrayRef]) -> Result<ArrayRef> {
    if args.len() > 1 {
        return Err(Error::unsupported("murmur3_32_hash() with a seed is not supported"));
    }
    let mut hashes: Vec<Option<i32>> = vec![None; args[0].len()];
    let mut hash = |row: usize, bytes: &[u8]| {
        hashes[row] = Some(murmur3(bytes) as i32);
    };
    let wide = match args[0].data_type() {
        DataType::Decimal128(..) => {
            for (row, value) in args[0].as_primitive::<Decimal128Type>().iter().enumerate() {
                if let Some(value) = value {
                    hash(row, &fewest_bytes(value));
                }
            }
            return Ok(Arc::new(Int32Array::from(hashes)));
        }
        DataType::Float32 => Some(DataType::Float64),
        DataType::Int16 | DataType::Int32 | DataType::Boolean => Some(DataType::Int64),
        DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) => Some(DataType::Int64),
        _ => None,
    };
    match wide {
        Some(wide) => each_value(&coerced(args, 0, &wide)?, hash)?,
        None => each_value(&args[0], hash)?,
    }
    Ok(Arc::new(Int32Array::from(hashes)))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let view = |_: &[DataType]| Ok(DataType::Utf8View);
    let number = |_: &[DataType]| Ok(DataType::Int32);
    let long = |_: &[DataType]| Ok(DataType::Int64);
    let sha1 = Kernel::udf("sha1", any(1..=1), view, |args| texts(args, sha1_text));
    vec![
        sha1.with_aliases(["sha", "func_sha1"]),
        Kernel::udf("sha2", any(2..=2), view, sha2_of),
        Kernel::udf("crc32", any(1..=1), view, |args| {
            texts(args, |bytes| format!("{:08x}", crc32c::crc32c(bytes)))
        }),
        Kernel::udf("fnv_hash", any(1..=2), long, fnv_hash),
        Kernel::udf("murmur3_32_hash", any(1..=2), number, murmur3_hash),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        assert_eq!(sha1_text(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(fnv(FNV_OFFSET, b"abcd") as i64, -281_581_062_704_388_899);
        assert_eq!(fnv(FNV_OFFSET, &1i32.to_le_bytes()) as i64, -5_968_735_742_475_085_980);
        assert_eq!(murmur3(b"hello"), 0x248b_fa47);
        assert_eq!(murmur3(b"hello, world"), 0x149b_bb7f);
        assert_eq!(murmur3(&1i64.to_le_bytes()), 1_392_991_556);
        assert_eq!(fewest_bytes(1_420), [5, 0x8c]);
        assert_eq!(fewest_bytes(0), [0]);
        assert_eq!(fewest_bytes(-1), [0xff]);
        assert_eq!(fewest_bytes(128), [0, 128]);
        assert_eq!(fewest_bytes(-128), [128]);
        assert_eq!(sha2_text(b"abc", 1), "");
        assert!(sha2_text(b"abc", 256).starts_with("ba7816bf"));
    }
}
