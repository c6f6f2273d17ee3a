//! What the parser takes and refuses.

use base::SqlState;

use super::parse;
use crate::tree::{RowSource, StatementKind};

fn fault(text: &str) -> (SqlState, Option<u32>, String) {
    let error = parse(text, &[]).unwrap_err();
    (error.sqlstate(), error.position(), error.message().to_owned())
}

#[test]
fn statements_know_their_lines_and_fragments_their_places() {
    let block = parse(
        "\nDECLARE\n  a int := 1;\nBEGIN\n  a := a + 1;\n  SELECT b INTO a FROM t;\nEND;",
        &[],
    );
    let block = block.unwrap();
    assert_eq!((block.declarations[0].line, block.line), (3, 4));
    let lines: Vec<u32> = block.statements.iter().map(|statement| statement.line).collect();
    assert_eq!(lines, [5, 6]);
    let StatementKind::Assign { value, .. } = &block.statements[0].kind else { panic!() };
    assert_eq!((value.text.as_str(), value.position, value.line), ("a + 1", 37, 5));
    let StatementKind::Sql { sql, into } = &block.statements[1].kind else { panic!() };
    assert_eq!(sql.text, "SELECT b        FROM t");
    assert_eq!(into.as_ref().unwrap().targets[0].name, "a");
}

#[test]
fn into_belongs_to_insert() {
    let block = parse("BEGIN INSERT INTO t SELECT 1; END", &[]).unwrap();
    let StatementKind::Sql { sql, into: None } = &block.statements[0].kind else { panic!() };
    assert_eq!(sql.text, "INSERT INTO t SELECT 1");
}

#[test]
fn case_expressions_hold_their_own_words() {
    let text = "BEGIN IF CASE WHEN true THEN 1 ELSE 2 END = 1 THEN NULL; END IF; END";
    let block = parse(text, &[]).unwrap();
    let StatementKind::If { branches, .. } = &block.statements[0].kind else { panic!() };
    assert_eq!(branches[0].0.text, "CASE WHEN true THEN 1 ELSE 2 END = 1");
}

#[test]
fn loops_over_rows_numbers_and_cursors() {
    let text = "DECLARE r record; c CURSOR FOR SELECT 1; BEGIN
        FOR i IN REVERSE 3..1 BY 2 LOOP NULL; END LOOP;
        FOR r IN SELECT 1..2 FROM t LOOP NULL; END LOOP;
        END";
    // A range anywhere makes it a loop over numbers, as in PostgreSQL.
    assert!(parse(text, &[]).is_ok());
    let text = "DECLARE r record; c CURSOR (a int) FOR SELECT 1; BEGIN
        FOR r IN c(1) LOOP NULL; END LOOP;
        FOR r IN EXECUTE 'x' USING 1, 2 LOOP NULL; END LOOP;
        END";
    let block = parse(text, &[]).unwrap();
    let StatementKind::ForRows { rows, .. } = &block.statements[0].kind else { panic!() };
    assert!(
        matches!(rows, RowSource::Cursor { name, arguments } if name == "c" && arguments.len() == 1)
    );
    let StatementKind::ForRows { rows, .. } = &block.statements[1].kind else { panic!() };
    assert!(matches!(rows, RowSource::Execute { using, .. } if using.len() == 2));
}

#[test]
fn faults_have_places() {
    use SqlState::{FeatureNotSupported, InvalidParameterValue, SyntaxError};
    let cases = [
        ("BEGIN x := 1; END", SyntaxError, 7, "not a known variable"),
        ("BEGIN IF true THEN NULL; END", SyntaxError, 29, "end of input"),
        ("BEGIN NULL; END x", SyntaxError, 17, "unlabelled block"),
        ("BEGIN NULL END", SyntaxError, 12, "\"END\""),
        ("BEGIN RAISE INFO '%'; END", SyntaxError, 18, "too few parameters"),
        ("DECLARE a CONSTANT int := 1; BEGIN a := 2; END", InvalidParameterValue, 36, "CONSTANT"),
        ("DECLARE a int; a int; BEGIN NULL; END", SyntaxError, 16, "duplicate"),
        ("BEGIN PREPARE x AS SELECT 1; END", FeatureNotSupported, 7, "PREPARE"),
        (
            "BEGIN NULL; EXCEPTION WHEN division_by_zero THEN NULL; END",
            FeatureNotSupported,
            28,
            "OTHERS",
        ),
        ("BEGIN SELECT (1; END", SyntaxError, 16, "parentheses"),
        ("BEGIN EXIT; END", SyntaxError, 11, "outside a loop"),
        ("BEGIN LOOP EXIT x; END LOOP; END", SyntaxError, 17, "no label \"x\""),
        ("<<b>> BEGIN CONTINUE b; END", SyntaxError, 22, "CONTINUE"),
    ];
    for (text, state, position, part) in cases {
        let (found, place, message) = fault(text);
        assert_eq!((found, place), (state, Some(position)), "{text}: {message}");
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn limits_are_kept() {
    let deep = "BEGIN ".repeat(5_000);
    assert_eq!(fault(&deep).0, SqlState::StatementTooComplex);
    let many: String = (0..2_000).map(|n| format!("v{n} int;")).collect();
    assert_eq!(fault(&format!("DECLARE {many} BEGIN NULL; END")).0, SqlState::ProgramLimitExceeded);
    assert_eq!(fault(&" ".repeat(3 << 20)).0, SqlState::ProgramLimitExceeded);
}

/// Cut and mutated bodies give an error or a tree, never a panic.
#[test]
fn no_text_panics() {
    let text = "<<l>> DECLARE a int := 1; c CURSOR (x int) FOR SELECT x; r record; BEGIN \
        FOR i IN 1..2 BY 3 LOOP EXIT l WHEN a = $1; END LOOP; OPEN c(1); FETCH c INTO a; \
        RAISE INFO 'x %', a USING HINT = 'h'; EXECUTE 'x' INTO r USING 1; \
        CASE a WHEN 1 THEN NULL; ELSE NULL; END CASE; EXCEPTION WHEN OTHERS THEN RAISE; END l";
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        drop(parse(&text[..end], &["p".to_owned()]));
        drop(parse(&text[end..], &[]));
        let without = format!("{}{}", &text[..end], text.get(end + 3..).unwrap_or(""));
        drop(parse(&without, &[]));
    }
    assert!(parse(text, &["p".to_owned()]).is_ok());
}
