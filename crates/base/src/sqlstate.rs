//! SQLSTATE codes: the closed list of conditions that Blueshift reports.
//!
//! Codes and names follow PostgreSQL's appendix of error codes; Redshift uses the same five
//! characters. One condition per code: the name is what code branches on.

macro_rules! sqlstates {
    ($($name:ident = $code:literal,)*) => {
        /// A condition reported to a client, with its five-character code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SqlState { $($name,)* }

        impl SqlState {
            /// Every condition, in code order.
            pub const ALL: &[SqlState] = &[$(SqlState::$name,)*];

            /// The five-character code, for example `42P01`.
            pub const fn code(self) -> &'static str {
                match self { $(SqlState::$name => $code,)* }
            }

            /// The condition of a code, or `None` when the code is not in the list.
            pub fn from_code(code: &str) -> Option<SqlState> {
                match code { $($code => Some(SqlState::$name),)* _ => None }
            }
        }
    };
}

sqlstates! {
    SuccessfulCompletion = "00000",
    Warning = "01000",
    ConnectionException = "08000",
    ConnectionFailure = "08006",
    ProtocolViolation = "08P01",
    FeatureNotSupported = "0A000",
    StackedDiagnosticsAccessedWithoutActiveHandler = "0Z002",
    CaseNotFound = "20000",
    CardinalityViolation = "21000",
    DataException = "22000",
    StringDataRightTruncation = "22001",
    NumericValueOutOfRange = "22003",
    NullValueNotAllowed = "22004",
    InvalidDatetimeFormat = "22007",
    DatetimeFieldOverflow = "22008",
    SubstringError = "22011",
    DivisionByZero = "22012",
    InvalidEscapeSequence = "22025",
    InvalidParameterValue = "22023",
    InvalidRegularExpression = "2201B",
    InvalidArgumentForLogarithm = "2201E",
    InvalidArgumentForPowerFunction = "2201F",
    CharacterNotInRepertoire = "22021",
    InvalidTextRepresentation = "22P02",
    InvalidBinaryRepresentation = "22P03",
    BadCopyFileFormat = "22P04",
    NotNullViolation = "23502",
    CheckViolation = "23514",
    InvalidCursorState = "24000",
    ActiveSqlTransaction = "25001",
    ReadOnlySqlTransaction = "25006",
    NoActiveSqlTransaction = "25P01",
    InFailedSqlTransaction = "25P02",
    IdleInTransactionSessionTimeout = "25P03",
    InvalidSqlStatementName = "26000",
    InvalidAuthorizationSpecification = "28000",
    InvalidPassword = "28P01",
    DependentObjectsStillExist = "2BP01",
    InvalidTransactionTermination = "2D000",
    InvalidCursorName = "34000",
    InvalidSavepointSpecification = "3B001",
    InvalidCatalogName = "3D000",
    InvalidSchemaName = "3F000",
    SerializationFailure = "40001",
    StatementCompletionUnknown = "40003",
    DeadlockDetected = "40P01",
    SyntaxError = "42601",
    InsufficientPrivilege = "42501",
    CannotCoerce = "42846",
    GroupingError = "42803",
    WindowingError = "42P20",
    InvalidRecursion = "42P19",
    DatatypeMismatch = "42804",
    WrongObjectType = "42809",
    UndefinedColumn = "42703",
    UndefinedFunction = "42883",
    UndefinedTable = "42P01",
    UndefinedParameter = "42P02",
    UndefinedObject = "42704",
    DuplicateColumn = "42701",
    DuplicateCursor = "42P03",
    DuplicateDatabase = "42P04",
    DuplicatePreparedStatement = "42P05",
    DuplicateSchema = "42P06",
    DuplicateTable = "42P07",
    DuplicateAlias = "42712",
    DuplicateFunction = "42723",
    DuplicateObject = "42710",
    AmbiguousColumn = "42702",
    AmbiguousFunction = "42725",
    InvalidColumnReference = "42P10",
    InvalidColumnDefinition = "42611",
    InvalidFunctionDefinition = "42P13",
    InvalidTableDefinition = "42P16",
    InvalidObjectDefinition = "42P17",
    IndeterminateDatatype = "42P18",
    NameTooLong = "42622",
    ReservedName = "42939",
    InsufficientResources = "53000",
    DiskFull = "53100",
    OutOfMemory = "53200",
    TooManyConnections = "53300",
    ConfigurationLimitExceeded = "53400",
    ProgramLimitExceeded = "54000",
    StatementTooComplex = "54001",
    TooManyColumns = "54011",
    TooManyArguments = "54023",
    ObjectNotInPrerequisiteState = "55000",
    ObjectInUse = "55006",
    CantChangeRuntimeParam = "55P02",
    LockNotAvailable = "55P03",
    QueryCanceled = "57014",
    AdminShutdown = "57P01",
    CrashShutdown = "57P02",
    CannotConnectNow = "57P03",
    IdleSessionTimeout = "57P05",
    SystemError = "58000",
    IoError = "58030",
    UndefinedFile = "58P01",
    RaiseException = "P0001",
    NoDataFound = "P0002",
    TooManyRows = "P0003",
    InternalError = "XX000",
    DataCorrupted = "XX001",
}

impl SqlState {
    /// The two-character class, for example `42` (syntax error or access rule violation).
    pub fn class(self) -> &'static str {
        &self.code()[..2]
    }
}

impl serde::Serialize for SqlState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for SqlState {
    /// A code that a newer peer knows and this binary does not is read as an internal error.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Ok(SqlState::from_code(&code).unwrap_or(SqlState::InternalError))
    }
}

#[cfg(test)]
mod tests {
    use super::SqlState;

    #[test]
    fn codes_are_five_characters_and_round_trip() {
        for state in SqlState::ALL {
            assert_eq!(state.code().len(), 5);
            assert_eq!(SqlState::from_code(state.code()), Some(*state));
        }
    }
}
