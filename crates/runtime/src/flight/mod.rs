//! The flight recorder: every input that the Machine was given, so that what led to an incident can be run again.
//!
//! **Invariant.** An input is handed over before it is handled, and it is in the kernel before any frame is that it led to: so
//! after a `kill -9` no record is in the journal that the recording does not lead to. Nothing here is synced, nothing holds
//! up the loop, and what cannot be written is left out as a whole segment's rest, and said aloud. Each segment begins with
//! all that its Machine was, but for what the journal holds. What users gave stands here as a hash or not at all.

mod read;
mod recorder;

pub use read::{Event, Segment, last_life, segments};
pub use recorder::Recorder;
pub(crate) use recorder::dir;

use serde::{Deserialize, Serialize};
use sprag_core::{Config, Input, Now, Seq, Volatile};

/// The version of the format.
pub const VERSION: u32 = 1;
/// All segments together are this many times as long as one.
pub const SEGMENTS: u64 = 8;
/// No more files are kept, however short they are.
pub(crate) const FILES_MAX: usize = 64;
/// Less than this is no recording, in bytes over all segments.
pub const BYTES_MIN: u64 = 64 << 10;
/// So many bytes may wait to be written; an input that comes then is left out, and what follows up to the next segment.
pub(crate) const WAITING_BYTES_MAX: usize = 4 << 20;

/// The name of a segment.
pub(crate) fn name(segment: u32) -> String {
    format!("{segment:08}.jsonl")
}

/// The number of the segment that has this name.
pub(crate) fn number(file: &std::ffi::OsStr) -> Option<u32> {
    let number = file.to_str()?.strip_suffix(".jsonl")?.parse().ok()?;
    (number > 0 && file == name(number).as_str()).then_some(number)
}

/// One line of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first line: where the segment begins.
    Flight(Box<Head>),
    /// What follows happened at this moment: elapsed and calendar milliseconds.
    Now(u64, u64),
    /// A queue got the next number.
    Queue(String),
    /// The Machine was given this.
    In(Input),
    /// The first 64 bits of the BLAKE3 hash of all lines since the last such line and of that line itself, in hexadecimal.
    Sum(String),
}

/// Where a segment begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Of the format.
    pub version: u32,
    /// Its number.
    pub segment: u32,
    /// The identity of the journal.
    pub queue: String,
    /// Which life of the journal's writer this is.
    pub epoch: u64,
    /// The snapshot that this life began with, by the last record in it; 0 for none.
    pub snapshot: u64,
    /// The last record that was decided.
    pub seq: Seq,
    /// The last frame that was durable: its segment, where it ends there, and its last record.
    pub journal: (u32, u64, u64),
    /// When.
    pub now: Now,
    /// How many inputs the segment before holds, if it is of the same life and nothing was left out since: only then this one
    /// goes on where that one ends.
    pub follows: Option<u64>,
    /// What the Machine was told at its birth.
    pub config: Config,
    /// The names of all queues; their places are their numbers.
    pub queues: Vec<String>,
    /// Whether a life begins: the Machine has just read the journal, and is about to resume.
    pub opens: bool,
    /// What the Machine was beside the records. None where that was too much at the beginning of a life; then it is what the
    /// records and the snapshot make of it.
    pub volatile: Option<Volatile>,
}
