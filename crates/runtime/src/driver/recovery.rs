//! From the folder to a driver: recover the journal, replay it into the Machine, find what the crash left.
//!
//! **Invariant.** Nothing is decided before the whole journal was read and made durable again; a damaged journal makes no
//! driver.

use super::asked::Asked;
use super::children::Services;
use super::control::Control;
use super::destinations::Destinations;
use super::events::Events;
use super::flight::{self, Flight, Subject};
use super::idle::Idle;
use super::intake::Intake;
use super::kept::Kept;
use super::keys::Keys;
use super::persist::Persistence;
use super::report::Reporter;
use super::snapshots::Snapshots;
use super::space::DiskSpace;
use super::waits::UnderWay;
use super::{Driver, Notice};
use crate::attempt::make_dir;
use crate::flight::Recorder;
use crate::history;
use crate::pipeline::Pipeline;
use sprag_core::{Bug, Config, Machine, Now, StopLevel, planted};
use sprag_journal::fs::Fs;
use sprag_journal::{JournalError, Limits, Place, QueueId, Replay, Snapshot, Writer};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a pipeline cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The journal.
    Journal(JournalError),
    /// A folder of ours could not be made.
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Journal(error) => error.fmt(f),
            OpenError::Folder { path, source } => write!(f, "cannot make {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

/// A pipeline that was opened.
#[derive(Debug)]
pub struct Recovered<F: Fs> {
    /// The owner of all state.
    pub driver: Driver,
    /// For the journal thread.
    pub writer: Writer<F>,
    /// For the journal thread too.
    pub recorder: Recorder<F>,
    /// The journal's identity, 32 hexadecimal digits.
    pub queue_id: String,
    /// This life of sprag.
    pub epoch: u64,
}

struct Replayer<'a> {
    machine: &'a mut Machine,
    now: Now,
}

impl<F: Fs> Replay<F> for Replayer<'_> {
    fn snapshot(&mut self, snapshot: &Snapshot<F>) -> Result<(), JournalError> {
        history::restore(self.machine, self.now, snapshot)
    }

    fn forget(&mut self) {
        *self.machine = self.machine.emptied();
    }

    fn record(&mut self, seq: u64, place: Place, line: &[u8]) -> Result<(), String> {
        history::replay_line(self.machine, |_| self.now, seq, place, line).map(|_| ())
    }
}

/// What the Machine is told of a pipeline.
pub fn machine_config(pipeline: &Pipeline, seed: u64) -> Config {
    Config {
        queues: pipeline.queues.iter().map(|queue| queue.policy.clone()).collect(),
        sources: u16::try_from(pipeline.sources.len() + 1).unwrap_or(u16::MAX),
        seed,
        limits: pipeline.limits,
    }
}

/// Opens the pipeline's state folder, which must exist and be locked by the caller. `chance` seeds the retry jitter and,
/// for a new journal, its identity.
pub fn open<F: Fs>(
    fs: &F,
    pipeline: Arc<Pipeline>,
    limits: Limits,
    now: Now,
    chance: [u8; 16],
) -> Result<Recovered<F>, OpenError> {
    let state = pipeline.state();
    let folders = [state.slots(), state.path().join("attempts"), state.path().join("inbox")];
    let inbox = ["tmp", "new", "rejected"].map(|part| state.inbox(part));
    let flight_bytes = pipeline.disk.flight_bytes.unwrap_or(0);
    let flight_dir = (flight_bytes > 0).then(|| state.flight());
    for path in folders.into_iter().chain(inbox).chain(flight_dir) {
        make_dir(fs, &path).map_err(|source| OpenError::Folder { path, source })?;
    }
    // Who syncs a drop-box file and its folder has done all that can be asked. One that was there may not be durable yet.
    for path in [state.path().join("inbox"), state.path().to_owned()] {
        if planted(Bug::InboxNotSynced) {
            continue;
        }
        fs.sync_dir(&path).map_err(|source| OpenError::Folder { path, source })?;
    }
    let seed = u64::from_le_bytes(chance.first_chunk().copied().unwrap_or_default());
    let config = machine_config(&pipeline, seed);
    let mut machine = Machine::new(config.clone());
    let mut replayer = Replayer { machine: &mut machine, now };
    let opened =
        sprag_journal::open(fs, state.path(), limits, QueueId(chance), &mut replayer).map_err(OpenError::Journal)?;
    let spool = flight::spool();
    let (recorder, segment) = Recorder::new(fs, state.flight(), Arc::clone(&spool), flight_bytes);
    let (queue_id, epoch) = (opened.queue.to_string(), opened.end.next_epoch());
    let snapshot = opened.snapshot.as_ref().map_or(0, |snapshot| snapshot.covers().seq);
    let subject = Subject { queue_id: queue_id.clone(), epoch, snapshot, config, end: opened.end };
    let mut flight = Flight::new(spool, segment, flight_bytes, subject);
    flight.open(now, &machine);
    machine.resume(now);
    let journal_bytes = sprag_journal::stored(fs, state.path()).map_or(0, |stored| stored.journal_bytes);
    let live_bytes = opened.snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes(fs));
    let covered = opened.snapshot.map(|snapshot| snapshot.covers());
    let mut driver = Driver {
        intake: Intake::new(u16::try_from(pipeline.sources.len()).unwrap_or(u16::MAX)),
        control: Control::default(),
        events: Events::default(),
        asked: Asked::default(),
        services: Services::new(&pipeline),
        reporter: Reporter::new(&machine),
        flight,
        under_way: UnderWay::default(),
        persistence: Persistence::new(opened.framer, opened.sealed),
        snapshots: Snapshots::new(opened.end, covered, journal_bytes, live_bytes),
        space: DiskSpace::default(),
        kept: Kept::default(),
        keys: Keys::default(),
        destinations: Destinations::default(),
        pipeline,
        machine,
        to_prove: Vec::new(),
        proving: false,
        clear: false,
        effects: VecDeque::new(),
        idle: Idle::new(),
        stopping: StopLevel::Run,
        stopped: false,
        said_stopped: false,
        kill_at: None,
        abandon_at: None,
    };
    if !driver.pipeline.services.is_empty() && !planted(Bug::ServiceOutlives) {
        driver.persistence.mark_epoch();
    }
    driver.effects.push_back(super::Effect::Say(Notice::Begun));
    if let Some(cut) = opened.cut {
        driver.effects.push_back(super::Effect::Say(Notice::TornTail { cut }));
    }
    for error in opened.damaged {
        driver.effects.push_back(super::Effect::Say(Notice::SnapshotFailed { what: error.to_string() }));
    }
    driver.drain(now);
    Ok(Recovered { driver, writer: opened.writer, recorder, queue_id, epoch })
}
