//! The reference: what a pipeline is, told a second time and as plainly as possible. It shares no code with the Machine.
//!
//! **Invariant.** The model learns facts from two sides only: what the world told the Machine ([`Model::hear`]) and
//! what the Machine wrote down ([`Model::fold`]). It decides nothing; `rules.rs` judges the Machine by it.

use sprag_core::{
    Config, DeadReason, Digest, Input, JobId, KeyHash, Mono, NewJob, Next, Now, Outcome, QueueId, Record, Reply,
    RequestId, Seq, Slot, Space, SpawnFailure, StopLevel, Wall, When,
};
use std::collections::{BTreeMap, BTreeSet};

/// All that is known. Cheap to clone, so that a search may branch anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) config: Config,
    /// Record `n` stands at `n - 1`.
    pub(crate) journal: Vec<Record>,
    /// When each was written.
    pub(crate) times: Vec<Wall>,
    pub(crate) durable: Seq,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) keys: BTreeMap<KeyHash, (JobId, u64)>,
    /// The last number given to a job.
    pub(crate) last_job: JobId,
    /// Forgotten jobs of which something may be left: their last attempt, and the record.
    pub(crate) discards: BTreeMap<JobId, (u32, Seq)>,
    pub(crate) paused: BTreeSet<QueueId>,
    pub(crate) level: StopLevel,
    pub(crate) space: Space,
    pub(crate) held_until: Option<Mono>,
    /// Requests without an answer: the answer that must come, and the record that must be durable before.
    pub(crate) asked: BTreeMap<RequestId, (Reply, Seq)>,
    /// The request being handled.
    pub(crate) asking: Option<RequestId>,
    pub(crate) stopped: bool,
    /// How many records are from earlier lives.
    pub(crate) born: usize,
    pub(crate) now: Now,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) new: NewJob,
    pub(crate) ripe: Ripe,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) end: Option<End>,
    /// The highest attempt number on record.
    pub(crate) granted: u32,
    pub(crate) failures: u32,
    pub(crate) crashes: u16,
    pub(crate) cancelling: bool,
    /// An attempt was given back: no more reservations.
    pub(crate) strict: bool,
    pub(crate) unpublished: bool,
    /// Since when it is at an end and has nothing left to publish.
    pub(crate) rests_since: Option<Wall>,
    /// The last record about it.
    pub(crate) touched: Seq,
}

/// From when on a job may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ripe {
    Already,
    Elapsed(Mono),
    Calendar(Wall),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    Dead(DeadReason),
    Cancelled,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) slot: Slot,
    pub(crate) fence: Seq,
    /// `Started` is on record, not only `Reserved`.
    pub(crate) started: bool,
    /// From an earlier life.
    pub(crate) left: bool,
    /// The Machine asked for its start.
    pub(crate) asked: bool,
    pub(crate) spawned: Option<Mono>,
    pub(crate) term: Option<(Mono, Why)>,
    pub(crate) killed: bool,
    pub(crate) told: Option<Told>,
    /// Proved dead.
    pub(crate) gone: bool,
}

/// Why the Machine ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Cancel,
    Stop,
    Timeout,
}

/// What the world said about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Failed(SpawnFailure),
    Ended { outcome: Outcome, result: Option<Digest> },
}

impl Model {
    pub(crate) fn new(config: Config) -> Model {
        Model {
            config,
            journal: Vec::new(),
            times: Vec::new(),
            durable: Seq(0),
            jobs: BTreeMap::new(),
            keys: BTreeMap::new(),
            last_job: JobId(0),
            discards: BTreeMap::new(),
            paused: BTreeSet::new(),
            level: StopLevel::Run,
            space: Space::Enough,
            held_until: None,
            asked: BTreeMap::new(),
            asking: None,
            stopped: false,
            born: 0,
            now: Now::default(),
        }
    }

    /// What a new life knows after a crash that kept the first `keep` records.
    pub(crate) fn reborn(&self, now: Now, keep: usize) -> Model {
        let mut model = Model::new(self.config.clone());
        model.now = now;
        for (record, at) in self.journal[..keep].iter().zip(&self.times) {
            model.fold(*at, *record);
        }
        model.durable = model.last();
        model.born = keep;
        for attempt in model.jobs.values_mut().filter_map(|job| job.attempt.as_mut()) {
            attempt.left = true;
        }
        model
    }

    pub(crate) fn last(&self) -> Seq {
        Seq(self.journal.len() as u64)
    }

    /// Notes what the world tells. An answer about any attempt but the one under way means nothing.
    pub(crate) fn hear(&mut self, now: Now, input: &Input) {
        self.tick(now);
        self.asking = None;
        match input {
            Input::Submit { request, .. }
            | Input::Cancel { request, .. }
            | Input::Redrive { request, .. }
            | Input::Pause { request, .. }
            | Input::Resume { request, .. } => {
                let expected = self.expected_reply(input);
                let old = self.asked.insert(*request, expected);
                assert!(old.is_none(), "request {} was made twice", request.0);
                self.asking = Some(*request);
            }
            Input::Persisted { through } => self.durable = self.durable.max(*through),
            Input::Space(space) => self.space = *space,
            Input::ForgetKey { .. } | Input::StatusCopied { .. } => {}
            Input::Stop(level) => self.level = self.level.max(*level),
            Input::Spawned { job, attempt } => {
                if let Some(attempt) = self.executing(*job, *attempt).filter(|attempt| attempt.spawned.is_none()) {
                    attempt.spawned = Some(now.mono);
                }
            }
            Input::SpawnFailed { job, attempt, failure } => {
                let Some(attempt) = self.executing(*job, *attempt).filter(|a| a.spawned.is_none()) else { return };
                attempt.told = Some(Told::Failed(*failure));
                attempt.gone = true;
                if *failure == SpawnFailure::Resources {
                    self.held_until = Some(now.mono.after(self.config.limits.again_ms));
                }
            }
            Input::Ended { job, attempt, outcome, result, gone } => {
                let Some(attempt) = self.executing(*job, *attempt) else { return };
                attempt.told = Some(Told::Ended { outcome: *outcome, result: *result });
                attempt.gone = *gone;
            }
            Input::Gone { job, attempt } => {
                if let Some(attempt) = self.attempt_mut(*job, *attempt).filter(|a| a.left || a.told.is_some()) {
                    attempt.gone = true;
                }
            }
            Input::Published { .. } | Input::PublishFailed { .. } => {}
            Input::Source { .. } | Input::Service { .. } | Input::Tick => {}
            Input::Slept { ms } => self.slept(*ms),
        }
    }

    fn attempt_mut(&mut self, job: JobId, number: u32) -> Option<&mut Attempt> {
        self.jobs.get_mut(&job)?.attempt.as_mut().filter(|attempt| attempt.number == number)
    }

    /// The machine slept: whoever has only so much time has it from later on.
    fn slept(&mut self, ms: u64) {
        for attempt in self.jobs.values_mut().filter_map(|job| job.attempt.as_mut()) {
            attempt.spawned = attempt.spawned.map(|at| at.after(ms));
            attempt.term = attempt.term.map(|(at, why)| (at.after(ms), why));
        }
    }

    /// The attempt if it was handed out for execution in this life and nothing final was heard of it.
    fn executing(&mut self, job: JobId, number: u32) -> Option<&mut Attempt> {
        self.attempt_mut(job, number).filter(|attempt| attempt.asked && !attempt.left && attempt.told.is_none())
    }

    /// Time passes: what is ripe stays ripe, even if the calendar goes back.
    fn tick(&mut self, now: Now) {
        self.now = now;
        self.held_until = self.held_until.filter(|until| *until > now.mono);
        for job in self.jobs.values_mut() {
            let ripe = match job.ripe {
                Ripe::Already => true,
                Ripe::Elapsed(at) => at <= now.mono,
                Ripe::Calendar(at) => at <= now.wall,
            };
            if ripe && job.attempt.is_none() {
                job.ripe = Ripe::Already;
            }
        }
    }

    /// A delay counts in elapsed time from now on, whatever the calendar does later.
    /// None is longer than it could be when it began, even if the calendar went back over a crash.
    fn ripe_at(&self, due: Wall, longest_ms: u64) -> Ripe {
        match due.0.saturating_sub(self.now.wall.0).min(longest_ms).min(self.config.limits.delay_ms_max) {
            0 => Ripe::Already,
            delay_ms => Ripe::Elapsed(Mono(self.now.mono.0 + delay_ms)),
        }
    }

    /// Applies a record; `rules.rs` has judged it if it was decided in this life.
    pub(crate) fn fold(&mut self, at: Wall, record: Record) {
        self.journal.push(record);
        self.times.push(at);
        let seq = self.last();
        match record {
            Record::Added { job, new, due } => {
                let ripe = match (new.when, due) {
                    (When::At(at), _) if at > self.now.wall => Ripe::Calendar(at),
                    (When::At(_) | When::Now, _) | (When::Delay(_), None) => Ripe::Already,
                    (When::Delay(delay_ms), Some(due)) => self.ripe_at(due, delay_ms),
                };
                self.keys.extend(new.key.map(|key| (key, (job, new.digest))));
                self.jobs.insert(job, Job::new(new, ripe));
                self.last_job = job;
            }
            Record::Reserved { job, attempt, slot } => self.grant(job, Attempt::new(attempt, slot, seq, false)),
            Record::Started { job, attempt, slot } => match &mut self.job_mut(job).attempt {
                Some(reserved) => reserved.started = true,
                None => self.grant(job, Attempt::new(attempt, slot, seq, true)),
            },
            Record::Finished { job, next, .. } => self.finish(job, next),
            Record::Cancelled { job } => {
                let job = self.job_mut(job);
                match job.attempt {
                    Some(_) => job.cancelling = true,
                    None => job.end = Some(End::Cancelled),
                }
            }
            Record::Redriven { job } => {
                let job = self.job_mut(job);
                (job.end, job.failures, job.crashes, job.ripe) = (None, 0, 0, Ripe::Already);
            }
            Record::Published { job } => self.job_mut(job).unpublished = false,
            Record::Forgotten { job } => {
                let granted = self.jobs.remove(&job).map_or(0, |job| job.granted);
                self.discards.extend((granted > 0).then_some((job, (granted, seq))));
                return;
            }
            Record::KeyForgotten { job } => self.keys.retain(|_, (known, _)| *known != job),
            Record::Paused { queue } => {
                self.paused.insert(queue);
            }
            Record::Resumed { queue } => {
                self.paused.remove(&queue);
            }
        }
        if let Some(job) = record.job() {
            let job = self.job_mut(job);
            job.touched = seq;
            let rests = job.end.is_some() && !job.unpublished;
            job.rests_since = if rests { job.rests_since.or(Some(at)) } else { None };
        }
    }

    /// Jobs of the queue that died in this life since one succeeded or was taken up again.
    pub(crate) fn deaths(&self, queue: QueueId) -> u32 {
        let queue_of = |id: &JobId| {
            self.journal.iter().find_map(|record| match record {
                Record::Added { job, new, .. } if job == id => Some(new.queue),
                _ => None,
            })
        };
        let turns = self.journal[self.born..].iter().rev().filter_map(|record| match record {
            Record::Finished { job, next: Next::Dead(_), .. } => Some((job, true)),
            Record::Finished { job, next: Next::Succeeded { .. }, .. } | Record::Redriven { job } => Some((job, false)),
            _ => None,
        });
        turns.filter(|(job, _)| queue_of(job) == Some(queue)).take_while(|(_, died)| *died).count() as u32
    }

    fn grant(&mut self, id: JobId, attempt: Attempt) {
        let job = self.job_mut(id);
        job.granted = attempt.number;
        job.attempt = Some(attempt);
    }

    fn finish(&mut self, id: JobId, next: Next) {
        let due = match next {
            Next::Retry { due } => {
                let retry = &self.config.queues[usize::from(self.jobs[&id].new.queue.0)].retry;
                let longest_ms = retry.max_ms as f64 * (1.0 + retry.jitter_ppm as f64 / 1e6);
                self.ripe_at(due, longest_ms as u64)
            }
            Next::Again { due, .. } => self.ripe_at(due, 0),
            Next::Succeeded { .. } | Next::Dead(_) | Next::Cancelled | Next::Unused => Ripe::Already,
        };
        let job = self.job_mut(id);
        (job.attempt, job.cancelling, job.ripe) = (None, false, due);
        match next {
            Next::Succeeded { result } => (job.end, job.unpublished) = (Some(End::Succeeded), result.is_some()),
            Next::Retry { .. } => (job.failures, job.crashes) = (job.failures + 1, 0),
            Next::Dead(reason) => {
                job.end = Some(End::Dead(reason));
                match reason {
                    DeadReason::Poison => job.crashes += 1,
                    DeadReason::Exhausted | DeadReason::Permanent => job.failures += 1,
                }
            }
            Next::Cancelled => job.end = Some(End::Cancelled),
            Next::Again { crash, .. } => job.crashes += u16::from(crash),
            Next::Unused => job.strict = true,
        }
    }

    pub(crate) fn job_mut(&mut self, id: JobId) -> &mut Job {
        self.jobs.get_mut(&id).unwrap_or_else(|| panic!("a record about job {} that was never added", id.0))
    }

    /// The answer that must come, and the last record that it rests on as far as known before the input is handled.
    fn expected_reply(&self, input: &Input) -> (Reply, Seq) {
        let touched = |id: &JobId| self.jobs.get(id).map_or(Seq(0), |job| job.touched);
        match input {
            Input::Submit { job, .. } => match job.key.and_then(|key| self.keys.get(&key)) {
                Some((id, digest)) if *digest == job.digest => (Reply::Known(*id), touched(id)),
                Some((id, _)) => (Reply::Conflict(*id), touched(id)),
                None => (self.expected_add(job), Seq(0)),
            },
            Input::Cancel { job, .. } => (self.expected_cancel(*job), touched(job)),
            Input::Redrive { job, .. } => (self.expected_redrive(*job), touched(job)),
            Input::Pause { queue, .. } | Input::Resume { queue, .. } => {
                let known = usize::from(queue.0) < self.config.queues.len();
                let last = self.journal.iter().rposition(|record| match record {
                    Record::Paused { queue: q } | Record::Resumed { queue: q } => q == queue,
                    _ => false,
                });
                let reply = if known { Reply::Done } else { Reply::Refused(sprag_core::Refusal::NoSuchQueue) };
                (reply, Seq(last.map_or(0, |at| at as u64 + 1)))
            }
            other => panic!("{other:?} is no request"),
        }
    }
}

impl Job {
    fn new(new: NewJob, ripe: Ripe) -> Job {
        Job {
            new,
            ripe,
            attempt: None,
            end: None,
            granted: 0,
            failures: 0,
            crashes: 0,
            cancelling: false,
            strict: false,
            unpublished: false,
            rests_since: None,
            touched: Seq(0),
        }
    }
}

impl Attempt {
    fn new(number: u32, slot: Slot, fence: Seq, started: bool) -> Attempt {
        Attempt {
            number,
            slot,
            fence,
            started,
            left: false,
            asked: false,
            spawned: None,
            term: None,
            killed: false,
            told: None,
            gone: false,
        }
    }
}
