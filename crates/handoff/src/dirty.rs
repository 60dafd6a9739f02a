//! Marks that say "look again", from any thread to the event loop.
//!
//! Invariant: a mark stays until it is taken, and is cleared in the taking, before the look. So what changed before a
//! `set` is seen by a look that follows: either the mark was still to be taken, or it is set anew and the next take
//! brings it. Marks do not count and carry nothing: setting one that is set changes nothing and wakes nobody.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};

use super::shared::Shared;

/// A latch for each of a fixed number of things to look at. See the module for what it promises.
#[derive(Debug)]
pub struct Dirty {
    marked: Shared<BTreeSet<usize>>,
    count: usize,
}

impl Dirty {
    /// Nothing is marked. The marks are numbered from 0 to `count` - 1, so there are never more than `count` to take.
    pub fn new(count: usize) -> Self {
        Self { marked: Shared::new(BTreeSet::new()), count }
    }

    /// Marks `index` and wakes the taker. Never blocks.
    ///
    /// # Panics
    /// When there is no mark `index`, which is a bug of ours.
    pub fn set(&self, index: usize) {
        assert!(index < self.count, "mark {index} of {}", self.count);
        self.marked.change(|marked| marked.insert(index));
    }

    /// Marks everything, for when it is not known what has changed. Never blocks.
    pub fn set_all(&self) {
        self.marked.change(|marked| marked.extend(0..self.count));
    }

    /// All marks that are set, at least one, as soon as there are any. They are cleared.
    pub fn poll_take(&self, cx: &Context<'_>) -> Poll<BTreeSet<usize>> {
        self.marked.poll(cx, |marked| (!marked.is_empty()).then(|| mem::take(marked)))
    }

    /// [`poll_take`](Self::poll_take) as a future. To drop it loses nothing.
    pub async fn take(&self) -> BTreeSet<usize> {
        poll_fn(|cx| self.poll_take(cx)).await
    }
}
