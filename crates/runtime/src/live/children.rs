//! The children that run: hearing of their end, signalling them, reaping them.
//!
//! **Invariant.** A stranger is never signalled. A process keeps its number, and its group the number too, until it is
//! reaped; only [`Children`] reaps, one named process at a time; and it does so in the same breath in which it forgets the
//! process. Signals go only to what it has not forgotten. Starts and signals reach it as [`Message`]s and it has one
//! owner at a time (see `keeper.rs`), so no signal can fall between a reaping and a forgetting, and no lock is needed
//! to say so.
//!
//! Before a child is reaped its whole group is killed: what stayed behind in the group cannot outlive the command. For
//! that instant too the group's number belongs to the dead child.
//!
//! Orphans of commands are nobody's business here, but for one case: as the first process of a container sprag is given
//! them by the kernel, and reaps them, each by its number. It does not ask to be given them elsewhere
//! (`PR_SET_CHILD_SUBREAPER`): the proof of death needs no parenthood, and the system's first process reaps as well.

use super::cgroup::Cgroup;
use super::sys::pause_ms;
use crate::output;
use crate::seams::{Bound, ChildId, Exit, Over};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, pidfd_send_signal, waitid};
use sprag_core::{Kill, Mono, Outcome};
use sprag_journal::RealFs;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::task::{Wake, Waker};

/// Between two looks at what commands write.
const LOOK_MS: u64 = 1_000;
/// What the set says when the bell rings: no process has this number.
const BELL: u64 = 0;

/// What the keeper is told by [`super::processes::LiveProcesses`].
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
    /// What it cannot leave; none where there are none.
    pub(super) cgroup: Option<Cgroup>,
    /// What it writes.
    pub bounds: Vec<Bound>,
    /// Something that it wrote was once too long to be kept whole, and had to be.
    pub spoiled: bool,
}

/// All children that have not been reaped.
#[derive(Debug)]
pub struct Children {
    /// Readable when one of the children has ended, or the bell rings. So an end costs the same however many run.
    ended: OwnedFd,
    bell: Arc<Bell>,
    /// By process number, which is also what the set says of an end.
    running: BTreeMap<u64, Spawned>,
    /// Cgroups of children that were reaped, in which something that was killed has not died yet.
    lingering: Vec<Cgroup>,
    looked: Mono,
    /// It was said that nothing can be held to its limit here.
    complained: bool,
}

impl Children {
    /// None yet.
    ///
    /// # Errors
    /// The system has no descriptor or memory to spare.
    pub fn new() -> io::Result<Children> {
        let ended = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&ended, &bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        Ok(Children {
            ended,
            bell: Arc::new(Bell(bell)),
            running: BTreeMap::new(),
            lingering: Vec::new(),
            looked: Mono(0),
            complained: false,
        })
    }

    /// What ends the wait in [`Children::next`] from another thread.
    pub fn bell(&self) -> Waker {
        Waker::from(Arc::clone(&self.bell))
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

    /// The next end of a child: its group is killed, itself reaped. Waits for one, at most for `patience_ms` if that is
    /// given; `None` when that is over, or when the bell has rung.
    ///
    /// # Errors
    /// The child was reaped by somebody else, or the kernel does not let us wait. Then sprag cannot supervise and must
    /// stop.
    pub fn next(&mut self, patience_ms: Option<u64>) -> io::Result<Option<Exit>> {
        loop {
            match self.wait(patience_ms)? {
                None => return Ok(None),
                Some(BELL) => {
                    self.bell.hush()?;
                    return Ok(None);
                }
                Some(number) => {
                    if let Some(exit) = self.reap(number)? {
                        return Ok(Some(exit));
                    }
                    // A debugger that traces the child is told before us.
                    pause_ms(1);
                }
            }
        }
    }

    /// How long until the next [`Children::look`], in milliseconds; `None` while there is nothing to look at.
    pub fn look_in_ms(&self, now: Mono) -> Option<u64> {
        let wanted = !self.running.is_empty() || !self.lingering.is_empty() || getpid().is_init();
        wanted.then(|| self.looked.after(LOOK_MS).since_ms(now))
    }

    /// Holds what running commands write to its limits, if the time for that has come. Reaps orphans where that is ours to
    /// do, and `alone` says that no child of ours is on its way to us.
    pub fn look(&mut self, now: Mono, alone: bool) {
        if self.look_in_ms(now) != Some(0) {
            return;
        }
        self.looked = now;
        if alone && getpid().is_init() {
            self.reap_orphans();
        }
        // One that cannot be removed is for the next life.
        self.lingering.retain(|cgroup| matches!(cgroup.end(), Ok(false)));
        for Spawned { bounds, spoiled, .. } in self.running.values_mut() {
            for bound in bounds {
                match output::hold(&RealFs, bound) {
                    Ok(over) => *spoiled |= over && bound.over == Over::IsSpoiled,
                    Err(error) if !self.complained => {
                        self.complained = true;
                        let path = bound.path.display();
                        tracing::warn!(%path, %error, "what commands write cannot be held to its limit while they run");
                    }
                    Err(_) => {}
                }
            }
        }
    }

    fn reap_orphans(&self) {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<Pid> = lists
            .flat_map(|list| {
                list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect::<Vec<_>>()
            })
            .collect();
        for pid in children {
            if !self.running.contains_key(&u64::from(pid.as_raw_nonzero().get().unsigned_abs())) {
                // One that lives, or is gone already, stays as it is.
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            }
        }
    }

    fn wait(&self, patience_ms: Option<u64>) -> io::Result<Option<u64>> {
        let patience = patience_ms.map(|ms| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000,
        });
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1);
        loop {
            match epoll::wait(&self.ended, rustix::buffer::spare_capacity(&mut events), patience.as_ref()) {
                Ok(_) => return Ok(events.first().map(|event| event.data.u64())),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
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
        let spoiled = |outcome| ended.spoiled && outcome == Outcome::Exit(0);
        let outcome = Some(outcome(status)).filter(|outcome| !spoiled(*outcome)).unwrap_or(Outcome::ResultTooLarge);
        let exit = Exit { child: ended.child, outcome };
        let cgroup = self.running.remove(&number).and_then(|ended| ended.cgroup);
        // Only now is it empty: a child that is not yet reaped is still in it.
        self.lingering.extend(cgroup.filter(|cgroup| !matches!(cgroup.end(), Ok(true))));
        Ok(Some(exit))
    }
}

/// Rung by other threads.
#[derive(Debug)]
struct Bell(OwnedFd);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // It fails only when it rings already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl Bell {
    fn hush(&self) -> io::Result<()> {
        match rustix::io::read(&self.0, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
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
