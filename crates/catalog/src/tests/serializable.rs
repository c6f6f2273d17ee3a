//! SERIALIZABLE: anomalies are refused, and nothing else is.

use std::collections::BTreeSet;

use base::ids::Oid;

use super::{fresh, segment, table};
use crate::simulation::store::Dice;
use crate::{Catalog, Op, Transaction};

const A: Oid = Oid(100_000);
const B: Oid = Oid(100_001);
const C: Oid = Oid(100_002);

fn write(table: Oid) -> Op {
    Op::AddSegments {
        table,
        segments: vec![segment(&format!("data/{table}/x"))],
        identity_next: Vec::new(),
    }
}

async fn with_tables() -> Catalog {
    let (_, catalog) = fresh().await;
    for (oid, name) in [(A, "a"), (B, "b"), (C, "c")] {
        let mut transaction = catalog.begin();
        transaction.apply(Op::CreateTable(table(oid, name))).unwrap();
        catalog.commit(transaction).await.unwrap();
    }
    catalog
}

/// A serializable transaction that read and wrote.
fn begin(catalog: &Catalog, reads: &[Oid], writes: &[Oid]) -> Transaction {
    let mut transaction = catalog.begin();
    transaction.set_serializable(true);
    transaction.read(reads.iter().copied());
    for table in writes {
        transaction.apply(write(*table)).unwrap();
    }
    transaction
}

async fn refused(catalog: &Catalog, transaction: Transaction, table: &str) -> base::Error {
    let error = catalog.commit(transaction).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), "40001", "{error:?}");
    assert_eq!(
        error.message(),
        format!(
            "could not serialize access: Serializable isolation violation on table \"{table}\""
        )
    );
    assert!(error.get_detail().unwrap().starts_with("1023"), "{error:?}");
    assert!(error.get_hint().is_some());
    assert_eq!(error.get_retry(), base::Retry::NewTransaction);
    error
}

#[tokio::test]
async fn write_skew_is_refused_and_named() {
    let catalog = with_tables().await;
    let (one, two) = (begin(&catalog, &[A], &[B]), begin(&catalog, &[B], &[A]));
    let ids = format!("are {}, {};", one.id(), two.id());
    catalog.commit(one).await.unwrap();
    let error = refused(&catalog, two, "public.b").await;
    let detail = error.get_detail().unwrap();
    assert!(detail.contains(&ids), "{detail}");
    assert!(detail.contains("\"public.a\", \"public.b\""), "{detail}");
    // The same in one record.
    let (one, two) = (begin(&catalog, &[A], &[B]), begin(&catalog, &[B], &[A]));
    let (one, two) = futures::join!(catalog.commit(one), catalog.commit(two));
    assert!(one.is_ok() && two.is_err());
    // Under SNAPSHOT both commit, and so do two of which only one is serializable.
    for serializable in [false, true] {
        let (one, mut two) = (begin(&catalog, &[A], &[B]), begin(&catalog, &[B], &[A]));
        two.set_serializable(false);
        let mut one = one;
        one.set_serializable(serializable);
        catalog.commit(one).await.unwrap();
        catalog.commit(two).await.unwrap();
    }
}

#[tokio::test]
async fn what_fits_a_serial_order_commits() {
    let catalog = with_tables().await;
    // Blind appends, an append beside its reader, and writers of what nobody else reads.
    for (first, second) in [
        ((vec![], vec![A]), (vec![], vec![A])),
        ((vec![], vec![A]), (vec![A], vec![B])),
        ((vec![A], vec![B]), (vec![], vec![A])),
        ((vec![A], vec![A]), (vec![B], vec![B])),
        ((vec![A, B], vec![]), (vec![A, B], vec![C])),
    ] {
        let one = begin(&catalog, &first.0, &first.1);
        let two = begin(&catalog, &second.0, &second.1);
        catalog.commit(one).await.unwrap();
        catalog.commit(two).await.unwrap();
    }
    // A table read and written whose rows changed meanwhile does not fit.
    let late = begin(&catalog, &[A], &[A]);
    catalog.commit(begin(&catalog, &[], &[A])).await.unwrap();
    refused(&catalog, late, "public.a").await;
}

#[tokio::test]
async fn a_change_of_rows_reads_its_table() {
    let catalog = with_tables().await;
    for n in 0..2 {
        let segments = vec![segment(&format!("data/100000/1-{n}-0000-0.seg"))];
        let mut transaction = catalog.begin();
        let op = Op::AddSegments { table: A, segments, identity_next: Vec::new() };
        transaction.apply(op).unwrap();
        catalog.commit(transaction).await.unwrap();
    }
    let delete = |n: usize| {
        let mut transaction = begin(&catalog, &[], &[]);
        let segments = transaction.state().segments(A);
        let deletes = base::segment::Deletes {
            rows: 1,
            bitmap: base::segment::Bitmap::Inline(vec![0].into()),
        };
        let deletes = vec![crate::SegmentDeletes {
            segment: crate::SegmentName::from(&*segments[n]),
            deletes: deletes.into(),
        }];
        transaction.apply(Op::DeleteRows { table: A, deletes }).unwrap();
        transaction
    };
    let (one, two) = (delete(0), delete(1));
    catalog.commit(one).await.unwrap();
    refused(&catalog, two, "public.a").await;
}

/// The pivot reads `a` and writes `b`; what it did not see wrote `a`; the reader sees that and
/// not the pivot.
#[tokio::test]
async fn a_reader_may_not_see_what_no_order_has() {
    for reader_first in [true, false] {
        let catalog = with_tables().await;
        let pivot = begin(&catalog, &[A], &[B]);
        catalog.commit(begin(&catalog, &[], &[A])).await.unwrap();
        let reader = begin(&catalog, &[A, B], &[]);
        if reader_first {
            catalog.commit(reader).await.unwrap();
            refused(&catalog, pivot, "public.a").await;
        } else {
            catalog.commit(pivot).await.unwrap();
            refused(&catalog, reader, "public.b").await;
        }
    }
    // One that gave up constrains nobody.
    let catalog = with_tables().await;
    let pivot = begin(&catalog, &[A], &[B]);
    catalog.commit(begin(&catalog, &[], &[A])).await.unwrap();
    drop(begin(&catalog, &[A, B], &[]));
    catalog.commit(pivot).await.unwrap();
}

#[tokio::test]
async fn open_snapshots_are_known() {
    let catalog = with_tables().await;
    assert_eq!(catalog.open_snapshots().first(), None);
    let (first, second) = (catalog.begin(), catalog.begin());
    let at = catalog.head().position();
    catalog.commit(begin(&catalog, &[], &[A])).await.unwrap();
    let third = begin(&catalog, &[A], &[]);
    assert_eq!(catalog.open_snapshots().first(), Some(&at));
    drop(first);
    assert_eq!(catalog.open_snapshots().first(), Some(&at));
    drop(second);
    assert_eq!(catalog.open_snapshots().first(), Some(&catalog.head().position()));
    catalog.commit(third).await.unwrap();
    assert_eq!(catalog.open_snapshots().first(), None);
}

#[tokio::test]
async fn a_snapshot_beside_a_commit_on_its_way_forgets_nothing() {
    let catalog = with_tables().await;
    let reader = catalog.begin();
    let mut writer = catalog.begin();
    writer.apply(write(A)).unwrap();
    catalog.commit(writer).await.unwrap();
    // As one that was opened while the writer's record was being put.
    let mut reader = reader;
    reader.set_serializable(true);
    reader.read([A]);
    catalog.commit(reader).await.unwrap();
}

#[tokio::test]
async fn a_level_asked_for_too_late_is_refused_rather_than_wrong() {
    let catalog = with_tables().await;
    let (mut reader, mut other) = (catalog.begin(), catalog.begin());
    // A record is forgotten once the next one is written.
    for table in [A, C] {
        let mut writer = catalog.begin();
        writer.apply(write(table)).unwrap();
        catalog.commit(writer).await.unwrap();
    }
    reader.set_serializable(true);
    other.set_serializable(true);
    reader.read([A]);
    other.read([B]);
    refused(&catalog, reader, "public.a").await;
    catalog.commit(other).await.unwrap();
}

/// A transaction as the reference sees it.
#[derive(Clone, Debug)]
struct Model {
    snapshot: u64,
    /// Its record; readers have none, but a place in the order.
    at: Option<u64>,
    reads: Option<BTreeSet<Oid>>,
    writes: BTreeSet<Oid>,
}

/// True when `from` has to come before `to`; both committed, in the order of their places.
fn precedes(all: &[Model], from: usize, to: usize) -> bool {
    let (a, b) = (&all[from], &all[to]);
    let empty = BTreeSet::new();
    let reads = |one: &Model| one.reads.clone().unwrap_or_default();
    let meets = |x: &BTreeSet<Oid>, y: &BTreeSet<Oid>| x.intersection(y).next().is_some();
    let sees = |reader: &Model, writer: &Model| writer.at.is_some_and(|at| at <= reader.snapshot);
    (from < to && meets(&a.writes, &b.writes))
        || (sees(b, a) && meets(&a.writes, &reads(b)))
        || (!sees(a, b) && meets(&reads(a), if b.at.is_some() { &b.writes } else { &empty }))
}

/// True when the last of `all` is on a cycle, by looking at every edge.
fn closes_cycle(all: &[Model]) -> bool {
    let last = all.len() - 1;
    let mut waiting = vec![last];
    let mut seen = BTreeSet::new();
    while let Some(from) = waiting.pop() {
        for to in (0..all.len()).filter(|to| *to != from && precedes(all, from, *to)) {
            if to == last {
                return true;
            }
            if seen.insert(to) {
                waiting.push(to);
            }
        }
    }
    false
}

#[tokio::test]
async fn random_histories_are_decided_as_by_the_whole_graph() {
    const TABLES: u64 = 4;
    let (mut accepted, mut rejected) = (0, 0);
    for seed in 0..400 {
        let catalog = with_tables().await;
        let mut last = catalog.begin();
        last.apply(Op::CreateTable(table(Oid(100_003), "d"))).unwrap();
        catalog.commit(last).await.unwrap();
        let mut dice = Dice::new(seed);
        let mut open: Vec<(Transaction, Model)> = Vec::new();
        let mut all: Vec<Model> = Vec::new();
        let long_lived = dice.below(3) + 2;
        for _ in 0..60 {
            let any = |dice: &mut Dice| Oid(100_000 + u32::try_from(dice.below(TABLES)).unwrap());
            if open.is_empty() || (open.len() < 8 && dice.percent(50)) {
                let serializable = dice.percent(85);
                let reads: BTreeSet<Oid> = (0..dice.below(3)).map(|_| any(&mut dice)).collect();
                let writes: BTreeSet<Oid> = (0..dice.below(3)).map(|_| any(&mut dice)).collect();
                let mut transaction = begin(
                    &catalog,
                    &reads.iter().copied().collect::<Vec<_>>(),
                    &writes.iter().copied().collect::<Vec<_>>(),
                );
                transaction.set_serializable(serializable);
                let snapshot = transaction.snapshot().position().0;
                let reads = serializable.then_some(reads);
                open.push((transaction, Model { snapshot, at: None, reads, writes }));
                continue;
            }
            let at = usize::try_from(dice.below((open.len() as u64).min(long_lived + 2))).unwrap();
            let at = open.len() - 1 - at.min(open.len() - 1);
            let (transaction, mut model) = open.remove(at);
            if dice.percent(10) {
                continue;
            }
            let outcome = catalog.commit(transaction).await;
            if !model.writes.is_empty() {
                model.at = Some(catalog.head().position().0 + u64::from(outcome.is_err()));
            }
            all.push(model);
            let expected = closes_cycle(&all);
            assert_eq!(outcome.is_err(), expected, "seed {seed}: {all:#?}");
            if expected {
                all.pop();
                rejected += 1;
            } else {
                accepted += 1;
            }
        }
    }
    println!("{accepted} committed, {rejected} refused");
    assert!(rejected > 300 && accepted > 2_000);
}
