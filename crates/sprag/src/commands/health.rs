//! `sprag health`: one word, one exit code, for whoever watches.
//!
//! **Invariant.** Healthy is said only by a running sprag that answered just now; its silence is a stall.

use super::{notes, state_of};
use crate::cli::Cli;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain};
use crate::past;
use hyper::Method;
use serde::Serialize;
use sprag_runtime::pipeline::StateDir;

#[derive(Serialize)]
struct Health {
    health: String,
    reasons: Vec<String>,
    /// Worth knowing, and nothing wrong.
    notes: Vec<String>,
    running_pid: Option<u32>,
}

pub(super) fn run(cli: &Cli, out: &mut Out) -> Result<Exit, Failure> {
    let health = judge(cli, &state_of(&cli.dir)?)?;
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
            return Ok(Health { health: "not running".into(), reasons, notes: Vec::new(), running_pid: None });
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
            Health { health, reasons: texts("reasons"), notes, running_pid }
        }
        Err(failure) => {
            let notes = failure.mend.into_iter().collect();
            Health { health: "stalled".into(), reasons: vec![failure.what], notes, running_pid }
        }
    })
}
