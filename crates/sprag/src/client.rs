//! A conversation with the sprag that runs, over its socket.
//!
//! **Invariant.** Every question has an end: an answer, or a [`Failure`] that says whether a sprag runs at all. What was
//! asked and not answered may have been done; the failure says so.

use crate::exit::{Exit, Failure};
use crate::{past, words};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sprag_runtime::live::{self, api};
use sprag_runtime::pipeline::StateDir;
use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// No answer takes longer: a disk that hangs for so long is trouble of its own.
const ANSWER_MS_MAX: u64 = 30_000;
/// A sprag that runs listens within so much time, or is told to be out of reach.
const LISTENS_MS_MAX: u64 = 3_000;
/// And it says how it is within so much, which waits for nothing: one that is silent for longer is frozen.
const ALIVE_MS_MAX: u64 = 2_000;
const AGAIN_MS: u64 = 50;

/// What goes out with a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A connection to the sprag that runs.
pub(crate) struct Client {
    runtime: Runtime,
    sender: SendRequest<Body>,
    pid: u32,
}

/// Why there is no client.
pub(crate) enum Silence {
    /// It takes no connection: it has just been started, or its file system has no sockets.
    Deaf(io::Error),
    /// It takes a connection and says nothing.
    Frozen,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: u16,
    pub(crate) json: Value,
}

impl Client {
    /// Connects; `None` when no sprag runs here. A sprag that runs and cannot be reached is a failure.
    pub(crate) fn connect(state: &StateDir) -> Result<Option<Client>, Failure> {
        let mut waited_ms = 0;
        loop {
            let Some(pid) = past::running(state)? else { return Ok(None) };
            match Client::open(state, pid) {
                Ok(client) => return Ok(Some(client)),
                // It may have ended this very moment.
                Err(_) if past::running(state)?.is_none() => return Ok(None),
                // One that has just been started reads its journal before it listens.
                Err(Silence::Deaf(_)) if waited_ms < LISTENS_MS_MAX => waited_ms += AGAIN_MS,
                Err(silence) => return Err(unreachable(state, pid, &silence)),
            }
            let runtime = Builder::new_current_thread().enable_time().build();
            runtime.map(|runtime| sleep(&runtime, AGAIN_MS)).map_err(|error| cut_off(&error))?;
        }
    }

    /// Connects to one that listens already.
    pub(crate) fn connect_now(state: &StateDir) -> Result<Option<Client>, Silence> {
        let running = || past::running(state).map_err(|failure| Silence::Deaf(io::Error::other(failure.what)));
        let Some(pid) = running()? else { return Ok(None) };
        match Client::open(state, pid) {
            Ok(client) => Ok(Some(client)),
            Err(_) if running()?.is_none() => Ok(None),
            Err(silence) => Err(silence),
        }
    }

    /// Connects; without a sprag to talk to there is nothing to be done.
    pub(crate) fn need(state: &StateDir) -> Result<Client, Failure> {
        Client::connect(state)?.ok_or_else(|| not_running("no sprag runs here"))
    }

    fn open(state: &StateDir, pid: u32) -> Result<Client, Silence> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Silence::Deaf)?;
        let alive = Duration::from_millis(ALIVE_MS_MAX);
        let sender = runtime.block_on(async {
            let stream = api::connect(&state.socket()).await;
            // Nobody takes those who wait.
            let full = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            let stream = stream.map_err(|error| if full(&error) { Silence::Frozen } else { Silence::Deaf(error) })?;
            let handshake = handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| Silence::Deaf(io::Error::other(error)))?;
            // Its end is the end of every answer that is still awaited.
            tokio::spawn(connection);
            match timeout(alive, ask(&mut sender, Method::GET, "/v1/status", Vec::new())).await {
                Ok(told) => told.map(|_| sender).map_err(Silence::Deaf),
                Err(_) => Err(Silence::Frozen),
            }
        })?;
        Ok(Client { runtime, sender, pid })
    }

    /// The process at the other end.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks, with a body if there is one.
    pub(crate) fn ask(&mut self, method: Method, path: &str, body: Vec<u8>) -> Result<Told, Failure> {
        let Client { runtime, sender, .. } = self;
        runtime.block_on(ask(sender, method, path, body)).map_err(|error| cut_off(&error))
    }

    /// Asks for something to be done; anything but success is a failure.
    pub(crate) fn order(&mut self, path: &str) -> Result<Told, Failure> {
        let told = self.ask(Method::POST, path, Vec::new())?;
        if told.code < 300 { Ok(told) } else { Err(refused(&told)) }
    }

    /// Sends a body whose end is not known yet; the answer begins while it is sent.
    pub(crate) fn begin(&mut self, path: &str, body: Body) -> Result<Response<Incoming>, Failure> {
        let Client { runtime, sender, .. } = self;
        let request = request(Method::POST, path).body(body).map_err(|error| cut_off(&io::Error::other(error)))?;
        runtime.block_on(sender.send_request(request)).map_err(|error| cut_off(&io::Error::other(error)))
    }

    /// The next piece of an answer that comes in pieces.
    pub(crate) fn next(&mut self, body: &mut Incoming) -> Option<io::Result<Bytes>> {
        let frame = self.runtime.block_on(body.frame())?;
        Some(frame.map_err(io::Error::other).map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// Lets time pass.
    pub(crate) fn pause(&self, ms: u64) {
        sleep(&self.runtime, ms);
    }
}

fn sleep(runtime: &Runtime, ms: u64) {
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(ms)).await });
}

async fn ask(sender: &mut SendRequest<Body>, method: Method, path: &str, body: Vec<u8>) -> io::Result<Told> {
    let len = body.len();
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let request = request(method, path).header(CONTENT_LENGTH, len).body(body).map_err(io::Error::other)?;
    let answer = async {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        Ok::<_, hyper::Error>((code, response.into_body().collect().await?.to_bytes()))
    };
    let (code, bytes) = timeout(Duration::from_millis(ANSWER_MS_MAX), answer)
        .await
        .map_err(|_| io::Error::other(format!("no answer in {} s", ANSWER_MS_MAX / 1000)))?
        .map_err(io::Error::other)?;
    let json = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    Ok(Told { code, json })
}

fn request(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, "sprag")
}

/// A queue's name as a part of a path.
pub(crate) fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// There is nobody to talk to.
pub(crate) fn not_running(what: &str) -> Failure {
    Failure::new(Exit::NotRunning, what).mend("start it with `sprag run`")
}

fn unreachable(state: &StateDir, pid: u32, silence: &Silence) -> Failure {
    match silence {
        Silence::Deaf(error) => {
            let socket = state.socket();
            let what = format!("sprag runs here (process {pid}), but {} does not answer: {error}", socket.display());
            let mend = "a sprag that has just been started reads its journal first: try again";
            Failure::new(Exit::StateIo, what).mend(mend)
        }
        Silence::Frozen => frozen(state, pid),
    }
}

/// It runs, and has stopped saying anything.
pub(crate) fn frozen(state: &StateDir, pid: u32) -> Failure {
    let last = past::last_heartbeat(state).map_or_else(String::new, |at| {
        let age_ms = live::now().wall.0.saturating_sub(at.0);
        format!("; its last heartbeat came {} ago, at {}", words::length(age_ms), words::moment(at))
    });
    let what = format!("sprag runs here (process {pid}), and has not answered for {} s{last}", ALIVE_MS_MAX / 1000);
    let mend =
        format!("`kill -CONT {pid}` if it was stopped; else `kill -9 {pid}` and start it again: nothing is lost");
    Failure::new(Exit::StateIo, what).mend(mend)
}

fn cut_off(error: &io::Error) -> Failure {
    let what = format!("the running sprag did not answer: {error}; what was asked may have been done");
    Failure::new(Exit::StateIo, what).mend("look with `sprag status`, and ask again")
}

/// An answer that is no.
pub(crate) fn refused(told: &Told) -> Failure {
    let failure = |exit| Failure::new(exit, told.json["error"].as_str().unwrap_or("it was refused without a reason"));
    match (told.code, told.json["reason"].as_str()) {
        (_, Some("no_such_queue")) => failure(Exit::Usage).mend("`sprag status` shows the queues there are"),
        (_, Some("no_such_job")) => failure(Exit::No).mend("`sprag list` shows the jobs there are"),
        (_, Some("stopping")) => failure(Exit::Refused).mend("ask the next one, once `sprag run` has started it"),
        (404, _) => failure(Exit::No),
        (_, _) => failure(Exit::Refused),
    }
}
