//! Functions of VARBYTE.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryViewArray, Int32Array, StringViewArray};
use arrow_schema::DataType;
use base::{Error, Result, SqlType, error};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{Kernel, any, text, whole, whole_or};

fn bytes(args: &[ArrayRef], n: usize) -> Result<BinaryViewArray> {
    let Some(array) = args.get(n) else {
        return Err(error!(UndefinedFunction, "argument {} is missing", n + 1));
    };
    let to = SqlType::Varbyte(base::types::VARBYTE_BYTES_MAX);
    Ok(super::cast::array(array, to)?.as_binary_view().clone())
}

/// The forms of binary values as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Hex,
    Utf8,
    Base64,
}

fn form(name: &str) -> Result<Form> {
    match name.trim().to_ascii_lowercase().as_str() {
        "hex" => Ok(Form::Hex),
        "utf8" | "utf-8" => Ok(Form::Utf8),
        "base64" => Ok(Form::Base64),
        _ => Err(error!(InvalidParameterValue, "unknown binary format \"{name}\"")
            .hint("Formats are hex, utf8 and base64.")),
    }
}

fn not_hex(text: &str) -> Error {
    error!(InvalidTextRepresentation, "\"{text}\" is no hexadecimal value")
        .hint("A value has two digits, 0 to 9 and a to f, for each byte.")
}

fn read_hex(text: &str) -> Result<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(not_hex(text));
    }
    let read = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    read.collect::<Option<Vec<u8>>>().ok_or_else(|| not_hex(text))
}

fn read(text: &str, form: Form) -> Result<Vec<u8>> {
    match form {
        Form::Hex => read_hex(text),
        Form::Utf8 => Ok(text.as_bytes().to_vec()),
        Form::Base64 => STANDARD.decode(text).map_err(|e| {
            error!(InvalidTextRepresentation, "\"{text}\" is no base64 value")
                .detail(format!("{e}."))
        }),
    }
}

fn print_hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn print(value: &[u8], form: Form) -> Result<String> {
    match form {
        Form::Hex => Ok(print_hex(value)),
        Form::Base64 => Ok(STANDARD.encode(value)),
        Form::Utf8 => String::from_utf8(value.to_vec())
            .map_err(|_| error!(CharacterNotInRepertoire, "the binary value is not valid UTF-8")),
    }
}

/// `from_hex(text)`.
fn from_hex(args: &[ArrayRef]) -> Result<ArrayRef> {
    let texts = text(args, 0)?;
    let values = texts.iter().map(|value| value.map(read_hex).transpose());
    let values = values.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(BinaryViewArray::from_iter(values)))
}

/// `to_varbyte(text, format)`.
fn to_varbyte(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, forms) = (text(args, 0)?, text(args, 1)?);
    let values = texts.iter().zip(&forms).map(|pair| {
        let (Some(text), Some(name)) = pair else { return Ok(None) };
        read(text, form(name)?).map(Some)
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(BinaryViewArray::from_iter(values)))
}

/// `from_varbyte(value, format)`.
fn from_varbyte(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (values, forms) = (bytes(args, 0)?, text(args, 1)?);
    let texts = values.iter().zip(&forms).map(|pair| {
        let (Some(value), Some(name)) = pair else { return Ok(None) };
        print(value, form(name)?).map(Some)
    });
    Ok(Arc::new(texts.collect::<Result<StringViewArray>>()?))
}

/// `to_hex(value)` of a binary value or a whole number, whose leading zeros are not shown.
fn to_hex(args: &[ArrayRef]) -> Result<ArrayRef> {
    let narrow = |n: i64, array: &ArrayRef| match array.data_type() {
        DataType::Int16 | DataType::Int32 => format!("{:x}", n as i32),
        _ => format!("{n:x}"),
    };
    let texts: StringViewArray = match args.first() {
        Some(array) if array.data_type().is_integer() => {
            whole(args, 0)?.iter().map(|n| n.map(|n| narrow(n, array))).collect()
        }
        _ => bytes(args, 0)?.iter().map(|value| value.map(print_hex)).collect(),
    };
    Ok(Arc::new(texts))
}

/// `getbit(value, n)`: bit 0 is the least significant one of the last byte.
fn getbit(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (values, places) = (bytes(args, 0)?, whole(args, 1)?);
    let bits = values.iter().zip(&places).map(|pair| {
        let (Some(value), Some(place)) = pair else { return Ok(None) };
        let byte = usize::try_from(place / 8).ok().filter(|_| place >= 0);
        let byte = byte.and_then(|byte| value.iter().rev().nth(byte)).ok_or_else(|| {
            let most = value.len() * 8;
            error!(InvalidParameterValue, "bit {place} is out of range")
                .detail(format!("The value has {most} bits, counted from 0."))
        })?;
        Ok(Some(i32::from(byte >> (place % 8) & 1)))
    });
    Ok(Arc::new(bits.collect::<Result<Int32Array>>()?))
}

/// `substr(value, position [, n])` of a binary value, in bytes.
pub(super) fn substring(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (values, starts) = (bytes(args, 0)?, whole(args, 1)?);
    let lengths = whole_or(args, 2, i64::MAX)?;
    let parts = values.iter().zip(&starts).zip(&lengths).map(|row| {
        let ((Some(value), Some(start)), Some(length)) = row else { return Ok(None) };
        if length < 0 {
            return Err(error!(SubstringError, "negative substring length not allowed"));
        }
        let place = |at: i64| usize::try_from(at - 1).unwrap_or(0).min(value.len());
        let (from, to) = (place(start), place(start.saturating_add(length)));
        Ok(Some(&value[from..to.max(from)]))
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(BinaryViewArray::from_iter(parts)))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let number = |_: &[DataType]| Ok(DataType::Int32);
    let view = |_: &[DataType]| Ok(DataType::Utf8View);
    let binary = |_: &[DataType]| Ok(DataType::BinaryView);
    vec![
        Kernel::udf("from_hex", any(1..=1), binary, from_hex),
        Kernel::udf("to_varbyte", any(2..=2), binary, to_varbyte),
        Kernel::udf("from_varbyte", any(2..=2), view, from_varbyte),
        Kernel::udf("to_hex", any(1..=1), view, to_hex),
        Kernel::udf("getbit", any(2..=2), number, getbit),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_read_what_they_print() {
        let value = b"\x00\xab\xff";
        for form in [Form::Hex, Form::Base64] {
            assert_eq!(read(&print(value, form).unwrap(), form).unwrap(), value);
        }
        assert_eq!(print(value, Form::Utf8).unwrap_err().sqlstate().code(), "22021");
        assert_eq!(read_hex("abc").unwrap_err().sqlstate().code(), "22P02");
        assert_eq!(read_hex("zz").unwrap_err().sqlstate().code(), "22P02");
    }
}
