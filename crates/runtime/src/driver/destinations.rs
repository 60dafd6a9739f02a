//! Results that could not be put where they belong: which, why, and how often that is said.
//!
//! **Invariant.** A result that waits is tried again until it stands at its destination; what keeps it from there is known
//! by job, path and the system's own words for as long as it waits.

use super::nag::Nag;
use super::{Driver, Effect, Notice};
use sprag_core::{Input, JobId, Now};
use std::collections::BTreeMap;

/// So many are named where one text names all.
const NAMED_MAX: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Destinations {
    /// No more than there are unpublished results.
    waiting: BTreeMap<JobId, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// The path and the system's words.
    what: String,
    nag: Nag,
}

impl Destinations {
    /// Why the result of this job is not where it belongs.
    pub(super) fn fault(&self, job: JobId) -> Option<&str> {
        self.waiting.get(&job).map(|waiting| waiting.what.as_str())
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        let named = self.waiting.iter().take(NAMED_MAX);
        let more = self.waiting.len().saturating_sub(NAMED_MAX);
        let more = (more > 0).then(|| format!("and {more} more results"));
        named.map(|(job, waiting)| unpublished(*job, &waiting.what)).chain(more)
    }
}

/// A result that waits, in words.
pub(super) fn unpublished(job: JobId, what: &str) -> String {
    format!("the result of job {} cannot be put at {what}", job.0)
}

impl Driver {
    pub(super) fn published(&mut self, now: Now, job: JobId, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.destinations.waiting.remove(&job);
                self.input(now, Input::Published { job });
            }
            Err(what) => {
                let waiting = &mut self.destinations.waiting;
                let known = waiting.remove(&job).filter(|waiting| waiting.what == what);
                let mut nag = known.map(|waiting| waiting.nag).unwrap_or_default();
                if nag.is_due(now.mono) {
                    self.effects.push_back(Effect::Say(Notice::PublishFailed { job, what: what.clone() }));
                }
                waiting.insert(job, Waiting { what, nag });
                self.input(now, Input::PublishFailed { job });
            }
        }
    }
}
