//! The same scenarios on sprag's own primitives: the source files of production.
//!
//! **Invariant.** The loop waits in one place only, for everything at once; who else there is leaves marks and items, and
//! waits for nobody but the world.

use super::parts::FileLock;
use super::{Expected, Scenario, Waits};
use crate::Design;
use crate::handoff::dirty::Dirty;
use crate::handoff::mailbox::Mailbox;
use crate::handoff::park::block_on;
use crate::handoff::stop::{Level, Stop};
use loom::thread;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

pub(super) fn scenarios() -> Vec<Scenario> {
    let row = |id, name, executions_min, model| Scenario {
        id,
        name,
        design: Design::Sprag,
        variant: "",
        planted: false,
        expected: Expected::Clean,
        executions_min,
        model,
    };
    vec![
        row("R0", "literal story", 18, marks_while_it_reads),
        row("R1", "lock over result", 247, marks_while_it_changes),
        row("R2", "observer lock", 25302, arms_while_marked),
        row("R3", "flock over result", 114, locks_off_the_loop),
        row("R4", "lost wake-up", 124, pushes_while_it_parks),
        row("R5", "lock across await", 238, one_owner),
        row("R6", "pool starvation", 39366, work_that_makes_work),
        row("R7", "bounded both ways", 3579, marks_and_orders),
        row("R8", "shutdown", 626, stops),
    ]
}

/// What the loop waits for, all at once.
pub(super) struct World {
    pub(super) dirty: Dirty,
    pub(super) answers: Mailbox<u32>,
    pub(super) orders: Mailbox<u32>,
    pub(super) stop: Stop,
}

/// What it woke up for.
pub(super) enum Woken {
    Stop(Level),
    Answers(Vec<u32>),
    Dirty(BTreeSet<usize>),
}

impl World {
    pub(super) fn new() -> Arc<World> {
        Arc::new(World { dirty: Dirty::new(2), answers: Mailbox::new(4), orders: Mailbox::new(4), stop: Stop::new() })
    }

    /// The only place where the loop waits, in the order of production.
    pub(super) fn wait(&self, waits: &Waits, seen: Level) -> Woken {
        let woken = poll_fn(|cx| {
            if let Poll::Ready(level) = self.stop.poll_above(cx, seen) {
                return Poll::Ready(Woken::Stop(level));
            }
            if let Poll::Ready(Some(answers)) = self.answers.poll_take(cx) {
                return Poll::Ready(Woken::Answers(answers));
            }
            self.dirty.poll_take(cx).map(Woken::Dirty)
        });
        waits.during("loop", "anything to happen", || block_on(woken))
    }

    /// A turn that must be a look.
    pub(super) fn look(&self, waits: &Waits) -> BTreeSet<usize> {
        match self.wait(waits, Level::Running) {
            Woken::Dirty(marks) => marks,
            Woken::Stop(_) | Woken::Answers(_) => panic!("nobody stopped or answered"),
        }
    }

    pub(super) fn answers(&self, waits: &Waits) -> Vec<u32> {
        match self.wait(waits, Level::Running) {
            Woken::Answers(answers) => answers,
            Woken::Stop(_) | Woken::Dirty(_) => panic!("nobody stopped or marked"),
        }
    }
}

/// The file as it is now: its content is the number of its last change.
pub(super) struct File(pub(super) loom::sync::Mutex<u32>);

impl File {
    pub(super) fn read(&self) -> u32 {
        *super::parts::lock(&self.0)
    }

    pub(super) fn replace(&self, with: u32) {
        *super::parts::lock(&self.0) = with;
    }
}

/// A writer replaces the file, the watcher marks it; the loop looks until it has seen the last change.
fn marks_while_it_reads(waits: &Waits) {
    let shared = Arc::new((World::new(), File(loom::sync::Mutex::new(0))));
    let theirs = Arc::clone(&shared);
    let watcher = thread::spawn(move || {
        theirs.1.replace(1);
        theirs.0.dirty.set(0);
    });
    shared.0.look(waits);
    assert_eq!(shared.1.read(), 1, "who was marked for has been written");
    join(watcher);
}

/// There is no lock to take: what the loop changes is its own.
fn marks_while_it_changes(waits: &Waits) {
    let shared = Arc::new((World::new(), File(loom::sync::Mutex::new(0))));
    let theirs = Arc::clone(&shared);
    let watcher = thread::spawn(move || {
        for version in 1..=2 {
            theirs.1.replace(version);
            theirs.0.dirty.set(0);
        }
    });
    let mut state = 0;
    while state < 2 {
        shared.0.look(waits);
        state = shared.1.read().max(state);
    }
    join(watcher);
}

/// Renewing a watch is an order to a thread that may block, and its answer an item.
fn arms_while_marked(waits: &Waits) {
    let world = World::new();
    let theirs = Arc::clone(&world);
    let pool = thread::spawn(move || {
        // Events come while the watch is renewed.
        theirs.dirty.set(0);
        while let Some(orders) = theirs.orders.take_blocking() {
            for order in orders {
                theirs.dirty.set(1);
                let _ = theirs.answers.push(order);
            }
        }
    });
    let Ok(()) = world.orders.push(7) else { panic!("it is open") };
    let (mut marks, mut armed) = (BTreeSet::new(), false);
    while !armed || marks.len() < 2 {
        match world.wait(waits, Level::Running) {
            Woken::Dirty(more) => marks.extend(more),
            Woken::Answers(answers) => armed = answers == [7],
            Woken::Stop(_) => panic!("nobody stopped"),
        }
    }
    world.orders.close();
    join(pool);
}

/// A lock on a file is waited for by the thread that may block; the loop hears of it.
fn locks_off_the_loop(waits: &Waits) {
    let shared = Arc::new((World::new(), FileLock::new()));
    // Somebody else has it, and lets go when he likes.
    shared.1.take(1);
    let theirs = Arc::clone(&shared);
    let pool = thread::spawn(move || {
        theirs.1.take(2);
        theirs.1.release();
        let _ = theirs.0.answers.push(7);
    });
    // The loop turns meanwhile: it is what lets the other one go on.
    shared.0.dirty.set(0);
    assert_eq!(shared.0.look(waits), BTreeSet::from([0]));
    shared.1.release();
    assert_eq!(shared.0.answers(waits), [7]);
    join(pool);
}

/// Whoever pushes wakes, whenever it is.
fn pushes_while_it_parks(waits: &Waits) {
    let world = World::new();
    let theirs = Arc::clone(&world);
    let thread = thread::spawn(move || {
        let _ = theirs.answers.push(1);
        let _ = theirs.answers.push(2);
    });
    let mut taken = Vec::new();
    while taken.len() < 2 {
        taken.extend(world.answers(waits));
    }
    assert_eq!(taken, [1, 2]);
    join(thread);
}

/// Two requests for the same state: it has one owner, who does one after the other.
fn one_owner(waits: &Waits) {
    let world = World::new();
    let theirs = Arc::clone(&world);
    let client = thread::spawn(move || {
        let _ = theirs.answers.push(1);
        theirs.dirty.set(0);
    });
    let (mut state, mut looked) = (0, false);
    while state == 0 || !looked {
        match world.wait(waits, Level::Running) {
            Woken::Answers(requests) => requests.into_iter().for_each(|request| state += request),
            Woken::Dirty(_) => looked = true,
            Woken::Stop(_) => panic!("nobody stopped"),
        }
    }
    assert_eq!(state, 1);
    join(client);
}

/// What comes of work is more work. No thread of the pool waits for it: the loop orders it.
fn work_that_makes_work(waits: &Waits) {
    let world = World::new();
    let theirs = Arc::clone(&world);
    let pool = thread::spawn(move || {
        while let Some(orders) = theirs.orders.take_blocking() {
            for order in orders {
                let _ = theirs.answers.push(order);
            }
        }
    });
    let Ok(()) = world.orders.push(1) else { panic!("it is open") };
    assert_eq!(world.answers(waits), [1]);
    let Ok(()) = world.orders.push(2) else { panic!("it is open") };
    assert_eq!(world.answers(waits), [2]);
    world.orders.close();
    join(pool);
}

/// An event finds room always: it is a mark. An order finds room always: there are fewer than the mailbox holds.
fn marks_and_orders(waits: &Waits) {
    let world = World::new();
    let theirs = Arc::clone(&world);
    let watcher = thread::spawn(move || {
        theirs.dirty.set(0);
        theirs.dirty.set(1);
        theirs.dirty.set(0);
        while let Some(orders) = theirs.orders.take_blocking() {
            orders.into_iter().for_each(|order| theirs.dirty.set(order as usize));
        }
    });
    let mut marks = world.look(waits);
    let Ok(()) = world.orders.push(1) else { panic!("it is open") };
    world.orders.close();
    while marks.len() < 2 {
        marks.extend(world.look(waits));
    }
    join(watcher);
}

/// The end: who works for the loop ends when its orders do; what comes too late is given back, and nobody waits for it.
fn stops(waits: &Waits) {
    let world = World::new();
    let theirs = Arc::clone(&world);
    let pool = thread::spawn(move || {
        while let Some(orders) = theirs.orders.take_blocking() {
            for order in orders {
                // Nobody may want it any more.
                let _ = theirs.answers.push(order);
            }
        }
    });
    let Ok(()) = world.orders.push(1) else { panic!("it is open") };
    world.stop.raise(Level::Stopping);
    match world.wait(waits, Level::Running) {
        Woken::Stop(level) => assert_eq!(level, Level::Stopping),
        Woken::Answers(_) | Woken::Dirty(_) => panic!("the stop comes first"),
    }
    world.answers.close();
    world.orders.close();
    assert!(world.orders.push(2).is_err(), "what comes too late comes back");
    join(pool);
}

pub(super) fn join<T>(thread: thread::JoinHandle<T>) {
    assert!(thread.join().is_ok(), "a thread of the model panicked");
}
