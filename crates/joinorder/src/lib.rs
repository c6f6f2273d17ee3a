//! Floor 1: in which order relations are joined, which side is built, and which side moves.
//!
//! Takes numbers and gives a tree: [`Graph`] says what there is to join, [`order`] answers with
//! the [`Tree`] that is cheapest by the cost model. Up to about ten relations every bushy tree
//! is weighed (DPhyp); beyond that, or when the work would exceed its bound, pairs are joined
//! greedily and parts of that tree are then weighed exhaustively. Cross products appear only
//! where nothing connects the relations. Knows nothing of SQL, plans or catalogs.

mod cost;
mod enumerate;
mod estimate;
mod graph;
mod greedy;
mod memo;
mod model;
mod set;
#[cfg(test)]
mod tests;
mod tree;

use base::Result;

pub use cost::{Machine, Movement};
pub use graph::{Column, Graph, Placement, Predicate, Reducer, Relation};
pub use set::{RELATIONS_MAX, RelationSet};
pub use tree::{Join, Order, Tree};

use enumerate::Outcome;
use memo::Memo;
use model::Model;

/// How much work the search may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Up to this many relations all bushy trees are weighed.
    pub exhaustive_relations: usize,
    /// Pairs of subtrees, and steps between them, after which one exhaustive search gives up.
    pub pairs: usize,
    /// Subtrees that are weighed exhaustively at once to improve a greedy tree.
    pub window: usize,
    /// How often the greedy tree is gone through.
    pub sweeps: usize,
    /// Some order instead of the cheapest, another one for each number: to hold the choice
    /// against. Sides and movements are still the cheapest.
    pub seed: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { exhaustive_relations: 10, pairs: 150_000, window: 6, sweeps: 2, seed: None }
    }
}

/// The order in which to join all relations of `graph` on `machine`.
///
/// The answer depends on the numbers and labels only, not on how the input is ordered, as long
/// as relations with equal numbers have different labels.
///
/// # Errors
/// XX000 for a graph without relations, with more than [`RELATIONS_MAX`], or that names
/// relations or columns which it does not have.
pub fn order(graph: &Graph, machine: &Machine, limits: &Limits) -> Result<Order> {
    graph.check()?;
    let model = Model::new(graph, machine);
    let mut memo = Memo::new(&model);
    let all = RelationSet::first(model.relations.len());
    let units = memo.leaves();
    if let Some(seed) = limits.seed {
        greedy::draw(&mut memo, seed);
        return tree::extract(&memo, all, false);
    }
    let mut exact = units.len() <= limits.exhaustive_relations.max(1);
    if exact {
        exact = enumerate::solve(&mut memo, &units, limits.pairs.max(1)) == Outcome::Complete;
    }
    if !exact {
        memo.clear_joins();
        greedy::solve(&mut memo, limits);
    }
    tree::extract(&memo, all, exact)
}
