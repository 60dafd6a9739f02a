//! The tape: a run is its choices; a saved trace fails, is mended, or is stale; any bytes are a world.
#![cfg(test)]

use proptest::prelude::*;
use sim::failure::Check;
use sim::places::{Actor, Hazard, Site, What};
use sim::saved::{Trace, Verdict};
use sim::tape::Choice;
use sim::{Keep, Tape};

#[test]
fn a_seed_and_its_choices_are_one_run() {
    let mut strikes = 0;
    for seed in 0..40 {
        let first = sim::run(seed, Keep::Hash);
        let second = sim::run(first.tape(), Keep::Hash);
        assert_eq!((first.hash, first.steps), (second.hash, second.steps), "seed {seed}");
        assert_eq!(first.choices, second.choices, "seed {seed}");
        assert_eq!(second.unmet, [], "seed {seed}");
        strikes += first.choices.iter().filter(|choice| choice.strikes()).count();
    }
    assert!(strikes > 40, "only {strikes} faults in these seeds");
}

/// In the world of an empty tape one item is made, one command runs, nothing goes wrong.
#[test]
fn the_calmest_world_is_calm() {
    let report = sim::run(Tape::default(), Keep::Events);
    assert_eq!((report.failure, report.executions, report.lives), (None, 1, 1));
    assert_eq!(report.choices, []);
    assert!(report.events <= 12, "{} events, not a calm world: {:#?}", report.events, report.lines);
}

/// A trace of a run that is said to have failed.
fn trace(tape: Tape) -> Trace {
    let mut report = sim::run(tape, Keep::Events);
    report.failure = Some(Check::BecomesIdle.failed("is not idle"));
    Trace::of(&report, Some(7), None).unwrap_or_else(|| panic!("a run that fails has a trace"))
}

fn short_write(index: u32) -> Choice {
    Choice { actor: Actor::Sprag, what: What::Strikes(Hazard::WriteIsShort), index, value: 1 }
}

#[test]
fn a_saved_trace_is_read_again() {
    let trace = trace([short_write(0)].into_iter().collect());
    let text = trace.to_json().unwrap();
    assert_eq!(Trace::parse(&text), Ok(trace));
    let later = text.replacen("\"format\": 1", "\"format\": 2", 1);
    assert!(Trace::parse(&later).unwrap_err().contains("format 2"));
    assert!(Trace::parse(&text.replace("WriteIsShort", "WriteIsLoud")).is_err());
}

#[test]
fn a_trace_whose_choices_are_met_and_that_does_not_fail_is_mended() {
    assert_eq!(trace([short_write(0)].into_iter().collect()).replay(Keep::Hash).1, Verdict::Mended);
}

#[test]
fn a_trace_whose_choices_are_not_met_is_stale() {
    let with = |choices: &[Choice]| {
        let mut trace = trace(Tape::default());
        trace.choices = choices.to_vec();
        trace.replay(Keep::Hash).1
    };
    let verdict = with(&[short_write(0), short_write(1_000)]);
    let Verdict::Stale(why) = verdict else { panic!("{verdict:?}") };
    assert!(why.starts_with("1 of its choices are never met") && why.contains("WriteIsShort #1000"), "{why}");
    // Unless that was so when it was mended; and then it has to be so still.
    let mut far = trace(Tape::default());
    far.choices = vec![short_write(0), short_write(1_000)];
    let (mut report, verdict) = far.replay(Keep::Hash);
    report.failure = None;
    assert!(matches!(verdict, Verdict::Stale(_)), "{verdict:?}");
    let mut far = far.mended_in(&report);
    assert_eq!(Trace::parse(&far.to_json().unwrap()).as_ref(), Ok(&far));
    assert_eq!(far.replay(Keep::Hash).1, Verdict::Mended);
    far.choices.truncate(1);
    assert!(matches!(far.replay(Keep::Hash).1, Verdict::Stale(_)), "{far:?}");
    // A value that is out of its bounds by now is no better than one that is not drawn.
    let large = Choice { actor: Actor::World, what: What::Is(Site::Pipeline), index: 0, value: 1_000 };
    let verdict = with(&[large]);
    assert!(matches!(verdict, Verdict::Stale(_)), "{verdict:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// As a fuzzer feeds it: any bytes are a world, in it sprag keeps its promises, and it is the same world twice.
    #[test]
    fn any_bytes_are_a_world_in_which_all_is_well(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let report = sim::run(Tape::from_bytes(&bytes), Keep::Hash);
        prop_assert_eq!(&report.failure, &None);
        prop_assert_eq!(report.hash, sim::run(report.tape(), Keep::Hash).hash);
    }
}
