//! What is judged while a run goes on: health, publishing, and what a driver waits for.
//!
//! **Invariant.** Nothing here has an effect on sprag but through the world's own events.

use crate::failure::Check;
use crate::oracle::Deciding;
use crate::world::World;
use sprag_core::Verdict;
use sprag_runtime::driver::{Driver, Happened, Notice};

/// Health may be so much behind.
const HEALTH_LATE_US: u64 = 10_000;
/// So often a result may fail to be put at its destination after the last fault.
const PUBLISH_FAILURES_MAX: u32 = 3;

impl World {
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

    /// Sprag hands records to its journal.
    pub(crate) fn judge_decisions(&mut self, lines: &[u8]) {
        let steady_wall_ms = self.calendar_is_steady().then(|| self.now().wall.0);
        let now = Deciding { life: self.life, began_us: self.began_us, at_us: self.now_us, steady_wall_ms };
        if let Err(failure) = self.oracle.decides(lines, now, &self.producers) {
            self.fail(failure);
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
