//! The lines that the journal itself writes, and the words they are made of.
//!
//! Invariant: each such line has exactly one spelling. Reading accepts that spelling and nothing else, so a changed byte
//! outside the checksummed part is noticed too. Reading is total: any bytes give a value or nothing.

use sprag_core::{Bug, PayloadRef, planted};
use std::fmt::{self, Write as _};

/// The version of the format, in the header of each segment and snapshot.
pub const FORMAT_VERSION: u64 = 1;

/// How a commit line begins. No record may begin so.
pub(crate) const COMMIT_START: &[u8] = b"{\"commit\":{\"seq\":";
/// How a header line begins. No record may begin so.
pub(crate) const HEADER_START: &[u8] = b"{\"journal\":{\"version\":";
/// What follows the checksum in a closing line.
pub(crate) const CLOSE: &[u8] = b"\"}}\n";
/// A closing line is never longer, in bytes.
pub(crate) const COMMIT_BYTES_MAX: usize = 320;
/// A header line is never longer, in bytes.
pub(crate) const HEADER_BYTES_MAX: usize = 160;

/// A checksum: BLAKE3, cut to 128 bits. Its text is 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sum(pub [u8; 16]);

/// What stands behind the last frame of a segment that is being written, until frames overwrite it: blank lines.
pub(crate) const FILLER: u8 = b'\n';

/// The identity of a queue, 128 random bits given when its journal was begun.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueueId(pub [u8; 16]);

impl Sum {
    /// The checksum of some bytes.
    pub fn of(bytes: &[u8]) -> Sum {
        Sum::cut(&blake3::hash(bytes))
    }

    pub(crate) fn cut(hash: &blake3::Hash) -> Sum {
        let mut sum = [0; 16];
        sum.copy_from_slice(&hash.as_bytes()[..16]);
        Sum(sum)
    }

    /// The chain value before the first frame of a queue: frames of another queue never fit.
    pub(crate) fn genesis(queue: QueueId) -> Sum {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"sprag journal 1\n").update(&queue.0);
        Sum::cut(&hasher.finalize())
    }
}

fn write_hex(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().try_for_each(|b| f.write_char(digit(b >> 4)).and_then(|()| f.write_char(digit(b & 15))))
}

macro_rules! hex_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
    )*};
}
hex_text!(Sum, QueueId);

/// A place between two frames: where a frame ended, and what it left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the segment, from 1.
    pub segment: u32,
    /// Offset in the segment, in bytes.
    pub offset: u64,
    /// Sequence number of the last record before this place; 0 when there is none.
    pub seq: u64,
    /// Checksum of the frame that ended here.
    pub chain: Sum,
    /// Incarnation of the writer that wrote it; 0 before the first.
    pub epoch: u64,
}

impl Position {
    /// The place before the first frame of a queue.
    pub fn genesis(queue: QueueId) -> Position {
        Position { segment: 1, offset: 0, seq: 0, chain: Sum::genesis(queue), epoch: 0 }
    }

    /// The incarnation of the writer that goes on from here.
    pub fn next_epoch(&self) -> u64 {
        if planted(Bug::EpochKept) { self.epoch.max(1) } else { self.epoch + 1 }
    }
}

/// Where one record stands in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the segment.
    pub segment: u32,
    /// Offset of its first byte in the segment, in bytes.
    pub offset: u64,
    /// Length without the newline, in bytes.
    pub len: u32,
}

impl From<PayloadRef> for Place {
    fn from(payload: PayloadRef) -> Place {
        Place { segment: payload.segment, offset: payload.offset, len: payload.len }
    }
}

impl From<Place> for PayloadRef {
    fn from(place: Place) -> PayloadRef {
        PayloadRef { segment: place.segment, offset: place.offset, len: place.len }
    }
}

/// The first line of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) queue: QueueId,
    pub(crate) segment: u32,
}

/// What a header line turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Known(Header),
    Version(u64),
    Not,
}

impl Header {
    pub(crate) fn text(self) -> String {
        let Header { queue, segment } = self;
        format!("{{\"journal\":{{\"version\":{FORMAT_VERSION},\"queue\":\"{queue}\",\"segment\":{segment}}}}}\n")
    }

    /// Reads a line with its newline.
    pub(crate) fn read(line: &[u8]) -> HeaderRead {
        let mut words = Words(line);
        let version = words.literal(HEADER_START).and_then(|()| words.number());
        match version {
            None => return HeaderRead::Not,
            // The rest of the line belongs to that version.
            Some(v) if v != FORMAT_VERSION && words.0.starts_with(b",") => return HeaderRead::Version(v),
            Some(v) if v != FORMAT_VERSION => return HeaderRead::Not,
            Some(_) => {}
        }
        Header::read_fields(words).map_or(HeaderRead::Not, HeaderRead::Known)
    }

    fn read_fields(mut words: Words<'_>) -> Option<Header> {
        words.literal(b",\"queue\":\"")?;
        let queue = QueueId(words.hex()?);
        words.literal(b"\",\"segment\":")?;
        let segment = u32::try_from(words.number()?).ok()?;
        words.last(b"}}\n")?;
        Some(Header { queue, segment })
    }
}

/// The last line of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Last record in the frame, or before it when it has none.
    pub(crate) seq: u64,
    /// Records in the frame.
    pub(crate) n: u32,
    /// Offset of the frame in its segment.
    pub(crate) start: u64,
    /// Bytes of the frame before this line.
    pub(crate) len: u64,
    pub(crate) epoch: u64,
    /// Checksum of the frame before.
    pub(crate) prev: Sum,
    /// Checksum of the frame up to here.
    pub(crate) sum: Sum,
}

impl Commit {
    /// The part of the line that the checksum covers, which ends where the checksum begins.
    pub(crate) fn covered_text(&self) -> String {
        let Commit { seq, n, start, len, epoch, prev, sum: _ } = self;
        format!(
            "{{\"commit\":{{\"seq\":{seq},\"n\":{n},\"start\":{start},\"len\":{len},\"epoch\":{epoch},\
             \"prev\":\"{prev}\",\"sum\":\""
        )
    }

    /// Reads the line at the beginning of `bytes`; also says how many bytes of it the checksum covers.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Commit, usize)> {
        let mut words = Words(bytes);
        words.literal(COMMIT_START)?;
        let seq = words.number()?;
        words.literal(b",\"n\":")?;
        let n = u32::try_from(words.number()?).ok()?;
        words.literal(b",\"start\":")?;
        let start = words.number()?;
        words.literal(b",\"len\":")?;
        let len = words.number()?;
        words.literal(b",\"epoch\":")?;
        let epoch = words.number()?;
        words.literal(b",\"prev\":\"")?;
        let prev = Sum(words.hex()?);
        words.literal(b"\",\"sum\":\"")?;
        let covered = bytes.len() - words.0.len();
        let sum = Sum(words.hex()?);
        words.literal(CLOSE)?;
        Some((Commit { seq, n, start, len, epoch, prev, sum }, covered))
    }

    /// Length of the whole line, given how much of it the checksum covers.
    pub(crate) fn line_len(covered: usize) -> usize {
        covered + 32 + CLOSE.len()
    }
}

/// Reads the one spelling of a line, word by word.
pub(crate) struct Words<'a>(pub(crate) &'a [u8]);

impl Words<'_> {
    pub(crate) fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    pub(crate) fn last(&mut self, text: &[u8]) -> Option<()> {
        (self.0 == text).then_some(())
    }

    /// A decimal number that fits 64 bits, without leading zeros.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let len = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(len);
        if digits.is_empty() || (digits[0] == b'0' && digits.len() > 1) {
            return None;
        }
        self.0 = rest;
        digits.iter().try_fold(0u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')))
    }

    /// 32 lower-case hexadecimal digits.
    pub(crate) fn hex(&mut self) -> Option<[u8; 16]> {
        let digits = self.0.get(..32)?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        self.0 = &self.0[32..];
        Some(bytes)
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        // Any other byte is no digit.
        _ => None,
    }
}
