//! What attempts have left on the disk, their logs and results: how much it is, and what of it goes.
//!
//! **Invariant.** What the last attempt of a job left stays as long as the job is not at rest: its result may still have to be
//! published. Of the rest the oldest goes first, when there is too much of it in bytes or attempts, or when it is too old.
//! A folder goes when every job that could write there is forgotten. Nothing of this is on record: a look at the folders
//! after each start finds what there is. But nothing goes before the records are durable by which it may: after a crash a
//! result may have to be published again. One task at a time, of a bounded size.

use super::{Driver, Effect};
use crate::task::Task;
use sprag_core::{JobId, Mono, Now, Seq, Space, Wall};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Attempts whose files one task removes.
const DISCARD_MAX: usize = 64;
/// While room is short, logs may take this part of what they may take else.
const SHORT_PART: u64 = 4;
/// Between two looks for what has become too old.
const AGE_CHECK_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Kept {
    attempts: BTreeMap<(JobId, u32), Left>,
    by_age: BTreeSet<(Wall, JobId, u32)>,
    bytes: u64,
    /// What goes once the records that allow it are durable.
    to_discard: VecDeque<(Seq, JobId, u32)>,
    /// Folders of which a job was forgotten, by their thousand.
    doubtful: BTreeSet<u64>,
    /// A task is under way.
    busy: bool,
    surveyed: bool,
    check_at: Mono,
}

/// What one attempt has left.
#[derive(Clone, Copy, Debug)]
struct Left {
    at: Wall,
    bytes: u64,
}

impl Kept {
    /// How many attempts have left something, and how many bytes.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.attempts.len() as u64, self.bytes)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        (!self.busy && !self.by_age.is_empty()).then_some(self.check_at)
    }

    fn put(&mut self, at: Wall, job: JobId, number: u32, bytes: u64) {
        self.take(job, number);
        self.attempts.insert((job, number), Left { at, bytes });
        self.by_age.insert((at, job, number));
        self.bytes += bytes;
    }

    fn take(&mut self, job: JobId, number: u32) -> Option<Left> {
        let left = self.attempts.remove(&(job, number))?;
        self.by_age.remove(&(left.at, job, number));
        self.bytes -= left.bytes;
        Some(left)
    }

    fn discard(&mut self, decided: Seq, job: JobId, number: u32) {
        if self.take(job, number).is_some() {
            self.to_discard.push_back((decided, job, number));
        }
    }
}

impl Driver {
    /// An attempt has left something.
    pub(super) fn attempt_left(&mut self, now: Now, job: JobId, number: u32, bytes: u64) {
        if bytes > 0 {
            self.kept.put(now.wall, job, number, bytes);
        }
    }

    /// A job is durably forgotten: what it left goes.
    pub(super) fn discard(&mut self, job: JobId) {
        let left: Vec<u32> =
            self.kept.attempts.range((job, 0)..=(job, u32::MAX)).map(|((_, number), _)| *number).collect();
        let decided = self.machine.last_seq();
        left.into_iter().for_each(|number| self.kept.discard(decided, job, number));
    }

    /// A job is forgotten; perhaps it was the last of its thousand.
    pub(super) fn forgotten(&mut self, job: JobId) {
        self.kept.doubtful.insert(job.0 / 1000);
    }

    /// What earlier lives have left was looked for. What belongs to no job goes.
    pub(super) fn surveyed(&mut self, now: Now, kept: Vec<(JobId, u32, u64)>, folders: Vec<u64>) {
        (self.kept.busy, self.kept.surveyed) = (false, true);
        for (job, number, bytes) in kept {
            let at = self.machine.at_rest_since(job).unwrap_or(now.wall);
            if !self.kept.attempts.contains_key(&(job, number)) {
                self.kept.put(at, job, number, bytes);
            }
            if self.machine.job(job).is_none() {
                self.kept.discard(self.machine.last_seq(), job, number);
            }
        }
        self.kept.doubtful.extend(folders);
    }

    pub(super) fn discarded(&mut self) {
        self.kept.busy = false;
    }

    /// Removes what is too much.
    pub(super) fn keep_bounds(&mut self, now: Now) {
        if self.kept.busy {
            return;
        }
        if !self.kept.surveyed {
            self.kept.busy = true;
            self.effects.push_back(Effect::Run(Task::Survey));
            return;
        }
        if self.kept.check_at <= now.mono {
            self.kept.check_at = now.mono.after(AGE_CHECK_MS);
        }
        self.choose(now);
        let durable = self.machine.durable_seq();
        let ready =
            self.kept.to_discard.iter().take(DISCARD_MAX).take_while(|(decided, ..)| *decided <= durable).count();
        let attempts: Vec<_> = self.kept.to_discard.drain(..ready).map(|(_, job, number)| (job, number)).collect();
        let folders = self.empty_folders();
        if !attempts.is_empty() || !folders.is_empty() {
            self.kept.busy = true;
            self.effects.push_back(Effect::Run(Task::Discard { attempts, folders }));
        }
    }

    /// Chooses the oldest of what is too much, as many as one task may remove.
    fn choose(&mut self, now: Now) {
        let limits = &self.pipeline.disk;
        let (files_max, age_ms) = (limits.keep_log_files, limits.keep_log_age_ms);
        let short = self.machine.space() > Space::Enough;
        let bytes_max = self.space.room().map_or(u64::MAX, |room| limits.keep_log_bytes(room.total));
        let bytes_max = if short { bytes_max / SHORT_PART } else { bytes_max };
        for _ in 0..DISCARD_MAX {
            let Some((at, job, number)) = self.kept.by_age.first().copied() else { return };
            let many = self.kept.attempts.len() as u64 > files_max || self.kept.bytes > bytes_max;
            if !many && at.after(age_ms) > now.wall {
                return;
            }
            let needed = self.machine.job(job).is_some_and(|known| known.attempt == number && !known.is_at_rest());
            if needed && at >= now.wall {
                // It was put there a moment ago: all that is older has been looked at.
                return;
            }
            if needed {
                let bytes = self.kept.take(job, number).map_or(0, |left| left.bytes);
                self.kept.put(now.wall, job, number, bytes);
            } else {
                self.kept.discard(self.machine.last_seq(), job, number);
            }
        }
    }

    /// Folders in which nothing is kept, and of which every job has come and is forgotten.
    fn empty_folders(&mut self) -> Vec<u64> {
        if self.kept.doubtful.is_empty() {
            return Vec::new();
        }
        let doubtful = std::mem::take(&mut self.kept.doubtful);
        let is_empty = |thousand: &u64| {
            let (from, to) = (JobId(thousand * 1000), JobId((thousand + 1) * 1000));
            let kept = self.kept.attempts.range((from, 0)..(to, 0)).next().is_some();
            self.machine.last_job() >= to && !kept && !self.machine.has_jobs(from, to)
        };
        let waits = self.kept.to_discard.iter().map(|(_, job, _)| job.0 / 1000).collect::<BTreeSet<_>>();
        let (later, now): (BTreeSet<u64>, BTreeSet<u64>) = doubtful.into_iter().partition(|n| waits.contains(n));
        self.kept.doubtful = later;
        now.into_iter().filter(is_empty).collect()
    }
}
