//! Procedures and functions: signatures, what they hang on, and that they are kept.

use base::SqlType::{self, Integer, Varchar};
use base::ids::Oid;

use super::{fresh, image, same_without_checkpoints};
use crate::state::Restore;
use crate::{
    ArgumentMode, DEV_DATABASE_OID, Op, PUBLIC_GRANTEE_OID, PUBLIC_SCHEMA_OID, Privileges, Routine,
    RoutineArgument, RoutineChange, SYSTEM_USER_OID, Schema, State, User, View,
};

fn routine(oid: u32, name: &str, types: &[SqlType]) -> Routine {
    let argument = |sql_type: &SqlType| RoutineArgument {
        name: String::new(),
        mode: ArgumentMode::In,
        sql_type: *sql_type,
        refcursor: false,
    };
    Routine {
        oid: Oid(oid),
        schema: PUBLIC_SCHEMA_OID,
        name: name.to_owned(),
        owner: SYSTEM_USER_OID,
        arguments: types.iter().map(argument).collect(),
        body: "BEGIN NULL; END".to_owned(),
        ..Routine::default()
    }
}

fn create(oid: u32, name: &str, types: &[SqlType]) -> Op {
    Op::CreateRoutine(Box::new(routine(oid, name, types)))
}

fn code(state: &State, op: &Op) -> &'static str {
    state.with(op).unwrap_err().sqlstate().code()
}

async fn state() -> State {
    let (_, catalog) = fresh().await;
    State::clone(&catalog.head())
}

#[tokio::test]
async fn input_types_without_modifiers_tell_routines_apart() {
    let state = state().await;
    let state = state.with(&create(60_001, "p", &[Integer])).unwrap();
    let state = state.with(&create(60_002, "p", &[Varchar(10)])).unwrap();
    let state = state.with(&create(60_003, "p_other", &[])).unwrap();
    assert_eq!(code(&state, &create(60_004, "p", &[Varchar(20)])), "42723");
    let mut output = routine(60_004, "p", &[Integer, Integer]);
    output.arguments[1].mode = ArgumentMode::Out;
    assert_eq!(code(&state, &Op::CreateRoutine(Box::new(output))), "42723");
    assert_eq!(state.routines_named(PUBLIC_SCHEMA_OID, "p").len(), 2);
    let found = state.routine(PUBLIC_SCHEMA_OID, "p", &[(Varchar(1), false)]).unwrap();
    assert_eq!((found.oid, found.signature()), (Oid(60_002), "p(character varying)".to_owned()));
    assert!(state.routine(PUBLIC_SCHEMA_OID, "p", &[(SqlType::Text, true)]).is_none());
    let rename = RoutineChange::Rename("q".to_owned());
    let state = state.with(&Op::AlterRoutine { routine: Oid(60_001), change: rename }).unwrap();
    assert!(state.routine(PUBLIC_SCHEMA_OID, "p", &[(Integer, false)]).is_none());
    let state = state.with(&create(60_005, "p", &[Integer])).unwrap();
    let rename = RoutineChange::Rename("p".to_owned());
    assert_eq!(code(&state, &Op::AlterRoutine { routine: Oid(60_001), change: rename }), "42723");
}

#[tokio::test]
async fn what_hangs_on_a_routine_goes_with_it() {
    let state = state().await;
    let schema = Schema {
        oid: Oid(60_000),
        database: DEV_DATABASE_OID,
        name: "s".to_owned(),
        owner: SYSTEM_USER_OID,
        created_us: 0,
    };
    let state = state.with(&Op::CreateSchema(schema)).unwrap();
    let inside = Routine { schema: Oid(60_000), ..routine(60_001, "f", &[]) };
    let state = state.with(&Op::CreateRoutine(Box::new(inside))).unwrap();
    let view = View {
        oid: Oid(60_002),
        schema: PUBLIC_SCHEMA_OID,
        name: "v".to_owned(),
        owner: SYSTEM_USER_OID,
        depends_on: vec![Oid(60_001)],
        ..View::default()
    };
    let state = state.with(&Op::CreateView(view)).unwrap();
    let grant = Op::Grant {
        object: Oid(60_001),
        grantee: PUBLIC_GRANTEE_OID,
        privileges: Privileges::EXECUTE,
        with_grant_option: false,
    };
    let state = state.with(&grant).unwrap();
    assert_eq!(code(&state, &Op::DropRoutine { routine: Oid(60_001), cascade: false }), "2BP01");
    assert_eq!(code(&state, &Op::DropSchema { schema: Oid(60_000), cascade: false }), "2BP01");
    let gone = state.with(&Op::DropSchema { schema: Oid(60_000), cascade: true }).unwrap();
    assert!(gone.routine_by_oid(Oid(60_001)).is_none());
    assert!(gone.relation_by_oid(Oid(60_002)).is_none());
    assert!(gone.grants(Oid(60_001)).is_empty());
    let gone = state.with(&Op::DropRoutine { routine: Oid(60_001), cascade: true }).unwrap();
    assert!(gone.relation_by_oid(Oid(60_002)).is_none());
    assert_eq!(code(&gone, &Op::DropRoutine { routine: Oid(60_001), cascade: true }), "42883");
}

#[tokio::test]
async fn owners_of_routines_stay() {
    let state = state().await;
    let user = User { oid: Oid(60_000), name: "u".to_owned(), ..User::default() };
    let state = state.with(&Op::CreateUser(user)).unwrap();
    let state = state.with(&create(60_001, "p", &[])).unwrap();
    let owned = RoutineChange::SetOwner(Oid(60_000));
    let state = state.with(&Op::AlterRoutine { routine: Oid(60_001), change: owned }).unwrap();
    assert_eq!(code(&state, &Op::DropUser { user: Oid(60_000) }), "55006");
}

#[tokio::test]
async fn routines_are_in_the_log_and_in_checkpoints() {
    let (store, catalog) = fresh().await;
    let mut transaction = catalog.begin();
    transaction.apply(create(60_001, "p", &[Integer])).unwrap();
    let replaced = Routine { nonatomic: true, ..routine(60_001, "p", &[Integer]) };
    transaction.apply(Op::ReplaceRoutine(Box::new(replaced))).unwrap();
    catalog.commit(transaction).await.unwrap();
    let head = catalog.head();
    same_without_checkpoints(store, &head).await.unwrap();
    let mut restore = Restore::default();
    let items: Vec<_> = head.items().collect();
    let count = items.len() as u64;
    items.into_iter().for_each(|item| restore.take(item).unwrap());
    restore.take(crate::state::Item::End { items: count }).unwrap();
    let back = restore.finish().unwrap();
    assert_eq!(image(&back), image(&head));
    assert!(back.routine(PUBLIC_SCHEMA_OID, "p", &[(Integer, false)]).unwrap().nonatomic);
}

#[tokio::test]
async fn the_second_of_two_that_replace_is_refused() {
    let (_, catalog) = fresh().await;
    let mut transaction = catalog.begin();
    transaction.apply(create(60_001, "p", &[])).unwrap();
    catalog.commit(transaction).await.unwrap();
    let (mut first, mut second) = (catalog.begin(), catalog.begin());
    for transaction in [&mut first, &mut second] {
        transaction.apply(Op::ReplaceRoutine(Box::new(routine(60_001, "p", &[])))).unwrap();
    }
    catalog.commit(first).await.unwrap();
    assert_eq!(catalog.commit(second).await.unwrap_err().sqlstate().code(), "40001");
}
