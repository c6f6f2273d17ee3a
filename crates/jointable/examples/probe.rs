//! CPU time per row of building and probing, one thread: `cargo run --release --example probe`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Int64Array};
use jointable::{Cursor, JoinTable, Matches, Pairs, block_on};

const BATCH_ROWS: usize = 8_192;

/// Nanoseconds that this thread ran, where the system tells, else that have passed.
fn cpu_ns(started: Instant) -> u64 {
    let read = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let run = read.and_then(|text| text.split(' ').next()?.parse().ok());
    run.unwrap_or_else(|| started.elapsed().as_nanos() as u64)
}

fn batches(keys: &[i64]) -> Vec<Vec<ArrayRef>> {
    let array = |keys: &[i64]| vec![Arc::new(Int64Array::from(keys.to_vec())) as ArrayRef];
    keys.chunks(BATCH_ROWS).map(array).collect()
}

/// A permutation of `0..rows` without pattern, for any number of rows.
fn shuffled(rows: usize) -> Vec<i64> {
    let mut keys: Vec<i64> = (0..rows as i64).collect();
    let mut state = 88_172_645_463_325_252_u64;
    for at in (1..rows).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        keys.swap(at, (state % (at as u64 + 1)) as usize);
    }
    keys
}

fn measure(name: &str, build: &[i64], probe: &[i64]) {
    let (build, probe_batches) = (batches(build), batches(probe));
    let rows: usize = build.iter().map(|batch| batch[0].len()).sum();
    let clock = Instant::now();
    let started = cpu_ns(clock);
    let table = block_on(JoinTable::build(build, false)).unwrap();
    let built = cpu_ns(clock) - started;
    let (mut matches, mut pairs, mut found) = (Matches::default(), Pairs::default(), 0);
    let started = cpu_ns(clock);
    for batch in &probe_batches {
        table.lookup(batch, &mut matches).unwrap();
        let mut cursor = Cursor::default();
        loop {
            pairs.clear();
            let ended = table.pairs(&matches, &mut cursor, false, BATCH_ROWS, &mut pairs);
            found += pairs.len();
            if ended {
                break;
            }
        }
    }
    let probed = cpu_ns(clock) - started;
    let started = cpu_ns(clock);
    let mut kept = 0;
    for batch in &probe_batches {
        kept += table.contains(batch).unwrap().count_set_bits();
    }
    let tested = cpu_ns(clock) - started;
    println!(
        "{name:28} {:7} build {:6.1} ns/row  probe {:6.1} ns/row  {found} pairs  test {:6.1} \
         ns/row  {kept} rows  {} MB",
        table.kind(),
        built as f64 / rows as f64,
        probed as f64 / probe.len() as f64,
        tested as f64 / probe.len() as f64,
        table.bytes() >> 20,
    );
}

fn main() {
    let sizes = [(28_000, 6_000_000), (1_500_000, 6_000_000), (15_000_000, 6_000_000)];
    for (build_rows, probe_rows) in sizes {
        let order = shuffled(build_rows);
        let by = |scale: i64| order.iter().map(|key| key * scale).collect::<Vec<_>>();
        let pick = shuffled(probe_rows);
        let probe = |scale: i64, spread: i64| {
            let rows = build_rows as i64 * spread;
            pick.iter().map(|row| row * 7_919 % rows * scale).collect::<Vec<_>>()
        };
        println!("build {build_rows} rows, probe {probe_rows}");
        measure("dense, all match", &by(1), &probe(1, 1));
        measure("dense, a tenth matches", &by(1), &probe(1, 10));
        measure("1 in 16, all match", &by(16), &probe(16, 1));
        measure("1 in 200, all match", &by(200), &probe(200, 1));
        measure("1 in 200, a tenth matches", &by(200), &probe(200, 10));
        measure("sparse, all match", &by(1_000_000_007), &probe(1_000_000_007, 1));
        measure("sparse, a tenth matches", &by(1_000_000_007), &probe(1_000_000_007, 10));
        let twice = |scale: i64| order.iter().map(|key| key / 2 * scale).collect::<Vec<_>>();
        measure("dense, two rows a key", &twice(1), &probe(1, 1));
        measure("sparse, two rows a key", &twice(1_000_000_007), &probe(1_000_000_007, 1));
    }
}
