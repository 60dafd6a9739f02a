//! A range of seeds that must be clean in every build, and the proof that a seed is one story.

use sim::Keep;
use sim::places::Actor;
use sim::trace::Kind;

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

/// While sprag is stopped nothing of it happens, whatever others do meanwhile; and it lasts longer when the machine sleeps.
#[test]
fn a_stopped_sprag_does_nothing() {
    let number = |text: &str| text.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let (mut windows, mut others) = (0, 0);
    for seed in 0..60 {
        let mut until_us = 0;
        for line in sim::run(seed, Keep::Calls).lines {
            let stopped = line.at_us < until_us;
            if line.text.starts_with("sprag is stopped for") {
                windows += 1;
                until_us = until_us.max(line.at_us + number(&line.text));
            } else if line.text.starts_with("the machine sleeps for") && stopped {
                until_us += number(&line.text) * 1000;
            } else if stopped {
                others += 1;
                // That something of it will take long is decided when it is handed to it.
                let works = line.actor == Actor::Sprag && line.kind != Kind::Fault;
                assert!(!works, "seed {seed}: sprag is stopped until {until_us} us, and yet: {line}");
            }
        }
    }
    assert!(windows >= 5 && others >= 50, "sprag is stopped too rarely: {windows} times, {others} lines meanwhile");
}
