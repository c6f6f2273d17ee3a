//! Streams of 64-bit integers: parsing and decoding. The carrier of every fixed-width type, of
//! dictionary codes and of string lengths.
//!
//! `integer::plan` chooses and writes encodings, `integer::filter` evaluates predicates without
//! decoding to the target type. Knows nothing of NULLs or SQL types: a stream has one value a row.

mod filter;
mod plan;

use bytes::Bytes;

pub(crate) use filter::{IntTest, WideTest, code_test};
pub(crate) use plan::{Menu, bounds, encode, encode_within, plain_bytes};

use crate::layout::{Parsed, Reader, fault, i64_at};
use crate::packing::{Lanes, Word, packed_bytes, unpack};
use crate::stream::{VectorReader, append_compressed};
use crate::{Selection, VECTOR_ROWS};

/// Tags of integer streams in the file.
pub(crate) mod tag {
    pub(crate) const CONSTANT: u8 = 1;
    pub(crate) const PACKED: u8 = 2;
    pub(crate) const DELTA: u8 = 3;
    pub(crate) const RUNS: u8 = 4;
    pub(crate) const DICTIONARY: u8 = 5;
    pub(crate) const PLAIN: u8 = 6;
}

/// The most rows that a stream may declare: bounds what a damaged file can make us allocate.
pub(crate) const STREAM_ROWS_MAX: usize = 1 << 20;

/// Streams nest at most this deep (a dictionary's codes may be runs of packed values).
const DEPTH_MAX: u8 = 3;

/// A type that stream values are decoded to.
pub(crate) trait Native: Copy + Default + 'static {
    fn of(value: i64) -> Self;
}

macro_rules! native {
    ($($type:ty => $of:expr,)*) => {
        $(impl Native for $type {
            #[inline(always)]
            fn of(value: i64) -> $type {
                $of(value)
            }
        })*
    };
}

native! {
    i16 => |v| v as i16,
    i32 => |v| v as i32,
    i64 => |v| v,
    i128 => i128::from,
    u32 => |v| v as u32,
    f32 => |v| f32::from_bits(v as u32),
    f64 => |v: i64| f64::from_bits(v as u64),
}

/// A parsed stream; nothing is decoded yet.
pub(crate) struct IntStream {
    pub(crate) rows: usize,
    pub(crate) encoding: IntEncoding,
}

/// How the values of a stream are stored.
pub(crate) enum IntEncoding {
    Constant(i64),
    Packed(Packed),
    /// `bases` has the first value of each vector; code `i > 0` of a vector is the step from its
    /// predecessor, less `codes.reference`, divided by `codes.factor`.
    Delta {
        bases: Bytes,
        codes: Packed,
    },
    Runs {
        values: Box<IntStream>,
        lengths: Box<IntStream>,
    },
    Dictionary {
        values: Box<IntStream>,
        codes: Box<IntStream>,
    },
    /// Little-endian two's complement of `width` bytes.
    Plain {
        width: u8,
        data: Bytes,
    },
}

/// Bit-packed codes: value = reference + code × factor.
pub(crate) struct Packed {
    pub(crate) reference: i64,
    pub(crate) factor: u64,
    pub(crate) width: u8,
    pub(crate) data: Bytes,
}

impl IntStream {
    /// Parses the stream at the reader's position.
    pub(crate) fn parse(reader: &mut Reader) -> Parsed<IntStream> {
        Self::parse_nested(reader, DEPTH_MAX)
    }

    fn parse_nested(reader: &mut Reader, depth: u8) -> Parsed<IntStream> {
        let Some(depth) = depth.checked_sub(1) else {
            return fault("integer streams nest too deep");
        };
        let tag = reader.u8()?;
        let rows = reader.u32()? as usize;
        if rows == 0 || rows > STREAM_ROWS_MAX {
            return fault("an integer stream has an impossible number of values");
        }
        let encoding = match tag {
            tag::CONSTANT => IntEncoding::Constant(reader.i64()?),
            tag::PACKED => IntEncoding::Packed(Packed::parse(reader, rows, 1)?),
            tag::DELTA => {
                let bases = reader.slice(rows.div_ceil(VECTOR_ROWS) * 8)?;
                IntEncoding::Delta { bases, codes: Packed::parse(reader, rows, 0)? }
            }
            tag::RUNS => {
                let values = Box::new(Self::parse_nested(reader, depth)?);
                let lengths = Box::new(Self::parse_nested(reader, depth)?);
                if values.rows != lengths.rows || values.rows > rows {
                    return fault("run values and run lengths differ in number");
                }
                IntEncoding::Runs { values, lengths }
            }
            tag::DICTIONARY => {
                let values = Box::new(Self::parse_nested(reader, depth)?);
                let codes = Box::new(Self::parse_nested(reader, depth)?);
                if codes.rows != rows || values.rows > rows {
                    return fault("a dictionary's codes differ from the rows in number");
                }
                IntEncoding::Dictionary { values, codes }
            }
            tag::PLAIN => {
                let width = reader.u8()?;
                if !matches!(width, 2 | 4 | 8) {
                    return fault("plain integers have an impossible width");
                }
                IntEncoding::Plain { width, data: reader.slice(rows * usize::from(width))? }
            }
            _ => return fault("an integer stream has an unknown encoding"),
        };
        Ok(IntStream { rows, encoding })
    }

    /// The number of vectors.
    pub(crate) fn vectors(&self) -> usize {
        self.rows.div_ceil(VECTOR_ROWS)
    }

    /// Decodes what every vector needs (runs, dictionaries) once.
    pub(crate) fn reader<T: Native>(&self) -> Parsed<IntReader<'_, T>> {
        let source = match &self.encoding {
            IntEncoding::Runs { values, lengths } => {
                Source::Runs { ends: run_ends(lengths, self.rows)?, values: values.decode()? }
            }
            IntEncoding::Dictionary { values, codes } => Source::Dictionary {
                values: values.decode()?,
                codes: Box::new(codes.reader()?),
                scratch: Vec::with_capacity(VECTOR_ROWS),
            },
            plain => Source::Direct(plain),
        };
        Ok(IntReader { rows: self.rows, source })
    }

    /// Every value.
    pub(crate) fn decode<T: Native>(&self) -> Parsed<Vec<T>> {
        let mut out = Vec::with_capacity(self.rows);
        let mut reader = self.reader()?;
        for vector in 0..self.vectors() {
            reader.append(vector, &mut out)?;
        }
        Ok(out)
    }

    /// What a person should know of the encoding.
    pub(crate) fn describe(&self) -> String {
        match &self.encoding {
            IntEncoding::Constant(value) => format!("constant {value}"),
            IntEncoding::Packed(packed) => packed.describe("packed"),
            IntEncoding::Delta { codes, .. } => codes.describe("delta"),
            IntEncoding::Runs { values, .. } => {
                format!("runs({}) of {}", values.rows, values.describe())
            }
            IntEncoding::Dictionary { values, codes } => {
                format!("dictionary({}) by {}", values.rows, codes.describe())
            }
            IntEncoding::Plain { width, .. } => format!("plain {width} bytes"),
        }
    }
}

/// Where each run ends; the last one ends at `rows`.
fn run_ends(lengths: &IntStream, rows: usize) -> Parsed<Vec<u32>> {
    let mut ends: Vec<u32> = lengths.decode()?;
    let mut end: u64 = 0;
    for length in &mut ends {
        end += u64::from(*length);
        *length = u32::try_from(end).unwrap_or(u32::MAX);
    }
    if end != rows as u64 { fault("run lengths do not add up to the rows") } else { Ok(ends) }
}

impl Packed {
    fn parse(reader: &mut Reader, rows: usize, width_min: u8) -> Parsed<Packed> {
        let reference = reader.i64()?;
        let factor = reader.u64()?;
        let width = reader.u8()?;
        if width < width_min || width > 64 {
            return fault("packed codes have an impossible width");
        }
        let data = reader.slice(packed_bytes(rows, width))?;
        Ok(Packed { reference, factor, width, data })
    }

    fn describe(&self, name: &str) -> String {
        let Packed { reference, factor, width, .. } = self;
        match factor {
            1 => format!("{name} {width} bits from {reference}"),
            _ => format!("{name} {width} bits × {factor} from {reference}"),
        }
    }

    /// Appends the values of one vector.
    fn append<T: Native>(&self, rows: usize, vector: usize, out: &mut Vec<T>) -> Parsed<()> {
        match self.width {
            0..=16 => self.append_lanes::<u16, T>(rows, vector, out),
            17..=32 => self.append_lanes::<u32, T>(rows, vector, out),
            _ => self.append_lanes::<u64, T>(rows, vector, out),
        }
    }

    fn append_lanes<W: Word, T: Native>(
        &self,
        rows: usize,
        vector: usize,
        out: &mut Vec<T>,
    ) -> Parsed<()> {
        let mut lanes = [W::default(); VECTOR_ROWS];
        let n = unpack(&self.data, rows, self.width, vector, &mut lanes)?;
        extend_scaled(&lanes, n, self.reference, self.factor, out);
        Ok(())
    }

    /// The steps of a delta vector, added up from `base`.
    fn append_sums<W: Word, T: Native>(
        &self,
        rows: usize,
        vector: usize,
        base: i64,
        out: &mut Vec<T>,
    ) -> Parsed<()> {
        let mut lanes: Lanes<W> = [W::default(); VECTOR_ROWS];
        let n = match self.width {
            0 => (rows - vector * VECTOR_ROWS).min(VECTOR_ROWS),
            width => unpack(&self.data, rows, width, vector, &mut lanes)?,
        };
        let mut sum = base;
        out.push(T::of(sum));
        if self.factor == 1 {
            out.extend(lanes[1..n].iter().map(|code| {
                let step = self.reference.wrapping_add(code.widen() as i64);
                sum = sum.wrapping_add(step);
                T::of(sum)
            }));
        } else {
            out.extend(lanes[1..n].iter().map(|code| {
                let step = code.widen().wrapping_mul(self.factor) as i64;
                sum = sum.wrapping_add(self.reference.wrapping_add(step));
                T::of(sum)
            }));
        }
        Ok(())
    }
}

/// One pass from lanes to the target type: widen, scale, add the reference.
#[inline]
fn extend_scaled<W: Word, T: Native>(
    lanes: &Lanes<W>,
    n: usize,
    reference: i64,
    factor: u64,
    out: &mut Vec<T>,
) {
    if factor == 1 {
        out.extend(
            lanes[..n].iter().map(|code| T::of(reference.wrapping_add(code.widen() as i64))),
        );
    } else if W::BITS <= 32 && factor <= u64::from(u32::MAX) {
        // Both factors below 2^32: one hardware multiplication a lane.
        let factor = factor & u64::from(u32::MAX);
        out.extend(
            lanes[..n].iter().map(|code| {
                T::of(reference.wrapping_add(code.widen().wrapping_mul(factor) as i64))
            }),
        );
    } else {
        out.extend(
            lanes[..n].iter().map(|code| {
                T::of(reference.wrapping_add(code.widen().wrapping_mul(factor) as i64))
            }),
        );
    }
}

/// Decodes vectors of one stream, in any order.
pub(crate) struct IntReader<'a, T> {
    rows: usize,
    source: Source<'a, T>,
}

enum Source<'a, T> {
    Direct(&'a IntEncoding),
    Runs { ends: Vec<u32>, values: Vec<T> },
    Dictionary { values: Vec<T>, codes: Box<IntReader<'a, u32>>, scratch: Vec<u32> },
}

impl<T: Native> VectorReader for IntReader<'_, T> {
    type Value = T;

    fn append(&mut self, vector: usize, out: &mut Vec<T>) -> Parsed<()> {
        let first = vector * VECTOR_ROWS;
        let n = (self.rows - first).min(VECTOR_ROWS);
        match &mut self.source {
            Source::Direct(encoding) => append_direct(encoding, self.rows, vector, out),
            Source::Runs { ends, values } => {
                append_runs(ends, values, first, n, out);
                Ok(())
            }
            Source::Dictionary { values, codes, scratch } => {
                scratch.clear();
                codes.append(vector, scratch)?;
                gather(values, scratch, out)
            }
        }
    }

    fn append_selected(
        &mut self,
        vector: usize,
        selection: &Selection,
        out: &mut Vec<T>,
    ) -> Parsed<()> {
        match &mut self.source {
            Source::Dictionary { values, codes, scratch } => {
                scratch.clear();
                codes.append_selected(vector, selection, scratch)?;
                gather(values, scratch, out)
            }
            Source::Direct(_) | Source::Runs { .. } => {
                append_compressed(self, vector, selection, out)
            }
        }
    }
}

fn append_runs<T: Native>(ends: &[u32], values: &[T], first: usize, n: usize, out: &mut Vec<T>) {
    let mut run = ends.partition_point(|end| *end as usize <= first);
    let mut at = first;
    while at < first + n && run < ends.len() {
        let end = (ends[run] as usize).min(first + n);
        out.resize(out.len() + (end - at), values[run]);
        at = end;
        run += 1;
    }
}

/// Maps codes to dictionary values; one check a vector proves every code valid.
pub(crate) fn gather<T: Copy>(values: &[T], codes: &[u32], out: &mut Vec<T>) -> Parsed<()> {
    let highest = codes.iter().copied().max().unwrap_or(0);
    if highest as usize >= values.len() {
        return fault("a dictionary code is out of range");
    }
    out.extend(codes.iter().map(|code| values[*code as usize]));
    Ok(())
}

fn append_direct<T: Native>(
    encoding: &IntEncoding,
    rows: usize,
    vector: usize,
    out: &mut Vec<T>,
) -> Parsed<()> {
    let first = vector * VECTOR_ROWS;
    let n = (rows - first).min(VECTOR_ROWS);
    match encoding {
        IntEncoding::Constant(value) => out.resize(out.len() + n, T::of(*value)),
        IntEncoding::Packed(packed) => packed.append(rows, vector, out)?,
        IntEncoding::Delta { bases, codes } => {
            let Some(base) = i64_at(bases, vector) else { return fault("a delta base is missing") };
            match codes.width {
                0..=16 => codes.append_sums::<u16, T>(rows, vector, base, out)?,
                17..=32 => codes.append_sums::<u32, T>(rows, vector, base, out)?,
                _ => codes.append_sums::<u64, T>(rows, vector, base, out)?,
            }
        }
        IntEncoding::Plain { width, data } => append_plain(*width, data, first, n, out),
        IntEncoding::Runs { .. } | IntEncoding::Dictionary { .. } => {
            return fault("a nested stream has an unexpected encoding");
        }
    }
    Ok(())
}

fn append_plain<T: Native>(width: u8, data: &[u8], first: usize, n: usize, out: &mut Vec<T>) {
    let size = usize::from(width);
    let bytes = data[first * size..(first + n) * size].chunks_exact(size);
    match width {
        2 => out.extend(bytes.map(|b| T::of(i64::from(i16::from_le_bytes([b[0], b[1]]))))),
        4 => out
            .extend(bytes.map(|b| T::of(i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))))),
        _ => {
            out.extend(bytes.map(|b| {
                T::of(i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            }))
        }
    }
}
