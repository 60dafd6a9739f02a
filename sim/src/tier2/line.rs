//! Connections on sprag's side, which end in their order when sprag does.
//!
//! **Invariant.** When a process dies, its connections are closed in the order in which they were made, and it makes no more.
//! Left to the runtime, they would be closed in an order that depends on what ran before in this process: tokio keeps its tasks
//! by their numbers.

use sprag_handoff::Mailbox;
use sprag_runtime::live::api::Listener;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Connections that one life of sprag may accept.
const ACCEPTED_MAX: usize = 1 << 16;

/// One connection; nothing is in there when it was cut.
type Slot = Arc<Mailbox<TcpStream>>;

/// Where clients come from.
pub(super) struct Network {
    listener: TcpListener,
    accepted: Arc<Mailbox<Slot>>,
}

/// What cuts all connections that were accepted.
pub(super) struct Scissors(Arc<Mailbox<Slot>>);

/// A connection that can be cut.
pub(super) struct Line(Slot);

impl Network {
    pub(super) fn new(listener: TcpListener) -> (Network, Scissors) {
        let accepted = Arc::new(Mailbox::new(ACCEPTED_MAX));
        (Network { listener, accepted: Arc::clone(&accepted) }, Scissors(accepted))
    }
}

impl Listener for Network {
    type Stream = Line;

    async fn accept(&mut self) -> io::Result<Line> {
        let (stream, _) = self.listener.accept().await?;
        let slot = Arc::new(Mailbox::new(1));
        if self.accepted.push(Arc::clone(&slot)).is_err() {
            // The rest of the step in which a process dies: it is dead already.
            drop(stream);
            return pending().await;
        }
        // It is open, and has room.
        let _ = slot.push(stream);
        Ok(Line(slot))
    }
}

impl Scissors {
    /// To be called on the host that accepted them.
    pub(super) fn cut(&self) {
        self.0.close();
        taken(&self.0).iter().for_each(|slot| drop(taken(slot)));
    }
}

fn taken<T>(mailbox: &Mailbox<T>) -> Vec<T> {
    match mailbox.poll_take(&Context::from_waker(Waker::noop())) {
        Poll::Ready(items) => items.unwrap_or_default(),
        Poll::Pending => Vec::new(),
    }
}

impl Line {
    fn with<T>(&self, f: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(mut stream) = taken(&self.0).pop() else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let done = f(Pin::new(&mut stream));
        // It was just emptied.
        let _ = self.0.push(stream);
        done
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(taken(&self.0));
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}
