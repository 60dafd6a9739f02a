//! Names of things, each its own type so that none can stand for another.

use serde::{Deserialize, Serialize};

/// A job, numbered in order of arrival. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// A queue, by its place in the Machine's list of names. Not stable across restarts: records carry the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueueId(pub u16);

/// A source, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(pub u16);

/// Whoever asked: the driver finds its client, source item or drop-box file by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// The place of a record in the journal's order. Starts at 1; 0 stands before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// A place for one attempt: its reusable input file (with the lock that proves death) and its output files.
/// An attempt keeps its slot until it is proved dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u16);

/// The first 128 bits of the BLAKE3 hash of a result: what was recorded can be told from what lies on disk later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(#[serde(with = "crate::hex")] pub u128);

/// What makes a job the same job: a hash over queue name and key text, wide enough that nobody finds two alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyHash(#[serde(with = "crate::hex")] pub u128);

impl JobId {
    /// The next one.
    pub fn next(self) -> JobId {
        JobId(self.0 + 1)
    }
}

impl Seq {
    /// The next one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}
