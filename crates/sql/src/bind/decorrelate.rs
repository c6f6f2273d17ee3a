//! Subqueries that DataFusion cannot make into joins, made into joins here.
//!
//! A subquery that stands for one value and hangs on columns of the query around it is computed
//! once for each combination of those columns that there is: joined to the distinct combinations,
//! grouped by them, and the outer query is joined to what that gives. It holds for any condition
//! between the two queries (Neumann and Kemper, "Unnesting Arbitrary Queries", 2015).

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{
    Column, JoinType, NullEquality, Result, ScalarValue, internal_datafusion_err,
};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, Subquery, lit, when,
};
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;

/// Rewrites a whole plan whose types are coerced.
pub(crate) fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut unnesting = Unnesting { subqueries: 0 };
    let plan = plan.transform_up_with_subqueries(|node| {
        let node = memberships(node)?;
        unnesting.node(node)
    })?;
    Ok(plan.data)
}

/// `x IN (query)` where it cannot become a join of its own as three counts: of rows that are
/// equal, of all rows, and of NULLs.
fn memberships(node: LogicalPlan) -> Result<LogicalPlan> {
    let kept: Vec<Expr> = match &node {
        LogicalPlan::Filter(filter) => {
            let conditions = split_conjunction(&filter.predicate);
            conditions.into_iter().filter(|one| is_join(one)).cloned().collect()
        }
        LogicalPlan::Projection(_) => Vec::new(),
        _ => return Ok(node),
    };
    let names = NamePreserver::new(&node);
    let input = Arc::clone(match &node {
        LogicalPlan::Filter(filter) => &filter.input,
        LogicalPlan::Projection(projection) => &projection.input,
        _ => return Ok(node),
    });
    let in_projection = matches!(node, LogicalPlan::Projection(_));
    let tells_null = in_projection || node.expressions().iter().any(tells_null_from_false);
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| match expr {
            Expr::InSubquery(member) if !kept.contains(&Expr::InSubquery(member.clone())) => {
                if !tells_null {
                    return Ok(Transformed::no(Expr::InSubquery(member)));
                }
                Ok(match counted(&member, &input)? {
                    Some(made) => Transformed::yes(made),
                    None => Transformed::no(Expr::InSubquery(member)),
                })
            }
            Expr::Exists(exists) if in_projection => {
                let outer = exists.subquery.outer_ref_columns.clone();
                let rows = count_of(&exists.subquery, None, &outer)?;
                let found = if exists.negated { rows.eq(lit(0i64)) } else { rows.gt(lit(0i64)) };
                Ok(Transformed::yes(found))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(if expr.transformed { expr.update_data(|expr| name.restore(expr)) } else { expr })
    })?;
    Ok(node.data)
}

/// A condition that DataFusion makes a semi-join or an anti-join.
fn is_join(condition: &Expr) -> bool {
    match condition {
        Expr::InSubquery(member) => !member.negated || member.subquery.outer_ref_columns.is_empty(),
        _ => false,
    }
}

/// False for a condition that is only ANDs and ORs of memberships and what has no subquery: there
/// NULL is as good as false.
fn tells_null_from_false(condition: &Expr) -> bool {
    match condition {
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
            tells_null_from_false(&binary.left) || tells_null_from_false(&binary.right)
        }
        Expr::InSubquery(member) => member.negated,
        other => other.exists(|one| Ok(matches!(one, Expr::InSubquery(_)))).unwrap_or(true),
    }
}

/// The number of a subquery's rows that pass a filter, as a subquery that hangs on `outer`.
fn count_of(subquery: &Subquery, filter: Option<Expr>, outer: &[Expr]) -> Result<Expr> {
    let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    let rows = match filter {
        Some(filter) => rows.filter(filter)?,
        None => rows,
    };
    let rows = rows.aggregate(Vec::<Expr>::new(), vec![count(lit(1i64))])?.build()?;
    let counted = subquery.with_plan(Arc::new(rows));
    Ok(Expr::ScalarSubquery(Subquery { outer_ref_columns: outer.to_vec(), ..counted }))
}

fn counted(member: &InSubquery, input: &LogicalPlan) -> Result<Option<Expr>> {
    let plan = member.subquery.subquery.as_ref();
    if plan.schema().fields().len() != 1 {
        return Ok(None);
    }
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let mut inner = member.subquery.outer_ref_columns.clone();
    let x = member.expr.as_ref().clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let (_, field) = Expr::Column(column.clone()).to_field(input.schema())?;
            let outer = Expr::OuterReferenceColumn(field, column);
            if !inner.contains(&outer) {
                inner.push(outer.clone());
            }
            Ok(Transformed::yes(outer))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let of = |filter, outer: &[Expr]| count_of(&member.subquery, filter, outer);
    let outer = &member.subquery.outer_ref_columns;
    let equal = of(Some(value.clone().eq(x.data)), &inner)?;
    let rows = of(None, outer)?;
    let nulls = of(Some(value.is_null()), outer)?;
    let unknown = member.expr.as_ref().clone().is_null().or(nulls.gt(lit(0i64)));
    let truth = |value: Option<bool>| Expr::Literal(ScalarValue::Boolean(value), None);
    let made = when(equal.gt(lit(0i64)), truth(Some(!member.negated)))
        .when(rows.eq(lit(0i64)), truth(Some(member.negated)))
        .when(unknown, truth(None))
        .otherwise(truth(Some(member.negated)))?;
    Ok(Some(made))
}

struct Unnesting {
    /// Subqueries so far: their columns have names of their own.
    subqueries: usize,
}

impl Unnesting {
    fn node(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let input = match &node {
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::Projection(projection) => &projection.input,
            _ => return Ok(Transformed::no(node)),
        };
        let mut wanted: Vec<Subquery> = Vec::new();
        for expr in node.expressions() {
            expr.apply(|expr| {
                if let Expr::ScalarSubquery(subquery) = expr
                    && !wanted.contains(subquery)
                    && is_ours(subquery)?
                {
                    wanted.push(subquery.clone());
                }
                Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
            })?;
        }
        if wanted.is_empty() || !is_repeatable(input)? {
            return Ok(Transformed::no(node));
        }
        let shown: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let mut joined = input.as_ref().clone();
        let mut made: Vec<(Subquery, Expr)> = Vec::new();
        for subquery in wanted {
            if let Some((plan, value)) = self.joined(joined.clone(), &subquery)? {
                joined = plan;
                made.push((subquery, value));
            }
        }
        if made.is_empty() {
            return Ok(Transformed::no(node));
        }
        let names = NamePreserver::new(&node);
        let replaced = |expr: Expr| -> Result<Expr> {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| match &expr {
                Expr::ScalarSubquery(subquery) => {
                    Ok(match made.iter().find(|(one, _)| one == subquery) {
                        Some((_, value)) => Transformed::yes(value.clone()),
                        None => Transformed::no(expr),
                    })
                }
                _ => Ok(Transformed::no(expr)),
            })?;
            Ok(name.restore(expr.data))
        };
        let exprs = node.expressions().into_iter().map(replaced).collect::<Result<Vec<_>>>()?;
        let builder = LogicalPlanBuilder::from(joined);
        let plan = match node {
            LogicalPlan::Filter(_) => {
                let predicate = conjunction(exprs).unwrap_or_else(|| lit(true));
                builder.filter(predicate)?.project(shown)?.build()?
            }
            _ => LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(builder.build()?))?),
        };
        Ok(Transformed::yes(plan))
    }

    /// The outer query joined to a subquery's values, and the column that has them.
    fn joined(
        &mut self,
        outer: LogicalPlan,
        subquery: &Subquery,
    ) -> Result<Option<(LogicalPlan, Expr)>> {
        let number = self.subqueries;
        let keys = subquery.outer_ref_columns.iter().filter_map(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
            _ => None,
        });
        let keys: Vec<Column> = keys.collect();
        if keys.iter().any(|key| !outer.schema().has_column(key)) {
            return Ok(None);
        }
        let name = |n: usize| format!("outer_{number}_{n}");
        let distinct = keys.iter().enumerate();
        let distinct = distinct.map(|(n, key)| Expr::Column(key.clone()).alias(name(n)));
        let domain = LogicalPlanBuilder::from(outer.clone());
        let domain = domain.project(distinct.collect::<Vec<_>>())?.distinct()?.build()?;
        let names: Vec<String> = (0..keys.len()).map(name).collect();
        let pushing = Pushing { domain, names, keys };
        let value = Column::from(subquery.subquery.schema().qualified_field(0));
        let Some(inner) = pushing.push(&subquery.subquery)? else { return Ok(None) };
        self.subqueries += 1;
        let result = format!("value_{number}");
        let mut columns = pushing.renamed(&inner)?;
        columns.push(Expr::Column(value).alias(&result));
        let inner = LogicalPlanBuilder::from(inner).project(columns)?.build()?;
        let plan = pushing.join(outer, inner, pushing.keys.clone())?;
        Ok(Some((plan, Expr::Column(Column::new_unqualified(result)))))
    }
}

/// True for a subquery that DataFusion leaves as it is, and that gives exactly one row, or at
/// most one, for the columns it hangs on.
fn is_ours(subquery: &Subquery) -> Result<bool> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(false);
    }
    let mut plan = subquery.subquery.as_ref();
    loop {
        plan = match plan {
            LogicalPlan::Projection(node) => &node.input,
            LogicalPlan::SubqueryAlias(node) => &node.input,
            LogicalPlan::Filter(node) => &node.input,
            LogicalPlan::Aggregate(node) if node.group_expr.is_empty() => break,
            _ => return Ok(false),
        };
    }
    let mut pull_up = PullUpCorrelatedExpr::new().with_need_handle_count_bug(true);
    let pulled = subquery.subquery.as_ref().clone().rewrite(&mut pull_up);
    Ok(pulled.is_err() || !pull_up.can_pull_up)
}

/// True for a plan that gives the same rows when it runs again.
fn is_repeatable(plan: &LogicalPlan) -> Result<bool> {
    let varies = plan.exists(|node| {
        let limited = matches!(node, LogicalPlan::Limit(_));
        Ok(limited || node.expressions().iter().any(Expr::is_volatile))
    })?;
    Ok(!varies)
}

/// One subquery on its way below the columns that it hangs on.
struct Pushing {
    /// The distinct combinations of the outer columns, under names of their own.
    domain: LogicalPlan,
    names: Vec<String>,
    /// The outer columns.
    keys: Vec<Column>,
}

impl Pushing {
    /// The plan over the domain: the rows for each combination, with its columns. `None` for a
    /// plan of which that cannot be said.
    fn push(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        if plan.all_out_ref_exprs().is_empty() {
            let crossed = LogicalPlanBuilder::from(self.domain.clone()).cross_join(plan.clone())?;
            return crossed.build().map(Some);
        }
        match plan {
            LogicalPlan::Filter(node) => {
                let Some(input) = self.push(&node.input)? else { return Ok(None) };
                let predicate = self.inner(node.predicate.clone(), &input)?;
                LogicalPlanBuilder::from(input).filter(predicate)?.build().map(Some)
            }
            LogicalPlan::Projection(node) => {
                let Some(input) = self.push(&node.input)? else { return Ok(None) };
                let mut exprs = self.columns(&input)?;
                for (n, expr) in node.expr.iter().enumerate() {
                    let (qualifier, field) = node.schema.qualified_field(n);
                    let inner = self.inner(expr.clone(), &input)?;
                    let is_same = inner == *expr;
                    exprs.push(match is_same {
                        true => inner,
                        false => inner.unalias().alias_qualified(qualifier.cloned(), field.name()),
                    });
                }
                LogicalPlanBuilder::from(input).project(exprs)?.build().map(Some)
            }
            LogicalPlan::SubqueryAlias(node) => {
                let Some(input) = self.push(&node.input)? else { return Ok(None) };
                LogicalPlanBuilder::from(input).alias(node.alias.clone())?.build().map(Some)
            }
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Join(node) => self.join_within(node),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let Some(input) = self.push(input)? else { return Ok(None) };
                LogicalPlanBuilder::from(input).distinct()?.build().map(Some)
            }
            LogicalPlan::Sort(node) if node.fetch.is_none() => self.push(&node.input),
            _ => Ok(None),
        }
    }

    fn aggregate(&self, node: &Aggregate) -> Result<Option<LogicalPlan>> {
        let Some(input) = self.push(&node.input)? else { return Ok(None) };
        if node.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Ok(None);
        }
        let mut groups = self.columns(&input)?;
        for expr in &node.group_expr {
            groups.push(self.inner(expr.clone(), &input)?);
        }
        let names = NamePreserver::new_for_projection();
        let mut aggregates = Vec::with_capacity(node.aggr_expr.len());
        for expr in &node.aggr_expr {
            let name = names.save(expr);
            aggregates.push(name.restore(self.inner(expr.clone(), &input)?));
        }
        let builder = LogicalPlanBuilder::from(input).aggregate(groups, aggregates)?;
        if !node.group_expr.is_empty() {
            return builder.build().map(Some);
        }
        // Without rows there is a row still: zero for a count, NULL for the others.
        let grouped = builder.build()?;
        let mut columns = self.renamed(&grouped)?;
        let values: Vec<Column> = node.schema.columns();
        columns.extend(values.iter().cloned().map(Expr::Column));
        let grouped = LogicalPlanBuilder::from(grouped).project(columns)?.build()?;
        let own = self.names.iter().map(Column::new_unqualified).collect();
        let joined = self.join(self.domain.clone(), grouped, own)?;
        let mut columns = self.columns(&joined)?;
        for (value, aggregate) in values.into_iter().zip(&node.aggr_expr) {
            let column = Expr::Column(value.clone());
            columns.push(match counts(aggregate) {
                true => {
                    let zero = Expr::Literal(ScalarValue::Int64(Some(0)), None);
                    coalesce(vec![column, zero]).alias_qualified(value.relation, value.name)
                }
                false => column,
            });
        }
        LogicalPlanBuilder::from(joined).project(columns)?.build().map(Some)
    }

    /// A join of which only one side hangs on outer columns; the preserved one of an outer join.
    fn join_within(&self, node: &Join) -> Result<Option<LogicalPlan>> {
        let hangs = |plan: &LogicalPlan| !plan.all_out_ref_exprs().is_empty();
        let (left, right) = (hangs(&node.left), hangs(&node.right));
        let to_left = match node.join_type {
            JoinType::Inner => !right,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti if !right => true,
            JoinType::Right if !left => false,
            _ => return Ok(None),
        };
        if left && right {
            return Ok(None);
        }
        let side = if to_left { &node.left } else { &node.right };
        let Some(pushed) = self.push(side)? else { return Ok(None) };
        let pushed = Arc::new(pushed);
        let filter = node.filter.clone().map(|filter| self.inner(filter, &pushed)).transpose()?;
        let (left, right) = match to_left {
            true => (pushed, Arc::clone(&node.right)),
            false => (Arc::clone(&node.left), pushed),
        };
        let join = Join::try_new(
            left,
            right,
            node.on.clone(),
            filter,
            node.join_type,
            node.join_constraint,
            node.null_equality,
            node.null_aware,
        )?;
        Ok(Some(LogicalPlan::Join(join)))
    }

    /// An expression of the subquery with the domain's columns in the place of the outer ones.
    fn inner(&self, expr: Expr, input: &LogicalPlan) -> Result<Expr> {
        let columns = self.columns(input)?;
        let replaced = expr.transform_up(|expr| match &expr {
            Expr::OuterReferenceColumn(_, column) => {
                let place = self.keys.iter().position(|key| key == column);
                Ok(match place.and_then(|n| columns.get(n)) {
                    Some(column) => Transformed::yes(column.clone()),
                    None => Transformed::no(expr),
                })
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        Ok(replaced.data)
    }

    /// The domain's columns in a plan.
    fn columns(&self, plan: &LogicalPlan) -> Result<Vec<Expr>> {
        let find = |name: &String| {
            let mut fields = plan.schema().iter();
            let found = fields.find(|(_, field)| field.name() == name);
            found
                .map(|found| Expr::Column(Column::from(found)))
                .ok_or_else(|| internal_datafusion_err!("column {name} of a subquery is missing"))
        };
        self.names.iter().map(find).collect()
    }

    /// The domain's columns under the names that [`Pushing::join`] knows.
    fn renamed(&self, plan: &LogicalPlan) -> Result<Vec<Expr>> {
        let columns = self.columns(plan)?.into_iter().zip(&self.names);
        Ok(columns.map(|(column, name)| column.alias(format!("{name}_inner"))).collect())
    }

    /// All rows of the left side with those of the right side for the same combination, in which
    /// NULL is a value like others.
    fn join(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        keys: Vec<Column>,
    ) -> Result<LogicalPlan> {
        let inner = self.names.iter().map(|name| Column::new_unqualified(format!("{name}_inner")));
        let inner: Vec<Column> = inner.collect();
        LogicalPlanBuilder::from(left)
            .join_detailed(
                right,
                JoinType::Left,
                (keys, inner),
                None,
                NullEquality::NullEqualsNull,
            )?
            .build()
    }
}

/// True for an aggregate that is zero of no rows.
fn counts(aggregate: &Expr) -> bool {
    match aggregate {
        Expr::Alias(alias) => counts(&alias.expr),
        Expr::AggregateFunction(call) => matches!(call.func.name(), "count" | "approx_distinct"),
        _ => false,
    }
}
