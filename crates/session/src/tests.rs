//! Whole statements through a session over an in-memory store and an embedded engine.

mod changes;
mod tools;

use std::sync::Arc;

use base::client::{Leader, Login, Outcome, Session, TransactionStatus, Value};
use base::{Result, SqlState};
use catalog::{Catalog, Op, User};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;

use crate::{LeaderConfig, LeaderNode};

/// A leader over a store of its own, with the users `admin` and `ann`.
pub(crate) async fn leader() -> Arc<LeaderNode> {
    leader_with(false).await
}

/// The same, with or without work in the background.
pub(crate) async fn leader_with(auto_vacuum: bool) -> Arc<LeaderNode> {
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let catalog = Catalog::open(Arc::clone(&store), catalog::Options::default()).await.unwrap();
    let mut transaction = catalog.begin();
    let user = |oid, name: &str, superuser| User {
        oid,
        name: name.to_owned(),
        superuser,
        create_db: superuser,
        ..User::default()
    };
    transaction.apply(Op::CreateUser(user(catalog::ADMIN_USER_OID, "admin", true))).unwrap();
    let oid = transaction.new_oid();
    transaction.apply(Op::CreateUser(user(oid, "ann", false))).unwrap();
    catalog.commit(transaction).await.unwrap();
    let functions = sql::extensions();
    let extensions = exec::Extensions {
        codecs: Vec::new(),
        scalar: functions.scalar,
        aggregate: functions.aggregate,
        window: functions.window,
    };
    let directory = std::env::temp_dir().join(format!("session-test-{}", base::rng::u64()));
    let config = exec::EngineConfig {
        spill_dir: directory,
        memory_limit_bytes: 256 << 20,
        query_memory_bytes: 128 << 20,
        block_cache_bytes: 16 << 20,
        ..exec::EngineConfig::default()
    };
    let cluster = exec::Cluster::Embedded { nodes: 2 };
    let engine = exec::Engine::start(config, Arc::clone(&store), cluster, extensions).unwrap();
    let config = LeaderConfig {
        copy: ingest::Sources::default(),
        store,
        statement_timeout_ms: 0,
        connections_max: 10,
        query_memory_bytes: None,
        nodes: 2,
        auto_vacuum,
    };
    LeaderNode::start(catalog, engine, config).unwrap()
}

/// A client of the test.
pub(crate) struct Client {
    pub(crate) session: Box<dyn Session>,
}

impl Client {
    pub(crate) async fn new(leader: &Arc<LeaderNode>, user: &str) -> Client {
        let login = Login { user: user.into(), database: "dev".into(), ..Login::default() };
        Client { session: leader.open(login).await.unwrap() }
    }

    /// Runs a simple query string; gives the last statement's rows as text, or its tag.
    pub(crate) async fn try_run(&mut self, text: &str) -> Result<Vec<String>> {
        let mut last = Vec::new();
        let statements = self.session.split(text)?;
        for (statement, _) in statements {
            let done = self.one(&statement, Vec::new()).await;
            match done {
                Ok(rows) => last = rows,
                Err(error) => {
                    self.session.sync(true).await?;
                    return Err(error);
                }
            }
        }
        self.session.sync(false).await?;
        Ok(last)
    }

    pub(crate) async fn one(&mut self, text: &str, values: Vec<Value>) -> Result<Vec<String>> {
        let prepared = self.session.prepare(text, &[]).await?;
        match self.session.execute(&prepared, values).await? {
            Outcome::Empty => Ok(Vec::new()),
            Outcome::Done { tag } => Ok(vec![tag]),
            Outcome::Rows { batches, columns, .. } => {
                let batches: Vec<_> = batches.try_collect().await?;
                let mut rows = Vec::new();
                for batch in &batches {
                    for (column, declared) in batch.columns().iter().zip(columns.iter()) {
                        assert_eq!(*column.data_type(), declared.sql_type.arrow(), "{text}");
                    }
                    let options = FormatOptions::default().with_null("NULL");
                    for row in 0..batch.num_rows() {
                        let cells: Vec<String> = batch
                            .columns()
                            .iter()
                            .map(|column| {
                                let cells = ArrayFormatter::try_new(column, &options).unwrap();
                                cells.value(row).to_string()
                            })
                            .collect();
                        rows.push(cells.join("|"));
                    }
                }
                Ok(rows)
            }
        }
    }

    pub(crate) async fn run(&mut self, text: &str) -> Vec<String> {
        match self.try_run(text).await {
            Ok(rows) => rows,
            Err(error) => panic!("{text}\n{error:?} hint: {:?}", error.get_hint()),
        }
    }

    pub(crate) async fn fails(&mut self, text: &str) -> SqlState {
        match self.try_run(text).await {
            Ok(rows) => panic!("{text} gave {rows:?}"),
            Err(error) => error.sqlstate(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_from_create_to_drop() {
    let leader = leader().await;
    let mut client = Client::new(&leader, "admin").await;
    client
        .run(
            "create table t (id integer not null distkey, name varchar(20) default 'x', \
             n bigint identity(1,1), primary key (id)) sortkey(id)",
        )
        .await;
    assert_eq!(
        client.run("insert into t (id, name) values (1, 'a'), (2, default)").await,
        ["INSERT 0 2"]
    );
    assert_eq!(client.run("select id, name from t order by id").await, ["1|a", "2|x"]);
    assert_eq!(client.run("select count(distinct n) from t").await, ["2"]);
    assert_eq!(client.fails("insert into t (id) values (null)").await, SqlState::NotNullViolation);
    client.run("alter table t add column extra date; alter table t rename to u").await;
    assert_eq!(client.run("select * from u order by id limit 1").await, ["1|a|1|NULL"]);
    assert_eq!(client.fails("select * from t").await, SqlState::UndefinedTable);
    client.run("truncate u").await;
    assert_eq!(client.run("select count(*) from u").await, ["0"]);
    client.run("drop table u").await;
    assert_eq!(client.run("drop table if exists u").await, ["DROP TABLE"]);
    assert_eq!(client.session.take_events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_commit_roll_back_and_fail() {
    let leader = leader().await;
    let mut client = Client::new(&leader, "admin").await;
    let mut other = Client::new(&leader, "admin").await;
    client.run("create table t (a int)").await;
    client.run("begin").await;
    assert_eq!(client.session.transaction_status(), TransactionStatus::Open);
    client.run("insert into t values (1)").await;
    assert_eq!(client.run("select count(*) from t").await, ["1"]);
    assert_eq!(other.run("select count(*) from t").await, ["0"]);
    client.run("commit").await;
    assert_eq!(other.run("select count(*) from t").await, ["1"]);
    client.run("begin; create table gone (a int)").await;
    assert_eq!(client.fails("select nope").await, SqlState::UndefinedColumn);
    assert_eq!(client.session.transaction_status(), TransactionStatus::Failed);
    assert_eq!(client.fails("select 1").await, SqlState::InFailedSqlTransaction);
    assert_eq!(client.run("commit").await, ["ROLLBACK"]);
    assert_eq!(client.fails("select * from gone").await, SqlState::UndefinedTable);
    // A string of statements is one transaction.
    assert_eq!(
        client.fails("insert into t values (2); select nope").await,
        SqlState::UndefinedColumn
    );
    assert_eq!(client.run("select count(*) from t").await, ["1"]);
    client.run("begin; set query_group to 'q'; rollback").await;
    assert_eq!(client.run("show query_group").await, ["default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_checked() {
    let leader = leader().await;
    let mut client = Client::new(&leader, "admin").await;
    let cases = [
        ("create table t (a int, a int)", SqlState::DuplicateColumn),
        ("create table t (a int) distkey(b)", SqlState::UndefinedColumn),
        ("create table t (a int distkey, b int distkey)", SqlState::InvalidTableDefinition),
        ("create table t (a int) diststyle even distkey(a)", SqlState::InvalidTableDefinition),
        ("create table t (a int) diststyle key", SqlState::InvalidTableDefinition),
        ("create table t (a varchar(5) identity(1,1))", SqlState::InvalidColumnDefinition),
        ("create table t (a varchar(70000))", SqlState::InvalidParameterValue),
        ("create table t (a int encode text255)", SqlState::InvalidTableDefinition),
        ("create table t (a int encode nosuch)", SqlState::UndefinedObject),
        ("create table t (a int references nosuch)", SqlState::UndefinedTable),
        ("create table nosuch.t (a int)", SqlState::InvalidSchemaName),
        ("create table t (a int default 'x' || nope)", SqlState::UndefinedColumn),
        ("create schema pg_mine", SqlState::ReservedName),
        ("delete from pg_class", SqlState::WrongObjectType),
        ("drop table pg_class", SqlState::InsufficientPrivilege),
    ];
    for (text, state) in cases {
        assert_eq!(client.fails(text).await, state, "{text}");
    }
    client.run("create table t (a int)").await;
    assert_eq!(client.fails("create table t (a int)").await, SqlState::DuplicateTable);
    client.run("create table if not exists t (a int)").await;
    client.run("create view v as select a from t").await;
    assert_eq!(client.fails("drop table t").await, SqlState::DependentObjectsStillExist);
    client.run("drop table t cascade").await;
    assert_eq!(client.fails("select * from v").await, SqlState::UndefinedTable);
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_tables_belong_to_their_session() {
    let leader = leader().await;
    let mut client = Client::new(&leader, "admin").await;
    let mut other = Client::new(&leader, "admin").await;
    client.run("create temp table t (a int); insert into t values (1)").await;
    client.run("create table #u (like t)").await;
    assert_eq!(client.run("select a from t").await, ["1"]);
    assert_eq!(other.fails("select a from t").await, SqlState::UndefinedTable);
    drop(client);
    for _ in 0..100 {
        if leader.catalog.head().all_relations().count() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("temporary tables stayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn privileges_are_required_and_granted() {
    let leader = leader().await;
    let mut admin = Client::new(&leader, "admin").await;
    let mut ann = Client::new(&leader, "ann").await;
    admin.run("create table t (a int); create schema s; create table s.u (a int)").await;
    assert_eq!(ann.fails("select * from t").await, SqlState::InsufficientPrivilege);
    assert_eq!(ann.fails("drop table t").await, SqlState::InsufficientPrivilege);
    assert_eq!(ann.fails("create table s.x (a int)").await, SqlState::InsufficientPrivilege);
    assert_eq!(
        ann.fails("create user bob password 'Secret123'").await,
        SqlState::InsufficientPrivilege
    );
    admin.run("grant select on t to ann").await;
    assert_eq!(ann.run("select count(*) from t").await, ["0"]);
    assert_eq!(ann.fails("insert into t values (1)").await, SqlState::InsufficientPrivilege);
    admin.run("revoke select on t from ann").await;
    assert_eq!(ann.fails("select * from t").await, SqlState::InsufficientPrivilege);
    admin.run("create view v as select a from t; grant select on v to ann").await;
    assert_eq!(ann.run("select count(*) from v").await, ["0"]);
    assert_eq!(
        ann.run(
            "select has_table_privilege('t', 'select'), has_schema_privilege('public', 'usage')"
        )
        .await,
        ["false|true"]
    );
    ann.run("create table mine (a int)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_system_table_can_be_read() {
    let leader = leader().await;
    let mut client = Client::new(&leader, "admin").await;
    client
        .run(
            "create table t (a int primary key, b int references t) diststyle all; \
             insert into t values (1); create view v as select a from t; \
             comment on column t.a is 'first'",
        )
        .await;
    for relation in crate::system::all() {
        let name = format!("{}.{}", relation.table.space.name(), relation.table.name);
        client.run(&format!("select * from {name}")).await;
    }
    assert_eq!(client.run("select reldiststyle from pg_class where relname = 't'").await, ["8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_and_prepared_statements() {
    let leader = leader().await;
    let mut client = Client::new(&leader, "admin").await;
    client.run("create table t (a int); insert into t values (1),(2),(3),(4),(5)").await;
    client.run("begin; declare c cursor for select a from t order by a").await;
    assert_eq!(client.run("fetch forward 2 from c").await, ["1", "2"]);
    assert_eq!(client.run("move 1 from c").await, ["MOVE 1"]);
    assert_eq!(client.run("fetch all from c").await, ["4", "5"]);
    client.run("close c; commit").await;
    assert_eq!(client.fails("fetch 1 from c").await, SqlState::InvalidCursorName);
    client.run("prepare p (int) as select a from t where a > $1 order by a").await;
    assert_eq!(client.run("execute p(4)").await, ["5"]);
    client.run("deallocate p").await;
    let rows = client.one("select a from t where a = $1", vec![Value::Text("3".into())]).await;
    assert_eq!(rows.unwrap(), ["3"]);
    client.session.sync(false).await.unwrap();
}
