//! How long a start takes: with 100,000 segments in the catalog, and after 1,000 commits of
//! inline segments.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that measures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::SqlType;
use base::ids::{ColumnId, SliceId};
use base::segment::{Bitmap, ColumnStats, Datum, Deletes, Segment};
use catalog::{
    Catalog, Column, DistStyle, Distribution, Op, Options, PUBLIC_SCHEMA_OID, SYSTEM_USER_OID,
    Table,
};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

/// What a restart may take at most.
const START_MAX: Duration = Duration::from_secs(10);

struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(LocalFileSystem::new_with_prefix(&self.0).unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn column(id: u32) -> Column {
    Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        sql_type: SqlType::BigInt,
        nullable: true,
        default: None,
        identity: None,
        encode: None,
        case_insensitive: false,
        comment: None,
        fill: None,
    }
}

async fn with_table(catalog: &Catalog) -> base::ids::Oid {
    let mut transaction = catalog.begin();
    let oid = transaction.new_oid();
    let table = Table {
        oid,
        schema: PUBLIC_SCHEMA_OID,
        name: "t".to_owned(),
        owner: SYSTEM_USER_OID,
        columns: (0..8).map(column).collect(),
        next_column: ColumnId(8),
        distribution: Distribution { declared: DistStyle::Auto, effective: DistStyle::Even },
        ..Table::default()
    };
    transaction.apply(Op::CreateTable(table)).unwrap();
    catalog.commit(transaction).await.unwrap();
    oid
}

fn segment(path: String, n: u64) -> Segment {
    let stats = |column| ColumnStats {
        column: ColumnId(column),
        min: Some(Datum::Int(i128::from(n))),
        max: Some(Datum::Int(i128::from(n + 1_000))),
        distinct: Some(500),
        bytes: 1 << 20,
        ..ColumnStats::default()
    };
    let deletes = n.is_multiple_of(4).then(|| {
        let bytes: Vec<u8> = (0..200).map(|at| (at * 7 + n % 13) as u8).collect();
        Arc::new(Deletes { rows: 50, bitmap: Bitmap::Inline(bytes.into()) })
    });
    Segment {
        path,
        slice: Some(SliceId((n % 4) as u16)),
        rows: 100_000,
        bytes: 64 << 20,
        columns: (0..8).map(stats).collect(),
        deletes,
        ..Segment::default()
    }
}

async fn reopen(store: Arc<dyn ObjectStore>, what: &str) -> (Catalog, Duration) {
    let began = Instant::now();
    let catalog = Catalog::open(store, Options::default()).await.unwrap();
    let took = began.elapsed();
    println!("start with {what}: {took:?}");
    assert!(took < START_MAX, "{took:?}");
    (catalog, took)
}

#[tokio::test]
async fn a_hundred_thousand_segments() {
    let scratch = Scratch::new("blueshift-restart");
    let catalog = Catalog::open(scratch.store(), Options::default()).await.unwrap();
    let table = with_table(&catalog).await;
    // 200 loads of 500 segments: all in the log, none in a checkpoint.
    for load in 0..200 {
        let mut transaction = catalog.begin();
        let path = |n| format!("data/{table}/1-{load}-{:04}-{n}.seg", n % 4);
        let segments = (0..500).map(|n| segment(path(n), load * 500 + n)).collect();
        transaction.apply(Op::AddSegments { table, segments, identity_next: Vec::new() }).unwrap();
        catalog.commit(transaction).await.unwrap();
    }
    catalog.close().await.unwrap();
    let (again, _) = reopen(scratch.store(), "100,000 segments in 200 records").await;
    assert_eq!(again.head().segment_count(table), 100_000);
    again.close().await.unwrap();
    let options = Options { checkpoint_records: 1, ..Options::default() };
    let catalog = Catalog::open(scratch.store(), options).await.unwrap();
    with_setting(&catalog).await;
    catalog.close().await.unwrap();
    let (again, _) = reopen(scratch.store(), "100,000 segments in a checkpoint").await;
    assert_eq!(again.head().segments(table).len(), 100_000);
    let began = Instant::now();
    let orphans = again.orphans().await.unwrap();
    println!("looking for orphans: {:?}", began.elapsed());
    assert!(orphans.is_empty());
}

async fn with_setting(catalog: &Catalog) {
    let mut transaction = catalog.begin();
    let set = Op::SetSetting { name: "a".to_owned(), value: Some("b".to_owned()) };
    transaction.apply(set).unwrap();
    catalog.commit(transaction).await.unwrap();
}

#[tokio::test]
async fn a_thousand_inline_segments() {
    let scratch = Scratch::new("blueshift-inline");
    let options = Options { checkpoint_records: 10_000, ..Options::default() };
    let catalog = Catalog::open(scratch.store(), options).await.unwrap();
    let table = with_table(&catalog).await;
    let began = Instant::now();
    for n in 0..1_000_u64 {
        let mut transaction = catalog.begin();
        let bytes: Vec<u8> = (0..2_000_u64).map(|at| (at * n % 251) as u8).collect();
        let path = format!("data/{table}/1-{n}-0000-0.seg");
        let inline = Segment { inline: Some(bytes.into()), rows: 1, ..segment(path, n * 4 + 1) };
        let segments = vec![inline];
        transaction.apply(Op::AddSegments { table, segments, identity_next: Vec::new() }).unwrap();
        catalog.commit(transaction).await.unwrap();
    }
    println!("1,000 commits of 2 kB, unsynced: {:?}", began.elapsed());
    catalog.close().await.unwrap();
    let (again, _) = reopen(scratch.store(), "1,000 commits of inline segments").await;
    assert_eq!(again.head().segment_count(table), 1_000);
    assert!(again.head().segments(table).iter().all(|segment| segment.inline.is_some()));
}
