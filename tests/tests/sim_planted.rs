//! Each planted bug is found, by the check that is there for it.
//!
//! Only with the feature `planted`: `cargo test --release -p sprag-tests --features planted --test sim_planted -- --show-output`
//! prints how many seeds each took. The feature is off everywhere else, and so are the bugs.

#![expect(clippy::print_stdout, reason = "how long each bug hid is what one wants to see")]

use sim::Keep;
use sprag_core::{Bug, plant};

/// No bug may hide from more seeds than these.
const SEEDS_MAX: u64 = 3_000;
/// The control must be clean for so many.
const CONTROL_SEEDS: u64 = 600;

/// Runs seeds until one fails; says how many it took, and what was wrong.
fn hunt(bug: Bug, seeds_max: u64) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (0..seeds_max).find_map(|seed| Some((seed + 1, sim::run(seed, Keep::Hash).failure?.to_string())));
    plant(None);
    found
}

/// `words`: one of them stands in what the simulator says.
fn found(bug: Bug, words: &[&str]) {
    let Some((seeds, what)) = hunt(bug, SEEDS_MAX) else { panic!("{bug:?} was not found in {SEEDS_MAX} seeds") };
    println!("{bug:?}: {seeds} seeds: {what}");
    assert!(words.iter().any(|word| what.contains(word)), "{bug:?} was found for another reason: {what}");
    let seed = seeds - 1;
    assert_eq!(sim::run(seed, Keep::Hash).failure, None, "seed {seed} fails without the bug too");
}

#[test]
fn without_the_periodic_look_and_without_lost_events_all_is_well() {
    assert_eq!(hunt(Bug::NoRescan, CONTROL_SEEDS), None);
}

#[test]
fn a_lost_wake_up_is_found() {
    found(Bug::LostWakeUp, &["is not idle", "made no job"]);
}

#[test]
fn a_look_before_the_watch_is_found() {
    found(Bug::LookBeforeArm, &["is not idle", "made no job"]);
}

#[test]
fn a_torn_read_that_is_taken_is_found() {
    found(Bug::TornRead, &["never stood in a whole file", "stood in no whole file"]);
}

#[test]
fn a_source_that_dies_of_a_torn_read_is_found() {
    found(Bug::ParseErrorEndsSource, &["is not idle", "made no job"]);
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    found(Bug::AckBeforeSync, &["before its record"]);
}

#[test]
fn a_segment_whose_name_is_not_synced_is_found() {
    found(Bug::NameNotSynced, &["before its record", "no record says so"]);
}

#[test]
fn two_attempts_that_overlap_are_found() {
    found(Bug::ProofSkipped, &["while another lives"]);
}

#[test]
fn a_result_that_is_not_synced_is_found() {
    found(Bug::ResultNotSynced, &["could not be put at its destination", "holds"]);
}

#[test]
fn filler_that_a_failed_sync_dropped_is_found() {
    found(Bug::FillerTrusted, &["refuses what a crash may leave"]);
}

#[test]
fn a_busy_loop_is_found() {
    found(Bug::BusyLoop, &["busy loop"]);
}

/// A bug that is not in the list above has no test.
#[test]
fn every_bug_has_its_test() {
    let text = include_str!("sim_planted.rs");
    for bug in Bug::ALL {
        assert!(text.contains(&format!("Bug::{bug:?},")), "{bug:?} has no test");
    }
}
