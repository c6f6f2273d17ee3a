//! Puts the floors together: store, catalog, engine, leader, protocol server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{CancellationToken, Error, Result, Secret, error};
use catalog::op::{Op, UserChange};
use catalog::{Catalog, User, Verifiers};
use clap::Args;
use exec::{Cluster, Engine, EngineConfig, Extensions};
use ingest::Sources;
use object_store::ObjectStore;
use remote::{EgressPolicy, LoadDirectory, S3Options, StoreOptions, StoreUrl};
use session::{LeaderConfig, LeaderNode};
use wire::{Server, ServerOptions, Tls};

use crate::sizes;

/// The administrator that a first start creates.
pub(crate) const ADMIN_USER: &str = "awsuser";
/// The time between two rounds of removing files that no table names.
const GARBAGE_INTERVAL: Duration = Duration::from_secs(10);
/// The database that a first start creates.
pub(crate) const DATABASE: &str = "dev";

/// Options that every role has.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct NodeOptions {
    /// Memory for queries on this process, for example 4GB; by default 60 % of the machine's
    #[arg(long, value_parser = sizes::parse)]
    pub(crate) memory_limit: Option<usize>,
    /// Memory of one query on a node; by default half of the node's
    #[arg(long, value_parser = sizes::parse)]
    pub(crate) query_memory_limit: Option<usize>,
    /// Disk for spilled data on this process
    #[arg(long, value_parser = sizes::parse)]
    pub(crate) spill_limit: Option<usize>,
    /// Encoded blocks kept in memory on a node; by default a quarter of its memory
    #[arg(long, value_parser = sizes::parse)]
    pub(crate) block_cache: Option<usize>,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
}

/// What may be read from outside.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AccessOptions {
    /// Directory whose files COPY may read
    #[arg(long)]
    pub(crate) load_dir: Option<PathBuf>,
    /// URL of an S3-compatible service, for the store and for COPY
    #[arg(long)]
    pub(crate) s3_endpoint: Option<String>,
    /// S3 region
    #[arg(long)]
    pub(crate) s3_region: Option<String>,
    /// Hosts that may be reached besides the endpoint: host, host:port, *.domain, private, public
    #[arg(long, default_value = "*.amazonaws.com:443")]
    pub(crate) allow_egress: String,
}

impl AccessOptions {
    fn s3(&self) -> S3Options {
        S3Options {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            allow_http: self.s3_endpoint.as_ref().is_some_and(|url| url.starts_with("http:")),
            ..S3Options::default()
        }
        .resolved()
    }

    /// What a statement may read.
    pub(crate) fn sources(&self) -> Result<Sources> {
        let s3 = self.s3();
        let mut egress = EgressPolicy::parse(&self.allow_egress)?;
        if s3.endpoint.is_some() {
            egress = egress.allow_endpoint("bucket", &s3)?;
        }
        let load = self.load_dir.as_deref().map(LoadDirectory::open).transpose()?;
        Ok(Sources { s3, egress, load })
    }

    /// Opens the store at `url`.
    pub(crate) async fn open_store(&self, url: &str) -> Result<Arc<dyn ObjectStore>> {
        let url = StoreUrl::parse(url)?;
        let s3 = self.s3();
        let mut egress = EgressPolicy::deny_all();
        if let StoreUrl::S3 { bucket, .. } = &url {
            egress = egress.allow_endpoint(bucket, &s3)?;
        }
        remote::open_store(&url, &StoreOptions { s3, egress }).await
    }
}

impl NodeOptions {
    /// The engine's limits when `nodes` compute nodes share this process.
    pub(crate) fn engine(&self, slices: u16, nodes: u16, spill_dir: PathBuf) -> EngineConfig {
        let share = usize::from(nodes.max(1));
        let memory = self.memory_limit.unwrap_or_else(|| sizes::memory_bytes() / 10 * 6) / share;
        EngineConfig {
            slices,
            memory_limit_bytes: memory,
            query_memory_bytes: self.query_memory_limit.unwrap_or(memory / 2).min(memory),
            block_cache_bytes: self.block_cache.unwrap_or(memory / 4),
            spill_dir,
            spill_limit_bytes: self.spill_limit.map_or(64 << 30, |bytes| bytes as u64),
            ..EngineConfig::default()
        }
    }
}

/// The async runtime of the process: a thread for each core.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(8 << 20)
        .build()
        .map_err(|e| Error::io("start the runtime", e))
}

/// What plans carry beyond DataFusion's own operators and functions.
pub(crate) fn extensions(sources: &Sources) -> Extensions {
    let functions = sql::extensions();
    Extensions {
        codecs: vec![ingest::codec(sources.clone())],
        scalar: functions.scalar,
        aggregate: functions.aggregate,
        window: functions.window,
    }
}

/// What a leader is put together from.
pub(crate) struct LeaderParts {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) engine: EngineConfig,
    pub(crate) cluster: Cluster,
    pub(crate) nodes: u16,
    pub(crate) sources: Sources,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Tls,
    pub(crate) require_tls: bool,
    /// Whether tables are compacted and sorted in the background.
    pub(crate) auto_vacuum: bool,
    /// Given by the operator; a new cluster without one gets a generated one.
    pub(crate) admin_password: Option<Secret>,
}

/// A serving leader.
pub(crate) struct RunningLeader {
    pub(crate) address: SocketAddr,
    /// The password that this start generated.
    pub(crate) generated_password: Option<Secret>,
    catalog: Catalog,
    leader: Arc<LeaderNode>,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    collecting: tokio::task::JoinHandle<()>,
}

/// Opens the catalog, starts the engine and serves clients.
pub(crate) async fn start_leader(parts: LeaderParts) -> Result<RunningLeader> {
    let options = catalog::Options { slices: parts.engine.slices, ..catalog::Options::default() };
    let catalog = Catalog::open(Arc::clone(&parts.store), options).await?;
    let recorded = catalog.head().slice_count();
    if recorded != parts.engine.slices {
        return Err(error!(
            InvalidParameterValue,
            "the cluster has {recorded} slices, not {}", parts.engine.slices
        )
        .hint("The number of slices is fixed when a cluster is created."));
    }
    let generated_password = set_admin(&catalog, parts.admin_password).await?;
    catalog.remove_orphans(&catalog.orphans().await?).await?;
    ingest::remove_stale(&parts.store).await?;
    let engine = Engine::start(
        parts.engine,
        Arc::clone(&parts.store),
        parts.cluster,
        extensions(&parts.sources),
    )?;
    engine.require_all_nodes().await?;
    let config = LeaderConfig {
        copy: parts.sources,
        store: Arc::clone(&parts.store),
        statement_timeout_ms: 0,
        connections_max: 500,
        query_memory_bytes: None,
        nodes: parts.nodes,
        auto_vacuum: parts.auto_vacuum,
    };
    let leader = LeaderNode::start(catalog.clone(), engine, config)?;
    let shutdown = CancellationToken::new();
    let options = ServerOptions {
        tls: parts.tls,
        require_tls: parts.require_tls,
        shutdown: shutdown.clone(),
        ..ServerOptions::default()
    };
    let front: Arc<dyn base::client::Leader> = Arc::clone(&leader) as _;
    let server = Server::bind(parts.listen, front, options).await?;
    let address = server.local_addr();
    let serving = base::task::spawn("server", server.serve());
    let collecting = collect_garbage(catalog.clone(), shutdown.clone());
    let collecting = base::task::spawn("catalog.garbage", collecting);
    let running = RunningLeader {
        address,
        generated_password,
        catalog,
        leader,
        shutdown,
        serving,
        collecting,
    };
    Ok(running)
}

/// Removes files that tables no longer name, until the leader ends.
async fn collect_garbage(catalog: Catalog, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(GARBAGE_INTERVAL)).await.is_some() {
        if let Err(error) = catalog.collect_garbage().await {
            tracing::warn!(%error, "files that nobody needs stay until the next round");
        }
    }
}

impl RunningLeader {
    /// Lets running statements finish, then ends.
    pub(crate) async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.serving.await.map_err(|e| Error::internal(format!("the server ended badly: {e}")))?;
        self.leader.shut_down();
        self.collecting
            .await
            .map_err(|e| Error::internal(format!("the collector ended badly: {e}")))?;
        self.catalog.close().await
    }
}

/// Creates the administrator on a first start, or gives it the password of `--admin-password`.
/// Returns the password when it was generated.
async fn set_admin(catalog: &Catalog, given: Option<Secret>) -> Result<Option<Secret>> {
    let existing = catalog.head().user(ADMIN_USER);
    if existing.is_some() && given.is_none() {
        return Ok(None);
    }
    let generated = given.is_none().then(|| Secret::new(base::rng::password()));
    let Some(password) = given.or_else(|| generated.clone()) else { return Ok(None) };
    let (digest, scram) = base::password::make_verifiers(ADMIN_USER, &password);
    let verifiers = Verifiers { digest: Some(digest), scram: Some(scram), md5: None };
    let op = match existing {
        Some(user) => Op::AlterUser { user: user.oid, change: UserChange::SetVerifiers(verifiers) },
        None => Op::CreateUser(User {
            oid: catalog::ADMIN_USER_OID,
            name: ADMIN_USER.to_owned(),
            superuser: true,
            create_db: true,
            verifiers,
            ..User::default()
        }),
    };
    let mut transaction = catalog.begin();
    transaction.apply(op)?;
    catalog.commit(transaction).await?;
    Ok(generated)
}
