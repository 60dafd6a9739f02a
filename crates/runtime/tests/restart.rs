//! How long a restart with a million pending jobs takes, and how much memory each takes. Run by hand, in release:
//! `cargo test --release -p sprag-runtime --test restart -- --ignored --nocapture`.
#![cfg(test)]

use serde_json::value::RawValue;
use sprag_core::{JobId, Limits, NewJob, QueueConfig, QueueId, Record, Seq, When};
use sprag_journal::codec::{self, Texts};
use sprag_journal::{RealFs, Snapshot};
use sprag_runtime::driver::{self, Effect, Event};
use sprag_runtime::pipeline::{ConfigDigest, DiskLimits, LOG_BYTES_MAX, Pipeline, QueueSpec, key_hash};
use sprag_runtime::{history, live, task::Task};
use std::path::Path;
use std::sync::Arc;

const JOBS: u64 = 1_000_000;
const FOLDER: &str = "SPRAG_RESTART_FOLDER";

fn pipeline(dir: &Path) -> Arc<Pipeline> {
    let policy = QueueConfig { name: "a".into(), concurrency: 9, ..QueueConfig::default() };
    Arc::new(Pipeline {
        dir: dir.to_owned(),
        queues: vec![QueueSpec { policy, command: vec!["true".into()], output: None, log_bytes_max: LOG_BYTES_MAX }],
        sources: Vec::new(),
        services: Vec::new(),
        env_allow: Vec::new(),
        limits: Limits::default(),
        disk: DiskLimits::default(),
        status_path: None,
        stop_timeout_ms: 0,
        config_digest: ConfigDigest::default(),
    })
}

struct Nothing;

impl sprag_journal::Replay<RealFs> for Nothing {
    fn snapshot(&mut self, _: &Snapshot<RealFs>) -> Result<(), sprag_journal::JournalError> {
        Ok(())
    }

    fn forget(&mut self) {}

    fn record(&mut self, _: u64, _: sprag_journal::Place, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn fill(state: &Path) -> u32 {
    std::fs::create_dir_all(state).unwrap();
    let limits = sprag_journal::Limits::default();
    let mut opened =
        sprag_journal::open(&RealFs, state, limits, sprag_journal::QueueId([7; 16]), &mut Nothing).unwrap();
    let payload = RawValue::from_string(format!("{{\"text\":\"{}\"}}", "x".repeat(189))).unwrap();
    let mut line = Vec::new();
    for n in 1..=JOBS {
        let key = format!("item-{n}");
        let new = NewJob { queue: QueueId(0), key: Some(key_hash("a", &key)), digest: n, priority: 0, when: When::Now };
        line.clear();
        let record = Record::Added { job: JobId(n), new, due: None };
        codec::encode(
            &mut line,
            Seq(n),
            live::now().wall,
            &record,
            "a",
            Some(Texts { key: Some(&key), payload: &payload }),
        );
        opened.framer.push(&line);
        while opened.framer.pending() > 200_000 || (n == JOBS && opened.framer.pending() > 0) {
            let frame = opened.framer.frame().unwrap();
            let sprag_journal::Append::Committed(end) = opened.writer.append(&frame) else { panic!("not committed") };
            opened.framer.committed(end);
        }
    }
    opened.writer.position().segment
}

#[expect(clippy::disallowed_methods, reason = "this measures")]
fn elapsed_ms(what: &str, since: &mut std::time::Instant) {
    println!("{what}: {} ms", since.elapsed().as_millis());
    *since = std::time::Instant::now();
}

fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "a measurement, by hand"]
#[expect(clippy::disallowed_methods, reason = "this measures")]
fn a_million_pending_jobs() {
    let Some(dir) = std::env::var_os(FOLDER) else {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join(".sprag");
        let mut since = std::time::Instant::now();
        let last = fill(&state);
        elapsed_ms("adding", &mut since);
        history::take_snapshot(&RealFs, &state, last - 1, false).unwrap();
        elapsed_ms("the snapshot", &mut since);
        for file in std::fs::read_dir(&state).unwrap().chain(std::fs::read_dir(state.join("journal")).unwrap()) {
            let file = file.unwrap();
            println!("  {}: {} bytes", file.path().display(), file.metadata().unwrap().len());
        }
        for _ in 0..3 {
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.args(["--ignored", "--nocapture", "a_million_pending_jobs"]).env(FOLDER, dir.path());
            assert!(again.status().unwrap().success());
        }
        return;
    };
    let before = rss_bytes();
    let mut since = std::time::Instant::now();
    let mut opened =
        driver::open(&RealFs, pipeline(Path::new(&dir)), sprag_journal::Limits::default(), live::now(), [1; 16])
            .unwrap();
    elapsed_ms("open", &mut since);
    // The start is decided; it is executed once its record is durable.
    let mut started = false;
    opened.driver.handle(live::now(), Event::Tick);
    while !started {
        let effect = opened.driver.poll().unwrap();
        match effect {
            Effect::Journal(work) => {
                let answer = driver::journal_step(&mut opened.writer, work);
                opened.driver.handle(live::now(), Event::Journal(answer));
            }
            Effect::Run(Task::Start { .. }) => started = true,
            _ => {}
        }
    }
    elapsed_ms("first start", &mut since);
    let jobs = opened.driver.machine().jobs().count() as u64;
    assert_eq!(jobs, JOBS);
    println!("memory: {} bytes a job", (rss_bytes() - before) / jobs);
}
