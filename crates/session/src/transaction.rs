//! The session's transaction: implicit around what one Sync ends, or a block from BEGIN to
//! COMMIT, over one open transaction of the catalog.
//!
//! Nothing is visible before the catalog's commit; what was written for an aborted transaction
//! is removed from the store, and by the next start where that fails.

use std::sync::Arc;

use base::client::TransactionStatus;
use base::{Result, error};
use catalog::{Catalog, State, Transaction};
use futures::future::BoxFuture;

use crate::settings::Settings;

/// Where the session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Block {
    /// Between statements, outside of a block.
    #[default]
    None,
    /// Statements without BEGIN: ends with the next Sync.
    Implicit,
    /// After BEGIN.
    Explicit,
    /// After an error in a block: only ROLLBACK and COMMIT are taken.
    Failed,
}

/// The open work of a session.
#[derive(Debug, Default)]
pub(crate) struct Work {
    block: Block,
    open: Option<Transaction>,
    /// Settings at BEGIN, for ROLLBACK.
    settings: Option<Settings>,
    read_only: bool,
    /// Temporary tables with ON COMMIT behaviour do not exist, so that files are all there is
    /// to undo.
    written: Vec<String>,
}

impl Work {
    pub(crate) fn block(&self) -> Block {
        self.block
    }

    pub(crate) fn status(&self) -> TransactionStatus {
        match self.block {
            Block::None | Block::Implicit => TransactionStatus::Idle,
            Block::Explicit => TransactionStatus::Open,
            Block::Failed => TransactionStatus::Failed,
        }
    }

    /// A statement begins.
    pub(crate) fn enter(&mut self, settings: &Settings) {
        if self.block == Block::None {
            self.block = Block::Implicit;
            self.settings = Some(settings.clone());
            self.read_only = settings.flag("default_transaction_read_only");
        }
    }

    /// BEGIN. Gives false when a block is open already.
    pub(crate) fn begin(&mut self, settings: &Settings, read_only: Option<bool>) -> bool {
        let fresh = matches!(self.block, Block::None | Block::Implicit);
        if fresh {
            self.block = Block::Explicit;
            self.settings.get_or_insert_with(|| settings.clone());
            self.read_only = settings.flag("default_transaction_read_only");
        }
        if let Some(read_only) = read_only {
            self.read_only = read_only;
        }
        fresh
    }

    pub(crate) fn set_read_only(&mut self, read_only: bool) {
        self.read_only = read_only;
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Requires that the transaction may write.
    ///
    /// # Errors
    /// 25006.
    pub(crate) fn may_write(&self, command: &str) -> Result<()> {
        if self.read_only {
            return Err(error!(
                ReadOnlySqlTransaction,
                "cannot execute {command} in a read-only transaction"
            ));
        }
        Ok(())
    }

    /// The catalog's transaction; its snapshot is taken by the first statement that needs it.
    pub(crate) fn transaction(&mut self, catalog: &Catalog) -> &mut Transaction {
        self.open.get_or_insert_with(|| catalog.begin())
    }

    /// What the statement sees.
    pub(crate) fn state(&mut self, catalog: &Catalog) -> Arc<State> {
        Arc::clone(self.transaction(catalog).state())
    }

    /// The id of the open transaction; 0 when no statement needed one yet.
    pub(crate) fn id(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.id().0)
    }

    /// Remembers files to remove if the transaction aborts.
    pub(crate) fn wrote(&mut self, segments: &[base::segment::Segment]) {
        self.written.extend(segments.iter().map(|segment| segment.path.clone()));
    }

    /// Commits and leaves the block.
    ///
    /// # Errors
    /// Those of the catalog, for example 40001; the transaction is then aborted.
    pub(crate) async fn commit(&mut self, catalog: &Catalog) -> Result<()> {
        self.block = Block::None;
        self.settings = None;
        self.written.clear();
        match self.open.take() {
            Some(open) if !open.is_empty() => {
                let commit: BoxFuture<'_, Result<Arc<State>>> = Box::pin(catalog.commit(open));
                commit.await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Aborts and leaves the block; gives the files to remove and the settings to go back to.
    pub(crate) fn abort(&mut self) -> (Vec<String>, Option<Settings>) {
        self.block = Block::None;
        self.open = None;
        (std::mem::take(&mut self.written), self.settings.take())
    }

    /// An error in a block: its work is gone, the block stays until ROLLBACK.
    pub(crate) fn fail(&mut self) -> Vec<String> {
        self.block = Block::Failed;
        self.open = None;
        std::mem::take(&mut self.written)
    }
}
