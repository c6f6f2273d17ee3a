//! Time, through one seam, so that a simulation can own it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01 00:00 UTC.
pub type UnixMicros = i64;

static OFFSET_US: AtomicI64 = AtomicI64::new(0);

/// The wall clock in microseconds since the Unix epoch.
pub fn now_us() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX) + OFFSET_US.load(Ordering::Relaxed)
}

/// Shifts the wall clock of this process; for tests of clock jumps.
pub fn jump(by: Duration, backwards: bool) {
    let us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    OFFSET_US.fetch_add(if backwards { -us } else { us }, Ordering::Relaxed);
}

/// A monotonic instant, for durations and deadlines.
pub fn instant() -> Instant {
    Instant::now()
}
