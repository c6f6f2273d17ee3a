//! What happened: statements, load errors, loads, as `stl_…` and `sys_…` show them.

use base::SqlType::{self, BigInt, Boolean, Char, Integer, Text, Timestamp, Varchar};

use super::builder::{Cell, NULL, row};
use super::context::SystemContext;
use super::stv::aborted;
use super::{Rows, Space, SystemTable};
use crate::leader::history::{Ending, QueryRecord, cut};

pub(crate) static TABLES: &[SystemTable] = &[
    view("stl_load_errors", LOAD_ERRORS, load_errors),
    view("sys_load_error_detail", SYS_LOAD_ERRORS, sys_load_errors),
    view("sys_load_history", SYS_LOADS, sys_loads),
    view("sys_query_history", SYS_QUERIES, sys_queries),
    view("stl_query", STL_QUERY, stl_query),
    view("stl_querytext", QUERYTEXT, query_text),
    view("svl_qlog", QLOG, qlog),
    view("sys_connection_log", CONNECTIONS, connections),
    view("stl_connection_log", STL_CONNECTIONS, stl_connections),
];

type Columns = &'static [(&'static str, SqlType)];

const fn view(
    name: &'static str,
    columns: Columns,
    rows: fn(&SystemContext) -> Rows,
) -> SystemTable {
    SystemTable::view(Space::PgCatalog, name, columns, rows)
}

const LOAD_ERRORS: Columns = &[
    ("userid", Integer),
    ("slice", Integer),
    ("tbl", Integer),
    ("starttime", Timestamp),
    ("session", Integer),
    ("query", Integer),
    ("filename", Char(256)),
    ("line_number", BigInt),
    ("colname", Char(127)),
    ("type", Char(10)),
    ("col_length", Char(10)),
    ("position", Integer),
    ("raw_line", Char(1024)),
    ("raw_field_value", Char(1024)),
    ("err_code", Integer),
    ("err_reason", Char(100)),
    ("is_partial", Integer),
    ("start_offset", BigInt),
    ("copy_job_id", BigInt),
];

fn load_errors(context: &SystemContext) -> Rows {
    let errors = context.state.load_errors().into_iter();
    errors
        .filter(|error| context.may_see(error.user))
        .map(|error| {
            row![
                error.user,
                error.slice.0,
                error.table,
                error.started_us,
                error.session,
                error.query.0,
                cut(&error.file, 256),
                error.line,
                cut(&error.column, 127),
                cut(&error.column_type, 10),
                cut(&error.column_length, 10),
                error.position,
                cut(&error.raw_line, 1_024),
                cut(&error.raw_field, 1_024),
                error.code,
                cut(&error.reason, 100),
                0i32,
                0i64,
                NULL,
            ]
        })
        .collect()
}

const SYS_LOAD_ERRORS: Columns = &[
    ("user_id", Integer),
    ("query_id", BigInt),
    ("transaction_id", BigInt),
    ("session_id", Integer),
    ("database_name", Char(64)),
    ("table_id", Integer),
    ("start_time", Timestamp),
    ("file_name", Char(256)),
    ("line_number", BigInt),
    ("column_name", Char(127)),
    ("column_type", Char(10)),
    ("column_length", Char(10)),
    ("position", Integer),
    ("error_code", Integer),
    ("error_message", Char(512)),
];

fn sys_load_errors(context: &SystemContext) -> Rows {
    let errors = context.state.load_errors().into_iter();
    errors
        .filter(|error| context.may_see(error.user))
        .map(|error| {
            row![
                error.user,
                error.query.0,
                NULL,
                error.session,
                &context.database.name,
                error.table,
                error.started_us,
                cut(&error.file, 256),
                error.line,
                cut(&error.column, 127),
                cut(&error.column_type, 10),
                cut(&error.column_length, 10),
                error.position,
                error.code,
                cut(&error.reason, 512),
            ]
        })
        .collect()
}

/// The finished statements that the asking user may see, newest last.
fn records(context: &SystemContext) -> Vec<std::sync::Arc<QueryRecord>> {
    let mut records = context.leader.history().all();
    records.retain(|record| context.may_see(record.user_oid));
    records
}

const SYS_LOADS: Columns = &[
    ("user_id", Integer),
    ("query_id", BigInt),
    ("transaction_id", BigInt),
    ("session_id", Integer),
    ("database_name", Text),
    ("status", Text),
    ("table_name", Text),
    ("start_time", Timestamp),
    ("end_time", Timestamp),
    ("duration", BigInt),
    ("data_source", Text),
    ("file_format", Text),
    ("loaded_rows", BigInt),
    ("loaded_bytes", BigInt),
    ("source_file_count", Integer),
    ("source_file_bytes", BigInt),
    ("file_count_scanned", Integer),
    ("file_bytes_scanned", BigInt),
    ("error_count", BigInt),
    ("copy_job_id", BigInt),
];

fn sys_loads(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for record in records(context) {
        let Some(load) = &record.load else { continue };
        let status = if record.ending == Ending::Success { "completed" } else { "aborted" };
        rows.push(row![
            record.user_oid,
            record.id.0,
            record.transaction,
            record.process_id,
            &record.database,
            status,
            &load.table,
            record.started_us,
            record.ended_us,
            record.ended_us - record.started_us,
            &load.source,
            &load.format,
            load.rows,
            load.bytes,
            load.files,
            load.bytes,
            load.files,
            load.bytes,
            load.errors,
            NULL,
        ]);
    }
    rows
}

const SYS_QUERIES: Columns = &[
    ("user_id", Integer),
    ("query_id", BigInt),
    ("query_label", Char(320)),
    ("transaction_id", BigInt),
    ("session_id", Integer),
    ("database_name", Char(128)),
    ("query_type", Char(32)),
    ("status", Char(10)),
    ("result_cache_hit", Boolean),
    ("start_time", Timestamp),
    ("end_time", Timestamp),
    ("elapsed_time", BigInt),
    ("queue_time", BigInt),
    ("execution_time", BigInt),
    ("error_message", Char(512)),
    ("returned_rows", BigInt),
    ("returned_bytes", BigInt),
    ("query_text", Char(4000)),
    ("redshift_version", Char(256)),
    ("usage_limit", Char(150)),
    ("compute_type", Varchar(32)),
    ("compile_time", BigInt),
    ("planning_time", BigInt),
    ("lock_wait_time", BigInt),
    ("service_class_id", Integer),
    ("service_class_name", Char(64)),
    ("query_priority", Char(20)),
    ("short_query_accelerated", Char(10)),
    ("user_query_hash", Char(40)),
    ("generic_query_hash", Char(40)),
    ("query_hash_version", Integer),
    ("result_cache_query_id", Integer),
    ("username", Char(128)),
];

fn sys_queries(context: &SystemContext) -> Rows {
    let mut rows: Rows = records(context).iter().map(|record| finished(record)).collect();
    let now = base::clock::now_us();
    for session in context.leader.sessions() {
        let Some(running) = session.activity().running else { continue };
        if context.may_see(session.user_oid) {
            let mut row: Vec<Cell> = row![
                session.user_oid,
                running.id.0,
                running.label,
                running.transaction,
                session.process_id,
                &session.database,
                running.kind,
                "running",
                false,
                running.started_us,
                NULL,
                now - running.started_us,
                0i64,
                now - running.started_us,
                NULL,
                NULL,
                NULL,
                cut(&running.text, 4_000),
            ];
            row.extend(tail(None, &session.user));
            rows.push(row);
        }
    }
    rows
}

fn finished(record: &QueryRecord) -> Vec<Cell> {
    let (status, message) = match &record.ending {
        Ending::Success => ("success", None),
        Ending::Failed(message) => ("failed", Some(cut(message, 512))),
        Ending::Canceled(message) => ("canceled", Some(cut(message, 512))),
    };
    let elapsed = record.ended_us - record.started_us;
    let planning = record.planned_us.map(|at| at - record.started_us);
    let mut row: Vec<Cell> = row![
        record.user_oid,
        record.id.0,
        &record.label,
        record.transaction,
        record.process_id,
        &record.database,
        record.kind,
        status,
        false,
        record.started_us,
        record.ended_us,
        elapsed,
        0i64,
        elapsed - planning.unwrap_or(0),
        message,
        record.rows,
        NULL,
        &*record.text,
    ];
    row.extend(tail(planning, &record.user));
    row
}

fn tail(planning: Option<i64>, user: &str) -> Vec<Cell> {
    row![
        crate::VERSION,
        NULL,
        "primary",
        0i64,
        planning,
        0i64,
        100i32,
        "Default queue",
        "Normal",
        "false",
        NULL,
        NULL,
        NULL,
        NULL,
        user,
    ]
}

const STL_QUERY: Columns = &[
    ("userid", Integer),
    ("query", Integer),
    ("label", Char(320)),
    ("xid", BigInt),
    ("pid", Integer),
    ("database", Char(32)),
    ("querytxt", Char(4000)),
    ("starttime", Timestamp),
    ("endtime", Timestamp),
    ("aborted", Integer),
    ("insert_pristine", Integer),
    ("concurrency_scaling_status", Integer),
];

fn stl_query(context: &SystemContext) -> Rows {
    let records = records(context).into_iter();
    records
        .map(|record| {
            row![
                record.user_oid,
                record.id.0,
                &record.label,
                record.transaction,
                record.process_id,
                cut(&record.database, 32),
                &*record.text,
                record.started_us,
                record.ended_us,
                aborted(&record.ending),
                0i32,
                0i32,
            ]
        })
        .collect()
}

const QUERYTEXT: Columns = &[
    ("userid", Integer),
    ("xid", BigInt),
    ("pid", Integer),
    ("query", Integer),
    ("sequence", Integer),
    ("text", Char(200)),
];

fn query_text(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for record in records(context) {
        let characters: Vec<char> = record.text.chars().collect();
        for (i, chunk) in characters.chunks(200).enumerate() {
            let text: String = chunk.iter().collect();
            rows.push(row![
                record.user_oid,
                record.transaction,
                record.process_id,
                record.id.0,
                i,
                text,
            ]);
        }
    }
    rows
}

const QLOG: Columns = &[
    ("userid", Integer),
    ("query", Integer),
    ("xid", BigInt),
    ("pid", Integer),
    ("starttime", Timestamp),
    ("endtime", Timestamp),
    ("elapsed", BigInt),
    ("aborted", Integer),
    ("label", Char(320)),
    ("substring", Char(60)),
    ("source_query", Integer),
    ("concurrency_scaling_status_txt", Text),
    ("from_sp_call", Integer),
];

fn qlog(context: &SystemContext) -> Rows {
    let records = records(context).into_iter();
    records
        .map(|record| {
            row![
                record.user_oid,
                record.id.0,
                record.transaction,
                record.process_id,
                record.started_us,
                record.ended_us,
                record.ended_us - record.started_us,
                aborted(&record.ending),
                &record.label,
                cut(&record.text, 60),
                NULL,
                "0 - Concurrency scaling is not enabled",
                NULL,
            ]
        })
        .collect()
}

const CONNECTIONS: Columns = &[
    ("event", Char(50)),
    ("record_time", Timestamp),
    ("remote_host", Char(45)),
    ("remote_port", Char(32)),
    ("session_id", Integer),
    ("database_name", Char(50)),
    ("user_name", Char(50)),
    ("auth_method", Char(32)),
    ("duration", Integer),
    ("ssl_version", Char(50)),
    ("application_name", Char(250)),
    ("driver_version", Char(64)),
    ("os_version", Char(64)),
    ("plugin_name", Char(32)),
    ("protocol_version", Integer),
];

/// The sessions that are open: one authenticated event each.
fn connections(context: &SystemContext) -> Rows {
    let sessions = context.leader.sessions().into_iter();
    sessions
        .filter(|session| context.may_see(session.user_oid))
        .map(|session| {
            row![
                "initiating session",
                session.started_us,
                session.peer.map(|peer| peer.ip().to_string()),
                session.peer.map(|peer| peer.port().to_string()),
                session.process_id,
                &session.database,
                &session.user,
                "password",
                base::clock::now_us() - session.started_us,
                if session.tls { "TLS" } else { "" },
                session.application_name.lock().clone(),
                &session.driver_version,
                &session.os_version,
                "",
                i32::from(session.protocol_version),
            ]
        })
        .collect()
}

const STL_CONNECTIONS: Columns = &[
    ("event", Char(50)),
    ("recordtime", Timestamp),
    ("remotehost", Char(45)),
    ("remoteport", Char(32)),
    ("pid", Integer),
    ("dbname", Char(50)),
    ("username", Char(50)),
    ("authmethod", Char(32)),
    ("duration", Integer),
    ("sslversion", Char(50)),
    ("application_name", Char(250)),
    ("driver_version", Char(64)),
    ("os_version", Char(64)),
    ("plugin_name", Char(32)),
    ("protocol_version", Integer),
];

fn stl_connections(context: &SystemContext) -> Rows {
    connections(context)
}
