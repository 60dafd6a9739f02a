//! `sprag run` with the real clock, disk and processes, from outside.

use crate::support::{Pipeline, lines, names, until, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Stdio;

/// The example in a folder of its own.
fn example() -> Pipeline {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/ideas");
    let pipeline = Pipeline::new("");
    for name in ["sprag.toml", "producer.sh", "implement.sh", "check.sh", "repair.sh", ".gitignore", "README.md"] {
        fs::copy(from.join(name), pipeline.path(name)).unwrap();
    }
    pipeline
}

fn word<'a>(job: &'a Value, name: &str) -> &'a str {
    job[name].as_str().unwrap_or("")
}

#[test]
fn the_example_does_what_it_promises_and_a_second_run_does_nothing() {
    let pipeline = example();
    let before = names(&pipeline.path(""));
    let first = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(first.code, Some(0), "{first:?}");

    let jobs = pipeline.json(&["list"]);
    let ended: BTreeMap<&str, (&str, &str, u64)> = jobs
        .iter()
        .map(|job| (word(job, "key"), (word(job, "queue"), word(job, "state"), job["attempt"].as_u64().unwrap())))
        .collect();
    let done = |queue| (queue, "succeeded", 1);
    let expected = BTreeMap::from([
        ("tide-table", done("implement")),
        ("bird-song", done("implement")),
        ("flaky-feed", ("implement", "succeeded", 3)),
        ("night-bus", done("implement")),
        ("perpetual-motion", ("implement", "dead", 1)),
        ("seed-swap", done("implement")),
        ("shadow-clock", done("implement")),
        ("bird-song-too-long", done("repair")),
        ("night-bus-too-long", done("repair")),
        ("shadow-clock-too-long", done("repair")),
    ]);
    assert_eq!(ended, expected);
    assert_eq!(jobs.len(), expected.len());
    for (key, (queue, state, _)) in &expected {
        let folder = if *queue == "implement" { "implementations" } else { "repairs" };
        let path = format!("{folder}/{key}.json");
        assert_eq!(pipeline.path(&path).exists(), *state == "succeeded", "{path}");
        if *state == "succeeded" {
            assert_eq!(lines(&pipeline.read(&path))[0]["id"], *key);
        }
    }

    let ignored = pipeline.read(".gitignore");
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_end_matches(['/', '*'])).collect();
    let seen_by_git = |name: &String| !ignored.iter().any(|prefix| name == prefix || name == &format!("{prefix}.new"));
    let after: Vec<String> = names(&pipeline.path("")).into_iter().filter(seen_by_git).collect();
    assert_eq!(after, before, "only ignored files were made");

    let second = pipeline.sprag(&["run", "--until-idle"]);
    assert_eq!(second.code, Some(0));
    assert!(second.out.contains("0 new jobs, 10 items known before"), "{}", second.out);
    assert!(!second.out.contains("attempt"), "{}", second.out);
    assert_eq!(pipeline.json(&["list"]), jobs, "a second run changes nothing");
    assert_eq!(pipeline.sprag(&["run", "--until-idle", "--fail-on-dead"]).code, Some(1));
}

#[test]
fn a_second_run_is_refused_and_the_first_takes_what_is_added() {
    let pipeline = Pipeline::new("[queue.q]\ncommand = [\"cat\"]\noutput = \"out/{key}\"\n");
    let running = pipeline.start(&[]);
    let second = pipeline.sprag(&["run"]);
    assert_eq!((second.code, second.out.as_str()), (Some(4), ""), "{second:?}");
    assert!(second.err.contains(&format!("process {} is running this pipeline", running.id())), "{}", second.err);

    let added = pipeline.sprag(&["add", "q", "[1, 2]", "--key", "a/b"]);
    assert_eq!((added.code, added.out.as_str()), (Some(0), "job 1 in queue q with key a/b\n"), "{added:?}");
    until("the job is done", || pipeline.state("a/b") == ("succeeded".into(), 1));
    until("its result is there", || pipeline.path("out/a%2Fb").exists());
    assert_eq!(pipeline.read("out/a%2Fb"), "[1,2]");
    let again = pipeline.sprag(&["add", "q", "[1,2]", "--key", "a/b"]);
    assert_eq!(again.out, "job 1 in queue q with key a/b, known before\n");
    pipeline.write(".sprag/inbox/new/by-hand", "{\"queue\": \"q\", \"payload\": [1, 2], \"key\": \"a/b\"}");
    until("the drop-box is empty", || names(&pipeline.path(".sprag/inbox/new")).is_empty());
    assert_eq!(pipeline.json(&["list"]).len(), 1, "a known key makes no second job");
    let status = &pipeline.json(&["status"])[0];
    assert_eq!((word(status, "health"), &status["queues"][0]["jobs"]["succeeded"]), ("well", &1.into()), "{status}");

    running.terminate();
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "without --until-idle a signal is the way to end it: {said}");
    assert!(said.contains("job 1 in q: attempt 1 started"), "{said}");
    assert!(pipeline.json(&["status"])[0]["running_pid"].is_null());
}

#[test]
fn stopped_before_idle_ends_with_8_and_costs_no_retry() {
    let command = "command = [\"sh\", \"-c\", \"touch began; exec sleep 100\"]\nretry = { attempts = 1 }\n";
    let pipeline = Pipeline::new(&format!("[run]\nstop_timeout = \"100ms\"\n[queue.q]\n{command}"));
    pipeline.sprag(&["add", "q", "--key", "long"]);
    let running = pipeline.start(&["--until-idle"]);
    // On record a little earlier: a start that was not made yet is given back.
    until("the job runs", || pipeline.path("began").exists());
    running.terminate();
    let (code, said) = running.end();
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("sprag: stopped before everything was done\n  to mend it: run it again"), "{said}");
    let (state, attempt) = pipeline.state("long");
    assert!(["ready", "scheduled"].contains(&state.as_str()) && attempt == 1, "{state} {attempt}");
    let story = pipeline.sprag(&["show", "1"]).out;
    assert!(story.contains("attempt 1 was ended by sprag (killed by SIGTERM), which does not count"), "{story}");
}

#[test]
fn a_killed_run_leaves_unknown_and_the_next_one_goes_on() {
    let pipeline = Pipeline::new("[queue.q]\ncommand = [\"sh\", \"job.sh\"]\n");
    pipeline.write("job.sh", "[ -e again ] || { touch again; exec sleep 100; }\n");
    pipeline.sprag(&["add", "q", "--key", "long"]);
    let running = pipeline.start(&["--until-idle"]);
    until("the job runs", || pipeline.path("again").exists() && pipeline.state("long") == ("running".into(), 1));
    drop(running);
    assert_eq!(pipeline.state("long"), ("unknown".into(), 1), "nobody knows whether it is still alive");
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
    assert_eq!(pipeline.state("long"), ("succeeded".into(), 2));
    let story = pipeline.sprag(&["show", "1"]).out;
    assert!(story.contains("attempt 1 was cut off by the death of sprag, and is proved dead"), "{story}");
}

#[test]
fn a_command_that_cannot_be_executed_is_a_permanent_failure() {
    let config = "[queue.none]\ncommand = [\"no-such-command\"]\n[queue.plain]\ncommand = [\"./plain\"]\n";
    let pipeline = Pipeline::new(config);
    pipeline.write("plain", "no program");
    for queue in ["none", "plain"] {
        pipeline.sprag(&["add", queue, "--key", queue]);
    }
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0), "dead jobs are no failure of the run");
    let table = pipeline.sprag(&["list"]).out;
    for (queue, why) in [("none", "its command does not exist"), ("plain", "its command cannot be executed")] {
        assert_eq!(pipeline.state(queue), ("dead".into(), 1));
        assert!(table.lines().any(|line| line.contains(queue) && line.contains(why)), "{table}");
    }
    assert!(pipeline.json(&["list"]).iter().all(|job| word(job, "reason") == "permanent"));
    assert_eq!(pipeline.sprag(&["run", "--until-idle", "--fail-on-dead"]).code, Some(1));
}

#[test]
fn a_bad_source_degrades_health_names_the_place_and_heals() {
    let source = "[[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"q\"\nkey = \"/id\"\n";
    let pipeline = Pipeline::new(&format!("{source}[queue.q]\ncommand = [\"true\"]\n"));
    pipeline.write("items.json", "[{\"id\": \"a\"}]");
    let running = pipeline.start(&[]);
    until("the first item is done", || pipeline.state("a").0 == "succeeded");
    let status = || pipeline.json(&["status"]).remove(0);
    for (bad, place) in [
        ("[{\"id\": \"a\"}, {\"id\":", "line 1 column 20"),
        ("", "empty: not even `[]`"),
        ("[{\"id\": \"b\"}, {}]", "item 1"),
    ] {
        pipeline.write("items.json", bad);
        let told = |status: &Value| {
            let reasons = status["reasons"].to_string();
            word(status, "health") == "degraded" && reasons.contains("items.json") && reasons.contains(place)
        };
        until(&format!("{bad:?} is told"), || told(&status()));
        assert_eq!(pipeline.state("a").0, "succeeded", "what was read before stands");
    }
    until("the items that are in order are done", || pipeline.state("b").0 == "succeeded");
    fs::remove_file(pipeline.path("items.json")).unwrap();
    until("a missing file is told", || status()["reasons"].to_string().contains("no such file"));
    pipeline.write("items.json", "[{\"id\": \"a\"}, {\"id\": \"c\"}]");
    until("it heals", || word(&status(), "health") == "well");
    until("the new item is done", || pipeline.state("c").0 == "succeeded");
    running.terminate();
    let (code, said) = running.end();
    assert_eq!(code, Some(0));
    assert!(said.contains("items.json: in order again"), "{said}");
}

#[test]
fn a_damaged_journal_is_refused_with_file_offset_and_sequence() {
    let pipeline = Pipeline::new("[queue.q]\ncommand = [\"true\"]\n");
    for _ in 0..3 {
        pipeline.sprag(&["add", "q", "\"something to damage\""]);
    }
    assert_eq!(pipeline.sprag(&["run", "--until-idle"]).code, Some(0));
    let verified = pipeline.sprag(&["journal", "verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.out.ends_with("in order, and sealed: complete to the last record\n"), "{}", verified.out);

    let segment = ".sprag/journal/00000001.jsonl";
    let at = pipeline.read(segment).find("to damage").unwrap();
    let mut file = fs::File::options().write(true).open(pipeline.path(segment)).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(b"TO").unwrap();
    let commands = [&["list"][..], &["show", "1"], &["status"], &["run", "--until-idle"], &["journal", "verify"]];
    for args in commands.into_iter().chain([&["journal", "dump"][..]]) {
        let answer = pipeline.sprag(args);
        assert_eq!(answer.code, Some(5), "{args:?}: {answer:?}");
        let named = ["00000001.jsonl", "offset ", "sequence "].map(|word| answer.err.contains(word));
        assert_eq!(named, [true; 3], "{args:?}: {}", answer.err);
    }
}

#[test]
fn a_story_is_told_with_its_files_and_as_records() {
    let pipeline = Pipeline::new(
        "[queue.q]\ncommand = [\"sh\", \"job.sh\"]\noutput = \"out/{key}.txt\"\n\
         retry = { attempts = 2, backoff = \"1ms\", jitter = 0 }\n",
    );
    pipeline.write("job.sh", "echo doing it >&2; [ $SPRAG_ATTEMPT = 2 ] || exit 3; cat");
    pipeline.sprag(&["add", "q", "--text", "hear \u{1b}[2J", "--key", "bell\u{7}"]);
    let run = pipeline.sprag(&["run", "--until-idle", "--json"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let events: Vec<Value> = lines(&run.out);
    let of_job: Vec<&str> = events.iter().filter(|event| event["job"] == 1).map(|event| word(event, "event")).collect();
    assert_eq!(of_job, ["added", "started", "finished", "started", "finished", "published"]);
    let last = events.last().unwrap();
    assert_eq!((word(last, "event"), &last["added"], &last["succeeded"]), ("idle", &1.into(), &1.into()));

    let story = pipeline.sprag(&["show", "1"]).out;
    let told: Vec<&str> = story.lines().map(|line| line.get(27..).unwrap_or(line)).collect();
    assert!(story.starts_with("job 1 in queue q, key bell\\u{7}: succeeded\n"), "{story}");
    assert_eq!(
        told[1..],
        [
            "added",
            "attempt 1 started in place 0",
            "attempt 1 failed (exit code 3); another one comes in 1ms",
            "its output: .sprag/attempts/0/1.1.log",
            "attempt 2 started in place 0",
            "attempt 2 succeeded; its result is to be published",
            "its output: .sprag/attempts/0/1.2.log",
            "its result was published",
            "its result: out/bell%07.txt",
            "payload: \"hear \\u001b[2J\"",
        ],
        "{story}"
    );
    assert_eq!(pipeline.read(".sprag/attempts/0/1.1.log"), "doing it\n");

    let records = pipeline.json(&["show", "1"]);
    assert_eq!(records.iter().map(|record| word(record, "type")).collect::<Vec<_>>()[..2], ["added", "started"]);
    assert_eq!((word(&records[0], "key"), word(&records[0], "payload")), ("bell\u{7}", "hear \u{1b}[2J"));
    assert!(records.iter().all(|record| record["job"] == 1));
    assert!(pipeline.json(&["journal", "dump"]).len() >= records.len());
}

#[test]
fn lists_are_filtered_and_cut() {
    let pipeline = Pipeline::new("[queue.good]\ncommand = [\"true\"]\n[queue.bad]\ncommand = [\"no-such-command\"]\n");
    for (queue, key) in [("good", "a"), ("bad", "b"), ("good", "c"), ("bad", "d")] {
        pipeline.sprag(&["add", queue, "--key", key]);
    }
    pipeline.sprag(&["add", "good", "--key", "later", "--at", "2100-01-01T00:00:00Z"]);
    let running = pipeline.start(&[]);
    until("four jobs ended", || {
        pipeline.json(&["list"]).iter().filter(|job| word(job, "state") != "scheduled").count() == 4
            && pipeline.state("d").0 == "dead"
            && pipeline.state("c").0 == "succeeded"
    });
    drop(running);
    let keys = |args: &[&str]| -> Vec<String> {
        let jobs = pipeline.json(&[&["list"], args].concat());
        jobs.iter().map(|job| word(job, "key").to_owned()).collect()
    };
    assert_eq!(keys(&[]), ["a", "b", "c", "d", "later"]);
    assert_eq!(keys(&["--queue", "bad"]), ["b", "d"]);
    assert_eq!(keys(&["--state", "succeeded"]), ["a", "c"]);
    assert_eq!(keys(&["--state", "dead", "--limit", "1"]), ["d"]);
    assert_eq!(keys(&["--state", "scheduled"]), ["later"]);
    let later = pipeline.json(&["list", "--limit", "1"]).remove(0);
    assert_eq!(later["due_at_ms"], 4_102_444_800_000_u64);
    let table = pipeline.sprag(&["list", "--state", "scheduled"]).out;
    assert!(table.contains("due 2100-01-01 00:00:00.000"), "{table}");
    assert!(!table.contains('\u{1b}'), "no colour but on a terminal");
}

#[test]
fn a_reader_that_sleeps_or_goes_holds_nothing_up() {
    let pipeline = Pipeline::new(
        "[queue.q]\ncommand = [\"true\"]\nconcurrency = 8\n\
         [[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"q\"\n",
    );
    let items: Vec<String> = (0..800).map(|n| n.to_string()).collect();
    pipeline.write("items.json", &format!("[{}]", items.join(",")));
    // Three lines a job are more than a pipe holds, and nobody reads them.
    let mut command = pipeline.command(&["run", "--until-idle"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let unread = child.stdout.take().unwrap();
    assert_eq!(wait(child), Some(0));
    drop(unread);
    assert_eq!(pipeline.json(&["list", "--state", "succeeded"]).len(), 800);

    let mut child = pipeline.command(&["list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let answer = child.wait_with_output().unwrap();
    assert_eq!((answer.status.code(), answer.stderr), (Some(0), Vec::new()), "as in `sprag list | head`");
}
