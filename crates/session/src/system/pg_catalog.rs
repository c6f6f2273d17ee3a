//! pg_type, databases, users, settings, functions and activity.

use base::SqlType::{
    self, AclItemArray, Boolean, Integer, Name, Oid as OidType, OidVector, QuotedChar, RegProc,
    SmallInt, Text, TextArray, Timestamp, TimestampTz, Xid,
};

use super::builder::{NULL, row};
use super::context::SystemContext;
use super::{Rows, Space, SystemTable};

pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable::table("pg_type", 1247, TYPE, types),
    SystemTable::table("pg_proc", 1255, PROC, super::routines::procedures),
    SystemTable::table("pg_proc_info", 0, PROC, super::routines::procedures),
    SystemTable::table("pg_database", 1262, DATABASE, databases),
    SystemTable::table("pg_database_info", 0, DATABASE, databases),
    SystemTable::table("pg_shadow", 0, USER, users),
    SystemTable::view(Space::PgCatalog, "pg_user", USER, users),
    SystemTable::view(Space::PgCatalog, "pg_user_info", USER, users),
    SystemTable::view(Space::PgCatalog, "pg_roles", ROLES, roles),
    SystemTable::table("pg_authid", 1260, ROLES, roles),
    SystemTable::view(Space::PgCatalog, "pg_settings", SETTINGS, settings),
    SystemTable::table("pg_am", 2601, AM, access_methods),
    SystemTable::table("pg_language", 2612, LANGUAGE, languages),
    SystemTable::table("pg_tablespace", 1213, TABLESPACE, tablespaces),
    SystemTable::view(Space::PgCatalog, "pg_stat_activity", ACTIVITY, activity),
];

type Columns = &'static [(&'static str, SqlType)];

const TYPE: Columns = &[
    ("oid", OidType),
    ("typname", Name),
    ("typnamespace", OidType),
    ("typowner", Integer),
    ("typlen", SmallInt),
    ("typbyval", Boolean),
    ("typtype", QuotedChar),
    ("typisdefined", Boolean),
    ("typdelim", QuotedChar),
    ("typrelid", OidType),
    ("typelem", OidType),
    ("typinput", RegProc),
    ("typoutput", RegProc),
    ("typreceive", RegProc),
    ("typsend", RegProc),
    ("typanalyze", RegProc),
    ("typalign", QuotedChar),
    ("typstorage", QuotedChar),
    ("typnotnull", Boolean),
    ("typbasetype", OidType),
    ("typtypmod", Integer),
    ("typndims", Integer),
    ("typdefaultbin", Text),
    ("typdefault", Text),
    ("typcategory", QuotedChar),
    ("typcollation", OidType),
    ("typarray", OidType),
    ("typacl", AclItemArray),
];

/// The array type of an element type, where one is served.
fn array_of(element: u32) -> u32 {
    match element {
        19 => 1003,
        21 => 1005,
        23 => 1007,
        25 => 1009,
        26 => 1028,
        _ => 0,
    }
}

fn element_of(sql_type: SqlType) -> u32 {
    match sql_type {
        SqlType::NameArray => 19,
        SqlType::Int2Array | SqlType::Int2Vector => 21,
        SqlType::Int4Array => 23,
        TextArray => 25,
        SqlType::OidArray | OidVector => 26,
        AclItemArray => 1033,
        _ => 0,
    }
}

fn category(sql_type: SqlType) -> &'static str {
    match sql_type {
        Boolean => "B",
        SqlType::Date | Timestamp | TimestampTz | SqlType::Time | SqlType::TimeTz => "D",
        SmallInt
        | Integer
        | SqlType::BigInt
        | SqlType::Real
        | SqlType::Double
        | SqlType::Decimal { .. }
        | SqlType::Oid
        | RegProc
        | SqlType::RegClass
        | SqlType::RegType => "N",
        SqlType::Interval | SqlType::IntervalDaySecond | SqlType::IntervalYearMonth => "T",
        SqlType::Void => "P",
        SqlType::Unknown => "X",
        _ if element_of(sql_type) != 0 => "A",
        SqlType::Char(_) | SqlType::Varchar(_) | Text | Name | QuotedChar => "S",
        _ => "U",
    }
}

fn types(_: &SystemContext) -> Rows {
    let all = SqlType::all().into_iter();
    all.map(|sql_type| {
        let length = sql_type.typlen();
        let pseudo = matches!(sql_type, SqlType::Void);
        // The ids of input functions only need to tell array types apart (pgjdbc compares
        // typinput with array_in).
        let element = element_of(sql_type);
        let array = sql_type.pg_name().starts_with('_');
        let input = if array { 750u32 } else { 0 };
        row![
            sql_type.oid(),
            sql_type.pg_name(),
            Space::PgCatalog.oid(),
            1i32,
            length,
            (1..=8).contains(&length),
            if pseudo { "p" } else { "b" },
            true,
            ",",
            0u32,
            element,
            input,
            0u32,
            0u32,
            0u32,
            0u32,
            if length == 8 { "d" } else { "i" },
            if length < 0 { "x" } else { "p" },
            false,
            0u32,
            -1i32,
            0i32,
            NULL,
            NULL,
            category(sql_type),
            0u32,
            array_of(sql_type.oid()),
            NULL,
        ]
    })
    .collect()
}

const PROC: Columns = &[
    ("oid", OidType),
    ("proname", Name),
    ("pronamespace", OidType),
    ("proowner", Integer),
    ("prolang", OidType),
    ("proisagg", Boolean),
    ("prosecdef", Boolean),
    ("proisstrict", Boolean),
    ("proretset", Boolean),
    ("provolatile", QuotedChar),
    ("pronargs", SmallInt),
    ("prorettype", OidType),
    ("proargtypes", OidVector),
    ("proargnames", TextArray),
    ("prosrc", Text),
    ("probin", Text),
    ("proacl", AclItemArray),
    ("proallargtypes", SqlType::OidArray),
    ("proargmodes", TextArray),
    ("prokind", QuotedChar),
    ("proiswindow", Boolean),
];

const DATABASE: Columns = &[
    ("oid", OidType),
    ("datname", Name),
    ("datdba", Integer),
    ("encoding", Integer),
    ("datistemplate", Boolean),
    ("datallowconn", Boolean),
    ("datlastsysoid", OidType),
    ("datvacuumxid", Xid),
    ("datfrozenxid", Xid),
    ("dattablespace", OidType),
    ("datconfig", TextArray),
    ("datacl", AclItemArray),
    ("datcollate", Name),
    ("datctype", Name),
    ("datconnlimit", Text),
    ("daticulocale", Text),
    ("datlocprovider", QuotedChar),
];

fn databases(context: &SystemContext) -> Rows {
    let all = context.state.databases();
    all.map(|database| {
        let limit = database.connection_limit;
        row![
            database.oid,
            &database.name,
            database.owner,
            6i32,
            false,
            true,
            0u32,
            0i32,
            0i32,
            1663u32,
            NULL,
            super::pg_relations::acl(context, database.oid, database.owner),
            "C",
            "C",
            limit.map_or_else(|| "UNLIMITED".to_owned(), |n| n.to_string()),
            NULL,
            "c",
        ]
    })
    .collect()
}

const USER: Columns = &[
    ("usename", Name),
    ("usesysid", Integer),
    ("usecreatedb", Boolean),
    ("usesuper", Boolean),
    ("usecatupd", Boolean),
    ("passwd", Text),
    ("valuntil", Timestamp),
    ("useconfig", TextArray),
    ("useconnlimit", Text),
];

fn users(context: &SystemContext) -> Rows {
    let all = context.state.users();
    all.map(|user| {
        let config: Vec<String> =
            user.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        row![
            &user.name,
            user.oid,
            user.create_db,
            user.superuser,
            user.superuser,
            "********",
            user.valid_until_us,
            (!config.is_empty()).then_some(config),
            user.connection_limit.map(|n| n.to_string()),
        ]
    })
    .collect()
}

const ROLES: Columns = &[
    ("oid", OidType),
    ("rolname", Name),
    ("rolsuper", Boolean),
    ("rolinherit", Boolean),
    ("rolcreaterole", Boolean),
    ("rolcreatedb", Boolean),
    ("rolcanlogin", Boolean),
    ("rolconnlimit", Integer),
    ("rolvaliduntil", TimestampTz),
    ("rolreplication", Boolean),
    ("rolbypassrls", Boolean),
    ("rolpassword", Text),
];

fn roles(context: &SystemContext) -> Rows {
    let all = context.state.users();
    all.map(|user| {
        let limit = user.connection_limit.map_or(-1, i64::from);
        row![
            user.oid,
            &user.name,
            user.superuser,
            true,
            user.superuser,
            user.create_db || user.superuser,
            true,
            limit,
            user.valid_until_us,
            false,
            user.superuser,
            "********",
        ]
    })
    .collect()
}

const SETTINGS: Columns = &[
    ("name", Text),
    ("setting", Text),
    ("unit", Text),
    ("category", Text),
    ("short_desc", Text),
    ("extra_desc", Text),
    ("context", Text),
    ("vartype", Text),
    ("source", Text),
    ("min_val", Text),
    ("max_val", Text),
    ("boot_val", Text),
    ("reset_val", Text),
];

fn settings(context: &SystemContext) -> Rows {
    use crate::settings::{Kind, Settings};
    let all = context.settings.all().into_iter();
    all.map(|(name, value)| {
        let setting = Settings::find(&name);
        let fixed = setting.is_some_and(|setting| setting.read_only);
        let (vartype, limits) = match setting.map(|setting| setting.kind) {
            Some(Kind::Bool) => ("bool", None),
            Some(Kind::Int { min, max }) => ("integer", Some((min, max))),
            Some(Kind::DurationMs) => ("integer", Some((0, i64::from(i32::MAX)))),
            _ => ("string", None),
        };
        let unit = setting.filter(|setting| setting.kind == Kind::DurationMs).map(|_| "ms");
        row![
            &name,
            &value,
            unit,
            "Session",
            setting.map(|setting| setting.about),
            NULL,
            if fixed { "internal" } else { "user" },
            vartype,
            if setting.is_some_and(|s| s.default == value) { "default" } else { "session" },
            limits.map(|(min, _)| min.to_string()),
            limits.map(|(_, max)| max.to_string()),
            setting.map(|setting| setting.default),
            setting.map(|setting| setting.default),
        ]
    })
    .collect()
}

const AM: Columns =
    &[("oid", OidType), ("amname", Name), ("amhandler", RegProc), ("amtype", QuotedChar)];

fn access_methods(_: &SystemContext) -> Rows {
    vec![row![403u32, "btree", 0u32, "i"]]
}

const LANGUAGE: Columns = &[
    ("oid", OidType),
    ("lanname", Name),
    ("lanispl", Boolean),
    ("lanpltrusted", Boolean),
    ("lanplcallfoid", OidType),
    ("lanvalidator", OidType),
    ("lanacl", AclItemArray),
];

fn languages(_: &SystemContext) -> Rows {
    [(12u32, "internal"), (14, "sql"), (super::routines::PLPGSQL_OID, "plpgsql")]
        .into_iter()
        .map(|(oid, name)| row![oid, name, false, true, 0u32, 0u32, NULL])
        .collect()
}

const TABLESPACE: Columns = &[
    ("oid", OidType),
    ("spcname", Name),
    ("spcowner", Integer),
    ("spclocation", Text),
    ("spcacl", AclItemArray),
];

fn tablespaces(_: &SystemContext) -> Rows {
    vec![row![1663u32, "pg_default", 1i32, "", NULL]]
}

const ACTIVITY: Columns = &[
    ("datid", OidType),
    ("datname", Name),
    ("procpid", Integer),
    ("usesysid", Integer),
    ("usename", Name),
    ("current_query", Text),
    ("query_start", TimestampTz),
    ("pid", Integer),
    ("query", Text),
    ("state", Text),
    ("application_name", Text),
    ("client_addr", Text),
    ("client_port", Integer),
    ("backend_start", TimestampTz),
    ("xact_start", TimestampTz),
    ("state_change", TimestampTz),
    ("waiting", Boolean),
];

fn activity(context: &SystemContext) -> Rows {
    let sessions = context.leader.sessions().into_iter();
    sessions
        .map(|session| {
            let activity = session.activity();
            let seen = context.may_see(session.user_oid);
            let (text, started) = match &activity.running {
                Some(running) => (running.text.to_string(), Some(running.started_us)),
                None => (activity.last_text.to_string(), Some(activity.last_change_us)),
            };
            let text = if seen { text } else { "<insufficient privilege>".to_owned() };
            let current = if activity.running.is_some() || !seen {
                text.clone()
            } else {
                "<IDLE>".to_owned()
            };
            row![
                session.database_oid,
                &session.database,
                session.process_id,
                session.user_oid,
                &session.user,
                current,
                started,
                session.process_id,
                text,
                activity.state(),
                session.application_name.lock().clone(),
                session.peer.map(|peer| peer.ip().to_string()),
                session.peer.map(|peer| peer.port()),
                session.started_us,
                activity.block_since_us,
                activity.last_change_us,
                false,
            ]
        })
        .collect()
}
