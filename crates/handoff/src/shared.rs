//! A value that some threads change while others wait for it: the one mechanism under all three primitives.
//!
//! Invariant: who finds the value not yet as wanted is registered before the lock is released, and every change takes
//! all registered waiters with it under the same lock. So no change falls between the look and the registration. Each
//! waiter is woken once for each registration: what changes again before it comes back costs no further wake.

use std::mem;
use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, MutexGuard};

/// How many tasks and threads may wait for one primitive at a time.
///
/// A list that is full is woken and forgotten: who still waits registers again, who was dropped while it waited is gone.
/// So abandoned waiters need no clean-up, but more live ones than this would wake each other in circles.
pub const WAITERS_MAX: usize = 64;

/// A value under a lock, with the wakers of those who wait for it to change.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    state: Mutex<State<T>>,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State<T> {
    pub(crate) value: T,
    waiters: Vec<Waker>,
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { state: Mutex::new(State { value, waiters: Vec::new() }) }
    }

    /// Applies `change` to the value and wakes all who wait.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state.value);
        let waiters = mem::take(&mut state.waiters);
        drop(state);
        waiters.into_iter().for_each(Waker::wake);
        result
    }

    /// Asks `take` for what is waited for. When that is not there yet, the task is woken after the next change.
    pub(crate) fn poll<R>(&self, cx: &Context<'_>, take: impl FnOnce(&mut T) -> Option<R>) -> Poll<R> {
        let mut state = self.lock();
        if let Some(taken) = take(&mut state.value) {
            return Poll::Ready(taken);
        }
        let mut forgotten = Vec::new();
        if !state.waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            if state.waiters.len() == WAITERS_MAX {
                forgotten = mem::take(&mut state.waiters);
            }
            state.waiters.push(cx.waker().clone());
        }
        drop(state);
        forgotten.into_iter().for_each(Waker::wake);
        Poll::Pending
    }

    /// The value as it is now. A panic under the lock is a bug of ours, and stops whoever comes next too.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T>> {
        let Ok(state) = self.state.lock() else { panic!("a thread panicked while it changed what threads share") };
        state
    }
}
