//! What becomes of files and folders, as far as watchers are told.
//!
//! **Invariant.** Each is told once, after it was done, in the order in which things were done.

use rustix::fs::inotify::ReadFlags;
use std::path::PathBuf;

/// What the kernel tells watchers of, after the change, and only of one that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An entry of its folder was made or removed, written to, or closed by somebody who could write.
    Entry {
        /// Its name, or the last one it had.
        path: PathBuf,
        /// The file, if it is one.
        inode: Option<usize>,
        /// What happened.
        what: ReadFlags,
    },
    /// A file was renamed.
    Moved {
        /// What it was called.
        from: PathBuf,
        /// What it is called now.
        to: PathBuf,
        /// The file.
        inode: usize,
    },
    /// A file that is watched has lost a name.
    Unlinked(usize),
    /// A file that is watched is gone: it has no name, and nobody has it open.
    Freed(usize),
    /// This folder is gone.
    Gone(PathBuf),
}
