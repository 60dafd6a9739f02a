//! What is judged while a run goes on: health, publishing, and what a driver waits for; and who hurries when it starts.
//!
//! **Invariant.** Nothing here has an effect on sprag but through the world's own events.

use crate::failure::Check;
use crate::fs::SimFs;
use crate::incident;
use crate::marks::Mark;
use crate::places::{Actor, Site};
use crate::world::{Due, End, World};
use sprag_core::Verdict;
use sprag_runtime::driver::{Committed, Driver, Event, Notice};

/// Health may be so much behind.
const HEALTH_LATE_US: u64 = 10_000;
/// So often a result may fail to be put at its destination after the last fault.
const PUBLISH_FAILURES_MAX: u32 = 3;

/// At each turn whose step is a multiple of this it is asked who waits for what.
const WAITS_EVERY: u32 = 16;

impl World {
    /// Sprag starts: some producers go on just then, when it looks for the first time and is not yet watching.
    pub fn hurry(&mut self) {
        for index in 0..self.producers.len() {
            let actor = Actor::Producer(index as u8);
            let next = self.heap.iter().find(|(_, entry)| matches!(entry.due, Due::Producer(of) if of == index));
            let next = next.map(|(key, _)| *key);
            if let Some(key) = next.filter(|_| self.chance.one_in(actor, Site::Hurry, 4))
                && let Some(entry) = self.heap.remove(&key)
            {
                let at_us = self.now_us + self.chance.span(actor, Site::Hurry, 100, 10_000);
                self.heap.insert((at_us.min(key.0), key.1), entry);
            }
        }
    }

    /// Where nothing goes wrong any more, a result on record is put at its destination: at the latest when tried again.
    pub(crate) fn judge_publishing(&mut self, notice: &Notice) {
        let Notice::PublishFailed { job, what } = notice else { return };
        if !self.healed {
            return;
        }
        let failures = self.unpublished.entry(job.0).or_insert(0);
        *failures += 1;
        if *failures >= PUBLISH_FAILURES_MAX {
            let what = format!("the result of job {} cannot be put at its destination: {what}", job.0);
            self.fail(Check::ResultStands.failed(what));
        }
    }

    /// With the answer to a frame none is in flight.
    pub(crate) fn journal_heard(&mut self, event: &Event) {
        match event {
            Event::Journal(Committed::NotRecorded { .. }) => {}
            Event::Journal(_) => self.in_flight = None,
            _ => {}
        }
    }

    /// Asks who waits for what: an edge that leads back to the loop is a panic there. Not at each turn: to tell takes time.
    pub(crate) fn judge_waits(&self, driver: &Driver, now: sprag_core::Now) {
        if self.trace.count().is_multiple_of(WAITS_EVERY) {
            drop(driver.waits(now));
        }
    }

    /// What was recorded of the life that is over leads to the same decisions. Whoever kills sprag takes nothing from it; a power
    /// cut may, since nothing of it is synced.
    pub(crate) fn judge_recording(&mut self, end: End) {
        let Some((epoch, whole)) = self.recorded else { return };
        let whole = whole && end != End::PowerCut;
        let fs = SimFs::boot(&self.fs.cached());
        match incident::judge(&fs, self.pipeline.state().path(), epoch, whole) {
            Ok(segments) => {
                self.mark_if(whole && segments > 0, Mark::RecordedWhole);
                self.mark_if(segments > 1, Mark::RecordedInParts);
            }
            Err(what) => self.fail(Check::IncidentReplays.failed(what)),
        }
    }

    /// A frame that does not come back for longer than a stall is one.
    pub(crate) fn judge_health(&mut self, verdict: &Verdict) {
        let stall_us = self.pipeline.limits.stall_ms * 1000;
        let since_us = self.in_flight.filter(|(_, records)| *records > 0).map(|(since_us, _)| since_us);
        let stuck = since_us.is_some_and(|since_us| self.now_us >= since_us + stall_us + HEALTH_LATE_US);
        if stuck && !matches!(verdict, Verdict::Stalled(_)) {
            self.fail(Check::HealthIsTrue.failed(format!("the journal is stuck, and health says {verdict:?}")));
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
