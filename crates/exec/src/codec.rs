//! The form of our plan nodes on the way to a compute node.

use std::sync::Arc;

use base::error;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use crate::change::{self, ChangeExec, MergeDeletesExec};
use crate::distribute::stage::{FirstTaskExec, StageOutputExec};
use crate::error::into_datafusion;
use crate::scan::{self, SegmentScanExec};
use crate::write::{self, EvenSliceExec, SegmentWriteExec};
use crate::writing::NumberRowsExec;

const STAGE_OUTPUT_ORDERED: u8 = 1;
const STAGE_OUTPUT_UNORDERED: u8 = 2;
const FIRST_TASK: u8 = 3;
const SEGMENT_SCAN: u8 = 4;
const SEGMENT_WRITE: u8 = 5;
const EVEN_SLICE: u8 = 6;
const NUMBER_ROWS: u8 = 7;
const CHANGE: u8 = 8;
const MERGE_DELETES: u8 = 9;

/// Encodes the nodes that this crate adds to DataFusion's: one byte for the kind, then its own
/// form.
#[derive(Debug)]
pub(crate) struct ExecCodec;

fn unknown(what: impl std::fmt::Display) -> datafusion::common::DataFusionError {
    into_datafusion(error!(InternalError, "plan node {what} cannot travel to a compute node"))
}

impl PhysicalExtensionCodec for ExecCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (kind, body) = buf.split_first().ok_or_else(|| unknown("without a kind"))?;
        let input = || inputs.first().cloned().ok_or_else(|| unknown("without input"));
        Ok(match *kind {
            STAGE_OUTPUT_ORDERED => Arc::new(StageOutputExec::new(input()?)),
            STAGE_OUTPUT_UNORDERED => Arc::new(StageOutputExec::unordered(input()?)),
            FIRST_TASK => Arc::new(FirstTaskExec::new(input()?)),
            SEGMENT_SCAN => scan::decode(body, ctx, self, proto_converter)?,
            SEGMENT_WRITE => Arc::new(write::decode(body, inputs)?),
            EVEN_SLICE => Arc::new(write::decode_even(body, inputs)?),
            NUMBER_ROWS => {
                let fills = serde_json::from_slice(body).map_err(unknown)?;
                Arc::new(NumberRowsExec::new(input()?, fills))
            }
            CHANGE => Arc::new(change::decode(body, input()?)?),
            MERGE_DELETES => Arc::new(change::decode_merge(body, input()?)?),
            other => return Err(unknown(format!("of kind {other}"))),
        })
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if let Some(output) = node.downcast_ref::<StageOutputExec>() {
            let ordered = output.is_ordered();
            buf.push(if ordered { STAGE_OUTPUT_ORDERED } else { STAGE_OUTPUT_UNORDERED });
        } else if node.is::<FirstTaskExec>() {
            buf.push(FIRST_TASK);
        } else if let Some(leaf) = node.downcast_ref::<SegmentScanExec>() {
            buf.push(SEGMENT_SCAN);
            scan::encode(leaf, buf, self, proto_converter)?;
        } else if let Some(write) = node.downcast_ref::<SegmentWriteExec>() {
            buf.push(SEGMENT_WRITE);
            write::encode(write, buf)?;
        } else if let Some(even) = node.downcast_ref::<EvenSliceExec>() {
            buf.push(EVEN_SLICE);
            write::encode_even(even, buf)?;
        } else if let Some(number) = node.downcast_ref::<NumberRowsExec>() {
            buf.push(NUMBER_ROWS);
            serde_json::to_writer(buf, number.fills()).map_err(unknown)?;
        } else if let Some(change) = node.downcast_ref::<ChangeExec>() {
            buf.push(CHANGE);
            change::encode(change, buf)?;
        } else if let Some(merge) = node.downcast_ref::<MergeDeletesExec>() {
            buf.push(MERGE_DELETES);
            change::encode_merge(merge, buf)?;
        } else {
            return Err(unknown(node.name()));
        }
        Ok(())
    }
}
