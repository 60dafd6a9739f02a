//! Which job starts when: places in the queue and in total, priority and age, reservations ahead of a free place.
//!
//! **Invariant.** A command is executed only under a durable record. A reservation is such a record written early, so
//! that the sync and the command before it overlap; it costs the job nothing until it is used.

use super::Machine;
use crate::ids::{JobId, QueueId};
use crate::planted::{Bug, planted};
use crate::time::Now;
use crate::vocabulary::{Output, Record, Space, StopLevel};
use crate::worker::Phase;

impl Machine {
    pub(super) fn start_all(&mut self, now: Now) {
        for queue in self.queues.ids() {
            if self.may_start(queue) {
                while self.start_one(now, queue) {}
                self.reserve_ahead(now, queue);
            }
            let waits = self.waits_for_nothing(queue);
            self.health.queue_waits(queue, waits, now.mono);
        }
    }

    fn may_start(&self, queue: QueueId) -> bool {
        self.stopping == StopLevel::Run
            && self.space < Space::Full
            && self.starts_held_until.is_none()
            && self.queues.get(queue).is_open()
    }

    /// Starts the first job of the queue, if there is a place for it.
    fn start_one(&mut self, now: Now, queue: QueueId) -> bool {
        if !self.has_place(queue) {
            return false;
        }
        let Some((id, reserved)) = self.queues.get(queue).first() else { return false };
        if reserved {
            self.use_reservation(now, id);
            return true;
        }
        let Some(job) = self.jobs.get(id) else { return false };
        let (attempt, Some(slot)) = (job.attempt + 1, self.workers.free_slot()) else { return false };
        let seq = self.record(now, Record::Started { job: id, attempt, slot });
        self.workers.set(id, Phase::Granted, None);
        if let Some(run) = self.workers.get(id) {
            self.after(seq, Output::Start { job: id, attempt: run.attempt });
        }
        true
    }

    /// Starts under a reservation: at once if that is durable; its `Started` record need not be waited for.
    fn use_reservation(&mut self, now: Now, id: JobId) {
        let Some(run) = self.workers.get(id).copied() else { return };
        let start = Output::Start { job: id, attempt: run.attempt };
        self.record(now, Record::Started { job: id, attempt: run.attempt.number, slot: run.attempt.slot });
        if run.attempt.fence <= self.durable {
            self.workers.set(id, Phase::Starting, None);
            self.workers.set_since(id, now.mono);
            self.outputs.push_back(start);
        } else {
            self.workers.set(id, Phase::Granted, None);
            self.after(self.last_seq, start);
        }
    }

    /// While jobs are short and all places taken, journals the next starts ahead.
    fn reserve_ahead(&mut self, now: Now, queue: QueueId) {
        let reserve_max = self.queues.get(queue).config.as_ref().map_or(0, |config| config.reserve_max);
        if !self.short.contains(&queue) {
            return;
        }
        while self.queues.get(queue).reserved_count() < usize::from(reserve_max) {
            let Some(id) = self.queues.get(queue).first_unreserved() else { return };
            let Some(job) = self.jobs.get(id).filter(|job| !job.strict) else { return };
            let (attempt, Some(slot)) = (job.attempt + 1, self.workers.free_slot()) else { return };
            self.record(now, Record::Reserved { job: id, attempt, slot });
            self.workers.set(id, Phase::Reserved, None);
        }
    }

    fn has_place(&self, queue: QueueId) -> bool {
        let concurrency = self.queues.get(queue).config.as_ref().map_or(0, |config| config.concurrency);
        let more = u32::from(planted(Bug::OnePlaceMore));
        self.workers.counts(queue).busy < u32::from(concurrency) + more && !self.is_full()
    }

    /// Whether every place over all queues is taken.
    fn is_full(&self) -> bool {
        self.workers.total().busy >= self.config.limits.running_max.into()
    }

    /// Whether ready jobs of the queue wait though nothing that may take its time holds them up.
    fn waits_for_nothing(&self, queue: QueueId) -> bool {
        let (open, ready) = (self.queues.get(queue).is_open(), self.queues.get(queue).counts.ready);
        if !open || self.stopping > StopLevel::Run {
            return false;
        }
        let mine = self.workers.counts(queue);
        let others_alive = self.is_full() && self.workers.total().alive > 0;
        mine.to_start > 0 || (ready > 0 && mine.alive == 0 && !others_alive)
    }

    /// Gives back the reservations of a queue that starts nothing more.
    pub(super) fn give_back(&mut self, now: Now, queue: QueueId) {
        while let Some(id) = self.queues.get(queue).first_reserved() {
            self.unused(now, id);
        }
    }
}
