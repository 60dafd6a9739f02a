//! The two clocks and the one timer of a run.
//!
//! **Invariant.** Nothing else reads a clock. Elapsed time is BOOTTIME: it counts suspend, and so does the timer, so what
//! fell due while the machine slept is handled when it wakes. The timer never fires before its deadline, and is silent
//! between.

use super::sys::watched;
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use sprag_core::{Mono, Now, Wall};
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// What both clocks say.
pub fn now() -> Now {
    Now { mono: Mono(ms(clock_gettime(ClockId::Boottime))), wall: Wall(ms(clock_gettime(ClockId::Realtime))) }
}

/// Whole milliseconds, cut, so that a moment which is reached is never called a later one. A calendar before 1970 is 0.
fn ms(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// How long the machine has slept.
#[derive(Debug)]
pub struct Sleeps {
    /// What elapsed time was ahead of waking time, in milliseconds, when last asked.
    told_ms: u64,
}

impl Sleeps {
    /// What was before does not count.
    #[expect(clippy::new_without_default, reason = "a default would hide that a clock is read")]
    pub fn new() -> Sleeps {
        Sleeps { told_ms: ahead_ms() }
    }

    /// For how long it has slept since this was last asked, in milliseconds.
    pub fn since(&mut self) -> u64 {
        let ahead_ms = ahead_ms();
        let slept_ms = ahead_ms.saturating_sub(self.told_ms);
        self.told_ms = self.told_ms.max(ahead_ms);
        slept_ms
    }
}

/// What BOOTTIME is ahead of MONOTONIC. Read in this order, so that a pause in between makes it less and never more.
fn ahead_ms() -> u64 {
    let elapsed_ms = ms(clock_gettime(ClockId::Boottime));
    elapsed_ms.saturating_sub(ms(clock_gettime(ClockId::Monotonic)))
}

/// Wakes the loop at a deadline.
#[derive(Debug)]
pub struct Timer {
    fd: AsyncFd<OwnedFd>,
    /// What the kernel was told; `None` when it has nothing more to tell.
    armed: Option<Mono>,
}

impl Timer {
    /// A timer that is not armed. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system has no descriptor or memory to spare.
    pub fn new() -> io::Result<Timer> {
        let fd = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Timer { fd: watched(fd)?, armed: None })
    }

    /// Returns at `deadline`, at once when it has passed, never without one. To drop the future loses nothing; asked
    /// again for the same deadline, it makes no system call.
    ///
    /// # Errors
    /// The kernel refuses the timer, which it has no reason to do.
    pub async fn until(&mut self, deadline: Option<Mono>) -> io::Result<()> {
        let Some(deadline) = deadline else { return pending().await };
        if self.armed != Some(deadline) {
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &once_at(deadline))?;
            self.armed = Some(deadline);
        }
        loop {
            let mut ready = self.fd.readable().await?;
            match rustix::io::read(self.fd.get_ref(), &mut [0; 8]) {
                Ok(_) => {
                    self.armed = None;
                    return Ok(());
                }
                // The readiness was that of an earlier deadline.
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn once_at(deadline: Mono) -> Itimerspec {
    // All zeroes would disarm it.
    let ms = deadline.0.max(1);
    let tv_sec = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let tv_nsec = i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
    Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: Timespec { tv_sec, tv_nsec } }
}
