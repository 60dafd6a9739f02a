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
pub mod threads;
