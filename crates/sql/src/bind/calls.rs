//! Functions that are another form of something the planner knows: made into it in the tree.

use base::{Error, Result, error};
use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Value,
};

/// Names under which a function of the registry goes in Redshift too.
const ALIASES: &[(&str, &str)] = &[
    ("len", "character_length"),
    ("textlen", "character_length"),
    ("nvl", "coalesce"),
    ("isnull", "coalesce"),
    ("ifnull", "coalesce"),
    ("dexp", "exp"),
    ("dlog1", "ln"),
    ("dlog10", "log10"),
    ("ceiling", "ceil"),
    ("replicate", "repeat"),
    ("sign", "signum"),
    ("variance", "var_samp"),
    ("every", "bool_and"),
    ("date_add", "dateadd"),
    ("timestampadd", "dateadd"),
    ("date_diff", "datediff"),
    ("pgdate_part", "date_part"),
];

/// Rewrites a call; `None` leaves it.
///
/// # Errors
/// 42883 for a wrong number of arguments.
pub(super) fn rewrite(function: &mut Function) -> Result<Option<Expr>> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice() else {
        return Ok(None);
    };
    let lower = name.value.to_lowercase();
    if let Some((_, known)) = ALIASES.iter().find(|(alias, _)| *alias == lower) {
        name.value = (*known).to_owned();
        return Ok(None);
    }
    if function.over.is_some() && lower != "ratio_to_report" {
        return Ok(None);
    }
    match lower.as_str() {
        "charindex" => {
            let [needle, text] = take(function, "charindex")?;
            Ok(Some(super::rewrite::call("strpos", vec![text, needle], name_span(function))))
        }
        "mod" => {
            let [a, b] = take(function, "mod")?;
            Ok(Some(binary(a, BinaryOperator::Modulo, b)))
        }
        "date_part_year" => {
            let [date] = take(function, "date_part_year")?;
            let args = vec![text("year"), date];
            Ok(Some(super::rewrite::call("date_part", args, name_span(function))))
        }
        "concat" => concat(function),
        "to_number" => to_number(function).map(Some),
        "regexp_substr" => regexp_substr(function).map(Some),
        "regexp_replace" => regexp_replace(function).map(|()| None),
        "sha2" => sha2(function).map(Some),
        "decode" => decode(function),
        "listagg" => listagg(function).map(|()| None),
        "ratio_to_report" => ratio(function).map(Some),
        _ => Ok(None),
    }
}

fn name_span(function: &Function) -> sqlparser::tokenizer::Span {
    function
        .name
        .0
        .first()
        .and_then(|part| part.as_ident())
        .map_or_else(sqlparser::tokenizer::Span::empty, |ident| ident.span)
}

fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).into())
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let nested = |expr: Expr| Box::new(Expr::Nested(Box::new(expr)));
    Expr::Nested(Box::new(Expr::BinaryOp { left: nested(left), op, right: nested(right) }))
}

/// The plain arguments of a call.
fn arguments(function: &mut Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let plain =
        list.args.iter().all(|arg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(_))));
    if !plain {
        return None;
    }
    let args = std::mem::take(&mut list.args).into_iter();
    Some(
        args.filter_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect(),
    )
}

fn take<const N: usize>(function: &mut Function, name: &str) -> Result<[Expr; N]> {
    let args = arguments(function).unwrap_or_default();
    args.try_into().map_err(|args: Vec<Expr>| {
        error!(UndefinedFunction, "function {name}() does not take {} arguments", args.len())
            .hint(format!("It takes {N}."))
    })
}

/// `concat(a, b)` is NULL where one of the two is.
fn concat(function: &mut Function) -> Result<Option<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return Ok(None) };
    if list.args.len() != 2 {
        return Ok(None);
    }
    let [a, b] = take(function, "concat")?;
    Ok(Some(binary(a, BinaryOperator::StringConcat, b)))
}

/// The text of a literal.
fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            Value::Number(text, _) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// `to_number(text, template)`: the digits, cast to the template's size.
fn to_number(function: &mut Function) -> Result<Expr> {
    let span = name_span(function);
    let [value, template] = take(function, "to_number")?;
    let Some((precision, scale)) = literal(&template).map(crate::functions::format::number_size)
    else {
        return Err(Error::unsupported(
            "to_number() with a template that is no literal is not supported",
        ));
    };
    let digits = super::rewrite::call("to_number_text", vec![value, template], span);
    let info =
        sqlparser::ast::ExactNumberInfo::PrecisionAndScale(u64::from(precision), i64::from(scale));
    Ok(super::rewrite::cast(digits, sqlparser::ast::DataType::Decimal(info)))
}

/// Position, occurrence and the like must be the defaults.
fn only_defaults(name: &str, rest: &[Expr]) -> Result<()> {
    if rest.iter().all(|arg| literal(arg) == Some("1")) {
        return Ok(());
    }
    Err(Error::unsupported(format!("{name}() with these further arguments is not supported"))
        .hint("Position and occurrence can only be 1."))
}

/// `regexp_substr(text, pattern)`: the first match, empty where there is none.
fn regexp_substr(function: &mut Function) -> Result<Expr> {
    let span = name_span(function);
    let args = arguments(function).unwrap_or_default();
    let [value, pattern, rest @ ..] = args.as_slice() else {
        return Err(error!(
            UndefinedFunction,
            "function regexp_substr() takes a text and a pattern"
        ));
    };
    only_defaults("regexp_substr", rest)?;
    let call = super::rewrite::call;
    let pieces = vec![text("("), pattern.clone(), text(")")];
    let found = call("regexp_match", vec![value.clone(), call("concat", pieces, span)], span);
    let one = Expr::Value(Value::Number("1".to_owned(), false).into());
    let first = call("array_element", vec![found, one], span);
    let shown = call("coalesce", vec![first, text("")], span);
    Ok(Expr::Case {
        case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: Expr::IsNotNull(Box::new(value.clone())),
            result: shown,
        }],
        else_result: None,
    })
}

/// `regexp_replace(text, pattern [, replacement])` replaces every match.
fn regexp_replace(function: &mut Function) -> Result<()> {
    let mut args = arguments(function).unwrap_or_default();
    if args.len() < 2 {
        return Err(error!(
            UndefinedFunction,
            "function regexp_replace() takes a text and a pattern"
        ));
    }
    // Visited a second time, the call carries its flag already.
    let done = args.len() == 4 && literal(&args[3]) == Some("g");
    if !done {
        only_defaults("regexp_replace", args.get(3..).unwrap_or_default())?;
        args.truncate(3);
        if args.len() == 2 {
            args.push(text(""));
        }
        args.push(text("g"));
    }
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = args.collect();
    }
    Ok(())
}

/// `sha2(text, bits)` by its bits.
fn sha2(function: &mut Function) -> Result<Expr> {
    let span = name_span(function);
    let [value, bits] = take(function, "sha2")?;
    let name = match &bits {
        Expr::Value(value) => match &value.value {
            Value::Number(n, _) if n == "0" || n == "256" => "sha256",
            Value::Number(n, _) if n == "224" => "sha224",
            Value::Number(n, _) if n == "384" => "sha384",
            Value::Number(n, _) if n == "512" => "sha512",
            _ => "",
        },
        _ => "",
    };
    if name.is_empty() {
        return Err(error!(InvalidParameterValue, "sha2() takes 0, 224, 256, 384 or 512 bits"));
    }
    let digest = super::rewrite::call(name, vec![value], span);
    Ok(super::rewrite::call("encode", vec![digest, text("hex")], span))
}

/// `decode(e, search, result, …[, default])`: a CASE in which NULL matches NULL. The form with
/// two arguments is left to the function of that name for binary text.
fn decode(function: &mut Function) -> Result<Option<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return Ok(None) };
    if list.args.len() < 3 {
        return Ok(None);
    }
    let mut args = arguments(function).unwrap_or_default().into_iter();
    let Some(value) = args.next() else { return Ok(None) };
    let mut conditions = Vec::new();
    let mut otherwise = None;
    while let Some(search) = args.next() {
        match args.next() {
            Some(result) => {
                let condition = match &search {
                    Expr::Value(literal) if literal.value == Value::Null => {
                        Expr::IsNull(Box::new(value.clone()))
                    }
                    Expr::Value(_) => Expr::BinaryOp {
                        left: Box::new(Expr::Nested(Box::new(value.clone()))),
                        op: BinaryOperator::Eq,
                        right: Box::new(search),
                    },
                    _ => Expr::IsNotDistinctFrom(Box::new(value.clone()), Box::new(search)),
                };
                conditions.push(CaseWhen { condition, result });
            }
            None => otherwise = Some(Box::new(search)),
        }
    }
    Ok(Some(Expr::Case {
        case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: otherwise,
    }))
}

/// `listagg([DISTINCT] x [, delimiter]) [WITHIN GROUP (ORDER BY …)]` is `string_agg` with the
/// order among its arguments.
fn listagg(function: &mut Function) -> Result<()> {
    let order = std::mem::take(&mut function.within_group);
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("string_agg"))]);
    let FunctionArguments::List(list) = &mut function.args else {
        return Err(error!(UndefinedFunction, "function listagg() needs an argument"));
    };
    if list.args.len() == 1 {
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(text(""))));
    }
    if !order.is_empty() {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    Ok(())
}

/// `ratio_to_report(x) OVER (…)` is x over the sum of x.
fn ratio(function: &mut Function) -> Result<Expr> {
    let Some(over) = function.over.take() else {
        return Err(Error::new(
            base::SqlState::WindowingError,
            "ratio_to_report() needs an OVER clause",
        ));
    };
    let span = name_span(function);
    let [value] = take(function, "ratio_to_report")?;
    let mut sum = super::rewrite::call("sum", vec![value.clone()], span);
    if let Expr::Function(call) = &mut sum {
        call.over = Some(over);
    }
    let double = |expr| super::rewrite::cast(expr, sqlparser::ast::DataType::DoublePrecision);
    Ok(binary(double(value), BinaryOperator::Divide, double(sum)))
}

/// The pattern of SIMILAR TO as a regular expression over the whole text.
pub(super) fn similar_pattern(pattern: &Expr, escape: Option<char>) -> Option<String> {
    let pattern = literal(pattern)?;
    let escape = escape.unwrap_or('\\');
    let mut regex = String::from("^(?:");
    let mut letters = pattern.chars();
    let mut in_class = false;
    while let Some(c) = letters.next() {
        match c {
            c if c == escape => {
                let next = letters.next()?;
                if !next.is_alphanumeric() {
                    regex.push('\\');
                }
                regex.push(next);
            }
            '[' | ']' => {
                in_class = c == '[';
                regex.push(c);
            }
            '%' if !in_class => regex.push_str(".*"),
            '_' if !in_class => regex.push('.'),
            '.' | '^' | '$' if !in_class => {
                regex.push('\\');
                regex.push(c);
            }
            other => regex.push(other),
        }
    }
    regex.push_str(")$");
    Some(regex)
}
