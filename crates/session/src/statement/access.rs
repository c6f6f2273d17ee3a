//! Users, GRANT and REVOKE.

use std::sync::Arc;

use base::client::{Outcome, Severity};
use base::ids::Oid;
use base::{Error, Result, error, suggest};
use catalog::{Op, PUBLIC_GRANTEE_OID, Privileges, User, UserChange, Verifiers};
use sql::ast::{
    AlterUser, AlterUserAction, ConnectionLimit, CreateUser, DropUsers, Grant, GrantObjects,
    Grantee, Ident, Revoke, SetValue, UserOption,
};

use super::done;
use crate::client::ClientSession;
use crate::login;
use crate::privileges;
use crate::relations::at;
use crate::settings::Settings;

/// Redshift's range of SESSION TIMEOUT, in seconds.
const SESSION_TIMEOUT: std::ops::RangeInclusive<u32> = 60..=1_728_000;

/// An object of GRANT: what may be granted on it and who owns it.
struct Granted {
    oid: Oid,
    owner: Oid,
    kind: &'static str,
    name: String,
    all: Privileges,
}

impl ClientSession {
    /// The user of a name.
    ///
    /// # Errors
    /// 42704 with a did-you-mean.
    pub(crate) fn user_named(&mut self, name: &Ident) -> Result<Arc<User>> {
        let state = self.work.state(&self.leader.catalog);
        if let Some(user) = state.user(&name.name) {
            return Ok(user);
        }
        let names = state.users().map(|user| user.name.as_str());
        Err(at(
            error!(UndefinedObject, "user \"{}\" does not exist", name.name)
                .maybe_hint(suggest::did_you_mean(&name.name, names)),
            name.position,
        ))
    }

    pub(crate) fn create_user(&mut self, create: &CreateUser) -> Result<Outcome> {
        let context = self.context()?;
        privileges::superuser(&context.user, "create users")?;
        let name = &create.name.name;
        if context.state.user(name).is_some() {
            let message = format!("user \"{name}\" already exists");
            if create.if_not_exists {
                self.notice(Severity::Notice, error!(DuplicateObject, "{message}, skipping"));
                return done("CREATE USER");
            }
            return Err(at(error!(DuplicateObject, "{message}"), create.name.position));
        }
        let oid = self.work.transaction(&self.leader.catalog).new_oid();
        let mut user = User { oid, name: name.clone(), ..User::default() };
        let mut with_password = false;
        for option in &create.options {
            with_password |=
                matches!(option, UserOption::Password(_) | UserOption::PasswordDisable);
            match self.user_change(name, option)? {
                Some(UserChange::SetVerifiers(verifiers)) => user.verifiers = verifiers,
                Some(UserChange::SetSuperuser(superuser)) => user.superuser = superuser,
                Some(UserChange::SetCreateDb(create_db)) => user.create_db = create_db,
                Some(UserChange::SetValidUntil(until)) => user.valid_until_us = until,
                Some(UserChange::SetConnectionLimit(limit)) => user.connection_limit = limit,
                Some(UserChange::SetSetting { name, value: Some(value) }) => {
                    user.settings.insert(name, value);
                }
                _ => {}
            }
        }
        if !with_password {
            return Err(at(
                error!(InvalidParameterValue, "CREATE USER needs a password")
                    .hint("Give PASSWORD '...', or PASSWORD DISABLE for a user who cannot log in."),
                create.name.position,
            ));
        }
        self.apply(Op::CreateUser(user))?;
        done("CREATE USER")
    }

    /// The change that an option is; `None` where it only confirms what holds anyway.
    fn user_change(&mut self, name: &str, option: &UserOption) -> Result<Option<UserChange>> {
        Ok(Some(match option {
            UserOption::Password(password) => {
                let made = login::from_clause(name, password)?;
                UserChange::SetVerifiers(Verifiers {
                    digest: made.digest,
                    scram: made.scram,
                    md5: made.md5,
                })
            }
            UserOption::PasswordDisable => UserChange::SetVerifiers(Verifiers::default()),
            UserOption::CreateDb(value) => UserChange::SetCreateDb(*value),
            UserOption::CreateUser(value) => UserChange::SetSuperuser(*value),
            UserOption::ValidUntil(text) => UserChange::SetValidUntil(until(text)?),
            UserOption::ConnectionLimit(limit) => UserChange::SetConnectionLimit(match limit {
                ConnectionLimit::Unlimited => None,
                ConnectionLimit::Count(count) => Some(*count),
            }),
            UserOption::Login(true) | UserOption::SyslogAccess(false) => return Ok(None),
            UserOption::Login(false) => UserChange::SetVerifiers(Verifiers::default()),
            UserOption::SyslogAccess(true) => {
                return Err(Error::unsupported("SYSLOG ACCESS UNRESTRICTED is not supported")
                    .hint("A superuser sees the rows of all users."));
            }
            UserOption::SessionTimeout(seconds) => {
                let (name, value) = ("session_timeout".to_owned(), seconds.map(|n| n.to_string()));
                if seconds.is_some_and(|seconds| !SESSION_TIMEOUT.contains(&seconds)) {
                    return Err(error!(
                        InvalidParameterValue,
                        "session timeout must be between 60 and 1728000 seconds"
                    ));
                }
                UserChange::SetSetting { name, value }
            }
            UserOption::InGroups(_) => {
                return Err(Error::unsupported("user groups are not supported"));
            }
            UserOption::ExternalId(_) => {
                return Err(Error::unsupported("EXTERNALID is not supported"));
            }
        }))
    }

    pub(crate) fn alter_user(&mut self, alter: &AlterUser) -> Result<Outcome> {
        let user = self.user_named(&alter.name)?;
        let context = self.context()?;
        let own = user.oid == context.user.oid && only_own(&alter.action);
        if !own {
            privileges::superuser(&context.user, "alter users")?;
        }
        let mut changes = Vec::new();
        match &alter.action {
            AlterUserAction::Options(options) => {
                for option in options {
                    changes.extend(self.user_change(&user.name, option)?);
                }
            }
            AlterUserAction::RenameTo(name) => {
                // The md5 form depends on the name, and so would stop working.
                if user.verifiers.md5.is_some() {
                    changes.push(UserChange::SetVerifiers(Verifiers {
                        md5: None,
                        ..user.verifiers.clone()
                    }));
                }
                changes.push(UserChange::Rename(name.name.clone()));
            }
            AlterUserAction::Set { name, value } => {
                let value = match value {
                    SetValue::Default => None,
                    SetValue::Values(values) => Some(values.join(", ")),
                };
                // Checked on a copy of the session's settings.
                Settings::default().set(&name.name, value.as_deref(), false)?;
                changes.push(UserChange::SetSetting { name: name.name.clone(), value });
            }
            AlterUserAction::Reset(name) => {
                changes.push(UserChange::SetSetting { name: name.name.clone(), value: None });
            }
        }
        for change in changes {
            self.apply(Op::AlterUser { user: user.oid, change })?;
        }
        done("ALTER USER")
    }

    pub(crate) fn drop_users(&mut self, drop: &DropUsers) -> Result<Outcome> {
        let context = self.context()?;
        privileges::superuser(&context.user, "drop users")?;
        for name in &drop.names {
            let Some(user) = context.state.user(&name.name) else {
                if drop.if_exists {
                    let notice = error!(
                        SuccessfulCompletion,
                        "user \"{}\" does not exist, skipping", name.name
                    );
                    self.notice(Severity::Notice, notice);
                    continue;
                }
                return Err(self.user_named(name).err().unwrap_or_else(|| {
                    error!(UndefinedObject, "user \"{}\" does not exist", name.name)
                }));
            };
            if user.oid == context.user.oid {
                return Err(error!(ObjectInUse, "current user cannot be dropped"));
            }
            self.apply(Op::DropUser { user: user.oid })?;
        }
        done("DROP USER")
    }

    pub(crate) fn grant(&mut self, grant: &Grant) -> Result<Outcome> {
        for object in self.granted_objects(&grant.on)? {
            let privileges = privileges::of_clause(&grant.privileges, object.all)?;
            self.may_grant(&object, privileges)?;
            for grantee in &grant.to {
                let grantee = self.grantee(grantee)?;
                if grantee == PUBLIC_GRANTEE_OID && grant.with_grant_option {
                    return Err(error!(
                        InvalidParameterValue,
                        "grant options can be granted only to users"
                    ));
                }
                self.apply(Op::Grant {
                    object: object.oid,
                    grantee,
                    privileges,
                    with_grant_option: grant.with_grant_option,
                })?;
            }
        }
        done("GRANT")
    }

    pub(crate) fn revoke(&mut self, revoke: &Revoke) -> Result<Outcome> {
        for object in self.granted_objects(&revoke.on)? {
            let privileges = privileges::of_clause(&revoke.privileges, object.all)?;
            self.may_grant(&object, privileges)?;
            for grantee in &revoke.from {
                let grantee = self.grantee(grantee)?;
                self.apply(Op::Revoke {
                    object: object.oid,
                    grantee,
                    privileges,
                    grant_option_only: revoke.grant_option_for,
                })?;
            }
        }
        done("REVOKE")
    }

    fn grantee(&mut self, grantee: &Grantee) -> Result<Oid> {
        match grantee {
            Grantee::Public => Ok(PUBLIC_GRANTEE_OID),
            Grantee::User(name) => Ok(self.user_named(name)?.oid),
            Grantee::Group(name) => {
                Err(at(Error::unsupported("user groups are not supported"), name.position))
            }
            Grantee::Role(name) => {
                Err(at(Error::unsupported("roles are not supported"), name.position))
            }
        }
    }

    /// The owner, a superuser, or who holds the privileges with grant option.
    fn may_grant(&mut self, object: &Granted, privileges: Privileges) -> Result<()> {
        let context = self.context()?;
        if context.user.superuser || context.user.oid == object.owner {
            return Ok(());
        }
        let grants = context.state.grants(object.oid);
        let own = grants.iter().find(|grant| grant.grantee == context.user.oid);
        if own.is_some_and(|grant| grant.grantable.contains(privileges)) {
            return Ok(());
        }
        Err(error!(InsufficientPrivilege, "permission denied for {} {}", object.kind, object.name))
    }

    fn granted_objects(&mut self, on: &GrantObjects) -> Result<Vec<Granted>> {
        let context = self.context()?;
        let mut objects = Vec::new();
        match on {
            GrantObjects::Tables(names) => {
                for name in names {
                    let relation = self.relation(name)?;
                    objects.push(granted_relation(&relation));
                }
            }
            GrantObjects::AllTablesInSchemas(names) => {
                for name in names {
                    let schema = self.schema_named(name)?;
                    let relations = context.state.relations(schema.oid);
                    objects.extend(relations.iter().map(granted_relation));
                }
            }
            GrantObjects::Routines(kind, names) => {
                for name in names {
                    let kind = super::routine::kind_of(*kind);
                    objects.push(granted_routine(&*super::routine::find(&context, name, kind)?));
                }
            }
            GrantObjects::AllRoutinesInSchemas(kind, names) => {
                for name in names {
                    let schema = self.schema_named(name)?;
                    let kind = super::routine::kind_of(*kind);
                    let routines = context.state.routines(schema.oid);
                    let routines = routines.iter().filter(|routine| routine.kind == kind);
                    objects.extend(routines.map(|routine| granted_routine(routine)));
                }
            }
            GrantObjects::Schemas(names) => {
                for name in names {
                    let schema = self.schema_named(name)?;
                    objects.push(Granted {
                        oid: schema.oid,
                        owner: schema.owner,
                        kind: "schema",
                        name: schema.name.clone(),
                        all: privileges::ON_SCHEMA,
                    });
                }
            }
            GrantObjects::Databases(names) => {
                for name in names {
                    let database = context.state.database(&name.name).ok_or_else(|| {
                        at(
                            error!(InvalidCatalogName, "database \"{}\" does not exist", name.name),
                            name.position,
                        )
                    })?;
                    objects.push(Granted {
                        oid: database.oid,
                        owner: database.owner,
                        kind: "database",
                        name: database.name.clone(),
                        all: privileges::ON_DATABASE,
                    });
                }
            }
        }
        Ok(objects)
    }

    fn schema_named(&mut self, name: &Ident) -> Result<Arc<catalog::Schema>> {
        let context = self.context()?;
        context.state.schema(context.database.oid, &name.name).ok_or_else(|| {
            at(error!(InvalidSchemaName, "schema \"{}\" does not exist", name.name), name.position)
        })
    }

    /// CANCEL pid: as pg_cancel_backend.
    pub(crate) fn cancel_other(&mut self, pid: i32, message: Option<&str>) -> Result<Outcome> {
        let context = self.context()?;
        let Some(session) = self.leader.session(pid) else {
            return Err(error!(UndefinedObject, "process {pid} does not exist"));
        };
        if !context.may_see(session.user_oid) {
            return Err(error!(
                InsufficientPrivilege,
                "must be superuser to cancel the statements of other users"
            ));
        }
        tracing::info!(pid, message, "statement cancelled by command");
        session.cancel();
        done("CANCEL")
    }
}

fn granted_relation(relation: &catalog::Relation) -> Granted {
    Granted {
        oid: relation.oid(),
        owner: relation.owner(),
        kind: "relation",
        name: relation.name().to_owned(),
        all: privileges::ON_RELATION,
    }
}

fn granted_routine(routine: &catalog::Routine) -> Granted {
    Granted {
        oid: routine.oid,
        owner: routine.owner,
        kind: routine.kind.name(),
        name: routine.name.clone(),
        all: Privileges::EXECUTE,
    }
}

/// What a user may change of himself.
fn only_own(action: &AlterUserAction) -> bool {
    match action {
        AlterUserAction::Options(options) => {
            options.iter().all(|option| matches!(option, UserOption::Password(_)))
        }
        AlterUserAction::Set { .. } | AlterUserAction::Reset(_) => true,
        AlterUserAction::RenameTo(_) => false,
    }
}

/// VALID UNTIL as microseconds; `infinity` lifts the limit.
fn until(text: &str) -> Result<Option<i64>> {
    if text.trim().eq_ignore_ascii_case("infinity") {
        return Ok(None);
    }
    let text = text.trim();
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let moment = formats
        .iter()
        .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| {
            let day = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            day.and_hms_opt(0, 0, 0)
        });
    let moment = moment.ok_or_else(|| {
        error!(InvalidDatetimeFormat, "invalid input syntax for type timestamp: \"{text}\"")
    })?;
    Ok(Some(moment.and_utc().timestamp_micros()))
}
