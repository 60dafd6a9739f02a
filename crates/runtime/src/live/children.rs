//! The children that run, on the loop: hearing of their end, signalling them, reaping them.
//!
//! **Invariant.** A stranger is never signalled. A process keeps its number, and its group the number too, until it is
//! reaped; only [`Children`] reaps, one named process at a time; and it does so in the same breath in which it forgets the
//! process. Signals go only to what it has not forgotten. Starts and signals reach it as [`Message`]s and it has one
//! owner, the loop, so no signal can fall between a reaping and a forgetting, and no lock is needed to say so.
//!
//! Before a child is reaped its whole group is killed: what stayed behind in the group cannot outlive the command. For
//! that instant too the group's number belongs to the dead child.

use super::sys::watched;
use crate::seams::{ChildId, Exit};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use sprag_core::{Kill, Outcome};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use tokio::io::unix::AsyncFd;

/// What the loop is told by [`super::processes::LiveProcesses`].
#[derive(Debug)]
pub enum Message {
    /// A process was started.
    Spawned(Spawned),
    /// A process is to be signalled.
    Signal {
        /// Which.
        child: ChildId,
        /// How hard.
        kill: Kill,
    },
}

/// A process that was started and not yet waited for.
#[derive(Debug)]
pub struct Spawned {
    /// Who it is.
    pub child: ChildId,
    /// Becomes readable when it ends.
    pub pidfd: OwnedFd,
    /// What reaps it.
    pub process: Child,
}

/// All children that have not been reaped.
#[derive(Debug)]
pub struct Children {
    /// Readable when one of the children has ended. A set of its own, so that an end costs the same however many run.
    ended: AsyncFd<OwnedFd>,
    /// By process number, which is also what the set says of an end.
    running: BTreeMap<u64, Spawned>,
}

impl Children {
    /// None yet. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system has no descriptor or memory to spare.
    pub fn new() -> io::Result<Children> {
        let ended = watched(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        Ok(Children { ended, running: BTreeMap::new() })
    }

    /// Does what the message says. A signal for a child that has ended, or never was, does nothing.
    ///
    /// # Errors
    /// The kernel does not let us hear of a child's end, or signal it. Then sprag cannot supervise and must stop.
    pub fn take(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Spawned(spawned) => self.adopt(spawned),
            Message::Signal { child, kill } => match self.running.values().find(|running| running.child == child) {
                Some(running) => signal(running, kill),
                None => Ok(()),
            },
        }
    }

    /// How many have not been reaped.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether all have been reaped.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The next end of a child: its group is killed, itself reaped. To drop the future loses nothing.
    ///
    /// # Errors
    /// The child was reaped by somebody else, or the kernel does not let us wait. Then sprag cannot supervise and must
    /// stop.
    pub async fn next(&mut self) -> io::Result<Exit> {
        loop {
            let mut ready = self.ended.readable().await?;
            let Some(number) = next_ended(ready.get_inner())? else {
                ready.clear_ready();
                continue;
            };
            if let Some(exit) = self.reap(number)? {
                return Ok(exit);
            }
            // A debugger that traces the child is told before us.
            tokio::task::yield_now().await;
        }
    }

    fn adopt(&mut self, spawned: Spawned) -> io::Result<()> {
        let number = u64::from(spawned.process.id());
        epoll::add(&self.ended, &spawned.pidfd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
        let before = self.running.insert(number, spawned);
        assert!(before.is_none(), "process {number} was started twice without being reaped");
        Ok(())
    }

    fn reap(&mut self, number: u64) -> io::Result<Option<Exit>> {
        let Some(ended) = self.running.get_mut(&number) else {
            panic!("heard of the end of process {number}, which is not ours")
        };
        kill_group(Pid::from_child(&ended.process));
        let Some(status) = ended.process.try_wait()? else { return Ok(None) };
        // Not left to the close: a child that is being started may have a copy of the descriptor, which would keep it in
        // the set.
        epoll::delete(&self.ended, &ended.pidfd)?;
        let exit = Exit { child: ended.child, outcome: outcome(status) };
        self.running.remove(&number);
        Ok(Some(exit))
    }
}

/// The number of a child that has ended; `None` when there is none.
fn next_ended(set: &OwnedFd) -> io::Result<Option<u64>> {
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1);
    loop {
        match epoll::wait(set, rustix::buffer::spare_capacity(&mut events), Some(&Timespec::default())) {
            Ok(_) => return Ok(events.first().map(|event| event.data.u64())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn signal(running: &Spawned, kill: Kill) -> io::Result<()> {
    let signal = match kill {
        Kill::Term => Signal::TERM,
        Kill::Kill => Signal::KILL,
    };
    let sent = match kill_process_group(group(Pid::from_child(&running.process)), signal) {
        // It moved itself to another group and left its own empty.
        Err(Errno::SRCH) => pidfd_send_signal(&running.pidfd, signal),
        sent => sent,
    };
    match sent {
        // It has ended, or became another user's; the proof of death will tell.
        Ok(()) | Err(Errno::SRCH | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills every process in the group of a child of ours that is not yet reaped.
pub(crate) fn kill_group(leader: Pid) {
    // That there is nobody left, or nobody we may kill, is for the proof of death to find out.
    let _ = kill_process_group(group(leader), Signal::KILL);
}

/// Group 1 would mean every process there is.
fn group(leader: Pid) -> Pid {
    assert!(!leader.is_init(), "the first process of the system is no child of ours");
    leader
}

fn outcome(status: ExitStatus) -> Outcome {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exit(byte(code)),
        (None, Some(signal)) => Outcome::Signal(byte(signal)),
        (None, None) => panic!("a child ended by neither exit nor signal: {status:?}"),
    }
}
