//! What operations refuse, with which SQLSTATE, and what they leave behind.

use base::SqlType;
use base::ids::{ColumnId, Oid};

use super::{column, segment, table};
use crate::{
    ADMIN_USER_OID, Cluster, Constraint, DEV_DATABASE_OID, Database, DistStyle, Distribution,
    Identity, IdentityNext, LOAD_ERRORS_MAX, LoadError, Op, PG_TEMP_SCHEMA_OID, PUBLIC_GRANTEE_OID,
    PUBLIC_SCHEMA_OID, Privileges, SYSTEM_USER_OID, Schema, SchemaChange, SortKey, State, Table,
    TableChange, User, UserChange, View,
};

fn base_state() -> State {
    let cluster = Cluster { id: "c".to_owned(), slices: 2, created_us: 0 };
    let admin = User {
        oid: ADMIN_USER_OID,
        name: "awsuser".to_owned(),
        superuser: true,
        ..User::default()
    };
    apply(&apply(&State::default(), Op::CreateCluster(cluster)), Op::CreateUser(admin))
}

#[track_caller]
fn apply(state: &State, op: Op) -> State {
    state.with(&op).unwrap()
}

#[track_caller]
fn refuse(state: &State, op: Op, code: &str) -> base::Error {
    let error = state.with(&op).unwrap_err();
    assert_eq!(error.sqlstate().code(), code, "{error:?}");
    error
}

fn view(oid: u32, name: &str, on: &[u32]) -> View {
    View {
        oid: Oid(oid),
        schema: PUBLIC_SCHEMA_OID,
        name: name.to_owned(),
        owner: SYSTEM_USER_OID,
        sql: "select 1".to_owned(),
        depends_on: on.iter().map(|oid| Oid(*oid)).collect(),
        ..View::default()
    }
}

fn schema(oid: u32, name: &str) -> Schema {
    Schema {
        oid: Oid(oid),
        database: DEV_DATABASE_OID,
        name: name.to_owned(),
        owner: SYSTEM_USER_OID,
        created_us: 0,
    }
}

fn create(oid: u32, name: &str) -> Op {
    Op::CreateTable(table(Oid(oid), name))
}

fn alter(oid: u32, change: TableChange) -> Op {
    Op::AlterTable { table: Oid(oid), change }
}

fn drop_relation(oid: u32, cascade: bool) -> Op {
    Op::DropRelation { relation: Oid(oid), cascade }
}

fn refers(to: u32) -> Constraint {
    Constraint::ForeignKey {
        name: "fk".to_owned(),
        columns: vec![ColumnId(0)],
        table: Oid(to),
        references: vec![ColumnId(0)],
    }
}

#[test]
fn a_fresh_cluster_has_dev_and_public() {
    let state = base_state();
    assert_eq!(state.slice_count(), 2);
    let dev = state.database("dev").unwrap();
    assert_eq!(state.schema(dev.oid, "public").unwrap().oid, PUBLIC_SCHEMA_OID);
    assert_eq!(state.user("awsuser").unwrap().oid, ADMIN_USER_OID);
    assert_eq!(state.next_oid(), base::ids::FIRST_USER_OID);
}

#[test]
fn names_are_unique_where_they_have_to_be() {
    let state = apply(&base_state(), create(100_000, "t"));
    refuse(&state, create(100_001, "t"), "42P07");
    refuse(&state, Op::CreateView(view(100_001, "t", &[])), "42P07");
    refuse(&state, Op::CreateSchema(schema(100_001, "public")), "42P06");
    refuse(&state, Op::CreateSchema(schema(100_001, "information_schema")), "42P06");
    refuse(&state, Op::CreateSchema(schema(100_001, "pg_x")), "42939");
    let database =
        Database { oid: Oid(100_001), name: "dev".into(), owner: Oid(1), ..Database::default() };
    let public_schema = Oid(100_002);
    refuse(&state, Op::CreateDatabase { database, public_schema }, "42P04");
    let user = User { oid: Oid(100_001), name: "awsuser".into(), ..User::default() };
    refuse(&state, Op::CreateUser(user), "42710");
    refuse(&state, create(100_001, &"x".repeat(128)), "42622");
    let other = apply(&state, Op::CreateSchema(schema(100_001, "s")));
    let elsewhere = Table { schema: Oid(100_001), ..table(Oid(100_002), "t") };
    let other = apply(&other, Op::CreateTable(elsewhere));
    assert_eq!(other.relation(Oid(100_001), "t").unwrap().oid(), Oid(100_002));
    assert!(state.relation(Oid(100_001), "t").is_none(), "the older state is as it was");
    let move_back = TableChange::SetSchema(PUBLIC_SCHEMA_OID);
    refuse(&other, alter(100_002, move_back), "42P07");
}

#[test]
fn what_is_absent_is_named_so() {
    let state = base_state();
    refuse(&state, drop_relation(5, false), "42P01");
    refuse(&state, Op::DropSchema { schema: Oid(5), cascade: true }, "3F000");
    refuse(&state, Op::DropDatabase { database: Oid(5) }, "3D000");
    refuse(&state, Op::DropUser { user: Oid(5) }, "42704");
    let nowhere = Table { schema: Oid(5), ..table(Oid(100_000), "t") };
    refuse(&state, Op::CreateTable(nowhere), "3F000");
    let nobody = Table { owner: Oid(5), ..table(Oid(100_000), "t") };
    refuse(&state, Op::CreateTable(nobody), "42704");
    refuse(&state, Op::CreateView(view(100_000, "v", &[5])), "42P01");
    refuse(&state, Op::RemoveAllSegments { table: Oid(5) }, "42P01");
}

#[test]
fn dropping_asks_the_dependents() {
    let state = apply(&base_state(), create(100_000, "t"));
    let state = apply(&state, Op::CreateView(view(100_001, "v", &[100_000])));
    let state = apply(&state, Op::CreateView(view(100_002, "w", &[100_001, 100_000])));
    let child = Table { constraints: vec![refers(100_000)], ..table(Oid(100_003), "child") };
    let state = apply(&state, Op::CreateTable(child));
    assert_eq!(state.dependents(Oid(100_000)).len(), 3);
    let error = refuse(&state, drop_relation(100_000, false), "2BP01");
    let detail = error.get_detail().unwrap();
    assert!(detail.contains("view public.v depends on table public.t"), "{detail}");
    assert!(detail.contains("constraint fk on table public.child depends"), "{detail}");
    let dropped = apply(&state, drop_relation(100_000, true));
    assert!(dropped.relation(PUBLIC_SCHEMA_OID, "v").is_none());
    assert!(dropped.relation(PUBLIC_SCHEMA_OID, "w").is_none());
    let child = dropped.relation(PUBLIC_SCHEMA_OID, "child").unwrap();
    assert!(child.table().unwrap().constraints.is_empty());
    assert!(dropped.dependents(Oid(100_000)).is_empty());
    // A dependent goes first, then nothing holds.
    let state = apply(&state, drop_relation(100_002, false));
    let state = apply(&state, drop_relation(100_001, false));
    let state = apply(&state, drop_relation(100_003, false));
    apply(&state, drop_relation(100_000, false));
}

#[test]
fn a_schema_goes_with_what_is_in_it() {
    let state = apply(&base_state(), Op::CreateSchema(schema(100_000, "s")));
    let inside = Table { schema: Oid(100_000), ..table(Oid(100_001), "t") };
    let state = apply(&state, Op::CreateTable(inside));
    let state = apply(&state, Op::CreateView(view(100_002, "v", &[100_001])));
    let error = refuse(&state, Op::DropSchema { schema: Oid(100_000), cascade: false }, "2BP01");
    assert_eq!(error.get_detail(), Some("table s.t depends on schema s"));
    let state = apply(&state, Op::DropSchema { schema: Oid(100_000), cascade: true });
    assert!(state.relation(PUBLIC_SCHEMA_OID, "v").is_none());
    assert!(state.schema(DEV_DATABASE_OID, "s").is_none());
    apply(&state, Op::CreateSchema(schema(100_003, "s")));
}

#[test]
fn a_view_cannot_stand_on_itself() {
    let state = apply(&base_state(), Op::CreateView(view(100_000, "v", &[])));
    let state = apply(&state, Op::CreateView(view(100_001, "w", &[100_000])));
    refuse(&state, Op::ReplaceView(view(100_000, "v", &[100_001])), "42P19");
    let state = apply(&state, create(100_002, "t"));
    let state = apply(&state, Op::ReplaceView(view(100_000, "v", &[100_002])));
    refuse(&state, drop_relation(100_002, false), "2BP01");
    let state = apply(&state, Op::ReplaceView(view(100_000, "v", &[])));
    apply(&state, drop_relation(100_002, false));
}

#[test]
fn columns_change_within_bounds() {
    let state = apply(&base_state(), create(100_000, "t"));
    let added = column(2, "c", SqlType::BigInt);
    let state = apply(&state, alter(100_000, TableChange::AddColumn(added.clone())));
    refuse(&state, alter(100_000, TableChange::AddColumn(added)), "42701");
    let strict = crate::Column { nullable: false, ..column(3, "d", SqlType::BigInt) };
    refuse(&state, alter(100_000, TableChange::AddColumn(strict)), "42611");
    let widen = |n| TableChange::AlterType { column: ColumnId(1), sql_type: SqlType::Varchar(n) };
    let state = apply(&state, alter(100_000, widen(20)));
    refuse(&state, alter(100_000, widen(5)), "0A000");
    refuse(&state, alter(100_000, widen(70_000)), "22023");
    let rename = |name: &str| TableChange::RenameColumn { column: ColumnId(0), name: name.into() };
    refuse(&state, alter(100_000, rename("b")), "42701");
    let key = Distribution {
        declared: DistStyle::Key(ColumnId(0)),
        effective: DistStyle::Key(ColumnId(0)),
    };
    let state = apply(&state, alter(100_000, TableChange::SetDistribution(key)));
    let sort = SortKey::Compound(vec![ColumnId(1)]);
    let state = apply(&state, alter(100_000, TableChange::SetSortKey(sort)));
    let dropped = |id| TableChange::DropColumn { column: ColumnId(id), cascade: false };
    refuse(&state, alter(100_000, dropped(0)), "42P16");
    refuse(&state, alter(100_000, dropped(1)), "42P16");
    refuse(&state, alter(100_000, dropped(9)), "42703");
    let viewed = apply(&state, Op::CreateView(view(100_001, "v", &[100_000])));
    refuse(&viewed, alter(100_000, dropped(2)), "2BP01");
    let state = apply(&state, alter(100_000, dropped(2)));
    let again = column(3, "c", SqlType::BigInt);
    let state = apply(&state, alter(100_000, TableChange::AddColumn(again)));
    let table = state.relation_by_oid(Oid(100_000)).unwrap();
    assert_eq!(table.table().unwrap().next_column, ColumnId(4));
    refuse(&viewed, alter(100_001, dropped(0)), "42809");
}

#[test]
fn temporary_tables_belong_to_their_session() {
    let temporary = |oid, session| {
        Op::CreateTable(Table {
            schema: PG_TEMP_SCHEMA_OID,
            temporary: Some(session),
            ..table(Oid(oid), "t")
        })
    };
    let state = apply(&base_state(), create(100_000, "t"));
    let state = apply(&state, temporary(100_001, 1));
    let state = apply(&state, temporary(100_002, 2));
    refuse(&state, temporary(100_003, 2), "42P07");
    assert_eq!(state.temporary(1, "t").unwrap().oid(), Oid(100_001));
    assert_eq!(state.relation(PUBLIC_SCHEMA_OID, "t").unwrap().oid(), Oid(100_000));
    let one = apply(&state, Op::DropTemporaries { session: 1 });
    assert!(one.temporary(1, "t").is_none() && one.temporary(2, "t").is_some());
    let state = apply(&state, Op::StartEpoch { epoch: 1, started_us: 0 });
    assert!(state.temporaries(1).is_empty() && state.temporaries(2).is_empty());
    assert!(state.relation(PUBLIC_SCHEMA_OID, "t").is_some());
    refuse(&state, Op::StartEpoch { epoch: 1, started_us: 0 }, "XX000");
}

#[test]
fn segments_count_and_go() {
    let state = apply(&base_state(), create(100_000, "t"));
    let add = |slice| Op::AddSegments {
        table: Oid(100_000),
        segments: vec![base::segment::Segment { slice, ..segment("data/100000/1-1-0000-0.seg") }],
        identity_next: Vec::new(),
    };
    refuse(&state, add(None), "XX000");
    refuse(&state, add(Some(base::ids::SliceId(2))), "XX000");
    let state = apply(&state, add(Some(base::ids::SliceId(1))));
    let before = state.segments(Oid(100_000));
    let more = apply(&state, add(Some(base::ids::SliceId(0))));
    assert_eq!((before.len(), more.segments(Oid(100_000)).len()), (1, 2));
    assert_eq!((more.table_rows(Oid(100_000)), more.table_bytes(Oid(100_000))), (20, 200));
    let empty = apply(&more, Op::RemoveAllSegments { table: Oid(100_000) });
    assert_eq!((empty.segment_count(Oid(100_000)), empty.table_rows(Oid(100_000))), (0, 0));
}

#[test]
fn identities_count_on() {
    let mut numbered = table(Oid(100_000), "t");
    numbered.columns[0].identity = Some(Identity { seed: 5, step: -2, by_default: false });
    let state = apply(&base_state(), Op::CreateTable(numbered));
    assert_eq!(state.identity_next(Oid(100_000), ColumnId(0)), Some(5));
    let give = |column, next| Op::AddSegments {
        table: Oid(100_000),
        segments: Vec::new(),
        identity_next: vec![IdentityNext { column: ColumnId(column), next, reserved: true }],
    };
    refuse(&state, give(1, 0), "XX000");
    let state = apply(&state, give(0, -5));
    let state = apply(&state, give(0, 1));
    assert_eq!(state.identity_next(Oid(100_000), ColumnId(0)), Some(-5));
    let state = apply(&state, Op::RemoveAllSegments { table: Oid(100_000) });
    assert_eq!(state.identity_next(Oid(100_000), ColumnId(0)), Some(-5));
}

#[test]
fn users_own_and_hold() {
    let user = User { oid: Oid(100_000), name: "u".into(), ..User::default() };
    let state = apply(&base_state(), Op::CreateUser(user));
    let owned = Table { owner: Oid(100_000), ..table(Oid(100_001), "t") };
    let owning = apply(&state, Op::CreateTable(owned));
    let error = refuse(&owning, Op::DropUser { user: Oid(100_000) }, "55006");
    assert_eq!(error.get_detail(), Some("owner of table public.t"));
    let state = apply(&state, create(100_001, "t"));
    let grant = |grantee| Op::Grant {
        object: Oid(100_001),
        grantee,
        privileges: Privileges::SELECT.union(Privileges::INSERT),
        with_grant_option: false,
    };
    refuse(&state, grant(Oid(7)), "42704");
    let state = apply(&state, grant(PUBLIC_GRANTEE_OID));
    let state = apply(&state, grant(Oid(100_000)));
    assert!(state.granted(Oid(100_001), Oid(100_000)).contains(Privileges::INSERT));
    assert_eq!(state.grants(Oid(100_001)).len(), 2);
    refuse(&state, Op::DropUser { user: Oid(100_000) }, "2BP01");
    let revoke = Op::Revoke {
        object: Oid(100_001),
        grantee: Oid(100_000),
        privileges: Privileges::SELECT.union(Privileges::INSERT),
        grant_option_only: false,
    };
    let state = apply(&state, revoke);
    let rename = UserChange::Rename("awsuser".into());
    refuse(&state, Op::AlterUser { user: Oid(100_000), change: rename }, "42710");
    let state = apply(&state, Op::DropUser { user: Oid(100_000) });
    let state = apply(&state, drop_relation(100_001, false));
    assert!(state.grants(Oid(100_001)).is_empty());
}

#[test]
fn schemas_are_renamed_and_load_errors_bounded() {
    let state = apply(&base_state(), Op::CreateSchema(schema(100_000, "s")));
    let change = SchemaChange::Rename("public".into());
    refuse(&state, Op::AlterSchema { schema: Oid(100_000), change }, "42P06");
    let change = SchemaChange::Rename("r".into());
    let state = apply(&state, Op::AlterSchema { schema: Oid(100_000), change });
    assert!(state.schema(DEV_DATABASE_OID, "s").is_none());
    assert!(state.schema(DEV_DATABASE_OID, "r").is_some());
    let errors = |from: u64, count: usize| {
        let error = |line| LoadError { line, ..LoadError::default() };
        Op::LoadErrors((from..).take(count).map(error).collect())
    };
    let state = apply(&state, errors(0, LOAD_ERRORS_MAX + 5));
    assert_eq!(state.load_errors()[0].line, 5);
    let state = apply(&state, errors(1_000_000, 3));
    assert_eq!(state.load_errors().len(), LOAD_ERRORS_MAX);
    assert_eq!(state.load_errors()[0].line, 8);
    assert_eq!(state.load_errors().last().unwrap().line, 1_000_002);
}
