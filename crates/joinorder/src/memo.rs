//! Plans of sets that are known so far: the cheapest for each place where rows could be.

use std::collections::HashMap;

use crate::cost::{Meeting, Movement, Side};
use crate::model::{Model, Place, Test};
use crate::set::RelationSet;

/// A way to compute a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) set: RelationSet,
    pub(crate) cost: f64,
    pub(crate) place: Place,
    pub(crate) made: Made,
}

/// How a plan comes about; plans are named by their number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Made {
    Read(usize),
    Joined { build: usize, probe: usize, movement: Movement },
}

/// What is known of a set.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) rows: f64,
    pub(crate) width: f64,
    /// The cheapest plan for each place that could matter later.
    pub(crate) plans: Vec<usize>,
}

pub(crate) struct Memo<'a> {
    pub(crate) model: &'a Model,
    pub(crate) plans: Vec<Plan>,
    entries: HashMap<RelationSet, Entry>,
}

impl<'a> Memo<'a> {
    pub(crate) fn new(model: &'a Model) -> Memo<'a> {
        let mut memo = Memo { model, plans: Vec::new(), entries: HashMap::new() };
        for (at, node) in model.relations.iter().enumerate() {
            let set = RelationSet::single(at);
            let place = memo.mattering(set, node.place);
            memo.plans.push(Plan { set, cost: 0.0, place, made: Made::Read(at) });
            let (rows, width) = (node.rows, node.width);
            memo.entries.insert(set, Entry { rows, width, plans: vec![at] });
        }
        memo
    }

    /// The sets of one relation each.
    pub(crate) fn leaves(&self) -> Vec<RelationSet> {
        (0..self.model.relations.len()).map(RelationSet::single).collect()
    }

    pub(crate) fn entry(&self, set: RelationSet) -> Option<&Entry> {
        self.entries.get(&set)
    }

    pub(crate) fn knows(&self, set: RelationSet) -> bool {
        self.entries.contains_key(&set)
    }

    /// Forgets every plan that joins.
    pub(crate) fn clear_joins(&mut self) {
        self.entries.retain(|set, _| set.len() == 1);
        self.plans.truncate(self.model.relations.len());
    }

    /// The cheapest plan of a set.
    pub(crate) fn best(&self, set: RelationSet) -> Option<usize> {
        let plans = &self.entry(set)?.plans;
        plans.iter().copied().min_by(|a, b| self.plans[*a].cost.total_cmp(&self.plans[*b].cost))
    }

    /// True when an edge goes from one set to the other.
    pub(crate) fn connects(&self, left: RelationSet, right: RelationSet) -> bool {
        self.model.edges.iter().any(|(a, b)| {
            a.is_subset_of(left) && b.is_subset_of(right)
                || a.is_subset_of(right) && b.is_subset_of(left)
        })
    }

    /// Weighs every way to join two known sets and keeps what is cheaper than before.
    pub(crate) fn join(&mut self, left: RelationSet, right: RelationSet) {
        let (Some(l), Some(r)) = (self.entries.get(&left), self.entries.get(&right)) else {
            return;
        };
        let (l, r, model) = (l.clone(), r.clone(), self.model);
        let set = left.union(right);
        let entry = self.entries.entry(set).or_insert_with(|| Entry {
            rows: model.rows(set),
            width: model.width(set),
            plans: Vec::new(),
        });
        let (rows, width) = (entry.rows, entry.width);
        for (build, probe, of) in [(left, right, (&l, &r)), (right, left, (&r, &l))] {
            let keys = self.model.keys(build, probe);
            let tests_built = self.model.is_reducer(probe);
            let meeting = Meeting { keys: &keys, rows, width, tests_built };
            for b in &of.0.plans {
                for p in &of.1.plans {
                    let meets = (&meeting, set, (*b, *p));
                    self.weigh(meets, side(of.0, &self.plans[*b]), side(of.1, &self.plans[*p]));
                }
            }
        }
    }

    fn weigh(&mut self, meets: (&Meeting<'_>, RelationSet, (usize, usize)), b: Side, p: Side) {
        let (meeting, set, (build, probe)) = meets;
        let below = self.plans[build].cost + self.plans[probe].cost;
        let model = self.model;
        model.machine.ways(b, p, meeting, |way| {
            let place = self.mattering(set, way.place);
            let made = Made::Joined { build, probe, movement: way.movement };
            self.keep(Plan { set, cost: below + way.cost, place, made });
        });
    }

    /// Keeps a plan unless one that is as good is known.
    fn keep(&mut self, plan: Plan) {
        let Some(entry) = self.entries.get_mut(&plan.set) else {
            return;
        };
        let plans = &self.plans;
        let serves = |known: Place, wanted: Place| known == wanted || wanted == Place::Anywhere;
        let as_good = |known: &Plan| known.cost <= plan.cost && serves(known.place, plan.place);
        if entry.plans.iter().any(|known| as_good(&plans[*known])) {
            return;
        }
        entry.plans.retain(|known| {
            let known = &plans[*known];
            !(plan.cost <= known.cost && serves(plan.place, known.place))
        });
        entry.plans.push(self.plans.len());
        self.plans.push(plan);
    }

    /// A place by a column that nothing outside of the set is joined with is any place.
    fn mattering(&self, set: RelationSet, place: Place) -> Place {
        match place {
            Place::Hash(class) if !self.model.reaches_beyond(class, set) => Place::Anywhere,
            place => place,
        }
    }
}

fn side(entry: &Entry, plan: &Plan) -> Side {
    Side { rows: entry.rows, width: entry.width, place: plan.place }
}

impl Model {
    /// True for the set of one reducer.
    pub(crate) fn is_reducer(&self, set: RelationSet) -> bool {
        self.test(set).is_some()
    }

    /// What the set tests when it is one reducer.
    pub(crate) fn test(&self, set: RelationSet) -> Option<&Test> {
        let node = set.lowest().filter(|_| set.len() == 1);
        node.and_then(|at| self.relations[at].reducer.as_ref())
    }

    /// The pairs of classes by which rows of the sets meet.
    pub(crate) fn keys(&self, build: RelationSet, probe: RelationSet) -> Vec<(usize, usize)> {
        if let Some(test) = self.test(probe) {
            return test.keys.iter().map(|key| key.classes).collect();
        }
        if let Some(test) = self.test(build) {
            return test.keys.iter().map(|key| (key.classes.1, key.classes.0)).collect();
        }
        let shared = |at: &usize| {
            let set = self.classes[*at].set;
            set.intersects(build) && set.intersects(probe)
        };
        let shared = (0..self.classes.len()).filter(shared);
        shared.map(|class| (class, class)).collect()
    }

    fn reaches_beyond(&self, class: usize, set: RelationSet) -> bool {
        let tested = self.relations.iter().enumerate().any(|(at, node)| {
            let test = node.reducer.as_ref().filter(|_| set.len() == 1 || !set.contains(at));
            test.is_some_and(|test| {
                test.keys.iter().any(|key| key.classes.0 == class || key.classes.1 == class)
            })
        });
        tested || !self.classes[class].set.is_subset_of(set)
    }
}
