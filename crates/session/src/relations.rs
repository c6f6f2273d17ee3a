//! Names become relations: the search path, temporary tables, system tables, views.

use std::sync::{Arc, Weak};

use base::{Error, Result, error, suggest};
use catalog::{Relation, State, Table};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::TableSource;
use sql::ast::{Ident, ObjectName};
use sql::{
    At, InlineFunction, Relations, ResolvedRelation, ResolvedTable, ResolvedTarget, ResolvedView,
};

use crate::past::Past;
use crate::system::{AnyRelation, Space, SystemContext, SystemProvider};

/// The relations that one statement of one session sees.
#[derive(Clone)]
pub(crate) struct SessionRelations {
    pub(crate) context: Arc<SystemContext>,
    pub(crate) engine: Arc<exec::Engine>,
    /// What the transaction reads of the past.
    pub(crate) past: Arc<Past>,
}

impl SessionRelations {
    /// The relations as they are now, without a past.
    pub(crate) fn new(context: Arc<SystemContext>, engine: Arc<exec::Engine>) -> SessionRelations {
        SessionRelations { context, engine, past: Arc::default() }
    }

    /// The transaction's past once something was read of it.
    pub(crate) fn past(&self) -> Option<Weak<Past>> {
        (!self.past.is_empty()).then(|| Arc::downgrade(&self.past))
    }

    /// The relation of a name in the catalog or among the system tables.
    ///
    /// # Errors
    /// 3D000 another database, 3F000 unknown schema, 42P01 unknown relation.
    pub(crate) fn find(&self, name: &ObjectName) -> Result<AnyRelation> {
        self.find_in(name, None)
    }

    fn find_in(&self, name: &ObjectName, search_path: Option<&[String]>) -> Result<AnyRelation> {
        check_database(&self.context, name.database())?;
        let found = match (name.schema(), search_path) {
            (Some(schema), _) => {
                check_schema(&self.context, schema)?;
                self.context.find_relation(Some(&schema.name), &name.last().name)
            }
            (None, None) => self.context.find_relation(None, &name.last().name),
            (None, Some(path)) => {
                let mut context = SystemContext::clone(&self.context);
                context.search_path = path.to_vec();
                context.find_relation(None, &name.last().name)
            }
        };
        found.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &ObjectName) -> Error {
        let last = &name.last().name;
        let shown = name.0.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(".");
        let names = self.candidates();
        at(
            error!(UndefinedTable, "relation \"{shown}\" does not exist")
                .table(last)
                .maybe_hint(suggest::did_you_mean(last, names.iter().map(String::as_str))),
            name.position(),
        )
    }

    fn source(&self, relation: &AnyRelation) -> Result<ResolvedRelation> {
        let context = &self.context;
        let database = context.database.name.clone();
        let schema = context.namespace_name(relation.namespace());
        match relation {
            AnyRelation::User(Relation::Table(table)) => {
                Ok(ResolvedRelation::Table(self.table(table, &context.state)))
            }
            AnyRelation::User(Relation::View(view)) => Ok(ResolvedRelation::View(ResolvedView {
                database,
                schema,
                name: view.name.clone(),
                oid: view.oid,
                sql: view.sql.clone(),
                search_path: view.search_path.clone(),
                columns: view.columns.iter().map(|c| (c.name.clone(), c.sql_type)).collect(),
                late_binding: view.late_binding,
            })),
            AnyRelation::System(system) => {
                let provider = SystemProvider::new(*system, Arc::clone(context));
                Ok(ResolvedRelation::Table(ResolvedTable {
                    source: provider_as_source(Arc::new(provider)),
                    database,
                    schema,
                    name: system.table.name.to_owned(),
                    oid: system.oid,
                }))
            }
            AnyRelation::Key(key) => Err(error!(WrongObjectType, "\"{}\" is an index", key.name)),
        }
    }
}

impl SessionRelations {
    /// A table as it is in a state.
    fn table(&self, table: &Arc<Table>, state: &State) -> ResolvedTable {
        let analyzed = state.usable_statistics(table.oid).cloned();
        let segments = state.segments(table.oid);
        let provider = self.engine.analyzed_table(Arc::clone(table), segments, analyzed);
        ResolvedTable {
            source: provider_as_source(provider),
            database: self.context.database.name.clone(),
            schema: self.context.namespace_name(table.schema),
            name: table.name.clone(),
            oid: table.oid,
        }
    }
}

impl Relations for SessionRelations {
    fn resolve(
        &self,
        name: &ObjectName,
        search_path: Option<&[String]>,
    ) -> Result<ResolvedRelation> {
        let relation = self.find_in(name, search_path)?;
        self.source(&relation)
    }

    /// The name means what it means now, and privileges are those of now; columns and rows are
    /// those of the moment.
    fn resolve_at(
        &self,
        name: &ObjectName,
        search_path: Option<&[String]>,
        moment: At,
    ) -> Result<ResolvedRelation> {
        let relation = self.find_in(name, search_path)?;
        let AnyRelation::User(Relation::Table(now)) = &relation else {
            return Err(error!(WrongObjectType, "\"{}\" is not a table", relation.name())
                .hint("AT (…) reads tables as they were, not views or system tables."));
        };
        let state = self.past.state(moment, name.position())?;
        let then = table_then(&state, now).map_err(|error| at(error, name.position()))?;
        Ok(ResolvedRelation::Table(self.table(&then, &state)))
    }

    fn target(&self, name: &ObjectName) -> Result<ResolvedTarget> {
        let table = crate::statement::found_table(self, name)?;
        let context = &self.context;
        let segments = context.state.segments(table.oid);
        let provider = self.engine.table_with_address(Arc::clone(&table), segments);
        Ok(ResolvedTarget {
            source: provider_as_source(provider),
            database: context.database.name.clone(),
            schema: context.namespace_name(table.schema),
            name: table.name.clone(),
            oid: table.oid,
            table,
        })
    }

    fn table_function(
        &self,
        name: &str,
        args: &[datafusion::logical_expr::Expr],
    ) -> Result<Option<Arc<dyn TableSource>>> {
        crate::system::table_function(&self.context, name, args)
    }

    fn has_functions(&self) -> bool {
        self.context.state.all_routines().next().is_some()
    }

    fn functions(
        &self,
        name: &[&str],
        count: usize,
        search_path: Option<&[String]>,
    ) -> Result<Vec<InlineFunction>> {
        crate::statement::routine::functions(&self.context, name, count, search_path)
    }

    fn candidates(&self) -> Vec<String> {
        let relations = self.context.relations().into_iter();
        relations.filter(|r| r.kind() != "i").map(|r| r.name()).collect()
    }
}

/// A table of now as it was in a state of the past.
///
/// # Errors
/// 42P01 when it is younger.
pub(crate) fn table_then(state: &State, now: &Table) -> Result<Arc<Table>> {
    match state.relation_by_oid(now.oid) {
        Some(Relation::Table(then)) => Ok(then),
        _ => Err(error!(UndefinedTable, "relation \"{}\" did not exist at that moment", now.name)
            .table(&now.name)
            .hint(format!("It was created at {}.", base::clock::shown_utc(now.created_us)))),
    }
}

/// Adds a position unless it is unknown.
pub(crate) fn at(error: Error, position: u32) -> Error {
    if position == 0 || error.position().is_some() { error } else { error.at(position) }
}

/// Refuses a name in another database.
///
/// # Errors
/// 3D000 for an unknown database, 0A000 for a real one.
pub(crate) fn check_database(context: &SystemContext, database: Option<&Ident>) -> Result<()> {
    let Some(database) = database.filter(|name| name.name != context.database.name) else {
        return Ok(());
    };
    let error = if context.state.database(&database.name).is_some() {
        Error::unsupported("cross-database references are not supported")
            .hint(format!("Connect to database \"{}\".", database.name))
    } else {
        error!(InvalidCatalogName, "database \"{}\" does not exist", database.name)
    };
    Err(at(error, database.position))
}

fn check_schema(context: &SystemContext, schema: &Ident) -> Result<()> {
    let name = &schema.name;
    let temporary = *name == "pg_temp" || *name == context.temp_schema();
    if temporary
        || Space::from_name(name).is_some()
        || context.state.schema(context.database.oid, name).is_some()
    {
        return Ok(());
    }
    let names: Vec<String> = context.namespaces().into_iter().map(|space| space.name).collect();
    let error = error!(InvalidSchemaName, "schema \"{name}\" does not exist")
        .schema(name)
        .maybe_hint(suggest::did_you_mean(name, names.iter().map(String::as_str)));
    Err(at(error, schema.position))
}
