//! The fold: what each record does to the state, when it is decided and when it is recovered alike.
//!
//! **Invariant.** This is the only place where durable state changes, and it depends on nothing but the state and the
//! record (the time only converts a calendar moment into a deadline). A record that does not fit is refused, unapplied.

use super::{Known, Machine};
use crate::ids::{JobId, QueueId, Seq, Slot};
use crate::job::{DeadReason, Job, PayloadRef, State};
use crate::planted::{Bug, planted};
use crate::retry;
use crate::table::Table;
use crate::time::{Now, Wall};
use crate::vocabulary::{Attempt, Input, NewJob, Next, Output, Record, When};
use crate::worker::Phase;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::fmt;

/// A record that contradicts the records before it. From a verified journal: a bug of ours, or another program's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inconsistent {
    /// The record.
    pub seq: Seq,
    /// The contradiction.
    pub what: &'static str,
}

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.seq.0, self.what)
    }
}

impl core::error::Error for Inconsistent {}

impl Machine {
    /// Applies a record from the journal, written `at` that moment. Records come in order and are durable.
    pub fn replay(&mut self, now: Now, at: Wall, seq: Seq, record: &Record) -> Result<(), Inconsistent> {
        // Whoever was to remove what is left of the job may have died before it did.
        if let Record::Forgotten { job } = *record {
            let attempts = self.jobs.get(job).map_or(0, |job| job.attempt);
            self.replayed_discards.extend((attempts > 0).then_some((job, attempts)));
        }
        self.fold(now, at, seq, record)?;
        self.durable = seq;
        Ok(())
    }

    /// Ends the replay: attempts that were alive must be proved dead, results on record must be published, and what is
    /// ready starts. Drain [`Machine::poll`] afterwards.
    pub fn resume(&mut self, now: Now) {
        let leftovers: Vec<(JobId, Attempt, Phase)> =
            self.workers.iter().map(|(job, run)| (job, run.attempt, run.phase)).collect();
        for (job, attempt, phase) in leftovers {
            self.workers.set(job, phase, Some(self.again(now)));
            // A reservation may have been used unseen: its attempt is one to prove dead, not one to start.
            self.enter_state(job, State::Running { slot: attempt.slot });
            self.outputs.push_back(Output::Prove { job, attempt });
        }
        for job in self.publishing.jobs().filter(|_| !planted(Bug::PublishForgotten)) {
            if let Some(attempt) = self.jobs.get(job).map(|job| job.attempt) {
                self.outputs.push_back(Output::Publish { job, attempt });
            }
        }
        for (job, attempts) in core::mem::take(&mut self.replayed_discards) {
            self.outputs.push_back(Output::Discard { job, attempts });
        }
        if planted(Bug::PauseForgotten) {
            self.queues.ids().for_each(|queue| self.queues.get_mut(queue).paused = false);
        }
        self.handle(now, Input::Tick);
    }

    pub(super) fn fold(&mut self, now: Now, at: Wall, seq: Seq, record: &Record) -> Result<(), Inconsistent> {
        if seq != self.last_seq.next() {
            return Err(Inconsistent { seq, what: "it does not follow the record before it" });
        }
        let at_rest =
            |jobs: &Table, job: JobId| jobs.get(job).filter(|job| job.is_at_rest()).map(|job| job.payload.len);
        let job = record.job();
        let was_at_rest = job.is_some_and(|job| at_rest(&self.jobs, job).is_some());
        let result = match *record {
            Record::Added { job, new, due } => self.fold_added(now, job, new, due),
            Record::Reserved { job, attempt, slot } => self.fold_granted(seq, job, attempt, slot, true),
            Record::Started { job, attempt, slot } => self.fold_granted(seq, job, attempt, slot, false),
            Record::Finished { job, attempt, outcome: _, next } => self.fold_finished(now, job, attempt, next),
            Record::Cancelled { job } => self.fold_cancelled(job),
            Record::Redriven { job } => self.fold_redriven(job),
            Record::Published { job } => self.fold_published(job),
            Record::Forgotten { job } => self.fold_forgotten(at, job),
            Record::KeyForgotten { job } => self.fold_key_forgotten(job),
            Record::Paused { queue } => self.fold_paused(queue, true),
            Record::Resumed { queue } => self.fold_paused(queue, false),
        };
        result.map_err(|what| Inconsistent { seq, what })?;
        if let Some(job) = job {
            match at_rest(&self.jobs, job) {
                Some(bytes) if !was_at_rest => self.ended.begin(job, at, bytes),
                None if was_at_rest => self.ended.end(job),
                Some(_) | None => {}
            }
        }
        self.last_seq = seq;
        Ok(())
    }

    /// Moves a job to another state, in the table and in the indexes.
    pub(super) fn enter_state(&mut self, id: JobId, state: State) {
        if let Some(job) = self.jobs.get_mut(id) {
            self.queues.leave(id, job);
            job.state = state;
            self.queues.enter(id, job);
        }
    }

    fn fold_added(&mut self, now: Now, id: JobId, new: NewJob, due: Option<Wall>) -> Result<(), &'static str> {
        if id != self.last_job.next() {
            return Err("it adds a job whose number is not the next");
        }
        if !self.queues.contains(new.queue) {
            return Err("it adds a job to a queue without a name");
        }
        let state = match (due, new.when) {
            (None, _) => State::Ready,
            (Some(due), When::At(_)) => State::Scheduled { due, wake: None },
            (Some(due), When::Delay(delay_ms)) => self.scheduled(now, due, delay_ms),
            (Some(due), When::Now) => self.scheduled(now, due, 0),
        };
        let job = Job {
            state,
            payload: PayloadRef::default(),
            key: new.key,
            attempt: 0,
            failures: 0,
            crashes: 0,
            queue: new.queue,
            priority: new.priority,
            cancelling: false,
            strict: false,
            unpublished: false,
        };
        if let Some(key) = new.key {
            match self.keys.entry(key) {
                Entry::Occupied(_) => return Err("it adds a job whose key is known"),
                Entry::Vacant(free) => _ = free.insert(Known { job: id, digest: new.digest }),
            }
        }
        self.jobs.insert(id, job);
        self.queues.enter(id, &job);
        self.last_job = id;
        Ok(())
    }

    fn fold_granted(&mut self, seq: Seq, id: JobId, number: u32, slot: Slot, ahead: bool) -> Result<(), &'static str> {
        let job = *self.jobs.get(id).ok_or("it starts a job that was never added")?;
        match job.state {
            State::Ready | State::Scheduled { .. } => {
                if number <= job.attempt {
                    return Err("it grants an attempt whose number was used before");
                }
                if self.workers.holds(slot) {
                    return Err("it grants a slot that another attempt holds");
                }
                let attempt = Attempt { number, slot, fence: seq, queue: job.queue };
                let phase =
                    if ahead { Phase::Leftover { executed: false } } else { Phase::Leftover { executed: true } };
                self.workers.insert(id, attempt, phase);
            }
            State::Reserved { slot: held } if held == slot && job.attempt == number && !ahead => {
                self.workers.set(id, Phase::Leftover { executed: true }, None);
            }
            State::Reserved { .. } | State::Running { .. } => return Err("it starts a job that has an attempt"),
            State::Succeeded | State::Dead(_) | State::Cancelled => return Err("it starts a job that has ended"),
        }
        self.enter_state(id, if ahead { State::Reserved { slot } } else { State::Running { slot } });
        if let Some(job) = self.jobs.get_mut(id) {
            job.attempt = number;
        }
        Ok(())
    }

    fn fold_finished(&mut self, now: Now, id: JobId, number: u32, next: Next) -> Result<(), &'static str> {
        let mut job = *self.jobs.get(id).ok_or("it ends an attempt of a job that was never added")?;
        if !matches!(job.state, State::Reserved { .. } | State::Running { .. }) || job.attempt != number {
            return Err("it ends an attempt that was not under way");
        }
        let state = match next {
            Next::Succeeded { result } => {
                job.unpublished = result.is_some();
                State::Succeeded
            }
            Next::Retry { due } => {
                job.failures += u32::from(!planted(Bug::FailureUncounted));
                job.crashes = 0;
                let config = self.queues.get(job.queue).config.as_ref();
                self.scheduled(now, due, config.map_or(u64::MAX, |config| retry::wait_ms_max(&config.retry)))
            }
            Next::Dead(reason) => {
                match reason {
                    DeadReason::Exhausted | DeadReason::Permanent => job.failures += 1,
                    DeadReason::Poison => job.crashes += 1,
                }
                State::Dead(reason)
            }
            Next::Cancelled => State::Cancelled,
            Next::Again { due, crash } => {
                job.crashes += u16::from(crash && !planted(Bug::CrashUncounted));
                self.scheduled(now, due, 0)
            }
            Next::Unused => {
                // The number stays used: a late answer, or a file left behind, must not pass for the next attempt's.
                job.strict = !planted(Bug::StrictForgotten);
                State::Ready
            }
        };
        if job.unpublished {
            self.publishing.begin(id);
        }
        job.cancelling = false;
        self.workers.remove(id);
        self.health.unproved.remove(&id);
        if let Some(slot) = self.jobs.get_mut(id) {
            *slot = job;
        }
        self.enter_state(id, state);
        Ok(())
    }

    fn fold_cancelled(&mut self, id: JobId) -> Result<(), &'static str> {
        let job = self.jobs.get_mut(id).ok_or("it cancels a job that was never added")?;
        match job.state {
            State::Scheduled { .. } | State::Ready => self.enter_state(id, State::Cancelled),
            State::Reserved { .. } | State::Running { .. } => job.cancelling = true,
            State::Succeeded | State::Dead(_) | State::Cancelled => return Err("it cancels a job that has ended"),
        }
        Ok(())
    }

    fn fold_redriven(&mut self, id: JobId) -> Result<(), &'static str> {
        let job = self.jobs.get_mut(id).ok_or("it redrives a job that was never added")?;
        match job.state {
            State::Dead(_) | State::Cancelled => {
                job.failures = 0;
                job.crashes = 0;
                job.priority = if planted(Bug::RedrivenLast) { i16::MIN } else { job.priority };
                self.enter_state(id, State::Ready);
                Ok(())
            }
            State::Scheduled { .. }
            | State::Ready
            | State::Reserved { .. }
            | State::Running { .. }
            | State::Succeeded => Err("it redrives a job that is neither dead nor cancelled"),
        }
    }

    fn fold_published(&mut self, id: JobId) -> Result<(), &'static str> {
        let job = self.jobs.get_mut(id).ok_or("it publishes for a job that was never added")?;
        if !job.unpublished {
            return Err("it publishes a result that was not waiting");
        }
        job.unpublished = false;
        self.publishing.done(id);
        self.health.unpublished.remove(&id);
        Ok(())
    }

    fn fold_forgotten(&mut self, at: Wall, id: JobId) -> Result<(), &'static str> {
        let job = self.jobs.get(id).copied().ok_or("it forgets a job that is not known")?;
        if !job.is_at_rest() {
            return Err("it forgets a job that has not ended");
        }
        self.queues.leave(id, &job);
        self.jobs.remove(id);
        if planted(Bug::KeyForgotten) {
            self.keys.retain(|_, known| known.job != id);
        } else if let Some(key) = job.key {
            self.forgotten.insert(id, key, at);
        }
        Ok(())
    }

    fn fold_key_forgotten(&mut self, id: JobId) -> Result<(), &'static str> {
        let key = self.forgotten.remove(id).ok_or("it forgets the key of a job that is not forgotten or had none")?;
        self.keys.remove(&key);
        Ok(())
    }

    fn fold_paused(&mut self, queue: QueueId, paused: bool) -> Result<(), &'static str> {
        if !self.queues.contains(queue) {
            return Err("it pauses or resumes a queue without a name");
        }
        self.queues.get_mut(queue).paused = paused;
        Ok(())
    }

    /// Waits until `due`, but no longer than such a wait can be: the calendar may have gone back over a restart.
    fn scheduled(&self, now: Now, due: Wall, wait_ms_max: u64) -> State {
        let wake = now.mono_at(due, wait_ms_max.min(self.config.limits.delay_ms_max));
        State::Scheduled { due, wake: (!planted(Bug::DelayOnCalendar)).then_some(wake) }
    }
}
