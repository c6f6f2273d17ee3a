//! Tables in memory, divided over slices by the placement hash, and clusters that read them.

mod changes;
mod pipelines;
mod queries;
mod remote;
mod runs;
mod warehouse;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{MemTable, MemoryCatalogProviderList, Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use datafusion::prelude::SessionContext;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use futures::TryStreamExt;
use parking_lot::RwLock;

use crate::engine::{Cluster, Engine, EngineConfig, Extensions};
use crate::query::{Executable, QueryContext};
use crate::rules;

/// Where the rows of a test table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Key(usize),
    Even,
    All,
}

/// Rows by slice; of a replica, all in one.
#[derive(Debug)]
pub(crate) struct TestTable {
    name: String,
    schema: SchemaRef,
    place: Place,
    parts: Vec<Vec<RecordBatch>>,
    rows: usize,
}

static TABLES: RwLock<Option<HashMap<String, Arc<TestTable>>>> = RwLock::new(None);

/// Divides rows over slices as a load would.
pub(crate) fn table(name: &str, rows: RecordBatch, place: Place, slices: u16) -> Arc<TestTable> {
    let parts = match place {
        Place::All => vec![vec![rows.clone()]],
        Place::Key(column) => {
            let mut of = Vec::new();
            crate::placement::slices_of(&[Arc::clone(rows.column(column))], slices, &mut of)
                .unwrap();
            split(&rows, &of, slices)
        }
        Place::Even => {
            let of = (0..rows.num_rows()).map(|row| (row % usize::from(slices)) as u16);
            split(&rows, &of.collect::<Vec<_>>(), slices)
        }
    };
    let table = Arc::new(TestTable {
        name: format!("{name}/{slices}/{:x}", base::rng::u64()),
        schema: rows.schema(),
        place,
        parts,
        rows: rows.num_rows(),
    });
    let mut tables = TABLES.write();
    tables.get_or_insert_with(HashMap::new).insert(table.name.clone(), Arc::clone(&table));
    table
}

fn split(rows: &RecordBatch, of: &[u16], slices: u16) -> Vec<Vec<RecordBatch>> {
    let part = |slice: u16| {
        let picked = (0..of.len()).filter(|row| of[*row] == slice).map(|row| row as u64);
        let picked = UInt64Array::from_iter_values(picked);
        vec![arrow_select::take::take_record_batch(rows, &picked).unwrap()]
    };
    (0..slices).map(part).collect()
}

#[async_trait]
impl TableProvider for TestTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let slices = 0..self.parts.len() as u16;
        Ok(Arc::new(TestLeafExec::new(&self.name, projection, slices)))
    }
}

/// Reads some slices of a [`TestTable`].
#[derive(Debug)]
pub(crate) struct TestLeafExec {
    table: Arc<TestTable>,
    projection: Vec<usize>,
    slices: Range<u16>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl TestLeafExec {
    fn new(name: &str, projection: Vec<usize>, slices: Range<u16>) -> TestLeafExec {
        let tables = TABLES.read();
        let table = Arc::clone(tables.as_ref().unwrap().get(name).unwrap());
        let schema = Arc::new(table.schema.project(&projection).unwrap());
        let count = slices.len();
        let key = match table.place {
            Place::Key(key) => projection.iter().position(|column| *column == key),
            _ => None,
        };
        let partitioning = match key {
            Some(at) => {
                let column: Arc<dyn PhysicalExpr> =
                    Arc::new(Column::new(schema.field(at).name(), at));
                Partitioning::Hash(vec![column], count)
            }
            None => Partitioning::UnknownPartitioning(count),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        TestLeafExec { table, projection, slices, properties, metrics: Default::default() }
    }

    pub(crate) fn is_replica(&self) -> bool {
        self.table.place == Place::All
    }

    pub(crate) fn for_slices(&self, slices: Range<u16>) -> Arc<dyn ExecutionPlan> {
        Arc::new(TestLeafExec::new(&self.table.name, self.projection.clone(), slices))
    }
}

impl DisplayAs for TestLeafExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestLeafExec: {} {:?}", self.table.name, self.slices)
    }
}

impl ExecutionPlan for TestLeafExec {
    fn name(&self) -> &str {
        "TestLeafExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        // Only compute nodes have storage: a leader that reads user data is a fault.
        crate::cache::NodeStorage::of(&context, "a test scan")?;
        let part = &self.table.parts[usize::from(self.slices.start) + partition];
        let projection = Some(self.projection.clone());
        let rows = vec![part.clone()];
        let source = MemorySourceConfig::try_new(&rows, self.table.schema.clone(), projection)?;
        let counted = BaselineMetrics::new(&self.metrics, partition);
        let rows = source.open(0, context)?.inspect_ok(move |batch| {
            counted.record_output(batch.num_rows());
        });
        let schema = self.properties.eq_properties.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        use datafusion::common::stats::Precision;
        let mut statistics = Statistics::new_unknown(self.properties.eq_properties.schema());
        statistics.num_rows = Precision::Inexact(self.table.rows);
        statistics.total_byte_size = Precision::Inexact(self.table.rows * 64);
        Ok(Arc::new(statistics))
    }
}

#[derive(Debug)]
struct TestCodec;

impl PhysicalExtensionCodec for TestCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (name, projection, slices): (String, Vec<usize>, Range<u16>) =
            serde_json::from_slice(buf).unwrap();
        Ok(Arc::new(TestLeafExec::new(&name, projection, slices)))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(leaf) = node.downcast_ref::<TestLeafExec>() else {
            return datafusion::common::internal_err!("no test leaf");
        };
        let message = (&leaf.table.name, &leaf.projection, &leaf.slices);
        serde_json::to_writer(buf, &message).unwrap();
        Ok(())
    }
}

pub(crate) fn extensions() -> Extensions {
    Extensions { codecs: vec![Arc::new(TestCodec)], ..Extensions::default() }
}

/// A table's name, rows and place.
pub(crate) type Rows = (&'static str, RecordBatch, Place);

/// A cluster in memory beside one plain session with the same rows.
pub(crate) struct TestCluster {
    pub(crate) engine: Arc<Engine>,
    tables: Vec<(&'static str, Arc<TestTable>)>,
    plain: SessionContext,
}

pub(crate) fn config(name: &str, slices: u16) -> EngineConfig {
    let spill_dir = std::env::temp_dir().join(format!(
        "blueshift-exec-{}-{name}-{:x}",
        std::process::id(),
        base::rng::u64()
    ));
    EngineConfig {
        slices,
        memory_limit_bytes: 512 << 20,
        query_memory_bytes: 256 << 20,
        spill_dir,
        block_cache_bytes: 1 << 20,
        ..EngineConfig::default()
    }
}

/// A session with tables of its own.
pub(crate) fn session(engine: &Engine, query: &QueryContext) -> base::Result<SessionContext> {
    let state = engine.state(query)?;
    let config = state.config().clone().with_create_default_catalog_and_schema(true);
    let builder = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
    Ok(SessionContext::new_with_state(builder.build()))
}

/// An analysed plan, as the binder makes them.
pub(crate) async fn logical(session: &SessionContext, sql: &str) -> Result<LogicalPlan> {
    let state = session.state();
    rules::analysed(&state, state.create_logical_plan(sql).await?)
}

impl TestCluster {
    pub(crate) fn new(nodes: u16, per_node: u16, rows: Vec<Rows>) -> TestCluster {
        let slices = nodes * per_node;
        let config = config(&format!("{nodes}x{per_node}"), slices);
        TestCluster::with(config, Cluster::Embedded { nodes }, rows)
    }

    pub(crate) fn with(config: EngineConfig, cluster: Cluster, rows: Vec<Rows>) -> TestCluster {
        let store = Arc::new(object_store::memory::InMemory::new());
        let slices = config.slices;
        let engine = Engine::start(config, store, cluster, extensions()).unwrap();
        let plain = SessionContext::new();
        let mut tables = Vec::new();
        for (name, rows, place) in rows {
            let memory = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).unwrap();
            plain.register_table(name, Arc::new(memory)).unwrap();
            tables.push((name, table(name, rows, place, slices)));
        }
        TestCluster { engine, tables, plain }
    }

    pub(crate) async fn plan(&self, sql: &str, query: &QueryContext) -> base::Result<Executable> {
        let session = session(&self.engine, query)?;
        for (name, table) in &self.tables {
            session.register_table(*name, Arc::clone(table) as _).unwrap();
        }
        let system = rows(&[("k", ints(0..5))]);
        let system = MemTable::try_new(system.schema(), vec![vec![system]]).unwrap();
        session.register_table("system", Arc::new(system)).unwrap();
        let logical = logical(&session, sql).await.map_err(crate::error::from_datafusion)?;
        self.engine.plan(logical, query).await
    }

    pub(crate) async fn run(&self, sql: &str) -> base::Result<Vec<RecordBatch>> {
        let plan = self.plan(sql, &QueryContext::default()).await?;
        plan.execute()?.try_collect().await
    }

    /// The rows that one process gives for the same statement.
    pub(crate) async fn plain(&self, sql: &str) -> Vec<RecordBatch> {
        let system = rows(&[("k", ints(0..5))]);
        let system = MemTable::try_new(system.schema(), vec![vec![system]]).unwrap();
        self.plain.deregister_table("system").unwrap();
        self.plain.register_table("system", Arc::new(system)).unwrap();
        self.plain.sql(sql).await.unwrap().collect().await.unwrap()
    }
}

/// Rows as sorted lines.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let options = arrow_cast::display::FormatOptions::default().with_null("NULL");
        let columns = batch
            .columns()
            .iter()
            .map(|column| arrow_cast::display::ArrayFormatter::try_new(column, &options).unwrap());
        let columns: Vec<_> = columns.collect();
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| column.value(row).to_string());
            lines.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    lines
}

pub(crate) fn rows(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let field =
        |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let columns = columns.iter().map(|(_, column)| Arc::clone(column)).collect();
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

pub(crate) fn ints(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

pub(crate) fn some_ints(values: impl IntoIterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(Int32Array::from_iter(values))
}

pub(crate) fn longs(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub(crate) fn texts(values: impl IntoIterator<Item = String>) -> ArrayRef {
    let array = StringViewArray::from_iter_values(values);
    debug_assert_eq!(arrow_array::Array::data_type(&array), &DataType::Utf8View);
    Arc::new(array)
}
