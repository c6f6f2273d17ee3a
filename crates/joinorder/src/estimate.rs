//! How many rows a set of relations gives, whatever the order in which they are joined.
//!
//! An equality keeps 1 / max(distinct) of the pairs: the values of the side with fewer are taken
//! to be among those of the other. Equalities on several columns between the same two relations
//! back off, and together never keep less than one in the combinations that exist.

use crate::model::{Model, backed_off};
use crate::set::RelationSet;

/// The columns of a class that are already known to be equal.
struct Merged {
    class: usize,
    groups: Vec<(RelationSet, f64)>,
}

impl Merged {
    fn group(&self, relation: usize) -> Option<usize> {
        self.groups.iter().position(|(set, _)| set.contains(relation))
    }

    /// Puts the groups of two relations together: the selectivity of the equality between
    /// them, or nothing when they were together.
    fn merge(&mut self, left: usize, right: usize) -> Option<f64> {
        let (left, right) = (self.group(left)?, self.group(right)?);
        if left == right {
            return None;
        }
        let (keep, go) = (left.min(right), left.max(right));
        let (set, distinct) = self.groups.remove(go);
        let group = &mut self.groups[keep];
        let widest = group.1.max(distinct);
        *group = (group.0.union(set), group.1.min(distinct));
        Some(1.0 / widest)
    }
}

impl Model {
    /// The rows of the join of `set`, at least one.
    pub(crate) fn rows(&self, set: RelationSet) -> f64 {
        let plain = set.intersection(self.plain());
        if plain.is_empty() {
            return set.iter().map(|at| self.relations[at].rows).product::<f64>().max(1.0);
        }
        let mut rows: f64 = plain.iter().map(|at| self.relations[at].rows).product();
        for test in set.iter().filter_map(|at| self.relations[at].reducer.as_ref()) {
            rows *= test.kept;
        }
        rows *= self.equal(plain);
        for condition in self.conditions.iter().filter(|c| c.set.is_subset_of(plain)) {
            rows *= condition.selectivity;
        }
        rows.max(1.0)
    }

    /// Bytes of a row of the join of `set`.
    pub(crate) fn width(&self, set: RelationSet) -> f64 {
        set.iter()
            .map(|at| &self.relations[at])
            .filter(|node| node.reducer.as_ref().is_none_or(|of| of.extends) || set.len() == 1)
            .map(|node| node.width)
            .sum()
    }

    /// The part of the pairs that all equalities within `set` keep.
    fn equal(&self, set: RelationSet) -> f64 {
        let mut classes: Vec<Merged> = Vec::new();
        for (at, class) in self.classes.iter().enumerate() {
            if class.set.intersection(set).len() > 1 {
                let inside = class.members.iter().filter(|member| set.contains(member.relation));
                let group =
                    inside.map(|member| (RelationSet::single(member.relation), member.distinct));
                classes.push(Merged { class: at, groups: group.collect() });
            }
        }
        let mut kept = 1.0;
        if classes.len() > 1 {
            for compound in &self.compounds {
                let (left, right) = compound.pair;
                if set.contains(left) && set.contains(right) {
                    kept *= self.compound(left, right, &compound.classes, &mut classes);
                }
            }
        }
        for class in &mut classes {
            while class.groups.len() > 1 {
                let (left, right) = (class.groups[0].0.lowest(), class.groups[1].0.lowest());
                let merged = left.zip(right).and_then(|(left, right)| class.merge(left, right));
                kept *= merged.unwrap_or(1.0);
            }
        }
        kept
    }

    /// The part that equalities on several columns between two relations keep.
    fn compound(&self, left: usize, right: usize, shared: &[usize], classes: &mut [Merged]) -> f64 {
        let apart = |merged: &Merged| merged.group(left) != merged.group(right);
        let place = |class: &usize| classes.binary_search_by_key(class, |merged| merged.class).ok();
        let open: Vec<usize> =
            shared.iter().filter_map(place).filter(|at| apart(&classes[*at])).collect();
        if open.len() < 2 {
            return 1.0;
        }
        let combinations = |relation: usize| {
            let distinct = open.iter().filter_map(|at| {
                let members = &self.classes[classes[*at].class].members;
                members.iter().find(|member| member.relation == relation)
            });
            let all: f64 = distinct.map(|member| member.distinct).product();
            all.min(self.relations[relation].unfiltered)
        };
        let fewest = combinations(left).min(combinations(right));
        let mut parts: Vec<f64> =
            open.iter().filter_map(|at| classes[*at].merge(left, right)).collect();
        parts.sort_by(f64::total_cmp);
        backed_off(parts.into_iter()).max(1.0 / fewest)
    }
}
