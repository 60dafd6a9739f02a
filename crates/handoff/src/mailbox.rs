//! Items on their way from any thread to one consumer, a task or a thread.
//!
//! Invariant: an item that `push` took in is in exactly one batch, in the order in which it was pushed, also when the
//! mailbox is closed before it is taken. `push` never blocks: the protocol of its users bounds what can be on the way
//! (each item answers a request, and requests are limited), and the capacity states that bound.

use std::any::type_name;
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;

use super::park::{block_on, block_on_for};
use super::shared::Shared;

/// A queue that is emptied a whole batch at a time. See the module for what it promises.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Shared<Queue<T>>,
    capacity: usize,
}

#[derive(Debug)]
struct Queue<T> {
    items: Vec<T>,
    closed: bool,
}

impl<T> Mailbox<T> {
    /// An empty mailbox. `capacity`, in items, is what its users' protocol can have on the way at most.
    pub fn new(capacity: usize) -> Self {
        Self { queue: Shared::new(Queue { items: Vec::new(), closed: false }), capacity }
    }

    /// Adds `item` and wakes the consumer. Never blocks.
    ///
    /// # Errors
    /// The item comes back when the mailbox is closed.
    ///
    /// # Panics
    /// When `capacity` items are waiting already: then a limit elsewhere does not hold, which is a bug of ours.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.queue.change(|queue| {
            if queue.closed {
                return Err(item);
            }
            let capacity = self.capacity;
            assert!(queue.items.len() < capacity, "mailbox of {} is over its capacity {capacity}", type_name::<T>());
            queue.items.push(item);
            Ok(())
        })
    }

    /// Ends the mailbox: what is in it can still be taken, nothing more comes in. Closing again changes nothing.
    pub fn close(&self) {
        self.queue.change(|queue| queue.closed = true);
    }

    /// All items waiting, at least one, as soon as there are any; `None` once the mailbox is closed and empty.
    pub fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Vec<T>>> {
        self.queue.poll(cx, |queue| {
            if queue.items.is_empty() {
                return queue.closed.then_some(None);
            }
            Some(Some(mem::take(&mut queue.items)))
        })
    }

    /// [`poll_take`](Self::poll_take) as a future. To drop it loses nothing.
    pub async fn take(&self) -> Option<Vec<T>> {
        poll_fn(|cx| self.poll_take(cx)).await
    }

    /// [`poll_take`](Self::poll_take) for a thread that may block. Never called on the event loop.
    pub fn take_blocking(&self) -> Option<Vec<T>> {
        block_on(self.take())
    }

    /// The same, but no longer than so long: then `None`.
    pub fn take_blocking_for(&self, at_most: Duration) -> Option<Option<Vec<T>>> {
        block_on_for(self.take(), at_most)
    }
}
