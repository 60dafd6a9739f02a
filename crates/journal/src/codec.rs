//! Records as JSON lines, and back.
//!
//! **Invariant.** `decode(encode(record)) == record`; a line holds everything a person needs to read it alone (queue
//! names, key text, payload), and everything replaying it needs. An unknown field, type or word is an error, never
//! passed over. The fields are written down in `docs/format.md`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sprag_core::{DeadReason, Digest, JobId, KeyHash, NewJob, Next, Outcome, QueueId, Record, Seq, Slot, Wall, When};
use std::borrow::Cow;
use std::fmt;

/// What a user gave with a job, beside what the Machine needs.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// The key as text.
    pub key: Option<&'a str>,
    /// The payload as JSON.
    pub payload: &'a RawValue,
}

/// A record as read back.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// Its place in the order.
    pub seq: Seq,
    /// When it was written.
    pub at: Wall,
    /// What the Machine replays.
    pub record: Record,
    /// The key of an added job as text.
    pub key: Option<Cow<'a, str>>,
    /// The payload of an added job.
    pub payload: Option<&'a RawValue>,
}

/// A line that is no record of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError(pub(crate) String);

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

/// A record's line. One flat object, so that `grep` and `jq` need no path.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    seq: Seq,
    at: Wall,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobId>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    queue: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<Slot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<DeadReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Wall>,
    #[serde(default, skip_serializing_if = "is_false")]
    appointed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Hex<u128>>,
    #[serde(default, skip_serializing_if = "is_false")]
    crash: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    priority: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyhash: Option<Hex<u128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Hex<u64>>,
    #[serde(borrow, default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Added,
    Reserved,
    Started,
    Finished,
    Cancelled,
    Redriven,
    Published,
    Forgotten,
    KeyForgotten,
    Paused,
    Resumed,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NextWord {
    Succeeded,
    Retry,
    Dead,
    Cancelled,
    Again,
    Unused,
}

/// An unsigned number as fixed-width hexadecimal text: JSON readers mangle integers above 2^53.
#[derive(Clone, Copy)]
pub(crate) struct Hex<T>(pub(crate) T);

/// Appends the record's line, without a newline, to `out`. `queue_name` names the queue of an added, paused or resumed
/// record; `texts` belong to an added one.
pub fn encode(out: &mut Vec<u8>, seq: Seq, at: Wall, record: &Record, queue_name: &str, texts: Option<Texts<'_>>) {
    let line = line_of(seq, at, record, queue_name, texts);
    if let Err(error) = serde_json::to_writer(out, &line) {
        panic!("a record cannot be written as JSON: {error}");
    }
}

/// Appends a record's line as who listens to events is told: with the queue and the key of its job, as far as they are
/// known, and without what only replaying needs. Never read back.
pub fn tell(out: &mut Vec<u8>, seq: Seq, at: Wall, record: &Record, queue_name: Option<&str>, key: Option<&str>) {
    let line = line_of(seq, at, record, "", None);
    let (queue, key) = (queue_name.map(Cow::Borrowed), key.map(Cow::Borrowed));
    let line = Line { queue, key, keyhash: None, digest: None, result: None, appointed: false, ..line };
    if let Err(error) = serde_json::to_writer(out, &line) {
        panic!("a record cannot be written as JSON: {error}");
    }
}

fn line_of<'a>(seq: Seq, at: Wall, record: &Record, queue_name: &'a str, texts: Option<Texts<'a>>) -> Line<'a> {
    let queue = Some(Cow::Borrowed(queue_name));
    match *record {
        Record::Added { job, new, due } => Line {
            job: Some(job),
            queue,
            key: texts.and_then(|texts| texts.key).map(Cow::Borrowed),
            priority: new.priority,
            due,
            appointed: matches!(new.when, When::At(_)),
            keyhash: new.key.map(|key| Hex(key.0)),
            digest: Some(Hex(new.digest)),
            payload: texts.map(|texts| texts.payload),
            ..Line::new(seq, at, Kind::Added)
        },
        Record::Reserved { job, attempt, slot } => {
            Line { job: Some(job), attempt: Some(attempt), slot: Some(slot), ..Line::new(seq, at, Kind::Reserved) }
        }
        Record::Started { job, attempt, slot } => {
            Line { job: Some(job), attempt: Some(attempt), slot: Some(slot), ..Line::new(seq, at, Kind::Started) }
        }
        Record::Finished { job, attempt, outcome, next } => {
            let line = Line { job: Some(job), attempt: Some(attempt), outcome, ..Line::new(seq, at, Kind::Finished) };
            match next {
                Next::Succeeded { result } => {
                    let result = result.map(|digest| Hex(digest.0));
                    Line { next: Some(NextWord::Succeeded), result, ..line }
                }
                Next::Retry { due } => Line { next: Some(NextWord::Retry), due: Some(due), ..line },
                Next::Dead(reason) => Line { next: Some(NextWord::Dead), reason: Some(reason), ..line },
                Next::Cancelled => Line { next: Some(NextWord::Cancelled), ..line },
                Next::Again { due, crash } => Line { next: Some(NextWord::Again), due: Some(due), crash, ..line },
                Next::Unused => Line { next: Some(NextWord::Unused), ..line },
            }
        }
        Record::Cancelled { job } => Line { job: Some(job), ..Line::new(seq, at, Kind::Cancelled) },
        Record::Redriven { job } => Line { job: Some(job), ..Line::new(seq, at, Kind::Redriven) },
        Record::Published { job } => Line { job: Some(job), ..Line::new(seq, at, Kind::Published) },
        Record::Forgotten { job } => Line { job: Some(job), ..Line::new(seq, at, Kind::Forgotten) },
        Record::KeyForgotten { job } => Line { job: Some(job), ..Line::new(seq, at, Kind::KeyForgotten) },
        Record::Paused { queue: _ } => Line { queue, ..Line::new(seq, at, Kind::Paused) },
        Record::Resumed { queue: _ } => Line { queue, ..Line::new(seq, at, Kind::Resumed) },
    }
}

/// Reads a record's line. `queue_named` turns the name of a queue into the Machine's number for it.
pub fn decode<'a>(line: &'a [u8], queue_named: &mut dyn FnMut(&str) -> QueueId) -> Result<Decoded<'a>, CodecError> {
    let text = std::str::from_utf8(line).map_err(|error| CodecError(format!("not UTF-8: {error}")))?;
    let line: Line<'a> = serde_json::from_str(text).map_err(|error| CodecError(format!("no record: {error}")))?;
    let record = record_of(&line, queue_named).ok_or_else(|| CodecError(line.lacks()))?;
    Ok(Decoded { seq: line.seq, at: line.at, record, key: line.key, payload: line.payload })
}

fn record_of(line: &Line<'_>, queue_named: &mut dyn FnMut(&str) -> QueueId) -> Option<Record> {
    let mut queue = || line.queue.as_deref().map(&mut *queue_named);
    Some(match line.kind {
        Kind::Added if line.payload.is_none() => return None,
        Kind::Added => Record::Added {
            job: line.job?,
            new: NewJob {
                queue: queue()?,
                key: line.keyhash.map(|Hex(key)| KeyHash(key)),
                digest: line.digest?.0,
                priority: line.priority,
                when: when_of(line),
            },
            due: line.due,
        },
        Kind::Reserved => Record::Reserved { job: line.job?, attempt: line.attempt?, slot: line.slot? },
        Kind::Started => Record::Started { job: line.job?, attempt: line.attempt?, slot: line.slot? },
        Kind::Finished => Record::Finished {
            job: line.job?,
            attempt: line.attempt?,
            outcome: line.outcome,
            next: match line.next? {
                NextWord::Succeeded => Next::Succeeded { result: line.result.map(|Hex(digest)| Digest(digest)) },
                NextWord::Retry => Next::Retry { due: line.due? },
                NextWord::Dead => Next::Dead(line.reason?),
                NextWord::Cancelled => Next::Cancelled,
                NextWord::Again => Next::Again { due: line.due?, crash: line.crash },
                NextWord::Unused => Next::Unused,
            },
        },
        Kind::Cancelled => Record::Cancelled { job: line.job? },
        Kind::Redriven => Record::Redriven { job: line.job? },
        Kind::Published => Record::Published { job: line.job? },
        Kind::Forgotten => Record::Forgotten { job: line.job? },
        Kind::KeyForgotten => Record::KeyForgotten { job: line.job? },
        Kind::Paused => Record::Paused { queue: queue()? },
        Kind::Resumed => Record::Resumed { queue: queue()? },
    })
}

/// A delay is journaled as the moment it ends; how long it was, the moment of the record tells.
fn when_of(line: &Line<'_>) -> When {
    match line.due {
        None => When::Now,
        Some(due) if line.appointed => When::At(due),
        Some(due) => When::Delay(due.0.saturating_sub(line.at.0)),
    }
}

impl Line<'_> {
    fn new(seq: Seq, at: Wall, kind: Kind) -> Line<'static> {
        Line {
            seq,
            at,
            kind,
            job: None,
            queue: None,
            key: None,
            priority: 0,
            due: None,
            appointed: false,
            attempt: None,
            slot: None,
            outcome: None,
            next: None,
            reason: None,
            result: None,
            crash: false,
            keyhash: None,
            digest: None,
            payload: None,
        }
    }

    fn lacks(&self) -> String {
        format!("record {} lacks a field that its type needs", self.seq.0)
    }
}

pub(crate) fn is_zero<T: Default + PartialEq>(n: &T) -> bool {
    *n == T::default()
}

/// A payload that is `null` is a payload.
fn even_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
pub(crate) fn is_false(b: &bool) -> bool {
    !b
}

impl Serialize for Hex<u128> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl Serialize for Hex<u64> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex<u128> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Hex).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Hex<u64> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Hex).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_records() -> Vec<Record> {
        let (job, attempt, slot, queue) = (JobId(7), 2, Slot(3), QueueId(0));
        let new = |key, when| NewJob { queue, key, digest: u64::MAX, priority: -5, when };
        let due = Wall(1_700_000_000_000);
        let finished = |outcome, next| Record::Finished { job, attempt, outcome, next };
        vec![
            Record::Added { job, new: new(None, When::Now), due: None },
            Record::Added { job, new: new(Some(KeyHash(u128::MAX)), When::Delay(1_699_999_999_995)), due: Some(due) },
            Record::Added { job, new: new(Some(KeyHash(0)), When::At(due)), due: Some(due) },
            Record::Reserved { job, attempt, slot },
            Record::Started { job, attempt, slot },
            finished(Some(Outcome::Exit(0)), Next::Succeeded { result: Some(Digest(u128::MAX / 3)) }),
            finished(Some(Outcome::Exit(0)), Next::Succeeded { result: None }),
            finished(Some(Outcome::Signal(9)), Next::Retry { due }),
            finished(Some(Outcome::NotFound), Next::Dead(DeadReason::Permanent)),
            finished(Some(Outcome::NotExecutable), Next::Dead(DeadReason::Exhausted)),
            finished(Some(Outcome::NotStarted), Next::Dead(DeadReason::Exhausted)),
            finished(None, Next::Dead(DeadReason::Poison)),
            finished(Some(Outcome::TimedOut), Next::Cancelled),
            finished(Some(Outcome::ResultLost), Next::Again { due, crash: true }),
            finished(Some(Outcome::ResultTooLarge), Next::Dead(DeadReason::Exhausted)),
            finished(None, Next::Unused),
            Record::Cancelled { job },
            Record::Redriven { job },
            Record::Published { job },
            Record::Forgotten { job },
            Record::KeyForgotten { job },
            Record::Paused { queue },
            Record::Resumed { queue },
        ]
    }

    #[test]
    fn every_record_comes_back_as_it_was() {
        let payloads = [r#"{"a":[1,"\u00e4\n"]}"#, "null"].map(|text| RawValue::from_string(text.into()).unwrap());
        for (record, payload) in all_records().into_iter().zip(payloads.iter().cycle()) {
            let texts =
                matches!(record, Record::Added { .. }).then_some(Texts { key: Some("k \" \\ \u{1F600}"), payload });
            let mut line = Vec::new();
            encode(&mut line, Seq(9), Wall(5), &record, "queue \"x\"", texts);
            assert!(!line.contains(&b'\n'), "a record is one line");
            let mut named = |name: &str| {
                assert_eq!(name, "queue \"x\"");
                QueueId(0)
            };
            let decoded = decode(&line, &mut named).unwrap();
            assert_eq!(decoded.record, record, "{}", String::from_utf8_lossy(&line));
            assert_eq!((decoded.seq, decoded.at), (Seq(9), Wall(5)));
            assert_eq!(decoded.key.as_deref(), texts.and_then(|texts| texts.key));
            assert_eq!(decoded.payload.map(RawValue::get), texts.map(|texts| texts.payload.get()));
        }
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        let mut named = |_: &str| QueueId(0);
        for line in [
            r#"{"seq":1,"at":2,"type":"vanished","job":1}"#,
            r#"{"seq":1,"at":2,"type":"cancelled","job":1,"colour":"red"}"#,
            r#"{"seq":1,"at":2,"type":"cancelled"}"#,
            r#"{"seq":1,"at":2,"type":"finished","job":1,"attempt":1,"next":"retry"}"#,
            r#"{"seq":1,"seq":1,"at":2,"type":"cancelled","job":1}"#,
            "\u{0}",
            "",
        ] {
            assert!(decode(line.as_bytes(), &mut named).is_err(), "{line}");
        }
        assert!(decode(&[0xff, 0xfe], &mut named).is_err());
    }
}
