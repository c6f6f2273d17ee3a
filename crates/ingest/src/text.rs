//! Delimited text and CSV: bytes to typed Arrow batches.
//!
//! Three steps, each a module: structural bytes ([`scan`]), records and fields ([`records`]),
//! values column by column ([`columns`]). [`reader`] drives them over a stream of bytes.
//! Depends on Arrow and `base` only, so that it can be tested and fuzzed without an engine.
//! Must not open files and must not decide whether a load fails.

mod columns;
mod moment;
mod number;
mod pattern;
mod reader;
mod records;
mod scan;

use arrow_array::ArrayRef;
use base::{Result, SqlType};

pub(crate) use columns::repeat;
pub use reader::{Outcome, TextReader, UnitRange};
pub use records::{Dialect, Quoting};

use moment::Format;
use pattern::Pattern;

/// A column of the table that is loaded.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    pub sql_type: SqlType,
    pub nullable: bool,
    pub fill: Fill,
}

/// Where a column's values come from.
#[derive(Clone, Debug)]
pub enum Fill {
    /// The n-th field of the file, from 0.
    Field(usize),
    /// The same value in each row: an array of one element of the column's Arrow type. NULL
    /// for an IDENTITY column, which the write fills.
    Constant(ArrayRef),
}

/// How values are read: the data conversion parameters of COPY.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// NULL AS.
    pub null: Vec<u8>,
    pub blanks_as_null: bool,
    pub empty_as_null: bool,
    pub trim_blanks: bool,
    pub truncate_columns: bool,
    /// ACCEPTINVCHARS: the byte put in place of each invalid one.
    pub replace_invalid: Option<u8>,
    pub accept_any_date: bool,
    pub round_decimals: bool,
    date_format: Format,
    time_format: Format,
}

impl Default for Conversion {
    fn default() -> Self {
        Self {
            null: br"\N".to_vec(),
            blanks_as_null: false,
            empty_as_null: false,
            trim_blanks: false,
            truncate_columns: false,
            replace_invalid: None,
            accept_any_date: false,
            round_decimals: false,
            date_format: Format::Default,
            time_format: Format::Default,
        }
    }
}

impl Conversion {
    /// Sets DATEFORMAT.
    ///
    /// # Errors
    /// 22023 for a format that cannot be read.
    pub fn set_date_format(&mut self, format: &str) -> Result<()> {
        self.date_format = match format {
            "auto" => Format::Auto,
            text => Format::Pattern(Pattern::compile(text, "DATEFORMAT")?),
        };
        Ok(())
    }

    /// Sets TIMEFORMAT.
    ///
    /// # Errors
    /// 22023 for a format that cannot be read.
    pub fn set_time_format(&mut self, format: &str) -> Result<()> {
        self.time_format = match format {
            "auto" => Format::Auto,
            "epochsecs" => Format::EpochSeconds,
            "epochmillisecs" => Format::EpochMilliseconds,
            text => Format::Pattern(Pattern::compile(text, "TIMEFORMAT")?),
        };
        Ok(())
    }

    /// The format in force for a type, as error texts name it.
    fn format_text(&self, sql_type: SqlType) -> &str {
        let (format, default) = match sql_type {
            SqlType::Date => (&self.date_format, "YYYY-MM-DD"),
            SqlType::Timestamp => (&self.time_format, "YYYY-MM-DD HH24:MI:SS"),
            SqlType::TimestampTz => (&self.time_format, "YYYY-MM-DD HH24:MI:SSOF"),
            SqlType::Time => (&Format::Default, "HH24:MI:SS"),
            SqlType::TimeTz => (&Format::Default, "HH24:MI:SSOF"),
            _ => return "",
        };
        match format {
            Format::Default => default,
            Format::Auto => "auto",
            Format::EpochSeconds => "epochsecs",
            Format::EpochMilliseconds => "epochmillisecs",
            Format::Pattern(pattern) => pattern.text(),
        }
    }
}

/// All that reading text needs to know.
#[derive(Clone, Debug)]
pub struct TextSpec {
    pub dialect: Dialect,
    pub conversion: Conversion,
    pub targets: Vec<Target>,
    /// IGNOREHEADER: lines at the start of each file that are not loaded.
    pub skip_lines: u64,
    /// Rows in a batch, at most.
    pub batch_rows: usize,
    /// Rejected rows after which reading stops: MAXERROR, at least 1.
    pub rejections_max: u64,
}
