//! What there is to join: relations, equalities, other predicates.

use base::{Error, Result};

use crate::set::{RELATIONS_MAX, RelationSet};

/// Relations and what connects them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub relations: Vec<Relation>,
    /// Columns, or expressions over one relation, that equalities and placements name.
    pub columns: Vec<Column>,
    /// Pairs of columns that are equal in every row of the result. What follows from them
    /// (a = b and b = c give a = c) is derived.
    pub equalities: Vec<(usize, usize)>,
    /// Conditions over two or more relations that are no equalities of columns.
    pub predicates: Vec<Predicate>,
}

/// An input of the join.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Tells relations with equal numbers apart, so that the answer does not depend on order.
    pub label: String,
    /// Rows after the filters that concern this relation alone.
    pub rows: f64,
    /// Rows before those filters.
    pub unfiltered: f64,
    /// Bytes of a row in memory.
    pub width: f64,
    pub placement: Placement,
    /// Set for a relation that only keeps, drops or extends rows of others: the inner side of a
    /// semi-, anti- or outer join.
    pub reducer: Option<Reducer>,
}

/// Where the rows of a relation are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On any slice.
    Anywhere,
    /// On the slice of the hash of a column.
    Hash(usize),
    /// All rows on every node.
    Replica,
}

/// A column, or an expression over one relation.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub relation: usize,
    /// Distinct values among the relation's rows before filters on other columns: a row of
    /// another relation that has such a value meets one in so many rows of the pairs.
    pub distinct: f64,
}

/// A condition over several relations.
#[derive(Clone, Copy, Debug)]
pub struct Predicate {
    pub relations: RelationSet,
    /// The part of the pairs that it keeps.
    pub selectivity: f64,
}

/// How a relation keeps or drops rows of others, or adds to them.
#[derive(Clone, Debug)]
pub struct Reducer {
    /// The relations whose rows it tests: at least one, none of them a reducer.
    pub requires: RelationSet,
    /// Pairs of equal columns: of a relation in `requires`, of the reducer.
    pub keys: Vec<(usize, usize)>,
    /// The part of the rows that it keeps; the rows for each of them, where it extends them.
    pub kept: f64,
    /// Every row stays, and gets the columns of this relation: the inner side of an outer join.
    pub extends: bool,
}

impl Graph {
    /// Refuses what the search could not answer.
    pub(crate) fn check(&self) -> Result<()> {
        let count = self.relations.len();
        if count == 0 || count > RELATIONS_MAX {
            return Err(Error::internal(format!("{count} relations cannot be ordered at once")));
        }
        let all = RelationSet::first(count);
        let is_plain = |at: usize| self.relations.get(at).is_some_and(|r| r.reducer.is_none());
        let plain: RelationSet = (0..count).filter(|at| is_plain(*at)).collect();
        if plain.is_empty() {
            return Err(Error::internal("there is nothing for the reducers to reduce"));
        }
        let of = |column: usize| self.columns.get(column).map(|column| column.relation);
        let columns = self.columns.iter().all(|column| column.relation < count);
        let equalities = self.equalities.iter().all(
            |(a, b)| matches!((of(*a), of(*b)), (Some(a), Some(b)) if is_plain(a) && is_plain(b)),
        );
        let predicates = self.predicates.iter().all(|predicate| {
            predicate.relations.len() > 1 && predicate.relations.is_subset_of(plain)
        });
        let relations = self.relations.iter().enumerate().all(|(at, relation)| {
            let placed = match relation.placement {
                Placement::Hash(column) => of(column) == Some(at),
                Placement::Anywhere | Placement::Replica => true,
            };
            placed
                && relation.reducer.as_ref().is_none_or(|reducer| {
                    let keys = reducer.keys.iter().all(|(outer, inner)| {
                        of(*inner) == Some(at)
                            && of(*outer).is_some_and(|of| reducer.requires.contains(of))
                    });
                    keys && !reducer.requires.is_empty() && reducer.requires.is_subset_of(plain)
                })
        });
        if columns && equalities && predicates && relations && plain.is_subset_of(all) {
            return Ok(());
        }
        Err(Error::internal("a join graph names what it does not have"))
    }
}

/// A count that arithmetic can go on with: at least one, never infinite.
pub(crate) fn count(value: f64) -> f64 {
    if value.is_nan() { 1.0 } else { value.clamp(1.0, 1e18) }
}

/// A part of rows: never quite nothing.
pub(crate) fn part(value: f64) -> f64 {
    if value.is_nan() { 1.0 } else { value.clamp(1e-12, 1.0) }
}
