//! Properties: a checkpoint gives the state back, a record gives the operations back, and a
//! state put together again goes on as the one it was taken from.

use std::sync::Arc;

use base::SqlType;
use base::ids::{ColumnId, Epoch, LogPosition, Oid, SliceId, TxnId};
use base::segment::{Bitmap, Datum, Deletes};
use proptest::prelude::*;

use super::{column, image, segment, table};
use crate::record::{
    Committed, Header, checkpoint_path, decode, decode_checkpoint, encode, encode_checkpoint,
    log_path, replay,
};
use crate::{
    Cluster, Constraint, Identity, IdentityNext, LoadError, Op, PG_TEMP_SCHEMA_OID,
    PUBLIC_SCHEMA_OID, Privileges, SYSTEM_USER_OID, Schema, SegmentDeletes, SegmentName, State,
    Table, TableChange, TableStatistics, User, ValueDistribution, View,
};

/// Objects have few ids and names, so that operations meet.
fn oid() -> impl Strategy<Value = Oid> {
    (100_000..100_008_u32).prop_map(Oid)
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned)
}

fn place() -> impl Strategy<Value = (Oid, Option<i32>)> {
    prop_oneof![
        3 => Just((PUBLIC_SCHEMA_OID, None)),
        1 => oid().prop_map(|schema| (schema, None)),
        1 => (1..3).prop_map(|session| (PG_TEMP_SCHEMA_OID, Some(session))),
    ]
}

fn any_table() -> impl Strategy<Value = Table> {
    (oid(), name(), place(), prop::option::of(oid())).prop_map(|(oid, name, place, reference)| {
        let mut table = table(oid, &name);
        (table.schema, table.temporary) = place;
        table.columns[0].identity = Some(Identity { seed: 1, step: 3, by_default: true });
        table.constraints = reference
            .map(|table| Constraint::ForeignKey {
                name: "fk".into(),
                columns: vec![ColumnId(0)],
                table,
                references: vec![ColumnId(0)],
            })
            .into_iter()
            .collect();
        table
    })
}

fn any_view() -> impl Strategy<Value = View> {
    (oid(), name(), prop::collection::vec(oid(), 0..3)).prop_map(|(oid, name, depends_on)| View {
        oid,
        schema: PUBLIC_SCHEMA_OID,
        name,
        owner: SYSTEM_USER_OID,
        depends_on,
        ..View::default()
    })
}

fn any_change() -> impl Strategy<Value = TableChange> {
    let id = || (0..4_u32).prop_map(ColumnId);
    prop_oneof![
        name().prop_map(TableChange::RenameTable),
        oid().prop_map(TableChange::SetSchema),
        oid().prop_map(TableChange::SetOwner),
        (0..4_u32, name()).prop_map(|(id, name)| TableChange::AddColumn(column(
            id,
            &name,
            SqlType::Date
        ))),
        (id(), any::<bool>())
            .prop_map(|(column, cascade)| TableChange::DropColumn { column, cascade }),
        (id(), name()).prop_map(|(column, name)| TableChange::RenameColumn { column, name }),
        Just(TableChange::DropConstraint { name: "fk".into() }),
    ]
}

/// Segments have few names, so that changes find them.
fn change_of_segments() -> impl Strategy<Value = Op> {
    let few = (oid(), 0..6_u32).prop_map(|(table, n)| Op::AddSegments {
        table,
        segments: vec![segment(&format!("data/{table}/1-{n}-0000-0.seg"))],
        identity_next: Vec::new(),
    });
    let named = || {
        (oid(), 1..6_u32, 0..6_u32).prop_map(|(table, number, n)| {
            let path = format!("data/{table}/1-{n}-0000-0.seg");
            (table, SegmentName { number, path })
        })
    };
    let delete = (named(), 1..12_u64).prop_map(|((table, segment), rows)| Op::DeleteRows {
        table,
        deletes: vec![SegmentDeletes {
            segment,
            deletes: Arc::new(Deletes { rows, bitmap: Bitmap::Inline(vec![1; 3].into()) }),
        }],
    });
    let replace = (named(), 1..12_u64, any::<u32>()).prop_map(|((table, gone), rows, n)| {
        let path = format!("data/{table}/1-{n}-0000-0.seg");
        Op::ReplaceSegments {
            table,
            removed: vec![gone],
            added: vec![base::segment::Segment { rows, ..segment(&path) }],
        }
    });
    prop_oneof![4 => few, 4 => delete, 2 => replace]
}

fn any_op() -> impl Strategy<Value = Op> {
    let schema = (oid(), name()).prop_map(|(oid, name)| {
        let database = crate::DEV_DATABASE_OID;
        Op::CreateSchema(Schema { oid, database, name, owner: SYSTEM_USER_OID, created_us: 3 })
    });
    let add = (oid(), any::<u32>(), any::<i64>()).prop_map(|(table, n, next)| Op::AddSegments {
        table,
        segments: vec![base::segment::Segment {
            slice: Some(SliceId(u16::from(n % 2 == 0))),
            ..segment(&format!("data/{table}/1-{n}-0000-0.seg"))
        }],
        identity_next: vec![IdentityNext { column: ColumnId(0), next, reserved: false }],
    });
    let user = (oid(), name())
        .prop_map(|(oid, name)| Op::CreateUser(User { oid, name, ..User::default() }));
    let grant = (oid(), oid(), any::<u32>()).prop_map(|(object, grantee, bits)| Op::Grant {
        object,
        grantee,
        privileges: Privileges(bits),
        with_grant_option: bits % 2 == 0,
    });
    let statistics = (oid(), any::<u64>(), any::<u32>()).prop_map(|(table, rows, nulls)| {
        let bounds = vec![Datum::Int(-1), Datum::Float(0.1), Datum::Text("ä".to_owned())];
        let common = bounds.iter().map(|value| (value.clone(), nulls)).collect();
        let distinct = rows / 2;
        let column = ColumnId(0);
        let columns = vec![ValueDistribution { column, nulls, distinct, width: 4, common, bounds }];
        let statistics = TableStatistics { table, rows, columns, ..TableStatistics::default() };
        Op::SetStatistics(Arc::new(statistics))
    });
    let errors = (0..20_usize).prop_map(|n| Op::LoadErrors(vec![LoadError::default(); n]));
    prop_oneof![
        4 => any_table().prop_map(Op::CreateTable),
        3 => any_view().prop_map(Op::CreateView),
        1 => any_view().prop_map(Op::ReplaceView),
        2 => schema,
        3 => (oid(), any_change()).prop_map(|(table, change)| Op::AlterTable { table, change }),
        2 => (oid(), any::<bool>())
            .prop_map(|(relation, cascade)| Op::DropRelation { relation, cascade }),
        1 => (oid(), any::<bool>())
            .prop_map(|(schema, cascade)| Op::DropSchema { schema, cascade }),
        1 => (1..3).prop_map(|session| Op::DropTemporaries { session }),
        4 => add,
        10 => change_of_segments(),
        1 => oid().prop_map(|table| Op::RemoveAllSegments { table }),
        2 => statistics,
        2 => user,
        1 => oid().prop_map(|user| Op::DropUser { user }),
        1 => grant,
        1 => errors,
        1 => (oid(), prop::option::of(name()))
            .prop_map(|(object, text)| Op::Comment { object, column: None, text }),
        1 => (name(), prop::option::of(name()))
            .prop_map(|(name, value)| Op::SetSetting { name, value }),
    ]
}

fn first_ops() -> Vec<Op> {
    let cluster = Cluster { id: "c".into(), slices: 2, created_us: 0 };
    vec![Op::CreateCluster(cluster), Op::StartEpoch { epoch: 1, started_us: 0 }]
}

/// A state with one table.
pub(super) fn with_table(oid: Oid) -> State {
    let mut state = State::default();
    for op in first_ops() {
        state.apply(&op).unwrap();
    }
    state.with(&Op::CreateTable(table(oid, "t"))).unwrap()
}

/// The state of a checkpoint of `state`.
fn through_checkpoint(state: &State) -> State {
    let bytes = encode_checkpoint(state, 5, 77).unwrap();
    let path = checkpoint_path(state.position());
    let (restored, checksum) = decode_checkpoint(&path, state.position(), &bytes).unwrap();
    assert_eq!(checksum, 77);
    restored
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_replayed_log_and_a_restored_checkpoint_are_the_state(
        ops in prop::collection::vec(any_op(), 1..60),
        checkpoint_at in 0..60_usize,
    ) {
        let mut live = State::default();
        let mut restored: Option<State> = None;
        let mut records = Vec::new();
        let mut previous = 0;
        let mut position = 0;
        let all = std::iter::once(first_ops()).chain(ops.into_iter().map(|op| vec![op]));
        for (at, ops) in all.enumerate() {
            let mut next = live.clone();
            next.advance(LogPosition(position + 1));
            let outcome = ops.iter().try_for_each(|op| next.apply(op));
            if let Some(other) = &mut restored {
                let mut next_other = other.clone();
                next_other.advance(LogPosition(position + 1));
                let same = ops.iter().try_for_each(|op| next_other.apply(op));
                prop_assert_eq!(
                    outcome.as_ref().err().map(|e| (e.sqlstate(), e.message().to_owned())),
                    same.as_ref().err().map(|e| (e.sqlstate(), e.message().to_owned()))
                );
                if same.is_ok() {
                    *other = next_other;
                }
            }
            if outcome.is_err() {
                continue;
            }
            position += 1;
            live = next;
            let header =
                Header { epoch: Epoch(1), position: LogPosition(position), nonce: 9, previous };
            let committed = vec![Committed { id: TxnId(1), at_us: 0, ops }];
            let (bytes, checksum) = encode(header, &committed).unwrap();
            let path = log_path(LogPosition(position));
            let record = decode(&path, LogPosition(position), &bytes).unwrap();
            prop_assert_eq!(&record.transactions, &committed);
            previous = checksum;
            records.push(record);
            if at >= checkpoint_at && restored.is_none() {
                restored = Some(through_checkpoint(&live));
            }
        }
        let mut replayed = State::default();
        let mut previous = 0;
        for record in &records {
            replay(&mut replayed, previous, record).unwrap();
            previous = record.checksum;
        }
        prop_assert_eq!(image(&replayed), image(&live));
        prop_assert_eq!(image(&through_checkpoint(&live)), image(&live));
        if let Some(restored) = restored {
            prop_assert_eq!(image(&restored), image(&live));
        }
    }

    #[test]
    fn bytes_in_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = bytes::Bytes::from(bytes);
        let position = LogPosition(1);
        prop_assert!(decode(&log_path(position), position, &bytes).is_err());
        prop_assert!(decode_checkpoint(&checkpoint_path(position), position, &bytes).is_err());
    }
}
