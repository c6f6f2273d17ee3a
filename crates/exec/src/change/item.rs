//! What the operators of a change tell one another and the leader.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use base::segment::{Bitmap, Deletes, Segment};
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use prost::Message;
use roaring::RoaringBitmap;

use crate::deletes;
use crate::error::into_datafusion;

/// The column by whose hash what concerns one segment meets.
pub(crate) const PLACE_COLUMN: &str = "place";
const ITEM_COLUMN: &str = "item";
/// A batch ends when it holds this much.
const BATCH_BYTES: usize = 8 << 20;

/// One piece of news.
pub(crate) enum Item {
    /// A segment of new rows.
    Written(Box<Segment>),
    /// Rows of a segment that go, some of them.
    Partial(Partial),
    /// All rows of a segment that go.
    Merged(Merged),
    /// Rows that named a row to go, gave one to write, or both.
    Changed(u64),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Partial {
    /// The segment.
    #[prost(uint32, tag = "1")]
    pub(crate) number: u32,
    /// How often a row was named.
    #[prost(uint64, tag = "2")]
    pub(crate) named: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) rows: Vec<u8>,
}

impl Partial {
    /// The rows `rows` of the segment `number`, which were named `named` times together.
    pub(crate) fn new(number: u32, named: u64, mut rows: RoaringBitmap) -> Result<Partial> {
        let rows = deletes::to_bytes(&mut rows).map_err(into_datafusion)?;
        Ok(Partial { number, named, rows })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Merged {
    /// The segment.
    #[prost(uint32, tag = "1")]
    pub(crate) number: u32,
    /// How often a row was named.
    #[prost(uint64, tag = "2")]
    pub(crate) named: u64,
    /// Rows that go now.
    #[prost(uint64, tag = "3")]
    pub(crate) deleted: u64,
    /// Rows that are gone then, those of before included.
    #[prost(uint64, tag = "4")]
    all: u64,
    /// The set of them, or else its file.
    #[prost(bytes = "vec", optional, tag = "5")]
    inline: Option<Vec<u8>>,
    #[prost(string, tag = "6")]
    path: String,
    #[prost(uint64, tag = "7")]
    bytes: u64,
    #[prost(uint32, tag = "8")]
    checksum: u32,
}

impl Merged {
    /// `deleted` rows of the segment `number` go, named `named` times; `deletes` are all of its.
    pub(crate) fn new(number: u32, named: u64, deleted: u64, deletes: &Deletes) -> Merged {
        let merged = Merged { number, named, deleted, all: deletes.rows, ..Merged::default() };
        match &deletes.bitmap {
            Bitmap::Inline(bytes) => Merged { inline: Some(bytes.to_vec()), ..merged },
            Bitmap::File { path, bytes, checksum } => {
                Merged { path: path.clone(), bytes: *bytes, checksum: *checksum, ..merged }
            }
        }
    }

    /// The rows of the segment that are gone then.
    pub(crate) fn into_deletes(self) -> Deletes {
        let bitmap = match self.inline {
            Some(bytes) => Bitmap::Inline(bytes.into()),
            None => Bitmap::File { path: self.path, bytes: self.bytes, checksum: self.checksum },
        };
        Deletes { rows: self.all, bitmap }
    }
}

#[derive(Clone, PartialEq, Message)]
struct ItemMessage {
    /// A serialised segment.
    #[prost(string, optional, tag = "1")]
    written: Option<String>,
    #[prost(message, optional, tag = "2")]
    partial: Option<Partial>,
    #[prost(message, optional, tag = "3")]
    merged: Option<Merged>,
    #[prost(uint64, optional, tag = "4")]
    changed: Option<u64>,
}

/// The schema of batches of items.
pub(crate) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new(PLACE_COLUMN, DataType::UInt32, false),
            Field::new(ITEM_COLUMN, DataType::Binary, false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// The items as batches of bounded size.
pub(crate) fn to_batches(items: impl IntoIterator<Item = Item>) -> Result<Vec<RecordBatch>> {
    let (mut places, mut texts, mut bytes) = (Vec::new(), BinaryBuilder::new(), 0);
    let mut batches = Vec::new();
    let batch = |places: &mut Vec<u32>, texts: &mut BinaryBuilder| {
        let places = UInt32Array::from(std::mem::take(places));
        RecordBatch::try_new(schema(), vec![Arc::new(places), Arc::new(texts.finish())])
    };
    for item in items {
        let (place, message) = match item {
            Item::Written(segment) => {
                let written = Some(crate::scan::json(&*segment)?);
                (0, ItemMessage { written, ..ItemMessage::default() })
            }
            Item::Partial(partial) => {
                let place = partial.number;
                (place, ItemMessage { partial: Some(partial), ..ItemMessage::default() })
            }
            Item::Merged(merged) => {
                let place = merged.number;
                (place, ItemMessage { merged: Some(merged), ..ItemMessage::default() })
            }
            Item::Changed(rows) => {
                (0, ItemMessage { changed: Some(rows), ..ItemMessage::default() })
            }
        };
        let message = message.encode_to_vec();
        bytes += message.len();
        places.push(place);
        texts.append_value(message);
        if bytes >= BATCH_BYTES {
            bytes = 0;
            batches.push(batch(&mut places, &mut texts)?);
        }
    }
    if !places.is_empty() {
        batches.push(batch(&mut places, &mut texts)?);
    }
    Ok(batches)
}

/// The items of a batch.
///
/// # Errors
/// When the batch is none of items.
pub(crate) fn of_batch(batch: &RecordBatch) -> Result<Vec<Item>> {
    let unknown = || internal_datafusion_err!("a change gave something else than its items");
    let column = batch.column_by_name(ITEM_COLUMN).and_then(|column| column.as_binary_opt::<i32>());
    let mut items = Vec::with_capacity(batch.num_rows());
    for bytes in column.ok_or_else(unknown)?.iter().flatten() {
        let message = ItemMessage::decode(bytes)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        items.push(match message {
            ItemMessage { written: Some(segment), .. } => {
                Item::Written(Box::new(crate::scan::from_json(&segment)?))
            }
            ItemMessage { partial: Some(partial), .. } => Item::Partial(partial),
            ItemMessage { merged: Some(merged), .. } => Item::Merged(merged),
            ItemMessage { changed: Some(rows), .. } => Item::Changed(rows),
            _ => return Err(unknown()),
        });
    }
    Ok(items)
}
