//! Stories of ending: timeout, cancel in every state, stop, results and their destination.

use crate::bench::{A, Bench, FAIL, Life, OK, config, config_with, job};
use sprag_core::{
    Config, Input, JobId, Kill, Limits, Machine, Mono, NewJob, Now, Outcome, Output, PayloadRef, Record, Refusal,
    Reply, RequestId, StateName, StopLevel, Wall, When,
};

fn with_timeout() -> Config {
    config_with(|queue| (queue.timeout_ms, queue.grace_ms) = (Some(5_000), 2_000))
}

#[test]
fn a_timeout_asks_then_forces_then_waits_for_proof_and_counts() {
    let mut bench = Bench::new(with_timeout());
    let id = bench.add(job(A));
    bench.go();
    bench.pass(4_999);
    assert_eq!(bench.signals(), []);
    bench.pass(1);
    assert_eq!(bench.signals(), [(id, Kill::Term)]);
    bench.pass(1_999);
    assert_eq!(bench.signals(), []);
    bench.pass(1);
    assert_eq!(bench.signals(), [(id, Kill::Kill)]);
    bench.end_with(id, Outcome::Signal(9), false, false);
    bench.add(job(A));
    assert_eq!(bench.state(id), StateName::Unknown, "its slot is held until it is proved dead");
    assert_eq!(bench.starts(), []);
    bench.pass(1_000);
    assert_eq!(bench.proves, [(id, 1)]);
    bench.prove();
    let timed_out = |output: &Output| {
        matches!(output, Output::Persist { record: Record::Finished { outcome: Some(Outcome::TimedOut), .. }, .. })
    };
    assert!(bench.seen.iter().any(timed_out));
    assert_eq!(bench.machine.job(id).unwrap().failures, 1);
    bench.run_to_idle();
}

#[test]
fn a_sleep_of_the_machine_counts_neither_for_the_timeout_nor_for_the_grace() {
    let mut bench = Bench::new(with_timeout());
    let id = bench.add(job(A));
    bench.go();
    bench.pass(3_000);
    bench.sleep(3_600_000);
    bench.pass(1_999);
    assert_eq!(bench.signals(), []);
    bench.pass(1);
    assert_eq!(bench.signals(), [(id, Kill::Term)]);
    bench.pass(1_000);
    bench.sleep(60_000);
    bench.pass(999);
    assert_eq!(bench.signals(), []);
    bench.pass(1);
    assert_eq!(bench.signals(), [(id, Kill::Kill)]);
    // What waits for the machine itself is not put off: a proof is asked for as soon as it is awake.
    bench.end_with(id, Outcome::Signal(9), false, false);
    bench.sleep(1_000);
    assert_eq!(bench.proves, [(id, 1)]);
    bench.prove();
    bench.run_to_idle();
}

#[test]
fn one_that_ends_well_only_when_asked_to_end_timed_out_all_the_same() {
    let mut bench = Bench::new(with_timeout());
    let id = bench.add(job(A));
    bench.go();
    bench.pass(5_000);
    bench.end(id, OK);
    assert_eq!((bench.state(id), bench.machine.job(id).unwrap().failures), (StateName::Scheduled, 1));
}

#[test]
fn one_that_ends_in_the_last_moment_did_not_time_out() {
    let mut bench = Bench::new(with_timeout());
    let id = bench.add(job(A));
    bench.go();
    bench.now.mono = bench.now.mono.after(5_000);
    bench.end(id, OK);
    assert_eq!((bench.state(id), bench.signals()), (StateName::Succeeded, vec![]));
}

#[test]
fn without_a_timeout_nothing_is_ever_signalled() {
    let mut bench = Bench::new(config());
    bench.add(job(A));
    bench.go();
    bench.pass(100 * 24 * 3_600_000);
    assert_eq!(bench.signals(), []);
}

/// Brings job 1 into a state, by name.
fn bring(state: &str) -> Bench {
    let mut bench = Bench::new(with_timeout());
    let when = if state == "scheduled" { When::Delay(60_000) } else { When::Now };
    if state == "ready" {
        bench.pause(A);
    }
    bench.submit(NewJob { when, ..job(A) });
    let id = JobId(1);
    match state {
        "granted" => {}
        "scheduled" | "ready" | "starting" => bench.sync(),
        _ => bench.go(),
    }
    match state {
        "terminating" => bench.pass(5_000),
        "killing" => bench.pass(7_000),
        "lingering" => bench.end_with(id, OK, true, false),
        "left over" => bench.crash(0, true),
        "failed" => bench.end(id, FAIL),
        _ => {}
    }
    bench.seen.clear();
    bench
}

#[test]
fn a_cancel_that_is_accepted_wins_in_every_state() {
    let states = [
        "scheduled",
        "ready",
        "granted",
        "starting",
        "running",
        "terminating",
        "killing",
        "lingering",
        "left over",
        "failed",
    ];
    for state in states {
        let mut bench = bring(state);
        let id = JobId(1);
        bench.pass(1);
        assert_eq!(bench.cancel(id), Reply::Done, "{state}");
        let again = if bench.processes.is_empty() { Reply::Refused(Refusal::WrongState) } else { Reply::Done };
        assert_eq!(bench.cancel(id), again, "{state}");
        bench.go();
        if bench.process(id).is_some_and(|p| p.life == Life::Alive) {
            // The command ends well, too late.
            bench.end_with(id, OK, true, true);
        }
        bench.crash(usize::MAX, true);
        bench.run_to_idle();
        assert_eq!(bench.state(id), StateName::Cancelled, "{state}");
        let published = bench.seen.iter().any(|output| matches!(output, Output::Publish { .. }));
        assert!(!published, "{state}: a cancelled job has no result");
        let redrive = |request| Input::Redrive { request, job: id };
        assert_eq!(bench.answer(redrive), Reply::Done);
        bench.run_to_idle();
        assert_eq!(bench.state(id), StateName::Succeeded, "{state}");
        assert_eq!(bench.cancel(id), Reply::Refused(Refusal::WrongState));
    }
}

#[test]
fn a_cancel_asks_the_running_command_to_end_then_forces_it() {
    let mut bench = bring("running");
    bench.cancel(JobId(1));
    bench.pass(2_000);
    assert_eq!(bench.signals(), [(JobId(1), Kill::Term), (JobId(1), Kill::Kill)]);
    let mut bench = bring("starting");
    bench.cancel(JobId(1));
    bench.go();
    assert_eq!(bench.signals(), [(JobId(1), Kill::Term)], "asked as soon as it runs");
}

#[test]
fn a_cancel_between_decision_and_sync_of_a_start_keeps_it_from_starting() {
    let mut bench = bring("granted");
    bench.cancel(JobId(1));
    assert_eq!((bench.starts(), bench.state(JobId(1))), (vec![], StateName::Cancelled));
}

#[test]
fn drain_starts_nothing_more_and_lets_what_runs_finish() {
    let mut bench = Bench::new(config());
    let (first, second) = (bench.add(job(A)), bench.add(job(A)));
    bench.go();
    bench.send(Input::Stop(StopLevel::Drain));
    assert_eq!(bench.answer(|request| Input::Submit { request, job: job(A) }), Reply::Refused(Refusal::Stopping));
    assert!(!bench.seen.contains(&Output::Stopped));
    bench.end(first, OK);
    assert!(!bench.seen.contains(&Output::Stopped), "not before the end is durable");
    bench.go();
    assert!(bench.seen.contains(&Output::Stopped));
    assert_eq!((bench.starts(), bench.state(second)), (vec![first], StateName::Ready));
    bench.crash(0, true);
    bench.run_to_idle();
}

#[test]
fn drain_gives_back_a_start_that_was_decided_and_not_yet_durable() {
    let mut bench = bring("granted");
    bench.send(Input::Stop(StopLevel::Drain));
    bench.sync();
    assert!(bench.seen.contains(&Output::Stopped));
    assert_eq!((bench.starts(), bench.state(JobId(1))), (vec![], StateName::Ready));
}

#[test]
fn a_killing_stop_ends_everything_and_costs_no_try() {
    for (state, outcome) in [("running", Outcome::Signal(15)), ("running", OK), ("starting", FAIL)] {
        let mut bench = bring(state);
        let id = JobId(1);
        bench.send(Input::Stop(StopLevel::Kill));
        bench.go();
        assert_eq!(bench.signals(), [(id, Kill::Term)]);
        bench.pass(2_000);
        assert_eq!(bench.signals(), [(id, Kill::Kill)]);
        bench.end(id, outcome);
        bench.sync();
        assert!(bench.seen.contains(&Output::Stopped));
        let left = *bench.machine.job(id).unwrap();
        assert_eq!((left.failures, left.crashes, bench.state(id)), (0, 0, StateName::Ready), "{state} {outcome:?}");
        bench.run_to_idle();
    }
}

#[test]
fn a_stop_with_nothing_to_do_is_immediate_and_said_once() {
    let mut bench = Bench::new(config());
    bench.send(Input::Stop(StopLevel::Run));
    assert_eq!(bench.seen, []);
    bench.send(Input::Stop(StopLevel::Drain));
    bench.send(Input::Stop(StopLevel::Kill));
    bench.send(Input::Stop(StopLevel::Run));
    assert_eq!(bench.seen, [Output::Stopped]);
}

#[test]
fn a_drain_waits_for_results_on_their_way_and_not_for_those_that_found_none() {
    for found in [true, false] {
        let mut bench = bring("running");
        bench.send(Input::Stop(StopLevel::Drain));
        bench.end_with(JobId(1), OK, true, true);
        bench.sync();
        assert!(!bench.seen.contains(&Output::Stopped), "the result is on its way");
        bench.send(if found { Input::Published { job: JobId(1) } } else { Input::PublishFailed { job: JobId(1) } });
        bench.sync();
        assert!(bench.seen.contains(&Output::Stopped), "found: {found}");
        bench.pass(60_000);
        assert_eq!(bench.publishes, [JobId(1)], "nothing is begun any more");
    }
}

#[test]
fn a_result_is_published_after_its_success_is_durable_and_until_it_stands() {
    let mut bench = bring("running");
    let id = JobId(1);
    bench.end_with(id, OK, true, true);
    assert_eq!(bench.publishes, []);
    bench.sync();
    for _ in 0..3 {
        assert_eq!(bench.publishes, [id]);
        bench.publishes.clear();
        bench.send(Input::PublishFailed { job: id });
        bench.pass(999);
        assert_eq!(bench.publishes, []);
        bench.pass(1);
    }
    bench.crash(0, true);
    assert_eq!(bench.publishes, [id], "asked again after a crash");
    bench.send(Input::Published { job: id });
    bench.crash(0, true);
    assert_eq!(bench.publishes, [id], "asked again while `published` is not durable");
    bench.send(Input::Published { job: id });
    bench.sync();
    bench.crash(0, true);
    assert_eq!(bench.publishes, []);
    bench.send(Input::Published { job: id });
    assert!(bench.machine.is_idle());
}

#[test]
fn news_of_a_failed_publication_that_nobody_asked_for_brings_none_before_its_time() {
    let mut bench = bring("running");
    bench.end_with(JobId(1), OK, true, true);
    bench.send(Input::PublishFailed { job: JobId(1) });
    bench.pass(1_000);
    assert_eq!(bench.publishes, []);
    bench.run_to_idle();
}

#[test]
fn ended_jobs_are_forgotten_by_the_bytes_of_their_records() {
    let now = Now { mono: Mono(1), wall: Wall(1) };
    let limits = Limits { keep_bytes: 250, ..Limits::default() };
    let mut machine = Machine::new(Config { limits, ..Config::default() });
    let queue = machine.queue_named("without a configuration");
    let mut forgotten = Vec::new();
    for id in 1..=6 {
        let new = NewJob { queue, key: None, digest: 0, priority: 0, when: When::Now };
        machine.handle(now, Input::Submit { request: RequestId(2 * id), job: new });
        machine.placed(JobId(id), PayloadRef { segment: 1, len: 100, offset: 100 * id });
        machine.handle(now, Input::Cancel { request: RequestId(2 * id + 1), job: JobId(id) });
        while let Some(output) = machine.poll() {
            if let Output::Persist { record: Record::Forgotten { job }, .. } = output {
                forgotten.push((id, job.0));
            }
        }
    }
    // Two of them fit; each further one costs the oldest its place.
    assert_eq!(forgotten, [(3, 1), (4, 2), (5, 3), (6, 4)]);
}

#[test]
fn a_result_that_stands_is_not_put_there_again_though_that_was_decided() {
    let mut config = config();
    config.limits.keep_jobs = 0;
    let mut bench = Bench::new(config);
    let (id, waits) = (bench.add(job(A)), bench.add(job(A)));
    bench.go();
    bench.end_with(id, OK, true, true);
    bench.sync();
    assert_eq!(bench.publishes, [id]);
    bench.send(Input::PublishFailed { job: id });
    // A record that is not durable yet keeps the second try back, and the answer to the first overtakes it.
    bench.request(|request| Input::Cancel { request, job: waits });
    bench.leap(1_000);
    bench.send(Input::Published { job: id });
    bench.seen.clear();
    bench.sync();
    let again = bench.seen.iter().filter(|output| matches!(output, Output::Publish { .. })).count();
    assert_eq!((again, bench.machine.job(id)), (0, None));
}
