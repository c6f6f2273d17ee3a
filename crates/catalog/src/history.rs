//! Time travel: the state as it was, and what has to be kept for it.
//!
//! The log is never shortened and checkpoints only make reading it faster, so that any state of
//! the past can be had; its data files are kept for as long as the cluster's retention says.

use std::collections::HashSet;
use std::sync::Arc;

use base::ids::LogPosition;
use base::{Result, error};
use object_store::ObjectStore;

use crate::catalog::Catalog;
use crate::checkpoint;
use crate::record::{Record, checkpoint_path, decode, decode_checkpoint, log_path, replay};
use crate::start::fetch;
use crate::state::State;

/// The cluster setting that says for how many seconds data that is gone can still be read.
pub const RETENTION_SETTING: &str = "time_travel_retention";

/// For how long data that is gone can still be read, in microseconds.
fn retention_us(state: &State) -> i64 {
    let Some(text) = state.setting(RETENTION_SETTING) else { return 0 };
    match text.trim().parse::<i64>() {
        Ok(seconds) => seconds.max(0).saturating_mul(1_000_000),
        Err(_) => {
            // Nothing can be taken back that was removed by mistake.
            tracing::warn!(setting = RETENTION_SETTING, text, "not a number: nothing is removed");
            i64::MAX
        }
    }
}

/// The oldest time that can be read, in microseconds since the Unix epoch.
pub(crate) fn horizon_us(state: &State, now_us: i64) -> i64 {
    now_us.saturating_sub(retention_us(state))
}

/// The log, read from a checkpoint onwards.
struct Reader<'a> {
    store: &'a dyn ObjectStore,
    state: State,
    checksum: u32,
}

impl<'a> Reader<'a> {
    /// At the newest checkpoint that is not after `time_us`, or before the first record.
    async fn at_checkpoint(store: &'a dyn ObjectStore, time_us: i64) -> Result<Reader<'a>> {
        let mut reader = Reader { store, state: State::default(), checksum: 0 };
        let positions = checkpoint::list(store).await?;
        // Times grow with positions, newest first here: the first that is not after `time_us`.
        let (mut low, mut high) = (0, positions.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match read_checkpoint(store, positions[middle]).await? {
                Some((state, checksum)) if state.time_us() <= time_us => {
                    (reader.state, reader.checksum) = (state, checksum);
                    high = middle;
                }
                // One that is damaged or was removed meanwhile is as one that is too new: older
                // ones and the whole log are there.
                _ => low = middle + 1,
            }
        }
        Ok(reader)
    }

    /// The next record; `None` at the end of the log.
    async fn next(&self) -> Result<Option<Record>> {
        let position = LogPosition(self.state.position().0 + 1);
        let path = log_path(position);
        match fetch(self.store, &path, "log record").await? {
            Some(bytes) => decode(&path, position, &bytes).map(Some),
            None => Ok(None),
        }
    }

    fn apply(&mut self, record: &Record) -> Result<()> {
        replay(&mut self.state, self.checksum, record)?;
        self.checksum = record.checksum;
        Ok(())
    }
}

async fn read_checkpoint(
    store: &dyn ObjectStore,
    position: LogPosition,
) -> Result<Option<(State, u32)>> {
    let path = checkpoint_path(position);
    let Some(bytes) = fetch(store, &path, "checkpoint").await? else { return Ok(None) };
    match decode_checkpoint(&path, position, &bytes) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.sqlstate() == base::SqlState::DataCorrupted => {
            tracing::error!(?error, "checkpoint is damaged, an older one serves");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The state after the last record that is not after `time_us`, and the record after it.
async fn read_until(store: &dyn ObjectStore, time_us: i64) -> Result<(Reader<'_>, Option<Record>)> {
    let mut reader = Reader::at_checkpoint(store, time_us).await?;
    while let Some(record) = reader.next().await? {
        if record.time_us() > time_us {
            return Ok((reader, Some(record)));
        }
        reader.apply(&record)?;
    }
    Ok((reader, None))
}

/// The files that any state from `time_us` up to `head` names.
pub(crate) async fn named_since(
    store: &dyn ObjectStore,
    head: &State,
    time_us: i64,
) -> Result<HashSet<String>> {
    let (mut reader, mut next) = read_until(store, time_us).await?;
    let mut named: HashSet<String> = reader.state.segment_paths().map(str::to_owned).collect();
    while let Some(record) = next {
        for op in record.transactions.iter().flat_map(|transaction| &transaction.ops) {
            named.extend(crate::collect::added_paths(op).map(str::to_owned));
        }
        reader.apply(&record)?;
        let more = reader.state.position() < head.position();
        next = if more { reader.next().await? } else { None };
    }
    Ok(named)
}

impl Catalog {
    /// The state as it was at `time_us`, in microseconds since the Unix epoch: after every
    /// commit up to then. Its data files stay for as long as the state is held.
    ///
    /// # Errors
    /// 22023 for a time in the future or before what the setting `time_travel_retention` keeps;
    /// XX001 when the log is damaged; 58030 when the store does not answer.
    pub async fn state_at(&self, time_us: i64) -> Result<Arc<State>> {
        let head = self.head();
        let now_us = self.inner().options.source.now_us();
        if time_us > now_us {
            return Err(error!(InvalidParameterValue, "the time to read at is in the future"));
        }
        let retention_s = retention_us(&head) / 1_000_000;
        // Held from before the check, so that no round of the collector comes in between.
        let pin = self.inner().pins.pin(time_us);
        if time_us < horizon_us(&head, now_us) {
            return Err(error!(InvalidParameterValue, "data of that time is no longer kept")
                .detail(format!("Data that is gone can be read for {retention_s} seconds."))
                .hint(format!("The cluster setting {RETENTION_SETTING} says for how long.")));
        }
        if head.time_us() <= time_us {
            return Ok(head);
        }
        let (reader, next) = read_until(&*self.inner().store, time_us).await?;
        if next.is_none() {
            return Err(error!(DataCorrupted, "the log ends before the head"));
        }
        let state = Arc::new(reader.state);
        self.inner().pins.hold(pin, &state);
        Ok(state)
    }
}

/// The times that somebody reads at.
#[derive(Debug, Default)]
pub(crate) struct Pins(parking_lot::Mutex<PinList>);

#[derive(Debug, Default)]
struct PinList {
    next: u64,
    /// With a place for the state once it is read.
    times: Vec<(u64, i64, Option<std::sync::Weak<State>>)>,
}

/// A time on its way to being read.
struct Pin<'a> {
    pins: &'a Pins,
    id: u64,
}

impl Pins {
    fn pin(&self, time_us: i64) -> Pin<'_> {
        let mut list = self.0.lock();
        list.next += 1;
        let id = list.next;
        list.times.push((id, time_us, None));
        Pin { pins: self, id }
    }

    /// From now on the state itself keeps the time.
    fn hold(&self, pin: Pin<'_>, state: &Arc<State>) {
        let mut list = self.0.lock();
        if let Some(entry) = list.times.iter_mut().find(|(id, ..)| *id == pin.id) {
            entry.2 = Some(Arc::downgrade(state));
        }
        drop(list);
        drop(pin);
    }

    /// The oldest time that somebody reads at.
    pub(crate) fn oldest_us(&self) -> Option<i64> {
        let mut list = self.0.lock();
        list.times
            .retain(|(_, _, state)| state.as_ref().is_none_or(|state| state.strong_count() > 0));
        list.times.iter().map(|(_, time_us, _)| *time_us).min()
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // One whose state is held stays until that is dropped.
        self.pins.0.lock().times.retain(|(id, _, state)| *id != self.id || state.is_some());
    }
}
