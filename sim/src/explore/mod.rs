//! Searches without chance: every state of a small world, every disk that a crash may leave.
//!
//! **Invariant.** A search either was at everything that its world holds, or says that it was cut off. What it finds it tells
//! as the shortest way there, and two runs of one search tell the same.

pub mod disks;
mod essence;
pub mod graph;
pub mod machine;
pub mod workload;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How much is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// What a debug build can do while somebody waits: plain `cargo test`.
    Small,
    /// What CI does.
    Full,
}

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All states of the Machine.
    Machine,
    /// All disks that the journal may find.
    Disks,
}

impl Level {
    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Machine => "states",
            Level::Disks => "disks",
        }
    }
}

/// A search that can be done.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// All states of a small world of the Machine.
    Machine(&'static machine::Small),
    /// All disks of the journal, within a bound.
    Disks(Bound),
}

/// The searches of a bound.
pub fn searches(bound: Bound) -> Vec<Plan> {
    let worlds = machine::WORLDS.iter().filter(|world| bound == Bound::Full || world.from == Bound::Small);
    worlds.map(Plan::Machine).chain([Plan::Disks(bound)]).collect()
}

impl Plan {
    /// Of what.
    pub fn level(&self) -> Level {
        match self {
            Plan::Machine(_) => Level::Machine,
            Plan::Disks(_) => Level::Disks,
        }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Plan::Machine(world) => format!("the Machine: {}", world.name),
            Plan::Disks(bound) => disks::name(*bound),
        }
    }

    /// Does it.
    pub fn run(&self, progress: Progress<'_>) -> Search {
        match self {
            Plan::Machine(world) => machine::explore(&self.name(), world, progress),
            Plan::Disks(bound) => disks::explore(&self.name(), *bound, progress),
        }
    }
}

/// What came of one search.
#[derive(Clone, Debug)]
pub struct Search {
    /// Of which world.
    pub name: String,
    /// States that differ, or disks with what was known of them.
    pub visited: usize,
    /// Steps from the beginning to the state that lies furthest, or operations and crashes one after the other.
    pub depth: usize,
    /// What else is worth to be known.
    pub notes: Vec<(&'static str, u64)>,
    /// Why it was not at everything, if it was not.
    pub cut: Option<String>,
    /// What was found.
    pub finding: Option<Finding>,
}

/// What should not be, and how to come there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// What leads there, one thing after the other.
    pub story: Vec<String>,
}

impl Search {
    /// Nothing was found, and everything was looked at.
    pub fn is_well(&self) -> bool {
        self.finding.is_none() && self.cut.is_none()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.story.iter().enumerate() {
            writeln!(f, "    {:>3}  {line}", at + 1)?;
        }
        write!(f, "    WRONG: {}", self.what)
    }
}

/// Tells how far a search has come: what is visited, what is known to lie ahead.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// Does it; a panic is what it found.
pub(crate) fn or_panic<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".into())
    })
}
