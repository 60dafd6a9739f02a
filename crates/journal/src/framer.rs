//! Records become frames: the part of writing that needs no disk, so that a record's place is known at once.
//!
//! Invariants: a frame is a pure function of the records, the position before it and the epoch; the frames handed out are
//! one gapless chain; at most one of them is in flight, across rotation too, so a frame on disk proves that all before it
//! were durable.

use std::collections::VecDeque;

use crate::line::{
    COMMIT_BYTES_MAX, COMMIT_START, Commit, HEADER_BYTES_MAX, HEADER_START, Header, Place, Position, QueueId, Sum,
};

/// No frame is longer, whoever wrote it, in bytes: a reader believes no length above it. Part of the format.
pub const FRAME_BYTES_CAP: u64 = 16 * 1024 * 1024;

/// The limits a writer keeps. They may change between two incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A frame is closed before it grows beyond this many bytes; at most [`FRAME_BYTES_CAP`].
    pub frame_bytes_max: u64,
    /// A frame that would begin at or after this offset begins a new segment.
    pub segment_bytes_max: u64,
    /// No segment is finished before it has so many bytes, however little lives in the journal.
    pub segment_bytes_min: u64,
    /// Blocks are reserved ahead of the writing in steps of this many bytes.
    pub reserve_bytes: u64,
    /// Blocks that only essential frames may use, in bytes.
    pub essential_bytes: u64,
    /// With less room than this for frames that are not essential, nothing new is taken on.
    pub room_bytes: u64,
    /// A frame that makes the segment longer is followed by so many bytes of filler, which later frames overwrite: a sync
    /// then has no new length to write down. 0 for none.
    pub fill_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        const MIB: u64 = 1024 * 1024;
        Limits {
            frame_bytes_max: 4 * MIB,
            segment_bytes_max: 64 * MIB,
            segment_bytes_min: 4 * MIB,
            reserve_bytes: 4 * MIB,
            essential_bytes: 8 * MIB,
            room_bytes: 4 * MIB,
            fill_bytes: MIB / 4,
        }
    }
}

impl Limits {
    /// Limits for a file system of so many bytes in all: on a small one the journal takes its part and no more. A frame may be
    /// as long as everywhere; one that does not fit is refused when it comes.
    pub fn for_disk(total_bytes: u64) -> Limits {
        const KIB: u64 = 1024;
        let whole = Limits::default();
        let part = |of: u64, least: u64, most: u64| (total_bytes / of).clamp(least, most);
        Limits {
            segment_bytes_max: part(16, 64 * KIB, whole.segment_bytes_max),
            segment_bytes_min: part(64, 32 * KIB, whole.segment_bytes_min),
            reserve_bytes: part(64, 16 * KIB, whole.reserve_bytes),
            essential_bytes: part(32, 64 * KIB, whole.essential_bytes),
            room_bytes: part(64, 16 * KIB, whole.room_bytes),
            fill_bytes: part(256, 4 * KIB, whole.fill_bytes),
            ..whole
        }
    }

    /// The longest record that [`Framer::push`] takes, in bytes.
    pub fn record_bytes_max(&self) -> u64 {
        assert!(self.frame_bytes_max <= FRAME_BYTES_CAP, "a frame limit above the format's cap");
        assert!(self.frame_bytes_max > 1024, "a frame limit below one kilobyte");
        self.frame_bytes_max - (HEADER_BYTES_MAX + COMMIT_BYTES_MAX + 1) as u64
    }
}

/// What one sync makes durable: some records and the commit line that closes them, or a commit line alone (a seal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The segment it belongs to.
    pub segment: u32,
    /// Its offset there, in bytes.
    pub start: u64,
    /// Its last record, or the last one before it.
    pub seq: u64,
    /// How many records it holds.
    pub n: u32,
    /// The incarnation of the writer.
    pub epoch: u64,
    /// The checksum of the frame before it.
    pub prev: Sum,
    /// Its own checksum.
    pub sum: Sum,
    /// Whether it may use the blocks set aside for essential frames. Not part of the format.
    pub essential: bool,
    /// Everything that is written.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// The position after it.
    pub fn end(&self) -> Position {
        let offset = self.start + self.bytes.len() as u64;
        Position { segment: self.segment, offset, seq: self.seq, chain: self.sum, epoch: self.epoch }
    }
}

/// Gathers records into frames. Lives where the decisions are made, and never touches a disk.
#[derive(Debug)]
pub struct Framer {
    queue: QueueId,
    limits: Limits,
    /// Where the frame being gathered begins, and what it follows. Its epoch is ours from the beginning.
    at: Position,
    /// The lines of the frame being gathered.
    buffer: Vec<u8>,
    /// How many records are in it.
    records: u32,
    /// Frames that are closed and not handed out yet.
    closed: VecDeque<Frame>,
    /// The end of the frame in flight and how many records it holds.
    in_flight: Option<(Position, u32)>,
    sealed: bool,
    /// A frame that would begin at or after this offset begins a new segment.
    rotate_at: u64,
}

impl Framer {
    /// A framer that goes on after `end`, the end of the journal. `sealed` says that the last frame there was a seal.
    pub(crate) fn new(queue: QueueId, limits: Limits, end: Position, sealed: bool) -> Framer {
        assert!(limits.record_bytes_max() > 0);
        let at = Position { epoch: end.next_epoch(), ..end };
        let (buffer, closed, rotate_at) = (Vec::new(), VecDeque::new(), limits.segment_bytes_max);
        Framer { queue, limits, at, buffer, records: 0, closed, in_flight: None, sealed, rotate_at }
    }

    /// From now on segments are finished at so many bytes, as far as the limits allow.
    pub fn rotate_at(&mut self, bytes: u64) {
        let most = self.limits.segment_bytes_max;
        self.rotate_at = bytes.clamp(self.limits.segment_bytes_min.min(most), most);
    }

    /// The segment is long enough: the next frame begins another one.
    pub fn finish(&mut self) {
        self.rotate_at = self.at.offset.max(1);
    }

    /// Takes a record: one line of JSON without its newline. Says where it will stand.
    ///
    /// Panics when the line is empty, holds a newline, is longer than [`Limits::record_bytes_max`] or begins like a line of
    /// the journal's own: all of these are for the caller to rule out.
    pub fn push(&mut self, line: &[u8]) -> Place {
        assert!(!line.is_empty() && !line.contains(&b'\n'), "a record is one line");
        assert!(!line.starts_with(COMMIT_START) && !line.starts_with(HEADER_START), "a record, not a frame's line");
        assert!(line.len() as u64 <= self.limits.record_bytes_max(), "a record of {} bytes", line.len());
        let after = self.buffer.len() + line.len() + 1 + COMMIT_BYTES_MAX;
        if self.records > 0 && after as u64 > self.limits.frame_bytes_max {
            self.close();
        }
        if self.buffer.is_empty() {
            self.begin();
        }
        let offset = self.at.offset + self.buffer.len() as u64;
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        self.records += 1;
        self.sealed = false;
        // The limit on a record is far below four gigabytes.
        Place { segment: self.at.segment, offset, len: line.len() as u32 }
    }

    /// Bytes of records that no frame handed out covers yet.
    pub fn pending(&self) -> u64 {
        self.closed.iter().map(|f| f.bytes.len() as u64).sum::<u64>() + self.buffer.len() as u64
    }

    /// The sequence number of the record that was pushed last.
    pub fn seq(&self) -> u64 {
        self.at.seq + u64::from(self.records)
    }

    /// The incarnation whose frames these are.
    pub fn epoch(&self) -> u64 {
        self.at.epoch
    }

    /// Whether a frame was handed out that is not committed yet.
    pub fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The next frame to write; none while one is in flight or when nothing is pending.
    pub fn frame(&mut self) -> Option<Frame> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.closed.is_empty() && self.records > 0 {
            self.close();
        }
        let frame = self.closed.pop_front()?;
        self.in_flight = Some((frame.end(), frame.n));
        Some(frame)
    }

    /// An empty frame, which proves the one before it durable. None while a frame is in flight or records are pending, and
    /// when the last frame is a seal already; but one that finishes a segment that is long enough may follow another.
    pub fn seal(&mut self) -> Option<Frame> {
        if (self.sealed && !self.is_long()) || self.in_flight.is_some() || self.pending() > 0 {
            return None;
        }
        self.begin();
        self.close();
        self.frame()
    }

    /// One more seal is wanted, whatever the last frame is: for the epoch that it bears.
    pub fn unseal(&mut self) {
        self.sealed = false;
    }

    /// The frame in flight was committed.
    pub fn committed(&mut self, end: Position) {
        let Some((expected, records)) = self.in_flight.take() else { panic!("committed without a frame in flight") };
        assert_eq!(expected, end, "another frame was committed than the one in flight");
        self.sealed = records == 0 && self.pending() == 0;
    }

    /// Whether the next frame begins a new segment.
    pub fn is_long(&self) -> bool {
        self.at.offset >= self.rotate_at
    }

    fn begin(&mut self) {
        assert!(self.buffer.is_empty());
        if self.is_long() {
            self.at.segment += 1;
            self.at.offset = 0;
        }
        if self.at.offset == 0 {
            let header = Header { queue: self.queue, segment: self.at.segment };
            self.buffer.extend_from_slice(header.text().as_bytes());
        }
    }

    fn close(&mut self) {
        let mut bytes = std::mem::take(&mut self.buffer);
        let n = std::mem::take(&mut self.records);
        let seq = self.at.seq + u64::from(n);
        let (start, prev, epoch) = (self.at.offset, self.at.chain, self.at.epoch);
        let commit = Commit { seq, n, start, len: bytes.len() as u64, epoch, prev, sum: Sum::default() };
        bytes.extend_from_slice(commit.covered_text().as_bytes());
        let sum = Sum::of(&bytes);
        bytes.extend_from_slice(sum.to_string().as_bytes());
        bytes.extend_from_slice(crate::line::CLOSE);
        assert!(bytes.len() as u64 <= self.limits.frame_bytes_max, "a frame over its limit");
        let frame = Frame { segment: self.at.segment, start, seq, n, epoch, prev, sum, essential: false, bytes };
        self.at = frame.end();
        self.closed.push_back(frame);
    }
}
