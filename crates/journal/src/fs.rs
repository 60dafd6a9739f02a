//! The file system as the rest of sprag sees it: two small blocking traits and three helpers.
//!
//! Invariant: nothing in sprag reaches a disk but through [`Fs`] and [`File`]. There are two implementers: the real one
//! ([`crate::RealFs`]) and the simulated one, which can lose, tear and refuse whatever the durability contract does not
//! exclude. Errors of both are operating system errors (`io::Error::raw_os_error`), so a caller cannot tell them apart.
//!
//! What may be relied on: a write is durable when a later sync of that file returned success, a name (create, rename,
//! remove) when a later [`Fs::sync_dir`] of its folder did. An error from a sync says nothing about what reached the disk,
//! and a second sync proves nothing either.

use sprag_core::{Bug, planted};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// How [`Fs::open`] opens a file. Every file is opened close-on-exec, never through a symbolic link as its last component,
/// and created readable and writable for its owner alone, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, for reading.
    Read,
    /// A new file, for reading and writing; an error when the name exists.
    Create,
    /// An existing file, for reading and writing.
    Write,
    /// A file for reading and writing: created, or emptied when it exists.
    Replace,
    /// As `Replace`, but made for everybody whom the umask does not leave out (0666): for a file that is the user's.
    Share,
}

/// What kind of thing a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, device, socket or pipe.
    Other,
}

/// What [`Fs::metadata`] says of a name, without following a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What the name stands for.
    pub kind: Kind,
    /// Length in bytes, for a regular file.
    pub len: u64,
}

/// The room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Room {
    /// What we may still use: what is reserved for root is not counted.
    pub free: u64,
    /// All there is, used or not.
    pub total: u64,
}

/// A file system. A clone is a handle on the same one.
///
/// There is no `Send` bound here: the simulated file system lives on one thread.
pub trait Fs: Clone {
    /// An open file.
    type File: File + std::fmt::Debug;

    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Self::File>;

    /// Renames a file, replacing `to` atomically when it exists. Durable after [`Fs::sync_dir`] of both folders.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Fs::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory for its owner alone (mode 0700). Durable after [`Fs::sync_dir`] of its parent.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory; an error when something is in it. Durable after [`Fs::sync_dir`] of its parent.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory for everybody whom the umask does not leave out (0777): one that is the user's.
    fn create_shared_dir(&self, path: &Path) -> io::Result<()> {
        self.create_dir(path)
    }

    /// The names in a directory, sorted, without `.` and `..`.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// What a name stands for; a symbolic link is not followed.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// The room on the file system that a path lies on.
    fn room(&self, path: &Path) -> io::Result<Room>;

    /// A number that no other file of this machine has while the one of that name exists: to be compared with itself. 0 where
    /// files have none. A symbolic link is not followed.
    fn identity(&self, _path: &Path) -> io::Result<u128> {
        Ok(0)
    }

    /// What a symbolic link says; an error for anything else. So answers a file system that has no such links.
    fn read_link(&self, _path: &Path) -> io::Result<PathBuf> {
        Err(io::ErrorKind::InvalidInput.into())
    }

    /// When the content or the name of a file last changed, by the file system's own clock, in nanoseconds: to be compared
    /// with itself and with nothing else. 0 where no such time is kept. A symbolic link is not followed.
    fn changed_ns(&self, _path: &Path) -> io::Result<u64> {
        Ok(0)
    }

    /// Does both: `read`, which only reads that file, and `here`. At the same time where that is to be had.
    fn beside<A: Send, B>(
        &self,
        file: &Self::File,
        read: impl FnOnce(&Self::File) -> A + Send,
        here: impl FnOnce() -> B,
    ) -> (A, B) {
        (read(file), here())
    }
}

/// An open file. All offsets and lengths are bytes.
#[expect(clippy::len_without_is_empty, reason = "the length of a file is asked of the system and can fail")]
pub trait File {
    /// Reads at `offset`; fewer bytes than asked for are no error, none mean the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`; fewer bytes than given may be taken (see [`write_all_at`]).
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// The length of the file.
    fn len(&self) -> io::Result<u64>;

    /// Sets the length: what lies beyond is gone, and so are blocks reserved beyond it; growth reads as zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Reserves blocks for a range and leaves the length as it is. Where the file system cannot, nothing is reserved and
    /// the call succeeds: a full disk is then found by the write itself.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Frees the blocks of a range, which then reads as zeros; the length stays. An error where the file system cannot.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Lets everybody read the file (mode 0644), whatever the umask says. Does nothing where files have no modes.
    fn share(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the contents and the length durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the contents and everything known about the file durable (fsync): for a file that is new.
    fn sync_all(&self) -> io::Result<()>;
}

/// Writes all of `bytes` at `offset`, going on after short and interrupted writes.
///
/// After an error any part of the range may have been written.
pub fn write_all_at<F: File>(file: &F, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset` as far as the file goes; returns how many bytes were read.
pub fn read_full_at<F: File>(file: &F, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) if planted(Bug::ShortReadTrusted) => return Ok(done + n),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Reads a whole file of at most `bytes_max` bytes; a longer one is an error of kind `FileTooLarge`.
///
/// The length is not trusted: a file that grows while it is read is read up to the limit.
pub fn read_all<F: Fs>(fs: &F, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_whole(&fs.open(path, Open::Read)?, bytes_max)
}

/// Reads the whole of an open file; see [`read_all`].
pub fn read_whole<F: File>(file: &F, bytes_max: u64) -> io::Result<Vec<u8>> {
    const CHUNK_BYTES: usize = 64 * 1024;
    let (mut bytes, mut chunk) = (Vec::new(), 16 * 1024);
    loop {
        let at = bytes.len() as u64;
        let n = read_behind(file, &mut bytes, chunk, at)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if n < chunk {
            return Ok(bytes);
        }
        chunk = (2 * chunk).min(CHUNK_BYTES);
    }
}

/// Reads up to `len` bytes of a file from `offset` on, and puts them behind what is in `bytes`; says how many there were.
/// Fewer means the end of the file.
pub(crate) fn read_behind<F: File>(file: &F, bytes: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
    let before = bytes.len();
    bytes.resize(before + len, 0);
    let read = read_full_at(file, &mut bytes[before..], offset);
    bytes.truncate(before + read.as_ref().unwrap_or(&0));
    read
}

/// Replaces the file at `path` by `bytes`, wholly or not at all, durably: a temporary name beside it, fsync, rename, fsync
/// of the folder. The temporary name is the file's with `.tmp` behind it, so a leftover of a crash is used again.
pub fn write_atomic<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_renamed(fs, &temporary_name(path), Open::Replace, path, bytes)
}

/// Replaces a file of the user's as [`write_atomic`] does, under a temporary name that begins with a dot, and readable for
/// whom the umask lets.
pub fn share_atomic<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_renamed(fs, &hidden_name(path), Open::Share, path, bytes)
}

/// As [`share_atomic`], but everybody may read the file, whatever the umask says.
pub fn publish_atomic<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = hidden_name(path);
    let file = fs.open(&temporary, Open::Share)?;
    file.share()?;
    write_and_rename(fs, &file, &temporary, path, bytes)
}

fn hidden_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    temporary_name(&path.with_file_name(name))
}

fn write_renamed<F: Fs>(fs: &F, temporary: &Path, how: Open, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_and_rename(fs, &fs.open(temporary, how)?, temporary, path, bytes)
}

fn write_and_rename<F: Fs>(fs: &F, file: &F::File, temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_all_at(file, bytes, 0)?;
    file.sync_all()?;
    fs.rename(temporary, path)?;
    fs.sync_dir(parent(path))
}

/// The name under which a file is written before it is renamed into place: `.tmp` is appended.
pub fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OsStr::new(".tmp"));
    PathBuf::from(name)
}

/// The folder of a path; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    }
}
