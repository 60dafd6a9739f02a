//! The Machine under stories and random worlds, each watched by a second telling of its rules. Every small world: `sim explore`.
//!
//! **Invariant.** Whatever drives the Machine here goes through [`bench::Bench`], so [`model::Model`] judges every
//! output of every test; a test states only what its story adds to that.
#![cfg(test)]

mod bench;
mod garbage;
mod model;
mod random;
mod rules;
mod stories_crash;
mod stories_end;
mod stories_health;
mod stories_queue;
mod stories_retry;
