//! EXPLAIN ANALYZE: runs a query and shows what its operators counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use datafusion_distributed::{
    DISTRIBUTED_DATAFUSION_TASK_ID_LABEL, DistributedExec, DistributedMetricsFormat,
    rewrite_distributed_plan_with_metrics,
};

use super::{Actual, Explainer, Left, movement, shared_title, shown};
use crate::distribute::Plan;
use crate::error::from_datafusion;
use crate::layout::Layout;
use crate::leaf;
use crate::query::{Executable, drain};

/// Nodes send what they counted after the last row; one that was lost never does.
const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that a query moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    between_nodes_bytes: u64,
    to_leader_bytes: u64,
}

/// What one slice did in one scan.
#[derive(Clone, Copy, Debug, Default)]
struct SliceWork {
    rows: usize,
    scanned: usize,
    blocks: usize,
    pruned: usize,
    bytes: usize,
}

impl Executable {
    /// Runs the query, drops its rows and gives the plan with what it took.
    ///
    /// # Errors
    /// What the query finds.
    pub async fn analyze(self) -> Result<Vec<String>> {
        let cancel = self.context.cancel.clone();
        let _slot = match self.is_leader_only() {
            true => None,
            false => Some(self.inner.admission.enter(&cancel).await?),
        };
        let clock = base::clock::instant();
        let runner = self.runner(0, true)?;
        let started = runner.start(self.divided.clone()).await?;
        let mut rows = 0;
        drain(started.stream, &cancel, |batch| {
            rows += batch.num_rows();
            Ok(())
        })
        .await?;
        let elapsed = clock.elapsed();
        let root = counted(started.plan).await?;
        let mut shared = Vec::new();
        for (number, run) in runner.shared.runs() {
            shared.push((number, counted(run.plan).await?));
        }
        let mut lines = self.counted_lines(&root, &shared);
        lines.push(format!("rows: {rows}"));
        lines.push(format!("Total runtime: {:.3} ms", elapsed.as_secs_f64() * 1e3));
        Ok(shown(lines))
    }

    /// The plan that ran and the shared subplans by their numbers, with what all of them moved.
    fn counted_lines(&self, root: &Plan, shared: &[(usize, Plan)]) -> Vec<String> {
        let prefix = if self.is_leader_only() { "LD" } else { "XN" };
        let mut lines = Vec::new();
        let none = Left::default();
        let mut tree = Explainer { prefix, annotate: true, left: &none }.tree(root);
        // Nodes that carry counters give no estimates; those that ran have the same shape.
        let explainer = Explainer { prefix, annotate: false, left: &self.left() };
        tree.estimate(&explainer.tree(self.divided.root()));
        tree.print(0, &mut lines);
        for (number, part) in shared {
            lines.push(format!("{}:", shared_title(*number)));
            Explainer { prefix: "XN", annotate: true, left: &none }.tree(part).print(0, &mut lines);
        }
        let mut moved = Moved::default();
        for root in [root].into_iter().chain(shared.iter().map(|(_, part)| part)) {
            slices(root, self.inner.layout, &mut lines);
            add_moved(root.as_ref(), true, &mut moved);
        }
        lines.push(format!("moved between nodes: {} bytes", moved.between_nodes_bytes));
        lines.push(format!("sent to leader: {} bytes", moved.to_leader_bytes));
        lines
    }
}

/// The plan with the counters of all tasks, from the head on.
async fn counted(plan: Plan) -> Result<Plan> {
    let format = DistributedMetricsFormat::PerTask;
    let rewritten = rewrite_distributed_plan_with_metrics(Arc::clone(&plan), format);
    let plan = match tokio::time::timeout(METRICS_TIMEOUT, rewritten).await {
        Ok(rewritten) => rewritten.map_err(from_datafusion)?,
        Err(_) => plan,
    };
    Ok(match plan.downcast_ref::<DistributedExec>() {
        Some(_) => Arc::clone(super::child(&plan, 0)),
        None => plan,
    })
}

/// What an operator took: the slowest partition, and all rows.
pub(super) fn actual(plan: &dyn ExecutionPlan) -> Option<Actual> {
    let metrics = plan.metrics()?;
    let rows = metrics.output_rows()?;
    let mut slowest = 0;
    for metric in metrics.iter() {
        if let MetricValue::ElapsedCompute(time) = metric.value() {
            slowest = slowest.max(time.value());
        }
    }
    let spilled = metrics.spilled_bytes().filter(|bytes| *bytes > 0);
    let spilled = spilled.map(|bytes| format!(" spilled={bytes}")).unwrap_or_default();
    let text = format!("actual time={:.3} ms rows={rows}{spilled}", slowest as f64 / 1e6);
    Some(Actual { text, rows })
}

fn slices(root: &Plan, layout: Layout, lines: &mut Vec<String>) {
    let mut scans = Vec::new();
    find_scans(root, &mut scans);
    for scan in scans {
        let Some(metrics) = scan.metrics() else {
            continue;
        };
        let none = Left::default();
        let name = Explainer { prefix: "XN", annotate: false, left: &none }.tree(scan).title;
        lines.push(format!("{}:", name.trim_start_matches("XN Seq Scan on ")));
        for (slice, work) in by_slice(&metrics, layout) {
            lines.push(format!(
                "  slice {slice}: rows={} scanned={} blocks={} pruned={} bytes={}",
                work.rows, work.scanned, work.blocks, work.pruned, work.bytes
            ));
        }
    }
}

fn find_scans<'a>(plan: &'a Plan, found: &mut Vec<&'a Plan>) {
    if plan.children().is_empty() && leaf::reads_user_data(plan.as_ref()) {
        found.push(plan);
    }
    for child in plan.children() {
        find_scans(child, found);
    }
}

fn by_slice(metrics: &MetricsSet, layout: Layout) -> BTreeMap<usize, SliceWork> {
    let mut slices: BTreeMap<usize, SliceWork> = BTreeMap::new();
    for metric in metrics.iter() {
        let label = |name: &str| {
            let found = metric.labels().iter().find(|label| label.name() == name);
            found.and_then(|label| label.value().parse::<usize>().ok())
        };
        let task = label(DISTRIBUTED_DATAFUSION_TASK_ID_LABEL).unwrap_or(0);
        let Some(partition) = metric.partition() else {
            continue;
        };
        let work = slices.entry(task * layout.per_task() + partition).or_default();
        let value = metric.value();
        let place = match value.name() {
            "output_rows" => &mut work.rows,
            "rows_scanned" => &mut work.scanned,
            "blocks_read" => &mut work.blocks,
            "blocks_pruned" => &mut work.pruned,
            "bytes_read" => &mut work.bytes,
            _ => continue,
        };
        *place += value.as_usize();
    }
    slices
}

fn add_moved(plan: &dyn ExecutionPlan, in_head: bool, moved: &mut Moved) {
    let boundary = movement::is_boundary(plan);
    if boundary {
        let bytes = transferred(plan);
        if in_head {
            moved.to_leader_bytes += bytes;
        } else {
            moved.between_nodes_bytes += bytes;
        }
    }
    for child in plan.children() {
        add_moved(child.as_ref(), in_head && !boundary, moved);
    }
}

fn transferred(plan: &dyn ExecutionPlan) -> u64 {
    let metrics = plan.metrics().unwrap_or_default();
    let bytes = metrics.iter().filter(|metric| metric.value().name() == "bytes_transferred");
    bytes.map(|metric| metric.value().as_usize() as u64).sum()
}
