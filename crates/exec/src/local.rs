//! Operators of ours in the place of DataFusion's, put there where a plan runs.
//!
//! Plans travel between nodes in DataFusion's operators alone: a worker rewrites what it
//! received, the leader what it runs by itself. A rewrite keeps the shape of the tree, one node
//! for one node, so that counters find their operators again.

use datafusion::common::Result;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse};

use crate::distribute::Plan;
use crate::settings::Settings;
use crate::{hashjoin, pipeline};

/// A rewrite of whole plans, with the session setting that turns it off, if one does.
struct Rewrite {
    setting: Option<&'static str>,
    apply: fn(Plan) -> Result<Plan>,
}

/// In the order in which they run.
const REWRITES: &[Rewrite] = &[
    Rewrite { setting: Some(hashjoin::SETTING), apply: hashjoin::replace_joins },
    Rewrite { setting: None, apply: hashjoin::without_misrouted_filters },
    Rewrite { setting: Some(pipeline::SETTING), apply: pipeline::replace_aggregates },
];

/// The plan with our operators wherever they can run.
///
/// # Errors
/// When the plan cannot be put together again.
pub(crate) fn rewritten(plan: Plan, config: &SessionConfig) -> Result<Plan> {
    let settings = config.get_extension::<Settings>();
    let enabled = |rewrite: &&Rewrite| {
        rewrite.setting.is_none_or(|setting| is_enabled(settings.as_deref(), setting))
    };
    REWRITES.iter().filter(enabled).try_fold(plan, |plan, rewrite| (rewrite.apply)(plan))
}

/// Settings are on unless a session turned them off.
pub(crate) fn is_enabled(settings: Option<&Settings>, name: &str) -> bool {
    let value = settings.and_then(|settings| settings.get(name));
    value.is_none_or(|value| !matches!(value, "off" | "false"))
}

/// The hook of workers, after a plan was decoded.
pub(crate) fn on_worker(
    event: WorkerPlanRewriteEvent<'_>,
) -> Result<WorkerPlanRewriteEventResponse> {
    let plan = rewritten(event.plan, event.session_config)?;
    Ok(WorkerPlanRewriteEventResponse::new(plan))
}
