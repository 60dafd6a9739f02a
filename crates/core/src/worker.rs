//! Attempts: who occupies which slot, in which phase, until when.
//!
//! **Invariant.** A job has at most one attempt, an attempt one slot, and both are held until every process of the
//! attempt is proved dead. So two attempts of one job never overlap, and a slot's files have one user.

use crate::ids::{Digest, JobId, QueueId, Slot};
use crate::job::Outcome;
use crate::planted::{Bug, planted};
use crate::time::Mono;
use crate::vocabulary::Attempt;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default)]
pub(crate) struct Workers {
    attempts: BTreeMap<JobId, Run>,
    slots: Slots,
    /// How many attempts of each queue are in which kind of phase, and of all queues.
    counts: Vec<Counts>,
    total: Counts,
    timers: BTreeSet<(Mono, JobId)>,
}

/// Attempts by the kind of their phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Those that occupy a place in their queue: reservations do not.
    pub(crate) busy: u32,
    /// Those that wait to be executed.
    pub(crate) to_start: u32,
    /// Those that may take their time.
    pub(crate) alive: u32,
}

impl Counts {
    fn add(&mut self, phase: Phase, by: i32) {
        let change = |count: &mut u32, counts: bool| {
            if counts {
                let Some(changed) = count.checked_add_signed(by) else { panic!("attempts are counted wrongly") };
                *count = changed;
            }
        };
        change(&mut self.busy, phase.is_busy());
        change(&mut self.to_start, phase.is_to_start());
        change(&mut self.alive, phase.is_alive());
    }
}

/// An attempt and what is going on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Which.
    pub attempt: Attempt,
    /// Where it stands.
    pub phase: Phase,
    /// When it was started.
    pub since: Mono,
    /// When the phase is to be looked at again.
    pub timer: Option<Mono>,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Journaled ahead, not executed.
    Reserved,
    /// To be executed once its record is durable.
    Granted,
    /// Being executed.
    Starting,
    /// Alive.
    Running,
    /// Asked to end.
    Terminating(Ending),
    /// Forced to end.
    Killing(Ending),
    /// Its command exited, but some process of it may be alive.
    Lingering {
        /// How it exited.
        outcome: Outcome,
        /// The result that waits to be published, if there is one.
        result: Option<Digest>,
        /// Why it ended.
        ending: Ending,
    },
    /// From an earlier life of sprag, not proved dead.
    Leftover {
        /// It is known to have been executed.
        executed: bool,
    },
}

/// Why an attempt ended, if sprag ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It ended by itself.
    Itself,
    /// Its time was over.
    Timeout,
    /// Its job was cancelled.
    Cancel,
    /// Sprag stops.
    Stop,
}

impl Workers {
    pub(crate) fn get(&self, job: JobId) -> Option<&Run> {
        self.attempts.get(&job)
    }

    /// The attempt if it is the one meant: an answer that comes late is nobody's.
    pub(crate) fn current(&self, job: JobId, number: u32) -> Option<Run> {
        self.attempts.get(&job).filter(|run| run.attempt.number == number || planted(Bug::FenceIgnored)).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, &Run)> {
        self.attempts.iter().map(|(job, run)| (*job, run))
    }

    pub(crate) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// The lowest slot that nobody holds.
    pub(crate) fn free_slot(&self) -> Option<Slot> {
        self.slots.lowest_free()
    }

    pub(crate) fn holds(&self, slot: Slot) -> bool {
        self.slots.has(slot)
    }

    /// The attempts of a queue.
    pub(crate) fn counts(&self, queue: QueueId) -> Counts {
        self.counts.get(usize::from(queue.0)).copied().unwrap_or_default()
    }

    /// The attempts of all queues.
    pub(crate) fn total(&self) -> Counts {
        self.total
    }

    /// Puts an attempt that is known where it stood, timers included. False for one that is not known.
    pub(crate) fn assume(&mut self, job: JobId, run: Run) -> bool {
        let known = self.attempts.get(&job).is_some_and(|known| known.attempt == run.attempt);
        if known {
            self.set(job, run.phase, run.timer);
            self.set_since(job, run.since);
        }
        known
    }

    /// A new attempt takes its slot.
    pub(crate) fn insert(&mut self, job: JobId, attempt: Attempt, phase: Phase) {
        assert!(!self.slots.has(attempt.slot), "slot {} was given to job {} while taken", attempt.slot.0, job.0);
        self.slots.flip(attempt.slot);
        let old = self.attempts.insert(job, Run { attempt, phase, since: Mono(0), timer: None });
        assert!(old.is_none(), "job {} got a second attempt beside a live one", job.0);
        self.count(attempt.queue, phase, 1);
    }

    /// The attempt is over: its slot is free.
    pub(crate) fn remove(&mut self, job: JobId) -> Option<Run> {
        let run = self.attempts.remove(&job)?;
        self.slots.flip(run.attempt.slot);
        self.disarm(job, run.timer);
        self.count(run.attempt.queue, run.phase, -1);
        Some(run)
    }

    /// Moves the attempt to another phase, to be looked at again at `timer`.
    pub(crate) fn set(&mut self, job: JobId, phase: Phase, timer: Option<Mono>) {
        let Some(run) = self.attempts.get_mut(&job) else { return };
        let (old_phase, old_timer, queue) = (run.phase, run.timer, run.attempt.queue);
        run.phase = phase;
        run.timer = timer;
        self.disarm(job, old_timer);
        self.timers.extend(timer.map(|at| (at, job)));
        self.count(queue, old_phase, -1);
        self.count(queue, phase, 1);
    }

    pub(crate) fn set_since(&mut self, job: JobId, since: Mono) {
        if let Some(run) = self.attempts.get_mut(&job) {
            run.since = since;
        }
    }

    /// The machine slept: what a command is given time for it is given so much longer.
    pub(crate) fn slept(&mut self, ms: u64) {
        for (job, run) in &mut self.attempts {
            if let Some(at) = run.timer.filter(|_| run.phase.is_alive()) {
                self.timers.remove(&(at, *job));
                let later = at.after(ms);
                run.timer = Some(later);
                self.timers.insert((later, *job));
            }
        }
    }

    /// An attempt whose time has come to be looked at.
    pub(crate) fn due(&self, now: Mono) -> Option<JobId> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, job)| *job)
    }

    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn disarm(&mut self, job: JobId, timer: Option<Mono>) {
        if let Some(at) = timer {
            self.timers.remove(&(at, job));
        }
    }

    fn count(&mut self, queue: QueueId, phase: Phase, by: i32) {
        let at = usize::from(queue.0);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, Counts::default());
        }
        self.counts[at].add(phase, by);
        trim(&mut self.counts);
        self.total.add(phase, by);
    }
}

/// Takes off what says nothing, so that one state has one form.
fn trim<T: Default + PartialEq>(list: &mut Vec<T>) {
    while list.last().is_some_and(|last| *last == T::default()) {
        list.pop();
    }
}

/// Which slots are taken: a bit for each.
#[derive(Clone, Debug, Default)]
struct Slots(Vec<u64>);

impl Slots {
    fn has(&self, slot: Slot) -> bool {
        self.0.get(usize::from(slot.0 / 64)).is_some_and(|word| word >> (slot.0 % 64) & 1 == 1)
    }

    /// Takes the slot, or gives it back.
    fn flip(&mut self, slot: Slot) {
        let at = usize::from(slot.0 / 64);
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] ^= 1 << (slot.0 % 64);
        trim(&mut self.0);
    }

    fn lowest_free(&self) -> Option<Slot> {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        let taken = self.0.get(full).map_or(0, |word| word.trailing_ones());
        u16::try_from(64 * full + taken as usize).ok().filter(|slot| *slot < u16::MAX).map(Slot)
    }
}

impl Phase {
    /// Whether it occupies a place in its queue.
    pub(crate) fn is_busy(self) -> bool {
        match self {
            Phase::Reserved => false,
            Phase::Granted
            | Phase::Starting
            | Phase::Running
            | Phase::Terminating(_)
            | Phase::Killing(_)
            | Phase::Lingering { .. }
            | Phase::Leftover { .. } => true,
        }
    }

    /// Whether it waits to be executed.
    pub(crate) fn is_to_start(self) -> bool {
        match self {
            Phase::Granted | Phase::Starting => true,
            Phase::Reserved
            | Phase::Running
            | Phase::Terminating(_)
            | Phase::Killing(_)
            | Phase::Lingering { .. }
            | Phase::Leftover { .. } => false,
        }
    }

    /// Whether waiting for it is in order: a live command may take as long as its timeout allows.
    pub(crate) fn is_alive(self) -> bool {
        match self {
            Phase::Running | Phase::Terminating(_) => true,
            Phase::Reserved
            | Phase::Granted
            | Phase::Starting
            | Phase::Killing(_)
            | Phase::Lingering { .. }
            | Phase::Leftover { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_slot_that_is_free_is_given_and_one_state_has_one_form() {
        let mut slots = Slots::default();
        for n in 0..130 {
            assert_eq!(slots.lowest_free(), Some(Slot(n)));
            slots.flip(Slot(n));
        }
        [100, 64, 3].into_iter().for_each(|n| slots.flip(Slot(n)));
        assert!(!slots.has(Slot(64)) && slots.has(Slot(65)) && !slots.has(Slot(130)));
        for n in [3, 64, 100, 130] {
            assert_eq!(slots.lowest_free(), Some(Slot(n)));
            slots.flip(Slot(n));
        }
        (0..131).for_each(|n| slots.flip(Slot(n)));
        assert_eq!((slots.0.len(), slots.lowest_free()), (0, Some(Slot(0))));
    }

    #[test]
    fn there_are_no_more_slots_than_numbers() {
        let mut slots = Slots::default();
        (0..u16::MAX).for_each(|n| slots.flip(Slot(n)));
        assert_eq!(slots.lowest_free(), None);
    }
}
