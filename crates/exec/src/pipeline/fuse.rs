//! From an aggregation and the chain below it to programs over the columns of one input.
//!
//! Filters and projections are put into the expressions of the aggregation, as far down as the
//! closed list of `translate` reaches. What is not on the list but needs no filter before it is
//! computed by DataFusion and becomes a column of the input.

use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::aggregates::{
    AggregateExec, AggregateInputMode, AggregateOutputMode,
};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode, PhysicalExpr};
use vector::{AccumulatorKind, Expr, KeyKind, Kind, Program, TextKeys};

use super::translate::{Columns, Outcome, Typed, is_text, key_kind_of, kind_of, translate};
use crate::distribute::Plan;
use crate::scan::SegmentScanExec;

/// Keys carry a bit for each of their columns.
const KEY_COLUMNS_MAX: usize = 32;

/// From so many keys on, text among them costs more than it saves, unless a scan gives it.
const TEXT_KEY_COLUMNS: usize = 3;

/// Where a column of the input comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A column of the node below.
    Column(usize),
    /// An expression over the node below, which DataFusion computes.
    Computed(Arc<dyn PhysicalExpr>),
}

/// One column of the input.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) source: Source,
    pub(super) kind: Kind,
    /// True when bounds of its values are worth a pass over them.
    pub(super) bounded: bool,
}

/// One accumulator; arguments and filters are outputs of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accumulation {
    pub(super) kind: AccumulatorKind,
    pub(super) argument: Option<usize>,
    pub(super) filter: Option<usize>,
}

/// A column given out after the keys.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given {
    /// An accumulator's states; a count is 0 where others are NULL.
    State { accumulator: usize, zero: bool },
    /// The count of an average's state, which DataFusion takes for a value unless it is NULL.
    Averaged { count: usize },
    /// A sum divided by a count.
    Average { count: usize, sum: usize, sum_scale: Option<i8> },
}

/// A compiled pipeline, the same for all partitions.
#[derive(Debug)]
pub(super) struct Fused {
    pub(super) inputs: Vec<Input>,
    /// Nodes between the aggregation and the node that gives the input.
    pub(super) depth: usize,
    /// Gives one boolean.
    pub(super) filter: Option<Program>,
    /// Gives the keys, then arguments and filters of accumulators.
    pub(super) program: Program,
    pub(super) keys: Vec<(KeyKind, bool)>,
    /// The inputs that are the keys as they are, and nothing else.
    pub(super) bare_keys: Option<Vec<usize>>,
    pub(super) accumulations: Vec<Accumulation>,
    pub(super) given: Vec<Given>,
    /// The same as partial states, for what is spilled.
    pub(super) states: Vec<Given>,
    /// True when partial states are given out, which may be several for a group.
    pub(super) is_partial: bool,
    /// Texts that expressions name.
    pub(super) texts: Vec<String>,
}

impl Fused {
    /// In words, for EXPLAIN.
    pub(super) fn summary(&self) -> String {
        let computed =
            self.inputs.iter().filter(|input| matches!(input.source, Source::Computed(_))).count();
        let filter = if self.filter.is_some() { "filter, " } else { "" };
        let border = match computed {
            0 => String::new(),
            n => format!(", {n} expressions of DataFusion"),
        };
        format!(
            "fused pipeline of {filter}{} keys, {} accumulators over {} columns{border}",
            self.keys.len(),
            self.accumulations.len(),
            self.inputs.len()
        )
    }

    /// True when the input can be taken from encoded blocks.
    pub(super) fn takes_blocks(&self) -> bool {
        self.inputs.iter().all(|input| matches!(input.source, Source::Column(_)))
    }
}

/// The node that gives a pipeline's input.
pub(super) fn base(aggregate: &AggregateExec, depth: usize) -> Option<&Plan> {
    let mut node = aggregate.input();
    for _ in 0..depth {
        node = node.children().into_iter().next()?;
    }
    Some(node)
}

/// Compiles an aggregation.
///
/// # Errors
/// Why it is not on the closed list.
pub(super) fn fuse(aggregate: &AggregateExec) -> Outcome<Fused> {
    let groups = aggregate.group_expr();
    if groups.has_grouping_set() || !(groups.is_single() || groups.is_true_no_grouping()) {
        return Err("grouping sets".to_owned());
    }
    if groups.expr().len() > KEY_COLUMNS_MAX {
        return Err(format!("more than {KEY_COLUMNS_MAX} keys"));
    }
    if *aggregate.input_order_mode() != InputOrderMode::Linear {
        return Err("its input is in the order of its keys".to_owned());
    }
    if aggregate.limit_options().is_some() {
        return Err("it stops at a limit".to_owned());
    }
    if !aggregate.dynamic_expressions_produced().is_empty() {
        return Err("it filters its scan while it runs".to_owned());
    }
    // The whole chain first; where an expression above a filter is not on the list, the chain
    // below stays DataFusion's.
    match Compiler::new(aggregate, true).compile() {
        Ok(fused) => Ok(fused),
        Err(reason) => Compiler::new(aggregate, false).compile().map_err(|_| reason),
    }
}

/// Compiles the merging of an aggregation's states, which must be possible wherever the
/// aggregation itself was compiled.
///
/// # Errors
/// Why it is not on the closed list.
pub(super) fn fuse_merge(aggregate: &AggregateExec) -> Outcome<Fused> {
    Compiler { takes_any_text: true, ..Compiler::new(aggregate, false) }.compile()
}

/// A column of some node of the chain, over the input.
#[derive(Clone)]
struct Lowered {
    typed: Outcome<Typed>,
    /// The same for DataFusion, while no filter comes before it.
    physical: Option<Arc<dyn PhysicalExpr>>,
}

/// What a node of the chain gives out.
struct Scope {
    schema: SchemaRef,
    columns: Vec<Lowered>,
}

struct Compiler<'a> {
    aggregate: &'a AggregateExec,
    /// Whether to look below the aggregation's own input.
    chained: bool,
    /// Whether text is taken for keys where that does not pay.
    takes_any_text: bool,
    /// Columns of the input, by the numbers that expressions have for them.
    inputs: Vec<Input>,
    filters: Vec<Expr>,
    depth: usize,
    texts: Vec<String>,
    keys: TextKeys,
}

/// Columns of a scope, for `translate`.
struct InScope<'a> {
    columns: &'a [Lowered],
    texts: &'a mut Vec<String>,
    keys: &'a mut TextKeys,
}

impl Columns for InScope<'_> {
    fn column(&mut self, index: usize) -> Outcome<Typed> {
        match self.columns.get(index) {
            Some(column) => column.typed.clone(),
            None => Err(format!("column {index} does not exist")),
        }
    }

    fn text(&mut self, text: &str) -> Outcome<i64> {
        if let Some(key) = TextKeys::inline_key(text.as_bytes()) {
            return Ok(key);
        }
        self.texts.push(text.to_owned());
        self.keys.key(text.as_bytes()).map_err(|error| error.to_string())
    }
}

impl<'a> Compiler<'a> {
    fn new(aggregate: &'a AggregateExec, chained: bool) -> Compiler<'a> {
        let aggregate_mode = aggregate.mode().input_mode();
        Compiler {
            aggregate,
            chained: chained && aggregate_mode == AggregateInputMode::Raw,
            takes_any_text: false,
            inputs: Vec::new(),
            filters: Vec::new(),
            depth: 0,
            texts: Vec::new(),
            keys: TextKeys::default(),
        }
    }

    fn compile(mut self) -> Outcome<Fused> {
        let scope = match self.chained {
            true => self.lower(self.aggregate.input(), 0)?,
            false => self.base(self.aggregate.input(), 0),
        };
        let schema = self.aggregate.schema();
        let mut outputs: Vec<Expr> = Vec::new();
        let mut keys = Vec::new();
        for (place, (key, _)) in self.aggregate.group_expr().expr().iter().enumerate() {
            let typed = self.translated(key, &scope)?;
            let field = schema.field(place);
            let Some(kind) = key_kind_of(&typed.data_type) else {
                return Err(format!("keys of type {}", typed.data_type));
            };
            // Types with a word to spare may hold NULLs at no cost.
            keys.push((kind, kind == KeyKind::Small || field.is_nullable()));
            outputs.push(typed.expr);
        }
        let mut collector = Collector { outputs, accumulations: Vec::new() };
        let (mut given, mut states) = (Vec::new(), Vec::new());
        let mut state_column = keys.len();
        for (place, function) in self.aggregate.aggr_expr().iter().enumerate() {
            let filter = self.aggregate.filter_expr().get(place).and_then(Option::as_ref);
            let (result, own) = match self.aggregate.mode().input_mode() {
                AggregateInputMode::Raw => self.raw(function, filter, &scope, &mut collector)?,
                AggregateInputMode::Partial => {
                    self.partial(function, &mut state_column, &scope, &mut collector)?
                }
            };
            match self.aggregate.mode().output_mode() {
                AggregateOutputMode::Final => given.push(result),
                AggregateOutputMode::Partial => given.extend(&own),
            }
            states.extend(own);
        }
        let has_text = schema.fields()[..keys.len()].iter().any(|f| is_text(f.data_type()));
        if has_text && !self.takes_any_text {
            self.check_text(keys.len(), given.is_empty())?;
        }
        check_types(&schema, keys.len(), &given)?;
        self.finish(collector, keys, given, states)
    }

    /// Refuses keys with text among them where that does not pay.
    fn check_text(&self, keys: usize, is_distinct: bool) -> Outcome<()> {
        // Text is numbered to be grouped by, which only pays where something is computed.
        if is_distinct {
            return Err("a DISTINCT of text".to_owned());
        }
        // Blocks have dictionaries; the text of batches is hashed row by row.
        let scanned = base(self.aggregate, self.depth).is_some_and(|b| b.is::<SegmentScanExec>());
        if keys >= TEXT_KEY_COLUMNS && !scanned {
            return Err("text among many keys that do not come from a scan".to_owned());
        }
        Ok(())
    }

    fn finish(
        mut self,
        collector: Collector,
        keys: Vec<(KeyKind, bool)>,
        given: Vec<Given>,
        states: Vec<Given>,
    ) -> Outcome<Fused> {
        let Collector { mut outputs, accumulations } = collector;
        // Only inputs that some expression reads become registers.
        let mut places: Vec<Option<usize>> = vec![None; self.inputs.len()];
        let mut inputs: Vec<Input> = Vec::new();
        let all = &self.inputs;
        let mut place = |column: usize| {
            if let Some(slot) = places.get_mut(column)
                && slot.is_none()
            {
                *slot = Some(inputs.len());
                inputs.push(all[column].clone());
            }
        };
        self.filters.iter().chain(&outputs).for_each(|expr| expr.each_input(&mut place));
        let number = |column: usize| places.get(column).copied().flatten().unwrap_or(usize::MAX);
        outputs.iter_mut().for_each(|expr| renumber(expr, &number));
        self.filters.iter_mut().for_each(|expr| renumber(expr, &number));
        // Bounds serve arithmetic and sums, not keys and comparisons.
        for expr in self.filters.iter().chain(&outputs[..keys.len()]) {
            if !matches!(expr, Expr::Input(_)) {
                expr.each_input(&mut |column| inputs[column].bounded = true);
            }
        }
        for expr in &outputs[keys.len()..] {
            expr.each_input(&mut |column| inputs[column].bounded = true);
        }
        let bare_keys = bare(&self.filters, &outputs, keys.len());
        let kinds: Vec<Kind> = inputs.iter().map(|input| input.kind).collect();
        let compiled = |exprs: &[Expr]| Program::compile(&kinds, exprs).map_err(|e| e.to_string());
        let filters = std::mem::take(&mut self.filters);
        let filter = match filters.is_empty() {
            true => None,
            false => Some(compiled(&[Expr::And(filters)])?),
        };
        Ok(Fused {
            program: compiled(&outputs)?,
            filter,
            inputs,
            depth: self.depth,
            keys,
            bare_keys,
            accumulations,
            given,
            states,
            is_partial: self.aggregate.mode().output_mode() == AggregateOutputMode::Partial,
            texts: self.texts,
        })
    }

    /// The columns of a node over the input, looking through filters and projections.
    fn lower(&mut self, node: &Plan, depth: usize) -> Outcome<Scope> {
        if node.is::<CooperativeExec>() {
            return match node.children()[..] {
                [child] => self.lower(child, depth + 1),
                _ => Err("a node without input".to_owned()),
            };
        }
        if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            let below = self.lower(projection.input(), depth + 1)?;
            let columns =
                projection.expr().iter().map(|projected| self.column(&projected.expr, &below));
            let columns = columns.collect();
            return Ok(Scope { schema: projection.schema(), columns });
        }
        if let Some(filter) = node.downcast_ref::<FilterExec>()
            && filter.fetch().is_none()
        {
            let mut below = self.lower(filter.input(), depth + 1)?;
            let mut in_scope =
                InScope { columns: &below.columns, texts: &mut self.texts, keys: &mut self.keys };
            if let Ok(predicate) = translate(filter.predicate(), &below.schema, &mut in_scope) {
                self.filters.push(predicate.expr);
                // Whatever comes above is computed for the rows that remain.
                below.columns.iter_mut().for_each(|column| column.physical = None);
                if let Some(projection) = filter.projection() {
                    let kept = projection.iter().map(|at| below.columns.get(*at).cloned());
                    below.columns = kept.collect::<Option<_>>().ok_or("a filter's projection")?;
                }
                return Ok(Scope { schema: filter.schema(), columns: below.columns });
            }
            // The filter stays DataFusion's and gives the input.
            self.inputs.clear();
            self.filters.clear();
        }
        Ok(self.base(node, depth))
    }

    /// The columns of the node that gives the input.
    fn base(&mut self, node: &Plan, depth: usize) -> Scope {
        self.depth = depth;
        let schema = node.schema();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let data_type = field.data_type().clone();
            let kind = kind_of(&data_type);
            let typed = match kind {
                Some(_) => Ok(Typed { expr: Expr::Input(self.inputs.len()), data_type }),
                None => Err(format!("type {data_type}")),
            };
            if let Some(kind) = kind {
                self.inputs.push(Input { source: Source::Column(index), kind, bounded: false });
            }
            let physical = Arc::new(Column::new(field.name(), index)) as Arc<dyn PhysicalExpr>;
            columns.push(Lowered { typed, physical: Some(physical) });
        }
        Scope { schema, columns }
    }

    fn column(&mut self, expr: &Arc<dyn PhysicalExpr>, below: &Scope) -> Lowered {
        let physical = composed(expr, &below.columns);
        let typed = self.translated(expr, below);
        Lowered { typed, physical }
    }

    /// An expression over a scope: by the closed list, else as a column that DataFusion computes.
    fn translated(&mut self, expr: &Arc<dyn PhysicalExpr>, scope: &Scope) -> Outcome<Typed> {
        let mut in_scope =
            InScope { columns: &scope.columns, texts: &mut self.texts, keys: &mut self.keys };
        let reason = match translate(expr, &scope.schema, &mut in_scope) {
            Ok(typed) => return Ok(typed),
            Err(reason) => reason,
        };
        let Some(physical) = composed(expr, &scope.columns) else {
            return Err(reason);
        };
        let Ok(data_type) = expr.data_type(&scope.schema) else {
            return Err(reason);
        };
        let Some(kind) = kind_of(&data_type) else {
            return Err(reason);
        };
        let input = Input { source: Source::Computed(physical), kind, bounded: false };
        self.inputs.push(input);
        Ok(Typed { expr: Expr::Input(self.inputs.len() - 1), data_type })
    }

    /// The accumulators of an aggregate over rows: its result and its partial states.
    fn raw(
        &mut self,
        function: &AggregateFunctionExpr,
        filter: Option<&Arc<dyn PhysicalExpr>>,
        scope: &Scope,
        collector: &mut Collector,
    ) -> Outcome<(Given, Vec<Given>)> {
        let name = function.fun().name();
        if function.is_distinct() || !function.order_bys().is_empty() || function.ignore_nulls() {
            return Err(format!("{} is DISTINCT or ordered", function.name()));
        }
        let arguments = function.expressions();
        let [argument] = arguments.as_slice() else {
            return Err(format!("{name} of several arguments"));
        };
        let filter = match filter {
            Some(filter) => Some(self.translated(filter, scope)?.expr),
            None => None,
        };
        let nullable = argument.nullable(&scope.schema).unwrap_or(true);
        if name == "count" && !nullable {
            let accumulator = collector.add(AccumulatorKind::Count, None, filter);
            let own = Given::State { accumulator, zero: true };
            return Ok((own, vec![own]));
        }
        if argument.is::<Literal>() {
            return Err(format!("{name} of a constant"));
        }
        let value = self.translated(argument, scope)?;
        let counted = nullable.then(|| value.expr.clone());
        Ok(match name {
            "count" => {
                let accumulator = collector.add(AccumulatorKind::Count, counted, filter);
                let own = Given::State { accumulator, zero: true };
                (own, vec![own])
            }
            "sum" | "int_sum" => {
                let sum = summed(&value.data_type, function)?;
                let accumulator = collector.add(sum, Some(value.expr), filter);
                let own = Given::State { accumulator, zero: false };
                (own, vec![own])
            }
            "min" | "max" => {
                let extreme = extreme(name, &value.data_type)?;
                let accumulator = collector.add(extreme, Some(value.expr), filter);
                let own = Given::State { accumulator, zero: false };
                (own, vec![own])
            }
            "avg" => {
                let (kind, sum_scale) = averaged(&value.data_type)?;
                let count = collector.add(AccumulatorKind::Count, counted, filter.clone());
                let sum = collector.add(kind, Some(value.expr), filter);
                let states =
                    vec![Given::Averaged { count }, Given::State { accumulator: sum, zero: false }];
                (Given::Average { count, sum, sum_scale }, states)
            }
            _ => return Err(format!("aggregate function {name}")),
        })
    }

    /// The accumulators that merge an aggregate's partial states.
    fn partial(
        &mut self,
        function: &AggregateFunctionExpr,
        column: &mut usize,
        scope: &Scope,
        collector: &mut Collector,
    ) -> Outcome<(Given, Vec<Given>)> {
        let name = function.fun().name();
        if function.is_distinct() || !function.order_bys().is_empty() {
            return Err(format!("{} is DISTINCT or ordered", function.name()));
        }
        let mut state = || {
            let lowered = scope.columns.get(*column).ok_or("a state is missing".to_owned())?;
            *column += 1;
            lowered.typed.clone()
        };
        let first = state()?;
        Ok(match name {
            "count" => {
                let accumulator = collector.add(AccumulatorKind::Sum, Some(first.expr), None);
                let own = Given::State { accumulator, zero: true };
                (own, vec![own])
            }
            "sum" | "int_sum" => {
                let kind = match first.data_type {
                    DataType::Float64 => AccumulatorKind::SumFloat,
                    _ => AccumulatorKind::Sum,
                };
                let accumulator = collector.add(kind, Some(first.expr), None);
                let own = Given::State { accumulator, zero: false };
                (own, vec![own])
            }
            "min" | "max" => {
                let extreme = extreme(name, &first.data_type)?;
                let accumulator = collector.add(extreme, Some(first.expr), None);
                let own = Given::State { accumulator, zero: false };
                (own, vec![own])
            }
            "avg" => {
                let sum = state()?;
                let (kind, sum_scale) = averaged(&sum.data_type)?;
                let count = collector.add(AccumulatorKind::Sum, Some(first.expr), None);
                let sum = collector.add(kind, Some(sum.expr), None);
                let states =
                    vec![Given::Averaged { count }, Given::State { accumulator: sum, zero: false }];
                (Given::Average { count, sum, sum_scale }, states)
            }
            _ => return Err(format!("aggregate function {name}")),
        })
    }
}

/// The inputs that are the keys as they are and that no other expression reads.
fn bare(filters: &[Expr], outputs: &[Expr], keys: usize) -> Option<Vec<usize>> {
    let of = |expr: &Expr| match expr {
        Expr::Input(column) => Some(*column),
        _ => None,
    };
    let bare: Vec<usize> = outputs[..keys].iter().map(of).collect::<Option<_>>()?;
    let mut once = true;
    let mut check = |column: usize| once &= !bare.contains(&column);
    filters.iter().chain(&outputs[keys..]).for_each(|expr| expr.each_input(&mut check));
    let distinct: std::collections::HashSet<_> = bare.iter().collect();
    (once && distinct.len() == keys).then_some(bare)
}

fn summed(data_type: &DataType, function: &AggregateFunctionExpr) -> Outcome<AccumulatorKind> {
    match (data_type, function.field().data_type()) {
        (DataType::Decimal128(..) | DataType::Int64, DataType::Decimal128(..))
        | (DataType::Int16 | DataType::Int32 | DataType::Int64, DataType::Int64) => {
            Ok(AccumulatorKind::Sum)
        }
        (DataType::Float64, DataType::Float64) => Ok(AccumulatorKind::SumFloat),
        _ => Err(format!("sum of type {data_type}")),
    }
}

fn averaged(data_type: &DataType) -> Outcome<(AccumulatorKind, Option<i8>)> {
    match data_type {
        DataType::Decimal128(_, scale) => Ok((AccumulatorKind::Sum, Some(*scale))),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok((AccumulatorKind::Sum, Some(0))),
        DataType::Float64 => Ok((AccumulatorKind::SumFloat, None)),
        _ => Err(format!("avg of type {data_type}")),
    }
}

fn extreme(name: &str, data_type: &DataType) -> Outcome<AccumulatorKind> {
    let ordered = !matches!(data_type, DataType::Utf8 | DataType::Utf8View)
        && kind_of(data_type) == Some(Kind::Int);
    match (ordered, name) {
        (false, _) => Err(format!("{name} of type {data_type}")),
        (true, "min") => Ok(AccumulatorKind::Min),
        (true, _) => Ok(AccumulatorKind::Max),
    }
}

/// Refuses results of a type that is not on the list.
fn check_types(schema: &SchemaRef, keys: usize, given: &[Given]) -> Outcome<()> {
    let fields = schema.fields();
    if fields.len() != keys + given.len() {
        return Err("its schema has other columns".to_owned());
    }
    for (field, given) in fields[keys..].iter().zip(given) {
        let known = match (field.data_type(), given) {
            (
                DataType::Decimal128(..) | DataType::Int64,
                Given::Average { sum_scale: Some(_), .. },
            )
            | (DataType::Float64, Given::Average { sum_scale: None, .. }) => true,
            (data_type, Given::State { .. } | Given::Averaged { .. }) => {
                !matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::Boolean)
                    && kind_of(data_type).is_some()
            }
            _ => false,
        };
        if !known {
            return Err(format!("a result of type {}", field.data_type()));
        }
    }
    Ok(())
}

/// Outputs of the program and the accumulators that read them; equal ones once.
struct Collector {
    outputs: Vec<Expr>,
    accumulations: Vec<Accumulation>,
}

impl Collector {
    fn output(&mut self, expr: Expr) -> usize {
        let known = self.outputs.iter().position(|other| *other == expr);
        known.unwrap_or_else(|| {
            self.outputs.push(expr);
            self.outputs.len() - 1
        })
    }

    fn add(
        &mut self,
        kind: AccumulatorKind,
        argument: Option<Expr>,
        filter: Option<Expr>,
    ) -> usize {
        let argument = argument.map(|expr| self.output(expr));
        let filter = filter.map(|expr| self.output(expr));
        let new = Accumulation { kind, argument, filter };
        let known = self.accumulations.iter().position(|other| *other == new);
        known.unwrap_or_else(|| {
            self.accumulations.push(new);
            self.accumulations.len() - 1
        })
    }
}

/// `expr` over the input, when DataFusion can compute all columns that it reads there.
fn composed(expr: &Arc<dyn PhysicalExpr>, columns: &[Lowered]) -> Option<Arc<dyn PhysicalExpr>> {
    let mut whole = true;
    let composed = Arc::clone(expr).transform_down(|node| {
        let Some(column) = node.downcast_ref::<Column>() else {
            return Ok(Transformed::no(node));
        };
        match columns.get(column.index()).and_then(|column| column.physical.clone()) {
            // What is put in counts columns of the input and is not looked at again.
            Some(physical) => {
                let jump = datafusion::common::tree_node::TreeNodeRecursion::Jump;
                Ok(Transformed::new(physical, true, jump))
            }
            None => {
                whole = false;
                Ok(Transformed::no(node))
            }
        }
    });
    composed.ok().filter(|_| whole).map(|composed| composed.data)
}

/// Gives every input its place among the registers.
fn renumber(expr: &mut Expr, number: &impl Fn(usize) -> usize) {
    match expr {
        Expr::Input(column) => *column = number(*column),
        Expr::Int(_) | Expr::Float(_) | Expr::Bool(_) | Expr::Null(_) => {}
        Expr::Arith { left, right, .. }
        | Expr::FloatArith { left, right, .. }
        | Expr::Compare { left, right, .. } => {
            renumber(left, number);
            renumber(right, number);
        }
        Expr::And(parts) | Expr::Or(parts) => {
            parts.iter_mut().for_each(|part| renumber(part, number));
        }
        Expr::Not(value)
        | Expr::IsNull(value)
        | Expr::Among { value, .. }
        | Expr::ToFloat { value, .. }
        | Expr::Part { value, .. } => renumber(value, number),
        Expr::Case { branches, otherwise } => {
            for (condition, value) in branches {
                renumber(condition, number);
                renumber(value, number);
            }
            renumber(otherwise, number);
        }
    }
}
