//! What the loop does its work with: clocks, a timer, threads. The seam between the adapter and a world.
//!
//! **Invariant.** Two implementers, real ([`super::threads`]) and simulated. Nothing here blocks the loop. What is handed
//! away comes back through the mailbox that the loop was made with, as an [`Answer`](super::Answer), or not at all, when
//! the program has ended.

use crate::driver::{Driver, Event, JournalWork};
use crate::seams::ChildId;
use crate::task::Task;
use sprag_core::{Kill, Mono, Now};
use std::io;

/// The loop's hands.
pub trait Hands {
    /// What both clocks say.
    fn now(&self) -> Now;

    /// For how long the machine has slept since this was last asked, in milliseconds.
    fn slept_ms(&mut self) -> u64;

    /// Returns at `deadline`, at once when it has passed, never without one. To drop the future loses nothing.
    ///
    /// # Errors
    /// The system refuses to wait.
    fn until(&mut self, deadline: Option<Mono>) -> impl Future<Output = io::Result<()>>;

    /// Work for the journal thread, which does it in order and answers each with [`Event::Journal`].
    fn write(&mut self, work: JournalWork);

    /// A task for the keeper, if it makes a process, else for the pool. Answered with [`Event::Done`].
    fn run(&mut self, task: Task);

    /// A signal to the group of a child, if its end was not reported.
    fn signal(&mut self, child: ChildId, kill: Kill);

    /// The loop heard this, and is about to handle it.
    fn heard(&mut self, event: &Event);

    /// The loop has done what there was to do, and is about to wait until `deadline` at the latest.
    fn rest(&mut self, driver: &Driver, deadline: Option<Mono>);

    /// The loop has ended: what was handed away is finished, or left where it cannot matter.
    fn close(self);
}
