//! Shrinking: from a run that fails to the calmest run that fails in the same way.
//!
//! **Invariant.** Every step keeps the failed check and leaves fewer choices, or smaller ones. Faults, schedule, workload and
//! the world itself are all choices, so all of them shrink together. At the end no choice can be left out and, unless the
//! budget ran out, none lowered by half. What is late only because much happens before it is tried earlier too, by chance, and
//! so is what is harder: fewer events count for more than calmer ones.

use crate::chance::mix;
use crate::failure::Check;
use crate::places::{Actor, What};
use crate::run::{Report, run};
use crate::tape::{Choice, Tape};
use crate::trace::Keep;
use std::collections::BTreeSet;

/// Values up to this one are lowered one by one, others by a quarter at least.
const BY_ONE_MAX: u64 = 32;

/// So many tries in a row that shorten nothing are enough.
const WANDER_MAX: u32 = 1_000;
/// No value is raised by more, and no new one is larger.
const RAISED_MAX: u64 = 4;
/// A new choice stands no further behind one of its kind.
const NEARBY: u64 = 8;
/// No try changes more choices.
const CHANGES_MAX: u64 = 4;

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest run that still fails, with its events.
    pub report: Report,
    /// How many runs it took.
    pub runs: u32,
    /// Nothing more goes; else the budget ran out.
    pub minimal: bool,
}

struct Shrinker {
    check: Check,
    /// What leaves fewer choices is taken only if it tells no longer story.
    never_longer: bool,
    best: Report,
    runs: u32,
    runs_max: u32,
    seen: BTreeSet<u64>,
}

/// No story for a person is longer.
pub const EVENTS_MAX: u32 = 20;

/// Shrinks a run that fails, in at most so many runs each way. None if its own choices do not lead to the failure again.
///
/// First to the calmest world. That may be one in which it takes long to fail: then once more, by steps that make no story
/// longer.
pub fn shrink(report: &Report, runs_max: u32) -> Option<Shrunk> {
    let calm = shrink_by(report, runs_max, false)?;
    if calm.report.events <= EVENTS_MAX {
        return Some(calm);
    }
    let short = shrink_by(report, runs_max, true)?;
    let runs = calm.runs + short.runs;
    let best = if short.report.events < calm.report.events { short } else { calm };
    Some(Shrunk { runs, ..best })
}

fn shrink_by(report: &Report, runs_max: u32, never_longer: bool) -> Option<Shrunk> {
    let check = report.failure.as_ref()?.check;
    let best = Report { choices: Vec::new(), ..report.clone() };
    let mut shrinker = Shrinker { check, never_longer, best, runs: 0, runs_max, seen: BTreeSet::new() };
    if !shrinker.fails(report.choices.clone()) {
        return None;
    }
    while shrinker.kinds() | shrinker.chunks() | shrinker.values() || shrinker.earlier() || shrinker.wander() {}
    let minimal = shrinker.runs < shrinker.runs_max;
    let report = run(shrinker.best.tape(), Keep::Events);
    Some(Shrunk { report, runs: shrinker.runs, minimal })
}

impl Shrinker {
    /// Whether these choices fail in the same way; if so, what they led to is the best so far.
    fn fails(&mut self, choices: Vec<Choice>) -> bool {
        let never_longer = self.never_longer;
        self.fails_as(choices, |one, best| !never_longer || one.events <= best.events)
    }

    /// As well, if what they led to is better than the best.
    fn fails_as(&mut self, choices: Vec<Choice>, better: impl Fn(&Report, &Report) -> bool) -> bool {
        let new = self.seen.insert(hash(&choices));
        if !new || self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let report = run(choices.into_iter().collect::<Tape>(), Keep::Hash);
        let same = report.failure.as_ref().is_some_and(|failure| failure.check == self.check);
        let taken = same && better(&report, &self.best);
        if taken {
            self.best = report;
        }
        taken
    }

    /// Leaves out all choices of one place at once. True if anything went.
    fn kinds(&mut self) -> bool {
        let mut any = false;
        let kinds: BTreeSet<What> = self.best.choices.iter().map(|choice| choice.what).collect();
        for what in kinds {
            any |= self.fails(self.best.choices.iter().filter(|choice| choice.what != what).copied().collect());
        }
        any
    }

    /// Leaves out chunks of choices, smaller and smaller (Zeller and Hildebrandt 2002, by complements, from the end, since
    /// what comes late depends on what came before). True if anything went.
    fn chunks(&mut self) -> bool {
        let mut any = false;
        let mut size = self.best.choices.len().div_ceil(2);
        while size > 0 {
            let mut end = self.best.choices.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let kept = self.best.choices.iter().enumerate().filter(|(at, _)| !(start..end).contains(at));
                any |= self.fails(kept.map(|(_, choice)| *choice).collect());
                end = start.min(self.best.choices.len());
            }
            size /= 2;
        }
        any
    }

    /// Moves all choices of one place forward together, for a shorter story: who does one thing after another may as well begin
    /// with what matters. True if there is one.
    fn earlier(&mut self) -> bool {
        let places: BTreeSet<(Actor, What)> =
            self.best.choices.iter().map(|choice| (choice.actor, choice.what)).collect();
        places.into_iter().any(|place| {
            let is_there = |choice: &&Choice| (choice.actor, choice.what) == place;
            let first = self.best.choices.iter().filter(is_there).map(|choice| choice.index).min().unwrap_or(0);
            let shifts = std::iter::successors(Some(first), |shift| Some(shift / 2)).take_while(|shift| *shift > 0);
            shifts.chain([1]).filter(|shift| *shift <= first).any(|shift| {
                let mut choices = self.best.choices.clone();
                for choice in choices.iter_mut().filter(|choice| (choice.actor, choice.what) == place) {
                    choice.index -= shift;
                }
                self.fails_as(choices, |one, best| one.events < best.events)
            })
        })
    }

    /// Leaves out, lowers, raises, adds and moves forward a few choices at a time, by chance, for a shorter story. True if
    /// there is one.
    fn wander(&mut self) -> bool {
        let mut chance = u64::from(self.runs);
        let mut below = |n: u64| {
            chance = mix(chance);
            chance % n.max(1)
        };
        for _ in 0..WANDER_MAX {
            let mut choices = self.best.choices.clone();
            for _ in 0..=below(CHANGES_MAX) {
                let at = below(choices.len() as u64) as usize;
                let Some(choice) = choices.get_mut(at) else { break };
                match below(5) {
                    0 => choice.index = below(u64::from(choice.index)) as u32,
                    1 => choice.value = 1 + below(choice.value - 1),
                    // A harder world may fail sooner: what is brought below its bound is what can be drawn.
                    2 => choice.value += 1 + below(RAISED_MAX),
                    3 => {
                        let index = below(u64::from(choice.index) + NEARBY);
                        let beside = Choice { index: index as u32, value: 1 + below(RAISED_MAX), ..*choice };
                        choices.push(beside);
                    }
                    _ => _ = choices.swap_remove(at),
                }
            }
            let shorter = |one: &Report, best: &Report| one.events < best.events;
            if self.fails_as(choices, shorter) {
                return true;
            }
        }
        false
    }

    /// Lowers values. True if anything went.
    fn values(&mut self) -> bool {
        let mut any = false;
        let mut at = 0;
        while let Some(choice) = self.best.choices.get(at).copied() {
            let lower = |value: u64| {
                let mut choices = self.best.choices.clone();
                choices[at].value = value;
                choices
            };
            let by_one = if choice.value <= BY_ONE_MAX { choice.value - 1 } else { 0 };
            let values = [1, choice.value / 2, choice.value - choice.value / 4, by_one];
            let candidates: Vec<_> = values.into_iter().filter(|v| (1..choice.value).contains(v)).map(lower).collect();
            let lowered = candidates.into_iter().any(|choices| self.fails(choices));
            any |= lowered;
            at += usize::from(!lowered);
        }
        any
    }
}

fn hash(choices: &[Choice]) -> u64 {
    choices.iter().fold(0, |hash, choice| {
        let place = crate::tape::place(choice.actor, choice.what) << 24 ^ u64::from(choice.index);
        mix(mix(hash ^ place) ^ choice.value)
    })
}
