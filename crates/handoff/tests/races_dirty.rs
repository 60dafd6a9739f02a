//! Proofs for `Dirty`: the source files of production, compiled against loom, in every interleaving.
//!
//! Beside the proofs stands a latch with one bug of choice. Each bug must be caught by a proof that the latch passes.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../src/dirty.rs"]
pub mod dirty;
#[path = "common/explore.rs"]
mod explore;
#[path = "../src/park.rs"]
#[allow(dead_code, reason = "nobody here waits for a limited time")]
mod park;
#[path = "../src/shared.rs"]
pub mod shared;
#[path = "common/sync.rs"]
mod sync;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, Waker};

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use dirty::Dirty;
use explore::Preemptions::{Bounded, Unbounded};
use explore::{explore, prove};
use park::block_on;
use sync::{Arc, Mutex};

/// What the proofs ask of a latch, sound or broken.
trait Latch: Send + Sync + 'static {
    fn set(&self, index: usize);
    fn set_all(&self);
    fn poll_take(&self, cx: &Context<'_>) -> Poll<BTreeSet<usize>>;

    fn take_blocking(&self) -> BTreeSet<usize> {
        block_on(poll_fn(|cx| self.poll_take(cx)))
    }
}

impl Latch for Dirty {
    fn set(&self, index: usize) {
        self.set(index);
    }

    fn set_all(&self) {
        self.set_all();
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<BTreeSet<usize>> {
        self.poll_take(cx)
    }

    fn take_blocking(&self) -> BTreeSet<usize> {
        block_on(self.take())
    }
}

/// The number of marks.
const COUNT: usize = 3;
/// How often a file changes.
const VERSIONS: usize = 2;

fn sound() -> Dirty {
    Dirty::new(COUNT)
}

/// One mark, set once, while the loop is about to wait.
fn a_mark_wakes_the_loop<L: Latch>(make: impl Fn() -> L) {
    let latch = Arc::new(make());
    let watcher = Arc::clone(&latch);
    thread::spawn(move || watcher.set(1));
    assert_eq!(latch.take_blocking(), BTreeSet::from([1]));
}

/// A file changes `VERSIONS` times, and is marked after each change. The loop looks once for each take, and waits again
/// until it has seen the last version: a change without a look that follows it would leave the loop waiting.
///
/// The file is read and written without any ordering of its own, so this proves too that the mark carries it.
fn the_last_change_is_looked_at<L: Latch>(make: impl Fn() -> L) {
    let file = Arc::new(AtomicUsize::new(0));
    let latch = Arc::new(make());
    let (watcher, watched) = (Arc::clone(&latch), Arc::clone(&file));
    thread::spawn(move || {
        for version in 1..=VERSIONS {
            watched.store(version, Relaxed);
            watcher.set(0);
        }
    });
    block_on(poll_fn(|cx| {
        while file.load(Relaxed) < VERSIONS {
            match latch.poll_take(cx) {
                Poll::Ready(marks) => assert_eq!(marks, BTreeSet::from([0])),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }));
}

/// The same for two files and two watchers. Only what is marked is looked at.
fn what_is_marked_is_looked_at<L: Latch>(make: impl Fn() -> L) {
    let files = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let latch = Arc::new(make());
    for index in 0..files.len() {
        let (watcher, watched) = (Arc::clone(&latch), Arc::clone(&files));
        thread::spawn(move || {
            watched[index].store(1, Relaxed);
            watcher.set(index);
        });
    }
    let mut seen = [0; 2];
    while seen != [1, 1] {
        for index in latch.take_blocking() {
            seen[index] = files[index].load(Relaxed);
        }
    }
}

/// One watcher has lost count and marks everything, another marks one thing.
fn a_mark_for_everything_reaches_everything<L: Latch>(make: impl Fn() -> L) {
    let latch = Arc::new(make());
    let (lost, watcher) = (Arc::clone(&latch), Arc::clone(&latch));
    thread::spawn(move || lost.set_all());
    thread::spawn(move || watcher.set(1));
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT {
        seen.extend(latch.take_blocking());
    }
    assert_eq!(seen, (0..COUNT).collect(), "marks that there are not");
}

#[test]
fn proof_a_mark_wakes_the_loop() {
    prove(Unbounded, 9, || a_mark_wakes_the_loop(sound));
}

#[test]
fn proof_the_last_change_is_looked_at() {
    prove(Unbounded, 1734, || the_last_change_is_looked_at(sound));
}

#[test]
fn proof_what_is_marked_is_looked_at() {
    prove(Unbounded, 672, || what_is_marked_is_looked_at(sound));
}

#[test]
fn proof_a_mark_for_everything_reaches_everything() {
    prove(Unbounded, 424, || a_mark_for_everything_reaches_everything(sound));
}

/// The bugs that the proofs must catch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// No bug: the control.
    None,
    /// Wakes first and marks then.
    WakesBeforeSet,
    /// Copies the marks under one lock and clears them under the next.
    TakesInTwoSteps,
    /// Hands out the marks and clears them when it is asked for more, after the look.
    ClearsAfterTheLook,
    /// Looks, lets go of the lock, and registers the waker without another look.
    RegistersUnlocked,
    /// Marks everything without waking.
    SetsAllSilently,
}

/// A latch with one bug.
struct Broken {
    bug: Bug,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    marked: BTreeSet<usize>,
    looked_at: BTreeSet<usize>,
    waiter: Option<Waker>,
}

fn broken(bug: Bug) -> impl Fn() -> Broken {
    move || Broken { bug, state: Mutex::new(State::default()) }
}

impl Broken {
    fn wake(&self) {
        let waiter = self.state.lock().unwrap().waiter.take();
        waiter.into_iter().for_each(Waker::wake);
    }
}

impl Latch for Broken {
    fn set(&self, index: usize) {
        if self.bug == Bug::WakesBeforeSet {
            self.wake();
        }
        let mut state = self.state.lock().unwrap();
        state.marked.insert(index);
        drop(state);
        if self.bug != Bug::WakesBeforeSet {
            self.wake();
        }
    }

    fn set_all(&self) {
        self.state.lock().unwrap().marked.extend(0..COUNT);
        if self.bug != Bug::SetsAllSilently {
            self.wake();
        }
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<BTreeSet<usize>> {
        let mut state = self.state.lock().unwrap();
        let looked_at = mem::take(&mut state.looked_at);
        state.marked.retain(|index| !looked_at.contains(index));
        if state.marked.is_empty() {
            if self.bug == Bug::RegistersUnlocked {
                drop(state);
                state = self.state.lock().unwrap();
            }
            state.waiter = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.bug == Bug::ClearsAfterTheLook {
            state.looked_at = state.marked.clone();
            return Poll::Ready(state.marked.clone());
        }
        if self.bug == Bug::TakesInTwoSteps {
            let marked = state.marked.clone();
            drop(state);
            self.state.lock().unwrap().marked.clear();
            return Poll::Ready(marked);
        }
        Poll::Ready(mem::take(&mut state.marked))
    }
}

/// What the broken latches are caught for is their bug, not how they are built.
#[test]
fn control_the_same_latch_without_a_bug_passes() {
    explore(Bounded(2), || a_mark_wakes_the_loop(broken(Bug::None)));
    explore(Bounded(2), || the_last_change_is_looked_at(broken(Bug::None)));
    explore(Bounded(2), || what_is_marked_is_looked_at(broken(Bug::None)));
    explore(Bounded(2), || a_mark_for_everything_reaches_everything(broken(Bug::None)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_latch_that_wakes_before_it_is_set() {
    explore(Unbounded, || a_mark_wakes_the_loop(broken(Bug::WakesBeforeSet)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_latch_that_takes_in_two_steps() {
    explore(Unbounded, || what_is_marked_is_looked_at(broken(Bug::TakesInTwoSteps)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_latch_that_clears_after_the_look() {
    explore(Unbounded, || the_last_change_is_looked_at(broken(Bug::ClearsAfterTheLook)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_latch_that_registers_without_looking_again() {
    explore(Unbounded, || the_last_change_is_looked_at(broken(Bug::RegistersUnlocked)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_latch_that_sets_everything_silently() {
    explore(Unbounded, || a_mark_for_everything_reaches_everything(broken(Bug::SetsAllSilently)));
}
