//! What happens, as a stream: lines of JSON, or server-sent events.
//!
//! **Invariant.** A listener is told everything behind its position, in order, and nothing that is not durable; or it is told
//! where its position was lost, and that is its last line. What is kept for all of them is bounded, and kept once: who
//! does not read costs nothing but its place.

use super::answer::Said;
use super::{Closing, JSON_LINES, Reply, Shared, lines_reply};
use crate::driver::Happened;
use bytes::Bytes;
use http_body_util::channel::Sender;
use serde_json::json;
use sprag_core::Seq;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

/// So many events are kept for listeners that are behind.
const KEPT_MAX: usize = 16_384;
/// And no more than so many bytes of them, about.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// So many listeners at once.
pub(super) const LISTENERS_MAX: usize = 16;
/// So many events go out in one piece.
const PIECE_EVENTS_MAX: usize = 256;
/// And, but for one that is longer alone, no more than so many bytes of them, about: some pieces wait for a listener that reads
/// slowly, and are no longer bounded by what is kept.
const PIECE_BYTES_MAX: usize = 64 << 10;
const EVENT_STREAM: &str = "text/event-stream";

/// The last events.
#[derive(Debug)]
pub(super) struct Kept {
    events: VecDeque<Happened>,
    bytes: usize,
    /// Everything after this one is here.
    from: Seq,
    /// The last one that there was.
    last: Seq,
}

/// What a listener asks for.
pub(super) struct Listen {
    /// Everything after this one; without it, from now on.
    pub(super) after: Option<u64>,
    /// As server-sent events.
    pub(super) as_events: bool,
}

/// What comes next for a listener.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Events(Vec<Happened>),
    /// Its position is not known here (any more).
    Gone,
}

impl Kept {
    /// With nothing to tell up to `from`.
    pub(super) fn new(from: Seq) -> Kept {
        Kept { events: VecDeque::new(), bytes: 0, from, last: from }
    }

    pub(super) fn add(&mut self, happened: Vec<Happened>) {
        for event in happened {
            self.last = event.seq;
            self.bytes += event.bytes();
            self.events.push_back(event);
            while self.events.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
                let Some(oldest) = self.events.pop_front() else { break };
                self.bytes -= oldest.bytes();
                self.from = oldest.seq;
            }
        }
    }

    fn after(&self, at: Seq) -> Next {
        if at < self.from || at > self.last {
            return Next::Gone;
        }
        let first = self.events.partition_point(|event| event.seq <= at);
        let mut bytes = 0;
        let piece = self.events.range(first..).take(PIECE_EVENTS_MAX).take_while(|event| {
            let fits = bytes < PIECE_BYTES_MAX;
            bytes += event.bytes();
            fits
        });
        Next::Events(piece.cloned().collect())
    }
}

/// Begins to tell, or says why not.
pub(super) fn answer(shared: &Arc<Shared>, asked: &Listen) -> Result<Reply, Said> {
    let place = Arc::clone(&shared.listeners).try_acquire_owned();
    let place = place.map_err(|_| Said::busy(&format!("there are {LISTENERS_MAX} listeners already")))?;
    let mut kept = shared.kept.clone();
    let at = {
        let kept = kept.borrow_and_update();
        let at = asked.after.map_or(kept.last, Seq);
        if kept.after(at) == Next::Gone {
            let (from, last) = (kept.from.0, kept.last.0);
            return Err(Said::gone(format!(
                "events after {} are not kept; only those after {from}, up to {last}",
                at.0
            )));
        }
        at
    };
    let (sender, reply) = lines_reply(if asked.as_events { EVENT_STREAM } else { JSON_LINES });
    let heartbeat = Duration::from_millis(shared.patience.heartbeat_ms);
    let teller = Teller { at, as_events: asked.as_events, sender, heartbeat, _place: place };
    tokio::spawn(teller.tell(kept, shared.closing.clone()));
    Ok(reply)
}

/// What a listener without news is woken by.
enum Woken {
    Changed,
    Time,
    Ended,
}

async fn wait(kept: &mut watch::Receiver<Kept>, closing: &Closing, heartbeat: Duration) -> Woken {
    tokio::select! {
        biased;
        changed = kept.changed() => if changed.is_ok() { Woken::Changed } else { Woken::Ended },
        () = closing.begun() => Woken::Ended,
        () = sleep(heartbeat) => Woken::Time,
    }
}

/// Tells one listener.
struct Teller {
    /// The last event that was told.
    at: Seq,
    as_events: bool,
    sender: Sender<Bytes, io::Error>,
    heartbeat: Duration,
    _place: OwnedSemaphorePermit,
}

impl Teller {
    async fn tell(mut self, mut kept: watch::Receiver<Kept>, closing: Closing) {
        let mut more = self.word(json!({ "type": "listening", "seq": self.at.0 })).await;
        while more {
            let next = kept.borrow_and_update().after(self.at);
            more = match next {
                Next::Gone => {
                    let what = "these events are not kept any more: they were not taken fast enough";
                    self.word(json!({ "type": "gone", "seq": self.at.0, "error": what })).await;
                    false
                }
                Next::Events(events) if !events.is_empty() => self.events(&events).await,
                Next::Events(_) => match wait(&mut kept, &closing, self.heartbeat).await {
                    Woken::Changed => true,
                    Woken::Time => self.beat().await,
                    Woken::Ended => {
                        self.word(json!({ "type": "ended", "seq": self.at.0, "error": "sprag has ended" })).await;
                        false
                    }
                },
            };
        }
    }

    /// All of them as one piece. False when nobody listens any more.
    async fn events(&mut self, events: &[Happened]) -> bool {
        let mut piece = Vec::new();
        for event in events {
            self.at = event.seq;
            self.write(&event.line(), &mut piece);
        }
        self.sender.send_data(piece.into()).await.is_ok()
    }

    /// Something about the stream itself.
    async fn word(&mut self, word: serde_json::Value) -> bool {
        let mut piece = Vec::new();
        self.write(word.to_string().as_bytes(), &mut piece);
        self.sender.send_data(piece.into()).await.is_ok()
    }

    async fn beat(&mut self) -> bool {
        match self.as_events {
            true => self.sender.send_data(Bytes::from_static(b":\n\n")).await.is_ok(),
            false => self.word(json!({ "type": "heartbeat", "seq": self.at.0 })).await,
        }
    }

    fn write(&self, line: &[u8], piece: &mut Vec<u8>) {
        if self.as_events {
            piece.extend_from_slice(format!("id: {}\ndata: ", self.at.0).as_bytes());
        }
        piece.extend_from_slice(line);
        piece.extend_from_slice(if self.as_events { b"\n\n" } else { b"\n" });
    }
}
