//! What a scan counts while it runs; EXPLAIN ANALYZE and the system tables show it.

use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, Time,
};

use crate::cache::Reads;

/// The counters of one partition.
pub(super) struct ScanMetrics {
    pub(super) baseline: BaselineMetrics,
    pub(super) segments_read: Count,
    /// Blocks of rows that were looked at, and those that zone maps ruled out.
    pub(super) blocks_read: Count,
    pub(super) blocks_pruned: Count,
    /// Blocks of rows in which no row passed the predicates on encoded data.
    pub(super) blocks_empty: Count,
    /// Rows of the blocks that were looked at.
    pub(super) rows_scanned: Count,
    /// Column blocks found in the cache and read from the store.
    pub(super) cache_hits: Count,
    pub(super) cache_misses: Count,
    pub(super) bytes_read: Count,
    pub(super) requests: Count,
    pub(super) decode_time: Time,
    pub(super) filter_time: Time,
    pub(super) wait_time: Time,
}

impl ScanMetrics {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> ScanMetrics {
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        let time = |name: &'static str| MetricBuilder::new(metrics).subset_time(name, partition);
        ScanMetrics {
            baseline: BaselineMetrics::new(metrics, partition),
            segments_read: counter("segments_read"),
            blocks_read: counter("blocks_read"),
            blocks_pruned: counter("blocks_pruned"),
            blocks_empty: counter("blocks_empty"),
            rows_scanned: counter("rows_scanned"),
            cache_hits: counter("cache_hits"),
            cache_misses: counter("cache_misses"),
            bytes_read: counter("bytes_read"),
            requests: counter("requests"),
            decode_time: time("decode_time"),
            filter_time: time("filter_time"),
            wait_time: time("wait_time"),
        }
    }

    pub(super) fn add_reads(&self, reads: Reads) {
        self.bytes_read.add(reads.bytes as usize);
        self.requests.add(reads.requests as usize);
    }
}
