//! `blueshift start`: a whole cluster on this host.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use base::{Error, Result, Secret, error};
use clap::Args;
use exec::{Cluster, NodeAddress};
use manage::{ClusterDirectory, ClusterShape, NodeProcess, NodeProcesses, Role};
use wire::Tls;

pub(crate) use crate::assembly::{ADMIN_USER, DATABASE};
use crate::assembly::{LeaderParts, NodeOptions, RunningLeader, start_leader};
use crate::shell::print_line;

const NODES: u16 = 2;
const SLICES_PER_NODE: u16 = 2;

/// Options of `blueshift start`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StartArguments {
    /// Data directory; created on the first start
    #[arg(long, default_value = "blueshift-data")]
    data: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 lets the system choose
    #[arg(long, default_value_t = 5439)]
    port: u16,
    /// Compute nodes; 2 on a first start, then what the cluster has
    #[arg(long)]
    nodes: Option<u16>,
    /// Slices of each compute node on a first start
    #[arg(long)]
    slices_per_node: Option<u16>,
    /// Run each compute node as a process of its own
    #[arg(long)]
    processes: bool,
    /// Password of awsuser; without one the first start generates it
    #[arg(long, conflicts_with = "admin_password_file")]
    admin_password: Option<String>,
    /// File whose first line is the password of awsuser
    #[arg(long)]
    admin_password_file: Option<PathBuf>,
    /// Where durable bytes are kept: s3://bucket/prefix or a directory
    #[arg(long)]
    store: Option<String>,
    /// Refuse clients that do not encrypt
    #[arg(long)]
    require_tls: bool,
    /// Leave tables as they are: no compaction and no sorting in the background
    #[arg(long)]
    no_auto_vacuum: bool,
    #[command(flatten)]
    node: NodeOptions,
}

/// What [`launch`] starts: the arguments of the command, made by code.
pub(crate) struct StartOptions {
    pub(crate) data: PathBuf,
    pub(crate) port: u16,
    pub(crate) nodes: Option<u16>,
    pub(crate) slices_per_node: Option<u16>,
    pub(crate) processes: bool,
    pub(crate) load_dir: Option<PathBuf>,
}

impl StartOptions {
    pub(crate) fn at(data: PathBuf) -> Self {
        Self {
            data,
            port: 5439,
            nodes: None,
            slices_per_node: None,
            processes: false,
            load_dir: None,
        }
    }
}

/// A cluster that serves.
pub(crate) struct Running {
    leader: RunningLeader,
    processes: Option<NodeProcesses>,
    directory: ClusterDirectory,
}

/// Starts a cluster and serves until SIGTERM or SIGINT.
pub(crate) async fn run(arguments: StartArguments) -> Result<()> {
    let running = begin(arguments).await?;
    let file = running.password_file().map(|file| format!(" password-file={}", file.display()));
    let signal = signals()?;
    print_line(&format!("blueshift ready: {}{}", running.url(), file.unwrap_or_default()));
    signal.await;
    running.stop().await
}

/// Starts a cluster in this process for a command that goes on.
pub(crate) async fn launch(options: StartOptions) -> Result<Running> {
    let mut node = NodeOptions::default();
    node.access.load_dir = options.load_dir;
    begin(StartArguments {
        data: options.data,
        host: IpAddr::from([127, 0, 0, 1]),
        port: options.port,
        nodes: options.nodes,
        slices_per_node: options.slices_per_node,
        processes: options.processes,
        admin_password: None,
        admin_password_file: None,
        store: None,
        require_tls: false,
        no_auto_vacuum: false,
        node,
    })
    .await
}

async fn begin(arguments: StartArguments) -> Result<Running> {
    let directory = ClusterDirectory::open(&arguments.data)?;
    let shape = shape(&directory, &arguments)?;
    let admin_password = password(&arguments)?;
    let spill = directory.clear_spill()?;
    let url = shape.store.clone().unwrap_or_else(|| directory.store().display().to_string());
    let store = arguments.node.access.open_store(&url).await?;
    let processes = match arguments.processes {
        true => Some(start_processes(&arguments, &directory, &shape, &url).await?),
        false => None,
    };
    let (cluster, share) = match &processes {
        None => (Cluster::Embedded { nodes: shape.nodes }, shape.nodes),
        Some(processes) => (remote_cluster(processes.addresses(), &directory.nodes())?, 1),
    };
    let leader = start_leader(LeaderParts {
        store,
        engine: arguments.node.engine(shape.slices, share, spill),
        cluster,
        nodes: shape.nodes,
        sources: arguments.node.access.sources()?,
        listen: SocketAddr::new(arguments.host, arguments.port),
        tls: Tls::load_or_create(&made(directory.tls())?)?,
        require_tls: arguments.require_tls,
        auto_vacuum: !arguments.no_auto_vacuum,
        admin_password,
    })
    .await?;
    if let Some(password) = &leader.generated_password {
        directory.set_admin_password(password)?;
    }
    directory.set_shape(&shape)?;
    Ok(Running { leader, processes, directory })
}

/// The recorded shape with the changes that a later start may make, or a new one.
fn shape(directory: &ClusterDirectory, arguments: &StartArguments) -> Result<ClusterShape> {
    let positive = |what: &str, n: u16| match n {
        0 => Err(error!(InvalidParameterValue, "{what} must be at least 1")),
        n => Ok(n),
    };
    let nodes = arguments.nodes.map(|n| positive("--nodes", n)).transpose()?;
    let per_node =
        arguments.slices_per_node.map(|n| positive("--slices-per-node", n)).transpose()?;
    let Some(recorded) = directory.shape()? else {
        let nodes = nodes.unwrap_or(NODES);
        let slices = nodes
            .checked_mul(per_node.unwrap_or(SLICES_PER_NODE))
            .ok_or_else(|| error!(InvalidParameterValue, "a cluster has at most 65535 slices"))?;
        return Ok(ClusterShape { slices, nodes, store: arguments.store.clone() });
    };
    let nodes = nodes.unwrap_or(recorded.nodes);
    if recorded.slices % nodes != 0 || per_node.is_some_and(|n| n * nodes != recorded.slices) {
        return Err(error!(
            InvalidParameterValue,
            "the cluster has {} slices, which do not divide over {nodes} nodes as asked",
            recorded.slices
        )
        .hint("The number of slices is fixed when a cluster is created."));
    }
    if arguments.store.is_some() && arguments.store != recorded.store {
        let place = recorded.store.as_deref().unwrap_or("its data directory");
        return Err(error!(InvalidParameterValue, "the cluster's store is {place}"));
    }
    Ok(ClusterShape { nodes, ..recorded })
}

fn password(arguments: &StartArguments) -> Result<Option<Secret>> {
    let text = match (&arguments.admin_password, &arguments.admin_password_file) {
        (Some(password), _) => password.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .map_err(|e| Error::io(format!("read {}", file.display()), e))?
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
        (None, None) => return Ok(None),
    };
    if text.is_empty() {
        return Err(error!(InvalidPassword, "the administrator's password is empty"));
    }
    Ok(Some(Secret::new(text)))
}

fn made(directory: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&directory)
        .map_err(|e| Error::io(format!("create {}", directory.display()), e))?;
    Ok(directory)
}

async fn start_processes(
    arguments: &StartArguments,
    directory: &ClusterDirectory,
    shape: &ClusterShape,
    store: &str,
) -> Result<NodeProcesses> {
    manage::create_certificates(&directory.nodes(), "local")?;
    let program = std::env::current_exe().map_err(|e| Error::io("find this program", e))?;
    let memory =
        arguments.node.memory_limit.unwrap_or_else(|| crate::sizes::memory_bytes() / 10 * 6)
            / usize::from(shape.nodes);
    let processes = (0..shape.nodes).map(|node| {
        let mut words = vec![
            "compute".to_owned(),
            format!("--store={store}"),
            format!("--certificates={}", directory.nodes().display()),
            format!("--slices={}", shape.slices),
            format!("--spill-dir={}", directory.spill().join(format!("node-{node}")).display()),
            format!("--memory-limit={memory}"),
            format!("--allow-egress={}", arguments.node.access.allow_egress),
            "--supervised".to_owned(),
        ];
        let mut option = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name}={value}")));
        };
        let size = |bytes: Option<usize>| bytes.map(|bytes| bytes.to_string());
        let access = &arguments.node.access;
        option("query-memory-limit", size(arguments.node.query_memory_limit));
        option("spill-limit", size(arguments.node.spill_limit));
        option("block-cache", size(arguments.node.block_cache));
        option("load-dir", access.load_dir.as_ref().map(|path| path.display().to_string()));
        option("s3-endpoint", access.s3_endpoint.clone());
        option("s3-region", access.s3_region.clone());
        NodeProcess { node, program: program.clone(), arguments: words }
    });
    NodeProcesses::start(processes.collect()).await
}

/// Compute nodes at `addresses`, with the certificates in `directory`.
pub(crate) fn remote_cluster(addresses: &[String], directory: &Path) -> Result<Cluster> {
    let nodes = addresses.iter().map(|a| NodeAddress::parse(a)).collect::<Result<_>>()?;
    Ok(Cluster::Remote { nodes, tls: manage::read_certificates(directory, Role::Leader)? })
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.leader.address
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://{ADMIN_USER}@{}/{DATABASE}", self.address())
    }

    /// The file of the generated password, while there is one.
    pub(crate) fn password_file(&self) -> Option<PathBuf> {
        Some(self.directory.admin_password()).filter(|file| file.exists())
    }

    /// The generated password.
    pub(crate) fn admin_password(&self) -> Result<Secret> {
        let file = self.directory.admin_password();
        let text = std::fs::read_to_string(&file)
            .map_err(|e| Error::io(format!("read {}", file.display()), e))?;
        Ok(Secret::new(text.trim_end()))
    }

    /// Drains and ends.
    pub(crate) async fn stop(self) -> Result<()> {
        let outcome = self.leader.stop().await;
        if let Some(processes) = self.processes {
            processes.stop().await;
        }
        outcome
    }
}

/// Catches SIGTERM and SIGINT from here on; the future is done when one has come.
pub(crate) fn signals() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Error::io("wait for signals", e));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
