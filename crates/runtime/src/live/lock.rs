//! One writer for each state folder, and a folder that only we can write to.
//!
//! **Invariant.** While a [`WriterLock`] lives, no other process on this machine has one for the same folder, and at the
//! moment it was taken nobody but us and root could write into the folder, or put another in its place unless they own
//! its parent. What is checked is what was opened, never a name that is looked up again.
//!
//! The lock is a flock on the file `lock`: it ends with the process, however that ends. The process number in the file is
//! for people; nothing is decided by it. The version of the format there is that of the whole folder: one that a newer
//! sprag wrote is refused before anything in it is touched.

use super::network::network;
use super::sweep::{Patience, try_lock};
use super::sys::pause_ms;
use crate::pipeline::StateDir;
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, fstatfs, fsync, ftruncate, mkdirat, openat,
    statat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::Deserialize;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The version of the files in the folder.
const FORMAT: u64 = 1;
/// How often a lock is tried anew when its file was removed while we took it.
const TRIES_MAX: u32 = 3;
/// How often the process number is read: whoever has the lock may not have written it yet.
const PID_READS_MAX: u32 = 3;
/// What the lock's file says.
#[derive(Deserialize)]
struct Holder {
    format: u64,
    pid: u32,
}

/// The right to write into a state folder, until dropped.
#[derive(Debug)]
pub struct WriterLock {
    file: File,
}

/// Why there is no [`WriterLock`].
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// The folder.
        dir: PathBuf,
        /// The process, if it has said who it is.
        pid: Option<u32>,
    },
    /// The folder is not safe to use.
    Unsafe {
        /// The folder that is not.
        dir: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The folder was written by another version of the format.
    Version {
        /// The file that says so.
        path: PathBuf,
        /// The version.
        version: u64,
    },
    /// The system did not do as asked.
    Io {
        /// With what.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl WriterLock {
    /// Makes the state folder if it is missing, checks it, and takes its lock.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(state: &StateDir) -> Result<WriterLock, LockError> {
        let dir = open_folder(state)?;
        for _ in 0..TRIES_MAX {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat(&dir, "lock", flags, Mode::RUSR | Mode::WUSR).map_err(io_at(&state.lock()))?;
            let file = File::from(file);
            // Somebody who only asks has it for an instant; then it is tried again.
            let locked = try_lock(&file, FlockOperation::NonBlockingLockExclusive, Patience::Some);
            if !locked.map_err(|error| LockError::Io { path: state.lock(), error })? {
                return Err(LockError::Held { dir: state.path().into(), pid: read_pid(&file) });
            }
            if is_still_there(&dir, &file).map_err(io_at(&state.lock()))? {
                match read_holder(&file).map(|holder| holder.format) {
                    Some(version) if version != FORMAT => {
                        return Err(LockError::Version { path: state.lock(), version });
                    }
                    Some(_) | None => {}
                }
                write_pid(&file).map_err(|error| LockError::Io { path: state.lock(), error })?;
                return Ok(WriterLock { file });
            }
        }
        let reason = "its file `lock` is removed as often as it is made".into();
        Err(LockError::Unsafe { dir: state.path().into(), reason })
    }
}

impl WriterLock {
    /// The identity of the file that is locked: the folder is ours as long as the name `lock` leads to it.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn identity(&self) -> io::Result<u128> {
        self.file.metadata().map(|metadata| sprag_journal::identity_of(&metadata))
    }
}

/// The process that has the writer's lock, if any has. Changes nothing.
///
/// # Errors
/// The lock's file cannot be read, says that the folder is of another version, or somebody has the lock and does not say who.
pub fn holder(state: &StateDir) -> Result<Option<u32>, LockError> {
    let path = state.lock();
    let file = match openat(CWD, &path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(io_at(&path)(error)),
    };
    if let Some(version) = read_holder(&file).map(|holder| holder.format).filter(|version| *version != FORMAT) {
        return Err(LockError::Version { path, version });
    }
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => flock(&file, FlockOperation::Unlock).map(|()| None).map_err(io_at(&path)),
        Err(Errno::WOULDBLOCK) => read_pid(&file).map(Some).ok_or_else(|| LockError::Io {
            path,
            error: io::Error::other("is locked, by a process that does not say which"),
        }),
        Err(error) => Err(io_at(&path)(error)),
    }
}

/// Makes the state folder if it is missing, durably, and checks it and its parent: it belongs to us, and nobody else may
/// write to it or put another in its place.
///
/// # Errors
/// See [`LockError`].
pub fn open_folder(state: &StateDir) -> Result<OwnedFd, LockError> {
    let path = state.path();
    let parent_path = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or(path.as_os_str());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, parent_path, flags, Mode::empty()).map_err(io_at(parent_path))?;
    let of_parent = fstat(&parent).map_err(io_at(parent_path))?;
    refuse(parent_path, unsafe_parent(&of_parent))?;
    let made = match mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(io_at(path)(error)),
    };
    let dir = match openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let reason = "it is a symbolic link, or no folder; move it away".into();
            return Err(LockError::Unsafe { dir: path.into(), reason });
        }
        dir => dir.map_err(io_at(path))?,
    };
    if made {
        // The umask may have taken more than it should.
        fchmod(&dir, Mode::RWXU).map_err(io_at(path))?;
    }
    // Whoever made it: it must survive a power cut.
    fsync(&parent).map_err(io_at(path))?;
    let of_dir = fstat(&dir).map_err(io_at(path))?;
    refuse(path, unsafe_state(&of_dir, geteuid().as_raw()))?;
    let system = fstatfs(&dir).map_err(io_at(path))?;
    refuse(path, network(&system).map(on_network))?;
    Ok(dir)
}

fn unsafe_parent(parent: &Stat) -> Option<String> {
    let mode = Mode::from_raw_mode(parent.st_mode);
    let swappable = mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX);
    swappable.then(|| "everybody may replace what is in it; run `chmod o-w` on it".into())
}

fn unsafe_state(dir: &Stat, user: u32) -> Option<String> {
    let mode = Mode::from_raw_mode(dir.st_mode);
    if dir.st_uid != user {
        return Some(format!("it belongs to user {}, and we are user {user}; run as its owner", dir.st_uid));
    }
    mode.intersects(Mode::WGRP | Mode::WOTH).then(|| "others may write into it; run `chmod go-w` on it".into())
}

fn on_network(name: &str) -> String {
    format!("it lies on {name}, where locks of other machines cannot be relied on; use a local disk")
}

fn refuse(dir: &Path, reason: Option<String>) -> Result<(), LockError> {
    reason.map_or(Ok(()), |reason| Err(LockError::Unsafe { dir: dir.into(), reason }))
}

/// Whether the file that we locked is the one that the next process would lock.
fn is_still_there(dir: &OwnedFd, file: impl AsFd) -> rustix::io::Result<bool> {
    let ours = fstat(file)?;
    match statat(dir, "lock", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_pid(file: &File) -> io::Result<()> {
    let text = format!("{{\"format\":{FORMAT},\"pid\":{}}}\n", std::process::id());
    file.write_all_at(text.as_bytes(), 0)?;
    Ok(ftruncate(file, text.len() as u64)?)
}

fn read_pid(file: &File) -> Option<u32> {
    (0..PID_READS_MAX).find_map(|read| {
        pause_ms(u64::from(read) * 5);
        read_holder(file).map(|holder| holder.pid)
    })
}

fn read_holder(file: &File) -> Option<Holder> {
    let mut text = [0; 64];
    let len = file.read_at(&mut text, 0).ok()?;
    serde_json::from_slice(&text[..len]).ok()
}

fn io_at(path: &Path) -> impl Fn(Errno) -> LockError {
    |error| LockError::Io { path: path.into(), error: error.into() }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { dir, pid: Some(pid) } => {
                write!(f, "{}: process {pid} is running this pipeline; stop it first", dir.display())
            }
            LockError::Held { dir, pid: None } => {
                write!(f, "{}: another process is running this pipeline; stop it first", dir.display())
            }
            LockError::Unsafe { dir, reason } => write!(f, "{}: {reason}", dir.display()),
            LockError::Version { path, version } => write!(
                f,
                "{} says that the folder has format version {version}, and this program knows version {FORMAT}: use the \
                 program that wrote it",
                path.display()
            ),
            LockError::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Io { error, .. } => Some(error),
            LockError::Held { .. } | LockError::Unsafe { .. } | LockError::Version { .. } => None,
        }
    }
}
