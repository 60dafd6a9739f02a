//! What synchronises, as loom models it. `Arc` stays the language's own: with loom's, a deadlock that is found panics
//! again while it unwinds and takes the whole test binary with it.

pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::Arc;
