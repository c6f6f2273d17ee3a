//! COPY with every option of Redshift's, typed. Which source, format or option is served is
//! decided by the load itself, which refuses by name what it does not do.

use base::Secret;

use super::{Ident, ObjectName};

/// COPY table FROM source.
#[derive(Clone, Debug)]
pub struct CopyStatement {
    pub table: ObjectName,
    /// Empty: all columns in order.
    pub columns: Vec<Ident>,
    pub from: CopySource,
    pub authorization: Vec<CopyAuthorization>,
    pub format: CopyFormat,
    /// Position of the word that chose the format; 0 when none did.
    pub format_position: u32,
    pub options: CopyOptions,
}

/// The FROM string.
#[derive(Clone, Debug)]
pub struct CopySource {
    pub kind: CopySourceKind,
    /// The whole string as written.
    pub url: String,
    /// Position of the string in the statement.
    pub position: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopySourceKind {
    /// `s3://bucket/prefix`
    S3,
    /// `/path` or `file:///path`
    Local,
    /// `dynamodb://table`
    DynamoDb,
    /// `emr://cluster/path`
    Emr,
    /// Anything else: `ssh`, a bare word, an unknown scheme.
    Other,
}

/// How COPY proves who it is; several parts may stand in one statement.
#[derive(Clone, Debug)]
pub enum CopyAuthorization {
    /// IAM_ROLE default.
    DefaultRole,
    /// IAM_ROLE 'SESSION'.
    SessionRole,
    /// IAM_ROLE 'arn[,arn…]': the chain in order.
    Role(Vec<String>),
    AccessKeyId(Secret),
    SecretAccessKey(Secret),
    SessionToken(Secret),
    /// [WITH] CREDENTIALS [AS] 'name=value;…' split into its parts.
    Credentials(Vec<(String, Secret)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// Delimited text, the default.
    Delimited,
    Csv {
        quote: Option<String>,
    },
    /// `label:width,…` as written.
    FixedWidth(String),
    Json(CopyPaths),
    Avro(CopyPaths),
    Parquet,
    Orc,
    Shapefile,
}

/// The argument of JSON and AVRO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPaths {
    Auto,
    AutoIgnoreCase,
    NoShred,
    /// The URL of a jsonpaths file.
    File(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyCompression {
    #[default]
    None,
    Gzip,
    Bzip2,
    Lzop,
    Zstd,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyEncoding {
    #[default]
    Utf8,
    Utf16,
    Utf16Le,
    Utf16Be,
    Iso88591,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyTimeFormat {
    Auto,
    EpochSecs,
    EpochMillisecs,
    Format(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyDateFormat {
    Auto,
    Format(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyCompUpdate {
    On,
    Off,
    Preset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyJob {
    /// JOB CREATE name [AUTO ON|OFF].
    Create { name: String, auto: Option<bool> },
}

/// The parameters after source and format. `None` and `false` mean that the text says nothing.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    pub compression: CopyCompression,
    pub delimiter: Option<String>,
    pub quote: Option<String>,
    pub manifest: bool,
    pub ssh: bool,
    pub read_ratio: Option<u32>,
    pub region: Option<String>,
    /// ENDPOINT 'url', ours: an S3-compatible endpoint for this COPY alone.
    pub endpoint: Option<String>,
    pub encrypted: bool,
    pub master_symmetric_key: Option<Secret>,
    pub serialize_to_json: bool,

    pub accept_any_date: bool,
    /// The replacement character; `?` where ACCEPTINVCHARS gives none.
    pub accept_inv_chars: Option<char>,
    pub blanks_as_null: bool,
    pub empty_as_null: bool,
    pub null_as: Option<String>,
    pub date_format: Option<CopyDateFormat>,
    pub time_format: Option<CopyTimeFormat>,
    pub encoding: CopyEncoding,
    pub escape: bool,
    pub remove_quotes: bool,
    pub explicit_ids: bool,
    pub fill_record: bool,
    pub ignore_blank_lines: bool,
    pub ignore_header: u64,
    pub round_decimals: bool,
    pub trim_blanks: bool,
    pub truncate_columns: bool,

    pub comp_rows: Option<u64>,
    pub comp_update: Option<CopyCompUpdate>,
    pub stat_update: Option<bool>,
    pub max_error: Option<u32>,
    pub ignore_all_errors: bool,
    pub no_load: bool,
    pub simplify: Option<String>,
    pub template: Option<ObjectName>,
    pub job: Option<CopyJob>,
    /// Each option's word (upper case) and its position, in order: for errors that name one.
    pub written: Vec<(String, u32)>,
}

impl CopyOptions {
    /// Where an option stands in the text, by its upper-case word.
    pub fn position(&self, word: &str) -> Option<u32> {
        self.written.iter().find(|(name, _)| name == word).map(|(_, position)| *position)
    }
}
