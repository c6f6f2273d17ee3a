//! A fault at every step of commit, checkpoint and start: afterwards the state is the one before
//! or the one after, never between, and the client was not told a lie. In a process of its own,
//! because fault points are the process's.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use base::fault::{self, Fault};
use base::{SqlState, SqlType};
use catalog::{
    Catalog, Column, DistStyle, Distribution, Op, Options, PUBLIC_SCHEMA_OID, SYSTEM_USER_OID,
    Table,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;

fn options() -> Options {
    Options {
        checkpoint_records: 2,
        in_doubt_attempts: 3,
        retry_delay: Duration::from_millis(1),
        ..Options::default()
    }
}

fn create(catalog: &Catalog, name: &str) -> catalog::Transaction {
    let mut transaction = catalog.begin();
    let column = Column {
        id: base::ids::ColumnId(0),
        name: "a".to_owned(),
        sql_type: SqlType::Integer,
        nullable: true,
        default: None,
        identity: None,
        encode: None,
        case_insensitive: false,
        comment: None,
    };
    let table = Table {
        oid: transaction.new_oid(),
        schema: PUBLIC_SCHEMA_OID,
        name: name.to_owned(),
        owner: SYSTEM_USER_OID,
        columns: vec![column],
        next_column: base::ids::ColumnId(1),
        distribution: Distribution { declared: DistStyle::Auto, effective: DistStyle::Even },
        ..Table::default()
    };
    transaction.apply(Op::CreateTable(table)).unwrap();
    transaction
}

fn has(catalog: &Catalog, name: &str) -> bool {
    catalog.head().relation(PUBLIC_SCHEMA_OID, name).is_some()
}

/// The points of a commit and of the checkpoint after it.
const COMMIT_POINTS: [&str; 7] = [
    "commit.before_stage",
    "commit.before_put",
    "commit.after_put",
    "commit.before_answer",
    "checkpoint.before_put",
    "checkpoint.before_hint",
    "checkpoint.before_delete",
];
const START_POINTS: [&str; 3] = ["start.before_read", "start.before_epoch", "start.after_epoch"];

#[tokio::test]
async fn every_step_may_fail() {
    for point in COMMIT_POINTS {
        for action in [Fault::Error(SqlState::IoError), Fault::Panic] {
            commit_with_fault(point, action).await;
        }
    }
    for point in START_POINTS {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let first = Catalog::open(store.clone(), options()).await.unwrap();
        first.commit(create(&first, "before")).await.unwrap();
        fault::set(point, Some(Fault::Error(SqlState::IoError)));
        let error = Catalog::open(store.clone(), options()).await.unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::IoError, "{point}");
        fault::set(point, None);
        let again = Catalog::open(store, options()).await.unwrap();
        assert!(has(&again, "before"), "{point}");
    }
}

async fn commit_with_fault(point: &str, action: Fault) {
    let what = format!("{point} {action:?}");
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let catalog = Catalog::open(store.clone(), options()).await.unwrap();
    catalog.commit(create(&catalog, "before")).await.unwrap();
    fault::set(point, Some(action));
    let mut outcomes = Vec::new();
    for name in ["one", "two", "three", "four"] {
        outcomes.push((name, catalog.commit(create(&catalog, name)).await));
    }
    fault::set(point, None);
    drop(catalog.close().await);
    let again = Catalog::open(store, options()).await.unwrap();
    assert!(has(&again, "before"), "{what}");
    for (name, outcome) in outcomes {
        match outcome {
            Ok(_) => assert!(has(&again, name), "{what}: {name} is lost"),
            Err(error) if error.sqlstate() == SqlState::StatementCompletionUnknown => {}
            Err(error) => assert!(!has(&again, name), "{what}: {name} is there after {error}"),
        }
    }
}
