//! Whoever writes a source: atomically, in place, at its end, or by reading it and writing it back beside somebody else.
//!
//! **Invariant.** What a source holds grows and is reordered, and ends in a state that one producer writes last and alone. After
//! a power cut a producer writes again what may be lost. What readers can have found is said in `stands`.

mod compose;
mod stands;
mod steps;

use crate::chance::Chance;
use crate::fs::{SimFile, SimFs};
use crate::items;
use crate::places::{Actor, Site};
use crate::plan::DIR;
use crate::trace::name_of;
use sprag_journal::fs::{File, Fs, Open, temporary_name, write_all_at};
use sprag_runtime::pipeline::Format;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// A producer that could not write tries again after so long.
const AGAIN_US: u64 = 200_000;
/// The source of what is put into the drop-box.
pub const INBOX: u8 = 2;
/// Numbers of items that a rival adds begin here.
const RIVAL_ITEMS: u16 = 1_000;
/// A rival that finds the file half-written so often takes it for empty.
const TRIES_MAX: u32 = 5;
/// What a careless hand puts into the drop-box.
const RUBBISH: &str = "{\"queue\":\"a\",";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A source of the pipeline.
    Source(Format),
    /// Files for the drop-box.
    Inbox,
}

/// How a producer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// A temporary file, synced, renamed, and its folder synced.
    Atomic,
    /// Over the file itself: emptied, then written in pieces, never synced. Into the drop-box: renamed without a sync.
    Careless,
    /// At the end of the file, in pieces that end anywhere.
    Appends,
    /// Reads the file, adds an item, and replaces it: whatever somebody else wrote meanwhile is lost.
    Rival {
        /// Under the temporary name that the other one uses too.
        same_name: bool,
    },
    /// Appends a line at a time to what somebody else writes, wherever the end is by then.
    RivalAppends,
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

/// What stands under the name of a source for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Nothing,
    Folder,
    Pipe,
}

/// One producer.
#[derive(Debug)]
pub struct Producer {
    place: u8,
    source: u8,
    shape: Shape,
    fs: SimFs,
    habit: Habit,
    /// How many items each state of the source holds.
    states: Vec<u16>,
    state: usize,
    stage: Stage,
    bytes: Vec<u8>,
    written: usize,
    piece: usize,
    file: Option<SimFile>,
    /// So often it was found half-written when it was to be read.
    tries: u32,
    /// Taken away in this state.
    away: Option<(usize, Away)>,
    /// The source is a link to the file that is written.
    linked: bool,
    /// Drop-box files name their items' keys.
    keyed: bool,
    /// Something that is no job is put into the drop-box first.
    rubbish: bool,
    /// Items are left out of the state that is written.
    removes: bool,
    /// Items that a reader could have found.
    stood: BTreeSet<u16>,
    /// Items that stand there now, and since when without a break.
    standing: BTreeMap<u16, u64>,
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

impl Producer {
    /// The one who writes a source last, and alone in most worlds.
    pub fn new(chance: &mut Chance, fs: SimFs, source: u8, shape: Shape, linked: bool) -> Producer {
        let actor = Actor::Producer(source);
        let habits = match shape {
            Shape::Source(Format::JsonLines) => &[Habit::Atomic, Habit::Careless, Habit::Appends, Habit::Appends][..],
            Shape::Source(Format::JsonArray | Format::Files) | Shape::Inbox => &[Habit::Atomic, Habit::Careless],
        };
        let habit = habits[chance.below(actor, Site::ProducerKind, habits.len() as u64) as usize];
        let count = [1, 1, 2, 3, 5, 8][chance.below(actor, Site::Revisions, 6) as usize];
        let mut items = 0;
        let mut grow = |_| {
            items += 1 + if matches!(shape, Shape::Source(Format::Files) | Shape::Inbox) {
                0
            } else {
                chance.below(actor, Site::NewItems, 3) as u16
            };
            items
        };
        let states = (0..count).map(&mut grow).collect();
        let of_inbox = |chance: &mut Chance, n| shape == Shape::Inbox && chance.below(actor, Site::Manner, n) == 1;
        let (keyed, rubbish) = (of_inbox(chance, 2), of_inbox(chance, 3));
        Producer { linked, keyed, rubbish, ..Producer::of(fs, source, source, shape, habit, states) }
    }

    /// Somebody else who writes the same array or the same lines, for a while.
    pub fn rival(chance: &mut Chance, fs: SimFs, source: u8, format: Format, linked: bool) -> Producer {
        let place = INBOX + 1 + source;
        let actor = Actor::Producer(place);
        let habit = match format {
            Format::JsonLines => Habit::RivalAppends,
            Format::JsonArray | Format::Files => {
                Habit::Rival { same_name: chance.below(actor, Site::ProducerKind, 2) == 1 }
            }
        };
        let count = 1 + chance.below(actor, Site::Revisions, 4) as u16;
        let shape = Shape::Source(format);
        Producer { linked, ..Producer::of(fs, place, source, shape, habit, (1..=count).collect()) }
    }

    fn of(fs: SimFs, place: u8, source: u8, shape: Shape, habit: Habit, states: Vec<u16>) -> Producer {
        Producer {
            place,
            source,
            shape,
            fs,
            habit,
            states,
            state: 0,
            stage: Stage::Begin,
            bytes: Vec::new(),
            written: 0,
            piece: 0,
            file: None,
            tries: 0,
            away: None,
            linked: false,
            keyed: false,
            rubbish: false,
            removes: false,
            stood: BTreeSet::new(),
            standing: BTreeMap::new(),
        }
    }

    /// Who it is.
    pub fn actor(&self) -> Actor {
        Actor::Producer(self.place)
    }

    /// Which source it writes.
    pub fn source(&self) -> u8 {
        self.source
    }

    /// What it writes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What it will do, in words.
    pub fn summary(&self) -> String {
        format!("written {:?}: {:?} items", self.habit, self.states)
    }

    /// Whether the last state stands.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether it is about to write what others must not write over.
    pub fn begins_its_last(&self) -> bool {
        self.stage == Stage::Begin && self.state + 1 == self.states.len() && !self.is_rival()
    }

    /// Whether it writes beside somebody else, who has the last word.
    pub fn is_rival(&self) -> bool {
        matches!(self.habit, Habit::Rival { .. } | Habit::RivalAppends)
    }

    /// Whether an item that stood in the last state was left out of this one.
    pub fn has_removed(&self) -> bool {
        self.removes
    }

    /// Begins again after a power cut, at what may be lost.
    pub fn restart(&mut self, fs: SimFs, now_us: u64) {
        self.fs = fs;
        self.file = None;
        if self.away.is_some() {
            // The folder may be back.
            let _ = self.fs.remove_dir(&self.target());
        }
        self.link();
        match self.habit {
            Habit::Rival { .. } | Habit::RivalAppends if self.is_done() => {}
            Habit::Careless if self.one_file_each() => (self.state, self.stage) = (0, Stage::Begin),
            Habit::Appends => (self.state, self.stage) = (0, Stage::Begin),
            Habit::Atomic | Habit::Careless | Habit::Rival { .. } | Habit::RivalAppends => {
                (self.state, self.stage) = (self.state.min(self.states.len() - 1), Stage::Begin);
            }
        }
        self.stands_anew(now_us);
    }

    /// Where the source is a link to a file elsewhere: makes it, unless it is there.
    pub fn link(&self) {
        if self.linked {
            let there = self.target();
            let _ = self.fs.make_link(&Path::new(DIR).join(there.file_name().unwrap_or_default()), &there);
        }
    }

    /// Whether each state is a file of its own.
    fn one_file_each(&self) -> bool {
        matches!(self.shape, Shape::Source(Format::Files) | Shape::Inbox)
    }

    /// Does one thing.
    pub fn step(&mut self, chance: &mut Chance, now_us: u64) -> Step {
        let actor = self.actor();
        let stands = match self.habit {
            Habit::Atomic => self.stage == Stage::Rename,
            Habit::Careless | Habit::Appends | Habit::Rival { .. } | Habit::RivalAppends => true,
        };
        let done = self.advance(chance, now_us);
        let (what, next_us) = match done {
            Err(error) => {
                // In a folder of files a half-written one that rests would be taken.
                if self.file.take().is_some() && self.writes_in_place() && self.one_file_each() {
                    let _ = self.fs.remove(&self.target());
                }
                self.stage = Stage::Begin;
                return Step { what: format!("cannot write: {error}"), stands: false, next_us: Some(AGAIN_US) };
            }
            Ok((what, true)) if self.stage == Stage::Done => (what, None),
            Ok((what, true)) => (what, Some(chance.span(actor, Site::ProducerRest, 10, 3_000_000))),
            // Long enough for a half-written line to be complained of.
            Ok((what, false)) if self.habit == Habit::Appends && chance.one_in(actor, Site::Away, 12) => {
                (what, Some(chance.span(actor, Site::Away, 11_000_000, 20_000_000)))
            }
            // Whoever pauses for 500 ms in a folder of files is taken to have ended.
            Ok((what, false)) => {
                let to_us = if self.one_file_each() { 400_000 } else { 100_000 };
                (what, Some(chance.span(actor, Site::ProducerStep, 10, to_us)))
            }
        };
        Step { what, stands, next_us }
    }

    /// The next call; true when a state is complete.
    fn advance(&mut self, chance: &mut Chance, now_us: u64) -> io::Result<(String, bool)> {
        match self.stage {
            Stage::Begin => self.begin(chance),
            Stage::Write => self.write(now_us),
            Stage::Sync => {
                self.file()?.sync_all()?;
                self.stage = Stage::Rename;
                Ok(("syncs it".into(), false))
            }
            Stage::Rename => {
                self.file = None;
                self.fs.rename(&self.temporary(), &self.target())?;
                self.stage = Stage::SyncDir;
                self.stands(now_us);
                let what = format!("renames it into place: {}", self.target().display());
                let all = self.habit == Habit::Careless;
                if all {
                    self.next_state();
                }
                Ok((what, all))
            }
            Stage::SyncDir => {
                self.fs.sync_dir(self.target().parent().unwrap_or(Path::new(DIR)))?;
                self.next_state();
                Ok(("syncs the folder".into(), true))
            }
            Stage::Done => Ok(("is done".into(), true)),
        }
    }

    fn begin(&mut self, chance: &mut Chance) -> io::Result<(String, bool)> {
        if let Some(what) = self.take_away(chance)? {
            return Ok((what, true));
        }
        if self.shape == Shape::Source(Format::Files) {
            for folder in [self.folder(), self.folder().join("deeper")] {
                match self.fs.create_dir(&folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    Ok(()) | Err(_) => self.fs.sync_dir(folder.parent().unwrap_or(Path::new(DIR)))?,
                }
            }
        }
        self.compose(chance)?;
        let path = if self.writes_in_place() { self.target() } else { self.temporary() };
        let grows = self.habit == Habit::RivalAppends || self.habit == Habit::Appends && self.state > 0;
        let file = match self.fs.open(&path, if grows { Open::Write } else { Open::Replace }) {
            Err(error) if grows && error.kind() == io::ErrorKind::NotFound => self.fs.open(&path, Open::Create),
            opened => opened,
        }?;
        self.file = Some(file);
        self.stage = Stage::Write;
        Ok((format!("{} {}", if grows { "opens" } else { "empties" }, path.display()), false))
    }

    /// By a draw the file is away for a while, before it is written again.
    fn take_away(&mut self, chance: &mut Chance) -> io::Result<Option<String>> {
        let path = self.target();
        if let Some((_, away)) = self.away.filter(|(state, _)| *state == self.state) {
            match away {
                Away::Nothing => {}
                // Gone by itself after a power cut.
                Away::Folder => _ = self.fs.remove_dir(&path),
                Away::Pipe => _ = self.fs.remove(&path),
            }
            return Ok(None);
        }
        if self.one_file_each() || self.is_rival() || self.habit == Habit::Appends || self.state == 0 {
            return Ok(None);
        }
        let away = match chance.below(self.actor(), Site::Away, 12) {
            1 => Away::Nothing,
            2 => Away::Folder,
            3 => Away::Pipe,
            _ => return Ok(None),
        };
        self.fs.remove(&path)?;
        self.away = Some((self.state, away));
        match away {
            Away::Nothing => {}
            Away::Folder => self.fs.create_dir(&path)?,
            Away::Pipe => self.fs.make_pipe(&path)?,
        }
        Ok(Some(format!("takes it away; in its place: {away:?}")))
    }

    fn write(&mut self, now_us: u64) -> io::Result<(String, bool)> {
        let end = (self.written + self.piece).min(self.bytes.len());
        let appends = matches!(self.habit, Habit::Appends | Habit::RivalAppends);
        // Somebody else may have appended meanwhile.
        let at = if appends { self.file()?.len()? } else { self.written as u64 };
        write_all_at(self.file()?, &self.bytes[self.written..end], at)?;
        self.written = end;
        let what = format!("writes {} up to byte {end} of {}", self.target().display(), self.bytes.len());
        if end < self.bytes.len() {
            return Ok((what, false));
        }
        match self.habit {
            Habit::Atomic | Habit::Rival { .. } => self.stage = Stage::Sync,
            Habit::Careless if self.shape == Shape::Inbox => self.stage = Stage::Rename,
            Habit::Careless | Habit::Appends | Habit::RivalAppends => {
                self.shows()?;
                self.file = None;
                self.stands(now_us);
                self.next_state();
                return Ok((what, true));
            }
        }
        Ok((what, false))
    }

    fn writes_in_place(&self) -> bool {
        matches!(self.habit, Habit::Appends | Habit::RivalAppends)
            || (self.habit == Habit::Careless && self.shape != Shape::Inbox)
    }

    /// The folder that it writes into.
    fn folder(&self) -> PathBuf {
        match self.shape {
            Shape::Source(Format::Files) => Path::new(DIR).join(name_of(self.source).to_string()),
            Shape::Source(Format::JsonArray | Format::JsonLines) if self.linked => Path::new(DIR).join("data"),
            Shape::Source(Format::JsonArray | Format::JsonLines) => DIR.into(),
            Shape::Inbox => Path::new(DIR).join(".sprag/inbox/new"),
        }
    }

    /// What readers find.
    fn target(&self) -> PathBuf {
        let item = self.state.min(self.states.len() - 1) as u16;
        match self.shape {
            Shape::Source(Format::JsonArray) => self.folder().join(format!("{}.json", name_of(self.source))),
            Shape::Source(Format::JsonLines) => self.folder().join(format!("{}.jsonl", name_of(self.source))),
            Shape::Source(Format::Files) => self.folder().join(items::file_name((self.source, item))),
            Shape::Inbox => self.folder().join(self.drop_name(item)),
        }
    }

    /// What nobody reads. The same name each time: a file of that name is opened and emptied.
    fn temporary(&self) -> PathBuf {
        match self.shape {
            Shape::Source(Format::JsonArray | Format::JsonLines)
                if self.habit == (Habit::Rival { same_name: false }) =>
            {
                self.folder().join(format!(".{}.json", name_of(self.place)))
            }
            Shape::Source(Format::JsonArray | Format::JsonLines) => temporary_name(&self.target()),
            Shape::Source(Format::Files) => self.folder().join(".unfinished"),
            Shape::Inbox => Path::new(DIR).join(".sprag/inbox/tmp/unfinished"),
        }
    }

    fn file(&self) -> io::Result<&SimFile> {
        self.file.as_ref().ok_or_else(|| io::Error::other("no file is open"))
    }

    fn next_state(&mut self) {
        self.state += 1;
        self.stage = if self.state < self.states.len() { Stage::Begin } else { Stage::Done };
    }
}
