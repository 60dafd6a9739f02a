//! Work that never ends, and tasks that end unheard: R9, R10, R24, R26.
//!
//! **Invariant.** In the end all three items must be done, or somebody must have been told.

use super::Scenario;
use super::world::{Actor, Harm, Op, Then, World};
use crate::Design::{self, Original, Polling};

pub(super) fn scenarios() -> Vec<Scenario> {
    [Original, Polling].into_iter().flat_map(of).collect()
}

/// Polling has changed nothing about any of these.
fn of(design: Design) -> Vec<Scenario> {
    let row = |id, name, expected, judge, actors| Scenario {
        id,
        name,
        design,
        variant: "",
        expected: Some(expected),
        actors,
        begin: |_| (),
        judge,
    };
    let stalls: fn(&World) -> Option<Harm> = |world| (world.done.len() < 3).then_some(Harm::Stall);
    vec![
        row(
            "R9",
            "external wait",
            Harm::Stall,
            stalls,
            vec![Actor { name: "worker", steps: &ASKS }, Actor { name: "remote", steps: &HANGS }],
        ),
        row(
            "R10",
            "undrained pipe",
            Harm::Stall,
            stalls,
            vec![Actor { name: "worker", steps: &LOGS }, Actor { name: "supervisor", steps: &STARTS_WITH_A_PIPE }],
        ),
        row(
            "R24",
            "silent task death",
            Harm::Stall,
            stalls,
            vec![
                Actor { name: "poll task", steps: &RAISES },
                Actor { name: "heartbeat task", steps: &BEATS },
                Actor { name: "monitor", steps: &TRUSTS_THE_HEARTBEAT },
            ],
        ),
        row(
            "R26",
            "slow item",
            Harm::Livelock,
            |world| world.has("for ever").then_some(Harm::Livelock),
            vec![Actor { name: "worker", steps: &WORKS_LONG }, Actor { name: "monitor", steps: &KILLS_WHAT_IS_SLOW }],
        ),
    ]
}

fn done(world: &mut World, item: u8) -> Then {
    world.done.push(item);
    Then::Next
}

const ASKS: [Op; 4] = [
    ("does item 1", |world| done(world, 1)),
    ("asks the remote, on the loop, and waits without a deadline", |world| world.wait_for("the remote has answered")),
    ("does item 2", |world| done(world, 2)),
    ("does item 3", |world| done(world, 3)),
];

const HANGS: [Op; 2] = [("takes the question", |_| Then::Next), ("answers", |_| Then::Wait)];

/// What the pipe to the supervisor holds, in lines.
const PIPE_MAX: usize = 2;

fn logs(world: &mut World) -> Then {
    let mut lines = world.recall("pipe");
    if lines.len() >= PIPE_MAX {
        return Then::Wait;
    }
    lines.push(1);
    world.remember("pipe", &lines);
    Then::Next
}

const LOGS: [Op; 6] = [
    ("writes a line of log", logs),
    ("does item 1", |world| done(world, 1)),
    ("writes a line of log", logs),
    ("does item 2", |world| done(world, 2)),
    ("writes a line of log", logs),
    ("does item 3", |world| done(world, 3)),
];

const STARTS_WITH_A_PIPE: [Op; 1] = [("starts the worker with a pipe, and never reads it", |_| Then::End)];

const RAISES: [Op; 3] = [
    ("does item 1", |world| done(world, 1)),
    ("raises at item 2, and is gone; nobody looks at its result", |_| Then::End),
    ("does item 3", |world| done(world, 3)),
];

const BEATS: [Op; 1] = [("writes that all is well", |world| {
    if world.has("fresh") {
        return Then::Wait;
    }
    world.set("fresh");
    Then::Goto(0)
})];

const TRUSTS_THE_HEARTBEAT: [Op; 1] = [("finds no fresh heartbeat, and starts everything again", |world| {
    // It beats, whatever becomes of the poll task.
    let _ = world.has("fresh");
    Then::Wait
})];

const WORKS_LONG: [Op; 3] = [
    ("begins item 1: no heartbeat until it is done", |world| world.set("at work")),
    ("goes on with item 1", |_| Then::Next),
    ("is done with item 1", |world| {
        // It takes longer than the monitor's limit, always.
        if world.has("limit") { done(world, 1) } else { Then::Wait }
    }),
];

const RESTARTS_MAX: usize = 3;

const KILLS_WHAT_IS_SLOW: [Op; 1] =
    [("finds the status older than its limit, kills the worker, starts it again", |world| {
        if !world.has("at work") {
            return Then::Wait;
        }
        let mut restarts = world.recall("restarts");
        restarts.push(1);
        world.remember("restarts", &restarts);
        world.flags.remove("at work");
        world.start("worker");
        if restarts.len() >= RESTARTS_MAX {
            world.set("for ever");
            return Then::End;
        }
        Then::Goto(0)
    })];
