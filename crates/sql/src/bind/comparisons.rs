//! Comparisons that the planner does not know, made into those that it does: of rows, and LIKE
//! with an escape character of its own. Operators that are functions under another sign.

use base::{Error, Result, error};
use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};
use sqlparser::tokenizer::Span;

use super::rewrite::{call, number, text};

/// Rewrites one expression, not those within it.
///
/// # Errors
/// 42601 for rows of different sizes, 22025 for an escape that is no single character, 0A000 for
/// one beside a pattern that is no literal.
pub(super) fn rewrite(expr: &mut Expr) -> Result<()> {
    let made = match expr {
        Expr::BinaryOp { left, op, right } => match (left.as_ref(), right.as_ref()) {
            (Expr::Tuple(left), Expr::Tuple(right)) => rows(left, op, right)?,
            _ => None,
        },
        Expr::InList { expr: row, list, negated } => match row.as_ref() {
            Expr::Tuple(row) => Some(row_in_list(row, list, *negated)?),
            _ => None,
        },
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            if let Some(escape) = escape_char.take() {
                **pattern = escaped(pattern, &escape.value)?;
            }
            None
        }
        Expr::UnaryOp { op, expr: inner } => operator(*op, inner),
        _ => None,
    };
    if let Some(made) = made {
        *expr = made;
    }
    Ok(())
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, number("0"))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

/// Two rows compared, from the left to the first pair that decides.
fn rows(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Option<Expr>> {
    let (each, joined) = match op {
        BinaryOperator::Eq => (BinaryOperator::Eq, BinaryOperator::And),
        BinaryOperator::NotEq => (BinaryOperator::NotEq, BinaryOperator::Or),
        BinaryOperator::Lt | BinaryOperator::LtEq => (BinaryOperator::Lt, op.clone()),
        BinaryOperator::Gt | BinaryOperator::GtEq => (BinaryOperator::Gt, op.clone()),
        _ => return Ok(None),
    };
    if left.len() != right.len() {
        return Err(error!(SyntaxError, "unequal number of entries in row expressions"));
    }
    let mut pairs = left.iter().zip(right).rev();
    let Some((left, right)) = pairs.next() else { return Ok(None) };
    let is_alike = matches!(joined, BinaryOperator::And | BinaryOperator::Or);
    let last =
        binary(left.clone(), if is_alike { each.clone() } else { op.clone() }, right.clone());
    let whole = pairs.fold(last, |rest, (left, right)| {
        let pair = binary(left.clone(), each.clone(), right.clone());
        if is_alike {
            return binary(pair, joined.clone(), rest);
        }
        let equal = binary(left.clone(), BinaryOperator::Eq, right.clone());
        let then = nested(binary(equal, BinaryOperator::And, nested(rest)));
        binary(pair, BinaryOperator::Or, then)
    });
    Ok(Some(nested(whole)))
}

fn row_in_list(row: &[Expr], list: &[Expr], negated: bool) -> Result<Expr> {
    let mut equal = list.iter().map(|other| match other {
        Expr::Tuple(other) => Ok(rows(row, &BinaryOperator::Eq, other)?),
        _ => Err(error!(SyntaxError, "unequal number of entries in row expressions")),
    });
    let first = equal.next().transpose()?.flatten();
    let whole = equal.try_fold(first, |whole, one| -> Result<Option<Expr>> {
        Ok(whole.zip(one?).map(|(whole, one)| binary(whole, BinaryOperator::Or, one)))
    })?;
    let whole = nested(whole.ok_or_else(|| error!(SyntaxError, "a row has no columns"))?);
    Ok(match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(whole) },
        false => whole,
    })
}

/// A pattern with the escape character that patterns have without one: the backslash.
fn escaped(pattern: &Expr, escape: &Value) -> Result<Expr> {
    let Value::SingleQuotedString(escape) = escape else {
        return Err(Error::unsupported("ESCAPE with anything but a literal is not supported"));
    };
    let mut letters = escape.chars();
    let (first, more) = (letters.next(), letters.next());
    if more.is_some() {
        return Err(error!(InvalidEscapeSequence, "invalid escape string")
            .hint("Escape string must be empty or one character."));
    }
    if first == Some('\\') {
        return Ok(pattern.clone());
    }
    let literal = match pattern {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(literal) => literal,
            _ => return Ok(pattern.clone()),
        },
        _ => {
            return Err(Error::unsupported(
                "LIKE with ESCAPE and a pattern that is no literal is not supported",
            )
            .hint("Without ESCAPE the backslash escapes."));
        }
    };
    let mut made = String::with_capacity(literal.len() + 2);
    let mut rest = literal.chars();
    while let Some(c) = rest.next() {
        let plain = if Some(c) == first { rest.next() } else { None };
        match plain {
            Some(plain) => made.extend(['\\', plain]),
            None if Some(c) == first => {
                return Err(error!(
                    InvalidEscapeSequence,
                    "LIKE pattern must not end with escape character"
                ));
            }
            None if c == '\\' => made.push_str("\\\\"),
            None => made.push(c),
        }
    }
    Ok(text(&made))
}

fn operator(op: UnaryOperator, inner: &mut Box<Expr>) -> Option<Expr> {
    let name = match op {
        UnaryOperator::PGSquareRoot => "sqrt",
        UnaryOperator::PGCubeRoot => "cbrt",
        UnaryOperator::PGAbs => "abs",
        UnaryOperator::BitwiseNot => {
            return Some(nested(binary(take(inner), BinaryOperator::PGBitwiseXor, number("-1"))));
        }
        UnaryOperator::Minus if matches!(inner.as_ref(), Expr::Interval(_)) => {
            return Some(nested(binary(take(inner), BinaryOperator::Multiply, number("-1"))));
        }
        _ => return None,
    };
    Some(call(name, vec![take(inner)], Span::empty()))
}
