//! Small workloads of the journal, crashed before every call that changes anything, with every disk that may be left; then the
//! recovery from each, crashed the same way.
//!
//! **Invariant.** The images are all that the assumptions of [`crate::fs`] allow, torn as finely as the search says. A disk that
//! was seen before with the same knowledge is not looked at twice. The first finding has the fewest operations.

use super::workload::{End, Known, Session, Step, empty_disk, session};
use super::{Bound, Finding, Progress, Search, or_panic};
use crate::fs::{Call, Fault, Image, SimFs, Tear};
use std::collections::BTreeSet;

/// Every workload is made of these. The second fills a segment: what comes behind it rotates.
const OPERATIONS: [Step; 6] =
    [Step::Append(1, 1), Step::Append(3, 120), Step::Seal, Step::Snapshot, Step::Prune, Step::Reopen];

/// A search that would look at more disks is cut.
const DISKS_MAX: usize = 3_000_000;

/// How many operations, and how finely unsynced writes are torn at the first crash, at one in its recovery, and so on.
fn measures(bound: Bound) -> (usize, &'static [Tear]) {
    match bound {
        Bound::Small => (2, &[Tear::Pieces(2), Tear::Whole]),
        Bound::Full => (4, &[Tear::Pieces(2), Tear::Whole]),
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
        let changes = whole.trace().into_iter().filter(|call| call.kind.changes() && call.index >= first);
        for call in changes.map(Some).chain([None]) {
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

    /// A workload on an empty disk, crashed during its last operation: its earlier ones are the last of shorter workloads.
    fn workload(&mut self, steps: &[Step], tears: &[Tear]) {
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
            first
        };
        let Some((tear, rest)) = tears.split_first() else { return };
        self.crash_from(&start, &known, steps, (first, &fs), *tear, rest, "a");
    }
}

fn told(call: Option<&Call>, acked: usize) -> String {
    let acknowledged = format!("{acked} records are acknowledged");
    match call {
        Some(Call { kind, path, len, .. }) => {
            let bytes = if *len > 0 { format!(" ({len} bytes)") } else { String::new() };
            format!("the power goes before {kind:?}{bytes} of {}; {acknowledged}", path.display())
        }
        None => format!("the power goes when all is done; {acknowledged}"),
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
    format!("the journal: workloads of up to {} operations", measures(bound).0)
}

/// Looks at all workloads within the bound.
pub fn explore(name: &str, bound: Bound, progress: Progress<'_>) -> Search {
    let (operations_max, tears) = measures(bound);
    let workloads = workloads(operations_max);
    let mut explored = Explored::default();
    let depth = operations_max + tears.len();
    let mut search = Search { name: name.into(), visited: 0, depth, notes: Vec::new(), cut: None, finding: None };
    for (at, steps) in workloads.iter().enumerate() {
        if let Err(what) = or_panic(|| explored.workload(steps, tears)) {
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
