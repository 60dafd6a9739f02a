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

/// The places that bytes may speak of, by the number in the first byte.
const FROM_BYTES: [(fn(u8) -> Actor, What); 50] = {
    const fn world(_: u8) -> Actor {
        Actor::World
    }
    const fn sprag(_: u8) -> Actor {
        Actor::Sprag
    }
    const fn disk(_: u8) -> Actor {
        Actor::Disk
    }
    const fn watch(_: u8) -> Actor {
        Actor::Watch
    }
    const fn producer(which: u8) -> Actor {
        Actor::Producer(which % 2)
    }
    const fn item(which: u8) -> Actor {
        Actor::Item(which % 2, (which / 2) as u16 % 32)
    }
    [
        (world, What::Is(Site::Pipeline)),
        (world, What::Is(Site::Pipeline)),
        (world, What::Is(Site::Identity)),
        (sprag, What::Is(Site::CallTime)),
        (sprag, What::Is(Site::SyncTime)),
        (sprag, What::Is(Site::TaskDelay)),
        (sprag, What::Is(Site::AnswerDelay)),
        (sprag, What::Is(Site::JournalDelay)),
        (sprag, What::Is(Site::HandleTime)),
        (sprag, What::Is(Site::TickLate)),
        (sprag, What::Is(Site::CallError)),
        (sprag, What::Is(Site::ShortWrite)),
        (sprag, What::Is(Site::KillBytes)),
        (world, What::Is(Site::LifeEnd)),
        (world, What::Is(Site::LifeEnd)),
        (world, What::Is(Site::LifeSteps)),
        (world, What::Is(Site::LifeSteps)),
        (world, What::Is(Site::RestartDelay)),
        (world, What::Is(Site::HealAt)),
        (world, What::Is(Site::HealAt)),
        (disk, What::Is(Site::PowerCutImage)),
        (disk, What::Is(Site::PowerCutImage)),
        (world, What::Is(Site::WallStep)),
        (world, What::Is(Site::DiskFull)),
        (watch, What::Is(Site::EventDelay)),
        (producer, What::Is(Site::ProducerKind)),
        (producer, What::Is(Site::Revisions)),
        (producer, What::Is(Site::NewItems)),
        (producer, What::Is(Site::Order)),
        (producer, What::Is(Site::Layout)),
        (producer, What::Is(Site::Pieces)),
        (producer, What::Is(Site::ProducerStep)),
        (producer, What::Is(Site::ProducerRest)),
        (item, What::Is(Site::Character)),
        (item, What::Is(Site::Failure)),
        (item, What::Is(Site::Manner)),
        (item, What::Is(Site::WorkSteps)),
        (item, What::Is(Site::WorkTime)),
        (item, What::Is(Site::Grandchild)),
        (sprag, What::Strikes(Hazard::CallFails)),
        (sprag, What::Strikes(Hazard::WriteIsShort)),
        (sprag, What::Strikes(Hazard::SyncIsLost)),
        (watch, What::Strikes(Hazard::EventIsLost)),
        (watch, What::Strikes(Hazard::EventIsLate)),
        (watch, What::Strikes(Hazard::EventsOverflow)),
        (watch, What::Strikes(Hazard::WatchIsRefused)),
        (sprag, What::Strikes(Hazard::SpawnIsRefused)),
        (sprag, What::Strikes(Hazard::SweepFails)),
        (world, What::Strikes(Hazard::DyingTakesLong)),
        (sprag, What::Strikes(Hazard::Stall)),
    ]
};
/// So many bytes make a choice: what, who, index, value.
const CHOICE_BYTES: usize = 6;

impl Tape {
    /// The tape that arbitrary bytes stand for, six for each choice; what is left over is not used. For fuzzing: whatever
    /// happens to one choice's bytes leaves the others what they were.
    pub fn from_bytes(bytes: &[u8]) -> Tape {
        let choices = bytes.as_chunks::<CHOICE_BYTES>().0.iter().map(|[what, who, i, j, v, w]| {
            let (actor, what) = FROM_BYTES[usize::from(*what) % FROM_BYTES.len()];
            let (index, value) = (u16::from_le_bytes([*i, *j]), u16::from_le_bytes([*v, *w]));
            Choice { actor: actor(*who), what, index: index.into(), value: value.into() }
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
