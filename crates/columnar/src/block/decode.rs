//! From encoded bodies to Arrow arrays: the loop over vectors that every type shares.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray, new_null_array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, BooleanBufferBuilder, Buffer};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use base::{Result, SqlType};

use super::{Block, Body};
use crate::float::{Float, FloatBody};
use crate::integer::{IntStream, Native};
use crate::layout::Parsed;
use crate::selection::LEAD;
use crate::stream::VectorReader;
use crate::text::{self, TextBody};
use crate::{Selection, VECTOR_ROWS};

/// Which rows to decode.
pub(super) enum Wanted<'a> {
    Range(Range<usize>),
    Selected(&'a Selection),
}

impl Wanted<'_> {
    fn count(&self) -> usize {
        match self {
            Wanted::Range(rows) => rows.len(),
            Wanted::Selected(selection) => selection.count(),
        }
    }

    fn is_range(&self) -> bool {
        matches!(self, Wanted::Range(_))
    }

    /// The wanted values of a body of `rows`.
    fn collect<R>(&self, rows: usize, reader: &mut R) -> Parsed<ScalarBuffer<R::Value>>
    where
        R: VectorReader<Value: ArrowNativeType>,
    {
        match self {
            Wanted::Range(wanted) => {
                let first = wanted.start / VECTOR_ROWS;
                let last = wanted.end.div_ceil(VECTOR_ROWS);
                let room = last.saturating_sub(first) * VECTOR_ROWS;
                let mut out = Vec::with_capacity(room.min(rows));
                for vector in first..last {
                    reader.append(vector, &mut out)?;
                }
                let skip = wanted.start - first * VECTOR_ROWS;
                Ok(ScalarBuffer::new(Buffer::from_vec(out), skip, wanted.len()))
            }
            Wanted::Selected(selection) => {
                // Room for a whole vector besides, before it is compressed.
                let room = selection.count() + VECTOR_ROWS + 2 * LEAD;
                let mut out = Vec::with_capacity(room);
                for vector in 0..rows.div_ceil(VECTOR_ROWS) {
                    let here = (rows - vector * VECTOR_ROWS).min(VECTOR_ROWS);
                    let count = selection.count_vector(vector);
                    if count == here {
                        reader.append(vector, &mut out)?;
                    } else if count > 0 {
                        reader.append_selected(vector, selection, &mut out)?;
                    }
                }
                Ok(ScalarBuffer::from(out))
            }
        }
    }

    fn bits(&self, bits: &BooleanBuffer) -> BooleanBuffer {
        match self {
            Wanted::Range(rows) => bits.slice(rows.start, rows.len()),
            Wanted::Selected(selection) => {
                let mut out = BooleanBufferBuilder::new(selection.count());
                for run in selection.runs() {
                    out.append_buffer(&bits.slice(run.start, run.len()));
                }
                out.finish()
            }
        }
    }
}

impl Block {
    pub(super) fn decode_wanted(&self, wanted: &Wanted<'_>) -> Result<ArrayRef> {
        let nulls = self
            .validity
            .as_ref()
            .map(|bits| NullBuffer::new(wanted.bits(bits)))
            .filter(|nulls| nulls.null_count() > 0);
        let array = match &self.body {
            Body::AllNull => Ok(new_null_array(&self.sql_type.arrow(), wanted.count())),
            Body::BooleanConstant(value) => {
                let bits = match value {
                    true => BooleanBuffer::new_set(wanted.count()),
                    false => BooleanBuffer::new_unset(wanted.count()),
                };
                Ok(Arc::new(BooleanArray::new(bits, nulls)) as ArrayRef)
            }
            Body::Boolean(bits) => {
                Ok(Arc::new(BooleanArray::new(wanted.bits(bits), nulls)) as ArrayRef)
            }
            Body::Integer(stream) => self.decode_integers(stream, wanted, nulls),
            Body::Float(body) if self.sql_type == SqlType::Real => {
                decode_floats::<Float32Type>(body, wanted, nulls)
            }
            Body::Float(body) => decode_floats::<Float64Type>(body, wanted, nulls),
            Body::Wide(body) => body.reader(wanted.is_range()).and_then(|mut reader| {
                let values = wanted.collect(body.rows(), &mut reader)?;
                let array = PrimitiveArray::<Decimal128Type>::new(values, nulls);
                Ok(Arc::new(array.with_data_type(self.sql_type.arrow())) as ArrayRef)
            }),
            Body::Text(body) => self.decode_text(body, wanted, nulls),
        };
        array.map_err(|fault| self.corrupted(fault))
    }

    fn decode_integers(
        &self,
        stream: &IntStream,
        wanted: &Wanted<'_>,
        nulls: Option<NullBuffer>,
    ) -> Parsed<ArrayRef> {
        match self.sql_type {
            SqlType::SmallInt => decode_stream::<Int16Type>(stream, wanted, nulls),
            SqlType::Integer => decode_stream::<Int32Type>(stream, wanted, nulls),
            SqlType::Date => decode_stream::<Date32Type>(stream, wanted, nulls),
            SqlType::Time => decode_stream::<Time64MicrosecondType>(stream, wanted, nulls),
            SqlType::Timestamp | SqlType::TimestampTz => {
                let values = collect_stream::<TimestampMicrosecondType>(stream, wanted)?;
                let array = PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls);
                Ok(Arc::new(array.with_data_type(self.sql_type.arrow())))
            }
            _ => decode_stream::<Int64Type>(stream, wanted, nulls),
        }
    }

    fn decode_text(
        &self,
        body: &TextBody,
        wanted: &Wanted<'_>,
        nulls: Option<NullBuffer>,
    ) -> Parsed<ArrayRef> {
        let utf8 = !matches!(self.sql_type, SqlType::Varbyte(_));
        let mut reader = body.reader(utf8)?;
        let values = wanted.collect(body.rows, &mut reader)?;
        Ok(text::array(values, reader.finish(), nulls))
    }
}

fn collect_stream<A: ArrowPrimitiveType>(
    stream: &IntStream,
    wanted: &Wanted<'_>,
) -> Parsed<ScalarBuffer<A::Native>>
where
    A::Native: Native,
{
    let mut reader = stream.reader()?;
    wanted.collect(stream.rows, &mut reader)
}

fn decode_stream<A: ArrowPrimitiveType>(
    stream: &IntStream,
    wanted: &Wanted<'_>,
    nulls: Option<NullBuffer>,
) -> Parsed<ArrayRef>
where
    A::Native: Native,
{
    Ok(Arc::new(PrimitiveArray::<A>::new(collect_stream::<A>(stream, wanted)?, nulls)))
}

fn decode_floats<A: ArrowPrimitiveType>(
    body: &FloatBody,
    wanted: &Wanted<'_>,
    nulls: Option<NullBuffer>,
) -> Parsed<ArrayRef>
where
    A::Native: Float,
{
    let mut reader = body.reader()?;
    let values = wanted.collect(body.stream().rows, &mut reader)?;
    Ok(Arc::new(PrimitiveArray::<A>::new(values, nulls)))
}
