//! Whether anything is left to do, and what holds it up when nothing that is left can be done.
//!
//! **Invariant.** Idle is said when all was at rest and every source was then read once more without anything new. What can
//! hold that up for ever (a source that cannot be taken, a result that cannot be put where it belongs) is named at once,
//! and given up when it has not changed for [`HELD_UP_MS`].

use super::{Driver, Effect};
use sprag_core::{Mono, Now};

/// What holds everything up is given up after so long without a change. Longer than two looks at a source, so that a file
/// which is being written gets its time.
pub const HELD_UP_MS: u64 = 10_000;
/// Every source is read once more when all is still at rest after so long: who adds one job after the other shall not have
/// all of them read each time.
const REST_MS: u64 = 50;

#[derive(Debug)]
pub(super) struct Idle {
    check: Check,
    held: Option<Held>,
}

/// How far the proof has come that nothing is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Something waits or runs, or did a moment ago. What is at rest then is looked at.
    Busy { until: Option<Mono> },
    /// All was at rest; every source is read once more.
    Looking,
    /// Said so.
    Idle,
}

/// What holds everything up.
#[derive(Debug)]
struct Held {
    by: Vec<String>,
    /// When it is given up; none once it was.
    until: Option<Mono>,
}

impl Idle {
    pub(super) fn new() -> Idle {
        // The first rest is looked at at once: there may be nothing to do at all.
        Idle { check: Check::Busy { until: Some(Mono(0)) }, held: None }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let look = match self.check {
            Check::Busy { until } => until,
            Check::Looking | Check::Idle => None,
        };
        look.into_iter().chain(self.held.as_ref().and_then(|held| held.until)).min()
    }
}

impl Driver {
    pub(super) fn check_idle(&mut self, now: Now) {
        let stuck = self.machine.waits_for_destinations_alone();
        let quiet = self.intake.is_quiet() && self.control.is_quiet();
        let at_rest = (self.machine.is_idle() || stuck) && quiet && self.services.oneshots_ended() && self.clear;
        self.idle.check = match self.idle.check {
            // A moment that is near stays, busy or not: a timer is not set anew with every job.
            Check::Busy { until: Some(until) } if until > now.mono => Check::Busy { until: Some(until) },
            Check::Busy { .. } | Check::Looking | Check::Idle if !at_rest => Check::Busy { until: None },
            Check::Busy { until: None } => Check::Busy { until: Some(now.mono.after(REST_MS)) },
            Check::Busy { until: Some(_) } => {
                self.intake.look_again();
                self.look_at_sources(now);
                Check::Looking
            }
            Check::Looking if self.intake.has_looked_again() && !stuck => {
                self.effects.push_back(Effect::Idle);
                Check::Idle
            }
            Check::Looking => Check::Looking,
            Check::Idle => Check::Idle,
        };
        let by = if self.idle.check == Check::Looking { self.holdups() } else { Vec::new() };
        self.hold_up(now, by);
    }

    /// What keeps us from being idle, if every source was looked at again and nothing else does.
    fn holdups(&self) -> Vec<String> {
        let Some(sources) = self.intake.faulty() else { return Vec::new() };
        let faults = sources.into_iter().map(|(index, text)| format!("{}: {text}", self.source_name(index)));
        faults.chain(self.destinations.texts()).collect()
    }

    fn hold_up(&mut self, now: Now, by: Vec<String>) {
        let held = &mut self.idle.held;
        if by.is_empty() {
            *held = None;
        } else if held.as_ref().is_none_or(|held| held.by != by) {
            *held = Some(Held { by: by.clone(), until: Some(now.mono.after(HELD_UP_MS)) });
            self.effects.push_back(Effect::HeldUp { by });
        } else if let Some(held) = held.as_mut().filter(|held| held.until.is_some_and(|until| until <= now.mono)) {
            held.until = None;
            self.effects.push_back(Effect::GivenUp { by });
        }
    }
}
