//! `sprag add`: a job to the sprag that runs, or into the drop-box.
//!
//! **Invariant.** When this says that the job is taken, it is durable. When this says that the job lies in the drop-box, it
//! does, whole and durably: written and synced under a name that nobody reads, renamed, and both folders synced. A name is
//! never used twice, so a job without a key is taken once. A job that was sent is never dropped too.

use super::{bulk, no_such_queue, wait};
use crate::cli::{Add, Cli};
use crate::client::{self, Client, Told, encoded};
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain};
use crate::{config, folder, past, words};
use hyper::Method;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::value::RawValue;
use sprag_core::Wall;
use sprag_journal::RealFs;
use sprag_journal::fs::{File as _, Fs as _, Open, write_all_at};
use sprag_runtime::pipeline::StateDir;
use sprag_runtime::{json, live, scan};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// White space is taken out of a payload, so what is read may be longer than what is kept.
const STDIN_BYTES_MAX: u64 = 4 * scan::PAYLOAD_BYTES_MAX as u64;

/// A file in the drop-box.
#[derive(Serialize)]
struct Drop<'a> {
    queue: &'a str,
    #[serde(flatten)]
    job: Job<'a>,
}

/// A job as the drop-box and the control API have it.
#[derive(Serialize)]
pub(super) struct Job<'a> {
    pub(super) payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) priority: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_ms: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn is_zero(n: &i16) -> bool {
    *n == 0
}

/// What `--json` prints: the job's number, or the file in the drop-box.
#[derive(Serialize)]
struct Added<'a> {
    queue: &'a str,
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    running_pid: Option<u32>,
}

pub(super) fn run(cli: &Cli, args: &Add, out: &mut Out) -> Result<Exit, Failure> {
    let state = StateDir::of(&cli.dir);
    // One that runs is asked itself: it keeps the configuration that it was started with.
    if past::running(&state)?.is_none() {
        let pipeline = config::load(&cli.dir)?;
        if pipeline.queue(&args.queue).is_none() {
            return Err(no_such_queue(&args.queue, pipeline.queues.iter().map(|queue| &*queue.policy.name)));
        }
    }
    args.key.as_deref().map_or(Ok(()), scan::check_key).map_err(|complaint| {
        Failure::new(Exit::Usage, format!("the key is unfit: {}", complaint.text))
            .mend("leave --key out for a job without one")
    })?;
    let at_ms = args.at.as_deref().map(moment).transpose()?.map(|at| at.0);
    if let Some(file) = &args.lines {
        let mut client = need(&state)?;
        let queues = configured(&mut client)?;
        if !queues.contains(&args.queue) {
            return Err(no_such_queue(&args.queue, queues.iter().map(String::as_str)));
        }
        return bulk::run(cli, args, file, at_ms, &mut client, out);
    }
    let payload = payload(args)?;
    let (key, priority, delay_ms) = (args.key.as_deref(), args.priority, args.delay);
    let job = Job { payload: &payload, key, priority, delay_ms, at_ms };
    // One that runs and cannot be reached reads its journal, or has no socket: it looks into its drop-box.
    let client = if args.wait { Some(need(&state)?) } else { Client::connect_now(&state).unwrap_or(None) };
    match client {
        Some(mut client) => {
            let Some(id) = send(cli, &mut client, args, &job, out)? else {
                return put_aside(cli, &state, &Drop { queue: &args.queue, job }, true, out);
            };
            if !args.wait {
                return Ok(Exit::Ok);
            }
            if is_forgotten(&mut client, id)? {
                if !cli.json {
                    out.line(format_args!("job {id} came to its end and is forgotten: there is nothing to wait for"))?;
                }
                return Ok(Exit::Ok);
            }
            drop(client);
            wait::until_ended(cli, &state, &[id], None, out)
        }
        None => put_aside(cli, &state, &Drop { queue: &args.queue, job }, false, out),
    }
}

/// Whether a key is known of a job that is not: that it came to an end is all that can be told.
fn is_forgotten(client: &mut Client, id: u64) -> Result<bool, Failure> {
    let told = client.ask(Method::GET, &format!("/v1/jobs/{id}"), Vec::new())?;
    Ok(told.json["reason"] == "no_such_job")
}

fn need(state: &StateDir) -> Result<Client, Failure> {
    Client::connect(state)?.ok_or_else(|| client::not_running("no sprag runs here, and --lines and --wait need one"))
}

/// To the sprag that runs; the job's number, or none if it is about to end and nobody waits for the job.
fn send(cli: &Cli, client: &mut Client, args: &Add, job: &Job<'_>, out: &mut Out) -> Result<Option<u64>, Failure> {
    let body = serde_json::to_vec(job)
        .map_err(|error| Failure::new(Exit::Usage, format!("the job cannot be written as JSON: {error}")))?;
    let told = client.ask(Method::POST, &format!("/v1/queues/{}/jobs", encoded(&args.queue)), body)?;
    if told.code == 404 {
        let queues = configured(client)?;
        return Err(no_such_queue(&args.queue, queues.iter().map(String::as_str)));
    }
    if told.json["reason"] == "stopping" && !args.wait {
        return Ok(None);
    }
    let (Some(id), true) = (told.json["job"].as_u64(), told.code < 300) else { return Err(refused(args, &told)) };
    let result = told.json["result"].as_str().unwrap_or_default();
    if cli.json {
        let (queue, running_pid) = (&args.queue, Some(client.pid()));
        out.json(&Added { queue, key: job.key, job: Some(id), result: Some(result), file: None, running_pid })?;
    } else {
        let known = if result == "known" { ", known before" } else { "" };
        out.line(format_args!("job {id} in queue {}{}{known}", plain(&args.queue), asked(job)))?;
    }
    out.flush()?;
    Ok(Some(id))
}

fn refused(args: &Add, told: &Told) -> Failure {
    match (told.json["reason"].as_str(), told.json["job"].as_u64()) {
        (Some("conflict"), Some(job)) => {
            let (queue, key) = (plain(&args.queue), plain(args.key.as_deref().unwrap_or_default()));
            let what = format!("the key {key} is known in queue {queue} with another payload: it is job {job}");
            let mend = format!("`sprag show {job}` shows it; another job needs another --key, or none");
            Failure::new(Exit::Refused, what).mend(mend)
        }
        (_, _) => client::refused(told),
    }
}

/// The queues of the sprag that runs.
fn configured(client: &mut Client) -> Result<Vec<String>, Failure> {
    let status = client.ask(Method::GET, "/v1/status", Vec::new())?.json;
    let queues = status["queues"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = queues.iter().filter(|queue| queue["configured"] == true).filter_map(|queue| queue["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

fn put_aside(cli: &Cli, state: &StateDir, drop: &Drop<'_>, ends: bool, out: &mut Out) -> Result<Exit, Failure> {
    folder::make(state)?;
    let file = put(state, drop).map_err(|(path, error)| {
        Failure::new(Exit::StateIo, format!("cannot write to the drop-box: {}: {error}", path.display()))
    })?;
    let running_pid = past::running(state)?;
    if cli.json {
        let Drop { queue, job: Job { key, .. } } = *drop;
        out.json(&Added { queue, key, job: None, result: None, file: Some(file), running_pid })?;
    } else {
        let (queue, asked, file) = (drop.queue, asked(&drop.job), file.display());
        out.line(format_args!("in the drop-box of queue {queue}{asked}: {file}"))?;
        match running_pid {
            Some(pid) if ends => {
                out.line(format_args!("sprag (process {pid}) is about to end: the next `sprag run` takes it"))?;
            }
            Some(pid) => out.line(format_args!("sprag runs here (process {pid}) and takes it from there"))?,
            None => out.line("no sprag runs here: the next `sprag run` takes it")?,
        }
    }
    Ok(Exit::Ok)
}

fn asked(job: &Job<'_>) -> String {
    let key = job.key.map_or_else(String::new, |key| format!(" with key {}", plain(key)));
    let due = match (job.delay_ms, job.at_ms) {
        (Some(delay_ms), _) => format!(", not before {} have passed", words::length(delay_ms)),
        (None, Some(at_ms)) => format!(", not before {}", words::moment(Wall(at_ms))),
        (None, None) => String::new(),
    };
    key + &due
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
        RawValue::from_string(text.trim().to_owned()).map_err(|error| {
            bad(format!("is not JSON: {}", json::words(&error))).mend("quote it for the shell, or use --text")
        })?
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
    let ms = parsed.map_err(|_: jiff::Error| {
        Failure::new(Exit::Usage, format!("--at {text:?} is no moment"))
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
