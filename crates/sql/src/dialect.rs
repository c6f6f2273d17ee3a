//! Redshift's dialect for sqlparser: which of its grammar is switched on, and the prefixes that
//! it does not know.

use std::any::TypeId;

use sqlparser::ast::{
    DuplicateTreatment, Expr, FunctionArguments, Ident, ObjectName, ObjectNamePart, TrimWhereField,
    UnaryOperator,
};
use sqlparser::dialect::{Dialect, RedshiftSqlDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// The one dialect.
pub static DIALECT: RedshiftDialect = RedshiftDialect { versions: false };

/// The dialect for a statement that reads tables as they were. Elsewhere `at`, `before` and
/// `changes` are names like others.
pub(crate) static VERSIONED: RedshiftDialect = RedshiftDialect { versions: true };

/// The name of the function that APPROXIMATE COUNT(DISTINCT x) becomes.
pub(crate) const APPROXIMATE_COUNT: &str = "approx_distinct";

/// Reserved words that cannot begin an expression; sqlparser would take them for names and stop
/// later, at a word that is innocent.
const NO_OPERAND: &[Keyword] = &[
    Keyword::AND,
    Keyword::AS,
    Keyword::ELSE,
    Keyword::FROM,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::IN,
    Keyword::INTO,
    Keyword::IS,
    Keyword::LIKE,
    Keyword::ON,
    Keyword::OR,
    Keyword::ORDER,
    Keyword::THEN,
    Keyword::UNION,
    Keyword::WHEN,
    Keyword::WHERE,
];

/// Redshift's grammar for sqlparser.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedshiftDialect {
    /// `table AT (…)` is known.
    versions: bool,
}

macro_rules! on {
    ($($flag:ident)*) => { $(fn $flag(&self) -> bool { true })* };
}

impl Dialect for RedshiftDialect {
    // sqlparser asks by type for what Redshift shares with PostgreSQL.
    fn dialect(&self) -> TypeId {
        TypeId::of::<RedshiftSqlDialect>()
    }

    fn is_identifier_start(&self, c: char) -> bool {
        RedshiftSqlDialect {}.is_identifier_start(c)
    }

    fn is_identifier_part(&self, c: char) -> bool {
        RedshiftSqlDialect {}.is_identifier_part(c)
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '"'
    }

    fn supports_table_versioning(&self) -> bool {
        self.versions
    }

    on! {
        allow_extract_single_quotes
        allow_extract_custom
        convert_type_before_value
        supports_bitwise_shift_operators
        supports_connect_by
        supports_filter_during_aggregation
        supports_group_by_expr
        supports_interval_options
        supports_nested_comments
        supports_outer_join_operator
        supports_select_exclude
        supports_select_wildcard_exclude
        supports_string_escape_constant
        supports_string_literal_backslash_escape
        supports_top_before_distinct
        supports_window_clause_named_window_reference
        supports_window_function_null_treatment_arg
        supports_within_after_array_aggregation
        supports_parens_around_table_factor
    }

    // `DEFAULT x NOT NULL`: NOT NULL is an attribute, never the operator of other dialects. And
    // `'a' || 1 + 2` is `a3`.
    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        let [first, second] = parser.peek_tokens_ref();
        if first.token == Token::StringConcat {
            return Some(Ok(CONCATENATION));
        }
        let is = |token: &Token, keyword| matches!(token, Token::Word(w) if w.keyword == keyword);
        (is(&first.token, Keyword::NOT) && is(&second.token, Keyword::NULL)).then_some(Ok(0))
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let next = parser.peek_token_ref();
        if let Token::Word(word) = &next.token
            && word.quote_style.is_none()
            && NO_OPERAND.contains(&word.keyword)
        {
            return Some(parser.expected_ref("an expression", next));
        }
        let [first, second] = parser.peek_tokens();
        if matches!(first, Token::PGSquareRoot | Token::PGCubeRoot | Token::AtSign) {
            return Some(prefix_operator(parser));
        }
        let Token::Word(first) = first else { return None };
        if first.keyword == Keyword::TRIM && second == Token::LParen {
            return trim_of_blanks(parser);
        }
        let Token::Word(second) = second else { return None };
        let approximate =
            first.quote_style.is_none() && first.value.eq_ignore_ascii_case("approximate");
        if !approximate {
            return None;
        }
        // The exact percentile is an approximate one too.
        let percentile = second.value.eq_ignore_ascii_case("percentile_disc");
        if !percentile && second.keyword != Keyword::COUNT {
            return None;
        }
        parser.next_token();
        Some(parser.parse_prefix().map(approximate_count))
    }
}

/// Below that of `+` and `-`, which sqlparser's dialects give 30, and above that of comparisons,
/// 20, and of bits, 21 to 24: as PostgreSQL's "any other operator".
const CONCATENATION: u8 = 25;

/// `|/ x`, `||/ x` and `@ x`.
fn prefix_operator(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    let op = match parser.next_token().token {
        Token::PGSquareRoot => UnaryOperator::PGSquareRoot,
        Token::PGCubeRoot => UnaryOperator::PGCubeRoot,
        _ => UnaryOperator::PGAbs,
    };
    let expr = Box::new(parser.parse_subexpr(CONCATENATION)?);
    Ok(Expr::UnaryOp { op, expr })
}

/// `TRIM(TRAILING FROM x)`: without the characters to take away.
fn trim_of_blanks(parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
    let [_, _, side, from] = parser.peek_tokens();
    let (Token::Word(side), Token::Word(from)) = (side, from) else { return None };
    let trim_where = match side.keyword {
        Keyword::BOTH => TrimWhereField::Both,
        Keyword::LEADING => TrimWhereField::Leading,
        Keyword::TRAILING => TrimWhereField::Trailing,
        _ => return None,
    };
    if from.keyword != Keyword::FROM {
        return None;
    }
    for _ in 0..4 {
        parser.next_token();
    }
    let parse = |parser: &mut Parser<'_>| {
        let expr = Box::new(parser.parse_expr()?);
        parser.expect_token(&Token::RParen)?;
        let (trim_what, trim_characters) = (None, None);
        Ok(Expr::Trim { trim_where: Some(trim_where), trim_what, expr, trim_characters })
    };
    Some(parse(parser))
}

/// COUNT(DISTINCT x) as its approximate form.
fn approximate_count(expr: Expr) -> Expr {
    let Expr::Function(mut function) = expr else { return expr };
    if let FunctionArguments::List(list) = &mut function.args
        && list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
    {
        list.duplicate_treatment = None;
        let name = Ident::new(APPROXIMATE_COUNT);
        function.name = ObjectName(vec![ObjectNamePart::Identifier(name)]);
    }
    Expr::Function(function)
}
