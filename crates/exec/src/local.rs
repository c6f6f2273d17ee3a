//! Operators of our own, put into a plan where it runs: they never cross the network.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse};

use crate::hashjoin::replace_joins;

type Rewrite = fn(Arc<dyn ExecutionPlan>, &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>>;

/// Each keeps the topology of the plan: one node becomes one node over the same inputs.
const REWRITES: &[Rewrite] = &[replace_joins];

/// The plan with our operators.
///
/// # Errors
/// What rebuilding a node finds.
pub(crate) fn rewrite(
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    REWRITES.iter().try_fold(plan, |plan, rewrite| rewrite(plan, config))
}

/// As [`rewrite`], for the part of a plan that a node was sent.
pub(crate) fn rewrite_on_node(
    event: WorkerPlanRewriteEvent<'_>,
) -> Result<WorkerPlanRewriteEventResponse> {
    let options = event.session_config.options();
    Ok(WorkerPlanRewriteEventResponse::new(rewrite(event.plan, options)?))
}
