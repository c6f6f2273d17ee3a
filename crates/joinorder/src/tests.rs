//! Random graphs against every possible tree.

mod tpch;

use std::collections::HashMap;

use proptest::prelude::*;

use crate::cost::{Meeting, Side};
use crate::memo::Memo;
use crate::model::{Model, Place};
use crate::*;

#[derive(Clone, Copy, Debug)]
enum Shape {
    Chain,
    Star,
    Clique,
    Cycle,
    Random,
}

/// Draws that depend on a seed alone.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64) / f64::from(1_u32 << 31)
    }

    fn below(&mut self, count: usize) -> usize {
        ((self.next() * count as f64) as usize).min(count - 1)
    }

    /// Spread evenly over orders of magnitude.
    fn size(&mut self, most: f64) -> f64 {
        (self.next() * most.ln()).exp()
    }
}

fn pairs(shape: Shape, count: usize, draws: &mut Draws) -> Vec<(usize, usize)> {
    let chain = (1..count).map(|at| (at - 1, at));
    match shape {
        Shape::Chain => chain.collect(),
        Shape::Star => (1..count).map(|at| (0, at)).collect(),
        Shape::Cycle if count > 2 => chain.chain([(count - 1, 0)]).collect(),
        Shape::Cycle => chain.collect(),
        Shape::Clique => (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect(),
        Shape::Random => {
            let edges = draws.below(count * 2);
            let pair = |draws: &mut Draws| (draws.below(count), draws.below(count));
            (0..edges).map(|_| pair(draws)).filter(|(a, b)| a != b).collect()
        }
    }
}

fn graph(shape: Shape, count: usize, seed: u64) -> Graph {
    let mut draws = Draws(seed);
    let mut graph = Graph::default();
    for at in 0..count {
        graph.relations.push(Relation {
            label: format!("r{at}"),
            rows: draws.size(1e7),
            unfiltered: 0.0,
            width: 4.0 + draws.size(200.0),
            placement: Placement::Anywhere,
            reducer: None,
        });
    }
    for (a, b) in pairs(shape, count, &mut draws) {
        if draws.next() < 0.15 {
            let relations = [a, b].into_iter().collect();
            graph.predicates.push(Predicate { relations, selectivity: draws.size(1e4) / 1e4 });
            continue;
        }
        let column = |graph: &mut Graph, draws: &mut Draws, relation: usize| {
            let known: Vec<usize> = (0..graph.columns.len())
                .filter(|at| graph.columns[*at].relation == relation)
                .collect();
            if !known.is_empty() && draws.next() < 0.5 {
                return known[draws.below(known.len())];
            }
            let distinct = draws.size(graph.relations[relation].rows.max(2.0));
            graph.columns.push(Column { relation, distinct });
            graph.columns.len() - 1
        };
        let pair = (column(&mut graph, &mut draws, a), column(&mut graph, &mut draws, b));
        graph.equalities.push(pair);
    }
    if count > 2 && draws.next() < 0.3 {
        let relations = [0, 1, 2].into_iter().collect();
        graph.predicates.push(Predicate { relations, selectivity: 0.3 });
    }
    for at in 0..graph.columns.len() {
        let relation = &mut graph.relations[graph.columns[at].relation];
        if draws.next() < 0.4 {
            relation.placement = Placement::Hash(at);
        }
    }
    for relation in &mut graph.relations {
        if draws.next() < 0.1 {
            relation.placement = Placement::Replica;
        }
    }
    graph
}

/// Adds semi- or outer joins with one or two relations.
fn reduced(mut graph: Graph, seed: u64) -> Graph {
    let mut draws = Draws(seed ^ 0x5eed);
    let plain = graph.relations.len();
    for _ in 0..1 + draws.below(2) {
        let reducer = graph.relations.len();
        let first = draws.below(plain);
        let mut requires = RelationSet::single(first);
        if draws.next() < 0.3 {
            requires = requires.union(RelationSet::single(draws.below(plain)));
        }
        graph.columns.push(Column { relation: first, distinct: draws.size(1e5) });
        graph.columns.push(Column { relation: reducer, distinct: draws.size(1e5) });
        let keys = vec![(graph.columns.len() - 2, graph.columns.len() - 1)];
        let extends = draws.next() < 0.5;
        graph.relations.push(Relation {
            label: format!("s{reducer}"),
            rows: draws.size(1e6),
            unfiltered: 0.0,
            width: 8.0,
            placement: Placement::Hash(graph.columns.len() - 1),
            reducer: Some(Reducer { requires, keys, kept: draws.next(), extends }),
        });
    }
    graph
}

fn machine(seed: u64) -> Machine {
    let nodes = 1 + (seed % 4) as u16;
    Machine { nodes, slices: nodes * 2, memory_bytes: 1e8 }
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Chain),
        Just(Shape::Star),
        Just(Shape::Clique),
        Just(Shape::Cycle),
        Just(Shape::Random),
    ]
}

/// The least cost for each place, by trying every split of every set.
fn every_tree(
    model: &Model,
    set: RelationSet,
    known: &mut HashMap<RelationSet, Vec<(Place, f64)>>,
) -> Vec<(Place, f64)> {
    if let Some(found) = known.get(&set) {
        return found.clone();
    }
    let mut found: Vec<(Place, f64)> = Vec::new();
    if set.len() == 1 {
        found.push((model.relations[set.lowest().unwrap()].place, 0.0));
    }
    let memo = Memo::new(model);
    for build in set.subsets().filter(|subset| *subset != set) {
        let probe = set.minus(build);
        if !memo.connects(build, probe) {
            continue;
        }
        let (builds, probes) = (every_tree(model, build, known), every_tree(model, probe, known));
        let keys = model.keys(build, probe);
        let tests_built = model.is_reducer(probe);
        let (rows, width) = (model.rows(set), model.width(set));
        let meeting = Meeting { keys: &keys, rows, width, tests_built };
        let side = |set, place| Side { rows: model.rows(set), width: model.width(set), place };
        for (build_place, build_cost) in &builds {
            for (probe_place, probe_cost) in &probes {
                let sides = (side(build, *build_place), side(probe, *probe_place));
                model.machine.ways(sides.0, sides.1, &meeting, |way| {
                    let cost = way.cost + build_cost + probe_cost;
                    match found.iter_mut().find(|(place, _)| *place == way.place) {
                        Some(known) => known.1 = known.1.min(cost),
                        None => found.push((way.place, cost)),
                    }
                });
            }
        }
    }
    known.insert(set, found.clone());
    found
}

fn least_cost(graph: &Graph, machine: &Machine) -> f64 {
    let model = Model::new(graph, machine);
    let all = RelationSet::first(graph.relations.len());
    let found = every_tree(&model, all, &mut HashMap::new());
    found.iter().map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min)
}

#[derive(Default)]
struct Applied {
    equalities: Vec<(usize, usize)>,
    predicates: Vec<usize>,
    tests: Vec<usize>,
}

/// Walks a tree and checks that everything is applied where its columns are.
fn walk(graph: &Graph, tree: &Tree, applied: &mut Applied) -> RelationSet {
    let join = match tree {
        Tree::Relation(relation) => return RelationSet::single(*relation),
        Tree::Join(join) => join,
    };
    let build = walk(graph, &join.build, applied);
    let probe = walk(graph, &join.probe, applied);
    assert!(!build.intersects(probe), "a relation is joined twice");
    let of = |column: usize| graph.columns[column].relation;
    for (b, p) in &join.equalities {
        assert!(build.contains(of(*b)) && probe.contains(of(*p)));
    }
    for predicate in &join.predicates {
        assert!(graph.predicates[*predicate].relations.is_subset_of(build.union(probe)));
    }
    applied.predicates.extend(&join.predicates);
    for (side, other, turned) in [(probe, build, false), (build, probe, true)] {
        let relation = side.lowest().unwrap();
        if let Some(reducer) = &graph.relations[relation].reducer
            && side.len() == 1
        {
            assert!(reducer.requires.is_subset_of(other), "a test before its rows are there");
            let pairs =
                join.equalities.iter().map(|(a, b)| if turned { (*b, *a) } else { (*a, *b) });
            assert_eq!(pairs.collect::<Vec<_>>(), reducer.keys);
            applied.tests.push(relation);
            return build.union(probe);
        }
    }
    applied.equalities.extend(&join.equalities);
    build.union(probe)
}

/// The class of each column under pairs of equal columns.
fn partition(columns: usize, pairs: &[(usize, usize)]) -> Vec<usize> {
    let mut of: Vec<usize> = (0..columns).collect();
    for (a, b) in pairs {
        let (low, high) = (of[*a].min(of[*b]), of[*a].max(of[*b]));
        of.iter_mut().filter(|of| **of == high).for_each(|of| *of = low);
    }
    of
}

fn check(graph: &Graph, order: &Order) {
    let mut applied = Applied::default();
    let joined = walk(graph, &order.tree, &mut applied);
    assert_eq!(joined, RelationSet::first(graph.relations.len()));
    applied.predicates.sort_unstable();
    assert_eq!(applied.predicates, (0..graph.predicates.len()).collect::<Vec<_>>());
    let mut equalities = applied.equalities;
    equalities.extend(&order.local);
    let columns = graph.columns.len();
    let wanted = partition(columns, &graph.equalities);
    assert_eq!(partition(columns, &equalities), wanted);
    let classes = wanted.iter().enumerate().filter(|(at, of)| at == *of).count();
    assert_eq!(equalities.len(), columns - classes, "an equality is applied twice");
    let reducers = graph.relations.iter().filter(|relation| relation.reducer.is_some());
    assert_eq!(applied.tests.len(), reducers.count());
}

fn shown(graph: &Graph, tree: &Tree) -> String {
    match tree {
        Tree::Relation(relation) => graph.relations[*relation].label.clone(),
        Tree::Join(join) => {
            format!("({} {})", shown(graph, &join.build), shown(graph, &join.probe))
        }
    }
}

/// The same graph with its parts in another order.
fn shuffled(graph: &Graph, seed: u64) -> Graph {
    let mut draws = Draws(seed);
    let mut order = |count: usize| -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        (1..count).rev().for_each(|at| order.swap(at, draws.below(at + 1)));
        order
    };
    let (relations, columns) = (order(graph.relations.len()), order(graph.columns.len()));
    let place = |order: &[usize], at: usize| order.iter().position(|of| *of == at).unwrap();
    let set = |set: RelationSet| set.iter().map(|at| place(&relations, at)).collect();
    let pair = |(a, b): (usize, usize)| (place(&columns, a), place(&columns, b));
    let mut other = Graph::default();
    for at in &relations {
        let mut relation = graph.relations[*at].clone();
        if let Placement::Hash(column) = relation.placement {
            relation.placement = Placement::Hash(place(&columns, column));
        }
        if let Some(reducer) = &mut relation.reducer {
            reducer.requires = set(reducer.requires);
            reducer.keys.iter_mut().for_each(|key| *key = pair(*key));
        }
        other.relations.push(relation);
    }
    for at in &columns {
        let column = graph.columns[*at];
        other.columns.push(Column { relation: place(&relations, column.relation), ..column });
    }
    let equalities = order(graph.equalities.len());
    other.equalities = equalities.iter().map(|at| pair(graph.equalities[*at])).collect();
    for at in order(graph.predicates.len()) {
        let predicate = graph.predicates[at];
        other.predicates.push(Predicate { relations: set(predicate.relations), ..predicate });
    }
    other
}

fn greedy() -> Limits {
    Limits { exhaustive_relations: 1, ..Limits::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_search_finds_the_least_cost(shape in shapes(), count in 2..8_usize, seed: u64) {
        let (graph, machine) = (graph(shape, count, seed), machine(seed));
        let order = order(&graph, &machine, &Limits::default()).unwrap();
        prop_assert!(order.exact);
        let least = least_cost(&graph, &machine);
        prop_assert!((order.cost / least - 1.0).abs() < 1e-9, "{} {least}", order.cost);
        check(&graph, &order);
    }

    #[test]
    fn tests_of_rows_find_the_least_cost(shape in shapes(), count in 1..6_usize, seed: u64) {
        let (graph, machine) = (reduced(graph(shape, count, seed), seed), machine(seed));
        let order = order(&graph, &machine, &Limits::default()).unwrap();
        let least = least_cost(&graph, &machine);
        prop_assert!((order.cost / least - 1.0).abs() < 1e-9, "{} {least}", order.cost);
        check(&graph, &order);
    }

    #[test]
    fn greedy_trees_apply_everything_once(shape in shapes(), count in 1..30_usize, seed: u64) {
        let (graph, machine) = (reduced(graph(shape, count, seed), seed), machine(seed));
        let order = order(&graph, &machine, &greedy()).unwrap();
        prop_assert!(!order.exact || graph.relations.len() == 1);
        check(&graph, &order);
    }

    #[test]
    fn the_answer_does_not_depend_on_the_order_of_the_input(
        shape in shapes(), count in 2..14_usize, seed: u64, permutation: u64,
    ) {
        let (graph, machine) = (reduced(graph(shape, count, seed), seed), machine(seed));
        let other = shuffled(&graph, permutation);
        let first = order(&graph, &machine, &Limits::default()).unwrap();
        let second = order(&other, &machine, &Limits::default()).unwrap();
        prop_assert_eq!(first.cost.to_bits(), second.cost.to_bits());
        prop_assert_eq!(shown(&graph, &first.tree), shown(&other, &second.tree));
    }
}

#[test]
fn greedy_trees_are_near_the_best() {
    for shape in [Shape::Chain, Shape::Star, Shape::Clique, Shape::Cycle, Shape::Random] {
        let (mut sum, mut worst, mut count) = (0.0, 1.0_f64, 0.0);
        for seed in 0..60_u64 {
            let relations = 8 + (seed % 2) as usize;
            let (graph, machine) = (graph(shape, relations, seed * 77 + 5), machine(seed));
            let best = order(&graph, &machine, &Limits::default()).unwrap();
            assert!(best.exact);
            let found = order(&graph, &machine, &greedy()).unwrap();
            let factor = found.cost / best.cost.max(1.0);
            assert!(factor > 1.0 - 1e-9);
            (sum, worst, count) = (sum + factor.ln(), worst.max(factor), count + 1.0);
        }
        let mean = f64::exp(sum / count);
        println!("{shape:?}: geometric mean {mean:.3}, worst {worst:.2}");
        assert!(mean < 1.1, "{shape:?}: {mean}");
    }
}

#[test]
fn a_key_of_two_columns_finds_its_rows() {
    // Like lineitem and partsupp: every line has one pair of part and supplier.
    let relation = |label: &str, rows| Relation {
        label: label.to_owned(),
        rows,
        unfiltered: rows,
        width: 20.0,
        placement: Placement::Anywhere,
        reducer: None,
    };
    let column = |relation, distinct| Column { relation, distinct };
    let graph = Graph {
        relations: vec![relation("lineitem", 6e6), relation("partsupp", 8e5)],
        columns: vec![column(0, 2e5), column(0, 1e4), column(1, 2e5), column(1, 1e4)],
        equalities: vec![(0, 2), (1, 3)],
        predicates: Vec::new(),
    };
    let rows = order(&graph, &Machine::default(), &Limits::default()).unwrap().rows;
    assert!((rows / 6e6 - 1.0).abs() < 0.01, "{rows}");
}

#[test]
fn bad_graphs_are_refused() {
    let machine = Machine::default();
    assert!(order(&Graph::default(), &machine, &Limits::default()).is_err());
    let mut graph = graph(Shape::Chain, 3, 1);
    graph.equalities.push((0, 900));
    assert!(order(&graph, &machine, &Limits::default()).is_err());
    let mut graph = self::graph(Shape::Chain, 3, 1);
    graph.relations[0].rows = f64::NAN;
    graph.relations[1].rows = f64::INFINITY;
    assert!(order(&graph, &machine, &Limits::default()).unwrap().cost.is_finite());
}

#[test]
fn the_work_is_bounded() {
    for (shape, count) in [(Shape::Clique, 64), (Shape::Star, 64), (Shape::Chain, 64)] {
        let graph = graph(shape, count, 3);
        let limits = Limits { exhaustive_relations: 64, pairs: 5_000, ..Limits::default() };
        for limits in [limits, Limits::default()] {
            let started = std::time::Instant::now();
            check(&graph, &order(&graph, &machine(3), &limits).unwrap());
            println!("{shape:?} of {count}: {:?}", started.elapsed());
        }
    }
    for (shape, count) in [(Shape::Clique, 10), (Shape::Star, 10), (Shape::Chain, 10)] {
        let graph = graph(shape, count, 4);
        let started = std::time::Instant::now();
        assert!(order(&graph, &machine(3), &Limits::default()).unwrap().exact);
        println!("{shape:?} of {count}: {:?}", started.elapsed());
    }
}

#[test]
fn chance_draws_whole_trees_and_others_for_other_seeds() {
    let graph = graph(Shape::Cycle, 7, 11);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 1..=20 {
        let limits = Limits { seed: Some(seed), ..Limits::default() };
        let drawn = order(&graph, &Machine::default(), &limits).unwrap();
        assert_eq!(drawn.tree.relations(), RelationSet::first(7));
        let again = order(&graph, &Machine::default(), &limits).unwrap();
        assert_eq!(format!("{:?}", drawn.tree), format!("{:?}", again.tree));
        assert!(drawn.cost >= order(&graph, &Machine::default(), &Limits::default()).unwrap().cost);
        seen.insert(format!("{:?}", drawn.tree));
    }
    assert!(seen.len() > 10, "{}", seen.len());
}
