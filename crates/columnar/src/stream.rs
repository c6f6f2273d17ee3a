//! What decodes a block's values a vector at a time, in any order.

use crate::Selection;
use crate::layout::Parsed;
use crate::selection::LEAD;

/// The values of one body.
pub(crate) trait VectorReader {
    type Value: Copy + Default;

    /// Appends the values of vector `vector`, which exists.
    fn append(&mut self, vector: usize, out: &mut Vec<Self::Value>) -> Parsed<()>;

    /// Appends those values of vector `vector` whose rows are selected. Readers that make wide
    /// values of narrow ones leave the others out before.
    fn append_selected(
        &mut self,
        vector: usize,
        selection: &Selection,
        out: &mut Vec<Self::Value>,
    ) -> Parsed<()> {
        append_compressed(self, vector, selection, out)
    }
}

/// Appends a vector's values and takes those out whose rows are not selected.
pub(crate) fn append_compressed<R: VectorReader + ?Sized>(
    reader: &mut R,
    vector: usize,
    selection: &Selection,
    out: &mut Vec<R::Value>,
) -> Parsed<()> {
    let first = out.len();
    out.resize(first + LEAD, R::Value::default());
    reader.append(vector, out)?;
    out.resize(out.len() + LEAD, R::Value::default());
    let kept = selection.compress_vector(vector, &mut out[first..]);
    out.truncate(first + kept);
    Ok(())
}
