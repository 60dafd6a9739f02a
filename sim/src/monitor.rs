//! Health: what sprag says of itself, held against what is the case; and a monitor that reads its heartbeat.
//!
//! **Invariant.** What has not moved for longer than a stall is not called well: a frame, a look at a source, a start. The
//! heartbeat is whole whenever it is read, says what health is, and is never older than it may be.

use crate::failure::Check;
use crate::marks::Mark;
use crate::places::{Actor, Site};
use crate::world::{Due, World};
use serde::Deserialize;
use sprag_core::{Machine, Verdict};
use sprag_journal::fs::read_all;
use sprag_runtime::driver::Event;
use sprag_runtime::seams::{ChildId, Exit};
use sprag_runtime::task::{Done, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Health may be so much behind.
const LATE_US: u64 = 10_000;
/// No heartbeat is longer, in bytes.
const STATUS_BYTES_MAX: u64 = 1 << 20;
/// Where nothing goes wrong, and sprag has run for so long, no heartbeat is so old: it is written every 5 s.
const STALE_MS: u64 = 9_000;

/// So many looks at a source in a second, with nothing heard of it, are a busy loop.
const LOOKS_MAX: u32 = 60;

/// What counts here of what sprag says of itself.
#[derive(Deserialize)]
struct Heartbeat {
    health: String,
    at_ms: u64,
}

/// What has been handed away and has not come back.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    /// Looks at sources, since when.
    looks: BTreeMap<u16, u64>,
    /// Starts of jobs: their queue's number, since when.
    starts: BTreeMap<u64, (u16, u64)>,
    /// Sources that were looked at in this life, and those that were watched.
    begun: BTreeSet<(u16, bool)>,
    /// How often each source was looked at since something was heard of it, and since when that is counted.
    looked: BTreeMap<u16, (u32, u64)>,
}

impl Pending {
    /// The driver wants something done. If it is to look at a source, or to watch it: which, and whether for the first time.
    pub fn wants(&mut self, task: &Task, now_us: u64) -> Option<(u16, bool)> {
        if let Task::Look { source, .. } = task {
            let (looks, since_us) = self.looked.entry(*source).or_insert((0, now_us));
            if now_us > *since_us + 1_000_000 {
                (*looks, *since_us) = (0, now_us);
            }
            *looks += 1;
        }
        match task {
            Task::Look { source, .. } | Task::Arm { source } => {
                self.looks.entry(*source).or_insert(now_us);
                return Some((*source, self.begun.insert((*source, matches!(task, Task::Arm { .. })))));
            }
            Task::Start { job, attempt, .. } => _ = self.starts.insert(job.0, (attempt.queue.0, now_us)),
            Task::Drop { .. } | Task::Settle { .. } | Task::Prove { .. } | Task::Publish { .. } | Task::Tell { .. } => {
            }
            Task::Serve { .. } | Task::Snapshot { .. } | Task::Survey | Task::Discard { .. } => {}
            Task::CopyStatus { .. } | Task::Measure { .. } | Task::Status { .. } => {}
        }
        None
    }

    /// The driver hears of something.
    pub fn hears(&mut self, event: &Event, now_us: u64) {
        match event {
            Event::Done(Done::Looked { source, .. }) => _ = self.looks.remove(source),
            // An end may be heard of before the start that it is the end of.
            Event::Done(Done::Settled { job, .. }) => self.moved(job.0, now_us),
            Event::Done(Done::Spawned { child } | Done::SpawnFailed { child, .. })
            | Event::Exited(Exit { child, .. }) => match child {
                ChildId::Attempt { job, .. } => self.moved(job.0, now_us),
                ChildId::Service { .. } => {}
            },
            Event::Dirty { source } => _ = self.looked.remove(source),
            Event::Done(_) | Event::Journal(_) => {}
            Event::Request { .. } | Event::Stop(_) | Event::Tick | Event::Slept { .. } => {}
        }
    }

    /// A start came to something; what moves by that is its whole queue.
    fn moved(&mut self, job: u64, now_us: u64) {
        self.starts.remove(&job);
        self.starts_anew(now_us);
    }

    /// From now on it counts again how long starts take.
    fn starts_anew(&mut self, now_us: u64) {
        self.starts.values_mut().for_each(|(_, since_us)| *since_us = now_us);
    }

    /// A source that is looked at again and again though nothing was heard of it.
    pub fn spins(&self) -> Option<u16> {
        self.looked.iter().find(|(_, (looks, _))| *looks > LOOKS_MAX).map(|(source, _)| *source)
    }

    /// What waits for the longest, since when.
    fn oldest(&self) -> Option<(&'static str, u64)> {
        let look = self.looks.values().min().map(|since_us| ("a look at a source", *since_us));
        let start = self.starts.values().map(|(_, since_us)| ("a start", *since_us)).min_by_key(|(_, at)| *at);
        look.into_iter().chain(start).min_by_key(|(_, since_us)| *since_us)
    }
}

impl World {
    /// What does not come back for longer than a stall is one.
    pub(crate) fn judge_health(&mut self, machine: &Machine, verdict: &Verdict) {
        let stall_us = self.pipeline.limits.stall_ms * 1000;
        let frame = self.in_flight.filter(|(_, records)| *records > 0).map(|(since_us, _)| ("a frame", since_us));
        // Starts wait for nothing any more when sprag stops, and in a queue that is paused, or was until now.
        let paused = !self.paused_in.is_empty() || machine.queues().any(|queue| queue.paused);
        if paused {
            self.pending.starts_anew(self.now_us);
        }
        let pending = if self.stopping || paused { None } else { self.pending.oldest() };
        let stuck = frame.into_iter().chain(pending).find(|(_, since_us)| self.now_us >= since_us + stall_us + LATE_US);
        if let Some((what, since_us)) = stuck
            && !matches!(verdict, Verdict::Stalled(_))
        {
            let waits_ms = (self.now_us - since_us) / 1000;
            let what = format!("{what} has not come back for {waits_ms} ms, and health says {verdict:?}");
            self.fail(Check::HealthIsTrue.failed(what));
        }
    }

    /// A heartbeat, or an answer about how things stand, says what health is; or was before what sprag has just heard of.
    pub(crate) fn judge_status(&mut self, json: &[u8], verdicts: &[Verdict; 2]) {
        let said =
            serde_json::from_slice::<Heartbeat>(json).map_or_else(|_| "nothing".to_owned(), |status| status.health);
        let health = |verdict: &Verdict| match verdict {
            Verdict::Well => "well",
            Verdict::Degraded(_) => "degraded",
            Verdict::Stalled(_) => "stalled",
        };
        if !verdicts.iter().any(|verdict| health(verdict) == said) {
            self.fail(Check::HealthIsTrue.failed(format!("the heartbeat says {said}, and health is {verdicts:?}")));
        }
    }

    /// A monitor reads the heartbeat.
    pub(crate) fn monitor_step(&mut self) {
        let fs = self.fs.new_process();
        if let Ok(bytes) = read_all(&fs, Path::new("/p/.sprag/status.json"), STATUS_BYTES_MAX) {
            match serde_json::from_slice::<Heartbeat>(&bytes) {
                Ok(status) => self.judge_heartbeat(status.at_ms),
                Err(error) => self.fail(Check::HealthIsTrue.failed(format!("the heartbeat is not whole: {error}"))),
            }
        }
        let rest_us = self.chance.span(Actor::World, Site::Monitor, 200_000, 2_000_000);
        self.schedule(rest_us, Due::Monitor);
    }

    fn judge_heartbeat(&mut self, at_ms: u64) {
        self.mark(Mark::HeartbeatRead);
        let wall_ms = self.now().wall.0;
        let age_ms = wall_ms.saturating_sub(at_ms);
        let since_us = self.healed_us.map_or(self.now_us, |at_us| at_us.max(self.began_us).max(self.frozen_until_us));
        let settled = self.threads.is_some() && !self.stopping && self.calendar_is_steady();
        if settled && self.now_us > since_us + STALE_MS * 1000 && age_ms > STALE_MS {
            let what = format!("the heartbeat is {age_ms} ms old, and nothing is wrong");
            self.fail(Check::HealthIsTrue.failed(what));
        }
    }
}
