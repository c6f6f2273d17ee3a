//! Locks, open transactions, vacuums, analyses and what they found.

use base::SqlType::{self, BigInt, Boolean, Char, Integer, Oid as OidType, Text, Timestamp};
use base::segment::Datum;
use catalog::SHARE_WHOLE;

use super::builder::{NULL, row};
use super::context::SystemContext;
use super::{Rows, Space, SystemTable};
use crate::leader::history::cut;
use crate::leader::upkeep::Record;
use crate::locks::Mode;

pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable::table("pg_locks", 0, PG_LOCKS, pg_locks),
    view("stv_locks", LOCKS, locks),
    view("stv_tbl_trans", TBL_TRANS, table_transactions),
    view("svv_transactions", TRANSACTIONS, transactions),
    view("stl_vacuum", VACUUM, vacuum),
    view("svv_vacuum_progress", PROGRESS, progress),
    view("svv_vacuum_summary", SUMMARY, summary),
    view("stl_analyze", ANALYZE, analyses),
    view("sys_analyze_history", ANALYZE_HISTORY, analyze_history),
    SystemTable::table("pg_statistic_indicator", 0, INDICATOR, indicators),
    view("pg_stats", STATS, stats),
];

type Columns = &'static [(&'static str, SqlType)];

const fn view(
    name: &'static str,
    columns: Columns,
    rows: fn(&SystemContext) -> Rows,
) -> SystemTable {
    SystemTable::view(Space::PgCatalog, name, columns, rows)
}

const PG_LOCKS: Columns = &[
    ("locktype", Text),
    ("relation", OidType),
    ("database", OidType),
    ("transaction", SqlType::Xid),
    ("pid", Integer),
    ("mode", Text),
    ("granted", Boolean),
    ("query_start", SqlType::TimestampTz),
];

fn pg_locks(context: &SystemContext) -> Rows {
    let shown = context.leader.locks.shown().into_iter();
    shown
        .map(|lock| {
            row![
                "relation",
                lock.target.table,
                lock.target.database,
                context.leader.transaction_of(lock.owner),
                lock.owner,
                lock.mode.name(),
                lock.granted,
                lock.since_us,
            ]
        })
        .collect()
}

const LOCKS: Columns = &[
    ("table_id", BigInt),
    ("last_commit", Timestamp),
    ("last_update", Timestamp),
    ("lock_owner", BigInt),
    ("lock_owner_pid", BigInt),
    ("lock_owner_start_ts", Timestamp),
    ("lock_owner_end_ts", Timestamp),
    ("lock_status", Char(22)),
];

/// Superusers see all locks, as documented.
fn locks(context: &SystemContext) -> Rows {
    if !context.is_superuser() {
        return Rows::new();
    }
    let shown = context.leader.locks.shown().into_iter();
    shown
        .map(|lock| {
            let status = match (lock.granted, lock.mode) {
                (false, _) => "Waiting for lock",
                (true, Mode::Append) => "Holding insert lock",
                (true, Mode::Modify) => "Holding delete lock",
                (true, Mode::Exclusive) => "Holding write lock",
            };
            row![
                lock.target.table,
                NULL,
                lock.since_us,
                context.leader.transaction_of(lock.owner),
                lock.owner,
                lock.since_us,
                NULL,
                status,
            ]
        })
        .collect()
}

const TBL_TRANS: Columns = &[
    ("slice", Integer),
    ("id", Integer),
    ("rows", BigInt),
    ("size", BigInt),
    ("query_id", BigInt),
    ("ref_cnt", Integer),
    ("from_suspended", Integer),
    ("prep_swap", Integer),
];

/// Statements keep no tables of their own in the catalog: those that they spill are files.
fn table_transactions(_: &SystemContext) -> Rows {
    Rows::new()
}

const TRANSACTIONS: Columns = &[
    ("txn_owner", Text),
    ("txn_db", Text),
    ("xid", BigInt),
    ("pid", Integer),
    ("txn_start", Timestamp),
    ("lock_mode", Text),
    ("lockable_object_type", Text),
    ("relation", Integer),
    ("granted", Boolean),
];

/// A row for each open transaction and one for each table that it locks or waits for.
fn transactions(context: &SystemContext) -> Rows {
    let locks = context.leader.locks.shown();
    let mut rows = Rows::new();
    for session in context.leader.sessions() {
        let activity = session.activity();
        let running = activity.running.as_ref();
        let since = activity.block_since_us.or(running.map(|running| running.started_us));
        let Some(since) = since.filter(|_| context.may_see(session.user_oid)) else { continue };
        let transaction = context.leader.transaction_of(session.process_id);
        let own = locks.iter().filter(|lock| lock.owner == session.process_id);
        rows.extend(own.map(|lock| {
            row![
                &session.user,
                &session.database,
                transaction,
                session.process_id,
                since,
                lock.mode.name(),
                "relation",
                lock.target.table,
                lock.granted,
            ]
        }));
        rows.push(row![
            &session.user,
            &session.database,
            transaction,
            session.process_id,
            since,
            "ExclusiveLock",
            "transactionid",
            NULL,
            true,
        ]);
    }
    rows
}

const VACUUM: Columns = &[
    ("userid", Integer),
    ("xid", BigInt),
    ("table_id", Integer),
    ("status", Char(30)),
    ("rows", BigInt),
    ("sortedrows", Integer),
    ("blocks", Integer),
    ("max_merge_partitions", Integer),
    ("eventtime", Timestamp),
    ("reclaimable_rows", BigInt),
    ("reclaimable_space_mb", BigInt),
    ("cutoff_xid", BigInt),
    ("is_recluster", Integer),
];

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Two rows for each vacuum, when it began and when it ended; for superusers, as documented.
fn vacuum(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for record in visible(context) {
        let recluster = i32::from(record.kind == "Recluster");
        let started = match record.kind {
            "Background" => "[VacuumBG] Started".to_owned(),
            kind => format!("Started {kind}"),
        };
        rows.push(row![
            record.user,
            record.transaction,
            record.table,
            started,
            record.rows_before,
            record.sorted_before,
            mebibytes(record.done.bytes_before),
            1i32,
            record.started_us,
            record.done.rows_purged,
            mebibytes(record.done.bytes_before.saturating_sub(record.done.bytes_after)),
            NULL,
            recluster,
        ]);
        let Some(ended) = record.ended_us else { continue };
        let status = match (record.kind, record.failed) {
            (_, true) => "Failed",
            ("Background", _) => "[VacuumBG] Finished",
            _ => "Finished",
        };
        rows.push(row![
            record.user,
            record.transaction,
            record.table,
            status,
            record.rows_before.saturating_sub(record.done.rows_purged),
            record.sorted_after,
            mebibytes(record.done.bytes_after),
            1i32,
            ended,
            0i64,
            0i64,
            NULL,
            recluster,
        ]);
    }
    rows
}

fn visible(context: &SystemContext) -> Vec<Record> {
    if !context.is_superuser() {
        return Vec::new();
    }
    context.leader.upkeep.records()
}

const PROGRESS: Columns =
    &[("table_name", Text), ("status", Text), ("time_remaining_estimate", Text)];

/// The newest vacuum that a user asked for.
fn progress(context: &SystemContext) -> Rows {
    let asked = |record: &&Record| record.kind != "Background";
    let records = visible(context);
    let Some(newest) = records.iter().rev().find(asked) else { return Rows::new() };
    let status = match (newest.ended_us, newest.failed) {
        (None, _) => "Vacuum in progress".to_owned(),
        (Some(_), true) => "Failed".to_owned(),
        (Some(_), false) => "Complete".to_owned(),
    };
    vec![row![&newest.name, status, NULL]]
}

const SUMMARY: Columns = &[
    ("table_name", Text),
    ("xid", BigInt),
    ("sort_partitions", BigInt),
    ("merge_increments", BigInt),
    ("elapsed_time", BigInt),
    ("row_delta", BigInt),
    ("sortedrow_delta", BigInt),
    ("block_delta", Integer),
    ("max_merge_partitions", Integer),
];

fn summary(context: &SystemContext) -> Rows {
    let signed = |after: u64, before: u64| {
        let (after, before) = (i128::from(after), i128::from(before));
        i64::try_from(after - before).unwrap_or(0)
    };
    let records = visible(context).into_iter();
    records
        .filter_map(|record| {
            let done = record.done;
            Some(row![
                &record.name,
                record.transaction,
                1i64,
                1i64,
                record.ended_us? - record.started_us,
                signed(0, done.rows_purged),
                signed(record.sorted_after, record.sorted_before),
                signed(mebibytes(done.bytes_after), mebibytes(done.bytes_before)),
                1i32,
            ])
        })
        .collect()
}

const ANALYZE: Columns = &[
    ("userid", Integer),
    ("xid", BigInt),
    ("database", Char(30)),
    ("table_id", Integer),
    ("status", Char(15)),
    ("rows", SqlType::Double),
    ("modified_rows", SqlType::Double),
    ("threshold_percent", Integer),
    ("is_auto", Char(1)),
    ("starttime", Timestamp),
    ("endtime", Timestamp),
    ("prevtime", Timestamp),
    ("num_predicate_cols", Integer),
    ("num_new_predicate_cols", Integer),
    ("is_background", Char(1)),
    ("auto_analyze_phase", Char(100)),
];

/// For superusers, as documented.
fn analyses(context: &SystemContext) -> Rows {
    if !context.is_superuser() {
        return Rows::new();
    }
    let analyses = context.leader.upkeep.analyses().into_iter();
    analyses
        .map(|one| {
            let automatic = if one.automatic { "t" } else { "f" };
            row![
                one.user,
                one.transaction,
                cut(&one.database, 30),
                one.table,
                one.status.name(),
                one.rows as f64,
                one.modified_rows as f64,
                one.threshold_percent,
                automatic,
                one.started_us,
                one.ended_us,
                one.previous_us,
                one.predicate_columns,
                one.new_predicate_columns,
                automatic,
                NULL,
            ]
        })
        .collect()
}

const ANALYZE_HISTORY: Columns = &[
    ("user_id", Integer),
    ("transaction_id", BigInt),
    ("database_name", Text),
    ("schema_name", Text),
    ("table_name", Text),
    ("table_id", Integer),
    ("is_automatic", Char(1)),
    ("status", Text),
    ("start_time", Timestamp),
    ("end_time", Timestamp),
    ("rows", SqlType::Double),
    ("modified_rows", SqlType::Double),
    ("analyze_threshold_percent", Integer),
    ("last_analyze_time", Timestamp),
];

fn analyze_history(context: &SystemContext) -> Rows {
    let analyses = context.leader.upkeep.analyses().into_iter();
    analyses
        .filter(|one| context.may_see(one.user))
        .map(|one| {
            row![
                one.user,
                one.transaction,
                one.database,
                context.namespace_name(one.schema),
                one.name,
                one.table,
                if one.automatic { "t" } else { "f" },
                one.status.name(),
                one.started_us,
                one.ended_us,
                one.rows as f64,
                one.modified_rows as f64,
                one.threshold_percent,
                one.previous_us,
            ]
        })
        .collect()
}

const INDICATOR: Columns = &[
    ("stairelid", OidType),
    ("stairows", SqlType::Double),
    ("staiins", SqlType::Double),
    ("staidels", SqlType::Double),
];

/// Rows of each analyzed table, and those inserted and deleted since.
fn indicators(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let (oid, state) = (relation.oid(), &context.state);
        let Some(known) = state.statistics(oid) else { continue };
        let since = state.changes(oid).since(known.changes);
        let live = state.table_rows(oid) as f64;
        rows.push(row![oid, live, since.inserted as f64, since.deleted as f64]);
    }
    rows
}

const STATS: Columns = &[
    ("schemaname", SqlType::Name),
    ("tablename", SqlType::Name),
    ("attname", SqlType::Name),
    ("null_frac", SqlType::Real),
    ("avg_width", Integer),
    ("n_distinct", SqlType::Real),
    ("most_common_vals", SqlType::TextArray),
    ("most_common_freqs", SqlType::TextArray),
    ("histogram_bounds", SqlType::TextArray),
];

/// The values of tables that the user owns; superusers see all.
fn stats(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    let relations = context.user_relations().into_iter();
    for table in relations.filter_map(|relation| relation.table().cloned()) {
        let Some(known) = context.state.statistics(table.oid) else { continue };
        if !context.may_see(table.owner) {
            continue;
        }
        for column in &table.columns {
            let Some(found) = known.column(column.id) else { continue };
            let share = |share: u32| f64::from(share) / f64::from(SHARE_WHOLE);
            let text = |value: &Datum| exec::value_text(value, column.sql_type);
            let values: Vec<String> = found.common.iter().map(|(value, _)| text(value)).collect();
            let shares: Vec<String> =
                found.common.iter().map(|(_, of)| share(*of).to_string()).collect();
            let bounds: Vec<String> = found.bounds.iter().map(text).collect();
            rows.push(row![
                context.namespace_name(table.schema),
                &table.name,
                &column.name,
                share(found.nulls),
                found.width,
                found.distinct as f64,
                values,
                shares,
                bounds,
            ]);
        }
    }
    rows
}
