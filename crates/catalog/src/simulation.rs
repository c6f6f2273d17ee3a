//! Simulation of the commit log: leaders that crash at any request, writes that were never
//! synced, puts that time out and did, did not or will yet apply, two leaders at once.
//!
//! Every seed is a history, repeated to the byte: nonces and times come from the seed too. The
//! oracle outside the catalog knows what each client was told: a commit answered with success is
//! there at the end, one answered with any error but 40003 is not, nobody ever saw a commit that
//! is not there, every file that a state names exists for as long as somebody may read it, and a
//! second, simpler reading of the log gives the same rows. The same histories run against
//! protocols with one rule broken, which must be caught.
//!
//! `BLUESHIFT_SEEDS` sets how many seeds, or which as `from..to`.

mod model;
pub(crate) mod store;
mod work;
mod world;

use std::ops::Range;

use crate::commit::Rules;
use world::{Faults, Scenario, Summary, World};

/// Histories of each scenario in the normal test run.
const SEEDS: u64 = 100_000;
/// From how many histories on every kind of state must have been reached.
const REACH_SEEDS: u64 = 1_000;
/// Histories until a broken rule must have been caught.
const MUTANT_SEEDS: u64 = 400;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn run(seed: u64, scenario: Scenario, rules: Rules, faults: Faults) -> Result<Summary, String> {
    runtime().block_on(World::new(seed, scenario, rules, faults).run())
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("BLUESHIFT_SEEDS") else { return 0..SEEDS };
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().unwrap();
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

/// What the histories reached, when they were enough to ask.
fn all_hold(scenario: Scenario) -> Option<Summary> {
    let mut total = Summary::default();
    let began = std::time::Instant::now();
    let seeds = seeds();
    let count = seeds.end.saturating_sub(seeds.start);
    for seed in seeds {
        match run(seed, scenario, Rules::default(), Faults::default()) {
            Ok(summary) => total.add(&summary),
            Err(violation) => panic!("{scenario:?}, seed {seed}: {violation}"),
        }
    }
    println!("{scenario:?}: {count} histories in {:?}: {total:?}", began.elapsed());
    if count < REACH_SEEDS {
        return None;
    }
    // The histories are worth something only while they reach these states.
    assert!(total.committed > count * 4 && total.unknown > count / 50, "{total:?}");
    assert!(total.checkpoints > count / 4 && total.removed > count / 10, "{total:?}");
    assert!(total.conflicts > count / 10 && total.read > count / 4, "{total:?}");
    Some(total)
}

#[test]
fn t1_power_loss_loses_or_invents_no_commit() {
    let total = all_hold(Scenario::PowerLoss);
    assert!(total.is_none_or(|total| total.power_losses * 2 > total.leaders));
}

#[test]
fn t2_failover_loses_or_invents_no_commit() {
    let total = all_hold(Scenario::Failover);
    assert!(total.is_none_or(|total| total.fenced * 8 > total.leaders));
}

#[test]
fn a_seed_is_repeated_to_the_byte() {
    for scenario in [Scenario::PowerLoss, Scenario::Failover] {
        for seed in 0..50 {
            let image = || {
                let world = World::new(seed, scenario, Rules::default(), Faults::default());
                let shared = world.shared();
                runtime().block_on(world.run()).unwrap();
                let shared = shared.lock().unwrap();
                shared.image()
            };
            let (first, second) = (image(), image());
            assert!(first == second, "{scenario:?}, seed {seed}");
            assert!(first.keys().any(|path| path.starts_with("catalog/log/")));
        }
    }
}

/// Runs histories under a broken rule and expects one of them to violate the oracle.
fn must_be_caught(name: &str, rules: Rules, faults: Faults) {
    let caught = |scenario| {
        (0..MUTANT_SEEDS).filter(|seed| run(*seed, scenario, rules, faults).is_err()).count()
    };
    let (power, failover) = (caught(Scenario::PowerLoss), caught(Scenario::Failover));
    println!("{name}: caught in {power} and {failover} of {MUTANT_SEEDS} histories");
    assert!(power + failover > 0, "the broken rule {name} was not caught");
}

/// One test for each rule of the protocol, with that rule off.
macro_rules! broken_rules {
    ($($test:ident: $rule:ident,)*) => {
        $(
            #[test]
            fn $test() {
                let rules = Rules { $rule: false, ..Rules::default() };
                must_be_caught(stringify!($rule), rules, Faults::default());
            }
        )*
    };
}

broken_rules! {
    a_put_error_taken_for_an_answer_is_caught: read_back,
    a_visible_record_taken_for_a_durable_one_is_caught: confirm,
    any_record_in_the_slot_taken_for_mine_is_caught: compare_identity,
    a_fenced_leader_that_goes_on_at_the_next_slot_is_caught: step_down,
    an_answer_before_the_put_is_caught: put_before_answer,
    a_head_published_before_the_put_is_caught: put_before_publish,
    a_new_nonce_for_a_repeated_put_is_caught: keep_nonce,
    an_unknown_outcome_reported_as_a_failure_is_caught: admit_unknown,
    a_start_without_an_epoch_record_is_caught: epoch_record,
    a_put_that_overwrites_is_caught: put_if_absent,
    commits_without_a_check_for_conflicts_are_caught: check_conflicts,
    collecting_what_readers_see_is_caught: wait_for_readers,
    collecting_what_another_table_names_is_caught: look_for_names,
    collecting_without_logged_intent_is_caught: log_intent,
    orphans_of_time_travel_removed_are_caught: keep_history,
}

#[test]
fn a_store_that_does_not_sync_is_caught() {
    let faults = Faults { store_syncs: false, ..Faults::default() };
    must_be_caught("store_syncs", Rules::default(), faults);
}

#[test]
fn collecting_the_files_of_running_loads_is_caught() {
    let faults = Faults { collect_old_epochs_only: false, ..Faults::default() };
    must_be_caught("collect_old_epochs_only", Rules::default(), faults);
}
