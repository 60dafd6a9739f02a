//! R9 to R29 as stories of the driver that ships: what the catalogue tells, in a small world, at every moment.
//!
//! **Invariant.** A case is a tape and what is moved on it; everything else is calm. It is clean if every world of it is, and
//! there is a bug beside it that turns it red.

use super::sweep::{Moment, Moved, sweep};
use crate::failure::Failure;
use crate::places::{Actor, Hazard, Site, What};
use crate::tape::{Choice, Tape};
use sprag_core::Bug;

/// A story of the catalogue, as sprag lives through it.
#[derive(Debug)]
pub struct Case {
    /// The row.
    pub id: &'static str,
    /// What happens, for people.
    pub about: &'static str,
    /// What makes the story, in parts.
    story: &'static [&'static [Choice]],
    /// What is moved in it.
    moved: &'static [Moved],
    /// The bug that turns it red.
    pub bug: Bug,
}

/// What came of a case.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// In so many worlds.
    pub worlds: u64,
    /// The first that is not clean.
    pub red: Option<(Tape, Failure)>,
}

impl Case {
    /// Looks at all its worlds, or up to the first that is not clean.
    pub fn explore(&self) -> Seen {
        let mut seen = Seen::default();
        sweep(&self.story.concat(), self.moved, &mut |story, report| {
            seen.worlds += 1;
            let failure = report.failure.clone();
            seen.red = failure.map(|failure| (story.iter().copied().collect(), failure));
            seen.red.is_some()
        });
        seen
    }

    /// The world in the middle: neither the first moment nor the last.
    pub fn middle(&self) -> Tape {
        let half = self.explore().worlds / 2;
        let (mut seen, mut tape) = (0, Tape::default());
        sweep(&self.story.concat(), self.moved, &mut |story, _| {
            tape = story.iter().copied().collect();
            seen += 1;
            seen > half
        });
        tape
    }
}

const WRITER: Actor = Actor::Producer(0);
const RIVAL: Actor = Actor::Producer(3);
const COMMAND: Actor = Actor::Item(0, 0);
/// Long enough for everything that begins a life to be through.
const BEGINNING_US: u64 = 300;
/// Long enough for a job to be through.
const JOB_US: u64 = 700;
const ALWAYS: u64 = u64::MAX;

const fn is(actor: Actor, site: Site, index: u32, value: u64) -> Choice {
    Choice { actor, what: What::Is(site), index, value }
}

const fn each(actor: Actor, hazard: Hazard) -> Moved {
    Moved::Each { actor, what: What::Strikes(hazard), value: 1 }
}

/// When a writer begins.
const fn begins(actor: Actor, within_us: u64) -> Moved {
    let (site, index, least_us, after) = (Site::ProducerRest, 0, 10, "");
    Moved::Moment(Moment { actor, site, index, least_us, after, within_us })
}

/// When a writer goes on after its first state.
const fn goes_on(actor: Actor, after: &'static str) -> Moved {
    let (site, index, least_us, within_us) = (Site::ProducerRest, 1, 10, JOB_US);
    Moved::Moment(Moment { actor, site, index, least_us, after, within_us })
}

/// The same, and as late as may be.
const GOES_ON_LATE: Moved = Moved::Moment(Moment {
    actor: WRITER,
    site: Site::ProducerRest,
    index: 1,
    least_us: 10,
    after: SYNCED,
    within_us: ALWAYS,
});

/// When something comes over the world, by the time since the beginning.
const fn comes(site: Site) -> Moved {
    Moved::Moment(Moment { actor: Actor::World, site, index: 1, least_us: 0, after: "", within_us: ALWAYS })
}

/// How long a writer in place rests between two pieces.
const PAUSES: Moved = Moved::Moment(Moment {
    actor: WRITER,
    site: Site::ProducerStep,
    index: 1,
    least_us: 10,
    after: "writes",
    within_us: JOB_US,
});

/// When it writes the last of its four pieces.
const LAST_PIECE: Moved = Moved::Moment(Moment {
    actor: WRITER,
    site: Site::ProducerStep,
    index: 3,
    least_us: 10,
    after: "writes /p/a.json up to byte 27",
    within_us: ALWAYS,
});

const SYNCED: &str = "syncs the folder";
/// The writer writes twice, or three times.
const TWICE: Choice = is(WRITER, Site::Revisions, 0, 2);
const THRICE: Choice = is(WRITER, Site::Revisions, 0, 3);
/// Over the file itself, and in pieces.
const IN_PLACE: Choice = is(WRITER, Site::ProducerKind, 0, 1);
const IN_PIECES: Choice = is(WRITER, Site::Pieces, 0, 3);
/// Somebody else reads the file, adds an item, and writes it back.
const WITH_RIVAL: Choice = is(WRITER, Site::Rival, 0, 1);
/// The command writes its result in pieces, and takes long.
const IS_LONG: Choice = is(COMMAND, Site::WorkTime, 0, 200_000);
/// The first execution fails.
const FAILS_ONCE: Choice = is(COMMAND, Site::Character, 0, 20);
const FAILS_ALWAYS: Choice = is(COMMAND, Site::Character, 0, 31);
/// It does not end, and does not heed TERM.
const HANGS: [Choice; 2] = [is(COMMAND, Site::Failure, 0, 3), is(COMMAND, Site::Failure, 1, 1)];
/// Results are put at a destination.
const HAS_OUTPUT: Choice = is(Actor::World, Site::Pipeline, 7, 1);
/// The heartbeat is put beside the source, too.
const HAS_STATUS: Choice = is(Actor::World, Site::Pipeline, 16, 1);
/// Somebody reads the heartbeat.
const HAS_MONITOR: Choice = is(Actor::World, Site::Monitor, 0, 1);
const ON_NETWORK: Choice = is(Actor::World, Site::Tier, 0, 1);
/// Clients on a network, each with a connection of its own. Who is rude is so for long.
const NETWORKED: &[Choice] = &[
    ON_NETWORK,
    is(Actor::Client, Site::Requests, 0, 2),
    is(Actor::Client, Site::NetManner, 0, 1),
    is(Actor::Client, Site::NetManner, 1, 1),
    is(Actor::Client, Site::NetManner, 2, 1),
    is(Actor::Client, Site::NetManner, 3, 1),
    is(Actor::Client, Site::NetSpan, 1, 99_999),
];
/// Beside one of the requests somebody asks again and again and reads no answer.
const SOMEBODY_IS_RUDE: Moved = Moved::Each { actor: Actor::Client, what: What::Is(Site::NetRude), value: 10 };
const WITH_RESERVES: Choice = is(Actor::World, Site::Pipeline, 4, 1);
const KEEPS_JOBS: Choice = is(Actor::World, Site::Pipeline, 10, 1);
/// Of four jobs whose starts are reserved ahead the last fails, and leaves a process behind that takes long to die.
const LEFT_BEHIND: &[Choice] = &[
    WITH_RESERVES,
    KEEPS_JOBS,
    TWICE,
    is(WRITER, Site::NewItems, 1, 2),
    is(Actor::Item(0, 3), Site::Character, 0, 20),
    is(Actor::Item(0, 3), Site::Grandchild, 0, 1),
    is(Actor::World, Site::DyingTime, 0, 24_000),
];
/// Whatever dies takes long, the first time.
const DIES_SLOWLY: Choice =
    Choice { actor: Actor::World, what: What::Strikes(Hazard::DyingTakesLong), index: 0, value: 1 };
const KILLED: Choice = is(Actor::World, Site::LifeEnd, 0, 1);
const POWER_CUT: Choice = is(Actor::World, Site::LifeEnd, 0, 2);

/// All of them, in the order of the catalogue.
pub const CASES: &[Case] = &[
    Case {
        id: "R9",
        about: "a source does not answer for long, and neither does the command",
        story: &[&[FAILS_ONCE, HANGS[0], HANGS[1]]],
        moved: &[each(Actor::Sprag, Hazard::SourceIsSlow), each(Actor::Sprag, Hazard::Stall)],
        bug: Bug::KillForgotten,
    },
    Case {
        id: "R10",
        about: "somebody asks again and again and reads no answer",
        story: &[NETWORKED],
        moved: &[SOMEBODY_IS_RUDE],
        bug: Bug::ClientsInTurn,
    },
    Case {
        id: "R10",
        about: "somebody asks again and again and reads no answer, and the command ends meanwhile",
        story: &[&[ON_NETWORK, IS_LONG]],
        moved: &[SOMEBODY_IS_RUDE],
        bug: Bug::BatchLost,
    },
    Case {
        id: "R11",
        about: "the file is replaced, and replaced again",
        story: &[&[THRICE, is(WRITER, Site::ProducerRest, 2, 100_000)]],
        moved: &[begins(WRITER, BEGINNING_US), goes_on(WRITER, SYNCED)],
        bug: Bug::FileWatched,
    },
    Case {
        id: "R12",
        about: "the file appears by a rename, and nothing else tells of it",
        story: &[],
        moved: &[begins(WRITER, ALWAYS)],
        bug: Bug::RenameUnheard,
    },
    Case {
        id: "R13",
        about: "a look or a watch takes long, and meanwhile the last piece of the file is written",
        story: &[&[IN_PLACE, IN_PIECES, is(Actor::Sprag, Site::Slow, 0, 40_000)]],
        moved: &[each(Actor::Sprag, Hazard::SourceIsSlow), LAST_PIECE],
        bug: Bug::LookBeforeArm,
    },
    Case {
        id: "R14",
        about: "the queue of change events overflows, and the file changes",
        story: &[&[TWICE]],
        moved: &[GOES_ON_LATE, each(Actor::Watch, Hazard::EventsOverflow)],
        bug: Bug::OverflowUnheard,
    },
    Case {
        id: "R15",
        about: "what sprag writes lies in a folder that it watches",
        story: &[&[HAS_STATUS, HAS_OUTPUT, TWICE]],
        moved: &[begins(WRITER, ALWAYS)],
        bug: Bug::OwnWritesHeard,
    },
    Case {
        id: "R16",
        about: "the file is written over in place, in pieces, with a rest in between",
        story: &[&[IN_PLACE, IN_PIECES]],
        moved: &[begins(WRITER, BEGINNING_US), PAUSES],
        bug: Bug::TornRead,
    },
    Case {
        id: "R17",
        about: "two read the file, change it and write it back; what was lost is there again when sprag was started anew",
        story: &[&[
            WITH_RIVAL,
            THRICE,
            is(WRITER, Site::ProducerRest, 2, 5_000),
            KILLED,
            is(Actor::World, Site::LifeSteps, 1, 350),
        ]],
        moved: &[begins(RIVAL, BEGINNING_US), goes_on(WRITER, SYNCED)],
        bug: Bug::KeyForgotten,
    },
    Case {
        id: "R18",
        about: "a process that an attempt has left behind holds the lock on its input, and takes long to die",
        story: &[LEFT_BEHIND],
        moved: &[goes_on(WRITER, SYNCED), each(Actor::World, Hazard::DyingTakesLong)],
        bug: Bug::ProofSkipped,
    },
    Case {
        id: "R19",
        about: "two write the file by way of the same temporary name",
        story: &[&[WITH_RIVAL, THRICE, is(RIVAL, Site::ProducerKind, 0, 1), is(RIVAL, Site::Pieces, 0, 3)]],
        moved: &[begins(RIVAL, BEGINNING_US), goes_on(WRITER, SYNCED)],
        bug: Bug::TornRead,
    },
    Case {
        id: "R20",
        about: "the file changes while it is read",
        story: &[&[TWICE]],
        moved: &[begins(WRITER, BEGINNING_US), goes_on(WRITER, SYNCED)],
        bug: Bug::TimeForContent,
    },
    Case {
        id: "R21",
        about: "the file is replaced within a tick, and the calendar goes back",
        story: &[&[TWICE, is(Actor::World, Site::WallStep, 0, 2), is(Actor::World, Site::WallStep, 3, 1)]],
        moved: &[goes_on(WRITER, SYNCED), comes(Site::WallStep)],
        bug: Bug::TimeForContent,
    },
    Case {
        id: "R22",
        about: "sprag is killed at each of its steps",
        story: &[&[KILLED, FAILS_ONCE]],
        moved: &[Moved::End],
        bug: Bug::NothingWithheld,
    },
    Case {
        id: "R22",
        about: "the power is cut at each of its steps, and what was not synced is lost",
        story: &[&[POWER_CUT]],
        moved: &[Moved::End, Moved::Each { actor: Actor::Disk, what: What::Is(Site::PowerCutImage), value: 1 }],
        bug: Bug::AckBeforeSync,
    },
    Case {
        id: "R22",
        about: "sprag is asked to stop, and about a job while it does",
        story: &[&[
            KEEPS_JOBS,
            is(Actor::Client, Site::Requests, 0, 2),
            is(Actor::Client, Site::Request, 0, 10),
            is(Actor::Client, Site::Request, 2, 9),
        ]],
        moved: &[Moved::Moment(Moment {
            actor: Actor::Client,
            site: Site::ProducerRest,
            index: 0,
            least_us: 10,
            after: "asks, request 1",
            within_us: JOB_US,
        })],
        bug: Bug::EndsUnanswered,
    },
    Case {
        id: "R23",
        about: "a result moves to its destination, and sprag is killed at each step of that",
        story: &[&[KILLED, HAS_OUTPUT]],
        moved: &[Moved::End],
        bug: Bug::PublishForgotten,
    },
    Case {
        id: "R24",
        about: "a source cannot be parsed when it is looked at, and is mended later",
        story: &[&[IN_PLACE, IN_PIECES, HAS_MONITOR]],
        moved: &[begins(WRITER, BEGINNING_US), PAUSES],
        bug: Bug::ParseErrorEndsSource,
    },
    Case {
        id: "R25",
        about: "the machine sleeps while a command runs",
        story: &[&[IS_LONG, is(Actor::World, Site::Sleep, 0, 2), is(Actor::World, Site::Sleep, 2, 5_000)]],
        moved: &[comes(Site::Sleep)],
        bug: Bug::SleepCounts,
    },
    Case {
        id: "R25",
        about: "the calendar jumps ahead while a job waits for its next attempt",
        story: &[&[FAILS_ONCE, is(Actor::World, Site::WallStep, 0, 2), is(Actor::World, Site::WallStep, 2, 5_000)]],
        moved: &[comes(Site::WallStep)],
        bug: Bug::DelayOnCalendar,
    },
    Case {
        id: "R26",
        about: "a command never succeeds, and each attempt of it takes long to start",
        story: &[&[FAILS_ALWAYS]],
        moved: &[each(Actor::Sprag, Hazard::Stall)],
        bug: Bug::FailureUncounted,
    },
    Case {
        id: "R27",
        about: "the same, and sprag is killed: who is alive is asked by another life",
        story: &[&[KILLED, DIES_SLOWLY], LEFT_BEHIND],
        moved: &[Moved::End],
        bug: Bug::ProofSkipped,
    },
    Case {
        id: "R28",
        about: "a command fails and leaves a process behind, the next attempt is due, and the look for it fails",
        story: &[LEFT_BEHIND],
        moved: &[each(Actor::World, Hazard::DyingTakesLong), each(Actor::Sprag, Hazard::SweepFails)],
        bug: Bug::DeathAssumed,
    },
    Case {
        id: "R29",
        about: "a job is cancelled, and sprag is killed before its command has ended; somebody starts it again",
        story: &[&[
            KILLED,
            IS_LONG,
            is(Actor::Client, Site::Requests, 0, 2),
            is(Actor::Client, Site::Request, 0, 3),
            is(Actor::Client, Site::ProducerRest, 0, 20_000),
        ]],
        moved: &[Moved::End],
        bug: Bug::CancelForgotten,
    },
];
