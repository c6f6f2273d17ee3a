//! Procedures and SQL functions: what is stored of them.

use base::SqlType;
use base::ids::Oid;
use serde::{Deserialize, Serialize};

/// A procedure or a function of a user's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routine {
    /// Its id.
    pub oid: Oid,
    /// The schema it belongs to.
    pub schema: Oid,
    /// Its name, folded. Several of a schema may share it when their input types differ.
    pub name: String,
    /// The user that owns it.
    pub owner: Oid,
    /// Procedure or function.
    pub kind: RoutineKind,
    /// The arguments in order.
    pub arguments: Vec<RoutineArgument>,
    /// The type of a function's value.
    #[serde(default)]
    pub returns: Option<SqlType>,
    /// The text between the quotes.
    pub body: String,
    /// SECURITY DEFINER: it runs with its owner's rights.
    #[serde(default)]
    pub security_definer: bool,
    /// NONATOMIC: each of its statements commits.
    #[serde(default)]
    pub nonatomic: bool,
    /// How a function's value depends on more than its arguments.
    #[serde(default)]
    pub volatility: Volatility,
    /// SET: settings that hold while it runs.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: i64,
}

/// What kind of routine it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutineKind {
    /// CALL runs it.
    #[default]
    Procedure,
    /// Expressions use it.
    Function,
}

impl RoutineKind {
    /// `procedure` or `function`, as messages name it.
    pub fn name(self) -> &'static str {
        match self {
            RoutineKind::Procedure => "procedure",
            RoutineKind::Function => "function",
        }
    }
}

/// VOLATILE, STABLE or IMMUTABLE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Volatility {
    /// It may differ from row to row.
    #[default]
    Volatile,
    /// It is one value for equal arguments within a statement.
    Stable,
    /// It is one value for equal arguments always.
    Immutable,
}

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutineArgument {
    /// Its name; empty for one without.
    #[serde(default)]
    pub name: String,
    /// Which way its value goes.
    #[serde(default)]
    pub mode: ArgumentMode,
    /// Its type; that of a refcursor is text.
    pub sql_type: SqlType,
    /// It names a cursor.
    #[serde(default)]
    pub refcursor: bool,
}

/// IN, OUT or INOUT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArgumentMode {
    /// To the routine.
    #[default]
    In,
    /// From the routine.
    Out,
    /// Both ways.
    InOut,
}

impl ArgumentMode {
    /// True unless it is OUT.
    pub fn is_input(self) -> bool {
        self != ArgumentMode::Out
    }

    /// True for OUT and INOUT.
    pub fn is_output(self) -> bool {
        self != ArgumentMode::In
    }
}

impl Routine {
    /// The arguments that a call gives values for.
    pub fn inputs(&self) -> impl Iterator<Item = &RoutineArgument> {
        self.arguments.iter().filter(|argument| argument.mode.is_input())
    }

    /// The arguments whose values a call gives back.
    pub fn outputs(&self) -> impl Iterator<Item = &RoutineArgument> {
        self.arguments.iter().filter(|argument| argument.mode.is_output())
    }

    /// `name(type, type)` as messages show it: input types without modifiers.
    pub fn signature(&self) -> String {
        let types: Vec<String> = self.inputs().map(RoutineArgument::type_name).collect();
        format!("{}({})", base::ident::quote(&self.name), types.join(", "))
    }

    /// What has to be unique in a schema.
    pub(crate) fn key(&self) -> String {
        key(&self.name, self.inputs().map(|argument| (argument.sql_type, argument.refcursor)))
    }
}

impl RoutineArgument {
    /// Its type without modifiers.
    pub fn type_name(&self) -> String {
        if self.refcursor {
            return "refcursor".to_owned();
        }
        let text = self.sql_type.to_string();
        match (text.find('('), text.find(')')) {
            (Some(open), Some(close)) => format!("{}{}", &text[..open], &text[close + 1..]),
            _ => text,
        }
    }
}

/// Types by their OIDs: modifiers are no part of a signature.
pub(crate) fn key(name: &str, types: impl Iterator<Item = (SqlType, bool)>) -> String {
    let one = |(sql_type, refcursor): (SqlType, bool)| {
        if refcursor { "refcursor".to_owned() } else { sql_type.oid().to_string() }
    };
    let types: Vec<String> = types.map(one).collect();
    format!("{name}({})", types.join(","))
}
