//! The file system of the operating system.
//!
//! Invariant: every file of ours is made with mode 0600 and every directory with 0700, whatever the umask adds; every
//! descriptor is close-on-exec; a symbolic link as the last component is an error (`ELOOP`); opening never waits (a pipe
//! under the name of a regular file does not hang the caller).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FallocateFlags, FileType, Mode, OFlags};

use crate::fs::{File, Fs, Kind, Metadata, Open, Room};

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

/// An open file of the real file system.
#[derive(Debug)]
pub struct RealFile(std::fs::File);

impl RealFile {
    /// The file as the standard library has it, for what is no business of the journal (locks, handing it to a child).
    pub fn into_std(self) -> std::fs::File {
        self.0
    }
}

impl Fs for RealFs {
    type File = RealFile;

    fn open(&self, path: &Path, how: Open) -> io::Result<RealFile> {
        let access = match how {
            Open::Read => OFlags::RDONLY,
            Open::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            Open::Write => OFlags::RDWR,
            Open::Replace | Open::Share => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
        };
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let own = Mode::RUSR | Mode::WUSR;
        let mode = if how == Open::Share { own | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH } else { own };
        let fd = rustix::fs::openat(CWD, path, flags, mode)?;
        Ok(RealFile(fd.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(CWD, path, Mode::RWXU)?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn create_shared_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(CWD, path, Mode::RWXU | Mode::RWXG | Mode::RWXO)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(open_dir(dir)?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(open_dir(dir)?)?)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let stat = rustix::fs::lstat(path)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            // Not an enum of ours.
            _ => Kind::Other,
        };
        Ok(Metadata { kind, len: u64::try_from(stat.st_size).unwrap_or(0) })
    }

    fn room(&self, path: &Path) -> io::Result<Room> {
        let told = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
        Ok(Room { free: bytes(told.f_bavail), total: bytes(told.f_blocks) })
    }

    fn identity(&self, path: &Path) -> io::Result<u128> {
        Ok(identity_of(&std::fs::symlink_metadata(path)?))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::read_link(path)
    }

    fn beside<A: Send, B>(
        &self,
        file: &RealFile,
        read: impl FnOnce(&RealFile) -> A + Send,
        here: impl FnOnce() -> B,
    ) -> (A, B) {
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || read(file));
            let here = here();
            match reading.join() {
                Ok(read) => (read, here),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn changed_ns(&self, path: &Path) -> io::Result<u64> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(metadata
            .ctime()
            .cast_unsigned()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(metadata.ctime_nsec().cast_unsigned()))
    }
}

/// What [`Fs::identity`] says of the file that this is told of.
pub fn identity_of(metadata: &std::fs::Metadata) -> u128 {
    u128::from(metadata.dev()) << 64 | u128::from(metadata.ino())
}

fn open_dir(dir: &Path) -> io::Result<rustix::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, dir, flags, Mode::empty())?)
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        let reserve = || rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, len);
        match rustix::io::retry_on_intr(reserve) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.0, flags, offset, len)?)
    }

    fn share(&self) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.0, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not the standard library's: that one tries again after an interruption, and no sync of ours is tried twice.
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{read_all, write_all_at, write_atomic};
    use std::os::unix::fs::PermissionsExt;

    fn code(result: io::Result<impl Sized>) -> i32 {
        result.err().and_then(|e| e.raw_os_error()).unwrap_or(0)
    }

    #[test]
    fn modes_flags_and_refusals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = RealFs.open(&path, Open::Create).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let flags = rustix::io::fcntl_getfd(&file.0).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(code(RealFs.open(&path, Open::Create)), 17, "EEXIST");
        assert_eq!(code(RealFs.open(&dir.path().join("none"), Open::Write)), 2, "ENOENT");
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert_eq!(code(RealFs.open(&dir.path().join("link"), Open::Read)), 40, "ELOOP");
        assert_eq!(RealFs.metadata(&dir.path().join("link")).unwrap().kind, Kind::Other);
        let sub = dir.path().join("sub");
        RealFs.create_dir(&sub).unwrap();
        assert_eq!(std::fs::metadata(&sub).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(RealFs.metadata(&sub).unwrap().kind, Kind::Dir);
        RealFs.sync_dir(&sub).unwrap();
        assert_eq!(RealFs.list(dir.path()).unwrap(), ["a", "link", "sub"]);
    }

    #[test]
    fn reserve_keeps_the_length_and_truncate_gives_blocks_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = RealFs.open(&path, Open::Create).unwrap();
        write_all_at(&file, b"hello", 0).unwrap();
        file.reserve(5, 1 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 5);
        let reserved_blocks = std::fs::metadata(&path).unwrap().blocks();
        file.truncate(5).unwrap();
        let blocks = std::fs::metadata(&path).unwrap().blocks();
        assert!(blocks < reserved_blocks || reserved_blocks < 2048, "{blocks} of {reserved_blocks} blocks left");
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        assert_eq!(read_all(&RealFs, &path, 5).unwrap(), b"hello");
        assert_eq!(read_all(&RealFs, &path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn write_atomic_replaces_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        write_atomic(&RealFs, &path, b"one").unwrap();
        write_atomic(&RealFs, &path, b"two").unwrap();
        assert_eq!(read_all(&RealFs, &path, 10).unwrap(), b"two");
        assert_eq!(RealFs.list(dir.path()).unwrap(), ["status.json"]);
    }

    #[test]
    fn what_a_disk_says_of_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let file = RealFs.open(&a, Open::Create).unwrap();
        let room = RealFs.room(&a).unwrap();
        assert!(room.free <= room.total && room.total > 0, "{room:?}");
        let before = RealFs.identity(&a).unwrap();
        RealFs.rename(&a, &b).unwrap();
        assert_eq!(RealFs.identity(&b).unwrap(), before, "a name is no part of it");
        drop(RealFs.open(&a, Open::Create).unwrap());
        assert_ne!(RealFs.identity(&a).unwrap(), before);
        file.share().unwrap();
        assert_eq!(std::fs::metadata(&b).unwrap().permissions().mode() & 0o777, 0o644);
        let sub = dir.path().join("sub");
        RealFs.create_dir(&sub).unwrap();
        drop(RealFs.open(&sub.join("c"), Open::Create).unwrap());
        assert_eq!(code(RealFs.remove_dir(&sub)), 39, "ENOTEMPTY");
        RealFs.remove(&sub.join("c")).unwrap();
        RealFs.remove_dir(&sub).unwrap();
        assert_eq!(code(RealFs.metadata(&sub)), 2, "ENOENT");
    }

    #[test]
    fn opening_a_pipe_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(code(read_all(&RealFs, &path, 10)), 29, "ESPIPE");
    }
}
