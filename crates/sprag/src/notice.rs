//! What a running sprag says about its work, as lines for people or for programs.
//!
//! **Invariant.** Every [`Notice`] has its words here, and nothing of it reaches a terminal that [`plain`] has not seen.

use crate::out::plain;
use crate::words;
use serde::Serialize;
use sprag_core::{JobId, Outcome, Refusal, SourceFault, SpawnFailure, StopLevel, Verdict, Wall};
use sprag_journal::Cut;
use sprag_runtime::driver::{Driver, HELD_UP_MS, Notice};
use sprag_runtime::pipeline::Pipeline;
use sprag_runtime::seams::ChildId;

/// More sources than these are counted, not named.
const SOURCES_NAMED_MAX: usize = 5;

/// A notice as a line of JSON. Fields may be added, never taken away.
#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    text: &'a str,
}

/// The notice as a line; `at` is now.
pub(crate) fn line(driver: &Driver, notice: &Notice, at: Wall, json: bool) -> String {
    let text = text(driver, notice, at);
    let subject = subject(notice);
    if json {
        let Subject { event, job, queue, attempt } = subject;
        let line = Line { at_ms: at.0, event, job: job.map(|job| job.0), queue, attempt, text: &text };
        return serde_json::to_string(&line).unwrap_or_default();
    }
    let subject = match (subject.job, subject.queue) {
        (Some(job), Some(queue)) => format!("job {} in {queue}: ", job.0),
        (Some(job), None) => format!("job {}: ", job.0),
        (None, _) => String::new(),
    };
    format!("{} {}", words::time_of_day(at), plain(&(subject + &text)))
}

/// What a signal leads to, as a line.
pub(crate) fn stopping(at: Wall, text: &str, json: bool) -> String {
    if json {
        let line = Line { at_ms: at.0, event: "stopping", job: None, queue: None, attempt: None, text };
        return serde_json::to_string(&line).unwrap_or_default();
    }
    format!("{} {text}", words::time_of_day(at))
}

/// What a notice is about.
struct Subject<'a> {
    event: &'static str,
    job: Option<JobId>,
    queue: Option<&'a str>,
    attempt: Option<u32>,
}

fn subject(notice: &Notice) -> Subject<'_> {
    let of_job = |event, job: &JobId, queue, attempt| Subject { event, job: Some(*job), queue, attempt };
    let of = |event| Subject { event, job: None, queue: None, attempt: None };
    match notice {
        Notice::Begun => of("begun"),
        Notice::Settled => of("settled"),
        Notice::HeldUp { .. } => of("held_up"),
        Notice::Waiting { .. } => of("source_waiting"),
        Notice::Appeared { .. } => of("source_appeared"),
        Notice::Changed { job, .. } => of_job("changed", job, None, None),
        Notice::ServiceStarted { .. } => of("service_started"),
        Notice::NotExecuted { child: ChildId::Attempt { job, attempt }, .. } => {
            of_job("not_executed", job, None, Some(attempt.number))
        }
        Notice::NotExecuted { child: ChildId::Service { .. }, .. } => of("not_executed"),
        Notice::ServiceStopped { .. } => of("service_ended"),
        Notice::Added { job, queue, .. } => of_job("added", job, Some(queue), None),
        Notice::Started { job, queue, attempt } => of_job("started", job, Some(queue), Some(*attempt)),
        Notice::Finished { job, queue, attempt, .. } => of_job("finished", job, Some(queue), Some(*attempt)),
        Notice::Dead { job, queue, .. } => of_job("dead", job, Some(queue), None),
        Notice::Cancelled { job, queue } => of_job("cancelled", job, Some(queue), None),
        Notice::Redriven { job, queue } => of_job("redriven", job, Some(queue), None),
        Notice::Paused { queue, paused } => {
            let event = if *paused { "paused" } else { "resumed" };
            Subject { event, job: None, queue: Some(queue), attempt: None }
        }
        Notice::Stopping { .. } => of("stopping"),
        Notice::Published { job } => of_job("published", job, None, None),
        Notice::PublishFailed { job, .. } => of_job("publish_failed", job, None, None),
        Notice::Complaint { .. } => of("source_fault"),
        Notice::Mended { .. } => of("source_mended"),
        Notice::Polling { .. } => of("source_polled"),
        Notice::Refused { .. } => of("refused"),
        Notice::NoSpace { .. } => of("no_space"),
        Notice::ServiceEnded { .. } => of("service_ended"),
        Notice::TornTail { .. } => of("torn_tail"),
        Notice::Health { .. } => of("health"),
        Notice::SnapshotFailed { .. } => of("snapshot_failed"),
        Notice::StatusFailed { .. } => of("status_failed"),
        Notice::NotRecorded { .. } => of("not_recorded"),
    }
}

fn text(driver: &Driver, notice: &Notice, at: Wall) -> String {
    let source = |index: u16| driver.source_name(index);
    match notice {
        Notice::Begun => begun(driver.pipeline()),
        Notice::Settled => format!("nothing to do; {}", watching(driver.pipeline())),
        Notice::HeldUp { by } => format!(
            "nothing else is left to do; waiting {} for this to be mended: {}",
            words::length(HELD_UP_MS),
            by.join("; ")
        ),
        Notice::Waiting { source: index } => format!("waiting for {} to appear", source(*index)),
        Notice::Appeared { source: index } => format!("{} is there now", source(*index)),
        Notice::Changed { source: index, more, .. } => {
            let more = if *more { "" } else { " (of further changed items in it, `sprag status` tells how many)" };
            let name = source(*index);
            format!(
                "its item in {name} changed after it was taken: the first version stands, a new key makes a new job{more}"
            )
        }
        Notice::ServiceStarted { index } => format!("service {} started", driver.service_name(*index)),
        Notice::ServiceStopped { index } => format!("service {} stopped", driver.service_name(*index)),
        Notice::NotExecuted { child, failure, why } => not_executed(driver, *child, *failure, why),
        Notice::Added { key: Some(key), .. } => format!("added, key {key}"),
        Notice::Added { key: None, .. } => "added".into(),
        Notice::Started { attempt, .. } => format!("attempt {attempt} started"),
        Notice::Finished { attempt, outcome, next, .. } => words::finished(*attempt, *outcome, *next, at),
        Notice::Dead { reason, outcome, .. } => {
            format!("dead ({}): {}", words::outcome(*outcome), words::dead_reason(*reason))
        }
        Notice::Cancelled { .. } => "cancelled by request".into(),
        Notice::Redriven { .. } => "begins anew, by request".into(),
        Notice::Paused { queue, paused: true } => format!("queue {queue} is paused, by request: nothing starts there"),
        Notice::Paused { queue, paused: false } => format!("queue {queue} goes on, by request"),
        Notice::Stopping { level: StopLevel::Kill } => "stopping, by request: ending what runs".into(),
        Notice::Stopping { level: StopLevel::Run | StopLevel::Drain } => {
            "stopping, by request: nothing new is started, what runs may finish".into()
        }
        Notice::Published { .. } => "its result was published".into(),
        Notice::PublishFailed { what, .. } => format!("its result cannot be put at {what}; it is kept and tried again"),
        Notice::Complaint { source: index, complaint, rest } => {
            let rest = match complaint.fault {
                SourceFault::Missing => "it is waited for; what was read stands",
                _ if *rest => "the rest is taken",
                SourceFault::Unreadable
                | SourceFault::TooLarge
                | SourceFault::Malformed
                | SourceFault::ItemWithoutKey => "nothing new is taken until it is mended",
            };
            format!("{}: {}; {rest}", source(*index), complaint.text)
        }
        Notice::Mended { source: index } => format!("{}: in order again", source(*index)),
        Notice::Polling { source: index, what } => {
            format!("{}: cannot be watched ({what}), so it is read again and again", source(*index))
        }
        Notice::Refused { source: index, refusal } => {
            format!("{}: new items were refused, {}; they are offered again", source(*index), refused(*refusal))
        }
        Notice::NoSpace { what } => format!("the disk is full ({what}): adds are refused and nothing starts"),
        Notice::ServiceEnded { index, outcome, again_ms } => {
            let name = driver.service_name(*index);
            let again = again_ms.map_or_else(String::new, |ms| format!("; started again in {}", words::length(ms)));
            let see = if *outcome == Outcome::Exit(0) { String::new() } else { format!("; see `sprag log {name}`") };
            format!("service {name} ended: {}{again}{see}", words::outcome(Some(*outcome)))
        }
        Notice::TornTail { cut } => torn(cut),
        Notice::Health { verdict } => health(driver, verdict),
        Notice::SnapshotFailed { what } => {
            format!("no snapshot for now, the journal has everything: {what}")
        }
        Notice::StatusFailed { what } => format!("the heartbeat file cannot be written: {what}"),
        Notice::NotRecorded { what } => format!("the flight recorder leaves out some seconds: {what}"),
    }
}

/// What is watched, what is kept up, and how to end it.
fn begun(pipeline: &Pipeline) -> String {
    let names = |names: Vec<&str>| names.join(", ");
    let queues = names(pipeline.queues.iter().map(|queue| &*queue.policy.name).collect());
    let services = names(pipeline.services.iter().map(|service| service.name.as_str()).collect());
    let parts = [("queues", queues), ("services", services)];
    let parts =
        parts.into_iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what}: {names}"));
    let parts: Vec<String> = std::iter::once(watching(pipeline)).chain(parts).collect();
    format!("{}; Ctrl-C or `sprag drain` ends it", parts.join("; "))
}

fn watching(pipeline: &Pipeline) -> String {
    match pipeline.sources.as_slice() {
        [] => "watching the drop-box".into(),
        [one] => format!("watching {}", one.path.display()),
        [first, rest @ ..] if rest.len() < SOURCES_NAMED_MAX => {
            let rest = rest.iter().map(|source| format!(", {}", source.path.display()));
            format!("watching {}{}", first.path.display(), rest.collect::<String>())
        }
        many => format!("watching {} sources", many.len()),
    }
}

fn not_executed(driver: &Driver, child: ChildId, failure: SpawnFailure, why: &str) -> String {
    let who = match child {
        ChildId::Attempt { attempt, .. } => format!("attempt {}", attempt.number),
        ChildId::Service { index, .. } => format!("service {}", driver.service_name(index)),
    };
    let mend = match failure {
        SpawnFailure::NotFound | SpawnFailure::NotExecutable => "mend it, or `command` in sprag.toml",
        SpawnFailure::NotStarted => "it is tried again",
        SpawnFailure::Resources if matches!(child, ChildId::Service { .. }) => "it is tried again each second",
        SpawnFailure::Resources => "nothing starts for a second, then it is tried again",
    };
    format!("{who}: {why}; {mend}")
}

fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoSuchJob => "there is no such job",
        Refusal::NoSuchQueue => "there is no such queue",
        Refusal::WrongState => "the job's state does not allow it",
        Refusal::Full => "as many jobs are known as may be",
        Refusal::NoSpace => "the disk is full",
        Refusal::Stopping => "sprag is stopping",
    }
}

fn torn(cut: &Cut) -> String {
    format!(
        "a crash tore the end of {} at offset {} ({}); nothing acknowledged was in it, its {} bytes are kept in {}",
        cut.file.display(),
        cut.offset,
        cut.what,
        cut.len,
        cut.kept.display()
    )
}

fn health(driver: &Driver, verdict: &Verdict) -> String {
    let (word, reasons) = match verdict {
        Verdict::Well => return "health: well".into(),
        Verdict::Degraded(reasons) => ("degraded", reasons),
        Verdict::Stalled(reasons) => ("stalled", reasons),
    };
    format!("health: {word}: {}", driver.reason_texts(reasons).join("; "))
}
