//! `sprag run`: the pipeline itself.
//!
//! **Invariant.** What is said never holds up what is done: all of it goes through the printer.

use crate::cli::{Cli, Run};
use crate::exit::{Exit, Failure};
use crate::out::plain;
use crate::past::Past;
use crate::printer::{Printer, Voice};
use crate::{config, notice, signals, words};
use serde::Serialize;
use sprag_core::Counts;
use sprag_handoff::Stop;
use sprag_runtime::driver::{OpenError, count_text, waits_text};
use sprag_runtime::live::{self, Ended, Options, RunError};
use sprag_runtime::pipeline::{Pipeline, StateDir};
use std::io;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What `--json` prints at the end.
#[derive(Serialize)]
struct Summary {
    at_ms: u64,
    event: &'static str,
    added: u64,
    known: u64,
    succeeded: u64,
    dead: u64,
    /// Jobs that wait for a person, a sentence for each queue.
    waiting: Vec<String>,
    text: String,
}

pub(super) fn run(cli: &Cli, args: &Run) -> Result<Exit, Failure> {
    let dir = args.folder.as_ref().map_or_else(|| cli.dir.clone(), |folder| cli.dir.join(folder));
    let pipeline = config::load(&dir)?;
    let printer = Printer::start().map_err(system("start a thread"))?;
    let result = run_aloud(pipeline, cli.json, args, printer.voice());
    printer.finish();
    result
}

fn run_aloud(pipeline: Pipeline, json: bool, args: &Run, mut voice: Voice) -> Result<Exit, Failure> {
    let state = pipeline.state();
    let queues = pipeline.queues.iter().map(|queue| queue.policy.name.clone()).collect::<Vec<_>>();
    log_to(&voice, args.verbose);
    let stop = Arc::new(Stop::new());
    signals::catch(Arc::clone(&stop), voice.clone(), json).map_err(system("catch signals"))?;
    let mut teller = voice.clone();
    let say = move |driver: &sprag_runtime::driver::Driver, said: &_| {
        teller.say(notice::line(driver, said, live::now().wall, json));
    };
    let ended = live::run(pipeline, Options { until_idle: args.until_idle }, stop, say)?;
    match ended {
        Ended::Idle { added, known } => {
            let configured = |name: &str| queues.iter().any(|queue| **queue == *name);
            idle(&state, json, args, (added, known), configured, &mut voice)
        }
        Ended::GivenUp { by } => {
            let what = format!("what is left cannot be done: {}", by.join("; "));
            Err(Failure::new(Exit::HeldUp, plain(&what))
                .mend("mend what is named and run again: it goes on where it was"))
        }
        // Without --until-idle a signal is how a run is meant to end.
        Ended::Stopped if args.until_idle => Err(Failure::new(Exit::Interrupted, "stopped before everything was done")
            .mend("run it again: it goes on where it was")),
        Ended::Stopped if args.fail_on_dead && jobs(&Past::read(&state)?).dead > 0 => Ok(Exit::No),
        Ended::Stopped => Ok(Exit::Ok),
    }
}

fn idle(
    state: &StateDir,
    json: bool,
    args: &Run,
    intake: (u64, u64),
    configured: impl Fn(&str) -> bool,
    voice: &mut Voice,
) -> Result<Exit, Failure> {
    let (added, known) = intake;
    let past = Past::read(state)?;
    let Counts { succeeded, dead, .. } = jobs(&past);
    let waits = past.machine.queues();
    let waits = waits.filter_map(|queue| waits_text(queue.name, configured(queue.name), queue.paused, queue.counts));
    let waiting: Vec<String> = waits.collect();
    let left = if waiting.is_empty() { "nothing is left to do" } else { "nothing else is left to do" };
    let held = waiting.iter().fold(String::new(), |held, text| held + "; " + text);
    let text = format!(
        "{left}: {}, {} known before; in all {succeeded} succeeded, {dead} dead{held}",
        count_text(added, "new job"),
        count_text(known, "item")
    );
    let at = live::now().wall;
    voice.say(if json {
        let summary =
            Summary { at_ms: at.0, event: "idle", added, known, succeeded, dead, waiting: waiting.clone(), text };
        serde_json::to_string(&summary).unwrap_or_default()
    } else {
        format!("{} {}", words::time_of_day(at), plain(&text))
    });
    Ok(match (args.fail_on_dead && dead > 0, waiting.is_empty()) {
        (true, _) => Exit::No,
        (false, false) => Exit::HeldUp,
        (false, true) => Exit::Ok,
    })
}

/// All jobs of all queues, as the journal has them.
fn jobs(past: &Past) -> Counts {
    past.machine.queues().fold(Counts::default(), |sum, queue| Counts {
        scheduled: sum.scheduled + queue.counts.scheduled,
        ready: sum.ready + queue.counts.ready,
        running: sum.running + queue.counts.running,
        succeeded: sum.succeeded + queue.counts.succeeded,
        dead: sum.dead + queue.counts.dead,
        cancelled: sum.cancelled + queue.counts.cancelled,
    })
}

/// The local time of day, as the notices have it.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&words::time_of_day(live::now().wall))
    }
}

/// Warnings in the voice of everything else, one sentence each; with `-v` or `RUST_LOG`, in the format of those who work on
/// sprag, with all that there is.
fn log_to(voice: &Voice, verbose: bool) {
    let voice = voice.clone();
    let asked = std::env::var("RUST_LOG").ok().and_then(|level| level.parse::<LevelFilter>().ok());
    let subscriber = tracing_subscriber::fmt().with_writer(move || voice.clone()).with_timer(TimeOfDay);
    match asked.or(verbose.then_some(LevelFilter::DEBUG)) {
        Some(level) => subscriber.with_max_level(level).init(),
        None => subscriber.with_max_level(LevelFilter::WARN).event_format(Plainly).init(),
    }
}

/// A warning as a line for people: when, and what; what belongs to it follows in brackets.
struct Plainly;

impl<S, N> FormatEvent<S, N> for Plainly
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut sentence = Sentence::default();
        event.record(&mut sentence);
        let Sentence { message, details } = sentence;
        let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
        writeln!(to, "{} {}", words::time_of_day(live::now().wall), plain(&(message + &details)))
    }
}

#[derive(Default)]
struct Sentence {
    message: String,
    details: Vec<String>,
}

impl Visit for Sentence {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            // They speak for themselves.
            "error" | "reason" | "path" => self.details.push(format!("{value:?}")),
            name => self.details.push(format!("{name} {value:?}")),
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| RunError::System { what, source: error }.into()
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Lock(error) => error.into(),
            RunError::Open(OpenError::Journal(error)) => error.into(),
            RunError::Open(error @ OpenError::Folder { .. }) => Failure::new(Exit::StateIo, error.to_string()),
            error @ (RunError::Journal(_) | RunError::System { .. }) => Failure::new(Exit::StateIo, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_a_sentence_with_what_belongs_to_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let writer = move || std::fs::File::options().append(true).open(&path).unwrap();
        let subscriber = tracing_subscriber::fmt().event_format(Plainly).with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(path = %"a/b\u{1b}[2J", error = %"no room", user = 7, "its socket cannot be made");
        });
        let said = std::fs::read_to_string(file.path()).unwrap();
        let (time, text) = said.split_once(' ').unwrap();
        assert_eq!((time.len(), text), (12, "its socket cannot be made (a/b\\u{1b}[2J, no room, user 7)\n"));
    }
}
