//! DELETE, UPDATE and MERGE, through to the rows that say what happens.

use arrow_array::{ArrayRef, Int64Array};
use base::segment::ROW_ADDRESS;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;
use crate::{BoundChange, ChangeShape, Repeats};

fn table(name: &str, columns: Vec<catalog::Column>) -> Arc<catalog::Table> {
    let mut table = target().table.as_ref().clone();
    table.name = name.into();
    table.columns = columns;
    Arc::new(table)
}

fn column(id: u32, name: &str, sql_type: SqlType) -> catalog::Column {
    let mut column = target().table.columns[2].clone();
    column.id = ColumnId(id);
    column.name = name.into();
    column.sql_type = sql_type;
    column
}

impl Fake {
    /// A table that can be read and changed; its rows have the addresses 1, 2, ….
    fn changeable(&mut self, table: Arc<catalog::Table>, rows: &str) {
        let columns: Vec<(&str, SqlType)> =
            table.columns.iter().map(|column| (column.name.as_str(), column.sql_type)).collect();
        self.table(&table.name, &columns, rows);
        let batch = self.rows(&columns, rows);
        let mut fields: Vec<_> = columns.iter().map(|(name, t)| t.field(*name, true)).collect();
        fields.push(SqlType::BigInt.field(ROW_ADDRESS, false));
        let addresses = i64::try_from(batch.num_rows()).unwrap();
        let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
        arrays.push(Arc::new(Int64Array::from_iter_values(1..=addresses)));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
        let source = MemTable::try_new(schema, vec![vec![batch]]).unwrap();
        let resolved = ResolvedTarget {
            source: provider_as_source(Arc::new(source)),
            database: "dev".into(),
            schema: "public".into(),
            name: table.name.clone(),
            oid: table.oid,
            table: Arc::clone(&table),
        };
        self.targets.insert(table.name.clone(), resolved);
    }
}

/// `sales (id integer not null, v varchar(5), d decimal(6,2) default 7.5)` with three rows, `news
/// (id integer, v varchar(20))` with three, `plain (a integer, b integer, c integer)` empty.
fn shop() -> Fake {
    let mut fake = sample();
    let mut id = column(1, "id", SqlType::Integer);
    id.nullable = false;
    let mut d = column(3, "d", SqlType::Decimal { precision: 6, scale: 2 });
    d.default = Some("7.5".into());
    let sales = table("sales", vec![id, column(2, "v", SqlType::Varchar(5)), d]);
    fake.changeable(sales, "(1, 'one', 1.00), (2, 'two', 2.00), (3, null, 3.00)");
    fake.table(
        "news",
        &[("id", SqlType::Integer), ("v", SqlType::Varchar(20))],
        "(2, 'zwei'), (3, 'drei'), (4, 'vier')",
    );
    fake
}

fn bound(fake: &Fake, text: &str) -> Result<BoundChange> {
    match parse(text)? {
        Statement::Delete(change) | Statement::Update(change) | Statement::Merge(change) => {
            Binder::new(fake, options()).change(&change)
        }
        other => panic!("{other:?}"),
    }
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let formatters: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|array| ArrayFormatter::try_new(array, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> =
                formatters.iter().map(|formatter| formatter.value(row).to_string()).collect();
            lines.push(cells.join("|"));
        }
    }
    lines.sort();
    lines
}

fn changed(fake: &Fake, text: &str) -> Result<Vec<String>> {
    let bound = bound(fake, text)?;
    let next = bound.identities.iter().map(|column| (*column, 100)).collect();
    let batches = execute(bound.with_values(&[], &next, &options())?)?;
    for batch in &batches {
        let types: Vec<_> = batch.columns().iter().map(|array| array.data_type().clone()).collect();
        let mut wanted = vec![arrow_schema::DataType::Int64];
        if bound.kind == ChangeShape::Write {
            let columns = bound.table.columns.iter().map(|column| column.sql_type.arrow());
            wanted = columns.chain(wanted).collect();
            wanted.push(arrow_schema::DataType::Boolean);
        }
        assert_eq!(types, wanted, "{text}");
    }
    Ok(lines(&batches))
}

fn rows_of(fake: &Fake, text: &str) -> Vec<String> {
    changed(fake, text).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn state(fake: &Fake, text: &str) -> (SqlState, String, Option<u32>) {
    let error = changed(fake, text).map(|rows| panic!("{text}: {rows:?}")).unwrap_err();
    (error.sqlstate(), error.message().to_owned(), error.position())
}

#[test]
fn delete_gives_addresses() {
    let fake = shop();
    for (text, rows) in [
        ("delete from sales", &["1", "2", "3"][..]),
        ("delete sales where id = 2", &["2"]),
        ("delete from sales as s where s.v is null or s.d < 1.5", &["1", "3"]),
        ("delete from sales s using news where s.id = news.id and news.v like 'z%'", &["2"]),
        ("delete from sales using news n join t on n.id = t.a where sales.id = n.id", &["2", "3"]),
        ("delete from sales where id in (select id from news)", &["2", "3"]),
        (
            "delete from sales where not exists (select 1 from news where news.id = sales.id)",
            &["1"],
        ),
        ("delete from sales where d = (select max(d) from sales)", &["3"]),
        (
            "delete from sales where d > (select min(d) - 1.5 from sales s where s.id = sales.id - 1)",
            &["2", "3"],
        ),
        (
            "with x as (select id from news) delete from sales using x where x.id = sales.id",
            &["2", "3"],
        ),
        ("with x as (select 2 as id) delete sales where id in (select id from x)", &["2"]),
        ("delete from public.sales where public.sales.id = 1 and sales.v = 'one'", &["1"]),
        ("delete from sales using sales other where other.id = sales.id + 1", &["1", "2"]),
    ] {
        assert_eq!(rows_of(&fake, text), rows, "{text}");
    }
    let bound = bound(&fake, "delete from sales using news where news.id = sales.id").unwrap();
    assert_eq!((bound.kind, bound.repeats), (ChangeShape::Delete, Repeats::Ignore));
    assert!(bound.deletes && !bound.updates && !bound.inserts && bound.reads_target);
    assert_eq!(bound.relations.len(), 1);
}

#[test]
fn update_assigns_and_passes_through() {
    let fake = shop();
    for (text, rows) in [
        ("update sales set v = 'x' where id = 1", &["1|x|1.00|1|true"][..]),
        ("update sales s set d = d * 2, v = v || '!' where s.id = 2", &["2|two!|4.00|2|true"]),
        ("update sales set d = default, v = default where id = 3", &["3|NULL|7.50|3|true"]),
        ("update sales set d = '2.346' where id = 3", &["3|NULL|2.35|3|true"]),
        (
            "update sales set v = n.v from news n where n.id = sales.id and n.id < 4",
            &["2|zwei|2.00|2|true", "3|drei|3.00|3|true"],
        ),
        ("update sales set (v, id) = ('q', id + 10) where id = 1", &["11|q|1.00|1|true"]),
        ("update sales set v = (select max(v) from news) where id = 1", &["1|zwei|1.00|1|true"]),
        (
            "update sales set v = (select max(v) from news n where n.id = sales.id)",
            &["1|NULL|1.00|1|true", "2|zwei|2.00|2|true", "3|drei|3.00|3|true"],
        ),
        ("update sales set id = sales.d, d = id where id = 3", &["3|NULL|3.00|3|true"]),
        (
            "with n as (select 1 as id) update sales set v = 'w' from n where n.id = sales.id",
            &["1|w|1.00|1|true"],
        ),
        ("update sales set v = 'abc     ' where id = 1", &["1|abc  |1.00|1|true"]),
        ("update sales set v = null where false", &[]),
        (
            "update sales set v = (select n.v from news n where n.id = sales.id) where id < 3",
            &["1|NULL|1.00|1|true", "2|zwei|2.00|2|true"],
        ),
    ] {
        assert_eq!(rows_of(&fake, text), rows, "{text}");
    }
    let bound = bound(&fake, "update sales set v = 'x', d = 1").unwrap();
    assert_eq!(bound.updated_columns, [1, 2]);
    assert!(bound.updates && !bound.deletes && !bound.inserts && !bound.reads_target);
    assert_eq!(bound.repeats, Repeats::Ignore);
}

#[test]
fn update_picks_one_of_several() {
    let fake = shop();
    let text = "update sales set v = 'x' || n.id from news n where sales.id < 3";
    assert_eq!(rows_of(&fake, text).len(), 6);
    let bound = bound(&fake, text).unwrap();
    assert_eq!(bound.repeats, Repeats::PickOne);
    let one = bound.picking_one().unwrap();
    let plan = one.with_values(&[], &HashMap::new(), &options()).unwrap();
    let rows = lines(&execute(plan).unwrap());
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[0].starts_with("1|x") && rows[0].ends_with("|1.00|1|true"), "{rows:?}");
}

#[test]
fn reading_the_target_is_told() {
    let fake = shop();
    for (text, reads) in [
        ("delete from sales", false),
        ("delete from sales where id = 1", true),
        ("delete from sales using news where news.id = 2", false),
        ("delete from sales where exists (select 1 from news where news.id = sales.id)", true),
        ("update sales set v = 'x'", false),
        ("update sales set v = v", true),
        ("update sales set v = 'x' where d > 1", true),
        ("update sales set v = news.v from news", false),
        ("merge into sales using news on sales.id = news.id when matched then delete", true),
    ] {
        assert_eq!(bound(&fake, text).unwrap().reads_target, reads, "{text}");
    }
}

#[test]
fn changes_refuse_what_insert_refuses() {
    let fake = shop();
    use SqlState as S;
    for (text, expected, position) in [
        ("update sales set id = null", S::NotNullViolation, None),
        ("update sales set id = v where id = 1", S::InvalidTextRepresentation, None),
        ("update sales set v = 'toolong'", S::StringDataRightTruncation, None),
        ("update sales set v = n.v || 'more' from news n", S::StringDataRightTruncation, None),
        ("update sales set d = 123456", S::NumericValueOutOfRange, None),
        ("update sales set id = 3000000000", S::NumericValueOutOfRange, None),
        ("update sales set nope = 1", S::UndefinedColumn, Some(18)),
        ("update sales set v = nope", S::UndefinedColumn, Some(22)),
        ("update sales set sales.v = 'x'", S::UndefinedColumn, Some(18)),
        ("update sales set v = 'a', d = 1, v = 'b'", S::SyntaxError, Some(34)),
        ("update sales set d = current_date", S::DatatypeMismatch, Some(18)),
        ("update nosuch set d = 1", S::UndefinedTable, Some(8)),
        ("update sales set (v, d) = ('a')", S::SyntaxError, Some(27)),
        ("update sales s set v = sales.v", S::UndefinedTable, Some(24)),
        ("delete from sales where nope = 1", S::UndefinedColumn, Some(25)),
        ("delete from sales using nosuch", S::UndefinedTable, Some(25)),
        ("delete from sales using sales", S::DuplicateAlias, None),
        ("delete from sales returning id", S::FeatureNotSupported, Some(19)),
        ("delete from sales using news where id = 1", S::AmbiguousColumn, Some(36)),
        (
            "update sales set v = (select n.v from news n join t on true where n.id = sales.id)",
            S::CardinalityViolation,
            None,
        ),
    ] {
        let (state, message, at) = state(&fake, text);
        assert_eq!(state, expected, "{text}: {message}");
        if position.is_some() {
            assert_eq!(at, position, "{text}: {message}");
        }
    }
    let error = bound(&fake, "update sales set vv = 1").unwrap_err();
    assert!(error.get_hint().is_some_and(|hint| hint.contains('v')), "{error:?}");
    let mut fake = shop();
    fake.changeable(target().table, "(1, 1, 'v', 'c', 1, null)");
    let refused = state(&fake, "update target set id = 5");
    assert_eq!((refused.0, refused.2), (S::DatatypeMismatch, Some(19)));
    assert_eq!(state(&fake, "update target set id = default").0, S::FeatureNotSupported);
    assert_eq!(
        rows_of(&fake, "update target set at = default, n = 2"),
        ["1|2|v|c|1.00|2024-02-29T12:34:56|1|true"]
    );
}

#[test]
fn parameters_of_changes_are_typed() {
    let fake = shop();
    for (text, expected) in [
        ("delete from sales where id = $1 and v = $2", &["integer", "text"][..]),
        (
            "update sales set v = $1, d = $2 where id = $3",
            &["character varying(5)", "numeric(6,2)", "integer"],
        ),
        ("update sales set d = d + $1::int", &["integer"]),
        (
            "merge into sales using (select $1::int as id, $2::varchar(5) as v) s on sales.id = \
             s.id when matched then update set v = $3 when not matched then insert (id, v) values \
             (s.id, $4)",
            &["integer", "character varying(5)", "character varying(5)", "character varying(5)"],
        ),
    ] {
        let bound = bound(&fake, text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let shown: Vec<String> = bound.parameters.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{text}");
    }
    let bound = bound(&fake, "update sales set v = $1 where id = $2").unwrap();
    let values = [Value::Text("new".into()), Value::Int(2)];
    let plan = bound.with_values(&values, &HashMap::new(), &options()).unwrap();
    assert_eq!(lines(&execute(plan).unwrap()), ["2|new|2.00|2|true"]);
}

#[test]
fn merge_updates_inserts_and_deletes() {
    let fake = shop();
    let on = "merge into sales using news on sales.id = news.id";
    for (clauses, rows) in [
        (
            "when matched then update set v = news.v when not matched then insert values (news.id, \
             news.v, 0)",
            &["2|zwei|2.00|2|true", "3|drei|3.00|3|true", "4|vier|0.00|NULL|true"][..],
        ),
        (
            "when not matched then insert (id) values (news.id) when matched then delete",
            &["4|NULL|7.50|NULL|true", "NULL|NULL|NULL|2|false", "NULL|NULL|NULL|3|false"],
        ),
        ("when matched then delete", &["NULL|NULL|NULL|2|false", "NULL|NULL|NULL|3|false"]),
        (
            "when not matched then insert (v, id) values (default, news.id + 1)",
            &["5|NULL|7.50|NULL|true"],
        ),
        (
            "when matched and news.id = 2 then delete when matched then update set v = 'u', d = d + \
             news.id when not matched then do nothing",
            &["3|u|6.00|3|true", "NULL|NULL|NULL|2|false"],
        ),
        ("when matched and sales.v is null then update set v = '-'", &["3|-|3.00|3|true"]),
        (
            "when matched then do nothing when not matched and news.id > 4 then insert values (1)",
            &[],
        ),
        // A clause computes nothing for rows that it does not apply to.
        (
            "when matched and news.id = 2 then delete when matched then update set d = 6 / \
             (news.id - 2) when not matched then insert (id, d) values (4, 8 / (news.id - 2))",
            &["3|NULL|6.00|3|true", "4|NULL|4.00|NULL|true", "NULL|NULL|NULL|2|false"],
        ),
    ] {
        let text = format!("{on} {clauses}");
        assert_eq!(rows_of(&fake, &text), rows, "{text}");
    }
    let text = "with x as (select 1 as id) merge into sales s using (select id + 1 as id from x) y \
                on s.id = y.id when matched then update set v = 'y'";
    assert_eq!(rows_of(&fake, text), ["2|y|2.00|2|true"]);
    let text = format!(
        "{on} when matched then update set d = 1 when not matched then insert (id) \
                        values (news.id)"
    );
    let bound = bound(&fake, &text).unwrap();
    assert_eq!((bound.kind, bound.repeats), (ChangeShape::Write, Repeats::Refuse));
    assert!(bound.updates && bound.inserts && !bound.deletes);
    assert_eq!(bound.updated_columns, [2]);
}

#[test]
fn merge_removes_duplicates() {
    let mut fake = shop();
    let two = vec![column(1, "id", SqlType::Integer), column(2, "v", SqlType::Varchar(20))];
    fake.changeable(
        table("pair", two),
        "(30, 'Tony'), (30, 'Daisy'), (11, 'Alice'), (2, 'Bill'), (2, 'Nikki')",
    );
    let text = "merge into pair using news on pair.id = news.id remove duplicates";
    assert_eq!(
        rows_of(&fake, text),
        [
            "2|zwei|NULL|true",
            "3|drei|NULL|true",
            "4|vier|NULL|true",
            "NULL|NULL|4|false",
            "NULL|NULL|5|false",
        ]
    );
    let bound = bound(&fake, text).unwrap();
    assert_eq!(bound.repeats, Repeats::Ignore);
    assert!(bound.deletes && bound.inserts && !bound.updates);
    let wide = "merge into sales using news on sales.id = news.id remove duplicates";
    assert_eq!(state(&fake, wide).0, SqlState::SyntaxError);
}

#[test]
fn merge_fills_identities_without_gaps() {
    let mut fake = shop();
    fake.changeable(target().table, "(1, 2, 'v', 'c', 1, '2024-01-01 00:00:00')");
    let rows = rows_of(
        &fake,
        "merge into target using (select id from news union all select 9) s on target.n = s.id when \
         matched then update set v = 'm' when not matched then insert (n, at) values (s.id, null)",
    );
    let ids: Vec<&str> = rows.iter().filter_map(|row| row.split('|').next()).collect();
    assert_eq!(ids, ["100", "110", "120", "1"], "{rows:?}");
    let refused = "merge into target using news on target.n = news.id when not matched then insert \
                   (id, n) values (1, 1)";
    assert_eq!(state(&fake, refused).0, SqlState::DatatypeMismatch);
}

#[test]
fn merge_refuses() {
    let fake = shop();
    use SqlState as S;
    let on = "merge into sales using news on sales.id = news.id";
    for (clauses, expected) in [
        ("", S::SyntaxError),
        ("when matched then delete when matched then delete", S::SyntaxError),
        ("when not matched then insert (id) values (1, 2)", S::SyntaxError),
        ("when not matched then insert (id, v) values (1)", S::SyntaxError),
        ("when not matched then insert (nope) values (1)", S::UndefinedColumn),
        ("when not matched then insert (v) values ('x')", S::NotNullViolation),
        ("when not matched then insert values (1, 'toolong')", S::StringDataRightTruncation),
        ("when matched then update set v = current_date, v = 'x'", S::SyntaxError),
        ("when matched then update set d = current_date", S::DatatypeMismatch),
        ("when matched then insert values (1)", S::SyntaxError),
        ("when not matched then delete", S::SyntaxError),
        ("when not matched by source then delete", S::FeatureNotSupported),
        ("when matched then delete returning 1", S::FeatureNotSupported),
    ] {
        let text = format!("{on} {clauses}");
        let (state, message, _) = state(&fake, &text);
        assert_eq!(state, expected, "{text}: {message}");
    }
}

#[test]
fn insert_from_its_own_table_and_defaults_in_rows() {
    let mut fake = shop();
    fake.table("target", &[("n", SqlType::SmallInt), ("v", SqlType::Varchar(5))], "(7, 'own')");
    let shown =
        |text: &str| lines(&insert(&fake, text).unwrap_or_else(|e| panic!("{text}: {e:?}")));
    assert_eq!(
        shown("insert into target (n, v) select n + 1, v from target"),
        ["100|8|own|NULL|NULL|2024-02-29T12:34:56"]
    );
    assert_eq!(
        shown("insert into target (n, at, v) values (1, default, 'a'), (2, null, default)"),
        ["100|1|a|NULL|NULL|2024-02-29T12:34:56", "110|2|NULL|NULL|NULL|NULL"]
    );
    assert_eq!(
        shown("with x as (select 3 as n) insert into target (n) select n from x"),
        ["100|3|NULL|NULL|NULL|2024-02-29T12:34:56"]
    );
}

#[test]
fn tables_are_read_as_they_were() {
    let mut fake = shop();
    fake.table("news_7", &[("id", SqlType::Integer)], "(70)");
    fake.table("news_at_1704106800000000", &[("id", SqlType::Integer)], "(71)");
    for (text, expected) in [
        ("select id from news at (snapshot => 7)", "70"),
        ("select news.id from public.news at (snapshot => 7)", "70"),
        ("select o.id from news at (timestamp => '2024-01-01 11:00:00') as o", "71"),
        (
            "select n.id, o.id from news n join news at (snapshot => 7) o on true where n.id = 2",
            "2|70",
        ),
        ("select id from news at (timestamp => dateadd(minute, -1, '2024-01-01 11:01:00'))", "71"),
        (
            "select count(*) from news where id in (select id - 68 from news at (snapshot => 7))",
            "1",
        ),
        ("select at, before from (select 1 as at, 2 as before) changes", "1|2"),
    ] {
        assert_eq!(row(&fake, text), expected, "{text}");
    }
    assert_eq!(
        rows_of(&fake, "delete from sales using news at (snapshot => 7) n where n.id = 70"),
        ["1", "2", "3"]
    );
    for (text, state) in [
        ("select * from news at (snapshot => 'x')", SqlState::InvalidParameterValue),
        ("select * from news at (offset => 1)", SqlState::FeatureNotSupported),
        ("select * from news at (timestamp => null)", SqlState::InvalidParameterValue),
        ("select * from news at (timestamp => 'x')", SqlState::InvalidDatetimeFormat),
    ] {
        let error = error(&fake, text);
        assert_eq!((error.sqlstate(), error.position()), (state, Some(20)), "{text}: {error:?}");
    }
}
