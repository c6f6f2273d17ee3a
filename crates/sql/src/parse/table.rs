//! CREATE TABLE, CREATE TABLE AS, CREATE VIEW, DROP and TRUNCATE.

use base::{Result, error};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use crate::ast::{
    AtClause, CloneTable, Collation, ColumnDef, ConstraintKind, CreateTable, CreateTableAs,
    CreateView, DistStyle, Drop, Ident, IdentityDef, ObjectName, References, SortKey, Statement,
    TableAttributes, TableConstraint, TableElement, Truncate,
};

/// After CREATE [TEMP] TABLE.
pub(super) fn create_table(cursor: &mut Cursor, temporary: bool) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.object_name()?;
    let temporary = temporary || name.is_temporary_form();
    if cursor.is("clone") {
        return clone_table(cursor, name, temporary, if_not_exists);
    }
    let mut elements = Vec::new();
    let mut listed = false;
    // `(a, b) AS` is a list of names, `(LIKE t)` and `(a int)` are definitions.
    let mut columns = Vec::new();
    if *cursor.peek() == Token::LParen {
        if names_only(cursor) {
            columns = cursor.ident_list()?;
        } else {
            listed = true;
            cursor.expect_symbol(&Token::LParen)?;
            elements = cursor.list(element)?;
            cursor.expect_symbol(&Token::RParen)?;
        }
    }
    if cursor.is("using") {
        return Err(super::unsupported("CREATE TABLE … USING", cursor.position()));
    }
    let attributes = attributes(cursor)?;
    if !listed && cursor.accept("as") {
        let query = cursor.query()?;
        let with_data = !cursor.accept_all(&["with", "no", "data"]);
        cursor.accept_all(&["with", "data"]);
        return Ok(Statement::CreateTableAs(CreateTableAs {
            name,
            temporary,
            if_not_exists,
            columns,
            attributes,
            query,
            with_data,
        }));
    }
    if !listed {
        return Err(cursor.unexpected());
    }
    Ok(Statement::CreateTable(CreateTable { name, temporary, if_not_exists, elements, attributes }))
}

/// From CLONE on.
fn clone_table(
    cursor: &mut Cursor,
    name: ObjectName,
    temporary: bool,
    if_not_exists: bool,
) -> Result<Statement> {
    cursor.expect("clone")?;
    let source = cursor.object_name()?;
    let at = if cursor.accept("at") { Some(at_clause(cursor)?) } else { None };
    Ok(Statement::CloneTable(CloneTable { name, temporary, if_not_exists, source, at }))
}

/// After AT: `(TIMESTAMP => expression)`, `(TIMESTAMP '…')` or `(SNAPSHOT => number)`.
fn at_clause(cursor: &mut Cursor) -> Result<AtClause> {
    cursor.expect_symbol(&Token::LParen)?;
    if cursor.is("timestamp") && matches!(cursor.peek_nth(1), Token::SingleQuotedString(_)) {
        let at = AtClause::Timestamp(cursor.expression()?);
        cursor.expect_symbol(&Token::RParen)?;
        return Ok(at);
    }
    let word = cursor.one_of(&["timestamp", "snapshot"]).ok_or_else(|| cursor.unexpected())?;
    cursor.expect_symbol(&Token::RArrow)?;
    let at = match word {
        "timestamp" => AtClause::Timestamp(cursor.expression()?),
        _ => AtClause::Snapshot(cursor.unsigned()?),
    };
    cursor.expect_symbol(&Token::RParen)?;
    Ok(at)
}

/// The parentheses hold nothing but names: `(a)` or `(a, …`.
fn names_only(cursor: &Cursor) -> bool {
    matches!(cursor.peek_nth(1), Token::Word(_))
        && matches!(cursor.peek_nth(2), Token::Comma | Token::RParen)
}

fn element(cursor: &mut Cursor) -> Result<TableElement> {
    if cursor.accept("like") {
        let table = cursor.object_name()?;
        let including_defaults = match cursor.one_of(&["including", "excluding"]) {
            Some(word) => {
                cursor.expect("defaults")?;
                word == "including"
            }
            None => false,
        };
        return Ok(TableElement::Like { table, including_defaults });
    }
    match constraint(cursor)? {
        Some(constraint) => Ok(TableElement::Constraint(constraint)),
        None => Ok(TableElement::Column(column(cursor)?)),
    }
}

/// A table constraint when one is next.
pub(super) fn constraint(cursor: &mut Cursor) -> Result<Option<TableConstraint>> {
    let named = cursor.is("constraint");
    let name = if cursor.accept("constraint") { Some(cursor.ident()?) } else { None };
    let list_follows = |cursor: &Cursor, n: usize| *cursor.peek_nth(n) == Token::LParen;
    let kind = if cursor.is("unique") && list_follows(cursor, 1) {
        cursor.next();
        ConstraintKind::Unique(cursor.ident_list()?)
    } else if cursor.accept_all(&["primary", "key"]) {
        ConstraintKind::PrimaryKey(cursor.ident_list()?)
    } else if cursor.accept_all(&["foreign", "key"]) {
        let columns = cursor.ident_list()?;
        cursor.expect("references")?;
        ConstraintKind::ForeignKey { columns, references: references(cursor)? }
    } else if cursor.is("check") && (named || list_follows(cursor, 1)) {
        return Err(super::unsupported("CHECK constraint", cursor.position()));
    } else if named {
        return Err(cursor.unexpected());
    } else {
        return Ok(None);
    };
    Ok(Some(TableConstraint { name, kind }))
}

/// After REFERENCES.
fn references(cursor: &mut Cursor) -> Result<References> {
    let table = cursor.object_name()?;
    let columns = cursor.optional_ident_list()?;
    Ok(References { table, columns })
}

/// A column definition.
pub(super) fn column(cursor: &mut Cursor) -> Result<ColumnDef> {
    let name = cursor.ident()?;
    let mut column = ColumnDef {
        name,
        sql_type: cursor.sql_type()?,
        default: None,
        identity: None,
        encode: None,
        distkey: false,
        sortkey: false,
        collate: None,
        not_null: false,
        unique: false,
        primary_key: false,
        references: None,
    };
    if *cursor.peek() == Token::LBracket {
        return Err(super::unsupported("array column", cursor.position()));
    }
    while column_attribute(cursor, &mut column)? {}
    Ok(column)
}

/// Takes one attribute of a column; false when none is next.
fn column_attribute(cursor: &mut Cursor, column: &mut ColumnDef) -> Result<bool> {
    let position = cursor.position();
    let twice = |what: &str| error!(SyntaxError, "{what} is given twice for a column").at(position);
    if cursor.accept("default") {
        if column.default.is_some() {
            return Err(twice("DEFAULT"));
        }
        column.default = Some(default_expression(cursor)?);
    } else if cursor.accept("identity") {
        column.identity = Some(identity(cursor, false)?);
    } else if cursor.accept("generated") {
        cursor.expect_all(&["by", "default", "as", "identity"])?;
        column.identity = Some(identity(cursor, true)?);
    } else if cursor.accept("encode") {
        if column.encode.is_some() {
            return Err(twice("ENCODE"));
        }
        column.encode = Some(cursor.ident()?);
    } else if cursor.accept("distkey") {
        column.distkey = true;
    } else if cursor.accept("sortkey") {
        column.sortkey = true;
    } else if cursor.accept("collate") {
        column.collate = Some(collation(cursor)?);
    } else if cursor.accept_all(&["not", "null"]) {
        column.not_null = true;
    } else if cursor.accept("null") {
        if column.not_null {
            return Err(error!(SyntaxError, "conflicting NULL/NOT NULL for a column").at(position));
        }
    } else if cursor.accept("unique") {
        column.unique = true;
    } else if cursor.accept_all(&["primary", "key"]) {
        column.primary_key = true;
    } else if cursor.accept("references") {
        column.references = Some(references(cursor)?);
    } else if cursor.is("check") {
        return Err(super::unsupported("CHECK constraint", position));
    } else if cursor.accept("constraint") {
        // The name of a column constraint is kept by no catalog of Redshift's either.
        cursor.ident()?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// The expression of DEFAULT. NOT NULL after it is an attribute, not an operator, and the parser
/// of expressions takes neither for one.
pub(super) fn default_expression(cursor: &mut Cursor) -> Result<crate::ast::Expression> {
    cursor.expression()
}

fn identity(cursor: &mut Cursor, by_default: bool) -> Result<IdentityDef> {
    cursor.expect_symbol(&Token::LParen)?;
    let seed = cursor.signed()?;
    cursor.expect_symbol(&Token::Comma)?;
    let position = cursor.position();
    let step = cursor.signed()?;
    cursor.expect_symbol(&Token::RParen)?;
    if step == 0 {
        return Err(error!(InvalidParameterValue, "IDENTITY step must not be zero").at(position));
    }
    Ok(IdentityDef { seed, step, by_default })
}

/// `CASE_SENSITIVE`, `CS`, `CASE_INSENSITIVE` or `CI`.
pub(super) fn collation(cursor: &mut Cursor) -> Result<Collation> {
    match cursor.one_of(&["case_sensitive", "cs", "case_insensitive", "ci"]) {
        Some("case_sensitive" | "cs") => Ok(Collation::CaseSensitive),
        Some(_) => Ok(Collation::CaseInsensitive),
        None => Err(cursor.unexpected()),
    }
}

/// The attributes after the column list, in any order.
pub(super) fn attributes(cursor: &mut Cursor) -> Result<TableAttributes> {
    let mut attributes = TableAttributes::default();
    loop {
        let position = cursor.position();
        let twice =
            |what: &str| error!(SyntaxError, "{what} is given twice for a table").at(position);
        if cursor.accept("backup") {
            attributes.backup = Some(yes_no(cursor)?);
        } else if cursor.accept("diststyle") {
            if attributes.dist_style.replace(dist_style(cursor)?).is_some() {
                return Err(twice("DISTSTYLE"));
            }
        } else if cursor.accept("distkey") {
            if attributes.dist_key.replace(dist_key(cursor)?).is_some() {
                return Err(twice("DISTKEY"));
            }
        } else if let Some(sort_key) = sort_key(cursor)? {
            if attributes.sort_key.replace(sort_key).is_some() {
                return Err(twice("SORTKEY"));
            }
        } else if cursor.accept_all(&["encode", "auto"]) {
            attributes.encode_auto = true;
        } else {
            return Ok(attributes);
        }
    }
}

fn yes_no(cursor: &mut Cursor) -> Result<bool> {
    match cursor.one_of(&["yes", "no"]) {
        Some(word) => Ok(word == "yes"),
        None => Err(cursor.unexpected()),
    }
}

/// After DISTSTYLE.
pub(super) fn dist_style(cursor: &mut Cursor) -> Result<DistStyle> {
    match cursor.one_of(&["auto", "even", "key", "all"]) {
        Some("auto") => Ok(DistStyle::Auto),
        Some("even") => Ok(DistStyle::Even),
        Some("key") => Ok(DistStyle::Key),
        Some(_) => Ok(DistStyle::All),
        None => Err(cursor.unexpected()),
    }
}

/// After DISTKEY: `(c)` or `c`.
pub(super) fn dist_key(cursor: &mut Cursor) -> Result<Ident> {
    let parenthesised = cursor.symbol(&Token::LParen);
    let name = cursor.ident()?;
    if parenthesised {
        cursor.expect_symbol(&Token::RParen)?;
    }
    Ok(name)
}

/// `[COMPOUND|INTERLEAVED] SORTKEY (…)`, `SORTKEY AUTO` or `SORTKEY NONE` when it is next.
pub(super) fn sort_key(cursor: &mut Cursor) -> Result<Option<SortKey>> {
    let kind = cursor.one_of(&["compound", "interleaved"]);
    if !cursor.accept("sortkey") {
        return if kind.is_some() { Err(cursor.unexpected()) } else { Ok(None) };
    }
    if kind.is_none() {
        match cursor.one_of(&["auto", "none"]) {
            Some("auto") => return Ok(Some(SortKey::Auto)),
            Some(_) => return Ok(Some(SortKey::None)),
            None => {}
        }
    }
    let columns =
        if *cursor.peek() == Token::LParen { cursor.ident_list()? } else { vec![cursor.ident()?] };
    Ok(Some(match kind {
        Some("interleaved") => SortKey::Interleaved(columns),
        _ => SortKey::Compound(columns),
    }))
}

/// After CREATE [OR REPLACE] VIEW.
pub(super) fn create_view(cursor: &mut Cursor, or_replace: bool) -> Result<Statement> {
    let name = cursor.object_name()?;
    let columns = cursor.optional_ident_list()?;
    cursor.expect("as")?;
    let query = cursor.query()?;
    let late_binding = cursor.accept_all(&["with", "no", "schema", "binding"]);
    Ok(Statement::CreateView(CreateView { name, or_replace, columns, query, late_binding }))
}

/// After DROP TABLE, VIEW or SCHEMA.
pub(super) fn drop_objects(cursor: &mut Cursor) -> Result<Drop> {
    let if_exists = cursor.if_exists();
    let names = cursor.list(Cursor::object_name)?;
    if cursor.is("drop") {
        return Err(super::unsupported("DROP EXTERNAL DATABASE", cursor.position()));
    }
    let cascade = cursor.cascade();
    Ok(Drop { names, if_exists, cascade })
}

/// After TRUNCATE.
pub(super) fn truncate(cursor: &mut Cursor) -> Result<Statement> {
    cursor.accept("table");
    Ok(Statement::Truncate(Truncate { table: cursor.object_name()? }))
}
