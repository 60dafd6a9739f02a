//! Who chooses, where, and what can go wrong: the names under which a choice is found again.
//!
//! **Invariant.** Numbers and names are part of what a seed or a saved trace means: never change one, never use one again.
//! A name stands for one place: no [`Site`] is called like a [`Hazard`].

use crate::trace::name_of;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Who chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Clocks, disk space, what the seed's world is like.
    World,
    /// The program under test: how long its calls take, what fails, when it dies.
    Sprag,
    /// The kernel's file system at a power cut.
    Disk,
    /// The kernel's change events.
    Watch,
    /// Whoever asks: clients and operators.
    Client,
    /// Whoever writes a source, fills the drop-box, or writes a source beside another; by their place.
    Producer(u8),
    /// The script that works on an item: (source, item).
    Item(u8, u16),
}

macro_rules! sites {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal,)+) => {
        /// Where a choice is made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "named after the questions they answer")]
        pub enum Site {
            $($(#[doc = $doc])* $name = $number,)+
        }

        impl Site {
            /// All of them.
            pub const ALL: &[Site] = &[$(Site::$name),+];
        }
    };
}

sites! {
    Pipeline = 3,
    Identity = 4,
    Shape = 5,
    Linked = 6,
    Rival = 7,
    Bounds = 8,
    Services = 9,
    CallTime = 10,
    SyncTime = 11,
    TaskDelay = 12,
    AnswerDelay = 13,
    JournalDelay = 14,
    HandleTime = 15,
    TickLate = 16,
    CallError = 20,
    ShortWrite = 21,
    ShortRead = 29,
    KillBytes = 22,
    LifeEnd = 23,
    LifeSteps = 24,
    StopEnd = 28,
    RestartDelay = 25,
    HealAt = 26,
    PowerCutImage = 27,
    WallStep = 30,
    Sleep = 32,
    DiskFull = 31,
    Frozen = 33,
    EventDelay = 40,
    ProducerKind = 50,
    Revisions = 51,
    NewItems = 52,
    Order = 53,
    Layout = 54,
    Pieces = 55,
    ProducerStep = 56,
    ProducerRest = 57,
    Hurry = 58,
    Slow = 73,
    Away = 59,
    Removes = 74,
    Character = 60,
    Failure = 61,
    Manner = 62,
    WorkSteps = 63,
    WorkTime = 64,
    Grandchild = 65,
    DyingTime = 66,
    ServiceTime = 67,
    Stopped = 68,
    Fork = 69,
    Requests = 70,
    Request = 71,
    Monitor = 72,
    /// Asked first of all: 1 for tier 2.
    Tier = 89,
    NetSeed = 90,
    NetLatency = 91,
    NetFault = 92,
    NetManner = 93,
    NetRude = 94,
    NetSpan = 95,
    Burst = 96,
    /// Asked by nobody but the test that shows that a new place moves no other.
    Spare = 99,
}

/// What can go wrong, each at a rate that is drawn for the seed: off in half of all seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hazard {
    /// A file system call of sprag fails.
    CallFails,
    /// A write takes less than it was given.
    WriteIsShort,
    /// A sync fails and drops what was to be written.
    SyncIsLost,
    /// A change event never comes.
    EventIsLost,
    /// A change event comes seconds late.
    EventIsLate,
    /// The kernel's queue of events overflows: everything may have changed.
    EventsOverflow,
    /// A path cannot be watched.
    WatchIsRefused,
    /// The system has no process to spare.
    SpawnIsRefused,
    /// The processes cannot be looked through.
    SweepFails,
    /// A process that was killed does not die for a while.
    DyingTakesLong,
    /// A task, an answer or the journal thread waits a thousand times longer.
    Stall,
    /// A source takes long to look at or to watch: a slow mount.
    SourceIsSlow,
    /// A call fails that sprag takes calmly: on a file in the drop-box, or on how much room there is.
    CalmCallFails,
    /// A read gives less than there is, or a read or a write is interrupted.
    ReadIsShort,
}

impl Hazard {
    /// All of them. The place in here is part of what a seed means: add at the end.
    pub const ALL: [Hazard; 14] = [
        Hazard::CallFails,
        Hazard::WriteIsShort,
        Hazard::SyncIsLost,
        Hazard::EventIsLost,
        Hazard::EventIsLate,
        Hazard::EventsOverflow,
        Hazard::WatchIsRefused,
        Hazard::SpawnIsRefused,
        Hazard::SweepFails,
        Hazard::DyingTakesLong,
        Hazard::Stall,
        Hazard::SourceIsSlow,
        Hazard::CalmCallFails,
        Hazard::ReadIsShort,
    ];

    /// Strikes per million opportunities, at most.
    pub fn ppm_max(self) -> u64 {
        match self {
            Hazard::CallFails => 10_000,
            Hazard::WriteIsShort => 200_000,
            Hazard::SyncIsLost => 60_000,
            Hazard::EventIsLost => 900_000,
            Hazard::EventIsLate => 500_000,
            Hazard::EventsOverflow => 100_000,
            Hazard::WatchIsRefused => 500_000,
            Hazard::SpawnIsRefused => 300_000,
            Hazard::SweepFails => 300_000,
            Hazard::DyingTakesLong => 500_000,
            Hazard::Stall => 3_000,
            Hazard::SourceIsSlow => 400_000,
            Hazard::CalmCallFails => 200_000,
            Hazard::ReadIsShort => 200_000,
        }
    }
}

/// What is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum What {
    /// How something is.
    Is(Site),
    /// Whether this goes wrong.
    Strikes(Hazard),
}

impl What {
    /// Its number, below [`What::NUMBERS`].
    pub fn number(self) -> u64 {
        match self {
            What::Is(site) => site as u64,
            What::Strikes(hazard) => 100 + hazard as u64,
        }
    }

    /// No number is as large.
    pub const NUMBERS: u64 = 128;
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Is(site) => write!(f, "{site:?}"),
            What::Strikes(hazard) => write!(f, "{hazard:?}"),
        }
    }
}

impl Actor {
    /// The actors that are always there, each with its place among them.
    pub const LASTING: u64 = 12;

    /// Its number: below [`Actor::LASTING`] for those that are always there.
    pub fn code(self) -> u64 {
        match self {
            Actor::World => 0,
            Actor::Sprag => 1,
            Actor::Disk => 2,
            Actor::Watch => 3,
            Actor::Client => 4,
            Actor::Producer(source) => 5 + u64::from(source),
            Actor::Item(source, item) => 1 << 32 | u64::from(source) << 16 | u64::from(item),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::World => f.pad("world"),
            Actor::Sprag => f.pad("sprag"),
            Actor::Disk => f.pad("disk"),
            Actor::Watch => f.pad("watch"),
            Actor::Client => f.pad("client"),
            Actor::Producer(source) => f.pad(&format!("producer {}", name_of(*source))),
            Actor::Item(source, item) => f.pad(&format!("job {}-{item}", name_of(*source))),
        }
    }
}

impl FromStr for Actor {
    type Err = String;

    fn from_str(text: &str) -> Result<Actor, String> {
        let source = |name: &str| match name.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(letter - b'a'),
            _ => None,
        };
        let found = match text {
            "world" => Some(Actor::World),
            "sprag" => Some(Actor::Sprag),
            "disk" => Some(Actor::Disk),
            "watch" => Some(Actor::Watch),
            "client" => Some(Actor::Client),
            _ => match text.split_once(' ') {
                Some(("producer", name)) => source(name).map(Actor::Producer),
                Some(("job", name)) => {
                    name.split_once('-').and_then(|(name, item)| Some(Actor::Item(source(name)?, item.parse().ok()?)))
                }
                Some(_) | None => None,
            },
        };
        found.ok_or_else(|| format!("there is no actor `{text}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_place() {
        for actor in [Actor::World, Actor::Disk, Actor::Producer(1), Actor::Item(1, 12)] {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        for what in [What::Is(Site::KillBytes), What::Strikes(Hazard::Stall)] {
            assert_eq!(serde_json::from_value::<What>(serde_json::json!(what.to_string())).unwrap(), what);
        }
        assert!("producer ab".parse::<Actor>().is_err());
    }

    #[test]
    fn every_site_has_a_number_of_its_own_below_those_of_hazards() {
        let numbers: std::collections::BTreeSet<u64> = Site::ALL.iter().map(|site| What::Is(*site).number()).collect();
        assert_eq!(numbers.len(), Site::ALL.len());
        assert!(numbers.iter().all(|number| *number < What::Strikes(Hazard::ALL[0]).number()));
    }

    #[test]
    fn every_hazard_stands_at_its_place() {
        for (place, hazard) in Hazard::ALL.into_iter().enumerate() {
            assert_eq!(hazard as usize, place);
            assert!(What::Strikes(hazard).number() < What::NUMBERS);
            // A site of that name would be read back as the site.
            let name = serde_json::json!(format!("{hazard:?}"));
            assert_eq!(serde_json::from_value::<What>(name).unwrap(), What::Strikes(hazard));
        }
    }
}
