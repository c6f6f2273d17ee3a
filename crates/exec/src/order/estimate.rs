//! How many rows a plan gives, how wide they are, how many values its columns have.
//!
//! Starts at the catalog's statistics of tables and follows the plan upwards. Estimates only:
//! nothing here may fail, and what is not known has a default.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use catalog::{Constraint, DistStyle};
use datafusion::catalog::TableProvider;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Filter, Join, LogicalPlan, Projection, TableScan, Union,
};

use super::selectivity::{self, number};
use super::values::Values;
use crate::provider::SegmentTable;
use crate::sharing::SharedTable;

/// Rows of a table of which nothing is known.
const UNKNOWN_ROWS: f64 = 10_000.0;
/// Distinct values of a column of which nothing is known, as a part of the rows.
const UNKNOWN_DISTINCT: f64 = 0.1;
/// The least part of the rows' number that a key's values are.
const KEY_LEAST: f64 = 0.9;
/// What a join's further conditions keep when nothing is known of them.
pub(super) const JOIN_FILTER: f64 = 0.3;
/// The part of its rows that a table at least loses by a test against another.
const TEST_LEAST: f64 = 0.05;
/// What further conditions of such a test keep: one partner of several is enough.
const TEST_FILTER: f64 = 0.9;
/// What a text takes in memory beside its bytes, and the most of what is no text.
const VIEW_BYTES: f64 = 16.0;
const FIXED_BYTES_MAX: u8 = 16;
/// Bytes of a text in memory when its length is not known.
const TEXT_BYTES: f64 = 24.0;

/// Where rows are, with columns named by their position in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    Anywhere,
    Hash(usize),
    Replica,
}

#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    pub(crate) rows: f64,
    /// Rows before anything was filtered.
    pub(super) unfiltered: f64,
    pub(super) columns: Vec<ColumnEstimate>,
    pub(super) spread: Spread,
    /// What the rows of one table were filtered by, whether or not the columns are still there.
    pub(super) conditions: Vec<Condition>,
}

/// A condition on one column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    /// Values of the column before.
    pub(super) values: f64,
    /// The part of the rows that the condition keeps.
    pub(super) kept: f64,
}

#[derive(Clone, Debug)]
pub(super) struct ColumnEstimate {
    /// Values among the rows.
    pub(super) distinct: f64,
    /// Values of the column before other columns were filtered: what a value of another column
    /// meets one of.
    pub(super) domain: f64,
    /// The part of the rows without a value.
    pub(super) nulls: f64,
    /// Bounds as [`number`] makes them.
    pub(super) bounds: Option<(f64, f64)>,
    /// Bytes in memory.
    pub(super) width: f64,
    /// How the values are spread, as long as nothing filtered the column.
    pub(super) values: Option<Values>,
}

impl Estimate {
    pub(super) fn width(&self) -> f64 {
        self.columns.iter().map(|column| column.width).sum::<f64>().max(1.0)
    }

    pub(crate) fn bytes(&self) -> f64 {
        self.rows * self.width()
    }

    /// After a filter that keeps a part of the rows, whatever their values.
    pub(super) fn thin(&mut self, kept: f64) {
        let before = self.rows.max(1.0);
        self.rows = (before * kept).max(1.0);
        for column in &mut self.columns {
            // The chance that none of the rows with a value is kept.
            let often = (before / column.distinct.max(1.0)).max(1.0);
            let left = column.distinct * (1.0 - (1.0 - kept.clamp(0.0, 1.0)).powf(often));
            column.distinct = left.clamp(1.0, self.rows);
        }
    }

    fn limit(&mut self, rows: f64) {
        if rows < self.rows {
            let kept = rows / self.rows;
            self.thin(kept);
        }
    }

    /// Columns and constants of the output by expressions over this one.
    fn project<'e>(&self, exprs: impl Iterator<Item = &'e Expr>, from: &DFSchema) -> Estimate {
        let exprs: Vec<&Expr> = exprs.collect();
        let columns = exprs.iter().map(|expr| self.of(expr, from)).collect();
        let spread = match self.spread {
            Spread::Hash(key) => exprs
                .iter()
                .position(|expr| position(expr, from) == Some(key))
                .map_or(Spread::Anywhere, Spread::Hash),
            spread => spread,
        };
        Estimate { columns, spread, ..self.clone() }
    }

    /// The values of a column among which those of `other`, a column that it is compared with,
    /// are found.
    ///
    /// A dimension of time goes far beyond the days of the facts, and nobody asks for days
    /// without facts. Where the values of `other` lie in a small range of a key's, only the
    /// key's values in that range count. A condition on a column with fewer values than such
    /// ranges fit beside each other (a month of the year) keeps as many of the range as of
    /// the whole; one with more values (a year) moves along with the key and is met by values in
    /// the range.
    pub(super) fn met_domain(&self, column: &ColumnEstimate, other: &ColumnEstimate) -> f64 {
        let is_key = column.domain >= KEY_LEAST * self.unfiltered;
        let (true, Some((low, high)), Some((from, to))) = (is_key, column.bounds, other.bounds)
        else {
            return column.domain;
        };
        let inside = (to.min(high) - from.max(low)) / (high - low);
        // Also false for keys of a single value.
        if !(inside > 0.0 && inside < 1.0) {
            return column.domain;
        }
        let along = self.conditions.iter().filter(|one| one.values * inside >= 1.0);
        let kept: f64 = along.map(|one| one.kept).product();
        (column.domain * kept.max(inside)).max(1.0)
    }

    /// The part of the values of an expression that its rows have, of those before anything was
    /// filtered.
    pub(crate) fn kept_values(&self, expr: &Expr, schema: &DFSchema) -> f64 {
        let known = self.of(expr, schema);
        (known.distinct / known.domain.max(1.0)).min(1.0)
    }

    /// What is known of an expression over the output.
    pub(super) fn of(&self, expr: &Expr, schema: &DFSchema) -> ColumnEstimate {
        if let Some(column) = position(expr, schema).and_then(|at| self.columns.get(at)) {
            return column.clone();
        }
        let used = expr.column_refs();
        let columns = used
            .iter()
            .filter_map(|column| self.columns.get(schema.maybe_index_of_column(column)?));
        let known: Vec<&ColumnEstimate> = columns.collect();
        let product = |of: fn(&ColumnEstimate) -> f64| -> f64 {
            known.iter().map(|column| of(column)).product::<f64>().min(self.rows)
        };
        ColumnEstimate {
            distinct: product(|column| column.distinct).max(1.0),
            domain: product(|column| column.domain).max(1.0),
            nulls: known.iter().map(|column| column.nulls).fold(0.0, f64::max),
            bounds: None,
            width: known.iter().map(|column| column.width).fold(8.0, f64::max),
            values: None,
        }
    }
}

/// The position of the column that an expression names, also under another name or type.
pub(crate) fn position(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        Expr::Alias(alias) => position(&alias.expr, schema),
        Expr::Cast(cast) => position(&cast.expr, schema),
        Expr::TryCast(cast) => position(&cast.expr, schema),
        _ => None,
    }
}

/// Estimates plans, looking at each table's statistics once.
#[derive(Default)]
pub(super) struct Estimator {
    /// By the address of the table's source, which the plan keeps alive.
    tables: RefCell<HashMap<usize, Estimate>>,
}

impl Estimator {
    /// The estimate of a plan's output.
    pub(super) fn of_plan(&self, plan: &LogicalPlan) -> Estimate {
        settled(self.of_node(plan), plan)
    }

    fn of_union(&self, union: &Union) -> Estimate {
        let mut inputs = union.inputs.iter().map(|input| self.of_plan(input));
        let (columns, spread) = (Vec::new(), Spread::Anywhere);
        let nothing =
            Estimate { rows: 0.0, unfiltered: 0.0, columns, spread, conditions: Vec::new() };
        let first = inputs.next().unwrap_or(nothing);
        let whole = inputs.fold(first, |mut whole, input| {
            whole.rows += input.rows;
            whole.unfiltered += input.unfiltered;
            for (column, other) in whole.columns.iter_mut().zip(&input.columns) {
                column.distinct = column.distinct.max(other.distinct);
                column.domain = column.domain.max(other.domain);
                (column.bounds, column.values) = (None, None);
            }
            whole
        });
        Estimate { spread: Spread::Anywhere, conditions: Vec::new(), ..whole }
    }

    fn of_node(&self, plan: &LogicalPlan) -> Estimate {
        match plan {
            LogicalPlan::TableScan(scan) => self.of_scan(scan),
            LogicalPlan::Projection(Projection { expr, input, .. }) => {
                self.of_plan(input).project(expr.iter(), input.schema())
            }
            LogicalPlan::Filter(filter) => self.of_filter(filter),
            LogicalPlan::SubqueryAlias(alias) => self.of_plan(&alias.input),
            LogicalPlan::Subquery(subquery) => self.of_plan(&subquery.subquery),
            LogicalPlan::Repartition(repartition) => self.of_plan(&repartition.input),
            LogicalPlan::Aggregate(aggregate) => self.of_aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let mut estimate = self.of_plan(input);
                estimate.rows = combinations(estimate.columns.iter(), estimate.rows);
                estimate.unfiltered = estimate.rows;
                estimate
            }
            LogicalPlan::Distinct(Distinct::On(distinct)) => {
                let input = self.of_plan(&distinct.input);
                let from = distinct.input.schema();
                let keys: Vec<_> =
                    distinct.on_expr.iter().map(|expr| input.of(expr, from)).collect();
                let mut output = input.project(distinct.select_expr.iter(), from);
                output.limit(combinations(keys.iter(), input.rows));
                output
            }
            LogicalPlan::Sort(sort) => {
                let mut input = self.of_plan(&sort.input);
                input.limit(sort.fetch.map_or(f64::INFINITY, |fetch| fetch as f64));
                input
            }
            LogicalPlan::Limit(limit) => {
                let mut input = self.of_plan(&limit.input);
                if let Ok(FetchType::Literal(Some(fetch))) = limit.get_fetch_type() {
                    input.limit(fetch as f64);
                }
                Estimate { spread: Spread::Anywhere, ..input }
            }
            LogicalPlan::Join(join) => self.of_join(join),
            LogicalPlan::Union(union) => self.of_union(union),
            LogicalPlan::Window(window) => {
                let mut input = self.of_plan(&window.input);
                let more = window.schema.fields().len().saturating_sub(input.columns.len());
                let rows = input.rows;
                input.columns.extend((0..more).map(|_| unknown_column(rows, 8.0)));
                input
            }
            LogicalPlan::EmptyRelation(empty) => {
                Estimate { rows: f64::from(u8::from(empty.produce_one_row)), ..unknown(plan) }
            }
            LogicalPlan::Values(values) => {
                Estimate { rows: values.values.len() as f64, ..unknown(plan) }
            }
            other => match other.inputs()[..] {
                [input] => Estimate { rows: self.of_plan(input).rows, ..unknown(plan) },
                _ => unknown(plan),
            },
        }
    }

    fn of_filter(&self, filter: &Filter) -> Estimate {
        let mut input = self.of_plan(&filter.input);
        // What a scan was told of is tested above it once more.
        let told = match filter.input.as_ref() {
            LogicalPlan::TableScan(scan) => &scan.filters[..],
            _ => &[],
        };
        let conditions = split_conjunction(&filter.predicate);
        let others = conditions.into_iter().filter(|one| !told.contains(one));
        selectivity::filter(&mut input, others, filter.input.schema());
        input
    }

    /// The rows of a table that a scan's filters leave, with the columns that it gives out.
    fn of_scan(&self, scan: &TableScan) -> Estimate {
        let address = Arc::as_ptr(&scan.source).cast::<()>() as usize;
        let known = self.tables.borrow().get(&address).cloned();
        let mut table = known.unwrap_or_else(|| of_table(scan));
        self.tables.borrow_mut().entry(address).or_insert_with(|| table.clone());
        let schema = scan.source.schema();
        if let Ok(schema) = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &schema) {
            selectivity::filter(&mut table, scan.filters.iter(), &schema);
        }
        if let Some(fetch) = scan.fetch {
            table.limit(fetch as f64);
        }
        if let Some(projection) = &scan.projection {
            let spread = match table.spread {
                Spread::Hash(key) => {
                    let kept = projection.iter().position(|at| *at == key);
                    kept.map_or(Spread::Anywhere, Spread::Hash)
                }
                spread => spread,
            };
            let columns =
                projection.iter().filter_map(|at| table.columns.get(*at).cloned()).collect();
            table = Estimate { columns, spread, ..table };
        }
        table
    }

    fn of_aggregate(&self, aggregate: &Aggregate) -> Estimate {
        let input = self.of_plan(&aggregate.input);
        let from = aggregate.input.schema();
        let mut groups = input.project(aggregate.group_expr.iter(), from);
        let rows = combinations(groups.columns.iter(), input.rows);
        if let (Spread::Anywhere, [_]) = (groups.spread, &aggregate.group_expr[..]) {
            groups.spread = Spread::Hash(0);
        }
        if aggregate.group_expr.is_empty() {
            groups.spread = Spread::Anywhere;
        }
        let results =
            aggregate.aggr_expr.iter().map(|_| unknown_column(rows / UNKNOWN_DISTINCT, 16.0));
        groups.columns.iter_mut().for_each(|column| column.values = None);
        groups.columns.extend(results);
        let domains = groups.columns.iter().take(aggregate.group_expr.len());
        let domains: f64 = domains.map(|column| column.domain).product();
        groups.unfiltered = domains.min(input.unfiltered).max(rows);
        groups.rows = rows;
        groups.conditions.clear();
        groups
    }

    /// The output of a join by the number of pairs that agree.
    fn of_join(&self, join: &Join) -> Estimate {
        let (left, right) = (self.of_plan(&join.left), self.of_plan(&join.right));
        let tested = |outer: &Estimate, inner: &Estimate, anti: bool, turned: bool| {
            let kept = kept_by_test(join, outer, inner, turned);
            let mut outer = outer.clone();
            outer.thin(if anti { 1.0 - kept } else { kept });
            outer
        };
        match join.join_type {
            JoinType::LeftSemi => return tested(&left, &right, false, false),
            JoinType::LeftAnti => return tested(&left, &right, true, false),
            JoinType::RightSemi => return tested(&right, &left, false, true),
            JoinType::RightAnti => return tested(&right, &left, true, true),
            JoinType::LeftMark => return left,
            JoinType::RightMark => return right,
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {}
        }
        let equal = equal(join, &left, &right);
        let unfiltered = left.unfiltered * right.unfiltered * equal;
        let mut rows = left.rows * right.rows * equal;
        rows *= if join.filter.is_some() { JOIN_FILTER } else { 1.0 };
        let rows = match join.join_type {
            JoinType::Left => rows.max(left.rows),
            JoinType::Right => rows.max(right.rows),
            JoinType::Full => rows.max(left.rows + right.rows),
            _ => rows,
        };
        // Rows that come out lie like those of the side that probes.
        let spread = match (join.join_type, left.spread, right.spread) {
            (JoinType::Left, spread @ Spread::Hash(_), _) => spread,
            (JoinType::Inner | JoinType::Right, _, Spread::Hash(at)) => {
                Spread::Hash(at + left.columns.len())
            }
            (_, Spread::Replica, Spread::Replica) => Spread::Replica,
            _ => Spread::Anywhere,
        };
        let mut columns: Vec<_> = left.columns.into_iter().chain(right.columns).collect();
        columns.iter_mut().for_each(|column| column.values = None);
        let rows = rows.max(1.0);
        Estimate { rows, unfiltered: unfiltered.max(rows), columns, spread, conditions: Vec::new() }
    }
}

/// The part of the pairs that agree in all keys of a join: the side with fewer values has values
/// of the other. Several keys between the same two tables back off, and together keep no less
/// than one in the combinations that exist.
fn equal(join: &Join, left: &Estimate, right: &Estimate) -> f64 {
    let keys = join.on.iter().map(|(l, r)| {
        let l = left.of(l, join.left.schema());
        let r = right.of(r, join.right.schema());
        (left.met_domain(&l, &r).max(1.0), right.met_domain(&r, &l).max(1.0))
    });
    let keys: Vec<(f64, f64)> = keys.collect();
    let mut parts: Vec<f64> = keys.iter().map(|(l, r)| 1.0 / l.max(*r)).collect();
    let (lefts, rights) = join.on.iter().map(|(l, r)| (l, r)).unzip::<_, _, Vec<_>, Vec<_>>();
    if keys.len() < 2 || !of_one_table(&lefts) || !of_one_table(&rights) {
        return parts.iter().product();
    }
    parts.sort_by(f64::total_cmp);
    let backed_off = parts.iter().enumerate().map(|(at, part)| part.powf(0.5_f64.powi(at as i32)));
    let l: f64 = keys.iter().map(|(l, _)| l).product();
    let r: f64 = keys.iter().map(|(_, r)| r).product();
    let combinations = l.min(left.unfiltered).min(r.min(right.unfiltered));
    backed_off.product::<f64>().max(1.0 / combinations.max(1.0))
}

/// True for expressions over the columns of one table.
fn of_one_table(exprs: &[&Expr]) -> bool {
    let mut tables =
        exprs.iter().flat_map(|expr| expr.column_refs()).map(|column| &column.relation);
    let first = tables.next();
    tables.all(|table| Some(table) == first)
}

/// The estimate with a column for each of the plan's, and numbers that arithmetic can go on with.
fn settled(mut estimate: Estimate, plan: &LogicalPlan) -> Estimate {
    let fields = plan.schema().fields();
    let rows = if estimate.rows.is_finite() { estimate.rows.max(1.0) } else { UNKNOWN_ROWS };
    estimate.rows = rows;
    estimate.unfiltered = if estimate.unfiltered >= rows { estimate.unfiltered } else { rows };
    estimate.columns.truncate(fields.len());
    for field in fields.iter().skip(estimate.columns.len()) {
        estimate.columns.push(unknown_column(rows, type_width(field.data_type())));
    }
    for column in &mut estimate.columns {
        column.distinct = column.distinct.clamp(1.0, rows);
        column.domain = column.domain.max(column.distinct);
    }
    if matches!(estimate.spread, Spread::Hash(at) if at >= fields.len()) {
        estimate.spread = Spread::Anywhere;
    }
    estimate
}

fn unknown(plan: &LogicalPlan) -> Estimate {
    let fields = plan.schema().fields().iter();
    let columns = fields.map(|field| unknown_column(UNKNOWN_ROWS, type_width(field.data_type())));
    let (rows, spread) = (UNKNOWN_ROWS, Spread::Anywhere);
    let columns = columns.collect();
    Estimate { rows, unfiltered: rows, columns, spread, conditions: Vec::new() }
}

fn unknown_column(rows: f64, width: f64) -> ColumnEstimate {
    let distinct = (rows * UNKNOWN_DISTINCT).max(1.0);
    ColumnEstimate { distinct, domain: distinct, nulls: 0.0, bounds: None, width, values: None }
}

fn type_width(data_type: &arrow_schema::DataType) -> f64 {
    data_type.primitive_width().map_or(TEXT_BYTES, |bytes| bytes as f64)
}

/// Where the rows of a table are.
fn spread_of(provider: &dyn TableProvider) -> Spread {
    let Some(segments) = provider.downcast_ref::<SegmentTable>() else {
        return Spread::Anywhere;
    };
    let table = segments.table();
    match table.distribution.effective {
        DistStyle::All => Spread::Replica,
        DistStyle::Key(key) if segments.is_placed() => {
            let at = table.columns.iter().position(|column| column.id == key);
            at.map_or(Spread::Anywhere, Spread::Hash)
        }
        _ => Spread::Anywhere,
    }
}

fn of_column(known: &ColumnStatistics, rows: f64, width: f64) -> ColumnEstimate {
    let count = |count: &Precision<usize>| count.get_value().map(|count| *count as f64);
    let nulls = count(&known.null_count).map_or(0.0, |nulls| (nulls / rows.max(1.0)).min(1.0));
    let distinct = count(&known.distinct_count).unwrap_or(rows * UNKNOWN_DISTINCT).max(1.0);
    let bound = |bound: &Precision<_>| bound.get_value().and_then(number);
    let bounds = bound(&known.min_value).zip(bound(&known.max_value));
    let width = match count(&known.byte_size) {
        Some(bytes) if rows >= 1.0 => (bytes / rows).max(0.125),
        _ => width,
    };
    ColumnEstimate { distinct, domain: distinct, nulls, bounds, width, values: None }
}

/// Combinations of values that exist, at most one a row.
fn combinations<'a>(columns: impl Iterator<Item = &'a ColumnEstimate>, rows: f64) -> f64 {
    columns.map(|column| column.distinct).product::<f64>().min(rows).max(1.0)
}

/// The part of the outer side's rows that find a partner in the inner side. `turned`: the outer
/// side is the right one.
pub(super) fn kept_by_test(join: &Join, outer: &Estimate, inner: &Estimate, turned: bool) -> f64 {
    let (outer_plan, inner_plan) =
        if turned { (&join.right, &join.left) } else { (&join.left, &join.right) };
    let mut kept = if join.on.is_empty() { 0.5 } else { 1.0 };
    for (l, r) in &join.on {
        let (o, i) = if turned { (r, l) } else { (l, r) };
        let domain = outer.of(o, outer_plan.schema()).domain.max(1.0);
        let found = inner.of(i, inner_plan.schema()).distinct;
        kept = f64::min(kept, found / domain);
    }
    self::kept(kept, join.filter.is_some(), outer.rows)
}

/// What a test keeps, where `found` of the values have a partner.
pub(super) fn kept(found: f64, filtered: bool, rows: f64) -> f64 {
    let found = if filtered { found * TEST_FILTER } else { found };
    found.clamp((1.0 / rows.max(1.0)).min(TEST_LEAST), 1.0 - TEST_LEAST)
}

/// All rows of a scanned table, with all of its columns.
fn of_table(scan: &TableScan) -> Estimate {
    let provider = source_as_provider(&scan.source).ok();
    of_provider(provider.as_deref(), &scan.source.schema())
}

/// All rows of a table, with all of its columns.
pub(super) fn of_provider(provider: Option<&dyn TableProvider>, schema: &SchemaRef) -> Estimate {
    if let Some(shared) = provider.and_then(|provider| provider.downcast_ref::<SharedTable>()) {
        return shared.estimate().clone();
    }
    match provider.and_then(|provider| provider.downcast_ref::<SegmentTable>()) {
        Some(table) => table.estimate(|| of_rows(provider, schema)).clone(),
        None => of_rows(provider, schema),
    }
}

fn of_rows(provider: Option<&dyn TableProvider>, schema: &SchemaRef) -> Estimate {
    let known = provider.and_then(|provider| provider.statistics());
    let rows = match known.as_ref().map(|known| known.num_rows) {
        Some(Precision::Exact(rows) | Precision::Inexact(rows)) => rows as f64,
        _ => UNKNOWN_ROWS,
    };
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let width = type_width(field.data_type());
        match known.as_ref().and_then(|known| known.column_statistics.get(at)) {
            Some(column) => of_column(column, rows, width),
            None => unknown_column(rows, width),
        }
    });
    let mut columns: Vec<ColumnEstimate> = columns.collect();
    let segments = provider.and_then(|provider| provider.downcast_ref::<SegmentTable>());
    if let Some(table) = segments {
        refine(&mut columns, table, rows);
    }
    let spread = provider.map_or(Spread::Anywhere, spread_of);
    let rows = rows.max(1.0);
    Estimate { rows, unfiltered: rows, columns, spread, conditions: Vec::new() }
}

/// Adds what ANALYZE found and what keys declare to what segments tell.
fn refine(columns: &mut [ColumnEstimate], table: &SegmentTable, rows: f64) {
    let definition = table.table();
    for (known, column) in columns.iter_mut().zip(&definition.columns) {
        let analyzed = table.analyzed();
        known.values = analyzed.and_then(|all| Values::new(all, column.id, column.sql_type));
        if let Some(values) = &known.values {
            let found = values.distribution();
            known.distinct = (found.distinct as f64).max(1.0);
            if known.width > f64::from(FIXED_BYTES_MAX) && found.width > 0 {
                known.width = VIEW_BYTES + f64::from(found.width);
            }
        }
        let alone = |constraint: &Constraint| match constraint {
            Constraint::PrimaryKey { columns, .. } | Constraint::Unique { columns, .. } => {
                columns[..] == [column.id]
            }
            Constraint::ForeignKey { .. } => false,
        };
        if definition.constraints.iter().any(alone) {
            known.distinct = (rows * (1.0 - known.nulls)).max(1.0);
        }
        known.domain = known.distinct;
    }
}
