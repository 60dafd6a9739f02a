//! The control API: HTTP/1.1 and JSON over any listener. `docs/api.md` says what it can be asked.
//!
//! **Invariant.** Nothing here decides: a request is checked, handed to the loop, and its answer passed on. What one client
//! can take of us is bounded: the bytes of a header and a body, the time for both, its requests under way; and so is what
//! all can take together: connections, and bytes on their way to the journal.

mod answer;
mod events;
mod idle;
mod lines;
mod listing;
mod route;
mod unix;

pub use unix::{LocalListener, connect};

use crate::driver::Happened;
use crate::request::{ADD_BYTES_MAX, Add, Answer, Request};
use answer::Said;
use bytes::Bytes;
use events::{Kept, LISTENERS_MAX};
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use idle::Idle;
use sprag_core::{Bug, Seq, planted};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

/// A header that is not whole after so many bytes is refused, so none has twice as many; and no more of a body is read
/// ahead.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// No header has more fields.
const HEADERS_MAX: usize = 64;
/// So many connections at once; one more is answered 503 and closed.
const CONNECTIONS_MAX: usize = 128;
/// So many bytes of requests are on their way to the journal, all clients together.
const UNDER_WAY_BYTES_MAX: usize = 64 << 20;
/// No request counts for less of them, in bytes.
const REQUEST_BYTES_MIN: usize = 512;
/// A longer body is read as JSON and hashed on the pool, not on the loop's thread, in bytes.
const INLINE_BYTES_MAX: usize = 8 << 10;
/// So many pieces of an answer wait for their reader.
const PIECES_MAX: usize = 4;
/// Lines, one JSON object each.
const JSON_LINES: &str = "application/x-ndjson";
/// After a failure to accept (no descriptor, say), a pause.
const ACCEPT_AGAIN_MS: u64 = 100;
/// At the end, answers get so long to reach their clients.
const CLOSE_MS_MAX: u64 = 500;

/// Where clients come from: a Unix socket, or whatever a test has instead.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next client.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A request on its way to the loop, and where its answer is awaited.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Who waits.
    pub client: Client,
}

/// Whoever waits for an answer, and the room that the request takes until it has one. Dropped without an answer, the
/// client is told that sprag has ended.
#[derive(Debug)]
pub struct Client {
    reply: oneshot::Sender<Answer>,
    _room: OwnedSemaphorePermit,
}

impl Client {
    /// Passes the answer on. A client that has gone does not hear it.
    pub fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A header is here in so much time, in milliseconds.
    pub header_ms: u64,
    /// A connection on which nothing moves for so long is closed, in milliseconds.
    pub idle_ms: u64,
    /// A listener to whom nothing was to be told for so long is told that, in milliseconds.
    pub heartbeat_ms: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { header_ms: 10_000, idle_ms: 60_000, heartbeat_ms: 15_000 }
    }
}

/// Whether what is under way is to be finished and nothing new taken. Whoever waits for that hears it in the order in which
/// they began to wait: a `watch` would wake them in an order of chance.
#[derive(Clone, Debug)]
struct Closing(Arc<Semaphore>);

impl Default for Closing {
    fn default() -> Closing {
        Closing(Arc::new(Semaphore::new(0)))
    }
}

impl Closing {
    /// Returns when it is.
    async fn begun(&self) {
        // There are no permits: it ends when the semaphore is closed.
        let _ = self.0.acquire().await;
    }
}

/// The API while it serves.
#[derive(Debug)]
pub struct Api {
    closing: Closing,
    connections: Arc<Semaphore>,
    kept: watch::Sender<Kept>,
}

/// What every connection needs.
struct Shared {
    to_loop: Box<dyn Fn(Asked) + Send + Sync>,
    /// Bytes that may still get under way.
    room: Arc<Semaphore>,
    /// What happened last, for listeners, and the places for them.
    kept: watch::Receiver<Kept>,
    listeners: Arc<Semaphore>,
    closing: Closing,
    patience: Patience,
}

/// A body that ends with an error is cut off: its reader sees that something is missing.
type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

impl Api {
    /// Serves `listener` from now on; `to_loop` hands requests over and never blocks. Records up to `durable` happened
    /// before. Must be called inside a tokio runtime.
    pub fn serve(
        listener: impl Listener,
        patience: Patience,
        durable: Seq,
        to_loop: impl Fn(Asked) + Send + Sync + 'static,
    ) -> Api {
        let (closing, kept) = (Closing::default(), watch::Sender::new(Kept::new(durable)));
        let shared = Shared {
            to_loop: Box::new(to_loop),
            room: Arc::new(Semaphore::new(UNDER_WAY_BYTES_MAX)),
            kept: kept.subscribe(),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            closing: closing.clone(),
            patience,
        };
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        tokio::spawn(accept_all(listener, Arc::new(shared), Arc::clone(&connections), closing.clone()));
        Api { closing, connections, kept }
    }

    /// Tells whoever listens, and keeps it for a while for those who are behind.
    pub fn tell(&self, happened: Vec<Happened>) {
        self.kept.send_modify(|kept| kept.add(happened));
    }

    /// Takes nothing new, and waits a moment for what is under way to reach its clients.
    pub async fn close(self) {
        self.closing.0.close();
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        // A client that does not take its answer in time asks again: requests with a key are done once.
        let _ = timeout(Duration::from_millis(CLOSE_MS_MAX), self.connections.acquire_many(all)).await;
    }
}

async fn accept_all<L: Listener>(mut listener: L, shared: Arc<Shared>, connections: Arc<Semaphore>, closing: Closing) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.begun() => return,
            accepted = listener.accept() => accepted,
        };
        match (accepted, Arc::clone(&connections).try_acquire_owned()) {
            (Ok(stream), Ok(place)) => {
                let conversation = converse(stream, Arc::clone(&shared), closing.clone(), place);
                if planted(Bug::ClientsInTurn) {
                    conversation.await;
                } else {
                    tokio::spawn(conversation);
                }
            }
            (Ok(stream), Err(_)) => turn_away(stream).await,
            (Err(error), _) => {
                tracing::warn!(%error, "a client could not be let in");
                sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await;
            }
        }
    }
}

/// Says that there is no place, as far as that takes no waiting.
async fn turn_away<S: AsyncWrite + Unpin>(mut stream: S) {
    let text = "{\"error\":\"too many connections\"}\n";
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let whole = format!("{head}content-length: {}\r\n\r\n{text}", text.len());
    let _ = timeout(Duration::ZERO, stream.write_all(whole.as_bytes())).await;
}

/// One connection, to its end.
async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    shared: Arc<Shared>,
    closing: Closing,
    _place: OwnedSemaphorePermit,
) {
    let Patience { header_ms, idle_ms, .. } = shared.patience;
    let io = TokioIo::new(Idle::new(stream, Duration::from_millis(idle_ms)));
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(route::answer(&shared, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(header_ms))
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    // How a client ends its connection is its own affair: what it was told is what it knows.
    let ended = tokio::select! {
        biased;
        ended = &mut connection => Some(ended),
        () = closing.begun() => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// One job.
async fn add(shared: &Arc<Shared>, queue: String, body: Incoming) -> Said {
    let too_large = || Said::error(413, format!("the body is longer than {ADD_BYTES_MAX} bytes"));
    if body.size_hint().lower() > ADD_BYTES_MAX as u64 {
        return too_large();
    }
    let bytes = match Limited::new(body, ADD_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return too_large(),
        Err(error) => return Said::error(400, format!("the body did not come whole: {error}")),
    };
    let len = bytes.len();
    match parse(queue, bytes).await {
        Ok(add) => ask(shared, Request::Add(Box::new(add)), len).await,
        Err(said) => said,
    }
}

/// Reads and hashes a job; a large one off the loop's thread.
async fn parse(queue: String, bytes: Bytes) -> Result<Add, Said> {
    let len = bytes.len();
    let parse = move || Add::parse(Some(&queue), &bytes).map_err(Said::from);
    if len <= INLINE_BYTES_MAX {
        return parse();
    }
    // Only when the runtime ends.
    tokio::task::spawn_blocking(parse).await.unwrap_or_else(|_| Err(ending()))
}

/// Puts one request to the loop and awaits its answer.
async fn ask(shared: &Arc<Shared>, request: Request, len: usize) -> Said {
    match Arc::clone(&shared.room).try_acquire_many_owned(weight(len)) {
        Ok(room) => shared.send(request, room).await.map_or_else(|_| ending(), Said::from),
        Err(_) => Answer::Busy.into(),
    }
}

/// The loop has ended without an answer.
fn ending() -> Said {
    Said::error(503, "sprag has ended before the answer was known; ask again when it runs")
}

/// How much room a request of so many bytes takes.
fn weight(len: usize) -> u32 {
    u32::try_from(len.max(REQUEST_BYTES_MIN)).unwrap_or(u32::MAX)
}

impl Shared {
    /// Asks as soon as there is room, and awaits the answer.
    async fn ask(&self, request: Request) -> Result<Answer, Said> {
        let room = Arc::clone(&self.room).acquire_many_owned(weight(0)).await.map_err(|_| ending())?;
        self.send(request, room).await.map_err(|_| ending())
    }

    fn send(&self, request: Request, room: OwnedSemaphorePermit) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        (self.to_loop)(Asked { request, client: Client { reply, _room: room } });
        answer
    }
}

fn reply(said: Said) -> Reply {
    let code = said.code;
    respond(code, "application/json", Full::new(said.bytes()).map_err(|never| match never {}).boxed_unsync())
}

/// Where a body of lines is written to, and the reply that it is.
fn lines_reply(kind: &'static str) -> (Sender<Bytes, io::Error>, Reply) {
    let (sender, channel) = Channel::new(PIECES_MAX);
    (sender, respond(200, kind, channel.boxed_unsync()))
}

fn respond(code: u16, kind: &'static str, body: UnsyncBoxBody<Bytes, io::Error>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
