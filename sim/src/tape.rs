//! The tape: the choices of a run that differ from "nothing goes wrong, and nothing takes longer than it must".
//!
//! **Invariant.** A run is a function of its tape. A place that is not on it draws 0, so every subset of a tape is a tape:
//! that is what shrinking, fuzzing and saved traces stand on.

use crate::places::{Actor, Hazard, Site, What};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A choice that differs from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Choice {
    /// Who chose.
    pub actor: Actor,
    /// What.
    pub what: What,
    /// How often they had been asked this before.
    pub index: u32,
    /// What was chosen. Never 0.
    pub value: u64,
}

/// A choice in a file.
type Written = (String, What, u32, u64);

impl From<Choice> for Written {
    fn from(choice: Choice) -> Written {
        (choice.actor.to_string(), choice.what, choice.index, choice.value)
    }
}

impl TryFrom<Written> for Choice {
    type Error = String;

    fn try_from((actor, what, index, value): Written) -> Result<Choice, String> {
        Ok(Choice { actor: actor.parse()?, what, index, value })
    }
}

impl Choice {
    /// Where it is made.
    fn place(&self) -> (u64, u32) {
        (place(self.actor, self.what), self.index)
    }

    /// Whether something goes wrong by it.
    pub fn strikes(&self) -> bool {
        matches!(self.what, What::Strikes(_))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Choice { actor, what, index, value } = self;
        match what {
            What::Strikes(_) => write!(f, "{actor} {what} #{index}"),
            What::Is(_) => write!(f, "{actor} {what} #{index} = {value}"),
        }
    }
}

/// A place as one number, its index aside.
pub(crate) fn place(actor: Actor, what: What) -> u64 {
    actor.code() << 8 | what.number()
}

/// What a run is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    choices: BTreeMap<(u64, u32), Choice>,
    /// Values come from arbitrary bytes: each is brought below its bound by dividing, instead of being cut.
    wraps: bool,
}

impl FromIterator<Choice> for Tape {
    fn from_iter<I: IntoIterator<Item = Choice>>(choices: I) -> Tape {
        let kept = choices.into_iter().filter(|choice| choice.value != 0);
        Tape { choices: kept.map(|choice| (choice.place(), choice)).collect(), wraps: false }
    }
}

/// What bytes may speak of, by the number in the first byte.
pub(crate) const FROM_BYTES: [What; 68] = [
    What::Is(Site::Pipeline),
    What::Is(Site::Identity),
    What::Is(Site::CallTime),
    What::Is(Site::SyncTime),
    What::Is(Site::TaskDelay),
    What::Is(Site::AnswerDelay),
    What::Is(Site::JournalDelay),
    What::Is(Site::HandleTime),
    What::Is(Site::TickLate),
    What::Is(Site::CallError),
    What::Is(Site::ShortWrite),
    What::Is(Site::KillBytes),
    What::Is(Site::LifeEnd),
    What::Is(Site::LifeSteps),
    What::Is(Site::StopEnd),
    What::Is(Site::RestartDelay),
    What::Is(Site::HealAt),
    What::Is(Site::PowerCutImage),
    What::Is(Site::WallStep),
    What::Is(Site::DiskFull),
    What::Is(Site::Sleep),
    What::Is(Site::EventDelay),
    What::Is(Site::ProducerKind),
    What::Is(Site::Revisions),
    What::Is(Site::NewItems),
    What::Is(Site::Order),
    What::Is(Site::Layout),
    What::Is(Site::Pieces),
    What::Is(Site::ProducerStep),
    What::Is(Site::ProducerRest),
    What::Is(Site::Hurry),
    What::Is(Site::Requests),
    What::Is(Site::Request),
    What::Is(Site::ServiceTime),
    What::Is(Site::Character),
    What::Is(Site::Failure),
    What::Is(Site::Manner),
    What::Is(Site::WorkSteps),
    What::Is(Site::WorkTime),
    What::Is(Site::Grandchild),
    What::Is(Site::DyingTime),
    What::Is(Site::Shape),
    What::Is(Site::Linked),
    What::Is(Site::Rival),
    What::Is(Site::Bounds),
    What::Is(Site::Stopped),
    What::Is(Site::Frozen),
    What::Is(Site::Monitor),
    What::Is(Site::Services),
    What::Is(Site::Away),
    // The rare ones twice.
    What::Is(Site::LifeEnd),
    What::Is(Site::LifeSteps),
    What::Is(Site::HealAt),
    What::Is(Site::PowerCutImage),
    What::Strikes(Hazard::CallFails),
    What::Strikes(Hazard::WriteIsShort),
    What::Strikes(Hazard::SyncIsLost),
    What::Strikes(Hazard::EventIsLost),
    What::Strikes(Hazard::EventIsLate),
    What::Strikes(Hazard::EventsOverflow),
    What::Strikes(Hazard::WatchIsRefused),
    What::Strikes(Hazard::SpawnIsRefused),
    What::Strikes(Hazard::SweepFails),
    What::Strikes(Hazard::DyingTakesLong),
    What::Strikes(Hazard::Stall),
    What::Strikes(Hazard::SourceIsSlow),
    What::Strikes(Hazard::CalmCallFails),
    What::Is(Site::Slow),
];

/// Who a byte speaks of.
fn actor_from(byte: u8) -> Actor {
    match byte % 8 {
        0 => Actor::World,
        1 => Actor::Sprag,
        2 => Actor::Disk,
        3 => Actor::Watch,
        4 => Actor::Client,
        5 | 6 => Actor::Producer((byte % 8 - 5) + 2 * (byte / 8 % 3)),
        _ => Actor::Item(byte / 8 % 2, u16::from(byte / 16)),
    }
}

/// So many bytes make a choice: what, who, index, value.
const CHOICE_BYTES: usize = 6;

impl Tape {
    /// The tape that arbitrary bytes stand for, six for each choice; what is left over is not used. For fuzzing: whatever
    /// happens to one choice's bytes leaves the others what they were.
    pub fn from_bytes(bytes: &[u8]) -> Tape {
        let choices = bytes.as_chunks::<CHOICE_BYTES>().0.iter().map(|[what, who, i, j, v, w]| {
            let (what, actor) = (FROM_BYTES[usize::from(*what) % FROM_BYTES.len()], actor_from(*who));
            let (index, value) = (u16::from_le_bytes([*i, *j]), u16::from_le_bytes([*v, *w]));
            Choice { actor, what, index: index.into(), value: value.into() }
        });
        Tape { wraps: true, ..choices.collect() }
    }

    /// The choice at a place, brought below `n`; with whether that was needed.
    pub(crate) fn at(&self, place: u64, index: u32, n: u64) -> Option<(u64, bool)> {
        let value = self.choices.get(&(place, index))?.value;
        Some(match (value < n, self.wraps) {
            (true, _) => (value, false),
            (false, true) => (value % n, false),
            (false, false) => (n - 1, true),
        })
    }

    /// Its choices, ordered by actor and place.
    pub fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.choices.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.choices.len()
    }

    /// Whether nothing differs from the calmest world.
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }
}

impl crate::run::Report {
    /// The tape that makes this run again.
    pub fn tape(&self) -> Tape {
        self.choices.iter().copied().collect()
    }
}
