//! Frees what ended queries leave in a worker.
//!
//! The worker drops a task's plan, and the hash tables that it holds, lazily: when the next task
//! comes. A node on which a big query was the last one would keep its memory, so an empty task
//! is run while memory is held.

use std::sync::Arc;
use std::time::Duration;

use arrow_schema::Schema;
use base::CancellationToken;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion_distributed::{MaybeEncoded, SetPlanRequest, TaskKey, Worker};
use futures::StreamExt;
use url::Url;

use crate::distribute::boundary::hex;
use crate::node::Node;
use crate::settings::QueryHeaders;

/// Longer than the worker waits between two rounds of dropping.
const INTERVAL: Duration = Duration::from_millis(500);

/// Sweeps until `stopped`.
pub(crate) fn start(node: &Arc<Node>, worker: Worker, stopped: CancellationToken) {
    let memory = Arc::downgrade(&node.memory);
    base::task::spawn("sweep", async move {
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let held = memory.upgrade().map_or(0, |memory| memory.used_bytes());
            if held > 0
                && let Err(error) = empty_task(&worker).await
            {
                tracing::debug!(%error, "could not run an empty task");
            }
        }
    });
}

async fn empty_task(worker: &Worker) -> datafusion::common::Result<()> {
    let headers = QueryHeaders { id: "sweep".to_owned(), ..QueryHeaders::default() }.write()?;
    let identity = hex(&base::rng::bytes::<16>());
    let query_id = identity.parse().map_err(|error| {
        datafusion::common::internal_datafusion_err!("no identity for an empty task: {error}")
    })?;
    let url = Url::parse("https://sweep.embedded:1").map_err(|error| {
        datafusion::common::internal_datafusion_err!("no address for an empty task: {error}")
    })?;
    let request = SetPlanRequest {
        task_key: TaskKey { query_id, stage_id: 0, task_number: 0 },
        task_count: 1,
        plan: MaybeEncoded::Decoded(Arc::new(EmptyExec::new(Arc::new(Schema::empty())))),
        work_unit_feed_declarations: Vec::new(),
        target_worker_url: url,
        query_start_time_ns: 0,
    };
    let nothing = futures::stream::empty().boxed();
    let answers = worker.coordinator_channel(headers, request, nothing).await?;
    answers.for_each(|_| std::future::ready(())).await;
    Ok(())
}
