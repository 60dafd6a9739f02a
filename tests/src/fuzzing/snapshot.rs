//! A snapshot and its index, of any bytes.
//!
//! **Invariant.** A snapshot is a cache: what it says is believed if its checksum holds and it makes sense, else the one before
//! it says the same; and whoever reads it reads the same.

use super::{Fold, Folded, ROOT, empty_disk, fixture, put};
use sim::fs::SimFs;
use sprag_core::{Config, Machine};
use sprag_journal::fs::Fs as _;
use sprag_journal::{SnapshotWriter, image, recall};
use std::path::Path;

/// No line of a snapshot that is written here is longer.
const LINE_BYTES_MAX: usize = 32 * 1024;

/// The first byte says what the rest is: the newest snapshot of a journal, its index, or its lines, which then are closed as
/// they should be, with an index or without.
pub fn snapshot(bytes: &[u8]) {
    let [kind, content @ ..] = bytes else { return };
    let mut image = fixture();
    match kind % 4 {
        0 => put(&mut image, "snapshot-00000074.jsonl", content),
        1 => put(&mut image, "snapshot-00000074.idx", content),
        _ => {}
    }
    let fs = SimFs::boot(&image);
    if kind % 4 > 1 {
        write(&fs, content);
    }
    if kind % 4 == 3 {
        fs.remove(&Path::new(ROOT).join("snapshot-00000074.idx")).expect("the index was just written");
    }
    let first = Folded::open(&fs);
    assert_eq!(Folded::open(&fs), first, "a second recovery found something else");
    assert_eq!(Folded::recall(&fs), first, "a reader found something else");
    let Ok(first) = first else { return };
    // Whatever the newest one says, at the end of the journal are its last records.
    let mut older = fixture();
    older.files.retain(|path, _| !path.to_string_lossy().contains("snapshot-00000074"));
    let recovered = Folded::open(&SimFs::boot(&older)).expect("the fixture opens");
    assert_eq!(first.last_seq, recovered.last_seq, "the journal ends elsewhere");
}

/// Writes the newest snapshot anew, with these lines.
fn write(fs: &SimFs, content: &[u8]) {
    let bare = SimFs::boot(&empty_disk());
    let mut fold = Fold { fs: &bare, machine: Machine::new(Config::default()), each: None };
    let known = recall(fs, Path::new(ROOT), None, &mut fold).expect("the fixture can be read");
    let newest = known.snapshot.expect("the fixture has snapshots");
    let mut writer =
        SnapshotWriter::create(fs, Path::new(ROOT), newest.queue(), newest.covers()).expect("nothing fails here");
    let mut last_job = 0;
    for line in content.split(|byte| *byte == b'\n').filter(|line| (1..LINE_BYTES_MAX).contains(&line.len())) {
        // An index that is written holds jobs in their order alone.
        let entry = image::entry_of_line(line, writer.names()).filter(|entry| entry.job > last_job);
        last_job = entry.map_or(last_job, |entry| entry.job);
        writer.push(line, entry).expect("nothing fails here");
    }
    writer.finish().expect("nothing fails here");
}
