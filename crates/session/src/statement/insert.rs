//! INSERT, the filling of tables made from queries, and rewrites under another layout.

use std::collections::HashMap;
use std::sync::Arc;

use base::client::{Outcome, Value};
use base::ids::{ColumnId, Oid};
use base::segment::Segment;
use base::{Result, SqlState, SqlType, error};
use catalog::{IdentityNext, Op, Privileges, Relation, Table};
use datafusion::logical_expr::LogicalPlan;
use sql::ast::Insert;
use sql::{BoundInsert, InsertTarget};

use super::create::found_table;
use super::layout::style_for;
use super::{constant, done};
use crate::client::{ClientSession, Parsed, Run};
use crate::planning::asks_leader;
use crate::privileges;
use crate::relations::SessionRelations;
use crate::settings::Settings;
use crate::system::SystemContext;

/// A bound INSERT with what it was bound under.
#[derive(Clone)]
pub(crate) struct KnownInsert {
    table: Arc<Table>,
    pub(crate) bound: BoundInsert,
    types: Vec<SqlType>,
    settings: Arc<Settings>,
}

impl Parsed {
    /// Keeps an INSERT of values for its executions. One that reads something, or that asks the
    /// leader, is bound to one state of the catalog and not kept.
    pub(crate) fn keep_insert(&self, known: KnownInsert) {
        let lasting = known_rows(&known.bound.plan).is_some()
            && known.bound.relations.is_empty()
            && !asks_leader(&known.bound.plan);
        *self.insert.lock() = lasting.then_some(known);
    }
}

fn may_insert(context: &SystemContext, table: &Arc<Table>) -> Result<()> {
    let relation = Relation::Table(Arc::clone(table));
    privileges::on_relation(&context.state, &context.user, &relation, Privileges::INSERT)
}

impl ClientSession {
    pub(crate) async fn bind_insert(
        &mut self,
        insert: &Insert,
        wanted: &[SqlType],
    ) -> Result<KnownInsert> {
        let scope = self.scope(wanted)?;
        let insert = insert.clone();
        let types = wanted.to_vec();
        self.bound(scope, insert.source.text().len(), move |scope| {
            let table = found_table(&scope.relations, &insert.table)?;
            let context = scope.context();
            may_insert(context, &table)?;
            let target = InsertTarget { table: Arc::clone(&table) };
            let bound = scope.binder().insert(&insert, &target)?;
            privileges::on_uses(&context.state, &context.user, &bound.relations)?;
            let settings = Arc::clone(&context.settings);
            Ok(KnownInsert { table, bound, types: types.clone(), settings })
        })
        .await
    }

    /// The bound form of an INSERT that was bound before, if it still holds.
    fn known_insert(
        &mut self,
        insert: &Insert,
        parsed: &Parsed,
        exact: &[SqlType],
    ) -> Result<Option<KnownInsert>> {
        let Some(known) = parsed.insert.lock().clone() else { return Ok(None) };
        let context = self.context()?;
        let engine = Arc::clone(&self.leader.engine);
        let relations = SessionRelations::new(Arc::clone(&context), engine);
        let table = found_table(&relations, &insert.table)?;
        may_insert(&context, &table)?;
        let holds = Arc::ptr_eq(&table, &known.table)
            && known.types == exact
            && *known.settings == *context.settings;
        Ok(holds.then_some(known))
    }

    pub(crate) async fn insert(
        &mut self,
        insert: &Insert,
        parsed: &Parsed,
        values: Vec<Value>,
        run: &Run,
    ) -> Result<Outcome> {
        let exact = super::exact_types(&parsed.wanted, &values);
        let known = match self.known_insert(insert, parsed, &exact)? {
            Some(known) => known,
            None => {
                let known = self.bind_insert(insert, &exact).await?;
                parsed.keep_insert(known.clone());
                known
            }
        };
        let KnownInsert { table, bound, .. } = known;
        self.note_reads(&bound.relations);
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
        let bound = base::stack::deep(move || {
            let listed: Vec<usize> = (0..target.columns.len()).collect();
            scope.binder().assign(plan, &target, &listed)
        })?;
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
        let options = self.execution_options()?;
        let first: HashMap<ColumnId, i64> =
            numbers.iter().map(|(column, number)| (*column, number.0)).collect();
        let plan = bound.with_values(values, &first, &options)?;
        let written = match self.write_inline(&plan, table, run)? {
            Some(written) => written,
            None => self.write(plan, table, run).await?,
        };
        let identity_next = numbers
            .into_iter()
            .map(|(column, (first, reserved))| {
                let next = after(table, column, first, written.rows)?;
                Ok(IdentityNext { column, next, reserved })
            })
            .collect::<Result<Vec<_>>>()?;
        if written.rows > 0 {
            let segments = written.segments;
            self.leader.upkeep.touched(table.oid);
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

    /// Few rows that the statement itself spells out stay in the commit log: no compute node
    /// takes part and no file is written. `None` where a plan is more than that.
    fn write_inline(
        &mut self,
        plan: &LogicalPlan,
        table: &Arc<Table>,
        run: &Run,
    ) -> Result<Option<exec::Written>> {
        if known_rows(plan).is_none_or(|rows| rows > exec::INLINE_ROWS_MAX as u64) {
            return Ok(None);
        }
        let Some(batch) = constant::rows(plan, table) else { return Ok(None) };
        let target = self.write_target(table, run);
        run.planned();
        match self.leader.engine.inline_segments(&[batch], &target) {
            Ok(segments) => {
                let rows = segments.iter().map(|segment| segment.rows).sum();
                Ok(Some(exec::Written { segments, rows }))
            }
            Err(error) if error.sqlstate() == SqlState::ProgramLimitExceeded => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Remembers the files of segments, for an abort.
    pub(crate) fn wrote(&mut self, segments: &[Segment]) {
        self.work.wrote(segments.iter().flat_map(Segment::paths));
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
        let written = engine.write(input, &target, &query).await;
        let written = self.leader.upkeep.checked(written, &target)?;
        self.wrote(&written.segments);
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
pub(super) fn after(table: &Table, column: ColumnId, first: i64, rows: u64) -> Result<i64> {
    let identity = table.column_by_id(column).and_then(|column| column.identity);
    let step = identity.map_or(1, |identity| identity.step);
    i64::try_from(rows)
        .ok()
        .and_then(|rows| rows.checked_mul(step))
        .and_then(|distance| first.checked_add(distance))
        .ok_or_else(|| error!(NumericValueOutOfRange, "the identity column has run out"))
}
