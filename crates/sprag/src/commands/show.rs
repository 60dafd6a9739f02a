//! `sprag show`: one job's whole story.

use super::state_of;
use crate::cli::{Cli, Show};
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain, style_of};
use crate::past::{self, Past};
use crate::{config, words};
use sprag_core::{JobId, Record, Wall};
use sprag_runtime::pipeline::{StateDir, destination};
use std::path::{Path, PathBuf};

/// A longer payload is cut on display, in characters; the journal has it whole.
const PAYLOAD_SHOWN_MAX: usize = 1_000;

/// A record about the job.
struct Told {
    at: Wall,
    record: Record,
}

pub(super) fn run(cli: &Cli, args: &Show, out: &mut Out) -> Result<Exit, Failure> {
    let state = state_of(&cli.dir)?;
    let wanted = JobId(args.job);
    let mut told = Vec::new();
    let mut payload = String::new();
    let past = Past::read(&state)?;
    if past.machine.job(wanted).is_none() {
        return Err(past.no_such_job(args.job));
    }
    let mut whole = false;
    past::each_record(&state, |decoded, line| {
        if decoded.record.job() != Some(wanted) {
            return Ok(());
        }
        whole |= matches!(decoded.record, Record::Added { .. });
        if cli.json {
            return out.raw(line);
        }
        payload.extend(decoded.payload.map(|raw| raw.get()));
        told.push(Told { at: decoded.at, record: decoded.record });
        Ok(())
    })?;
    if !whole {
        // The records of its beginning were pruned; a snapshot has what it was.
        let line = past::line_of(&state, &past, wanted)?;
        if cli.json {
            out.raw(&line)?;
        }
        let told = sprag_journal::image::told(&line);
        payload.extend(told.ok().map(|(_, told)| told.payload.get().to_owned()));
    }
    if !cli.json {
        tell(&past, wanted, &told, &payload, &Places::of(cli, &state, &past, wanted), out)?;
    }
    Ok(Exit::Ok)
}

/// Where things of the job lie.
struct Places {
    state: StateDir,
    result: Option<PathBuf>,
}

impl Places {
    /// The configuration tells where results go; without a valid one the story is still told.
    fn of(cli: &Cli, state: &StateDir, past: &Past, id: JobId) -> Places {
        let result = || {
            let queue = past.machine.queue_name(past.machine.job(id)?.queue);
            let output = config::load(&cli.dir).ok()?.queue(queue)?.output.clone()?;
            Some(destination(&cli.dir, &output, id.0, past.story(id).key.as_deref()))
        };
        Places { state: state.clone(), result: result() }
    }

    fn log(&self, job: JobId, attempt: u32) -> Option<PathBuf> {
        Some(self.state.attempt_log(job.0, attempt)).filter(|log| log.exists())
    }
}

fn tell(past: &Past, id: JobId, told: &[Told], payload: &str, places: &Places, out: &mut Out) -> Result<(), Failure> {
    let (Some(job), Some(state)) = (past.machine.job(id), past.state_name(id)) else { return Ok(()) };
    let key = past.story(id).key.as_deref().map_or_else(String::new, |key| format!(", key {}", plain(key)));
    let queue = plain(past.machine.queue_name(job.queue));
    let style = style_of(state);
    let priority = Some(job.priority).filter(|priority| *priority != 0);
    let priority = priority.map_or_else(String::new, |priority| format!(", priority {priority}"));
    out.line(format_args!("job {} in queue {queue}{key}{priority}: {style}{}{style:#}", id.0, state.as_str()))?;
    if !told.iter().any(|told| matches!(told.record, Record::Added { .. })) {
        let added = words::moment(past.story(id).added_at);
        out.line(format_args!("  {added}  added; the records of its earlier history were pruned since"))?;
    }
    for Told { at, record } in told {
        out.line(format_args!("  {}  {}", words::moment(*at), words::sentence(record, *at)))?;
        if let Some((what, path)) = place_of(record, id, places) {
            out.line(format_args!("  {:23}  {what}: {}", "", shown(&path)))?;
        }
    }
    let mut shown_payload: String = plain(payload).chars().take(PAYLOAD_SHOWN_MAX).collect();
    if payload.len() > shown_payload.len() {
        shown_payload.push_str(" ... (`--json` has it whole)");
    }
    out.line(format_args!("payload: {shown_payload}"))
}

/// The file that a record brought forth, if it is there.
fn place_of(record: &Record, id: JobId, places: &Places) -> Option<(&'static str, PathBuf)> {
    match *record {
        Record::Finished { attempt, .. } => Some(("its output", places.log(id, attempt)?)),
        Record::Published { .. } => Some(("its result", places.result.clone()?)),
        Record::Added { .. }
        | Record::Reserved { .. }
        | Record::Started { .. }
        | Record::Cancelled { .. }
        | Record::Redriven { .. }
        | Record::Forgotten { .. }
        | Record::KeyForgotten { .. }
        | Record::Paused { .. }
        | Record::Resumed { .. } => None,
    }
}

fn shown(path: &Path) -> String {
    plain(&path.strip_prefix(".").unwrap_or(path).to_string_lossy())
}
