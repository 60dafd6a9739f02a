//! The journal as a reader finds it, without a lock: every job, what it is called, and what became of it.
//!
//! **Invariant.** Nothing here writes. The state is the fold of the journal by the same code that made it, so it is what
//! a sprag that starts now would find; what a running sprag has not made durable yet is not in it.

use crate::exit::{Exit, Failure};
use sprag_core::{Config, JobId, Machine, Now, Outcome, Record, Seq, StateName, Wall};
use sprag_journal::codec::{self, Decoded};
use sprag_journal::{JournalError, RealFs};
use sprag_runtime::live;
use sprag_runtime::pipeline::StateDir;
use std::collections::BTreeMap;

/// What the journal says.
pub(crate) struct Past {
    pub(crate) machine: Machine,
    /// The process that runs the pipeline, if one does.
    pub(crate) running: Option<u32>,
    stories: BTreeMap<JobId, Story>,
}

/// What the Machine need not know about a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    pub(crate) key: Option<Box<str>>,
    pub(crate) added_at: Wall,
    /// When the last record about it was written.
    pub(crate) changed_at: Wall,
    /// How its last attempt ended, if that was seen.
    pub(crate) outcome: Option<Outcome>,
}

impl Past {
    /// Reads the journal in the state folder; without a journal, nothing has happened yet.
    pub(crate) fn read(state: &StateDir) -> Result<Past, Failure> {
        Past::read_with(state, |_, _| Ok(()))
    }

    /// Reads the journal, and hands out every record with its line.
    pub(crate) fn read_with(
        state: &StateDir,
        mut on_record: impl FnMut(&Decoded<'_>, &[u8]) -> Result<(), Failure>,
    ) -> Result<Past, Failure> {
        let running = running(state)?;
        let mut past = Past { machine: Machine::new(Config::default()), running, stories: BTreeMap::new() };
        each_record(state, |seq, line| {
            let decoded = past.replay(seq, line).map_err(Stop::Damaged)?;
            on_record(&decoded, line).map_err(Stop::Failed)
        })?;
        Ok(past)
    }

    fn replay<'a>(&mut self, seq: u64, line: &'a [u8]) -> Result<Decoded<'a>, String> {
        let decoded =
            codec::decode(line, &mut |name| self.machine.queue_named(name)).map_err(|error| error.to_string())?;
        if decoded.seq != Seq(seq) {
            return Err(format!("record {seq} calls itself {}", decoded.seq.0));
        }
        let now = Now { wall: decoded.at, ..Now::default() };
        self.machine.replay(now, decoded.seq, &decoded.record).map_err(|error| error.to_string())?;
        self.tell(&decoded);
        Ok(decoded)
    }

    fn tell(&mut self, decoded: &Decoded<'_>) {
        let Some(job) = job_of(&decoded.record) else { return };
        let story = self.stories.entry(job).or_default();
        story.changed_at = decoded.at;
        if let Record::Added { .. } = decoded.record {
            story.added_at = decoded.at;
            story.key = decoded.key.as_deref().map(Into::into);
        }
        if let Record::Finished { outcome, .. } = decoded.record {
            story.outcome = outcome;
        }
    }

    /// What the Machine need not know about a job.
    pub(crate) fn story(&self, job: JobId) -> &Story {
        static NOTHING: Story = Story { key: None, added_at: Wall(0), changed_at: Wall(0), outcome: None };
        self.stories.get(&job).unwrap_or(&NOTHING)
    }

    /// The state of a job. An attempt without an end is alive while a sprag runs that watches it; after a crash nobody
    /// knows until the next one has looked.
    pub(crate) fn state_name(&self, id: JobId) -> Option<StateName> {
        let job = self.machine.job(id)?;
        Some(match self.machine.state_name(id, job) {
            StateName::Unknown if self.running.is_some() => StateName::Running,
            name @ (StateName::Scheduled
            | StateName::Ready
            | StateName::Running
            | StateName::Unknown
            | StateName::Succeeded
            | StateName::Dead
            | StateName::Cancelled) => name,
        })
    }
}

/// The process that runs the pipeline, if one does.
pub(crate) fn running(state: &StateDir) -> Result<Option<u32>, Failure> {
    live::holder(state).map_err(|error| Failure::new(Exit::StateIo, error.to_string()))
}

/// Why a reader of records does not go on.
enum Stop {
    /// The record makes no sense.
    Damaged(String),
    Failed(Failure),
}

/// Hands out every record of the journal until one stops it. Damage to a snapshot, which is only a cache, is passed over.
fn each_record(state: &StateDir, mut on_record: impl FnMut(u64, &[u8]) -> Result<(), Stop>) -> Result<(), Failure> {
    let journal = state.journal();
    match std::fs::symlink_metadata(&journal) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::new(Exit::StateIo, format!("{}: {error}", journal.display()))),
    }
    let mut stopped = None;
    let report = sprag_journal::dump(&RealFs, state.path(), &mut |seq, place, line| {
        if stopped.is_none() {
            stopped = on_record(seq, line).err().map(|stop| (stop, seq, place));
        }
        Ok(())
    })?;
    match stopped {
        Some((Stop::Failed(failure), ..)) => return Err(failure),
        Some((Stop::Damaged(what), seq, place)) => {
            let file = journal.join(format!("{:08}.jsonl", place.segment));
            return Err(JournalError::Corrupt { file, offset: place.offset, seq, what }.into());
        }
        None => {}
    }
    let of_journal = |error: &JournalError| file_of(error).starts_with(&journal);
    match report.errors.into_iter().find(of_journal) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn file_of(error: &JournalError) -> &std::path::Path {
    match error {
        JournalError::Corrupt { file, .. }
        | JournalError::Version { file, .. }
        | JournalError::Missing { file, .. }
        | JournalError::Io { file, .. } => file,
    }
}

/// The job that a record is about.
pub(crate) fn job_of(record: &Record) -> Option<JobId> {
    match *record {
        Record::Added { job, .. }
        | Record::Reserved { job, .. }
        | Record::Started { job, .. }
        | Record::Finished { job, .. }
        | Record::Cancelled { job }
        | Record::Redriven { job }
        | Record::Published { job } => Some(job),
        Record::Paused { .. } | Record::Resumed { .. } => None,
    }
}
