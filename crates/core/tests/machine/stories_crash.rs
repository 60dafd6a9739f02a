//! Stories of death and return: crashes, leftovers, poison, fences, reservations.

use crate::bench::{A, B, Bench, FAIL, OK, config, job};
use sprag_core::{
    DeadReason, Inconsistent, Input, JobId, JobImage, KeyHash, Machine, NewJob, Output, QueueId, Record, Restorer, Seq,
    State, StateName, StopLevel, Wall,
};

fn records(bench: &mut Bench) -> Vec<Record> {
    let record = |output: &Output| match output {
        Output::Persist { record, .. } => Some(*record),
        _ => None,
    };
    bench.seen.iter().filter_map(record).collect()
}

#[test]
fn no_start_and_no_word_before_the_sync() {
    let mut bench = Bench::new(config());
    let request = bench.submit(job(A));
    bench.pass(10_000);
    assert_eq!((bench.replies.get(&request), bench.processes.len()), (None, 0));
    bench.persist(Seq(1));
    assert_eq!((bench.replies.len(), bench.processes.len()), (1, 0));
    bench.persist(Seq(2));
    assert_eq!(bench.processes.len(), 1);
}

#[test]
fn a_leftover_is_proved_dead_before_the_job_runs_again() {
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    bench.go();
    bench.starts();
    bench.crash(0, true);
    assert_eq!((bench.state(id), bench.proves.clone()), (StateName::Unknown, vec![(id, 1)]));
    for _ in 0..3 {
        bench.proves.clear();
        bench.pass(999);
        assert_eq!(bench.proves, []);
        bench.pass(1);
        assert_eq!(bench.proves, [(id, 1)], "asked again");
    }
    assert_eq!(bench.starts(), []);
    bench.prove();
    bench.sync();
    assert_eq!(bench.starts(), [id]);
    let again = *bench.machine.job(id).unwrap();
    assert_eq!((again.attempt, again.failures, again.crashes), (2, 0, 1), "a crash is no failure");
}

#[test]
fn what_waits_starts_after_a_restart_without_anyone_asking() {
    let mut bench = Bench::new(config());
    bench.submit(job(A));
    bench.persist(Seq(1));
    bench.crash(0, true);
    bench.sync();
    assert_eq!(bench.starts(), [JobId(1)]);
}

#[test]
fn a_job_that_takes_sprag_with_it_is_put_aside() {
    let mut bench = Bench::new(config());
    let (id, bystander) = (bench.add(job(A)), bench.add(job(A)));
    for _ in 0..3 {
        assert_ne!(bench.state(id), StateName::Dead);
        bench.go();
        bench.crash(0, true);
        bench.prove();
    }
    assert_eq!(bench.machine.job(id).unwrap().state, State::Dead(DeadReason::Poison));
    bench.run_to_idle();
    assert_eq!(bench.state(bystander), StateName::Succeeded);
    assert_eq!(bench.answer(|request| Input::Redrive { request, job: id }), sprag_core::Reply::Done);
    bench.run_to_idle();
    assert_eq!(bench.state(id), StateName::Succeeded);
}

#[test]
fn an_attempt_that_ends_by_itself_breaks_the_row_of_crashes() {
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    for _ in 0..2 {
        for _ in 0..2 {
            bench.go();
            bench.crash(0, true);
            bench.prove();
        }
        bench.go();
        bench.end(id, FAIL);
        bench.pass(5_000);
    }
    assert_eq!((bench.machine.job(id).unwrap().failures, bench.state(id)), (2, StateName::Running));
}

#[test]
fn every_prefix_of_a_journal_comes_back_and_every_other_order_is_refused() {
    let mut bench = Bench::new(config());
    for queue in [A, B, B] {
        let id = bench.add(job(queue));
        bench.go();
        bench.end_with(id, OK, true, true);
    }
    bench.run_to_idle();
    let journal = bench.model.journal.clone();
    for keep in 0..=journal.len() {
        let mut other = bench.clone();
        other.model = other.model.reborn(bench.now, keep);
        (other.processes, other.said) = (Vec::new(), Vec::new());
        other.crash(usize::MAX, true);
        other.run_to_idle();
    }
    let replay = |seq, record: &Record| Machine::new(config()).replay(bench.now, bench.now.wall, Seq(seq), record);
    assert_eq!(replay(1, &journal[0]), Ok(()));
    assert!(matches!(replay(2, &journal[0]), Err(Inconsistent { seq: Seq(2), .. })));
    for record in &journal[1..] {
        assert!(replay(1, record).is_err(), "{record:?} cannot come first");
    }
}

/// Queue `a` with short jobs behind it, so that its next starts are journaled ahead: one runs, four are reserved.
fn reserving() -> Bench {
    let mut bench = Bench::new(config());
    for _ in 0..8 {
        bench.submit(job(A));
    }
    bench.go();
    bench.end(JobId(1), OK);
    bench.seen.clear();
    bench
}

#[test]
fn short_jobs_are_reserved_ahead_and_start_at_once_when_a_place_frees() {
    let mut bench = reserving();
    let reserved = bench.model.journal.iter().filter(|record| matches!(record, Record::Reserved { .. })).count();
    assert_eq!(reserved, 4);
    bench.go();
    bench.seen.clear();
    bench.end(JobId(2), OK);
    assert_eq!(bench.starts(), [JobId(3)], "no sync between the end and the start");
    bench.run_to_idle();
    assert!(bench.machine.jobs().all(|(_, job)| job.attempt == 1));
}

#[test]
fn a_reservation_that_is_not_durable_waits_like_any_start() {
    let mut bench = reserving();
    // `Started` of job 2 is durable; the reservations behind it are not.
    let started = bench.model.journal.iter().rposition(|record| matches!(record, Record::Started { .. })).unwrap();
    bench.persist(Seq(started as u64 + 1));
    bench.spawned(JobId(2));
    bench.seen.clear();
    bench.end(JobId(2), OK);
    assert_eq!(bench.starts(), []);
    bench.sync();
    assert_eq!(bench.starts(), [JobId(3)]);
}

#[test]
fn long_jobs_are_not_reserved_ahead() {
    let mut bench = Bench::new(config());
    for _ in 0..3 {
        bench.submit(job(A));
    }
    for id in [1, 2] {
        bench.go();
        bench.pass(100);
        bench.end(JobId(id), OK);
    }
    assert!(!records(&mut bench).iter().any(|record| matches!(record, Record::Reserved { .. })));
}

#[test]
fn a_crash_with_open_reservations_costs_no_try_and_makes_the_jobs_strict() {
    let mut bench = reserving();
    bench.go();
    let strict = |bench: &Bench| bench.machine.jobs().filter(|(_, job)| job.strict).count();
    assert_eq!(strict(&bench), 0);
    bench.crash(0, true);
    assert_eq!(bench.proves.len(), 5, "each may have been executed");
    assert_eq!(bench.state(JobId(3)), StateName::Unknown);
    bench.prove();
    assert_eq!(strict(&bench), 4);
    for (id, job) in bench.machine.jobs() {
        assert_eq!((job.failures, job.crashes), (0, u16::from(id == JobId(2))), "job {}", id.0);
    }
    bench.run_to_idle();
}

#[test]
fn a_reservation_left_over_from_an_earlier_life_is_not_used() {
    // A reservation is executed, and that is not yet on record when sprag dies.
    let mut bench = reserving();
    bench.go();
    bench.end(JobId(2), OK);
    bench.crash(0, true);
    bench.seen.clear();
    assert_eq!(bench.process(JobId(3)).map(|p| p.attempt.number), Some(1));
    bench.gone(JobId(2), 1);
    bench.sync();
    assert!(!bench.starts().contains(&JobId(3)), "its process lives");
    bench.send(Input::Stop(StopLevel::Drain));
    assert_eq!(bench.state(JobId(3)), StateName::Unknown, "nor is it given back without proof");
    bench.run_to_idle();
}

#[test]
fn reservations_are_given_back_by_stop_cancel_and_pause() {
    let reserved =
        |bench: &Bench| bench.machine.jobs().filter(|(_, job)| matches!(job.state, State::Reserved { .. })).count();
    let mut bench = reserving();
    bench.go();
    assert_eq!(reserved(&bench), 4);
    bench.cancel(JobId(4));
    assert_eq!((reserved(&bench), bench.state(JobId(4))), (4, StateName::Cancelled), "the next one takes its turn");
    bench.pause(A);
    assert_eq!(reserved(&bench), 0);
    bench.end(JobId(2), OK);
    bench.sync();
    assert!(bench.machine.is_idle());
    bench.run_to_idle();
    let mut bench = reserving();
    bench.send(Input::Stop(StopLevel::Drain));
    assert_eq!(reserved(&bench), 0);
    bench.run_to_idle();
}

#[test]
fn a_late_job_of_higher_priority_goes_before_reservations() {
    let mut bench = reserving();
    bench.go();
    let urgent = bench.add(NewJob { priority: 1, ..job(A) });
    bench.starts();
    bench.end(JobId(2), OK);
    bench.sync();
    assert_eq!(bench.starts(), [urgent]);
}

#[test]
fn an_attempt_that_lingers_keeps_slot_and_place_until_it_is_gone() {
    let mut bench = Bench::new(config());
    let (first, second) = (bench.add(job(A)), bench.add(job(A)));
    bench.go();
    bench.end_with(first, OK, true, false);
    bench.send(Input::Ended { job: first, attempt: 1, outcome: FAIL, result: None, gone: false });
    bench.go();
    assert_eq!((bench.state(first), bench.starts()), (StateName::Unknown, vec![first]));
    bench.pass(1_000);
    bench.prove();
    bench.sync();
    assert_eq!((bench.state(first), bench.starts()), (StateName::Succeeded, vec![second]));
}

#[test]
fn images_that_contradict_each_other_are_refused() {
    let mut bench = Bench::new(config());
    for key in 1..=3 {
        bench.add(NewJob { key: Some(KeyHash(key)), ..job(A) });
    }
    bench.go();
    let images: Vec<JobImage> = bench.machine.images(bench.now).collect();
    let [running, ready, other] = images[..] else { panic!("{images:?}") };
    assert!(matches!(running.job.state, State::Running { .. }) && ready.job.state == State::Ready);
    let last = bench.machine.last_job();
    let restore = |images: &[JobImage], last: JobId| {
        let mut machine = Machine::new(config());
        let mut restorer = Restorer::new(&mut machine, bench.now);
        images.iter().try_for_each(|image| restorer.job(*image))?;
        restorer.finish(last, bench.machine.last_seq())
    };
    assert_eq!(restore(&images, last), Ok(()));
    let with = |image: JobImage, change: fn(&mut JobImage)| {
        let mut image = image;
        change(&mut image);
        image
    };
    for (images, last, why) in [
        (vec![ready, running], last, "jobs do not ascend"),
        (vec![ready, ready], last, "jobs do not ascend"),
        (vec![with(ready, |it| it.job.queue = QueueId(77))], last, "its queue has no name"),
        (vec![with(ready, |it| it.ended_at = Some(Wall(1)))], last, "whether it is at rest is not clear"),
        (vec![with(ready, |it| it.job.state = State::Succeeded)], last, "whether it is at rest is not clear"),
        (vec![with(ready, |it| it.job.unpublished = true)], last, "whether it is at rest is not clear"),
        (vec![with(ready, |it| it.fence = Some(Seq(1)))], last, "it has the fence of an attempt and no attempt"),
        (vec![with(running, |it| it.fence = None)], last, "it has an attempt without a fence"),
        (
            vec![running, with(running, |it| (it.id, it.job.key) = (JobId(2), None))],
            last,
            "its slot is held by another job",
        ),
        (vec![ready, with(other, |it| it.job.key = Some(KeyHash(2)))], last, "a key is known twice"),
        (vec![ready, other], JobId(2), "a job is newer than the last one"),
    ] {
        assert_eq!(restore(&images, last), Err(why), "{images:?}");
    }
}
