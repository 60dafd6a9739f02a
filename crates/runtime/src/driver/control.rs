//! From clients to the Machine: what they ask for, in the order in which they ask, and what they are told.
//!
//! **Invariant.** Every request is answered once; what an answer says of a record is durable. Requests wait here while the
//! journal is behind, and never so many that memory runs out: one more is told that we are busy. A look at how things
//! stand, and the word to stop, wait for nothing.

use super::asked::{Origin, Words};
use super::{Driver, Effect, Notice};
use crate::listing::Chosen;
use crate::request::{Add, Answer, JobView, Page, QueueView, Request, Ticket};
use crate::task::Task;
use sprag_core::{Input, Job, JobId, NewJob, Now, Refusal, Reply, RequestId, Seq, State};
use std::collections::VecDeque;

/// So many requests are unanswered; one more is told that we are busy.
pub(crate) const REQUESTS_MAX: usize = 65_536;
/// No more is taken from clients while so many bytes wait for the journal: half of what sources may fill, so that a flood
/// of requests leaves them their share.
const PENDING_BYTES_MAX: u64 = 1 << 19;

/// No page of a listing has more jobs.
const PAGE_JOBS_MAX: usize = 500;
/// So many jobs are looked at for a page, listed or not: some hundred microseconds of the loop's time.
const PAGE_LOOKED_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Control {
    /// Asked, and not yet put to the Machine.
    waiting: VecDeque<(Ticket, Request)>,
    /// What is under way at the head of the line: the dead jobs of a queue.
    retrying: Option<RetryDead>,
    /// Told once what it says is durable.
    withheld: VecDeque<(Seq, Ticket, Answer)>,
    /// Not answered yet, wherever they are.
    open: usize,
}

#[derive(Debug)]
struct RetryDead {
    ticket: Ticket,
    left: VecDeque<JobId>,
    jobs: u64,
}

impl Control {
    /// Nobody waits for an answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.open == 0
    }

    /// Whether somebody waits to be told of a record.
    pub(super) fn waits_for_records(&self) -> bool {
        !self.withheld.is_empty()
    }
}

impl Driver {
    /// A client asks.
    pub(super) fn request(&mut self, now: Now, ticket: Ticket, request: Request) {
        let waits = match request {
            Request::Status | Request::Diagnose | Request::Queues { .. } | Request::Stop(_) => false,
            Request::Add(_)
            | Request::Cancel(_)
            | Request::Retry(_)
            | Request::RetryDead { .. }
            | Request::Pause { .. }
            | Request::Resume { .. }
            | Request::Job(_)
            | Request::Jobs { .. } => true,
        };
        self.control.open += 1;
        if !waits {
            self.do_request(now, ticket, request);
        } else if self.control.open > REQUESTS_MAX {
            self.answer(ticket, Answer::Busy);
        } else {
            self.control.waiting.push_back((ticket, request));
        }
    }

    /// Puts requests to the Machine, as long as the journal keeps up.
    pub(super) fn do_requests(&mut self, now: Now) {
        self.tell_withheld();
        while self.persistence.pending() < PENDING_BYTES_MAX {
            if self.retry_next_dead(now) {
                continue;
            }
            let Some((ticket, request)) = self.control.waiting.pop_front() else { return };
            self.do_request(now, ticket, request);
        }
    }

    fn do_request(&mut self, now: Now, ticket: Ticket, request: Request) {
        match request {
            Request::Add(add) => self.add(now, ticket, *add),
            Request::Cancel(job) => self.ask(now, ticket, Some(job), |request| Input::Cancel { request, job }),
            Request::Retry(job) => self.ask(now, ticket, Some(job), |request| Input::Redrive { request, job }),
            Request::RetryDead { queue } => self.retry_dead(ticket, &queue),
            Request::Pause { queue } | Request::Resume { queue } if self.machine.find_queue(&queue).is_none() => {
                self.answer(ticket, Answer::Reply(Reply::Refused(Refusal::NoSuchQueue)));
            }
            Request::Pause { queue } => {
                let queue = self.machine.queue_named(&queue);
                self.ask(now, ticket, None, |request| Input::Pause { request, queue });
            }
            Request::Resume { queue } => {
                let queue = self.machine.queue_named(&queue);
                self.ask(now, ticket, None, |request| Input::Resume { request, queue });
            }
            Request::Job(job) => {
                let view = self.machine.job(job).map(|found| self.job_view(job, found));
                let none = Answer::Reply(Reply::Refused(Refusal::NoSuchJob));
                self.tell_durable(ticket, view.map_or(none, Answer::Job));
            }
            Request::Jobs { which, after, limit } => {
                let answer = match which.look_up(&self.machine) {
                    Ok(chosen) => Answer::Jobs(self.page(chosen, after, limit)),
                    Err(refusal) => Answer::Reply(Reply::Refused(refusal)),
                };
                self.tell_durable(ticket, answer);
            }
            Request::Queues { queue } => {
                let answer = self.queues_answer(queue.as_deref());
                self.answer(ticket, answer);
            }
            Request::Diagnose => {
                let json = self.waits_json(now);
                self.answer(ticket, Answer::Status(json));
            }
            Request::Status => {
                let json = self.status_json(now);
                self.answer(ticket, Answer::Status(json));
            }
            Request::Stop(level) => {
                if level > self.stopping {
                    self.effects.push_back(Effect::Say(Notice::Stopping { level }));
                }
                self.stop(now, level);
                self.answer(ticket, Answer::Reply(Reply::Done));
            }
        }
    }

    fn ask(&mut self, now: Now, ticket: Ticket, about: Option<JobId>, input: impl FnOnce(RequestId) -> Input) {
        let state = about.and_then(|id| Some(self.machine.state_name(id, self.machine.job(id)?)));
        let request = self.asked.ask(Some(Origin::Client { ticket, state }));
        self.input(now, input(request));
    }

    fn add(&mut self, now: Now, ticket: Ticket, add: Add) {
        // A queue that only the journal knows takes no new jobs: nothing would run them.
        if self.pipeline.queue(&add.queue).is_none() {
            return self.answer(ticket, Answer::Reply(Reply::Refused(Refusal::NoSuchQueue)));
        }
        let job = NewJob {
            queue: self.machine.queue_named(&add.queue),
            key: add.hash,
            digest: add.digest,
            priority: add.priority,
            when: add.when,
        };
        self.submit(now, Origin::Client { ticket, state: None }, job, Words { key: add.key, payload: add.payload });
    }

    fn retry_dead(&mut self, ticket: Ticket, queue: &str) {
        let Some(queue) = self.machine.find_queue(queue) else {
            return self.answer(ticket, Answer::Reply(Reply::Refused(Refusal::NoSuchQueue)));
        };
        let dead = self.machine.jobs().filter(|(_, job)| job.queue == queue && matches!(job.state, State::Dead(_)));
        let left: VecDeque<JobId> = dead.map(|(id, _)| id).collect();
        if left.is_empty() {
            return self.tell_durable(ticket, Answer::Retried { jobs: 0 });
        }
        let jobs = left.len() as u64;
        self.control.retrying = Some(RetryDead { ticket, left, jobs });
    }

    /// Whether there was one. Nothing else makes a dead job alive while this is at the head of the line.
    fn retry_next_dead(&mut self, now: Now) -> bool {
        let Some(retrying) = &mut self.control.retrying else { return false };
        let (ticket, jobs) = (retrying.ticket, retrying.jobs);
        let Some(job) = retrying.left.pop_front() else { return false };
        let last = retrying.left.is_empty();
        if last {
            self.control.retrying = None;
        }
        // Answers come in order, so the last one says that all are durable.
        let request = self.asked.ask(last.then_some(Origin::RetryDead { ticket, jobs }));
        self.input(now, Input::Redrive { request, job });
        true
    }

    /// A bounded piece of a listing: what is looked at counts, not only what is listed.
    fn page(&self, chosen: Chosen, after: JobId, limit: usize) -> Page {
        let (mut jobs, mut looked, mut next) = (Vec::new(), 0, None);
        for (id, job) in self.machine.jobs_after(after) {
            if looked == PAGE_LOOKED_MAX || jobs.len() == limit.min(PAGE_JOBS_MAX) {
                return Page { jobs, next };
            }
            (looked, next) = (looked + 1, Some(id));
            if chosen.takes(job, self.machine.state_name(id, job)) {
                jobs.push(self.job_view(id, job));
            }
        }
        Page { jobs, next: None }
    }

    fn job_view(&self, id: JobId, job: &Job) -> JobView {
        JobView {
            job: id.0,
            place: job.payload,
            words: None,
            queue: self.machine.queue_name(job.queue).into(),
            state: self.machine.state_name(id, job).as_str(),
            attempt: job.attempt,
            failures: job.failures,
            priority: job.priority,
            due_at_ms: job.state.due().map(|due| due.0),
            reason: job.state.dead_reason(),
            cancelling: job.cancelling,
            unpublished: job.unpublished,
            slot: job.state.slot().map(|slot| slot.0),
        }
    }

    fn queues_answer(&self, name: Option<&str>) -> Answer {
        let mut views = self.queue_views();
        match name {
            None => Answer::Queues(views.collect()),
            Some(name) => views
                .find(|view| view.name == name)
                .map_or(Answer::Reply(Reply::Refused(Refusal::NoSuchQueue)), Answer::Queue),
        }
    }

    /// All queues, as status and listings have them.
    pub(super) fn queue_views(&self) -> impl Iterator<Item = QueueView> {
        self.machine.queues().map(|queue| QueueView {
            name: queue.name.into(),
            configured: queue.configured,
            paused: queue.paused,
            progress: queue.progress.count,
            jobs: queue.counts,
        })
    }

    /// Answers once everything decided so far is durable.
    fn tell_durable(&mut self, ticket: Ticket, answer: Answer) {
        self.control.withheld.push_back((self.machine.last_seq(), ticket, answer));
        self.tell_withheld();
    }

    fn tell_withheld(&mut self) {
        let durable = self.machine.durable_seq();
        while let Some((_, ticket, mut answer)) = self.control.withheld.pop_front_if(|(seq, ..)| *seq <= durable) {
            if answer.jobs_mut().is_empty() {
                self.answer(ticket, answer);
            } else {
                // Their words are read where reading may take long.
                self.effects.push_back(Effect::Run(Task::Tell { ticket, answer }));
            }
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.control.open -= 1;
        self.effects.push_back(Effect::Answer { ticket, answer });
    }
}
