//! Tests of the catalog as its users see it, and what they share.

mod ddl;
mod garbage;
mod history;
mod log;
mod replay;
mod routines;
mod rows;
mod serializable;

use std::sync::Arc;

use base::SqlType;
use base::ids::{ColumnId, LogPosition, Oid, SliceId};
use base::segment::Segment;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::record::{Record, decode, log_path, replay};
use crate::{
    Catalog, Column, DistStyle, Distribution, Options, PUBLIC_SCHEMA_OID, SYSTEM_USER_OID, State,
    Table,
};

pub(crate) fn column(id: u32, name: &str, sql_type: SqlType) -> Column {
    Column {
        id: ColumnId(id),
        name: name.to_owned(),
        sql_type,
        nullable: true,
        default: None,
        identity: None,
        encode: None,
        case_insensitive: false,
        comment: None,
        fill: None,
    }
}

pub(crate) fn table(oid: Oid, name: &str) -> Table {
    Table {
        oid,
        schema: PUBLIC_SCHEMA_OID,
        name: name.to_owned(),
        owner: SYSTEM_USER_OID,
        columns: vec![column(0, "a", SqlType::Integer), column(1, "b", SqlType::Varchar(10))],
        next_column: ColumnId(2),
        distribution: Distribution { declared: DistStyle::Auto, effective: DistStyle::Even },
        backup: true,
        ..Table::default()
    }
}

pub(crate) fn segment(path: &str) -> Segment {
    Segment {
        path: path.to_owned(),
        slice: Some(SliceId(0)),
        rows: 10,
        bytes: 100,
        footer_offset: 90,
        footer_checksum: 1,
        placement: 7,
        sorted: true,
        ..Segment::default()
    }
}

pub(crate) fn options() -> Options {
    Options { slices: 2, ..Options::default() }
}

pub(crate) async fn fresh() -> (Arc<dyn ObjectStore>, Catalog) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let catalog = Catalog::open(store.clone(), options()).await.unwrap();
    (store, catalog)
}

/// The items of a state as text: what two equal states have in common.
pub(crate) fn image(state: &State) -> Vec<String> {
    state.items().map(|item| serde_json::to_string(&item).unwrap()).collect()
}

/// Replays the whole log from its first record and compares.
pub(crate) async fn same_without_checkpoints(
    store: Arc<dyn ObjectStore>,
    head: &State,
) -> Result<(), String> {
    replay_all(store, head, |_| Ok(())).await
}

/// The same, showing every record to `look`.
pub(crate) async fn replay_all(
    store: Arc<dyn ObjectStore>,
    head: &State,
    mut look: impl FnMut(&Record) -> Result<(), String>,
) -> Result<(), String> {
    let mut state = State::default();
    let mut previous = 0;
    for position in 1..=head.position().0 {
        let position = LogPosition(position);
        let path = log_path(position);
        let bytes = match store.get(&path).await {
            Ok(found) => found.bytes().await.map_err(|error| error.to_string())?,
            Err(error) => return Err(error.to_string()),
        };
        let record = decode(&path, position, &bytes).map_err(|error| format!("{error:?}"))?;
        replay(&mut state, previous, &record).map_err(|error| format!("{error:?}"))?;
        look(&record)?;
        previous = record.checksum;
    }
    if image(&state) != image(head) {
        return Err("the replayed log differs from the state with checkpoints".to_owned());
    }
    Ok(())
}
