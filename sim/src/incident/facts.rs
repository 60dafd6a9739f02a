//! What the journal says: its records by number, and which life wrote them.
//!
//! **Invariant.** Only frames that are right count, and nothing is written. The state after a record is the newest snapshot
//! before it and the fold of the records since, by the code that opening uses.

use serde::Deserialize;
use sprag_core::{Machine, Now};
use sprag_journal::fs::{Fs, read_all};
use sprag_journal::{Place, dump, newest_before};
use sprag_runtime::flight::Head;
use sprag_runtime::history;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A journal as a reader finds it.
#[derive(Debug)]
pub struct Facts<F: Fs> {
    fs: F,
    root: PathBuf,
    queue: Option<String>,
    records: BTreeMap<u64, (Place, Box<[u8]>)>,
    /// The last record of each epoch.
    ends: BTreeMap<u64, u64>,
}

impl<F: Fs> Facts<F> {
    /// Reads the journal in a state folder.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn read(fs: &F, root: &Path) -> Result<Facts<F>, String> {
        let mut records = BTreeMap::new();
        let report = dump(fs, root, &mut |seq, place, line| {
            records.insert(seq, (place, line.into()));
            Ok(())
        });
        let report = report.map_err(|error| error.to_string())?;
        if let Some(error) = report.errors.first() {
            return Err(error.to_string());
        }
        let end = report.end.map_or(0, |end| end.seq);
        let mut ends = BTreeMap::new();
        for segment in &report.segments {
            let bytes = read_all(fs, &segment.file, u64::MAX)
                .map_err(|error| format!("cannot read {}: {error}", segment.file.display()))?;
            commits(&bytes, &mut |seq, epoch| {
                if seq <= end {
                    ends.insert(epoch, seq);
                }
            });
        }
        let queue = report.queue.map(|queue| queue.to_string());
        Ok(Facts { fs: fs.clone(), root: root.to_owned(), queue, records, ends })
    }

    /// The record of that number: where it stands, and its line.
    pub(super) fn record(&self, seq: u64) -> Option<(Place, &[u8])> {
        self.records.get(&seq).map(|(place, line)| (*place, &**line))
    }

    /// The last record that is of this epoch or an earlier one.
    pub(super) fn end_of(&self, epoch: u64) -> u64 {
        self.ends.range(..=epoch).next_back().map_or(0, |(_, seq)| *seq)
    }

    /// The Machine at the beginning of a segment. A life that has just opened its journal has not resumed yet.
    pub(super) fn machine(&self, head: &Head) -> Result<Machine, String> {
        if self.queue.as_ref().is_some_and(|queue| *queue != head.queue) {
            return Err("it belongs to another journal".into());
        }
        let limit = self.end_of(head.epoch);
        if head.seq.0 > limit && !head.opens {
            return Err(format!("it begins behind record {}, which never became durable", head.seq.0));
        }
        let mut machine = Machine::new(head.config.clone());
        for name in &head.queues {
            machine.queue_named(name);
        }
        let from = self.restore(&mut machine, head.now, head)?;
        for seq in from + 1..=head.seq.0 {
            let (place, line) = self.record(seq).ok_or_else(|| {
                format!("it begins behind record {}, and record {seq} is no longer in the journal", head.seq.0)
            })?;
            history::replay_line(&mut machine, |_| head.now, seq, place, line)?;
        }
        if let Some(volatile) = &head.volatile {
            machine.assume(volatile.clone()).map_err(|what| format!("it does not fit the journal: {what}"))?;
        }
        Ok(machine)
    }

    /// Begins with a snapshot: the one that this life began with, if it is still there; another one only if all that is not by
    /// the records was written down. Says up to which record.
    fn restore(&self, machine: &mut Machine, now: Now, head: &Head) -> Result<u64, String> {
        let before = |seq: u64| newest_before(&self.fs, &self.root, seq + 1).map_err(|error| error.to_string());
        let own = before(head.snapshot)?.filter(|snapshot| snapshot.covers().seq == head.snapshot);
        if own.is_none() && head.snapshot == 0 && self.records.contains_key(&1) {
            return Ok(0);
        }
        if own.is_none() && head.volatile.is_none() {
            return Err(format!(
                "it begins with the snapshot through record {}, which is no longer there",
                head.snapshot
            ));
        }
        let snapshot = if own.is_some() { own } else { before(head.seq.0)? };
        let Some(snapshot) = snapshot else { return Ok(0) };
        history::restore(machine, now, &snapshot).map_err(|error| error.to_string())?;
        Ok(snapshot.covers().seq)
    }
}

/// The end of a frame, by its documented fields.
#[derive(Deserialize)]
struct End {
    commit: Commit,
}

#[derive(Deserialize)]
struct Commit {
    seq: u64,
    epoch: u64,
}

/// The commit lines: last record and epoch of each.
fn commits(bytes: &[u8], on: &mut dyn FnMut(u64, u64)) {
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"commit\":{\"seq\":")) {
        if let Ok(End { commit: Commit { seq, epoch } }) = serde_json::from_slice(line) {
            on(seq, epoch);
        }
    }
}
