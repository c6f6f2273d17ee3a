//! Big stacks for recursive work: parsing, planning and optimising deep statements.
//!
//! The stack grows where the work runs, on the caller's thread: starting a thread for it would
//! take longer than most statements.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A stack for planning. Untouched pages cost nothing.
pub const STACK_BYTES: usize = 64 << 20;
/// With so much left, what runs already stands on a stack for planning.
const LEFT_BYTES: usize = 32 << 20;

/// Runs work on a stack of 64 MiB. What the work returns is dropped by the caller, so it must not
/// be deeper than it was made.
pub fn deep<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(LEFT_BYTES, STACK_BYTES, work)
}

/// A future that is polled on a stack of 64 MiB.
#[derive(Debug)]
pub struct Deep<F>(Pin<Box<F>>);

impl<F: Future> Deep<F> {
    pub fn new(future: F) -> Deep<F> {
        Deep(Box::pin(future))
    }
}

impl<F: Future> Future for Deep<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        deep(|| self.0.as_mut().poll(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recursion that needs a kilobyte a level at least.
    fn nested(levels: u32) -> u32 {
        let room = std::hint::black_box([0u8; 1_024]);
        if levels == 0 { u32::from(room[0]) } else { nested(levels - 1) + 1 }
    }

    #[tokio::test]
    async fn work_and_futures_have_room() {
        assert_eq!(deep(|| nested(20_000)), 20_000);
        let future = async {
            tokio::task::yield_now().await;
            nested(20_000)
        };
        assert_eq!(Deep::new(future).await, 20_000);
        // Within it stays where it is: a stack for each level would be no bound at all.
        assert!(deep(|| deep(|| stacker::remaining_stack().unwrap()) > LEFT_BYTES));
    }
}
