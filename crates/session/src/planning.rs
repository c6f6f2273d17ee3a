//! Binding and planning: the session's use of `sql` and `exec`.
//!
//! Both recurse over the statement, so that they run on big stacks.

use std::sync::{Arc, Weak};

use base::client::{BatchStream, Column};
use base::{Result, SqlType};
use catalog::State;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use futures::StreamExt;
use sql::ast::Query;
use sql::{Binder, BinderOptions, Bound, Moment, Registry};

use crate::client::{ClientSession, Run};
use crate::past::Past;
use crate::relations::SessionRelations;
use crate::system::{SystemContext, functions};

/// Statements up to this length are parsed and bound where they arrive.
const SHORT_BYTES: usize = 4_096;

/// A query bound to one state of the catalog.
pub(crate) struct Fresh {
    pub(crate) bound: Bound,
    pub(crate) columns: Arc<[Column]>,
    state: Arc<State>,
    settings: Arc<crate::settings::Settings>,
    /// The past that it may read: it holds for no longer than the transaction.
    past: Option<Weak<Past>>,
}

impl Fresh {
    /// True while binding again would give the same plan.
    pub(crate) fn holds(&self, session: &mut ClientSession) -> bool {
        let state = session.work.state(&session.leader.catalog);
        let past = Arc::as_ptr(session.work.past());
        Arc::ptr_eq(&self.state, &state)
            && *self.settings == session.settings
            && self.past.as_ref().is_none_or(|own| own.strong_count() > 0 && own.as_ptr() == past)
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
        let past = Arc::clone(self.work.past());
        Ok(Scope { relations: SessionRelations { context, engine, past }, options })
    }

    /// What putting values into a bound plan needs: no functions of the leader.
    pub(crate) fn execution_options(&self) -> Result<BinderOptions> {
        let time_zone = time_zone(&self.settings)?;
        Ok(BinderOptions { moment: Moment { time_zone, ..Moment::now() }, ..Default::default() })
    }

    /// Binds a query and checks that the user may read what it names.
    pub(crate) async fn bind_query(&mut self, query: &Query, wanted: &[SqlType]) -> Result<Fresh> {
        let scope = self.scope(wanted)?;
        let query = query.clone();
        self.bound(scope, query.source.text().len(), move |scope| {
            let mut query = query.clone();
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
                past: scope.relations.past(),
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
        let sent = [
            "timezone",
            "enable_join_reordering",
            "join_order_seed",
            "enable_shared_subplans",
            "enable_vector_joins",
            "enable_vector_pipelines",
        ];
        sent.iter().map(|name| ((*name).to_owned(), self.settings.get(name))).collect()
    }

    /// Plans and starts a query: rows stream from the compute nodes.
    pub(crate) async fn stream(&mut self, plan: LogicalPlan, run: &Run) -> Result<BatchStream> {
        let query = self.query_context(run);
        let executable = self.leader.engine.plan(plan, &query).await?;
        run.planned();
        Ok(self.with_past(executable.execute()?))
    }

    /// Rows whose files stay for as long as they are read, also where the transaction ends before.
    pub(crate) fn with_past(&self, batches: BatchStream) -> BatchStream {
        let past = self.work.past();
        if past.is_empty() {
            return batches;
        }
        let past = Arc::clone(past);
        Box::pin(batches.map(move |batch| {
            let _held = &past;
            batch
        }))
    }
}

/// Runs work that recurses over a statement of `bytes`: in place when that is short, otherwise on
/// a thread of its own, so that others need not wait for it.
pub(crate) async fn with_room<T, F>(bytes: usize, work: F) -> Result<T>
where
    F: FnOnce() -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    if bytes <= SHORT_BYTES {
        return base::stack::deep(work);
    }
    base::task::blocking("planning", move || base::stack::deep(work)).await
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
