//! Files that version 1 of the format has written, kept for ever: every later version opens them and finds the same.
//!
//! **Invariant.** `tests/fixtures/v1` never changes. It was made once by [`make`], by the Machine, codec and snapshots of then.
#![cfg(test)]

use serde_json::value::RawValue;
use sprag_core::{
    Config, DeadReason, Digest, Input, JobId, Limits, Machine, Mono, NewJob, Now, Outcome, Output, QueueConfig, Record,
    RequestId, RetryPolicy, Seq, State, Wall, When,
};
use sprag_journal::codec::{self, Texts};
use sprag_journal::{Append, JournalError, Opened, Place, QueueId, RealFs, Replay, Snapshot, image, verify};
use sprag_runtime::history;
use sprag_runtime::pipeline::{key_hash, payload_digest};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const WALL: u64 = 1_700_000_000_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1")
}

/// A copy that may be written to.
fn copied() -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("journal")).unwrap();
    for part in ["", "journal"] {
        for file in fs::read_dir(fixture().join(part)).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), to.path().join(part).join(file.file_name())).unwrap();
            }
        }
    }
    to
}

struct Recovered(Machine);

impl Replay<RealFs> for Recovered {
    fn snapshot(&mut self, snapshot: &Snapshot<RealFs>) -> Result<(), JournalError> {
        history::restore(&mut self.0, history::never(Wall(0)), snapshot)
    }

    fn forget(&mut self) {
        self.0 = self.0.emptied();
    }

    fn record(&mut self, seq: u64, place: Place, line: &[u8]) -> Result<(), String> {
        history::replay_line(&mut self.0, history::never, seq, place, line).map(|_| ())
    }
}

/// All that is known, as lines of text.
fn view(root: &Path, machine: &Machine) -> String {
    let mut text = String::new();
    let mut queues: Vec<_> = machine.queues().collect();
    queues.sort_by_key(|queue| queue.name);
    for queue in queues {
        writeln!(text, "queue {} paused={} {:?}", queue.name, queue.paused, queue.counts).unwrap();
    }
    for image in machine.images(history::never(Wall(0))) {
        let job = image.job;
        let line = sprag_journal::read_job(&RealFs, root, image.id.0, job.payload.into()).unwrap();
        let (id, told) = image::told(&line).unwrap();
        assert_eq!(id, image.id);
        let numbers = (job.attempt, job.failures, job.crashes, job.priority);
        let flags = (job.cancelling, job.strict, job.unpublished, image.fence, image.ended_at);
        let (queue, key, payload) = (machine.queue_name(job.queue), told.key, told.payload.get());
        writeln!(text, "job {} {queue} {:?} {numbers:?} {flags:?} {key:?} {payload}", id.0, job.state).unwrap();
    }
    for key in machine.forgotten_keys() {
        writeln!(text, "key {:032x} of job {} {:016x}", key.key.0, key.job.0, key.digest).unwrap();
    }
    writeln!(text, "last job {}, last record {}", machine.last_job().0, machine.last_seq().0).unwrap();
    text
}

fn recovered(root: &Path) -> String {
    let mut recovered = Recovered(Machine::new(Config::default()));
    let limits = sprag_journal::Limits::default();
    let opened = sprag_journal::open(&RealFs, root, limits, QueueId([0; 16]), &mut recovered).unwrap();
    assert!(opened.cut.is_none());
    view(root, &recovered.0)
}

#[test]
fn files_of_version_1_say_what_they_said() {
    let expected = fs::read_to_string(fixture().join("expected.txt")).unwrap();
    let report = verify(&RealFs, &fixture()).unwrap();
    assert!(report.errors.is_empty() && report.sealed && report.snapshots.len() == 2, "{report:?}");
    let whole = copied();
    assert_eq!(recovered(whole.path()), expected);
    // The index is a cache, and so is the newest snapshot.
    let newest = report.snapshots[1].0.file_name().unwrap().to_owned();
    let without = copied();
    for (name, _) in &report.snapshots {
        fs::remove_file(without.path().join(name.with_extension("idx").file_name().unwrap())).unwrap();
    }
    assert_eq!(recovered(without.path()), expected, "without the indexes");
    fs::remove_file(without.path().join(newest)).unwrap();
    assert_eq!(recovered(without.path()), expected, "without the newest snapshot");
}

/// The state is built while the snapshot is still being checked: what was built of a damaged one must leave no trace.
#[test]
fn a_damaged_snapshot_leaves_no_trace() {
    let expected = fs::read_to_string(fixture().join("expected.txt")).unwrap();
    let newest = verify(&RealFs, &fixture()).unwrap().snapshots[1].0.clone();
    let (whole, index) = (fs::read(&newest).unwrap(), newest.with_extension("idx"));
    let copy = copied();
    let (path, index) = [&newest, &index].map(|file| copy.path().join(file.file_name().unwrap())).into();
    for at in (60..whole.len()).step_by(13) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_eq!(recovered(copy.path()), expected, "byte {at}");
        // Without an index one would be made of the lines, and vouch for them.
        if fs::remove_file(&index).is_ok() {
            assert_eq!(recovered(copy.path()), expected, "byte {at}, without the index");
        }
        assert!(!index.exists(), "byte {at}: an index of damaged lines");
    }
}

/// A story with every kind of record and every state, in segments of a few records.
#[test]
#[ignore = "made once; the files are never made again"]
fn make() {
    let root = fixture();
    fs::create_dir_all(&root).unwrap();
    let mut story = Story::begin(&root);
    story.tell();
    fs::write(root.join("expected.txt"), recovered(copied().path())).unwrap();
}

struct Story {
    root: PathBuf,
    opened: Opened<RealFs>,
    machine: Machine,
    now: Now,
    requests: u64,
    item: Option<(Option<String>, Box<RawValue>)>,
    publishes: Vec<JobId>,
}

impl Story {
    fn begin(root: &Path) -> Story {
        let limits = sprag_journal::Limits { segment_bytes_max: 900, ..sprag_journal::Limits::default() };
        let mut nothing = Recovered(Machine::new(Config::default()));
        let opened = sprag_journal::open(&RealFs, root, limits, QueueId([0x5a; 16]), &mut nothing).unwrap();
        let retry = RetryPolicy { attempts: 2, permanent_exit_codes: vec![64], ..RetryPolicy::default() };
        let a = QueueConfig { name: "a".into(), concurrency: 1, retry, ..QueueConfig::default() };
        let b = QueueConfig { name: "b \"quoted\"".into(), ..a.clone() };
        let limits = Limits { keep_jobs: 4, ..Limits::default() };
        let machine = Machine::new(Config { queues: vec![a, b], seed: 1, limits, ..Config::default() });
        let now = Now { mono: Mono(0), wall: Wall(WALL) };
        Story { root: root.to_owned(), opened, machine, now, requests: 0, item: None, publishes: Vec::new() }
    }

    fn send(&mut self, input: Input) {
        (self.now.mono, self.now.wall) = (self.now.mono.after(10), self.now.wall.after(10));
        self.machine.handle(self.now, input);
        let mut line = Vec::new();
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Persist { seq, record } => {
                    let queue = match record {
                        Record::Added { new, .. } => self.machine.queue_name(new.queue),
                        Record::Paused { queue } | Record::Resumed { queue } => self.machine.queue_name(queue),
                        _ => "",
                    };
                    let texts = self.item.as_ref().map(|(key, payload)| Texts { key: key.as_deref(), payload });
                    let texts = texts.filter(|_| matches!(record, Record::Added { .. }));
                    line.clear();
                    codec::encode(&mut line, seq, self.now.wall, &record, queue, texts);
                    self.opened.framer.push(&line);
                }
                Output::Publish { job, .. } => self.publishes.push(job),
                _ => {}
            }
        }
        self.item = None;
    }

    fn sync(&mut self) {
        while let Some(frame) = self.opened.framer.frame().or_else(|| self.opened.framer.seal()) {
            self.append(&frame);
            let through = Seq(frame.seq);
            self.send(Input::Persisted { through });
        }
    }

    fn append(&mut self, frame: &sprag_journal::Frame) {
        let Append::Committed(end) = self.opened.writer.append(frame) else { panic!("not committed") };
        self.opened.framer.committed(end);
    }

    fn add(&mut self, queue: u16, key: Option<&str>, payload: &str, priority: i16, when: When) {
        let queue = sprag_core::QueueId(queue);
        let hash = key.map(|key| key_hash(self.machine.queue_name(queue), key));
        let new = NewJob { queue, key: hash, digest: payload_digest(payload.as_bytes()), priority, when };
        self.item = Some((key.map(str::to_owned), RawValue::from_string(payload.to_owned()).unwrap()));
        self.requests += 1;
        self.send(Input::Submit { request: RequestId(self.requests), job: new });
    }

    /// Everything that may start runs and ends.
    fn work(&mut self, mut outcome: impl FnMut(JobId) -> (Outcome, bool)) {
        for _ in 0..40 {
            self.sync();
            let Some((job, attempt)) = self.machine.attempts().next() else { return };
            self.send(Input::Spawned { job, attempt: attempt.number });
            let (outcome, result) = outcome(job);
            self.send(Input::Ended {
                job,
                attempt: attempt.number,
                outcome,
                result: result.then_some(Digest(0x5eed)),
                gone: true,
            });
        }
    }

    fn ask(&mut self, input: impl FnOnce(RequestId) -> Input) {
        self.requests += 1;
        self.send(input(RequestId(self.requests)));
    }

    fn tell(&mut self) {
        for n in 1..=12 {
            let key = format!("item {n}");
            self.add(0, (n % 3 > 0).then_some(&*key), &format!("{{\"id\":\"\u{e4}-{n}\"}}"), 0, When::Now);
        }
        self.work(|job| match job.0 % 4 {
            0 => (Outcome::Exit(64), false),
            1 => (Outcome::Exit(0), true),
            2 => (Outcome::Exit(0), false),
            _ => (Outcome::Signal(9), false),
        });
        for job in std::mem::take(&mut self.publishes).into_iter().skip(1) {
            self.send(Input::Published { job });
        }
        self.sync();
        let finished = self.opened.writer.position().segment - 1;
        history::take_snapshot(&RealFs, &self.root, finished, false).unwrap();
        self.add(0, Some("delayed"), "1", 5, When::Delay(3_600_000));
        self.add(1, Some("appointed"), "[]", -5, When::At(Wall(WALL + 86_400_000)));
        self.ask(|request| Input::Pause { request, queue: sprag_core::QueueId(1) });
        self.add(1, None, "null", 3, When::Now);
        self.add(1, Some("\u{1F600}"), "\"text\"", 0, When::Now);
        let dead = self.machine.jobs().find(|(_, job)| job.state == State::Dead(DeadReason::Permanent));
        let dead = dead.map(|(id, _)| id).unwrap();
        self.ask(|request| Input::Redrive { request, job: dead });
        self.sync();
        self.work(|_| (Outcome::Exit(0), false));
        let waiting = JobId(self.machine.last_job().0);
        self.ask(|request| Input::Cancel { request, job: waiting });
        for n in 0..6 {
            self.add(0, None, &n.to_string(), 0, When::Now);
        }
        self.sync();
        let finished = self.opened.writer.position().segment - 1;
        history::take_snapshot(&RealFs, &self.root, finished, false).unwrap();
        self.ask(|request| Input::Resume { request, queue: sprag_core::QueueId(1) });
        self.sync();
        self.opened.writer.trim();
    }
}
