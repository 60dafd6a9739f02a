//! Whoever talks to sprag: adds jobs, pauses, cancels, tries again, looks, and is not always answered.
//!
//! **Invariant.** No answer is not "no": what was asked of a sprag that died is asked again, with the same key. At the end
//! every item that was ever asked for is acknowledged, and no queue is left paused.

use crate::chance::Chance;
use crate::failure::{Check, Failure};
use crate::items;
use crate::marks::Mark;
use crate::places::{Actor, Site};
use crate::trace::Kind;
use crate::world::{Due, World};
use serde::de::IgnoredAny;
use sprag_core::{JobId, Refusal, Reply, StopLevel};
use sprag_runtime::driver::Event;
use sprag_runtime::request::{Add, Answer, Request, Ticket};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The client's items are called after this letter, as a source's after its own.
pub const SOURCE: u8 = 25;
/// When nobody answers, another try after so long.
const AGAIN_US: u64 = 150_000;
/// So long after it was asked, and when nothing goes wrong any more, everything is answered.
const ANSWER_WITHIN_US: u64 = 120_000_000;
/// Numbers of items that are asked for under another's key begin here.
const CONFLICTS: u16 = 10_000;
/// No longer is a job delayed.
const DELAY_MS_MAX: u64 = 3_000;

/// Something to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Add {
        item: u16,
        delay_ms: u64,
        priority: i16,
    },
    /// A key that is known, with another payload.
    Conflict {
        item: u16,
    },
    Cancel(u64),
    Retry(u64),
    RetryDead(usize),
    Pause(usize),
    Resume(usize),
    Status,
    Job(u64),
    Stop(StopLevel),
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    ask: Ask,
    at_us: u64,
    /// Sprag has heard of it.
    heard: bool,
}

/// Everybody who asks.
#[derive(Debug)]
pub struct Client {
    /// So many more things will be asked for on a whim.
    whims: u64,
    tickets: u64,
    open: BTreeMap<u64, Asked>,
    /// What must still be asked for.
    owed: VecDeque<Ask>,
    /// Items that were ever asked for; with the job, once acknowledged.
    items: BTreeMap<u16, Option<u64>>,
    /// Items that were asked for under another's key.
    conflicts: BTreeSet<u16>,
    /// Jobs that somebody wanted ended.
    pub cancelled: BTreeSet<u64>,
    /// Queues that may be paused.
    paused: BTreeSet<usize>,
    /// With a new item fewer others than this are asked for.
    burst: u64,
    done: bool,
}

impl Client {
    /// The client of a world: in half of them there is none.
    pub fn new(chance: &mut Chance) -> Client {
        let whims = [0, 0, 3, 12][chance.below(Actor::Client, Site::Requests, 4) as usize];
        Client {
            whims,
            tickets: 0,
            open: BTreeMap::new(),
            owed: VecDeque::new(),
            items: BTreeMap::new(),
            conflicts: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            paused: BTreeSet::new(),
            burst: 1,
            done: whims == 0,
        }
    }

    /// So many more things will be asked for, and up to so many new items at once.
    pub(crate) fn is_eager(&mut self, whims: u64, burst: u64) {
        self.whims += whims;
        self.burst = burst;
        self.done = false;
    }

    /// Whether nobody will ask for anything any more.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether an item was asked for, under its own key or another's.
    pub fn asked_for(&self, item: u16) -> bool {
        self.items.contains_key(&item) || self.conflicts.contains(&item)
    }

    /// Whether a request waits for its answer.
    pub(crate) fn is_open(&self, ticket: u64) -> bool {
        self.open.contains_key(&ticket)
    }

    /// Every item that was asked for.
    pub fn items(&self) -> impl Iterator<Item = u16> {
        self.items.keys().copied()
    }

    /// Sprag has died: what it did not answer may or may not be.
    pub fn lose(&mut self) {
        for (_, asked) in std::mem::take(&mut self.open) {
            match asked.ask {
                ask @ Ask::Add { .. } => self.owed.push_back(ask),
                Ask::Pause(queue) | Ask::Resume(queue) => _ = self.paused.insert(queue),
                Ask::Conflict { .. } | Ask::Cancel(_) | Ask::Retry(_) | Ask::RetryDead(_) => {}
                Ask::Status | Ask::Job(_) | Ask::Stop(_) => {}
            }
        }
    }

    /// Sprag hears of a request.
    pub fn heard(&mut self, ticket: Ticket) {
        if let Some(asked) = self.open.get_mut(&ticket.0) {
            asked.heard = true;
        }
    }

    /// A request that sprag has heard of and not answered.
    pub fn unanswered(&self) -> Option<String> {
        self.open.values().find(|asked| asked.heard).map(|asked| format!("{:?}", asked.ask))
    }

    /// What to ask for next: what is owed first; once nothing goes wrong any more, only that.
    fn next(&mut self, chance: &mut Chance, queues: usize, healed: bool) -> Option<Ask> {
        // Where a queue is paused there may be no place for what is owed.
        let resume = if healed { self.paused.pop_first() } else { None };
        if let Some(ask) = resume.map(Ask::Resume).or_else(|| self.owed.pop_front()) {
            return Some(ask);
        }
        if self.whims > 0 && !healed {
            self.whims -= 1;
            return Some(self.whim(chance, queues));
        }
        self.whims = 0;
        None
    }

    fn whim(&mut self, chance: &mut Chance, queues: usize) -> Ask {
        let mut below = |n: usize| chance.below(Actor::Client, Site::Request, n as u64);
        let acknowledged: Vec<u16> =
            self.items.iter().filter(|(_, job)| job.is_some()).map(|(item, _)| *item).collect();
        match below(12) {
            1 if !acknowledged.is_empty() => Ask::Conflict { item: acknowledged[below(acknowledged.len()) as usize] },
            2 if !acknowledged.is_empty() => {
                Ask::Add { item: acknowledged[below(acknowledged.len()) as usize], delay_ms: 0, priority: 0 }
            }
            3 => Ask::Cancel(1 + below(12)),
            4 => Ask::Retry(1 + below(12)),
            5 => Ask::RetryDead(below(queues) as usize),
            6 => Ask::Pause(below(queues) as usize),
            7 => Ask::Resume(below(queues) as usize),
            8 => Ask::Status,
            9 => Ask::Job(1 + below(12)),
            10 => Ask::Stop([StopLevel::Drain, StopLevel::Kill][below(2) as usize]),
            _ => {
                let delay_ms = [0, 0, below(DELAY_MS_MAX as usize)][below(3) as usize];
                let priority = [0, 0, 3, -3][below(4) as usize];
                Ask::Add { item: self.items.len() as u16, delay_ms, priority }
            }
        }
    }
}

/// An item's job, as it goes over the wire.
fn add(queue: &str, key: u16, item: u16, delay_ms: u64, priority: i16) -> Result<Request, String> {
    let payload = items::text((SOURCE, item));
    let delay = if delay_ms > 0 { format!(",\"delay_ms\":{delay_ms}") } else { String::new() };
    let name = crate::trace::name_of(SOURCE);
    let json = format!("{{\"payload\":{payload},\"key\":\"{name}-{key}\",\"priority\":{priority}{delay}}}");
    Ok(Request::Add(Box::new(Add::parse(Some(queue), json.as_bytes()).map_err(|complaint| complaint.text)?)))
}

impl World {
    /// The client goes on.
    pub fn client_step(&mut self) {
        let serves = self.threads.is_some() && self.ending.is_none();
        // What is asked for while there is no room waits for some, however long that takes.
        let asked_us = self.client.open.values().map(|asked| asked.at_us).min();
        let since_us = asked_us.zip(self.healed_us).map(|(asked_us, healed_us)| asked_us.max(healed_us));
        if since_us.is_some_and(|since_us| self.now_us - since_us > ANSWER_WITHIN_US) {
            let what =
                format!("a request is not answered for {} s: {:?}", ANSWER_WITHIN_US / 1_000_000, self.client.open);
            return self.fail(Check::AnsweredOnce.failed(what));
        }
        if !serves || !self.client.open.is_empty() {
            self.schedule(AGAIN_US, Due::Client);
            return;
        }
        let queues = self.pipeline.queues.len();
        let Some(ask) = self.client.next(&mut self.chance, queues, self.healed) else {
            if self.healed {
                self.client.done = true;
                self.note(Actor::Client, Kind::Step, format_args!("has nothing more to ask for"));
            } else {
                self.schedule(AGAIN_US, Due::Client);
            }
            return;
        };
        self.ask(ask);
        let mut below = |n| self.chance.below(Actor::Client, Site::Burst, n);
        match ask {
            Ask::Add { .. } if self.client.burst > 1 && !self.healed => {
                for _ in 0..below(self.client.burst) {
                    self.ask(Ask::Add { item: self.client.items.len() as u16, delay_ms: 0, priority: 0 });
                }
            }
            // Somebody looks at a job while sprag ends.
            Ask::Stop(_) if below(2) == 1 => {
                let job = 1 + below(12);
                self.ask(Ask::Job(job));
            }
            _ => {}
        }
        let rest_us = self.chance.span(Actor::Client, Site::ProducerRest, 10, 1_000_000);
        self.schedule(rest_us, Due::Client);
    }

    fn ask(&mut self, ask: Ask) {
        match self.request(ask) {
            Ok(request) => self.send(ask, request),
            Err(what) => self.fail(Check::Panic.failed(format!("the client cannot ask: {what}"))),
        }
    }

    fn send(&mut self, ask: Ask, request: Request) {
        match ask {
            Ask::Add { item, .. } => _ = self.client.items.entry(item).or_insert(None),
            Ask::Cancel(job) => _ = self.client.cancelled.insert(job),
            Ask::Pause(queue) => _ = self.client.paused.insert(queue),
            Ask::Retry(job) => self.oracle.waits_no_more(Some(job)),
            Ask::RetryDead(_) => self.oracle.waits_no_more(None),
            Ask::Conflict { item } => _ = self.client.conflicts.insert(item + CONFLICTS),
            Ask::Stop(_) => self.mark(Mark::StopAsked),
            Ask::Resume(_) | Ask::Status | Ask::Job(_) => {}
        }
        self.client.tickets += 1;
        let ticket = self.client.tickets;
        self.client.open.insert(ticket, Asked { ask, at_us: self.now_us, heard: false });
        self.note(Actor::Client, Kind::Act, format_args!("asks, request {ticket}: {ask:?}"));
        let delay_us = self.chance.span(Actor::Client, Site::AnswerDelay, 5, 5_000);
        let (life, ticket) = (self.life, Ticket(ticket));
        self.schedule(delay_us, Due::Heard { life, event: Event::Request { ticket, request } });
    }

    fn request(&self, ask: Ask) -> Result<Request, String> {
        let queue = |index: usize| self.pipeline.queues[index].policy.name.to_string();
        Ok(match ask {
            Ask::Add { item, delay_ms, priority } => add(&queue(0), item, item, delay_ms, priority)?,
            // It becomes a job only if the key is known no longer.
            Ask::Conflict { item } => add(&queue(0), item, item + CONFLICTS, 0, 0)?,
            Ask::Cancel(job) => Request::Cancel(JobId(job)),
            Ask::Retry(job) => Request::Retry(JobId(job)),
            Ask::RetryDead(index) => Request::RetryDead { queue: queue(index) },
            Ask::Pause(index) => Request::Pause { queue: queue(index) },
            Ask::Resume(index) => Request::Resume { queue: queue(index) },
            Ask::Status => Request::Status,
            Ask::Job(job) => Request::Job(JobId(job)),
            Ask::Stop(level) => Request::Stop(level),
        })
    }

    /// Sprag answers.
    pub fn answered(&mut self, ticket: Ticket, answer: &Answer) {
        let Some(asked) = self.client.open.remove(&ticket.0) else {
            return self.fail(Check::AnsweredOnce.failed(format!("request {} is answered twice", ticket.0)));
        };
        if let Err(failure) = self.judge_answer(asked, answer) {
            self.fail(failure);
        }
    }

    fn judge_answer(&mut self, asked: Asked, answer: &Answer) -> Result<(), Failure> {
        use Refusal::{Full, NoSpace, NoSuchJob, NoSuchQueue, Stopping, WrongState};
        let wrong = || Err(Check::RightAnswer.failed(format!("{:?} is answered {answer:?}", asked.ask)));
        match (asked.ask, answer) {
            (ask @ (Ask::Add { .. } | Ask::Pause(_) | Ask::Resume(_)), Answer::Busy) => self.client.owed.push_back(ask),
            (_, Answer::Busy) => {}
            (Ask::Add { item, delay_ms, .. }, Answer::Reply(Reply::Added(JobId(job)) | Reply::Known(JobId(job)))) => {
                let added = matches!(answer, Answer::Reply(Reply::Added(_)));
                let known = self.client.items.insert(item, Some(*job)).flatten();
                let known = known.filter(|known| !self.oracle.is_let_go(*known));
                if known.is_some_and(|known| known != *job || added) {
                    let what = format!("item {item} was job {known:?}, and is answered {answer:?}");
                    return Err(Check::KeysHold.failed(what));
                }
                self.oracle.told("added", *job);
                if added {
                    let life = self.life;
                    self.oracle.waits(*job, life, (asked.at_us + delay_ms * 1000).saturating_sub(1_000));
                }
            }
            (ask @ Ask::Add { .. }, Answer::Reply(Reply::Refused(NoSpace | Stopping | Full))) => {
                self.client.owed.push_back(ask);
            }
            (Ask::Conflict { item }, Answer::Reply(Reply::Conflict(JobId(job)))) => {
                let known = self.client.items.get(&item).copied().flatten();
                if known != Some(*job) && !known.is_some_and(|known| self.oracle.is_let_go(known)) {
                    return wrong();
                }
            }
            // Once its first job and its key are forgotten, whoever comes first has the key.
            (Ask::Conflict { item }, Answer::Reply(Reply::Added(JobId(job)) | Reply::Known(JobId(job))))
            | (Ask::Add { item, .. }, Answer::Reply(Reply::Conflict(JobId(job)))) => {
                let known = self.client.items.get(&item).copied().flatten();
                if !known.is_some_and(|known| self.oracle.is_let_go(known)) {
                    return wrong();
                }
                self.oracle.told("added", *job);
            }
            (Ask::Conflict { .. }, Answer::Reply(Reply::Refused(NoSpace | Stopping | Full))) => {}
            (Ask::Cancel(job), Answer::Reply(Reply::Done)) => self.oracle.told("cancelled", job),
            (Ask::Retry(job), Answer::Reply(Reply::Done)) => self.oracle.told("redriven", job),
            (
                Ask::Cancel(_) | Ask::Retry(_),
                Answer::Reply(Reply::Refused(NoSuchJob | WrongState)) | Answer::WrongState(_),
            ) => {}
            (Ask::RetryDead(_), Answer::Retried { .. } | Answer::Reply(Reply::Refused(NoSuchQueue))) => {}
            (Ask::Pause(_) | Ask::Resume(_) | Ask::Stop(_), Answer::Reply(Reply::Done)) => {}
            (Ask::Pause(_), Answer::Queue(view)) if view.paused => {}
            (Ask::Resume(_), Answer::Queue(view)) if !view.paused => {}
            (Ask::Status, Answer::Status(json)) => {
                if serde_json::from_slice::<IgnoredAny>(json).is_err() {
                    return wrong();
                }
            }
            (Ask::Job(job), Answer::Job(view)) if view.job == job => {}
            (Ask::Job(_), Answer::Reply(Reply::Refused(NoSuchJob))) => {}
            (
                _,
                Answer::Reply(_) | Answer::WrongState(_) | Answer::Retried { .. } | Answer::Status(_) | Answer::Job(_),
            ) => {
                return wrong();
            }
            (_, Answer::Jobs(_) | Answer::Queues(_) | Answer::Queue(_)) => return wrong(),
        }
        Ok(())
    }
}
