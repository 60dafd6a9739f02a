//! A driver that lies: any input at all, in any order.
//!
//! **Invariant.** Nothing panics, no start leaves before its record is durable, a request is answered once. What a liar
//! says about processes cannot be judged further.

use crate::bench::config;
use proptest::prelude::*;
use sprag_core::{
    Digest, Input, JobId, KeyHash, Machine, Mono, NewJob, Now, Outcome, Output, QueueId, Record, RequestId, Seq,
    SourceId, SourceReport, Space, SpawnFailure, StopLevel, Wall, When,
};
use std::collections::BTreeSet;

fn input() -> impl Strategy<Value = Input> {
    let place = (0_u64..5, 0_u32..4);
    let ended = (place.clone(), prop_oneof![Just(0_u8), any::<u8>()], any::<bool>(), any::<bool>());
    let moment = prop_oneof![
        4 => Just(When::Now),
        1 => any::<u64>().prop_map(When::Delay),
        1 => any::<u64>().prop_map(|at| When::At(Wall(at))),
    ];
    let new = (0_u16..4, prop::option::of(0_u128..3), any::<i16>(), moment).prop_map(|(queue, key, priority, when)| {
        NewJob { queue: QueueId(queue), key: key.map(KeyHash), digest: 0, priority, when }
    });
    let request = RequestId(0);
    let failure = prop_oneof![Just(SpawnFailure::NotFound), Just(SpawnFailure::Resources)];
    let level = prop_oneof![Just(StopLevel::Run), Just(StopLevel::Drain), Just(StopLevel::Kill)];
    prop_oneof![
        6 => new.prop_map(move |job| Input::Submit { request, job }),
        2 => (0_u64..5).prop_map(move |job| Input::Cancel { request, job: JobId(job) }),
        1 => (0_u64..5).prop_map(move |job| Input::Redrive { request, job: JobId(job) }),
        1 => (0_u16..4).prop_map(move |queue| Input::Pause { request, queue: QueueId(queue) }),
        1 => (0_u16..4).prop_map(move |queue| Input::Resume { request, queue: QueueId(queue) }),
        8 => any::<u64>().prop_map(|through| Input::Persisted { through: Seq(through) }),
        8 => place.clone().prop_map(|(job, attempt)| Input::Spawned { job: JobId(job), attempt }),
        2 => (place.clone(), failure)
            .prop_map(|((job, attempt), failure)| Input::SpawnFailed { job: JobId(job), attempt, failure }),
        6 => ended.prop_map(|((job, attempt), code, result, gone)| {
            Input::Ended { job: JobId(job), attempt, outcome: Outcome::Exit(code), result: result.then_some(Digest(3)), gone }
        }),
        3 => place.prop_map(|(job, attempt)| Input::Gone { job: JobId(job), attempt }),
        2 => (0_u64..5).prop_map(|job| Input::Published { job: JobId(job) }),
        2 => (0_u64..5).prop_map(|job| Input::PublishFailed { job: JobId(job) }),
        1 => prop_oneof![Just(Space::Enough), Just(Space::Low), Just(Space::Full)].prop_map(Input::Space),
        1 => any::<u16>().prop_map(|n| Input::Source { source: SourceId(n), report: SourceReport::Looking }),
        1 => (0_u64..5).prop_map(|job| Input::ForgetKey { job: JobId(job) }),
        1 => any::<bool>().prop_map(|well| Input::StatusCopied { well }),
        1 => (any::<u16>(), any::<bool>()).prop_map(|(service, failing)| Input::Service { service, failing }),
        2 => Just(Input::Tick),
        1 => any::<u64>().prop_map(|ms| Input::Slept { ms }),
        1 => level.prop_map(Input::Stop),
    ]
}

/// Steps of both clocks: mostly small, sometimes to the end of time.
fn jump() -> impl Strategy<Value = (u64, u64)> {
    let far = prop_oneof![Just(0), 0_u64..2_000_000, any::<u64>()];
    prop_oneof![20 => (0_u64..5_000, Just(1_u64 << 40)), 1 => (0_u64..1 << 50, far)]
}

/// What has left the Machine, and what it rested on.
struct Watch {
    machine: Machine,
    now: Now,
    journal: Vec<(Seq, Wall, Record)>,
    executed: BTreeSet<(JobId, u32)>,
    unanswered: BTreeSet<RequestId>,
    requests: u64,
}

impl Watch {
    fn send(&mut self, mut input: Input) {
        match &mut input {
            Input::Submit { request, .. }
            | Input::Cancel { request, .. }
            | Input::Redrive { request, .. }
            | Input::Pause { request, .. }
            | Input::Resume { request, .. } => {
                self.requests += 1;
                *request = RequestId(self.requests);
                self.unanswered.insert(*request);
            }
            // Nobody can call durable what was not decided: that is asserted.
            Input::Persisted { through } => through.0 %= self.machine.last_seq().0 + 1,
            _ => {}
        }
        self.machine.handle(self.now, input);
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Persist { seq, record } => self.journal.push((seq, self.now.wall, record)),
                Output::Reply { request, .. } => assert!(self.unanswered.remove(&request), "answered twice"),
                Output::Start { job, attempt } => {
                    assert!(attempt.fence <= self.machine.durable_seq(), "started before it was durable");
                    assert!(self.executed.insert((job, attempt.number)), "one attempt was executed twice");
                }
                Output::Publish { job, .. } => {
                    let succeeded = |(_, _, record): &&(Seq, Wall, Record)| {
                        matches!(record, Record::Finished { job: j, next: sprag_core::Next::Succeeded { .. }, .. }
                            if *j == job)
                    };
                    let at = self.journal.iter().find(succeeded).map(|(seq, ..)| *seq);
                    assert!(at.is_some_and(|at| at <= self.machine.durable_seq()), "published before it was durable");
                }
                Output::Signal { .. } | Output::Prove { .. } | Output::Discard { .. } | Output::Stopped => {}
            }
        }
        let _ = (self.machine.deadline(self.now), self.machine.verdict(self.now), self.machine.is_idle());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_breaks_it(story in prop::collection::vec((input(), jump()), 1..80)) {
        let mut config = config();
        config.queues[0].timeout_ms = Some(1_000);
        let mut watch = Watch {
            machine: Machine::new(config.clone()),
            now: Now::default(),
            journal: Vec::new(),
            executed: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            requests: 0,
        };
        for (input, (mono_ms, wall)) in story {
            watch.now = Now { mono: watch.now.mono.after(mono_ms), wall: Wall(wall) };
            watch.send(input);
        }
        while watch.machine.durable_seq() < watch.machine.last_seq() {
            watch.send(Input::Persisted { through: watch.machine.last_seq() });
        }
        prop_assert!(watch.unanswered.is_empty(), "requests were forgotten");
        let mut again = Machine::new(config);
        for (seq, at, record) in &watch.journal {
            again.replay(watch.now, *at, *seq, record).unwrap();
        }
        prop_assert_eq!(again.jobs().count(), watch.machine.jobs().count());
        again.resume(watch.now);
        again.handle(Now { mono: Mono(u64::MAX / 2), wall: Wall(u64::MAX) }, Input::Tick);
    }
}
