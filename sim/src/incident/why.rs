//! Why a job is where it is: what it waits for, as the Machine knows it.
//!
//! **Invariant.** Said from the state alone, at the moment at which it is asked.

use super::words;
use sprag_core::{Ending, Job, JobId, Machine, Now, Phase, Space, State, StopLevel, Volatile};

/// Where a job is and what it waits for, in a sentence.
pub fn why(machine: &Machine, now: Now, id: JobId) -> String {
    let Some(job) = machine.job(id) else {
        let known = id <= machine.last_job() && id.0 > 0;
        return if known { format!("job {} is forgotten", id.0) } else { format!("job {} has not come yet", id.0) };
    };
    let text = match job.state {
        State::Scheduled { wake: Some(wake), .. } => {
            format!("is scheduled: it waits for {} ms more", wake.0.saturating_sub(now.mono.0))
        }
        State::Scheduled { due, wake: None } => {
            format!("is scheduled for a moment by the calendar, in {} ms", due.0.saturating_sub(now.wall.0))
        }
        State::Ready => format!("is ready: {}", what_ready_waits_for(machine, now, job)),
        State::Reserved { .. } => "is ready, and its next attempt is on record ahead of a free place".into(),
        State::Running { .. } => running(machine, now, id),
        State::Succeeded if job.unpublished => "has succeeded, and its result is not yet at its destination".into(),
        State::Succeeded => "has succeeded".into(),
        State::Dead(reason) => format!("is dead: {reason:?}"),
        State::Cancelled => "is cancelled".into(),
    };
    let Job { attempt, failures, crashes, .. } = job;
    format!("job {} {text}. Attempts so far {attempt}, failed {failures}, ended by a death of sprag {crashes}", id.0)
}

fn what_ready_waits_for(machine: &Machine, now: Now, job: &Job) -> String {
    let name = words::queue(machine, job.queue);
    let volatile = machine.volatile();
    if let Some(queue) = machine.queues().find(|queue| queue.name == name) {
        if !queue.configured {
            return format!("its queue {name} is not in the configuration");
        }
        if queue.paused {
            return format!("its queue {name} is paused");
        }
    }
    if volatile.stopping > StopLevel::Run {
        return "sprag is about to end, and starts nothing".into();
    }
    if volatile.space == Space::Full {
        return "the disk is full, and nothing starts".into();
    }
    if let Some(until) = volatile.starts_held_until {
        return format!(
            "the system was short of processes or memory; starts are held for {} ms",
            until.0.saturating_sub(now.mono.0)
        );
    }
    let busy = |(_, run): &&(JobId, sprag_core::Run)| run.attempt.queue == job.queue && run.phase != Phase::Reserved;
    let holders: Vec<String> =
        volatile.attempts.iter().filter(busy).map(|(holder, _)| format!("job {}", holder.0)).collect();
    match holders.as_slice() {
        [] => "nothing of its queue is under way; places over all queues may be taken".into(),
        holders => format!("for a place in {name}, held by {}", holders.join(", ")),
    }
}

fn running(machine: &Machine, now: Now, id: JobId) -> String {
    let volatile: Volatile = machine.volatile();
    let Some((_, run)) = volatile.attempts.iter().find(|(job, _)| *job == id) else { return "runs".into() };
    let since_ms = now.mono.0.saturating_sub(run.since.0);
    let next =
        run.timer.map_or(String::new(), |at| format!("; looked at again in {} ms", at.0.saturating_sub(now.mono.0)));
    let why = |ending: Ending| match ending {
        Ending::Itself => "it ended by itself",
        Ending::Timeout => "its time was over",
        Ending::Cancel => "it was cancelled",
        Ending::Stop => "sprag stops",
    };
    match run.phase {
        Phase::Reserved => "has a reservation".into(),
        Phase::Granted => format!(
            "is to start: it waits until record {} is durable (durable so far: {})",
            run.attempt.fence.0, volatile.durable.0
        ),
        Phase::Starting => format!("is being started, for {since_ms} ms"),
        Phase::Running => format!("runs, for {since_ms} ms{next}"),
        Phase::Terminating(ending) => format!("runs and was asked to end ({}){next}", why(ending)),
        Phase::Killing(ending) => format!("was killed ({}), and its end is waited for{next}", why(ending)),
        Phase::Lingering { outcome, .. } => {
            format!("has ended ({outcome:?}), but is not proved dead: something of it may be alive{next}")
        }
        Phase::Leftover { executed } => {
            let executed = if executed { "was executed" } else { "may have been executed" };
            format!("is left over from an earlier life of sprag: it {executed}, and is not proved dead{next}")
        }
    }
}
