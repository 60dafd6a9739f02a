//! R0 to R8: threads that wait for each other, in every interleaving.
//!
//! **Invariant.** Each model is explored without a limit on preemptions or time. Loom has no time: a timeout is a third
//! thread that may let the wait end at any moment.

mod explore;
mod original;
mod ours;
mod parts;
mod planted;

use crate::Design;
pub use explore::{Explored, Verdict, Waits};

/// What is expected of an exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// All threads come to their end, always.
    Clean,
    /// In some interleaving nobody goes on: these two, among others, wait for this.
    Deadlock([(&'static str, &'static str); 2]),
    /// The same, where one alone waits, for what never comes.
    Stall((&'static str, &'static str)),
    /// What was promised does not hold: this is said.
    Broken(&'static str),
}

/// One model.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// `R1`: its number in the catalogue.
    pub id: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Whose it is.
    pub design: Design,
    /// What is told apart under the same number, if anything is.
    pub variant: &'static str,
    /// A bug of the kind that the design excludes, to see that it would be found.
    pub planted: bool,
    /// What comes out.
    pub expected: Expected,
    /// There are at least so many executions, or the model has lost some. Those up to a deadlock count.
    pub executions_min: usize,
    model: fn(&Waits),
}

impl Scenario {
    /// Tries every interleaving, up to the first deadlock.
    pub fn explore(&self) -> Explored {
        explore::explore(self.model)
    }

    /// Whether that is what is expected.
    pub fn is_as_expected(&self, explored: &Explored) -> bool {
        let waits = |expected: &[(&str, &str)], found: &[(String, String)]| {
            expected.iter().all(|(who, what)| found.iter().any(|(actor, wait)| actor == who && wait == what))
        };
        match (&self.expected, &explored.verdict) {
            (Expected::Clean, Verdict::Clean) => explored.executions >= self.executions_min,
            (Expected::Deadlock(both), Verdict::Deadlock { waits: found }) => waits(both, found),
            (Expected::Stall(one), Verdict::Deadlock { waits: found }) => waits(&[*one], found) && found.len() == 1,
            (Expected::Broken(what), Verdict::Broken(found)) => found.contains(what),
            (Expected::Clean | Expected::Deadlock(_) | Expected::Stall(_) | Expected::Broken(_), _) => false,
        }
    }
}

/// All of them, in the order of the catalogue.
pub fn scenarios() -> Vec<Scenario> {
    let mut all: Vec<Scenario> =
        original::scenarios().into_iter().chain(ours::scenarios()).chain(planted::scenarios()).collect();
    all.sort_by_key(|scenario| (scenario.id, scenario.design, scenario.planted));
    all
}
