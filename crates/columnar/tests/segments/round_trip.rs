//! What was pushed is what is read, for every type, shape, NULL pattern and way of reading.

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_select::concat::concat;
use arrow_select::filter::filter;
use base::SqlType;
use base::segment::Datum;
use bytes::Bytes;
use columnar::inspect::block_bytes;
use columnar::*;
use proptest::prelude::*;

use super::rows::*;

fn options(block_rows: usize) -> WriteOptions {
    WriteOptions { block_rows, ..WriteOptions::default() }
}

fn write(
    sql_type: SqlType,
    encode: Option<Encode>,
    array: &ArrayRef,
    block_rows: usize,
    pieces: usize,
) -> Encoded {
    let mut writer = SegmentWriter::new(specs(&[(sql_type, encode)]), options(block_rows));
    let rows = batch(vec![(sql_type, array.clone())]);
    let step = rows.num_rows().div_ceil(pieces).max(1);
    for at in (0..rows.num_rows()).step_by(step) {
        writer.push(&rows.slice(at, step.min(rows.num_rows() - at))).unwrap();
    }
    assert_eq!(writer.rows(), rows.num_rows() as u64);
    writer.finish().unwrap()
}

fn blocks(file: &Bytes, footer: &Footer, column: usize) -> Vec<Block> {
    let column = &footer.columns[column];
    (0..column.blocks.len())
        .map(|n| Block::open(block_bytes(file, column, n, "t").unwrap(), column, n, "t").unwrap())
        .collect()
}

/// Predicates around values that occur, and some that do not.
fn predicates(array: &dyn Array, sql_type: SqlType, dice: &mut Dice) -> Vec<Predicate> {
    let mut pick = || {
        let row = dice.below(array.len() as u64) as usize;
        datum(array, row, sql_type).unwrap_or(match sql_type {
            SqlType::Real | SqlType::Double => Datum::Float(0.5),
            SqlType::Varbyte(_) => Datum::Bytes(vec![7]),
            SqlType::Char(_) | SqlType::Varchar(_) => Datum::Text("m".into()),
            _ => Datum::Int(1),
        })
    };
    let ops = [
        CompareOp::Eq,
        CompareOp::NotEq,
        CompareOp::Lt,
        CompareOp::LtEq,
        CompareOp::Gt,
        CompareOp::GtEq,
    ];
    let mut all = vec![Predicate::IsNull, Predicate::IsNotNull, Predicate::In(vec![])];
    all.extend(ops.map(|op| Predicate::Compare { op, value: pick() }));
    let (a, b) = (pick(), pick());
    let (low, high) = if order(&a, &b).is_le() { (a, b) } else { (b, a) };
    all.push(Predicate::Between { low: high.clone(), high: low.clone() });
    all.push(Predicate::Between { low, high });
    all.push(Predicate::In(vec![pick(), pick(), pick()]));
    if let Datum::Text(text) = pick() {
        all.push(Predicate::Prefix(text.chars().take(3).collect()));
        all.push(Predicate::Prefix("customer#00".into()));
        all.push(Predicate::Compare { op: CompareOp::Gt, value: Datum::Text(text + "x") });
    }
    if let Datum::Int(value) = pick() {
        for value in [value.saturating_add(1), value.saturating_sub(1), i128::MAX, i128::MIN] {
            let op = ops[(value & 3) as usize];
            all.push(Predicate::Compare { op, value: Datum::Int(value) });
        }
    }
    all
}

fn check_block(block: &Block, expected: &ArrayRef, sql_type: SqlType, dice: &mut Dice) {
    let rows = block.rows();
    assert_eq!(rows, expected.len());
    let whole = block.decode().unwrap();
    assert_eq!(whole.data_type(), &sql_type.arrow());
    whole.to_data().validate_full().unwrap();
    assert_eq!(&whole, expected);
    for _ in 0..3 {
        let from = dice.below(rows as u64 + 1) as usize;
        let to = from + dice.below((rows - from) as u64 + 1) as usize;
        let range = block.decode_range(from..to).unwrap();
        assert_eq!(&range, &expected.slice(from, to - from));
    }
    for sparse in [1, 2, 40, 3_000] {
        let bits: BooleanArray = (0..rows).map(|_| Some(dice.below(sparse) == 0)).collect();
        let selection = Selection::from_bits(bits.values());
        let selected = block.decode_selected(&selection).unwrap();
        assert_eq!(&selected, &filter(expected, &bits).unwrap());
    }
    let values: Vec<_> = (0..rows).map(|row| datum(expected, row, sql_type)).collect();
    for predicate in predicates(expected, sql_type, dice) {
        let start: BooleanArray = (0..rows).map(|_| Some(dice.below(8) != 0)).collect();
        let start = Selection::from_bits(start.values());
        let mut found = start.clone();
        block.filter(&predicate, &mut found).unwrap();
        let mut any = false;
        for (row, value) in values.iter().enumerate() {
            let qualifies = qualifies(&predicate, value.as_ref());
            any |= qualifies;
            assert_eq!(
                found.contains(row),
                qualifies && start.contains(row),
                "{predicate:?} on {value:?}, row {row}"
            );
        }
        assert!(!any || predicate.can_match(block.zone(), rows as u32), "{predicate:?}");
    }
    check_zone(block.zone(), &values, sql_type);
    check_vectors(block, &values, sql_type);
}

/// Vectors as kernels take them, in any order.
fn check_vectors(block: &Block, values: &[Option<Datum>], sql_type: SqlType) {
    let valid = |row: usize| match block.validity() {
        Some(bits) => bits.value(row),
        None => !block.is_all_null(),
    };
    for (row, value) in values.iter().enumerate() {
        assert_eq!(valid(row), value.is_some());
    }
    let vectors = values.len().div_ceil(VECTOR_ROWS);
    let of = |vector: usize| values.iter().enumerate().skip(vector * VECTOR_ROWS).take(VECTOR_ROWS);
    if let Some(mut integers) = block.integers().unwrap() {
        for vector in (0..vectors).rev() {
            let mut found = vec![7];
            integers.append(vector, &mut found).unwrap();
            assert_eq!(found.len() - 1, of(vector).count());
            for (found, (_, value)) in found[1..].iter().zip(of(vector)) {
                assert!(value.as_ref().is_none_or(|v| *v == Datum::Int(i128::from(*found))));
            }
        }
    }
    if let Some(mut codes) = block.codes().unwrap() {
        let entries = codes.entries().clone();
        for vector in (0..vectors).rev() {
            let mut found = Vec::new();
            codes.append(vector, &mut found).unwrap();
            assert_eq!(found.len(), of(vector).count());
            for (code, (_, value)) in found.iter().zip(of(vector)) {
                let entry = datum(&entries, *code as usize, sql_type);
                assert!(value.is_none() || *value == entry, "{value:?} / {entry:?}");
            }
        }
    }
}

fn check_zone(zone: &Zone, values: &[Option<Datum>], sql_type: SqlType) {
    let valid: Vec<&Datum> = values.iter().flatten().collect();
    assert_eq!(zone.nulls as usize, values.len() - valid.len());
    for value in &valid {
        assert!(zone.min.as_ref().is_none_or(|min| order(min, value).is_le()));
        assert!(zone.max.as_ref().is_none_or(|max| order(max, value).is_ge()));
    }
    if let (Some(min), false) = (&zone.min, zone.min_truncated) {
        assert!(valid.iter().any(|value| order(value, min).is_eq()));
    }
    if let (Some(max), false) = (&zone.max, zone.max_truncated) {
        assert!(valid.iter().any(|value| order(value, max).is_eq()));
    }
    if let (Some(sum), SqlType::BigInt | SqlType::Decimal { .. }) = (zone.sum, sql_type) {
        let add = |sum: i128, value: &&Datum| match value {
            Datum::Int(value) => sum + value,
            _ => panic!("a sum of strings"),
        };
        assert_eq!(sum, valid.iter().fold(0, add));
    }
}

fn check(
    sql_type: SqlType,
    encode: Option<Encode>,
    array: &ArrayRef,
    block_rows: usize,
    dice: &mut Dice,
) {
    let encoded = write(sql_type, encode, array, block_rows, 1 + dice.below(3) as usize);
    let file = encoded.to_bytes();
    assert_eq!(file.len() as u64, encoded.bytes);
    let footer = Footer::parse(&file.slice(encoded.footer_offset as usize..), "t").unwrap();
    assert_eq!(footer, Footer::parse(&file, "t").unwrap());
    assert_eq!((footer.rows, footer.checksum), (array.len() as u64, encoded.footer_checksum));
    assert_eq!(footer.columns[0].encode, encode.unwrap_or(Encode::Auto));
    let blocks = blocks(&file, &footer, 0);
    let mut at = 0;
    for block in &blocks {
        check_block(block, &array.slice(at, block.rows()), sql_type, dice);
        at += block.rows();
    }
    assert_eq!(at, array.len());
    let stats = &encoded.columns[0];
    assert_eq!(stats.nulls as usize, array.null_count());
    for row in 0..array.len() {
        if let Some(value) = datum(array, row, sql_type) {
            let predicate = Predicate::Compare { op: CompareOp::Eq, value };
            assert!(predicate.can_match_stats(stats, footer.rows), "{predicate:?} {stats:?}");
        }
    }
    assert!(inspect::describe(&file, "t").unwrap().contains("block 0"));
}

proptest! {
    // PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(600)))]

    #[test]
    fn every_type_round_trips(
        kind in 0..TYPES.len(),
        shape in 0..SHAPES,
        nulls in 0..4_usize,
        encode in prop::option::of(0..Encode::ALL.len()),
        rows in prop_oneof![1..20_usize, 1_000..1_050_usize, 1..6_000_usize],
        block_rows in
            prop_oneof![Just(1_usize << 16), Just(1_024), Just(700), Just(2_500), 1..90_usize],
        seed in any::<u64>(),
    ) {
        let mut dice = Dice(seed);
        let rows = rows.min(block_rows * 30);
        let array = array(TYPES[kind], rows, shape, nulls, &mut dice);
        let encode = encode.map(|at| Encode::ALL[at].1);
        check(TYPES[kind], encode, &array, block_rows, &mut dice);
    }
}

#[test]
fn every_type_and_shape_round_trips_once() {
    for (sql_type, shape) in TYPES.iter().flat_map(|t| (0..SHAPES).map(move |s| (*t, s))) {
        for nulls in 0..4 {
            let mut dice = Dice(shape as u64 * 31 + nulls as u64);
            let array = array(sql_type, 3_333, shape, nulls, &mut dice);
            check(sql_type, None, &array, 65_536, &mut dice);
        }
    }
}

#[test]
fn a_full_block_round_trips() {
    for sql_type in TYPES {
        let mut dice = Dice(5);
        let parts: Vec<ArrayRef> =
            (0..SHAPES).map(|shape| array(*sql_type, 12_000, shape, 0, &mut dice)).collect();
        let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref()).collect();
        let array = concat(&parts).unwrap();
        check(*sql_type, None, &array, 65_536, &mut dice);
    }
}

#[test]
fn no_rows_make_a_segment_too() {
    let encoded =
        SegmentWriter::new(specs(&[(SqlType::Integer, None)]), options(10)).finish().unwrap();
    let footer = Footer::parse(&encoded.to_bytes(), "t").unwrap();
    assert_eq!((footer.rows, footer.blocks(), footer.columns.len()), (0, 0, 1));
    assert!(footer.column(base::ids::ColumnId(10)).is_some());
    assert!(footer.column(base::ids::ColumnId(11)).is_none());
}

#[test]
fn long_text_cuts_blocks_early() {
    let array: ArrayRef = std::sync::Arc::new(arrow_array::StringViewArray::from_iter_values(
        (0..5_000).map(|i| format!("{i}").repeat(200)),
    ));
    let options = WriteOptions { block_bytes: 1 << 20, ..WriteOptions::default() };
    let types = [(SqlType::Varchar(60_000), None), (SqlType::Varchar(60_000), Some(Encode::Raw))];
    let mut writer = SegmentWriter::new(specs(&types), options);
    writer.push(&batch(types.iter().map(|(t, _)| (*t, array.clone())).collect())).unwrap();
    assert!(writer.encoded_bytes() > 1 << 20);
    let file = writer.finish().unwrap().to_bytes();
    let footer = Footer::parse(&file, "t").unwrap();
    assert!(footer.blocks() > 1 && footer.rows_of_block(0) < 5_000);
    for column in 0..2 {
        let parts: Vec<ArrayRef> =
            blocks(&file, &footer, column).iter().map(|b| b.decode().unwrap()).collect();
        let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref()).collect();
        assert_eq!(&concat(&parts).unwrap(), &array);
    }
}

#[test]
fn wrong_batches_are_refused() {
    let mut writer = SegmentWriter::new(specs(&[(SqlType::Integer, None)]), options(10));
    let text = array(SqlType::Varchar(9), 3, 2, 0, &mut Dice(1));
    assert!(writer.push(&batch(vec![(SqlType::Varchar(9), text)])).is_err());
    let two = (0..2).map(|_| (SqlType::Integer, array(SqlType::Integer, 3, 2, 0, &mut Dice(1))));
    assert!(writer.push(&batch(two.collect())).is_err());
    let ints = array(SqlType::Integer, 3, 2, 0, &mut Dice(1));
    writer.push(&batch(vec![(SqlType::Integer, ints)])).unwrap();
    assert_eq!(writer.finish().unwrap().rows, 3);
    let void = SegmentWriter::new(specs(&[(SqlType::Void, None)]), options(10));
    drop(void);
}

#[test]
fn wrong_reads_are_refused() {
    let ints = array(SqlType::Integer, 300, 2, 0, &mut Dice(1));
    let file = write(SqlType::Integer, None, &ints, 1_024, 1).to_bytes();
    let footer = Footer::parse(&file, "t").unwrap();
    let block = &blocks(&file, &footer, 0)[0];
    assert!(block.decode_range(0..301).is_err());
    assert!(block.decode_selected(&Selection::all(299)).is_err());
    let mut all = Selection::all(300);
    let text = Predicate::Compare { op: CompareOp::Eq, value: Datum::Text("a".into()) };
    assert!(block.filter(&text, &mut all).is_err());
    assert!(block.filter(&Predicate::IsNull, &mut Selection::all(1)).is_err());
}
