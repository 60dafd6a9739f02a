//! The simulator's world held against the kernel: the same calls on both.
//!
//! **Invariant.** Nothing is compared by time: an answer is the call's own, an event is awaited by one that must come after it.
#![cfg(test)]

mod calls;
mod files;
mod watch;
