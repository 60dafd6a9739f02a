//! `sprag run`: the pipeline itself.
//!
//! **Invariant.** What is said never holds up what is done: all of it goes through the printer.

use crate::cli::{Cli, Run};
use crate::exit::{Exit, Failure};
use crate::past::Past;
use crate::printer::{Printer, Voice};
use crate::{config, notice, signals, words};
use serde::Serialize;
use sprag_core::Counts;
use sprag_handoff::Stop;
use sprag_runtime::driver::OpenError;
use sprag_runtime::live::{self, Ended, Options, RunError};
use sprag_runtime::pipeline::{Pipeline, StateDir};
use std::io;
use std::sync::Arc;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// What `--json` prints at the end.
#[derive(Serialize)]
struct Summary {
    at_ms: u64,
    event: &'static str,
    added: u64,
    known: u64,
    succeeded: u64,
    dead: u64,
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
    log_to(&voice);
    let stop = Arc::new(Stop::new());
    signals::catch(Arc::clone(&stop), voice.clone()).map_err(system("catch signals"))?;
    let mut say = |driver: &sprag_runtime::driver::Driver, said: &_| {
        voice.say(notice::line(driver, said, live::now().wall, json));
    };
    let ended = live::run(pipeline, Options { until_idle: args.until_idle }, &stop, &mut say)?;
    match ended {
        Ended::Idle { added, known } => idle(&state, json, args, (added, known), &mut voice),
        // Without --until-idle a signal is how a run is meant to end.
        Ended::Stopped if args.until_idle => Err(Failure::new(Exit::Interrupted, "stopped before everything was done")
            .mend("run it again: it goes on where it was")),
        Ended::Stopped if args.fail_on_dead && jobs(&state)?.dead > 0 => Ok(Exit::No),
        Ended::Stopped => Ok(Exit::Ok),
    }
}

fn idle(state: &StateDir, json: bool, args: &Run, intake: (u64, u64), voice: &mut Voice) -> Result<Exit, Failure> {
    let (added, known) = intake;
    let Counts { succeeded, dead, .. } = jobs(state)?;
    let text = format!(
        "nothing is left to do: {added} new jobs, {known} items known before; in all {succeeded} succeeded, {dead} dead"
    );
    let at = live::now().wall;
    voice.say(if json {
        let summary = Summary { at_ms: at.0, event: "idle", added, known, succeeded, dead, text };
        serde_json::to_string(&summary).unwrap_or_default()
    } else {
        format!("{} {text}", words::time_of_day(at))
    });
    Ok(if args.fail_on_dead && dead > 0 { Exit::No } else { Exit::Ok })
}

/// All jobs of all queues, as the journal has them.
fn jobs(state: &StateDir) -> Result<Counts, Failure> {
    let past = Past::read(state)?;
    Ok(past.machine.queues().fold(Counts::default(), |sum, queue| Counts {
        scheduled: sum.scheduled + queue.counts.scheduled,
        ready: sum.ready + queue.counts.ready,
        running: sum.running + queue.counts.running,
        succeeded: sum.succeeded + queue.counts.succeeded,
        dead: sum.dead + queue.counts.dead,
        cancelled: sum.cancelled + queue.counts.cancelled,
    }))
}

/// The local time of day, as the notices have it.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&words::time_of_day(live::now().wall))
    }
}

fn log_to(voice: &Voice) {
    let voice = voice.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_timer(TimeOfDay)
        .with_target(false)
        .with_writer(move || voice.clone())
        .init();
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
