//! The life of an attempt: released, spawned, ended, proved dead, recorded; and the timers in between.
//!
//! **Invariant.** `Finished` is recorded exactly once per attempt, only after every process of it is proved dead; an
//! answer about any attempt but the current one changes nothing (the number is the fence).

use super::Machine;
use crate::ids::{Digest, JobId};
use crate::job::{DeadReason, Outcome, State};
use crate::planted::{Bug, planted};
use crate::retry::{self, Decision};
use crate::time::Now;
use crate::vocabulary::{Attempt, Kill, Next, Output, Record, SpawnFailure, StopLevel};
use crate::worker::{Ending, Phase};

/// An attempt shorter than this makes journaling ahead pay: its end and the next start would else wait for one sync.
const SHORT_MS: u64 = 100;

impl Machine {
    /// An output whose record is durable: handed out, unless what it starts is no longer wanted.
    pub(super) fn released(&mut self, now: Now, output: Output) {
        // A late answer may have said meanwhile that the result stands.
        if let Output::Publish { job, .. } = output
            && !self.jobs.get(job).is_some_and(|job| job.unpublished)
            && !planted(Bug::PublishedTwice)
        {
            return;
        }
        if let Output::Start { job, attempt } = output {
            let cancelled = self.jobs.get(job).is_some_and(|job| job.cancelling);
            if cancelled || self.stopping > StopLevel::Run {
                self.unused(now, job);
                return;
            }
            self.workers.set(job, Phase::Starting, None);
            self.workers.set_since(job, now.mono);
            self.outputs.push_back(Output::Start { job, attempt });
        } else {
            self.outputs.push_back(output);
        }
    }

    /// Gives an attempt back that was never executed.
    pub(super) fn unused(&mut self, now: Now, id: JobId) {
        let Some(run) = self.workers.get(id).copied() else { return };
        let cancelled = self.jobs.get(id).is_some_and(|job| job.cancelling);
        let next = if cancelled { Next::Cancelled } else { Next::Unused };
        self.record(now, Record::Finished { job: id, attempt: run.attempt.number, outcome: None, next });
    }

    pub(super) fn spawned(&mut self, now: Now, id: JobId, number: u32) {
        let Some(run) = self.workers.current(id, number) else { return };
        if run.phase != Phase::Starting {
            return;
        }
        let timeout_ms = self.queues.get(run.attempt.queue).config.as_ref().and_then(|config| config.timeout_ms);
        let since = if planted(Bug::TimeoutEarly) { run.since } else { now.mono };
        let times = if planted(Bug::TimeoutLate) { 2 } else { 1 };
        self.workers.set(id, Phase::Running, timeout_ms.map(|timeout_ms| since.after(times * timeout_ms)));
        self.workers.set_since(id, now.mono);
        self.health.queue_moved(run.attempt.queue, now.mono);
        if self.stopping == StopLevel::Kill {
            self.end_attempt(now, id, Ending::Stop);
        } else if self.jobs.get(id).is_some_and(|job| job.cancelling) && !planted(Bug::CancelMissesStart) {
            self.end_attempt(now, id, Ending::Cancel);
        }
    }

    pub(super) fn spawn_failed(&mut self, now: Now, id: JobId, number: u32, failure: SpawnFailure) {
        let Some(run) = self.workers.current(id, number) else { return };
        if run.phase != Phase::Starting {
            return;
        }
        match failure {
            SpawnFailure::NotFound => self.not_executed(now, id, run.attempt, Outcome::NotFound),
            SpawnFailure::NotExecutable => self.not_executed(now, id, run.attempt, Outcome::NotExecutable),
            SpawnFailure::NotStarted => self.not_executed(now, id, run.attempt, Outcome::NotStarted),
            SpawnFailure::Resources => {
                // Says nothing about the job: it keeps its place, and nothing starts for a while.
                self.starts_held_until = Some(self.again(now));
                self.unused(now, id);
            }
        }
    }

    fn not_executed(&mut self, now: Now, id: JobId, attempt: Attempt, outcome: Outcome) {
        self.health.queue_moved(attempt.queue, now.mono);
        self.finish(now, id, attempt, outcome, None, Ending::Itself);
    }

    pub(super) fn ended(
        &mut self,
        now: Now,
        id: JobId,
        number: u32,
        outcome: Outcome,
        result: Option<Digest>,
        gone: bool,
    ) {
        let Some(run) = self.workers.current(id, number) else { return };
        let ending = match run.phase {
            Phase::Starting | Phase::Running => Ending::Itself,
            Phase::Terminating(ending) | Phase::Killing(ending) => ending,
            // Already known to have ended, or not ours to have seen.
            Phase::Reserved | Phase::Granted | Phase::Lingering { .. } | Phase::Leftover { .. } => return,
        };
        self.health.queue_moved(run.attempt.queue, now.mono);
        if now.mono.since_ms(run.since) < SHORT_MS {
            self.short.insert(run.attempt.queue);
        } else {
            self.short.remove(&run.attempt.queue);
        }
        if gone || planted(Bug::DeathAssumed) {
            self.finish(now, id, run.attempt, outcome, result, ending);
        } else {
            let again = self.again(now);
            self.workers.set(id, Phase::Lingering { outcome, result, ending }, Some(again));
        }
    }

    pub(super) fn gone(&mut self, now: Now, id: JobId, number: u32) {
        let Some(run) = self.workers.current(id, number) else { return };
        match run.phase {
            Phase::Lingering { outcome, result, ending } => {
                self.finish(now, id, run.attempt, outcome, result, ending);
            }
            Phase::Leftover { executed } => self.left_over(now, id, run.attempt, executed),
            Phase::Reserved
            | Phase::Granted
            | Phase::Starting
            | Phase::Running
            | Phase::Terminating(_)
            | Phase::Killing(_) => {}
        }
    }

    /// What follows an attempt from an earlier life of sprag.
    fn left_over(&mut self, now: Now, id: JobId, attempt: Attempt, executed: bool) {
        let Some(job) = self.jobs.get(id) else { return };
        let next = if job.cancelling && !planted(Bug::CancelForgotten) {
            Next::Cancelled
        } else if !executed && !planted(Bug::ReservationCounts) {
            Next::Unused
        } else if job.crashes + 1 >= self.config.limits.crashes_max {
            Next::Dead(DeadReason::Poison)
        } else {
            Next::Again { due: now.wall, crash: true }
        };
        self.record(now, Record::Finished { job: id, attempt: attempt.number, outcome: None, next });
    }

    /// Records the end of an attempt that is proved dead, and what follows.
    fn finish(
        &mut self,
        now: Now,
        id: JobId,
        attempt: Attempt,
        outcome: Outcome,
        result: Option<Digest>,
        ending: Ending,
    ) {
        let Some(job) = self.jobs.get(id).copied() else { return };
        let outcome = if ending == Ending::Timeout { Outcome::TimedOut } else { outcome };
        let next = if job.cancelling && !planted(Bug::CancelLoses) {
            Next::Cancelled
        } else if ending == Ending::Stop {
            // Even with exit code 0: a command that was asked to end may have left its work undone.
            Next::Again { due: now.wall, crash: false }
        } else if outcome == Outcome::Exit(0) {
            Next::Succeeded { result }
        } else {
            self.after_failure(now, id, job.failures + 1, attempt, outcome)
        };
        let seq = self.record(now, Record::Finished { job: id, attempt: attempt.number, outcome: Some(outcome), next });
        if matches!(next, Next::Succeeded { result: Some(_) }) {
            self.after(seq, Output::Publish { job: id, attempt: attempt.number });
        }
    }

    fn after_failure(&self, now: Now, id: JobId, failures: u32, attempt: Attempt, outcome: Outcome) -> Next {
        let Some(config) = &self.queues.get(attempt.queue).config else {
            return Next::Again { due: now.wall, crash: false };
        };
        match retry::decide(&config.retry, self.config.seed, id, failures, outcome) {
            Decision::Dead(reason) => Next::Dead(reason),
            Decision::After { delay_ms } => Next::Retry { due: now.wall.after(delay_ms) },
        }
    }

    pub(super) fn published(&mut self, now: Now, id: JobId) {
        if self.jobs.get(id).is_some_and(|job| job.unpublished) {
            let seq = self.record(now, Record::Published { job: id });
            if planted(Bug::PublishedTwice) {
                let attempt = self.jobs.get(id).map_or(0, |job| job.attempt);
                self.after(seq, Output::Publish { job: id, attempt });
            }
        }
    }

    pub(super) fn publish_failed(&mut self, now: Now, id: JobId) {
        let again = self.again(now);
        if self.publishing.failed(id, again) {
            self.health.unpublished.insert(id);
        }
    }

    pub(super) fn run_timers(&mut self, now: Now) {
        while let Some(id) = self.workers.due(now.mono) {
            self.attempt_timer(now, id);
        }
        while let Some(id) = self.queues.due(now) {
            self.enter_state(id, State::Ready);
        }
        while let Some(id) = self.publishing.due(now.mono).filter(|_| self.stopping == StopLevel::Run) {
            self.publishing.begin(id);
            if let Some(attempt) = self.jobs.get(id).map(|job| job.attempt) {
                // Withheld like the first time: the answer that brought us here may have come before it.
                self.after(self.last_seq, Output::Publish { job: id, attempt });
            }
        }
        if self.starts_held_until.is_some_and(|at| at <= now.mono) {
            self.starts_held_until = None;
        }
    }

    fn attempt_timer(&mut self, now: Now, id: JobId) {
        let Some(run) = self.workers.get(id).copied() else { return };
        let again = Some(self.again(now));
        match run.phase {
            Phase::Running => self.end_attempt(now, id, Ending::Timeout),
            Phase::Terminating(ending) => {
                self.workers.set(id, Phase::Killing(ending), again);
                if !planted(Bug::KillForgotten) {
                    self.outputs.push_back(Output::Signal { job: id, attempt: run.attempt, kill: Kill::Kill });
                }
            }
            Phase::Killing(_) => {
                // Killed and still there: only the kernel can hold it. The slot stays taken, and health says so.
                self.workers.set(id, run.phase, again);
                self.health.unproved.insert(id);
            }
            Phase::Lingering { .. } | Phase::Leftover { .. } => {
                // The first proof has failed or takes long: by now it is something to tell.
                self.health.unproved.insert(id);
                let again = again.filter(|_| !planted(Bug::ProofAskedOnce));
                self.workers.set(id, run.phase, again);
                self.outputs.push_back(Output::Prove { job: id, attempt: run.attempt });
            }
            Phase::Reserved | Phase::Granted | Phase::Starting => self.workers.set(id, run.phase, None),
        }
    }
}
