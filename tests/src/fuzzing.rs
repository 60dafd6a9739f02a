//! What must hold for any bytes at all: one function for each decoder that reads what others wrote.
//!
//! **Invariant.** A function here returns for every input, or has found a bug: it panics, it never asserts what a reader
//! is allowed to do. `fuzz/` calls each with what it invents, `tests/tests/fuzz_corpus.rs` with what is kept in
//! `fuzz/corpus`, so that whatever was found once is looked for by every `cargo test`.

#![allow(clippy::missing_panics_doc, clippy::expect_used, reason = "to panic is how these functions report")]

mod add;
mod flight;
mod snapshot;

pub use add::add;
pub use flight::flight;
pub use snapshot::snapshot;

use serde_json::value::RawValue;
use sim::fs::{Image, SimFs};
use sprag_core::{Config, Counts, Machine, Mono, PayloadRef, Wall};
use sprag_journal::{Append, JournalError, Limits, Place, QueueId, Replay, Snapshot, image, open, read_job, recall};
use sprag_runtime::history;
use sprag_runtime::pipeline::{Format, SourceSpec};
use sprag_runtime::scan::{self, Complaint, Seen};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What a fuzzer calls.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("segment", segment),
    ("records", records),
    ("damage", damage),
    ("source", source),
    ("config", config),
    ("simulation", simulation),
    ("snapshot", snapshot),
    ("flight", flight),
    ("add", add),
];

const ROOT: &str = "/q";
/// More edits of one journal show nothing that fewer would not.
const EDITS_MAX: usize = 8;
/// Longer records than this are not given out by a driver that runs on [`LIMITS`].
const RECORD_BYTES_MAX: usize = 32 * 1024;

/// Small, so that a few records fill a segment.
const LIMITS: Limits = Limits {
    frame_bytes_max: 64 * 1024,
    segment_bytes_max: 2_000,
    reserve_bytes: 4_096,
    essential_bytes: 4_096,
    fill_bytes: 64,
    segment_bytes_min: 2_000,
    room_bytes: 64 * 1024,
};

/// The bytes are the choices of a whole simulated world, six for each. In it sprag keeps its promises.
pub fn simulation(bytes: &[u8]) {
    let report = sim::run(sim::Tape::from_bytes(bytes), sim::Keep::Hash);
    assert_eq!(report.failure, None, "in a world of {} choices", report.choices.len());
}

/// The bytes are the only segment of a journal. What opens, opens again and says the same, and readers agree.
pub fn segment(bytes: &[u8]) {
    let mut image = empty_disk();
    put(&mut image, "journal/00000001.jsonl", bytes);
    let fs = SimFs::boot(&image);
    let Ok(first) = Folded::open(&fs) else { return };
    assert_eq!(Folded::open(&fs).as_ref(), Ok(&first), "a second recovery found something else");
    assert_eq!(Folded::recall(&fs), Ok(first), "a reader found something else");
}

/// The bytes are records, a line each without the sequence number, with a zero byte between frames; all around them is in
/// order. Nonsense is refused; of what is taken, a snapshot says the same.
pub fn records(bytes: &[u8]) {
    let fs = SimFs::boot(&empty_disk());
    let mut opened =
        open(&fs, Path::new(ROOT), LIMITS, QueueId([7; 16]), &mut Ignore).expect("an empty folder is no journal");
    let mut seq = 0;
    for frame in bytes.split(|byte| *byte == 0) {
        for line in frame.split(|byte| *byte == b'\n').filter(|line| line.len() < RECORD_BYTES_MAX) {
            seq += 1;
            opened.framer.push(&[format!("{{\"seq\":{seq},").as_bytes(), line].concat());
        }
        while let Some(frame) = opened.framer.frame() {
            let Append::Committed(end) = opened.writer.append(&frame) else { panic!("nothing fails here") };
            opened.framer.committed(end);
        }
    }
    let Ok(folded) = Folded::open(&fs) else { return };
    let finished = opened.writer.position().segment.saturating_sub(1);
    if finished > 0 {
        history::take_snapshot(&fs, Path::new(ROOT), finished, false).expect("a snapshot of what can be recovered");
        assert_eq!(Folded::open(&fs), Ok(folded), "the snapshot says something else");
    }
}

/// The bytes are edits of a journal with snapshots. They are found and named, or what is recovered is what once was.
pub fn damage(bytes: &[u8]) {
    static ONCE: OnceLock<BTreeMap<u64, String>> = OnceLock::new();
    let states = ONCE.get_or_init(states_of_fixture);
    let fs = SimFs::boot(&edited(fixture(), bytes));
    let Ok(folded) = Folded::open(&fs) else { return };
    let once = states.get(&folded.last_seq).unwrap_or_else(|| panic!("there was no record {}", folded.last_seq));
    assert_eq!(folded.view, *once, "the damage was taken for the truth");
}

fn fixture() -> Image {
    let mut image = empty_disk();
    put(&mut image, "journal/00000008.jsonl", include_bytes!("../fixtures/v1/journal/00000008.jsonl"));
    put(&mut image, "journal/00000009.jsonl", include_bytes!("../fixtures/v1/journal/00000009.jsonl"));
    put(&mut image, "journal/00000010.jsonl", include_bytes!("../fixtures/v1/journal/00000010.jsonl"));
    put(&mut image, "journal/00000011.jsonl", include_bytes!("../fixtures/v1/journal/00000011.jsonl"));
    put(&mut image, "snapshot-00000052.idx", include_bytes!("../fixtures/v1/snapshot-00000052.idx"));
    put(&mut image, "snapshot-00000052.jsonl", include_bytes!("../fixtures/v1/snapshot-00000052.jsonl"));
    put(&mut image, "snapshot-00000074.idx", include_bytes!("../fixtures/v1/snapshot-00000074.idx"));
    put(&mut image, "snapshot-00000074.jsonl", include_bytes!("../fixtures/v1/snapshot-00000074.jsonl"));
    image
}

/// What the fixture's Machine was after each record that still stands in its journal.
fn states_of_fixture() -> BTreeMap<u64, String> {
    let mut image = fixture();
    image.files.retain(|path, _| !path.to_string_lossy().contains("snapshot-00000074"));
    let fs = SimFs::boot(&image);
    let mut fold = Fold { fs: &fs, machine: Machine::new(Config::default()), each: Some(BTreeMap::new()) };
    if let Err(error) = open(&fs, Path::new(ROOT), LIMITS, QueueId([7; 16]), &mut fold) {
        panic!("the fixture does not open: {error}");
    }
    fold.each.unwrap_or_default()
}

fn empty_disk() -> Image {
    Image { dirs: [ROOT.into(), format!("{ROOT}/journal").into()].into(), ..Image::default() }
}

fn put(image: &mut Image, name: &str, content: &[u8]) {
    image.files.insert(Path::new(ROOT).join(name), content.into());
}

/// Each six bytes are an edit: of which file, what is done, where, with which byte, and with which line.
fn edited(mut image: Image, edits: &[u8]) -> Image {
    for edit in edits.chunks_exact(6).take(EDITS_MAX) {
        let names: Vec<PathBuf> = image.files.keys().cloned().collect();
        let name = &names[usize::from(edit[0]) % names.len()];
        let mut content = image.files[name].to_vec();
        let at = usize::from(u16::from_le_bytes([edit[2], edit[3]])) % (content.len() + 1);
        match edit[1] % 6 {
            0 if at < content.len() => content[at] ^= edit[4],
            1 => content.insert(at, edit[4]),
            2 => content.truncate(at),
            3 if at < content.len() => drop(content.remove(at)),
            4 => {
                let lines = content.split_inclusive(|byte| *byte == b'\n');
                let line = lines.cycle().nth(usize::from(edit[5])).unwrap_or_default().to_vec();
                content.splice(at..at, line);
            }
            _ => content.extend_from_slice(&[edit[4]; 3]),
        }
        image.files.insert(name.clone(), content.into());
    }
    image
}

/// The first byte says which format, the next where the file was still being written, the rest is the file.
pub fn source(bytes: &[u8]) {
    let [kind, cut, content @ ..] = bytes else { return };
    let format = if kind % 2 == 0 { Format::JsonArray } else { Format::JsonLines };
    let key = (kind & 2 == 0).then(|| "/id".to_owned());
    let spec = SourceSpec { path: "source".into(), format, queue: "q".into(), key };
    let half = &content[..content.len() * usize::from(*cut) / 256];
    let (mut seen, mut grown) = (Seen::default(), Seen::default());
    let Ok(at_once) = look(&spec, content, &mut seen) else { return };
    let mut in_two = look(&spec, half, &mut grown).unwrap_or_default();
    in_two.extend(look(&spec, content, &mut grown).unwrap_or_default());
    match format {
        // What is not whole is nothing, and no proper beginning of an array is whole but for white space behind it.
        Format::JsonArray => assert!(in_two.iter().all(|key| at_once.contains(key)), "half an array was taken"),
        Format::JsonLines => assert_eq!(sorted(&at_once), sorted(&in_two), "half a line was taken, or one was lost"),
        Format::Files => {}
    }
    let again = look(&spec, content, &mut seen).unwrap_or_default();
    assert!(again.is_empty(), "what was known is offered again: {again:?}");
}

/// The bytes are a `sprag.toml`: refused with the file's name and a line, or a pipeline that keeps its promises.
pub fn config(bytes: &[u8]) {
    let pipeline = match sprag::parse_config(bytes) {
        Ok(pipeline) => pipeline,
        Err(error) => return assert!(error.starts_with("sprag.toml"), "an error that names no file: {error}"),
    };
    let names: BTreeSet<&str> = pipeline.queues.iter().map(|queue| &*queue.policy.name).collect();
    assert_eq!(names.len(), pipeline.queues.len(), "two queues of one name");
    assert!(pipeline.queues.iter().all(|queue| !queue.command.is_empty() && queue.policy.concurrency > 0));
    assert!(pipeline.sources.iter().all(|source| names.contains(&*source.queue)), "a source without its queue");
    assert!(pipeline.services.iter().all(|service| !service.command.is_empty()));
}

/// The payloads that are offered, which must be what the file says.
fn look(spec: &SourceSpec, content: &[u8], seen: &mut Seen) -> Result<Vec<String>, Complaint> {
    let mut image = Image { dirs: ["/p".into()].into(), ..Image::default() };
    image.files.insert("/p/source".into(), content.into());
    let fs = SimFs::boot(&image);
    seen.begin(Mono(0));
    let found = scan::look(&fs, &|_| Ok(()), Path::new("/p"), spec, seen);
    seen.end(Mono(0));
    let told = |item: &scan::Item| {
        let text = item.payload.get();
        assert!(!text.contains('\n'), "a payload is one line");
        assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "a payload is JSON");
        format!("{:032x} {:?} {text}", item.hash.0, item.key)
    };
    Ok(found?.items.iter().map(told).collect())
}

fn sorted(texts: &[String]) -> Vec<&String> {
    let mut texts: Vec<_> = texts.iter().collect();
    texts.sort();
    texts
}

struct Ignore;

impl Replay<SimFs> for Ignore {
    fn snapshot(&mut self, _: &Snapshot<SimFs>) -> Result<(), JournalError> {
        Ok(())
    }

    fn forget(&mut self) {}

    fn record(&mut self, _: u64, _: Place, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// What a recovery comes to, as text that can be compared.
#[derive(Debug, PartialEq, Eq)]
struct Folded {
    last_seq: u64,
    view: String,
}

/// A Machine, and what it was after each record.
struct Fold<'a> {
    fs: &'a SimFs,
    machine: Machine,
    each: Option<BTreeMap<u64, String>>,
}

impl Replay<SimFs> for Fold<'_> {
    fn snapshot(&mut self, snapshot: &Snapshot<SimFs>) -> Result<(), JournalError> {
        history::restore(&mut self.machine, history::never(Wall(0)), snapshot)?;
        self.note();
        Ok(())
    }

    fn forget(&mut self) {
        self.machine = self.machine.emptied();
        self.each.iter_mut().for_each(BTreeMap::clear);
    }

    fn record(&mut self, seq: u64, place: Place, line: &[u8]) -> Result<(), String> {
        history::replay_line(&mut self.machine, history::never, seq, place, line)?;
        self.note();
        Ok(())
    }
}

impl Fold<'_> {
    fn note(&mut self) {
        let (seq, view) = (self.machine.last_seq().0, view(self.fs, &self.machine));
        if let Some(each) = &mut self.each {
            each.insert(seq, view);
        }
    }
}

impl Folded {
    fn open(fs: &SimFs) -> Result<Folded, String> {
        let mut fold = Fold { fs, machine: Machine::new(Config::default()), each: None };
        open(fs, Path::new(ROOT), LIMITS, QueueId([7; 16]), &mut fold).map_err(|error| named(&error))?;
        Ok(Folded::of(fs, &fold.machine))
    }

    fn recall(fs: &SimFs) -> Result<Folded, String> {
        let mut fold = Fold { fs, machine: Machine::new(Config::default()), each: None };
        recall(fs, Path::new(ROOT), None, &mut fold).map_err(|error| named(&error))?;
        Ok(Folded::of(fs, &fold.machine))
    }

    fn of(fs: &SimFs, machine: &Machine) -> Folded {
        Folded { last_seq: machine.last_seq().0, view: view(fs, machine) }
    }
}

/// An error says something, and of which file.
fn named(error: &JournalError) -> String {
    let text = error.to_string();
    assert!(text.contains(ROOT), "an error that names no file: {text}");
    text
}

/// All that is known, with what is read back of each job.
fn view(fs: &SimFs, machine: &Machine) -> String {
    let mut text = format!("last job {}\n", machine.last_job().0);
    // A queue that is not configured, not paused and has no jobs is but a name.
    let mut queues: Vec<_> = machine.queues().filter(|q| q.paused || q.counts != Counts::default()).collect();
    queues.sort_by_key(|queue| queue.name);
    for queue in queues {
        let _ = writeln!(text, "{} paused={} {:?}", queue.name, queue.paused, queue.counts);
    }
    for mut image in machine.images(history::never(Wall(0))) {
        let place = std::mem::take(&mut image.job.payload);
        let queue = machine.queue_name(image.job.queue).to_owned();
        image.job.queue = sprag_core::QueueId(0);
        let told = read_back(fs, image.id.0, place);
        let _ = writeln!(text, "{queue} {image:?} {told}");
    }
    for key in machine.forgotten_keys() {
        // Since when, the first snapshots did not say.
        let _ = writeln!(text, "{:?} {:?} {}", key.key, key.job, key.digest);
    }
    text
}

fn read_back(fs: &SimFs, job: u64, place: PayloadRef) -> String {
    match read_job(fs, Path::new(ROOT), job, place.into()) {
        Err(error) => named(&error),
        Ok(line) => image::told(&line).map_or_else(
            |error| panic!("the line of job {job} was taken and cannot be read: {error}"),
            |(_, told)| format!("{:?} {}", told.key, RawValue::get(told.payload)),
        ),
    }
}
