//! The graph as the search sees it: relations in an order of its own, columns as classes of
//! equal columns, edges that say which sets may be joined.
//!
//! The order of relations comes from their labels and numbers, so that equal graphs give equal
//! answers however their input is ordered.

use crate::cost::Machine;
use crate::graph::{Graph, Placement, count, part};
use crate::set::RelationSet;

/// Where rows are, with columns named by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Anywhere,
    Hash(usize),
    Replica,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The relation's position in the caller's graph.
    pub(crate) original: usize,
    pub(crate) rows: f64,
    pub(crate) unfiltered: f64,
    pub(crate) width: f64,
    pub(crate) place: Place,
    pub(crate) reducer: Option<Test>,
}

/// What a reducer tests.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) requires: RelationSet,
    /// Pairs of the caller's columns, and the classes of each.
    pub(crate) keys: Vec<Key>,
    pub(crate) kept: f64,
    pub(crate) extends: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) columns: (usize, usize),
    pub(crate) classes: (usize, usize),
}

/// Columns that are equal in every row once their relations are joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Class {
    pub(crate) set: RelationSet,
    /// At most one a relation, in the order of relations.
    pub(crate) members: Vec<Member>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) relation: usize,
    /// The column in the caller's graph.
    pub(crate) column: usize,
    pub(crate) distinct: f64,
}

/// Predicates over the same relations.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) set: RelationSet,
    pub(crate) selectivity: f64,
    /// Positions in the caller's graph.
    pub(crate) predicates: Vec<usize>,
}

/// Two relations that share several classes.
#[derive(Clone, Debug)]
pub(crate) struct Compound {
    pub(crate) pair: (usize, usize),
    pub(crate) classes: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) machine: Machine,
    pub(crate) relations: Vec<Node>,
    pub(crate) classes: Vec<Class>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) compounds: Vec<Compound>,
    /// Sets that may be joined, where one covers each side.
    pub(crate) edges: Vec<(RelationSet, RelationSet)>,
    /// Pairs of the caller's columns of one relation that have to be equal.
    pub(crate) local: Vec<(usize, usize)>,
}

impl Model {
    pub(crate) fn new(graph: &Graph, machine: &Machine) -> Model {
        let mut order: Vec<usize> = (0..graph.relations.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (&graph.relations[*a], &graph.relations[*b]);
            let numbers = a.rows.total_cmp(&b.rows).then(a.width.total_cmp(&b.width));
            a.label.cmp(&b.label).then(numbers)
        });
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(at, original)| rank[*original] = at);
        let (class_of, classes, local) = classes(graph, &rank);
        let mut relations = nodes(graph, &order, &rank, &class_of);
        for (a, b) in &local {
            let widest = count(graph.columns[*a].distinct).max(count(graph.columns[*b].distinct));
            let node = &mut relations[rank[graph.columns[*a].relation]];
            node.rows = count(node.rows / widest);
        }
        let conditions = conditions(graph, &rank);
        let mut model = Model {
            machine: *machine,
            compounds: compounds(&classes, relations.len()),
            relations,
            classes,
            conditions,
            edges: Vec::new(),
            local,
        };
        model.edges = model.connections();
        model
    }

    /// The relations that are joined by inner joins.
    pub(crate) fn plain(&self) -> RelationSet {
        (0..self.relations.len()).filter(|at| self.relations[*at].reducer.is_none()).collect()
    }

    /// Edges from classes, binary conditions and reducers; between parts that nothing connects,
    /// an edge that lets whole parts meet.
    fn connections(&self) -> Vec<(RelationSet, RelationSet)> {
        let mut edges = Vec::new();
        let single = RelationSet::single;
        for class in &self.classes {
            for (at, left) in class.members.iter().enumerate() {
                for right in &class.members[at + 1..] {
                    edges.push((single(left.relation), single(right.relation)));
                }
            }
        }
        for condition in self.conditions.iter().filter(|condition| condition.set.len() == 2) {
            if let Some(left) = condition.set.lowest() {
                edges.push((single(left), condition.set.minus(single(left))));
            }
        }
        edges.sort_unstable();
        edges.dedup();
        let parts = parts(self.plain(), &edges);
        for (at, left) in parts.iter().enumerate() {
            edges.extend(parts[at + 1..].iter().map(|right| (*left, *right)));
        }
        for (at, node) in self.relations.iter().enumerate() {
            if let Some(test) = &node.reducer {
                edges.push((test.requires, single(at)));
            }
        }
        edges
    }
}

/// The connected parts of `relations`, by their first relations.
fn parts(relations: RelationSet, edges: &[(RelationSet, RelationSet)]) -> Vec<RelationSet> {
    let mut parts = Vec::new();
    let mut left = relations;
    while let Some(first) = left.lowest() {
        let mut part = RelationSet::single(first);
        loop {
            let grown = edges.iter().fold(part, |part, (a, b)| {
                if part.intersects(a.union(*b)) { part.union(*a).union(*b) } else { part }
            });
            if grown == part {
                break;
            }
            part = grown;
        }
        parts.push(part);
        left = left.minus(part);
    }
    parts
}

type Classes = (Vec<usize>, Vec<Class>, Vec<(usize, usize)>);

/// The class of each column, the classes, and the equalities within one relation.
fn classes(graph: &Graph, rank: &[usize]) -> Classes {
    let mut leader: Vec<usize> = (0..graph.columns.len()).collect();
    for (a, b) in &graph.equalities {
        let (from, to) = (leader[*a], leader[*b]);
        leader.iter_mut().filter(|of| **of == from).for_each(|of| *of = to);
    }
    let mut groups: Vec<Vec<Member>> = vec![Vec::new(); graph.columns.len()];
    for (at, column) in graph.columns.iter().enumerate() {
        let relation = rank[column.relation];
        let distinct = count(column.distinct);
        groups[leader[at]].push(Member { relation, column: at, distinct });
    }
    for group in &mut groups {
        group.sort_by(|a, b| {
            let relation = a.relation.cmp(&b.relation);
            relation.then(a.distinct.total_cmp(&b.distinct)).then(a.column.cmp(&b.column))
        });
    }
    groups.retain(|group| !group.is_empty());
    groups.sort_by(|a, b| {
        let key = |group: &[Member]| -> Vec<(usize, u64)> {
            group.iter().map(|member| (member.relation, member.distinct.to_bits())).collect()
        };
        key(a).cmp(&key(b)).then(a[0].column.cmp(&b[0].column))
    });
    let mut class_of = vec![0; graph.columns.len()];
    let mut local = Vec::new();
    let mut classes: Vec<Class> = Vec::with_capacity(groups.len());
    for group in groups {
        let mut class = Class::default();
        for member in group {
            class_of[member.column] = classes.len();
            match class.members.last() {
                Some(first) if first.relation == member.relation => {
                    local.push((first.column, member.column));
                }
                _ => class.members.push(member),
            }
        }
        class.set = class.members.iter().map(|member| member.relation).collect();
        classes.push(class);
    }
    (class_of, classes, local)
}

fn nodes(graph: &Graph, order: &[usize], rank: &[usize], class_of: &[usize]) -> Vec<Node> {
    let renumbered = |set: RelationSet| set.iter().map(|at| rank[at]).collect();
    let node = |original: &usize| {
        let relation = &graph.relations[*original];
        let reducer = relation.reducer.as_ref().map(|reducer| Test {
            requires: renumbered(reducer.requires),
            keys: reducer
                .keys
                .iter()
                .map(|columns| Key {
                    columns: *columns,
                    classes: (class_of[columns.0], class_of[columns.1]),
                })
                .collect(),
            kept: if reducer.extends { count(reducer.kept) } else { part(reducer.kept) },
            extends: reducer.extends,
        });
        let place = match relation.placement {
            Placement::Anywhere => Place::Anywhere,
            Placement::Hash(column) => Place::Hash(class_of[column]),
            Placement::Replica => Place::Replica,
        };
        let (rows, width) = (count(relation.rows), count(relation.width));
        let unfiltered = count(relation.unfiltered).max(rows);
        Node { original: *original, rows, unfiltered, width, place, reducer }
    };
    order.iter().map(node).collect()
}

fn conditions(graph: &Graph, rank: &[usize]) -> Vec<Condition> {
    let mut all: Vec<(RelationSet, f64, usize)> = graph
        .predicates
        .iter()
        .enumerate()
        .map(|(at, predicate)| {
            let set = predicate.relations.iter().map(|at| rank[at]).collect();
            (set, part(predicate.selectivity), at)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    all.chunk_by(|a, b| a.0 == b.0)
        .map(|group| Condition {
            set: group[0].0,
            selectivity: backed_off(group.iter().map(|(_, selectivity, _)| *selectivity)),
            predicates: group.iter().map(|(.., at)| *at).collect(),
        })
        .collect()
}

/// Several selectivities together, the strongest first: each further one counts only as the
/// square root of how the one before it counted, because conditions on the same rows are
/// seldom independent.
pub(crate) fn backed_off(selectivities: impl Iterator<Item = f64>) -> f64 {
    let (mut all, mut exponent) = (1.0, 1.0);
    for selectivity in selectivities {
        all *= f64::powf(selectivity, exponent);
        exponent /= 2.0;
    }
    all
}

/// Pairs of relations with several classes in common, those with most first.
fn compounds(classes: &[Class], relations: usize) -> Vec<Compound> {
    let mut compounds = Vec::new();
    for left in 0..relations {
        for right in left + 1..relations {
            let pair = RelationSet::single(left).union(RelationSet::single(right));
            let shared = |at: &usize| pair.is_subset_of(classes[*at].set);
            let shared: Vec<usize> = (0..classes.len()).filter(shared).collect();
            if shared.len() > 1 {
                compounds.push(Compound { pair: (left, right), classes: shared });
            }
        }
    }
    // Stable: pairs with as many stay in the order of relations.
    compounds.sort_by_key(|compound| std::cmp::Reverse(compound.classes.len()));
    compounds
}
