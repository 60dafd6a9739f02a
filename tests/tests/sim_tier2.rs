//! The loop and the API as they ship, on the simulated network: clean, the same twice, and deciding what tier 1 decides.

use sim::tier2::{Way, run};
use sim::trace::Kind;
use sim::{Keep, Report, Script};

/// So many seeds are run; more by `cargo run --release -p sim -- run --tier 2`.
const SEEDS: u64 = 150;
/// So many are held against tier 1.
const COMPARED: u64 = 120;

#[test]
fn a_range_of_seeds_is_clean_on_a_rough_network() {
    let (mut lives, mut executions) = (0, 0);
    for seed in 0..SEEDS {
        let report = sim::run(Script::Networked(seed), Keep::Hash);
        assert_eq!(report.failure, None, "seed {seed}: cargo run --release -p sim -- replay {seed} --tier 2");
        lives += u64::from(report.lives);
        executions += report.executions;
    }
    println!("{SEEDS} seeds: {lives} lives of sprag, {executions} commands");
    assert!(lives > 2 * SEEDS && executions > 8 * SEEDS, "the worlds have become too kind: {lives}, {executions}");
}

#[test]
fn the_same_seed_is_the_same_story_to_the_byte() {
    let text = |report: &Report| report.lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let first: Vec<_> = (0..12).map(|seed| (seed, sim::run(Script::Networked(seed), Keep::Calls))).collect();
    for (seed, first) in first.iter().rev() {
        let second = sim::run(Script::Networked(*seed), Keep::Calls);
        assert_eq!((first.hash, first.steps), (second.hash, second.steps), "seed {seed} was told in two ways");
        assert!(text(first) == text(&second), "seed {seed}: the hashes agree and the lines do not");
    }
}

/// The worlds have what they are for, and more is asked than in tier 1.
#[test]
fn the_network_is_rough() {
    let mut told = String::new();
    for seed in 0..60 {
        let report = sim::run(Script::Networked(seed), Keep::Lines);
        report.lines.iter().for_each(|line| told.push_str(&format!("{}\n", line.text)));
    }
    let wanted = [
        "the network: Parted",
        "the network: Deaf",
        "the network: Held",
        "a rude client: Silent",
        "a rude client: HalfHeader",
        "a rude client: HalfBody",
        "a rude client: HangsUp",
        "a rude client: NeverReads",
        "a rude client: Junk",
        "is not answered in time",
        "hangs up in the middle of a line",
        "a stream of 2 lines is acknowledged",
        "is answered: Reply(Added(",
        // Asked again, and done once.
        "is answered: Reply(Known(",
        "is answered: Reply(Conflict(",
    ];
    let missing: Vec<&str> = wanted.into_iter().filter(|wanted| !told.contains(wanted)).collect();
    assert!(missing.is_empty(), "never seen in 60 seeds: {missing:?}");
}

/// A tape knows that it is one of tier 2, and makes the same run again.
#[test]
fn a_tape_makes_the_same_run_on_the_network() {
    for seed in 0..10 {
        let first = sim::run(Script::Networked(seed), Keep::Hash);
        let second = sim::run(first.tape(), Keep::Hash);
        assert_eq!((first.hash, first.steps), (second.hash, second.steps), "seed {seed}");
        assert_eq!(second.unmet, [], "seed {seed}");
    }
}

/// Everything that both tiers tell: what the loop hears, what it has done, by whom and to the microsecond; every system call.
/// Apart from what only one of them sees: what is told to clients and listeners.
fn told(report: &Report) -> Vec<String> {
    let only_one = ["held up by", "gives up waiting for", "tells of", "answers request"];
    let both = report.lines.iter().filter(|line| {
        let answered = line.kind == Kind::Step && line.text.starts_with("request ");
        !answered && !only_one.iter().any(|begin| line.text.starts_with(begin))
    });
    let told = both.map(|line| {
        // Each tier numbers requests by itself.
        let text = match line.text.split_once("request ") {
            Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
            None => line.text.clone(),
        };
        format!("{:>10} {:<10} {text}", line.at_us, line.actor.to_string())
    });
    told.collect()
}

/// The adapter's loop tells its driver a tick before anything else, and that the machine slept together with what woke it; in
/// tier 1 anything may come first, and each is a step.
fn is_told_in_another_order(report: &Report) -> bool {
    let mut begun = true;
    report.lines.iter().any(|line| {
        let other = line.kind == Kind::Heard && (!begun || line.text.starts_with("the machine slept"));
        if line.text.starts_with("has opened its journal") {
            begun = false;
        }
        if line.kind == Kind::Heard && line.text == "tick" {
            begun = true;
            return false;
        }
        other
    })
}

#[test]
fn with_a_network_that_takes_no_time_everything_is_as_in_tier_1() {
    let mut compared = 0;
    for seed in 0..COMPARED {
        let (one, two) = (sim::run(seed, Keep::Calls), run(seed, Way::Still, Keep::Calls));
        if is_told_in_another_order(&one) {
            continue;
        }
        compared += 1;
        let (one, two) = (told(&one), told(&two));
        let at = one.iter().zip(&two).position(|(one, two)| one != two).unwrap_or(one.len().min(two.len()));
        assert_eq!(one.get(at), two.get(at), "seed {seed}, line {at} of {} and {}", one.len(), two.len());
    }
    println!("{compared} of {COMPARED} seeds are the same");
    assert!(compared > COMPARED / 3, "only {compared} of {COMPARED} seeds can be compared");
}
