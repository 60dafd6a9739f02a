//! The simulated file system: what the running system sees, and what a power cut would leave, kept apart.
//!
//! Invariant: a call changes what the system sees at once (the page cache); what the medium holds changes by a successful
//! sync alone. Everything between the two may be lost, kept or torn at a crash, and every such image can be enumerated
//! ([`SimFs::images`]) or drawn ([`SimFs::draw`]).
//!
//! # What is assumed of the medium
//!
//! * A successful `sync_data` or `sync_all` makes the file's bytes and length durable; a successful `sync_dir` the names in
//!   that folder. They order nothing else: syncing a file does not make its name durable, nor the other way round.
//! * Before that, any subset of the writes may be on the medium, each wholly, not at all, or torn at any byte, in any order.
//!   A change of a file's length is apart from the bytes: the length may be kept and the bytes lost (zeros), or the other
//!   way round. A cut of the length may be lost while later writes are kept: then old bytes stand behind new ones.
//! * Before that, any subset of creations, renames and removals may be on the medium. One rename is one change.
//! * A sync that fails may have dropped what was to be written ([`Fault::SyncLost`]): the cache still shows it, no later
//!   sync writes it, until it is written again. Lengths and names are kept for a later sync: file systems journal them, and
//!   one whose journal fails takes nothing more.
//! * A process that dies leaves the cache as it is, after a part of its last write perhaps ([`Fault::Kill`]).
//! * Every call may fail. Space is counted in blocks; a write that has not enough takes what there is.
//! * Bytes that were made durable stay as they are: rot is put in by the test, into an image.
//!
//! Plain `Rc` and `RefCell`, one thread, no clock, no chance of its own: the same calls give the same results.

mod change;
mod contents;
mod disk;
pub mod errno;
mod file;
mod image;
mod inode;
mod names;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub use change::Change;
use disk::{Disk, Lost, Node};
pub use file::SimFile;
pub use image::{Image, Tear};
pub(crate) use names::parent;
use rustix::fs::inotify::ReadFlags;
use sprag_journal::fs::{Fs, Kind, Metadata, Open, Room};

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the methods of `Fs` and `File`")]
pub enum CallKind {
    Open(Open),
    Rename,
    Remove,
    CreateDir,
    MakeOther,
    RemoveDir,
    List,
    SyncDir,
    Metadata,
    Room,
    Read,
    Write,
    Len,
    Truncate,
    Reserve,
    Punch,
    SyncData,
    SyncAll,
}

impl CallKind {
    /// Whether the call can change what the system sees or what the medium holds. A crash before one that cannot is the
    /// same as a crash before the next one that can.
    pub fn changes(self) -> bool {
        match self {
            CallKind::Open(Open::Create | Open::Replace | Open::Share) => true,
            CallKind::Rename | CallKind::Remove | CallKind::CreateDir | CallKind::MakeOther => true,
            CallKind::RemoveDir | CallKind::SyncDir => true,
            CallKind::Write | CallKind::Truncate | CallKind::Punch => true,
            CallKind::SyncData | CallKind::SyncAll => true,
            CallKind::Open(Open::Read | Open::Write) | CallKind::List | CallKind::Metadata => false,
            CallKind::Room | CallKind::Read | CallKind::Len | CallKind::Reserve => false,
        }
    }

    /// Whether the call is a sync.
    pub fn syncs(self) -> bool {
        matches!(self, CallKind::SyncData | CallKind::SyncAll | CallKind::SyncDir)
    }
}

/// A call, as the hook and the trace see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<'path> {
    /// How many calls came before it.
    pub index: u64,
    /// The process that makes it.
    pub process: u32,
    /// What it is.
    pub kind: CallKind,
    /// The file or folder.
    pub path: Cow<'path, Path>,
    /// How many bytes it is about.
    pub len: u64,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this number and changes nothing. A sync that fails so may be tried again with success.
    Errno(i32),
    /// A sync fails with EIO; the bytes it should have written are gone, though the cache shows them.
    SyncLost,
    /// A write takes at most this many bytes.
    Short(usize),
    /// A write reports success and writes nothing: a lying disk, outside of what is assumed above.
    Phantom,
    /// A write lands at this offset instead and reports success: a lying disk too.
    Misdirected(u64),
    /// The process dies at this call; a write has put that many bytes into the cache.
    Kill(usize),
    /// The machine loses power before this call. Every call fails from here on.
    Crash,
}

/// Runs before every call, outside any borrow: a world runs other actors' due events there, and may name a fault.
pub type Hook = Rc<dyn Fn(&Call<'_>) -> Option<Fault>>;

struct State {
    disk: Disk,
    calls: u64,
    planned: BTreeMap<u64, Fault>,
    off: bool,
    dead: BTreeSet<u32>,
    processes: u32,
    trace: Option<Vec<Call<'static>>>,
    hook: Option<Hook>,
    /// Changes that nobody has taken yet, if anybody listens.
    changes: Option<Vec<Change>>,
    /// Raised at each reboot: files opened before it are no more.
    boot: u32,
}

impl State {
    fn changed(&mut self, change: Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(change);
        }
    }

    fn changed_entry(&mut self, path: &Path, what: ReadFlags) {
        if self.changes.is_none() {
            return;
        }
        let (inode, what) = match self.disk.node(path) {
            Some(Node::File(inode)) => (Some(inode), what),
            Some(Node::Dir) => (None, what | ReadFlags::ISDIR),
            Some(Node::Pipe | Node::Link(_)) | None => (None, what),
        };
        self.changed(Change::Entry { path: path.to_owned(), inode, what });
    }

    fn changed_file(&mut self, inode: usize, what: ReadFlags) {
        if let Some(path) = self.disk.last_name(inode).filter(|_| self.changes.is_some()) {
            self.changed(Change::Entry { path, inode: Some(inode), what });
        }
    }

    /// What became of files that are watched.
    fn changed_inodes(&mut self) {
        for lost in self.disk.take_lost() {
            self.changed(match lost {
                Lost::Name(inode) => Change::Unlinked(inode),
                Lost::All(inode) => Change::Freed(inode),
            });
        }
    }
}

/// A simulated file system, seen by one process. A clone is the same process; see [`SimFs::new_process`].
#[derive(Clone)]
pub struct SimFs {
    state: Rc<RefCell<State>>,
    process: u32,
}

fn error<T>(number: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(number))
}

impl SimFs {
    /// A machine whose medium holds an image.
    pub fn boot(image: &Image) -> SimFs {
        SimFs::of(Disk::from_image(image))
    }

    /// Another machine that has a copy of what is seen below a folder here: to be read, and by nobody but who asks.
    pub fn copied(&self, dir: &Path) -> SimFs {
        SimFs::of(self.state.borrow().disk.copied(dir))
    }

    fn of(disk: Disk) -> SimFs {
        let state = State {
            disk,
            calls: 0,
            planned: BTreeMap::new(),
            off: false,
            dead: BTreeSet::new(),
            processes: 1,
            trace: None,
            hook: None,
            changes: None,
            boot: 0,
        };
        SimFs { state: Rc::new(RefCell::new(state)), process: 0 }
    }

    /// A machine with nothing on it but these folders.
    pub fn with_dirs(dirs: &[&str]) -> SimFs {
        SimFs::boot(&Image { dirs: dirs.iter().map(PathBuf::from).collect(), files: BTreeMap::new() })
    }

    /// Another process on the same machine.
    pub fn new_process(&self) -> SimFs {
        let mut state = self.state.borrow_mut();
        let process = state.processes;
        state.processes += 1;
        SimFs { state: Rc::clone(&self.state), process }
    }

    /// The number of this process, as in [`Call::process`].
    pub fn process(&self) -> u32 {
        self.process
    }

    /// This process dies: its calls fail and change nothing from here on. What it wrote stays in the cache.
    pub fn kill(&self) {
        self.state.borrow_mut().dead.insert(self.process);
    }

    /// The machine loses power: every call fails and changes nothing, until [`SimFs::reboot`].
    pub fn crash(&self) {
        self.state.borrow_mut().off = true;
    }

    /// The machine starts again with an image of its medium, in place. Files and processes of before are dead.
    pub fn reboot(&self, image: &Image) -> SimFs {
        let mut state = self.state.borrow_mut();
        state.disk = Disk::from_image(image);
        state.off = false;
        state.boot += 1;
        state.dead = (0..state.processes).collect();
        drop(state);
        self.new_process()
    }

    /// A fault for the call with this index, counted from 0 over all processes.
    pub fn fault_at(&self, index: u64, fault: Fault) {
        self.state.borrow_mut().planned.insert(index, fault);
    }

    /// The hook that runs before every call.
    pub fn set_hook(&self, hook: Option<Hook>) {
        // What the old hook holds, open files perhaps, is let go of outside the borrow.
        let old = std::mem::replace(&mut self.state.borrow_mut().hook, hook);
        drop(old);
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.state.borrow().calls
    }

    /// Begins to keep every call.
    pub fn start_trace(&self) {
        self.state.borrow_mut().trace = Some(Vec::new());
    }

    /// The calls kept since [`SimFs::start_trace`].
    pub fn trace(&self) -> Vec<Call<'static>> {
        self.state.borrow().trace.clone().unwrap_or_default()
    }

    /// How many bytes the medium has room for, in whole blocks of 4096; none means no limit.
    pub fn set_budget(&self, bytes: Option<u64>) {
        self.state.borrow_mut().disk.set_budget(bytes);
    }

    /// Leaves so many free bytes, in whole blocks of 4096; none means no limit again.
    pub fn squeeze(&self, free: Option<u64>) {
        self.state.borrow_mut().disk.squeeze(free);
    }

    /// How many bytes are free, without a call.
    pub fn room_now(&self) -> u64 {
        self.state.borrow().disk.room().free
    }

    /// Every image that a power cut at this moment may leave, as fine as `tear` says. Exhaustive up to that.
    pub fn images(&self, tear: Tear) -> BTreeSet<Image> {
        self.state.borrow().disk.images(tear)
    }

    /// One image that a power cut at this moment may leave. `chance(n)` gives a number below n; 0 always means that nothing
    /// is lost.
    pub fn draw(&self, chance: &mut dyn FnMut(u32) -> u32) -> Image {
        self.state.borrow().disk.draw(chance)
    }

    /// The files right inside a folder, in order, of the image in which nothing is left that a power cut may take.
    pub fn durable_inside(&self, dir: &Path) -> Vec<(PathBuf, Rc<[u8]>)> {
        self.state.borrow().disk.durable_inside(dir)
    }

    /// What the running system sees.
    pub fn cached(&self) -> Image {
        self.state.borrow().disk.cached()
    }

    /// Makes a pipe: nobody writes to it. It is not part of any image.
    pub fn make_pipe(&self, path: &Path) -> io::Result<()> {
        self.begin(CallKind::MakeOther, path, 0)?;
        self.change_entry(path, ReadFlags::CREATE, |disk| disk.make_other(path, None))
    }

    /// Makes a symbolic link. It is not part of any image.
    pub fn make_link(&self, path: &Path, leads_to: &Path) -> io::Result<()> {
        self.begin(CallKind::MakeOther, path, 0)?;
        self.change_entry(path, ReadFlags::CREATE, |disk| disk.make_other(path, Some(leads_to)))
    }

    /// The file system's own clock from now on: changes are stamped with it.
    pub fn set_clock_ns(&self, clock_ns: u64) {
        self.state.borrow_mut().disk.clock_ns = clock_ns;
    }

    /// From here on changes are kept until they are taken.
    pub fn listen(&self) {
        self.state.borrow_mut().changes.get_or_insert_default();
    }

    /// What has changed since they were last taken.
    pub fn take_changes(&self) -> Vec<Change> {
        self.state.borrow_mut().changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From here on it is told what becomes of the file of this name; its inode.
    ///
    /// # Errors
    /// There is no such file.
    pub fn watch_file(&self, path: &Path) -> io::Result<usize> {
        self.state.borrow_mut().disk.watch(path)
    }

    /// Makes or removes an entry, and tells of it if that was done.
    fn change_entry(
        &self,
        path: &Path,
        what: ReadFlags,
        change: impl FnOnce(&mut Disk) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let is_dir = state.disk.node(path) == Some(Node::Dir);
        change(&mut state.disk)?;
        state.changed_inodes();
        state.changed_entry(path, if is_dir { what | ReadFlags::ISDIR } else { what });
        Ok(())
    }

    fn begin(&self, kind: CallKind, path: &Path, len: u64) -> io::Result<Option<Fault>> {
        let (index, hook) = {
            let mut state = self.state.borrow_mut();
            if state.off || state.dead.contains(&self.process) {
                return error(errno::EIO);
            }
            let index = state.calls;
            state.calls += 1;
            (index, state.hook.clone())
        };
        let call = Call { index, process: self.process, kind, path: Cow::Borrowed(path), len };
        let hooked = hook.and_then(|hook| hook(&call));
        let mut state = self.state.borrow_mut();
        // Other actors ran in the hook; one of them may have ended this one.
        if state.off || state.dead.contains(&self.process) {
            return error(errno::EIO);
        }
        if let Some(trace) = &mut state.trace {
            trace.push(Call { path: Cow::Owned(path.to_owned()), ..call });
        }
        match state.planned.remove(&index).or(hooked) {
            None => Ok(None),
            Some(Fault::Errno(number)) => error(number),
            Some(Fault::Crash) => {
                state.off = true;
                error(errno::EIO)
            }
            Some(Fault::Kill(_)) if kind != CallKind::Write => {
                state.dead.insert(self.process);
                error(errno::EIO)
            }
            Some(
                fault @ (Fault::SyncLost | Fault::Short(_) | Fault::Kill(_) | Fault::Phantom | Fault::Misdirected(_)),
            ) => Ok(Some(fault)),
        }
    }
}

impl Fs for SimFs {
    type File = SimFile;

    fn open(&self, path: &Path, how: Open) -> io::Result<SimFile> {
        self.begin(CallKind::Open(how), path, 0)?;
        let mut state = self.state.borrow_mut();
        let was_there = state.disk.node(path).is_some();
        let inode = state.disk.open(path, how)?;
        if matches!(how, Open::Create | Open::Replace | Open::Share) {
            state.changed_entry(path, if was_there { ReadFlags::MODIFY } else { ReadFlags::CREATE });
        }
        Ok(SimFile { fs: self.clone(), path: path.to_owned(), inode, writable: how != Open::Read, boot: state.boot })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(CallKind::Rename, to, 0)?;
        let mut state = self.state.borrow_mut();
        state.disk.rename(from, to)?;
        if let Some(Node::File(inode)) = state.disk.node(to).filter(|_| from != to) {
            state.changed(Change::Moved { from: from.to_owned(), to: to.to_owned(), inode });
        }
        state.changed_inodes();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin(CallKind::Remove, path, 0)?;
        self.change_entry(path, ReadFlags::DELETE, |disk| disk.remove(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.begin(CallKind::CreateDir, path, 0)?;
        self.change_entry(path, ReadFlags::CREATE, |disk| disk.create_dir(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.begin(CallKind::RemoveDir, path, 0)?;
        let mut state = self.state.borrow_mut();
        state.disk.remove_dir(path)?;
        state.changed(Change::Gone(path.to_owned()));
        state.changed_entry(path, ReadFlags::DELETE | ReadFlags::ISDIR);
        Ok(())
    }

    fn room(&self, path: &Path) -> io::Result<Room> {
        self.begin(CallKind::Room, path, 0)?;
        Ok(self.state.borrow().disk.room())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.begin(CallKind::List, dir, 0)?;
        self.state.borrow().disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.begin(CallKind::SyncDir, dir, 0)? {
            Some(Fault::SyncLost) => error(errno::EIO),
            Some(_) | None => self.state.borrow_mut().disk.sync_dir(dir),
        }
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.begin(CallKind::Metadata, path, 0)?;
        let state = self.state.borrow();
        match state.disk.node(path) {
            Some(Node::Dir) => Ok(Metadata { kind: Kind::Dir, len: 0 }),
            Some(Node::File(inode)) => Ok(Metadata { kind: Kind::File, len: state.disk.len(inode) }),
            Some(Node::Pipe | Node::Link(_)) => Ok(Metadata { kind: Kind::Other, len: 0 }),
            None => state.disk.absent(path),
        }
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.begin(CallKind::Metadata, path, 0)?;
        self.state.borrow().disk.read_link(path)
    }

    fn changed_ns(&self, path: &Path) -> io::Result<u64> {
        self.begin(CallKind::Metadata, path, 0)?;
        self.state.borrow().disk.changed_ns(path)
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFs(process {})", self.process)
    }
}
