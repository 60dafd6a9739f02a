//! Proofs for `Stop`: the source files of production, compiled against loom, in every interleaving.
//!
//! Beside the proofs stands a stop with one bug of choice. Each bug must be caught by a proof that the stop passes.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/explore.rs"]
mod explore;
#[path = "../src/park.rs"]
#[allow(dead_code, reason = "nobody here waits for a limited time")]
mod park;
#[path = "../src/shared.rs"]
pub mod shared;
#[path = "../src/stop.rs"]
pub mod stop;
#[path = "common/sync.rs"]
mod sync;

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

use explore::Preemptions::{Bounded, Unbounded};
use explore::{explore, prove};
use park::block_on;
use shared::WAITERS_MAX;
use stop::{Level, Stop};
use sync::{Arc, Mutex};

/// What the proofs ask of a stop, sound or broken.
trait Rise: Send + Sync + 'static {
    fn raise(&self, level: Level);
    fn level(&self) -> Level;
    fn poll_above(&self, cx: &Context<'_>, seen: Level) -> Poll<Level>;

    fn wait_blocking(&self, seen: Level) -> Level {
        block_on(poll_fn(|cx| self.poll_above(cx, seen)))
    }
}

impl Rise for Stop {
    fn raise(&self, level: Level) {
        self.raise(level);
    }

    fn level(&self) -> Level {
        self.level()
    }

    fn poll_above(&self, cx: &Context<'_>, seen: Level) -> Poll<Level> {
        self.poll_above(cx, seen)
    }

    fn wait_blocking(&self, seen: Level) -> Level {
        self.wait_blocking(seen)
    }
}

fn sound() -> Stop {
    Stop::new()
}

/// A thread begins to wait while another raises, step by step.
fn a_waiter_that_races_sees_every_rise<R: Rise>(make: impl Fn() -> R) {
    let stop = Arc::new(make());
    let signal = Arc::clone(&stop);
    thread::spawn(move || {
        signal.raise(Level::Draining);
        signal.raise(Level::Stopping);
    });
    let mut seen = Level::Running;
    while seen < Level::Stopping {
        let risen = stop.wait_blocking(seen);
        assert!(risen > seen, "woken for no rise");
        seen = risen;
    }
}

/// Two signals at once, the lower one perhaps later: the level never falls, for a waiter or a passer-by.
fn the_level_never_falls<R: Rise>(make: impl Fn() -> R) {
    let stop = Arc::new(make());
    for level in [Level::Stopping, Level::Draining] {
        let signal = Arc::clone(&stop);
        thread::spawn(move || signal.raise(level));
    }
    let seen = stop.wait_blocking(Level::Running);
    let later = stop.level();
    assert!(later >= seen, "the level fell from {seen:?} to {later:?}");
    assert_eq!(stop.wait_blocking(Level::Draining), Level::Stopping);
    assert_eq!(stop.level(), Level::Stopping, "the level fell");
}

/// One signal, a task and a thread that wait for it.
fn every_waiter_sees_the_rise<R: Rise>(make: impl Fn() -> R) {
    let stop = Arc::new(make());
    let (task, signal) = (Arc::clone(&stop), Arc::clone(&stop));
    thread::spawn(move || {
        block_on(poll_fn(|cx| task.poll_above(cx, Level::Running)));
    });
    thread::spawn(move || signal.raise(Level::Draining));
    assert_eq!(stop.wait_blocking(Level::Running), Level::Draining);
}

/// A waker that uses what wakes it, as a runtime that polls at once would.
struct Curious<R>(Arc<R>);

impl<R: Rise> Wake for Curious<R> {
    fn wake(self: Arc<Self>) {
        assert_eq!(self.0.level(), Level::Draining);
    }
}

/// A waker is called while another thread reads the level.
fn wakers_are_called_under_no_lock<R: Rise>(make: impl Fn() -> R) {
    let stop = Arc::new(make());
    let curious = Waker::from(Arc::new(Curious(Arc::clone(&stop))));
    assert!(stop.poll_above(&Context::from_waker(&curious), Level::Running).is_pending());
    let reader = Arc::clone(&stop);
    thread::spawn(move || reader.level());
    stop.raise(Level::Draining);
}

/// A task that waited once and was dropped.
struct Abandoned;

impl Wake for Abandoned {
    fn wake(self: Arc<Self>) {}
}

/// A thread waits in a list of abandoned waiters, which runs full before it or behind it.
fn a_waiter_among_abandoned_ones_sees_the_rise<R: Rise>(make: impl Fn() -> R) {
    let stop = Arc::new(make());
    let abandon = || {
        let abandoned = Waker::from(Arc::new(Abandoned));
        assert!(stop.poll_above(&Context::from_waker(&abandoned), Level::Running).is_pending());
    };
    (1..WAITERS_MAX).for_each(|_| abandon());
    let waiter = Arc::clone(&stop);
    let waiting = thread::spawn(move || waiter.wait_blocking(Level::Running));
    abandon();
    stop.raise(Level::Draining);
    assert_eq!(waiting.join().unwrap(), Level::Draining);
}

#[test]
fn proof_a_waiter_that_races_sees_every_rise() {
    prove(Unbounded, 62, || a_waiter_that_races_sees_every_rise(sound));
}

#[test]
fn proof_the_level_never_falls() {
    prove(Unbounded, 691, || the_level_never_falls(sound));
}

#[test]
fn proof_every_waiter_sees_the_rise() {
    prove(Unbounded, 2066, || every_waiter_sees_the_rise(sound));
}

#[test]
fn proof_a_waiter_among_abandoned_ones_sees_the_rise() {
    prove(Unbounded, 46, || a_waiter_among_abandoned_ones_sees_the_rise(sound));
}

#[test]
fn proof_wakers_are_called_under_no_lock() {
    prove(Unbounded, 6, || wakers_are_called_under_no_lock(sound));
}

/// The bugs that the proofs must catch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// No bug: the control.
    None,
    /// Looks, lets go of the lock, and registers the waker without another look.
    RegistersUnlocked,
    /// Sets the level to whatever it is told.
    Falls,
    /// Wakes whoever waits longest, and nobody else.
    WakesOne,
    /// Calls wakers before it lets go of the lock.
    WakesUnderTheLock,
    /// Drops the waiters when the list is full, without waking them.
    ForgetsSilently,
}

/// A stop with one bug.
struct Broken {
    bug: Bug,
    state: Mutex<State>,
}

struct State {
    level: Level,
    waiters: Vec<Waker>,
}

fn broken(bug: Bug) -> impl Fn() -> Broken {
    move || Broken { bug, state: Mutex::new(State { level: Level::Running, waiters: Vec::new() }) }
}

impl Rise for Broken {
    fn raise(&self, level: Level) {
        let mut state = self.state.lock().unwrap();
        if self.bug == Bug::Falls || level > state.level {
            state.level = level;
        }
        let mut waiters = mem::take(&mut state.waiters);
        if self.bug == Bug::WakesOne {
            waiters.truncate(1);
        }
        if self.bug == Bug::WakesUnderTheLock {
            waiters.drain(..).for_each(Waker::wake);
        }
        drop(state);
        waiters.into_iter().for_each(Waker::wake);
    }

    fn level(&self) -> Level {
        self.state.lock().unwrap().level
    }

    fn poll_above(&self, cx: &Context<'_>, seen: Level) -> Poll<Level> {
        let mut state = self.state.lock().unwrap();
        if state.level > seen {
            return Poll::Ready(state.level);
        }
        if self.bug == Bug::RegistersUnlocked {
            drop(state);
            state = self.state.lock().unwrap();
        }
        if self.bug == Bug::ForgetsSilently && state.waiters.len() == WAITERS_MAX {
            state.waiters.clear();
        }
        state.waiters.push(cx.waker().clone());
        Poll::Pending
    }
}

/// What the broken stops are caught for is their bug, not how they are built.
#[test]
fn control_the_same_stop_without_a_bug_passes() {
    explore(Bounded(2), || a_waiter_that_races_sees_every_rise(broken(Bug::None)));
    explore(Bounded(2), || the_level_never_falls(broken(Bug::None)));
    explore(Bounded(2), || every_waiter_sees_the_rise(broken(Bug::None)));
    explore(Bounded(2), || a_waiter_among_abandoned_ones_sees_the_rise(broken(Bug::None)));
    explore(Bounded(2), || wakers_are_called_under_no_lock(broken(Bug::None)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_stop_that_wakes_under_the_lock() {
    explore(Unbounded, || wakers_are_called_under_no_lock(broken(Bug::WakesUnderTheLock)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_stop_that_registers_without_looking_again() {
    explore(Unbounded, || a_waiter_that_races_sees_every_rise(broken(Bug::RegistersUnlocked)));
}

#[test]
#[should_panic(expected = "the level fell")]
fn caught_a_stop_that_falls() {
    explore(Unbounded, || the_level_never_falls(broken(Bug::Falls)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_stop_that_wakes_one_waiter() {
    explore(Unbounded, || every_waiter_sees_the_rise(broken(Bug::WakesOne)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_stop_that_forgets_waiters_silently() {
    explore(Unbounded, || a_waiter_among_abandoned_ones_sees_the_rise(broken(Bug::ForgetsSilently)));
}
