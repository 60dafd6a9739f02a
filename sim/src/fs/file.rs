//! An open file of the simulated file system.
//!
//! **Invariant.** A file is what its inode is, whatever name it has by now; one that was opened before a reboot is nobody's.

use super::{CallKind, Fault, SimFs, errno, error};
use rustix::fs::inotify::ReadFlags;
use sprag_journal::fs::File;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// An open file of the simulated file system.
pub struct SimFile {
    pub(super) fs: SimFs,
    pub(super) path: PathBuf,
    pub(super) inode: usize,
    pub(super) writable: bool,
    pub(super) boot: u32,
}

impl SimFile {
    fn begin(&self, kind: CallKind, len: u64) -> io::Result<Option<Fault>> {
        let fault = self.fs.begin(kind, &self.path, len)?;
        if self.boot != self.fs.state.borrow().boot {
            return error(errno::EIO);
        }
        if kind.changes() && !kind.syncs() && !self.writable {
            return error(if kind == CallKind::Truncate { errno::EINVAL } else { errno::EBADF });
        }
        Ok(fault)
    }

    /// The contents have changed: whoever watches the name that the file has now, or had last, hears of it.
    fn changed(&self) {
        self.fs.state.borrow_mut().changed_file(self.inode, ReadFlags::MODIFY);
    }

    fn sync(&self, kind: CallKind) -> io::Result<()> {
        let lost = self.begin(kind, 0)? == Some(Fault::SyncLost);
        self.fs.state.borrow_mut().disk.sync(self.inode, lost);
        if lost { error(errno::EIO) } else { Ok(()) }
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = match self.begin(CallKind::Read, buffer.len() as u64)? {
            Some(Fault::Short(n)) => n.min(buffer.len()),
            Some(_) | None => buffer.len(),
        };
        Ok(self.fs.state.borrow().disk.read(self.inode, &mut buffer[..len], offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let fault = self.begin(CallKind::Write, bytes.len() as u64)?;
        let mut state = self.fs.state.borrow_mut();
        let (take, offset) = match fault {
            Some(Fault::Short(n) | Fault::Kill(n)) => (n.min(bytes.len()), offset),
            Some(Fault::Phantom) => return Ok(bytes.len()),
            Some(Fault::Misdirected(offset)) => (bytes.len(), offset),
            Some(Fault::Errno(_) | Fault::SyncLost | Fault::Crash) | None => (bytes.len(), offset),
        };
        let done = state.disk.write(self.inode, &bytes[..take], offset);
        if done.as_ref().is_ok_and(|written| *written > 0) {
            state.changed_file(self.inode, ReadFlags::MODIFY);
        }
        if let Some(Fault::Kill(_)) = fault {
            state.dead.insert(self.fs.process);
            return error(errno::EIO);
        }
        done
    }

    fn len(&self) -> io::Result<u64> {
        self.begin(CallKind::Len, 0)?;
        Ok(self.fs.state.borrow().disk.len(self.inode))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.begin(CallKind::Truncate, len)?;
        self.fs.state.borrow_mut().disk.truncate(self.inode, len);
        self.changed();
        Ok(())
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.begin(CallKind::Reserve, len)?;
        self.fs.state.borrow_mut().disk.reserve(self.inode, offset, len)?;
        self.changed();
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.begin(CallKind::Punch, len)?;
        self.fs.state.borrow_mut().disk.punch(self.inode, offset, len);
        self.changed();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(CallKind::SyncData)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(CallKind::SyncAll)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.fs.state.borrow_mut();
        if state.boot == self.boot {
            if self.writable {
                state.changed_file(self.inode, ReadFlags::CLOSE_WRITE);
            }
            state.disk.close(self.inode);
            state.changed_inodes();
        }
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.path.display())
    }
}
