//! The leader's side of execution: plans queries, divides them and writes tables.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::ids::{ColumnId, Oid, SliceId};
use base::segment::Segment;
use base::stack::Deep;
use base::{CancellationToken, Error, Result, error};
use catalog::{Table, TableStatistics};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, ScalarUDF, WindowUDF};
use datafusion_distributed::DistributedExt;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use joinorder::Machine;
use object_store::ObjectStore;

use crate::admission::Admission;
use crate::distribute::{self, Distributed, Plan, rows, verify};
use crate::error::from_datafusion;
use crate::hashjoin;
use crate::layout::Layout;
use crate::local;
use crate::memory::Memory;
use crate::node::{self, Node};
use crate::order;
use crate::predicates::PredicateColumns;
use crate::provider::{ScanLayout, SegmentTable};
use crate::query::{Executable, QueryContext};
use crate::rpc::{Channels, NodeAddress, NodeStatus, NodeTls, Peers};
use crate::rules;
use crate::settings::{self, Settings};
use crate::sharing::{self, Shared};
use crate::sweep;

/// Sizes and limits. Memory and spill limits are per node.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Data slices of the cluster: fixed when it is created.
    pub slices: u16,
    /// What all queries on a node may hold.
    pub memory_limit_bytes: usize,
    /// What one query may hold on a node.
    pub query_memory_bytes: usize,
    pub spill_dir: PathBuf,
    pub spill_limit_bytes: u64,
    pub block_cache_bytes: usize,
    /// Threads of the process, which planning may use.
    pub threads: usize,
    /// Queries that run at once.
    pub concurrency: usize,
    /// Queries that wait; the next one is refused.
    pub queue_limit: usize,
    pub queue_timeout_ms: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            slices: 4,
            memory_limit_bytes: 2 << 30,
            query_memory_bytes: 1 << 30,
            spill_dir: std::env::temp_dir().join("blueshift-spill"),
            spill_limit_bytes: 64 << 30,
            block_cache_bytes: 512 << 20,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            concurrency: 8,
            queue_limit: 200,
            queue_timeout_ms: 600_000,
        }
    }
}

/// What other floors add to plans; leader and nodes are given the same, in the same order.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    pub codecs: Vec<Arc<dyn PhysicalExtensionCodec>>,
    pub scalar: Vec<Arc<ScalarUDF>>,
    pub aggregate: Vec<Arc<AggregateUDF>>,
    pub window: Vec<Arc<WindowUDF>>,
}

/// Where the compute nodes are.
#[derive(Clone, Debug)]
pub enum Cluster {
    /// In this process.
    Embedded { nodes: u16 },
    /// Processes of their own, in the order of their slices.
    Remote { nodes: Vec<NodeAddress>, tls: NodeTls },
}

/// The leader's engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) layout: Layout,
    pub(crate) peers: Arc<Peers>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) admission: Admission,
    predicates: Arc<PredicateColumns>,
    /// Counts the rows inserted alone, which go to one slice after another.
    turns: AtomicUsize,
    embedded: Vec<Arc<Node>>,
    /// What the states of queries have in common.
    blank: SessionState,
    stopped: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}

/// How often the health of remote nodes is asked for.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// A plan with fewer nodes and expressions is made where it is asked for.
const SMALL_PLAN_NODES: usize = 2_000;

impl Engine {
    /// Starts the engine. `store` holds the segments of embedded nodes; remote nodes have their
    /// own.
    ///
    /// # Errors
    /// 22023 for slices that do not divide over the nodes, 58030 for the spill directory.
    pub fn start(
        config: EngineConfig,
        store: Arc<dyn ObjectStore>,
        cluster: Cluster,
        extensions: Extensions,
    ) -> Result<Arc<Engine>> {
        let version = node::version();
        let mut embedded = Vec::new();
        let stopped = CancellationToken::new();
        let (layout, peers) = match &cluster {
            Cluster::Embedded { nodes } => {
                let layout = Layout::new(config.slices, *nodes)?;
                let cell = Arc::new(OnceLock::new());
                for index in 0..*nodes {
                    let spill_dir = config.spill_dir.join(format!("node-{index}"));
                    let channels = Channels::deferred(Arc::clone(&cell));
                    let store = Arc::clone(&store);
                    let extensions = extensions.clone();
                    embedded.push(Node::new(&config, spill_dir, store, extensions, channels)?);
                }
                let workers: Vec<_> = embedded.iter().map(Node::worker).collect();
                for (node, worker) in embedded.iter().zip(&workers) {
                    sweep::start(node, worker.clone(), stopped.clone());
                }
                let peers = Arc::new(Peers::embedded(workers, version)?);
                let set = cell.set(Arc::downgrade(&peers));
                debug_assert!(set.is_ok(), "the nodes are told of each other once");
                (layout, peers)
            }
            Cluster::Remote { nodes, tls } => {
                let count = u16::try_from(nodes.len()).unwrap_or(u16::MAX);
                let layout = Layout::new(config.slices, count)?;
                (layout, Arc::new(Peers::remote(nodes, tls, version)?))
            }
        };
        let memory = Memory::open(
            config.memory_limit_bytes,
            config.query_memory_bytes,
            &config.spill_dir.join("leader"),
            config.spill_limit_bytes,
        )?;
        let timeout = Duration::from_millis(config.queue_timeout_ms);
        let memory = Arc::new(memory);
        let blank = blank_state(&config, layout, &peers, &memory, &extensions);
        let inner = Inner {
            admission: Admission::new(config.concurrency, config.queue_limit, timeout),
            predicates: Arc::default(),
            layout,
            peers,
            turns: AtomicUsize::new(base::rng::u64() as usize),
            memory,
            embedded,
            blank,
            stopped,
            config,
        };
        if matches!(cluster, Cluster::Remote { .. }) {
            watch(Arc::clone(&inner.peers), inner.stopped.clone());
        }
        Ok(Arc::new(Engine { inner: Arc::new(inner) }))
    }

    /// Fails unless every compute node answers and is built as the leader is.
    ///
    /// # Errors
    /// 08006 for a node that cannot be reached, 08000 for one of another version.
    pub async fn require_all_nodes(&self) -> Result<()> {
        self.inner.peers.require_all().await
    }

    /// The nodes and whether they answered last.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.inner.peers.status()
    }

    /// How slices lie on nodes.
    pub fn layout(&self) -> Layout {
        self.inner.layout
    }

    /// The slice whose turn it is to get rows that have no place of their own.
    pub(crate) fn next_slice(&self) -> SliceId {
        let slices = self.inner.layout.slices();
        let turn = self.inner.turns.fetch_add(1, Ordering::Relaxed);
        SliceId(u16::try_from(turn % slices).unwrap_or(0))
    }

    /// Queries that wait to run.
    pub fn queued(&self) -> usize {
        self.inner.admission.waiting()
    }

    /// Bytes of memory and of spill files that queries hold in this process now.
    pub fn held_bytes(&self) -> (usize, u64) {
        let nodes = self.inner.embedded.iter().map(|node| &node.memory);
        let all = nodes.chain([&self.inner.memory]);
        all.fold((0, 0), |(memory, disk), node| {
            (memory + node.used_bytes(), disk + node.spilled_bytes())
        })
    }

    /// A table of the catalog as queries read it: `segments` is the snapshot that they see.
    pub fn table(
        &self,
        table: Arc<Table>,
        segments: Arc<[Arc<Segment>]>,
    ) -> Arc<dyn TableProvider> {
        Arc::new(self.segment_table(table, segments))
    }

    /// As [`Engine::table`], with what ANALYZE found out about its values.
    pub fn analyzed_table(
        &self,
        table: Arc<Table>,
        segments: Arc<[Arc<Segment>]>,
        analyzed: Option<Arc<TableStatistics>>,
    ) -> Arc<dyn TableProvider> {
        Arc::new(self.segment_table(table, segments).with_analyzed(analyzed))
    }

    pub(crate) fn segment_table(
        &self,
        table: Arc<Table>,
        segments: Arc<[Arc<Segment>]>,
    ) -> SegmentTable {
        SegmentTable::new(table, segments, ScanLayout::new(self.inner.config.slices))
    }

    /// The columns of a table that queries filtered, joined or grouped by since the engine
    /// started.
    pub fn predicate_columns(&self, table: Oid) -> Vec<ColumnId> {
        self.inner.predicates.of(table)
    }

    /// As [`Engine::table`], with the column [`base::segment::ROW_ADDRESS`]: the target of
    /// DELETE, UPDATE and MERGE.
    pub fn table_with_address(
        &self,
        table: Arc<Table>,
        segments: Arc<[Arc<Segment>]>,
    ) -> Arc<SegmentTable> {
        Arc::new(self.segment_table(table, segments).with_row_address())
    }

    /// The session state in which a query is planned.
    ///
    /// # Errors
    /// 22023 for a setting of DataFusion that does not exist or has a bad value.
    pub fn state(&self, query: &QueryContext) -> Result<SessionState> {
        self.inner.state(query)
    }

    /// Plans an analysed query, divides it over the nodes and checks the result.
    ///
    /// # Errors
    /// What planning finds; XX000 for a plan that could return wrong rows.
    pub async fn plan(&self, logical: LogicalPlan, query: &QueryContext) -> Result<Executable> {
        let state = self.inner.state(query)?;
        let (physical, ordered) = self.inner.plan_physical(&state, logical.clone()).await?;
        let executable = self.executable(state, Some(logical), physical, query)?;
        Ok(Executable { ordered: Some(ordered), ..executable })
    }

    /// The plan of rows that will be written.
    pub(crate) async fn plan_rows(
        &self,
        state: &SessionState,
        logical: LogicalPlan,
    ) -> Result<Plan> {
        let logical = rules::analysed(state, logical).map_err(from_datafusion)?;
        Ok(self.inner.plan_physical(state, logical).await?.0)
    }

    /// Asks every node whether it is there.
    pub async fn probe(&self) {
        self.inner.peers.probe().await;
    }

    /// Divides a physical plan that was made with one partition per slice.
    ///
    /// # Errors
    /// XX000 for a plan that could return wrong rows.
    pub fn executable(
        &self,
        state: SessionState,
        logical: Option<LogicalPlan>,
        physical: Plan,
        query: &QueryContext,
    ) -> Result<Executable> {
        let divided = self.inner.divide(&physical)?;
        let (inner, context) = (Arc::clone(&self.inner), query.clone());
        Ok(Executable { inner, state, context, logical, ordered: None, physical, divided })
    }
}

impl Inner {
    pub(crate) fn state(&self, query: &QueryContext) -> Result<SessionState> {
        let mut state = self.blank.clone();
        settings::apply(state.config_mut(), &query.headers(0))?;
        // Names that rules make up are numbered anew.
        *state.execution_props_mut() = ExecutionProps::new();
        Ok(state)
    }

    /// The plan as for one machine with one partition per slice, and the logical plan that it
    /// was made from.
    pub(crate) async fn plan_physical(
        &self,
        state: &SessionState,
        logical: LogicalPlan,
    ) -> Result<(Plan, LogicalPlan)> {
        let settings = state.config().get_extension::<Settings>();
        let planner = Planner {
            state: state.clone(),
            machine: self.machine(),
            layout: self.layout,
            vector_joins: local::is_enabled(settings.as_deref(), hashjoin::SETTING),
        };
        let state = state.clone();
        let predicates = Arc::clone(&self.predicates);
        planning(is_small(&logical), async move {
            let logical = rules::optimized(&state, logical).map_err(from_datafusion)?;
            predicates.note(&logical);
            let shared = match local::is_enabled(settings.as_deref(), sharing::SETTING) {
                true => sharing::shared(logical).map_err(from_datafusion)?,
                false => Shared { plan: logical, parts: Vec::new() },
            };
            // Those after a part may be read by it.
            for part in shared.parts.into_iter().rev() {
                let (plan, _) = planner.physical(part.plan).await?;
                let query = divided(&plan, planner.layout)?;
                part.table.plan_as(rows::shared(query, Arc::clone(&part.table)));
            }
            planner.physical(shared.plan).await
        })
        .await
    }

    /// The cluster as the order of joins sees it.
    fn machine(&self) -> Machine {
        Machine {
            nodes: u16::try_from(self.layout.tasks()).unwrap_or(u16::MAX),
            slices: self.config.slices,
            memory_bytes: self.config.query_memory_bytes as f64,
        }
    }

    pub(crate) fn divide(&self, physical: &Plan) -> Result<Distributed> {
        divided(physical, self.layout)
    }
}

/// The state of a query without settings: functions and rules are many.
fn blank_state(
    config: &EngineConfig,
    layout: Layout,
    peers: &Arc<Peers>,
    memory: &Memory,
    extensions: &Extensions,
) -> SessionState {
    let mut session = settings::leader(layout.slices(), config.threads);
    settings::register_codecs(&mut session, extensions);
    session.set_distributed_channel_resolver(Channels::of(Arc::clone(peers)));
    let builder = SessionStateBuilder::new()
        .with_config(session)
        .with_runtime_env(memory.unlimited())
        .with_physical_optimizer_rules(settings::physical_rules())
        .with_default_features();
    settings::register_functions(rules::register(builder), extensions).build()
}

fn divided(physical: &Plan, layout: Layout) -> Result<Distributed> {
    base::stack::deep(|| {
        let divided = distribute::distribute(physical, layout)?;
        verify::verify(&divided, layout)?;
        Ok(divided)
    })
}

/// Makes the physical plans of a statement.
struct Planner {
    state: SessionState,
    machine: Machine,
    layout: Layout,
    vector_joins: bool,
}

impl Planner {
    /// As for one machine, and the logical plan with its joins in order.
    async fn physical(&self, logical: LogicalPlan) -> Result<(Plan, LogicalPlan)> {
        let planned = order::physical(self.state.clone(), logical, &self.machine).await;
        let (plan, ordered) = planned.map_err(from_datafusion)?;
        let config = self.state.config_options();
        let plan = distribute::fewer::without_needless_moves(plan, config)?;
        let publishes_at_once = |plan: &Plan| self.vector_joins && hashjoin::is_replaced(plan);
        let plan = distribute::unpolled::without_blocking_filters(&plan, &publishes_at_once)?;
        Ok((distribute::yielding(plan)?, ordered))
    }
}

/// Plans where it is asked to when the plan is small; a large one goes to a thread of its own, so
/// that others need not wait for it.
async fn planning<T, F>(small: bool, future: F) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let future = Deep::new(future);
    if small {
        return future.await;
    }
    let runtime = tokio::runtime::Handle::current();
    base::task::blocking("planning", move || runtime.block_on(future)).await
}

/// True for a plan of few nodes and expressions.
fn is_small(plan: &LogicalPlan) -> bool {
    let mut left = SMALL_PLAN_NODES;
    let mut count = |_: &Expr| {
        left = left.saturating_sub(1);
        Ok(if left == 0 { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    let counted =
        plan.apply_with_subqueries(|node| node.apply_expressions(|e| e.apply(&mut count)));
    counted.is_ok() && left > 0
}

fn watch(peers: Arc<Peers>, stopped: CancellationToken) {
    base::task::spawn("node health", async move {
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = peers.probe() => {}
            }
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(PROBE_INTERVAL) => {}
            }
        }
    });
}

/// For messages about a cluster that cannot do what was asked.
pub(crate) fn lost_write(error: Error) -> Error {
    let detail = error.message().to_owned();
    error!(ConnectionFailure, "a compute node was lost while rows were written")
        .detail(format!("{detail}. Nothing was committed."))
        .hint("Run the statement again.")
        .retry(base::Retry::SameStatement)
}
