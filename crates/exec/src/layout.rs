//! How slices lie on nodes.
//!
//! Owns the arithmetic of slices, tasks and nodes. Knows nothing of plans.

use base::ids::{NodeId, SliceId};
use base::{Result, error};

/// The fixed division of a cluster: `slices` data slices in `tasks` equal contiguous ranges.
///
/// A task is a virtual node: where it runs may change when a node is lost, the range of slices
/// that it owns does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    slices: usize,
    tasks: usize,
}

impl Layout {
    /// `slices` data slices over `nodes` nodes.
    ///
    /// # Errors
    /// 22023 when they do not divide evenly.
    pub fn new(slices: u16, nodes: u16) -> Result<Layout> {
        if nodes == 0 || slices == 0 || !slices.is_multiple_of(nodes) {
            return Err(error!(
                InvalidParameterValue,
                "{slices} slices cannot be divided over {nodes} compute nodes"
            )
            .hint("The number of slices must be a multiple of the number of nodes."));
        }
        Ok(Layout { slices: slices.into(), tasks: nodes.into() })
    }

    /// All data slices of the cluster.
    pub fn slices(self) -> usize {
        self.slices
    }

    /// Tasks of a stage that reads or holds sliced rows.
    pub fn tasks(self) -> usize {
        self.tasks
    }

    /// Slices of one task, which are its partitions.
    pub fn per_task(self) -> usize {
        self.slices / self.tasks
    }

    /// The slices of one task.
    pub fn range(self, task: usize) -> std::ops::Range<usize> {
        task * self.per_task()..(task + 1) * self.per_task()
    }

    /// The slice that is local partition `partition` of `task`.
    pub fn slice(self, task: usize, partition: usize) -> SliceId {
        SliceId(u16::try_from(task * self.per_task() + partition).unwrap_or(u16::MAX))
    }

    /// The node that runs each task, given which nodes are up: a task whose node is down goes to
    /// the next one that is up.
    ///
    /// # Errors
    /// 57P03 when no node is up.
    pub fn assign(self, up: &[bool]) -> Result<Vec<NodeId>> {
        if !up.contains(&true) {
            return Err(error!(CannotConnectNow, "no compute node is available")
                .hint("Start the compute nodes or wait until they have started."));
        }
        let assigned = (0..self.tasks).map(|task| {
            let node = (0..up.len()).map(|step| (task + step) % up.len()).find(|node| up[*node]);
            NodeId(u16::try_from(node.unwrap_or(0)).unwrap_or(0))
        });
        Ok(assigned.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_divide_over_tasks() {
        let layout = Layout::new(6, 3).unwrap();
        assert_eq!(layout.range(1), 2..4);
        assert_eq!(layout.slice(2, 1), SliceId(5));
        assert!(Layout::new(3, 2).is_err() && Layout::new(0, 0).is_err());
    }

    #[test]
    fn a_lost_nodes_tasks_move() {
        let layout = Layout::new(6, 3).unwrap();
        let nodes =
            |up: &[bool]| layout.assign(up).unwrap().iter().map(|n| n.0).collect::<Vec<_>>();
        assert_eq!(nodes(&[true, true, true]), [0, 1, 2]);
        assert_eq!(nodes(&[true, false, true]), [0, 2, 2]);
        assert!(layout.assign(&[false, false, false]).is_err());
    }
}
