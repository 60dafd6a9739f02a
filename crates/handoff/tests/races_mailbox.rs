//! Proofs for `Mailbox`: the source files of production, compiled against loom, in every interleaving.
//!
//! Beside the proofs stands a mailbox with one bug of choice. Each bug must be caught by a proof that the mailbox passes.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/explore.rs"]
mod explore;
#[path = "../src/mailbox.rs"]
pub mod mailbox;
#[path = "../src/park.rs"]
mod park;
#[path = "../src/shared.rs"]
pub mod shared;
#[path = "common/sync.rs"]
mod sync;

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::thread;

use explore::Preemptions::{Bounded, Unbounded};
use explore::{explore, prove};
use mailbox::Mailbox;
use park::block_on;
use sync::{Arc, Mutex};

/// What the proofs ask of a mailbox, sound or broken.
trait Post: Send + Sync + 'static {
    fn push(&self, item: u32) -> Result<(), u32>;
    fn close(&self);
    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Vec<u32>>>;

    fn take_blocking(&self) -> Option<Vec<u32>> {
        block_on(poll_fn(|cx| self.poll_take(cx)))
    }
}

impl Post for Mailbox<u32> {
    fn push(&self, item: u32) -> Result<(), u32> {
        self.push(item)
    }

    fn close(&self) {
        self.close();
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Vec<u32>>> {
        self.poll_take(cx)
    }

    fn take_blocking(&self) -> Option<Vec<u32>> {
        self.take_blocking()
    }
}

fn sound() -> Mailbox<u32> {
    Mailbox::new(8)
}

/// A thread takes until two items have come.
fn a_blocked_consumer_is_woken<P: Post>(make: impl Fn() -> P) {
    let mailbox = Arc::new(make());
    let producer = Arc::clone(&mailbox);
    thread::spawn(move || {
        producer.push(1).unwrap();
        producer.push(2).unwrap();
    });
    let mut taken = Vec::new();
    while taken.len() < 2 {
        taken.extend(mailbox.take_blocking().unwrap());
    }
    assert_eq!(taken, [1, 2], "what was pushed is not what came");
}

/// The same, with a wait that is limited. Under loom the time is never over, so a wake that is lost is a deadlock.
fn a_consumer_that_waits_for_a_limited_time_is_woken() {
    let mailbox = Arc::new(sound());
    let producer = Arc::clone(&mailbox);
    thread::spawn(move || {
        producer.push(1).unwrap();
        producer.push(2).unwrap();
    });
    let mut taken = Vec::new();
    while taken.len() < 2 {
        taken.extend(mailbox.take_blocking_for(Duration::from_millis(1)).flatten().unwrap());
    }
    assert_eq!(taken, [1, 2], "what was pushed is not what came");
}

/// One task, woken by one waker of its own, takes as often as it is polled, until two items have come.
fn a_polling_task_is_woken<P: Post>(make: impl Fn() -> P) {
    let mailbox = Arc::new(make());
    let producer = Arc::clone(&mailbox);
    thread::spawn(move || {
        producer.push(1).unwrap();
        producer.push(2).unwrap();
    });
    let mut taken = Vec::new();
    block_on(poll_fn(|cx| {
        while taken.len() < 2 {
            match mailbox.poll_take(cx) {
                Poll::Ready(batch) => taken.extend(batch.unwrap()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }));
    assert_eq!(taken, [1, 2], "what was pushed is not what came");
}

/// Two producers, one consumer.
fn each_item_is_taken_once_and_in_order<P: Post>(make: impl Fn() -> P) {
    let mailbox = Arc::new(make());
    for items in [[10, 11], [20, 21]] {
        let producer = Arc::clone(&mailbox);
        thread::spawn(move || items.into_iter().for_each(|item| producer.push(item).unwrap()));
    }
    let mut taken = Vec::new();
    while taken.len() < 4 {
        taken.extend(mailbox.take_blocking().unwrap());
    }
    let of = |producer: u32| taken.iter().copied().filter(|item| item / 10 == producer).collect::<Vec<_>>();
    assert_eq!((of(1), of(2)), (vec![10, 11], vec![20, 21]), "what was pushed is not what came");
}

/// The producer closes behind its last item.
fn closing_loses_nothing<P: Post>(make: impl Fn() -> P) {
    let mailbox = Arc::new(make());
    let producer = Arc::clone(&mailbox);
    thread::spawn(move || {
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        producer.close();
    });
    let mut taken = Vec::new();
    while let Some(batch) = mailbox.take_blocking() {
        assert!(!batch.is_empty(), "an empty batch is no batch");
        taken.extend(batch);
    }
    assert_eq!(taken, [1, 2], "what was pushed is not what came");
}

/// Somebody else closes: what was taken in comes, what came back does not.
fn a_racing_close_keeps_its_word<P: Post>(make: impl Fn() -> P) {
    let mailbox = Arc::new(make());
    let producer = Arc::clone(&mailbox);
    let producing = thread::spawn(move || [1, 2].into_iter().filter(|&item| producer.push(item).is_ok()).collect());
    let closer = Arc::clone(&mailbox);
    thread::spawn(move || closer.close());
    let mut taken = Vec::new();
    while let Some(batch) = mailbox.take_blocking() {
        taken.extend(batch);
    }
    let taken_in: Vec<u32> = producing.join().unwrap();
    assert_eq!(taken, taken_in, "what was pushed is not what came");
}

/// Two threads take from one mailbox: each item goes to one of them, and both see the end.
fn two_consumers_share_and_both_end<P: Post>(make: impl Fn() -> P) {
    let mailbox = Arc::new(make());
    let consume = |mailbox: Arc<P>| {
        move || {
            let mut taken = Vec::new();
            while let Some(batch) = mailbox.take_blocking() {
                taken.extend(batch);
            }
            taken
        }
    };
    let one = thread::spawn(consume(Arc::clone(&mailbox)));
    let other = thread::spawn(consume(Arc::clone(&mailbox)));
    mailbox.push(1).unwrap();
    mailbox.push(2).unwrap();
    mailbox.close();
    let mut taken = [one.join().unwrap(), other.join().unwrap()].concat();
    taken.sort_unstable();
    assert_eq!(taken, [1, 2], "what was pushed is not what came");
}

#[test]
fn proof_a_consumer_that_waits_for_a_limited_time_is_woken() {
    prove(Unbounded, 62, a_consumer_that_waits_for_a_limited_time_is_woken);
}

#[test]
fn proof_a_blocked_consumer_is_woken() {
    prove(Unbounded, 62, || a_blocked_consumer_is_woken(sound));
}

#[test]
fn proof_a_polling_task_is_woken() {
    prove(Unbounded, 96, || a_polling_task_is_woken(sound));
}

#[test]
fn proof_each_item_is_taken_once_and_in_order() {
    prove(Unbounded, 121_677, || each_item_is_taken_once_and_in_order(sound));
}

#[test]
fn proof_closing_loses_nothing() {
    prove(Unbounded, 416, || closing_loses_nothing(sound));
}

#[test]
fn proof_a_racing_close_keeps_its_word() {
    prove(Unbounded, 15_453, || a_racing_close_keeps_its_word(sound));
}

#[test]
fn proof_two_consumers_share_and_both_end() {
    prove(Bounded(3), 2277, || two_consumers_share_and_both_end(sound));
}

/// The bugs that the proofs must catch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// No bug: the control.
    None,
    /// Wakes first and pushes then.
    WakesBeforePush,
    /// Looks, lets go of the lock, and registers the waker without another look.
    RegistersUnlocked,
    /// Copies the items under one lock and clears them under the next.
    TakesInTwoSteps,
    /// Says that it is closed although items are waiting.
    EndsBeforeEmpty,
    /// Closes without waking.
    ClosesSilently,
    /// Takes items in when it is closed.
    TakesInWhenClosed,
    /// Remembers one waiter only.
    OneWaiter,
}

/// A mailbox with one bug.
struct Broken {
    bug: Bug,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: Vec<u32>,
    closed: bool,
    waiters: Vec<Waker>,
}

fn broken(bug: Bug) -> impl Fn() -> Broken {
    move || Broken { bug, state: Mutex::new(State::default()) }
}

impl Broken {
    fn wake(&self) {
        let waiters = mem::take(&mut self.state.lock().unwrap().waiters);
        waiters.into_iter().for_each(Waker::wake);
    }
}

impl Post for Broken {
    fn push(&self, item: u32) -> Result<(), u32> {
        if self.bug == Bug::WakesBeforePush {
            self.wake();
        }
        let mut state = self.state.lock().unwrap();
        if state.closed && self.bug != Bug::TakesInWhenClosed {
            return Err(item);
        }
        state.items.push(item);
        drop(state);
        if self.bug != Bug::WakesBeforePush {
            self.wake();
        }
        Ok(())
    }

    fn close(&self) {
        self.state.lock().unwrap().closed = true;
        if self.bug != Bug::ClosesSilently {
            self.wake();
        }
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Vec<u32>>> {
        let mut state = self.state.lock().unwrap();
        if state.closed && (state.items.is_empty() || self.bug == Bug::EndsBeforeEmpty) {
            return Poll::Ready(None);
        }
        if !state.items.is_empty() {
            if self.bug != Bug::TakesInTwoSteps {
                return Poll::Ready(Some(mem::take(&mut state.items)));
            }
            let items = state.items.clone();
            drop(state);
            self.state.lock().unwrap().items.clear();
            return Poll::Ready(Some(items));
        }
        if self.bug == Bug::RegistersUnlocked {
            drop(state);
            state = self.state.lock().unwrap();
        }
        if self.bug == Bug::OneWaiter {
            state.waiters.clear();
        }
        state.waiters.push(cx.waker().clone());
        Poll::Pending
    }
}

/// What the broken mailboxes are caught for is their bug, not how they are built.
#[test]
fn control_the_same_mailbox_without_a_bug_passes() {
    explore(Bounded(2), || a_blocked_consumer_is_woken(broken(Bug::None)));
    explore(Bounded(2), || a_polling_task_is_woken(broken(Bug::None)));
    explore(Bounded(2), || each_item_is_taken_once_and_in_order(broken(Bug::None)));
    explore(Bounded(2), || closing_loses_nothing(broken(Bug::None)));
    explore(Bounded(2), || a_racing_close_keeps_its_word(broken(Bug::None)));
    explore(Bounded(2), || two_consumers_share_and_both_end(broken(Bug::None)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_mailbox_that_wakes_before_it_pushes() {
    explore(Unbounded, || a_blocked_consumer_is_woken(broken(Bug::WakesBeforePush)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_mailbox_that_registers_without_looking_again() {
    explore(Unbounded, || a_polling_task_is_woken(broken(Bug::RegistersUnlocked)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_mailbox_that_loses_what_comes_during_a_take() {
    explore(Unbounded, || each_item_is_taken_once_and_in_order(broken(Bug::TakesInTwoSteps)));
}

#[test]
#[should_panic(expected = "what was pushed is not what came")]
fn caught_a_mailbox_that_ends_before_it_is_empty() {
    explore(Unbounded, || closing_loses_nothing(broken(Bug::EndsBeforeEmpty)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_mailbox_that_closes_silently() {
    explore(Unbounded, || closing_loses_nothing(broken(Bug::ClosesSilently)));
}

#[test]
#[should_panic(expected = "what was pushed is not what came")]
fn caught_a_mailbox_that_takes_items_in_when_closed() {
    explore(Unbounded, || a_racing_close_keeps_its_word(broken(Bug::TakesInWhenClosed)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_a_mailbox_that_remembers_one_waiter() {
    explore(Bounded(3), || two_consumers_share_and_both_end(broken(Bug::OneWaiter)));
}
