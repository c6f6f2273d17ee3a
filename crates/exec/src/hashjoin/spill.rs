//! Both sides of a join on disk.

use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::SpillMetrics;
use parking_lot::Mutex;

use super::output::Shape;
use crate::parts::{PARTS, Part, Partitioner, manager};

/// A build side on disk, with the probe sides where they are joined together.
pub(super) struct SpilledBuild {
    pub(super) parts: Vec<Part>,
    probe: Mutex<Vec<Part>>,
    probing: AtomicUsize,
}

impl SpilledBuild {
    pub(super) fn new(parts: Vec<Part>, probers: usize) -> SpilledBuild {
        SpilledBuild {
            parts,
            probe: Mutex::new(vec![Part::default(); PARTS]),
            probing: AtomicUsize::new(probers),
        }
    }

    /// Takes the probe side of one partition. The last one gets those of all.
    pub(super) fn ended(&self, parts: Vec<Part>) -> Option<Vec<Part>> {
        let mut probe = self.probe.lock();
        for (all, part) in probe.iter_mut().zip(parts) {
            all.merge(part);
        }
        // The lock orders this with what the others merged.
        (self.probing.fetch_sub(1, Ordering::Relaxed) == 1).then(|| std::mem::take(&mut *probe))
    }
}

/// Divides the build side.
pub(super) fn build_partitioner(
    shape: &Shape,
    context: &TaskContext,
    metrics: SpillMetrics,
    level: usize,
) -> Partitioner {
    let manager = manager(context, metrics, &shape.build_schema);
    Partitioner::new(manager, &shape.on_build, level)
}

/// Divides the probe side.
pub(super) fn probe_partitioner(
    shape: &Shape,
    context: &TaskContext,
    metrics: SpillMetrics,
    level: usize,
) -> Partitioner {
    let manager = manager(context, metrics, &shape.probe_schema);
    Partitioner::new(manager, &shape.on_probe, level)
}
