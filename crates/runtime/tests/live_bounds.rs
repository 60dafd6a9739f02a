//! What running commands write is held to its limits.

mod live_common;

use live_common::{World, eventually, runtime};
use sprag_core::Outcome;
use sprag_runtime::live::now;
use sprag_runtime::seams::{Bound, Over, SpawnSpec};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

const MAX: u64 = 64 << 10;

fn spec(world: &World, over: Over, script: &str) -> SpawnSpec {
    let bounds = vec![Bound { path: world.path("written"), bytes_max: MAX, over }];
    SpawnSpec { bounds, ..world.script(1, script) }
}

/// Writes four times as much as it may, and more when it is told to.
fn writes(then: &str) -> String {
    format!(
        "head -c {} /dev/zero > written; echo > there; until [ -e go ] || [ ! -e there ]; do sleep 0.01; done; {then}",
        4 * MAX
    )
}

#[test]
fn a_result_that_was_over_its_limit_does_not_count_though_it_is_short_in_the_end() {
    runtime().block_on(async {
        for (script, expected) in [
            (writes("echo short > written"), Outcome::ResultTooLarge),
            (writes("echo short > written; exit 3"), Outcome::Exit(3)),
        ] {
            let mut world = World::new();
            let spec = spec(&world, Over::IsSpoiled, &script);
            world.start(&spec).unwrap();
            eventually("it should have written", || world.path("there").exists()).await;
            assert_eq!(world.children.look_in_ms(now().mono), Some(0));
            world.children.look(now().mono, true);
            assert!(world.children.look_in_ms(now().mono).is_some_and(|ms| (900..=1000).contains(&ms)));
            assert!(fs::metadata(world.path("written")).unwrap().blocks() * 512 < MAX);
            fs::write(world.path("go"), "").unwrap();
            assert_eq!(world.next().outcome, expected);
            assert_eq!(world.children.look_in_ms(now().mono), None, "nothing runs, nothing is looked at");
        }
    });
}

#[test]
fn a_long_log_is_no_reason_to_fail() {
    runtime().block_on(async {
        let mut world = World::new();
        let spec = spec(&world, Over::LosesItsMiddle, &writes("exit 0"));
        world.start(&spec).unwrap();
        eventually("it should have written", || world.path("there").exists()).await;
        world.children.look(now().mono, true);
        let written = fs::metadata(world.path("written")).unwrap();
        assert_eq!(written.len(), 4 * MAX, "whoever writes it is not disturbed");
        assert!(written.blocks() * 512 <= MAX + 8192, "{} blocks", written.blocks());
        fs::write(world.path("go"), "").unwrap();
        assert_eq!(world.next().outcome, Outcome::Exit(0));
    });
}
