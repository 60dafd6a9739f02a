//! The loop on tokio: waits for everything at once, feeds the driver, does what it says.
//!
//! **Invariant.** One thread owns the driver and never blocks on another. What can take long is handed away through a
//! [`Mailbox`] and comes back through one: frames to the journal thread, starts and signals to the
//! [keeper](super::keeper), all else to the pool. Nothing here decides an order: effects are done as the driver hands them
//! out.

use super::api::{Api, Asked, Client, LocalListener, Patience};
use super::cgroup::Cgroups;
use super::clock::{Sleeps, Timer, now};
use super::keeper::{Order, Watchdog};
use super::processes::LiveProcesses;
use super::watch::LiveWatch;
use super::{lock, sys};
use crate::driver::{self, Driver, Effect, Event, JournalWork, Notice, OpenError};
use crate::flight::Recorder;
use crate::pipeline::Pipeline;
use crate::request::Ticket;
use crate::seams::Processes as _;
use crate::task::{Context, Done, Task};
use sprag_core::{Mono, Seq, StopLevel};
use sprag_handoff::{Dirty, Level, Mailbox, Stop};
use sprag_journal::fs::Fs as _;
use sprag_journal::{Limits, RealFs, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

/// Answers that can be on their way to the loop: one per task, child and frame; all of these are bounded elsewhere.
const ANSWERS_MAX: usize = 1 << 20;
/// Threads that may be busy with files, proofs and publications at once. A hung one costs its place.
const POOL_THREADS_MAX: usize = 64;
/// How often the loop lets others go first while requests keep coming, before it decides.
const GATHERINGS_MAX: u32 = 4;
/// What the flight recorder was handed is written before the next frame, and at the latest after so long; while there is some
/// again and again, sooner.
const RECORD_LATEST: Duration = Duration::from_secs(1);
const RECORD_SOON: Duration = Duration::from_millis(20);
/// A pool thread stays for good: where there is none, and no thread can be made, tokio does not go on.
const POOL_THREAD_KEPT: Duration = Duration::from_secs(10 * 365 * 86_400);

type LiveContext = Context<RealFs, LiveProcesses, LiveWatch>;

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
        let live = Live::open(pipeline, options, &lock)?;
        let journal = Arc::clone(&live.journal);
        // A task among the connections' tasks: to wake it takes no system call, and it comes after all that are ready.
        match tokio::spawn(live.turn(stop, Box::new(say))).await {
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
        thread::sleep(Duration::from_millis(10));
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// Everything the loop holds.
struct Live {
    driver: Driver,
    context: Arc<LiveContext>,
    answers: Arc<Mailbox<Answer>>,
    journal: Arc<Mailbox<JournalWork>>,
    orders: Arc<Mailbox<Order>>,
    watchdog: Watchdog,
    dirty: Arc<Dirty>,
    timer: Timer,
    sleeps: Sleeps,
    /// `None` where no socket can be had.
    api: Option<Api>,
    /// Who waits for an answer.
    clients: BTreeMap<Ticket, Client>,
    last_ticket: u64,
    options: Options,
    journal_thread: thread::JoinHandle<()>,
}

/// Tells people what happens.
type Say = dyn FnMut(&Driver, &Notice) + Send;

/// What comes back to the loop.
enum Answer {
    Event(Event),
    Client(Asked),
    /// The keeper's last word.
    Lost(io::Error),
}

/// What the loop woke up for.
enum Woken {
    Stop(Level),
    Answers(Vec<Answer>),
    Dirty(BTreeSet<usize>),
    Time,
}

impl Live {
    fn open(mut pipeline: Pipeline, options: Options, lock: &lock::WriterLock) -> Result<Live, RunError> {
        let (chance, fs) = (chance().map_err(system("draw random bytes"))?, RealFs);
        let room = fs.room(pipeline.state().path()).map_err(system("see how large the disk is"))?;
        pipeline.limits.keep_bytes = pipeline.disk.keep_bytes(room.total);
        pipeline.disk.flight_bytes = Some(pipeline.disk.flight_bytes(room.total));
        let (pipeline, limits) = (Arc::new(pipeline), Limits::for_disk(room.total));
        let recovered = driver::open(&fs, Arc::clone(&pipeline), limits, now(), chance).map_err(RunError::Open)?;
        let answers = Arc::new(Mailbox::new(ANSWERS_MAX));
        let orders = Arc::new(Mailbox::new(ANSWERS_MAX));
        let to_keeper = Arc::clone(&orders);
        let cgroups = Cgroups::open(&recovered.queue_id, &pipeline.state().cgroups(), pipeline.cgroup)
            .map_err(system("make cgroups, as `[run] cgroup` asks"))?;
        let processes =
            LiveProcesses::new(Arc::new(move |message| post(&to_keeper, Order::Child(message)))).within(cgroups);
        let (watch, events) = LiveWatch::new().map_err(system("watch files"))?;
        let dirty = Arc::new(Dirty::new(pipeline.sources.len() + 1));
        let latch = Arc::clone(&dirty);
        tokio::spawn(async move {
            if let Err(error) = events.run(|index| latch.set(usize::from(index))).await {
                let what =
                    "the kernel tells of no more changes: sources are looked at every 5 s; a restart may mend it";
                tracing::error!(%error, "{what}");
            }
        });
        let env = inherited(&pipeline);
        let (queue_id, epoch) = (recovered.queue_id, recovered.epoch);
        let lock = lock.identity().map_err(system("look at the lock"))?;
        let context = Arc::new(Context { fs, processes, watch, pipeline, env, queue_id, lock, epoch });
        let journal = Arc::new(Mailbox::new(8));
        let writing = (recovered.writer, recovered.recorder);
        let journal_thread = journal_thread(writing, Arc::clone(&journal), Arc::clone(&answers));
        let journal_thread =
            thread::Builder::new().name("journal".into()).spawn(journal_thread).map_err(system("start a thread"))?;
        let to_loop = Arc::clone(&answers);
        let report = move |said: io::Result<_>| post(&to_loop, said.map_or_else(Answer::Lost, Answer::Event));
        let watchdog = Watchdog::start(Arc::clone(&context), Arc::clone(&orders), Box::new(report))
            .map_err(system("wait for children"))?;
        let timer = Timer::new().map_err(system("set a timer"))?;
        let durable = recovered.driver.machine().durable_seq();
        let api = listen(&context.pipeline, durable, Arc::clone(&answers));
        let (driver, clients) = (recovered.driver, BTreeMap::new());
        let live = Live {
            driver,
            context,
            answers,
            journal,
            orders,
            watchdog,
            dirty,
            timer,
            sleeps: Sleeps::new(),
            api,
            clients,
            last_ticket: 0,
            options,
            journal_thread,
        };
        Ok(live)
    }

    async fn turn(mut self, stop: Arc<Stop>, mut say: Box<Say>) -> Result<Ended, RunError> {
        let (mut seen, mut idle, mut given_up) = (Level::Running, false, None);
        self.tell(Event::Tick);
        loop {
            while let Some(effect) = self.driver.poll() {
                match effect {
                    Effect::Journal(work) => post(&self.journal, work),
                    Effect::Run(task) => self.run_task(task),
                    Effect::Signal { child, kill } => self.context.processes.signal(child, kill),
                    Effect::Answer { ticket, answer } => {
                        if let Some(client) = self.clients.remove(&ticket) {
                            client.answer(answer);
                        }
                    }
                    Effect::Say(notice) => say(&self.driver, &notice),
                    Effect::Happened(happened) => {
                        if let Some(api) = &self.api {
                            api.tell(happened);
                        }
                    }
                    Effect::Idle if self.options.until_idle => {
                        idle = true;
                        self.tell(Event::Stop(StopLevel::Drain));
                    }
                    Effect::Idle => say(&self.driver, &Notice::Settled),
                    Effect::HeldUp { by } if self.options.until_idle => say(&self.driver, &Notice::HeldUp { by }),
                    Effect::GivenUp { by } if self.options.until_idle => {
                        given_up = Some(by);
                        self.tell(Event::Stop(StopLevel::Drain));
                    }
                    Effect::HeldUp { .. } | Effect::GivenUp { .. } => {}
                    Effect::Stopped => return Ok(self.end(idle, given_up).await),
                    Effect::Fatal { what } => return Err(RunError::Journal(what)),
                }
            }
            let (at, deadline) = (now().mono, self.driver.deadline(now()));
            self.watchdog.look(at);
            match self.wait(&stop, seen, deadline).await.map_err(system("wait for what happens"))? {
                Woken::Stop(level) => {
                    (seen, idle, given_up) = (level, false, None);
                    self.tell(Event::Stop(stop_level(level)));
                }
                Woken::Answers(answers) => {
                    let answers = self.gather(answers).await;
                    self.answered(answers)?;
                }
                Woken::Dirty(marks) => {
                    for source in marks.into_iter().filter_map(|mark| u16::try_from(mark).ok()) {
                        self.tell(Event::Dirty { source });
                    }
                }
                Woken::Time => self.tell(Event::Tick),
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.tell_all(&mut vec![event]);
    }

    fn tell_all(&mut self, events: &mut Vec<Event>) {
        // In this order: time that is slept through from here on is told with the next event.
        let at = now();
        let ms = self.sleeps.since();
        if ms > 0 {
            self.driver.handle(at, Event::Slept { ms });
        }
        if !events.is_empty() {
            self.driver.handle_all(at, events.drain(..));
        }
    }

    async fn wait(&mut self, stop: &Stop, seen: Level, deadline: Option<Mono>) -> io::Result<Woken> {
        tokio::select! {
            biased;
            level = stop.above(seen), if seen < Level::Stopping => Ok(Woken::Stop(level)),
            answers = self.answers.take() => Ok(Woken::Answers(answers.unwrap_or_default())),
            marks = self.dirty.take() => Ok(Woken::Dirty(marks)),
            time = self.timer.until(deadline) => time.map(|()| Woken::Time),
        }
    }

    /// Clients that were answered together ask again together, nearly: what one frame can hold is to be in it.
    async fn gather(&self, mut answers: Vec<Answer>) -> Vec<Answer> {
        for _ in 0..GATHERINGS_MAX {
            if !matches!(answers.last(), Some(Answer::Client(_))) {
                break;
            }
            tokio::task::yield_now().await;
            let more = poll_fn(|cx| match self.answers.poll_take(cx) {
                Poll::Ready(more) => Poll::Ready(more),
                Poll::Pending => Poll::Ready(None),
            });
            match more.await {
                Some(more) => answers.extend(more),
                None => break,
            }
        }
        answers
    }

    fn answered(&mut self, answers: Vec<Answer>) -> Result<(), RunError> {
        let mut requests = Vec::new();
        for answer in answers {
            match answer {
                Answer::Event(event) => {
                    self.tell_all(&mut requests);
                    if let Event::Done(Done::Spawned { .. } | Done::SpawnFailed { .. }) = event {
                        self.watchdog.answered(now().mono);
                    }
                    self.tell(event);
                }
                Answer::Client(Asked { request, client }) => {
                    self.last_ticket += 1;
                    let ticket = Ticket(self.last_ticket);
                    self.clients.insert(ticket, client);
                    requests.push(Event::Request { ticket, request });
                }
                Answer::Lost(error) => return Err(system("supervise a child")(error)),
            }
        }
        self.tell_all(&mut requests);
        Ok(())
    }

    fn run_task(&mut self, task: Task) {
        if task.makes_process() {
            self.watchdog.ordered(now().mono);
            return post(&self.orders, Order::Start(task));
        }
        let (context, answers) = (Arc::clone(&self.context), Arc::clone(&self.answers));
        drop(tokio::task::spawn_blocking(move || {
            post(&answers, Answer::Event(Event::Done(context.run(task))));
        }));
    }

    /// The journal thread ends by itself once its mailbox is closed; it is waited for, so that the lock outlives it.
    async fn end(self, idle: bool, given_up: Option<Vec<String>>) -> Ended {
        // Whoever asks from now on, or has asked and was not heard, is told that we have ended.
        self.answers.close();
        drop(self.answers.take().await);
        drop(self.clients);
        if let Some(api) = self.api {
            api.close().await;
        }
        self.journal.close();
        // The keeper is not waited for: it may hang in a start.
        self.orders.close();
        self.context.processes.leave();
        if self.journal_thread.join().is_err() {
            tracing::error!("a thread of sprag ended by a bug");
        }
        let (added, known) = self.driver.intake_counts();
        match given_up {
            Some(by) => Ended::GivenUp { by },
            None if idle => Ended::Idle { added, known },
            None => Ended::Stopped,
        }
    }
}

/// Without a socket (a file system that has none) there is still the drop-box.
fn listen(pipeline: &Pipeline, durable: Seq, answers: Arc<Mailbox<Answer>>) -> Option<Api> {
    let path = pipeline.state().socket();
    match LocalListener::bind(&path) {
        Ok(listener) => {
            let to_loop = move |asked| post(&answers, Answer::Client(asked));
            Some(Api::serve(listener, Patience::default(), durable, to_loop))
        }
        Err(error) => {
            let what = "no command can reach this sprag, and `sprag add` uses the drop-box: its socket cannot be made";
            tracing::warn!(%error, path = %path.display(), "{what}");
            None
        }
    }
}

/// Hands an item over. To a mailbox that is closed: the program is ending, and nobody wants it any more.
fn post<T>(mailbox: &Mailbox<T>, item: T) {
    let _ = mailbox.push(item);
}

fn journal_thread(
    (mut writer, mut recorder): (Writer<RealFs>, Recorder<RealFs>),
    work: Arc<Mailbox<JournalWork>>,
    answers: Arc<Mailbox<Answer>>,
) -> impl FnOnce() + Send + 'static {
    move || {
        let answer = |committed| post(&answers, Answer::Event(Event::Journal(committed)));
        let mut soon = false;
        loop {
            let batch = match recorder.is_on() {
                true => {
                    work.take_blocking_for(if soon { RECORD_SOON } else { RECORD_LATEST }).unwrap_or(Some(Vec::new()))
                }
                false => work.take_blocking(),
            };
            // What led to these frames was handed over before they were, so it is written first.
            let (some, failed) = driver::record_step(&mut recorder);
            soon = some;
            failed.map(answer);
            let Some(batch) = batch else { break };
            for item in batch {
                answer(driver::journal_step(&mut writer, item));
            }
        }
        writer.trim();
    }
}

fn stop_level(level: Level) -> StopLevel {
    match level {
        Level::Running => StopLevel::Run,
        Level::Draining => StopLevel::Drain,
        Level::Stopping => StopLevel::Kill,
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
