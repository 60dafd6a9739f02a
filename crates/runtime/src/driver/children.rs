//! Attempts and services as processes: started, exited, proved dead, started again.
//!
//! **Invariant.** An exit leads to exactly one `Settle`, unless whoever heard of it has settled it at once; one look at all
//! processes is under way at a time; a service starts only when every earlier life of sprag is proved dead, and this one stands
//! in the journal, so no service runs twice and none is nobody's.

use super::nag::Nag;
use super::{Driver, Effect, Notice, outcome_text};
use crate::pipeline::{Pipeline, ServiceKind};
use crate::seams::{ChildId, Exit};
use crate::task::Task;
use sprag_core::{
    Attempt, Bug, Input, JobId, Kill, Mono, Now, Outcome, QueueId, RetryPolicy, SpawnFailure, StopLevel, planted, retry,
};
use std::collections::BTreeMap;

/// A service that ran for so long before it ended starts again with the first backoff.
const SERVICE_WELL_MS: u64 = 60_000;
/// So many short runs in a row are more than bad luck.
const SERVICE_FAILURES_MAX: u32 = 3;
/// When the system is short of something, a service is tried again after so long.
const SERVICE_AGAIN_MS: u64 = 1_000;
/// Between two looks for processes of an earlier life that would not die.
const PROVE_AGAIN_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Services {
    services: Vec<Service>,
    policy: RetryPolicy,
    prove_at: Option<Mono>,
    unexecuted: Unexecuted,
}

/// How often it is said that commands cannot be executed, by queue or service, and whether for want of something: such
/// a want comes and goes, so a start in between does not make it news.
type Unexecuted = BTreeMap<(Who, bool), Nag>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Queue(QueueId),
    Service(u16),
}

impl Who {
    fn of(child: ChildId) -> Who {
        match child {
            ChildId::Attempt { attempt, .. } => Who::Queue(attempt.queue),
            ChildId::Service { index, .. } => Who::Service(index),
        }
    }
}

#[derive(Debug)]
struct Service {
    kind: ServiceKind,
    phase: ServicePhase,
    run: u32,
    /// Short runs in a row.
    failures: u32,
    /// How the last run ended.
    last: Option<Outcome>,
    /// The system could not start it for want of something.
    short: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServicePhase {
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
        let service = |kind| Service {
            kind,
            phase: ServicePhase::Waiting(Mono(0)),
            run: 0,
            failures: 0,
            last: None,
            short: false,
        };
        let policy = RetryPolicy { backoff_ms: 1_000, max_ms: 60_000, ..RetryPolicy::default() };
        let services = pipeline.services.iter().map(|spec| service(spec.kind)).collect();
        Services { services, policy, prove_at: None, unexecuted: Unexecuted::new() }
    }

    /// Where each stands.
    pub(super) fn phases(&self) -> impl Iterator<Item = ServicePhase> {
        self.services.iter().map(|service| service.phase)
    }

    pub(super) fn oneshots_ended(&self) -> bool {
        self.services.iter().all(|service| service.kind != ServiceKind::Oneshot || service.phase == ServicePhase::Ended)
    }

    /// When something is to be done; `start` says whether services may be started at all.
    pub(super) fn deadline(&self, start: bool) -> Option<Mono> {
        let start = start || planted(Bug::ServiceSpins);
        let waiting = self.services.iter().filter_map(|service| match service.phase {
            ServicePhase::Waiting(at) => Some(at).filter(|_| start),
            // From then on it does well: that is news if it did not before.
            ServicePhase::Running { since } if service.failures > 0 => Some(since.after(SERVICE_WELL_MS)),
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
    fn over(&mut self, now: Now, index: u16, run: u32, outcome: Outcome, stop: StopLevel) -> Option<Notice> {
        let policy = self.policy.clone();
        let service = self.current(index, run)?;
        if stop > StopLevel::Run {
            service.phase = ServicePhase::Ended;
            return Some(Notice::ServiceStopped { index });
        }
        let well =
            matches!(service.phase, ServicePhase::Running { since } if now.mono.since_ms(since) >= SERVICE_WELL_MS);
        service.failures = if well { 1 } else { service.failures.saturating_add(1) };
        service.last = Some(outcome);
        let again_ms = match service.kind {
            ServiceKind::Oneshot => None,
            ServiceKind::Keep if planted(Bug::ServiceForgotten) => None,
            ServiceKind::Keep => Some(retry::backoff_ms(&policy, service.failures)),
        };
        service.phase = again_ms.map_or(ServicePhase::Ended, |wait_ms| ServicePhase::Waiting(now.mono.after(wait_ms)));
        Some(Notice::ServiceEnded { index, outcome, again_ms })
    }

    /// Says nothing about the service: it is tried again, be it a oneshot.
    fn short(&mut self, now: Now, index: u16, run: u32) {
        if let Some(service) = self.current(index, run) {
            service.phase = ServicePhase::Waiting(now.mono.after(SERVICE_AGAIN_MS));
            service.short = true;
        }
    }

    /// Those that do well again, having run long enough.
    fn forgive(&mut self, now: Now) {
        for service in &mut self.services {
            if let ServicePhase::Running { since } = service.phase
                && now.mono.since_ms(since) >= SERVICE_WELL_MS
            {
                service.failures = 0;
            }
        }
    }

    /// Whether each fails again and again, or has failed for good.
    fn failing(&self) -> impl Iterator<Item = (u16, bool)> {
        (0..).zip(self.services.iter().map(Service::is_failing))
    }

    /// Whether it cannot be executed as it is.
    pub(super) fn is_hopeless(&self, index: u16) -> bool {
        self.services.get(usize::from(index)).is_some_and(Service::is_hopeless)
    }

    /// How its last run ended, for whoever is told that it fails.
    pub(super) fn last_exit_text(&self, index: u16) -> String {
        let service = self.services.get(usize::from(index));
        service.and_then(Service::last_exit).unwrap_or_else(|| "it has not run yet".into())
    }

    /// How the service does, for status.
    pub(super) fn view(&self, now: Now, index: u16) -> Option<ServiceView> {
        let service = self.services.get(usize::from(index))?;
        let (state, next_start_at_ms) = match service.phase {
            ServicePhase::Waiting(Mono(0)) => ("waiting", None),
            ServicePhase::Waiting(at) => ("waiting", Some(now.wall.after(at.since_ms(now.mono)).0)),
            ServicePhase::Starting => ("starting", None),
            ServicePhase::Running { .. } => ("running", None),
            ServicePhase::Ended => ("ended", None),
        };
        let last_exit = service.last_exit();
        let restarts = service.run.saturating_sub(1);
        Some(ServiceView { state, restarts, failing: service.is_failing(), last_exit, next_start_at_ms })
    }
}

/// How a service does, for status.
pub(super) struct ServiceView {
    pub(super) state: &'static str,
    pub(super) restarts: u32,
    pub(super) failing: bool,
    pub(super) last_exit: Option<String>,
    pub(super) next_start_at_ms: Option<u64>,
}

impl Service {
    fn last_exit(&self) -> Option<String> {
        let short = || "it could not be started so far; it is tried again".to_owned();
        if self.short { Some(short()) } else { self.last.map(outcome_text) }
    }

    fn is_hopeless(&self) -> bool {
        matches!(self.last, Some(Outcome::NotFound | Outcome::NotExecutable)) && self.failures > 0
    }

    fn is_failing(&self) -> bool {
        match self.kind {
            ServiceKind::Oneshot => {
                self.short || (self.phase == ServicePhase::Ended && self.last != Some(Outcome::Exit(0)))
            }
            ServiceKind::Keep => self.short || self.is_hopeless() || self.failures >= SERVICE_FAILURES_MAX,
        }
    }
}

/// How a service is ended when sprag is asked to end.
fn stop_signal(level: StopLevel) -> Option<Kill> {
    match level {
        StopLevel::Run => None,
        StopLevel::Drain => Some(Kill::Term),
        StopLevel::Kill => Some(Kill::Kill),
    }
}

impl Driver {
    pub(super) fn start_attempt(&mut self, now: Now, job: JobId, attempt: Attempt) {
        let Some(place) = self.machine.job(job).map(|job| job.payload) else { return };
        let deadline = self.deadline_of(now, attempt);
        self.effects.push_back(Effect::Run(Task::Start { job, attempt, place, deadline }));
    }

    pub(super) fn spawned(&mut self, now: Now, child: ChildId) {
        self.services.unexecuted.remove(&(Who::of(child), false));
        match child {
            ChildId::Attempt { job, attempt } => {
                self.say_started(job, attempt.number);
                self.input(now, Input::Spawned { job, attempt: attempt.number });
            }
            ChildId::Service { index, run } => {
                let stop = self.stopping;
                // One that was short-lived may have been heard to end before this.
                let service = self.services.current(index, run);
                if let Some(service) = service.filter(|service| service.phase == ServicePhase::Starting) {
                    service.phase = ServicePhase::Running { since: now.mono };
                    service.short = false;
                    self.effects.push_back(Effect::Say(Notice::ServiceStarted { index }));
                    self.effects.extend(stop_signal(stop).map(|kill| Effect::Signal { child, kill }));
                }
            }
        }
    }

    pub(super) fn spawn_failed(&mut self, now: Now, child: ChildId, failure: SpawnFailure, why: String) {
        let nag = self.services.unexecuted.entry((Who::of(child), failure == SpawnFailure::Resources)).or_default();
        if nag.is_due(now.mono) {
            self.effects.push_back(Effect::Say(Notice::NotExecuted { child, failure, why }));
        }
        match child {
            ChildId::Attempt { job, attempt } => {
                self.input(now, Input::SpawnFailed { job, attempt: attempt.number, failure });
            }
            ChildId::Service { index, run } => {
                let said = match failure {
                    SpawnFailure::NotFound => self.services.over(now, index, run, Outcome::NotFound, self.stopping),
                    SpawnFailure::NotExecutable => {
                        self.services.over(now, index, run, Outcome::NotExecutable, self.stopping)
                    }
                    // A oneshot has but this start: what passes is no end of it.
                    SpawnFailure::NotStarted | SpawnFailure::Resources => {
                        self.services.short(now, index, run);
                        None
                    }
                };
                self.say_all(said);
            }
        }
    }

    pub(super) fn exited(&mut self, now: Now, exit: Exit) {
        match exit.child {
            ChildId::Attempt { job, attempt } => {
                self.effects.push_back(Effect::Run(Task::Settle { job, attempt, outcome: exit.outcome }));
            }
            ChildId::Service { index, run } => {
                let said = self.services.over(now, index, run, exit.outcome, self.stopping);
                self.say_all(said);
            }
        }
    }

    pub(super) fn publish(&mut self, job: JobId, attempt: u32) {
        let Some((place, queue)) = self.machine.job(job).map(|job| (job.payload, job.queue)) else { return };
        let queue = self.machine.queue_name(queue).to_owned();
        self.effects.push_back(Effect::Run(Task::Publish { job, attempt, queue, place }));
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

    /// Whether services may be started: their mark must be one that no later life bears, so a frame of this epoch is durable.
    pub(super) fn starts_services(&self) -> bool {
        let marked = self.persistence.epoch_is_durable() || planted(Bug::ServiceOutlives);
        marked && (self.clear || planted(Bug::ServiceTwice)) && self.stopping == StopLevel::Run
    }

    /// Starts services whose time has come.
    pub(super) fn run_services(&mut self, now: Now) {
        if self.services.prove_at.is_some_and(|at| at <= now.mono) {
            self.services.prove_at = None;
            self.prove_leftovers();
        }
        self.services.forgive(now);
        let known = self.machine.health();
        let news = self.services.failing().filter(|(service, failing)| known.service_is_failing(*service) != *failing);
        for (service, failing) in news.collect::<Vec<_>>() {
            self.feed(now, Input::Service { service, failing });
        }
        self.drain(now);
        if !self.starts_services() {
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
        let Some(kill) = stop_signal(level) else { return };
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
