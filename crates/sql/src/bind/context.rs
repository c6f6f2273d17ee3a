//! What DataFusion's planner asks for while it plans a query: tables through [`Relations`], views
//! expanded, functions from the registry, types by Redshift's names.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, SchemaRef};
use base::types::FIELD_KEY;
use base::{Error, Result, SqlType, error};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource,
    WindowUDF,
};

use crate::ast::{Ident, ObjectName};
use crate::bind::output::ColumnOrigins;
use crate::bind::{Binder, BinderOptions, versions};
use crate::functions::Registry;
use crate::relations::{At, RelationUse, ResolvedRelation, ResolvedTarget, ResolvedView};

/// The deepest nesting of views.
const VIEW_DEPTH_MAX: usize = 64;

/// The result type of DataFusion's traits.
type Planned<T> = datafusion::common::Result<T>;

/// The context of one query or of one view within it.
pub(crate) struct Context<'a> {
    pub(crate) binder: &'a Binder<'a>,
    /// The search path of the view being expanded.
    pub(crate) search_path: Option<Vec<String>>,
    /// The views being expanded, outermost first.
    pub(crate) views: Vec<ResolvedView>,
    /// Where each relation's name stands in the text of the statement; empty within views.
    pub(crate) places: HashMap<Vec<String>, ObjectName>,
    /// The table of a change, for the name that [`versions::target_name`] makes.
    pub(crate) target: Option<&'a ResolvedTarget>,
    /// The moments that names with [`versions::version_of`] mean.
    pub(crate) versions: RefCell<Vec<At>>,
    pub(crate) found: RefCell<Found>,
}

/// What planning came upon.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) origins: ColumnOrigins,
    pub(crate) uses: Vec<RelationUse>,
}

/// A view's plan, inlined where it is scanned.
struct ViewSource {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl TableSource for ViewSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

impl<'a> Context<'a> {
    fn options(&self) -> &BinderOptions {
        &self.binder.options
    }

    fn registry(&self) -> &Registry {
        &self.binder.options.registry
    }

    pub(crate) fn resolve(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>> {
        if let Some(target) = self.target
            && versions::is_target(reference)
        {
            return Ok(Arc::clone(&target.source));
        }
        let (reference, version) = versions::version_of(reference);
        let name = self.name(&reference);
        let at = name.position();
        let path = self.search_path.as_deref();
        let version = version.and_then(|n| self.versions.borrow().get(n).copied());
        let resolved = match version {
            Some(version) => self.binder.relations.resolve_at(&name, path, version),
            None => self.binder.relations.resolve(&name, path),
        };
        let resolved = resolved.map_err(|error| match error.position() {
            None if at > 0 => error.at(at),
            _ => error,
        })?;
        let through = self.views.first().map(|view| view.oid);
        match resolved {
            ResolvedRelation::Table(table) => {
                let mut found = self.found.borrow_mut();
                found.origins.add(&table);
                let table_use = RelationUse { oid: table.oid, through };
                if !found.uses.contains(&table_use) {
                    found.uses.push(table_use);
                }
                Ok(table.source)
            }
            ResolvedRelation::View(view) => {
                let view_use = RelationUse { oid: view.oid, through };
                self.found.borrow_mut().uses.push(view_use);
                self.expand(view)
            }
        }
    }

    /// The name with its place in the text.
    fn name(&self, reference: &TableReference) -> ObjectName {
        let parts: Vec<String> = match reference {
            TableReference::Bare { table } => vec![table.to_string()],
            TableReference::Partial { schema, table } => {
                vec![schema.to_string(), table.to_string()]
            }
            TableReference::Full { catalog, schema, table } => {
                vec![catalog.to_string(), schema.to_string(), table.to_string()]
            }
        };
        match self.places.get(&parts) {
            Some(name) => name.clone(),
            None => ObjectName(parts.into_iter().map(Ident::made).collect()),
        }
    }

    fn expand(&self, view: ResolvedView) -> Result<Arc<dyn TableSource>> {
        if self.views.len() >= VIEW_DEPTH_MAX || self.views.iter().any(|open| open.oid == view.oid)
        {
            return Err(error!(
                InvalidObjectDefinition,
                "infinite recursion detected in view \"{}\"", view.name
            ));
        }
        let mut views = self.views.clone();
        views.push(view.clone());
        let inner = Context {
            binder: self.binder,
            search_path: Some(view.search_path.clone()),
            views,
            places: HashMap::new(),
            target: None,
            versions: RefCell::default(),
            found: RefCell::default(),
        };
        let query = crate::parse::parse_query(&view.sql)
            .and_then(|query| self.binder.plan_query(&query, &inner))
            .map_err(|error| in_view(error, &view))?;
        let found = inner.found.into_inner();
        let mut own = self.found.borrow_mut();
        own.origins.merge(found.origins);
        for inner_use in found.uses {
            if !own.uses.contains(&inner_use) {
                own.uses.push(inner_use);
            }
        }
        let plan = rename(query, &view)?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        Ok(Arc::new(ViewSource { schema, plan }))
    }
}

/// An error inside a view has no place in the text of the statement.
fn in_view(error: Error, view: &ResolvedView) -> Error {
    let mut moved = Error::new(error.sqlstate(), error.message());
    if let Some(detail) = error.get_detail() {
        moved = moved.detail(detail);
    }
    moved.hint(format!(
        "The error is in view \"{}\".{}",
        view.name,
        match error.get_hint() {
            Some(hint) => format!(" {hint}"),
            None => String::new(),
        }
    ))
}

/// The view's plan under the view's column names and, unless it binds late, its types.
fn rename(plan: LogicalPlan, view: &ResolvedView) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    if view.columns.len() > schema.fields().len() {
        return Err(error!(
            InvalidTableDefinition,
            "view \"{}\" has more columns than its query gives", view.name
        ));
    }
    let exprs = schema.iter().enumerate().map(|(n, (qualifier, field))| {
        let column =
            Expr::Column(datafusion::common::Column::new(qualifier.cloned(), field.name()));
        let name = match view.columns.get(n) {
            Some((name, _)) => name.as_str(),
            None => crate::bind::rewrite::shown(field.name()),
        };
        column.alias(name)
    });
    let exprs: Vec<Expr> = exprs.collect();
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| crate::error_from_datafusion(e, &view.sql))
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Planned<Arc<dyn TableSource>> {
        self.resolve(&name).map_err(external)
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> Planned<Arc<dyn TableSource>> {
        let args = args.into_iter().map(|arg| constant(arg, self.options()));
        let args = args.collect::<Result<Vec<_>>>().map_err(external)?;
        if let Some(source) = self.binder.relations.table_function(name, &args).map_err(external)? {
            return Ok(source);
        }
        if let Some(source) = crate::functions::table_function(name, &args).map_err(external)? {
            return Ok(source);
        }
        Err(external(error!(UndefinedFunction, "function {name}() does not exist")))
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> Planned<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.registry().expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.registry().scalar(name)
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.registry().aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.registry().window(name)
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options().config
    }

    fn udf_names(&self) -> Vec<String> {
        self.registry().scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.registry().aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.registry().window_names()
    }
}

/// Our error inside DataFusion's, to come out unchanged.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// An argument of a table function as a literal where it can be computed now.
fn constant(expr: Expr, options: &BinderOptions) -> Result<Expr> {
    crate::bind::fold(expr, options)
}

/// Redshift's type names.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, data_type: &sqlparser::ast::DataType) -> Planned<Option<FieldRef>> {
        let sql_type = crate::parse::cast_type(data_type).map_err(external)?;
        Ok(Some(Arc::new(sql_type.field("", true))))
    }
}

/// The SQL type that a cast carries, when it was written in the statement.
pub(crate) fn written_type(field: &FieldRef) -> Option<SqlType> {
    field.metadata().contains_key(FIELD_KEY).then(|| SqlType::of_field(field))
}
