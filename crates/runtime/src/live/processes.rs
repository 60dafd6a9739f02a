//! Starting processes, off the loop. What happens to them afterwards is [`super::children`]'s.
//!
//! **Invariant.** A command that was executed has the lock on its input, is the leader of a process group of its own, and
//! has descriptors 0 to 2 and nothing else; and the loop was told of it. A command that was not executed has left
//! nothing behind.
//!
//! This module never signals a process, except one that it has started, not yet handed over, and not yet reaped.

use super::children::Spawned;
use super::sweep;
use crate::seams::{ChildId, Nonce, Processes, SpawnSpec, Sweep};
use rustix::fs::{Access, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, ftruncate, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use sprag_core::{Kill, SpawnFailure};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

/// Where a command without a slash is looked for when its environment has no `PATH`; what the C library does.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// What the loop is told.
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

/// Starts processes and hands them to the loop.
#[derive(Clone)]
pub struct LiveProcesses {
    tell_loop: Arc<dyn Fn(Message) + Send + Sync>,
}

impl LiveProcesses {
    /// `tell_loop` must take every message to [`super::children::Children::take`], in order, and not block.
    pub fn new(tell_loop: Arc<dyn Fn(Message) + Send + Sync>) -> LiveProcesses {
        LiveProcesses { tell_loop }
    }
}

impl std::fmt::Debug for LiveProcesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveProcesses").finish_non_exhaustive()
    }
}

impl Processes for LiveProcesses {
    fn spawn(&self, spec: &SpawnSpec) -> Result<(), SpawnFailure> {
        let files = Files::prepare(spec).map_err(|error| {
            tracing::warn!(child = ?spec.child, %error, "cannot prepare the files of a command");
            SpawnFailure::Resources
        })?;
        let process = execute(spec, &files).inspect_err(|_| files.let_go())?;
        let pidfd = match pidfd_open(Pid::from_child(&process), PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                tracing::warn!(child = ?spec.child, %error, "cannot watch a process that was started: ended it");
                end(process);
                return Err(SpawnFailure::Resources);
            }
        };
        // Our copy of the lock goes first: whoever hears of the end of the process may ask for the lock at once.
        drop(files);
        (self.tell_loop)(Message::Spawned(Spawned { child: spec.child, pidfd, process }));
        Ok(())
    }

    fn signal(&self, child: ChildId, kill: Kill) {
        (self.tell_loop)(Message::Signal { child, kill });
    }

    fn sweep(&self, queue_id: &str, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Sweep> {
        sweep::sweep(queue_id, doomed)
    }

    fn is_free(&self, input: &Path) -> io::Result<bool> {
        sweep::is_free(input)
    }
}

/// What becomes descriptors 0 to 2.
struct Files {
    stdin: File,
    stdout: File,
    stderr: File,
}

impl Files {
    fn prepare(spec: &SpawnSpec) -> io::Result<Files> {
        let stdin = open(&spec.input, OFlags::RDWR)?;
        let locked = sweep::try_lock(&stdin, FlockOperation::NonBlockingLockExclusive);
        if !locked.map_err(|error| at(&spec.input, error))? {
            let held = io::Error::new(io::ErrorKind::WouldBlock, "a process of an earlier command still holds its lock");
            return Err(at(&spec.input, held));
        }
        let (mut stdout, mut stderr) = (None, None);
        let rest = rewrite(&stdin, &spec.payload).map_err(|error| at(&spec.input, error)).and_then(|()| {
            stderr = Some(open_emptied(&spec.stderr)?);
            stdout = if spec.stdout == spec.stderr {
                stderr.as_ref().map(File::try_clone).transpose()?
            } else {
                Some(open_emptied(&spec.stdout)?)
            };
            Ok(())
        });
        match (rest, stdout, stderr) {
            (Ok(()), Some(stdout), Some(stderr)) => Ok(Files { stdin, stdout, stderr }),
            (rest, _, _) => {
                unlock(&stdin);
                Err(rest.err().unwrap_or_else(|| io::ErrorKind::Other.into()))
            }
        }
    }

    /// For a command that was not executed.
    fn let_go(&self) {
        unlock(&self.stdin);
    }
}
