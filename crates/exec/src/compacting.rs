//! Rewriting segments: VACUUM and compaction.
//!
//! Rows stay on their slice; only those that another hash placed move.

use std::sync::Arc;

use base::segment::Segment;
use base::{Error, Result};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::sorts::sort::SortExec;
use futures::FutureExt;

use crate::distribute::{self, Plan};
use crate::engine::Engine;
use crate::error::from_datafusion;
use crate::query::QueryContext;
use crate::scan::SORT_OPTIONS;
use crate::write::{SortBy, WriteSpec};
use crate::writing::{WriteTarget, Written};

impl Engine {
    /// Writes the live rows of some segments of a table again, slice by slice. With `sort` each
    /// slice's rows get in the order of a compound SORTKEY over all of their segments, without
    /// it within each segment.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub async fn compact(
        &self,
        segments: Arc<[Arc<Segment>]>,
        sort: bool,
        target: &WriteTarget,
        query: &QueryContext,
    ) -> Result<Written> {
        let segments = &segments;
        let run = |target: WriteTarget, query: QueryContext| {
            async move { self.compact_once(segments, sort, &target, &query).await }.boxed()
        };
        self.run_write(target, query, false, run).await
    }

    async fn compact_once(
        &self,
        segments: &Arc<[Arc<Segment>]>,
        sort: bool,
        target: &WriteTarget,
        query: &QueryContext,
    ) -> Result<Written> {
        let live: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
        if live == 0 {
            return Ok(Written::default());
        }
        let state = self.state(query)?;
        let table = self.table(Arc::clone(&target.table), Arc::clone(segments));
        let rows = table.scan(&state, None, &[], None).await.map_err(from_datafusion)?;
        let mut spec = self.write_spec(target);
        let mut placed = self.placed(rows, &mut spec, true)?;
        if sort && let SortBy::Compound(key) = &spec.sort {
            let key = key.clone();
            placed = sorted(placed, &spec, &key)?;
            spec.sort = SortBy::Sorted(key);
        }
        let plan = distribute::yielding(self.write_of(placed, spec)?)?;
        let written = self.executable(state, None, plan, query)?.write().await?;
        if written.rows != live {
            let name = &target.table.name;
            return Err(Error::internal(format!(
                "{} rows of {name} were written again instead of {live}",
                written.rows
            )));
        }
        Ok(written)
    }
}

/// Each partition in the order of the key; what does not fit into memory is spilled.
fn sorted(rows: Plan, spec: &WriteSpec, key: &[usize]) -> Result<Plan> {
    let order = key.iter().filter_map(|at| {
        let column = Column::new(&spec.columns.get(*at)?.name, *at);
        Some(PhysicalSortExpr::new(Arc::new(column), SORT_OPTIONS))
    });
    let order = datafusion::physical_expr::LexOrdering::new(order)
        .ok_or_else(|| Error::internal("a table is sorted by no column"))?;
    Ok(Arc::new(SortExec::new(order, rows).with_preserve_partitioning(true)))
}
