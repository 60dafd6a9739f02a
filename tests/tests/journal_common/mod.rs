//! An oracle for the journal that shares no code with it: what was written, what was acknowledged, and the rule that ties a
//! recovered state to both.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "shared by several tests")]

use std::collections::BTreeSet;
use std::path::Path;

use sim::fs::{Fault, Image, SimFs, Tear};
use sprag_journal::{
    Append, Cut, Entry, JournalError, Limits, Opened, Place, QueueId, Replay, Snapshot, SnapshotWriter, open, prune,
};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many records in one frame, each with so many bytes of text.
    Append(usize, usize),
    Seal,
    Snapshot,
    Prune,
    Reopen,
}

/// What the world knows: every record in order, and how many of them were acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    pub written: Vec<String>,
    pub acked: usize,
}

impl Known {
    /// The contract: a prefix of what was written, with everything in it that was acknowledged.
    pub fn check(&self, recovered: &[String]) {
        let prefix = recovered.len() <= self.written.len() && recovered == &self.written[..recovered.len()];
        assert!(prefix, "recovered {recovered:?}, which is no prefix of what was written: {self:?}");
        assert!(recovered.len() >= self.acked, "recovered {recovered:?}, acknowledged records are missing: {self:?}");
    }
}

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
        assert_eq!(seq, self.0.len() as u64);
        assert_eq!(place.len as usize, line.len());
        Ok(())
    }
}

pub fn open_lines(fs: &SimFs) -> Result<(Opened<SimFs>, Vec<String>), JournalError> {
    let mut lines = Lines::default();
    let opened = open(fs, Path::new(ROOT), LIMITS, QueueId([9; 16]), &mut lines)?;
    Ok((opened, lines.0))
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// An error of the system: a crash or an injected fault.
    Stopped,
}

/// One life of the process: opens the journal, checks what it finds, does the steps. Damage is never to be found: every
/// state that it is started on is one that the contract allows. Texts differ by `tag`, so that nothing is ever mistaken.
pub fn session(fs: &SimFs, known: &Known, steps: &[Step], tag: &str) -> (Known, End, Option<Cut>) {
    let (mut opened, lines) = match open_lines(fs) {
        Ok(opened) => opened,
        Err(JournalError::Io { .. }) => return (known.clone(), End::Stopped, None),
        Err(refused) => panic!("a state that a crash may leave was refused: {refused}\nknown: {known:?}"),
    };
    known.check(&lines);
    let cut = opened.cut.clone();
    // What recovery gave out counts from here on.
    let mut known = Known { acked: lines.len(), written: lines };
    for step in steps {
        let frame = match step {
            Step::Append(records, text) => {
                for _ in 0..*records {
                    let record = format!("{{\"{tag}{}\":\"{}\"}}", known.written.len() + 1, "x".repeat(*text));
                    opened.framer.push(record.as_bytes());
                    known.written.push(record);
                }
                opened.framer.frame()
            }
            Step::Seal => opened.framer.seal(),
            Step::Snapshot => match snapshot(fs, &opened, &known) {
                Ok(_) => None,
                Err(JournalError::Io { .. }) => return (known, End::Stopped, cut),
                Err(e) => panic!("a snapshot failed: {e}"),
            },
            Step::Prune => match newest(fs).and_then(|s| prune(fs, Path::new(ROOT), &s)) {
                Ok(_) => None,
                Err(JournalError::Io { .. }) => return (known, End::Stopped, cut),
                Err(e) => panic!("pruning failed: {e}"),
            },
            Step::Reopen => {
                let (again, end, _) = session(fs, &known, &[], tag);
                known = again;
                match (end, open_lines(fs)) {
                    (End::Done, Ok((o, _))) => opened = o,
                    (End::Done | End::Stopped, _) => return (known, End::Stopped, cut),
                }
                None
            }
        };
        let Some(frame) = frame else { continue };
        match opened.writer.append(&frame) {
            Append::Committed(end) => {
                opened.framer.committed(end);
                known.acked = known.written.len();
            }
            Append::Refused(_) | Append::Unknown(_) => return (known, End::Stopped, cut),
            Append::Conflict => panic!("a conflict with nobody"),
        }
    }
    (known, End::Done, cut)
}

fn newest(fs: &SimFs) -> Result<Snapshot<SimFs>, JournalError> {
    // By way of a recovery, as a process does that has just started.
    Ok(open_lines(fs)?.0.snapshot.expect("there is a snapshot"))
}

fn snapshot(fs: &SimFs, opened: &Opened<SimFs>, known: &Known) -> Result<Snapshot<SimFs>, JournalError> {
    let mut writer = SnapshotWriter::create(fs, Path::new(ROOT), opened.queue, opened.writer.position())?;
    let queue = writer.names().intern("q");
    for (i, line) in known.written.iter().enumerate() {
        writer.push(line.as_bytes(), Some(Entry { job: i as u64 + 1, queue, ..Entry::default() }))?;
    }
    writer.finish()
}

/// Everything that was looked at.
#[derive(Default)]
pub struct Explored {
    seen: BTreeSet<(Image, Known, usize)>,
    /// How often a process was started.
    pub sessions: u64,
    /// How often a torn tail was cut.
    pub cuts: u64,
}

impl Explored {
    /// How many different pairs of a disk and what is known of it were recovered from.
    pub fn states(&self) -> usize {
        self.seen.len()
    }

    /// Crashes the steps before every call that changes anything, and after the last; continues from every image that
    /// leaves: with a session that appends, crashed in the same way, as often as there are measures in `tears`.
    pub fn crash_everywhere(&mut self, start: &Image, known: &Known, steps: &[Step], tears: &[Tear]) {
        let tag = ["d", "c", "b", "a"][tears.len()];
        let fs = SimFs::boot(start);
        fs.start_trace();
        let (after, end, cut) = session(&fs, known, steps, tag);
        assert_eq!(end, End::Done);
        self.sessions += 1;
        self.cuts += u64::from(cut.is_some());
        let Some((tear, rest)) = tears.split_first() else {
            // The journal can be used: one more life finds exactly what this one left.
            let exact = Known { acked: after.written.len(), ..after };
            let (_, end, cut) = session(&fs, &exact, &[], tag);
            assert_eq!((end, cut), (End::Done, None));
            return;
        };
        let crashes = fs.trace().into_iter().filter(|call| call.kind.changes()).map(|call| call.index);
        for index in crashes.chain([fs.calls()]) {
            let fs = SimFs::boot(start);
            fs.fault_at(index, Fault::Crash);
            let (known, _, _) = session(&fs, known, steps, tag);
            self.sessions += 1;
            self.continue_from(fs.images(*tear), &known, rest);
        }
    }

    /// Continues from images that are all possible.
    pub fn continue_from(&mut self, images: BTreeSet<Image>, known: &Known, rest: &[Tear]) {
        for image in images {
            if self.seen.insert((image.clone(), known.clone(), rest.len())) {
                self.crash_everywhere(&image, known, &[Step::Append(1, 1)], rest);
            }
        }
    }
}

pub fn empty_disk() -> Image {
    Image { dirs: [ROOT.into()].into(), ..Image::default() }
}
