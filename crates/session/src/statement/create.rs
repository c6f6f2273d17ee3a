//! CREATE TABLE, LIKE and CREATE TABLE AS.

use std::sync::Arc;

use base::client::{Outcome, Severity};
use base::ids::{ColumnId, Oid};
use base::{Result, SqlType, error};
use catalog::{Column, Op, Privileges, Relation, SortKey, Table};
use sql::ast::{CreateTable, CreateTableAs, ObjectName, TableElement};

use super::definition::Definition;
use super::done;
use crate::client::{ClientSession, Run};
use crate::privileges;
use crate::relations::{SessionRelations, at, check_database};
use crate::system::{AnyRelation, Space, SystemContext};

/// Where a new relation goes.
pub(crate) struct Target {
    pub(crate) schema: Oid,
    pub(crate) schema_name: String,
    pub(crate) name: String,
    pub(crate) temporary: Option<i32>,
}

impl ClientSession {
    /// The place of a new relation: its schema must exist and be writable by the user.
    ///
    /// # Errors
    /// 3F000, 42501, 42P16 for a temporary table with a schema.
    pub(crate) fn target(
        &mut self,
        context: &SystemContext,
        name: &ObjectName,
        temporary: bool,
    ) -> Result<Target> {
        check_database(context, name.database())?;
        let last = name.last().name.clone();
        let in_temp = |schema: &str| schema == "pg_temp" || schema == context.temp_schema();
        if temporary || name.schema().is_some_and(|schema| in_temp(&schema.name)) {
            if let Some(schema) = name.schema().filter(|schema| !in_temp(&schema.name)) {
                return Err(at(
                    error!(
                        InvalidTableDefinition,
                        "cannot create temporary relation in non-temporary schema \"{}\"",
                        schema.name
                    ),
                    schema.position,
                ));
            }
            return Ok(Target {
                schema: catalog::PG_TEMP_SCHEMA_OID,
                schema_name: context.temp_schema(),
                name: last,
                temporary: Some(context.process_id),
            });
        }
        let schema_name = match name.schema() {
            Some(schema) => schema.name.clone(),
            None => context.current_schema().ok_or_else(|| {
                error!(InvalidSchemaName, "no schema has been selected to create in")
                    .hint("Name a schema, or set search_path to one that exists.")
            })?,
        };
        if Space::from_name(&schema_name).is_some() {
            return Err(error!(
                InsufficientPrivilege,
                "permission denied for schema {schema_name}"
            )
            .detail("System schemas cannot be changed."));
        }
        let schema = context.state.schema(context.database.oid, &schema_name).ok_or_else(|| {
            let names: Vec<String> =
                context.namespaces().into_iter().map(|space| space.name).collect();
            at(
                error!(InvalidSchemaName, "schema \"{schema_name}\" does not exist").maybe_hint(
                    base::suggest::did_you_mean(&schema_name, names.iter().map(String::as_str)),
                ),
                name.position(),
            )
        })?;
        privileges::on_schema(&context.state, &context.user, &schema, Privileges::CREATE)?;
        Ok(Target { schema: schema.oid, schema_name, name: last, temporary: None })
    }

    /// True when the name is taken; with IF NOT EXISTS that is a notice, otherwise an error.
    pub(super) fn is_taken(
        &mut self,
        context: &SystemContext,
        target: &Target,
        if_not_exists: bool,
    ) -> Result<bool> {
        let found = match target.temporary {
            Some(session) => context.state.temporary(session, &target.name),
            None => context.state.relation(target.schema, &target.name),
        };
        if found.is_none() {
            return Ok(false);
        }
        let message = format!("relation \"{}\" already exists", target.name);
        if if_not_exists {
            let notice = error!(DuplicateTable, "{message}, skipping");
            self.notice(Severity::Notice, notice);
            return Ok(true);
        }
        Err(error!(DuplicateTable, "{message}").table(&target.name).schema(&target.schema_name))
    }

    pub(super) fn blank(&mut self, context: &SystemContext, target: Target) -> Table {
        Table {
            oid: self.work.transaction(&self.leader.catalog).new_oid(),
            schema: target.schema,
            name: target.name,
            owner: context.user.oid,
            next_column: ColumnId(1),
            backup: true,
            temporary: target.temporary,
            created_us: base::clock::now_us(),
            ..Table::default()
        }
    }

    pub(crate) async fn create_table(&mut self, create: &CreateTable) -> Result<Outcome> {
        let context = self.context()?;
        let temporary = create.temporary || create.name.is_temporary_form();
        let target = self.target(&context, &create.name, temporary)?;
        if self.is_taken(&context, &target, create.if_not_exists)? {
            return done("CREATE TABLE");
        }
        let engine = Arc::clone(&self.leader.engine);
        let relations = SessionRelations::new(Arc::clone(&context), engine);
        let find = |name: &ObjectName| found_table(&relations, name);
        let mut definition = Definition::new(self.blank(&context, target));
        let mut constraints = Vec::new();
        let mut like = None;
        for element in &create.elements {
            match element {
                TableElement::Column(def) => definition.column(def, &find)?,
                // Constraints may name columns that follow them.
                TableElement::Constraint(constraint) => constraints.push(constraint),
                TableElement::Like { table, including_defaults } => {
                    let source = found_table(&relations, table)?;
                    copy_columns(&mut definition, &source, *including_defaults)?;
                    like = Some(source);
                }
            }
        }
        for constraint in constraints {
            definition.table_constraint(constraint, &find)?;
        }
        let mut table = definition.finish(&create.attributes)?;
        if let Some(source) = like {
            inherit_layout(&mut table, &source, create);
        }
        self.check_defaults(&table)?;
        self.apply(Op::CreateTable(table))?;
        done("CREATE TABLE")
    }

    /// Binds each default, so that a fault shows now and not at the first INSERT.
    ///
    /// # Errors
    /// Those of the binder.
    pub(crate) fn check_defaults(&mut self, table: &Table) -> Result<()> {
        if table.columns.iter().all(|column| column.default.is_none()) {
            return Ok(());
        }
        let scope = self.scope(&[])?;
        base::stack::deep(|| {
            for column in &table.columns {
                if let Some(default) = &column.default {
                    let expression = sql::parse_expression(default)?;
                    scope.binder().check_default(&expression, column.sql_type, &column.name)?;
                }
            }
            Ok(())
        })
    }

    pub(crate) async fn create_table_as(
        &mut self,
        create: &CreateTableAs,
        run: &Run,
    ) -> Result<Outcome> {
        let context = self.context()?;
        let temporary = create.temporary || create.name.is_temporary_form();
        let target = self.target(&context, &create.name, temporary)?;
        if self.is_taken(&context, &target, create.if_not_exists)? {
            return done("CREATE TABLE AS");
        }
        let fresh = self.bind_query(&create.query, &[]).await?;
        if !fresh.bound.parameters.is_empty() {
            return Err(error!(UndefinedParameter, "CREATE TABLE AS cannot have parameters"));
        }
        self.note_reads(&fresh.bound.relations);
        let mut definition = Definition::new(self.blank(&context, target));
        if create.columns.len() > fresh.columns.len() {
            return Err(error!(
                InvalidTableDefinition,
                "CREATE TABLE AS specifies too many column names"
            ));
        }
        for (i, column) in fresh.columns.iter().enumerate() {
            let name = create.columns.get(i).map_or(&column.name, |name| &name.name);
            definition.push(result_column(&definition.table, name, column.sql_type)?)?;
        }
        let mut table = definition.finish(&create.attributes)?;
        if table.distribution.declared == catalog::DistStyle::Auto {
            table.distribution.effective =
                super::layout::style_for(&context.state, &fresh.bound.relations, 0);
        }
        let oid = table.oid;
        self.apply(Op::CreateTable(table))?;
        if !create.with_data {
            return done("SELECT");
        }
        let options = self.execution_options()?;
        let plan = fresh.bound.with_values(&[], &options)?;
        let rows = self.fill(oid, plan, run).await?;
        run.count(rows);
        // Redshift answers SELECT, and its driver relies on that to keep its statements.
        done("SELECT")
    }
}

/// The user's table of a name.
///
/// # Errors
/// 42P01, 42809 for a view or system table.
pub(crate) fn found_table(relations: &SessionRelations, name: &ObjectName) -> Result<Arc<Table>> {
    match relations.find(name)? {
        AnyRelation::User(Relation::Table(table)) => Ok(table),
        other => {
            Err(at(error!(WrongObjectType, "\"{}\" is not a table", other.name()), name.position()))
        }
    }
}

fn copy_columns(definition: &mut Definition, source: &Table, defaults: bool) -> Result<()> {
    for column in &source.columns {
        if definition.table.column(&column.name).is_some() {
            return Err(error!(
                DuplicateColumn,
                "column \"{}\" specified more than once", column.name
            ));
        }
        let id = definition.table.next_column;
        let default = column.default.clone().filter(|_| defaults);
        definition.push(Column { id, default, identity: None, ..column.clone() })?;
    }
    Ok(())
}

/// LIKE takes distribution and sort key over where the statement says nothing of them.
fn inherit_layout(table: &mut Table, source: &Table, create: &CreateTable) {
    let same = |id: ColumnId| {
        let name = &source.column_by_id(id)?.name;
        table.column(name).map(|column| column.id)
    };
    let attributes = &create.attributes;
    let style = |style: catalog::DistStyle| match style {
        catalog::DistStyle::Key(id) => same(id).map(catalog::DistStyle::Key),
        other => Some(other),
    };
    let distribution = (attributes.dist_style.is_none() && attributes.dist_key.is_none())
        .then(|| style(source.distribution.declared))
        .flatten();
    let key = |ids: &[ColumnId]| ids.iter().filter_map(|id| same(*id)).collect::<Vec<_>>();
    let sort_key = attributes.sort_key.is_none().then(|| match &source.sort_key {
        SortKey::Compound(ids) => SortKey::Compound(key(ids)),
        SortKey::Interleaved(ids) => SortKey::Interleaved(key(ids)),
        other => other.clone(),
    });
    if let Some(declared) = distribution {
        table.distribution.declared = declared;
        table.distribution.effective = match declared {
            catalog::DistStyle::Auto => catalog::DistStyle::All,
            other => other,
        };
    }
    if let Some(sort_key) = sort_key {
        table.sort_key = sort_key;
    }
}

/// A column of a query's result as a table's column.
fn result_column(table: &Table, name: &str, sql_type: SqlType) -> Result<Column> {
    if name == "?column?" {
        return Err(error!(
            InvalidColumnDefinition,
            "column {} of the query has no name",
            table.columns.len() + 1
        )
        .hint("Give it one with AS."));
    }
    if table.column(name).is_some() {
        return Err(error!(DuplicateColumn, "column \"{name}\" specified more than once"));
    }
    Ok(Column {
        id: table.next_column,
        name: name.to_owned(),
        sql_type: storable(sql_type, name)?,
        nullable: true,
        default: None,
        identity: None,
        encode: None,
        case_insensitive: false,
        comment: None,
        fill: None,
    })
}

/// The type in which a result is kept.
fn storable(sql_type: SqlType, name: &str) -> Result<SqlType> {
    Ok(match sql_type {
        SqlType::Unknown | SqlType::Text => SqlType::Varchar(256),
        SqlType::Name => SqlType::Varchar(128),
        SqlType::QuotedChar => SqlType::Char(1),
        SqlType::Oid | SqlType::Xid | SqlType::RegProc | SqlType::RegClass | SqlType::RegType => {
            SqlType::BigInt
        }
        other if other.is_storable() => other,
        other => {
            return Err(error!(
                FeatureNotSupported,
                "column \"{name}\" has type {other}, which tables cannot hold"
            )
            .hint("Cast it to another type."));
        }
    })
}
