//! The simulated world: clocks, the heap of what is due, and everybody who acts.
//!
//! **Invariant.** Whatever happens, happens from the heap, in the order of (time, number); [`crate::shared`] takes it from
//! there. All time and all trouble come from here.

mod due;
mod nature;

use crate::chance::{Chance, Script};
use crate::client::Client;
use crate::describe;
use crate::failure::Failure;
use crate::fs::{Call, CallKind, Fault, SimFs, errno, parent};
use crate::incident::Recorded;
use crate::marks::Marks;
use crate::monitor::Pending;
use crate::oracle::Oracle;
use crate::places::{Actor, Hazard, Site};
use crate::plan;
use crate::processes::Process;
use crate::producer::Producer;
use crate::services::Served;
use crate::shared::Threads;
use crate::threads::Order;
use crate::trace::{Keep, Kind, Trace};
use sprag_core::{Bug, Mono, Now, Wall, planted};
use sprag_journal::fs::Open;
use sprag_runtime::driver::{Event, JournalWork};
use sprag_runtime::pipeline::Pipeline;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

pub use due::{Due, Entry};

/// The calendar at the beginning, in milliseconds.
const WALL_MS: u64 = 1_700_000_000_000;

/// What went wrong may have its effect for so long: a stall, a process that dies slowly.
const SETTLES_US: u64 = 4_000_000;

/// Whether sprag may decide that a job starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// It may.
    Free,
    /// It hears that there is too little room.
    Hold,
    /// Not after this record.
    HeldAfter(u64),
}

/// How a life of sprag ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process is killed.
    Kill,
    /// The machine loses power.
    PowerCut,
    /// It is asked to stop. It goes on until it has.
    Stop,
    /// It has stopped, or gave up on its journal: the process exits.
    Exit,
}

/// When a life of sprag ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// After so many more steps.
    pub left: u64,
    /// Only syncs count as steps.
    pub syncs: bool,
    /// How.
    pub end: End,
}

/// What no simulator may look at: the leak that `sim check` must notice.
#[expect(clippy::disallowed_methods, reason = "planted, to be found")]
fn real_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::from(since.subsec_micros()) % 3)
}

/// Everything.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are what their names say; each is written by the module of its name")]
pub struct World {
    pub chance: Chance,
    pub trace: Trace,
    pub oracle: Oracle,
    pub pipeline: Arc<Pipeline>,
    pub limits: sprag_journal::Limits,
    pub fs: SimFs,
    pub now_us: u64,
    /// The machine has slept for so long, and sprag has not been told yet.
    pub slept_ms: u64,
    /// It has slept for so long since the beginning.
    pub asleep_us: u64,
    boot_us: u64,
    wall_ms: u64,
    /// When the calendar last jumped.
    stepped_us: Option<u64>,
    pub heap: BTreeMap<(u64, u64), Entry>,
    numbers: u64,
    /// The line of what is being done.
    pub cause: u32,
    pub producers: Vec<Producer>,
    pub client: Client,
    pub processes: BTreeMap<u32, Process>,
    pub pids: u32,
    /// Inputs that sprag has locked for a command that it is about to execute.
    pub preparing: BTreeSet<PathBuf>,
    /// Sprag has opened its journal in some life.
    pub opened: bool,
    /// Since when this life of sprag lasts, and how many records are durable, as far as it knows.
    pub began_us: u64,
    pub durable: u64,
    /// The number of sprag's life.
    pub life: u32,
    pub sprag_fs: SimFs,
    pub threads: Option<Rc<Threads>>,
    pub keeper: VecDeque<Order>,
    pub journal: VecDeque<JournalWork>,
    /// When the loop hears of what the journal thread said last.
    pub journal_told_us: u64,
    pub marked: BTreeSet<u16>,
    pub nested: u32,
    /// So many looks at sources are under way.
    pub looking: u32,
    pub fate: Option<Fate>,
    /// This life has ended.
    pub ending: Option<End>,
    pub healed: bool,
    /// Since when nothing goes wrong, and there is room.
    pub healed_us: Option<u64>,
    /// When sprag last decided something.
    pub decided_us: u64,
    /// Until when sprag is stopped, or was last.
    pub frozen_until_us: u64,
    /// What sprag waits for.
    pub pending: Pending,
    /// Services that have run.
    pub served: BTreeMap<u16, Served>,
    /// The bytes that are free, while they are few.
    pub squeezed: Option<u64>,
    /// Whether there is too little room for a start, as far as sprag knows.
    pub starts: Starts,
    /// When sprag last learned that there is room again.
    pub roomy_us: u64,
    /// A sync was lost, and no power cut has shown it since.
    pub sync_lost: bool,
    /// Something failed in this life that sprag may rightly stumble over.
    pub excused: bool,
    /// A frame was handed to the journal thread at this time, and no answer came back yet; with its number of records.
    pub in_flight: Option<(u64, u32)>,
    /// The recording of this life.
    pub recorded: Option<Recorded>,
    /// Jobs whose results could not be put at their destinations since nothing goes wrong any more, and how often.
    pub unpublished: BTreeMap<u64, u32>,
    /// Sprag was asked to stop in this life.
    pub stopping: bool,
    /// What was seen.
    pub marks: Marks,
    /// The different states that the driver was in, as numbers.
    pub states: BTreeSet<u64>,
    /// A job waits for its next attempt.
    pub backs_off: bool,
    /// Which life last ended in a crash, in which life the last attempt of a job failed, and since which a queue is paused.
    pub crashed_in: u32,
    pub failed_in: BTreeMap<u64, u32>,
    pub paused_in: BTreeMap<String, u32>,
    /// What is wrong with sprag: the run is over.
    pub failure: Option<Failure>,
}

impl World {
    /// A new world, with nothing in it yet but its producers.
    pub fn new(script: Script, keep: Keep) -> World {
        let mut chance = Chance::new(script);
        if sprag_core::rescan_is_off() {
            // Then an event that never comes, or a look that fails, is nobody's fault.
            let hints = [Hazard::EventIsLost, Hazard::WatchIsRefused, Hazard::CallFails, Hazard::CalmCallFails];
            hints.into_iter().for_each(|hazard| chance.rule_out(hazard));
        }
        let fs = SimFs::with_dirs(&[plan::DIR, "/p/.sprag", "/p/data"]);
        let pipeline = Arc::new(plan::pipeline(&mut chance));
        let producers = plan::producers(&mut chance, &fs, &pipeline);
        World {
            limits: plan::journal_limits(&mut chance),
            client: Client::new(&mut chance),
            chance,
            trace: Trace::new(keep),
            oracle: Oracle::default(),
            pipeline,
            sprag_fs: fs.clone(),
            fs,
            now_us: 0,
            slept_ms: 0,
            asleep_us: 0,
            boot_us: 0,
            wall_ms: WALL_MS,
            stepped_us: None,
            heap: BTreeMap::new(),
            numbers: 0,
            cause: 0,
            producers,
            processes: BTreeMap::new(),
            pids: 100,
            preparing: BTreeSet::new(),
            opened: false,
            began_us: 0,
            durable: 0,
            life: 0,
            threads: None,
            keeper: VecDeque::new(),
            journal: VecDeque::new(),
            journal_told_us: 0,
            marked: BTreeSet::new(),
            nested: 0,
            looking: 0,
            fate: None,
            ending: None,
            healed: false,
            healed_us: None,
            decided_us: 0,
            frozen_until_us: 0,
            pending: Pending::default(),
            served: BTreeMap::new(),
            squeezed: None,
            starts: Starts::Free,
            roomy_us: 0,
            sync_lost: false,
            excused: false,
            in_flight: None,
            recorded: None,
            unpublished: BTreeMap::new(),
            stopping: false,
            marks: Marks::default(),
            states: BTreeSet::new(),
            backs_off: false,
            crashed_in: 0,
            failed_in: BTreeMap::new(),
            paused_in: BTreeMap::new(),
            failure: None,
        }
    }

    /// The time, as the driver is told it.
    pub fn now(&self) -> Now {
        let leak_ms = if planted(Bug::RealClock) { real_ms() } else { 0 };
        let mono = Mono((self.now_us - self.boot_us) / 1000);
        Now { mono, wall: Wall(self.wall_ms + leak_ms + self.now_us / 1000) }
    }

    /// The time on a clock that stands while the machine sleeps.
    pub fn awake_us(&self) -> u64 {
        self.now_us - self.asleep_us
    }

    /// A moment of the driver's clock in simulated microseconds.
    pub fn at_us(&self, mono: Mono) -> u64 {
        self.boot_us.saturating_add(mono.0.saturating_mul(1000))
    }

    /// Since when nothing goes wrong and nothing that went wrong before can last any more, once that is so.
    pub fn calm_us(&self) -> Option<u64> {
        let settled_us = self.healed_us?.max(self.began_us) + SETTLES_US;
        Some(settled_us.max(self.frozen_until_us).max(self.roomy_us)).filter(|at_us| *at_us <= self.now_us)
    }

    /// Puts something on the heap; gives back its key. What is for sprag waits until it is continued.
    pub fn schedule(&mut self, delay_us: u64, due: Due) -> (u64, u64) {
        self.numbers += 1;
        let at_us = self.now_us.saturating_add(delay_us.max(1));
        let key = (if due.is_of_sprag() { at_us.max(self.frozen_until_us) } else { at_us }, self.numbers);
        self.heap.insert(key, Entry { due: Box::new(due), cause: self.cause });
        key
    }

    /// Takes something off the heap again, wherever in time it was moved meanwhile.
    pub fn unschedule(&mut self, key: (u64, u64)) {
        if self.heap.remove(&key).is_none() {
            self.heap.retain(|(_, number), _| *number != key.1);
        }
    }

    /// Notes what happens; it becomes the cause of what it leads to.
    pub fn note(&mut self, actor: Actor, kind: Kind, text: fmt::Arguments<'_>) {
        let line = self.trace.note(self.now_us, actor, kind, self.cause, text);
        if kind != Kind::Call && kind != Kind::Fault {
            self.cause = line;
        }
    }

    /// Whether something goes wrong, and if so, notes it.
    pub fn strikes(&mut self, actor: Actor, hazard: Hazard) -> bool {
        let struck = self.chance.strikes(actor, hazard);
        if struck {
            self.mark_strike(hazard);
            self.note(actor, Kind::Fault, format_args!("{hazard:?}"));
        }
        struck
    }

    /// Sprag did what it must not.
    pub fn fail(&mut self, failure: Failure) {
        if self.failure.is_none() {
            self.note(Actor::World, Kind::World, format_args!("FAILED: {failure}"));
            self.failure = Some(failure);
        }
    }

    /// Sprag's own handle on the file system.
    pub fn sprag_fs(&self) -> SimFs {
        self.sprag_fs.clone()
    }

    /// What is due by now and is not for the loop; sprag's threads only if asked for.
    pub fn pop_outside(&mut self, threads: bool) -> Option<Entry> {
        let now_us = self.now_us;
        let mut due = self.heap.range(..=(now_us, u64::MAX));
        let (key, _) = due.find(|(_, entry)| match *entry.due {
            Due::Heard { .. } | Due::Marked { .. } | Due::Tick { .. } | Due::Open => false,
            Due::Pool { .. } | Due::Keeper { .. } | Due::Journal { .. } => threads,
            Due::Events { .. }
            | Due::Producer(_)
            | Due::Client
            | Due::Process(_)
            | Due::WallStep
            | Due::Disk { .. }
            | Due::Heal
            | Due::Monitor => true,
            // Only between the steps of the loop: a call that takes days would be no news.
            Due::Sleep | Due::Freeze => false,
        })?;
        let key = *key;
        self.heap.remove(&key)
    }

    /// One step of sprag: time passes, and it may be its last.
    pub fn sprag_steps(&mut self, cost_us: u64, sync: bool) {
        self.now_us += cost_us;
        let Some(fate) = self.fate.as_mut().filter(|fate| sync || !fate.syncs) else { return };
        if fate.left > 0 {
            fate.left -= 1;
            return;
        }
        let end = fate.end;
        self.fate = None;
        self.mark_end(end);
        self.note(Actor::World, Kind::Fault, format_args!("the end of this life: {end:?}"));
        match end {
            End::Stop => {
                let (life, event) = (self.life, Event::Stop(sprag_core::StopLevel::Drain));
                self.schedule(1, Due::Heard { life, event });
                self.fate = plan::fate_of_a_stop(&mut self.chance);
            }
            End::Kill | End::PowerCut | End::Exit => self.ending = Some(end),
        }
    }

    /// Makes an end that was decided outside of a file system call take effect.
    pub fn end_process(&mut self) {
        match self.ending {
            Some(End::Kill | End::Exit) => self.sprag_fs.kill(),
            Some(End::PowerCut) => self.fs.crash(),
            Some(End::Stop) | None => {}
        }
    }

    /// What a file system call of sprag comes to.
    pub fn before_call(&mut self, call: &Call<'_>) -> Option<Fault> {
        let cost_us = if call.kind.syncs() {
            self.chance.span(Actor::Sprag, Site::SyncTime, 20, 8_000)
        } else {
            self.chance.span(Actor::Sprag, Site::CallTime, 2, 400)
        };
        self.note(Actor::Sprag, Kind::Call, format_args!("{:?} {}", call.kind, describe::Path(&call.path)));
        if call.kind == CallKind::Remove {
            self.oracle.removes(&call.path, &self.fs);
        }
        self.sprag_steps(cost_us, call.kind.syncs());
        match self.ending {
            Some(End::Kill | End::Exit) => {
                let written = self.chance.below(Actor::Sprag, Site::KillBytes, call.len + 1);
                return Some(Fault::Kill(written as usize));
            }
            Some(End::PowerCut) => return Some(Fault::Crash),
            Some(End::Stop) | None => {}
        }
        let fault = self.fault(call);
        if let Some(fault) = &fault {
            self.mark_fault(call.kind, &call.path, fault);
        }
        fault
    }

    fn fault(&mut self, call: &Call<'_>) -> Option<Fault> {
        if self.strikes(Actor::Sprag, Hazard::CallFails) {
            self.excused = true;
            let draw = self.chance.below(Actor::Sprag, Site::CallError, 3);
            return Some(Fault::Errno(match (call.kind, draw) {
                (CallKind::Open(_), 1) => errno::EMFILE,
                (CallKind::Open(Open::Create | Open::Replace | Open::Share) | CallKind::Reserve, 2) => errno::ENOSPC,
                (_, _) => errno::EIO,
            }));
        }
        let of_box = matches!(call.kind, CallKind::Open(_) | CallKind::Read | CallKind::Remove)
            && parent(&call.path).as_os_str().as_encoded_bytes().ends_with(b"/.sprag/inbox/new");
        let calm = of_box || call.kind == CallKind::Room;
        // What a full disk cannot tell is asked for when it matters most.
        let untold = call.kind == CallKind::Room
            && self.squeezed.is_some()
            && self.chance.one_in(Actor::World, Site::DiskFull, 6);
        if untold || calm && self.strikes(Actor::Sprag, Hazard::CalmCallFails) {
            return Some(Fault::Errno(errno::EIO));
        }
        if call.kind.syncs() && self.strikes(Actor::Sprag, Hazard::SyncIsLost) {
            (self.excused, self.sync_lost) = (true, true);
            return Some(Fault::SyncLost);
        }
        if call.kind == CallKind::Write && call.len > 1 && self.strikes(Actor::Sprag, Hazard::WriteIsShort) {
            let taken = 1 + self.chance.below(Actor::Sprag, Site::ShortWrite, call.len - 1);
            return Some(Fault::Short(taken as usize));
        }
        let moves = matches!(call.kind, CallKind::Read | CallKind::Write) && call.len > 1;
        (moves && self.strikes(Actor::Sprag, Hazard::ReadIsShort)).then(|| self.falls_short(call))
    }

    /// What whoever reads and writes must reckon with: less than asked for, or nothing yet.
    fn falls_short(&mut self, call: &Call<'_>) -> Fault {
        if call.kind == CallKind::Write || self.chance.one_in(Actor::Sprag, Site::ShortRead, 3) {
            return Fault::Errno(errno::EINTR);
        }
        Fault::Short(self.chance.span(Actor::Sprag, Site::ShortRead, 1, call.len) as usize)
    }

    /// Whether calendar and clock have gone alike for longer than any record waits for its frame.
    pub fn calendar_is_steady(&self) -> bool {
        self.stepped_us.is_none_or(|stepped_us| self.now_us > stepped_us + 5_000_000)
    }
}
