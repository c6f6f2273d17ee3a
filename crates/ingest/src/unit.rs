//! Work units: how the files of a load are divided over the partitions of all slices.
//!
//! Owns the arithmetic only. What can be split and why is decided by the caller; a split never
//! has to fall on a record's border.

use serde::{Deserialize, Serialize};

/// No part of a split file is smaller: below this, starting a part costs more than it gains.
pub(crate) const PART_BYTES_MIN: u64 = 4 << 20;

/// A file, or a part of one, that one partition reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// Its number in the load: parts of a file have consecutive numbers.
    pub(crate) id: u32,
    /// The file's number in the load.
    pub(crate) file: u32,
    pub(crate) part: Part,
    /// Bytes to read, for the balance and for progress.
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    /// The records that begin in `start..end`; the whole file is `0..u64::MAX`.
    Bytes { start: u64, end: u64 },
    /// Row groups of a Parquet file.
    RowGroups { first: u32, count: u32 },
}

/// A file to be divided.
#[derive(Clone, Debug)]
pub(crate) struct Divisible {
    pub(crate) bytes: u64,
    pub(crate) grain: Grain,
}

#[derive(Clone, Debug)]
pub(crate) enum Grain {
    /// Read as a whole: compressed, or small, or not safe to split.
    Whole,
    /// Can be cut at any byte.
    Bytes,
    /// The sizes of its row groups.
    RowGroups(Vec<u64>),
}

/// The units of each partition. Files that can be cut are laid end to end and cut into equal
/// shares, so that a partition's rows stay in file order; whole files are then dealt to the
/// partition with the least so far, largest first.
pub(crate) fn divide(files: &[Divisible], partitions: usize) -> Vec<Vec<Unit>> {
    let partitions = partitions.max(1);
    let cuttable: u64 =
        files.iter().filter(|f| !matches!(f.grain, Grain::Whole)).map(|f| f.bytes).sum();
    let shares = (cuttable / PART_BYTES_MIN).clamp(1, partitions as u64);
    let share = cuttable.div_ceil(shares).max(1);
    let mut units: Vec<(usize, Unit)> = Vec::new();
    let mut whole = Vec::new();
    let mut before = 0;
    for (number, file) in files.iter().enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        match &file.grain {
            Grain::Whole => whole.push((number, file.bytes)),
            Grain::Bytes => {
                cut_bytes(number, file.bytes, before, share, &mut units);
                before += file.bytes;
            }
            Grain::RowGroups(groups) => {
                cut_groups(number, groups, before, share, &mut units);
                before += file.bytes;
            }
        }
    }
    let mut loads = vec![0_u64; partitions];
    for (partition, unit) in &units {
        loads[*partition] += unit.bytes;
    }
    whole.sort_by_key(|(number, bytes)| (std::cmp::Reverse(*bytes), *number));
    for (file, bytes) in whole {
        let least = (0..partitions).min_by_key(|p| loads[*p]).unwrap_or(0);
        // An empty file costs something too: it has to be opened.
        loads[least] += bytes.max(1);
        let part = Part::Bytes { start: 0, end: u64::MAX };
        units.push((least, Unit { id: 0, file, part, bytes }));
    }
    number(units, partitions)
}

/// Gives units their numbers in file order and sorts them into partitions.
fn number(mut units: Vec<(usize, Unit)>, partitions: usize) -> Vec<Vec<Unit>> {
    units.sort_by_key(|(_, unit)| {
        let start = match unit.part {
            Part::Bytes { start, .. } => start,
            Part::RowGroups { first, .. } => first.into(),
        };
        (unit.file, start)
    });
    let mut out = vec![Vec::new(); partitions];
    for (i, (partition, mut unit)) in units.into_iter().enumerate() {
        unit.id = u32::try_from(i).unwrap_or(u32::MAX);
        out[partition].push(unit);
    }
    out
}

fn cut_bytes(file: u32, bytes: u64, before: u64, share: u64, units: &mut Vec<(usize, Unit)>) {
    let mut start = 0;
    while start < bytes || (bytes == 0 && start == 0) {
        let partition = (before + start) / share;
        let border = (partition + 1) * share - before;
        // A small rest goes with what is before it.
        let end = if border + PART_BYTES_MIN / 4 >= bytes { bytes } else { border };
        let last = end >= bytes;
        let part = Part::Bytes { start, end: if last { u64::MAX } else { end } };
        units.push((partition as usize, Unit { id: 0, file, part, bytes: end - start }));
        if last {
            return;
        }
        start = end;
    }
}

fn cut_groups(file: u32, groups: &[u64], before: u64, share: u64, units: &mut Vec<(usize, Unit)>) {
    let mut at = before;
    let mut open: Option<(usize, Unit)> = None;
    for (i, bytes) in groups.iter().enumerate() {
        // A row group belongs to the share in which its middle lies.
        let partition = ((at + bytes / 2) / share) as usize;
        at += bytes;
        if let Some((current, unit)) = &mut open
            && *current == partition
            && let Part::RowGroups { count, .. } = &mut unit.part
        {
            *count += 1;
            unit.bytes += bytes;
            continue;
        }
        units.extend(open.take());
        let first = u32::try_from(i).unwrap_or(u32::MAX);
        let part = Part::RowGroups { first, count: 1 };
        open = Some((partition, Unit { id: 0, file, part, bytes: *bytes }));
    }
    units.extend(open);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn bytes_file(mb: u64) -> Divisible {
        Divisible { bytes: mb * MB, grain: Grain::Bytes }
    }

    fn covered(parts: &[Vec<Unit>], file: u32) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = parts
            .iter()
            .flatten()
            .filter(|unit| unit.file == file)
            .map(|unit| match unit.part {
                Part::Bytes { start, end } => (start, end),
                Part::RowGroups { first, count } => (first.into(), u64::from(first + count)),
            })
            .collect();
        ranges.sort_unstable();
        ranges
    }

    #[test]
    fn one_big_file_is_shared_equally() {
        let parts = divide(&[bytes_file(100)], 4);
        assert!(parts.iter().all(|units| units.len() == 1));
        assert_eq!(
            covered(&parts, 0),
            [(0, 25 * MB), (25 * MB, 50 * MB), (50 * MB, 75 * MB), (75 * MB, u64::MAX)]
        );
        let ids: Vec<u32> = parts.iter().flatten().map(|unit| unit.id).collect();
        assert_eq!(ids, [0, 1, 2, 3]);
    }

    #[test]
    fn small_files_are_not_cut() {
        let parts = divide(&[bytes_file(3)], 4);
        assert_eq!(covered(&parts, 0), [(0, u64::MAX)]);
        assert_eq!(covered(&divide(&[bytes_file(0)], 4), 0), [(0, u64::MAX)]);
    }

    #[test]
    fn every_byte_of_every_file_is_read_once() {
        for partitions in [1, 2, 3, 7] {
            for sizes in [vec![10, 1, 33, 0, 5], vec![64], vec![1; 20]] {
                let files: Vec<Divisible> = sizes.iter().map(|mb| bytes_file(*mb)).collect();
                let parts = divide(&files, partitions);
                assert_eq!(parts.len(), partitions);
                for file in 0..files.len() {
                    let ranges = covered(&parts, file as u32);
                    assert_eq!(ranges[0].0, 0);
                    assert_eq!(ranges.last().unwrap().1, u64::MAX);
                    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
                }
            }
        }
    }

    #[test]
    fn whole_files_go_where_there_is_least() {
        let whole = |mb: u64| Divisible { bytes: mb * MB, grain: Grain::Whole };
        let parts = divide(&[whole(1), whole(9), whole(4), whole(4)], 2);
        let load = |units: &Vec<Unit>| units.iter().map(|u| u.bytes).sum::<u64>() / MB;
        assert_eq!(parts.iter().map(load).collect::<Vec<_>>(), [9, 9]);
    }

    #[test]
    fn row_groups_stay_together() {
        let groups = vec![10 * MB; 10];
        let file = Divisible { bytes: 100 * MB, grain: Grain::RowGroups(groups) };
        let parts = divide(&[file], 4);
        let ranges = covered(&parts, 0);
        assert_eq!(ranges.first().unwrap().0, 0);
        assert_eq!(ranges.last().unwrap().1, 10);
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert!(parts.iter().all(|units| units.len() == 1));
    }
}
