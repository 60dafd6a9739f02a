//! Traces of bugs that were found by simulation and mended: each world once more, without the bug.
//!
//! A trace that does not apply any more proves nothing, so it fails here and says that it is stale; `tests/traces/README.md`
//! says how to make it anew. That each still shows its bug when that is put back: `sim_planted`.
#![cfg(test)]

use sim::Keep;
use sim::saved::{Trace, Verdict};
use std::path::Path;

/// No fewer are kept.
const TRACES_MIN: usize = 15;

#[test]
fn mended_bugs_stay_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let (mut replayed, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let trace = Trace::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let name = path.file_name().unwrap().display().to_string();
        match trace.replay(Keep::Hash) {
            (_, Verdict::Mended) => replayed += 1,
            (report, Verdict::Fails) => wrong.push(format!("{name} fails again: {:?}", report.failure)),
            (_, Verdict::Stale(why)) => wrong.push(format!("{name} is stale, and proves nothing: it {why}")),
        }
    }
    assert!(wrong.is_empty(), "tests/traces:\n{}", wrong.join("\n"));
    assert!(replayed >= TRACES_MIN, "only {replayed} traces in {}", folder.display());
}
