//! What the original design is made of, in small: an event loop with its queue and self-pipe, a future, a lock on a file, a
//! bounded channel.
//!
//! **Invariant.** Nothing here is better than the original: no wait has a way out that the original's has not.

use super::Waits;
use loom::sync::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    let Ok(guard) = mutex.lock() else { panic!("a thread of the model panicked") };
    guard
}

/// Holds a value; whoever waits for a change is woken by each.
pub(super) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(super) fn new(value: T) -> Watched<T> {
        Watched { value: Mutex::new(value), changed: Condvar::new() }
    }

    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let done = change(&mut lock(&self.value));
        self.changed.notify_all();
        done
    }

    /// Waits until `take` takes something.
    pub(super) fn wait<R>(&self, mut take: impl FnMut(&mut T) -> Option<R>) -> R {
        let mut value = lock(&self.value);
        loop {
            if let Some(taken) = take(&mut value) {
                return taken;
            }
            let Ok(again) = self.changed.wait(value) else { panic!("a thread of the model panicked") };
            value = again;
        }
    }
}

/// `concurrent.futures.Future`: what `run_coroutine_threadsafe` returns at once.
pub(super) struct Future(Watched<Option<bool>>);

impl Future {
    pub(super) fn new() -> Future {
        Future(Watched::new(None))
    }

    pub(super) fn set_result(&self) {
        self.0.change(|done| *done = done.or(Some(true)));
    }

    /// The timeout of whoever waits is over.
    pub(super) fn expire(&self) {
        self.0.change(|done| *done = done.or(Some(false)));
    }

    /// `.result()`. False if a timeout came first.
    pub(super) fn result(&self) -> bool {
        self.0.wait(|done| *done)
    }
}

/// What other threads ask an event loop to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// The coroutine of future number so and so.
    Run(usize),
}

/// `asyncio`'s loop: a queue of calls, and a pipe to itself that wakes it from its wait for descriptors.
pub(super) struct EventLoop {
    calls: Mutex<VecDeque<Call>>,
    pipe: Watched<usize>,
}

impl EventLoop {
    pub(super) fn new() -> EventLoop {
        EventLoop { calls: Mutex::new(VecDeque::new()), pipe: Watched::new(0) }
    }

    pub(super) fn call_soon_threadsafe(&self, call: Call) {
        self.call_soon(call);
        self.pipe.change(|written| *written += 1);
    }

    /// For the loop's own thread: it does not wake anybody.
    pub(super) fn call_soon(&self, call: Call) {
        lock(&self.calls).push_back(call);
    }

    /// The next call: what waits, or what comes after the wait for descriptors.
    pub(super) fn next(&self, waits: &Waits) -> Call {
        loop {
            let waiting = lock(&self.calls).pop_front();
            if let Some(call) = waiting {
                return call;
            }
            waits.during("loop", "anything to happen", || {
                self.pipe.wait(|written| (*written > 0).then(|| *written = 0));
            });
        }
    }
}

/// A lock on a file: of an open description (`flock`), or of a process (`lockf`).
pub(super) struct FileLock(Watched<Option<usize>>);

impl FileLock {
    pub(super) fn new() -> FileLock {
        FileLock(Watched::new(None))
    }

    pub(super) fn take(&self, owner: usize) {
        self.0.wait(|held| {
            let free = held.is_none_or(|holder| holder == owner);
            free.then(|| *held = Some(owner))
        });
    }

    pub(super) fn release(&self) {
        self.0.change(|held| *held = None);
    }
}

/// A channel that makes its sender wait when it is full.
pub(super) struct Channel<T> {
    items: Watched<VecDeque<T>>,
    capacity: usize,
}

impl<T> Channel<T> {
    pub(super) fn new(capacity: usize) -> Channel<T> {
        Channel { items: Watched::new(VecDeque::new()), capacity }
    }

    pub(super) fn send(&self, item: T) {
        let mut item = Some(item);
        self.items.wait(|items| (items.len() < self.capacity).then(|| items.extend(item.take())));
        self.items.change(|_| ());
    }

    pub(super) fn receive(&self) -> T {
        let item = self.items.wait(VecDeque::pop_front);
        self.items.change(|_| ());
        item
    }

    pub(super) fn try_receive(&self) -> Option<T> {
        self.items.change(VecDeque::pop_front)
    }
}
