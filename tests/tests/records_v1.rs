//! Every kind of record as version 1 writes it, byte by byte: kept for ever, and read back as what it was.
//!
//! **Invariant.** No line of `tests/fixtures/records-v1.jsonl` ever changes; new ones may follow.
#![cfg(test)]

use serde_json::value::RawValue;
use sprag_core::{DeadReason, Digest, JobId, KeyHash, NewJob, Next, Outcome, QueueId, Record, Seq, Slot, Wall, When};
use sprag_journal::codec::{Texts, decode, encode};
use std::collections::BTreeSet;

const LINES: &str = include_str!("../fixtures/records-v1.jsonl");
const QUEUE: QueueId = QueueId(3);
const AT: Wall = Wall(1_700_000_000_000);

fn ends() -> Vec<(Option<Outcome>, Next)> {
    let due = Wall(AT.0 + 5);
    vec![
        (Some(Outcome::Exit(0)), Next::Succeeded { result: None }),
        (Some(Outcome::Exit(0)), Next::Succeeded { result: Some(Digest(0xfedc_ba98_7654_3210)) }),
        (Some(Outcome::Exit(255)), Next::Retry { due }),
        (Some(Outcome::Signal(9)), Next::Dead(DeadReason::Exhausted)),
        (Some(Outcome::NotFound), Next::Dead(DeadReason::Permanent)),
        (None, Next::Dead(DeadReason::Poison)),
        (Some(Outcome::TimedOut), Next::Cancelled),
        (None, Next::Again { due, crash: true }),
        (Some(Outcome::Signal(15)), Next::Again { due, crash: false }),
        (None, Next::Unused),
        (Some(Outcome::NotExecutable), Next::Retry { due }),
        (Some(Outcome::ResultLost), Next::Retry { due }),
        (Some(Outcome::ResultTooLarge), Next::Retry { due }),
    ]
}

fn all() -> Vec<Record> {
    let job = JobId(7);
    let new = NewJob { queue: QUEUE, key: Some(KeyHash(1 << 127)), digest: 1 << 63, priority: -2, when: When::Now };
    let at = Some(Wall(AT.0 + 1));
    let added = [
        Record::Added { job, new, due: None },
        Record::Added { job, new: NewJob { key: None, priority: 0, when: When::Delay(1), ..new }, due: at },
        Record::Added { job, new: NewJob { when: When::At(Wall(AT.0 + 1)), ..new }, due: at },
    ];
    let (attempt, slot) = (2, Slot(1));
    let finished = ends().into_iter().map(|(outcome, next)| Record::Finished { job, attempt, outcome, next });
    let others = [
        Record::Reserved { job, attempt, slot },
        Record::Started { job, attempt, slot },
        Record::Cancelled { job },
        Record::Redriven { job },
        Record::Published { job },
        Record::Forgotten { job },
        Record::KeyForgotten { job },
        Record::Paused { queue: QUEUE },
        Record::Resumed { queue: QUEUE },
    ];
    let later = (Some(Outcome::NotStarted), Next::Retry { due: Wall(AT.0 + 5) });
    let later = [Record::Finished { job, attempt, outcome: later.0, next: later.1 }];
    added.into_iter().chain(finished).chain(others).chain(later).collect()
}

/// A new kind does not compile before it has a line here, and one above.
fn place(record: &Record) -> usize {
    match record {
        Record::Added { .. } => 0,
        Record::Reserved { .. } => 1,
        Record::Started { .. } => 2,
        Record::Finished { .. } => 3,
        Record::Cancelled { .. } => 4,
        Record::Redriven { .. } => 5,
        Record::Published { .. } => 6,
        Record::Forgotten { .. } => 7,
        Record::KeyForgotten { .. } => 8,
        Record::Paused { .. } => 9,
        Record::Resumed { .. } => 10,
    }
}

#[test]
fn every_record_is_written_as_it_always_was() {
    let payload: &RawValue = serde_json::from_str(r#"{"text":"é \" \\u0000"}"#).unwrap();
    let mut written = Vec::new();
    for (seq, record) in (1..).zip(all()) {
        let key = matches!(record, Record::Added { new: NewJob { key: Some(_), .. }, .. }).then_some("a \"key\"");
        let texts = matches!(record, Record::Added { .. }).then_some(Texts { key, payload });
        encode(&mut written, Seq(seq), AT, &record, "ideas", texts);
        written.push(b'\n');
    }
    let written = String::from_utf8(written).unwrap();
    for (ours, fixed) in written.lines().zip(LINES.lines()) {
        assert_eq!(ours, fixed);
    }
    assert_eq!(written.lines().count(), LINES.lines().count(), "{written}");
}

#[test]
fn every_line_is_read_as_what_it_was() {
    let mut kinds = BTreeSet::new();
    for (line, expected) in LINES.lines().zip(all()) {
        let decoded = decode(line.as_bytes(), &mut |name| {
            assert_eq!(name, "ideas");
            QUEUE
        });
        let decoded = decoded.unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!((decoded.record, decoded.at), (expected, AT), "{line}");
        kinds.insert(place(&expected));
    }
    assert_eq!(kinds.len(), 11, "every kind is here");
}
