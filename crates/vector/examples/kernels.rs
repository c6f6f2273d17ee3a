//! CPU time of kernels, in nanoseconds a row on one thread: `cargo run --release -p vector
//! --example kernels`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for a person")]

use vector::{
    Accumulator, AccumulatorKind, ArithOp, Bounds, CodedGroups, Expr, GroupNumbers, Grouper,
    KeyKind, Kind, Limits, Program, Registers, VECTOR_ROWS, Vector,
};

const ROWS: usize = 1 << 21;
/// The clock of a thread has few ticks.
const TURNS: usize = 16;

fn measure(name: &str, mut run: impl FnMut()) {
    run();
    let mut best = f64::MAX;
    for _ in 0..5 {
        let started = cpu_ns();
        (0..TURNS).for_each(|_| run());
        best = best.min(cpu_ns() - started);
    }
    println!("{name:44} {:6.2} ns a row", best / (ROWS * TURNS) as f64);
}

/// What this thread has run so far; time that others took does not count.
fn cpu_ns() -> f64 {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn vectors(below: u64) -> Vec<Vector> {
    let mut seed = 0x9E37_79B9_7F4A_7C15 ^ below;
    let make = |_| {
        let mut vector = Vector::default();
        let bounds = Bounds { low: 0, high: i128::from(below) };
        let values = (0..VECTOR_ROWS).map(|_| (random(&mut seed) % below) as i64);
        vector.start_narrow(bounds).extend(values);
        vector
    };
    (0..ROWS / VECTOR_ROWS).map(make).collect()
}

fn arith(op: ArithOp, left: Expr, right: Expr) -> Expr {
    Expr::Arith { op, left: left.into(), right: right.into(), limits: Limits::DECIMAL }
}

fn programs() {
    let (price, discount, tax) = (vectors(10_000_000), vectors(11), vectors(9));
    let less = arith(ArithOp::Sub, Expr::Int(100), Expr::Input(1));
    let more = arith(ArithOp::Add, Expr::Int(100), Expr::Input(2));
    let net = arith(ArithOp::Mul, Expr::Input(0), less);
    let outputs = [net.clone(), arith(ArithOp::Mul, net, more)];
    let program = Program::compile(&[Kind::Int; 3], &outputs).unwrap();
    let mut registers = Registers::new(&[&program]);
    measure("price * (1 - discount) * (1 + tax)", || {
        for at in 0..price.len() {
            for (place, column) in [&price, &discount, &tax].into_iter().enumerate() {
                let from = &column[at];
                registers.get_mut(place).start_narrow(from.bounds()).extend(from.narrow());
            }
            program.run(&mut registers, VECTOR_ROWS).unwrap();
        }
    });
}

fn groups(name: &str, below: u64, columns: usize, range: bool) {
    let keys: Vec<Vec<Vector>> = (0..columns).map(|n| vectors(below + n as u64)).collect();
    let kinds = vec![(KeyKind::Full, false); columns];
    let fresh = || {
        let mut grouper = Grouper::new(&kinds);
        if range {
            grouper.expect_range(0, below as i64, 1 << 30);
        }
        grouper
    };
    let mut known = fresh();
    for again in [false, true] {
        let name = format!("{name}{}", if again { ", again" } else { "" });
        measure(&name, || {
            if !again {
                known = fresh();
            }
            let grouper = &mut known;
            for at in 0..keys[0].len() {
                let keys: Vec<&Vector> = keys.iter().map(|column| &column[at]).collect();
                grouper.assign(&keys, VECTOR_ROWS).unwrap();
            }
        });
    }
}

fn coded() {
    let codes = [vectors(3), vectors(2)];
    measure("2 keys of dictionaries", || {
        let mut grouper = Grouper::new(&[(KeyKind::Small, true); 2]);
        let mut lookup = CodedGroups::new(vec![vec![7, 8, 9], vec![1, 2]]).unwrap();
        for (first, second) in codes[0].iter().zip(&codes[1]) {
            grouper.assign_coded(&[first, second], &mut lookup, VECTOR_ROWS).unwrap();
        }
    });
}

fn sums(name: &str, below: u64) {
    let values = vectors(1_000);
    let numbers: Vec<Vec<u32>> = vectors(below)
        .iter()
        .map(|vector| vector.narrow().iter().map(|value| *value as u32).collect())
        .collect();
    measure(name, || {
        let mut sum = Accumulator::new(AccumulatorKind::Sum, true);
        for (values, numbers) in values.iter().zip(&numbers) {
            let groups = GroupNumbers::Each { numbers, groups: below as usize };
            sum.update(groups, Some(values), None, VECTOR_ROWS).unwrap();
        }
    });
}

fn main() {
    programs();
    coded();
    groups("2 keys, 2 x 3 values", 2, 2, false);
    groups("1 key, 1,000 values", 1_000, 1, false);
    groups("1 key, 1,000,000 values", 1_000_000, 1, false);
    groups("1 key, 1,000,000 values, known range", 1_000_000, 1, true);
    groups("2 keys, 1,000 values each", 1_000, 2, false);
    sums("sum, 4 groups", 4);
    sums("sum, 1,000 groups", 1_000);
    sums("sum, 1,000,000 groups", 1_000_000);
}
