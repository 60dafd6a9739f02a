//! How long planted bugs hide, and how small a world shows them.
//!
//! **Invariant.** Each start begins behind the seed at which the one before it ended, so no two of them share a world. A bug
//! that one start does not find within its budget is not found.

use crate::chance::Script;
use crate::failure::Check;
use crate::run::{Report, run};
use crate::shrink::{Shrunk, shrink};
use crate::trace::Keep;
use sprag_core::{Bug, Role, plant};
use std::collections::BTreeMap;

/// No start looks at more seeds.
pub const SEEDS_MAX: u64 = 8_000;
/// A control must be clean for so many seeds.
pub const CONTROL_SEEDS: u64 = 300;
/// A shrunk trace with more events is tried again from another seed.
pub const EVENTS_MAX: u32 = 20;
/// From so many seeds.
const SHRINK_SEEDS_MAX: usize = 12;
/// With at most so many runs each.
const SHRINK_RUNS_MAX: u32 = 4_000;

/// What came of a hunt.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// For what.
    pub bug: Bug,
    /// How many seeds each start took.
    pub seeds: Vec<u64>,
    /// By which checks it was found, and how often.
    pub checks: BTreeMap<Check, usize>,
    /// The seeds that showed it.
    pub shown_by: Vec<u64>,
    /// What should be and is not, if anything.
    pub missed: Option<String>,
}

impl Hunt {
    /// The seeds that half of the starts took at most.
    pub fn median(&self) -> u64 {
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.get(seeds.len() / 2).copied().unwrap_or(0)
    }

    /// The seeds that the longest start took.
    pub fn worst(&self) -> u64 {
        self.seeds.iter().copied().max().unwrap_or(0)
    }
}

/// Looks for a planted bug so many times; a control must not be found, and a leak must make two runs differ.
pub fn hunt(bug: Bug, starts: usize) -> Hunt {
    let mut hunt = Hunt { bug, seeds: Vec::new(), checks: BTreeMap::new(), shown_by: Vec::new(), missed: None };
    match bug.role() {
        Role::Bug => hunt.starts(starts, SEEDS_MAX),
        Role::Leak => {
            plant(Some(bug));
            let differs = |seed: &u64| run(*seed, Keep::Hash).hash != run(*seed, Keep::Hash).hash;
            match (0..SEEDS_MAX).find(differs) {
                Some(seed) => hunt.seeds.push(seed + 1),
                None => hunt.missed = Some(format!("{SEEDS_MAX} seeds are the same twice")),
            }
        }
        Role::Control => {
            plant(Some(bug));
            let failure = (0..CONTROL_SEEDS).find_map(|seed| Some((seed, run(seed, Keep::Hash).failure?)));
            hunt.missed = failure.map(|(seed, failure)| format!("seed {seed} fails: {failure}"));
        }
    }
    plant(None);
    hunt
}

impl Hunt {
    /// Runs a seed in the tier in which the bug would be.
    fn look(&self, seed: u64) -> Report {
        let script = if self.bug.is_of_the_adapter() { Script::Networked(seed) } else { Script::Seed(seed) };
        run(script, Keep::Hash)
    }

    /// Looks for it so many times, each time in so many seeds at most.
    pub fn starts(&mut self, starts: usize, seeds_max: u64) {
        plant(Some(self.bug));
        let mut first = 0;
        for _ in 0..starts {
            let found = (first..first + seeds_max).find_map(|seed| Some((seed, self.look(seed).failure?)));
            let Some((seed, failure)) = found else {
                plant(None);
                self.missed = Some(format!("not found in the {seeds_max} seeds from {first} on"));
                return;
            };
            self.seeds.push(seed - first + 1);
            self.shown_by.push(seed);
            *self.checks.entry(failure.check).or_default() += 1;
            first = seed + 1;
        }
        plant(None);
        let without = self.shown_by.first().and_then(|seed| Some((seed, self.look(*seed).failure?)));
        self.missed = without.map(|(seed, failure)| format!("seed {seed} fails without it too: {failure}"));
    }

    /// The smallest world in which the bug shows, of those that a few of its seeds shrink to.
    pub fn shrink(&self) -> Option<Shrunk> {
        plant(Some(self.bug));
        let mut best: Option<Shrunk> = None;
        for seed in self.shown_by.iter().take(SHRINK_SEEDS_MAX) {
            let shrunk = shrink(&self.look(*seed), SHRINK_RUNS_MAX);
            let events = |shrunk: &Shrunk| shrunk.report.events;
            best = [best, shrunk].into_iter().flatten().min_by_key(events);
            if best.as_ref().is_some_and(|best| best.report.events <= EVENTS_MAX) {
                break;
            }
        }
        plant(None);
        best
    }
}
