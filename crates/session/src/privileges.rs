//! Who may do what: owner, superuser, what was granted to the user and what to PUBLIC.

use base::ids::Oid;
use base::{Error, Result, error};
use catalog::{Privileges, Relation, Schema, State, User};

use crate::system::{AnyRelation, SystemContext};

/// Privileges with their SQL names, in the order of access lists.
pub(crate) const NAMES: &[(Privileges, &str)] = &[
    (Privileges::INSERT, "INSERT"),
    (Privileges::SELECT, "SELECT"),
    (Privileges::UPDATE, "UPDATE"),
    (Privileges::DELETE, "DELETE"),
    (Privileges::REFERENCES, "REFERENCES"),
    (Privileges::DROP, "DROP"),
    (Privileges::TRUNCATE, "TRUNCATE"),
    (Privileges::ALTER, "ALTER"),
    (Privileges::USAGE, "USAGE"),
    (Privileges::CREATE, "CREATE"),
    (Privileges::TEMPORARY, "TEMPORARY"),
    (Privileges::EXECUTE, "EXECUTE"),
];

const LETTERS: &[(Privileges, char)] = &[
    (Privileges::INSERT, 'a'),
    (Privileges::SELECT, 'r'),
    (Privileges::UPDATE, 'w'),
    (Privileges::DELETE, 'd'),
    (Privileges::REFERENCES, 'x'),
    (Privileges::DROP, 'D'),
    (Privileges::TRUNCATE, 'R'),
    (Privileges::ALTER, 'A'),
    (Privileges::USAGE, 'U'),
    (Privileges::CREATE, 'C'),
    (Privileges::TEMPORARY, 'T'),
    (Privileges::EXECUTE, 'X'),
];

/// Everything that can be granted on a relation.
pub(crate) const ON_RELATION: Privileges = Privileges(0xff);
/// Everything that can be granted on a schema.
pub(crate) const ON_SCHEMA: Privileges = Privileges(
    Privileges::USAGE.0 | Privileges::CREATE.0 | Privileges::ALTER.0 | Privileges::DROP.0,
);
/// Everything that can be granted on a database.
pub(crate) const ON_DATABASE: Privileges = Privileges(
    Privileges::USAGE.0 | Privileges::CREATE.0 | Privileges::TEMPORARY.0 | Privileges::ALTER.0,
);

/// The letters of an access list item, `*` after those that can be granted on.
pub(crate) fn letters(held: Privileges, grantable: Privileges) -> String {
    let mut text = String::new();
    for (privilege, letter) in LETTERS {
        if held.contains(*privilege) {
            text.push(*letter);
            if grantable.contains(*privilege) {
                text.push('*');
            }
        }
    }
    text
}

/// The privilege of a name as `has_table_privilege` takes it.
pub(crate) fn from_name(name: &str) -> Option<Privileges> {
    let name = name.trim().to_ascii_uppercase();
    match name.strip_suffix(" WITH GRANT OPTION").unwrap_or(&name) {
        "TEMP" => Some(Privileges::TEMPORARY),
        "RULE" | "TRIGGER" => Some(Privileges(0)),
        // Anyone who has a session may connect.
        "CONNECT" => Some(Privileges(0)),
        plain => NAMES.iter().find(|(_, known)| *known == plain).map(|(privilege, _)| *privilege),
    }
}

/// What a user may do with an object that `owner` owns.
pub(crate) fn held(state: &State, user: &User, object: Oid, owner: Oid) -> Privileges {
    if user.superuser || user.oid == owner {
        return Privileges(u32::MAX);
    }
    let public = state.granted(object, catalog::PUBLIC_GRANTEE_OID);
    let own = state.granted(object, user.oid).union(public);
    if state.database_by_oid(object).is_some() {
        // Temporary tables are open to all, as in a fresh PostgreSQL database.
        return own.union(Privileges::TEMPORARY).union(Privileges::USAGE);
    }
    own
}

fn denied(kind: &str, name: &str) -> Error {
    error!(InsufficientPrivilege, "permission denied for {kind} {name}")
}

/// Requires a privilege on a schema.
///
/// # Errors
/// 42501.
pub(crate) fn on_schema(
    state: &State,
    user: &User,
    schema: &Schema,
    needed: Privileges,
) -> Result<()> {
    if held(state, user, schema.oid, schema.owner).contains(needed) {
        return Ok(());
    }
    Err(denied("schema", &schema.name))
}

/// Requires a privilege on a relation.
///
/// # Errors
/// 42501.
pub(crate) fn on_relation(
    state: &State,
    user: &User,
    relation: &Relation,
    needed: Privileges,
) -> Result<()> {
    if held(state, user, relation.oid(), relation.owner()).contains(needed) {
        return Ok(());
    }
    Err(denied("relation", relation.name()).table(relation.name()))
}

/// Requires that the user owns the object.
///
/// # Errors
/// 42501.
pub(crate) fn owner(user: &User, owner: Oid, kind: &str, name: &str) -> Result<()> {
    if user.superuser || user.oid == owner {
        return Ok(());
    }
    Err(error!(InsufficientPrivilege, "must be owner of {kind} {name}"))
}

/// Requires a superuser.
///
/// # Errors
/// 42501.
pub(crate) fn superuser(user: &User, what: &str) -> Result<()> {
    if user.superuser {
        return Ok(());
    }
    Err(error!(InsufficientPrivilege, "must be superuser to {what}"))
}

/// Checks that the user may read what a bound statement names. What a view reads is read with
/// the rights of the view's owner.
///
/// # Errors
/// 42501 naming the relation.
pub(crate) fn on_uses(state: &State, user: &User, uses: &[sql::RelationUse]) -> Result<()> {
    for used in uses {
        // System tables are open to all and filter their own rows.
        let Some(relation) = state.relation_by_oid(used.oid) else { continue };
        let reader = match used.through.and_then(|view| state.relation_by_oid(view)) {
            Some(view) => state.user_by_oid(view.owner()),
            None => state.user_by_oid(user.oid),
        };
        let Some(reader) = reader else {
            return Err(denied("relation", relation.name()));
        };
        on_relation(state, &reader, &relation, Privileges::SELECT)?;
        if used.through.is_none()
            && let Some(schema) = state.schema_by_oid(relation.schema())
        {
            on_schema(state, &reader, &schema, Privileges::USAGE)?;
        }
    }
    Ok(())
}

/// True when the information schema shows the relation to the asking user.
pub(crate) fn sees(context: &SystemContext, relation: &AnyRelation) -> bool {
    match relation {
        AnyRelation::User(relation) => {
            let held = held(&context.state, &context.user, relation.oid(), relation.owner());
            !held.is_empty()
        }
        _ => true,
    }
}

/// The privileges of a GRANT or REVOKE.
///
/// # Errors
/// 0A000 for column privileges, 0LP01-like 22023 for one that the object does not have.
pub(crate) fn of_clause(clause: &sql::ast::Privileges, all: Privileges) -> Result<Privileges> {
    use sql::ast::PrivilegeKind as Kind;
    let list = match clause {
        sql::ast::Privileges::All => return Ok(all),
        sql::ast::Privileges::List(list) => list,
    };
    let mut set = Privileges::default();
    for privilege in list {
        if !privilege.columns.is_empty() {
            return Err(Error::unsupported("privileges on columns are not supported")
                .hint("Grant on the whole relation, or on a view over the columns."));
        }
        let one = match privilege.kind {
            Kind::Select => Privileges::SELECT,
            Kind::Insert => Privileges::INSERT,
            Kind::Update => Privileges::UPDATE,
            Kind::Delete => Privileges::DELETE,
            Kind::Truncate => Privileges::TRUNCATE,
            Kind::Drop => Privileges::DROP,
            Kind::References => Privileges::REFERENCES,
            Kind::Alter => Privileges::ALTER,
            Kind::Usage => Privileges::USAGE,
            Kind::Create => Privileges::CREATE,
            Kind::Temporary => Privileges::TEMPORARY,
            Kind::Execute => Privileges::EXECUTE,
        };
        if !all.contains(one) {
            let name = NAMES.iter().find(|(p, _)| *p == one).map_or("", |(_, name)| *name);
            return Err(error!(
                InvalidParameterValue,
                "privilege {name} does not apply to this kind of object"
            ));
        }
        set = set.union(one);
    }
    Ok(set)
}
