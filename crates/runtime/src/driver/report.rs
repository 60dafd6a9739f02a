//! What people see: notices as things happen, and the heartbeat file.
//!
//! **Invariant.** A notice about a record is said after the record is durable. The heartbeat is composed by the loop that
//! does the work, carries its progress, and at most one is on its way to the disk.

use super::destinations::unpublished;
use super::nag::Nag;
use super::{Driver, Effect};
use crate::pipeline::RESULT_BYTES_MAX;
use crate::request::QueueView;
use crate::scan::Complaint;
use crate::task::Task;
use serde::Serialize;
use sprag_core::{
    DeadReason, JobId, Machine, Mono, Next, Now, Outcome, Reason, Record, Refusal, Reply, Seq, SourceFault, SourceId,
    StopLevel, Verdict,
};
use sprag_journal::Cut;
use std::collections::{BTreeMap, VecDeque};

/// The heartbeat is written at least so often.
const STATUS_MS: u64 = 5_000;
/// And, while things change, no oftener than this.
const STATUS_SOON_MS: u64 = 1_000;

/// Something a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what their names say; the text is made by the command line")]
pub enum Notice {
    /// Work begins: what is watched, and how to end it.
    Begun,
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
    /// A source cannot be taken as it is, or, with `rest`, some of it cannot.
    Complaint { source: u16, complaint: Complaint, rest: bool },
    /// It can again.
    Mended { source: u16 },
    /// A source was never there so far.
    Waiting { source: u16 },
    /// It is there now.
    Appeared { source: u16 },
    /// What a source holds under a known key is no longer what the job was made from. Without `more`, the last of which
    /// this is said of this source.
    Changed { source: u16, job: JobId, more: bool },
    /// Nothing is left to do for now.
    Settled,
    /// Nothing is left to do but what cannot be done.
    HeldUp { by: Vec<String> },
    /// A source cannot be watched and is polled.
    Polling { source: u16, what: String },
    /// Items were refused and will be offered again.
    Refused { source: u16, refusal: Refusal },
    /// The disk has no room.
    NoSpace { what: String },
    /// A service runs.
    ServiceStarted { index: u16 },
    /// The system has no room for it; it is tried again.
    ServiceShort { index: u16 },
    /// A service ended because sprag does.
    ServiceStopped { index: u16 },
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
    /// Attempts whose start is on record, and whose command is not known to be executed: it may still be given back.
    starts: BTreeMap<JobId, (u32, String)>,
    verdict: Verdict,
    /// The reasons that the last heartbeat gave, without their durations.
    reasons: Vec<Reason>,
    status_at: Mono,
    writing: bool,
    status_error: Option<(String, Nag)>,
    reported_seq: Seq,
    /// Items that made a job, and items that were known.
    added: u64,
    known: u64,
}

impl Reporter {
    pub(super) fn new(machine: &Machine) -> Reporter {
        Reporter {
            withheld: VecDeque::new(),
            starts: BTreeMap::new(),
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
        if let Record::Finished { job, outcome, .. } = *record
            && let Some((attempt, queue)) = self.starts.remove(&job)
            && outcome.is_some_and(|outcome| !matches!(outcome, Outcome::NotFound | Outcome::NotExecutable))
        {
            // It was so short that its end was heard of before its beginning.
            self.withheld.push_back((seq, Notice::Started { job, queue, attempt }));
        }
        let notice = match *record {
            Record::Added { job, .. } => Notice::Added { job, queue: queue_of(job), key: key.map(str::to_owned) },
            Record::Finished { next: Next::Unused, .. } => return,
            Record::Finished { job, outcome, next: Next::Dead(reason), .. } => {
                Notice::Dead { job, queue: queue_of(job), reason, outcome }
            }
            Record::Finished { job, attempt, outcome, next } => {
                Notice::Finished { job, queue: queue_of(job), attempt, outcome, next }
            }
            Record::Published { job } => Notice::Published { job },
            Record::Started { job, attempt, .. } => {
                self.starts.insert(job, (attempt, queue_of(job)));
                return;
            }
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

    /// The heartbeat was written, or what is to be said of that.
    pub(super) fn status_written(&mut self, now: Now, result: Result<(), String>) -> Option<Notice> {
        self.writing = false;
        let (_, mut nag) = self.status_error.take().unwrap_or_default();
        let what = result.err()?;
        let due = nag.is_due(now.mono);
        self.status_error = Some((what.clone(), nag));
        due.then_some(Notice::StatusFailed { what })
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        (!self.writing).then_some(self.status_at)
    }
}

fn fault_text(fault: SourceFault) -> &'static str {
    match fault {
        SourceFault::Missing => "no such file",
        SourceFault::Unreadable => "it cannot be read",
        SourceFault::TooLarge => "it is too large",
        SourceFault::Malformed => "it is not what its format says",
        SourceFault::ItemWithoutKey => "some items have no key",
    }
}

/// The reasons of a verdict without what changes by itself: how long each has lasted.
fn lasting(verdict: &Verdict) -> Vec<Reason> {
    let (Verdict::Degraded(reasons) | Verdict::Stalled(reasons)) = verdict else { return Vec::new() };
    let timeless = |reason: &Reason| match *reason {
        Reason::JournalStalled { waiting_ms: _ } => Reason::JournalStalled { waiting_ms: 0 },
        Reason::QueueStalled { queue, waiting_ms: _ } => Reason::QueueStalled { queue, waiting_ms: 0 },
        Reason::SourceStalled { source, waiting_ms: _ } => Reason::SourceStalled { source, waiting_ms: 0 },
        Reason::QueueFailing { queue, deaths: _ } => Reason::QueueFailing { queue, deaths: 0 },
        Reason::Source { .. }
        | Reason::Unproved { .. }
        | Reason::Unpublished { .. }
        | Reason::NoSpace
        | Reason::ServiceFailing { .. } => *reason,
    };
    reasons.iter().map(timeless).collect()
}

/// `status.json`.
#[derive(Serialize)]
struct Status<'a> {
    format: u32,
    at_ms: u64,
    health: &'static str,
    reasons: Vec<String>,
    /// Worth knowing, and nothing wrong.
    notes: Vec<String>,
    /// What stood in sprag.toml at the start.
    config_digest: String,
    seq: u64,
    durable_seq: u64,
    queues: Vec<QueueView>,
    sources: Vec<SourceStatus>,
    services: Vec<ServiceStatus<'a>>,
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
    /// It was never there so far, and is waited for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    waiting: bool,
    /// Items whose content changed after they were taken.
    #[serde(skip_serializing_if = "is_zero")]
    changed: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize)]
struct ServiceStatus<'a> {
    name: &'a str,
    kind: &'static str,
    /// `waiting`, `starting`, `running`, `ended`.
    state: &'static str,
    restarts: u32,
    failing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_start_at_ms: Option<u64>,
}

/// So many of them, in words: `1 job`, `2 jobs`.
pub fn count_text(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// How a process ended, in words.
pub fn outcome_text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Exit(code) => format!("exit code {code}"),
        Outcome::Signal(signal) => match signal_name(signal) {
            Some(name) => format!("killed by SIG{name}"),
            None => format!("killed by signal {signal}"),
        },
        Outcome::TimedOut => "it ran longer than its timeout".into(),
        Outcome::NotFound => "its command does not exist".into(),
        Outcome::NotExecutable => "its command cannot be executed".into(),
        Outcome::ResultLost => "its result could not be stored".into(),
        Outcome::ResultTooLarge => format!("its result is over the limit of {} MiB", RESULT_BYTES_MAX >> 20),
    }
}

/// The signals that end processes every day.
fn signal_name(signal: u8) -> Option<&'static str> {
    let names =
        [(1, "HUP"), (2, "INT"), (3, "QUIT"), (6, "ABRT"), (9, "KILL"), (11, "SEGV"), (13, "PIPE"), (15, "TERM")];
    names.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
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
            waiting: self.intake.is_waiting(index),
            changed: self.intake.changed(index),
        });
        let services = (0..).zip(&self.pipeline.services).filter_map(|(index, spec)| {
            let view = self.services.view(now, index)?;
            Some(ServiceStatus {
                name: &spec.name,
                kind: spec.kind.as_str(),
                state: view.state,
                restarts: view.restarts,
                failing: view.failing,
                last_exit: view.last_exit,
                next_start_at_ms: view.next_start_at_ms,
            })
        });
        let status = Status {
            format: 1,
            at_ms: now.wall.0,
            health,
            reasons,
            notes: self.notes(),
            config_digest: self.pipeline.config_digest.to_string(),
            seq: self.machine.last_seq().0,
            durable_seq: self.machine.durable_seq().0,
            queues: self.queue_views().collect(),
            sources: sources.collect(),
            services: services.collect(),
        };
        let mut json = serde_json::to_vec_pretty(&status).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// Says that the attempt's command was executed, once the record of it is durable.
    pub(super) fn say_started(&mut self, job: JobId, attempt: u32) {
        if self.reporter.starts.get(&job).is_none_or(|(number, _)| *number != attempt) {
            return;
        }
        let Some((_, queue)) = self.reporter.starts.remove(&job) else { return };
        self.reporter.withheld.push_back((self.machine.last_seq(), Notice::Started { job, queue, attempt }));
        let said = self.reporter.durable(self.machine.durable_seq());
        self.say_all(said);
    }

    /// What is worth knowing, and nothing wrong.
    fn notes(&self) -> Vec<String> {
        let sources = 0..=u16::try_from(self.pipeline.sources.len()).unwrap_or(u16::MAX);
        let waiting = sources.clone().filter(|index| self.intake.is_waiting(*index));
        let waiting = waiting.map(|index| format!("waiting for {} to appear", self.source_name(index)));
        let changed = sources.map(|index| (index, self.intake.changed(index))).filter(|(_, changed)| *changed > 0);
        let changed = changed.map(|(index, changed)| {
            let name = self.source_name(index);
            let items = count_text(changed as u64, "item");
            format!("{name}: {items} changed after being taken: what was taken first stands")
        });
        let dead = self.machine.queues().filter(|queue| queue.counts.dead > 0).map(|queue| {
            let (name, dead) = (queue.name, count_text(queue.counts.dead, "dead job"));
            format!("{dead} in queue {name}: see `sprag list --state dead --queue {name}`")
        });
        let stopping = match self.stopping {
            StopLevel::Run => None,
            StopLevel::Drain => Some("sprag is stopping: nothing new is started, what runs may finish"),
            StopLevel::Kill => Some("sprag is stopping: what runs is ended"),
        };
        stopping.map(str::to_owned).into_iter().chain(waiting).chain(changed).chain(dead).collect()
    }

    /// The path of a source as the user wrote it.
    pub fn source_name(&self, index: u16) -> String {
        self.pipeline.source(index).map_or_else(|| "drop-box".into(), |spec| spec.path.display().to_string())
    }

    /// The name of a service as the user wrote it.
    pub fn service_name(&self, index: u16) -> &str {
        self.pipeline.services.get(usize::from(index)).map_or("?", |service| service.name.as_str())
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
                let known = self.intake.complaint(source.0).map(|complaint| complaint.text.clone());
                let text = known.unwrap_or_else(|| fault_text(fault).into());
                format!("{}: {text}", self.source_name(source.0))
            }
            Reason::Unproved { job } => format!("an attempt of job {} cannot be proved dead: it keeps its slot", job.0),
            Reason::Unpublished { job } => unpublished(job, self.destinations.fault(job).unwrap_or("its destination")),
            Reason::QueueFailing { queue, deaths } => {
                let name = self.machine.queue_name(queue);
                format!("the last {deaths} jobs of queue {name} all died: see `sprag list --state dead --queue {name}`")
            }
            Reason::ServiceFailing { service } => {
                let name = self.service_name(service);
                let view = self.services.last_exit_text(service);
                let mend = if self.services.is_hopeless(service) {
                    format!("mend `command` in [service.{name}] and restart")
                } else {
                    format!("see `sprag log {name}`")
                };
                format!("service {name} keeps failing ({view}): {mend}")
            }
            Reason::NoSpace => "the disk is full: adds are refused and nothing starts".into(),
        }
    }
}
