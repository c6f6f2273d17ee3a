//! Time travel: states of the past, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base::ids::Oid;
use object_store::ObjectStore;
use object_store::memory::InMemory;

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
