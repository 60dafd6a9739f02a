//! A failure as a file: a trace that says by itself how to come to the failure again, whatever seeds mean by then.
//!
//! **Invariant.** A trace holds every choice of its run that differs from 0. Replaying one tells three things apart: the
//! same failure; no failure though every choice was met that is met once the bug is mended; and everything else, which is
//! *stale* and proves nothing.

use crate::chance::Script;
use crate::failure::Failure;
use crate::run::{Report, run};
use crate::tape::{Choice, Tape};
use crate::trace::{Keep, Line};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The format of the file.
const FORMAT: u32 = 1;

/// A saved failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    format: u32,
    /// The version of the program that saved it.
    program: String,
    /// The seed that it began with, for people.
    pub seed: Option<u64>,
    /// The planted bug that was alive, if one was.
    pub planted: Option<String>,
    /// What was found.
    pub failure: Failure,
    /// The rolling hash of the run, in hexadecimal.
    hash: String,
    /// What differs from "nothing goes wrong".
    pub choices: Vec<Choice>,
    /// Those of them that nobody asks for once the bug is mended: what is synced in time is not lost, say. Known of a planted
    /// bug, since there both can be run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mended_leaves: Vec<Choice>,
    /// What happened, for people.
    pub events: Vec<String>,
}

/// What came of replaying a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fails as it did.
    Fails,
    /// Every choice was met, and nothing is wrong.
    Mended,
    /// It proves nothing, for this reason.
    Stale(String),
}

impl Trace {
    /// The trace of a run that failed. `report` must hold the events, or all lines.
    pub fn of(report: &Report, seed: Option<u64>, planted: Option<String>) -> Option<Trace> {
        let failure = report.failure.clone()?;
        let told = report.lines.iter().filter(|line| line.kind.is_event());
        Some(Trace {
            format: FORMAT,
            program: concat!("sim ", env!("CARGO_PKG_VERSION")).into(),
            seed,
            planted,
            failure,
            hash: format!("{:016x}", report.hash),
            choices: report.choices.clone(),
            mended_leaves: Vec::new(),
            events: told.map(Line::to_string).collect(),
        })
    }

    /// Notes what a run of it comes to in which the bug is not planted.
    pub fn mended_in(mut self, report: &Report) -> Trace {
        if report.failure.is_none() {
            self.mended_leaves.clone_from(&report.unmet);
        }
        self
    }

    /// The file's text: one line for each choice and each event.
    ///
    /// # Errors
    /// None that can come from these types.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = String::from("{\n");
        let serde_json::Value::Object(fields) = serde_json::to_value(self)? else { return Ok(text) };
        let order = ["format", "program", "seed", "planted", "failure", "hash", "choices", "mended_leaves", "events"];
        for name in order.into_iter().filter(|name| fields.contains_key(*name)) {
            let end = if name == "events" { "\n}\n" } else { ",\n" };
            let _ = match &fields[name] {
                serde_json::Value::Array(lines) if !lines.is_empty() => {
                    let lines: Vec<String> = lines.iter().map(|line| format!("    {line}")).collect();
                    write!(text, "  \"{name}\": [\n{}\n  ]{end}", lines.join(",\n"))
                }
                value => write!(text, "  \"{name}\": {value}{end}"),
            };
        }
        Ok(text)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Trace, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_str(text).map_err(|error| format!("not a trace: {error}"))?;
        if version.format != FORMAT {
            return Err(format!("a trace of format {}; this program reads {FORMAT}", version.format));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Its choices, to run them again.
    pub fn tape(&self) -> Tape {
        self.choices.iter().copied().collect()
    }

    /// Runs it again, and judges what that says.
    pub fn replay(&self, keep: Keep) -> (Report, Verdict) {
        let report = run(Script::Tape(self.tape()), keep);
        let verdict = self.judge(&report);
        (report, verdict)
    }

    fn judge(&self, report: &Report) -> Verdict {
        match (&report.failure, report.unmet.first()) {
            (None, _) if report.unmet == self.mended_leaves => Verdict::Mended,
            (Some(failure), _) if failure.check != self.failure.check => {
                Verdict::Stale(format!("fails {}, not {}", failure.check, self.failure.check))
            }
            (_, Some(choice)) => {
                Verdict::Stale(format!("{} of its choices are never met, the first: {choice}", report.unmet.len()))
            }
            (Some(_), None) => Verdict::Fails,
            (None, None) => Verdict::Stale("meets choices that it did not when it was saved".into()),
        }
    }
}
