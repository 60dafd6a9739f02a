//! The simulated file system answers as the real one: the same calls on both, and every answer compared.
//!
//! **Invariant.** What is compared is all that a caller sees through `Fs` and `File`: values and error numbers.

use crate::calls::{Side, call};
use proptest::prelude::*;
use sim::fs::SimFs;
use sprag_journal::RealFs;
use std::collections::BTreeMap;
use std::path::Path;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_answer_alike(calls in prop::collection::vec(call(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut real = Side { fs: RealFs, root: dir.path(), handles: BTreeMap::new() };
        let mut simulated = Side { fs: SimFs::with_dirs(&["/q"]), root: Path::new("/q"), handles: BTreeMap::new() };
        for (at, call) in calls.iter().enumerate() {
            prop_assert_eq!(simulated.call(call), real.call(call), "call {} of {:?}", at, &calls[..=at]);
        }
        prop_assert_eq!(simulated.everything(), real.everything(), "after {:?}", calls);
    }
}
