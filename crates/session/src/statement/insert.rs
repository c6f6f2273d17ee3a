//! INSERT, the filling of tables made from queries, and rewrites under another layout.

use std::collections::HashMap;
use std::sync::Arc;

use base::client::{Outcome, Value};
use base::ids::{ColumnId, Oid};
use base::{Result, SqlType, error};
use catalog::{
    DistStyle, Distribution, IdentityNext, Op, Privileges, Relation, SortKey, State, Table,
    TableChange,
};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use sql::ast::Insert;
use sql::{BoundInsert, InsertTarget, RelationUse};

use super::create::found_table;
use super::done;
use crate::client::{ClientSession, Run};
use crate::privileges;

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
    pub(crate) async fn insert_parameters(
        &mut self,
        insert: &Insert,
        wanted: &[SqlType],
    ) -> Result<Vec<SqlType>> {
        let (_, bound) = self.bind_insert(insert, wanted).await?;
        Ok(bound.parameters)
    }

    async fn bind_insert(
        &mut self,
        insert: &Insert,
        wanted: &[SqlType],
    ) -> Result<(Arc<Table>, BoundInsert)> {
        let scope = self.scope(wanted)?;
        let insert = insert.clone();
        sql::on_big_stack(move || {
            let table = found_table(&scope.relations, &insert.table)?;
            let context = scope.context();
            let relation = Relation::Table(Arc::clone(&table));
            let (state, user) = (&context.state, &context.user);
            privileges::on_relation(state, user, &relation, Privileges::INSERT)?;
            let target = InsertTarget { table: Arc::clone(&table) };
            let bound = scope.binder().insert(&insert, &target)?;
            privileges::on_uses(state, user, &bound.relations)?;
            Ok((table, bound))
        })
        .await
    }

    pub(crate) async fn insert(
        &mut self,
        insert: &Insert,
        wanted: &[SqlType],
        values: Vec<Value>,
        run: &Run,
    ) -> Result<Outcome> {
        let exact = super::exact_types(wanted, &values);
        let (table, bound) = self.bind_insert(insert, &exact).await?;
        let state = self.work.state(&self.leader.catalog);
        let table = self.start_style(table, style_for(&state, &bound.relations, 0))?;
        let rows = self.write_bound(&table, bound, &values, run).await?;
        run.count(rows);
        self.outgrow(table.oid, run).await?;
        done(format!("INSERT 0 {rows}"))
    }

    /// Fills a new table from a query.
    pub(crate) async fn fill(&mut self, oid: Oid, plan: LogicalPlan, run: &Run) -> Result<u64> {
        let state = self.work.state(&self.leader.catalog);
        let Some(Relation::Table(table)) = state.relation_by_oid(oid) else {
            return Err(base::Error::internal("the new table is not there"));
        };
        let scope = self.scope(&[])?;
        let target = Arc::clone(&table);
        let bound = sql::on_big_stack(move || {
            let listed: Vec<usize> = (0..target.columns.len()).collect();
            scope.binder().assign(plan, &target, &listed)
        })
        .await?;
        let rows = self.write_bound(&table, bound, &[], run).await?;
        self.outgrow(oid, run).await?;
        Ok(rows)
    }

    /// Writes the rows of a bound INSERT and stages their segments.
    async fn write_bound(
        &mut self,
        table: &Arc<Table>,
        bound: BoundInsert,
        values: &[Value],
        run: &Run,
    ) -> Result<u64> {
        let numbers = self.identities(table, &bound)?;
        let options = self.scope(&[])?.options;
        let first: HashMap<ColumnId, i64> =
            numbers.iter().map(|(column, number)| (*column, number.0)).collect();
        let plan = bound.with_values(values, &first, &options)?;
        let written = self.write(plan, table, run).await?;
        let identity_next = numbers
            .into_iter()
            .map(|(column, (first, reserved))| {
                let next = after(table, column, first, written.rows)?;
                Ok(IdentityNext { column, next, reserved })
            })
            .collect::<Result<Vec<_>>>()?;
        if written.rows > 0 {
            let segments = written.segments;
            self.apply(Op::AddSegments { table: table.oid, segments, identity_next })?;
        }
        Ok(written.rows)
    }

    /// The first number for each identity column that the plan fills, and whether it was
    /// reserved: known numbers of rows are, so that concurrent INSERTs do not conflict.
    fn identities(
        &mut self,
        table: &Table,
        bound: &BoundInsert,
    ) -> Result<HashMap<ColumnId, (i64, bool)>> {
        let known = known_rows(&bound.plan);
        let transaction = self.work.transaction(&self.leader.catalog);
        let mut numbers = HashMap::new();
        for column in &bound.identities {
            let number = match known {
                Some(rows) => (transaction.reserve_identity(table.oid, *column, rows)?, true),
                None => {
                    let next = transaction.state().identity_next(table.oid, *column);
                    (next.unwrap_or(0), false)
                }
            };
            numbers.insert(*column, number);
        }
        Ok(numbers)
    }

    /// Writes a plan's rows as segments of a table; the files are remembered for an abort.
    pub(crate) async fn write(
        &mut self,
        plan: LogicalPlan,
        table: &Arc<Table>,
        run: &Run,
    ) -> Result<exec::Written> {
        let target = self.write_target(table, run);
        let mut query = self.query_context(run);
        query.retry_reads = false;
        run.planned();
        let input = exec::WriteInput::Plan(plan);
        let engine = Arc::clone(&self.leader.engine);
        let written = engine.write(input, &target, &query).await?;
        self.work.wrote(&written.segments);
        Ok(written)
    }

    /// Where a statement's segments of a table go: the query id keeps the paths of several
    /// statements of one transaction apart.
    pub(crate) fn write_target(&mut self, table: &Arc<Table>, run: &Run) -> exec::WriteTarget {
        let epoch = self.leader.catalog.epoch();
        let transaction = self.work.transaction(&self.leader.catalog).id();
        exec::WriteTarget {
            table: Arc::clone(table),
            prefix: format!("data/{}/{epoch}-{transaction}-{}", table.oid, run.id),
            // The binder numbers rows itself; only COPY leaves identities to the write.
            identity: Vec::new(),
        }
    }

    /// Gives an empty AUTO table the style that suits what comes.
    pub(crate) fn start_style(
        &mut self,
        table: Arc<Table>,
        style: DistStyle,
    ) -> Result<Arc<Table>> {
        let state = self.work.state(&self.leader.catalog);
        let Distribution { declared, effective } = table.distribution;
        if declared != DistStyle::Auto || effective == style || state.table_rows(table.oid) > 0 {
            return Ok(table);
        }
        let change = TableChange::SetDistribution(Distribution { declared, effective: style });
        self.apply(Op::AlterTable { table: table.oid, change })?;
        self.reread(table.oid)
    }

    fn reread(&mut self, oid: Oid) -> Result<Arc<Table>> {
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
        if declared != DistStyle::Auto || effective != DistStyle::All || rows <= AUTO_ALL_ROWS_MAX {
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
        let written = engine.write(input, &target, &query).await?;
        self.work.wrote(&written.segments);
        self.apply(Op::RemoveAllSegments { table: table.oid })?;
        let (table, segments) = (table.oid, written.segments);
        self.apply(Op::AddSegments { table, segments, identity_next: Vec::new() })
    }
}

/// The number of rows that a plan gives, when its text says so: VALUES.
fn known_rows(plan: &LogicalPlan) -> Option<u64> {
    match plan {
        LogicalPlan::Values(values) => Some(values.values.len() as u64),
        LogicalPlan::EmptyRelation(empty) => Some(u64::from(empty.produce_one_row)),
        LogicalPlan::Projection(projection) => known_rows(&projection.input),
        LogicalPlan::Window(window) => known_rows(&window.input),
        LogicalPlan::SubqueryAlias(alias) => known_rows(&alias.input),
        _ => None,
    }
}

/// The identity value after `rows` of them.
fn after(table: &Table, column: ColumnId, first: i64, rows: u64) -> Result<i64> {
    let identity = table.column_by_id(column).and_then(|column| column.identity);
    let step = identity.map_or(1, |identity| identity.step);
    i64::try_from(rows)
        .ok()
        .and_then(|rows| rows.checked_mul(step))
        .and_then(|distance| first.checked_add(distance))
        .ok_or_else(|| error!(NumericValueOutOfRange, "the identity column has run out"))
}
