//! One history: leaders that start, commit, crash and overlap, and the oracle that watches.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::ids::Oid;
use object_store::ObjectStore;
use tokio::task::JoinHandle;

use super::model::{MARKER, Model};
use super::store::{Client, Dice, Shared};
use super::work::{Kind, Reader, Work};
use crate::catalog::Source;
use crate::commit::Rules;
use crate::tests::table;
use crate::{Catalog, Op, Options, RETENTION_SETTING, State};

/// How often the driver lets others run, without a request to the store in between, before it
/// takes them for dead: there are no timers, so that who lives makes requests.
const PATIENCE: usize = 50;
pub(super) const TABLES: [Oid; 2] = [Oid(100_000), Oid(100_001)];
/// The table under which all files are named.
pub(super) const TABLE: Oid = TABLES[0];
/// Enough requests for any run without a crash.
const LONG_LIFE: u64 = 1_000_000;
/// When histories begin, in microseconds since the Unix epoch.
const BEGINNING_US: i64 = 1_700_000_000_000_000;

/// What a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// One leader after the other; the power goes, and what was not synced with it.
    PowerLoss,
    /// Leaders that overlap and do not know of one another.
    Failover,
}

/// Broken surroundings, for mutants outside the protocol itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) store_syncs: bool,
    pub(super) collect_old_epochs_only: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self { store_syncs: true, collect_old_epochs_only: true }
    }
}

/// What the histories reached.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) committed: u64,
    pub(super) failed: u64,
    pub(super) conflicts: u64,
    pub(super) unknown: u64,
    pub(super) fenced: u64,
    pub(super) checkpoints: u64,
    pub(super) leaders: u64,
    pub(super) power_losses: u64,
    pub(super) read: u64,
    pub(super) removed: u64,
}

impl Summary {
    pub(super) fn add(&mut self, other: &Summary) {
        self.committed += other.committed;
        self.failed += other.failed;
        self.conflicts += other.conflicts;
        self.unknown += other.unknown;
        self.fenced += other.fenced;
        self.checkpoints += other.checkpoints;
        self.leaders += other.leaders;
        self.power_losses += other.power_losses;
        self.read += other.read;
        self.removed += other.removed;
    }
}

/// What clients were told and what they saw.
#[derive(Default)]
pub(super) struct Oracle {
    /// Must be there at the end.
    pub(super) present: BTreeSet<String>,
    /// Must not be there at the end.
    pub(super) absent: BTreeSet<String>,
    pub(super) readers: Vec<Reader>,
    pub(super) summary: Summary,
}

impl Oracle {
    /// Somebody saw this state: it has to stay.
    pub(super) fn see(&mut self, state: &State) {
        self.present.extend(markers(state));
    }
}

fn markers(state: &State) -> impl Iterator<Item = String> {
    let settings = state.settings().into_keys();
    settings.filter(|name| name.starts_with(MARKER))
}

struct Leader {
    client: Arc<Client>,
    catalog: Catalog,
    /// Its place among the leaders that tried to start.
    number: u64,
}

pub(super) struct World {
    dice: Dice,
    scenario: Scenario,
    shared: Arc<Mutex<Shared>>,
    oracle: Arc<Mutex<Oracle>>,
    leaders: Vec<Leader>,
    running: Vec<JoinHandle<()>>,
    rules: Rules,
    faults: Faults,
    /// The wall clock of all processes.
    now_us: Arc<AtomicI64>,
    source: Source,
    /// How many leaders tried to start.
    started: u64,
    /// The next transaction's number.
    next: u64,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario, rules: Rules, faults: Faults) -> World {
        let now_us = Arc::new(AtomicI64::new(BEGINNING_US));
        let (clock, nonces) = (now_us.clone(), Arc::new(AtomicU64::new(0)));
        let source = Source {
            nonce: Arc::new(move || {
                let n = nonces.fetch_add(1, Ordering::Relaxed);
                Dice::new(seed ^ (n << 32)).below(u64::MAX)
            }),
            now_us: Arc::new(move || clock.load(Ordering::Relaxed)),
        };
        World {
            dice: Dice::new(seed),
            scenario,
            shared: Shared::new(seed, faults.store_syncs),
            oracle: Arc::default(),
            leaders: Vec::new(),
            running: Vec::new(),
            rules,
            faults,
            now_us,
            source,
            started: 0,
            next: 0,
        }
    }

    pub(super) fn shared(&self) -> Arc<Mutex<Shared>> {
        self.shared.clone()
    }

    pub(super) async fn run(mut self) -> Result<Summary, String> {
        self.start(LONG_LIFE).await?;
        self.create_tables().await?;
        let trouble = [0, 5, 15, 45][self.pick(4)];
        self.shared.lock().unwrap().trouble = trouble;
        let more = if self.scenario == Scenario::PowerLoss { 16 } else { 12 };
        for _ in 0..self.dice.below(more) + 8 {
            self.event().await?;
            self.look()?;
        }
        self.check().await
    }

    fn pick(&mut self, n: u64) -> usize {
        usize::try_from(self.dice.below(n)).unwrap()
    }

    async fn event(&mut self) -> Result<(), String> {
        let seconds = i64::try_from(self.dice.below(4)).unwrap();
        self.now_us.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
        let alone = self.scenario == Scenario::PowerLoss;
        match self.dice.below(100) {
            0..45 => self.commits(),
            45..60 => self.settle().await,
            60..63 => self.shared.lock().unwrap().deliver(),
            63..72 => self.collect(),
            72..79 => self.read(),
            79..84 => self.churn().await,
            84..88 if alone => self.churn().await,
            84..88 => self.hand_over().await?,
            88..90 => self.power_loss(),
            90..94 if alone => self.power_loss(),
            90..95 => {
                let fuse = self.dice.below(60) + 1;
                self.takes_over(fuse).await?;
            }
            95..98 if alone => self.commits(),
            _ => self.takes_over(LONG_LIFE).await?,
        }
        let dead = self.leaders.iter().all(|leader| leader.client.is_dead());
        if dead && self.dice.percent(75) {
            let fuse = if self.dice.percent(25) { self.dice.below(90) + 1 } else { LONG_LIFE };
            self.start(fuse).await?;
        }
        Ok(())
    }

    async fn takes_over(&mut self, fuse: u64) -> Result<(), String> {
        if self.scenario == Scenario::PowerLoss {
            self.power_loss();
        }
        self.start(fuse).await
    }

    fn options(&self) -> Options {
        Options {
            slices: 2,
            checkpoint_records: 5,
            group_commit_max: 3,
            in_doubt: Duration::from_secs(3_600),
            in_doubt_attempts: 3,
            retry_delay: Duration::ZERO,
            replay_reads: 2,
            rules: self.rules,
            source: self.source.clone(),
            ..Options::default()
        }
    }

    /// A leader starts; the one before it may live on and not know.
    async fn start(&mut self, fuse: u64) -> Result<(), String> {
        self.started += 1;
        let client = Client::new(&self.shared, fuse);
        let store: Arc<dyn ObjectStore> = client.clone();
        let opening = tokio::spawn(Catalog::open(store, self.options()));
        self.wait_for(|| opening.is_finished() || client.is_dead()).await;
        if !opening.is_finished() {
            opening.abort();
            return Ok(());
        }
        match opening.await.unwrap() {
            Ok(catalog) => self.remove_orphans(client, catalog).await,
            // A read may have been damaged; the log itself is checked at the end.
            Err(_) => Ok(()),
        }
    }

    /// The new leader removes the files that belong to nobody, then serves.
    async fn remove_orphans(
        &mut self,
        client: Arc<Client>,
        catalog: Catalog,
    ) -> Result<(), String> {
        self.oracle.lock().unwrap().summary.leaders += 1;
        let leader =
            || Leader { client: client.clone(), catalog: catalog.clone(), number: self.started };
        if self.faults.collect_old_epochs_only {
            let cleaning = tokio::spawn({
                let catalog = catalog.clone();
                async move {
                    if let Ok(orphans) = catalog.orphans().await {
                        drop(catalog.remove_orphans(&orphans).await);
                    }
                }
            });
            self.wait_for(|| cleaning.is_finished() || client.is_dead()).await;
            cleaning.abort();
            let leader = leader();
            self.leaders.push(leader);
        } else {
            // The mutant collects while it serves already.
            let below = base::ids::Epoch(catalog.epoch().0 + 1);
            let head = catalog.head();
            let leader = leader();
            self.leaders.push(leader);
            self.commits();
            for _ in 0..self.dice.below(20) {
                tokio::task::yield_now().await;
            }
            if let Ok(orphans) = crate::garbage::orphans(&*client, &head, below).await {
                drop(crate::garbage::remove(&*client, &orphans).await);
            }
        }
        if self.leaders.len() > 3 {
            self.leaders.remove(0);
        }
        Ok(())
    }

    async fn create_tables(&mut self) -> Result<(), String> {
        let catalog = self.leaders[0].catalog.clone();
        let mut transaction = catalog.begin();
        let retention = [0, 10, 100][self.pick(3)].to_string();
        let set = Op::SetSetting { name: RETENTION_SETTING.to_owned(), value: Some(retention) };
        let create = |oid, name: &str| Op::CreateTable(table(oid, name));
        for op in [set, create(TABLES[0], "t"), create(TABLES[1], "u")] {
            transaction.apply(op).map_err(|e| e.to_string())?;
        }
        catalog.commit(transaction).await.map(drop).map_err(|e| e.to_string())
    }

    /// Work at one of the leaders: mostly the newest, sometimes one that may have been fenced.
    fn work(&mut self) -> Option<(Work, u64)> {
        let last = self.leaders.len().checked_sub(1)?;
        let at = if self.dice.percent(70) { last } else { self.pick(last as u64 + 1) };
        Some(self.work_at(at, None))
    }

    /// Work at the newest leader.
    fn newest(&mut self, script: Option<(Kind, i64)>) -> Option<(Work, u64)> {
        let last = self.leaders.len().checked_sub(1)?;
        Some(self.work_at(last, script))
    }

    fn work_at(&mut self, at: usize, script: Option<(Kind, i64)>) -> (Work, u64) {
        self.next += 1;
        let leader = &self.leaders[at];
        let work = Work {
            client: leader.client.clone(),
            catalog: leader.catalog.clone(),
            oracle: self.oracle.clone(),
            dice: Dice::new(self.dice.below(u64::MAX)),
            number: self.next,
            now_us: self.now_us.load(Ordering::Relaxed),
            script,
        };
        (work, leader.number)
    }

    /// One to three transactions at once.
    fn commits(&mut self) {
        for _ in 0..self.dice.below(3) + 1 {
            if let Some((work, _)) = self.work() {
                self.running.push(tokio::spawn(work.run()));
            }
        }
    }

    fn collect(&mut self) {
        if let Some((work, _)) = self.work() {
            self.running.push(tokio::spawn(work.collect()));
        }
    }

    fn read(&mut self) {
        if let Some((work, leader)) = self.work() {
            self.running.push(tokio::spawn(work.read(leader)));
        }
    }

    /// A table changes and is cleaned up behind the back of somebody who reads it.
    async fn churn(&mut self) {
        let kinds = [Kind::Delete, Kind::Truncate, Kind::Compact];
        let kind = kinds[self.pick(3)];
        let Some((reader, leader)) = self.newest(None) else { return };
        self.running.push(tokio::spawn(reader.read(leader)));
        for step in [Some((Kind::Load, 0)), Some((kind, 0)), None, None, None] {
            self.settle().await;
            let Some((work, _)) = self.newest(step) else { return };
            self.running.push(match step {
                Some(_) => tokio::spawn(work.run()),
                None => tokio::spawn(work.collect()),
            });
        }
    }

    /// A leader takes rows away; the next one brings them back, while the first, which does not
    /// know, goes on cleaning up.
    async fn hand_over(&mut self) -> Result<(), String> {
        let Some((work, _)) = self.newest(Some((Kind::Load, 0))) else { return Ok(()) };
        self.running.push(tokio::spawn(work.run()));
        self.settle().await;
        let before_us = self.now_us.fetch_add(2_000_000, Ordering::Relaxed);
        let Some((work, _)) = self.newest(Some((Kind::Truncate, 0))) else { return Ok(()) };
        let mut old = Vec::new();
        for _ in 0..3 {
            old.extend(self.newest(None).map(|(work, _)| work));
        }
        self.running.push(tokio::spawn(work.run()));
        self.settle().await;
        self.takes_over(LONG_LIFE).await?;
        if let Some((work, _)) = self.newest(Some((Kind::Restore, before_us))) {
            self.running.push(tokio::spawn(work.run()));
        }
        self.settle().await;
        self.now_us.fetch_add(9_000_000, Ordering::Relaxed);
        for work in old {
            self.running.push(tokio::spawn(work.collect()));
            self.settle().await;
        }
        Ok(())
    }

    /// Lets running work come to its end, or to where it hangs.
    async fn settle(&mut self) {
        let running = std::mem::take(&mut self.running);
        self.wait_for(|| running.iter().all(JoinHandle::is_finished)).await;
        self.running = running;
        self.running.retain(|task| !task.is_finished());
    }

    async fn wait_for(&self, done: impl Fn() -> bool) {
        let (mut idle, mut requests) = (0, 0);
        while idle < PATIENCE && !done() {
            tokio::task::yield_now().await;
            let now = self.shared.lock().unwrap().requests;
            idle = if now == requests { idle + 1 } else { 0 };
            requests = now;
        }
    }

    fn power_loss(&mut self) {
        for task in self.running.drain(..) {
            task.abort();
        }
        for leader in self.leaders.drain(..) {
            leader.client.die();
        }
        self.shared.lock().unwrap().power_loss();
        let mut oracle = self.oracle.lock().unwrap();
        oracle.readers.clear();
        oracle.summary.power_losses += 1;
    }

    /// Whoever reads at the newest leader has its files, and whatever anyone sees has to stay.
    fn look(&mut self) -> Result<(), String> {
        let mut oracle = self.oracle.lock().unwrap();
        for leader in &self.leaders {
            oracle.see(&leader.catalog.head());
        }
        // One that has been fenced is not asked: its files are no longer its own.
        let newest = self.started;
        oracle.readers.retain(|reader| reader.leader == newest);
        let shared = self.shared.lock().unwrap();
        for reader in &oracle.readers {
            let mut paths = reader.segments.iter().flat_map(|segment| segment.paths());
            if let Some(lost) = paths.find(|path| !shared.exists(path)) {
                return Err(format!("the file {lost} is gone while it is read"));
            }
        }
        drop(shared);
        let keep = self.dice.below(4);
        if keep == 0 {
            oracle.readers.clear();
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<Summary, String> {
        self.settle().await;
        self.look()?;
        self.power_loss();
        self.shared.lock().unwrap().trouble = 0;
        let checkpoints = self.shared.lock().unwrap().count("catalog/ckpt/");
        let client = Client::new(&self.shared, LONG_LIFE);
        let options = Options { rules: Rules::default(), ..self.options() };
        let catalog = Catalog::open(client.clone(), options)
            .await
            .map_err(|error| format!("the log cannot be read: {error:?}"))?;
        let head = catalog.head();
        {
            let shared = self.shared.lock().unwrap();
            if let Some(lost) = head.segment_paths().find(|path| !shared.exists(path)) {
                return Err(format!("the file {lost} is named but gone"));
            }
        }
        let mut summary = self.judge(&markers(&head).collect())?;
        summary.checkpoints = checkpoints;
        // Without checkpoints the same log must give the same state, and so must another reading.
        let mut model = Model::default();
        crate::tests::replay_all(client, &head, |record| model.follow(record)).await?;
        TABLES.iter().try_for_each(|table| model.compare(*table, &head))?;
        Ok(summary)
    }

    /// What clients were told, against what is there.
    fn judge(&self, there: &BTreeSet<String>) -> Result<Summary, String> {
        let mut oracle = self.oracle.lock().unwrap();
        if let Some(lost) = oracle.present.difference(there).next() {
            return Err(format!("the commit of {lost} is lost"));
        }
        if let Some(alive) = oracle.absent.intersection(there).next() {
            return Err(format!("the aborted {alive} is there"));
        }
        Ok(std::mem::take(&mut oracle.summary))
    }
}
