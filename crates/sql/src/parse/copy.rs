//! COPY.

use base::{Error, Result, Secret, error};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use crate::ast::{
    CopyAuthorization, CopyCompUpdate, CopyCompression, CopyDateFormat, CopyEncoding, CopyFormat,
    CopyJob, CopyOptions, CopyPaths, CopySource, CopySourceKind, CopyStatement, CopyTimeFormat,
    Statement,
};

/// Every word that may start a parameter, for suggestions.
const WORDS: &[&str] = &[
    "acceptanydate",
    "acceptinvchars",
    "access_key_id",
    "avro",
    "blanksasnull",
    "bzip2",
    "comprows",
    "compupdate",
    "credentials",
    "csv",
    "dateformat",
    "delimiter",
    "emptyasnull",
    "encoding",
    "encrypted",
    "endpoint",
    "escape",
    "explicit_ids",
    "fillrecord",
    "fixedwidth",
    "format",
    "gzip",
    "iam_role",
    "ignoreallerrors",
    "ignoreblanklines",
    "ignoreheader",
    "json",
    "lzop",
    "manifest",
    "master_symmetric_key",
    "maxerror",
    "noload",
    "null",
    "orc",
    "parquet",
    "quote",
    "readratio",
    "region",
    "removequotes",
    "roundec",
    "secret_access_key",
    "serializetojson",
    "session_token",
    "shapefile",
    "ssh",
    "statupdate",
    "timeformat",
    "trimblanks",
    "truncatecolumns",
    "zstd",
];

/// The most errors that MAXERROR may allow.
const MAXERROR_MAX: u32 = 100_000;

/// After COPY.
pub(super) fn copy(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.is("job") {
        return Err(super::unsupported("COPY JOB", cursor.position()));
    }
    let table = cursor.object_name()?;
    let columns = cursor.optional_ident_list()?;
    if cursor.is("to") {
        return Err(super::unsupported("COPY … TO", cursor.position())
            .hint("UNLOAD writes the result of a query to files."));
    }
    cursor.expect("from")?;
    let position = cursor.position();
    if cursor.is("stdin") {
        return Err(super::unsupported("COPY … FROM STDIN", position)
            .hint("Put the file into S3 or under the server's load directory."));
    }
    let url = cursor.string()?;
    let from = CopySource { kind: source_kind(&url), url, position };
    let mut copy = CopyStatement {
        table,
        columns,
        from,
        authorization: Vec::new(),
        format: CopyFormat::Delimited,
        format_position: 0,
        options: CopyOptions::default(),
    };
    while !cursor.at_end() {
        parameter(cursor, &mut copy)?;
    }
    Ok(Statement::Copy(Box::new(copy)))
}

fn source_kind(url: &str) -> CopySourceKind {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("s3") => CopySourceKind::S3,
        Some("file") => CopySourceKind::Local,
        Some("dynamodb") => CopySourceKind::DynamoDb,
        Some("emr") => CopySourceKind::Emr,
        None if url.starts_with('/') => CopySourceKind::Local,
        _ => CopySourceKind::Other,
    }
}

/// Takes one parameter with its argument.
fn parameter(cursor: &mut Cursor, copy: &mut CopyStatement) -> Result<()> {
    let position = cursor.position();
    let Token::Word(word) = cursor.peek() else { return Err(cursor.unexpected()) };
    let word = word.value.clone();
    let written = cursor.written();
    cursor.next();
    let known = authorization(cursor, &word, copy)?
        || format(cursor, &word, position, copy)?
        || compression(&word, &mut copy.options)
        || source_option(cursor, &word, &mut copy.options)?
        || conversion(cursor, &word, &mut copy.options)?
        || load(cursor, &word, &mut copy.options)?;
    if !known {
        return Err(error!(SyntaxError, "syntax error at or near \"{written}\"")
            .detail(format!("COPY has no parameter {}.", written.to_uppercase()))
            .maybe_hint(
                base::suggest::nearest(&word, WORDS.iter().copied())
                    .map(|near| format!("Did you mean {}?", near.to_uppercase())),
            )
            .at(position));
    }
    let name = word.to_ascii_uppercase();
    if copy.options.position(&name).is_some() {
        return Err(conflict(&name, position));
    }
    copy.options.written.push((name, position));
    Ok(())
}

fn conflict(name: &str, position: u32) -> Error {
    error!(SyntaxError, "COPY parameter {name} is given twice").at(position)
}

fn authorization(cursor: &mut Cursor, word: &str, copy: &mut CopyStatement) -> Result<bool> {
    let part = match word {
        "iam_role" => {
            if cursor.accept("default") {
                CopyAuthorization::DefaultRole
            } else {
                let arn = as_string(cursor)?;
                match arn.as_str() {
                    "SESSION" => CopyAuthorization::SessionRole,
                    "default" => CopyAuthorization::DefaultRole,
                    chain => CopyAuthorization::Role(
                        chain.split(',').map(|arn| arn.trim().to_owned()).collect(),
                    ),
                }
            }
        }
        "access_key_id" => CopyAuthorization::AccessKeyId(Secret::new(as_string(cursor)?)),
        "secret_access_key" => CopyAuthorization::SecretAccessKey(Secret::new(as_string(cursor)?)),
        "session_token" => CopyAuthorization::SessionToken(Secret::new(as_string(cursor)?)),
        "with" if cursor.is("credentials") => {
            cursor.next();
            credentials(cursor)?
        }
        "credentials" => credentials(cursor)?,
        _ => return Ok(false),
    };
    copy.authorization.push(part);
    Ok(true)
}

/// After CREDENTIALS: `[AS] 'name=value;name=value'`.
fn credentials(cursor: &mut Cursor) -> Result<CopyAuthorization> {
    let position = {
        cursor.accept("as");
        cursor.position()
    };
    let text = cursor.string()?;
    let parts = text.split(';').filter(|part| !part.trim().is_empty()).map(|part| {
        let (name, value) = part.split_once('=').ok_or_else(|| {
            error!(
                InvalidParameterValue,
                "credentials must be \"name=value\" pairs, separated by semicolons"
            )
            .at(position)
        })?;
        Ok((name.trim().to_owned(), Secret::new(value.trim())))
    });
    Ok(CopyAuthorization::Credentials(parts.collect::<Result<_>>()?))
}

/// `[AS] 'text'`.
fn as_string(cursor: &mut Cursor) -> Result<String> {
    cursor.accept("as");
    cursor.string()
}

/// `[AS] 'text'` when a literal follows.
fn optional_as_string(cursor: &mut Cursor) -> Result<Option<String>> {
    if cursor.accept("as") { cursor.string().map(Some) } else { Ok(cursor.optional_string()) }
}

fn format(
    cursor: &mut Cursor,
    word: &str,
    position: u32,
    copy: &mut CopyStatement,
) -> Result<bool> {
    if word == "format" {
        cursor.accept("as");
        let position = cursor.position();
        let Token::Word(name) = cursor.peek() else { return Err(cursor.unexpected()) };
        let name = name.value.clone();
        let error = cursor.unexpected();
        cursor.next();
        return match format(cursor, &name, position, copy)? {
            true if name != "format" => Ok(true),
            _ => Err(error
                .hint("The formats are AVRO, CSV, FIXEDWIDTH, JSON, ORC, PARQUET and SHAPEFILE.")),
        };
    }
    let format = match word {
        "csv" => {
            let quote = if cursor.accept("quote") { Some(as_string(cursor)?) } else { None };
            CopyFormat::Csv { quote }
        }
        "fixedwidth" => CopyFormat::FixedWidth(as_string(cursor)?),
        "json" => CopyFormat::Json(paths(optional_as_string(cursor)?)),
        "avro" => CopyFormat::Avro(paths(optional_as_string(cursor)?)),
        "parquet" => CopyFormat::Parquet,
        "orc" => CopyFormat::Orc,
        "shapefile" => {
            if cursor.accept("simplify") {
                let auto = cursor.accept("auto");
                let tolerance = match cursor.peek() {
                    Token::Number(text, _) => Some(text.clone()),
                    _ => None,
                };
                if tolerance.is_some() {
                    cursor.next();
                }
                let tolerance = tolerance.unwrap_or_default();
                copy.options.simplify =
                    Some(if auto { format!("auto {tolerance}") } else { tolerance });
            }
            CopyFormat::Shapefile
        }
        _ => return Ok(false),
    };
    if copy.format_position != 0 {
        return Err(error!(SyntaxError, "COPY has more than one format").at(position));
    }
    copy.format = format;
    copy.format_position = position;
    Ok(true)
}

fn paths(text: Option<String>) -> CopyPaths {
    match text.as_deref() {
        None | Some("auto") => CopyPaths::Auto,
        Some("auto ignorecase") => CopyPaths::AutoIgnoreCase,
        Some("noshred") => CopyPaths::NoShred,
        Some(url) => CopyPaths::File(url.to_owned()),
    }
}

fn compression(word: &str, options: &mut CopyOptions) -> bool {
    options.compression = match word {
        "gzip" => CopyCompression::Gzip,
        "bzip2" => CopyCompression::Bzip2,
        "lzop" => CopyCompression::Lzop,
        "zstd" => CopyCompression::Zstd,
        _ => return false,
    };
    true
}

fn source_option(cursor: &mut Cursor, word: &str, options: &mut CopyOptions) -> Result<bool> {
    match word {
        "manifest" => options.manifest = true,
        "ssh" => options.ssh = true,
        "readratio" => {
            cursor.accept("as");
            options.read_ratio = Some(cursor.unsigned()?);
        }
        "region" => options.region = Some(as_string(cursor)?),
        "endpoint" => options.endpoint = Some(as_string(cursor)?),
        "encrypted" => options.encrypted = true,
        "master_symmetric_key" => {
            options.master_symmetric_key = Some(Secret::new(as_string(cursor)?));
        }
        "serializetojson" => options.serialize_to_json = true,
        "delimiter" => options.delimiter = Some(delimiter(cursor)?),
        "quote" => options.quote = Some(as_string(cursor)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A delimiter is one ASCII character, also as `\ddd`, or several of them.
fn delimiter(cursor: &mut Cursor) -> Result<String> {
    cursor.accept("as");
    let position = cursor.position();
    let text = cursor.string()?;
    if text.is_empty() || !text.is_ascii() {
        return Err(
            error!(InvalidParameterValue, "COPY delimiter must be ASCII characters").at(position)
        );
    }
    Ok(text)
}

fn conversion(cursor: &mut Cursor, word: &str, options: &mut CopyOptions) -> Result<bool> {
    match word {
        "acceptanydate" => options.accept_any_date = true,
        "acceptinvchars" => {
            let position = cursor.position();
            let text = optional_as_string(cursor)?.unwrap_or_else(|| "?".to_owned());
            let mut letters = text.chars();
            let (Some(letter), None) = (letters.next(), letters.next()) else {
                return Err(error!(
                    InvalidParameterValue,
                    "ACCEPTINVCHARS replacement must be one character"
                )
                .at(position));
            };
            options.accept_inv_chars = Some(letter);
        }
        "blanksasnull" => options.blanks_as_null = true,
        "emptyasnull" => options.empty_as_null = true,
        "null" => options.null_as = Some(as_string(cursor)?),
        "dateformat" => {
            options.date_format = Some(match as_string(cursor)? {
                text if text == "auto" => CopyDateFormat::Auto,
                text => CopyDateFormat::Format(text),
            });
        }
        "timeformat" => {
            options.time_format = Some(match as_string(cursor)? {
                text if text == "auto" => CopyTimeFormat::Auto,
                text if text == "epochsecs" => CopyTimeFormat::EpochSecs,
                text if text == "epochmillisecs" => CopyTimeFormat::EpochMillisecs,
                text => CopyTimeFormat::Format(text),
            });
        }
        "encoding" => options.encoding = encoding(cursor)?,
        "escape" => options.escape = true,
        "removequotes" => options.remove_quotes = true,
        "explicit_ids" => options.explicit_ids = true,
        "fillrecord" => options.fill_record = true,
        "ignoreblanklines" => options.ignore_blank_lines = true,
        "ignoreheader" => {
            cursor.accept("as");
            options.ignore_header = number_or_text(cursor)?;
        }
        "roundec" => options.round_decimals = true,
        "trimblanks" => options.trim_blanks = true,
        "truncatecolumns" => options.truncate_columns = true,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A number, which Redshift also takes in quotes.
fn number_or_text<N: TryFrom<u64>>(cursor: &mut Cursor) -> Result<N> {
    let position = cursor.position();
    match cursor.optional_string() {
        Some(text) => {
            text.trim().parse::<u64>().ok().and_then(|n| N::try_from(n).ok()).ok_or_else(|| {
                error!(InvalidParameterValue, "\"{text}\" is not a number of this range")
                    .at(position)
            })
        }
        None => cursor.unsigned(),
    }
}

fn encoding(cursor: &mut Cursor) -> Result<CopyEncoding> {
    cursor.accept("as");
    let position = cursor.position();
    let name = match cursor.optional_string() {
        Some(text) => text.to_lowercase(),
        None => cursor.ident()?.name,
    };
    match name.as_str() {
        "utf8" => Ok(CopyEncoding::Utf8),
        "utf16" => Ok(CopyEncoding::Utf16),
        "utf16le" => Ok(CopyEncoding::Utf16Le),
        "utf16be" => Ok(CopyEncoding::Utf16Be),
        "iso88591" => Ok(CopyEncoding::Iso88591),
        other => Err(error!(InvalidParameterValue, "unknown COPY encoding \"{other}\"")
            .hint("The encodings are UTF8, UTF16, UTF16LE, UTF16BE and ISO88591.")
            .at(position)),
    }
}

fn load(cursor: &mut Cursor, word: &str, options: &mut CopyOptions) -> Result<bool> {
    let position = cursor.position();
    match word {
        "comprows" => options.comp_rows = Some(number_or_text(cursor)?),
        "compupdate" => {
            let chosen = cursor.one_of(&["preset", "on", "true", "off", "false"]);
            options.comp_update = Some(match chosen {
                Some("preset") => CopyCompUpdate::Preset,
                Some("off" | "false") => CopyCompUpdate::Off,
                _ => CopyCompUpdate::On,
            });
        }
        "ignoreallerrors" => options.ignore_all_errors = true,
        "maxerror" => {
            cursor.accept("as");
            let count: u32 = number_or_text(cursor)?;
            if count > MAXERROR_MAX {
                return Err(error!(
                    InvalidParameterValue,
                    "MAXERROR {count} is beyond the maximum of {MAXERROR_MAX}"
                )
                .at(position));
            }
            options.max_error = Some(count);
        }
        "noload" => options.no_load = true,
        "statupdate" => {
            let chosen = cursor.one_of(&["on", "true", "off", "false"]);
            options.stat_update = Some(!matches!(chosen, Some("off" | "false")));
        }
        "using" if cursor.accept("template") => options.template = Some(cursor.object_name()?),
        "job" if cursor.accept("create") => {
            let name = cursor.ident()?.name;
            let auto = if cursor.accept("auto") {
                Some(cursor.one_of(&["on", "off"]) != Some("off"))
            } else {
                None
            };
            options.job = Some(CopyJob::Create { name, auto });
        }
        _ => return Ok(false),
    }
    Ok(true)
}
