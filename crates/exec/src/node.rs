//! A compute node: runs the parts of plans that it is sent, over its own storage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base::{CancellationToken, Error, Result, error};
use datafusion::common::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion_distributed::{DistributedExt, Worker, WorkerQueryContext, WorkerSessionBuilder};
use object_store::ObjectStore;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::cache::NodeStorage;
use crate::engine::{EngineConfig, Extensions};
use crate::error::into_datafusion;
use crate::local;
use crate::memory::Memory;
use crate::rpc::tls::KnownRole;
use crate::rpc::{Channels, NodeTls};
use crate::settings::{self, QueryHeaders};
use crate::sweep;

/// What a compute node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub listen: SocketAddr,
    pub tls: NodeTls,
    pub engine: EngineConfig,
}

/// What all tasks on a node share.
pub(crate) struct Node {
    pub(crate) memory: Arc<Memory>,
    storage: Arc<NodeStorage>,
    extensions: Extensions,
    channels: Channels,
}

impl Node {
    /// A node over `store` that spills to `spill_dir`.
    ///
    /// # Errors
    /// 58030 when the spill directory cannot be used.
    pub(crate) fn new(
        config: &EngineConfig,
        spill_dir: PathBuf,
        store: Arc<dyn ObjectStore>,
        extensions: Extensions,
        channels: Channels,
    ) -> Result<Arc<Node>> {
        let memory = Arc::new(Memory::open(
            config.memory_limit_bytes,
            config.query_memory_bytes,
            &spill_dir,
            config.spill_limit_bytes,
        )?);
        let storage = NodeStorage::new(store, config.block_cache_bytes);
        Ok(Arc::new(Node { memory, storage, extensions, channels }))
    }

    /// The worker that serves this node's tasks.
    pub(crate) fn worker(self: &Arc<Node>) -> Worker {
        Worker::from_session_builder(Sessions(Arc::clone(self)))
            .with_runtime_env(self.memory.unlimited())
            .with_version(version())
    }
}

/// What a node answers to a ping. Leader and nodes must be built alike: plans and the hash that
/// places rows are part of the build.
pub(crate) fn version() -> String {
    format!(
        "blueshift/{} placement/{:016x}",
        env!("CARGO_PKG_VERSION"),
        crate::placement::placement_fingerprint()
    )
}

/// Makes the session in which a task runs.
struct Sessions(Arc<Node>);

#[async_trait]
impl WorkerSessionBuilder for Sessions {
    async fn build_session_state(
        &self,
        context: WorkerQueryContext,
    ) -> Result<SessionState, DataFusionError> {
        let node = &self.0;
        let query = QueryHeaders::read(&context.headers).map_err(into_datafusion)?;
        let mut builder: SessionStateBuilder = context.builder;
        let environment = node.memory.query(&query.id, query.memory_bytes);
        let config = builder.config().get_or_insert_default();
        settings::apply(config, &query).map_err(into_datafusion)?;
        config.set_extension(Arc::clone(&node.storage));
        config.set_distributed_channel_resolver(node.channels.clone());
        config.set_distributed_worker_plan_rewrite_handler(local::rewrite_on_node);
        config.set_distributed_passthrough_headers(query.write()?)?;
        settings::register_codecs(config, &node.extensions);
        let builder = settings::register_functions(builder, &node.extensions);
        Ok(builder.with_runtime_env(environment).build())
    }
}

/// A compute node over the network.
pub struct NodeServer;

impl NodeServer {
    /// Serves until `shutdown`, then waits a few seconds for what still runs.
    ///
    /// # Errors
    /// 58030 when the address cannot be bound, 22023 for unusable certificates.
    pub async fn serve(
        config: NodeConfig,
        store: Arc<dyn ObjectStore>,
        extensions: Extensions,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let listener = tokio::net::TcpListener::bind(config.listen)
            .await
            .map_err(|error| Error::io(format!("listen on {}", config.listen), error))?;
        Self::serve_on(listener, config, store, extensions, shutdown).await
    }

    /// As [`NodeServer::serve`], on a socket that is bound already.
    ///
    /// # Errors
    /// As [`NodeServer::serve`].
    pub async fn serve_on(
        listener: tokio::net::TcpListener,
        config: NodeConfig,
        store: Arc<dyn ObjectStore>,
        extensions: Extensions,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let channels = Channels::learning(config.tls.clone());
        let spill_dir = config.engine.spill_dir.clone();
        let node = Node::new(&config.engine, spill_dir, store, extensions, channels)?;
        let worker = node.worker();
        let stopped = shutdown.child_token();
        let _stop_sweeping = stopped.clone().drop_guard();
        sweep::start(&node, worker.clone(), stopped);
        let service = InterceptedService::new(worker.into_worker_server(), KnownRole);
        let unusable = |error: tonic::transport::Error| {
            error!(InvalidParameterValue, "the certificates of the compute node cannot be used")
                .detail(format!("{error}."))
        };
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .tcp_nodelay(true)
            .tls_config(config.tls.server())
            .map_err(unusable)?
            .add_service(service);
        let incoming =
            tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let ended = shutdown.clone().cancelled_owned();
        let serving = server.serve_with_incoming_shutdown(incoming, ended);
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            // Connections of running queries would hold a graceful end open for ever.
            () = late => Ok(()),
            served = serving => served.map_err(|error| {
                error!(SystemError, "the compute node stopped serving").detail(format!("{error}."))
            }),
        }
    }
}

/// How long a node that is told to stop waits for what runs.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(5);
