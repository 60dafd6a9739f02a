//! A source that somebody writes to while it is read.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

use sprag_journal::fs::{File, Fs, Metadata, Open, Room};
use sprag_journal::{RealFile, RealFs};
use sprag_runtime::pipeline::{Format, SourceSpec};
use sprag_runtime::scan::{self, Seen};
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use tempfile::TempDir;

fn source(format: Format) -> (TempDir, SourceSpec) {
    let key = Some("/id".to_owned());
    (tempfile::tempdir().unwrap(), SourceSpec { path: "source".into(), format, queue: "q".into(), key })
}

/// The real file system, and somebody who writes while it is read.
#[derive(Clone)]
struct Busy {
    reads: Rc<Cell<u32>>,
    before: Rc<dyn Fn(u32)>,
}

#[derive(Debug)]
struct BusyFile {
    file: RealFile,
    busy: Busy,
}

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Busy").field("reads", &self.reads).finish_non_exhaustive()
    }
}

impl Fs for Busy {
    type File = BusyFile;
    fn open(&self, path: &Path, how: Open) -> io::Result<BusyFile> {
        Ok(BusyFile { file: RealFs.open(path, how)?, busy: self.clone() })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir(path)
    }
    fn room(&self, path: &Path) -> io::Result<Room> {
        RealFs.room(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
        RealFs.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealFs.sync_dir(dir)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        RealFs.metadata(path)
    }
}

impl File for BusyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.busy.reads.set(self.busy.reads.get() + 1);
        (self.busy.before)(self.busy.reads.get());
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.reserve(offset, len)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Half of the old content and half of the new one make JSON that never stood anywhere.
#[test]
fn what_is_written_over_in_place_is_never_taken_mixed() {
    let (dir, spec) = source(Format::JsonArray);
    let file = dir.path().join("source");
    let text = |letter: &str| format!("[{{\"id\":1,\"text\":\"{}\"}}]", letter.repeat(100_000));
    fs::write(&file, text("a")).unwrap();
    let look = |before: Rc<dyn Fn(u32)>, seen: &mut Seen| {
        let busy = Busy { reads: Rc::default(), before };
        let look = scan::look(&busy, &|_| Ok(()), dir.path(), &spec, seen);
        (look, busy.reads.get())
    };
    let path = file.clone();
    let over = move |n, when: &dyn Fn(u32) -> bool| {
        if when(n) {
            // Never the same again at the same place of another reading.
            fs::write(&path, text(&char::from(b'a' + (n % 23) as u8).to_string())).unwrap();
        }
    };
    let (once, mut seen) = (over.clone(), Seen::default());
    let (found, _) = look(Rc::new(move |n| once(n, &|n| n == 2)), &mut seen);
    let payload = found.unwrap().items[0].payload.get().to_owned();
    assert!(payload.contains("ccc") && !payload.contains('a'), "the old one's beginning, the new one's end");

    let (_, reads) = look(Rc::new(|_| {}), &mut seen);
    // 16 KiB, 32 KiB, the rest, and the end.
    assert_eq!(reads, 4, "what has not changed is read once");
    let (found, _) = look(Rc::new(move |n| over(n, &|_| true)), &mut seen);
    let complaint = found.err().map(|complaint| complaint.text);
    assert_eq!(complaint.as_deref(), Some("somebody writes to it: 8 readings all differ"));
}

/// A log that grows faster than it is read holds up nothing.
#[test]
fn lines_that_grow_while_they_are_read_are_taken() {
    let (dir, spec) = source(Format::JsonLines);
    let file = dir.path().join("source");
    fs::write(&file, "{\"id\":0}\n").unwrap();
    let path = file.clone();
    let grow = move |n| {
        if n % 2 == 0 {
            return;
        }
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        io::Write::write_all(&mut file, format!("{{\"id\":{n}}}\n").as_bytes()).unwrap();
    };
    let busy = Busy { reads: Rc::default(), before: Rc::new(grow) };
    let look = scan::look(&busy, &|_| Ok(()), dir.path(), &spec, &mut Seen::default()).unwrap();
    assert!(look.items.len() >= 2 && look.complaint.is_none(), "{look:?}");
}
