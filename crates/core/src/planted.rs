//! Bugs that can be planted, so that the simulator can show that it would find them.
//!
//! **Invariant.** Without the feature `planted` [`planted`] is a constant false, and no bug is in the program. With it, at
//! most one bug is alive in a thread at a time, and it was asked for by name.

/// A known way to get it wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// No bug where no event is lost: sources are not looked at again but after events. The control for the next two.
    NoRescan,
    /// As `NoRescan`; and the dirty mark is cleared after the look instead of before.
    LostWakeUp,
    /// As `NoRescan`; and a source is watched only after the first look at it, and not looked at then.
    LookBeforeArm,
    /// What can be taken from a half-written array is taken.
    TornRead,
    /// A source that could not be parsed is never looked at again.
    ParseErrorEndsSource,
    /// A frame is called durable after the write, before the sync.
    AckBeforeSync,
    /// A new segment's name is not made durable.
    NameNotSynced,
    /// Leftovers are called dead without a proof.
    ProofSkipped,
    /// A result is recorded before it is durable.
    ResultNotSynced,
    /// Recovery leaves filler where it stands, though a failed sync may have dropped it. Was once a bug.
    FillerTrusted,
    /// A tick is asked for though it can lead to nothing. Was once a bug.
    BusyLoop,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 11] = [
        Bug::NoRescan,
        Bug::LostWakeUp,
        Bug::LookBeforeArm,
        Bug::TornRead,
        Bug::ParseErrorEndsSource,
        Bug::AckBeforeSync,
        Bug::NameNotSynced,
        Bug::ProofSkipped,
        Bug::ResultNotSynced,
        Bug::FillerTrusted,
        Bug::BusyLoop,
    ];

    /// Whether it takes the periodic look at sources away.
    pub const fn stops_rescan(self) -> bool {
        matches!(self, Bug::NoRescan | Bug::LostWakeUp | Bug::LookBeforeArm)
    }
}

/// Whether this bug is alive: never.
#[cfg(not(feature = "planted"))]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use alive::{plant, planted};

#[cfg(feature = "planted")]
mod alive {
    use super::Bug;
    use core::cell::Cell;

    thread_local! {
        static ALIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Makes one bug, or none, alive in this thread.
    pub fn plant(bug: Option<Bug>) {
        ALIVE.set(bug);
    }

    /// Whether this bug is alive in this thread.
    pub fn planted(bug: Bug) -> bool {
        ALIVE.get() == Some(bug)
    }
}

/// Whether a bug is alive that takes the periodic look at sources away.
pub fn rescan_is_off() -> bool {
    Bug::ALL.into_iter().any(|bug| bug.stops_rescan() && planted(bug))
}
