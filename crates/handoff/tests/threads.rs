//! The same primitives on real threads and with the language's own locks, and what a single thread can see of them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]
#![expect(clippy::disallowed_types, reason = "counts wakes across threads")]

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use sprag_handoff::{Dirty, Level, Mailbox, Stop, WAITERS_MAX};

/// Wakes by unparking a thread, and counts.
struct Unpark {
    thread: Thread,
    wakes: AtomicUsize,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, SeqCst);
        self.thread.unpark();
    }
}

impl Unpark {
    fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), wakes: AtomicUsize::new(0) })
    }
}

/// An executor that shares nothing with the crate's own.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Unpark::new());
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn panic_message(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| payload.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn four_producers_lose_nothing_to_a_task_or_a_thread() {
    const ITEMS: usize = 20_000;
    for blocking in [false, true] {
        let mailbox = Mailbox::new(4 * ITEMS);
        let mut taken = vec![Vec::new(); 4];
        thread::scope(|scope| {
            let producers: Vec<_> = (0..4)
                .map(|producer| {
                    let mailbox = &mailbox;
                    scope.spawn(move || (0..ITEMS).for_each(|item| mailbox.push((producer, item)).unwrap()))
                })
                .collect();
            scope.spawn(|| {
                producers.into_iter().for_each(|producer| producer.join().unwrap());
                mailbox.close();
            });
            while let Some(batch) = if blocking { mailbox.take_blocking() } else { block_on(mailbox.take()) } {
                batch.into_iter().for_each(|(producer, item)| taken[producer].push(item));
            }
        });
        for items in taken {
            assert!(items.into_iter().eq(0..ITEMS));
        }
    }
}

#[test]
fn two_threads_hand_one_item_back_and_forth() {
    let (there, back) = (Mailbox::new(1), Mailbox::new(1));
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(batch) = there.take_blocking() {
                batch.into_iter().for_each(|item: usize| back.push(item + 1).unwrap());
            }
        });
        for item in 0..10_000 {
            there.push(item).unwrap();
            assert_eq!(block_on(back.take()), Some(vec![item + 1]));
        }
        there.close();
    });
}

#[test]
fn every_mark_of_two_threads_is_followed_by_a_look() {
    const CHANGES: usize = 20_000;
    let (dirty, files) = (Dirty::new(2), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    thread::scope(|scope| {
        for (index, file) in files.iter().enumerate() {
            let dirty = &dirty;
            scope.spawn(move || {
                for change in 1..=CHANGES {
                    file.store(change, SeqCst);
                    dirty.set(index);
                }
            });
        }
        let mut seen = [0; 2];
        while seen != [CHANGES; 2] {
            for index in block_on(dirty.take()) {
                seen[index] = files[index].load(SeqCst);
            }
        }
    });
}

#[test]
fn a_stop_reaches_threads_and_tasks() {
    let stop = Stop::new();
    thread::scope(|scope| {
        let blocked = scope.spawn(|| stop.wait_blocking(Level::Draining));
        let task = scope.spawn(|| block_on(stop.above(Level::Running)));
        stop.raise(Level::Draining);
        assert!(task.join().unwrap() >= Level::Draining);
        stop.raise(Level::Stopping);
        assert_eq!(blocked.join().unwrap(), Level::Stopping);
    });
}

#[test]
fn a_closed_mailbox_gives_items_back_and_keeps_what_it_has() {
    let mailbox = Mailbox::new(2);
    mailbox.push("a").unwrap();
    mailbox.close();
    mailbox.close();
    assert_eq!(mailbox.push("b"), Err("b"));
    assert_eq!(mailbox.take_blocking(), Some(vec!["a"]));
    assert_eq!(mailbox.take_blocking(), None);
    assert_eq!(mailbox.take_blocking(), None);
}

#[test]
fn a_mailbox_over_its_capacity_panics_and_so_does_whoever_comes_next() {
    let mailbox = Mailbox::new(1);
    mailbox.push('a').unwrap();
    assert_eq!(panic_message(|| mailbox.push('b').unwrap()), "mailbox of char is over its capacity 1");
    let next = panic_message(|| drop(mailbox.take_blocking()));
    assert_eq!(next, "a thread panicked while it changed what threads share");
}

#[test]
fn a_mailbox_that_is_emptied_takes_its_capacity_again() {
    let mailbox = Mailbox::new(1);
    for item in 0..3 {
        mailbox.push(item).unwrap();
        assert_eq!(mailbox.take_blocking(), Some(vec![item]));
    }
}

#[test]
fn a_take_that_is_dropped_loses_nothing() {
    let mailbox = Mailbox::new(1);
    let waker = Waker::from(Unpark::new());
    {
        let mut abandoned = pin!(mailbox.take());
        assert!(abandoned.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        mailbox.push(1).unwrap();
    }
    assert_eq!(mailbox.take_blocking(), Some(vec![1]));
}

#[test]
fn one_wait_costs_one_wake_however_much_comes() {
    let (mailbox, dirty, unpark) = (Mailbox::new(3), Dirty::new(3), Unpark::new());
    let waker = Waker::from(Arc::clone(&unpark));
    let cx = Context::from_waker(&waker);
    assert!(mailbox.poll_take(&cx).is_pending());
    assert!(mailbox.poll_take(&cx).is_pending());
    (0..3).for_each(|item| mailbox.push(item).unwrap());
    assert_eq!(unpark.wakes.load(SeqCst), 1);
    assert_eq!(mailbox.poll_take(&cx), Poll::Ready(Some(vec![0, 1, 2])));
    mailbox.push(3).unwrap();
    assert_eq!(unpark.wakes.load(SeqCst), 1, "nobody waits");

    assert!(dirty.poll_take(&cx).is_pending());
    dirty.set(1);
    dirty.set(1);
    dirty.set_all();
    assert_eq!(unpark.wakes.load(SeqCst), 2);
    assert_eq!(dirty.poll_take(&cx), Poll::Ready(BTreeSet::from([0, 1, 2])));
    assert!(dirty.poll_take(&cx).is_pending(), "a mark is taken once");
}

#[test]
fn a_mark_that_there_is_not_is_a_bug() {
    let dirty = Dirty::new(2);
    assert_eq!(panic_message(|| dirty.set(2)), "mark 2 of 2");
    dirty.set(1);
    assert_eq!(block_on(dirty.take()), BTreeSet::from([1]), "nothing was marked, and the latch still works");
}

#[test]
fn the_level_only_rises() {
    let stop = Stop::new();
    assert_eq!(stop.level(), Level::Running);
    stop.raise(Level::Stopping);
    stop.raise(Level::Draining);
    assert_eq!(stop.level(), Level::Stopping);
    assert_eq!(stop.wait_blocking(Level::Running), Level::Stopping);
    let endless = panic_message(|| assert_eq!(stop.wait_blocking(Level::Stopping), Level::Stopping));
    assert_eq!(endless, "a wait for more than Stopping never ends");
}

#[test]
fn abandoned_waiters_are_woken_and_forgotten_when_the_list_is_full() {
    let stop = Stop::new();
    let waiters: Vec<_> = (0..=WAITERS_MAX).map(|_| Unpark::new()).collect();
    let wakes = || waiters.iter().map(|waiter| waiter.wakes.load(SeqCst)).collect::<Vec<_>>();
    for (registered, waiter) in waiters.iter().enumerate() {
        assert_eq!(wakes(), vec![0; WAITERS_MAX + 1], "after {registered}");
        let waker = Waker::from(Arc::clone(waiter));
        assert!(stop.poll_above(&Context::from_waker(&waker), Level::Running).is_pending());
    }
    let mut forgotten = vec![1; WAITERS_MAX];
    forgotten.push(0);
    assert_eq!(wakes(), forgotten, "all but the last");
    stop.raise(Level::Draining);
    assert_eq!(wakes(), [1; WAITERS_MAX + 1], "the last, and nobody twice");
}

#[test]
fn a_limited_wait_ends_with_nothing_and_loses_nothing() {
    let mailbox = Mailbox::new(1);
    assert_eq!(mailbox.take_blocking_for(Duration::from_millis(5)), None, "nothing came");
    mailbox.push(7).unwrap();
    assert_eq!(mailbox.take_blocking_for(Duration::from_millis(5)), Some(Some(vec![7])));
    mailbox.close();
    assert_eq!(mailbox.take_blocking_for(Duration::from_millis(5)), Some(None), "closed and empty");
}
