//! Nobody is left unreaped, however short and many the commands are. Alone in its process, so that every child counts.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod live_common;

use live_common::{World, runtime};
use sprag_core::Outcome;
use std::collections::BTreeMap;
use std::fs;

const JOBS: u32 = 300;

/// The children of this process, dead or alive, by state.
fn children() -> Vec<String> {
    let ours = format!(" {} ", std::process::id());
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    // What follows the name in parentheses: the state, then the parent.
    let after_name = stats.filter_map(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()));
    after_name.filter(|rest| rest[2..].starts_with(&ours)).collect()
}

#[test]
fn three_hundred_short_commands_leave_no_zombie() {
    runtime().block_on(async {
        let mut world = World::new();
        let (mut free_slots, mut running, mut started) = (vec!["0", "1"], BTreeMap::new(), 0);
        while started < JOBS || !running.is_empty() {
            while started < JOBS
                && let Some(slot) = free_slots.pop()
            {
                started += 1;
                let mut spec = world.spec(started, &["true"]);
                spec.input = world.path(&format!("{slot}.in"));
                spec.stdout = world.path(&format!("{slot}.log"));
                spec.stderr = spec.stdout.clone();
                world.start(&spec).unwrap();
                running.insert(spec.child, slot);
            }
            let exit = world.next();
            assert_eq!(exit.outcome, Outcome::Exit(0));
            free_slots.extend(running.remove(&exit.child));
        }
        assert_eq!(free_slots.len(), 2);
        assert!(world.children.is_empty());
        assert_eq!(children(), Vec::<String>::new());
    });
}
