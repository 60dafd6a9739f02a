//! Whether what is due is done in time: starts of jobs for which there is a place.
//!
//! **Invariant.** A job is late only when it might have started all the while: no pause, no place taken, nothing that went wrong
//! before the world was calm. Who never starts at all is no business of this: then sprag does not become idle.

use super::Deciding;
use super::records::Record;
use crate::failure::{Check, Failure};
use crate::plan::AGAIN_MS;
use std::collections::BTreeMap;

/// What is due may come so much later, in microseconds: a few syncs and hand-overs.
pub const SLACK_US: u64 = 200_000;
/// A start as well waits until a death is proved, which is tried again after so long.
const START_SLACK_US: u64 = SLACK_US + 1_000 * AGAIN_MS;

/// Jobs that may start, and when there was no place for them.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Since when a job may start.
    due_us: BTreeMap<u64, u64>,
    /// When a queue was last full, or paused.
    closed_us: BTreeMap<String, u64>,
    /// When all places were last taken.
    full_us: u64,
    /// When a process of an execution was last gone without sprag hearing of it.
    gone_us: BTreeMap<usize, u64>,
}

impl Places {
    /// Sprag decides something of a job or a queue.
    pub(super) fn decides(&mut self, record: &Record, now: Deciding) {
        let Some(job) = record.job else {
            return self.closed(record.queue.as_deref().unwrap_or_default(), now.at_us);
        };
        let again = matches!(record.next.as_deref(), Some("retry" | "again" | "unused"));
        match record.kind.as_str() {
            "finished" => self.is_due(job, record, now, again),
            "added" | "redriven" => self.is_due(job, record, now, true),
            "cancelled" => _ = self.due_us.remove(&job),
            _ => {}
        }
    }

    /// Its time comes as long after it was decided on as the calendar says, if that did not jump meanwhile.
    fn is_due(&mut self, job: u64, record: &Record, now: Deciding, starts: bool) {
        let waits_us = record.due.map_or(0, |due| due.saturating_sub(record.at) * 1000);
        match now.steady_wall_ms {
            Some(_) if starts => _ = self.due_us.insert(job, now.at_us + waits_us),
            Some(_) | None => _ = self.due_us.remove(&job),
        }
    }

    /// Until now a queue was full, or it was paused.
    pub(super) fn closed(&mut self, queue: &str, at_us: u64) {
        self.closed_us.insert(queue.to_owned(), at_us);
    }

    /// A process of this execution is gone, and sprag has to look.
    pub(super) fn gone(&mut self, execution: usize, at_us: u64) {
        self.gone_us.insert(execution, at_us);
    }

    /// Executions whose proof may still be to come.
    pub(super) fn lately_gone(&self, now_us: u64) -> impl Iterator<Item = usize> {
        let lately = self.gone_us.iter().filter(move |(_, gone_us)| now_us <= **gone_us + 1_000 * AGAIN_MS);
        lately.map(|(execution, _)| *execution)
    }

    /// Until now all places were taken.
    pub(super) fn full(&mut self, at_us: u64) {
        self.full_us = at_us;
    }

    /// A command is executed for a job. Since `calm_us`, if that has come, nothing goes wrong.
    pub(super) fn starts(&mut self, job: u64, queue: &str, at_us: u64, calm_us: Option<u64>) -> Result<(), Failure> {
        let due_us = self.due_us.remove(&job);
        let (Some(due_us), Some(calm_us)) = (due_us, calm_us) else { return Ok(()) };
        let open_us = self.closed_us.get(queue).copied().unwrap_or(0).max(self.full_us);
        let since_us = due_us.max(open_us).max(calm_us);
        if at_us <= since_us + START_SLACK_US {
            return Ok(());
        }
        let late_ms = (at_us - since_us) / 1000;
        Err(Check::IsPunctual.failed(format!("job {job} starts {late_ms} ms after it could, and nothing is wrong")))
    }
}
