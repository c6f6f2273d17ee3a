//! ALTER TABLE APPEND: the rows of one table become those of another.
//!
//! Where the tables are laid out alike the segments change hands and no row is read; otherwise
//! the rows are written again.

use std::collections::HashMap;
use std::sync::Arc;

use base::client::Outcome;
use base::segment::Segment;
use base::{Error, Result, error};
use catalog::{Column, DistStyle, Op, Privileges, Relation, SortKey, Table};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use sql::ast::{AppendFill, ObjectName};

use super::done;
use crate::client::{ClientSession, Run};
use crate::privileges;
use crate::relations::at;

impl ClientSession {
    pub(crate) async fn append_from(
        &mut self,
        target: &Arc<Table>,
        source: &ObjectName,
        fill: AppendFill,
        run: &Run,
    ) -> Result<Outcome> {
        self.work.must_be_alone("ALTER TABLE APPEND")?;
        let relation = self.relation(source)?;
        let context = self.context()?;
        for needed in [Privileges::SELECT, Privileges::DELETE] {
            privileges::on_relation(&context.state, &context.user, &relation, needed)?;
        }
        let fault = |error: Error| at(error, source.position());
        let Relation::Table(from) = relation else {
            return Err(fault(error!(WrongObjectType, "\"{}\" is not a table", relation.name())));
        };
        check(target, &from, fill).map_err(fault)?;
        let segments = self.work.state(&self.leader.catalog).segments(from.oid);
        if segments.is_empty() {
            return done("ALTER TABLE APPEND");
        }
        run.count(segments.iter().map(|segment| segment.live_rows()).sum());
        if is_alike(target, &from) {
            let moved = segments.iter().map(|one| Segment::clone(one)).collect();
            self.apply(Op::RemoveAllSegments { table: from.oid })?;
            let identity_next = Vec::new();
            self.apply(Op::AddSegments { table: target.oid, segments: moved, identity_next })?;
        } else {
            self.copy_rows(target, &from, segments, run).await?;
            self.apply(Op::RemoveAllSegments { table: from.oid })?;
        }
        self.leader.upkeep.touched(target.oid);
        done("ALTER TABLE APPEND")
    }

    /// Writes the rows again, columns by their names.
    async fn copy_rows(
        &mut self,
        target: &Arc<Table>,
        from: &Arc<Table>,
        segments: Arc<[Arc<Segment>]>,
        run: &Run,
    ) -> Result<()> {
        let common: Vec<(usize, usize)> = from
            .columns
            .iter()
            .enumerate()
            .filter_map(|(n, column)| Some((n, place(target, &column.name)?)))
            .collect();
        let (read, listed): (Vec<usize>, Vec<usize>) = common.into_iter().unzip();
        let provider = self.leader.engine.table(Arc::clone(from), segments);
        let plan = LogicalPlanBuilder::scan("source", provider_as_source(provider), Some(read))
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| sql::error_from_datafusion(e, ""))?;
        let scope = self.scope(&[])?;
        let plan = base::stack::deep(|| {
            let bound = scope.binder().assign(plan, target, &listed)?;
            bound.with_values(&[], &HashMap::new(), &scope.options)
        })?;
        let written = self.write(plan, target, run).await?;
        let (table, segments) = (target.oid, written.segments);
        self.apply(Op::AddSegments { table, segments, identity_next: Vec::new() })
    }
}

fn place(table: &Table, name: &str) -> Option<usize> {
    table.columns.iter().position(|column| column.name == name)
}

/// Requires that the rows of one table can be rows of the other.
fn check(target: &Table, from: &Table, fill: AppendFill) -> Result<()> {
    if target.oid == from.oid {
        return Err(error!(InvalidParameterValue, "a table cannot be appended to itself"));
    }
    if target.temporary.is_some() || from.temporary.is_some() {
        return Err(error!(WrongObjectType, "ALTER TABLE APPEND takes permanent tables only"));
    }
    let numbered = |table: &Table| table.columns.iter().any(|column| column.identity.is_some());
    if numbered(target) || numbered(from) {
        return Err(Error::unsupported(
            "ALTER TABLE APPEND with an identity column is not supported",
        )
        .hint("Use INSERT INTO ... SELECT."));
    }
    let style = |table: &Table| match table.distribution.declared {
        DistStyle::Key(id) => format!("KEY({})", name_of(table, id)),
        other => format!("{other:?}"),
    };
    if style(target) != style(from) || sort_key(target) != sort_key(from) {
        return Err(error!(
            FeatureNotSupported,
            "tables \"{}\" and \"{}\" differ in distribution or sort key", target.name, from.name
        )
        .hint("Use INSERT INTO ... SELECT."));
    }
    for column in &from.columns {
        match target.column(&column.name) {
            Some(other) if is_same(other, column) => {}
            None if fill == AppendFill::IgnoreExtra => {}
            found => return Err(misfit(&column.name, found.is_some(), target, from)),
        }
    }
    let missing = target.columns.iter().find(|column| from.column(&column.name).is_none());
    match missing {
        Some(column) if fill != AppendFill::FillTarget => {
            Err(misfit(&column.name, false, from, target))
        }
        _ => Ok(()),
    }
}

fn misfit(column: &str, typed: bool, table: &Table, other: &Table) -> Error {
    let error = if typed {
        error!(
            DatatypeMismatch,
            "column \"{column}\" differs between \"{}\" and \"{}\"", table.name, other.name
        )
        .detail("Type, nullability and encoding have to be the same.")
    } else {
        error!(UndefinedColumn, "column \"{column}\" is not in table \"{}\"", table.name)
            .hint("IGNOREEXTRA leaves columns of the source out, FILLTARGET fills those missing.")
    };
    error.column(column)
}

fn is_same(one: &Column, other: &Column) -> bool {
    one.sql_type == other.sql_type
        && one.nullable == other.nullable
        && one.encode == other.encode
        && one.case_insensitive == other.case_insensitive
}

fn name_of(table: &Table, id: base::ids::ColumnId) -> &str {
    table.column_by_id(id).map_or("", |column| column.name.as_str())
}

fn sort_key(table: &Table) -> (&'static str, Vec<&str>) {
    let kind = match &table.sort_key {
        SortKey::None => "none",
        SortKey::Auto => "auto",
        SortKey::Compound(_) => "compound",
        SortKey::Interleaved(_) => "interleaved",
    };
    (kind, table.sort_key.columns().iter().map(|id| name_of(table, *id)).collect())
}

/// True when segments of one table read as segments of the other: every column has the same id,
/// and lies where it would.
fn is_alike(target: &Table, from: &Table) -> bool {
    let same = |(one, other): (&Column, &Column)| {
        one.id == other.id && one.name == other.name && one.fill == other.fill
    };
    target.columns.len() == from.columns.len()
        && target.columns.iter().zip(&from.columns).all(same)
        && target.next_column == from.next_column
        && target.distribution.effective == from.distribution.effective
}

#[cfg(test)]
mod tests {
    use base::ids::{ColumnId, Oid};
    use base::{SqlState, SqlType};

    use super::*;

    fn table(oid: u32, names: &[&str]) -> Table {
        let column = |(n, name): (usize, &&str)| Column {
            id: ColumnId(n as u32 + 1),
            name: (*name).to_owned(),
            sql_type: SqlType::Integer,
            nullable: true,
            default: None,
            identity: None,
            encode: None,
            case_insensitive: false,
            comment: None,
            fill: None,
        };
        Table {
            oid: Oid(oid),
            columns: names.iter().enumerate().map(column).collect(),
            next_column: ColumnId(names.len() as u32 + 1),
            ..Table::default()
        }
    }

    #[test]
    fn columns_have_to_line_up() {
        let (target, same) = (table(1, &["a", "b"]), table(2, &["a", "b"]));
        assert!(check(&target, &same, AppendFill::Exact).is_ok() && is_alike(&target, &same));
        // The same columns in another order lie elsewhere in the files.
        let turned = table(2, &["b", "a"]);
        assert!(check(&target, &turned, AppendFill::Exact).is_ok() && !is_alike(&target, &turned));
        let more = table(2, &["a", "b", "c"]);
        let error = check(&target, &more, AppendFill::FillTarget).unwrap_err();
        assert_eq!(error.sqlstate(), SqlState::UndefinedColumn);
        assert!(check(&target, &more, AppendFill::IgnoreExtra).is_ok());
        let less = table(2, &["a"]);
        assert!(check(&target, &less, AppendFill::IgnoreExtra).is_err());
        assert!(check(&target, &less, AppendFill::FillTarget).is_ok());
        assert!(check(&target, &target, AppendFill::Exact).is_err());
    }
}
