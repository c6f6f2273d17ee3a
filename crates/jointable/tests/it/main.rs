//! Tables against a nested loop: duplicates, NULLs, skew, extremes, every form of index.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Int64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array, StringArray,
    StringViewArray, UInt64Array,
};
use jointable::{Cursor, JoinTable, Matches, NO_ROW, Pairs, Visited, block_on};
use proptest::prelude::*;

/// A value of a key column, for the nested loop.
type Value = Option<String>;

fn text(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return None;
    }
    use arrow_schema::DataType::*;
    Some(match array.data_type() {
        Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value(row).to_string(),
        Boolean => array.as_boolean().value(row).to_string(),
        Utf8 => array.as_string::<i32>().value(row).to_owned(),
        Utf8View => array.as_string_view().value(row).to_owned(),
        other => panic!("{other}"),
    })
}

fn naive(
    build: &[Vec<ArrayRef>],
    probe: &[ArrayRef],
    nulls_equal: bool,
    outer: bool,
) -> Vec<(u32, u32)> {
    let row = |columns: &[ArrayRef], row| -> Vec<Value> {
        columns.iter().map(|column| text(column, row)).collect()
    };
    let rows: Vec<Vec<Value>> = build
        .iter()
        .flat_map(|batch| (0..batch[0].len()).map(|at| row(batch, at)).collect::<Vec<_>>())
        .collect();
    let mut out = Vec::new();
    for at in 0..probe[0].len() {
        let key = row(probe, at);
        let usable = nulls_equal || key.iter().all(Option::is_some);
        let before = out.len();
        for (number, other) in rows.iter().enumerate() {
            if usable && *other == key {
                out.push((at as u32, number as u32));
            }
        }
        if outer && out.len() == before {
            out.push((at as u32, NO_ROW));
        }
    }
    out
}

fn check(build: Vec<Vec<ArrayRef>>, probe: Vec<ArrayRef>, nulls_equal: bool, limit: usize) {
    let table = block_on(JoinTable::build(build.clone(), nulls_equal)).unwrap();
    let mut matches = Matches::default();
    table.lookup(&probe, &mut matches).unwrap();
    for outer in [false, true] {
        let mut found = Vec::new();
        let (mut cursor, mut pairs) = (Cursor::default(), Pairs::default());
        loop {
            pairs.clear();
            let ended = table.pairs(&matches, &mut cursor, outer, limit, &mut pairs);
            assert!(pairs.len() <= limit);
            found.extend(pairs.probe.iter().copied().zip(pairs.build.iter().copied()));
            if ended {
                break;
            }
        }
        let expected = naive(&build, &probe, nulls_equal, outer);
        assert_eq!(found, expected, "{} index, outer {outer}", table.kind());
    }
    let expected = naive(&build, &probe, nulls_equal, false);
    let rows: usize = build.iter().map(|batch| batch[0].len()).sum();
    let mut visited = Visited::new(&table);
    visited.add(&matches);
    let mut other = Visited::new(&table);
    other.add_rows(expected.iter().map(|(_, build)| *build));
    let mut merged = Visited::new(&table);
    merged.merge(&visited);
    for visited in [visited, other, merged] {
        let bits = visited.finish(&table);
        let found: Vec<bool> = bits.iter().collect();
        let expected: Vec<bool> =
            (0..rows).map(|row| expected.iter().any(|(_, b)| *b as usize == row)).collect();
        assert_eq!(found, expected, "{} index, visited", table.kind());
    }
    let contained: Vec<bool> = table.contains(&probe).unwrap().iter().collect();
    let expected: Vec<bool> =
        (0..probe[0].len()).map(|row| expected.iter().any(|(p, _)| *p as usize == row)).collect();
    assert_eq!(contained, expected);
    let key_rows = table.key_rows();
    assert_eq!(key_rows.len(), table.keys());
    let mut covered = Vec::new();
    for row in key_rows {
        let mut first = row as usize;
        let batch = build.iter().find(|batch| {
            let inside = first < batch[0].len();
            first -= if inside { 0 } else { batch[0].len() };
            inside
        });
        let key: Vec<_> = batch.unwrap().iter().map(|column| text(column, first)).collect();
        assert!(!covered.contains(&key), "{key:?} twice");
        covered.push(key);
    }
    let matched = matches.matched_rows();
    assert_eq!(matched, expected.iter().filter(|found| **found).count());
}

/// Makes a column from numbers; `kind` says of which type and how far apart.
fn column(kind: usize, numbers: &[Option<i16>]) -> ArrayRef {
    let int = |scale: i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter(
            numbers.iter().map(|n| n.map(|n| i64::from(n).wrapping_mul(scale))),
        ))
    };
    match kind {
        0 => int(1),
        1 => int(37),
        2 => int(1_000_003),
        // Spread over the whole range, extremes included.
        3 => Arc::new(Int64Array::from_iter(numbers.iter().map(|n| {
            n.map(|n| match n {
                0 => i64::MIN,
                1 => i64::MAX,
                n => i64::from(n) << 47,
            })
        }))),
        4 => Arc::new(Date32Array::from_iter(numbers.iter().map(|n| n.map(i32::from)))),
        5 => Arc::new(
            Decimal128Array::from_iter(numbers.iter().map(|n| {
                n.map(|n| match n {
                    0 => i128::MIN,
                    1 => i128::MAX,
                    n => i128::from(n) << 100,
                })
            }))
            .with_precision_and_scale(38, 0)
            .unwrap(),
        ),
        6 => Arc::new(
            Decimal128Array::from_iter(numbers.iter().map(|n| n.map(|n| i128::from(n) * 12)))
                .with_precision_and_scale(12, 2)
                .unwrap(),
        ),
        7 => Arc::new(StringViewArray::from_iter(
            numbers.iter().map(|n| n.map(|n| format!("a value that is long {n}"))),
        )),
        8 => Arc::new(StringArray::from_iter(numbers.iter().map(|n| n.map(|n| n.to_string())))),
        9 => Arc::new(BooleanArray::from_iter(numbers.iter().map(|n| n.map(|n| n % 2 == 0)))),
        _ => Arc::new(UInt64Array::from_iter(
            numbers.iter().map(|n| n.map(|n| u64::MAX - (n as u16 as u64))),
        )),
    }
}

fn numbers(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Option<i16>>> {
    let value = prop_oneof![
        6 => (0_i16..40).prop_map(Some),
        2 => any::<i16>().prop_map(Some),
        3 => Just(Some(7)),
        1 => Just(None),
    ];
    let dense = (0_i16..1000).prop_map(Some);
    prop_oneof![prop::collection::vec(value, rows.clone()), prop::collection::vec(dense, rows)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn equals_a_nested_loop(
        kinds in prop::collection::vec(0_usize..11, 1..4),
        build in prop::collection::vec(numbers(0..120), 0..4),
        probe in numbers(1..300),
        nulls_equal in any::<bool>(),
        shuffle in 1_usize..7,
        limit in 1_usize..200,
    ) {
        // Columns after the first repeat its numbers, moved, so that several keys match too.
        let columns = |numbers: &[Option<i16>]| -> Vec<ArrayRef> {
            kinds.iter().enumerate().map(|(at, kind)| {
                let moved: Vec<_> = numbers.iter().enumerate()
                    .map(|(row, n)| if at > 0 && row % 5 == shuffle { None } else { n.map(|n| n / (at as i16 + 1)) })
                    .collect();
                column(*kind, &moved)
            }).collect()
        };
        let build: Vec<_> = build.iter().map(|numbers| columns(numbers)).collect();
        check(build, columns(&probe), nulls_equal, limit);
    }

    #[test]
    fn sliced_columns_are_read_where_they_begin(
        build in numbers(10..60), probe in numbers(10..60), kind in 0_usize..11, nulls_equal in any::<bool>(),
    ) {
        let slice = |column: ArrayRef| column.slice(3, column.len() - 5);
        check(vec![vec![slice(column(kind, &build))]], vec![slice(column(kind, &probe))], nulls_equal, 50);
    }
}

/// More rows than a vector, a slice of the build or a partition of the hash table have.
#[test]
fn large_tables_of_every_form() {
    const ROWS: i64 = 300_000;
    for (kind, scale) in [("direct", 1), ("rank", 13), ("hash64", 1_000_003)] {
        for copies in [1, 3] {
            let key = |row: i64| (row * 7_919 % ROWS) / copies * copies * scale;
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(key)));
            let build: Vec<_> =
                (0..30).map(|part| vec![keys.slice(part * 10_000, 10_000)]).collect();
            let table = block_on(JoinTable::build(build, false)).unwrap();
            assert_eq!(table.kind(), kind);
            assert_eq!(table.is_unique(), copies == 1);
            assert_eq!(table.keys() as i64, ROWS / copies);
            let probe: ArrayRef =
                Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| row * scale)));
            let mut matches = Matches::default();
            table.lookup(&[probe], &mut matches).unwrap();
            let (mut cursor, mut pairs) = (Cursor::default(), Pairs::default());
            assert!(table.pairs(&matches, &mut cursor, false, usize::MAX, &mut pairs));
            assert_eq!(pairs.len() as i64, ROWS);
            let mut seen = vec![false; ROWS as usize];
            for (probe, build) in pairs.probe.iter().zip(&pairs.build) {
                assert_eq!(i64::from(*probe) * scale, key(i64::from(*build)));
                assert!(!std::mem::replace(&mut seen[*build as usize], true));
            }
        }
    }
}

#[test]
fn a_key_with_all_rows_is_given_in_bounded_vectors() {
    let keys: ArrayRef = Arc::new(Int64Array::from_value(5, 100_000));
    let table = block_on(JoinTable::build(vec![vec![keys]], false)).unwrap();
    let probe: ArrayRef = Arc::new(Int64Array::from(vec![4, 5, 6, 5]));
    let mut matches = Matches::default();
    table.lookup(&[probe], &mut matches).unwrap();
    let (mut cursor, mut pairs, mut total) = (Cursor::default(), Pairs::default(), 0);
    while !table.pairs(&matches, &mut cursor, false, 8_192, &mut pairs) {
        assert!(pairs.len() <= 8_192);
        total += pairs.len();
        pairs.clear();
    }
    assert_eq!(total + pairs.len(), 200_000);
}

#[test]
fn types_that_differ_from_those_built_are_refused() {
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let table = block_on(JoinTable::build(vec![vec![keys]], false)).unwrap();
    let probe: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    assert!(table.lookup(&[probe], &mut Matches::default()).is_err());
}
