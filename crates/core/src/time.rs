//! Two clocks that never mix: elapsed time for deadlines in memory, calendar time for records.
//!
//! **Invariant.** [`Mono`] never goes back and counts suspend (BOOTTIME); [`Wall`] may jump either way, so no deadline
//! in memory is held in it, except a moment that the user named by the calendar.

use serde::{Deserialize, Serialize};

/// Milliseconds since boot, suspend included. Only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mono(pub u64);

/// Milliseconds since the Unix epoch, as the system's calendar has it. May jump either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub u64);

/// The moment at which an input is handled, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Now {
    /// Elapsed time.
    pub mono: Mono,
    /// Calendar time.
    pub wall: Wall,
}

impl Mono {
    /// The moment `delay_ms` later.
    pub fn after(self, delay_ms: u64) -> Mono {
        Mono(self.0.saturating_add(delay_ms))
    }

    /// Milliseconds from `earlier` to `self`; zero if it lies ahead.
    pub fn since_ms(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Wall {
    /// The moment `delay_ms` later.
    pub fn after(self, delay_ms: u64) -> Wall {
        Wall(self.0.saturating_add(delay_ms))
    }
}

impl Now {
    /// When the calendar moment `due` comes on the elapsed clock, if the calendar does not jump; never later than
    /// `delay_ms_max` from now, so that a clock that jumped back cannot block a job for ever.
    pub fn mono_at(self, due: Wall, delay_ms_max: u64) -> Mono {
        self.mono.after(due.0.saturating_sub(self.wall.0).min(delay_ms_max))
    }
}
