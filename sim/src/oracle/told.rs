//! What listeners were told: the stream of events.
//!
//! **Invariant.** It tells every record that says something, once, in order, as it stands on record, and not before it is
//! durable.

use super::records::{Fold, Record};
use crate::failure::{Check, Failure};

/// What one life of sprag told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Records up to this one stood there before it began.
    after: u64,
    records: Vec<Record>,
    /// It came to its end by itself, with so many records: nothing is untold.
    through: Option<u64>,
}

/// All that was told.
#[derive(Debug, Default)]
pub(super) struct Stream(Vec<Told>);

impl Stream {
    /// A life of sprag begins, with so many records.
    pub(super) fn begins(&mut self, after: u64) {
        self.0.push(Told { after, ..Told::default() });
    }

    /// A line is told, while this much is durable.
    pub(super) fn tells(&mut self, line: &[u8], durable: u64) -> Result<(), Failure> {
        let failed = |what: String| Check::ToldIsTrue.failed(format!("{what}: {}", String::from_utf8_lossy(line)));
        let record: Record = serde_json::from_slice(line).map_err(|error| failed(error.to_string()))?;
        if record.seq > durable {
            return Err(failed(format!("told while only {durable} records are durable")));
        }
        if let Some(told) = self.0.last_mut() {
            told.records.push(record);
        }
        Ok(())
    }

    /// This life has nothing more to tell.
    pub(super) fn ends(&mut self, through: u64) {
        if let Some(told) = self.0.last_mut() {
            told.through = Some(through);
        }
    }

    /// Holds it against the records.
    pub(super) fn judge(&self, records: &[Record], fold: &Fold) -> Result<(), Failure> {
        for told in &self.0 {
            // Another life goes on where this one ended.
            let last = told.through.or(told.records.last().map(|record| record.seq)).unwrap_or(0);
            let expected = records.iter().filter(|record| record.seq > told.after && record.seq <= last);
            let mut expected = expected.filter(|record| record.speaks());
            for told in &told.records {
                let record = expected.next();
                if !record.is_some_and(|record| told.tells(record, fold)) {
                    return Err(Check::ToldIsTrue.failed(format!("{told:?} is told, and {record:?} is on record")));
                }
            }
            if let Some(record) = expected.next() {
                return Err(Check::ToldIsTrue.failed(format!("{record:?} is on record, and nobody was told")));
            }
        }
        Ok(())
    }
}

impl Record {
    /// Whether it says something to anybody.
    fn speaks(&self) -> bool {
        let unused = self.kind == "finished" && self.next.as_deref() == Some("unused");
        self.kind != "reserved" && self.kind != "key_forgotten" && !unused
    }

    /// Whether this, as it was told, is what stands there.
    fn tells(&self, record: &Record, fold: &Fold) -> bool {
        let job = record.job.and_then(|job| fold.jobs.get(&job));
        // The last of a job may be told when it is forgotten already.
        let queue = match (self.queue.as_deref(), job) {
            (None, Some(job)) => job.forgotten,
            (told, Some(job)) => told == Some(&job.queue),
            (told, None) => told == record.queue.as_deref(),
        };
        let same = (self.seq, &self.kind, self.at, self.job) == (record.seq, &record.kind, record.at, record.job);
        let words = (&self.outcome, &self.next, &self.reason) == (&record.outcome, &record.next, &record.reason);
        let numbers = (self.attempt, self.due, self.priority) == (record.attempt, record.due, record.priority);
        same && words && numbers && queue && self.key == record.key
    }
}
