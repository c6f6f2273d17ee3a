//! Compute nodes as operating-system processes under this one's supervision.
//!
//! A child reports its address as one line on its standard output and ends when its standard
//! input closes, so that none outlives a leader that was killed.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base::{CancellationToken, Error, Result, SqlState, error};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What a child prints before its address once it serves.
pub const READY_PREFIX: &str = "blueshift compute ready: ";

const START_TIMEOUT: Duration = Duration::from_secs(30);
const RESTART_DELAY_MIN: Duration = Duration::from_millis(200);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How to start one compute process.
#[derive(Clone, Debug)]
pub struct NodeProcess {
    pub node: u16,
    pub program: PathBuf,
    /// Everything but `--listen`, which the supervisor adds.
    pub arguments: Vec<String>,
}

/// The running compute processes. They are restarted on the same address when they die.
#[derive(Debug)]
pub struct NodeProcesses {
    addresses: Vec<String>,
    pids: Arc<Mutex<Vec<Option<u32>>>>,
    stop: CancellationToken,
    supervisors: Vec<tokio::task::JoinHandle<()>>,
}

impl NodeProcesses {
    /// Starts every process and waits until all of them serve.
    ///
    /// # Errors
    /// 58000 naming the node that did not come up within 30 s.
    pub async fn start(processes: Vec<NodeProcess>) -> Result<Self> {
        let stop = CancellationToken::new();
        let pids = Arc::new(Mutex::new(vec![None; processes.len()]));
        let started =
            futures::future::try_join_all(processes.iter().map(|p| launch(p, "127.0.0.1:0")))
                .await?;
        let mut addresses = Vec::with_capacity(processes.len());
        let mut supervisors = Vec::with_capacity(processes.len());
        for (index, (process, (child, address))) in processes.into_iter().zip(started).enumerate() {
            pids.lock()[index] = child.id();
            addresses.push(address.clone());
            let watch = Watch { index, process, address, pids: pids.clone(), stop: stop.clone() };
            supervisors.push(base::task::spawn("compute supervisor", watch.run(child)));
        }
        Ok(Self { addresses, pids, stop, supervisors })
    }

    /// `host:port` of each node, in node order.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The process ids as they are now; `None` while one is being restarted.
    pub fn pids(&self) -> Vec<Option<u32>> {
        self.pids.lock().clone()
    }

    /// Ends all processes and waits for them.
    pub async fn stop(self) {
        self.stop.cancel();
        for supervisor in self.supervisors {
            drop(supervisor.await);
        }
    }
}

struct Watch {
    index: usize,
    process: NodeProcess,
    address: String,
    pids: Arc<Mutex<Vec<Option<u32>>>>,
    stop: CancellationToken,
}

impl Watch {
    async fn run(self, first: Child) {
        let mut child = Some(first);
        let mut delay = RESTART_DELAY_MIN;
        loop {
            if let Some(mut running) = child.take() {
                // Held here: waiting for a child closes its standard input.
                let input = running.stdin.take();
                tokio::select! {
                    () = self.stop.cancelled() => {
                        drop(input);
                        return end(running).await;
                    }
                    status = running.wait() => {
                        tracing::info!(node = self.process.node, ?status, "compute node ended");
                    }
                }
            }
            self.pids.lock()[self.index] = None;
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
            match launch(&self.process, &self.address).await {
                Ok((started, _)) => {
                    tracing::info!(node = self.process.node, "compute node restarted");
                    self.pids.lock()[self.index] = started.id();
                    child = Some(started);
                    delay = RESTART_DELAY_MIN;
                }
                Err(error) => {
                    tracing::warn!(node = self.process.node, %error, "compute node not restarted");
                    delay = (delay * 2).min(RESTART_DELAY_MAX);
                }
            }
        }
    }
}

/// Closed standard input has asked the child to drain; it is killed when it does not.
async fn end(mut child: Child) {
    if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        drop(child.kill().await);
    }
}

async fn launch(process: &NodeProcess, listen: &str) -> Result<(Child, String)> {
    let mut child = Command::new(&process.program)
        .args(&process.arguments)
        .args(["--listen", listen])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::io(format!("start compute node {}", process.node), e))?;
    let output = base::proven(child.stdout.take(), "standard output is piped");
    let mut lines = BufReader::new(output).lines();
    let failed = |why: String| {
        Error::new(SqlState::SystemError, format!("compute node {} {why}", process.node))
    };
    let line = match tokio::time::timeout(START_TIMEOUT, lines.next_line()).await {
        Err(_) => return Err(failed("was not ready within 30 seconds".to_owned())),
        Ok(Err(e)) => return Err(Error::io("read from a compute node", e)),
        Ok(Ok(None)) => return Err(failed("ended while it started".to_owned())),
        Ok(Ok(Some(line))) => line,
    };
    let address = line
        .strip_prefix(READY_PREFIX)
        .ok_or_else(|| error!(SystemError, "compute node {} said \"{line}\"", process.node))?;
    Ok((child, address.to_owned()))
}
