//! Window functions with IGNORE NULLS as functions of their own: plans that are sent to a node lose
//! the two words, not the name.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, SortOptions};
use base::{Result, error};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::function::{
    ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs,
};
use datafusion::logical_expr::{
    LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;

use super::Planned;

/// Ends the names of these functions.
const SUFFIX: &str = "_ignoring_nulls";
/// The functions that may be written with IGNORE NULLS, with the least and the most arguments.
const NAMES: [(&str, usize, usize); 5] = [
    ("first_value", 1, 1),
    ("lag", 1, 3),
    ("last_value", 1, 1),
    ("lead", 1, 3),
    ("nth_value", 2, 2),
];

/// Refuses a wrong number of arguments, which DataFusion's functions take for granted.
pub(crate) fn check_arguments(name: &str, given: usize) -> Result<()> {
    let known = NAMES.iter().find(|(known, ..)| *known == name);
    let Some((_, least, most)) =
        known.filter(|(_, least, most)| !(*least..=*most).contains(&given))
    else {
        return Ok(());
    };
    let wanted = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    Err(error!(UndefinedFunction, "function {name}() does not take {given} arguments")
        .hint(format!("It takes {wanted}.")))
}

/// The function that stands for one with IGNORE NULLS.
pub(crate) fn ignoring_nulls(name: &str) -> Option<String> {
    NAMES.iter().any(|(known, ..)| *known == name).then(|| format!("{name}{SUFFIX}"))
}

/// The name of a function without what says that it ignores NULL.
pub(crate) fn plain_name(name: &str) -> &str {
    name.strip_suffix(SUFFIX).unwrap_or(name)
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IgnoringNulls {
    name: String,
    plain: Arc<WindowUDF>,
}

/// The functions.
pub(super) fn functions() -> Vec<Arc<WindowUDF>> {
    let known = SessionStateDefaults::default_window_functions().into_iter();
    let functions = known.filter_map(|plain| {
        let name = ignoring_nulls(plain.name())?;
        Some(Arc::new(WindowUDF::new_from_impl(IgnoringNulls { name, plain })))
    });
    functions.collect()
}

impl WindowUDFImpl for IgnoringNulls {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn expressions(&self, args: ExpressionArgs<'_>) -> Vec<Arc<dyn PhysicalExpr>> {
        self.plain.expressions(args)
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs<'_>,
    ) -> Planned<Box<dyn PartitionEvaluator>> {
        let (exprs, fields) = (args.input_exprs(), args.input_fields());
        let args = PartitionEvaluatorArgs::new(exprs, fields, args.is_reversed(), true);
        self.plain.partition_evaluator_factory(args)
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Planned<FieldRef> {
        self.plain.field(args)
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.plain.sort_options()
    }

    fn coerce_types(&self, types: &[DataType]) -> Planned<Vec<DataType>> {
        self.plain.coerce_types(types)
    }

    // The plain function's would not ignore NULL.
    fn reverse_expr(&self) -> ReversedUDWF {
        ReversedUDWF::NotSupported
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}
