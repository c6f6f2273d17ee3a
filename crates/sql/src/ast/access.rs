//! Users, groups and privileges.

use base::Secret;

use super::{ConnectionLimit, Ident, ObjectName, RoutineKind, RoutineName, SetValue};

/// CREATE USER.
#[derive(Clone, Debug)]
pub struct CreateUser {
    pub name: Ident,
    pub if_not_exists: bool,
    pub options: Vec<UserOption>,
}

/// ALTER USER.
#[derive(Clone, Debug)]
pub struct AlterUser {
    pub name: Ident,
    pub action: AlterUserAction,
}

#[derive(Clone, Debug)]
pub enum AlterUserAction {
    Options(Vec<UserOption>),
    RenameTo(Ident),
    Set { name: Ident, value: SetValue },
    Reset(Ident),
}

#[derive(Clone, Debug)]
pub enum UserOption {
    /// PASSWORD 'p': plain, `md5…` or `sha256|…`; the executor tells them apart.
    Password(Secret),
    PasswordDisable,
    CreateDb(bool),
    /// CREATEUSER: a superuser.
    CreateUser(bool),
    /// SYSLOG ACCESS UNRESTRICTED (true) or RESTRICTED.
    SyslogAccess(bool),
    InGroups(Vec<Ident>),
    /// The timestamp as written; `infinity` lifts the limit.
    ValidUntil(String),
    ConnectionLimit(ConnectionLimit),
    /// In seconds; `None` for RESET SESSION TIMEOUT.
    SessionTimeout(Option<u32>),
    ExternalId(String),
    Login(bool),
}

/// DROP USER or GROUP.
#[derive(Clone, Debug)]
pub struct DropUsers {
    pub names: Vec<Ident>,
    pub if_exists: bool,
}

/// CREATE GROUP.
#[derive(Clone, Debug)]
pub struct CreateGroup {
    pub name: Ident,
    pub users: Vec<Ident>,
}

/// ALTER GROUP.
#[derive(Clone, Debug)]
pub struct AlterGroup {
    pub name: Ident,
    pub action: AlterGroupAction,
}

#[derive(Clone, Debug)]
pub enum AlterGroupAction {
    AddUsers(Vec<Ident>),
    DropUsers(Vec<Ident>),
    RenameTo(Ident),
}

/// GRANT privileges ON objects TO grantees.
#[derive(Clone, Debug)]
pub struct Grant {
    pub privileges: Privileges,
    pub on: GrantObjects,
    pub to: Vec<Grantee>,
    pub with_grant_option: bool,
}

/// REVOKE privileges ON objects FROM grantees.
#[derive(Clone, Debug)]
pub struct Revoke {
    pub privileges: Privileges,
    pub on: GrantObjects,
    pub from: Vec<Grantee>,
    pub grant_option_for: bool,
    pub cascade: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privileges {
    All,
    List(Vec<Privilege>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    pub kind: PrivilegeKind,
    /// Column privileges: GRANT SELECT (a, b).
    pub columns: Vec<Ident>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivilegeKind {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    Drop,
    References,
    Alter,
    Usage,
    Create,
    Temporary,
    Execute,
}

#[derive(Clone, Debug)]
pub enum GrantObjects {
    Tables(Vec<ObjectName>),
    AllTablesInSchemas(Vec<Ident>),
    Schemas(Vec<Ident>),
    Databases(Vec<Ident>),
    Routines(RoutineKind, Vec<RoutineName>),
    AllRoutinesInSchemas(RoutineKind, Vec<Ident>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    User(Ident),
    Group(Ident),
    Role(Ident),
    Public,
}
