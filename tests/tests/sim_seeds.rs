//! A range of seeds that must be clean in every build, and the proof that a seed is one story.

use sim::Keep;

/// So many seeds are run; more by `cargo run --release -p sim -- run`.
const SEEDS: u64 = 400;

#[test]
fn a_range_of_seeds_is_clean() {
    let (mut lives, mut executions, mut faults) = (0, 0, 0);
    for seed in 0..SEEDS {
        let report = sim::run(seed, Keep::Hash);
        assert_eq!(report.failure, None, "seed {seed}: cargo run --release -p sim -- replay {seed}");
        lives += u64::from(report.lives);
        executions += report.executions;
        faults += report.choices.iter().filter(|choice| choice.strikes()).count() as u64;
    }
    println!("{SEEDS} seeds: {lives} lives of sprag, {executions} commands, {faults} faults");
    let worth_it = lives > 2 * SEEDS && executions > 10 * SEEDS && faults > SEEDS;
    assert!(worth_it, "the worlds have become too kind: {lives} lives, {executions} commands, {faults} faults");
}

/// The second time among other seeds, in another order, and with every line kept.
#[test]
fn a_seed_is_one_story() {
    let first: Vec<_> = (0..20).map(|seed| (seed, sim::run(seed, Keep::Hash))).collect();
    for (seed, first) in first.iter().rev() {
        let second = sim::run(*seed, Keep::Calls);
        assert_eq!((first.hash, first.steps), (second.hash, second.steps), "seed {seed} was told in two ways");
        assert_eq!(second.lines.len(), second.steps as usize);
    }
    let mut hashes: Vec<u64> = first.iter().map(|(_, report)| report.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), first.len(), "two seeds tell the same story");
}

/// What a person reads: every line but the first few has a cause that came before it, and time does not go back.
#[test]
fn a_story_can_be_followed() {
    let report = sim::run(1, Keep::Lines);
    for pair in report.lines.windows(2) {
        assert!(pair[0].number < pair[1].number && pair[0].at_us <= pair[1].at_us, "{} then {}", pair[0], pair[1]);
    }
    let uncaused = report.lines.iter().filter(|line| line.cause == 0).count();
    assert!(uncaused < 20, "{uncaused} of {} lines have no cause", report.lines.len());
    assert!(report.lines.iter().all(|line| line.cause < line.number));
}
