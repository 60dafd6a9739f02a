//! The journal: an append-only log in segments, its recovery, and snapshots that are a cache of it.
//!
//! Invariant: what was reported as committed is found again by every later recovery, in order and unchanged, or recovery
//! refuses and names the place. Everything goes through [`fs::Fs`], so the simulated disk can prove it.

pub mod fs;
mod real_fs;

pub use real_fs::{RealFile, RealFs};
