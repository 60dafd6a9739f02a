//! The Machine routes: inputs to the parts, their decisions into records, records into state, and everything that
//! depends on a record into the waiting room until the record is durable.
//!
//! **Invariant.** Durable state changes in [`fold`] alone, by a [`Record`] that has a sequence number; each record is
//! handed out for persisting exactly once, in order; no output that depends on record `n` leaves before
//! `Persisted { through >= n }`.

mod attempts;
mod fold;
mod image;
mod requests;
mod retention;
mod start;
mod volatile;

pub use fold::Inconsistent;
pub use image::{JobImage, KeyImage, Restorer};
pub use volatile::Volatile;

use crate::config::Config;
use crate::ended::Ended;
use crate::forgotten::Forgotten;
use crate::health::{Health, Progress, Verdict};
use crate::ids::{JobId, KeyHash, QueueId, RequestId, Seq};
use crate::job::{Counts, Job, PayloadRef, State, StateName};
use crate::planted::{Bug, planted};
use crate::publishing::Publishing;
use crate::queue::Queues;
use crate::table::Table;
use crate::time::{Mono, Now, Wall};
use crate::vocabulary::{Attempt, Input, Next, Output, Record, Reply, Space, StopLevel};
use crate::worker::{Phase, Run, Workers};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// The state of the whole pipeline and the rules by which it changes.
#[derive(Clone, Debug)]
pub struct Machine {
    config: Config,
    jobs: Table,
    /// Keys live apart from jobs: an item is known for as long as its key is.
    keys: BTreeMap<KeyHash, Known>,
    queues: Queues,
    /// Of jobs that are forgotten.
    forgotten: Forgotten,
    /// Jobs at rest, by when they came to it.
    ended: Ended,
    /// Forgotten by records that were replayed.
    replayed_discards: Vec<(JobId, u32)>,
    workers: Workers,
    health: Health,
    /// Jobs whose result is on record but not at its destination.
    publishing: Publishing,
    last_job: JobId,
    last_seq: Seq,
    durable: Seq,
    /// What waits for a record to become durable, in the order of the records.
    withheld: VecDeque<(Seq, Output)>,
    outputs: VecDeque<Output>,
    stopping: StopLevel,
    stopped: bool,
    space: Space,
    /// When a queue may start again after the system ran out of resources.
    starts_held_until: Option<Mono>,
    /// Queues whose last attempt was short, so that journaling ahead pays.
    short: BTreeSet<QueueId>,
}

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    job: JobId,
    digest: u64,
}

/// A queue as status and tables show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its jobs by state.
    pub counts: Counts,
    /// No starts by request.
    pub paused: bool,
    /// In the configuration, not only in the journal.
    pub configured: bool,
    /// Its movement.
    pub progress: Progress,
}

impl Machine {
    /// A Machine that knows nothing yet. Replay the journal into it, then call [`Machine::resume`].
    pub fn new(config: Config) -> Machine {
        Machine {
            jobs: Table::default(),
            keys: BTreeMap::new(),
            queues: Queues::new(&config.queues),
            forgotten: Forgotten::default(),
            ended: Ended::default(),
            replayed_discards: Vec::new(),
            workers: Workers::default(),
            health: Health::new(config.sources),
            publishing: Publishing::default(),
            last_job: JobId(0),
            last_seq: Seq(0),
            durable: Seq(0),
            withheld: VecDeque::new(),
            outputs: VecDeque::new(),
            stopping: StopLevel::Run,
            stopped: false,
            space: Space::Enough,
            starts_held_until: None,
            short: BTreeSet::new(),
            config,
        }
    }

    /// A new one of the same configuration, which knows of nothing.
    pub fn emptied(&self) -> Machine {
        Machine::new(self.config.clone())
    }

    /// Takes one input. Drain [`Machine::poll`] to `None` afterwards.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Submit { request, job } => self.submit(now, request, job),
            Input::Cancel { request, job } => self.cancel(now, request, job),
            Input::Redrive { request, job } => self.redrive(now, request, job),
            Input::Pause { request, queue } => self.pause(now, request, queue, true),
            Input::Resume { request, queue } => self.pause(now, request, queue, false),
            Input::Persisted { through } => self.persisted(now, through),
            Input::ForgetKey { job } => self.forget_key(now, job),
            Input::StatusCopied { well } => self.health.status_copied = well,
            Input::Space(space) => (self.space, self.health.space) = (space, space),
            Input::Spawned { job, attempt } => self.spawned(now, job, attempt),
            Input::SpawnFailed { job, attempt, failure } => self.spawn_failed(now, job, attempt, failure),
            Input::Ended { job, attempt, outcome, result, gone } => {
                self.ended(now, job, attempt, outcome, result, gone);
            }
            Input::Gone { job, attempt } => self.gone(now, job, attempt),
            Input::Published { job } => self.published(now, job),
            Input::PublishFailed { job } => self.publish_failed(now, job),
            Input::Source { source, report } => self.health.source(source, report, now.mono),
            Input::Service { service, failing } => self.health.service(service, failing),
            Input::Tick => {}
            Input::Slept { ms } => self.workers.slept(if planted(Bug::SleepCounts) { 0 } else { ms }),
            Input::Stop(level) => self.stop(now, level),
        }
        self.run_timers(now);
        self.start_all(now);
        self.forget(now);
        self.check_stopped();
    }

    /// The next decision, or `None` when all have been handed out.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next `Tick` is wanted, if nothing else comes before.
    pub fn deadline(&self, now: Now) -> Option<Mono> {
        let publish = self.publishing.deadline().filter(|_| self.stopping == StopLevel::Run);
        [self.queues.deadline(now), self.workers.deadline(), publish, self.starts_held_until, self.forget_at(now)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Tells where the record of a job just persisted or replayed lies on disk.
    pub fn placed(&mut self, job: JobId, payload: PayloadRef) {
        if let Some(job) = self.jobs.get_mut(job) {
            job.payload = payload;
        }
    }

    /// The queue of that name; made, without a configuration, if the journal knows a queue that the configuration does
    /// not.
    pub fn queue_named(&mut self, name: &str) -> QueueId {
        self.queues.named(name)
    }

    /// The queue of that name, if there is one.
    pub fn find_queue(&self, name: &str) -> Option<QueueId> {
        self.queues.find(name)
    }

    /// The name of a queue.
    pub fn queue_name(&self, queue: QueueId) -> &str {
        &self.queues.get(queue).name
    }

    /// All queues.
    pub fn queues(&self) -> impl Iterator<Item = QueueView<'_>> {
        self.queues.ids().map(|id| {
            let queue = self.queues.get(id);
            QueueView {
                name: &queue.name,
                counts: queue.counts,
                paused: queue.paused,
                configured: queue.config.is_some(),
                progress: self.health.queue(id),
            }
        })
    }

    /// How many queues there are.
    pub fn queues_len(&self) -> usize {
        self.queues.len()
    }

    /// A job.
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// All jobs in order of arrival.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter()
    }

    /// Whether there is a job whose number lies from `from` up to, but not with, `to`.
    pub fn has_jobs(&self, from: JobId, to: JobId) -> bool {
        self.jobs.has_any(from.0, to.0)
    }

    /// Since when a job is at rest, if it is.
    pub fn at_rest_since(&self, id: JobId) -> Option<Wall> {
        self.ended.since(id)
    }

    /// The jobs that came after this one, in order of arrival.
    pub fn jobs_after(&self, id: JobId) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.from(JobId(id.0.saturating_add(1)))
    }

    /// The name of a job's state as users see it.
    pub fn state_name(&self, id: JobId, job: &Job) -> StateName {
        match job.state {
            State::Scheduled { .. } => StateName::Scheduled,
            State::Ready | State::Reserved { .. } => StateName::Ready,
            State::Running { .. } => match self.workers.get(id).map(|run| run.phase) {
                Some(Phase::Leftover { .. } | Phase::Lingering { .. }) => StateName::Unknown,
                Some(_) | None => StateName::Running,
            },
            State::Succeeded => StateName::Succeeded,
            State::Dead(_) => StateName::Dead,
            State::Cancelled => StateName::Cancelled,
        }
    }

    /// Whether an item with this key has made a job.
    pub fn knows(&self, key: KeyHash) -> Option<JobId> {
        self.keys.get(&key).map(|known| known.job)
    }

    /// How many keys of forgotten jobs are known.
    pub fn forgotten_len(&self) -> u64 {
        self.forgotten.len()
    }

    /// The next forgotten job behind `job` whose key is known, that key, and since when it is forgotten.
    pub fn forgotten_after(&self, job: JobId) -> Option<(JobId, KeyHash, Wall)> {
        self.forgotten.after(job)
    }

    /// Every attempt that holds a slot.
    pub fn attempts(&self) -> impl Iterator<Item = (JobId, Attempt)> {
        self.workers.iter().map(|(job, run)| (job, run.attempt))
    }

    /// The same, and where each stands.
    pub fn runs(&self) -> impl Iterator<Item = (JobId, &Run)> {
        self.workers.iter()
    }

    /// Nothing to do and nothing under way: no job that may still run, no attempt, no result to publish, nothing to
    /// persist. Jobs of a queue that is paused or not configured do not count: they wait for a person.
    pub fn is_idle(&self) -> bool {
        self.queues.waiting() == 0
            && self.workers.len() == 0
            && self.publishing.is_empty()
            && self.durable == self.last_seq
            && self.withheld.is_empty()
    }

    /// Nothing is left to do but to put results where they could not be put.
    pub fn waits_for_destinations_alone(&self) -> bool {
        self.queues.waiting() == 0
            && self.workers.len() == 0
            && !self.publishing.is_empty()
            && self.publishing.len() == self.health.unpublished.len()
            && self.durable == self.last_seq
            && self.withheld.is_empty()
    }

    /// Whether a reply, a start or a publication is withheld until its record is durable.
    pub fn waits_for_records(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// The number of the last job that came.
    pub fn last_job(&self) -> JobId {
        self.last_job
    }

    /// The last record decided.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// The last record known to be durable.
    pub fn durable_seq(&self) -> Seq {
        self.durable
    }

    /// How much room the disk has, as the Machine was told last.
    pub fn space(&self) -> Space {
        self.space
    }

    /// The judgement as of `now`.
    pub fn verdict(&self, now: Now) -> Verdict {
        self.health.verdict(now.mono, self.config.limits.stall_ms)
    }

    /// What the judgement is made from.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When to try again what the world could not do. Never now: that would be at once, for ever.
    fn again(&self, now: Now) -> Mono {
        now.mono.after(self.config.limits.again_ms.max(1))
    }

    /// Decides a record: gives it a number, applies it, hands it out.
    fn record(&mut self, now: Now, record: Record) -> Seq {
        let seq = self.last_seq.next();
        if let Err(inconsistent) = self.fold(now, now.wall, seq, &record) {
            panic!("decided a record that does not fit the state: {inconsistent}");
        }
        self.health.journal_waits(now.mono);
        self.note_deaths(&record);
        self.outputs.push_back(Output::Persist { seq, record });
        seq
    }

    /// Counts what was decided in this life: what was replayed, whoever started sprag again has seen.
    fn note_deaths(&mut self, record: &Record) {
        let (job, died) = match *record {
            Record::Finished { job, next: Next::Dead(_), .. } => (job, true),
            Record::Finished { job, next: Next::Succeeded { .. }, .. } | Record::Redriven { job } => (job, false),
            Record::Finished {
                next: Next::Retry { .. } | Next::Cancelled | Next::Again { .. } | Next::Unused, ..
            }
            | Record::Added { .. }
            | Record::Reserved { .. }
            | Record::Started { .. }
            | Record::Cancelled { .. }
            | Record::Published { .. }
            | Record::Forgotten { .. }
            | Record::KeyForgotten { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. } => return,
        };
        match self.jobs.get(job).map(|job| job.queue) {
            Some(queue) if died => self.health.died(queue),
            Some(queue) => self.health.lives(queue),
            None => {}
        }
    }

    /// Hands out `output` once record `seq` is durable.
    fn after(&mut self, seq: Seq, output: Output) {
        if seq <= self.durable || planted(Bug::NothingWithheld) {
            self.outputs.push_back(output);
        } else {
            let in_order = self.withheld.back().is_none_or(|(last, _)| *last <= seq);
            assert!(in_order, "an output was withheld out of the order of its record {}", seq.0);
            self.withheld.push_back((seq, output));
        }
    }

    /// Answers once everything decided so far is durable.
    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.after(self.last_seq, Output::Reply { request, reply });
    }

    fn persisted(&mut self, now: Now, through: Seq) {
        assert!(through <= self.last_seq, "record {} was called durable before it was decided", through.0);
        if through <= self.durable {
            return;
        }
        self.durable = through;
        self.health.journal_moved(self.durable < self.last_seq, now.mono);
        while let Some((seq, _)) = self.withheld.front() {
            if *seq > self.durable {
                break;
            }
            if let Some((_, output)) = self.withheld.pop_front() {
                self.released(now, output);
            }
        }
    }

    fn check_stopped(&mut self) {
        let nothing_alive = self.workers.len() == 0 && self.durable == self.last_seq && self.withheld.is_empty();
        // Results on their way to their destination are waited for; one that could not be put there is for the next start.
        let at_rest = nothing_alive && !self.publishing.is_under_way();
        if self.stopping > StopLevel::Run && at_rest && !self.stopped {
            self.stopped = true;
            self.outputs.push_back(Output::Stopped);
        }
    }
}
