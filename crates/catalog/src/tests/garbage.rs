//! Files that the head no longer names: when they go, and when they may not.

use std::sync::Arc;

use base::ids::{Oid, SliceId};
use base::segment::{Bitmap, Deletes, Segment};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::{fresh, options, same_without_checkpoints, segment, table};
use crate::{
    Catalog, Collected, Op, Options, RETENTION_SETTING, SegmentDeletes, SegmentName, Transaction,
};

const T: Oid = Oid(100_000);
const U: Oid = Oid(100_001);

struct Warehouse {
    store: Arc<dyn ObjectStore>,
    catalog: Catalog,
}

impl Warehouse {
    async fn new() -> Warehouse {
        let (store, catalog) = fresh().await;
        let warehouse = Warehouse { store, catalog };
        warehouse.commit(vec![Op::CreateTable(table(T, "t"))]).await;
        warehouse.commit(vec![Op::CreateTable(table(U, "u"))]).await;
        warehouse
    }

    fn begin(&self, ops: Vec<Op>) -> Transaction {
        let mut transaction = self.catalog.begin();
        ops.into_iter().for_each(|op| transaction.apply(op).unwrap());
        transaction
    }

    async fn commit(&self, ops: Vec<Op>) {
        self.catalog.commit(self.begin(ops)).await.unwrap();
    }

    async fn write(&self, path: &str) {
        self.store.put(&Path::from(path), PutPayload::from_static(b"x")).await.unwrap();
    }

    /// Commits a new segment.
    async fn add(&self, table: Oid) -> Arc<Segment> {
        let op = self.adding(table).await;
        self.commit(vec![op]).await;
        self.catalog.head().segments(table).last().unwrap().clone()
    }

    async fn adding(&self, table: Oid) -> Op {
        let path = self.catalog.begin().segment_path(table, Some(SliceId(0)), 0);
        self.write(&path).await;
        Op::AddSegments { table, segments: vec![segment(&path)], identity_next: Vec::new() }
    }

    /// Deletes rows by a file, whose path it gives.
    async fn delete(&self, segment: &Segment, rows: u64) -> String {
        let path = format!("{}.{rows}.del", segment.path);
        self.write(&path).await;
        let bitmap = Bitmap::File { path: path.clone(), bytes: 1, checksum: 0 };
        let deletes = vec![SegmentDeletes {
            segment: SegmentName::from(segment),
            deletes: Arc::new(Deletes { rows, bitmap }),
        }];
        self.commit(vec![Op::DeleteRows { table: T, deletes }]).await;
        path
    }

    async fn exists(&self, path: &str) -> bool {
        self.store.head(&Path::from(path)).await.is_ok()
    }

    /// Rounds until nothing waits; gives how many files went.
    async fn collect(&self) -> usize {
        let mut removed = 0;
        for _ in 0..6 {
            let round = self.catalog.collect_garbage().await.unwrap();
            removed += round.removed;
            if round == Collected::default() {
                break;
            }
        }
        for path in self.catalog.head().segment_paths() {
            assert!(self.exists(path).await, "{path} is named and gone");
        }
        removed
    }
}

fn truncate() -> Op {
    Op::RemoveAllSegments { table: T }
}

#[tokio::test]
async fn what_left_the_head_goes() {
    let w = Warehouse::new().await;
    let kept = w.add(U).await;
    assert_eq!(w.collect().await, 0);
    let position = w.catalog.head().position();
    assert_eq!(w.catalog.head().position(), position, "a round without work writes nothing");
    // TRUNCATE.
    w.add(T).await;
    w.add(T).await;
    w.commit(vec![truncate()]).await;
    assert_eq!(w.collect().await, 2);
    // Replaced deletes, then a segment without rows.
    let one = w.add(T).await;
    let (path, few) = (one.path.clone(), w.delete(&one, 2).await);
    drop(one);
    assert_eq!(w.collect().await, 0);
    let now = w.catalog.head().segments(T)[0].clone();
    let more = w.delete(&now, 3).await;
    drop(now);
    assert_eq!(w.collect().await, 1);
    assert!(!w.exists(&few).await && w.exists(&more).await && w.exists(&path).await);
    let all = w.delete(&segment(&path), 10).await;
    assert_eq!(w.collect().await, 3);
    assert!(!w.exists(&all).await && !w.exists(&more).await && !w.exists(&path).await);
    // VACUUM.
    let old = w.add(T).await;
    let Op::AddSegments { segments: added, .. } = w.adding(T).await else { unreachable!() };
    let removed = vec![SegmentName::from(&*old)];
    drop(old);
    w.commit(vec![Op::ReplaceSegments { table: T, removed, added }]).await;
    assert_eq!(w.collect().await, 1);
    // DROP, and a table that lived within a transaction.
    w.commit(vec![Op::DropRelation { relation: T, cascade: false }]).await;
    assert_eq!(w.collect().await, 1);
    let path = "data/100005/1-77-0000-0.seg";
    w.write(path).await;
    let add = Op::AddSegments {
        table: Oid(100_005),
        segments: vec![segment(path)],
        identity_next: Vec::new(),
    };
    let gone = Op::DropRelation { relation: Oid(100_005), cascade: false };
    w.commit(vec![Op::CreateTable(table(Oid(100_005), "v")), add, gone]).await;
    assert_eq!(w.collect().await, 1);
    assert!(w.exists(&kept.path).await);
    assert_eq!(w.catalog.head().doomed().count(), 0);
    same_without_checkpoints(w.store.clone(), &w.catalog.head()).await.unwrap();
}

#[tokio::test]
async fn readers_keep_what_they_see() {
    let w = Warehouse::new().await;
    let path = w.add(T).await.path.clone();
    let early = w.catalog.begin();
    let few = w.delete(&segment(&path), 2).await;
    let plan = w.catalog.head().segments(T);
    w.delete(&segment(&path), 3).await;
    w.commit(vec![truncate()]).await;
    assert_eq!(w.collect().await, 1, "only the deletes that nobody saw");
    drop(plan);
    assert_eq!(w.collect().await, 1);
    assert!(!w.exists(&few).await && w.exists(&path).await, "an older snapshot reads the rows");
    assert_eq!(w.catalog.collect_garbage().await.unwrap(), Collected { removed: 0, waiting: 1 });
    drop(early);
    assert_eq!(w.collect().await, 1);
    assert!(!w.exists(&path).await);
}

#[tokio::test]
async fn files_that_move_to_another_table_stay() {
    let w = Warehouse::new().await;
    let path = w.add(T).await.path.clone();
    let moved =
        Op::AddSegments { table: U, segments: vec![segment(&path)], identity_next: Vec::new() };
    w.commit(vec![truncate(), moved.clone()]).await;
    assert_eq!(w.collect().await, 0);
    assert!(w.exists(&path).await);
    // Back into a table before a round saw it leave.
    w.commit(vec![Op::RemoveAllSegments { table: U }]).await;
    w.commit(vec![moved.clone()]).await;
    assert_eq!(w.collect().await, 0);
    // Doomed, it cannot come back.
    w.commit(vec![Op::RemoveAllSegments { table: U }]).await;
    let late = w.begin(vec![moved.clone()]);
    assert_eq!(w.catalog.collect_garbage().await.unwrap(), Collected { removed: 0, waiting: 1 });
    assert!(w.exists(&path).await, "doomed in the first round, removed in the second");
    assert_eq!(w.catalog.begin().apply(moved).unwrap_err().sqlstate().code(), "40001");
    assert_eq!(w.catalog.commit(late).await.unwrap_err().sqlstate().code(), "40001");
    assert_eq!(w.collect().await, 1);
}

#[tokio::test]
async fn a_new_leader_goes_on_and_an_old_one_stops() {
    let w = Warehouse::new().await;
    let path = w.add(T).await.path.clone();
    let other = w.add(U).await.path.clone();
    w.commit(vec![truncate()]).await;
    w.catalog.collect_garbage().await.unwrap();
    let new = Catalog::open(w.store.clone(), options()).await.unwrap();
    assert_eq!(new.head().doomed().collect::<Vec<_>>(), [path.as_str()]);
    // The old leader has a round to go, and another file that it takes for garbage.
    w.catalog.collect_garbage().await.unwrap_err();
    assert!(w.exists(&path).await && w.exists(&other).await);
    w.catalog.collect_garbage().await.unwrap_err();
    let w = Warehouse { store: w.store, catalog: new };
    assert_eq!(w.collect().await, 1);
    assert!(!w.exists(&path).await);
    assert_eq!(w.catalog.head().doomed().count(), 0);
    // What the old one left as garbage is an orphan of the next start.
    w.commit(vec![Op::RemoveAllSegments { table: U }]).await;
    let next = Catalog::open(w.store.clone(), options()).await.unwrap();
    assert_eq!(next.orphans().await.unwrap(), [other]);
}

#[tokio::test]
async fn retention_keeps_files() {
    let w = Warehouse::new().await;
    let set = |value: &str| Op::SetSetting {
        name: RETENTION_SETTING.to_owned(),
        value: Some(value.to_owned()),
    };
    w.commit(vec![set("3600")]).await;
    let path = w.add(T).await.path.clone();
    w.commit(vec![truncate()]).await;
    assert_eq!(w.collect().await, 0);
    // Nor does a restart take it for an orphan.
    let next = Catalog::open(w.store.clone(), Options { checkpoint_records: 1, ..options() });
    let next = Warehouse { store: w.store.clone(), catalog: next.await.unwrap() };
    assert!(next.catalog.orphans().await.unwrap().is_empty());
    next.commit(vec![set("what?")]).await;
    assert!(next.catalog.orphans().await.unwrap().is_empty());
    next.commit(vec![set("0")]).await;
    assert_eq!(next.catalog.orphans().await.unwrap(), [path]);
}

/// A file that moved to another table is needed for as long as that table named it.
#[tokio::test]
async fn retention_counts_from_the_last_table() {
    use std::sync::atomic::{AtomicI64, Ordering};
    let now = Arc::new(AtomicI64::new(base::clock::now_us()));
    let clock = now.clone();
    let source = crate::catalog::Source {
        now_us: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..crate::catalog::Source::default()
    };
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let catalog = Catalog::open(store.clone(), Options { source, ..options() }).await.unwrap();
    let w = Warehouse { store, catalog };
    let retention =
        Op::SetSetting { name: RETENTION_SETTING.to_owned(), value: Some("60".to_owned()) };
    w.commit(vec![retention, Op::CreateTable(table(T, "t")), Op::CreateTable(table(U, "u"))]).await;
    let path = w.add(T).await.path.clone();
    let segments = vec![segment(&path)];
    let moved = Op::AddSegments { table: U, segments, identity_next: Vec::new() };
    w.commit(vec![truncate(), moved]).await;
    now.fetch_add(50_000_000, Ordering::Relaxed);
    w.commit(vec![Op::RemoveAllSegments { table: U }]).await;
    now.fetch_add(50_000_000, Ordering::Relaxed);
    assert_eq!(w.collect().await, 0);
    assert!(w.exists(&path).await);
    now.fetch_add(50_000_000, Ordering::Relaxed);
    assert_eq!(w.collect().await, 1);
}

#[tokio::test]
async fn many_files_go_in_bounded_rounds() {
    let w = Warehouse::new().await;
    let segments: Vec<Segment> =
        (0..10_500).map(|n| segment(&format!("data/100000/1-1-0000-{n}.seg"))).collect();
    w.commit(vec![Op::AddSegments { table: T, segments, identity_next: Vec::new() }]).await;
    w.commit(vec![truncate()]).await;
    let mut removed = Vec::new();
    for _ in 0..4 {
        removed.push(w.catalog.collect_garbage().await.unwrap().removed);
    }
    assert_eq!(removed, [0, 10_000, 500, 0]);
}
