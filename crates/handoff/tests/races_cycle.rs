//! The sentence that the design stands on, proved with all three primitives together: the loop never blocks on another
//! thread, so a change that is seen becomes a request, is persisted, is completed, and the shutdown ends.
//!
//! The loop here is the shipped one in small: it waits for everything at once, in a fixed order, and only there. The
//! journal thread takes a batch, syncs it, and answers. The watcher only marks. The names are those of `runtime`.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../src/dirty.rs"]
pub mod dirty;
#[path = "common/explore.rs"]
mod explore;
#[path = "../src/mailbox.rs"]
pub mod mailbox;
#[path = "../src/park.rs"]
mod park;
#[path = "../src/shared.rs"]
pub mod shared;
#[path = "../src/stop.rs"]
pub mod stop;
#[path = "common/sync.rs"]
mod sync;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::{Context, Poll};

use loom::thread;

use dirty::Dirty;
use explore::Preemptions::Bounded;
use explore::{explore, prove};
use mailbox::Mailbox;
use park::block_on;
use stop::{Level, Stop};
use sync::Arc;

/// What the threads share.
struct World {
    requests: Mailbox<usize>,
    completions: Mailbox<usize>,
    dirty: Dirty,
    stop: Stop,
    /// The disk answers once this is raised.
    disk: Stop,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            requests: Mailbox::new(4),
            completions: Mailbox::new(4),
            dirty: Dirty::new(2),
            stop: Stop::new(),
            disk: Stop::new(),
        })
    }
}

/// The journal thread: whoever waits for the disk, it is this thread.
fn journal(world: &World) {
    while let Some(batch) = world.requests.take_blocking() {
        world.disk.wait_blocking(Level::Running);
        batch.into_iter().for_each(|request| world.completions.push(request).unwrap());
    }
    world.completions.close();
}

/// What ends the loop's wait.
enum Turn {
    Level(Level),
    Completed(Vec<usize>),
    JournalEnded,
    Look(BTreeSet<usize>),
}

/// Everything the loop waits for, in its order.
fn poll_turn(world: &World, cx: &Context<'_>, seen: Level) -> Poll<Turn> {
    if let Poll::Ready(level) = world.stop.poll_above(cx, seen) {
        return Poll::Ready(Turn::Level(level));
    }
    match world.completions.poll_take(cx) {
        Poll::Ready(Some(batch)) => return Poll::Ready(Turn::Completed(batch)),
        Poll::Ready(None) => return Poll::Ready(Turn::JournalEnded),
        Poll::Pending => {}
    }
    world.dirty.poll_take(cx).map(Turn::Look)
}

/// How the loop goes about its requests and its shutdown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As shipped: hands over and turns on, until the journal thread has ended.
    HandsOver,
    /// Bug: waits for its completion on the spot.
    WaitsOnTheSpot,
    /// Bug: at the signal it waits for the journal thread to end without telling it to.
    LeavesTheJournalOpen,
    /// Bug: at the signal it goes home, whatever is still on the way.
    LeavesAtOnce,
}

/// What the loop does at each of its turns, beside handing over what is marked. Answers with what was persisted.
fn turn_until_the_journal_ends(world: &World, manner: Manner, mut each: impl FnMut(&Turn)) -> Vec<usize> {
    let (mut submitted, mut persisted, mut seen) = (Vec::new(), Vec::new(), Level::Running);
    loop {
        let turn = block_on(poll_fn(|cx| poll_turn(world, cx, seen)));
        each(&turn);
        match turn {
            Turn::Level(level) => {
                seen = level;
                if manner != Manner::LeavesTheJournalOpen {
                    world.requests.close();
                }
                if manner == Manner::LeavesAtOnce {
                    break;
                }
            }
            Turn::Completed(batch) => persisted.extend(batch),
            Turn::JournalEnded => break,
            Turn::Look(_) if seen > Level::Running => {}
            Turn::Look(marks) => {
                for index in marks {
                    world.requests.push(index).unwrap();
                    submitted.push(index);
                    if manner == Manner::WaitsOnTheSpot {
                        persisted.extend(block_on(world.completions.take()).unwrap());
                    }
                }
            }
        }
    }
    assert_eq!(persisted, submitted, "what was submitted is not what was persisted");
    persisted
}

/// Watched, submitted, persisted, completed; then the loop itself begins the shutdown.
fn a_change_is_persisted_and_the_shutdown_ends(manner: Manner) {
    let world = World::new();
    world.disk.raise(Level::Draining);
    let (writes, watches) = (Arc::clone(&world), Arc::clone(&world));
    let journal = thread::spawn(move || journal(&writes));
    thread::spawn(move || watches.dirty.set(1));
    let persisted = turn_until_the_journal_ends(&world, manner, |turn| {
        if let Turn::Completed(_) = turn {
            world.stop.raise(Level::Draining);
        }
    });
    assert_eq!(persisted, [1]);
    journal.join().unwrap();
}

/// The signal comes at any moment. What was submitted until then is persisted, and the shutdown ends.
fn a_signal_at_any_moment_ends_the_shutdown(manner: Manner) {
    let world = World::new();
    world.disk.raise(Level::Draining);
    let (writes, watches) = (Arc::clone(&world), Arc::clone(&world));
    let journal = thread::spawn(move || journal(&writes));
    thread::spawn(move || {
        watches.dirty.set_all();
        watches.stop.raise(Level::Stopping);
    });
    turn_until_the_journal_ends(&world, manner, |_| {});
    assert_eq!(world.stop.level(), Level::Stopping);
    journal.join().unwrap();
}

/// The disk hangs until the loop has handed over a request, looked again, and heard the signal. It must do all of that
/// meanwhile: if it waited anywhere for the journal thread, nobody would ever free it.
fn the_loop_turns_while_the_disk_hangs(manner: Manner) {
    let world = World::new();
    world.dirty.set(0);
    let (writes, watches) = (Arc::clone(&world), Arc::clone(&world));
    let journal = thread::spawn(move || journal(&writes));
    let mut looked = BTreeSet::new();
    let watcher = thread::spawn(move || {
        watches.dirty.set(1);
    });
    let persisted = turn_until_the_journal_ends(&world, manner, |turn| match turn {
        Turn::Look(marks) => {
            looked.extend(marks.iter().copied());
            if looked.len() == 2 {
                world.stop.raise(Level::Draining);
            }
        }
        Turn::Level(_) => world.disk.raise(Level::Draining),
        Turn::Completed(_) | Turn::JournalEnded => assert_eq!(world.stop.level(), Level::Draining),
    });
    assert_eq!(persisted, [0, 1]);
    journal.join().unwrap();
    watcher.join().unwrap();
}

#[test]
fn proof_a_change_is_persisted_and_the_shutdown_ends() {
    prove(Bounded(3), 2755, || a_change_is_persisted_and_the_shutdown_ends(Manner::HandsOver));
}

#[test]
fn proof_a_signal_at_any_moment_ends_the_shutdown() {
    prove(Bounded(3), 8748, || a_signal_at_any_moment_ends_the_shutdown(Manner::HandsOver));
}

#[test]
fn proof_the_loop_turns_while_the_disk_hangs() {
    prove(Bounded(3), 4192, || the_loop_turns_while_the_disk_hangs(Manner::HandsOver));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_loop_that_waits_for_the_journal() {
    explore(Bounded(3), || the_loop_turns_while_the_disk_hangs(Manner::WaitsOnTheSpot));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_loop_that_leaves_the_journal_open() {
    explore(Bounded(3), || a_change_is_persisted_and_the_shutdown_ends(Manner::LeavesTheJournalOpen));
}

#[test]
#[should_panic(expected = "what was submitted is not what was persisted")]
fn caught_a_loop_that_leaves_at_once() {
    explore(Bounded(3), || a_signal_at_any_moment_ends_the_shutdown(Manner::LeavesAtOnce));
}
