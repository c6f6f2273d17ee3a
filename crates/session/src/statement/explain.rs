//! EXPLAIN: the plan as text, one line a row.

use std::sync::Arc;

use base::client::{Outcome, Value};
use base::{Error, Result, SqlType};
use datafusion::logical_expr::LogicalPlan;
use sql::Statement;
use sql::ast::Explain;

use super::column;
use crate::client::{ClientSession, Run};
use crate::planning::{planned, with_values};
use crate::system::Cell;

impl ClientSession {
    pub(crate) async fn explain_parameters(
        &mut self,
        explain: &Explain,
        wanted: &[SqlType],
    ) -> Result<Vec<SqlType>> {
        let (_, parameters) = self.explained(explain, wanted).await?;
        Ok(parameters)
    }

    /// The plan of the explained statement and its parameters.
    async fn explained(
        &mut self,
        explain: &Explain,
        wanted: &[SqlType],
    ) -> Result<(LogicalPlan, Vec<SqlType>)> {
        let query = match explain.statement.as_ref() {
            Statement::Query(query) => query,
            Statement::CreateTableAs(create) => &create.query,
            Statement::Insert(insert) => match &insert.input {
                sql::ast::InsertInput::Query(query) => query,
                sql::ast::InsertInput::DefaultValues => {
                    return Err(Error::unsupported("EXPLAIN of DEFAULT VALUES has no plan"));
                }
            },
            other => {
                return Err(Error::unsupported(format!(
                    "EXPLAIN of {} is not supported",
                    other.command()
                )));
            }
        };
        let fresh = self.bind_query(query, wanted).await?;
        Ok((fresh.bound.plan, fresh.bound.parameters))
    }

    pub(crate) async fn explain(
        &mut self,
        explain: &Explain,
        wanted: &[SqlType],
        values: Vec<Value>,
        run: &Run,
    ) -> Result<Outcome> {
        if explain.analyze && !matches!(explain.statement.as_ref(), Statement::Query(_)) {
            return Err(Error::unsupported(format!(
                "EXPLAIN ANALYZE of {} is not supported",
                explain.statement.command()
            ))
            .hint("Explain the query alone."));
        }
        let (plan, parameters) = self.explained(explain, wanted).await?;
        let plan = with_values(plan, &parameters, values)?;
        let query = self.query_context(run);
        let executable = planned(Arc::clone(&self.leader.engine), plan, query).await?;
        run.planned();
        let lines = match (explain.analyze, explain.verbose) {
            (true, _) => executable.analyze().await?,
            (false, true) => executable.explain_verbose(),
            (false, false) => executable.explain(),
        };
        let rows = lines.into_iter().map(|line| vec![Cell::Text(line)]).collect();
        super::show::rows(Arc::from(vec![column("QUERY PLAN", SqlType::Text)]), rows, "EXPLAIN")
    }
}
