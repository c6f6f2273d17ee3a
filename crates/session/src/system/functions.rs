//! Functions that need the catalog or the session: they run on the leader only.
//!
//! A function is a row in a table: name, result type, how many arguments, and a body over plain
//! values. Bodies that fail name the argument.

mod bodies;
mod names;
mod value;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, FieldRef};
use base::{Result, SqlType, error};
use datafusion::common::Result as DfResult;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::{Cell, SystemContext};
use value::Argument;

/// A body: one row's arguments to one value.
type Body = fn(&SystemContext, &[Argument]) -> Result<Cell>;

/// One leader function.
pub(crate) struct Declaration {
    name: &'static str,
    result: SqlType,
    /// The least and the most arguments.
    arity: (usize, usize),
    /// False for what acts or changes between rows.
    stable: bool,
    /// Called even when an argument is NULL; otherwise NULL in gives NULL out.
    takes_null: bool,
    body: Body,
}

struct LeaderFunction {
    declaration: &'static Declaration,
    signature: Signature,
    context: Arc<SystemContext>,
}

/// All leader functions over one statement's context.
pub(crate) fn all(context: &Arc<SystemContext>) -> Vec<Arc<ScalarUDF>> {
    bodies::TABLE
        .iter()
        .chain(names::TABLE)
        .map(|declaration| {
            let volatility =
                if declaration.stable { Volatility::Stable } else { Volatility::Volatile };
            Arc::new(ScalarUDF::from(LeaderFunction {
                declaration,
                signature: match declaration.arity {
                    (_, 0) => Signature::nullary(volatility),
                    _ => Signature::variadic_any(volatility),
                },
                context: Arc::clone(context),
            }))
        })
        .collect()
}

/// True for the name of a leader function.
pub(crate) fn is_leader_only(name: &str) -> bool {
    bodies::TABLE.iter().chain(names::TABLE).any(|declaration| declaration.name == name)
}

impl std::fmt::Debug for LeaderFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.declaration.name)
    }
}

impl PartialEq for LeaderFunction {
    fn eq(&self, other: &Self) -> bool {
        self.declaration.name == other.declaration.name
            && Arc::ptr_eq(&self.context, &other.context)
    }
}

impl Eq for LeaderFunction {}

impl Hash for LeaderFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.declaration.name.hash(state);
    }
}

impl LeaderFunction {
    fn check_arity(&self, given: usize) -> Result<()> {
        let (least, most) = self.declaration.arity;
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let name = self.declaration.name;
        let wanted = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        Err(error!(UndefinedFunction, "function {name} does not take {given} arguments")
            .hint(format!("It takes {wanted}.")))
    }

    fn run(&self, args: &[ColumnarValue], rows: usize) -> Result<ColumnarValue> {
        self.check_arity(args.len())?;
        let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if constant && self.declaration.stable { 1 } else { rows };
        let arrays = args
            .iter()
            .map(|arg| arg.to_array(count))
            .collect::<DfResult<Vec<ArrayRef>>>()
            .map_err(|e| sql::error_from_datafusion(e, ""))?;
        let mut cells = Vec::with_capacity(count);
        for row in 0..count {
            let arguments: Vec<Argument> =
                arrays.iter().map(|array| Argument::at(array, row)).collect();
            let null = arguments.contains(&Argument::Null);
            if null && !self.declaration.takes_null {
                cells.push(vec![Cell::Null]);
            } else {
                cells.push(vec![(self.declaration.body)(&self.context, &arguments)?]);
            }
        }
        let columns = [(self.declaration.name, self.declaration.result)];
        let batch = super::builder::batch(&columns, &cells)?;
        let column = Arc::clone(batch.column(0));
        if constant && self.declaration.stable {
            let scalar = datafusion::common::ScalarValue::try_from_array(&column, 0)
                .map_err(|e| sql::error_from_datafusion(e, ""))?;
            return Ok(ColumnarValue::Scalar(scalar));
        }
        Ok(ColumnarValue::Array(column))
    }
}

impl ScalarUDFImpl for LeaderFunction {
    fn name(&self) -> &str {
        self.declaration.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        self.check_arity(args.len()).map_err(external)?;
        Ok(self.declaration.result.arrow())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        self.check_arity(args.arg_fields.len()).map_err(external)?;
        let field: Field = self.declaration.result.field(self.declaration.name, true);
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.run(&args.args, args.number_rows).map_err(external)
    }
}

fn external(error: base::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use sql::functions::catalogue::{FUNCTIONS, Origin};

    #[test]
    fn the_table_of_functions_knows_which_are_here() {
        for function in FUNCTIONS.iter().filter(|function| function.origin == Origin::Leader) {
            assert!(super::is_leader_only(function.name), "{} is not here", function.name);
        }
    }
}
