//! From a statement's tree to a bound plan: names resolved, types by Redshift's rules, parameters
//! typed, result columns described.
//!
//! A bound plan is analysed (types coerced) but not optimised; it reads no data and changes no
//! catalog.

mod assign;
mod calls;
mod change;
mod comparisons;
mod context;
mod decorrelate;
mod forms;
mod inline;
mod merge;
mod natural;
mod operators;
mod outer;
mod output;
mod parameters;
mod rewrite;
mod semantics;
mod typing;
mod using;
mod versions;
mod zones;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use base::client::{Column, Value};
use base::{Result, SqlState, SqlType, error};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::Analyzer;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::planner::{ParserOptions, PlannerContext};
use sqlparser::ast as sqlast;

pub use self::assign::{BoundInsert, InsertTarget};
pub use self::change::{BoundChange, ChangeShape, Repeats};
pub(crate) use self::context::external;
use self::context::{Context, Found};
pub(crate) use self::operators::{DateOperators, IntervalOperators, WholeOperators};
use self::output::ColumnOrigins;
use self::parameters::Mentions;
pub(crate) use self::rewrite::shown;
use crate::ast::{Expression, ObjectName, Query};
use crate::functions::Registry;
use crate::functions::moment::Moment;
use crate::relations::{RelationUse, Relations, ResolvedTarget};
use crate::text::Source;
use crate::{error_from_datafusion, guard, parse};
use planner::{Reader, Tree, Walk};

/// The most aliases that a query may use within the select list that makes them; each is put in
/// its place at the cost of planning once more.
const ALIASES_MAX: usize = 16;

/// What binding depends on besides the catalog.
#[derive(Clone)]
pub struct BinderOptions {
    /// The functions that a statement may call.
    pub registry: Arc<Registry>,
    /// DataFusion's settings for analysis: see [`BinderOptions::default_config`].
    pub config: Arc<ConfigOptions>,
    /// Types of `$1…` as the client wishes them; [`SqlType::Unknown`] leaves one to inference.
    pub parameters: Vec<SqlType>,
    /// When statement and transaction began, and the session's time zone.
    pub moment: Moment,
}

impl Default for BinderOptions {
    fn default() -> Self {
        Self {
            registry: Registry::shared(),
            config: Self::default_config(),
            parameters: Vec::new(),
            moment: Moment::now(),
        }
    }
}

impl BinderOptions {
    /// The settings that the binder works with; a session state that optimises and executes its
    /// plans should start from the same.
    pub fn default_config() -> Arc<ConfigOptions> {
        static CONFIG: LazyLock<Arc<ConfigOptions>> = LazyLock::new(|| {
            let mut config = ConfigOptions::new();
            config.sql_parser.parse_float_as_decimal = true;
            config.sql_parser.collect_spans = true;
            config.execution.time_zone = Some("UTC".to_owned());
            // Columns carry their SQL type in field metadata, and DataFusion's logical and
            // physical unions do not merge metadata alike.
            config.execution.skip_physical_aggregate_schema_check = true;
            Arc::new(config)
        });
        Arc::clone(&CONFIG)
    }
}

/// Binds statements against the relations that a session sees.
pub struct Binder<'a> {
    pub(crate) relations: &'a dyn Relations,
    pub(crate) options: BinderOptions,
}

/// A query that is planned but not analysed.
struct Planned {
    plan: LogicalPlan,
    /// One per parameter.
    types: Vec<SqlType>,
    found: Found,
}

/// A bound query.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Its output columns have exactly the Arrow types of `columns`, in order.
    pub plan: LogicalPlan,
    pub columns: Vec<Column>,
    /// One type per `$n`.
    pub parameters: Vec<SqlType>,
    /// The relations it reads.
    pub relations: Vec<RelationUse>,
}

impl Bound {
    /// The plan with parameters replaced by values and functions of time by this moment.
    ///
    /// # Errors
    /// 22P02 and the like for a value that does not fit its parameter, 08P01 for a wrong number.
    pub fn with_values(&self, values: &[Value], options: &BinderOptions) -> Result<LogicalPlan> {
        finish_plan(self.plan.clone(), values, &self.parameters, options)
    }

    /// Refuses output columns that share a name: for tables and views made from a query.
    ///
    /// # Errors
    /// 42701 naming the column; 42P16 for a column without a name.
    pub fn check_names(&self) -> Result<()> {
        for (n, column) in self.columns.iter().enumerate() {
            if self.columns[..n].iter().any(|other| other.name == column.name) {
                return Err(error!(
                    DuplicateColumn,
                    "column \"{}\" specified more than once", column.name
                ));
            }
        }
        Ok(())
    }
}

/// Parameters and moments put into a plan.
fn finish_plan(
    plan: LogicalPlan,
    values: &[Value],
    types: &[SqlType],
    options: &BinderOptions,
) -> Result<LogicalPlan> {
    let scalars = parameters::scalars(values, types, options)?;
    let plan = if scalars.is_empty() {
        plan
    } else {
        plan.with_param_values(scalars).map_err(|e| error_from_datafusion(e, ""))?
    };
    set_moment(plan, &options.moment).map_err(|e| error_from_datafusion(e, ""))
}

/// Replaces `getdate()` and its kin by literals.
fn set_moment(plan: LogicalPlan, moment: &Moment) -> datafusion::common::Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| {
                Ok(match moment.value_of(&expr) {
                    Some(value) => Transformed::yes(Expr::Literal(value, None)),
                    None => Transformed::no(expr),
                })
            })?;
            Ok(if expr.transformed { expr.update_data(|expr| name.restore(expr)) } else { expr })
        })?;
        if node.transformed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    Ok(plan.data)
}

impl<'a> Binder<'a> {
    pub fn new(relations: &'a dyn Relations, options: BinderOptions) -> Self {
        Self { relations, options }
    }

    /// The options it was made with.
    pub fn options(&self) -> &BinderOptions {
        &self.options
    }

    /// Binds a query.
    ///
    /// # Errors
    /// Those of names (42P01, 42703, 42883, …), types (42804, …) and limits (54001), with the
    /// position in the statement where there is one.
    pub fn query(&self, query: &Query) -> Result<Bound> {
        let planned = self.planned(query, &self.options.parameters, None)?;
        self.bound(planned, query.source.text())
    }

    /// Plans a query and types its parameters; the plan is not yet analysed. `given` are types of
    /// parameters known beforehand, `target` what the made-up name of a change's table means.
    fn planned(
        &self,
        query: &Query,
        given: &[SqlType],
        target: Option<&ResolvedTarget>,
    ) -> Result<Planned> {
        let mentions = Mentions::of(query.body.as_ref())?;
        let wishes = mentions.wishes(given);
        let context = || Context { target, ..self.context(query.body.as_ref(), &query.source) };
        let mut found = context();
        let mut plan = self.plan_typed(query, &found, &wishes)?;
        let types = parameters::infer(&wishes, &plan);
        if wishes.iter().any(Option::is_none) {
            // With every type known, the types of expressions on parameters are known too.
            let known: Vec<Option<SqlType>> = types.iter().copied().map(Some).collect();
            found = context();
            plan = self.plan_typed(query, &found, &known)?;
        }
        Ok(Planned { plan, types, found: found.found.into_inner() })
    }

    fn bound(&self, planned: Planned, text: &str) -> Result<Bound> {
        let Planned { plan, types, found } = planned;
        let plan = self.analyse(plan).map_err(|e| error_from_datafusion(e, text))?;
        self.described(plan, &found.origins, types, found.uses)
            .map_err(|e| error_from_datafusion(e, text))
    }

    /// Binds a constant expression to a value: the arguments of EXECUTE, a column's DEFAULT shown.
    ///
    /// # Errors
    /// As [`Binder::query`]; 42703 for a column, which a constant has not.
    pub fn constant(&self, expression: &Expression) -> Result<(ScalarValue, SqlType)> {
        let expr = self.scalar(expression)?;
        let expr = fold(expr, &self.options)?;
        match expr {
            Expr::Literal(value, _) => {
                let sql_type = SqlType::of_arrow(&value.data_type());
                Ok((value, sql_type))
            }
            _ => Err(error!(InvalidColumnReference, "a constant expression is expected")),
        }
    }

    /// A value of one type as an assignment to another makes it: what a variable holds.
    ///
    /// # Errors
    /// 22P02, 22001, 22003, 42846 and the like for a value that does not fit.
    pub fn assigned_value(
        value: &Value,
        from: SqlType,
        to: SqlType,
        options: &BinderOptions,
    ) -> Result<ScalarValue> {
        let from = if from == SqlType::Unknown { SqlType::Text } else { from };
        let given = parameters::one(value, from, options)?;
        crate::functions::cast::assigned(given, to, options)
    }

    /// Binds an expression that names no column.
    ///
    /// # Errors
    /// As [`Binder::query`].
    pub fn scalar(&self, expression: &Expression) -> Result<Expr> {
        let mut expr = expression.expr.as_ref().clone();
        rewrite::rewrite_expr(&mut expr)?;
        let context = self.context(expression.expr.as_ref(), &expression.source);
        let schema = DFSchema::empty();
        let mut scope = PlannerContext::new();
        planner::expression(&context, parser_options(), expr, &schema, &mut scope)
            .and_then(|expr| semantics::apply_expr(expr, &schema, &self.options))
            .map_err(|e| error_from_datafusion(e, expression.source.text()))
    }

    fn context<'c>(&'c self, tree: &dyn Tree, source: &Source) -> Context<'c>
    where
        'a: 'c,
    {
        Context {
            binder: self,
            search_path: None,
            views: Vec::new(),
            places: places(tree, source),
            target: None,
            versions: Default::default(),
            found: Default::default(),
        }
    }

    /// Plans a query of a view: its names and meaning, not yet analysed.
    pub(crate) fn plan_query(&self, query: &Query, context: &Context<'_>) -> Result<LogicalPlan> {
        self.plan_typed(query, context, &[])
    }

    fn plan_typed(
        &self,
        query: &Query,
        context: &Context<'_>,
        types: &[Option<SqlType>],
    ) -> Result<LogicalPlan> {
        let mut body = query.body.as_ref().clone();
        context.versions.replace(versions::take(self, &mut body, &query.source)?);
        inline::inline_functions(&mut body, context)?;
        natural::as_using(&mut body, context)?;
        rewrite::rewrite(&mut body)?;
        let text = query.source.text();
        let mut inlined = 0;
        loop {
            let error = match self.plan_body(body.clone(), text, context, types) {
                Err(error) if error.sqlstate() == SqlState::UndefinedColumn => error,
                planned => return planned,
            };
            // A name that is no column may be an alias to its left.
            let name = error.object().column.clone().unwrap_or_default();
            inlined += 1;
            if inlined > ALIASES_MAX || !rewrite::inline_alias(&mut body, &name) {
                return Err(error);
            }
        }
    }

    /// Plans a rewritten query.
    fn plan_body(
        &self,
        body: sqlast::Query,
        text: &str,
        context: &Context<'_>,
        types: &[Option<SqlType>],
    ) -> Result<LogicalPlan> {
        let mut scope =
            PlannerContext::new().with_prepare_param_data_types(parameters::fields(types));
        let plan = planner::query(context, parser_options(), body, &mut scope)
            .map_err(|e| error_from_datafusion(e, text))?;
        guard::check_plan(&plan)?;
        semantics::apply(plan, &self.options).map_err(|e| error_from_datafusion(e, text))
    }

    /// Coerces types, so that the output's types are final.
    fn analyse(&self, plan: LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
        let plan = Analyzer::new().execute_and_check(plan, &self.options.config, |_, _| {})?;
        decorrelate::apply(plan)
    }

    fn described(
        &self,
        plan: LogicalPlan,
        origins: &ColumnOrigins,
        parameters: Vec<SqlType>,
        relations: Vec<RelationUse>,
    ) -> datafusion::common::Result<Bound> {
        let columns = output::columns(&plan, origins);
        let plan = canonical(plan, &columns)?;
        Ok(Bound { plan, columns, parameters, relations })
    }
}

/// Casts output columns whose Arrow type is not the one that carries their SQL type (unsigned
/// counts, nanoseconds, …).
fn canonical(plan: LogicalPlan, columns: &[Column]) -> datafusion::common::Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let fits = |n: usize| *schema.field(n).data_type() == columns[n].sql_type.arrow();
    if (0..columns.len()).all(fits) {
        return Ok(plan);
    }
    let exprs = schema.iter().enumerate().map(|(n, (qualifier, field))| {
        let column = datafusion::common::Column::new(qualifier.cloned(), field.name());
        let column = Expr::Column(column);
        if fits(n) {
            return column;
        }
        let to = columns[n].sql_type.arrow();
        let cast = datafusion::logical_expr::expr::Cast::new(Box::new(column), to);
        Expr::Cast(cast).alias_qualified(qualifier.cloned(), field.name())
    });
    let exprs: Vec<Expr> = exprs.collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

pub use self::inline::{function_body, inlined};

pub(crate) fn parser_options() -> ParserOptions {
    ParserOptions::new().with_parse_float_as_decimal(true).with_collect_spans(true)
}

/// Computes a constant expression; one that is not constant comes back as it is.
pub(crate) fn fold(expr: Expr, options: &BinderOptions) -> Result<Expr> {
    let schema = Arc::new(DFSchema::empty());
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(&schema))
        .with_config_options(Arc::clone(&options.config))
        .with_query_execution_start_time(options.moment.statement_time())
        .build();
    let simplifier = ExprSimplifier::new(context);
    simplifier
        .coerce(expr, &schema)
        .and_then(|expr| simplifier.simplify(expr))
        .map_err(|e| error_from_datafusion(e, ""))
}

/// Where the relations of a tree stand in its text.
fn places(tree: &dyn Tree, source: &Source) -> HashMap<Vec<String>, ObjectName> {
    struct Places<'s> {
        source: &'s Source,
        found: HashMap<Vec<String>, ObjectName>,
    }
    impl Reader for Places<'_> {
        fn relation(&mut self, relation: &sqlast::ObjectName) -> Walk {
            let name = parse::object_name(self.source, relation);
            let parts = name.0.iter().map(|part| part.name.clone()).collect();
            self.found.entry(parts).or_insert(name);
            Ok(())
        }
    }
    let mut places = Places { source, found: HashMap::new() };
    // The reader gives no error.
    let _ = tree.read(&mut places);
    places.found
}

#[cfg(test)]
mod tests;
