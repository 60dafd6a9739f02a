//! Small workloads of the journal, crashed at every operation, with every legal image of the disk; then the recovery from
//! each, crashed the same way, and the recovery from that.
//!
//! Exhaustive: every call that changes anything as the place of the crash; every subset of unsynced names, lengths and
//! writes; torn writes as fine as each test says. States that were seen before with the same knowledge are not done twice.

#![allow(clippy::print_stdout, reason = "the number of states is a result")]

use sim::explore::disks::Explored;
use sim::explore::workload::{End, Known, Step, empty_disk, session};
use sim::fs::{Fault, SimFs, Tear};

fn explore(name: &str, steps: &[Step], tears: &[Tear]) {
    let mut explored = Explored::default();
    explored.crash_everywhere(&empty_disk(), &Known::default(), steps, tears);
    println!("{name}: {} states, {} sessions, {} torn tails cut", explored.states(), explored.sessions, explored.cuts);
    assert!(explored.states() > 100 && explored.cuts > 0, "the exploration looked at next to nothing");
}

#[test]
fn two_frames_torn_at_every_byte() {
    explore("two frames", &[Step::Append(1, 1), Step::Append(1, 1)], &[Tear::Bytes, Tear::Whole, Tear::Whole]);
}

#[test]
fn appends_rotation_and_seal_with_recovery_crashed_twice() {
    let steps = [Step::Append(1, 100), Step::Append(1, 100), Step::Append(1, 1), Step::Seal];
    explore("rotation", &steps, &[Tear::Pieces(4), Tear::Pieces(3), Tear::Pieces(2)]);
}

#[test]
fn reopening_between_appends() {
    let steps = [Step::Append(1, 1), Step::Reopen, Step::Append(1, 1)];
    explore("reopening", &steps, &[Tear::Pieces(4), Tear::Pieces(2), Tear::Whole]);
}

#[test]
fn snapshots_and_pruning() {
    // The first snapshot covers a position in the second segment, so pruning by it removes the first.
    let steps = [
        Step::Append(1, 300),
        Step::Append(1, 1),
        Step::Snapshot,
        Step::Append(1, 300),
        Step::Snapshot,
        Step::Prune,
        Step::Append(1, 1),
    ];
    let fs = SimFs::boot(&empty_disk());
    let _ = session(&fs, &Known::default(), &steps, "a");
    assert!(!fs.cached().files.contains_key(std::path::Path::new("/q/journal/00000001.jsonl")), "nothing was pruned");
    explore("snapshots", &steps, &[Tear::Pieces(2), Tear::Pieces(2), Tear::Whole]);
}

/// A process that dies leaves the cache; one whose sync failed leaves a cache that lies. Then the next process runs on that,
/// and the power goes at every point of it.
#[test]
fn killed_or_failed_then_restarted_then_power_cut() {
    let steps = [Step::Append(1, 100), Step::Append(1, 100), Step::Append(1, 1), Step::Seal];
    let again = [Step::Append(1, 1), Step::Seal];
    let fs = SimFs::boot(&empty_disk());
    fs.start_trace();
    let _ = session(&fs, &Known::default(), &steps, "a");
    let mut explored = Explored::default();
    for call in fs.trace() {
        let mut faults = vec![Fault::Errno(5), Fault::Kill(0)];
        if call.kind.syncs() {
            faults.push(Fault::SyncLost);
        }
        if call.kind == sim::fs::CallKind::Write {
            faults.extend((1..=call.len as usize).map(Fault::Kill));
        }
        for fault in faults {
            // First without a power cut, to see how many calls there are.
            let start = |crash: Option<u64>| {
                let fs = SimFs::boot(&empty_disk());
                fs.fault_at(call.index, fault);
                let (known, end, _) = session(&fs, &Known::default(), &steps, "a");
                assert_eq!(end, End::Stopped, "{fault:?} at {call:?} went unnoticed");
                fs.kill();
                let fs = fs.new_process();
                let first = fs.calls();
                if let Some(crash) = crash {
                    fs.fault_at(crash, Fault::Crash);
                }
                fs.start_trace();
                let (known, end, _) = session(&fs, &known, &again, "b");
                assert_eq!(end == End::Done, crash.is_none_or(|c| c >= fs.calls()));
                (fs, known, first)
            };
            let (fs, _, first) = start(None);
            let crashes = fs.trace().into_iter().filter(|c| c.kind.changes() && c.index >= first).map(|c| c.index);
            for crash in crashes.chain([fs.calls()]) {
                let (fs, known, _) = start(Some(crash));
                explored.sessions += 2;
                explored.continue_from(fs.images(Tear::Whole), &known, &[]);
            }
        }
    }
    println!("restarted: {} states, {} sessions", explored.states(), explored.sessions);
    assert!(explored.states() > 100);
}
