//! The deterministic simulator of sprag: every seed a world, every failure a story that can be told again.
//!
//! **Invariant.** What is simulated is what ships: the driver, the Machine, the journal and the scanner, unmodified. Simulated
//! are the world's parts behind the seams: files ([`fs`]), processes, change events, time. One thread, no clock, no chance
//! but [`chance::Chance`]: a seed is a run, byte by byte. `docs/simulation.md` leads through it.

pub mod chance;
pub mod client;
pub mod describe;
pub mod explore;
pub mod failure;
pub mod fs;
pub mod incident;
pub mod inotify;
pub mod items;
pub mod marks;
pub mod monitor;
#[cfg(feature = "planted")]
pub mod mutants;
pub mod oracle;
pub mod page;
pub mod places;
pub mod plan;
pub mod processes;
pub mod producer;
pub mod races;
pub mod run;
pub mod saved;
pub mod services;
pub mod settled;
pub mod shared;
pub mod shrink;
pub mod speed;
pub mod tape;
pub mod threads;
pub mod tier2;
pub mod trace;
pub mod watch;
pub mod working;
pub mod world;

pub use chance::Script;
pub use failure::{Check, Failure};
pub use run::{Report, quiet_panics, run};
pub use tape::Tape;
pub use trace::Keep;
