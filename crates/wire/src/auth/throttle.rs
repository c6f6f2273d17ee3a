//! Failed logins wait: the longer, the more often the same user failed from the same address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The most pairs that are remembered; the oldest are forgotten first.
const PAIRS_MAX: usize = 10_000;
/// A pair is forgotten when it has not failed for this long.
const MEMORY: Duration = Duration::from_secs(600);
const DOUBLINGS_MAX: u32 = 6;

pub(crate) struct Throttle {
    first: Duration,
    failures: Mutex<HashMap<(String, IpAddr), (u32, Instant)>>,
}

impl Throttle {
    pub(crate) fn new(first: Duration) -> Throttle {
        Throttle { first, failures: Mutex::default() }
    }

    /// Counts a failure and says how long its answer waits.
    pub(crate) fn failed(&self, user: &str, source: IpAddr) -> Duration {
        let now = base::clock::instant();
        let mut failures = self.failures.lock();
        if failures.len() >= PAIRS_MAX {
            failures.retain(|_, (_, last)| now.duration_since(*last) < MEMORY);
        }
        if failures.len() >= PAIRS_MAX {
            // Under attack from many addresses at once: starting over bounds the memory.
            failures.clear();
        }
        let entry = failures.entry((user.to_owned(), source)).or_insert((0, now));
        if now.duration_since(entry.1) >= MEMORY {
            entry.0 = 0;
        }
        let wait = self.first * 2_u32.pow(entry.0.min(DOUBLINGS_MAX));
        *entry = (entry.0.saturating_add(1), now);
        wait
    }

    pub(crate) fn succeeded(&self, user: &str, source: IpAddr) {
        self.failures.lock().remove(&(user.to_owned(), source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_per_user_and_source() {
        let throttle = Throttle::new(Duration::from_millis(10));
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let wait = |source| throttle.failed("u", source).as_millis();
        assert_eq!((wait(here), wait(here), wait(here)), (10, 20, 40));
        assert_eq!(wait(there), 10);
        for _ in 0..20 {
            throttle.failed("u", here);
        }
        assert_eq!(wait(here), 640);
        throttle.succeeded("u", here);
        assert_eq!(wait(here), 10);
    }
}
