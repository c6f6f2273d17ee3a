//! Writes on their way to a compute node.

use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::spec::WriteSpec;
use super::{EvenSliceExec, SegmentWriteExec};
use crate::scan::{from_json, json};

#[derive(Serialize, Deserialize)]
struct WriteMessage {
    spec: WriteSpec,
    first_slice: Option<u16>,
}

#[derive(Serialize, Deserialize)]
struct EvenMessage {
    slices: u16,
    start: u64,
}

/// Appends the encoded form of a write, without its input, to `buffer`.
///
/// # Errors
/// When it cannot be serialised.
pub fn encode(write: &SegmentWriteExec, buffer: &mut Vec<u8>) -> Result<()> {
    let message =
        WriteMessage { spec: WriteSpec::clone(&write.spec), first_slice: write.first_slice };
    buffer.extend_from_slice(json(&message)?.as_bytes());
    Ok(())
}

/// Decodes a write of `inputs`, of which there is one.
///
/// # Errors
/// When the bytes are no write that this version knows.
pub fn decode(bytes: &[u8], inputs: &[Arc<dyn ExecutionPlan>]) -> Result<SegmentWriteExec> {
    let [input] = inputs else {
        return internal_err!("a write has one input");
    };
    let message: WriteMessage = from_json(&String::from_utf8_lossy(bytes))?;
    let write = SegmentWriteExec::try_new(Arc::clone(input), Arc::new(message.spec))?;
    Ok(SegmentWriteExec { first_slice: message.first_slice, ..write })
}

/// Appends the encoded form of an even spreading, without its input, to `buffer`.
///
/// # Errors
/// When it cannot be serialised.
pub fn encode_even(even: &EvenSliceExec, buffer: &mut Vec<u8>) -> Result<()> {
    let message = EvenMessage { slices: even.slices(), start: even.start() };
    buffer.extend_from_slice(json(&message)?.as_bytes());
    Ok(())
}

/// Decodes the even spreading of the rows of `inputs`, of which there is one.
///
/// # Errors
/// When the bytes are not what this version knows.
pub fn decode_even(bytes: &[u8], inputs: &[Arc<dyn ExecutionPlan>]) -> Result<EvenSliceExec> {
    let [input] = inputs else {
        return internal_err!("rows are spread from one input");
    };
    let message: EvenMessage = from_json(&String::from_utf8_lossy(bytes))?;
    Ok(EvenSliceExec::new(Arc::clone(input), message.slices, message.start))
}
