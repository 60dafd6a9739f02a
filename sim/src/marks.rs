//! Marks: states that worlds must reach, by name; and how many different states they reach at all.
//!
//! **Invariant.** A mark is set where it happens and has no effect on the run. A range of seeds in which one is never set
//! has become too kind, whatever else it finds.

use crate::fs::{CallKind, Fault, errno};
use crate::places::Hazard;
use crate::processes::Process;
use crate::world::{End, World};
use sprag_core::{DeadReason, Machine, Next, Outcome, Refusal, Reply, SourceFault, Verdict};
use sprag_runtime::driver::{Committed, Effect, Event, Notice};
use sprag_runtime::request::Answer;
use sprag_runtime::scan::{Complaint, Look};
use sprag_runtime::task::{Done, INBOX};
use std::path::Path;

macro_rules! marks {
    ($($name:ident: $about:literal,)+) => {
        /// A state that must be seen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $(#[doc = $about] $name,)+
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Mark] = &[$(Mark::$name),+];

            /// What is seen, in a few words.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Mark::$name => $about,)+
                }
            }
        }
    };
}

marks! {
    CallFails: "a system call fails",
    WriteIsShort: "a write is short",
    SyncIsLost: "a sync drops what was to be written",
    EventIsLost: "a change event is lost",
    EventIsLate: "a change event is late",
    EventsOverflow: "the queue of change events overflows",
    WatchIsRefused: "a path cannot be watched",
    SpawnIsRefused: "the system has no process to spare",
    SweepFails: "the processes cannot be looked through",
    DyingTakesLong: "a killed process does not die for a while",
    Stall: "a thread stalls",
    OverflowDuringLook: "the queue of change events overflows while a source is looked at",
    CallFailsInRecovery: "a call fails during recovery",
    ShortWriteInRecovery: "a write is short during recovery",
    SyncLostInRecovery: "a sync is lost during recovery",
    CallIsEmfile: "a call fails for want of descriptors",
    CallIsEnospc: "a call finds the disk full",
    CallIsEio: "a call fails with an I/O error",
    JournalCallFails: "a call on a segment fails",
    SnapshotCallFails: "a call on a snapshot fails",
    SourceCallFails: "a call on a source fails",
    ResultCallFails: "a call on a destination fails",
    KilledInRecovery: "sprag is killed during recovery",
    CutInRecovery: "power is cut during recovery",
    KilledAtWork: "sprag is killed while a command runs",
    CutAtWork: "power is cut while a command runs",
    StoppedAtWork: "sprag is asked to stop while a command runs",
    KilledInFlight: "sprag is killed with a frame in flight",
    CutInFlight: "power is cut with a frame in flight",
    KilledWhileStopping: "sprag is killed while it stops",
    CutWhileStopping: "power is cut while it stops",
    KilledWhileRequestOpen: "sprag is killed before it answers a request",
    CrashInBackoff: "sprag dies while a failed job waits for its next attempt",
    RetryAfterCrash: "a job that failed in one life is tried again after a crash",
    LeftoverFound: "a command of an earlier life is still alive",
    LeftoverProved: "leftovers are proved dead",
    SweepNotClear: "something of an earlier life may be left",
    GrandchildLives: "a command leaves a process behind",
    TermIgnored: "a command ignores TERM",
    Killed: "a command is killed",
    TimedOut: "a command takes too long",
    ExitedBySignal: "a command dies of a signal",
    NotProvedDead: "an attempt ends and is not proved dead",
    SleptWithCommand: "the machine sleeps while a command runs",
    CalendarBack: "the calendar steps back",
    CalendarForward: "the calendar steps forward",
    TornTail: "recovery cuts a torn tail",
    FrameRefused: "a frame finds no room",
    FullWhileRunning: "the disk is full while a command runs",
    RoomAgain: "there is room again",
    JournalFails: "the journal fails, and sprag gives up",
    SnapshotTaken: "a snapshot is taken",
    SnapshotFails: "a snapshot fails",
    ShortAtRest: "room is short, and sprag has nothing to do",
    StatusFails: "the status cannot be written",
    RecordedWhole: "a recording of the flight recorder is run again, and nothing of it may be missing",
    RecordedInParts: "so is one of several segments",
    RecordingFails: "the flight recorder cannot write",
    SourceMalformed: "a source is read half-written",
    SourceMended: "a source is whole again",
    SourcePolled: "a source is polled",
    ItemsRefused: "items are refused for want of room",
    Retried: "an attempt fails, and another one comes",
    Exhausted: "a job fails for good",
    Permanent: "a job fails with a permanent exit code",
    CrashedAttempt: "an attempt dies with sprag, and another one comes",
    CancelledAtWork: "a job is cancelled while its command runs",
    PublishFails: "a result cannot be put at its destination",
    Degraded: "health says degraded",
    Stalled: "health says stalled",
    Forgotten: "forgotten jobs are cleaned up",
    AddedByClient: "a client adds a job",
    KnownKey: "a client adds a job twice",
    ConflictingKey: "a client uses a key with another payload",
    RefusedNoSpace: "a client is refused for want of room",
    RefusedStopping: "a client is refused since sprag stops",
    RefusedWrongState: "a client asks what a job's state does not allow",
    RefusedNoSuchJob: "a client asks for a job that is not there",
    DeadRetried: "dead jobs are tried again",
    SourceIsSlow: "a source takes long to look at or to watch",
    CalmCallFails: "a call on the drop-box, or on how much room there is, fails",
    SourceAway: "a folder or a pipe stands where a source should",
    LineUnfinished: "what stands behind the last newline is no line yet",
    FileSettles: "a file in a folder is not yet at rest",
    DropRejected: "what is no job is put into the drop-box",
    KeyLetGo: "a key is let go",
    RefusedFull: "a client is refused since too many jobs are known",
    RivalWrites: "somebody else writes a source too",
    StopAsked: "an operator stops sprag",
    ToldOfRecords: "listeners are told of records",
    ServiceRestarted: "a service is started again in the same life",
    CommandStopped: "a command is stopped",
    TermWhileStopped: "a command is asked to end while it is stopped",
    SpragStopped: "sprag is stopped for a while",
    HeartbeatRead: "a monitor reads the heartbeat",
    PausedWithWork: "a queue is paused while jobs wait in it",
    PausedOverCrash: "a queue is paused in one life and still is in the next",
    ReadIsShort: "a read gives less than there is, or is interrupted",
    ItemsRemoved: "items are taken out of a source",
    RivalAppends: "two append to one file",
    Poisoned: "sprag dies during the attempts of a job too often",
    LeftByTheEnded: "a command that is asked to end, or killed, leaves a process behind",
    FullAtCompletion: "the end of an attempt is to be recorded while the disk is full",
}

/// Marks that were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u128);

const _: () = assert!(Mark::ALL.len() <= 128, "marks are bits of one number");

impl Marks {
    /// Sets one.
    pub fn set(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u32;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: Marks) {
        self.0 |= other.0;
    }

    /// Whether one was set.
    pub fn has(self, mark: Mark) -> bool {
        self.0 & 1 << mark as u32 != 0
    }

    /// Those that were not set.
    pub fn missing(self) -> impl Iterator<Item = Mark> {
        Mark::ALL.iter().copied().filter(move |mark| !self.has(*mark))
    }
}

impl World {
    /// Something is seen.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.set(mark);
    }

    /// Sets a mark if it is seen.
    pub fn mark_if(&mut self, seen: bool, mark: Mark) {
        if seen {
            self.marks.set(mark);
        }
    }

    fn works(&self) -> bool {
        self.processes.values().any(Process::works)
    }

    /// Something goes wrong.
    pub fn mark_strike(&mut self, hazard: Hazard) {
        let recovers = self.recovers();
        self.mark(match hazard {
            Hazard::CallFails => Mark::CallFails,
            Hazard::WriteIsShort => Mark::WriteIsShort,
            Hazard::SyncIsLost => Mark::SyncIsLost,
            Hazard::EventIsLost => Mark::EventIsLost,
            Hazard::EventIsLate => Mark::EventIsLate,
            Hazard::EventsOverflow => Mark::EventsOverflow,
            Hazard::WatchIsRefused => Mark::WatchIsRefused,
            Hazard::SpawnIsRefused => Mark::SpawnIsRefused,
            Hazard::SweepFails => Mark::SweepFails,
            Hazard::DyingTakesLong => Mark::DyingTakesLong,
            Hazard::Stall => Mark::Stall,
            Hazard::SourceIsSlow => Mark::SourceIsSlow,
            Hazard::CalmCallFails => Mark::CalmCallFails,
            Hazard::ReadIsShort => Mark::ReadIsShort,
        });
        self.mark_if(recovers && hazard == Hazard::CallFails, Mark::CallFailsInRecovery);
        self.mark_if(recovers && hazard == Hazard::WriteIsShort, Mark::ShortWriteInRecovery);
        self.mark_if(recovers && hazard == Hazard::SyncIsLost, Mark::SyncLostInRecovery);
        self.mark_if(self.looking > 0 && hazard == Hazard::EventsOverflow, Mark::OverflowDuringLook);
    }

    /// Sprag has begun a life and has not opened its journal yet.
    fn recovers(&self) -> bool {
        self.life > 0 && self.threads.is_none()
    }

    /// A call of sprag is about to go wrong.
    pub fn mark_fault(&mut self, kind: CallKind, path: &Path, fault: &Fault) {
        let Fault::Errno(errno) = *fault else { return };
        self.mark_if(errno == errno::EMFILE, Mark::CallIsEmfile);
        self.mark_if(errno == errno::ENOSPC, Mark::CallIsEnospc);
        self.mark_if(errno == errno::EIO, Mark::CallIsEio);
        let path = path.to_string_lossy();
        self.mark_if(path.contains("/journal/") && kind != CallKind::Remove, Mark::JournalCallFails);
        self.mark_if(path.contains("/snapshot-"), Mark::SnapshotCallFails);
        self.mark_if(
            path.starts_with("/p/") && path.ends_with(".json") && !path[3..].contains('/'),
            Mark::SourceCallFails,
        );
        self.mark_if(path.starts_with("/p/out/"), Mark::ResultCallFails);
    }

    /// A life is about to end.
    pub fn mark_end(&mut self, end: End) {
        let (recovers, works, stopping) = (self.recovers(), self.works(), self.stopping);
        let in_flight = self.in_flight.is_some();
        let backs_off = self.backs_off;
        if matches!(end, End::Kill | End::PowerCut) {
            self.crashed_in = self.life;
        }
        match end {
            End::Kill => {
                self.mark_if(recovers, Mark::KilledInRecovery);
                self.mark_if(works, Mark::KilledAtWork);
                self.mark_if(in_flight, Mark::KilledInFlight);
                self.mark_if(stopping, Mark::KilledWhileStopping);
                self.mark_if(self.client.unanswered().is_some(), Mark::KilledWhileRequestOpen);
                self.mark_if(backs_off, Mark::CrashInBackoff);
            }
            End::PowerCut => {
                self.mark_if(recovers, Mark::CutInRecovery);
                self.mark_if(works, Mark::CutAtWork);
                self.mark_if(in_flight, Mark::CutInFlight);
                self.mark_if(stopping, Mark::CutWhileStopping);
                self.mark_if(backs_off, Mark::CrashInBackoff);
            }
            End::Stop => self.mark_if(works, Mark::StoppedAtWork),
            End::Exit => {}
        }
    }

    /// The driver hears something.
    pub fn mark_heard(&mut self, event: &Event) {
        match event {
            Event::Journal(Committed::Refused { .. }) => self.mark(Mark::FrameRefused),
            Event::Journal(Committed::Room(true)) => self.mark(Mark::RoomAgain),
            Event::Journal(Committed::Failed { .. }) => self.mark(Mark::JournalFails),
            Event::Done(done) => self.mark_done(done),
            Event::Exited(exit) => self.mark_if(matches!(exit.outcome, Outcome::Signal(_)), Mark::ExitedBySignal),
            Event::Slept { .. } => self.mark_if(self.works(), Mark::SleptWithCommand),
            Event::Journal(Committed::NotRecorded { .. }) => self.mark(Mark::RecordingFails),
            Event::Journal(Committed::Frame { .. } | Committed::Room(false)) | Event::Dirty { .. } => {}
            Event::Request { .. } | Event::Stop(_) | Event::Tick => {}
        }
    }

    fn mark_look(&mut self, source: u16, result: &Result<Look, Complaint>) {
        match result {
            Err(complaint) => {
                self.mark_if(complaint.fault == SourceFault::Malformed, Mark::SourceMalformed);
                let in_its_place =
                    complaint.text.starts_with("a folder, not") || complaint.text.starts_with("not a reg");
                self.mark_if(in_its_place, Mark::SourceAway);
            }
            Ok(look) => {
                self.mark_if(look.again_ms.is_some(), Mark::FileSettles);
                let text = look.complaint.as_ref().map_or("", |complaint| &complaint.text);
                self.mark_if(source == INBOX && text.starts_with("rubbish was put"), Mark::DropRejected);
                self.mark_if(text.contains("has no newline at its end"), Mark::LineUnfinished);
            }
        }
    }

    fn mark_done(&mut self, done: &Done) {
        match done {
            Done::Looked { source, result, .. } => self.mark_look(*source, result),
            Done::Settled { gone, .. } => self.mark_if(!gone, Mark::NotProvedDead),
            Done::Proved { gone, clear } => {
                self.mark_if(!gone.is_empty(), Mark::LeftoverProved);
                self.mark_if(!clear, Mark::SweepNotClear);
            }
            Done::Snapshot { result, .. } => {
                self.mark(if result.is_ok() { Mark::SnapshotTaken } else { Mark::SnapshotFails });
            }
            Done::Status { result } => self.mark_if(result.is_err(), Mark::StatusFails),
            Done::Published { result, .. } => self.mark_if(result.is_err(), Mark::PublishFails),
            Done::Discarded => self.mark(Mark::Forgotten),
            Done::Surveyed { .. } | Done::Measured(_) | Done::Told { .. } => {}
            Done::StatusCopied { result } => self.mark_if(result.is_err(), Mark::StatusFails),
            Done::Armed { .. } | Done::Dropped { .. } | Done::Spawned { .. } | Done::SpawnFailed { .. } => {}
        }
    }

    /// The driver wants something.
    pub fn mark_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Answer { answer, .. } => self.mark_answer(answer),
            Effect::Say(notice) => self.mark_notice(notice),
            Effect::Journal(_) | Effect::Run(_) | Effect::Signal { .. } | Effect::Idle => {}
            Effect::Happened(_) => self.mark(Mark::ToldOfRecords),
            Effect::HeldUp { .. } | Effect::GivenUp { .. } | Effect::Stopped | Effect::Fatal { .. } => {}
        }
    }

    fn mark_answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Reply(Reply::Added(_)) => self.mark(Mark::AddedByClient),
            Answer::Reply(Reply::Known(_)) => self.mark(Mark::KnownKey),
            Answer::Reply(Reply::Conflict(_)) => self.mark(Mark::ConflictingKey),
            Answer::Reply(Reply::Refused(refusal)) => match refusal {
                Refusal::NoSuchJob => self.mark(Mark::RefusedNoSuchJob),
                Refusal::WrongState => self.mark(Mark::RefusedWrongState),
                Refusal::NoSpace => self.mark(Mark::RefusedNoSpace),
                Refusal::Stopping => self.mark(Mark::RefusedStopping),
                Refusal::Full => self.mark(Mark::RefusedFull),
                Refusal::NoSuchQueue => {}
            },
            Answer::Retried { jobs } => self.mark_if(*jobs > 0, Mark::DeadRetried),
            Answer::WrongState(_) => self.mark(Mark::RefusedWrongState),
            Answer::Jobs(_) | Answer::Queues(_) | Answer::Queue(_) => {}
            Answer::Reply(Reply::Done) | Answer::Status(_) | Answer::Job(_) | Answer::Busy => {}
        }
    }

    fn mark_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Started { job, .. } => {
                let failed_in = self.failed_in.remove(&job.0);
                self.mark_if(failed_in.is_some_and(|life| life <= self.crashed_in), Mark::RetryAfterCrash);
            }
            Notice::Finished { job, next, .. } => match next {
                Next::Retry { .. } => {
                    self.failed_in.insert(job.0, self.life);
                    self.mark(Mark::Retried);
                }
                Next::Again { crash, .. } => self.mark_if(*crash, Mark::CrashedAttempt),
                Next::Cancelled => self.mark(Mark::CancelledAtWork),
                Next::Succeeded { .. } | Next::Dead(_) | Next::Unused => {}
            },
            Notice::Dead { reason, .. } => match reason {
                DeadReason::Exhausted => self.mark(Mark::Exhausted),
                DeadReason::Permanent => self.mark(Mark::Permanent),
                DeadReason::Poison => self.mark(Mark::Poisoned),
            },
            Notice::Mended { .. } => self.mark(Mark::SourceMended),
            Notice::Polling { .. } => self.mark(Mark::SourcePolled),
            Notice::Refused { .. } => self.mark(Mark::ItemsRefused),
            Notice::NoSpace { .. } => self.mark_if(self.works(), Mark::FullWhileRunning),
            Notice::TornTail { .. } => self.mark(Mark::TornTail),
            Notice::Begun
            | Notice::Added { .. }
            | Notice::Settled
            | Notice::HeldUp { .. }
            | Notice::Waiting { .. }
            | Notice::Appeared { .. }
            | Notice::Changed { .. }
            | Notice::ServiceStarted { .. }
            | Notice::NotExecuted { .. }
            | Notice::Cancelled { .. }
            | Notice::Redriven { .. }
            | Notice::Paused { .. }
            | Notice::Stopping { .. }
            | Notice::ServiceStopped { .. }
            | Notice::ServiceEnded { .. }
            | Notice::Published { .. }
            | Notice::PublishFailed { .. }
            | Notice::Complaint { .. }
            | Notice::Health { .. }
            | Notice::SnapshotFailed { .. }
            | Notice::StatusFailed { .. }
            | Notice::NotRecorded { .. } => {}
        }
    }

    /// The driver has done what it heard: marks of its state, and the state as a number. Amounts are none or some, of all queues
    /// together: so there are few enough (192) for thousands of seeds to have seen nearly all that can be.
    pub fn mark_state(&mut self, machine: &Machine, verdict: &Verdict) {
        let health = match verdict {
            Verdict::Well => 0,
            Verdict::Degraded(_) => 1,
            Verdict::Stalled(_) => 2,
        };
        self.mark_if(health == 1, Mark::Degraded);
        self.mark_if(health == 2, Mark::Stalled);
        self.backs_off = false;
        let mut some = [false; 4];
        for queue in machine.queues() {
            let counts = queue.counts;
            let (paused, waits) = (queue.paused, counts.ready + counts.scheduled > 0);
            let over_crash = paused && self.paused_in.get(queue.name).is_some_and(|life| *life < self.life);
            if paused {
                self.paused_in.entry(queue.name.to_owned()).or_insert(self.life);
            } else {
                self.paused_in.remove(queue.name);
            }
            self.marks.0 |= u128::from(paused && waits) << Mark::PausedWithWork as u32;
            self.marks.0 |= u128::from(over_crash) << Mark::PausedOverCrash as u32;
            self.backs_off |= counts.scheduled > 0;
            let here = [paused, counts.scheduled > 0, counts.ready > 0, counts.running > 0];
            some.iter_mut().zip(here).for_each(|(some, here)| *some |= here);
        }
        let flags = some.into_iter().chain([self.stopping, self.in_flight.is_some()]);
        self.states.insert(flags.fold(health, |state, flag| state << 1 | u64::from(flag)));
    }
}
