//! When two subplans give the same rows.
//!
//! Two are taken to be the same when they are node for node, but for the numbers in the names that
//! DataFusion's optimiser makes up. Only nodes that are compared whole have a key: whoever adds
//! one here compares all of its fields.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableScan};

use crate::provider::SegmentTable;

/// What the names start with that the optimiser makes up; a number follows.
const MADE_UP: [&str; 4] =
    ["__common_expr_", "__scalar_sq_", "__correlated_sq_", "__datafusion_extracted_"];

/// One node of a subplan, its expressions with made-up names numbered in the order in which they
/// are met.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    kind: Kind,
    exprs: Vec<Expr>,
    inputs: usize,
}

/// What a node is beside its expressions.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Kind {
    Projection,
    Filter,
    Window,
    Union,
    Distinct,
    Limit,
    Aggregate { groups: usize },
    Alias(String),
    Sort { directions: Vec<(bool, bool)>, fetch: Option<usize> },
    Join { join_type: JoinType, keys: usize, nulls: NullEquality, null_aware: bool },
    Scan { table: Scanned, name: String, projection: Option<Vec<usize>>, fetch: Option<usize> },
    Rows { one: bool },
}

/// A table at a snapshot: its segments by where they are in memory, which the plan keeps.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scanned {
    oid: u32,
    segments: (usize, usize),
    columns: usize,
}

/// The nodes of a subplan from the top down; nothing for one with a node that has no key.
pub(super) fn of(plan: &LogicalPlan) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    Names::default().add(plan, &mut nodes)?;
    Some(nodes)
}

/// What equal subplans have in common and is found quickly, given what their inputs have.
/// Nothing for a node that has no key.
pub(super) fn shape(plan: &LogicalPlan, inputs: &[u64]) -> Option<u64> {
    let kind = Names::default().kind(plan)?;
    let mut hasher = DefaultHasher::new();
    std::mem::discriminant(&kind).hash(&mut hasher);
    if let Kind::Scan { table, projection, .. } = &kind {
        (table, projection).hash(&mut hasher);
    }
    inputs.hash(&mut hasher);
    Some(hasher.finish())
}

/// The stored table that a node scans.
pub(super) fn scanned<T>(scan: &TableScan, of: impl FnOnce(&SegmentTable) -> T) -> Option<T> {
    let provider = source_as_provider(&scan.source).ok()?;
    provider.downcast_ref::<SegmentTable>().map(of)
}

/// Numbers of made-up names, by the names.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn add(&mut self, plan: &LogicalPlan, nodes: &mut Vec<Node>) -> Option<()> {
        let kind = self.kind(plan)?;
        let is_scan = matches!(plan, LogicalPlan::TableScan(_));
        let mut exprs = Vec::new();
        for expr in plan.expressions() {
            // The columns of a table have the names that users gave them.
            exprs.push(if is_scan { expr } else { self.named(expr).ok()? });
        }
        if !exprs.iter().all(is_repeatable) {
            return None;
        }
        let inputs = plan.inputs();
        nodes.push(Node { kind, exprs, inputs: inputs.len() });
        inputs.into_iter().try_for_each(|input| self.add(input, nodes))
    }

    fn kind(&mut self, plan: &LogicalPlan) -> Option<Kind> {
        Some(match plan {
            LogicalPlan::Projection(_) => Kind::Projection,
            LogicalPlan::Filter(_) => Kind::Filter,
            LogicalPlan::Window(_) => Kind::Window,
            LogicalPlan::Union(_) => Kind::Union,
            LogicalPlan::Limit(_) => Kind::Limit,
            LogicalPlan::Distinct(Distinct::All(_)) => Kind::Distinct,
            LogicalPlan::Aggregate(aggregate) => {
                Kind::Aggregate { groups: aggregate.group_expr.len() }
            }
            LogicalPlan::SubqueryAlias(alias) => {
                Kind::Alias(self.numbered(&alias.alias.to_quoted_string()))
            }
            LogicalPlan::Sort(sort) => Kind::Sort {
                directions: sort.expr.iter().map(|key| (key.asc, key.nulls_first)).collect(),
                fetch: sort.fetch,
            },
            LogicalPlan::Join(join) => Kind::Join {
                join_type: join.join_type,
                keys: join.on.len(),
                nulls: join.null_equality,
                null_aware: join.null_aware,
            },
            LogicalPlan::EmptyRelation(empty) => Kind::Rows { one: empty.produce_one_row },
            LogicalPlan::TableScan(scan) => Kind::Scan {
                table: scanned(scan, |table| Scanned {
                    oid: table.table().oid.0,
                    segments: (table.segments().as_ptr() as usize, table.segments().len()),
                    columns: table.schema().fields().len(),
                })?,
                name: scan.table_name.to_quoted_string(),
                projection: scan.projection.clone(),
                fetch: scan.fetch,
            },
            _ => return None,
        })
    }

    fn named(&mut self, expr: Expr) -> Result<Expr> {
        expr.transform(|node| {
            Ok(match node {
                Expr::Column(column) => {
                    let relation = column.relation.as_ref().map(|name| self.relation(name));
                    let name = self.numbered(&column.name);
                    Transformed::yes(Expr::Column(Column::new(relation, name)))
                }
                Expr::Alias(mut alias) => {
                    alias.relation = alias.relation.as_ref().map(|name| self.relation(name));
                    alias.name = self.numbered(&alias.name);
                    Transformed::yes(Expr::Alias(alias))
                }
                other => Transformed::no(other),
            })
        })
        .data()
    }

    fn relation(&mut self, name: &TableReference) -> TableReference {
        match name {
            TableReference::Bare { table } => TableReference::bare(self.numbered(table)),
            other => other.clone(),
        }
    }

    /// A name with the numbers of made-up names inside replaced by those of this subplan.
    fn numbered(&mut self, name: &str) -> String {
        let mut numbered = String::with_capacity(name.len());
        let mut rest = name;
        while let Some((at, prefix)) = made_up(rest) {
            let digits = rest[at + prefix.len()..].bytes().take_while(u8::is_ascii_digit).count();
            let end = at + prefix.len() + digits;
            let next = self.0.len();
            let number = *self.0.entry(rest[at..end].to_owned()).or_insert(next);
            numbered.push_str(&rest[..at]);
            numbered.push_str(&format!("{prefix}{number}"));
            rest = &rest[end..];
        }
        numbered.push_str(rest);
        numbered
    }
}

/// Where the first made-up name begins, and with what.
fn made_up(name: &str) -> Option<(usize, &'static str)> {
    MADE_UP.iter().filter_map(|prefix| Some((name.find(prefix)?, *prefix))).min()
}

/// True for a name that could be taken for a made-up one.
pub(super) fn is_made_up(name: &str) -> bool {
    made_up(name).is_some()
}

/// True for an expression that gives the same in both places.
fn is_repeatable(expr: &Expr) -> bool {
    let mut repeatable = !expr.is_volatile();
    let visited = expr.apply(|node| {
        let refused = matches!(
            node,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        );
        repeatable &= !refused;
        Ok(if refused { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    repeatable && visited.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_numbered_as_they_come() {
        let mut names = Names::default();
        let first = names.numbered("sum(__common_expr_7 + __common_expr_12)");
        assert_eq!(first, "sum(__common_expr_0 + __common_expr_1)");
        assert_eq!(names.numbered("__common_expr_12"), "__common_expr_1");
        assert_eq!(names.numbered("__scalar_sq_12.a"), "__scalar_sq_2.a");
        assert_eq!(names.numbered("plain_7"), "plain_7");
    }
}
