//! What must be true, judged from outside: from what the commands did, what the producers wrote, and the files on disk.
//!
//! **Invariant.** No code of the core or the journal is used: records are lines of JSON, executions a log that sprag never sees.

use crate::chance::Chance;
use crate::client::{self, Client};
use crate::failure::{Check, Failure};
use crate::fs::{Image, SimFs};
use crate::places::{Actor, Site};
use crate::plan::DIR;
use crate::processes::result_text;
use crate::producer::{self, Producer};
use serde::Deserialize;
use serde_json::Value;
use sprag_core::{Outcome, RetryPolicy};
use sprag_runtime::driver::Notice;
use sprag_runtime::pipeline::Pipeline;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A command that was executed.
#[derive(Clone, Debug)]
pub struct Execution {
    /// The job that it was executed for, by what it was told.
    pub job: u64,
    /// The attempt's number, likewise.
    pub attempt: u32,
    /// The attempt's fence, likewise.
    pub fence: u64,
    /// When.
    pub at_us: u64,
    /// When, on a clock that stands while the machine sleeps.
    pub awake_us: u64,
    /// In which life of sprag.
    pub life: u32,
    /// The queue, by what it was told.
    pub queue: String,
    /// The item that it read, once it has.
    pub item: Option<(u8, u16)>,
    /// How the command ended, once it has.
    pub outcome: Option<Outcome>,
}

/// What is to become of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Character {
    /// It fails so often first.
    SucceedsAfter(u64),
    /// It ends with an exit code that is permanent.
    Permanent,
    /// It fails every time.
    Hopeless,
}

/// How a wait before another attempt stands in a record.
const RETRY: &[u8] = b"\"next\":\"retry\"";
/// Times are told in whole milliseconds: what is measured by them may be so much shorter, in microseconds.
const CLOCK_US: u64 = 2_000;

/// Something that sprag told people, as a record of this type, job and attempt.
type Said = (&'static str, u64, Option<u32>);

/// The judge.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The execution log.
    pub executions: Vec<Execution>,
    characters: BTreeMap<(u8, u16), Character>,
    said: BTreeSet<Said>,
    /// Jobs that must not start yet: in which life, and until when.
    waiting: BTreeMap<u64, (u32, u64)>,
    /// Segments that sprag has removed, as they were: what they said still counts.
    removed: BTreeMap<PathBuf, Rc<[u8]>>,
}

/// One record, by its documented fields.
#[derive(Debug, Deserialize)]
struct Record {
    seq: u64,
    #[serde(rename = "type")]
    kind: String,
    at: u64,
    job: Option<u64>,
    queue: Option<String>,
    key: Option<String>,
    attempt: Option<u32>,
    due: Option<u64>,
    outcome: Option<Value>,
    next: Option<String>,
    reason: Option<String>,
    /// The digest of a result to publish.
    result: Option<String>,
    payload: Option<Value>,
}

/// A job, as its records tell.
#[derive(Debug, Default)]
struct Job {
    item: Option<(u8, u16)>,
    key: String,
    /// Attempt to fence.
    grants: BTreeMap<u32, u64>,
    outcomes: usize,
    /// The records that ended it: (next, reason, attempt, digest of the result).
    ends: Vec<(String, Option<String>, u32, Option<String>)>,
    published: usize,
    forgotten: bool,
    queue: String,
    /// An attempt is under way.
    running: bool,
    /// A cancel was accepted, and its end is to come.
    cancelling: bool,
    /// Failures that were followed by a wait, since the last time it was tried again from the start.
    failures: i32,
}

/// Whether an item stood in a whole file, or was asked for.
pub fn stood(producers: &[Producer], client: &Client, (source, item): (u8, u16)) -> bool {
    let written = |producer: &Producer| producer.source() == source && item < producer.complete();
    producers.iter().any(written) || (source == client::SOURCE && client.asked_for(item))
}

/// The item whose payload this is, if its id is one of ours.
pub fn item_of(payload: &str) -> Option<(u8, u16)> {
    let value: Value = serde_json::from_str(payload).ok()?;
    item_of_value(&value)
}

fn item_of_value(value: &Value) -> Option<(u8, u16)> {
    let (name, item) = value.get("id")?.as_str()?.split_once('-')?;
    Some((name.bytes().next()?.checked_sub(b'a')?, item.parse().ok()?))
}

/// Whether it is a segment of the journal.
fn is_segment(path: &Path) -> bool {
    path.parent() == Some(&Path::new(DIR).join(".sprag/journal")) && path.extension().is_some_and(|ext| ext == "jsonl")
}

/// The records of the journal that begin so, in order: of the segments there are, and of those that were removed.
fn records(image: &Image, removed: &BTreeMap<PathBuf, Rc<[u8]>>, begin: &str) -> Result<Vec<Record>, Failure> {
    let mut segments: BTreeMap<&PathBuf, &Rc<[u8]>> = removed.iter().collect();
    segments.extend(image.files.iter().filter(|(path, _)| is_segment(path)));
    let mut records = Vec::new();
    for (path, bytes) in segments {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(begin.as_bytes())) {
            let wrong = |error| Check::RecordsMakeSense.failed(format!("{}: {error}", path.display()));
            let record = serde_json::from_slice(line).map_err(wrong)?;
            records.push(record);
        }
    }
    Ok(records)
}

impl Oracle {
    /// What is to become of an item: drawn once.
    pub fn character(&mut self, chance: &mut Chance, source: u8, item: u16) -> Character {
        *self.characters.entry((source, item)).or_insert_with(|| {
            match chance.below(Actor::Item(source, item), Site::Character, 32) {
                0..20 => Character::SucceedsAfter(0),
                20..26 => Character::SucceedsAfter(1),
                26..28 => Character::SucceedsAfter(2),
                28..31 => Character::Permanent,
                _ => Character::Hopeless,
            }
        })
    }

    /// A command is executed now: what allows it must be on the medium already, whatever the cache holds.
    pub fn executed(&mut self, execution: Execution, fs: &SimFs) -> Result<(), Failure> {
        let Execution { job, attempt, fence, at_us, life, .. } = execution;
        self.executions.push(execution);
        if let Some((_, until_us)) = self.waiting.remove(&job).filter(|(of, until_us)| *of == life && at_us < *until_us)
        {
            let early_ms = (until_us - at_us).div_ceil(1000);
            return Err(Check::WaitsHold.failed(format!("job {job} starts {early_ms} ms before its time")));
        }
        if self.executions.iter().filter(|other| other.fence == fence && other.job == job).count() > 1 {
            return Err(Check::FenceOnce.failed(format!("job {job} is executed twice under fence {fence}")));
        }
        let nothing_kept = &mut |_| 1;
        let begin = format!("{{\"seq\":{fence},");
        let durable = records(&fs.draw(nothing_kept), &self.removed, &begin)?;
        let allowed = durable.iter().any(|record| record.allows(job, attempt, fence));
        let what = || format!("job {job} is executed before its record {fence} is durable");
        if allowed { Ok(()) } else { Err(Check::DurableFirst.failed(what())) }
    }

    /// Sprag is about to remove a file.
    pub fn removes(&mut self, path: &Path, fs: &SimFs) {
        if is_segment(path)
            && let Some(bytes) = fs.draw(&mut |_| 1).files.remove(path)
        {
            self.removed.insert(path.to_owned(), bytes);
        }
    }

    /// Sprag tells people something: it must never be untrue again.
    pub fn said(&mut self, notice: &Notice) {
        let said = match notice {
            Notice::Added { job, .. } => ("added", job.0, None),
            Notice::Started { job, attempt, .. } => ("started", job.0, Some(*attempt)),
            Notice::Finished { job, attempt, .. } => ("finished", job.0, Some(*attempt)),
            Notice::Dead { job, .. } => ("finished", job.0, None),
            Notice::Published { job } => ("published", job.0, None),
            Notice::Begun
            | Notice::Settled
            | Notice::HeldUp { .. }
            | Notice::Waiting { .. }
            | Notice::Appeared { .. }
            | Notice::Changed { .. }
            | Notice::ServiceStarted { .. }
            | Notice::ServiceShort { .. }
            | Notice::ServiceStopped { .. }
            | Notice::PublishFailed { .. }
            | Notice::Complaint { .. }
            | Notice::Mended { .. }
            | Notice::Polling { .. }
            | Notice::Refused { .. }
            | Notice::NoSpace { .. }
            | Notice::ServiceEnded { .. }
            | Notice::TornTail { .. }
            | Notice::Health { .. }
            | Notice::SnapshotFailed { .. }
            | Notice::StatusFailed { .. }
            | Notice::NotRecorded { .. } => return,
        };
        self.said.insert(said);
    }

    /// Sprag told a client that there is a record of this type.
    pub fn told(&mut self, kind: &'static str, job: u64) {
        self.said.insert((kind, job, None));
    }

    /// A job must not start before this time, as long as this life of sprag lasts.
    pub fn waits(&mut self, job: u64, life: u32, until_us: u64) {
        self.waiting.insert(job, (life, until_us));
    }

    /// From here on these may start at any time: somebody wants it.
    pub fn waits_no_more(&mut self, job: Option<u64>) {
        self.waiting.retain(|other, _| job.is_some_and(|job| job != *other));
    }

    /// Sprag hands these lines to its journal: what has to wait from when they were decided on. Calendar and clock have
    /// gone alike meanwhile.
    pub fn decides(&mut self, lines: &[u8], life: u32, now_us: u64, wall_ms: u64) {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"seq\":")) {
            let retry = line.windows(RETRY.len()).any(|window| window == RETRY);
            let record = if retry { serde_json::from_slice::<Record>(line).ok() } else { None };
            if let Some(Record { job: Some(job), due: Some(due), at, .. }) = record {
                let decided_us = now_us.saturating_sub(wall_ms.saturating_sub(at) * 1000);
                self.waits(job, life, (decided_us + due.saturating_sub(at) * 1000).saturating_sub(CLOCK_US));
            }
        }
    }

    /// Judges the end of a run: everything is at rest, and nothing went wrong for a while.
    pub fn judge(
        &self,
        image: &Image,
        pipeline: &Pipeline,
        producers: &[Producer],
        client: &Client,
    ) -> Result<(), Failure> {
        let records = records(image, &self.removed, "{\"seq\":")?;
        let jobs = fold(&records, pipeline)?;
        self.judge_records(&records)?;
        judge_snapshots(&records, pipeline, image).map_err(|what| Check::SnapshotIsTrue.failed(what))?;
        for producer in producers {
            for item in 0..producer.complete() {
                self.judge_item(&jobs, image, producer.source(), item)?;
            }
        }
        for item in client.items() {
            self.judge_item(&jobs, image, client::SOURCE, item)?;
        }
        for (number, job) in &jobs {
            if !job.item.is_some_and(|item| stood(producers, client, item)) {
                let what = format!("job {number} was made of something that stood in no whole file");
                return Err(Check::NothingInvented.failed(what));
            }
            let executed = self.executions.iter().filter(|execution| execution.job == *number).count();
            if job.outcomes > executed {
                let what = format!("job {number}: {} outcomes on record, {executed} executions", job.outcomes);
                return Err(Check::OutcomesAreReal.failed(what));
            }
        }
        Ok(())
    }

    fn judge_records(&self, records: &[Record]) -> Result<(), Failure> {
        for (kind, job, attempt) in &self.said {
            let same = |record: &&Record| {
                record.kind == *kind && record.job == Some(*job) && (attempt.is_none() || record.attempt == *attempt)
            };
            if !records.iter().any(|record| same(&record)) {
                let what = format!("it was said that job {job} was {kind} ({attempt:?}), and no record says so");
                return Err(Check::SaidIsKept.failed(what));
            }
        }
        for Execution { job, attempt, fence, .. } in &self.executions {
            if !records.iter().any(|record| record.allows(*job, *attempt, *fence)) {
                let what = format!("job {job} was executed under fence {fence}, and no record says so");
                return Err(Check::ExecutedIsKept.failed(what));
            }
        }
        Ok(())
    }

    fn judge_item(&self, jobs: &BTreeMap<u64, Job>, image: &Image, source: u8, item: u16) -> Result<(), Failure> {
        let name = format!("item {}-{item}", crate::trace::name_of(source));
        let mut made = jobs.iter().filter(|(_, job)| job.item == Some((source, item)));
        let (number, job) = match (made.next(), made.next()) {
            (Some(one), None) => one,
            (None, _) => return Err(Check::OneJobEach.failed(format!("{name} stood in the last file and made no job"))),
            (Some(_), Some(_)) => return Err(Check::OneJobEach.failed(format!("{name} made more than one job"))),
        };
        let wrong_end = |what: String| Err(Check::RightEnd.failed(format!("{name}, job {number}, {what}")));
        let [(next, reason, attempt, digest)] = &job.ends[..] else {
            return wrong_end(format!("has {} ends: {:?}", job.ends.len(), job.ends));
        };
        let expected = match self.characters.get(&(source, item)) {
            // The fold knows that this was asked for.
            _ if next == "cancelled" => ("cancelled", None),
            None => return wrong_end("ended and was never executed".into()),
            Some(Character::SucceedsAfter(_)) => ("succeeded", None),
            Some(Character::Permanent) => ("dead", Some("permanent")),
            Some(Character::Hopeless) => ("dead", Some("exhausted")),
        };
        if (next.as_str(), reason.as_deref()) != expected {
            return wrong_end(format!("ended as {next} {reason:?}, not as {expected:?}"));
        }
        if let Some(digest) = digest {
            let path = Path::new(DIR).join(format!("out/{}.json", job.key));
            let wanted = result_text(source, item, job.grants.get(attempt).copied().unwrap_or(0));
            let found = image.files.get(&path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let on_record = blake3::hash(wanted.as_bytes()).to_hex();
            let wrong = |what: String| Err(Check::ResultStands.failed(format!("{name}, job {number}: {what}")));
            if digest.as_str() != &on_record[..32] {
                return wrong(format!("the record names result {digest}, not {on_record}"));
            }
            if job.published != 1 || found.as_deref() != Some(&wanted) {
                return wrong(format!("{} holds {found:?}, not {wanted:?}", path.display()));
            }
        }
        Ok(())
    }
}

impl Record {
    /// Whether it lets this attempt be executed.
    fn allows(&self, job: u64, attempt: u32, fence: u64) -> bool {
        let grants = self.kind == "started" || self.kind == "reserved";
        grants && self.seq == fence && self.job == Some(job) && self.attempt == Some(attempt)
    }
}

/// Every snapshot is what the records up to its position add up to.
fn judge_snapshots(records: &[Record], pipeline: &Pipeline, image: &Image) -> Result<(), String> {
    for (path, bytes) in &image.files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let seq = name.strip_prefix("snapshot-").and_then(|name| name.strip_suffix(".jsonl"));
        let Some(seq) = seq.and_then(|seq| seq.parse::<usize>().ok()) else { continue };
        let wrong = |what: String| Err(format!("{}: {what}", path.display()));
        let Some(covered) = records.get(..seq) else { return wrong("it is ahead of the journal".into()) };
        let mut jobs = fold(covered, pipeline).map_err(|failure| failure.what)?;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"type\":")) {
            let line: Value = serde_json::from_slice(line).map_err(|error| format!("{}: {error}", path.display()))?;
            if line["type"] != "job" {
                continue;
            }
            let number = line["job"].as_u64().unwrap_or(0);
            let Some(job) = jobs.remove(&number).filter(|job| !job.forgotten) else {
                return wrong(format!("job {number} is not known"));
            };
            let ended = job.ends.last().map(|(next, ..)| next.as_str());
            let state = line["state"].as_str().filter(|state| ["succeeded", "dead", "cancelled"].contains(state));
            let attempt = job.grants.last_key_value().map_or(0, |(attempt, _)| *attempt);
            let same = state == ended
                && line["attempt"].as_u64().unwrap_or(0) == u64::from(attempt)
                && item_of_value(&line["payload"]) == job.item
                && line["key"] == job.key;
            if !same {
                return wrong(format!("{line} is not {job:?}"));
            }
        }
        if let Some((number, _)) = jobs.iter().find(|(_, job)| !job.forgotten) {
            return wrong(format!("job {number} is missing"));
        }
    }
    Ok(())
}

/// The jobs that the records tell of; the records must follow each other and make sense.
fn fold(records: &[Record], pipeline: &Pipeline) -> Result<BTreeMap<u64, Job>, Failure> {
    let mut jobs: BTreeMap<u64, Job> = BTreeMap::new();
    let mut paused: BTreeSet<&str> = BTreeSet::new();
    for (expected, record) in (1..).zip(records) {
        let wrong = |check: Check, what: &str| check.failed(format!("record {}: {what}: {record:?}", record.seq));
        let nonsense = |what: &str| wrong(Check::RecordsMakeSense, what);
        if record.seq != expected {
            return Err(nonsense("out of order"));
        }
        let queue = record.queue.as_deref().unwrap_or_default();
        let Some(number) = record.job else {
            match record.kind.as_str() {
                "paused" => _ = paused.insert(queue),
                "resumed" => _ = paused.remove(queue),
                _ => return Err(nonsense("of no job")),
            }
            continue;
        };
        if record.kind == "added" {
            let item = record.payload.as_ref().and_then(item_of_value);
            let whole = item.map(|(source, item)| serde_json::from_str::<Value>(&producer::item(source, item)));
            let item = item.filter(|_| whole.is_some_and(|whole| whole.ok() == record.payload));
            let key = record.key.clone().unwrap_or_default();
            let job = Job { item, key, queue: queue.into(), ..Job::default() };
            if jobs.insert(number, job).is_some() {
                return Err(nonsense("a job is added twice"));
            }
            continue;
        }
        let job = jobs.get_mut(&number).ok_or_else(|| nonsense("of a job that was never added"))?;
        let starts = record.kind == "started" || record.kind == "reserved";
        if starts && paused.contains(job.queue.as_str()) {
            return Err(wrong(Check::PauseHolds, "starts in a paused queue"));
        }
        let policy = pipeline.queue(&job.queue).map(|queue| &queue.policy.retry);
        job.follow(record, policy).map_err(|(check, what)| wrong(check, &what))?;
    }
    Ok(jobs)
}

impl Job {
    /// What a record says of it, after the one that added it.
    fn follow(&mut self, record: &Record, policy: Option<&RetryPolicy>) -> Result<(), (Check, String)> {
        let nonsense = |what: &str| Err((Check::RecordsMakeSense, what.to_owned()));
        let after_end = ["published", "forgotten", "redriven"].contains(&record.kind.as_str());
        if self.forgotten || (!self.ends.is_empty() && !after_end) {
            return nonsense("after the end of its job");
        }
        let attempt = record.attempt.unwrap_or(0);
        match record.kind.as_str() {
            "reserved" | "started" => {
                if self.grants.last_key_value().is_some_and(|(last, _)| *last > attempt) {
                    return nonsense("an attempt before the last one");
                }
                self.grants.entry(attempt).or_insert(record.seq);
                self.running = true;
            }
            "finished" => {
                if self.grants.last_key_value().map(|(last, _)| *last) != Some(attempt) {
                    return nonsense("an attempt ends that is not the last one");
                }
                self.outcomes += usize::from(record.outcome.is_some());
                return self.finishes(record, policy, attempt);
            }
            "cancelled" if self.running => self.cancelling = true,
            "cancelled" => self.ends.push(("cancelled".into(), None, attempt, None)),
            "redriven" => match self.ends.pop() {
                Some((end, ..)) if end == "dead" || end == "cancelled" => self.failures = 0,
                Some(_) | None => return nonsense("of a job that is neither dead nor cancelled"),
            },
            "published" => self.published += 1,
            "forgotten" if self.ends.is_empty() => return nonsense("before the end of its job"),
            "forgotten" => self.forgotten = true,
            other => return nonsense(&format!("nobody asked for `{other}`")),
        }
        Ok(())
    }

    fn finishes(&mut self, record: &Record, policy: Option<&RetryPolicy>, attempt: u32) -> Result<(), (Check, String)> {
        let next = record.next.clone().unwrap_or_default();
        self.running = false;
        if std::mem::take(&mut self.cancelling) != (next == "cancelled") {
            return Err((
                Check::CancelHolds,
                "a cancel that was accepted decides the end, and nothing else does".into(),
            ));
        }
        if let ("retry", Some(policy)) = (next.as_str(), policy) {
            self.failures += 1;
            let grown = policy.backoff_ms as f64 * (policy.factor_ppm as f64 / 1e6).powi(self.failures - 1);
            let wanted_ms = grown.min(policy.max_ms as f64);
            let slack_ms = wanted_ms * policy.jitter_ppm as f64 / 1e6 + f64::from(self.failures) + 1.0;
            let waits_ms = record.due.unwrap_or(0).saturating_sub(record.at) as f64;
            if (waits_ms - wanted_ms).abs() > slack_ms {
                let what = format!("failure {} is followed by {waits_ms} ms, not {wanted_ms}", self.failures);
                return Err((Check::WaitsHold, what));
            }
        }
        if next == "succeeded" || next == "dead" || next == "cancelled" {
            self.ends.push((next, record.reason.clone(), attempt, record.result.clone()));
        }
        Ok(())
    }
}
