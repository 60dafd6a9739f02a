//! Whoever writes a source: replaces it atomically, or writes over it in place, piece by piece.
//!
//! **Invariant.** The array grows and is reordered, and ends in a state that is known beforehand. A state counts as
//! complete from the moment at which every reader finds all of it. After a power cut the producer writes its state again.

use crate::chance::Chance;
use crate::fs::{Image, SimFile, SimFs};
use crate::places::{Actor, Site};
use crate::plan::DIR;
use crate::trace::name_of;
use sprag_journal::fs::{File, Fs, Open, temporary_name, write_all_at};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A producer that could not write tries again after so long.
const AGAIN_US: u64 = 200_000;

/// How a producer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// A temporary file, synced, renamed, and its folder synced.
    Atomic,
    /// Over the file itself: emptied, then written in pieces, never synced.
    InPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Write,
    Sync,
    Rename,
    SyncDir,
    Done,
}

/// One producer.
#[derive(Debug)]
pub struct Producer {
    source: u8,
    fs: SimFs,
    path: PathBuf,
    habit: Habit,
    /// How many items each state of the file holds.
    states: Vec<u16>,
    state: usize,
    stage: Stage,
    bytes: Vec<u8>,
    written: usize,
    piece: usize,
    file: Option<SimFile>,
    /// How many items stood in a complete state so far.
    complete: u16,
    /// Every text that was written, or begun.
    texts: Vec<Vec<u8>>,
}

/// What a step came to.
#[derive(Debug)]
pub struct Step {
    /// What was done, for people.
    pub what: String,
    /// Readers find something else from now on.
    pub stands: bool,
    /// When the next step comes, in microseconds from now; none at the end.
    pub next_us: Option<u64>,
}

/// The item itself, as compact JSON: what a job's payload must be, byte by byte.
pub fn item(source: u8, item: u16) -> String {
    let text = "x".repeat(usize::from(item % 7) * 9);
    format!("{{\"id\":\"{}-{item}\",\"n\":{},\"text\":\"{text}\"}}", name_of(source), 1_000 + u32::from(item) * 37)
}

impl Producer {
    /// The producer of a source.
    pub fn new(chance: &mut Chance, fs: SimFs, source: u8) -> Producer {
        let actor = Actor::Producer(source);
        let habit = if chance.below(actor, Site::ProducerKind, 2) == 0 { Habit::Atomic } else { Habit::InPlace };
        let count = [1, 1, 2, 3, 5, 8][chance.below(actor, Site::Revisions, 6) as usize];
        let mut items = 0;
        let mut grow = |_| {
            items += 1 + chance.below(actor, Site::NewItems, 3) as u16;
            items
        };
        Producer {
            source,
            fs,
            path: Path::new(DIR).join(format!("{}.json", name_of(source))),
            habit,
            states: (0..count).map(&mut grow).collect(),
            state: 0,
            stage: Stage::Begin,
            bytes: Vec::new(),
            written: 0,
            piece: 0,
            file: None,
            complete: 0,
            texts: Vec::new(),
        }
    }

    /// Which source it writes.
    pub fn source(&self) -> u8 {
        self.source
    }

    /// What it will do, in words.
    pub fn summary(&self) -> String {
        format!("written {:?}: {:?} items", self.habit, self.states)
    }

    /// How many items stood in a complete state so far: the first so many.
    pub fn complete(&self) -> u16 {
        self.complete
    }

    /// Whether the last state stands.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// A power cut may tear a file that was not synced into an array that is whole and was never written: a lie that no
    /// reader can see through. It is emptied instead, which a power cut may do as well.
    pub fn unlie(&self, image: &mut Image) {
        let Some(bytes) = image.files.get_mut(&self.path) else { return };
        let whole = serde_json::from_slice::<Vec<serde_json::Value>>(bytes).is_ok();
        if whole && self.texts.iter().all(|text| **text != **bytes) {
            *bytes = Rc::from([]);
        }
    }

    /// Begins its state again after a power cut.
    pub fn restart(&mut self, fs: SimFs) {
        self.fs = fs;
        self.file = None;
        self.stage = Stage::Begin;
        self.state = self.state.min(self.states.len() - 1);
    }

    /// Does one thing.
    pub fn step(&mut self, chance: &mut Chance) -> Step {
        let actor = Actor::Producer(self.source);
        let stands = match self.habit {
            Habit::Atomic => self.stage == Stage::Rename,
            Habit::InPlace => true,
        };
        let (what, next_us) = match self.advance(chance) {
            Err(error) => {
                self.file = None;
                self.stage = Stage::Begin;
                return Step { what: format!("cannot write: {error}"), stands: false, next_us: Some(AGAIN_US) };
            }
            Ok((what, true)) if self.stage == Stage::Done => (what, None),
            Ok((what, true)) => (what, Some(chance.span(actor, Site::ProducerRest, 10, 3_000_000))),
            Ok((what, false)) => (what, Some(chance.span(actor, Site::ProducerStep, 10, 100_000))),
        };
        Step { what, stands, next_us }
    }

    /// The next call; true when a state is complete.
    fn advance(&mut self, chance: &mut Chance) -> io::Result<(String, bool)> {
        match self.stage {
            Stage::Begin => {
                self.compose(chance);
                let path = self.target();
                self.file = Some(self.fs.open(&path, Open::Replace)?);
                self.stage = Stage::Write;
                Ok((format!("empties {}", path.display()), false))
            }
            Stage::Write => self.write(),
            Stage::Sync => {
                self.file()?.sync_all()?;
                self.stage = Stage::Rename;
                Ok(("syncs it".into(), false))
            }
            Stage::Rename => {
                self.fs.rename(&self.target(), &self.path)?;
                self.file = None;
                self.stage = Stage::SyncDir;
                self.stands();
                Ok((format!("renames it into place: {} items", self.complete), false))
            }
            Stage::SyncDir => {
                self.fs.sync_dir(Path::new(DIR))?;
                self.next_state();
                Ok(("syncs the folder".into(), true))
            }
            Stage::Done => Ok(("is done".into(), true)),
        }
    }

    fn write(&mut self) -> io::Result<(String, bool)> {
        let end = (self.written + self.piece).min(self.bytes.len());
        write_all_at(self.file()?, &self.bytes[self.written..end], self.written as u64)?;
        self.written = end;
        let what = format!("writes up to byte {end} of {}", self.bytes.len());
        if end < self.bytes.len() {
            return Ok((what, false));
        }
        match self.habit {
            Habit::Atomic => {
                self.stage = Stage::Sync;
                Ok((what, false))
            }
            Habit::InPlace => {
                self.file = None;
                self.stands();
                self.next_state();
                Ok((format!("{what}: {} items", self.complete), true))
            }
        }
    }

    fn target(&self) -> PathBuf {
        match self.habit {
            Habit::Atomic => temporary_name(&self.path),
            Habit::InPlace => self.path.clone(),
        }
    }

    fn file(&self) -> io::Result<&SimFile> {
        self.file.as_ref().ok_or_else(|| io::Error::other("no file is open"))
    }

    fn stands(&mut self) {
        self.complete = self.complete.max(self.states[self.state]);
    }

    fn next_state(&mut self) {
        self.state += 1;
        self.stage = if self.state < self.states.len() { Stage::Begin } else { Stage::Done };
    }

    /// The bytes of the state: its items in a drawn order and layout, and in how many pieces they are written.
    fn compose(&mut self, chance: &mut Chance) {
        let actor = Actor::Producer(self.source);
        let mut order: Vec<u16> = (0..self.states[self.state]).collect();
        if chance.below(actor, Site::Order, 2) == 1 {
            for at in (1..order.len()).rev() {
                order.swap(at, chance.below(actor, Site::Order, at as u64 + 1) as usize);
            }
        }
        let (open, between, close) = match chance.below(actor, Site::Layout, 3) {
            0 => ("[", ",", "]"),
            1 => ("[\n  ", ",\n  ", "\n]\n"),
            _ => (" [ ", " , ", " ] "),
        };
        let items: Vec<String> = order.into_iter().map(|item| self::item(self.source, item)).collect();
        self.bytes = format!("{open}{}{close}", items.join(between)).into_bytes();
        self.texts.push(self.bytes.clone());
        self.written = 0;
        self.piece = self.bytes.len().div_ceil(1 + chance.below(actor, Site::Pieces, 4) as usize);
    }
}
