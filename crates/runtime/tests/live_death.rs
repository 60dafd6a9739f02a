//! How commands end, and what proves that nothing of them is left. The commands are as hostile as shells can be.
//!
//! What is to escape its group must be given the time for it before the command exits: then the group is killed.

mod live_common;

use live_common::{World, attempt, eventually, is_alive, runtime};
use sprag_core::{Kill, Outcome};
use sprag_runtime::live::now;
use sprag_runtime::seams::{Nonce, Processes, Sweep};
use std::cell::Cell;
use std::path::Path;

/// Writes its number, then waits for ever without an exec: in the middle of one, a process shows no environment.
const STAY: &str = "[ -p never ] || mkfifo never; echo $$ > pid; read line < never";

#[test]
fn an_end_is_reported_as_it_was() {
    runtime().block_on(async {
        let mut world = World::new();
        for (script, outcome) in [
            ("exit 0", Outcome::Exit(0)),
            ("exit 255", Outcome::Exit(255)),
            ("kill -9 $$", Outcome::Signal(9)),
            ("kill -SEGV $$", Outcome::Signal(11)),
        ] {
            assert_eq!(world.run(&world.script(1, script)), outcome, "{script}");
        }
    });
}

#[test]
fn ends_are_told_apart_and_each_told_once() {
    runtime().block_on(async {
        let mut world = World::new();
        for number in 1..=40 {
            let script = format!("sleep 0.0{}; exit {number}", number % 7);
            world.start(&world.script(number, &script)).unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 1..=40 {
            let exit = world.next();
            let number = (1..=40).find(|number| attempt(*number) == exit.child).unwrap();
            assert_eq!(exit.outcome, Outcome::Exit(u8::try_from(number).unwrap()));
            assert!(seen.insert(number));
        }
        assert!(world.children.is_empty());
        let more = world.children.next(Some(50)).unwrap();
        assert!(more.is_none(), "{more:?}");
    });
}

#[test]
fn ends_that_come_together_are_all_told() {
    runtime().block_on(async {
        let mut world = World::new();
        (1..=20).for_each(|number| world.start(&world.spec(number, &["true"])).unwrap());
        let living = || std::fs::read_to_string("/proc/thread-self/children").unwrap();
        let dead = || living().split_whitespace().all(|pid| !is_alive(pid.parse().unwrap()));
        // Nobody asks for the ends meanwhile.
        eventually("all should have ended", dead).await;
        for _ in 1..=20 {
            assert_eq!(world.next().outcome, Outcome::Exit(0));
        }
        assert_eq!(living(), "");
    });
}

#[test]
fn the_group_dies_with_its_leader() {
    runtime().block_on(async {
        let mut world = World::new();
        let script = "trap '' TERM HUP; sleep 30 & echo $! > left; exit 3";
        assert_eq!(world.run(&world.script(1, script)), Outcome::Exit(3));
        let left = world.pid_in("left").await;
        eventually("what was left in the group should be dead", || !is_alive(left)).await;
        assert!(world.is_free(1));
    });
}

#[test]
fn term_asks_the_whole_group_and_kill_does_not_ask() {
    runtime().block_on(async {
        let mut world = World::new();
        // The leader goes only when another one in its group has been asked too, which waits without forking: a shell that
        // is asked between fork and exec forgets it.
        let script = "trap 'until [ -e asked ]; do sleep 0.01; done; exit 9' TERM
            (trap 'echo > asked' TERM; echo > inner; until [ -e asked ]; do :; done) & echo > ready; wait; wait";
        world.start(&world.script(1, script)).unwrap();
        let there = |name: &str| world.dir.path().join(name).exists();
        eventually("the traps should be set", || there("ready") && there("inner")).await;
        world.processes.signal(attempt(1), Kill::Term);
        world.deliver();
        assert_eq!(world.next().outcome, Outcome::Exit(9));

        world.start(&world.script(2, "trap '' TERM; echo > deaf; while :; do sleep 0.02; done")).unwrap();
        eventually("the trap should be set", || world.path("deaf").exists()).await;
        world.processes.signal(attempt(2), Kill::Term);
        world.deliver();
        let asked = world.children.next(Some(100)).unwrap();
        assert!(asked.is_none(), "it ignores TERM, but {asked:?}");
        world.processes.signal(attempt(2), Kill::Kill);
        world.deliver();
        assert_eq!(world.next().outcome, Outcome::Signal(9));
    });
}

#[test]
fn a_leader_that_left_its_group_is_signalled_all_the_same() {
    runtime().block_on(async {
        let mut world = World::new();
        let perl = "my $p = fork; if (!$p) { setpgrp; sleep 30; exit } select(undef, undef, undef, 0.1); \
            setpgrp(0, $p) or die; open my $f, '>', 'moved'; print $f \"$p\\n\"; close $f; sleep 30";
        world.start(&world.spec(1, &["perl", "-e", perl])).unwrap();
        let other = world.pid_in("moved").await;
        world.processes.signal(attempt(1), Kill::Term);
        world.deliver();
        assert_eq!(world.next().outcome, Outcome::Signal(15));
        assert!(is_alive(other), "it was in another group");
        assert!(!world.is_free(1));
        assert_eq!(world.processes.sweep(&world.queue_id, &|_| true).unwrap(), Sweep::default());
        assert!(!is_alive(other));
    });
}

#[test]
fn a_signal_for_a_child_that_is_gone_reaches_nobody() {
    runtime().block_on(async {
        let mut world = World::new();
        world.start(&world.script(1, "sleep 30")).unwrap();
        assert_eq!(world.run(&world.spec(2, &["true"])), Outcome::Exit(0));
        for kill in [Kill::Term, Kill::Kill] {
            world.processes.signal(attempt(2), kill);
            world.processes.signal(attempt(3), kill);
        }
        world.deliver();
        let other = world.children.next(Some(50)).unwrap();
        assert!(other.is_none(), "{other:?}");
    });
}

#[test]
fn the_lock_is_held_by_what_escaped_group_session_and_environment() {
    runtime().block_on(async {
        let mut world = World::new();
        let script =
            "env -i setsid -f sh -c 'echo > away; setsid -f sleep 1.2'; until [ -e away ]; do sleep 0.01; done";
        assert_eq!(world.run(&world.script(1, script)), Outcome::Exit(0));
        assert!(!world.is_free(1), "the grandchild has the input");
        let sweep = world.processes.sweep(&world.queue_id, &|_| true).unwrap();
        assert_eq!(sweep, Sweep::default(), "it bears no mark");
        assert!(!world.is_free(1));
        eventually("the lock should be free when the last holder is gone", || world.is_free(1)).await;
    });
}

#[test]
fn a_file_that_nobody_locked_is_free() {
    runtime().block_on(async {
        let world = World::new();
        assert!(world.processes.is_free(Path::new("/nonexistent/0.in")).unwrap());
        std::fs::write(world.path("1.in"), "").unwrap();
        assert!(world.is_free(1));
        std::os::unix::fs::symlink(world.path("1.in"), world.path("2.in")).unwrap();
        assert!(world.processes.is_free(&world.path("2.in")).is_err());
    });
}

#[test]
fn the_sweep_finds_what_closed_its_descriptors() {
    runtime().block_on(async {
        let mut world = World::new();
        let script =
            format!("setsid -f sh -c 'trap \"\" TERM HUP; {STAY}' <&- >&- 2>&-; until [ -s pid ]; do sleep 0.01; done");
        assert_eq!(world.run(&world.script(1, &script)), Outcome::Exit(0));
        let hidden = world.pid_in("pid").await;
        assert!(world.is_free(1) && is_alive(hidden), "the lock cannot see it");

        let other_queue = "0".repeat(32);
        assert_eq!(world.processes.sweep(&other_queue, &|_| true).unwrap(), Sweep::default());
        assert_eq!(world.processes.sweep(&world.queue_id, &|_| false).unwrap(), Sweep::default());
        assert!(is_alive(hidden), "it was not doomed");

        let doomed = |nonce: &Nonce| *nonce == world.nonce("1");
        assert_eq!(world.processes.sweep(&world.queue_id, &doomed).unwrap(), Sweep::default());
        assert!(!is_alive(hidden));
    });
}

#[test]
fn the_sweep_kills_the_doomed_and_no_other_however_many() {
    runtime().block_on(async {
        let mut world = World::new();
        world.start(&world.script(1, "sleep 30")).unwrap();
        let breeding = "for i in $(seq 80); do setsid -f sleep 30; done; setsid -f sh -c \
            'echo $$ > breeder; for i in $(seq 500); do setsid -f sleep 0.05; done'
            until [ -s breeder ]; do sleep 0.01; done";
        assert_eq!(world.run(&world.script(2, breeding)), Outcome::Exit(0));
        let breeder = world.pid_in("breeder").await;
        let doomed = |nonce: &Nonce| nonce.name == "2";
        assert_eq!(world.processes.sweep(&world.queue_id, &doomed).unwrap(), Sweep::default());
        assert!(!is_alive(breeder) && world.is_free(2));
        assert!(!world.is_free(1), "the other one was not doomed");
    });
}

#[test]
fn the_sweep_looks_again_before_it_kills_and_tells_what_is_left() {
    runtime().block_on(async {
        let mut world = World::new();
        world.start(&world.script(1, STAY)).unwrap();
        let pid = world.pid_in("pid").await;
        // The mark is doomed when it is found, and never when it is looked at again.
        let looks = Cell::new(0_u32);
        let doomed = |_: &Nonce| looks.replace(looks.get() + 1).is_multiple_of(2);
        let before = now().mono;
        let sweep = world.processes.sweep(&world.queue_id, &doomed).unwrap();
        let took_ms = now().mono.since_ms(before);
        assert_eq!(sweep, Sweep { alive: vec![world.nonce("1")] });
        assert!(is_alive(pid));
        assert!((400..2000).contains(&took_ms), "{took_ms} ms");
    });
}

#[test]
fn the_sweep_is_content_only_after_two_looks() {
    runtime().block_on(async {
        let mut world = World::new();
        world.start(&world.script(1, STAY)).unwrap();
        world.pid_in("pid").await;
        // As if the first look had come while the process was between two others in the list.
        let looks = Cell::new(0_u32);
        let doomed = |_: &Nonce| looks.replace(looks.get() + 1) > 0;
        assert_eq!(world.processes.sweep(&world.queue_id, &doomed).unwrap(), Sweep::default());
        assert_eq!(world.next().outcome, Outcome::Signal(9));
    });
}
