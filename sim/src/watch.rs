//! The kernel's change events, simulated: hints, and nothing more.
//!
//! **Invariant.** A change of an entry in a watched folder marks whoever watches that name, whatever process made it. A
//! mark that is not yet taken swallows the next one, as an unread event does. By draws a mark is late or lost, or the queue
//! overflows and everything is marked. A process that dies takes its watches along.

use crate::fs::Change;
use crate::places::{Actor, Hazard, Site};
use crate::shared::Shared;
use crate::world::{Due, World};
use sprag_core::{Bug, planted};
use sprag_journal::fs::{Fs, Kind};
use sprag_runtime::seams::Watch;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Weak;

/// What is watched, and what changed since anybody asked. Apart from the world, so that a file system call of an actor
/// can mark while the world is at work on that actor.
#[derive(Debug, Default)]
pub struct Watched {
    armed: BTreeSet<(u16, PathBuf, Option<OsString>)>,
    touched: Vec<u16>,
}

impl Watched {
    /// From here on the folder tells of an entry, or, without a name, of all.
    pub fn arm(&mut self, index: u16, folder: &Path, name: Option<OsString>) {
        self.armed.insert((index, folder.to_owned(), name));
    }

    /// The file system has changed.
    pub fn hear(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Entry(path) => {
                    let concerned = self.armed.iter().filter(|(_, folder, name)| {
                        let named = name.as_deref().is_none_or(|name| path.file_name() == Some(name));
                        named && path.parent() == Some(folder)
                    });
                    self.touched.extend(concerned.map(|(index, ..)| *index));
                }
                Change::Gone(folder) => {
                    let (gone, armed) =
                        std::mem::take(&mut self.armed).into_iter().partition(|(_, of, _)| of == folder);
                    self.armed = armed;
                    let gone: BTreeSet<_> = gone;
                    self.touched.extend(gone.iter().map(|(index, ..)| *index));
                }
            }
        }
    }

    /// What is marked by what was heard.
    pub fn take(&mut self) -> BTreeSet<u16> {
        std::mem::take(&mut self.touched).into_iter().collect()
    }

    /// The process that watched is gone.
    pub fn forget(&mut self) {
        self.armed.clear();
        self.touched.clear();
    }
}

/// Arms paths for one life of sprag.
#[derive(Clone, Debug)]
pub struct SimWatch(pub Weak<Shared>);

impl Watch for SimWatch {
    fn arm(&self, index: u16, path: &Path) -> io::Result<()> {
        let shared = self.0.upgrade().ok_or_else(gone)?;
        shared.sprag_call("arms a watch").map_err(|_| gone())?;
        if shared.world.borrow_mut().strikes(Actor::Watch, Hazard::WatchIsRefused) {
            return Err(io::Error::from_raw_os_error(crate::fs::errno::ENOSPC));
        }
        let folder = path.parent().ok_or_else(gone)?;
        let fs = shared.world.borrow().sprag_fs();
        if fs.metadata(folder)?.kind != Kind::Dir {
            return Err(io::Error::from_raw_os_error(crate::fs::errno::ENOTDIR));
        }
        let name = path.file_name().filter(|name| *name != "*").map(OsString::from);
        let mut watched = shared.watch.borrow_mut();
        // What changed before is none of its business.
        watched.hear(&shared.world.borrow().fs.take_changes());
        watched.arm(index, folder, name);
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(crate::fs::errno::EIO)
}

/// In their order; in that of a hash if this leak was planted.
fn in_some_order(marks: BTreeSet<u16>) -> Vec<u16> {
    let mut marks: Vec<u16> = marks.into_iter().collect();
    if planted(Bug::HashOrder) {
        let order = std::hash::RandomState::new();
        marks.sort_by_key(|mark| order.hash_one(mark));
    }
    marks
}

/// Turns what changed into marks on their way to the loop.
pub fn deliver(world: &mut World, watched: &mut Watched) {
    watched.hear(&world.fs.take_changes());
    if watched.touched.is_empty() {
        return;
    }
    let mut marks = watched.take();
    if world.strikes(Actor::Watch, Hazard::EventsOverflow) {
        marks = watched.armed.iter().map(|(index, ..)| *index).collect();
    }
    for source in in_some_order(marks) {
        if world.marked.contains(&source) || world.strikes(Actor::Watch, Hazard::EventIsLost) {
            continue;
        }
        let late_us = if world.strikes(Actor::Watch, Hazard::EventIsLate) { 2_000_000 } else { 0 };
        let delay_us = late_us + world.chance.span(Actor::Watch, Site::EventDelay, 5, 5_000);
        world.marked.insert(source);
        let life = world.life;
        world.schedule(delay_us, Due::Marked { life, source });
    }
}
