//! Big stacks for recursive work: parsing, planning and optimising deep statements.

use base::{Error, Result};

/// The stack of a planning thread. Untouched pages cost nothing.
const STACK_BYTES: usize = 64 << 20;

/// Runs planning work on a thread of its own with a stack of 64 MiB, off the async threads. What
/// the work returns is dropped by the caller, so it must not be deeper than it was made: the
/// parser balances long chains for that.
///
/// # Errors
/// Those of the work; XX000 when it panics, 53000 when no thread can be had.
pub async fn on_big_stack<T, F>(work: F) -> Result<T>
where
    F: FnOnce() -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    base::task::blocking("planning", move || on_big_stack_blocking(work)).await
}

/// The same for callers that may block.
///
/// # Errors
/// As [`on_big_stack`].
pub fn on_big_stack_blocking<T, F>(work: F) -> Result<T>
where
    F: FnOnce() -> Result<T> + Send,
    T: Send,
{
    let span = tracing::Span::current();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("planner".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, move || span.in_scope(work));
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(Error::internal("the planner stopped unexpectedly"))),
            Err(e) => {
                Err(base::error!(InsufficientResources, "could not start a planner thread: {e}"))
            }
        }
    })
}
