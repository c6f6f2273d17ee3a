//! The filter that a join publishes for the scan of its probe side: bounds of the keys, and the
//! keys themselves as a list or as the table.
//!
//! It is DataFusion's, made at planning; what it says has the form that `HashJoinExec` gives it.
//! A collected build side publishes at once. Of a partitioned one each partition reports, and
//! the last report publishes; partitions wait for that only so long.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::{Accumulator, ColumnarValue, Operator};
use datafusion::physical_expr::Partitioning;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, DynamicFilterPhysicalExpr, InListExpr, IsNullExpr, lit,
};
use datafusion::physical_plan::joins::{HashExpr, HashJoinExec, PartitionMode};
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PhysicalExpr};
use jointable::JoinTable;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::output::Shape;

type Expr = Arc<dyn PhysicalExpr>;

/// How long partitions wait for the filter of all: the scan below is slower without it.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What a filter is made for.
pub(super) struct FilterTarget {
    filter: Arc<DynamicFilterPhysicalExpr>,
    on_probe: Vec<Expr>,
    /// The keys whose hash tells the partition that a probe row is joined in.
    route: Vec<Expr>,
    schema: SchemaRef,
    nulls_equal: bool,
    /// Build sides that report.
    partitions: usize,
    list_max_bytes: usize,
    list_max_keys: usize,
}

impl FilterTarget {
    /// `None` when the join has no filter that anybody reads.
    pub(super) fn of(join: &HashJoinExec, config: &ConfigOptions) -> Result<Option<FilterTarget>> {
        let options = &config.optimizer;
        let produced = join.dynamic_expressions_produced().into_iter().next();
        let filter = produced.and_then(|filter| {
            Arc::downcast::<DynamicFilterPhysicalExpr>(filter as Arc<dyn Any + Send + Sync>).ok()
        });
        let Some(filter) = filter.filter(|_| options.enable_join_dynamic_filter_pushdown) else {
            return Ok(None);
        };
        let read = match filter.expression_id() {
            Some(id) => is_read(join.right(), id)?,
            None => false,
        };
        let partitioned = join.mode == PartitionMode::Partitioned;
        let on_probe: Vec<Expr> = join.on().iter().map(|(_, probe)| Arc::clone(probe)).collect();
        // One filter has nothing to choose from.
        let route = if partitioned { route(join) } else { Some(Vec::new()) };
        let files = partitioned && options.preserve_file_partitions > 0;
        let Some(route) = route.filter(|_| read && !files) else {
            return Ok(None);
        };
        let partitions = join.left().output_partitioning().partition_count();
        Ok(Some(FilterTarget {
            filter,
            on_probe,
            route,
            schema: join.right().schema(),
            nulls_equal: join.null_equality() == datafusion::common::NullEquality::NullEqualsNull,
            partitions: if partitioned { partitions } else { 1 },
            list_max_bytes: options.hash_join_inlist_pushdown_max_size,
            list_max_keys: options.hash_join_inlist_pushdown_max_distinct_values,
        }))
    }
}

/// True when an expression below `plan` has the id.
fn is_read(plan: &Arc<dyn ExecutionPlan>, id: u64) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(&mut |root| {
            root.apply(|expr| {
                found |= expr.expression_id() == Some(id);
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The keys of the probe side whose hash tells the partition that a row is joined in, all of
/// them or those that rows are placed by; nothing when no hash of keys tells it.
fn route(join: &HashJoinExec) -> Option<Vec<Expr>> {
    let on_probe = || join.on().iter().map(|(_, probe)| probe);
    let (left, right) = (join.left().output_partitioning(), join.right().output_partitioning());
    let keys = match (left, right) {
        (Partitioning::Hash(_, left), Partitioning::Hash(keys, right)) if left == right => keys,
        _ if left.partition_count() == 1 && right.partition_count() == 1 => {
            return Some(on_probe().cloned().collect());
        }
        _ => return None,
    };
    if keys.len() == 1 && join.on().len() == 1 {
        return Some(on_probe().cloned().collect());
    }
    // A column that is equal to a key has the same hash.
    let equal = join.right().equivalence_properties().eq_group();
    let normal = |key: &Expr| equal.normalize_expr(Arc::clone(key));
    let key_of = |key: &Expr| on_probe().find(|on| normal(on) == normal(key)).cloned();
    keys.iter().map(key_of).collect()
}

/// True for a partitioned join of DataFusion that would look for the filter of a row by the hash
/// of all keys, while rows lie by fewer of them or in another order.
pub(super) fn is_misrouted(join: &HashJoinExec) -> bool {
    join.mode == PartitionMode::Partitioned
        && !join.dynamic_expressions_produced().is_empty()
        && route(join)
            .is_none_or(|route| !route.iter().eq(join.on().iter().map(|(_, probe)| probe)))
}

/// Smallest and largest value of each key.
pub(super) struct Bounds {
    columns: Vec<(MinAccumulator, MaxAccumulator)>,
    nulls: bool,
    rows: usize,
}

impl Bounds {
    pub(super) fn new(shape: &Shape) -> Result<Bounds> {
        let of = |key: &Expr| {
            let data_type = key.data_type(&shape.build_schema)?;
            Ok((MinAccumulator::try_new(&data_type)?, MaxAccumulator::try_new(&data_type)?))
        };
        let columns = shape.on_build.iter().map(of).collect::<Result<_>>()?;
        Ok(Bounds { columns, nulls: false, rows: 0 })
    }

    pub(super) fn add(&mut self, keys: &[ArrayRef]) -> Result<()> {
        self.rows += keys.first().map_or(0, |key| key.len());
        for ((min, max), key) in self.columns.iter_mut().zip(keys) {
            self.nulls |= key.null_count() > 0;
            min.update_batch(std::slice::from_ref(key))?;
            max.update_batch(std::slice::from_ref(key))?;
        }
        Ok(())
    }
}

/// What a build side holds.
pub(super) struct Found {
    bounds: Vec<(ScalarValue, ScalarValue)>,
    nulls: bool,
    empty: bool,
    table: Option<Arc<JoinTable>>,
    keys: Vec<Vec<ArrayRef>>,
}

impl Found {
    pub(super) fn new(
        bounds: Bounds,
        keys: Option<(&Arc<JoinTable>, &[Vec<ArrayRef>])>,
    ) -> Result<Found> {
        let Bounds { columns, nulls, rows } = bounds;
        let of = |(mut min, mut max): (MinAccumulator, MaxAccumulator)| {
            Ok((min.evaluate()?, max.evaluate()?))
        };
        Ok(Found {
            bounds: columns.into_iter().map(of).collect::<Result<_>>()?,
            nulls,
            empty: keys.map_or(rows == 0, |(table, _)| table.is_empty()),
            table: keys.map(|(table, _)| Arc::clone(table)),
            // Lists are made of few keys only.
            keys: keys.map(|(_, keys)| keys.to_vec()).unwrap_or_default(),
        })
    }
}

enum Status {
    Pending,
    /// Ended without a report: it may hold anything.
    Unknown,
    Empty,
    Filter {
        filter: Expr,
        nulls: bool,
    },
}

/// The reports of the build sides of a join.
pub(super) struct Reports {
    target: FilterTarget,
    parts: Mutex<Vec<Status>>,
    published: Notify,
}

impl Reports {
    pub(super) fn new(target: FilterTarget) -> Reports {
        let parts = (0..target.partitions).map(|_| Status::Pending).collect();
        Reports { target, parts: Mutex::new(parts), published: Notify::new() }
    }

    /// Takes what a build side holds. The last report publishes the filter.
    pub(super) fn report(&self, partition: usize, found: Found) -> Result<()> {
        let status = match found.empty {
            true => Status::Empty,
            false => Status::Filter { filter: self.target.of_part(&found)?, nulls: found.nulls },
        };
        self.set(partition, status)
    }

    /// A build side that will not report.
    fn cancel(&self, partition: usize) {
        // Whoever is left goes on without the filter when it cannot be made.
        let _ = self.set(partition, Status::Unknown);
    }

    fn set(&self, partition: usize, status: Status) -> Result<()> {
        let mut parts = self.parts.lock();
        match parts.get_mut(partition) {
            Some(place) if matches!(place, Status::Pending) => *place = status,
            _ => return Ok(()),
        }
        if parts.iter().any(|part| matches!(part, Status::Pending)) {
            return Ok(());
        }
        let published = self.target.of_parts(&parts).and_then(|filter| {
            self.target.filter.update(filter)?;
            self.target.filter.mark_complete();
            Ok(())
        });
        drop(parts);
        self.published.notify_waiters();
        published
    }

    /// Waits until the filter is published, for a while.
    pub(super) async fn wait(&self) {
        let published = async {
            loop {
                let mut published = std::pin::pin!(self.published.notified());
                published.as_mut().enable();
                if !self.parts.lock().iter().any(|part| matches!(part, Status::Pending)) {
                    return;
                }
                published.await;
            }
        };
        let _ = tokio::time::timeout(WAIT_MAX, published).await;
    }
}

/// Tells the others when a partition ends before it has reported.
pub(super) struct ReportGuard {
    pub(super) reports: Arc<Reports>,
    pub(super) partition: usize,
}

impl Drop for ReportGuard {
    fn drop(&mut self) {
        self.reports.cancel(self.partition);
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Arc::new(BinaryExpr::new(left, op, right))
}

impl FilterTarget {
    /// What probe rows of one partition must satisfy, NULLs apart.
    fn of_part(&self, found: &Found) -> Result<Expr> {
        let mut parts = Vec::new();
        for (key, (min, max)) in self.on_probe.iter().zip(&found.bounds) {
            if min.is_null() || max.is_null() {
                continue;
            }
            let low = binary(Arc::clone(key), Operator::GtEq, lit(min.clone()));
            let high = binary(Arc::clone(key), Operator::LtEq, lit(max.clone()));
            parts.push(binary(low, Operator::And, high));
        }
        if let Some(table) = &found.table {
            parts.push(match self.list(table, &found.keys)? {
                Some(list) => list,
                None => Arc::new(TableLookupExpr {
                    keys: self.on_probe.clone(),
                    table: Arc::clone(table),
                }),
            });
        }
        let all = parts.into_iter().reduce(|all, part| binary(all, Operator::And, part));
        Ok(all.unwrap_or_else(|| lit(true)))
    }

    /// The keys as a list, when they are few.
    fn list(&self, table: &JoinTable, keys: &[Vec<ArrayRef>]) -> Result<Option<Expr>> {
        let [on] = &self.on_probe[..] else {
            return Ok(None);
        };
        let columns: Vec<&dyn Array> =
            keys.iter().filter_map(|keys| Some(keys.first()?.as_ref())).collect();
        let bytes: usize = columns.iter().map(|column| column.get_buffer_memory_size()).sum();
        if bytes > self.list_max_bytes || table.keys() > self.list_max_keys {
            return Ok(None);
        }
        let rows = UInt32Array::from(table.key_rows());
        let values = take(&concat(&columns)?, &rows, None)?;
        let list = InListExpr::try_new_from_array(Arc::clone(on), values, false, &self.schema)?;
        Ok(Some(Arc::new(list)))
    }

    fn of_parts(&self, parts: &[Status]) -> Result<Expr> {
        let unknown = parts.iter().any(|part| matches!(part, Status::Unknown | Status::Pending));
        let nulls =
            unknown || parts.iter().any(|part| matches!(part, Status::Filter { nulls: true, .. }));
        let filters: Vec<(usize, &Expr)> = parts
            .iter()
            .enumerate()
            .filter_map(|(at, part)| match part {
                Status::Filter { filter, .. } => Some((at, filter)),
                _ => None,
            })
            .collect();
        let filter = match &filters[..] {
            _ if unknown && filters.is_empty() => lit(true),
            [] => lit(false),
            [(_, only)] if !unknown => Arc::clone(only),
            _ => self.routed(parts, unknown)?,
        };
        self.with_nulls(filter, nulls)
    }

    /// `CASE hash(key) % n WHEN partition THEN filter of it … END`.
    fn routed(&self, parts: &[Status], unknown: bool) -> Result<Expr> {
        let seed = REPARTITION_RANDOM_STATE;
        let hash = HashExpr::new(self.route.clone(), seed, "hash_repartition".to_owned());
        let number = |number: usize| lit(ScalarValue::UInt64(Some(number as u64)));
        let partition = binary(Arc::new(hash), Operator::Modulo, number(parts.len()));
        let branch = |(at, part): (usize, &Status)| match part {
            Status::Filter { filter, .. } => Some((number(at), Arc::clone(filter))),
            Status::Empty if unknown => Some((number(at), lit(false))),
            _ => None,
        };
        let branches = parts.iter().enumerate().filter_map(branch).collect();
        Ok(Arc::new(CaseExpr::try_new(Some(partition), branches, Some(lit(unknown)))?))
    }

    /// Keeps probe rows with a NULL that may match a NULL.
    fn with_nulls(&self, filter: Expr, build_nulls: bool) -> Result<Expr> {
        if !self.nulls_equal || !build_nulls {
            return Ok(filter);
        }
        let mut out = filter;
        for key in &self.on_probe {
            if key.nullable(&self.schema)? {
                out = binary(Arc::new(IsNullExpr::new(Arc::clone(key))), Operator::Or, out);
            }
        }
        Ok(out)
    }
}

/// True for rows whose keys are in a table.
struct TableLookupExpr {
    keys: Vec<Expr>,
    table: Arc<JoinTable>,
}

impl fmt::Debug for TableLookupExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableLookupExpr").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl fmt::Display for TableLookupExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hash_lookup")
    }
}

impl PartialEq for TableLookupExpr {
    fn eq(&self, other: &TableLookupExpr) -> bool {
        self.keys == other.keys && Arc::ptr_eq(&self.table, &other.table)
    }
}

impl Eq for TableLookupExpr {}

impl Hash for TableLookupExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.keys.hash(state);
        Arc::as_ptr(&self.table).hash(state);
    }
}

impl PhysicalExpr for TableLookupExpr {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(false)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let found = self.table.contains(&crate::parts::keys(&self.keys, batch)?)?;
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::new(found, None))))
    }

    fn children(&self) -> Vec<&Expr> {
        self.keys.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Expr>) -> Result<Expr> {
        Ok(Arc::new(TableLookupExpr { keys: children, table: Arc::clone(&self.table) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hash_lookup")
    }
}
