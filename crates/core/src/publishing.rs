//! Results on their way to their destination.
//!
//! **Invariant.** A job stands here from the record of its result to the record that it is published; it is either under way
//! or waits for its next try, and `again` holds exactly those that wait.

use crate::ids::JobId;
use crate::time::Mono;
use alloc::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(crate) struct Publishing {
    jobs: BTreeMap<JobId, Option<Mono>>,
    again: BTreeSet<(Mono, JobId)>,
}

impl Publishing {
    /// The result is on its way, for the first time or again.
    pub(crate) fn begin(&mut self, job: JobId) {
        self.set(job, None);
    }

    /// It did not get there; it is tried again at that moment. False for a job that has none on its way.
    pub(crate) fn failed(&mut self, job: JobId, again: Mono) -> bool {
        let known = self.jobs.contains_key(&job);
        if known {
            self.set(job, Some(again));
        }
        known
    }

    /// It stands there.
    pub(crate) fn done(&mut self, job: JobId) {
        if let Some(Some(at)) = self.jobs.remove(&job) {
            self.again.remove(&(at, job));
        }
    }

    fn set(&mut self, job: JobId, again: Option<Mono>) {
        self.done(job);
        self.jobs.insert(job, again);
        self.again.extend(again.map(|at| (at, job)));
    }

    /// One whose next try has come.
    pub(crate) fn due(&self, now: Mono) -> Option<JobId> {
        self.again.first().filter(|(at, _)| *at <= now).map(|(_, job)| *job)
    }

    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.again.first().map(|(at, _)| *at)
    }

    /// Those that wait for their next try, and until when.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (JobId, Mono)> {
        self.again.iter().map(|(at, job)| (*job, *at))
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether any is under way at this moment.
    pub(crate) fn is_under_way(&self) -> bool {
        self.jobs.len() > self.again.len()
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.jobs.keys().copied()
    }
}
