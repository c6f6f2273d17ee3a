//! From expression trees to instructions: equal parts once, guards where a branch may fail.

use std::collections::HashMap;

use base::{Error, Result};

use crate::program::{Constant, Instruction, Op, Operand, Program, Register, Taken};
use crate::{Expr, Kind};

/// As `Program::compile`.
pub(crate) fn compile(inputs: &[Kind], outputs: &[Expr]) -> Result<Program> {
    let mut compiler = Compiler {
        inputs,
        known: HashMap::new(),
        instructions: Vec::new(),
        registers: inputs.len(),
    };
    let mut registers = Vec::with_capacity(outputs.len());
    for output in outputs {
        registers.push(match compiler.expr(output, None)? {
            Operand::Register(register) => register,
            Operand::Constant(constant) => compiler.emit(Op::Fill(constant)),
        });
    }
    let Compiler { instructions, registers: count, .. } = compiler;
    Ok(Program { instructions, registers: count, outputs: registers })
}

struct Compiler<'a> {
    inputs: &'a [Kind],
    known: HashMap<Op, Register>,
    instructions: Vec<Instruction>,
    registers: usize,
}

impl Compiler<'_> {
    fn emit(&mut self, op: Op) -> Register {
        if let Some(known) = self.known.get(&op) {
            return *known;
        }
        let target = self.registers;
        self.registers += 1;
        self.known.insert(op.clone(), target);
        self.instructions.push(Instruction { op, target });
        target
    }

    fn put(&mut self, op: Op) -> Operand {
        Operand::Register(self.emit(op))
    }

    fn require(&self, expr: &Expr, kind: Kind) -> Result<()> {
        match expr.kind(self.inputs) == kind {
            true => Ok(()),
            false => Err(Error::internal(format!("{expr:?} is not of kind {kind:?}"))),
        }
    }

    /// The rows within `within` on which a branch is evaluated, when it may fail at all.
    fn guard(
        &mut self,
        branch: &Expr,
        within: Option<Register>,
        condition: Operand,
        taken: Taken,
    ) -> Option<Register> {
        branch.can_raise().then(|| self.emit(Op::Guard { within, condition, taken }))
    }

    fn expr(&mut self, expr: &Expr, guard: Option<Register>) -> Result<Operand> {
        Ok(match expr {
            Expr::Input(column) if *column < self.inputs.len() => Operand::Register(*column),
            Expr::Input(column) => {
                return Err(Error::internal(format!("a program has no input {column}")));
            }
            Expr::Int(value) => Operand::Constant(Constant::Int(*value)),
            Expr::Float(value) => Operand::Constant(Constant::Float(value.to_bits())),
            Expr::Bool(value) => Operand::Constant(Constant::Bool(*value)),
            Expr::Null(kind) => Operand::Constant(Constant::Null(*kind)),
            Expr::Arith { op, left, right, limits } => {
                let (left, right) = self.pair(left, right, Kind::Int, guard)?;
                self.put(Op::Arith { op: *op, left, right, limits: *limits, guard })
            }
            Expr::FloatArith { op, left, right } => {
                let (left, right) = self.pair(left, right, Kind::Float, guard)?;
                self.put(Op::FloatArith { op: *op, left, right })
            }
            Expr::Compare { op, left, right } => self.compare(*op, left, right, guard)?,
            Expr::And(parts) => self.connected(parts, guard, true)?,
            Expr::Or(parts) => self.connected(parts, guard, false)?,
            Expr::Not(value) => {
                let value = self.one(value, Kind::Bool, guard)?;
                self.put(Op::Not(value))
            }
            Expr::IsNull(value) => {
                let value = self.expr(value, guard)?;
                self.put(Op::IsNull(value))
            }
            Expr::Among { value, list, has_null } => {
                let value = self.one(value, Kind::Int, guard)?;
                let mut list = list.clone();
                list.sort_unstable();
                list.dedup();
                self.put(Op::Among { value, list: list.into(), has_null: *has_null })
            }
            Expr::Case { branches, otherwise } => self.case(branches, otherwise, guard)?,
            Expr::ToFloat { value, divisor } => {
                let value = self.one(value, Kind::Int, guard)?;
                self.put(Op::ToFloat { value, divisor: divisor.to_bits() })
            }
            Expr::Part { part, value } => {
                let value = self.one(value, Kind::Int, guard)?;
                self.put(Op::Part { part: *part, value })
            }
        })
    }

    fn one(&mut self, expr: &Expr, kind: Kind, guard: Option<Register>) -> Result<Operand> {
        self.require(expr, kind)?;
        self.expr(expr, guard)
    }

    fn pair(
        &mut self,
        left: &Expr,
        right: &Expr,
        kind: Kind,
        guard: Option<Register>,
    ) -> Result<(Operand, Operand)> {
        Ok((self.one(left, kind, guard)?, self.one(right, kind, guard)?))
    }

    fn compare(
        &mut self,
        op: crate::CompareOp,
        left: &Expr,
        right: &Expr,
        guard: Option<Register>,
    ) -> Result<Operand> {
        let kind = left.kind(self.inputs);
        let (left, right) = self.pair(left, right, kind, guard)?;
        // Constants stand on the right.
        let (op, left, right) = match left {
            Operand::Constant(_) => (op.swapped(), right, left),
            Operand::Register(_) => (op, left, right),
        };
        Ok(match kind {
            Kind::Float => self.put(Op::CompareFloat { op, left, right }),
            Kind::Int | Kind::Bool => self.put(Op::Compare { op, left, right }),
        })
    }

    /// AND or OR: a later part is evaluated where the earlier ones do not decide.
    fn connected(
        &mut self,
        parts: &[Expr],
        mut guard: Option<Register>,
        and: bool,
    ) -> Result<Operand> {
        let taken = if and { Taken::NotFalse } else { Taken::NotTrue };
        let mut result = Operand::Constant(Constant::Bool(and));
        for (at, part) in parts.iter().enumerate() {
            if at > 0
                && let Some(narrower) = self.guard(part, guard, result, taken)
            {
                guard = Some(narrower);
            }
            let value = self.one(part, Kind::Bool, guard)?;
            result = match (at, and) {
                (0, _) => value,
                (_, true) => self.put(Op::And(result, value)),
                (_, false) => self.put(Op::Or(result, value)),
            };
        }
        Ok(result)
    }

    fn case(
        &mut self,
        branches: &[(Expr, Expr)],
        otherwise: &Expr,
        mut guard: Option<Register>,
    ) -> Result<Operand> {
        let kind = otherwise.kind(self.inputs);
        let mut compiled = Vec::with_capacity(branches.len());
        for (at, (condition, value)) in branches.iter().enumerate() {
            let condition = self.one(condition, Kind::Bool, guard)?;
            let taken = self.guard(value, guard, condition, Taken::True).or(guard);
            compiled.push((condition, self.one(value, kind, taken)?));
            let rest = branches[at + 1..].iter().any(|(a, b)| a.can_raise() || b.can_raise());
            if rest || otherwise.can_raise() {
                let within = guard;
                guard = Some(self.emit(Op::Guard { within, condition, taken: Taken::NotTrue }));
            }
        }
        let mut result = self.expr(otherwise, guard)?;
        for (condition, then) in compiled.into_iter().rev() {
            result = self.put(Op::Select { condition, then, otherwise: result });
        }
        Ok(result)
    }
}
