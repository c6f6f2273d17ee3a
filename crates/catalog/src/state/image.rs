//! State as a list of items: what a checkpoint holds.
//!
//! Owns taking a state apart and putting it together again. Indexes (names, dependents) are not
//! stored; they are built again from the objects.

use std::sync::Arc;

use base::ids::{ColumnId, Epoch, LogPosition, Oid};
use base::segment::Segment;
use base::{Result, error, fail};
use serde::{Deserialize, Serialize};

use super::relations::{namespace_of, references};
use super::{Contents, Namespace, State};
use crate::object::{Cluster, Database, Grant, LoadError, Relation, Schema, Table, User, View};
use crate::routine::Routine;
use crate::statistics::{Changes, TableStatistics};
use crate::stored::SegmentForm;

/// One line of a checkpoint.
#[derive(Serialize, Deserialize)]
pub(crate) enum Item {
    Start {
        position: LogPosition,
        epoch: Epoch,
        next_oid: Oid,
        /// When the record at the position was staged.
        #[serde(default)]
        time_us: i64,
        /// Data that left before may be gone.
        #[serde(default)]
        kept_from_us: i64,
    },
    Cluster(Arc<Cluster>),
    Database(Arc<Database>),
    Schema(Arc<Schema>),
    Table(Arc<Table>),
    View(Arc<View>),
    Routine(Arc<Routine>),
    User(Arc<User>),
    Grant(Grant),
    Comment {
        object: Oid,
        text: Arc<str>,
    },
    Setting {
        name: String,
        value: String,
    },
    LoadError(Arc<LoadError>),
    /// A file that is being removed.
    Doomed(Arc<str>),
    /// The segments that follow belong to this table.
    Contents {
        table: Oid,
        segments: u64,
        identities: Vec<(ColumnId, i64)>,
        /// The highest number of a segment so far.
        #[serde(default)]
        numbered: u32,
        #[serde(default)]
        changes: Changes,
    },
    Statistics(Arc<TableStatistics>),
    Segment(Box<SegmentForm>),
    /// The number of items before it: a list that was cut off is seen.
    End {
        items: u64,
    },
}

impl State {
    /// The items of this state, in an order that does not depend on its history.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> {
        let start = Item::Start {
            position: self.position,
            epoch: self.epoch,
            next_oid: self.next_oid,
            time_us: self.time_us,
            kept_from_us: self.kept_from_us,
        };
        std::iter::once(start)
            .chain(self.cluster.iter().cloned().map(Item::Cluster))
            .chain(self.users.values().cloned().map(Item::User))
            .chain(self.databases.values().cloned().map(Item::Database))
            .chain(self.schemas.values().cloned().map(Item::Schema))
            .chain(self.relations.values().map(|relation| match relation {
                Relation::Table(table) => Item::Table(table.clone()),
                Relation::View(view) => Item::View(view.clone()),
            }))
            .chain(self.routines.values().cloned().map(Item::Routine))
            .chain(self.grants.values().copied().map(Item::Grant))
            .chain(
                self.comments
                    .iter()
                    .map(|(object, text)| Item::Comment { object: *object, text: text.clone() }),
            )
            .chain(
                self.settings.iter().map(|(name, value)| Item::Setting {
                    name: name.clone(),
                    value: value.clone(),
                }),
            )
            .chain(self.load_errors.iter().cloned().map(Item::LoadError))
            .chain(self.doomed.iter().cloned().map(Item::Doomed))
            .chain(self.statistics.values().cloned().map(Item::Statistics))
            .chain(self.contents.iter().flat_map(|(table, contents)| {
                std::iter::once(Item::Contents {
                    table: *table,
                    segments: contents.len() as u64,
                    identities: contents.identities().collect(),
                    numbered: contents.numbered(),
                    changes: contents.changes,
                })
                .chain(
                    contents
                        .segments()
                        .map(|segment| Item::Segment(Box::new(SegmentForm::from(&**segment)))),
                )
            }))
    }
}

/// A table's contents while their segments are being read.
struct OpenContents {
    table: Oid,
    /// How many segments there must be.
    count: u64,
    segments: Vec<Segment>,
    identities: Vec<(ColumnId, i64)>,
    numbered: u32,
    changes: Changes,
}

/// Puts a state together from its items.
#[derive(Default)]
pub(crate) struct Restore {
    state: State,
    items: u64,
    open: Option<OpenContents>,
    ended: bool,
}

impl Restore {
    /// # Errors
    /// XX001 when the items do not fit together.
    pub(crate) fn take(&mut self, item: Item) -> Result<()> {
        if self.ended {
            fail!(DataCorrupted, "items follow the end");
        }
        if let Item::Segment(form) = item {
            self.items += 1;
            return self.segment(*form);
        }
        self.close_contents()?;
        let state = &mut self.state;
        match item {
            Item::Start { position, epoch, next_oid, time_us, kept_from_us } => {
                state.time_us = time_us;
                state.kept_from_us = kept_from_us;
                state.position = position;
                state.epoch = epoch;
                state.next_oid = next_oid;
            }
            Item::Cluster(cluster) => state.cluster = Some(cluster),
            Item::Database(database) => {
                named(state.claim_name(Namespace::Databases, &database.name, database.oid))?;
                state.databases.insert_mut(database.oid, database);
            }
            Item::Schema(schema) => {
                let namespace = Namespace::Database(schema.database);
                named(state.claim_name(namespace, &schema.name, schema.oid))?;
                state.schemas.insert_mut(schema.oid, schema);
            }
            Item::Table(table) => self.relation(Relation::Table(table))?,
            Item::View(view) => self.relation(Relation::View(view))?,
            Item::Routine(routine) => named(state.restore_routine(routine))?,
            Item::User(user) => {
                named(state.claim_name(Namespace::Users, &user.name, user.oid))?;
                state.users.insert_mut(user.oid, user);
            }
            Item::Grant(grant) => state.grants.insert_mut((grant.object, grant.grantee), grant),
            Item::Comment { object, text } => state.comments.insert_mut(object, text),
            Item::Setting { name, value } => state.settings.insert_mut(name, value),
            Item::LoadError(error) => state.load_errors.enqueue_mut(error),
            Item::Doomed(path) => state.doomed.insert_mut(path),
            Item::Statistics(statistics) => {
                state.statistics.insert_mut(statistics.table, statistics);
            }
            Item::Contents { table, segments: count, identities, numbered, changes } => {
                let segments = Vec::new();
                let open = OpenContents { table, count, segments, identities, numbered, changes };
                self.open = Some(open);
            }
            Item::Segment(_) => {}
            Item::End { items } => {
                if items != self.items {
                    fail!(DataCorrupted, "{} items instead of {items}", self.items);
                }
                self.ended = true;
                return Ok(());
            }
        }
        self.items += 1;
        Ok(())
    }

    /// # Errors
    /// XX001 when the list was cut off.
    pub(crate) fn finish(self) -> Result<State> {
        if !self.ended {
            fail!(DataCorrupted, "the end is missing");
        }
        Ok(self.state)
    }

    fn relation(&mut self, relation: Relation) -> Result<()> {
        let oid = relation.oid();
        named(self.state.claim_name(namespace_of(&relation), relation.name(), oid))?;
        match &relation {
            Relation::Table(table) => {
                for referenced in references(table) {
                    self.state.add_dependent(referenced, oid);
                }
            }
            Relation::View(view) => {
                for on in &view.depends_on {
                    self.state.add_dependent(*on, oid);
                }
            }
        }
        self.state.relations.insert_mut(oid, relation);
        Ok(())
    }

    fn segment(&mut self, form: SegmentForm) -> Result<()> {
        let segment = form
            .into_segment()
            .ok_or_else(|| error!(DataCorrupted, "a segment's bound is damaged"))?;
        let Some(open) = &mut self.open else {
            fail!(DataCorrupted, "a segment belongs to no table");
        };
        open.segments.push(segment);
        Ok(())
    }

    fn close_contents(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let OpenContents { table, count, segments, identities, numbered, changes } = open;
        if count != segments.len() as u64 {
            fail!(
                DataCorrupted,
                "table {table} has {} segments instead of {count}",
                segments.len()
            );
        }
        let mut contents = Contents::default();
        contents.set_numbered(numbered);
        contents.changes = changes;
        let named = segments.len();
        for segment in segments {
            // Checkpoints from before segments had numbers.
            match segment.number {
                0 => contents.add(&[segment], LogPosition(0))?,
                _ => contents.put(Arc::new(segment), LogPosition(0)),
            }
        }
        if contents.len() != named {
            fail!(DataCorrupted, "table {table} has two segments of one number");
        }
        for (column, next) in identities {
            contents.set_identity(column, next);
        }
        self.state.contents.insert_mut(table, Arc::new(contents));
        Ok(())
    }
}

fn named(free: bool) -> Result<()> {
    if free { Ok(()) } else { Err(error!(DataCorrupted, "a name is taken twice")) }
}
