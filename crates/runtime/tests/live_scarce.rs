//! What sprag inherits from whoever started it, and what it does when descriptors run out. Each test starts this program
//! again, because it changes the whole process.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod live_common;

use live_common::{World, runtime};
use sprag_core::{Outcome, SpawnFailure};
use std::fs::File;
use std::process::Command;

/// Runs one of the ignored tests below, by a shell script that first does something to the process.
fn again(test: &str, script: &str) {
    let exe = std::env::current_exe().unwrap();
    let output =
        Command::new("sh").args(["-c", script]).arg(exe).args(["--ignored", "--exact", test]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nothing_inherited_is_handed_on() {
    let ignore = "--ignore-signal=CHLD --ignore-signal=HUP --ignore-signal=TERM";
    again("inherits", &format!("exec 7</dev/null 9</dev/null; exec env {ignore} \"$0\" \"$@\""));
}

#[test]
#[ignore = "started by nothing_inherited_is_handed_on"]
fn inherits() {
    runtime().block_on(async {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
        let hup_term_and_child = 1 | 1 << 14 | 1 << 16;
        assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & hup_term_and_child, hup_term_and_child, "{ignored}");
        assert!(std::fs::exists("/proc/self/fd/7").unwrap());
        let mut world = World::new();
        let script = "ls /proc/self/fd; grep SigIgn /proc/self/status; exit 5";
        assert_eq!(world.run(&world.script(1, script)), Outcome::Exit(5));
        let log = world.log(1);
        let (descriptors, ignored) = log.trim_end().split_once("SigIgn:\t").unwrap();
        assert_eq!(descriptors, "0\n1\n2\n3\n");
        // The two highest of these are the C library's own.
        assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0, "{ignored}");
    });
}

#[test]
fn a_start_that_runs_out_of_descriptors_leaves_nothing_behind() {
    again("runs_out", "ulimit -n 64; exec \"$0\" \"$@\"");
}

#[test]
#[ignore = "started by a_start_that_runs_out_of_descriptors_leaves_nothing_behind"]
fn runs_out() {
    runtime().block_on(async {
        let mut world = World::new();
        let spec = world.script(1, "exit 4");
        let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        let mut failures = 0;
        while world.start(&spec).inspect_err(|failure| assert_eq!(*failure, SpawnFailure::Resources)).is_err() {
            failures += 1;
            assert!(hoard.pop().is_some(), "it should start once there are descriptors");
            // With the one descriptor that is free now.
            assert_eq!(children(), "", "a command was left behind by failure {failures}");
            assert!(world.is_free(1), "the lock is still held after failure {failures}");
        }
        assert_eq!(world.next().outcome, Outcome::Exit(4));
        assert!((2..10).contains(&failures), "{failures}");
        assert_eq!(children(), "");
    });
}

#[test]
fn a_command_whose_end_cannot_be_heard_of_is_ended() {
    if Command::new("strace").arg("--version").output().is_err() {
        eprintln!("skipped: there is no strace to make the system fail");
        return;
    }
    let strace = "strace -f -qq -o /dev/null -e trace=pidfd_open -e inject=pidfd_open:error=EMFILE";
    again("cannot_hear", &format!("exec {strace} \"$0\" \"$@\""));
}

#[test]
#[ignore = "started by a_command_whose_end_cannot_be_heard_of_is_ended"]
fn cannot_hear() {
    runtime().block_on(async {
        let mut world = World::new();
        let spec = world.script(1, "sleep 30 & echo $! > left; sleep 30");
        assert_eq!(world.start(&spec), Err(SpawnFailure::Resources));
        assert_eq!(children(), "", "it was left behind");
        assert!(world.children.is_empty() && world.is_free(1));
    });
}

/// The processes that this thread has started and not reaped.
fn children() -> String {
    std::fs::read_to_string("/proc/thread-self/children").unwrap()
}
