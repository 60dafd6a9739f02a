//! Jobs at rest, by when they came to it: whom retention forgets next.
//!
//! **Invariant.** A job stands in both maps or in neither, and exactly while it is at rest.

use crate::ids::JobId;
use crate::time::Wall;
use alloc::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(crate) struct Ended {
    times: BTreeMap<JobId, Wall>,
    by_age: BTreeSet<(Wall, JobId)>,
}

impl Ended {
    /// Notes that a job is at rest, since `at` if it was not before; or that it is not (any more).
    pub(crate) fn note(&mut self, job: JobId, at: Option<Wall>) {
        match at {
            Some(at) => {
                let at = *self.times.entry(job).or_insert(at);
                self.by_age.insert((at, job));
            }
            None => {
                if let Some(at) = self.times.remove(&job) {
                    self.by_age.remove(&(at, job));
                }
            }
        }
    }

    /// All of them at once, ascending by job.
    pub(crate) fn restored(jobs: &[(JobId, Wall)]) -> Ended {
        Ended { times: jobs.iter().copied().collect(), by_age: jobs.iter().map(|(job, at)| (*at, *job)).collect() }
    }

    pub(crate) fn since(&self, job: JobId) -> Option<Wall> {
        self.times.get(&job).copied()
    }

    /// The one that is at rest for the longest time.
    pub(crate) fn first(&self) -> Option<(Wall, JobId)> {
        self.by_age.first().copied()
    }

    pub(crate) fn len(&self) -> u64 {
        self.times.len() as u64
    }
}
