//! The kernel's queue of change events.
//!
//! **Invariant.** What is queued is what Linux queues for the same calls (`tests/tests/fidelity/watch.rs` holds it against the
//! kernel): one queue for all watches, in the order of what happened. An event equal to the last unread one (watch, what, name;
//! not the cookie) is dropped; a full queue says so once and drops the rest until it was read. A watch of a folder hears of its
//! entries, one of a file of its inode, whatever name that has; each ends with what it watches, says so, and its number
//! is not used again.

use crate::fs::Change;
use rustix::fs::inotify::{ReadFlags, WatchFlags};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// As many as the kernel queues, unless it was told otherwise (`fs.inotify.max_queued_events`).
pub const EVENTS_MAX: usize = 16_384;
/// The watch that no event belongs to: the queue itself is meant.
const NO_WATCH: i32 = -1;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// One queue and its watches.
#[derive(Debug)]
pub struct Inotify {
    watches: BTreeMap<Target, (i32, WatchFlags)>,
    last_watch: i32,
    cookies: u32,
    queue: VecDeque<Event>,
    events_max: usize,
}

impl Inotify {
    /// Nothing is watched. The queue holds so many events.
    pub fn new(events_max: usize) -> Inotify {
        Inotify { watches: BTreeMap::new(), last_watch: 0, cookies: 0, queue: VecDeque::new(), events_max }
    }

    /// inotify_add_watch(2): the same number for what is watched already, and the new mask.
    pub fn add_watch(&mut self, target: Target, asked: WatchFlags) -> i32 {
        let next = self.last_watch + 1;
        let (watch, mask) = self.watches.entry(target).or_insert((next, asked));
        *mask = asked;
        self.last_watch = self.last_watch.max(*watch);
        *watch
    }

    /// The events that a change leads to. Watches that end with it are gone.
    pub fn tells(&mut self, change: &Change) -> Vec<Event> {
        match change {
            Change::Entry { path, inode, what } => {
                let parent = path.parent().map(|parent| Target::Folder(parent.to_owned()));
                let file = inode.map(Target::File).filter(|_| !what.intersects(OF_NAMES));
                let of_folder = parent.and_then(|target| self.event(&target, *what, path.file_name()));
                [of_folder, file.and_then(|target| self.event(&target, *what, None))].into_iter().flatten().collect()
            }
            Change::Moved { from, to, inode } => {
                self.cookies += 1;
                let end = |path: &PathBuf, what| {
                    let target = Target::Folder(path.parent()?.to_owned());
                    self.event(&target, what, path.file_name()).map(|event| Event { cookie: self.cookies, ..event })
                };
                let ends = [end(from, ReadFlags::MOVED_FROM), end(to, ReadFlags::MOVED_TO)];
                ends.into_iter()
                    .chain([self.event(&Target::File(*inode), ReadFlags::MOVE_SELF, None)])
                    .flatten()
                    .collect()
            }
            Change::Unlinked(inode) => self.event(&Target::File(*inode), ReadFlags::ATTRIB, None).into_iter().collect(),
            Change::Freed(inode) => self.ends(&Target::File(*inode)),
            Change::Gone(folder) => self.ends(&Target::Folder(folder.clone())),
        }
    }

    fn event(&self, target: &Target, what: ReadFlags, name: Option<&OsStr>) -> Option<Event> {
        let (watch, asked) = self.watches.get(target)?;
        let of_interest = asked.bits() & what.bits() != 0;
        of_interest.then(|| Event { watch: *watch, what, cookie: 0, name: name.map(OsStr::to_owned) })
    }

    fn ends(&mut self, target: &Target) -> Vec<Event> {
        let deleted = self.event(target, ReadFlags::DELETE_SELF, None);
        let ignored = self.watches.remove(target).map(|(watch, _)| Event {
            watch,
            what: ReadFlags::IGNORED,
            cookie: 0,
            name: None,
        });
        deleted.into_iter().chain(ignored).collect()
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
