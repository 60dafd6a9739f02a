//! Answers as HTTP has them: a status code and one JSON object.
//!
//! **Invariant.** Every answer of the driver has one code and one text, here and nowhere else; `docs/api.md` lists them.

use crate::request::Answer;
use crate::scan::Complaint;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sprag_core::{JobId, Refusal, Reply};

/// What a client is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: u16,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Object(Map<String, Value>),
    /// Whole JSON already.
    Raw(Bytes),
}

impl Said {
    pub(super) fn error(code: u16, text: impl Into<String>) -> Said {
        Said::object(code, json!({ "error": text.into() }))
    }

    /// A position that is lost.
    pub(super) fn gone(text: String) -> Said {
        Said::refused(410, "gone", &text)
    }

    /// No place is left; later there may be.
    pub(super) fn busy(text: &str) -> Said {
        Said::refused(429, "busy", text)
    }

    /// With a word for programs beside the sentence for people.
    fn refused(code: u16, reason: &str, text: &str) -> Said {
        Said::object(code, json!({ "error": text, "reason": reason }))
    }

    fn object(code: u16, value: Value) -> Said {
        let object = match value {
            Value::Object(object) => object,
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Map::from_iter([("value".to_owned(), value)])
            }
        };
        Said { code, body: Body::Object(object) }
    }

    /// The body of an answer that stands alone.
    pub(super) fn bytes(self) -> Bytes {
        match self.body {
            Body::Raw(bytes) => bytes,
            Body::Object(object) => {
                let mut bytes = serde_json::to_vec(&object).unwrap_or_default();
                bytes.push(b'\n');
                bytes.into()
            }
        }
    }

    /// The answer to one line of many, with its number and its code.
    pub(super) fn write_line(self, line: u64, out: &mut Vec<u8>) {
        let mut said = Map::new();
        said.insert("line".into(), line.into());
        said.insert("status".into(), self.code.into());
        if let Body::Object(object) = self.body {
            said.extend(object);
        }
        out.extend(serde_json::to_vec(&said).unwrap_or_default());
        out.push(b'\n');
    }
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Said {
        match answer {
            Answer::Reply(Reply::Added(JobId(job))) => Said::object(201, json!({ "result": "added", "job": job })),
            Answer::Reply(Reply::Known(JobId(job))) => Said::object(200, json!({ "result": "known", "job": job })),
            Answer::Reply(Reply::Conflict(JobId(job))) => {
                let error = format!("the key is known with another payload: job {job}");
                Said::object(409, json!({ "error": error, "reason": "conflict", "job": job }))
            }
            Answer::Reply(Reply::Done) => Said::object(200, json!({ "result": "done" })),
            Answer::Reply(Reply::Refused(refusal)) => refused(refusal),
            Answer::WrongState(state) => {
                let (reason, state) = ("wrong_state", state.as_str());
                let error = format!("the state of the job does not allow it: it is {state}");
                Said::object(409, json!({ "error": error, "reason": reason, "state": state }))
            }
            Answer::Retried { jobs } => Said::object(200, json!({ "result": "done", "jobs": jobs })),
            Answer::Status(json) => Said { code: 200, body: Body::Raw(json.into()) },
            Answer::Job(view) => Said { code: 200, body: Body::Raw([&view.json()[..], b"\n"].concat().into()) },
            Answer::Jobs(page) => Said::object(200, json!({ "jobs": page.jobs })),
            Answer::Queues(views) => Said::object(200, json!({ "queues": views })),
            Answer::Queue(view) => Said::object(200, serde_json::to_value(view).unwrap_or_default()),
            Answer::Busy => Said::busy("too many requests wait; ask again later"),
        }
    }
}

/// What was sent is not a job.
impl From<Complaint> for Said {
    fn from(complaint: Complaint) -> Said {
        Said::error(400, complaint.text)
    }
}

fn refused(refusal: Refusal) -> Said {
    match refusal {
        Refusal::NoSuchJob => Said::refused(404, "no_such_job", "there is no such job"),
        Refusal::NoSuchQueue => Said::refused(404, "no_such_queue", "there is no such queue"),
        Refusal::WrongState => Said::refused(409, "wrong_state", "the state of the job does not allow it"),
        Refusal::Full => Said::refused(507, "full", "as many jobs as there may be are known"),
        Refusal::NoSpace => Said::refused(507, "no_space", "the disk has no room for more than completions"),
        Refusal::Stopping => Said::refused(503, "stopping", "sprag is about to end and takes nothing new"),
    }
}
