//! Users, groups and privileges.

use base::{Result, Secret};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::object::connection_limit;
use super::settings::{set_value, setting_name};
use super::{routine, unsupported};
use crate::ast::{
    AlterGroup, AlterGroupAction, AlterUser, AlterUserAction, CreateGroup, CreateUser, DropUsers,
    Grant, GrantObjects, Grantee, Privilege, PrivilegeKind, Privileges, Revoke, RoutineKind,
    Statement, UserOption,
};

/// After CREATE USER.
pub(super) fn create_user(cursor: &mut Cursor) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.ident()?;
    cursor.accept("with");
    let options = user_options(cursor)?;
    Ok(Statement::CreateUser(CreateUser { name, if_not_exists, options }))
}

/// After ALTER USER.
pub(super) fn alter_user(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    cursor.accept("with");
    let action = if cursor.accept_all(&["rename", "to"]) {
        AlterUserAction::RenameTo(cursor.ident()?)
    } else if cursor.accept("set") {
        let name = setting_name(cursor)?;
        if !cursor.accept("to") {
            cursor.expect_symbol(&Token::Eq)?;
        }
        AlterUserAction::Set { name, value: set_value(cursor)? }
    } else if cursor.is("reset") && !cursor.is_nth(1, "session") {
        cursor.next();
        AlterUserAction::Reset(setting_name(cursor)?)
    } else {
        let options = user_options(cursor)?;
        if options.is_empty() {
            return Err(cursor.unexpected());
        }
        AlterUserAction::Options(options)
    };
    Ok(Statement::AlterUser(AlterUser { name, action }))
}

fn user_options(cursor: &mut Cursor) -> Result<Vec<UserOption>> {
    let mut options = Vec::new();
    while !cursor.at_end() {
        options.push(user_option(cursor)?);
    }
    Ok(options)
}

fn user_option(cursor: &mut Cursor) -> Result<UserOption> {
    if cursor.accept_all(&["reset", "session", "timeout"]) {
        return Ok(UserOption::SessionTimeout(None));
    }
    let words = [
        "password",
        "createdb",
        "nocreatedb",
        "createuser",
        "nocreateuser",
        "syslog",
        "in",
        "valid",
        "connection",
        "session",
        "externalid",
        "login",
        "nologin",
    ];
    Ok(match cursor.one_of(&words) {
        Some("password") if cursor.accept("disable") => UserOption::PasswordDisable,
        Some("password") => UserOption::Password(Secret::new(cursor.string()?)),
        Some("createdb") => UserOption::CreateDb(true),
        Some("nocreatedb") => UserOption::CreateDb(false),
        Some("createuser") => UserOption::CreateUser(true),
        Some("nocreateuser") => UserOption::CreateUser(false),
        Some("syslog") => {
            cursor.expect("access")?;
            match cursor.one_of(&["restricted", "unrestricted"]) {
                Some(word) => UserOption::SyslogAccess(word == "unrestricted"),
                None => return Err(cursor.unexpected()),
            }
        }
        Some("in") => {
            cursor.expect("group")?;
            UserOption::InGroups(cursor.list(Cursor::ident)?)
        }
        Some("valid") => {
            cursor.expect("until")?;
            UserOption::ValidUntil(cursor.string()?)
        }
        Some("connection") => {
            cursor.expect("limit")?;
            UserOption::ConnectionLimit(connection_limit(cursor)?)
        }
        Some("session") => {
            cursor.expect("timeout")?;
            UserOption::SessionTimeout(Some(cursor.unsigned()?))
        }
        Some("externalid") => UserOption::ExternalId(match cursor.optional_string() {
            Some(text) => text,
            None => cursor.ident()?.name,
        }),
        Some("login") => UserOption::Login(true),
        Some(_) => UserOption::Login(false),
        None => return Err(cursor.unexpected()),
    })
}

/// After DROP USER or DROP GROUP.
pub(super) fn drop_users(cursor: &mut Cursor) -> Result<DropUsers> {
    let if_exists = cursor.if_exists();
    Ok(DropUsers { names: cursor.list(Cursor::ident)?, if_exists })
}

/// After CREATE GROUP.
pub(super) fn create_group(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    cursor.accept("with");
    let users = if cursor.accept("user") { cursor.list(Cursor::ident)? } else { Vec::new() };
    Ok(Statement::CreateGroup(CreateGroup { name, users }))
}

/// After ALTER GROUP.
pub(super) fn alter_group(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    let action = if cursor.accept_all(&["add", "user"]) {
        AlterGroupAction::AddUsers(cursor.list(Cursor::ident)?)
    } else if cursor.accept_all(&["drop", "user"]) {
        AlterGroupAction::DropUsers(cursor.list(Cursor::ident)?)
    } else if cursor.accept_all(&["rename", "to"]) {
        AlterGroupAction::RenameTo(cursor.ident()?)
    } else {
        return Err(cursor.unexpected());
    };
    Ok(Statement::AlterGroup(AlterGroup { name, action }))
}

/// After GRANT.
pub(super) fn grant(cursor: &mut Cursor) -> Result<Statement> {
    let (privileges, on) = what(cursor, "GRANT")?;
    cursor.expect("to")?;
    let to = cursor.list(grantee)?;
    let with_grant_option = cursor.accept_all(&["with", "grant", "option"]);
    Ok(Statement::Grant(Grant { privileges, on, to, with_grant_option }))
}

/// After REVOKE.
pub(super) fn revoke(cursor: &mut Cursor) -> Result<Statement> {
    let grant_option_for = cursor.accept_all(&["grant", "option", "for"]);
    let (privileges, on) = what(cursor, "REVOKE")?;
    cursor.expect("from")?;
    let from = cursor.list(grantee)?;
    let cascade = cursor.cascade();
    Ok(Statement::Revoke(Revoke { privileges, on, from, grant_option_for, cascade }))
}

fn grantee(cursor: &mut Cursor) -> Result<Grantee> {
    if cursor.accept("public") {
        return Ok(Grantee::Public);
    }
    if cursor.accept("group") {
        return Ok(Grantee::Group(cursor.ident()?));
    }
    if cursor.accept("role") {
        return Ok(Grantee::Role(cursor.ident()?));
    }
    Ok(Grantee::User(cursor.ident()?))
}

/// Privileges and the objects after ON.
fn what(cursor: &mut Cursor, verb: &str) -> Result<(Privileges, GrantObjects)> {
    let position = cursor.position();
    for word in ["role", "assumerole", "explain", "ignore", "access"] {
        if cursor.is(word) {
            return Err(unsupported(&format!("{verb} {}", word.to_uppercase()), position));
        }
    }
    let privileges = privileges(cursor)?;
    if cursor.is("for") {
        return Err(unsupported(&format!("{verb} … FOR … IN (scoped permissions)"), position));
    }
    if !cursor.accept("on") {
        if cursor.is("to") || cursor.is("from") {
            return Err(unsupported(&format!("{verb} of system privileges"), position));
        }
        return Err(cursor.unexpected());
    }
    Ok((privileges, objects(cursor, verb)?))
}

fn privileges(cursor: &mut Cursor) -> Result<Privileges> {
    if cursor.accept("all") {
        cursor.accept("privileges");
        return Ok(Privileges::All);
    }
    Ok(Privileges::List(cursor.list(privilege)?))
}

fn privilege(cursor: &mut Cursor) -> Result<Privilege> {
    let known = [
        ("select", PrivilegeKind::Select),
        ("insert", PrivilegeKind::Insert),
        ("update", PrivilegeKind::Update),
        ("delete", PrivilegeKind::Delete),
        ("truncate", PrivilegeKind::Truncate),
        ("drop", PrivilegeKind::Drop),
        ("references", PrivilegeKind::References),
        ("alter", PrivilegeKind::Alter),
        ("usage", PrivilegeKind::Usage),
        ("create", PrivilegeKind::Create),
        ("temporary", PrivilegeKind::Temporary),
        ("temp", PrivilegeKind::Temporary),
        ("execute", PrivilegeKind::Execute),
    ];
    let position = cursor.position();
    let found = known.iter().find(|(word, _)| cursor.accept(word));
    let Some((word, kind)) = found else { return Err(cursor.unexpected()) };
    // `CREATE TABLE`, `ALTER USER` and the like are privileges on the system.
    if matches!(cursor.peek(), Token::Word(_))
        && !["on", "to", "from", "for"].iter().any(|w| cursor.is(w))
    {
        let name = format!("privilege {} {}", word.to_uppercase(), cursor.written().to_uppercase());
        return Err(unsupported(&name, position));
    }
    let columns = cursor.optional_ident_list()?;
    Ok(Privilege { kind: *kind, columns })
}

/// After ON.
fn objects(cursor: &mut Cursor, verb: &str) -> Result<GrantObjects> {
    let position = cursor.position();
    if cursor.accept_all(&["all", "tables", "in", "schema"]) {
        return Ok(GrantObjects::AllTablesInSchemas(cursor.list(Cursor::ident)?));
    }
    if cursor.accept("schema") {
        return Ok(GrantObjects::Schemas(cursor.list(Cursor::ident)?));
    }
    for (word, kind) in
        [("functions", RoutineKind::Function), ("procedures", RoutineKind::Procedure)]
    {
        if cursor.accept_all(&["all", word, "in", "schema"]) {
            let schemas = cursor.list(Cursor::ident)?;
            return Ok(GrantObjects::AllRoutinesInSchemas(kind, schemas));
        }
    }
    if matches!(cursor.peek_nth(1), Token::Word(_))
        && !cursor.is_nth(1, "to")
        && let Some(kind) = routine::kind(cursor)
    {
        return Ok(GrantObjects::Routines(kind, cursor.list(routine::routine_name)?));
    }
    if cursor.accept("database") {
        return Ok(GrantObjects::Databases(cursor.list(Cursor::ident)?));
    }
    let refused = ["all", "language", "datashare", "copy", "external", "model", "template"];
    for word in refused {
        let followed = matches!(cursor.peek_nth(1), Token::Word(_)) && !cursor.is_nth(1, "to");
        if cursor.is(word) && followed {
            return Err(unsupported(&format!("{verb} ON {}", word.to_uppercase()), position));
        }
    }
    if cursor.optional_string().is_some() {
        return Err(unsupported(&format!("{verb} ON a role's ARN"), position));
    }
    if matches!(cursor.peek_nth(1), Token::Word(_)) {
        cursor.accept("table");
    }
    Ok(GrantObjects::Tables(cursor.list(Cursor::object_name)?))
}
