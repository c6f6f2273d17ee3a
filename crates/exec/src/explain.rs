//! EXPLAIN in Redshift's shape, from the plan that would run.
//!
//! Owns the translation of a divided plan to Redshift's operators, their labels of data movement
//! and their numbers. Costs are made from estimated rows and have no unit, as in Redshift.

mod analyze;
mod expression;
mod movement;

use std::cell::RefCell;
use std::collections::HashSet;

use datafusion::common::JoinType;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion_distributed::{DistributedLeafExec, NetworkCoalesceExec};

use self::expression::{condition, ordering, text};
use crate::distribute::Plan;
use crate::distribute::rows::LeaderRowsExec;
use crate::leaf::{self, LeafKind, SourceExec};
use crate::local;
use crate::names;
use crate::order;
use crate::pipeline::{self, PipelineExec, RollupExec};
use crate::query::Executable;
use crate::scan::SegmentScanExec;
use crate::settings::Settings;
use crate::write::SegmentWriteExec;

/// One operator as EXPLAIN shows it.
struct Operator {
    title: String,
    details: Vec<String>,
    children: Vec<Operator>,
    rows: f64,
    width: usize,
    /// To give the first row, and all of them.
    cost: (f64, f64),
    /// What it took when it ran.
    actual: Option<Actual>,
}

/// What an operator took when it ran.
struct Actual {
    text: String,
    rows: usize,
}

/// Rows that a node without statistics is taken to give.
const ROWS_UNKNOWN: f64 = 1_000.0;
/// What a row costs that crosses the network, against one that a scan gives.
const NETWORK_COST: f64 = 0.5;
const SCAN_COST: f64 = 0.01;
const ROW_COST: f64 = 0.0125;

impl Executable {
    /// The plan in Redshift's shape, a line each.
    pub fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let prefix = if self.is_leader_only() { "LD" } else { "XN" };
        let explainer = Explainer { prefix, annotate: false, left: &self.left() };
        explainer.tree(self.divided.root()).print(0, &mut lines);
        shown(lines)
    }

    /// With the rows of joins as the order of joins was chosen by.
    fn left(&self) -> Left {
        let joins = self.ordered.as_ref().map(order::join_rows).unwrap_or_default();
        Left { joins: RefCell::new(joins), ..Left::default() }
    }

    /// As [`Executable::explain`], followed by the physical plan.
    pub fn explain_verbose(&self) -> Vec<String> {
        let mut lines = self.explain();
        lines.push(String::new());
        lines.push("Physical plan:".to_owned());
        let plan = displayable(self.physical.as_ref()).indent(true).to_string();
        lines.extend(plan.lines().map(str::to_owned));
        lines.push(String::new());
        lines.push("Stages:".to_owned());
        let stages = displayable(self.divided.root().as_ref()).indent(true).to_string();
        lines.extend(stages.lines().map(str::to_owned));
        let mut pipelines = Vec::new();
        pipeline::describe(&self.physical, &mut pipelines);
        if !pipelines.is_empty() {
            lines.push(String::new());
            let settings = self.state.config().get_extension::<Settings>();
            let enabled = local::is_enabled(settings.as_deref(), pipeline::SETTING);
            lines.push(if enabled { "Pipelines:" } else { "Pipelines (turned off):" }.to_owned());
            lines.extend(pipelines.into_iter().map(|line| format!("  {line}")));
        }
        shown(lines)
    }
}

/// Columns by the names that users know.
fn shown(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| names::plain(&line).into_owned()).collect()
}

/// What is still to be shown.
#[derive(Default)]
struct Left {
    /// Estimated rows of joins, inputs before what joins them, by the names of the tables that
    /// are joined.
    joins: RefCell<Vec<(Vec<String>, f64)>>,
    /// The shared subplans that were shown already.
    shown: RefCell<HashSet<usize>>,
}

impl Left {
    fn take(&self, join: &Plan) -> Option<f64> {
        let mut left = self.joins.borrow_mut();
        if left.is_empty() {
            return None;
        }
        let mut tables = Vec::new();
        scanned(join, &mut tables);
        tables.sort();
        let at = left.iter().position(|(known, _)| *known == tables)?;
        Some(left.remove(at).1)
    }
}

/// The names of the tables that a plan scans.
fn scanned(plan: &Plan, tables: &mut Vec<String>) {
    let original = plan.downcast_ref::<DistributedLeafExec>().map_or(plan, |leaf| leaf.original());
    if let Some(scan) = original.downcast_ref::<SegmentScanExec>() {
        tables.push(scan.spec().name.clone());
    }
    // The order of joins sees a shared subplan as a table without a name.
    if let Some(rows) = original.downcast_ref::<LeaderRowsExec>()
        && rows.shared().is_none()
    {
        scanned(rows.plan(), tables);
    }
    plan.children().into_iter().for_each(|child| scanned(child, tables));
}

const SHARED: &str = "Shared Subplan";

/// How EXPLAIN names the rows of a shared subplan.
fn shared_title(number: usize) -> String {
    format!("{SHARED} {number}")
}

struct Explainer<'a> {
    prefix: &'static str,
    /// Show what the nodes counted while they ran.
    annotate: bool,
    left: &'a Left,
}

impl Explainer<'_> {
    fn tree(&self, plan: &Plan) -> Operator {
        if plan.children().is_empty() {
            return self.leaf(plan);
        }
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            let mut below = self.tree(child(plan, 0));
            below.details.push(format!("Filter: ({})", text(filter.predicate())));
            below.rows = rows(plan);
            return self.annotated(below, plan);
        }
        if let Some(operator) = self.join(plan) {
            return operator;
        }
        let Some((title, details)) = self.name(plan) else {
            let children = plan.children();
            return match children[..] {
                [only] => self.tree(only),
                _ => self.operator(plan, plan.name().to_owned(), Vec::new()),
            };
        };
        let operator = self.operator(plan, title, details);
        match limit(plan) {
            Some(limit) if !plan.is::<GlobalLimitExec>() => self.limited(operator, limit),
            _ => operator,
        }
    }

    /// The name of an operator with its details; `None` for one that Redshift does not show.
    fn name(&self, plan: &Plan) -> Option<(String, Vec<String>)> {
        let plain = |name: &str| Some((name.to_owned(), Vec::new()));
        if let Some(aggregate) = aggregate(plan) {
            return match aggregate.mode() {
                AggregateMode::Partial | AggregateMode::PartialReduce => None,
                _ if aggregate.group_expr().is_empty() => plain("Aggregate"),
                _ => plain("HashAggregate"),
            };
        }
        if let Some(sort) = plan.downcast_ref::<SortExec>() {
            return Some(("Sort".into(), vec![format!("Sort Key: {}", ordering(sort.expr()))]));
        }
        if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
            let key = format!("Merge Key: {}", ordering(merge.expr()));
            return Some(("Merge".into(), vec![key]));
        }
        if plan.is::<GlobalLimitExec>() {
            return plain("Limit");
        }
        if plan.is::<NetworkCoalesceExec>() {
            return Some(("Network".into(), vec!["Send to leader".into()]));
        }
        if plan.is::<UnionExec>() || plan.is::<InterleaveExec>() {
            return plain("Append");
        }
        if plan.is::<WindowAggExec>() || plan.is::<BoundedWindowAggExec>() {
            return plain("Window");
        }
        if plan.is::<UnnestExec>() {
            return plain("Unnest");
        }
        if plan.is::<RecursiveQueryExec>() {
            return plain("Recursive Union");
        }
        if let Some(write) = plan.downcast_ref::<SegmentWriteExec>() {
            return Some((format!("Insert into {}", write.spec().name), Vec::new()));
        }
        None
    }

    fn leaf(&self, plan: &Plan) -> Operator {
        let original = match plan.downcast_ref::<DistributedLeafExec>() {
            Some(divided) => divided.original(),
            None => plan,
        };
        let mut details = Vec::new();
        let title = if let Some(scan) = original.downcast_ref::<SegmentScanExec>() {
            details
                .extend(scan.filters().iter().map(|filter| format!("Filter: ({})", text(filter))));
            format!("Seq Scan on {}", scan.spec().name)
        } else if let Some(source) = original.downcast_ref::<SourceExec>() {
            format!("Seq Scan on {}", source.source().name())
        } else if let Some(rows) = original.downcast_ref::<LeaderRowsExec>() {
            if let Some(table) = rows.shared() {
                details.push(format!("Computed once, used {} times", table.uses));
            }
            let title = rows.shared().map(|table| shared_title(table.number));
            let title = title.unwrap_or_else(|| "Leader Rows".to_owned());
            let mut operator = self.operator(plan, title, details);
            if rows.shared().is_some_and(|table| !self.left.shown.borrow_mut().insert(table.number))
            {
                return operator;
            }
            let prefix = if rows.is_query() { "XN" } else { "LD" };
            operator.children.push(Explainer { prefix, ..*self }.tree(rows.plan()));
            return operator;
        } else {
            match leaf::kind(original.as_ref()) {
                LeafKind::Literal => "Result".to_owned(),
                LeafKind::Leader => format!("Seq Scan on {}", original.name()),
                LeafKind::Sliced | LeafKind::Replica => {
                    let line = displayable(original.as_ref()).one_line().to_string();
                    let name = line.split(": ").nth(1).unwrap_or("table");
                    let name = name.split([' ', '/', '\n']).next().unwrap_or("table");
                    format!("Seq Scan on {name}")
                }
            }
        };
        self.operator(plan, title, details)
    }

    fn join(&self, plan: &Plan) -> Option<Operator> {
        let label = movement::label(plan);
        let (title, details) = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            let name = join_name("Hash", *join.join_type(), true);
            let mut details = vec![format!("Hash Cond: {}", condition(join.on(), true))];
            details
                .extend(join.filter().map(|f| format!("Join Filter: ({})", text(f.expression()))));
            (format!("{name} {label}"), details)
        } else if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
            let name = join_name("Merge", join.join_type(), false);
            let mut details = vec![format!("Merge Cond: {}", condition(join.on(), false))];
            let filter = join.filter().as_ref();
            details.extend(filter.map(|f| format!("Join Filter: ({})", text(f.expression()))));
            (format!("{name} {label}"), details)
        } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter();
            let details = filter.map(|f| format!("Join Filter: ({})", text(f.expression())));
            let name = join_name("Nested Loop", *join.join_type(), true);
            (format!("{name} {label}"), details.into_iter().collect())
        } else if plan.is::<CrossJoinExec>() {
            (format!("Nested Loop {label}"), Vec::new())
        } else {
            return None;
        };
        let mut operator = self.operator(plan, title, details);
        if let Some(rows) = self.left.take(plan) {
            operator.rows = rows;
        }
        // DataFusion builds its left input, Redshift its inner one.
        operator.children.reverse();
        if plan.is::<HashJoinExec>()
            && let Some(inner) = operator.children.pop()
        {
            operator.children.push(self.hash(inner));
        }
        Some(operator)
    }

    fn hash(&self, inner: Operator) -> Operator {
        Operator {
            title: format!("{} Hash", self.prefix),
            details: Vec::new(),
            rows: inner.rows,
            width: inner.width,
            cost: (inner.cost.1, inner.cost.1),
            actual: None,
            children: vec![inner],
        }
    }

    fn limited(&self, below: Operator, limit: usize) -> Operator {
        Operator {
            title: format!("{} Limit", self.prefix),
            details: Vec::new(),
            rows: below.rows.min(limit as f64),
            width: below.width,
            cost: below.cost,
            actual: None,
            children: vec![below],
        }
    }

    fn operator(&self, plan: &Plan, title: String, details: Vec<String>) -> Operator {
        let children: Vec<_> = plan.children().into_iter().map(|child| self.tree(child)).collect();
        let rows = rows(plan);
        let below: f64 = children.iter().map(|child| child.cost.1).sum();
        let input: f64 = children.iter().map(|child| child.rows).sum();
        let blocking = plan.is::<SortExec>() || aggregate(plan).is_some();
        let own = if children.is_empty() {
            rows * SCAN_COST
        } else {
            input * ROW_COST + movement::moved_rows(plan) * NETWORK_COST
        };
        let start = if blocking || plan.is::<HashJoinExec>() { below } else { 0.0 };
        let operator = Operator {
            title: format!("{} {title}", self.prefix),
            details,
            children,
            rows,
            width: width(plan),
            cost: (start, below + own),
            actual: None,
        };
        self.annotated(operator, plan)
    }

    fn annotated(&self, mut operator: Operator, plan: &Plan) -> Operator {
        // A filter that runs inside a pipeline counts nothing of its own.
        if self.annotate
            && let Some(actual) = analyze::actual(plan.as_ref())
        {
            operator.actual = Some(actual);
        }
        operator
    }
}

impl Operator {
    /// Takes the estimates of a tree of the same shape, but for limits, which a plan that has run
    /// no longer shows.
    fn estimate(&mut self, other: &Operator) {
        if other.title.contains(SHARED) {
            // When it ran, its rows had become part of the plan.
            self.title.clone_from(&other.title);
            self.details.clone_from(&other.details);
        } else if self.title != other.title
            && let [below] = &other.children[..]
        {
            return self.estimate(below);
        }
        (self.rows, self.width, self.cost) = (other.rows, other.width, other.cost);
        for (own, other) in self.children.iter_mut().zip(&other.children) {
            own.estimate(other);
        }
    }

    fn print(&self, depth: usize, lines: &mut Vec<String>) {
        let indent = "  ".repeat(depth * 3);
        let arrow = if depth == 0 { "" } else { "->  " };
        let lead = if depth == 0 { String::new() } else { indent[..indent.len() - 4].to_owned() };
        let actual = self.actual.as_ref().map(|actual| {
            let (estimated, found) = (self.rows.max(1.0), (actual.rows as f64).max(1.0));
            let q_error = (estimated / found).max(found / estimated);
            format!(" ({} q-error={q_error:.1})", actual.text)
        });
        let actual = actual.unwrap_or_default();
        lines.push(format!(
            "{lead}{arrow}{}  (cost={:.2}..{:.2} rows={} width={}){actual}",
            self.title,
            self.cost.0,
            self.cost.1,
            self.rows.max(1.0).round() as u64,
            self.width
        ));
        for detail in &self.details {
            lines.push(format!("{indent}  {detail}"));
        }
        for child in &self.children {
            child.print(depth + 1, lines);
        }
    }
}

/// How Redshift calls a join of the outer with the inner side; `build_is_left` says that the
/// plan's left side is the inner one.
fn join_name(kind: &str, join_type: JoinType, build_is_left: bool) -> String {
    let word = match (join_type, build_is_left) {
        (JoinType::Inner, _) => "",
        (JoinType::Full, _) => "Full ",
        (JoinType::Left, false) | (JoinType::Right, true) => "Left ",
        (JoinType::Left, true) | (JoinType::Right, false) => "Right ",
        (JoinType::LeftSemi | JoinType::RightSemi, _) => "IN ",
        (JoinType::LeftAnti | JoinType::RightAnti, _) => "NOT IN ",
        (JoinType::LeftMark | JoinType::RightMark, _) => "Mark ",
    };
    match (kind, word) {
        ("Nested Loop", "") => "Nested Loop".to_owned(),
        ("Nested Loop", word) => format!("Nested Loop {word}Join"),
        _ => format!("{kind} {word}Join"),
    }
}

/// The aggregation that a node is or stands for.
fn aggregate(plan: &Plan) -> Option<&AggregateExec> {
    let fused = || plan.downcast_ref::<PipelineExec>().map(PipelineExec::aggregate);
    let sets = || plan.downcast_ref::<RollupExec>().map(RollupExec::aggregate);
    plan.downcast_ref::<AggregateExec>().or_else(fused).or_else(sets)
}

fn child(plan: &Plan, at: usize) -> &Plan {
    base::proven(plan.children().get(at).copied(), "the node has this input")
}

fn limit(plan: &Plan) -> Option<usize> {
    plan.fetch().filter(|_| plan.is::<SortPreservingMergeExec>())
}

fn rows(plan: &Plan) -> f64 {
    let known = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok();
    let rows = known.and_then(|statistics| statistics.num_rows.get_value().copied());
    rows.map_or(ROWS_UNKNOWN, |rows| rows as f64)
}

/// Bytes of a row, as far as types tell.
fn width(plan: &Plan) -> usize {
    const TEXT: usize = 16;
    let schema = plan.schema();
    let fields = schema.fields().iter();
    fields.map(|field| field.data_type().primitive_width().unwrap_or(TEXT)).sum()
}
