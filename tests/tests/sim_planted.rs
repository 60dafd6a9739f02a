//! Planted bugs: that all are found is for `sim mutants` to say; here, that it would say so if one were not.
//!
//! Only with the feature `planted`: `cargo test --release -p sprag-tests --features planted --test sim_planted`. The feature
//! is off everywhere else, and so are the bugs.

use sim::explore::{Bound, Level, searches};
use sim::failure::Check;
use sim::mutants::{Effort, hunt};
use sim::saved::{Trace, Verdict};
use sim::shrink::EVENTS_MAX;
use sim::{Keep, run};
use sprag_core::{Bug, Role, plant};

/// No fewer bugs are alive.
const BUGS_MIN: usize = 25;

#[test]
fn a_bug_is_found_and_shrinks_to_a_story_for_a_person() {
    let hunt = hunt(Bug::AckBeforeSync, Effort::Starts(2));
    assert_eq!((hunt.missed.as_ref(), hunt.seeds.len()), (None, 2));
    assert!(hunt.checks.contains_key(&Check::DurableFirst), "{:?}", hunt.checks);
    let shrunk = hunt.shrink().unwrap();
    assert!(shrunk.report.events <= EVENTS_MAX, "{} events", shrunk.report.events);
    assert!(shrunk.report.failure.is_some());
}

#[test]
fn a_bug_that_is_not_found_is_missed() {
    let mut lost = hunt(Bug::NoRescan, Effort::Starts(1));
    assert_eq!(lost.missed, None, "the control fails");
    lost.starts(1, 20);
    assert!(lost.missed.unwrap().contains("not found in the 20 seeds"));
}

/// What `sim_traces` replays is worth it: with the bug put back each trace fails as it did.
#[test]
fn a_kept_trace_fails_with_its_bug() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/traces");
    let mut failed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(trace) = path
            .extension()
            .filter(|extension| *extension == "json")
            .map(|_| Trace::parse(&std::fs::read_to_string(&path).unwrap()).unwrap())
        else {
            continue;
        };
        let Some(bug) = &trace.planted else { continue };
        plant(Bug::ALL.iter().find(|known| format!("{known:?}") == *bug).copied());
        let verdict = trace.replay(Keep::Hash).1;
        plant(None);
        assert_eq!(verdict, Verdict::Fails, "{}", path.display());
        failed += 1;
    }
    assert!(failed > 0, "no trace was recorded with a planted bug");
}

/// Bugs that hide from thousands of seeds, and one on each level that does not; each told as a story of a few steps.
/// One more hides like that, `StrictForgotten`: it takes a minute to be found, and `sim mutants` sees to it.
#[test]
fn a_search_finds_what_seeds_do_not() {
    let hidden = [
        (Bug::CancelMissesStart, Level::Machine),
        (Bug::ReservationCounts, Level::Machine),
        (Bug::ProofAskedOnce, Level::Machine),
        (Bug::NamesTrusted, Level::Disks),
        (Bug::SnapshotUnverified, Level::Disks),
    ];
    for (bug, level) in hidden {
        plant(Some(bug));
        let plans = searches(Bound::Full).into_iter().filter(|plan| plan.level() == level);
        let found = plans.map(|plan| plan.run(&mut |_, _| {})).find(|search| !search.is_well());
        plant(None);
        let search = found.unwrap();
        assert_eq!(search.cut, None, "{bug:?}");
        let finding = search.finding.unwrap();
        let steps = finding.story.len() as u32;
        assert!((1..=EVENTS_MAX).contains(&steps), "{bug:?} in {}:\n{finding}", search.name);
    }
}

#[test]
fn a_leak_is_two_runs_that_differ() {
    for leak in [Bug::HashOrder, Bug::RealClock] {
        assert_eq!(hunt(leak, Effort::Starts(1)).missed, None, "{leak:?}");
    }
}

/// What is wrong with the loop on tokio or with the API is found in tier 2, and nothing of it is to be seen in tier 1.
#[test]
fn bugs_of_the_adapter_are_found_on_the_network_alone() {
    for bug in Bug::ALL.iter().copied().filter(|bug| bug.is_of_the_adapter()) {
        let hunt = hunt(bug, Effort::Starts(1));
        assert_eq!(hunt.missed, None, "{bug:?}");
        assert!(hunt.seeds[0] <= 200, "{bug:?} hid for {} seeds", hunt.seeds[0]);
        plant(Some(bug));
        let found = (0..60).find(|seed| run(*seed, Keep::Hash).failure.is_some());
        plant(None);
        assert_eq!(found, None, "{bug:?} is found in tier 1");
    }
}

/// A saved trace means the same after somebody adds a choice somewhere.
#[test]
fn a_new_choice_without_effect_moves_no_other() {
    for seed in 0..60 {
        plant(None);
        let before = run(seed, Keep::Hash);
        plant(Some(Bug::SpareChoice));
        let after = run(seed, Keep::Hash);
        plant(None);
        assert_eq!((before.hash, before.steps), (after.hash, after.steps), "seed {seed}");
        assert_ne!(before.choices.len(), after.choices.len(), "seed {seed}: nothing was added");
    }
}

/// It is made by `sim mutants --table`; what it says of each is not looked at here.
#[test]
fn the_page_of_planted_bugs_has_a_row_for_each() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/planted-bugs.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let named = |row: &&str| row.trim_start_matches("| `").split('`').next().unwrap_or_default().to_owned();
    assert_eq!(
        rows.iter().map(named).collect::<Vec<_>>(),
        Bug::ALL.iter().map(|bug| format!("{bug:?}")).collect::<Vec<_>>()
    );
    assert!(rows.iter().all(|row| !row.contains("MISSED")), "a bug is missed");
}

#[test]
fn there_are_enough() {
    assert!(Bug::ALL.iter().filter(|bug| bug.role() == Role::Bug).count() >= BUGS_MIN);
}
