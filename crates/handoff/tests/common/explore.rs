//! Runs a model in every interleaving, and makes sure that it was every one.

use std::sync::Arc;
#[expect(clippy::disallowed_types, reason = "counts executions, outside the model")]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// How often an execution may switch away from a thread that could go on.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every proof needs both")]
pub(crate) enum Preemptions {
    /// Any number: every interleaving there is.
    Unbounded,
    /// At most so many. Switches where a thread blocks or ends are never limited.
    Bounded(usize),
}

/// Explores `model` to the end, which must take at least `executions_min` executions.
///
/// A floor that no longer holds means that the model has lost interleavings: find out which, before lowering it.
#[expect(clippy::print_stdout, reason = "the count is part of the proof")]
pub(crate) fn prove(preemptions: Preemptions, executions_min: usize, model: impl Fn() + Send + Sync + 'static) {
    let executions = explore(preemptions, model);
    println!("{executions} executions, preemptions: {preemptions:?}");
    assert!(executions >= executions_min, "only {executions} executions, there have been {executions_min}");
}

/// Explores `model` to the end, or panics as it does. Answers with the number of executions.
///
/// Loom returns as if it were done when a limit from the environment cuts it off: every limit is set here by hand.
pub(crate) fn explore(preemptions: Preemptions, model: impl Fn() + Send + Sync + 'static) -> usize {
    let mut builder = loom::model::Builder::new();
    builder.max_threads = loom::MAX_THREADS;
    builder.max_branches = 10_000;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.preemption_bound = match preemptions {
        Preemptions::Unbounded => None,
        Preemptions::Bounded(count) => Some(count),
    };
    builder.checkpoint_file = None;
    builder.checkpoint_interval = 20_000;
    builder.expect_explicit_explore = false;
    builder.location = false;
    builder.log = false;

    #[expect(clippy::disallowed_types, reason = "counts executions, outside the model")]
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    builder.check(move || {
        counter.fetch_add(1, Relaxed);
        model();
    });
    executions.load(Relaxed)
}
