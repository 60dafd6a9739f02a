//! What people and programs ask for: add, cancel, redrive, pause, resume, stop.
//!
//! **Invariant.** Every request gets exactly one reply, and the reply is withheld until what it says is durable.

use super::Machine;
use crate::ids::{JobId, QueueId, RequestId};
use crate::job::State;
use crate::time::Now;
use crate::vocabulary::{Kill, NewJob, Output, Record, Refusal, Reply, Space, StopLevel, When};
use crate::worker::{Ending, Phase};

impl Machine {
    pub(super) fn submit(&mut self, now: Now, request: RequestId, new: NewJob) {
        let reply = match new.key.and_then(|key| self.keys.get(&key)) {
            Some(known) if known.digest == new.digest => Reply::Known(known.job),
            Some(known) => Reply::Conflict(known.job),
            None => self.add(now, new),
        };
        self.reply(request, reply);
    }

    fn add(&mut self, now: Now, new: NewJob) -> Reply {
        if !self.queues.contains(new.queue) {
            return Reply::Refused(Refusal::NoSuchQueue);
        }
        if self.stopping > StopLevel::Run {
            return Reply::Refused(Refusal::Stopping);
        }
        if self.space > Space::Enough {
            return Reply::Refused(Refusal::NoSpace);
        }
        if self.jobs.len() >= self.config.limits.jobs_max {
            return Reply::Refused(Refusal::Full);
        }
        let due = match new.when {
            When::Now => None,
            When::Delay(delay_ms) => Some(now.wall.after(delay_ms.min(self.config.limits.delay_ms_max))),
            When::At(due) => Some(due),
        };
        let job = self.last_job.next();
        self.record(now, Record::Added { job, new, due });
        Reply::Added(job)
    }

    pub(super) fn cancel(&mut self, now: Now, request: RequestId, id: JobId) {
        let reply = match self.jobs.get(id).map(|job| (job.state, job.cancelling)) {
            None => Reply::Refused(Refusal::NoSuchJob),
            Some((State::Succeeded | State::Dead(_) | State::Cancelled, _)) => Reply::Refused(Refusal::WrongState),
            Some((State::Reserved { .. } | State::Running { .. }, true)) => Reply::Done,
            Some((State::Reserved { .. } | State::Running { .. }, false)) => {
                self.record(now, Record::Cancelled { job: id });
                self.end_attempt(now, id, Ending::Cancel);
                Reply::Done
            }
            Some((State::Scheduled { .. } | State::Ready, _)) => {
                self.record(now, Record::Cancelled { job: id });
                Reply::Done
            }
        };
        self.reply(request, reply);
    }

    pub(super) fn redrive(&mut self, now: Now, request: RequestId, id: JobId) {
        let reply = match self.jobs.get(id).map(|job| job.state) {
            None => Reply::Refused(Refusal::NoSuchJob),
            Some(State::Dead(_) | State::Cancelled) => {
                self.record(now, Record::Redriven { job: id });
                Reply::Done
            }
            Some(
                State::Scheduled { .. }
                | State::Ready
                | State::Reserved { .. }
                | State::Running { .. }
                | State::Succeeded,
            ) => Reply::Refused(Refusal::WrongState),
        };
        self.reply(request, reply);
    }

    pub(super) fn pause(&mut self, now: Now, request: RequestId, queue: QueueId, paused: bool) {
        if !self.queues.contains(queue) {
            return self.reply(request, Reply::Refused(Refusal::NoSuchQueue));
        }
        if self.queues.get(queue).paused != paused {
            self.record(now, if paused { Record::Paused { queue } } else { Record::Resumed { queue } });
        }
        if paused {
            self.give_back(now, queue);
        }
        self.reply(request, Reply::Done);
    }

    pub(super) fn stop(&mut self, now: Now, level: StopLevel) {
        self.stopping = self.stopping.max(level);
        if self.stopping > StopLevel::Run {
            for queue in self.queues.ids() {
                self.give_back(now, queue);
            }
        }
        if self.stopping == StopLevel::Kill {
            let alive: alloc::vec::Vec<JobId> = self.workers.iter().map(|(job, _)| job).collect();
            for job in alive {
                self.end_attempt(now, job, Ending::Stop);
            }
        }
    }

    /// Ends a live attempt: TERM now, KILL after the grace. One that was never executed just ends.
    pub(super) fn end_attempt(&mut self, now: Now, id: JobId, ending: Ending) {
        let Some(run) = self.workers.get(id).copied() else { return };
        match run.phase {
            Phase::Reserved => self.unused(now, id),
            Phase::Running => {
                let kill_at = now.mono.after(self.grace_ms(run.attempt.queue));
                self.workers.set(id, Phase::Terminating(ending), Some(kill_at));
                self.outputs.push_back(Output::Signal { job: id, attempt: run.attempt, kill: Kill::Term });
            }
            // Not executed yet: looked at again when its record is durable, or when it runs.
            Phase::Granted | Phase::Starting => {}
            Phase::Terminating(_) | Phase::Killing(_) | Phase::Lingering { .. } | Phase::Leftover { .. } => {}
        }
    }

    pub(super) fn grace_ms(&self, queue: QueueId) -> u64 {
        self.queues.get(queue).config.as_ref().map_or(0, |config| config.grace_ms)
    }
}
