//! How a run comes to its end.
//!
//! **Invariant.** Every run ends: when nothing goes wrong and no file changes any more, sprag is idle within a bounded time,
//! stays so, stops when asked, and is judged; whatever it does instead is a failure.

use super::{Phase, Run};
use crate::failure::Check;
use crate::places::{Actor, Site};
use crate::settled::waits_for;
use crate::trace::Kind;
use crate::world::{Due, End, Starts};
use sprag_core::StopLevel;
use sprag_runtime::driver::Event;

/// No run has more steps; one that would does not come to rest.
const STEPS_MAX: u32 = 200_000;
/// So long after the last change and the last fault sprag must be idle and have stayed so: two looks at every source.
const SETTLE_US: u64 = 11_000_000;
/// So long after the last change and the last fault it must be idle at last.
const IDLE_WITHIN_US: u64 = 300_000_000;
/// So long after it was asked to it must have stopped.
const STOP_WITHIN_US: u64 = 30_000_000;

impl Run {
    /// A life is over.
    pub(crate) fn bury(&mut self, end: End) {
        self.driver = None;
        self.tick = None;
        self.idle = false;
        self.shared.end_life();
        {
            let mut world = self.shared.world.borrow_mut();
            world.ending = None;
            world.starts = Starts::Free;
            world.note(Actor::World, Kind::World, format_args!("sprag is gone: {end:?}"));
            if end == End::PowerCut {
                world.reboot();
            }
            world.judge_recording(end);
        }
        let again = match self.phase {
            Phase::Open => true,
            Phase::Stopping { .. } => self.judge(),
            Phase::Again => {
                self.phase = Phase::Over;
                false
            }
            Phase::Over => false,
        };
        if again {
            let mut world = self.shared.world.borrow_mut();
            let delay_us = world.chance.span(Actor::World, Site::RestartDelay, 1_000, 2_000_000);
            world.schedule(delay_us, Due::Open);
        }
    }

    /// The verdict, on what is durable. True when sprag is to be started once more, to find nothing to do.
    fn judge(&mut self) -> bool {
        let mut world = self.shared.world.borrow_mut();
        let (durable, files) = (world.fs.draw(&mut |_| 1), world.fs.cached());
        if let Err(failure) = world.oracle.judge(&durable, &files, &world.pipeline, &world.producers, &world.client) {
            world.fail(failure);
        }
        self.executions = world.oracle.executions.len();
        let again = world.chance.one_in(Actor::World, Site::LifeEnd, 8);
        self.phase = if again { Phase::Again } else { Phase::Over };
        again
    }

    /// Sees to it that the run ends, one way or the other.
    pub(crate) fn watch_the_end(&mut self) {
        let mut world = self.shared.world.borrow_mut();
        if world.trace.count() > STEPS_MAX {
            world.fail(Check::ComesToRest.failed(format!("does not come to rest in {STEPS_MAX} steps")));
        }
        let written = world.producers.iter().all(|producer| producer.is_done());
        let settled = world.healed_us.is_some() && written && world.client.is_done();
        if !settled {
            return;
        }
        let (now_us, life) = (world.now_us, world.life);
        // Who is stopped can do nothing about it.
        let since_us = (*self.settled_us.get_or_insert(now_us)).max(world.frozen_until_us) + self.rest_us;
        match self.phase {
            Phase::Open if self.idle && now_us >= since_us + SETTLE_US => {
                world.judge_services();
                self.phase = Phase::Stopping { since_us: now_us };
                world.schedule(1, Due::Heard { life, event: Event::Stop(StopLevel::Drain) });
            }
            Phase::Open if now_us > since_us + IDLE_WITHIN_US => {
                let what = self.driver.as_ref().map(|driver| waits_for(driver, world.now())).unwrap_or_default();
                let within_s = IDLE_WITHIN_US / 1_000_000;
                let what = format!("is not idle {within_s} s after the last fault and change: {what}");
                world.fail(Check::BecomesIdle.failed(what));
            }
            Phase::Stopping { since_us } if now_us > since_us + STOP_WITHIN_US => {
                let what = format!("has not stopped after {} s", STOP_WITHIN_US / 1_000_000);
                world.fail(Check::Stops.failed(what));
            }
            Phase::Again if self.idle => {
                self.phase = Phase::Over;
                if world.oracle.executions.len() != self.executions {
                    let what = "executes something when started again, though nothing was left to do";
                    world.fail(Check::NothingLeft.failed(what));
                }
            }
            Phase::Again if now_us > since_us + 2 * IDLE_WITHIN_US => {
                world.fail(Check::BecomesIdle.failed("is not idle when started again"));
            }
            Phase::Open | Phase::Stopping { .. } | Phase::Again | Phase::Over => {}
        }
    }
}
