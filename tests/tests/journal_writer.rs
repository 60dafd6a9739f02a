//! The writer's answers: what poisons it, what it refuses softly, whom it yields to; and that any mix of records and limits
//! comes back as it was written, from the places that were promised.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use proptest::prelude::*;
use sim::explore::workload::{LIMITS, Lines, ROOT, empty_disk, open_lines};
use sim::fs::{CallKind, Fault, SimFs, errno};
use sprag_journal::{Append, Frame, Limits, Opened, QueueId, dump, open, read, verify};

fn opened() -> (SimFs, Opened<SimFs>) {
    let fs = SimFs::boot(&empty_disk());
    let opened = open_lines(&fs).unwrap().0;
    (fs, opened)
}

fn frame_of(opened: &mut Opened<SimFs>, text: usize) -> Frame {
    let line = format!("{{\"{}\":\"{}\"}}", opened.framer.seq() + 1, "x".repeat(text));
    opened.framer.push(line.as_bytes());
    opened.framer.frame().unwrap()
}

fn commit(opened: &mut Opened<SimFs>, text: usize) {
    let frame = frame_of(opened, text);
    let outcome = opened.writer.append(&frame);
    assert!(matches!(outcome, Append::Committed(end) if end == frame.end()), "{outcome:?}");
    opened.framer.committed(frame.end());
}

#[test]
fn any_error_of_a_write_or_sync_poisons_and_nothing_is_tried_again() {
    for segments in [false, true] {
        let prepare = || {
            let (fs, mut opened) = opened();
            commit(&mut opened, if segments { 500 } else { 1 });
            let frame = frame_of(&mut opened, 1);
            fs.start_trace();
            (fs, opened, frame)
        };
        let (fs, mut o, frame) = prepare();
        o.writer.append(&frame);
        for call in fs.trace().into_iter().filter(|c| c.kind != CallKind::Reserve && c.kind.changes()) {
            for fault in [Fault::Errno(errno::EIO), Fault::SyncLost, Fault::Errno(errno::ENOSPC)] {
                let (fs, mut o, frame) = prepare();
                let sync = call.kind.syncs();
                let opens = matches!(call.kind, CallKind::Open(_));
                if (fault == Fault::SyncLost && !sync) || (opens && fault != Fault::Errno(errno::EIO)) {
                    continue;
                }
                fs.fault_at(call.index, fault);
                let outcome = o.writer.append(&frame);
                assert!(matches!(outcome, Append::Unknown(_)), "{fault:?} at {call:?}: {outcome:?}");
                let calls = fs.calls();
                for _ in 0..3 {
                    assert!(matches!(o.writer.append(&frame), Append::Unknown(_)));
                    assert!(!o.writer.has_room());
                }
                assert_eq!(fs.calls(), calls, "a poisoned writer touched the disk");
            }
        }
    }
}

#[test]
fn a_full_disk_is_refused_before_the_first_byte_and_heals() {
    for rotates in [false, true] {
        let (fs, mut o) = opened();
        commit(&mut o, if rotates { 500 } else { 1 });
        assert!(o.writer.has_room());
        let mut frame = frame_of(&mut o, 1500);
        let before = fs.cached();
        // The segment has the blocks that it holds and not one more.
        fs.set_budget(Some(0));
        for _ in 0..if rotates { 3 } else { 0 } {
            let outcome = o.writer.append(&frame);
            assert!(matches!(outcome, Append::Refused(_)), "{outcome:?}");
        }
        let texts = |image: &sim::fs::Image| image.files.values().map(|f| f.len()).sum::<usize>();
        assert_eq!(texts(&fs.cached()), texts(&before), "a refusal wrote something");
        // What was set aside is for essential frames, across a rotation too.
        fs.set_budget(Some(3 * 4096));
        frame.essential = true;
        let outcome = o.writer.append(&frame);
        assert!(matches!(outcome, Append::Committed(_)), "{outcome:?}");
        o.framer.committed(frame.end());
        fs.set_budget(None);
        assert!(o.writer.has_room());
        commit(&mut o, 1);
        let (o, lines) = open_lines(&fs.new_process()).unwrap();
        assert_eq!((lines.len(), o.cut), (3, None));
    }
}

#[test]
fn essential_frames_go_on_after_others_are_refused() {
    let limits = Limits { segment_bytes_max: 1 << 20, reserve_bytes: 4096, essential_bytes: 8192, ..LIMITS };
    let fs = SimFs::boot(&empty_disk());
    fs.set_budget(Some(5 * 4096));
    let mut o = open(&fs, Path::new(ROOT), limits, QueueId([9; 16]), &mut Lines::default()).unwrap();
    let mut ordinary = 0;
    let refused = loop {
        let frame = frame_of(&mut o, 1000);
        match o.writer.append(&frame) {
            Append::Committed(end) => o.framer.committed(end),
            Append::Refused(e) => {
                assert_eq!(e.raw_os_error(), Some(errno::ENOSPC));
                break frame;
            }
            other => panic!("{other:?}"),
        }
        ordinary += 1;
    };
    assert!(!o.writer.has_room());
    let mut essential = 0;
    let mut frame = refused;
    let refused = loop {
        frame.essential = true;
        match o.writer.append(&frame) {
            Append::Committed(end) => o.framer.committed(end),
            Append::Refused(_) => break frame,
            other => panic!("{other:?}"),
        }
        essential += 1;
        frame = frame_of(&mut o, 1000);
    };
    // Two blocks of 4096 hold at least six frames of less than 1300 bytes.
    assert!(ordinary >= 6 && essential >= 6, "{ordinary} ordinary, {essential} essential");
    fs.set_budget(Some(100 * 4096));
    let outcome = o.writer.append(&refused);
    assert!(matches!(outcome, Append::Committed(_)), "{outcome:?}");
    assert!(o.writer.has_room());
}

#[test]
fn no_descriptor_for_a_new_segment_is_a_soft_refusal() {
    let (fs, mut o) = opened();
    commit(&mut o, 500);
    let frame = frame_of(&mut o, 1);
    fs.fault_at(fs.calls(), Fault::Errno(errno::EMFILE));
    assert!(matches!(o.writer.append(&frame), Append::Refused(_)));
    assert!(matches!(o.writer.append(&frame), Append::Committed(_)));
    // The same bytes again are the same frame.
    assert!(matches!(o.writer.append(&frame), Append::Committed(end) if end == frame.end()));
}

#[test]
fn a_second_writer_makes_a_conflict_and_nothing_is_written() {
    let (fs, mut first) = opened();
    commit(&mut first, 500);
    let mut second = open_lines(&fs).unwrap().0;
    commit(&mut second, 1);
    let before = fs.cached();
    let stale = frame_of(&mut first, 1);
    assert!(matches!(first.writer.append(&stale), Append::Conflict), "the segment exists already");
    let mut other = open_lines(&fs).unwrap().0;
    let frame = frame_of(&mut other, 1);
    assert!(matches!(second.writer.append(&frame), Append::Conflict), "another epoch");
    assert!(matches!(second.writer.append(&frame), Append::Unknown(_)));
    assert_eq!(fs.cached(), before);
}

#[test]
fn short_writes_are_gone_on_with() {
    let (fs, mut o) = opened();
    commit(&mut o, 1);
    let frame = frame_of(&mut o, 100);
    for call in 0..8 {
        fs.fault_at(fs.calls() + call, Fault::Short(40));
    }
    assert!(matches!(o.writer.append(&frame), Append::Committed(_)));
    assert_eq!(open_lines(&fs).unwrap().1.len(), 2);
}

#[test]
fn reading_without_a_lock_while_a_writer_appends_is_never_damage() {
    for writer_every in 1..4 {
        let (fs, mut o) = opened();
        commit(&mut o, 100);
        let reader = fs.new_process();
        let (o, calls, committed) = (RefCell::new(o), Cell::new(0), Rc::new(Cell::new(1)));
        let (inner, count) = (fs.clone(), Rc::clone(&committed));
        fs.set_hook(Some(Rc::new(move |call| {
            calls.set(calls.get() + 1);
            let Ok(mut o) = o.try_borrow_mut() else { return None };
            if call.process != 0 && calls.get() % writer_every == 0 && count.get() < 60 {
                let frame = frame_of(&mut o, 30);
                // The reader sees half of a frame now and then.
                inner.fault_at(inner.calls() + 1, Fault::Short(50));
                let end = o.writer.append(&frame);
                assert!(matches!(end, Append::Committed(_)), "{end:?}");
                o.framer.committed(frame.end());
                count.set(count.get() + 1);
            }
            None
        })));
        let mut last = 0;
        for _ in 0..40 {
            let mut seqs = Vec::new();
            let report = dump(&reader, Path::new(ROOT), &mut |seq, _, _| {
                seqs.push(seq);
                Ok(())
            })
            .unwrap();
            assert!(report.errors.is_empty(), "{report:?}");
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
            assert!(seqs.len() >= last);
            last = seqs.len();
        }
        assert_eq!(last, 60, "the writer did not run");
        fs.set_hook(None);
    }
}

#[test]
fn a_sealed_journal_is_not_sealed_twice() {
    let (fs, mut o) = opened();
    commit(&mut o, 1);
    let seal = o.framer.seal().unwrap();
    assert!(o.framer.seal().is_none(), "one frame in flight");
    assert!(matches!(o.writer.append(&seal), Append::Committed(_)));
    o.framer.committed(seal.end());
    assert!(o.framer.seal().is_none());
    let mut o = open_lines(&fs).unwrap().0;
    assert!(o.sealed && o.framer.seal().is_none());
    commit(&mut o, 1);
    assert!(o.framer.seal().is_some());
}

#[test]
fn a_record_that_its_reader_cannot_use_is_reported_and_not_passed_over() {
    let fs = SimFs::boot(&empty_disk());
    let (mut o, _) = open_lines(&fs).unwrap();
    for n in 1..=3 {
        o.framer.push(format!("{{\"n\":{n}}}").as_bytes());
    }
    let frame = o.framer.frame().unwrap();
    assert!(matches!(o.writer.append(&frame), Append::Committed(_)));
    let mut taken = Vec::new();
    let report = dump(&fs, Path::new(ROOT), &mut |seq, _, _| {
        if seq == 2 {
            return Err("no sense".into());
        }
        taken.push(seq);
        Ok(())
    });
    let errors = report.unwrap().errors;
    assert!(errors.len() == 1 && errors[0].to_string().contains("no sense"), "{errors:?}");
    assert_eq!(taken, [1], "what follows it was handed out as if it were in order");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_comes_back_from_its_place(
        batches in proptest::collection::vec(proptest::collection::vec(0usize..1500, 1..8), 1..12),
        segment_bytes_max in 1u64..6000,
        frame_bytes_max in 2048u64..8000,
        reopen in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let limits = Limits { frame_bytes_max, segment_bytes_max, ..LIMITS };
        let fs = SimFs::boot(&empty_disk());
        let start = |expected: &[String]| {
            let mut lines = Lines::default();
            let opened = open(&fs, Path::new(ROOT), limits, QueueId([9; 16]), &mut lines).unwrap();
            assert_eq!(lines.0, expected);
            opened
        };
        let mut o = start(&[]);
        let (mut written, mut places) = (Vec::new(), Vec::new());
        for (batch, reopen) in batches.iter().zip(&reopen) {
            for text in batch {
                let line = format!("{{\"{}\":\"{}\"}}", written.len(), "y".repeat(*text));
                places.push(o.framer.push(line.as_bytes()));
                written.push(line);
            }
            while let Some(frame) = o.framer.frame() {
                prop_assert!(o.framer.frame().is_none(), "two frames in flight");
                let committed = matches!(o.writer.append(&frame), Append::Committed(_));
                prop_assert!(committed);
                o.framer.committed(frame.end());
            }
            prop_assert_eq!(o.framer.pending(), 0);
            if *reopen {
                o = start(&written);
            }
        }
        for (place, line) in places.iter().zip(&written) {
            prop_assert_eq!(read(&fs, Path::new(ROOT), *place).unwrap(), line.as_bytes());
        }
        let report = verify(&fs, Path::new(ROOT)).unwrap();
        prop_assert!(report.errors.is_empty() && report.torn.is_none());
        prop_assert_eq!(report.records, written.len() as u64);
        prop_assert_eq!(report.end, Some(o.writer.position()));
        start(&written);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), keep in 0usize..400) {
        let (fs, mut o) = opened();
        commit(&mut o, 50);
        let mut image = fs.cached();
        let path = Path::new("/q/journal/00000001.jsonl");
        let whole = &image.files[path];
        let mixed = [&whole[..keep.min(whole.len())], &bytes].concat();
        image.files.insert(path.into(), mixed.clone().into());
        image.files.insert("/q/snapshot-00000001.jsonl".into(), mixed.into());
        let fs = SimFs::boot(&image);
        let _ = verify(&fs, Path::new(ROOT));
        let _ = open_lines(&fs);
    }
}
