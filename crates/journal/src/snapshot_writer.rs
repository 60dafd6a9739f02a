//! Writing a snapshot as a stream, so that no more than a buffer of it is in memory.
//!
//! Invariant: until [`SnapshotWriter::finish`] returned success there is no snapshot, only files with temporary names; after
//! it there is one that was synced, read again from the file, found right, and whose name is durable.

use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::framer::FRAME_BYTES_CAP;
use crate::fs::{File, Fs, Open, temporary_name, write_all_at};
use crate::index::{self, Entry, Index, Names};
use crate::line::{CLOSE, Position, QueueId, Sum};
use crate::names;
use crate::snapshot::{Snapshot, end_text, header_text};
use sprag_core::{Bug, planted};

const BUFFER_BYTES: usize = 1024 * 1024;

/// A file that is written from its beginning to its end, and hashed on the way.
#[derive(Debug)]
struct Stream<T> {
    file: T,
    path: PathBuf,
    buffer: Vec<u8>,
    /// How much was written before what the buffer holds.
    offset: u64,
    hasher: blake3::Hasher,
}

impl<T: File> Stream<T> {
    fn create<F: Fs<File = T>>(fs: &F, path: PathBuf) -> Result<Stream<T>, JournalError> {
        let file = fs.open(&path, Open::Replace).map_err(JournalError::io("create", &path))?;
        Ok(Stream { file, path, buffer: Vec::new(), offset: 0, hasher: blake3::Hasher::new() })
    }

    fn position(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.hasher.update(&self.buffer);
        write_all_at(&self.file, &self.buffer, self.offset).map_err(JournalError::io("write", &self.path))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        self.file.sync_all().map_err(JournalError::io("sync", &self.path))
    }
}

/// A snapshot that is being written.
#[derive(Debug)]
pub struct SnapshotWriter<F: Fs> {
    fs: F,
    root: PathBuf,
    covers: Position,
    text: Stream<F::File>,
    index: Stream<F::File>,
    names: Names,
    lines: u64,
    entries: u64,
    last_job: Option<u64>,
}

impl<F: Fs> SnapshotWriter<F> {
    /// Begins a snapshot of the state at `covers`, which must be the end of a committed frame.
    pub fn create(fs: &F, root: &Path, queue: QueueId, covers: Position) -> Result<SnapshotWriter<F>, JournalError> {
        assert!(covers.offset > 0, "a snapshot covers the end of a committed frame");
        let mut text = Stream::create(fs, temporary_name(&root.join(names::snapshot(covers.seq))))?;
        let index = Stream::create(fs, temporary_name(&root.join(names::index(covers.seq))))?;
        text.push(header_text(queue, covers.seq).as_bytes())?;
        Ok(SnapshotWriter {
            fs: fs.clone(),
            root: root.to_owned(),
            covers,
            text,
            index,
            names: Names::default(),
            lines: 0,
            entries: 0,
            last_job: None,
        })
    }

    /// The names that the entries' queues stand for.
    pub fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    /// Adds a line of JSON, without its newline, and its entry if it is one of a job. Entries must ascend by job.
    pub fn push(&mut self, line: &[u8], entry: Option<Entry>) -> Result<(), JournalError> {
        assert!(!line.is_empty() && !line.contains(&b'\n'), "a snapshot's line is one line");
        assert!((line.len() as u64) < FRAME_BYTES_CAP, "a snapshot's line of {} bytes", line.len());
        if let Some(entry) = entry {
            assert!(self.last_job.is_none_or(|last| last < entry.job), "entries ascend by job");
            self.last_job = Some(entry.job);
            self.entries += 1;
            self.index.push(&entry.at(self.text.position(), line).to_bytes())?;
        }
        self.lines += 1;
        self.text.push(line)?;
        self.text.push(b"\n")
    }

    /// Closes, syncs, reads again, renames; then the snapshot counts.
    pub fn finish(mut self) -> Result<Snapshot<F>, JournalError> {
        self.text.push(end_text(self.lines, &self.covers).as_bytes())?;
        self.text.flush()?;
        let sum = Sum::cut(&self.text.hasher.finalize());
        self.text.push(sum.to_string().as_bytes())?;
        self.text.push(CLOSE)?;
        if planted(Bug::PrunedEarly) || planted(Bug::SnapshotNotSynced) {
            self.text.flush()?;
        } else {
            self.text.sync()?;
        }
        self.index.flush()?;
        let ending = index::ending(&self.names, self.entries, sum, self.index.hasher.clone());
        self.index.push(&ending)?;
        self.index.sync()?;
        let written = self.check(sum)?;
        let path = self.root.join(names::snapshot(self.covers.seq));
        let index_path = index::path_of(&path);
        self.fs.rename(&self.index.path, &index_path).map_err(JournalError::io("rename", &self.index.path))?;
        self.fs.rename(&self.text.path, &path).map_err(JournalError::io("rename", &self.text.path))?;
        self.fs.sync_dir(&self.root).map_err(JournalError::io("sync", &self.root))?;
        Ok(written.renamed(path))
    }

    /// Reads both files again, from the beginning.
    fn check(&self, sum: Sum) -> Result<Snapshot<F>, JournalError> {
        let seq = self.covers.seq;
        let differs = |path: &Path| JournalError::corrupt(path, 0, seq, "a file just written reads differently");
        let text = Snapshot::open(&self.fs, &self.text.path, seq)?;
        if text.sum() != sum || text.covers() != self.covers || text.lines() != self.lines {
            return Err(differs(&self.text.path));
        }
        let file = self.fs.open(&self.index.path, Open::Read).map_err(JournalError::io("open", &self.index.path))?;
        let index = Index::load(file, sum).map_err(JournalError::io("read", &self.index.path))?;
        index.map(|_| text).ok_or_else(|| differs(&self.index.path))
    }
}
