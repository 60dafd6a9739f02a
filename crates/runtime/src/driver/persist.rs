//! Records on their way to the disk: lines into frames, one frame in flight, a seal after quiet.
//!
//! **Invariant.** Frames go out in order, one at a time; the Machine hears `Persisted` only for what the journal thread
//! called committed. A refused frame (no room) is offered again, unchanged; any other error is the end of the program.

use super::{Driver, Effect};
use crate::flight::Recorder;
use sprag_core::{Input, Machine, Mono, Now, PayloadRef, Record, Seq};
use sprag_journal::codec::{self, Texts};
use sprag_journal::fs::Fs;
use sprag_journal::{Append, Frame, Framer, Position, Writer};
use std::collections::VecDeque;

/// After so much quiet, in milliseconds, a seal proves the last frame durable.
const SEAL_AFTER_MS: u64 = 1_000;
/// Without room, look again after so many milliseconds.
const ROOM_AGAIN_MS: u64 = 1_000;

/// Records that nothing waits for may gather for so long before one sync covers them all, in milliseconds.
const LINGER_MS: u64 = 2;
/// Or until there are so many bytes of them.
const LINGER_BYTES_MAX: u64 = 64 << 10;

/// What the journal thread is to do.
#[derive(Debug)]
pub enum JournalWork {
    /// Append and sync a frame.
    Append(Frame),
    /// See whether there is room again.
    CheckRoom,
}

/// What the journal thread answers.
#[derive(Debug)]
pub enum Committed {
    /// The frame is durable.
    Frame {
        /// The new end of the journal.
        end: Position,
        /// Whether there is room for more than completions.
        room: bool,
    },
    /// No room for the frame: nothing was written.
    Refused {
        /// The frame, to be offered again.
        frame: Frame,
        /// The system's words.
        what: String,
    },
    /// Whether there is room again.
    Room(bool),
    /// What the flight recorder was handed could not be written. Answers nothing.
    NotRecorded {
        /// What happened.
        what: String,
    },
    /// The journal is in doubt.
    Failed {
        /// What happened.
        what: String,
    },
}

/// One step of the journal thread, which does nothing else.
pub fn journal_step<F: Fs>(writer: &mut Writer<F>, work: JournalWork) -> Committed {
    match work {
        JournalWork::CheckRoom => Committed::Room(writer.has_room()),
        JournalWork::Append(frame) => match writer.append(&frame) {
            Append::Committed(end) => Committed::Frame { end, room: writer.has_room() },
            Append::Refused(error) => Committed::Refused { frame, what: error.to_string() },
            Append::Conflict => Committed::Failed { what: "somebody else has written to the journal".into() },
            Append::Unknown(error) => Committed::Failed { what: error.to_string() },
        },
    }
}

/// What the journal thread does before each of its steps, and whenever it comes by. Says whether there was anything; an
/// answer is for the driver.
pub fn record_step<F: Fs>(recorder: &mut Recorder<F>) -> (bool, Option<Committed>) {
    match recorder.drain() {
        Ok(some) => (some, None),
        Err(what) => (true, Some(Committed::NotRecorded { what })),
    }
}

/// What stands between the Machine and the journal thread.
#[derive(Debug)]
pub(super) struct Persistence {
    framer: Framer,
    /// A frame that found no room.
    refused: Option<Frame>,
    /// When to ask for room again.
    room_at: Option<Mono>,
    room: bool,
    /// When the records that nothing waits for are synced at the latest.
    linger_until: Option<Mono>,
    /// When to seal, if nothing comes.
    seal_at: Option<Mono>,
    /// The frame in flight is a seal.
    sealing: bool,
    /// The last frame on disk is a seal.
    sealed: bool,
    /// A frame of this epoch is durable.
    epoch_is_durable: bool,
    /// Frames with completions may use the blocks set aside for them.
    essential_after: Seq,
    line: Vec<u8>,
}

impl Persistence {
    pub(super) fn new(framer: Framer, sealed: bool) -> Persistence {
        Persistence {
            framer,
            refused: None,
            room_at: None,
            room: true,
            linger_until: None,
            seal_at: None,
            sealing: false,
            sealed,
            epoch_is_durable: false,
            essential_after: Seq(0),
            line: Vec::new(),
        }
    }

    /// Takes a record. Its place is known at once.
    pub(super) fn push(
        &mut self,
        now: Now,
        seq: Seq,
        record: &Record,
        machine: &Machine,
        texts: Option<Texts<'_>>,
    ) -> Option<PayloadRef> {
        let name = match record {
            Record::Added { new, .. } => machine.queue_name(new.queue),
            Record::Paused { queue } | Record::Resumed { queue } => machine.queue_name(*queue),
            Record::Finished { .. } => {
                self.essential_after = seq;
                ""
            }
            Record::Reserved { .. }
            | Record::Started { .. }
            | Record::Cancelled { .. }
            | Record::Redriven { .. }
            | Record::Published { .. }
            | Record::Forgotten { .. }
            | Record::KeyForgotten { .. } => "",
        };
        self.line.clear();
        codec::encode(&mut self.line, seq, now.wall, record, name, texts);
        let place = self.framer.push(&self.line);
        // Something comes: no seal is due before it is on disk.
        (self.sealed, self.seal_at) = (false, None);
        assert_eq!(self.framer.seq(), seq.0, "the journal and the machine count records differently");
        Some(place.into())
    }

    /// Bytes that wait for a frame.
    pub(super) fn pending(&self) -> u64 {
        self.framer.pending()
    }

    /// Whether there is room for more than completions.
    pub(super) fn has_room(&self) -> bool {
        self.room
    }

    /// From now on segments are finished at so many bytes, as far as the limits allow.
    pub(super) fn rotate_at(&mut self, bytes: u64) {
        self.framer.rotate_at(bytes);
    }

    /// If all is at rest, the segment is finished, however short it is; what an earlier life has left open is sealed before.
    pub(super) fn finish_at_rest(&mut self, now: Now) {
        if self.sealed {
            self.framer.finish();
        } else if self.framer.pending() == 0 && !self.framer.in_flight() {
            self.seal_at.get_or_insert(now.mono.after(SEAL_AFTER_MS));
        }
    }

    /// Wants a frame of this epoch, though there may be nothing to put into it.
    pub(super) fn mark_epoch(&mut self) {
        self.framer.unseal();
        (self.sealed, self.seal_at) = (false, Some(Mono(0)));
    }

    pub(super) fn epoch_is_durable(&self) -> bool {
        self.epoch_is_durable
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        [self.room_at, self.linger_until, self.seal_at].into_iter().flatten().min()
    }

    /// Hands the next work to the journal thread, if it has none. `waited` says that something waits for a record.
    pub(super) fn next_work(&mut self, now: Now, effects: &mut VecDeque<Effect>, waited: bool, stopping: bool) {
        if self.room_at.is_some_and(|at| at <= now.mono) {
            self.room_at = None;
            let work = self.refused.take().map_or(JournalWork::CheckRoom, JournalWork::Append);
            effects.push_back(Effect::Journal(work));
        }
        if self.lingers(now, waited || stopping) {
            return;
        }
        if let Some(mut frame) = self.framer.frame() {
            self.linger_until = None;
            frame.essential = Seq(frame.seq) >= self.essential_after && self.essential_after > Seq(0);
            self.seal_at = None;
            effects.push_back(Effect::Journal(JournalWork::Append(frame)));
        } else if stopping || self.seal_at.is_some_and(|at| at <= now.mono) || (self.sealed && self.framer.is_long()) {
            // With a frame in flight there is none; its answer sets the time anew.
            if let Some(frame) = self.framer.seal() {
                self.sealing = true;
                effects.push_back(Effect::Journal(JournalWork::Append(frame)));
            }
            self.seal_at = None;
        }
    }

    /// Whether what is pending may wait for more to share its sync.
    fn lingers(&mut self, now: Now, waited: bool) -> bool {
        let pending = self.framer.pending();
        if waited || pending == 0 || pending >= LINGER_BYTES_MAX || self.framer.in_flight() {
            return false;
        }
        *self.linger_until.get_or_insert(now.mono.after(LINGER_MS)) > now.mono
    }

    fn committed(&mut self, now: Now, end: Position, room: bool) {
        self.framer.committed(end);
        self.epoch_is_durable = true;
        let quiet = self.framer.pending() == 0;
        self.sealed = std::mem::take(&mut self.sealing) && quiet;
        self.seal_at = (!self.sealed && quiet).then(|| now.mono.after(SEAL_AFTER_MS));
        self.room(now, room);
    }

    fn room(&mut self, now: Now, room: bool) {
        self.room = room;
        self.room_at = (!room).then(|| now.mono.after(ROOM_AGAIN_MS));
    }
}

impl Driver {
    pub(super) fn journal_answered(&mut self, now: Now, committed: Committed) {
        if !matches!(committed, Committed::NotRecorded { .. }) {
            self.under_way.journal_answered();
        }
        match committed {
            Committed::Frame { end, room } => {
                self.persistence.committed(now, end, room);
                self.snapshots.written(end);
                self.flight.written(end);
                self.tell_happened(Seq(end.seq));
                let said = self.reporter.durable(Seq(end.seq));
                self.say_all(said);
                self.input(now, Input::Persisted { through: Seq(end.seq) });
                self.tell_space(now);
            }
            Committed::Refused { mut frame, what } => {
                // What waits in it was accepted; it may use the blocks set aside, since nothing more is taken on.
                frame.essential = true;
                self.persistence.refused = Some(frame);
                self.persistence.room(now, false);
                self.effects.push_back(Effect::Say(super::Notice::NoSpace { what }));
                self.tell_space(now);
            }
            Committed::NotRecorded { what } => self.not_recorded(now, what),
            Committed::Room(room) => {
                self.persistence.room(now, room);
                self.tell_space(now);
            }
            Committed::Failed { what } => {
                let what = format!("the journal failed: {what}; nothing acknowledged is lost, run again");
                self.effects.push_back(Effect::Fatal { what });
            }
        }
    }
}
