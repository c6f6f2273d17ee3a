//! The stored form of segment descriptors inside log records and checkpoints.
//!
//! Short keys, because a petabyte is millions of entries; floating-point bounds as their bits,
//! because JSON holds neither infinities nor every last digit, and a bound that is off by one
//! bit would skip rows.

use std::sync::Arc;

use base::ids::{ColumnId, SliceId};
use base::segment::{Bitmap, ColumnStats, Datum, Deletes, Segment};
use serde::{Deserialize, Serialize};

/// A segment as stored.
#[derive(Serialize, Deserialize)]
pub(crate) struct SegmentForm {
    p: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<u16>,
    r: u64,
    b: u64,
    f: u64,
    k: u32,
    h: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    o: bool,
    c: Vec<ColumnForm>,
    #[serde(default, skip_serializing_if = "no_number")]
    n: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<DeletesForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    i: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ColumnForm {
    i: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    n: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<DatumForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    z: Option<DatumForm>,
    #[serde(default, skip_serializing_if = "is_false")]
    x: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    y: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<u64>,
    b: u64,
}

/// The deleted rows of a segment: `i` the bitmap itself in hexadecimal, or `f`, `b` and `k` the
/// path, bytes and checksum of its file.
#[derive(Serialize, Deserialize)]
struct DeletesForm {
    r: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    i: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    f: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    b: u64,
    #[serde(default, skip_serializing_if = "no_number")]
    k: u32,
}

#[derive(Serialize, Deserialize)]
enum DatumForm {
    #[serde(rename = "i")]
    Int(i128),
    #[serde(rename = "f")]
    FloatBits(u64),
    #[serde(rename = "t")]
    Text(String),
    #[serde(rename = "b")]
    Hex(String),
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn no_number(value: &u32) -> bool {
    *value == 0
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl From<&Segment> for SegmentForm {
    fn from(segment: &Segment) -> Self {
        Self {
            p: segment.path.clone(),
            s: segment.slice.map(|slice| slice.0),
            r: segment.rows,
            b: segment.bytes,
            f: segment.footer_offset,
            k: segment.footer_checksum,
            h: segment.placement,
            o: segment.sorted,
            c: segment.columns.iter().map(ColumnForm::from).collect(),
            n: segment.number,
            d: segment.deletes.as_deref().map(DeletesForm::from),
            i: segment.inline.as_deref().map(hex),
        }
    }
}

impl From<&Deletes> for DeletesForm {
    fn from(deletes: &Deletes) -> Self {
        let (i, f, b, k) = match &deletes.bitmap {
            Bitmap::Inline(bytes) => (Some(hex(bytes)), None, 0, 0),
            Bitmap::File { path, bytes, checksum } => (None, Some(path.clone()), *bytes, *checksum),
        };
        Self { r: deletes.rows, i, f, b, k }
    }
}

impl DeletesForm {
    /// The rows; `None` when the form is damaged.
    fn into_deletes(self) -> Option<Deletes> {
        let bitmap = match (self.i, self.f) {
            (Some(text), None) => Bitmap::Inline(unhex(&text)?.into()),
            (None, Some(path)) => Bitmap::File { path, bytes: self.b, checksum: self.k },
            _ => return None,
        };
        Some(Deletes { rows: self.r, bitmap })
    }
}

impl From<&ColumnStats> for ColumnForm {
    fn from(stats: &ColumnStats) -> Self {
        Self {
            i: stats.column.0,
            n: stats.nulls,
            a: stats.min.as_ref().map(DatumForm::from),
            z: stats.max.as_ref().map(DatumForm::from),
            x: stats.min_truncated,
            y: stats.max_truncated,
            d: stats.distinct,
            b: stats.bytes,
        }
    }
}

impl From<&Datum> for DatumForm {
    fn from(datum: &Datum) -> Self {
        match datum {
            Datum::Int(value) => DatumForm::Int(*value),
            Datum::Float(value) => DatumForm::FloatBits(value.to_bits()),
            Datum::Text(value) => DatumForm::Text(value.clone()),
            Datum::Bytes(value) => DatumForm::Hex(hex(value)),
        }
    }
}

impl SegmentForm {
    /// The descriptor; `None` when hexadecimal digits or deleted rows are damaged.
    pub(crate) fn into_segment(self) -> Option<Segment> {
        let columns = self.c.into_iter().map(ColumnForm::into_stats).collect::<Option<_>>()?;
        Some(Segment {
            path: self.p,
            slice: self.s.map(SliceId),
            rows: self.r,
            bytes: self.b,
            footer_offset: self.f,
            footer_checksum: self.k,
            placement: self.h,
            sorted: self.o,
            columns,
            number: self.n,
            deletes: match self.d {
                Some(form) => Some(Arc::new(form.into_deletes()?)),
                None => None,
            },
            inline: match self.i {
                Some(text) => Some(unhex(&text)?.into()),
                None => None,
            },
        })
    }
}

impl ColumnForm {
    fn into_stats(self) -> Option<ColumnStats> {
        Some(ColumnStats {
            column: ColumnId(self.i),
            nulls: self.n,
            min: bound(self.a)?,
            max: bound(self.z)?,
            min_truncated: self.x,
            max_truncated: self.y,
            distinct: self.d,
            bytes: self.b,
        })
    }
}

/// The outer option is `None` for a damaged bound, the inner one for an absent bound.
#[expect(clippy::option_option, reason = "damaged and absent differ")]
fn bound(form: Option<DatumForm>) -> Option<Option<Datum>> {
    match form {
        None => Some(None),
        Some(DatumForm::Int(value)) => Some(Some(Datum::Int(value))),
        Some(DatumForm::FloatBits(bits)) => Some(Some(Datum::Float(f64::from_bits(bits)))),
        Some(DatumForm::Text(text)) => Some(Some(Datum::Text(text))),
        Some(DatumForm::Hex(text)) => unhex(&text).map(|bytes| Some(Datum::Bytes(bytes))),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// `#[serde(with)]` for a list of segments.
pub(crate) mod segments {
    use base::segment::Segment;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::SegmentForm;

    pub(crate) fn serialize<S: Serializer>(list: &[Segment], out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(list.iter().map(SegmentForm::from))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Vec<Segment>, D::Error> {
        Vec::<SegmentForm>::deserialize(input)?
            .into_iter()
            .map(|form| form.into_segment().ok_or_else(|| D::Error::custom("damaged segment")))
            .collect()
    }
}

/// `#[serde(with)]` for the deleted rows of a segment.
pub(crate) mod deletes {
    use std::sync::Arc;

    use base::segment::Deletes;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::DeletesForm;

    pub(crate) fn serialize<S: Serializer>(
        deletes: &Arc<Deletes>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        DeletesForm::from(&**deletes).serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Arc<Deletes>, D::Error> {
        let deletes = DeletesForm::deserialize(input)?.into_deletes();
        deletes.map(Arc::new).ok_or_else(|| D::Error::custom("damaged deleted rows"))
    }
}

/// `#[serde(with)]` for a value that rows may have.
pub(crate) mod datum {
    use base::segment::Datum;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{DatumForm, bound};

    pub(crate) fn serialize<S: Serializer>(
        datum: &Option<Datum>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        datum.as_ref().map(DatumForm::from).serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Datum>, D::Error> {
        let form = Option::<DatumForm>::deserialize(input)?;
        bound(form).ok_or_else(|| D::Error::custom("damaged value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(min: Datum, max: Datum) -> ColumnStats {
        ColumnStats {
            column: ColumnId(3),
            nulls: 7,
            min: Some(min),
            max: Some(max),
            min_truncated: false,
            max_truncated: true,
            distinct: Some(9),
            bytes: 100,
        }
    }

    #[test]
    fn every_bound_comes_back_to_the_bit() {
        let segment = Segment {
            path: "data/1/1-2-0003-0.seg".to_owned(),
            slice: Some(SliceId(3)),
            rows: 10,
            bytes: 1_000,
            footer_offset: 900,
            footer_checksum: u32::MAX,
            placement: u64::MAX,
            sorted: true,
            columns: vec![
                stats(Datum::Int(i128::MIN), Datum::Int(i128::MAX)),
                stats(Datum::Float(f64::NEG_INFINITY), Datum::Float(f64::INFINITY)),
                stats(Datum::Float(-0.0), Datum::Float(0.1 + 0.2)),
                stats(Datum::Text("ä\"\\\u{0}".to_owned()), Datum::Text(String::new())),
                stats(Datum::Bytes(vec![0, 255, 16]), Datum::Bytes(Vec::new())),
                ColumnStats::default(),
            ],
            number: 77,
            deletes: Some(Arc::new(Deletes {
                rows: 2,
                bitmap: Bitmap::Inline(Arc::from([1, 2, 255])),
            })),
            inline: Some(Arc::from([0, 16, 255])),
        };
        let text = serde_json::to_string(&SegmentForm::from(&segment)).unwrap();
        let back: SegmentForm = serde_json::from_str(&text).unwrap();
        assert_eq!(back.into_segment().unwrap(), segment);
        let nan = serde_json::to_string(&DatumForm::from(&Datum::Float(f64::NAN))).unwrap();
        let back = bound(Some(serde_json::from_str(&nan).unwrap())).unwrap();
        assert!(matches!(back, Some(Datum::Float(value)) if value.is_nan()));
    }

    #[test]
    fn deleted_rows_are_stored_compactly() {
        let path = "data/1/1-2-0003-0.del".to_owned();
        for (bitmap, text) in [
            (Bitmap::Inline(Arc::from([0, 16, 255])), r#"{"r":3,"i":"0010ff"}"#),
            (
                Bitmap::File { path, bytes: 9, checksum: 7 },
                r#"{"r":3,"f":"data/1/1-2-0003-0.del","b":9,"k":7}"#,
            ),
        ] {
            let deletes = Deletes { rows: 3, bitmap };
            let form = DeletesForm::from(&deletes);
            assert_eq!(serde_json::to_string(&form).unwrap(), text);
            assert_eq!(form.into_deletes().unwrap(), deletes);
        }
        for text in [r#"{"r":1}"#, r#"{"r":1,"i":"0"}"#, r#"{"r":1,"i":"00","f":"x"}"#] {
            let form: DeletesForm = serde_json::from_str(text).unwrap();
            assert!(form.into_deletes().is_none(), "{text}");
        }
    }

    #[test]
    fn a_damaged_bound_is_refused() {
        assert!(unhex("0g").is_none() && unhex("123").is_none() && unhex("é").is_none());
        assert!(unhex("0G").is_none() && unhex("").is_some_and(|bytes| bytes.is_empty()));
        assert!(bound(Some(DatumForm::Hex("zz".to_owned()))).is_none());
    }
}
