//! What is judged while a run goes on: decisions, what is told, publishing; and what a driver waits for.
//!
//! **Invariant.** Nothing here has an effect on sprag but through the world's own events.

use crate::failure::Check;
use crate::marks::Mark;
use crate::oracle::Deciding;
use crate::world::World;
use sprag_core::Verdict;
use sprag_runtime::driver::{Driver, Happened, Notice};

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

    /// Sprag has opened its journal.
    pub(crate) fn judge_beginning(&mut self) {
        if let Err(failure) = self.oracle.begins(self.durable, &self.fs) {
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
        let steady_wall_ms = self.calendar_is_steady().then(|| self.now().wall.0);
        let now = Deciding { life: self.life, began_us: self.began_us, at_us: self.now_us, steady_wall_ms };
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
