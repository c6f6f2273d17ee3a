//! One table of a catalog on a real cluster, changed as the session would change it.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray};
use base::SqlType;
use base::ids::{ColumnId, Oid};
use base::segment::Segment;
use catalog::{Column, DistStyle, Distribution, SegmentDeletes, SortKey, Table};
use datafusion::catalog::MemTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::{config, extensions};
use crate::changing::{ChangeKind, Modified};
use crate::engine::{Cluster, Engine, EngineConfig};
use crate::query::QueryContext;
use crate::writing::{WriteInput, WriteTarget};

pub(super) const ID: ColumnId = ColumnId(1);

/// A row of the table `t (id bigint, k integer, s varchar)`.
pub(super) type Row = (i64, Option<i32>, Option<String>);

/// The table, its visible segments, and the cluster.
pub(super) struct Warehouse {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) table: Arc<Table>,
    pub(super) segments: Vec<Arc<Segment>>,
    numbered: u32,
    statements: u32,
}

pub(super) fn definition(style: DistStyle, sort_key: SortKey) -> Table {
    let columns = [("id", SqlType::BigInt), ("k", SqlType::Integer), ("s", SqlType::Varchar(100))];
    let column = |(at, (name, sql_type)): (usize, (&str, SqlType))| Column {
        id: ColumnId(at as u32 + 1),
        name: name.to_owned(),
        sql_type,
        nullable: true,
        default: None,
        identity: None,
        encode: None,
        case_insensitive: false,
        comment: None,
        fill: None,
    };
    Table {
        oid: Oid(100_001),
        name: "t".to_owned(),
        columns: columns.into_iter().enumerate().map(column).collect(),
        next_column: ColumnId(4),
        distribution: Distribution { declared: style, effective: style },
        sort_key,
        ..Table::default()
    }
}

pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let schema = definition(DistStyle::Even, SortKey::None);
    let fields = schema.columns.iter().map(|c| c.sql_type.field(&c.name, true));
    let schema = arrow_schema::Schema::new(fields.collect::<Vec<_>>());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.1))),
        Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row.2.as_deref()))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

impl Warehouse {
    pub(super) fn new(nodes: u16, per_node: u16, style: DistStyle, sort: SortKey) -> Warehouse {
        let config = config(&format!("w{nodes}x{per_node}"), nodes * per_node);
        let store = Arc::new(InMemory::new());
        Warehouse::with(config, Cluster::Embedded { nodes }, store, definition(style, sort))
    }

    pub(super) fn with(
        config: EngineConfig,
        cluster: Cluster,
        store: Arc<dyn ObjectStore>,
        table: Table,
    ) -> Warehouse {
        let engine = Engine::start(config, Arc::clone(&store), cluster, extensions()).unwrap();
        let table = Arc::new(table);
        Warehouse { engine, store, table, segments: Vec::new(), numbered: 0, statements: 0 }
    }

    pub(super) fn snapshot(&self) -> Arc<[Arc<Segment>]> {
        self.segments.clone().into()
    }

    pub(super) fn target(&mut self) -> WriteTarget {
        self.statements += 1;
        WriteTarget {
            table: Arc::clone(&self.table),
            prefix: format!("data/{}/1-{}", self.table.oid, self.statements),
            identity: Vec::new(),
        }
    }

    /// Makes segments visible, as the catalog does.
    pub(super) fn add(&mut self, segments: Vec<Segment>) {
        for segment in segments {
            self.numbered += 1;
            self.segments.push(Arc::new(Segment { number: self.numbered, ..segment }));
        }
    }

    fn delete(&mut self, deletes: Vec<SegmentDeletes>) {
        for one in deletes {
            let number = one.segment.number;
            let at = self.segments.iter().position(|s| s.number == number).unwrap();
            let segment = Segment::clone(&self.segments[at]);
            assert_eq!(segment.path, one.segment.path);
            assert!(one.deletes.rows > segment.deletes.as_ref().map_or(0, |old| old.rows));
            if one.deletes.rows == segment.rows {
                self.segments.remove(at);
            } else {
                self.segments[at] = Arc::new(Segment { deletes: Some(one.deletes), ..segment });
            }
        }
    }

    pub(super) fn apply(&mut self, modified: Modified) {
        self.delete(modified.deletes);
        self.add(modified.segments);
    }

    /// A session in which `t` is the table, `target` the table with addresses, `other` what is
    /// given.
    fn session(&self, query: &QueryContext, other: &[Row]) -> SessionContext {
        let session = super::session(&self.engine, query).unwrap();
        let table = self.engine.table(Arc::clone(&self.table), self.snapshot());
        session.register_table("t", table).unwrap();
        let target = self.engine.table_with_address(Arc::clone(&self.table), self.snapshot());
        session.register_table("target", target).unwrap();
        let rows = batch(other);
        let other = MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap();
        session.register_table("other", Arc::new(other)).unwrap();
        session
    }

    pub(super) async fn logical(&self, sql: &str, other: &[Row]) -> LogicalPlan {
        let session = self.session(&QueryContext::default(), other);
        super::logical(&session, sql).await.unwrap()
    }

    pub(super) async fn insert(&mut self, rows: &[Row]) {
        let plan = self.logical("SELECT * FROM other", rows).await;
        let (input, target) = (WriteInput::Plan(plan), self.target());
        let written = self.engine.write(input, &target, &QueryContext::default()).await.unwrap();
        assert_eq!(written.rows, rows.len() as u64);
        self.add(written.segments);
    }

    pub(super) async fn try_modify(
        &mut self,
        kind: ChangeKind,
        sql: &str,
        other: &[Row],
    ) -> base::Result<Modified> {
        let (plan, target) = (self.logical(sql, other).await, self.target());
        let query = QueryContext::default();
        self.engine.modify(plan, kind, &target, self.snapshot(), &query).await
    }

    pub(super) async fn modify(&mut self, kind: ChangeKind, sql: &str, other: &[Row]) -> Modified {
        let modified = self.try_modify(kind, sql, other).await;
        let modified = modified.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        self.apply(modified.clone());
        modified
    }

    /// DELETE FROM t WHERE `condition`.
    pub(super) async fn delete_where(&mut self, condition: &str) -> Modified {
        let sql = format!("SELECT \"$row_address\" FROM target WHERE {condition}");
        self.modify(ChangeKind::Delete, &sql, &[]).await
    }

    /// UPDATE t SET (id, k, s) = `values` WHERE `condition`.
    pub(super) async fn update(&mut self, values: &str, condition: &str) -> Modified {
        let sql = format!(
            "SELECT {values}, \"$row_address\", true AS \"$write\" FROM target WHERE {condition}"
        );
        self.modify(ChangeKind::Write, &sql, &[]).await
    }

    pub(super) async fn compact(&mut self, sort: bool) {
        let target = self.target();
        // What a sort sets aside for merging would be most of a test's memory.
        let setting = ("datafusion.execution.sort_spill_reservation_bytes", "500000");
        let settings = vec![(setting.0.to_owned(), setting.1.to_owned())];
        let query = QueryContext { settings, ..QueryContext::default() };
        let written = self.engine.compact(self.snapshot(), sort, &target, &query).await.unwrap();
        self.segments.clear();
        self.add(written.segments);
    }

    pub(super) fn insert_inline(&mut self, rows: &[Row]) {
        let target = self.target();
        let segments = self.engine.inline_segments(&[batch(rows)], &target).unwrap();
        self.add(segments);
    }

    pub(super) async fn try_rows(&self, sql: &str) -> base::Result<Vec<RecordBatch>> {
        let query = QueryContext::default();
        let plan = self.logical(sql, &[]).await;
        self.engine.plan(plan, &query).await?.execute()?.try_collect().await
    }

    pub(super) async fn lines(&self, sql: &str) -> Vec<String> {
        let rows = self.try_rows(sql).await;
        super::lines(&rows.unwrap_or_else(|error| panic!("{sql}: {error:?}")))
    }

    /// Checks the table against its rows as they should be, read in several ways.
    pub(super) async fn assert_is(&self, rows: &[Row]) {
        let expected = super::lines(&[batch(rows)]);
        assert_eq!(self.lines("SELECT * FROM t").await, expected);
        let ks: Vec<i32> = rows.iter().filter_map(|row| row.1).collect();
        let ids = rows.iter().map(|row| row.0);
        let number = |value: Option<i64>| value.map_or("NULL".to_owned(), |v| v.to_string());
        let aggregates = format!(
            "{}|{}|{}|{}|{}",
            rows.len(),
            ks.len(),
            number(ks.iter().min().map(|k| i64::from(*k))),
            number(ids.clone().max()),
            number(ids.min()),
        );
        let sql = "SELECT count(*), count(k), min(k), max(id), min(id) FROM t";
        assert_eq!(self.lines(sql).await, [aggregates]);
        let live: u64 = self.segments.iter().map(|segment| segment.live_rows()).sum();
        assert_eq!(live, rows.len() as u64);
        let distinct = self.lines("SELECT count(DISTINCT \"$row_address\") FROM target").await;
        assert_eq!(distinct, [rows.len().to_string()]);
    }
}
