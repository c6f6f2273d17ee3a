//! Where a table's rows lie: the choices of DISTSTYLE AUTO, and rewrites under another layout.

use std::sync::Arc;

use base::ids::Oid;
use base::{Result, error};
use catalog::{DistStyle, Distribution, Op, Relation, SortKey, State, Table, TableChange};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use sql::RelationUse;

use crate::client::{ClientSession, Run};

/// A DISTSTYLE AUTO table stays ALL up to this many rows: small enough that a copy on each node
/// costs less than moving the other side of a join.
const AUTO_ALL_ROWS_MAX: u64 = 100_000;

/// The style in which an empty AUTO table starts, from the size of what it is filled from.
pub(crate) fn style_for(state: &State, uses: &[RelationUse], at_least: u64) -> DistStyle {
    let sizes = uses.iter().map(|used| state.table_rows(used.oid));
    if sizes.max().unwrap_or(0).max(at_least) > AUTO_ALL_ROWS_MAX {
        DistStyle::Even
    } else {
        DistStyle::All
    }
}

impl ClientSession {
    /// Gives an empty AUTO table the style that suits what comes.
    pub(crate) fn start_style(
        &mut self,
        table: Arc<Table>,
        style: DistStyle,
    ) -> Result<Arc<Table>> {
        let state = self.work.state(&self.leader.catalog);
        let Distribution { declared, effective } = table.distribution;
        let settled = declared != DistStyle::Auto || effective == style;
        // Others fill it already: then it is for them to choose.
        if settled || !state.segments(table.oid).is_empty() || !self.try_exclusive(&table) {
            return Ok(table);
        }
        let change = TableChange::SetDistribution(Distribution { declared, effective: style });
        self.apply(Op::AlterTable { table: table.oid, change })?;
        self.reread(table.oid)
    }

    pub(crate) fn reread(&mut self, oid: Oid) -> Result<Arc<Table>> {
        match self.work.state(&self.leader.catalog).relation_by_oid(oid) {
            Some(Relation::Table(table)) => Ok(table),
            _ => Err(error!(UndefinedTable, "the table is gone")),
        }
    }

    /// Turns an AUTO table that outgrew ALL into EVEN, in the same transaction.
    pub(crate) async fn outgrow(&mut self, oid: Oid, run: &Run) -> Result<()> {
        let table = self.reread(oid)?;
        let rows = self.work.state(&self.leader.catalog).table_rows(oid);
        let Distribution { declared, effective } = table.distribution;
        let small = rows <= AUTO_ALL_ROWS_MAX;
        if declared != DistStyle::Auto || effective != DistStyle::All || small {
            return Ok(());
        }
        // While others write to it, it stays as it is: the next to write turns it.
        if !self.try_exclusive(&table) {
            return Ok(());
        }
        let change =
            TableChange::SetDistribution(Distribution { declared, effective: DistStyle::Even });
        self.rewrite(&table, change, run).await
    }

    /// ALTER DISTSTYLE and ALTER DISTKEY.
    pub(crate) async fn redistribute(
        &mut self,
        table: &Arc<Table>,
        mut to: Distribution,
        run: &Run,
    ) -> Result<()> {
        let rows = self.work.state(&self.leader.catalog).table_rows(table.oid);
        if to.declared == DistStyle::Auto {
            let large = rows > AUTO_ALL_ROWS_MAX;
            to.effective = if large { DistStyle::Even } else { DistStyle::All };
        }
        self.rewrite(table, TableChange::SetDistribution(to), run).await
    }

    /// ALTER SORTKEY.
    pub(crate) async fn resort(
        &mut self,
        table: &Arc<Table>,
        to: SortKey,
        run: &Run,
    ) -> Result<()> {
        self.rewrite(table, TableChange::SetSortKey(to), run).await
    }

    /// Changes a table's layout and writes its rows again under the new one.
    async fn rewrite(&mut self, table: &Arc<Table>, change: TableChange, run: &Run) -> Result<()> {
        let segments = self.work.state(&self.leader.catalog).segments(table.oid);
        let rows = !segments.is_empty();
        let old = self.leader.engine.table(Arc::clone(table), segments);
        self.apply(Op::AlterTable { table: table.oid, change })?;
        if !rows {
            return Ok(());
        }
        let plan = LogicalPlanBuilder::scan("rows", provider_as_source(old), None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| sql::error_from_datafusion(e, ""))?;
        let new = self.reread(table.oid)?;
        let mut target = self.write_target(&new, run);
        target.prefix.push_str("-rewrite");
        let mut query = self.query_context(run);
        query.retry_reads = false;
        let input = exec::WriteInput::Plan(plan);
        let engine = Arc::clone(&self.leader.engine);
        let written = engine.write(input, &target, &query).await;
        let written = self.leader.upkeep.checked(written, &target)?;
        self.wrote(&written.segments);
        self.apply(Op::RemoveAllSegments { table: table.oid })?;
        let (table, segments) = (table.oid, written.segments);
        self.apply(Op::AddSegments { table, segments, identity_next: Vec::new() })
    }
}
