//! The shipped binary on a disk that fails: an error from a sync, a kill at every sync and rename, a damaged journal.
//!
//! Errors are injected by `strace`, outside the program under test. Where it is not to be had, that is said aloud.

use crate::api::ask;
use crate::support::{Answer, Pipeline, lines, names, until};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

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

/// What a queue is asked to do, job by job, and what was acknowledged.
#[derive(Default)]
struct Adder {
    acked: BTreeSet<String>,
    refused: usize,
}

impl Adder {
    /// Adds one more job, with a payload of so many bytes. Whether it was taken.
    fn add(&mut self, pipeline: &Pipeline, bytes: usize) -> bool {
        let key = format!("k{}", self.acked.len());
        let body = format!(r#"{{"payload":"{}","key":"{key}"}}"#, "x".repeat(bytes));
        match ask(pipeline, "POST", "/v1/queues/q/jobs", &body) {
            (200 | 201, _) => self.acked.insert(key),
            (507, _) => {
                self.refused += 1;
                false
            }
            other => panic!("{other:?}"),
        }
    }

    /// Adds until so many jobs were taken in all.
    fn add_until(&mut self, pipeline: &Pipeline, count: usize, bytes: usize) {
        until(&format!("{count} jobs are taken; {}", pipeline.path("").display()), || {
            while self.acked.len() < count && self.add(pipeline, bytes) {}
            self.acked.len() >= count
        });
    }
}

/// The files that commands have written, one for each key.
fn done(pipeline: &Pipeline) -> BTreeSet<String> {
    fs::read_to_string(pipeline.path("done")).unwrap_or_default().lines().map(String::from).collect()
}

fn reasons(pipeline: &Pipeline) -> String {
    let (_, status) = ask(pipeline, "GET", "/v1/status", "");
    status["reasons"].to_string()
}

#[test]
fn a_disk_that_somebody_else_fills_and_empties_costs_time_and_nothing_else() {
    let config = "[queue.q]\ncommand = [\"sh\", \"-c\", \"echo $SPRAG_JOB to the log >&2; echo $SPRAG_KEY >> done\"]\n\
                  retry = { attempts = 1000, backoff = \"100ms\", max = \"200ms\" }\n";
    let Some(pipeline) = Pipeline::on_a_disk_of("2m", config) else { return };
    let running = pipeline.start(&[]);
    let mut adder = Adder::default();
    adder.add_until(&pipeline, 50, 300);
    // Somebody else writes until there is nothing left, and takes at once what sprag gives back of its own.
    let mut filler = fs::File::create(pipeline.path("filler")).unwrap();
    let mut fill = || {
        for size in [1 << 16, 4096, 1] {
            while filler.write_all(&vec![b'f'; size]).is_ok() {}
        }
    };
    fill();
    until("adds are refused", || !adder.add(&pipeline, 300));
    let mut said = String::new();
    until("it was measured", || {
        fill();
        said = reasons(&pipeline);
        ["nearly full", ".sprag", "less than 64 KiB", "nothing starts", "free some room"]
            .iter()
            .all(|word| said.contains(word))
    });
    // Only now: until it was measured, nothing may run for a moment between two attempts.
    until("nothing runs any more", || {
        fill();
        pipeline.json(&["status"])[0]["queues"][0]["jobs"]["running"] == 0
    });
    assert_eq!(pipeline.sprag(&["health"]).code, Some(1), "degraded");
    let before = done(&pipeline).len();
    for _ in 0..150 {
        fill();
        sleep(Duration::from_millis(10));
    }
    assert_eq!(done(&pipeline).len(), before, "something was started on a full disk");
    drop(filler);
    fs::remove_file(pipeline.path("filler")).unwrap();
    adder.add_until(&pipeline, 100, 300);
    until("all is done", || done(&pipeline).is_superset(&adder.acked));
    until("it is well again", || reasons(&pipeline) == "[]");
    assert!(adder.refused > 0);
    running.terminate();
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    let verified = pipeline.sprag(&["journal", "verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    for job in pipeline.json(&["list"]) {
        assert_eq!(job["state"], "succeeded", "{job}");
    }
}

#[test]
fn a_state_folder_that_is_taken_away_is_noticed() {
    let config = "[queue.q]\ncommand = [\"sleep\", \"1000\"]\n";
    for how in ["remove", "rename", "replace the lock"] {
        let pipeline = Pipeline::new(config);
        let running = pipeline.start(&[]);
        assert!(Adder::default().add(&pipeline, 10), "{how}");
        until("it runs", || pipeline.json(&["status"])[0]["queues"][0]["jobs"]["running"] == 1);
        let (state, aside) = (pipeline.path(".sprag"), pipeline.path("aside"));
        match how {
            "remove" => fs::remove_dir_all(&state).unwrap(),
            "rename" => fs::rename(&state, &aside).unwrap(),
            _ => {
                fs::write(&aside, "").unwrap();
                fs::rename(&aside, state.join("lock")).unwrap();
            }
        }
        let (code, said) = running.end();
        assert_eq!(code, Some(6), "{how}: {said}");
        for word in [".sprag was removed or replaced", "put it back"] {
            assert!(said.contains(word), "{how}: no {word} in {said}");
        }
        if how == "rename" {
            fs::rename(&aside, &state).unwrap();
            let running = pipeline.start(&[]);
            until("its job runs again", || pipeline.json(&["list"])[0]["attempt"] == 2);
            drop(running);
        }
    }
}

#[test]
fn a_pipeline_that_writes_more_than_its_disk_holds_goes_on() {
    let script = "head -c 3000 /dev/zero | tr '\\\\0' l >&2; echo $SPRAG_KEY";
    let config = format!(
        "[queue.q]\ncommand = [\"sh\", \"-c\", \"{script}\"]\nconcurrency = 4\n\
         retry = {{ attempts = 1000, backoff = \"100ms\", max = \"200ms\" }}\n"
    );
    let Some(pipeline) = Pipeline::on_a_disk_of("2m", &config) else { return };
    let running = pipeline.start(&[]);
    let mut adder = Adder::default();
    // Payloads of 3 MB, logs of as much again, and everything in the journal and in snapshots.
    adder.add_until(&pipeline, 1_000, 3_000);
    until("all is done", || {
        let jobs = &pipeline.json(&["status"])[0]["queues"][0]["jobs"];
        jobs["ready"] == 0 && jobs["running"] == 0 && jobs["scheduled"] == 0
    });
    let (_, status) = ask(&pipeline, "GET", "/v1/status", "");
    for (part, most) in [("journal", 512), ("snapshots", 1_500), ("logs", 256)] {
        let bytes = status[part]["bytes"].as_u64().unwrap();
        assert!(bytes <= most << 10, "{part} take {bytes} bytes");
    }
    let table = pipeline.sprag(&["status"]).out;
    assert!(table.contains("on disk: journal ") && table.contains(", logs and results "), "{table}");
    running.terminate();
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    let verified = pipeline.sprag(&["journal", "verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let table = pipeline.sprag(&["status"]).out;
    assert!(table.contains("on disk: journal ") && !table.contains("logs"), "{table}");
    let jobs = pipeline.json(&["list"]);
    assert!(jobs.len() >= 50 && jobs.iter().all(|job| job["state"] == "succeeded"), "{jobs:?}");
    println!("{} adds were refused for a while; {status}", adder.refused);
}

/// The snapshot is as long as what was asked for once, the journal since is short, and nothing is written any more.
#[test]
fn what_filled_the_disk_makes_room_when_it_is_done() {
    let Some(pipeline) = Pipeline::on_a_disk_of("2m", "[queue.q]\ncommand = [\"true\"]\n") else { return };
    let running = pipeline.start(&[]);
    assert_eq!(pipeline.sprag(&["pause", "q"]).code, Some(0));
    let mut adder = Adder::default();
    while adder.add(&pipeline, 20_000) {}
    let filled = adder.acked.len();
    assert!(filled > 10, "{filled}");
    assert_eq!(pipeline.sprag(&["resume", "q"]).code, Some(0));
    until("all is done", || pipeline.json(&["status"])[0]["queues"][0]["jobs"]["ready"] == 0);
    adder.add_until(&pipeline, filled + 3, 20_000);
    until("it is well", || reasons(&pipeline) == "[]");
    running.terminate();
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(pipeline.sprag(&["journal", "verify"]).code, Some(0));
}

#[test]
fn a_copy_of_the_heartbeat_stands_where_a_monitor_looks() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("worker.status");
    let config = format!("[queue.q]\ncommand = [\"true\"]\n[status]\npath = {path:?}\n");
    let pipeline = Pipeline::new(&config);
    let running = pipeline.start(&[]);
    until("there is a copy", || path.exists());
    let status = lines(&fs::read_to_string(&path).unwrap().replace('\n', ""));
    assert_eq!((&status[0]["format"], &status[0]["health"]), (&1.into(), &"well".into()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(names(place.path()), ["worker.status"], "nothing temporary is left");
    // The monitor's folder goes away; the work does not.
    fs::remove_dir_all(place.path()).unwrap();
    until("health says so", || reasons(&pipeline).contains("the copy of the heartbeat cannot be written"));
    let said = reasons(&pipeline);
    assert!(said.contains("worker.status") && said.contains("No such file"), "{said}");
    assert!(Adder::default().add(&pipeline, 10));
    until("work goes on", || pipeline.json(&["status"])[0]["queues"][0]["jobs"]["succeeded"] == 1);
    fs::create_dir(place.path()).unwrap();
    until("it heals", || reasons(&pipeline) == "[]" && path.exists());
    running.terminate();
    assert_eq!(running.end().0, Some(0));
}
