//! From the text of CREATE TABLE to the catalog's table: every attribute is checked here.

use std::collections::HashSet;

use base::ids::{ColumnId, Oid};
use base::{Error, Result, SqlType, error, suggest};
use catalog::{Column, Constraint, DistStyle, Distribution, Identity, SortKey, Table};
use sql::ast::{
    Collation, ColumnDef, ConstraintKind, Ident, References, TableAttributes, TableConstraint,
};

use crate::relations::at;

/// Redshift's limits.
pub(crate) const COLUMNS_MAX: usize = 1_600;
const COMPOUND_MAX: usize = 400;
const INTERLEAVED_MAX: usize = 8;
const CONSTRAINTS_MAX: usize = 30;

/// ENCODE's names.
const ENCODINGS: &[&str] = &[
    "raw",
    "az64",
    "lzo",
    "zstd",
    "delta",
    "delta32k",
    "mostly8",
    "mostly16",
    "mostly32",
    "runlength",
    "bytedict",
    "text255",
    "text32k",
    "auto",
];

/// A table while its definition is read.
pub(crate) struct Definition {
    pub(crate) table: Table,
    dist_key: Option<ColumnId>,
    sort_key: Vec<ColumnId>,
}

/// Finds the table of a foreign key.
pub(crate) type FindTable<'a> = &'a dyn Fn(&sql::ast::ObjectName) -> Result<std::sync::Arc<Table>>;

impl Definition {
    pub(crate) fn new(table: Table) -> Definition {
        Definition { table, dist_key: None, sort_key: Vec::new() }
    }

    /// Adds a column and what it declares of the table.
    ///
    /// # Errors
    /// 42701, 42P16, 22023, 42611 and others, with the column's position.
    pub(crate) fn column(&mut self, def: &ColumnDef, find: FindTable<'_>) -> Result<()> {
        let id = self.table.next_column;
        let column = column(def, id, &self.table.columns)?;
        if column.identity.is_some() && self.table.columns.iter().any(|c| c.identity.is_some()) {
            return Err(at(
                error!(InvalidTableDefinition, "a table can have only one identity column"),
                def.name.position,
            ));
        }
        self.push(column)?;
        if def.distkey {
            self.set_dist_key(id, def.name.position)?;
        }
        if def.sortkey {
            self.sort_key.push(id);
        }
        let one = || vec![def.name.clone()];
        if def.primary_key {
            self.constraint(None, &ConstraintKind::PrimaryKey(one()), find)?;
        }
        if def.unique {
            self.constraint(None, &ConstraintKind::Unique(one()), find)?;
        }
        if let Some(references) = &def.references {
            let kind =
                ConstraintKind::ForeignKey { columns: one(), references: references.clone() };
            self.constraint(None, &kind, find)?;
        }
        Ok(())
    }

    /// Adds a column that is known to be sound.
    ///
    /// # Errors
    /// 54011 beyond 1,600 columns.
    pub(crate) fn push(&mut self, column: Column) -> Result<()> {
        if self.table.columns.len() >= COLUMNS_MAX {
            return Err(error!(TooManyColumns, "tables can have at most {COLUMNS_MAX} columns"));
        }
        self.table.next_column = ColumnId(column.id.0 + 1);
        self.table.columns.push(column);
        Ok(())
    }

    fn set_dist_key(&mut self, id: ColumnId, position: u32) -> Result<()> {
        if self.dist_key.is_some_and(|other| other != id) {
            return Err(at(
                error!(InvalidTableDefinition, "a table can have only one distribution key"),
                position,
            ));
        }
        self.dist_key = Some(id);
        Ok(())
    }

    /// Adds a table constraint.
    ///
    /// # Errors
    /// 42703 for an unknown column, 42P16 for a second primary key, 42830-like 42P16 when the
    /// referenced columns do not match.
    pub(crate) fn constraint(
        &mut self,
        name: Option<&Ident>,
        kind: &ConstraintKind,
        find: FindTable<'_>,
    ) -> Result<()> {
        if self.table.constraints.len() >= CONSTRAINTS_MAX {
            return Err(error!(
                ProgramLimitExceeded,
                "a table can have at most {CONSTRAINTS_MAX} constraints"
            ));
        }
        let made = constraint(&self.table, name, kind, find)?;
        if let Constraint::PrimaryKey { columns, .. } = &made {
            for column in &mut self.table.columns {
                if columns.contains(&column.id) {
                    column.nullable = false;
                }
            }
        }
        self.table.constraints.push(made);
        Ok(())
    }

    /// Adds a constraint of the statement.
    ///
    /// # Errors
    /// As [`Definition::constraint`].
    pub(crate) fn table_constraint(
        &mut self,
        constraint: &TableConstraint,
        find: FindTable<'_>,
    ) -> Result<()> {
        self.constraint(constraint.name.as_ref(), &constraint.kind, find)
    }

    /// Takes the attributes after the column list and checks them together.
    ///
    /// # Errors
    /// 42P16 for styles and keys that contradict, 42703 for unknown columns.
    pub(crate) fn finish(mut self, attributes: &TableAttributes) -> Result<Table> {
        if self.table.columns.is_empty() {
            return Err(error!(InvalidTableDefinition, "a table must have at least one column"));
        }
        if let Some(key) = &attributes.dist_key {
            let id = find_column(&self.table, key)?.id;
            self.set_dist_key(id, key.position)?;
        }
        self.table.distribution = distribution(attributes.dist_style, self.dist_key)?;
        let declared = std::mem::take(&mut self.sort_key);
        self.table.sort_key = match (&attributes.sort_key, declared.is_empty()) {
            (Some(key), true) => sort_key(&self.table, key)?,
            (Some(_), false) => {
                return Err(error!(
                    InvalidTableDefinition,
                    "SORTKEY is declared on a column and on the table"
                ));
            }
            (None, false) => {
                check_sort_columns(&declared, COMPOUND_MAX, "a compound sort key")?;
                SortKey::Compound(declared)
            }
            // Without a word on it Redshift chooses by itself.
            (None, true) => SortKey::Auto,
        };
        if let Some(backup) = attributes.backup {
            self.table.backup = backup;
        }
        Ok(self.table)
    }
}

/// The column of a name.
///
/// # Errors
/// 42703 with a did-you-mean.
pub(crate) fn find_column<'a>(table: &'a Table, name: &Ident) -> Result<&'a Column> {
    table.column(&name.name).ok_or_else(|| {
        let names = table.columns.iter().map(|column| column.name.as_str());
        at(
            error!(
                UndefinedColumn,
                "column \"{}\" of relation \"{}\" does not exist", name.name, table.name
            )
            .column(&name.name)
            .maybe_hint(suggest::did_you_mean(&name.name, names)),
            name.position,
        )
    })
}

fn find_columns(table: &Table, names: &[Ident]) -> Result<Vec<ColumnId>> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let id = find_column(table, name)?.id;
        if ids.contains(&id) {
            return Err(at(
                error!(DuplicateColumn, "column \"{}\" is named twice", name.name),
                name.position,
            ));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// A column of CREATE TABLE or ADD COLUMN.
///
/// # Errors
/// 42701, 42611, 22023, 0A000.
pub(crate) fn column(def: &ColumnDef, id: ColumnId, others: &[Column]) -> Result<Column> {
    let name = &def.name;
    let fault = |error: Error| at(error.column(&name.name), name.position);
    if others.iter().any(|other| other.name == name.name) {
        return Err(fault(error!(
            DuplicateColumn,
            "column \"{}\" specified more than once", name.name
        )));
    }
    if !def.sql_type.is_storable() {
        return Err(fault(error!(
            FeatureNotSupported,
            "column \"{}\" has type {}, which tables cannot hold", name.name, def.sql_type
        )));
    }
    let sql_type = def.sql_type.checked().map_err(fault)?;
    let identity = identity(def)?;
    if identity.is_some() && def.default.is_some() {
        return Err(fault(error!(
            InvalidColumnDefinition,
            "column \"{}\" has both IDENTITY and DEFAULT", name.name
        )));
    }
    let encode = def.encode.as_ref().map(|encode| encoding(encode, sql_type)).transpose()?;
    Ok(Column {
        id,
        name: name.name.clone(),
        sql_type,
        nullable: !(def.not_null || def.primary_key || identity.is_some()),
        default: def.default.as_ref().map(|default| default.text.clone()),
        identity,
        encode,
        case_insensitive: collation(def)?,
        comment: None,
        fill: None,
    })
}

fn identity(def: &ColumnDef) -> Result<Option<Identity>> {
    let Some(identity) = def.identity else { return Ok(None) };
    let position = def.name.position;
    if !matches!(def.sql_type, SqlType::Integer | SqlType::BigInt) {
        return Err(at(
            error!(
                InvalidColumnDefinition,
                "identity column \"{}\" must be of type integer or bigint", def.name.name
            ),
            position,
        ));
    }
    if identity.step == 0 {
        return Err(at(
            error!(InvalidParameterValue, "the step of an identity column cannot be 0"),
            position,
        ));
    }
    let (seed, step) = (identity.seed, identity.step);
    Ok(Some(Identity { seed, step, by_default: identity.by_default }))
}

fn collation(def: &ColumnDef) -> Result<bool> {
    match def.collate {
        Some(Collation::CaseInsensitive) => Err(at(
            Error::unsupported("COLLATE CASE_INSENSITIVE is not supported")
                .hint("Compare lower(column), or use ILIKE."),
            def.name.position,
        )),
        Some(Collation::CaseSensitive) | None => Ok(false),
    }
}

/// ENCODE's name, checked against the type.
///
/// # Errors
/// 42704 unknown, 42P16 for a type that the encoding does not take.
pub(crate) fn encoding(encode: &Ident, sql_type: SqlType) -> Result<String> {
    let name = encode.name.as_str();
    if !ENCODINGS.contains(&name) {
        let hint = suggest::did_you_mean(name, ENCODINGS.iter().copied());
        let error = error!(UndefinedObject, "encoding \"{name}\" does not exist").maybe_hint(hint);
        return Err(at(error, encode.position));
    }
    let text = matches!(sql_type, SqlType::Char(_) | SqlType::Varchar(_));
    let plain = matches!(sql_type, SqlType::Boolean | SqlType::Real | SqlType::Double);
    let fits = match name {
        "text255" | "text32k" => matches!(sql_type, SqlType::Varchar(_)),
        "az64" | "delta" | "delta32k" => {
            !text && !plain && !matches!(sql_type, SqlType::Varbyte(_))
        }
        "mostly8" => matches!(
            sql_type,
            SqlType::SmallInt | SqlType::Integer | SqlType::BigInt | SqlType::Decimal { .. }
        ),
        "mostly16" | "mostly32" => {
            matches!(sql_type, SqlType::Integer | SqlType::BigInt | SqlType::Decimal { .. })
        }
        "lzo" => !plain,
        "bytedict" => !matches!(sql_type, SqlType::Boolean),
        _ => true,
    };
    if fits {
        return Ok(name.to_owned());
    }
    Err(at(
        error!(InvalidTableDefinition, "encoding \"{name}\" cannot be used with type {sql_type}"),
        encode.position,
    ))
}

fn distribution(style: Option<sql::ast::DistStyle>, key: Option<ColumnId>) -> Result<Distribution> {
    use sql::ast::DistStyle as Word;
    let clash = |style: &str| {
        Err(error!(
            InvalidTableDefinition,
            "DISTSTYLE {style} cannot be combined with a distribution key"
        ))
    };
    let declared = match (style, key) {
        (None | Some(Word::Key), Some(key)) => DistStyle::Key(key),
        (Some(Word::Key), None) => {
            return Err(error!(InvalidTableDefinition, "DISTSTYLE KEY needs a distribution key")
                .hint("Add DISTKEY(column)."));
        }
        (Some(Word::Even), None) => DistStyle::Even,
        (Some(Word::All), None) => DistStyle::All,
        (Some(Word::Auto) | None, None) => DistStyle::Auto,
        (Some(Word::Even), Some(_)) => return clash("EVEN"),
        (Some(Word::All), Some(_)) => return clash("ALL"),
        (Some(Word::Auto), Some(_)) => return clash("AUTO"),
    };
    // AUTO starts as ALL while the table is small.
    let effective = if declared == DistStyle::Auto { DistStyle::All } else { declared };
    Ok(Distribution { declared, effective })
}

/// SORTKEY of CREATE TABLE and ALTER TABLE.
///
/// # Errors
/// 42703, 42701, 54011.
pub(crate) fn sort_key(table: &Table, key: &sql::ast::SortKey) -> Result<SortKey> {
    Ok(match key {
        sql::ast::SortKey::Auto => SortKey::Auto,
        sql::ast::SortKey::None => SortKey::None,
        sql::ast::SortKey::Compound(names) => {
            let columns = find_columns(table, names)?;
            check_sort_columns(&columns, COMPOUND_MAX, "a compound sort key")?;
            SortKey::Compound(columns)
        }
        sql::ast::SortKey::Interleaved(names) => {
            let columns = find_columns(table, names)?;
            check_sort_columns(&columns, INTERLEAVED_MAX, "an interleaved sort key")?;
            SortKey::Interleaved(columns)
        }
    })
}

fn check_sort_columns(columns: &[ColumnId], max: usize, what: &str) -> Result<()> {
    if columns.len() > max {
        return Err(error!(TooManyColumns, "{what} can have at most {max} columns"));
    }
    Ok(())
}

/// The distribution of ALTER TABLE ALTER DISTSTYLE.
///
/// # Errors
/// As for CREATE TABLE.
pub(crate) fn altered_distribution(
    table: &Table,
    style: sql::ast::DistStyle,
    key: Option<&Ident>,
) -> Result<Distribution> {
    let key = key.map(|name| find_column(table, name).map(|column| column.id)).transpose()?;
    distribution(Some(style), key)
}

/// A constraint of a table.
///
/// # Errors
/// 42703, 42P16, 42710.
pub(crate) fn constraint(
    table: &Table,
    name: Option<&Ident>,
    kind: &ConstraintKind,
    find: FindTable<'_>,
) -> Result<Constraint> {
    let taken: HashSet<&str> = table.constraints.iter().map(Constraint::name).collect();
    if let Some(name) = name.filter(|name| taken.contains(name.name.as_str())) {
        return Err(at(
            error!(
                DuplicateObject,
                "constraint \"{}\" of relation \"{}\" already exists", name.name, table.name
            ),
            name.position,
        ));
    }
    let named = |columns: &[Ident], suffix: &str| match name {
        Some(name) => name.name.clone(),
        None => free_name(table, columns, suffix, &taken),
    };
    match kind {
        ConstraintKind::PrimaryKey(names) => {
            let primary = |c: &Constraint| matches!(c, Constraint::PrimaryKey { .. });
            if table.constraints.iter().any(primary) {
                return Err(error!(
                    InvalidTableDefinition,
                    "multiple primary keys for table \"{}\" are not allowed", table.name
                ));
            }
            let columns = find_columns(table, names)?;
            Ok(Constraint::PrimaryKey { name: named(&[], "pkey"), columns })
        }
        ConstraintKind::Unique(names) => {
            let columns = find_columns(table, names)?;
            Ok(Constraint::Unique { name: named(names, "key"), columns })
        }
        ConstraintKind::ForeignKey { columns: names, references } => {
            let columns = find_columns(table, names)?;
            let (other, found) = referenced(table, references, find)?;
            if found.len() != columns.len() {
                return Err(error!(
                    InvalidTableDefinition,
                    "number of referencing and referenced columns for foreign key disagree"
                ));
            }
            let name = named(names, "fkey");
            Ok(Constraint::ForeignKey { name, columns, table: other, references: found })
        }
    }
}

/// `table_column_suffix`, with a number when that name is taken.
fn free_name(table: &Table, columns: &[Ident], suffix: &str, taken: &HashSet<&str>) -> String {
    let mut stem = table.name.clone();
    for column in columns {
        stem.push('_');
        stem.push_str(&column.name);
    }
    let stem = crate::leader::history::cut(&stem, 110);
    let plain = format!("{stem}_{suffix}");
    if !taken.contains(plain.as_str()) {
        return plain;
    }
    let numbered = (1..=CONSTRAINTS_MAX + 1).map(|n| format!("{plain}{n}"));
    numbered.into_iter().find(|name| !taken.contains(name.as_str())).unwrap_or(plain)
}

fn referenced(
    table: &Table,
    references: &References,
    find: FindTable<'_>,
) -> Result<(Oid, Vec<ColumnId>)> {
    // A table may reference itself while it is being defined.
    let itself = references.table.schema().is_none() && references.table.last().name == table.name;
    let found;
    let other: &Table = if itself {
        table
    } else {
        found = find(&references.table)?;
        &found
    };
    if !references.columns.is_empty() {
        return Ok((other.oid, find_columns(other, &references.columns)?));
    }
    let primary = other.constraints.iter().find_map(|constraint| match constraint {
        Constraint::PrimaryKey { columns, .. } => Some(columns.clone()),
        _ => None,
    });
    match primary {
        Some(columns) => Ok((other.oid, columns)),
        None => Err(error!(
            UndefinedObject,
            "there is no primary key for referenced table \"{}\"", other.name
        )),
    }
}
