//! What can be wrong with a run: each check by its name.
//!
//! **Invariant.** Two failures are the same bug, as far as the simulator can tell, when their checks are: that is what
//! shrinking keeps, and what a saved trace is held against.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The code under test panicked.
    Panic,
    /// Sprag refuses to open what a crash may leave.
    OpensAgain,
    /// Sprag gives up its journal though nothing went wrong.
    KeepsGoing,
    /// Sprag asks for ticks that lead to nothing.
    NoBusyLoop,
    /// The run does not come to rest.
    ComesToRest,
    /// Sprag is idle some time after the last fault and change.
    BecomesIdle,
    /// Sprag stops when asked.
    Stops,
    /// Sprag started again has nothing to do.
    NothingLeft,
    /// At most one frame is in flight.
    OneFrame,
    /// Attempts of one job do not overlap.
    NoOverlap,
    /// A fence is used once.
    FenceOnce,
    /// What is executed stands in a durable record.
    DurableFirst,
    /// A payload stood in a whole file.
    PayloadWhole,
    /// Records follow each other and make sense.
    RecordsMakeSense,
    /// What people were told stands on record.
    SaidIsKept,
    /// What was executed stands on record.
    ExecutedIsKept,
    /// A snapshot is what the records add up to.
    SnapshotIsTrue,
    /// Every item makes one job.
    OneJobEach,
    /// Every job has one end, the one that its script says.
    RightEnd,
    /// A result stands at its destination, whole, and once.
    ResultStands,
    /// No job was made of nothing.
    NothingInvented,
    /// A request is answered once.
    AnsweredOnce,
    /// The loop hears nothing that it was not handed.
    HeardNoMore,
    /// Nobody waits because others are slow or rude.
    NobodyStalls,
    /// Nobody is told that sprag has ended while it goes on.
    EndIsTrue,
    /// An answer fits its request.
    RightAnswer,
    /// A key stands for one job, for ever.
    KeysHold,
    /// Nothing starts in a paused queue.
    PauseHolds,
    /// What starts is the job that was to start next.
    OrderHolds,
    /// Listeners are told what is on record, all of it, in order, and not before it is durable.
    ToldIsTrue,
    /// Services run when they should, and never twice at a time.
    ServicesHold,
    /// What is put into the drop-box is taken out of it.
    BoxIsEmptied,
    /// A job that was cancelled ends so.
    CancelHolds,
    /// Nothing starts before its time, and retries wait as their policy says.
    WaitsHold,
    /// An attempt is not ended before its timeout.
    TimeoutsHold,
    /// What does not move is not called healthy.
    HealthIsTrue,
    /// Nothing starts while the disk is nearly full.
    StartsHeld,
    /// What sprag itself keeps is not why room stays short.
    MakesRoom,
    /// No more outcomes on record than executions.
    OutcomesAreReal,
    /// No more commands work than there are places.
    PlacesHold,
    /// What is due comes soon: a start, the end of what takes too long.
    IsPunctual,
    /// What the flight recorder wrote down leads to the same decisions.
    IncidentReplays,
}

/// What is wrong with a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// By which check it was found.
    pub check: Check,
    /// What was found, for people.
    pub what: String,
}

impl Check {
    /// It failed, for this reason.
    pub fn failed(self, what: impl Into<String>) -> Failure {
        Failure { check: self, what: what.into() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}
