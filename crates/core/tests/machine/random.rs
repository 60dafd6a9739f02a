//! Random worlds: any order of requests, syncs, ends, crashes, jumps of both clocks, late and misaddressed answers.
//!
//! **Invariant.** After any such story a friendly world brings every job to exactly one end ([`Bench::run_to_idle`]), and a
//! journal that was persisted whole comes back as the state that wrote it.

use crate::bench::{Bench, Life, config};
use proptest::prelude::*;
use sprag_core::{
    Config, Digest, Input, JobId, KeyHash, Limits, NewJob, Outcome, QueueId, Seq, SourceFault, SourceId, SourceReport,
    Space, SpawnFailure, StopLevel, Wall, When,
};

/// One step. A `u8` picks among whatever there is at that moment.
#[derive(Clone, Debug)]
enum Step {
    Submit { queue: u16, key: Option<u128>, digest: u64, priority: i16, when: Moment },
    Cancel(u64),
    Redrive(u64),
    Pause(u16, bool),
    Persist(u8),
    Spawn(u8, Result<(), SpawnFailure>),
    End { pick: u8, outcome: Outcome, result: bool, gone: bool },
    Gone(u8),
    Publish(u8, bool),
    Pass(u64),
    Leap(u64),
    Calendar(i64),
    Space(Space),
    ForgetKey(u64),
    Stop(StopLevel),
    Crash { keep_extra: usize, executed: bool },
    Again(u8),
    Misaddressed { job: u64, attempt_off: u32, kind: u8 },
    Source(u16, SourceReport),
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    Now,
    Delay(u64),
    At(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..90)
}

fn step() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![
        Just(SpawnFailure::NotFound),
        Just(SpawnFailure::NotExecutable),
        Just(SpawnFailure::NotStarted),
        Just(SpawnFailure::Resources),
        Just(SpawnFailure::Resources),
    ];
    let spawn = prop_oneof![6 => Just(Ok(())), 1 => failure.prop_map(Err)];
    let end = (any::<u8>(), outcome(), any::<bool>(), prop::bool::weighted(0.8));
    let level = prop_oneof![Just(StopLevel::Run), Just(StopLevel::Drain), Just(StopLevel::Kill)];
    let keep = prop_oneof![Just(0), Just(usize::MAX), 0_usize..6];
    prop_oneof![
        14 => submit(),
        3 => (0_u64..10).prop_map(Step::Cancel),
        2 => (0_u64..10).prop_map(Step::Redrive),
        2 => (0_u16..3, any::<bool>()).prop_map(|(queue, paused)| Step::Pause(queue, paused)),
        14 => prop_oneof![Just(u8::MAX), any::<u8>()].prop_map(Step::Persist),
        14 => (any::<u8>(), spawn).prop_map(|(pick, how)| Step::Spawn(pick, how)),
        12 => end.prop_map(|(pick, outcome, result, gone)| Step::End { pick, outcome, result, gone }),
        5 => any::<u8>().prop_map(Step::Gone),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(pick, well)| Step::Publish(pick, well)),
        6 => prop_oneof![0_u64..200, 0_u64..20_000].prop_map(Step::Pass),
        1 => (0_u64..5_000_000).prop_map(Step::Leap),
        1 => (-600_000_i64..600_000).prop_map(Step::Calendar),
        1 => prop_oneof![Just(Space::Enough), Just(Space::Low), Just(Space::Full)].prop_map(Step::Space),
        2 => (0_u64..10).prop_map(Step::ForgetKey),
        1 => level.prop_map(Step::Stop),
        3 => (keep, any::<bool>()).prop_map(|(keep_extra, executed)| Step::Crash { keep_extra, executed }),
        3 => any::<u8>().prop_map(Step::Again),
        2 => (0_u64..10, 1_u32..4, 0_u8..6)
            .prop_map(|(job, attempt_off, kind)| Step::Misaddressed { job, attempt_off, kind }),
        1 => (0_u16..3, report()).prop_map(|(source, report)| Step::Source(source, report)),
    ]
}

fn submit() -> impl Strategy<Value = Step> {
    let moment = prop_oneof![
        6 => Just(Moment::Now),
        1 => (0_u64..5_000).prop_map(Moment::Delay),
        1 => (-60_000_i64..60_000).prop_map(Moment::At),
    ];
    (0_u16..40, prop::option::of(0_u128..4), 0_u64..2, -1_i16..2, moment).prop_map(
        |(queue, key, digest, priority, when)| {
            // One in forty names a queue that does not exist.
            let queue = if queue == 39 { 7 } else { queue % 2 };
            Step::Submit { queue, key, digest, priority, when }
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        5 => Just(Outcome::Exit(0)),
        4 => any::<u8>().prop_map(Outcome::Exit),
        2 => (1_u8..65).prop_map(Outcome::Signal),
        1 => Just(Outcome::ResultLost),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::NotFound),
    ]
}

fn report() -> impl Strategy<Value = SourceReport> {
    prop_oneof![
        Just(SourceReport::Looking),
        Just(SourceReport::Read { new_items: 1 }),
        Just(SourceReport::Fault(SourceFault::Missing)),
    ]
}

/// Small and hurried: short timeouts, two crashes to poison, three places in all, eight jobs at most.
fn hurried(keep_jobs: u64) -> Config {
    let mut config = config();
    for queue in &mut config.queues {
        (queue.timeout_ms, queue.grace_ms, queue.reserve_max) = (Some(3_000), 500, 2);
        (queue.retry.jitter_ppm, queue.retry.max_ms) = (200_000, 1_500);
        queue.retry.permanent_exit_codes = vec![3];
    }
    config.queues[1].concurrency = 3;
    config.limits = Limits { running_max: 3, crashes_max: 2, jobs_max: 8, ..Limits::default() };
    if keep_jobs < 8 {
        (config.limits.keep_jobs, config.limits.keep_age_ms) = (keep_jobs, 20_000);
    }
    config
}

fn pick<T: Copy>(from: impl Iterator<Item = T>, pick: u8) -> Option<T> {
    let all: Vec<T> = from.collect();
    all.get(usize::from(pick) % all.len().max(1)).copied()
}

fn apply(bench: &mut Bench, step: &Step) {
    match step.clone() {
        Step::Submit { queue, key, digest, priority, when } => {
            let when = match when {
                Moment::Now => When::Now,
                Moment::Delay(delay_ms) => When::Delay(delay_ms),
                Moment::At(off_ms) => When::At(Wall(bench.now.wall.0.saturating_add_signed(off_ms))),
            };
            bench.submit(NewJob { queue: QueueId(queue), key: key.map(KeyHash), digest, priority, when });
        }
        Step::Cancel(job) => drop(bench.request(|request| Input::Cancel { request, job: JobId(job) })),
        Step::Redrive(job) => drop(bench.request(|request| Input::Redrive { request, job: JobId(job) })),
        Step::Pause(queue, true) => drop(bench.request(|request| Input::Pause { request, queue: QueueId(queue) })),
        Step::Pause(queue, false) => drop(bench.request(|request| Input::Resume { request, queue: QueueId(queue) })),
        Step::Persist(part) => {
            // From the very beginning up to the last record: an old news is legal too.
            let last = bench.machine.last_seq().0;
            bench.persist(Seq(last - last.min(u64::from(u8::MAX - part) / 16)));
        }
        Step::Spawn(at, how) => {
            let asked = pick(bench.processes.iter().filter(|p| p.life == Life::Asked), at).map(|p| p.job);
            match (asked, how) {
                (Some(job), Ok(())) => bench.spawned(job),
                (Some(job), Err(failure)) => bench.spawn_failed(job, failure),
                (None, _) => {}
            }
        }
        Step::End { pick: at, outcome, result, gone } => {
            // Also of one that was not yet said to run: the end may overtake that news.
            let open = pick(bench.processes.iter().filter(|p| p.life != Life::Left), at).map(|p| p.job);
            if let Some(job) = open {
                bench.end_with(job, outcome, result, gone);
            }
        }
        Step::Gone(at) => {
            let open = bench.model.attempts().filter(|(_, _, a)| a.left || a.told.is_some());
            if let Some((job, number)) = pick(open.map(|(id, _, a)| (id, a.number)), at) {
                bench.gone(job, number);
            }
        }
        Step::Publish(at, well) => {
            let Some(job) = pick(bench.publishes.iter(), at).copied() else { return };
            bench.publishes.retain(|asked| *asked != job);
            bench.say(if well { Input::Published { job } } else { Input::PublishFailed { job } });
        }
        Step::Pass(ms) => bench.pass(ms),
        Step::Leap(ms) => bench.leap(ms),
        Step::Calendar(by_ms) => bench.calendar(by_ms),
        Step::Space(space) => bench.send(Input::Space(space)),
        Step::ForgetKey(job) => bench.send(Input::ForgetKey { job: JobId(job) }),
        Step::Stop(level) => bench.send(Input::Stop(level)),
        Step::Crash { keep_extra, executed } => crash(bench, keep_extra, executed),
        Step::Again(at) => {
            let said = usize::from(at) % bench.said.len().max(1);
            if let Some(input) = bench.said.get(said).cloned() {
                bench.send(input);
            }
        }
        Step::Misaddressed { job, attempt_off, kind } => misaddressed(bench, JobId(job), attempt_off, kind),
        Step::Source(source, report) => bench.send(Input::Source { source: SourceId(source), report }),
    }
}

/// An answer about an attempt that is not under way, or a job that does not exist.
fn misaddressed(bench: &mut Bench, job: JobId, attempt_off: u32, kind: u8) {
    let granted = bench.model.jobs.get(&job).map_or(0, |job| job.granted);
    let attempt = if attempt_off == 3 { granted.wrapping_sub(1) } else { granted + attempt_off };
    bench.send(match kind {
        0 => Input::Spawned { job, attempt },
        1 => Input::SpawnFailed { job, attempt, failure: SpawnFailure::Resources },
        2 => Input::SpawnFailed { job, attempt, failure: SpawnFailure::NotFound },
        3 => Input::Ended { job, attempt, outcome: Outcome::Exit(0), result: Some(Digest(2)), gone: true },
        4 => Input::Gone { job, attempt },
        _ => Input::PublishFailed { job },
    });
}

/// What is durable of a job, whatever the phase of its attempt.
fn durable_view(bench: &Bench) -> Vec<String> {
    let jobs = bench.machine.jobs().map(|(id, job)| {
        let open = job.state.is_terminal().then_some(job.state);
        let attempt = bench.machine.attempts().find(|(owner, _)| *owner == id);
        let facts = (job.key, job.attempt, job.failures, job.crashes, job.cancelling, job.strict, job.unpublished);
        format!("{id:?} {open:?} {attempt:?} {facts:?} {:?}", (job.queue, job.priority))
    });
    let queues = bench.machine.queues().map(|queue| format!("{} {} {}", queue.name, queue.paused, queue.counts.open()));
    jobs.chain(queues).collect()
}

fn crash(bench: &mut Bench, keep_extra: usize, executed: bool) {
    let whole = keep_extra >= bench.model.journal.len();
    let (before, last) = (durable_view(bench), bench.model.last());
    let promised = bench.model.durable;
    bench.crash(keep_extra, executed);
    assert!(bench.machine.last_seq() >= promised, "a durable record is gone");
    // A new life may forget what the old one, about to stop, did not.
    let forgotten = bench.model.journal[last.0.min(bench.model.last().0) as usize..]
        .iter()
        .any(|record| matches!(record, sprag_core::Record::Forgotten { .. }));
    if whole && !forgotten {
        // Timers that were due in the old life may have come due in the new one: no more than that may differ.
        assert_eq!(durable_view(bench).len(), before.len());
        let fresh = bench.model.attempts().all(|(_, _, open)| open.left);
        assert!(!fresh || durable_view(bench) == before, "{before:#?}\ncame back as\n{:#?}", durable_view(bench));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_story_keeps_the_rules_and_comes_to_a_good_end(steps in steps(), keep_jobs in 0_u64..12) {
        let mut bench = Bench::new(hurried(keep_jobs));
        for step in &steps {
            apply(&mut bench, step);
            bench.assumed_is_itself();
        }
        bench.run_to_idle();
        crash(&mut bench, usize::MAX, true);
        prop_assert!(bench.machine.is_idle(), "what was at rest is at rest after a restart");
    }
}
