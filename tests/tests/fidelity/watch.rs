//! The simulated kernel queues the change events that the real one does, and they mean the same to what ships.
//!
//! **Invariant.** The same calls on both; then both queues are read, and hold the same events in the same order: watch, what,
//! name, and which two ends of a rename belong together. Whatever was equal to the last unread event is missing from both. Lost
//! and late events are the simulator's doing, on top of this.

use crate::calls::{Call, NAMES, Side, call};
use proptest::prelude::*;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use sim::fs::SimFs;
use sim::inotify::{EVENTS_MAX, Inotify, Target};
use sprag_journal::RealFs;
use sprag_journal::fs::{File as _, Fs as _, Open};
use sprag_runtime::changes::asked;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Folders that are watched: that of the files, and one in it that comes and goes.
const FOLDERS: [&str; 2] = [".", "d"];

/// What both have to tell, in the same words: the place of the watch, what happened, the first end of a rename, the name.
type Told = (usize, ReadFlags, bool, Option<String>);

/// What is watched, by the kernel's number. A number is never used again, so a folder may have had many.
type Numbers = BTreeMap<i32, usize>;

struct Real {
    events: OwnedFd,
    numbers: Numbers,
}

impl Real {
    fn new() -> Real {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        Real { events, numbers: Numbers::new() }
    }

    /// False where there is nothing to watch.
    fn watch(&mut self, at: usize, path: &Path, flags: WatchFlags) -> bool {
        let watch = inotify::add_watch(&self.events, path, flags);
        watch.is_ok_and(|watch| self.numbers.insert(watch, at).is_none_or(|before| before == at))
    }

    fn told(&self) -> Vec<Told> {
        let mut space = [MaybeUninit::uninit(); 1 << 16];
        let mut reader = Reader::new(&self.events, &mut space);
        let (mut told, mut renames) = (Vec::new(), Vec::new());
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return told,
                Err(error) => panic!("{error}"),
            };
            let name = event.file_name().map(|name| name.to_str().unwrap().to_owned());
            let second = !is_first(&mut renames, event.cookie());
            told.push((place(&self.numbers, event.wd()), event.events(), second, name));
        }
    }
}

/// Where a watch is; an overflow has none.
fn place(numbers: &Numbers, watch: i32) -> usize {
    numbers.get(&watch).copied().unwrap_or(usize::MAX)
}

/// Whether no event had this cookie before.
fn is_first(renames: &mut Vec<u32>, cookie: u32) -> bool {
    let first = cookie == 0 || !renames.contains(&cookie);
    renames.push(cookie);
    first
}

struct Simulated {
    fs: SimFs,
    kernel: Inotify,
    numbers: Numbers,
}

impl Simulated {
    fn new(fs: SimFs, events_max: usize) -> Simulated {
        fs.listen();
        Simulated { fs, kernel: Inotify::new(events_max), numbers: Numbers::new() }
    }

    fn watch(&mut self, at: usize, target: Target, flags: WatchFlags) {
        self.hear();
        let before = self.numbers.insert(self.kernel.add_watch(target, flags), at);
        assert!(before.is_none_or(|before| before == at), "a number is used again");
    }

    fn hear(&mut self) {
        for change in self.fs.take_changes() {
            self.kernel.tells(&change).into_iter().for_each(|event| self.kernel.push(event));
        }
    }

    fn told(&mut self) -> Vec<Told> {
        self.hear();
        let mut renames = Vec::new();
        let told = self.kernel.read().into_iter().map(|event| {
            let name = event.name.map(|name| name.into_string().unwrap());
            let second = !is_first(&mut renames, event.cookie);
            (place(&self.numbers, event.watch), event.what, second, name)
        });
        told.collect()
    }
}

/// What is left out: a folder that goes while one of its files is open. The kernel knows which of two folders of one name such
/// a file was in, and the simulated one does not.
fn is_left_out(call: &Call, open: &BTreeMap<usize, usize>) -> bool {
    matches!(call, Call::RemoveDir { .. }) && open.values().any(|name| NAMES[*name].contains('/'))
}

/// Reads both queues after each so many calls.
fn compare(calls: &[Call], at_once: usize) {
    let dir = tempfile::tempdir().unwrap();
    let fs = SimFs::with_dirs(&["/q"]);
    let (mut kernel, mut own) = (Real::new(), Simulated::new(fs.clone(), EVENTS_MAX));
    let mut real = Side { fs: RealFs, root: dir.path(), handles: BTreeMap::new() };
    let mut simulated = Side { fs, root: Path::new("/q"), handles: BTreeMap::new() };
    let mut open = BTreeMap::new();
    for (at, call) in calls.iter().enumerate() {
        for (index, folder) in FOLDERS.into_iter().enumerate() {
            // It may not be there. Where it is, watching it again changes nothing.
            if kernel.watch(index, &dir.path().join(folder), asked()) {
                own.watch(index, Target::Folder(Path::new("/q").join(folder).components().collect()), asked());
            }
        }
        if is_left_out(call, &open) {
            continue;
        }
        match call {
            Call::Open { handle, name, .. } => _ = open.insert(*handle, *name),
            Call::Close { handle } => _ = open.remove(handle),
            _ => {}
        }
        let (one, other) = (simulated.call(call), real.call(call));
        assert_eq!(one, other, "call {at} of {:?}", &calls[..=at]);
        if at % at_once == 0 {
            assert_eq!(own.told(), kernel.told(), "told after call {at} of {:?}", &calls[..=at]);
        }
    }
    assert_eq!(own.told(), kernel.told(), "told after {calls:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_tell_alike(calls in prop::collection::vec(call(), 1..40), at_once in 1_usize..20) {
        compare(&calls, at_once);
    }
}

/// A folder on both sides, a file in it, and whoever writes it.
struct Both {
    dir: tempfile::TempDir,
    fs: SimFs,
    kernel: Real,
    own: Simulated,
}

impl Both {
    fn new(events_max: usize) -> Both {
        let (dir, fs) = (tempfile::tempdir().unwrap(), SimFs::with_dirs(&["/q", "/aside"]));
        std::fs::create_dir(dir.path().join("q")).unwrap();
        std::fs::create_dir(dir.path().join("aside")).unwrap();
        Both { kernel: Real::new(), own: Simulated::new(fs.clone(), events_max), dir, fs }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file in a folder that nobody watches, and renames it.
    fn replace(&self, name: &str) {
        for (root, fs) in [(self.path(""), None), ("/".into(), Some(&self.fs))] {
            let (from, to) = (root.join("aside/new"), root.join(name));
            match fs {
                None => std::fs::write(&from, "[]").and_then(|()| std::fs::rename(&from, &to)).unwrap(),
                Some(fs) => {
                    fs.open(&from, Open::Replace).unwrap().write_at(b"[]", 0).unwrap();
                    fs.rename(&from, &to).unwrap();
                }
            }
        }
    }

    fn watch_file(&mut self, name: &str) {
        let flags = WatchFlags::from_bits_retain(0xfff);
        assert!(self.kernel.watch(0, &self.path(name), flags));
        let inode = self.fs.watch_file(&Path::new("/").join(name)).unwrap();
        self.own.watch(0, Target::File(inode), flags);
    }

    fn watch_folder(&mut self) {
        assert!(self.kernel.watch(0, &self.path("q"), asked()));
        self.own.watch(0, Target::Folder("/q".into()), asked());
    }

    fn told(&mut self) -> Vec<Told> {
        let told = self.own.told();
        assert_eq!(told, self.kernel.told());
        told
    }
}

/// What a watcher of a file hears when it is replaced twice: that it is gone, and then nothing for ever.
#[test]
fn a_watch_of_a_file_ends_when_it_is_replaced() {
    let mut both = Both::new(EVENTS_MAX);
    both.replace("q/f");
    both.watch_file("q/f");
    both.replace("q/f");
    let what: Vec<ReadFlags> = both.told().into_iter().map(|told| told.1).collect();
    assert_eq!(what, [ReadFlags::ATTRIB, ReadFlags::DELETE_SELF, ReadFlags::IGNORED]);
    both.replace("q/f");
    assert_eq!(both.told(), []);
}

/// While somebody has the old file open it is only told that the name is gone; the rest when it is closed.
#[test]
fn an_open_file_that_is_replaced_is_not_yet_gone() {
    let mut both = Both::new(EVENTS_MAX);
    both.replace("q/f");
    both.watch_file("q/f");
    let real = std::fs::OpenOptions::new().append(true).open(both.path("q/f")).unwrap();
    let simulated = both.fs.open(Path::new("/q/f"), Open::Write).unwrap();
    // Who opens and who reads is not simulated: nothing of ours asks for it.
    both.kernel.told();
    both.replace("q/f");
    assert_eq!(both.told().len(), 1);
    drop((real, simulated));
    let what: Vec<ReadFlags> = both.told().into_iter().map(|told| told.1).collect();
    assert_eq!(what, [ReadFlags::CLOSE_WRITE, ReadFlags::DELETE_SELF, ReadFlags::IGNORED]);
}

#[test]
fn replaced_fifty_times_and_unread_it_is_told_once() {
    let mut both = Both::new(EVENTS_MAX);
    both.watch_folder();
    (0..50).for_each(|_| both.replace("q/f"));
    assert_eq!(both.told().len(), 1);
    (0..50).for_each(|at| both.replace(["q/f", "q/g"][at % 2]));
    assert_eq!(both.told().len(), 50);
}

/// As many as the kernel holds, and one that says that there were more.
#[test]
fn a_full_queue_says_so_once_and_watches_go_on() {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let Some(events_max) = text.ok().and_then(|text| text.trim().parse().ok()).filter(|max| *max <= EVENTS_MAX) else {
        println!("SKIPPED, AND SAID ALOUD: it is not known how many events this kernel queues, or they are very many");
        return;
    };
    let mut both = Both::new(events_max);
    both.watch_folder();
    (0..events_max + 100).for_each(|at| both.replace(["q/f", "q/g"][at % 2]));
    let told = both.told();
    assert_eq!(told.len(), events_max + 1);
    assert_eq!(told.last().unwrap().1, ReadFlags::QUEUE_OVERFLOW);
    both.replace("q/f");
    assert_eq!(both.told().len(), 1);
}
