//! The past that a transaction reads: `AT (…)` after the name of a table.
//!
//! Owns the states that its statements have read at, which keeps their files, until it ends.
//! Binding does not wait for the store: it stops at a moment whose state is not there, the state
//! is read, and binding begins again.

use std::collections::HashMap;
use std::sync::Arc;

use base::ids::LogPosition;
use base::{Error, Result, error};
use catalog::{Catalog, State};
use parking_lot::Mutex;
use sql::At;

use crate::client::ClientSession;
use crate::planning::{Scope, with_room};

/// The most moments that a transaction reads at.
const MOMENTS_MAX: usize = 64;

/// The moments of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Past(Mutex<Moments>);

#[derive(Debug, Default)]
struct Moments {
    known: HashMap<At, Arc<State>>,
    /// The moment at which binding stopped, and where the statement names it.
    missing: Option<(At, u32)>,
    /// States whose files the transaction names anew.
    kept: Vec<Arc<State>>,
}

impl Past {
    /// The state at a moment that is named at `position`.
    ///
    /// # Errors
    /// When it has to be read first.
    pub(crate) fn state(&self, at: At, position: u32) -> Result<Arc<State>> {
        let mut moments = self.0.lock();
        if let Some(state) = moments.known.get(&at) {
            return Ok(Arc::clone(state));
        }
        moments.missing = Some((at, position));
        Err(Error::internal(format!("{at:?} was not read yet")))
    }

    /// True while no statement has read the past.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().known.is_empty()
    }

    /// Keeps the files of a state until the transaction ends.
    pub(crate) fn keep(&self, state: Arc<State>) {
        self.0.lock().kept.push(state);
    }

    fn take_missing(&self) -> Option<(At, u32)> {
        self.0.lock().missing.take()
    }

    fn add(&self, at: At, state: Arc<State>) -> Result<()> {
        let known = &mut self.0.lock().known;
        if known.len() >= MOMENTS_MAX {
            return Err(error!(
                ProgramLimitExceeded,
                "a transaction cannot read at more than {MOMENTS_MAX} moments of the past"
            ));
        }
        known.insert(at, state);
        Ok(())
    }
}

/// The state at a moment.
///
/// # Errors
/// 22023 for a moment in the future or one whose data is no longer kept; those of the store.
pub(crate) async fn state_at(catalog: &Catalog, at: At) -> Result<Arc<State>> {
    match at {
        At::Timestamp(us) => catalog.state_at(us).await,
        At::Snapshot(number) => catalog.state_after(LogPosition(number)).await,
    }
}

impl ClientSession {
    /// Binds a statement of `bytes` in a scope, again for every moment of the past that it comes
    /// upon.
    ///
    /// # Errors
    /// Those of `bind` and of [`state_at`].
    pub(crate) async fn bound<T, F>(&mut self, scope: Scope, bytes: usize, bind: F) -> Result<T>
    where
        F: Fn(&Scope) -> Result<T> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (scope, bind) = (Arc::new(scope), Arc::new(bind));
        loop {
            let (inner, work) = (Arc::clone(&scope), Arc::clone(&bind));
            let result = with_room(bytes, move || work(&inner)).await;
            let past = &scope.relations.past;
            let Some((at, position)) = past.take_missing() else { return result };
            let state = state_at(&self.leader.catalog, at).await;
            past.add(at, state.map_err(|error| crate::relations::at(error, position))?)?;
        }
    }
}
