//! Binding and planning: the session's use of `sql` and `exec`.
//!
//! Both recurse over the statement, so they run on threads with big stacks.

use std::sync::Arc;

use base::client::{BatchStream, Column};
use base::{Result, SqlType};
use catalog::State;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use sql::ast::Query;
use sql::{Binder, BinderOptions, Bound, Moment, Registry};

use crate::client::{ClientSession, Run};
use crate::relations::SessionRelations;
use crate::system::{SystemContext, functions};

/// A query bound to one state of the catalog.
pub(crate) struct Fresh {
    pub(crate) bound: Bound,
    pub(crate) columns: Arc<[Column]>,
    state: Arc<State>,
    settings: Arc<crate::settings::Settings>,
}

impl Fresh {
    /// True while binding again would give the same plan.
    pub(crate) fn holds(&self, state: &Arc<State>, settings: &crate::settings::Settings) -> bool {
        Arc::ptr_eq(&self.state, state) && *self.settings == *settings
    }
}

/// Names, functions and options for one statement.
pub(crate) struct Scope {
    pub(crate) relations: SessionRelations,
    pub(crate) options: BinderOptions,
}

impl Scope {
    pub(crate) fn binder(&self) -> Binder<'_> {
        Binder::new(&self.relations, self.options.clone())
    }

    pub(crate) fn context(&self) -> &Arc<SystemContext> {
        &self.relations.context
    }
}

impl ClientSession {
    /// The scope of the current statement.
    pub(crate) fn scope(&mut self, wanted: &[SqlType]) -> Result<Scope> {
        let context = self.context()?;
        let options = binder_options(&context, wanted)?;
        let engine = Arc::clone(&self.leader.engine);
        Ok(Scope { relations: SessionRelations { context, engine }, options })
    }

    /// What putting values into a bound plan needs: no functions of the leader.
    pub(crate) fn execution_options(&self) -> Result<BinderOptions> {
        let time_zone = time_zone(&self.settings)?;
        Ok(BinderOptions { moment: Moment { time_zone, ..Moment::now() }, ..Default::default() })
    }

    /// Binds a query and checks that the user may read what it names.
    pub(crate) async fn bind_query(&mut self, query: &Query, wanted: &[SqlType]) -> Result<Fresh> {
        let scope = self.scope(wanted)?;
        let mut query = query.clone();
        sql::on_big_stack(move || {
            crate::forms::rewrite(&mut query.body);
            let bound = scope.binder().query(&query)?;
            let context = scope.context();
            crate::privileges::on_uses(&context.state, &context.user, &bound.relations)?;
            if reads_tables(context, &bound.relations) {
                check_leader_functions(&bound.plan)?;
            }
            Ok(Fresh {
                columns: Arc::from(bound.columns.clone()),
                bound,
                state: Arc::clone(&context.state),
                settings: Arc::clone(&context.settings),
            })
        })
        .await
    }

    /// What the engine needs to know of the statement.
    pub(crate) fn query_context(&self, run: &Run) -> exec::QueryContext {
        exec::QueryContext {
            id: run.id,
            cancel: run.cancel.clone(),
            memory_bytes: self.leader.config.query_memory_bytes,
            settings: self.sent_settings(),
            retry_reads: true,
        }
    }

    /// The settings that compute nodes are told.
    fn sent_settings(&self) -> Vec<(String, String)> {
        let sent = ["timezone", "enable_vector_pipelines"];
        sent.iter().map(|name| ((*name).to_owned(), self.settings.get(name))).collect()
    }

    /// Plans and starts a query: rows stream from the compute nodes.
    pub(crate) async fn stream(&mut self, plan: LogicalPlan, run: &Run) -> Result<BatchStream> {
        let query = self.query_context(run);
        let executable = planned(Arc::clone(&self.leader.engine), plan, query).await?;
        run.planned();
        executable.execute()
    }
}

/// Plans on a big stack, in the caller's runtime.
pub(crate) async fn planned(
    engine: Arc<exec::Engine>,
    plan: LogicalPlan,
    query: exec::QueryContext,
) -> Result<exec::Executable> {
    let runtime = tokio::runtime::Handle::current();
    sql::on_big_stack(move || runtime.block_on(engine.plan(plan, &query))).await
}

fn binder_options(context: &Arc<SystemContext>, wanted: &[SqlType]) -> Result<BinderOptions> {
    let time_zone = time_zone(&context.settings)?;
    let mut registry = Registry::clone(&Registry::shared());
    functions::all(context).into_iter().for_each(|function| registry.add_scalar(function));
    Ok(BinderOptions {
        registry: Arc::new(registry),
        parameters: wanted.to_vec(),
        moment: Moment { time_zone, ..Moment::now() },
        ..BinderOptions::default()
    })
}

fn time_zone(settings: &crate::settings::Settings) -> Result<chrono_tz::Tz> {
    let zone = settings.get("timezone");
    zone.parse().map_err(|_| base::Error::internal(format!("time zone \"{zone}\" is not known")))
}

/// True when one of the relations is a user's table.
fn reads_tables(context: &SystemContext, relations: &[sql::RelationUse]) -> bool {
    relations.iter().any(|used| {
        context.state.relation_by_oid(used.oid).is_some_and(|relation| relation.table().is_some())
    })
}

/// Refuses leader functions over the columns of users' tables: compute nodes do not have them.
///
/// # Errors
/// 0A000 naming the function.
pub(crate) fn check_leader_functions(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && functions::is_leader_only(call.func.name())
                    && call.args.iter().any(Expr::any_column_refs)
                {
                    found = Some(call.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(|e| sql::error_from_datafusion(e, ""))?;
    match found {
        None => Ok(()),
        Some(name) => Err(base::Error::unsupported(format!(
            "function {name} runs on the leader node and takes no columns of tables"
        ))
        .detail("The statement reads tables that only compute nodes see.")),
    }
}

/// True for a plan with a function of the leader.
pub(crate) fn asks_leader(plan: &LogicalPlan) -> bool {
    let mut asks = false;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                asks |= matches!(expr, Expr::ScalarFunction(call)
                    if functions::is_leader_only(call.func.name()));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    asks || walked.is_err()
}
