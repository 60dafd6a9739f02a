//! What clients may ask for, and what they are told.
//!
//! **Invariant.** A request is checked and hashed before it reaches the loop: what [`Add`] holds is one line of valid JSON
//! within its limits. Every request gets exactly one [`Answer`]; one that speaks of a record comes after the record is
//! durable.

use crate::pipeline::{key_hash, payload_digest};
use crate::scan::{PAYLOAD_BYTES_MAX, one_line};
use serde::Deserialize;
use serde_json::value::RawValue;
use sprag_core::{JobId, KeyHash, Reply, StopLevel, Wall, When};

/// No key is longer, in bytes.
pub const KEY_BYTES_MAX: usize = 4_096;
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
    /// How a job stands.
    Job(JobId),
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
    /// So many dead jobs are tried again; durable.
    Retried {
        /// How many.
        jobs: u64,
    },
    /// How things stand, as JSON.
    Status(Vec<u8>),
    /// How a job stands; durable.
    Job(JobView),
    /// Too many requests wait: ask again later.
    Busy,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct JobView {
    /// Its number.
    pub job: u64,
    /// Its queue's name.
    pub queue: String,
    /// Its state's name.
    pub state: &'static str,
    /// The number of its last attempt.
    pub attempt: u32,
    /// Where the output of a live attempt lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
}

/// A job as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
    key: Option<String>,
    #[serde(default)]
    priority: i16,
    delay_ms: Option<u64>,
    at_ms: Option<u64>,
}

impl Add {
    /// Reads `{"payload": ..., "key"?, "priority"?, "delay_ms"?, "at_ms"?}`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(queue: &str, bytes: &[u8]) -> Result<Add, String> {
        if bytes.len() > ADD_BYTES_MAX {
            return Err(format!("the job is longer than {ADD_BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match wire.key.as_deref() {
            Some("") => return Err("the key is empty; leave it out for a job without one".into()),
            Some(key) if key.len() > KEY_BYTES_MAX => {
                return Err(format!("the key is longer than {KEY_BYTES_MAX} bytes"));
            }
            Some(_) | None => {}
        }
        let when = match (wire.delay_ms, wire.at_ms) {
            (Some(_), Some(_)) => return Err("give delay_ms or at_ms, not both".into()),
            (Some(delay_ms), None) => When::Delay(delay_ms),
            (None, Some(at_ms)) => When::At(Wall(at_ms)),
            (None, None) => When::Now,
        };
        let payload = one_line(wire.payload).map_err(|complaint| format!("the payload is {}", complaint.text))?;
        Ok(Add {
            queue: queue.into(),
            hash: wire.key.as_deref().map(|key| key_hash(queue, key)),
            digest: payload_digest(payload.get().as_bytes()),
            key: wire.key,
            payload,
            priority: wire.priority,
            when,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_or_refused_with_its_reason() {
        let add = Add::parse("q", br#"{"payload": {"a": [1, 2]}, "key": "k", "priority": -2, "delay_ms": 5}"#).unwrap();
        assert_eq!((add.payload.get(), add.key.as_deref(), add.priority), (r#"{"a":[1,2]}"#, Some("k"), -2));
        assert_eq!((add.when, add.hash), (When::Delay(5), Some(key_hash("q", "k"))));
        assert_eq!(Add::parse("q", br#"{"payload":1}"#).unwrap().hash, None);
        let long = format!(r#"{{"payload":1,"key":"{}"}}"#, "k".repeat(KEY_BYTES_MAX + 1));
        let large = format!(r#"{{"payload":"{}"}}"#, "p".repeat(PAYLOAD_BYTES_MAX));
        let deep = format!(r#"{{"payload":{}{}}}"#, "[".repeat(65), "]".repeat(65));
        for (bytes, why) in [
            (&b"{}"[..], "missing field `payload`"),
            (b"", "EOF"),
            (b"{\"payload\":1}{", "trailing"),
            (b"{\"payload\":1,\"pay\":2}", "unknown field `pay`"),
            (b"{\"payload\":\"\xff\"}", "not UTF-8 at byte 12"),
            (b"{\"payload\":1,\"key\":\"\"}", "the key is empty"),
            (b"{\"payload\":1,\"delay_ms\":1,\"at_ms\":1}", "not both"),
            (b"{\"payload\":1,\"priority\":40000}", "40000"),
            (long.as_bytes(), "longer than 4096 bytes"),
            (large.as_bytes(), "longer than 1048576 bytes"),
            (deep.as_bytes(), "nested deeper than 64"),
            (&vec![b' '; ADD_BYTES_MAX + 1], "longer than 2097152 bytes"),
        ] {
            let said = Add::parse("q", bytes).unwrap_err();
            assert!(said.contains(why), "{said} for {why}");
        }
    }
}
