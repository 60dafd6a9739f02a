//! The whole path on the real file system: append, rotate, snapshot, prune, tear, open again, read without opening.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use sprag_journal::{
    Append, Entry, JournalError, Limits, Opened, Place, QueueId, RealFs, Replay, Snapshot, SnapshotWriter, dump, open,
    prune, read, verify,
};

const LIMITS: Limits = Limits {
    frame_bytes_max: 4096,
    segment_bytes_max: 2000,
    segment_bytes_min: 500,
    reserve_bytes: 4096,
    essential_bytes: 4096,
    room_bytes: 4096,
    fill_bytes: 64,
};

#[derive(Default)]
struct Lines(Vec<String>);

impl Replay<RealFs> for Lines {
    fn snapshot(&mut self, snapshot: &Snapshot<RealFs>) -> Result<(), JournalError> {
        let mut push = |_, line: &[u8]| {
            self.0.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        };
        snapshot.for_each_line(&mut push)
    }

    fn forget(&mut self) {
        self.0.clear();
    }

    fn record(&mut self, seq: u64, _: Place, line: &[u8]) -> Result<(), String> {
        self.0.push(String::from_utf8(line.to_vec()).unwrap());
        assert_eq!(seq, self.0.len() as u64);
        Ok(())
    }
}

fn open_at(root: &Path) -> Result<(Opened<RealFs>, Vec<String>), JournalError> {
    let mut lines = Lines::default();
    let opened = open(&RealFs, root, LIMITS, QueueId([7; 16]), &mut lines)?;
    Ok((opened, lines.0))
}

fn commit(opened: &mut Opened<RealFs>) {
    while let Some(frame) = opened.framer.frame() {
        match opened.writer.append(&frame) {
            Append::Committed(end) => opened.framer.committed(end),
            other => panic!("{other:?}"),
        }
    }
}

fn record(i: u64) -> String {
    format!("{{\"add\":{{\"job\":{i},\"text\":\"{}\"}}}}", "x".repeat(100))
}

#[test]
fn the_whole_path() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (mut opened, lines) = open_at(root).unwrap();
    assert!(lines.is_empty());
    let mut places = Vec::new();
    for i in 1..=40 {
        places.push(opened.framer.push(record(i).as_bytes()));
        commit(&mut opened);
    }
    for (i, place) in (1..).zip(&places) {
        assert_eq!(read(&RealFs, root, *place).unwrap(), record(i).as_bytes());
    }
    let end = opened.writer.position();
    assert!(end.segment > 2);
    drop(opened);

    let (opened, lines) = open_at(root).unwrap();
    assert_eq!(lines, (1..=40).map(record).collect::<Vec<_>>());
    assert_eq!((opened.end, opened.cut), (end, None));
    assert_eq!(opened.framer.epoch(), 2);

    for (generation, covered) in [20, 30].into_iter().enumerate() {
        // Any committed position will do; these are taken from the dump of a shorter journal.
        let covers = position_after(root, covered);
        let mut writer = SnapshotWriter::create(&RealFs, root, opened.queue, covers).unwrap();
        let queue = writer.names().intern("ideas");
        for job in 1..=covered {
            writer.push(record(job).as_bytes(), Some(Entry { job, queue, ..Entry::default() })).unwrap();
        }
        let snapshot = writer.finish().unwrap();
        let pruned = prune(&RealFs, root, &snapshot).unwrap();
        assert_eq!(pruned.removed.is_empty(), generation == 0, "{pruned:?}");
    }

    let (opened, lines) = open_at(root).unwrap();
    assert_eq!(lines, (1..=40).map(record).collect::<Vec<_>>());
    let snapshot = opened.snapshot.unwrap();
    let index_path = snapshot.path().with_extension("idx");
    let whole = std::fs::read(&index_path).unwrap();
    for damage in [None, Some(0), Some(whole.len() / 2), Some(whole.len() - 1)] {
        match damage {
            Some(at) => {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                std::fs::write(&index_path, bytes).unwrap();
            }
            None => std::fs::remove_file(&index_path).unwrap(),
        }
        let mut job = 0;
        let index = snapshot.index(&mut |_, names| {
            job += 1;
            Some(Entry { job, queue: names.intern("ideas"), ..Entry::default() })
        });
        let index = index.unwrap();
        assert_eq!(std::fs::read(&index_path).unwrap(), whole, "built again");
        assert_eq!(index.names().get(0), Some("ideas"));
        let entry = index.lookup(17).unwrap().unwrap();
        assert_eq!(snapshot.line(&entry).unwrap(), record(17).as_bytes());
        assert_eq!(index.lookup(31).unwrap(), None);
        let mut jobs = Vec::new();
        index.for_each(&mut |e| jobs.push(e.job)).unwrap();
        assert_eq!(jobs, (1..=30).collect::<Vec<_>>());
    }
    let report = verify(&RealFs, root).unwrap();
    assert!(report.errors.is_empty() && report.torn.is_none(), "{report:?}");
    assert_eq!(report.end, Some(end));
    assert_eq!(report.snapshots.len(), 2);
}

fn position_after(root: &Path, records: u64) -> sprag_journal::Position {
    // The end of the frame that holds the record: a journal that ends there says so.
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("journal")).unwrap();
    let mut end = None;
    let mut last = None;
    dump(&RealFs, root, &mut |seq, place, _| {
        if seq == records {
            last = Some(place);
        }
        Ok(())
    })
    .unwrap();
    let last = last.unwrap();
    for segment in 1..=last.segment {
        let name = format!("journal/{segment:08}.jsonl");
        let mut bytes = std::fs::read(root.join(&name)).unwrap();
        if segment == last.segment {
            let from = last.offset as usize + last.len as usize + 1;
            bytes.truncate(from + bytes[from..].iter().position(|b| *b == b'\n').unwrap() + 1);
        }
        std::fs::write(copy.path().join(&name), bytes).unwrap();
        end = verify(&RealFs, copy.path()).unwrap().end;
    }
    end.unwrap()
}

#[test]
fn a_torn_tail_is_cut_and_kept_and_damage_before_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (mut opened, _) = open_at(root).unwrap();
    for i in 1..=3 {
        opened.framer.push(record(i).as_bytes());
        commit(&mut opened);
    }
    let path = root.join("journal/00000001.jsonl");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert!(verify(&RealFs, root).unwrap().torn.is_some());
    let (opened, lines) = open_at(root).unwrap();
    assert_eq!(lines.len(), 2);
    let cut = opened.cut.unwrap();
    assert_eq!(std::fs::read(&cut.kept).unwrap(), &whole[cut.offset as usize..whole.len() - 5]);
    assert_eq!(std::fs::read(&path).unwrap().len() as u64, cut.offset);

    let mut damaged = whole.clone();
    damaged[150] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let error = open_at(root).unwrap_err();
    assert!(matches!(error, JournalError::Corrupt { offset: 0, seq: 1, .. }), "{error}");

    let newer = String::from_utf8(whole).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    std::fs::write(&path, newer).unwrap();
    let error = open_at(root).unwrap_err();
    assert!(matches!(error, JournalError::Version { version: 2, .. }), "{error}");
}
