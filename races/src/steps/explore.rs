//! Every order of steps, depth first.
//!
//! **Invariant.** The first way to each harm is kept, as a story. A state is visited once; more than [`STATES_MAX`] is a mistake
//! in the model.

use super::Scenario;
use super::world::{Harm, Then, World};
use crate::Step;
use std::collections::{BTreeMap, BTreeSet};

/// No model of the catalogue has nearly as many.
const STATES_MAX: usize = 1_000_000;

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Every harm that can come of it, with a way to get there.
    pub harms: BTreeMap<Harm, Vec<Step>>,
    /// A way in which all goes well, if there is one.
    pub well: Option<Vec<Step>>,
    /// States visited.
    pub states: usize,
    /// States in which nobody can go on.
    pub ends: usize,
}

pub(super) fn explore(scenario: &Scenario) -> Explored {
    let mut begin = World::default();
    (scenario.begin)(&mut begin);
    let mut search = Search { scenario, seen: BTreeSet::new(), path: Vec::new(), found: Explored::default() };
    search.visit(&begin);
    search.found.states = search.seen.len();
    search.found
}

struct Search<'a> {
    scenario: &'a Scenario,
    seen: BTreeSet<World>,
    path: Vec<Step>,
    found: Explored,
}

impl Search<'_> {
    fn visit(&mut self, world: &World) {
        if !self.seen.insert(world.clone()) {
            return;
        }
        let (id, states) = (self.scenario.id, self.seen.len());
        assert!(states <= STATES_MAX, "{id} {}: the model does not end", self.scenario.variant);
        let mut goes_on = false;
        for number in 0..self.scenario.actors.len() {
            let Some((next, step)) = self.step(world, number) else { continue };
            goes_on = true;
            self.path.push(step);
            self.visit(&next);
            self.path.pop();
        }
        if goes_on {
            return;
        }
        self.found.ends += 1;
        match (self.scenario.judge)(world) {
            // The shortest story is the best.
            Some(harm) => {
                let known = self.found.harms.get(&harm);
                if known.is_none_or(|known| known.len() > self.path.len()) {
                    self.found.harms.insert(harm, self.path.clone());
                }
            }
            None => {
                self.found.well.get_or_insert_with(|| self.path.clone());
            }
        }
    }

    /// The world after the next step of an actor, if it can do one.
    fn step(&self, world: &World, number: usize) -> Option<(World, Step)> {
        let actor = &self.scenario.actors[number];
        if world.ended.contains(actor.name) {
            return None;
        }
        let at = world.at.get(actor.name).copied().unwrap_or(0);
        let (what, does) = actor.steps.get(at)?;
        let mut next = world.clone();
        next.me = actor.name;
        let then = does(&mut next);
        next.me = "";
        match then {
            Then::Wait => return None,
            // One that was killed by its own step, or started anew, is where that left it.
            Then::Next if next.ended.contains(actor.name) => {}
            Then::Next => drop(next.at.insert(actor.name, at + 1)),
            Then::Goto(there) => drop(next.at.insert(actor.name, there)),
            Then::End => drop(next.ended.insert(actor.name)),
        }
        Some((next, Step { actor: actor.name, what: (*what).into() }))
    }
}
