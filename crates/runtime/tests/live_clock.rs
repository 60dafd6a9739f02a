//! The clocks agree with the system's, and the timer with the clocks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests are here")]

mod live_common;

use live_common::{PATIENCE, runtime};
use sprag_core::Mono;
use sprag_runtime::live::{Timer, now};
use std::time::Duration;

async fn fires(timer: &mut Timer, deadline: Option<Mono>) {
    tokio::time::timeout(PATIENCE, timer.until(deadline)).await.expect("the timer should have fired").unwrap();
}

async fn is_silent(timer: &mut Timer, deadline: Option<Mono>) {
    let fired = tokio::time::timeout(Duration::from_millis(40), timer.until(deadline)).await;
    assert!(fired.is_err(), "{fired:?}");
}

#[test]
fn the_clocks_are_boottime_and_the_calendar() {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let (seconds, hundredths) = uptime.split_once(' ').unwrap().0.split_once('.').unwrap();
    let uptime_ms = seconds.parse::<u64>().unwrap() * 1000 + hundredths.parse::<u64>().unwrap() * 10;
    let here = now();
    // The kernel cuts the uptime to a hundredth.
    assert!(here.mono.0 >= uptime_ms && here.mono.0 < uptime_ms + 1000, "{} and {uptime_ms}", here.mono.0);

    let file = tempfile::NamedTempFile::new().unwrap();
    let stamp = file.as_file().metadata().unwrap().modified().unwrap();
    let stamp_ms = stamp.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(u128::from(now().wall.0).abs_diff(stamp_ms) < 1000);
    assert!(now().mono >= here.mono);
}

#[test]
fn the_timer_fires_at_its_deadline_and_not_before() {
    runtime().block_on(async {
        let mut timer = Timer::new().unwrap();
        for delay_ms in [1, 5, 30] {
            let deadline = now().mono.after(delay_ms);
            fires(&mut timer, Some(deadline)).await;
            let late_ms = now().mono.since_ms(deadline);
            assert!(now().mono >= deadline && late_ms < 500, "{late_ms} ms late");
        }
    });
}

#[test]
fn a_deadline_that_passed_fires_at_once_each_time() {
    runtime().block_on(async {
        let mut timer = Timer::new().unwrap();
        let passed = now().mono;
        for deadline in [passed, passed, Mono(0), Mono(1), Mono(0)] {
            fires(&mut timer, Some(deadline)).await;
        }
    });
}

#[test]
fn a_deadline_may_move_either_way_or_go_away() {
    runtime().block_on(async {
        let mut timer = Timer::new().unwrap();
        is_silent(&mut timer, None).await;
        is_silent(&mut timer, Some(Mono(u64::MAX))).await;
        fires(&mut timer, Some(now().mono.after(5))).await;
        // One that came true while nobody asked for it must not fire for a later one.
        let soon = now().mono.after(10);
        let _ = tokio::time::timeout(Duration::from_millis(1), timer.until(Some(soon))).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        is_silent(&mut timer, Some(now().mono.after(60_000))).await;
        // Asked for again after being dropped, it is not forgotten.
        let soon = now().mono.after(10);
        let _ = tokio::time::timeout(Duration::from_millis(1), timer.until(Some(soon))).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        fires(&mut timer, Some(soon)).await;
        is_silent(&mut timer, None).await;
    });
}
