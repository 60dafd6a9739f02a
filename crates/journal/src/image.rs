//! The state as lines of a snapshot, and back; and the entries of the index that spare reading most of them.
//!
//! **Invariant.** `decode(encode(x)) == x`, as with records; the state's own line comes first, then the keys of forgotten jobs,
//! then the jobs, ascending. An entry stands for its whole line exactly when [`image_of`] says so; the line of any other
//! job is read.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sprag_core::{
    DeadReason, Job, JobId, JobImage, KeyHash, KeyImage, Mono, Outcome, PayloadRef, QueueId, Seq, Slot, State, Wall,
};
use std::borrow::Cow;

use crate::codec::{self, CodecError, Hex, is_false, is_zero};
use crate::index::{Entry, Names};

/// What a job's line holds beside what the Machine knows.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The key as text.
    pub key: Option<Cow<'a, str>>,
    /// The payload as JSON.
    pub payload: &'a RawValue,
    /// When it came.
    pub added_at: Wall,
    /// When the last record about it was written.
    pub changed_at: Wall,
    /// How its last attempt ended, if that was seen.
    pub outcome: Option<Outcome>,
}

/// A line of a snapshot as read back.
#[derive(Clone, Debug)]
pub enum StateLine<'a> {
    /// What is not about one job.
    State {
        /// The last job that came.
        last_job: JobId,
        /// The queues that are paused.
        paused: Vec<QueueId>,
    },
    /// The key of a forgotten job.
    Key(KeyImage),
    /// A job.
    Job(Box<JobImage>, Told<'a>),
}

const JOB_START: &[u8] = b"{\"type\":\"job\",";

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    State,
    Key,
    Job,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    last_job: JobId,
    #[serde(borrow)]
    paused: Vec<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    #[serde(rename = "type")]
    kind: Kind,
    keyhash: Hex<u128>,
    job: JobId,
    digest: Hex<u64>,
    #[serde(default, skip_serializing_if = "is_never")]
    since: Wall,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Scheduled,
    Ready,
    Reserved,
    Running,
    Succeeded,
    Dead,
    Cancelled,
}

/// A job's line. One flat object, like a record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    job: JobId,
    #[serde(borrow)]
    queue: Cow<'a, str>,
    state: Word,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    attempt: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    crashes: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<Slot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<DeadReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Wall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    cancelling: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    strict: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    unpublished: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    priority: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyhash: Option<Hex<u128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Hex<u64>>,
    added_at: Wall,
    changed_at: Wall,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn is_never(at: &Wall) -> bool {
    *at == Wall(0)
}

/// Appends the state's own line, without a newline.
pub fn encode_state<'a>(out: &mut Vec<u8>, last_job: JobId, paused: impl Iterator<Item = &'a str>) {
    write(out, &Head { kind: Kind::State, last_job, paused: paused.map(Cow::Borrowed).collect() });
}

/// Appends the line of a forgotten job's key.
pub fn encode_key(out: &mut Vec<u8>, image: &KeyImage) {
    let KeyImage { key, job, digest, since } = *image;
    write(out, &Key { kind: Kind::Key, keyhash: Hex(key.0), job, digest: Hex(digest), since });
}

/// Appends a job's line.
pub fn encode_job(out: &mut Vec<u8>, image: &JobImage, queue: &str, told: &Told<'_>) {
    let job = &image.job;
    let line = Line {
        kind: Kind::Job,
        job: image.id,
        queue: queue.into(),
        state: Word::Ready,
        key: told.key.as_deref().map(Cow::Borrowed),
        attempt: job.attempt,
        failures: job.failures,
        crashes: job.crashes,
        slot: None,
        fence: image.fence,
        outcome: told.outcome,
        reason: None,
        due: None,
        wait_ms: None,
        cancelling: job.cancelling,
        strict: job.strict,
        unpublished: job.unpublished,
        priority: job.priority,
        keyhash: job.key.map(|key| Hex(key.0)),
        digest: job.key.map(|_| Hex(image.digest)),
        added_at: told.added_at,
        changed_at: told.changed_at,
        payload: told.payload,
    };
    let line = match job.state {
        State::Scheduled { due, wake } => {
            Line { state: Word::Scheduled, due: Some(due), wait_ms: wake.map(|wait| wait.0), ..line }
        }
        State::Ready => line,
        State::Reserved { slot } => Line { state: Word::Reserved, slot: Some(slot), ..line },
        State::Running { slot } => Line { state: Word::Running, slot: Some(slot), ..line },
        State::Succeeded => Line { state: Word::Succeeded, ..line },
        State::Dead(reason) => Line { state: Word::Dead, reason: Some(reason), ..line },
        State::Cancelled => Line { state: Word::Cancelled, ..line },
    };
    write(out, &line);
}

fn write(out: &mut Vec<u8>, line: &impl Serialize) {
    if let Err(error) = serde_json::to_writer(out, line) {
        panic!("a line of a snapshot cannot be written as JSON: {error}");
    }
}

/// Reads a line. `queue_named` turns the name of a queue into the Machine's number for it.
pub fn decode<'a>(line: &'a [u8], queue_named: &mut dyn FnMut(&str) -> QueueId) -> Result<StateLine<'a>, CodecError> {
    if line.starts_with(JOB_START) {
        let line: Line<'a> = parse(line)?;
        let queue = queue_named(&line.queue);
        let lacks = || CodecError(format!("the line of job {} lacks a field that its state needs", line.job.0));
        let image = image(&line, queue).ok_or_else(lacks)?;
        let Line { key, payload, added_at, changed_at, outcome, .. } = line;
        return Ok(StateLine::Job(Box::new(image), Told { key, payload, added_at, changed_at, outcome }));
    }
    if line.starts_with(b"{\"type\":\"key\",") {
        let Key { kind: _, keyhash, job, digest, since } = parse(line)?;
        return Ok(StateLine::Key(KeyImage { key: KeyHash(keyhash.0), job, digest: digest.0, since }));
    }
    let Head { kind, last_job, paused } = parse(line)?;
    if kind != Kind::State {
        return Err(CodecError("no line of a state".into()));
    }
    Ok(StateLine::State { last_job, paused: paused.iter().map(|name| queue_named(name)).collect() })
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, CodecError> {
    let text = std::str::from_utf8(line).map_err(|error| CodecError(format!("not UTF-8: {error}")))?;
    serde_json::from_str(text).map_err(|error| CodecError(format!("no line of a state: {error}")))
}

fn image(line: &Line<'_>, queue: QueueId) -> Option<JobImage> {
    let state = match line.state {
        Word::Scheduled => State::Scheduled { due: line.due?, wake: line.wait_ms.map(Mono) },
        Word::Ready => State::Ready,
        Word::Reserved => State::Reserved { slot: line.slot? },
        Word::Running => State::Running { slot: line.slot? },
        Word::Succeeded => State::Succeeded,
        Word::Dead => State::Dead(line.reason?),
        Word::Cancelled => State::Cancelled,
    };
    let key = line.keyhash.map(|key| KeyHash(key.0));
    let job = Job {
        state,
        payload: PayloadRef::default(),
        key,
        attempt: line.attempt,
        failures: line.failures,
        crashes: line.crashes,
        queue,
        priority: line.priority,
        cancelling: line.cancelling,
        strict: line.strict,
        unpublished: line.unpublished,
    };
    let digest = if key.is_some() { line.digest?.0 } else { 0 };
    let at_rest = state.is_terminal() && !line.unpublished;
    Some(JobImage { id: line.job, job, digest, fence: line.fence, ended_at: at_rest.then_some(line.changed_at) })
}

/// All that is told of a job by its line in a snapshot or by the record that added it; and its number.
pub fn told(line: &[u8]) -> Result<(JobId, Told<'_>), CodecError> {
    if line.starts_with(JOB_START) {
        return match decode(line, &mut |_| QueueId(0))? {
            StateLine::Job(image, told) => Ok((image.id, told)),
            StateLine::State { .. } | StateLine::Key(_) => Err(CodecError("not the line of a job".into())),
        };
    }
    let codec::Decoded { at, record, key, payload, .. } = codec::decode(line, &mut |_| QueueId(0))?;
    match (record, payload) {
        (sprag_core::Record::Added { job, .. }, Some(payload)) => {
            Ok((job, Told { key, payload, added_at: at, changed_at: at, outcome: None }))
        }
        (_, _) => Err(CodecError("not the record of a job that came".into())),
    }
}

/// In an entry's `state`: its line must be read.
const READ_LINE: u32 = 0;
/// Ready and never tried; without a key, or with one.
const PLAIN: u32 = 1;
const PLAIN_KEYED: u32 = 2;

/// The entry of a job whose queue has the number `queue` in the names.
pub fn entry_of(image: &JobImage, queue: u32) -> Entry {
    let job = &image.job;
    let plain = Job {
        state: State::Ready,
        attempt: 0,
        failures: 0,
        crashes: 0,
        cancelling: false,
        strict: false,
        unpublished: false,
        ..*job
    };
    let state = match (*job == plain, job.key) {
        (false, _) => READ_LINE,
        (true, None) => PLAIN,
        (true, Some(_)) => PLAIN_KEYED,
    };
    Entry {
        job: image.id.0,
        digest: image.digest,
        key: job.key.map_or([0; 16], |key| key.0.to_le_bytes()),
        queue,
        priority: job.priority.into(),
        state,
        attempts: job.attempt,
        ..Entry::default()
    }
}

/// The job that an entry stands for, if it says all of it; `queue` is the Machine's number of its queue.
pub fn image_of(entry: &Entry, queue: QueueId) -> Option<JobImage> {
    let key = match entry.state {
        PLAIN => None,
        PLAIN_KEYED => Some(KeyHash(u128::from_le_bytes(entry.key))),
        // Its line says it.
        _ => return None,
    };
    let job = Job {
        state: State::Ready,
        payload: place_of(entry),
        key,
        attempt: 0,
        failures: 0,
        crashes: 0,
        queue,
        priority: i16::try_from(entry.priority).ok()?,
        cancelling: false,
        strict: false,
        unpublished: false,
    };
    Some(JobImage { id: JobId(entry.job), job, digest: entry.digest, fence: None, ended_at: None })
}

/// Where an entry's line stands: segment 0 is the snapshot.
pub fn place_of(entry: &Entry) -> PayloadRef {
    PayloadRef { segment: 0, len: entry.len, offset: entry.offset }
}

/// The entry of a line, if it is one of a job: for an index that is built again.
pub fn entry_of_line(line: &[u8], names: &mut Names) -> Option<Entry> {
    let mut queue = 0;
    let decoded = decode(line, &mut |name| {
        queue = names.intern(name);
        QueueId(0)
    });
    match decoded {
        Ok(StateLine::Job(image, _)) => Some(entry_of(&image, queue)),
        Ok(StateLine::State { .. } | StateLine::Key(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprag_core::When;

    fn images() -> Vec<JobImage> {
        let plain = Job {
            state: State::Ready,
            payload: PayloadRef::default(),
            key: Some(KeyHash(u128::MAX - 1)),
            attempt: 0,
            failures: 0,
            crashes: 0,
            queue: QueueId(0),
            priority: -3,
            cancelling: false,
            strict: false,
            unpublished: false,
        };
        let tried = Job { attempt: 4, failures: 2, crashes: 1, ..plain };
        let slot = Slot(9);
        let image = |job| JobImage { id: JobId(7), job, digest: u64::MAX, fence: None, ended_at: None };
        let fenced = |job| JobImage { fence: Some(Seq(8)), ..image(job) };
        let ended = |job| JobImage { ended_at: Some(Wall(6)), ..image(job) };
        vec![
            image(plain),
            JobImage { digest: 0, ..image(Job { key: None, ..plain }) },
            image(Job { strict: true, ..plain }),
            image(tried),
            image(Job { state: State::Scheduled { due: Wall(99), wake: Some(Mono(5)) }, ..tried }),
            image(Job { state: State::Scheduled { due: Wall(99), wake: None }, ..plain }),
            fenced(Job { state: State::Reserved { slot }, ..tried }),
            fenced(Job { state: State::Running { slot }, cancelling: true, ..tried }),
            image(Job { state: State::Succeeded, unpublished: true, ..tried }),
            ended(Job { state: State::Succeeded, ..tried }),
            ended(Job { state: State::Dead(DeadReason::Poison), ..tried }),
            ended(Job { state: State::Cancelled, ..plain }),
        ]
    }

    #[test]
    fn every_line_comes_back_as_it_was_and_an_entry_says_the_same_or_nothing() {
        let payload = RawValue::from_string(r#"{"a":[1,"\u00e4\n"]}"#.into()).unwrap();
        for image in images() {
            let key = image.job.key.map(|_| Cow::Borrowed("k \" \u{1F600}"));
            let outcome = Some(Outcome::Exit(3));
            let told = Told { key, payload: &payload, added_at: Wall(5), changed_at: Wall(6), outcome };
            let mut line = Vec::new();
            encode_job(&mut line, &image, "queue \"x\"", &told);
            let mut named = |name: &str| {
                assert_eq!(name, "queue \"x\"");
                QueueId(0)
            };
            let Ok(StateLine::Job(back, again)) = decode(&line, &mut named) else { panic!("no job") };
            assert_eq!(*back, image, "{}", String::from_utf8_lossy(&line));
            let facts = |told: &Told<'_>| {
                (told.key.clone().map(Cow::into_owned), told.payload.get().to_owned(), told.added_at, told.changed_at)
            };
            assert_eq!((facts(&again), again.outcome), (facts(&told), outcome));
            let entry = entry_of(&image, 0);
            let plain = image.job.state == State::Ready && image.job.attempt == 0 && !image.job.strict;
            assert_eq!(image_of(&entry, QueueId(0)), plain.then_some(image));
        }
        let key = KeyImage { key: KeyHash(3), job: JobId(2), digest: 1, since: Wall(4) };
        let mut line = Vec::new();
        encode_key(&mut line, &key);
        assert!(matches!(decode(&line, &mut |_| QueueId(0)), Ok(StateLine::Key(back)) if back == key));
        line.clear();
        encode_state(&mut line, JobId(9), ["b"].into_iter());
        let decoded = decode(&line, &mut |name| QueueId(u16::from(name == "b")));
        let Ok(StateLine::State { last_job: JobId(9), paused }) = decoded else { panic!("no state") };
        assert_eq!(paused, [QueueId(1)]);
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        let job = r#"{"type":"job","job":1,"queue":"a","state":"ready","added_at":1,"changed_at":1,"payload":1"#;
        assert!(decode(format!("{job}}}").as_bytes(), &mut |_| QueueId(0)).is_ok());
        for line in [
            &format!("{job},\"colour\":1}}"),
            &format!("{job},\"keyhash\":\"00\"}}"),
            &job.replace("ready", "dead"),
            &format!("{}}}", job.replace("ready", "running")),
            &format!("{}}}", job.replace("ready", "lost")),
            r#"{"type":"state","last_job":1}"#,
            r#"{"type":"key","job":1,"digest":"00"}"#,
            r#"{"type":"other"}"#,
            "",
        ] {
            assert!(decode(line.as_bytes(), &mut |_| QueueId(0)).is_err(), "{line}");
        }
        let new = sprag_core::NewJob { queue: QueueId(0), key: None, digest: 0, priority: 0, when: When::Now };
        let mut record = Vec::new();
        let added = sprag_core::Record::Added { job: JobId(1), new, due: None };
        codec::encode(&mut record, Seq(1), Wall(1), &added, "a", None);
        assert!(told(&record).is_err(), "a record without its payload");
    }
}
