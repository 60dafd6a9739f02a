//! `sprag health`: one word, one exit code, for whoever watches.
//!
//! **Invariant.** Healthy is said only by a running sprag that answered just now; its silence is a stall.

use super::{notes, state_of};
use crate::cli::{Cli, Health as Command};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::out::{Cell, Out, plain};
use crate::past;
use hyper::Method;
use serde::Serialize;
use serde_json::Value;
use sprag_runtime::pipeline::StateDir;

#[derive(Serialize)]
struct Health {
    health: String,
    reasons: Vec<String>,
    /// Worth knowing, and nothing wrong.
    notes: Vec<String>,
    running_pid: Option<u32>,
    /// Who waits for what, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits: Option<Value>,
}

pub(super) fn run(cli: &Cli, command: &Command, out: &mut Out) -> Result<Exit, Failure> {
    let state = state_of(&cli.dir)?;
    let mut health = judge(cli, &state)?;
    if command.diagnose && health.running_pid.is_some() {
        health.waits = diagnose(&state)?;
    }
    if cli.json {
        out.json(&health)?;
    } else {
        out.line(&health.health)?;
        for reason in &health.reasons {
            out.line(format_args!("  {}", plain(reason)))?;
        }
        for note in &health.notes {
            out.line(format_args!("  note: {}", plain(note)))?;
        }
        let waits = health.waits.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !waits.is_empty() {
            out.table(&["who", "since", "waits for", "what"], waits.iter().map(row).collect())?;
        }
    }
    Ok(match health.health.as_str() {
        "well" => Exit::Ok,
        "degraded" => Exit::No,
        _ => Exit::Usage,
    })
}

fn judge(cli: &Cli, state: &StateDir) -> Result<Health, Failure> {
    let running_pid = past::running(state)?;
    let told = match Client::connect(state) {
        Ok(None) => {
            let reasons = vec!["no sprag runs here".into()];
            return Ok(Health {
                health: "not running".into(),
                reasons,
                notes: Vec::new(),
                running_pid: None,
                waits: None,
            });
        }
        Ok(Some(mut client)) => client.ask(Method::GET, "/v1/status", Vec::new()),
        Err(failure) => Err(failure),
    };
    Ok(match told {
        Ok(told) => {
            let texts = |name: &str| -> Vec<String> {
                let texts = told.json[name].as_array().map(Vec::as_slice).unwrap_or_default();
                texts.iter().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
            };
            let health = told.json["health"].as_str().unwrap_or("stalled").to_owned();
            let notes = notes(cli, state, told.json["config_digest"].as_str(), texts("notes"));
            Health { health, reasons: texts("reasons"), notes, running_pid, waits: None }
        }
        Err(failure) => {
            let notes = failure.mend.into_iter().collect();
            Health { health: "stalled".into(), reasons: vec![failure.what], notes, running_pid, waits: None }
        }
    })
}

/// What the running sprag says of itself; nothing if it does not answer, which is a stall and said already.
fn diagnose(state: &StateDir) -> Result<Option<Value>, Failure> {
    let Ok(Some(mut client)) = Client::connect(state) else { return Ok(None) };
    let told = client.ask(Method::GET, "/v1/diagnose", Vec::new())?;
    Ok(Some(told.json["waits"].clone()))
}

/// Who waits, for how long, for what.
fn row(wait: &Value) -> Vec<Cell> {
    let text = |name: &str| Cell::text(plain(wait[name].as_str().unwrap_or_default()));
    let since = wait["since_ms"].as_u64().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    vec![text("who"), Cell::text(since).aligned_right(), text("for"), text("what")]
}
