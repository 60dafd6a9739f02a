//! Who waits for what: the wait-for graph of the program as it runs, for whoever asks why something does not move.
//!
//! **Invariant.** Every edge leads away from the loop: [`For`] has no word for it, so nothing can be said to wait for it, and who
//! waits for somebody inside ([`For::inside`]) waits for one that is further out, in the order of [`Kind`]: so there is no
//! circle. A path ends outside: at the disk, the kernel, a command, the time or a person.

use super::children::ServicePhase;
use super::{Driver, Effect};
use crate::request::Ticket;
use crate::seams::ChildId;
use crate::task::{Done, Task};
use serde::Serialize;
use sprag_core::{JobId, Mono, Now, Phase, QueueId, Run, SourceId, Space};
use std::collections::BTreeMap;

/// Attempts that are named one by one; the rest is counted.
const ATTEMPTS_MAX: usize = 100;

/// One edge, or the end of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// What kind of actor waits.
    pub kind: Kind,
    /// Which.
    pub who: String,
    /// What kind of thing it waits for.
    #[serde(rename = "for")]
    pub awaited: For,
    /// What exactly.
    pub what: String,
    /// For so long, in milliseconds, if that is known.
    pub since_ms: Option<u64>,
}

/// Who waits, from the loop outward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The one that owns the Machine.
    Loop,
    /// Requests whose answer is withheld.
    Connections,
    /// A source.
    Source,
    /// A queue.
    Queue,
    /// A service.
    Service,
    /// An attempt.
    Attempt,
    /// The thread that starts commands and hears of their ends.
    Keeper,
    /// A thread that does something that may take long.
    Pool,
    /// Who hears of changes.
    Watcher,
    /// The thread that writes the journal.
    Journal,
}

/// What is waited for. There is no loop here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum For {
    /// Whatever comes first, to be done by nobody in particular.
    Anything,
    /// Something to do.
    Work,
    /// The journal thread.
    Journal,
    /// The keeper.
    Keeper,
    /// A pool thread.
    Pool,
    /// Attempts that hold what is waited for.
    Attempts,
    /// A command outside.
    Command,
    /// The disk.
    Disk,
    /// The kernel.
    Kernel,
    /// A moment.
    Time,
    /// Somebody who does something about it.
    Person,
}

impl For {
    /// Who that is, if it is somebody inside of sprag.
    pub fn inside(self) -> Option<Kind> {
        match self {
            For::Journal => Some(Kind::Journal),
            For::Keeper => Some(Kind::Keeper),
            For::Pool => Some(Kind::Pool),
            For::Attempts => Some(Kind::Attempt),
            For::Anything | For::Work | For::Command | For::Disk | For::Kernel | For::Time | For::Person => None,
        }
    }
}

/// What was handed away and has not come back.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    now: Mono,
    errands: BTreeMap<Errand, Mono>,
    journal: Option<Mono>,
}

/// A task, as far as its answer tells which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Errand {
    Arm(u16),
    Look(u16),
    Drop,
    Start(JobId),
    Serve(u16),
    Settle(JobId),
    Prove,
    Publish(JobId),
    Tell(Ticket),
    Snapshot(u32),
    Survey,
    Discard,
    CopyStatus,
    Measure,
    Status,
}

impl UnderWay {
    pub(super) fn turn(&mut self, now: Now) {
        self.now = now.mono;
    }

    pub(super) fn handed_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Run(task) => _ = self.errands.insert(Errand::of(task), self.now),
            Effect::Journal(_) => self.journal = Some(self.now),
            Effect::Signal { .. }
            | Effect::Answer { .. }
            | Effect::Say(_)
            | Effect::Happened(_)
            | Effect::Idle
            | Effect::HeldUp { .. }
            | Effect::GivenUp { .. }
            | Effect::Stopped
            | Effect::Fatal { .. } => {}
        }
    }

    pub(super) fn came_back(&mut self, done: &Done) {
        self.errands.remove(&Errand::done(done));
    }

    pub(super) fn journal_answered(&mut self) {
        self.journal = None;
    }
}

impl Errand {
    fn of(task: &Task) -> Errand {
        match task {
            Task::Arm { source } => Errand::Arm(*source),
            Task::Look { source, .. } => Errand::Look(*source),
            Task::Drop { .. } => Errand::Drop,
            Task::Start { job, .. } => Errand::Start(*job),
            Task::Serve { index, .. } => Errand::Serve(*index),
            Task::Settle { job, .. } => Errand::Settle(*job),
            Task::Prove { .. } => Errand::Prove,
            Task::Publish { job, .. } => Errand::Publish(*job),
            Task::Tell { ticket, .. } => Errand::Tell(*ticket),
            Task::Snapshot { segment, .. } => Errand::Snapshot(*segment),
            Task::Survey => Errand::Survey,
            Task::Discard { .. } => Errand::Discard,
            Task::CopyStatus { .. } => Errand::CopyStatus,
            Task::Measure { .. } => Errand::Measure,
            Task::Status { .. } => Errand::Status,
        }
    }

    fn done(done: &Done) -> Errand {
        match done {
            Done::Armed { source, .. } => Errand::Arm(*source),
            Done::Looked { source, .. } => Errand::Look(*source),
            Done::Dropped { .. } => Errand::Drop,
            Done::Spawned { child } | Done::SpawnFailed { child, .. } => match child {
                ChildId::Attempt { job, .. } => Errand::Start(*job),
                ChildId::Service { index, .. } => Errand::Serve(*index),
            },
            Done::Settled { job, .. } => Errand::Settle(*job),
            Done::Proved { .. } => Errand::Prove,
            Done::Published { job, .. } => Errand::Publish(*job),
            Done::Told { ticket, .. } => Errand::Tell(*ticket),
            Done::Snapshot { segment, .. } => Errand::Snapshot(*segment),
            Done::Surveyed { .. } => Errand::Survey,
            Done::Discarded => Errand::Discard,
            Done::StatusCopied { .. } => Errand::CopyStatus,
            Done::Measured(_) => Errand::Measure,
            Done::Status { .. } => Errand::Status,
        }
    }

    /// Who does it, what they wait for, and what it is.
    fn told(self, driver: &Driver) -> (Kind, For, String) {
        let pool = |what: String| (Kind::Pool, For::Disk, what);
        match self {
            Errand::Start(job) => (Kind::Keeper, For::Kernel, format!("to execute the command of job {}", job.0)),
            Errand::Serve(index) => {
                (Kind::Keeper, For::Kernel, format!("to execute service {}", driver.service_name(index)))
            }
            Errand::Prove => (Kind::Pool, For::Kernel, "to look through all processes".into()),
            Errand::Arm(source) => pool(format!("to watch {}", driver.source_name(source))),
            Errand::Look(source) => pool(format!("to read {}", driver.source_name(source))),
            Errand::Drop => pool("to empty the drop-box".into()),
            Errand::Settle(job) => pool(format!("to put in order what job {} has left", job.0)),
            Errand::Publish(job) => pool(format!("to put the result of job {} at its destination", job.0)),
            Errand::Tell(_) => pool("to read what a client asked of jobs".into()),
            Errand::Snapshot(segment) => pool(format!("to write a snapshot up to segment {segment}")),
            Errand::Survey => pool("to see which logs there are".into()),
            Errand::Discard => pool("to remove old logs".into()),
            Errand::CopyStatus => pool("to copy the heartbeat".into()),
            Errand::Measure => pool("to see how much room there is".into()),
            Errand::Status => pool("to write the heartbeat".into()),
        }
    }
}

fn wait(kind: Kind, who: impl Into<String>, awaited: For, what: impl Into<String>, since_ms: Option<u64>) -> Wait {
    let outward = awaited.inside().is_none_or(|inside| inside > kind);
    assert!(outward, "{kind:?} waits for {awaited:?}, which is nearer to the loop");
    Wait { kind, who: who.into(), awaited, what: what.into(), since_ms }
}

impl Driver {
    /// Who waits for what, as of now.
    pub fn waits(&self, now: Now) -> Vec<Wait> {
        let since = |mono: Mono| Some(now.mono.since_ms(mono));
        let under_way = &self.under_way;
        let mut waits =
            vec![wait(Kind::Loop, "loop", For::Anything, "an answer, a request, a change, or a time", None)];
        waits.push(match under_way.journal {
            Some(at) => {
                wait(Kind::Journal, "journal thread", For::Disk, "its frame to be written and synced", since(at))
            }
            None => wait(Kind::Journal, "journal thread", For::Work, "a frame", None),
        });
        for (errand, at) in &under_way.errands {
            let (kind, awaited, what) = errand.told(self);
            let who = if kind == Kind::Keeper { "keeper" } else { "a pool thread" };
            waits.push(wait(kind, who, awaited, what, since(*at)));
        }
        if !waits.iter().any(|wait| wait.kind == Kind::Keeper) {
            waits.push(wait(Kind::Keeper, "keeper", For::Work, "orders, and the ends of commands", None));
        }
        waits.push(wait(Kind::Watcher, "watcher", For::Kernel, "news of changed files", None));
        if self.machine.waits_for_records() {
            let at = under_way.journal.and_then(since);
            let what = format!("records up to {} to be durable", self.machine.last_seq().0);
            waits.push(wait(Kind::Connections, "answers and starts", For::Journal, what, at));
        }
        waits
            .extend((0..=self.pipeline.sources.len()).filter_map(|at| self.source_waits(now, u16::try_from(at).ok()?)));
        waits.extend((0..self.machine.queues_len()).filter_map(|at| self.queue_waits(now, u16::try_from(at).ok()?)));
        waits.extend(self.machine.runs().take(ATTEMPTS_MAX).map(|(job, run)| attempt_waits(now, job, run)));
        waits.extend((0..).zip(self.services.phases()).map(|(index, phase)| self.service_waits(now, index, phase)));
        waits
    }

    fn source_waits(&self, now: Now, source: u16) -> Option<Wait> {
        let who = self.source_name(source);
        let errand = [Errand::Look(source), Errand::Arm(source)]
            .into_iter()
            .find_map(|errand| self.under_way.errands.get(&errand).copied());
        let last = self.machine.health().source_progress(SourceId(source)).0.last;
        let read_ms = last.map(|last| now.mono.since_ms(last));
        Some(match (errand, self.intake.complaint(source)) {
            (Some(at), _) => wait(Kind::Source, who, For::Pool, "to be read", Some(now.mono.since_ms(at))),
            (None, Some(complaint)) => wait(Kind::Source, who, For::Person, complaint.text.clone(), read_ms),
            (None, None) => wait(Kind::Source, who, For::Time, "a change, or the next look", read_ms),
        })
    }

    fn queue_waits(&self, now: Now, queue: u16) -> Option<Wait> {
        let view = self.machine.queues().nth(usize::from(queue))?;
        let (ready, scheduled) = (view.counts.ready, view.counts.scheduled);
        let since_ms = view.progress.last.map(|last| now.mono.since_ms(last));
        let holders = self.machine.runs().filter(|(_, run)| run.attempt.queue == QueueId(queue));
        let held = holders.filter(|(_, run)| run.phase != Phase::Reserved).count();
        let (awaited, what) = match (ready, scheduled) {
            (0, 0) if held > 0 => (For::Attempts, format!("the ends of {held} attempts")),
            (0, 0) => (For::Work, "a job".into()),
            _ if !view.configured => (For::Person, "to stand in sprag.toml".into()),
            _ if view.paused => (For::Person, "to be resumed".into()),
            (0, _) => (For::Time, format!("the times of {scheduled} jobs")),
            _ if self.machine.space() == Space::Full => (For::Disk, "room".into()),
            _ if held > 0 => (For::Attempts, format!("places for {ready} jobs, held by {held} attempts")),
            _ if self.machine.waits_for_records() => (For::Journal, format!("records of {ready} jobs")),
            _ => (For::Time, format!("another try: {ready} jobs are ready")),
        };
        Some(wait(Kind::Queue, view.name, awaited, what, since_ms))
    }

    fn service_waits(&self, now: Now, index: u16, phase: ServicePhase) -> Wait {
        let (awaited, what, since_ms) = match phase {
            ServicePhase::Waiting(_) if !self.clear => (For::Pool, "proof that earlier lives of sprag are dead", None),
            ServicePhase::Waiting(_) => (For::Time, "its next start", None),
            ServicePhase::Starting => (For::Keeper, "to be executed", None),
            ServicePhase::Running { since } => (For::Command, "its command to end", Some(now.mono.since_ms(since))),
            ServicePhase::Ended => (For::Person, "nothing any more: it has ended", None),
        };
        wait(Kind::Service, format!("service {}", self.service_name(index)), awaited, what, since_ms)
    }

    /// The same as JSON, for clients.
    pub(super) fn waits_json(&self, now: Now) -> Vec<u8> {
        let json = serde_json::json!({ "at_ms": now.wall, "waits": self.waits(now) });
        json.to_string().into_bytes()
    }
}

fn attempt_waits(now: Now, job: JobId, run: &Run) -> Wait {
    let who = format!("job {} attempt {}", job.0, run.attempt.number);
    let since_ms = (run.since > Mono(0)).then(|| now.mono.since_ms(run.since));
    let (awaited, what) = match run.phase {
        Phase::Reserved => (For::Time, "a free place; its record is written ahead"),
        Phase::Granted => (For::Journal, "its record to be durable"),
        Phase::Starting => (For::Keeper, "to be executed"),
        Phase::Running => (For::Command, "its command to end"),
        Phase::Terminating(_) => (For::Command, "its command to end: it was asked to"),
        Phase::Killing(_) => (For::Kernel, "its command to end: it was killed"),
        Phase::Lingering { .. } => (For::Pool, "proof that nothing of it is alive"),
        Phase::Leftover { .. } => (For::Pool, "proof that nothing of it is alive, from an earlier life of sprag"),
    };
    wait(Kind::Attempt, who, awaited, what, since_ms)
}
