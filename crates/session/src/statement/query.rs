//! SELECT.

use std::sync::Arc;

use base::client::{Outcome, Value};
use base::{Result, SqlType};
use sql::ast::Query;

use crate::client::{ClientSession, Run};
use crate::planning::Fresh;

impl ClientSession {
    /// Runs a query; `fresh` is the plan made while describing it.
    pub(crate) async fn select(
        &mut self,
        query: &Query,
        wanted: &[SqlType],
        fresh: Option<Fresh>,
        values: Vec<Value>,
        run: &Run,
    ) -> Result<Outcome> {
        let exact = super::exact_types(wanted, &values);
        let fresh = match fresh.filter(|fresh| exact == wanted && fresh.holds(self)) {
            Some(fresh) => fresh,
            None => self.bind_query(query, &exact).await?,
        };
        self.note_reads(&fresh.bound.relations);
        let columns = Arc::clone(&fresh.columns);
        let options = self.execution_options()?;
        let plan = fresh.bound.with_values(&values, &options)?;
        let batches = self.stream(plan, run).await?;
        Ok(Outcome::Rows { columns, batches, verb: "SELECT", counted: true })
    }
}
