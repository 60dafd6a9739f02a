//! Who asked the Machine for what: the one place that knows.
//!
//! **Invariant.** A request number is given out once and answered once; the answer finds its way by it alone.

use super::Driver;
use crate::request::{Answer, Ticket};
use serde_json::value::RawValue;
use sprag_core::{Bug, Input, NewJob, Now, Refusal, Reply, RequestId, StateName, planted};
use sprag_journal::codec::Texts;
use std::collections::BTreeMap;

/// Whose answer is withheld until durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// An item of a source; from the drop-box it came in a file.
    Source { source: u16, file: Option<String> },
    /// A client; when it asked about a job, with the state that the job was in.
    Client { ticket: Ticket, state: Option<StateName> },
    /// A client that retries all dead jobs: its last one, after `jobs` in all. Those before it ask for no answer.
    RetryDead { ticket: Ticket, jobs: u64 },
}

/// Everyone who waits for an answer of the Machine.
#[derive(Debug, Default)]
pub(super) struct Asked {
    origins: BTreeMap<RequestId, Origin>,
    last: u64,
    /// The words of the job whose record is being decided.
    current: Option<Words>,
}

/// What a job's record says beside what the Machine decides.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) key: Option<String>,
    pub(super) payload: Box<RawValue>,
}

impl Asked {
    /// The number of a new request. Without an origin nobody waits for its answer.
    pub(super) fn ask(&mut self, origin: Option<Origin>) -> RequestId {
        self.last += 1;
        let request = RequestId(self.last);
        self.origins.extend(origin.map(|origin| (request, origin)));
        request
    }

    /// The words of the job whose record is being decided.
    pub(super) fn current(&self) -> Option<Texts<'_>> {
        self.current.as_ref().map(|words| Texts { key: words.key.as_deref(), payload: &words.payload })
    }

    /// Who waits for the answer that has come.
    pub(super) fn answered(&mut self, request: RequestId) -> Option<Origin> {
        self.origins.remove(&request)
    }
}

impl Driver {
    /// Asks the Machine for a job.
    pub(super) fn submit(&mut self, now: Now, origin: Origin, job: NewJob, words: Words) {
        self.tell_space(now);
        let request = self.asked.ask(Some(origin));
        self.asked.current = Some(words);
        self.input(now, Input::Submit { request, job });
        self.asked.current = None;
    }

    /// An answer is durable.
    pub(super) fn replied(&mut self, now: Now, request: RequestId, reply: Reply) {
        match self.asked.answered(request) {
            Some(Origin::Source { source, file }) => self.source_answered(now, source, file, reply),
            Some(Origin::Client { .. }) if planted(Bug::AnswerLost) && self.persistence.pending() > 0 => {}
            Some(Origin::Client { ticket, state }) => {
                let answer = match (reply, state) {
                    (Reply::Refused(Refusal::WrongState), Some(state)) => Answer::WrongState(state),
                    (reply, _) => Answer::Reply(reply),
                };
                self.answer(ticket, answer);
            }
            Some(Origin::RetryDead { ticket, jobs }) => self.answer(ticket, Answer::Retried { jobs }),
            None => {}
        }
    }
}
