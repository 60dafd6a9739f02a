//! Bugs that can be planted, so that the simulator can show that it would find them.
//!
//! **Invariant.** Without the feature `planted` [`planted`] is a constant false, and no bug is in the program. With it, at
//! most one bug is alive in a thread at a time, and it was asked for by name.

/// What a planted thing is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It must be found.
    Bug,
    /// No bug: all must be well with it too.
    Control,
    /// Two runs of one seed must differ by it, and that must be noticed.
    Leak,
}

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $name:ident: $role:ident,)+) => {
        /// A known way to get it wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$name),+];

            /// What it is there for.
            pub const fn role(self) -> Role {
                match self {
                    $(Bug::$name => Role::$role,)+
                }
            }

            /// What is wrong with it, in a sentence.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Bug::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

bugs! {
    /// Sources are not looked at again but after events, and no event is lost.
    NoRescan: Control,
    /// The simulator makes a choice that has no effect.
    SpareChoice: Control,
    /// The simulator does things in the order of a hash.
    HashOrder: Leak,
    /// The simulator looks at a real clock.
    RealClock: Leak,
    /// As `NoRescan`; and the dirty mark is cleared after the look instead of before.
    LostWakeUp: Bug,
    /// As `NoRescan`; and a source is watched only after the first look at it, and not looked at then.
    LookBeforeArm: Bug,
    /// As `NoRescan`; and the file itself is watched, not its folder.
    FileWatched: Bug,
    /// An event of any name tells of a source, and each look at it is told in the heartbeat at once.
    OwnWritesHeard: Bug,
    /// As `NoRescan`; and the kernel is not asked for renames.
    RenameUnheard: Bug,
    /// As `NoRescan`; and that events were lost is not heard.
    OverflowUnheard: Bug,
    /// What can be taken from a half-written array is taken.
    TornRead: Bug,
    /// A source that could not be parsed is never looked at again.
    ParseErrorEndsSource: Bug,
    /// A source is taken for unchanged when its time is what it was after it was read last.
    TimeForContent: Bug,
    /// What the Machine refused for want of room is not offered again.
    RefusedForgotten: Bug,
    /// A frame is called durable after the write, before the sync.
    AckBeforeSync: Bug,
    /// A sync that failed is tried again, and believed.
    SyncRetried: Bug,
    /// A write that took less than it was given is taken for whole.
    ShortWriteTrusted: Bug,
    /// A new segment's name is not made durable.
    NameNotSynced: Bug,
    /// Recovery leaves filler where it stands, though a failed sync may have dropped it. Was once a bug.
    FillerTrusted: Bug,
    /// Recovery takes the last frame for durable because it can be read.
    LastFrameTrusted: Bug,
    /// Recovery does not make durable what it has cut.
    CutNotSynced: Bug,
    /// A frame is not held against the length, the number of records and the checksum of its commit line.
    FrameUnchecked: Bug,
    /// Segments are removed when the newest snapshot covers them, and it is not durable yet.
    PrunedEarly: Bug,
    /// A life goes on under the epoch of the one before it.
    EpochKept: Bug,
    /// A snapshot is named before it is durable.
    SnapshotNotSynced: Bug,
    /// A snapshot is believed without its checksum.
    SnapshotUnverified: Bug,
    /// The keys of forgotten jobs are left out of a snapshot.
    KeysNotInSnapshot: Bug,
    /// Answers and starts do not wait for their records: an attempt counts after it was executed.
    NothingWithheld: Bug,
    /// Processes of an earlier life are left alone unless an attempt on record names them.
    EpochUnchecked: Bug,
    /// An answer about an earlier attempt of a job is taken for one about this.
    FenceIgnored: Bug,
    /// Leftovers are called dead without a proof.
    ProofSkipped: Bug,
    /// An attempt is over when its command is, whatever it left behind.
    DeathAssumed: Bug,
    /// Of a command that ignores TERM nothing more is asked.
    KillForgotten: Bug,
    /// A timeout runs from before the command was executed.
    TimeoutEarly: Bug,
    /// While the machine sleeps, the timeout of a command goes on.
    SleepCounts: Bug,
    /// A wait is over one millisecond after the tick that was asked for it.
    TimerOffByOne: Bug,
    /// Waits are measured by the calendar, which may jump.
    DelayOnCalendar: Bug,
    /// The longest wait between two attempts is not kept.
    RetryUncapped: Bug,
    /// Failed attempts are not counted.
    FailureUncounted: Bug,
    /// Queues are no longer paused after a restart.
    PauseForgotten: Bug,
    /// A command that ends before it is killed decides the end of a job that was cancelled.
    CancelLoses: Bug,
    /// A cancel is forgotten when sprag dies before the attempt does.
    CancelForgotten: Bug,
    /// The key of a forgotten job is forgotten with it.
    KeyForgotten: Bug,
    /// A client is not answered while other records wait.
    AnswerLost: Bug,
    /// Sprag ends while somebody waits to be told of jobs.
    EndsUnanswered: Bug,
    /// A result is recorded before it is durable.
    ResultNotSynced: Bug,
    /// A result at its destination is called published before it is durable.
    DestinationNotSynced: Bug,
    /// A result that waited when sprag died is not published by the next.
    PublishForgotten: Bug,
    /// A result that stands at its destination is put there once more.
    PublishedTwice: Bug,
    /// The heartbeat is fresh and says well, whatever health is.
    FreshWhileStuck: Bug,
    /// What does not move is called healthy.
    StallHealthy: Bug,
    /// The folders of the drop-box are not made durable. Was once a bug.
    InboxNotSynced: Bug,
    /// A drop-box file that cannot be read is taken for one that is no job. Was once a bug.
    UnreadRejected: Bug,
    /// A drop-box file is removed as soon as it was read.
    DroppedEarly: Bug,
    /// While the machine sleeps, a file in a folder comes to rest. Was once a bug.
    SleepSettles: Bug,
    /// A file in a folder is offered when it is first seen.
    UnsettledTaken: Bug,
    /// What stands behind the last newline is taken for a line.
    HalfLineTaken: Bug,
    /// What the Machine refused is offered again at once, and again. Was once a bug.
    RefusedAtOnce: Bug,
    /// Services are started before those of an earlier life are proved dead.
    ServiceTwice: Bug,
    /// A service that is to be kept is not started again.
    ServiceForgotten: Bug,
    /// A service is started by a life that does not yet stand in the journal, and is nobody's after it. Was once a bug.
    ServiceOutlives: Bug,
    /// A service that is to be started is waited for though none may be. Was once a bug.
    ServiceSpins: Bug,
    /// The heartbeat is written over in place.
    StatusInPlace: Bug,
    /// While room is short, the snapshot before the newest one stays. Was once a bug.
    OldSnapshotStays: Bug,
    /// While room is short, records at rest wait for a segment that is long enough. Was once a bug.
    RestNotFinished: Bug,
    /// When the disk cannot be measured, it is forgotten that it was nearly full. Was once a bug.
    RoomUnknown: Bug,
    /// Listeners are told of records that are not durable yet.
    ToldEarly: Bug,
    /// Listeners are told the key of a new job with the records beside it. Was once a bug.
    KeyToldOfOther: Bug,
    /// Of two jobs that wait, the one that came last starts first.
    LastComeFirst: Bug,
    /// The priority of a job is forgotten when sprag starts again.
    PriorityForgotten: Bug,
    /// The key of a forgotten job is let go though its item stands in a source.
    KeyLetGo: Bug,
    /// A tick is asked for though it can lead to nothing. Was once a bug.
    BusyLoop: Bug,
    /// A job whose reservation was given back is reserved ahead again.
    StrictForgotten: Bug,
    /// A cancel that comes while the command is being executed does not end it.
    CancelMissesStart: Bug,
    /// A reservation that was not used when sprag died is held against the job.
    ReservationCounts: Bug,
    /// A proof of death that could not be given is not asked for again.
    ProofAskedOnce: Bug,
    /// Recovery does not make the names of segments durable.
    NamesTrusted: Bug,
    /// The flight recorder is not told that sprag was asked to pause, cancel or try again.
    InputNotRecorded: Bug,
    /// The flight recorder leaves out which queues have short jobs, and that starts are held.
    VolatileForgotten: Bug,
    /// Clients are served one after the other, so that a slow one keeps all others waiting.
    ClientsInTurn: Bug,
    /// A request gets a number that another one has which still waits.
    TicketReused: Bug,
    /// What comes while the loop lets others go first is lost.
    BatchLost: Bug,
    /// A line of a stream is acknowledged when the loop has it, before its record is durable.
    StreamAcksEarly: Bug,
    /// A command is given twice its timeout.
    TimeoutLate: Bug,
    /// A job that waits for its time is woken two seconds later.
    WakeLate: Bug,
    /// In each queue one more command runs than there are places.
    OnePlaceMore: Bug,
    /// That sprag died during an attempt is not counted.
    CrashUncounted: Bug,
    /// A job that is tried again from the start comes after all others.
    RedrivenLast: Bug,
    /// A read that gives less than there is is taken for the end of the file.
    ShortReadTrusted: Bug,
}

impl Bug {
    /// Whether it is one of the loop on tokio or of the control API, which tier 2 of the simulator runs and tier 1 does not.
    pub const fn is_of_the_adapter(self) -> bool {
        matches!(self, Bug::ClientsInTurn | Bug::TicketReused | Bug::BatchLost | Bug::StreamAcksEarly)
    }

    /// Whether it takes the periodic look at sources away.
    pub const fn stops_rescan(self) -> bool {
        let of_the_driver = matches!(self, Bug::NoRescan | Bug::LostWakeUp | Bug::LookBeforeArm);
        of_the_driver || matches!(self, Bug::FileWatched | Bug::RenameUnheard | Bug::OverflowUnheard)
    }
}

/// Whether this bug is alive: never.
#[cfg(not(feature = "planted"))]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use alive::{plant, planted};

#[cfg(feature = "planted")]
mod alive {
    use super::Bug;
    use core::cell::Cell;

    thread_local! {
        static ALIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Makes one bug, or none, alive in this thread.
    pub fn plant(bug: Option<Bug>) {
        ALIVE.set(bug);
    }

    /// Whether this bug is alive in this thread.
    pub fn planted(bug: Bug) -> bool {
        ALIVE.get() == Some(bug)
    }
}

/// Whether a bug is alive that takes the periodic look at sources away.
pub fn rescan_is_off() -> bool {
    Bug::ALL.iter().any(|bug| bug.stops_rescan() && planted(*bug))
}
