//! The simulated change events mark what the kernel's do: the same calls on both, watched by what ships and by its simulation.
//!
//! **Invariant.** After each call the same sources are marked on both sides: no more, which would be kinder than the kernel, and
//! no fewer. Late, lost and merged events are the simulator's doing, on top of this.

use crate::calls::{Call, NAMES, Side, call};
use proptest::prelude::*;
use sim::fs::SimFs;
use sim::watch::Watched;
use sprag_journal::RealFs;
use sprag_runtime::live::LiveWatch;
use sprag_runtime::seams::Watch as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What is watched: a file that may be replaced, another, all of a folder, a file in it, the folder's own entry.
const ARMED: [(u16, &str); 5] = [(1, "a"), (2, "b"), (3, "d/*"), (4, "d/a"), (5, "d")];
/// A folder that comes or goes after each call, which is one event: all earlier ones have been heard by then.
const LAST: (u16, &str) = (9, "last");
const PATIENCE: Duration = Duration::from_secs(20);

struct Real<'a> {
    root: &'a Path,
    watch: LiveWatch,
    marks: UnboundedReceiver<u16>,
}

impl Real<'_> {
    async fn marked(&mut self) -> BTreeSet<u16> {
        let last = self.root.join(LAST.1);
        std::fs::create_dir(&last).or_else(|_| std::fs::remove_dir(&last)).unwrap();
        let mut marked = BTreeSet::new();
        loop {
            let mark = tokio::time::timeout(PATIENCE, self.marks.recv()).await.expect("no event came").unwrap();
            if mark == LAST.0 {
                return marked;
            }
            marked.insert(mark);
        }
    }
}

struct Simulated<'a> {
    fs: SimFs,
    root: &'a Path,
    watched: Watched,
}

impl Simulated<'_> {
    fn arm(&mut self, index: u16, path: &str) {
        let path = self.root.join(path);
        let name = path.file_name().filter(|name| *name != "*").map(OsString::from);
        self.marked();
        self.watched.arm(index, path.parent().unwrap(), name);
    }

    fn marked(&mut self) -> BTreeSet<u16> {
        self.watched.hear(&self.fs.take_changes());
        self.watched.take()
    }
}

/// What is left out: a folder that goes while one of its files is open. The kernel knows which of two folders of one name such
/// a file was in, and the simulated one does not.
fn is_left_out(call: &Call, open: &BTreeMap<usize, usize>) -> bool {
    matches!(call, Call::RemoveDir { .. }) && open.values().any(|name| NAMES[*name].contains('/'))
}

async fn compare(calls: &[Call]) {
    let dir = tempfile::tempdir().unwrap();
    let (sender, marks) = unbounded_channel();
    let (watch, events) = LiveWatch::new().unwrap();
    tokio::spawn(async move { events.run(|index| _ = sender.send(index)).await });
    let mut kernel = Real { root: dir.path(), watch, marks };
    let fs = SimFs::with_dirs(&["/q"]);
    fs.listen();
    let mut own = Simulated { fs: fs.clone(), root: Path::new("/q"), watched: Watched::default() };
    let mut real = Side { fs: RealFs, root: dir.path(), handles: BTreeMap::new() };
    let mut simulated = Side { fs, root: Path::new("/q"), handles: BTreeMap::new() };
    let mut open = BTreeMap::new();
    kernel.watch.arm(LAST.0, &dir.path().join(LAST.1)).unwrap();
    for (at, call) in calls.iter().enumerate() {
        for (index, path) in ARMED {
            // Its folder may not be there. Where it is, arming again changes nothing.
            let armed = kernel.watch.arm(index, &dir.path().join(path)).is_ok();
            if armed {
                own.arm(index, path);
            }
        }
        if is_left_out(call, &open) {
            continue;
        }
        match call {
            Call::Open { handle, name, .. } => _ = open.insert(*handle, *name),
            Call::Close { handle } => _ = open.remove(handle),
            _ => {}
        }
        let (one, other) = (simulated.call(call), real.call(call));
        assert_eq!(one, other, "call {at} of {:?}", &calls[..=at]);
        assert_eq!(own.marked(), kernel.marked().await, "marked by call {at} of {:?}", &calls[..=at]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_mark_alike(calls in prop::collection::vec(call(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(&calls));
    }
}
