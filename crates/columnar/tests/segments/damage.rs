//! Damaged bytes give errors or the rows that were written, never other rows and never a panic.

use arrow_array::ArrayRef;
use base::{SqlState, SqlType};
use bytes::Bytes;
use columnar::inspect::block_bytes;
use columnar::*;

use super::rows::*;

/// A small segment of every type; `rows` in blocks of `block_rows`.
fn segment(rows: usize, block_rows: usize, shape: usize, seed: u64) -> Encoded {
    let mut dice = Dice(seed);
    let arrays: Vec<(SqlType, ArrayRef)> = TYPES
        .iter()
        .enumerate()
        .map(|(i, t)| (*t, array(*t, rows, (shape + i) % SHAPES, i % 3, &mut dice)))
        .collect();
    let types: Vec<_> =
        TYPES.iter().enumerate().map(|(i, t)| (*t, (i % 5 == 4).then_some(Encode::Zstd))).collect();
    let options = WriteOptions { block_rows, ..WriteOptions::default() };
    let mut writer = SegmentWriter::new(specs(&types), options);
    writer.push(&batch(arrays)).unwrap();
    writer.finish().unwrap()
}

fn read(file: &Bytes) -> base::Result<Vec<ArrayRef>> {
    let footer = Footer::parse(file, "data/1/x.seg")?;
    let mut arrays = Vec::new();
    for column in &footer.columns {
        for number in 0..column.blocks.len() {
            let bytes = block_bytes(file, column, number, "data/1/x.seg")?;
            arrays.push(Block::open(bytes, column, number, "data/1/x.seg")?.decode()?);
        }
    }
    Ok(arrays)
}

#[test]
fn any_flipped_bit_is_seen_or_harmless() {
    let file = segment(40, 33, 1, 3).to_bytes();
    let expected = read(&file).unwrap();
    let mut bytes = file.to_vec();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let outcome = read(&Bytes::copy_from_slice(&bytes));
        bytes[bit / 8] ^= 1 << (bit % 8);
        match outcome {
            Ok(rows) => assert_eq!(rows, expected, "bit {bit}"),
            Err(error) => {
                let state = error.sqlstate();
                let expected = [SqlState::DataCorrupted, SqlState::FeatureNotSupported];
                assert!(expected.contains(&state), "bit {bit}: {error:?}");
                assert!(error.message().contains("data/1/x.seg"), "{error:?}");
            }
        }
    }
}

#[test]
fn a_block_names_itself_when_damaged() {
    let encoded = segment(40, 33, 1, 3);
    let mut bytes = encoded.to_bytes().to_vec();
    let footer = Footer::parse(&encoded.to_bytes(), "t").unwrap();
    bytes[footer.columns[2].blocks[1].offset as usize] ^= 1;
    let error = read(&Bytes::from(bytes)).unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DataCorrupted);
    assert!(error.message().contains("block 1 of column 12"), "{error:?}");
}

#[test]
fn truncated_files_are_errors() {
    let file = segment(40, 33, 1, 3).to_bytes();
    for len in (0..file.len()).step_by(7) {
        assert!(read(&file.slice(..len)).is_err(), "{len}");
        fuzz_segment(&file[..len]);
    }
}

#[test]
fn newer_versions_are_refused_by_name() {
    let mut bytes = segment(4, 33, 1, 3).to_bytes().to_vec();
    let trailer = bytes.len() - 20;
    bytes[trailer + 4] = 2;
    let error = read(&Bytes::from(bytes.clone())).unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DataCorrupted, "a flipped bit is no version");
    let body = u32::from_le_bytes(bytes[trailer..trailer + 4].try_into().unwrap()) as usize;
    let checksum = crc32c::crc32c(&bytes[trailer - body..trailer + 8]);
    bytes[trailer + 8..trailer + 12].copy_from_slice(&checksum.to_le_bytes());
    let error = read(&Bytes::from(bytes)).unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::FeatureNotSupported);
    assert!(error.message().contains("format version 2"), "{error:?}");
}

/// More rounds and other seeds for a long run: `BLUESHIFT_FUZZ_ROUNDS=100`.
fn rounds() -> u64 {
    std::env::var("BLUESHIFT_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len() as u64) as usize;
        // Headers are at the front: most mutations go there.
        let at = if dice.below(2) == 0 { at.min(dice.below(64) as usize) } else { at };
        match dice.below(6) {
            0 => bytes[at] = dice.next() as u8,
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes[at] = [0, 1, 127, 128, 255][dice.below(5) as usize],
            3 => bytes.truncate(at.max(1)),
            4 => bytes.insert(at, dice.next() as u8),
            _ => {
                let from = dice.below(bytes.len() as u64) as usize;
                let len = (bytes.len() - at).min(bytes.len() - from).min(16);
                bytes.copy_within(from..from + len, at);
            }
        }
    }
}

/// Mutated blocks whose checksum is made to match, so that the parsers behind it are reached.
#[test]
fn mutated_blocks_never_panic() {
    let mut dice = Dice(99);
    for round in 0..14 * rounds() {
        let rows = 1_500 + (round % 14) as usize * 100;
        let file = segment(rows, 4_096, round as usize, round).to_bytes();
        let footer = Footer::parse(&file, "t").unwrap();
        for column in &footer.columns {
            let bytes = block_bytes(&file, column, 0, "t").unwrap();
            for _ in 0..60 {
                let mut mutated = bytes.to_vec();
                mutate(&mut mutated, &mut dice);
                let mut column = column.clone();
                column.blocks[0].len = mutated.len() as u32;
                column.blocks[0].checksum = crc32c::crc32c(&mutated);
                if let Ok(block) = Block::open(Bytes::from(mutated), &column, 0, "t") {
                    fuzz::exercise(&block);
                }
            }
        }
    }
}

/// Mutated footers whose checksum is made to match.
#[test]
fn mutated_footers_never_panic() {
    let mut dice = Dice(7);
    let encoded = segment(90, 33, 2, 1);
    let file = encoded.to_bytes();
    let (data, footer) = file.split_at(encoded.footer_offset as usize);
    for _ in 0..3_000 * rounds() {
        let mut body = footer[..footer.len() - 20].to_vec();
        mutate(&mut body, &mut dice);
        let mut mutated = body.clone();
        mutated.extend_from_slice(&(body.len() as u32).to_le_bytes());
        mutated.extend_from_slice(&[1, 0, 0, 0]);
        let checksum = crc32c::crc32c(&mutated);
        mutated.extend_from_slice(&checksum.to_le_bytes());
        mutated.extend_from_slice(b"BLUESEG\n");
        fuzz_segment(&[data, &mutated].concat());
    }
}

#[test]
fn noise_never_panics() {
    let mut dice = Dice(1);
    let file = segment(90, 33, 2, 1).to_bytes();
    for _ in 0..2_000 * rounds() {
        let mut bytes = file.to_vec();
        mutate(&mut bytes, &mut dice);
        fuzz_segment(&bytes);
    }
    fuzz_segment(&[]);
    fuzz_segment(b"BLUESEG\n");
}
