//! Stories of health: what counts as a stall, what does not, and what heals.

use crate::bench::{A, B, Bench, OK, config, job};
use sprag_core::{
    Config, DEATHS_MAX, Input, JobId, QueueId, Reason, SourceFault, SourceId, SourceReport, Space, SpawnFailure,
    StopLevel, Verdict,
};

const STALL_MS: u64 = 30_000;

fn verdict(bench: &Bench) -> Verdict {
    bench.machine.verdict(bench.now)
}

fn stalled(queue: QueueId, waiting_ms: u64) -> Reason {
    Reason::QueueStalled { queue, waiting_ms }
}

#[test]
fn long_jobs_and_full_places_are_no_stall() {
    let mut bench = Bench::new(config());
    for _ in 0..3 {
        bench.add(job(A));
    }
    bench.go();
    bench.pass(48 * 3_600_000);
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn pause_schedule_and_drain_are_no_stall() {
    let mut bench = Bench::new(config());
    bench.pause(A);
    bench.add(job(A));
    bench.add(sprag_core::NewJob { when: sprag_core::When::Delay(3_600_000), ..job(B) });
    bench.pass(3_000_000);
    assert_eq!(verdict(&bench), Verdict::Well);
    bench.resume(A);
    bench.send(Input::Stop(StopLevel::Drain));
    bench.pass(3_000_000);
    // The start that was asked for and never answered is a stall no longer judged: nothing more is to start.
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn a_journal_that_does_not_answer_is_a_stall_and_heals() {
    let mut bench = Bench::new(config());
    bench.send(Input::Space(Space::Enough));
    let request = bench.request(|request| Input::Pause { request, queue: B });
    bench.pass(STALL_MS - 1);
    assert_eq!(verdict(&bench), Verdict::Well);
    bench.persist(sprag_core::Seq(0));
    bench.pass(1);
    let stalled = Verdict::Stalled(vec![Reason::JournalStalled { waiting_ms: STALL_MS }]);
    assert_eq!((verdict(&bench), bench.replies.get(&request)), (stalled, None));
    bench.sync();
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn a_part_of_the_journal_that_syncs_is_progress() {
    let mut bench = Bench::new(config());
    bench.pause(A);
    let first = bench.machine.last_seq();
    bench.submit(job(A));
    bench.submit(job(A));
    bench.pass(STALL_MS - 1);
    bench.persist(first.next());
    bench.pass(STALL_MS - 1);
    assert_eq!(verdict(&bench), Verdict::Well);
    bench.pass(1);
    assert_eq!(verdict(&bench), Verdict::Stalled(vec![Reason::JournalStalled { waiting_ms: STALL_MS }]));
}

#[test]
fn a_start_that_is_never_answered_is_a_stall_and_heals() {
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    bench.pass(STALL_MS);
    assert_eq!(verdict(&bench), Verdict::Stalled(vec![stalled(A, STALL_MS)]));
    bench.spawned(id);
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn places_held_by_nothing_alive_are_a_stall() {
    let mut bench = Bench::new(config());
    let first = bench.add(job(A));
    bench.go();
    bench.crash(0, true);
    assert_eq!(verdict(&bench), Verdict::Well, "the first look for what the crash left is under way");
    bench.pass(1_000);
    assert_eq!(verdict(&bench), Verdict::Degraded(vec![Reason::Unproved { job: first }]));
    bench.add(job(A));
    bench.pass(STALL_MS);
    assert_eq!(verdict(&bench), Verdict::Stalled(vec![stalled(A, STALL_MS), Reason::Unproved { job: first }]));
    bench.prove();
    bench.go();
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn all_places_of_all_queues_held_by_nothing_alive_are_a_stall_of_whoever_waits() {
    let mut config: Config = config();
    config.limits.running_max = 1;
    let mut bench = Bench::new(config);
    let first = bench.add(job(A));
    bench.go();
    bench.add(job(B));
    bench.pass(STALL_MS);
    assert_eq!(verdict(&bench), Verdict::Well, "what runs in the other queue may take its time");
    bench.end_with(first, OK, false, false);
    bench.pass(STALL_MS);
    assert_eq!(verdict(&bench), Verdict::Stalled(vec![stalled(B, STALL_MS), Reason::Unproved { job: first }]));
}

#[test]
fn commands_that_are_missing_are_progress_of_their_kind() {
    let mut bench = Bench::new(config());
    for _ in 0..100 {
        bench.add(job(A));
    }
    for id in 1..=100 {
        bench.pass(STALL_MS / 10);
        bench.sync();
        bench.spawn_failed(JobId(id), SpawnFailure::NotFound);
        bench.sync();
        let failing = Verdict::Degraded(vec![Reason::QueueFailing { queue: A, deaths: id as u32 }]);
        let expected = if id < u64::from(DEATHS_MAX) { Verdict::Well } else { failing };
        assert_eq!(verdict(&bench), expected, "job {id}: no stall");
    }
}

#[test]
fn a_system_without_resources_is_a_stall() {
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    while bench.now.mono.0 < 1_000_000 + STALL_MS {
        bench.spawn_failed(id, SpawnFailure::Resources);
        bench.pass(1_000);
        bench.sync();
    }
    assert_eq!(verdict(&bench), Verdict::Stalled(vec![stalled(A, STALL_MS)]));
    bench.run_to_idle();
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn a_command_that_survives_its_kill_is_named() {
    let mut bench = Bench::new(crate::bench::config_with(|queue| queue.timeout_ms = Some(1_000)));
    let id = bench.add(job(A));
    bench.go();
    bench.pass(1_000 + 10_000 + 999);
    assert_eq!(verdict(&bench), Verdict::Well);
    bench.pass(1);
    assert_eq!(verdict(&bench), Verdict::Degraded(vec![Reason::Unproved { job: id }]));
    bench.end(id, sprag_core::Outcome::Signal(9));
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn a_result_without_a_destination_and_a_full_disk_are_degraded() {
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    bench.go();
    bench.end_with(id, OK, true, true);
    bench.sync();
    bench.send(Input::PublishFailed { job: id });
    bench.send(Input::Space(Space::Full));
    assert_eq!(
        verdict(&bench),
        Verdict::Degraded(vec![Reason::Unpublished { job: id }, Reason::NoSpace { space: Space::Full }])
    );
    bench.send(Input::Space(Space::Enough));
    bench.send(Input::Published { job: id });
    bench.sync();
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn a_queue_whose_jobs_all_die_is_degraded_until_one_succeeds_or_is_tried_again() {
    let mut bench = Bench::new(config());
    let dies = |bench: &mut Bench| {
        let id = bench.add(job(A));
        bench.sync();
        bench.spawn_failed(id, SpawnFailure::NotFound);
        bench.sync();
        id
    };
    for _ in 1..DEATHS_MAX {
        dies(&mut bench);
    }
    assert_eq!(verdict(&bench), Verdict::Well, "that may be bad luck");
    let last = dies(&mut bench);
    let failing = |deaths| Verdict::Degraded(vec![Reason::QueueFailing { queue: A, deaths }]);
    assert_eq!(verdict(&bench), failing(DEATHS_MAX));
    let other = bench.add(job(B));
    bench.go();
    bench.end(other, OK);
    assert_eq!(verdict(&bench), failing(DEATHS_MAX), "another queue says nothing of this one");
    dies(&mut bench);
    assert_eq!(verdict(&bench), failing(DEATHS_MAX + 1));
    bench.answer(|request| Input::Redrive { request, job: last });
    assert_eq!(verdict(&bench), Verdict::Well, "somebody has seen to it");
    bench.go();
    bench.end(last, OK);
    (0..DEATHS_MAX).map(|_| dies(&mut bench)).for_each(|_| {});
    assert_eq!(verdict(&bench), failing(DEATHS_MAX));
    let good = bench.add(job(A));
    bench.go();
    bench.end(good, OK);
    assert_eq!(verdict(&bench), Verdict::Well);
    (0..DEATHS_MAX).map(|_| dies(&mut bench)).for_each(|_| {});
    bench.crash(0, true);
    assert_eq!(verdict(&bench), Verdict::Well, "whoever starts sprag again begins anew");
}

#[test]
fn a_service_that_fails_is_named_until_it_does_well() {
    let mut bench = Bench::new(config());
    bench.send(Input::Service { service: 1, failing: true });
    bench.send(Input::Service { service: 0, failing: false });
    assert_eq!(verdict(&bench), Verdict::Degraded(vec![Reason::ServiceFailing { service: 1 }]));
    bench.send(Input::Service { service: 1, failing: false });
    assert_eq!(verdict(&bench), Verdict::Well);
}

#[test]
fn a_source_that_was_never_there_is_waited_for_and_one_that_is_gone_is_missed() {
    let source = SourceId(0);
    let mut bench = Bench::new(config());
    bench.send(Input::Source { source, report: SourceReport::Fault(SourceFault::Missing) });
    assert_eq!(verdict(&bench), Verdict::Well);
    bench.send(Input::Source { source, report: SourceReport::Read { new_items: 0 } });
    bench.send(Input::Source { source, report: SourceReport::Fault(SourceFault::Missing) });
    assert_eq!(verdict(&bench), Verdict::Degraded(vec![Reason::Source { source, fault: SourceFault::Missing }]));
}

#[test]
fn a_source_is_judged_by_its_last_look() {
    let source = SourceId(0);
    let mut bench = Bench::new(config());
    let tell = |bench: &mut Bench, report| bench.send(Input::Source { source, report });
    tell(&mut bench, SourceReport::Looking);
    bench.pass(STALL_MS - 1);
    tell(&mut bench, SourceReport::Looking);
    bench.pass(1);
    let hangs = Reason::SourceStalled { source, waiting_ms: STALL_MS };
    assert_eq!(verdict(&bench), Verdict::Stalled(vec![hangs]));
    tell(&mut bench, SourceReport::Fault(SourceFault::Malformed));
    let malformed = Reason::Source { source, fault: SourceFault::Malformed };
    assert_eq!(verdict(&bench), Verdict::Degraded(vec![malformed]));
    tell(&mut bench, SourceReport::Looking);
    bench.pass(STALL_MS);
    assert_eq!(verdict(&bench), Verdict::Stalled(vec![hangs, malformed]));
    tell(&mut bench, SourceReport::Read { new_items: 0 });
    bench.pass(STALL_MS * 10);
    assert_eq!(verdict(&bench), Verdict::Well);
    bench.send(Input::Source { source: SourceId(9), report: SourceReport::Looking });
    bench.pass(STALL_MS);
    assert_eq!(verdict(&bench), Verdict::Well);
    assert_eq!(bench.machine.health().source_progress(source).0.count, 1);
}

#[test]
fn no_time_between_two_tries_is_still_some_and_a_thousand_troubles_are_named_in_part() {
    let mut config = config();
    config.limits.again_ms = 0;
    config.queues[0].concurrency = 100;
    let mut bench = Bench::new(config);
    let jobs: Vec<JobId> = (0..50).map(|_| bench.add(job(A))).collect();
    bench.go();
    for job in &jobs {
        bench.end_with(*job, OK, true, true);
    }
    bench.go();
    for job in &jobs {
        bench.send(Input::PublishFailed { job: *job });
    }
    let Verdict::Degraded(reasons) = verdict(&bench) else { panic!("{:?}", verdict(&bench)) };
    assert_eq!(reasons.len(), 20, "{reasons:?}");
    assert_eq!(bench.machine.deadline(bench.now), Some(bench.now.mono.after(1)));
    bench.pass(1);
    assert!(bench.machine.deadline(bench.now).is_none_or(|at| at > bench.now.mono));
}
