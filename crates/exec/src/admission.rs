//! How many queries run at once; the others wait in a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{CancellationToken, Error, Result, error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The one queue of the cluster.
#[derive(Debug)]
pub(crate) struct Admission {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue_limit: usize,
    timeout: Duration,
}

/// A query's place among those that run; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    pub(crate) fn new(slots: usize, queue_limit: usize, timeout: Duration) -> Admission {
        Admission {
            slots: Arc::new(Semaphore::new(slots.max(1))),
            waiting: AtomicUsize::new(0),
            queue_limit,
            timeout,
        }
    }

    /// Waits for a slot.
    ///
    /// # Errors
    /// 53300 when too many wait already, 57014 when the wait is cancelled or too long.
    pub(crate) async fn enter(&self, cancel: &CancellationToken) -> Result<Slot> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(Slot { _permit: permit });
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if before >= self.queue_limit {
            return Err(error!(TooManyConnections, "too many queries wait to run")
                .detail(format!("{before} queries are in the queue."))
                .hint("Run the statement again later or raise the concurrency."));
        }
        let acquired = tokio::time::timeout(self.timeout, Arc::clone(&self.slots).acquire_owned());
        tokio::select! {
            () = cancel.cancelled() => Err(crate::query::canceled()),
            acquired = acquired => match acquired {
                Ok(Ok(permit)) => Ok(Slot { _permit: permit }),
                Ok(Err(_)) => Err(Error::internal("the queue of queries was closed")),
                Err(_) => Err(error!(QueryCanceled, "query waited too long to run")
                    .hint("Run the statement again later or raise the concurrency.")),
            },
        }
    }

    /// Queries that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use base::SqlState;

    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_and_cancellable() {
        let admission = Arc::new(Admission::new(1, 1, Duration::from_secs(5)));
        let cancel = CancellationToken::new();
        let first = admission.enter(&cancel).await.unwrap();
        let other = Arc::clone(&admission);
        let token = cancel.clone();
        let second = tokio::spawn(async move { other.enter(&token).await });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let third = admission.enter(&cancel).await.unwrap_err();
        assert_eq!(third.sqlstate(), SqlState::TooManyConnections);
        drop(first);
        let second = second.await.unwrap().unwrap();
        cancel.cancel();
        let fourth = admission.enter(&cancel).await.unwrap_err();
        assert_eq!(fourth.sqlstate(), SqlState::QueryCanceled);
        drop(second);
        admission.enter(&CancellationToken::new()).await.unwrap();
    }
}
