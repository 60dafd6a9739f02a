//! Reading sources: the truth behind every event.
//!
//! **Invariant.** What cannot be read whole changes nothing: for an array that is the file, for JSON lines a line up to its
//! newline, for a folder a file that has come to rest. An item is known by its key, so reading it again, in another order,
//! or beside others, offers it no second time. Change is seen by content, never by time, size or inode. Sources are never
//! written; only drop-box files, which were given to us, are removed, and only after their jobs are durable.
//!
//! What each format takes and refuses is said in `docs/sources.md`.

mod array;
mod files;
mod inbox;
mod item;
mod lines;
mod read;

pub use inbox::look_into_inbox;
pub use item::{check_key, key_at, one_line};
pub use read::resolve;

use crate::pipeline::{Format, SourceSpec, key_hash};
use serde_json::value::RawValue;
use sprag_core::{Bug, KeyHash, Mono, SourceFault, When, planted};
use sprag_journal::fs::Fs;
use std::collections::BTreeMap;
use std::path::Path;

/// No source file is larger, in bytes.
pub const SOURCE_BYTES_MAX: u64 = 64 << 20;
/// No source holds more items.
pub const SOURCE_ITEMS_MAX: usize = 1_000_000;
/// No payload is longer, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// No payload is nested deeper.
pub const PAYLOAD_DEPTH_MAX: u32 = 64;
/// No key is longer, in bytes: it becomes a variable in the environment of a command.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// So many drop-box files are taken in one look.
pub const INBOX_FILES_MAX: usize = 1_000;
/// No source of format `files` has more folders in it: each takes a watch of the kernel.
pub const FOLDERS_MAX: usize = 1_000;
/// No folder of it lies deeper.
pub const FOLDERS_DEPTH_MAX: u32 = 32;
/// So many symbolic links, one behind the other, are followed to a source.
pub const LINKS_MAX: u32 = 8;
/// A file in a folder is offered when it has not changed for so long.
pub const SETTLE_MS: u64 = 500;
/// A file that changes under our hands is read at most so often in one look.
pub const READS_MAX: u32 = 8;
/// A last line without newline that has not changed for so long is complained of.
pub const UNFINISHED_MS: u64 = 10_000;

/// What a source has offered before, so that a look returns only what is new. Lost at a restart, and then rebuilt: the
/// Machine knows every key.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// An array that was taken, and what was wrong with some of it.
    content: Option<Box<(blake3::Hash, Option<Complaint>)>>,
    lines: Box<lines::Taken>,
    settling: files::Settling,
    /// Each with the digest of what was last offered under it: one that changed is offered again, and known then.
    keys: BTreeMap<KeyHash, u64>,
    /// Drop-box files that were taken and are not yet gone, each with the key of its job.
    taken: BTreeMap<String, KeyHash>,
    /// The content of the file that was last found at rest.
    read: Option<blake3::Hash>,
    /// For a planted bug alone: what its time was after it was read.
    time: Option<u64>,
    /// When the look began.
    at: Mono,
}

/// An item that was not offered before.
#[derive(Clone, Debug)]
pub struct Item {
    /// The name of its queue.
    pub queue: String,
    /// Its key as text, if it has one that a person gave.
    pub key: Option<String>,
    /// What makes it unique.
    pub hash: KeyHash,
    /// Tells payloads of one key apart.
    pub digest: u64,
    /// The item itself, as one line of JSON.
    pub payload: Box<RawValue>,
    /// Higher runs first.
    pub priority: i16,
    /// Not before.
    pub when: When,
    /// The drop-box file it came in.
    pub file: Option<String>,
}

/// What a look has found.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The new items, in the order of the source.
    pub items: Vec<Item>,
    /// What was wrong with some of it; the rest was taken.
    pub complaint: Option<Complaint>,
    /// Something is not yet at rest: another look is wanted after so long.
    pub again_ms: Option<u64>,
    /// Why a folder of it is not watched.
    pub unwatched: Option<String>,
}

/// What is wrong with a source, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The kind, for health.
    pub fault: SourceFault,
    /// The place and the cause, for people.
    pub text: String,
}

impl Complaint {
    pub(crate) fn new(fault: SourceFault, text: impl Into<String>) -> Complaint {
        Complaint { fault, text: text.into() }
    }

    /// The same, with what it is about before it.
    pub(crate) fn of(self, what: &str) -> Complaint {
        Complaint { text: format!("{what}{}", self.text), ..self }
    }
}

/// What was passed over while the rest was taken: the first of it is named, the others are counted.
#[derive(Clone, Debug, Default)]
struct Passed {
    first: Option<Complaint>,
    more: u64,
}

impl Passed {
    fn add(&mut self, place: &str, complaint: Complaint) {
        match self.first {
            None => self.first = Some(complaint.of(&format!("{place}: "))),
            Some(_) => self.more += 1,
        }
    }

    fn complaint(&self) -> Option<Complaint> {
        let first = self.first.clone()?;
        let more = if self.more == 0 { String::new() } else { format!(" (and {} more like this)", self.more) };
        Some(Complaint { text: first.text + &more, ..first })
    }
}

/// Looks at a source. On a complaint alone nothing is taken. `watch` is called with each folder of a source of format
/// `files` before it is listed; what it answers is why the folder cannot be watched.
pub fn look<F: Fs>(
    fs: &F,
    watch: &dyn Fn(&Path) -> Result<(), String>,
    dir: &Path,
    spec: &SourceSpec,
    seen: &mut Seen,
) -> Result<Look, Complaint> {
    let path = dir.join(&spec.path);
    let time = || if planted(Bug::TimeForContent) { fs.changed_ns(&path).ok() } else { None };
    if time().is_some_and(|now| seen.time == Some(now)) {
        return Ok(Look::default());
    }
    let found = match spec.format {
        Format::JsonArray => array::look(&read::read_source(fs, &path, spec.format, seen)?, spec, seen)?,
        Format::JsonLines => lines::look(&read::read_source(fs, &path, spec.format, seen)?, spec, seen)?,
        Format::Files => files::look(fs, watch, &path, spec, seen)?,
    };
    seen.time = time();
    seen.keys.extend(found.items.iter().map(|item| (item.hash, item.digest)));
    Ok(found)
}

impl Seen {
    /// Whether this was offered before, with this very content.
    fn has(&self, item: &Item) -> bool {
        self.keys.get(&item.hash) == Some(&item.digest)
    }

    /// Whether something with this key was offered: it may stand there still.
    pub fn has_key(&self, key: KeyHash) -> bool {
        self.keys.contains_key(&key) || self.taken.values().any(|taken| *taken == key)
    }

    /// A look begins. Time is told, for no look reads a clock.
    pub fn begin(&mut self, now: Mono) {
        self.at = now;
    }

    /// The look has come back.
    pub fn end(&mut self, now: Mono) {
        files::rest_from(&mut self.settling, now);
    }

    /// The machine slept until now, and so did whoever writes.
    pub fn woke(&mut self, now: Mono) {
        if !planted(Bug::SleepSettles) {
            files::rest_anew(&mut self.settling, now);
        }
    }

    /// Forgets a drop-box file that is gone.
    pub fn forget_file(&mut self, name: &str) {
        self.keys.remove(&key_hash("", name));
        self.taken.remove(name);
    }
}
