//! Limits that keep recursion in the parser, the planner and the drop of their trees bounded.
//!
//! They are checked on the tokens, before anything recursive sees the statement, and on the plan
//! before the optimiser does: a statement beyond them gets 54001 at once.

use base::{Error, Result, error};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use sqlparser::ast::{BinaryOperator, Expr, Value};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// The deepest nesting of parentheses, brackets and CASE.
pub const NESTING_MAX: usize = 500;
/// The most terms that AND and OR may join in one list.
pub const TERMS_MAX: usize = 10_000;
/// The most operators of other kinds in one list.
pub const OPERATORS_MAX: usize = 2_000;
/// The most set operations or joins in one query level.
pub const BRANCHES_MAX: usize = 1_000;
/// The most nodes of a plan before optimisation, with views and WITH queries expanded.
pub const PLAN_NODES_MAX: usize = 50_000;
/// From this nesting on, a statement is parsed on a big stack.
pub(crate) const NESTING_SHALLOW: usize = 40;

fn too_complex(detail: String) -> Error {
    error!(StatementTooComplex, "statement too complex")
        .detail(detail)
        .hint("Put the values into a table and join it, or split the statement.")
}

/// What one level of parentheses has seen since the last comma or clause.
#[derive(Default)]
struct Level {
    terms: usize,
    operators: usize,
    branches: usize,
    prefixes: usize,
}

/// Checks the tokens of a statement against the limits and gives the deepest nesting.
///
/// # Errors
/// 54001 naming the limit.
pub(crate) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<usize> {
    let mut levels = vec![Level::default()];
    let mut deepest = 0;
    for token in tokens {
        let nested = levels.len() > 1;
        let Some(level) = levels.last_mut() else { break };
        match &token.token {
            Token::LParen | Token::LBracket => levels.push(Level::default()),
            Token::RParen | Token::RBracket if nested => {
                levels.pop();
            }
            Token::Comma => {
                let branches = level.branches;
                *level = Level { branches, ..Level::default() };
            }
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::AND | Keyword::OR => {
                    level.terms += 1;
                    level.operators = 0;
                    level.prefixes = 0;
                }
                Keyword::UNION | Keyword::EXCEPT | Keyword::MINUS | Keyword::INTERSECT => {
                    let branches = level.branches + 1;
                    *level = Level { branches, ..Level::default() };
                }
                Keyword::JOIN => level.branches += 1,
                Keyword::CASE => levels.push(Level::default()),
                Keyword::END if nested => {
                    levels.pop();
                }
                Keyword::SELECT | Keyword::WHERE | Keyword::HAVING => {
                    let branches = level.branches;
                    *level = Level { branches, ..Level::default() };
                }
                Keyword::NOT | Keyword::PRIOR => level.prefixes += 1,
                Keyword::IS | Keyword::COLLATE => level.operators += 1,
                _ => {}
            },
            Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) => {}
            Token::Period | Token::Eq | Token::SemiColon | Token::Placeholder(_) => {}
            _ => level.operators += 1,
        }
        deepest = deepest.max(levels.len());
        check_level(levels.last(), deepest)?;
    }
    Ok(deepest)
}

fn check_level(level: Option<&Level>, depth: usize) -> Result<()> {
    let Some(level) = level else { return Ok(()) };
    if depth > NESTING_MAX || level.prefixes > NESTING_MAX {
        return Err(too_complex(format!("It is nested deeper than {NESTING_MAX} levels.")));
    }
    if level.terms > TERMS_MAX {
        return Err(too_complex(format!("AND and OR join more than {TERMS_MAX} terms.")));
    }
    if level.operators > OPERATORS_MAX {
        return Err(too_complex(format!("An expression has more than {OPERATORS_MAX} operators.")));
    }
    if level.branches > BRANCHES_MAX {
        return Err(too_complex(format!(
            "A query has more than {BRANCHES_MAX} joins or branches."
        )));
    }
    Ok(())
}

/// Refuses a plan that views or WITH queries have blown up.
///
/// # Errors
/// 54001.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    let mut nodes = 0usize;
    // The closure never fails, so neither does the walk.
    let _ = plan.apply_with_subqueries(|_| {
        nodes += 1;
        Ok(if nodes > PLAN_NODES_MAX {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    if nodes > PLAN_NODES_MAX {
        return Err(too_complex(format!("Its plan has more than {PLAN_NODES_MAX} nodes.")));
    }
    Ok(())
}

/// Makes a chain of the same logical operator (`a OR b OR c …`, a tree as deep as it is long)
/// into a balanced one. AND and OR are associative in three-valued logic too.
pub(crate) fn balance(expr: &mut Expr) {
    let Expr::BinaryOp { op, left, .. } = expr else { return };
    let op = op.clone();
    if !matches!(op, BinaryOperator::And | BinaryOperator::Or) || !is_chain(left, &op) {
        return;
    }
    let mut terms = Vec::new();
    let mut rest = std::mem::replace(expr, Expr::Value(Value::Null.into()));
    loop {
        match rest {
            Expr::BinaryOp { left, op: found, right } if found == op => {
                terms.push(*right);
                rest = *left;
            }
            last => {
                terms.push(last);
                break;
            }
        }
    }
    terms.reverse();
    *expr = join(terms, &op);
}

fn is_chain(expr: &Expr, op: &BinaryOperator) -> bool {
    matches!(expr, Expr::BinaryOp { op: found, .. } if found == op)
}

/// Joins terms pairwise until one is left; the order of the terms stays.
fn join(mut terms: Vec<Expr>, op: &BinaryOperator) -> Expr {
    while terms.len() > 1 {
        let mut joined = Vec::with_capacity(terms.len().div_ceil(2));
        let mut pairs = terms.into_iter();
        while let Some(left) = pairs.next() {
            joined.push(match pairs.next() {
                Some(right) => {
                    Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) }
                }
                None => left,
            });
        }
        terms = joined;
    }
    terms.pop().unwrap_or(Expr::Value(Value::Boolean(true).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Source, tokenize};

    fn check(text: &str) -> Result<usize> {
        check_tokens(&tokenize(&Source::new(text)).unwrap())
    }

    #[test]
    fn bounds_nesting_terms_and_operators() {
        assert_eq!(check("select (1 + (2)), case when a then 1 end").unwrap(), 3);
        let terms = vec!["a = 1"; 100_000].join(" or ");
        for text in [
            format!("select 1 where {terms}"),
            format!("select {}1{}", "(".repeat(501), ")".repeat(501)),
            format!("select {} true", "not ".repeat(600)),
            format!("select 1 {}", "+ 1 ".repeat(3_000)),
            format!("select 1 {}", "::int".repeat(3_000)),
            vec!["select 1"; 2_000].join(" union all "),
        ] {
            let error = check(&text).unwrap_err();
            assert_eq!(error.sqlstate(), base::SqlState::StatementTooComplex);
        }
        let list = vec!["1"; 100_000].join(", ");
        assert!(check(&format!("select 1 where a in ({list})")).is_ok());
    }
}
