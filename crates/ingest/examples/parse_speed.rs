//! How fast lineitem-like CSV and delimited text become typed batches, on one core.
//!
//! `cargo run --release -p ingest --example parse_speed [MB]`

use std::io::{Cursor, Write as _};
use std::sync::Arc;
use std::time::Instant;

use arrow_schema::Schema;
use base::SqlType;
use ingest::text::{Conversion, Dialect, Fill, Quoting, Target, TextReader, TextSpec, UnitRange};

const COLUMNS: [(&str, SqlType); 16] = [
    ("l_orderkey", SqlType::BigInt),
    ("l_partkey", SqlType::BigInt),
    ("l_suppkey", SqlType::BigInt),
    ("l_linenumber", SqlType::Integer),
    ("l_quantity", SqlType::Decimal { precision: 12, scale: 2 }),
    ("l_extendedprice", SqlType::Decimal { precision: 12, scale: 2 }),
    ("l_discount", SqlType::Decimal { precision: 12, scale: 2 }),
    ("l_tax", SqlType::Decimal { precision: 12, scale: 2 }),
    ("l_returnflag", SqlType::Char(1)),
    ("l_linestatus", SqlType::Char(1)),
    ("l_shipdate", SqlType::Date),
    ("l_commitdate", SqlType::Date),
    ("l_receiptdate", SqlType::Date),
    ("l_shipinstruct", SqlType::Char(25)),
    ("l_shipmode", SqlType::Char(10)),
    ("l_comment", SqlType::Varchar(44)),
];

/// Lines that look like lineitem's, from a small deterministic generator.
fn lines(bytes: usize, delimiter: char) -> String {
    const WORDS: [&str; 8] =
        ["furiously", "ironic", "deposits", "sleep", "quickly", "final", "requests", "above"];
    const INSTRUCT: [&str; 4] = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"];
    const MODE: [&str; 4] = ["TRUCK", "MAIL", "REG AIR", "RAIL"];
    let mut out = String::with_capacity(bytes + 200);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut order = 1;
    while out.len() < bytes {
        order += next(4);
        let d = delimiter;
        let day = |n: u64| format!("199{}-{:02}-{:02}", n % 8, n / 8 % 12 + 1, n / 96 % 28 + 1);
        let words: Vec<&str> = (0..4).map(|_| WORDS[next(8) as usize]).collect();
        out.push_str(&format!(
            "{order}{d}{}{d}{}{d}{}{d}{}.00{d}{}.{:02}{d}0.{:02}{d}0.{:02}{d}N{d}O{d}{}{d}{}{d}{}\
             {d}{}{d}{}{d}{}",
            next(200_000),
            next(10_000),
            next(7) + 1,
            next(50) + 1,
            next(90_000) + 900,
            next(100),
            next(10),
            next(8),
            day(next(2_688)),
            day(next(2_688)),
            day(next(2_688)),
            INSTRUCT[next(4) as usize],
            MODE[next(4) as usize],
            words.join(" "),
        ));
        out.push('\n');
    }
    out
}

fn main() -> base::Result<()> {
    let megabytes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(128);
    let target = |(i, (name, sql_type)): (usize, &(&str, SqlType))| Target {
        name: (*name).to_owned(),
        sql_type: *sql_type,
        nullable: true,
        fill: Fill::Field(i),
    };
    let targets: Vec<Target> = COLUMNS.iter().enumerate().map(target).collect();
    let fields: Vec<_> = COLUMNS.iter().map(|(name, t)| t.field(*name, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let csv = Quoting::Csv { quote: b'"' };
    let text = Quoting::Text { escape: false, remove_quotes: false };
    for (name, delimiter, quoting) in [("csv", ',', csv), ("text", '|', text)] {
        let data = lines(megabytes << 20, delimiter);
        let dialect = Dialect {
            delimiter: delimiter as u8,
            quoting,
            fields: COLUMNS.len(),
            fill: false,
            skip_blank: false,
        };
        let spec = Arc::new(TextSpec {
            dialect,
            conversion: Conversion::default(),
            targets: targets.clone(),
            skip_lines: 0,
            batch_rows: 16_384,
            rejections_max: 1,
        });
        for _ in 0..3 {
            let mut reader = TextReader::new(Arc::clone(&spec), Arc::clone(&schema));
            let started = Instant::now();
            let outcome = reader.read_unit(
                0,
                UnitRange::WHOLE,
                &mut Cursor::new(data.as_bytes()),
                &mut |_| Ok(true),
            )?;
            let seconds = started.elapsed().as_secs_f64();
            let mut out = std::io::stdout().lock();
            writeln!(
                out,
                "{name}: {} rows, {:.0} MB/s, {:.2} M rows/s, {} rejected",
                outcome.rows,
                data.len() as f64 / 1e6 / seconds,
                outcome.rows as f64 / 1e6 / seconds,
                outcome.rejected
            )
            .map_err(|error| base::Error::io("write to standard output", error))?;
        }
    }
    Ok(())
}
