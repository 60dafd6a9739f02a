//! What people see: notices as things happen, and the heartbeat file.
//!
//! **Invariant.** A notice about a record is said after the record is durable. The heartbeat is composed by the loop that
//! does the work, carries its progress, and at most one is on its way to the disk.

use super::{Driver, Effect};
use crate::request::QueueView;
use crate::scan::Complaint;
use crate::task::Task;
use serde::Serialize;
use sprag_core::{
    DeadReason, JobId, Machine, Mono, Next, Now, Outcome, Reason, Record, Refusal, Reply, Seq, SourceId, Verdict,
};
use sprag_journal::Cut;
use std::collections::VecDeque;

/// The heartbeat is written at least so often.
const STATUS_MS: u64 = 5_000;
/// And, while things change, no oftener than this.
const STATUS_SOON_MS: u64 = 1_000;

/// Something a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what their names say; the text is made by the command line")]
pub enum Notice {
    /// A job came.
    Added { job: JobId, queue: String, key: Option<String> },
    /// An attempt began.
    Started { job: JobId, queue: String, attempt: u32 },
    /// An attempt ended.
    Finished { job: JobId, queue: String, attempt: u32, outcome: Option<Outcome>, next: Next },
    /// A job was given up.
    Dead { job: JobId, queue: String, reason: DeadReason, outcome: Option<Outcome> },
    /// A result stands at its destination.
    Published { job: JobId },
    /// A result does not.
    PublishFailed { job: JobId, what: String },
    /// A source cannot be taken as it is.
    Complaint { source: u16, complaint: Complaint },
    /// It can again.
    Mended { source: u16 },
    /// A source cannot be watched and is polled.
    Polling { source: u16, what: String },
    /// Items were refused and will be offered again.
    Refused { source: u16, refusal: Refusal },
    /// The disk has no room.
    NoSpace { what: String },
    /// A service ended.
    ServiceEnded { index: u16, outcome: Outcome, again_ms: Option<u64> },
    /// The journal's last frame was torn by a crash and cut off; nothing acknowledged was in it.
    TornTail { cut: Cut },
    /// A snapshot could not be taken, or one was found damaged; the journal has all that it would hold.
    SnapshotFailed { what: String },
    /// Health changed.
    Health { verdict: Verdict },
    /// The heartbeat file could not be written.
    StatusFailed { what: String },
}

#[derive(Debug)]
pub(super) struct Reporter {
    /// Said once their record is durable.
    withheld: VecDeque<(Seq, Notice)>,
    verdict: Verdict,
    /// The reasons that the last heartbeat gave, without their durations.
    reasons: Vec<Reason>,
    status_at: Mono,
    writing: bool,
    status_error: Option<String>,
    reported_seq: Seq,
    /// Items that made a job, and items that were known.
    added: u64,
    known: u64,
}

impl Reporter {
    pub(super) fn new(machine: &Machine) -> Reporter {
        Reporter {
            withheld: VecDeque::new(),
            verdict: Verdict::Well,
            reasons: Vec::new(),
            status_at: Mono(0),
            writing: false,
            status_error: None,
            reported_seq: machine.last_seq(),
            added: 0,
            known: 0,
        }
    }

    pub(super) fn decided(&mut self, seq: Seq, record: &Record, machine: &Machine, key: Option<&str>) {
        let queue_of =
            |job: JobId| machine.job(job).map(|job| machine.queue_name(job.queue).to_owned()).unwrap_or_default();
        let notice = match *record {
            Record::Added { job, .. } => Notice::Added { job, queue: queue_of(job), key: key.map(str::to_owned) },
            Record::Started { job, attempt, .. } => Notice::Started { job, queue: queue_of(job), attempt },
            Record::Finished { next: Next::Unused, .. } => return,
            Record::Finished { job, outcome, next: Next::Dead(reason), .. } => {
                Notice::Dead { job, queue: queue_of(job), reason, outcome }
            }
            Record::Finished { job, attempt, outcome, next } => {
                Notice::Finished { job, queue: queue_of(job), attempt, outcome, next }
            }
            Record::Published { job } => Notice::Published { job },
            Record::Reserved { .. }
            | Record::Cancelled { .. }
            | Record::Redriven { .. }
            | Record::Forgotten { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. } => return,
        };
        self.withheld.push_back((seq, notice));
    }

    /// What may be said now that records up to `through` are durable.
    pub(super) fn durable(&mut self, through: Seq) -> Vec<Notice> {
        let count = self.withheld.iter().take_while(|(seq, _)| *seq <= through).count();
        self.withheld.drain(..count).map(|(_, notice)| notice).collect()
    }

    pub(super) fn answered(&mut self, _source: u16, reply: Reply) {
        match reply {
            Reply::Added(_) => self.added += 1,
            Reply::Known(_) | Reply::Conflict(_) => self.known += 1,
            Reply::Done | Reply::Refused(_) => {}
        }
    }

    pub(super) fn status_written(&mut self, result: Result<(), String>) {
        self.writing = false;
        self.status_error = result.err();
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        (!self.writing).then_some(self.status_at)
    }
}

/// The reasons of a verdict without what changes by itself: how long each has lasted.
fn lasting(verdict: &Verdict) -> Vec<Reason> {
    let (Verdict::Degraded(reasons) | Verdict::Stalled(reasons)) = verdict else { return Vec::new() };
    let timeless = |reason: &Reason| match *reason {
        Reason::JournalStalled { waiting_ms: _ } => Reason::JournalStalled { waiting_ms: 0 },
        Reason::QueueStalled { queue, waiting_ms: _ } => Reason::QueueStalled { queue, waiting_ms: 0 },
        Reason::SourceStalled { source, waiting_ms: _ } => Reason::SourceStalled { source, waiting_ms: 0 },
        Reason::Source { .. } | Reason::Unproved { .. } | Reason::Unpublished { .. } | Reason::NoSpace => *reason,
    };
    reasons.iter().map(timeless).collect()
}

/// `status.json`.
#[derive(Serialize)]
struct Status {
    format: u32,
    at_ms: u64,
    health: &'static str,
    reasons: Vec<String>,
    seq: u64,
    durable_seq: u64,
    queues: Vec<QueueView>,
    sources: Vec<SourceStatus>,
}

#[derive(Serialize)]
struct SourceStatus {
    path: String,
    progress: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    /// Why it is polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    polled: Option<String>,
}

impl Driver {
    /// Items that made a job in this life, and items that were known already.
    pub fn intake_counts(&self) -> (u64, u64) {
        (self.reporter.added, self.reporter.known)
    }

    /// Says what changed, and writes the heartbeat when it is due.
    pub(super) fn report(&mut self, now: Now) {
        let verdict = self.machine.verdict(now);
        let reasons = lasting(&verdict);
        if reasons != self.reporter.reasons {
            self.reporter.reasons = reasons;
            self.reporter.status_at = self.reporter.status_at.min(now.mono.after(STATUS_SOON_MS));
        }
        if std::mem::discriminant(&verdict) != std::mem::discriminant(&self.reporter.verdict) {
            self.reporter.verdict = verdict.clone();
            self.effects.push_back(Effect::Say(Notice::Health { verdict }));
        }
        if let Some(what) = self.reporter.status_error.take() {
            self.effects.push_back(Effect::Say(Notice::StatusFailed { what }));
        }
        if self.machine.last_seq() != self.reporter.reported_seq {
            self.reporter.reported_seq = self.machine.last_seq();
            self.reporter.status_at = self.reporter.status_at.min(now.mono.after(STATUS_SOON_MS));
        }
        if !self.reporter.writing && self.reporter.status_at <= now.mono {
            self.reporter.writing = true;
            self.reporter.status_at = now.mono.after(STATUS_MS);
            let json = self.status_json(now);
            self.effects.push_back(Effect::Run(Task::Status { json }));
        }
    }

    pub(super) fn status_json(&self, now: Now) -> Vec<u8> {
        let verdict = self.machine.verdict(now);
        let (health, reasons) = match &verdict {
            Verdict::Well => ("well", Vec::new()),
            Verdict::Degraded(reasons) => ("degraded", self.reason_texts(reasons)),
            Verdict::Stalled(reasons) => ("stalled", self.reason_texts(reasons)),
        };
        let sources = (0..=u16::try_from(self.pipeline.sources.len()).unwrap_or(u16::MAX)).map(|index| SourceStatus {
            path: self.source_name(index),
            progress: self.machine.health().source_progress(SourceId(index)).0.count,
            fault: self.intake.complaint(index).map(|complaint| complaint.text.clone()),
            polled: self.intake.polled(index).map(str::to_owned),
        });
        let status = Status {
            format: 1,
            at_ms: now.wall.0,
            health,
            reasons,
            seq: self.machine.last_seq().0,
            durable_seq: self.machine.durable_seq().0,
            queues: self.queue_views().collect(),
            sources: sources.collect(),
        };
        let mut json = serde_json::to_vec_pretty(&status).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// The path of a source as the user wrote it.
    pub fn source_name(&self, index: u16) -> String {
        self.pipeline.source(index).map_or_else(|| "drop-box".into(), |spec| spec.path.display().to_string())
    }

    /// The reasons of a verdict in words.
    pub fn reason_texts(&self, reasons: &[Reason]) -> Vec<String> {
        reasons.iter().map(|reason| self.reason_text(*reason)).collect()
    }

    fn reason_text(&self, reason: Reason) -> String {
        match reason {
            Reason::JournalStalled { waiting_ms } => {
                format!("the journal has not answered for {} s", waiting_ms / 1000)
            }
            Reason::QueueStalled { queue, waiting_ms } => format!(
                "jobs of queue `{}` have waited for {} s and nothing starts",
                self.machine.queue_name(queue),
                waiting_ms / 1000
            ),
            Reason::SourceStalled { source, waiting_ms } => {
                format!("{} could not be read for {} s", self.source_name(source.0), waiting_ms / 1000)
            }
            Reason::Source { source, fault } => {
                let text = self.intake.complaint(source.0).map_or_else(|| format!("{fault:?}"), |c| c.text.clone());
                format!("{}: {text}", self.source_name(source.0))
            }
            Reason::Unproved { job } => format!("an attempt of job {} cannot be proved dead: it keeps its slot", job.0),
            Reason::Unpublished { job } => format!("the result of job {} could not be put at its destination", job.0),
            Reason::NoSpace => "the disk is full: adds are refused and nothing starts".into(),
        }
    }
}
