//! What one thread hands to another: the only locks and condition variables of the project.
//!
//! Four kinds of thread meet here. The event loop owns the machine and waits for everything at once, through the one
//! [`Waker`](std::task::Waker) its runtime gives it. The journal thread blocks on its requests. Pool threads post what
//! they found. The watcher thread, and whoever hears a signal, only leave a mark and go on.
//!
//! - [`Mailbox`]: items, handed over in batches. Nothing is lost, nothing comes twice.
//! - [`Dirty`]: marks that say "look again". Any number of marks become one look.
//! - [`Spool`]: bytes for a thread that comes for them by itself, and for what came too late no room.
//! - [`Stop`]: how far the shutdown has come. It only rises.
//!
//! Invariant: nobody waits for another thread while holding a lock of this crate. A lock is held for a few instructions,
//! no lock is taken under another, and wakers are called under none. So the loop can always turn: it never blocks in a
//! `poll_` function, a `push` or a `set`, whatever the other threads do.
//!
//! The same source files are compiled against loom in `tests/races_*.rs`, where every interleaving is tried. Therefore
//! they take what synchronises from `super::sync`, and hold no unit tests of their own (`tests/threads.rs` does).
//! `docs/races.md` lists the proofs.

#![expect(clippy::disallowed_types, reason = "the one crate that has locks")]

mod sync {
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
}

mod dirty;
mod mailbox;
mod park;
mod shared;
mod spool;
mod stop;

pub use dirty::Dirty;
pub use mailbox::Mailbox;
pub use shared::WAITERS_MAX;
pub use spool::Spool;
pub use stop::{Level, Stop};
