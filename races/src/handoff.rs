//! The source files of production, compiled a second time with loom's mutex and condition variable.

#![allow(dead_code, unreachable_pub, reason = "the files are whole, the scenarios use parts of them")]
#![allow(
    unfulfilled_lint_expectations,
    reason = "what is expected of a public type is not of one that is private here"
)]

#[path = "../../crates/handoff/src/dirty.rs"]
pub mod dirty;
#[path = "../../crates/handoff/src/mailbox.rs"]
pub mod mailbox;
#[path = "../../crates/handoff/src/park.rs"]
pub mod park;
#[path = "../../crates/handoff/src/shared.rs"]
pub mod shared;
#[path = "../../crates/handoff/src/stop.rs"]
pub mod stop;

mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    // The language's own: with loom's, a deadlock that is found panics again while it unwinds.
    pub(crate) use std::sync::Arc;
}
