//! The rules that make a logical plan fit to be ordered and divided.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::AnalyzerRule;

use crate::distinct::NestDistinct;
use crate::lone_row::LoneRow;
use crate::outer::OuterJoins;
use crate::single_row::SingleRow;

/// How often the rules are gone through. What a second time finds is worth its time: rules that
/// join subqueries come after those that simplify. A third changes no plan of TPC-H or TPC-DS.
pub(crate) const PASSES: usize = 2;

/// Adds our own rules to DataFusion's.
pub(crate) fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.with_optimizer_rule(Arc::new(NestDistinct)).with_optimizer_rule(Arc::new(OuterJoins))
}

/// Coerces the types of a plan, which the binder has done for those of statements.
pub(crate) fn analysed(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    state.analyzer().execute_and_check(plan, state.config().options(), |_, _| {})
}

/// Optimizes an analysed plan.
pub(crate) fn optimized(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    let config = state.config().options();
    let plan = LoneRow.analyze(SingleRow.analyze(plan, config)?, config)?;
    state.optimizer().optimize(plan, state, |_, _| {})
}
