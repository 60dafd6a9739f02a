//! Jobs at rest, by when they came to it: whom retention forgets next.
//!
//! **Invariant.** A job stands in both maps or in neither, and exactly while it is at rest.

use crate::ids::JobId;
use crate::time::Wall;
use alloc::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(crate) struct Ended {
    times: BTreeMap<JobId, (Wall, u32)>,
    by_age: BTreeSet<(Wall, JobId)>,
    /// What their records take.
    bytes: u64,
}

impl Ended {
    /// Notes that a job is at rest, since `at` if it was not before, with a record of so many bytes.
    pub(crate) fn begin(&mut self, job: JobId, at: Wall, bytes: u32) {
        if self.times.contains_key(&job) {
            return;
        }
        self.times.insert(job, (at, bytes));
        self.by_age.insert((at, job));
        self.bytes += u64::from(bytes);
    }

    /// Notes that a job is not at rest, or not any more.
    pub(crate) fn end(&mut self, job: JobId) {
        if let Some((at, bytes)) = self.times.remove(&job) {
            self.by_age.remove(&(at, job));
            self.bytes -= u64::from(bytes);
        }
    }

    /// All of them at once, ascending by job.
    pub(crate) fn restored(jobs: &[(JobId, Wall, u32)]) -> Ended {
        Ended {
            times: jobs.iter().map(|(job, at, bytes)| (*job, (*at, *bytes))).collect(),
            by_age: jobs.iter().map(|(job, at, _)| (*at, *job)).collect(),
            bytes: jobs.iter().map(|(.., bytes)| u64::from(*bytes)).sum(),
        }
    }

    pub(crate) fn since(&self, job: JobId) -> Option<Wall> {
        self.times.get(&job).map(|(at, _)| *at)
    }

    /// The one that is at rest for the longest time.
    pub(crate) fn first(&self) -> Option<(Wall, JobId)> {
        self.by_age.first().copied()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn len(&self) -> u64 {
        self.times.len() as u64
    }
}
