//! `sim check`: a run is one story, in whatever process it is told.

use super::{DIFFERS, How, Source, Subject, USAGE, complain, say};
use serde_json::json;
use sim::{Keep, Report};
use std::process::{Command, Stdio};

/// Runs the subject here and in a process of its own, and compares.
pub(crate) fn check(subject: &Subject, how: &How) -> u8 {
    let source = match Source::read(subject, how) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let here = source.run(Keep::Calls, how);
    let elsewhere = match elsewhere(subject, how) {
        Ok(lines) => lines,
        Err(what) => {
            complain(how.json, format_args!("cannot run it in another process: {what}"));
            return USAGE;
        }
    };
    let same = told(&here) == elsewhere;
    let differs = first_difference(&told(&here), &elsewhere);
    if how.json {
        say(format_args!("{}", json!({ "subject": subject.to_string(), "same": same, "first_difference": differs })));
    } else if same {
        say(format_args!("{subject}: the same in two processes, {} steps, hash {:016x}", here.steps, here.hash));
    } else if let Some([one, two]) = differs {
        say(format_args!("{subject}: two runs differ; the first difference:\n{one}\n{two}"));
    }
    if same { u8::from(here.failure.is_some()) } else { DIFFERS }
}

/// A run as lines of text, the hash at the end.
fn told(report: &Report) -> Vec<String> {
    let lines = report.lines.iter().map(ToString::to_string);
    lines.chain([format!("hash {:016x}", report.hash)]).collect()
}

/// The same of a run in another process.
fn elsewhere(subject: &Subject, how: &How) -> Result<Vec<String>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["replay", "--calls", "--json"]).stdin(Stdio::null());
    match subject {
        Subject::Seed(seed) => command.arg(seed.to_string()),
        Subject::File(path) => command.arg(path),
        Subject::Race(id, _) => command.arg(id),
    };
    command.args(how.args());
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(line_of).collect()
}

/// A line of the other process's JSON, as it prints here.
fn line_of(text: &str) -> Result<String, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    match value["line"].as_str() {
        Some(line) => Ok(line.to_owned()),
        None => Ok(format!("hash {}", value["hash"].as_str().unwrap_or("missing"))),
    }
}

fn first_difference(one: &[String], two: &[String]) -> Option<[String; 2]> {
    let at = (0..one.len().max(two.len())).find(|at| one.get(*at) != two.get(*at))?;
    let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "(has ended)".into());
    Some([line(one), line(two)])
}
