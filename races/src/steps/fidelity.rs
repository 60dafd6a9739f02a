//! The small world against the kernel: the same operations on a real folder, and the sequences of events compared.
//!
//! **Invariant.** Nothing is skipped silently: what the kernel here cannot do is said.

use super::world::{EVENTS_MAX, Event, Watch, World};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const F: &str = "f";

/// A real folder with a file, watched, and the small world beside it.
struct Both {
    dir: tempfile::TempDir,
    /// Where temporary files are made: not watched.
    aside: tempfile::TempDir,
    events: OwnedFd,
    world: World,
}

impl Both {
    fn new(watch: Watch) -> Both {
        let (dir, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join(F), "0").unwrap();
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let mut world = World::default();
        world.create(F, &[0]);
        match watch {
            Watch::Folder => {
                let flags = WatchFlags::MODIFY | WatchFlags::MOVED_TO;
                inotify::add_watch(&events, dir.path(), flags).unwrap();
            }
            Watch::Inode(_) => {
                inotify::add_watch(&events, dir.path().join(F), WatchFlags::MODIFY | WatchFlags::MOVED_TO).unwrap();
            }
            Watch::Nothing => {}
        }
        world.watch = if let Watch::Inode(_) = watch { Watch::Inode(world.names[F]) } else { watch };
        Both { dir, aside, events, world }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(F)
    }

    fn replace(&mut self, name: &'static str, item: u8) {
        let temporary = self.aside.path().join("tmp");
        fs::write(&temporary, item.to_string()).unwrap();
        fs::rename(&temporary, self.dir.path().join(name)).unwrap();
        self.world.replace(name, &[item]);
    }

    fn write_in_place(&mut self, item: u8) {
        fs::write(self.path(), item.to_string()).unwrap();
        self.world.write(F, &[item], true);
        self.world.write(F, &[item], false);
    }

    /// What the kernel has to tell, in the words of the small world.
    fn told(&self) -> Vec<Event> {
        let mut space = [MaybeUninit::uninit(); 1 << 16];
        let mut reader = Reader::new(&self.events, &mut space);
        let mut told = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return told,
                Err(error) => panic!("{error}"),
            };
            let name = match event.file_name().and_then(|name| name.to_str().ok()) {
                Some("a") => "a",
                Some("b") => "b",
                Some(_) | None => F,
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                told.push(Event::Overflow);
            } else if flags.contains(ReadFlags::IGNORED) {
                told.push(Event::Ignored);
            } else if flags.contains(ReadFlags::MOVED_TO) {
                told.push(Event::MovedTo(name));
            } else if flags.contains(ReadFlags::MODIFY) {
                told.push(Event::Modified(name));
            }
        }
    }

    fn compare(&mut self) {
        let simulated: Vec<Event> = self.world.events.drain(..).collect();
        assert_eq!(simulated, self.told());
    }
}

#[test]
fn a_replaced_file_is_moved_to_its_name_and_equal_events_in_a_row_are_one() {
    let mut both = Both::new(Watch::Folder);
    both.replace(F, 1);
    both.replace(F, 2);
    assert_eq!(both.world.events.len(), 1);
    both.compare();
    both.replace("a", 1);
    both.replace(F, 3);
    both.compare();
}

#[test]
fn what_is_written_in_place_is_modified_once_while_nobody_reads() {
    let mut both = Both::new(Watch::Folder);
    both.write_in_place(1);
    assert_eq!(both.world.events, [Event::Modified(F)]);
    both.compare();
}

#[test]
fn a_watch_of_a_file_goes_with_its_inode() {
    let mut both = Both::new(Watch::Inode(0));
    both.write_in_place(1);
    both.compare();
    both.replace(F, 2);
    assert_eq!(both.world.events, [Event::Ignored]);
    both.compare();
    both.replace(F, 3);
    both.write_in_place(4);
    assert!(both.world.events.is_empty());
    both.compare();
}

#[test]
fn a_full_queue_says_so_once_and_drops_the_rest() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
    let Some(limit) = limit.trim().parse::<usize>().ok().filter(|limit| *limit <= 1 << 17) else {
        eprintln!("skipped: the queue of events holds too many here, or does not say how many");
        return;
    };
    // In small.
    let mut world = World { watch: Watch::Folder, ..World::default() };
    for number in 0..EVENTS_MAX + 3 {
        world.replace(if number % 2 == 0 { "a" } else { "b" }, &[1]);
    }
    assert_eq!((world.events.len(), world.events.back()), (EVENTS_MAX + 1, Some(&Event::Overflow)));
    // And as it is: two names in turn, so that no two events are equal.
    let both = Both::new(Watch::Folder);
    let files = ["a", "b"].map(|name| File::create(both.dir.path().join(name)).unwrap());
    for number in 0..limit + 3 {
        (&files[number % 2]).write_all(b"x").unwrap();
    }
    let told = both.told();
    let overflows = told.iter().filter(|event| **event == Event::Overflow).count();
    assert_eq!((told.len(), overflows, told.last()), (limit + 1, 1, Some(&Event::Overflow)));
}

#[test]
fn an_open_file_keeps_what_it_was_and_the_name_is_the_new_one() {
    let mut both = Both::new(Watch::Nothing);
    let (mut handle, inode) = (File::open(both.path()).unwrap(), both.world.names[F]);
    both.replace(F, 1);
    let mut text = String::new();
    handle.read_to_string(&mut text).unwrap();
    assert_eq!(text, both.world.inodes[&inode].items[0].to_string());
    assert_eq!(fs::read_to_string(both.path()).unwrap(), both.world.file(F).items[0].to_string());
}

#[test]
fn a_temporary_file_renamed_late_takes_the_time_back() {
    let mut both = Both::new(Watch::Nothing);
    let early = both.aside.path().join("early");
    fs::write(&early, "1").unwrap();
    let inode = both.world.write_new(&[1]);
    // Until the file system's clock has ticked.
    let stamp = |path: &Path| fs::metadata(path).map(|file| (file.mtime(), file.mtime_nsec())).unwrap();
    let began = stamp(&early);
    while stamp(&both.path()) <= began {
        fs::write(both.path(), "2").unwrap();
    }
    both.world.wall += 1;
    both.world.write(F, &[2], false);
    let (real, small) = (stamp(&both.path()), both.world.file(F).mtime);
    fs::rename(&early, both.path()).unwrap();
    both.world.rename(inode, F);
    assert!(stamp(&both.path()) < real);
    assert!(both.world.file(F).mtime < small);
}

#[test]
fn a_lock_lies_on_the_inode_and_belongs_to_the_open_file() {
    let mut both = Both::new(Watch::Nothing);
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).unwrap();
    let locks = |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let (first, second) = (open(&both.path()), open(&both.path()));
    assert!(locks(&first) && !locks(&second), "of one process, and yet two");
    both.replace(F, 1);
    let third = open(&both.path());
    assert!(locks(&third), "another file by now: the lock of the old one says nothing about it");
    assert!(!locks(&second));
    drop(first);
    assert!(locks(&second), "free at the last close");
}

#[test]
fn a_dead_process_that_nobody_has_waited_for_is_still_there() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = Pid::from_child(&child);
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    while !state().rsplit_once(')').unwrap().1.trim_start().starts_with('Z') {
        std::thread::yield_now();
    }
    assert_eq!(test_kill_process(pid), Ok(()), "for all that kill(pid, 0) can tell");
    child.wait().unwrap();
    assert_eq!(test_kill_process(pid), Err(Errno::SRCH));
}
