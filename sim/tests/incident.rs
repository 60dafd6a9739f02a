//! An incident of the program that ships: a real sprag, killed in the middle of its work, and what it recorded run again.
//!
//! **Invariant.** Only processes that were started here are ended, by number; every wait has an end; no speed matters.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test from outside lives in real time")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[path = "../../tests/shipped.rs"]
mod shipped;

const LIMIT: Duration = Duration::from_secs(120);

/// Short and long jobs, some of which fail and come again; nothing is asked of the clock.
fn pipeline(dir: &Path) {
    let config = "[queue.work]\n\
        command = [\"sh\", \"-c\", \"case $SPRAG_KEY in *7) exit 1;; *5) sleep 0.1;; esac\"]\n\
        concurrency = 2\nretry = { attempts = 3, backoff = \"100ms\" }\n\
        [[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"work\"\nkey = \"/id\"\n";
    fs::write(dir.join("sprag.toml"), config).unwrap();
    let items: Vec<String> = (0..2_000).map(|id| format!("{{\"id\":\"i{id}\"}}")).collect();
    fs::write(dir.join("items.json"), format!("[{}]", items.join(","))).unwrap();
}

fn records(dir: &Path) -> usize {
    let segment = fs::read_to_string(dir.join(".sprag/journal/00000001.jsonl")).unwrap_or_default();
    segment.lines().filter(|line| line.contains("\"type\":\"finished\"")).count()
}

/// Runs sprag until it has recorded so many ends, and kills it then.
fn run_and_kill(sprag: &Path, dir: &Path, ends: usize) {
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(sprag);
    command.arg("run").arg(dir).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child: Child = command.spawn().unwrap();
    let begin = Instant::now();
    while records(dir) < ends {
        let ended = child.try_wait().unwrap();
        let said = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(ended.is_none() && begin.elapsed() < LIMIT, "it did not work: {ended:?}\n{}", said());
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn replay(dir: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_sim")).args(["replay", "--incident"]).arg(dir).args(more).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &to),
            kind if kind.is_file() => _ = fs::copy(entry.path(), to).unwrap(),
            _ => {}
        }
    }
}

/// Writes a recording without the first line that holds `word`, every hash as it would be then.
fn leave_out(path: &Path, word: &str) {
    let text = fs::read_to_string(path).unwrap();
    let (mut out, mut part, mut sum, mut left_out) = (String::new(), String::new(), [0; 8], false);
    for line in text.lines() {
        if !left_out && line.contains(word) {
            left_out = true;
        } else if line.starts_with("{\"sum\":") {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&sum).update(part.as_bytes());
            sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
            out += &std::mem::take(&mut part);
            out += &format!("{{\"sum\":\"{:016x}\"}}\n", u64::from_be_bytes(sum));
        } else {
            part += line;
            part.push('\n');
        }
    }
    assert!(left_out, "no line with {word}");
    fs::write(path, out).unwrap();
}

#[test]
fn what_a_killed_sprag_recorded_runs_again_to_the_same_decisions() {
    let sprag = shipped::sprag();
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("pipeline");
    fs::create_dir(&dir).unwrap();
    pipeline(&dir);
    for ends in [60, 200, 350] {
        run_and_kill(&sprag, &dir, ends);
    }
    // A copy of the state folder is enough.
    let copied = outside.path().join("copy");
    copy(&dir.join(".sprag"), &copied);

    let (code, out, err) = replay(&copied, &["--json"]);
    assert_eq!(code, Some(0), "{err}{}", out.lines().last().unwrap_or_default());
    let lines = json(&out);
    let lives: Vec<&Value> = lines.iter().filter(|line| line["life"].is_u64()).collect();
    assert_eq!(lives.len(), 3, "three lives were recorded");
    for life in &lives {
        assert_eq!((&life["difference"], &life["ahead"]), (&Value::Null, &Value::from(0)), "{life}");
        assert_eq!((&life["lost"], &life["inputs"]), (&Value::Array(Vec::new()), &life["recorded"]), "{life}");
    }
    let known: u64 = lives.iter().map(|life| life["records"].as_u64().unwrap()).sum();
    let journal = fs::read_to_string(copied.join("journal/00000001.jsonl")).unwrap();
    let written = journal.lines().filter(|line| line.starts_with("{\"seq\":")).count() as u64;
    // The last frame may have been under way.
    assert!(known > 0 && known <= written, "{known} records were decided again, {written} are in the journal");
    let state = lines.iter().find(|line| line["state"].is_object()).unwrap();
    assert!(state["state"]["queues"][0]["jobs"]["succeeded"].as_u64().unwrap() > 0, "{state}");

    stops_where_it_is_told(&copied);
    says_what_is_wrong(&copied, outside.path());
}

/// At a record, an input, a moment; with the state there and the story of one job.
fn stops_where_it_is_told(dir: &Path) {
    let (code, out, _) = replay(dir, &["--life", "1", "--until", "2002", "--json"]);
    let lines = json(&out);
    let state = &lines.iter().find(|line| line["state"].is_object()).unwrap()["state"];
    assert_eq!(code, Some(0));
    assert!(state["seq"].as_u64().unwrap() >= 2002 && state["volatile"]["attempts"].is_array(), "{state}");
    assert_eq!(lines.last().unwrap()["stopped"], true);

    let (_, at_event, _) = replay(dir, &["--life", "1", "--until", "e5", "--json"]);
    assert_eq!(json(&at_event).last().unwrap()["inputs"], 5);
    let (_, at_time, _) = replay(dir, &["--life", "1", "--until", "0s", "--json"]);
    let begun = json(&at_time);
    assert!(begun.iter().filter(|line| line["at_us"].is_u64()).all(|line| line["at_us"] == 0), "{at_time}");

    let (_, of_job, _) = replay(dir, &["--life", "1", "--job", "8"]);
    assert!(of_job.contains("job 8 is added to work") && !of_job.contains("job 9 is added"), "{of_job}");
    assert!(of_job.lines().any(|line| line.starts_with("job 8 ") && line.contains("Attempts so far")), "{of_job}");

    let page = dir.join("page.html");
    let (code, _, _) = replay(dir, &["--html", page.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert!(fs::read_to_string(page).unwrap().contains("it decides the same"));
}

/// An input that is missing, a byte that is another, an end that was cut off.
fn says_what_is_wrong(dir: &Path, outside: &Path) {
    let with = |name: &str, change: &dyn Fn(&Path)| {
        let changed = outside.join(name);
        copy(dir, &changed);
        change(&changed.join("flight/00000001.jsonl"));
        replay(&changed, &["--life", "1"])
    };
    let (code, out, err) = with("missing", &|path| leave_out(path, "{\"in\":{\"ended\""));
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("it goes another way at input "), "{}", out.lines().last().unwrap_or_default());

    let (code, out, _) = with("flipped", &|path| {
        let mut bytes = fs::read(path).unwrap();
        let near_the_end = bytes.len() - 200;
        bytes[near_the_end] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    assert_eq!(code, Some(4));
    assert!(out.contains("not used: segment 1, at byte "), "{}", out.lines().last().unwrap_or_default());
    assert!(out.contains("job 1 is added"), "what is whole is shown");

    let (code, out, _) = with("cut", &|path| {
        let text = fs::read_to_string(path).unwrap();
        let end = text.match_indices("{\"sum\"").nth(3).map(|(at, _)| at + text[at..].find('\n').unwrap() + 1);
        fs::write(path, &text[..end.unwrap()]).unwrap();
    });
    assert_eq!(code, Some(4));
    assert!(out.contains("cut: the journal goes on for"), "{}", out.lines().last().unwrap_or_default());

    let (code, _, err) = replay(&outside.join("nowhere"), &[]);
    assert_eq!(code, Some(2));
    assert!(err.contains("no recording can be read"), "{err}");
}
