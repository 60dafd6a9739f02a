//! The keeper: the one thread that makes processes, hears of their ends, signals and reaps them, and settles an attempt
//! whose settling takes no time. So a short job costs the loop one order and one answer.
//!
//! **Invariant.** Whoever holds [`Held`] is the keeper; there is one. It is held all the time but while a command is being
//! started, since a start can hang (on a program that lies on a dead mount, say): meanwhile it lies in a mailbox. When the
//! loop finds that a start takes too long it sends a relief, a second thread that takes it from there and is the keeper
//! from then on. The thread that hung finds nothing to go on with when its start is through, and ends; the child that it
//! started reaches the new keeper as an order, like any other. No lock is held meanwhile, and nobody waits for anybody.

use super::children::{Children, Message};
use super::clock::now;
use super::processes::LiveProcesses;
use super::watch::LiveWatch;
use crate::driver::Event;
use crate::task::{Context, Task};
use sprag_core::Mono;
use sprag_handoff::Mailbox;
use sprag_journal::RealFs;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::thread;

/// A start that takes longer hangs, and the keeper is relieved.
const HANGS_MS: u64 = 2_000;
/// Threads that may hang in a start at once. When there are more, commands end unheard until one of them goes on.
const THREADS_MAX: usize = 16;

/// What the keeper is to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Start a command.
    Start(Task),
    /// Take a child over, or signal one.
    Child(Message),
}

/// What it says.
pub(super) type Report = dyn Fn(io::Result<Event>) + Send + Sync;

/// What makes a thread the keeper.
struct Held {
    children: Children,
    starts: VecDeque<Task>,
    /// Some other thread may be in the middle of a start.
    relieved: bool,
}

/// What all threads have that are or were the keeper.
struct Keeper {
    context: Arc<Context<RealFs, LiveProcesses, LiveWatch>>,
    orders: Arc<Mailbox<Order>>,
    held: Mailbox<Held>,
    report: Box<Report>,
}

/// The loop's side: it sends a relief when starts are not answered.
pub(super) struct Watchdog {
    keeper: Arc<Keeper>,
    unanswered: usize,
    /// When the last answer came, or the first start was ordered.
    since: Mono,
}

impl Watchdog {
    /// Starts the keeper. `orders` is what it does, until that is closed; an error that it reports is its last word.
    pub(super) fn start(
        context: Arc<Context<RealFs, LiveProcesses, LiveWatch>>,
        orders: Arc<Mailbox<Order>>,
        report: Box<Report>,
    ) -> io::Result<Watchdog> {
        let held = Mailbox::new(1);
        // It is new, and open.
        let _ = held.push(Held { children: Children::new()?, starts: VecDeque::new(), relieved: false });
        let watchdog =
            Watchdog { keeper: Arc::new(Keeper { context, orders, held, report }), unanswered: 0, since: Mono(0) };
        watchdog.send(false)?;
        Ok(watchdog)
    }

    /// A start was ordered.
    pub(super) fn ordered(&mut self, now: Mono) {
        if self.unanswered == 0 {
            self.since = now;
        }
        self.unanswered += 1;
    }

    /// A start was answered.
    pub(super) fn answered(&mut self, now: Mono) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.since = now;
    }

    /// Sends a relief if the keeper hangs. One that is not needed ends at once.
    pub(super) fn look(&mut self, now: Mono) {
        if self.unanswered == 0 || now.since_ms(self.since) < HANGS_MS {
            return;
        }
        self.since = now;
        if Arc::strong_count(&self.keeper) > THREADS_MAX {
            return;
        }
        tracing::warn!("starting a command takes long: its program may lie where nothing answers");
        if let Err(error) = self.send(true) {
            tracing::error!(%error, "cannot start a thread to keep the commands meanwhile");
        }
    }

    fn send(&self, relief: bool) -> io::Result<()> {
        let keeper = Arc::clone(&self.keeper);
        thread::Builder::new().name("keeper".into()).spawn(move || keeper.keep(relief)).map(drop)
    }
}

impl Keeper {
    fn keep(&self, relief: bool) {
        while let Some(mut held) = self.take() {
            held.relieved |= relief;
            match self.next_start(&mut held) {
                Ok(Some(task)) => {
                    // Closed is only the mailbox of orders.
                    let _ = self.held.push(held);
                    (self.report)(Ok(Event::Done(self.context.run(task))));
                }
                Ok(None) => return,
                Err(error) => return (self.report)(Err(error)),
            }
        }
    }

    fn take(&self) -> Option<Held> {
        match self.held.poll_take(&task::Context::from_waker(Waker::noop())) {
            Poll::Ready(held) => held?.pop(),
            Poll::Pending => None,
        }
    }

    /// Does everything else until there is something to start; `None` at the end.
    fn next_start(&self, held: &mut Held) -> io::Result<Option<Task>> {
        let bell = held.children.bell();
        loop {
            let mut patience_ms = Some(0);
            match self.orders.poll_take(&task::Context::from_waker(&bell)) {
                Poll::Ready(Some(orders)) => {
                    for order in orders {
                        match order {
                            Order::Start(task) => held.starts.push_back(task),
                            Order::Child(message) => held.children.take(message)?,
                        }
                    }
                }
                Poll::Ready(None) => return Ok(None),
                // Only now will the next order ring.
                Poll::Pending if held.starts.is_empty() => patience_ms = held.children.look_in_ms(now().mono),
                Poll::Pending => {}
            }
            held.children.look(now().mono, !held.relieved);
            // An end frees a place, and a start takes one.
            while let Some(exit) = held.children.next(patience_ms)? {
                (self.report)(Ok(self.context.ended(exit)));
            }
            if let Some(task) = held.starts.pop_front() {
                return Ok(Some(task));
            }
        }
    }
}
