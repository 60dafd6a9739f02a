//! The program itself: what it prints is the same in every process, and what came of it is said by its exit code.

#![cfg(test)]

use serde_json::Value;
use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(args).current_dir(std::env::temp_dir()).output();
    output.unwrap_or_else(|error| panic!("sim {args:?}: {error}"))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_story_is_the_same_bytes_in_two_processes() {
    for args in [&["replay", "42"][..], &["replay", "42", "--calls", "--json"]] {
        let (one, two) = (sim(args), sim(args));
        assert_eq!(code(&one), 0);
        assert!(one.stdout.len() > 10_000, "{}", text(&one));
        assert_eq!(one.stdout, two.stdout);
    }
    let checked = sim(&["check", "42"]);
    assert_eq!(code(&checked), 0, "{}", text(&checked));
    assert!(text(&checked).starts_with("seed 42: the same in two processes"), "{}", text(&checked));
    let json: Value = serde_json::from_str(&text(&sim(&["check", "42", "--json"]))).unwrap();
    assert_eq!((&json["subject"], &json["same"]), (&"seed 42".into(), &true.into()));
}

#[test]
fn every_line_of_json_is_an_object() {
    let replayed = text(&sim(&["replay", "3", "--events", "--json"]));
    let lines: Vec<Value> = replayed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, events) = lines.split_last().unwrap();
    assert!(events.iter().all(|event| event["actor"].is_string() && event["at_us"].is_u64()), "{replayed}");
    assert!(end["failure"].is_null() && end["hash"].is_string(), "{end}");
}

#[test]
fn seeds_are_run_twice_in_another_order_and_told_in_json() {
    let run = sim(&["run", "--seeds", "40", "--twice", "1", "--json"]);
    assert_eq!(code(&run), 0, "{}", text(&run));
    let summary: Value = serde_json::from_str(text(&run).trim()).unwrap();
    assert_eq!((&summary["seeds"], &summary["twice"], &summary["differ"]), (&40.into(), &40.into(), &0.into()));
}

#[test]
fn a_range_in_which_a_state_is_not_seen_fails_and_says_which() {
    let run = sim(&["run", "--seeds", "1", "--twice", "0", "--marks"]);
    assert_eq!(code(&run), 1);
    assert!(text(&run).contains("    never: "), "{}", text(&run));
}

#[test]
fn what_is_no_seed_and_no_trace_is_refused() {
    for command in ["replay", "check", "shrink"] {
        let none = sim(&[command, "no-such-trace.json"]);
        assert_eq!(code(&none), 2, "{command}");
        assert!(complaint(&none).contains("no-such-trace.json"), "{}", complaint(&none));
    }
    assert_eq!(code(&sim(&["run", "--seeds", "many"])), 2);
    assert_eq!(code(&sim(&["walk"])), 2);
    assert_eq!(code(&sim(&["replay", "1", "--events", "--calls"])), 2);
}

#[test]
#[cfg(not(feature = "planted"))]
fn without_planted_bugs_it_says_how_to_have_them() {
    for args in [&["mutants"][..], &["mutants", "TornRead", "--quick"]] {
        let mutants = sim(args);
        assert_eq!(code(&mutants), 2);
        assert!(complaint(&mutants).contains("--features planted"), "{}", complaint(&mutants));
    }
    assert!(text(&sim(&["--help"])).contains("mutants"));
}

#[test]
fn a_seed_that_does_not_fail_cannot_be_shrunk() {
    let shrunk = sim(&["shrink", "1"]);
    assert_eq!(code(&shrunk), 0);
    assert!(complaint(&shrunk).contains("does not fail"), "{}", complaint(&shrunk));
}

#[test]
fn what_is_in_the_way_is_an_object_too() {
    for (args, expected, why) in [
        (&["shrink", "1", "--json"][..], 0, "does not fail"),
        (&["replay", "no-such-trace.json", "--json"], 2, "no-such-trace.json"),
        (&["check", "no-such-trace.json", "--json"], 2, "no-such-trace.json"),
        (&["replay", "R99", "--json"], 2, "R99"),
        (&["replay", "--incident", "no-such-folder", "--json"], 2, "no-such-folder"),
        (&["run", "--seeds", "many", "--json"], 2, "many"),
    ] {
        let output = sim(args);
        assert_eq!(code(&output), expected, "{args:?}");
        let said: Value = serde_json::from_str(&text(&output)).unwrap();
        assert!(said["error"].as_str().unwrap().contains(why), "{args:?}: {said}");
        assert!(complaint(&output).contains(why), "{args:?}: {}", complaint(&output));
    }
}

#[test]
fn help_says_what_exit_codes_mean_and_gives_examples() {
    let help = text(&sim(&["--help"]));
    for line in ["0  all is well", "1  a run failed", "2  wrong usage", "3  two runs", "4  a saved trace is stale"] {
        assert!(help.contains(line), "{line} is not in {help}");
    }
    for command in ["run", "replay", "check", "shrink"] {
        let help = text(&sim(&[command, "--help"]));
        assert!(help.contains("Example") && help.contains(&format!("sim {command} ")), "{help}");
    }
}

#[test]
fn a_page_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("story.html");
    let replay = sim(&["replay", "7", "--html", &page.to_string_lossy()]);
    assert_eq!(code(&replay), 0, "{}", text(&replay));
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("\"title\":\"seed 7: all is well\""));
    assert!(!html.contains("src=") && !html.contains("href="), "the page asks for something else");
}

/// With a bug in it: `cargo test --release -p sim --features planted --test cli`.
#[cfg(feature = "planted")]
mod planted {
    use super::*;

    #[test]
    fn a_simulator_that_leaks_is_caught_and_the_first_difference_is_shown() {
        for leak in ["RealClock", "HashOrder"] {
            let run = sim(&["run", "--seeds", "300", "--twice", "1", "--plant", leak]);
            assert_eq!(code(&run), 3, "{leak}: {}", text(&run));
        }
        let run = sim(&["run", "--seeds", "4", "--plant", "RealClock", "--json"]);
        let lines: Vec<Value> = text(&run).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told = lines.iter().filter(|line| line["same"] == false && line["seed"].is_u64()).count();
        assert_eq!(Some(told as u64), lines.last().unwrap()["differ"].as_u64(), "{}", text(&run));
        assert!(told > 1, "every seed looks at the clock: {}", text(&run));
        let check = sim(&["check", "42", "--plant", "RealClock"]);
        assert_eq!(code(&check), 3);
        assert!(text(&check).contains("the first difference"), "{}", text(&check));
    }

    #[test]
    fn a_failure_leaves_a_trace_that_fails_again_shrinks_and_becomes_stale() {
        let folder = tempfile::tempdir().unwrap();
        let traces = folder.path().to_string_lossy().into_owned();
        let run = sim(&["run", "--seeds", "20", "--twice", "0", "--plant", "TornRead", "--traces", &traces]);
        assert_eq!(code(&run), 1);
        let first = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let first = first.to_string_lossy().into_owned();
        assert_eq!(code(&sim(&["replay", &first])), 1);
        let small = folder.path().join("small.json").to_string_lossy().into_owned();
        let shrunk = sim(&["shrink", &first, "--runs", "3000", "--out", &small]);
        assert_eq!(code(&shrunk), 1, "{}", text(&shrunk));
        let again = sim(&["replay", &small, "--events"]);
        assert_eq!(code(&again), 1, "{}", text(&again));
        assert!(text(&again).contains("fails as it did when it was saved"), "{}", text(&again));
        // What never happens in that world says nothing.
        let saved = std::fs::read_to_string(&small).unwrap();
        let added = saved.replacen("\"choices\": [", "\"choices\": [\n    [\"sprag\",\"CallFails\",99999,1],", 1);
        assert_ne!(saved, added);
        std::fs::write(&small, added).unwrap();
        assert_eq!(code(&sim(&["replay", &small])), 4);
    }

    #[test]
    fn a_hunt_that_finds_says_where_and_no_bug_is_called_what_it_is_not() {
        let hunted = sim(&["mutants", "TornRead", "--quick", "--json"]);
        assert_eq!(code(&hunted), 0, "{}", text(&hunted));
        let told: Value = serde_json::from_str(text(&hunted).trim()).unwrap();
        assert_eq!((&told["planted"], &told["missed"]), (&"TornRead".into(), &Value::Null));
        let none = sim(&["mutants", "NoSuchBug"]);
        assert_eq!(code(&none), 2);
        assert!(complaint(&none).contains("TornRead"), "{}", complaint(&none));
    }
}
