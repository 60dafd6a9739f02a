//! Stories of failing: backoff, cap, jitter, exit codes, spawn failures, dead and redriven, late answers.

use crate::bench::{A, B, Bench, FAIL, OK, config, config_with, job};
use sprag_core::{
    Config, DeadReason, Digest, Input, JobId, NewJob, Outcome, Reply, RetryPolicy, SpawnFailure, State, StateName,
    Wall, When, retry,
};

fn policy(change: impl FnOnce(&mut RetryPolicy)) -> Config {
    config_with(|queue| change(&mut queue.retry))
}

/// Fails each attempt at once and notes how long the next one took to come.
fn waits_ms(bench: &mut Bench, id: JobId) -> Vec<u64> {
    let mut waits = Vec::new();
    loop {
        bench.go();
        bench.end(id, FAIL);
        bench.sync();
        let failed_at = bench.now.mono;
        match bench.machine.job(id).unwrap().state {
            State::Scheduled { .. } => bench.pass(bench.machine.deadline(bench.now).unwrap().since_ms(failed_at)),
            state => {
                assert_eq!(state, State::Dead(DeadReason::Exhausted));
                return waits;
            }
        }
        bench.sync();
        waits.push(bench.now.mono.since_ms(failed_at));
    }
}

#[test]
fn waits_grow_by_the_factor_up_to_the_cap_and_then_the_job_is_dead() {
    let change = |retry: &mut RetryPolicy| {
        (retry.attempts, retry.backoff_ms, retry.factor_ppm, retry.max_ms) = (6, 1_000, 3_000_000, 10_000);
    };
    let mut bench = Bench::new(policy(change));
    let id = bench.add(job(A));
    assert_eq!(waits_ms(&mut bench, id), [1_000, 3_000, 9_000, 10_000, 10_000]);
    let dead = *bench.machine.job(id).unwrap();
    assert_eq!((dead.failures, dead.attempt, dead.crashes), (6, 6, 0));
}

#[test]
fn jitter_differs_by_job_and_repeats_with_the_seed() {
    let run = |seed| {
        let mut config = policy(|retry| (retry.backoff_ms, retry.jitter_ppm) = (100_000, 100_000));
        config.seed = seed;
        let mut bench = Bench::new(config);
        [1, 2].map(|_| {
            let id = bench.add(job(A));
            waits_ms(&mut bench, id)
        })
    };
    let [one, two] = run(1);
    assert!(one != two && one != run(2)[0], "every job and seed has its own jitter");
    assert_eq!([one.clone(), two], run(1));
    assert!((90_000..=110_000).contains(&one[0]) && one[0] != 100_000, "{one:?}");
}

#[test]
fn no_factor_makes_the_wait_loop_for_long() {
    for (backoff_ms, factor_ppm) in [(0, 2_000_000), (1, 1_000_001), (5, 0), (u64::MAX, u64::MAX)] {
        let policy = RetryPolicy { backoff_ms, factor_ppm, max_ms: u64::MAX, ..RetryPolicy::default() };
        assert_eq!(retry::backoff_ms(&policy, u32::MAX), backoff_ms);
    }
}

#[test]
fn every_outcome_leads_where_the_table_says() {
    use Outcome::{Exit, ResultLost, Signal};
    let table = [
        (OK, StateName::Succeeded),
        (Exit(1), StateName::Scheduled),
        (Exit(255), StateName::Scheduled),
        (Exit(64), StateName::Dead),
        (Signal(9), StateName::Scheduled),
        (Signal(64), StateName::Scheduled),
        (ResultLost, StateName::Scheduled),
        (Outcome::ResultTooLarge, StateName::Scheduled),
        (Outcome::NotFound, StateName::Dead),
    ];
    for (outcome, expected) in table {
        let mut bench = Bench::new(policy(|retry| retry.permanent_exit_codes = vec![64]));
        let id = bench.add(job(A));
        bench.go();
        bench.end(id, outcome);
        assert_eq!(bench.state(id), expected, "{outcome:?}");
        bench.run_to_idle();
    }
}

#[test]
fn a_missing_command_is_permanent_and_short_resources_cost_nothing() {
    for failure in [SpawnFailure::NotFound, SpawnFailure::NotExecutable] {
        let mut bench = Bench::new(config());
        let id = bench.add(job(A));
        bench.spawn_failed(id, failure);
        assert_eq!(bench.machine.job(id).unwrap().state, State::Dead(DeadReason::Permanent));
    }
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    for round in 1..=20 {
        assert_eq!(bench.starts(), [id], "round {round}");
        bench.spawn_failed(id, SpawnFailure::Resources);
        bench.pass(999);
        bench.sync();
        assert_eq!(bench.starts(), [], "nothing starts while the system is short");
        bench.pass(1);
        bench.sync();
    }
    assert_eq!(bench.machine.job(id).unwrap().failures, 0);
    bench.run_to_idle();
    assert_eq!(bench.state(id), StateName::Succeeded);
}

#[test]
fn a_command_that_could_not_be_started_this_time_holds_up_no_other() {
    let mut bench = Bench::new(config());
    let busy = bench.add(job(A));
    bench.spawn_failed(busy, SpawnFailure::NotStarted);
    bench.starts();
    let other = bench.add(job(B));
    assert_eq!(bench.state(busy), StateName::Scheduled, "it waits for the backoff of its queue");
    assert_eq!(bench.machine.job(busy).unwrap().failures, 1);
    bench.sync();
    assert_eq!(bench.starts(), [other], "nothing else is held");
    bench.run_to_idle();
    assert_eq!(bench.state(busy), StateName::Succeeded);
}

#[test]
fn a_second_answer_about_an_attempt_that_was_given_back_changes_nothing() {
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    bench.spawn_failed(id, SpawnFailure::Resources);
    bench.pass(1_000);
    bench.sync();
    let late = bench.said[0].clone();
    bench.send(late);
    bench.go();
    assert_eq!((bench.state(id), bench.processes.len()), (StateName::Running, 1));
}

#[test]
fn late_and_repeated_answers_about_old_attempts_change_nothing() {
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    bench.go();
    bench.end(id, FAIL);
    bench.pass(1_000);
    bench.go();
    assert_eq!(bench.machine.job(id).unwrap().attempt, 2);
    for late in bench.said.clone() {
        bench.send(late);
    }
    for attempt in [0, 1, 3, u32::MAX] {
        bench.send(Input::Ended { job: id, attempt, outcome: OK, result: Some(Digest(1)), gone: true });
        bench.send(Input::Gone { job: id, attempt });
        bench.send(Input::SpawnFailed { job: id, attempt, failure: SpawnFailure::NotFound });
    }
    assert_eq!((bench.state(id), bench.machine.job(id).unwrap().failures), (StateName::Running, 1));
    bench.run_to_idle();
    assert_eq!(bench.state(id), StateName::Succeeded);
}

#[test]
fn a_dead_job_is_redriven_with_all_its_tries_and_new_attempt_numbers() {
    let mut bench = Bench::new(config());
    let id = bench.add(job(A));
    waits_ms(&mut bench, id);
    assert_eq!(bench.answer(|request| Input::Redrive { request, job: id }), Reply::Done);
    bench.crash(0, false);
    bench.prove();
    assert_eq!(waits_ms(&mut bench, id), [1_000, 2_000]);
    assert_eq!(bench.machine.job(id).unwrap().failures, 3);
    assert!(bench.machine.job(id).unwrap().attempt > 6);
}

#[test]
fn a_calendar_that_lost_its_years_over_a_crash_makes_no_wait_longer_than_it_was() {
    let mut bench = Bench::new(config());
    let retried = bench.add(job(A));
    bench.go();
    bench.end(retried, FAIL);
    let delayed = bench.add(NewJob { when: When::Delay(5_000), ..job(B) });
    let crashed = bench.add(job(B));
    bench.go();
    bench.pause(B);
    bench.crash(usize::MAX, true);
    bench.prove();
    // A machine without a battery: at its next start the calendar is in 1970.
    bench.now.wall = Wall(0);
    bench.crash(usize::MAX, true);
    let scheduled = |bench: &Bench| {
        [crashed, delayed, retried]
            .into_iter()
            .filter(|id| bench.state(*id) == StateName::Scheduled)
            .collect::<Vec<_>>()
    };
    assert_eq!(scheduled(&bench), [delayed, retried]);
    bench.pass(5_000);
    assert_eq!(scheduled(&bench), [retried]);
    bench.pass(300_000 - 5_000);
    assert_eq!(scheduled(&bench), []);
}

#[test]
fn a_retry_waits_out_a_crash_by_the_calendar() {
    let mut bench = Bench::new(policy(|retry| retry.backoff_ms = 60_000));
    let id = bench.add(job(A));
    bench.go();
    bench.end(id, FAIL);
    bench.sync();
    bench.pass(20_000);
    bench.crash(0, true);
    bench.starts();
    bench.pass(39_999);
    assert_eq!(bench.state(id), StateName::Scheduled);
    bench.pass(1);
    bench.sync();
    assert_eq!(bench.starts(), [id]);
}
