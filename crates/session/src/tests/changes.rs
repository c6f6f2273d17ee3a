//! Writers side by side: locks, snapshots, savepoints, and the background behind them.

use std::sync::Arc;
use std::time::Duration;

use base::SqlState;
use base::client::TransactionStatus;
use tokio::task::JoinHandle;

use super::{Client, leader, leader_with};
use crate::LeaderNode;

/// Runs a statement in the background until it waits for a lock.
async fn waiting(
    leader: &Arc<LeaderNode>,
    mut client: Client,
    text: &'static str,
) -> JoinHandle<(Client, base::Result<Vec<String>>)> {
    let before = leader.locks.shown().iter().filter(|lock| !lock.granted).count();
    let task = tokio::spawn(async move {
        let done = client.try_run(text).await;
        (client, done)
    });
    for _ in 0..500 {
        if leader.locks.shown().iter().filter(|lock| !lock.granted).count() > before {
            return task;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{text} does not wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_waited_sees_what_the_other_did() {
    let leader = leader().await;
    let mut first = Client::new(&leader, "admin").await;
    let second = Client::new(&leader, "admin").await;
    first.run("create table t (id int, v int); insert into t values (1, 1), (2, 2)").await;
    first.run("begin; update t set v = v + 10 where id = 1").await;
    let second = waiting(&leader, second, "update t set v = v + 100 where id = 1").await;
    // Rows may be added meanwhile.
    let mut third = Client::new(&leader, "admin").await;
    assert_eq!(third.run("insert into t values (3, 3)").await, ["INSERT 0 1"]);
    first.run("commit").await;
    let (mut second, done) = second.await.unwrap();
    assert_eq!(done.unwrap(), ["UPDATE 1"]);
    assert_eq!(second.run("select * from t order by id").await, ["1|111", "2|2", "3|3"]);
    assert!(leader.locks.shown().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_costs_one_transaction() {
    let leader = leader().await;
    let mut first = Client::new(&leader, "admin").await;
    let mut second = Client::new(&leader, "admin").await;
    first.run("create table a (v int); create table b (v int)").await;
    first.run("insert into a values (1); insert into b values (1)").await;
    first.run("begin; delete from a").await;
    second.run("begin; delete from b").await;
    let waits = waiting(&leader, first, "delete from b").await;
    let error = second.try_run("delete from a").await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DeadlockDetected);
    assert!(error.get_detail().unwrap().contains("waits for ShareRowExclusiveLock"));
    assert_eq!(second.session.transaction_status(), TransactionStatus::Failed);
    // The failed block holds nothing any more.
    let (mut first, done) = waits.await.unwrap();
    assert_eq!(done.unwrap(), ["DELETE 1"]);
    first.run("commit").await;
    second.run("rollback").await;
    assert_eq!(second.run("select count(*) from a, b").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_gives_its_locks_back() {
    let leader = leader().await;
    let mut first = Client::new(&leader, "admin").await;
    let second = Client::new(&leader, "admin").await;
    first.run("create table t (v int)").await;
    first.run("begin; lock table t").await;
    let waits = waiting(&leader, second, "insert into t values (1)").await;
    drop(first);
    let (second, done) = waits.await.unwrap();
    assert_eq!(done.unwrap(), ["INSERT 0 1"]);
    // One that waits can be cancelled, and stands in nobody's way then.
    let mut third = Client::new(&leader, "admin").await;
    third.run("begin; lock table t").await;
    let process_id = second.session.process_id();
    let waits = waiting(&leader, second, "delete from t").await;
    let cancelled = third.run(&format!("select pg_cancel_backend({process_id})")).await;
    assert_eq!(cancelled, ["true"]);
    let (mut second, done) = waits.await.unwrap();
    assert_eq!(done.unwrap_err().sqlstate(), SqlState::QueryCanceled);
    third.run("commit").await;
    assert_eq!(second.run("delete from t").await, ["DELETE 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_replaced_while_its_lock_is_waited_for() {
    let leader = leader().await;
    let mut first = Client::new(&leader, "admin").await;
    let second = Client::new(&leader, "admin").await;
    first.run("create table t (v int)").await;
    first.run("begin; drop table t; create table t (w varchar(5))").await;
    let waits = waiting(&leader, second, "insert into t values (12)").await;
    first.run("commit").await;
    let (mut second, done) = waits.await.unwrap();
    assert_eq!(done.unwrap(), ["INSERT 0 1"]);
    assert_eq!(second.run("select w || 'x' from t").await, ["12x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_a_savepoint_is_not_the_end() {
    let leader = leader().await;
    let mut client = Client::new(&leader, "admin").await;
    client.run("create table t (v int)").await;
    client.run("begin; insert into t values (1); savepoint s").await;
    assert_eq!(
        client.fails("insert into t values ('x')").await,
        SqlState::InvalidTextRepresentation
    );
    assert_eq!(client.session.transaction_status(), TransactionStatus::Failed);
    assert_eq!(client.run("rollback to s").await, ["ROLLBACK"]);
    assert_eq!(client.session.transaction_status(), TransactionStatus::Open);
    client.run("insert into t values (2); release s; commit").await;
    assert_eq!(client.run("select sum(v) from t").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn write_skew_is_refused_where_the_database_asks_for_it() {
    let leader = leader().await;
    let mut first = Client::new(&leader, "admin").await;
    first.run("create table a (v int); create table b (v int)").await;
    first.run("alter database dev isolation level serializable").await;
    let mut second = Client::new(&leader, "admin").await;
    first.run("begin; insert into a select count(*) from b").await;
    second.run("begin; insert into b select count(*) from a").await;
    first.run("commit").await;
    assert_eq!(second.fails("commit").await, SqlState::SerializationFailure);
    assert_eq!(second.run("select count(*) from b").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_inserts_come_together_in_the_background() {
    let leader = leader_with(true).await;
    let mut client = Client::new(&leader, "admin").await;
    client.run("create table t (v int) diststyle even").await;
    for n in 0..100 {
        client.run(&format!("insert into t values ({n})")).await;
    }
    let oid: u32 =
        client.run("select oid from pg_class where relname = 't'").await[0].parse().unwrap();
    let inline = || {
        let segments = leader.catalog.head().segments(base::ids::Oid(oid));
        segments.iter().filter(|segment| segment.inline.is_some()).count()
    };
    for _ in 0..300 {
        if inline() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(inline(), 0);
    assert!(leader.catalog.head().segment_count(base::ids::Oid(oid)) <= 8);
    assert_eq!(client.run("select count(*), sum(v) from t").await, ["100|4950"]);
    leader.shut_down();
}
