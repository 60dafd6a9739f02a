//! Requests and answers as they stand on the wire, from the client's side: what `docs/api.md` says, without any code of the API.
//!
//! **Invariant.** An answer is read to its last byte, or there is none. What cannot be read is told, never passed over.

use serde_json::Value;
use sprag_core::{Counts, JobId, PayloadRef, Refusal, Reply, StateName, StopLevel, When};
use sprag_runtime::request::{Add, Answer, JobView, QueueView, Request};

/// A request as bytes.
pub(super) fn request(request: &Request) -> Vec<u8> {
    let (method, path, body) = match request {
        Request::Add(add) => ("POST", format!("/v1/queues/{}/jobs", add.queue), line(add)),
        Request::Cancel(job) => ("POST", format!("/v1/jobs/{}/cancel", job.0), String::new()),
        Request::Retry(job) => ("POST", format!("/v1/jobs/{}/retry", job.0), String::new()),
        Request::RetryDead { queue } => ("POST", format!("/v1/queues/{queue}/retry-dead"), String::new()),
        Request::Pause { queue } => ("POST", format!("/v1/queues/{queue}/pause"), String::new()),
        Request::Resume { queue } => ("POST", format!("/v1/queues/{queue}/resume"), String::new()),
        Request::Stop(StopLevel::Kill) => ("POST", "/v1/stop".to_owned(), String::new()),
        Request::Stop(StopLevel::Run | StopLevel::Drain) => ("POST", "/v1/drain".to_owned(), String::new()),
        Request::Status => ("GET", "/v1/status".to_owned(), String::new()),
        Request::Diagnose => ("GET", "/v1/diagnose".to_owned(), String::new()),
        Request::Job(job) => ("GET", format!("/v1/jobs/{}", job.0), String::new()),
        Request::Jobs { .. } => ("GET", "/v1/jobs".to_owned(), String::new()),
        Request::Queues { queue: None } => ("GET", "/v1/queues".to_owned(), String::new()),
        Request::Queues { queue: Some(queue) } => ("GET", format!("/v1/queues/{queue}"), String::new()),
    };
    format!("{method} {path} HTTP/1.1\r\nhost: sprag\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A job as a line of JSON.
pub(super) fn line(add: &Add) -> String {
    let key = add.key.as_ref().map(|key| format!(",\"key\":\"{key}\"")).unwrap_or_default();
    let when = match add.when {
        When::Now => String::new(),
        When::Delay(ms) => format!(",\"delay_ms\":{ms}"),
        When::At(wall) => format!(",\"at_ms\":{}", wall.0),
    };
    format!("{{\"payload\":{}{key},\"priority\":{}{when}}}", add.payload.get(), add.priority)
}

/// An answer as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) code: u16,
    pub(super) body: Vec<u8>,
    /// The connection ends here.
    pub(super) last: bool,
}

/// The first answer in these bytes, if it is whole, and how many of them it takes.
pub(super) fn response(bytes: &[u8]) -> Result<Option<(Response, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let code = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let code = code.ok_or_else(|| format!("{status:?} is no status line"))?;
    let field = |wanted: &str| {
        let fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
        fields.clone().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let len: usize = field("content-length").and_then(|len| len.parse().ok()).ok_or("an answer without a length")?;
    let begin = end + 4;
    let last = field("connection") == Some("close");
    let body = bytes.get(begin..begin + len);
    Ok(body.map(|body| (Response { code, body: body.to_vec(), last }, begin + len)))
}

/// Whether this is what a client is told that finds no place: it was not asked anything, and may come again.
pub(super) fn is_turned_away(come: &[u8]) -> bool {
    come.starts_with(b"HTTP/1.1 503 ") && come.ends_with(b"{\"error\":\"too many connections\"}\n")
}

/// What an answer says; `None` when it says that sprag has ended before it had one.
pub(super) fn answer(asked: &Request, code: u16, body: &[u8]) -> Result<Option<Answer>, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("{code}: {error}"))?;
    let what = || format!("{code} {}", String::from_utf8_lossy(body));
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let job = || number("job").map(JobId).ok_or_else(what);
    if code >= 400 {
        let refusal = match text("reason") {
            Some("conflict") => return Ok(Some(Answer::Reply(Reply::Conflict(job()?)))),
            Some("wrong_state") => match text("state").and_then(StateName::named) {
                Some(state) => return Ok(Some(Answer::WrongState(state))),
                None => Refusal::WrongState,
            },
            Some("busy") => return Ok(Some(Answer::Busy)),
            Some("no_such_job") => Refusal::NoSuchJob,
            Some("no_such_queue") => Refusal::NoSuchQueue,
            Some("full") => Refusal::Full,
            Some("no_space") => Refusal::NoSpace,
            Some("stopping") => Refusal::Stopping,
            None if code == 503 => return Ok(None),
            Some(_) | None => return Err(what()),
        };
        return Ok(Some(Answer::Reply(Reply::Refused(refusal))));
    }
    Ok(Some(match (asked, text("result")) {
        (_, Some("added")) => Answer::Reply(Reply::Added(job()?)),
        (_, Some("known")) => Answer::Reply(Reply::Known(job()?)),
        (Request::RetryDead { .. }, Some("done")) => Answer::Retried { jobs: number("jobs").unwrap_or(0) },
        (_, Some("done")) => Answer::Reply(Reply::Done),
        (Request::Status, None) => Answer::Status(body.to_vec()),
        (Request::Job(_), None) => Answer::Job(JobView {
            job: number("job").ok_or_else(what)?,
            place: PayloadRef::default(),
            words: None,
            queue: text("queue").unwrap_or_default().into(),
            state: text("state").and_then(StateName::named).ok_or_else(what)?.as_str(),
            attempt: 0,
            failures: 0,
            priority: 0,
            due_at_ms: None,
            reason: None,
            cancelling: false,
            unpublished: false,
            slot: None,
        }),
        (Request::Pause { .. } | Request::Resume { .. }, None) => Answer::Queue(QueueView {
            name: text("name").unwrap_or_default().into(),
            configured: true,
            paused: value.get("paused").and_then(Value::as_bool).ok_or_else(what)?,
            progress: 0,
            jobs: Counts::default(),
        }),
        (_, _) => return Err(what()),
    }))
}

/// The queue and the line of a request that can be one of a stream.
pub(super) fn queue_and_line(request: &Request) -> Option<(String, String)> {
    match request {
        Request::Add(add) => Some((add.queue.clone(), line(add))),
        Request::Cancel(_) | Request::Retry(_) | Request::RetryDead { .. } | Request::Pause { .. } => None,
        Request::Resume { .. } | Request::Stop(_) | Request::Status | Request::Job(_) => None,
        Request::Diagnose => None,
        Request::Jobs { .. } | Request::Queues { .. } => None,
    }
}

/// The beginning of a stream of lines.
pub(super) fn stream_head(queue: &str) -> Vec<u8> {
    let path = format!("/v1/queues/{queue}/jobs/stream");
    format!("POST {path} HTTP/1.1\r\nhost: sprag\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes()
}

/// A piece of it.
pub(super) fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// Its end.
pub(super) const STREAM_END: &[u8] = b"0\r\n\r\n";

/// Acknowledgements out of pieces of a response.
#[derive(Debug, Default)]
pub(super) struct Acks {
    come: Vec<u8>,
    text: Vec<u8>,
    begun: bool,
}

/// The number of a line, the code of its answer, and what stands there.
pub(super) type Ack = (u64, u16, Vec<u8>);

impl Acks {
    /// The acknowledgements that are whole by now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Ack>, String> {
        self.come.extend_from_slice(bytes);
        let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|some| some == what);
        if !self.begun {
            let Some(end) = find(&self.come, b"\r\n\r\n") else { return Ok(Vec::new()) };
            let head: Vec<u8> = self.come.drain(..end + 4).collect();
            self.begun = head.starts_with(b"HTTP/1.1 200 ");
            if !self.begun {
                return Err(String::from_utf8_lossy(&head).into_owned());
            }
        }
        while let Some(end) = find(&self.come, b"\r\n") {
            let size =
                std::str::from_utf8(&self.come[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
            let size = size.ok_or_else(|| format!("no chunk: {}", String::from_utf8_lossy(&self.come)))?;
            let Some(data) = self.come.get(end + 2..end + 2 + size) else { break };
            self.text.extend_from_slice(data);
            let whole = (end + 4 + size).min(self.come.len());
            self.come.drain(..whole);
        }
        let mut acks = Vec::new();
        while let Some(end) = find(&self.text, b"\n") {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            let value: Value = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
            let number = |name: &str| value.get(name).and_then(Value::as_u64).ok_or_else(|| value.to_string());
            let code = u16::try_from(number("status")?).map_err(|error| error.to_string())?;
            acks.push((number("line")?, code, line));
        }
        Ok(acks)
    }
}
