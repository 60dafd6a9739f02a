//! Frames reach the disk: the blocking part of writing, a loop over one pure step.
//!
//! Invariants: a frame is committed only after it, and the name of its segment, were synced; a frame is written only behind
//! the committed one before it; a file stays open from its first write to its last sync; after any error that may have
//! left bytes behind, nothing is written, synced or committed ever again.

use std::io;
use std::path::PathBuf;

use crate::framer::{Frame, Limits};
use crate::fs::{File, Fs, Open, write_all_at};
use crate::line::{FILLER, Position};
use crate::names;
use sprag_core::{Bug, planted};

/// What became of a frame.
#[derive(Debug)]
pub enum Append {
    /// It is durable; the journal ends here.
    Committed(Position),
    /// The journal does not end where this frame begins: somebody else writes. Nothing was written; nothing ever will be.
    Conflict,
    /// There is no room for it (or no file descriptor). Not a byte was written, and the same frame may be given again, as it
    /// is or marked essential.
    Refused(io::Error),
    /// An error from a write or a sync: the frame may or may not exist. The writer is poisoned; only recovery can tell.
    Unknown(io::Error),
}

#[derive(Debug)]
struct Segment<T> {
    file: T,
    number: u32,
    /// Blocks are reserved up to this offset.
    reserved_to: u64,
    /// The file was written up to this offset, with frames or filler.
    filled_to: u64,
    /// Neither the file nor its name was synced yet.
    new: bool,
}

/// Appends frames to the journal. Lives where blocking is allowed.
#[derive(Debug)]
pub struct Writer<F: Fs> {
    fs: F,
    dir: PathBuf,
    limits: Limits,
    epoch: u64,
    at: Position,
    segment: Option<Segment<F::File>>,
    /// The segment after that, when its first frame was refused.
    next: Option<Segment<F::File>>,
    poisoned: bool,
}

impl<F: Fs> Writer<F> {
    /// A writer that goes on at `at` in an open segment that was synced, or in a segment that is not there yet.
    pub(crate) fn new(fs: F, dir: PathBuf, limits: Limits, at: Position, file: Option<F::File>) -> Writer<F> {
        let segment = file.map(|file| Segment {
            file,
            number: at.segment,
            reserved_to: at.offset,
            filled_to: at.offset,
            new: false,
        });
        Writer { fs, dir, limits, epoch: at.next_epoch(), at, segment, next: None, poisoned: false }
    }

    /// The end of what is committed.
    pub fn position(&self) -> Position {
        self.at
    }

    /// Writes a frame and syncs it. Giving the frame that was committed last once more is answered by the same position.
    pub fn append(&mut self, frame: &Frame) -> Append {
        if self.poisoned {
            return Append::Unknown(io::Error::other(
                "the journal had an error before; only a restart can tell its state",
            ));
        }
        if frame.end() == self.at {
            return Append::Committed(self.at);
        }
        let outcome = match self.fits(frame) {
            true => self.write(frame).map_or_else(|refusal| refusal, |()| Append::Committed(frame.end())),
            false => Append::Conflict,
        };
        match outcome {
            Append::Committed(end) => self.at = end,
            Append::Conflict | Append::Unknown(_) => self.poisoned = true,
            Append::Refused(_) => {}
        }
        outcome
    }

    /// Takes the filler and the reserved blocks behind the last frame away: for the end of a run. What is left of them by
    /// a crash does no harm.
    pub fn trim(&mut self) {
        if let (false, Some(segment)) = (self.poisoned, &self.segment)
            && segment.file.truncate(self.at.offset).is_err()
        {
            self.poisoned = true;
        }
    }

    /// Whether there are [`Limits::room_bytes`] for frames that are not essential, after an attempt to reserve them. While
    /// there are not, nothing new should be taken on. Writes nothing.
    pub fn has_room(&mut self) -> bool {
        if self.poisoned {
            return false;
        }
        let end = self.at.offset + self.limits.room_bytes;
        self.segment.as_mut().is_none_or(|segment| segment.reserve(end, false, &self.limits).is_ok())
    }

    fn fits(&self, frame: &Frame) -> bool {
        let goes_on = frame.segment == self.at.segment && frame.start == self.at.offset;
        let rotates = self.at.offset > 0 && frame.segment == self.at.segment + 1 && frame.start == 0;
        frame.epoch == self.epoch
            && frame.prev == self.at.chain
            && frame.seq == self.at.seq + u64::from(frame.n)
            && (goes_on || rotates)
    }

    fn write(&mut self, frame: &Frame) -> Result<(), Append> {
        let end = frame.end().offset;
        match &mut self.segment {
            Some(segment) if segment.number == frame.segment => {
                segment.reserve(end, frame.essential, &self.limits).map_err(refused)?;
            }
            Some(_) | None => self.open_next(frame)?,
        }
        let Some(segment) = &mut self.segment else { panic!("a segment was just opened") };
        segment.write(frame, &self.limits).map_err(Append::Unknown)?;
        if planted(Bug::AckBeforeSync) {
            return Ok(());
        }
        if segment.new {
            segment.file.sync_all().map_err(Append::Unknown)?;
            if !planted(Bug::NameNotSynced) {
                self.fs.sync_dir(&self.dir).map_err(Append::Unknown)?;
            }
            segment.new = false;
        } else {
            let synced = segment.file.sync_data();
            let again = synced.is_err() && planted(Bug::SyncRetried);
            (if again { segment.file.sync_data() } else { synced }).map_err(Append::Unknown)?;
        }
        Ok(())
    }

    /// Makes the frame's segment and has room for the frame there, then lets go of the segment before.
    fn open_next(&mut self, frame: &Frame) -> Result<(), Append> {
        let mut next = match self.next.take() {
            Some(next) => next,
            None => {
                let path = self.dir.join(names::segment(frame.segment));
                let file = self.fs.open(&path, Open::Create).map_err(|e| match e.kind() {
                    io::ErrorKind::AlreadyExists => Append::Conflict,
                    _ => refused(e),
                })?;
                Segment { file, number: frame.segment, reserved_to: 0, filled_to: 0, new: true }
            }
        };
        let end = frame.end().offset;
        let mut room = next.reserve(end, frame.essential, &self.limits);
        // Blocks reserved behind the end of the old segment are of no more use there. An essential frame may need them.
        if let Some(old) = &mut self.segment
            && (room.is_ok() || frame.essential)
        {
            old.file.truncate(self.at.offset).map_err(Append::Unknown)?;
            old.reserved_to = self.at.offset;
            old.filled_to = self.at.offset;
            room = next.reserve(end, frame.essential, &self.limits);
        }
        match room {
            Ok(()) => {
                self.segment = Some(next);
                Ok(())
            }
            Err(e) => {
                self.next = Some(next);
                Err(refused(e))
            }
        }
    }
}

impl<T: File> Segment<T> {
    /// Writes the frame, and filler behind it when it makes the file longer. Filler goes only where blocks are reserved,
    /// and not behind a frame so long that its own bytes are what a sync costs.
    fn write(&mut self, frame: &Frame, limits: &Limits) -> io::Result<()> {
        let end = frame.end().offset;
        if end <= self.filled_to {
            return write_all_at(&self.file, &frame.bytes, frame.start);
        }
        let long = frame.bytes.len() as u64 > limits.fill_bytes / 4;
        let fill_to = if long { end } else { (end + limits.fill_bytes).min(self.reserved_to).max(end) };
        let mut bytes = frame.bytes.clone();
        bytes.resize((fill_to - frame.start) as usize, FILLER);
        if planted(Bug::ShortWriteTrusted) {
            self.file.write_at(&bytes, frame.start)?;
        } else {
            write_all_at(&self.file, &bytes, frame.start)?;
        }
        self.filled_to = fill_to;
        Ok(())
    }

    /// Has blocks up to `end`, and behind it those set aside for essential frames unless it is one that asks.
    fn reserve(&mut self, end: u64, essential: bool, limits: &Limits) -> io::Result<()> {
        let needed = if essential { end } else { end + limits.essential_bytes };
        if self.reserved_to >= needed {
            return Ok(());
        }
        let wanted = end + limits.essential_bytes + limits.reserve_bytes;
        let from = self.reserved_to;
        let had = match self.file.reserve(from, wanted - from) {
            Ok(()) => wanted,
            Err(e) if is_full(&e) => {
                self.file.reserve(from, needed - from)?;
                needed
            }
            Err(e) => return Err(e),
        };
        self.reserved_to = had;
        Ok(())
    }
}

/// An error before the first byte: soft when it is about room, else a reason to distrust the disk.
fn refused(e: io::Error) -> Append {
    use rustix::io::Errno;
    let no_descriptor = [Errno::MFILE, Errno::NFILE].iter().any(|n| e.raw_os_error() == Some(n.raw_os_error()));
    if is_full(&e) || no_descriptor { Append::Refused(e) } else { Append::Unknown(e) }
}

fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
