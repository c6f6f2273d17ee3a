//! What clients do in a history: one transaction, or reading for a while.

use std::sync::{Arc, Mutex};

use base::SqlState;
use base::ids::{Oid, SliceId};
use base::segment::{Bitmap, Deletes, Segment};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::model::MARKER;
use super::store::{Client, Dice};
use super::world::{Oracle, TABLE, TABLES};
use crate::{Catalog, Op, SegmentDeletes, SegmentName, State, Transaction};

/// What a transaction does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Load,
    Delete,
    Compact,
    Truncate,
    /// ALTER TABLE APPEND.
    Append,
    /// The table as it was.
    Restore,
    /// A statement that fails and is taken back, then another.
    Savepoint,
}

/// A client of a leader.
pub(super) struct Work {
    pub(super) client: Arc<Client>,
    pub(super) catalog: Catalog,
    pub(super) oracle: Arc<Mutex<Oracle>>,
    pub(super) dice: Dice,
    /// Unique in the history.
    pub(super) number: u64,
    /// In microseconds since the Unix epoch.
    pub(super) now_us: i64,
    /// What it does and, to restore, as of when; by the dice without it.
    pub(super) script: Option<(Kind, i64)>,
}

/// Why a transaction came to no commit: it could not write its files, or nothing was to do.
struct GaveUp;

impl From<object_store::Error> for GaveUp {
    fn from(_: object_store::Error) -> Self {
        GaveUp
    }
}

impl From<base::Error> for GaveUp {
    fn from(_: base::Error) -> Self {
        GaveUp
    }
}

impl Work {
    /// One transaction, with all its files, up to the answer to its commit.
    pub(super) async fn run(mut self) {
        let mut transaction = self.catalog.begin();
        let mut files = Vec::new();
        if self.fill(&mut transaction, &mut files).await.is_err() {
            return;
        }
        let marker = format!("{MARKER}{}", self.number);
        let outcome = self.catalog.commit(transaction).await;
        let conflict = |error: &base::Error| error.sqlstate() == SqlState::SerializationFailure;
        let aborted = {
            let mut oracle = self.oracle.lock().unwrap();
            match outcome {
                Ok(state) => {
                    oracle.summary.committed += 1;
                    oracle.see(&state);
                    oracle.present.insert(marker);
                    false
                }
                Err(error) if error.sqlstate() == SqlState::StatementCompletionUnknown => {
                    oracle.summary.unknown += 1;
                    false
                }
                Err(error) => {
                    oracle.summary.failed += 1;
                    oracle.summary.conflicts += u64::from(conflict(&error));
                    let fenced = error.message().starts_with("another leader");
                    oracle.summary.fenced += u64::from(fenced);
                    oracle.absent.insert(marker);
                    true
                }
            }
        };
        if aborted {
            drop(self.catalog.remove_orphans(&files).await);
        }
    }

    async fn write(
        &self,
        transaction: &Transaction,
        files: &mut Vec<String>,
        kind: &str,
    ) -> Result<String, GaveUp> {
        let seq = u32::try_from(files.len()).map_err(|_| GaveUp)?;
        let path = transaction.segment_path(TABLE, Some(SliceId(0)), seq);
        let path = path.replace(".seg", kind);
        self.client.put(&Path::from(path.as_str()), path.clone().into()).await?;
        files.push(path.clone());
        Ok(path)
    }

    fn segment(path: &str, rows: u64) -> Segment {
        Segment { slice: Some(SliceId(0)), rows, ..crate::tests::segment(path) }
    }

    fn table(&mut self) -> Oid {
        if self.script.is_some() {
            return TABLE;
        }
        TABLES[usize::from(self.dice.percent(25))]
    }

    async fn fill(
        &mut self,
        transaction: &mut Transaction,
        files: &mut Vec<String>,
    ) -> Result<(), GaveUp> {
        let mut seen = String::new();
        let kind = match self.dice.below(100) {
            0..35 => Kind::Load,
            35..55 => Kind::Delete,
            55..67 => Kind::Compact,
            67..77 => Kind::Truncate,
            77..85 => Kind::Append,
            85..95 => Kind::Restore,
            _ => Kind::Savepoint,
        };
        match self.script.map_or(kind, |(kind, _)| kind) {
            Kind::Load => self.load(transaction, files).await?,
            Kind::Delete => self.delete(transaction, files, &mut seen).await?,
            Kind::Compact => self.compact(transaction, files, &mut seen).await?,
            Kind::Truncate => transaction.apply(Op::RemoveAllSegments { table: self.table() })?,
            Kind::Append => self.append(transaction, &mut seen)?,
            Kind::Restore => self.restore(transaction).await?,
            Kind::Savepoint => {
                self.load(transaction, files).await?;
                let savepoint = transaction.savepoint();
                transaction.apply(Op::RemoveAllSegments { table: TABLE })?;
                transaction.roll_back_to(&savepoint);
                self.delete(transaction, files, &mut seen).await?;
            }
        }
        let name = format!("{MARKER}{}", self.number);
        transaction.apply(Op::SetSetting { name, value: Some(seen) })?;
        Ok(())
    }

    async fn load(
        &mut self,
        transaction: &mut Transaction,
        files: &mut Vec<String>,
    ) -> Result<(), GaveUp> {
        let path = self.write(transaction, files, ".seg").await?;
        let segments = vec![Self::segment(&path, 4)];
        let table = self.table();
        transaction.apply(Op::AddSegments { table, segments, identity_next: Vec::new() })?;
        Ok(())
    }

    async fn delete(
        &mut self,
        transaction: &mut Transaction,
        files: &mut Vec<String>,
        seen: &mut String,
    ) -> Result<(), GaveUp> {
        let table = self.table();
        let segments = transaction.state().segments(table);
        let segment = self.pick(&segments)?;
        let before = segment.rows - segment.live_rows();
        let rows = before + 1 + self.dice.below(segment.live_rows());
        let bitmap = if self.dice.percent(50) {
            Bitmap::Inline(rows.to_le_bytes().as_slice().into())
        } else {
            let path = self.write(transaction, files, ".del").await?;
            Bitmap::File { path, bytes: 8, checksum: 0 }
        };
        seen.push_str(&format!("{}={before} ", segment.path));
        let deletes = vec![SegmentDeletes {
            segment: SegmentName::from(&*segment),
            deletes: Arc::new(Deletes { rows, bitmap }),
        }];
        transaction.apply(Op::DeleteRows { table, deletes })?;
        Ok(())
    }

    /// Two segments or more become one.
    async fn compact(
        &mut self,
        transaction: &mut Transaction,
        files: &mut Vec<String>,
        seen: &mut String,
    ) -> Result<(), GaveUp> {
        let table = self.table();
        let segments = transaction.state().segments(table);
        let first = usize::try_from(self.dice.below(3)).map_err(|_| GaveUp)?;
        let old = segments.get(first..).filter(|old| old.len() > 1).ok_or(GaveUp)?;
        let path = self.write(transaction, files, ".seg").await?;
        for segment in old {
            seen.push_str(&format!("{}={} ", segment.path, segment.rows - segment.live_rows()));
        }
        let rows = old.iter().map(|segment| segment.live_rows()).sum();
        let removed = old.iter().map(|segment| SegmentName::from(&**segment)).collect();
        let added = vec![Self::segment(&path, rows)];
        transaction.apply(Op::ReplaceSegments { table, removed, added })?;
        Ok(())
    }

    /// The files change their table.
    fn append(&mut self, transaction: &mut Transaction, seen: &mut String) -> Result<(), GaveUp> {
        let state = transaction.state().clone();
        let [from, to] = TABLES;
        let moved = copies(&state, from);
        if moved.is_empty() {
            return Err(GaveUp);
        }
        let removed = moved.iter().map(SegmentName::from).collect::<Vec<_>>();
        for segment in &moved {
            seen.push_str(&format!("{}={} ", segment.path, segment.rows - segment.live_rows()));
        }
        // Segment by segment, so that one that changed meanwhile is a conflict.
        let deletes = removed.into_iter().zip(&moved).map(|(name, segment)| SegmentDeletes {
            segment: name,
            deletes: Arc::new(Deletes { rows: segment.rows, bitmap: Bitmap::Inline([0].into()) }),
        });
        transaction.apply(Op::DeleteRows { table: from, deletes: deletes.collect() })?;
        let (segments, identity_next) = (moved, Vec::new());
        transaction.apply(Op::AddSegments { table: to, segments, identity_next })?;
        Ok(())
    }

    async fn restore(&mut self, transaction: &mut Transaction) -> Result<(), GaveUp> {
        let ago_us = i64::try_from(self.dice.below(30)).map_err(|_| GaveUp)? * 1_000_000;
        let at_us = self.script.map_or(self.now_us - ago_us, |(_, at_us)| at_us);
        let past = self.catalog.state_at(at_us).await?;
        let [table, other] = TABLES;
        // What has gone to the other table cannot be in both.
        let taken: Vec<String> =
            copies(transaction.state(), other).into_iter().map(|segment| segment.path).collect();
        let mut segments = copies(&past, table);
        segments.retain(|segment| !taken.contains(&segment.path));
        transaction.apply(Op::RemoveAllSegments { table })?;
        transaction.apply(Op::AddSegments { table, segments, identity_next: Vec::new() })?;
        Ok(())
    }

    fn pick(&mut self, segments: &[Arc<Segment>]) -> Result<Arc<Segment>, GaveUp> {
        if segments.is_empty() {
            return Err(GaveUp);
        }
        let at = usize::try_from(self.dice.below(segments.len() as u64)).map_err(|_| GaveUp)?;
        Ok(segments[at].clone())
    }

    /// Begins to read: the files have to be there until the reader ends.
    pub(super) async fn read(mut self, leader: u64) {
        let table = self.table();
        let reader = match self.dice.below(3) {
            0 => {
                let segments = self.catalog.head().segments(table);
                Reader { leader, segments, _transaction: None, _state: None }
            }
            1 => {
                let transaction = self.catalog.begin();
                let segments = transaction.state().segments(table);
                Reader { leader, segments, _transaction: Some(transaction), _state: None }
            }
            _ => {
                let ago_us = i64::try_from(self.dice.below(30)).unwrap_or(0) * 1_000_000;
                let past = self.catalog.state_at(self.now_us - ago_us).await;
                let Ok(state) = past else { return };
                let segments = state.segments(table);
                Reader { leader, segments, _transaction: None, _state: Some(state) }
            }
        };
        let mut oracle = self.oracle.lock().unwrap();
        oracle.summary.read += 1;
        oracle.readers.push(reader);
    }

    /// Rounds of the collector.
    pub(super) async fn collect(mut self) {
        for _ in 0..self.dice.below(3) + 1 {
            let Ok(round) = self.catalog.collect_garbage().await else { return };
            self.oracle.lock().unwrap().summary.removed += round.removed as u64;
            if round.removed == 0 && round.waiting == 0 {
                return;
            }
        }
    }
}

/// A query that runs.
pub(super) struct Reader {
    /// Which leader's: one that has been fenced must not be believed.
    pub(super) leader: u64,
    pub(super) segments: Arc<[Arc<Segment>]>,
    _transaction: Option<Transaction>,
    _state: Option<Arc<State>>,
}

fn copies(state: &State, table: Oid) -> Vec<Segment> {
    state.segments(table).iter().map(|segment| Segment::clone(segment)).collect()
}
