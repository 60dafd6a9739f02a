//! How far the shutdown has come, visible to every thread.
//!
//! Invariant: the level never falls, and who waits for a level above the one it has seen is woken when it is reached,
//! however late it begins to wait.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::park::block_on;
use super::shared::Shared;

/// The levels, in their only order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Work is taken in and done.
    Running,
    /// Nothing new is started; what runs may finish.
    Draining,
    /// Everything ends now.
    Stopping,
}

/// A level that is raised by anyone and seen by everyone.
///
/// It takes a lock, so it is no place to go from a signal handler itself; a thread or task that hears the signal raises.
#[derive(Debug)]
pub struct Stop {
    level: Shared<Level>,
}

impl Stop {
    /// The level is [`Level::Running`].
    #[expect(clippy::new_without_default, reason = "a default would hide where the shutdown begins")]
    pub fn new() -> Self {
        Self { level: Shared::new(Level::Running) }
    }

    /// Raises the level to `level`, or leaves it where it is when it is that high already. Never blocks.
    pub fn raise(&self, level: Level) {
        self.level.change(|current| *current = level.max(*current));
    }

    /// The level now.
    pub fn level(&self) -> Level {
        self.level.lock().value
    }

    /// The level, as soon as it is above `seen`. Nothing is above [`Level::Stopping`]: that wait never ends.
    pub fn poll_above(&self, cx: &Context<'_>, seen: Level) -> Poll<Level> {
        self.level.poll(cx, |level| (*level > seen).then_some(*level))
    }

    /// [`poll_above`](Self::poll_above) as a future.
    pub async fn above(&self, seen: Level) -> Level {
        poll_fn(|cx| self.poll_above(cx, seen)).await
    }

    /// [`poll_above`](Self::poll_above) for a thread that may block. Never called on the event loop.
    ///
    /// # Panics
    /// When `seen` is [`Level::Stopping`]: the thread would never return, which is a bug of ours.
    pub fn wait_blocking(&self, seen: Level) -> Level {
        assert!(seen < Level::Stopping, "a wait for more than {seen:?} never ends");
        block_on(self.above(seen))
    }
}
