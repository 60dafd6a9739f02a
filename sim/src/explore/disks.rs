//! Small workloads of the journal, crashed before every call that changes anything, with every disk that may be left; then the
//! recovery from each, crashed the same way.
//!
//! **Invariant.** The images are all that the assumptions of [`crate::fs`] allow, torn as finely as the search says. A disk that
//! was seen before with the same knowledge is not looked at twice. The first finding has the fewest operations.

use super::workload::{End, Known, ROOT, Session, Step, empty_disk, session};
use super::{Bound, Finding, Progress, Search, or_panic};
use crate::fs::{Call, CallKind, Fault, Image, SimFs, Tear};
use std::collections::BTreeSet;
use std::path::Path;

/// Every workload is made of these. The second fills a segment: what comes behind it rotates. Four are too few for two
/// snapshots that differ and a pruning by them, so what prunes goes by one.
const OPERATIONS: [Step; 6] =
    [Step::Append(1, 1), Step::Append(3, 120), Step::Seal, Step::Snapshot, Step::PruneHard, Step::Reopen];

/// What sprag does when it was started again after the process alone died: it goes on behind the last frame, and rotates.
const AGAIN: [Step; 3] = [Step::Append(1, 1), Step::Append(3, 120), Step::Append(1, 1)];

/// A search that would look at more disks is cut.
const DISKS_MAX: usize = 3_000_000;

/// How far a search goes.
struct Measures {
    operations_max: usize,
    /// How finely unsynced writes are torn at the first power cut, at one in its recovery, and so on.
    tears: &'static [Tear],
    /// In workloads of up to so many operations the process alone dies too, or a sync fails; then the next one runs on what
    /// the cache shows, and the power goes at every point of it.
    restarted_max: usize,
    /// In workloads of up to so many operations a snapshot goes bad where it stands.
    rotten_max: usize,
}

/// Of a snapshot, one byte in so many.
const ROT_STEP: usize = 3;

fn measures(bound: Bound) -> Measures {
    let tears = &[Tear::Pieces(2), Tear::Whole];
    match bound {
        Bound::Small => Measures { operations_max: 2, tears, restarted_max: 1, rotten_max: 2 },
        Bound::Full => Measures { operations_max: 4, tears, restarted_max: 3, rotten_max: 2 },
    }
}

/// Everything that was looked at.
#[derive(Default)]
pub struct Explored {
    seen: BTreeSet<(Image, Known, usize)>,
    /// How often a process was started.
    pub sessions: u64,
    /// How often a torn tail was cut.
    pub cuts: u64,
    /// What led to where the search is.
    trail: Vec<String>,
}

impl Explored {
    /// How many different pairs of a disk and what is known of it were recovered from.
    pub fn states(&self) -> usize {
        self.seen.len()
    }

    /// Crashes the steps before every call that changes anything, and after the last; continues from every image that
    /// leaves: with a session that appends, crashed in the same way, as often as there are measures in `tears`.
    pub fn crash_everywhere(&mut self, start: &Image, known: &Known, steps: &[Step], tears: &[Tear]) {
        let tag = ["d", "c", "b", "a"][tears.len()];
        let fs = SimFs::boot(start);
        fs.start_trace();
        let (after, end, cut) = session(&fs, known, steps, tag);
        assert_eq!(end, End::Done, "an error without a fault");
        self.sessions += 1;
        self.cuts += u64::from(cut.is_some());
        let Some((tear, rest)) = tears.split_first() else {
            // The journal can be used: one more life finds exactly what this one left.
            let exact = Known { acked: after.written.len(), ..after };
            let (_, end, cut) = session(&fs, &exact, &[], tag);
            assert_eq!((end, cut), (End::Done, None), "a life that ended well left something to mend");
            return;
        };
        self.crash_from(start, known, steps, (0, &fs), *tear, rest, tag);
    }

    /// Crashes the steps at every call from the given one on, which a run to the end has shown.
    #[expect(clippy::too_many_arguments, reason = "what a crash is, in one place")]
    fn crash_from(
        &mut self,
        start: &Image,
        known: &Known,
        steps: &[Step],
        (first, whole): (u64, &SimFs),
        tear: Tear,
        rest: &[Tear],
        tag: &str,
    ) {
        for call in changes(whole, first).map(Some).chain([None]) {
            let fs = SimFs::boot(start);
            fs.fault_at(call.as_ref().map_or(whole.calls(), |call| call.index), Fault::Crash);
            let (known, _, _) = session(&fs, known, steps, tag);
            self.sessions += 1;
            self.trail.push(told(call.as_ref(), known.acked));
            self.continue_from(fs.images(tear), &known, rest);
            self.trail.pop();
        }
    }

    /// Continues from images that are all possible.
    pub fn continue_from(&mut self, images: BTreeSet<Image>, known: &Known, rest: &[Tear]) {
        for image in images {
            if self.seen.insert((image.clone(), known.clone(), rest.len())) {
                self.trail.push(told_image(&image));
                self.crash_everywhere(&image, known, &[Step::Append(1, 1)], rest);
                self.trail.pop();
            }
        }
    }

    /// Ends the process of the steps at every call from the given one on, or lets a sync fail so that it ends. The next one
    /// runs on the cache, and the power goes at every point of that.
    fn restart_from(&mut self, start: &Image, steps: &[Step], first: u64, whole: &SimFs) {
        for call in changes(whole, first) {
            let faults: &[Fault] = match call.kind {
                kind if kind.syncs() => &[Fault::Kill(0), Fault::SyncLost],
                CallKind::Write => {
                    &[Fault::Kill(0), Fault::Kill(call.len as usize / 2), Fault::Kill(call.len as usize)]
                }
                _ => &[Fault::Kill(0)],
            };
            for fault in faults {
                self.trail.push(format!("{}: {}", told_fault(*fault), told_call(&call)));
                self.restarted(start, steps, call.index, *fault);
                self.trail.pop();
            }
        }
    }

    fn restarted(&mut self, start: &Image, steps: &[Step], index: u64, fault: Fault) {
        // First without a power cut, to see how many calls there are.
        let run = |power_cut: Option<u64>| {
            let fs = SimFs::boot(start);
            fs.fault_at(index, fault);
            let (known, _, _) = session(&fs, &Known::default(), steps, "a");
            fs.kill();
            let fs = fs.new_process();
            let first = fs.calls();
            if let Some(at) = power_cut {
                fs.fault_at(at, Fault::Crash);
            }
            fs.start_trace();
            let (known, end, _) = session(&fs, &known, &AGAIN, "b");
            assert_eq!(end == End::Done, power_cut.is_none_or(|at| at >= fs.calls()), "an error without a fault");
            (fs, known, first)
        };
        let (whole, _, first) = run(None);
        for call in changes(&whole, first).map(Some).chain([None]) {
            let (fs, known, _) = run(Some(call.as_ref().map_or(whole.calls(), |call| call.index)));
            self.sessions += 2;
            self.trail.push(format!("sprag starts again, appends and rotates; {}", told(call.as_ref(), known.acked)));
            self.continue_from(fs.images(Tear::Whole), &known, &[]);
            self.trail.pop();
        }
    }

    /// A byte of a snapshot that was just taken goes bad: it is passed over, and nothing that was written before is lost.
    fn rot(&mut self, fs: &SimFs, known: &Known) {
        let disk = fs.cached();
        let snapshots = disk.files.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "jsonl"));
        for (path, bytes) in snapshots.filter(|(path, _)| path.parent() == Some(Path::new(ROOT))) {
            // A first line that speaks of another version of the format is refused, as it should be.
            let first_line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
            for at in (first_line..bytes.len()).step_by(ROT_STEP) {
                let mut rotten = bytes.to_vec();
                rotten[at] ^= 1;
                let mut image = disk.clone();
                image.files.insert(path.clone(), rotten.into());
                self.trail.push(format!("byte {at} of {} goes bad", path.display()));
                self.continue_from([image].into(), known, &[]);
                self.trail.pop();
            }
        }
    }

    /// A workload on an empty disk, crashed during its last operation: its earlier ones are the last of shorter workloads.
    fn workload(&mut self, steps: &[Step], measures: &Measures) {
        let (start, known) = (empty_disk(), Known::default());
        self.trail = steps.iter().map(ToString::to_string).collect();
        let fs = SimFs::boot(&start);
        fs.start_trace();
        let first = {
            let opened = Session::open(&fs, &known, "a");
            let Some(mut session) = opened else { panic!("an error without a fault") };
            let mut first = 0;
            for step in steps {
                first = fs.calls();
                assert!(session.step(*step), "an error without a fault, at: {step}");
            }
            // As long as nothing was pruned by it, a snapshot is but a copy.
            if steps.len() <= measures.rotten_max && steps.last() == Some(&Step::Snapshot) {
                self.rot(&fs, session.known());
            }
            first
        };
        let Some((tear, rest)) = measures.tears.split_first() else { return };
        self.crash_from(&start, &known, steps, (first, &fs), *tear, rest, "a");
        if steps.len() <= measures.restarted_max {
            self.restart_from(&start, steps, first, &fs);
        }
    }
}

/// The calls from the given one on that changed anything.
fn changes(fs: &SimFs, first: u64) -> impl Iterator<Item = Call<'static>> {
    fs.trace().into_iter().filter(move |call| call.kind.changes() && call.index >= first)
}

fn told(call: Option<&Call<'_>>, acked: usize) -> String {
    let at = call.map_or("when all is done".into(), |call| format!("before: {}", told_call(call)));
    format!("the power goes {at}; {acked} records are acknowledged")
}

fn told_call(call: &Call<'_>) -> String {
    let bytes = if call.len > 0 { format!(", {} bytes", call.len) } else { String::new() };
    format!("{:?} of {}{bytes}", call.kind, call.path.display())
}

fn told_fault(fault: Fault) -> String {
    match fault {
        Fault::Kill(0) => "the process is killed before".into(),
        Fault::Kill(bytes) => format!("the process is killed after {bytes} bytes of"),
        Fault::SyncLost => "fails, and what was to be written is lost".into(),
        Fault::Errno(_) | Fault::Short(_) | Fault::Phantom | Fault::Misdirected(_) | Fault::Crash => {
            format!("{fault:?}")
        }
    }
}

fn told_image(image: &Image) -> String {
    let files =
        image.files.iter().map(|(path, bytes)| format!("\n             {}: {} bytes", path.display(), bytes.len()));
    format!("the disk holds {} files; sprag opens it and appends{}", image.files.len(), files.collect::<String>())
}

/// Every workload of up to so many operations, those with fewer first.
fn workloads(operations_max: usize) -> Vec<Vec<Step>> {
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..operations_max {
        let longer = |steps: &Vec<Step>| OPERATIONS.map(|step| [steps.as_slice(), &[step]].concat());
        last = last.iter().flat_map(longer).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// What the search within a bound is called.
pub fn name(bound: Bound) -> String {
    format!("the journal: workloads of up to {} operations", measures(bound).operations_max)
}

/// Looks at all workloads within the bound.
pub fn explore(name: &str, bound: Bound, progress: Progress<'_>) -> Search {
    let measures = measures(bound);
    let workloads = workloads(measures.operations_max);
    let mut explored = Explored::default();
    let depth = measures.operations_max + measures.tears.len();
    let mut search = Search { name: name.into(), visited: 0, depth, notes: Vec::new(), cut: None, finding: None };
    for (at, steps) in workloads.iter().enumerate() {
        if let Err(what) = or_panic(|| explored.workload(steps, &measures)) {
            search.finding = Some(Finding { what, story: std::mem::take(&mut explored.trail) });
            break;
        }
        if explored.states() > DISKS_MAX {
            search.cut = Some(format!("there are more than {DISKS_MAX} disks"));
            break;
        }
        progress(at, workloads.len());
    }
    search.visited = explored.states();
    search.notes =
        vec![("workloads", workloads.len() as u64), ("lives", explored.sessions), ("tails cut", explored.cuts)];
    search
}
