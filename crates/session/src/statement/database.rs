//! Schemas and databases.

use base::client::{Outcome, Severity};
use base::ids::Oid;
use base::{Error, Result, error};
use catalog::{
    Database, DatabaseChange, Isolation, Op, PUBLIC_GRANTEE_OID, Privileges, Schema, SchemaChange,
};
use sql::ast::{
    AlterDatabase, AlterDatabaseAction, AlterSchema, AlterSchemaAction, ConnectionLimit,
    CreateDatabase, CreateSchema, DropDatabase, Ident, Quota,
};

use super::done;
use crate::client::ClientSession;
use crate::privileges;
use crate::relations::{at, check_database};

impl ClientSession {
    fn new_oid(&mut self) -> Oid {
        self.work.transaction(&self.leader.catalog).new_oid()
    }

    pub(crate) fn create_schema(&mut self, create: &CreateSchema) -> Result<Outcome> {
        let context = self.context()?;
        check_database(&context, create.database.as_ref())?;
        let name = &create.name.name;
        if create.quota.is_some_and(|quota| quota != Quota::Unlimited) {
            return Err(Error::unsupported("schema quotas are not supported"));
        }
        let held = privileges::held(
            &context.state,
            &context.user,
            context.database.oid,
            context.database.owner,
        );
        if !held.contains(Privileges::CREATE) {
            return Err(error!(
                InsufficientPrivilege,
                "permission denied for database {}", context.database.name
            ));
        }
        if name.starts_with("pg_") || name == "information_schema" {
            return Err(at(
                error!(ReservedName, "unacceptable schema name \"{name}\"")
                    .detail("The prefix \"pg_\" is reserved for system schemas."),
                create.name.position,
            ));
        }
        if context.state.schema(context.database.oid, name).is_some() {
            let message = format!("schema \"{name}\" already exists");
            if create.if_not_exists {
                self.notice(Severity::Notice, error!(DuplicateSchema, "{message}, skipping"));
                return done("CREATE SCHEMA");
            }
            return Err(at(error!(DuplicateSchema, "{message}"), create.name.position));
        }
        let owner = match &create.authorization {
            Some(user) => self.user_named(user)?.oid,
            None => context.user.oid,
        };
        let schema = Schema {
            oid: self.new_oid(),
            database: context.database.oid,
            name: name.clone(),
            owner,
            created_us: base::clock::now_us(),
        };
        self.apply(Op::CreateSchema(schema))?;
        done("CREATE SCHEMA")
    }

    pub(crate) fn alter_schema(&mut self, alter: &AlterSchema) -> Result<Outcome> {
        let context = self.context()?;
        let name = &alter.name;
        let schema = context.state.schema(context.database.oid, &name.name).ok_or_else(|| {
            at(error!(InvalidSchemaName, "schema \"{}\" does not exist", name.name), name.position)
        })?;
        privileges::owner(&context.user, schema.owner, "schema", &schema.name)?;
        let change = match &alter.action {
            AlterSchemaAction::RenameTo(to) => SchemaChange::Rename(to.name.clone()),
            AlterSchemaAction::OwnerTo(user) => SchemaChange::SetOwner(self.user_named(user)?.oid),
            AlterSchemaAction::Quota(Quota::Unlimited) => return done("ALTER SCHEMA"),
            AlterSchemaAction::Quota(_) => {
                return Err(Error::unsupported("schema quotas are not supported"));
            }
        };
        self.apply(Op::AlterSchema { schema: schema.oid, change })?;
        done("ALTER SCHEMA")
    }

    pub(crate) fn create_database(&mut self, create: &CreateDatabase) -> Result<Outcome> {
        let context = self.context()?;
        if !context.user.superuser && !context.user.create_db {
            return Err(error!(InsufficientPrivilege, "permission denied to create database"));
        }
        if create.case_insensitive == Some(true) {
            return Err(Error::unsupported("COLLATE CASE_INSENSITIVE is not supported"));
        }
        let owner = match &create.owner {
            Some(user) => self.user_named(user)?.oid,
            None => context.user.oid,
        };
        let isolation = match create.snapshot_isolation {
            Some(false) => Isolation::Serializable,
            _ => Isolation::Snapshot,
        };
        let (oid, public_schema) = (self.new_oid(), self.new_oid());
        let database = Database {
            oid,
            name: create.name.name.clone(),
            owner,
            created_us: base::clock::now_us(),
            isolation,
            connection_limit: create.connection_limit.and_then(limit),
        };
        self.apply(Op::CreateDatabase { database, public_schema })?;
        // The schema `public` is open to all, as PostgreSQL makes it.
        self.apply(Op::Grant {
            object: public_schema,
            grantee: PUBLIC_GRANTEE_OID,
            privileges: Privileges::USAGE.union(Privileges::CREATE),
            with_grant_option: false,
        })?;
        done("CREATE DATABASE")
    }

    fn database_named(&mut self, name: &Ident) -> Result<std::sync::Arc<Database>> {
        let context = self.context()?;
        context.state.database(&name.name).ok_or_else(|| {
            let names = context.state.databases().map(|database| database.name.as_str());
            at(
                error!(InvalidCatalogName, "database \"{}\" does not exist", name.name)
                    .maybe_hint(base::suggest::did_you_mean(&name.name, names)),
                name.position,
            )
        })
    }

    pub(crate) fn alter_database(&mut self, alter: &AlterDatabase) -> Result<Outcome> {
        let database = self.database_named(&alter.name)?;
        let context = self.context()?;
        privileges::owner(&context.user, database.owner, "database", &database.name)?;
        let change = match &alter.action {
            AlterDatabaseAction::RenameTo(name) => {
                if database.oid == context.database.oid {
                    return Err(error!(ObjectInUse, "the current database cannot be renamed"));
                }
                DatabaseChange::Rename(name.name.clone())
            }
            AlterDatabaseAction::OwnerTo(user) => {
                DatabaseChange::SetOwner(self.user_named(user)?.oid)
            }
            AlterDatabaseAction::ConnectionLimit(connections) => {
                DatabaseChange::SetConnectionLimit(limit(*connections))
            }
            AlterDatabaseAction::CaseInsensitive(false) => return done("ALTER DATABASE"),
            AlterDatabaseAction::CaseInsensitive(true) => {
                return Err(Error::unsupported("COLLATE CASE_INSENSITIVE is not supported"));
            }
            AlterDatabaseAction::SnapshotIsolation(snapshot) => {
                self.alone_in(&database)?;
                DatabaseChange::SetIsolation(match snapshot {
                    true => Isolation::Snapshot,
                    false => Isolation::Serializable,
                })
            }
        };
        self.apply(Op::AlterDatabase { database: database.oid, change })?;
        done("ALTER DATABASE")
    }

    /// Transactions of two levels at once would not be serializable: nobody else may be there.
    fn alone_in(&self, database: &Database) -> Result<()> {
        let others = self.leader.sessions().into_iter().filter(|session| {
            session.database_oid == database.oid && session.process_id != self.entry.process_id
        });
        match others.count() {
            0 => Ok(()),
            count => Err(error!(
                ObjectInUse,
                "database \"{}\" is being accessed by other users", database.name
            )
            .detail(format!("There are {count} other sessions using the database."))),
        }
    }

    pub(crate) fn drop_database(&mut self, drop: &DropDatabase) -> Result<Outcome> {
        let database = self.database_named(&drop.name)?;
        let context = self.context()?;
        privileges::owner(&context.user, database.owner, "database", &database.name)?;
        if database.oid == context.database.oid {
            return Err(error!(ObjectInUse, "cannot drop the currently open database"));
        }
        let sessions = self.leader.sessions();
        let inside: Vec<_> =
            sessions.iter().filter(|session| session.database_oid == database.oid).collect();
        if drop.force {
            inside.iter().for_each(|session| session.terminate(base::client::by_administrator()));
        } else if !inside.is_empty() {
            return Err(error!(
                ObjectInUse,
                "database \"{}\" is being accessed by other users", database.name
            )
            .detail(format!("There are {} other sessions using the database.", inside.len())));
        }
        self.apply(Op::DropDatabase { database: database.oid })?;
        done("DROP DATABASE")
    }
}

fn limit(limit: ConnectionLimit) -> Option<u32> {
    match limit {
        ConnectionLimit::Unlimited => None,
        ConnectionLimit::Count(count) => Some(count),
    }
}
