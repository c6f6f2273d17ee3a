//! Segments by number, deleted rows, replaced segments, savepoints.

use std::sync::Arc;

use base::ids::{ColumnId, LogPosition, Oid, SliceId};
use base::segment::{Bitmap, Datum, Deletes, Segment};

use super::{column, fresh, image, options, same_without_checkpoints, segment, table};
use crate::record::{checkpoint_path, decode_checkpoint, encode_checkpoint};
use crate::{
    Catalog, Changes, DistStyle, Distribution, Op, Options, SegmentDeletes, SegmentName, State,
    TableChange, TableStatistics, Transaction,
};

const T: Oid = Oid(100_000);

fn path(n: u32) -> String {
    format!("data/100000/1-{n}-0000-0.seg")
}

fn add(n: u32) -> Op {
    Op::AddSegments { table: T, segments: vec![segment(&path(n))], identity_next: Vec::new() }
}

fn name(number: u32, n: u32) -> SegmentName {
    SegmentName { number, path: path(n) }
}

fn deletes(rows: u64) -> Arc<Deletes> {
    Arc::new(Deletes { rows, bitmap: Bitmap::Inline(vec![7; rows as usize].into()) })
}

fn delete(number: u32, n: u32, rows: u64) -> Op {
    let deletes = vec![SegmentDeletes { segment: name(number, n), deletes: deletes(rows) }];
    Op::DeleteRows { table: T, deletes }
}

fn replace(removed: &[(u32, u32)], added: &[(u32, u64)]) -> Op {
    Op::ReplaceSegments {
        table: T,
        removed: removed.iter().map(|(number, n)| name(*number, *n)).collect(),
        added: added
            .iter()
            .map(|(n, rows)| Segment { rows: *rows, ..segment(&path(*n)) })
            .collect(),
    }
}

fn truncate() -> Op {
    Op::RemoveAllSegments { table: T }
}

#[track_caller]
fn begin(catalog: &Catalog, ops: Vec<Op>) -> Transaction {
    let mut transaction = catalog.begin();
    for op in ops {
        transaction.apply(op).unwrap();
    }
    transaction
}

async fn commit(catalog: &Catalog, ops: Vec<Op>) {
    catalog.commit(begin(catalog, ops)).await.unwrap();
}

async fn conflicts(catalog: &Catalog, transaction: Transaction) {
    let before = image(&catalog.head());
    let error = catalog.commit(transaction).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), "40001", "{error:?}");
    assert_eq!(error.get_retry(), base::Retry::NewTransaction);
    assert_eq!(image(&catalog.head()), before, "a refused transaction leaves nothing");
}

/// The table with segments 1 to `n` under the paths 1 to `n`, ten rows each.
async fn with_segments(n: u32) -> (Arc<dyn object_store::ObjectStore>, Catalog) {
    let (store, catalog) = fresh().await;
    commit(&catalog, vec![Op::CreateTable(table(T, "t"))]).await;
    for at in 1..=n {
        commit(&catalog, vec![add(at)]).await;
    }
    (store, catalog)
}

/// The numbers, paths' numbers and live rows of the table's segments.
fn rows(state: &State) -> Vec<(u32, u32, u64)> {
    let parse = |path: &str| path.split('-').nth(1).unwrap().parse().unwrap();
    let segments = state.segments(T);
    let listed: Vec<_> =
        segments.iter().map(|one| (one.number, parse(&one.path), one.live_rows())).collect();
    assert_eq!(listed.iter().map(|one| one.2).sum::<u64>(), state.table_rows(T));
    assert_eq!(segments.iter().map(|one| one.bytes).sum::<u64>(), state.table_bytes(T));
    listed
}

fn restored(state: &State) -> State {
    let bytes = encode_checkpoint(state, 1, 2).unwrap();
    decode_checkpoint(&checkpoint_path(state.position()), state.position(), &bytes).unwrap().0
}

#[tokio::test]
async fn numbers_are_given_once() {
    let (store, catalog) = with_segments(2).await;
    assert_eq!(rows(&catalog.head()), [(1, 1, 10), (2, 2, 10)]);
    commit(&catalog, vec![truncate()]).await;
    // The empty table's next number survives a checkpoint, and so the log's replay agrees.
    let emptied = restored(&catalog.head());
    let (live, again) = (catalog.head().with(&add(3)).unwrap(), emptied.with(&add(3)).unwrap());
    assert_eq!(rows(&live), [(3, 3, 10)]);
    assert_eq!(image(&live), image(&again));
    commit(&catalog, vec![add(3), replace(&[(3, 3)], &[(4, 6), (5, 4)])]).await;
    assert_eq!(rows(&catalog.head()), [(4, 4, 6), (5, 5, 4)]);
    commit(&catalog, vec![delete(4, 4, 6)]).await;
    assert_eq!(rows(&catalog.head()), [(5, 5, 4)]);
    same_without_checkpoints(store.clone(), &catalog.head()).await.unwrap();
    let opened =
        Catalog::open(store, Options { checkpoint_records: 1, ..options() }).await.unwrap();
    assert_eq!(rows(&opened.head()), [(5, 5, 4)]);
    commit(&opened, vec![add(6)]).await;
    assert_eq!(rows(&opened.head()), [(5, 5, 4), (6, 6, 10)]);
}

#[tokio::test]
async fn numbers_run_out_with_an_error() {
    let (_, catalog) = with_segments(1).await;
    let mut text = image(&catalog.head());
    let at = text.iter().position(|line| line.starts_with(r#"{"Contents""#)).unwrap();
    text[at] = text[at].replace(r#""numbered":1"#, &format!(r#""numbered":{}"#, i32::MAX));
    let mut restore = crate::state::Restore::default();
    for line in &text {
        restore.take(serde_json::from_str(line).unwrap()).unwrap();
    }
    restore.take(crate::state::Item::End { items: text.len() as u64 }).unwrap();
    let full = restore.finish().unwrap();
    assert_eq!(full.with(&add(2)).unwrap_err().sqlstate().code(), "54000");
}

#[tokio::test]
async fn deletes_take_the_place_of_those_before() {
    let (_, catalog) = with_segments(2).await;
    commit(&catalog, vec![delete(1, 1, 3)]).await;
    assert_eq!(rows(&catalog.head()), [(1, 1, 7), (2, 2, 10)]);
    commit(&catalog, vec![delete(1, 1, 4), delete(1, 1, 6)]).await;
    assert_eq!(rows(&catalog.head()), [(1, 1, 4), (2, 2, 10)]);
    assert_eq!(catalog.head().segments(T)[0].deletes, Some(deletes(6)));
    let back = restored(&catalog.head());
    assert_eq!(back.segments(T), catalog.head().segments(T));
    // Rows do not come back, nor are there more than there were, nor in other segments.
    for op in [delete(1, 1, 5), delete(1, 1, 11), delete(2, 2, 0), delete(1, 9, 1)] {
        let error = catalog.begin().apply(op.clone()).unwrap_err();
        assert_eq!(error.sqlstate().code(), "XX000", "{op:?}");
    }
    commit(&catalog, vec![delete(1, 1, 10)]).await;
    assert_eq!(rows(&catalog.head()), [(2, 2, 10)]);
    commit(&catalog, vec![delete(2, 2, 10)]).await;
    assert_eq!((rows(&catalog.head()).len(), catalog.head().table_bytes(T)), (0, 0));
}

#[tokio::test]
async fn replaced_segments_keep_their_rows() {
    let (_, catalog) = with_segments(3).await;
    commit(&catalog, vec![delete(2, 2, 4)]).await;
    for op in [
        replace(&[(1, 1), (2, 2)], &[(4, 20)]),
        replace(&[(1, 1), (1, 1)], &[(4, 20)]),
        replace(&[(7, 7)], &[]),
    ] {
        let error = catalog.begin().apply(op.clone()).unwrap_err();
        assert_eq!(error.sqlstate().code(), "XX000", "{op:?}");
    }
    commit(&catalog, vec![replace(&[(1, 1), (2, 2)], &[(4, 16)])]).await;
    assert_eq!(rows(&catalog.head()), [(3, 3, 10), (4, 4, 16)]);
    let mut other = segment(&path(5));
    other.slice = Some(SliceId(9));
    let op = Op::ReplaceSegments { table: T, removed: vec![name(3, 3)], added: vec![other] };
    assert!(catalog.begin().apply(op).is_err(), "a slice that does not exist");
}

#[tokio::test]
async fn changes_of_the_same_segment_conflict() {
    let change: [fn() -> Op; 3] =
        [|| delete(1, 1, 2), || replace(&[(1, 1)], &[(8, 10)]), || delete(1, 1, 10)];
    for first in change {
        for second in change {
            let (_, catalog) = with_segments(2).await;
            let late = begin(&catalog, vec![second()]);
            commit(&catalog, vec![first()]).await;
            conflicts(&catalog, late).await;
        }
    }
    // In one record as well.
    let (_, catalog) = with_segments(2).await;
    let (one, two) =
        (begin(&catalog, vec![delete(1, 1, 2)]), begin(&catalog, vec![delete(1, 1, 3)]));
    let (one, two) = futures::join!(catalog.commit(one), catalog.commit(two));
    assert!(one.is_ok() && two.unwrap_err().sqlstate().code() == "40001");
    // Even the same rows: both statements counted them.
    let (one, two) =
        (begin(&catalog, vec![delete(2, 2, 3)]), begin(&catalog, vec![delete(2, 2, 3)]));
    catalog.commit(one).await.unwrap();
    conflicts(&catalog, two).await;
}

#[tokio::test]
async fn changes_of_other_segments_and_appends_commute() {
    let (store, catalog) = with_segments(3).await;
    let ops = [delete(1, 1, 2), replace(&[(2, 2)], &[(8, 10)]), add(9), delete(3, 3, 10), add(10)];
    let all: Vec<_> = ops.into_iter().map(|op| begin(&catalog, vec![op])).collect();
    for transaction in all {
        catalog.commit(transaction).await.unwrap();
    }
    assert_eq!(rows(&catalog.head()), [(1, 1, 8), (4, 8, 10), (5, 9, 10), (6, 10, 10)]);
    same_without_checkpoints(store, &catalog.head()).await.unwrap();
}

#[tokio::test]
async fn changed_segments_against_definitions() {
    let gone = || Op::DropRelation { relation: T, cascade: false };
    let alter = |change| Op::AlterTable { table: T, change };
    let add_column = || alter(TableChange::AddColumn(column(2, "c", base::SqlType::Date)));
    let rename = || alter(TableChange::RenameTable("u".into()));
    let style = || {
        let effective = DistStyle::Key(ColumnId(0));
        alter(TableChange::SetDistribution(Distribution { declared: effective, effective }))
    };
    let swap = || replace(&[(1, 1)], &[(8, 10)]);
    let cases: Vec<(Vec<Op>, Vec<Op>, bool)> = vec![
        // What committed first, what was begun before, whether it conflicts.
        (vec![truncate()], vec![delete(1, 1, 2)], true),
        (vec![truncate()], vec![swap()], true),
        (vec![gone()], vec![delete(1, 1, 2)], true),
        (vec![gone()], vec![swap()], true),
        (vec![add_column()], vec![swap()], true),
        (vec![add_column()], vec![delete(1, 1, 2)], false),
        (vec![rename()], vec![delete(1, 1, 2)], false),
        (vec![rename()], vec![swap()], false),
        (vec![style()], vec![swap()], true),
        (vec![delete(1, 1, 2)], vec![truncate()], false),
        (vec![swap()], vec![truncate()], false),
        (vec![delete(1, 1, 2)], vec![truncate(), add(8)], true),
        (vec![swap()], vec![truncate(), add(9)], false),
        (vec![delete(1, 1, 2)], vec![style()], true),
        (vec![delete(1, 1, 2)], vec![gone()], false),
        (vec![delete(1, 1, 2)], vec![add_column()], false),
        // An UPDATE appends, and so relies on the table's shape.
        (vec![add_column()], vec![delete(1, 1, 2), add(8)], true),
        (vec![add(8)], vec![delete(1, 1, 2), add(9)], false),
        // An INSERT of no rows changes none.
        (
            vec![Op::AddSegments { table: T, segments: Vec::new(), identity_next: Vec::new() }],
            vec![truncate(), add(8)],
            false,
        ),
        (vec![Op::DeleteRows { table: T, deletes: Vec::new() }], vec![truncate(), add(8)], false),
    ];
    for (first, second, refused) in cases {
        let (_, catalog) = with_segments(2).await;
        let what = format!("{first:?} then {second:?}");
        let late = begin(&catalog, second);
        commit(&catalog, first).await;
        let outcome = catalog.commit(late).await;
        let code = outcome.err().map(|error| error.sqlstate().code());
        assert_eq!(code, refused.then_some("40001"), "{what}");
    }
}

#[tokio::test]
async fn savepoints_take_operations_back() {
    let (store, catalog) = with_segments(1).await;
    let mut transaction = begin(&catalog, vec![delete(1, 1, 2), add(20)]);
    let first = transaction.savepoint();
    transaction.apply(delete(2, 20, 3)).unwrap();
    transaction.apply(add(21)).unwrap();
    let second = transaction.savepoint();
    transaction.apply(delete(3, 21, 10)).unwrap();
    transaction.roll_back_to(&second);
    assert_eq!(rows(transaction.state()), [(1, 1, 8), (2, 20, 7), (3, 21, 10)]);
    transaction.roll_back_to(&first);
    transaction.roll_back_to(&first);
    assert_eq!(rows(transaction.state()), [(1, 1, 8), (2, 20, 10)]);
    // Its own new segments change again, under the numbers that the transaction gave them.
    transaction.apply(add(22)).unwrap();
    transaction.apply(delete(3, 22, 1)).unwrap();
    transaction.apply(delete(2, 20, 4)).unwrap();
    transaction.apply(replace(&[(3, 22)], &[(23, 9)])).unwrap();
    transaction.apply(delete(4, 23, 9)).unwrap();
    assert_eq!(rows(transaction.state()), [(1, 1, 8), (2, 20, 6)]);
    // Meanwhile others take these numbers.
    for n in 30..33 {
        commit(&catalog, vec![add(n)]).await;
    }
    catalog.commit(transaction).await.unwrap();
    let expected = [(1, 1, 8), (2, 30, 10), (3, 31, 10), (4, 32, 10), (5, 20, 6)];
    assert_eq!(rows(&catalog.head()), expected);
    same_without_checkpoints(store, &catalog.head()).await.unwrap();
}

#[tokio::test]
async fn an_added_column_fills_older_rows() {
    let (store, catalog) = with_segments(1).await;
    let filled = |fill| crate::Column {
        nullable: false,
        default: Some("1".to_owned()),
        fill,
        ..column(2, "c", base::SqlType::Double)
    };
    let alter = |fill| Op::AlterTable { table: T, change: TableChange::AddColumn(filled(fill)) };
    let refuse = |op, code| {
        let error = catalog.begin().apply(op).unwrap_err();
        assert_eq!(error.sqlstate().code(), code, "{error:?}");
    };
    refuse(alter(None), "23502");
    refuse(alter(Some(Datum::Int(1))), "XX000");
    commit(&catalog, vec![alter(Some(Datum::Float(f64::INFINITY)))]).await;
    let again = Catalog::open(store, options()).await.unwrap();
    for state in [again.head(), Arc::new(restored(&again.head()))] {
        let relation = state.relation_by_oid(T).unwrap();
        let fill = relation.table().unwrap().column("c").unwrap().fill.clone();
        assert_eq!(fill, Some(Datum::Float(f64::INFINITY)));
    }
    let default = TableChange::SetColumnDefault { column: ColumnId(2), default: None };
    commit(&again, vec![Op::AlterTable { table: T, change: default }]).await;
    let relation = again.head().relation_by_oid(T).unwrap();
    assert!(relation.table().unwrap().column("c").unwrap().fill.is_some());
}

#[test]
fn contents_of_any_checkpoint_before_numbers_are_numbered_in_order() {
    let state = super::replay::with_table(T);
    let state = state.with(&add(1)).unwrap().with(&add(2)).unwrap();
    let mut restore = crate::state::Restore::default();
    let mut items = 0;
    for line in image(&state) {
        let line = line.replace(r#","numbered":2"#, "").replace(r#","n":1"#, "");
        let line = line.replace(r#","n":2"#, "");
        restore.take(serde_json::from_str(&line).unwrap()).unwrap();
        items += 1;
    }
    restore.take(crate::state::Item::End { items }).unwrap();
    let restored = restore.finish().unwrap();
    assert_eq!(image(&restored), image(&state));
    assert_eq!(restored.position(), LogPosition(0));
}

#[tokio::test]
async fn a_transaction_follows_what_compaction_did() {
    let (_, catalog) = with_segments(2).await;
    let (stale, mut open) = (begin(&catalog, vec![delete(1, 1, 1)]), catalog.begin());
    let early = open.savepoint();
    commit(&catalog, vec![replace(&[(1, 1), (2, 2)], &[(3, 20)])]).await;
    conflicts(&catalog, stale).await;
    open.follow(T, &catalog.head());
    assert_eq!(rows(open.state()), [(3, 3, 20)]);
    open.apply(delete(3, 3, 2)).unwrap();
    // What it changed itself stays.
    open.follow(T, &catalog.head());
    assert_eq!(rows(open.state()), [(3, 3, 18)]);
    open.roll_back_to(&early);
    assert_eq!(rows(open.state()), [(3, 3, 20)]);
    open.apply(delete(3, 3, 5)).unwrap();
    catalog.commit(open).await.unwrap();
    assert_eq!(rows(&catalog.head()), [(3, 3, 15)]);
}

#[tokio::test]
async fn what_others_did_beside_compaction_is_no_hindrance() {
    let (_, catalog) = with_segments(4).await;
    let mut open = catalog.begin();
    let snapshot = open.snapshot().position();
    // Rows came, and rows of one segment went, after the snapshot.
    commit(&catalog, vec![add(5)]).await;
    commit(&catalog, vec![delete(4, 4, 1)]).await;
    commit(&catalog, vec![delete(3, 3, 10)]).await;
    commit(&catalog, vec![replace(&[(1, 1), (2, 2)], &[(6, 20)])]).await;
    commit(&catalog, vec![replace(&[(4, 4), (5, 5)], &[(7, 19)])]).await;
    let head = catalog.head();
    let changed: Vec<bool> = head
        .segments(T)
        .iter()
        .map(|one| head.segment_changed_at(T, one.number) > snapshot)
        .collect();
    assert_eq!(changed, [false, true]);
    open.follow(T, &head);
    // The rows of the snapshot: those that went since are named as they were.
    assert_eq!(rows(open.state()), [(3, 3, 10), (4, 4, 10), (6, 6, 20)]);
    open.check(&head, 0).unwrap();
    let early = open.savepoint();
    open.apply(delete(4, 4, 2)).unwrap();
    // What conflicts without compaction does so with it, and is told before the commit.
    assert_eq!(open.check(&head, 0).unwrap_err().sqlstate().code(), "40001");
    open.roll_back_to(&early);
    open.apply(delete(6, 6, 3)).unwrap();
    open.check(&head, 0).unwrap();
    catalog.commit(open).await.unwrap();
    assert_eq!(rows(&catalog.head()), [(6, 6, 17), (7, 7, 19)]);
}

#[tokio::test]
async fn own_rows_stay_when_a_transaction_follows() {
    let (_, catalog) = with_segments(2).await;
    let mut open = catalog.begin();
    open.apply(add(8)).unwrap();
    let early = open.savepoint();
    open.apply(add(9)).unwrap();
    commit(&catalog, vec![replace(&[(1, 1), (2, 2)], &[(3, 20)])]).await;
    commit(&catalog, vec![replace(&[(3, 3)], &[(4, 20)])]).await;
    open.follow(T, &catalog.head());
    let own =
        |state: &State| rows(state).into_iter().map(|(_, n, live)| (n, live)).collect::<Vec<_>>();
    assert_eq!(own(open.state()), [(4, 20), (8, 10), (9, 10)]);
    open.roll_back_to(&early);
    assert_eq!(own(open.state()), [(4, 20), (8, 10)]);
    open.apply(delete(4, 4, 1)).unwrap();
    catalog.commit(open).await.unwrap();
    assert_eq!(own(&catalog.head()), [(4, 19), (8, 10)]);
}

#[tokio::test]
async fn a_transaction_does_not_follow_changes() {
    let (_, catalog) = with_segments(2).await;
    let mut open = catalog.begin();
    // Rows of the snapshot together with newer ones: nothing holds the former alone.
    commit(&catalog, vec![add(3), replace(&[(1, 1), (2, 2), (3, 3)], &[(4, 30)])]).await;
    open.follow(T, &catalog.head());
    assert_eq!(rows(open.state()), [(1, 1, 10), (2, 2, 10)]);
    open.apply(delete(1, 1, 1)).unwrap();
    assert_eq!(open.check(&catalog.head(), 0).unwrap_err().sqlstate().code(), "40001");
}

#[tokio::test]
async fn changes_are_counted_and_statistics_go_with_their_table() {
    let (_, catalog) = with_segments(2).await;
    let changes = |state: &State| (state.changes(T).inserted, state.changes(T).deleted);
    commit(&catalog, vec![delete(1, 1, 3)]).await;
    commit(&catalog, vec![delete(1, 1, 5)]).await;
    assert_eq!(changes(&catalog.head()), (20, 5));
    commit(&catalog, vec![replace(&[(1, 1)], &[(3, 5)])]).await;
    assert_eq!(changes(&catalog.head()), (20, 5), "the same rows elsewhere are no change");
    let before = catalog.head().changes(T);
    commit(&catalog, vec![truncate()]).await;
    commit(&catalog, vec![add(4)]).await;
    assert_eq!(changes(&catalog.head()), (30, 20));
    assert_eq!(catalog.head().changes(T).since(before), Changes { inserted: 10, deleted: 15 });

    let statistics = TableStatistics { table: T, rows: 10, ..TableStatistics::default() };
    let set = Op::SetStatistics(Arc::new(statistics.clone()));
    let late = begin(&catalog, vec![set.clone()]);
    commit(&catalog, vec![set]).await;
    let kept = restored(&catalog.head());
    assert_eq!(kept.statistics(T).map(Arc::as_ref), Some(&statistics));
    assert_eq!(changes(&kept), (30, 20));
    commit(&catalog, vec![Op::DropRelation { relation: T, cascade: false }]).await;
    assert_eq!(catalog.head().statistics(T), None);
    conflicts(&catalog, late).await;
}
