//! The answer: a tree of joins with what each applies.

use base::{Error, Result};

use crate::cost::Movement;
use crate::memo::{Made, Memo, Plan};
use crate::model::{Model, Place};
use crate::set::RelationSet;

/// How to join all relations of a graph.
#[derive(Clone, Debug)]
pub struct Order {
    pub tree: Tree,
    /// Pairs of columns of one relation that have to be equal before anything is joined.
    pub local: Vec<(usize, usize)>,
    /// Nanoseconds of one slice by the model; inputs cost nothing.
    pub cost: f64,
    /// Estimated rows of the whole.
    pub rows: f64,
    /// True when every tree was weighed.
    pub exact: bool,
}

/// A relation or a join.
#[derive(Clone, Debug)]
pub enum Tree {
    Relation(usize),
    Join(Box<Join>),
}

/// A join of two trees. Where a side is a reducer, the other's rows are kept or dropped by it.
#[derive(Clone, Debug)]
pub struct Join {
    /// The side that a hash table is made of.
    pub build: Tree,
    pub probe: Tree,
    /// Pairs of equal columns: of the built side, of the probing side.
    pub equalities: Vec<(usize, usize)>,
    /// Predicates to apply here, which no subtree could.
    pub predicates: Vec<usize>,
    /// Estimated rows that come out.
    pub rows: f64,
    pub movement: Movement,
}

impl Tree {
    /// The relations of the tree.
    pub fn relations(&self) -> RelationSet {
        match self {
            Tree::Relation(relation) => RelationSet::single(*relation),
            Tree::Join(join) => join.build.relations().union(join.probe.relations()),
        }
    }
}

pub(crate) fn extract(memo: &Memo<'_>, all: RelationSet, exact: bool) -> Result<Order> {
    let found = memo.best(all).ok_or_else(|| Error::internal("no order of joins was found"))?;
    Ok(Order {
        tree: tree(memo, &memo.plans[found])?.0,
        local: memo.model.local.clone(),
        cost: memo.plans[found].cost,
        rows: memo.entry(all).map_or(1.0, |entry| entry.rows),
        exact,
    })
}

/// A plan's tree, and the column by which its rows lie on slices.
fn tree(memo: &Memo<'_>, plan: &Plan) -> Result<(Tree, Option<usize>)> {
    let model = memo.model;
    let (build, probe, movement) = match plan.made {
        Made::Read(at) => {
            let node = &model.relations[at];
            let placed = match node.place {
                Place::Hash(class) => model.column(class, plan.set),
                Place::Anywhere | Place::Replica => None,
            };
            return Ok((Tree::Relation(node.original), placed));
        }
        Made::Joined { build, probe, movement } => (build, probe, movement),
    };
    let (build, probe) = (&memo.plans[build], &memo.plans[probe]);
    let (built, build_placed) = tree(memo, build)?;
    let (probed, probe_placed) = tree(memo, probe)?;
    let equalities = model.equalities((build.set, build_placed), (probe.set, probe_placed));
    let placed = match plan.place {
        Place::Hash(class) => {
            let of =
                |(b, p): &(usize, usize)| [*p, *b].into_iter().find(|c| model.is_in(class, *c));
            let kept = [probe_placed, build_placed].into_iter().flatten();
            let kept = kept.into_iter().find(|column| model.is_in(class, *column));
            kept.or_else(|| equalities.iter().find_map(of))
        }
        Place::Anywhere | Place::Replica => None,
    };
    let apart = |set: RelationSet| set.is_subset_of(build.set) || set.is_subset_of(probe.set);
    let mut predicates: Vec<usize> = model
        .conditions
        .iter()
        .filter(|condition| condition.set.is_subset_of(plan.set) && !apart(condition.set))
        .flat_map(|condition| condition.predicates.iter().copied())
        .collect();
    predicates.sort_unstable();
    let rows = memo.entry(plan.set).map_or(1.0, |entry| entry.rows);
    let (build, probe) = (built, probed);
    let join = Join { build, probe, equalities, predicates, rows, movement };
    Ok((Tree::Join(Box::new(join)), placed))
}

impl Model {
    /// Pairs of columns by which two sets meet. Where rows already lie by a column of a class,
    /// that column stands for the class, so that the planner sees that nothing has to move.
    fn equalities(
        &self,
        build: (RelationSet, Option<usize>),
        probe: (RelationSet, Option<usize>),
    ) -> Vec<(usize, usize)> {
        for (set, turned) in [(probe.0, false), (build.0, true)] {
            if let Some(test) = self.test(set) {
                let pair = |(outer, inner): (usize, usize)| {
                    if turned { (inner, outer) } else { (outer, inner) }
                };
                return test.keys.iter().map(|key| pair(key.columns)).collect();
            }
        }
        let of = |(set, placed): (RelationSet, Option<usize>), class: usize| {
            placed.filter(|column| self.is_in(class, *column)).or_else(|| self.column(class, set))
        };
        let classes = self.keys(build.0, probe.0);
        let pair = |class: usize| of(build, class).zip(of(probe, class));
        classes.iter().filter_map(|(class, _)| pair(*class)).collect()
    }

    /// The first column of a class among relations.
    fn column(&self, class: usize, set: RelationSet) -> Option<usize> {
        let mut members = self.classes[class].members.iter();
        members.find(|member| set.contains(member.relation)).map(|member| member.column)
    }

    fn is_in(&self, class: usize, column: usize) -> bool {
        self.classes[class].members.iter().any(|member| member.column == column)
    }
}
