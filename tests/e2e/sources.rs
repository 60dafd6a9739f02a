//! Every kind of source, and what becomes of a bad one, with the real kernel.

use crate::support::{Pipeline, Running, lines, until};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const QUEUE: &str = "[queue.q]\ncommand = [\"cat\"]\noutput = \"out/{key}\"\n";

fn source(path: &str, format: &str, key: &str) -> String {
    format!("[[source]]\npath = \"{path}\"\nformat = \"{format}\"\nqueue = \"q\"\n{key}")
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn done(pipeline: &Pipeline, key: &str) {
    until(&format!("{key} is done"), || pipeline.state(key).0 == "succeeded");
}

fn status(pipeline: &Pipeline) -> Value {
    pipeline.json(&["status"]).remove(0)
}

fn told(pipeline: &Pipeline, what: &str) {
    until(&format!("{what} is told"), || status(pipeline)["reasons"].to_string().contains(what));
}

fn finish(running: Running) -> String {
    running.terminate();
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    said
}

#[test]
fn a_source_that_always_had_a_bad_item_is_missed_when_it_is_gone() {
    let pipeline = Pipeline::new(&format!("{}{QUEUE}", source("ideas.json", "json-array", "key = \"/id\"\n")));
    pipeline.write("ideas.json", r#"[{"id": "good"}, {"no": "key"}]"#);
    let _running = pipeline.start(&[]);
    done(&pipeline, "good");
    until("the read is told", || {
        let heartbeat: Value = serde_json::from_str(&pipeline.read(".sprag/status.json")).unwrap();
        heartbeat["sources"][1]["progress"].as_u64().unwrap() > 0
    });
    fs::remove_file(pipeline.path("ideas.json")).unwrap();
    told(&pipeline, "ideas.json: no such file");
    assert_eq!(status(&pipeline)["health"], "degraded");
}

#[test]
fn without_an_inotify_instance_sources_are_polled_and_it_is_said_why() {
    let pipeline = Pipeline::new(&format!("{}{QUEUE}", source("ideas.json", "json-array", "key = \"/id\"\n")));
    pipeline.write("ideas.json", "[]");
    let none = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let unshare = ["--user", "--map-root-user", "sh", "-c", none, "sh"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|end| end.success()) {
        println!("SKIPPED: no user namespace can be made, so no limit on inotify instances either");
        return;
    }
    let mut sprag = Command::new("unshare");
    sprag.args(unshare).arg(env!("CARGO_BIN_EXE_sprag")).arg("run");
    let running = pipeline.start_as(sprag);
    pipeline.write("ideas.json", r#"[{"id": "seen"}]"#);
    done(&pipeline, "seen");
    until("the heartbeat says so", || {
        let heartbeat: Value = serde_json::from_str(&pipeline.read(".sprag/status.json")).unwrap();
        heartbeat["sources"][1]["polled"].to_string().contains("fs.inotify.max_user_instances")
    });
    let said = running.said();
    assert!(said.contains("ideas.json: cannot be watched (no inotify instance was to be had"), "{said}");
}

#[test]
fn all_kinds_are_read_to_their_end_and_only_once() {
    let config = [
        source("log.jsonl", "json-lines", "key = \"/id\"\n"),
        source("drafts", "files", ""),
        source("ideas.json", "json-array", "key = \"/id\"\n"),
    ];
    let pipeline = Pipeline::new(&format!("{}{QUEUE}", config.concat()));
    pipeline.write("log.jsonl", "{\"id\": \"line\"}\nbroken\n{\"id\": \"unfinished\"}");
    pipeline.write("ideas.json", "[{\"id\": \"item\"}]");
    fs::create_dir_all(pipeline.path("drafts/2026")).unwrap();
    pipeline.write("drafts/2026/tide.md", "text");
    let first = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.out.contains("log.jsonl: line 2: not JSON"), "{}", first.out);
    assert_eq!(lines(&pipeline.read("out/line"))[0]["id"], "line");
    assert_eq!(lines(&pipeline.read("out/item"))[0]["id"], "item");
    assert_eq!(pipeline.read("out/2026%2Ftide.md"), r#"{"path":"drafts/2026/tide.md","bytes":4}"#);
    let jobs = pipeline.json(&["list"]);
    assert_eq!(jobs.len(), 3, "{jobs:?}");
    let second = pipeline.sprag(&["run", "--until-idle"]);
    assert!(second.out.contains("0 new jobs, 3 items known before"), "{}", second.out);
}

#[test]
fn what_grows_comes_late_or_lies_deep_is_taken_while_sprag_runs() {
    let config = [source("log.jsonl", "json-lines", "key = \"/id\"\n"), source("drafts", "files", "")].concat();
    let pipeline = Pipeline::new(&format!("{config}{QUEUE}"));
    pipeline.write("log.jsonl", "{\"id\": \"a\"}\n");
    fs::create_dir(pipeline.path("drafts")).unwrap();
    let running = pipeline.start(&[]);
    done(&pipeline, "a");
    append(&pipeline.path("log.jsonl"), "{\"id\": \"b\"}\n{\"id\": ");
    done(&pipeline, "b");
    append(&pipeline.path("log.jsonl"), "\"c\"}\n");
    done(&pipeline, "c");
    fs::create_dir_all(pipeline.path("drafts/new/deep")).unwrap();
    pipeline.write("drafts/new/deep/d.md", "text");
    done(&pipeline, "new/deep/d.md");
    // The folders that came are watched by now: what changes in them is told, and found at rest soon after.
    let begin = std::time::Instant::now();
    pipeline.write("drafts/new/deep/e.md", "text");
    done(&pipeline, "new/deep/e.md");
    println!("a file in a new folder was taken after {:?}", begin.elapsed());
    pipeline.write("log.jsonl", "{\"id\": \"f\"}\n{\"id\": \"a\"}\n");
    done(&pipeline, "f");
    assert_eq!(pipeline.json(&["list"]).len(), 6);
    finish(running);
}

#[test]
fn links_are_followed_and_whatever_else_takes_the_place_of_a_source_is_named() {
    let config = source("ideas.json", "json-array", "key = \"/id\"\n");
    let pipeline = Pipeline::new(&format!("{config}{QUEUE}"));
    fs::create_dir(pipeline.path("elsewhere")).unwrap();
    pipeline.write("elsewhere/one.json", "[{\"id\": \"one\"}]");
    let link = pipeline.path("ideas.json");
    symlink("elsewhere/one.json", &link).unwrap();
    let running = pipeline.start(&[]);
    done(&pipeline, "one");
    pipeline.write("elsewhere/one.json", "[{\"id\": \"two\"}]");
    done(&pipeline, "two");

    fs::remove_file(&link).unwrap();
    let pipe = |path: &Path| Command::new("mkfifo").arg(path).status().unwrap().success();
    assert!(pipe(&link));
    told(&pipeline, "ideas.json: not a regular file");
    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    told(&pipeline, "ideas.json: a folder, not a file");
    fs::remove_dir(&link).unwrap();
    symlink("ideas.json", &link).unwrap();
    told(&pipeline, "ideas.json: symbolic links that go round");
    pipeline.write("ideas.json", "[{\"id\": \"three\"}]");
    done(&pipeline, "three");
    until("health is well", || status(&pipeline)["health"] == "well");
    assert!(finish(running).contains("ideas.json: in order again"));
}

/// In a user namespace of its own, a process may set how many watches it gets.
#[test]
fn without_watches_it_polls_says_so_and_heals() {
    let mut can = Command::new("unshare");
    can.args(["-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_inotify_watches"]);
    if !can.output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no user namespace in which the limit of watches can be set");
        return;
    }
    let pipeline = Pipeline::new(&format!("{}{QUEUE}", source("ideas.json", "json-array", "key = \"/id\"\n")));
    pipeline.write("ideas.json", "[{\"id\": \"a\"}]");
    let script = r#"
        limit=/proc/sys/user/max_inotify_watches
        echo 0 > $limit
        timeout 50 "$0" run > run.log 2>&1 &
        until [ -e raise ]; do sleep 0.05; done
        echo 100 > $limit
        until [ -e stop ]; do kill -0 $! || exit 9; sleep 0.05; done
        kill $!; wait $!
    "#;
    let mut command = Command::new("unshare");
    command
        .args(["-Ur", "timeout", "55", "sh", "-c", script, env!("CARGO_BIN_EXE_sprag")])
        .current_dir(pipeline.path(""));
    let child = command.spawn().unwrap();
    done(&pipeline, "a");
    let polled = || {
        let text = fs::read_to_string(pipeline.path(".sprag/status.json")).unwrap_or_default();
        let status: Value = serde_json::from_str(&text).unwrap_or_default();
        status["sources"][1]["polled"].as_str().map(str::to_owned)
    };
    until("it is polled", || polled().is_some_and(|why| why.contains("fs.inotify.max_user_watches")));
    assert!(pipeline.read("run.log").contains("ideas.json: cannot be watched"), "{}", pipeline.read("run.log"));
    pipeline.write("ideas.json", "[{\"id\": \"b\"}]");
    done(&pipeline, "b");
    fs::write(pipeline.path("raise"), "").unwrap();
    until("it is watched", || polled().is_none());
    pipeline.write("ideas.json", "[{\"id\": \"c\"}]");
    done(&pipeline, "c");
    fs::write(pipeline.path("stop"), "").unwrap();
    assert_eq!(crate::support::wait(child), Some(0));
    let said = pipeline.read("run.log");
    // With room for one watch, which of the two had it would depend on who came first.
    for path in ["ideas.json", "drop-box"] {
        assert_eq!(said.matches(&format!("{path}: cannot be watched")).count(), 1, "{said}");
        assert!(said.contains(&format!("{path}: in order again")), "{said}");
    }
    assert_eq!(said.matches("cannot be watched").count(), 2, "{said}");
}
