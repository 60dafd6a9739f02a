//! What a running sprag says, written by a thread of its own.
//!
//! **Invariant.** Whoever speaks never waits: a terminal that is stopped, or a full pipe, holds up nobody but this thread.
//! What does not fit into the queue is dropped; how many lines of a run's story that were is said as soon as one fits.

use crate::out::Out;
use anstream::AutoStream;
use std::io::{self, Write as _};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// So many lines wait for a slow reader; one more is dropped.
const LINES_MAX: usize = 10_000;
/// At the end, a reader gets so many pauses of [`PAUSE_MS`] to take what waits.
const PAUSES_MAX: u32 = 200;
const PAUSE_MS: u64 = 10;
/// After what there was is written, a rest: whoever speaks often would else wake this thread for each line.
const REST_MS: u64 = 5;

/// A line on its way.
enum Line {
    /// To standard output.
    Answer(String),
    /// To standard error.
    Trouble(Vec<u8>),
    /// Nothing more comes.
    End,
}

/// Takes lines from anybody, at once.
#[derive(Clone)]
pub(crate) struct Voice {
    lines: Sender<Line>,
    /// Lines for standard output that did not fit.
    dropped: u64,
}

/// The thread that writes.
pub(crate) struct Printer {
    voice: Voice,
    thread: JoinHandle<()>,
}

impl Printer {
    pub(crate) fn start() -> io::Result<Printer> {
        let (sender, receiver) = channel(LINES_MAX);
        let waiter = thread::current();
        let thread = thread::Builder::new().name("printer".into()).spawn(move || write_all(receiver, &waiter))?;
        Ok(Printer { voice: Voice { lines: sender, dropped: 0 }, thread })
    }

    pub(crate) fn voice(&self) -> Voice {
        self.voice.clone()
    }

    /// Writes what waits, for as long as a reader can be expected to take; to be called by the thread that started it.
    pub(crate) fn finish(self) {
        let mut told = false;
        for _ in 0..PAUSES_MAX {
            told = told || self.voice.send(Line::End);
            if self.thread.is_finished() {
                return;
            }
            thread::park_timeout(Duration::from_millis(PAUSE_MS));
        }
    }
}

impl Voice {
    /// Says a line on standard output.
    pub(crate) fn say(&mut self, line: String) {
        let line = match self.dropped {
            0 => line,
            1 => format!("(1 line was dropped: the reader was too slow)\n{line}"),
            dropped => format!("({dropped} lines were dropped: the reader was too slow)\n{line}"),
        };
        if self.send(Line::Answer(line)) { self.dropped = 0 } else { self.dropped += 1 }
    }

    /// Whether the line is on its way. A reader that is gone or asleep is no reason to stop working.
    fn send(&self, line: Line) -> bool {
        match self.lines.try_send(line) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        }
    }
}

/// For the log: each write is one whole event.
impl io::Write for Voice {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Line::Trouble(bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut lines: Receiver<Line>, waiter: &Thread) {
    let mut out = Some(Out::new());
    let mut trouble = AutoStream::auto(io::stderr());
    while let Some(line) = lines.blocking_recv() {
        match line {
            Line::Answer(line) => {
                let Some(reader) = &mut out else { continue };
                let last = lines.is_empty();
                let written = reader.line(line).and_then(|()| if last { reader.flush() } else { Ok(()) });
                if last {
                    thread::park_timeout(Duration::from_millis(REST_MS));
                }
                // A reader that has gone does not come back; what is said from now on is taken, and dropped.
                if written.is_err() {
                    out = None;
                }
            }
            Line::Trouble(bytes) => {
                // Nobody is left to be told that standard error is gone.
                let _ = trouble.write_all(&bytes);
            }
            Line::End => break,
        }
    }
    drop(out);
    waiter.unpark();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeping_reader_holds_nobody_up_and_is_told_what_it_missed() {
        let (lines, mut reader) = channel(2);
        let mut voice = Voice { lines, dropped: 0 };
        ["a", "b", "c", "d"].into_iter().for_each(|line| voice.say(line.into()));
        let mut next = || match reader.try_recv() {
            Ok(Line::Answer(line)) => line,
            Ok(Line::Trouble(_) | Line::End) | Err(_) => panic!("no line"),
        };
        assert_eq!([next(), next()], ["a", "b"]);
        ["e", "f"].into_iter().for_each(|line| voice.say(line.into()));
        assert_eq!([next(), next()], ["(2 lines were dropped: the reader was too slow)\ne", "f"]);
    }
}
