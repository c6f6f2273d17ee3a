//! DPhyp: every pair of connected sets that an edge connects, once, smaller sets first.
//!
//! After Moerkotte and Neumann, "Dynamic programming strikes back" (2008). Works on units, each
//! a set of relations whose plans are known: one relation each for a whole search, subtrees for
//! the improvement of a tree. Runs in the space of units; only the table of plans knows
//! relations.

use std::collections::HashSet;

use crate::memo::Memo;
use crate::set::RelationSet;

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Complete,
    /// The bound on work was met, or the units cannot all be joined.
    Incomplete,
}

/// Joins `units` in the cheapest way; the table then has a plan for all of them. Weighs at most
/// `pairs` pairs of subtrees.
pub(crate) fn solve(memo: &mut Memo<'_>, units: &[RelationSet], pairs: usize) -> Outcome {
    let mut search = Search::new(memo, units, pairs);
    for unit in (0..units.len()).rev() {
        let start = RelationSet::single(unit);
        search.meet_complements(start);
        search.grow(start, RelationSet::up_to(unit));
    }
    let all = units.iter().fold(RelationSet::EMPTY, |all, unit| all.union(*unit));
    let complete = search.left > 0 && search.memo.knows(all);
    if complete { Outcome::Complete } else { Outcome::Incomplete }
}

struct Search<'m, 'a> {
    memo: &'m mut Memo<'a>,
    units: &'m [RelationSet],
    /// Units joined to each unit by an edge between single units.
    neighbours: Vec<RelationSet>,
    /// Edges with several units on a side.
    wide: Vec<(RelationSet, RelationSet)>,
    /// Sets of units that this search has plans for.
    known: HashSet<RelationSet>,
    /// What is left of the bound on work.
    left: usize,
}

impl<'m, 'a> Search<'m, 'a> {
    fn new(memo: &'m mut Memo<'a>, units: &'m [RelationSet], pairs: usize) -> Search<'m, 'a> {
        let covering = |set: RelationSet| -> RelationSet {
            (0..units.len()).filter(|at| units[*at].intersects(set)).collect()
        };
        let (mut neighbours, mut wide) = (vec![RelationSet::EMPTY; units.len()], Vec::new());
        for (a, b) in &memo.model.edges {
            let (a, b) = (covering(*a), covering(*b));
            let (Some(first), Some(second)) = (a.lowest(), b.lowest()) else {
                continue;
            };
            if a.intersects(b) {
                continue;
            }
            if a.len() == 1 && b.len() == 1 {
                neighbours[first] = neighbours[first].union(b);
                neighbours[second] = neighbours[second].union(a);
            } else {
                wide.push((a, b));
            }
        }
        let known = (0..units.len()).map(RelationSet::single).collect();
        Search { memo, units, neighbours, wide, known, left: pairs }
    }

    fn relations(&self, units: RelationSet) -> RelationSet {
        units.iter().fold(RelationSet::EMPTY, |all, unit| all.union(self.units[unit]))
    }

    /// Units beside a set, a unit for each wide edge, without those in `excluded`.
    fn neighbourhood(&self, set: RelationSet, excluded: RelationSet) -> RelationSet {
        let out = set.union(excluded);
        let all = set.iter().fold(RelationSet::EMPTY, |all, at| all.union(self.neighbours[at]));
        let mut beside = all.minus(out);
        for (a, b) in &self.wide {
            for (here, there) in [(a, b), (b, a)] {
                if here.is_subset_of(set) && !there.intersects(out) {
                    beside =
                        beside.union(there.lowest().map(RelationSet::single).unwrap_or_default());
                }
            }
        }
        beside
    }

    fn connected(&self, left: RelationSet, right: RelationSet) -> bool {
        left.iter().any(|at| self.neighbours[at].intersects(right))
            || self.wide.iter().any(|(a, b)| {
                a.is_subset_of(left) && b.is_subset_of(right)
                    || a.is_subset_of(right) && b.is_subset_of(left)
            })
    }

    /// Extends a connected set by what is beside it.
    fn grow(&mut self, set: RelationSet, excluded: RelationSet) {
        let beside = self.neighbourhood(set, excluded);
        for more in beside.subsets() {
            if self.left == 0 {
                return;
            }
            let grown = set.union(more);
            if self.known.contains(&grown) {
                self.meet_complements(grown);
            }
        }
        let excluded = excluded.union(beside);
        for more in beside.subsets() {
            if !self.spend() {
                return;
            }
            self.grow(set.union(more), excluded);
        }
    }

    /// Finds the sets that a connected set can be joined with.
    fn meet_complements(&mut self, set: RelationSet) {
        let before = set.lowest().map(RelationSet::up_to).unwrap_or_default();
        let excluded = set.union(before);
        let beside = self.neighbourhood(set, excluded);
        for unit in beside.iter().rev() {
            let other = RelationSet::single(unit);
            if self.connected(set, other) {
                self.meet(set, other);
            }
            let done = beside.intersection(RelationSet::up_to(unit));
            self.grow_complement(set, other, excluded.union(done));
        }
    }

    fn grow_complement(&mut self, set: RelationSet, other: RelationSet, excluded: RelationSet) {
        let beside = self.neighbourhood(other, excluded);
        for more in beside.subsets() {
            if self.left == 0 {
                return;
            }
            let grown = other.union(more);
            if self.known.contains(&grown) && self.connected(set, grown) {
                self.meet(set, grown);
            }
        }
        let excluded = excluded.union(beside);
        for more in beside.subsets() {
            if !self.spend() {
                return;
            }
            self.grow_complement(set, other.union(more), excluded);
        }
    }

    fn meet(&mut self, left: RelationSet, right: RelationSet) {
        if self.spend() {
            self.known.insert(left.union(right));
            self.memo.join(self.relations(left), self.relations(right));
        }
    }

    fn spend(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}
