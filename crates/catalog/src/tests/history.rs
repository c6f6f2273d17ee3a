//! Time travel: states of the past, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base::ids::{LogPosition, Oid};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::{image, options, segment, table};
use crate::catalog::Source;
use crate::{Catalog, Op, Options, RETENTION_SETTING};

const T: Oid = Oid(100_000);
const SECOND: i64 = 1_000_000;

async fn commit(catalog: &Catalog, op: Op) {
    let mut transaction = catalog.begin();
    transaction.apply(op).unwrap();
    catalog.commit(transaction).await.unwrap();
}

#[tokio::test]
async fn states_of_the_past_come_back() {
    // Real time, so that the store's modification times fit.
    let now = Arc::new(AtomicI64::new(base::clock::now_us()));
    let began = now.load(Ordering::Relaxed);
    let clock = now.clone();
    let source =
        Source { now_us: Arc::new(move || clock.load(Ordering::Relaxed)), ..Source::default() };
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let options = Options { checkpoint_records: 4, source, ..options() };
    let catalog = Catalog::open(store.clone(), options.clone()).await.unwrap();
    let retention = Op::SetSetting { name: RETENTION_SETTING.into(), value: Some("60".into()) };
    commit(&catalog, retention).await;
    commit(&catalog, Op::CreateTable(table(T, "t"))).await;
    let mut states = Vec::new();
    for n in 0..40 {
        now.fetch_add(SECOND, Ordering::Relaxed);
        let segments = vec![segment(&format!("data/100000/1-{n}-0000-0.seg"))];
        commit(&catalog, Op::AddSegments { table: T, segments, identity_next: Vec::new() }).await;
        states.push((now.load(Ordering::Relaxed), catalog.head()));
        tokio::task::yield_now().await;
    }
    for (time_us, state) in &states {
        for within in [0, SECOND / 2] {
            let time_us = (*time_us + within).min(now.load(Ordering::Relaxed));
            let found = catalog.state_at(time_us).await.unwrap();
            assert_eq!(image(&found), image(state));
        }
    }
    assert_eq!(catalog.state_at(began).await.unwrap().segment_count(T), 0);
    let code = |error: base::Error| error.sqlstate().code();
    let future = now.load(Ordering::Relaxed) + 1;
    assert_eq!(code(catalog.state_at(future).await.unwrap_err()), "22023");
    now.fetch_add(30 * SECOND, Ordering::Relaxed);
    let error = catalog.state_at(began).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), "22023");
    assert!(error.get_detail().unwrap().contains("60 seconds"), "{error:?}");
    let oldest = base::clock::shown_utc(catalog.oldest_readable_us());
    assert!(error.get_hint().unwrap().contains(&oldest), "{error:?}");
    assert!(catalog.state_at(states[12].0).await.is_ok());
    // A clock that goes back does not turn the log's time back.
    now.fetch_sub(3_600 * SECOND, Ordering::Relaxed);
    let before = catalog.head().time_us();
    commit(&catalog, Op::CreateTable(table(Oid(100_001), "u"))).await;
    assert_eq!(catalog.head().time_us(), before);
    let again = Catalog::open(store, options).await.unwrap();
    assert_eq!(again.head().time_us(), before);
}

#[tokio::test]
async fn a_state_that_is_held_keeps_its_files() {
    let now = Arc::new(AtomicI64::new(base::clock::now_us()));
    let clock = now.clone();
    let source =
        Source { now_us: Arc::new(move || clock.load(Ordering::Relaxed)), ..Source::default() };
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let catalog = Catalog::open(store, Options { source, ..options() }).await.unwrap();
    let retention = Op::SetSetting { name: RETENTION_SETTING.into(), value: Some("60".into()) };
    commit(&catalog, retention).await;
    commit(&catalog, Op::CreateTable(table(T, "t"))).await;
    let segments = vec![segment("data/100000/1-1-0000-0.seg")];
    commit(&catalog, Op::AddSegments { table: T, segments, identity_next: Vec::new() }).await;
    let at = now.fetch_add(SECOND, Ordering::Relaxed);
    commit(&catalog, Op::RemoveAllSegments { table: T }).await;
    let held = catalog.state_at(at).await.unwrap();
    assert_eq!(held.segment_count(T), 1);
    now.fetch_add(3_600 * SECOND, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(catalog.collect_garbage().await.unwrap().removed, 0);
    }
    drop(held);
    let mut removed = 0;
    for _ in 0..3 {
        removed += catalog.collect_garbage().await.unwrap().removed;
    }
    assert_eq!(removed, 1);
}

/// A catalog whose clock the test moves.
struct Timed {
    now: Arc<AtomicI64>,
    store: Arc<dyn ObjectStore>,
    options: Options,
    catalog: Catalog,
}

impl Timed {
    async fn new(retention_s: &str) -> Timed {
        let now = Arc::new(AtomicI64::new(base::clock::now_us()));
        let clock = now.clone();
        let source =
            Source { now_us: Arc::new(move || clock.load(Ordering::Relaxed)), ..Source::default() };
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let options = Options { checkpoint_records: 4, source, ..options() };
        let catalog = Catalog::open(store.clone(), options.clone()).await.unwrap();
        let timed = Timed { now, store, options, catalog };
        timed.set(retention_s).await;
        // What is kept is told in microseconds.
        timed.pass(1);
        timed
    }

    async fn set(&self, retention_s: &str) {
        let value = Some(retention_s.to_owned());
        commit(&self.catalog, Op::SetSetting { name: RETENTION_SETTING.into(), value }).await;
    }

    /// Time goes on; gives the time before.
    fn pass(&self, seconds: i64) -> i64 {
        self.now.fetch_add(seconds * SECOND, Ordering::Relaxed)
    }

    async fn create(&self, oid: Oid, name: &str, path: &str) {
        commit(&self.catalog, Op::CreateTable(table(oid, name))).await;
        self.add(oid, path).await;
    }

    async fn add(&self, table: Oid, path: &str) {
        self.store.put(&Path::from(path), PutPayload::from_static(b"x")).await.unwrap();
        let segments = vec![segment(path)];
        commit(&self.catalog, Op::AddSegments { table, segments, identity_next: vec![] }).await;
    }

    async fn drop(&self, relation: Oid) {
        commit(&self.catalog, Op::DropRelation { relation, cascade: false }).await;
    }

    /// What a clone names: the very segments of another table.
    async fn share(&self, from: &crate::State, table_oid: Oid, to: Oid, name: &str) {
        let mut transaction = self.catalog.begin();
        transaction.apply(Op::CreateTable(table(to, name))).unwrap();
        let segments = from.segments(table_oid).iter().map(|one| (**one).clone()).collect();
        let add = Op::AddSegments { table: to, segments, identity_next: vec![] };
        transaction.apply(add).unwrap();
        self.catalog.commit(transaction).await.unwrap();
    }

    async fn exists(&self, path: &str) -> bool {
        self.store.head(&Path::from(path)).await.is_ok()
    }

    async fn collect(&self) -> usize {
        let mut removed = 0;
        for _ in 0..4 {
            removed += self.catalog.collect_garbage().await.unwrap().removed;
        }
        for path in self.catalog.head().segment_paths() {
            assert!(self.exists(path).await, "{path} is named and gone");
        }
        removed
    }
}

#[tokio::test]
async fn states_come_back_by_their_number() {
    let timed = Timed::new("60").await;
    timed.create(T, "t", "data/100000/1-0-0000-0.seg").await;
    let mut states = Vec::new();
    for n in 1..15 {
        // Several records within one microsecond.
        if n % 3 == 0 {
            timed.pass(1);
        }
        timed.add(T, &format!("data/100000/1-{n}-0000-0.seg")).await;
        states.push(timed.catalog.head());
        tokio::task::yield_now().await;
    }
    for state in &states {
        let found = timed.catalog.state_after(state.position()).await.unwrap();
        assert_eq!(image(&found), image(state));
    }
    let code = |error: base::Error| error.sqlstate().code();
    let beyond = LogPosition(states[13].position().0 + 1);
    assert_eq!(code(timed.catalog.state_after(beyond).await.unwrap_err()), "22023");
    assert_eq!(code(timed.catalog.state_after(LogPosition(0)).await.unwrap_err()), "22023");
    timed.pass(57);
    let old = timed.catalog.state_after(states[1].position()).await.unwrap_err();
    assert!(old.get_hint().unwrap().contains("oldest moment"), "{old:?}");
    // One that was the newest until lately is there, however long ago it was made.
    assert!(timed.catalog.state_after(states[8].position()).await.is_ok());
    timed.pass(600);
    let newest = states[13].position();
    assert!(Arc::ptr_eq(&timed.catalog.state_after(newest).await.unwrap(), &states[13]));
}

#[tokio::test]
async fn a_state_by_number_keeps_its_files() {
    let timed = Timed::new("60").await;
    let path = "data/100000/1-0-0000-0.seg";
    timed.create(T, "t", path).await;
    let position = timed.catalog.head().position();
    commit(&timed.catalog, Op::RemoveAllSegments { table: T }).await;
    let held = timed.catalog.state_after(position).await.unwrap();
    timed.pass(3_600);
    assert_eq!(timed.collect().await, 0);
    drop(held);
    assert_eq!(timed.collect().await, 1);
    assert!(!timed.exists(path).await);
}

#[tokio::test]
async fn dropped_tables_are_found_and_come_back() {
    let timed = Timed::new("60").await;
    let (first, second) = ("data/100000/1-0-0000-0.seg", "data/100001/1-1-0000-0.seg");
    timed.create(T, "t", first).await;
    timed.pass(1);
    timed.drop(T).await;
    timed.create(Oid(100_001), "t", second).await;
    timed.pass(1);
    let database = crate::DEV_DATABASE_OID;
    let found = timed.catalog.dropped_table(database, "public", "t").await.unwrap().unwrap();
    assert_eq!(found.table.oid, T);
    drop(found);
    timed.drop(Oid(100_001)).await;
    let found = timed.catalog.dropped_table(database, "public", "t").await.unwrap().unwrap();
    assert_eq!((found.table.oid, found.state.segment_count(Oid(100_001))), (Oid(100_001), 1));
    for (schema, name) in [("public", "u"), ("other", "t")] {
        assert!(timed.catalog.dropped_table(database, schema, name).await.unwrap().is_none());
    }
    // While it is held its files stay; once it is back they stay for good.
    timed.pass(600);
    assert_eq!(timed.collect().await, 1, "the first table's");
    timed.share(&found.state, Oid(100_001), Oid(100_001), "t").await;
    drop(found);
    assert_eq!(timed.collect().await, 0);
    assert!(timed.exists(second).await);
    assert!(timed.catalog.dropped_table(database, "public", "t").await.unwrap().is_none());
    // It is back, so that of the drops within the time none counts.
    timed.pass(1);
    timed.drop(Oid(100_001)).await;
    let found = timed.catalog.dropped_table(database, "public", "t").await.unwrap().unwrap();
    timed.share(&found.state, Oid(100_001), Oid(100_001), "t").await;
    assert!(timed.catalog.dropped_table(database, "public", "t").await.unwrap().is_none());
}

/// Two tables that share files: each may change or go without harm to the other.
#[tokio::test]
async fn shared_files_stay_while_either_table_needs_them() {
    for source_first in [true, false] {
        let timed = Timed::new("0").await;
        let (shared, own) = ("data/100000/1-0-0000-0.seg", "data/100000/1-1-0000-0.seg");
        let clone = Oid(100_001);
        timed.create(T, "t", shared).await;
        timed.share(&timed.catalog.head(), T, clone, "c").await;
        timed.add(T, own).await;
        assert_eq!(timed.catalog.head().segment_count(clone), 1);
        let (one, other) = if source_first { (T, clone) } else { (clone, T) };
        timed.drop(one).await;
        assert_eq!(timed.collect().await, usize::from(source_first));
        assert!(timed.exists(shared).await);
        // Nor does a new leader take the file for an orphan.
        let next = Catalog::open(timed.store.clone(), timed.options.clone()).await.unwrap();
        assert!(next.orphans().await.unwrap().is_empty());
        let timed = Timed { catalog: next, ..timed };
        timed.drop(other).await;
        assert_eq!(timed.collect().await, if source_first { 1 } else { 2 });
        assert!(!timed.exists(shared).await);
    }
}

/// A longer retention brings nothing back, and says so.
#[tokio::test]
async fn a_raised_retention_counts_from_when_it_was_raised() {
    let timed = Timed::new("0").await;
    let path = "data/100000/1-0-0000-0.seg";
    timed.create(T, "t", path).await;
    let before = timed.pass(1);
    commit(&timed.catalog, Op::RemoveAllSegments { table: T }).await;
    assert_eq!(timed.collect().await, 1);
    timed.pass(1);
    timed.set("3600").await;
    let raised = timed.pass(1);
    assert!(timed.catalog.state_at(raised).await.is_ok());
    let error = timed.catalog.state_at(before).await.unwrap_err();
    let oldest = base::clock::shown_utc(raised);
    assert!(error.get_hint().unwrap().contains(&oldest), "{error:?}");
    // A new leader knows that from the log or from a checkpoint.
    for n in 0..6 {
        timed.add(T, &format!("data/100000/1-{}-0000-0.seg", n + 1)).await;
        tokio::task::yield_now().await;
    }
    let next = Catalog::open(timed.store.clone(), timed.options.clone()).await.unwrap();
    assert_eq!(next.oldest_readable_us(), raised);
    let timed = Timed { catalog: next, ..timed };
    timed.set("60").await;
    timed.set("7200").await;
    timed.pass(3_000);
    // Lowered and raised again: what the short time let go is gone.
    assert!(timed.catalog.oldest_readable_us() >= raised);
    assert!(timed.catalog.state_at(before).await.is_err());
}
