//! The race catalogue: every mechanism by which the original pipeline can have frozen, in its own design, with the polling
//! that was to mend it, and in sprag's.
//!
//! **Invariant.** A verdict is what an exploration to the end came to, never what was expected; a search that is cut off says
//! so. R0, the story as it was first told, is here to be found harmless.
//!
//! R0 to R8 are about threads that wait for each other: [`threads`], under loom. What the original does is modelled in small;
//! what sprag does runs on the source files of `crates/handoff` as they ship.

#![expect(clippy::disallowed_types, reason = "models of threads with locks, and the record of who waits for what")]

mod handoff;
pub mod steps;
pub mod threads;

/// Who built it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Design {
    /// Watcher threads that hand events to an event loop, and wait for its results.
    Original,
    /// No watcher: the loop looks at the files every two seconds.
    Polling,
    /// One owner of all state; who else there is leaves marks and items, and waits for nobody.
    Sprag,
}

/// A line of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who.
    pub actor: &'static str,
    /// What.
    pub what: String,
}
