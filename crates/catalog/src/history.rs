//! Time travel: the state as it was, and what has to be kept for it.
//!
//! The log is never shortened and checkpoints only make reading it faster, so that any state of
//! the past can be had; its data files are kept for as long as the cluster's retention says.

use std::collections::HashSet;
use std::sync::Arc;

use base::ids::{LogPosition, Oid};
use base::{Error, Result, error};
use object_store::ObjectStore;

use crate::catalog::Catalog;
use crate::checkpoint;
use crate::object::Table;
use crate::op::Op;
use crate::record::{Record, checkpoint_path, decode, decode_checkpoint, log_path, replay};
use crate::start::fetch;
use crate::state::State;

/// The cluster setting that says for how many seconds data that is gone can still be read.
pub const RETENTION_SETTING: &str = "time_travel_retention";

/// A round of the collector may run under the old setting for so long after it was raised.
const SETTING_MARGIN_US: i64 = 60_000_000;

/// For how long data that is gone can still be read, in microseconds.
pub(crate) fn retention_us(state: &State) -> i64 {
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
    now_us.saturating_sub(retention_us(state)).max(state.kept_from_us()).min(now_us)
}

/// From when on data is kept once a retention of `before_us` was raised at `at_us`: a longer one
/// brings nothing back that was removed under the shorter one.
pub(crate) fn kept_from_us(at_us: i64, before_us: i64) -> i64 {
    at_us.saturating_sub(before_us).saturating_add(SETTING_MARGIN_US).min(at_us)
}

/// A table as it was when it was dropped.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// The state before the drop; its files stay for as long as it is held.
    pub state: Arc<State>,
    pub table: Arc<Table>,
}

/// The log, read from a checkpoint onwards.
struct Reader<'a> {
    store: &'a dyn ObjectStore,
    state: State,
    checksum: u32,
}

impl<'a> Reader<'a> {
    /// At the newest checkpoint up to `last`, or before the first record.
    async fn at_position(store: &'a dyn ObjectStore, last: LogPosition) -> Result<Reader<'a>> {
        let mut reader = Reader { store, state: State::default(), checksum: 0 };
        let positions = checkpoint::list(store).await?;
        for position in positions.into_iter().filter(|position| *position <= last) {
            if let Some((state, checksum)) = read_checkpoint(store, position).await? {
                (reader.state, reader.checksum) = (state, checksum);
                break;
            }
        }
        Ok(reader)
    }

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
        let now_us = self.inner().options.source.now_us();
        if time_us > now_us {
            return Err(error!(InvalidParameterValue, "the time to read at is in the future"));
        }
        // Held from before the check, so that no round of the collector comes in between.
        let pin = self.inner().pins.pin(time_us);
        let head = self.head();
        if time_us < horizon_us(&head, now_us) {
            return Err(no_longer_kept(&head, now_us));
        }
        if head.time_us() <= time_us {
            return Ok(head);
        }
        let (reader, next) = read_until(&*self.inner().store, time_us).await?;
        if next.is_none() {
            return Err(log_is_short());
        }
        let state = Arc::new(reader.state);
        self.inner().pins.hold(pin, &state, time_us);
        Ok(state)
    }

    /// The state after the record at `position`. Its data files stay for as long as the state is
    /// held.
    ///
    /// # Errors
    /// 22023 for a position after the newest record, and as [`Catalog::state_at`].
    pub async fn state_after(&self, position: LogPosition) -> Result<Arc<State>> {
        let now_us = self.inner().options.source.now_us();
        // Until it is known when the record was followed by another, everything stays.
        let pin = self.inner().pins.pin(i64::MIN);
        let head = self.head();
        if position > head.position() || position == LogPosition(0) {
            return Err(error!(InvalidParameterValue, "there is no snapshot {position}")
                .detail(format!("The newest snapshot is {}.", head.position())));
        }
        if position == head.position() {
            return Ok(head);
        }
        let mut reader = Reader::at_position(&*self.inner().store, position).await?;
        while reader.state.position() < position {
            let record = reader.next().await?.ok_or_else(log_is_short)?;
            reader.apply(&record)?;
        }
        let next = reader.next().await?.ok_or_else(log_is_short)?;
        // What the next record took away left at its time.
        let time_us = next.time_us().saturating_sub(1);
        if time_us < horizon_us(&head, now_us) {
            return Err(no_longer_kept(&head, now_us));
        }
        let state = Arc::new(reader.state);
        self.inner().pins.hold(pin, &state, time_us);
        Ok(state)
    }

    /// The table that was dropped last of those that had a name in a schema of a database, as
    /// far as its data is still kept; temporary tables are not among them.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn dropped_table(
        &self,
        database: Oid,
        schema: &str,
        name: &str,
    ) -> Result<Option<Dropped>> {
        let now_us = self.inner().options.source.now_us();
        let from_us = horizon_us(&self.head(), now_us);
        let pin = self.inner().pins.pin(from_us);
        let head = self.head();
        let (mut reader, mut next) = read_until(&*self.inner().store, from_us).await?;
        let mut found = Vec::new();
        while let Some(record) = next {
            let named = record_drops(&record)
                .then(|| reader.state.schema(database, schema))
                .flatten()
                .and_then(|schema| reader.state.relation(schema.oid, name));
            let before = named.map(|relation| (relation, reader.state.clone()));
            reader.apply(&record)?;
            if let Some((relation, before)) = before
                && let Some(table) = relation.table()
                && reader.state.relation_by_oid(table.oid).is_none()
            {
                found.push((Arc::clone(table), before, record.time_us()));
            }
            let more = reader.state.position() < head.position();
            next = if more { reader.next().await? } else { None };
        }
        // One that came back may have been dropped again, or be there.
        let gone = found.into_iter().rfind(|one| head.relation_by_oid(one.0.oid).is_none());
        Ok(gone.map(|(table, state, left_us)| {
            let state = Arc::new(state);
            self.inner().pins.hold(pin, &state, left_us.saturating_sub(1));
            Dropped { state, table }
        }))
    }

    /// The oldest time that can be read, in microseconds since the Unix epoch.
    pub fn oldest_readable_us(&self) -> i64 {
        horizon_us(&self.head(), self.inner().options.source.now_us())
    }
}

/// True for a record after which some relation may be gone.
fn record_drops(record: &Record) -> bool {
    record.transactions.iter().flat_map(|transaction| &transaction.ops).any(|op| {
        matches!(op, Op::DropRelation { .. } | Op::DropSchema { .. } | Op::DropDatabase { .. })
    })
}

fn log_is_short() -> Error {
    error!(DataCorrupted, "the log ends before the head")
}

fn no_longer_kept(head: &State, now_us: i64) -> Error {
    let retention_s = retention_us(head) / 1_000_000;
    let oldest = base::clock::shown_utc(horizon_us(head, now_us));
    error!(InvalidParameterValue, "data of that time is no longer kept")
        .detail(format!("Data that is gone can be read for {retention_s} seconds."))
        .hint(format!(
            "The oldest moment that can be read is {oldest}. The cluster setting \
             {RETENTION_SETTING} says for how long data is kept."
        ))
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

    /// From now on the state itself keeps the time `time_us`.
    fn hold(&self, pin: Pin<'_>, state: &Arc<State>, time_us: i64) {
        let mut list = self.0.lock();
        if let Some(entry) = list.times.iter_mut().find(|(id, ..)| *id == pin.id) {
            (entry.1, entry.2) = (time_us, Some(Arc::downgrade(state)));
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
