//! A subplan that a statement has several times, such as a WITH query that is used twice, runs
//! once.
//!
//! Runs on the optimised logical plan, before the order of joins: finds the largest subplans that
//! are the same, and puts a scan of a [`SharedTable`] in their place. The subplan becomes a query
//! of its own whose rows the leader keeps while the statement runs
//! ([`crate::distribute::rows`]), so only those are shared whose rows are few beside what they
//! are made from; where the estimate was wrong, the statement runs again without sharing.

mod key;
mod reach;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, internal_datafusion_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::distribute::Plan;
use crate::order::{self, Estimate};

/// The session's setting that turns sharing off.
pub(crate) const SETTING: &str = "enable_shared_subplans";
/// Subplans of one statement that are shared.
const PARTS_MAX: usize = 8;
/// Subplans that read fewer rows than this run as quickly as they are shared.
const READ_ROWS_MIN: f64 = 50_000.0;
/// Rows that are read for each one given out.
const READ_FOR_EACH: f64 = 2.0;
/// More estimated bytes are not kept.
const KEPT_BYTES_MAX: f64 = (32 << 20) as f64;

/// A statement whose common subplans stand apart.
pub(crate) struct Shared {
    pub(crate) plan: LogicalPlan,
    /// A part may read those after it.
    pub(crate) parts: Vec<Part>,
}

/// A subplan that is used several times.
pub(crate) struct Part {
    pub(crate) plan: LogicalPlan,
    pub(crate) table: Arc<SharedTable>,
}

/// The rows of a part as the statement scans them.
#[derive(Debug)]
pub(crate) struct SharedTable {
    /// From 1 on, as EXPLAIN shows it.
    pub(crate) number: usize,
    pub(crate) uses: usize,
    schema: SchemaRef,
    estimate: Estimate,
    rows: OnceLock<Plan>,
}

impl SharedTable {
    fn new(number: usize, uses: usize, plan: &LogicalPlan) -> SharedTable {
        let fields = plan.schema().fields().iter().enumerate();
        let fields = fields
            .map(|(at, field)| field.as_ref().clone().with_name(format!("shared_{number}_{at}")));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let estimate = order::estimate(plan);
        SharedTable { number, uses, schema, estimate, rows: OnceLock::new() }
    }

    /// The columns that are scanned.
    pub(crate) fn columns(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// Gives the table the leaf that stands for its rows; once.
    pub(crate) fn plan_as(&self, rows: Plan) {
        // A table is planned once, before what reads it.
        let _ = self.rows.set(rows);
    }

    /// A scan under the names that the subplan had where it stood.
    fn scan_as(self: &Arc<Self>, schema: &DFSchema) -> Result<LogicalPlan> {
        let name = format!("shared_{}", self.number);
        let source = provider_as_source(Arc::clone(self) as Arc<dyn TableProvider>);
        let scan = LogicalPlanBuilder::scan(name, source, None)?;
        let columns = scan.schema().columns().into_iter().zip(schema.iter());
        let columns = columns.map(|(column, (relation, field))| {
            Expr::Column(column).alias_qualified(relation.cloned(), field.name())
        });
        let columns: Vec<Expr> = columns.collect();
        scan.project(columns)?.build()
    }
}

#[async_trait]
impl TableProvider for SharedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows.get().cloned().ok_or_else(|| {
            internal_datafusion_err!(
                "shared subplan {} was not planned before its use",
                self.number
            )
        })?;
        let Some(projection) = projection else {
            return Ok(rows);
        };
        let column = |at: &usize| {
            let name = self.schema.field(*at).name().clone();
            (Arc::new(PhysicalColumn::new(&name, *at)) as _, name)
        };
        let columns: Vec<_> = projection.iter().map(column).collect();
        Ok(Arc::new(ProjectionExec::try_new(columns, rows)?))
    }
}

/// The statement with its common subplans apart.
///
/// # Errors
/// When a plan cannot be put together again: a bug.
pub(crate) fn shared(plan: LogicalPlan) -> Result<Shared> {
    if !has_twice(&plan) {
        return Ok(Shared { plan, parts: Vec::new() });
    }
    let mut plans = vec![plan];
    let mut tables: Vec<Arc<SharedTable>> = Vec::new();
    while tables.len() < PARTS_MAX {
        let Some(class) = largest(&plans) else {
            break;
        };
        let table = SharedTable::new(tables.len() + 1, class.places.len(), &class.plan);
        let table = Arc::new(table);
        plans = plans
            .into_iter()
            .enumerate()
            .map(|(root, plan)| {
                let here = class.places.iter().filter(|place| place.root == root);
                let places: HashSet<usize> = here.map(|place| place.at).collect();
                replaced(plan, &mut 0, &places, &table).map(|replaced| replaced.data)
            })
            .collect::<Result<_>>()?;
        plans.push(class.plan);
        tables.push(table);
    }
    let mut plans = plans.into_iter();
    let plan = plans.next().unwrap_or_default();
    let parts = plans.zip(tables).map(|(plan, table)| Part { plan, table }).collect();
    Ok(Shared { plan, parts })
}

/// True when a stored table is scanned twice and no column of one could be taken for a made-up
/// one.
fn has_twice(plan: &LogicalPlan) -> bool {
    fn add(plan: &LogicalPlan, seen: &mut HashSet<u32>, twice: &mut bool) -> bool {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(oid) = key::scanned(scan, |table| table.table().oid.0)
        {
            *twice |= !seen.insert(oid);
            return !scan.source.schema().fields().iter().any(|f| key::is_made_up(f.name()));
        }
        plan.inputs().into_iter().all(|input| add(input, seen, twice))
    }
    let mut twice = false;
    add(plan, &mut HashSet::new(), &mut twice) && twice
}

/// A subplan by the number of its top node from the top of its plan down.
#[derive(Clone, Copy)]
struct Place {
    root: usize,
    at: usize,
}

/// Subplans that are the same.
struct Class {
    plan: LogicalPlan,
    places: Vec<Place>,
}

/// A subplan that could be shared.
struct Candidate<'a> {
    plan: &'a LogicalPlan,
    place: Place,
    shape: u64,
    nodes: usize,
}

/// The largest subplan that is worth sharing.
fn largest(plans: &[LogicalPlan]) -> Option<Class> {
    let mut candidates = Vec::new();
    for (root, plan) in plans.iter().enumerate() {
        Finder { root, next: 0, found: &mut candidates }.visit(plan);
    }
    let mut by_shape: HashMap<u64, Vec<&Candidate<'_>>> = HashMap::new();
    for candidate in &candidates {
        by_shape.entry(candidate.shape).or_default().push(candidate);
    }
    let mut groups: Vec<_> = by_shape.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_by_key(|group| {
        let first = group.first().map(|one| (one.nodes, one.place.root, one.place.at));
        first.map(|(nodes, root, at)| (usize::MAX - nodes, root, at))
    });
    groups.into_iter().find_map(|group| class(plans, &group))
}

/// The first of the classes in a group of one shape that is worth sharing.
fn class(plans: &[LogicalPlan], group: &[&Candidate<'_>]) -> Option<Class> {
    let keys: Vec<_> = group.iter().map(|one| key::of(one.plan)).collect();
    for (first, key) in keys.iter().enumerate() {
        if key.is_none() || keys[..first].contains(key) {
            continue;
        }
        let same = group.iter().zip(&keys).filter(|(_, other)| *other == key);
        let places: Vec<Place> = same.map(|(one, _)| one.place).collect();
        if places.len() > 1 && is_worth(plans, group[first].plan, &places) {
            return Some(Class { plan: group[first].plan.clone(), places });
        }
    }
    None
}

/// True when the rows are few beside those that would be read for each place to make them.
fn is_worth(plans: &[LogicalPlan], plan: &LogicalPlan, places: &[Place]) -> bool {
    let (read, given) = (read_rows(plan), order::estimate(plan));
    if read < READ_ROWS_MIN || given.bytes() > KEPT_BYTES_MAX {
        return false;
    }
    let part =
        |place: &Place| plans.get(place.root).map_or(1.0, |plan| reach::part_of(plan, place.at));
    let parts: f64 = places.iter().map(part).sum();
    read * (parts - 1.0) >= READ_FOR_EACH * places.len() as f64 * given.rows
}

/// The estimated rows that the scans of a plan give.
fn read_rows(plan: &LogicalPlan) -> f64 {
    if let LogicalPlan::TableScan(_) = plan {
        return order::estimate(plan).rows;
    }
    plan.inputs().into_iter().map(read_rows).sum()
}

/// Walks a plan from the top down, numbering its nodes.
struct Finder<'a, 'f> {
    root: usize,
    next: usize,
    found: &'f mut Vec<Candidate<'a>>,
}

impl<'a> Finder<'a, '_> {
    /// The shape of the subplan, and whether it has a node that makes few rows of many; nothing
    /// for one that cannot be shared.
    fn visit(&mut self, plan: &'a LogicalPlan) -> Option<(u64, bool)> {
        let at = self.next;
        self.next += 1;
        let inputs: Vec<_> = plan.inputs().into_iter().map(|input| self.visit(input)).collect();
        let inputs: Vec<_> = inputs.into_iter().collect::<Option<_>>()?;
        let shapes: Vec<u64> = inputs.iter().map(|(shape, _)| *shape).collect();
        let shape = key::shape(plan, &shapes)?;
        let gathers = matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_))
            || inputs.iter().any(|(_, gathers)| *gathers);
        if gathers {
            let place = Place { root: self.root, at };
            self.found.push(Candidate { plan, place, shape, nodes: self.next - at });
        }
        Some((shape, gathers))
    }
}

/// The plan with scans of `table` at `places`.
fn replaced(
    plan: LogicalPlan,
    next: &mut usize,
    places: &HashSet<usize>,
    table: &Arc<SharedTable>,
) -> Result<Transformed<LogicalPlan>> {
    let at = *next;
    *next += 1;
    if places.contains(&at) {
        *next += below(&plan);
        return table.scan_as(plan.schema()).map(Transformed::yes);
    }
    plan.map_children(|input| replaced(input, next, places, table))
}

/// The nodes below the top one.
fn below(plan: &LogicalPlan) -> usize {
    plan.inputs().into_iter().map(|input| 1 + below(input)).sum()
}
