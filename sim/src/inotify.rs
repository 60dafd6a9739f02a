//! The kernel's queue of change events.
//!
//! **Invariant.** What is queued is what Linux queues for the same calls (`tests/tests/fidelity/watch.rs` holds it against the
//! kernel): one queue for all watches, in the order of what happened. An event equal to the last unread one (watch, what, name;
//! not the cookie) is dropped; a full queue says so once and drops the rest until it was read. A watch of a folder hears of its
//! entries, one of a file of its inode, whatever name that has; each ends with what it watches, says so, and its number
//! is not used again.

use crate::fs::{Change, parent};
use rustix::fs::inotify::{ReadFlags, WatchFlags};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// As many as the kernel queues, unless it was told otherwise (`fs.inotify.max_queued_events`).
pub const EVENTS_MAX: usize = 16_384;
/// The watch that no event belongs to: the queue itself is meant.
const NO_WATCH: i32 = -1;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A folder, by its path.
    Folder(PathBuf),
    /// A file, by its inode.
    File(usize),
}

/// An event that waits to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number of the watch.
    pub watch: i32,
    /// What happened.
    pub what: ReadFlags,
    /// What the two ends of a rename have in common.
    pub cookie: u32,
    /// The entry, if it is about one.
    pub name: Option<OsString>,
}

impl Event {
    /// What happened, in the words of inotify(7).
    pub fn words(&self) -> String {
        let words: Vec<&str> = self.what.iter_names().map(|(word, _)| word).collect();
        words.join("|")
    }
}

/// The number of a watch, and what it asks for.
type Asked = (i32, WatchFlags);

fn event((watch, asked): Asked, what: ReadFlags, name: Option<&OsStr>) -> Option<Event> {
    let of_interest = asked.bits() & what.bits() != 0;
    of_interest.then(|| Event { watch, what, cookie: 0, name: name.map(OsStr::to_owned) })
}

/// What a watch says when that which it watches is gone.
fn ended(of: Asked) -> Vec<Event> {
    let ignored = Event { watch: of.0, what: ReadFlags::IGNORED, cookie: 0, name: None };
    event(of, ReadFlags::DELETE_SELF, None).into_iter().chain([ignored]).collect()
}

/// One queue and its watches.
#[derive(Debug)]
pub struct Inotify {
    folders: BTreeMap<OsString, Asked>,
    files: BTreeMap<usize, Asked>,
    last_watch: i32,
    cookies: u32,
    queue: VecDeque<Event>,
    events_max: usize,
}

impl Inotify {
    /// Nothing is watched. The queue holds so many events.
    pub fn new(events_max: usize) -> Inotify {
        Inotify {
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
            last_watch: 0,
            cookies: 0,
            queue: VecDeque::new(),
            events_max,
        }
    }

    /// inotify_add_watch(2): the same number for what is watched already, and the new mask.
    pub fn add_watch(&mut self, target: Target, asked: WatchFlags) -> i32 {
        let next = self.last_watch + 1;
        let of = match target {
            Target::Folder(path) => self.folders.entry(path.into_os_string()).or_insert((next, asked)),
            Target::File(inode) => self.files.entry(inode).or_insert((next, asked)),
        };
        of.1 = asked;
        self.last_watch = self.last_watch.max(of.0);
        of.0
    }

    /// The events that a change leads to. Watches that end with it are gone.
    pub fn tells(&mut self, change: &Change) -> Vec<Event> {
        match change {
            Change::Entry { path, inode, what } => {
                let of_file = inode.filter(|_| !what.intersects(OF_NAMES)).and_then(|inode| self.of_file(inode, *what));
                self.of_entry(path, *what).into_iter().chain(of_file).collect()
            }
            Change::Moved { from, to, inode } => {
                self.cookies += 1;
                let end = |path, what| Some(Event { cookie: self.cookies, ..self.of_entry(path, what)? });
                let ends = [end(from, ReadFlags::MOVED_FROM), end(to, ReadFlags::MOVED_TO)];
                ends.into_iter().chain([self.of_file(*inode, ReadFlags::MOVE_SELF)]).flatten().collect()
            }
            Change::Unlinked(inode) => self.of_file(*inode, ReadFlags::ATTRIB).into_iter().collect(),
            Change::Freed(inode) => self.files.remove(inode).map_or_else(Vec::new, ended),
            Change::Gone(folder) => self.folders.remove(folder.as_os_str()).map_or_else(Vec::new, ended),
        }
    }

    /// What the watch of the folder hears of one of its entries.
    fn of_entry(&self, path: &Path, what: ReadFlags) -> Option<Event> {
        event(*self.folders.get(parent(path).as_os_str())?, what, path.file_name())
    }

    fn of_file(&self, inode: usize, what: ReadFlags) -> Option<Event> {
        event(*self.files.get(&inode)?, what, None)
    }

    /// Puts an event into the queue.
    pub fn push(&mut self, event: Event) {
        let equal = |last: &Event| (last.watch, last.what, &last.name) == (event.watch, event.what, &event.name);
        if self.queue.back().is_some_and(equal) {
            return;
        }
        if self.queue.len() >= self.events_max {
            return self.overflow();
        }
        self.queue.push_back(event);
    }

    /// The queue is full: what comes now is dropped.
    pub fn overflow(&mut self) {
        let full = |event: &Event| event.what.contains(ReadFlags::QUEUE_OVERFLOW);
        if !self.queue.iter().rev().any(full) {
            self.queue.push_back(Event { watch: NO_WATCH, what: ReadFlags::QUEUE_OVERFLOW, cookie: 0, name: None });
        }
    }

    /// Whether there is something to read.
    pub fn is_readable(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Reads everything that waits.
    pub fn read(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.queue).into()
    }
}

/// What happens to names, of which a file that is watched itself hears nothing.
const OF_NAMES: ReadFlags = ReadFlags::CREATE.union(ReadFlags::DELETE);
