//! What waits, in which order: ready jobs by priority and age, scheduled ones by their time.
//!
//! **Invariant.** A job's number stands in an index exactly when its state says so, and the counts are the number of
//! jobs in each state; [`Queues::leave`] and [`Queues::enter`] are the only writers.

use crate::config::QueueConfig;
use crate::ids::{JobId, QueueId};
use crate::job::{Counts, Job, State};
use crate::planted::{Bug, planted};
use crate::time::{Mono, Now, Wall};
use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};
use core::cmp::Reverse;

#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    queues: Vec<Queue>,
    /// Due by elapsed time.
    delayed: BTreeSet<(Mono, JobId)>,
    /// Due by the calendar.
    appointed: BTreeSet<(Wall, JobId)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) name: Box<str>,
    /// `None` for a queue that stands in the journal but no longer in the configuration: its jobs wait.
    pub(crate) config: Option<QueueConfig>,
    pub(crate) paused: bool,
    pub(crate) counts: Counts,
    ready: BTreeSet<(Reverse<i16>, JobId)>,
    /// Reservations, best first, like `ready`.
    reserved: BTreeSet<(Reverse<i16>, JobId)>,
}

/// With calendar appointments pending, look at the calendar at least so often: it may have jumped.
const CALENDAR_CHECK_MS: u64 = 30_000;

impl Queues {
    pub(crate) fn new(configs: &[QueueConfig]) -> Queues {
        let mut queues = Queues::default();
        for config in configs {
            let id = queues.named(&config.name);
            queues.get_mut(id).config = Some(config.clone());
        }
        queues
    }

    /// The queue of that name, made without a configuration if it is new.
    pub(crate) fn named(&mut self, name: &str) -> QueueId {
        if let Some(id) = self.find(name) {
            return id;
        }
        let id = u16::try_from(self.queues.len()).unwrap_or(u16::MAX);
        assert!(id < u16::MAX, "more than 65,534 queue names in one journal");
        self.queues.push(Queue {
            name: name.into(),
            config: None,
            paused: false,
            counts: Counts::default(),
            ready: BTreeSet::new(),
            reserved: BTreeSet::new(),
        });
        QueueId(id)
    }

    pub(crate) fn find(&self, name: &str) -> Option<QueueId> {
        let at = self.queues.iter().position(|queue| &*queue.name == name)?;
        u16::try_from(at).ok().map(QueueId)
    }

    pub(crate) fn get(&self, id: QueueId) -> &Queue {
        &self.queues[usize::from(id.0)]
    }

    pub(crate) fn get_mut(&mut self, id: QueueId) -> &mut Queue {
        &mut self.queues[usize::from(id.0)]
    }

    pub(crate) fn contains(&self, id: QueueId) -> bool {
        usize::from(id.0) < self.queues.len()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = QueueId> + use<> {
        (0..self.queues.len()).map_while(|n| u16::try_from(n).ok()).map(QueueId)
    }

    /// Takes the job out of the index of its state.
    pub(crate) fn leave(&mut self, id: JobId, job: &Job) {
        *self.get_mut(job.queue).counts.of(job.state) -= 1;
        let was_there = match job.state {
            State::Scheduled { wake: Some(wake), .. } => self.delayed.remove(&(wake, id)),
            State::Scheduled { wake: None, due } => self.appointed.remove(&(due, id)),
            State::Ready => self.get_mut(job.queue).ready.remove(&(Reverse(job.priority), id)),
            State::Reserved { .. } => self.get_mut(job.queue).reserved.remove(&(Reverse(job.priority), id)),
            State::Running { .. } | State::Succeeded | State::Dead(_) | State::Cancelled => true,
        };
        assert!(was_there, "job {} was missing from the index of its state {:?}", id.0, job.state);
    }

    /// Puts the job into the index of its state.
    pub(crate) fn enter(&mut self, id: JobId, job: &Job) {
        *self.get_mut(job.queue).counts.of(job.state) += 1;
        let was_free = match job.state {
            State::Scheduled { wake: Some(wake), .. } => self.delayed.insert((wake, id)),
            State::Scheduled { wake: None, due } => self.appointed.insert((due, id)),
            State::Ready => self.get_mut(job.queue).ready.insert((Reverse(job.priority), id)),
            State::Reserved { .. } => self.get_mut(job.queue).reserved.insert((Reverse(job.priority), id)),
            State::Running { .. } | State::Succeeded | State::Dead(_) | State::Cancelled => true,
        };
        assert!(was_free, "job {} stood in the index of state {:?} already", id.0, job.state);
    }

    /// Every scheduled job; until when, if it waits by elapsed time.
    pub(crate) fn scheduled(&self) -> impl Iterator<Item = (JobId, Option<Mono>)> {
        let delayed = self.delayed.iter().map(|(wake, job)| (*job, Some(*wake)));
        delayed.chain(self.appointed.iter().map(|(_, job)| (*job, None)))
    }

    /// How many they are.
    pub(crate) fn scheduled_len(&self) -> usize {
        self.delayed.len() + self.appointed.len()
    }

    /// A scheduled job whose time has come.
    pub(crate) fn due(&self, now: Now) -> Option<JobId> {
        let late = u64::from(planted(Bug::TimerOffByOne)) + wakes_late_ms();
        let delayed = self.delayed.first().filter(|(wake, _)| wake.after(late) <= now.mono).map(|(_, id)| *id);
        delayed.or_else(|| self.appointed.first().filter(|(due, _)| *due <= now.wall).map(|(_, id)| *id))
    }

    /// When a scheduled job may next be due.
    pub(crate) fn deadline(&self, now: Now) -> Option<Mono> {
        let delayed = self.delayed.first().map(|(wake, _)| wake.after(wakes_late_ms()));
        let appointed = self.appointed.first().map(|(due, _)| now.mono_at(*due, CALENDAR_CHECK_MS));
        [delayed, appointed].into_iter().flatten().min()
    }

    /// Jobs that are not at an end, in queues that may start them.
    pub(crate) fn waiting(&self) -> u64 {
        self.queues.iter().filter(|queue| queue.is_open()).map(|queue| queue.counts.open()).sum()
    }
}

/// None, unless it is planted.
fn wakes_late_ms() -> u64 {
    2_000 * u64::from(planted(Bug::WakeLate))
}

impl Queue {
    /// The job that is to start next, and whether it holds a reservation.
    pub(crate) fn first(&self) -> Option<(JobId, bool)> {
        let ready = if planted(Bug::LastComeFirst) { self.ready.last() } else { self.ready.first() };
        let ready = ready.map(|place| (*place, false));
        let reserved = self.reserved.first().map(|place| (*place, true));
        [reserved, ready]
            .into_iter()
            .flatten()
            .min_by_key(|(place, _)| *place)
            .map(|((_, id), reserved)| (id, reserved))
    }

    /// Takes in all ready jobs at once; there is none yet.
    pub(crate) fn restore_ready(&mut self, jobs: Vec<(i16, JobId)>) {
        assert!(self.ready.is_empty(), "ready jobs are restored beside others");
        self.counts.ready += jobs.len() as u64;
        self.ready = jobs.into_iter().map(|(priority, id)| (Reverse(priority), id)).collect();
    }

    /// The first ready job without a reservation.
    pub(crate) fn first_unreserved(&self) -> Option<JobId> {
        self.ready.first().map(|(_, id)| *id)
    }

    pub(crate) fn first_reserved(&self) -> Option<JobId> {
        self.reserved.first().map(|(_, id)| *id)
    }

    pub(crate) fn reserved_count(&self) -> usize {
        self.reserved.len()
    }

    /// Whether jobs here may start at all.
    pub(crate) fn is_open(&self) -> bool {
        self.config.is_some() && !self.paused
    }
}
