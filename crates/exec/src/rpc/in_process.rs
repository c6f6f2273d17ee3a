//! Calls to a compute node of the same process: no bytes, the same steps.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use datafusion_distributed::{
    BytesMetricExt, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest,
    GetWorkerInfoResponse, MaybeEncoded, SetPlanRequest, Worker, WorkerChannel,
    WorkerToCoordinatorMsg,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tonic::codegen::http::HeaderMap;

/// A channel to a worker of this process.
pub(crate) struct InProcessChannel {
    worker: Worker,
}

impl InProcessChannel {
    pub(crate) fn new(worker: Worker) -> InProcessChannel {
        InProcessChannel { worker }
    }
}

#[async_trait]
impl WorkerChannel for InProcessChannel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        mut request: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        _: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        // Nodes of a plan hold the state of their run: two tasks must not share them.
        request.plan = MaybeEncoded::Encoded(request.plan.encode(context)?);
        self.worker.coordinator_channel(headers, request, messages.map(Ok).boxed()).await
    }

    async fn execute_task(
        &mut self,
        _: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        _: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let moved = MetricBuilder::new(&metrics).bytes_counter("bytes_transferred");
        let (streams, _) = self.worker.execute_task(request).await?;
        let counted = streams.into_iter().map(|stream| {
            let moved = moved.clone();
            let count = move |batch: &RecordBatch| {
                moved.add_bytes(batch_bytes(batch));
            };
            stream.inspect_ok(count).boxed()
        });
        Ok(counted.collect())
    }

    async fn get_worker_info(&mut self, _: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        Ok(GetWorkerInfoResponse { version: self.worker.version().to_owned() })
    }
}

/// The bytes of the rows themselves, without what their buffers hold besides.
fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}
