//! `sprag add`: a job into the drop-box.
//!
//! **Invariant.** When this says that the job lies there, it does, whole and durably: written and synced under a name that
//! nobody reads, renamed, and both folders synced. A name is never used twice, so a job without a key is taken once.

use super::no_such_queue;
use crate::cli::{Add, Cli};
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain};
use crate::{config, folder, past, words};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::value::RawValue;
use sprag_core::Wall;
use sprag_journal::RealFs;
use sprag_journal::fs::{File as _, Fs as _, Open, write_all_at};
use sprag_runtime::pipeline::StateDir;
use sprag_runtime::{live, scan};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// White space is taken out of a payload, so what is read may be longer than what is kept.
const STDIN_BYTES_MAX: u64 = 4 * scan::PAYLOAD_BYTES_MAX as u64;

/// A file in the drop-box.
#[derive(Serialize)]
struct Drop<'a> {
    queue: &'a str,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    priority: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn is_zero(n: &i16) -> bool {
    *n == 0
}

/// What `--json` prints.
#[derive(Serialize)]
struct Added<'a> {
    queue: &'a str,
    key: Option<&'a str>,
    file: PathBuf,
    running_pid: Option<u32>,
}

pub(super) fn run(cli: &Cli, args: &Add, out: &mut Out) -> Result<Exit, Failure> {
    let pipeline = config::load(&cli.dir)?;
    if pipeline.queue(&args.queue).is_none() {
        return Err(no_such_queue(&args.queue, pipeline.queues.iter().map(|queue| &*queue.policy.name)));
    }
    if args.key.as_deref() == Some("") {
        return Err(Failure::new(Exit::Usage, "the key is empty").mend("leave --key out for a job without one"));
    }
    let payload = payload(args)?;
    let drop = Drop {
        queue: &args.queue,
        payload: &payload,
        key: args.key.as_deref(),
        priority: args.priority,
        delay_ms: args.delay,
        at_ms: args.at.as_deref().map(moment).transpose()?.map(|at| at.0),
    };
    let state = StateDir::of(&cli.dir);
    folder::make(&state)?;
    let file = put(&state, &drop).map_err(|(path, error)| {
        Failure::new(Exit::StateIo, format!("cannot write to the drop-box: {}: {error}", path.display()))
    })?;
    let running = past::running(&state)?;
    if cli.json {
        out.json(&Added { queue: &args.queue, key: drop.key, file, running_pid: running })?;
    } else {
        out.line(said(&drop, &file, running))?;
    }
    Ok(Exit::Ok)
}

fn said(drop: &Drop<'_>, file: &Path, running: Option<u32>) -> String {
    let key = drop.key.map_or_else(String::new, |key| format!(" with key {}", plain(key)));
    let due = match (drop.delay_ms, drop.at_ms) {
        (Some(delay_ms), _) => format!(", not before {} have passed", words::length(delay_ms)),
        (None, Some(at_ms)) => format!(", not before {}", words::moment(Wall(at_ms))),
        (None, None) => String::new(),
    };
    let taken = match running {
        Some(pid) => format!("sprag runs here (process {pid}) and takes it now"),
        None => "no sprag runs here: the next `sprag run` takes it".into(),
    };
    format!("in the drop-box of queue {}{key}{due}: {}\n{taken}", drop.queue, file.display())
}

fn payload(args: &Add) -> Result<Box<RawValue>, Failure> {
    let bad = |what: String| Failure::new(Exit::Usage, format!("the payload {what}"));
    let text = match args.payload.as_deref() {
        Some("-") => read_stdin().map_err(|error| bad(format!("cannot be read from standard input: {error}")))?,
        Some(text) => text.to_owned(),
        None => "null".into(),
    };
    let raw = if args.text {
        serde_json::value::to_raw_value(&text).map_err(|error| bad(format!("cannot be written as JSON: {error}")))?
    } else {
        RawValue::from_string(text.trim().to_owned())
            .map_err(|error| bad(format!("is not JSON: {error}")).mend("quote it for the shell, or use --text"))?
    };
    scan::one_line(&raw).map_err(|complaint| bad(format!("is {}", complaint.text)))
}

fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(STDIN_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > STDIN_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {STDIN_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A moment with an offset from UTC, or by the local calendar.
fn moment(text: &str) -> Result<Wall, Failure> {
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| {
        let local: DateTime = text.parse()?;
        Ok(local.to_zoned_datetime(TimeZone::system())?.timestamp())
    });
    let ms = parsed.map_err(|error: jiff::Error| {
        Failure::new(Exit::Usage, format!("--at {text:?} is no moment: {error}"))
            .mend("write '2030-01-31 09:00', or 2030-01-31T09:00:00Z")
    })?;
    Ok(Wall(u64::try_from(ms.as_millisecond()).unwrap_or(0)))
}

/// Puts the file into the drop-box; an error names the path that it is about.
fn put(state: &StateDir, drop: &Drop<'_>) -> Result<PathBuf, (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| (path, error)
    };
    let inbox = state.inbox("");
    let (tmp, new) = (state.inbox("tmp"), state.inbox("new"));
    folder::make_durable(&[&inbox, &tmp, &new])?;
    let name = name().map_err(at(&new))?;
    let (from, to) = (tmp.join(&name), new.join(format!("{name}.json")));
    let mut bytes = serde_json::to_vec(drop).map_err(io::Error::from).map_err(at(&from))?;
    bytes.push(b'\n');
    let file = RealFs.open(&from, Open::Create).map_err(at(&from))?;
    let written = write_all_at(&file, &bytes, 0).and_then(|()| file.sync_all());
    let moved = written.and_then(|()| RealFs.rename(&from, &to));
    if let Err(error) = moved {
        // Nobody reads it there; it would only lie around.
        let _ = RealFs.remove(&from);
        return Err((from, error));
    }
    RealFs.sync_dir(&new).map_err(at(&new))?;
    Ok(to)
}

/// A name that sorts by time and that nobody else takes: moment, process, chance.
fn name() -> io::Result<String> {
    let mut chance = [0; 8];
    let mut filled = 0;
    while filled < chance.len() {
        filled += rustix::rand::getrandom(&mut chance[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    let chance = u64::from_le_bytes(chance);
    Ok(format!("{:015}-{}-{chance:016x}", live::now().wall.0, std::process::id()))
}
