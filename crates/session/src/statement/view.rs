//! CREATE VIEW.

use std::sync::Arc;

use base::client::Outcome;
use base::{Error, Result, SqlType, error};
use catalog::{Op, Relation, View, ViewColumn};
use sql::ast::CreateView;

use super::done;
use crate::client::ClientSession;
use crate::privileges;
use crate::relations::at;

impl ClientSession {
    pub(crate) async fn create_view(&mut self, create: &CreateView) -> Result<Outcome> {
        let context = self.context()?;
        let target = self.target(&context, &create.name, create.name.is_temporary_form())?;
        if target.temporary.is_some() {
            return Err(at(
                Error::unsupported("temporary views are not supported"),
                create.name.position(),
            ));
        }
        let (columns, depends_on) = if create.late_binding {
            (late_columns(create), Vec::new())
        } else {
            self.bound_columns(create).await?
        };
        let existing = context.state.relation(target.schema, &target.name);
        let view = View {
            oid: match &existing {
                Some(relation) if create.or_replace => relation.oid(),
                _ => self.work.transaction(&self.leader.catalog).new_oid(),
            },
            schema: target.schema,
            name: target.name.clone(),
            owner: context.user.oid,
            sql: create.query.text.trim().trim_end_matches(';').to_owned(),
            columns,
            late_binding: create.late_binding,
            search_path: context.search_path.clone(),
            depends_on,
            created_us: base::clock::now_us(),
        };
        match existing {
            None => self.apply(Op::CreateView(view))?,
            Some(Relation::View(old)) if create.or_replace => {
                privileges::owner(&context.user, old.owner, "view", &old.name)?;
                let owner = old.owner;
                self.apply(Op::ReplaceView(View { owner, ..view }))?;
            }
            Some(Relation::Table(table)) if create.or_replace => {
                return Err(at(
                    error!(WrongObjectType, "\"{}\" is not a view", table.name),
                    create.name.position(),
                ));
            }
            Some(_) => {
                return Err(at(
                    error!(DuplicateTable, "relation \"{}\" already exists", target.name)
                        .table(&target.name)
                        .schema(&target.schema_name),
                    create.name.position(),
                ));
            }
        }
        done("CREATE VIEW")
    }

    /// Binds the view's query for its columns and what it depends on.
    async fn bound_columns(
        &mut self,
        create: &CreateView,
    ) -> Result<(Vec<ViewColumn>, Vec<base::ids::Oid>)> {
        let fresh = self.bind_query(&create.query, &[]).await?;
        if !fresh.bound.parameters.is_empty() {
            return Err(error!(UndefinedParameter, "views cannot have parameters"));
        }
        if create.columns.len() > fresh.columns.len() {
            return Err(error!(
                InvalidTableDefinition,
                "CREATE VIEW specifies more column names than columns"
            ));
        }
        let mut columns: Vec<ViewColumn> = Vec::with_capacity(fresh.columns.len());
        for (i, column) in fresh.columns.iter().enumerate() {
            let name = create.columns.get(i).map_or(&column.name, |name| &name.name).clone();
            if columns.iter().any(|other| other.name == name) {
                return Err(error!(DuplicateColumn, "column \"{name}\" specified more than once"));
            }
            let sql_type = match column.sql_type {
                SqlType::Unknown => SqlType::Varchar(256),
                other => other,
            };
            columns.push(ViewColumn { name, sql_type });
        }
        let state = Arc::clone(&self.context()?.state);
        let mut depends_on = Vec::new();
        for used in fresh.bound.relations.iter().filter(|used| used.through.is_none()) {
            if state.routine_by_oid(used.oid).is_some() && !depends_on.contains(&used.oid) {
                depends_on.push(used.oid);
            }
            let Some(relation) = state.relation_by_oid(used.oid) else { continue };
            if relation.table().is_some_and(|table| table.temporary.is_some()) {
                return Err(Error::unsupported(format!(
                    "a view cannot depend on the temporary table \"{}\"",
                    relation.name()
                )));
            }
            if !depends_on.contains(&used.oid) {
                depends_on.push(used.oid);
            }
        }
        Ok((columns, depends_on))
    }
}

/// A late-binding view knows only the names that its column list gives.
fn late_columns(create: &CreateView) -> Vec<ViewColumn> {
    let names = create.columns.iter();
    names
        .map(|name| ViewColumn { name: name.name.clone(), sql_type: SqlType::Varchar(65_535) })
        .collect()
}
