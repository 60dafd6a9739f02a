//! One bug for each of R0 to R8 in sprag's design, of the kind that the design excludes: the exploration must find it.
//!
//! **Invariant.** Each differs from the scenario of its number in `ours.rs` by the one mistake that its name tells.

use super::ours::{File, Woken, World, join};
use super::parts::{Channel, FileLock, lock};
use super::{Expected, Scenario, Waits};
use crate::Design;
use crate::handoff::park::block_on;
use crate::handoff::stop::Level;
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;
use std::task::{Context, Waker};

pub(super) fn scenarios() -> Vec<Scenario> {
    use Expected::{Broken, Deadlock, Stall};
    let row = |id, name, variant, expected, model| Scenario {
        id,
        name,
        design: Design::Sprag,
        variant,
        planted: true,
        expected,
        executions_min: 1,
        model,
    };
    let anything = Stall(("loop", "anything to happen"));
    let on_the_spot = Deadlock([("loop", "an answer, on the spot"), ("pool thread", "the loop's next look")]);
    let state = Deadlock([("loop", "the client's mark"), ("client", "the state's lock")]);
    let full = Deadlock([("watcher", "room for an event"), ("loop", "the watcher's answer")]);
    let end = Deadlock([("loop", "the end of the pool"), ("pool thread", "orders")]);
    vec![
        row("R0", "literal story", "marks before it writes", Broken("has been written"), marks_before_it_writes),
        row("R1", "lock over result", "reads before it takes the mark", anything, reads_before_it_takes),
        row("R2", "observer lock", "waits for an answer on the spot", on_the_spot, waits_on_the_spot),
        row("R3", "flock over result", "locks on the loop", Stall(("loop", "the lock on the file")), locks_on_the_loop),
        row("R4", "lost wake-up", "looks without being registered", anything, looks_unregistered),
        row("R5", "lock across await", "shares its state under a lock", state, shares_its_state),
        row(
            "R6",
            "pool starvation",
            "waits for its own work",
            Stall(("pool thread", "its own order")),
            waits_for_its_own,
        ),
        row("R7", "bounded both ways", "events in a bounded channel", full, bounded_events),
        row("R8", "shutdown", "joins before it closes", end, joins_before_it_closes),
    ]
}

fn marks_before_it_writes(waits: &Waits) {
    let shared = Arc::new((World::new(), File(Mutex::new(0))));
    let theirs = Arc::clone(&shared);
    let watcher = thread::spawn(move || {
        theirs.0.dirty.set(0);
        theirs.1.replace(1);
    });
    shared.0.look(waits);
    assert_eq!(shared.1.read(), 1, "who was marked for has been written");
    join(watcher);
}

fn reads_before_it_takes(waits: &Waits) {
    let shared = Arc::new((World::new(), File(Mutex::new(0))));
    let theirs = Arc::clone(&shared);
    let watcher = thread::spawn(move || {
        for version in 1..=2 {
            theirs.1.replace(version);
            theirs.0.dirty.set(0);
        }
    });
    let mut state = 0;
    while state < 2 {
        state = shared.1.read().max(state);
        shared.0.look(waits);
    }
    join(watcher);
}

fn waits_on_the_spot(waits: &Waits) {
    let world = World::new();
    let (theirs, inside) = (Arc::clone(&world), waits.clone());
    let pool = thread::spawn(move || {
        while let Some(orders) = theirs.orders.take_blocking() {
            for order in orders {
                // What it does wants the loop to have looked.
                theirs.dirty.set(1);
                inside.during("pool thread", "the loop's next look", || theirs.stop.wait_blocking(Level::Running));
                let _ = theirs.answers.push(order);
            }
        }
    });
    let Ok(()) = world.orders.push(7) else { panic!("it is open") };
    waits.during("loop", "an answer, on the spot", || world.answers.take_blocking());
    world.look(waits);
    world.stop.raise(Level::Draining);
    world.orders.close();
    join(pool);
}

fn locks_on_the_loop(waits: &Waits) {
    let file = FileLock::new();
    // Somebody else has it, and lets go when the loop has done its turn.
    file.take(1);
    waits.during("loop", "the lock on the file", || file.take(2));
    file.release();
}

fn looks_unregistered(waits: &Waits) {
    let world = World::new();
    let theirs = Arc::clone(&world);
    let thread = thread::spawn(move || {
        let _ = theirs.answers.push(1);
    });
    if world.answers.poll_take(&Context::from_waker(Waker::noop())).is_pending() {
        waits.during("loop", "anything to happen", || block_on(world.dirty.take()));
    }
    join(thread);
}

fn shares_its_state(waits: &Waits) {
    let shared = Arc::new((World::new(), Mutex::new(0_u32)));
    let (theirs, inside) = (Arc::clone(&shared), waits.clone());
    let client = thread::spawn(move || {
        *inside.during("client", "the state's lock", || lock(&theirs.1)) += 1;
        theirs.0.dirty.set(0);
    });
    let state = lock(&shared.1);
    waits.during("loop", "the client's mark", || block_on(shared.0.dirty.take()));
    drop(state);
    join(client);
}

fn waits_for_its_own(waits: &Waits) {
    let world = World::new();
    let (theirs, inside) = (Arc::clone(&world), waits.clone());
    let pool = thread::spawn(move || {
        let _first = theirs.orders.take_blocking();
        // More work came of it, for the only thread that there is.
        let _ = theirs.orders.push(2);
        inside.during("pool thread", "its own order", || theirs.answers.take_blocking());
    });
    let Ok(()) = world.orders.push(1) else { panic!("it is open") };
    join(pool);
}

fn bounded_events(waits: &Waits) {
    let shared = Arc::new((World::new(), Channel::new(1)));
    let (theirs, inside) = (Arc::clone(&shared), waits.clone());
    let watcher = thread::spawn(move || {
        for event in 0..2 {
            inside.during("watcher", "room for an event", || theirs.1.send(event));
        }
        let Some(_orders) = theirs.0.orders.take_blocking() else { return };
        let _ = theirs.0.answers.push(1);
    });
    let Ok(()) = shared.0.orders.push(1) else { panic!("it is open") };
    waits.during("loop", "the watcher's answer", || shared.0.answers.take_blocking());
    assert_eq!((shared.1.receive(), shared.1.receive()), (0, 1));
    join(watcher);
}

fn joins_before_it_closes(waits: &Waits) {
    let world = World::new();
    let (theirs, inside) = (Arc::clone(&world), waits.clone());
    let pool =
        thread::spawn(
            move || while inside.during("pool thread", "orders", || theirs.orders.take_blocking()).is_some() {},
        );
    world.stop.raise(Level::Stopping);
    let Woken::Stop(_) = world.wait(waits, Level::Running) else { panic!("the stop comes first") };
    waits.during("loop", "the end of the pool", || join(pool));
    world.orders.close();
}
