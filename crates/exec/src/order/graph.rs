//! The numbers of a tree of joins: what [`joinorder`] is asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, Join, JoinType, LogicalPlan, Operator,
};
use joinorder::{Graph, Placement, Predicate, Reducer, Relation, RelationSet};

use super::estimate::{self, Estimate, Estimator, Spread};
use super::gather::{Gathered, Leaf};
use super::selectivity;

/// A tree of joins with its conditions told by the inputs that they need.
pub(super) struct Problem {
    pub(super) leaves: Vec<Leaf>,
    /// Expressions over one input each, by position in the graph's columns.
    pub(super) columns: Vec<(usize, Expr)>,
    /// Pairs of positions in `columns`.
    equalities: Vec<(usize, usize)>,
    /// Conditions over several inputs.
    pub(super) predicates: Vec<(RelationSet, Expr)>,
    /// Conditions over no input.
    pub(super) constants: Vec<Expr>,
    /// Conditions over columns that outer joins add: they hold on rows of the whole.
    pub(super) late: Vec<Expr>,
    /// What semi-, anti- and outer joins compare, by their inner sides.
    tests: Vec<Option<Tested>>,
}

#[derive(Clone)]
struct Tested {
    /// The inputs of the outer side.
    requires: RelationSet,
    /// Pairs of positions in the columns: of the outer side, of the inner one.
    keys: Vec<(usize, usize)>,
}

impl Problem {
    /// Nothing when there are too many inputs, or columns that are not told apart.
    pub(super) fn new(gathered: Gathered) -> Option<Problem> {
        let Gathered { leaves, pairs, conditions, .. } = gathered;
        let count = leaves.len();
        if !(2..=joinorder::RELATIONS_MAX).contains(&count) {
            return None;
        }
        let owners = Owners::new(&leaves)?;
        let mut problem = Problem {
            leaves,
            columns: Vec::new(),
            equalities: Vec::new(),
            predicates: Vec::new(),
            constants: Vec::new(),
            late: Vec::new(),
            tests: vec![None; count],
        };
        let mut local: Vec<Vec<Expr>> = vec![Vec::new(); count];
        let equal = |(left, right): (Expr, Expr)| {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Eq, Box::new(right)))
        };
        let (late, conditions) = conditions.into_iter().partition(|one| owners.is_late(one));
        problem.late = late;
        let conditions: Vec<Expr> = conditions;
        for condition in pairs.into_iter().map(equal).chain(conditions) {
            let used = owners.of(&condition)?;
            match (used.lowest(), used.len()) {
                (None, _) => problem.constants.push(condition),
                (Some(leaf), 1) => local[leaf].push(condition),
                _ => problem.connect(&owners, used, condition)?,
            }
        }
        for at in 0..count {
            if let Some(join) = problem.leaves[at].test.clone() {
                problem.tests[at] = Some(problem.test(&owners, at, &join)?);
            }
        }
        for (leaf, conditions) in problem.leaves.iter_mut().zip(local) {
            if let Some(predicate) = conjunction(conditions) {
                let input = Arc::new(std::mem::take(&mut leaf.plan));
                leaf.plan = LogicalPlan::Filter(Filter::try_new(predicate, input).ok()?);
            }
        }
        Some(problem)
    }

    /// A condition over several inputs: an equality of columns or any other.
    fn connect(&mut self, owners: &Owners, used: RelationSet, condition: Expr) -> Option<()> {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = &condition {
            let (l, r) = (owners.of(left)?, owners.of(right)?);
            if let (Some(a), Some(b), 1, 1) = (l.lowest(), r.lowest(), l.len(), r.len())
                && a != b
            {
                let pair = (self.column(a, left), self.column(b, right));
                self.equalities.push(pair);
                return Some(());
            }
        }
        self.predicates.push((used, condition));
        Some(())
    }

    /// The position of an expression over one input.
    fn column(&mut self, leaf: usize, expr: &Expr) -> usize {
        let known = self.columns.iter().position(|(of, known)| *of == leaf && known == expr);
        // Zeros of either sign are equal and yet not the same: nothing follows from equal floats.
        let data_type = expr.get_type(self.leaves[leaf].plan.schema());
        let apart = matches!(
            data_type,
            Err(_) | Ok(DataType::Float16 | DataType::Float32 | DataType::Float64)
        );
        match known.filter(|_| !apart) {
            Some(known) => known,
            None => {
                self.columns.push((leaf, expr.clone()));
                self.columns.len() - 1
            }
        }
    }

    /// The columns of an input, each with a column of another input that has its value in every
    /// row of the whole: an equal one, or one that a semi-join compares it with. Of an input that
    /// is tested itself: columns that have the values which it is tested for.
    pub(super) fn equal_columns(&self, leaf: usize) -> Vec<(&Expr, (usize, &Expr))> {
        let mut class: Vec<usize> = (0..self.columns.len()).collect();
        let semi = self.leaves.iter().enumerate().filter_map(|(at, input)| {
            let semi = input.test.as_ref()?.join_type == JoinType::LeftSemi;
            self.tests[at].as_ref().filter(|_| semi || at == leaf)
        });
        let pairs = self.equalities.iter().chain(semi.flat_map(|tested| &tested.keys));
        for (a, b) in pairs {
            let (from, to) = (class[*a], class[*b]);
            class.iter_mut().filter(|of| **of == from).for_each(|of| *of = to);
        }
        let mut pairs = Vec::new();
        for (own, (of, expr)) in self.columns.iter().enumerate() {
            if *of != leaf {
                continue;
            }
            for (at, (other, equal)) in self.columns.iter().enumerate() {
                if *other != leaf && class[at] == class[own] {
                    pairs.push((expr, (*other, equal)));
                }
            }
        }
        pairs
    }

    /// What a semi- or anti-join needs; nothing when that cannot be told.
    fn test(&mut self, owners: &Owners, at: usize, join: &Join) -> Option<Tested> {
        let mut requires = RelationSet::EMPTY;
        let mut keys = Vec::new();
        for (outer, inner) in &join.on {
            let used = owners.of(outer)?;
            if used.len() != 1 {
                return None;
            }
            requires = requires.union(used);
            keys.push((self.column(used.lowest()?, outer), self.column(at, inner)));
        }
        if let Some(filter) = &join.filter {
            let inner = self.leaves[at].plan.schema();
            for column in filter.column_refs() {
                if inner.maybe_index_of_column(column).is_none() {
                    requires = requires.union(owners.owner(column)?);
                }
            }
        }
        (!requires.is_empty()).then_some(Tested { requires, keys })
    }

    /// The graph with the estimates of inputs and conditions.
    pub(super) fn graph(&mut self, estimator: &Estimator) -> Graph {
        let estimates: Vec<Estimate> =
            self.leaves.iter().map(|leaf| estimator.of_plan(&leaf.plan)).collect();
        let placements: Vec<Placement> =
            (0..self.leaves.len()).map(|at| self.placement(at, &estimates[at])).collect();
        let relation = |at: usize| Relation {
            label: label(&self.leaves[at].plan),
            rows: estimates[at].rows,
            unfiltered: estimates[at].unfiltered,
            width: estimates[at].width(),
            placement: placements[at],
            reducer: self.reducer(at, &estimates),
        };
        let column = |at: usize| joinorder::Column {
            relation: self.columns[at].0,
            distinct: self.domain(at, &estimates),
        };
        Graph {
            relations: (0..self.leaves.len()).map(relation).collect(),
            columns: (0..self.columns.len()).map(column).collect(),
            equalities: self.equalities.clone(),
            predicates: self
                .predicates
                .iter()
                .map(|(relations, expr)| Predicate {
                    relations: *relations,
                    selectivity: self.selectivity(*relations, expr, &estimates),
                })
                .collect(),
        }
    }

    /// The values of a column that those which it is compared with are found among.
    fn domain(&self, at: usize, estimates: &[Estimate]) -> f64 {
        let of = |at: usize| {
            let (leaf, expr) = &self.columns[at];
            estimates[*leaf].of(expr, self.leaves[*leaf].plan.schema())
        };
        let partner = |(a, b): &(usize, usize)| match at {
            _ if *a == at => Some(*b),
            _ if *b == at => Some(*a),
            _ => None,
        };
        let (own, whole) = (of(at), &estimates[self.columns[at].0]);
        let met = self.equalities.iter().filter_map(partner);
        met.map(|other| whole.met_domain(&own, &of(other)))
            .max_by(f64::total_cmp)
            .unwrap_or(own.domain)
    }

    fn placement(&mut self, at: usize, estimate: &Estimate) -> Placement {
        match estimate.spread {
            Spread::Replica => Placement::Replica,
            Spread::Anywhere => Placement::Anywhere,
            Spread::Hash(field) => {
                let (qualifier, field) = self.leaves[at].plan.schema().qualified_field(field);
                let column = Column::new(qualifier.cloned(), field.name());
                Placement::Hash(self.column(at, &Expr::Column(column)))
            }
        }
    }

    fn reducer(&self, at: usize, estimates: &[Estimate]) -> Option<Reducer> {
        let Tested { requires, keys } = self.tests[at].clone()?;
        let join = self.leaves[at].test.as_ref()?;
        let outer = requires.lowest()?;
        let of = |column: usize| {
            let (leaf, expr) = &self.columns[column];
            estimates[*leaf].of(expr, self.leaves[*leaf].plan.schema())
        };
        if join.join_type == JoinType::Left {
            let parts = keys.iter().map(|(l, r)| of(*l).domain.max(of(*r).domain).max(1.0).recip());
            let kept = (estimates[at].rows * parts.product::<f64>()).max(1.0);
            return Some(Reducer { requires, keys, kept, extends: true });
        }
        let mut kept = if keys.is_empty() { 0.5 } else { 1.0 };
        for (outer, inner) in &keys {
            kept = f64::min(kept, of(*inner).distinct / of(*outer).domain.max(1.0));
        }
        let kept = estimate::kept(kept, join.filter.is_some(), estimates[outer].rows);
        let kept = if join.join_type == JoinType::LeftAnti { 1.0 - kept } else { kept };
        Some(Reducer { requires, keys, kept, extends: false })
    }

    /// What a condition over several inputs keeps of their pairs.
    fn selectivity(&self, used: RelationSet, expr: &Expr, estimates: &[Estimate]) -> f64 {
        let mut columns = Vec::new();
        let mut schema = DFSchema::empty();
        for leaf in used.iter() {
            schema.merge(self.leaves[leaf].plan.schema());
            columns.extend(estimates[leaf].columns.iter().cloned());
        }
        if columns.len() != schema.fields().len() {
            return estimate::JOIN_FILTER;
        }
        let rows = used.iter().map(|leaf| estimates[leaf].rows).product();
        let (spread, conditions) = (Spread::Anywhere, Vec::new());
        let all = Estimate { rows, unfiltered: rows, columns, spread, conditions };
        selectivity::selectivity(expr, &all, &schema)
    }
}

/// Tells inputs with equal numbers apart.
fn label(plan: &LogicalPlan) -> String {
    let columns = plan.schema().columns();
    columns.iter().map(Column::flat_name).collect::<Vec<_>>().join(",")
}

/// Which input a column comes from.
#[derive(Default)]
struct Owners {
    by_column: HashMap<Column, usize>,
    /// The columns that outer joins add.
    added: HashSet<Column>,
    schemas: Vec<(usize, Arc<DFSchema>)>,
}

impl Owners {
    /// Nothing when two inputs have columns of one name.
    fn new(leaves: &[Leaf]) -> Option<Owners> {
        let mut owners = Owners::default();
        for (at, leaf) in leaves.iter().enumerate().filter(|(_, leaf)| leaf.test.is_none()) {
            for column in leaf.plan.schema().columns() {
                if owners.by_column.insert(column, at).is_some() {
                    return None;
                }
            }
            owners.schemas.push((at, Arc::clone(leaf.plan.schema())));
        }
        for leaf in leaves.iter().filter(|leaf| leaf.extends()) {
            for column in leaf.plan.schema().columns() {
                if owners.by_column.contains_key(&column) || !owners.added.insert(column) {
                    return None;
                }
            }
        }
        Some(owners)
    }

    /// True for a condition that needs columns of outer joins, and does not connect two inputs,
    /// which might have to be crossed without it.
    fn is_late(&self, condition: &Expr) -> bool {
        let used = condition.column_refs();
        let (added, others): (Vec<&Column>, Vec<&Column>) =
            used.into_iter().partition(|column| self.added.contains(*column));
        let owners = others.into_iter().map(|column| self.owner(column));
        let owners = owners.collect::<Option<Vec<_>>>();
        let owners = owners.map(|all| all.into_iter().fold(RelationSet::EMPTY, RelationSet::union));
        !added.is_empty() && owners.is_some_and(|of| of.len() <= 1)
    }

    /// The inputs that an expression needs; nothing for a column that none or several have.
    fn of(&self, expr: &Expr) -> Option<RelationSet> {
        let owners = expr.column_refs().into_iter().map(|column| self.owner(column));
        owners
            .collect::<Option<Vec<_>>>()
            .map(|sets| sets.into_iter().fold(RelationSet::EMPTY, RelationSet::union))
    }

    fn owner(&self, column: &Column) -> Option<RelationSet> {
        if let Some(owner) = self.by_column.get(column) {
            return Some(RelationSet::single(*owner));
        }
        let has =
            |(_, schema): &&(usize, Arc<DFSchema>)| schema.maybe_index_of_column(column).is_some();
        let mut having = self.schemas.iter().filter(has);
        match (having.next(), having.next()) {
            (Some((owner, _)), None) => Some(RelationSet::single(*owner)),
            _ => None,
        }
    }
}
