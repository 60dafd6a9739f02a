//! Change events on their way from the kernel to the loop: hints, and nothing more.
//!
//! **Invariant.** What is queued is the kernel's doing ([`crate::inotify`]), what it means is read by what ships
//! ([`sprag_runtime::changes`]). By draws an event is lost, the queue overflows, or it is read late. A mark that the loop has not
//! taken yet swallows the next one, as its latch does. A process that dies takes its watches along.

use crate::fs::Change;
use crate::inotify::{EVENTS_MAX, Event, Inotify, Target};
use crate::places::{Actor, Hazard, Site};
use crate::shared::Shared;
use crate::trace::Kind as Line;
use crate::world::{Due, World};
use sprag_core::{Bug, planted};
use sprag_journal::fs::{Fs, Kind};
use sprag_runtime::changes::{self, Armed, Watches, asked, split};
use sprag_runtime::seams::Watch;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::BuildHasher as _;
use std::io;
use std::path::Path;
use std::rc::Weak;

/// What one life of sprag watches. Apart from the world, so that a file system call of an actor can be heard of while the world
/// is at work on that actor.
#[derive(Debug)]
pub struct Watched {
    kernel: Inotify,
    watches: Watches,
    /// The loop is on its way to read.
    waking: bool,
}

impl Default for Watched {
    fn default() -> Watched {
        Watched { kernel: Inotify::new(EVENTS_MAX), watches: Watches::default(), waking: false }
    }
}

impl Watched {
    /// From here on a change of the path tells of the index.
    pub fn arm(&mut self, index: u16, path: &Path, target: Target) -> io::Result<()> {
        let (_, name) = split(path)?;
        let folder = self.kernel.add_watch(target, asked());
        self.watches.arm(Armed { index, path: path.to_owned(), folder, name });
        Ok(())
    }

    /// The file system has changed: what the kernel queues for that.
    pub fn hear(&mut self, changes: &[Change], mut queue: impl FnMut(&mut Inotify, Event)) {
        for change in changes {
            for event in self.kernel.tells(change) {
                queue(&mut self.kernel, event);
            }
        }
    }

    /// Reads what is queued, and says which paths may have changed.
    pub fn read(&mut self) -> (Vec<Event>, BTreeSet<u16>) {
        self.waking = false;
        let events = self.kernel.read();
        let changes: Vec<changes::Change> =
            events.iter().map(|event| changes::Change::of(event.watch, event.what, event.name.clone())).collect();
        let mut marks = BTreeSet::new();
        self.watches.hear(&changes, |index| _ = marks.insert(index));
        (events, marks)
    }

    /// The process that watched is gone.
    pub fn forget(&mut self) {
        *self = Watched::default();
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
        let (there, _) = split(path)?;
        let fs = shared.world.borrow().sprag_fs();
        let target = match fs.metadata(there)?.kind {
            Kind::Dir => Target::Folder(there.to_owned()),
            // What ships asks for folders alone.
            Kind::File if planted(Bug::FileWatched) => Target::File(fs.watch_file(there)?),
            Kind::File | Kind::Other => return Err(io::Error::from_raw_os_error(crate::fs::errno::ENOTDIR)),
        };
        // What changed before is none of its business.
        deliver(&mut shared.world.borrow_mut(), &mut shared.watch.borrow_mut());
        shared.watch.borrow_mut().arm(index, path, target)
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

/// Queues what changed, and wakes the loop for it.
pub fn deliver(world: &mut World, watched: &mut Watched) {
    let changes = world.fs.take_changes();
    if changes.is_empty() {
        return;
    }
    watched.hear(&changes, |kernel, event| {
        if world.strikes(Actor::Watch, Hazard::EventsOverflow) {
            kernel.overflow();
        } else if !world.strikes(Actor::Watch, Hazard::EventIsLost) {
            kernel.push(event);
        }
    });
    if watched.waking || !watched.kernel.is_readable() {
        return;
    }
    watched.waking = true;
    let late_us = if world.strikes(Actor::Watch, Hazard::EventIsLate) { 2_000_000 } else { 0 };
    let delay_us = late_us + world.chance.span(Actor::Watch, Site::EventDelay, 5, 5_000);
    let life = world.life;
    world.schedule(delay_us, Due::Events { life });
}

/// The loop reads what is queued: what may have changed is marked.
pub fn wake(world: &mut World, watched: &mut Watched) {
    let (events, marks) = watched.read();
    world.note(Actor::Watch, Line::Step, format_args!("{}", Told(&events)));
    for source in in_some_order(marks) {
        if world.marked.insert(source) {
            let life = world.life;
            world.schedule(1, Due::Marked { life, source });
        }
    }
}

/// Events in a line, as people know them.
struct Told<'a>(&'a [Event]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel tells:")?;
        for (at, event) in self.0.iter().enumerate() {
            let name = event.name.as_deref().unwrap_or_default().display();
            write!(f, "{} {} {name}", if at == 0 { "" } else { "," }, event.words())?;
        }
        Ok(())
    }
}
