//! `count(DISTINCT x)` beside other aggregates as two aggregations, one inside the other.
//!
//! DataFusion does so where the others are sums and extremes; a count or an average among them
//! would leave a set of values for each group. Here counts are added up and averages of
//! floating-point numbers become sums divided by counts.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, col, lit,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The value of which each is counted once, as a group of the inner aggregation.
const VALUE: &str = "distinct_value";

/// The rule.
#[derive(Debug)]
pub(crate) struct NestDistinct;

impl OptimizerRule for NestDistinct {
    fn name(&self) -> &'static str {
        "nest_distinct"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let (LogicalPlan::Aggregate(aggregate), Some(functions)) =
            (&plan, config.function_registry())
        else {
            return Ok(Transformed::no(plan));
        };
        match Nesting::of(aggregate, functions)? {
            Some(nesting) => Ok(Transformed::yes(nesting.plan(aggregate)?)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// The two aggregations and what is made of the outer one's results.
struct Nesting {
    inner: Vec<Expr>,
    outer: Vec<Expr>,
    /// By aggregate.
    results: Vec<Expr>,
    value: Expr,
    count: Arc<AggregateUDF>,
    sum: Arc<AggregateUDF>,
}

impl Nesting {
    /// `None` for aggregates of another kind.
    fn of(aggregate: &Aggregate, functions: &dyn FunctionRegistry) -> Result<Option<Nesting>> {
        let Some(value) = counted_once(aggregate) else {
            return Ok(None);
        };
        let (Ok(count), Ok(sum)) = (functions.udaf("count"), functions.udaf("sum")) else {
            return Ok(None);
        };
        let (inner, outer, results) = (Vec::new(), Vec::new(), Vec::new());
        let mut nesting = Nesting { inner, outer, results, value, count, sum };
        for expr in &aggregate.aggr_expr {
            let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
                return Ok(None);
            };
            if !nesting.add(func, params, aggregate)? {
                return Ok(None);
            }
        }
        Ok(Some(nesting))
    }

    /// Takes one of the aggregates; false for one that cannot be taken apart.
    fn add(
        &mut self,
        func: &Arc<AggregateUDF>,
        params: &AggregateFunctionParams,
        aggregate: &Aggregate,
    ) -> Result<bool> {
        let [argument] = &params.args[..] else {
            return Ok(false);
        };
        if params.distinct {
            let once = called(func, col(VALUE));
            let result = self.outer(once);
            self.results.push(result);
            return Ok(true);
        }
        let result = match func.name() {
            "count" => self.counted(argument.clone()),
            "sum" | "int_sum" => {
                let part = self.inner(called(func, argument.clone()));
                let whole = self.outer(called(&Arc::clone(&self.sum), part));
                let narrow = func.name() == "int_sum";
                if narrow { cast(whole, DataType::Int64) } else { whole }
            }
            "min" | "max" => {
                let part = self.inner(called(func, argument.clone()));
                self.outer(called(func, part))
            }
            "avg" if argument.get_type(aggregate.input.schema())? == DataType::Float64 => {
                let part = self.inner(called(&Arc::clone(&self.sum), argument.clone()));
                let whole = self.outer(called(&Arc::clone(&self.sum), part));
                whole / cast(self.counted(argument.clone()), DataType::Float64)
            }
            _ => return Ok(false),
        };
        self.results.push(result);
        Ok(true)
    }

    /// How often an argument is not NULL.
    fn counted(&mut self, argument: Expr) -> Expr {
        let part = self.inner(called(&Arc::clone(&self.count), argument));
        let whole = self.outer(called(&Arc::clone(&self.sum), part));
        let none = lit(ScalarValue::Int64(Some(0)));
        coalesce(vec![cast(whole, DataType::Int64), none])
    }

    /// A result of the inner aggregation.
    fn inner(&mut self, expr: Expr) -> Expr {
        let name = format!("part_{}", self.inner.len());
        self.inner.push(expr.alias(&name));
        col(name)
    }

    /// A result of the outer aggregation.
    fn outer(&mut self, expr: Expr) -> Expr {
        let name = format!("whole_{}", self.outer.len());
        self.outer.push(expr.alias(&name));
        col(name)
    }

    fn plan(self, aggregate: &Aggregate) -> Result<LogicalPlan> {
        let names: Vec<String> =
            (0..aggregate.group_expr.len()).map(|at| format!("group_{at}")).collect();
        let groups = aggregate.group_expr.iter().zip(&names);
        let groups = groups.map(|(expr, name)| expr.clone().alias(name));
        let groups: Vec<Expr> = groups.chain([self.value.alias(VALUE)]).collect();
        let outer_groups: Vec<Expr> = names.iter().map(col).collect();
        let results = outer_groups.clone().into_iter().chain(self.results);
        let named = results.zip(aggregate.schema.iter()).map(|(expr, (qualifier, field))| {
            expr.alias_qualified(qualifier.cloned(), field.name())
        });
        LogicalPlanBuilder::from(aggregate.input.as_ref().clone())
            .aggregate(groups, self.inner)?
            .aggregate(outer_groups, self.outer)?
            .project(named.collect::<Vec<_>>())?
            .build()
    }
}

fn called(func: &Arc<AggregateUDF>, argument: Expr) -> Expr {
    let call =
        AggregateFunction::new_udf(Arc::clone(func), vec![argument], false, None, Vec::new(), None);
    Expr::AggregateFunction(call)
}

/// The only argument of all DISTINCT aggregates, when there are others beside them.
fn counted_once(aggregate: &Aggregate) -> Option<Expr> {
    let grouping_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
    if aggregate.group_expr.iter().any(|expr| grouping_set(expr) || expr.is_volatile()) {
        return None;
    }
    let (mut value, mut others) = (None, false);
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(AggregateFunction { params, .. }) = expr else {
            return None;
        };
        let plain = params.filter.is_none()
            && params.order_by.is_empty()
            && params.null_treatment.is_none()
            && !params.args.iter().any(Expr::is_volatile);
        match (&params.args[..], params.distinct) {
            _ if !plain => return None,
            ([argument], true) if value.as_ref().is_none_or(|known| known == argument) => {
                value = Some(argument.clone());
            }
            (_, true) => return None,
            (_, false) => others = true,
        }
    }
    // Zeros of either sign are one value and make two groups.
    let value = value.filter(|_| others)?;
    let data_type = value.get_type(aggregate.input.schema()).ok()?;
    (!data_type.is_floating()).then_some(value)
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn rows(context: &SessionContext, sql: &str) -> String {
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        let text = pretty_format_batches(&batches).unwrap().to_string();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    #[tokio::test]
    async fn nested_aggregations_give_what_sets_gave() {
        let state = SessionStateBuilder::new().with_default_features();
        let nested = state.with_optimizer_rule(Arc::new(NestDistinct)).build();
        let (plain, nested) = (SessionContext::new(), SessionContext::new_with_state(nested));
        let rows_of_t = "CREATE TABLE t AS SELECT * FROM (VALUES \
                         (1, 10, 1.5, 'a'), (1, 10, NULL, 'b'), (1, NULL, 2.5, 'a'), \
                         (2, 7, 3.5, NULL), (2, 8, 4.5, 'c'), (NULL, 8, 0.0, 'c')) \
                         AS v (g, x, f, s)";
        for context in [&plain, &nested] {
            context.sql(rows_of_t).await.unwrap().collect().await.unwrap();
        }
        for sql in [
            "SELECT g, count(DISTINCT x), count(*), count(f), avg(cast(f AS double)) FROM t \
             GROUP BY g",
            "SELECT g + 1 AS h, count(*), min(s), max(x), count(DISTINCT s) FROM t GROUP BY g + 1",
            "SELECT count(*), count(DISTINCT x), min(f) FROM t",
            "SELECT count(*), count(DISTINCT x), count(s) FROM t WHERE x > 100",
            "SELECT g, count(*), count(DISTINCT x) FROM t GROUP BY g \
             HAVING count(DISTINCT x) > 1",
        ] {
            assert_eq!(rows(&nested, sql).await, rows(&plain, sql).await, "{sql}");
            let plan = nested.sql(sql).await.unwrap().into_optimized_plan().unwrap();
            let shown = plan.display_indent().to_string();
            assert!(shown.contains(VALUE), "{shown}");
        }
    }

    #[tokio::test]
    async fn others_stay_as_they_are() {
        let state = SessionStateBuilder::new().with_default_features();
        let context = state.with_optimizer_rule(Arc::new(NestDistinct)).build();
        let context = SessionContext::new_with_state(context);
        let table = "CREATE TABLE t AS VALUES (1, 2, 1e0), (3, 4, 2e0)";
        context.sql(table).await.unwrap().collect().await.unwrap();
        for sql in [
            "SELECT count(DISTINCT column1), count(DISTINCT column2), count(*) FROM t",
            "SELECT count(DISTINCT column3), count(*) FROM t",
            "SELECT count(DISTINCT column1), count(*) FILTER (WHERE column2 > 2) FROM t",
            "SELECT count(DISTINCT column1), stddev(column3) FROM t",
        ] {
            let plan = context.sql(sql).await.unwrap().into_optimized_plan().unwrap();
            let shown = plan.display_indent().to_string();
            assert!(!shown.contains(VALUE), "{shown}");
        }
    }
}
