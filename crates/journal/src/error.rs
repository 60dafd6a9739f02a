//! What can go wrong with a journal or a snapshot on disk, one variant for each cause.
//!
//! Invariant: every error names the file, and the offset and sequence number where there are any. None of them is ever
//! read as "the queue is empty".

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a journal cannot be opened or read.
#[derive(Debug)]
pub enum JournalError {
    /// Bytes that had been made durable are not what was written.
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the first frame or line that cannot be right begins, in bytes.
        offset: u64,
        /// The sequence number of the first record that is affected.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file was written by a version of the format that this program does not know.
    Version {
        /// The file.
        file: PathBuf,
        /// The version it names.
        version: u64,
    },
    /// A file that must be there is not.
    Missing {
        /// The file.
        file: PathBuf,
        /// How we know that it must be there.
        what: String,
    },
    /// The system refused an operation.
    Io {
        /// The operation.
        op: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl JournalError {
    pub(crate) fn io(op: &'static str, file: &Path) -> impl FnOnce(io::Error) -> JournalError {
        move |source| JournalError::Io { op, file: file.to_owned(), source }
    }

    /// Whether the disk, or our part of it, is full.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, JournalError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, seq: u64, what: impl Into<String>) -> JournalError {
        JournalError::Corrupt { file: file.to_owned(), offset, seq, what: what.into() }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Corrupt { file, offset, seq, what } => {
                write!(f, "{} is damaged at offset {offset}, sequence {seq}: {what}; ", file.display())?;
                write!(f, "keep a copy of the folder, then restore it from a backup")
            }
            JournalError::Version { file, version } => {
                write!(f, "{} has format version {version}, this program knows version 1: ", file.display())?;
                write!(f, "use the program that wrote it")
            }
            JournalError::Missing { file, what } => {
                write!(f, "{} is missing: {what}; put it back from a backup", file.display())
            }
            JournalError::Io { op, file, source } => write!(f, "cannot {op} {}: {source}", file.display()),
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JournalError::Io { source, .. } => Some(source),
            JournalError::Corrupt { .. } | JournalError::Version { .. } | JournalError::Missing { .. } => None,
        }
    }
}
