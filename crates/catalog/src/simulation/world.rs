//! One history: leaders that start, commit, crash and overlap, and the oracle that watches.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::SqlState;
use base::ids::{Oid, SliceId};
use base::segment::Segment;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::task::JoinHandle;

use super::store::{Client, Dice, Shared};
use crate::commit::Rules;
use crate::tests::table;
use crate::{Catalog, Op, Options, State};

/// How often the driver lets others run before it takes a silent process for dead.
const PATIENCE: usize = 3_000;
const TABLE: Oid = Oid(100_000);
/// Enough requests for any run without a crash.
const LONG_LIFE: u64 = 1_000_000;

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
    pub(super) unknown: u64,
    pub(super) fenced: u64,
    pub(super) checkpoints: u64,
    pub(super) leaders: u64,
}

impl Summary {
    pub(super) fn add(&mut self, other: &Summary) {
        self.committed += other.committed;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.fenced += other.fenced;
        self.checkpoints += other.checkpoints;
        self.leaders += other.leaders;
    }
}

/// What clients were told.
#[derive(Default)]
struct Oracle {
    /// Must be there at the end.
    present: BTreeSet<String>,
    /// Must not be there at the end.
    absent: BTreeSet<String>,
    summary: Summary,
}

struct Leader {
    client: Arc<Client>,
    catalog: Catalog,
}

pub(super) struct World {
    dice: Dice,
    shared: Arc<Mutex<Shared>>,
    oracle: Arc<Mutex<Oracle>>,
    leaders: Vec<Leader>,
    running: Vec<JoinHandle<()>>,
    rules: Rules,
    faults: Faults,
}

impl World {
    pub(super) fn new(seed: u64, rules: Rules, faults: Faults) -> World {
        World {
            dice: Dice::new(seed),
            shared: Shared::new(seed, faults.store_syncs),
            oracle: Arc::default(),
            leaders: Vec::new(),
            running: Vec::new(),
            rules,
            faults,
        }
    }

    pub(super) async fn run(mut self) -> Result<Summary, String> {
        self.shared.lock().unwrap().trouble = 0;
        self.start(LONG_LIFE).await?;
        self.create_table().await?;
        let trouble = [0, 5, 15, 45][self.pick(4)];
        self.shared.lock().unwrap().trouble = trouble;
        for _ in 0..self.dice.below(25) + 10 {
            self.event().await?;
        }
        self.check().await
    }

    fn pick(&mut self, n: u64) -> usize {
        usize::try_from(self.dice.below(n)).unwrap()
    }

    async fn event(&mut self) -> Result<(), String> {
        match self.dice.below(100) {
            0..60 => self.commits(),
            60..72 => self.settle().await,
            72..77 => self.shared.lock().unwrap().deliver(),
            77..82 => self.power_loss(),
            82..92 => {
                let fuse = self.dice.below(60) + 1;
                self.start(fuse).await?;
            }
            _ => self.start(LONG_LIFE).await?,
        }
        self.look();
        Ok(())
    }

    /// A leader takes over; the one before it may live on and not know.
    async fn start(&mut self, fuse: u64) -> Result<(), String> {
        let client = Client::new(&self.shared, fuse);
        let options = Options {
            slices: 2,
            checkpoint_records: 3,
            group_commit_max: 3,
            in_doubt: Duration::from_secs(3_600),
            in_doubt_attempts: 3,
            retry_delay: Duration::ZERO,
            replay_reads: 2,
            rules: self.rules,
            ..Options::default()
        };
        let store: Arc<dyn ObjectStore> = client.clone();
        let opening = tokio::spawn(Catalog::open(store, options));
        for _ in 0..PATIENCE {
            if opening.is_finished() || client.is_dead() {
                break;
            }
            tokio::task::yield_now().await;
        }
        if !opening.is_finished() {
            opening.abort();
            return Ok(());
        }
        match opening.await.unwrap() {
            Ok(catalog) => self.collect(client, catalog).await,
            // A read may have been damaged; the log itself is checked at the end.
            Err(_) => Ok(()),
        }
    }

    /// The new leader removes the files that belong to nobody, then serves.
    async fn collect(&mut self, client: Arc<Client>, catalog: Catalog) -> Result<(), String> {
        self.oracle.lock().unwrap().summary.leaders += 1;
        let epoch = catalog.epoch();
        let below = if self.faults.collect_old_epochs_only { epoch.0 } else { epoch.0 + 1 };
        let head = catalog.head();
        let below = base::ids::Epoch(below);
        if !self.faults.collect_old_epochs_only {
            // The mutant collects while it serves already.
            self.leaders.push(Leader { client: client.clone(), catalog: catalog.clone() });
            self.commits();
            for _ in 0..self.dice.below(20) {
                tokio::task::yield_now().await;
            }
        }
        let orphans = crate::garbage::orphans(&*client, &head, below).await;
        if let Ok(orphans) = orphans {
            drop(crate::garbage::remove(&*client, &orphans).await);
        }
        if self.faults.collect_old_epochs_only {
            self.leaders.push(Leader { client, catalog });
        }
        if self.leaders.len() > 3 {
            self.leaders.remove(0);
        }
        Ok(())
    }

    async fn create_table(&mut self) -> Result<(), String> {
        let catalog = self.leaders[0].catalog.clone();
        let mut transaction = catalog.begin();
        assert_eq!(transaction.new_oid(), TABLE);
        transaction.apply(Op::CreateTable(table(TABLE, "t"))).map_err(|e| e.to_string())?;
        catalog.commit(transaction).await.map(drop).map_err(|e| e.to_string())
    }

    /// One to four transactions at once at one of the leaders.
    fn commits(&mut self) {
        if self.leaders.is_empty() {
            return;
        }
        // Mostly the newest leader, sometimes one that may have been fenced.
        let last = self.leaders.len() - 1;
        let at = if self.dice.percent(70) { last } else { self.pick(last as u64 + 1) };
        for _ in 0..self.dice.below(4) + 1 {
            let leader = &self.leaders[at];
            let (client, catalog) = (leader.client.clone(), leader.catalog.clone());
            let oracle = self.oracle.clone();
            self.running.push(tokio::spawn(load(client, catalog, oracle)));
        }
    }

    /// Lets running loads come to their end, or to where they hang.
    async fn settle(&mut self) {
        for _ in 0..PATIENCE {
            if self.running.iter().all(JoinHandle::is_finished) {
                break;
            }
            if self.leaders.iter().all(|leader| leader.client.is_dead()) {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.running.retain(|task| !task.is_finished());
    }

    fn power_loss(&mut self) {
        for task in self.running.drain(..) {
            task.abort();
        }
        for leader in self.leaders.drain(..) {
            *leader.client.fuse.lock().unwrap() = 0;
        }
        self.shared.lock().unwrap().power_loss();
    }

    /// Readers look at every leader: what they see has to stay.
    fn look(&mut self) {
        for leader in &self.leaders {
            self.oracle.lock().unwrap().present.extend(names(&leader.catalog.head()));
        }
    }

    async fn check(&mut self) -> Result<Summary, String> {
        self.settle().await;
        self.power_loss();
        self.shared.lock().unwrap().trouble = 0;
        let checkpoints = self.shared.lock().unwrap().count("catalog/ckpt/");
        let client = Client::new(&self.shared, LONG_LIFE);
        let options = Options { rules: Rules::default(), ..Options::default() };
        let catalog = Catalog::open(client.clone(), options.clone())
            .await
            .map_err(|error| format!("the log cannot be read: {error:?}"))?;
        let head = catalog.head();
        let there: BTreeSet<String> = names(&head).collect();
        {
            let shared = self.shared.lock().unwrap();
            if let Some(lost) = there.iter().find(|path| !shared.exists(path)) {
                return Err(format!("the file {lost} is named but gone"));
            }
        }
        let mut summary = self.judge(&there)?;
        summary.checkpoints = checkpoints;
        // Without checkpoints the same log must give the same state.
        crate::tests::same_without_checkpoints(client, &head).await?;
        Ok(summary)
    }
}

impl World {
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

fn names(state: &State) -> impl Iterator<Item = String> {
    state.segment_paths().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// A load: a data file, then its commit.
async fn load(client: Arc<Client>, catalog: Catalog, oracle: Arc<Mutex<Oracle>>) {
    let mut transaction = catalog.begin();
    let path = transaction.segment_path(TABLE, Some(SliceId(0)), 0);
    if client.put(&Path::from(path.as_str()), path.clone().into()).await.is_err() {
        return;
    }
    let segment = Segment { slice: Some(SliceId(0)), rows: 1, ..crate::tests::segment(&path) };
    let op = Op::AddSegments { table: TABLE, segments: vec![segment], identity_next: Vec::new() };
    if transaction.apply(op).is_err() {
        return;
    }
    let outcome = catalog.commit(transaction).await;
    let mut oracle = oracle.lock().unwrap();
    match outcome {
        Ok(state) => {
            oracle.summary.committed += 1;
            oracle.present.extend(names(&state));
            oracle.present.insert(path);
        }
        Err(error) if error.sqlstate() == SqlState::StatementCompletionUnknown => {
            oracle.summary.unknown += 1;
        }
        Err(error) => {
            oracle.summary.failed += 1;
            oracle.summary.fenced += u64::from(error.message().starts_with("another leader"));
            oracle.absent.insert(path);
        }
    }
}
