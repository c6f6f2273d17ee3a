//! ALTER TABLE.

use base::Result;

use super::cursor::Cursor;
use super::table::{column, constraint, default_expression, dist_key, dist_style, sort_key};
use super::unsupported;
use crate::ast::{AlterTable, AlterTableAction, AppendFill, DistStyle, Statement};

/// After ALTER TABLE.
pub(super) fn alter_table(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.is("if") {
        return Err(unsupported("ALTER TABLE IF EXISTS", cursor.position()));
    }
    let table = cursor.object_name()?;
    let actions = cursor.list(action)?;
    Ok(Statement::AlterTable(AlterTable { table, actions }))
}

fn action(cursor: &mut Cursor) -> Result<AlterTableAction> {
    let position = cursor.position();
    if cursor.accept("rename") {
        return rename(cursor);
    }
    if cursor.accept("add") {
        return add(cursor, position);
    }
    if cursor.accept("drop") {
        return drop_part(cursor, position);
    }
    if cursor.accept("alter") {
        return alter(cursor);
    }
    if cursor.accept_all(&["owner", "to"]) {
        return Ok(AlterTableAction::OwnerTo(cursor.ident()?));
    }
    if cursor.accept_all(&["append", "from"]) {
        let source = cursor.object_name()?;
        let fill = match cursor.one_of(&["ignoreextra", "filltarget"]) {
            Some("ignoreextra") => AppendFill::IgnoreExtra,
            Some(_) => AppendFill::FillTarget,
            None => AppendFill::Exact,
        };
        return Ok(AlterTableAction::AppendFrom { source, fill });
    }
    let refused = match cursor.one_of(&["row", "masking", "set", "partition"]) {
        Some("row") => "ALTER TABLE … ROW LEVEL SECURITY",
        Some("masking") => "ALTER TABLE … MASKING",
        Some("set") => "ALTER TABLE … SET for external tables",
        Some(_) => "ALTER TABLE … PARTITION for external tables",
        None => return Err(cursor.unexpected()),
    };
    Err(unsupported(refused, position))
}

fn rename(cursor: &mut Cursor) -> Result<AlterTableAction> {
    if cursor.accept("to") {
        return Ok(AlterTableAction::RenameTo(cursor.ident()?));
    }
    cursor.accept("column");
    let from = cursor.ident()?;
    cursor.expect("to")?;
    Ok(AlterTableAction::RenameColumn { from, to: cursor.ident()? })
}

fn add(cursor: &mut Cursor, position: u32) -> Result<AlterTableAction> {
    if cursor.is("partition") || (cursor.is("if") && cursor.is_nth(3, "partition")) {
        return Err(unsupported("ALTER TABLE … ADD PARTITION for external tables", position));
    }
    if let Some(constraint) = constraint(cursor)? {
        return Ok(AlterTableAction::AddConstraint(constraint));
    }
    cursor.accept("column");
    let if_not_exists = cursor.if_not_exists();
    Ok(AlterTableAction::AddColumn { column: Box::new(column(cursor)?), if_not_exists })
}

fn drop_part(cursor: &mut Cursor, position: u32) -> Result<AlterTableAction> {
    if cursor.is("partition") {
        return Err(unsupported("ALTER TABLE … DROP PARTITION for external tables", position));
    }
    if cursor.accept("constraint") {
        let name = cursor.ident()?;
        return Ok(AlterTableAction::DropConstraint { name, cascade: cursor.cascade() });
    }
    cursor.accept("column");
    let if_exists = cursor.if_exists();
    let column = cursor.ident()?;
    Ok(AlterTableAction::DropColumn { column, if_exists, cascade: cursor.cascade() })
}

/// After ALTER within ALTER TABLE.
fn alter(cursor: &mut Cursor) -> Result<AlterTableAction> {
    if cursor.accept("distkey") {
        let key = Some(dist_key(cursor)?);
        return Ok(AlterTableAction::DistStyle { style: DistStyle::Key, key });
    }
    if cursor.accept("diststyle") {
        let style = dist_style(cursor)?;
        let key = if cursor.accept("distkey") { Some(dist_key(cursor)?) } else { None };
        return Ok(AlterTableAction::DistStyle { style, key });
    }
    if cursor.accept_all(&["encode", "auto"]) {
        return Ok(AlterTableAction::EncodeAuto);
    }
    if let Some(key) = sort_key(cursor)? {
        return Ok(AlterTableAction::SortKey(key));
    }
    cursor.accept("column");
    let column = cursor.ident()?;
    if cursor.accept("type") || cursor.accept_all(&["set", "data", "type"]) {
        let sql_type = cursor.sql_type()?;
        if cursor.is("using") {
            return Err(unsupported("ALTER COLUMN … TYPE … USING", cursor.position()));
        }
        return Ok(AlterTableAction::ColumnType { column, sql_type });
    }
    if cursor.accept("encode") {
        return Ok(AlterTableAction::ColumnEncode { column, encode: cursor.ident()? });
    }
    if cursor.accept_all(&["set", "default"]) {
        return Ok(AlterTableAction::SetDefault { column, default: default_expression(cursor)? });
    }
    if cursor.accept_all(&["drop", "default"]) {
        return Ok(AlterTableAction::DropDefault { column });
    }
    if cursor.accept_all(&["set", "not", "null"]) {
        return Ok(AlterTableAction::SetNotNull { column });
    }
    if cursor.accept_all(&["drop", "not", "null"]) {
        return Ok(AlterTableAction::DropNotNull { column });
    }
    Err(cursor.unexpected())
}
