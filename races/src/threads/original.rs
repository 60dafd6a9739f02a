//! The original's threads, and those of the polling that was to mend it.
//!
//! **Invariant.** The loop's thread is the model's first; the names of who waits, and for what, are those of the catalogue.

use super::parts::{Call, Channel, EventLoop, FileLock, Future, Watched, lock};
use super::{Expected, Scenario, Waits};
use crate::Design;
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

const CLEAN: Expected = Expected::Clean;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Design::{Original, Polling};
    use Expected::{Deadlock, Stall};
    let row = |id, name, design, variant, expected, executions_min, model| Scenario {
        id,
        name,
        design,
        variant,
        planted: false,
        expected,
        executions_min,
        model,
    };
    let handler = |held| Deadlock([("dispatcher", RESULT), ("loop", held)]);
    let pool = Deadlock([("pool thread 1", RESULT), ("pool thread 2", RESULT)]);
    let watch = Deadlock([("watcher", "room in the channel of events"), ("consumer", "the answer to `watch`")]);
    let tasks = Deadlock([("task A", "its turn on the thread"), ("task B", "the lock of task A")]);
    let join = Deadlock([("dispatcher", RESULT), ("loop", "the end of the dispatcher")]);
    vec![
        row("R0", "literal story", Original, "no wait", CLEAN, 90, |w| literal(w, Wait::Not)),
        row("R0", "literal story", Original, "waits with the file open", CLEAN, 180, |w| literal(w, Wait::ForEver)),
        row("R1", LOCK, Original, "", handler("the lock"), 1, |w| lock_over_result(w, Wait::ForEver)),
        row("R1", LOCK, Original, "result(timeout)", CLEAN, 13_417, |w| lock_over_result(w, Wait::WithTimeout)),
        row("R1", LOCK, Original, "no result()", CLEAN, 38, |w| lock_over_result(w, Wait::Not)),
        row("R1", LOCK, Polling, "", CLEAN, 9, polls),
        row("R2", "observer lock", Original, "unschedule", handler(OBSERVER), 1, |w| observer(w, Then::GoesOn)),
        row("R2", "observer lock", Original, "stop and join", join, 1, |w| observer(w, Then::Joins)),
        row("R2", "observer lock", Polling, "", CLEAN, 9, polls),
        row("R3", "flock over result", Original, "", handler("the lock on the file"), 1, |w| flock(w, [1, 2])),
        row("R3", "flock over result", Original, "lockf: one process", CLEAN, 180, |w| flock(w, [1, 1])),
        row("R3", "flock over result", Polling, "", CLEAN, 9, polls),
        row("R4", WAKE, Original, "put_nowait", Stall(("loop", "anything to happen")), 1, |w| wakes(w, false)),
        row("R4", WAKE, Original, "call_soon_threadsafe", CLEAN, 18, |w| wakes(w, true)),
        row("R4", WAKE, Polling, "", CLEAN, 9, polls),
        row("R5", AWAIT, Original, "", tasks, 1, lock_across_await),
        row("R5", AWAIT, Polling, "", tasks, 1, lock_across_await),
        row("R6", "pool starvation", Original, "", pool, 1, pool_starves),
        row("R6", "pool starvation", Polling, "", pool, 1, pool_starves),
        row("R7", "bounded both ways", Original, "", watch, 1, bounded_both_ways),
        row("R7", "bounded both ways", Polling, "", CLEAN, 9, polls),
        row("R8", "shutdown", Original, "join", join, 1, shutdown_joins),
        row("R8", "shutdown", Original, "dead loop", Stall(("pool thread", RESULT)), 1, dead_loop),
        row("R8", "shutdown", Polling, "dead loop", Stall(("pool thread", RESULT)), 1, dead_loop),
    ]
}

const LOCK: &str = "lock over result";
const WAKE: &str = "lost wake-up";
const AWAIT: &str = "lock across await";
const RESULT: &str = "the result of its coroutine";
const OBSERVER: &str = "the observer's lock";

/// What a handler does after it has handed a coroutine to the loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    ForEver,
    WithTimeout,
    Not,
}

/// The loop, and what one handler waits for.
struct Handler {
    calls: EventLoop,
    answer: Future,
}

impl Handler {
    fn new() -> Handler {
        Handler { calls: EventLoop::new(), answer: Future::new() }
    }

    /// On the dispatcher's thread.
    fn hands_over(&self, waits: &Waits, wait: Wait) {
        self.calls.call_soon_threadsafe(Call::Run(0));
        if wait != Wait::Not {
            waits.during("dispatcher", RESULT, || self.answer.result());
        }
    }

    /// On the loop's thread: the coroutine runs.
    fn serves(&self, waits: &Waits) {
        let Call::Run(_) = self.calls.next(waits);
        self.answer.set_result();
    }
}

/// The watcher's thread hands over while one renames the file that another reads. Nobody holds anything.
fn literal(waits: &Waits, wait: Wait) {
    // The inode at the name; an open handle keeps its own.
    let name = Arc::new(Mutex::new(1_u32));
    let handler = Arc::new(Handler::new());
    let (dispatcher_name, dispatcher_handler, inside) = (Arc::clone(&name), Arc::clone(&handler), waits.clone());
    let dispatcher = thread::spawn(move || {
        let handle = *lock(&dispatcher_name);
        dispatcher_handler.hands_over(&inside, wait);
        assert!(handle <= 2);
    });
    *lock(&name) = 2;
    let handle = *lock(&name);
    handler.serves(waits);
    assert_eq!(handle, 2);
    join(dispatcher);
}

/// The handler holds a lock while it waits; a coroutine takes the lock.
fn lock_over_result(waits: &Waits, wait: Wait) {
    let shared = Arc::new((Handler::new(), Mutex::new(())));
    let (theirs, inside) = (Arc::clone(&shared), waits.clone());
    let dispatcher = thread::spawn(move || {
        let _held = inside.during("dispatcher", "the lock", || lock(&theirs.1));
        theirs.0.hands_over(&inside, wait);
    });
    let time = (wait == Wait::WithTimeout).then(|| {
        let theirs = Arc::clone(&shared);
        thread::spawn(move || theirs.0.answer.expire())
    });
    drop(waits.during("loop", "the lock", || lock(&shared.1)));
    shared.0.serves(waits);
    join(dispatcher);
    time.into_iter().for_each(join);
}

/// What the loop does with the observer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoesOn,
    Joins,
}

/// The observer's own lock is held over the whole dispatch of an event.
fn observer(waits: &Waits, then: Then) {
    let shared = Arc::new((Handler::new(), Mutex::new(())));
    let (theirs, inside) = (Arc::clone(&shared), waits.clone());
    let dispatcher = thread::spawn(move || {
        let _dispatching = inside.during("dispatcher", OBSERVER, || lock(&theirs.1));
        theirs.0.hands_over(&inside, Wait::ForEver);
    });
    drop(waits.during("loop", OBSERVER, || lock(&shared.1)));
    match then {
        Then::GoesOn => {
            shared.0.serves(waits);
            join(dispatcher);
        }
        // `stop` wants the lock before it joins, so it may already wait there, as above.
        Then::Joins => waits.during("loop", "the end of the dispatcher", || join(dispatcher)),
    }
}

/// As with a lock, with that of a file. `owners`: the open description of each, or the process of both.
fn flock(waits: &Waits, owners: [usize; 2]) {
    let shared = Arc::new((Handler::new(), FileLock::new()));
    let (theirs, inside) = (Arc::clone(&shared), waits.clone());
    let dispatcher = thread::spawn(move || {
        inside.during("dispatcher", "the lock on the file", || theirs.1.take(owners[0]));
        theirs.0.hands_over(&inside, Wait::ForEver);
        theirs.1.release();
    });
    waits.during("loop", "the lock on the file", || shared.1.take(owners[1]));
    shared.1.release();
    shared.0.serves(waits);
    join(dispatcher);
}

/// A thread puts something into the loop's queue, with or without waking it.
fn wakes(waits: &Waits, threadsafe: bool) {
    let calls = Arc::new(EventLoop::new());
    let theirs = Arc::clone(&calls);
    let dispatcher = thread::spawn(move || {
        if threadsafe {
            theirs.call_soon_threadsafe(Call::Run(0));
        } else {
            theirs.call_soon(Call::Run(0));
        }
    });
    let Call::Run(_) = calls.next(waits);
    join(dispatcher);
}

/// Two tasks of one thread: A awaits with the lock in hand, B takes it.
fn lock_across_await(waits: &Waits) {
    let mutex = Mutex::new(());
    let _held_by_a = lock(&mutex);
    // A awaits: the thread goes on with B.
    waits.waits("task A", "its turn on the thread");
    drop(waits.during("task B", "the lock of task A", || lock(&mutex)));
}

/// Both threads of the pool wait for coroutines, each of which needs a thread of the pool. The loop itself turns: whoever
/// looks at its heartbeat sees nothing.
fn pool_starves(waits: &Waits) {
    const THREADS: [&str; 2] = ["pool thread 1", "pool thread 2"];
    let shared = Arc::new((EventLoop::new(), [Future::new(), Future::new()], Channel::new(4)));
    let threads = [0, 1].map(|number| {
        let (theirs, inside) = (Arc::clone(&shared), waits.clone());
        thread::spawn(move || {
            theirs.0.call_soon_threadsafe(Call::Run(number));
            inside.during(THREADS[number], RESULT, || theirs.1[number].result());
            // Free again: what waits for a thread can run.
            if let Some(other) = theirs.2.try_receive() {
                theirs.0.call_soon_threadsafe(Call::Run(other));
            }
        })
    });
    let mut needs_a_thread = [true, true];
    for _ in 0..4 {
        let Call::Run(number) = shared.0.next(waits);
        if needs_a_thread[number] {
            needs_a_thread[number] = false;
            shared.2.send(number);
        } else {
            shared.1[number].set_result();
        }
    }
    threads.into_iter().for_each(join);
}

/// The watcher waits for room for its event; the consumer, who should make room, waits for the watcher to answer.
fn bounded_both_ways(waits: &Waits) {
    let shared = Arc::new((Channel::new(1), Channel::new(1), Watched::new(false)));
    let (theirs, inside) = (Arc::clone(&shared), waits.clone());
    let watcher = thread::spawn(move || {
        for event in 0..3 {
            if theirs.1.try_receive() == Some(()) {
                theirs.2.change(|answered| *answered = true);
            }
            inside.during("watcher", "room in the channel of events", || theirs.0.send(event));
        }
        if theirs.2.change(|answered| !*answered) {
            theirs.1.receive();
            theirs.2.change(|answered| *answered = true);
        }
    });
    assert_eq!(shared.0.receive(), 0);
    shared.1.send(());
    waits.during("consumer", "the answer to `watch`", || shared.2.wait(|answered| answered.then_some(())));
    assert_eq!((shared.0.receive(), shared.0.receive()), (1, 2));
    join(watcher);
}

/// The loop joins the thread that waits for it.
fn shutdown_joins(waits: &Waits) {
    let handler = Arc::new(Handler::new());
    let (theirs, inside) = (Arc::clone(&handler), waits.clone());
    let dispatcher = thread::spawn(move || theirs.hands_over(&inside, Wait::ForEver));
    waits.during("loop", "the end of the dispatcher", || join(dispatcher));
    handler.serves(waits);
}

/// A thread hands a coroutine to a loop that has ended.
fn dead_loop(waits: &Waits) {
    let handler = Arc::new(Handler::new());
    let (theirs, inside) = (Arc::clone(&handler), waits.clone());
    let pool = thread::spawn(move || {
        theirs.calls.call_soon_threadsafe(Call::Run(0));
        inside.during("pool thread", RESULT, || theirs.answer.result());
    });
    // The loop ends without another look; the end of the program waits for the pool.
    join(pool);
}

/// No thread but the loop's: it looks at the file, again and again, while a writer replaces it.
fn polls(_: &Waits) {
    let name = Arc::new(Mutex::new(1_u32));
    let theirs = Arc::clone(&name);
    let writer = thread::spawn(move || *lock(&theirs) = 2);
    let first = *lock(&name);
    let again = *lock(&name);
    assert!(first <= again);
    join(writer);
    assert_eq!(*lock(&name), 2, "the next look sees it");
}

fn join<T>(thread: thread::JoinHandle<T>) {
    assert!(thread.join().is_ok(), "a thread of the model panicked");
}
