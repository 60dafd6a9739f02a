//! Many jobs in one request: a line of JSON in, a line of acknowledgement out.
//!
//! **Invariant.** Each line is answered once, with its number, in the order of the lines, and an added one only when it is
//! durable. A line that cannot be taken is refused alone. Half a line at the place where a client hung up is no line. When
//! the journal or the reader of the answers is behind, no more lines are read.

use super::answer::Said;
use super::{INLINE_BYTES_MAX, JSON_LINES, Reply, Shared, ending, lines_reply, weight};
use crate::request::{ADD_BYTES_MAX, Add, Answer, Request};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::channel::Sender;
use hyper::body::Incoming;
use sprag_core::Reply::Added;
use sprag_core::{Bug, JobId, planted};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::sync::oneshot;

/// So many lines of one client are under way.
const LINES_MAX: usize = 4_096;

/// A line whose answer is still to be said.
enum Line {
    Said(Said),
    Asked(oneshot::Receiver<Answer>),
}

/// Starts the conversation; its end is the end of the reply.
pub(super) fn answer(shared: &Arc<Shared>, queue: String, body: Incoming) -> Reply {
    let (sender, reply) = lines_reply(JSON_LINES);
    tokio::spawn(
        Stream { shared: Arc::clone(shared), queue, lines: Lines::default(), open: VecDeque::new(), said: 0 }
            .turn(body, sender),
    );
    reply
}

struct Stream {
    shared: Arc<Shared>,
    queue: String,
    lines: Lines,
    open: VecDeque<Line>,
    /// The number of the last line that was answered.
    said: u64,
}

impl Stream {
    async fn turn(mut self, mut body: Incoming, mut sender: Sender<Bytes, io::Error>) {
        let mut more = true;
        while more || !self.open.is_empty() {
            let room = more && self.open.len() < LINES_MAX;
            tokio::select! {
                biased;
                said = first(&mut self.open), if !self.open.is_empty() => {
                    let piece = self.take_answered(said);
                    // A reader that has gone will ask again; what it sent is carried out.
                    if sender.send_data(piece.into()).await.is_err() {
                        return;
                    }
                }
                frame = body.frame(), if room => match frame {
                    Some(Ok(frame)) => {
                        let Ok(data) = frame.into_data() else { continue };
                        let whole = self.lines.push(&data);
                        self.take(whole).await;
                    }
                    Some(Err(_)) => more = false,
                    None => {
                        more = false;
                        let last = self.lines.finish();
                        self.take(last).await;
                    }
                },
            }
        }
    }

    /// Puts whole lines to the loop.
    async fn take(&mut self, whole: Vec<Whole>) {
        let bytes: usize = whole.iter().map(Whole::len).sum();
        let queue = self.queue.clone();
        let parse = move || whole.into_iter().map(|line| (line.len(), line.parse(&queue))).collect();
        let parsed: Vec<(usize, Result<Add, Said>)> = if bytes <= INLINE_BYTES_MAX {
            parse()
        } else {
            match tokio::task::spawn_blocking(parse).await {
                Ok(parsed) => parsed,
                // Only when the runtime ends.
                Err(_) => return,
            }
        };
        for (len, add) in parsed {
            let line = match add {
                Err(said) => Line::Said(said),
                Ok(add) => match Arc::clone(&self.shared.room).acquire_many_owned(weight(len)).await {
                    Ok(room) => Line::Asked(self.shared.send(Request::Add(Box::new(add)), room)),
                    Err(_) => Line::Said(ending()),
                },
            };
            self.open.push_back(line);
        }
    }

    /// The answer to the first open line, and to all behind it whose answers are here.
    fn take_answered(&mut self, first: Said) -> Vec<u8> {
        let mut piece = Vec::new();
        let mut next = Some(first);
        while let Some(said) = next {
            self.said += 1;
            said.write_line(self.said, &mut piece);
            self.open.pop_front();
            next = match self.open.front_mut() {
                None => None,
                Some(Line::Said(said)) => Some(said.clone()),
                Some(Line::Asked(answer)) => match answer.try_recv() {
                    Ok(answer) => Some(answer.into()),
                    Err(oneshot::error::TryRecvError::Closed) => Some(ending()),
                    Err(oneshot::error::TryRecvError::Empty) => None,
                },
            };
        }
        piece
    }
}

/// The answer to the first open line. To drop the future loses nothing.
async fn first(open: &mut VecDeque<Line>) -> Said {
    match open.front_mut() {
        None => std::future::pending().await,
        Some(Line::Said(said)) => said.clone(),
        Some(Line::Asked(_)) if planted(Bug::StreamAcksEarly) => Answer::Reply(Added(JobId(0))).into(),
        Some(Line::Asked(answer)) => answer.await.map_or_else(|_| ending(), Said::from),
    }
}

/// Lines out of pieces.
#[derive(Debug, Default)]
struct Lines {
    /// The beginning of a line whose end is still to come.
    begun: Vec<u8>,
    /// It is too long: the rest of it is passed over.
    too_long: bool,
}

/// A line of which nothing is missing, or of which only is known that it is too long.
#[derive(Debug, PartialEq, Eq)]
enum Whole {
    Text(Vec<u8>),
    TooLong,
}

impl Whole {
    fn len(&self) -> usize {
        match self {
            Whole::Text(text) => text.len(),
            Whole::TooLong => 0,
        }
    }

    fn parse(self, queue: &str) -> Result<Add, Said> {
        match self {
            Whole::Text(text) => Add::parse(Some(queue), &text).map_err(Said::from),
            Whole::TooLong => Err(Said::error(413, format!("the line is longer than {ADD_BYTES_MAX} bytes"))),
        }
    }
}

impl Lines {
    fn push(&mut self, mut data: &[u8]) -> Vec<Whole> {
        let mut whole = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', data) {
            self.add(&data[..end]);
            whole.push(self.end());
            data = &data[end + 1..];
        }
        self.add(data);
        whole
    }

    /// The last line may lack its end.
    fn finish(&mut self) -> Vec<Whole> {
        let any = self.too_long || !self.begun.is_empty();
        any.then(|| self.end()).into_iter().collect()
    }

    fn add(&mut self, data: &[u8]) {
        self.too_long |= self.begun.len() + data.len() > ADD_BYTES_MAX;
        if self.too_long {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(data);
        }
    }

    fn end(&mut self) -> Whole {
        let text = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.too_long) { Whole::TooLong } else { Whole::Text(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_are_cut() {
        let text = b"{}\n\n\"a\"\nlast";
        let expected: Vec<Whole> =
            [&b"{}"[..], b"", b"\"a\"", b"last"].iter().map(|line| Whole::Text(line.to_vec())).collect();
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut whole: Vec<Whole> = text.chunks(size).flat_map(|piece| lines.push(piece)).collect();
            whole.extend(lines.finish());
            assert_eq!(whole, expected, "in pieces of {size}");
            assert!(lines.finish().is_empty());
        }
    }

    #[test]
    fn a_line_that_is_too_long_takes_no_memory_and_no_other_line() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; ADD_BYTES_MAX / 2 + 1];
        assert!(lines.push(&piece).is_empty() && lines.push(&piece).is_empty() && lines.push(&piece).is_empty());
        assert_eq!(lines.begun.capacity(), 0);
        assert_eq!(lines.push(b"x\n1\n"), [Whole::TooLong, Whole::Text(b"1".to_vec())]);
    }
}
