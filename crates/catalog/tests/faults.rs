//! A fault at every numbered step of commit, checkpoint, start and garbage collection:
//! afterwards the state is the one before or the one after, never between, no file that is
//! named is gone, and the client was not told a lie. In a process of its own, because fault
//! points are the process's.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use base::fault::{self, Fault};
use base::ids::{ColumnId, SliceId};
use base::segment::{Bitmap, Deletes, Segment};
use base::{SqlState, SqlType};
use catalog::{
    Catalog, Collected, Column, DistStyle, Distribution, Op, Options, PUBLIC_SCHEMA_OID,
    SYSTEM_USER_OID, SegmentDeletes, SegmentName, State, Table, Transaction,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// The points of a commit and of the checkpoint after it.
const COMMIT_POINTS: &[&str] = &[
    "commit.before_stage",
    "commit.before_put",
    "commit.after_put",
    "commit.in_doubt",
    "commit.before_publish",
    "commit.before_answer",
    "checkpoint.before_put",
    "checkpoint.before_hint",
    "checkpoint.before_delete",
];
const START_POINTS: &[&str] = &[
    "start.before_test",
    "start.before_read",
    "start.before_replay",
    "start.before_epoch",
    "start.after_epoch",
    "garbage.before_list",
];
const GARBAGE_POINTS: &[&str] = &[
    "garbage.before_intent",
    "garbage.after_intent",
    "garbage.before_delete",
    "garbage.after_delete",
];

fn actions() -> [Fault; 5] {
    [
        Fault::Error(SqlState::SystemError),
        Fault::Error(SqlState::DiskFull),
        Fault::Error(SqlState::IoError),
        Fault::Panic,
        Fault::Delay(Duration::from_millis(1)),
    ]
}

fn options() -> Options {
    Options {
        checkpoint_records: 2,
        in_doubt_attempts: 3,
        retry_delay: Duration::from_millis(1),
        ..Options::default()
    }
}

/// Arms a point, and what leads there.
fn arm(point: &str, action: Option<Fault>) {
    if point == "commit.in_doubt" {
        let lead = action.is_some().then_some(Fault::Error(SqlState::IoError));
        fault::set("commit.after_put", lead);
    }
    fault::set(point, action);
}

fn table(transaction: &Transaction, name: &str) -> Table {
    let column = Column {
        id: ColumnId(0),
        name: "a".to_owned(),
        sql_type: SqlType::Integer,
        nullable: true,
        default: None,
        identity: None,
        encode: None,
        case_insensitive: false,
        comment: None,
        fill: None,
    };
    Table {
        oid: transaction.new_oid(),
        schema: PUBLIC_SCHEMA_OID,
        name: name.to_owned(),
        owner: SYSTEM_USER_OID,
        columns: vec![column],
        next_column: ColumnId(1),
        distribution: Distribution { declared: DistStyle::Auto, effective: DistStyle::Even },
        ..Table::default()
    }
}

fn has(state: &State, name: &str) -> bool {
    state.relation(PUBLIC_SCHEMA_OID, name).is_some()
}

/// One store with leaders over it.
struct Warehouse {
    store: Arc<dyn ObjectStore>,
    catalog: Catalog,
}

impl Warehouse {
    async fn open(store: Arc<dyn ObjectStore>) -> Warehouse {
        let catalog = Catalog::open(store.clone(), options()).await.unwrap();
        let orphans = catalog.orphans().await.unwrap();
        catalog.remove_orphans(&orphans).await.unwrap();
        Warehouse { store, catalog }
    }

    /// With a table `before` of three segments.
    async fn fresh() -> Warehouse {
        let warehouse = Warehouse::open(Arc::new(InMemory::new())).await;
        warehouse.create("before").await.unwrap();
        for _ in 0..3 {
            warehouse.load().await.unwrap();
        }
        warehouse
    }

    async fn commit(&self, transaction: Transaction) -> base::Result<()> {
        self.catalog.commit(transaction).await.map(drop)
    }

    async fn create(&self, name: &str) -> base::Result<()> {
        let mut transaction = self.catalog.begin();
        let table = table(&transaction, name);
        transaction.apply(Op::CreateTable(table)).unwrap();
        self.commit(transaction).await
    }

    fn before(&self) -> base::ids::Oid {
        self.catalog.head().relation(PUBLIC_SCHEMA_OID, "before").unwrap().oid()
    }

    async fn put(&self, path: &str) {
        self.store.put(&Path::from(path), "x".into()).await.unwrap();
    }

    async fn load(&self) -> base::Result<()> {
        let (mut transaction, table) = (self.catalog.begin(), self.before());
        let path = transaction.segment_path(table, Some(SliceId(0)), 0);
        self.put(&path).await;
        let segment = Segment { path, slice: Some(SliceId(0)), rows: 10, ..Segment::default() };
        let segments = vec![segment];
        transaction.apply(Op::AddSegments { table, segments, identity_next: Vec::new() }).unwrap();
        self.commit(transaction).await
    }

    /// Deletes a row more of the first segment and adds one in another: an UPDATE.
    async fn update(&self) -> base::Result<()> {
        let (mut transaction, table) = (self.catalog.begin(), self.before());
        let old = transaction.state().segments(table)[0].clone();
        let path = transaction.segment_path(table, Some(SliceId(0)), 0);
        let bitmap = path.replace(".seg", ".del");
        self.put(&path).await;
        self.put(&bitmap).await;
        let rows = old.rows - old.live_rows() + 1;
        let bitmap = Bitmap::File { path: bitmap, bytes: 1, checksum: 0 };
        let deletes = vec![SegmentDeletes {
            segment: SegmentName::from(&*old),
            deletes: Arc::new(Deletes { rows, bitmap }),
        }];
        transaction.apply(Op::DeleteRows { table, deletes }).unwrap();
        let new = Segment { path, slice: Some(SliceId(0)), rows: 1, ..Segment::default() };
        let segments = vec![new];
        transaction.apply(Op::AddSegments { table, segments, identity_next: Vec::new() }).unwrap();
        self.commit(transaction).await
    }

    async fn truncate(&self) -> base::Result<()> {
        let mut transaction = self.catalog.begin();
        transaction.apply(Op::RemoveAllSegments { table: self.before() }).unwrap();
        self.commit(transaction).await
    }

    fn rows(&self) -> u64 {
        self.catalog.head().table_rows(self.before())
    }

    async fn files(&self) -> BTreeSet<String> {
        use futures::TryStreamExt;
        let files: Vec<_> = self.store.list(Some(&Path::from("data"))).try_collect().await.unwrap();
        files.into_iter().map(|file| file.location.to_string()).collect()
    }

    /// Every file that is named is there.
    async fn check_files(&self, what: &str) {
        let files = self.files().await;
        let head = self.catalog.head();
        let lost = head.segment_paths().find(|path| !files.contains(*path));
        assert_eq!(lost, None, "{what}");
    }

    /// Collects until nothing is left to do; then there is no file that nobody names.
    async fn check_clean(&self, what: &str) {
        for _ in 0..5 {
            if self.catalog.collect_garbage().await.unwrap() == Collected::default() {
                break;
            }
        }
        self.check_files(what).await;
        let named = self.catalog.head().segment_paths().count();
        assert_eq!(self.files().await.len(), named, "{what}: files are left behind");
    }
}

#[tokio::test]
async fn every_step_may_fail() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut cases = 0;
    for action in actions() {
        for point in COMMIT_POINTS {
            commit_with_fault(point, &action).await;
            cases += 1;
        }
        for point in START_POINTS {
            start_with_fault(point, &action).await;
            cases += 1;
        }
        for point in GARBAGE_POINTS {
            collect_with_fault(point, &action).await;
            cases += 1;
        }
    }
    drop(std::panic::take_hook());
    println!("{cases} faults");
    every_point_is_here();
}

async fn commit_with_fault(point: &str, action: &Fault) {
    let what = format!("{point} {action:?}");
    let warehouse = Warehouse::fresh().await;
    let (rows, hits) = (warehouse.rows(), fault::hits());
    arm(point, Some(action.clone()));
    let mut outcomes = Vec::new();
    for name in ["one", "two", "three", "four"] {
        outcomes.push((name, warehouse.create(name).await));
        tokio::task::yield_now().await;
    }
    let (mut at_least, mut at_most) = (rows, rows);
    // An UPDATE leaves as many rows as before; half of one would not.
    drop(warehouse.update().await);
    match warehouse.load().await {
        Ok(()) => (at_least, at_most) = (rows + 10, rows + 10),
        Err(error) if error.sqlstate() == SqlState::StatementCompletionUnknown => at_most += 10,
        Err(_) => {}
    }
    drop(warehouse.catalog.close().await);
    arm(point, None);
    assert!(fault::hits() > hits, "{what} did not strike");
    let again = Warehouse::open(warehouse.store.clone()).await;
    assert!((at_least..=at_most).contains(&again.rows()), "{what}: {} rows", again.rows());
    again.check_clean(&what).await;
    let delayed = matches!(action, Fault::Delay(_));
    for (name, outcome) in outcomes {
        let there = has(&again.catalog.head(), name);
        match outcome {
            Ok(()) => assert!(there, "{what}: {name} is lost"),
            Err(error) if error.sqlstate() == SqlState::StatementCompletionUnknown => {}
            Err(error) => assert!(!there, "{what}: {name} is there after {error}"),
        }
        assert!(there || !delayed, "{what}");
    }
    again.create("after").await.unwrap();
}

async fn start_with_fault(point: &str, action: &Fault) {
    let what = format!("{point} {action:?}");
    let warehouse = Warehouse::fresh().await;
    warehouse.update().await.unwrap();
    warehouse.put("data/100000/1-999-0000-0.seg").await;
    let (rows, hits) = (warehouse.rows(), fault::hits());
    arm(point, Some(action.clone()));
    let store = warehouse.store.clone();
    let start = async move {
        let catalog = Catalog::open(store, options()).await?;
        let orphans = catalog.orphans().await?;
        catalog.remove_orphans(&orphans).await
    };
    let outcome = tokio::spawn(start).await;
    arm(point, None);
    assert!(fault::hits() > hits, "{what} did not strike");
    match (action, outcome) {
        (Fault::Error(state), Ok(Err(error))) => assert_eq!(error.sqlstate(), *state, "{what}"),
        (Fault::Panic, Err(_)) | (Fault::Delay(_), Ok(Ok(()))) => {}
        (_, other) => unreachable!("{what}: {other:?}"),
    }
    let again = Warehouse::open(warehouse.store).await;
    assert_eq!(again.rows(), rows, "{what}");
    again.check_clean(&what).await;
}

async fn collect_with_fault(point: &str, action: &Fault) {
    let what = format!("{point} {action:?}");
    let warehouse = Warehouse::fresh().await;
    warehouse.update().await.unwrap();
    warehouse.update().await.unwrap();
    warehouse.truncate().await.unwrap();
    warehouse.load().await.unwrap();
    let hits = fault::hits();
    arm(point, Some(action.clone()));
    for _ in 0..4 {
        let catalog = warehouse.catalog.clone();
        drop(tokio::spawn(async move { catalog.collect_garbage().await }).await);
        warehouse.check_files(&what).await;
    }
    arm(point, None);
    assert!(fault::hits() > hits, "{what} did not strike");
    // The same leader goes on, and so does the next.
    if !matches!(action, Fault::Panic) {
        warehouse.check_clean(&what).await;
    }
    let again = Warehouse::open(warehouse.store).await;
    assert_eq!(again.rows(), 10, "{what}");
    again.check_clean(&what).await;
    assert_eq!(again.files().await.len(), 1, "{what}");
}

/// The points in the source, in this test and in the description of the protocol are the same.
fn every_point_is_here() {
    // Tests run in the folder of their package.
    let root = FilePath::new("");
    let tested: BTreeSet<&str> =
        [COMMIT_POINTS, START_POINTS, GARBAGE_POINTS].concat().into_iter().collect();
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(root.join("src")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            for rest in text.split("fault::point(\"").skip(1) {
                found.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), tested);
    let described = root.join("../../docs/internals/commit-log.md");
    let described = std::fs::read_to_string(described).unwrap();
    for point in tested {
        assert!(described.contains(&format!("`{point}`")), "{point} is not described");
    }
}
