//! An oracle for the journal that shares no code with it: what was written, what was acknowledged, and the rule that ties a
//! recovered state to both.
//!
//! **Invariant.** What a recovery gives is a prefix of what was written, with everything in it that was acknowledged. Where it
//! is not, [`session`] panics with both.

use crate::fs::{Image, SimFs};
use sprag_journal::{
    Append, Cut, Entry, JournalError, Limits, Opened, Place, Pruned, QueueId, Replay, Snapshot, SnapshotWriter, open,
    prune, prune_hard,
};
use std::fmt;
use std::path::Path;

/// The pipeline's folder.
pub const ROOT: &str = "/q";

/// Small, so that a few records rotate.
pub const LIMITS: Limits = Limits {
    frame_bytes_max: 2048,
    segment_bytes_max: 500,
    segment_bytes_min: 500,
    reserve_bytes: 4096,
    essential_bytes: 4096,
    room_bytes: 2048,
    fill_bytes: 64,
};

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many records in one frame, each with so many bytes of text.
    Append(usize, usize),
    /// Seals the segment.
    Seal,
    /// Takes a snapshot of everything.
    Snapshot,
    /// Removes what the newest snapshot covers, if there is one.
    Prune,
    /// As well, without keeping the one before it.
    PruneHard,
    /// Opens the journal again.
    Reopen,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Append(records, text) => write!(f, "append {records} records of {text} bytes in one frame"),
            Step::Seal => write!(f, "seal"),
            Step::Snapshot => write!(f, "take a snapshot"),
            Step::Prune => write!(f, "prune by the newest snapshot"),
            Step::PruneHard => write!(f, "prune by the newest snapshot alone"),
            Step::Reopen => write!(f, "open again"),
        }
    }
}

/// What the world knows: every record in order, and how many of them were acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// All.
    pub written: Vec<String>,
    /// The first so many are durable.
    pub acked: usize,
}

impl Known {
    /// Panics if that is not a prefix of what was written, with everything in it that was acknowledged.
    pub fn check(&self, recovered: &[String]) {
        let prefix = recovered.len() <= self.written.len() && recovered == &self.written[..recovered.len()];
        assert!(prefix, "recovered {recovered:?}, which is no prefix of what was written: {self:?}");
        assert!(recovered.len() >= self.acked, "recovered {recovered:?}, acknowledged records are missing: {self:?}");
    }
}

/// What a recovery gave, line by line.
#[derive(Default)]
pub struct Lines(pub Vec<String>);

impl Replay<SimFs> for Lines {
    fn snapshot(&mut self, snapshot: &Snapshot<SimFs>) -> Result<(), JournalError> {
        assert!(self.0.is_empty(), "a snapshot after a record");
        let mut push = |_, line: &[u8]| {
            self.0.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        };
        snapshot.for_each_line(&mut push)
    }

    fn forget(&mut self) {
        self.0.clear();
    }

    fn record(&mut self, seq: u64, place: Place, line: &[u8]) -> Result<(), String> {
        self.0.push(String::from_utf8_lossy(line).into_owned());
        assert_eq!(seq, self.0.len() as u64, "a record out of order");
        assert_eq!(place.len as usize, line.len(), "a record that is not where it is said to be");
        Ok(())
    }
}

/// Opens the journal; what stands in it.
///
/// # Errors
/// Those of the journal.
pub fn open_lines(fs: &SimFs) -> Result<(Opened<SimFs>, Vec<String>), JournalError> {
    let mut lines = Lines::default();
    let opened = open(fs, Path::new(ROOT), LIMITS, QueueId([9; 16]), &mut lines)?;
    Ok((opened, lines.0))
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With its last step.
    Done,
    /// An error of the system: a crash or an injected fault.
    Stopped,
}

/// One life of the process.
pub struct Session<'a> {
    fs: &'a SimFs,
    /// Texts differ by it, so that nothing is ever mistaken.
    tag: &'a str,
    opened: Opened<SimFs>,
    known: Known,
}

/// One life of the process: opens the journal, checks what it finds, does the steps. Damage is never to be found: every
/// state that it is started on is one that the contract allows.
pub fn session(fs: &SimFs, known: &Known, steps: &[Step], tag: &str) -> (Known, End, Option<Cut>) {
    let Some(mut session) = Session::open(fs, known, tag) else { return (known.clone(), End::Stopped, None) };
    let cut = session.opened.cut.clone();
    let end = if steps.iter().all(|step| session.step(*step)) { End::Done } else { End::Stopped };
    (session.known, end, cut)
}

impl<'a> Session<'a> {
    /// Opens the journal and checks what it finds; none if the system gave an error.
    pub fn open(fs: &'a SimFs, known: &Known, tag: &'a str) -> Option<Session<'a>> {
        let (opened, lines) = match open_lines(fs) {
            Ok(opened) => opened,
            Err(JournalError::Io { .. }) => return None,
            Err(refused) => panic!("a state that a crash may leave was refused: {refused}; known: {known:?}"),
        };
        known.check(&lines);
        // What recovery gave out counts from here on.
        let known = Known { acked: lines.len(), written: lines };
        Some(Session { fs, tag, opened, known })
    }

    /// What is known by now.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Does a step; false if the system gave an error.
    pub fn step(&mut self, step: Step) -> bool {
        let frame = match step {
            Step::Append(records, text) => {
                for _ in 0..records {
                    let number = self.known.written.len() + 1;
                    let record = format!("{{\"{}{number}\":\"{}\"}}", self.tag, "x".repeat(text));
                    self.opened.framer.push(record.as_bytes());
                    self.known.written.push(record);
                }
                self.opened.framer.frame()
            }
            Step::Seal => self.opened.framer.seal(),
            // It covers the end of a frame; before the first there is none.
            Step::Snapshot if self.known.written.is_empty() => return true,
            Step::Snapshot => return went_well("a snapshot", self.snapshot()),
            Step::Prune => return went_well("pruning", self.prune(prune)),
            Step::PruneHard => return went_well("pruning", self.prune(prune_hard)),
            Step::Reopen => return self.reopen(),
        };
        let Some(frame) = frame else { return true };
        match self.opened.writer.append(&frame) {
            Append::Committed(end) => {
                self.opened.framer.committed(end);
                self.known.acked = self.known.written.len();
                true
            }
            Append::Refused(_) | Append::Unknown(_) => false,
            Append::Conflict => panic!("a conflict with nobody"),
        }
    }

    /// Twice: what the first one mends the second one must find whole.
    fn reopen(&mut self) -> bool {
        for _ in 0..2 {
            let Some(again) = Session::open(self.fs, &self.known, self.tag) else { return false };
            *self = again;
        }
        true
    }

    fn snapshot(&self) -> Result<(), JournalError> {
        let position = self.opened.writer.position();
        let mut writer = SnapshotWriter::create(self.fs, Path::new(ROOT), self.opened.queue, position)?;
        let queue = writer.names().intern("q");
        for (i, line) in self.known.written.iter().enumerate() {
            writer.push(line.as_bytes(), Some(Entry { job: i as u64 + 1, queue, ..Entry::default() }))?;
        }
        writer.finish().map(drop)
    }

    /// By way of a recovery, as a process does that has just started.
    fn prune(&self, prune: Prune) -> Result<(), JournalError> {
        match open_lines(self.fs)?.0.snapshot {
            Some(newest) => prune(self.fs, Path::new(ROOT), &newest).map(drop),
            None => Ok(()),
        }
    }
}

type Prune = fn(&SimFs, &Path, &Snapshot<SimFs>) -> Result<Pruned, JournalError>;

fn went_well(what: &str, result: Result<(), JournalError>) -> bool {
    match result {
        Ok(()) => true,
        Err(JournalError::Io { .. }) => false,
        Err(error) => panic!("{what} failed: {error}"),
    }
}

/// The pipeline's folder, and nothing in it.
pub fn empty_disk() -> Image {
    Image { dirs: [ROOT.into()].into(), ..Image::default() }
}
