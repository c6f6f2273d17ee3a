//! Sets of relations as bits of one word.

use std::fmt;

/// The most relations of one graph.
pub const RELATIONS_MAX: usize = 64;

/// A set of relations, named by their positions below [`RELATIONS_MAX`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationSet(u64);

impl RelationSet {
    /// The set without relations.
    pub const EMPTY: RelationSet = RelationSet(0);

    /// The set of one relation; empty for a position beyond the limit.
    pub fn single(relation: usize) -> RelationSet {
        RelationSet(u32::try_from(relation).ok().and_then(|at| 1_u64.checked_shl(at)).unwrap_or(0))
    }

    /// The first `count` relations.
    pub fn first(count: usize) -> RelationSet {
        (0..count.min(RELATIONS_MAX)).collect()
    }

    /// True without relations.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of relations.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True when the relation is in the set.
    pub fn contains(self, relation: usize) -> bool {
        self.intersects(RelationSet::single(relation))
    }

    /// True when the sets share a relation.
    pub fn intersects(self, other: RelationSet) -> bool {
        self.0 & other.0 != 0
    }

    /// True when every relation of the set is in `other`.
    pub fn is_subset_of(self, other: RelationSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// The relations of either set.
    pub fn union(self, other: RelationSet) -> RelationSet {
        RelationSet(self.0 | other.0)
    }

    /// The relations of both sets.
    pub fn intersection(self, other: RelationSet) -> RelationSet {
        RelationSet(self.0 & other.0)
    }

    /// The relations that are not in `other`.
    pub fn minus(self, other: RelationSet) -> RelationSet {
        RelationSet(self.0 & !other.0)
    }

    /// The first relation.
    pub fn lowest(self) -> Option<usize> {
        (!self.is_empty()).then(|| self.0.trailing_zeros() as usize)
    }

    /// The relations in rising order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = usize> {
        (0..RELATIONS_MAX).filter(move |relation| self.contains(*relation))
    }

    /// Every subset that has relations, smaller words first; the whole set is the last.
    pub(crate) fn subsets(self) -> impl Iterator<Item = RelationSet> {
        let all = self.0;
        let next = move |current: &u64| {
            (*current != all).then(|| current.wrapping_sub(all) & all).filter(|next| *next != 0)
        };
        std::iter::successors(next(&0), next).map(RelationSet)
    }

    /// This relation and all before it.
    pub(crate) fn up_to(relation: usize) -> RelationSet {
        RelationSet::first(relation + 1)
    }
}

impl FromIterator<usize> for RelationSet {
    fn from_iter<I: IntoIterator<Item = usize>>(relations: I) -> Self {
        relations.into_iter().fold(RelationSet::EMPTY, |set, at| set.union(RelationSet::single(at)))
    }
}

impl fmt::Debug for RelationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_all_and_each_once() {
        let set: RelationSet = [1, 4, 63].into_iter().collect();
        let subsets: Vec<_> = set.subsets().collect();
        assert_eq!(subsets.len(), 7);
        assert_eq!(subsets.last(), Some(&set));
        assert!(subsets.iter().all(|subset| subset.is_subset_of(set) && !subset.is_empty()));
        assert_eq!(RelationSet::EMPTY.subsets().count(), 0);
        assert_eq!(RelationSet::first(64).len(), 64);
        assert!(RelationSet::single(64).is_empty());
    }
}
