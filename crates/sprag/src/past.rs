//! The journal as a reader finds it, without a lock: every job, what it is called, and what became of it.
//!
//! **Invariant.** Nothing here writes. The state is the newest snapshot and the fold of the journal behind it, by the same
//! code that made both, so it is what a sprag that starts now would find; what a running sprag has not made durable yet is
//! not in it.

use crate::exit::{Exit, Failure};
use sprag_core::{Config, JobId, Machine, Outcome, Record, Restorer, Seq, StateName, Wall};
use sprag_journal::codec::{self, Decoded};
use sprag_journal::image::{self, StateLine, Told};
use sprag_journal::{JournalError, Place, RealFs, Replay, Snapshot};
use sprag_runtime::pipeline::StateDir;
use sprag_runtime::{history, live};
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// How often a reading begins again because a running sprag took away what was about to be read.
const TRIES_MAX: u32 = 8;

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
        let running = running(state)?;
        for _ in 0..TRIES_MAX {
            let mut past = Past { machine: Machine::new(Config::default()), running, stories: BTreeMap::new() };
            if !has_begun(state)? {
                return Ok(past);
            }
            match sprag_journal::recall(&RealFs, state.path(), None, &mut past) {
                Ok(_) => return Ok(past),
                Err(error) if running.is_some() && is_gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::new(Exit::StateIo, format!("{} changes faster than it can be read", state.path().display())))
    }

    fn tell(&mut self, decoded: &Decoded<'_>) {
        let Some(job) = decoded.record.job() else { return };
        if let Record::Forgotten { .. } = decoded.record {
            self.stories.remove(&job);
            return;
        }
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

    /// There is no such job (any more).
    pub(crate) fn no_such_job(&self, id: u64) -> Failure {
        if id == 0 || id > self.machine.last_job().0 {
            let failure = Failure::new(Exit::No, format!("there is no job {id}"));
            return failure.mend("`sprag list` shows the jobs there are");
        }
        let what = format!("job {id} is forgotten: it came to its end, long enough or enough jobs ago");
        Failure::new(Exit::No, what)
            .mend("`[run] keep_age`, `keep_jobs` and `keep_bytes` in sprag.toml say how long jobs are kept")
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

impl Replay<RealFs> for Past {
    fn snapshot(&mut self, snapshot: &Snapshot<RealFs>) -> Result<(), JournalError> {
        let mut last_job = None;
        let Past { machine, stories, .. } = self;
        let mut restorer = Restorer::new(machine, history::never(Wall(0)));
        snapshot.for_each_line(&mut |_, line| {
            match image::decode(line, &mut |name| restorer.queue_named(name)).map_err(|error| error.to_string())? {
                StateLine::State { last_job: last, paused } => {
                    last_job = Some(last);
                    paused.into_iter().for_each(|queue| restorer.paused(queue));
                }
                StateLine::Key(key) => restorer.key(key),
                StateLine::Job(job, told) => {
                    let Told { key, payload: _, added_at, changed_at, outcome } = told;
                    let key = key.as_deref().map(Into::into);
                    stories.insert(job.id, Story { key, added_at, changed_at, outcome });
                    restorer.job(*job)?;
                }
            }
            Ok(())
        })?;
        let last_job = last_job.ok_or_else(|| snapshot.unusable("its first line is missing"))?;
        restorer.finish(last_job, Seq(snapshot.covers().seq)).map_err(|what| snapshot.unusable(what))
    }

    fn forget(&mut self) {
        self.machine = self.machine.emptied();
        self.stories.clear();
    }

    fn record(&mut self, seq: u64, place: Place, line: &[u8]) -> Result<(), String> {
        let decoded = history::replay_line(&mut self.machine, history::never, seq, place, line)?;
        self.tell(&decoded);
        Ok(())
    }
}

/// Hands out every record that the journal still has, the ones before the newest snapshot too.
pub(crate) fn each_record(
    state: &StateDir,
    mut on_record: impl FnMut(&Decoded<'_>, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !has_begun(state)? {
        return Ok(());
    }
    let mut failure = None;
    let report = sprag_journal::dump(&RealFs, state.path(), &mut |_, _, line| {
        let decoded = codec::decode(line, &mut |_| sprag_core::QueueId(0)).map_err(|error| error.to_string())?;
        if failure.is_none() {
            failure = on_record(&decoded, line).err();
        }
        Ok(())
    })?;
    let journal = state.journal();
    // Damage to a snapshot, which is only a cache, is passed over.
    let of_journal = |error: &JournalError| file_of(error).starts_with(&journal);
    match (failure, report.errors.into_iter().find(of_journal)) {
        (Some(failure), _) => Err(failure),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Ok(()),
    }
}

/// The key and payload of a job, as the record that added it or a snapshot has them: the line.
pub(crate) fn line_of(state: &StateDir, past: &Past, id: JobId) -> Result<Vec<u8>, Failure> {
    let place = past.machine.job(id).map(|job| job.payload).unwrap_or_default();
    Ok(sprag_journal::read_job(&RealFs, state.path(), id.0, place.into())?)
}

fn has_begun(state: &StateDir) -> Result<bool, Failure> {
    let journal = state.journal();
    match std::fs::symlink_metadata(&journal) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::new(Exit::StateIo, format!("{}: {error}", journal.display()))),
    }
}

/// The process that runs the pipeline, if one does.
pub(crate) fn running(state: &StateDir) -> Result<Option<u32>, Failure> {
    Ok(live::holder(state)?)
}

/// When the loop that does the work last wrote down that it does.
pub(crate) fn last_heartbeat(state: &StateDir) -> Option<Wall> {
    let status: serde_json::Value = serde_json::from_slice(&std::fs::read(state.status()).ok()?).ok()?;
    status["at_ms"].as_u64().map(Wall)
}

/// Whether a pruning may have taken it away.
fn is_gone(error: &JournalError) -> bool {
    match error {
        JournalError::Missing { .. } => true,
        JournalError::Io { source, .. } => source.kind() == ErrorKind::NotFound,
        JournalError::Corrupt { .. } | JournalError::Version { .. } => false,
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
