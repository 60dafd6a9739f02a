//! Waiting for a future on a thread of one's own.
//!
//! Invariant: a wake is never lost. One that comes before the thread sleeps is kept, and ends that sleep at once; the
//! future is polled again after every wake.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Blocks the calling thread until `future` is ready. Never called on the event loop.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Arc::new(Parker { woken: Mutex::new(false), changed: Condvar::new() });
    let waker = Waker::from(Arc::clone(&parker));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => parker.park(),
        }
    }
}

/// The same, but no longer than so long: then `None`, and nothing that the future waits for is lost by it. Correctness must not
/// depend on that this time is ever over: under loom it is not.
pub(crate) fn block_on_for<F: Future>(future: F, at_most: Duration) -> Option<F::Output> {
    let parker = Arc::new(Parker { woken: Mutex::new(false), changed: Condvar::new() });
    let waker = Waker::from(Arc::clone(&parker));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return Some(output),
            Poll::Pending if parker.park_for(at_most) => {}
            Poll::Pending => return None,
        }
    }
}

/// One sleeping thread, and the mark that it has been woken.
struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    fn park(&self) {
        let mut woken = self.lock();
        while !*woken {
            let Ok(guard) = self.changed.wait(woken) else { panic!("a thread panicked while it woke another") };
            woken = guard;
        }
        *woken = false;
    }

    /// False when nobody came. Spurious wakes are slept through, each anew.
    fn park_for(&self, at_most: Duration) -> bool {
        let mut woken = self.lock();
        while !*woken {
            let Ok((guard, timeout)) = self.changed.wait_timeout(woken, at_most) else {
                panic!("a thread panicked while it woke another")
            };
            woken = guard;
            if timeout.timed_out() && !*woken {
                return false;
            }
        }
        *woken = false;
        true
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        let Ok(woken) = self.woken.lock() else { panic!("a thread panicked while it woke another") };
        woken
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.lock() = true;
        self.changed.notify_one();
    }
}
