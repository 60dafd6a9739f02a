//! Damage that no crash makes: flipped bits, lost ends, swapped lines, files that were renamed, disks that lie. Each is
//! refused with its place named, or provably without effect, or, at the unsealed end alone, a torn tail as
//! `docs/format.md` defines it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::rc::Rc;

use sim::explore::workload::{self, End, Known, ROOT, Step, empty_disk, open_lines, session};
use sim::fs::{CallKind, Fault, Image, SimFs};
use sprag_journal::{Cut, Entry, JournalError, verify};

/// A disk after some steps, and its records.
fn disk(steps: &[Step]) -> (Image, Vec<String>) {
    let fs = SimFs::boot(&empty_disk());
    let (known, end, _) = session(&fs, &Known::default(), steps, "a");
    assert_eq!(end, End::Done);
    (fs.cached(), known.written)
}

const SEALED: [Step; 6] = [
    Step::Append(2, 20),
    Step::Append(1, 200),
    Step::Append(1, 1),
    Step::Append(2, 150),
    Step::Append(1, 1),
    Step::Seal,
];

#[derive(Debug)]
enum Outcome {
    Refused(JournalError),
    Recovered { lines: Vec<String>, cut: Option<Cut>, sealed: bool, passed_over: usize },
}

fn recover(image: &Image) -> Outcome {
    match open_lines(&SimFs::boot(image)) {
        Err(e) => Outcome::Refused(e),
        Ok((o, lines)) => Outcome::Recovered { lines, cut: o.cut, sealed: o.sealed, passed_over: o.damaged.len() },
    }
}

fn with(image: &Image, path: &Path, bytes: Vec<u8>) -> Image {
    let mut image = image.clone();
    image.files.insert(path.to_owned(), bytes.into());
    image
}

/// Where the last line begins.
fn last_line_at(bytes: &[u8]) -> usize {
    bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1
}

fn is_segment(path: &Path) -> bool {
    path.parent() == Some(Path::new("/q/journal"))
}

/// The file that an error names.
fn named(e: &JournalError) -> &Path {
    match e {
        JournalError::Corrupt { file, .. } | JournalError::Version { file, .. } => file,
        JournalError::Missing { file, .. } | JournalError::Io { file, .. } => file,
    }
}

#[test]
fn every_bit_of_a_sealed_journal() {
    let (image, records) = disk(&SEALED);
    let last = image.files.keys().rfind(|p| is_segment(p)).unwrap().clone();
    let seal_at = last_line_at(&image.files[&last]);
    let (mut refused, mut without_effect) = (0, 0);
    for (path, bytes) in &image.files {
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match recover(&with(&image, path, damaged)) {
                Outcome::Refused(e) => {
                    assert_eq!(named(&e), path, "bit {bit}: {e}");
                    refused += 1;
                }
                Outcome::Recovered { lines, cut, .. } => {
                    assert_eq!(lines, records, "bit {bit} of {path:?} changed what was recovered");
                    assert!(*path == last && bit / 8 >= seal_at - 1, "bit {bit} of {path:?} went unnoticed");
                    assert!(cut.is_some(), "bit {bit} of {path:?} was not reported");
                    without_effect += 1;
                }
            }
        }
    }
    println!("{refused} flips refused, {without_effect} in the seal, which was cut");
    assert!(refused > 10_000 && without_effect > 1000);
}

#[test]
fn every_bit_of_an_unsealed_journal() {
    let (image, records) = disk(&SEALED[..2]);
    let mut torn = 0;
    for (path, bytes) in &image.files {
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match recover(&with(&image, path, damaged)) {
                Outcome::Refused(e) => assert_eq!(named(&e), path),
                Outcome::Recovered { lines, cut, .. } => {
                    // The last frame is ambiguous by definition; it is cut, kept and reported.
                    assert_eq!(lines, records[..2]);
                    let cut = cut.unwrap();
                    assert!(cut.offset + cut.len == bytes.len() as u64 && bit as u64 / 8 >= cut.offset - 1);
                    torn += 1;
                }
            }
        }
    }
    assert!(torn > 1000);
}

#[test]
fn every_truncation_and_every_zeroed_range() {
    let (image, records) = disk(&SEALED);
    let last = image.files.keys().rfind(|p| is_segment(p)).unwrap().clone();
    let seal_at = last_line_at(&image.files[&last]);
    let mut refused = 0;
    for (path, bytes) in &image.files {
        for len in 0..bytes.len() {
            let zeroed = [&bytes[..len], &vec![0; 16.min(bytes.len() - len)], &bytes[(len + 16).min(bytes.len())..]];
            for damaged in [bytes[..len].to_vec(), zeroed.concat()] {
                let truncated = damaged.len() < bytes.len();
                match recover(&with(&image, path, damaged)) {
                    Outcome::Refused(e) => {
                        // A segment that ends too early shows where the next one begins.
                        assert!(named(&e) == path || truncated, "{e}");
                        refused += 1;
                    }
                    Outcome::Recovered { lines, sealed, cut, .. } => {
                        assert_eq!(*path, last, "{len}");
                        assert_eq!(lines, records[..lines.len()]);
                        if truncated {
                            // The lost end of the last file is a state that a crash leaves: never called sealed.
                            assert!(!sealed, "{len}");
                        } else {
                            // Damage that reaches into both the last frame and the seal that proves it leaves no proof.
                            let both = len < seal_at && seal_at < len + 16;
                            assert!(cut.is_some() && (both || lines == records), "{len}");
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 1000);
}

#[test]
fn lines_and_frames_swapped_doubled_or_removed() {
    let (image, records) = disk(&SEALED);
    let mut tried = 0;
    for (path, bytes) in &image.files {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
        for i in 0..lines.len() {
            let mut variants = Vec::new();
            for j in i + 1..lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(i, j);
                variants.push(swapped);
                // All from i to j once more, and all of it gone: whole frames among them.
                variants.push([&lines[..j], &lines[i..]].concat());
                if j < lines.len() - 1 {
                    variants.push([&lines[..i], &lines[j..]].concat());
                }
            }
            for variant in variants.into_iter().filter(|v| *v != lines) {
                tried += 1;
                if let Outcome::Recovered { lines, cut, .. } = recover(&with(&image, path, variant.concat())) {
                    assert!(lines == records && cut.is_some(), "{path:?}, line {i}: {lines:?}, {cut:?}");
                }
            }
        }
    }
    assert!(tried > 50, "{tried}");
}

#[test]
fn segments_removed_renamed_copied_or_of_another_queue() {
    let (image, records) = disk(&SEALED);
    let segments: Vec<PathBuf> = image.files.keys().filter(|p| is_segment(p)).cloned().collect();
    assert!(segments.len() >= 3);
    let refused = |image: &Image, what: &str| match recover(image) {
        Outcome::Refused(e) => e,
        Outcome::Recovered { lines, .. } => panic!("{what} went unnoticed: {lines:?} of {records:?}"),
    };
    for (i, path) in segments.iter().enumerate() {
        let is_last = i + 1 == segments.len();
        let mut removed = image.clone();
        let bytes = removed.files.remove(path).unwrap();
        if !is_last {
            assert!(matches!(refused(&removed, "a removed segment"), JournalError::Missing { .. }));
        }
        let mut copied = image.clone();
        copied.files.insert("/q/journal/00000009.jsonl".into(), Rc::clone(&bytes));
        refused(&copied, "a copied segment behind a gap");
        let next = format!("/q/journal/{:08}.jsonl", segments.len() + 1);
        let mut copied = image.clone();
        copied.files.insert(next.clone().into(), Rc::clone(&bytes));
        assert!(matches!(refused(&copied, "a copied segment"), JournalError::Corrupt { .. }));
        for other in segments.iter().filter(|p| *p != path) {
            let swapped = with(&with(&image, path, image.files[other].to_vec()), other, bytes.to_vec());
            refused(&swapped, "swapped segments");
        }
    }
    let mut foreign = open_foreign();
    for path in &segments {
        if let Some(bytes) = foreign.files.remove(path) {
            refused(&with(&image, path, bytes.to_vec()), "a segment of another queue");
        }
    }
}

/// Two backups of one queue that went different ways after the first record: every number in them agrees but the chain.
#[test]
fn histories_of_one_queue_are_not_mixed() {
    let life = |tag: &str| {
        let fs = SimFs::boot(&empty_disk());
        session(&fs, &Known::default(), &SEALED, tag);
        fs.cached()
    };
    let (one, other) = (life("a"), life("b"));
    let segments: Vec<&PathBuf> = one.files.keys().filter(|p| is_segment(p)).collect();
    for path in &segments {
        assert_eq!(one.files[*path].len(), other.files[*path].len());
        let mixed = with(&one, path, other.files[*path].to_vec());
        assert!(matches!(recover(&mixed), Outcome::Refused(JournalError::Corrupt { .. })), "{path:?} of another life");
        let lines = |image: &Image| {
            let lines = image.files[*path].split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec);
            lines.collect::<Vec<_>>()
        };
        for from in 1..lines(&one).len() {
            let mixed = [&lines(&one)[..from], &lines(&other)[from..]].concat();
            if let Outcome::Recovered { lines, cut, .. } = recover(&with(&one, path, mixed.concat())) {
                panic!("line {from} of {path:?} is of another life: {lines:?}, {cut:?}");
            }
        }
    }
}

/// The same steps and texts under another identity.
fn open_foreign() -> Image {
    let mut image = Image::default();
    let (own, _) = disk(&SEALED);
    let fs = SimFs::boot(&empty_disk());
    let mut lines = workload::Lines::default();
    let queue = sprag_journal::QueueId([8; 16]);
    let mut opened = sprag_journal::open(&fs, Path::new(ROOT), workload::LIMITS, queue, &mut lines).unwrap();
    for (records, text) in [(2, 20), (1, 200), (1, 1), (2, 150), (1, 1)] {
        for _ in 0..records {
            let seq = opened.framer.seq() + 1;
            opened.framer.push(format!("{{\"a{seq}\":\"{}\"}}", "x".repeat(text)).as_bytes());
        }
        let frame = opened.framer.frame().unwrap();
        opened.writer.append(&frame);
        opened.framer.committed(frame.end());
    }
    image.files = fs.cached().files;
    assert_eq!(image.files.keys().count(), own.files.keys().count());
    image
}

const TWO_SNAPSHOTS: [Step; 9] = [
    Step::Append(2, 300),
    Step::Append(1, 1),
    Step::Snapshot,
    Step::Append(1, 300),
    Step::Append(1, 1),
    Step::Snapshot,
    Step::Prune,
    Step::Append(1, 1),
    Step::Seal,
];

#[test]
fn every_bit_of_snapshots_their_indices_and_the_journal_behind_them() {
    let (image, records) = disk(&TWO_SNAPSHOTS);
    assert!(!image.files.contains_key(Path::new("/q/journal/00000001.jsonl")), "the first segment was pruned");
    let (mut passed_over, mut refused) = (0, 0);
    for (path, bytes) in &image.files {
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let image = with(&image, path, damaged);
            match recover(&image) {
                Outcome::Refused(e) => {
                    let digit = matches!(e, JournalError::Version { .. });
                    assert!(is_segment(path) || digit, "{path:?} bit {bit}: {e}");
                    refused += 1;
                }
                Outcome::Recovered { lines, passed_over: n, .. } => {
                    assert_eq!(lines, records, "{path:?} bit {bit}");
                    passed_over += n;
                }
            }
            if bit % 8 == 0 && path.extension().is_some_and(|e| e == "idx") {
                let fs = SimFs::boot(&image);
                let snapshot = open_lines(&fs).unwrap().0.snapshot.unwrap();
                let mut job = 0;
                let index = snapshot.index(&mut |_, names| {
                    job += 1;
                    Some(Entry { job, queue: names.intern("q"), ..Entry::default() })
                });
                let entry = index.unwrap().lookup(2).unwrap().unwrap();
                assert_eq!(snapshot.line(&entry).unwrap(), records[1].as_bytes());
            }
        }
    }
    println!("{passed_over} damaged snapshots passed over, {refused} refusals");
    assert!(passed_over > 1000 && refused > 1000);
}

#[test]
fn the_only_snapshot_may_be_lost_after_pruning() {
    let steps = [Step::Append(1, 300), Step::Append(1, 300), Step::Snapshot, Step::Prune, Step::Seal];
    let (mut image, records) = disk(&steps);
    image.files.retain(|path, _| is_segment(path));
    match recover(&image) {
        Outcome::Recovered { lines, .. } => assert_eq!(lines, records),
        Outcome::Refused(e) => panic!("{e}"),
    }
}

#[test]
fn a_journal_that_ends_before_its_snapshot_is_refused() {
    let (image, _) = disk(&TWO_SNAPSHOTS[..6]);
    for path in image.files.keys().filter(|p| is_segment(p)) {
        let mut removed = image.clone();
        let bytes = removed.files.remove(path).unwrap();
        let is_newest = image.files.keys().rfind(|p| is_segment(p)) == Some(path);
        match recover(&removed) {
            Outcome::Refused(JournalError::Missing { .. }) => {}
            // Needed by nobody: the newest snapshot covers it.
            Outcome::Recovered { .. } if !is_newest => {}
            other => panic!("{path:?}: {other:?}"),
        }
        if is_newest {
            for len in 0..bytes.len() {
                let outcome = recover(&with(&image, path, bytes[..len].to_vec()));
                assert!(matches!(outcome, Outcome::Refused(JournalError::Corrupt { .. })), "{len}: {outcome:?}");
            }
        }
    }
}

#[test]
fn a_disk_that_lies_is_found_out_by_the_next_frame() {
    let fs = SimFs::boot(&empty_disk());
    fs.start_trace();
    let (known, _, _) = session(&fs, &Known::default(), &SEALED, "a");
    let writes: Vec<_> = fs.trace().into_iter().filter(|c| c.kind == CallKind::Write).collect();
    for (i, call) in writes.iter().enumerate() {
        for fault in [Fault::Phantom, Fault::Misdirected(7), Fault::Misdirected(1000)] {
            let fs = SimFs::boot(&empty_disk());
            fs.fault_at(call.index, fault);
            session(&fs, &Known::default(), &SEALED, "a");
            match recover(&fs.cached()) {
                Outcome::Refused(_) => {}
                // Only the last write of all was the seal, which nobody was promised; a frame at its place is right.
                Outcome::Recovered { lines, .. } => {
                    assert!(i + 1 == writes.len() && lines == known.written, "{fault:?} of write {i}: {lines:?}");
                }
            }
        }
    }
}

#[test]
fn a_snapshot_is_read_again_before_it_counts() {
    let steps = &TWO_SNAPSHOTS[..3];
    let fs = SimFs::boot(&empty_disk());
    fs.start_trace();
    session(&fs, &Known::default(), steps, "a");
    let writes = fs.trace().into_iter().filter(|c| c.kind == CallKind::Write && !is_segment(&c.path));
    let mut tried = 0;
    for call in writes {
        tried += 1;
        let fs = SimFs::boot(&empty_disk());
        fs.fault_at(call.index, Fault::Phantom);
        let lied = fs.clone();
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            session(&lied, &Known::default(), steps, "a");
        }));
        assert!(failed.is_err(), "a snapshot counted that was not there: {}", call.path.display());
        let names = fs.new_process();
        let root = sprag_journal::fs::Fs::list(&names, Path::new(ROOT)).unwrap();
        assert!(root.iter().all(|n| !n.to_string_lossy().ends_with(".jsonl")), "{root:?}");
        assert!(verify(&names, Path::new(ROOT)).unwrap().errors.is_empty());
    }
    assert!(tried >= 2);
}
