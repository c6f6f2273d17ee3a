//! Column names that both sides of a join have, made different before a plan becomes physical.
//!
//! DataFusion 55 hands filters down a physical plan by name: where a child has two columns of the
//! name, the first is taken (`FilterRemapper` asks `Schema::index_of`). A filter on `a.k` would
//! then be applied to `b.k` and drop the wrong rows. With names that differ a filter finds its own
//! column or none.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection};

/// Comes between a column's name and the number that makes it different. No name has it.
const MARK: char = '\u{1f}';

/// The plan with different names on both sides of every join, and the output as it was.
///
/// # Errors
/// When a plan cannot be put together again: a bug.
pub(crate) fn disjoint(plan: LogicalPlan) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let renamed = Names::default().plan(plan)?;
    if renamed.transformed { restored(renamed.data, &schema) } else { Ok(renamed.data) }
}

/// A line that names columns, as users know them.
pub(crate) fn plain(line: &str) -> Cow<'_, str> {
    if !line.contains(MARK) {
        return Cow::Borrowed(line);
    }
    let mut parts = line.split(MARK);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    Cow::Owned(plain)
}

/// The columns of a plan under the names and qualifiers of a schema.
fn restored(plan: LogicalPlan, schema: &DFSchema) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().zip(schema.iter());
    let named = columns.map(|(column, (qualifier, field))| match column.name() == field.name() {
        true => Expr::Column(column),
        false => Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()),
    });
    let named = named.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(named, Arc::new(plan))?))
}

/// New names of columns, by their old ones.
type Renamed = HashMap<Column, Column>;

#[derive(Default)]
struct Names {
    given: usize,
}

impl Names {
    fn plan(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if plan.inputs().is_empty() {
            return Ok(Transformed::no(plan));
        }
        let before: Vec<DFSchemaRef> =
            plan.inputs().into_iter().map(|input| Arc::clone(input.schema())).collect();
        let mut inputs = Vec::with_capacity(before.len());
        let mut changed = false;
        for input in plan.inputs() {
            let input = self.plan(input.clone())?;
            changed |= input.transformed;
            inputs.push(input.data);
        }
        if let LogicalPlan::Join(join) = &plan
            && let [left, right] = &mut inputs[..]
        {
            changed |= self.separate(left, right)?;
            if changed {
                let renamed = renamed(&before, &[left, right]);
                let (left, right) = (std::mem::take(left), std::mem::take(right));
                return joined(join, left, right, &renamed).map(Transformed::yes);
            }
        }
        if !changed {
            return Ok(Transformed::no(plan));
        }
        if !keeps_columns(&plan) {
            inputs = inputs
                .into_iter()
                .zip(&before)
                .map(|(input, schema)| restored(input, schema))
                .collect::<Result<_>>()?;
            return plan.with_new_exprs(plan.expressions(), inputs).map(Transformed::yes);
        }
        let renamed = renamed(&before, &inputs.iter().collect::<Vec<_>>());
        let exprs = plan.expressions().into_iter().map(|expr| with_names(expr, &renamed));
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        plan.with_new_exprs(exprs, inputs).map(Transformed::yes)
    }

    /// Gives the columns of the left side other names where the right side has the same; true when
    /// there were any.
    fn separate(&mut self, left: &mut LogicalPlan, right: &LogicalPlan) -> Result<bool> {
        let names: HashSet<&str> =
            right.schema().fields().iter().map(|field| field.name().as_str()).collect();
        if !left.schema().fields().iter().any(|field| names.contains(field.name().as_str())) {
            return Ok(false);
        }
        let columns = left.schema().columns().into_iter().map(|column| {
            if !names.contains(column.name()) {
                return Expr::Column(column);
            }
            self.given += 1;
            let known = plain(column.name()).into_owned();
            let relation = column.relation.clone();
            Expr::Column(column).alias_qualified(relation, format!("{known}{MARK}{}", self.given))
        });
        let columns = columns.collect();
        let input = Arc::new(std::mem::take(left));
        *left = LogicalPlan::Projection(Projection::try_new(columns, input)?);
        Ok(true)
    }
}

/// True for nodes that say all they need by expressions over their input.
fn keeps_columns(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Repartition(_)
    )
}

/// Which columns have another name than before: they are where they were.
fn renamed(before: &[DFSchemaRef], after: &[&LogicalPlan]) -> Renamed {
    let pairs = before
        .iter()
        .zip(after)
        .flat_map(|(before, after)| before.columns().into_iter().zip(after.schema().columns()));
    pairs.filter(|(before, after)| before != after).collect()
}

fn with_names(expr: Expr, renamed: &Renamed) -> Result<Expr> {
    expr.transform(|node| {
        let found = match &node {
            Expr::Column(column) => renamed.get(column),
            _ => None,
        };
        Ok(match found {
            Some(column) => Transformed::yes(Expr::Column(column.clone())),
            None => Transformed::no(node),
        })
    })
    .data()
}

fn joined(
    join: &Join,
    left: LogicalPlan,
    right: LogicalPlan,
    names: &Renamed,
) -> Result<LogicalPlan> {
    let on = join.on.iter().map(|(left, right)| {
        Ok((with_names(left.clone(), names)?, with_names(right.clone(), names)?))
    });
    let filter = join.filter.clone().map(|filter| with_names(filter, names)).transpose()?;
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on.collect::<Result<_>>()?,
        filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn optimized(sql: &str) -> LogicalPlan {
        let context = SessionContext::new();
        for (name, column) in [("a", "x"), ("b", "y"), ("c", "z")] {
            let sql =
                format!("CREATE TABLE {name} (id INT, k INT, {column} INT) AS VALUES (1, 2, 3)");
            context.sql(&sql).await.unwrap().collect().await.unwrap();
        }
        context.sql(sql).await.unwrap().into_optimized_plan().unwrap()
    }

    fn is_disjoint(plan: &LogicalPlan) -> bool {
        let inputs = plan.inputs();
        let mut names = HashSet::new();
        let fields = inputs.iter().flat_map(|input| input.schema().fields().iter());
        let different = fields.map(|field| field.name()).all(|name| names.insert(name.clone()));
        (different || !matches!(plan, LogicalPlan::Join(_))) && inputs.into_iter().all(is_disjoint)
    }

    #[tokio::test]
    async fn sides_of_joins_share_no_name() {
        for sql in [
            "SELECT a.k, b.k, c.k FROM a JOIN b ON a.id = b.id JOIN c ON b.k = c.id \
             WHERE a.k + c.k > 1",
            "SELECT * FROM a RIGHT JOIN b USING (id) LEFT JOIN c ON a.k < c.k AND b.id = c.id",
            "SELECT s.k, count(*), max(b.k) FROM a AS s JOIN a AS b ON s.k = b.k GROUP BY s.k \
             HAVING count(*) > 0 ORDER BY max(b.k) + s.k LIMIT 3",
            "SELECT * FROM a WHERE id IN (SELECT k FROM b WHERE b.id > a.k) AND NOT EXISTS \
             (SELECT 1 FROM c WHERE c.id = a.id AND c.k <> a.k)",
            "SELECT id, k FROM a UNION ALL SELECT b.id, c.k FROM b JOIN c ON b.k = c.k",
            "SELECT a.id, rank() OVER (PARTITION BY a.k ORDER BY b.k) FROM a JOIN b ON a.id = b.id",
        ] {
            let plan = optimized(sql).await;
            let renamed = disjoint(plan.clone()).unwrap();
            assert!(!is_disjoint(&plan) && is_disjoint(&renamed), "{}", renamed.display_indent());
            assert!(plan.schema().logically_equivalent_names_and_types(renamed.schema()));
            let shown = renamed.display_indent().to_string();
            assert!(shown.contains(MARK) && !plain(&shown).contains(MARK));
        }
    }

    #[tokio::test]
    async fn plans_without_such_names_stay_as_they_are() {
        let plan = optimized("SELECT x, y FROM a JOIN (SELECT y FROM b) b ON x = y").await;
        assert_eq!(disjoint(plan.clone()).unwrap(), plan);
        assert_eq!(plain("k > 3"), "k > 3");
    }
}
