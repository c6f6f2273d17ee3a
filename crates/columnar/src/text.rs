//! CHAR, VARCHAR and VARBYTE: parsing, decoding to Arrow views and filtering.
//!
//! `text::plan` chooses and writes encodings, `text::symbols` decompresses symbols, `text::views`
//! makes Arrow's views. NULLs are empty strings here; the block keeps the validity.

mod plan;
mod symbols;
mod views;

use arrow_buffer::Buffer;
use bytes::Bytes;

pub(crate) use plan::{Strings, write};
pub(crate) use views::{Views, array};

use crate::integer::{IntReader, IntStream, STREAM_ROWS_MAX, code_test, gather};
use crate::layout::{Parsed, Reader, fault, u32_at};
use crate::predicate::CompareOp;
use crate::stream::VectorReader;
use crate::{Selection, VECTOR_ROWS};
use symbols::SymbolTable;

/// Tags of text bodies in the file.
pub(crate) mod tag {
    pub(crate) const CONSTANT: u8 = 1;
    pub(crate) const PLAIN: u8 = 2;
    pub(crate) const FSST: u8 = 3;
    pub(crate) const DICTIONARY: u8 = 4;
}

/// A vector of a damaged file may not claim more text than this.
const VECTOR_BYTES_MAX: usize = 1 << 31;

/// A test on byte strings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextTest {
    Compare(CompareOp, Vec<u8>),
    Between(Vec<u8>, Vec<u8>),
    /// Sorted.
    Among(Vec<Vec<u8>>),
    Prefix(Vec<u8>),
}

impl TextTest {
    #[inline]
    pub(crate) fn passes(&self, text: &[u8]) -> bool {
        match self {
            TextTest::Compare(CompareOp::Eq, value) => text == value.as_slice(),
            TextTest::Compare(CompareOp::NotEq, value) => text != value.as_slice(),
            TextTest::Compare(op, value) => op.accepts(text.cmp(value)),
            TextTest::Between(low, high) => low.as_slice() <= text && text <= high.as_slice(),
            TextTest::Among(values) => {
                values.binary_search_by(|value| value.as_slice().cmp(text)).is_ok()
            }
            TextTest::Prefix(prefix) => text.starts_with(prefix),
        }
    }
}

/// A dictionary with the codes of the rows.
pub(crate) struct TextCodes<'a> {
    /// Views into the buffers of `views`.
    pub(crate) entries: Vec<u128>,
    pub(crate) views: Views,
    /// `None` where every code is 0.
    pub(crate) reader: Option<IntReader<'a, u32>>,
}

/// A parsed body.
pub(crate) struct TextBody {
    pub(crate) rows: usize,
    encoding: TextEncoding,
}

enum TextEncoding {
    Constant(Bytes),
    Plain(Stored),
    Fsst(Box<SymbolTable>, Stored),
    Dictionary { entries: Box<TextBody>, codes: IntStream },
}

/// Text in row order: the length of each row decoded, and where each vector starts in `data`,
/// which may be compressed.
struct Stored {
    lengths: IntStream,
    starts: Bytes,
    data: Bytes,
}

impl Stored {
    fn parse(reader: &mut Reader, rows: usize) -> Parsed<Stored> {
        let lengths = IntStream::parse(reader)?;
        if lengths.rows != rows {
            return fault("strings and their lengths differ in number");
        }
        let starts = reader.slice(lengths.vectors() * 4)?;
        let len = reader.u32()? as usize;
        Ok(Stored { lengths, starts, data: reader.slice(len)? })
    }

    /// Where the stored bytes of a vector lie in `data`.
    fn span(&self, vector: usize) -> Parsed<std::ops::Range<usize>> {
        let start = u32_at(&self.starts, vector).map_or(usize::MAX, |start| start as usize);
        let end = u32_at(&self.starts, vector + 1).map_or(self.data.len(), |end| end as usize);
        if start > end || end > self.data.len() {
            return fault("a vector of strings lies outside its section");
        }
        Ok(start..end)
    }
}

impl TextBody {
    pub(crate) fn parse(reader: &mut Reader) -> Parsed<TextBody> {
        Self::parse_nested(reader, true)
    }

    fn parse_nested(reader: &mut Reader, dictionary: bool) -> Parsed<TextBody> {
        let tag = reader.u8()?;
        let rows = reader.u32()? as usize;
        if rows == 0 || rows > STREAM_ROWS_MAX {
            return fault("strings have an impossible number of rows");
        }
        let encoding = match tag {
            tag::CONSTANT => {
                let len = reader.u32()? as usize;
                TextEncoding::Constant(reader.slice(len)?)
            }
            tag::PLAIN => TextEncoding::Plain(Stored::parse(reader, rows)?),
            tag::FSST => {
                let table = Box::new(SymbolTable::parse(reader)?);
                TextEncoding::Fsst(table, Stored::parse(reader, rows)?)
            }
            tag::DICTIONARY if dictionary => {
                let entries = Box::new(Self::parse_nested(reader, false)?);
                let codes = IntStream::parse(reader)?;
                if codes.rows != rows || entries.rows > rows {
                    return fault("a dictionary's codes differ from the rows in number");
                }
                TextEncoding::Dictionary { entries, codes }
            }
            _ => return fault("strings have an unknown encoding"),
        };
        Ok(TextBody { rows, encoding })
    }

    pub(crate) fn vectors(&self) -> usize {
        self.rows.div_ceil(VECTOR_ROWS)
    }

    /// Decodes what every vector needs once; `utf8` has every string checked.
    pub(crate) fn reader(&self, utf8: bool) -> Parsed<TextReader<'_>> {
        let mut views = Views::new(utf8);
        let source = match &self.encoding {
            TextEncoding::Constant(text) => {
                let view = views.constant(text)?;
                Source::Constant { view, rows: self.rows }
            }
            TextEncoding::Plain(stored) => {
                views.share(Buffer::from(stored.data.clone()));
                Source::Plain { stored, lengths: stored.lengths.reader()? }
            }
            TextEncoding::Fsst(table, stored) => {
                Source::Fsst { table, stored, lengths: stored.lengths.reader()? }
            }
            TextEncoding::Dictionary { entries, codes } => {
                let mut entries_views = Vec::with_capacity(entries.rows);
                let mut reader = entries.reader(utf8)?;
                for vector in 0..entries.vectors() {
                    reader.append(vector, &mut entries_views)?;
                }
                views = reader.views;
                Source::Dictionary { entries: entries_views, codes: codes.reader()? }
            }
        };
        Ok(TextReader { source, views, numbers: Vec::with_capacity(VECTOR_ROWS) })
    }

    /// The dictionary with a reader of the codes, `None` when the text has none; without a reader
    /// every code is 0. `utf8` has every string checked.
    pub(crate) fn codes(&self, utf8: bool) -> Parsed<Option<TextCodes<'_>>> {
        Ok(match &self.encoding {
            TextEncoding::Constant(text) => {
                let mut views = Views::new(utf8);
                let entries = vec![views.constant(text)?];
                Some(TextCodes { entries, views, reader: None })
            }
            TextEncoding::Dictionary { entries, codes } => {
                let mut views = Vec::with_capacity(entries.rows);
                let mut reader = entries.reader(utf8)?;
                for vector in 0..entries.vectors() {
                    reader.append(vector, &mut views)?;
                }
                let reader = TextCodes {
                    entries: views,
                    views: reader.finish(),
                    reader: Some(codes.reader()?),
                };
                Some(reader)
            }
            TextEncoding::Plain(_) | TextEncoding::Fsst(..) => None,
        })
    }

    /// Calls `each` with the text of every row of `vector`, which exists.
    fn each_text(
        &self,
        vector: usize,
        scratch: &mut Scratch,
        mut each: impl FnMut(usize, &[u8]),
    ) -> Parsed<()> {
        let (stored, table) = match &self.encoding {
            TextEncoding::Constant(text) => {
                let rows = (self.rows - vector * VECTOR_ROWS).min(VECTOR_ROWS);
                (0..rows).for_each(|row| each(row, text));
                return Ok(());
            }
            TextEncoding::Plain(stored) => (stored, None),
            TextEncoding::Fsst(table, stored) => (stored, Some(table)),
            TextEncoding::Dictionary { .. } => return fault("a dictionary holds a dictionary"),
        };
        scratch.lengths.clear();
        stored.lengths.reader()?.append(vector, &mut scratch.lengths)?;
        let total = total_bytes(&scratch.lengths)?;
        let packed = &stored.data[stored.span(vector)?];
        let text = match table {
            None => packed,
            Some(table) => {
                scratch.text.clear();
                table.decompress(packed, total, &mut scratch.text)?;
                &scratch.text
            }
        };
        if text.len() != total {
            return fault("string lengths do not add up to the text");
        }
        let mut at = 0;
        for (row, len) in scratch.lengths.iter().enumerate() {
            each(row, &text[at..at + *len as usize]);
            at += *len as usize;
        }
        Ok(())
    }

    /// Unselects the rows whose text fails `test`.
    pub(crate) fn filter(&self, test: &TextTest, selection: &mut Selection) -> Parsed<()> {
        let mut scratch = Scratch::default();
        if let TextEncoding::Dictionary { entries, codes } = &self.encoding {
            let mut passing = Vec::with_capacity(entries.rows);
            for vector in 0..entries.vectors() {
                entries.each_text(vector, &mut scratch, |_, text| {
                    passing.push(test.passes(text));
                })?;
            }
            return codes.filter(&code_test(passing.into_iter()), selection);
        }
        if let TextEncoding::Constant(text) = &self.encoding {
            if !test.passes(text) {
                selection.clear();
            }
            return Ok(());
        }
        for vector in 0..self.vectors() {
            if selection.vector_is_empty(vector) {
                continue;
            }
            let mut hits = [0; VECTOR_ROWS];
            self.each_text(vector, &mut scratch, |row, text| {
                hits[row] = u8::from(test.passes(text));
            })?;
            selection.and_hits(vector, &hits);
        }
        Ok(())
    }

    pub(crate) fn describe(&self) -> String {
        match &self.encoding {
            TextEncoding::Constant(text) => format!("constant of {} bytes", text.len()),
            TextEncoding::Plain(stored) => format!("plain, lengths {}", stored.lengths.describe()),
            TextEncoding::Fsst(table, stored) => {
                format!("fsst({}), lengths {}", table.len(), stored.lengths.describe())
            }
            TextEncoding::Dictionary { entries, codes } => {
                let (inner, codes) = (entries.describe(), codes.describe());
                format!("dictionary({}) of {inner}, codes {codes}", entries.rows)
            }
        }
    }
}

/// Buffers reused between vectors.
#[derive(Default)]
struct Scratch {
    lengths: Vec<u32>,
    text: Vec<u8>,
}

/// The sum of a vector's lengths, refused where no block can hold it.
fn total_bytes(lengths: &[u32]) -> Parsed<usize> {
    let total: u64 = lengths.iter().map(|len| u64::from(*len)).sum();
    match usize::try_from(total) {
        Ok(total) if total <= VECTOR_BYTES_MAX => Ok(total),
        _ => fault("a vector of strings is impossibly long"),
    }
}

/// Decodes vectors of text to views.
pub(crate) struct TextReader<'a> {
    source: Source<'a>,
    views: Views,
    /// Lengths or codes of the vector at hand.
    numbers: Vec<u32>,
}

enum Source<'a> {
    Constant { view: u128, rows: usize },
    Plain { stored: &'a Stored, lengths: IntReader<'a, u32> },
    Fsst { table: &'a SymbolTable, stored: &'a Stored, lengths: IntReader<'a, u32> },
    Dictionary { entries: Vec<u128>, codes: IntReader<'a, u32> },
}

impl TextReader<'_> {
    /// The buffers that the appended views point into.
    pub(crate) fn finish(self) -> Views {
        self.views
    }

    /// Appends the views of the rows of a vector that are wanted; all without a selection.
    fn push(
        &mut self,
        vector: usize,
        selection: Option<&Selection>,
        out: &mut Vec<u128>,
    ) -> Parsed<()> {
        self.numbers.clear();
        let kept = selection.map(|selection| (selection, vector));
        match &mut self.source {
            Source::Constant { view, rows } => {
                let all = (*rows - vector * VECTOR_ROWS).min(VECTOR_ROWS);
                let n = selection.map_or(all, |selection| selection.count_vector(vector));
                out.resize(out.len() + n, *view);
                Ok(())
            }
            Source::Plain { stored, lengths } => {
                lengths.append(vector, &mut self.numbers)?;
                let span = stored.span(vector)?;
                if span.len() != total_bytes(&self.numbers)? {
                    return fault("string lengths do not add up to the text");
                }
                self.views.push_shared(&stored.data, span.start, &self.numbers, kept, out)
            }
            Source::Fsst { table, stored, lengths } => {
                lengths.append(vector, &mut self.numbers)?;
                let packed = &stored.data[stored.span(vector)?];
                let total = total_bytes(&self.numbers)?;
                let owned = self.views.owned(total);
                let start = owned.len();
                table.decompress(packed, total, owned)?;
                self.views.push_owned(start, &self.numbers, kept, out)
            }
            Source::Dictionary { entries, codes } => {
                match selection {
                    None => codes.append(vector, &mut self.numbers)?,
                    Some(kept) => codes.append_selected(vector, kept, &mut self.numbers)?,
                }
                gather(entries, &self.numbers, out)
            }
        }
    }
}

impl VectorReader for TextReader<'_> {
    /// A view.
    type Value = u128;

    fn append(&mut self, vector: usize, out: &mut Vec<u128>) -> Parsed<()> {
        self.push(vector, None, out)
    }

    fn append_selected(
        &mut self,
        vector: usize,
        selection: &Selection,
        out: &mut Vec<u128>,
    ) -> Parsed<()> {
        self.push(vector, Some(selection), out)
    }
}
