//! The judge: what the Machine may do at each moment, what it must have done by the end of each input, and whether its
//! view of the world is the model's.
//!
//! **Invariant.** Every rule is stated from outside: over inputs, outputs and the public view, never over internals.

use super::model::{Attempt, End, Job, Model, Ripe, Told, Why};
use sprag_core::{
    DeadReason, JobId, KeyHash, Kill, Machine, NewJob, Next, Outcome, Output, QueueConfig, QueueId, Record, Refusal,
    Reply, Slot, Space, SpawnFailure, State, StateName, StopLevel, Wall, When,
};
use std::cmp::Reverse;

impl Model {
    pub(crate) fn expected_add(&self, new: &NewJob) -> Reply {
        if usize::from(new.queue.0) >= self.config.queues.len() {
            Reply::Refused(Refusal::NoSuchQueue)
        } else if self.level > StopLevel::Run {
            Reply::Refused(Refusal::Stopping)
        } else if self.space > Space::Enough {
            Reply::Refused(Refusal::NoSpace)
        } else if self.jobs.len() as u64 >= self.config.limits.jobs_max {
            Reply::Refused(Refusal::Full)
        } else {
            Reply::Added(self.next_job())
        }
    }

    fn next_job(&self) -> JobId {
        JobId(self.last_job.0 + 1)
    }

    pub(crate) fn expected_cancel(&self, id: JobId) -> Reply {
        match self.jobs.get(&id) {
            None => Reply::Refused(Refusal::NoSuchJob),
            Some(job) if job.end.is_some() => Reply::Refused(Refusal::WrongState),
            Some(_) => Reply::Done,
        }
    }

    pub(crate) fn expected_redrive(&self, id: JobId) -> Reply {
        match self.jobs.get(&id).map(|job| job.end) {
            None => Reply::Refused(Refusal::NoSuchJob),
            Some(Some(End::Dead(_) | End::Cancelled)) => Reply::Done,
            Some(Some(End::Succeeded) | None) => Reply::Refused(Refusal::WrongState),
        }
    }

    /// Judges one output and notes what it says.
    pub(crate) fn judge(&mut self, output: &Output) {
        match *output {
            Output::Persist { seq, record } => {
                assert_eq!(seq, self.last().next(), "a record out of order: {record:?}");
                self.judge_record(&record);
                self.fold(self.now.wall, record);
            }
            Output::Reply { request, reply } => {
                let asked = self.asked.remove(&request);
                let (expected, rests_on) =
                    asked.unwrap_or_else(|| panic!("{reply:?} without a request or a second time"));
                assert_eq!(reply, expected, "a wrong reply");
                assert!(rests_on <= self.durable, "{reply:?} before record {} is durable", rests_on.0);
            }
            Output::Start { job, attempt } => self.judge_start(job, attempt),
            Output::Signal { job, attempt, kill } => self.judge_signal(job, attempt, kill),
            Output::Prove { job, attempt } => {
                let open = self.open(job, attempt);
                let unproved = open.left || open.told.is_some();
                assert!(unproved && !open.gone, "asked to prove an attempt dead that is alive or proved: {open:?}");
            }
            Output::Publish { job, attempt } => {
                let (durable, job) = (self.durable, &self.jobs[&job]);
                assert!(
                    job.end == Some(End::Succeeded) && job.granted == attempt,
                    "published attempt {attempt}: {job:?}"
                );
                assert!(job.touched <= durable || !job.unpublished, "published before the success is durable");
            }
            Output::Discard { job, attempts } => {
                let (granted, seq) = self.discards.remove(&job).unwrap_or_else(|| panic!("job {} is not gone", job.0));
                assert_eq!(attempts, granted, "the attempts of job {}", job.0);
                assert!(seq <= self.durable, "the files of job {} go before its forgetting is durable", job.0);
            }
            Output::Stopped => {
                assert!(self.level > StopLevel::Run && !self.stopped, "stopped without being asked, or twice");
                assert_eq!(self.durable, self.last(), "stopped before all is durable");
                assert!(self.attempts().next().is_none(), "stopped with an attempt under way");
                self.stopped = true;
            }
        }
    }

    pub(crate) fn attempts(&self) -> impl Iterator<Item = (JobId, &Job, &Attempt)> {
        self.jobs.iter().filter_map(|(id, job)| job.attempt.as_ref().map(|attempt| (*id, job, attempt)))
    }

    fn queue(&self, queue: QueueId) -> &QueueConfig {
        &self.config.queues[usize::from(queue.0)]
    }

    fn open(&mut self, job: JobId, named: sprag_core::Attempt) -> &mut Attempt {
        let queue = self.jobs[&job].new.queue;
        let Some(open) = self.job_mut(job).attempt.as_mut() else { panic!("job {} has no attempt: {named:?}", job.0) };
        let same = (open.number, open.slot, open.fence) == (named.number, named.slot, named.fence);
        assert!(same && queue == named.queue, "{named:?} is not the attempt on record, {open:?}");
        open
    }

    fn judge_start(&mut self, id: JobId, attempt: sprag_core::Attempt) {
        assert!(!self.job_mut(id).cancelling, "job {} starts after a cancel was accepted", id.0);
        assert_eq!(self.level, StopLevel::Run, "job {} starts while stopping", id.0);
        assert!(attempt.fence <= self.durable, "job {} starts before record {} is durable", id.0, attempt.fence.0);
        let open = self.open(id, attempt);
        assert!(open.started && !open.left && !open.asked, "an attempt is executed twice or unrecorded: {open:?}");
        open.asked = true;
    }

    fn judge_signal(&mut self, id: JobId, attempt: sprag_core::Attempt, kill: Kill) {
        let (now, level) = (self.now.mono, self.level);
        let (cancelling, config) = (self.jobs[&id].cancelling, self.queue(attempt.queue).clone());
        let open = self.open(id, attempt);
        let spawned = open.spawned.filter(|_| open.told.is_none()).unwrap_or_else(|| panic!("a signal to nobody"));
        match kill {
            Kill::Term => {
                let timed_out = config.timeout_ms.is_some_and(|timeout_ms| now >= spawned.after(timeout_ms));
                let why = match () {
                    () if cancelling => Why::Cancel,
                    () if level == StopLevel::Kill => Why::Stop,
                    () => Why::Timeout,
                };
                assert!(why != Why::Timeout || timed_out, "TERM for nothing, or before its time");
                assert!(open.term.is_none(), "TERM twice");
                open.term = Some((now, why));
            }
            Kill::Kill => {
                let due = open.term.map(|(at, _)| at.after(config.grace_ms));
                assert!(due.is_some_and(|due| due <= now) && !open.killed, "KILL twice or before the grace is over");
                open.killed = true;
            }
        }
    }

    fn judge_record(&mut self, record: &Record) {
        match *record {
            Record::Added { job, new, due } => {
                assert_eq!(self.expected_add(&new), Reply::Added(job), "added against the rules");
                let expected = match new.when {
                    When::Now => None,
                    When::Delay(delay_ms) => Some(self.now.wall.after(delay_ms.min(self.config.limits.delay_ms_max))),
                    When::At(at) => Some(at),
                };
                assert_eq!(due, expected, "the moment on record is not the one asked for");
            }
            Record::Reserved { job, attempt, slot } => {
                assert!(!self.jobs[&job].strict, "job {} is reserved again after it was given back", job.0);
                self.judge_turn(job, true);
                self.judge_grant(job, attempt, slot);
            }
            Record::Started { job, attempt, slot } => {
                self.judge_turn(job, false);
                assert!(self.has_place(self.jobs[&job].new.queue), "job {} starts without a place", job.0);
                match &self.jobs[&job].attempt {
                    None => self.judge_grant(job, attempt, slot),
                    Some(open) => {
                        let same = open.number == attempt && open.slot == slot;
                        assert!(same && !open.started && !open.left, "started beside {open:?}");
                    }
                }
            }
            Record::Finished { job, attempt, outcome, next } => self.judge_finish(job, attempt, outcome, next),
            Record::Cancelled { job } => {
                assert!(self.jobs[&job].end.is_none() && !self.jobs[&job].cancelling, "cancelled twice or too late");
            }
            Record::Redriven { job } => assert_eq!(self.expected_redrive(job), Reply::Done, "redriven"),
            Record::Published { job } => assert!(self.jobs[&job].unpublished, "published twice"),
            Record::Forgotten { job } => self.judge_forgetting(job),
            Record::KeyForgotten { job } => {
                assert!(!self.jobs.contains_key(&job), "the key of a job is forgotten that is not");
                assert!(self.keys.values().any(|(known, _)| *known == job), "a key is forgotten that is not known");
                assert!(
                    self.space < Space::Full && self.level == StopLevel::Run,
                    "a key is forgotten at the wrong moment"
                );
            }
            Record::Paused { queue } => assert!(!self.paused.contains(&queue), "paused twice"),
            Record::Resumed { queue } => assert!(self.paused.contains(&queue), "resumed twice"),
        }
        let asked = matches!(
            record,
            Record::Added { .. }
                | Record::Cancelled { .. }
                | Record::Redriven { .. }
                | Record::Paused { .. }
                | Record::Resumed { .. }
        );
        if asked {
            let seq = self.last().next();
            let request = self.asking.and_then(|request| self.asked.get_mut(&request));
            let Some((_, rests_on)) = request else { panic!("{record:?} without a request") };
            *rests_on = seq;
        }
    }

    /// Ended jobs: since when, and which.
    fn at_rest(&self) -> impl Iterator<Item = (Wall, JobId)> {
        self.jobs.iter().filter_map(|(id, job)| Some((job.rests_since?, *id)))
    }

    fn is_old(&self, since: Wall) -> bool {
        since.0.saturating_add(self.config.limits.keep_age_ms) <= self.now.wall.0
    }

    fn judge_forgetting(&self, id: JobId) {
        let first = self.at_rest().min();
        assert_eq!(first.map(|(_, first)| first), Some(id), "another job is to be forgotten first");
        let too_many = self.at_rest().count() as u64 > self.config.limits.keep_jobs;
        assert!(too_many || first.is_some_and(|(since, _)| self.is_old(since)), "job {} is forgotten too early", id.0);
        assert!(
            self.space < Space::Full && self.level == StopLevel::Run,
            "job {} is forgotten at the wrong moment",
            id.0
        );
    }

    /// A job may be started or reserved only in its turn, in a queue that starts anything.
    fn judge_turn(&self, id: JobId, reserving: bool) {
        let job = &self.jobs[&id];
        assert!(self.may_start(job.new.queue), "job {} is granted an attempt while nothing may start", id.0);
        assert!(job.ripe == Ripe::Already && job.end.is_none() && !job.cancelling, "granted an attempt: {job:?}");
        let before = |other: &Job, other_id: JobId| {
            let waits = match &other.attempt {
                None => other.ripe == Ripe::Already && other.end.is_none(),
                Some(open) => !reserving && !open.started && !open.left,
            };
            let rank = |job: &Job, id: JobId| (Reverse(job.new.priority), id);
            waits && other.new.queue == job.new.queue && rank(other, other_id) < rank(job, id)
        };
        let jumped = self.jobs.iter().find(|(other_id, other)| before(other, **other_id));
        assert!(jumped.is_none(), "job {} goes before {jumped:?}", id.0);
    }

    fn judge_grant(&self, id: JobId, number: u32, slot: Slot) {
        assert!(number > self.jobs[&id].granted, "attempt number {number} of job {} was used before", id.0);
        assert!(self.jobs[&id].attempt.is_none(), "job {} is granted a second attempt", id.0);
        let taken = self.attempts().any(|(_, _, open)| open.slot == slot);
        assert!(!taken, "slot {} is granted while held", slot.0);
    }

    fn judge_finish(&self, id: JobId, number: u32, outcome: Option<Outcome>, next: Next) {
        let job = &self.jobs[&id];
        let Some(open) = job.attempt.filter(|open| open.number == number) else {
            panic!("job {} finishes attempt {number}, which is not under way", id.0)
        };
        let (failed, expected) = match open.told {
            Some(Told::Failed(SpawnFailure::NotFound)) => (Some(Outcome::NotFound), None),
            Some(Told::Failed(SpawnFailure::NotExecutable)) => (Some(Outcome::NotExecutable), None),
            Some(Told::Failed(SpawnFailure::NotStarted)) => (Some(Outcome::NotStarted), None),
            Some(Told::Failed(SpawnFailure::Resources)) => (None, Some(Next::Unused)),
            Some(Told::Ended { outcome, result }) => match (open.term, outcome) {
                (Some((_, Why::Timeout)), _) => (Some(Outcome::TimedOut), None),
                (Some((_, Why::Stop)), _) => (Some(outcome), Some(Next::Again { due: self.now.wall, crash: false })),
                (_, Outcome::Exit(0)) => (Some(outcome), Some(Next::Succeeded { result })),
                (_, _) => (Some(outcome), None),
            },
            None if !open.left => (None, Some(Next::Unused)),
            None if !open.started => (None, Some(Next::Unused)),
            None if job.crashes + 1 >= self.config.limits.crashes_max => (None, Some(Next::Dead(DeadReason::Poison))),
            None => (None, Some(Next::Again { due: self.now.wall, crash: true })),
        };
        assert_eq!(outcome, failed, "the outcome on record is not the one reported");
        let given_back = open.told.is_none() && !open.left && !open.asked;
        let unwanted = job.cancelling || self.level > StopLevel::Run || self.paused.contains(&job.new.queue);
        assert!(open.gone || (given_back && unwanted), "finished without proof of death: {open:?}");
        match (job.cancelling, expected, failed) {
            (true, _, _) => assert_eq!(next, Next::Cancelled, "a cancel that was accepted must win"),
            (false, Some(expected), _) => assert_eq!(next, expected, "after {open:?}"),
            (false, None, Some(failed)) => self.judge_failure(job, failed, next),
            (false, None, None) => panic!("no rule for {open:?}"),
        }
    }

    fn judge_failure(&self, job: &Job, failed: Outcome, next: Next) {
        let policy = &self.queue(job.new.queue).retry;
        let permanent = match failed {
            Outcome::NotFound | Outcome::NotExecutable => true,
            Outcome::Exit(code) => policy.permanent_exit_codes.contains(&code),
            Outcome::Signal(_)
            | Outcome::TimedOut
            | Outcome::NotStarted
            | Outcome::ResultLost
            | Outcome::ResultTooLarge => false,
        };
        match next {
            Next::Dead(DeadReason::Permanent) => assert!(permanent, "given up after {failed:?}"),
            Next::Dead(DeadReason::Exhausted) => assert!(!permanent && job.failures + 1 >= policy.attempts, "{job:?}"),
            Next::Retry { due } => {
                assert!(!permanent && job.failures + 1 < policy.attempts, "tried again after {failed:?}: {job:?}");
                let exact = policy.backoff_ms as f64 * (policy.factor_ppm as f64 / 1e6).powi(job.failures as i32);
                let wait_ms = exact.min(policy.max_ms as f64);
                let (got_ms, jitter) = (due.0.abs_diff(self.now.wall.0) as f64, policy.jitter_ppm as f64 / 1e6);
                let off = (got_ms - wait_ms).abs();
                assert!(due >= self.now.wall && off <= wait_ms * jitter + 1.0, "waits {got_ms} ms, not {wait_ms} ms");
            }
            Next::Succeeded { .. } | Next::Dead(_) | Next::Cancelled | Next::Again { .. } | Next::Unused => {
                panic!("{next:?} after {failed:?}")
            }
        }
    }

    fn may_start(&self, queue: QueueId) -> bool {
        let open = !self.paused.contains(&queue) && self.space < Space::Full && self.level == StopLevel::Run;
        open && self.held_until.is_none_or(|until| until <= self.now.mono)
    }

    /// Leftovers hold a place: some process of theirs may be alive.
    fn has_place(&self, queue: QueueId) -> bool {
        let busy = |mine: &dyn Fn(&Job) -> bool| {
            self.attempts().filter(|(_, job, open)| mine(job) && (open.started || open.left)).count()
        };
        busy(&|job| job.new.queue == queue) < usize::from(self.queue(queue).concurrency)
            && busy(&|_| true) < usize::from(self.config.limits.running_max)
    }

    /// What must hold when an input has been handled and all outputs taken.
    pub(crate) fn settled(&self, machine: &Machine) {
        for (id, job, open) in self.attempts() {
            let idle_reservation = !open.started && !open.left;
            let starts_nothing = self.paused.contains(&job.new.queue) || self.level > StopLevel::Run;
            assert!(!(idle_reservation && starts_nothing), "job {} keeps its reservation: {open:?}", id.0);
            assert!(!open.gone, "job {}: proof of death came, yet the attempt is not finished: {open:?}", id.0);
            let running = open.spawned.filter(|_| open.told.is_none() && !open.left);
            let Some(spawned) = running else { continue };
            let config = self.queue(job.new.queue);
            let timed_out = config.timeout_ms.is_some_and(|timeout_ms| spawned.after(timeout_ms) <= self.now.mono);
            let unwanted = job.cancelling || self.level == StopLevel::Kill || timed_out;
            assert!(open.term.is_some() || !unwanted, "job {} was not asked to end: {open:?}", id.0);
            let grace_over = open.term.is_some_and(|(at, _)| at.after(config.grace_ms) <= self.now.mono);
            assert!(open.killed || !grace_over, "job {} was not forced to end: {open:?}", id.0);
        }
        for queue in (0..self.config.queues.len()).map(|n| QueueId(n as u16)) {
            let ready =
                self.jobs.iter().filter(|(_, job)| job.new.queue == queue && self.name(job) == StateName::Ready);
            let could_start = self.may_start(queue) && self.has_place(queue);
            assert!(!could_start || ready.count() == 0, "a job is ready, a place is free, and nothing starts");
        }
        if self.space < Space::Full && self.level == StopLevel::Run {
            assert!(self.at_rest().count() as u64 <= self.config.limits.keep_jobs, "too many ended jobs are kept");
            assert!(!self.at_rest().any(|(since, _)| self.is_old(since)), "an old job is kept");
        }
        let left = self.discards.iter().find(|(_, (_, seq))| *seq <= self.durable);
        assert!(left.is_none(), "nobody asks to remove what is left of {left:?}");
        assert!(
            machine.deadline(self.now).is_none_or(|at| at > self.now.mono),
            "the deadline is over and nothing done"
        );
        self.same_view(machine);
        self.same_idle(machine);
    }

    fn name(&self, job: &Job) -> StateName {
        match (job.end, &job.attempt) {
            (Some(End::Succeeded), _) => StateName::Succeeded,
            (Some(End::Dead(_)), _) => StateName::Dead,
            (Some(End::Cancelled), _) => StateName::Cancelled,
            (None, Some(open)) if open.left || open.told.is_some() => StateName::Unknown,
            (None, Some(open)) if open.started => StateName::Running,
            (None, Some(_)) => StateName::Ready,
            (None, None) if job.ripe == Ripe::Already => StateName::Ready,
            (None, None) => StateName::Scheduled,
        }
    }

    /// The Machine's public view is the model's, job by job.
    pub(crate) fn same_view(&self, machine: &Machine) {
        assert_eq!(machine.jobs().count(), self.jobs.len(), "jobs were lost or made up");
        let mut counts = vec![[0_u64; 6]; self.config.queues.len()];
        for ((id, theirs), (my_id, mine)) in machine.jobs().zip(&self.jobs) {
            let name = self.name(mine);
            assert_eq!((id, machine.state_name(id, theirs)), (*my_id, name), "{theirs:?} is not {mine:?}");
            if let (State::Dead(reason), Some(end)) = (theirs.state, mine.end) {
                assert_eq!(End::Dead(reason), end);
            }
            let got = (theirs.key, theirs.queue, theirs.priority, theirs.attempt, theirs.failures, theirs.crashes);
            let new = &mine.new;
            assert_eq!(got, (new.key, new.queue, new.priority, mine.granted, mine.failures, mine.crashes));
            let (got, want) = ((theirs.cancelling, theirs.unpublished), (mine.cancelling, mine.unpublished));
            assert_eq!(got, want, "{theirs:?} is not {mine:?}");
            let column = match name {
                StateName::Scheduled => 0,
                StateName::Ready => 1,
                StateName::Running | StateName::Unknown => 2,
                StateName::Succeeded => 3,
                StateName::Dead => 4,
                StateName::Cancelled => 5,
            };
            counts[usize::from(mine.new.queue.0)][column] += 1;
        }
        for ((view, counts), id) in machine.queues().zip(counts).zip(0..) {
            let c = view.counts;
            assert_eq!([c.scheduled, c.ready, c.running, c.succeeded, c.dead, c.cancelled], counts, "counts");
            assert_eq!(view.paused, self.paused.contains(&QueueId(id)), "paused");
            assert_eq!(view.progress.deaths, self.deaths(QueueId(id)), "deaths one after the other");
        }
        for (key, (job, _)) in &self.keys {
            assert_eq!(machine.knows(*key), Some(*job), "a key was forgotten");
        }
        let mut theirs = Vec::new();
        while let Some((job, key, _)) = machine.forgotten_after(theirs.last().map_or(JobId(0), |(job, _)| *job)) {
            theirs.push((job, key));
        }
        let mut mine: Vec<(JobId, KeyHash)> = self.keys.iter().map(|(key, (job, _))| (*job, *key)).collect();
        mine.retain(|(job, _)| !self.jobs.contains_key(job));
        mine.sort_unstable();
        assert_eq!((theirs, machine.forgotten_len()), (mine.clone(), mine.len() as u64), "the keys of forgotten jobs");
        let theirs = machine.attempts().map(|(id, a)| (id, a.number, a.slot, a.fence));
        let mine = self.attempts().map(|(id, _, a)| (id, a.number, a.slot, a.fence));
        assert!(theirs.eq(mine), "the attempts that hold slots differ");
        assert_eq!((machine.last_seq(), machine.durable_seq()), (self.last(), self.durable));
    }

    fn same_idle(&self, machine: &Machine) {
        let waits = |job: &Job| job.end.is_none() && !self.paused.contains(&job.new.queue);
        let busy = self.jobs.values().any(|job| waits(job) || job.attempt.is_some() || job.unpublished);
        let idle = !busy && self.durable == self.last() && self.asked.is_empty();
        assert_eq!(machine.is_idle(), idle, "idle or not");
        assert!(self.durable < self.last() || self.asked.is_empty(), "requests were forgotten: {:?}", self.asked);
        let at_rest = self.attempts().next().is_none() && !self.jobs.values().any(|job| job.unpublished);
        let quiet = at_rest && self.durable == self.last() && self.level > StopLevel::Run;
        assert_eq!(self.stopped || quiet, self.stopped, "all is quiet, yet it does not stop");
    }
}
