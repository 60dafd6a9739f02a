//! The deciding alone, without disk or process: what of an add and a take grows with the number of pending jobs.

use crate::table::{Row, Target, figure, thousands};
use crate::{Bench, Res};
use sprag_core::{
    Attempt, Config, Input, JobId, KeyHash, Machine, Mono, NewJob, Now, Outcome, Output, QueueConfig, QueueId,
    RequestId, Wall, When,
};
use std::collections::VecDeque;
use std::time::Instant;

/// Jobs added and taken in one slice.
const JOBS: u64 = 20_000;
const NOW: Now = Now { mono: Mono(1_000), wall: Wall(1_000_000) };

pub(crate) fn alone(bench: &mut Bench) -> Res<()> {
    let sizes: Vec<u64> = [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|n| *n <= bench.pending_max).collect();
    let mut worlds: Vec<World> = sizes.iter().map(|jobs| World::new(*jobs)).collect();
    let mut times = vec![Vec::new(); sizes.len()];
    for _ in 0..bench.slicing.rounds {
        for (world, times) in worlds.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            for _ in 0..JOBS {
                world.add();
                world.take();
            }
            times.push(begin.elapsed().as_nanos() as f64 / JOBS as f64);
        }
    }
    for (jobs, times) in sizes.iter().zip(times) {
        let name = format!("add and take in the Machine alone, {} pending", thousands(*jobs as f64));
        let beside = format!("{} million a second", figure(1e3 / crate::slices::median(&times)));
        bench.row(Row::new(name, "ns", &times, Target::None).beside(beside));
    }
    Ok(())
}

/// A Machine whose world does at once what it is told.
struct World {
    machine: Machine,
    added: u64,
    running: VecDeque<(JobId, Attempt)>,
}

impl World {
    /// With so many pending jobs, and the first at work.
    fn new(jobs: u64) -> World {
        let queue = QueueConfig { name: "work".into(), concurrency: 2, ..QueueConfig::default() };
        let machine = Machine::new(Config { queues: vec![queue], ..Config::default() });
        let mut world = World { machine, added: 0, running: VecDeque::new() };
        world.tell(Input::Pause { request: RequestId(0), queue: QueueId(0) });
        (0..jobs).for_each(|_| world.add());
        world.tell(Input::Resume { request: RequestId(0), queue: QueueId(0) });
        world
    }

    fn add(&mut self) {
        self.added += 1;
        // Keys come in no order.
        let key = KeyHash(u128::from(self.added).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let job = NewJob { queue: QueueId(0), key: Some(key), digest: 1, priority: 0, when: When::Now };
        self.tell(Input::Submit { request: RequestId(self.added), job });
    }

    fn take(&mut self) {
        if let Some((job, attempt)) = self.running.pop_front() {
            let (attempt, outcome) = (attempt.number, Outcome::Exit(0));
            self.tell(Input::Spawned { job, attempt });
            self.tell(Input::Ended { job, attempt, outcome, result: None, gone: true });
        }
    }

    fn tell(&mut self, input: Input) {
        self.machine.handle(NOW, input);
        self.drain();
        let through = self.machine.last_seq();
        if self.machine.durable_seq() < through {
            self.machine.handle(NOW, Input::Persisted { through });
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Start { job, attempt } => self.running.push_back((job, attempt)),
                Output::Persist { .. }
                | Output::Reply { .. }
                | Output::Signal { .. }
                | Output::Prove { .. }
                | Output::Publish { .. }
                | Output::Discard { .. }
                | Output::Stopped => {}
            }
        }
    }
}
