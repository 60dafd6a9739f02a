//! `sim shrink`: the calmest world in which a run still fails in the same way.

use super::{FAILED, How, Source, Subject, USAGE, WELL, complain, save, say, tape_text};
use serde_json::json;
use sim::Keep;
use sim::saved::Trace;
use std::path::{Path, PathBuf};

/// Shrinks, prints what is left, and saves it.
pub(crate) fn shrink(subject: &Subject, out: Option<&Path>, runs: u32, how: &How) -> u8 {
    let source = match Source::read(subject, how) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let report = source.run(Keep::Hash, how);
    let Some(shrunk) = sim::shrink::shrink(&report, runs) else {
        complain(how.json, format_args!("{subject} does not fail: there is nothing to shrink"));
        return WELL;
    };
    let Some(trace) = Trace::of(&shrunk.report, source.seed(), source.planted(how)) else { return USAGE };
    let path = out.map_or_else(|| beside(subject), Path::to_owned);
    if let Err(what) = save(&trace, &path) {
        complain(how.json, format_args!("{what}"));
        return USAGE;
    }
    let (before, after) = (report.tape(), shrunk.report.tape());
    if how.json {
        let said = json!({
            "subject": subject.to_string(), "failure": trace.failure, "choices_before": before.len(),
            "choices": after.len(), "events_before": report.events, "events": shrunk.report.events, "runs": shrunk.runs,
            "minimal": shrunk.minimal, "trace": path,
        });
        say(format_args!("{said}"));
        return FAILED;
    }
    shrunk.report.lines.iter().for_each(|line| say(format_args!("{line}")));
    say(format_args!("\nwhat it takes:"));
    trace.choices.iter().for_each(|choice| say(format_args!("  {choice}")));
    say(format_args!("{subject}, {}: {}", tape_text(&before), trace.failure));
    let end = if shrunk.minimal { "nothing more goes" } else { "the runs are used up" };
    say(format_args!(
        "shrunk to {}, {} events, in {} runs; {end}",
        tape_text(&after),
        shrunk.report.events,
        shrunk.runs
    ));
    say(format_args!("    sim replay {}", path.display()));
    FAILED
}

/// Where a shrunk trace goes if nobody says.
fn beside(subject: &Subject) -> PathBuf {
    match subject {
        Subject::Seed(seed) => PathBuf::from(format!("sim-traces/seed-{seed}.shrunk.json")),
        Subject::File(path) => path.with_extension("shrunk.json"),
        Subject::Race(id, _) => PathBuf::from(format!("sim-traces/{id}.shrunk.json")),
    }
}
