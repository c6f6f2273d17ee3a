//! ALTER TABLE.

use std::collections::HashMap;
use std::sync::Arc;

use base::client::{Outcome, Severity};
use base::segment::Datum;
use base::{Error, Result, SqlType, error};
use catalog::{Op, Relation, Table, TableChange};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlanBuilder;
use sql::ast::{AlterTable, AlterTableAction, Ident};

use super::create::found_table;
use super::definition::{self, find_column};
use super::{constant, done};
use crate::client::{ClientSession, Run};
use crate::privileges;
use crate::relations::{SessionRelations, at};

impl ClientSession {
    pub(crate) async fn alter_table(&mut self, alter: &AlterTable, run: &Run) -> Result<Outcome> {
        let relation = self.relation(&alter.table)?;
        let context = self.context()?;
        privileges::on_relation(
            &context.state,
            &context.user,
            &relation,
            catalog::Privileges::ALTER,
        )
        .or_else(|_| {
            privileges::owner(&context.user, relation.owner(), "relation", relation.name())
        })?;
        if let [AlterTableAction::AppendFrom { source, fill }] = alter.actions.as_slice() {
            let Relation::Table(table) = &relation else {
                return Err(error!(WrongObjectType, "\"{}\" is not a table", relation.name()));
            };
            return self.append_from(table, source, *fill, run).await;
        }
        for action in &alter.actions {
            // Each action sees what those before it did.
            let state = self.work.state(&self.leader.catalog);
            let Some(relation) = state.relation_by_oid(relation.oid()) else {
                return Err(error!(UndefinedTable, "the relation is gone"));
            };
            self.alter_one(&relation, action, run).await?;
        }
        done("ALTER TABLE")
    }

    async fn alter_one(
        &mut self,
        relation: &Relation,
        action: &AlterTableAction,
        run: &Run,
    ) -> Result<()> {
        let oid = relation.oid();
        match action {
            AlterTableAction::RenameTo(name) => {
                let change = TableChange::RenameTable(name.name.clone());
                return self.apply(Op::AlterTable { table: oid, change });
            }
            AlterTableAction::OwnerTo(name) => {
                let change = TableChange::SetOwner(self.user_named(name)?.oid);
                return self.apply(Op::AlterTable { table: oid, change });
            }
            _ => {}
        }
        let Relation::Table(table) = relation else {
            return Err(error!(WrongObjectType, "\"{}\" is not a table", relation.name()));
        };
        if let AlterTableAction::DistStyle { style, key } = action {
            let distribution = definition::altered_distribution(table, *style, key.as_ref())?;
            return self.redistribute(table, distribution, run).await;
        }
        if let AlterTableAction::SortKey(key) = action {
            let sort_key = definition::sort_key(table, key)?;
            return self.resort(table, sort_key, run).await;
        }
        match self.column_change(table, action).await? {
            Some(change) => self.apply(Op::AlterTable { table: oid, change }),
            None => Ok(()),
        }
    }

    /// The change of the catalog that an action on columns or constraints is; `None` when there
    /// is nothing to do.
    async fn column_change(
        &mut self,
        table: &Arc<Table>,
        action: &AlterTableAction,
    ) -> Result<Option<TableChange>> {
        Ok(Some(match action {
            AlterTableAction::RenameColumn { from, to } => TableChange::RenameColumn {
                column: find_column(table, from)?.id,
                name: to.name.clone(),
            },
            AlterTableAction::AddColumn { column, if_not_exists } => {
                if *if_not_exists && table.column(&column.name.name).is_some() {
                    self.exists_notice(&column.name, table);
                    return Ok(None);
                }
                return self.add_column(table, column).await.map(Some);
            }
            AlterTableAction::DropColumn { column, if_exists, cascade } => {
                if *if_exists && table.column(&column.name).is_none() {
                    let notice = error!(
                        SuccessfulCompletion,
                        "column \"{}\" of relation \"{}\" does not exist, skipping",
                        column.name,
                        table.name
                    );
                    self.notice(Severity::Notice, notice);
                    return Ok(None);
                }
                TableChange::DropColumn {
                    column: find_column(table, column)?.id,
                    cascade: *cascade,
                }
            }
            AlterTableAction::ColumnType { column, sql_type } => {
                let found = find_column(table, column)?;
                check_widening(found, *sql_type, column)?;
                TableChange::AlterType { column: found.id, sql_type: *sql_type }
            }
            AlterTableAction::ColumnEncode { column, encode } => {
                let found = find_column(table, column)?;
                let encode = definition::encoding(encode, found.sql_type)?;
                TableChange::SetColumnEncode { column: found.id, encode: Some(encode) }
            }
            AlterTableAction::SetDefault { column, default } => {
                let found = find_column(table, column)?;
                let (id, text) = (found.id, default.text.clone());
                let changed = catalog::Column { default: Some(text.clone()), ..found.clone() };
                self.check_defaults(&Table { columns: vec![changed], ..Table::default() })?;
                TableChange::SetColumnDefault { column: id, default: Some(text) }
            }
            AlterTableAction::DropDefault { column } => TableChange::SetColumnDefault {
                column: find_column(table, column)?.id,
                default: None,
            },
            AlterTableAction::AddConstraint(constraint) => {
                TableChange::AddConstraint(self.constraint(table, constraint)?)
            }
            AlterTableAction::DropConstraint { name, .. } => {
                TableChange::DropConstraint { name: name.name.clone() }
            }
            // Encodings are chosen by sampling unless one is declared.
            AlterTableAction::EncodeAuto => return Ok(None),
            other => return Err(refused(other)),
        }))
    }

    fn constraint(
        &mut self,
        table: &Table,
        constraint: &sql::ast::TableConstraint,
    ) -> Result<catalog::Constraint> {
        let context = self.context()?;
        let engine = Arc::clone(&self.leader.engine);
        let relations = SessionRelations::new(context, engine);
        let find = |name: &sql::ast::ObjectName| found_table(&relations, name);
        definition::constraint(table, constraint.name.as_ref(), &constraint.kind, &find)
    }

    fn exists_notice(&mut self, name: &Ident, table: &Table) {
        let notice = error!(
            DuplicateColumn,
            "column \"{}\" of relation \"{}\" already exists, skipping", name.name, table.name
        );
        self.notice(Severity::Notice, notice);
    }

    async fn add_column(
        &mut self,
        table: &Arc<Table>,
        def: &sql::ast::ColumnDef,
    ) -> Result<TableChange> {
        let fault = |error: Error| at(error, def.name.position);
        if def.distkey || def.sortkey || def.primary_key || def.unique || def.references.is_some() {
            return Err(fault(
                Error::unsupported("ADD COLUMN takes no keys and no constraints").hint(
                    "Add a constraint with ADD CONSTRAINT, a key with ALTER DISTKEY or SORTKEY.",
                ),
            ));
        }
        if def.identity.is_some() {
            return Err(fault(Error::unsupported("ADD COLUMN cannot add an identity column")));
        }
        if table.columns.len() >= definition::COLUMNS_MAX {
            return Err(error!(
                TooManyColumns,
                "tables can have at most {} columns",
                definition::COLUMNS_MAX
            ));
        }
        let column = definition::column(def, table.next_column, &table.columns)?;
        let state = self.work.state(&self.leader.catalog);
        let filled = state.table_rows(table.oid) > 0;
        if filled && !column.nullable && column.default.is_none() {
            return Err(fault(error!(
                InvalidTableDefinition,
                "ADD COLUMN of a NOT NULL column needs a default"
            )));
        }
        self.check_defaults(&Table { columns: vec![column.clone()], ..Table::default() })?;
        let fill = if filled { self.fill_value(&column).await.map_err(fault)? } else { None };
        Ok(TableChange::AddColumn(catalog::Column { fill, ..column }))
    }
}

impl ClientSession {
    /// The value that rows get which are older than the column: its default, once.
    async fn fill_value(&mut self, column: &catalog::Column) -> Result<Option<Datum>> {
        if column.default.is_none() {
            return Ok(None);
        }
        let scope = self.scope(&[])?;
        let table = Table { columns: vec![column.clone()], ..Table::default() };
        let value = base::stack::deep(|| {
            let nothing = LogicalPlanBuilder::empty(true).build();
            let nothing = nothing.map_err(|e| sql::error_from_datafusion(e, ""))?;
            let bound = scope.binder().assign(nothing, &table, &[])?;
            let plan = bound.with_values(&[], &HashMap::new(), &scope.options)?;
            let rows = constant::checked_rows(&plan, &table)?;
            let value = rows.map(|rows| ScalarValue::try_from_array(rows.column(0), 0));
            value.transpose().map_err(|e| sql::error_from_datafusion(e, ""))
        })?;
        let refused = || {
            Error::unsupported(format!(
                "ADD COLUMN with this default for \"{}\" is not supported on a table with rows",
                column.name
            ))
            .hint("Add the column without a default, then UPDATE it.")
        };
        let value = value.ok_or_else(refused)?;
        if value.is_null() {
            return Ok(None);
        }
        datum(&value).map(Some).ok_or_else(refused)
    }
}

/// A value as statistics and fills have it.
fn datum(value: &ScalarValue) -> Option<Datum> {
    use ScalarValue as S;
    Some(match value {
        S::Boolean(Some(v)) => Datum::Int(i128::from(*v)),
        S::Int16(Some(v)) => Datum::Int(i128::from(*v)),
        S::Int32(Some(v)) | S::Date32(Some(v)) => Datum::Int(i128::from(*v)),
        S::Int64(Some(v)) | S::Time64Microsecond(Some(v)) | S::TimestampMicrosecond(Some(v), _) => {
            Datum::Int(i128::from(*v))
        }
        S::Decimal128(Some(v), ..) => Datum::Int(*v),
        S::Float32(Some(v)) => Datum::Float(f64::from(*v)),
        S::Float64(Some(v)) => Datum::Float(*v),
        S::Utf8(Some(v)) | S::LargeUtf8(Some(v)) | S::Utf8View(Some(v)) => Datum::Text(v.clone()),
        S::Binary(Some(v)) | S::LargeBinary(Some(v)) | S::BinaryView(Some(v)) => {
            Datum::Bytes(v.clone())
        }
        _ => return None,
    })
}

/// Only a VARCHAR may change its type, and only to a longer one.
fn check_widening(column: &catalog::Column, to: SqlType, name: &Ident) -> Result<()> {
    let to = to.checked()?;
    match (column.sql_type, to) {
        (SqlType::Varchar(old), SqlType::Varchar(new)) if new >= old => Ok(()),
        (SqlType::Varchar(old), SqlType::Varchar(_)) => Err(at(
            error!(
                FeatureNotSupported,
                "cannot reduce the length of column \"{}\" below {old}", column.name
            ),
            name.position,
        )),
        (old, _) => Err(at(
            error!(
                FeatureNotSupported,
                "cannot alter type of column \"{}\" from {old} to {to}", column.name
            )
            .hint("Only a VARCHAR can change, to a longer VARCHAR."),
            name.position,
        )),
    }
}

fn refused(action: &AlterTableAction) -> Error {
    match action {
        AlterTableAction::SetNotNull { .. } | AlterTableAction::DropNotNull { .. } => {
            Error::unsupported("ALTER COLUMN SET or DROP NOT NULL is not supported")
                .hint("Nullability is fixed when a column is made.")
        }
        AlterTableAction::AppendFrom { .. } => {
            error!(SyntaxError, "ALTER TABLE APPEND stands alone")
        }
        _ => Error::unsupported("this ALTER TABLE action is not supported"),
    }
}
