//! Applying one operation: pure, deterministic, and refusing what does not fit the state.
//!
//! Owns validation and what each operation does to clusters, databases, schemas, users, grants
//! and settings; relations are in `relations`. Works on a clone: an operation that fails leaves
//! nothing behind because its caller drops the clone.

use std::sync::Arc;

use base::ids::{Epoch, LogPosition, Oid};
use base::{Result, error, fail};

use super::{Map, Namespace, State, Versions};
use crate::history;
use crate::object::{
    Cluster, DEV_DATABASE_OID, Database, Grant, LOAD_ERRORS_MAX, LoadError, PG_CATALOG_SCHEMA_OID,
    PG_TEMP_SCHEMA_OID, PUBLIC_GRANTEE_OID, PUBLIC_SCHEMA_OID, Privileges, SYSTEM_USER_OID, Schema,
    User,
};
use crate::op::{DatabaseChange, Op, SchemaChange, UserChange};

/// The longest name, in bytes, as on Redshift.
const NAME_BYTES_MAX: usize = 127;
/// Schema names that exist in every database without being stored.
const VIRTUAL_SCHEMAS: [&str; 1] = ["information_schema"];

impl State {
    /// This state with one operation more; `self` stays as it was.
    ///
    /// # Errors
    /// The SQLSTATE of the reason why it does not fit, for example 42P07.
    pub fn with(&self, op: &Op) -> Result<State> {
        let mut next = self.clone();
        next.apply(op)?;
        Ok(next)
    }

    /// Moves on to the record at `position`, whose operations are applied next.
    pub(crate) fn advance(&mut self, position: LogPosition) {
        self.position = position;
    }

    /// Notes when the record was staged; time never goes back in the log.
    pub(crate) fn set_time(&mut self, time_us: i64) {
        self.time_us = self.time_us.max(time_us);
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::CreateCluster(cluster) => self.create_cluster(cluster),
            Op::StartEpoch { epoch, .. } => self.start_epoch(Epoch(*epoch)),
            Op::CreateDatabase { database, public_schema } => {
                self.create_database(database, *public_schema)
            }
            Op::AlterDatabase { database, change } => self.alter_database(*database, change),
            Op::DropDatabase { database } => self.drop_database(*database),
            Op::CreateSchema(schema) => self.create_schema(schema),
            Op::AlterSchema { schema, change } => self.alter_schema(*schema, change),
            Op::DropSchema { schema, cascade } => self.drop_schema(*schema, *cascade),
            Op::CreateTable(table) => self.create_table(table),
            Op::AlterTable { table, change } => self.alter_relation(*table, change),
            Op::DropRelation { relation, cascade } => self.drop_relation(*relation, *cascade),
            Op::DropTemporaries { session } => self.drop_temporaries(*session),
            Op::CreateView(view) => self.create_view(view),
            Op::ReplaceView(view) => self.replace_view(view),
            Op::CreateRoutine(routine) => self.create_routine(routine),
            Op::ReplaceRoutine(routine) => self.replace_routine(routine),
            Op::AlterRoutine { routine, change } => self.alter_routine(*routine, change),
            Op::DropRoutine { routine, cascade } => self.drop_routine(*routine, *cascade),
            Op::Comment { object, column, text } => self.set_comment(*object, *column, text),
            Op::AddSegments { table, segments, identity_next } => {
                self.add_segments(*table, segments, identity_next)
            }
            Op::RemoveAllSegments { table } => self.remove_all_segments(*table),
            Op::DeleteRows { table, deletes } => self.delete_rows(*table, deletes),
            Op::ReplaceSegments { table, removed, added } => {
                self.replace_segments(*table, removed, added)
            }
            Op::SetStatistics(statistics) => self.set_statistics(statistics),
            Op::CreateUser(user) => self.create_user(user),
            Op::AlterUser { user, change } => self.alter_user(*user, change),
            Op::DropUser { user } => self.drop_user(*user),
            Op::Grant { object, grantee, privileges, with_grant_option } => {
                self.grant(*object, *grantee, *privileges, *with_grant_option)
            }
            Op::Revoke { object, grantee, privileges, grant_option_only } => {
                self.revoke(*object, *grantee, *privileges, *grant_option_only)
            }
            Op::SetSetting { name, value } => {
                self.set_setting(name, value.as_ref());
                Ok(())
            }
            Op::LoadErrors(errors) => {
                self.add_load_errors(errors);
                Ok(())
            }
            Op::CollectFiles { doomed, removed } => {
                for path in removed {
                    self.doomed.remove_mut(path.as_str());
                }
                for path in doomed {
                    self.doomed.insert_mut(path.as_str().into());
                }
                Ok(())
            }
        }
    }

    fn set_setting(&mut self, name: &str, value: Option<&String>) {
        let before_us = history::retention_us(self);
        match value {
            Some(value) => self.settings.insert_mut(name.to_owned(), value.clone()),
            None => {
                self.settings.remove_mut(name);
            }
        }
        if history::retention_us(self) > before_us {
            let kept_from_us = history::kept_from_us(self.time_us, before_us);
            self.kept_from_us = self.kept_from_us.max(kept_from_us);
        }
    }

    fn create_cluster(&mut self, cluster: &Cluster) -> Result<()> {
        if self.cluster.is_some() {
            fail!(DuplicateObject, "the cluster exists already");
        }
        if cluster.slices == 0 {
            fail!(InvalidParameterValue, "a cluster needs at least one slice");
        }
        self.cluster = Some(Arc::new(cluster.clone()));
        let database = Database {
            oid: DEV_DATABASE_OID,
            name: "dev".to_owned(),
            owner: SYSTEM_USER_OID,
            created_us: cluster.created_us,
            ..Database::default()
        };
        self.create_database(&database, PUBLIC_SCHEMA_OID)
    }

    fn start_epoch(&mut self, epoch: Epoch) -> Result<()> {
        if epoch <= self.epoch {
            fail!(InternalError, "epoch {epoch} does not follow epoch {}", self.epoch);
        }
        self.epoch = epoch;
        let sessions: Vec<i32> = self
            .names
            .range(Namespace::Session(i32::MIN)..=Namespace::Session(i32::MAX))
            .filter_map(|(namespace, _)| match namespace {
                Namespace::Session(session) => Some(*session),
                _ => None,
            })
            .collect();
        sessions.into_iter().try_for_each(|session| self.drop_temporaries(session))
    }

    fn create_database(&mut self, database: &Database, public_schema: Oid) -> Result<()> {
        check_name(&database.name)?;
        self.check_owner(database.owner)?;
        self.claim_oid(database.oid)?;
        if !self.claim_name(Namespace::Databases, &database.name, database.oid) {
            fail!(DuplicateDatabase, "database \"{}\" already exists", database.name);
        }
        self.databases.insert_mut(database.oid, Arc::new(database.clone()));
        self.stamp(database.oid, |versions, at| versions.definition = at);
        self.create_schema(&Schema {
            oid: public_schema,
            database: database.oid,
            name: "public".to_owned(),
            owner: database.owner,
            created_us: database.created_us,
        })
    }

    fn alter_database(&mut self, oid: Oid, change: &DatabaseChange) -> Result<()> {
        let mut database = Database::clone(&*self.known_database(oid)?);
        match change {
            DatabaseChange::Rename(name) => {
                check_name(name)?;
                if !self.claim_name(Namespace::Databases, name, oid) {
                    fail!(DuplicateDatabase, "database \"{name}\" already exists");
                }
                self.release_name(Namespace::Databases, &database.name);
                database.name.clone_from(name);
            }
            DatabaseChange::SetOwner(owner) => {
                self.check_owner(*owner)?;
                database.owner = *owner;
            }
            DatabaseChange::SetIsolation(isolation) => database.isolation = *isolation,
            DatabaseChange::SetConnectionLimit(limit) => database.connection_limit = *limit,
        }
        self.databases.insert_mut(oid, Arc::new(database));
        self.stamp(oid, |versions, at| versions.definition = at);
        Ok(())
    }

    fn drop_database(&mut self, oid: Oid) -> Result<()> {
        let database = self.known_database(oid)?;
        for schema in self.schemas(oid) {
            self.drop_schema(schema.oid, true)?;
        }
        self.release_name(Namespace::Databases, &database.name);
        self.names.remove_mut(&Namespace::Database(oid));
        self.databases.remove_mut(&oid);
        self.forget(oid);
        Ok(())
    }

    fn create_schema(&mut self, schema: &Schema) -> Result<()> {
        check_schema_name(&schema.name)?;
        self.check_owner(schema.owner)?;
        self.known_database(schema.database)?;
        self.claim_oid(schema.oid)?;
        if !self.claim_name(Namespace::Database(schema.database), &schema.name, schema.oid) {
            return Err(error!(DuplicateSchema, "schema \"{}\" already exists", schema.name)
                .schema(&schema.name));
        }
        self.schemas.insert_mut(schema.oid, Arc::new(schema.clone()));
        self.stamp(schema.oid, |versions, at| versions.definition = at);
        Ok(())
    }

    fn alter_schema(&mut self, oid: Oid, change: &SchemaChange) -> Result<()> {
        let mut schema = Schema::clone(&*self.known_schema(oid)?);
        match change {
            SchemaChange::Rename(name) => {
                check_schema_name(name)?;
                let namespace = Namespace::Database(schema.database);
                if !self.claim_name(namespace, name, oid) {
                    return Err(
                        error!(DuplicateSchema, "schema \"{name}\" already exists").schema(name)
                    );
                }
                self.release_name(namespace, &schema.name);
                schema.name.clone_from(name);
            }
            SchemaChange::SetOwner(owner) => {
                self.check_owner(*owner)?;
                schema.owner = *owner;
            }
        }
        self.schemas.insert_mut(oid, Arc::new(schema));
        self.stamp(oid, |versions, at| versions.definition = at);
        Ok(())
    }

    fn drop_schema(&mut self, oid: Oid, cascade: bool) -> Result<()> {
        let schema = self.known_schema(oid)?;
        let relations = self.relations(oid);
        let routines = self.routines(oid);
        let empty = relations.is_empty() && routines.is_empty();
        if !cascade && !empty {
            let name = base::ident::quote(&schema.name);
            let within = routines.iter().map(|routine| {
                let kind = routine.kind.name();
                format!("{kind} {name}.{} depends on schema {name}", routine.signature())
            });
            let lines: Vec<String> = relations
                .iter()
                .map(|relation| {
                    format!(
                        "{} {} depends on schema {name}",
                        relation.kind(),
                        self.qualified(relation)
                    )
                })
                .chain(within)
                .collect();
            return Err(dependents_exist("schema", &name, &lines).schema(&schema.name));
        }
        for relation in relations {
            // A view of this schema may be gone already, by the cascade of an earlier relation.
            if self.relations.contains_key(&relation.oid()) {
                self.drop_relation(relation.oid(), true)?;
            }
        }
        for routine in routines {
            self.drop_routine(routine.oid, true)?;
        }
        self.release_name(Namespace::Database(schema.database), &schema.name);
        self.names.remove_mut(&Namespace::Schema(oid));
        self.schemas.remove_mut(&oid);
        self.forget(oid);
        Ok(())
    }

    fn create_user(&mut self, user: &User) -> Result<()> {
        check_name(&user.name)?;
        if user.name == "public" || user.oid == SYSTEM_USER_OID || user.oid == PUBLIC_GRANTEE_OID {
            fail!(ReservedName, "user name \"{}\" is reserved", user.name);
        }
        self.claim_oid(user.oid)?;
        if !self.claim_name(Namespace::Users, &user.name, user.oid) {
            fail!(DuplicateObject, "user \"{}\" already exists", user.name);
        }
        self.users.insert_mut(user.oid, Arc::new(user.clone()));
        self.stamp(user.oid, |versions, at| versions.definition = at);
        Ok(())
    }

    fn alter_user(&mut self, oid: Oid, change: &UserChange) -> Result<()> {
        let mut user = User::clone(&*self.known_user(oid)?);
        match change {
            UserChange::Rename(name) => {
                check_name(name)?;
                if name == "public" || !self.claim_name(Namespace::Users, name, oid) {
                    fail!(DuplicateObject, "user \"{name}\" already exists");
                }
                self.release_name(Namespace::Users, &user.name);
                user.name.clone_from(name);
                // The hash covers the old name, so that it can never match again.
                user.verifiers.md5 = None;
            }
            UserChange::SetVerifiers(verifiers) => user.verifiers = verifiers.clone(),
            UserChange::SetSuperuser(superuser) => user.superuser = *superuser,
            UserChange::SetCreateDb(create_db) => user.create_db = *create_db,
            UserChange::SetValidUntil(until_us) => user.valid_until_us = *until_us,
            UserChange::SetConnectionLimit(limit) => user.connection_limit = *limit,
            UserChange::SetSetting { name, value } => {
                match value {
                    Some(value) => user.settings.insert(name.clone(), value.clone()),
                    None => user.settings.remove(name),
                };
            }
        }
        self.users.insert_mut(oid, Arc::new(user));
        self.stamp(oid, |versions, at| versions.definition = at);
        Ok(())
    }

    fn drop_user(&mut self, oid: Oid) -> Result<()> {
        let user = self.known_user(oid)?;
        let mut owned = Vec::new();
        let named =
            |kind: &str, name: &str| format!("owner of {kind} {}", base::ident::quote(name));
        owned.extend(
            self.databases.values().filter(|d| d.owner == oid).map(|d| named("database", &d.name)),
        );
        owned.extend(
            self.schemas.values().filter(|s| s.owner == oid).map(|s| named("schema", &s.name)),
        );
        owned.extend(
            self.relations.values().filter(|relation| relation.owner() == oid).map(|relation| {
                format!("owner of {} {}", relation.kind(), self.qualified(relation))
            }),
        );
        owned.extend(
            self.routines
                .values()
                .filter(|routine| routine.owner == oid)
                .map(|routine| format!("owner of {} {}", routine.kind.name(), routine.signature())),
        );
        if !owned.is_empty() {
            return Err(error!(
                ObjectInUse,
                "user \"{}\" cannot be dropped because the user owns some object", user.name
            )
            .detail(listed(&owned)));
        }
        let granted: Vec<(Oid, Oid)> =
            self.grants.keys().filter(|(_, grantee)| *grantee == oid).copied().collect();
        if !granted.is_empty() {
            let lines: Vec<String> = granted
                .iter()
                .filter_map(|(object, _)| self.object_name(*object))
                .map(|name| format!("privileges for {name}"))
                .collect();
            return Err(error!(
                DependentObjectsStillExist,
                "user \"{}\" cannot be dropped because the user has a privilege on some object",
                user.name
            )
            .detail(listed(&lines)));
        }
        self.release_name(Namespace::Users, &user.name);
        self.users.remove_mut(&oid);
        self.forget(oid);
        Ok(())
    }

    fn grant(&mut self, object: Oid, grantee: Oid, added: Privileges, on: bool) -> Result<()> {
        self.check_grant(object, grantee)?;
        let mut grant = self.grants.get(&(object, grantee)).copied().unwrap_or(Grant {
            object,
            grantee,
            ..Grant::default()
        });
        grant.privileges = grant.privileges.union(added);
        if on {
            grant.grantable = grant.grantable.union(added);
        }
        self.grants.insert_mut((object, grantee), grant);
        Ok(())
    }

    fn revoke(&mut self, object: Oid, grantee: Oid, taken: Privileges, on: bool) -> Result<()> {
        self.check_grant(object, grantee)?;
        let Some(mut grant) = self.grants.get(&(object, grantee)).copied() else { return Ok(()) };
        grant.grantable = grant.grantable.without(taken);
        if !on {
            grant.privileges = grant.privileges.without(taken);
        }
        if grant.privileges.is_empty() {
            self.grants.remove_mut(&(object, grantee));
        } else {
            self.grants.insert_mut((object, grantee), grant);
        }
        Ok(())
    }

    fn check_grant(&self, object: Oid, grantee: Oid) -> Result<()> {
        if grantee != PUBLIC_GRANTEE_OID {
            self.known_user(grantee)?;
        }
        if self.object_name(object).is_none() || self.users.contains_key(&object) {
            fail!(UndefinedObject, "object with OID {object} does not exist");
        }
        Ok(())
    }

    pub(crate) fn add_load_errors(&mut self, errors: &[LoadError]) {
        for error in errors.iter().skip(errors.len().saturating_sub(LOAD_ERRORS_MAX)) {
            if self.load_errors.len() >= LOAD_ERRORS_MAX {
                self.load_errors.dequeue_mut();
            }
            self.load_errors.enqueue_mut(Arc::new(error.clone()));
        }
    }

    pub(crate) fn known_database(&self, oid: Oid) -> Result<Arc<Database>> {
        self.databases
            .get(&oid)
            .cloned()
            .ok_or_else(|| error!(InvalidCatalogName, "database with OID {oid} does not exist"))
    }

    pub(crate) fn known_schema(&self, oid: Oid) -> Result<Arc<Schema>> {
        self.schemas
            .get(&oid)
            .cloned()
            .ok_or_else(|| error!(InvalidSchemaName, "schema with OID {oid} does not exist"))
    }

    fn known_user(&self, oid: Oid) -> Result<Arc<User>> {
        self.users
            .get(&oid)
            .cloned()
            .ok_or_else(|| error!(UndefinedObject, "user with OID {oid} does not exist"))
    }

    pub(crate) fn check_owner(&self, oid: Oid) -> Result<()> {
        if oid == SYSTEM_USER_OID { Ok(()) } else { self.known_user(oid).map(drop) }
    }

    /// Takes an id for a new object; the allocator goes on after it.
    pub(crate) fn claim_oid(&mut self, oid: Oid) -> Result<()> {
        let reserved = [PG_CATALOG_SCHEMA_OID, PG_TEMP_SCHEMA_OID, SYSTEM_USER_OID, Oid(0)];
        if self.object_name(oid).is_some() || reserved.contains(&oid) {
            fail!(InternalError, "object id {oid} is taken");
        }
        if oid >= self.next_oid {
            let next = oid.0.checked_add(1);
            let next = next.ok_or_else(|| error!(ProgramLimitExceeded, "out of object ids"))?;
            self.next_oid = Oid(next);
        }
        Ok(())
    }

    /// False when the name is taken.
    pub(crate) fn claim_name(&mut self, namespace: Namespace, name: &str, oid: Oid) -> bool {
        let mut names = self.names.get(&namespace).cloned().unwrap_or_else(Map::new_sync);
        if names.contains_key(name) {
            return false;
        }
        names.insert_mut(name.into(), oid);
        self.names.insert_mut(namespace, names);
        true
    }

    pub(crate) fn release_name(&mut self, namespace: Namespace, name: &str) {
        let Some(mut names) = self.names.get(&namespace).cloned() else { return };
        names.remove_mut(name);
        if names.is_empty() {
            self.names.remove_mut(&namespace);
        } else {
            self.names.insert_mut(namespace, names);
        }
    }

    /// Notes at which position an object changed.
    pub(crate) fn stamp(&mut self, oid: Oid, set: impl FnOnce(&mut Versions, LogPosition)) {
        let mut versions = self.versions.get(&oid).copied().unwrap_or_default();
        set(&mut versions, self.position);
        self.versions.insert_mut(oid, versions);
    }

    /// Removes what hangs on the id of an object that is gone.
    pub(crate) fn forget(&mut self, oid: Oid) {
        self.versions.remove_mut(&oid);
        self.comments.remove_mut(&oid);
        for grant in self.grants(oid) {
            self.grants.remove_mut(&(oid, grant.grantee));
        }
    }
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        fail!(SyntaxError, "zero-length delimited identifier");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(error!(NameTooLong, "identifier \"{name}\" is too long").detail(format!(
            "A name has at most {NAME_BYTES_MAX} bytes, this one {}.",
            name.len()
        )));
    }
    Ok(())
}

fn check_schema_name(name: &str) -> Result<()> {
    check_name(name)?;
    if name.starts_with("pg_") {
        return Err(error!(ReservedName, "unacceptable schema name \"{name}\"")
            .detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    if VIRTUAL_SCHEMAS.contains(&name) {
        return Err(error!(DuplicateSchema, "schema \"{name}\" already exists").schema(name));
    }
    Ok(())
}

/// 2BP01 with its dependents.
pub(crate) fn dependents_exist(kind: &str, name: &str, lines: &[String]) -> base::Error {
    error!(
        DependentObjectsStillExist,
        "cannot drop {kind} {name} because other objects depend on it"
    )
    .detail(listed(lines))
    .hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

/// The lines of a detail, at most 100 of them.
pub(crate) fn listed(lines: &[String]) -> String {
    const LINES_MAX: usize = 100;
    let mut text = lines.iter().take(LINES_MAX).cloned().collect::<Vec<_>>().join("\n");
    if lines.len() > LINES_MAX {
        text.push_str(&format!("\nand {} other objects", lines.len() - LINES_MAX));
    }
    text
}
