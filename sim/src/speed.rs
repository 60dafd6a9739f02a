//! How fast worlds go, in a second of one core's time: seeds as they are, seeds of 500 events, simulated seconds.
//!
//! **Invariant.** What is done depends on the arguments alone; only how long it took does not. Time is that of the thread's own
//! processor, so that other work on the machine counts little.

use crate::chance::{Script, mix};
use crate::run::{Report, run, run_and_rest};
use crate::tape::Tape;
use crate::trace::Keep;
use sprag_core::{
    Config, Input, JobId, Machine, Mono, NewJob, Now, Outcome, Output, QueueConfig, QueueId, RequestId, RetryPolicy,
    Wall, When,
};
use std::collections::VecDeque;

/// The length of a seed that rates are told in.
pub const SEED_EVENTS: u64 = 500;

/// What a number of seeds took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    /// How many there were, as they are.
    pub seeds: u64,
    /// Inputs of the Machine, or steps of the whole world.
    pub events: u64,
    /// What the driver was told; none where there is only the Machine.
    pub heard: u64,
    /// Simulated time; of the Machine alone it would say nothing, since an idle one waits for an hour at a time.
    pub simulated_us: u64,
    /// Processor time.
    pub cpu_s: f64,
}

impl Speed {
    /// Seeds of [`SEED_EVENTS`] in a second of processor time, if so many events there were.
    pub fn seeds_per_s(&self, events: u64) -> f64 {
        events as f64 / SEED_EVENTS as f64 / self.cpu_s
    }

    /// Simulated seconds in a second of processor time.
    pub fn simulated_per_s(&self) -> f64 {
        self.simulated_us as f64 / 1e6 / self.cpu_s
    }

    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.events += u64::from(report.steps);
        self.heard += u64::from(report.heard);
        self.simulated_us += report.simulated_us;
    }
}

/// Whole worlds: driver, Machine, journal, scanner, files, processes, oracle; in tier 2 the loop on tokio and the API too.
///
/// # Errors
/// A seed fails: then it says nothing how fast it does.
pub fn worlds(first: u64, seeds: u64, script: impl Fn(u64) -> Script) -> Result<Speed, String> {
    measured(|speed| {
        for seed in first..first + seeds {
            let report = run(script(seed), Keep::Hash);
            if let Some(failure) = report.failure {
                return Err(format!("seed {seed}: {failure}"));
            }
            speed.add(&report);
        }
        Ok(())
    })
}

/// The calmest world, in which sprag then has nothing to do for so long but to look at its sources again and again.
///
/// # Errors
/// It fails.
pub fn rest(rest_us: u64) -> Result<Speed, String> {
    measured(|speed| {
        let report = run_and_rest(Tape::default(), Keep::Hash, rest_us);
        speed.add(&report);
        report.failure.map_or(Ok(()), |failure| Err(format!("the world at rest: {failure}")))
    })
}

fn measured(act: impl FnOnce(&mut Speed) -> Result<(), String>) -> Result<Speed, String> {
    let began = cpu_s();
    let mut speed = Speed::default();
    act(&mut speed)?;
    Ok(Speed { cpu_s: cpu_s() - began, ..speed })
}

/// The Machine alone: each seed a new one, and [`SEED_EVENTS`] inputs that an event heap would give it.
pub fn machines(first: u64, seeds: u64) -> Speed {
    let began = cpu_s();
    let mut speed = Speed::default();
    for seed in first..first + seeds {
        let mut alone = Alone::new(seed);
        (0..SEED_EVENTS).for_each(|_| alone.event());
        assert!(alone.ended > SEED_EVENTS / 16, "only {} attempts ended in seed {seed}", alone.ended);
        speed.seeds += 1;
        speed.events += SEED_EVENTS;
    }
    Speed { cpu_s: cpu_s() - began, ..speed }
}

/// A Machine and what was asked of its world.
struct Alone {
    machine: Machine,
    now: Now,
    chance: u64,
    requests: u64,
    asked: VecDeque<(JobId, u32)>,
    alive: VecDeque<(JobId, u32)>,
    ended: u64,
}

impl Alone {
    fn new(seed: u64) -> Alone {
        let retry = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
        let queue = QueueConfig { name: "work".into(), concurrency: 4, retry, ..QueueConfig::default() };
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_700_000_000_000) };
        let machine = Machine::new(Config { queues: vec![queue], seed, ..Config::default() });
        let (asked, alive) = (VecDeque::new(), VecDeque::new());
        Alone { machine, now, chance: mix(seed), requests: 0, asked, alive, ended: 0 }
    }

    fn event(&mut self) {
        self.chance = mix(self.chance);
        let unsynced = self.machine.durable_seq() < self.machine.last_seq();
        let input = match self.chance % 8 {
            0..2 => self.submit(),
            2..5 if unsynced => Input::Persisted { through: self.machine.last_seq() },
            _ => self.answer(),
        };
        self.machine.handle(self.now, input);
        while let Some(output) = self.machine.poll() {
            if let Output::Start { job, attempt } = output {
                self.asked.push_back((job, attempt.number));
            }
        }
    }

    fn submit(&mut self) -> Input {
        self.requests += 1;
        let job = NewJob { queue: QueueId(0), key: None, digest: 0, priority: 0, when: When::Now };
        Input::Submit { request: RequestId(self.requests), job }
    }

    /// The next thing that the world owes, or time passes until the Machine wants it.
    fn answer(&mut self) -> Input {
        if let Some((job, attempt)) = self.asked.pop_front() {
            self.alive.push_back((job, attempt));
            return Input::Spawned { job, attempt };
        }
        let Some((job, attempt)) = self.alive.pop_front() else {
            let wanted = self.machine.deadline(self.now).unwrap_or(self.now.mono.after(1));
            let ms = wanted.since_ms(self.now.mono);
            self.now = Now { mono: self.now.mono.after(ms), wall: self.now.wall.after(ms) };
            return Input::Tick;
        };
        self.ended += 1;
        let outcome = Outcome::Exit(u8::from((self.chance >> 32).is_multiple_of(4)));
        Input::Ended { job, attempt, outcome, result: None, gone: true }
    }
}

/// Of this thread.
fn cpu_s() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}
