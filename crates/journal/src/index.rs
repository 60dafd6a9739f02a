//! The binary index beside a snapshot: fixed-size entries, so that a million jobs load without parsing a line of JSON.
//!
//! Invariants: an index is a cache of the snapshot's lines and tied to them by the snapshot's checksum; one that is missing,
//! damaged or of another snapshot is built again, never believed. Entries ascend by job.
//!
//! Layout, little endian: the entries (64 bytes each); the names (length as 4 bytes, then UTF-8); a trailer of 64 bytes:
//! magic (8), version (4), entry size (4), number of entries (8), bytes of names (8), checksum of the snapshot (16),
//! checksum of all bytes before this one (16).

use std::path::Path;

use crate::fs::{File, read_full_at};
use crate::line::Sum;

/// Size of an entry on disk, in bytes.
pub const ENTRY_BYTES: usize = 64;
/// An index names no more queues.
pub const NAMES_MAX: usize = 4096;
/// A name is not longer, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;

const TRAILER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"sprag-ix";
const VERSION: u32 = 1;
const CHUNK_BYTES: usize = 1024 * 1024;

/// One job in the index. The journal gives meaning to `job`, `offset`, `len` and `check` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The job's number, unique in the snapshot.
    pub job: u64,
    /// A digest of its payload.
    pub digest: u64,
    /// Offset of its line in the snapshot, in bytes. Set by the writer.
    pub offset: u64,
    /// Hash of its key.
    pub key: [u8; 16],
    /// Length of its line without the newline, in bytes. Set by the writer.
    pub len: u32,
    /// Its queue, as an index into the names.
    pub queue: u32,
    /// Its priority.
    pub priority: i32,
    /// Its state, in the caller's encoding.
    pub state: u32,
    /// Attempts so far.
    pub attempts: u32,
    /// The first four bytes of the BLAKE3 hash of its line. Set by the writer.
    pub check: u32,
}

impl Entry {
    pub(crate) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0..8].copy_from_slice(&self.job.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.digest.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.key);
        bytes[40..44].copy_from_slice(&self.len.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.queue.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.priority.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.state.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.attempts.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.check.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        Entry {
            job: u64::from_le_bytes(part(bytes, 0)),
            digest: u64::from_le_bytes(part(bytes, 8)),
            offset: u64::from_le_bytes(part(bytes, 16)),
            key: part(bytes, 24),
            len: u32::from_le_bytes(part(bytes, 40)),
            queue: u32::from_le_bytes(part(bytes, 44)),
            priority: i32::from_le_bytes(part(bytes, 48)),
            state: u32::from_le_bytes(part(bytes, 52)),
            attempts: u32::from_le_bytes(part(bytes, 56)),
            check: u32::from_le_bytes(part(bytes, 60)),
        }
    }

    /// Sets what the snapshot knows of the entry's line.
    pub(crate) fn at(self, offset: u64, line: &[u8]) -> Entry {
        // A line is shorter than four gigabytes.
        Entry { offset, len: line.len() as u32, check: line_check(line), ..self }
    }
}

pub(crate) fn line_check(line: &[u8]) -> u32 {
    u32::from_le_bytes(part(blake3::hash(line).as_bytes(), 0))
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

/// The names of the queues, each once, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// The number of a name, which is given one when it is new. Panics above [`NAMES_MAX`] and [`NAME_BYTES_MAX`].
    pub fn intern(&mut self, name: &str) -> u32 {
        let number = self.0.iter().position(|n| n == name).unwrap_or_else(|| {
            assert!(self.0.len() < NAMES_MAX && name.len() <= NAME_BYTES_MAX, "too many names, or one too long");
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        // Bounded by NAMES_MAX.
        number as u32
    }

    /// The name of a number.
    pub fn get(&self, number: u32) -> Option<&str> {
        self.0.get(usize::try_from(number).ok()?).map(String::as_str)
    }

    /// All names, by number.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let with_length = |n: &String| [&(n.len() as u32).to_le_bytes(), n.as_bytes()].concat();
        self.0.iter().flat_map(with_length).collect()
    }

    fn from_bytes(mut bytes: &[u8]) -> Option<Names> {
        let mut names = Names::default();
        while !bytes.is_empty() {
            let (len, rest) = bytes.split_first_chunk::<4>()?;
            let (name, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
            names.0.push(std::str::from_utf8(name).ok()?.to_owned());
            bytes = rest;
        }
        Some(names)
    }
}

/// What follows the entries: names and trailer. `hasher` has seen the entries.
pub(crate) fn ending(names: &Names, entries: u64, snapshot: Sum, mut hasher: blake3::Hasher) -> Vec<u8> {
    let mut bytes = names.to_bytes();
    let names_bytes = bytes.len() as u64;
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
    bytes.extend_from_slice(&entries.to_le_bytes());
    bytes.extend_from_slice(&names_bytes.to_le_bytes());
    bytes.extend_from_slice(&snapshot.0);
    hasher.update(&bytes);
    bytes.extend_from_slice(&Sum::cut(&hasher.finalize()).0);
    bytes
}

/// An index that was read and checked as a whole.
#[derive(Debug)]
pub struct Index<T> {
    file: T,
    entries: u64,
    names: Names,
}

impl<T: File> Index<T> {
    /// Reads and checks all of it; none when it is not a whole index of that snapshot.
    pub(crate) fn load(file: T, snapshot: Sum) -> std::io::Result<Option<Index<T>>> {
        Index::read(file, Some(snapshot))
    }

    /// Reads the ends of it: for one entry, whose line tells whether it is right. It was checked as a whole when it was made.
    pub(crate) fn glance(file: T) -> std::io::Result<Option<Index<T>>> {
        Index::read(file, None)
    }

    fn read(file: T, snapshot: Option<Sum>) -> std::io::Result<Option<Index<T>>> {
        let len = file.len()?;
        let Some(trailer_at) = len.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
        let mut trailer = [0; TRAILER_BYTES];
        if read_full_at(&file, &mut trailer, trailer_at)? < TRAILER_BYTES {
            return Ok(None);
        }
        let entries = u64::from_le_bytes(part(&trailer, 16));
        let names_bytes = u64::from_le_bytes(part(&trailer, 24));
        let head_right = &trailer[0..8] == MAGIC
            && u32::from_le_bytes(part(&trailer, 8)) == VERSION
            && u32::from_le_bytes(part(&trailer, 12)) == ENTRY_BYTES as u32
            && snapshot.is_none_or(|sum| trailer[32..48] == sum.0)
            && names_bytes <= (NAMES_MAX * (NAME_BYTES_MAX + 4)) as u64
            && entries.checked_mul(ENTRY_BYTES as u64).and_then(|n| n.checked_add(names_bytes)) == Some(trailer_at);
        if !head_right {
            return Ok(None);
        }
        let sum_at = len - 16;
        let whole = || Ok::<_, std::io::Error>(hash_range(&file, sum_at)?.map(|hash| Sum::cut(&hash).0));
        if snapshot.is_some() && whole()? != Some(part(&trailer, 48)) {
            return Ok(None);
        }
        let mut names = vec![0; names_bytes as usize];
        let names_at = trailer_at - names_bytes;
        let whole = read_full_at(&file, &mut names, names_at)? as u64 == names_bytes;
        let names = if whole { Names::from_bytes(&names) } else { None };
        Ok(names.map(|names| Index { file, entries, names }))
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The names that the entries' queues stand for.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The first entry.
    pub fn first(&self) -> std::io::Result<Option<Entry>> {
        if self.entries == 0 { Ok(None) } else { self.entry(0).map(Some) }
    }

    /// Hands out every entry, ascending by job.
    pub fn for_each(&self, on_entry: &mut dyn FnMut(Entry)) -> std::io::Result<()> {
        let total = self.entries * ENTRY_BYTES as u64;
        let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(total).unwrap_or(CHUNK_BYTES))];
        let mut offset = 0;
        while offset < total {
            let wanted = chunk.len().min(usize::try_from(total - offset).unwrap_or(chunk.len()));
            if read_full_at(&self.file, &mut chunk[..wanted], offset)? < wanted {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let (entries, rest) = chunk[..wanted].as_chunks::<ENTRY_BYTES>();
            assert!(rest.is_empty(), "chunks hold whole entries");
            entries.iter().for_each(|e| on_entry(Entry::from_bytes(e)));
            offset += wanted as u64;
        }
        Ok(())
    }

    /// The entry of a job, by binary search on disk.
    pub fn lookup(&self, job: u64) -> std::io::Result<Option<Entry>> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            match entry.job.cmp(&job) {
                std::cmp::Ordering::Equal => return Ok(Some(entry)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn entry(&self, number: u64) -> std::io::Result<Entry> {
        let mut bytes = [0; ENTRY_BYTES];
        if read_full_at(&self.file, &mut bytes, number * ENTRY_BYTES as u64)? < ENTRY_BYTES {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Entry::from_bytes(&bytes))
    }
}

/// The hash of the first `len` bytes of a file; none when it is shorter.
pub(crate) fn hash_range<T: File>(file: &T, len: u64) -> std::io::Result<Option<blake3::Hash>> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(len).unwrap_or(CHUNK_BYTES))];
    let mut offset = 0;
    while offset < len {
        let wanted = chunk.len().min(usize::try_from(len - offset).unwrap_or(chunk.len()));
        if read_full_at(file, &mut chunk[..wanted], offset)? < wanted {
            return Ok(None);
        }
        hasher.update(&chunk[..wanted]);
        offset += wanted as u64;
    }
    Ok(Some(hasher.finalize()))
}

/// The path of the index of a snapshot.
pub(crate) fn path_of(snapshot: &Path) -> std::path::PathBuf {
    snapshot.with_extension("idx")
}
