//! One run in the real world: the lock, the runtime, the journal, and the loop over all of them.
//!
//! **Invariant.** The lock is taken first and let go of last. The loop is a task on one thread; what can hang is on others,
//! and does not hold up the end.

use super::api::{Api, LocalListener};
use super::cgroup::Cgroups;
use super::clock::now;
use super::keeper::Order;
use super::processes::LiveProcesses;
use super::threads::{ORDERS_MAX, Threads};
use super::turn::{Ears, Live, post};
use super::watch::LiveWatch;
use super::{lock, sys};
use crate::driver::{self, Driver, JournalWork, Notice, OpenError};
use crate::pipeline::Pipeline;
use crate::task::Context;
use sprag_core::Seq;
use sprag_handoff::{Mailbox, Stop};
use sprag_journal::fs::Fs as _;
use sprag_journal::{Limits, RealFs};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Threads that may be busy with files, proofs and publications at once. A hung one costs its place.
const POOL_THREADS_MAX: usize = 64;
/// A pool thread stays for good: where there is none, and no thread can be made, tokio does not go on.
const POOL_THREAD_KEPT: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How a run is to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// End when nothing is left to do.
    pub until_idle: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was left to do.
    Idle {
        /// Items that made a job in this run.
        added: u64,
        /// Items that were known before.
        known: u64,
    },
    /// Nothing was left to do but what could not be done: what, and why.
    GivenUp {
        /// In words.
        by: Vec<String>,
    },
    /// By request.
    Stopped,
}

/// Why a run could not begin, or had to end.
#[derive(Debug)]
pub enum RunError {
    /// The state folder, or somebody else in it.
    Lock(lock::LockError),
    /// The journal could not be opened.
    Open(OpenError),
    /// The journal or its folder failed while running: what happened, and what to do.
    Journal(String),
    /// The system refused what sprag cannot do without.
    System {
        /// What it was.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunError::Lock(error) => error.fmt(f),
            RunError::Open(error) => error.fmt(f),
            RunError::Journal(what) => f.write_str(what),
            RunError::System { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs the pipeline until it is idle (if so asked) or `stop` is raised. `say` tells people what happens, with the
/// driver to look names up in.
///
/// # Errors
/// What kept it from beginning, or from going on.
pub fn run(
    pipeline: Pipeline,
    options: Options,
    stop: Arc<Stop>,
    say: impl FnMut(&Driver, &Notice) + Send + 'static,
) -> Result<Ended, RunError> {
    let lock = lock::WriterLock::take(&pipeline.state()).map_err(RunError::Lock)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(POOL_THREADS_MAX)
        .thread_keep_alive(POOL_THREAD_KEPT)
        .build()
        .map_err(system("start the event loop"))?;
    let ended = runtime.block_on(async {
        sys::settle_in().map_err(system("settle in"))?;
        let (live, journal) = open(pipeline, options, &lock, stop)?;
        // A task among the connections' tasks: to wake it takes no system call, and it comes after all that are ready.
        match tokio::spawn(live.turn(say)).await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => {
                    record_the_rest(&journal);
                    std::panic::resume_unwind(panic)
                }
                Err(error) => Err(RunError::System { what: "go on", source: io::Error::other(error) }),
            },
        }
    });
    // A pool thread that hangs on a dead mount must not hold up the end.
    runtime.shutdown_background();
    drop(lock);
    ended
}

/// After a bug of ours, what led to it is to be on record: a journal thread whose mailbox is closed writes it, and ends. One that
/// hangs is not waited for any longer than this.
#[expect(clippy::disallowed_methods, reason = "the loop is gone, and the program about to end")]
fn record_the_rest(journal: &Arc<Mailbox<JournalWork>>) {
    const ROUNDS_MAX: u32 = 100;
    journal.close();
    for _ in 0..ROUNDS_MAX {
        // The thread's own handle is the other one.
        if Arc::strong_count(journal) == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

fn open(
    mut pipeline: Pipeline,
    options: Options,
    lock: &lock::WriterLock,
    stop: Arc<Stop>,
) -> Result<(Live<Threads>, Arc<Mailbox<JournalWork>>), RunError> {
    let (chance, fs) = (chance().map_err(system("draw random bytes"))?, RealFs);
    let room = fs.room(pipeline.state().path()).map_err(system("see how large the disk is"))?;
    pipeline.limits.keep_bytes = pipeline.disk.keep_bytes(room.total);
    pipeline.disk.flight_bytes = Some(pipeline.disk.flight_bytes(room.total));
    let (pipeline, limits) = (Arc::new(pipeline), Limits::for_disk(room.total));
    let recovered = driver::open(&fs, Arc::clone(&pipeline), limits, now(), chance).map_err(RunError::Open)?;
    let ears = Ears::new(pipeline.sources.len(), stop);
    let orders = Arc::new(Mailbox::new(ORDERS_MAX));
    let to_keeper = Arc::clone(&orders);
    let cgroups = Cgroups::open(&recovered.queue_id, &pipeline.state().cgroups(), pipeline.cgroup)
        .map_err(system("make cgroups, as `[run] cgroup` asks"))?;
    let processes =
        LiveProcesses::new(Arc::new(move |message| post(&to_keeper, Order::Child(message)))).within(cgroups);
    let watch = watch(&ears);
    let env = inherited(&pipeline);
    let (queue_id, epoch) = (recovered.queue_id, recovered.epoch);
    let lock = lock.identity().map_err(system("look at the lock"))?;
    let context = Arc::new(Context { fs, processes, watch, pipeline, env, queue_id, lock, epoch });
    let writing = (recovered.writer, recovered.recorder);
    let threads = Threads::start(Arc::clone(&context), writing, Arc::clone(&ears.answers), orders)?;
    let journal = threads.journal();
    let api = listen(&context.pipeline, recovered.driver.machine().durable_seq(), &ears);
    Ok((Live::new(recovered.driver, threads, ears, api, options), journal))
}

/// Without change events (the user's inotify instances are used up) there are still the looks: each source says why.
fn watch(ears: &Ears) -> LiveWatch {
    let Ok((watch, events)) = LiveWatch::new() else { return LiveWatch::blind() };
    let latch = Arc::clone(&ears.dirty);
    tokio::spawn(async move {
        if let Err(error) = events.run(|index| latch.set(usize::from(index))).await {
            let what = "the kernel tells of no more changes: sources are looked at every 5 s; a restart may mend it";
            tracing::error!(%error, "{what}");
        }
    });
    watch
}

/// Without a socket (a file system that has none) there is still the drop-box.
fn listen(pipeline: &Pipeline, durable: Seq, ears: &Ears) -> Option<Api> {
    let path = pipeline.state().socket();
    match LocalListener::bind(&path) {
        Ok(listener) => Some(ears.serve(listener, durable)),
        Err(error) => {
            let what = "no command can reach this sprag, and `sprag add` uses the drop-box: its socket cannot be made";
            tracing::warn!(%error, path = %path.display(), "{what}");
            None
        }
    }
}

fn chance() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}

/// What of our environment commands inherit.
fn inherited(pipeline: &Pipeline) -> BTreeMap<String, String> {
    let allowed = |name: &str| pipeline.env_allow.iter().any(|allowed| allowed == name);
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| allowed(name))
        .collect()
}
