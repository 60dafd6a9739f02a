//! `sprag list`: jobs and their states.

use super::{no_such_queue, state_of};
use crate::cli::{Cli, List, Sort};
use crate::exit::{Exit, Failure};
use crate::out::{Cell, Out, cut, plain};
use crate::past::Past;
use crate::words;
use serde::Serialize;
use sprag_core::{DeadReason, Job, JobId, State, StateName, Wall};
use sprag_runtime::listing::Which;
use sprag_runtime::live;
use std::cmp::Ordering;

/// A longer key loses its middle in a table on a terminal, in columns; whoever pipes it on, or asks for JSON, has it whole.
const KEY_COLUMNS_MAX: usize = 40;

/// How a table is laid out.
#[derive(Clone, Copy)]
struct Layout {
    key_columns_max: usize,
    /// Some job has one: most pipelines have none.
    priority: bool,
    /// On a terminal moments are told in brief, as seen from this one.
    brief_at: Option<Wall>,
}

/// A job as a line of JSON. Fields may be added, never taken away.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    queue: &'a str,
    key: Option<&'a str>,
    state: &'static str,
    attempts: u32,
    /// The older name of `attempts`.
    attempt: u32,
    priority: i16,
    added_at_ms: u64,
    changed_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<DeadReason>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unpublished: bool,
}

pub(super) fn run(cli: &Cli, args: &List, out: &mut Out) -> Result<Exit, Failure> {
    let past = Past::read(&state_of(&cli.dir)?)?;
    if let Some(queue) = args.queue.as_deref().filter(|queue| past.machine.find_queue(queue).is_none()) {
        let configured = crate::config::load(&cli.dir).is_ok_and(|pipeline| pipeline.queue(queue).is_some());
        if !configured {
            let known: Vec<&str> = past.machine.queues().map(|queue| queue.name).collect();
            return Err(no_such_queue(queue, known.into_iter()));
        }
    }
    let jobs = chosen(&past, args);
    if cli.json {
        for (id, job, state) in jobs {
            out.json(&line(&past, id, job, state))?;
        }
    } else if jobs.is_empty() {
        out.line("no jobs")?;
    } else {
        let layout = Layout {
            key_columns_max: if out.is_terminal() { KEY_COLUMNS_MAX } else { usize::MAX },
            priority: jobs.iter().any(|(_, job, _)| job.priority != 0),
            brief_at: out.is_terminal().then(|| live::now().wall),
        };
        let rows = jobs.into_iter().map(|(id, job, state)| row(&past, id, job, state, layout));
        let heads = ["id", "queue", "key", "state", "priority", "attempt", "since", "remark"];
        let heads: Vec<&str> = heads.into_iter().filter(|head| layout.priority || *head != "priority").collect();
        out.table(&heads, rows.collect())?;
    }
    Ok(Exit::Ok)
}

fn chosen<'a>(past: &'a Past, args: &List) -> Vec<(JobId, &'a Job, StateName)> {
    let which = Which { queue: args.queue.clone(), state: args.state };
    // A queue that only the configuration knows has had no job yet.
    let Ok(chosen) = which.look_up(&past.machine) else { return Vec::new() };
    let named = |(id, job)| Some((id, job, past.state_name(id)?));
    let mut jobs: Vec<_> = past.machine.jobs().filter_map(named).collect();
    jobs.retain(|(_, job, state)| chosen.takes(job, *state));
    jobs.sort_by(|one, other| order(past, args, one, other));
    match args.limit {
        // Who asks for an order wants its beginning; who does not, what came last.
        Some(limit) if args.sort.is_some() || args.reverse => jobs.truncate(limit),
        Some(limit) => drop(jobs.drain(..jobs.len().saturating_sub(limit))),
        None => {}
    }
    jobs
}

/// Sorting keeps what is equal here in order of arrival.
fn order(past: &Past, args: &List, one: &(JobId, &Job, StateName), other: &(JobId, &Job, StateName)) -> Ordering {
    let story = |job: &(JobId, &Job, StateName)| past.story(job.0);
    let queue = |job: &(JobId, &Job, StateName)| past.machine.queue_name(job.1.queue);
    let order = match args.sort.unwrap_or(Sort::Id) {
        Sort::Id => one.0.cmp(&other.0),
        Sort::Created => story(one).added_at.cmp(&story(other).added_at),
        Sort::Changed => story(one).changed_at.cmp(&story(other).changed_at),
        Sort::Due => match (one.1.state.due(), other.1.state.due()) {
            (Some(one), Some(other)) => one.cmp(&other),
            // Whichever way, what is due stands together at the beginning.
            (one, other) => return other.is_some().cmp(&one.is_some()),
        },
        Sort::State => one.2.cmp(&other.2),
        Sort::Queue => queue(one).cmp(queue(other)),
        Sort::Key => story(one).key.cmp(&story(other).key),
        Sort::Attempts => one.1.attempt.cmp(&other.1.attempt),
        Sort::Priority => one.1.priority.cmp(&other.1.priority),
    };
    if args.reverse { order.reverse() } else { order }
}

fn line<'a>(past: &'a Past, id: JobId, job: &Job, state: StateName) -> Line<'a> {
    let story = past.story(id);
    Line {
        id: id.0,
        queue: past.machine.queue_name(job.queue),
        key: story.key.as_deref(),
        state: state.as_str(),
        attempts: job.attempt,
        attempt: job.attempt,
        priority: job.priority,
        added_at_ms: story.added_at.0,
        changed_at_ms: story.changed_at.0,
        due_at_ms: job.state.due().map(|due| due.0),
        reason: job.state.dead_reason(),
        unpublished: job.unpublished,
    }
}

fn row(past: &Past, id: JobId, job: &Job, state: StateName, layout: Layout) -> Vec<Cell> {
    let story = past.story(id);
    let moment = |at| layout.brief_at.map_or_else(|| words::moment(at), |now| words::moment_in_brief(at, now));
    let remark = match job.state {
        State::Scheduled { due, .. } => format!("due {}", moment(due)),
        State::Dead(reason) => format!("{}; {}", words::outcome(story.outcome), words::dead_reason(reason)),
        State::Succeeded if job.unpublished => "its result is not yet at its destination".into(),
        State::Running { .. } if job.cancelling => "is being cancelled".into(),
        State::Ready | State::Reserved { .. } | State::Running { .. } | State::Succeeded | State::Cancelled => {
            String::new()
        }
    };
    let key = story.key.as_deref().map_or_else(|| "-".into(), |key| cut(&plain(key), layout.key_columns_max));
    let cells = [
        Some(Cell::number(id.0)),
        Some(Cell::text(plain(past.machine.queue_name(job.queue)))),
        Some(Cell::text(key)),
        Some(Cell::state(state)),
        layout.priority.then(|| Cell::signed(job.priority.into())),
        Some(Cell::number(job.attempt.into())),
        Some(Cell::whole(moment(story.changed_at))),
        Some(Cell::text(remark)),
    ];
    cells.into_iter().flatten().collect()
}
