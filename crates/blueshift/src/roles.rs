//! `blueshift leader` and `blueshift compute`: the roles on hosts of their own.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use base::{CancellationToken, Error, Result, Secret, error};
use clap::Args;
use exec::{NodeConfig, NodeServer};
use manage::Role;
use tokio::io::AsyncReadExt;
use wire::Tls;

use crate::assembly::{LeaderParts, NodeOptions, extensions, start_leader};
use crate::shell::print_line;
use crate::start::{ADMIN_USER, DATABASE, remote_cluster, signals};

/// Options of `blueshift compute`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ComputeArguments {
    /// Address for the leader and the other nodes
    #[arg(long)]
    listen: SocketAddr,
    /// The cluster's store: s3://bucket/prefix or a directory
    #[arg(long)]
    store: String,
    /// Directory with authority.crt, compute.crt and compute.key
    #[arg(long)]
    certificates: PathBuf,
    /// Slices of the whole cluster
    #[arg(long)]
    slices: u16,
    /// Directory for spilled data
    #[arg(long)]
    spill_dir: PathBuf,
    /// End when standard input closes: a supervisor holds it
    #[arg(long, hide = true)]
    supervised: bool,
    #[command(flatten)]
    node: NodeOptions,
}

/// Serves as a compute node until SIGTERM.
pub(crate) async fn compute(arguments: ComputeArguments) -> Result<()> {
    let store = arguments.node.access.open_store(&arguments.store).await?;
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .map_err(|e| Error::io(format!("listen on {}", arguments.listen), e))?;
    let address = listener.local_addr().map_err(|e| Error::io("find the bound address", e))?;
    let config = NodeConfig {
        listen: address,
        tls: manage::read_certificates(&arguments.certificates, Role::Compute)?,
        engine: arguments.node.engine(arguments.slices, 1, arguments.spill_dir.clone()),
    };
    let sources = arguments.node.access.sources()?;
    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    let signal = signals()?;
    base::task::spawn("compute shutdown", async move {
        tokio::select! {
            () = signal => {}
            () = supervisor_gone(), if arguments.supervised => {}
        }
        ending.cancel();
    });
    print_line(&format!("{}{address}", manage::READY_PREFIX));
    NodeServer::serve_on(listener, config, store, extensions(&sources), shutdown).await
}

/// Returns when standard input ends.
async fn supervisor_gone() {
    let mut input = tokio::io::stdin();
    let mut bytes = [0; 64];
    while input.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

/// Options of `blueshift leader`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LeaderArguments {
    /// Address to listen on for clients
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on
    #[arg(long, default_value_t = 5439)]
    port: u16,
    /// The cluster's store: s3://bucket/prefix or a directory
    #[arg(long)]
    store: String,
    /// host:port of a compute node; repeat it in the order of their slices
    #[arg(long = "node", required = true)]
    nodes: Vec<String>,
    /// Slices of each compute node
    #[arg(long, default_value_t = 2)]
    slices_per_node: u16,
    /// Directory with authority.crt, leader.crt and leader.key
    #[arg(long)]
    certificates: PathBuf,
    /// Directory with the certificate that clients see; made on a first start
    #[arg(long)]
    tls: PathBuf,
    /// Directory for spilled data
    #[arg(long)]
    spill_dir: PathBuf,
    /// File whose first line is the password of awsuser
    #[arg(long)]
    admin_password_file: PathBuf,
    /// Refuse clients that do not encrypt
    #[arg(long)]
    require_tls: bool,
    /// Leave tables as they are: no compaction and no sorting in the background
    #[arg(long)]
    no_auto_vacuum: bool,
    #[command(flatten)]
    node: NodeOptions,
}

/// Serves as the leader until SIGTERM.
pub(crate) async fn leader(arguments: LeaderArguments) -> Result<()> {
    let nodes = u16::try_from(arguments.nodes.len())
        .map_err(|_| error!(InvalidParameterValue, "there are too many compute nodes"))?;
    let slices = nodes
        .checked_mul(arguments.slices_per_node)
        .filter(|slices| *slices > 0)
        .ok_or_else(|| error!(InvalidParameterValue, "a cluster has 1 to 65535 slices"))?;
    let file = &arguments.admin_password_file;
    let password = std::fs::read_to_string(file)
        .map_err(|e| Error::io(format!("read {}", file.display()), e))?;
    std::fs::create_dir_all(&arguments.tls)
        .map_err(|e| Error::io(format!("create {}", arguments.tls.display()), e))?;
    let running = start_leader(LeaderParts {
        store: arguments.node.access.open_store(&arguments.store).await?,
        engine: arguments.node.engine(slices, 1, arguments.spill_dir),
        cluster: remote_cluster(&arguments.nodes, &arguments.certificates)?,
        nodes,
        sources: arguments.node.access.sources()?,
        listen: SocketAddr::new(arguments.host, arguments.port),
        tls: Tls::load_or_create(&arguments.tls)?,
        require_tls: arguments.require_tls,
        auto_vacuum: !arguments.no_auto_vacuum,
        admin_password: password.lines().next().map(Secret::new),
    })
    .await?;
    let signal = signals()?;
    print_line(&format!(
        "blueshift ready: postgresql://{ADMIN_USER}@{}/{DATABASE}",
        running.address
    ));
    signal.await;
    running.stop().await
}
