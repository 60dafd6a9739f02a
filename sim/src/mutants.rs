//! How long planted bugs hide, how small a world shows them, and by which level they are caught.
//!
//! **Invariant.** Each start begins behind the seed at which the one before it ended, so no two of them share a world. A seed
//! counts only if it is clean without the bug. A bug that one start does not find within its budget is not found by seeds. A
//! bug is missed if no level catches it.

use crate::chance::Script;
use crate::explore::{Bound, Finding, Level, searches};
use crate::failure::Check;
use crate::races::cases::CASES;
use crate::run::{Report, run};
use crate::shrink::{EVENTS_MAX, Shrunk, shrink};
use crate::tape::Tape;
use crate::trace::Keep;
use sprag_core::{Bug, Role, plant};
use std::collections::BTreeMap;

/// No start looks at more seeds.
pub const SEEDS_MAX: u64 = 8_000;
/// So many tell whether to search small worlds before the others.
const SEEDS_FIRST: u64 = 2_000;
/// A control must be clean for so many seeds.
pub const CONTROL_SEEDS: u64 = 300;
/// A trace that is too long for a person is shrunk again from another seed, of so many.
const SHRINK_SEEDS_MAX: usize = 20;
/// With at most so many runs each.
const SHRINK_RUNS_MAX: u32 = 4_000;

/// What is to be known of a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Whether anything finds it; once one thing does, nothing else is asked.
    Whether,
    /// How many seeds each of so many starts takes, and which levels find it.
    Starts(usize),
}

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
    /// The story of the race catalogue that shows it.
    pub told: Option<Told>,
    /// The searches without chance that find it.
    pub explored: Vec<Explored>,
    /// What should be and is not, if anything.
    pub missed: Option<String>,
}

/// A story of the race catalogue that a bug turns red.
#[derive(Clone, Debug)]
pub struct Told {
    /// Of which row.
    pub row: &'static str,
    /// In how many of its worlds it was found.
    pub worlds: u64,
    /// The one that shows it.
    tape: Tape,
}

/// What a search without chance came to.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Of what.
    pub level: Level,
    /// How many states or disks it visited.
    pub visited: usize,
    /// What it found.
    pub finding: Finding,
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

/// Looks for a planted bug; a control must not be found, and a leak must make two runs differ.
pub fn hunt(bug: Bug, effort: Effort) -> Hunt {
    let mut hunt = Hunt {
        bug,
        seeds: Vec::new(),
        checks: BTreeMap::new(),
        shown_by: Vec::new(),
        told: None,
        explored: Vec::new(),
        missed: None,
    };
    match bug.role() {
        Role::Bug => match effort {
            Effort::Whether => hunt.whether(),
            Effort::Starts(starts) => {
                hunt.starts(starts, SEEDS_MAX);
                hunt.explore();
                hunt.tell();
            }
        },
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
    /// A seed of the tier in which the bug would be.
    fn script(&self, seed: u64) -> Script {
        if self.bug.is_of_the_adapter() { Script::Networked(seed) } else { Script::Seed(seed) }
    }

    fn look(&self, seed: u64) -> Report {
        run(self.script(seed), Keep::Hash)
    }

    /// Looks for it so many times, each time in so many seeds at most; what was found so before is forgotten.
    pub fn starts(&mut self, starts: usize, seeds_max: u64) {
        (self.seeds, self.shown_by, self.checks, self.missed) = Default::default();
        let mut first = 0;
        for _ in 0..starts {
            plant(Some(self.bug));
            let found = (first..first + seeds_max).find_map(|seed| Some((seed, self.look(seed).failure?)));
            plant(None);
            let Some((seed, failure)) = found else {
                (self.seeds, self.shown_by, self.checks) = Default::default();
                self.missed = Some(format!("not found in the {seeds_max} seeds from {first} on"));
                return;
            };
            self.seeds.push(seed - first + 1);
            self.shown_by.push(seed);
            *self.checks.entry(failure.check).or_default() += 1;
            if let Some(failure) = self.look(seed).failure {
                self.missed = Some(format!("seed {seed} fails without it too: {failure}"));
                return;
            }
            first = seed + 1;
        }
    }

    /// Tells the stories of the race catalogue that it should turn red.
    fn tell(&mut self) {
        for case in CASES.iter().filter(|case| case.bug == self.bug) {
            plant(Some(self.bug));
            let seen = case.explore();
            plant(None);
            let Some((tape, failure)) = seen.red else { continue };
            if run(tape.clone(), Keep::Hash).failure.is_none() {
                self.told = Some(Told { row: case.id, worlds: seen.worlds, tape });
                self.checks.entry(failure.check).or_insert(1);
                self.missed = self.missed.take().filter(|_| !self.shown_by.is_empty());
                return;
            }
        }
    }

    /// Looks where it costs little first: the race catalogue, some seeds, small worlds, all worlds, more seeds.
    fn whether(&mut self) {
        self.tell();
        if self.told.is_some() {
            return;
        }
        self.starts(1, SEEDS_FIRST);
        if self.missed.is_some() {
            self.explore();
        }
        if self.missed.is_some() {
            self.starts(1, SEEDS_MAX);
        }
    }

    /// Searches small worlds for it: the smaller ones, and all only if nothing else has found it.
    fn explore(&mut self) {
        self.search(Bound::Small);
        if self.missed.is_some() {
            self.search(Bound::Full);
        }
    }

    fn search(&mut self, bound: Bound) {
        self.explored.clear();
        plant(Some(self.bug));
        for level in [Level::Machine, Level::Disks] {
            let plans = searches(bound).into_iter().filter(|plan| plan.level() == level);
            let found =
                plans.map(|plan| plan.run(&mut |_, _| {})).find_map(|search| Some((search.visited, search.finding?)));
            self.explored.extend(found.map(|(visited, finding)| Explored { level, visited, finding }));
        }
        plant(None);
        if !self.explored.is_empty() && self.shown_by.is_empty() {
            self.missed = None;
        }
    }

    /// The levels that catch it.
    pub fn levels(&self) -> Vec<&'static str> {
        let explored = self.explored.iter().map(|explored| explored.level.as_str());
        let seeds = if self.bug.is_of_the_adapter() { "tier 2" } else { "seeds" };
        let seeds = (!self.shown_by.is_empty()).then_some(seeds);
        let told = self.told.as_ref().map(|_| "races");
        seeds.into_iter().chain(told).chain(explored).collect()
    }

    /// How many events a person is told: of the smallest world in which it shows, or of the shortest story of a search.
    pub fn events(&self, shrunk: Option<&Shrunk>) -> Option<u32> {
        let searched = self.explored.iter().map(|explored| explored.finding.story.len() as u32);
        shrunk.map(|shrunk| shrunk.report.events).or(searched.min())
    }

    /// The smallest world in which the bug shows, of those that a few of its seeds shrink to.
    pub fn shrink(&self) -> Option<Shrunk> {
        plant(Some(self.bug));
        let mut best: Option<Shrunk> = None;
        let told = self.told.iter().map(|told| Script::Tape(told.tape.clone()));
        for script in told.chain(self.shown_by.iter().map(|seed| self.script(*seed))).take(SHRINK_SEEDS_MAX) {
            let shrunk = shrink(&run(script, Keep::Hash), SHRINK_RUNS_MAX);
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
