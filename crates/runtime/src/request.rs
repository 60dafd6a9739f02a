//! What clients may ask for, and what they are told.
//!
//! **Invariant.** A request is checked and hashed before it reaches the loop: what [`Add`] holds is one line of valid JSON
//! within its limits. Every request gets exactly one [`Answer`]; one that speaks of a record comes after the record is
//! durable.

use crate::json;
use crate::listing::Which;
use crate::pipeline::{key_hash, payload_digest};
use crate::scan::{Complaint, PAYLOAD_BYTES_MAX, check_key, one_line};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sprag_core::{
    Counts, DeadReason, JobId, KeyHash, Limits, PayloadRef, Reply, SourceFault, StateName, StopLevel, Wall, When,
};

/// No job as a client sends it is longer, in bytes: a payload of the largest size, its white space and its key.
pub const ADD_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// One request on its way, numbered by whoever passes it on. Never used again within a life of sprag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// A new job.
    Add(Box<Add>),
    /// The end of a job.
    Cancel(JobId),
    /// A dead or cancelled job is to be tried again.
    Retry(JobId),
    /// Every dead job of a queue is to be tried again.
    RetryDead {
        /// The queue's name.
        queue: String,
    },
    /// No more starts in a queue.
    Pause {
        /// The queue's name.
        queue: String,
    },
    /// Starts again in a queue.
    Resume {
        /// The queue's name.
        queue: String,
    },
    /// The end of sprag.
    Stop(StopLevel),
    /// How things stand.
    Status,
    /// Who waits for what.
    Diagnose,
    /// How a job stands.
    Job(JobId),
    /// How some jobs stand: a page of them.
    Jobs {
        /// Which.
        which: Which,
        /// Those that came after this one.
        after: JobId,
        /// No more than so many.
        limit: usize,
    },
    /// How the queues stand, or one of them.
    Queues {
        /// Its name.
        queue: Option<String>,
    },
}

/// A job as a client wants it.
#[derive(Clone, Debug)]
pub struct Add {
    /// The name of its queue.
    pub queue: String,
    /// Its key as text, if it has one.
    pub key: Option<String>,
    /// What makes it unique, if it has a key.
    pub hash: Option<KeyHash>,
    /// Tells payloads of one key apart.
    pub digest: u64,
    /// One line of JSON.
    pub payload: Box<RawValue>,
    /// Higher runs first.
    pub priority: i16,
    /// Not before.
    pub when: When,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The Machine's answer, durable.
    Reply(Reply),
    /// Not done: the job is in this state; durable.
    WrongState(StateName),
    /// So many dead jobs are tried again; durable.
    Retried {
        /// How many.
        jobs: u64,
    },
    /// How things stand, as JSON.
    Status(Vec<u8>),
    /// How a job stands; durable.
    Job(JobView),
    /// How some jobs stand; durable.
    Jobs(Page),
    /// How the queues stand.
    Queues(Vec<QueueView>),
    /// How the queue stands that was asked for.
    Queue(QueueView),
    /// Too many requests wait: ask again later.
    Busy,
}

impl Answer {
    /// The jobs that it tells of: their words have to be read before it is given.
    pub(crate) fn jobs_mut(&mut self) -> &mut [JobView] {
        match self {
            Answer::Job(view) => std::slice::from_mut(view),
            Answer::Jobs(page) => &mut page.jobs,
            Answer::Reply(_)
            | Answer::WrongState(_)
            | Answer::Retried { .. }
            | Answer::Status(_)
            | Answer::Queues(_)
            | Answer::Queue(_)
            | Answer::Busy => &mut [],
        }
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct JobView {
    /// Its number.
    pub job: u64,
    /// Where its words lie: what memory does not hold is read from there, off the loop.
    #[serde(skip)]
    pub place: PayloadRef,
    /// Its words; none if they could not be read.
    #[serde(flatten)]
    pub words: Option<JobWords>,
    /// Its queue's name.
    pub queue: String,
    /// Its state's name.
    pub state: &'static str,
    /// The number of its last attempt.
    pub attempt: u32,
    /// Failed attempts that count against the retries.
    pub failures: u32,
    /// Higher runs first.
    pub priority: i16,
    /// The moment that it waits for, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at_ms: Option<u64>,
    /// Why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DeadReason>,
    /// A cancel was accepted, and its attempt has not ended yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancelling: bool,
    /// Its result is not yet at its destination.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unpublished: bool,
    /// Where the output of a live attempt lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
}

/// What the journal says of a job, and memory does not hold.
#[derive(Clone, Debug, serde::Serialize)]
pub struct JobWords {
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it came, in milliseconds since 1970.
    pub added_at_ms: u64,
    /// What its command reads; not in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
}

impl PartialEq for JobWords {
    fn eq(&self, other: &JobWords) -> bool {
        let text = |words: &JobWords| words.payload.as_ref().map(|payload| payload.get().to_owned());
        (&self.key, self.added_at_ms, text(self)) == (&other.key, other.added_at_ms, text(other))
    }
}

impl Eq for JobWords {}

impl JobView {
    /// As clients see it: `id` and `attempts`, as `sprag list` has them, and both under their older names too.
    pub fn json(&self) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Named<'a> {
            id: u64,
            attempts: u32,
            #[serde(flatten)]
            view: &'a JobView,
        }
        // Numbers and texts alone: nothing in it can fail.
        serde_json::to_vec(&Named { id: self.job, attempts: self.attempt, view: self }).unwrap_or_default()
    }
}

/// Some jobs in order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// They.
    pub jobs: Vec<JobView>,
    /// The last job that was looked at: go on after it. `None` at the end.
    pub next: Option<JobId>,
}

/// How a queue stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// In the configuration, not only in the journal.
    pub configured: bool,
    /// No starts by request.
    pub paused: bool,
    /// Counts what has moved here.
    pub progress: u64,
    /// Its jobs by state.
    pub jobs: Counts,
}

/// A job as JSON. What is not read here is read in [`field`], which can name it when it is wrong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    queue: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: &'a RawValue,
    key: Option<&'a RawValue>,
    priority: Option<&'a RawValue>,
    delay_ms: Option<&'a RawValue>,
    at_ms: Option<&'a RawValue>,
}

impl Add {
    /// Reads `{"payload": ..., "key"?, "priority"?, "delay_ms"?, "at_ms"?}` for `queue`; without one the job names its own,
    /// as `"queue"`. The one place that knows how a job is written: clients and the drop-box both come here.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(queue: Option<&str>, bytes: &[u8]) -> Result<Add, Complaint> {
        let malformed = |text: String| Complaint::new(SourceFault::Malformed, text);
        if bytes.len() > ADD_BYTES_MAX {
            let text = format!("the job is longer than {ADD_BYTES_MAX} bytes");
            return Err(Complaint::new(SourceFault::TooLarge, text));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| malformed(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        // The parser would take an array of the fields, too.
        if text.trim_ascii_start().starts_with('[') {
            return Err(malformed("an array; a job is an object with a `payload`".into()));
        }
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| malformed(json::words(&error)))?;
        let queue = match (queue, field(wire.queue, "`queue` is no text")?) {
            (Some(queue), None) => queue.to_owned(),
            (None, Some(queue)) => queue,
            (Some(_), Some(_)) => return Err(malformed("the queue is named already; leave `queue` out".into())),
            (None, None) => return Err(malformed("`queue` is missing".into())),
        };
        let key: Option<String> = field(wire.key, "`key` is no text")?;
        key.as_deref().map_or(Ok(()), check_key)?;
        let priority = field(wire.priority, "`priority` is no whole number from -32768 to 32767")?;
        let delay_ms = field(wire.delay_ms, "`delay_ms` is no whole number of milliseconds")?;
        let at_ms = field(wire.at_ms, "`at_ms` is no whole number of milliseconds since 1970")?;
        let when = match (delay_ms, at_ms) {
            (Some(_), Some(_)) => return Err(malformed("give `delay_ms` or `at_ms`, not both".into())),
            (Some(delay_ms), None) if delay_ms > Limits::default().delay_ms_max => {
                return Err(malformed("`delay_ms` is more than 400 days; give `at_ms`".into()));
            }
            (Some(delay_ms), None) => When::Delay(delay_ms),
            (None, Some(at_ms)) => When::At(Wall(at_ms)),
            (None, None) => When::Now,
        };
        let payload = one_line(wire.payload).map_err(|complaint| complaint.of("the payload is "))?;
        Ok(Add {
            hash: key.as_deref().map(|key| key_hash(&queue, key)),
            digest: payload_digest(payload.get().as_bytes()),
            queue,
            key,
            payload,
            priority: priority.unwrap_or(0),
            when,
        })
    }
}

/// A field that may be left out, or be null.
fn field<T: DeserializeOwned>(raw: Option<&RawValue>, unfit: &str) -> Result<Option<T>, Complaint> {
    let read = raw.map(|raw| serde_json::from_str(raw.get())).transpose();
    read.map_err(|_| Complaint::new(SourceFault::Malformed, unfit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::KEY_BYTES_MAX;

    #[test]
    fn a_job_is_read_or_refused_with_its_reason() {
        let parse = |bytes: &[u8]| Add::parse(Some("q"), bytes);
        let add = parse(br#"{"payload": {"a": [1, 2]}, "key": "k", "priority": -2, "delay_ms": 5}"#).unwrap();
        assert_eq!((add.payload.get(), add.key.as_deref(), add.priority), (r#"{"a":[1,2]}"#, Some("k"), -2));
        assert_eq!((add.when, add.hash), (When::Delay(5), Some(key_hash("q", "k"))));
        let bare = parse(br#" {"payload":null,"key":null,"at_ms":7} "#).unwrap();
        assert_eq!((bare.payload.get(), bare.hash, bare.when), ("null", None, When::At(Wall(7))));
        let own = Add::parse(None, br#"{"queue":"r","payload":1,"key":"k"}"#).unwrap();
        assert_eq!((own.queue.as_str(), own.hash), ("r", Some(key_hash("r", "k"))));
        let said = Add::parse(None, br#"{"payload":1}"#).unwrap_err();
        assert_eq!(said.text, "`queue` is missing");
        let long = format!(r#"{{"payload":1,"key":"{}"}}"#, "k".repeat(KEY_BYTES_MAX + 1));
        let large = format!(r#"{{"payload":"{}"}}"#, "p".repeat(PAYLOAD_BYTES_MAX));
        let deep = format!(r#"{{"payload":{}{}}}"#, "[".repeat(65), "]".repeat(65));
        for (bytes, fault, why) in [
            (&b"{}"[..], SourceFault::Malformed, "`payload` is missing, at line 1 column 2"),
            (b"", SourceFault::Malformed, "it ends where a value should stand"),
            (b"{\"payload\":1}{", SourceFault::Malformed, "something follows"),
            (b"[1,null,null,null,null,null]", SourceFault::Malformed, "an array; a job is an object"),
            (b"{\"payload\":1,\"pay\":2}", SourceFault::Malformed, "`pay` is none of `queue`, `payload`, `key`, "),
            (b"{\"payload\":1,\"queue\":\"q\"}", SourceFault::Malformed, "leave `queue` out"),
            (b"{\"payload\":\"\xff\"}", SourceFault::Malformed, "not UTF-8 at byte 12"),
            (b"{\"payload\":1,\"key\":\"\"}", SourceFault::ItemWithoutKey, "an empty key"),
            (b"{\"payload\":1,\"key\":\"a\\u0000b\"}", SourceFault::ItemWithoutKey, "a key that holds a NUL"),
            (b"{\"payload\":1,\"key\":7}", SourceFault::Malformed, "`key` is no text"),
            (b"{\"payload\":1,\"delay_ms\":1,\"at_ms\":1}", SourceFault::Malformed, "not both"),
            (b"{\"payload\":1,\"delay_ms\":34560000001}", SourceFault::Malformed, "more than 400 days"),
            (b"{\"payload\":1,\"delay_ms\":-1}", SourceFault::Malformed, "`delay_ms` is no whole number"),
            (
                b"{\"payload\":1,\"priority\":40000}",
                SourceFault::Malformed,
                "`priority` is no whole number from -32768",
            ),
            (long.as_bytes(), SourceFault::ItemWithoutKey, "a key longer than 4096 bytes"),
            (large.as_bytes(), SourceFault::TooLarge, "the payload is longer than 1048576 bytes"),
            (deep.as_bytes(), SourceFault::TooLarge, "the payload is nested deeper than 64"),
            (&vec![b' '; ADD_BYTES_MAX + 1], SourceFault::TooLarge, "longer than 2097152 bytes"),
        ] {
            let said = parse(bytes).unwrap_err();
            assert!(said.text.contains(why) && said.fault == fault, "{said:?} for {why}");
        }
    }
}
