//! Opening a journal: from whatever a crash left to a state that is durable again.
//!
//! Invariants: the records delivered are a prefix that holds every record ever reported as committed, or the journal is
//! refused with the place named. Nothing is appended before the cut of a torn tail was synced. The last frame on disk may
//! never have been durable (its sync may have failed and the page cache still show it), so its bytes are written again,
//! unchanged, and synced before anything counts. A crash at any point of this leaves a state from which it can be done
//! again with the same outcome.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::framer::{Framer, Limits};
use crate::fs::{File, Fs, Open, write_all_at, write_atomic};
use crate::line::{Place, Position, QueueId};
use crate::names;
use crate::scan::{Scanned, Start, check_end, scan_segment, torn_tail};
use crate::snapshot::{self, Snapshot};
use crate::writer::Writer;
use sprag_core::{Bug, planted};

/// What a recovery is told to whoever rebuilds the state. An error means that the bytes are right but make no sense.
///
/// Nothing that was delivered counts before [`open`] returned success.
pub trait Replay<F: Fs> {
    /// The state begins with this snapshot. Called before any record, and again only after `forget`. Its checksum is still
    /// being looked at: nothing that it says may be trusted to make sense, and nothing be acted on before all is delivered.
    fn snapshot(&mut self, snapshot: &Snapshot<F>) -> Result<(), JournalError>;

    /// The snapshot was damaged: the state is as if nothing had been delivered.
    fn forget(&mut self);

    /// The next record: its sequence number, where it stands, and its line without the newline.
    fn record(&mut self, seq: u64, place: Place, line: &[u8]) -> Result<(), String>;
}

/// A torn tail that was cut off: a frame that was never reported as committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment it was cut from.
    pub file: PathBuf,
    /// Where it began, in bytes.
    pub offset: u64,
    /// How long it was, in bytes.
    pub len: u64,
    /// Where its bytes are kept.
    pub kept: PathBuf,
    /// Why it is no frame.
    pub what: String,
}

/// An open journal.
#[derive(Debug)]
pub struct Opened<F: Fs> {
    /// Gathers records into frames.
    pub framer: Framer,
    /// Writes them.
    pub writer: Writer<F>,
    /// The identity of the queue.
    pub queue: QueueId,
    /// The end of the journal.
    pub end: Position,
    /// Whether the last frame is a seal.
    pub sealed: bool,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
    /// The snapshot that the state began with.
    pub snapshot: Option<Snapshot<F>>,
    /// Newer snapshots that were damaged and passed over.
    pub damaged: Vec<JournalError>,
}

/// Opens the journal in the folder `root`, which must exist, be durable and be locked by the caller; begins one with the
/// identity `fresh` when there is none.
pub fn open<F: Fs>(
    fs: &F,
    root: &Path,
    limits: Limits,
    fresh: QueueId,
    replay: &mut dyn Replay<F>,
) -> Result<Opened<F>, JournalError> {
    let dir = names::journal_dir(root);
    match fs.create_dir(&dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(JournalError::io("create", &dir)(e)),
        Ok(()) | Err(_) => fs.sync_dir(root).map_err(JournalError::io("sync", root))?,
    }
    let segments = names::list_segments(fs, &dir)?;
    let (snapshot, damaged) = snapshot::newest(fs, root, replay)?;
    let mut start = match &snapshot {
        Some(snapshot) => Start { at: snapshot.covers(), queue: Some(snapshot.queue()), trusted: true },
        None => Start { at: Position { segment: 1, ..Position::genesis(fresh) }, queue: None, trusted: false },
    };
    let segments = needed_segments(&dir, &segments, start.at.segment, snapshot.is_some() || !damaged.is_empty())?;
    if let Some(snapshot) = &snapshot {
        check_end(fs, &dir, snapshot.covers())?;
    }
    let Some(last) = segments.last().copied() else {
        let framer = Framer::new(fresh, limits, start.at, false);
        let writer = Writer::new(fs.clone(), dir, limits, start.at, None);
        return Ok(Opened { framer, writer, queue: fresh, end: start.at, sealed: false, cut: None, snapshot, damaged });
    };
    for number in segments.iter().copied().filter(|n| *n != last) {
        let path = dir.join(names::segment(number));
        let file = fs.open(&path, Open::Read).map_err(JournalError::io("open", &path))?;
        let scanned = scan_segment(&file, &path, &mut start, &mut |seq, place, line| replay.record(seq, place, line))?;
        check_inner(&path, &scanned)?;
        start.at = Position { segment: number + 1, offset: 0, ..start.at };
    }
    let path = dir.join(names::segment(last));
    let file = fs.open(&path, Open::Write).map_err(JournalError::io("open", &path))?;
    let scanned = scan_segment(&file, &path, &mut start, &mut |seq, place, line| replay.record(seq, place, line))?;
    let cut = make_durable(fs, &dir, &file, &path, &scanned)?;
    let queue = start.queue.unwrap_or(fresh);
    let framer = Framer::new(queue, limits, scanned.at, scanned.sealed);
    let writer = Writer::new(fs.clone(), dir, limits, scanned.at, Some(file));
    Ok(Opened { framer, writer, queue, end: scanned.at, sealed: scanned.sealed, cut, snapshot, damaged })
}

/// What a reader found.
#[derive(Debug)]
pub struct Recalled<F: Fs> {
    /// The snapshot that the state began with.
    pub snapshot: Option<Snapshot<F>>,
    /// The identity of the queue, when there is any.
    pub queue: Option<QueueId>,
    /// The end of what was read.
    pub end: Position,
}

/// Reads what [`open`] would, and changes nothing: no lock is needed. With `last`, no segment behind that one is read, and it
/// must be a finished one.
///
/// Whoever prunes meanwhile may take away what is about to be read: an error of kind `NotFound` or `Missing` then, and
/// another try finds what replaced it.
pub fn recall<F: Fs>(
    fs: &F,
    root: &Path,
    last: Option<u32>,
    replay: &mut dyn Replay<F>,
) -> Result<Recalled<F>, JournalError> {
    let dir = names::journal_dir(root);
    let all = names::list_segments(fs, &dir)?;
    let (snapshot, damaged) = snapshot::newest(fs, root, replay)?;
    let mut start = match &snapshot {
        Some(snapshot) => Start { at: snapshot.covers(), queue: Some(snapshot.queue()), trusted: true },
        None => Start { at: Position::genesis(QueueId::default()), queue: None, trusted: false },
    };
    let segments = needed_segments(&dir, &all, start.at.segment, snapshot.is_some() || !damaged.is_empty())?;
    if let Some(snapshot) = &snapshot {
        check_end(fs, &dir, snapshot.covers())?;
    }
    let newest = segments.last().copied();
    for number in segments.into_iter().filter(|number| last.is_none_or(|last| *number <= last)) {
        if number > start.at.segment {
            start.at = Position { segment: number, offset: 0, ..start.at };
        }
        let path = dir.join(names::segment(number));
        let file = fs.open(&path, Open::Read).map_err(JournalError::io("open", &path))?;
        let scanned = scan_segment(&file, &path, &mut start, &mut |seq, place, line| replay.record(seq, place, line))?;
        match &scanned.bad {
            Some(what) if Some(number) == newest => _ = torn_tail(&file, &path, scanned.at, what)?,
            Some(_) | None if Some(number) == newest => {}
            Some(_) | None => check_inner(&path, &scanned)?,
        }
    }
    Ok(Recalled { snapshot, queue: start.queue, end: start.at })
}

/// The segments from `first` on, without a gap. Earlier ones are leftovers of a pruning that was interrupted.
pub(crate) fn needed_segments(
    dir: &Path,
    segments: &[u32],
    first: u32,
    some_must_exist: bool,
) -> Result<Vec<u32>, JournalError> {
    let needed: Vec<u32> = segments.iter().copied().filter(|n| *n >= first).collect();
    let missing = |number: u32, what: &str| JournalError::Missing {
        file: dir.join(names::segment(number)),
        what: what.to_owned(),
    };
    if needed.is_empty() && (some_must_exist || !segments.is_empty()) {
        return Err(missing(first, "a snapshot or another segment shows that there were records in it"));
    }
    for (expected, number) in (first..).zip(&needed) {
        if *number != expected {
            return Err(missing(expected, "segments after it are there"));
        }
    }
    Ok(needed)
}

/// A segment that has a successor was durable to its end.
pub(crate) fn check_inner(path: &Path, scanned: &Scanned) -> Result<(), JournalError> {
    let at = scanned.at;
    match &scanned.bad {
        Some(what) => {
            let what = format!("{what}, but a later segment exists, so it had been durable");
            Err(JournalError::corrupt(path, at.offset, at.seq + 1, what))
        }
        None if at.offset == 0 => {
            Err(JournalError::corrupt(path, 0, at.seq + 1, "the segment is empty, a later one exists"))
        }
        None => Ok(()),
    }
}

/// Cuts a torn tail, or writes the last frame again; then syncs the segment and the names.
fn make_durable<F: Fs>(
    fs: &F,
    dir: &Path,
    file: &F::File,
    path: &Path,
    scanned: &Scanned,
) -> Result<Option<Cut>, JournalError> {
    let at = scanned.at;
    let mut cut = None;
    if let Some(what) = &scanned.bad {
        let tail = torn_tail(file, path, at, what)?;
        let kept = dir.join(names::torn(at.segment, at.offset));
        write_atomic(fs, &kept, &tail).map_err(JournalError::io("keep a torn tail in", &kept))?;
        file.truncate(at.offset).map_err(JournalError::io("cut", path))?;
        let len = tail.len() as u64;
        cut = Some(Cut { file: path.to_owned(), offset: at.offset, len, kept, what: what.clone() });
    } else if !scanned.last_frame.is_empty() && !planted(Bug::LastFrameTrusted) {
        let offset = at.offset - scanned.last_frame.len() as u64;
        write_all_at(file, &scanned.last_frame, offset).map_err(JournalError::io("write", path))?;
        // A failed sync may have dropped the filler behind it too, though the cache shows it: zeros would stay behind
        // frames that are written later.
        if !planted(Bug::FillerTrusted) {
            file.truncate(at.offset).map_err(JournalError::io("cut", path))?;
        }
    }
    if !planted(Bug::CutNotSynced) {
        file.sync_all().map_err(JournalError::io("sync", path))?;
    }
    if !planted(Bug::NamesTrusted) {
        fs.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
    }
    Ok(cut)
}
