//! A scan on its way to a compute node.
//!
//! Owns the message; expressions travel as DataFusion encodes them, through the converter of the
//! whole plan, so that a dynamic filter stays the one that its join publishes to. Statistics stay
//! on the leader.

use std::sync::Arc;

use base::SqlType;
use base::ids::{ColumnId, Oid, SliceId};
use base::segment::{Bitmap, Datum, Deletes, Segment};
use datafusion::common::{DataFusionError, Result, internal_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalExprNode;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::spec::{ScanColumn, ScanSpec, Slices};
use super::{ScanSpec as Spec, SegmentScanExec};

#[derive(Clone, PartialEq, Message)]
struct ScanMessage {
    #[prost(uint32, tag = "1")]
    table: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    columns: Vec<ColumnMessage>,
    #[prost(uint32, optional, tag = "4")]
    key: Option<u32>,
    #[prost(uint32, repeated, tag = "5")]
    order: Vec<u32>,
    #[prost(message, optional, tag = "6")]
    slices: Option<SlicesMessage>,
    #[prost(message, repeated, tag = "7")]
    segments: Vec<SegmentMessage>,
    #[prost(uint32, repeated, tag = "8")]
    projection: Vec<u32>,
    #[prost(message, repeated, tag = "9")]
    filters: Vec<PhysicalExprNode>,
    #[prost(message, repeated, tag = "10")]
    dynamic: Vec<PhysicalExprNode>,
    #[prost(uint64, optional, tag = "11")]
    fetch: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct ColumnMessage {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    sql_type: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(bool, tag = "4")]
    nullable: bool,
    #[prost(string, optional, tag = "5")]
    fill: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct SlicesMessage {
    /// 0: all slices folded; 1: a range; 2: a replica.
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// All slices of the cluster, or the first of the range.
    #[prost(uint32, tag = "2")]
    number: u32,
    #[prost(uint32, tag = "3")]
    partitions: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SegmentMessage {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(uint32, optional, tag = "2")]
    slice: Option<u32>,
    #[prost(uint64, tag = "3")]
    rows: u64,
    #[prost(uint64, tag = "4")]
    bytes: u64,
    #[prost(uint64, tag = "5")]
    footer_offset: u64,
    #[prost(uint32, tag = "6")]
    footer_checksum: u32,
    #[prost(bool, tag = "7")]
    sorted: bool,
    /// The bounds of the leading sort key column, when order depends on them.
    #[prost(string, optional, tag = "8")]
    bounds: Option<String>,
    #[prost(uint32, tag = "9")]
    number: u32,
    #[prost(message, optional, tag = "10")]
    deletes: Option<DeletesMessage>,
    #[prost(bytes = "vec", optional, tag = "11")]
    inline: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DeletesMessage {
    #[prost(uint64, tag = "1")]
    rows: u64,
    /// The set itself, or else its file.
    #[prost(bytes = "vec", optional, tag = "2")]
    inline: Option<Vec<u8>>,
    #[prost(string, tag = "3")]
    path: String,
    #[prost(uint64, tag = "4")]
    bytes: u64,
    #[prost(uint32, tag = "5")]
    checksum: u32,
}

/// Appends the encoded form of a scan to `buffer`.
///
/// # Errors
/// When an expression of the scan cannot be encoded.
pub fn encode(
    scan: &SegmentScanExec,
    buffer: &mut Vec<u8>,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<()> {
    let exprs = |exprs: &[Arc<dyn PhysicalExpr>]| {
        let encode = |expr| converter.physical_expr_to_proto(expr, codec);
        exprs.iter().map(encode).collect::<Result<Vec<_>>>()
    };
    let spec = &scan.spec;
    let (kind, number, partitions) = match scan.slices {
        Slices::Folded { slices, partitions } => (0, slices, partitions),
        Slices::Range { start, partitions } => (1, start, partitions),
        Slices::Replica { partitions } => (2, 0, partitions),
    };
    let leading = spec.order.first().and_then(|at| spec.columns.get(*at)).map(|c| c.id);
    let message = ScanMessage {
        table: spec.table.0,
        name: spec.name.clone(),
        columns: spec.columns.iter().map(column_message).collect::<Result<_>>()?,
        key: spec.key.map(|at| at as u32),
        order: spec.order.iter().map(|at| *at as u32).collect(),
        slices: Some(SlicesMessage { kind, number: number.into(), partitions: partitions.into() }),
        segments: scan
            .segments
            .iter()
            .map(|segment| segment_message(segment, leading))
            .collect::<Result<_>>()?,
        projection: scan.projection.iter().map(|at| *at as u32).collect(),
        filters: exprs(&scan.filters)?,
        dynamic: exprs(&scan.dynamic)?,
        fetch: scan.fetch.map(|rows| rows as u64),
    };
    buffer.extend_from_slice(&message.encode_to_vec());
    Ok(())
}

/// Decodes a scan.
///
/// # Errors
/// When the bytes are no scan that this version knows.
pub fn decode(
    bytes: &[u8],
    context: &TaskContext,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    let message = ScanMessage::decode(bytes).map_err(damaged)?;
    let columns = message.columns.iter().map(column_of).collect::<Result<Vec<_>>>()?;
    let order: Vec<usize> = message.order.iter().map(|at| *at as usize).collect();
    let spec = Spec {
        table: Oid(message.table),
        name: message.name,
        key: message.key.map(|at| at as usize),
        columns,
        order,
    };
    let slices = slices_of(message.slices.as_ref())?;
    let leading = spec.order.first().and_then(|at| spec.columns.get(*at)).map(|c| c.id);
    let segments = message
        .segments
        .into_iter()
        .map(|segment| Ok(Arc::new(segment_of(segment, leading)?)))
        .collect::<Result<Vec<_>>>()?;
    let schema = spec.schema();
    let decoding = PhysicalPlanDecodeContext::new(context, codec);
    let exprs = |nodes: &[PhysicalExprNode]| {
        let decode = |node| converter.proto_to_physical_expr(node, &schema, &decoding);
        nodes.iter().map(decode).collect::<Result<Vec<_>>>()
    };
    let (filters, dynamic) = (exprs(&message.filters)?, exprs(&message.dynamic)?);
    let projection = message.projection.iter().map(|at| *at as usize).collect();
    let scan = checked(spec, slices, segments, projection, filters)?;
    let fetch = message.fetch.map(|rows| rows as usize);
    Ok(Arc::new(SegmentScanExec { dynamic, fetch, ..scan }))
}

/// The scan, once every index in it is known to have a column.
fn checked(
    spec: ScanSpec,
    slices: Slices,
    segments: Vec<Arc<Segment>>,
    projection: Vec<usize>,
    filters: Vec<Arc<dyn PhysicalExpr>>,
) -> Result<SegmentScanExec> {
    for at in spec.key.iter().chain(&spec.order).chain(&projection) {
        spec.column(*at)?;
    }
    SegmentScanExec::try_new(Arc::new(spec), slices, segments.into(), projection, filters)
}

fn column_message(column: &ScanColumn) -> Result<ColumnMessage> {
    Ok(ColumnMessage {
        id: column.id.0,
        sql_type: json(&column.sql_type)?,
        name: column.name.clone(),
        nullable: column.nullable,
        fill: column.fill.as_ref().map(json).transpose()?,
    })
}

fn column_of(message: &ColumnMessage) -> Result<ScanColumn> {
    Ok(ScanColumn {
        id: ColumnId(message.id),
        sql_type: from_json::<SqlType>(&message.sql_type)?,
        name: message.name.clone(),
        nullable: message.nullable,
        fill: message.fill.as_deref().map(from_json::<Datum>).transpose()?,
    })
}

fn slices_of(message: Option<&SlicesMessage>) -> Result<Slices> {
    let message = message.ok_or_else(|| internal_datafusion_err!("a scan names no slices"))?;
    let narrow = |number: u32| {
        u16::try_from(number).map_err(|_| internal_datafusion_err!("slice {number} is no slice"))
    };
    let (number, partitions) = (narrow(message.number)?, narrow(message.partitions)?);
    Ok(match message.kind {
        0 => Slices::Folded { slices: number, partitions },
        1 => Slices::Range { start: number, partitions },
        2 => Slices::Replica { partitions },
        other => return internal_err!("slices of kind {other} are not known to this version"),
    })
}

pub(crate) fn segment_message(
    segment: &Segment,
    leading: Option<ColumnId>,
) -> Result<SegmentMessage> {
    let stats = leading.and_then(|column| segment.column(column));
    Ok(SegmentMessage {
        path: segment.path.clone(),
        slice: segment.slice.map(|slice| slice.0.into()),
        rows: segment.rows,
        bytes: segment.bytes,
        footer_offset: segment.footer_offset,
        footer_checksum: segment.footer_checksum,
        sorted: segment.sorted,
        bounds: stats.map(json).transpose()?,
        number: segment.number,
        deletes: segment.deletes.as_deref().map(deletes_message),
        inline: segment.inline.as_ref().map(|bytes| bytes.to_vec()),
    })
}

fn deletes_message(deletes: &Deletes) -> DeletesMessage {
    let message = DeletesMessage { rows: deletes.rows, ..DeletesMessage::default() };
    match &deletes.bitmap {
        Bitmap::Inline(bytes) => DeletesMessage { inline: Some(bytes.to_vec()), ..message },
        Bitmap::File { path, bytes, checksum } => {
            DeletesMessage { path: path.clone(), bytes: *bytes, checksum: *checksum, ..message }
        }
    }
}

fn deletes_of(message: DeletesMessage) -> Deletes {
    let DeletesMessage { rows, inline, path, bytes, checksum } = message;
    let bitmap = match inline {
        Some(bytes) => Bitmap::Inline(bytes.into()),
        None => Bitmap::File { path, bytes, checksum },
    };
    Deletes { rows, bitmap }
}

pub(crate) fn segment_of(message: SegmentMessage, leading: Option<ColumnId>) -> Result<Segment> {
    let stats = match (message.bounds.as_deref(), leading) {
        (Some(bounds), Some(_)) => vec![from_json(bounds)?],
        _ => Vec::new(),
    };
    let slice = message.slice.map(|slice| {
        u16::try_from(slice).map_err(|_| internal_datafusion_err!("slice {slice} is no slice"))
    });
    Ok(Segment {
        path: message.path,
        slice: slice.transpose()?.map(SliceId),
        rows: message.rows,
        bytes: message.bytes,
        footer_offset: message.footer_offset,
        footer_checksum: message.footer_checksum,
        // Whether placement is trusted was decided on the leader.
        placement: crate::placement::NOT_PLACED,
        sorted: message.sorted,
        columns: stats,
        number: message.number,
        deletes: message.deletes.map(|deletes| Arc::new(deletes_of(deletes))),
        inline: message.inline.map(Arc::from),
    })
}

pub(crate) fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| DataFusionError::External(Box::new(error)))
}

pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        internal_datafusion_err!("a plan of another version was received: {error}")
    })
}

fn damaged(error: prost::DecodeError) -> DataFusionError {
    internal_datafusion_err!("a plan could not be decoded: {error}")
}

#[cfg(test)]
mod tests {
    use base::segment::ColumnStats;

    use super::*;

    /// Equal to the last bit, where NaN is not equal to itself.
    fn same(a: &Segment, b: &Segment) -> bool {
        let bits = |datum: &Option<Datum>| match datum {
            Some(Datum::Float(value)) => Some(value.to_bits()),
            _ => None,
        };
        let stats = |segment: &Segment| -> Vec<_> {
            segment.columns.iter().map(|stats| (bits(&stats.min), bits(&stats.max))).collect()
        };
        let plain = |segment: &Segment| Segment { columns: Vec::new(), ..segment.clone() };
        stats(a) == stats(b) && plain(a) == plain(b)
    }

    #[test]
    fn bounds_survive_to_the_last_bit() {
        let values = [f64::NEG_INFINITY, f64::INFINITY, f64::NAN, -0.0, 0.1 + 0.2, 1e-310, 5e300];
        for low in values {
            for high in values {
                let stats = ColumnStats {
                    column: ColumnId(3),
                    min: Some(Datum::Float(low)),
                    max: Some(Datum::Float(high)),
                    ..ColumnStats::default()
                };
                let segment = Segment { columns: vec![stats], ..Segment::default() };
                let written: Segment = from_json(&json(&segment).unwrap()).unwrap();
                assert!(same(&segment, &written), "{low} {high}");
                let message = segment_message(&segment, Some(ColumnId(3))).unwrap();
                let message = SegmentMessage::decode(&*message.encode_to_vec()).unwrap();
                let scanned = segment_of(message, Some(ColumnId(3))).unwrap();
                assert!(same(&segment, &scanned), "{low} {high}");
            }
        }
    }

    #[test]
    fn deletes_and_inline_bytes_travel() {
        let file = Bitmap::File { path: "data/1/1-2-3.del".into(), bytes: 9_000, checksum: 7 };
        let inline = Bitmap::Inline(Arc::from([1, 2, 3]));
        for (bitmap, bytes) in [(file, None), (inline, Some(Arc::from([4_u8, 5])))] {
            let segment = Segment {
                path: "data/1/1-2-0000-0.seg".into(),
                slice: Some(SliceId(2)),
                rows: 100,
                number: 12,
                deletes: Some(Arc::new(Deletes { rows: 3, bitmap })),
                inline: bytes,
                ..Segment::default()
            };
            let message = segment_message(&segment, None).unwrap();
            let message = SegmentMessage::decode(&*message.encode_to_vec()).unwrap();
            assert_eq!(segment_of(message, None).unwrap(), segment);
        }
    }
}
