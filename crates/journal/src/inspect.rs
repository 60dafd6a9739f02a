//! Reading a journal without opening it: no lock, no change, while a writer may be appending.
//!
//! Invariant: nothing here writes. What a running writer may leave at any moment (an unfinished last frame, segments
//! removed by a pruning) is reported as such and is no damage.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::fs::{Fs, Open, read_full_at};
use crate::line::{Place, Position, QueueId};
use crate::names;
use crate::recover::{check_inner, needed_segments};
use crate::scan::{OnRecord, Scanned, Start, check_end, scan_segment, torn_tail};
use crate::snapshot::Snapshot;

/// How often a reading begins again because a writer moved on under it.
const RESTARTS_MAX: u32 = 8;

/// What a journal and its snapshots take on the disk, in bytes of their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Segments, and what was cut off them and kept.
    pub journal_bytes: u64,
    /// Snapshots and their indexes, unfinished ones too.
    pub snapshot_bytes: u64,
}

/// Looks how much a journal and its snapshots take. What vanishes meanwhile counts for nothing.
pub fn stored<F: Fs>(fs: &F, root: &Path) -> io::Result<Stored> {
    let bytes = |dir: &Path, counts: &dyn Fn(&str) -> bool| -> io::Result<u64> {
        let names = match fs.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        let ours = names.iter().filter(|name| name.to_str().is_some_and(counts));
        Ok(ours.filter_map(|name| fs.metadata(&dir.join(name)).ok()).map(|metadata| metadata.len).sum())
    };
    Ok(Stored {
        journal_bytes: bytes(&names::journal_dir(root), &|_| true)?,
        snapshot_bytes: bytes(root, &|name| name.starts_with("snapshot-"))?,
    })
}

/// One segment, as a reader finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub file: PathBuf,
    /// Good frames in it, seals too.
    pub frames: u64,
    /// Seals among them.
    pub seals: u64,
    /// Records in it.
    pub records: u64,
    /// Bytes of good frames.
    pub bytes: u64,
}

/// Bytes after the last good frame: a frame being written, or one that a crash tore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: PathBuf,
    /// Where they begin, in bytes.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
    /// Why they are no frame.
    pub what: String,
}

/// What a reader found.
#[derive(Debug, Default)]
pub struct Report {
    /// The identity of the queue, when there is a good frame.
    pub queue: Option<QueueId>,
    /// The segments, in order.
    pub segments: Vec<SegmentReport>,
    /// Leftover segments, before the first one that a snapshot needs.
    pub leftover: Vec<PathBuf>,
    /// Good snapshots, and the positions they cover, ascending.
    pub snapshots: Vec<(PathBuf, Position)>,
    /// Good frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// The end of the last good frame, when there is one.
    pub end: Option<Position>,
    /// Whether the last good frame is a seal: then nothing after it was ever reported as committed.
    pub sealed: bool,
    /// What follows it, when that may be a torn frame.
    pub torn: Option<Torn>,
    /// Damage: the journal's first, then that of snapshots. Empty for a journal that is in order.
    pub errors: Vec<JournalError>,
}

impl Report {
    fn with(mut self, error: JournalError) -> Report {
        self.errors.insert(0, error);
        self
    }
}

/// Checks everything in the folder `root`: every frame of every segment and every snapshot. An error is returned only when
/// the folder changes too fast to be read; what is wrong with the files stands in the report.
pub fn verify<F: Fs>(fs: &F, root: &Path) -> Result<Report, JournalError> {
    dump(fs, root, &mut |_, _, _| Ok(()))
}

/// Like [`verify`], and hands out every record of the journal: its sequence number, its place, its line. When segments are
/// pruned under it, it begins again behind what was handed out.
pub fn dump<F: Fs>(fs: &F, root: &Path, on_record: &mut OnRecord<'_>) -> Result<Report, JournalError> {
    let mut seen = 0;
    let mut once = |seq: u64, place: Place, line: &[u8]| {
        if seq <= seen {
            return Ok(());
        }
        // Only what was taken counts: an error comes again at the second look, and is reported then.
        on_record(seq, place, line)?;
        seen = seq;
        Ok(())
    };
    let mut before: Option<(PathBuf, u64)> = None;
    for _ in 0..RESTARTS_MAX {
        let mut report = Report::default();
        let error = match dump_once(fs, root, &mut report, &mut once) {
            Ok(()) => return Ok(report),
            Err(error) => error,
        };
        // A writer may have moved on between two looks. Damage is still at the same place at the second one.
        let place = match &error {
            JournalError::Corrupt { file, offset, .. } => (file.clone(), *offset),
            JournalError::Missing { file, .. } => (file.clone(), 0),
            JournalError::Io { file, source, .. } if source.kind() == io::ErrorKind::NotFound => (file.clone(), 0),
            JournalError::Version { .. } | JournalError::Io { .. } => return Ok(report.with(error)),
        };
        if before.as_ref() == Some(&place) {
            return Ok(report.with(error));
        }
        before = Some(place);
    }
    Err(JournalError::io("read", root)(io::Error::other("it changes faster than it can be read")))
}

fn dump_once<F: Fs>(
    fs: &F,
    root: &Path,
    report: &mut Report,
    on_record: &mut OnRecord<'_>,
) -> Result<(), JournalError> {
    let dir = names::journal_dir(root);
    let snapshots = names::list_snapshots(fs, root)?;
    for seq in &snapshots {
        let path = root.join(names::snapshot(*seq));
        match Snapshot::open(fs, &path, *seq) {
            Ok(snapshot) => {
                report.queue = Some(snapshot.queue());
                report.snapshots.push((path, snapshot.covers()));
            }
            Err(e) => report.errors.push(e),
        }
    }
    let all = names::list_segments(fs, &dir)?;
    let first_needed = report.snapshots.first().map_or(1, |(_, covers)| covers.segment);
    // Leftovers of an interrupted pruning may have gaps; a whole run up to the first needed segment is read too.
    let before = all.iter().rev().skip_while(|n| **n > first_needed);
    let first = before.zip((1..=first_needed).rev()).take_while(|(have, want)| **have == *want).last();
    let first = first.map_or(first_needed, |(have, _)| *have);
    report.leftover = all.iter().filter(|n| **n < first).map(|n| dir.join(names::segment(*n))).collect();
    let segments = needed_segments(&dir, &all, first, !snapshots.is_empty())?;
    for (_, covers) in &report.snapshots {
        check_end(fs, &dir, *covers)?;
    }
    let Some(last) = segments.last().copied() else { return Ok(()) };
    let at = Position { segment: first, ..Position::genesis(QueueId::default()) };
    let mut start = Start { at, queue: report.queue, trusted: false };
    for number in segments {
        let path = dir.join(names::segment(number));
        let file = fs.open(&path, Open::Read).map_err(JournalError::io("open", &path))?;
        let mut records = 0;
        let scanned = scan_segment(&file, &path, &mut start, &mut |seq, place, line| {
            records += 1;
            on_record(seq, place, line)
        })?;
        add(report, &path, &scanned, records);
        report.queue = start.queue;
        if number != last {
            check_inner(&path, &scanned)?;
            start.at = Position { segment: number + 1, offset: 0, ..start.at };
        } else if let Some(what) = scanned.bad {
            let len = torn_tail(&file, &path, scanned.at, &what)?.len() as u64;
            report.torn = Some(Torn { file: path, offset: scanned.at.offset, len, what });
        }
    }
    Ok(())
}

fn add(report: &mut Report, path: &Path, scanned: &Scanned, records: u64) {
    report.frames += scanned.frames;
    report.records += records;
    if scanned.frames > 0 {
        report.end = Some(scanned.at);
        report.sealed = scanned.sealed;
    }
    let (frames, seals, bytes) = (scanned.frames, scanned.seals, scanned.at.offset);
    report.segments.push(SegmentReport { file: path.to_owned(), frames, seals, records, bytes });
}

/// The bytes of one record, without its newline. They were checked when the journal was opened, and are not checked again.
pub fn read<F: Fs>(fs: &F, root: &Path, place: Place) -> Result<Vec<u8>, JournalError> {
    let path = names::journal_dir(root).join(names::segment(place.segment));
    let file = fs.open(&path, Open::Read).map_err(JournalError::io("open", &path))?;
    let mut line = vec![0; place.len as usize];
    let n = read_full_at(&file, &mut line, place.offset).map_err(JournalError::io("read", &path))?;
    if n < line.len() || line.contains(&b'\n') {
        return Err(JournalError::corrupt(&path, place.offset, 0, "no record of that length stands here"));
    }
    Ok(line)
}
