//! What people see: notices as things happen, and the heartbeat file.
//!
//! **Invariant.** A notice about a record is said after the record is durable. The heartbeat is composed by the loop that
//! does the work, carries its progress, and at most one is on its way to the disk.

use super::destinations::unpublished;
use super::nag::Nag;
use super::{Driver, Effect};
use crate::pipeline::RESULT_BYTES_MAX;
use crate::scan::Complaint;
use crate::seams::ChildId;
use crate::task::Task;
use sprag_core::{Bug, planted};
use sprag_core::{
    Counts, DeadReason, Input, JobId, Machine, Mono, Next, Now, Outcome, QueueView, Reason, Record, Refusal, Reply,
    Seq, SourceFault, SpawnFailure, StopLevel, Verdict,
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
    /// Somebody wants a job ended.
    Cancelled { job: JobId, queue: String },
    /// Somebody wants a job tried again.
    Redriven { job: JobId, queue: String },
    /// Somebody paused a queue, or let it go on.
    Paused { queue: String, paused: bool },
    /// Somebody wants sprag to end.
    Stopping { level: StopLevel },
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
    /// A command was not executed: said of one of its queue, or of the service, and then less and less often.
    NotExecuted { child: ChildId, failure: SpawnFailure, why: String },
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
    /// The flight recorder leaves something out.
    NotRecorded { what: String },
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
    /// Since when the copy of the heartbeat is under way, and why the last one failed.
    copying: Option<Mono>,
    copy_error: Option<String>,
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
            copying: None,
            copy_error: None,
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
            && outcome.is_some_and(was_executed)
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
            Record::Reserved { .. } | Record::Forgotten { .. } | Record::KeyForgotten { .. } => return,
            Record::Cancelled { job } => Notice::Cancelled { job, queue: queue_of(job) },
            Record::Redriven { job } => Notice::Redriven { job, queue: queue_of(job) },
            Record::Paused { queue } => Notice::Paused { queue: machine.queue_name(queue).to_owned(), paused: true },
            Record::Resumed { queue } => Notice::Paused { queue: machine.queue_name(queue).to_owned(), paused: false },
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

/// Whether the command began, whatever came of it.
fn was_executed(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::NotFound | Outcome::NotExecutable | Outcome::NotStarted)
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
        | Reason::StatusNotCopied
        | Reason::NoSpace { .. }
        | Reason::ServiceFailing { .. } => *reason,
    };
    reasons.iter().map(timeless).collect()
}

/// So many of them, in words: `1 job`, `2 jobs`.
pub fn count_text(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Why the jobs that wait in a queue wait for a person, and what to do; `None` when none do.
pub fn waits_text(queue: &str, configured: bool, paused: bool, jobs: Counts) -> Option<String> {
    let waiting = Some(jobs.scheduled + jobs.ready).filter(|waiting| *waiting > 0)?;
    let (jobs, verb) = (count_text(waiting, "job"), if waiting == 1 { "waits" } else { "wait" });
    match (configured, paused) {
        (false, _) => {
            Some(format!("{jobs} {verb} in queue {queue}, which is not in sprag.toml: add it, or cancel them"))
        }
        (true, true) => Some(format!("{jobs} {verb} in queue {queue}, which is paused: `sprag resume {queue}`")),
        (true, false) => None,
    }
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
        Outcome::NotStarted => "its command could not be started this time".into(),
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
            self.copy_status(now, &json);
            self.effects.push_back(Effect::Run(Task::Status { json }));
        }
    }

    /// A source was looked at: that alone is no news.
    pub(super) fn looked_at(&mut self, now: Now) {
        if planted(Bug::OwnWritesHeard) {
            self.reporter.status_at = now.mono;
        }
    }

    /// Puts the heartbeat where a monitor looks too. One that hangs there holds up nothing, and health says so.
    fn copy_status(&mut self, now: Now, json: &[u8]) {
        let Some(path) = &self.pipeline.status_path else { return };
        if let Some(since) = self.reporter.copying {
            let (path, waiting_s) = (path.display(), now.mono.since_ms(since) / 1_000);
            self.reporter.copy_error = Some(format!("{path} has not answered for {waiting_s} s"));
            return self.input(now, Input::StatusCopied { well: false });
        }
        self.reporter.copying = Some(now.mono);
        self.effects.push_back(Effect::Run(Task::CopyStatus { json: json.to_vec() }));
    }

    pub(super) fn status_copied(&mut self, now: Now, result: Result<(), String>) {
        self.reporter.copying = None;
        self.reporter.copy_error = result.err();
        self.input(now, Input::StatusCopied { well: self.reporter.copy_error.is_none() });
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
    pub(super) fn notes(&self) -> Vec<String> {
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
        let held = |queue: QueueView<'_>| waits_text(queue.name, queue.configured, queue.paused, queue.counts);
        let held = self.machine.queues().filter_map(held);
        let stopping = match self.stopping {
            StopLevel::Run => None,
            StopLevel::Drain => Some("sprag is stopping: nothing new is started, what runs may finish"),
            StopLevel::Kill => Some("sprag is stopping: what runs is ended"),
        };
        stopping.map(str::to_owned).into_iter().chain(waiting).chain(changed).chain(held).chain(dead).collect()
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
            Reason::StatusNotCopied => {
                let what = self.reporter.copy_error.as_deref().unwrap_or("it was not tried yet");
                format!("the copy of the heartbeat cannot be written: {what}")
            }
            Reason::NoSpace { space } => self.space_text(space),
        }
    }
}
