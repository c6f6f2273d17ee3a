//! Names and ids: visibility, privileges by name or id, registry types.

use base::SqlType::{self, Boolean, RegClass, RegType, Text};
use base::ids::Oid;
use base::{Result, error, suggest};
use catalog::Privileges;

use super::super::context::AnyRelation;
use super::super::{Cell, Space, SystemContext};
use super::Declaration;
use super::bodies::oid;
use super::value::Argument;

const fn f(
    name: &'static str,
    result: SqlType,
    arity: (usize, usize),
    body: super::Body,
) -> Declaration {
    Declaration { name, result, arity, stable: true, takes_null: false, body }
}

const fn visible(name: &'static str) -> Declaration {
    f(name, Boolean, (1, 1), |_, _| Ok(true.into()))
}

const fn with_null(mut declaration: Declaration) -> Declaration {
    declaration.takes_null = true;
    declaration
}

pub(super) static TABLE: &[Declaration] = &[
    f("pg_table_is_visible", Boolean, (1, 1), table_is_visible),
    // All of these live in pg_catalog, which is always searched.
    visible("pg_type_is_visible"),
    visible("pg_function_is_visible"),
    visible("pg_operator_is_visible"),
    visible("pg_opclass_is_visible"),
    visible("pg_opfamily_is_visible"),
    visible("pg_conversion_is_visible"),
    visible("pg_collation_is_visible"),
    visible("pg_statistics_obj_is_visible"),
    visible("pg_ts_config_is_visible"),
    visible("pg_ts_dict_is_visible"),
    visible("pg_ts_parser_is_visible"),
    visible("pg_ts_template_is_visible"),
    f("has_table_privilege", Boolean, (2, 3), has_table_privilege),
    f("has_any_column_privilege", Boolean, (2, 3), has_table_privilege),
    f("has_column_privilege", Boolean, (3, 4), has_column_privilege),
    f("has_schema_privilege", Boolean, (2, 3), has_schema_privilege),
    f("has_database_privilege", Boolean, (2, 3), has_database_privilege),
    f("has_function_privilege", Boolean, (2, 3), |_, _| Ok(true.into())),
    f("has_language_privilege", Boolean, (2, 3), |_, _| Ok(true.into())),
    f("pg_has_role", Boolean, (2, 3), has_role),
    with_null(f("format_type", Text, (2, 2), format_type)),
    with_null(f("quote_nullable", Text, (1, 1), |_, args| {
        let quoted = args[0].text().map(|text| base::ident::literal(&text));
        Ok(quoted.unwrap_or_else(|| "NULL".to_owned()).into())
    })),
    f("to_regclass", RegClass, (1, 1), |context, args| {
        Ok(find_relation(context, &args[0].text().unwrap_or_default())?.map(|r| r.oid()).into())
    }),
    // The casts ::regclass, ::regtype and back to text.
    f("regclassin", RegClass, (1, 1), regclass_in),
    f("regclassout", Text, (1, 1), regclass_out),
    f("regtypein", RegType, (1, 1), regtype_in),
    f("regtypeout", Text, (1, 1), |_, args| Ok(type_text(oid(&args[0])?.0, -1).into())),
    f("regnamespacein", SqlType::Oid, (1, 1), regnamespace_in),
    f("regnamespaceout", Text, (1, 1), |context, args| {
        Ok(context.namespace_name(oid(&args[0])?).into())
    }),
    f("regprocout", Text, (1, 1), |_, args| Ok(args[0].text().into())),
    f("regprocin", SqlType::RegProc, (1, 1), |_, args| {
        // Built-in functions have no ids of their own but this one, which pgjdbc compares
        // pg_type.typinput with.
        let name = args[0].text().unwrap_or_default();
        let array = name.trim_start_matches("pg_catalog.") == "array_in";
        Ok(if array { 750u32 } else { 0 }.into())
    }),
];

/// The relation of a name as it stands in a regclass literal.
pub(super) fn find_relation(context: &SystemContext, text: &str) -> Result<Option<AnyRelation>> {
    let parts = split_name(text)?;
    let found = match parts.as_slice() {
        [name] => context.find_relation(None, name),
        [schema, name] => context.find_relation(Some(schema), name),
        [database, schema, name] if *database == context.database.name => {
            context.find_relation(Some(schema), name)
        }
        _ => None,
    };
    Ok(found)
}

pub(super) fn relation_oid(context: &SystemContext, text: &str) -> Result<Oid> {
    if let Some(relation) = find_relation(context, text)? {
        return Ok(relation.oid());
    }
    let names: Vec<String> = context.relations().iter().map(AnyRelation::name).collect();
    Err(error!(UndefinedTable, "relation \"{text}\" does not exist")
        .maybe_hint(suggest::did_you_mean(text, names.iter().map(String::as_str))))
}

/// `a."B".c` as folded parts.
fn split_name(text: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut chars = text.trim().chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let part = base::proven(parts.last_mut(), "there is always a part");
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c if quoted => part.push(c),
            c => part.push(c.to_ascii_lowercase()),
        }
    }
    if quoted || parts.iter().any(String::is_empty) || parts.len() > 3 {
        return Err(error!(InvalidTextRepresentation, "invalid name syntax: \"{text}\""));
    }
    Ok(parts)
}

fn table_is_visible(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let relation = context.relation(oid(&args[0])?);
    Ok(relation.map(|relation| context.is_visible(&relation)).into())
}

/// Splits `[user,] object, privilege`.
fn privilege_arguments<'a>(
    context: &SystemContext,
    args: &'a [Argument],
) -> Result<(std::sync::Arc<catalog::User>, &'a Argument, Vec<Privileges>)> {
    let (user, object, names) = match args {
        [object, names] => (None, object, names),
        [user, object, names] => (Some(user), object, names),
        _ => return Err(error!(UndefinedFunction, "wrong number of arguments")),
    };
    let user = match user {
        None => std::sync::Arc::clone(&context.user),
        Some(Argument::Text(name)) => context
            .state
            .user(name)
            .ok_or_else(|| error!(UndefinedObject, "user \"{name}\" does not exist"))?,
        Some(other) => {
            let oid = oid(other)?;
            context
                .state
                .user_by_oid(oid)
                .ok_or_else(|| error!(UndefinedObject, "user with OID {oid} does not exist"))?
        }
    };
    let mut wanted = Vec::new();
    for name in names.text().unwrap_or_default().split(',') {
        let privilege = crate::privileges::from_name(name).ok_or_else(|| {
            error!(InvalidParameterValue, "unrecognized privilege type: \"{}\"", name.trim())
        })?;
        wanted.push(privilege);
    }
    Ok((user, object, wanted))
}

/// True when any of the wanted privileges is held, as in PostgreSQL.
fn any_held(held: Privileges, wanted: &[Privileges]) -> Cell {
    wanted.iter().any(|privilege| held.contains(*privilege)).into()
}

fn has_table_privilege(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let (user, object, wanted) = privilege_arguments(context, args)?;
    let relation = match object {
        Argument::Text(name) => context.relation(relation_oid(context, name)?),
        other => context.relation(oid(other)?),
    };
    let Some(relation) = relation else { return Ok(Cell::Null) };
    let held = match &relation {
        AnyRelation::System(_) => Privileges::SELECT,
        other => crate::privileges::held(&context.state, &user, other.oid(), other.owner()),
    };
    Ok(any_held(held, &wanted))
}

fn has_column_privilege(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    // Privileges are held on whole relations: the column does not change the answer.
    let mut rest = args.to_vec();
    rest.remove(args.len() - 2);
    has_table_privilege(context, &rest)
}

fn has_schema_privilege(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let (user, object, wanted) = privilege_arguments(context, args)?;
    let spaces = context.namespaces();
    let found = match object {
        Argument::Text(name) => spaces.into_iter().find(|space| space.name == *name),
        other => {
            let oid = oid(other)?;
            spaces.into_iter().find(|space| space.oid == oid)
        }
    };
    let Some(space) = found else {
        return match object {
            Argument::Text(name) => {
                Err(error!(InvalidSchemaName, "schema \"{name}\" does not exist"))
            }
            _ => Ok(Cell::Null),
        };
    };
    let system = Space::from_name(&space.name).is_some();
    let held = if system {
        Privileges::USAGE
    } else {
        crate::privileges::held(&context.state, &user, space.oid, space.owner)
    };
    Ok(any_held(held, &wanted))
}

fn has_database_privilege(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let (user, object, wanted) = privilege_arguments(context, args)?;
    let database = match object {
        Argument::Text(name) => Some(
            context
                .state
                .database(name)
                .ok_or_else(|| error!(InvalidCatalogName, "database \"{name}\" does not exist"))?,
        ),
        other => context.state.database_by_oid(oid(other)?),
    };
    let Some(database) = database else { return Ok(Cell::Null) };
    let held = crate::privileges::held(&context.state, &user, database.oid, database.owner);
    Ok(any_held(held, &wanted))
}

fn has_role(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    // Without roles, one is only oneself.
    let object = &args[args.len() - 2];
    let same = match object {
        Argument::Text(name) => *name == context.user.name,
        other => oid(other)? == context.user.oid,
    };
    Ok((same || context.user.superuser).into())
}

fn format_type(_: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let Some(number) = args[0].int() else { return Ok(Cell::Null) };
    let modifier = args[1].int().and_then(|n| i32::try_from(n).ok()).unwrap_or(-1);
    Ok(type_text(u32::try_from(number).unwrap_or(0), modifier).into())
}

/// A type's SQL name with its modifier; `-` for no type and `???` for an unknown one.
pub(crate) fn type_text(oid: u32, modifier: i32) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let Some(plain) = SqlType::from_oid(oid) else { return "???".to_owned() };
    let bare = |text: String| text.split('(').next().unwrap_or_default().to_owned();
    let Ok(length) = u32::try_from(modifier - 4) else { return bare(plain.to_string()) };
    match plain {
        SqlType::Char(_) => SqlType::Char(length).to_string(),
        SqlType::Varchar(_) => SqlType::Varchar(length).to_string(),
        SqlType::Varbyte(_) => SqlType::Varbyte(length).to_string(),
        SqlType::Decimal { .. } => {
            let (precision, scale) = ((length >> 16) as u8, (length & 0xff) as u8);
            SqlType::Decimal { precision, scale }.to_string()
        }
        other => bare(other.to_string()),
    }
}

fn regclass_in(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    match &args[0] {
        Argument::Text(text) => match text.trim().parse::<u32>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Ok(relation_oid(context, text)?.into()),
        },
        other => Ok(oid(other)?.into()),
    }
}

fn regclass_out(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let oid = oid(&args[0])?;
    if oid.0 == 0 {
        return Ok("-".into());
    }
    let Some(relation) = context.relation(oid) else { return Ok(oid.to_string().into()) };
    let name = base::ident::quote(&relation.name());
    if context.is_visible(&relation) {
        return Ok(name.into());
    }
    let schema = context.namespace_name(relation.namespace());
    Ok(format!("{}.{name}", base::ident::quote(&schema)).into())
}

fn regnamespace_in(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let Argument::Text(name) = &args[0] else { return Ok(oid(&args[0])?.into()) };
    let spaces = context.namespaces();
    match spaces.iter().find(|space| space.name == *name) {
        Some(space) => Ok(space.oid.into()),
        None => Err(error!(InvalidSchemaName, "schema \"{name}\" does not exist")),
    }
}

fn regtype_in(_: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let Argument::Text(text) = &args[0] else { return Ok(oid(&args[0])?.into()) };
    let name = text.trim().trim_start_matches("pg_catalog.").to_lowercase();
    if let Ok(number) = name.parse::<u32>() {
        return Ok(number.into());
    }
    // Named by tools in comparisons; no function returns it.
    if name == "trigger" {
        return Ok(2_279u32.into());
    }
    let found = SqlType::all().into_iter().find(|sql_type| {
        sql_type.pg_name() == name || sql_type.to_string().split('(').next() == Some(&name)
    });
    match found {
        Some(sql_type) => Ok(sql_type.oid().into()),
        None => Err(error!(UndefinedObject, "type \"{name}\" does not exist")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_sql_names() {
        assert_eq!(type_text(1043, 29), "character varying(25)");
        assert_eq!(type_text(1043, -1), "character varying");
        assert_eq!(type_text(1700, ((12 << 16) | 2) + 4), "numeric(12,2)");
        assert_eq!(type_text(23, -1), "integer");
        assert_eq!(type_text(0, -1), "-");
    }

    #[test]
    fn names_split_like_identifiers() {
        assert_eq!(split_name("a.\"B\"\"c\"").unwrap(), ["a", "B\"c"]);
        assert_eq!(split_name("Orders").unwrap(), ["orders"]);
        assert!(split_name("a.").is_err() && split_name("\"a").is_err());
    }
}
