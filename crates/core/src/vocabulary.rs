//! The whole vocabulary: what the Machine is told, what it decides, what it writes down.
//!
//! **Invariant.** An [`Output`] is a decision, never a system call; a failed effect comes back as an [`Input`]; a
//! [`Record`] holds everything that replaying it needs, chance and time included.

use crate::health::SourceReport;
use crate::ids::{Digest, JobId, KeyHash, QueueId, RequestId, Seq, Slot, SourceId};
use crate::job::{DeadReason, Outcome};
use crate::time::Wall;
use serde::{Deserialize, Serialize};

/// What happens to the Machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Somebody wants a job done.
    Submit {
        /// Who asks.
        request: RequestId,
        /// What they want.
        job: NewJob,
    },
    /// Somebody wants a job ended.
    Cancel {
        /// Who asks.
        request: RequestId,
        /// Which job.
        job: JobId,
    },
    /// Somebody wants a dead or cancelled job tried again from the start.
    Redrive {
        /// Who asks.
        request: RequestId,
        /// Which job.
        job: JobId,
    },
    /// Somebody wants no more starts in a queue.
    Pause {
        /// Who asks.
        request: RequestId,
        /// Which queue.
        queue: QueueId,
    },
    /// Somebody wants starts again in a paused queue.
    Resume {
        /// Who asks.
        request: RequestId,
        /// Which queue.
        queue: QueueId,
    },
    /// Every record up to this one is durable.
    Persisted {
        /// The last durable record.
        through: Seq,
    },
    /// How much room the disk has.
    Space(Space),
    /// The attempt's command was executed.
    Spawned {
        /// Its job.
        job: JobId,
        /// Its number.
        attempt: u32,
    },
    /// The attempt's command was not executed.
    SpawnFailed {
        /// Its job.
        job: JobId,
        /// Its number.
        attempt: u32,
        /// Why.
        failure: SpawnFailure,
    },
    /// The attempt's command exited, and its output was put in order.
    Ended {
        /// Its job.
        job: JobId,
        /// Its number.
        attempt: u32,
        /// How.
        outcome: Outcome,
        /// The synced result that waits to be published, if there is one.
        result: Option<Digest>,
        /// Every process of the attempt is proved dead.
        gone: bool,
    },
    /// Every process of the attempt is proved dead, after `Ended` could not say so or after a crash of sprag.
    Gone {
        /// Its job.
        job: JobId,
        /// Its number.
        attempt: u32,
    },
    /// The job's result stands at its destination, durably.
    Published {
        /// Its job.
        job: JobId,
    },
    /// The job's result could not be put at its destination.
    PublishFailed {
        /// Its job.
        job: JobId,
    },
    /// What became of a look at a source.
    Source {
        /// Which.
        source: SourceId,
        /// What.
        report: SourceReport,
    },
    /// The key of a forgotten job need not be known any longer.
    ForgetKey {
        /// The job.
        job: JobId,
    },
    /// Whether the copy of the heartbeat stands where it was asked for.
    StatusCopied {
        /// It does.
        well: bool,
    },
    /// How a service does.
    Service {
        /// Its place in the configuration.
        service: u16,
        /// It fails again and again, or has failed for good.
        failing: bool,
    },
    /// Time has passed.
    Tick,
    /// Since the last input the machine slept for so long; told before anything else that came meanwhile. Elapsed time
    /// counts it, the timeouts of attempts do not.
    Slept {
        /// Milliseconds.
        ms: u64,
    },
    /// The program is to end.
    Stop(StopLevel),
}

/// A job as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// Where it goes.
    pub queue: QueueId,
    /// What makes it unique, if anything does.
    pub key: Option<KeyHash>,
    /// A digest of the payload: the same key with another payload is a conflict.
    #[serde(with = "crate::hex")]
    pub digest: u64,
    /// Higher runs first.
    pub priority: i16,
    /// Not before.
    pub when: When,
}

/// The earliest start of a new job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// After so many milliseconds of elapsed time.
    Delay(u64),
    /// When the calendar says so.
    At(Wall),
}

/// Why a command was not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnFailure {
    /// It does not exist.
    NotFound,
    /// It may not be executed, or is no program.
    NotExecutable,
    /// It exists and could not be executed this time: it is being written, or its disk fails.
    NotStarted,
    /// The system is short of processes, memory or descriptors; says nothing about the job.
    Resources,
}

/// How much room the disk has, from much to little. Completions are recorded in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// Enough for anything.
    #[default]
    Enough,
    /// Not enough for new jobs. Those there are may run: they come to an end and are forgotten in time, which gives room back.
    Low,
    /// Nothing starts either, and nothing is forgotten: that takes room in the journal too.
    Full,
}

/// How far the end of the program has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopLevel {
    /// Not at all.
    #[default]
    Run,
    /// Start nothing, let attempts finish.
    Drain,
    /// End attempts; they do not count.
    Kill,
}

/// What the Machine decides. Drained with `poll` after each input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Append this record.
    Persist {
        /// Its place in the order.
        seq: Seq,
        /// What it says.
        record: Record,
    },
    /// Answer whoever asked. What the answer says is durable.
    Reply {
        /// Who asked.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Execute the command. Answered by `Spawned` or `SpawnFailed`, later by `Ended`.
    Start {
        /// Its job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Signal the attempt's process group.
    Signal {
        /// Its job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
        /// How hard.
        kill: Kill,
    },
    /// Kill what is left of the attempt and prove it dead. Answered by `Gone`, or not at all; then asked again.
    Prove {
        /// Its job.
        job: JobId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Put the job's result at its destination. Answered by `Published` or `PublishFailed`.
    Publish {
        /// Its job.
        job: JobId,
        /// The attempt that made the result.
        attempt: u32,
    },
    /// Remove what is left of the job's attempts, 1 to this number: it is durably forgotten. Not answered.
    Discard {
        /// Its job.
        job: JobId,
        /// The number of its last attempt.
        attempts: u32,
    },
    /// Nothing is left alive: the program may end.
    Stopped,
}

/// One run of a job's command, as everyone outside names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// Its files.
    pub slot: Slot,
    /// The record that granted it: unique for ever, so it is the fence, and the nonce is made from it.
    pub fence: Seq,
    /// Its queue.
    pub queue: QueueId,
}

/// How an attempt is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kill {
    /// Asked (SIGTERM).
    Term,
    /// Forced (SIGKILL).
    Kill,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// A new job.
    Added(JobId),
    /// The key is known, with this payload: the job it made.
    Known(JobId),
    /// The key is known, with another payload: the job it made.
    Conflict(JobId),
    /// Done as asked.
    Done,
    /// Not done.
    Refused(Refusal),
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such job.
    NoSuchJob,
    /// No such queue.
    NoSuchQueue,
    /// The job's state does not allow it.
    WrongState,
    /// As many jobs as `jobs_max` are known.
    Full,
    /// The disk has no room but for completions.
    NoSpace,
    /// The program is about to end.
    Stopping,
}

/// One fact in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A job came.
    Added {
        /// Its number.
        job: JobId,
        /// What was asked for.
        new: NewJob,
        /// Not before this moment, if a moment was asked for.
        due: Option<Wall>,
    },
    /// An attempt may start from now on; it does not count until it does.
    Reserved {
        /// Its job.
        job: JobId,
        /// Its number.
        attempt: u32,
        /// Its files.
        slot: Slot,
    },
    /// An attempt starts, or may start from now on.
    Started {
        /// Its job.
        job: JobId,
        /// Its number.
        attempt: u32,
        /// Its files.
        slot: Slot,
    },
    /// An attempt is over and proved dead.
    Finished {
        /// Its job.
        job: JobId,
        /// Its number.
        attempt: u32,
        /// How it ended; `None` if sprag did not see it end.
        outcome: Option<Outcome>,
        /// What follows.
        next: Next,
    },
    /// A cancel was accepted: the job ends now, or when its attempt does.
    Cancelled {
        /// The job.
        job: JobId,
    },
    /// A dead or cancelled job is to be tried again from the start.
    Redriven {
        /// The job.
        job: JobId,
    },
    /// The job's result stands at its destination.
    Published {
        /// The job.
        job: JobId,
    },
    /// An ended job is no longer kept; its key stays known.
    Forgotten {
        /// The job.
        job: JobId,
    },
    /// The key of a forgotten job is no longer known: whoever comes with it makes a new job.
    KeyForgotten {
        /// The job.
        job: JobId,
    },
    /// No more starts in the queue.
    Paused {
        /// The queue.
        queue: QueueId,
    },
    /// Starts again in the queue.
    Resumed {
        /// The queue.
        queue: QueueId,
    },
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The job is done.
    Succeeded {
        /// The result that waits to be published, if there is one.
        result: Option<Digest>,
    },
    /// The attempt failed; another one comes.
    Retry {
        /// When, by the calendar.
        due: Wall,
    },
    /// Given up.
    Dead(DeadReason),
    /// A cancel was accepted while it ran.
    Cancelled,
    /// The attempt ended by our doing, not its own: another one comes and nothing is held against the job.
    Again {
        /// When, by the calendar.
        due: Wall,
        /// Sprag died meanwhile: counts towards poison.
        crash: bool,
    },
    /// The reservation was given back, or sprag died before it is known to have been used.
    Unused,
}

impl Record {
    /// The job that it is about, unless it is no longer known.
    pub fn job(&self) -> Option<JobId> {
        match *self {
            Record::Added { job, .. }
            | Record::Reserved { job, .. }
            | Record::Started { job, .. }
            | Record::Finished { job, .. }
            | Record::Cancelled { job }
            | Record::Redriven { job }
            | Record::Published { job }
            | Record::Forgotten { job } => Some(job),
            Record::KeyForgotten { .. } | Record::Paused { .. } | Record::Resumed { .. } => None,
        }
    }
}
