//! The records as the lines of JSON that anybody can read, and what they add up to.
//!
//! **Invariant.** Records follow each other and make sense; a key stands for one job until it is let go; nothing starts before
//! something else that had to start first.

use crate::failure::{Check, Failure};
use crate::fs::Image;
use crate::items::{self, Id};
use crate::plan::DIR;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sprag_runtime::pipeline::Pipeline;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// No more segments are left of a journal that is cut as short as it can be.
const SEGMENTS_BARE: usize = 3;

/// One record, by its documented fields.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) seq: u64,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) at: u64,
    pub(super) job: Option<u64>,
    pub(super) queue: Option<String>,
    pub(super) key: Option<String>,
    pub(super) attempt: Option<u32>,
    pub(super) due: Option<u64>,
    pub(super) outcome: Option<Value>,
    pub(super) next: Option<String>,
    pub(super) reason: Option<String>,
    keyhash: Option<String>,
    pub(super) priority: Option<i16>,
    /// The digest of a result to publish.
    result: Option<String>,
    pub(super) payload: Option<Box<RawValue>>,
}

/// A line of a snapshot, by its documented fields.
#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "type")]
    kind: String,
    job: Option<u64>,
    state: Option<String>,
    attempt: Option<u32>,
    payload: Option<Box<RawValue>>,
    key: Option<String>,
}

/// A job, as its records tell.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) item: Option<Id>,
    pub(super) key: String,
    /// Attempt to fence.
    pub(super) grants: BTreeMap<u32, u64>,
    pub(super) outcomes: usize,
    /// The records that ended it: (next, reason, attempt, digest of the result).
    pub(super) ends: Vec<(String, Option<String>, u32, Option<String>)>,
    pub(super) published: usize,
    pub(super) forgotten: bool,
    pub(super) key_forgotten: bool,
    pub(super) queue: String,
    priority: i16,
    /// It waits for no time and nothing but a place: it is new, was tried again from the start, or gave its reservation back.
    waits: bool,
    /// An attempt is under way.
    running: bool,
    /// A cancel was accepted, and its end is to come.
    cancelling: bool,
    /// Failures that were followed by a wait, since the last time it was tried again from the start.
    failures: i32,
    /// Attempts in a row whose end nobody saw: sprag died meanwhile.
    crashes: u16,
}

/// The folder of the journal's segments.
pub(super) fn journal_dir() -> PathBuf {
    Path::new(DIR).join(".sprag/journal")
}

/// Whether it is a segment of the journal.
pub(super) fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "jsonl") && path.parent() == Some(&journal_dir())
}

/// The last record that a snapshot covers, if this is the name of one.
fn covered_by(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("snapshot-")?.strip_suffix(".jsonl")?.parse().ok()
}

/// Whether a journal is as short as one can be: one snapshot at most, and no record that it does not cover. The last segment
/// that it covers stays, since what comes next follows it; then there may be one of seals alone, and the open one.
pub(crate) fn judge_bare(image: &Image) -> Result<(), Failure> {
    let snapshots: Vec<u64> = image.files.keys().filter_map(|path| covered_by(path)).collect();
    let newest = snapshots.iter().max().copied().unwrap_or(0);
    let segments = image.files.keys().filter(|path| is_segment(path)).count();
    let beyond = records(&image.files, &BTreeMap::new())?.iter().filter(|record| record.seq > newest).count();
    if snapshots.len() <= 1 && segments <= SEGMENTS_BARE && beyond == 0 {
        return Ok(());
    }
    let snapshots = snapshots.len();
    Err(Check::MakesRoom.failed(format!("{snapshots} snapshots, {segments} segments, {beyond} records beyond them")))
}

/// The lines of the record of this number.
pub(super) fn lines_of(segment: &[u8], seq: u64) -> impl Iterator<Item = &[u8]> {
    let begin = format!("{{\"seq\":{seq},");
    segment.split(|byte| *byte == b'\n').filter(move |line| line.starts_with(begin.as_bytes()))
}

/// The records of the journal in order: of the segments among these files, and of those that were removed.
pub(super) fn records<'a>(
    files: impl IntoIterator<Item = (&'a PathBuf, &'a Rc<[u8]>)>,
    removed: &'a BTreeMap<PathBuf, Rc<[u8]>>,
) -> Result<Vec<Record>, Failure> {
    let mut segments: BTreeMap<&PathBuf, &Rc<[u8]>> = removed.iter().collect();
    segments.extend(files.into_iter().filter(|(path, _)| is_segment(path)));
    let mut records = Vec::new();
    for (path, bytes) in segments {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"seq\":")) {
            let wrong = |error| Check::RecordsMakeSense.failed(format!("{}: {error}", path.display()));
            let record = serde_json::from_slice(line).map_err(wrong)?;
            records.push(record);
        }
    }
    Ok(records)
}

impl Record {
    /// Whether it lets an attempt be executed.
    pub(super) fn is_grant(&self) -> bool {
        self.kind == "started" || self.kind == "reserved"
    }

    /// Whether it lets this attempt be executed.
    pub(super) fn allows(&self, job: u64, attempt: u32, fence: u64) -> bool {
        self.is_grant() && self.seq == fence && self.job == Some(job) && self.attempt == Some(attempt)
    }
}

/// What the records add up to.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// The number of the last one.
    pub(super) last: u64,
    pub(super) jobs: BTreeMap<u64, Job>,
    paused: BTreeSet<String>,
    /// Keys that are known, with their jobs.
    keys: BTreeMap<String, u64>,
}

/// The jobs that the records tell of; the records must follow each other and make sense.
pub(super) fn fold(records: &[Record], pipeline: &Pipeline) -> Result<Fold, Failure> {
    let mut fold = Fold::default();
    records.iter().try_for_each(|record| fold.follow(record, pipeline))?;
    Ok(fold)
}

type Wrong = (Check, String);

fn nonsense<T>(what: impl Into<String>) -> Result<T, Wrong> {
    Err((Check::RecordsMakeSense, what.into()))
}

impl Fold {
    /// One record more.
    pub(super) fn follow(&mut self, record: &Record, pipeline: &Pipeline) -> Result<(), Failure> {
        let wrong = |(check, what): Wrong| check.failed(format!("record {}: {what}: {record:?}", record.seq));
        if record.seq != self.last + 1 {
            return Err(wrong((Check::RecordsMakeSense, "out of order".into())));
        }
        self.last = record.seq;
        match record.job {
            Some(number) => self.of_job(number, record, pipeline).map_err(wrong),
            None => self.of_queue(record).map_err(wrong),
        }
    }

    fn of_queue(&mut self, record: &Record) -> Result<(), Wrong> {
        let queue = record.queue.as_deref().unwrap_or_default();
        match record.kind.as_str() {
            "paused" => _ = self.paused.insert(queue.to_owned()),
            "resumed" => _ = self.paused.remove(queue),
            _ => return nonsense("of no job"),
        }
        Ok(())
    }

    fn of_job(&mut self, number: u64, record: &Record, pipeline: &Pipeline) -> Result<(), Wrong> {
        if record.kind == "added" {
            return self.added(number, record);
        }
        let starts = record.is_grant();
        if starts {
            self.starts(number)?;
        }
        let Some(job) = self.jobs.get_mut(&number) else { return nonsense("of a job that was never added") };
        if starts && self.paused.contains(job.queue.as_str()) {
            return Err((Check::PauseHolds, "starts in a paused queue".into()));
        }
        if record.kind == "key_forgotten" {
            if !job.forgotten || std::mem::replace(&mut job.key_forgotten, true) {
                return nonsense("of a job that is still known, or the second time");
            }
            self.keys.retain(|_, known| *known != number);
            return Ok(());
        }
        job.follow(record, pipeline)
    }

    fn added(&mut self, number: u64, record: &Record) -> Result<(), Wrong> {
        let job = Job {
            item: record.payload.as_deref().and_then(items::of_value),
            key: record.key.clone().unwrap_or_default(),
            queue: record.queue.clone().unwrap_or_default(),
            priority: record.priority.unwrap_or(0),
            waits: record.due.is_none(),
            ..Job::default()
        };
        if self.jobs.insert(number, job).is_some() {
            return nonsense("a job is added twice");
        }
        let known = record.keyhash.as_deref().and_then(|key| self.keys.insert(key.to_owned(), number));
        known.map_or(Ok(()), |known| Err((Check::KeysHold, format!("its key is that of job {known}"))))
    }

    /// Of the jobs that surely wait, the one of the highest priority starts, and among those the one that came first.
    fn starts(&self, number: u64) -> Result<(), Wrong> {
        let Some(job) = self.jobs.get(&number) else { return Ok(()) };
        let better = |(other, one): &(&u64, &Job)| {
            let before = (std::cmp::Reverse(one.priority), **other) < (std::cmp::Reverse(job.priority), number);
            one.waits && before && one.queue == job.queue
        };
        match self.jobs.iter().find(better) {
            Some((other, _)) => Err((Check::OrderHolds, format!("job {other} was to start before"))),
            None => Ok(()),
        }
    }
}

impl Fold {
    /// An item makes one job, whether it still stands somewhere or was taken away; another only once its key was let go.
    pub(super) fn judge_known(&self) -> Result<(), Failure> {
        let mut known = BTreeMap::new();
        for (number, job) in self.jobs.iter().filter(|(_, job)| !job.key_forgotten) {
            if let Some(before) = job.item.and_then(|item| known.insert(item, number)) {
                let what = format!("jobs {before} and {number} were made of one item: {:?}", job.item);
                return Err(Check::OneJobEach.failed(what));
            }
        }
        Ok(())
    }
}

impl Job {
    /// What a record says of it, after the one that added it.
    fn follow(&mut self, record: &Record, pipeline: &Pipeline) -> Result<(), Wrong> {
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
                self.waits = false;
            }
            "finished" => {
                if self.grants.last_key_value().map(|(last, _)| *last) != Some(attempt) {
                    return nonsense("an attempt ends that is not the last one");
                }
                self.outcomes += usize::from(record.outcome.is_some());
                return self.finishes(record, pipeline, attempt);
            }
            "cancelled" if self.running => self.cancelling = true,
            "cancelled" => {
                self.waits = false;
                self.ends.push(("cancelled".into(), None, attempt, None));
            }
            "redriven" => match self.ends.pop() {
                Some((end, ..)) if end == "dead" || end == "cancelled" => {
                    (self.failures, self.crashes, self.waits) = (0, 0, true);
                }
                Some(_) | None => return nonsense("of a job that is neither dead nor cancelled"),
            },
            "published" => self.published += 1,
            "forgotten" if self.ends.is_empty() => return nonsense("before the end of its job"),
            "forgotten" => self.forgotten = true,
            other => return nonsense(format!("nobody asked for `{other}`")),
        }
        Ok(())
    }

    fn finishes(&mut self, record: &Record, pipeline: &Pipeline, attempt: u32) -> Result<(), Wrong> {
        let policy = pipeline.queue(&self.queue).map(|queue| &queue.policy.retry);
        let next = record.next.clone().unwrap_or_default();
        (self.running, self.waits) = (false, next == "unused");
        if std::mem::take(&mut self.cancelling) != (next == "cancelled") {
            return Err((
                Check::CancelHolds,
                "a cancel that was accepted decides the end, and nothing else does".into(),
            ));
        }
        self.crashed(record, &next, pipeline.limits.crashes_max)?;
        if let ("retry", Some(policy)) = (next.as_str(), policy) {
            self.failures += 1;
            self.crashes = 0;
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

    /// An attempt whose end nobody saw died with sprag. After so many in a row its job is poison, and not before.
    fn crashed(&mut self, record: &Record, next: &str, crashes_max: u16) -> Result<(), Wrong> {
        let poison = record.reason.as_deref() == Some("poison");
        self.crashes += u16::from(record.outcome.is_none() && (next == "again" || poison));
        if poison == (self.crashes >= crashes_max) {
            return Ok(());
        }
        let what =
            format!("{} of its attempts in a row died with sprag, and {crashes_max} make it poison", self.crashes);
        Err((Check::RightEnd, what))
    }
}

/// Every snapshot is what the records up to its position add up to.
pub(super) fn judge_snapshots(records: &[Record], pipeline: &Pipeline, image: &Image) -> Result<(), String> {
    for (path, bytes) in &image.files {
        let Some(seq) = covered_by(path) else { continue };
        let wrong = |what: String| Err(format!("{}: {what}", path.display()));
        let Some(covered) = records.get(..seq as usize) else { return wrong("it is ahead of the journal".into()) };
        let mut jobs = fold(covered, pipeline).map_err(|failure| failure.what)?.jobs;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"type\":")) {
            let stored: Stored =
                serde_json::from_slice(line).map_err(|error| format!("{}: {error}", path.display()))?;
            if stored.kind != "job" {
                continue;
            }
            let number = stored.job.unwrap_or(0);
            let Some(job) = jobs.remove(&number).filter(|job| !job.forgotten) else {
                return wrong(format!("job {number} is not known"));
            };
            let ended = job.ends.last().map(|(next, ..)| next.as_str());
            let state = stored.state.as_deref().filter(|state| ["succeeded", "dead", "cancelled"].contains(state));
            let attempt = job.grants.last_key_value().map_or(0, |(attempt, _)| *attempt);
            let same = state == ended
                && stored.attempt.unwrap_or(0) == attempt
                && stored.payload.as_deref().and_then(items::of_value) == job.item
                && stored.key.unwrap_or_default() == job.key;
            if !same {
                return wrong(format!("{} is not {job:?}", String::from_utf8_lossy(line)));
            }
        }
        if let Some((number, _)) = jobs.iter().find(|(_, job)| !job.forgotten) {
            return wrong(format!("job {number} is missing"));
        }
    }
    Ok(())
}
