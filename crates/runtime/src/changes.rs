//! What change events mean: which paths may have changed.
//!
//! **Invariant.** An event of an armed path's entry in its folder tells of its index; so does one of the folder itself, and the
//! loss of any event tells of all. A folder that is watched no more is forgotten after it was told of. The kernel's events
//! (`live::watch`) and the simulator's are read by this.

use rustix::fs::inotify::{ReadFlags, WatchFlags};
use sprag_core::{Bug, planted};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// What changes the entry of a file, or says that the folder is no longer what it was. Not what
/// merely reads. That the folder was removed is told unasked.
const ASKED: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// What the kernel is asked for.
pub fn asked() -> WatchFlags {
    match () {
        () if planted(Bug::RenameUnheard) => ASKED.difference(WatchFlags::MOVE),
        () if planted(Bug::FileWatched) => ASKED.difference(WatchFlags::ONLYDIR),
        () => ASKED,
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Events were lost.
    Unknown,
    /// The folder itself, by the number of its watch.
    Folder(i32),
    /// The folder is not watched any more: it was removed.
    Gone(i32),
    /// An entry of the folder.
    Entry(i32, OsString),
}

impl Change {
    /// What is said by an event of a folder's watch, and of an entry of it if it has a name.
    pub fn of(folder: i32, what: ReadFlags, name: Option<OsString>) -> Change {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Change::Unknown;
        }
        if what.contains(ReadFlags::IGNORED) {
            return Change::Gone(folder);
        }
        name.map_or(Change::Folder(folder), |name| Change::Entry(folder, name))
    }
}

/// What is to be watched for a path, which is its folder, and the name in it; none for every name, which the last component `*`
/// stands for.
///
/// # Errors
/// The path names no file.
pub fn split(path: &Path) -> io::Result<(&Path, Option<OsString>)> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display())));
    };
    if planted(Bug::FileWatched) && name != "*" {
        return Ok((path, None));
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder, (name != "*").then(|| name.to_owned())))
}

/// A path that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// What is told when it changes.
    pub index: u16,
    /// The path. Armed again, it takes the place of itself.
    pub path: PathBuf,
    /// The number of its folder's watch. The kernel never uses one twice.
    pub folder: i32,
    /// Its name in the folder; none for any.
    pub name: Option<OsString>,
}

/// Everything that is waited for.
#[derive(Debug, Default)]
pub struct Watches {
    armed: BTreeMap<(u16, PathBuf), Armed>,
}

impl Watches {
    /// From here on a path is waited for.
    pub fn arm(&mut self, armed: Armed) {
        self.armed.insert((armed.index, armed.path.clone()), armed);
    }

    /// Calls `dirty` with the index of every path that may have changed by these events, in their order.
    pub fn hear(&mut self, changes: &[Change], mut dirty: impl FnMut(u16)) {
        for change in changes {
            if planted(Bug::OverflowUnheard) && *change == Change::Unknown {
                continue;
            }
            self.armed.values().filter(|armed| armed.is_concerned(change)).for_each(|armed| dirty(armed.index));
        }
        self.armed.retain(|_, armed| !changes.contains(&Change::Gone(armed.folder)));
    }
}

impl Armed {
    fn is_concerned(&self, change: &Change) -> bool {
        match change {
            Change::Unknown => true,
            Change::Folder(folder) | Change::Gone(folder) => self.folder == *folder,
            Change::Entry(folder, name) => {
                let named = self.name.as_ref().is_none_or(|armed| armed == name);
                self.folder == *folder && (named || planted(Bug::OwnWritesHeard))
            }
        }
    }
}
