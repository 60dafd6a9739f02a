//! One life, from the beginning of its recording to its end.
//!
//! **Invariant.** Inputs are given in the order and at the moments of the recording, and nothing else is. A record that the
//! Machine decides here is the journal's record of that number, decided at the same moment, or this is the difference.

use super::facts::Facts;
use super::{Life, words};
use sprag_core::{Input, Machine, Now, Output, QueueId, Record};
use sprag_journal::codec;
use sprag_journal::fs::Fs;
use sprag_runtime::flight::{Event, Head};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Something that happens in a life that is run again.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The number of the input, in this life; 0 before the first.
    pub event: u64,
    /// When.
    pub now: Now,
    /// What.
    pub what: What<'a>,
}

/// What happens.
#[derive(Debug)]
pub enum What<'a> {
    /// A segment begins with this Machine.
    Begins(u32, &'a Head),
    /// The Machine is given this.
    Input(&'a Input),
    /// It decides this.
    Output(&'a Output),
    /// An input was led to its end.
    Rest,
}

/// Is shown what happens, and says whether to go on.
pub type On<'a> = dyn FnMut(&Machine, &Seen<'_>) -> bool + 'a;

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    /// When this record was decided.
    Seq(u64),
    /// After this input.
    Event(u64),
    /// Before the first input that came later, in milliseconds since the first.
    Ms(u64),
    /// The same, by the calendar.
    Wall(u64),
}

/// Where it went another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// At which input; 0 before the first.
    pub event: u64,
    /// What is not the same.
    pub what: String,
}

/// What came of a life that was run again.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Inputs that were given.
    pub events: u64,
    /// Records that the Machine decided, and that are the journal's.
    pub records: u64,
    /// Records that it decided, and that never became durable or are no longer there.
    pub unknown: u64,
    /// The first difference.
    pub difference: Option<Difference>,
    /// What could not be used, and why.
    pub lost: Vec<String>,
    /// So many records of this life are in the journal that come after the recording.
    pub ahead: u64,
    /// It was told to stop before the end.
    pub stopped: bool,
    /// What the Machine was then, and when; none where nothing could be begun with, or where it panicked.
    pub end: Option<(Machine, Now)>,
}

struct Run<'a, 'b, F: Fs> {
    facts: &'a Facts<F>,
    on: &'a mut On<'b>,
    /// None before the first segment that can be begun with.
    machine: Option<Machine>,
    /// The last record of this life.
    end: u64,
    now: Now,
    checked: Checked,
}

/// Runs a life again. `next` is the record that the life after it found as the last one.
pub(super) fn replay<F: Fs>(facts: &Facts<F>, life: &Life, next: Option<u64>, on: &mut On<'_>) -> Checked {
    let end = life.epoch().map_or(0, |epoch| facts.end_of(epoch));
    let end = next.map_or(end, |next| end.min(next));
    let checked = Checked { lost: life.lost.clone(), ..Checked::default() };
    let mut run = Run { facts, on, machine: None, end, now: Now::default(), checked };
    let mut before = None;
    for segment in &life.segments {
        let Some(head) = &segment.head else { continue };
        let goes_on =
            before.is_some_and(|(number, inputs)| number + 1 == segment.number && head.follows == Some(inputs));
        before = Some((segment.number, segment.inputs()));
        if run.begin(segment.number, head, goes_on) {
            segment.events.iter().for_each(|event| run.event(event));
        }
    }
    let is_over = run.is_over();
    if let Some(mut machine) = run.machine {
        if !is_over {
            run.checked.ahead = run.end.saturating_sub(machine.last_seq().0);
        }
        while machine.poll().is_some() {}
        run.checked.end = Some((machine, run.now));
    }
    run.checked
}

impl<F: Fs> Run<'_, '_, F> {
    fn is_over(&self) -> bool {
        self.checked.stopped || self.checked.difference.is_some()
    }

    fn differs(&mut self, what: String) {
        let event = self.checked.events;
        self.checked.difference.get_or_insert(Difference { event, what });
    }

    fn show(&mut self, what: What<'_>) {
        if let Some(machine) = self.machine.as_ref().filter(|_| !self.checked.stopped) {
            let seen = Seen { event: self.checked.events, now: self.now, what };
            self.checked.stopped = !(self.on)(machine, &seen);
        }
    }

    /// A segment begins. Where nothing is missing before it, the Machine must be what stands there.
    fn begin(&mut self, number: u32, head: &Head, goes_on: bool) -> bool {
        if self.is_over() {
            return false;
        }
        self.now = head.now;
        match &self.machine {
            Some(machine) if goes_on => {
                if machine.last_seq() != head.seq {
                    let (seq, said) = (machine.last_seq().0, head.seq.0);
                    self.differs(format!("at segment {number} record {seq} was decided last; recorded is {said}"));
                } else if head.volatile.as_ref().is_some_and(|volatile| *volatile != machine.volatile()) {
                    let what = words::difference(&machine.volatile(), head.volatile.as_ref());
                    self.differs(format!("at segment {number} the Machine is not what was written down: {what}"));
                }
            }
            Some(_) | None => match self.facts.machine(head) {
                Ok(machine) => {
                    self.machine = Some(machine);
                    self.show(What::Begins(number, head));
                    if head.opens {
                        self.with(|machine, now| machine.resume(now));
                    }
                }
                Err(what) => {
                    self.checked.lost.push(format!("segment {number} is of no use: {what}"));
                    self.machine = None;
                }
            },
        }
        self.machine.is_some()
    }

    fn event(&mut self, event: &Event) {
        if self.is_over() {
            return;
        }
        match event {
            Event::Queue(name) => {
                if let Some(machine) = &mut self.machine {
                    machine.queue_named(name);
                }
            }
            Event::In(now, input) => {
                self.now = *now;
                self.checked.events += 1;
                self.show(What::Input(input));
                // What it was shown before, it is shown no more of: the state is that before the input.
                if !self.checked.stopped {
                    self.with(|machine, now| machine.handle(now, input.clone()));
                    self.show(What::Rest);
                }
            }
        }
    }

    /// Does something with the Machine, and follows what it decides.
    fn with(&mut self, change: impl FnOnce(&mut Machine, Now)) {
        let (machine, now) = (&mut self.machine, self.now);
        let changed = catch_unwind(AssertUnwindSafe(|| machine.as_mut().map(|machine| change(machine, now))));
        if let Err(panic) = changed {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            let what = format!("the Machine panics: {text}");
            self.machine = None;
            return self.differs(what);
        }
        while let Some(output) = self.machine.as_mut().and_then(Machine::poll) {
            if let Output::Persist { seq, record } = output {
                self.decided(seq.0, record);
            }
            self.show(What::Output(&output));
        }
    }

    /// Holds a record that was decided against the journal.
    fn decided(&mut self, seq: u64, record: Record) {
        let Some((place, line)) = self.facts.record(seq).filter(|_| seq <= self.end) else {
            self.checked.unknown += 1;
            return;
        };
        let Some(machine) = &mut self.machine else { return };
        if let Record::Added { job, .. } = record {
            machine.placed(job, place.into());
        }
        let mut queue = |name: &str| machine.find_queue(name).unwrap_or(QueueId(u16::MAX));
        let what = match codec::decode(line, &mut queue) {
            Ok(said) if said.record == record && said.at == self.now.wall => {
                self.checked.records += 1;
                return;
            }
            Ok(said) if said.record == record => {
                format!("record {seq} is decided at {}; the journal says at {}", self.now.wall.0, said.at.0)
            }
            Ok(said) => {
                let (ours, said) = (words::record(machine, &record), words::record(machine, &said.record));
                format!("record {seq} is decided as: {ours}; the journal says: {said}")
            }
            Err(error) => format!("record {seq} in the journal cannot be read: {error}"),
        };
        self.differs(what);
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            0 => write!(f, "before the first input: {}", self.what),
            event => write!(f, "at input {event}: {}", self.what),
        }
    }
}
