//! `kill -9` of sprag, again and again, while producers replace their files.
//!
//! Invariant checked: every item that stood in the last version of a file has exactly one `succeeded` record, and no two
//! attempts of one job ever overlapped. The second is told by the jobs themselves: each holds a lock of its own on a file
//! named after its key, and writes down when it finds it taken.

#![expect(clippy::disallowed_methods, reason = "a test from outside lives in real time")]
#![expect(clippy::unwrap_used, reason = "a test ends where anything fails")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const REPLACES_PER_SECOND: u64 = 200;

const JOB: &str = r#"
exec 8>"running/$SPRAG_KEY"
flock -n 8 || echo "overlap $SPRAG_KEY $SPRAG_ATTEMPT" >> overlaps
echo "$SPRAG_KEY $SPRAG_ATTEMPT $SPRAG_NONCE" >> executions
case $SPRAG_KEY in *33 | *77) sleep 0.7 ;; esac # Some outlive the kill of sprag.
cat
"#;

/// How long the producers write, in seconds; more with `SPRAG_CRASH_SECONDS`.
fn seconds() -> u64 {
    from_env("SPRAG_CRASH_SECONDS", 3)
}

/// How many producers write; more with `SPRAG_CRASH_PRODUCERS`.
fn producers() -> usize {
    usize::try_from(from_env("SPRAG_CRASH_PRODUCERS", 3)).unwrap()
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn nothing_is_lost_and_nothing_overlaps_across_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_pipeline(dir);
    let until = Instant::now() + Duration::from_secs(seconds());
    let producers: Vec<_> = (0..producers())
        .map(|number| {
            let path = dir.join(format!("items{number}.json"));
            thread::spawn(move || produce(&path, number, until))
        })
        .collect();
    let mut kills = 0;
    while Instant::now() < until {
        let mut sprag = run(dir, &[]);
        thread::sleep(Duration::from_millis(1_000));
        sprag.kill().unwrap();
        sprag.wait().unwrap();
        kills += 1;
    }
    let items: u64 = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
    let ended = wait_bounded(run(dir, &["--until-idle"]), Duration::from_secs(60 + 20 * seconds()));
    assert_eq!(ended.code(), Some(0), "the run after the last kill did not become idle: {ended}");

    let succeeded = successes(dir);
    let expected = last_keys(dir);
    assert_eq!(expected.len() as u64, items, "the producers' own count");
    let lost: Vec<&String> = expected.iter().filter(|key| succeeded.get(*key).copied() != Some(1)).collect();
    assert!(
        lost.is_empty(),
        "{} of {items} items without exactly one success: {:?}",
        lost.len(),
        &lost[..lost.len().min(5)]
    );
    let overlaps = fs::read_to_string(dir.join("overlaps")).unwrap_or_default();
    assert!(overlaps.is_empty(), "attempts overlapped:\n{overlaps}");
    let executions = fs::read_to_string(dir.join("executions")).unwrap().lines().count();
    assert!(executions as u64 >= items, "{executions} executions for {items} successes");
    println!("{items} items, {kills} kills, {executions} executions");
}

fn write_pipeline(dir: &Path) {
    // A job that is slow here is under way at every kill: it is no poison.
    let mut config = String::from(
        "[run]\ncrashes = 1000\n\
         [queue.work]\ncommand = [\"sh\", \"job.sh\"]\nconcurrency = 4\noutput = \"done/{key}\"\n",
    );
    for number in 0..producers() {
        config += &format!(
            "[[source]]\npath = \"items{number}.json\"\nformat = \"json-array\"\nqueue = \"work\"\nkey = \"/id\"\n"
        );
    }
    fs::write(dir.join("sprag.toml"), config).unwrap();
    fs::write(dir.join("job.sh"), JOB).unwrap();
    fs::create_dir(dir.join("running")).unwrap();
}

/// Replaces its file by a longer one, again and again; returns how many items the last one holds.
fn produce(path: &Path, number: usize, until: Instant) -> u64 {
    let (started, mut items) = (Instant::now(), Vec::new());
    while Instant::now() < until {
        items.push(format!("{{\"id\":\"p{number}-{}\"}}", items.len()));
        let temporary = path.with_extension("new");
        fs::write(&temporary, format!("[{}]", items.join(","))).unwrap();
        fs::rename(&temporary, path).unwrap();
        let next =
            started + Duration::from_micros(1_000_000 / REPLACES_PER_SECOND) * u32::try_from(items.len()).unwrap();
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    items.len() as u64
}

fn run(dir: &Path, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_sprag"))
        .arg("run")
        .arg(dir)
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::from(fs::File::options().create(true).append(true).open(dir.join("sprag.log")).unwrap()))
        .spawn()
        .unwrap()
}

fn wait_bounded(mut child: Child, limit: Duration) -> std::process::ExitStatus {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("sprag was not idle after {limit:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// How many `succeeded` records each key has, read from the journal without sprag's help.
fn successes(dir: &Path) -> BTreeMap<String, u64> {
    let mut segments: Vec<PathBuf> =
        fs::read_dir(dir.join(".sprag/journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let (mut keys, mut successes) = (BTreeMap::new(), BTreeMap::new());
    for segment in segments.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "jsonl")) {
        for line in fs::read_to_string(segment).unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["type"] == "added" {
                keys.insert(record["job"].as_u64().unwrap(), record["key"].as_str().unwrap().to_owned());
            } else if record["next"] == "succeeded" {
                *successes.entry(keys[&record["job"].as_u64().unwrap()].clone()).or_insert(0) += 1;
            }
        }
    }
    successes
}

fn last_keys(dir: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    for number in 0..producers() {
        let text = fs::read_to_string(dir.join(format!("items{number}.json"))).unwrap();
        let items: Vec<Value> = serde_json::from_str(&text).unwrap();
        keys.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
    }
    keys
}
