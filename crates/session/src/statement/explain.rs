//! EXPLAIN: the plan as text, one line a row.

use std::sync::Arc;

use base::client::{Outcome, Value};
use base::{Error, Result, SqlType};
use sql::ast::Explain;
use sql::{Bound, BoundChange, Statement};

use super::column;
use crate::client::{ClientSession, Run};
use crate::system::Cell;

impl ClientSession {
    pub(crate) async fn explain_parameters(
        &mut self,
        explain: &Explain,
        wanted: &[SqlType],
    ) -> Result<Vec<SqlType>> {
        Ok(match self.explained(explain, wanted).await? {
            Explained::Query(bound) => bound.parameters,
            Explained::Change(bound) => bound.parameters,
        })
    }

    /// The rows of the explained statement. As in Redshift, a statement that writes is shown by
    /// the plan of the rows that it writes or removes.
    async fn explained(&mut self, explain: &Explain, wanted: &[SqlType]) -> Result<Explained> {
        let query = match explain.statement.as_ref() {
            Statement::Query(query) => query,
            Statement::CreateTableAs(create) => &create.query,
            Statement::Insert(insert) => match &insert.input {
                sql::ast::InsertInput::Query(query) => query,
                sql::ast::InsertInput::DefaultValues => {
                    return Err(Error::unsupported("EXPLAIN of DEFAULT VALUES has no plan"));
                }
            },
            change @ (Statement::Delete(_) | Statement::Update(_) | Statement::Merge(_)) => {
                return self.bind_change(change, wanted).await.map(Explained::Change);
            }
            other => {
                return Err(Error::unsupported(format!(
                    "EXPLAIN of {} is not supported",
                    other.command()
                )));
            }
        };
        Ok(Explained::Query(self.bind_query(query, wanted).await?.bound))
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
        let options = self.execution_options()?;
        let changes = matches!(bound, Explained::Change(_));
        let plan = match bound {
            Explained::Query(bound) => bound.with_values(&values, &options)?,
            Explained::Change(bound) => {
                let numbers = bound.identities.iter().map(|column| (*column, 0)).collect();
                bound.with_values(&values, &numbers, &options)?
            }
        };
        let query = self.query_context(run);
        let executable = self.leader.engine.plan(plan, &query).await?;
        run.planned();
        let mut lines = lines(executable, explain).await?;
        if changes {
            stay_on_slices(&mut lines);
        }
        let rows = lines.into_iter().map(|line| vec![Cell::Text(line)]).collect();
        super::show::rows(Arc::from(vec![column("QUERY PLAN", SqlType::Text)]), rows, "EXPLAIN")
    }
}

/// The rows of a change stay on their slices: only where they are shown as those of a query do
/// they end at the leader.
fn stay_on_slices(lines: &mut Vec<String>) {
    let network = lines.first().is_some_and(|line| line.starts_with("XN Network"))
        && lines.get(1).is_some_and(|line| line.trim() == "Send to leader")
        && lines.get(2).is_some_and(|line| line.starts_with("  ->  "));
    if !network {
        return;
    }
    lines.drain(..2);
    for line in lines {
        if let Some(rest) = line.strip_prefix("  ->  ").or_else(|| line.strip_prefix("      ")) {
            *line = rest.to_owned();
        }
    }
}

/// What is explained.
enum Explained {
    Query(Bound),
    Change(BoundChange),
}

async fn lines(executable: exec::Executable, explain: &Explain) -> Result<Vec<String>> {
    match (explain.analyze, explain.verbose) {
        (true, _) => executable.analyze().await,
        (false, true) => Ok(executable.explain_verbose()),
        (false, false) => Ok(executable.explain()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_without_the_way_to_the_leader() {
        let plan = [
            "XN Network  (cost=1)",
            "  Send to leader",
            "  ->  XN Seq Scan on t",
            "        Filter: a",
        ];
        let mut lines = plan.map(str::to_owned).to_vec();
        stay_on_slices(&mut lines);
        assert_eq!(lines, ["XN Seq Scan on t", "  Filter: a"]);
        stay_on_slices(&mut lines);
        assert_eq!(lines.len(), 2);
    }
}
