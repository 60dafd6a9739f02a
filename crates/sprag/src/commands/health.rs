//! `sprag health`: one word, one exit code, for whoever watches.
//!
//! **Invariant.** Healthy is said only by a running sprag that answered just now; its silence is a stall.

use super::state_of;
use crate::cli::Cli;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain};
use crate::past;
use hyper::Method;
use serde::Serialize;
use serde_json::Value;
use sprag_runtime::pipeline::StateDir;

#[derive(Serialize)]
struct Health {
    health: String,
    reasons: Vec<String>,
    running_pid: Option<u32>,
}

pub(super) fn run(cli: &Cli, out: &mut Out) -> Result<Exit, Failure> {
    let health = judge(&state_of(&cli.dir)?)?;
    if cli.json {
        out.json(&health)?;
    } else {
        out.line(&health.health)?;
        for reason in &health.reasons {
            out.line(format_args!("  {}", plain(reason)))?;
        }
    }
    Ok(match health.health.as_str() {
        "well" => Exit::Ok,
        "degraded" => Exit::No,
        _ => Exit::Usage,
    })
}

fn judge(state: &StateDir) -> Result<Health, Failure> {
    let running_pid = past::running(state)?;
    let told = match Client::connect(state) {
        Ok(None) => {
            let reasons = vec!["no sprag runs here".into()];
            return Ok(Health { health: "not running".into(), reasons, running_pid: None });
        }
        Ok(Some(mut client)) => client.ask(Method::GET, "/v1/status", Vec::new()),
        Err(failure) => Err(failure),
    };
    Ok(match told {
        Ok(told) => {
            let texts =
                |reasons: &Vec<Value>| reasons.iter().filter_map(|reason| Some(reason.as_str()?.to_owned())).collect();
            let health = told.json["health"].as_str().unwrap_or("stalled").to_owned();
            Health { health, reasons: told.json["reasons"].as_array().map(texts).unwrap_or_default(), running_pid }
        }
        Err(failure) => Health { health: "stalled".into(), reasons: vec![failure.what], running_pid },
    })
}
