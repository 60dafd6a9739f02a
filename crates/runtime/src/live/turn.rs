//! The loop on tokio: waits for everything at once, feeds the driver, does what it says.
//!
//! **Invariant.** One task owns the driver and never blocks on another. What can take long is handed away through
//! [`Hands`] and comes back through a [`Mailbox`]. Nothing here decides an order: effects are done as the driver hands
//! them out.

use super::api::{Api, Asked, Client, Listener, Patience};
use super::hands::Hands;
use super::run::{Ended, Options, RunError, system};
use crate::driver::{Driver, Effect, Event, Notice};
use crate::request::Ticket;
use sprag_core::{Bug, Mono, Seq, StopLevel, planted};
use sprag_handoff::{Dirty, Level, Mailbox, Stop};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

/// Answers that can be on their way to the loop: one per task, child and frame; all of these are bounded elsewhere.
const ANSWERS_MAX: usize = 1 << 20;
/// How often the loop lets others go first while requests keep coming, before it decides.
const GATHERINGS_MAX: u32 = 4;

/// Where the loop hears of things, from any thread.
#[derive(Clone, Debug)]
pub struct Ears {
    /// What was handed away, and what clients ask.
    pub answers: Arc<Mailbox<Answer>>,
    /// Sources that may have changed, by their numbers.
    pub dirty: Arc<Dirty>,
    /// How far the end has come.
    pub stop: Arc<Stop>,
}

/// What comes back to the loop.
#[derive(Debug)]
pub enum Answer {
    /// Something for the driver.
    Event(Event),
    /// A client asks.
    Client(Asked),
    /// Whoever keeps the children cannot go on. Its last word.
    Lost(io::Error),
}

/// Everything the loop holds.
#[derive(Debug)]
pub struct Live<H> {
    driver: Driver,
    hands: H,
    ears: Ears,
    /// `None` where nobody can ask.
    api: Option<Api>,
    /// Who waits for an answer.
    clients: BTreeMap<Ticket, Client>,
    last_ticket: u64,
    options: Options,
}

/// What the loop woke up for.
enum Woken {
    Stop(Level),
    Answers(Vec<Answer>),
    Dirty(BTreeSet<usize>),
    Time,
}

impl Ears {
    /// For so many sources, the drop-box aside.
    pub fn new(sources: usize, stop: Arc<Stop>) -> Ears {
        Ears { answers: Arc::new(Mailbox::new(ANSWERS_MAX)), dirty: Arc::new(Dirty::new(sources + 1)), stop }
    }

    /// Serves clients, whose requests are heard from now on. Records up to `durable` happened before. To be called inside a
    /// tokio runtime.
    pub fn serve(&self, listener: impl Listener, durable: Seq) -> Api {
        let answers = Arc::clone(&self.answers);
        Api::serve(listener, Patience::default(), durable, move |asked| post(&answers, Answer::Client(asked)))
    }
}

impl<H: Hands> Live<H> {
    /// A loop that has not begun to turn.
    pub fn new(driver: Driver, hands: H, ears: Ears, api: Option<Api>, options: Options) -> Live<H> {
        Live { driver, hands, ears, api, clients: BTreeMap::new(), last_ticket: 0, options }
    }

    /// Turns until the driver has stopped. `say` tells people what happens, with the driver to look names up in.
    ///
    /// # Errors
    /// What kept it from going on.
    pub async fn turn(mut self, mut say: impl FnMut(&Driver, &Notice)) -> Result<Ended, RunError> {
        let (mut seen, mut idle, mut given_up) = (Level::Running, false, None);
        self.tell(Event::Tick);
        loop {
            while let Some(effect) = self.driver.poll() {
                match effect {
                    Effect::Journal(work) => self.hands.write(work),
                    Effect::Run(task) => self.hands.run(task),
                    Effect::Signal { child, kill } => self.hands.signal(child, kill),
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
            let deadline = self.driver.deadline(self.hands.now());
            self.hands.rest(&self.driver, deadline);
            match self.wait(seen, deadline).await.map_err(system("wait for what happens"))? {
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
        events.iter().for_each(|event| self.hands.heard(event));
        // In this order: time that is slept through from here on is told with the next event.
        let at = self.hands.now();
        let ms = self.hands.slept_ms();
        if ms > 0 {
            self.driver.handle(at, Event::Slept { ms });
        }
        if !events.is_empty() {
            self.driver.handle_all(at, events.drain(..));
        }
    }

    async fn wait(&mut self, seen: Level, deadline: Option<Mono>) -> io::Result<Woken> {
        tokio::select! {
            biased;
            level = self.ears.stop.above(seen), if seen < Level::Stopping => Ok(Woken::Stop(level)),
            answers = self.ears.answers.take() => Ok(Woken::Answers(answers.unwrap_or_default())),
            marks = self.ears.dirty.take() => Ok(Woken::Dirty(marks)),
            time = self.hands.until(deadline) => time.map(|()| Woken::Time),
        }
    }

    /// Clients that were answered together ask again together, nearly: what one frame can hold is to be in it.
    async fn gather(&self, mut answers: Vec<Answer>) -> Vec<Answer> {
        for _ in 0..GATHERINGS_MAX {
            if !matches!(answers.last(), Some(Answer::Client(_))) {
                break;
            }
            tokio::task::yield_now().await;
            let more = poll_fn(|cx| match self.ears.answers.poll_take(cx) {
                Poll::Ready(more) => Poll::Ready(more),
                Poll::Pending => Poll::Ready(None),
            });
            match more.await {
                Some(more) if planted(Bug::BatchLost) => drop(more),
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
                    self.tell(event);
                }
                Answer::Client(Asked { request, client }) => {
                    if planted(Bug::TicketReused) {
                        self.last_ticket = self.clients.len() as u64;
                    }
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

    async fn end(self, idle: bool, given_up: Option<Vec<String>>) -> Ended {
        // Whoever asks from now on, or has asked and was not heard, is told that we have ended.
        self.ears.answers.close();
        drop(self.ears.answers.take().await);
        drop(self.clients);
        if let Some(api) = self.api {
            api.close().await;
        }
        self.hands.close();
        let (added, known) = self.driver.intake_counts();
        match given_up {
            Some(by) => Ended::GivenUp { by },
            None if idle => Ended::Idle { added, known },
            None => Ended::Stopped,
        }
    }
}

/// Hands an item over. To a mailbox that is closed: the program is ending, and nobody wants it any more.
pub(super) fn post<T>(mailbox: &Mailbox<T>, item: T) {
    let _ = mailbox.push(item);
}

fn stop_level(level: Level) -> StopLevel {
    match level {
        Level::Running => StopLevel::Run,
        Level::Draining => StopLevel::Drain,
        Level::Stopping => StopLevel::Kill,
    }
}
