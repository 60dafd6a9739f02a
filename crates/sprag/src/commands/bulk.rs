//! `sprag add --lines`: many jobs over one connection, each acknowledged when it is durable.
//!
//! **Invariant.** What is said of a line bears the line's own number in the file; a line that cannot be sent still takes its
//! turn (as an empty one), so numbers never shift. After a break it is said how far the acknowledgements came.

use super::add::Job;
use crate::cli::{Add, Cli};
use crate::client::{Body, Client, encoded};
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sprag_runtime::driver::count_text;
use sprag_runtime::request::ADD_BYTES_MAX;
use sprag_runtime::{json, scan};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use tokio::sync::mpsc;

/// So many bytes are sent at once, unless the file ends.
const PIECE_BYTES: usize = 64 << 10;
/// So many pieces wait to be sent.
const PIECES_MAX: usize = 4;
/// So many refused lines are told to people; `--json` has them all.
const REFUSED_SHOWN_MAX: u64 = 20;
/// The bar is drawn so often at most, in lines.
const BAR_LINES: u64 = 100;

/// Lines on their way, and what was wrong with those that were not sent.
enum Piece {
    Send(Bytes),
    Failed(io::Error),
}

/// A body that a thread fills.
struct Pieces(mpsc::Receiver<Piece>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| {
            piece.map(|piece| match piece {
                Piece::Send(bytes) => Ok(Frame::data(bytes)),
                Piece::Failed(error) => Err(error),
            })
        })
    }
}

type Input = BufReader<Box<dyn io::Read + Send>>;

/// How each line becomes a job.
struct Shape {
    key_at: Option<String>,
    priority: i16,
    delay_ms: Option<u64>,
    at_ms: Option<u64>,
}

/// An acknowledgement.
#[derive(Deserialize, Serialize)]
struct Ack {
    line: u64,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Default)]
struct Sum {
    lines: u64,
    added: u64,
    known: u64,
    refused: u64,
}

pub(super) fn run(
    cli: &Cli,
    args: &Add,
    file: &Path,
    at_ms: Option<u64>,
    client: &mut Client,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let (input, total) = open(file)?;
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let (notes, mut notes_taken) = mpsc::unbounded_channel();
    let shape = Shape { key_at: args.key_at.clone(), priority: args.priority, delay_ms: args.delay, at_ms };
    thread::Builder::new()
        .name("reader".into())
        .spawn(move || {
            if let Err(error) = feed(input, &shape, &sender, &notes) {
                // When nobody takes it, the conversation is over already.
                let _ = sender.blocking_send(Piece::Failed(error));
            }
        })
        .map_err(|error| Failure::new(Exit::StateIo, format!("cannot start a thread: {error}")))?;
    let path = format!("/v1/queues/{}/jobs/stream", encoded(&args.queue));
    let body: Body = Pieces(receiver).boxed_unsync();
    let mut answer = client.begin(&path, body)?.into_body();
    let bar = bar(total);
    let (mut sum, mut begun, mut note) = (Sum::default(), Vec::new(), None);
    while let Some(piece) = client.next(&mut answer) {
        let piece = piece.map_err(|error| broken(&sum, &error))?;
        begun.extend_from_slice(&piece);
        let Some(end) = memchr::memrchr(b'\n', &begun) else { continue };
        for line in begun[..end].split(|byte| *byte == b'\n') {
            let mut ack: Ack = serde_json::from_slice(line).map_err(|error| broken(&sum, &io::Error::other(error)))?;
            // Notes come in order, and before their lines are answered.
            note = note.or_else(|| notes_taken.try_recv().ok());
            if let Some((_, what)) = note.take_if(|(line, _)| *line == ack.line) {
                ack.error = Some(what);
            }
            sum.take(cli, &ack, &bar, out)?;
        }
        begun.drain(..=end);
        out.flush()?;
    }
    bar.finish_and_clear();
    sum.end(cli, out)
}

/// The conversation ended too soon.
fn broken(sum: &Sum, error: &io::Error) -> Failure {
    let Sum { lines, added, known, refused } = sum;
    let what = format!(
        "the running sprag was lost after it answered {lines} lines ({added} added, {known} known, {refused} refused): \
         {error}"
    );
    Failure::new(Exit::StateIo, what).mend(format!(
        "lines up to {lines} are durable, later ones may be; send the rest again, or all of it if the jobs have keys"
    ))
}

impl Shape {
    /// A line as the job that it becomes; valid JSON goes in as it is.
    fn job(&self, line: &[u8]) -> Result<Vec<u8>, String> {
        let payload: &RawValue = serde_json::from_slice(line).map_err(|error| json::words_on_a_line(&error))?;
        let key = match &self.key_at {
            None => None,
            // As a source has it: the same item gets the same key, whichever way it comes.
            Some(pointer) => Some(scan::key_at(payload, pointer).map_err(|complaint| complaint.text)?),
        };
        let (priority, delay_ms, at_ms) = (self.priority, self.delay_ms, self.at_ms);
        let job = Job { payload, key: key.as_deref(), priority, delay_ms, at_ms };
        serde_json::to_vec(&job).map_err(|error| error.to_string())
    }
}

impl Sum {
    fn take(&mut self, cli: &Cli, ack: &Ack, bar: &ProgressBar, out: &mut Out) -> Result<(), Failure> {
        self.lines += 1;
        match (ack.status, &ack.error) {
            (201, _) => self.added += 1,
            (200, _) => self.known += 1,
            (_, what) => {
                self.refused += 1;
                if !cli.json && self.refused <= REFUSED_SHOWN_MAX {
                    out.line(format_args!("line {}: {}", ack.line, plain(what.as_deref().unwrap_or("refused"))))?;
                }
            }
        }
        if cli.json {
            out.json(ack)?;
        }
        if self.lines.is_multiple_of(BAR_LINES) {
            bar.set_position(self.lines);
        }
        Ok(())
    }

    fn end(&self, cli: &Cli, out: &mut Out) -> Result<Exit, Failure> {
        let Sum { lines, added, known, refused } = self;
        if !cli.json {
            if *refused > REFUSED_SHOWN_MAX {
                out.line(format_args!("and {} more; --json names them all", refused - REFUSED_SHOWN_MAX))?;
            }
            let lines = count_text(*lines, "line");
            out.line(format_args!("{lines}: {added} added, {known} known before, {refused} refused"))?;
        }
        Ok(if *refused == 0 { Exit::Ok } else { Exit::Refused })
    }
}

fn open(file: &Path) -> Result<(Input, Option<u64>), Failure> {
    if file == Path::new("-") {
        return Ok((BufReader::with_capacity(PIECE_BYTES, Box::new(io::stdin())), None));
    }
    let failed = |error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(failed)?;
    let is_file = opened.metadata().map_err(failed)?.is_file();
    let count = || -> io::Result<u64> {
        let (mut reader, mut lines) = (BufReader::with_capacity(PIECE_BYTES, File::open(file)?), 0);
        loop {
            let piece = reader.fill_buf()?;
            let len = piece.len();
            if len == 0 {
                return Ok(lines);
            }
            lines += memchr::memchr_iter(b'\n', piece).count() as u64;
            reader.consume(len);
        }
    };
    let total = if is_file { Some(count().map_err(failed)?) } else { None };
    Ok((BufReader::with_capacity(PIECE_BYTES, Box::new(opened)), total))
}

/// On a terminal only.
fn bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template =
        if total.is_some() { "{wide_bar} {human_pos}/{human_len} {per_sec}" } else { "{human_pos} lines {per_sec}" };
    // The templates are right as they stand; a bar that cannot be drawn is no reason to stop.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Reads lines and sends them as jobs, until the end or until nobody takes them.
fn feed(
    mut input: Input,
    shape: &Shape,
    sender: &mpsc::Sender<Piece>,
    notes: &mpsc::UnboundedSender<(u64, String)>,
) -> io::Result<()> {
    let (mut piece, mut line) = (Vec::with_capacity(2 * PIECE_BYTES), Vec::new());
    for number in 1.. {
        line.clear();
        // A line that is too long is read to its end, but not kept.
        let max = ADD_BYTES_MAX as u64 + 1;
        let mut len = input.by_ref().take(max).read_until(b'\n', &mut line)?;
        let mut too_long = false;
        while len as u64 == max && line.last() != Some(&b'\n') {
            too_long = true;
            line.clear();
            len = input.by_ref().take(max).read_until(b'\n', &mut line)?;
        }
        if len == 0 && !too_long {
            break;
        }
        let text = if line.last() == Some(&b'\n') { &line[..line.len() - 1] } else { &line[..] };
        let job = if too_long { Err("it is too long".into()) } else { shape.job(text) };
        match job {
            Ok(job) => piece.extend(job),
            // Only as many as there are bad lines, each as long as its reason.
            Err(what) => drop(notes.send((number, what))),
        }
        piece.push(b'\n');
        // What a person types goes out at once; what comes fast goes in pieces.
        if piece.len() >= PIECE_BYTES || input.buffer().is_empty() {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(2 * PIECE_BYTES));
            if sender.blocking_send(Piece::Send(full.into())).is_err() {
                return Ok(());
            }
        }
    }
    if !piece.is_empty() {
        let _ = sender.blocking_send(Piece::Send(piece.into()));
    }
    Ok(())
}
