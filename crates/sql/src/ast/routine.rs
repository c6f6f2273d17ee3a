//! Procedures and functions.

use base::SqlType;

use super::{Expression, Ident, ObjectName, SetValue};

/// Procedure or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutineKind {
    Procedure,
    Function,
}

/// CREATE [OR REPLACE] PROCEDURE or FUNCTION.
#[derive(Clone, Debug)]
pub struct CreateRoutine {
    pub kind: RoutineKind,
    pub name: ObjectName,
    pub or_replace: bool,
    pub arguments: Vec<RoutineArgument>,
    /// A function's RETURNS.
    pub returns: Option<SqlType>,
    /// The text between the quotes.
    pub body: String,
    /// Where it starts in the statement: 1-based, in characters.
    pub body_position: u32,
    pub language: Ident,
    pub security_definer: bool,
    pub nonatomic: bool,
    pub volatility: Option<Volatility>,
    pub settings: Vec<(Ident, SetValue)>,
}

/// `[name] [IN|OUT|INOUT] type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutineArgument {
    pub name: Option<Ident>,
    pub mode: ArgumentMode,
    pub sql_type: RoutineType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentMode {
    In,
    Out,
    InOut,
}

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutineType {
    Sql(SqlType),
    RefCursor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    Volatile,
    Stable,
    Immutable,
}

/// A procedure or function by name, and by its arguments where there are several of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutineName {
    pub name: ObjectName,
    /// The types of its input arguments.
    pub arguments: Option<Vec<RoutineType>>,
}

/// ALTER PROCEDURE or FUNCTION.
#[derive(Clone, Debug)]
pub struct AlterRoutine {
    pub kind: RoutineKind,
    pub routine: RoutineName,
    pub action: AlterRoutineAction,
}

#[derive(Clone, Debug)]
pub enum AlterRoutineAction {
    RenameTo(Ident),
    /// A user, or `current_user` or `session_user`.
    OwnerTo(Ident),
}

/// DROP PROCEDURE or FUNCTION.
#[derive(Clone, Debug)]
pub struct DropRoutines {
    pub kind: RoutineKind,
    pub routines: Vec<RoutineName>,
    pub if_exists: bool,
    pub cascade: bool,
}

/// CALL.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: ObjectName,
    pub arguments: Vec<Expression>,
}

impl CreateRoutine {
    /// The command's name as clients read it.
    pub fn command(&self) -> &'static str {
        match self.kind {
            RoutineKind::Procedure => "CREATE PROCEDURE",
            RoutineKind::Function => "CREATE FUNCTION",
        }
    }
}

impl AlterRoutine {
    /// The command's name as clients read it.
    pub fn command(&self) -> &'static str {
        match self.kind {
            RoutineKind::Procedure => "ALTER PROCEDURE",
            RoutineKind::Function => "ALTER FUNCTION",
        }
    }
}

impl DropRoutines {
    /// The command's name as clients read it.
    pub fn command(&self) -> &'static str {
        match self.kind {
            RoutineKind::Procedure => "DROP PROCEDURE",
            RoutineKind::Function => "DROP FUNCTION",
        }
    }
}
