//! Writing segments: rows come in as Arrow batches and leave as encoded blocks.
//!
//! Buffers one block of rows a column; the encoded bytes stay in memory until
//! [`SegmentWriter::finish`], which lays the blocks of each column side by side, so that a scan of
//! few columns reads few ranges. `writer::buffer` gathers and encodes the rows of one column.

mod buffer;

use arrow_array::{Array, RecordBatch};
use base::ids::ColumnId;
use base::segment::ColumnStats;
use base::{Result, SqlType, error};
use bytes::Bytes;

use crate::cardinality::Sketch;
use crate::footer::{self, BLOCK_ROWS_MAX, BlockIndex, ColumnIndex, HEADER_BYTES};
use crate::{Encode, VECTOR_ROWS, zone};
use buffer::ColumnBuffer;

/// A column to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSpec {
    pub id: ColumnId,
    /// A storable type: see [`SqlType::is_storable`].
    pub sql_type: SqlType,
    /// The declared encoding; `None` leaves the choice to the writer, like AUTO.
    pub encode: Option<Encode>,
}

/// How a segment is cut into blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Rows of a block, 1 to 1,048,576; the nearest of these is taken.
    pub block_rows: usize,
    /// A block is cut early when the text of one of its columns reaches this many bytes.
    pub block_bytes: usize,
    /// The compression level of ENCODE ZSTD, 1 to 22; the nearest of these is taken.
    pub zstd_level: i32,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions { block_rows: 65_536, block_bytes: 64 << 20, zstd_level: 3 }
    }
}

/// A finished segment.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The file's bytes, in order.
    pub chunks: Vec<Bytes>,
    pub rows: u64,
    /// The size of the file.
    pub bytes: u64,
    /// Where the footer starts.
    pub footer_offset: u64,
    /// CRC-32C of the footer.
    pub footer_checksum: u32,
    /// Statistics of each column, in the order of the specs.
    pub columns: Vec<ColumnStats>,
}

impl Encoded {
    /// The whole file in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut file = Vec::with_capacity(self.bytes as usize);
        self.chunks.iter().for_each(|chunk| file.extend_from_slice(chunk));
        Bytes::from(file)
    }
}

/// Encodes batches of rows to one segment.
pub struct SegmentWriter {
    options: WriteOptions,
    columns: Vec<ColumnWriter>,
    /// Rows in finished blocks.
    rows: u64,
    /// Rows in the buffers.
    buffered: usize,
    encoded_bytes: usize,
}

struct ColumnWriter {
    spec: ColumnSpec,
    buffer: ColumnBuffer,
    chunks: Vec<Bytes>,
    blocks: Vec<BlockIndex>,
    sketch: Sketch,
    stats: ColumnStats,
}

impl SegmentWriter {
    /// A writer of rows with these columns.
    pub fn new(columns: Vec<ColumnSpec>, options: WriteOptions) -> SegmentWriter {
        let block_rows = options.block_rows.clamp(1, BLOCK_ROWS_MAX);
        let options = WriteOptions { block_rows, ..options };
        let column = |spec: ColumnSpec| ColumnWriter {
            buffer: ColumnBuffer::new(spec.sql_type),
            chunks: Vec::new(),
            blocks: Vec::new(),
            sketch: Sketch::new(),
            stats: ColumnStats { column: spec.id, ..ColumnStats::default() },
            spec,
        };
        let columns = columns.into_iter().map(column).collect();
        SegmentWriter { options, columns, rows: 0, buffered: 0, encoded_bytes: HEADER_BYTES }
    }

    /// Adds the rows of `batch`, whose columns are those of the specs in the same order with
    /// exactly the type `SqlType::arrow()`.
    ///
    /// # Errors
    /// XX000 when the columns do not fit the specs, 0A000 for a type that no table can have.
    /// After an error the writer is of no further use.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.check(batch)?;
        let mut at = 0;
        while at < batch.num_rows() {
            let room = self.options.block_rows - self.buffered;
            // Looked at a vector at a time, so that long text overshoots the limit by little.
            let step = if self.columns.iter().any(|c| c.buffer.is_text()) {
                VECTOR_ROWS
            } else {
                batch.num_rows()
            };
            let rows = room.min(batch.num_rows() - at).min(step);
            for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
                column.buffer.push(&array.slice(at, rows))?;
            }
            at += rows;
            self.buffered += rows;
            let long = |c: &ColumnWriter| c.buffer.text_bytes() >= self.options.block_bytes;
            if self.buffered == self.options.block_rows || self.columns.iter().any(long) {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Bytes of the blocks encoded so far; rows of the block being filled are not counted.
    pub fn encoded_bytes(&self) -> usize {
        self.encoded_bytes
    }

    /// Rows pushed so far.
    pub fn rows(&self) -> u64 {
        self.rows + self.buffered as u64
    }

    /// Encodes what is left and writes the footer.
    ///
    /// # Errors
    /// As [`SegmentWriter::push`].
    pub fn finish(mut self) -> Result<Encoded> {
        if self.buffered > 0 {
            self.flush()?;
        }
        let mut header = footer::MAGIC.to_vec();
        header.extend_from_slice(&footer::FORMAT_VERSION.to_le_bytes());
        header.resize(HEADER_BYTES, 0);
        let mut offset = header.len() as u64;
        let mut chunks = vec![Bytes::from(header)];
        let mut index = Vec::with_capacity(self.columns.len());
        let mut stats = Vec::with_capacity(self.columns.len());
        for mut column in self.columns {
            for block in &mut column.blocks {
                block.offset = offset;
                offset += u64::from(block.len);
            }
            chunks.append(&mut column.chunks);
            let values = self.rows - column.stats.nulls;
            column.stats.distinct = Some(column.sketch.estimate(values));
            stats.push(column.stats);
            index.push(ColumnIndex {
                id: column.spec.id,
                sql_type: column.spec.sql_type,
                encode: column.spec.encode.unwrap_or(Encode::Auto),
                blocks: column.blocks,
            });
        }
        let (footer, footer_checksum) = footer::write(self.rows, self.options.block_rows, &index);
        let bytes = offset + footer.len() as u64;
        chunks.push(Bytes::from(footer));
        Ok(Encoded {
            chunks,
            rows: self.rows,
            bytes,
            footer_offset: offset,
            footer_checksum,
            columns: stats,
        })
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.columns.len() {
            return Err(error!(
                InternalError,
                "a batch of {} columns is pushed to a segment of {}",
                batch.num_columns(),
                self.columns.len()
            ));
        }
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            let sql_type = column.spec.sql_type;
            if !sql_type.is_storable() {
                return Err(error!(
                    FeatureNotSupported,
                    "a column of type {sql_type} cannot be stored"
                ));
            }
            if *array.data_type() != sql_type.arrow() {
                return Err(error!(
                    InternalError,
                    "column {} of type {sql_type} is pushed as {}",
                    column.spec.id,
                    array.data_type()
                ));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let rows = base::proven(u32::try_from(self.buffered).ok(), "a block has at most 2^20 rows");
        for column in &mut self.columns {
            let encode = column.spec.encode.unwrap_or(Encode::Auto);
            let zstd = (encode == Encode::Zstd).then_some(self.options.zstd_level);
            let block = column.buffer.encode(encode.menu(), zstd, &mut column.sketch)?;
            let first = column.stats.nulls == self.rows;
            zone::widen(&mut column.stats, &block.zone, rows, first);
            column.stats.bytes += block.bytes.len() as u64;
            self.encoded_bytes += block.bytes.len();
            let Ok(len) = u32::try_from(block.bytes.len()) else {
                return Err(error!(ProgramLimitExceeded, "a block exceeds 4 GiB"));
            };
            column.blocks.push(BlockIndex {
                offset: 0,
                len,
                rows,
                checksum: crc32c::crc32c(&block.bytes),
                zone: block.zone,
            });
            column.chunks.push(Bytes::from(block.bytes));
        }
        self.rows += u64::from(rows);
        self.buffered = 0;
        Ok(())
    }
}
