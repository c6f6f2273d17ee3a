//! Which columns queries filter, join and group by: what ANALYZE … PREDICATE COLUMNS looks at.
//!
//! Owns what was seen since the leader started; the catalog keeps it with a table's statistics.

use std::collections::{BTreeMap, BTreeSet};

use base::ids::{ColumnId, Oid};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use parking_lot::Mutex;

use crate::provider::SegmentTable;

/// Columns by table.
#[derive(Debug, Default)]
pub(crate) struct PredicateColumns {
    seen: Mutex<BTreeMap<Oid, BTreeSet<ColumnId>>>,
}

impl PredicateColumns {
    /// Notes the columns that an optimised plan tests.
    pub(crate) fn note(&self, plan: &LogicalPlan) {
        let mut found = Vec::new();
        let walked = plan.apply_with_subqueries(|node| {
            tested(node, &mut found);
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(walked.is_ok(), "looking at a plan does not fail");
        if found.is_empty() {
            return;
        }
        let mut seen = self.seen.lock();
        for (table, column) in found {
            seen.entry(table).or_default().insert(column);
        }
    }

    /// The columns of a table that were seen.
    pub(crate) fn of(&self, table: Oid) -> Vec<ColumnId> {
        self.seen.lock().get(&table).into_iter().flatten().copied().collect()
    }
}

type Found = Vec<(Oid, ColumnId)>;

/// The columns of tables that one node tests.
fn tested(node: &LogicalPlan, found: &mut Found) {
    let mut add = |expr: &Expr, inputs: &[&LogicalPlan]| {
        for column in expr.column_refs() {
            found.extend(inputs.iter().find_map(|input| origin_of(input, column)));
        }
    };
    match node {
        LogicalPlan::TableScan(scan) => {
            let Ok(provider) = source_as_provider(&scan.source) else { return };
            let Some(table) = provider.downcast_ref::<SegmentTable>() else { return };
            for column in scan.filters.iter().flat_map(Expr::column_refs) {
                let named = table.table().columns.iter().find(|known| known.name == column.name);
                found.extend(named.map(|known| (table.table().oid, known.id)));
            }
        }
        LogicalPlan::Filter(filter) => add(&filter.predicate, &[&filter.input]),
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.iter().for_each(|expr| add(expr, &[&aggregate.input]));
        }
        LogicalPlan::Join(join) => {
            for (left, right) in &join.on {
                add(left, &[&join.left]);
                add(right, &[&join.right]);
            }
            let filter = join.filter.iter();
            filter.for_each(|filter| add(filter, &[&join.left, &join.right]));
        }
        _ => {}
    }
}

fn origin_of(plan: &LogicalPlan, column: &Column) -> Option<(Oid, ColumnId)> {
    origin(plan, plan.schema().maybe_index_of_column(column)?)
}

/// The column of a table that a plan hands on at a place of its output.
fn origin(plan: &LogicalPlan, at: usize) -> Option<(Oid, ColumnId)> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            let table = provider.downcast_ref::<SegmentTable>()?.table();
            let at = scan.projection.as_ref().map_or(Some(at), |given| given.get(at).copied())?;
            Some((table.oid, table.columns.get(at)?.id))
        }
        LogicalPlan::Projection(projection) => of_expr(projection.expr.get(at)?, &projection.input),
        LogicalPlan::Aggregate(aggregate) => {
            of_expr(aggregate.group_expr.get(at)?, &aggregate.input)
        }
        LogicalPlan::Join(join) => of_join(join, at),
        LogicalPlan::Filter(filter) => origin(&filter.input, at),
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, at),
        LogicalPlan::Sort(sort) => origin(&sort.input, at),
        LogicalPlan::Limit(limit) => origin(&limit.input, at),
        _ => None,
    }
}

fn of_expr(expr: &Expr, input: &LogicalPlan) -> Option<(Oid, ColumnId)> {
    match expr {
        Expr::Column(column) => origin_of(input, column),
        Expr::Alias(alias) => of_expr(&alias.expr, input),
        _ => None,
    }
}

fn of_join(join: &Join, at: usize) -> Option<(Oid, ColumnId)> {
    let left = match join.join_type {
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => 0,
        _ => join.left.schema().fields().len(),
    };
    match at.checked_sub(left) {
        None => origin(&join.left, at),
        Some(at) if at < join.right.schema().fields().len() => origin(&join.right, at),
        Some(_) => None,
    }
}
