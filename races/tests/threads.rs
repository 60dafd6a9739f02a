//! Every row of R0 to R8: explored, and what comes out is what was measured of the original.

use sprag_races::Design;
use sprag_races::threads::{Expected, Verdict, scenarios};

#[expect(clippy::print_stdout, reason = "the count is part of the proof")]
fn explore(design: Design, planted: bool) {
    let mut wrong = Vec::new();
    for scenario in scenarios().into_iter().filter(|row| row.design == design && row.planted == planted) {
        let explored = scenario.explore();
        let line = format!(
            "{} {} {:?} {}: {} executions, {:?}",
            scenario.id, scenario.name, scenario.design, scenario.variant, explored.executions, explored.verdict
        );
        println!("{line}");
        if !scenario.is_as_expected(&explored) {
            wrong.push(format!("{line}, expected {:?} in {}", scenario.expected, scenario.executions_min));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_original_waits_as_it_was_measured_to() {
    explore(Design::Original, false);
}

#[test]
fn polling_mends_what_it_was_measured_to_mend() {
    explore(Design::Polling, false);
}

#[test]
fn sprag_never_waits_for_who_waits_for_it() {
    explore(Design::Sprag, false);
}

#[test]
fn a_bug_planted_in_sprags_design_is_found_in_each() {
    explore(Design::Sprag, true);
    let planted = |id: &str| scenarios().iter().any(|row| row.id == id && row.planted);
    assert!((0..=8).all(|number| planted(&format!("R{number}"))));
}

#[test]
fn each_of_r0_to_r8_is_there_in_each_design_that_has_it() {
    for number in 0..=8 {
        let id = format!("R{number}");
        let has = |design| scenarios().iter().any(|row| row.id == id && row.design == design);
        assert!(has(Design::Original) && has(Design::Sprag), "{id}");
        // There is nothing to mend in what is harmless.
        assert_eq!(has(Design::Polling), number > 0, "{id}");
    }
}

#[test]
fn the_story_as_it_was_told_is_no_deadlock() {
    for story in scenarios().iter().filter(|row| row.id == "R0" && !row.planted) {
        assert_eq!(story.expected, Expected::Clean);
        assert_eq!(story.explore().verdict, Verdict::Clean, "{}", story.variant);
    }
}
