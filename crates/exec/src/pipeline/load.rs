//! From Arrow arrays and encoded blocks to the registers of a program.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, TimeUnit};
use base::segment::Datum;
use columnar::{Codes, Integers, VECTOR_ROWS};
use datafusion::common::{Result, internal_err};
use vector::{Bounds, Kind, TextKeys, Vector};

use crate::error::into_datafusion;
use crate::scan::{BlockColumn, BlockRows};

/// Fills `into` with rows of an array; `bounded` asks for the bounds of integers.
pub(super) fn array(
    into: &mut Vector,
    array: &ArrayRef,
    rows: Range<usize>,
    bounded: bool,
    texts: &mut TextKeys,
) -> Result<()> {
    let integers = |into: &mut Vector, values: &mut dyn Iterator<Item = i64>| {
        into.start_narrow(Bounds::NARROW).extend(values);
        if bounded {
            into.set_bounds(Bounds::of_narrow(into.narrow()));
        }
    };
    macro_rules! values {
        ($type:ty) => {
            array.as_primitive::<$type>().values()[rows.clone()].iter()
        };
    }
    match array.data_type() {
        DataType::Int16 => integers(into, &mut values!(Int16Type).map(|v| i64::from(*v))),
        DataType::Int32 => integers(into, &mut values!(Int32Type).map(|v| i64::from(*v))),
        DataType::Date32 => integers(into, &mut values!(Date32Type).map(|v| i64::from(*v))),
        DataType::Int64 => integers(into, &mut values!(Int64Type).copied()),
        DataType::Time64(TimeUnit::Microsecond) => {
            integers(into, &mut values!(Time64MicrosecondType).copied());
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            integers(into, &mut values!(TimestampMicrosecondType).copied());
        }
        DataType::UInt64 => {
            let values = &array.as_primitive::<UInt64Type>().values()[rows.clone()];
            match values.iter().all(|value| i64::try_from(*value).is_ok()) {
                true => integers(into, &mut values.iter().map(|value| *value as i64)),
                false => into
                    .start_wide(Bounds { low: 0, high: i128::from(u64::MAX) })
                    .extend(values.iter().map(|value| i128::from(*value))),
            }
        }
        DataType::Decimal128(..) => {
            let values = &array.as_primitive::<Decimal128Type>().values()[rows.clone()];
            decimals(into, values, bounded);
        }
        DataType::Float64 => into.start_float().extend(values!(Float64Type)),
        DataType::Boolean => {
            let bits = array.as_boolean().values().slice(rows.start, rows.len());
            into.start_bool().extend(bits.iter().map(u8::from));
        }
        DataType::Utf8View | DataType::Utf8 => text(into, array, rows.clone(), texts)?,
        other => return internal_err!("a pipeline does not know {other}"),
    }
    if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
        let valid = nulls.inner().slice(rows.start, rows.len());
        into.start_valid().extend(valid.iter().map(u8::from));
    }
    Ok(())
}

/// Decimals in 64 bits when all of them fit.
fn decimals(into: &mut Vector, values: &[i128], bounded: bool) {
    let mut lost = 0;
    into.start_narrow(Bounds::NARROW).extend(values.iter().map(|value| {
        let low = *value as i64;
        // No early exit: the loop stays free of branches.
        lost |= i128::from(low) ^ value;
        low
    }));
    if lost != 0 {
        let low = values.iter().copied().min().unwrap_or(0);
        let high = values.iter().copied().max().unwrap_or(0);
        into.start_wide(Bounds { low, high }).extend(values);
    } else if bounded {
        into.set_bounds(Bounds::of_narrow(into.narrow()));
    }
}

fn text(
    into: &mut Vector,
    array: &ArrayRef,
    rows: Range<usize>,
    texts: &mut TextKeys,
) -> Result<()> {
    let out = into.start_narrow(Bounds::NARROW);
    out.reserve(rows.len());
    if let Some(strings) = array.as_string_opt::<i32>() {
        for row in rows {
            out.push(texts.key(strings.value(row).as_bytes()).map_err(into_datafusion)?);
        }
        return Ok(());
    }
    let strings = array.as_string_view();
    for (view, row) in strings.views()[rows.clone()].iter().zip(rows) {
        out.push(match TextKeys::inline_view(*view) {
            Some(key) => key,
            // What a NULL leaves behind need not be text.
            None if strings.is_null(row) => 0,
            None => texts.key(strings.value(row).as_bytes()).map_err(into_datafusion)?,
        });
    }
    Ok(())
}

/// Decodes one column of a block, a vector at a time.
pub(super) enum Lane<'a> {
    Integers {
        reader: Integers<'a>,
        bounds: Bounds,
        valid: Option<&'a BooleanBuffer>,
    },
    Codes {
        reader: Codes<'a>,
        keys: Vec<i64>,
        valid: Option<&'a BooleanBuffer>,
        /// Give codes instead of keys.
        coded: bool,
    },
    /// By way of Arrow: the rows of the block that are wanted, of which `taken` were given.
    Array {
        values: ArrayRef,
        taken: usize,
    },
    /// The same value in every row.
    Constant(ArrayRef),
    Null(Kind),
}

/// Buffers reused between vectors.
#[derive(Default)]
pub(super) struct Scratch {
    integers: Vec<i64>,
    codes: Vec<u32>,
}

impl<'a> Lane<'a> {
    /// Column `column` of `rows`.
    pub(super) fn new(
        rows: &'a BlockRows,
        column: usize,
        kind: Kind,
        texts: &mut TextKeys,
    ) -> Result<Lane<'a>> {
        let Some(column) = rows.columns.get(column) else {
            return internal_err!("a block without column {column}");
        };
        let block = match column {
            BlockColumn::Block(block) if block.is_all_null() => return Ok(Lane::Null(kind)),
            BlockColumn::Block(block) => block,
            BlockColumn::Fill(value) => {
                return Ok(Lane::Constant(value.to_array_of_size(VECTOR_ROWS)?));
            }
        };
        let valid = block.validity();
        if let Some(reader) = block.integers().map_err(into_datafusion)? {
            let zone = block.zone();
            let bounds = match (&zone.min, &zone.max) {
                (Some(Datum::Int(low)), Some(Datum::Int(high))) => {
                    Bounds { low: *low, high: *high }
                }
                _ => Bounds::NARROW,
            };
            return Ok(Lane::Integers { reader, bounds, valid });
        }
        // A dictionary that is larger than what is wanted of it is not worth its keys.
        let codes = block.codes().map_err(into_datafusion)?;
        let Some(reader) = codes.filter(|codes| codes.entries().len() <= rows.selected() * 2)
        else {
            let values = match &rows.selection {
                Some(selection) => block.decode_selected(selection),
                None => block.decode(),
            };
            return Ok(Lane::Array { values: values.map_err(into_datafusion)?, taken: 0 });
        };
        let mut entries = Vector::default();
        let dictionary = reader.entries();
        array(&mut entries, dictionary, 0..dictionary.len(), false, texts)?;
        let keys = entries.narrow().to_vec();
        Ok(Lane::Codes { reader, keys, valid, coded: false })
    }

    /// True when vectors may be appended one after another before a program runs.
    pub(super) fn appends(&self) -> bool {
        matches!(self, Lane::Integers { .. } | Lane::Codes { .. })
    }

    /// The dictionary of a lane whose codes may stand for its keys.
    pub(super) fn dictionary(&self) -> Option<&Vec<i64>> {
        match self {
            Lane::Codes { keys, valid: None, .. } => Some(keys),
            _ => None,
        }
    }

    /// What the integers of a block lie between.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        match self {
            Lane::Integers { bounds, .. } => {
                Some((i64::try_from(bounds.low).ok()?, i64::try_from(bounds.high).ok()?))
            }
            _ => None,
        }
    }

    /// Gives codes from now on.
    pub(super) fn give_codes(&mut self) {
        if let Lane::Codes { coded, .. } = self {
            *coded = true;
        }
    }

    /// Empties a register for this lane.
    pub(super) fn start(&self, into: &mut Vector) {
        let (bounds, valid) = match self {
            Lane::Integers { bounds, valid, .. } => (*bounds, valid.is_some()),
            Lane::Codes { valid, .. } => (Bounds::NARROW, valid.is_some()),
            _ => return,
        };
        into.start_narrow(bounds);
        if valid {
            into.start_valid();
        }
    }

    /// Adds `rows` rows of vector `number` to a register, those of `picked` alone when given.
    /// Lanes that do not append replace what the register holds.
    pub(super) fn load(
        &mut self,
        (number, rows): (usize, usize),
        picked: Option<&[u16]>,
        into: &mut Vector,
        bounded: bool,
        (texts, scratch): (&mut TextKeys, &mut Scratch),
    ) -> Result<()> {
        let first = number * VECTOR_ROWS;
        match self {
            Lane::Integers { reader, valid, .. } => {
                match picked {
                    None => reader.append(number, into.narrow_mut()).map_err(into_datafusion)?,
                    Some(picked) => {
                        scratch.integers.clear();
                        reader.append(number, &mut scratch.integers).map_err(into_datafusion)?;
                        let values = picked.iter().map(|row| scratch.integers[usize::from(*row)]);
                        into.narrow_mut().extend(values);
                    }
                }
                append_valid(*valid, first..first + rows, picked, into);
                return Ok(());
            }
            Lane::Codes { reader, keys, valid, coded } => {
                scratch.codes.clear();
                reader.append(number, &mut scratch.codes).map_err(into_datafusion)?;
                let (codes, out) = (&scratch.codes, into.narrow_mut());
                let rows_picked = picked;
                let picked = picked.map(|rows| rows.iter().map(|row| codes[usize::from(*row)]));
                match (picked, *coded) {
                    (None, true) => out.extend(codes.iter().map(|code| i64::from(*code))),
                    (Some(codes), true) => out.extend(codes.map(i64::from)),
                    (None, false) => out.extend(codes.iter().map(|code| keys[*code as usize])),
                    (Some(codes), false) => out.extend(codes.map(|code| keys[code as usize])),
                }
                append_valid(*valid, first..first + rows, rows_picked, into);
                return Ok(());
            }
            Lane::Array { values, taken } => {
                let wanted = *taken..*taken + picked.map_or(rows, <[u16]>::len);
                *taken = wanted.end;
                return array(into, values, wanted, bounded, texts);
            }
            Lane::Constant(values) => array(into, values, 0..rows, bounded, texts)?,
            Lane::Null(kind) => into.fill_null(*kind, rows),
        }
        if let Some(picked) = picked {
            into.keep(picked);
        }
        Ok(())
    }
}

fn append_valid(
    valid: Option<&BooleanBuffer>,
    rows: Range<usize>,
    picked: Option<&[u16]>,
    into: &mut Vector,
) {
    let Some(valid) = valid else {
        return;
    };
    let out = into.valid_mut();
    match picked {
        None => out.extend(valid.slice(rows.start, rows.len()).iter().map(u8::from)),
        Some(picked) => {
            let bit = |row: &u16| u8::from(valid.value(rows.start + usize::from(*row)));
            out.extend(picked.iter().map(bit));
        }
    }
}
