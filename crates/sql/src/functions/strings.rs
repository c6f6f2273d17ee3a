//! Functions of text that DataFusion has not, or with another meaning.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int32Array, StringViewArray};
use arrow_schema::DataType;
use base::{Result, error};
use datafusion::arrow::compute::cast;
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{Kernel, any, text, whole};

/// The longest result of LISTAGG, in bytes.
const LISTAGG_BYTES_MAX: usize = 65_535;

fn is_binary(array: &ArrayRef) -> bool {
    matches!(array.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn int(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// The lengths of texts by a measure; of binary values their bytes.
fn lengths(args: &[ArrayRef], of: fn(&str) -> usize) -> Result<ArrayRef> {
    if args.first().is_some_and(is_binary) {
        let bytes = cast(&args[0], &DataType::BinaryView)
            .map_err(|e| crate::error_from_datafusion(e.into(), ""))?;
        let lengths = bytes.as_binary_view().iter().map(|value| value.map(|v| int(v.len())));
        return Ok(Arc::new(lengths.collect::<Int32Array>()));
    }
    let lengths = text(args, 0)?;
    let lengths = lengths.iter().map(|value| value.map(|v| int(of(v))));
    Ok(Arc::new(lengths.collect::<Int32Array>()))
}

fn numbers(args: &[ArrayRef], of: impl Fn(&str, &str) -> i32) -> Result<ArrayRef> {
    let (left, right) = (text(args, 0)?, text(args, 1)?);
    let numbers = left.iter().zip(&right).map(|pair| Some(of(pair.0?, pair.1?)));
    Ok(Arc::new(numbers.collect::<Int32Array>()))
}

fn texts(args: &[ArrayRef], of: impl Fn(&str) -> String) -> Result<ArrayRef> {
    let texts = text(args, 0)?;
    Ok(Arc::new(texts.iter().map(|value| value.map(&of)).collect::<StringViewArray>()))
}

/// `chr(number)`: the character of a code point, NULL where there is none.
fn chr(args: &[ArrayRef]) -> Result<ArrayRef> {
    let of = |n: i64| u32::try_from(n).ok().and_then(char::from_u32).map(String::from);
    let shown = whole(args, 0)?;
    Ok(Arc::new(shown.iter().map(|n| n.and_then(of)).collect::<StringViewArray>()))
}

/// `octetindex(part, text)`: the byte where the part begins, from 1, and 0 without it.
fn octet_index(part: &str, text: &str) -> i32 {
    text.find(part).map_or(0, |at| int(at + 1))
}

fn sign_of(order: Ordering) -> i32 {
    match order {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}

/// The four characters of American Soundex; empty for a text without a letter.
fn soundex(text: &str) -> String {
    let code = |letter: char| match letter {
        'B' | 'F' | 'P' | 'V' => '1',
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => '2',
        'D' | 'T' => '3',
        'L' => '4',
        'M' | 'N' => '5',
        'R' => '6',
        _ => '0',
    };
    let mut letters =
        text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_uppercase());
    let Some(first) = letters.next() else { return String::new() };
    let mut out = String::from(first);
    let mut before = code(first);
    for letter in letters {
        let next = code(letter);
        if next != '0' && next != before {
            out.push(next);
        }
        // H and W do not part letters of one code.
        if !matches!(letter, 'H' | 'W') {
            before = next;
        }
        if out.len() == 4 {
            break;
        }
    }
    format!("{out:0<4}")
}

/// How many characters of two Soundex codes are the same, 0 to 4.
fn difference(left: &str, right: &str) -> i32 {
    let (left, right) = (soundex(left), soundex(right));
    int(left.bytes().zip(right.bytes()).filter(|(a, b)| a == b).count())
}

/// `listagg_of(list, delimiter)`: the items as text, one after the other, without those that are
/// NULL; NULL when there is no other.
fn listagg_of(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (lists, delimiters) = (&args[0], text(args, 1)?);
    let Some(lists) = lists.as_list_opt::<i32>() else {
        return Ok(Arc::new(StringViewArray::new_null(lists.len())));
    };
    let joined = lists.iter().zip(&delimiters).map(|(list, delimiter)| {
        let Some(list) = list else { return Ok(None) };
        let items = text(&[list], 0)?;
        let mut out: Option<String> = None;
        for item in items.iter().flatten() {
            match &mut out {
                Some(out) => {
                    out.push_str(delimiter.unwrap_or_default());
                    out.push_str(item);
                }
                None => out = Some(item.to_owned()),
            }
        }
        let length = out.as_ref().map_or(0, String::len);
        if length > LISTAGG_BYTES_MAX {
            return Err(error!(ProgramLimitExceeded, "result size exceeds LISTAGG limit").detail(
                format!("The result has {length} bytes; {LISTAGG_BYTES_MAX} are allowed."),
            ));
        }
        Ok(out)
    });
    Ok(Arc::new(joined.collect::<Result<StringViewArray>>()?))
}

/// A number from its digits in a base.
///
/// Blanks may stand before them and one sign, and `0x` where the base is 16. No digits are 0.
fn digits_of(text: &str, base: u32) -> Result<i64> {
    let bare = text.trim_start();
    let (negative, digits) = match bare.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, bare.strip_prefix('+').unwrap_or(bare)),
    };
    let digits = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(rest) if base == 16 => rest,
        _ => digits,
    };
    let digits = digits.trim_end();
    if digits.is_empty() || digits.starts_with('\0') {
        return Ok(0);
    }
    if !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err(error!(
            InvalidTextRepresentation,
            "the input {text} is not valid to be converted to base {base}"
        ));
    }
    let number = i128::from_str_radix(digits, base).ok();
    let number = number.map(|number| if negative { -number } else { number });
    number.and_then(|number| i64::try_from(number).ok()).ok_or_else(|| {
        error!(NumericValueOutOfRange, "value \"{text}\" is out of range for type bigint")
    })
}

/// `strtol(text, base)`.
fn strtol(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, bases) = (text(args, 0)?, whole(args, 1)?);
    let rows = texts.iter().zip(&bases).map(|pair| {
        let (Some(text), Some(base)) = pair else { return Ok(None) };
        let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
        let base = base.ok_or_else(|| {
            error!(InvalidParameterValue, "the base of strtol() must be between 2 and 36")
        })?;
        digits_of(text, base).map(Some)
    });
    Ok(Arc::new(rows.collect::<Result<arrow_array::Int64Array>>()?))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let number = |_: &[DataType]| Ok(DataType::Int32);
    let long = |_: &[DataType]| Ok(DataType::Int64);
    let view = |_: &[DataType]| Ok(DataType::Utf8View);
    let length = Kernel::udf("character_length", any(1..=1), number, |args| {
        lengths(args, |text| text.chars().count())
    });
    vec![
        length.with_aliases(["char_length", "len", "length", "textlen"]),
        Kernel::udf("octet_length", any(1..=1), number, |args| lengths(args, str::len)),
        Kernel::udf("octetindex", any(2..=2), number, |args| numbers(args, octet_index)),
        Kernel::udf("chr", any(1..=1), view, chr),
        Kernel::udf("soundex", any(1..=1), view, |args| texts(args, soundex)),
        Kernel::udf("difference", any(2..=2), number, |args| numbers(args, difference)),
        // Blanks at the end do not count for CHAR.
        Kernel::udf("bpcharcmp", any(2..=2), number, |args| {
            numbers(args, |a, b| sign_of(a.trim_end_matches(' ').cmp(b.trim_end_matches(' '))))
        }),
        Kernel::udf("bttext_pattern_cmp", any(2..=2), number, |args| {
            numbers(args, |a, b| sign_of(a.cmp(b)))
        }),
        Kernel::udf("strtol", any(2..=2), long, strtol),
        Kernel::udf("listagg_of", any(2..=2), view, listagg_of),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soundex_codes() {
        for (text, code) in [
            ("Robert", "R163"),
            ("Rupert", "R163"),
            ("Ashcraft", "A261"),
            ("Tymczak", "T522"),
            ("Pfister", "P236"),
            ("Lee", "L000"),
            ("12", ""),
        ] {
            assert_eq!(soundex(text), code, "{text}");
        }
        assert_eq!(difference("Green", "Greene"), 4);
    }

    #[test]
    fn digits_in_any_base() {
        assert_eq!(digits_of("0xf", 16).unwrap(), 15);
        assert_eq!(digits_of(" -101", 2).unwrap(), -5);
        assert_eq!(digits_of("", 10).unwrap(), 0);
        assert_eq!(digits_of("-9223372036854775808", 10).unwrap(), i64::MIN);
        assert_eq!(digits_of("zz!", 36).unwrap_err().sqlstate().code(), "22P02");
        assert_eq!(digits_of("9223372036854775808", 10).unwrap_err().sqlstate().code(), "22003");
    }
}
