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

/// What bytes may speak of: all there is but the place that nobody asks.
pub(crate) fn spoken_of() -> impl Iterator<Item = What> + Clone {
    let sites = Site::ALL.iter().filter(|site| **site != Site::Spare).copied().map(What::Is);
    sites.chain(Hazard::ALL.into_iter().map(What::Strikes))
}

/// What a byte speaks of: the place that has its number, so that bytes keep their meaning when places are added. Numbers that
/// no place has are shared out.
fn what_from(byte: u8) -> What {
    let number = u64::from(byte) % What::NUMBERS;
    let mut has_it = spoken_of().filter(|what| what.number() == number);
    let mut shared = spoken_of().cycle().skip(number as usize);
    has_it.next().or_else(|| shared.next()).unwrap_or(What::Is(Site::LifeEnd))
}

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
            let (what, actor) = (what_from(*what), actor_from(*who));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A place that is added is one that a fuzzer reaches.
    #[test]
    fn bytes_speak_of_every_place_and_of_everything_that_can_go_wrong() {
        assert_eq!(spoken_of().count(), Site::ALL.len() - 1 + Hazard::ALL.len());
        for what in spoken_of() {
            let number = u8::try_from(what.number()).unwrap();
            assert_eq!(what_from(number), what);
            let tape = Tape::from_bytes(&[number, 0, 0, 0, 1, 0]);
            assert_eq!(tape.choices().map(|choice| choice.what).collect::<Vec<_>>(), [what]);
        }
        assert!((0..=u8::MAX).all(|byte| what_from(byte) != What::Is(Site::Spare)));
    }
}
