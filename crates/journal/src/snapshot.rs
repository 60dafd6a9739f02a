//! Snapshots: what the journal's records add up to at one position, as a file of JSON lines. A cache, never the truth.
//!
//! Invariants: a snapshot has its name only after it was synced, read again and found right; it covers a position that was
//! committed before; segments are removed only when two such snapshots are durable, and only those before the older one,
//! so that the newest may be lost or damaged and the state is still the same.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::framer::FRAME_BYTES_CAP;
use crate::fs::{File, Fs, Open, read_full_at, write_atomic};
use crate::index::{self, Entry, Index, Names};
use crate::line::{CLOSE, FORMAT_VERSION, Position, QueueId, Sum, Words};
use crate::names;
use crate::recover::Replay;
use crate::scan::check_end;
use sprag_core::{Bug, planted};

const CHUNK_BYTES: usize = 1024 * 1024;
const HEADER_BYTES_MAX: usize = 160;
/// How often the snapshots are listed again when a line is not found.
const LOOKUPS_MAX: u32 = 3;
const END_BYTES_MAX: usize = 400;

pub(crate) fn header_text(queue: QueueId, seq: u64) -> String {
    format!("{{\"snapshot\":{{\"version\":{FORMAT_VERSION},\"queue\":\"{queue}\",\"seq\":{seq}}}}}\n")
}

/// The closing line up to its checksum.
pub(crate) fn end_text(lines: u64, covers: &Position) -> String {
    let Position { segment, offset, seq, chain, epoch } = covers;
    format!(
        "{{\"end\":{{\"lines\":{lines},\"seq\":{seq},\"segment\":{segment},\"offset\":{offset},\"epoch\":{epoch},\
         \"chain\":\"{chain}\",\"sum\":\""
    )
}

struct Header {
    queue: QueueId,
    seq: u64,
    len: usize,
}

/// The version, and the header itself when it is one of ours.
fn read_header(bytes: &[u8]) -> Option<(u64, Option<Header>)> {
    let mut words = Words(bytes);
    words.literal(b"{\"snapshot\":{\"version\":")?;
    let version = words.number()?;
    let mut fields = || {
        words.literal(b",\"queue\":\"")?;
        let queue = QueueId(words.hex()?);
        words.literal(b"\",\"seq\":")?;
        let seq = words.number()?;
        words.literal(b"}}\n")?;
        Some(Header { queue, seq, len: bytes.len() - words.0.len() })
    };
    Some((version, fields()))
}

/// Lines, position, checksum, and how much of the line the checksum covers.
fn read_end(line: &[u8]) -> Option<(u64, Position, Sum, usize)> {
    let mut words = Words(line);
    words.literal(b"{\"end\":{\"lines\":")?;
    let lines = words.number()?;
    words.literal(b",\"seq\":")?;
    let seq = words.number()?;
    words.literal(b",\"segment\":")?;
    let segment = u32::try_from(words.number()?).ok()?;
    words.literal(b",\"offset\":")?;
    let offset = words.number()?;
    words.literal(b",\"epoch\":")?;
    let epoch = words.number()?;
    words.literal(b",\"chain\":\"")?;
    let chain = Sum(words.hex()?);
    words.literal(b"\",\"sum\":\"")?;
    let covered = line.len() - words.0.len();
    let sum = Sum(words.hex()?);
    words.last(CLOSE)?;
    Some((lines, Position { segment, offset, seq, chain, epoch }, sum, covered))
}

/// Takes a line of a snapshot: its offset in bytes, and the line without its newline. An error says why it is useless.
pub type OnLine<'a> = dyn FnMut(u64, &[u8]) -> Result<(), String> + 'a;

/// A snapshot. Only one that was checked as a whole is given out for good; see `check_beside`.
#[derive(Debug)]
pub struct Snapshot<F: Fs> {
    fs: F,
    path: PathBuf,
    file: F::File,
    queue: QueueId,
    covers: Position,
    lines: u64,
    lines_from: u64,
    lines_to: u64,
    /// What the checksum covers, in bytes from the beginning.
    summed_to: u64,
    sum: Sum,
}

impl<F: Fs> Snapshot<F> {
    /// Opens a snapshot and checks every byte of its lines (not its index).
    pub(crate) fn open(fs: &F, path: &Path, seq: u64) -> Result<Snapshot<F>, JournalError> {
        let snapshot = Snapshot::look(fs, path, seq)?;
        snapshot.check()?;
        Ok(snapshot)
    }

    /// Opens a snapshot and reads its first and last line: all else in it may still be damaged.
    pub(crate) fn look(fs: &F, path: &Path, seq: u64) -> Result<Snapshot<F>, JournalError> {
        let damaged = |offset: u64, what: &str| Err(JournalError::corrupt(path, offset, seq, what));
        let read = || JournalError::io("read", path);
        let file = fs.open(path, Open::Read).map_err(JournalError::io("open", path))?;
        let len = file.len().map_err(read())?;
        let mut head = [0; HEADER_BYTES_MAX];
        let n = read_full_at(&file, &mut head, 0).map_err(read())?;
        let header = match read_header(&head[..n]) {
            Some((FORMAT_VERSION, Some(header))) => header,
            Some((version, _)) if version != FORMAT_VERSION => {
                return Err(JournalError::Version { file: path.to_owned(), version });
            }
            Some(_) | None => return damaged(0, "the first line is not a snapshot's header"),
        };
        let (queue, lines_from) = (header.queue, header.len as u64);
        let tail_at = len.saturating_sub(END_BYTES_MAX as u64).max(lines_from);
        let mut tail = vec![0; (len - tail_at) as usize];
        let n = read_full_at(&file, &mut tail, tail_at).map_err(read())?;
        tail.truncate(n);
        let before_last = tail.iter().rev().skip(1).position(|b| *b == b'\n');
        let line_start = before_last.map_or(0, |back| tail.len() - 1 - back);
        let Some((lines, covers, sum, covered)) = read_end(&tail[line_start..]) else {
            return damaged(tail_at + line_start as u64, "the snapshot does not end with a closing line");
        };
        let lines_to = tail_at + line_start as u64;
        if covers.seq != seq || header.seq != seq {
            return damaged(0, "the snapshot's name is not that of the position it covers: it was renamed or copied");
        }
        let (fs, path, summed_to) = (fs.clone(), path.to_owned(), lines_to + covered as u64);
        Ok(Snapshot { fs, path, file, queue, covers, lines, lines_from, lines_to, summed_to, sum })
    }

    /// The same file, under the name that it has now.
    pub(crate) fn renamed(self, path: PathBuf) -> Snapshot<F> {
        Snapshot { path, ..self }
    }

    fn check(&self) -> Result<(), JournalError> {
        self.check_beside(|| ()).0
    }

    /// Checks every byte of its lines, while `here` makes something of them already: of no worth if they are damaged.
    pub(crate) fn check_beside<T>(&self, here: impl FnOnce() -> T) -> (Result<(), JournalError>, T) {
        let len = self.summed_to;
        let (hash, made) = self.fs.beside(&self.file, move |file| index::hash_range(file, len), here);
        let checked = match hash {
            Ok(hash) if hash.map(|hash| Sum::cut(&hash)) == Some(self.sum) => Ok(()),
            Ok(_) if planted(Bug::SnapshotUnverified) => Ok(()),
            Ok(_) => {
                Err(JournalError::corrupt(&self.path, 0, self.covers.seq, "the snapshot's checksum does not hold"))
            }
            Err(e) => Err(JournalError::io("read", &self.path)(e)),
        };
        (checked, made)
    }

    /// The position in the journal up to which it covers the records.
    pub fn covers(&self) -> Position {
        self.covers
    }

    /// The queue it belongs to.
    pub fn queue(&self) -> QueueId {
        self.queue
    }

    /// How many bytes it takes, with its index; 0 where that cannot be told.
    pub fn bytes(&self, fs: &F) -> u64 {
        let paths = [self.path.clone(), index::path_of(&self.path)];
        paths.iter().filter_map(|path| fs.metadata(path).ok()).map(|metadata| metadata.len).sum()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error of a snapshot that is whole and says what cannot be.
    pub fn unusable(&self, what: impl Into<String>) -> JournalError {
        JournalError::corrupt(&self.path, 0, self.covers.seq, what)
    }

    /// How many lines it has, without the first and the last.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Its checksum.
    pub fn sum(&self) -> Sum {
        self.sum
    }

    /// Hands out every line with its offset, in order; an error of the callback ends it.
    pub fn for_each_line(&self, on_line: &mut OnLine<'_>) -> Result<(), JournalError> {
        self.for_each_line_before(self.lines_to, on_line)
    }

    /// The same, up to the line at offset `to`.
    pub fn for_each_line_before(&self, to: u64, on_line: &mut OnLine<'_>) -> Result<(), JournalError> {
        let damaged = |offset, what: String| JournalError::corrupt(&self.path, offset, self.covers.seq, what);
        let mut buffer = Vec::new();
        let mut offset = self.lines_from;
        while offset < to {
            let from = offset + buffer.len() as u64;
            let left = usize::try_from(to - from).unwrap_or(CHUNK_BYTES);
            let mut chunk = vec![0; CHUNK_BYTES.min(left)];
            let n = read_full_at(&self.file, &mut chunk, from).map_err(JournalError::io("read", &self.path))?;
            buffer.extend_from_slice(&chunk[..n]);
            let mut done = 0;
            for newline in memchr::memchr_iter(b'\n', &buffer) {
                let line_at = offset + done as u64;
                on_line(line_at, &buffer[done..newline]).map_err(|what| damaged(line_at, what))?;
                done = newline + 1;
            }
            let too_long = buffer.len() as u64 - done as u64 > FRAME_BYTES_CAP;
            if n == 0 || too_long {
                return Err(damaged(offset + done as u64, "a line does not end where it must".into()));
            }
            buffer.drain(..done);
            offset += done as u64;
        }
        Ok(())
    }

    /// The index. When it is missing or damaged it is built from the lines and written again: `entry` gives a line's entry,
    /// if it is one of a job.
    pub fn index(
        &self,
        entry: &mut dyn FnMut(&[u8], &mut Names) -> Option<Entry>,
    ) -> Result<Index<F::File>, JournalError> {
        let path = index::path_of(&self.path);
        match self.fs.open(&path, Open::Read) {
            Ok(file) => {
                if let Some(index) = Index::load(file, self.sum).map_err(JournalError::io("read", &path))? {
                    return Ok(index);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(JournalError::io("open", &path)(e)),
        }
        // An index vouches for each line, so it is made of a snapshot that was checked.
        self.check()?;
        self.rebuild_index(&path, entry)?;
        let file = self.fs.open(&path, Open::Read).map_err(JournalError::io("open", &path))?;
        let index = Index::load(file, self.sum).map_err(JournalError::io("read", &path))?;
        index.ok_or_else(|| JournalError::corrupt(&path, 0, self.covers.seq, "an index just written reads differently"))
    }

    fn rebuild_index(
        &self,
        path: &Path,
        entry: &mut dyn FnMut(&[u8], &mut Names) -> Option<Entry>,
    ) -> Result<(), JournalError> {
        let mut names = Names::default();
        let mut entries = Vec::new();
        self.for_each_line(&mut |offset, line| {
            entries.extend(entry(line, &mut names).map(|e| e.at(offset, line)));
            Ok(())
        })?;
        entries.sort_unstable_by_key(|e| e.job);
        let mut bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_bytes()).collect();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        bytes.extend(index::ending(&names, entries.len() as u64, self.sum, hasher));
        write_atomic(&self.fs, path, &bytes).map_err(JournalError::io("write", path))
    }

    /// The line of an entry of its index.
    pub fn line(&self, entry: &Entry) -> Result<Vec<u8>, JournalError> {
        line_of(&self.file, &self.path, self.covers.seq, entry)
    }

    pub(crate) fn file(&self) -> &F::File {
        &self.file
    }
}

fn line_of<T: File>(file: &T, path: &Path, seq: u64, entry: &Entry) -> Result<Vec<u8>, JournalError> {
    let damaged = |what: &str| Err(JournalError::corrupt(path, entry.offset, seq, what));
    if u64::from(entry.len) > FRAME_BYTES_CAP {
        return damaged("an entry of the index names a line longer than any can be");
    }
    let mut line = vec![0; entry.len as usize];
    let n = read_full_at(file, &mut line, entry.offset).map_err(JournalError::io("read", path))?;
    if n < line.len() || index::line_check(&line) != entry.check {
        return damaged("a line is not what it was when the index was made");
    }
    Ok(line)
}

/// The line of a job in the newest snapshot that has an index. Only that line is read and checked, for the snapshot was
/// checked as a whole when it was made or opened.
pub(crate) fn lookup<F: Fs>(fs: &F, root: &Path, job: u64) -> Result<Vec<u8>, JournalError> {
    let mut error = JournalError::Missing { file: root.to_owned(), what: format!("no snapshot holds job {job}") };
    // A newer snapshot may replace one while it is looked at.
    for _ in 0..LOOKUPS_MAX {
        for seq in names::list_snapshots(fs, root)?.into_iter().rev() {
            match lookup_in(fs, &root.join(names::snapshot(seq)), seq, job) {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(e) => error = e,
            }
        }
    }
    Err(error)
}

fn lookup_in<F: Fs>(fs: &F, path: &Path, seq: u64, job: u64) -> Result<Option<Vec<u8>>, JournalError> {
    let index_path = index::path_of(path);
    let open = || fs.open(&index_path, Open::Read);
    let file = match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Somebody took it away: it is made again.
            Snapshot::look(fs, path, seq)?.index(&mut crate::image::entry_of_line)?;
            open()
        }
        file => file,
    };
    let file = file.map_err(JournalError::io("open", &index_path))?;
    let read = || JournalError::io("read", &index_path);
    let index = Index::glance(file).map_err(read())?;
    let index = index.ok_or_else(|| JournalError::corrupt(&index_path, 0, seq, "this is not an index"))?;
    let Some(entry) = index.lookup(job).map_err(read())? else { return Ok(None) };
    let file = fs.open(path, Open::Read).map_err(JournalError::io("open", path))?;
    line_of(&file, path, seq, &entry).map(Some)
}

/// The newest snapshot that is right, which `replay` has begun with, and the errors of newer ones.
pub(crate) fn newest<F: Fs>(
    fs: &F,
    root: &Path,
    replay: &mut dyn Replay<F>,
) -> Result<(Option<Snapshot<F>>, Vec<JournalError>), JournalError> {
    let mut damaged = Vec::new();
    for seq in names::list_snapshots(fs, root)?.into_iter().rev() {
        let begun = Snapshot::look(fs, &root.join(names::snapshot(seq)), seq).and_then(|snapshot| {
            let (checked, begun) = snapshot.check_beside(|| replay.snapshot(&snapshot));
            checked.map(|()| (snapshot, begun))
        });
        match begun {
            Ok((snapshot, begun)) => {
                begun?;
                return Ok((Some(snapshot), damaged));
            }
            Err(e) => {
                damaged.push(passed_over(e)?);
                replay.forget();
            }
        }
    }
    Ok((None, damaged))
}

/// The newest snapshot of less than `seq_end` records that is right.
pub fn newest_before<F: Fs>(fs: &F, root: &Path, seq_end: u64) -> Result<Option<Snapshot<F>>, JournalError> {
    for seq in names::list_snapshots(fs, root)?.into_iter().rev().filter(|seq| *seq < seq_end) {
        match Snapshot::open(fs, &root.join(names::snapshot(seq)), seq) {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(e) => _ = passed_over(e)?,
        }
    }
    Ok(None)
}

/// Of a damaged snapshot there is an older one; anything else is an error.
fn passed_over(error: JournalError) -> Result<JournalError, JournalError> {
    match error {
        JournalError::Corrupt { .. } => Ok(error),
        JournalError::Version { .. } | JournalError::Missing { .. } | JournalError::Io { .. } => Err(error),
    }
}

/// Files of snapshots that were not finished.
fn unfinished<F: Fs>(fs: &F, root: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let names = fs.list(root).map_err(JournalError::io("list", root))?;
    let is_ours = |name: &str| name.starts_with("snapshot-") && name.ends_with(".tmp");
    Ok(names.iter().filter(|name| name.to_str().is_some_and(is_ours)).map(|name| root.join(name)).collect())
}

/// Gives back the room that an unfinished snapshot takes, as far as that can be done. To be called while none is written.
pub fn abandon<F: Fs>(fs: &F, root: &Path) {
    for path in unfinished(fs, root).unwrap_or_default() {
        // The next snapshot uses the name again, or removes it.
        let _ = fs.remove(&path);
    }
}

/// What [`prune`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The files, in the order they were removed.
    pub removed: Vec<PathBuf>,
}

/// Removes what two durable snapshots make needless: with `newest` just written, the one before it and all segments from
/// its position on are kept; older snapshots and segments, and what was left over by unfinished ones, go.
///
/// An older snapshot that does not fit the journal is an error, and then nothing is removed.
pub fn prune<F: Fs>(fs: &F, root: &Path, newest: &Snapshot<F>) -> Result<Pruned, JournalError> {
    let older = newest_before(fs, root, newest.covers().seq)?;
    let older = if planted(Bug::PrunedEarly) { newest_before(fs, root, u64::MAX)? } else { older };
    older.map_or(Ok(Pruned::default()), |older| prune_before(fs, root, newest, &older))
}

/// Removes what one durable snapshot makes needless, the one before it too: for a disk on which the next would find no room.
/// From here on until there is a next one, damage in this one cannot be passed over.
pub fn prune_hard<F: Fs>(fs: &F, root: &Path, newest: &Snapshot<F>) -> Result<Pruned, JournalError> {
    prune_before(fs, root, newest, newest)
}

/// Removes what lies before `older`, which may be the newest.
fn prune_before<F: Fs>(fs: &F, root: &Path, newest: &Snapshot<F>, older: &Snapshot<F>) -> Result<Pruned, JournalError> {
    let dir = names::journal_dir(root);
    let mut pruned = Pruned::default();
    // The names of both snapshots are durable before anything that they replace goes.
    fs.sync_dir(root).map_err(JournalError::io("sync", root))?;
    check_end(fs, &dir, newest.covers())?;
    check_end(fs, &dir, older.covers())?;
    let mut remove = |path: PathBuf| match fs.remove(&path) {
        Ok(()) => {
            pruned.removed.push(path);
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(JournalError::io("remove", &path)(e)),
    };
    let old_snapshots = names::list_snapshots(fs, root)?;
    for seq in old_snapshots.into_iter().filter(|seq| *seq < older.covers().seq) {
        remove(root.join(names::snapshot(seq)))?;
        remove(root.join(names::index(seq)))?;
    }
    for path in unfinished(fs, root)? {
        remove(path)?;
    }
    fs.sync_dir(root).map_err(JournalError::io("sync", root))?;
    let first_kept = older.covers().segment;
    for name in fs.list(&dir).map_err(JournalError::io("list", &dir))? {
        let number = names::segment_number(&name).or_else(|| names::torn_segment(&name));
        if number.is_some_and(|n| n < first_kept) {
            remove(dir.join(name))?;
        }
    }
    fs.sync_dir(&dir).map_err(JournalError::io("sync", &dir))?;
    Ok(pruned)
}
