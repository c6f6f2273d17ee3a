//! The catalog's state: one value, folded from the log's records over persistent maps.
//!
//! Owns reading. A clone shares all structure, so that an `Arc<State>` is a transaction's
//! snapshot. Changing it is `apply`'s, and nothing here touches the store.

mod apply;
mod conflict;
mod contents;
mod image;
mod relations;
mod routines;

use std::collections::BTreeMap;
use std::sync::Arc;

use base::ids::{ColumnId, Epoch, LogPosition, Oid};
use base::segment::Segment;
use rpds::{QueueSync, RedBlackTreeMapSync, RedBlackTreeSetSync};

pub(crate) use conflict::{Conflicts, Versions};
pub(crate) use contents::Contents;
pub(crate) use image::{Item, Restore};

use crate::object::{Cluster, Database, Grant, LoadError, Privileges, Relation, Schema, User};
use crate::op::SegmentName;
use crate::routine::Routine;
use crate::statistics::{Changes, TableStatistics};

/// Statistics that are further out of date than this say too little of a table.
const USABLE_PERCENT: f64 = 50.0;

/// A persistent ordered map.
pub(crate) type Map<K, V> = RedBlackTreeMapSync<K, V>;

/// Where a name has to be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Namespace {
    Databases,
    Users,
    /// The schemas of a database.
    Database(Oid),
    /// The relations of a schema.
    Schema(Oid),
    /// The temporary relations of a session.
    Session(i32),
    /// The procedures and functions of a schema, each name with its input types.
    Routines(Oid),
}

/// The catalog at one position of the log.
#[derive(Clone)]
pub struct State {
    position: LogPosition,
    /// When the record at the position was staged.
    time_us: i64,
    /// Data that left before this time may be gone, whatever the retention is now.
    kept_from_us: i64,
    epoch: Epoch,
    cluster: Option<Arc<Cluster>>,
    next_oid: Oid,
    names: Map<Namespace, Map<Arc<str>, Oid>>,
    databases: Map<Oid, Arc<Database>>,
    schemas: Map<Oid, Arc<Schema>>,
    relations: Map<Oid, Relation>,
    routines: Map<Oid, Arc<Routine>>,
    contents: Map<Oid, Arc<Contents>>,
    statistics: Map<Oid, Arc<TableStatistics>>,
    users: Map<Oid, Arc<User>>,
    /// From an object to the relations that name it: views, and tables with a foreign key.
    dependents: Map<Oid, RedBlackTreeSetSync<Oid>>,
    grants: Map<(Oid, Oid), Grant>,
    comments: Map<Oid, Arc<str>>,
    settings: Map<String, String>,
    load_errors: QueueSync<Arc<LoadError>>,
    /// Files that are being removed.
    doomed: RedBlackTreeSetSync<Arc<str>>,
    versions: Map<Oid, Versions>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            position: LogPosition(0),
            time_us: 0,
            kept_from_us: 0,
            epoch: Epoch(0),
            cluster: None,
            next_oid: base::ids::FIRST_USER_OID,
            names: Map::new_sync(),
            databases: Map::new_sync(),
            schemas: Map::new_sync(),
            relations: Map::new_sync(),
            routines: Map::new_sync(),
            contents: Map::new_sync(),
            statistics: Map::new_sync(),
            users: Map::new_sync(),
            dependents: Map::new_sync(),
            grants: Map::new_sync(),
            comments: Map::new_sync(),
            settings: Map::new_sync(),
            load_errors: QueueSync::new_sync(),
            doomed: RedBlackTreeSetSync::new_sync(),
            versions: Map::new_sync(),
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("position", &self.position)
            .field("epoch", &self.epoch)
            .field("relations", &self.relations.size())
            .finish_non_exhaustive()
    }
}

impl State {
    /// The position of the last record in it; 0 when there is none.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// When the last record in it was staged, in microseconds since the Unix epoch.
    pub fn time_us(&self) -> i64 {
        self.time_us
    }

    pub(crate) fn kept_from_us(&self) -> i64 {
        self.kept_from_us
    }

    /// The epoch of the newest leader that wrote into it.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The cluster's random id; empty before the first record.
    pub fn cluster_id(&self) -> &str {
        self.cluster.as_ref().map_or("", |cluster| &cluster.id)
    }

    /// The cluster's identity; `None` before the first record.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// The number of data slices, fixed when the cluster was made.
    pub fn slice_count(&self) -> u16 {
        self.cluster.as_ref().map_or(0, |cluster| cluster.slices)
    }

    /// The lowest id that no object has had.
    pub fn next_oid(&self) -> Oid {
        self.next_oid
    }

    /// The database of this (folded) name.
    pub fn database(&self, name: &str) -> Option<Arc<Database>> {
        self.databases.get(&self.lookup(Namespace::Databases, name)?).cloned()
    }

    /// The database with this id.
    pub fn database_by_oid(&self, oid: Oid) -> Option<Arc<Database>> {
        self.databases.get(&oid).cloned()
    }

    /// Every database, by id.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.values()
    }

    /// The schema of this (folded) name in a database.
    pub fn schema(&self, database: Oid, name: &str) -> Option<Arc<Schema>> {
        self.schemas.get(&self.lookup(Namespace::Database(database), name)?).cloned()
    }

    /// The schema with this id.
    pub fn schema_by_oid(&self, oid: Oid) -> Option<Arc<Schema>> {
        self.schemas.get(&oid).cloned()
    }

    /// The schemas of a database, by name.
    pub fn schemas(&self, database: Oid) -> Vec<Arc<Schema>> {
        self.listed(Namespace::Database(database), |oid| self.schemas.get(&oid).cloned())
    }

    /// The relation of this (folded) name in a schema.
    pub fn relation(&self, schema: Oid, name: &str) -> Option<Relation> {
        self.relation_by_oid(self.lookup(Namespace::Schema(schema), name)?)
    }

    /// The relation with this id.
    pub fn relation_by_oid(&self, oid: Oid) -> Option<Relation> {
        self.relations.get(&oid).cloned()
    }

    /// The relations of a schema, by name.
    pub fn relations(&self, schema: Oid) -> Vec<Relation> {
        self.listed(Namespace::Schema(schema), |oid| self.relation_by_oid(oid))
    }

    /// The temporary relation of this (folded) name in a session.
    pub fn temporary(&self, session: i32, name: &str) -> Option<Relation> {
        self.relation_by_oid(self.lookup(Namespace::Session(session), name)?)
    }

    /// The temporary relations of a session, by name.
    pub fn temporaries(&self, session: i32) -> Vec<Relation> {
        self.listed(Namespace::Session(session), |oid| self.relation_by_oid(oid))
    }

    /// Every relation of every database, by id.
    pub fn all_relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.values()
    }

    /// The segments of a table in commit order; empty for an unknown table. Made once for each
    /// version of the table, then shared.
    pub fn segments(&self, table: Oid) -> Arc<[Arc<Segment>]> {
        self.contents.get(&table).map(|contents| contents.slice()).unwrap_or_default()
    }

    /// The record that last brought rows of a segment or took some away, which rewriting does
    /// not: every snapshot from there on has its rows. 0 where that was before this leader began.
    pub fn segment_changed_at(&self, table: Oid, number: u32) -> LogPosition {
        self.contents.get(&table).map_or(LogPosition(0), |contents| contents.changed_at(number))
    }

    /// The number of segments of a table.
    pub fn segment_count(&self, table: Oid) -> usize {
        self.contents.get(&table).map_or(0, |contents| contents.len())
    }

    /// The number of rows of a table; a DISTSTYLE ALL table's rows count once.
    pub fn table_rows(&self, table: Oid) -> u64 {
        self.contents.get(&table).map_or(0, |contents| contents.rows)
    }

    /// The bytes of a table's segment files.
    pub fn table_bytes(&self, table: Oid) -> u64 {
        self.contents.get(&table).map_or(0, |contents| contents.bytes)
    }

    /// What ANALYZE last found out about a table.
    pub fn statistics(&self, table: Oid) -> Option<&Arc<TableStatistics>> {
        self.statistics.get(&table)
    }

    /// What ANALYZE found out about a table, as long as it describes more of the rows than not.
    pub fn usable_statistics(&self, table: Oid) -> Option<&Arc<TableStatistics>> {
        self.statistics.get(&table).filter(|_| self.stale_percent(table) <= USABLE_PERCENT)
    }

    /// How far what ANALYZE found out about a table is out of date, in percent; 100 when it found
    /// nothing.
    pub fn stale_percent(&self, table: Oid) -> f64 {
        let known = self.statistics.get(&table);
        known.map_or(100.0, |known| known.stale_percent(self.changes(table)))
    }

    /// The rows that ever joined and left a table.
    pub fn changes(&self, table: Oid) -> Changes {
        self.contents.get(&table).map_or_else(Changes::default, |contents| contents.changes)
    }

    /// The next value of an identity column, its seed before the first row.
    pub fn identity_next(&self, table: Oid, column: ColumnId) -> Option<i64> {
        if let Some(next) = self.contents.get(&table)?.identity_next(column) {
            return Some(next);
        }
        let Relation::Table(table) = self.relations.get(&table)? else { return None };
        table.column_by_id(column)?.identity.map(|identity| identity.seed)
    }

    /// The user of this (folded) name.
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.users.get(&self.lookup(Namespace::Users, name)?).cloned()
    }

    /// The user with this id.
    pub fn user_by_oid(&self, oid: Oid) -> Option<Arc<User>> {
        self.users.get(&oid).cloned()
    }

    /// Every user, by id.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// The relations that depend directly on a relation: views that select from it, and tables
    /// with a foreign key to it.
    pub fn dependents(&self, oid: Oid) -> Vec<Relation> {
        let Some(set) = self.dependents.get(&oid) else { return Vec::new() };
        set.iter().filter_map(|dependent| self.relation_by_oid(*dependent)).collect()
    }

    /// What `grantee` was granted on `object`, without what it owns or inherits.
    pub fn granted(&self, object: Oid, grantee: Oid) -> Privileges {
        self.grants.get(&(object, grantee)).map(|grant| grant.privileges).unwrap_or_default()
    }

    /// Every grant on an object, by grantee.
    pub fn grants(&self, object: Oid) -> Vec<Grant> {
        self.grants
            .range((object, Oid(0))..=(object, Oid(u32::MAX)))
            .map(|(_, grant)| *grant)
            .collect()
    }

    /// What COMMENT ON set for a database, schema, relation or user.
    pub fn comment(&self, object: Oid) -> Option<&str> {
        if let Some(Relation::Table(table)) = self.relations.get(&object) {
            return table.comment.as_deref();
        }
        self.comments.get(&object).map(|text| &**text)
    }

    /// A setting of the whole cluster.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// The settings of the whole cluster, by name.
    pub fn settings(&self) -> BTreeMap<String, String> {
        self.settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The newest rows that COPY refused, oldest first.
    pub fn load_errors(&self) -> Vec<Arc<LoadError>> {
        self.load_errors.iter().cloned().collect()
    }

    /// The paths of every data file that this state names.
    pub fn segment_paths(&self) -> impl Iterator<Item = &str> {
        self.all_segments().flat_map(|segment| segment.paths())
    }

    /// The files that are being removed.
    pub(crate) fn doomed(&self) -> impl Iterator<Item = &str> {
        self.doomed.iter().map(|path| &**path)
    }

    pub(crate) fn is_doomed(&self, path: &str) -> bool {
        self.doomed.contains(path)
    }

    pub(crate) fn has_contents(&self, table: Oid) -> bool {
        self.contents.contains_key(&table)
    }

    pub(crate) fn tables_with_contents(&self) -> impl Iterator<Item = Oid> {
        self.contents.keys().copied()
    }

    /// Every segment of every table.
    pub(crate) fn all_segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.contents.values().flat_map(|contents| contents.segments())
    }

    pub(crate) fn segments_of(&self, table: Oid) -> impl Iterator<Item = &Arc<Segment>> {
        self.contents.get(&table).into_iter().flat_map(|contents| contents.segments())
    }

    /// A segment that an operation names, unless it joined the table after this state.
    pub(crate) fn known_segment(&self, table: Oid, name: &SegmentName) -> Option<&Arc<Segment>> {
        let contents = self.contents.get(&table)?;
        if name.number > contents.numbered() { None } else { contents.find(name) }
    }

    /// The segment of a number, if it has this path.
    pub(crate) fn segment_at(&self, table: Oid, number: u32, path: &str) -> Option<&Arc<Segment>> {
        self.contents.get(&table)?.at(number).filter(|segment| segment.path == path)
    }

    /// The highest number that a segment of the table ever had.
    pub(crate) fn last_number(&self, table: Oid) -> u32 {
        self.contents.get(&table).map_or(0, |contents| contents.numbered())
    }

    /// The segments that joined a table after the one of a number.
    pub(crate) fn segments_after(
        &self,
        table: Oid,
        number: u32,
    ) -> impl Iterator<Item = &Arc<Segment>> {
        self.contents.get(&table).into_iter().flat_map(move |contents| contents.after(number))
    }

    pub(crate) fn lookup(&self, namespace: Namespace, name: &str) -> Option<Oid> {
        self.names.get(&namespace)?.get(name).copied()
    }

    fn listed<T>(&self, namespace: Namespace, get: impl Fn(Oid) -> Option<T>) -> Vec<T> {
        let Some(names) = self.names.get(&namespace) else { return Vec::new() };
        names.values().filter_map(|oid| get(*oid)).collect()
    }
}
