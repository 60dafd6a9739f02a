//! Attempts and services as processes: started, exited, proved dead, started again.
//!
//! **Invariant.** An exit leads to exactly one `Settle`; one look at all processes is under way at a time; a service
//! starts only when every earlier life of sprag is proved dead, so no service runs twice.

use super::{Driver, Effect, Notice};
use crate::pipeline::{Pipeline, ServiceKind};
use crate::seams::{ChildId, Exit};
use crate::task::Task;
use sprag_core::{Attempt, Input, JobId, Kill, Mono, Now, Outcome, RetryPolicy, SpawnFailure, StopLevel, retry};

/// A service that ran for so long before it ended starts again with the first backoff.
const SERVICE_WELL_MS: u64 = 60_000;
/// Between two looks for processes of an earlier life that would not die.
const PROVE_AGAIN_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Services {
    services: Vec<Service>,
    policy: RetryPolicy,
    prove_at: Option<Mono>,
}

#[derive(Debug)]
struct Service {
    kind: ServiceKind,
    phase: ServicePhase,
    run: u32,
    /// Short runs in a row.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServicePhase {
    /// To be started at this moment.
    Waiting(Mono),
    Starting,
    Running {
        since: Mono,
    },
    Ended,
}

impl Services {
    pub(super) fn new(pipeline: &Pipeline) -> Services {
        let service = |kind| Service { kind, phase: ServicePhase::Waiting(Mono(0)), run: 0, failures: 0 };
        let policy = RetryPolicy { backoff_ms: 1_000, max_ms: 60_000, ..RetryPolicy::default() };
        let services = pipeline.services.iter().map(|spec| service(spec.kind)).collect();
        Services { services, policy, prove_at: None }
    }

    pub(super) fn oneshots_ended(&self) -> bool {
        self.services.iter().all(|service| service.kind != ServiceKind::Oneshot || service.phase == ServicePhase::Ended)
    }

    /// How often each was started in this life of sprag.
    pub(super) fn runs(&self) -> impl Iterator<Item = u32> {
        self.services.iter().map(|service| service.run)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let waiting = self.services.iter().filter_map(|service| match service.phase {
            ServicePhase::Waiting(at) => Some(at),
            ServicePhase::Starting | ServicePhase::Running { .. } | ServicePhase::Ended => None,
        });
        waiting.filter(|at| *at > Mono(0)).chain(self.prove_at).min()
    }

    fn current(&mut self, index: u16, run: u32) -> Option<&mut Service> {
        self.services.get_mut(usize::from(index)).filter(|service| service.run == run)
    }

    fn all_down(&self) -> bool {
        let down = |service: &Service| matches!(service.phase, ServicePhase::Waiting(_) | ServicePhase::Ended);
        self.services.iter().all(down)
    }

    /// The run is over: ended for good, or started again after a backoff.
    fn over(&mut self, now: Now, index: u16, run: u32, outcome: Outcome) -> Option<Notice> {
        let policy = self.policy.clone();
        let service = self.current(index, run)?;
        let well =
            matches!(service.phase, ServicePhase::Running { since } if now.mono.since_ms(since) >= SERVICE_WELL_MS);
        service.failures = if well { 1 } else { service.failures.saturating_add(1) };
        let again_ms = match service.kind {
            ServiceKind::Oneshot => None,
            ServiceKind::Keep => Some(retry::backoff_ms(&policy, service.failures)),
        };
        service.phase = again_ms.map_or(ServicePhase::Ended, |wait_ms| ServicePhase::Waiting(now.mono.after(wait_ms)));
        Some(Notice::ServiceEnded { index, outcome, again_ms })
    }
}

impl Driver {
    pub(super) fn start_attempt(&mut self, now: Now, job: JobId, attempt: Attempt) {
        self.attempts.insert(job, attempt);
        let Some(place) = self.machine.job(job).map(|job| job.payload) else { return };
        let deadline = self.deadline_of(now, attempt);
        self.effects.push_back(Effect::Run(Task::Start { job, attempt, place, deadline }));
    }

    pub(super) fn spawned(&mut self, now: Now, child: ChildId) {
        match child {
            ChildId::Attempt { job, number } => self.input(now, Input::Spawned { job, attempt: number }),
            ChildId::Service { index, run } => {
                let stop = self.stopping;
                if let Some(service) = self.services.current(index, run) {
                    service.phase = ServicePhase::Running { since: now.mono };
                    if stop > StopLevel::Run {
                        self.effects.push_back(Effect::Signal { child, kill: Kill::Term });
                    }
                }
            }
        }
    }

    pub(super) fn spawn_failed(&mut self, now: Now, child: ChildId, failure: SpawnFailure) {
        match child {
            ChildId::Attempt { job, number } => self.input(now, Input::SpawnFailed { job, attempt: number, failure }),
            ChildId::Service { index, run } => {
                let outcome = match failure {
                    SpawnFailure::NotFound => Outcome::NotFound,
                    SpawnFailure::NotExecutable | SpawnFailure::Resources => Outcome::NotExecutable,
                };
                let said = self.services.over(now, index, run, outcome);
                self.say_all(said);
            }
        }
    }

    pub(super) fn exited(&mut self, now: Now, exit: Exit) {
        match exit.child {
            ChildId::Attempt { job, number } => {
                let attempt = self.attempts.get(&job).copied().filter(|attempt| attempt.number == number);
                if let Some(attempt) = attempt {
                    self.effects.push_back(Effect::Run(Task::Settle { job, attempt, outcome: exit.outcome }));
                }
            }
            ChildId::Service { index, run } => {
                let said = self.services.over(now, index, run, exit.outcome);
                self.say_all(said);
            }
        }
    }

    pub(super) fn publish(&mut self, job: JobId, attempt: u32) {
        let Some((place, queue)) = self.machine.job(job).map(|job| (job.payload, job.queue)) else { return };
        let queue = self.machine.queue_name(queue).to_owned();
        self.effects.push_back(Effect::Run(Task::Publish { job, attempt, queue, place }));
    }

    pub(super) fn published(&mut self, now: Now, job: JobId, result: Result<(), String>) {
        match result {
            Ok(()) => self.input(now, Input::Published { job }),
            Err(what) => {
                self.effects.push_back(Effect::Say(Notice::PublishFailed { job, what }));
                self.input(now, Input::PublishFailed { job });
            }
        }
    }

    /// One look at all processes for everything that waits for a proof.
    pub(super) fn prove_leftovers(&mut self) {
        let wanted = !self.to_prove.is_empty() || (!self.clear && self.services.prove_at.is_none());
        if wanted && !self.proving {
            self.proving = true;
            let attempts = std::mem::take(&mut self.to_prove);
            self.effects.push_back(Effect::Run(Task::Prove { attempts }));
        }
    }

    pub(super) fn proved(&mut self, now: Now, gone: Vec<(JobId, Attempt)>, clear: bool) {
        self.proving = false;
        self.clear |= clear;
        self.services.prove_at = (!self.clear).then(|| now.mono.after(PROVE_AGAIN_MS));
        for (job, attempt) in gone {
            self.input(now, Input::Gone { job, attempt: attempt.number });
        }
    }

    /// Starts services whose time has come.
    pub(super) fn run_services(&mut self, now: Now) {
        if self.services.prove_at.is_some_and(|at| at <= now.mono) {
            self.services.prove_at = None;
            self.prove_leftovers();
        }
        if !self.clear || self.stopping > StopLevel::Run {
            return;
        }
        for (index, service) in (0..).zip(&mut self.services.services) {
            if matches!(service.phase, ServicePhase::Waiting(at) if at <= now.mono) {
                service.run += 1;
                service.phase = ServicePhase::Starting;
                self.effects.push_back(Effect::Run(Task::Serve { index, run: service.run }));
            }
        }
    }

    /// Services end with sprag: asked at the first word of a stop, forced at the second.
    pub(super) fn services_stop(&mut self, level: StopLevel) {
        let kill = match level {
            StopLevel::Run => return,
            StopLevel::Drain => Kill::Term,
            StopLevel::Kill => Kill::Kill,
        };
        for (index, service) in (0..).zip(&self.services.services) {
            if let ServicePhase::Running { .. } = service.phase {
                let child = ChildId::Service { index, run: service.run };
                self.effects.push_back(Effect::Signal { child, kill });
            }
        }
    }

    pub(super) fn services_down(&self) -> bool {
        self.services.all_down()
    }
}
