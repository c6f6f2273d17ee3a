//! One query: from a divided plan to a stream of rows.
//!
//! Owns a query's run: admission, rows that the leader computes first, routing to the nodes that
//! are up, cancellation, and the one retry after a lost node.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use base::client::BatchStream;
use base::ids::QueryId;
use base::{CancellationToken, Error, Result, error};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion_distributed::{
    DistributedConfig, DistributedExec, DistributedExt, RouteTasksEvent, RouteTasksEventResponse,
};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::WaitForCancellationFutureOwned;
use url::Url;

use crate::distribute::rows::SharedRows;
use crate::distribute::{self, Distributed, Plan, rows};
use crate::engine::Inner;
use crate::error::{from_datafusion, into_datafusion, is_hash_join_memory, is_node_lost};
use crate::local;
use crate::settings::QueryHeaders;
use crate::sharing;

/// Batches that wait for a slow client, besides what operators hold.
const OUTPUT_BATCHES: usize = 2;

/// What a query is run for.
#[derive(Clone, Debug, Default)]
pub struct QueryContext {
    pub id: QueryId,
    pub cancel: CancellationToken,
    /// The query's memory on each node, where it differs from the node's default.
    pub memory_bytes: Option<usize>,
    /// Session settings. Names that start with `datafusion.` are DataFusion's own.
    pub settings: Vec<(String, String)>,
    /// Run again once when a node is lost before the first row was delivered.
    pub retry_reads: bool,
}

/// The setting under which joins spill.
pub(crate) const WITHOUT_HASH: (&str, &str) = ("datafusion.optimizer.prefer_hash_join", "false");
/// The setting under which every subplan runs where it stands.
pub(crate) const UNSHARED: (&str, &str) = (sharing::SETTING, "off");

impl QueryContext {
    /// Sets a setting for this query alone.
    pub(crate) fn set(&mut self, (name, value): (&str, &str)) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn headers(&self, run: usize) -> QueryHeaders {
        QueryHeaders {
            id: format!("{}-{run}-{:x}", self.id, base::rng::u64()),
            memory_bytes: self.memory_bytes,
            settings: self.settings.clone(),
        }
    }
}

/// 57014: somebody asked for the end.
pub(crate) fn canceled() -> Error {
    error!(QueryCanceled, "canceling statement due to user request")
}

/// A query that is planned, divided over the nodes and checked.
pub struct Executable {
    pub(crate) inner: Arc<Inner>,
    pub(crate) state: SessionState,
    pub(crate) context: QueryContext,
    /// To plan again under other settings.
    pub(crate) logical: Option<LogicalPlan>,
    /// The plan from which the physical one was made.
    pub(crate) ordered: Option<LogicalPlan>,
    /// As for one machine.
    pub(crate) physical: Plan,
    pub(crate) divided: Distributed,
}

impl std::fmt::Debug for Executable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executable").field("id", &self.context.id).finish_non_exhaustive()
    }
}

impl Executable {
    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.physical.schema()
    }

    /// True when no compute node takes part.
    pub fn is_leader_only(&self) -> bool {
        self.divided.is_leader_only()
    }

    /// Starts the query. Dropping the stream ends it on all nodes.
    ///
    /// # Errors
    /// None so far: what fails, fails in the stream.
    pub fn execute(self) -> Result<BatchStream> {
        let cancel = self.context.cancel.clone();
        let (sender, receiver) = mpsc::channel(OUTPUT_BATCHES);
        let task = base::task::spawn("query", async move {
            if let Err(error) = self.run(&sender).await {
                // A client that is gone needs no error.
                let _ = sender.send(Err(error)).await;
            }
        });
        let cancelled = Box::pin(cancel.cancelled_owned());
        Ok(Box::pin(Output { receiver, task: Some(task), cancelled: Some(cancelled) }))
    }

    async fn run(mut self, sender: &mpsc::Sender<Result<RecordBatch>>) -> Result<()> {
        let _slot = if self.is_leader_only() {
            None
        } else {
            Some(self.inner.admission.enter(&self.context.cancel).await?)
        };
        let (mut again_after_loss, mut again_without_hash) = (self.context.retry_reads, true);
        let mut again_unshared = true;
        let mut delivered = false;
        for run in 0.. {
            let error = match self.attempt(run, sender, &mut delivered).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if is_node_lost(&error) {
                self.inner.peers.probe().await;
            }
            if delivered {
                return Err(error);
            }
            if is_node_lost(&error) && again_after_loss {
                again_after_loss = false;
                tracing::warn!(query = %self.context.id, %error, "running the query again");
                self.divide_again()?;
            } else if is_hash_join_memory(&error) && again_without_hash && self.logical.is_some() {
                again_without_hash = false;
                tracing::info!(query = %self.context.id, "running the query with sorted joins");
                self.plan_again(WITHOUT_HASH).await?;
            } else if rows::is_too_much_shared(&error) && again_unshared && self.logical.is_some() {
                again_unshared = false;
                tracing::info!(query = %self.context.id, "running the query without sharing");
                self.plan_again(UNSHARED).await?;
            } else {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn attempt(
        &self,
        run: usize,
        sender: &mpsc::Sender<Result<RecordBatch>>,
        delivered: &mut bool,
    ) -> Result<()> {
        let cancel = &self.context.cancel;
        let runner = self.runner(run, false)?;
        let started = tokio::select! {
            () = cancel.cancelled() => return Err(canceled()),
            started = runner.start(self.divided.clone()) => started?,
        };
        let mut stream = started.stream;
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => return Err(canceled()),
                () = sender.closed() => return Ok(()),
                next = stream.next() => next,
            };
            let Some(batch) = next.transpose().map_err(from_datafusion)? else {
                return Ok(());
            };
            if batch.num_rows() == 0 {
                continue;
            }
            *delivered = true;
            tokio::select! {
                () = cancel.cancelled() => return Err(canceled()),
                sent = sender.send(Ok(batch)) => if sent.is_err() {
                    return Ok(());
                },
            }
        }
    }

    pub(crate) fn runner(&self, run: usize, metrics: bool) -> Result<Arc<Runner>> {
        Runner::new(&self.inner, &self.state, &self.context, run, metrics)
    }

    /// The same plan without the state of its last run.
    pub(crate) fn divide_again(&mut self) -> Result<()> {
        self.physical = reset_plan_states(Arc::clone(&self.physical)).map_err(from_datafusion)?;
        self.divided = self.inner.divide(&self.physical)?;
        Ok(())
    }

    /// A plan under another setting.
    pub(crate) async fn plan_again(&mut self, setting: (&str, &str)) -> Result<()> {
        let Some(logical) = self.logical.clone() else {
            return Ok(());
        };
        let mut context = self.context.clone();
        context.set(setting);
        self.state = self.inner.state(&context)?;
        let (physical, ordered) = self.inner.plan_physical(&self.state, logical).await?;
        (self.physical, self.ordered) = (physical, Some(ordered));
        self.divided = self.inner.divide(&self.physical)?;
        self.context = context;
        Ok(())
    }
}

/// A running plan.
pub(crate) struct Started {
    pub(crate) stream: SendableRecordBatchStream,
    /// What runs, with its metrics.
    pub(crate) plan: Plan,
}

/// Starts divided plans for one run of a query.
pub(crate) struct Runner {
    context: Arc<TaskContext>,
    cancel: CancellationToken,
    budget_bytes: usize,
    metrics: bool,
    pub(crate) shared: Arc<SharedRows>,
}

impl Runner {
    pub(crate) fn new(
        inner: &Arc<Inner>,
        state: &SessionState,
        query: &QueryContext,
        run: usize,
        metrics: bool,
    ) -> Result<Arc<Runner>> {
        let mut config = state.config().clone();
        let headers = query.headers(run);
        config
            .set_distributed_passthrough_headers(headers.write().map_err(from_datafusion)?)
            .map_err(from_datafusion)?;
        if let Some(options) = config.options_mut().extensions.get_mut::<DistributedConfig>() {
            options.collect_metrics = metrics;
        }
        let routes = Routes::new(inner, query)?;
        config.set_distributed_route_tasks_handler(move |event: RouteTasksEvent<'_>| {
            Some(routes.of(event.task_count))
        });
        let environment = inner.memory.query(&headers.id, query.memory_bytes);
        let context = TaskContext::from(state).with_session_config(config);
        let context = Arc::new(context.with_runtime(environment));
        Ok(Arc::new(Runner {
            context,
            cancel: query.cancel.clone(),
            budget_bytes: inner.config.query_memory_bytes,
            metrics,
            shared: Arc::default(),
        }))
    }

    /// Starts a plan: rows of the leader first, then the plan over the nodes.
    pub(crate) fn start(
        self: &Arc<Self>,
        divided: Distributed,
    ) -> BoxFuture<'static, Result<Started>> {
        let runner = Arc::clone(self);
        async move {
            let queries = Arc::clone(&runner);
            let run: rows::Run = Arc::new(move |query| queries.start(query));
            let resolution = rows::Resolution {
                run,
                context: Arc::clone(&runner.context),
                cancel: runner.cancel.clone(),
                budget_bytes: runner.budget_bytes,
                shared: Arc::clone(&runner.shared),
            };
            let is_local = divided.is_whole();
            let root = resolution.resolve(Arc::clone(divided.root())).await?;
            let plan: Plan = if is_local {
                local::rewritten(root, runner.context.session_config()).map_err(from_datafusion)?
            } else {
                let numbered = distribute::boundary::number(&root)?;
                let distributed = DistributedExec::new(numbered);
                Arc::new(distributed.with_metrics_collection(runner.metrics))
            };
            let stream = execute_stream(Arc::clone(&plan), Arc::clone(&runner.context))
                .map_err(from_datafusion)?;
            Ok(Started { stream, plan })
        }
        .boxed()
    }
}

/// Which node runs which task, fixed for one run.
struct Routes {
    urls: Vec<Url>,
    next: AtomicUsize,
}

impl Routes {
    fn new(inner: &Inner, query: &QueryContext) -> Result<Routes> {
        let nodes = inner.layout.assign(&inner.peers.up())?;
        let urls = nodes.into_iter().filter_map(|node| inner.peers.url(node).cloned());
        let first = usize::try_from(query.id.0).unwrap_or(0);
        Ok(Routes { urls: urls.collect(), next: AtomicUsize::new(first) })
    }

    fn of(&self, tasks: usize) -> datafusion::common::Result<RouteTasksEventResponse> {
        if tasks == self.urls.len() && tasks > 1 {
            return Ok(RouteTasksEventResponse::new(self.urls.clone()));
        }
        if tasks == 1 && !self.urls.is_empty() {
            let at = self.next.fetch_add(1, Ordering::Relaxed) % self.urls.len();
            return Ok(RouteTasksEventResponse::new(vec![self.urls[at].clone()]));
        }
        Err(into_datafusion(Error::internal(format!(
            "a stage of {tasks} tasks cannot run on {} nodes",
            self.urls.len()
        ))))
    }
}

/// The rows of a running query.
struct Output {
    receiver: mpsc::Receiver<Result<RecordBatch>>,
    task: Option<JoinHandle<()>>,
    /// An operator in the middle of a batch does not hear of a cancel; the client does.
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Stream for Output {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(cancelled) = self.cancelled.as_mut()
            && cancelled.poll_unpin(cx).is_ready()
        {
            self.cancelled = None;
            self.receiver.close();
            if let Some(task) = self.task.take() {
                task.abort();
                return Poll::Ready(Some(Err(canceled())));
            }
            return Poll::Ready(None);
        }
        if let Poll::Ready(next) = self.receiver.poll_recv(cx) {
            if next.is_some() {
                return Poll::Ready(next);
            }
        } else {
            return Poll::Pending;
        }
        // All rows are here; a task that died would otherwise look like the end of the rows.
        let Some(task) = self.task.as_mut() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(ended) = task.poll_unpin(cx) else {
            return Poll::Pending;
        };
        self.task = None;
        Poll::Ready(
            ended
                .err()
                .map(|join| Err(Error::internal(format!("the query did not finish: {join}")))),
        )
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Ends after all rows of `plan` were read, giving them back.
pub(crate) async fn drain(
    mut stream: SendableRecordBatchStream,
    cancel: &CancellationToken,
    mut each: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    loop {
        let next = tokio::select! {
            () = cancel.cancelled() => return Err(canceled()),
            next = stream.next() => next,
        };
        match next {
            None => return Ok(()),
            Some(batch) => each(batch.map_err(from_datafusion)?)?,
        }
    }
}
