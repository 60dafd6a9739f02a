//! What must be true, judged from outside: from what the commands did, what the producers wrote, and the files on disk.
//!
//! **Invariant.** No code of the core or the journal is used here. Records are read as the lines of JSON that anybody can
//! read, executions come from a log that sprag never sees.

mod punctual;
mod records;
mod told;

use crate::chance::Chance;
use crate::client::{self, Client};
use crate::failure::{Check, Failure};
use crate::fs::{Image, SimFs};
use crate::items::{self, Id};
use crate::places::{Actor, Site};
use crate::plan::DIR;
use crate::processes::result_text;
use crate::producer::Producer;
use punctual::Places;
use records::{Fold, Job, Record, fold, is_segment, journal_dir, judge_snapshots, lines_of, records};
use sprag_core::Outcome;
use sprag_runtime::driver::Notice;
use sprag_runtime::pipeline::Pipeline;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use told::Stream;

pub use punctual::SLACK_US;
pub(crate) use records::judge_bare;

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
    /// The disk had no room for what it wrote.
    pub held_up: bool,
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

/// Times are told in whole milliseconds: what is measured by them may be so much shorter, in microseconds.
const CLOCK_US: u64 = 2_000;

/// Something that sprag told people, as a record of this type, job and attempt.
type Said = (&'static str, u64, Option<u32>);

/// When sprag decides something.
#[derive(Clone, Copy, Debug)]
pub struct Deciding {
    /// In which life.
    pub life: u32,
    /// Since when this life lasts.
    pub began_us: u64,
    /// Now.
    pub at_us: u64,
    /// By the calendar, if it did not jump lately.
    pub steady_wall_ms: Option<u64>,
    /// There is too little room for a start that is decided after this record.
    pub no_start_after: Option<u64>,
}

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
    stream: Stream,
    places: Places,
    /// Records that are durable as far as sprag has heard, and those that it has handed away since: judged as they come, so
    /// that a failure is seen where it is made. What is on the medium is judged at the end.
    live: Fold,
    offered: VecDeque<Record>,
    /// Jobs that sprag has decided to make, with what they are made of.
    made: BTreeMap<u64, Id>,
    /// Jobs whose keys sprag has decided to let go.
    let_go: BTreeSet<u64>,
}

/// Whether an item stood in a whole file, or was asked for.
pub fn stood(producers: &[Producer], client: &Client, (source, item): Id) -> bool {
    let written = |producer: &Producer| producer.source() == source && producer.has_stood(item);
    producers.iter().any(written) || (source == client::SOURCE && client.asked_for(item))
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
    /// Since `calm_us`, if that has come, nothing goes wrong.
    pub fn executed(&mut self, execution: Execution, fs: &SimFs, calm_us: Option<u64>) -> Result<(), Failure> {
        let Execution { job, attempt, fence, at_us, life, .. } = execution;
        let punctual = self.places.starts(job, &execution.queue, at_us, calm_us);
        self.executions.push(execution);
        punctual?;
        if let Some((_, until_us)) = self.waiting.remove(&job).filter(|(of, until_us)| *of == life && at_us < *until_us)
        {
            let early_ms = (until_us - at_us).div_ceil(1000);
            return Err(Check::WaitsHold.failed(format!("job {job} starts {early_ms} ms before its time")));
        }
        if self.executions.iter().filter(|other| other.fence == fence && other.job == job).count() > 1 {
            return Err(Check::FenceOnce.failed(format!("job {job} is executed twice under fence {fence}")));
        }
        let durable = fs.durable_inside(&journal_dir());
        let newest_first = durable.iter().map(|(_, bytes)| bytes).rev().chain(self.removed.values().rev());
        let allowed = newest_first
            .flat_map(|bytes| lines_of(bytes, fence))
            .any(|line| serde_json::from_slice(line).is_ok_and(|record: Record| record.allows(job, attempt, fence)));
        let what = || format!("job {job} is executed before its record {fence} is durable");
        if allowed { Ok(()) } else { Err(Check::DurableFirst.failed(what())) }
    }

    /// Executions whose processes were gone unheard, so lately that sprag need not have looked.
    pub fn lately_gone(&self, now_us: u64) -> impl Iterator<Item = usize> {
        self.places.lately_gone(now_us)
    }

    /// A process of this execution is gone: was its queue full until now, and were all places taken?
    pub fn gone(&mut self, execution: usize, at_us: u64, is_heard: bool, (closed, full): (bool, bool)) {
        let Some(Execution { queue, .. }) = self.executions.get(execution) else { return };
        if !is_heard {
            self.places.gone(execution, at_us);
        }
        if closed {
            self.places.closed(queue, at_us);
        }
        if full {
            self.places.full(at_us);
        }
    }

    /// Sprag is about to remove a file.
    pub fn removes(&mut self, path: &Path, fs: &SimFs) {
        if is_segment(path) {
            let durable = fs.durable_inside(&journal_dir());
            self.removed.extend(durable.into_iter().filter(|(segment, _)| segment == path));
        }
    }

    /// Whether people were told that the result of a job stands at its destination.
    pub fn has_said_published(&self, job: u64) -> bool {
        self.said.contains(&("published", job, None))
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
            | Notice::NotExecuted { .. }
            | Notice::Cancelled { .. }
            | Notice::Redriven { .. }
            | Notice::Paused { .. }
            | Notice::Stopping { .. }
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

    /// Sprag hands these lines to its journal: what has to wait from when they were decided on, if calendar and clock have gone
    /// alike meanwhile; and which keys are known no longer. Says how many those are.
    pub fn decides(&mut self, lines: &[u8], now: Deciding, producers: &[Producer]) -> Result<u32, Failure> {
        let mut let_go = 0;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"seq\":")) {
            let Ok(record) = serde_json::from_slice::<Record>(line) else { continue };
            let last = self.offered.back().map_or(self.live.last, |record| record.seq);
            let new = record.seq > last;
            let retry = record.next.as_deref() == Some("retry");
            let job = record.job.unwrap_or(0);
            if record.is_grant() && now.no_start_after.is_some_and(|seq| record.seq > seq) {
                let what = format!("job {job} is to start though it is known that the disk is nearly full");
                return Err(Check::StartsHeld.failed(what));
            }
            if let (Some(due), Some(wall_ms), true) = (record.due, now.steady_wall_ms, retry) {
                let decided_us = now.at_us.saturating_sub(wall_ms.saturating_sub(record.at) * 1000);
                let until_us = decided_us + due.saturating_sub(record.at) * 1000;
                self.waits(job, now.life, until_us.saturating_sub(CLOCK_US));
            }
            self.made.extend(record.payload.as_deref().and_then(items::of_value).map(|item| (job, item)));
            if record.kind == "key_forgotten" {
                let_go += u32::from(self.let_go.insert(job));
                self.judge_let_go(job, now, producers)?;
            }
            if new {
                self.places.decides(&record, now);
                self.offered.push_back(record);
            }
        }
        Ok(let_go)
    }

    /// A key is not let go while an item with it stands in a source.
    fn judge_let_go(&self, job: u64, now: Deciding, producers: &[Producer]) -> Result<(), Failure> {
        let Some((source, item)) = self.made.get(&job).copied() else { return Ok(()) };
        let stands =
            |one: &Producer| one.source() == source && one.standing_since(item).is_some_and(|at| at < now.began_us);
        if producers.iter().any(stands) {
            let what = format!("the key of job {job} is let go, and its item stands in its source");
            return Err(Check::KeysHold.failed(what));
        }
        Ok(())
    }

    /// Whether the key of this job may have been let go.
    pub fn is_let_go(&self, job: u64) -> bool {
        self.let_go.contains(&job)
    }

    /// A life of sprag begins, with so many records; listeners are told of what comes.
    pub fn begins(&mut self, durable: u64, fs: &SimFs, pipeline: &Pipeline) -> Result<(), Failure> {
        self.stream.begins(durable);
        self.offered.clear();
        let segments = fs.durable_inside(&journal_dir());
        self.live = fold(&records(segments.iter().map(|(path, bytes)| (path, bytes)), &self.removed)?, pipeline)?;
        Ok(())
    }

    /// Sprag hears that its records are durable up to this one.
    pub fn durable(&mut self, through: u64, pipeline: &Pipeline) -> Result<(), Failure> {
        while let Some(record) = self.offered.pop_front_if(|record| record.seq <= through) {
            self.live.follow(&record, pipeline)?;
        }
        Ok(())
    }

    /// Sprag tells listeners of a record, while so many are durable.
    pub fn tells(&mut self, line: &[u8], durable: u64) -> Result<(), Failure> {
        self.stream.tells(line, durable)
    }

    /// Sprag ends by itself, with so many records: listeners know all there is.
    pub fn ends(&mut self, records: u64) {
        self.stream.ends(records);
    }

    /// Judges the end of a run: everything is at rest, and nothing went wrong for a while. `image` is what is durable, `files`
    /// what producers and readers see.
    pub fn judge(
        &self,
        image: &Image,
        files: &Image,
        pipeline: &Pipeline,
        producers: &[Producer],
        client: &Client,
    ) -> Result<(), Failure> {
        let records = records(&image.files, &self.removed)?;
        let fold = fold(&records, pipeline)?;
        self.stream.judge(&records, &fold)?;
        self.judge_records(&records)?;
        judge_snapshots(&records, pipeline, image).map_err(|what| Check::SnapshotIsTrue.failed(what))?;
        let left: BTreeSet<Id> = producers.iter().flat_map(|producer| producer.left_in(files)).collect();
        for (source, item) in left {
            self.judge_item(&fold, image, (source, item))?;
        }
        for item in client.items() {
            self.judge_item(&fold, image, (client::SOURCE, item))?;
        }
        fold.judge_known()?;
        for (number, job) in &fold.jobs {
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

    fn judge_item(&self, fold: &Fold, image: &Image, id: Id) -> Result<(), Failure> {
        let name = format!("item {}-{}", crate::trace::name_of(id.0), id.1);
        let made: Vec<(&u64, &Job)> = fold.jobs.iter().filter(|(_, job)| job.item == Some(id)).collect();
        let Some((last, before)) = made.split_last() else {
            return Err(Check::OneJobEach.failed(format!("{name} stood in the last file and made no job")));
        };
        before.iter().try_for_each(|(number, job)| self.judge_end(id, **number, job).map(|_| ()))?;
        let (number, job) = last;
        // Whoever has the key now has its place, too.
        let replaced =
            fold.jobs.range(**number + 1..).any(|(_, other)| (&other.queue, &other.key) == (&job.queue, &job.key));
        let Some((attempt, digest)) = self.judge_end(id, **number, job)? else { return Ok(()) };
        let called = if job.key.is_empty() { format!("~{number}") } else { job.key.replace('/', "%2F") };
        let path = Path::new(DIR).join(format!("out/{called}.json"));
        let wanted = result_text(id.0, id.1, job.grants.get(&attempt).copied().unwrap_or(0));
        let found = image.files.get(&path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let on_record = blake3::hash(wanted.as_bytes()).to_hex();
        let wrong = |what: String| Err(Check::ResultStands.failed(format!("{name}, job {number}: {what}")));
        if digest != on_record[..32] {
            return wrong(format!("the record names result {digest}, not {on_record}"));
        }
        if replaced && job.published == 1 {
            return Ok(());
        }
        if job.published != 1 || found.as_deref() != Some(&wanted) {
            return wrong(format!("{} holds {found:?}, not {wanted:?}", path.display()));
        }
        Ok(())
    }

    /// Whether commands of an item found no room for what they wrote: each waits until it is ended.
    fn held_up(&self, item: Id) -> bool {
        self.executions.iter().any(|execution| execution.item == Some(item) && execution.held_up)
    }

    /// Whether a job came to the end that its item's character says; the attempt and the digest of its result, if it has one.
    fn judge_end(&self, (source, item): Id, number: u64, job: &Job) -> Result<Option<(u32, String)>, Failure> {
        let name = format!("item {}-{item}", crate::trace::name_of(source));
        let wrong_end = |what: String| Err(Check::RightEnd.failed(format!("{name}, job {number}, {what}")));
        let [(next, reason, attempt, digest)] = &job.ends[..] else {
            return wrong_end(format!("has {} ends: {:?}", job.ends.len(), job.ends));
        };
        let expected = match self.characters.get(&(source, item)) {
            // The fold knows that this was asked for, and that this many attempts died with sprag.
            _ if next == "cancelled" => ("cancelled", None),
            _ if reason.as_deref() == Some("poison") => ("dead", Some("poison")),
            None => return wrong_end("ended and was never executed".into()),
            Some(_) if reason.as_deref() == Some("exhausted") && self.held_up((source, item)) => {
                ("dead", Some("exhausted"))
            }
            Some(Character::SucceedsAfter(_)) => ("succeeded", None),
            Some(Character::Permanent) => ("dead", Some("permanent")),
            Some(Character::Hopeless) => ("dead", Some("exhausted")),
        };
        if (next.as_str(), reason.as_deref()) != expected {
            return wrong_end(format!("ended as {next} {reason:?}, not as {expected:?}"));
        }
        Ok(digest.clone().map(|digest| (*attempt, digest)))
    }
}
