//! The table of settings: name, type, default, whether clients are told of changes.

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    /// Milliseconds; accepts PostgreSQL's units.
    DurationMs,
    /// One of a closed list, case-insensitive.
    OneOf(&'static [&'static str]),
    SearchPath,
    DateStyle,
    TimeZone,
    Encoding,
    Isolation,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    /// Sent as ParameterStatus at start-up and when it changes.
    pub(crate) reported: bool,
    /// The spelling in ParameterStatus where it differs from the name.
    pub(crate) report_name: Option<&'static str>,
    pub(crate) read_only: bool,
    pub(crate) about: &'static str,
}

const fn setting(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Setting {
    Setting { name, kind, default, reported: false, report_name: None, read_only: false, about }
}

impl Setting {
    const fn fixed(mut self) -> Setting {
        self.read_only = true;
        self
    }

    const fn told(mut self) -> Setting {
        self.reported = true;
        self
    }

    const fn told_as(mut self, name: &'static str) -> Setting {
        self.reported = true;
        self.report_name = Some(name);
        self
    }
}

const INT: Kind = Kind::Int { min: 0, max: i32::MAX as i64 };
/// Redshift's limit is twenty days.
const IDLE_SECONDS: Kind = Kind::Int { min: 0, max: 1_728_000 };
/// Ninety days.
const RETENTION_SECONDS: Kind = Kind::Int { min: 0, max: 7_776_000 };
const ON_OFF: Kind = Kind::Bool;
const LEVELS: Kind = Kind::OneOf(&[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "info", "notice", "warning",
    "error",
]);

const SLOTS: &str = "Slots of a query; all queries share one queue, so that it changes nothing.";

/// The SHOW commands are served completely, so drivers may use them for all their metadata.
pub(crate) const SHOW_DISCOVERY: &str = "4";

/// Every setting. The reported ones come first, in the order in which they are announced.
pub(crate) static TABLE: &[Setting] = &[
    setting("server_version", Kind::Text, "8.0.2", "The PostgreSQL version that drivers assume.")
        .fixed()
        .told(),
    setting("client_encoding", Kind::Encoding, "UTF8", "The client's character set.").told(),
    setting("datestyle", Kind::DateStyle, "ISO, MDY", "How dates are read and shown.")
        .told_as("DateStyle"),
    setting("integer_datetimes", Kind::Bool, "on", "Times are 64-bit integers.").fixed().told(),
    setting("timezone", Kind::TimeZone, "UTC", "The session's time zone.").told_as("TimeZone"),
    setting("application_name", Kind::Text, "", "The client's name for itself.").told(),
    setting("is_superuser", Kind::Bool, "off", "Whether the user is a superuser.").fixed().told(),
    setting("session_authorization", Kind::Text, "", "The session's user.").fixed().told(),
    setting("server_encoding", Kind::Text, "UTF8", "The database's character set.").fixed().told(),
    setting("datashare_enabled", Kind::Bool, "on", "Metadata commands name databases.")
        .fixed()
        .told(),
    setting("external_database", Kind::Bool, "off", "The database is not an external one.")
        .fixed()
        .told(),
    setting("show_discovery", Kind::Int { min: 0, max: 9 }, SHOW_DISCOVERY, "Level of SHOW.")
        .fixed()
        .told(),
    setting("padb_version", Kind::Text, crate::PADB_VERSION, "The version for ODBC.")
        .fixed()
        .told(),
    setting("search_path", Kind::SearchPath, "$user, public", "Schemas searched for names."),
    setting("statement_timeout", Kind::DurationMs, "0", "Longest run of a statement."),
    setting("query_group", Kind::Text, "default", "A label for queries."),
    setting(
        "enable_vector_joins",
        ON_OFF,
        "on",
        "Hash joins run on vectors of keys where they can.",
    ),
    setting(
        "enable_vector_pipelines",
        ON_OFF,
        "on",
        "Aggregations run on encoded blocks where they can.",
    ),
    setting(
        "extra_float_digits",
        Kind::Int { min: -15, max: 3 },
        "0",
        "Digits of floating-point output.",
    ),
    setting("enable_join_reordering", ON_OFF, "on", "Joins run in the order that costs least."),
    setting(
        "join_order_seed",
        Kind::Int { min: 0, max: i64::MAX },
        "0",
        "Joins run in some order, another for each number but 0: for comparisons.",
    ),
    setting(
        "enable_shared_subplans",
        ON_OFF,
        "on",
        "A subquery that a statement has several times runs once.",
    ),
    setting("enable_case_sensitive_identifier", ON_OFF, "off", "Quoted names keep their case."),
    // The lexer always takes a backslash in '...' as an escape: a client that believed
    // otherwise could be tricked by quoting, so `on` is refused.
    setting(
        "standard_conforming_strings",
        Kind::OneOf(&["off"]),
        "off",
        "Backslashes in literals are escapes.",
    ),
    setting("transaction_isolation", Kind::Isolation, "repeatable read", "Isolation level."),
    setting("default_transaction_isolation", Kind::Isolation, "repeatable read", "Isolation."),
    setting("transaction_read_only", ON_OFF, "off", "The transaction cannot write."),
    setting("default_transaction_read_only", ON_OFF, "off", "Transactions cannot write."),
    setting("client_min_messages", LEVELS, "notice", "The least severe message sent."),
    setting("wlm_query_slot_count", Kind::Int { min: 1, max: 50 }, "1", SLOTS),
    setting("lock_timeout", Kind::DurationMs, "0", "Longest wait for a table lock."),
    setting("session_timeout", IDLE_SECONDS, "0", "Idle seconds before the session ends."),
    setting("idle_session_timeout", Kind::DurationMs, "0", "Idle time of a session."),
    setting(
        "idle_in_transaction_session_timeout",
        Kind::DurationMs,
        "0",
        "Idle time of a transaction block.",
    ),
    setting("auto_vacuum", ON_OFF, "on", "Tables are compacted and sorted in the background.")
        .fixed(),
    setting("auto_analyze", ON_OFF, "on", "Changed tables are analyzed in the background.").fixed(),
    setting(
        "analyze_threshold_percent",
        Kind::Int { min: 0, max: 100 },
        "10",
        "Changed rows below which ANALYZE skips a table.",
    ),
    setting(
        catalog::RETENTION_SETTING,
        RETENTION_SECONDS,
        "0",
        "Seconds for which data that is gone can be read; ALTER SYSTEM changes it.",
    )
    .fixed(),
    setting("bytea_output", Kind::OneOf(&["hex"]), "hex", "How binary values are shown."),
    setting("intervalstyle", Kind::OneOf(&["postgres"]), "postgres", "How intervals are shown."),
    setting("lc_collate", Kind::Text, "C", "Strings sort by their bytes.").fixed(),
    setting("lc_ctype", Kind::Text, "C", "Letters are told by their bytes.").fixed(),
    setting("max_identifier_length", INT, "127", "Longest name in bytes.").fixed(),
    setting("max_index_keys", INT, "32", "Columns of a key.").fixed(),
    setting("max_cursor_result_set_size", INT, "0", "Cursors have no size limit.").fixed(),
    setting("server_version_num", INT, "80002", "server_version as a number.").fixed(),
];
