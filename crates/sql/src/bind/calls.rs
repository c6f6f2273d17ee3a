//! Functions that are another form of something the planner knows: made into it in the tree.

use base::{Error, Result, error};
use sqlparser::ast::{
    BinaryOperator, CaseWhen, DataType, DuplicateTreatment, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident, NullTreatment, ObjectName,
    ObjectNamePart, Value, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowType,
};

use crate::functions::aggregate::percentile;
use crate::functions::window;

/// Names under which a function of the registry goes in Redshift too.
const ALIASES: &[(&str, &str)] = &[
    ("char_length", "character_length"),
    ("len", "character_length"),
    ("length", "character_length"),
    ("textlen", "character_length"),
    ("func_sha1", "sha1"),
    ("sha", "sha1"),
    ("pow", "power"),
    ("grouping_id", "grouping"),
    ("nvl", "coalesce"),
    ("isnull", "coalesce"),
    ("ifnull", "coalesce"),
    ("dexp", "exp"),
    ("dlog1", "ln"),
    ("dlog10", "log10"),
    ("ceiling", "ceil"),
    ("replicate", "repeat"),
    ("variance", "var_samp"),
    ("every", "bool_and"),
    ("date_add", "dateadd"),
    ("timestampadd", "dateadd"),
    ("date_diff", "datediff"),
    ("pgdate_part", "date_part"),
];

/// Functions that are rewritten with OVER too.
const WITH_OVER: &[&str] =
    &["listagg", "median", "percentile_cont", "percentile_disc", "ratio_to_report"];

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
    if function.over.is_some() && !WITH_OVER.contains(&lower.as_str()) {
        window::check_arguments(&lower, count(&function.args))?;
        if let Some(ignoring) = window::ignoring_nulls(&lower)
            && takes_ignore_nulls(&mut function.null_treatment, &mut function.args)
        {
            name.value = ignoring;
        }
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
            let year = super::rewrite::call("date_part", args, name_span(function));
            Ok(Some(super::rewrite::cast(year, DataType::Integer(None))))
        }
        "concat" => concat(function).map(Some),
        "to_number" => to_number(function).map(Some),
        "decode" => decode(function),
        "listagg" => listagg(function).map(Some),
        "median" => median(function).map(|()| None),
        "percentile_cont" => percentile(function, percentile::INTERPOLATED).map(|()| None),
        "percentile_disc" => percentile(function, percentile::DISCRETE).map(|()| None),
        "ratio_to_report" => ratio(function).map(Some),
        _ => Ok(None),
    }
}

fn count(args: &FunctionArguments) -> usize {
    match args {
        FunctionArguments::List(list) => list.args.len(),
        FunctionArguments::Subquery(_) => 1,
        FunctionArguments::None => 0,
    }
}

/// True where NULL is to be ignored; the words are taken out.
fn takes_ignore_nulls(treatment: &mut Option<NullTreatment>, args: &mut FunctionArguments) -> bool {
    let outside = treatment.take_if(|one| *one == NullTreatment::IgnoreNulls).is_some();
    let FunctionArguments::List(list) = args else { return outside };
    let ignore = FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::IgnoreNulls);
    let count = list.clauses.len();
    list.clauses.retain(|clause| *clause != ignore);
    outside || list.clauses.len() < count
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
fn concat(function: &mut Function) -> Result<Expr> {
    let [a, b] = take(function, "concat")?;
    Ok(binary(a, BinaryOperator::StringConcat, b))
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
    Ok(super::rewrite::cast(digits, DataType::Decimal(info)))
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

/// `listagg([DISTINCT] x [, delimiter]) [WITHIN GROUP (ORDER BY …)]` joins an `array_agg` with the
/// order among its arguments, or that of its window.
fn listagg(function: &mut Function) -> Result<Expr> {
    let span = name_span(function);
    let order = std::mem::take(&mut function.within_group);
    let mut args = arguments(function).unwrap_or_default().into_iter();
    let (value, delimiter, None) = (args.next(), args.next(), args.next()) else {
        return Err(error!(UndefinedFunction, "function listagg() takes a value and a delimiter"));
    };
    let Some(value) = value else {
        return Err(error!(UndefinedFunction, "function listagg() needs an argument"));
    };
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("array_agg"))]);
    let FunctionArguments::List(list) = &mut function.args else {
        return Err(error!(UndefinedFunction, "function listagg() needs an argument"));
    };
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    if distinct && order.iter().any(|by| by.expr != value) {
        return Err(error!(
            InvalidColumnReference,
            "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list"
        ));
    }
    list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))];
    match (&mut function.over, order.is_empty()) {
        (_, true) => {}
        (None, false) => list.clauses.push(FunctionArgumentClause::OrderBy(order)),
        (Some(WindowType::WindowSpec(window)), false) => {
            window.order_by = order;
            // All of the partition, although it is ordered.
            window.window_frame = Some(WindowFrame {
                units: WindowFrameUnits::Rows,
                start_bound: WindowFrameBound::Preceding(None),
                end_bound: Some(WindowFrameBound::Following(None)),
            });
        }
        (Some(WindowType::NamedWindow(_)), false) => {
            return Err(Error::unsupported("WITHIN GROUP over a named window is not supported"));
        }
    }
    let list = Expr::Function(function.clone());
    let delimiter = delimiter.unwrap_or_else(|| text(""));
    Ok(super::rewrite::call("listagg_of", vec![list, delimiter], span))
}

/// `median(x)` is `percentile_cont(0.5)`.
fn median(function: &mut Function) -> Result<()> {
    let [value] = take(function, "median")?;
    let half = Expr::Value(Value::Number("0.5".to_owned(), false).into());
    set_percentile(function, percentile::INTERPOLATED, [value, half], false);
    Ok(())
}

/// `percentile_cont(fraction) WITHIN GROUP (ORDER BY x)` as a plain aggregate.
fn percentile(function: &mut Function, plain: &str) -> Result<()> {
    let name = if plain == percentile::DISCRETE { "percentile_disc" } else { "percentile_cont" };
    let mut order = std::mem::take(&mut function.within_group);
    let (Some(by), true) = (order.pop(), order.is_empty()) else {
        return Err(error!(SyntaxError, "{name}() needs one expression to order by")
            .hint(format!("Write {name}(0.5) WITHIN GROUP (ORDER BY x).")));
    };
    let [fraction] = take(function, name)?;
    let descending = by.options.asc == Some(false);
    set_percentile(function, plain, [by.expr, fraction], descending);
    Ok(())
}

/// Puts the arguments of one of our percentiles in the place of those written.
fn set_percentile(function: &mut Function, name: &str, args: [Expr; 2], descending: bool) {
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
    let descending = Expr::Value(Value::Boolean(descending).into());
    let args = args.into_iter().chain([descending]);
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    }
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
    let double = |expr| super::rewrite::cast(expr, DataType::DoublePrecision);
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
