//! Values of IDENTITY columns: the next value, known only when the statement runs, plus the
//! number of the row.

use base::ids::ColumnId;
use datafusion::common::{Column as PlanColumn, ScalarValue};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlanBuilder, lit};

use super::Planned;

/// How a placeholder for the next value of an identity column is called.
const PREFIX: &str = "$identity_";

/// Adds the number of each row to a plan: the column that it is in. With `kind`, rows of each of
/// its values have numbers of their own.
pub(crate) fn numbered(
    plan: LogicalPlanBuilder,
    kind: Option<Expr>,
) -> Planned<(LogicalPlanBuilder, Expr)> {
    let number = match kind {
        Some(kind) => row_number().partition_by(vec![kind]).build()?,
        None => row_number(),
    };
    let name = number.schema_name().to_string();
    Ok((plan.window(vec![number])?, Expr::Column(PlanColumn::new_unqualified(name))))
}

/// The value of an identity column in the row of this number.
pub(crate) fn value(column: ColumnId, step: i64, number: Expr) -> Expr {
    let field = std::sync::Arc::new(base::SqlType::BigInt.field("", true));
    let next = Placeholder::new_with_field(format!("{PREFIX}{}", column.0), Some(field));
    let number = datafusion::logical_expr::cast(number, arrow_schema::DataType::Int64);
    let before = number - Expr::Literal(ScalarValue::Int64(Some(1)), None);
    Expr::Placeholder(next) + before * lit(step)
}

/// The identity column whose next value an expression stands for.
pub(crate) fn column_of(expr: &Expr) -> Option<ColumnId> {
    let Expr::Placeholder(placeholder) = expr else { return None };
    placeholder.id.strip_prefix(PREFIX)?.parse().ok().map(ColumnId)
}
