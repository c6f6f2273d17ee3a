//! Clusters over mutual TLS on this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{CancellationToken, SqlState};
use object_store::ObjectStore;
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::queries::warehouse;
use super::{TestCluster, config, extensions, lines};
use crate::engine::Cluster;
use crate::node::{NodeConfig, NodeServer};
use crate::query::QueryContext;
use crate::rpc::tls::{ClusterCertificates, create};

pub(super) struct Nodes {
    certificates: ClusterCertificates,
    /// What the nodes share, as all nodes of a cluster do.
    pub(super) store: Arc<dyn ObjectStore>,
    addresses: Vec<SocketAddr>,
    running: Vec<(CancellationToken, JoinHandle<base::Result<()>>)>,
}

impl Nodes {
    pub(super) async fn start(ports: &[u16], slices: u16) -> Nodes {
        let certificates = create("test").unwrap();
        let addresses: Vec<SocketAddr> =
            ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        let store = Arc::new(object_store::memory::InMemory::new());
        let mut nodes = Nodes { certificates, store, addresses, running: Vec::new() };
        for at in 0..ports.len() {
            let node = nodes.serve(at, slices);
            nodes.running.push(node);
        }
        nodes
    }

    fn serve(&self, at: usize, slices: u16) -> (CancellationToken, JoinHandle<base::Result<()>>) {
        let config = NodeConfig {
            listen: self.addresses[at],
            tls: self.certificates.compute.clone(),
            engine: config(&format!("node{at}"), slices),
        };
        let shutdown = CancellationToken::new();
        let store = Arc::clone(&self.store);
        let serving = NodeServer::serve(config, store, extensions(), shutdown.clone());
        (shutdown, tokio::spawn(serving))
    }

    /// The nodes as a leader is told of them.
    pub(super) fn as_cluster(&self) -> Cluster {
        let nodes = self.addresses.iter().copied().map(Into::into).collect();
        Cluster::Remote { nodes, tls: self.certificates.leader.clone() }
    }

    async fn cluster(&self, slices: u16) -> TestCluster {
        let cluster = TestCluster::with(config("leader", slices), self.as_cluster(), warehouse());
        cluster.engine.require_all_nodes().await.unwrap();
        cluster
    }

    pub(super) async fn stop_all(mut self) {
        for at in 0..self.running.len() {
            self.stop(at).await;
        }
    }

    async fn stop(&mut self, at: usize) {
        self.running[at].0.cancel();
        let _ = (&mut self.running[at].1).await;
    }
}

const JOIN: &str = "SELECT r_name, sum(l_qty) FROM lineitem JOIN orders ON l_key = o_key \
                    JOIN customer ON o_cust = c_key JOIN nation ON c_nation = n_key \
                    JOIN region ON n_region = r_key GROUP BY r_name";

#[tokio::test(flavor = "multi_thread")]
async fn remote_nodes_answer_over_mutual_tls() {
    let nodes = Nodes::start(&[20_300, 20_301], 4).await;
    let cluster = nodes.cluster(4).await;
    let expected = lines(&cluster.plain(JOIN).await);
    assert_eq!(lines(&cluster.run(JOIN).await.unwrap()), expected);
    let error = cluster.run("SELECT CAST(c_name AS int) FROM customer").await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::InvalidTextRepresentation, "{error:?}");
    let error = cluster.run("SELECT 1 / (o_key - o_key) FROM orders").await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DivisionByZero, "{error:?}");
    let context = QueryContext::default();
    let colocated = "SELECT count(*), sum(l_qty) FROM lineitem JOIN orders ON l_key = o_key";
    let plan = cluster.plan(colocated, &context).await.unwrap();
    let text = plan.analyze().await.unwrap().join("\n");
    assert!(text.contains("moved between nodes: 0 bytes"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused() {
    let nodes = Nodes::start(&[20_302], 2).await;
    let _cluster = nodes.cluster(2).await;
    let address = format!("https://{}", nodes.addresses[0]);
    let anonymous = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&nodes.certificates.leader.authority))
        .domain_name("compute.blueshift.internal");
    let stranger = create("other").unwrap().leader;
    for tls in [anonymous, stranger.client()] {
        let endpoint = Endpoint::from_shared(address.clone()).unwrap().tls_config(tls).unwrap();
        let channel = endpoint.connect_lazy();
        let mut client = datafusion_distributed::grpc::create_worker_client(
            datafusion_distributed::grpc::BoxCloneSyncChannel::new(channel),
        );
        let asked = client.get_worker_info(datafusion_distributed::GetWorkerInfoRequest {}).await;
        assert!(asked.is_err(), "a node answered a stranger");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_nodes_slices_move_and_it_comes_back() {
    let mut nodes = Nodes::start(&[20_303, 20_304, 20_305], 6).await;
    let cluster = nodes.cluster(6).await;
    let expected = lines(&cluster.plain(JOIN).await);
    assert_eq!(lines(&cluster.run(JOIN).await.unwrap()), expected);
    nodes.stop(1).await;
    let context = QueryContext { retry_reads: true, ..QueryContext::default() };
    for _ in 0..3 {
        let plan = cluster.plan(JOIN, &context).await.unwrap();
        let run = futures::TryStreamExt::try_collect::<Vec<_>>(plan.execute().unwrap());
        let got = tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap();
        assert_eq!(lines(&got), expected);
    }
    assert_eq!(cluster.engine.nodes().iter().filter(|node| node.up).count(), 2);
    let back = nodes.serve(1, 6);
    nodes.running[1] = back;
    for _ in 0..100 {
        if cluster.engine.nodes().iter().all(|node| node.up) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(cluster.engine.nodes().iter().all(|node| node.up), "{:?}", cluster.engine.nodes());
    assert_eq!(lines(&cluster.run(JOIN).await.unwrap()), expected);
    for at in 0..3 {
        nodes.stop(at).await;
    }
    let plan = cluster.plan(JOIN, &context).await.unwrap();
    let run = futures::TryStreamExt::try_collect::<Vec<_>>(plan.execute().unwrap());
    let error = tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap_err();
    let clean = [SqlState::ConnectionFailure, SqlState::CannotConnectNow];
    assert!(clean.contains(&error.sqlstate()), "{error:?}");
}
