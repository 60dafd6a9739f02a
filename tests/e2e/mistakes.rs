//! What goes wrong at the command line, and around it: the same mistake ends with the same code whatever the command, and
//! says what to do; a sprag that is frozen is told within seconds.

use crate::support::{Answer, Pipeline, Running, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::time::{Duration, Instant};

const QUEUES: &str = "[queue.q]\ncommand = [\"true\"]\n\
    [queue.slow]\ncommand = [\"sleep\", \"600\"]\ngrace = \"1s\"\n";

fn told(answer: &Answer, code: i32, texts: &[&str]) {
    assert_eq!((answer.code, answer.out.as_str()), (Some(code), ""), "{answer:?}");
    assert!(texts.iter().all(|text| answer.err.contains(text)), "{texts:?}: {}", answer.err);
}

fn signal(running: &Running, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn the_same_mistake_ends_with_the_same_code() {
    let pipeline = Pipeline::new(QUEUES);
    pipeline.write("lines", "1\n");
    let running = pipeline.start(&[]);
    assert_eq!(pipeline.sprag(&["add", "q", "--wait"]).code, Some(0));
    let nobody: [&[&str]; 6] = [
        &["add", "nobody"],
        &["add", "nobody", "--lines", "lines"],
        &["list", "--queue", "nobody"],
        &["pause", "nobody"],
        &["resume", "nobody"],
        &["retry", "--dead", "nobody"],
    ];
    nobody.iter().for_each(|args| told(&pipeline.sprag(args), 2, &["there is no", "queue"]));
    told(&pipeline.sprag(&["log", "nobody"]), 2, &["neither the number of a job nor a service"]);
    let no_job: [&[&str]; 5] = [&["show", "99"], &["log", "99"], &["wait", "99"], &["cancel", "99"], &["retry", "99"]];
    no_job.iter().for_each(|args| told(&pipeline.sprag(args), 1, &["99", "`sprag list`"]));
    told(&pipeline.sprag(&["cancel", "1"]), 10, &["job 1", "succeeded"]);
    told(&pipeline.sprag(&["retry", "1"]), 10, &["job 1", "succeeded"]);
    drop(running);
    nobody[..3].iter().for_each(|args| told(&pipeline.sprag(args), 2, &["there is no", "queue"]));
    no_job[..3].iter().for_each(|args| told(&pipeline.sprag(args), 1, &["99", "`sprag list`"]));

    // Where there is no pipeline, and where there is not even a folder.
    let nothing = Pipeline::new("");
    std::fs::remove_file(nothing.path("sprag.toml")).unwrap();
    for args in [
        &["run"][..],
        &["add", "q"],
        &["list"],
        &["status"],
        &["show", "1"],
        &["log", "1"],
        &["log", "service"],
        &["wait", "1"],
        &["cancel", "1"],
        &["retry", "1"],
        &["pause", "q"],
        &["resume", "q"],
        &["drain"],
        &["health"],
        &["export"],
        &["journal", "verify"],
        &["journal", "dump"],
    ] {
        told(&nothing.sprag(args), 3, &["sprag.toml"]);
        told(&nothing.sprag(&[args, &["-C", "missing"]].concat()), 3, &["missing"]);
    }
    told(&nothing.sprag(&["init", "-C", "missing"]), 3, &["missing", "no such folder"]);
    told(&pipeline.sprag(&["init"]), 2, &["there already"]);
}

#[test]
fn a_refusal_says_what_to_do() {
    let pipeline = Pipeline::new(QUEUES);
    let running = pipeline.start(&[]);
    assert_eq!(pipeline.sprag(&["add", "slow", "1", "--key", "k"]).code, Some(0));
    let conflict = pipeline.sprag(&["add", "slow", "2", "--key", "k"]);
    told(&conflict, 10, &["the key k is known in queue slow with another payload: it is job 1", "`sprag show 1`"]);
    told(&pipeline.sprag(&["add", "q", "--key", "k", "--key-at", "/id"]), 2, &["--key-at"]);
    told(
        &pipeline.sprag(&["add", "q", "--lines", "x", "--key-at", "id"]),
        2,
        &["no JSON pointer", "write --key-at /id"],
    );
    told(&pipeline.sprag(&["add", "q", "--delay", "500d"]), 2, &["400 days at most"]);
    told(&pipeline.sprag(&["add", "q", "--at", "tomorrow"]), 2, &["no moment\n", "2030-01-31"]);
    until("it runs", || pipeline.state("k").0 == "running");
    told(&pipeline.sprag(&["retry", "1"]), 10, &["job 1", "running"]);
    assert!(pipeline.sprag(&["show", "1"]).out.contains("payload: 1"));
    assert_eq!(pipeline.sprag(&["add", "slow"]).code, Some(0));
    let null = pipeline.sprag(&["show", "2"]);
    assert!(null.out.contains("payload: null"), "{null:?}");
    assert_eq!(pipeline.sprag(&["drain"]).code, Some(0));
    told(&pipeline.sprag(&["add", "q", "--wait"]), 10, &["about to end", "`sprag run`"]);
    let late = pipeline.sprag(&["add", "q", "3"]);
    assert!(late.code == Some(0) && late.out.starts_with("in the drop-box of queue q"), "{late:?}");
    assert!(late.out.contains("is about to end: the next `sprag run` takes it"), "{late:?}");
    drop(running);
}

#[test]
fn lists_are_sorted_either_way() {
    let pipeline = Pipeline::new(QUEUES);
    let running = pipeline.start(&[]);
    pipeline.sprag(&["pause", "q"]);
    let add = |queue: &str, key: &str, more: &[&str]| {
        assert_eq!(pipeline.sprag(&[&["add", queue, "--key", key], more].concat()).code, Some(0));
    };
    add("slow", "b", &["--at", "2101-01-01 00:00"]);
    add("slow", "d", &["--at", "2100-01-01 00:00"]);
    add("q", "c", &["--priority", "5"]);
    add("q", "a", &["--priority", "-5"]);
    add("slow", "e", &[]);
    until("it runs", || pipeline.state("e") == ("running".into(), 1));
    let keys = |args: &[&str]| -> String {
        let jobs = pipeline.json(&[&["list"], args].concat());
        jobs.iter().map(|job| job["key"].as_str().unwrap().to_owned()).collect()
    };
    for (by, upward, downward) in [
        ("id", "bdcae", "eacdb"),
        ("created", "bdcae", "eacdb"),
        ("due", "dbcae", "bdcae"),
        ("state", "bdcae", "ecabd"),
        ("queue", "cabde", "bdeca"),
        ("key", "abcde", "edcba"),
        ("attempts", "bdcae", "ebdca"),
        ("priority", "abdec", "cbdea"),
    ] {
        assert_eq!(keys(&["--sort", by]), upward, "{by}");
        assert_eq!(keys(&["--sort", by, "--reverse"]), downward, "{by}");
    }
    assert_eq!(keys(&["--sort", "due", "--limit", "1"]), "d");
    assert_eq!((keys(&["--limit", "2"]), keys(&["--reverse", "--limit", "2"])), ("ae".into(), "ea".into()));
    let table = pipeline.sprag(&["list"]).out;
    assert!(table.lines().next().unwrap().contains("  priority  attempt"), "{table}");
    assert!(pipeline.sprag(&["show", "3"]).out.starts_with("job 3 in queue q, key c, priority 5: ready"));
    pipeline.sprag(&["cancel", "1"]);
    assert_eq!(keys(&["--sort", "changed", "--reverse", "--limit", "1"]), "b");
    assert_eq!(pipeline.sprag(&["list", "--sort", "size"]).code, Some(2));
    drop(running);
}

#[test]
fn a_frozen_sprag_is_told_within_seconds() {
    let pipeline = Pipeline::new(QUEUES);
    let running = pipeline.start(&[]);
    assert_eq!(pipeline.sprag(&["add", "q", "--wait"]).code, Some(0));
    let process = format!("process {}", running.id());
    signal(&running, Signal::STOP);
    let within = |args: &[&str]| {
        let began = Instant::now();
        let answer = pipeline.sprag(args);
        // Half of what a question may take that was heard.
        assert!(began.elapsed() < Duration::from_secs(15), "{args:?} took {:?}", began.elapsed());
        answer
    };
    let health = within(&["health"]);
    assert_eq!(health.code, Some(2), "{health:?}");
    let texts = ["stalled", &process, "not answered for 2 s", "last heartbeat came", "kill -CONT"];
    assert!(texts.iter().all(|text| health.out.contains(text)), "{}", health.out);
    let status: Value = serde_json::from_str(&within(&["status", "--json"]).out).unwrap();
    assert_eq!((&status["health"], &status["running_pid"]), (&"stalled".into(), &running.id().into()));
    assert!(status["reasons"][0].as_str().unwrap().contains("last heartbeat came"), "{status}");
    assert_eq!(status["queues"][0]["jobs"]["succeeded"], 1, "{status}");
    assert!(within(&["list"]).out.contains("succeeded"));
    for args in [&["cancel", "1"][..], &["wait", "1"], &["pause", "q"], &["drain"], &["add", "q", "--wait"]] {
        told(&within(args), 6, &[&process, "kill -CONT"]);
    }
    let added = within(&["add", "q", "--key", "later"]);
    assert!(added.code == Some(0) && added.out.contains("in the drop-box"), "{added:?}");
    signal(&running, Signal::CONT);
    until("it goes on", || pipeline.state("later").0 == "succeeded");
    assert_eq!(pipeline.sprag(&["health"]).code, Some(0));
}

#[test]
fn a_job_under_way_at_so_many_deaths_of_sprag_is_given_up() {
    let pipeline = Pipeline::new(&format!("[run]\ncrashes = 2\n{QUEUES}"));
    pipeline.sprag(&["add", "slow", "--key", "k"]);
    for attempt in 1..=2 {
        let running = pipeline.start(&[]);
        until("it runs", || pipeline.state("k") == ("running".into(), attempt));
        signal(&running, Signal::KILL);
    }
    let running = pipeline.start(&[]);
    until("it is given up", || pipeline.state("k") == ("dead".into(), 2));
    assert_eq!(pipeline.json(&["list"])[0]["reason"], "poison");
    drop(running);
}
