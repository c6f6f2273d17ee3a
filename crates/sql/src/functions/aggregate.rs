//! SUM and AVG with Redshift's types, and an error where DataFusion's own would wrap around.
//!
//! | argument | SUM | AVG |
//! |---|---|---|
//! | SMALLINT, INTEGER | BIGINT | BIGINT, cut off |
//! | BIGINT | NUMERIC(38, 0) | BIGINT, cut off |
//! | NUMERIC(p, s) | NUMERIC(38, s) | NUMERIC(38, s), cut off |
//! | others | DataFusion's | DataFusion's |
//!
//! The partial state of SUM is the sum in the type of its result. That of AVG of whole numbers is
//! the count (UInt64) and the sum (Decimal128(38, 0)); of all others it is DataFusion's.

pub(crate) mod percentile;
mod total;

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use base::error;
use datafusion::common::tree_node::TreeNode;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{AggregateFunctionParams, WindowFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
    Volatility,
};

use self::total::{Distinct, GroupTotals, Total};
use super::Planned;
use super::arithmetic::is_whole;
use crate::bind::external;

/// SUM of what is no SMALLINT or INTEGER. DataFusion sums up what a function of this name gave by
/// the same function again, so that its type has to stay then.
const SUM: &str = "sum";
/// SUM of SMALLINT and INTEGER.
const SUM_INT: &str = "int_sum";
const AVG: &str = "avg";

/// The digits of a sum.
pub(crate) const PRECISION: u8 = 38;

/// What an aggregate gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Average,
}

/// One of the aggregates.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Aggregate {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

/// The functions.
pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    let one = |name, kind| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Aggregate { name, kind, signature }))
    };
    let mut functions = vec![one(SUM, Kind::Sum), one(SUM_INT, Kind::Sum), one(AVG, Kind::Average)];
    functions.extend(percentile::functions());
    functions
}

/// The name of the function that stands for an aggregate over an argument of a type, when that
/// is another one.
pub(crate) fn special(name: &str, argument: &DataType) -> Option<&'static str> {
    let narrow = matches!(argument, DataType::Int16 | DataType::Int32);
    (name == SUM && narrow).then_some(SUM_INT)
}

/// The name of an aggregate as users know it.
fn shown(name: &str) -> &str {
    if name == SUM_INT { SUM } else { name }
}

impl Aggregate {
    /// True for arguments on which DataFusion's aggregate works as it is.
    fn is_plain(&self, argument: &DataType) -> bool {
        let decimal = matches!(argument, DataType::Decimal128(..));
        !(is_whole(argument) || decimal && self.kind == Kind::Sum)
    }

    fn plain(&self) -> Arc<AggregateUDF> {
        match self.kind {
            Kind::Sum => sum_udaf(),
            Kind::Average => avg_udaf(),
        }
    }

    fn total(&self, args: &AccumulatorArgs<'_>) -> Total {
        Total::new(self.kind == Kind::Average, args.return_type().clone())
    }
}

fn has_cast(expr: &Expr) -> bool {
    let cast = |node: &Expr| Ok(matches!(node, Expr::Cast(_) | Expr::TryCast(_)));
    expr.exists(cast).unwrap_or(true)
}

fn argument<'a>(args: &'a AccumulatorArgs<'_>) -> Planned<&'a DataType> {
    match args.expr_fields {
        [field] => Ok(field.data_type()),
        _ => datafusion::common::internal_err!("SUM and AVG take one argument"),
    }
}

impl AggregateUDFImpl for Aggregate {
    fn name(&self) -> &str {
        self.name
    }

    // In plans and labels the functions go by DataFusion's names: which one sums up INTEGER is
    // nobody's business.

    fn schema_name(&self, params: &AggregateFunctionParams) -> Planned<String> {
        // DataFusion leaves casts out of names: the sums of a column in two types would be one.
        if params.args.iter().any(has_cast) {
            return self.plain().display_name(params);
        }
        self.plain().schema_name(params)
    }

    fn human_display(&self, params: &AggregateFunctionParams) -> Planned<String> {
        self.plain().human_display(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Planned<String> {
        self.plain().display_name(params)
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Planned<String> {
        self.plain().window_function_schema_name(params)
    }

    fn window_function_display_name(&self, params: &WindowFunctionParams) -> Planned<String> {
        self.plain().window_function_display_name(params)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Planned<Vec<DataType>> {
        let refused = |shown_types: &str| {
            let name = shown(self.name);
            external(
                error!(UndefinedFunction, "function {name}({shown_types}) does not exist")
                    .hint("SUM and AVG take one number."),
            )
        };
        let [one] = types else { return Err(refused("…")) };
        Ok(vec![match one {
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(..) => {
                one.clone()
            }
            DataType::Int8 | DataType::UInt8 => DataType::Int16,
            DataType::UInt16 => DataType::Int32,
            DataType::UInt32 => DataType::Int64,
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
                DataType::Decimal128(*precision, *scale)
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Null => {
                DataType::Float64
            }
            DataType::Interval(_) if self.kind == Kind::Sum => one.clone(),
            DataType::Duration(_) => one.clone(),
            other => {
                return Err(refused(&base::SqlType::of_arrow(other).to_string()));
            }
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Planned<DataType> {
        Ok(match (self.kind, types) {
            (Kind::Sum, [DataType::Int16 | DataType::Int32]) => DataType::Int64,
            (Kind::Sum, [DataType::Int64]) => DataType::Decimal128(PRECISION, 0),
            (Kind::Average, [one]) if is_whole(one) => DataType::Int64,
            (_, [DataType::Decimal128(_, scale)]) => DataType::Decimal128(PRECISION, *scale),
            _ => return self.plain().return_type(types),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Planned<Box<dyn Accumulator>> {
        if self.is_plain(argument(&args)?) {
            return self.plain().accumulator(args);
        }
        if args.is_distinct {
            return Ok(Box::new(Distinct::new(self.total(&args))));
        }
        Ok(Box::new(self.total(&args)))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Planned<Box<dyn Accumulator>> {
        if self.is_plain(argument(&args)?) {
            return self.plain().create_sliding_accumulator(args);
        }
        self.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Planned<Vec<FieldRef>> {
        let plain = args.input_fields.iter().all(|field| self.is_plain(field.data_type()));
        if plain {
            return self.plain().state_fields(args);
        }
        let total = Total::new(self.kind == Kind::Average, args.return_type().clone());
        if args.is_distinct {
            let item = Field::new_list_field(total.sum_type().clone(), true);
            let list = Field::new_list(format_state_name(args.name, "values"), item, false);
            return Ok(vec![Arc::new(list)]);
        }
        let field = |name, data_type| Arc::new(Field::new(name, data_type, true));
        let sum = field(format_state_name(args.name, "sum"), total.sum_type().clone());
        Ok(match self.kind {
            Kind::Sum => vec![sum],
            Kind::Average => {
                vec![field(format_state_name(args.name, "count"), DataType::UInt64), sum]
            }
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        match argument(&args) {
            Ok(one) if self.is_plain(one) => self.plain().groups_accumulator_supported(args),
            _ => !args.is_distinct,
        }
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Planned<Box<dyn GroupsAccumulator>> {
        if self.is_plain(argument(&args)?) {
            return self.plain().create_groups_accumulator(args);
        }
        Ok(Box::new(GroupTotals::new(self.total(&args))))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}
