//! Tests of the parser, over the reference statements and mutations of them.

use base::{SqlState, SqlType};

use super::*;
use crate::ast::*;

/// Statements of Redshift's, one per form; separated by lines of `--;;`.
const REFERENCE: &str = include_str!("../../tests/reference/redshift-statements.sql");

fn reference() -> impl Iterator<Item = &'static str> {
    REFERENCE.split("\n--;;\n").map(str::trim).filter(|text| !text.is_empty())
}

fn fails(text: &str) -> (SqlState, String, Option<u32>) {
    let error = parse(text).unwrap_err();
    (error.sqlstate(), error.message().to_owned(), error.position())
}

#[test]
fn every_reference_statement_parses_or_is_refused_by_name() {
    let mut refused = Vec::new();
    for text in reference() {
        match parse(text) {
            Ok(statement) => assert!(!statement.command().is_empty(), "{text}"),
            Err(error) if error.sqlstate() == SqlState::FeatureNotSupported => {
                assert!(error.message().contains("not supported"), "{text}: {error}");
                refused.push((text, error.message().to_owned()));
            }
            Err(error) => {
                // The types that are not served are found before the command is complete.
                refused.push((text, format!("{} {}", error.sqlstate().code(), error.message())));
            }
        }
    }
    let list: Vec<String> = refused
        .iter()
        .map(|(text, message)| {
            format!("{message} <- {}", text.chars().take(60).collect::<String>())
        })
        .collect();
    expect_refusals(&list);
}

/// Syntax errors are allowed only where the statement is none of ours.
fn expect_refusals(list: &[String]) {
    let wrong: Vec<&String> = list.iter().filter(|line| line.starts_with("42")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn mutations_never_panic() {
    let statements: Vec<&str> = reference().collect();
    // A fixed linear congruence: the same mutations in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
    };
    for round in 0..6_000 {
        let mut text: Vec<char> = statements[random(statements.len())].chars().collect();
        for _ in 0..=random(4) {
            let at = random(text.len());
            match random(5) {
                0 if !text.is_empty() => drop(text.remove(at)),
                1 => text.insert(at, ['(', ')', '\'', '"', ',', ';', '$', '\\'][random(8)]),
                2 => text.truncate(at),
                3 => {
                    let other: Vec<char> = statements[random(statements.len())].chars().collect();
                    let from = random(other.len());
                    text.splice(at..at, other[from..].iter().take(30).copied());
                }
                _ => {
                    let end = (at + random(20)).min(text.len());
                    text.drain(at..end);
                }
            }
        }
        let text: String = text.into_iter().collect();
        let _ = crate::split(&text);
        if let Err(error) = parse(&text) {
            assert_ne!(error.sqlstate(), SqlState::InternalError, "round {round}: {text}");
        }
    }
}

#[test]
fn syntax_errors_are_postgresqls() {
    assert_eq!(
        fails("select 1 +"),
        (SqlState::SyntaxError, "syntax error at end of input".into(), Some(11))
    );
    assert_eq!(
        fails("selec 1"),
        (SqlState::SyntaxError, "syntax error at or near \"selec\"".into(), Some(1))
    );
    assert_eq!(
        fails("select * FROM t WHERE AND x"),
        (SqlState::SyntaxError, "syntax error at or near \"AND\"".into(), Some(23))
    );
    assert_eq!(
        fails("create table t (a int,)"),
        (SqlState::SyntaxError, "syntax error at or near \")\"".into(), Some(23))
    );
    assert_eq!(fails("select 'ä' frm t x").2, Some(16));
    assert_eq!(fails("select 1; select 2").0, SqlState::SyntaxError);
    assert!(parse("SELEC 1").unwrap_err().get_hint().is_some_and(|hint| hint.contains("SELECT")));
    assert_eq!(fails("create library l language plpythonu").0, SqlState::FeatureNotSupported);
}

#[test]
fn routines_have_arguments_clauses_and_a_place_for_the_body() {
    let text = "create or replace procedure s.p(a in int, inout b varchar(9), c out refcursor, \
                double precision) nonatomic as $x$BEGIN NULL; END$x$ language plpgsql \
                security definer set query_group to x";
    let Statement::CreateRoutine(create) = parse(text).unwrap() else { panic!() };
    let modes: Vec<ArgumentMode> = create.arguments.iter().map(|one| one.mode).collect();
    use ArgumentMode::{In, InOut, Out};
    assert_eq!(modes, [In, InOut, Out, In]);
    assert_eq!(create.arguments[2].sql_type, RoutineType::RefCursor);
    assert!(create.arguments[3].name.is_none());
    assert!(create.or_replace && create.nonatomic && create.security_definer);
    assert_eq!(create.body, "BEGIN NULL; END");
    assert_eq!(create.body_position as usize, text.find("BEGIN").unwrap() + 1);
    assert_eq!(create.settings[0].0.name, "query_group");
    let Statement::DropRoutines(drop) = parse("drop procedure if exists p(int), q").unwrap() else {
        panic!()
    };
    assert!(drop.if_exists && drop.routines[1].arguments.is_none());
    for (text, position) in [
        ("create procedure p() language plpgsql", 38),
        ("create procedure p(a int = 1) as $$ $$ language plpgsql", 26),
        ("create function f(int) as $$ $$ language sql", 24),
        ("call p", 7),
    ] {
        assert_eq!(fails(text).2, Some(position), "{text}");
    }
}

#[test]
fn too_much_is_refused_at_once() {
    let started = std::time::Instant::now();
    let text = format!("select 1 where {}", vec!["a = 1"; 100_000].join(" or "));
    assert_eq!(fails(&text).0, SqlState::StatementTooComplex);
    let deep = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(fails(&deep).0, SqlState::StatementTooComplex);
    let fine = format!("select {}1{}", "(".repeat(300), ")".repeat(300));
    assert!(parse(&fine).is_ok());
    let subqueries = format!("{}select 1{}", "select * from (".repeat(200), ") x".repeat(200));
    assert!(parse(&subqueries).is_ok());
    let long = format!("select 1 where {}", vec!["a = 1"; 9_000].join(" or "));
    assert!(parse(&long).is_ok());
    assert!(started.elapsed().as_secs() < 10);
}

#[test]
fn create_table_keeps_every_attribute() {
    let Statement::CreateTable(create) = parse(
        "create local temp table if not exists s.T1 (\
         id bigint identity(5, -2) encode az64 distkey, \
         name varchar(max) default 'x' || 'y' not null collate case_insensitive, \
         d decimal(12,2) null sortkey, c char(10) unique, t timestamp with time zone, \
         \"Quoted\" double precision references other(a), \
         unique (id, name), constraint pk primary key (id), foreign key (id) references o, \
         like p including defaults) backup no diststyle key distkey(id) \
         interleaved sortkey(id, d) encode auto",
    )
    .unwrap() else {
        panic!("not CREATE TABLE");
    };
    assert!(create.temporary && create.if_not_exists);
    assert_eq!(create.name.to_string(), "s.t1");
    let columns: Vec<&ColumnDef> = create
        .elements
        .iter()
        .filter_map(|element| match element {
            TableElement::Column(column) => Some(column),
            _ => None,
        })
        .collect();
    assert_eq!(columns.len(), 6);
    let identity = IdentityDef { seed: 5, step: -2, by_default: false };
    assert_eq!(columns[0].identity, Some(identity));
    assert!(columns[0].distkey);
    assert_eq!(columns[0].encode.as_ref().unwrap().name, "az64");
    assert_eq!(columns[1].sql_type, SqlType::Varchar(65_535));
    assert_eq!(columns[1].default.as_ref().unwrap().text, "'x' || 'y'");
    assert!(columns[1].not_null);
    assert_eq!(columns[1].collate, Some(Collation::CaseInsensitive));
    assert_eq!(columns[2].sql_type, SqlType::Decimal { precision: 12, scale: 2 });
    assert_eq!(columns[4].sql_type, SqlType::TimestampTz);
    assert_eq!(columns[5].name.name, "quoted");
    assert_eq!(create.elements.len(), 10);
    assert_eq!(create.attributes.backup, Some(false));
    assert_eq!(create.attributes.dist_style, Some(DistStyle::Key));
    assert!(matches!(&create.attributes.sort_key, Some(SortKey::Interleaved(c)) if c.len() == 2));
    assert!(create.attributes.encode_auto);
    assert!(
        matches!(parse("create table #t (a int)"), Ok(Statement::CreateTable(c)) if c.temporary)
    );
    assert_eq!(fails("create table t (a serial)").0, SqlState::FeatureNotSupported);
    assert_eq!(fails("create table t (a varchr(5))").0, SqlState::UndefinedObject);
    assert_eq!(fails("create table t (a varchar(70000))").0, SqlState::InvalidParameterValue);
}

#[test]
fn tables_from_queries() {
    let Statement::CreateTableAs(ctas) =
        parse("create table t (x, y) diststyle even sortkey auto as select 1, 2").unwrap()
    else {
        panic!("not CREATE TABLE AS");
    };
    assert_eq!(ctas.columns.len(), 2);
    assert_eq!(ctas.query.text, "select 1, 2");
    let Statement::CreateTableAs(into) = parse("select a into temp n from t").unwrap() else {
        panic!("not SELECT INTO");
    };
    assert!(into.temporary);
    let Statement::CreateView(view) =
        parse("create or replace view v (a) as select 1 with no schema binding").unwrap()
    else {
        panic!("not CREATE VIEW");
    };
    assert!(view.or_replace && view.late_binding);
    assert_eq!(view.query.text, "select 1");
}

#[test]
fn copy_options_are_typed() {
    let Statement::Copy(copy) = parse(
        "copy s.t (a, b) from 's3://b/p' credentials 'aws_access_key_id=A;aws_secret_access_key=B' \
         csv quote as '~' delimiter as '|' ignoreheader as 1 null as '\\\\N' gzip maxerror as 7 \
         dateformat 'auto' timeformat as 'epochsecs' region as 'eu-west-1' acceptinvchars '^' \
         compupdate off statupdate on manifest encoding utf16le",
    )
    .unwrap() else {
        panic!("not COPY");
    };
    assert_eq!(copy.from.kind, CopySourceKind::S3);
    assert_eq!(copy.format, CopyFormat::Csv { quote: Some("~".into()) });
    let options = &copy.options;
    assert_eq!(options.delimiter.as_deref(), Some("|"));
    assert_eq!((options.ignore_header, options.max_error), (1, Some(7)));
    assert_eq!(options.null_as.as_deref(), Some("\\N"));
    assert_eq!(options.compression, CopyCompression::Gzip);
    assert_eq!(options.time_format, Some(CopyTimeFormat::EpochSecs));
    assert_eq!(options.accept_inv_chars, Some('^'));
    assert_eq!(options.comp_update, Some(CopyCompUpdate::Off));
    assert_eq!(options.encoding, CopyEncoding::Utf16Le);
    assert!(options.manifest);
    assert!(!format!("{copy:?}").contains("=B"), "a secret is printed");
    let error = parse("copy t from 's3://b' iam_role default ignorheader 1").unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::SyntaxError);
    assert_eq!(error.position(), Some(39));
    assert_eq!(error.get_hint(), Some("Did you mean IGNOREHEADER?"));
    assert_eq!(fails("copy t from 's3://b' format as xml").0, SqlState::SyntaxError);
    assert_eq!(fails("copy t from 's3://b' csv csv").0, SqlState::SyntaxError);
}

#[test]
fn settings_and_show() {
    let set = |text: &str| match parse(text).unwrap() {
        Statement::Set(set) => set,
        other => panic!("{other:?}"),
    };
    let values = |texts: &[&str]| SetValue::Values(texts.iter().map(|&t| t.into()).collect());
    for (text, name, value) in [
        ("set search_path to '$user', Public", "search_path", values(&["$user", "public"])),
        ("SET SESSION query_group = 'x y'", "query_group", values(&["x y"])),
        ("set statement_timeout to 5000", "statement_timeout", values(&["5000"])),
        ("set a.b = default", "a.b", SetValue::Default),
        ("set datestyle to iso, mdy", "datestyle", values(&["iso", "mdy"])),
        ("set x to -3", "x", values(&["-3"])),
    ] {
        let SetWhat::Parameter { name: found, value: given } = set(text).what else {
            panic!("{text}");
        };
        assert_eq!((found.name.as_str(), given), (name, value), "{text}");
    }
    assert!(matches!(set("set time zone 'Europe/Paris'").what, SetWhat::TimeZone(_)));
    assert!(matches!(
        set("set session authorization default").what,
        SetWhat::SessionAuthorization(None)
    ));
    assert!(set("set local x = 1").local);
    let show = |text: &str| match parse(text).unwrap() {
        Statement::Show(show) => show,
        other => panic!("{other:?}"),
    };
    assert!(matches!(show("show transaction isolation level"),
        Show::Parameter(name) if name.name == "transaction_isolation"));
    assert!(matches!(show("SHOW TABLES FROM SCHEMA $1.$2 LIKE $3;"),
        Show::Tables { schema, filter } if schema.len() == 2
            && filter.like == Some(Operand::Parameter(3))));
    assert!(matches!(show("show search_path"), Show::Parameter(_)));
    assert!(matches!(show("show table t"), Show::Table(_)));
}

#[test]
fn the_rest_of_the_commands() {
    for (text, command) in [
        ("begin transaction isolation level serializable, read only", "BEGIN"),
        ("end work", "COMMIT"),
        ("abort", "ROLLBACK"),
        ("declare \"srv\" cursor without hold for select 1", "DECLARE CURSOR"),
        ("fetch forward 5 from srv", "FETCH"),
        ("close all", "CLOSE CURSOR"),
        ("deallocate prepare all", "DEALLOCATE"),
        ("insert into t (select 1)", "INSERT"),
        ("insert into t values (1, default)", "INSERT"),
        ("insert into t default values", "INSERT"),
        ("delete sales where a = 1", "DELETE"),
        ("explain analyze verbose select 1", "EXPLAIN"),
        ("alter table t alter sortkey none, alter diststyle even", "ALTER TABLE"),
        ("comment on table t is null", "COMMENT"),
        ("create user u password disable createuser", "CREATE USER"),
        ("grant select on all tables in schema s to public", "GRANT"),
        ("vacuum", "VACUUM"),
        ("-- nothing", ""),
        ("savepoint s", "SAVEPOINT"),
        ("savepoint savepoint", "SAVEPOINT"),
        ("release s", "RELEASE"),
        ("release savepoint savepoint", "RELEASE"),
        ("rollback to s", "ROLLBACK TO SAVEPOINT"),
        ("rollback work to savepoint s", "ROLLBACK TO SAVEPOINT"),
        ("rollback transaction", "ROLLBACK"),
        ("start transaction read only", "START TRANSACTION"),
        ("set transaction isolation level read committed", "SET"),
        ("set session characteristics as transaction read only", "SET"),
        ("lock table a, b in access exclusive mode", "LOCK TABLE"),
        ("undrop table t", "UNDROP TABLE"),
        ("alter system set time_travel_retention = 3600", "ALTER SYSTEM"),
        ("alter system reset time_travel_retention", "ALTER SYSTEM"),
        ("create table t clone u at (timestamp '2026-01-01 00:00:00')", "CREATE TABLE CLONE"),
        ("create temp table if not exists t clone s.u at (snapshot => 5)", "CREATE TABLE CLONE"),
        (
            "create table t clone u at (timestamp => getdate() - interval '1 hour')",
            "CREATE TABLE CLONE",
        ),
        ("alter table t append from s ignoreextra", "ALTER TABLE"),
        ("alter database d isolation level snapshot", "ALTER DATABASE"),
        ("analyze compression t (a, b) comprows 1000", "ANALYZE COMPRESSION"),
        ("analyze verbose t (a) all columns", "ANALYZE"),
        ("prepare p as merge into t using s on t.a = s.a when matched then delete", "PREPARE"),
        ("explain delete t", "EXPLAIN"),
        ("with a (x) as (select 1), b as (select 2) delete t using a", "DELETE"),
        ("with a as (select 1) select * from a", "SELECT"),
        ("with a as (select 1) update t set b = 1", "UPDATE"),
        ("with a as (select 1) insert into t with b as (select 2) select 1", "INSERT"),
        ("merge into t as x using u y on x.a = y.a when matched then delete", "MERGE"),
        ("merge into t using (select 1 as a) y on t.a = y.a remove duplicates", "MERGE"),
    ] {
        assert_eq!(parse(text).unwrap().command(), command, "{text}");
    }
}

#[test]
fn transaction_modes_and_upkeep() {
    for (words, isolation) in [
        ("read uncommitted", Isolation::ReadUncommitted),
        ("read committed", Isolation::ReadCommitted),
        ("repeatable read", Isolation::RepeatableRead),
        ("serializable", Isolation::Serializable),
        ("snapshot", Isolation::Snapshot),
    ] {
        let text = format!("begin isolation level {words}, read only");
        let Statement::Begin(begin) = parse(&text).unwrap() else { panic!("{text}") };
        let modes = TransactionModes { isolation: Some(isolation), read_only: Some(true) };
        assert_eq!(begin.modes, modes, "{text}");
    }
    let Statement::Vacuum(vacuum) = parse("vacuum full sales to 75 percent boost").unwrap() else {
        panic!("not VACUUM");
    };
    assert_eq!((vacuum.kind, vacuum.threshold_percent), (VacuumKind::Full, Some(75)));
    assert!(vacuum.boost && vacuum.table.is_some());
    for (text, state, position) in [
        ("vacuum reindex", SqlState::SyntaxError, None),
        ("vacuum reindex t to 9 percent", SqlState::SyntaxError, None),
        ("vacuum recluster t to 9 percent", SqlState::SyntaxError, None),
        ("vacuum to 9 percent", SqlState::SyntaxError, None),
        ("vacuum t to 101 percent", SqlState::InvalidParameterValue, Some(13)),
        ("vacuum t (a)", SqlState::SyntaxError, None),
        ("lock t in share mode", SqlState::FeatureNotSupported, Some(8)),
        ("begin isolation level chaos", SqlState::SyntaxError, Some(23)),
        ("rollback to", SqlState::SyntaxError, Some(12)),
        ("create table t clone", SqlState::SyntaxError, Some(21)),
        ("create table t clone s at (offset => 1)", SqlState::SyntaxError, Some(28)),
        ("update t set a = 1 limit 1", SqlState::SyntaxError, Some(20)),
        ("update set a = 1", SqlState::SyntaxError, Some(8)),
        ("delete from where a = 1", SqlState::SyntaxError, Some(13)),
        ("merge into t using s on a = b", SqlState::SyntaxError, Some(30)),
        ("insert into t values (1) returning a", SqlState::FeatureNotSupported, Some(26)),
        ("commit prepared 'x'", SqlState::FeatureNotSupported, Some(8)),
    ] {
        let (found, message, at) = fails(text);
        assert_eq!(found, state, "{text}: {message}");
        if position.is_some() {
            assert_eq!(at, position, "{text}: {message}");
        }
    }
}

#[test]
fn written_tables_are_told_with_their_mode() {
    let written = |text: &str| {
        let statement = parse(text).unwrap();
        let written = statement.written().into_iter();
        written.map(|one| (one.table.to_string(), one.mode)).collect::<Vec<_>>()
    };
    for (text, expected) in [
        ("select * from t", &[][..]),
        ("insert into a.t select * from u", &[("a.t", LockMode::Append)]),
        ("copy t from 's3://b/k' iam_role default", &[("t", LockMode::Append)]),
        ("delete t using u", &[("t", LockMode::Modify)]),
        ("update t x set a = 1", &[("t", LockMode::Modify)]),
        ("merge into t using u on t.a = u.a when matched then delete", &[("t", LockMode::Modify)]),
        ("truncate t", &[("t", LockMode::Exclusive)]),
        ("lock a, b", &[("a", LockMode::Exclusive), ("b", LockMode::Exclusive)]),
        ("drop table a, b", &[("a", LockMode::Exclusive), ("b", LockMode::Exclusive)]),
        ("alter table t append from s", &[("t", LockMode::Exclusive), ("s", LockMode::Exclusive)]),
        ("explain delete t", &[]),
        ("explain analyze delete t", &[("t", LockMode::Modify)]),
        ("vacuum t", &[]),
    ] {
        let expected: Vec<(String, LockMode)> =
            expected.iter().map(|(table, mode)| ((*table).to_owned(), *mode)).collect();
        assert_eq!(written(text), expected, "{text}");
    }
    assert!(LockMode::Append < LockMode::Modify && LockMode::Modify < LockMode::Exclusive);
}
