//! A client of the control API that costs next to nothing: bytes made before, one write and one read a request.
//!
//! **Invariant.** Every answer is looked at: one that is not what was asked for ends the measurement.

use crate::Res;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// No answer takes longer.
const ANSWER_S_MAX: u64 = 60;

/// The payload of every job: 200 bytes.
pub(crate) fn payload(n: u64) -> String {
    format!("{{\"n\":{n:010},\"text\":\"{}\"}}", "x".repeat(174)).replacen(":0", ":1", 1)
}

/// One connection.
pub(crate) struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

/// What adds one job to the queue `bench`, as it goes over the wire.
pub(crate) fn add_request() -> Vec<u8> {
    let body = format!("{{\"payload\":{}}}", payload(1));
    request("POST /v1/queues/bench/jobs", &body)
}

fn request(what: &str, body: &str) -> Vec<u8> {
    format!("{what} HTTP/1.1\r\nhost: sprag\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Client {
    /// Connects to the sprag whose state is in `state`, however long that path is.
    pub(crate) fn connect(state: &Path) -> std::io::Result<Client> {
        let folder = std::fs::File::open(state)?;
        let stream = UnixStream::connect(format!("/proc/self/fd/{}/sprag.sock", folder.as_raw_fd()))?;
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX)))?;
        Ok(Client { stream, buffer: vec![0; 64 << 10] })
    }

    /// One request, and the body of its answer.
    pub(crate) fn ask(&mut self, what: &str, body: &str) -> Res<Vec<u8>> {
        self.stream.write_all(&request(what, body))?;
        let (code, body) = self.answer()?;
        if code >= 300 {
            return Err(format!("{what}: {code} {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(body)
    }

    /// Adds a job whose request was made before.
    pub(crate) fn add(&mut self, request: &[u8]) -> Res<()> {
        self.stream.write_all(request)?;
        self.added()
    }

    fn added(&mut self) -> Res<()> {
        let (code, body) = self.answer()?;
        if code == 201 { Ok(()) } else { Err(format!("not added: {code} {}", String::from_utf8_lossy(&body)).into()) }
    }

    /// The next answer. There is never a second one behind it: one request is under way.
    fn answer(&mut self) -> Res<(u16, Vec<u8>)> {
        let (mut have, mut whole) = (0, None);
        loop {
            have += self.stream.read(&mut self.buffer[have..]).and_then(some)?;
            let text = &self.buffer[..have];
            if whole.is_none()
                && let Some(end) = memchr::memmem::find(text, b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&text[..end])?.to_ascii_lowercase();
                let code = head.get(9..12).ok_or("no status")?.parse()?;
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                whole = Some((code, end + 4, end + 4 + length.ok_or("no length")?.parse::<usize>()?));
            }
            if let Some((code, from, to)) = whole
                && have >= to
            {
                return Ok((code, self.buffer[from..to].to_vec()));
            }
        }
    }

    /// Adds all these lines in one request; each must be added. How long it took until all was acknowledged.
    pub(crate) fn stream(&mut self, lines: &[u8]) -> Res<Duration> {
        let count = memchr::memchr_iter(b'\n', lines).count();
        let head = format!(
            "POST /v1/queues/bench/jobs/stream HTTP/1.1\r\nhost: sprag\r\ncontent-length: {}\r\n\r\n",
            lines.len()
        );
        let mut sender = self.stream.try_clone()?;
        let begin = Instant::now();
        let (answer, took) = std::thread::scope(|scope| {
            let sent = scope.spawn(move || sender.write_all(head.as_bytes()).and_then(|()| sender.write_all(lines)));
            let answer = self.read_last_chunk()?;
            let took = begin.elapsed();
            sent.join().map_err(|_| "the sender panicked")??;
            Ok::<_, Box<dyn std::error::Error>>((answer, took))
        })?;
        let added = memchr::memmem::find_iter(&without_chunks(&answer)?, b"\"result\":\"added\"").count();
        if added == count { Ok(took) } else { Err(format!("{added} of {count} lines were added").into()) }
    }

    fn read_last_chunk(&mut self) -> Res<Vec<u8>> {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            let n = self.stream.read(&mut self.buffer).and_then(some)?;
            answer.extend_from_slice(&self.buffer[..n]);
        }
        Ok(answer)
    }
}

/// The body of an answer that came in chunks.
fn without_chunks(answer: &[u8]) -> Res<Vec<u8>> {
    let head = memchr::memmem::find(answer, b"\r\n\r\n").ok_or("no head")?;
    let (mut rest, mut body) = (&answer[head + 4..], Vec::new());
    loop {
        let end = memchr::memmem::find(rest, b"\r\n").ok_or("no length of a chunk")?;
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end])?, 16)?;
        if len == 0 {
            return Ok(body);
        }
        let chunk = rest.get(end + 2..end + 2 + len).ok_or("half a chunk")?;
        body.extend_from_slice(chunk);
        rest = &rest[end + len + 4..];
    }
}

/// Nothing read is the end of the connection.
fn some(n: usize) -> std::io::Result<usize> {
    if n == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(n) }
}

/// Clients that have one request under way each, all driven by one thread.
pub(crate) struct Clients(Vec<Client>);

impl Clients {
    pub(crate) fn connect(state: &Path, count: usize) -> Res<Clients> {
        Ok(Clients((0..count).map(|_| Client::connect(state)).collect::<std::io::Result<_>>()?))
    }

    /// Adds for so long: jobs a second.
    pub(crate) fn slice(&mut self, request: &[u8], slice: Duration) -> Res<f64> {
        let begin = Instant::now();
        let (mut done, mut under_way) = (0, vec![true; self.0.len()]);
        for client in &mut self.0 {
            client.stream.write_all(request)?;
        }
        while under_way.contains(&true) {
            let open: Vec<usize> = (0..under_way.len()).filter(|at| under_way[*at]).collect();
            let mut polled: Vec<PollFd<'_>> =
                open.iter().map(|at| PollFd::new(&self.0[*at].stream, PollFlags::IN)).collect();
            poll(&mut polled, None)?;
            let ready: Vec<usize> =
                open.iter().zip(&polled).filter(|(_, fd)| !fd.revents().is_empty()).map(|(at, _)| *at).collect();
            for at in ready {
                self.0[at].added()?;
                done += 1;
                under_way[at] = begin.elapsed() < slice;
                if under_way[at] {
                    self.0[at].stream.write_all(request)?;
                }
            }
        }
        Ok(f64::from(done) / begin.elapsed().as_secs_f64())
    }
}
