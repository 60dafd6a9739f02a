//! Runs a model in every interleaving, and tells who waited for what when nobody went on.
//!
//! **Invariant.** Every limit of loom is set here: it returns as if it were done when one from the environment cuts it off.

use crate::Step;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Once, PoisonError};

/// Branches of one execution; more is an endless loop in the model.
const BRANCHES_MAX: usize = 10_000;

/// Who waits for what, as the actors themselves say before they wait.
#[derive(Clone, Debug, Default)]
pub struct Waits(Arc<Mutex<Record>>);

/// Of the execution that runs.
#[derive(Clone, Debug, Default)]
struct Record {
    waiting: BTreeMap<&'static str, &'static str>,
    story: Vec<Step>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every execution came to its end.
    Clean,
    /// In one of them nobody went on: each that waited, and for what.
    Deadlock {
        /// Actor and what it waits for.
        waits: Vec<(String, String)>,
    },
    /// What the model promises does not hold, in its own words.
    Broken(String),
}

/// An exploration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explored {
    /// What came out.
    pub verdict: Verdict,
    /// How many executions were run; with a deadlock, up to and with the first that has it.
    pub executions: usize,
    /// The last of them: who waited for what, and got it.
    pub story: Vec<Step>,
}

impl Waits {
    /// Does what may wait, on record.
    pub(super) fn during<T>(&self, actor: &'static str, what: &'static str, wait: impl FnOnce() -> T) -> T {
        self.waits(actor, what);
        let done = wait();
        let mut record = self.lock();
        record.waiting.remove(actor);
        record.story.push(Step { actor, what: format!("has {what}") });
        done
    }

    /// It waits, for what no thread of the model does.
    pub(super) fn waits(&self, actor: &'static str, what: &'static str) {
        let mut record = self.lock();
        record.waiting.insert(actor, what);
        record.story.push(Step { actor, what: format!("waits for {what}") });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Record> {
        // A model that panicked may have held it for a moment; what it says still stands.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn explore(model: fn(&Waits)) -> Explored {
    let mut builder = loom::model::Builder::new();
    builder.max_threads = loom::MAX_THREADS;
    builder.max_branches = BRANCHES_MAX;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.preemption_bound = None;
    builder.checkpoint_file = None;
    builder.checkpoint_interval = 20_000;
    builder.expect_explicit_explore = false;
    builder.location = false;
    builder.log = false;

    let (executions, waits) = (Arc::new(AtomicUsize::new(0)), Waits::default());
    let (counter, inside) = (Arc::clone(&executions), waits.clone());
    let checked = quietly(move || {
        builder.check(move || {
            counter.fetch_add(1, Relaxed);
            *inside.lock() = Record::default();
            model(&inside);
        });
    });
    let verdict = match checked {
        Ok(()) => Verdict::Clean,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
            match said.unwrap_or_default() {
                said if said.starts_with("deadlock; threads =") => {
                    let waits =
                        waits.lock().waiting.iter().map(|(actor, what)| ((*actor).into(), (*what).into())).collect();
                    Verdict::Deadlock { waits }
                }
                said => Verdict::Broken(said.into()),
            }
        }
    };
    let story = std::mem::take(&mut waits.lock().story);
    Explored { verdict, executions: executions.load(Relaxed), story }
}

thread_local! {
    /// A panic of this thread is a verdict, and nothing to print.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn quietly(explore: impl FnOnce()) -> std::thread::Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let explored = catch_unwind(AssertUnwindSafe(explore));
    QUIET.set(false);
    explored
}
