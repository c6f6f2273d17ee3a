//! Locks, open transactions and vacuums.

use base::SqlType::{self, BigInt, Boolean, Char, Integer, Oid as OidType, Text, Timestamp};

use super::builder::{NULL, row};
use super::context::SystemContext;
use super::{Rows, Space, SystemTable};
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
