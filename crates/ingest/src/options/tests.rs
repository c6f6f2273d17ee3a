//! Tests of `options`.

use base::SqlState;
use sql::Statement;

use super::*;

fn parsed(options: &str) -> CopyStatement {
    let text = format!("COPY t FROM '/data/f' {options}");
    match sql::parse(&text) {
        Ok(Statement::Copy(copy)) => *copy,
        other => panic!("{text}: {other:?}"),
    }
}

fn text(options: &str) -> TextOptions {
    let copy = parsed(options);
    check(&copy).unwrap();
    match format(&copy).unwrap() {
        LoadFormat::Text(text) => text,
        LoadFormat::Parquet => panic!("{options}"),
    }
}

fn refused(options: &str) -> (SqlState, String) {
    let copy = parsed(options);
    let error = check(&copy)
        .and_then(|()| format(&copy).map(drop))
        .and_then(|()| replacement(&copy.options).map(drop))
        .expect_err(options);
    assert!(error.position().is_some(), "{options}: no position");
    (error.sqlstate(), error.message().to_owned())
}

#[test]
fn delimiters_and_quotes() {
    assert_eq!(text("").delimiter, b'|');
    assert_eq!(text("CSV").delimiter, b',');
    assert_eq!(text("CSV").quoting, Quoting::Csv { quote: b'"' });
    assert_eq!(text("CSV QUOTE AS '%'").quoting, Quoting::Csv { quote: b'%' });
    assert_eq!(text("DELIMITER ';'").delimiter, b';');
    assert_eq!(text(r"DELIMITER '\\t'").delimiter, b'\t');
    assert_eq!(text(r"DELIMITER '\\001'").delimiter, 1);
    assert_eq!(refused("DELIMITER '||'").0, SqlState::FeatureNotSupported);
    assert_eq!(refused("CSV DELIMITER '\"'").0, SqlState::InvalidParameterValue);
    assert_eq!(refused("CSV QUOTE AS 'ab'").0, SqlState::InvalidParameterValue);
}

#[test]
fn every_conversion_arrives() {
    let all = text(
        "ESCAPE REMOVEQUOTES NULL AS 'NIL' BLANKSASNULL EMPTYASNULL TRIMBLANKS TRUNCATECOLUMNS \
         ACCEPTANYDATE ROUNDEC IGNOREBLANKLINES IGNOREHEADER 3 DATEFORMAT 'MM/DD/YYYY' \
         TIMEFORMAT 'auto' ENCODING UTF8",
    );
    assert_eq!(all.quoting, Quoting::Text { escape: true, remove_quotes: true });
    assert_eq!(all.null, b"NIL");
    assert!(all.blanks_as_null && all.empty_as_null && all.trim_blanks);
    assert!(all.truncate_columns && all.accept_any_date && all.round_decimals);
    assert!(all.skip_blank);
    assert_eq!(all.skip_lines, 3);
    assert_eq!(all.date_format.as_deref(), Some("MM/DD/YYYY"));
    assert_eq!(all.time_format.as_deref(), Some("auto"));
    assert_eq!(text(r"NULL AS '\\0'").null, [0]);
    assert_eq!(text("").null, br"\N");
    assert_eq!(replacement(&parsed("ACCEPTINVCHARS").options).unwrap(), Some(b'?'));
    assert_eq!(replacement(&parsed("ACCEPTINVCHARS AS '^'").options).unwrap(), Some(b'^'));
    assert_eq!(refused("DATEFORMAT 'yy'").0, SqlState::InvalidParameterValue);
    assert_eq!(refused("TIMEFORMAT 'soon'").0, SqlState::InvalidParameterValue);
    assert_eq!(refused("ACCEPTINVCHARS AS 'é'").0, SqlState::InvalidParameterValue);
}

#[test]
fn errors_allowed() {
    for (options, max) in [("", 1), ("MAXERROR 0", 1), ("MAXERROR 1", 1), ("MAXERROR 100", 100)] {
        assert_eq!(rejections_max(&parsed(options).options), max, "{options}");
    }
    assert_eq!(rejections_max(&parsed("IGNOREALLERRORS").options), u64::MAX);
}

#[test]
fn compressions() {
    for (option, expected) in [
        ("", Compression::None),
        ("GZIP", Compression::Gzip),
        ("BZIP2", Compression::Bzip2),
        ("ZSTD", Compression::Zstd),
    ] {
        assert_eq!(compression(&parsed(option).options), expected);
    }
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    for (options, name) in [
        ("LZOP", "LZOP"),
        ("JSON 'auto'", "JSON"),
        ("AVRO 'auto'", "AVRO"),
        ("ORC", "ORC"),
        ("FIXEDWIDTH 'a:1'", "FIXEDWIDTH"),
        ("SHAPEFILE", "SHAPEFILE"),
        ("ENCODING UTF16", "ENCODING UTF16"),
        ("ENCODING ISO88591", "ENCODING ISO88591"),
        ("SSH", "SSH"),
        ("ENCRYPTED", "ENCRYPTED"),
        ("COMPROWS 1000", "COMPROWS"),
    ] {
        let (state, message) = refused(options);
        assert_eq!(state, SqlState::FeatureNotSupported, "{options}");
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn what_does_not_go_together() {
    for options in [
        "CSV ESCAPE",
        "CSV REMOVEQUOTES",
        "PARQUET DELIMITER ','",
        "PARQUET MAXERROR 5",
        "PARQUET GZIP",
        "IGNOREALLERRORS MAXERROR 5",
    ] {
        let (state, message) = refused(options);
        assert_eq!(state, SqlState::SyntaxError, "{options}");
        assert!(message.contains("cannot be used with"), "{message}");
    }
    assert!(matches!(format(&parsed("PARQUET FILLRECORD")).unwrap(), LoadFormat::Parquet));
}
