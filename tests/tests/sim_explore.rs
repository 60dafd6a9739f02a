//! The searches without chance, as far as a debug build goes while somebody waits. CI does all of it: `sim explore`.
#![cfg(test)]
#![allow(clippy::print_stdout, reason = "the number of states is a result")]

use sim::explore::{Bound, Level, searches};

/// No world is smaller: a search that lost most of its world is noticed.
const VISITED_MIN: usize = 2_000;

fn all_is_well(level: Level) {
    let mut done = 0;
    for plan in searches(Bound::Small).into_iter().filter(|plan| plan.level() == level) {
        let search = plan.run(&mut |_, _| {});
        println!("{}: {} states, depth {}, {:?}", search.name, search.visited, search.depth, search.notes);
        assert_eq!(search.cut, None, "{}", search.name);
        if let Some(finding) = &search.finding {
            panic!("{}:\n{finding}", search.name);
        }
        assert!(search.visited > VISITED_MIN, "{}: only {} states", search.name, search.visited);
        done += 1;
    }
    assert!(done > 0, "nothing was searched");
}

#[test]
fn every_state_of_the_machine_in_small_worlds() {
    all_is_well(Level::Machine);
}

#[test]
fn every_disk_that_small_workloads_leave() {
    all_is_well(Level::Disks);
}
