//! Tests of the binder over in-memory tables, through to execution.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use base::client::Value;
use base::ids::{ColumnId, Oid};
use base::{Result, SqlState, SqlType, fail};
use datafusion::catalog::MemTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::*;
use crate::ast::{ObjectName, Statement};
use crate::relations::{At, ResolvedRelation, ResolvedTable, ResolvedTarget, ResolvedView};

mod changes;
mod tpch;

/// Tables and views in memory.
#[derive(Default)]
struct Fake {
    relations: HashMap<String, ResolvedRelation>,
    /// Tables that changes are about, with addresses.
    targets: HashMap<String, ResolvedTarget>,
}

impl Relations for Fake {
    fn resolve(&self, name: &ObjectName, _path: Option<&[String]>) -> Result<ResolvedRelation> {
        match self.relations.get(&name.last().name) {
            Some(found) => Ok(found.clone()),
            None => fail!(UndefinedTable, "relation \"{name}\" does not exist"),
        }
    }

    /// The past of every relation is another relation, named after the moment.
    fn resolve_at(
        &self,
        name: &ObjectName,
        path: Option<&[String]>,
        at: At,
    ) -> Result<ResolvedRelation> {
        let moment = match at {
            At::Timestamp(us) => format!("{}_at_{us}", name.last().name),
            At::Snapshot(n) => format!("{}_{n}", name.last().name),
        };
        self.resolve(&ObjectName(vec![crate::ast::Ident::made(moment)]), path)
    }

    fn target(&self, name: &ObjectName) -> Result<ResolvedTarget> {
        match self.targets.get(&name.last().name) {
            Some(found) => Ok(found.clone()),
            None => fail!(UndefinedTable, "relation \"{name}\" does not exist"),
        }
    }

    fn candidates(&self) -> Vec<String> {
        self.relations.keys().cloned().collect()
    }
}

impl Fake {
    fn table(&mut self, name: &str, columns: &[(&str, SqlType)], rows: &str) {
        let fields: Vec<_> =
            columns.iter().map(|(name, sql_type)| sql_type.field(*name, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batches = if rows.is_empty() { vec![] } else { vec![self.rows(columns, rows)] };
        let batches: Vec<RecordBatch> = batches
            .into_iter()
            .map(|batch| {
                RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()).unwrap()
            })
            .collect();
        let table = MemTable::try_new(schema, vec![batches]).unwrap();
        let oid = Oid(100_000 + u32::try_from(self.relations.len()).unwrap());
        let resolved = ResolvedTable {
            source: provider_as_source(Arc::new(table)),
            database: "dev".into(),
            schema: "public".into(),
            name: name.into(),
            oid,
        };
        self.relations.insert(name.into(), ResolvedRelation::Table(resolved));
    }

    fn rows(&self, columns: &[(&str, SqlType)], rows: &str) -> RecordBatch {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let casts: Vec<String> = columns
            .iter()
            .map(|(name, sql_type)| format!("cast({name} as {sql_type}) as {name}"))
            .collect();
        let text =
            format!("select {} from (values {rows}) v({})", casts.join(", "), names.join(", "));
        let (_, batches) = run(&Fake::default(), &text).unwrap();
        datafusion::arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    fn view(&mut self, name: &str, sql: &str) {
        let view = ResolvedView {
            database: "dev".into(),
            schema: "public".into(),
            name: name.into(),
            oid: Oid(200_000 + u32::try_from(self.relations.len()).unwrap()),
            sql: sql.into(),
            search_path: vec!["public".into()],
            columns: vec![],
            late_binding: false,
        };
        self.relations.insert(name.into(), ResolvedRelation::View(view));
    }
}

fn moment() -> Moment {
    // 2024-02-29 12:34:56.789 UTC.
    let us = 1_709_210_096_789_000;
    Moment { statement_us: us, transaction_us: us, time_zone: chrono_tz::Tz::UTC }
}

fn options() -> BinderOptions {
    BinderOptions { moment: moment(), ..BinderOptions::default() }
}

fn bind(fake: &Fake, text: &str) -> Result<Bound> {
    match parse(text)? {
        Statement::Query(query) => Binder::new(fake, options()).query(&query),
        other => panic!("{other:?}"),
    }
}

fn execute(plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
    let config = BinderOptions::default_config().as_ref().clone();
    let mut state = SessionStateBuilder::new()
        .with_config(SessionConfig::from(config))
        .with_default_features()
        .build();
    let own = crate::extensions();
    for function in own.scalar {
        use datafusion::execution::FunctionRegistry;
        state.register_udf(function).unwrap();
    }
    let context = SessionContext::new_with_state(state);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { context.execute_logical_plan(plan).await?.collect().await })
        .map_err(|e| error_from_datafusion(e, ""))
}

fn run(fake: &Fake, text: &str) -> Result<(Bound, Vec<RecordBatch>)> {
    let bound = bind(fake, text)?;
    let plan = bound.with_values(&[], &options())?;
    let batches = execute(plan)?;
    for batch in &batches {
        for (column, array) in bound.columns.iter().zip(batch.columns()) {
            assert_eq!(*array.data_type(), column.sql_type.arrow(), "{text}: {column:?}");
        }
    }
    Ok((bound, batches))
}

/// The first row as text, its values with `|` between.
fn row(fake: &Fake, text: &str) -> String {
    let (bound, batches) = run(fake, text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return String::new();
    };
    let rules = |array: &arrow_array::ArrayRef| {
        let text = ScalarValue::try_from_array(array, 0).unwrap();
        if text.is_null() {
            "NULL".into()
        } else {
            match crate::functions::cast::scalar(text, SqlType::Text, &options()).unwrap() {
                ScalarValue::Utf8View(Some(text)) => text,
                other => other.to_string(),
            }
        }
    };
    let _ = bound;
    batch.columns().iter().map(rules).collect::<Vec<String>>().join("|")
}

fn value(text: &str) -> String {
    row(&Fake::default(), text)
}

fn error(fake: &Fake, text: &str) -> base::Error {
    match run(fake, text) {
        Ok(_) => panic!("{text} does not fail"),
        Err(error) => error,
    }
}

fn types(fake: &Fake, text: &str) -> Vec<String> {
    let bound = bind(fake, text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    bound.columns.iter().map(|column| column.sql_type.to_string()).collect()
}

fn names(fake: &Fake, text: &str) -> Vec<String> {
    let bound = bind(fake, text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    bound.columns.iter().map(|column| column.name.clone()).collect()
}

fn sample() -> Fake {
    let mut fake = Fake::default();
    let columns = [
        ("a", SqlType::Integer),
        ("b", SqlType::BigInt),
        ("c", SqlType::Char(10)),
        ("v", SqlType::Varchar(20)),
        ("d", SqlType::Decimal { precision: 12, scale: 2 }),
        ("t", SqlType::Timestamp),
        ("e", SqlType::Date),
    ];
    fake.table(
        "t",
        &columns,
        "(1, 10, 'x', 'one', 1.50, '2024-01-01 10:00:00', '2024-01-01'), \
         (2, 20, 'y', 'two', 2.25, '2024-02-01 11:30:00', '2024-02-01'), \
         (3, 30, null, 'three', 3.00, null, null)",
    );
    fake.view("w", "select a, v, count(*) from t group by a, v");
    fake.view("w2", "select a from w");
    fake
}

#[test]
fn literals_have_redshifts_types() {
    let fake = Fake::default();
    assert_eq!(
        types(&fake, "select 1, 3000000000, 1.25, 'abc', true, null"),
        ["integer", "bigint", "numeric(3,2)", "character varying(3)", "boolean", "unknown"]
    );
    assert_eq!(
        types(&fake, "select 1 + 1, 1.5 * 2, count(*), 1::smallint + 1::smallint"),
        ["integer", "numeric(13,1)", "bigint", "smallint"]
    );
}

#[test]
fn lengths_survive_the_plan() {
    let fake = sample();
    assert_eq!(
        types(&fake, "select c, v, d, max(v) from t group by c, v, d"),
        ["character(10)", "character varying(20)", "numeric(12,2)", "character varying(20)"]
    );
    assert_eq!(
        types(&fake, "select x from (select c as x from t union all select v from t) q"),
        ["character varying(20)"]
    );
    assert_eq!(
        types(&fake, "select v::varchar(5), v::char(3), v::text, a::bigint from t"),
        ["character varying(5)", "character(3)", "character varying(256)", "bigint"]
    );
    assert_eq!(
        row(&fake, "select max(x) from (select c as x from t union all select v from t) q"),
        "y"
    );
    let bound = bind(&fake, "select v as renamed, upper(v) from (select v from t) q").unwrap();
    let origin = bound.columns[0].origin.as_ref().unwrap();
    assert_eq!((origin.column.as_str(), origin.attribute), ("v", 4));
    assert!(bound.columns[1].origin.is_none());
}

#[test]
fn names_are_redshifts() {
    let fake = sample();
    assert_eq!(
        names(
            &fake,
            "select count(*), a + 1, a, a, 1, 1, v::int, 'x'::text, case when true then 1 end \
             from t group by a, v"
        ),
        ["count", "?column?", "a", "a", "?column?", "?column?", "v", "varchar", "case"]
    );
    assert_eq!(names(&fake, "select *, a from t"), ["a", "b", "c", "v", "d", "t", "e", "a"]);
    assert_eq!(names(&fake, "select count from (select count(*) from t) x"), ["count"]);
    assert_eq!(names(&fake, "select * from (select 1, 1) x"), ["?column?", "?column?"]);
    assert_eq!(names(&fake, "select t1.a, t2.a from t t1 join t t2 on t1.a = t2.a"), ["a", "a"]);
    assert_eq!(value("select 1 as \"Foo\", 2 as foo"), "1|2");
}

#[test]
fn casts_follow_redshift() {
    assert_eq!(
        value("select 'abcdef'::varchar(3), 'ab  '::char(3), 2.5::int, -2.5::int, '12'::int"),
        "abc|ab|3|-3|12"
    );
    assert_eq!(
        value("select '2024-02-29'::date, 'Feb 29 2024'::date, 1.005::decimal(5,2)"),
        "2024-02-29|2024-02-29|1.01"
    );
    assert_eq!(
        value("select timestamp '2024-01-01 10:00:00'::varchar, true::varchar, 1.50::varchar"),
        "2024-01-01 10:00:00|true|1.50"
    );
    assert_eq!(
        value("select cast('x' as varchar(max)), convert(varchar(2), 123), 't'::bool"),
        "x|12|true"
    );
    assert_eq!(value("select cast(-32768 as smallint), try_cast('x' as int)"), "-32768|NULL");
    let fake = sample();
    assert_eq!(row(&fake, "select a::varchar(5) || 'x', v::varchar(2) from t order by a"), "1x|on");
    for (text, state) in [
        ("select 'x'::int", SqlState::InvalidTextRepresentation),
        ("select 70000::smallint", SqlState::NumericValueOutOfRange),
        ("select '2024-13-01'::date", SqlState::DatetimeFieldOverflow),
        ("select 'nonsense'::date", SqlState::InvalidDatetimeFormat),
        ("select v::int from t", SqlState::InvalidTextRepresentation),
        ("select 1 / 0", SqlState::DivisionByZero),
        ("select a / 0 from t", SqlState::DivisionByZero),
    ] {
        assert_eq!(error(&fake, text).sqlstate(), state, "{text}");
    }
}

#[test]
fn errors_name_the_place() {
    let fake = sample();
    for (text, state, position, hint) in [
        ("select nope from t", SqlState::UndefinedColumn, Some(8), None),
        ("select aa from t", SqlState::UndefinedColumn, Some(8), Some("a")),
        ("select * from nope", SqlState::UndefinedTable, Some(15), None),
        ("select a from t, t x", SqlState::AmbiguousColumn, Some(8), None),
        ("select nosuch(1)", SqlState::UndefinedFunction, Some(8), None),
        ("select x.a from t", SqlState::UndefinedTable, Some(8), None),
        ("select a, count(*) from t", SqlState::GroupingError, None, None),
        ("select 'a'::nosuch", SqlState::UndefinedObject, None, None),
    ] {
        let error = error(&fake, text);
        assert_eq!(error.sqlstate(), state, "{text}: {error:?}");
        if position.is_some() {
            assert_eq!(error.position(), position, "{text}: {error:?}");
        }
        if let Some(hint) = hint {
            assert!(error.get_hint().is_some_and(|h| h.contains(hint)), "{text}: {error:?}");
        }
    }
}

#[test]
fn views_are_expanded() {
    let fake = sample();
    assert_eq!(row(&fake, "select a, count from w where a = 2"), "2|1");
    let bound = bind(&fake, "select * from w2").unwrap();
    assert_eq!(bound.relations.len(), 3);
    assert!(bound.relations[0].through.is_none());
    assert!(bound.relations[2].through.is_some());
    let mut looped = sample();
    looped.view("l", "select * from l");
    assert_eq!(error(&looped, "select * from l").sqlstate(), SqlState::InvalidObjectDefinition);
}

#[test]
fn forms_of_redshift() {
    let fake = sample();
    for (text, expected) in [
        ("select top 1 a from t order by a desc", "3"),
        ("select 1 from (select 2)", "1"),
        ("select a from t minus select 1 minus select 2", "3"),
        ("select * exclude (b, c, v, d, t, e) from t order by 1 limit 1", "1"),
        ("select approximate count(distinct a) from t", "3"),
        ("select a from t qualify row_number() over (order by a desc) = 1", "3"),
        ("select count(*) from t where v ilike 'T%'", "2"),
        ("select count(*) from t where v ~ '^t' and v !~ 'o$'", "1"),
        ("select count(*) from t where v similar to '%(w|h)%'", "2"),
        ("select e + interval '1 day' from t order by a", "2024-01-02 00:00:00"),
        ("select a from t order by t desc", "3"),
        ("select a from t order by t", "1"),
        ("select pg_catalog.upper('x')", "X"),
        ("select 1 as x, x + 1 as y, y * 2", "1|2|4"),
        ("select a, (select o.v from t o where o.a = x.a + 1) from t x order by a", "1|two"),
        (
            "select a, (select o.a from t o where o.a = x.a and v > 'x') from t x order by 1",
            "1|NULL",
        ),
        (
            "with recursive r(n) as (select 1 union all select n + 1 from r where n < 5) \
          select max(n) from r",
            "5",
        ),
    ] {
        assert_eq!(row(&fake, text), expected, "{text}");
    }
}

#[test]
fn dates_and_formats_have_redshifts_meaning() {
    for (text, expected) in [
        (
            "select dateadd(month, 1, date '2024-01-31'), dateadd('hour', -1, '2024-01-01 00:30')",
            "2024-02-29 00:00:00|2023-12-31 23:30:00",
        ),
        (
            "select datediff(year, '2008-12-31', '2009-01-01'), datediff(day, '2024-01-01', \
             '2024-03-01')",
            "1|60",
        ),
        (
            "select date_part(dow, date '2024-02-29'), extract(year from date '2024-02-29')",
            "4|2024",
        ),
        (
            "select last_day(date '2024-02-05'), next_day(date '2024-02-29', 'Thursday')",
            "2024-02-29|2024-03-07",
        ),
        (
            "select add_months(date '2023-04-30', 1), months_between(date '2024-03-31', date \
             '2024-02-29')",
            "2023-05-31 00:00:00|1",
        ),
        ("select date '2024-03-01' - date '2024-02-28', date '2024-02-28' + 2", "2|2024-03-01"),
        (
            "select convert_timezone('America/New_York', timestamp '2024-01-01 12:00:00')",
            "2024-01-01 07:00:00",
        ),
        (
            "select trunc(timestamp '2024-02-29 10:00:00'), trunc(12.378, 1), trunc(-1.9::float)",
            "2024-02-29|12.300|-1",
        ),
        (
            "select to_char(date '2024-02-29', 'DD Mon YYYY'), to_char(1234.5, '9,999.99')",
            "29 Feb 2024| 1,234.50",
        ),
        (
            "select to_date('29 Feb 2024', 'DD Mon YYYY'), to_number('1,234.5-', '9,999D9S')",
            "2024-02-29|-1234.5",
        ),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn other_functions_have_redshifts_meaning() {
    for (text, expected) in [
        ("select nvl(null, 2), nvl2(null, 1, 3), decode(null, 1, 'a', null, 'b', 'c')", "2|3|b"),
        ("select len('abc'), charindex('b', 'abc'), mod(7, 4), concat('a', null)", "3|2|3|NULL"),
        (
            "select left('abc', 2), right('abc', 2), split_part('a-b', '-', 2), replace('aa', \
             'a', 'b')",
            "ab|bc|b|bb",
        ),
        (
            "select regexp_substr('ab12', '[0-9]+'), regexp_replace('aXbX', 'X'), \
             regexp_count('aa', 'a')",
            "12|ab|2",
        ),
        (
            "select md5('a'), sha2('a', 256)",
            "0cc175b9c0f1b6a831c399e269772661|ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        ),
        (
            "select listagg(v, ',') within group (order by v) from (select 'b' as v union all \
             select 'a') t",
            "a,b",
        ),
        (
            "select median(x), percentile_cont(0.5) within group (order by x) from (select \
             1.0::float as x union all select 3) t",
            "2|2",
        ),
        ("select ratio_to_report(x) over () from (select 4 as x) t", "1"),
        ("select greatest(1, null, 3), least(2, null), 2 ^ 3, 7 / 2", "3|2|8|3"),
        ("select strtol('ff', 16), quote_ident('A b'), trim(both 'x' from 'xax')", "255|\"A b\"|a"),
        ("select date_trunc('month', timestamp '2024-02-29 10:00:00')", "2024-02-01 00:00:00"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn the_present_is_one_value() {
    assert_eq!(
        value("select getdate(), sysdate, current_date"),
        "2024-02-29 12:34:56|2024-02-29 12:34:56.789|2024-02-29"
    );
}

#[test]
fn parameters_are_inferred() {
    let fake = sample();
    let types = |text: &str| {
        let bound = bind(&fake, text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        bound.parameters.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(types("select * from t where a = $1 and v = $2"), ["integer", "text"]);
    assert_eq!(types("select $1"), ["text"]);
    assert_eq!(types("select $1::int + 1, $2"), ["integer", "text"]);
    let bound = bind(&fake, "select v from t where a = $1").unwrap();
    let plan = bound.with_values(&[Value::Text("2".into())], &options()).unwrap();
    assert_eq!(execute(plan).unwrap()[0].num_rows(), 1);
    let wrong = bound.with_values(&[Value::Text("x".into())], &options()).unwrap_err();
    assert_eq!(wrong.sqlstate(), SqlState::InvalidTextRepresentation);
    let few = bound.with_values(&[], &options()).unwrap_err();
    assert_eq!(few.sqlstate(), SqlState::ProtocolViolation);
}

fn target() -> InsertTarget {
    let column = |id: u32, name: &str, sql_type| catalog::Column {
        id: ColumnId(id),
        name: name.into(),
        sql_type,
        nullable: true,
        default: None,
        identity: None,
        encode: None,
        case_insensitive: false,
        comment: None,
        fill: None,
    };
    let mut columns = vec![
        column(1, "id", SqlType::BigInt),
        column(2, "n", SqlType::SmallInt),
        column(3, "v", SqlType::Varchar(5)),
        column(4, "c", SqlType::Char(4)),
        column(5, "d", SqlType::Decimal { precision: 6, scale: 2 }),
        column(6, "at", SqlType::Timestamp),
    ];
    columns[0].identity = Some(catalog::Identity { seed: 100, step: 10, by_default: false });
    columns[1].nullable = false;
    columns[5].default = Some("getdate()".into());
    InsertTarget {
        table: Arc::new(catalog::Table {
            oid: Oid(100_500),
            schema: Oid(2_200),
            name: "target".into(),
            owner: Oid(1),
            columns,
            next_column: ColumnId(7),
            distribution: catalog::Distribution {
                declared: catalog::DistStyle::Even,
                effective: catalog::DistStyle::Even,
            },
            sort_key: catalog::SortKey::None,
            constraints: vec![],
            backup: true,
            temporary: None,
            created_us: 0,
            comment: None,
        }),
    }
}

fn insert(fake: &Fake, text: &str) -> Result<Vec<RecordBatch>> {
    let Statement::Insert(statement) = parse(text)? else { panic!("{text}") };
    let bound = Binder::new(fake, options()).insert(&statement, &target())?;
    let next = HashMap::from([(ColumnId(1), 100)]);
    execute(bound.with_values(&[], &next, &options())?)
}

#[test]
fn insert_assigns_and_checks() {
    let fake = sample();
    let show = |text: &str| {
        let batches = insert(&fake, text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let target = target();
        for batch in &batches {
            for (column, array) in target.table.columns.iter().zip(batch.columns()) {
                assert_eq!(*array.data_type(), column.sql_type.arrow(), "{text}");
            }
        }
        datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
    };
    let shown = show(
        "insert into target (n, v, c, d) values (1, 'abc', 'x  ', 1.005), ('2', default, null, 3)",
    );
    assert!(shown.contains("| 100 | 1 | abc | x | 1.01 | 2024-02-29T12:34:56 |"), "{shown}");
    assert!(shown.contains("| 110 | 2 |     |   | 3.00 | 2024-02-29T12:34:56 |"), "{shown}");
    let shown =
        show("insert into target (v, n) select v::varchar(5), a from t where a < 3 order by a");
    assert!(shown.contains("| 100 | 1 | one |"), "{shown}");
    assert!(show("insert into target (n, v) values (5, 'abc     ')").contains("abc   |"));
    for (text, state) in [
        ("insert into target (n, v) values (1, 'toolong')", SqlState::StringDataRightTruncation),
        (
            "insert into target (n, v) select a, 'far too long' from t",
            SqlState::StringDataRightTruncation,
        ),
        ("insert into target (v) values ('x')", SqlState::NotNullViolation),
        ("insert into target (n) values (null)", SqlState::NotNullViolation),
        ("insert into target (n) select null from t", SqlState::NotNullViolation),
        ("insert into target (n) values (70000)", SqlState::NumericValueOutOfRange),
        ("insert into target (n, d) values (1, 123456)", SqlState::NumericValueOutOfRange),
        ("insert into target (id, n) values (1, 1)", SqlState::DatatypeMismatch),
        ("insert into target (nope) values (1)", SqlState::UndefinedColumn),
        ("insert into target (n, n) values (1, 2)", SqlState::DuplicateColumn),
        ("insert into target (n) values (1, 2)", SqlState::SyntaxError),
        ("insert into target (n, v) values (1)", SqlState::SyntaxError),
        ("insert into target (n) select current_date", SqlState::DatatypeMismatch),
    ] {
        let error = insert(&fake, text).map(drop).expect_err(text);
        assert_eq!(error.sqlstate(), state, "{text}: {error:?}");
    }
    let long = insert(&fake, "insert into target (n, v) values (1, 'toolong')").unwrap_err();
    assert_eq!(long.message(), "value too long for type character varying(5)");
}

#[test]
fn insert_types_its_parameters() {
    let fake = sample();
    let Statement::Insert(statement) =
        parse("insert into target (n, v, d) values ($1, $2, $3)").unwrap()
    else {
        panic!("not INSERT");
    };
    let bound = Binder::new(&fake, options()).insert(&statement, &target()).unwrap();
    let shown: Vec<String> = bound.parameters.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["smallint", "character varying(5)", "numeric(6,2)"]);
}
