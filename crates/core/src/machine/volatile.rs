//! What a Machine knows for one life only, as a value: with the fold of the journal it is the whole Machine again.
//!
//! **Invariant.** The fold of the records up to one, with the [`Volatile`] that was taken right after that record, is the Machine
//! of that moment, to the last field: whatever it is told from then on, it decides the same. Each field of the Machine is
//! named here, so a new one cannot be passed over.

use super::Machine;
use crate::health::Health;
use crate::ids::{JobId, QueueId, Seq};
use crate::job::State;
use crate::planted::{Bug, planted};
use crate::time::Mono;
use crate::vocabulary::{Output, Space, StopLevel};
use crate::worker::{Phase, Run};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What no record holds: clocks, timers, what waits for a record, what was told of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volatile {
    /// The last record known to be durable.
    pub durable: Seq,
    /// What waits for a record to become durable.
    pub withheld: Vec<(Seq, Output)>,
    /// How far the end of the program has come.
    pub stopping: StopLevel,
    /// That nothing is alive any more was said.
    pub stopped: bool,
    /// How much room the disk has.
    pub space: Space,
    /// When a queue may start again after the system ran out of resources.
    pub starts_held_until: Option<Mono>,
    /// Queues whose last attempt was short.
    pub short: BTreeSet<QueueId>,
    /// Jobs that wait for their time; until when, if by elapsed time. For any other that the records leave waiting it has
    /// come: that is no record.
    pub scheduled: Vec<(JobId, Option<Mono>)>,
    /// Every attempt that holds a slot.
    pub attempts: Vec<(JobId, Run)>,
    /// Results that could not be put at their destination, and when that is tried again. All others are under way.
    pub publish_again: Vec<(JobId, Mono)>,
    /// What health is judged from.
    pub health: Health,
}

impl Machine {
    /// How many things a [`Volatile`] would hold.
    pub fn volatile_len(&self) -> usize {
        self.queues.scheduled_len() + self.workers.len() + self.withheld.len() + self.publishing.len()
    }

    /// What no record holds. All outputs must have been taken.
    pub fn volatile(&self) -> Volatile {
        let Machine {
            // By the configuration and the records alone:
            config: _,
            jobs: _,
            keys: _,
            forgotten: _,
            ended: _,
            last_job: _,
            last_seq: _,
            replayed_discards: _,
            queues,
            workers,
            health,
            publishing,
            durable,
            withheld,
            outputs,
            stopping,
            stopped,
            space,
            starts_held_until,
            short,
        } = self;
        assert!(outputs.is_empty(), "a Machine is written down in the middle of something");
        Volatile {
            durable: *durable,
            withheld: withheld.iter().cloned().collect(),
            stopping: *stopping,
            stopped: *stopped,
            space: *space,
            starts_held_until: starts_held_until.filter(|_| !planted(Bug::VolatileForgotten)),
            short: if planted(Bug::VolatileForgotten) { BTreeSet::new() } else { short.clone() },
            scheduled: queues.scheduled().collect(),
            attempts: workers.iter().map(|(job, run)| (job, *run)).collect(),
            publish_again: publishing.waiting().collect(),
            health: health.clone(),
        }
    }

    /// Makes a Machine into which the records up to that moment were replayed the one that this was taken from. Its queues
    /// must have been named in the same order before.
    ///
    /// # Errors
    /// It belongs to other records than those.
    pub fn assume(&mut self, volatile: Volatile) -> Result<(), &'static str> {
        let Volatile {
            durable,
            withheld,
            stopping,
            stopped,
            space,
            starts_held_until,
            short,
            scheduled,
            attempts,
            publish_again,
            health,
        } = volatile;
        if attempts.len() != self.workers.len() {
            return Err("other attempts are under way");
        }
        let by_record: Vec<JobId> = self.queues.scheduled().map(|(job, _)| job).collect();
        let mut still: BTreeMap<JobId, Option<Mono>> = scheduled.into_iter().collect();
        for job in by_record {
            let Some(State::Scheduled { due, .. }) = self.jobs.get(job).map(|job| job.state) else { continue };
            let state = still.remove(&job).map_or(State::Ready, |wake| State::Scheduled { due, wake });
            self.enter_state(job, state);
        }
        if !still.is_empty() {
            return Err("a job waits that does not");
        }
        for (job, run) in attempts {
            if !self.workers.assume(job, run) {
                return Err("an attempt is under way that is not");
            }
            let slot = run.attempt.slot;
            let state = if run.phase == Phase::Reserved { State::Reserved { slot } } else { State::Running { slot } };
            self.enter_state(job, state);
        }
        for (job, again) in publish_again {
            if !self.publishing.failed(job, again) {
                return Err("a result waits that does not");
            }
        }
        self.replayed_discards.clear();
        (self.durable, self.withheld) = (durable, withheld.into());
        (self.stopping, self.stopped, self.space) = (stopping, stopped, space);
        (self.starts_held_until, self.short, self.health) = (starts_held_until, short, health);
        Ok(())
    }
}
