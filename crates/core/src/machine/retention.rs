//! Which ended jobs are kept, and for how long.
//!
//! **Invariant.** Only a job at rest is forgotten, by a record, the one that ended first first; its key stays known until
//! somebody says that it need not. What is left of its attempts is removed only after that record is durable. An input
//! forgets no more than [`FORGET_MAX`] jobs: the answer that their records are durable is the input that goes on.

use super::Machine;
use crate::ids::JobId;
use crate::time::{Mono, Now};
use crate::vocabulary::{Output, Record, Space, StopLevel};

/// Jobs that one input forgets at most.
const FORGET_MAX: u32 = 16;
/// The calendar may have jumped: it is looked at again after so long.
const AGE_CHECK_MS: u64 = 3_600_000;

impl Machine {
    pub(super) fn forget(&mut self, now: Now) {
        if !self.may_forget() {
            return;
        }
        let limits = self.config.limits;
        for _ in 0..FORGET_MAX {
            let Some((since, id)) = self.ended.first() else { return };
            let old = since.after(limits.keep_age_ms) <= now.wall;
            let many = self.ended.len() > limits.keep_jobs || self.ended.bytes() > limits.keep_bytes;
            if !old && !many {
                return;
            }
            let attempts = self.jobs.get(id).map_or(0, |job| job.attempt);
            let seq = self.record(now, Record::Forgotten { job: id });
            if attempts > 0 {
                self.after(seq, Output::Discard { job: id, attempts });
            }
        }
    }

    /// Lets go of the key of a forgotten job. Who asks knows that nobody will come with it by mistake.
    pub(super) fn forget_key(&mut self, now: Now, id: JobId) {
        if self.may_forget() && self.forgotten.since(id).is_some() {
            self.record(now, Record::KeyForgotten { job: id });
        }
    }

    /// When the next job is old enough. One that is already waits for no moment, but for an input.
    pub(super) fn forget_at(&self, now: Now) -> Option<Mono> {
        let (since, _) = self.ended.first().filter(|_| self.may_forget())?;
        let due = since.after(self.config.limits.keep_age_ms);
        (due > now.wall).then(|| now.mono_at(due, AGE_CHECK_MS))
    }

    /// It takes room in the journal, and an end waits for nothing that can wait.
    fn may_forget(&self) -> bool {
        self.space < Space::Full && self.stopping == StopLevel::Run
    }
}
