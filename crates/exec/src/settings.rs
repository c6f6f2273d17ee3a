//! What travels with a query besides its plan, and how sessions are set up for it.

use std::sync::Arc;

use base::{Result, error};
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{DistributedConfig, DistributedExt};
use serde::{Deserialize, Serialize};
use tonic::codegen::http::{HeaderMap, HeaderValue};

use crate::codec::ExecCodec;
use crate::distribute::boundary::hex;
use crate::distribute::rule::ColocatedJoins;
use crate::engine::Extensions;
use crate::error::into_datafusion;
use crate::{rules, single_row};

const HEADER: &str = "x-blueshift-query";
/// Rows of a batch between operators.
const BATCH_ROWS: usize = 8_192;
/// Bytes that one connection buffers before it stops reading.
const CONNECTION_BUFFER_BYTES: usize = 16 << 20;
/// Build sides up to this size are copied to all nodes instead of moving both sides.
const BROADCAST_BYTES: usize = 4 << 20;
const BROADCAST_ROWS: usize = 200_000;

/// Settings of the session that run-time functions may ask for, on leader and nodes alike.
#[derive(Clone, Debug, Default)]
pub struct Settings(pub Vec<(String, String)>);

impl Settings {
    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A query as the nodes know it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct QueryHeaders {
    /// Unique for each run, so that all tasks of one run on a node share one memory pool.
    pub(crate) id: String,
    pub(crate) memory_bytes: Option<usize>,
    pub(crate) settings: Vec<(String, String)>,
}

impl QueryHeaders {
    pub(crate) fn read(headers: &HeaderMap) -> Result<QueryHeaders> {
        let missing = || error!(ProtocolViolation, "a task came without its query");
        let text = headers.get(HEADER).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
        let bytes = unhex(text).ok_or_else(missing)?;
        serde_json::from_slice(&bytes).map_err(|_| missing())
    }

    pub(crate) fn write(&self) -> Result<HeaderMap, DataFusionError> {
        let failed = |what: &str| into_datafusion(base::Error::internal(what.to_owned()));
        let json = serde_json::to_vec(self).map_err(|_| failed("a query has no text form"))?;
        let value = HeaderValue::from_str(&hex(&json))
            .map_err(|_| failed("the settings of a query do not fit a header"))?;
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, value);
        Ok(headers)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// The session configuration of the leader, before a query's own settings.
pub(crate) fn leader(slices: usize, threads: usize) -> SessionConfig {
    let mut config =
        SessionConfig::new().with_target_partitions(slices).with_batch_size(BATCH_ROWS);
    let options = config.options_mut();
    options.execution.collect_statistics = true;
    options.execution.planning_concurrency = threads.max(1);
    // Plans are made once and divided: nothing may count on files that a scan could re-divide.
    options.optimizer.repartition_file_scans = false;
    options.optimizer.max_passes = rules::PASSES;
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    options.optimizer.enable_dynamic_filter_pushdown = true;
    options.optimizer.enable_topk_dynamic_filter_pushdown = true;
    options.optimizer.enable_join_dynamic_filter_pushdown = true;
    options.optimizer.hash_join_single_partition_threshold = BROADCAST_BYTES;
    options.optimizer.hash_join_single_partition_threshold_rows = BROADCAST_ROWS;
    // Groups by more columns than the rows lie by are in one place too, on few slices as on many.
    options.optimizer.subset_repartition_threshold = 1;
    // A sorted scan saves a sort only while its partitions stay apart.
    options.optimizer.prefer_existing_sort = false;
    let mut distributed = DistributedConfig::default();
    distributed.children_isolator_unions = false;
    distributed.collect_metrics = false;
    distributed.dynamic_task_count = false;
    distributed.worker_connection_buffer_budget_bytes = CONNECTION_BUFFER_BYTES;
    config.set_distributed_option_extension(distributed);
    config
}

/// Puts a query's settings into a session. Those of DataFusion itself are applied, the others
/// are kept for functions that ask.
pub(crate) fn apply(config: &mut SessionConfig, query: &QueryHeaders) -> Result<()> {
    for (name, value) in &query.settings {
        if !name.starts_with("datafusion.") {
            continue;
        }
        config.options_mut().set(name, value).map_err(|cause| {
            error!(InvalidParameterValue, "invalid value for parameter \"{name}\": \"{value}\"")
                .detail(format!("{cause}."))
        })?;
    }
    config.set_extension(Arc::new(Settings(query.settings.clone())));
    Ok(())
}

/// Registers codecs in the order that leader and nodes must share.
pub(crate) fn register_codecs(config: &mut SessionConfig, extensions: &Extensions) {
    config.set_distributed_user_codec(ExecCodec);
    for codec in &extensions.codecs {
        config.set_distributed_user_codec_arc(Arc::clone(codec));
    }
}

pub(crate) fn register_functions(
    mut builder: SessionStateBuilder,
    extensions: &Extensions,
) -> SessionStateBuilder {
    let scalar = extensions.scalar.iter().cloned();
    builder.scalar_functions().get_or_insert_default().extend(scalar);
    let own = std::iter::once(single_row::function());
    let aggregate = extensions.aggregate.iter().cloned().chain(own);
    builder.aggregate_functions().get_or_insert_default().extend(aggregate);
    let window = extensions.window.iter().cloned();
    builder.window_functions().get_or_insert_default().extend(window);
    builder
}

/// DataFusion's physical rules with ours in its place.
pub(crate) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let after = rules.iter().position(|rule| rule.name() == "join_selection");
    let at = after.map_or(0, |position| position + 1);
    rules.insert(at, Arc::new(ColocatedJoins));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_its_headers() {
        let query = QueryHeaders {
            id: "7".into(),
            memory_bytes: Some(9),
            settings: vec![("TimeZone".into(), "Europe/Zürich\n".into())],
        };
        let back = QueryHeaders::read(&query.write().unwrap()).unwrap();
        assert_eq!((back.id.as_str(), back.memory_bytes), ("7", Some(9)));
        assert_eq!(back.settings, query.settings);
        assert_eq!(Settings(back.settings).get("timezone"), Some("Europe/Zürich\n"));
        assert!(QueryHeaders::read(&HeaderMap::new()).is_err());
    }

    #[test]
    fn our_rule_follows_join_selection() {
        let rules = physical_rules();
        let at = rules.iter().position(|rule| rule.name() == "ColocatedJoins").unwrap();
        assert_eq!(rules[at - 1].name(), "join_selection");
    }
}
