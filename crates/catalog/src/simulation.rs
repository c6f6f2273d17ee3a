//! Power-loss simulation of the commit log: leaders that crash at any request, writes that were
//! never synced, puts that time out and did, did not or will yet apply, two leaders at once.
//!
//! Every seed is a history. The oracle outside the catalog knows what each client was told: a
//! commit answered with success is there at the end, one answered with any error but 40003 is
//! not, nobody ever saw a commit that is not there, and every file that the state names exists.
//! The same histories run against protocols with one rule broken, which must be caught.

pub(crate) mod store;
mod world;

use crate::commit::Rules;
use world::{Faults, World};

/// Histories in the normal test run.
const SEEDS: u64 = 2_000;
/// Histories until a broken rule must have been caught.
const MUTANT_SEEDS: u64 = 600;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn run(seed: u64, rules: Rules, faults: Faults) -> Result<world::Summary, String> {
    runtime().block_on(World::new(seed, rules, faults).run())
}

#[test]
fn no_history_loses_or_invents_a_commit() {
    let mut total = world::Summary::default();
    for seed in 0..SEEDS {
        match run(seed, Rules::default(), Faults::default()) {
            Ok(summary) => total.add(&summary),
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
    }
    println!("{total:?}");
    // The histories are worth something only while they reach these states.
    assert!(total.committed > SEEDS * 4, "{total:?}");
    assert!(total.unknown > SEEDS / 10 && total.failed > SEEDS / 10, "{total:?}");
    assert!(total.fenced > SEEDS / 20 && total.checkpoints > SEEDS / 4, "{total:?}");
}

/// Runs histories under a broken rule and expects one of them to violate the oracle.
fn must_be_caught(name: &str, rules: Rules, faults: Faults) {
    let caught = (0..MUTANT_SEEDS).filter(|seed| run(*seed, rules, faults).is_err()).count();
    println!("{name}: caught in {caught} of {MUTANT_SEEDS} histories");
    assert!(caught > 0, "the broken rule {name} was not caught");
}

#[test]
fn a_put_error_taken_for_an_answer_is_caught() {
    let rules = Rules { read_back: false, ..Rules::default() };
    must_be_caught("read_back", rules, Faults::default());
}

#[test]
fn a_visible_record_taken_for_a_durable_one_is_caught() {
    let rules = Rules { confirm: false, ..Rules::default() };
    must_be_caught("confirm", rules, Faults::default());
}

#[test]
fn any_record_in_the_slot_taken_for_mine_is_caught() {
    let rules = Rules { compare_identity: false, ..Rules::default() };
    must_be_caught("compare_identity", rules, Faults::default());
}

#[test]
fn a_fenced_leader_that_goes_on_at_the_next_slot_is_caught() {
    let rules = Rules { step_down: false, ..Rules::default() };
    must_be_caught("step_down", rules, Faults::default());
}

#[test]
fn an_answer_before_the_put_is_caught() {
    let rules = Rules { put_before_answer: false, ..Rules::default() };
    must_be_caught("put_before_answer", rules, Faults::default());
}

#[test]
fn a_head_published_before_the_put_is_caught() {
    let rules = Rules { put_before_publish: false, ..Rules::default() };
    must_be_caught("put_before_publish", rules, Faults::default());
}

#[test]
fn a_new_nonce_for_a_repeated_put_is_caught() {
    let rules = Rules { keep_nonce: false, ..Rules::default() };
    must_be_caught("keep_nonce", rules, Faults::default());
}

#[test]
fn an_unknown_outcome_reported_as_a_failure_is_caught() {
    let rules = Rules { admit_unknown: false, ..Rules::default() };
    must_be_caught("admit_unknown", rules, Faults::default());
}

#[test]
fn a_start_without_an_epoch_record_is_caught() {
    let rules = Rules { epoch_record: false, ..Rules::default() };
    must_be_caught("epoch_record", rules, Faults::default());
}

#[test]
fn a_put_that_overwrites_is_caught() {
    let rules = Rules { put_if_absent: false, ..Rules::default() };
    must_be_caught("put_if_absent", rules, Faults::default());
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
