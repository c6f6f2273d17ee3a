//! The syntax tree of a procedure's body. Every statement knows its line.

/// A piece of SQL within a body: an expression, a query or a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Its text as written, without blanks around it.
    pub text: String,
    /// Where it starts in the body: 1-based, in characters.
    pub position: u32,
    /// Its line in the body, 1-based.
    pub line: u32,
}

/// `[<<label>>] [DECLARE …] BEGIN … [EXCEPTION …] END`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub label: Option<String>,
    pub line: u32,
    pub declarations: Vec<Declaration>,
    pub statements: Vec<Statement>,
    pub handlers: Vec<Handler>,
}

/// `WHEN OTHERS THEN …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    pub statements: Vec<Statement>,
}

/// One entry of DECLARE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    pub name: String,
    pub position: u32,
    pub line: u32,
    pub kind: DeclarationKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclarationKind {
    Variable {
        type_name: TypeName,
        constant: bool,
        not_null: bool,
        default: Option<Fragment>,
    },
    /// `name CURSOR [(arguments)] FOR query`.
    Cursor {
        arguments: Vec<(String, TypeName)>,
        query: Fragment,
    },
    /// `name ALIAS FOR $n` or of another variable.
    Alias {
        of: String,
    },
}

/// The type of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeName {
    /// An SQL type as written.
    Sql(Fragment),
    /// `name%TYPE`: of a variable or of a table's column.
    Like(Vec<String>, Fragment),
    /// `table%ROWTYPE`.
    RowOf(Vec<String>, Fragment),
    Record,
    RefCursor,
}

/// What an assignment changes: a variable, or a field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub field: Option<String>,
    pub position: u32,
}

/// Where the columns of a row go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Into {
    /// Exactly one row is wanted.
    pub strict: bool,
    pub targets: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub line: u32,
    pub kind: StatementKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementKind {
    Block(Block),
    Assign {
        target: Target,
        value: Fragment,
    },
    If {
        branches: Vec<(Fragment, Vec<Statement>)>,
        otherwise: Vec<Statement>,
    },
    Case {
        operand: Option<Fragment>,
        branches: Vec<(Vec<Fragment>, Vec<Statement>)>,
        otherwise: Option<Vec<Statement>>,
    },
    Loop {
        label: Option<String>,
        body: Vec<Statement>,
    },
    While {
        label: Option<String>,
        condition: Fragment,
        body: Vec<Statement>,
    },
    ForInteger {
        label: Option<String>,
        variable: String,
        reverse: bool,
        from: Fragment,
        to: Fragment,
        by: Option<Fragment>,
        body: Vec<Statement>,
    },
    ForRows {
        label: Option<String>,
        targets: Vec<Target>,
        rows: RowSource,
        body: Vec<Statement>,
    },
    Exit {
        label: Option<String>,
        condition: Option<Fragment>,
    },
    Continue {
        label: Option<String>,
        condition: Option<Fragment>,
    },
    Return,
    Perform(Fragment),
    /// An SQL statement; INTO is taken out of its text.
    Sql {
        sql: Fragment,
        into: Option<Into>,
    },
    /// CALL: variables that stand alone as arguments take the values of OUT and INOUT ones.
    Call {
        sql: Fragment,
        arguments: Vec<Fragment>,
    },
    Execute {
        query: Fragment,
        into: Option<Into>,
        using: Vec<Fragment>,
    },
    Open {
        cursor: Target,
        /// The arguments of a bound cursor.
        arguments: Vec<Fragment>,
        query: Option<RowSource>,
    },
    Fetch {
        cursor: Target,
        into: Into,
    },
    Move {
        cursor: Target,
        count: Count,
    },
    Close {
        cursor: Target,
    },
    Raise(Raise),
    GetDiagnostics(Vec<(Target, Diagnostic)>),
    Commit,
    Rollback,
    Null,
}

/// The rows of a loop or of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSource {
    Query(Fragment),
    Execute {
        query: Fragment,
        using: Vec<Fragment>,
    },
    /// A bound cursor with its arguments.
    Cursor {
        name: String,
        arguments: Vec<Fragment>,
    },
}

/// How many rows MOVE skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Rows(u64),
    All,
}

/// `RAISE [level] 'format' [, value…] [USING option = value…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raise {
    pub level: crate::Level,
    pub what: Raised,
    pub using: Vec<(RaiseOption, Fragment)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raised {
    /// RAISE alone: the error that a handler is for.
    Again,
    /// A text between whose percent signs the values go.
    Format { format: String, values: Vec<Fragment> },
    /// RAISE SQLSTATE '…'.
    State(String),
    /// Only USING.
    Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaiseOption {
    Message,
    Detail,
    Hint,
    ErrCode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnostic {
    RowCount,
}
