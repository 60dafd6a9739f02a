//! Small worlds of the Machine: a few jobs, one or two places, and whatever may go wrong at any step.
//!
//! **Invariant.** Two states count as one only if nothing that happens later can tell them apart: the Machine's whole value
//! (health aside, which decides nothing), the world, the model, and the records that a crash may still lose, with all times
//! seen from now and all record numbers from the last one. What is not in [`Budget`] can happen as often as it likes.

#[allow(dead_code, clippy::unwrap_used, reason = "the bench of the core's own tests, which use more of it")]
#[path = "../../../crates/core/tests/machine/bench.rs"]
mod bench;
#[path = "../../../crates/core/tests/machine/model.rs"]
mod model;
#[path = "../../../crates/core/tests/machine/rules.rs"]
mod rules;

use super::essence::Essence;
use super::graph::{World, search};
use super::{Bound, Progress, Search};
use bench::{A, Bench, FAIL, Life, OK, config, job};
use sprag_core::{Config, Input, JobId, Kill, NewJob, Output, RequestId, Seq, SpawnFailure, StopLevel};

/// A tick may change nothing if it was to come after so long: what was killed is looked after once in a while.
const SLOW_TICK_MS: u64 = 1_000;

/// What the search may still do to the world; each is finite, so the world is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Jobs to add.
    pub jobs: u8,
    /// Deaths of sprag.
    pub crashes: u8,
    /// Jobs to cancel.
    pub cancels: u8,
    /// Dead or cancelled jobs to be tried again.
    pub redrives: u8,
    /// Times that the queue is paused. Somebody always resumes it.
    pub pauses: u8,
    /// Starts for which the system has not the means.
    pub shortages: u8,
    /// Commands that fail or leave something behind, proofs and publications that do not succeed.
    pub faults: u8,
    /// Requests to end the program, gently or not.
    pub stops: u8,
}

/// A world: what there is, and what may go wrong with it.
#[derive(Clone, Debug)]
pub struct Small {
    /// What it is called.
    pub name: &'static str,
    /// Attempts alive at once.
    pub places: u16,
    /// Ended jobs that are kept.
    pub keep_jobs: u64,
    /// What may happen.
    pub budget: Budget,
    /// In a search with this bound, and wider ones.
    pub from: Bound,
}

const NONE: Budget =
    Budget { jobs: 0, crashes: 0, cancels: 0, redrives: 0, pauses: 0, shortages: 0, faults: 0, stops: 0 };
const KEEP_ALL: u64 = 1_000;

/// The worlds.
pub const WORLDS: &[Small] = &[
    Small {
        name: "2 jobs, 1 place: a crash, a fault",
        places: 1,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 2, crashes: 1, faults: 1, ..NONE },
        from: Bound::Small,
    },
    Small {
        name: "2 jobs, 1 place: a pause, a cancel",
        places: 1,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 2, pauses: 1, cancels: 1, ..NONE },
        from: Bound::Small,
    },
    Small {
        name: "2 jobs, 1 place: 2 crashes, a fault",
        places: 1,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 2, crashes: 2, faults: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "2 jobs, 2 places: a pause, a cancel",
        places: 2,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 2, pauses: 1, cancels: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "2 jobs, 1 place: a crash, a pause, a cancel",
        places: 1,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 2, crashes: 1, pauses: 1, cancels: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "2 jobs, 1 place: 2 cancels, a redrive, a stop",
        places: 1,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 2, cancels: 2, redrives: 1, stops: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "2 jobs, 2 places: a crash, a shortage, a fault",
        places: 2,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 2, crashes: 1, shortages: 1, faults: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "3 jobs, 2 places: a crash",
        places: 2,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 3, crashes: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "3 jobs, 2 places: a fault",
        places: 2,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 3, faults: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "3 jobs, 2 places: a pause",
        places: 2,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 3, pauses: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "3 jobs, 1 place: a pause",
        places: 1,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 3, pauses: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "3 jobs, 2 places: a cancel",
        places: 2,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 3, cancels: 1, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "3 jobs, 1 place: 2 crashes",
        places: 1,
        keep_jobs: KEEP_ALL,
        budget: Budget { jobs: 3, crashes: 2, ..NONE },
        from: Bound::Full,
    },
    Small {
        name: "3 jobs, 1 place: a crash, one ended job is kept",
        places: 1,
        keep_jobs: 1,
        budget: Budget { jobs: 3, crashes: 1, ..NONE },
        from: Bound::Full,
    },
];

/// A search that needs more states is cut.
pub const STATES_MAX: usize = 1_000_000;

/// One of the things that may happen.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "told in words by `World::tell`")]
pub enum Step {
    Submit,
    Persist(Seq),
    Spawned(JobId),
    Shortage(JobId),
    End { job: JobId, well: bool, gone: bool },
    Gone { job: JobId, attempt: u32, asked: bool },
    Unproved(JobId),
    Published(JobId),
    Unpublished(JobId),
    Cancel(JobId),
    Redrive(JobId),
    Pause,
    Resume,
    Stop(StopLevel),
    Crash { keep_extra: usize, executed: bool },
    Tick(u64),
}

#[derive(Clone)]
struct State {
    bench: Bench,
    budget: Budget,
    /// The state was reached by a crash.
    crashed: bool,
}

/// Visits all that can happen in a small world.
pub fn explore(name: &str, small: &Small, progress: Progress<'_>) -> Search {
    let state = State { bench: Bench::new(small.config()), budget: small.budget, crashed: false };
    search(name, state, STATES_MAX, progress)
}

impl Small {
    fn config(&self) -> Config {
        let mut config = config();
        config.queues.truncate(1);
        let queue = &mut config.queues[0];
        (queue.concurrency, queue.reserve_max, queue.retry.attempts, queue.grace_ms) = (self.places, 1, 2, 1_000);
        (config.limits.crashes_max, config.limits.keep_jobs) = (2, self.keep_jobs);
        config
    }
}

impl State {
    fn attempts(&self, steps: &mut Vec<Step>) {
        let (bench, budget) = (&self.bench, &self.budget);
        for p in &bench.processes {
            match p.life {
                Life::Asked => {
                    steps.push(Step::Spawned(p.job));
                    steps.extend((budget.shortages > 0).then_some(Step::Shortage(p.job)));
                }
                Life::Alive => {
                    steps.push(Step::End { job: p.job, well: true, gone: true });
                    if budget.faults > 0 {
                        steps.push(Step::End { job: p.job, well: false, gone: true });
                        steps.push(Step::End { job: p.job, well: true, gone: false });
                    }
                }
                Life::Left => {}
            }
        }
        for (job, _, open) in bench.model.attempts().filter(|(_, _, open)| open.left || open.told.is_some()) {
            let asked = bench.proves.contains(&(job, open.number));
            steps.push(Step::Gone { job, attempt: open.number, asked });
            steps.extend((asked && budget.faults > 0).then_some(Step::Unproved(job)));
        }
        for job in &bench.publishes {
            steps.push(Step::Published(*job));
            steps.extend((budget.faults > 0).then_some(Step::Unpublished(*job)));
        }
    }

    /// An answer about an earlier attempt of a job, while the next one is alive: to the Machine as if nothing was said.
    fn late_answers_change_nothing(&self) {
        let after = |input: Input| {
            let mut machine = self.bench.machine.clone();
            machine.handle(self.bench.now, input);
            let outputs = std::iter::from_fn(|| machine.poll()).count();
            let mut essence = Essence::new(self.bench.now, self.bench.model.last(), RequestId(0));
            essence.add(&machine);
            (outputs, essence.number())
        };
        for process in self.bench.processes.iter().filter(|process| process.attempt.number > 1) {
            let (job, attempt) = (process.job, process.attempt.number - 1);
            let nothing = after(Input::Tick);
            let late = [
                Input::Spawned { job, attempt },
                Input::Ended { job, attempt, outcome: OK, result: None, gone: true },
                Input::Gone { job, attempt },
            ];
            for input in late {
                let what = format!("{input:?}, though attempt {} is alive, changes something", attempt + 1);
                assert!(after(input) == nothing, "{what}");
            }
        }
    }

    fn requests(&self, steps: &mut Vec<Step>) {
        let (model, budget) = (&self.bench.model, &self.budget);
        let jobs = || model.jobs.keys().copied();
        if budget.jobs > 0 {
            steps.push(Step::Submit);
        }
        if budget.cancels > 0 {
            steps.extend(jobs().map(Step::Cancel));
        }
        if budget.redrives > 0 {
            steps.extend(model.jobs.iter().filter(|(_, job)| job.end.is_some()).map(|(id, _)| Step::Redrive(*id)));
        }
        if !model.paused.is_empty() {
            steps.push(Step::Resume);
        } else if budget.pauses > 0 {
            steps.push(Step::Pause);
        }
        if budget.stops > 0 {
            steps.extend([StopLevel::Drain, StopLevel::Kill].map(Step::Stop));
        }
    }
}

impl World for State {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let (bench, budget) = (&self.bench, &self.budget);
        let mut steps = Vec::new();
        // Dead, or about to be: the next life is another world.
        if bench.model.stopped {
            return steps;
        }
        self.requests(&mut steps);
        let (durable, last) = (bench.model.durable.0, bench.model.last().0);
        steps.extend((durable + 1..=last).map(|through| Step::Persist(Seq(through))));
        self.attempts(&mut steps);
        if budget.crashes > 0 {
            let asked = bench.processes.iter().any(|p| p.life == Life::Asked);
            for keep_extra in 0..=(last - durable) as usize {
                steps.push(Step::Crash { keep_extra, executed: false });
                steps.extend(asked.then_some(Step::Crash { keep_extra, executed: true }));
            }
        }
        steps.extend(bench.machine.deadline(bench.now).map(|at| Step::Tick(at.since_ms(bench.now.mono))));
        steps
    }

    fn duty(step: Step) -> Option<u8> {
        let of = |job: JobId, kind: u8| Some(job.0 as u8 * 8 + kind);
        match step {
            Step::Persist(_) => Some(0),
            Step::Tick(_) => Some(1),
            Step::Resume => Some(2),
            Step::Spawned(job) => of(job, 0),
            Step::End { job, well: true, gone: true } => of(job, 1),
            Step::Gone { job, asked: true, .. } => of(job, 2),
            Step::Published(job) => of(job, 3),
            Step::Gone { asked: false, .. } | Step::End { .. } => None,
            Step::Submit | Step::Cancel(_) | Step::Redrive(_) | Step::Pause | Step::Stop(_) => None,
            Step::Shortage(_) | Step::Unproved(_) | Step::Unpublished(_) | Step::Crash { .. } => None,
        }
    }

    fn apply(&mut self, step: Step) {
        let State { bench, budget, crashed } = self;
        bench.seen.clear();
        bench.said.clear();
        bench.replies.clear();
        *crashed = matches!(step, Step::Crash { .. });
        match step {
            Step::Submit => {
                budget.jobs -= 1;
                // Each goes before those that came earlier.
                let priority = i16::from(8 - budget.jobs);
                let _ = bench.submit(NewJob { priority, ..job(A) });
            }
            Step::Persist(through) => bench.persist(through),
            Step::Spawned(job) => bench.spawned(job),
            Step::Shortage(job) => {
                budget.shortages -= 1;
                bench.spawn_failed(job, SpawnFailure::Resources);
            }
            Step::End { job, well, gone } => {
                budget.faults -= u8::from(!well || !gone);
                bench.end_with(job, if well { OK } else { FAIL }, well, gone);
            }
            Step::Gone { job, attempt, .. } => bench.gone(job, attempt),
            Step::Unproved(job) => {
                budget.faults -= 1;
                bench.proves.retain(|(asked, _)| *asked != job);
            }
            Step::Published(job) => {
                bench.publishes.retain(|asked| *asked != job);
                bench.send(Input::Published { job });
            }
            Step::Unpublished(job) => {
                budget.faults -= 1;
                bench.publishes.retain(|asked| *asked != job);
                bench.send(Input::PublishFailed { job });
            }
            Step::Cancel(job) => {
                budget.cancels -= 1;
                let _ = bench.request(|request| Input::Cancel { request, job });
            }
            Step::Redrive(job) => {
                budget.redrives -= 1;
                let _ = bench.request(|request| Input::Redrive { request, job });
            }
            Step::Pause => {
                budget.pauses -= 1;
                let _ = bench.request(|request| Input::Pause { request, queue: A });
            }
            Step::Resume => _ = bench.request(|request| Input::Resume { request, queue: A }),
            Step::Stop(level) => {
                budget.stops -= 1;
                bench.send(Input::Stop(level));
            }
            Step::Crash { keep_extra, executed } => {
                budget.crashes -= 1;
                bench.crash_unchecked(keep_extra, executed);
            }
            Step::Tick(ms) => {
                let before = (ms < SLOW_TICK_MS).then(|| self.essence());
                self.bench.leap(ms);
                let nothing = self.bench.seen.is_empty() && before == Some(self.essence());
                assert!(!nothing, "a tick was asked for after {ms} ms, and leads to nothing");
            }
        }
    }

    fn essence(&self) -> u128 {
        let Bench { machine, model, now, processes, proves, publishes, .. } = &self.bench;
        let mut essence = Essence::new(*now, model.last(), RequestId(self.bench.next_request));
        essence.add(machine);
        // What a later judgement of the model may rest on.
        let tail = &model.journal[model.durable.0 as usize..];
        essence.add(&(&model.jobs, &model.keys, &model.discards, &model.paused, model.level, model.space));
        essence.add(&(model.held_until, &model.asked, tail, model.durable, model.stopped));
        essence.add(&(processes, proves, publishes, &self.budget));
        essence.number()
    }

    fn is_settled(&self) -> bool {
        let model = &self.bench.model;
        let ended = model.jobs.values().all(|job| job.end.is_some());
        model.stopped || (ended && model.paused.is_empty() && self.bench.machine.is_idle())
    }

    fn look(&self) {
        if self.crashed {
            self.bench.restored_is_folded_anywhere();
        }
        self.late_answers_change_nothing();
    }

    fn tell(&self, step: Step) -> String {
        let what = match step {
            Step::Submit => "somebody adds a job".to_owned(),
            Step::Persist(through) => format!("the journal is durable through record {}", through.0),
            Step::Spawned(job) => format!("the command of job {} runs", job.0),
            Step::Shortage(job) => format!("the system has not the means to start job {}", job.0),
            Step::End { job, well, gone } => {
                let (how, left) =
                    (if well { "ends well" } else { "fails" }, if gone { "" } else { ", and leaves a process" });
                format!("the command of job {} {how}{left}", job.0)
            }
            Step::Gone { job, attempt, .. } => format!("nothing of job {} attempt {attempt} is alive", job.0),
            Step::Unproved(job) => format!("whether anything of job {} is alive cannot be told", job.0),
            Step::Published(job) => format!("the result of job {} stands at its destination", job.0),
            Step::Unpublished(job) => format!("the result of job {} cannot be put at its destination", job.0),
            Step::Cancel(job) => format!("somebody cancels job {}", job.0),
            Step::Redrive(job) => format!("somebody wants job {} tried again", job.0),
            Step::Pause => "somebody pauses the queue".to_owned(),
            Step::Resume => "somebody resumes the queue".to_owned(),
            Step::Stop(level) => format!("sprag is told to stop ({level:?})"),
            Step::Crash { keep_extra, executed } => {
                let kept = if keep_extra > 0 {
                    format!(", {keep_extra} records more than were synced are left")
                } else {
                    String::new()
                };
                let runs = if executed { ", what was to start runs" } else { "" };
                format!("sprag dies and comes back{kept}{runs}")
            }
            Step::Tick(ms) => format!("{ms} ms pass"),
        };
        let decided: Vec<String> = self.bench.seen.iter().map(tell_output).collect();
        if decided.is_empty() {
            what
        } else {
            format!("{what}\n             -> {}", decided.join("\n             -> "))
        }
    }
}

fn tell_output(output: &Output) -> String {
    match output {
        Output::Persist { seq, record } => format!("record {}: {record:?}", seq.0),
        Output::Reply { request, reply } => format!("request {} is answered: {reply:?}", request.0),
        Output::Start { job, attempt } => {
            format!("job {} attempt {} is to start in slot {}", job.0, attempt.number, attempt.slot.0)
        }
        Output::Signal { job, attempt, kill: Kill::Term } => {
            format!("job {} attempt {} is asked to end", job.0, attempt.number)
        }
        Output::Signal { job, attempt, kill: Kill::Kill } => {
            format!("job {} attempt {} is forced to end", job.0, attempt.number)
        }
        Output::Prove { job, attempt } => format!("is anything of job {} attempt {} alive?", job.0, attempt.number),
        Output::Publish { job, attempt } => format!("the result of job {} attempt {attempt} is to be published", job.0),
        Output::Discard { job, attempts } => format!("what {attempts} attempts of job {} left is to be removed", job.0),
        Output::Stopped => "nothing is alive: sprag ends".to_owned(),
    }
}
