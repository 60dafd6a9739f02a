//! Reading segments: frame by frame, and telling a torn tail from damage.
//!
//! Invariants: a frame is used only when its checksum holds and it follows the frame before it in position, sequence, chain
//! and epoch; no length found on disk is believed above [`FRAME_BYTES_CAP`]; reading is total over any bytes.
//!
//! What is torn and what is damaged: the writer has one frame in flight, so bytes after the last good frame are a torn tail
//! exactly when they are in the last segment, are no longer than a frame can be, and hold no frame that is valid by itself.
//! Everything else had been durable, and is damage.

use std::path::Path;

use crate::error::JournalError;
use crate::framer::FRAME_BYTES_CAP;
use crate::fs::{File, Fs, Open, read_behind, read_full_at};
use crate::line::{COMMIT_START, Commit, FILLER, Header, HeaderRead, Place, Position, QueueId, Sum};
use crate::names;
use sprag_core::{Bug, planted};

/// So much is read at first, and each time twice as much as before, up to the second of these: most segments are short, and room
/// that is not filled costs time as well.
const CHUNK_BYTES: [usize; 2] = [16 * 1024, 256 * 1024];

/// Takes a record: its sequence number, its place, and its line without the newline. An error says why it is useless.
pub type OnRecord<'a> = dyn FnMut(u64, Place, &[u8]) -> Result<(), String> + 'a;

/// How far a scan of one segment came.
pub(crate) struct Scanned {
    /// The end of the last good frame.
    pub(crate) at: Position,
    /// The last good frame itself; empty when there was none.
    pub(crate) last_frame: Vec<u8>,
    pub(crate) frames: u64,
    pub(crate) seals: u64,
    /// Whether the last frame was a seal.
    pub(crate) sealed: bool,
    /// What follows the last good frame, when that is not a frame.
    pub(crate) bad: Option<String>,
}

/// What a scan begins with.
pub(crate) struct Start {
    /// The position before the first frame.
    pub(crate) at: Position,
    /// The queue, unless the first header is to tell.
    pub(crate) queue: Option<QueueId>,
    /// Whether chain, sequence and epoch before the first frame are known or to be taken from it.
    pub(crate) trusted: bool,
}

/// Reads the frames of one segment from `start.at.offset` on. `start` is moved along with what becomes known.
pub(crate) fn scan_segment<T: File>(
    file: &T,
    path: &Path,
    start: &mut Start,
    on_record: &mut OnRecord<'_>,
) -> Result<Scanned, JournalError> {
    let mut frames =
        Frames { file, path, offset: start.at.offset, buffer: Vec::new(), begin: 0, chunk: CHUNK_BYTES[0] };
    let mut scanned = Scanned { at: start.at, last_frame: Vec::new(), frames: 0, seals: 0, sealed: false, bad: None };
    loop {
        match frames.next()? {
            Next::End => break,
            Next::Bad(what) => {
                scanned.bad = Some(what);
                break;
            }
            Next::Frame { len, commit, records_from } => {
                let bytes = &frames.buffer[frames.begin..frames.begin + len];
                follows(path, start, &commit, bytes, records_from)?;
                let first = commit.seq + 1 - u64::from(commit.n);
                deliver(path, start.at, first, &bytes[..commit.len as usize], records_from, on_record)?;
                start.at.offset += len as u64;
                start.at = Position { seq: commit.seq, chain: commit.sum, epoch: commit.epoch, ..start.at };
                scanned.at = start.at;
                scanned.frames += 1;
                scanned.sealed = commit.n == 0;
                scanned.seals += u64::from(scanned.sealed);
                scanned.last_frame.clear();
                scanned.last_frame.extend_from_slice(bytes);
                frames.consume(len);
            }
        }
    }
    Ok(scanned)
}

/// Whether a frame that is valid by itself is the one that must stand here; anything else is damage.
fn follows(
    path: &Path,
    start: &mut Start,
    commit: &Commit,
    bytes: &[u8],
    records_from: usize,
) -> Result<(), JournalError> {
    let at = start.at;
    let wrong = |what: &str| Err(JournalError::corrupt(path, at.offset, at.seq + 1, what));
    if records_from > 0 {
        let HeaderRead::Known(header) = Header::read(&bytes[..records_from]) else {
            return wrong("the segment's first line is not a header");
        };
        let queue = *start.queue.get_or_insert(header.queue);
        if queue != header.queue {
            return wrong("the segment belongs to another queue");
        }
        if header.segment != at.segment {
            return wrong("the segment says that it is another one: it was renamed or copied");
        }
        if at.segment == 1 {
            start.at = Position::genesis(queue);
        } else if !start.trusted {
            start.at = Position { chain: commit.prev, seq: commit.seq.saturating_sub(u64::from(commit.n)), ..at };
        }
        start.trusted = true;
    } else if at.offset == 0 {
        return wrong("the segment has no header");
    }
    let at = start.at;
    if commit.start != at.offset {
        return wrong("a frame stands where it was not written");
    }
    if commit.prev != at.chain {
        return wrong(
            "a frame does not follow the one before it: frames or a segment in between are missing or doubled",
        );
    }
    if commit.seq.checked_sub(u64::from(commit.n)) != Some(at.seq) {
        return wrong("a frame's sequence numbers do not follow");
    }
    if commit.epoch < at.epoch || commit.epoch == 0 {
        return wrong("a frame is of an earlier writer than the one before it");
    }
    Ok(())
}

fn deliver(
    path: &Path,
    at: Position,
    first: u64,
    lines: &[u8],
    records_from: usize,
    on_record: &mut OnRecord<'_>,
) -> Result<(), JournalError> {
    let mut offset = at.offset + records_from as u64;
    for (i, line) in lines[records_from..].split_inclusive(|b| *b == b'\n').enumerate() {
        let seq = first + i as u64;
        // A frame is shorter than four gigabytes.
        let place = Place { segment: at.segment, offset, len: line.len() as u32 - 1 };
        on_record(seq, place, &line[..line.len() - 1])
            .map_err(|what| JournalError::corrupt(path, offset, seq, format!("the record cannot be used: {what}")))?;
        offset += line.len() as u64;
    }
    Ok(())
}

enum Next {
    End,
    /// No valid frame begins here.
    Bad(String),
    Frame {
        len: usize,
        commit: Commit,
        /// Length of the header line, 0 without one.
        records_from: usize,
    },
}

/// The frames of a file.
struct Frames<'a, T> {
    file: &'a T,
    path: &'a Path,
    /// Where the next frame begins, in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// Where it begins in the buffer.
    begin: usize,
    /// So much is read next.
    chunk: usize,
}

impl<T: File> Frames<'_, T> {
    fn next(&mut self) -> Result<Next, JournalError> {
        // Offsets in the frame.
        let mut line_start = 0;
        let mut searched = 0;
        let mut records = 0u64;
        let mut records_from = 0;
        loop {
            let bytes = &self.buffer[self.begin..];
            let Some(newline) = memchr::memchr(b'\n', &bytes[searched..]) else {
                searched = bytes.len();
                if searched as u64 > FRAME_BYTES_CAP {
                    return Ok(Next::Bad("no frame ends within the longest length that a frame can have".into()));
                }
                if self.fill()? == 0 {
                    return Ok(if searched == 0 { Next::End } else { Next::Bad("the frame is cut off".into()) });
                }
                continue;
            };
            let end = searched + newline + 1;
            let line = &bytes[line_start..end];
            if line_start == 0 && line == [FILLER] {
                return self.filler();
            }
            if end as u64 > FRAME_BYTES_CAP {
                return Ok(Next::Bad("no frame ends within the longest length that a frame can have".into()));
            }
            if line.starts_with(COMMIT_START) {
                return Ok(match check(&bytes[..end], line_start, records) {
                    Ok(commit) => Next::Frame { len: end, commit, records_from },
                    Err(what) => Next::Bad(what.into()),
                });
            }
            if self.offset == 0 && line_start == 0 {
                match Header::read(line) {
                    HeaderRead::Version(version) => {
                        return Err(JournalError::Version { file: self.path.to_owned(), version });
                    }
                    HeaderRead::Not => return Ok(Next::Bad("the segment has no header".into())),
                    HeaderRead::Known(_) => records_from = end,
                }
            } else {
                records += 1;
            }
            line_start = end;
            searched = end;
        }
    }

    /// Behind the last frame a writer leaves blank lines to overwrite. Anything else among them is a torn frame.
    fn filler(&mut self) -> Result<Next, JournalError> {
        loop {
            if self.buffer[self.begin..].iter().any(|byte| *byte != FILLER) {
                return Ok(Next::Bad("a frame is torn, or blank lines stand where records were".into()));
            }
            self.consume(self.buffer.len() - self.begin);
            if self.fill()? == 0 {
                return Ok(Next::End);
            }
        }
    }

    /// Reads on; what was consumed makes room first.
    fn fill(&mut self) -> Result<usize, JournalError> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        let at = self.offset + self.buffer.len() as u64;
        let read = read_behind(self.file, &mut self.buffer, self.chunk, at);
        self.chunk = (2 * self.chunk).min(CHUNK_BYTES[1]);
        read.map_err(JournalError::io("read", self.path))
    }

    fn consume(&mut self, len: usize) {
        self.begin += len;
        self.offset += len as u64;
    }
}

/// Checks a frame by itself: `frame` ends with the commit line at `line_start`, after `records` records.
fn check(frame: &[u8], line_start: usize, records: u64) -> Result<Commit, &'static str> {
    let (commit, covered) = Commit::read(&frame[line_start..]).ok_or("the commit line cannot be read")?;
    if planted(Bug::FrameUnchecked) {
        return Ok(commit);
    }
    if commit.len != line_start as u64 {
        return Err("the frame has not the length that its commit line says");
    }
    if Sum::of(&frame[..line_start + covered]) != commit.sum {
        return Err("the checksum does not hold");
    }
    if Commit::line_len(covered) != frame.len() - line_start || u64::from(commit.n) != records {
        return Err("the frame has not the number of records that its commit line says");
    }
    Ok(commit)
}

/// The bytes after the last good frame, if they are a torn tail; else the error that names the damage.
pub(crate) fn torn_tail<T: File>(file: &T, path: &Path, at: Position, what: &str) -> Result<Vec<u8>, JournalError> {
    let damaged = |what: String| JournalError::corrupt(path, at.offset, at.seq + 1, what);
    let len = file.len().map_err(JournalError::io("get the length of", path))?;
    let tail_len = len.saturating_sub(at.offset);
    if tail_len > FRAME_BYTES_CAP {
        return Err(damaged(format!("{what}, and {tail_len} bytes follow, more than one frame can have")));
    }
    let mut tail = vec![0; tail_len as usize];
    let n = read_full_at(file, &mut tail, at.offset).map_err(JournalError::io("read", path))?;
    tail.truncate(n);
    // A line's own newline looks like filler: one stays.
    tail.truncate(tail.iter().rposition(|byte| *byte != FILLER).map_or(0, |last| last + 2));
    match holds_valid_frame(&tail) {
        Found::Nothing => Ok(tail),
        Found::At(offset) => {
            let found = at.offset + offset as u64;
            Err(damaged(format!("{what}, but a valid frame follows at offset {found}, so it had been durable")))
        }
        Found::TooMuch => Err(damaged(format!("{what}, and what follows looks like too many frames"))),
    }
}

enum Found {
    Nothing,
    At(usize),
    TooMuch,
}

/// Looks for any frame that is valid by itself, wherever it stands: its commit line says how long it is.
fn holds_valid_frame(bytes: &[u8]) -> Found {
    // Hostile bytes could name the same bytes again and again; a torn frame has one commit line.
    let mut bytes_left = 4 * FRAME_BYTES_CAP;
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(&bytes[from..], COMMIT_START) {
        let line_start = from + found;
        from = line_start + 1;
        let Some((commit, covered)) = Commit::read(&bytes[line_start..]) else { continue };
        let Some(start) = usize::try_from(commit.len).ok().and_then(|len| line_start.checked_sub(len)) else {
            continue;
        };
        match bytes_left.checked_sub(commit.len) {
            Some(left) => bytes_left = left,
            None => return Found::TooMuch,
        }
        if Sum::of(&bytes[start..line_start + covered]) == commit.sum {
            return Found::At(start);
        }
    }
    Found::Nothing
}

/// Checks that a valid frame ends at `at`, and that it is the one whose checksum is known.
pub(crate) fn check_end<F: Fs>(fs: &F, dir: &Path, at: Position) -> Result<(), JournalError> {
    let path = dir.join(names::segment(at.segment));
    let file = fs.open(&path, Open::Read).map_err(JournalError::io("open", &path))?;
    let damaged = |what: &str| Err(JournalError::corrupt(&path, at.offset, at.seq, what));
    let window = at.offset.min(FRAME_BYTES_CAP);
    let mut size = window.min(4096);
    loop {
        let mut bytes = vec![0; size as usize];
        let n = read_full_at(&file, &mut bytes, at.offset - size).map_err(JournalError::io("read", &path))?;
        if (n as u64) < size {
            return damaged("the segment ends before the position that a snapshot covers");
        }
        if let Some(commit) = last_frame(&bytes) {
            let same = commit.sum == at.chain && commit.seq == at.seq && commit.epoch == at.epoch;
            return if same { Ok(()) } else { damaged("another frame ends here than the one a snapshot covers") };
        }
        if size == window {
            return damaged("no valid frame ends at the position that a snapshot covers");
        }
        size = (size * 8).min(window);
    }
}

/// The frame that ends where `bytes` end, when all of it is there and it is valid by itself.
fn last_frame(bytes: &[u8]) -> Option<Commit> {
    let newline = bytes.iter().rev().skip(1).position(|b| *b == b'\n');
    let line_start = newline.map_or(0, |back| bytes.len() - 1 - back);
    let (commit, covered) = Commit::read(&bytes[line_start..])?;
    let start = line_start.checked_sub(usize::try_from(commit.len).ok()?)?;
    let whole = Commit::line_len(covered) == bytes.len() - line_start;
    (whole && Sum::of(&bytes[start..line_start + covered]) == commit.sum).then_some(commit)
}
