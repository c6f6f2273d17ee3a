//! Live views of the leader: sessions, running statements, slices, loads in progress.

use base::SqlType::{self, BigInt, Char, Integer, Text, Timestamp};

use super::builder::{NULL, row};
use super::context::SystemContext;
use super::{Rows, Space, SystemTable};
use crate::leader::compaction;
use crate::leader::history::{Ending, cut};

pub(crate) static TABLES: &[SystemTable] = &[
    view("stv_recents", RECENTS, recents),
    view("stv_sessions", SESSIONS, sessions),
    view("stv_inflight", INFLIGHT, inflight),
    view("stv_slices", SLICES, slices),
    view("stv_load_state", LOAD_STATE, load_state),
    view("pg_stat_progress_copy", PROGRESS_COPY, progress_copy),
    view("stv_tbl_perm", TBL_PERM, tbl_perm),
    view("stv_node_storage_capacity", STORAGE, storage),
];

type Columns = &'static [(&'static str, SqlType)];

const fn view(
    name: &'static str,
    columns: Columns,
    rows: fn(&SystemContext) -> Rows,
) -> SystemTable {
    SystemTable::view(Space::PgCatalog, name, columns, rows)
}

const RECENTS: Columns = &[
    ("userid", Integer),
    ("status", Char(20)),
    ("starttime", Timestamp),
    ("duration", Integer),
    ("user_name", Char(50)),
    ("db_name", Char(50)),
    ("query", Char(600)),
    ("pid", Integer),
];

/// How many finished statements stv_recents shows beside the running ones.
const RECENT_MAX: usize = 100;

fn recents(context: &SystemContext) -> Rows {
    let now = base::clock::now_us();
    let mut rows = Rows::new();
    for session in context.leader.sessions() {
        let Some(running) = session.activity().running else { continue };
        if context.may_see(session.user_oid) {
            rows.push(row![
                session.user_oid,
                "Running",
                running.started_us,
                now - running.started_us,
                &session.user,
                &session.database,
                cut(&running.text, 600),
                session.process_id,
            ]);
        }
    }
    let finished = context.leader.history().all();
    let finished = finished.iter().rev().filter(|record| context.may_see(record.user_oid));
    rows.extend(finished.take(RECENT_MAX).map(|record| {
        row![
            record.user_oid,
            "Done",
            record.started_us,
            record.ended_us - record.started_us,
            &record.user,
            &record.database,
            cut(&record.text, 600),
            record.process_id,
        ]
    }));
    rows
}

const SESSIONS: Columns = &[
    ("starttime", Timestamp),
    ("process", Integer),
    ("user_name", Char(50)),
    ("db_name", Char(50)),
    ("timeout_sec", Integer),
];

fn sessions(context: &SystemContext) -> Rows {
    let sessions = context.leader.sessions().into_iter();
    sessions
        .filter(|session| context.may_see(session.user_oid))
        .map(|session| {
            let timeout = &session.idle_limits.session_ms;
            let seconds = timeout.load(std::sync::atomic::Ordering::Relaxed).div_ceil(1_000);
            row![session.started_us, session.process_id, &session.user, &session.database, seconds]
        })
        .collect()
}

const INFLIGHT: Columns = &[
    ("userid", Integer),
    ("slice", Integer),
    ("query", Integer),
    ("label", Char(320)),
    ("xid", BigInt),
    ("pid", Integer),
    ("starttime", Timestamp),
    ("text", Char(100)),
    ("suspended", Integer),
    ("insert_pristine", Integer),
    ("concurrency_scaling_status", Integer),
];

fn inflight(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for session in context.leader.sessions() {
        let Some(running) = session.activity().running else { continue };
        if context.may_see(session.user_oid) {
            rows.push(row![
                session.user_oid,
                // The leader, as Redshift numbers it.
                12_811i32,
                running.id.0,
                running.label,
                running.transaction,
                session.process_id,
                running.started_us,
                cut(&running.text, 100),
                0i32,
                0i32,
                0i32,
            ]);
        }
    }
    rows
}

const SLICES: Columns =
    &[("node", Integer), ("slice", Integer), ("localslice", Integer), ("type", Char(1))];

fn slices(context: &SystemContext) -> Rows {
    let count = usize::from(context.state.slice_count());
    let nodes = context.leader.node_count().max(1);
    // Nodes own equal contiguous ranges of slices.
    let per_node = count.div_ceil(nodes).max(1);
    (0..count).map(|slice| row![slice / per_node, slice, slice % per_node, "D"]).collect()
}

const LOAD_STATE: Columns = &[
    ("userid", Integer),
    ("session", Integer),
    ("query", Integer),
    ("slice", Integer),
    ("pid", Integer),
    ("recordtime", Timestamp),
    ("bytes_to_load", BigInt),
    ("bytes_loaded", BigInt),
    ("bytes_to_load_compressed", BigInt),
    ("bytes_loaded_compressed", BigInt),
    ("lines", Integer),
    ("num_files", Integer),
    ("num_files_complete", Integer),
    ("current_file", Char(256)),
    ("pct_complete", Integer),
];

fn load_state(context: &SystemContext) -> Rows {
    let now = base::clock::now_us();
    let mut rows = Rows::new();
    for session in context.leader.sessions() {
        let Some(running) = session.activity().running else { continue };
        let Some(load) = running.load.as_ref().filter(|_| context.may_see(session.user_oid)) else {
            continue;
        };
        let load = crate::statement::copy::Reading::of(load);
        rows.push(row![
            session.user_oid,
            session.process_id,
            running.id.0,
            0i32,
            session.process_id,
            now,
            load.bytes_total,
            load.bytes_done,
            load.bytes_total,
            load.bytes_done,
            load.rows,
            load.files_total,
            load.files_done,
            "",
            load.percent(),
        ]);
    }
    rows
}

const PROGRESS_COPY: Columns = &[
    ("pid", Integer),
    ("datid", SqlType::Oid),
    ("datname", SqlType::Name),
    ("relid", SqlType::Oid),
    ("command", Text),
    ("type", Text),
    ("bytes_processed", BigInt),
    ("bytes_total", BigInt),
    ("tuples_processed", BigInt),
    ("tuples_excluded", BigInt),
];

fn progress_copy(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for session in context.leader.sessions() {
        let Some(running) = session.activity().running else { continue };
        let Some(load) = running.load.as_ref().filter(|_| context.may_see(session.user_oid)) else {
            continue;
        };
        let load = crate::statement::copy::Reading::of(load);
        rows.push(row![
            session.process_id,
            session.database_oid,
            &session.database,
            0u32,
            "COPY FROM",
            "FILE",
            load.bytes_done,
            load.bytes_total,
            load.rows,
            0i64,
        ]);
    }
    rows
}

const TBL_PERM: Columns = &[
    ("slice", Integer),
    ("id", Integer),
    ("name", Char(72)),
    ("rows", BigInt),
    ("sorted_rows", BigInt),
    ("temp", Integer),
    ("db_id", Integer),
    ("insert_pristine", Integer),
    ("delete_pristine", Integer),
    ("backup", Integer),
    ("dist_style", Integer),
    ("block_count", Integer),
];

fn tbl_perm(context: &SystemContext) -> Rows {
    if !context.is_superuser() {
        return Rows::new();
    }
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let Some(table) = relation.table() else { continue };
        let mut by_slice = std::collections::BTreeMap::new();
        for segment in context.state.segments(table.oid).iter() {
            // The one copy of a DISTSTYLE ALL table is shown under Redshift's number for it.
            let slice = segment.slice.map_or(6_411, |slice| i32::from(slice.0));
            by_slice.entry(slice).or_insert_with(Vec::new).push(std::sync::Arc::clone(segment));
        }
        for (slice, segments) in by_slice {
            let count: u64 = segments.iter().map(|segment| segment.rows).sum();
            let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
            let live: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
            let sorted = match table.sort_key.columns() {
                [] => 0,
                _ => live.saturating_sub(compaction::unsorted_rows(table, &segments)),
            };
            rows.push(row![
                slice,
                table.oid,
                &table.name,
                count,
                sorted,
                i32::from(table.temporary.is_some()),
                context.database.oid,
                0i32,
                0i32,
                i32::from(table.backup),
                0i32,
                bytes.div_ceil(1 << 20),
            ]);
        }
    }
    rows
}

const STORAGE: Columns = &[("node", Integer), ("used", Integer), ("capacity", BigInt)];

/// Storage is shared, so that each node's share is shown.
fn storage(context: &SystemContext) -> Rows {
    let nodes = context.leader.node_count().max(1);
    let tables = context.state.all_relations().filter_map(|relation| relation.table());
    let bytes: u64 = tables.map(|table| context.state.table_bytes(table.oid)).sum();
    let share = bytes.div_ceil(1 << 20) / nodes as u64;
    (0..nodes).map(|node| row![node, share, NULL]).collect()
}

/// Whether a finished statement counts as aborted in `stl_query` and its kin.
pub(crate) fn aborted(ending: &Ending) -> i32 {
    i32::from(*ending != Ending::Success)
}
