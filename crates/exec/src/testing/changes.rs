//! Deletes, updates, merges, compaction and inline rows give what a list of rows gives.

use std::collections::HashSet;
use std::time::Instant;

use base::SqlState;
use base::segment::Bitmap;
use catalog::{DistStyle, SortKey};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::remote::Nodes;
use super::warehouse::{ID, Row, Warehouse, batch, definition};
use super::{config, queries};
use crate::changing::ChangeKind;
use crate::engine::Cluster;

fn rows(ids: std::ops::Range<i64>) -> Vec<Row> {
    let row = |id: i64| {
        let k = (id % 7 != 0).then_some((id * 31 % 1_000) as i32);
        let s = (id % 5 != 0).then(|| format!("text {}", id % 40));
        (id, k, s)
    };
    ids.map(row).collect()
}

const SHAPES: [(u16, u16); 4] = [(1, 1), (1, 3), (2, 2), (3, 1)];

fn styles() -> [(DistStyle, SortKey); 4] {
    [
        (DistStyle::Key(ID), SortKey::None),
        (DistStyle::Key(ID), SortKey::Compound(vec![ID])),
        (DistStyle::Even, SortKey::None),
        (DistStyle::All, SortKey::Compound(vec![ID])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_give_what_a_list_gives() {
    let mut seed = 11;
    for (nodes, per_node) in SHAPES {
        for (style, sort) in styles() {
            let mut warehouse = Warehouse::new(nodes, per_node, style, sort);
            let mut model: Vec<Row> = Vec::new();
            let mut next = 0;
            for _ in 0..14 {
                step(&mut warehouse, &mut model, &mut next, &mut seed).await;
                warehouse.assert_is(&model).await;
            }
        }
    }
}

/// One random statement on the warehouse and on the list.
async fn step(warehouse: &mut Warehouse, model: &mut Vec<Row>, next: &mut i64, seed: &mut u32) {
    let mut pick = |below: u32| queries::next(seed) % below;
    let (rest, divisor) = (i64::from(pick(4)), i64::from(pick(4) + 2));
    let hit = move |row: &Row| row.0.rem_euclid(divisor) == rest;
    let condition = format!("id % {divisor} = {rest}");
    match if model.is_empty() { 0 } else { pick(8) } {
        0 | 1 => {
            let more = rows(*next..*next + 300 + i64::from(pick(400)));
            *next += more.len() as i64;
            warehouse.insert(&more).await;
            model.extend(more);
        }
        2 => {
            let more = rows(*next..*next + 1 + i64::from(pick(3)));
            *next += more.len() as i64;
            warehouse.insert_inline(&more);
            model.extend(more);
        }
        3 => {
            let count = model.iter().filter(|row| hit(row)).count() as u64;
            let modified = warehouse.delete_where(&condition).await;
            assert_eq!((modified.deleted, modified.written), (count, 0));
            assert_eq!((modified.changed, modified.repeated), (count, false));
            model.retain(|row| !hit(row));
        }
        4 => {
            let values = "id, CAST(k + 1 AS int) AS k, s";
            let modified = warehouse.update(values, &condition).await;
            assert_eq!(modified.deleted, modified.written);
            assert_eq!(modified.changed, modified.written);
            let changed = model.iter_mut().filter(|row| hit(row));
            changed.for_each(|row| row.1 = row.1.map(|k| k + 1));
        }
        5 => {
            // The DISTKEY changes: rows move.
            let values = "id + 100000 AS id, k, s";
            warehouse.update(values, &condition).await;
            model.iter_mut().filter(|row| hit(row)).for_each(|row| row.0 += 100_000);
        }
        6 => merge(warehouse, model, next).await,
        _ => warehouse.compact(pick(2) == 0).await,
    }
}

/// MERGE: rows of `other` with even `k` replace, those with odd `k` delete, unmatched are new.
async fn merge(warehouse: &mut Warehouse, model: &mut Vec<Row>, next: &mut i64) {
    let mut other = rows(*next..*next + 5);
    *next += 5;
    other.extend(model.iter().step_by(3).take(40).map(|row| (row.0, Some(row.0 as i32 % 4), None)));
    let sql = "SELECT CASE WHEN keep THEN o.id END AS id, CASE WHEN keep THEN o.k END AS k, \
               CASE WHEN keep THEN arrow_cast(concat(o.s, '!'), 'Utf8View') END AS s, \
               a AS \"$row_address\", keep AS \"$write\" FROM \
               (SELECT o.*, t.\"$row_address\" AS a, \
                t.\"$row_address\" IS NULL OR coalesce(o.k, 0) % 2 = 0 AS keep \
                FROM other o LEFT JOIN target t ON o.id = t.id) o";
    let modified = warehouse.modify(ChangeKind::Write, sql, &other).await;
    let known: HashSet<i64> = model.iter().map(|row| row.0).collect();
    let old = other.iter().filter(|row| known.contains(&row.0)).count() as u64;
    assert_eq!((modified.deleted, modified.repeated), (old, false));
    // Each row of `other` replaces, deletes or is new.
    assert_eq!(modified.changed, other.len() as u64);
    let named: HashSet<i64> = other.iter().map(|row| row.0).collect();
    model.retain(|row| !named.contains(&row.0));
    let keeps = |row: &Row| !known.contains(&row.0) || row.1.unwrap_or(0) % 2 == 0;
    let kept: Vec<Row> = other
        .into_iter()
        .filter(keeps)
        .map(|(id, k, s)| (id, k, Some(format!("{}!", s.unwrap_or_default()))))
        .collect();
    assert_eq!(modified.written, kept.len() as u64);
    model.extend(kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_named_twice_are_told() {
    for (style, sort) in styles() {
        let mut warehouse = Warehouse::new(2, 2, style, sort);
        warehouse.insert(&rows(0..500)).await;
        let twice = "SELECT t.\"$row_address\" FROM target t JOIN other o ON t.k = o.k";
        let mut other = rows(0..500);
        let modified = warehouse.try_modify(ChangeKind::Delete, twice, &other).await.unwrap();
        let ks: HashSet<i32> = other.iter().filter_map(|row| row.1).collect();
        let matched = other.iter().filter(|row| row.1.is_some_and(|k| ks.contains(&k))).count();
        assert_eq!((modified.deleted, modified.repeated), (matched as u64, false));
        other.extend(rows(3..4));
        let modified = warehouse.modify(ChangeKind::Delete, twice, &other).await;
        assert_eq!((modified.deleted, modified.repeated), (matched as u64, true));
        assert_eq!(modified.changed, modified.deleted);
        let left: Vec<Row> = rows(0..500).into_iter().filter(|row| row.1.is_none()).collect();
        warehouse.assert_is(&left).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_sets_lie_in_files_and_damage_is_said() {
    let mut warehouse = Warehouse::new(2, 1, DistStyle::Key(ID), SortKey::None);
    warehouse.insert(&rows(0..60_000)).await;
    let modified = warehouse.delete_where("(id * 7919) % 13 = 1").await;
    assert_eq!(modified.deletes.len(), 2);
    let files: Vec<String> = warehouse
        .segments
        .iter()
        .flat_map(|segment| {
            segment.deletes.as_ref().map(|deletes| match &deletes.bitmap {
                Bitmap::File { path, .. } => path.clone(),
                Bitmap::Inline(_) => panic!("thousands of scattered rows are no small set"),
            })
        })
        .collect();
    let left = |first: i64| -> Vec<Row> {
        let gone = |row: &Row| row.0 < first || (row.0 * 7_919) % 13 == 1;
        rows(0..60_000).into_iter().filter(|row| !gone(row)).collect()
    };
    warehouse.assert_is(&left(0)).await;
    // What was deleted before stays deleted; few runs make a short set.
    warehouse.delete_where("id < 59990").await;
    warehouse.assert_is(&left(59_990)).await;
    for segment in &warehouse.segments {
        let deletes = segment.deletes.as_ref().unwrap();
        assert!(matches!(deletes.bitmap, Bitmap::Inline(_)), "{deletes:?}");
    }

    let mut warehouse = Warehouse::new(2, 1, DistStyle::Key(ID), SortKey::None);
    warehouse.insert(&rows(0..60_000)).await;
    warehouse.delete_where("(id * 7919) % 13 = 1").await;
    let path = Path::from(files[0].as_str());
    let whole = warehouse.store.get(&path).await.unwrap().bytes().await.unwrap();
    let mut damaged = whole.to_vec();
    damaged[500] ^= 4;
    warehouse.store.put(&path, damaged.into()).await.unwrap();
    let error = warehouse.try_rows("SELECT * FROM t").await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DataCorrupted);
    assert!(error.message().contains(&files[0]), "{error}");
    warehouse.store.delete(&path).await.unwrap();
    let error = warehouse.try_rows("SELECT * FROM t").await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DataCorrupted);
    // The number of rows is in the catalog.
    assert_eq!(warehouse.lines("SELECT count(*) FROM t").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_changes_nothing() {
    for (style, sort) in styles() {
        let mut warehouse = Warehouse::new(2, 2, style, sort);
        warehouse.insert(&rows(0..3_000)).await;
        let sql = "SELECT id, CAST(10 / (id - 2999) AS int) AS k, s, \"$row_address\", \
                   true AS \"$write\" FROM target";
        let error = warehouse.try_modify(ChangeKind::Write, sql, &[]).await.unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::DivisionByZero, "{error:?}");
        warehouse.assert_is(&rows(0..3_000)).await;
        let nothing = warehouse.delete_where("id < 0").await;
        assert_eq!((nothing.deleted, nothing.deletes.len()), (0, 0));
        let all = warehouse.delete_where("true").await;
        assert_eq!(all.deleted, 3_000);
        assert!(warehouse.segments.is_empty());
        assert_eq!(warehouse.delete_where("true").await.deleted, 0);
        assert_eq!(warehouse.update("id, k, s", "true").await.written, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_limits_see_no_deleted_row() {
    let sort = SortKey::Compound(vec![ID]);
    let mut warehouse = Warehouse::new(2, 2, DistStyle::Key(ID), sort);
    warehouse.insert(&rows(0..20_000)).await;
    warehouse.delete_where("id % 2 = 0 OR id >= 10000").await;
    for (sql, expected) in [
        ("SELECT count(*) FROM t WHERE id BETWEEN 100 AND 199", "50"),
        ("SELECT count(*) FROM t WHERE k IS NULL AND id < 70", "5"),
        ("SELECT count(*) FROM t WHERE id = 4", "0"),
        ("SELECT count(*) FROM t WHERE s LIKE 'text 1%' AND id < 40", "5"),
        ("SELECT count(*) FROM (SELECT id FROM t WHERE id + 0 < 9999 LIMIT 7000) x", "4999"),
        ("SELECT max(id) FROM t", "9999"),
        ("SELECT id FROM t ORDER BY id LIMIT 1", "1"),
        ("SELECT count(*) FROM target WHERE \"$row_address\" IS NULL", "0"),
        (
            "SELECT count(*) FROM target a JOIN target b ON a.\"$row_address\" = b.\"$row_address\"",
            "5000",
        ),
    ] {
        assert_eq!(warehouse.lines(sql).await, [expected], "{sql}");
    }
    let address = warehouse.lines("SELECT \"$row_address\" FROM target WHERE id = 77").await;
    let sql = format!("SELECT id FROM target WHERE \"$row_address\" = {}", address[0]);
    assert_eq!(warehouse.lines(&sql).await, ["77"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_sorts_over_segments_and_spills() {
    let sort = SortKey::Compound(vec![ID]);
    for style in [DistStyle::Key(ID), DistStyle::Even, DistStyle::All] {
        let mut config = config("compact", 4);
        config.memory_limit_bytes = 8 << 20;
        config.query_memory_bytes = 8 << 20;
        let store = std::sync::Arc::new(object_store::memory::InMemory::new());
        let table = definition(style, sort.clone());
        let cluster = Cluster::Embedded { nodes: 2 };
        let mut warehouse = Warehouse::with(config, cluster, store, table);
        let all = rows(0..300_000);
        // Every load has rows of the whole range, so that segments overlap.
        for first in 0..4 {
            let part: Vec<Row> = all.iter().skip(first).step_by(4).cloned().collect();
            warehouse.insert(&part).await;
        }
        warehouse.delete_where("id % 10 = 3").await;
        let left: Vec<Row> = all.into_iter().filter(|row| row.0 % 10 != 3).collect();
        warehouse.compact(true).await;
        assert!(warehouse.segments.iter().all(|segment| segment.sorted));
        assert!(warehouse.segments.iter().all(|segment| segment.deletes.is_none()));
        let sql = "SELECT id FROM t ORDER BY id LIMIT 3";
        let session = warehouse.logical(sql, &[]).await;
        let plan = warehouse.engine.plan(session, &Default::default()).await.unwrap();
        let text = plan.explain().join("\n");
        assert!(!text.contains("XN Sort"), "{text}");
        warehouse.assert_is(&left).await;
        warehouse.compact(false).await;
        warehouse.assert_is(&left).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_under_another_placement_move_when_they_are_compacted() {
    let mut warehouse = Warehouse::new(2, 2, DistStyle::Even, SortKey::None);
    warehouse.insert(&rows(0..2_000)).await;
    warehouse.table = std::sync::Arc::new(definition(DistStyle::Key(ID), SortKey::None));
    warehouse.compact(false).await;
    let placed = crate::placement::is_placed(&warehouse.segments, ID, 4);
    assert!(placed);
    warehouse.assert_is(&rows(0..2_000)).await;
    let sql = "SELECT count(*) FROM t WHERE id = 77";
    assert_eq!(warehouse.lines(sql).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_rows_are_bounded_and_placed() {
    for (style, sort) in styles() {
        let mut warehouse = Warehouse::new(2, 2, style, sort);
        let target = warehouse.target();
        let many = [batch(&rows(0..1_001))];
        let error = warehouse.engine.inline_segments(&many, &target).unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::ProgramLimitExceeded);
        let noise = || (0..20).map(|_| format!("{:x}", base::rng::u64())).collect::<String>();
        let wide: Vec<Row> = (0..900).map(|id| (id, None, Some(noise()))).collect();
        let error = warehouse.engine.inline_segments(&[batch(&wide)], &target).unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::ProgramLimitExceeded);
        assert!(warehouse.engine.inline_segments(&[], &target).unwrap().is_empty());
        warehouse.insert_inline(&rows(0..100));
        warehouse.insert_inline(&rows(100..101));
        let inline = warehouse.segments.iter().all(|segment| segment.inline.is_some());
        assert!(inline && warehouse.segments.iter().all(|s| s.paths().count() == 0));
        warehouse.assert_is(&rows(0..101)).await;
        if let DistStyle::Key(column) = style {
            assert!(crate::placement::is_placed(&warehouse.segments, column, 4));
        }
        warehouse.delete_where("id = 7 OR id = 100").await;
        let left: Vec<Row> =
            rows(0..101).into_iter().filter(|row| ![7, 100].contains(&row.0)).collect();
        warehouse.assert_is(&left).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_travel_over_the_network() {
    for (style, sort) in styles() {
        let nodes = Nodes::start(&[20_310, 20_311], 4).await;
        let (leader, table) = (config("leader", 4), definition(style, sort));
        let nowhere = std::sync::Arc::new(object_store::memory::InMemory::new());
        let mut warehouse = Warehouse::with(leader, nodes.as_cluster(), nowhere, table);
        warehouse.engine.require_all_nodes().await.unwrap();
        let (mut model, mut next, mut seed) = (Vec::new(), 0, 5);
        for _ in 0..12 {
            step(&mut warehouse, &mut model, &mut next, &mut seed).await;
            warehouse.assert_is(&model).await;
        }
        nodes.stop_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn one_row_on_disk() {
    let dir = std::env::temp_dir().join(format!("blueshift-row-{:x}", base::rng::u64()));
    std::fs::create_dir_all(&dir).unwrap();
    let store = std::sync::Arc::new(remote::DirectoryStore::open(&dir).unwrap());
    let table = definition(DistStyle::Key(ID), SortKey::None);
    let cluster = Cluster::Embedded { nodes: 2 };
    let mut warehouse = Warehouse::with(config("disk", 4), cluster, store, table);
    for id in 0..8 {
        let started = Instant::now();
        warehouse.insert(&rows(id..id + 1)).await;
        println!("insert of one row: {:?}", started.elapsed());
        let started = Instant::now();
        warehouse.insert(&rows(id * 1_000..id * 1_000 + 1_000)).await;
        println!("insert of 1,000 rows to 4 slices: {:?}", started.elapsed());
        let started = Instant::now();
        warehouse.delete_where(&format!("id = {id}")).await;
        println!("delete of a row: {:?}", started.elapsed());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn small_segments_are_cheap() {
    let mut warehouse = Warehouse::new(1, 1, DistStyle::Key(ID), SortKey::None);
    let started = Instant::now();
    for id in 0..1_000 {
        warehouse.insert_inline(&rows(id..id + 1));
    }
    println!("1,000 inline rows: {:?}", started.elapsed());
    for sql in ["SELECT sum(id), max(s) FROM t", "SELECT * FROM t WHERE id = 77"] {
        for _ in 0..4 {
            let started = Instant::now();
            warehouse.lines(sql).await;
            println!("{sql}: {:?}", started.elapsed());
        }
    }
    let mut warehouse = Warehouse::new(2, 1, DistStyle::Key(ID), SortKey::None);
    for first in 0..5 {
        warehouse.insert(&rows(first * 200_000..(first + 1) * 200_000)).await;
    }
    for _ in 0..3 {
        let started = Instant::now();
        let modified = warehouse.update("id, CAST(k + 1 AS int) AS k, s", "id % 10 = 3").await;
        println!("update of {} rows: {:?}", modified.written, started.elapsed());
    }
    let started = Instant::now();
    let modified = warehouse.delete_where("id % 10 = 4").await;
    println!("delete of {} rows: {:?}", modified.deleted, started.elapsed());
    let started = Instant::now();
    warehouse.delete_where("id = 5").await;
    println!("delete of one row: {:?}", started.elapsed());
    let started = Instant::now();
    warehouse.insert(&rows(0..1)).await;
    println!("insert of one row: {:?}", started.elapsed());
}
