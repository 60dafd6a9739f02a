//! The names of the journal's files.
//!
//! Invariant: a number has exactly one name, and a name that is not spelled so belongs to somebody else.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::fs::Fs;

/// The folder of the segments, in the folder of the queue.
pub(crate) fn journal_dir(root: &Path) -> PathBuf {
    root.join("journal")
}

pub(crate) fn segment(number: u32) -> String {
    format!("{number:08}.jsonl")
}

pub(crate) fn torn(segment: u32, offset: u64) -> String {
    format!("torn-{segment:08}-{offset}")
}

pub(crate) fn snapshot(seq: u64) -> String {
    format!("snapshot-{seq:08}.jsonl")
}

pub(crate) fn index(seq: u64) -> String {
    format!("snapshot-{seq:08}.idx")
}

pub(crate) fn segment_number(name: &OsStr) -> Option<u32> {
    let name = name.to_str()?;
    let number = name.strip_suffix(".jsonl")?.parse().ok()?;
    (number > 0 && segment(number) == name).then_some(number)
}

/// The segment that bytes kept aside were cut from.
pub(crate) fn torn_segment(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix("torn-")?.split('-').next()?.parse().ok()
}

fn snapshot_seq(name: &OsStr) -> Option<u64> {
    let name = name.to_str()?;
    let seq = name.strip_prefix("snapshot-")?.strip_suffix(".jsonl")?.parse().ok()?;
    (snapshot(seq) == name).then_some(seq)
}

/// The segments there are, ascending; none when the folder is not there.
pub(crate) fn list_segments<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<u32>, JournalError> {
    let mut numbers: Vec<u32> = match fs.list(dir) {
        Ok(names) => names.iter().filter_map(|n| segment_number(n)).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(JournalError::io("list", dir)(e)),
    };
    numbers.sort_unstable();
    Ok(numbers)
}

/// The snapshots there are, ascending by the sequence number they cover.
pub(crate) fn list_snapshots<F: Fs>(fs: &F, root: &Path) -> Result<Vec<u64>, JournalError> {
    let names = fs.list(root).map_err(JournalError::io("list", root))?;
    let mut seqs: Vec<u64> = names.iter().filter_map(|n| snapshot_seq(n)).collect();
    seqs.sort_unstable();
    Ok(seqs)
}
