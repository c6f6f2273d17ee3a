//! Changes on their way to a compute node.

use std::sync::Arc;

use base::segment::Segment;
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use prost::Message;

use super::{ChangeExec, MergeDeletesExec, MergeSpec};
use crate::scan::{SegmentMessage, from_json, json, segment_message, segment_of};
use crate::write::WriteSpec;

#[derive(Clone, PartialEq, Message)]
struct MergeMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    prefix: String,
    #[prost(message, repeated, tag = "3")]
    segments: Vec<SegmentMessage>,
    #[prost(bool, tag = "4")]
    in_place: bool,
}

/// Appends the encoded form of a change, without its input, to `buffer`.
///
/// # Errors
/// When it cannot be serialised.
pub(crate) fn encode(change: &ChangeExec, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.extend_from_slice(json(&change.spec.as_deref())?.as_bytes());
    Ok(())
}

/// Decodes a change of the rows of `input`.
///
/// # Errors
/// When the bytes are not what this version knows.
pub(crate) fn decode(bytes: &[u8], input: Arc<dyn ExecutionPlan>) -> Result<ChangeExec> {
    let spec: Option<WriteSpec> = from_json(&String::from_utf8_lossy(bytes))?;
    ChangeExec::try_new(input, spec.map(Arc::new))
}

/// Appends the encoded form of a merge, without its input, to `buffer`.
///
/// # Errors
/// When it cannot be serialised.
pub(crate) fn encode_merge(merge: &MergeDeletesExec, buffer: &mut Vec<u8>) -> Result<()> {
    let MergeSpec { name, prefix, segments, in_place } = &*merge.spec;
    let segments = segments.iter().map(|segment| {
        // Of their rows only the number is needed.
        segment_message(
            &Segment {
                path: segment.path.clone(),
                rows: segment.rows,
                number: segment.number,
                deletes: segment.deletes.clone(),
                ..Segment::default()
            },
            None,
        )
    });
    let message = MergeMessage {
        name: name.clone(),
        prefix: prefix.clone(),
        segments: segments.collect::<Result<_>>()?,
        in_place: *in_place,
    };
    buffer.extend_from_slice(&message.encode_to_vec());
    Ok(())
}

/// Decodes a merge of what `input` gives.
///
/// # Errors
/// When the bytes are not what this version knows.
pub(crate) fn decode_merge(
    bytes: &[u8],
    input: Arc<dyn ExecutionPlan>,
) -> Result<MergeDeletesExec> {
    let message =
        MergeMessage::decode(bytes).map_err(|error| DataFusionError::External(Box::new(error)))?;
    let segments = message.segments.into_iter().map(|segment| segment_of(segment, None));
    let spec = MergeSpec {
        name: message.name,
        prefix: message.prefix,
        segments: segments.map(|segment| segment.map(Arc::new)).collect::<Result<_>>()?,
        in_place: message.in_place,
    };
    Ok(MergeDeletesExec::new(input, Arc::new(spec)))
}
