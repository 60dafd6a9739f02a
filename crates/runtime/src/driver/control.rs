//! From clients to the Machine: what they ask for, in the order in which they ask, and what they are told.
//!
//! **Invariant.** Every request is answered once; what an answer says of a record is durable. Requests wait here while the
//! journal is behind, and never so many that memory runs out: one more is told that we are busy. A look at how things
//! stand, and the word to stop, wait for nothing.

use super::asked::{Origin, Words};
use super::{Driver, Effect};
use crate::request::{Add, Answer, JobView, Request, Ticket};
use sprag_core::{Input, JobId, NewJob, Now, Refusal, Reply, Seq, State};
use std::collections::VecDeque;

/// So many requests are unanswered; one more is told that we are busy.
pub(crate) const REQUESTS_MAX: usize = 65_536;
/// No more is taken from clients while so many bytes wait for the journal: half of what sources may fill, so that a flood
/// of requests leaves them their share.
const PENDING_BYTES_MAX: u64 = 1 << 19;

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
            Request::Status | Request::Stop(_) => false,
            Request::Add(_)
            | Request::Cancel(_)
            | Request::Retry(_)
            | Request::RetryDead { .. }
            | Request::Pause { .. }
            | Request::Resume { .. }
            | Request::Job(_) => true,
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
            Request::Cancel(job) => self.ask(now, ticket, |request| Input::Cancel { request, job }),
            Request::Retry(job) => self.ask(now, ticket, |request| Input::Redrive { request, job }),
            Request::RetryDead { queue } => self.retry_dead(ticket, &queue),
            Request::Pause { queue } | Request::Resume { queue } if self.machine.find_queue(&queue).is_none() => {
                self.answer(ticket, Answer::Reply(Reply::Refused(Refusal::NoSuchQueue)));
            }
            Request::Pause { queue } => {
                let queue = self.machine.queue_named(&queue);
                self.ask(now, ticket, |request| Input::Pause { request, queue });
            }
            Request::Resume { queue } => {
                let queue = self.machine.queue_named(&queue);
                self.ask(now, ticket, |request| Input::Resume { request, queue });
            }
            Request::Job(job) => {
                let answer = self.job_view(job);
                self.tell_durable(ticket, answer);
            }
            Request::Status => {
                let json = self.status_json(now);
                self.answer(ticket, Answer::Status(json));
            }
            Request::Stop(level) => {
                self.stop(now, level);
                self.answer(ticket, Answer::Reply(Reply::Done));
            }
        }
    }

    fn ask(&mut self, now: Now, ticket: Ticket, input: impl FnOnce(sprag_core::RequestId) -> Input) {
        let request = self.asked.ask(Some(Origin::Client { ticket }));
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
        self.submit(now, Origin::Client { ticket }, job, Words { key: add.key, payload: add.payload });
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

    fn job_view(&self, id: JobId) -> Answer {
        let Some(job) = self.machine.job(id) else {
            return Answer::Reply(Reply::Refused(Refusal::NoSuchJob));
        };
        let slot = match job.state {
            State::Running { slot } => Some(slot.0),
            State::Scheduled { .. }
            | State::Ready
            | State::Reserved { .. }
            | State::Succeeded
            | State::Dead(_)
            | State::Cancelled => None,
        };
        Answer::Job(JobView {
            job: id.0,
            queue: self.machine.queue_name(job.queue).into(),
            state: self.machine.state_name(id, job).as_str(),
            attempt: job.attempt,
            slot,
        })
    }

    /// Answers once everything decided so far is durable.
    fn tell_durable(&mut self, ticket: Ticket, answer: Answer) {
        self.control.withheld.push_back((self.machine.last_seq(), ticket, answer));
        self.tell_withheld();
    }

    fn tell_withheld(&mut self) {
        let durable = self.machine.durable_seq();
        while let Some((_, ticket, answer)) = self.control.withheld.pop_front_if(|(seq, ..)| *seq <= durable) {
            self.answer(ticket, answer);
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.control.open -= 1;
        self.effects.push_back(Effect::Answer { ticket, answer });
    }
}
