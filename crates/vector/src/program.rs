//! A typed linear program over registers, and its run over one vector.
//!
//! No recursion and no allocation while it runs: every instruction writes one register whose
//! buffers are kept. Whether integers are computed in 64 or 128 bits is decided anew for every
//! vector from the bounds of the operands.

use std::sync::Arc;

use base::Result;

use crate::expr::{ArithOp, CompareOp, DatePart, Limits};
use crate::{Bounds, Expr, Form, Kind, Vector, compile, kernel};

/// Where an instruction writes.
pub(crate) type Register = usize;

/// A constant; floating-point numbers as their bits, so that instructions compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    Int(i128),
    Float(u64),
    Bool(bool),
    Null(Kind),
}

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operand {
    Register(Register),
    Constant(Constant),
}

/// Which rows a branch is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taken {
    True,
    NotTrue,
    NotFalse,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Fill(Constant),
    /// Fails where the result exceeds the limits, on rows whose guard is set.
    Arith {
        op: ArithOp,
        left: Operand,
        right: Operand,
        limits: Limits,
        guard: Option<Register>,
    },
    FloatArith {
        op: ArithOp,
        left: Operand,
        right: Operand,
    },
    Compare {
        op: CompareOp,
        left: Operand,
        right: Operand,
    },
    CompareFloat {
        op: CompareOp,
        left: Operand,
        right: Operand,
    },
    And(Operand, Operand),
    Or(Operand, Operand),
    Not(Operand),
    IsNull(Operand),
    Among {
        value: Operand,
        list: Arc<[i64]>,
        has_null: bool,
    },
    Select {
        condition: Operand,
        then: Operand,
        otherwise: Operand,
    },
    ToFloat {
        value: Operand,
        divisor: u64,
    },
    Part {
        part: DatePart,
        value: Operand,
    },
    /// Of the rows of `within`, or all, those that a branch is evaluated on.
    Guard {
        within: Option<Register>,
        condition: Operand,
        taken: Taken,
    },
}

/// An instruction with the register that it writes.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) op: Op,
    pub(crate) target: Register,
}

/// Compiled expressions: inputs are the first registers.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) registers: usize,
    pub(crate) outputs: Vec<Register>,
}

/// The registers of a running program; the inputs come first.
#[derive(Clone, Debug, Default)]
pub struct Registers(pub(crate) Vec<Vector>);

impl Registers {
    /// The registers that any of `programs` needs; all of them share their inputs.
    pub fn new(programs: &[&Program]) -> Registers {
        let count = programs.iter().map(|program| program.registers).max().unwrap_or(0);
        Registers((0..count).map(|_| Vector::default()).collect())
    }

    /// A register.
    pub fn get(&self, at: usize) -> &Vector {
        &self.0[at]
    }

    /// A register to fill, an input as a rule.
    pub fn get_mut(&mut self, at: usize) -> &mut Vector {
        &mut self.0[at]
    }
}

impl Program {
    /// Compiles expressions over input columns of the kinds `inputs`. Equal parts are computed
    /// once.
    ///
    /// # Errors
    /// XX000 for an expression whose parts do not fit each other.
    pub fn compile(inputs: &[Kind], outputs: &[Expr]) -> Result<Program> {
        compile::compile(inputs, outputs)
    }

    /// The registers of the outputs, in the order of the expressions.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// Computes the outputs for the `rows` rows in the inputs.
    ///
    /// # Errors
    /// 22003 when a result is out of range on a row that counts.
    pub fn run(&self, registers: &mut Registers, rows: usize) -> Result<()> {
        for Instruction { op, target } in &self.instructions {
            let mut into = std::mem::take(&mut registers.0[*target]);
            let done = kernel::execute(op, registers, &mut into, rows);
            registers.0[*target] = into;
            done?;
        }
        Ok(())
    }
}

/// An operand as kernels see it.
pub(crate) enum Source<'a> {
    Vector(&'a Vector),
    Constant(Constant),
}

impl Operand {
    pub(crate) fn source(self, registers: &Registers) -> Source<'_> {
        match self {
            Operand::Register(at) => Source::Vector(&registers.0[at]),
            Operand::Constant(constant) => Source::Constant(constant),
        }
    }
}

impl Source<'_> {
    pub(crate) fn bounds(&self) -> Bounds {
        match self {
            Source::Vector(vector) => match vector.form() {
                Form::Bool => Bounds { low: 0, high: 1 },
                _ => vector.bounds(),
            },
            Source::Constant(Constant::Int(value)) => Bounds::of(*value),
            Source::Constant(_) => Bounds::of(0),
        }
    }

    pub(crate) fn is_narrow(&self) -> bool {
        match self {
            Source::Vector(vector) => vector.form() == Form::Narrow,
            Source::Constant(Constant::Int(value)) => i64::try_from(*value).is_ok(),
            Source::Constant(_) => true,
        }
    }

    /// True for the constant NULL.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Source::Constant(Constant::Null(_)))
    }

    pub(crate) fn valid(&self) -> Option<&[u8]> {
        match self {
            Source::Vector(vector) => vector.valid(),
            Source::Constant(_) => None,
        }
    }

    /// The integer of a row.
    #[inline]
    pub(crate) fn integer(&self, row: usize) -> i128 {
        match self {
            Source::Vector(vector) => vector.integer(row),
            Source::Constant(Constant::Int(value)) => *value,
            Source::Constant(Constant::Bool(value)) => i128::from(*value),
            Source::Constant(_) => 0,
        }
    }

    #[inline]
    pub(crate) fn row_is_null(&self, row: usize) -> bool {
        match self {
            Source::Vector(vector) => vector.is_null(row),
            Source::Constant(constant) => matches!(constant, Constant::Null(_)),
        }
    }
}
