//! What must be true, judged from outside: from what the commands did, what the producers wrote, and the files on disk.
//!
//! **Invariant.** No code of the core or the journal is used here. Records are read as the lines of JSON that anybody can
//! read, executions come from a log that sprag never sees.

use crate::chance::{Actor, Chance, Site};
use crate::fs::{Image, SimFs};
use crate::plan::DIR;
use crate::processes::result_text;
use crate::producer::{self, Producer};
use serde::Deserialize;
use serde_json::Value;
use sprag_core::Outcome;
use sprag_runtime::driver::Notice;
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

/// Something that sprag told people, as a record of this type, job and attempt.
type Said = (&'static str, u64, Option<u32>);

/// The judge.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The execution log.
    pub executions: Vec<Execution>,
    characters: BTreeMap<(u8, u16), Character>,
    said: BTreeSet<Said>,
    /// Segments that sprag has removed, as they were: what they said still counts.
    removed: BTreeMap<PathBuf, Rc<[u8]>>,
}

/// One record, by its documented fields.
#[derive(Debug, Deserialize)]
struct Record {
    seq: u64,
    #[serde(rename = "type")]
    kind: String,
    job: Option<u64>,
    key: Option<String>,
    attempt: Option<u32>,
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
fn records(image: &Image, removed: &BTreeMap<PathBuf, Rc<[u8]>>, begin: &str) -> Result<Vec<Record>, String> {
    let mut segments: BTreeMap<&PathBuf, &Rc<[u8]>> = removed.iter().collect();
    segments.extend(image.files.iter().filter(|(path, _)| is_segment(path)));
    let mut records = Vec::new();
    for (path, bytes) in segments {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(begin.as_bytes())) {
            let record = serde_json::from_slice(line).map_err(|error| format!("{}: {error}", path.display()))?;
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
    pub fn executed(&mut self, execution: Execution, fs: &SimFs) -> Result<(), String> {
        let Execution { job, attempt, fence, .. } = execution;
        self.executions.push(execution);
        if self.executions.iter().filter(|other| other.fence == fence && other.job == job).count() > 1 {
            return Err(format!("job {job} is executed twice under fence {fence}"));
        }
        let nothing_kept = &mut |_| 1;
        let begin = format!("{{\"seq\":{fence},");
        let durable = records(&fs.draw(nothing_kept), &self.removed, &begin)?;
        let allowed = durable.iter().any(|record| record.allows(job, attempt, fence));
        if allowed { Ok(()) } else { Err(format!("job {job} is executed before its record {fence} is durable")) }
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
            | Notice::StatusFailed { .. } => return,
        };
        self.said.insert(said);
    }

    /// Judges the end of a run: everything is at rest, and nothing went wrong for a while.
    pub fn judge(&self, image: &Image, producers: &[Producer]) -> Result<(), String> {
        let records = records(image, &self.removed, "{\"seq\":")?;
        let jobs = fold(&records)?;
        self.judge_records(&records)?;
        judge_snapshots(&records, image)?;
        for producer in producers {
            for item in 0..producer.complete() {
                self.judge_item(&jobs, image, producer.source(), item)?;
            }
        }
        for (number, job) in &jobs {
            let stood = |(source, item): (u8, u16)| {
                producers.iter().any(|producer| producer.source() == source && item < producer.complete())
            };
            if !job.item.is_some_and(stood) {
                return Err(format!("job {number} was made of something that stood in no whole file"));
            }
            let executed = self.executions.iter().filter(|execution| execution.job == *number).count();
            if job.outcomes > executed {
                return Err(format!("job {number}: {} outcomes on record, {executed} executions", job.outcomes));
            }
        }
        Ok(())
    }

    fn judge_records(&self, records: &[Record]) -> Result<(), String> {
        for (kind, job, attempt) in &self.said {
            let same = |record: &&Record| {
                record.kind == *kind && record.job == Some(*job) && (attempt.is_none() || record.attempt == *attempt)
            };
            if !records.iter().any(|record| same(&record)) {
                return Err(format!("it was said that job {job} was {kind} ({attempt:?}), and no record says so"));
            }
        }
        for Execution { job, attempt, fence, .. } in &self.executions {
            if !records.iter().any(|record| record.allows(*job, *attempt, *fence)) {
                return Err(format!("job {job} was executed under fence {fence}, and no record says so"));
            }
        }
        Ok(())
    }

    fn judge_item(&self, jobs: &BTreeMap<u64, Job>, image: &Image, source: u8, item: u16) -> Result<(), String> {
        let name = format!("item {}-{item}", crate::trace::name_of(source));
        let mut made = jobs.iter().filter(|(_, job)| job.item == Some((source, item)));
        let (number, job) = match (made.next(), made.next()) {
            (Some(one), None) => one,
            (None, _) => return Err(format!("{name} stood in the last file and made no job")),
            (Some(_), Some(_)) => return Err(format!("{name} made more than one job")),
        };
        let [(next, reason, attempt, digest)] = &job.ends[..] else {
            return Err(format!("{name}, job {number}, has {} ends: {:?}", job.ends.len(), job.ends));
        };
        let expected = match self.characters.get(&(source, item)) {
            None => return Err(format!("{name}, job {number}, ended and was never executed")),
            Some(Character::SucceedsAfter(_)) => ("succeeded", None),
            Some(Character::Permanent) => ("dead", Some("permanent")),
            Some(Character::Hopeless) => ("dead", Some("exhausted")),
        };
        if (next.as_str(), reason.as_deref()) != expected {
            return Err(format!("{name}, job {number}, ended as {next} {reason:?}, not as {expected:?}"));
        }
        if let Some(digest) = digest {
            let path = Path::new(DIR).join(format!("out/{}.json", job.key));
            let wanted = result_text(source, item, job.grants.get(attempt).copied().unwrap_or(0));
            let found = image.files.get(&path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let on_record = blake3::hash(wanted.as_bytes()).to_hex();
            if digest.as_str() != &on_record[..32] {
                return Err(format!("{name}, job {number}: the record names result {digest}, not {on_record}"));
            }
            if job.published != 1 || found.as_deref() != Some(&wanted) {
                return Err(format!("{name}, job {number}: {} holds {found:?}, not {wanted:?}", path.display()));
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
fn judge_snapshots(records: &[Record], image: &Image) -> Result<(), String> {
    for (path, bytes) in &image.files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let seq = name.strip_prefix("snapshot-").and_then(|name| name.strip_suffix(".jsonl"));
        let Some(seq) = seq.and_then(|seq| seq.parse::<usize>().ok()) else { continue };
        let wrong = |what: String| Err(format!("{}: {what}", path.display()));
        let Some(covered) = records.get(..seq) else { return wrong("it is ahead of the journal".into()) };
        let mut jobs = fold(covered)?;
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
fn fold(records: &[Record]) -> Result<BTreeMap<u64, Job>, String> {
    let mut jobs: BTreeMap<u64, Job> = BTreeMap::new();
    for (expected, record) in (1..).zip(records) {
        let wrong = |what: &str| format!("record {}: {what}: {record:?}", record.seq);
        if record.seq != expected {
            return Err(wrong("out of order"));
        }
        let Some(number) = record.job else { continue };
        if record.kind == "added" {
            let item = record.payload.as_ref().and_then(item_of_value);
            let whole = item.map(|(source, item)| serde_json::from_str::<Value>(&producer::item(source, item)));
            let item = item.filter(|_| whole.is_some_and(|whole| whole.ok() == record.payload));
            let job = Job { item, key: record.key.clone().unwrap_or_default(), ..Job::default() };
            if jobs.insert(number, job).is_some() {
                return Err(wrong("a job is added twice"));
            }
            continue;
        }
        let job = jobs.get_mut(&number).ok_or_else(|| wrong("of a job that was never added"))?;
        if job.forgotten || (!job.ends.is_empty() && record.kind != "published" && record.kind != "forgotten") {
            return Err(wrong("after the end of its job"));
        }
        let attempt = record.attempt.unwrap_or(0);
        match record.kind.as_str() {
            "reserved" | "started" => {
                if job.grants.last_key_value().is_some_and(|(last, _)| *last > attempt) {
                    return Err(wrong("an attempt before the last one"));
                }
                job.grants.entry(attempt).or_insert(record.seq);
            }
            "finished" => {
                if job.grants.last_key_value().map(|(last, _)| *last) != Some(attempt) {
                    return Err(wrong("an attempt ends that is not the last one"));
                }
                job.outcomes += usize::from(record.outcome.is_some());
                let next = record.next.clone().unwrap_or_default();
                if next == "succeeded" || next == "dead" || next == "cancelled" {
                    job.ends.push((next, record.reason.clone(), attempt, record.result.clone()));
                }
            }
            "published" => job.published += 1,
            "forgotten" if job.ends.is_empty() => return Err(wrong("before the end of its job")),
            "forgotten" => job.forgotten = true,
            other => return Err(wrong(&format!("nobody asked for `{other}`"))),
        }
    }
    Ok(jobs)
}
