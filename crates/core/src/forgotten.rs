//! The keys of forgotten jobs: what keeps an item that was done long ago from being done again.
//!
//! **Invariant.** A job stands here exactly while it is forgotten and its key is known.

use crate::ids::{JobId, KeyHash};
use crate::time::Wall;
use alloc::collections::BTreeMap;
use core::ops::Bound;

#[derive(Clone, Debug, Default)]
pub(crate) struct Forgotten {
    keys: BTreeMap<JobId, (KeyHash, Wall)>,
}

impl Forgotten {
    /// Notes that the job with this key was forgotten at that moment.
    pub(crate) fn insert(&mut self, job: JobId, key: KeyHash, at: Wall) {
        self.keys.insert(job, (key, at));
    }

    pub(crate) fn remove(&mut self, job: JobId) -> Option<KeyHash> {
        self.keys.remove(&job).map(|(key, _)| key)
    }

    /// Since when the job is forgotten.
    pub(crate) fn since(&self, job: JobId) -> Option<Wall> {
        self.keys.get(&job).map(|(_, at)| *at)
    }

    /// The next one behind `job`, its key, and since when it is forgotten.
    pub(crate) fn after(&self, job: JobId) -> Option<(JobId, KeyHash, Wall)> {
        let mut rest = self.keys.range((Bound::Excluded(job), Bound::Unbounded));
        rest.next().map(|(job, (key, at))| (*job, *key, *at))
    }

    pub(crate) fn len(&self) -> u64 {
        self.keys.len() as u64
    }
}
