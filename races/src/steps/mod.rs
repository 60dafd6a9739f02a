//! R9 to R29: files, events, processes and clocks, step by step, in every order.
//!
//! **Invariant.** A step is one system call, or what nobody can come between. Every order of steps is tried, and where a model
//! has a killer, a kill at every step; a state that was seen before is not gone through again. Nothing is cut off: a model
//! that does not end is a mistake in the model, and says so.

mod clocks;
mod explore;
#[cfg(test)]
mod fidelity;
mod files;
mod watches;
mod work;
mod world;

pub use explore::Explored;
pub use world::Harm;

use crate::Design;
use world::{Actor, World};

/// One model.
pub struct Scenario {
    /// `R17`: its number in the catalogue.
    pub id: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Whose it is.
    pub design: Design,
    /// What is told apart under the same number, if anything is.
    pub variant: &'static str,
    /// What can come of it; nothing if all is well in every order.
    pub expected: Option<Harm>,
    actors: Vec<Actor>,
    begin: fn(&mut World),
    judge: fn(&World) -> Option<Harm>,
}

impl Scenario {
    /// Tries every order.
    pub fn explore(&self) -> Explored {
        explore::explore(self)
    }
}

/// All of them, in the order of the catalogue.
pub fn scenarios() -> Vec<Scenario> {
    let all = [watches::scenarios(), files::scenarios(), work::scenarios(), clocks::scenarios()];
    let mut all: Vec<Scenario> = all.into_iter().flatten().collect();
    // R9 comes before R10.
    all.sort_by_key(|scenario| (scenario.id.len(), scenario.id, scenario.design, scenario.variant));
    all
}
