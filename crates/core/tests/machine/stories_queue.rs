//! Stories of waiting: order, delay, calendar, places, pause, keys, space, bounds.

use crate::bench::{A, B, Bench, OK, config, job, keyed};
use sprag_core::{
    Input, JobId, KeyHash, Limits, Machine, NewJob, QueueId, Refusal, Reply, Seq, Space, StateName, Wall, When,
};

fn ended_one_by_one(bench: &mut Bench) -> Vec<u64> {
    let mut order = Vec::new();
    bench.go();
    while let Some(p) = bench.processes.first().copied() {
        order.push(p.job.0);
        bench.end(p.job, OK);
        bench.go();
    }
    order
}

#[test]
fn higher_priority_runs_first_and_equals_run_in_order_of_arrival() {
    let mut bench = Bench::new(config());
    for priority in [0, 5, -5, 5, 0] {
        bench.submit(NewJob { priority, ..job(A) });
    }
    // The first was granted its attempt before the others came.
    assert_eq!(ended_one_by_one(&mut bench), [1, 2, 4, 5, 3]);
}

#[test]
fn a_delay_counts_elapsed_time_and_no_calendar_jump_moves_it() {
    for jump_ms in [0, 3_600_000, -3_600_000] {
        let mut bench = Bench::new(config());
        let id = bench.add(NewJob { when: When::Delay(5_000), ..job(A) });
        bench.calendar(jump_ms);
        bench.pass(4_999);
        bench.sync();
        assert_eq!((bench.starts(), bench.state(id)), (vec![], StateName::Scheduled));
        bench.pass(1);
        bench.sync();
        assert_eq!(bench.starts(), [id]);
    }
}

#[test]
fn a_moment_by_the_calendar_follows_the_calendar() {
    let mut bench = Bench::new(config());
    let due = bench.now.wall.after(3_600_000);
    let id = bench.add(NewJob { when: When::At(due), ..job(A) });
    bench.calendar(-7_200_000);
    bench.pass(3_600_000);
    assert_eq!(bench.state(id), StateName::Scheduled);
    // The calendar is set right while the driver sleeps, and nobody tells: it did not mean to sleep for long.
    let asleep_ms = bench.machine.deadline(bench.now).unwrap().since_ms(bench.now.mono);
    assert!(asleep_ms <= 30_000, "{asleep_ms}");
    bench.now.wall = due;
    bench.leap(asleep_ms);
    bench.sync();
    assert_eq!(bench.starts(), [id]);
}

#[test]
fn a_moment_that_is_over_is_now_and_the_last_moment_of_time_is_harmless() {
    let mut bench = Bench::new(config());
    let past = bench.add(NewJob { when: When::At(Wall(0)), ..job(A) });
    assert_eq!(bench.starts(), [past]);
    let never = bench.add(NewJob { when: When::At(Wall(u64::MAX)), ..job(B) });
    let late = bench.add(NewJob { when: When::Delay(u64::MAX), ..job(B) });
    bench.pass(60_000);
    assert_eq!((bench.state(never), bench.state(late)), (StateName::Scheduled, StateName::Scheduled));
    bench.leap(Limits::default().delay_ms_max);
    assert_eq!((bench.state(never), bench.state(late)), (StateName::Scheduled, StateName::Running));
}

#[test]
fn each_queue_and_all_together_keep_to_their_places() {
    let mut config = config();
    config.queues[0].concurrency = 2;
    config.limits.running_max = 3;
    let mut bench = Bench::new(config);
    for queue in [A, A, A, B, B, B] {
        bench.submit(job(queue));
    }
    bench.go();
    assert_eq!(bench.starts(), [JobId(1), JobId(2), JobId(4)]);
    bench.end(JobId(1), OK);
    bench.go();
    assert_eq!(bench.starts(), [JobId(3)], "places go to the queues in their order");
    bench.run_to_idle();
}

#[test]
fn a_pause_holds_starts_but_not_what_runs_and_outlives_a_crash() {
    let mut bench = Bench::new(config());
    let (first, second) = (bench.add(job(A)), bench.add(job(A)));
    bench.go();
    assert_eq!(bench.pause(A), Reply::Done);
    assert_eq!(bench.pause(A), Reply::Done, "twice is once");
    bench.end(first, OK);
    bench.go();
    assert_eq!(bench.starts(), [first]);
    assert!(bench.machine.is_idle(), "what waits behind a pause waits for a person");
    bench.crash(0, true);
    bench.pass(60_000);
    assert!(bench.machine.queues().next().unwrap().paused);
    assert_eq!(bench.starts(), []);
    assert_eq!(bench.resume(A), Reply::Done);
    bench.go();
    assert_eq!(bench.starts(), [second]);
    bench.crash(0, true);
    assert!(!bench.machine.queues().next().unwrap().paused);
    bench.run_to_idle();
}

#[test]
fn a_pause_that_was_not_durable_may_be_lost_but_was_not_confirmed() {
    let mut bench = Bench::new(config());
    let request = bench.request(|request| Input::Pause { request, queue: A });
    assert_eq!(bench.replies.get(&request), None);
    bench.crash(0, true);
    assert!(!bench.machine.queues().next().unwrap().paused);
    assert_eq!(bench.replies.get(&request), None);
}

#[test]
fn a_key_makes_one_job_for_ever() {
    let mut bench = Bench::new(config());
    let id = bench.add(keyed(1, 10));
    let submit = |job| move |request| Input::Submit { request, job };
    assert_eq!(bench.answer(submit(keyed(1, 10))), Reply::Known(id));
    assert_eq!(bench.answer(submit(keyed(1, 11))), Reply::Conflict(id));
    bench.run_to_idle();
    bench.crash(0, true);
    assert_eq!(bench.answer(submit(keyed(1, 10))), Reply::Known(id));
    assert_eq!(bench.machine.knows(KeyHash(1)), Some(id));
    assert_eq!(bench.machine.knows(KeyHash(2)), None);
}

#[test]
fn known_is_said_only_when_the_job_it_names_is_durable() {
    let mut bench = Bench::new(config());
    bench.submit(keyed(1, 10));
    let again = bench.submit(keyed(1, 10));
    assert_eq!(bench.replies.get(&again), None);
    bench.sync();
    assert_eq!(bench.replies[&again], Reply::Known(JobId(1)));
}

#[test]
fn a_disk_that_fills_up_refuses_adds_then_starts_but_never_ends() {
    let mut bench = Bench::new(config());
    let (first, second) = (bench.add(job(A)), bench.add(job(A)));
    bench.send(Input::Space(Space::Low));
    assert_eq!(bench.answer(|request| Input::Submit { request, job: job(A) }), Reply::Refused(Refusal::NoSpace));
    bench.go();
    assert_eq!(bench.starts(), [first], "what is there runs while room is only low");
    bench.send(Input::Space(Space::Full));
    assert_eq!(bench.answer(|request| Input::Submit { request, job: job(A) }), Reply::Refused(Refusal::NoSpace));
    bench.end(first, OK);
    bench.go();
    assert_eq!(bench.starts(), []);
    assert_eq!(bench.state(first), StateName::Succeeded);
    assert_eq!(bench.machine.space(), Space::Full);
    bench.send(Input::Space(Space::Enough));
    bench.go();
    assert_eq!(bench.starts(), [second]);
}

#[test]
fn bounds_and_unknown_names_are_refused() {
    let mut config = config();
    config.limits.jobs_max = 1;
    let mut bench = Bench::new(config);
    let refused = |refusal| Reply::Refused(refusal);
    assert_eq!(bench.pause(QueueId(9)), refused(Refusal::NoSuchQueue));
    let nowhere = job(QueueId(2));
    assert_eq!(bench.answer(|request| Input::Submit { request, job: nowhere }), refused(Refusal::NoSuchQueue));
    bench.add(job(A));
    assert_eq!(bench.answer(|request| Input::Submit { request, job: job(A) }), refused(Refusal::Full));
    assert_eq!(bench.cancel(JobId(2)), refused(Refusal::NoSuchJob));
    let redrive = |request| Input::Redrive { request, job: JobId(1) };
    assert_eq!(bench.answer(redrive), refused(Refusal::WrongState));
}

#[test]
fn jobs_of_a_queue_that_left_the_configuration_wait() {
    let mut bench = Bench::new(config());
    bench.add(job(B));
    let mut shorter = config();
    shorter.queues.truncate(1);
    let mut machine = Machine::new(shorter);
    assert_eq!(machine.queue_named("b"), B);
    // Only the first record: the job was added, and no attempt was granted yet.
    machine.replay(bench.now, bench.now.wall, Seq(1), &bench.model.journal[0]).unwrap();
    machine.resume(bench.now);
    machine.handle(bench.now, Input::Tick);
    assert_eq!(machine.poll(), None, "nothing starts");
    let view = machine.queues().nth(1).unwrap();
    assert_eq!((view.name, view.configured, view.counts.ready), ("b", false, 1));
    assert!(machine.is_idle());
}
