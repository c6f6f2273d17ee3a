//! Programs against a naive evaluation of the same expressions, row by row.

use proptest::prelude::*;

use crate::expr::{ArithOp, CompareOp, Limits};
use crate::{Bounds, Expr, Kind, Program, Registers, Vector};

/// A value of a row; floating-point numbers by their bits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Int(i128),
    Bool(bool),
    Null,
}

/// `Err` when evaluating fails on this row.
fn evaluate(expr: &Expr, row: &[Value]) -> Result<Value, ()> {
    Ok(match expr {
        Expr::Input(column) => row[*column],
        Expr::Int(value) => Value::Int(*value),
        Expr::Bool(value) => Value::Bool(*value),
        Expr::Null(_) => Value::Null,
        Expr::Arith { op, left, right, limits } => {
            match (evaluate(left, row)?, evaluate(right, row)?) {
                (Value::Int(a), Value::Int(b)) => {
                    let value = op.checked(a, b).filter(|value| limits.admit(*value));
                    Value::Int(value.ok_or(())?)
                }
                _ => Value::Null,
            }
        }
        Expr::Compare { op, left, right } => match (evaluate(left, row)?, evaluate(right, row)?) {
            (Value::Int(a), Value::Int(b)) => Value::Bool(op.holds(a, b)),
            _ => Value::Null,
        },
        Expr::And(parts) | Expr::Or(parts) => {
            let decides = matches!(expr, Expr::Or(_));
            let mut result = Value::Bool(!decides);
            for part in parts {
                match evaluate(part, row)? {
                    Value::Bool(value) if value == decides => return Ok(Value::Bool(decides)),
                    Value::Null => result = Value::Null,
                    _ => {}
                }
            }
            result
        }
        Expr::Not(value) => match evaluate(value, row)? {
            Value::Bool(value) => Value::Bool(!value),
            other => other,
        },
        Expr::IsNull(value) => Value::Bool(evaluate(value, row)? == Value::Null),
        Expr::Among { value, list, has_null } => match evaluate(value, row)? {
            Value::Int(value) if list.iter().any(|v| i128::from(*v) == value) => Value::Bool(true),
            Value::Int(_) if !has_null => Value::Bool(false),
            _ => Value::Null,
        },
        Expr::Case { branches, otherwise } => {
            for (condition, value) in branches {
                if evaluate(condition, row)? == Value::Bool(true) {
                    return evaluate(value, row);
                }
            }
            evaluate(otherwise, row)?
        }
        Expr::Float(_) | Expr::FloatArith { .. } | Expr::ToFloat { .. } | Expr::Part { .. } => {
            unreachable!("not generated")
        }
    })
}

const INPUTS: [Kind; 4] = [Kind::Int, Kind::Int, Kind::Bool, Kind::Int];

fn int_value() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => -20_i64..20,
        1 => any::<i64>(),
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
        1 => Just(i64::from(i32::MAX)),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![
        1 => Just(Limits::INTEGER),
        1 => Just(Limits::BIGINT),
        4 => Just(Limits::DECIMAL),
        1 => Just(Limits::digits(3)),
    ]
}

fn int_expr(depth: u32) -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![
        6 => prop_oneof![Just(0_usize), Just(1), Just(3)].prop_map(Expr::Input),
        3 => int_value().prop_map(|value| Expr::Int(i128::from(value))),
        1 => Just(Expr::Int(i128::MAX)),
        1 => Just(Expr::Null(Kind::Int)),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let arith = (
        prop_oneof![Just(ArithOp::Add), Just(ArithOp::Sub), Just(ArithOp::Mul)],
        int_expr(depth - 1),
        int_expr(depth - 1),
        limits(),
    )
        .prop_map(|(op, left, right, limits)| Expr::Arith {
            op,
            left: left.into(),
            right: right.into(),
            limits,
        });
    let case = (
        proptest::collection::vec((bool_expr(depth - 1), int_expr(depth - 1)), 1..3),
        int_expr(depth - 1),
    )
        .prop_map(|(branches, otherwise)| Expr::Case { branches, otherwise: otherwise.into() });
    prop_oneof![2 => leaf, 4 => arith, 2 => case].boxed()
}

fn bool_expr(depth: u32) -> BoxedStrategy<Expr> {
    let op = prop_oneof![
        Just(CompareOp::Eq),
        Just(CompareOp::NotEq),
        Just(CompareOp::Lt),
        Just(CompareOp::LtEq),
        Just(CompareOp::Gt),
        Just(CompareOp::GtEq),
    ];
    let below = depth.saturating_sub(1);
    let leaf = prop_oneof![
        6 => Just(Expr::Input(2)),
        1 => any::<bool>().prop_map(Expr::Bool),
        1 => Just(Expr::Null(Kind::Bool)),
    ];
    let compare = (op, int_expr(below), int_expr(below))
        .prop_map(|(op, left, right)| Expr::Compare { op, left: left.into(), right: right.into() });
    let list = (int_expr(below), proptest::collection::vec(int_value(), 0..14), any::<bool>());
    let among = list.prop_map(|(value, list, has_null)| Expr::Among {
        value: value.into(),
        list,
        has_null,
    });
    if depth == 0 {
        return prop_oneof![leaf, compare, among].boxed();
    }
    let parts = || proptest::collection::vec(bool_expr(depth - 1), 1..4);
    prop_oneof![
        1 => leaf,
        3 => compare,
        1 => among,
        1 => parts().prop_map(Expr::And),
        1 => parts().prop_map(Expr::Or),
        1 => bool_expr(depth - 1).prop_map(|value| Expr::Not(value.into())),
        1 => int_expr(depth - 1).prop_map(|value| Expr::IsNull(value.into())),
    ]
    .boxed()
}

fn load(registers: &mut Registers, rows: &[Vec<Value>]) {
    for (column, kind) in INPUTS.iter().enumerate() {
        let vector = registers.get_mut(column);
        let values = rows.iter().map(|row| row[column]);
        match kind {
            Kind::Bool => {
                vector.start_bool().extend(values.map(|v| u8::from(v == Value::Bool(true))));
            }
            _ => {
                let of = |value| if let Value::Int(value) = value { value as i64 } else { 5 };
                vector.start_narrow(Bounds::NARROW).extend(values.map(of));
                let bounds = Bounds::of_narrow(vector.narrow());
                vector.set_bounds(bounds);
            }
        }
        if rows.iter().any(|row| row[column] == Value::Null) {
            let valid = rows.iter().map(|row| u8::from(row[column] != Value::Null));
            registers.get_mut(column).start_valid().extend(valid);
        }
    }
}

fn got(vector: &Vector, kind: Kind, row: usize) -> Value {
    match kind {
        _ if vector.is_null(row) => Value::Null,
        Kind::Bool => Value::Bool(vector.bits()[row] == 1),
        _ => Value::Int(vector.integer(row)),
    }
}

fn check(exprs: &[Expr], rows: &[Vec<Value>]) -> Result<(), TestCaseError> {
    let program = Program::compile(&INPUTS, exprs).unwrap();
    let mut registers = Registers::new(&[&program]);
    // Twice, so that nothing depends on what a register held before.
    for _ in 0..2 {
        load(&mut registers, rows);
        let expected: Vec<Result<Vec<Value>, ()>> =
            exprs.iter().map(|expr| rows.iter().map(|row| evaluate(expr, row)).collect()).collect();
        match program.run(&mut registers, rows.len()) {
            Err(error) => {
                prop_assert_eq!(error.sqlstate().code(), "22003");
                prop_assert!(expected.iter().any(Result::is_err), "{:?}", exprs);
                return Ok(());
            }
            Ok(()) => prop_assert!(expected.iter().all(Result::is_ok), "{:?}", exprs),
        }
        for ((expr, expected), output) in exprs.iter().zip(expected).zip(program.outputs()) {
            let vector = registers.get(*output);
            for (row, expected) in expected.unwrap().into_iter().enumerate() {
                let value = got(vector, expr.kind(&INPUTS), row);
                prop_assert_eq!(value, expected, "{:?} on {:?}", expr, rows[row]);
            }
        }
    }
    Ok(())
}

fn rows(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Value>>> {
    let int = prop_oneof![
        8 => int_value().prop_map(|value| Value::Int(i128::from(value))),
        1 => Just(Value::Null)
    ];
    let never_null = int_value().prop_map(|value| Value::Int(i128::from(value)));
    let boolean = prop_oneof![4 => any::<bool>().prop_map(Value::Bool), 1 => Just(Value::Null)];
    let row = (int, never_null, boolean, (-9_i128..9).prop_map(Value::Int));
    proptest::collection::vec(row.prop_map(|(a, b, c, d)| vec![a, b, c, d]), count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn programs_agree_with_single_rows(
        ints in proptest::collection::vec(int_expr(3), 1..3),
        bools in proptest::collection::vec(bool_expr(3), 1..3),
        rows in rows(1..6),
    ) {
        let exprs: Vec<Expr> = ints.into_iter().chain(bools).collect();
        check(&exprs, &rows)?;
        for expr in exprs {
            check(&[expr], &rows)?;
        }
    }
}
