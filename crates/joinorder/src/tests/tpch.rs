//! Orders for joins of TPC-H at scale 1, with the estimates that its statistics give.

use crate::{Column, Graph, Limits, Machine, Placement, Predicate, Reducer, Relation, Tree, order};

/// A graph that is written down by names.
#[derive(Default)]
struct Named {
    graph: Graph,
    columns: Vec<String>,
}

impl Named {
    /// A relation with the distinct values of its columns; the first may be the key by which it
    /// lies on slices.
    fn relation(&mut self, label: &str, rows: f64, keyed: bool, columns: &[(&str, f64)]) {
        let relation = self.graph.relations.len();
        let first = self.graph.columns.len();
        for (name, distinct) in columns {
            self.graph.columns.push(Column { relation, distinct: *distinct });
            self.columns.push((*name).to_owned());
        }
        self.graph.relations.push(Relation {
            label: label.to_owned(),
            rows,
            unfiltered: rows,
            width: 12.0 * columns.len() as f64 + 16.0,
            placement: if keyed { Placement::Hash(first) } else { Placement::Anywhere },
            reducer: None,
        });
    }

    fn replicas(&mut self, labels: &[&str]) {
        for relation in &mut self.graph.relations {
            if labels.contains(&relation.label.as_str()) {
                relation.placement = Placement::Replica;
            }
        }
    }

    fn column(&self, name: &str) -> usize {
        self.columns.iter().position(|known| known == name).unwrap()
    }

    fn equal(&mut self, pairs: &[(&str, &str)]) {
        for (left, right) in pairs {
            let pair = (self.column(left), self.column(right));
            self.graph.equalities.push(pair);
        }
    }

    fn shown(&self, nodes: u16) -> String {
        let machine = Machine { nodes, slices: nodes * 2, memory_bytes: 1e9 };
        let order = order(&self.graph, &machine, &Limits::default()).unwrap();
        self.tree(&order.tree)
    }

    fn tree(&self, tree: &Tree) -> String {
        match tree {
            Tree::Relation(relation) => self.graph.relations[*relation].label.clone(),
            Tree::Join(join) => {
                format!("({} {})", self.tree(&join.build), self.tree(&join.probe))
            }
        }
    }
}

fn orders(named: &mut Named, rows: f64) {
    let customers = f64::min(rows, 1e5);
    named.relation("orders", rows, true, &[("o_orderkey", rows), ("o_custkey", customers)]);
}

fn lineitem(named: &mut Named) {
    let columns = [("l_orderkey", 1.5e6), ("l_partkey", 2e5), ("l_suppkey", 1e4)];
    named.relation("lineitem", 6e6, true, &columns);
}

fn customer(named: &mut Named, rows: f64) {
    named.relation("customer", rows, true, &[("c_custkey", rows), ("c_nationkey", 25.0)]);
}

fn supplier(named: &mut Named) {
    named.relation("supplier", 1e4, false, &[("s_suppkey", 1e4), ("s_nationkey", 25.0)]);
}

#[test]
fn query_3() {
    let mut named = Named::default();
    customer(&mut named, 3e4);
    orders(&mut named, 7.3e5);
    lineitem(&mut named);
    named.graph.relations[2].rows = 3.2e6;
    named.equal(&[("c_custkey", "o_custkey"), ("l_orderkey", "o_orderkey")]);
    for nodes in [1, 2, 4] {
        assert_eq!(named.shown(nodes), "((customer orders) lineitem)");
    }
}

#[test]
fn query_5() {
    let mut named = Named::default();
    customer(&mut named, 1.5e5);
    orders(&mut named, 2.3e5);
    lineitem(&mut named);
    supplier(&mut named);
    named.relation("nation", 25.0, false, &[("n_nationkey", 25.0), ("n_regionkey", 5.0)]);
    named.relation("region", 1.0, false, &[("r_regionkey", 1.0)]);
    named.replicas(&["nation", "region", "supplier"]);
    named.equal(&[
        ("c_custkey", "o_custkey"),
        ("l_orderkey", "o_orderkey"),
        ("l_suppkey", "s_suppkey"),
        ("c_nationkey", "s_nationkey"),
        ("s_nationkey", "n_nationkey"),
        ("n_regionkey", "r_regionkey"),
    ]);
    for nodes in [1, 2, 4] {
        let shown = named.shown(nodes);
        // Customers and suppliers meet only where an order brings them together.
        assert!(shown.contains("((((region nation) customer) orders) lineitem)"), "{shown}");
    }
}

#[test]
fn query_8() {
    let mut named = Named::default();
    named.relation("part", 1.3e3, true, &[("p_partkey", 1.3e3)]);
    supplier(&mut named);
    lineitem(&mut named);
    orders(&mut named, 4.5e5);
    customer(&mut named, 1.5e5);
    named.relation("n1", 25.0, false, &[("n1_nationkey", 25.0), ("n1_regionkey", 5.0)]);
    named.relation("n2", 25.0, false, &[("n2_nationkey", 25.0)]);
    named.relation("region", 1.0, false, &[("r_regionkey", 1.0)]);
    named.replicas(&["n1", "n2", "region", "supplier"]);
    named.equal(&[
        ("p_partkey", "l_partkey"),
        ("s_suppkey", "l_suppkey"),
        ("l_orderkey", "o_orderkey"),
        ("o_custkey", "c_custkey"),
        ("c_nationkey", "n1_nationkey"),
        ("n1_regionkey", "r_regionkey"),
        ("s_nationkey", "n2_nationkey"),
    ]);
    for nodes in [1, 2, 4] {
        let shown = named.shown(nodes);
        assert!(shown.contains("((part lineitem) orders)"), "{shown}");
    }
}

#[test]
fn query_9() {
    let mut named = Named::default();
    named.relation("part", 1e4, true, &[("p_partkey", 1e4)]);
    supplier(&mut named);
    lineitem(&mut named);
    named.relation("partsupp", 8e5, true, &[("ps_partkey", 2e5), ("ps_suppkey", 1e4)]);
    orders(&mut named, 1.5e6);
    named.relation("nation", 25.0, false, &[("n_nationkey", 25.0)]);
    named.replicas(&["nation", "supplier"]);
    named.equal(&[
        ("s_suppkey", "l_suppkey"),
        ("ps_suppkey", "l_suppkey"),
        ("ps_partkey", "l_partkey"),
        ("p_partkey", "l_partkey"),
        ("o_orderkey", "l_orderkey"),
        ("s_nationkey", "n_nationkey"),
    ]);
    for nodes in [1, 2, 4] {
        let shown = named.shown(nodes);
        assert!(!shown.contains("(orders lineitem)"), "{shown}");
    }
}

#[test]
fn query_18() {
    let mut named = Named::default();
    customer(&mut named, 1.5e5);
    orders(&mut named, 1.5e6);
    lineitem(&mut named);
    named.relation("many", 3e5, true, &[("m_orderkey", 3e5)]);
    named.equal(&[("c_custkey", "o_custkey"), ("l_orderkey", "o_orderkey")]);
    named.graph.relations[3].reducer = Some(Reducer {
        requires: crate::RelationSet::single(1),
        keys: vec![(named.column("o_orderkey"), named.column("m_orderkey"))],
        kept: 0.2,
        extends: false,
    });
    for nodes in [1, 2, 4] {
        let shown = named.shown(nodes);
        assert!(shown.contains("(many orders)"), "{shown}");
    }
}

#[test]
fn a_condition_of_three_waits_for_the_third() {
    let mut named = Named::default();
    for (label, column) in [("a", "a.x"), ("b", "b.x"), ("c", "c.x")] {
        named.relation(label, 1e3, false, &[(column, 1e3)]);
    }
    named.equal(&[("a.x", "b.x"), ("b.x", "c.x")]);
    let relations = [0, 1, 2].into_iter().collect();
    named.graph.predicates.push(Predicate { relations, selectivity: 0.1 });
    let order = order(&named.graph, &Machine::default(), &Limits::default()).unwrap();
    let Tree::Join(top) = order.tree else { panic!("three relations are joined") };
    assert_eq!(top.predicates, [0]);
}
