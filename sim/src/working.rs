//! What commands at work are held against: how many there are, and how long they last.
//!
//! **Invariant.** Judged by what is executed and when, on the simulated clocks, whatever sprag says of it.

use crate::failure::Check;
use crate::marks::Mark;
use crate::oracle::SLACK_US;
use crate::processes::Role;
use crate::world::World;
use sprag_runtime::seams::ChildId;
use std::collections::BTreeMap;

/// Places that are taken, by jobs of one queue and by all.
struct Held {
    queue: String,
    mine: usize,
    places: usize,
    all: usize,
    running_max: usize,
}

impl World {
    /// How many jobs have processes, in the queue of this execution and over all. A job holds its place until the last of its
    /// processes is gone, and, to sprag, until that is proved: so `with` those that were gone but lately.
    fn held(&self, execution: usize, with: impl Iterator<Item = usize>) -> Option<Held> {
        let executions = &self.oracle.executions;
        let of_process = |role: Role| match role {
            Role::Attempt { execution, .. } => Some(execution),
            Role::Service { .. } => None,
        };
        let held = self.processes.values().filter_map(|one| of_process(one.role)).chain(with);
        let held: BTreeMap<u64, &str> =
            held.filter_map(|one| executions.get(one)).map(|one| (one.job, one.queue.as_str())).collect();
        let queue = &executions.get(execution)?.queue;
        let places = self.pipeline.queue(queue).map_or(0, |queue| usize::from(queue.policy.concurrency));
        let mine = held.values().filter(|other| **other == queue).count();
        Some(Held {
            queue: queue.clone(),
            mine,
            places,
            all: held.len(),
            running_max: self.pipeline.limits.running_max.into(),
        })
    }

    /// A command was executed: there was a place for it, in its queue and over all.
    pub(crate) fn judge_places(&mut self, execution: usize) {
        let Some(Held { queue, mine, places, all, running_max }) = self.held(execution, std::iter::empty()) else {
            return;
        };
        if mine > places || all > running_max {
            let what =
                format!("{mine} jobs of queue {queue} have processes, of {places}; {all} over all, of {running_max}");
            self.fail(Check::PlacesHold.failed(what));
        }
    }

    /// A process is about to be gone, and sprag hears of it or has to look: until now there may have been no place for others.
    pub(crate) fn holds_no_more(&mut self, execution: usize, is_heard: bool) {
        let Some(held) = self.held(execution, self.oracle.lately_gone(self.now_us)) else { return };
        let taken = (held.mine >= held.places, held.all >= held.running_max);
        self.oracle.gone(execution, self.now_us, is_heard, taken);
    }

    /// Sprag asks a command to end, of its own accord: not before the timeout is over, and soon after.
    pub(crate) fn judge_timeout(&mut self, child: ChildId) {
        let ChildId::Attempt { job, attempt } = child else { return };
        let number = attempt.number;
        let mut executions = self.oracle.executions.iter().rev();
        let Some(execution) = executions.find(|one| one.job == job.0 && one.attempt == number) else { return };
        let timeout_ms = self.pipeline.queue(&execution.queue).and_then(|queue| queue.policy.timeout_ms);
        let lasted_ms = (self.awake_us() - execution.awake_us) / 1000;
        if timeout_ms.is_some_and(|timeout_ms| lasted_ms >= timeout_ms) {
            self.mark(Mark::TimedOut);
        }
        let early = timeout_ms.is_some_and(|timeout_ms| lasted_ms + 1 < timeout_ms);
        if early && !self.stopping && !self.client.cancelled.contains(&job.0) {
            let what = format!("job {} attempt {number} is ended after {lasted_ms} ms", job.0);
            self.fail(Check::TimeoutsHold.failed(what));
        }
    }

    /// A command of this life has ended: if its time was over, it was asked to end, and killed when it did not.
    pub(crate) fn judge_lasted(&mut self, execution: usize) {
        let (Some(calm_us), Some(one)) = (self.calm_us(), self.oracle.executions.get(execution)) else { return };
        let Some(policy) = self.pipeline.queue(&one.queue).map(|queue| &queue.policy) else { return };
        let Some(timeout_ms) = policy.timeout_ms else { return };
        let lasted_us = self.now_us - one.at_us.max(calm_us);
        let most_us = (timeout_ms + policy.grace_ms) * 1000 + SLACK_US;
        if one.life == self.life && lasted_us > most_us {
            let what = format!("job {} attempt {} has worked for {} ms", one.job, one.attempt, lasted_us / 1000);
            self.fail(Check::IsPunctual.failed(what));
        }
    }
}
