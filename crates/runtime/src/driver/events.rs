//! What happens to jobs, for whoever listens.
//!
//! **Invariant.** A record is told once, in order, after it is durable; one that says nothing to anybody (a reservation,
//! and that it was not used) is passed over.

use super::{Driver, Effect};
use sprag_core::{Bug, Machine, Next, Now, QueueId, Record, Seq, Wall, planted};
use sprag_journal::codec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A durable record, with the words that make it readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Its place in the journal.
    pub seq: Seq,
    at: Wall,
    record: Record,
    queue: Option<Arc<str>>,
    key: Option<Arc<str>>,
}

impl Happened {
    /// The line of JSON that a listener is told.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        codec::tell(&mut line, self.seq, self.at, &self.record, self.queue.as_deref(), self.key.as_deref());
        line
    }

    /// About how much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Happened>() + self.key.as_ref().map_or(0, |key| key.len())
    }
}

#[derive(Debug, Default)]
pub(super) struct Events {
    /// Told once their record is durable.
    withheld: VecDeque<Happened>,
    names: BTreeMap<QueueId, Arc<str>>,
}

impl Events {
    pub(super) fn decided(&mut self, now: Now, seq: Seq, record: &Record, machine: &Machine, key: Option<&str>) {
        let queue = match *record {
            Record::Reserved { .. } | Record::KeyForgotten { .. } | Record::Finished { next: Next::Unused, .. } => {
                return;
            }
            Record::Paused { queue } | Record::Resumed { queue } => Some(queue),
            Record::Added { .. }
            | Record::Started { .. }
            | Record::Finished { .. }
            | Record::Cancelled { .. }
            | Record::Redriven { .. }
            | Record::Published { .. }
            | Record::Forgotten { .. } => record.job().and_then(|job| machine.job(job)).map(|job| job.queue),
        };
        let mut name = |queue| Arc::clone(self.names.entry(queue).or_insert_with(|| machine.queue_name(queue).into()));
        // What is decided beside an addition is not about its job.
        let key = key.filter(|_| matches!(record, Record::Added { .. }) || planted(Bug::KeyToldOfOther));
        let happened =
            Happened { seq, at: now.wall, record: *record, queue: queue.map(&mut name), key: key.map(Into::into) };
        self.withheld.push_back(happened);
    }
}

impl Driver {
    /// Tells what is durable by now.
    pub(super) fn tell_happened(&mut self, through: Seq) {
        let through = if planted(Bug::ToldEarly) { self.machine.last_seq() } else { through };
        let withheld = &mut self.events.withheld;
        let count = withheld.iter().take_while(|happened| happened.seq <= through).count();
        if count > 0 {
            self.effects.push_back(Effect::Happened(withheld.drain(..count).collect()));
        }
    }
}
