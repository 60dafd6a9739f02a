//! `sprag log SERVICE`: what a service has written since it was last started.
//!
//! **Invariant.** Lines are shown whole. A service that starts again begins its file anew, and so does whoever follows it.

use super::log::{LOOK_MS, read};
use super::state_of;
use crate::cli::{Cli, Log};
use crate::client::Client;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain};
use crate::past;
use hyper::Method;
use serde_json::json;
use sprag_runtime::output::left_out;
use std::path::Path;

pub(super) fn run(cli: &Cli, args: &Log, out: &mut Out) -> Result<Exit, Failure> {
    let (name, state) = (args.what.as_str(), state_of(&cli.dir)?);
    if args.attempt.is_some() {
        return Err(Failure::new(Exit::Usage, "a service has no attempts").mend("leave --attempt out"));
    }
    let path = state.service_log(name);
    if !path.exists() {
        known(cli, name)?;
    }
    let mut client = if args.follow { Client::connect(&state)? } else { None };
    let (mut from, mut begun, mut life) = (0, Vec::new(), run_of(client.as_mut(), name));
    loop {
        let piece = read(&path, from)?;
        // A service that started anew may have written as much as before: only sprag knows.
        let now = run_of(client.as_mut(), name).or(life);
        if now != life || shorter(&path, from) {
            (from, begun, life) = (0, Vec::new(), now);
            continue;
        }
        if piece.missing > 0 {
            begun.extend_from_slice(format!("\n{}\n", left_out(piece.missing)).as_bytes());
        }
        from += piece.missing + piece.bytes.len() as u64;
        begun.extend_from_slice(&piece.bytes);
        let end = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = begun.split_off(end);
        let whole = std::mem::replace(&mut begun, rest);
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            show(cli, args, line, out)?;
        }
        let running = || past::running(&state).map(|pid| pid.is_some());
        match &client {
            _ if !piece.bytes.is_empty() => {}
            Some(client) if running()? => {
                out.flush()?;
                client.pause(LOOK_MS);
            }
            Some(_) | None => break,
        }
    }
    if !begun.is_empty() {
        show(cli, args, &begun, out)?;
    }
    Ok(Exit::Ok)
}

/// How often the service was started anew; `None` while that cannot be told, or it is just being started: until it is, the
/// file is the one of before.
fn run_of(client: Option<&mut Client>, name: &str) -> Option<u64> {
    let status = client?.ask(Method::GET, "/v1/status", Vec::new()).ok()?.json;
    let service = status["services"].as_array()?.iter().find(|service| service["name"] == name)?;
    service["restarts"].as_u64().filter(|_| service["state"] != "starting")
}

fn shorter(path: &Path, than: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() < than)
}

/// A service of the configuration that has not written anything yet is none to complain of.
fn known(cli: &Cli, name: &str) -> Result<(), Failure> {
    let pipeline = config::load(&cli.dir)?;
    let names = pipeline.services.iter().map(|service| service.name.as_str());
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let what =
        format!("{name:?} is neither the number of a job nor a service{}", config::did_you_mean(name, names.clone()));
    let names: Vec<&str> = names.collect();
    let mend = if names.is_empty() {
        "`sprag list` shows the jobs there are".into()
    } else {
        format!("services here: {}", names.join(", "))
    };
    Err(Failure::new(Exit::Usage, what).mend(mend))
}

fn show(cli: &Cli, args: &Log, line: &[u8], out: &mut Out) -> Result<(), Failure> {
    if args.raw {
        return out.bytes(line);
    }
    let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned();
    if cli.json {
        return out.json(&json!({ "service": args.what, "text": text }));
    }
    let fields: Vec<String> = text.split('\t').map(plain).collect();
    out.line(fields.join("\t"))
}
