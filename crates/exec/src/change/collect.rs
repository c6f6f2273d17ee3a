//! Addresses of rows become sets of positions by segment.

use std::collections::BTreeMap;

use arrow_array::{Array, Int64Array};
use base::segment::row_place;
use datafusion::common::Result;
use roaring::RoaringBitmap;

use super::item::{Item, Partial};

/// The rows of one segment that were named.
#[derive(Default)]
struct Named {
    times: u64,
    rows: RoaringBitmap,
}

/// The rows that were named so far.
#[derive(Default)]
pub(super) struct Collector {
    segments: BTreeMap<u32, Named>,
}

impl Collector {
    /// Adds rows; NULL names none.
    pub(super) fn add(&mut self, addresses: &Int64Array) {
        if addresses.null_count() == 0 {
            return self.add_values(addresses.values());
        }
        let values: Vec<i64> = addresses.iter().flatten().collect();
        self.add_values(&values);
    }

    fn add_values(&mut self, addresses: &[i64]) {
        // Neighbours mostly are of one segment.
        for same in addresses.chunk_by(|a, b| a >> 32 == b >> 32) {
            let (number, _) = row_place(same[0]);
            let named = self.segments.entry(number).or_default();
            named.times += same.len() as u64;
            named.rows.extend(same.iter().map(|address| row_place(*address).1));
        }
    }

    /// What the sets take in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.segments.values().map(|named| named.rows.serialized_size() + size_of::<Named>()).sum()
    }

    /// The sets, one a segment.
    pub(super) fn items(self) -> impl Iterator<Item = Result<Item>> {
        self.segments
            .into_iter()
            .map(|(number, named)| Partial::new(number, named.times, named.rows).map(Item::Partial))
    }
}

#[cfg(test)]
mod tests {
    use base::segment::row_address;

    use super::*;

    #[test]
    fn rows_are_counted_by_segment_and_repeats_are_seen() {
        let mut collector = Collector::default();
        let address = |number, row| Some(row_address(number, row));
        let named = [address(1, 5), address(1, 6), None, address(7, u32::MAX), address(1, 5)];
        collector.add(&Int64Array::from(named.to_vec()));
        collector.add(&Int64Array::from(vec![row_address(7, 0); 3]));
        assert!(collector.bytes() > 0);
        let mut seen = Vec::new();
        for item in collector.items() {
            let Ok(Item::Partial(partial)) = item else {
                panic!("sets of rows are given");
            };
            let rows = crate::deletes::from_bytes(&partial.rows, "a test").unwrap();
            seen.push((partial.number, partial.named, rows.iter().collect::<Vec<_>>()));
        }
        assert_eq!(seen, [(1, 3, vec![5, 6]), (7, 4, vec![0, u32::MAX])]);
    }
}
