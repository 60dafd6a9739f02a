//! `sprag journal verify` and `dump`: the journal as it lies on disk.

use super::state_of;
use crate::cli::{Cli, Journal};
use crate::exit::{Exit, Failure};
use crate::out::Out;
use serde::Serialize;
use sprag_journal::{RealFs, Report};
use sprag_runtime::driver::count_text;
use sprag_runtime::pipeline::StateDir;

/// What `verify --json` prints.
#[derive(Serialize)]
struct Verified {
    in_order: bool,
    queue: Option<String>,
    segments: usize,
    frames: u64,
    records: u64,
    snapshots: usize,
    last_seq: u64,
    epoch: u64,
    sealed: bool,
    torn: Option<TornTail>,
    errors: Vec<String>,
}

#[derive(Serialize)]
struct TornTail {
    file: String,
    offset: u64,
    len: u64,
    what: String,
}

pub(super) fn run(cli: &Cli, what: &Journal, out: &mut Out) -> Result<Exit, Failure> {
    let state = state_of(&cli.dir)?;
    let begun = state.journal().exists();
    match what {
        Journal::Verify if begun => verify(cli, &state, out),
        Journal::Verify if cli.json => out.json(&verified(&Report::default())).map(|()| Exit::Ok),
        Journal::Verify => out.line("no journal has been begun yet").map(|()| Exit::Ok),
        Journal::Dump if begun => dump(&state, out),
        Journal::Dump => Ok(Exit::Ok),
    }
}

fn verify(cli: &Cli, state: &StateDir, out: &mut Out) -> Result<Exit, Failure> {
    let report = sprag_journal::verify(&RealFs, state.path())?;
    if cli.json {
        out.json(&verified(&report))?;
    } else {
        tell(&report, out)?;
    }
    end(report, out)
}

fn dump(state: &StateDir, out: &mut Out) -> Result<Exit, Failure> {
    let mut failure = None;
    let report = sprag_journal::dump(&RealFs, state.path(), &mut |_, _, line| {
        if failure.is_none() {
            failure = out.raw(line).err();
        }
        Ok(())
    })?;
    match failure {
        Some(failure) => Err(failure),
        None => end(report, out),
    }
}

/// Damage is the end, after all that could be said was said.
fn end(report: Report, out: &mut Out) -> Result<Exit, Failure> {
    out.flush()?;
    match report.errors.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(Exit::Ok),
    }
}

fn verified(report: &Report) -> Verified {
    Verified {
        in_order: report.errors.is_empty(),
        queue: report.queue.map(|queue| queue.to_string()),
        segments: report.segments.len(),
        frames: report.frames,
        records: report.records,
        snapshots: report.snapshots.len(),
        last_seq: report.end.map_or(0, |end| end.seq),
        epoch: report.end.map_or(0, |end| end.epoch),
        sealed: report.sealed,
        torn: report.torn.as_ref().map(|torn| TornTail {
            file: torn.file.display().to_string(),
            offset: torn.offset,
            len: torn.len,
            what: torn.what.clone(),
        }),
        errors: report.errors.iter().map(ToString::to_string).collect(),
    }
}

fn tell(report: &Report, out: &mut Out) -> Result<(), Failure> {
    let Verified { segments, frames, records, snapshots, last_seq, epoch, .. } = verified(report);
    let (records, frames) = (count_text(records, "record"), count_text(frames, "frame"));
    let (segments, snapshots) = (count_text(segments as u64, "segment"), count_text(snapshots as u64, "snapshot"));
    out.line(format_args!("{records} in {frames} in {segments}, {snapshots}; last record {last_seq}, epoch {epoch}"))?;
    for segment in &report.segments {
        let (file, bytes) = (segment.file.display(), segment.bytes);
        let (records, frames) = (count_text(segment.records, "record"), count_text(segment.frames, "frame"));
        out.line(format_args!("  {file}: {records} in {frames}, {}", count_text(bytes, "byte")))?;
    }
    for file in &report.leftover {
        out.line(format_args!("  {}: left over from an interrupted pruning; harmless", file.display()))?;
    }
    if let Some(torn) = &report.torn {
        out.line(format_args!(
            "  {}: {} bytes from offset {} on are no whole frame ({}): one being written, or torn by a crash; \
             nothing acknowledged is in it",
            torn.file.display(),
            torn.len,
            torn.offset,
            torn.what
        ))?;
    }
    for error in report.errors.iter().skip(1) {
        out.line(format_args!("  {error}"))?;
    }
    let verdict = match (report.errors.is_empty(), report.sealed) {
        (true, true) => "in order, and sealed: complete to the last record",
        (true, false) => "in order",
        (false, _) => "damaged",
    };
    out.line(verdict)
}
