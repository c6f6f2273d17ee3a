//! Expressions of a plan as text that a reader of SQL knows.

use std::sync::Arc;

use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalExprRef};

/// An expression without the positions that the planner adds to names.
pub(super) fn text(expr: &Arc<dyn PhysicalExpr>) -> String {
    without_positions(&expr.to_string())
}

/// Removes `@` and the number after it where they follow a name.
fn without_positions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        if character == '\'' {
            quoted = !quoted;
        }
        let number = characters.peek().is_some_and(char::is_ascii_digit);
        if character == '@' && number && !quoted {
            while characters.peek().is_some_and(char::is_ascii_digit) {
                characters.next();
            }
            continue;
        }
        out.push(character);
    }
    out
}

/// `("outer".a = "inner".b)`; the pairs are of the left and the right input.
pub(super) fn condition(on: &[(PhysicalExprRef, PhysicalExprRef)], left_is_inner: bool) -> String {
    let pair = |(left, right): &(PhysicalExprRef, PhysicalExprRef)| {
        let (outer, inner) = if left_is_inner { (right, left) } else { (left, right) };
        format!("(\"outer\".{} = \"inner\".{})", text(outer), text(inner))
    };
    match on {
        [only] => pair(only),
        many => format!("({})", many.iter().map(pair).collect::<Vec<_>>().join(" AND ")),
    }
}

/// The keys of a sort.
pub(super) fn ordering(ordering: &LexOrdering) -> String {
    let key = |key: &datafusion::physical_expr::PhysicalSortExpr| {
        let descending = if key.options.descending { " DESC" } else { "" };
        format!("{}{descending}", text(&key.expr))
    };
    ordering.iter().map(key).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::without_positions;

    #[test]
    fn positions_go_and_text_stays() {
        assert_eq!(without_positions("a@0 > 5 AND b@12 = 'x@1'"), "a > 5 AND b = 'x@1'");
        assert_eq!(without_positions("f(a@3, '@')"), "f(a, '@')");
    }
}
