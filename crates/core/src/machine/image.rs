//! The durable state as a value: what a snapshot holds, taken from a Machine and made into one again.
//!
//! **Invariant.** A Machine restored from the images of another is that Machine, as far as records made it: replaying the same
//! further records into both gives the same state. What lives for one life only (clocks, timers, what was asked of the
//! world) is in no image. Images come and go in the order of the jobs' numbers.

use super::{Known, Machine};
use crate::ended::Ended;
use crate::ids::{JobId, KeyHash, QueueId, Seq};
use crate::job::{Job, State};
use crate::planted::{Bug, planted};
use crate::time::{Mono, Now, Wall};
use crate::vocabulary::Attempt;
use crate::worker::{Phase, Run};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// One job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobImage {
    /// Its number.
    pub id: JobId,
    /// All that it is, but for clocks: the `wake` of a delayed job is the rest of its wait, in milliseconds. `Reserved` or
    /// `Running` says whether the attempt's start is on record.
    pub job: Job,
    /// The digest of its payload, if it has a key.
    pub digest: u64,
    /// The record that granted its attempt, while it has one.
    pub fence: Option<Seq>,
    /// Since when it is at rest, if it is.
    pub ended_at: Option<Wall>,
}

/// A key whose job is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyImage {
    /// The key.
    pub key: KeyHash,
    /// The job that it made.
    pub job: JobId,
    /// The digest of that job's payload.
    pub digest: u64,
    /// Since when the job is forgotten.
    pub since: Wall,
}

impl Machine {
    /// Every job, in order. Waits are counted from `now`.
    pub fn images(&self, now: Now) -> impl Iterator<Item = JobImage> {
        self.jobs.iter().map(move |(id, job)| self.image(now, id, job))
    }

    /// The keys of forgotten jobs, in order.
    pub fn forgotten_keys(&self) -> impl Iterator<Item = KeyImage> {
        let forgotten = self.keys.iter().filter(|(_, known)| self.jobs.get(known.job).is_none());
        forgotten.map(|(key, known)| {
            let since = self.forgotten.since(known.job).unwrap_or_default();
            KeyImage { key: *key, job: known.job, digest: known.digest, since }
        })
    }

    fn image(&self, now: Now, id: JobId, job: &Job) -> JobImage {
        let run = self.workers.get(id);
        let mut job = *job;
        if let Some(run) = run {
            let slot = run.attempt.slot;
            job.state = if is_on_record(run) { State::Running { slot } } else { State::Reserved { slot } };
        }
        if let State::Scheduled { wake: Some(wake), .. } = &mut job.state {
            *wake = Mono(wake.since_ms(now.mono));
        }
        let digest = job.key.and_then(|key| self.keys.get(&key)).map_or(0, |known| known.digest);
        JobImage { id, job, digest, fence: run.map(|run| run.attempt.fence), ended_at: self.ended.since(id) }
    }
}

/// Whether the attempt's start is on record, not only its reservation.
fn is_on_record(run: &Run) -> bool {
    match run.phase {
        Phase::Reserved => false,
        Phase::Leftover { executed } => executed,
        Phase::Granted
        | Phase::Starting
        | Phase::Running
        | Phase::Terminating(_)
        | Phase::Killing(_)
        | Phase::Lingering { .. } => true,
    }
}

/// Fills a new Machine. Its sorted parts are built at once, at the end: a million jobs take a fraction of a second.
#[derive(Debug)]
pub struct Restorer<'a> {
    machine: &'a mut Machine,
    now: Now,
    last: JobId,
    keys: Vec<(KeyHash, Known)>,
    ready: BTreeMap<QueueId, Vec<(i16, JobId)>>,
    ended: Vec<(JobId, Wall, u32)>,
}

impl<'a> Restorer<'a> {
    /// Begins; the Machine must know nothing yet. `now` is the moment from which waits count again.
    pub fn new(machine: &'a mut Machine, now: Now) -> Restorer<'a> {
        assert!(machine.last_seq == Seq(0) && machine.jobs.len() == 0, "a Machine is restored that has a past");
        let (keys, ready, ended) = (Vec::new(), BTreeMap::new(), Vec::new());
        Restorer { machine, now, last: JobId(0), keys, ready, ended }
    }

    /// The queue of that name; made, without a configuration, if it is new.
    pub fn queue_named(&mut self, name: &str) -> QueueId {
        self.machine.queue_named(name)
    }

    /// A queue that is paused.
    pub fn paused(&mut self, queue: QueueId) {
        self.machine.queues.get_mut(queue).paused = true;
    }

    /// A key whose job is forgotten.
    pub fn key(&mut self, image: KeyImage) {
        self.machine.forgotten.insert(image.job, image.key, image.since);
        self.keys.push((image.key, Known { job: image.job, digest: image.digest }));
    }

    /// The next job.
    ///
    /// # Errors
    /// It contradicts itself or those before it.
    pub fn job(&mut self, image: JobImage) -> Result<(), &'static str> {
        let JobImage { id, mut job, digest, fence, ended_at } = image;
        if id <= self.last {
            return Err("jobs do not ascend");
        }
        if !self.machine.queues.contains(job.queue) {
            return Err("its queue has no name");
        }
        if job.is_at_rest() != ended_at.is_some() || (job.unpublished && job.state != State::Succeeded) {
            return Err("whether it is at rest is not clear");
        }
        if let State::Scheduled { due, wake: Some(wait) } = job.state {
            let wait_ms_max = wait.0.min(self.machine.config.limits.delay_ms_max);
            job.state = State::Scheduled { due, wake: Some(self.now.mono_at(due, wait_ms_max)) };
        }
        if planted(Bug::PriorityForgotten) {
            job.priority = 0;
        }
        self.attempt(id, &job, fence)?;
        if job.state == State::Ready {
            // Entered at the end, all at once.
            self.ready.entry(job.queue).or_default().push((job.priority, id));
        } else {
            self.machine.queues.enter(id, &job);
        }
        self.last = id;
        self.keys.extend(job.key.map(|key| (key, Known { job: id, digest })));
        self.ended.extend(ended_at.map(|at| (id, at, job.payload.len)));
        if job.unpublished {
            self.machine.publishing.begin(id);
        }
        self.machine.jobs.insert(id, job);
        Ok(())
    }

    fn attempt(&mut self, id: JobId, job: &Job, fence: Option<Seq>) -> Result<(), &'static str> {
        let (slot, executed) = match job.state {
            State::Reserved { slot } => (slot, false),
            State::Running { slot } => (slot, true),
            State::Scheduled { .. } | State::Ready | State::Succeeded | State::Dead(_) | State::Cancelled => {
                return if fence.is_none() { Ok(()) } else { Err("it has the fence of an attempt and no attempt") };
            }
        };
        let fence = fence.ok_or("it has an attempt without a fence")?;
        if self.machine.workers.holds(slot) {
            return Err("its slot is held by another job");
        }
        let attempt = Attempt { number: job.attempt, slot, fence, queue: job.queue };
        self.machine.workers.insert(id, attempt, Phase::Leftover { executed });
        Ok(())
    }

    /// Ends: the state is that after record `last_seq`, and job `last_job` was the last that came.
    ///
    /// # Errors
    /// What came contradicts itself.
    pub fn finish(self, last_job: JobId, last_seq: Seq) -> Result<(), &'static str> {
        let Restorer { machine, now: _, last, mut keys, ready, ended } = self;
        if last > last_job {
            return Err("a job is newer than the last one");
        }
        let count = keys.len();
        // What is sorted already is built from at once.
        keys.sort_unstable_by_key(|(key, _)| *key);
        machine.keys = keys.into_iter().collect();
        if machine.keys.len() != count {
            return Err("a key is known twice");
        }
        for (queue, jobs) in ready {
            machine.queues.get_mut(queue).restore_ready(jobs);
        }
        machine.ended = Ended::restored(&ended);
        (machine.last_job, machine.last_seq, machine.durable) = (last_job, last_seq, last_seq);
        Ok(())
    }
}
