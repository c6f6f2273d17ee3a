//! A channel that knows whom it calls, so that an error names the node that was lost.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::{
    CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::Status;
use tonic::codegen::http::HeaderMap;

use crate::error::{from_status, into_datafusion};

/// Wraps the channel to the node called `node`.
pub(crate) struct TrackedChannel {
    inner: Box<dyn WorkerChannel>,
    node: Arc<str>,
}

impl TrackedChannel {
    pub(crate) fn new(inner: Box<dyn WorkerChannel>, node: String) -> TrackedChannel {
        TrackedChannel { inner, node: node.into() }
    }
}

/// An error of the connection becomes one that names the node; errors of the query pass.
fn named(node: &str, error: DataFusionError) -> DataFusionError {
    let DataFusionError::External(source) = &error else {
        return error;
    };
    match source.downcast_ref::<Status>() {
        Some(status) => into_datafusion(from_status(status, Some(node))),
        None => error,
    }
}

#[async_trait]
impl WorkerChannel for TrackedChannel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        request: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let node = Arc::clone(&self.node);
        let answers =
            self.inner.coordinator_channel(headers, request, messages, metrics, context).await;
        let answers = answers.map_err(|error| named(&node, error))?;
        Ok(answers.map(move |answer| answer.map_err(|error| named(&node, error))).boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let streams = self.inner.execute_task(headers, request, metrics, context).await;
        let streams = streams.map_err(|error| named(&self.node, error))?;
        let tracked = streams.into_iter().map(|stream| {
            let node = Arc::clone(&self.node);
            stream.map(move |batch| batch.map_err(|error| named(&node, error))).boxed()
        });
        Ok(tracked.collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse> {
        let answer = self.inner.get_worker_info(request).await;
        answer.map_err(|error| named(&self.node, error))
    }
}
