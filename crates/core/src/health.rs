//! Health, judged on progress while work waits; never on the age of a heartbeat, never on how long a job takes.
//!
//! **Invariant.** A counter moves only when the thing itself moved; `stalled` needs waiting work and no movement for
//! `stall_ms`; every verdict but `well` carries its reasons.

use crate::ids::{JobId, QueueId, SourceId};
use crate::planted::{Bug, planted};
use crate::time::Mono;
use crate::vocabulary::Space;
use alloc::{collections::BTreeSet, vec, vec::Vec};
use serde::{Deserialize, Serialize};

/// So many jobs are named for one kind of trouble; a verdict is asked for with every input.
const NAMED_MAX: usize = 20;

/// What became of a look at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceReport {
    /// It is being read.
    Looking,
    /// It was read whole, and this many items were offered that had not been offered before.
    Read {
        /// How many.
        new_items: u64,
    },
    /// It could not be taken as it is; the last good state stands.
    Fault(SourceFault),
}

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceFault {
    /// There is no such file.
    Missing,
    /// The system would not let us read it.
    Unreadable,
    /// Over a limit on bytes, items or depth.
    TooLarge,
    /// Not valid UTF-8, or not the format it should be: half-written, truncated, empty.
    Malformed,
    /// Some items have no key where the configuration says; the others were taken.
    ItemWithoutKey,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that can move moves.
    Well,
    /// Work goes on, but something is wrong.
    Degraded(Vec<Reason>),
    /// Work waits and nothing moves.
    Stalled(Vec<Reason>),
}

/// Why health is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The journal has not answered for so long.
    JournalStalled {
        /// Milliseconds.
        waiting_ms: u64,
    },
    /// Jobs are ready, a place is free or held by nothing alive, and nothing starts.
    QueueStalled {
        /// Which.
        queue: QueueId,
        /// Milliseconds.
        waiting_ms: u64,
    },
    /// A look at the source has not come back for so long.
    SourceStalled {
        /// Which.
        source: SourceId,
        /// Milliseconds.
        waiting_ms: u64,
    },
    /// The source cannot be taken as it is.
    Source {
        /// Which.
        source: SourceId,
        /// Why.
        fault: SourceFault,
    },
    /// An attempt was killed and cannot be proved dead: its slot stays taken.
    Unproved {
        /// Its job.
        job: JobId,
    },
    /// A result could not be put at its destination.
    Unpublished {
        /// Its job.
        job: JobId,
    },
    /// The copy of the heartbeat cannot be put where it was asked for.
    StatusNotCopied,
    /// The disk has no room: adds are refused, and nothing starts when it is full.
    NoSpace {
        /// More than `Enough`.
        space: Space,
    },
    /// The last jobs of the queue that came to an end in this life of sprag all died: at least [`DEATHS_MAX`].
    QueueFailing {
        /// Which.
        queue: QueueId,
        /// How many, one after the other.
        deaths: u32,
    },
    /// The service fails again and again, or has failed for good.
    ServiceFailing {
        /// Its place in the configuration.
        service: u16,
    },
}

/// So many jobs of a queue that die one after the other, none of them succeeding, are more than bad luck.
pub const DEATHS_MAX: u32 = 5;

/// Progress of one queue or source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Moves on with each start and each end of an attempt, or with each complete read.
    pub count: u64,
    /// When it last moved.
    pub last: Option<Mono>,
    /// Since when it should move and does not.
    pub(crate) waiting: Option<Mono>,
    /// Of a queue: jobs that died since one succeeded, or since somebody had one tried again.
    pub deaths: u32,
    /// Of a source: something stood there in this life, whether or not it could be taken.
    #[serde(default)]
    pub(crate) stood: bool,
}

/// What the judgement is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    queues: Vec<Progress>,
    sources: Vec<(Progress, Option<SourceFault>)>,
    journal: Progress,
    pub(crate) space: Space,
    pub(crate) status_copied: bool,
    pub(crate) unproved: BTreeSet<JobId>,
    pub(crate) unpublished: BTreeSet<JobId>,
    failing_services: BTreeSet<u16>,
}

impl Progress {
    fn moved(&mut self, now: Mono) {
        self.count += 1;
        self.last = Some(now);
        self.waiting = None;
    }

    fn waits(&mut self, waits: bool, now: Mono) {
        self.waiting = if waits { self.waiting.or(Some(now)) } else { None };
    }

    fn stalled_ms(&self, now: Mono, stall_ms: u64) -> Option<u64> {
        let waiting_ms = self.waiting.map(|since| now.since_ms(since)).filter(|waiting_ms| *waiting_ms >= stall_ms);
        waiting_ms.filter(|_| !planted(Bug::StallHealthy))
    }
}

impl Health {
    pub(crate) fn new(sources: u16) -> Health {
        Health {
            queues: Vec::new(),
            sources: vec![(Progress::default(), None); usize::from(sources)],
            journal: Progress::default(),
            space: Space::Enough,
            status_copied: true,
            unproved: BTreeSet::new(),
            unpublished: BTreeSet::new(),
            failing_services: BTreeSet::new(),
        }
    }

    pub(crate) fn queue_moved(&mut self, queue: QueueId, now: Mono) {
        self.queue_mut(queue).moved(now);
    }

    /// Whether jobs of the queue wait that nothing alive holds up.
    pub(crate) fn queue_waits(&mut self, queue: QueueId, waits: bool, now: Mono) {
        self.queue_mut(queue).waits(waits, now);
    }

    pub(crate) fn journal_moved(&mut self, still_waits: bool, now: Mono) {
        self.journal.moved(now);
        self.journal.waits(still_waits, now);
    }

    pub(crate) fn journal_waits(&mut self, now: Mono) {
        self.journal.waits(true, now);
    }

    pub(crate) fn source(&mut self, source: SourceId, report: SourceReport, now: Mono) {
        let Some((progress, fault)) = self.sources.get_mut(usize::from(source.0)) else { return };
        match report {
            SourceReport::Looking => progress.waits(true, now),
            SourceReport::Read { .. } => {
                progress.moved(now);
                progress.stood = true;
                *fault = None;
            }
            SourceReport::Fault(kind) => {
                progress.waits(false, now);
                progress.stood |= kind != SourceFault::Missing;
                *fault = Some(kind);
            }
        }
    }

    /// A job of the queue died.
    pub(crate) fn died(&mut self, queue: QueueId) {
        let deaths = &mut self.queue_mut(queue).deaths;
        *deaths = deaths.saturating_add(1);
    }

    /// A job of the queue succeeded, or a dead one is tried again: somebody has seen to it.
    pub(crate) fn lives(&mut self, queue: QueueId) {
        self.queue_mut(queue).deaths = 0;
    }

    /// Whether the service is known to fail again and again.
    pub fn service_is_failing(&self, service: u16) -> bool {
        self.failing_services.contains(&service)
    }

    pub(crate) fn service(&mut self, service: u16, failing: bool) {
        if failing {
            self.failing_services.insert(service);
        } else {
            self.failing_services.remove(&service);
        }
    }

    /// The judgement as of `now`.
    pub fn verdict(&self, now: Mono, stall_ms: u64) -> Verdict {
        let (mut stalled, mut degraded) = (Vec::new(), Vec::new());
        stalled.extend(self.journal.stalled_ms(now, stall_ms).map(|waiting_ms| Reason::JournalStalled { waiting_ms }));
        for (queue, progress) in (0..).map(QueueId).zip(&self.queues) {
            let waiting = progress.stalled_ms(now, stall_ms);
            stalled.extend(waiting.map(|waiting_ms| Reason::QueueStalled { queue, waiting_ms }));
            let failing = progress.deaths >= DEATHS_MAX;
            degraded.extend(failing.then_some(Reason::QueueFailing { queue, deaths: progress.deaths }));
        }
        for (source, (progress, fault)) in (0..).map(SourceId).zip(&self.sources) {
            let waiting = progress.stalled_ms(now, stall_ms);
            stalled.extend(waiting.map(|waiting_ms| Reason::SourceStalled { source, waiting_ms }));
            // One that was never there is waited for; one that is gone is missed.
            let fault = fault.filter(|fault| *fault != SourceFault::Missing || progress.stood);
            degraded.extend(fault.map(|fault| Reason::Source { source, fault }));
        }
        degraded.extend(self.unproved.iter().take(NAMED_MAX).map(|job| Reason::Unproved { job: *job }));
        degraded.extend(self.unpublished.iter().take(NAMED_MAX).map(|job| Reason::Unpublished { job: *job }));
        degraded.extend((!self.status_copied).then_some(Reason::StatusNotCopied));
        degraded.extend((self.space > Space::Enough).then_some(Reason::NoSpace { space: self.space }));
        degraded.extend(self.failing_services.iter().map(|service| Reason::ServiceFailing { service: *service }));
        if !stalled.is_empty() {
            stalled.append(&mut degraded);
            Verdict::Stalled(stalled)
        } else if !degraded.is_empty() {
            Verdict::Degraded(degraded)
        } else {
            Verdict::Well
        }
    }

    /// The progress of a queue.
    pub fn queue(&self, queue: QueueId) -> Progress {
        self.queues.get(usize::from(queue.0)).copied().unwrap_or_default()
    }

    /// The progress of the journal: moves on with each frame that becomes durable.
    pub fn journal(&self) -> Progress {
        self.journal
    }

    /// The progress of a source, and what is wrong with it.
    pub fn source_progress(&self, source: SourceId) -> (Progress, Option<SourceFault>) {
        self.sources.get(usize::from(source.0)).copied().unwrap_or_default()
    }

    fn queue_mut(&mut self, queue: QueueId) -> &mut Progress {
        let at = usize::from(queue.0);
        if self.queues.len() <= at {
            self.queues.resize(at + 1, Progress::default());
        }
        &mut self.queues[at]
    }
}
