//! The loop's hands in the real world: the journal thread, the keeper, tokio's pool, the kernel's clocks and timer.
//!
//! **Invariant.** Frames go to the journal thread, starts and signals to the [keeper](super::keeper), all else to the pool.
//! The journal thread is waited for at the end, so that the lock outlives it; nobody else is, since anybody else may hang.

use super::clock::{Sleeps, Timer, now};
use super::hands::Hands;
use super::keeper::{Order, Watchdog};
use super::processes::LiveProcesses;
use super::run::{RunError, system};
use super::turn::{Answer, post};
use super::watch::LiveWatch;
use crate::driver::{self, Driver, Event, JournalWork};
use crate::flight::Recorder;
use crate::seams::{ChildId, Processes as _};
use crate::task::{Context, Done, Task};
use sprag_core::{Kill, Mono, Now};
use sprag_handoff::Mailbox;
use sprag_journal::{RealFs, Writer};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Frames and the like on their way to the journal thread: one frame, and a few questions.
const WORK_MAX: usize = 8;
/// What the flight recorder was handed is written before the next frame, and at the latest after so long; while there is some
/// again and again, sooner.
const RECORD_LATEST: Duration = Duration::from_secs(1);
const RECORD_SOON: Duration = Duration::from_millis(20);
/// Orders on their way to the keeper: bounded by the attempts that run.
pub(super) const ORDERS_MAX: usize = 1 << 20;

pub(super) type LiveContext = Context<RealFs, LiveProcesses, LiveWatch>;

/// Threads.
pub(super) struct Threads {
    context: Arc<LiveContext>,
    answers: Arc<Mailbox<Answer>>,
    journal: Arc<Mailbox<JournalWork>>,
    orders: Arc<Mailbox<Order>>,
    watchdog: Watchdog,
    timer: Timer,
    sleeps: Sleeps,
    journal_thread: thread::JoinHandle<()>,
}

impl Threads {
    /// Starts them. What they find goes to `answers`; `orders` is what the keeper hears of children. To be called inside a
    /// tokio runtime.
    pub(super) fn start(
        context: Arc<LiveContext>,
        writing: (Writer<RealFs>, Recorder<RealFs>),
        answers: Arc<Mailbox<Answer>>,
        orders: Arc<Mailbox<Order>>,
    ) -> Result<Threads, RunError> {
        let journal = Arc::new(Mailbox::new(WORK_MAX));
        let journal_thread = journal_thread(writing, Arc::clone(&journal), Arc::clone(&answers));
        let journal_thread =
            thread::Builder::new().name("journal".into()).spawn(journal_thread).map_err(system("start a thread"))?;
        let to_loop = Arc::clone(&answers);
        let report = move |said: io::Result<_>| post(&to_loop, said.map_or_else(Answer::Lost, Answer::Event));
        let watchdog = Watchdog::start(Arc::clone(&context), Arc::clone(&orders), Box::new(report))
            .map_err(system("wait for children"))?;
        let timer = Timer::new().map_err(system("set a timer"))?;
        let sleeps = Sleeps::new();
        Ok(Threads { context, answers, journal, orders, watchdog, timer, sleeps, journal_thread })
    }

    /// Where the journal thread is handed its work.
    pub(super) fn journal(&self) -> Arc<Mailbox<JournalWork>> {
        Arc::clone(&self.journal)
    }
}

impl Hands for Threads {
    fn now(&self) -> Now {
        now()
    }

    fn slept_ms(&mut self) -> u64 {
        self.sleeps.since()
    }

    async fn until(&mut self, deadline: Option<Mono>) -> io::Result<()> {
        self.timer.until(deadline).await
    }

    fn write(&mut self, work: JournalWork) {
        post(&self.journal, work);
    }

    fn run(&mut self, task: Task) {
        if task.makes_process() {
            self.watchdog.ordered(now().mono);
            return post(&self.orders, Order::Start(task));
        }
        let (context, answers) = (Arc::clone(&self.context), Arc::clone(&self.answers));
        drop(tokio::task::spawn_blocking(move || {
            post(&answers, Answer::Event(Event::Done(context.run(task))));
        }));
    }

    fn signal(&mut self, child: ChildId, kill: Kill) {
        self.context.processes.signal(child, kill);
    }

    fn heard(&mut self, event: &Event) {
        if let Event::Done(Done::Spawned { .. } | Done::SpawnFailed { .. }) = event {
            self.watchdog.answered(now().mono);
        }
    }

    fn rest(&mut self, _driver: &Driver, _deadline: Option<Mono>) {
        self.watchdog.look(now().mono);
    }

    /// The journal thread ends by itself once its mailbox is closed.
    fn close(self) {
        self.journal.close();
        // The keeper is not waited for: it may hang in a start.
        self.orders.close();
        self.context.processes.leave();
        if self.journal_thread.join().is_err() {
            tracing::error!("a thread of sprag ended by a bug");
        }
    }
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
