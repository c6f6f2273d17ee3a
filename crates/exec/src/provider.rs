//! A table of the catalog as DataFusion sees it while planning.
//!
//! Owns the choice of what a scan reads: columns, segments that can match, order, placement and
//! statistics. Runs on the leader from the catalog alone; must not open a segment.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use base::SqlType;
use base::ids::ColumnId;
use base::segment::{Datum, ROW_ADDRESS, Segment};
use catalog::{DistStyle, SortKey, Table, TableStatistics};
use columnar::{CompareOp, Predicate};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{ColumnStatistics, DFSchema, Result, Statistics, internal_err};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use crate::order::{self, Estimate};
use crate::placement;
use crate::scan::{
    ColumnPredicate, ScanColumn, ScanSpec, SegmentScanExec, Slices, Split, order_by_key,
    segment_can_match, statistics,
};

/// How scans of the cluster are cut into partitions while a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLayout {
    /// All data slices of the cluster.
    pub slices: u16,
    /// Partitions of a sliced table's scan; divides `slices`.
    pub partitions: u16,
    /// Partitions of the scan of a DISTSTYLE ALL table, of which the first has all rows.
    pub replica_partitions: u16,
}

impl ScanLayout {
    /// One partition for each slice, one for a DISTSTYLE ALL table.
    pub fn new(slices: u16) -> ScanLayout {
        ScanLayout { slices, partitions: slices, replica_partitions: 1 }
    }
}

/// A table at a snapshot: its definition and the segments that are visible.
#[derive(Debug)]
pub struct SegmentTable {
    table: Arc<Table>,
    segments: Arc<[Arc<Segment>]>,
    layout: ScanLayout,
    fills: BTreeMap<ColumnId, Datum>,
    schema: SchemaRef,
    /// The DISTKEY when the running hash placed every segment.
    key: Option<ColumnId>,
    /// The schema ends with [`ROW_ADDRESS`].
    addressed: bool,
    analyzed: Option<Arc<TableStatistics>>,
    /// What is known of all rows, once it was asked for.
    estimate: OnceLock<Estimate>,
}

impl SegmentTable {
    /// The table with the segments of a snapshot.
    pub fn new(
        table: Arc<Table>,
        segments: Arc<[Arc<Segment>]>,
        layout: ScanLayout,
    ) -> SegmentTable {
        let fields =
            table.columns.iter().map(|column| column.sql_type.field(&column.name, column.nullable));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let key = match table.distribution.effective {
            DistStyle::Key(column) if placement::is_placed(&segments, column, layout.slices) => {
                Some(column)
            }
            _ => None,
        };
        let fill = |column: &catalog::Column| Some((column.id, column.fill.clone()?));
        let fills = table.columns.iter().filter_map(fill).collect();
        SegmentTable {
            table,
            segments,
            layout,
            fills,
            schema,
            key,
            addressed: false,
            analyzed: None,
            estimate: OnceLock::new(),
        }
    }

    /// The table with the values that columns have in segments older than they are; NULL
    /// without one.
    pub fn with_fills(mut self, fills: BTreeMap<ColumnId, Datum>) -> SegmentTable {
        self.fills = fills;
        self
    }

    /// The table with the column [`ROW_ADDRESS`] after its own, which finds a row again.
    #[must_use]
    pub fn with_row_address(mut self) -> SegmentTable {
        let address = SqlType::BigInt.field(ROW_ADDRESS, false);
        let fields = self.schema.fields().iter().cloned().chain([Arc::new(address)]);
        self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        self.addressed = true;
        self
    }

    /// The table with what ANALYZE found out about its values.
    #[must_use]
    pub fn with_analyzed(mut self, analyzed: Option<Arc<TableStatistics>>) -> SegmentTable {
        self.analyzed = analyzed;
        self
    }

    /// What ANALYZE found out about the table's values.
    pub fn analyzed(&self) -> Option<&Arc<TableStatistics>> {
        self.analyzed.as_ref()
    }

    /// What is known of all rows: planning asks for it again and again.
    pub(crate) fn estimate(&self, known: impl FnOnce() -> Estimate) -> &Estimate {
        self.estimate.get_or_init(known)
    }

    /// What segments tell of the columns at `places` of the schema.
    pub(crate) fn column_statistics(&self, places: &[usize]) -> Vec<ColumnStatistics> {
        let spec = self.spec(places);
        statistics::of_segments(&spec.columns, &self.segments, spec.key).column_statistics
    }

    /// The table's definition.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The segments of the snapshot.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// True when rows are known to be on the slice of their DISTKEY.
    pub fn is_placed(&self) -> bool {
        self.key.is_some()
    }

    fn is_replica(&self) -> bool {
        self.table.distribution.effective == DistStyle::All
    }

    fn slices(&self) -> Result<Slices> {
        let ScanLayout { slices, partitions, replica_partitions } = self.layout;
        if self.is_replica() {
            return Ok(Slices::Replica { partitions: replica_partitions.max(1) });
        }
        if partitions == 0 || !slices.is_multiple_of(partitions) {
            return internal_err!("{slices} slices do not divide into {partitions} partitions");
        }
        let outside = |segment: &Arc<Segment>| segment.slice.is_none_or(|s| s.0 >= slices);
        if let Some(segment) = self.segments.iter().find(|segment| outside(segment)) {
            return internal_err!("segment {} belongs to none of {slices} slices", segment.path);
        }
        Ok(Slices::Folded { slices, partitions })
    }

    /// What a scan of the table's columns `used` reads.
    fn spec(&self, used: &[usize]) -> ScanSpec {
        let columns: Vec<ScanColumn> = used.iter().filter_map(|at| self.column(*at)).collect();
        let place = |id: ColumnId| columns.iter().position(|column| column.id == id);
        let order = match &self.table.sort_key {
            SortKey::Compound(key) if self.is_ordered(key) => {
                key.iter().map_while(|id| place(*id)).collect()
            }
            _ => Vec::new(),
        };
        ScanSpec {
            table: self.table.oid,
            name: self.table.name.clone(),
            key: self.key.and_then(place),
            order,
            columns,
        }
    }

    /// The column at place `at` of the schema, as a scan reads it.
    fn column(&self, at: usize) -> Option<ScanColumn> {
        if self.addressed && at == self.table.columns.len() {
            return Some(ScanColumn::address());
        }
        self.table.columns.get(at).map(|column| ScanColumn {
            id: column.id,
            sql_type: column.sql_type,
            name: column.name.clone(),
            nullable: column.nullable,
            fill: self.fills.get(&column.id).cloned(),
        })
    }

    /// True when each slice's segments, read one after another, give rows in key order.
    fn is_ordered(&self, key: &[ColumnId]) -> bool {
        let mut by_slice: BTreeMap<Option<u16>, Vec<Arc<Segment>>> = BTreeMap::new();
        for segment in self.segments.iter() {
            let slice = segment.slice.map(|slice| slice.0);
            by_slice.entry(slice).or_default().push(Arc::clone(segment));
        }
        by_slice.into_values().all(|mut segments| order_by_key(&mut segments, key))
    }

    /// The segments that the conjuncts leave, by their statistics and by where the DISTKEY
    /// places a constant.
    fn matching(&self, spec: &ScanSpec, split: &Split) -> Result<Arc<[Arc<Segment>]>> {
        let slices = self.slices_of_key(spec, split)?;
        let matches = |segment: &&Arc<Segment>| {
            let answer = |predicate: &ColumnPredicate| {
                let stats = spec.columns.get(predicate.column).and_then(|c| segment.column(c.id));
                segment_can_match(predicate, &spec.columns, stats, segment.rows)
            };
            let placed = match (&slices, segment.slice) {
                (Some(slices), Some(slice)) => slices.contains(&slice.0),
                _ => true,
            };
            placed
                && split.encoded.iter().all(answer)
                && split.prune.iter().all(|prune| prune.can_match(&answer))
        };
        Ok(self.segments.iter().filter(matches).cloned().collect())
    }

    /// The slices on which rows can be when the DISTKEY equals constants.
    fn slices_of_key(&self, spec: &ScanSpec, split: &Split) -> Result<Option<Vec<u16>>> {
        let Some(key) = spec.key else {
            return Ok(None);
        };
        let sql_type = spec.column(key)?.sql_type;
        for predicate in split.encoded.iter().filter(|predicate| predicate.column == key) {
            let values = match &predicate.predicate {
                Predicate::Compare { op: CompareOp::Eq, value } => std::slice::from_ref(value),
                Predicate::In(values) => values.as_slice(),
                _ => continue,
            };
            // The zero of either sign is equal to the other and hashes differently.
            if values.iter().any(|value| matches!(value, Datum::Float(_))) {
                continue;
            }
            let mut slices = Vec::with_capacity(values.len());
            for value in values {
                let Some(scalar) = crate::scan::scalar_of(Some(value), sql_type) else {
                    return Ok(None);
                };
                slices.push(placement::slice_of(&scalar, self.layout.slices)?.0);
            }
            return Ok(Some(slices));
        }
        Ok(None)
    }
}

/// True for a filter that gives the same answer wherever and whenever it runs.
fn is_evaluable(filter: &Expr) -> bool {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut evaluable = !filter.is_volatile();
    let visited = filter.apply(|node| {
        let refused = matches!(
            node,
            Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
                | Expr::Unnest(_)
                | Expr::GroupingSet(_)
        );
        evaluable &= !refused;
        Ok(if refused { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    evaluable && visited.is_ok()
}

#[async_trait]
impl TableProvider for SegmentTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // A condition on no column stays where DataFusion finds out whether it is always true or
        // never.
        let support = |filter: &&Expr| match is_evaluable(filter) && filter.any_column_refs() {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let spec = self.spec(&all);
        Some(statistics::of_segments(&spec.columns, &self.segments, spec.key))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let given_out: Vec<usize> = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let mut used = given_out.clone();
        for column in filters.iter().flat_map(Expr::column_refs) {
            let at = self.schema.index_of(&column.name)?;
            if !used.contains(&at) {
                used.push(at);
            }
        }
        let spec = Arc::new(self.spec(&used));
        let source = DFSchema::try_from(spec.schema())?;
        let analyzed_rows = match filters.is_empty() {
            true => None,
            false => order::filtered_rows(self, filters),
        };
        let filters: Vec<Arc<dyn PhysicalExpr>> = conjunction(filters.to_vec())
            .map(|filter| state.create_physical_expr(filter, &source))
            .into_iter()
            .collect::<Result<_>>()?;
        let split = Split::new(&filters, &spec.columns);
        let segments = self.matching(&spec, &split)?;
        let mut known = statistics::of_segments(&spec.columns, &segments, spec.key);
        if !filters.is_empty() {
            known = statistics::filtered(known, &split, analyzed_rows);
        }
        // The columns given out come first among those used.
        known.column_statistics.truncate(given_out.len());
        let known = statistics::with_byte_size(known);
        let projection = (0..given_out.len()).collect();
        let scan = SegmentScanExec::try_new(spec, self.slices()?, segments, projection, filters)?
            .with_statistics(known);
        Ok(match limit.and_then(|limit| scan.with_fetch(Some(limit))) {
            Some(limited) => limited,
            None => Arc::new(scan),
        })
    }
}
