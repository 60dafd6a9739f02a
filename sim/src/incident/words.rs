//! What the Machine is told and decides, in words.
//!
//! **Invariant.** The words depend on the value and the names of its queues alone; they hold no key and no payload.

use sprag_core::{Input, JobId, Machine, NewJob, Next, Output, QueueId, Record, SourceReport, Volatile, When};

/// A record.
pub(super) fn record(machine: &Machine, record: &Record) -> String {
    match *record {
        Record::Added { job, new, due } => {
            let due = due.map(|due| format!(", not before {}", due.0)).unwrap_or_default();
            format!("job {} is added to {}{due}", job.0, queue(machine, new.queue))
        }
        Record::Reserved { job, attempt, slot } => {
            format!("job {} attempt {attempt} is reserved, slot {}", job.0, slot.0)
        }
        Record::Started { job, attempt, slot } => format!("job {} attempt {attempt} starts, slot {}", job.0, slot.0),
        Record::Finished { job, attempt, outcome, next } => {
            let outcome = outcome.map_or("unseen".to_owned(), |outcome| format!("{outcome:?}"));
            format!("job {} attempt {attempt} is over ({outcome}): {}", job.0, self::next(next))
        }
        Record::Cancelled { job } => format!("job {} is cancelled", job.0),
        Record::Redriven { job } => format!("job {} is tried again from the start", job.0),
        Record::Published { job } => format!("job {} is published", job.0),
        Record::Forgotten { job } => format!("job {} is forgotten", job.0),
        Record::KeyForgotten { job } => format!("the key of job {} is forgotten", job.0),
        Record::Paused { queue } => format!("queue {} is paused", self::queue(machine, queue)),
        Record::Resumed { queue } => format!("queue {} is resumed", self::queue(machine, queue)),
    }
}

fn next(next: Next) -> String {
    match next {
        Next::Succeeded { result: Some(_) } => "succeeded, with a result".into(),
        Next::Succeeded { result: None } => "succeeded".into(),
        Next::Retry { due } => format!("again not before {}", due.0),
        Next::Dead(reason) => format!("dead, {reason:?}"),
        Next::Cancelled => "cancelled".into(),
        Next::Again { due, crash } => {
            let why = if crash { "sprag died" } else { "by our doing" };
            format!("again not before {}, {why}", due.0)
        }
        Next::Unused => "given back unused".into(),
    }
}

pub(super) fn queue(machine: &Machine, queue: QueueId) -> String {
    let known = usize::from(queue.0) < machine.queues_len();
    if known { machine.queue_name(queue).to_owned() } else { format!("number {}", queue.0) }
}

/// Who tells the Machine, and what.
pub(super) fn input(machine: &Machine, input: &Input) -> (&'static str, String) {
    match input {
        Input::Submit { request, job } => ("requests", format!("request {}: {}", request.0, new_job(machine, job))),
        Input::Cancel { request, job } => ("requests", format!("request {}: cancel job {}", request.0, job.0)),
        Input::Redrive { request, job } => ("requests", format!("request {}: try job {} again", request.0, job.0)),
        Input::Pause { request, queue } => {
            ("requests", format!("request {}: pause {}", request.0, self::queue(machine, *queue)))
        }
        Input::Resume { request, queue } => {
            ("requests", format!("request {}: resume {}", request.0, self::queue(machine, *queue)))
        }
        Input::Persisted { through } => ("journal", format!("records up to {} are durable", through.0)),
        Input::Space(space) => ("disk", format!("room on the disk: {space:?}")),
        Input::Spawned { job, attempt } => ("keeper", format!("job {} attempt {attempt} runs", job.0)),
        Input::SpawnFailed { job, attempt, failure } => {
            ("keeper", format!("job {} attempt {attempt} was not started: {failure:?}", job.0))
        }
        Input::Ended { job, attempt, outcome, result, gone } => {
            let result = if result.is_some() { ", with a result" } else { "" };
            let gone = if *gone { "proved dead" } else { "not proved dead" };
            ("keeper", format!("job {} attempt {attempt} has ended: {outcome:?}{result}, {gone}", job.0))
        }
        Input::Gone { job, attempt } => ("keeper", format!("job {} attempt {attempt} is proved dead", job.0)),
        Input::Published { job } => ("pool", format!("the result of job {} stands at its destination", job.0)),
        Input::PublishFailed { job } => {
            ("pool", format!("the result of job {} could not be put at its destination", job.0))
        }
        Input::Source { source, report } => ("sources", format!("source {}: {}", source.0, self::report(*report))),
        Input::ForgetKey { job } => ("loop", format!("the key of job {} need not be known", job.0)),
        Input::StatusCopied { well } => {
            ("pool", format!("the copy of the heartbeat {}", if *well { "stands" } else { "could not be written" }))
        }
        Input::Service { service, failing } => {
            ("keeper", format!("service {service} {}", if *failing { "fails again and again" } else { "does well" }))
        }
        Input::Tick => ("clock", "time has passed".into()),
        Input::Slept { ms } => ("clock", format!("the machine slept for {ms} ms")),
        Input::Stop(level) => ("requests", format!("sprag is to stop: {level:?}")),
    }
}

fn new_job(machine: &Machine, job: &NewJob) -> String {
    let when = match job.when {
        When::Now => String::new(),
        When::Delay(ms) => format!(", in {ms} ms"),
        When::At(at) => format!(", at {}", at.0),
    };
    let key = if job.key.is_some() { " with a key" } else { "" };
    format!("a job{key} for {}{when}", queue(machine, job.queue))
}

fn report(report: SourceReport) -> String {
    match report {
        SourceReport::Looking => "is being read".into(),
        SourceReport::Read { new_items } => format!("was read, {new_items} new items"),
        SourceReport::Fault(fault) => format!("cannot be taken: {fault:?}"),
    }
}

/// What the Machine decides.
pub(super) fn output(machine: &Machine, output: &Output) -> String {
    match output {
        Output::Persist { seq, record } => format!("record {}: {}", seq.0, self::record(machine, record)),
        Output::Reply { request, reply } => format!("answers request {}: {reply:?}", request.0),
        Output::Start { job, attempt } => format!("starts job {} attempt {}", job.0, attempt.number),
        Output::Signal { job, attempt, kill } => format!("{kill:?} to job {} attempt {}", job.0, attempt.number),
        Output::Prove { job, attempt } => format!("wants job {} attempt {} proved dead", job.0, attempt.number),
        Output::Publish { job, attempt } => format!("wants the result of job {} attempt {attempt} published", job.0),
        Output::Discard { job, .. } => format!("wants what job {} has left removed", job.0),
        Output::Stopped => "nothing is alive any more".into(),
    }
}

/// The job that an input is about.
pub(super) fn job_of_input(input: &Input) -> Option<JobId> {
    match *input {
        Input::Cancel { job, .. }
        | Input::Redrive { job, .. }
        | Input::Spawned { job, .. }
        | Input::SpawnFailed { job, .. }
        | Input::Ended { job, .. }
        | Input::Gone { job, .. }
        | Input::Published { job }
        | Input::PublishFailed { job }
        | Input::ForgetKey { job } => Some(job),
        Input::Submit { .. }
        | Input::Pause { .. }
        | Input::Resume { .. }
        | Input::Persisted { .. }
        | Input::Space(_)
        | Input::Source { .. }
        | Input::StatusCopied { .. }
        | Input::Service { .. }
        | Input::Tick
        | Input::Slept { .. }
        | Input::Stop(_) => None,
    }
}

/// The job that an output is about.
pub(super) fn job_of_output(output: &Output) -> Option<JobId> {
    match *output {
        Output::Persist { record, .. } => match record {
            Record::KeyForgotten { job } => Some(job),
            record => record.job(),
        },
        Output::Start { job, .. }
        | Output::Signal { job, .. }
        | Output::Prove { job, .. }
        | Output::Publish { job, .. }
        | Output::Discard { job, .. } => Some(job),
        Output::Reply { .. } | Output::Stopped => None,
    }
}

/// The first field in which two are not the same, both ways.
pub(super) fn difference(ours: &Volatile, said: Option<&Volatile>) -> String {
    let json = |volatile: &Volatile| serde_json::to_value(volatile).unwrap_or_default();
    let (ours, said) = (json(ours), said.map(json).unwrap_or_default());
    let fields = ours.as_object().into_iter().flatten();
    let differs = fields.filter(|(name, value)| said[name.as_str()] != **value);
    let text = differs.map(|(name, value)| format!("`{name}` is {value}, recorded is {}", said[name.as_str()]));
    text.collect::<Vec<_>>().join("; ")
}
