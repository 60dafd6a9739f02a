//! `sprag log`: what a job's command has written.
//!
//! **Invariant.** Only the job's own output is shown: the file of a place is another job's as soon as the attempt is over, so
//! what was read from it counts only if the attempt was still alive after the reading. Of what was left out of a log that is
//! over its limit nothing is shown, but that it was.

use super::{service_log, state_of};
use crate::cli::{Cli, Log};
use crate::client::{Client, refused};
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain};
use crate::past::Past;
use hyper::Method;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use serde_json::json;
use sprag_core::{JobId, Slot, StateName};
use sprag_runtime::output::left_out;
use sprag_runtime::pipeline::StateDir;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Between two looks at a log that is followed.
pub(super) const LOOK_MS: u64 = 200;
/// Read at once, in bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// How a job stands.
struct View {
    attempt: u32,
    /// Its place, while an attempt is alive.
    slot: Option<Slot>,
    /// Nothing more comes.
    ended: bool,
}

/// Lines of one attempt, as they become whole.
struct Lines<'a> {
    out: &'a mut Out,
    json: bool,
    raw: bool,
    job: u64,
    attempt: u32,
    read: u64,
    begun: Vec<u8>,
}

impl View {
    fn is_alive(&self, attempt: u32) -> Option<Slot> {
        self.slot.filter(|_| self.attempt == attempt)
    }
}

pub(super) fn run(cli: &Cli, args: &Log, out: &mut Out) -> Result<Exit, Failure> {
    match args.what.parse() {
        Ok(job) => of_job(cli, args, job, out),
        Err(_) => service_log::run(cli, args, out),
    }
}

fn of_job(cli: &Cli, args: &Log, job: u64, out: &mut Out) -> Result<Exit, Failure> {
    let state = state_of(&cli.dir)?;
    let mut client = Client::connect(&state)?;
    let mut view = look(&state, &mut client, job)?;
    let attempt = args.attempt.unwrap_or(view.attempt);
    if attempt > view.attempt {
        let what = format!("job {} has had {} attempts", job, view.attempt);
        return Err(Failure::new(Exit::No, what).mend("`sprag show` tells its story"));
    }
    let mut lines = Lines { out, json: cli.json, raw: args.raw, job, attempt, read: 0, begun: Vec::new() };
    loop {
        while let Some(slot) = view.is_alive(lines.attempt) {
            let piece = read(&state.slot_log(slot), lines.read)?;
            view = look(&state, &mut client, job)?;
            if view.is_alive(lines.attempt) != Some(slot) {
                break;
            }
            lines.push(&piece)?;
            if piece.bytes.is_empty() {
                match client.as_ref().filter(|_| args.follow) {
                    Some(client) => lines.pause(client)?,
                    None => return lines.end().map(|()| Exit::Ok),
                }
            }
        }
        lines.rest(&state.attempt_log(job, lines.attempt))?;
        let was_last = view.ended && view.attempt == lines.attempt;
        if !args.follow || args.attempt.is_some() || was_last || client.is_none() {
            return lines.end().map(|()| Exit::Ok);
        }
        // An attempt may be counted before it is alive.
        while view.slot.is_none() && view.attempt == lines.attempt && !view.ended {
            client.as_ref().map_or(Ok(()), |client| lines.pause(client))?;
            view = look(&state, &mut client, job)?;
        }
        if view.attempt > lines.attempt {
            if lines.attempt > 0 {
                lines.end()?;
            }
            (lines.attempt, lines.read) = (lines.attempt + 1, 0);
        }
    }
}

fn look(state: &StateDir, client: &mut Option<Client>, job: u64) -> Result<View, Failure> {
    if let Some(client) = client {
        let told = client.ask(Method::GET, &format!("/v1/jobs/{job}"), Vec::new())?;
        if told.code != 200 {
            let failure = refused(&told);
            return Err(Failure { what: format!("job {job}: {}", failure.what), ..failure });
        }
        let number = |name: &str| told.json[name].as_u64();
        let word = told.json["state"].as_str().unwrap_or_default();
        return Ok(View {
            attempt: number("attempt").and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(0),
            slot: number("slot").and_then(|slot| u16::try_from(slot).ok()).map(Slot),
            ended: StateName::named(word).is_some_and(StateName::is_end),
        });
    }
    let past = Past::read(state)?;
    let Some(job) = past.machine.job(JobId(job)) else {
        let failure = Failure::new(Exit::No, format!("there is no job {job}"));
        return Err(failure.mend("`sprag list` shows the jobs there are"));
    };
    Ok(View { attempt: job.attempt, slot: job.state.slot(), ended: job.state.is_terminal() })
}

/// A piece of a log.
#[derive(Default)]
pub(super) struct Piece {
    /// Before it so many bytes were left out.
    pub(super) missing: u64,
    /// Empty at the end.
    pub(super) bytes: Vec<u8>,
}

/// A piece of a file from an offset on; nothing of a file that is not there.
pub(super) fn read(path: &Path, from: u64) -> Result<Piece, Failure> {
    let failed = |error: io::Error| Failure::new(Exit::StateIo, format!("cannot read {}: {error}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Piece::default()),
        Err(error) => return Err(failed(error)),
    };
    // What was left out of a log that is being written is a hole in the file.
    let data = match seek(&file, SeekFrom::Data(from)) {
        Ok(data) => data,
        // Nothing but a hole, or nothing at all.
        Err(Errno::NXIO) => return Ok(Piece::default()),
        Err(error) => return Err(failed(error.into())),
    };
    let hole = seek(&file, SeekFrom::Hole(data)).map_err(|error| failed(error.into()))?;
    seek(&file, SeekFrom::Start(data)).map_err(|error| failed(error.into()))?;
    let mut bytes = Vec::new();
    file.take(PIECE_BYTES.min(hole - data)).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Piece { missing: data - from, bytes })
}

impl Lines<'_> {
    fn push(&mut self, piece: &Piece) -> Result<(), Failure> {
        if piece.missing > 0 {
            self.unfinished()?;
            self.line(left_out(piece.missing).as_bytes())?;
        }
        self.read += piece.missing + piece.bytes.len() as u64;
        self.begun.extend_from_slice(&piece.bytes);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        whole[..end].split(|byte| *byte == b'\n').try_for_each(|line| self.line(line))
    }

    /// What the kept log has beyond what was shown.
    fn rest(&mut self, log: &Path) -> Result<(), Failure> {
        loop {
            let piece = read(log, self.read)?;
            self.push(&piece)?;
            if piece.bytes.is_empty() {
                return Ok(());
            }
        }
    }

    fn pause(&mut self, client: &Client) -> Result<(), Failure> {
        self.out.flush()?;
        client.pause(LOOK_MS);
        Ok(())
    }

    /// The last line may lack its end. That nothing was written is said, or it would look like a log that got lost.
    fn end(&mut self) -> Result<(), Failure> {
        if self.read > 0 || self.json || self.raw {
            return self.unfinished();
        }
        let (job, attempt) = (self.job, self.attempt);
        self.out.line(match attempt {
            0 => format!("[sprag: job {job} has had no attempt yet]"),
            _ => format!("[sprag: attempt {attempt} of job {job} has written nothing]"),
        })
    }

    fn unfinished(&mut self) -> Result<(), Failure> {
        let last = std::mem::take(&mut self.begun);
        match last.is_empty() {
            true => Ok(()),
            false if self.raw => self.out.bytes(&last),
            false => self.line(&last),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        if self.raw {
            self.out.bytes(line)?;
            return self.out.bytes(b"\n");
        }
        let text = String::from_utf8_lossy(line);
        if self.json {
            return self.out.json(&json!({ "job": self.job, "attempt": self.attempt, "text": text }));
        }
        let fields: Vec<String> = text.split('\t').map(plain).collect();
        self.out.line(fields.join("\t"))
    }
}
