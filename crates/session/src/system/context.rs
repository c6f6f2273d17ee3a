//! What system tables and leader functions see: one catalog snapshot, the leader's records and
//! who asks.

use std::sync::Arc;

use base::SqlType;
use base::ids::{ColumnId, Oid};
use catalog::{
    Constraint, Database, DistStyle, Relation, SYSTEM_USER_OID, SortKey, State, Table, User,
};

use super::{Space, SystemRelation};
use crate::leader::LeaderNode;
use crate::settings::Settings;

/// The name that Redshift gives the owner of what the system makes.
pub(crate) const SYSTEM_USER: &str = "rdsdb";

/// One statement's view of the system.
#[derive(Clone)]
pub(crate) struct SystemContext {
    pub(crate) state: Arc<State>,
    pub(crate) leader: Arc<LeaderNode>,
    pub(crate) database: Arc<Database>,
    pub(crate) user: Arc<User>,
    pub(crate) search_path: Vec<String>,
    pub(crate) process_id: i32,
    pub(crate) settings: Arc<Settings>,
}

impl std::fmt::Debug for SystemContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemContext").field("state", &self.state).finish_non_exhaustive()
    }
}

/// A schema as clients see it.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) oid: Oid,
    pub(crate) name: String,
    pub(crate) owner: Oid,
}

/// A relation of the catalog, a system table, or the index that stands for a key.
#[derive(Clone, Debug)]
pub(crate) enum AnyRelation {
    User(Relation),
    System(SystemRelation),
    Key(Key),
}

/// A primary key or unique constraint, which tools read as an index.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) table: Arc<Table>,
    pub(crate) oid: Oid,
    pub(crate) name: String,
    pub(crate) columns: Vec<ColumnId>,
    pub(crate) primary: bool,
}

/// A column as clients see it.
#[derive(Clone, Debug)]
pub(crate) struct AnyColumn {
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) sql_type: SqlType,
    pub(crate) not_null: bool,
    pub(crate) default: Option<String>,
    pub(crate) dist_key: bool,
    /// 1-based place in the sort key, negative columns alternate for interleaved ones.
    pub(crate) sort_order: i32,
    pub(crate) encoding: &'static str,
    pub(crate) comment: Option<String>,
}

/// Ids of constraints and of the indexes that stand for keys: made from the table's id and the
/// constraint's position, so that they hold as long as the definition.
pub(crate) fn constraint_oid(table: Oid, position: usize) -> Oid {
    let base = 1_000_000_000 + u64::from(table.0) % 30_000_000 * 64;
    Oid(u32::try_from(base + position.min(31) as u64).unwrap_or(u32::MAX))
}

impl SystemContext {
    pub(crate) fn is_superuser(&self) -> bool {
        self.user.superuser
    }

    /// True when rows about this user may be shown to the asking one.
    pub(crate) fn may_see(&self, user: Oid) -> bool {
        self.user.superuser || self.user.oid == user
    }

    pub(crate) fn user_name(&self, oid: Oid) -> String {
        if oid == SYSTEM_USER_OID {
            return SYSTEM_USER.to_owned();
        }
        self.state
            .user_by_oid(oid)
            .map_or_else(|| format!("unknown (OID={oid})"), |u| u.name.clone())
    }

    /// The schemas of the current database.
    pub(crate) fn namespaces(&self) -> Vec<Namespace> {
        let system =
            |oid, name: &str| Namespace { oid, name: name.to_owned(), owner: SYSTEM_USER_OID };
        let mut all = vec![
            system(Space::PgCatalog.oid(), Space::PgCatalog.name()),
            system(Space::InformationSchema.oid(), Space::InformationSchema.name()),
        ];
        if !self.state.temporaries(self.process_id).is_empty() {
            all.push(system(catalog::PG_TEMP_SCHEMA_OID, &self.temp_schema()));
        }
        all.extend(self.state.schemas(self.database.oid).into_iter().map(|schema| Namespace {
            oid: schema.oid,
            name: schema.name.clone(),
            owner: schema.owner,
        }));
        all
    }

    /// The name of the session's schema of temporary tables.
    pub(crate) fn temp_schema(&self) -> String {
        format!("pg_temp_{}", self.process_id)
    }

    pub(crate) fn namespace_name(&self, oid: Oid) -> String {
        if oid == catalog::PG_TEMP_SCHEMA_OID {
            return self.temp_schema();
        }
        for space in [Space::PgCatalog, Space::InformationSchema] {
            if oid == space.oid() {
                return space.name().to_owned();
            }
        }
        self.state.schema_by_oid(oid).map(|schema| schema.name.clone()).unwrap_or_default()
    }

    /// The tables and views of users in the current database, with the session's temporary ones.
    pub(crate) fn user_relations(&self) -> Vec<Relation> {
        let mut all = self.state.temporaries(self.process_id);
        for schema in self.state.schemas(self.database.oid) {
            all.extend(self.state.relations(schema.oid));
        }
        all
    }

    /// User relations, system tables and keys.
    pub(crate) fn relations(&self) -> Vec<AnyRelation> {
        let user = self.user_relations();
        let keys: Vec<Key> = user.iter().filter_map(Relation::table).flat_map(keys_of).collect();
        super::all()
            .map(AnyRelation::System)
            .chain(user.into_iter().map(AnyRelation::User))
            .chain(keys.into_iter().map(AnyRelation::Key))
            .collect()
    }

    /// The relation with this id, of any kind.
    pub(crate) fn relation(&self, oid: Oid) -> Option<AnyRelation> {
        if let Some(relation) = self.state.relation_by_oid(oid) {
            return Some(AnyRelation::User(relation));
        }
        self.relations().into_iter().find(|relation| relation.oid() == oid)
    }

    /// The relation that a possibly qualified name means in this session.
    pub(crate) fn find_relation(&self, schema: Option<&str>, name: &str) -> Option<AnyRelation> {
        let Some(schema) = schema else { return self.find_unqualified(name) };
        if let Some(space) = Space::from_name(schema) {
            return super::find(space, name).map(AnyRelation::System);
        }
        if schema == "pg_temp" || schema == self.temp_schema() {
            return self.state.temporary(self.process_id, name).map(AnyRelation::User);
        }
        let schema = self.state.schema(self.database.oid, schema)?;
        self.state.relation(schema.oid, name).map(AnyRelation::User)
    }

    fn find_unqualified(&self, name: &str) -> Option<AnyRelation> {
        if let Some(relation) = self.state.temporary(self.process_id, name) {
            return Some(AnyRelation::User(relation));
        }
        let named = self.search_path.iter().any(|schema| schema == "pg_catalog");
        if !named && let Some(system) = super::find(Space::PgCatalog, name) {
            return Some(AnyRelation::System(system));
        }
        self.search_path.iter().find_map(|schema| self.find_relation(Some(schema), name))
    }

    /// True when the bare name of a relation finds that relation.
    pub(crate) fn is_visible(&self, relation: &AnyRelation) -> bool {
        match relation {
            AnyRelation::Key(key) => {
                self.is_visible(&AnyRelation::User(Relation::Table(Arc::clone(&key.table))))
            }
            other => self
                .find_relation(None, &other.name())
                .is_some_and(|found| found.oid() == other.oid()),
        }
    }

    /// The first schema of the search path that exists: `current_schema()`.
    pub(crate) fn current_schema(&self) -> Option<String> {
        self.existing_path().into_iter().next()
    }

    /// The schemas of the search path that exist.
    pub(crate) fn existing_path(&self) -> Vec<String> {
        let exists = |name: &String| {
            Space::from_name(name).is_some() || self.state.schema(self.database.oid, name).is_some()
        };
        self.search_path.iter().filter(|name| exists(name)).cloned().collect()
    }
}

/// The keys of a table.
pub(crate) fn keys_of(table: &Arc<Table>) -> Vec<Key> {
    let constraints = table.constraints.iter().enumerate();
    constraints
        .filter(|(_, constraint)| !matches!(constraint, Constraint::ForeignKey { .. }))
        .map(|(i, constraint)| {
            let constraint_oid = constraint_oid(table.oid, i);
            Key {
                table: Arc::clone(table),
                oid: Oid(constraint_oid.0 + 32),
                name: constraint.name().to_owned(),
                columns: constraint.columns().to_vec(),
                primary: matches!(constraint, Constraint::PrimaryKey { .. }),
            }
        })
        .collect()
}

/// The 1-based positions of columns in their table.
pub(crate) fn positions(table: &Table, columns: &[ColumnId]) -> Vec<i64> {
    let position = |id: &ColumnId| table.columns.iter().position(|column| column.id == *id);
    columns.iter().filter_map(position).map(|i| i as i64 + 1).collect()
}

impl AnyRelation {
    pub(crate) fn oid(&self) -> Oid {
        match self {
            AnyRelation::User(relation) => relation.oid(),
            AnyRelation::System(system) => system.oid,
            AnyRelation::Key(key) => key.oid,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            AnyRelation::User(relation) => relation.name().to_owned(),
            AnyRelation::System(system) => system.table.name.to_owned(),
            AnyRelation::Key(key) => key.name.clone(),
        }
    }

    pub(crate) fn namespace(&self) -> Oid {
        match self {
            AnyRelation::User(relation) => relation.schema(),
            AnyRelation::System(system) => system.table.space.oid(),
            AnyRelation::Key(key) => key.table.schema,
        }
    }

    pub(crate) fn owner(&self) -> Oid {
        match self {
            AnyRelation::User(relation) => relation.owner(),
            AnyRelation::System(_) => SYSTEM_USER_OID,
            AnyRelation::Key(key) => key.table.owner,
        }
    }

    /// `pg_class.relkind`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            AnyRelation::User(Relation::Table(_)) => "r",
            AnyRelation::User(Relation::View(_)) => "v",
            AnyRelation::System(system) if system.table.is_view => "v",
            AnyRelation::System(_) => "r",
            AnyRelation::Key(_) => "i",
        }
    }

    pub(crate) fn table(&self) -> Option<&Arc<Table>> {
        match self {
            AnyRelation::User(relation) => relation.table(),
            _ => None,
        }
    }

    pub(crate) fn columns(&self) -> Vec<AnyColumn> {
        match self {
            AnyRelation::User(Relation::Table(table)) => table_columns(table),
            AnyRelation::User(Relation::View(view)) => {
                let columns = view.columns.iter().enumerate();
                columns.map(|(i, column)| plain(i, &column.name, column.sql_type)).collect()
            }
            AnyRelation::System(system) => {
                let columns = system.table.columns.iter().enumerate();
                columns.map(|(i, (name, sql_type))| plain(i, name, *sql_type)).collect()
            }
            AnyRelation::Key(key) => {
                let columns = key.columns.iter().filter_map(|id| key.table.column_by_id(*id));
                columns.enumerate().map(|(i, c)| plain(i, &c.name, c.sql_type)).collect()
            }
        }
    }
}

fn plain(position: usize, name: &str, sql_type: SqlType) -> AnyColumn {
    AnyColumn {
        number: number(position),
        name: name.to_owned(),
        sql_type,
        not_null: false,
        default: None,
        dist_key: false,
        sort_order: 0,
        encoding: "none",
        comment: None,
    }
}

fn number(position: usize) -> i16 {
    i16::try_from(position + 1).unwrap_or(i16::MAX)
}

fn table_columns(table: &Table) -> Vec<AnyColumn> {
    let interleaved = matches!(table.sort_key, SortKey::Interleaved(_));
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(i, column)| {
            let place = table.sort_key.columns().iter().position(|id| *id == column.id);
            let order = place.map_or(0, |place| place as i32 + 1);
            AnyColumn {
                number: number(i),
                name: column.name.clone(),
                sql_type: column.sql_type,
                not_null: !column.nullable,
                default: default_text(column),
                dist_key: table.distribution.effective == DistStyle::Key(column.id),
                // Redshift marks an interleaved key by alternating signs.
                sort_order: if interleaved && order % 2 == 0 { -order } else { order },
                encoding: encoding_name(column, place == Some(0)),
                comment: column.comment.clone(),
            }
        })
        .collect()
}

/// `adsrc`: the default, or Redshift's form of an identity.
pub(crate) fn default_text(column: &catalog::Column) -> Option<String> {
    match column.identity {
        Some(identity) => Some(format!(
            "\"identity\"({}, {}, '{},{}'::text)",
            column.id, identity.by_default as u8, identity.seed, identity.step
        )),
        None => column.default.clone(),
    }
}

/// The encoding shown for a column: what was declared, else what Redshift assigns by type.
pub(crate) fn encoding_name(column: &catalog::Column, leads_sort_key: bool) -> &'static str {
    const NAMES: &[&str] = &[
        "az64",
        "bytedict",
        "delta",
        "delta32k",
        "lzo",
        "mostly8",
        "mostly16",
        "mostly32",
        "runlength",
        "text255",
        "text32k",
        "zstd",
    ];
    match column.encode.as_deref() {
        Some("raw" | "none") => return "none",
        Some("auto") | None => {}
        Some(name) => return NAMES.iter().find(|n| **n == name).copied().unwrap_or("none"),
    }
    match column.sql_type {
        _ if leads_sort_key => "none",
        SqlType::Boolean | SqlType::Real | SqlType::Double | SqlType::Varbyte(_) => "none",
        SqlType::Char(_) | SqlType::Varchar(_) => "lzo",
        _ => "az64",
    }
}

/// `EVEN`, `KEY(c)`, `ALL`, `AUTO(ALL)`, … as SVV_TABLE_INFO shows a table's style.
pub(crate) fn dist_style_text(table: &Table) -> String {
    let one = |style: DistStyle| match style {
        DistStyle::Auto => "AUTO".to_owned(),
        DistStyle::Even => "EVEN".to_owned(),
        DistStyle::All => "ALL".to_owned(),
        DistStyle::Key(id) => {
            let name = table.column_by_id(id).map_or("", |column| column.name.as_str());
            format!("KEY({name})")
        }
    };
    match table.distribution.declared {
        DistStyle::Auto => format!("AUTO({})", one(table.distribution.effective)),
        declared => one(declared),
    }
}
