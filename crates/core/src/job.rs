//! One unit of work and the states it can be in.
//!
//! **Invariant.** A job is in exactly one state; `succeeded` is final; `dead` and `cancelled` end only by a redrive.

use crate::ids::{KeyHash, QueueId, Slot};
use crate::time::{Mono, Wall};
use serde::{Deserialize, Serialize};

/// Where a job's own record (key text, payload) lies in the journal. Opaque here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PayloadRef {
    /// Segment or snapshot number.
    pub segment: u32,
    /// Bytes of the record's line.
    pub len: u32,
    /// Byte offset of the record's line.
    pub offset: u64,
}

/// A job as the Machine holds it. Small: a million wait in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Where it is.
    pub state: State,
    /// Its record on disk.
    pub payload: PayloadRef,
    /// What makes it unique, if anything does.
    pub key: Option<KeyHash>,
    /// The number of the last attempt granted; the next one is one more, even if this one was given back unused.
    pub attempt: u32,
    /// Failed attempts that count against the retries.
    pub failures: u32,
    /// Attempts in a row that ended with the death of sprag.
    pub crashes: u16,
    /// Its queue.
    pub queue: QueueId,
    /// Higher runs first.
    pub priority: i16,
    /// A cancel was accepted while an attempt was alive.
    pub cancelling: bool,
    /// Start only after its own durable record: an attempt of it was given back, or may have run unseen when sprag died.
    pub strict: bool,
    /// The result is on record but not yet at its destination.
    pub unpublished: bool,
}

/// The states of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its time.
    Scheduled {
        /// The moment by the calendar, as journaled.
        due: Wall,
        /// The moment it comes by elapsed time; `None` for one that the user named by the calendar.
        wake: Option<Mono>,
    },
    /// Waits for a slot.
    Ready,
    /// Ready, and an attempt is journaled ahead: it may start the moment a slot frees.
    Reserved {
        /// The slot set aside for it.
        slot: Slot,
    },
    /// An attempt is alive, or was when sprag died and is not yet proved dead (then the name is `unknown`).
    Running {
        /// The slot it occupies.
        slot: Slot,
    },
    /// Done, once.
    Succeeded,
    /// Given up.
    Dead(DeadReason),
    /// Ended by request.
    Cancelled,
}

/// Why a job was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// All attempts failed.
    Exhausted,
    /// An outcome that trying again cannot mend.
    Permanent,
    /// Its attempts ended with the death of sprag too many times in a row.
    Poison,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The command's exit code.
    Exit(u8),
    /// The signal that ended it.
    Signal(u8),
    /// Ended by sprag at its timeout.
    TimedOut,
    /// The command does not exist.
    NotFound,
    /// The command may not be executed, or is no program.
    NotExecutable,
    /// The command could not be executed this time, for a reason of its own: it is being written, or its disk fails.
    NotStarted,
    /// The command exited well but its result could not be read or synced.
    ResultLost,
    /// The command exited well but its result is over the limit.
    ResultTooLarge,
}

/// A state's name as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Waits for its time.
    Scheduled,
    /// Waits for a slot.
    Ready,
    /// An attempt is alive.
    Running,
    /// An earlier attempt is not yet proved dead.
    Unknown,
    /// Done.
    Succeeded,
    /// Given up.
    Dead,
    /// Ended by request.
    Cancelled,
}

/// Jobs of one queue by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Wait for their time.
    pub scheduled: u64,
    /// Wait for a slot.
    pub ready: u64,
    /// Have a live attempt, or one not yet proved dead.
    pub running: u64,
    /// Done.
    pub succeeded: u64,
    /// Given up.
    pub dead: u64,
    /// Ended by request.
    pub cancelled: u64,
}

impl Job {
    /// At an end, with nothing left to do for it.
    pub fn is_at_rest(&self) -> bool {
        self.state.is_terminal() && !self.unpublished
    }
}

impl State {
    /// True in the three states that end a job.
    pub fn is_terminal(self) -> bool {
        match self {
            State::Succeeded | State::Dead(_) | State::Cancelled => true,
            State::Scheduled { .. } | State::Ready | State::Reserved { .. } | State::Running { .. } => false,
        }
    }

    /// The slot of an attempt that is alive, or not yet proved dead.
    pub fn slot(self) -> Option<Slot> {
        match self {
            State::Running { slot } => Some(slot),
            State::Scheduled { .. }
            | State::Ready
            | State::Reserved { .. }
            | State::Succeeded
            | State::Dead(_)
            | State::Cancelled => None,
        }
    }

    /// The moment that it waits for.
    pub fn due(self) -> Option<Wall> {
        match self {
            State::Scheduled { due, .. } => Some(due),
            State::Ready
            | State::Reserved { .. }
            | State::Running { .. }
            | State::Succeeded
            | State::Dead(_)
            | State::Cancelled => None,
        }
    }

    /// Why it was given up.
    pub fn dead_reason(self) -> Option<DeadReason> {
        match self {
            State::Dead(reason) => Some(reason),
            State::Scheduled { .. }
            | State::Ready
            | State::Reserved { .. }
            | State::Running { .. }
            | State::Succeeded
            | State::Cancelled => None,
        }
    }
}

impl StateName {
    /// All of them, in the order of a job's life.
    pub const ALL: [StateName; 7] = [
        StateName::Scheduled,
        StateName::Ready,
        StateName::Running,
        StateName::Unknown,
        StateName::Succeeded,
        StateName::Dead,
        StateName::Cancelled,
    ];

    /// The state that a word names.
    pub fn named(word: &str) -> Option<StateName> {
        StateName::ALL.into_iter().find(|name| name.as_str() == word)
    }

    /// True for the three that end a job.
    pub fn is_end(self) -> bool {
        match self {
            StateName::Succeeded | StateName::Dead | StateName::Cancelled => true,
            StateName::Scheduled | StateName::Ready | StateName::Running | StateName::Unknown => false,
        }
    }

    /// The word in tables, filters and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            StateName::Scheduled => "scheduled",
            StateName::Ready => "ready",
            StateName::Running => "running",
            StateName::Unknown => "unknown",
            StateName::Succeeded => "succeeded",
            StateName::Dead => "dead",
            StateName::Cancelled => "cancelled",
        }
    }
}

impl Counts {
    /// The counter of the state's kind.
    pub(crate) fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Scheduled { .. } => &mut self.scheduled,
            State::Ready | State::Reserved { .. } => &mut self.ready,
            State::Running { .. } => &mut self.running,
            State::Succeeded => &mut self.succeeded,
            State::Dead(_) => &mut self.dead,
            State::Cancelled => &mut self.cancelled,
        }
    }

    /// Jobs that are not at an end.
    pub fn open(&self) -> u64 {
        self.scheduled + self.ready + self.running
    }
}
