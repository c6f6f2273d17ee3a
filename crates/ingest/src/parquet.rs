//! Parquet to batches of the table's types.
//!
//! Columns correspond by position, as on Redshift. Values are converted vectorised; a value that
//! does not fit ends the load, because Redshift has no MAXERROR for columnar files.

mod convert;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use base::{Error, Result, error};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::fetch::StoredFile;
use crate::reject::{Rejection, raw_text};
use crate::text::{Fill, Target};
use convert::Misfit;

/// Rows in a batch.
const BATCH_ROWS: usize = 16_384;
/// What is read of a file's end at first: most footers fit.
const FOOTER_BYTES: usize = 256 << 10;

/// How Parquet files are read.
#[derive(Clone, Debug)]
pub(crate) struct ParquetSpec {
    pub(crate) targets: Vec<Target>,
    /// Columns that a file must have.
    pub(crate) fields: usize,
    /// FILLRECORD: trailing columns may be missing.
    pub(crate) fill: bool,
    /// ACCEPTINVCHARS.
    pub(crate) replace_invalid: Option<u8>,
    pub(crate) schema: SchemaRef,
}

/// What reading gives: a batch, or the value that ends the load.
pub(crate) enum Read {
    Batch(RecordBatch),
    Misfit(Box<Rejection>),
}

/// A stored file as the Parquet reader wants it.
struct ParquetFile(StoredFile);

type ParquetResult<T> = Result<T, ParquetError>;

fn foreign(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for ParquetFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { self.0.range(range).await.map_err(foreign) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.0.ranges(&ranges).await.map_err(foreign) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.0.size;
            let reader = ParquetMetaDataReader::new()
                .with_arrow_reader_options(options)
                .with_prefetch_hint(Some(FOOTER_BYTES));
            reader.load_and_finish(self, size).await.map(Arc::new)
        }
        .boxed()
    }
}

fn reader(file: &StoredFile) -> ParquetFile {
    ParquetFile(file.clone())
}

async fn metadata(file: &StoredFile) -> Result<ArrowReaderMetadata> {
    // What Arrow wrote about its own types is not asked: the Parquet types decide.
    let options = ArrowReaderOptions::new();
    ArrowReaderMetadata::load_async(&mut reader(file), options)
        .await
        .map_err(|failed| read_error(file, failed))
}

/// The sizes of a file's row groups.
///
/// # Errors
/// 22P04 when the file is no Parquet; what `remote` says when it cannot be read.
pub(crate) async fn row_groups(file: &StoredFile) -> Result<Vec<u64>> {
    let metadata = metadata(file).await?;
    let groups = metadata.metadata().row_groups().iter();
    Ok(groups.map(|group| u64::try_from(group.compressed_size()).unwrap_or(0)).collect())
}

/// The rows of some row groups; all of them without `groups`.
///
/// # Errors
/// 22P04 for a damaged file and for columns that do not fit the table's.
pub(crate) async fn read(
    spec: Arc<ParquetSpec>,
    file: StoredFile,
    unit: u32,
    groups: Option<Range<usize>>,
) -> Result<impl Stream<Item = Result<Read>>> {
    let found = metadata(&file).await?;
    check(&spec, &file, found.schema())?;
    // Strings as views at once: no copy into offsets first.
    let options = ArrowReaderOptions::new().with_schema(with_views(found.schema()));
    let found = ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options)
        .map_err(|failed| read_error(&file, failed))?;
    let all = found.metadata().row_groups();
    let groups = groups.unwrap_or(0..all.len());
    if groups.end > all.len() {
        return Err(error!(
            ObjectNotInPrerequisiteState,
            "file {} changed while it was read", file.name
        ));
    }
    let before: i64 = all[..groups.start].iter().map(|group| group.num_rows()).sum();
    let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader(&file), found)
        .with_row_groups(groups.collect())
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|failed| read_error(&file, failed))?;
    let mut row = u64::try_from(before).unwrap_or(0);
    Ok(stream.map(move |batch| {
        let batch = batch.map_err(|failed| read_error(&file, failed))?;
        let first = row;
        row += batch.num_rows() as u64;
        convert_batch(&spec, unit, first, &batch)
    }))
}

/// The file's schema with strings and binaries as views.
fn with_views(schema: &SchemaRef) -> SchemaRef {
    let view = |field: &Arc<Field>| -> Arc<Field> {
        let data_type = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
            DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
            _ => return Arc::clone(field),
        };
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(view).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Checks the number of columns and their types before a row is read.
fn check(spec: &ParquetSpec, file: &StoredFile, schema: &SchemaRef) -> Result<()> {
    let found = schema.fields().len();
    let fits = if spec.fill { found <= spec.fields } else { found == spec.fields };
    if !fits {
        return Err(error!(
            BadCopyFileFormat,
            "file {} has {found} columns, the load needs {}", file.name, spec.fields
        )
        .detail("Columns of Parquet files correspond to the table's by position.")
        .hint("Name the columns that the file has in COPY's column list."));
    }
    for target in &spec.targets {
        let Fill::Field(n) = target.fill else { continue };
        let Some(field) = schema.fields().get(n) else { continue };
        if !convert::compatible(field.data_type(), target.sql_type) {
            return Err(error!(
                BadCopyFileFormat,
                "column \"{}\" of type {} cannot be loaded from Parquet column \"{}\" of type {} \
                 in file {}",
                target.name,
                target.sql_type,
                field.name(),
                field.data_type(),
                file.name
            )
            .column(target.name.as_str())
            .detail("Columns of Parquet files correspond to the table's by position."));
        }
    }
    Ok(())
}

fn convert_batch(spec: &ParquetSpec, unit: u32, first: u64, batch: &RecordBatch) -> Result<Read> {
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(spec.targets.len());
    for (number, target) in spec.targets.iter().enumerate() {
        let source = match &target.fill {
            Fill::Field(n) => batch.columns().get(*n),
            Fill::Constant(value) => {
                columns.push(crate::text::repeat(value, rows)?);
                continue;
            }
        };
        let Some(source) = source else {
            columns.push(arrow_array::new_null_array(&target.sql_type.arrow(), rows));
            continue;
        };
        match convert::column(source, target, spec.replace_invalid)? {
            Ok(array) => columns.push(array),
            Err(misfit) => {
                return Ok(Read::Misfit(Box::new(describe(unit, first, number, source, misfit))));
            }
        }
    }
    RecordBatch::try_new(Arc::clone(&spec.schema), columns)
        .map(Read::Batch)
        .map_err(|failed| Error::internal(format!("could not build a batch: {failed}")))
}

fn describe(unit: u32, first: u64, column: usize, source: &ArrayRef, misfit: Misfit) -> Rejection {
    let value = convert::text_of(source, misfit.row);
    Rejection {
        unit,
        line: first + misfit.row as u64,
        offset: 0,
        column: u32::try_from(column).ok(),
        position: misfit.position,
        raw_line: String::new(),
        raw_field: raw_text(value.as_bytes()),
        code: misfit.code,
        reason: misfit.reason,
    }
}

fn read_error(file: &StoredFile, failed: ParquetError) -> Error {
    match &failed {
        ParquetError::External(source) => match source.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => damaged(file, &source.to_string()),
        },
        other => damaged(file, &other.to_string()),
    }
}

fn damaged(file: &StoredFile, reason: &str) -> Error {
    error!(BadCopyFileFormat, "file {} is not a readable Parquet file", file.name)
        .detail(format!("The reader reports: {reason}."))
}

#[cfg(test)]
mod tests;
