//! The shipped binary on a disk that fails: an error from a sync, a kill at every sync and rename, a damaged journal.
//!
//! Errors are injected by `strace`, outside the program under test. Where it is not to be had, that is said aloud.

use crate::support::{Answer, Pipeline, lines};
use std::fs;
use std::process::Command;

const ITEMS: usize = 6;

fn pipeline() -> Pipeline {
    let pipeline = Pipeline::new(
        "[queue.work]\ncommand = [\"cat\"]\nconcurrency = 2\noutput = \"done/{key}\"\n\
         [[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"work\"\nkey = \"/id\"\n",
    );
    let items: Vec<String> = (0..ITEMS).map(|n| format!("{{\"id\":\"i{n}\"}}")).collect();
    pipeline.write("items.json", &format!("[{}]", items.join(",")));
    pipeline
}

/// `sprag run --until-idle` under strace with this injection; `None` where there is no strace that may trace.
#[expect(clippy::print_stdout, reason = "a skip is said aloud")]
fn run_with(pipeline: &Pipeline, inject: &str) -> Option<Answer> {
    let may_trace =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|end| end.success());
    if !may_trace {
        println!("SKIPPED: no strace that may trace; install it to run this test");
        return None;
    }
    let calls = inject.split_once(':')?.0;
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &format!("inject={inject}")]);
    command.arg(env!("CARGO_BIN_EXE_sprag")).args(["run", "--until-idle"]).current_dir(pipeline.path(""));
    Some(pipeline.finish(command))
}

/// A plain run ends well, and every item has exactly one success on record.
fn assert_recovers(pipeline: &Pipeline, after: &str) {
    let answer = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(answer.code, Some(0), "after {after}: {answer:?}");
    let journal = pipeline.read(".sprag/journal/00000001.jsonl");
    let successes = lines(&journal).iter().filter(|record| record["next"] == "succeeded").count();
    assert_eq!(successes, ITEMS, "after {after}");
    for item in 0..ITEMS {
        assert_eq!(pipeline.read(&format!("done/i{item}")), format!("{{\"id\":\"i{item}\"}}"), "after {after}");
    }
}

#[test]
fn an_error_from_a_sync_ends_the_process_and_a_restart_recovers() {
    for when in 1..=4 {
        let pipeline = pipeline();
        let Some(answer) = run_with(&pipeline, &format!("fdatasync:error=EIO:when={when}+")) else { return };
        assert_eq!(answer.code, Some(6), "{answer:?}");
        assert!(answer.err.contains("journal"), "{answer:?}");
        assert_recovers(&pipeline, &format!("EIO from sync {when} on"));
    }
}

#[test]
fn killed_at_every_sync_and_rename_it_recovers() {
    let mut points = 0;
    for call in ["fdatasync", "fsync", "rename,renameat,renameat2"] {
        for when in 1.. {
            let pipeline = pipeline();
            let Some(answer) = run_with(&pipeline, &format!("{call}:signal=KILL:when={when}")) else { return };
            if answer.code == Some(0) {
                break;
            }
            points += 1;
            assert_recovers(&pipeline, &format!("a kill at {call} {when}"));
            assert!(when < 200, "{call} goes on and on");
        }
    }
    assert!(points > 10, "only {points} points");
    println!("{points} points");
}

#[test]
fn a_damaged_journal_is_refused_by_file_offset_and_sequence() {
    let pipeline = pipeline();
    assert_recovers(&pipeline, "nothing");
    let path = pipeline.path(".sprag/journal/00000001.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    for args in [&["run", "--until-idle"][..], &["list"], &["journal", "verify"]] {
        let answer = pipeline.sprag(args);
        assert_eq!(answer.code, Some(5), "{args:?}: {answer:?}");
        for word in ["00000001.jsonl", "offset", "sequence"] {
            assert!((answer.err.clone() + &answer.out).contains(word), "{args:?}: no {word} in {answer:?}");
        }
    }
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was guessed over");
}
