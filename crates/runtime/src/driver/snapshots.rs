//! When a snapshot is taken.
//!
//! **Invariant.** One snapshot at a time, of finished segments alone; a failure is said, and tried again later. While room is
//! short, whatever is at rest ends as one snapshot of what lives, with nothing before it: what sprag itself keeps is never why
//! room stays short.

use super::{Driver, Effect, Notice};
use crate::task::Task;
use sprag_core::{Bug, Mono, Now, Space, planted};
use sprag_journal::Position;

/// After a snapshot that failed, the next try.
const AGAIN_MS: u64 = 60_000;
/// The same while room is short: a snapshot is what makes some.
const AGAIN_SHORT_MS: u64 = 5_000;
/// A segment is so many times as long as what lives in the journal, as far as the limits allow.
const SEGMENT_OF_LIVE: u64 = 4;

#[derive(Debug)]
pub(super) struct Snapshots {
    /// The end of what is durable.
    end: Position,
    /// The last record of the finished segments.
    finished_seq: u64,
    /// Bytes that the journal had, or was given: in all, and before the segment that is being written.
    written_bytes: u64,
    finished_bytes: u64,
    /// The last finished segment that the newest snapshot covers, and the bytes up to its end.
    covered: u32,
    covered_bytes: u64,
    /// Nothing that came before it is kept.
    alone: bool,
    /// The one that is under way.
    taking: Option<Taking>,
    /// Bytes of the newest snapshot: about what everything that it knows takes.
    live_bytes: u64,
    /// When the last one failed, if none came off since.
    failed_at: Option<Mono>,
}

/// A snapshot that is under way.
#[derive(Debug)]
struct Taking {
    /// Up to there, in bytes of the journal.
    bytes: u64,
    short: bool,
}

impl Snapshots {
    /// With a journal of `journal_bytes` that ends there, and a snapshot of `live_bytes` that covers up to `covered`.
    pub(super) fn new(end: Position, covered: Option<Position>, journal_bytes: u64, live_bytes: u64) -> Snapshots {
        Snapshots {
            end,
            // Not known, and no less.
            finished_seq: covered.map_or(0, |covered| covered.seq),
            written_bytes: journal_bytes,
            finished_bytes: journal_bytes.saturating_sub(end.offset),
            covered: covered.map_or(0, |covered| covered.segment),
            // What of it the snapshot covers is not known: as good as nothing, until the next one.
            covered_bytes: 0,
            alone: false,
            taking: None,
            live_bytes,
            failed_at: None,
        }
    }

    /// At how many bytes a segment is to be finished, so that the journal since the last snapshot is a few times as long as
    /// what lives in it: then it stays short where little lives, and writing snapshots costs a part of writing the journal.
    /// While one is under way another would only wait for it. While room is short they are as short as may be: what is
    /// finished can be cut away.
    pub(super) fn segment_bytes(&self, short: bool) -> u64 {
        match (self.taking.is_some(), short) {
            (true, _) => u64::MAX,
            (false, true) => 0,
            (false, false) => self.live_bytes.saturating_mul(SEGMENT_OF_LIVE),
        }
    }

    /// Whether the segment is to be finished though it is short, once all is at rest: room is short, and what its records say
    /// may have ended most of what the next snapshot would have to hold without them.
    pub(super) fn wants_the_rest(&self) -> bool {
        self.taking.is_none() && self.end.seq > self.finished_seq && !planted(Bug::RestNotFinished)
    }

    /// What the next snapshot takes at most, nearly.
    pub(super) fn next_bytes(&self) -> u64 {
        self.live_bytes + (self.written_bytes - self.covered_bytes)
    }

    /// How many bytes the journal was given in this life.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// A frame is durable that ends there.
    pub(super) fn written(&mut self, end: Position) {
        if end.segment > self.end.segment {
            (self.finished_bytes, self.finished_seq) = (self.written_bytes, self.end.seq);
            self.written_bytes += end.offset;
        } else {
            self.written_bytes += end.offset.saturating_sub(self.end.offset);
        }
        self.end = end;
    }

    /// After a failure: the next try.
    pub(super) fn deadline(&self, short: bool) -> Option<Mono> {
        let failed_at = self.failed_at.filter(|_| self.taking.is_none())?;
        Some(failed_at.after(if short { AGAIN_SHORT_MS } else { AGAIN_MS }))
    }

    fn due(&mut self, now: Now, short: bool) -> Option<Task> {
        let finished = self.end.segment.saturating_sub(1);
        let waits = self.deadline(short).is_some_and(|at| at > now.mono);
        let old_ones_go = short && !self.alone && self.covered > 0 && !planted(Bug::OldSnapshotStays);
        if self.taking.is_some() || waits || (finished <= self.covered && !old_ones_go) {
            return None;
        }
        self.taking = Some(Taking { bytes: self.finished_bytes, short });
        Some(Task::Snapshot { segment: finished.max(self.covered), short })
    }
}

impl Driver {
    /// Hands out a snapshot that is due.
    pub(super) fn take_snapshot(&mut self, now: Now) {
        let short = self.machine.space() > Space::Enough;
        self.effects.extend(self.snapshots.due(now, short).map(Effect::Run));
    }

    pub(super) fn snapshot_taken(&mut self, now: Now, segment: u32, result: Result<Option<u64>, String>) {
        let snapshots = &mut self.snapshots;
        let taken = snapshots.taking.take();
        match result {
            Ok(bytes) => {
                (snapshots.covered, snapshots.failed_at) = (segment, None);
                if let Some(Taking { bytes, short }) = taken {
                    (snapshots.covered_bytes, snapshots.alone) = (bytes, short);
                }
                snapshots.live_bytes = bytes.unwrap_or(snapshots.live_bytes);
            }
            Err(what) => {
                snapshots.failed_at = Some(now.mono);
                self.effects.push_back(Effect::Say(Notice::SnapshotFailed { what }));
            }
        }
    }
}
