//! Which parameters are served, and which go together.

use base::{Error, Result, error};
use sql::ast::{CopyCompression, CopyEncoding, CopyFormat, CopySourceKind, CopyStatement};

/// Refuses what is not served and what does not go together.
///
/// # Errors
/// 0A000 naming the parameter that is not served, 42601 naming two that exclude each other.
pub(crate) fn check(copy: &CopyStatement) -> Result<()> {
    source(copy)?;
    format(copy)?;
    not_served(copy)?;
    let csv = matches!(copy.format, CopyFormat::Csv { .. });
    if csv {
        excluded(copy, "CSV", &["ESCAPE", "REMOVEQUOTES", "FIXEDWIDTH"])?;
    } else if copy.options.position("QUOTE").is_some() {
        return Err(together(copy, "QUOTE", "a format other than CSV"));
    }
    if copy.format == CopyFormat::Parquet {
        excluded(copy, "PARQUET", NOT_WITH_PARQUET)?;
    }
    if copy.options.ignore_all_errors && copy.options.max_error.is_some() {
        return Err(together(copy, "IGNOREALLERRORS", "MAXERROR"));
    }
    if copy.options.manifest && copy.from.kind == CopySourceKind::Other {
        return Err(together(copy, "MANIFEST", "this source"));
    }
    Ok(())
}

fn source(copy: &CopyStatement) -> Result<()> {
    let what = match copy.from.kind {
        CopySourceKind::S3 | CopySourceKind::Local => return Ok(()),
        CopySourceKind::DynamoDb => "COPY from DynamoDB",
        CopySourceKind::Emr => "COPY from Amazon EMR",
        CopySourceKind::Other => {
            return Err(error!(
                InvalidParameterValue,
                "\"{}\" is not a source that COPY can read", copy.from.url
            )
            .hint("Sources are s3://bucket/prefix, /path and file:///path.")
            .at(copy.from.position));
        }
    };
    Err(refused(what).at(copy.from.position))
}

fn format(copy: &CopyStatement) -> Result<()> {
    let what = match &copy.format {
        CopyFormat::Delimited | CopyFormat::Csv { .. } | CopyFormat::Parquet => return Ok(()),
        CopyFormat::FixedWidth(_) => "COPY format FIXEDWIDTH",
        CopyFormat::Json(_) => "COPY format JSON",
        CopyFormat::Avro(_) => "COPY format AVRO",
        CopyFormat::Orc => "COPY format ORC",
        CopyFormat::Shapefile => "COPY format SHAPEFILE",
    };
    Err(refused(what).at(copy.format_position))
}

/// Parameters of Redshift that Parquet files do not take.
const NOT_WITH_PARQUET: &[&str] = &[
    "ACCEPTANYDATE",
    "BLANKSASNULL",
    "BZIP2",
    "COMPROWS",
    "COMPUPDATE",
    "DATEFORMAT",
    "DELIMITER",
    "EMPTYASNULL",
    "ENCODING",
    "ESCAPE",
    "GZIP",
    "IGNOREALLERRORS",
    "IGNOREBLANKLINES",
    "IGNOREHEADER",
    "MAXERROR",
    "NULL",
    "QUOTE",
    "REMOVEQUOTES",
    "ROUNDEC",
    "TIMEFORMAT",
    "TRIMBLANKS",
    "TRUNCATECOLUMNS",
    "ZSTD",
];

fn excluded(copy: &CopyStatement, format: &str, words: &[&str]) -> Result<()> {
    let found = words.iter().find(|word| copy.options.position(word).is_some());
    match found {
        None => Ok(()),
        Some(word) => Err(together(copy, word, &format!("the format {format}"))),
    }
}

fn together(copy: &CopyStatement, word: &str, other: &str) -> Error {
    let error = error!(SyntaxError, "COPY parameter {word} cannot be used with {other}");
    match copy.options.position(word) {
        Some(position) => error.at(position),
        None => error,
    }
}

/// Parameters that are known and not served.
fn not_served(copy: &CopyStatement) -> Result<()> {
    let options = &copy.options;
    let words = [
        ("LZOP", options.compression == CopyCompression::Lzop),
        ("SSH", options.ssh),
        ("READRATIO", options.read_ratio.is_some()),
        ("ENCRYPTED", options.encrypted),
        ("MASTER_SYMMETRIC_KEY", options.master_symmetric_key.is_some()),
        ("SERIALIZETOJSON", options.serialize_to_json),
        ("SIMPLIFY", options.simplify.is_some()),
        ("USING", options.template.is_some()),
        ("JOB", options.job.is_some()),
        // Encodings of columns are chosen anew for each block, so that a sample of this size
        // has nothing to decide.
        ("COMPROWS", options.comp_rows.is_some()),
    ];
    if let Some((word, _)) = words.iter().find(|(_, given)| *given) {
        let name = if *word == "USING" { "USING TEMPLATE" } else { word };
        let error = refused(&format!("COPY parameter {name}"));
        return Err(match options.position(word) {
            Some(position) => error.at(position),
            None => error,
        });
    }
    let encoding = match options.encoding {
        CopyEncoding::Utf8 => return Ok(()),
        CopyEncoding::Utf16 => "UTF16",
        CopyEncoding::Utf16Le => "UTF16LE",
        CopyEncoding::Utf16Be => "UTF16BE",
        CopyEncoding::Iso88591 => "ISO88591",
    };
    let error = refused(&format!("COPY parameter ENCODING {encoding}"));
    Err(match options.position("ENCODING") {
        Some(position) => error.at(position),
        None => error,
    })
}

fn refused(what: &str) -> Error {
    Error::unsupported(format!("{what} is not supported"))
}
