//! DataFusion's SQL planner behind two plain functions, and sqlparser's visitors behind two traits.
//!
//! `SqlToRel` is generic over its context, and a walk through sqlparser's trees over its visitor:
//! whichever crate names them compiles all of the planner, or the walk through some hundred kinds
//! of nodes, again, which takes longer than all of `sql`. Here they are compiled once, for any
//! context and any visitor. Must not know the dialect.

mod visit;

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::file_options::file_type::FileType;
use datafusion::common::{DFSchema, Result, TableReference};
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast;

pub use visit::{Editor, Failure, Reader, Tree, Walk};

/// Plans a query.
///
/// # Errors
/// What the planner or the context finds wrong.
pub fn query(
    context: &dyn ContextProvider,
    options: ParserOptions,
    query: ast::Query,
    scope: &mut PlannerContext,
) -> Result<LogicalPlan> {
    let context = Any(context);
    let statement = ast::Statement::Query(Box::new(query));
    SqlToRel::new_with_options(&context, options)
        .sql_statement_to_plan_with_context(statement, scope)
}

/// Plans an expression over the columns of `schema`.
///
/// # Errors
/// What the planner or the context finds wrong.
pub fn expression(
    context: &dyn ContextProvider,
    options: ParserOptions,
    expr: ast::Expr,
    schema: &DFSchema,
    scope: &mut PlannerContext,
) -> Result<Expr> {
    let context = Any(context);
    SqlToRel::new_with_options(&context, options).sql_to_expr(expr, schema, scope)
}

/// Any context, as the one type that the planner is compiled for.
struct Any<'a>(&'a dyn ContextProvider);

impl ContextProvider for Any<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        self.0.get_table_source(name)
    }

    fn get_file_type(&self, ext: &str) -> Result<Arc<dyn FileType>> {
        self.0.get_file_type(ext)
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> Result<Arc<dyn TableSource>> {
        self.0.get_table_function_source(name, args)
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        self.0.create_cte_work_table(name, schema)
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.0.get_expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.0.get_relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        self.0.get_type_planner()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.0.get_function_meta(name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.0.get_higher_order_meta(name)
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.0.get_aggregate_meta(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.0.get_window_meta(name)
    }

    fn get_variable_type(&self, variable_names: &[String]) -> Option<DataType> {
        self.0.get_variable_type(variable_names)
    }

    fn get_variable_field(&self, variable_names: &[String]) -> Option<FieldRef> {
        self.0.get_variable_field(variable_names)
    }

    fn options(&self) -> &ConfigOptions {
        self.0.options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.0.udf_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.0.higher_order_function_names()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.0.udaf_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.0.udwf_names()
    }
}
