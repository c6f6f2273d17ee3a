//! The log in a store: start again, fencing, damage, conflicts, checkpoints.

use std::sync::Arc;

use base::ids::{ColumnId, LogPosition, Oid};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::{column, fresh, image, options, same_without_checkpoints, segment, table};
use crate::record::{checkpoint_path, log_path};
use crate::simulation::store::{Client, Shared};
use crate::{Catalog, Identity, IdentityNext, Op, Options, Table, TableChange, Transaction};

const T: Oid = Oid(100_000);

#[track_caller]
fn with(catalog: &Catalog, ops: Vec<Op>) -> Transaction {
    let mut transaction = catalog.begin();
    for op in ops {
        transaction.apply(op).unwrap();
    }
    transaction
}

async fn commit(catalog: &Catalog, op: Op) {
    catalog.commit(with(catalog, vec![op])).await.unwrap();
}

fn add(path: &str) -> Op {
    Op::AddSegments { table: T, segments: vec![segment(path)], identity_next: Vec::new() }
}

async fn fails(catalog: &Catalog, transaction: Transaction, code: &str) -> base::Error {
    let error = catalog.commit(transaction).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), code, "{error:?}");
    error
}

async fn rewrite(store: &dyn ObjectStore, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = store.get(path).await.unwrap().bytes().await.unwrap().to_vec();
    change(&mut bytes);
    store.put(path, PutPayload::from(bytes)).await.unwrap();
}

async fn cannot_open(store: &Arc<dyn ObjectStore>, code: &str) -> base::Error {
    let error = Catalog::open(store.clone(), options()).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), code, "{error:?}");
    error
}

#[tokio::test]
async fn a_second_start_continues() {
    let (store, catalog) = fresh().await;
    commit(&catalog, Op::CreateTable(table(catalog.begin().new_oid(), "t"))).await;
    commit(&catalog, add("data/100000/1-1-0000-0.seg")).await;
    let (before, id) = (catalog.head(), catalog.head().cluster_id().to_owned());
    catalog.close().await.unwrap();
    let error = fails(&catalog, with(&catalog, vec![add("data/100000/x")]), "57P03").await;
    assert!(error.message().contains("closed"));
    let again = Catalog::open(store.clone(), Options { slices: 9, ..options() }).await.unwrap();
    assert_eq!((again.epoch().0, again.head().cluster_id()), (2, id.as_str()));
    assert_eq!(again.head().slice_count(), 2, "fixed when the cluster was made");
    assert_eq!(again.head().segments(T), before.segments(T));
    assert_eq!(again.begin().new_oid(), Oid(100_001));
    same_without_checkpoints(store, &again.head()).await.unwrap();
}

#[tokio::test]
async fn a_new_leader_fences_the_old() {
    let (store, old) = fresh().await;
    commit(&old, Op::CreateTable(table(T, "t"))).await;
    let new = Catalog::open(store.clone(), options()).await.unwrap();
    let error = fails(&old, with(&old, vec![add("data/100000/1-9-0000-0.seg")]), "57P03").await;
    assert!(error.message().starts_with("another leader"), "{error:?}");
    fails(&old, with(&old, vec![add("data/100000/1-9-0000-1.seg")]), "57P03").await;
    commit(&new, add("data/100000/2-1-0000-0.seg")).await;
    assert_eq!(new.head().segment_count(T), 1);
    assert!(old.orphans().await.is_ok());
    assert!(old.remove_orphans(&[]).await.is_err(), "a fenced leader removes nothing");
}

#[tokio::test]
async fn waiting_transactions_share_a_record() {
    let (_, catalog) = fresh().await;
    commit(&catalog, Op::CreateTable(table(T, "t"))).await;
    let before = catalog.head().position().0;
    let loads = (0..100).map(|n| {
        let transaction = with(&catalog, vec![add(&format!("data/100000/1-{n}-0000-0.seg"))]);
        catalog.commit(transaction)
    });
    for outcome in futures::future::join_all(loads).await {
        outcome.unwrap();
    }
    assert_eq!(catalog.head().segment_count(T), 100);
    assert!(catalog.head().position().0 - before < 10, "group commit");
}

#[tokio::test]
async fn the_first_committer_wins() {
    let (_, catalog) = fresh().await;
    commit(&catalog, Op::CreateTable(table(T, "t"))).await;
    let append = || with(&catalog, vec![add("data/100000/1-1-0000-0.seg")]);
    // Appends commute, with each other, with TRUNCATE and with a rename.
    let (one, two) = (append(), append());
    let truncate = with(&catalog, vec![Op::RemoveAllSegments { table: T }]);
    let three = append();
    for transaction in [one, two, truncate, three] {
        catalog.commit(transaction).await.unwrap();
    }
    assert_eq!(catalog.head().segment_count(T), 1);
    let rename = TableChange::RenameTable("u".into());
    let late = append();
    commit(&catalog, Op::AlterTable { table: T, change: rename }).await;
    catalog.commit(late).await.unwrap();
    // A rewrite does not commute with an append, nor an append with another shape of the table.
    let rewrite =
        with(&catalog, vec![Op::RemoveAllSegments { table: T }, add("data/100000/1-1-0000-1.seg")]);
    let late = append();
    let change = TableChange::AddColumn(column(2, "c", base::SqlType::Date));
    let (alter, other) = (
        with(&catalog, vec![Op::AlterTable { table: T, change: change.clone() }]),
        with(&catalog, vec![Op::AlterTable { table: T, change }]),
    );
    catalog.commit(append()).await.unwrap();
    fails(&catalog, rewrite, "40001").await;
    catalog.commit(alter).await.unwrap();
    let error = fails(&catalog, late, "40001").await;
    assert!(error.get_detail().unwrap().contains("table \"u\""), "{error:?}");
    fails(&catalog, other, "40001").await;
    // Nothing is added to a table that is gone, and a name is given once.
    let (late, gone) = (append(), Op::DropRelation { relation: T, cascade: false });
    let twice = with(&catalog, vec![gone.clone()]);
    commit(&catalog, gone).await;
    fails(&catalog, late, "40001").await;
    fails(&catalog, twice, "40001").await;
    let make = |oid| with(&catalog, vec![Op::CreateTable(table(Oid(oid), "n"))]);
    let (first, second) = (make(100_001), make(100_002));
    catalog.commit(first).await.unwrap();
    fails(&catalog, second, "42P07").await;
}

#[tokio::test]
async fn identity_values_are_given_once() {
    let (_, catalog) = fresh().await;
    let mut numbered = table(T, "t");
    numbered.columns[0].identity = Some(Identity { seed: 1, step: 1, by_default: false });
    commit(&catalog, Op::CreateTable(numbered)).await;
    let (one, two) = (catalog.begin(), catalog.begin());
    assert_eq!(one.reserve_identity(T, ColumnId(0), 10).unwrap(), 1);
    assert_eq!(two.reserve_identity(T, ColumnId(0), 5).unwrap(), 11);
    assert!(one.reserve_identity(T, ColumnId(1), 1).is_err());
    assert!(one.reserve_identity(T, ColumnId(0), u64::MAX).is_err());
    let use_up = |mut transaction: Transaction, next, reserved| {
        let identity_next = vec![IdentityNext { column: ColumnId(0), next, reserved }];
        let op = Op::AddSegments { table: T, segments: Vec::new(), identity_next };
        transaction.apply(op).unwrap();
        transaction
    };
    let counted = use_up(catalog.begin(), 3, false);
    catalog.commit(use_up(two, 16, true)).await.unwrap();
    catalog.commit(use_up(one, 11, true)).await.unwrap();
    fails(&catalog, counted, "40001").await;
    assert_eq!(catalog.head().identity_next(T, ColumnId(0)), Some(16));
}

#[tokio::test]
async fn temporary_tables_end_with_the_epoch() {
    let (store, catalog) = fresh().await;
    let temporary =
        Table { schema: crate::PG_TEMP_SCHEMA_OID, temporary: Some(7), ..table(T, "t") };
    commit(&catalog, Op::CreateTable(temporary)).await;
    assert!(catalog.head().temporary(7, "t").is_some());
    let again = Catalog::open(store, options()).await.unwrap();
    assert!(again.head().temporary(7, "t").is_none());
}

#[tokio::test]
async fn damage_is_named() {
    let (store, catalog) = fresh().await;
    for n in 0..4 {
        commit(&catalog, Op::CreateTable(table(Oid(100_000 + n), &format!("t{n}")))).await;
    }
    catalog.close().await.unwrap();
    let path = log_path(LogPosition(3));
    let whole = store.get(&path).await.unwrap().bytes().await.unwrap();
    for at in [0, 5, 9, 20, 30, 40, 50, 54, 60, whole.len() - 1] {
        rewrite(&*store, &path, |bytes| bytes[at] ^= 1).await;
        let code = if at == 5 { "0A000" } else { "XX001" };
        let error = cannot_open(&store, code).await;
        assert!(error.message().contains(path.as_ref()), "{error:?}");
        store.put(&path, whole.clone().into()).await.unwrap();
    }
    for length in [0, 3, 5, 20, 56, whole.len() - 1] {
        rewrite(&*store, &path, |bytes| bytes.truncate(length)).await;
        cannot_open(&store, "XX001").await;
        store.put(&path, whole.clone().into()).await.unwrap();
    }
    // A record in another's place, and a hole.
    let other = store.get(&log_path(LogPosition(4))).await.unwrap().bytes().await.unwrap();
    store.put(&path, other.into()).await.unwrap();
    cannot_open(&store, "XX001").await;
    store.delete(&path).await.unwrap();
    let error = cannot_open(&store, "XX001").await;
    assert!(error.message().contains("missing"), "{error:?}");
    store.put(&path, whole.into()).await.unwrap();
    assert!(Catalog::open(store, options()).await.is_ok());
}

#[tokio::test]
async fn checkpoints_shorten_start_and_may_be_damaged() {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let options = Options { checkpoint_records: 5, ..options() };
    let catalog = Catalog::open(store.clone(), options.clone()).await.unwrap();
    for n in 0..40 {
        let op = Op::CreateTable(table(Oid(100_000 + n), &format!("t{n}")));
        commit(&catalog, op).await;
        tokio::task::yield_now().await;
    }
    catalog.close().await.unwrap();
    let kept = crate::checkpoint::list(&*store).await.unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let before = image(&catalog.head());
    for damaged in &kept {
        rewrite(&*store, &checkpoint_path(*damaged), |bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        })
        .await;
        let again = Catalog::open(store.clone(), options.clone()).await.unwrap();
        assert_eq!(image(&again.head())[1..], before[1..], "{damaged}");
        again.close().await.unwrap();
    }
    // A newer version's checkpoint must not be passed over: its log may be newer too.
    rewrite(&*store, &checkpoint_path(kept[0]), |bytes| bytes[4] = 2).await;
    cannot_open(&store, "0A000").await;
}

#[tokio::test]
async fn a_store_without_put_if_absent_is_refused() {
    let shared = Shared::new(1, true);
    shared.lock().unwrap().creates = false;
    let store: Arc<dyn ObjectStore> = Client::new(&shared, u64::MAX);
    let error = cannot_open(&store, "58000").await;
    assert!(error.message().contains("put-if-absent"), "{error:?}");
}

#[tokio::test]
async fn orphans_are_files_of_the_past_that_nobody_names() {
    let (store, catalog) = fresh().await;
    commit(&catalog, Op::CreateTable(table(T, "t"))).await;
    let named = catalog.begin().segment_path(T, Some(base::ids::SliceId(0)), 0);
    let left = catalog.begin().segment_path(T, None, 3);
    for path in [named.as_str(), left.as_str(), "data/100000/notes.txt"] {
        store.put(&Path::from(path), PutPayload::from_static(b"x")).await.unwrap();
    }
    commit(&catalog, add(&named)).await;
    assert!(catalog.orphans().await.unwrap().is_empty(), "this epoch's may yet be committed");
    let again = Catalog::open(store.clone(), options()).await.unwrap();
    let orphans = again.orphans().await.unwrap();
    assert_eq!(orphans, vec![left.clone()]);
    again.remove_orphans(&orphans).await.unwrap();
    again.remove_orphans(&orphans).await.unwrap();
    assert!(store.head(&Path::from(left.as_str())).await.is_err());
    assert!(store.head(&Path::from(named.as_str())).await.is_ok());
}

#[tokio::test]
#[ignore = "a minute and gigabytes: run by hand"]
async fn a_million_segments() {
    use base::segment::{ColumnStats, Datum};
    let (_, catalog) = fresh().await;
    commit(&catalog, Op::CreateTable(table(T, "t"))).await;
    let stats = |column, n: i128| ColumnStats {
        column: ColumnId(column),
        min: Some(Datum::Int(n)),
        max: Some(Datum::Int(n + 1_000)),
        distinct: Some(500),
        bytes: 1 << 20,
        ..ColumnStats::default()
    };
    let began = std::time::Instant::now();
    for load in 0..1_000_u32 {
        let segments = (0..1_000)
            .map(|n| base::segment::Segment {
                columns: (0..8).map(|c| stats(c, i128::from(n))).collect(),
                ..segment(&format!("data/100000/1-{load}-0000-{n}.seg"))
            })
            .collect();
        let op = Op::AddSegments { table: T, segments, identity_next: Vec::new() };
        commit(&catalog, op).await;
    }
    println!("1,000 loads of 1,000 segments: {:?}", began.elapsed());
    let head = catalog.head();
    let began = std::time::Instant::now();
    assert_eq!(head.segments(T).len(), 1_000_000);
    println!("slice: {:?}", began.elapsed());
    let began = std::time::Instant::now();
    let bytes = crate::record::encode_checkpoint(&head, 1, 2).unwrap();
    println!("checkpoint of {} bytes: {:?}", bytes.len(), began.elapsed());
    let began = std::time::Instant::now();
    let path = checkpoint_path(head.position());
    let (state, _) = crate::record::decode_checkpoint(&path, head.position(), &bytes).unwrap();
    println!("read back: {:?}", began.elapsed());
    assert_eq!(state.segment_count(T), 1_000_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{:?}", status.lines().find(|line| line.starts_with("VmRSS")));
}
