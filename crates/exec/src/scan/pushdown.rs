//! What physical optimisation pushes into a scan: column projections and filters.
//!
//! Filters known now become part of what the scan guarantees; filters that other operators
//! publish while they run are taken as hints.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, Statistics};
use datafusion::physical_expr::expressions::{Column, DynamicFilterTracking};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::{SegmentScanExec, plan_properties, statistics};

/// The scan that gives out what `projection` keeps of it, when it keeps columns as they are.
pub(super) fn projected(
    scan: &SegmentScanExec,
    projection: &ProjectionExec,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut columns = Vec::with_capacity(projection.expr().len());
    let mut places = Vec::with_capacity(projection.expr().len());
    for part in projection.expr() {
        let Some(column) = part.expr.downcast_ref::<Column>() else {
            return Ok(None);
        };
        let Some(source) = scan.projection.get(column.index()).copied() else {
            return Ok(None);
        };
        // A renamed or doubled column would not be the table's any more.
        if part.alias != scan.spec.column(source)?.name || columns.contains(&source) {
            return Ok(None);
        }
        columns.push(source);
        places.push(column.index());
    }
    let statistics = scan.statistics.as_ref().map(|all| {
        let column_statistics =
            places.iter().filter_map(|at| all.column_statistics.get(*at).cloned()).collect();
        let narrowed = Statistics { column_statistics, ..Statistics::clone(all) };
        Arc::new(statistics::with_byte_size(narrowed))
    });
    let properties = Arc::new(plan_properties(&scan.spec, scan.slices, &columns)?);
    let scan = SegmentScanExec { projection: columns, properties, statistics, ..scan.fresh() };
    Ok(Some(Arc::new(scan)))
}

/// The scan with the filters of its parents.
pub(super) fn filtered(
    scan: &SegmentScanExec,
    result: ChildPushdownResult,
) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
    let mut support = Vec::with_capacity(result.parent_filters.len());
    let (mut filters, mut dynamic) = (Vec::new(), Vec::new());
    for parent in result.parent_filters {
        let own = |expr: &Arc<dyn PhysicalExpr>| over_source(scan, expr);
        if is_volatile(&parent.filter) || scan.fetch.is_some() {
            // Below a limit a filter would change which rows are counted.
            support.push(PushedDown::No);
        } else if DynamicFilterTracking::classify(&parent.filter).contains_dynamic_filter() {
            dynamic.push(own(&parent.filter)?);
            support.push(PushedDown::No);
        } else {
            filters.push(own(&parent.filter)?);
            support.push(PushedDown::Yes);
        }
    }
    let propagation = FilterPushdownPropagation::with_parent_pushdown_result(support);
    if filters.is_empty() && dynamic.is_empty() {
        return Ok(propagation);
    }
    let mut scan = scan.fresh();
    if !filters.is_empty() {
        scan.statistics = scan
            .statistics
            .map(|statistics| Arc::new(statistics::thinned(&statistics, filters.len())));
    }
    scan.filters.extend(filters);
    scan.dynamic.extend(dynamic);
    Ok(propagation.with_updated_node(Arc::new(scan) as Arc<dyn ExecutionPlan>))
}

/// Turns columns of the output into columns of the spec.
fn over_source(
    scan: &SegmentScanExec,
    expr: &Arc<dyn PhysicalExpr>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let mapped = Arc::clone(expr).transform_down(|node| {
        let Some(column) = node.downcast_ref::<Column>() else {
            return Ok(Transformed::no(node));
        };
        let source = scan.projection.get(column.index()).copied().unwrap_or(usize::MAX);
        let name = &scan.spec.column(source)?.name;
        Ok(Transformed::yes(Arc::new(Column::new(name, source)) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(mapped.data)
}
