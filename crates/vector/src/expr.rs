//! Expressions as plans have them: trees over input columns, compiled to a [`crate::Program`].

use base::{Error, error};

use crate::Bounds;

/// What a vector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Whole numbers, dates, timestamps, scaled decimals, keys of text.
    Int,
    Float,
    Bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArithOp {
    Add,
    Sub,
    Mul,
}

impl ArithOp {
    #[inline]
    pub(crate) fn checked(self, left: i128, right: i128) -> Option<i128> {
        match self {
            ArithOp::Add => left.checked_add(right),
            ArithOp::Sub => left.checked_sub(right),
            ArithOp::Mul => left.checked_mul(right),
        }
    }

    /// What the results lie between; `None` when that exceeds 128 bits.
    pub(crate) fn bounds(self, left: Bounds, right: Bounds) -> Option<Bounds> {
        match self {
            ArithOp::Add => Some(Bounds {
                low: left.low.checked_add(right.low)?,
                high: left.high.checked_add(right.high)?,
            }),
            ArithOp::Sub => Some(Bounds {
                low: left.low.checked_sub(right.high)?,
                high: left.high.checked_sub(right.low)?,
            }),
            ArithOp::Mul => {
                let a = left.low.checked_mul(right.low)?;
                let b = left.low.checked_mul(right.high)?;
                let c = left.high.checked_mul(right.low)?;
                let d = left.high.checked_mul(right.high)?;
                Some(Bounds { low: a.min(b).min(c).min(d), high: a.max(b).max(c).max(d) })
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

impl CompareOp {
    /// The operator that gives the same with its operands exchanged.
    pub(crate) fn swapped(self) -> CompareOp {
        match self {
            CompareOp::Lt => CompareOp::Gt,
            CompareOp::LtEq => CompareOp::GtEq,
            CompareOp::Gt => CompareOp::Lt,
            CompareOp::GtEq => CompareOp::LtEq,
            same => same,
        }
    }

    #[inline(always)]
    pub(crate) fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            CompareOp::Eq => left == right,
            CompareOp::NotEq => left != right,
            CompareOp::Lt => left < right,
            CompareOp::LtEq => left <= right,
            CompareOp::Gt => left > right,
            CompareOp::GtEq => left >= right,
        }
    }
}

/// The part of a date that is wanted, of days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatePart {
    Year,
    Quarter,
    Month,
    Day,
}

/// What the result of integer arithmetic may be; beyond it the statement fails with 22003.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    low: i128,
    high: i128,
    name: &'static str,
}

impl Limits {
    /// SMALLINT.
    pub const SMALLINT: Limits =
        Limits { low: i16::MIN as i128, high: i16::MAX as i128, name: "smallint" };
    /// INTEGER.
    pub const INTEGER: Limits =
        Limits { low: i32::MIN as i128, high: i32::MAX as i128, name: "integer" };
    /// BIGINT, dates and timestamps.
    pub const BIGINT: Limits =
        Limits { low: i64::MIN as i128, high: i64::MAX as i128, name: "bigint" };
    /// What 128 bits hold: arithmetic of decimals is checked against no precision.
    pub const DECIMAL: Limits = Limits { low: i128::MIN, high: i128::MAX, name: "decimal" };

    /// Decimals of `digits` digits, at most 38.
    pub fn digits(digits: u8) -> Limits {
        let high = 10_i128.pow(u32::from(digits.min(38))) - 1;
        Limits { low: -high, high, name: "decimal" }
    }

    pub(crate) fn contain(&self, bounds: Bounds) -> bool {
        self.low <= bounds.low && bounds.high <= self.high
    }

    #[inline]
    pub(crate) fn admit(&self, value: i128) -> bool {
        self.low <= value && value <= self.high
    }

    pub(crate) fn error(&self) -> Error {
        error!(NumericValueOutOfRange, "{} out of range", self.name)
            .hint("Cast an operand to a wider type, for example BIGINT or DECIMAL.")
    }
}

/// An expression over input columns.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A column of the input.
    Input(usize),
    Int(i128),
    Float(f64),
    Bool(bool),
    Null(Kind),
    /// Arithmetic of integers, which fails beyond `limits`.
    Arith {
        op: ArithOp,
        left: Box<Expr>,
        right: Box<Expr>,
        limits: Limits,
    },
    FloatArith {
        op: ArithOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// Of two integers, or of two floating-point numbers in IEEE 754's total order.
    Compare {
        op: CompareOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    /// True when an integer is one of `list`; NULL when it is not and `has_null` says that the
    /// list holds a NULL.
    Among {
        value: Box<Expr>,
        list: Vec<i64>,
        has_null: bool,
    },
    /// The value of the first branch whose condition is true, else `otherwise`.
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    /// An integer divided by a power of ten.
    ToFloat {
        value: Box<Expr>,
        divisor: f64,
    },
    /// Of days since 1970-01-01.
    Part {
        part: DatePart,
        value: Box<Expr>,
    },
}

impl Expr {
    /// What the expression gives, when input column `n` is of kind `inputs[n]`.
    pub fn kind(&self, inputs: &[Kind]) -> Kind {
        match self {
            Expr::Input(column) => inputs.get(*column).copied().unwrap_or(Kind::Int),
            Expr::Int(_) | Expr::Arith { .. } | Expr::Part { .. } => Kind::Int,
            Expr::Float(_) | Expr::FloatArith { .. } | Expr::ToFloat { .. } => Kind::Float,
            Expr::Null(kind) => *kind,
            Expr::Case { otherwise, .. } => otherwise.kind(inputs),
            Expr::Bool(_)
            | Expr::Compare { .. }
            | Expr::And(_)
            | Expr::Or(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::Among { .. } => Kind::Bool,
        }
    }

    /// True when evaluating it on a row may fail.
    pub(crate) fn can_raise(&self) -> bool {
        match self {
            Expr::Input(_) | Expr::Int(_) | Expr::Float(_) | Expr::Bool(_) | Expr::Null(_) => false,
            Expr::Arith { .. } => true,
            Expr::FloatArith { left, right, .. } | Expr::Compare { left, right, .. } => {
                left.can_raise() || right.can_raise()
            }
            Expr::And(parts) | Expr::Or(parts) => parts.iter().any(Expr::can_raise),
            Expr::Not(value)
            | Expr::IsNull(value)
            | Expr::Among { value, .. }
            | Expr::ToFloat { value, .. }
            | Expr::Part { value, .. } => value.can_raise(),
            Expr::Case { branches, otherwise } => {
                otherwise.can_raise()
                    || branches.iter().any(|(a, b)| a.can_raise() || b.can_raise())
            }
        }
    }

    /// Calls `each` with every input column that it reads, as often as it does.
    pub fn each_input(&self, each: &mut impl FnMut(usize)) {
        match self {
            Expr::Input(column) => each(*column),
            Expr::Int(_) | Expr::Float(_) | Expr::Bool(_) | Expr::Null(_) => {}
            Expr::Arith { left, right, .. }
            | Expr::FloatArith { left, right, .. }
            | Expr::Compare { left, right, .. } => {
                left.each_input(each);
                right.each_input(each);
            }
            Expr::And(parts) | Expr::Or(parts) => {
                parts.iter().for_each(|part| part.each_input(each));
            }
            Expr::Not(value)
            | Expr::IsNull(value)
            | Expr::Among { value, .. }
            | Expr::ToFloat { value, .. }
            | Expr::Part { value, .. } => value.each_input(each),
            Expr::Case { branches, otherwise } => {
                for (condition, value) in branches {
                    condition.each_input(each);
                    value.each_input(each);
                }
                otherwise.each_input(each);
            }
        }
    }
}
