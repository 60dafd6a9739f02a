//! What sprag was born with and must not hand on: open descriptors, ignored signals. And two small things that only an
//! adapter may do: to wait, and to have a descriptor watched.
//!
//! **Invariant.** After [`settle_in`] a child gets descriptors 0 to 2 and nothing else, and every signal does to it what it
//! does by default. Our own descriptors are opened close-on-exec, each where it is opened.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

const SIGPIPE: u32 = 13;

/// To be called once at start-up, inside a tokio runtime, before the first child.
///
/// # Errors
/// `/proc` is not there, or a signal handler cannot be installed.
pub fn settle_in() -> io::Result<()> {
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
    own_ignored_signals()
}

/// Catches, and does nothing about, every signal that whoever started us told us to ignore: an ignored signal stays
/// ignored through exec, a caught one does not. An ignored SIGCHLD would also make the kernel throw away how children
/// end. SIGPIPE is ignored by the Rust runtime, which gives it back to each child.
fn own_ignored_signals() -> io::Result<()> {
    let ignored = ignored_signals()?;
    // Real-time signals (from 32 on) mean nothing unless two programs agree on one.
    for number in (1..32).filter(|number| *number != SIGPIPE && ignored & (1 << (number - 1)) != 0) {
        // Some (SIGILL, SIGSEGV, ...) cannot be caught this way; no program lives by having them ignored.
        if let Err(error) = signal(SignalKind::from_raw(number.cast_signed())) {
            tracing::warn!(number, %error, "commands will inherit that this signal is ignored");
        }
    }
    Ok(())
}

/// The signals that are ignored as of now: bit `n - 1` for signal `n`.
fn ignored_signals() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(ignored.trim(), 16).map_err(io::Error::other)
}

/// Whether whoever started us told us to ignore SIGHUP, as `nohup` does. To be asked before any signal is caught.
///
/// # Errors
/// `/proc` is not there.
pub fn ignores_hangup() -> io::Result<bool> {
    Ok(ignored_signals()? & 1 != 0)
}

/// Has tokio watch a descriptor. To be called inside a tokio runtime.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // What took its place is unsafe, since any type may lie about its descriptor. This type does not: it owns the
    // descriptor, and keeps the same one open for as long as it lives.
    #[expect(deprecated, reason = "sound for an owned descriptor, and the only way without unsafe code")]
    AsyncFd::new(fd)
}

/// Waits, on a thread that may.
pub(crate) fn pause_ms(ms: u64) {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter, and never the loop's thread")]
    std::thread::sleep(Duration::from_millis(ms));
}
