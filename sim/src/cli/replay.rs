//! `sim replay`: the story of one run.

use super::{FAILED, How, STALE, Source, Subject, USAGE, WELL, complain, say};
use serde_json::json;
use sim::saved::Verdict;
use sim::{Keep, Report};
use std::path::Path;

/// Prints what happened, what went wrong in the world, and the verdict.
pub(crate) fn replay(subject: &Subject, events: bool, calls: bool, html: Option<&Path>, how: &How) -> u8 {
    let source = match Source::read(subject, how) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let keep = match (events, calls) {
        (true, _) => Keep::Events,
        (false, true) => Keep::Calls,
        (false, false) => Keep::Lines,
    };
    let (report, verdict) = match &source {
        Source::Seed(_) | Source::Tape(_) => (source.run(keep, how), None),
        Source::Trace(trace) => {
            let (report, verdict) = trace.replay(keep);
            (report, Some(verdict))
        }
    };
    if let Some(path) = html
        && let Err(error) = std::fs::write(path, sim::page::page(&report, &subject.to_string()))
    {
        complain(how.json, format_args!("{}: {error}", path.display()));
        return USAGE;
    }
    for line in report.lines.iter().filter(|_| html.is_none()) {
        if how.json {
            say(format_args!("{}", line.to_json()));
        } else {
            say(format_args!("{line}"));
        }
    }
    end(subject, &report, verdict.as_ref(), how);
    match verdict {
        Some(Verdict::Stale(_)) => STALE,
        Some(Verdict::Fails) => FAILED,
        Some(Verdict::Mended) => WELL,
        None => u8::from(report.failure.is_some()),
    }
}

fn end(subject: &Subject, report: &Report, verdict: Option<&Verdict>, how: &How) {
    let strikes = report.choices.iter().filter(|choice| choice.strikes());
    if how.json {
        let (verdict, why) = match verdict {
            None => (None, None),
            Some(Verdict::Fails) => (Some("fails"), None),
            Some(Verdict::Mended) => (Some("mended"), None),
            Some(Verdict::Stale(why)) => (Some("stale"), Some(why)),
        };
        let strikes: Vec<String> = strikes.map(ToString::to_string).collect();
        let end = json!({
            "subject": subject.to_string(), "hash": format!("{:016x}", report.hash), "failure": report.failure,
            "events": report.events, "strikes": strikes, "trace": verdict, "stale": why,
        });
        return say(format_args!("{end}"));
    }
    let strikes: Vec<_> = strikes.collect();
    say(format_args!("\nwhat went wrong in this world ({}):", strikes.len()));
    strikes.iter().for_each(|choice| say(format_args!("  {choice}")));
    let result = report.failure.as_ref().map_or_else(|| "all is well".to_owned(), ToString::to_string);
    say(format_args!("{subject}, {} events, hash {:016x}: {result}", report.events, report.hash));
    match verdict {
        None => {}
        Some(Verdict::Fails) => say(format_args!("the trace fails as it did when it was saved")),
        Some(Verdict::Mended) => say(format_args!("the trace does not fail any more, and all its choices were met")),
        Some(Verdict::Stale(why)) => say(format_args!("the trace is stale, and proves nothing: it {why}")),
    }
}
