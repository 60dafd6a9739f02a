//! What runs off the loop: everything that reads, writes, starts or waits.
//!
//! **Invariant.** A task is straight-line code over the seams; it decides nothing, holds no state of the driver, and
//! always ends in a [`Done`]. The tokio adapter runs it on a pool thread, the simulator on its event heap.

use crate::attempt;
use crate::driver::Event;
use crate::history;
use crate::pipeline::{Format, Pipeline, StateDir};
use crate::request::{Answer, Ticket};
use crate::scan::{self, Complaint, Look, Seen};
use crate::seams::{ChildId, Exit, Nonce, Processes, Watch};
use sprag_core::{Attempt, Bug, Digest, JobId, Outcome, PayloadRef, SpawnFailure, Wall, planted};
use sprag_journal::Stored;
use sprag_journal::fs::{Fs, Open, Room, publish_atomic, write_all_at, write_atomic};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The world as tasks see it.
#[derive(Clone, Debug)]
pub struct Context<F, P, W> {
    /// Files.
    pub fs: F,
    /// Processes.
    pub processes: P,
    /// Change events.
    pub watch: W,
    /// What the user wrote.
    pub pipeline: Arc<Pipeline>,
    /// What commands inherit of our environment.
    pub env: BTreeMap<String, String>,
    /// The journal's identity, 32 hexadecimal digits.
    pub queue_id: String,
    /// The identity of the lock's file, as [`Fs::identity`] tells it.
    pub lock: u128,
    /// This life of sprag.
    pub epoch: u64,
}

/// The drop-box, as a source: the first one, before those of the configuration.
pub const INBOX: u16 = 0;

/// Something to do off the loop.
#[derive(Clone, Debug)]
pub enum Task {
    /// Watch a source.
    Arm {
        /// Its number; 0 is the drop-box.
        source: u16,
    },
    /// Look at a source.
    Look {
        /// Its number; 0 is the drop-box.
        source: u16,
        /// What it offered before.
        seen: Seen,
    },
    /// Remove drop-box files whose jobs are durable.
    Drop {
        /// Their names.
        files: Vec<String>,
    },
    /// Execute an attempt.
    Start {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Where the job's record lies.
        place: PayloadRef,
        /// When the attempt will be ended.
        deadline: Option<Wall>,
    },
    /// Put the output of an attempt that exited in order.
    Settle {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// How it exited.
        outcome: Outcome,
    },
    /// Kill and prove dead what is left of attempts, and of every earlier life of sprag.
    Prove {
        /// The attempts.
        attempts: Vec<(JobId, Attempt)>,
    },
    /// Put a result at its destination.
    Publish {
        /// The job.
        job: JobId,
        /// The attempt that made the result.
        attempt: u32,
        /// The name of its queue.
        queue: String,
        /// Where the job's record lies.
        place: PayloadRef,
    },
    /// Read what an answer about jobs lacks.
    Tell {
        /// Whom it is for.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Execute a service.
    Serve {
        /// Its place in the pipeline.
        index: u16,
        /// Which run of it.
        run: u32,
    },
    /// Write down the state at the end of a finished segment, and remove what that makes needless.
    Snapshot {
        /// The segment's number.
        segment: u32,
        /// Room is short: not even the snapshot before is kept.
        short: bool,
    },
    /// Find what attempts have left in earlier lives of sprag.
    Survey,
    /// Remove what attempts have left.
    Discard {
        /// The attempts: job and number.
        attempts: Vec<(JobId, u32)>,
        /// Folders of a thousand jobs each, none of which will write there again.
        folders: Vec<u64>,
    },
    /// Replace the copy of the heartbeat.
    CopyStatus {
        /// Its content.
        json: Vec<u8>,
    },
    /// See how much room there is, and whether the state folder is still ours.
    Measure {
        /// And how much of it is taken by what we have stored.
        stored: bool,
    },
    /// Replace the heartbeat.
    Status {
        /// Its content.
        json: Vec<u8>,
    },
}

/// How a task ended.
#[derive(Clone, Debug)]
pub enum Done {
    /// A source is watched, or why not.
    Armed {
        /// Which.
        source: u16,
        /// The reason, for people.
        result: Result<(), String>,
    },
    /// A source was looked at.
    Looked {
        /// Which.
        source: u16,
        /// What it has offered by now.
        seen: Seen,
        /// What is new, or why nothing was taken.
        result: Result<Look, Complaint>,
    },
    /// Drop-box files were removed.
    Dropped {
        /// The names of those that are gone.
        files: Vec<String>,
    },
    /// A command was executed.
    Spawned {
        /// As whom.
        child: ChildId,
    },
    /// A command was not executed.
    SpawnFailed {
        /// As whom.
        child: ChildId,
        /// Why.
        failure: SpawnFailure,
        /// Which program, and why, in words.
        why: String,
    },
    /// An attempt's output is in order.
    Settled {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// How it ended.
        outcome: Outcome,
        /// The synced result that waits to be published, if there is one.
        result: Option<Digest>,
        /// Everything of it is proved dead.
        gone: bool,
        /// What it left in its log and its result, in bytes.
        kept_bytes: u64,
    },
    /// Leftovers were looked for.
    Proved {
        /// Attempts that are proved dead.
        gone: Vec<(JobId, Attempt)>,
        /// Nothing of an earlier life of sprag is alive.
        clear: bool,
    },
    /// A result stands at its destination, or why not.
    Published {
        /// The job.
        job: JobId,
        /// The reason, for people.
        result: Result<(), String>,
    },
    /// A snapshot was taken, or why not.
    Snapshot {
        /// Up to the end of this segment.
        segment: u32,
        /// Its length in bytes, if it was not there before; or the reason, for people.
        result: Result<Option<u64>, String>,
    },
    /// What attempts have left was looked for.
    Surveyed {
        /// Each attempt with its bytes.
        kept: Vec<(JobId, u32, u64)>,
        /// The folders there are.
        folders: Vec<u64>,
    },
    /// What was to be removed is gone, as far as it could be.
    Discarded,
    /// The copy of the heartbeat was replaced, or why not.
    StatusCopied {
        /// The reason, for people.
        result: Result<(), String>,
    },
    /// An answer about jobs is whole, as far as it can be.
    Told {
        /// Whom it is for.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// How much room there is.
    Measured(Measured),
    /// The heartbeat was replaced, or why not.
    Status {
        /// The reason, for people.
        result: Result<(), String>,
    },
}

/// How much room there is, and what takes it.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The room on the file system of the state folder; or why nobody knows.
    pub room: Result<Room, String>,
    /// The state folder is the one whose lock we hold.
    pub ours: bool,
    /// What journal and snapshots take, if it was asked for and can be told.
    pub stored: Option<Stored>,
}

impl Task {
    /// Whether it makes a process. All such tasks go to one thread, the keeper, one after the other.
    pub fn makes_process(&self) -> bool {
        match self {
            Task::Start { .. } | Task::Serve { .. } => true,
            Task::Arm { .. }
            | Task::Look { .. }
            | Task::Drop { .. }
            | Task::Settle { .. }
            | Task::Prove { .. }
            | Task::Publish { .. }
            | Task::Tell { .. }
            | Task::Snapshot { .. }
            | Task::Survey
            | Task::Discard { .. }
            | Task::CopyStatus { .. }
            | Task::Measure { .. }
            | Task::Status { .. } => false,
        }
    }
}

impl<F: Fs, P: Processes, W: Watch> Context<F, P, W> {
    /// Does what the task says.
    pub fn run(&self, task: Task) -> Done {
        match task {
            Task::Arm { source } => self.arm(source),
            Task::Look { source, seen } => self.look(source, seen),
            Task::Drop { files } => self.drop_files(files),
            Task::Start { job, attempt, place, deadline } => attempt::start(self, job, attempt, place, deadline),
            Task::Settle { job, attempt, outcome } => attempt::settle(self, job, attempt, outcome),
            Task::Prove { attempts } => attempt::prove(self, attempts),
            Task::Publish { job, attempt, queue, place } => {
                Done::Published { job, result: attempt::publish(self, job, attempt, &queue, place) }
            }
            Task::Tell { ticket, answer } => Done::Told { ticket, answer: attempt::told(self, answer) },
            Task::Serve { index, run } => attempt::serve(self, index, run),
            Task::Snapshot { segment, short } => Done::Snapshot {
                segment,
                result: history::take_snapshot(&self.fs, self.state().path(), segment, short),
            },
            Task::Survey => self.survey(),
            Task::Discard { attempts, folders } => self.discard(&attempts, &folders),
            Task::CopyStatus { json } => Done::StatusCopied { result: self.copy_status(&json) },
            Task::Measure { stored } => Done::Measured(self.measure(stored)),
            Task::Status { json } => {
                let path = self.state().status();
                let in_place = || write_all_at(&self.fs.open(&path, Open::Replace)?, &json, 0);
                let result =
                    if planted(Bug::StatusInPlace) { in_place() } else { write_atomic(&self.fs, &path, &json) };
                Done::Status { result: result.map_err(|error| error.to_string()) }
            }
        }
    }

    /// What whoever heard of a child's end tells the driver: that it ended, or at once that it is settled.
    pub fn ended(&self, exit: Exit) -> Event {
        let settled = match exit.child {
            ChildId::Attempt { job, attempt } => attempt::settle_at_once(self, job, attempt, exit.outcome),
            ChildId::Service { .. } => None,
        };
        settled.map_or(Event::Exited(exit), Event::Done)
    }

    pub(crate) fn state(&self) -> StateDir {
        self.pipeline.state()
    }

    pub(crate) fn nonce(&self, name: String) -> Nonce {
        Nonce { queue_id: self.queue_id.clone(), epoch: self.epoch, name }
    }

    fn arm(&self, source: u16) -> Done {
        // A name that will never be: any change in the folder counts.
        let any = Path::new("*");
        let paths = match self.pipeline.source(source) {
            None => vec![self.state().inbox("new").join(any)],
            Some(spec) => {
                let path = self.pipeline.dir.join(&spec.path);
                match spec.format {
                    // Its own name too: a folder that is not there yet cannot be watched, but that it comes can.
                    Format::Files => {
                        let inside = self.fs.metadata(&path).is_ok().then(|| path.join(any));
                        [path].into_iter().chain(inside).collect()
                    }
                    Format::JsonArray | Format::JsonLines => {
                        // Where it is a link, what it leads to can change as well.
                        let end = scan::resolve(&self.fs, &path).ok().map(|(end, _)| end).filter(|end| *end != path);
                        [path].into_iter().chain(end).collect()
                    }
                }
            }
        };
        let result = paths.iter().try_for_each(|path| self.watch.arm(source, path));
        Done::Armed { source, result: result.map_err(|error| error.to_string()) }
    }

    fn look(&self, source: u16, mut seen: Seen) -> Done {
        let watch = |folder: &Path| self.watch.arm(source, &folder.join("*")).map_err(|error| error.to_string());
        let result = match self.pipeline.source(source) {
            Some(spec) => scan::look(&self.fs, &watch, &self.pipeline.dir, spec, &mut seen),
            None => scan::look_into_inbox(&self.fs, &self.state(), &self.pipeline, &mut seen),
        };
        Done::Looked { source, seen, result }
    }

    fn measure(&self, stored: bool) -> Measured {
        let (fs, state) = (&self.fs, self.state());
        let ours = match fs.identity(&state.lock()) {
            Ok(identity) => identity == self.lock,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        Measured {
            room: fs.room(state.path()).map_err(|error| error.to_string()),
            ours,
            stored: stored.then(|| sprag_journal::stored(fs, state.path()).ok()).flatten(),
        }
    }

    /// What cannot be removed stays: it is in the way of nobody, and the next survey finds it.
    fn discard(&self, attempts: &[(JobId, u32)], folders: &[u64]) -> Done {
        for (job, attempt) in attempts {
            let _ = self.fs.remove(&self.state().attempt_log(job.0, *attempt));
            let _ = self.fs.remove(&self.state().attempt_result(job.0, *attempt));
        }
        for thousand in folders {
            let _ = self.fs.remove_dir(&self.state().thousand(*thousand));
        }
        Done::Discarded
    }

    /// What cannot be read is left alone.
    fn survey(&self) -> Done {
        let (mut kept, mut folders) = (BTreeMap::new(), Vec::new());
        for name in self.fs.list(&self.state().all_attempts()).unwrap_or_default() {
            let Some(thousand) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let folder = self.state().thousand(thousand);
            for name in self.fs.list(&folder).unwrap_or_default() {
                let Some(attempt) = name.to_str().and_then(attempt_of_file) else { continue };
                let bytes = self.fs.metadata(&folder.join(&name)).map_or(0, |metadata| attempt::blocks(metadata.len));
                *kept.entry(attempt).or_insert(0) += bytes;
            }
            folders.push(thousand);
        }
        let kept = kept.into_iter().map(|((job, attempt), bytes)| (job, attempt, bytes)).collect();
        Done::Surveyed { kept, folders }
    }

    fn copy_status(&self, json: &[u8]) -> Result<(), String> {
        let Some(path) = &self.pipeline.status_path else { return Ok(()) };
        let path = self.pipeline.dir.join(path);
        publish_atomic(&self.fs, &path, json).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// A file that cannot be removed is offered again after a restart, and known then.
    fn drop_files(&self, mut files: Vec<String>) -> Done {
        files.retain(|name| match self.fs.remove(&self.state().inbox("new").join(name)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        });
        Done::Dropped { files }
    }
}

/// The attempt that a file in the folder of a thousand jobs belongs to: `<job>.<number>.log` or `.result`.
fn attempt_of_file(name: &str) -> Option<(JobId, u32)> {
    let (job, rest) = name.split_once('.')?;
    let (number, _) = rest.split_once('.')?;
    Some((JobId(job.parse().ok()?), number.parse().ok()?))
}
