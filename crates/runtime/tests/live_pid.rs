//! A number that is used again: whoever gets the number of a child that is gone is not taken for it.

#![expect(clippy::unwrap_used, reason = "a test ends where anything fails")]

mod live_common;

use live_common::{World, attempt, is_alive, runtime};
use sprag_core::{Kill, Outcome};
use sprag_runtime::seams::Processes as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::Duration;

/// So often others may be faster to get the number.
const TRIES_MAX: u32 = 200;

/// A process outside of sprag's, the leader of its group, that has this number; none where numbers cannot be chosen.
fn stranger(number: u32) -> Option<Child> {
    for _ in 0..TRIES_MAX {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).ok()?;
        let mut stranger = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        if stranger.id() == number {
            return Some(stranger);
        }
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
    None
}

#[test]
fn who_gets_the_number_of_a_child_that_is_gone_is_not_signalled() {
    runtime().block_on(async {
        let mut world = World::new();
        assert_eq!(world.run(&world.script(1, "echo $$")), Outcome::Exit(0));
        let number: u32 = world.log(1).trim().parse().unwrap();
        let Some(mut stranger) = stranger(number) else {
            return println!("SKIPPED, AND SAID ALOUD: nobody here may choose the number of a process");
        };
        for kill in [Kill::Term, Kill::Kill] {
            world.processes.signal(attempt(1), kill);
            world.deliver();
        }
        // All that bears a mark of this queue dies, and the stranger bears none.
        let sweep = world.processes.sweep(&world.queue_id, &|_| true).unwrap();
        assert!(sweep.alive.is_empty(), "{sweep:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(is_alive(number), "a stranger was killed for a child that had its number");
        // A child of ours lives beside it, and its end is no end of the stranger.
        assert_eq!(world.run(&world.script(2, "kill -TERM $$")), Outcome::Signal(15));
        assert!(is_alive(number));
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    });
}
