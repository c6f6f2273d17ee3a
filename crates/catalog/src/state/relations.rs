//! Applying operations on relations: tables, views, their dependents and their segments.

use std::collections::HashSet;
use std::sync::Arc;

use base::ids::{ColumnId, Oid};
use base::segment::{Datum, Segment};
use base::{Result, SqlType, error, fail};
use rpds::RedBlackTreeSetSync;

use super::apply::{check_name, dependents_exist};
use super::{Contents, Namespace, State};
use crate::object::{
    Column, Constraint, DistStyle, Distribution, PG_TEMP_SCHEMA_OID, Relation, SortKey, Table, View,
};
use crate::op::{IdentityNext, SegmentDeletes, SegmentName, TableChange};
use crate::statistics::TableStatistics;

/// The most columns of a table, as on Redshift.
const COLUMNS_MAX: usize = 1_600;

impl State {
    pub(super) fn create_table(&mut self, table: &Table) -> Result<()> {
        self.check_relation(&table.name, table.owner)?;
        self.check_table(table)?;
        self.claim_oid(table.oid)?;
        let namespace = self.namespace(table.schema, table.temporary)?;
        self.claim_relation_name(namespace, &table.name, table.oid)?;
        self.relations.insert_mut(table.oid, Relation::Table(Arc::new(table.clone())));
        self.contents.insert_mut(table.oid, Arc::new(Contents::default()));
        for referenced in references(table) {
            self.add_dependent(referenced, table.oid);
        }
        self.stamp(table.oid, |versions, at| {
            versions.definition = at;
            versions.structure = at;
        });
        Ok(())
    }

    pub(super) fn create_view(&mut self, view: &View) -> Result<()> {
        self.check_relation(&view.name, view.owner)?;
        self.check_view(view)?;
        self.claim_oid(view.oid)?;
        let namespace = self.namespace(view.schema, None)?;
        self.claim_relation_name(namespace, &view.name, view.oid)?;
        self.put_view(view);
        Ok(())
    }

    pub(super) fn replace_view(&mut self, view: &View) -> Result<()> {
        let old = match self.known_relation(view.oid)? {
            Relation::View(old) => old,
            Relation::Table(table) => {
                fail!(WrongObjectType, "\"{}\" is not a view", table.name)
            }
        };
        if old.schema != view.schema || old.name != view.name {
            fail!(InternalError, "a view keeps its schema and name when it is replaced");
        }
        self.check_owner(view.owner)?;
        self.check_view(view)?;
        if self.stands_on(view.oid, &view.depends_on) {
            fail!(InvalidRecursion, "view \"{}\" would depend on itself", view.name);
        }
        for oid in &old.depends_on {
            self.remove_dependent(*oid, view.oid);
        }
        self.put_view(view);
        Ok(())
    }

    fn put_view(&mut self, view: &View) {
        for oid in &view.depends_on {
            self.add_dependent(*oid, view.oid);
        }
        self.relations.insert_mut(view.oid, Relation::View(Arc::new(view.clone())));
        self.stamp(view.oid, |versions, at| versions.definition = at);
    }

    fn check_relation(&self, name: &str, owner: Oid) -> Result<()> {
        check_name(name)?;
        self.check_owner(owner)
    }

    fn check_view(&self, view: &View) -> Result<()> {
        if view.late_binding && !view.depends_on.is_empty() {
            fail!(InternalError, "a late-binding view depends on nothing");
        }
        view.depends_on.iter().try_for_each(|oid| {
            // Functions in SQL are what views stand on too.
            if self.routine_by_oid(*oid).is_some() {
                return Ok(());
            }
            self.known_relation(*oid).map(drop)
        })
    }

    /// True when one of `from` reaches `target` through views.
    fn stands_on(&self, target: Oid, from: &[Oid]) -> bool {
        let mut waiting = from.to_vec();
        let mut seen = HashSet::new();
        while let Some(oid) = waiting.pop() {
            if oid == target {
                return true;
            }
            if seen.insert(oid)
                && let Some(Relation::View(view)) = self.relations.get(&oid)
            {
                waiting.extend(&view.depends_on);
            }
        }
        false
    }

    fn check_table(&self, table: &Table) -> Result<()> {
        if table.columns.is_empty() {
            fail!(InvalidTableDefinition, "table \"{}\" has no columns", table.name);
        }
        if table.columns.len() > COLUMNS_MAX {
            fail!(TooManyColumns, "tables can have at most {COLUMNS_MAX} columns");
        }
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        for column in &table.columns {
            check_column(column)?;
            if !names.insert(column.name.as_str()) {
                return Err(error!(
                    DuplicateColumn,
                    "column \"{}\" specified more than once", column.name
                )
                .column(&column.name));
            }
            if !ids.insert(column.id) || column.id >= table.next_column {
                fail!(InternalError, "column id {} of \"{}\" is not free", column.id, table.name);
            }
        }
        check_distribution(table, table.distribution)?;
        check_sort_key(table, &table.sort_key)?;
        table.constraints.iter().try_for_each(|constraint| self.check_constraint(table, constraint))
    }

    fn check_constraint(&self, table: &Table, constraint: &Constraint) -> Result<()> {
        check_name(constraint.name())?;
        check_columns(table, constraint.columns())?;
        if let Constraint::ForeignKey { table: referenced, references, .. } = constraint {
            let holder;
            let target = if *referenced == table.oid {
                table
            } else {
                holder = self.known_table(*referenced)?;
                &holder
            };
            check_columns(target, references)?;
        }
        Ok(())
    }

    pub(super) fn drop_relation(&mut self, oid: Oid, cascade: bool) -> Result<()> {
        let relation = self.known_relation(oid)?;
        self.drop_dependents(&relation, cascade)?;
        self.remove_relation(&relation);
        Ok(())
    }

    pub(super) fn drop_temporaries(&mut self, session: i32) -> Result<()> {
        for relation in self.temporaries(session) {
            if self.relations.contains_key(&relation.oid()) {
                self.drop_relation(relation.oid(), true)?;
            }
        }
        Ok(())
    }

    /// Drops the views that stand on a relation, directly or through others, and the foreign
    /// keys that reference it; or refuses when there are any.
    fn drop_dependents(&mut self, relation: &Relation, cascade: bool) -> Result<()> {
        let dependents = self.dependents(relation.oid());
        let others: Vec<&Relation> =
            dependents.iter().filter(|other| other.oid() != relation.oid()).collect();
        if !cascade && !others.is_empty() {
            let kind = relation.kind();
            let name = self.qualified(relation);
            let lines: Vec<String> =
                others.iter().flat_map(|other| self.dependence(other, relation)).collect();
            return Err(dependents_exist(kind, &name, &lines).table(relation.name()));
        }
        let mut waiting: Vec<(Oid, Relation)> =
            others.into_iter().map(|other| (relation.oid(), other.clone())).collect();
        let mut views = Vec::new();
        let mut seen = HashSet::new();
        while let Some((of, dependent)) = waiting.pop() {
            match &dependent {
                Relation::Table(table) => self.drop_foreign_keys(table.oid, of),
                Relation::View(view) if !seen.insert(view.oid) => {}
                Relation::View(view) => {
                    let above = self.dependents(view.oid);
                    waiting.extend(above.into_iter().map(|other| (view.oid, other)));
                    views.push(dependent);
                }
            }
        }
        for view in &views {
            self.remove_relation(view);
        }
        Ok(())
    }

    /// The lines of a detail that say how `other` depends on `relation`.
    fn dependence(&self, other: &Relation, relation: &Relation) -> Vec<String> {
        let on = format!("{} {}", relation.kind(), self.qualified(relation));
        match other {
            Relation::View(_) => vec![format!("view {} depends on {on}", self.qualified(other))],
            Relation::Table(table) => table
                .constraints
                .iter()
                .filter(|constraint| constraint.referenced() == Some(relation.oid()))
                .map(|constraint| {
                    format!(
                        "constraint {} on table {} depends on {on}",
                        base::ident::quote(constraint.name()),
                        self.qualified(other)
                    )
                })
                .collect(),
        }
    }

    fn drop_foreign_keys(&mut self, holder: Oid, referenced: Oid) {
        let Some(Relation::Table(table)) = self.relations.get(&holder) else { return };
        let mut table = Table::clone(table);
        table.constraints.retain(|constraint| constraint.referenced() != Some(referenced));
        self.remove_dependent(referenced, holder);
        self.put_table(table, false);
    }

    fn remove_relation(&mut self, relation: &Relation) {
        let oid = relation.oid();
        match relation {
            Relation::Table(table) => {
                for referenced in references(table) {
                    self.remove_dependent(referenced, oid);
                }
            }
            Relation::View(view) => {
                for on in &view.depends_on {
                    self.remove_dependent(*on, oid);
                }
            }
        }
        self.release_name(namespace_of(relation), relation.name());
        self.relations.remove_mut(&oid);
        self.contents.remove_mut(&oid);
        self.statistics.remove_mut(&oid);
        self.dependents.remove_mut(&oid);
        self.forget(oid);
    }

    pub(super) fn alter_relation(&mut self, oid: Oid, change: &TableChange) -> Result<()> {
        let relation = self.known_relation(oid)?;
        match change {
            TableChange::RenameTable(name) => self.move_relation(&relation, None, Some(name)),
            TableChange::SetSchema(schema) => self.move_relation(&relation, Some(*schema), None),
            TableChange::SetOwner(owner) => {
                self.check_owner(*owner)?;
                let set = |to: &mut Oid| *to = *owner;
                self.replace_relation(
                    &relation,
                    |table| set(&mut table.owner),
                    |view| {
                        set(&mut view.owner);
                    },
                );
                Ok(())
            }
            change => {
                let Relation::Table(table) = &relation else {
                    return Err(error!(WrongObjectType, "\"{}\" is not a table", relation.name()));
                };
                self.alter_table(table, change)
            }
        }
    }

    fn move_relation(
        &mut self,
        relation: &Relation,
        schema: Option<Oid>,
        name: Option<&String>,
    ) -> Result<()> {
        let temporary = relation.table().and_then(|table| table.temporary);
        if schema.is_some() && temporary.is_some() {
            fail!(FeatureNotSupported, "cannot move temporary table \"{}\"", relation.name());
        }
        let schema = schema.unwrap_or(relation.schema());
        let name = name.map_or(relation.name(), String::as_str);
        check_name(name)?;
        let namespace = self.namespace(schema, temporary)?;
        self.claim_relation_name(namespace, name, relation.oid())?;
        self.release_name(namespace_of(relation), relation.name());
        self.replace_relation(
            relation,
            |table| {
                table.schema = schema;
                table.name = name.to_owned();
            },
            |view| {
                view.schema = schema;
                view.name = name.to_owned();
            },
        );
        Ok(())
    }

    fn replace_relation(
        &mut self,
        relation: &Relation,
        change_table: impl FnOnce(&mut Table),
        change_view: impl FnOnce(&mut View),
    ) {
        let next = match relation {
            Relation::Table(table) => {
                let mut table = Table::clone(table);
                change_table(&mut table);
                Relation::Table(Arc::new(table))
            }
            Relation::View(view) => {
                let mut view = View::clone(view);
                change_view(&mut view);
                Relation::View(Arc::new(view))
            }
        };
        self.relations.insert_mut(relation.oid(), next);
        self.stamp(relation.oid(), |versions, at| versions.definition = at);
    }

    fn put_table(&mut self, table: Table, structural: bool) {
        let oid = table.oid;
        self.relations.insert_mut(oid, Relation::Table(Arc::new(table)));
        self.stamp(oid, |versions, at| {
            versions.definition = at;
            if structural {
                versions.structure = at;
            }
        });
    }

    fn alter_table(&mut self, old: &Arc<Table>, change: &TableChange) -> Result<()> {
        let mut table = Table::clone(old);
        match change {
            // These hold for views too and were done before.
            TableChange::RenameTable(_) | TableChange::SetSchema(_) | TableChange::SetOwner(_) => {
                return Ok(());
            }
            TableChange::RenameColumn { column, name } => {
                check_name(name)?;
                check_new_column_name(&table, name)?;
                column_mut(&mut table, *column)?.name.clone_from(name);
            }
            TableChange::AddColumn(column) => {
                add_column(&mut table, column)?;
                if !column.nullable && column.fill.is_none() && self.table_rows(table.oid) > 0 {
                    return Err(error!(
                        NotNullViolation,
                        "column \"{}\" of relation \"{}\" contains null values",
                        column.name,
                        table.name
                    )
                    .table(&table.name)
                    .column(&column.name));
                }
            }
            TableChange::DropColumn { column, cascade } => {
                self.drop_column(&mut table, *column, *cascade)?;
            }
            TableChange::SetColumnDefault { column, default } => {
                column_mut(&mut table, *column)?.default.clone_from(default);
            }
            TableChange::AlterType { column, sql_type } => {
                let column = column_mut(&mut table, *column)?;
                check_widening(column, *sql_type)?;
                column.sql_type = *sql_type;
            }
            TableChange::SetColumnEncode { column, encode } => {
                column_mut(&mut table, *column)?.encode.clone_from(encode);
            }
            TableChange::SetDistribution(distribution) => {
                check_distribution(&table, *distribution)?;
                table.distribution = *distribution;
            }
            TableChange::SetSortKey(sort_key) => {
                check_sort_key(&table, sort_key)?;
                table.sort_key = sort_key.clone();
            }
            TableChange::AddConstraint(constraint) => {
                self.add_constraint(&mut table, constraint)?;
            }
            TableChange::DropConstraint { name } => {
                let before = table.constraints.len();
                table.constraints.retain(|constraint| constraint.name() != name);
                if table.constraints.len() == before {
                    fail!(
                        UndefinedObject,
                        "constraint \"{name}\" of relation \"{}\" does not exist",
                        table.name
                    );
                }
                self.follow_references(old, &table);
            }
            TableChange::SetBackup(backup) => table.backup = *backup,
        }
        self.put_table(table, change.is_structural());
        Ok(())
    }

    fn add_constraint(&mut self, table: &mut Table, constraint: &Constraint) -> Result<()> {
        self.check_constraint(table, constraint)?;
        if table.constraints.iter().any(|other| other.name() == constraint.name()) {
            fail!(
                DuplicateObject,
                "constraint \"{}\" for relation \"{}\" already exists",
                constraint.name(),
                table.name
            );
        }
        table.constraints.push(constraint.clone());
        for referenced in references(table) {
            self.add_dependent(referenced, table.oid);
        }
        Ok(())
    }

    fn drop_column(&mut self, table: &mut Table, id: ColumnId, cascade: bool) -> Result<()> {
        let column = column_mut(table, id)?.name.clone();
        if table.columns.len() == 1 {
            fail!(
                InvalidTableDefinition,
                "cannot drop the only column of table \"{}\"",
                table.name
            );
        }
        for (key, uses) in [
            ("distkey", table.distribution.effective == DistStyle::Key(id)),
            ("distkey", table.distribution.declared == DistStyle::Key(id)),
            ("sortkey", table.sort_key.columns().contains(&id)),
        ] {
            if uses {
                return Err(error!(
                    InvalidTableDefinition,
                    "cannot drop {key} column \"{column}\""
                )
                .table(&table.name)
                .column(&column));
            }
        }
        // Views are known to depend on tables, not on columns: any of them may use this one.
        let relation = Relation::Table(Arc::new(table.clone()));
        let using: Vec<Relation> = self
            .dependents(table.oid)
            .into_iter()
            .filter(|other| uses_column(other, table.oid, id))
            .collect();
        if !using.is_empty() && !cascade {
            let lines: Vec<String> =
                using.iter().flat_map(|other| self.dependence(other, &relation)).collect();
            let name =
                format!("{} of table {}", base::ident::quote(&column), self.qualified(&relation));
            return Err(dependents_exist("column", &name, &lines)
                .table(&table.name)
                .column(column));
        }
        for other in using {
            match other {
                Relation::View(view) => {
                    if self.relations.contains_key(&view.oid) {
                        self.drop_relation(view.oid, true)?;
                    }
                }
                Relation::Table(holder) if holder.oid != table.oid => {
                    self.drop_foreign_keys(holder.oid, table.oid);
                }
                Relation::Table(_) => {}
            }
        }
        let old = table.clone();
        table.columns.retain(|column| column.id != id);
        table.constraints.retain(|constraint| !names_column(constraint, table.oid, id));
        self.follow_references(&old, table);
        Ok(())
    }

    /// Forgets the dependence on tables that no foreign key of `new` references any more.
    fn follow_references(&mut self, old: &Table, new: &Table) {
        let still = references(new);
        for referenced in references(old).difference(&still) {
            self.remove_dependent(*referenced, new.oid);
        }
    }

    pub(super) fn set_comment(
        &mut self,
        object: Oid,
        column: Option<ColumnId>,
        text: &Option<String>,
    ) -> Result<()> {
        if let Some(Relation::Table(table)) = self.relations.get(&object) {
            let mut table = Table::clone(table);
            match column {
                Some(column) => column_mut(&mut table, column)?.comment.clone_from(text),
                None => table.comment.clone_from(text),
            }
            self.relations.insert_mut(object, Relation::Table(Arc::new(table)));
            return Ok(());
        }
        if column.is_some() {
            fail!(WrongObjectType, "object with OID {object} is not a table");
        }
        if self.object_name(object).is_none() {
            fail!(UndefinedObject, "object with OID {object} does not exist");
        }
        match text {
            Some(text) => self.comments.insert_mut(object, text.as_str().into()),
            None => {
                self.comments.remove_mut(&object);
            }
        }
        Ok(())
    }

    pub(super) fn add_segments(
        &mut self,
        oid: Oid,
        segments: &[Segment],
        identity_next: &[IdentityNext],
    ) -> Result<()> {
        let table = self.known_table(oid)?;
        self.check_slices(&table, segments)?;
        self.check_files(segments.iter().flat_map(Segment::paths))?;
        let mut contents = self.contents_of(oid);
        contents.add(segments, self.position)?;
        contents.changes.insert(segments.iter().map(Segment::live_rows).sum());
        for identity in identity_next {
            let column = table.column_by_id(identity.column).and_then(|column| column.identity);
            let Some(column) = column else {
                fail!(InternalError, "column {} is not an identity column", identity.column);
            };
            let old = contents.identity_next(identity.column).unwrap_or(column.seed);
            let further =
                if column.step < 0 { old.min(identity.next) } else { old.max(identity.next) };
            contents.set_identity(identity.column, further);
        }
        self.contents.insert_mut(oid, Arc::new(contents));
        self.stamp(oid, |versions, at| {
            if !segments.is_empty() {
                versions.data = at;
            }
            if !identity_next.is_empty() {
                versions.identity = at;
            }
        });
        Ok(())
    }

    pub(super) fn remove_all_segments(&mut self, oid: Oid) -> Result<()> {
        self.known_table(oid)?;
        let emptied = self.contents_of(oid).emptied();
        self.contents.insert_mut(oid, Arc::new(emptied));
        self.stamp(oid, |versions, at| versions.data = at);
        Ok(())
    }

    pub(super) fn delete_rows(&mut self, oid: Oid, deletes: &[SegmentDeletes]) -> Result<()> {
        self.known_table(oid)?;
        let mut contents = self.contents_of(oid);
        if deletes.is_empty() {
            return Ok(());
        }
        self.check_files(deletes.iter().filter_map(|one| one.deletes.path()))?;
        for one in deletes {
            contents.set_deletes(&one.segment, &one.deletes, self.position)?;
        }
        self.contents.insert_mut(oid, Arc::new(contents));
        self.stamp(oid, |versions, at| versions.data = at);
        Ok(())
    }

    pub(super) fn replace_segments(
        &mut self,
        oid: Oid,
        removed: &[SegmentName],
        added: &[Segment],
    ) -> Result<()> {
        let table = self.known_table(oid)?;
        self.check_slices(&table, added)?;
        self.check_files(added.iter().flat_map(Segment::paths))?;
        let mut contents = self.contents_of(oid);
        let rows = contents.rows;
        // The same rows: they are as old as they were.
        let changed_at = contents.replace(removed)?;
        contents.add(added, changed_at)?;
        if contents.rows != rows {
            fail!(
                InternalError,
                "\"{}\" would have {} rows instead of {rows} once its segments are replaced",
                table.name,
                contents.rows
            );
        }
        self.contents.insert_mut(oid, Arc::new(contents));
        // The rows are the same: what others read stays true.
        Ok(())
    }

    pub(super) fn set_statistics(&mut self, statistics: &Arc<TableStatistics>) -> Result<()> {
        self.known_table(statistics.table)?;
        self.statistics.insert_mut(statistics.table, statistics.clone());
        Ok(())
    }

    fn contents_of(&self, oid: Oid) -> Contents {
        self.contents.get(&oid).map(|contents| Contents::clone(contents)).unwrap_or_default()
    }

    /// A file on its way out cannot come back.
    fn check_files<'a>(&self, mut paths: impl Iterator<Item = &'a str>) -> Result<()> {
        if self.doomed.is_empty() {
            return Ok(());
        }
        match paths.find(|path| self.is_doomed(path)) {
            Some(path) => Err(error!(SerializationFailure, "file {path} is being removed")
                .retry(base::Retry::NewTransaction)),
            None => Ok(()),
        }
    }

    fn check_slices(&self, table: &Table, segments: &[Segment]) -> Result<()> {
        let slices = self.slice_count();
        let replicated = table.distribution.effective == DistStyle::All;
        for segment in segments {
            let fits = match segment.slice {
                None => replicated,
                Some(slice) => !replicated && slice.0 < slices,
            };
            if !fits {
                fail!(
                    InternalError,
                    "segment {} has the wrong slice for \"{}\"",
                    segment.path,
                    table.name
                );
            }
        }
        Ok(())
    }

    fn namespace(&self, schema: Oid, temporary: Option<i32>) -> Result<Namespace> {
        match temporary {
            Some(session) if schema == PG_TEMP_SCHEMA_OID => Ok(Namespace::Session(session)),
            Some(_) => fail!(InternalError, "a temporary table is in the schema pg_temp"),
            None => {
                self.known_schema(schema)?;
                Ok(Namespace::Schema(schema))
            }
        }
    }

    fn claim_relation_name(&mut self, namespace: Namespace, name: &str, oid: Oid) -> Result<()> {
        if self.claim_name(namespace, name, oid) {
            return Ok(());
        }
        Err(error!(DuplicateTable, "relation \"{name}\" already exists").table(name))
    }

    fn known_relation(&self, oid: Oid) -> Result<Relation> {
        self.relation_by_oid(oid)
            .ok_or_else(|| error!(UndefinedTable, "relation with OID {oid} does not exist"))
    }

    fn known_table(&self, oid: Oid) -> Result<Arc<Table>> {
        match self.known_relation(oid)? {
            Relation::Table(table) => Ok(table),
            Relation::View(view) => {
                Err(error!(WrongObjectType, "\"{}\" is not a table", view.name))
            }
        }
    }

    /// `schema.name`, quoted where it has to be; temporary relations by name alone.
    pub(super) fn qualified(&self, relation: &Relation) -> String {
        let name = base::ident::quote(relation.name());
        match self.schemas.get(&relation.schema()) {
            Some(schema) => format!("{}.{name}", base::ident::quote(&schema.name)),
            None => name,
        }
    }

    pub(super) fn add_dependent(&mut self, on: Oid, dependent: Oid) {
        let mut set =
            self.dependents.get(&on).cloned().unwrap_or_else(RedBlackTreeSetSync::new_sync);
        set.insert_mut(dependent);
        self.dependents.insert_mut(on, set);
    }

    fn remove_dependent(&mut self, on: Oid, dependent: Oid) {
        let Some(mut set) = self.dependents.get(&on).cloned() else { return };
        set.remove_mut(&dependent);
        if set.is_empty() {
            self.dependents.remove_mut(&on);
        } else {
            self.dependents.insert_mut(on, set);
        }
    }
}

pub(super) fn namespace_of(relation: &Relation) -> Namespace {
    match relation.table().and_then(|table| table.temporary) {
        Some(session) => Namespace::Session(session),
        None => Namespace::Schema(relation.schema()),
    }
}

/// The other tables that a table's foreign keys reference.
pub(super) fn references(table: &Table) -> std::collections::BTreeSet<Oid> {
    table
        .constraints
        .iter()
        .filter_map(Constraint::referenced)
        .filter(|referenced| *referenced != table.oid)
        .collect()
}

fn uses_column(relation: &Relation, table: Oid, column: ColumnId) -> bool {
    match relation {
        Relation::View(_) => true,
        Relation::Table(holder) => holder.constraints.iter().any(|constraint| match constraint {
            Constraint::ForeignKey { table: referenced, references, .. } => {
                *referenced == table && references.contains(&column)
            }
            _ => false,
        }),
    }
}

fn names_column(constraint: &Constraint, table: Oid, column: ColumnId) -> bool {
    if constraint.columns().contains(&column) {
        return true;
    }
    match constraint {
        Constraint::ForeignKey { table: referenced, references, .. } => {
            *referenced == table && references.contains(&column)
        }
        _ => false,
    }
}

fn column_mut(table: &mut Table, id: ColumnId) -> Result<&mut Column> {
    let name = table.name.clone();
    table.columns.iter_mut().find(|column| column.id == id).ok_or_else(|| {
        error!(UndefinedColumn, "column with id {id} of relation \"{name}\" does not exist")
            .table(name)
    })
}

fn check_column(column: &Column) -> Result<()> {
    check_name(&column.name)?;
    if !column.sql_type.is_storable() {
        fail!(
            InvalidTableDefinition,
            "column \"{}\" has pseudo-type {}",
            column.name,
            column.sql_type
        );
    }
    column.sql_type.checked()?;
    if column.identity.is_some_and(|identity| identity.step == 0) {
        fail!(InvalidParameterValue, "IDENTITY step of column \"{}\" must not be 0", column.name);
    }
    if let Some(fill) = &column.fill
        && !is_carried_as(column.sql_type, fill)
    {
        fail!(InternalError, "column \"{}\" cannot be filled with {fill:?}", column.name);
    }
    Ok(())
}

/// True when statistics and fills hold values of the type in this form.
fn is_carried_as(sql_type: SqlType, value: &Datum) -> bool {
    match sql_type {
        SqlType::Real | SqlType::Double => matches!(value, Datum::Float(_)),
        SqlType::Char(_) | SqlType::Varchar(_) => matches!(value, Datum::Text(_)),
        SqlType::Varbyte(_) => matches!(value, Datum::Bytes(_)),
        _ => matches!(value, Datum::Int(_)),
    }
}

fn check_new_column_name(table: &Table, name: &str) -> Result<()> {
    if table.column(name).is_none() {
        return Ok(());
    }
    Err(error!(DuplicateColumn, "column \"{name}\" of relation \"{}\" already exists", table.name)
        .table(&table.name)
        .column(name))
}

fn add_column(table: &mut Table, column: &Column) -> Result<()> {
    check_column(column)?;
    check_new_column_name(table, &column.name)?;
    if table.columns.len() >= COLUMNS_MAX {
        fail!(TooManyColumns, "tables can have at most {COLUMNS_MAX} columns");
    }
    if column.identity.is_some() {
        fail!(FeatureNotSupported, "cannot add identity column \"{}\"", column.name);
    }
    if !column.nullable && column.default.is_none() {
        return Err(error!(
            InvalidColumnDefinition,
            "ALTER TABLE ADD COLUMN defined as NOT NULL must have a non-null default expression"
        )
        .column(&column.name));
    }
    if column.id != table.next_column {
        fail!(InternalError, "column id {} is not the table's next", column.id);
    }
    table.next_column = ColumnId(column.id.0 + 1);
    table.columns.push(column.clone());
    Ok(())
}

fn check_widening(column: &Column, to: SqlType) -> Result<()> {
    to.checked()?;
    match (column.sql_type, to) {
        (SqlType::Varchar(old), SqlType::Varchar(new)) if new >= old => Ok(()),
        (from, _) => Err(error!(
            FeatureNotSupported,
            "cannot alter type of column \"{}\" from {from} to {to}", column.name
        )
        .detail("Only the length of a VARCHAR column can be changed, to a greater one.")
        .column(&column.name)),
    }
}

fn check_columns(table: &Table, columns: &[ColumnId]) -> Result<()> {
    for id in columns {
        if table.column_by_id(*id).is_none() {
            fail!(
                UndefinedColumn,
                "column with id {id} of relation \"{}\" does not exist",
                table.name
            );
        }
    }
    Ok(())
}

fn check_distribution(table: &Table, distribution: Distribution) -> Result<()> {
    if distribution.effective == DistStyle::Auto {
        fail!(InternalError, "the effective distribution is never AUTO");
    }
    for style in [distribution.declared, distribution.effective] {
        if let DistStyle::Key(column) = style {
            check_columns(table, &[column])?;
        }
    }
    Ok(())
}

fn check_sort_key(table: &Table, sort_key: &SortKey) -> Result<()> {
    const COMPOUND_MAX: usize = 400;
    const INTERLEAVED_MAX: usize = 8;
    let (kind, max) = match sort_key {
        SortKey::None | SortKey::Auto => return Ok(()),
        SortKey::Compound(_) => ("compound", COMPOUND_MAX),
        SortKey::Interleaved(_) => ("interleaved", INTERLEAVED_MAX),
    };
    if sort_key.columns().len() > max {
        fail!(InvalidTableDefinition, "a {kind} sort key has at most {max} columns");
    }
    check_columns(table, sort_key.columns())
}
