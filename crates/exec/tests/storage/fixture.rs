//! Tables, sessions and random rows for the tests of scans and writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::Decimal128Type;
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{Schema, SortOptions};
use base::SqlType;
use base::ids::{ColumnId, Oid};
use base::segment::{Datum, Segment};
use catalog::{Column, DistStyle, Distribution, SortKey, Table};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::physical_expr::expressions;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, Partitioning, collect, displayable,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use exec::cache::NodeStorage;
use exec::provider::{ScanLayout, SegmentTable};
use exec::scan::SegmentScanExec;
use exec::write::{EvenSliceExec, SegmentWriteExec, WriteSpec, segments_of};

pub(crate) const ID: ColumnId = ColumnId(1);

/// The columns of the test table; column ids count from 1.
pub(crate) fn columns() -> Vec<(&'static str, SqlType)> {
    vec![
        ("id", SqlType::BigInt),
        ("k", SqlType::Integer),
        ("sm", SqlType::SmallInt),
        ("d", SqlType::Decimal { precision: 15, scale: 2 }),
        ("wide", SqlType::Decimal { precision: 38, scale: 4 }),
        ("s", SqlType::Varchar(20)),
        ("dt", SqlType::Date),
        ("ts", SqlType::Timestamp),
        ("b", SqlType::Boolean),
        ("f", SqlType::Double),
        ("c", SqlType::Varchar(200)),
        ("bin", SqlType::Varbyte(10)),
        ("r", SqlType::Real),
    ]
}

/// How a test table is distributed and sorted.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) style: DistStyle,
    pub(crate) sort: SortKey,
    /// A column that refuses NULL.
    pub(crate) strict: Option<ColumnId>,
}

impl Definition {
    pub(crate) fn keyed() -> Definition {
        Definition { style: DistStyle::Key(ID), sort: SortKey::None, strict: None }
    }

    fn table(&self, columns: &[(&str, SqlType)]) -> Table {
        let column = |(at, (name, sql_type)): (usize, &(&str, SqlType))| {
            let id = ColumnId(at as u32 + 1);
            Column {
                id,
                name: (*name).to_owned(),
                sql_type: *sql_type,
                nullable: self.strict != Some(id),
                default: None,
                identity: None,
                encode: None,
                case_insensitive: false,
                comment: None,
                fill: None,
            }
        };
        Table {
            oid: Oid(100_001),
            name: "t".to_owned(),
            columns: columns.iter().enumerate().map(column).collect(),
            next_column: ColumnId(columns.len() as u32 + 1),
            distribution: Distribution { declared: self.style, effective: self.style },
            sort_key: self.sort.clone(),
            ..Table::default()
        }
    }
}

/// A small generator of numbers: the same seed gives the same rows.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.below(10) != 0).then_some(value)
    }
}

fn column<T>(rows: usize, numbers: &mut Numbers, mut of: impl FnMut(&mut Numbers) -> T) -> Vec<T> {
    (0..rows).map(|_| of(numbers)).collect()
}

/// Batches of `rows` rows with ids from 0; every other column has NULLs.
pub(crate) fn random_rows(rows: usize, seed: u64) -> Vec<RecordBatch> {
    let mut numbers = Numbers::new(seed);
    let mut batches = Vec::new();
    let mut first = 0;
    while first < rows {
        let count = (rows - first).min(1_000 + numbers.below(4_000) as usize);
        batches.push(random_batch(first, count, &mut numbers));
        first += count;
    }
    batches
}

fn random_batch(first: usize, rows: usize, numbers: &mut Numbers) -> RecordBatch {
    let n = numbers;
    let decimal = |values: Vec<Option<i128>>, precision, scale| -> ArrayRef {
        let array = PrimitiveArray::<Decimal128Type>::from(values);
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
    };
    let colours = ["red", "green", "blue", "", "reddish", "a colour of many more letters"];
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(first as i64..(first + rows) as i64)),
        Arc::new(Int32Array::from(column(rows, n, |n| {
            let v = n.below(12) as i32;
            n.maybe(v)
        }))),
        Arc::new(Int16Array::from(column(rows, n, |n| {
            let v = n.below(9) as i16 - 2;
            n.maybe(v)
        }))),
        decimal(
            column(rows, n, |n| {
                let v = i128::from(n.below(20_000)) - 500;
                n.maybe(v)
            }),
            15,
            2,
        ),
        decimal(
            column(rows, n, |n| {
                let v = i128::from(n.next()) * i128::from(n.below(1 << 20));
                n.maybe(v)
            }),
            38,
            4,
        ),
        Arc::new(StringViewArray::from(column(rows, n, |n| {
            let v = colours[n.below(6) as usize];
            n.maybe(v)
        }))),
        Arc::new(Date32Array::from(column(rows, n, |n| {
            let v = 8_000 + n.below(2_500) as i32;
            n.maybe(v)
        }))),
        Arc::new(TimestampMicrosecondArray::from(column(rows, n, |n| {
            let v = n.below(2_000_000_000) as i64 * 1_000_000 + 7;
            n.maybe(v)
        }))),
        Arc::new(BooleanArray::from(column(rows, n, |n| {
            let v = n.below(2) == 0;
            n.maybe(v)
        }))),
        Arc::new(Float64Array::from(column(rows, n, |n| {
            let v = n.below(1_000_000) as f64 / 1_000_000.0;
            n.maybe(v)
        }))),
        Arc::new(StringViewArray::from_iter((0..rows).map(|row| {
            let v = format!("text of row {} with number {}", first + row, n.next());
            n.maybe(v)
        }))),
        Arc::new(BinaryViewArray::from_iter((0..rows).map(|_| {
            let v = vec![n.below(200) as u8, 0];
            n.maybe(v)
        }))),
        Arc::new(Float32Array::from(column(rows, n, |n| {
            let v = n.below(1_000) as f32 / 1_000.0;
            n.maybe(v)
        }))),
    ];
    let fields = columns().into_iter().map(|(name, sql_type)| sql_type.field(name, true));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays).unwrap()
}

/// A store, a cache and a number of slices.
pub(crate) struct Cluster {
    slices: u16,
    layout: ScanLayout,
    storage: Arc<NodeStorage>,
    pool: Arc<dyn MemoryPool>,
    loads: std::sync::atomic::AtomicU32,
    /// Rows of the batches that come to the write operator.
    pub(crate) write_rows: usize,
}

impl Cluster {
    pub(crate) fn new(slices: u16, partitions: u16) -> Cluster {
        Cluster::limited(slices, partitions, 2 << 30)
    }

    pub(crate) fn limited(slices: u16, partitions: u16, memory_bytes: usize) -> Cluster {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        Cluster {
            slices,
            layout: ScanLayout { slices, partitions, replica_partitions: 1 },
            storage: NodeStorage::new(store, 1 << 30),
            pool: Arc::new(GreedyMemoryPool::new(memory_bytes)),
            loads: std::sync::atomic::AtomicU32::new(0),
            write_rows: 1_024,
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.storage.store
    }

    pub(crate) fn clear_cache(&self) {
        self.storage.cache.clear();
    }

    pub(crate) fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn context(&self, storage: bool) -> SessionContext {
        self.context_of(storage, 8_192)
    }

    fn context_of(&self, storage: bool, batch_rows: usize) -> SessionContext {
        let mut config = SessionConfig::new()
            .with_batch_size(batch_rows)
            .with_target_partitions(self.layout.partitions.into())
            .set_bool("datafusion.sql_parser.parse_float_as_decimal", true);
        if storage {
            config = config.with_extension(Arc::clone(&self.storage));
        }
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::clone(&self.pool)).build_arc();
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.unwrap())
            .with_default_features()
            .build();
        SessionContext::new_with_state(state)
    }

    pub(crate) fn session(&self, tables: &[(&str, &Arc<SegmentTable>)]) -> Session {
        self.session_on(tables, true)
    }

    pub(crate) fn without_storage(&self, tables: &[(&str, &Arc<SegmentTable>)]) -> Session {
        self.session_on(tables, false)
    }

    fn session_on(&self, tables: &[(&str, &Arc<SegmentTable>)], storage: bool) -> Session {
        let context = self.context(storage);
        for (name, table) in tables {
            context.register_table(*name, Arc::clone(table) as _).unwrap();
        }
        Session { context }
    }

    /// The same rows as an in-memory table of DataFusion's.
    pub(crate) fn naive(&self, name: &str, rows: &[RecordBatch]) -> Session {
        let session = Session { context: self.context(false) };
        session.add(name, rows);
        session
    }

    pub(crate) async fn load(
        &self,
        definition: &Definition,
        rows: &[RecordBatch],
        change: impl Fn(&mut WriteSpec),
    ) -> Arc<SegmentTable> {
        self.try_load(definition, rows, change).await.unwrap()
    }

    pub(crate) async fn try_load(
        &self,
        definition: &Definition,
        rows: &[RecordBatch],
        change: impl Fn(&mut WriteSpec),
    ) -> Result<Arc<SegmentTable>> {
        self.load_columns(&columns(), definition, rows, change).await
    }

    pub(crate) async fn load_columns(
        &self,
        columns: &[(&str, SqlType)],
        definition: &Definition,
        rows: &[RecordBatch],
        change: impl Fn(&mut WriteSpec),
    ) -> Result<Arc<SegmentTable>> {
        let table = Arc::new(definition.table(columns));
        let segments = self.write(&table, rows, change, true).await?;
        Ok(Arc::new(SegmentTable::new(table, segments.into(), self.layout)))
    }

    /// A load whose rows were never redistributed.
    pub(crate) async fn load_unplaced(
        &self,
        definition: &Definition,
        rows: &[RecordBatch],
    ) -> Result<()> {
        let table = Arc::new(definition.table(&columns()));
        self.write(&table, rows, |_| {}, false).await.map(drop)
    }

    pub(crate) async fn load_more(
        &self,
        table: &Arc<SegmentTable>,
        definition: &Definition,
        rows: &[RecordBatch],
    ) -> Arc<SegmentTable> {
        self.load_with(table, definition, rows, |_| {}).await
    }

    pub(crate) async fn load_with(
        &self,
        table: &Arc<SegmentTable>,
        definition: &Definition,
        rows: &[RecordBatch],
        change: impl Fn(&mut WriteSpec),
    ) -> Arc<SegmentTable> {
        let more = self.load(definition, rows, change).await;
        let segments = table.segments().iter().chain(more.segments()).cloned().collect();
        Arc::new(SegmentTable::new(Arc::clone(table.table()), segments, self.layout))
    }

    async fn write(
        &self,
        table: &Table,
        rows: &[RecordBatch],
        change: impl Fn(&mut WriteSpec),
        place: bool,
    ) -> Result<Vec<Arc<Segment>>> {
        let load = self.loads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut spec = WriteSpec::new(table, self.slices, format!("data/{}/1-{load}", table.oid));
        change(&mut spec);
        let schema = rows[0].schema();
        let source: Arc<dyn ExecutionPlan> =
            MemorySourceConfig::try_new_exec(&[rows.to_vec()], Arc::clone(&schema), None)?;
        let slices = usize::from(self.slices);
        let input: Arc<dyn ExecutionPlan> = match table.distribution.effective {
            DistStyle::All => source,
            DistStyle::Key(column) if place => {
                let name = &table.column_by_id(column).unwrap().name;
                let hash = Partitioning::Hash(vec![expressions::col(name, &schema)?], slices);
                Arc::new(RepartitionExec::try_new(source, hash)?)
            }
            _ => {
                let even = EvenSliceExec::new(source, self.slices, load.into());
                let hash = Partitioning::Hash(vec![even.slice_column()], slices);
                Arc::new(RepartitionExec::try_new(Arc::new(even), hash)?)
            }
        };
        let write = Arc::new(SegmentWriteExec::try_new(input, Arc::new(spec))?);
        let mut segments = Vec::new();
        for batch in collect(write, self.context_of(true, self.write_rows).task_ctx()).await? {
            segments.extend(segments_of(&batch)?.into_iter().map(Arc::new));
        }
        Ok(segments)
    }

    pub(crate) fn rows_of_slice(&self, table: &SegmentTable, slice: u16) -> u64 {
        let own = |segment: &&Arc<Segment>| segment.slice.is_some_and(|s| s.0 == slice);
        table.segments().iter().filter(own).map(|segment| segment.rows).sum()
    }

    pub(crate) fn with_segments(
        &self,
        table: &SegmentTable,
        change: impl Fn(&mut Segment),
    ) -> Arc<SegmentTable> {
        let changed = |segment: &Arc<Segment>| {
            let mut segment = Segment::clone(segment);
            change(&mut segment);
            Arc::new(segment)
        };
        let segments = table.segments().iter().map(changed).collect();
        Arc::new(SegmentTable::new(Arc::clone(table.table()), segments, self.layout))
    }

    /// The table with a column more than its segments have.
    pub(crate) fn with_column(
        &self,
        table: &SegmentTable,
        name: &str,
        fill: Option<i128>,
    ) -> Arc<SegmentTable> {
        let mut definition = Table::clone(table.table());
        let id = definition.next_column;
        let mut column = definition.columns[0].clone();
        (column.id, column.name, column.nullable) = (id, name.to_owned(), true);
        definition.columns.push(column);
        let segments = table.segments().iter().cloned().collect();
        let fills = fill.map(|value| (id, Datum::Int(value))).into_iter();
        let table = SegmentTable::new(Arc::new(definition), segments, self.layout);
        Arc::new(table.with_fills(fills.collect::<BTreeMap<_, _>>()))
    }

    pub(crate) fn sorted_by_id(&self, rows: &[RecordBatch]) -> Vec<RecordBatch> {
        // The generator counts ids upwards already.
        rows.to_vec()
    }
}

/// A session of DataFusion's over some tables.
pub(crate) struct Session {
    context: SessionContext,
}

impl Session {
    pub(crate) fn add(&self, name: &str, rows: &[RecordBatch]) {
        let table = MemTable::try_new(rows[0].schema(), vec![rows.to_vec()]).unwrap();
        self.context.register_table(name, Arc::new(table)).unwrap();
    }

    pub(crate) fn context(&self) -> Arc<TaskContext> {
        self.context.task_ctx()
    }

    pub(crate) async fn plan(&self, sql: &str) -> Arc<dyn ExecutionPlan> {
        self.context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
    }

    pub(crate) async fn explain(&self, sql: &str) -> String {
        displayable(self.plan(sql).await.as_ref()).indent(true).to_string()
    }

    pub(crate) async fn try_rows(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.context.sql(sql).await?.collect().await
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<RecordBatch> {
        self.try_rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) async fn count(&self, sql: &str) -> usize {
        self.rows(sql).await.iter().map(RecordBatch::num_rows).sum()
    }

    /// Runs a query and gives the sum of one counter over its scans.
    pub(crate) async fn counters(&self, sql: &str, names: &[&str]) -> Vec<usize> {
        let plan = self.plan(sql).await;
        collect(Arc::clone(&plan), self.context()).await.unwrap();
        let mut sums = vec![0; names.len()];
        add_counters(&plan, names, &mut sums);
        sums
    }

    /// Checks that each partition of a scan gives `column` in ascending order.
    pub(crate) async fn assert_ordered(&self, sql: &str, column: &str) {
        let plan = self.plan(sql).await;
        let options = SortOptions { descending: false, nulls_first: false };
        for partition in 0..plan.output_partitioning().partition_count() {
            let stream = plan.execute(partition, self.context()).unwrap();
            let batches = datafusion::physical_plan::common::collect(stream).await.unwrap();
            if batches.is_empty() {
                continue;
            }
            let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
            let values = batch.column_by_name(column).unwrap();
            let sorted = arrow::compute::sort(values, Some(options)).unwrap();
            assert_eq!(values, &sorted, "{sql}, partition {partition}");
        }
    }
}

fn add_counters(plan: &Arc<dyn ExecutionPlan>, names: &[&str], sums: &mut [usize]) {
    if plan.is::<SegmentScanExec>() {
        let metrics = plan.metrics().unwrap();
        for (name, sum) in names.iter().zip(sums.iter_mut()) {
            *sum += metrics.sum_by_name(name).map_or(0, |value| value.as_usize());
        }
    }
    for child in plan.children() {
        add_counters(child, names, sums);
    }
}

/// Checks that two sessions give the same rows, in whatever order.
pub(crate) async fn assert_same(ours: &Session, naive: &Session, sql: &str) {
    let (ours, naive) = (lines(ours.rows(sql).await), lines(naive.rows(sql).await));
    assert_eq!(ours.len(), naive.len(), "rows of {sql}");
    for (ours, naive) in ours.iter().zip(&naive) {
        assert_eq!(ours, naive, "{sql}");
    }
}

fn lines(batches: Vec<RecordBatch>) -> Vec<String> {
    let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    let cells = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> =
        text.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect();
    lines.sort_unstable();
    lines
}
