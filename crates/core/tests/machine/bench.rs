//! The world around the Machine: a journal that syncs late, processes that live, die and linger, and crashes.
//!
//! **Invariant.** The world never lies about what it saw: `Gone` and `gone` are said only of what is really gone. Late,
//! repeated and misaddressed answers it does give. No two processes of one job, and no two users of one slot, ever live.

use super::model::Model;
use sprag_core::{
    Attempt, Config, Digest, Input, JobId, KeyHash, Kill, Limits, Machine, Mono, NewJob, Now, Outcome, Output,
    QueueConfig, QueueId, Reply, RequestId, Restorer, RetryPolicy, Seq, Space, SpawnFailure, StateName, StopLevel,
    Wall, When,
};
use std::collections::BTreeMap;

pub(crate) const A: QueueId = QueueId(0);
pub(crate) const B: QueueId = QueueId(1);
pub(crate) const OK: Outcome = Outcome::Exit(0);
pub(crate) const FAIL: Outcome = Outcome::Exit(1);

/// More rounds than any world here needs to come to rest.
const ROUNDS_MAX: u32 = 3_000;

#[derive(Clone, Debug)]
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) model: Model,
    pub(crate) now: Now,
    /// What was asked to start and is not proved dead.
    pub(crate) processes: Vec<Process>,
    /// Asked to be proved dead, not yet answered.
    pub(crate) proves: Vec<(JobId, u32)>,
    /// Asked to be published, not yet answered.
    pub(crate) publishes: Vec<JobId>,
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    /// All outputs since the last look.
    pub(crate) seen: Vec<Output>,
    /// Answers given so far, to be given again.
    pub(crate) said: Vec<Input>,
    /// The last one given.
    pub(crate) next_request: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    pub(crate) life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Asked to start, not yet executed.
    Asked,
    /// Executed.
    Alive,
    /// The command exited, something of it is alive; or all of it is left over from an earlier life.
    Left,
}

/// Two queues: `a` runs one at a time, `b` two; three attempts, waits without jitter.
pub(crate) fn config() -> Config {
    let retry = RetryPolicy { attempts: 3, backoff_ms: 1_000, jitter_ppm: 0, ..RetryPolicy::default() };
    let a = QueueConfig { name: "a".into(), reserve_max: 4, retry, ..QueueConfig::default() };
    let b = QueueConfig { name: "b".into(), concurrency: 2, ..a.clone() };
    Config { queues: vec![a, b], sources: 1, seed: 7, limits: Limits { crashes_max: 3, ..Limits::default() } }
}

/// [`config`] with queue `a` changed.
pub(crate) fn config_with(change: impl FnOnce(&mut QueueConfig)) -> Config {
    let mut config = config();
    change(&mut config.queues[0]);
    config
}

pub(crate) fn job(queue: QueueId) -> NewJob {
    NewJob { queue, key: None, digest: 0, priority: 0, when: When::Now }
}

pub(crate) fn keyed(key: u128, digest: u64) -> NewJob {
    NewJob { key: Some(KeyHash(key)), digest, ..job(A) }
}

impl Bench {
    pub(crate) fn new(config: Config) -> Bench {
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_700_000_000_000) };
        Bench {
            machine: Machine::new(config.clone()),
            model: Model { now, ..Model::new(config) },
            now,
            processes: Vec::new(),
            proves: Vec::new(),
            publishes: Vec::new(),
            replies: BTreeMap::new(),
            seen: Vec::new(),
            said: Vec::new(),
            next_request: 0,
        }
    }

    /// Gives one input, takes and judges all outputs.
    pub(crate) fn send(&mut self, input: Input) {
        self.model.hear(self.now, &input);
        self.machine.handle(self.now, input);
        self.take_outputs();
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.machine.poll() {
            self.model.judge(&output);
            self.note(&output);
            self.seen.push(output);
        }
        self.model.settled(&self.machine);
    }

    fn note(&mut self, output: &Output) {
        match *output {
            Output::Reply { request, reply } => {
                self.replies.insert(request, reply);
            }
            Output::Start { job, attempt } => {
                let other = self.processes.iter().find(|p| p.job == job || p.attempt.slot == attempt.slot);
                assert!(other.is_none(), "job {} starts {attempt:?} beside {other:?}", job.0);
                self.processes.push(Process { job, attempt, life: Life::Asked });
                let config = &self.model.config;
                let mine = self.processes.iter().filter(|p| p.attempt.queue == attempt.queue).count();
                assert!(
                    mine <= usize::from(config.queues[usize::from(attempt.queue.0)].concurrency),
                    "too many at once"
                );
                assert!(self.processes.len() <= usize::from(config.limits.running_max), "too many at once in total");
            }
            Output::Prove { job, attempt } => {
                self.proves.retain(|asked| *asked != (job, attempt.number));
                self.proves.push((job, attempt.number));
            }
            Output::Publish { job, .. } => {
                self.publishes.retain(|asked| *asked != job);
                self.publishes.push(job);
            }
            Output::Persist { .. } | Output::Signal { .. } | Output::Discard { .. } | Output::Stopped => {}
        }
    }

    /// Gives an answer that is remembered, so that it may come a second time.
    pub(crate) fn say(&mut self, input: Input) {
        self.said.push(input.clone());
        self.send(input);
    }

    pub(crate) fn request(&mut self, input: impl FnOnce(RequestId) -> Input) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.send(input(request));
        request
    }

    pub(crate) fn submit(&mut self, job: NewJob) -> RequestId {
        self.request(|request| Input::Submit { request, job })
    }

    /// The answer to a request, all being synced.
    pub(crate) fn answer(&mut self, input: impl FnOnce(RequestId) -> Input) -> Reply {
        let request = self.request(input);
        self.sync();
        self.replies[&request]
    }

    pub(crate) fn add(&mut self, new: NewJob) -> JobId {
        match self.answer(|request| Input::Submit { request, job: new }) {
            Reply::Added(job) => job,
            other => panic!("not added: {other:?}"),
        }
    }

    pub(crate) fn cancel(&mut self, job: JobId) -> Reply {
        self.answer(|request| Input::Cancel { request, job })
    }

    pub(crate) fn pause(&mut self, queue: QueueId) -> Reply {
        self.answer(|request| Input::Pause { request, queue })
    }

    pub(crate) fn resume(&mut self, queue: QueueId) -> Reply {
        self.answer(|request| Input::Resume { request, queue })
    }

    pub(crate) fn persist(&mut self, through: Seq) {
        self.send(Input::Persisted { through });
    }

    /// Makes everything durable, what that leads to included.
    pub(crate) fn sync(&mut self) {
        while self.machine.durable_seq() < self.machine.last_seq() {
            self.persist(self.machine.last_seq());
        }
    }

    /// Syncs and executes everything that is asked to start.
    pub(crate) fn go(&mut self) {
        self.sync();
        while let Some(process) = self.processes.iter().find(|p| p.life == Life::Asked).copied() {
            self.spawned(process.job);
            self.sync();
        }
    }

    pub(crate) fn process(&self, job: JobId) -> Option<Process> {
        self.processes.iter().find(|p| p.job == job).copied()
    }

    fn set_life(&mut self, job: JobId, life: Option<Life>) {
        match life {
            None => self.processes.retain(|p| p.job != job),
            Some(life) => self.processes.iter_mut().filter(|p| p.job == job).for_each(|p| p.life = life),
        }
    }

    pub(crate) fn spawned(&mut self, job: JobId) {
        let process = self.process(job).unwrap();
        self.set_life(job, Some(Life::Alive));
        self.say(Input::Spawned { job, attempt: process.attempt.number });
    }

    pub(crate) fn spawn_failed(&mut self, job: JobId, failure: SpawnFailure) {
        let process = self.process(job).unwrap();
        assert_eq!(process.life, Life::Asked);
        self.set_life(job, None);
        self.say(Input::SpawnFailed { job, attempt: process.attempt.number, failure });
    }

    pub(crate) fn end_with(&mut self, job: JobId, outcome: Outcome, result: bool, gone: bool) {
        let process = self.process(job).unwrap();
        assert_ne!(process.life, Life::Left);
        self.set_life(job, Some(Life::Left).filter(|_| !gone));
        self.say(Input::Ended {
            job,
            attempt: process.attempt.number,
            outcome,
            result: result.then_some(Digest(7)),
            gone,
        });
    }

    pub(crate) fn end(&mut self, job: JobId, outcome: Outcome) {
        self.end_with(job, outcome, false, true);
    }

    pub(crate) fn gone(&mut self, job: JobId, attempt: u32) {
        let told = self.model.jobs.get(&job).and_then(|job| job.attempt).is_some_and(|a| a.left || a.told.is_some());
        assert!(told, "the bench would lie about job {}", job.0);
        self.proves.retain(|asked| *asked != (job, attempt));
        self.set_life(job, None);
        self.say(Input::Gone { job, attempt });
    }

    /// Answers every question for a proof of death.
    pub(crate) fn prove(&mut self) {
        while let Some((job, attempt)) = self.proves.pop() {
            let open = self.model.jobs.get(&job).and_then(|job| job.attempt).is_some_and(|open| open.number == attempt);
            if open {
                self.gone(job, attempt);
            }
        }
    }

    /// Lets time pass, with a tick at each moment the Machine asked for.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.mono.after(ms);
        while let Some(at) = self.machine.deadline(self.now).filter(|at| *at <= end) {
            self.leap(at.since_ms(self.now.mono));
        }
        self.leap(end.since_ms(self.now.mono));
    }

    /// The machine sleeps.
    pub(crate) fn sleep(&mut self, ms: u64) {
        self.now.mono = self.now.mono.after(ms);
        self.now.wall = self.now.wall.after(ms);
        self.send(Input::Slept { ms });
    }

    /// Lets time pass at one go.
    pub(crate) fn leap(&mut self, ms: u64) {
        self.now.mono = self.now.mono.after(ms);
        self.now.wall = self.now.wall.after(ms);
        self.send(Input::Tick);
    }

    /// Only the calendar moves.
    pub(crate) fn calendar(&mut self, by_ms: i64) {
        self.now.wall = Wall(self.now.wall.0.saturating_add_signed(by_ms));
        self.send(Input::Tick);
    }

    /// sprag dies and comes back. The journal keeps `keep_extra` of the records that were not durable; of what was asked
    /// to start, `executed` says whether it runs.
    pub(crate) fn crash(&mut self, keep_extra: usize, executed: bool) {
        self.crash_unchecked(keep_extra, executed);
        self.restored_is_folded_anywhere();
    }

    /// As [`Bench::crash`], without the slow comparison of what is restored with what is folded.
    pub(crate) fn crash_unchecked(&mut self, keep_extra: usize, executed: bool) {
        let keep = keep_extra.saturating_add(self.model.durable.0 as usize).min(self.model.journal.len());
        self.model = self.model.reborn(self.now, keep);
        self.machine = self.folded(keep);
        self.processes.retain(|p| p.life != Life::Asked || executed);
        self.processes.iter_mut().for_each(|p| p.life = Life::Left);
        (self.proves, self.publishes) = (Vec::new(), Vec::new());
        self.machine.resume(self.now);
        self.take_outputs();
        let unproved = self.processes.iter().find(|p| !self.proves.contains(&(p.job, p.attempt.number)));
        assert!(unproved.is_none(), "nobody asks for the proof that {unproved:?} is dead");
    }

    /// The fold of the first `keep` records.
    fn folded(&self, keep: usize) -> Machine {
        let mut machine = Machine::new(self.model.config.clone());
        self.replay(&mut machine, 0, keep);
        machine
    }

    fn replay(&self, machine: &mut Machine, from: usize, to: usize) {
        let records = self.model.journal.iter().zip(&self.model.times).zip(1..);
        for ((record, at), seq) in records.take(to).skip(from) {
            machine.replay(self.now, *at, Seq(seq), record).unwrap();
        }
    }

    /// Wherever between the records of earlier lives a snapshot was taken.
    pub(crate) fn restored_is_folded_anywhere(&self) {
        let keep = self.model.born;
        for cut in [0, keep / 3, keep - keep / 3, keep] {
            self.restored_is_folded(cut, keep);
        }
    }

    /// A Machine restored from the images of the first `cut` records is, with the rest replayed, the fold of all: to the
    /// last field.
    pub(crate) fn restored_is_folded(&self, cut: usize, keep: usize) {
        let (whole, part) = (self.folded(keep), self.folded(cut));
        let mut again = Machine::new(self.model.config.clone());
        let mut restorer = Restorer::new(&mut again, self.now);
        for queue in part.queues() {
            let id = restorer.queue_named(queue.name);
            if queue.paused {
                restorer.paused(id);
            }
        }
        part.forgotten_keys().for_each(|key| restorer.key(key));
        part.images(self.now).try_for_each(|image| restorer.job(image)).unwrap();
        restorer.finish(part.last_job(), part.last_seq()).unwrap();
        assert!(again.images(self.now).eq(part.images(self.now)), "the images of a restored machine differ");
        self.replay(&mut again, cut, keep);
        // Only what the first part wants removed again is not in an image.
        let mut whole = whole;
        let outputs = |machine: &mut Machine| {
            machine.resume(self.now);
            let outputs = std::iter::from_fn(|| machine.poll());
            outputs.filter(|output| !matches!(output, Output::Discard { .. })).collect::<Vec<_>>()
        };
        assert_eq!(outputs(&mut again), outputs(&mut whole), "what a restored machine wants differs");
        assert_eq!(format!("{again:?}"), format!("{whole:?}"), "a restored machine differs");
    }

    /// The fold of all records, with what no record holds put back, is the Machine: to the last field.
    pub(crate) fn assumed_is_itself(&self) {
        let mut again = self.folded(self.model.journal.len());
        again.assume(self.machine.volatile()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{:?}", self.machine), "a machine put together again differs");
    }

    /// A friendly world, until nothing is left to do: all syncs, all commands succeed, all dead are proved.
    pub(crate) fn run_to_idle(&mut self) {
        if self.model.level > StopLevel::Run {
            self.crash(usize::MAX, true);
        }
        // Whoever was asked for a proof could not give it, and will be asked again.
        self.proves.clear();
        self.send(Input::Space(Space::Enough));
        for queue in (0..self.model.config.queues.len() as u16).map(QueueId) {
            self.resume(queue);
        }
        for _ in 0..ROUNDS_MAX {
            self.go();
            while let Some(p) = self.processes.iter().find(|p| p.life == Life::Alive).copied() {
                self.end(p.job, OK);
                self.go();
            }
            self.prove();
            while let Some(job) = self.publishes.pop() {
                self.say(Input::Published { job });
            }
            self.go();
            let asked = !self.proves.is_empty() || !self.publishes.is_empty();
            if !asked && self.processes.iter().all(|p| p.life == Life::Left) {
                let Some(at) = self.machine.deadline(self.now).filter(|_| !self.machine.is_idle()) else { break };
                self.leap(at.since_ms(self.now.mono));
            }
        }
        assert!(self.machine.is_idle(), "not at rest: {:?}", self.model.jobs);
        for (id, job) in &self.model.jobs {
            assert!(job.end.is_some(), "job {} never came to an end: {job:?}", id.0);
        }
    }

    pub(crate) fn state(&self, job: JobId) -> StateName {
        self.machine.state_name(job, self.machine.job(job).unwrap())
    }

    /// Jobs asked to start since the last look, in order.
    pub(crate) fn starts(&mut self) -> Vec<JobId> {
        let start = |output: Output| match output {
            Output::Start { job, .. } => Some(job),
            _ => None,
        };
        std::mem::take(&mut self.seen).into_iter().filter_map(start).collect()
    }

    /// Signals given since the last look, in order.
    pub(crate) fn signals(&mut self) -> Vec<(JobId, Kill)> {
        let signal = |output: Output| match output {
            Output::Signal { job, kill, .. } => Some((job, kill)),
            _ => None,
        };
        std::mem::take(&mut self.seen).into_iter().filter_map(signal).collect()
    }
}
