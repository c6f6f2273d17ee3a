//! A subquery used as a value gives one row at most.
//!
//! Uncorrelated scalar subqueries become joins, which would repeat rows for a subquery that
//! gives several. [`SingleRow`] puts an aggregate over such a subquery that refuses the second
//! row with 21000.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, FieldRef};
use base::error;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, LogicalPlanBuilder, Signature,
    Subquery, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::error::into_datafusion;

/// The aggregate; leader and nodes register it.
pub(crate) fn function() -> Arc<AggregateUDF> {
    static FUNCTION: LazyLock<Arc<AggregateUDF>> =
        LazyLock::new(|| Arc::new(AggregateUDF::from(SingleRowFunction::new())));
    Arc::clone(&FUNCTION)
}

/// Guards uncorrelated scalar subqueries that could give several rows. DataFusion refuses the
/// correlated ones itself.
#[derive(Debug)]
pub(crate) struct SingleRow;

impl AnalyzerRule for SingleRow {
    fn name(&self) -> &str {
        "single_row"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let guarded = plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| expr.transform_up(guard))
        });
        guarded.map(|guarded| guarded.data)
    }
}

fn guard(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let plan = &subquery.subquery;
    let single = plan.max_rows().is_some_and(|rows| rows <= 1);
    if single || !subquery.outer_ref_columns.is_empty() || plan.schema().fields().len() != 1 {
        return Ok(Transformed::no(expr));
    }
    let column = plan.schema().qualified_field(0);
    let name = column.1.name().clone();
    let value = function().call(vec![Expr::from(column)]).alias(name);
    let plan = LogicalPlanBuilder::from(plan.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), [value])?
        .build()?;
    let subquery = Subquery { subquery: Arc::new(plan), ..subquery.clone() };
    Ok(Transformed::yes(Expr::ScalarSubquery(subquery)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleRowFunction {
    signature: Signature,
}

impl SingleRowFunction {
    fn new() -> SingleRowFunction {
        SingleRowFunction { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for SingleRowFunction {
    fn name(&self) -> &str {
        "blueshift_single_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let field = fields.first().map(|field| field.as_ref().clone().with_nullable(true));
        Ok(Arc::new(field.unwrap_or_else(|| Field::new("value", DataType::Null, true))))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let value = args.return_field.as_ref().clone().with_name(format!("{}[value]", args.name));
        let rows = Field::new(format!("{}[rows]", args.name), DataType::UInt64, false);
        Ok(vec![Arc::new(rows), Arc::new(value.with_nullable(true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let value = ScalarValue::try_from(args.return_field.data_type())?;
        Ok(Box::new(Single { rows: 0, value }))
    }
}

#[derive(Debug)]
struct Single {
    rows: u64,
    value: ScalarValue,
}

impl Single {
    fn add(&mut self, rows: u64) -> Result<()> {
        self.rows += rows;
        if self.rows > 1 {
            return Err(too_many());
        }
        Ok(())
    }
}

fn too_many() -> DataFusionError {
    into_datafusion(error!(
        CardinalityViolation,
        "more than one row returned by a subquery used as an expression"
    ))
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first().filter(|values| !values.is_empty()) else {
            return Ok(());
        };
        self.add(values.len() as u64)?;
        self.value = ScalarValue::try_from_array(values, 0)?;
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [rows, values] = states else {
            return Err(too_many());
        };
        let rows = rows.as_primitive::<UInt64Type>();
        for at in 0..rows.len() {
            if rows.value(at) == 0 {
                continue;
            }
            self.add(rows.value(at))?;
            self.value = ScalarValue::try_from_array(values, at)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::UInt64(Some(self.rows)), self.value.clone()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of::<Single>() + self.value.size()
    }
}
