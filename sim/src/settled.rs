//! What is judged while a run goes on: decisions, what is told, publishing; and what a driver waits for.
//!
//! **Invariant.** Nothing here has an effect on sprag but through the world's own events.

use crate::failure::{Check, Failure};
use crate::incident::{self, Recorded};
use crate::marks::Mark;
use crate::oracle::{Deciding, judge_bare};
use crate::world::{End, Starts, World};
use sprag_core::Verdict;
use sprag_runtime::driver::{Committed, Driver, Event, Happened, Notice};
use sprag_runtime::task::Task;

/// So often a result may fail to be put at its destination after the last fault.
const PUBLISH_FAILURES_MAX: u32 = 3;

/// At each turn whose step is a multiple of this it is asked who waits for what.
const WAITS_EVERY: u32 = 16;

/// So long sprag has nothing to do before it is asked what it keeps: it looks at the disk each second, and tries again after 5 s.
const REST_US: u64 = 30_000_000;
/// With less than this nothing can be expected to be written.
pub(crate) const ROOM_FOR_A_SNAPSHOT: u64 = 24 << 10;

impl World {
    /// Where nothing goes wrong any more, a result on record is put at its destination: at the latest when tried again.
    pub(crate) fn judge_publishing(&mut self, notice: &Notice) {
        let Notice::PublishFailed { job, what } = notice else { return };
        if self.healed_us.is_none() {
            return;
        }
        let failures = self.unpublished.entry(job.0).or_insert(0);
        *failures += 1;
        if *failures >= PUBLISH_FAILURES_MAX {
            let what = format!("the result of job {} cannot be put at its destination: {what}", job.0);
            self.fail(Check::ResultStands.failed(what));
        }
    }

    /// A result is published once, and a source that nothing was heard of is not looked at over and over.
    pub(crate) fn judge_task(&mut self, task: &Task) {
        if let Task::Publish { job, .. } = task
            && self.oracle.has_said_published(job.0)
        {
            let what = format!("job {} is published once more: who took its result away gets it again", job.0);
            self.fail(Check::ResultStands.failed(what));
        }
        let now_us = self.now_us;
        if let Some((source, first)) = self.pending.wants(task, now_us) {
            self.hurry(source, first);
        }
        if let Some(source) = self.pending.spins() {
            let what = format!("looks at source {source} again and again, and nothing was heard of it");
            self.fail(Check::NoBusyLoop.failed(what));
        }
    }

    /// With the answer to a frame none is in flight.
    pub(crate) fn journal_heard(&mut self, event: &Event) {
        let Event::Journal(committed) = event else { return };
        match committed {
            Committed::NotRecorded { .. } => {}
            Committed::Frame { end, .. } => {
                self.in_flight = None;
                self.judge_durable(end.seq);
            }
            Committed::Room(true) => (self.in_flight, self.roomy_us) = (None, self.now_us),
            Committed::Refused { .. } | Committed::Room(false) | Committed::Failed { .. } => self.in_flight = None,
        }
    }

    /// Asks who waits for what: an edge that leads back to the loop is a panic there. Not at each turn: to tell takes time.
    pub(crate) fn judge_waits(&self, driver: &Driver, now: sprag_core::Now) {
        if self.trace.count().is_multiple_of(WAITS_EVERY) {
            drop(driver.waits(now));
        }
    }

    /// Room was short for as long as sprag needs to make some, and it had nothing else to do: then all that it knows stands in
    /// one snapshot, and nothing lies before that.
    pub(crate) fn judge_short(&mut self) {
        let room = self.fs.room_now();
        let short = room < self.pipeline.disk.min_free_bytes(0) && room >= ROOM_FOR_A_SNAPSHOT;
        let since_us = self.began_us.max(self.decided_us).max(self.frozen_until_us);
        if !short || self.threads.is_none() || self.stopping || self.now_us < since_us + REST_US {
            return;
        }
        self.mark(Mark::ShortAtRest);
        if let Err(failure) = judge_bare(&self.fs.cached()) {
            self.fail(Failure { what: format!("room is short, {room} bytes: {}", failure.what), ..failure });
        }
    }

    /// What was recorded of the life that is over leads to the same decisions. Whoever kills sprag takes nothing from it; a power
    /// cut may, since nothing of it is synced.
    pub(crate) fn judge_recording(&mut self, end: End) {
        let Some(recorded) = self.recorded else { return };
        let whole = recorded.whole && end != End::PowerCut;
        let state = self.pipeline.state().path().to_owned();
        match incident::judge(&self.fs.copied(&state), &state, Recorded { whole, ..recorded }) {
            Ok(segments) => {
                self.mark_if(whole && segments > 0, Mark::RecordedWhole);
                self.mark_if(segments > 1, Mark::RecordedInParts);
            }
            Err(what) => self.fail(Check::IncidentReplays.failed(what)),
        }
    }

    /// Sprag has opened its journal.
    pub(crate) fn judge_beginning(&mut self) {
        if let Err(failure) = self.oracle.begins(self.durable, &self.fs, &self.pipeline) {
            self.fail(failure);
        }
    }

    /// Sprag hears that its records are durable up to this one.
    pub(crate) fn judge_durable(&mut self, through: u64) {
        self.durable = through;
        if let Err(failure) = self.oracle.durable(through, &self.pipeline) {
            self.fail(failure);
        }
    }

    /// Sprag hands records to its journal.
    pub(crate) fn judge_decisions(&mut self, lines: &[u8]) {
        self.decided_us = self.now_us;
        let steady_wall_ms = self.calendar_is_steady().then(|| self.now().wall.0);
        // The room may have come back just now, before sprag has measured it.
        let no_start_after = match self.starts {
            Starts::HeldAfter(seq) if self.squeezed.is_some() => Some(seq),
            Starts::Free | Starts::Hold | Starts::HeldAfter(_) => None,
        };
        let (life, began_us, at_us) = (self.life, self.began_us, self.now_us);
        let now = Deciding { life, began_us, at_us, steady_wall_ms, no_start_after };
        let ends = b"\"type\":\"finished\"";
        self.mark_if(
            self.squeezed.is_some() && lines.windows(ends.len()).any(|part| part == ends),
            Mark::FullAtCompletion,
        );
        match self.oracle.decides(lines, now, &self.producers) {
            Ok(0) => {}
            Ok(_) => self.mark(Mark::KeyLetGo),
            Err(failure) => self.fail(failure),
        }
    }

    /// Sprag tells whoever listens.
    pub(crate) fn judge_told(&mut self, happened: &[Happened]) {
        for event in happened {
            if let Err(failure) = self.oracle.tells(&event.line(), self.durable) {
                return self.fail(failure);
            }
        }
    }
}

/// What a driver says that it waits for.
pub(crate) fn waits_for(driver: &Driver, now: sprag_core::Now) -> String {
    let open: u64 = driver.machine().queues().map(|queue| queue.counts.open()).sum();
    let verdict = match driver.machine().verdict(now) {
        Verdict::Well => "all well".to_owned(),
        Verdict::Degraded(reasons) | Verdict::Stalled(reasons) => driver.reason_texts(&reasons).join("; "),
    };
    format!("{open} jobs are open; health: {verdict}")
}
