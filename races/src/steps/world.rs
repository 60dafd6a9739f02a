//! A world in small: names and inodes, watches and their events, locks, processes, two clocks.
//!
//! **Invariant.** What a call does here is what Linux does (docs/races.md says where that is held against the kernel): a
//! rename gives the name to another inode and tells the folder's watchers `MOVED_TO`; a watch of a file is one of its
//! inode; an event equal to the last unread one is dropped; a full queue says so once and drops the rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Work that somebody wants done, by number.
pub(super) type Item = u8;

/// What can come of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Nobody goes on, and nobody notices.
    Stall,
    /// An item is gone, and was never done.
    Lost,
    /// An item is done more than once.
    Duplicate,
    /// The last change is never seen.
    Missed,
    /// A reader sees what nobody has written, or dies of it.
    Torn,
    /// What it does wakes it again, without end.
    Storm,
    /// It wakes itself once for each time that it looks.
    SelfWake,
    /// One that worked is killed.
    FalseKill,
    /// Somebody else's process is killed.
    StrangerKilled,
    /// Killed and started again without end, it never gets done.
    Livelock,
}

impl Harm {
    /// As the table has it.
    pub fn word(self) -> &'static str {
        match self {
            Harm::Stall => "stall",
            Harm::Lost => "lost",
            Harm::Duplicate => "duplicate",
            Harm::Missed => "missed",
            Harm::Torn => "torn",
            Harm::Storm => "storm",
            Harm::SelfWake => "wakes itself",
            Harm::FalseKill => "false kill",
            Harm::StrangerKilled => "stranger killed",
            Harm::Livelock => "livelock",
        }
    }
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    pub(super) items: Vec<Item>,
    /// Only a part of it is written by now.
    pub(super) torn: bool,
    /// When it was written, by the calendar, as coarse as the clock ticks.
    pub(super) mtime: i8,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Modified(&'static str),
    MovedTo(&'static str),
    /// The watch is gone with its inode.
    Ignored,
    Overflow,
}

/// What is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watch {
    #[default]
    Nothing,
    Inode(u8),
    Folder,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The next one.
    Next,
    /// It cannot be done yet; nothing has changed.
    Wait,
    /// That one.
    Goto(usize),
    /// Nothing: it is through.
    End,
}

/// A step: what it is called, and what it does to the world.
pub(super) type Op = (&'static str, fn(&mut World) -> Then);

/// Who does one step after the other.
pub(super) struct Actor {
    pub(super) name: &'static str,
    pub(super) steps: &'static [Op],
}

/// All there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct World {
    pub(super) names: BTreeMap<&'static str, u8>,
    pub(super) inodes: BTreeMap<u8, File>,
    pub(super) watch: Watch,
    pub(super) events: VecDeque<Event>,
    /// Locks on inodes, and who has them.
    pub(super) locks: BTreeMap<u8, &'static str>,
    /// What was done, in order.
    pub(super) done: Vec<Item>,
    /// What each actor remembers. Gone when it is killed.
    pub(super) memory: BTreeMap<&'static str, BTreeMap<&'static str, Vec<u8>>>,
    /// Flags of the world.
    pub(super) flags: BTreeSet<&'static str>,
    /// The calendar, in ticks; it may be set.
    pub(super) wall: i8,
    /// The next step of each.
    pub(super) at: BTreeMap<&'static str, usize>,
    pub(super) ended: BTreeSet<&'static str>,
    /// Who does the step.
    pub(super) me: &'static str,
}

/// An event queue holds so many.
pub(super) const EVENTS_MAX: usize = 2;

impl World {
    pub(super) fn create(&mut self, name: &'static str, items: &[Item]) {
        let inode = self.write_new(items);
        self.names.insert(name, inode);
    }

    /// A temporary file without a name that matters, written whole.
    pub(super) fn write_new(&mut self, items: &[Item]) -> u8 {
        let inode = self.inodes.len() as u8;
        self.inodes.insert(inode, File { items: items.to_vec(), torn: false, mtime: self.wall });
        inode
    }

    /// rename(2) over `name`.
    pub(super) fn rename(&mut self, inode: u8, name: &'static str) {
        let before = self.names.insert(name, inode);
        match self.watch {
            Watch::Folder => self.tell(Event::MovedTo(name)),
            Watch::Inode(watched) if before == Some(watched) => {
                self.tell(Event::Ignored);
                self.watch = Watch::Nothing;
            }
            Watch::Inode(_) | Watch::Nothing => {}
        }
    }

    /// Writes a temporary file and renames it: in one step where nothing that matters comes between.
    pub(super) fn replace(&mut self, name: &'static str, items: &[Item]) {
        let inode = self.write_new(items);
        self.rename(inode, name);
    }

    /// Writes into the file as it stands.
    pub(super) fn write(&mut self, name: &'static str, items: &[Item], torn: bool) {
        let (inode, mtime) = (self.names[name], self.wall);
        self.inodes.insert(inode, File { items: items.to_vec(), torn, mtime });
        if self.watch == Watch::Folder || self.watch == Watch::Inode(inode) {
            self.tell(Event::Modified(name));
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.back() == Some(&event) {
            return;
        }
        match self.events.len() {
            len if len < EVENTS_MAX => self.events.push_back(event),
            _ if self.events.back() != Some(&Event::Overflow) => self.events.push_back(Event::Overflow),
            _ => {}
        }
    }

    pub(super) fn file(&self, name: &'static str) -> &File {
        &self.inodes[&self.names[name]]
    }

    pub(super) fn remember(&mut self, what: &'static str, value: &[u8]) {
        self.memory.entry(self.me).or_default().insert(what, value.to_vec());
    }

    pub(super) fn recall(&self, what: &'static str) -> Vec<u8> {
        self.memory.get(self.me).and_then(|memory| memory.get(what)).cloned().unwrap_or_default()
    }

    /// One process is gone, with what it remembered and held.
    pub(super) fn kill(&mut self, whom: &'static str) {
        self.ended.insert(whom);
        self.memory.remove(whom);
        self.locks.retain(|_, holder| *holder != whom);
    }

    /// A new process of that program.
    pub(super) fn start(&mut self, whom: &'static str) {
        self.kill(whom);
        self.ended.remove(whom);
        self.at.insert(whom, 0);
    }

    pub(super) fn set(&mut self, flag: &'static str) -> Then {
        self.flags.insert(flag);
        Then::Next
    }

    pub(super) fn has(&self, flag: &'static str) -> bool {
        self.flags.contains(flag)
    }

    /// Goes on as soon as somebody has set the flag.
    pub(super) fn wait_for(&self, flag: &'static str) -> Then {
        if self.has(flag) { Then::Next } else { Then::Wait }
    }

    pub(super) fn times_done(&self, item: Item) -> usize {
        self.done.iter().filter(|done| **done == item).count()
    }

    /// Each of the items was to be done once.
    pub(super) fn judge_items(&self, items: &[Item]) -> Option<Harm> {
        let times = |wanted: fn(usize) -> bool| items.iter().any(|item| wanted(self.times_done(*item)));
        if times(|done| done == 0) {
            return Some(Harm::Lost);
        }
        times(|done| done > 1).then_some(Harm::Duplicate)
    }
}
