//! `sprag export`: every job with its payload, for other programs.
//!
//! **Invariant.** One line for each job, in order of arrival, with the state that the journal has at the moment it is read.

use super::state_of;
use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::out::Out;
use crate::past::Past;
use serde::Serialize;
use serde_json::value::RawValue;
use sprag_core::Outcome;
use sprag_journal::{RealFs, image};

/// A job as a line. Fields may be added, never taken away.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    queue: &'a str,
    key: Option<&'a str>,
    payload: &'a RawValue,
    priority: i16,
    state: &'static str,
    /// Attempts begun, and failed ones that count against the retries.
    attempts: u32,
    failures: u32,
    added_at_ms: u64,
    changed_at_ms: u64,
    /// How the last attempt ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

pub(super) fn run(cli: &Cli, out: &mut Out) -> Result<Exit, Failure> {
    let state = state_of(&cli.dir)?;
    let past = Past::read(&state)?;
    for (id, job) in past.machine.jobs() {
        let Some(name) = past.state_name(id) else { continue };
        // Payloads stay on disk until each is wanted. A running sprag may forget the job meanwhile.
        let line = match sprag_journal::read_job(&RealFs, state.path(), id.0, job.payload.into()) {
            Ok(line) => line,
            Err(_) if past.running.is_some() => continue,
            Err(error) => return Err(error.into()),
        };
        let told = image::told(&line).map_err(|what| Failure::new(Exit::Corrupt, what.to_string()))?.1;
        let story = past.story(id);
        out.json(&Line {
            id: id.0,
            queue: past.machine.queue_name(job.queue),
            key: story.key.as_deref(),
            payload: told.payload,
            priority: job.priority,
            state: name.as_str(),
            attempts: job.attempt,
            failures: job.failures,
            added_at_ms: story.added_at.0,
            changed_at_ms: story.changed_at.0,
            outcome: story.outcome,
        })?;
    }
    Ok(Exit::Ok)
}
