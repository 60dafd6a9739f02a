//! A monitor that judges by clocks and process numbers: R25, R27, R29.
//!
//! **Invariant.** `hung` says that the worker does nothing any more, `well` in the end that somebody has mended that.

use super::Scenario;
use super::world::{Actor, Harm, Op, Then, World};
use crate::Design::{self, Original, Polling};

pub(super) fn scenarios() -> Vec<Scenario> {
    [Original, Polling].into_iter().flat_map(of).collect()
}

/// Polling has changed nothing about any of these.
fn of(design: Design) -> Vec<Scenario> {
    let row = |id, name, variant, expected, judge, actors| Scenario {
        id,
        name,
        design,
        variant,
        expected: Some(expected),
        actors,
        begin: |_| (),
        judge,
    };
    let unnoticed: fn(&World) -> Option<Harm> =
        |world| (world.has("hung") && !world.has("restarted")).then_some(Harm::Stall);
    let monitored = |worker: &'static [Op], world: &'static [Op], monitor: &'static [Op]| {
        vec![
            Actor { name: "worker", steps: worker },
            Actor { name: "world", steps: world },
            Actor { name: "monitor", steps: monitor },
        ]
    };
    vec![
        row("R25", "clock step", "backward", Harm::Stall, unnoticed, monitored(&BEATS_AND_HANGS, &STEPS_BACK, &BY_AGE)),
        row(
            "R25",
            "clock step",
            "forward, or suspend",
            Harm::FalseKill,
            killed_well,
            monitored(&BEATS, &STEPS_ON, &BY_AGE),
        ),
        row("R27", "process number", "zombie", Harm::Stall, unnoticed, monitored(&DIES, &NOBODY_REAPS, &BY_NUMBER)),
        row(
            "R27",
            "process number",
            "reused",
            Harm::StrangerKilled,
            stranger,
            monitored(&DIES, &REUSES, &KILLS_BY_NUMBER),
        ),
        row(
            "R29",
            "monitor dies too",
            "",
            Harm::Stall,
            unnoticed,
            vec![
                Actor { name: "worker", steps: &HANGS },
                Actor { name: "terminal", steps: &SIGNALS_THE_GROUP },
                Actor { name: "monitor", steps: &RESTARTS },
            ],
        ),
    ]
}

fn killed_well(world: &World) -> Option<Harm> {
    (world.has("restarted") && !world.has("hung")).then_some(Harm::FalseKill)
}

fn stranger(world: &World) -> Option<Harm> {
    world.has("a stranger was killed").then_some(Harm::StrangerKilled)
}

/// Ticks of the calendar after which a status is stale.
const LIMIT: i8 = 3;

fn beats(world: &mut World) -> Then {
    let now = world.wall as u8;
    world.memory.entry("status").or_default().insert("mtime", vec![now]);
    Then::Next
}

const BEATS: [Op; 1] = [("writes its status", |world| {
    beats(world);
    Then::End
})];

const BEATS_AND_HANGS: [Op; 2] = [
    ("writes its status", beats),
    ("hangs", |world| {
        world.set("hung");
        Then::End
    }),
];

const HANGS: [Op; 1] = [("hangs", |world| {
    world.set("hung");
    Then::End
})];

/// The calendar is set back by an hour; then it goes on, and the limit passes.
const STEPS_BACK: [Op; 2] = [
    ("sets the calendar back", |world| {
        world.wall -= 100;
        Then::Next
    }),
    ("lets time pass", |world| {
        world.wall += LIMIT + 1;
        world.set("time has passed");
        Then::End
    }),
];

/// The machine sleeps, or the calendar is set: no time passes for the worker.
const STEPS_ON: [Op; 1] = [("sets the calendar on", |world| {
    world.wall += 100;
    world.set("time has passed");
    Then::End
})];

const BY_AGE: [Op; 2] = [
    ("looks after a while", |world| world.wait_for("time has passed")),
    ("compares now with the time of the status; restarts the worker if that is long ago", |world| {
        let written = world.memory.get("status").and_then(|status| status.get("mtime")).and_then(|at| at.first());
        let Some(written) = written.map(|at| *at as i8) else { return Then::Wait };
        if world.wall - written > LIMIT {
            world.set("restarted");
        }
        Then::End
    }),
];

const DIES: [Op; 1] = [("dies", |world| {
    world.set("hung");
    Then::End
})];

const NOBODY_REAPS: [Op; 1] =
    [("keeps the dead child's number: nobody has waited for it", |world| world.wait_for("hung"))];

const BY_NUMBER: [Op; 1] = [("asks whether the process is there: kill(pid, 0)", |world| {
    // It is, for all that the call can tell: a zombie has its number.
    if !world.has("hung") {
        return Then::Wait;
    }
    Then::End
})];

const REUSES: [Op; 2] = [
    ("reaps the dead child", |world| world.wait_for("hung")),
    ("gives its number to somebody else's process", |world| {
        world.set("reused");
        Then::End
    }),
];

const KILLS_BY_NUMBER: [Op; 1] = [("finds the status stale, and kills the number that it knows", |world| {
    if !world.has("hung") {
        return Then::Wait;
    }
    if world.has("reused") {
        world.set("a stranger was killed");
    }
    Then::End
})];

const SIGNALS_THE_GROUP: [Op; 1] = [("signals the process group, with worker and monitor in it", |world| {
    world.kill("worker");
    world.kill("monitor");
    world.set("hung");
    Then::End
})];

const RESTARTS: [Op; 1] = [("finds that the worker is gone, and starts it again", |world| {
    if !world.has("hung") {
        return Then::Wait;
    }
    world.set("restarted");
    Then::End
})];
