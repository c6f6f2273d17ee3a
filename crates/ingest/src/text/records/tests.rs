//! Tests of `records`.

use super::*;
use proptest::prelude::*;

fn csv(fields: usize) -> Dialect {
    Dialect {
        delimiter: b',',
        quoting: Quoting::Csv { quote: b'"' },
        fields,
        fill: false,
        skip_blank: false,
    }
}

fn text(fields: usize, escape: bool, remove_quotes: bool) -> Dialect {
    Dialect {
        delimiter: b'|',
        quoting: Quoting::Text { escape, remove_quotes },
        fields,
        fill: false,
        skip_blank: false,
    }
}

type Row = Result<Vec<Option<String>>, Fault>;
type Rows = Vec<Row>;

/// All records of `data`, good and bad, in file order.
fn rows(dialect: Dialect, data: &[u8]) -> Rows {
    let mut out = Records::default();
    let mut from = 0;
    let mut rows = Vec::new();
    while from < data.len() {
        out.clear(dialect.fields);
        let window = Window { from, stop: data.len(), last: true, records_max: 1, quoted: false };
        let next = dialect.cut(data, window, &mut out);
        assert!(next > from);
        rows.extend(out.faults.iter().map(|(_, _, fault)| Err(*fault)));
        for row in 0..out.len() {
            let values = (0..dialect.fields).map(|column| {
                let bytes = match out.place(row, column) {
                    Place::Missing => return None,
                    Place::Chunk(a, b) => &data[a..b],
                    Place::Arena(a, b) => &out.arena[a..b],
                };
                Some(String::from_utf8_lossy(bytes).into_owned())
            });
            rows.push(Ok(values.collect()));
        }
        from = next;
    }
    rows
}

fn some(values: &[&str]) -> Row {
    Ok(values.iter().map(|v| Some((*v).to_owned())).collect())
}

#[test]
fn csv_quotes_and_line_ends() {
    let data = b"a,b\r\n\"x,\"\"y\"\"\",\"two\nlines\"\n,\n\"\",z";
    assert_eq!(
        rows(csv(2), data),
        [some(&["a", "b"]), some(&["x,\"y\"", "two\nlines"]), some(&["", ""]), some(&["", "z"])]
    );
}

#[test]
fn csv_shape_faults_cost_one_record() {
    let data = b"a\nb,c,d\ne,f\"g\n\"h\"i,j\nk,l\n\"open,m";
    assert_eq!(
        rows(csv(2), data),
        [
            Err(Fault::MissingDelimiter),
            Err(Fault::ExtraColumns),
            Err(Fault::CsvQuote),
            Err(Fault::CsvQuote),
            some(&["k", "l"]),
            Err(Fault::OpenQuote),
        ]
    );
}

#[test]
fn text_escapes_protect_the_next_byte() {
    let data = b"a\\|b|c\\\\|\nx\\\ny|\\N\n";
    assert_eq!(rows(text(2, true, false), data), [some(&["a|b", "c\\"]), some(&["x\ny", "\\N"])]);
    assert_eq!(rows(text(2, false, false), b"a\\|b\n"), [some(&["a\\", "b"])]);
}

#[test]
fn a_trailing_delimiter_is_allowed_in_text_only() {
    assert_eq!(rows(text(2, false, false), b"a|b|\n"), [some(&["a", "b"])]);
    assert_eq!(rows(text(2, false, false), b"a|b||\n"), [Err(Fault::ExtraColumns)]);
    assert_eq!(rows(csv(2), b"a,b,\n"), [Err(Fault::ExtraColumns)]);
}

#[test]
fn removed_quotes_follow_the_manual() {
    let dialect = text(1, false, true);
    let cases: &[(&[u8], Row)] = &[
        (
            b"'The delimiter is a pipe (|) character'",
            some(&["The delimiter is a pipe (|) character"]),
        ),
        (b"'Black'", some(&["Black"])),
        (b"\"White\"", some(&["White"])),
        (b"Blue'", some(&["Blue'"])),
        (b"'Blue", Err(Fault::OpenQuote)),
        (b"\"Blue", Err(Fault::OpenQuote)),
        (b"' ' 'Black' ' '", some(&[" ' 'Black' ' "])),
        (b"' '", some(&[" "])),
    ];
    for (data, expected) in cases {
        assert_eq!(
            rows(dialect, data),
            std::slice::from_ref(expected),
            "{}",
            String::from_utf8_lossy(data)
        );
    }
}

#[test]
fn blank_lines_and_missing_fields() {
    assert_eq!(rows(csv(2), b"\na,b\n"), [Err(Fault::EmptyLine), some(&["a", "b"])]);
    let skip = Dialect { skip_blank: true, ..csv(2) };
    assert_eq!(rows(skip, b"\n\r\na,b\n\n"), [some(&["a", "b"])]);
    let fill = Dialect { fill: true, ..csv(3) };
    assert_eq!(rows(fill, b"a\n"), [Ok(vec![Some("a".to_owned()), None, None])]);
    let one = Dialect { skip_blank: true, ..csv(1) };
    assert_eq!(rows(one, b"a\n\nb\n"), [some(&["a"]), some(&["b"])]);
    assert_eq!(rows(csv(1), b"a\n\nb\n"), [some(&["a"]), some(&[""]), some(&["b"])]);
}

/// A plain character-by-character reader of well-formed CSV.
fn naive_csv(data: &[u8]) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut value) = (Vec::new(), Vec::new(), Vec::new());
    let mut quoted = false;
    let mut i = 0;
    while i < data.len() {
        match data[i] {
            b'"' if quoted && data.get(i + 1) == Some(&b'"') => {
                value.push(b'"');
                i += 1;
            }
            b'"' => quoted = !quoted,
            b',' if !quoted => row.push(String::from_utf8(std::mem::take(&mut value)).unwrap()),
            b'\n' if !quoted => {
                row.push(String::from_utf8(std::mem::take(&mut value)).unwrap());
                rows.push(std::mem::take(&mut row));
            }
            byte => value.push(byte),
        }
        i += 1;
    }
    rows
}

fn csv_value() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![Just('a'), Just('"'), Just(','), Just('\n'), Just('é'), Just('z')],
        0..6,
    )
    .prop_map(String::from_iter)
}

fn write_csv(rows: &[Vec<String>]) -> Vec<u8> {
    let mut out = String::new();
    for row in rows {
        let values: Vec<String> = row
            .iter()
            .map(|v| {
                if v.contains(['"', ',', '\n']) {
                    format!("\"{}\"", v.replace('"', "\"\""))
                } else {
                    v.clone()
                }
            })
            .collect();
        out.push_str(&values.join(","));
        out.push('\n');
    }
    out.into_bytes()
}

proptest! {
    #[test]
    fn csv_agrees_with_the_naive_reader(
        table in proptest::collection::vec(proptest::collection::vec(csv_value(), 3), 0..12),
    ) {
        let data = write_csv(&table);
        let ours: Vec<Vec<String>> = rows(csv(3), &data).into_iter()
            .map(|row| row.unwrap().into_iter().map(Option::unwrap).collect()).collect();
        prop_assert_eq!(&ours, &naive_csv(&data));
        prop_assert_eq!(&ours, &table);
    }

    /// Cutting in two at any byte, with the second part aligned, gives the same records as
    /// long as the parts fit together, which is what the leader verifies.
    #[test]
    fn a_split_at_any_byte_is_right_or_seen_to_be_wrong(
        table in proptest::collection::vec(proptest::collection::vec(csv_value(), 2), 1..8),
        at in any::<prop::sample::Index>(),
    ) {
        let data = write_csv(&table);
        let dialect = csv(2);
        let at = at.index(data.len()).max(1);
        let all = |from: usize, stop: usize| {
            let mut out = Records::default();
            out.clear(2);
            let window =
                Window { from, stop, last: true, records_max: usize::MAX, quoted: false };
            let end = if from < stop { dialect.cut(&data, window, &mut out) } else { from };
            (end, out.spans.clone())
        };
        let start = dialect.align(&data, at, true).unwrap();
        let (end, mut first) = all(0, at);
        let (_, second) = all(start, data.len());
        if end == start {
            first.extend(second);
            prop_assert_eq!(first, all(0, data.len()).1);
        }
    }

    #[test]
    fn a_split_of_text_is_always_right(
        data in proptest::collection::vec(
            prop_oneof![Just(b'a'), Just(b'|'), Just(b'\n'), Just(b'\\')], 1..60),
        at in any::<prop::sample::Index>(),
    ) {
        let dialect = Dialect { fill: true, fields: 70, ..text(0, true, false) };
        let at = at.index(data.len()).max(1);
        let all = |from: usize, stop: usize| {
            let mut out = Records::default();
            out.clear(dialect.fields);
            let window =
                Window { from, stop, last: true, records_max: usize::MAX, quoted: false };
            let end = if from < stop { dialect.cut(&data, window, &mut out) } else { from };
            (end, out.spans.clone())
        };
        let start = dialect.align(&data, at, true).unwrap();
        let (end, mut first) = all(0, at);
        prop_assert_eq!(end, start);
        first.extend(all(start, data.len()).1);
        prop_assert_eq!(first, all(0, data.len()).1);
    }
}
