//! Proof of death: locks on input files, and a look at the environment of every process.
//!
//! **Invariant.** A process is killed only if its environment bears a doomed mark at a moment when a pidfd already pins
//! it. If the number passed to another process between the look and the signal, the pidfd names the dead one and the
//! signal reaches nobody.
//!
//! The two proofs cover for each other. The lock sees what cleared its environment but kept any of descriptors 0 to 2's
//! input; the mark sees what closed its input. What does both escapes, and so does, from the mark alone, a process that
//! overwrites its environment in place (as `setproctitle` does) or that we may not look into (another user, not
//! dumpable).

use super::clock;
use super::sys::pause_ms;
use crate::seams::{Nonce, Sweep};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// How often one sweep looks at the processes.
const ROUNDS_MAX: u32 = 10;
/// How long a round waits for what it killed to be gone.
const ROUND_MS_MAX: u64 = 40;
/// How many of the killed a round waits for: bounds the open descriptors. The rest is seen by the next round.
const WAITED_MAX: usize = 64;
/// No environment that the kernel lets a program start with is longer, in bytes.
const ENVIRON_BYTES_MAX: u64 = 8 << 20;
/// The waits between tries for a lock. Two kinds of holders are about to let go: a process that was just killed with its
/// group, and a child of ours between fork and exec, which has a copy of every descriptor we hold.
const LOCK_PAUSES_MS: [u64; 6] = [1, 1, 2, 4, 8, 16];

/// Whether nobody holds the lock on the input file. Shared, so that two who ask do not see each other.
pub(crate) fn is_free(input: &Path, patience: Patience) -> io::Result<bool> {
    let file = match openat(CWD, input, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let free = try_lock(&file, FlockOperation::NonBlockingLockShared, patience)?;
    if free {
        // Not left to the close: a child that is being started may have a copy of the descriptor.
        flock(&file, FlockOperation::Unlock)?;
    }
    Ok(free)
}

/// Whether to wait for one that is about to let go of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// No.
    None,
    /// Some milliseconds.
    Some,
}

/// Takes a lock unless somebody holds it, and, with patience, not just for a moment.
pub(crate) fn try_lock(file: impl AsFd, operation: FlockOperation, patience: Patience) -> io::Result<bool> {
    let pauses: &[u64] = match patience {
        Patience::None => &[],
        Patience::Some => &LOCK_PAUSES_MS,
    };
    let mut pauses = pauses.iter();
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => match pauses.next() {
                Some(ms) => pause_ms(*ms),
                None => return Ok(false),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills every process that bears a doomed mark of the queue, until two looks in a row find none.
pub(crate) fn sweep(queue_id: &str, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Sweep> {
    let mut alive = BTreeSet::new();
    let mut clean = 0;
    for _ in 0..ROUNDS_MAX {
        let marked = scan(queue_id, doomed)?;
        if marked.is_empty() {
            clean += 1;
            if clean == 2 {
                return Ok(Sweep::default());
            }
            continue;
        }
        clean = 0;
        let mut killed = Vec::new();
        for (pid, _) in &marked {
            killed.extend(kill(*pid, queue_id, doomed)?.filter(|_| killed.len() < WAITED_MAX));
        }
        alive = marked.into_iter().map(|(_, nonce)| nonce).collect();
        wait_for(&killed)?;
    }
    Ok(Sweep { alive: alive.into_iter().collect() })
}

/// Every process but ourselves that bears a doomed mark.
fn scan(queue_id: &str, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Vec<(Pid, Nonce)>> {
    let mut found = Vec::new();
    let mut environ = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else { continue };
        if pid.as_raw_nonzero().get().cast_unsigned() == std::process::id() {
            continue;
        }
        found.extend(mark(pid, queue_id, doomed, &mut environ)?.map(|nonce| (pid, nonce)));
    }
    Ok(found)
}

/// Kills the process if it bears a doomed mark, and returns what to wait for.
fn kill(pid: Pid, queue_id: &str, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Option<OwnedFd>> {
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if mark(pid, queue_id, doomed, &mut Vec::new())?.is_none() {
        return Ok(None);
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => Ok(Some(pidfd)),
        Err(Errno::SRCH) => Ok(None),
        // It changed its user; it will be seen alive.
        Err(Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until all of them are gone or the round is over.
fn wait_for(killed: &[OwnedFd]) -> io::Result<()> {
    let end = clock::now().mono.after(ROUND_MS_MAX);
    if killed.is_empty() {
        pause_ms(ROUND_MS_MAX);
    }
    for pidfd in killed {
        let left_ms = end.since_ms(clock::now().mono);
        let left = Timespec { tv_sec: 0, tv_nsec: i64::try_from(left_ms).unwrap_or(0) * 1_000_000 };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The doomed mark that the process bears.
fn mark(pid: Pid, queue_id: &str, doomed: &dyn Fn(&Nonce) -> bool, environ: &mut Vec<u8>) -> io::Result<Option<Nonce>> {
    read_environ(pid, environ)?;
    let marks = environ.split(|byte| *byte == 0).filter_map(|entry| {
        let (name, value) = entry.split_at_checked(Nonce::VARIABLE.len())?;
        let text = value.strip_prefix(b"=").filter(|_| name == Nonce::VARIABLE.as_bytes())?;
        Nonce::parse(std::str::from_utf8(text).ok()?)
    });
    Ok(marks.into_iter().find(|nonce| nonce.queue_id == queue_id && doomed(nonce)))
}

/// The environment of a process; empty for one that is gone, or dead, or a kernel thread, or not ours to look into.
fn read_environ(pid: Pid, environ: &mut Vec<u8>) -> io::Result<()> {
    read_if_there(&format!("/proc/{pid}/environ"), environ)?;
    if !environ.is_empty() {
        return Ok(());
    }
    // A program's first thread may have ended before the others: then only they show it.
    let tasks = match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(tasks) => tasks,
        Err(error) => return unless_gone(error),
    };
    for task in tasks {
        match task {
            Ok(task) => read_if_there(&format!("{}/environ", task.path().display()), environ)?,
            Err(error) => unless_gone(error)?,
        }
        if !environ.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

fn read_if_there(path: &str, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    let read = File::open(path).and_then(|file| file.take(ENVIRON_BYTES_MAX).read_to_end(bytes));
    read.map(|_| ()).or_else(unless_gone)
}

/// That a process vanished, or is another user's, is no error.
fn unless_gone(error: io::Error) -> io::Result<()> {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(()),
        _ => Err(error),
    }
}
