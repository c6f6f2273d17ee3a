//! The plan of a chosen order: joins with the built side on the left, columns dropped as soon as
//! nothing above needs them, and the names and order of columns that were there before.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, NullEquality, Result, internal_err};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, Join, JoinConstraint, JoinType, LogicalPlan, Operator, Projection,
    TableScanBuilder,
};
use joinorder::{Order, Tree};

use super::graph::Problem;

type Needed = HashSet<Column>;

pub(super) struct Rebuild<'a> {
    problem: &'a Problem,
    order: &'a Order,
}

impl<'a> Rebuild<'a> {
    pub(super) fn new(problem: &'a Problem, order: &'a Order) -> Rebuild<'a> {
        Rebuild { problem, order }
    }

    /// The whole plan, with the columns of `schema`.
    pub(super) fn plan(&self, schema: DFSchemaRef) -> Result<LogicalPlan> {
        let mut needed: Needed = schema.columns().into_iter().collect();
        let late = &self.problem.late;
        needed.extend(late.iter().flat_map(Expr::column_refs).cloned());
        let mut plan = self.tree(&self.order.tree, &needed)?;
        if let Some(last) = conjunction(self.problem.constants.iter().chain(late).cloned()) {
            plan = LogicalPlan::Filter(Filter::try_new(last, Arc::new(plan))?);
        }
        if plan.schema() == &schema {
            return Ok(plan);
        }
        // A projection that only drops or turns columns would stand twice.
        if let LogicalPlan::Projection(projection) = &plan {
            let input = Arc::clone(&projection.input);
            return Ok(LogicalPlan::Projection(Projection::new_from_schema(input, schema)));
        }
        Ok(LogicalPlan::Projection(Projection::new_from_schema(Arc::new(plan), schema)))
    }

    /// A subtree with the columns that are needed above it.
    fn tree(&self, tree: &Tree, needed: &Needed) -> Result<LogicalPlan> {
        let join = match tree {
            Tree::Relation(relation) => return self.leaf(*relation, needed),
            Tree::Join(join) => join,
        };
        for (side, other, is_left) in
            [(&join.build, &join.probe, true), (&join.probe, &join.build, false)]
        {
            if let Tree::Relation(relation) = side
                && let Some(test) = &self.problem.leaves[*relation].test
            {
                return self.test(test, *relation, other, is_left, needed);
            }
        }
        let expr = |column: &usize| self.problem.columns[*column].1.clone();
        let on: Vec<(Expr, Expr)> =
            join.equalities.iter().map(|(build, probe)| (expr(build), expr(probe))).collect();
        let predicates = join.predicates.iter().map(|at| self.problem.predicates[*at].1.clone());
        let filter = conjunction(predicates);
        let mut below = needed.clone();
        let used = on.iter().flat_map(|(build, probe)| [build, probe]).chain(filter.as_ref());
        below.extend(used.flat_map(Expr::column_refs).cloned());
        let (build, probe) = (self.tree(&join.build, &below)?, self.tree(&join.probe, &below)?);
        let joined = inner(build, probe, on, filter)?;
        pruned(joined, needed)
    }

    /// A semi-, anti- or left join with the rows that it tests or extends.
    fn test(
        &self,
        test: &Join,
        relation: usize,
        outer: &Tree,
        inner_is_built: bool,
        needed: &Needed,
    ) -> Result<LogicalPlan> {
        let mut below = needed.clone();
        let outer_keys = test.on.iter().map(|(outer, _)| outer);
        let used = outer_keys.chain(test.filter.as_ref());
        below.extend(used.flat_map(Expr::column_refs).cloned());
        let outer = Arc::new(self.tree(outer, &below)?);
        let leaf = &self.problem.leaves[relation];
        let mut inner = leaf.plan.clone();
        if leaf.extends() {
            let keys = test.on.iter().flat_map(|(_, inner)| inner.column_refs());
            inner = pruned(inner, &below.iter().chain(keys).cloned().collect())?;
        }
        let inner = Arc::new(inner);
        let (left, right, on, join_type) = if inner_is_built {
            let on = test.on.iter().cloned().map(|(outer, inner)| (inner, outer)).collect();
            (inner, outer, on, test.join_type.swap())
        } else {
            (outer, inner, test.on.clone(), test.join_type)
        };
        let joined = Join::try_new(
            left,
            right,
            on,
            test.filter.clone(),
            join_type,
            test.join_constraint,
            test.null_equality,
            false,
        )?;
        pruned(LogicalPlan::Join(joined), needed)
    }

    fn leaf(&self, relation: usize, needed: &Needed) -> Result<LogicalPlan> {
        let Some(leaf) = self.problem.leaves.get(relation) else {
            return internal_err!("an order of joins names an input that is not there");
        };
        let of = |column: usize| &self.problem.columns[column];
        let equal = |(a, b): &(usize, usize)| {
            let (left, right) = (Box::new(of(*a).1.clone()), Box::new(of(*b).1.clone()));
            Expr::BinaryExpr(BinaryExpr::new(left, Operator::Eq, right))
        };
        let here = self.order.local.iter().filter(|(a, _)| of(*a).0 == relation);
        let mut plan = leaf.plan.clone();
        if let Some(predicate) = conjunction(here.map(equal)) {
            plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
        }
        pruned(plan, needed)
    }
}

fn inner(
    build: LogicalPlan,
    probe: LogicalPlan,
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    let joined = Join::try_new(
        Arc::new(build),
        Arc::new(probe),
        on,
        filter,
        JoinType::Inner,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(LogicalPlan::Join(joined))
}

/// The plan without columns that nothing above needs.
fn pruned(plan: LogicalPlan, needed: &Needed) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let kept: Vec<usize> = (0..columns.len()).filter(|at| needed.contains(&columns[*at])).collect();
    // Rows without columns keep what they have: their number is what is asked for.
    if kept.is_empty() || kept.len() == columns.len() {
        return Ok(plan);
    }
    if let LogicalPlan::TableScan(scan) = &plan {
        let given: Vec<usize> = match &scan.projection {
            Some(projection) => projection.clone(),
            None => (0..columns.len()).collect(),
        };
        let projection = kept.iter().map(|at| given[*at]).collect();
        let narrow = TableScanBuilder::new(scan.table_name.clone(), Arc::clone(&scan.source))
            .with_projection(Some(projection))
            .with_filters(scan.filters.clone())
            .with_fetch(scan.fetch)
            .with_statistics_requests(scan.statistics_requests.clone())
            .build()?;
        return Ok(LogicalPlan::TableScan(narrow));
    }
    let exprs = kept.iter().map(|at| Expr::Column(columns[*at].clone())).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}
