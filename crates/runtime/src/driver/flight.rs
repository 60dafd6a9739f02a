//! What the flight recorder is handed: each input of the Machine, before it is handled.
//!
//! **Invariant.** Every input passes [`Driver::feed`]. A segment begins between two turns, when everything decided was drained,
//! with all that the Machine is but for its records; it holds every input since, or ends where one could not be handed over.

use super::nag::Nag;
use super::{Driver, Effect, Notice};
use crate::flight::{Head, SEGMENTS, VERSION, WAITING_BYTES_MAX};
use serde::Serialize;
use sprag_core::{Bug, Config, Input, Machine, Mono, Now, planted};
use sprag_handoff::Spool;
use sprag_journal::Position;
use std::sync::Arc;

/// After something could not be recorded, a new segment begins so much later, in milliseconds.
const AGAIN_MS: u64 = 5_000;
/// With more jobs than this waiting for their time or under way, none is written down, and no segment begins but the first of a
/// life: it would hold up the loop.
const VOLATILE_MAX: usize = 50_000;

/// The end of the recorder that is on the loop.
#[derive(Debug)]
pub(super) struct Flight {
    spool: Arc<Spool>,
    state: State,
    /// The number of the segment.
    segment: u32,
    segment_bytes: u64,
    bytes: u64,
    /// How many inputs stand in it.
    inputs: u64,
    /// The end of what is durable.
    end: Position,
    /// The moment that was written last.
    now: Now,
    /// How many queues the recording knows.
    queues: usize,
    epoch: u64,
    snapshot: u64,
    queue_id: String,
    config: Config,
    line: Vec<u8>,
    /// Why something was left out, while nobody was told.
    why: Option<String>,
    nag: Nag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    On,
    /// Something was left out: a new segment begins then.
    Lost(Mono),
}

/// What a recording is of.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) queue_id: String,
    pub(super) epoch: u64,
    pub(super) snapshot: u64,
    pub(super) config: Config,
    /// The end of its journal.
    pub(super) end: Position,
}

impl Flight {
    /// A recorder for segments from this number on, all together of so many bytes; 0 for none.
    pub(super) fn new(spool: Arc<Spool>, segment: u32, bytes_max: u64, subject: Subject) -> Flight {
        let Subject { queue_id, epoch, snapshot, config, end } = subject;
        Flight {
            spool,
            state: if bytes_max > 0 { State::On } else { State::Off },
            segment,
            segment_bytes: bytes_max / SEGMENTS,
            bytes: 0,
            inputs: 0,
            end,
            now: Now::default(),
            queues: 0,
            epoch,
            snapshot,
            queue_id,
            config,
            line: Vec::new(),
            why: None,
            nag: Nag::default(),
        }
    }

    /// The first segment of a life begins: the Machine has read the journal and is about to resume.
    pub(super) fn open(&mut self, now: Now, machine: &Machine) {
        if self.state == State::On {
            self.begin(now, machine, true);
        }
    }

    /// The end of what is durable.
    pub(super) fn written(&mut self, end: Position) {
        self.end = end;
    }

    fn begin(&mut self, now: Now, machine: &Machine, opened: bool) {
        let end = self.end;
        let head = Head {
            version: VERSION,
            segment: self.segment,
            queue: self.queue_id.clone(),
            epoch: self.epoch,
            snapshot: self.snapshot,
            seq: machine.last_seq(),
            journal: (end.segment, end.offset, end.seq),
            now,
            follows: (self.state == State::On && !opened).then_some(self.inputs),
            config: self.config.clone(),
            queues: machine.queues().map(|queue| queue.name.to_owned()).collect(),
            opens: opened,
            volatile: (machine.volatile_len() <= VOLATILE_MAX).then(|| machine.volatile()),
        };
        (self.bytes, self.inputs, self.now, self.queues) = (0, 0, now, machine.queues_len());
        self.state = State::On;
        self.push(now, "flight", &head);
    }

    /// An input is about to be handled.
    fn record(&mut self, now: Now, input: &Input, machine: &Machine) {
        if self.state != State::On {
            return;
        }
        if machine.queues_len() > self.queues {
            for queue in machine.queues().skip(self.queues) {
                self.push(now, "queue", queue.name);
            }
            self.queues = machine.queues_len();
        }
        if now != self.now {
            self.now = now;
            self.push(now, "now", &(now.mono, now.wall));
        }
        self.inputs += 1;
        self.push(now, "in", input);
    }

    fn push<T: Serialize + ?Sized>(&mut self, now: Now, kind: &str, value: &T) {
        if self.state != State::On {
            return;
        }
        self.line.clear();
        self.line.extend_from_slice(b"{\"");
        self.line.extend_from_slice(kind.as_bytes());
        self.line.extend_from_slice(b"\":");
        let written = serde_json::to_writer(&mut self.line, value);
        self.line.extend_from_slice(b"}\n");
        self.bytes += self.line.len() as u64;
        if written.is_err() || !self.spool.push(self.segment, &self.line) {
            self.lose(now, "more waits to be written than fits into memory".into());
        }
    }

    /// From here on this segment is not gone on with, and after a while another one begins.
    fn lose(&mut self, now: Now, why: String) {
        self.state = State::Lost(now.mono.after(AGAIN_MS));
        self.why = Some(why);
    }

    /// Whether a new segment is to begin.
    fn is_due(&self, now: Now) -> bool {
        match self.state {
            State::Off => false,
            State::On => self.bytes >= self.segment_bytes,
            State::Lost(again) => again <= now.mono,
        }
    }
}

/// So many bytes may wait to be written.
pub(super) fn spool() -> Arc<Spool> {
    Arc::new(Spool::new(WAITING_BYTES_MAX))
}

impl Driver {
    /// Feeds the Machine: the one place where an input passes. The recorder is handed it first.
    pub(super) fn feed(&mut self, now: Now, input: Input) {
        let asked = matches!(input, Input::Pause { .. } | Input::Cancel { .. } | Input::Redrive { .. });
        if !(asked && planted(Bug::InputNotRecorded)) {
            self.flight.record(now, &input, &self.machine);
        }
        self.machine.handle(now, input);
    }

    /// Between two turns: begins a new segment when one is due.
    pub(super) fn turn_the_page(&mut self, now: Now) {
        if let Some(what) = self.flight.why.take()
            && self.flight.nag.is_due(now.mono)
        {
            self.effects.push_back(Effect::Say(Notice::NotRecorded { what }));
        }
        if !self.flight.is_due(now) {
            return;
        }
        if self.machine.volatile_len() > VOLATILE_MAX {
            return self.flight.lose(now, format!("more than {VOLATILE_MAX} jobs wait for a time of their own"));
        }
        self.flight.segment += 1;
        self.flight.begin(now, &self.machine, false);
    }

    /// What was handed over could not be written: the rest of that segment is not, either.
    pub(super) fn not_recorded(&mut self, now: Now, what: String) {
        self.flight.lose(now, what);
    }
}
