//! Calls between leader and compute nodes, in one process or over mutual TLS.
//!
//! Owns the addresses and channels of the nodes, what each connection may do, and the health of
//! the nodes. The protocol itself is `datafusion-distributed`'s; only this module knows that.

mod in_process;
pub mod tls;
mod tracked;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use base::ids::NodeId;
use base::{Error, Result, error};
use datafusion::common::DataFusionError;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, GetWorkerInfoRequest, Worker, WorkerChannel};
use parking_lot::RwLock;
use tonic::transport::{Channel, Endpoint};
use url::Url;

use self::in_process::InProcessChannel;
pub use self::tls::NodeTls;
use self::tracked::TrackedChannel;
use crate::error::{from_datafusion, into_datafusion, is_node_lost, node_lost};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the leader waits for nodes that start with it.
const START_TIMEOUT: Duration = Duration::from_secs(15);
const START_STEP: Duration = Duration::from_millis(50);
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Where a compute node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    pub host: String,
    pub port: u16,
}

impl NodeAddress {
    /// `host:port`, where an IPv6 host is in brackets.
    ///
    /// # Errors
    /// 22023 for anything else.
    pub fn parse(text: &str) -> Result<NodeAddress> {
        let bad =
            || error!(InvalidParameterValue, "compute node address \"{text}\" is not host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad());
        }
        Ok(NodeAddress { host: host.to_owned(), port })
    }
}

impl From<SocketAddr> for NodeAddress {
    fn from(address: SocketAddr) -> Self {
        NodeAddress { host: address.ip().to_string(), port: address.port() }
    }
}

impl std::fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How one node is reached.
enum Reach {
    InProcess(Box<Worker>),
    Network(Channel),
}

/// A node as its callers see it.
struct Peer {
    id: NodeId,
    url: Url,
    /// Where it is, for messages.
    name: String,
    reach: Reach,
    up: AtomicBool,
    /// It has answered before, so that its loss is news.
    seen: AtomicBool,
}

/// The nodes of a cluster and the channels to them. Channels connect on first use and again
/// after a loss.
pub(crate) struct Peers {
    peers: Vec<Arc<Peer>>,
    by_url: HashMap<Url, usize>,
    /// What a node must answer to a ping: its version and placement.
    version: String,
}

/// A node and whether its last call succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    pub node: NodeId,
    pub address: String,
    pub up: bool,
}

impl Peers {
    /// Workers in this process.
    ///
    /// # Errors
    /// Internal when an address cannot be made.
    pub(crate) fn embedded(workers: Vec<Worker>, version: String) -> Result<Peers> {
        let peers = workers.into_iter().enumerate().map(|(index, worker)| {
            let id = NodeId(u16::try_from(index).unwrap_or(u16::MAX));
            let url = node_url(id)?;
            let reach = Reach::InProcess(Box::new(worker));
            Ok(Peer {
                id,
                url,
                name: format!("{id} (embedded)"),
                reach,
                up: true.into(),
                seen: false.into(),
            })
        });
        Ok(Peers::of(peers.collect::<Result<_>>()?, version))
    }

    /// Nodes over mutual TLS.
    ///
    /// # Errors
    /// 22023 for an address or a certificate that cannot be used.
    pub(crate) fn remote(
        addresses: &[NodeAddress],
        tls: &NodeTls,
        version: String,
    ) -> Result<Peers> {
        let peers = addresses.iter().enumerate().map(|(index, address)| {
            let id = NodeId(u16::try_from(index).unwrap_or(u16::MAX));
            let channel = endpoint(address, tls)?.connect_lazy();
            let url = remote_url(address)?;
            let reach = Reach::Network(channel);
            Ok(Peer {
                id,
                url,
                name: format!("{id} ({address})"),
                reach,
                up: true.into(),
                seen: false.into(),
            })
        });
        Ok(Peers::of(peers.collect::<Result<_>>()?, version))
    }

    fn of(peers: Vec<Peer>, version: String) -> Peers {
        let peers: Vec<_> = peers.into_iter().map(Arc::new).collect();
        let by_url = peers.iter().enumerate().map(|(index, peer)| (peer.url.clone(), index));
        Peers { by_url: by_url.collect(), peers, version }
    }

    pub(crate) fn url(&self, node: NodeId) -> Option<&Url> {
        self.peers.get(usize::from(node.0)).map(|peer| &peer.url)
    }

    pub(crate) fn up(&self) -> Vec<bool> {
        self.peers.iter().map(|peer| peer.up.load(Ordering::Acquire)).collect()
    }

    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let status = |peer: &Arc<Peer>| NodeStatus {
            node: peer.id,
            address: peer.name.clone(),
            up: peer.up.load(Ordering::Acquire),
        };
        self.peers.iter().map(status).collect()
    }

    /// Asks every node whether it is there, all at once, and remembers the answers.
    pub(crate) async fn probe(&self) {
        let pings = self.peers.iter().map(|peer| async {
            let answer = self.ping(peer).await;
            let was = peer.up.swap(answer.is_ok(), Ordering::AcqRel);
            let seen = peer.seen.fetch_or(answer.is_ok(), Ordering::AcqRel);
            match (&answer, was) {
                (Err(error), true) if seen => {
                    tracing::warn!(node = %peer.name, %error, "compute node is lost");
                }
                (Ok(()), false) if seen => {
                    tracing::info!(node = %peer.name, "compute node is back")
                }
                _ => {}
            }
        });
        futures::future::join_all(pings).await;
    }

    /// Waits until every node answers; nodes may still be starting.
    ///
    /// # Errors
    /// 08006 for a node that cannot be reached in time, 08000 for one of another version.
    pub(crate) async fn require_all(&self) -> Result<()> {
        let deadline = base::clock::instant() + START_TIMEOUT;
        loop {
            let pings = self.peers.iter().map(|peer| self.ping(peer));
            let answers: Result<Vec<()>> =
                futures::future::join_all(pings).await.into_iter().collect();
            match answers {
                Ok(_) => {
                    self.probe().await;
                    return Ok(());
                }
                Err(error) if is_node_lost(&error) && base::clock::instant() < deadline => {
                    tokio::time::sleep(START_STEP).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn ping(&self, peer: &Arc<Peer>) -> Result<()> {
        let mut channel = channel(peer);
        let answer = channel.get_worker_info(GetWorkerInfoRequest {});
        let Ok(answer) = tokio::time::timeout(PING_TIMEOUT, answer).await else {
            return Err(node_lost(Some(&peer.name), "no answer within three seconds"));
        };
        let answer = answer.map_err(from_datafusion)?;
        if answer.version != self.version {
            return Err(error!(
                ConnectionException,
                "compute node {} runs another version", peer.name
            )
            .detail(format!("It is {}, the leader is {}.", answer.version, self.version)));
        }
        Ok(())
    }
}

fn channel(peer: &Arc<Peer>) -> Box<dyn WorkerChannel> {
    match &peer.reach {
        Reach::InProcess(worker) => Box::new(InProcessChannel::new(worker.as_ref().clone())),
        Reach::Network(channel) => {
            let client = create_worker_client(BoxCloneSyncChannel::new(channel.clone()));
            Box::new(TrackedChannel::new(client, peer.name.clone()))
        }
    }
}

/// Gives plans the channels of a cluster. On a compute node the cluster is learnt from the
/// addresses in plans: the certificate, not the address, says who may be called.
#[derive(Clone)]
pub(crate) struct Channels {
    known: Arc<dyn Resolve>,
}

trait Resolve: Send + Sync {
    fn resolve(&self, url: &Url) -> Result<Box<dyn WorkerChannel>>;
}

impl Channels {
    pub(crate) fn of(peers: Arc<Peers>) -> Channels {
        Channels { known: peers }
    }

    /// Channels that are made as addresses appear, for a compute node.
    pub(crate) fn learning(tls: NodeTls) -> Channels {
        Channels { known: Arc::new(Learned { tls, channels: RwLock::default() }) }
    }

    /// Channels that are set once all workers of this process exist.
    pub(crate) fn deferred(cell: Arc<OnceLock<Weak<Peers>>>) -> Channels {
        Channels { known: Arc::new(Deferred(cell)) }
    }
}

impl Resolve for Peers {
    fn resolve(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        match self.by_url.get(url).and_then(|index| self.peers.get(*index)) {
            Some(peer) => Ok(channel(peer)),
            None => Err(Error::internal(format!("no compute node has the address {url}"))),
        }
    }
}

/// The peers own the workers, which own this: a strong reference would keep all of them alive.
struct Deferred(Arc<OnceLock<Weak<Peers>>>);

impl Resolve for Deferred {
    fn resolve(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        match self.0.get().and_then(Weak::upgrade) {
            Some(peers) => peers.resolve(url),
            None => Err(Error::internal("the compute nodes are not running")),
        }
    }
}

struct Learned {
    tls: NodeTls,
    channels: RwLock<HashMap<Url, Channel>>,
}

/// More nodes than a cluster can have: a bound on what a plan can make a node remember.
const LEARNED_MAX: usize = 1_024;

impl Resolve for Learned {
    fn resolve(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let tracked = |channel: Channel| -> Box<dyn WorkerChannel> {
            let client = create_worker_client(BoxCloneSyncChannel::new(channel));
            Box::new(TrackedChannel::new(client, authority(url)))
        };
        if let Some(channel) = self.channels.read().get(url) {
            return Ok(tracked(channel.clone()));
        }
        let address = NodeAddress::parse(&authority(url))?;
        let channel = endpoint(&address, &self.tls)?.connect_lazy();
        let mut channels = self.channels.write();
        if channels.len() >= LEARNED_MAX {
            channels.clear();
        }
        Ok(tracked(channels.entry(url.clone()).or_insert(channel).clone()))
    }
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        self.known.resolve(url).map_err(into_datafusion)
    }
}

fn endpoint(address: &NodeAddress, tls: &NodeTls) -> Result<Endpoint> {
    let unusable = |error: tonic::transport::Error| {
        error!(InvalidParameterValue, "compute node {address} cannot be called")
            .detail(format!("{error}."))
    };
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(unusable)?;
    let endpoint = endpoint.tls_config(tls.client()).map_err(unusable)?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .tcp_nodelay(true))
}

/// The name of an embedded node in plans.
fn node_url(node: NodeId) -> Result<Url> {
    parse_url(&format!("https://node-{node}.embedded:1"))
}

fn remote_url(address: &NodeAddress) -> Result<Url> {
    parse_url(&format!("https://{address}"))
}

fn parse_url(text: &str) -> Result<Url> {
    Url::parse(text).map_err(|error| {
        error!(InvalidParameterValue, "compute node address \"{text}\" cannot be used")
            .detail(format!("{error}."))
    })
}

fn authority(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(443);
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_printed() {
        let address = NodeAddress::parse("db-1.example:20300").unwrap();
        assert_eq!(address.to_string(), "db-1.example:20300");
        let six = NodeAddress::parse("[::1]:9").unwrap();
        assert_eq!((six.host.as_str(), six.to_string().as_str()), ("::1", "[::1]:9"));
        assert!(NodeAddress::parse("nohost").is_err() && NodeAddress::parse(":5").is_err());
        let url = remote_url(&six).unwrap();
        assert_eq!(NodeAddress::parse(&authority(&url)).unwrap(), six);
    }
}
