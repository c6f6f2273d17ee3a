//! Filters that other operators publish while the scan runs: bounds and keys of a hash join's
//! build side, the threshold of a top-k.
//!
//! They never decide what is right, only what is spared: one that drops few rows is turned off.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::expressions::DynamicFilterTracking;
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_plan::PhysicalExpr;

use super::compiled::{Compiled, Residual};
use super::predicate::{ColumnPredicate, Prune, Split, routed};

/// Rows that a filter is tried on before it is judged.
const TRIAL_ROWS: u64 = 32_768;
/// A filter on encoded data that keeps more than this part is not worth its time.
const ENCODED_KEEP_MAX: f64 = 0.95;
/// The same for a filter that needs decoded columns, which costs far more.
const RESIDUAL_KEEP_MAX: f64 = 0.75;

/// A filter with what it has done so far.
pub(super) struct Hint<T> {
    pub(super) filter: T,
    tested: u64,
    kept: u64,
    keep_max: f64,
}

impl<T> Hint<T> {
    fn new(filter: T, keep_max: f64) -> Hint<T> {
        Hint { filter, tested: 0, kept: 0, keep_max }
    }

    /// True while the filter pays for itself.
    pub(super) fn pays(&self) -> bool {
        self.tested < TRIAL_ROWS || self.kept as f64 <= self.tested as f64 * self.keep_max
    }

    pub(super) fn count(&mut self, tested: usize, kept: usize) {
        self.tested += tested as u64;
        self.kept += kept as u64;
    }
}

struct Source {
    expr: Arc<dyn PhysicalExpr>,
    tracking: DynamicFilterTracking,
}

/// The dynamic filters of one partition of a scan, as they are now.
pub(super) struct Dynamic {
    sources: Vec<Source>,
    fresh: bool,
    pub(super) prune: Vec<Prune>,
    pub(super) encoded: Vec<Hint<ColumnPredicate>>,
    pub(super) residual: Vec<Hint<Residual>>,
}

impl Dynamic {
    pub(super) fn new(filters: &[Arc<dyn PhysicalExpr>]) -> Dynamic {
        let sources = filters.iter().map(|expr| Source {
            expr: Arc::clone(expr),
            tracking: DynamicFilterTracking::classify(expr),
        });
        Dynamic {
            sources: sources.collect(),
            fresh: true,
            prune: Vec::new(),
            encoded: Vec::new(),
            residual: Vec::new(),
        }
    }

    /// Takes over what was published since the last call.
    pub(super) fn refresh(&mut self, compiled: &Compiled) -> Result<()> {
        let mut changed = std::mem::take(&mut self.fresh) && !self.sources.is_empty();
        for source in &mut self.sources {
            if let Some(watcher) = source.tracking.watcher() {
                changed |= watcher.changed();
            }
        }
        if !changed {
            return Ok(());
        }
        let (spec, key) = (&compiled.spec, compiled.spec.key);
        let mut current = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let now = snapshot_physical_expr(Arc::clone(&source.expr))?;
            current.push(routed(&now, key, compiled.partitions, compiled.partition));
        }
        let split = Split::new(&current, &spec.columns);
        self.prune = split.prune;
        self.encoded =
            split.encoded.into_iter().map(|hint| Hint::new(hint, ENCODED_KEEP_MAX)).collect();
        self.residual = split
            .residual
            .iter()
            .map(|expr| Ok(Hint::new(Residual::new(expr, spec)?, RESIDUAL_KEEP_MAX)))
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// True when a filter that still pays needs the column.
    pub(super) fn needs(&self, column: usize) -> bool {
        let encoded = |hint: &Hint<ColumnPredicate>| hint.pays() && hint.filter.column == column;
        let residual = |hint: &Hint<Residual>| hint.pays() && hint.filter.columns.contains(&column);
        self.encoded.iter().any(encoded) || self.residual.iter().any(residual)
    }
}
