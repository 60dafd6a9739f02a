//! `sprag status`: the pipeline at a glance.
//!
//! **Invariant.** What is said comes from the running sprag, however many jobs there are; when none answers, what is said of
//! jobs comes from the journal and what is said of health from the heartbeat. A heartbeat that is late, or of a sprag that
//! is gone, is never passed on as health.

use super::state_of;
use crate::cli::Cli;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::out::{Cell, Out, plain, style_of, table};
use crate::past::Past;
use crate::{config, words};
use anstyle::Style;
use hyper::Method;
use serde::{Deserialize, Serialize};
use sprag_core::{Counts, StateName};
use sprag_runtime::live;
use sprag_runtime::pipeline::{Pipeline, StateDir};

/// A heartbeat comes every five seconds; one that is older than this is late.
const HEARTBEAT_LATE_MS: u64 = 15_000;

/// What the heartbeat says, as far as it matters here.
#[derive(Deserialize)]
struct Heartbeat {
    at_ms: u64,
    health: String,
    reasons: Vec<String>,
    queues: Vec<Beat>,
}

/// A queue as the heartbeat has it.
#[derive(Deserialize)]
struct Beat {
    name: String,
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
    heartbeat_at_ms: Option<u64>,
    inbox_files: usize,
    queues: Vec<Queue>,
}

#[derive(Serialize)]
struct Queue {
    name: String,
    configured: bool,
    paused: bool,
    jobs: Counts,
}

pub(super) fn run(cli: &Cli, out: &mut Out) -> Result<Exit, Failure> {
    let state = state_of(&cli.dir)?;
    let pipeline = config::load(&cli.dir)?;
    let status = match ask(&state) {
        Some((pid, heartbeat)) => of_running(&state, &pipeline, pid, heartbeat),
        None => of_journal(&state, &pipeline)?,
    };
    match cli.json {
        true => out.json(&status)?,
        false => tell(&status, out)?,
    }
    Ok(Exit::Ok)
}

/// The sprag that runs, if it answers.
fn ask(state: &StateDir) -> Option<(u32, Heartbeat)> {
    let mut client = Client::connect_now(state).ok()??;
    let told = client.ask(Method::GET, "/v1/status", Vec::new()).ok()?;
    Some((client.pid(), serde_json::from_value(told.json).ok()?))
}

fn of_running(state: &StateDir, pipeline: &Pipeline, pid: u32, heartbeat: Heartbeat) -> Status {
    let queues = heartbeat.queues.into_iter().map(|Beat { name, paused, jobs }| {
        let configured = pipeline.queue(&name).is_some();
        Queue { name, configured, paused, jobs }
    });
    Status {
        running_pid: Some(pid),
        health: heartbeat.health,
        reasons: heartbeat.reasons,
        heartbeat_at_ms: Some(heartbeat.at_ms),
        inbox_files: inbox_files(state),
        queues: queues.collect(),
    }
}

fn of_journal(state: &StateDir, pipeline: &Pipeline) -> Result<Status, Failure> {
    let mut past = Past::read(state)?;
    for queue in &pipeline.queues {
        past.machine.queue_named(&queue.policy.name);
    }
    let heartbeat = past.running.and_then(|_| heartbeat(state));
    let (health, reasons) = health(heartbeat.as_ref(), live::now().wall.0);
    let queues = past.machine.queues().map(|queue| Queue {
        name: queue.name.into(),
        configured: pipeline.queue(queue.name).is_some(),
        paused: queue.paused,
        jobs: queue.counts,
    });
    Ok(Status {
        running_pid: past.running,
        health,
        reasons,
        heartbeat_at_ms: heartbeat.map(|heartbeat| heartbeat.at_ms),
        inbox_files: inbox_files(state),
        queues: queues.collect(),
    })
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
    if status.inbox_files > 0 {
        out.line(format_args!("{} jobs wait in the drop-box", status.inbox_files))?;
    }
    let heads = ["queue", "scheduled", "ready", "running", "succeeded", "dead", "cancelled", "remark"];
    out.line(table(&heads, status.queues.iter().map(row).collect()))
}

fn row(queue: &Queue) -> Vec<Cell> {
    let Counts { scheduled, ready, running, succeeded, dead, cancelled } = queue.jobs;
    let remark = match (queue.configured, queue.paused) {
        (false, _) => "not in sprag.toml: its jobs wait",
        (true, true) => "paused",
        (true, false) => "",
    };
    let count = |count: u64, state: StateName| {
        let style = if count == 0 { Style::new().dimmed() } else { style_of(state) };
        Cell::number(count).styled(style)
    };
    vec![
        Cell::text(plain(&queue.name)),
        count(scheduled, StateName::Scheduled),
        count(ready, StateName::Ready),
        count(running, StateName::Running),
        count(succeeded, StateName::Succeeded),
        count(dead, StateName::Dead),
        count(cancelled, StateName::Cancelled),
        Cell::text(remark),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_heartbeat_is_no_health() {
        let heartbeat = Heartbeat { at_ms: 1_000, health: "well".into(), reasons: Vec::new(), queues: Vec::new() };
        assert_eq!(health(Some(&heartbeat), 1_000 + HEARTBEAT_LATE_MS), ("well".into(), vec![]));
        let late = health(Some(&heartbeat), 1_001 + HEARTBEAT_LATE_MS);
        assert_eq!(late, ("stalled".into(), vec!["the last heartbeat came 15s ago".into()]));
        assert_eq!(health(None, 5), ("unknown".into(), vec![]));
        assert_eq!(health(Some(&heartbeat), 0).0, "well", "a calendar that jumped back makes nothing late");
    }
}
