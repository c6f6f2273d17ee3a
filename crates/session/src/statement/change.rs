//! DELETE, UPDATE and MERGE.

use std::collections::HashMap;
use std::sync::Arc;

use base::client::{Outcome, Value};
use base::ids::ColumnId;
use base::segment::{Bitmap, Segment};
use base::{Result, SqlType, error};
use catalog::{IdentityNext, Op, Privileges, Relation, SegmentDeletes, Table};
use datafusion::logical_expr::LogicalPlan;
use exec::{ChangeKind, Modified};
use sql::{BinderOptions, BoundChange, ChangeShape, Repeats, Statement};

use super::done;
use crate::client::{ClientSession, Run};
use crate::privileges;

impl ClientSession {
    /// Binds a change and checks that the user may make it.
    pub(crate) async fn bind_change(
        &mut self,
        statement: &Statement,
        wanted: &[SqlType],
    ) -> Result<BoundChange> {
        let (Statement::Delete(change) | Statement::Update(change) | Statement::Merge(change)) =
            statement
        else {
            return Err(base::Error::internal("a statement that changes no rows"));
        };
        let scope = self.scope(wanted)?;
        let change = change.clone();
        self.bound(scope, change.source.text().len(), move |scope| {
            let bound = scope.binder().change(&change)?;
            let context = scope.context();
            let (state, user) = (&context.state, &context.user);
            let target = Relation::Table(Arc::clone(&bound.table));
            privileges::on_relation(state, user, &target, needed(&bound))?;
            privileges::on_uses(state, user, &bound.relations)?;
            crate::planning::check_leader_functions(&bound.plan)?;
            Ok(bound)
        })
        .await
    }

    pub(crate) async fn change_rows(
        &mut self,
        statement: &Statement,
        wanted: &[SqlType],
        values: Vec<Value>,
        run: &Run,
    ) -> Result<Outcome> {
        let exact = super::exact_types(wanted, &values);
        let bound = self.bind_change(statement, &exact).await?;
        self.note_reads(&bound.relations);
        if bound.reads_target {
            self.note_read(bound.table.oid);
        }
        let first = self.first_identities(&bound.table, &bound.identities);
        let options = self.execution_options()?;
        let changed = self.run_change(&bound, &values, &first, &options, run).await?;
        let rows = changed.changed;
        self.stage_change(&bound.table, changed, &first)?;
        run.count(rows);
        self.outgrow(bound.table.oid, run).await?;
        done(format!("{} {rows}", statement.command()))
    }

    /// Runs the change; where rows of the source meet one row of the target more than once, the
    /// statement says what that means.
    async fn run_change(
        &mut self,
        bound: &BoundChange,
        values: &[Value],
        first: &HashMap<ColumnId, i64>,
        options: &BinderOptions,
        run: &Run,
    ) -> Result<Modified> {
        let kind = match bound.kind {
            ChangeShape::Delete => ChangeKind::Delete,
            ChangeShape::Write => ChangeKind::Write,
        };
        let plan = bound.with_values(values, first, options)?;
        let changed = self.modify(kind, plan, &bound.table, run).await?;
        if !changed.repeated {
            return Ok(changed);
        }
        match bound.repeats {
            Repeats::Ignore => Ok(changed),
            Repeats::Refuse => Err(error!(
                CardinalityViolation,
                "Found multiple matches to update the same tuple."
            )
            .detail(format!(
                "Several rows of the source match one row of \"{}\".",
                bound.table.name
            ))
            .hint("Make the rows of the source unique on the columns of the join condition.")
            .table(&bound.table.name)),
            Repeats::PickOne => {
                self.discard(files(&changed).map(str::to_owned).collect());
                let once = bound.picking_one()?.with_values(values, first, options)?;
                self.modify(kind, once, &bound.table, run).await
            }
        }
    }

    async fn modify(
        &mut self,
        kind: ChangeKind,
        plan: LogicalPlan,
        table: &Arc<Table>,
        run: &Run,
    ) -> Result<Modified> {
        let segments = self.work.state(&self.leader.catalog).segments(table.oid);
        let mut target = self.write_target(table, run);
        // A statement that runs its change again must not use a path again.
        target.prefix.push_str(&format!("-{:08x}", base::rng::u64() as u32));
        let mut query = self.query_context(run);
        query.retry_reads = false;
        run.planned();
        let engine = Arc::clone(&self.leader.engine);
        let changed = engine.modify(plan, kind, &target, segments, &query).await;
        let changed = self.leader.upkeep.checked(changed, &target)?;
        self.work.wrote(files(&changed));
        Ok(changed)
    }

    /// The first value for each identity column: counted on from the snapshot.
    fn first_identities(&mut self, table: &Table, columns: &[ColumnId]) -> HashMap<ColumnId, i64> {
        let state = self.work.state(&self.leader.catalog);
        let next = |column: &ColumnId| state.identity_next(table.oid, *column).unwrap_or(0);
        columns.iter().map(|column| (*column, next(column))).collect()
    }

    /// Stages what a change did.
    fn stage_change(
        &mut self,
        table: &Arc<Table>,
        changed: Modified,
        first: &HashMap<ColumnId, i64>,
    ) -> Result<()> {
        let identity_next = first
            .iter()
            .map(|(column, first)| {
                let next = super::insert::after(table, *column, *first, changed.written)?;
                Ok(IdentityNext { column: *column, next, reserved: false })
            })
            .collect::<Result<Vec<_>>>()?;
        let oid = table.oid;
        let before = self.work.transaction(&self.leader.catalog).ops().len();
        if !changed.deletes.is_empty() {
            self.apply(Op::DeleteRows { table: oid, deletes: changed.deletes })?;
        }
        if !changed.segments.is_empty() {
            self.apply(Op::AddSegments { table: oid, segments: changed.segments, identity_next })?;
        }
        self.leader.upkeep.touched(oid);
        // The lock keeps others from the rows from now on: what fails at COMMIT fails here, too.
        let head = self.leader.catalog.head();
        self.work.transaction(&self.leader.catalog).check(&head, before)
    }
}

/// What the target has to be open to.
fn needed(bound: &BoundChange) -> Privileges {
    let all = [
        (bound.deletes, Privileges::DELETE),
        (bound.updates, Privileges::UPDATE),
        (bound.inserts, Privileges::INSERT),
        (bound.reads_target, Privileges::SELECT),
    ];
    let needed = all.into_iter().filter(|(needed, _)| *needed).map(|(_, privilege)| privilege);
    needed.fold(Privileges::default(), Privileges::union)
}

/// The files that a change wrote.
fn files(changed: &Modified) -> impl Iterator<Item = &str> {
    let deletes =
        changed.deletes.iter().filter_map(|one: &SegmentDeletes| match &one.deletes.bitmap {
            Bitmap::File { path, .. } => Some(path.as_str()),
            Bitmap::Inline(_) => None,
        });
    changed.segments.iter().flat_map(Segment::paths).chain(deletes)
}
