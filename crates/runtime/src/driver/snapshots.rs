//! When a snapshot is taken.
//!
//! **Invariant.** One snapshot at a time, of finished segments alone; a failure is said, and tried again later.

use super::{Driver, Effect, Notice};
use crate::task::Task;
use sprag_core::{Mono, Now};

/// After a snapshot that failed, the next try.
const AGAIN_MS: u64 = 60_000;
/// A segment is so many times as long as what lives in the journal, as far as the limits allow.
const SEGMENT_OF_LIVE: u64 = 4;

#[derive(Debug)]
pub(super) struct Snapshots {
    /// The last segment that has a successor; 0 for none.
    finished: u32,
    /// The last finished segment that the newest snapshot covers.
    covered: u32,
    taking: bool,
    /// Bytes of the newest snapshot: about what everything that is known takes.
    live_bytes: u64,
    /// After a failure.
    again_at: Option<Mono>,
}

impl Snapshots {
    /// With a journal whose last segment is `current`, and a snapshot of `live_bytes` that covers up to `covered`.
    pub(super) fn new(current: u32, covered: u32, live_bytes: u64) -> Snapshots {
        Snapshots { finished: current.saturating_sub(1), covered, taking: false, live_bytes, again_at: None }
    }

    /// At how many bytes a segment is to be finished, so that the journal since the last snapshot is a few times as long as
    /// what lives in it: then it stays short where little lives, and writing snapshots costs a part of writing the journal.
    /// While one is under way another would only wait for it.
    pub(super) fn segment_bytes(&self) -> u64 {
        if self.taking { u64::MAX } else { self.live_bytes.saturating_mul(SEGMENT_OF_LIVE) }
    }

    /// About what the next snapshot takes.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// A frame is durable in this segment: those before it are finished.
    pub(super) fn written(&mut self, segment: u32) {
        self.finished = self.finished.max(segment.saturating_sub(1));
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.again_at
    }

    fn due(&mut self, now: Now) -> Option<Task> {
        if self.taking || self.finished <= self.covered || self.again_at.is_some_and(|at| at > now.mono) {
            return None;
        }
        (self.taking, self.again_at) = (true, None);
        Some(Task::Snapshot { segment: self.finished })
    }
}

impl Driver {
    /// Hands out a snapshot that is due.
    pub(super) fn take_snapshot(&mut self, now: Now) {
        self.effects.extend(self.snapshots.due(now).map(Effect::Run));
    }

    pub(super) fn snapshot_taken(&mut self, now: Now, segment: u32, result: Result<Option<u64>, String>) {
        self.snapshots.taking = false;
        match result {
            Ok(bytes) => {
                self.snapshots.covered = segment;
                self.snapshots.live_bytes = bytes.unwrap_or(self.snapshots.live_bytes);
            }
            Err(what) => {
                self.snapshots.again_at = Some(now.mono.after(AGAIN_MS));
                self.effects.push_back(Effect::Say(Notice::SnapshotFailed { what }));
            }
        }
    }
}
