//! EXPLAIN: the plan as text, one line a row.

use std::sync::Arc;

use base::client::{Outcome, Value};
use base::{Error, Result, SqlType};
use sql::ast::Explain;
use sql::{Bound, Statement};

use super::column;
use crate::client::{ClientSession, Run};
use crate::planning::planned;
use crate::system::Cell;

impl ClientSession {
    pub(crate) async fn explain_parameters(
        &mut self,
        explain: &Explain,
        wanted: &[SqlType],
    ) -> Result<Vec<SqlType>> {
        Ok(self.explained(explain, wanted).await?.parameters)
    }

    /// The query of the explained statement.
    async fn explained(&mut self, explain: &Explain, wanted: &[SqlType]) -> Result<Bound> {
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
        Ok(self.bind_query(query, wanted).await?.bound)
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
        let bound = self.explained(explain, wanted).await?;
        let options = self.scope(wanted)?.options;
        let plan = bound.with_values(&values, &options)?;
        let query = self.query_context(run);
        let executable = planned(Arc::clone(&self.leader.engine), plan, query).await?;
        run.planned();
        let lines = lines(executable, explain).await?;
        let rows = lines.into_iter().map(|line| vec![Cell::Text(line)]).collect();
        super::show::rows(Arc::from(vec![column("QUERY PLAN", SqlType::Text)]), rows, "EXPLAIN")
    }
}

async fn lines(executable: exec::Executable, explain: &Explain) -> Result<Vec<String>> {
    match (explain.analyze, explain.verbose) {
        (true, _) => executable.analyze().await,
        (false, true) => Ok(executable.explain_verbose()),
        (false, false) => Ok(executable.explain()),
    }
}
