//! `sprag status`: the pipeline at a glance.
//!
//! **Invariant.** What is said comes from the running sprag, however many jobs there are; when none answers, what is said of
//! jobs comes from the journal and what is said of health from the heartbeat. A heartbeat that is late, or of a sprag that
//! is gone, is never passed on as health.

use super::{notes, state_of};
use crate::cli::Cli;
use crate::client::{Client, Silence, frozen};
use crate::exit::{Exit, Failure};
use crate::out::{Cell, Out, plain, style_of};
use crate::past::Past;
use crate::{config, words};
use anstyle::Style;
use hyper::Method;
use serde::{Deserialize, Serialize};
use sprag_core::{Counts, StateName, Wall};
use sprag_journal::RealFs;
use sprag_runtime::driver::{bytes_text, count_text, waits_text};
use sprag_runtime::live;
use sprag_runtime::pipeline::{ServiceSpec, SourceSpec, StateDir};

/// A heartbeat comes every five seconds; one that is older than this is late.
const HEARTBEAT_LATE_MS: u64 = 15_000;

/// What the heartbeat says, as far as it matters here.
#[derive(Deserialize)]
struct Heartbeat {
    at_ms: u64,
    health: String,
    reasons: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    config_digest: Option<String>,
    queues: Vec<Beat>,
    #[serde(default)]
    sources: Vec<Source>,
    #[serde(default)]
    services: Vec<Service>,
    #[serde(default)]
    journal: Taken,
    #[serde(default)]
    snapshots: Taken,
    #[serde(default)]
    logs: Taken,
}

/// What something takes on the disk.
#[derive(Default, Deserialize)]
struct Taken {
    bytes: u64,
}

/// A service, as the heartbeat has it and as `--json` prints it.
#[derive(Clone, Deserialize, Serialize)]
struct Service {
    name: String,
    kind: String,
    state: String,
    restarts: u32,
    failing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_start_at_ms: Option<u64>,
}

/// A source, as the heartbeat has it and as `--json` prints it.
#[derive(Clone, Deserialize, Serialize)]
struct Source {
    path: String,
    /// Items on record, as far as the sprag that runs has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    polled: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    waiting: bool,
}

/// A queue as the heartbeat has it.
#[derive(Deserialize)]
struct Beat {
    name: String,
    configured: bool,
    paused: bool,
    jobs: Counts,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Status {
    running_pid: Option<u32>,
    /// `well`, `degraded`, `stalled`; `unknown` when nothing runs or has said anything yet.
    health: String,
    reasons: Vec<String>,
    /// Worth knowing, and nothing wrong.
    notes: Vec<String>,
    heartbeat_at_ms: Option<u64>,
    inbox_files: usize,
    queues: Vec<Queue>,
    sources: Vec<Source>,
    services: Vec<Service>,
    stored: Stored,
}

/// What `.sprag/` takes on the disk.
#[derive(Serialize)]
struct Stored {
    journal_bytes: u64,
    snapshot_bytes: u64,
    /// Known to the sprag that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Queue {
    name: String,
    configured: bool,
    paused: bool,
    jobs: Jobs,
}

#[derive(Serialize)]
struct Jobs {
    #[serde(flatten)]
    counts: Counts,
    /// Attempts that a sprag which is gone has left: what became of them only the next one finds out.
    #[serde(skip_serializing_if = "is_zero")]
    unknown: u64,
}

impl Jobs {
    fn of(counts: Counts, running: bool) -> Jobs {
        if running {
            return Jobs { counts, unknown: 0 };
        }
        Jobs { counts: Counts { running: 0, ..counts }, unknown: counts.running }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

pub(super) fn run(cli: &Cli, out: &mut Out) -> Result<Exit, Failure> {
    let state = state_of(&cli.dir)?;
    // One that runs is asked alone: it keeps the configuration that it was started with.
    let status = match ask(&state) {
        Ok(Some((pid, heartbeat))) => of_running(cli, &state, pid, heartbeat),
        Ok(None) => of_journal(cli, &state)?,
        Err(Frozen) => {
            let status = of_journal(cli, &state)?;
            let reasons = status.running_pid.map(|pid| frozen(&state, pid).what).into_iter().collect();
            Status { health: "stalled".into(), reasons, ..status }
        }
    };
    match cli.json {
        true => out.json(&status)?,
        false => tell(&status, out)?,
    }
    Ok(Exit::Ok)
}

/// It runs and says nothing.
struct Frozen;

/// The sprag that runs, if it answers.
fn ask(state: &StateDir) -> Result<Option<(u32, Heartbeat)>, Frozen> {
    let mut client = match Client::connect_now(state) {
        Ok(Some(client)) => client,
        Ok(None) | Err(Silence::Deaf(_)) => return Ok(None),
        Err(Silence::Frozen) => return Err(Frozen),
    };
    let told = client.ask(Method::GET, "/v1/status", Vec::new());
    let heartbeat = told.ok().and_then(|told| serde_json::from_value(told.json).ok());
    Ok(heartbeat.map(|heartbeat| (client.pid(), heartbeat)))
}

fn of_running(cli: &Cli, state: &StateDir, pid: u32, heartbeat: Heartbeat) -> Status {
    let queues = heartbeat.queues.into_iter().map(|Beat { name, configured, paused, jobs }| Queue {
        name,
        configured,
        paused,
        jobs: Jobs::of(jobs, true),
    });
    Status {
        running_pid: Some(pid),
        health: heartbeat.health,
        reasons: heartbeat.reasons,
        notes: notes(cli, state, heartbeat.config_digest.as_deref(), heartbeat.notes),
        heartbeat_at_ms: Some(heartbeat.at_ms),
        inbox_files: inbox_files(state),
        queues: queues.collect(),
        sources: heartbeat.sources,
        services: heartbeat.services,
        stored: Stored {
            journal_bytes: heartbeat.journal.bytes,
            snapshot_bytes: heartbeat.snapshots.bytes,
            log_bytes: Some(heartbeat.logs.bytes),
        },
    }
}

/// A configuration that is wrong keeps nobody from seeing how things stand.
fn of_journal(cli: &Cli, state: &StateDir) -> Result<Status, Failure> {
    let (pipeline, wrong) = match config::load(&cli.dir) {
        Ok(pipeline) => (Some(pipeline), None),
        Err(error) if !state.path().exists() => return Err(error.into()),
        Err(error) => (None, Some(error)),
    };
    let mut past = Past::read(state)?;
    for queue in pipeline.iter().flat_map(|pipeline| &pipeline.queues) {
        past.machine.queue_named(&queue.policy.name);
    }
    let heartbeat = past.running.and_then(|_| heartbeat(state));
    let (health, reasons) = health(heartbeat.as_ref(), live::now().wall.0);
    let queues = past.machine.queues().map(|queue| Queue {
        name: queue.name.into(),
        configured: pipeline.as_ref().is_none_or(|pipeline| pipeline.queue(queue.name).is_some()),
        paused: queue.paused,
        jobs: Jobs::of(queue.counts, past.running.is_some()),
    });
    let queues: Vec<Queue> = queues.collect();
    let held = |queue: &Queue| waits_text(&queue.name, queue.configured, queue.paused, queue.jobs.counts);
    let wrong = wrong.map(|error| format!("the next sprag cannot be started: {error}"));
    let held = wrong.into_iter().chain(queues.iter().filter_map(held)).collect();
    let stored = sprag_journal::stored(&RealFs, state.path()).unwrap_or_default();
    Ok(Status {
        running_pid: past.running,
        health,
        reasons,
        notes: notes(cli, state, None, held),
        heartbeat_at_ms: heartbeat.map(|heartbeat| heartbeat.at_ms),
        inbox_files: inbox_files(state),
        queues,
        sources: pipeline.iter().flat_map(|pipeline| &pipeline.sources).map(at_rest).collect(),
        services: pipeline.iter().flat_map(|pipeline| &pipeline.services).map(stopped).collect(),
        stored: Stored { journal_bytes: stored.journal_bytes, snapshot_bytes: stored.snapshot_bytes, log_bytes: None },
    })
}

fn at_rest(source: &SourceSpec) -> Source {
    Source { path: source.path.display().to_string(), taken: None, fault: None, polled: None, waiting: false }
}

fn stopped(service: &ServiceSpec) -> Service {
    let (name, kind, state) = (service.name.clone(), service.kind.as_str().into(), "stopped".into());
    Service { name, kind, state, restarts: 0, failing: false, last_exit: None, next_start_at_ms: None }
}

fn inbox_files(state: &StateDir) -> usize {
    std::fs::read_dir(state.inbox("new")).map_or(0, Iterator::count)
}

/// Written whole or not at all; whatever cannot be read says nothing.
fn heartbeat(state: &StateDir) -> Option<Heartbeat> {
    serde_json::from_slice(&std::fs::read(state.status()).ok()?).ok()
}

fn health(heartbeat: Option<&Heartbeat>, now_ms: u64) -> (String, Vec<String>) {
    let Some(heartbeat) = heartbeat else { return ("unknown".into(), Vec::new()) };
    let age_ms = now_ms.saturating_sub(heartbeat.at_ms);
    if age_ms > HEARTBEAT_LATE_MS {
        return ("stalled".into(), vec![format!("the last heartbeat came {} ago", words::length(age_ms))]);
    }
    (heartbeat.health.clone(), heartbeat.reasons.clone())
}

fn tell(status: &Status, out: &mut Out) -> Result<(), Failure> {
    match status.running_pid {
        Some(pid) => {
            let style = match status.health.as_str() {
                "well" => style_of(StateName::Succeeded),
                "unknown" => Style::new(),
                _ => style_of(StateName::Dead),
            };
            out.line(format_args!(
                "sprag runs here, process {pid}; health: {style}{}{style:#}",
                plain(&status.health)
            ))?;
        }
        None => out.line("no sprag runs here")?,
    }
    for reason in &status.reasons {
        out.line(format_args!("  {}", plain(reason)))?;
    }
    for note in &status.notes {
        out.line(format_args!("  note: {}", plain(note)))?;
    }
    if status.inbox_files > 0 {
        out.line(format_args!("in the drop-box: {}", count_text(status.inbox_files as u64, "job")))?;
    }
    let unknown = status.queues.iter().any(|queue| queue.jobs.unknown > 0);
    let heads = ["queue", "scheduled", "ready", "running", "unknown", "succeeded", "dead", "cancelled", "remark"];
    let heads: Vec<&str> = heads.into_iter().filter(|head| unknown || *head != "unknown").collect();
    out.table(&heads, status.queues.iter().map(|queue| row(queue, unknown)).collect())?;
    if !status.sources.is_empty() {
        out.line("")?;
        out.table(&["source", "taken", "remark"], status.sources.iter().map(source_row).collect())?;
    }
    if !status.services.is_empty() {
        let heads = ["service", "kind", "state", "restarts", "last exit", "next start"];
        out.line("")?;
        out.table(&heads, status.services.iter().map(service_row).collect())?;
    }
    let Stored { journal_bytes, snapshot_bytes, log_bytes } = status.stored;
    let logs = log_bytes.map_or_else(String::new, |bytes| format!(", logs and results {}", bytes_text(bytes)));
    let (journal, snapshots) = (bytes_text(journal_bytes), bytes_text(snapshot_bytes));
    out.line(format_args!("on disk: journal {journal}, snapshots {snapshots}{logs}"))
}

fn source_row(source: &Source) -> Vec<Cell> {
    let remark = match (&source.fault, &source.polled) {
        (Some(fault), _) => Cell::text(plain(fault)).styled(style_of(StateName::Dead)),
        (None, _) if source.waiting => Cell::text("waited for: it was never there so far"),
        (None, Some(polled)) => Cell::text(plain(&format!("polled: {polled}"))),
        (None, None) => Cell::text(""),
    };
    let taken = source.taken.map_or_else(|| "-".into(), |taken| taken.to_string());
    vec![Cell::text(plain(&source.path)), Cell::text(taken).aligned_right(), remark]
}

fn service_row(service: &Service) -> Vec<Cell> {
    let style = match service.state.as_str() {
        _ if service.failing => style_of(StateName::Dead),
        "running" => style_of(StateName::Running),
        _ => Style::new(),
    };
    let next = service.next_start_at_ms.map(|at| words::time_of_day(Wall(at)));
    vec![
        Cell::text(plain(&service.name)),
        Cell::text(plain(&service.kind)),
        Cell::text(plain(&service.state)).styled(style),
        Cell::number(u64::from(service.restarts)),
        Cell::text(plain(service.last_exit.as_deref().unwrap_or("-"))),
        Cell::text(next.unwrap_or_else(|| "-".into())),
    ]
}

fn row(queue: &Queue, unknown: bool) -> Vec<Cell> {
    let Counts { scheduled, ready, running, succeeded, dead, cancelled } = queue.jobs.counts;
    let remark = match (queue.configured, queue.paused) {
        (false, _) => "not in sprag.toml: its jobs wait",
        (true, true) => "paused",
        (true, false) => "",
    };
    let count = |count: u64, state: StateName| {
        let style = if count == 0 { Style::new().dimmed() } else { style_of(state) };
        Cell::number(count).styled(style)
    };
    let cells = [
        Some(Cell::text(plain(&queue.name))),
        Some(count(scheduled, StateName::Scheduled)),
        Some(count(ready, StateName::Ready)),
        Some(count(running, StateName::Running)),
        unknown.then(|| count(queue.jobs.unknown, StateName::Unknown)),
        Some(count(succeeded, StateName::Succeeded)),
        Some(count(dead, StateName::Dead)),
        Some(count(cancelled, StateName::Cancelled)),
        Some(Cell::text(remark)),
    ];
    cells.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_late_heartbeat_is_no_health() {
        let heartbeat: Heartbeat = serde_json::from_value(json!({
            "at_ms": 1_000, "health": "well", "reasons": [], "queues": []
        }))
        .unwrap();
        assert_eq!(health(Some(&heartbeat), 1_000 + HEARTBEAT_LATE_MS), ("well".into(), vec![]));
        let late = health(Some(&heartbeat), 1_001 + HEARTBEAT_LATE_MS);
        assert_eq!(late, ("stalled".into(), vec!["the last heartbeat came 15s ago".into()]));
        assert_eq!(health(None, 5), ("unknown".into(), vec![]));
        assert_eq!(health(Some(&heartbeat), 0).0, "well", "a calendar that jumped back makes nothing late");
    }
}
