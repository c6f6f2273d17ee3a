//! COPY's parameters: what each means here, and the refusal by name of what is not served.
//!
//! Every parameter that the parser knows is either honoured or refused in this file; none is
//! read and ignored.

mod check;
pub(crate) mod columns;

use base::{Error, Result, SqlType, error};
use serde::{Deserialize, Serialize};
use sql::ast::{
    CopyCompression, CopyDateFormat, CopyFormat, CopyOptions, CopyStatement, CopyTimeFormat,
};

use crate::input::Compression;
use crate::text::{Conversion, Dialect, Quoting};

pub(crate) use check::check;

/// Rows in a batch of text.
pub(crate) const BATCH_ROWS: usize = 16_384;

/// A load as it travels to the compute nodes: everything but the files and the credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoadSpec {
    /// The table's name, for messages.
    pub(crate) table: String,
    /// All columns of the table, in order.
    pub(crate) columns: Vec<LoadColumn>,
    /// Fields in a record of the files.
    pub(crate) fields: usize,
    pub(crate) format: LoadFormat,
    pub(crate) compression: Compression,
    /// FILLRECORD.
    pub(crate) fill: bool,
    /// ACCEPTINVCHARS.
    pub(crate) replace_invalid: Option<u8>,
    /// Rejected rows at which the load fails: MAXERROR, at least 1.
    pub(crate) rejections_max: u64,
    /// NOLOAD: rows are parsed and counted, none is given out.
    pub(crate) no_load: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoadColumn {
    pub(crate) name: String,
    pub(crate) sql_type: SqlType,
    pub(crate) nullable: bool,
    pub(crate) fill: LoadFill,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoadFill {
    /// The n-th field of the files.
    Field(usize),
    /// The column's DEFAULT: a one-row record batch of one column, in Arrow's stream format.
    Default(Vec<u8>),
    /// No default, or an IDENTITY column, which the write fills.
    Null,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum LoadFormat {
    Text(TextOptions),
    Parquet,
}

/// How text is cut and converted, in the statement's words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TextOptions {
    pub(crate) delimiter: u8,
    pub(crate) quoting: Quoting,
    pub(crate) skip_blank: bool,
    pub(crate) skip_lines: u64,
    pub(crate) null: Vec<u8>,
    pub(crate) blanks_as_null: bool,
    pub(crate) empty_as_null: bool,
    pub(crate) trim_blanks: bool,
    pub(crate) truncate_columns: bool,
    pub(crate) accept_any_date: bool,
    pub(crate) round_decimals: bool,
    pub(crate) date_format: Option<String>,
    pub(crate) time_format: Option<String>,
}

impl TextOptions {
    pub(crate) fn conversion(&self, replace_invalid: Option<u8>) -> Result<Conversion> {
        let mut conversion = Conversion::default();
        conversion.null.clone_from(&self.null);
        conversion.blanks_as_null = self.blanks_as_null;
        conversion.empty_as_null = self.empty_as_null;
        conversion.trim_blanks = self.trim_blanks;
        conversion.truncate_columns = self.truncate_columns;
        conversion.replace_invalid = replace_invalid;
        conversion.accept_any_date = self.accept_any_date;
        conversion.round_decimals = self.round_decimals;
        if let Some(format) = &self.date_format {
            conversion.set_date_format(format)?;
        }
        if let Some(format) = &self.time_format {
            conversion.set_time_format(format)?;
        }
        Ok(conversion)
    }

    pub(crate) fn dialect(&self, fields: usize, fill: bool) -> Dialect {
        Dialect {
            delimiter: self.delimiter,
            quoting: self.quoting,
            fields,
            fill,
            skip_blank: self.skip_blank,
        }
    }

    fn new(copy: &CopyStatement) -> Result<TextOptions> {
        let options = &copy.options;
        let quoting = match &copy.format {
            CopyFormat::Csv { quote } => Quoting::Csv { quote: quote_byte(copy, quote)? },
            _ => Quoting::Text { escape: options.escape, remove_quotes: options.remove_quotes },
        };
        let delimiter = match (&options.delimiter, quoting) {
            (Some(text), _) => delimiter_byte(options, text)?,
            (None, Quoting::Csv { .. }) => b',',
            (None, Quoting::Text { .. }) => b'|',
        };
        distinct(options, delimiter, quoting)?;
        Ok(TextOptions {
            delimiter,
            quoting,
            skip_blank: options.ignore_blank_lines,
            skip_lines: options.ignore_header,
            null: null_bytes(options.null_as.as_deref()),
            blanks_as_null: options.blanks_as_null,
            empty_as_null: options.empty_as_null,
            trim_blanks: options.trim_blanks,
            truncate_columns: options.truncate_columns,
            accept_any_date: options.accept_any_date,
            round_decimals: options.round_decimals,
            date_format: options.date_format.as_ref().map(|format| match format {
                CopyDateFormat::Auto => "auto".to_owned(),
                CopyDateFormat::Format(text) => text.clone(),
            }),
            time_format: options.time_format.as_ref().map(|format| match format {
                CopyTimeFormat::Auto => "auto".to_owned(),
                CopyTimeFormat::EpochSecs => "epochsecs".to_owned(),
                CopyTimeFormat::EpochMillisecs => "epochmillisecs".to_owned(),
                CopyTimeFormat::Format(text) => text.clone(),
            }),
        })
    }
}

/// The format and its parameters; call [`check`] first.
pub(crate) fn format(copy: &CopyStatement) -> Result<LoadFormat> {
    if copy.format == CopyFormat::Parquet {
        return Ok(LoadFormat::Parquet);
    }
    let text = TextOptions::new(copy)?;
    // A format that cannot be read is refused before anything is fetched.
    let mut conversion = Conversion::default();
    let options = &copy.options;
    if let Some(format) = &text.date_format {
        conversion.set_date_format(format).map_err(|e| at(e, options, "DATEFORMAT"))?;
    }
    if let Some(format) = &text.time_format {
        conversion.set_time_format(format).map_err(|e| at(e, options, "TIMEFORMAT"))?;
    }
    Ok(LoadFormat::Text(text))
}

pub(crate) fn compression(options: &CopyOptions) -> Compression {
    match options.compression {
        CopyCompression::Gzip => Compression::Gzip,
        CopyCompression::Bzip2 => Compression::Bzip2,
        CopyCompression::Zstd => Compression::Zstd,
        CopyCompression::None | CopyCompression::Lzop => Compression::None,
    }
}

/// ACCEPTINVCHARS.
pub(crate) fn replacement(options: &CopyOptions) -> Result<Option<u8>> {
    match options.accept_inv_chars {
        None => Ok(None),
        Some(letter) if letter.is_ascii() && letter != '\0' => Ok(Some(letter as u8)),
        Some(letter) => Err(at(
            error!(
                InvalidParameterValue,
                "ACCEPTINVCHARS replacement '{}' must be an ASCII character other than the zero \
                 byte",
                letter.escape_default()
            ),
            options,
            "ACCEPTINVCHARS",
        )),
    }
}

/// MAXERROR n fails at n errors; 0 and 1 both fail at the first, as on Redshift.
pub(crate) fn rejections_max(options: &CopyOptions) -> u64 {
    if options.ignore_all_errors {
        return u64::MAX;
    }
    options.max_error.map_or(1, |max| u64::from(max.max(1)))
}

/// An error with the place of the option in the statement.
fn at(error: Error, options: &CopyOptions, word: &str) -> Error {
    match options.position(word) {
        Some(position) => error.at(position),
        None => error,
    }
}

/// One ASCII byte, written as itself, as `\t` or as `\ddd` in octal.
fn delimiter_byte(options: &CopyOptions, text: &str) -> Result<u8> {
    let byte = match text.as_bytes() {
        [byte] => Some(*byte),
        [b'\\', b't'] => Some(b'\t'),
        [b'\\', octal @ ..] if octal.len() == 3 => u8::from_str_radix(&text[1..], 8).ok(),
        _ => None,
    };
    match byte {
        Some(byte) if byte.is_ascii() && !matches!(byte, 0 | b'\n' | b'\r') => Ok(byte),
        Some(_) => Err(at(
            error!(InvalidParameterValue, "COPY delimiter cannot be a line end or a zero byte"),
            options,
            "DELIMITER",
        )),
        None => Err(at(
            Error::unsupported(format!("DELIMITER '{text}' of more than one character"))
                .hint("Use one ASCII character; a tab is '\\t' and others are '\\ddd' in octal."),
            options,
            "DELIMITER",
        )),
    }
}

/// The quote of CSV; QUOTE may stand behind CSV or by itself.
fn quote_byte(copy: &CopyStatement, quote: &Option<String>) -> Result<u8> {
    let text = quote.as_ref().or(copy.options.quote.as_ref());
    match text.map(String::as_bytes) {
        None => Ok(b'"'),
        Some([byte]) if byte.is_ascii() && !matches!(byte, 0 | b'\n' | b'\r') => Ok(*byte),
        Some(_) => Err(error!(InvalidParameterValue, "COPY quote must be one ASCII character")
            .at(copy.options.position("QUOTE").unwrap_or(copy.format_position))),
    }
}

fn distinct(options: &CopyOptions, delimiter: u8, quoting: Quoting) -> Result<()> {
    let clash = match quoting {
        Quoting::Csv { quote } => (quote == delimiter).then_some("quote"),
        Quoting::Text { escape, .. } => (escape && delimiter == b'\\').then_some("escape"),
    };
    match clash {
        None => Ok(()),
        Some(other) => Err(at(
            error!(InvalidParameterValue, "COPY delimiter and {other} must be different"),
            options,
            "DELIMITER",
        )),
    }
}

/// NULL AS; `\0` and `\000` are the zero byte.
fn null_bytes(text: Option<&str>) -> Vec<u8> {
    match text {
        None => br"\N".to_vec(),
        Some(r"\0" | r"\000") => vec![0],
        Some(text) => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests;
