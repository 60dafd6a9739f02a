//! What a person sees: nothing fails in silence, nothing is said for ever, and each line says what to do.

use crate::support::{Pipeline, lines, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

const QUEUE: &str = "[queue.q]\ncommand = [\"cat\"]\noutput = \"out/{key}\"\n";
const SOURCE: &str =
    "[[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"q\"\nkey = \"/id\"\n[queue.q]\n";

fn status(pipeline: &Pipeline) -> Value {
    pipeline.json(&["status"]).remove(0)
}

fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn until_idle_says_what_holds_it_up_and_ends_with_12() {
    let pipeline = Pipeline::new(&format!("{SOURCE}command = [\"cat\"]\n"));
    pipeline.write("items.json", "[{\"id\": \"a\"");
    let run = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(run.code, Some(12), "{run:?}");
    assert!(run.out.contains("; nothing new is taken until it is mended\n"), "{}", run.out);
    let said: Vec<&str> = run.out.lines().filter(|line| line.contains("waiting 10s for this to be mended")).collect();
    assert!(said.len() == 1 && said[0].contains("items.json: not a whole JSON array"), "{}", run.out);
    let ended = "sprag: what is left cannot be done: items.json: not a whole JSON array";
    assert!(run.err.contains(ended) && run.err.contains("to mend it: mend what is named"), "{}", run.err);

    pipeline.write("items.json", "[{\"id\": \"a\"}]");
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
}

#[test]
fn a_result_without_a_place_is_said_once_named_in_health_and_ends_a_run_with_12() {
    let pipeline = Pipeline::new(QUEUE);
    fs::create_dir_all(pipeline.path("out/a")).unwrap();
    pipeline.sprag(&["add", "q", "1", "--key", "a"]);
    let running = pipeline.start(&[]);
    until("it is told", || status(&pipeline)["health"] == "degraded");
    let reason = status(&pipeline)["reasons"][0].as_str().unwrap().to_owned();
    assert!(reason.starts_with("the result of job 1 cannot be put at out/a: Is a directory"), "{reason}");
    std::thread::sleep(std::time::Duration::from_secs(3));
    running.terminate();
    let (_, said) = running.end();
    assert_eq!(said.matches("cannot be put at out/a: Is a directory").count(), 2, "itself, and health: {said}");

    let run = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(run.code, Some(12), "{run:?}");
    assert!(run.err.contains("the result of job 1 cannot be put at out/a: Is a directory"), "{}", run.err);
    fs::remove_dir(pipeline.path("out/a")).unwrap();
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
    assert_eq!(pipeline.read("out/a"), "1");
}

#[test]
fn results_follow_the_umask_and_leave_no_temporary_name() {
    let pipeline = Pipeline::new("[queue.q]\ncommand = [\"cat\"]\noutput = \"out/sub/{key}\"\n");
    pipeline.sprag(&["add", "q", "1", "--key", "a"]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "umask 027; exec \"$0\" run --until-idle", env!("CARGO_BIN_EXE_sprag")]);
    command.current_dir(pipeline.path(""));
    assert_eq!(pipeline.finish(command).code, Some(0));
    let mode = |name: &str| fs::metadata(pipeline.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("out/sub/a"), mode("out/sub"), mode("out")), (0o640, 0o750, 0o750));
    assert_eq!((mode(".sprag"), mode(".sprag/status.json")), (0o700, 0o600), "what is sprag's own stays its own");
    assert_eq!(crate::support::names(&pipeline.path("out/sub")), ["a"]);
}

#[test]
fn services_are_seen_in_status_and_health_and_read_with_log() {
    let config = "[service.good]\ncommand = [\"sh\", \"-c\", \"echo here; exec sleep 100\"]\nkind = \"keep\"\n\
                  [service.gone]\ncommand = [\"no-such-command\"]\nkind = \"keep\"\n\
                  [service.once]\ncommand = [\"sh\", \"-c\", \"echo failing; exit 3\"]\nkind = \"oneshot\"\n";
    let pipeline = Pipeline::new(&format!("{config}{QUEUE}"));
    let running = pipeline.start(&[]);
    let service = |name: &str| {
        let status = status(&pipeline);
        let services = status["services"].as_array().unwrap().clone();
        services.into_iter().find(|service| service["name"] == name).unwrap()
    };
    until("the good one runs", || service("good")["state"] == "running");
    until("the missing one is told", || service("gone")["last_exit"] == "its command does not exist");
    until("the oneshot ended", || service("once")["state"] == "ended");
    assert_eq!((&service("once")["last_exit"], &service("good")["failing"]), (&"exit code 3".into(), &false.into()));
    until("health tells", || pipeline.sprag(&["health"]).code == Some(1));
    let health = pipeline.sprag(&["health"]).out;
    for told in ["service gone keeps failing (its command does not exist)", "service once keeps failing (exit code 3)"]
    {
        assert!(health.contains(told), "{health}");
    }
    assert!(!health.contains("service good"), "{health}");
    let table = pipeline.sprag(&["status"]).out;
    assert!(table.lines().any(|line| line.starts_with("gone") && line.contains("keep")), "{table}");
    until("its output is read", || pipeline.sprag(&["log", "good"]).out == "here\n");
    assert_eq!(pipeline.json(&["log", "once"]), [serde_json::json!({"service": "once", "text": "failing"})]);
    let unknown = pipeline.sprag(&["log", "goood"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("did you mean `good`?"), "{unknown:?}");
    running.terminate();
    let (_, said) = running.end();
    assert!(said.contains("service good started"), "{said}");
    let why = "service gone: no-such-command cannot be executed: there is no such program along its PATH";
    assert!(said.contains(why) && !said.contains("Service {"), "{said}");
    assert!(said.contains("service once ended: exit code 3; see `sprag log once`"), "{said}");
    assert!(!said.contains("WARN"), "one voice: {said}");
    assert!(said.contains("service good stopped\n") && !said.contains("service good ended"), "{said}");
    assert!(health.contains("mend `command` in [service.gone]"), "{health}");
}

#[test]
fn a_hang_up_drains_unless_it_was_ignored_and_other_signals_have_their_meaning() {
    let pipeline = Pipeline::new(QUEUE);
    // Whoever runs these tests may have been told to ignore it.
    let mut heeds = std::process::Command::new("env");
    heeds.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_sprag"), "run"]);
    let running = pipeline.start_as(heeds);
    for nothing in [Signal::USR1, Signal::USR2] {
        signal(running.id(), nothing);
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    signal(running.id(), Signal::HUP);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopping: nothing new is started"), "{said}");

    let pipeline = Pipeline::new("[queue.q]\ncommand = [\"sleep\", \"100\"]\n");
    pipeline.sprag(&["add", "q", "--key", "a"]);
    let running = pipeline.start(&[]);
    until("it runs", || pipeline.state("a").0 == "running");
    signal(running.id(), Signal::QUIT);
    let (code, said) = running.end();
    assert!(code == Some(0) && said.contains("stopping: ending what runs"), "{code:?}: {said}");

    let pipeline = Pipeline::new(QUEUE);
    let mut command = std::process::Command::new("nohup");
    command.args([env!("CARGO_BIN_EXE_sprag"), "run"]).current_dir(pipeline.path("")).process_group(0);
    let file = || fs::File::create(pipeline.path("nohup.log")).unwrap();
    let mut child = command.stdout(file()).stderr(file()).stdin(std::process::Stdio::null()).spawn().unwrap();
    until("it runs", || status(&pipeline)["running_pid"].as_u64() == Some(child.id().into()));
    signal(child.id(), Signal::HUP);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "nohup means it");
    signal(child.id(), Signal::TERM);
    assert_eq!(crate::support::wait(child), Some(0));
}

#[test]
fn a_configuration_that_changed_is_told_and_the_running_one_counts() {
    let pipeline = Pipeline::new(QUEUE);
    let running = pipeline.start(&[]);
    let told = |text: &str| text.contains("sprag.toml changed since sprag was started: restart it");
    until("it answers", || pipeline.sprag(&["health"]).code == Some(0));
    assert!(!told(&pipeline.sprag(&["health"]).out));
    for config in ["[queue.other]\ncommand = [\"true\"]\n", "this is not TOML"] {
        pipeline.write("sprag.toml", config);
        let (status, health) = (pipeline.sprag(&["status"]), pipeline.sprag(&["health"]));
        assert_eq!((status.code, health.code), (Some(0), Some(0)), "{status:?} {health:?}");
        assert!(told(&status.out) && told(&health.out), "{} {}", status.out, health.out);
        assert!(status.out.contains("q ") && !status.out.contains("not in sprag.toml"), "{}", status.out);
    }
    let added = pipeline.sprag(&["add", "q", "1", "--key", "a"]);
    assert_eq!((added.code, added.out.as_str()), (Some(0), "job 1 in queue q with key a\n"), "{added:?}");
    let refused = pipeline.sprag(&["add", "qq", "1"]);
    assert!(refused.code == Some(2) && refused.err.contains("queues here: q\n"), "{refused:?}");
    pipeline.write("sprag.toml", QUEUE);
    assert!(!told(&pipeline.sprag(&["status"]).out), "put back");
    running.terminate();
    running.end();
}

#[test]
fn a_start_says_what_is_watched_and_rest_is_said() {
    let config = format!("{SOURCE}command = [\"true\"]\n[service.s]\ncommand = [\"true\"]\nkind = \"oneshot\"\n");
    let pipeline = Pipeline::new(&config);
    let running = pipeline.start(&[]);
    let log = || pipeline.read("run.log");
    until("rest is said", || log().contains("nothing to do; watching items.json"));
    assert!(
        log().contains("watching items.json; queues: q; services: s; Ctrl-C or `sprag drain` ends it"),
        "{}",
        log()
    );
    assert!(log().contains("waiting for items.json to appear"), "{}", log());
    assert_eq!(status(&pipeline)["health"], "well", "what is not there yet is nothing wrong");
    let health = pipeline.sprag(&["health"]);
    assert_eq!((health.code, health.out.as_str()), (Some(0), "well\n  note: waiting for items.json to appear\n"));
    pipeline.write("items.json", "[{\"id\": \"a\"}]");
    until("it is done", || pipeline.state("a").0 == "succeeded");
    until("rest is said again", || log().matches("nothing to do").count() == 2);
    pipeline.write(".sprag/inbox/new/bad", "{\"queue\": \"none\", \"payload\": 1}");
    let refused = "  note: drop-box: 1 file refused, see .sprag/inbox/rejected\n";
    until("a refused file is told", || pipeline.sprag(&["health"]).out == format!("well\n{refused}"));
    fs::remove_file(pipeline.path("items.json")).unwrap();
    until("it is missed", || log().contains("items.json: no such file; it is waited for; what was read stands"));
    pipeline.write("items.json", "[{\"id\": \"a\", \"n\": 2}]");
    until("the change is said", || log().contains("job 1: its item in items.json changed after it was taken"));
    running.terminate();
    running.end();
}

#[test]
fn jobs_that_all_die_are_told() {
    let pipeline = Pipeline::new(&format!("{SOURCE}command = [\"false\"]\nretry = {{ attempts = 1 }}\n"));
    let running = pipeline.start(&[]);
    pipeline.write("items.json", "[{\"id\": 1}, {\"id\": 2}]");
    until("two are dead", || pipeline.json(&["list", "--state", "dead"]).len() == 2);
    let health = pipeline.sprag(&["health"]);
    assert_eq!(health.code, Some(0), "{health:?}");
    assert!(health.out.contains("note: 2 dead jobs in queue q: see `sprag list --state dead --queue q`"), "{health:?}");
    pipeline.write("items.json", "[{\"id\": 1}, {\"id\": 2}, {\"id\": 3}, {\"id\": 4}, {\"id\": 5}]");
    until("health is degraded", || pipeline.sprag(&["health"]).code == Some(1));
    let health = pipeline.sprag(&["health"]).out;
    assert!(
        health.contains("the last 5 jobs of queue q all died: see `sprag list --state dead --queue q`"),
        "{health}"
    );
    running.terminate();
    running.end();
}

#[test]
fn health_says_who_waits_for_what() {
    let pipeline = Pipeline::new("[queue.q]\ncommand = [\"sleep\", \"60\"]\n");
    assert_eq!(pipeline.sprag(&["health", "--diagnose"]).code, Some(2), "nothing runs, and nothing waits");
    let _running = pipeline.start(&[]);
    pipeline.sprag(&["add", "q", "1"]);
    let waits = |kind: &str, awaited: &str| {
        let answer = pipeline.sprag(&["health", "--diagnose", "--json"]);
        let waits = lines(&answer.out)[0]["waits"].as_array().cloned().unwrap_or_default();
        waits.iter().any(|wait| wait["kind"] == kind && wait["for"] == awaited)
    };
    until("the attempt waits for its command", || waits("attempt", "command") && waits("queue", "attempts"));
    let answer = pipeline.sprag(&["health", "--diagnose"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let row = |who: &str| answer.out.lines().find(|line| line.starts_with(who)).unwrap_or_default().to_owned();
    assert!(row("job 1 attempt 1").contains("command"), "{}", answer.out);
    assert!(row("loop").contains("anything") && row("who").contains("waits for"), "{}", answer.out);
}
