//! Two who write one file, and what a kill leaves between two steps: R17 to R19, R22, R23, R28.
//!
//! **Invariant.** The worker does what stands in the file, one item after the other, until there is nothing; the retry manager
//! adds item 2 to it, once.

use super::Scenario;
use super::world::{Actor, Harm, Op, Then, World};
use crate::Design::{self, Original, Polling};

const V: &str = "ideas_log.json";
const ISSUES: &str = "QAissue.json";

pub(super) fn scenarios() -> Vec<Scenario> {
    [Original, Polling].into_iter().flat_map(of).collect()
}

/// Polling has changed nothing about any of these.
fn of(design: Design) -> Vec<Scenario> {
    let row = |id, name, variant, expected, begin: fn(&mut World), judge, actors| Scenario {
        id,
        name,
        design,
        variant,
        expected,
        actors,
        begin,
        judge,
    };
    let rivals = |worker: &'static [Op], manager: &'static [Op]| {
        vec![Actor { name: "worker", steps: worker }, Actor { name: "retry manager", steps: manager }]
    };
    let killed =
        |worker: &'static [Op]| vec![Actor { name: "worker", steps: worker }, Actor { name: "monitor", steps: &KILLS }];
    let (lost, duplicate, both): (_, _, fn(&World) -> Option<Harm>) =
        (Some(Harm::Lost), Some(Harm::Duplicate), |world| world.judge_items(&[1, 2]));
    let one: fn(&World) -> Option<Harm> = |world| world.judge_items(&[1]);
    vec![
        row("R17", "lost update", "", lost, one_item, both, rivals(&WORKS, &ADDS)),
        row(
            "R17",
            "lost update",
            "control: a lock of its own",
            None,
            one_item,
            both,
            rivals(&WORKS_LOCKED, &ADDS_LOCKED),
        ),
        row("R18", "lock on a replaced file", "", lost, one_item, both, rivals(&WORKS_LOCKING_IT, &ADDS_LOCKING_IT)),
        row(
            "R19",
            "shared temporary name",
            "",
            Some(Harm::Torn),
            one_item,
            torn,
            rivals(&WORKS_BY_TEMP, &ADDS_BY_TEMP),
        ),
        row("R22", "crash windows", "effect, then commit", duplicate, one_item, one, killed(&EFFECT_FIRST)),
        row("R22", "crash windows", "commit, then effect", lost, one_item, one, killed(&COMMIT_FIRST)),
        row("R23", "two-file move", "out, then in", lost, one_item, moved, killed(&OUT_THEN_IN)),
        row("R23", "two-file move", "in, then out", duplicate, one_item, moved, killed(&IN_THEN_OUT)),
        row(
            "R28",
            "two workers",
            "",
            duplicate,
            one_item,
            one,
            vec![
                Actor { name: "old worker", steps: &EFFECT_FIRST },
                Actor { name: "monitor", steps: &STARTS_ANOTHER },
                Actor { name: "new worker", steps: &AFTER_THE_MONITOR },
            ],
        ),
    ]
}

fn one_item(world: &mut World) {
    world.create(V, &[1]);
    world.create(ISSUES, &[]);
    world.create("lock", &[]);
}

fn torn(world: &World) -> Option<Harm> {
    world.has("half a file is in place").then_some(Harm::Torn)
}

/// The item stands in exactly one of the two files.
fn moved(world: &World) -> Option<Harm> {
    match world.file(V).items.len() + world.file(ISSUES).items.len() {
        0 => Some(Harm::Lost),
        1 => None,
        _ => Some(Harm::Duplicate),
    }
}

fn reads(world: &mut World) -> Then {
    let items = world.file(V).items.clone();
    world.remember("items", &items);
    Then::Next
}

/// The first item of what was read.
fn does(world: &mut World) -> Then {
    let items = world.recall("items");
    world.done.extend(items.first());
    Then::Next
}

fn without_the_first(world: &World) -> Vec<u8> {
    world.recall("items").get(1..).unwrap_or_default().to_vec()
}

fn with_another(world: &World) -> Vec<u8> {
    let mut items = world.recall("items");
    items.push(2);
    items
}

fn nothing_to_do(world: &World) -> bool {
    world.file(V).items.is_empty()
}

const WORKS: [Op; 3] = [
    ("reads the file", |world| if nothing_to_do(world) { Then::Wait } else { reads(world) }),
    ("does the first item", does),
    ("replaces the file, without that item", |world| {
        let rest = without_the_first(world);
        world.replace(V, &rest);
        Then::Goto(0)
    }),
];

const ADDS: [Op; 2] = [
    ("reads the file", reads),
    ("replaces the file, with item 2", |world| {
        let more = with_another(world);
        world.replace(V, &more);
        Then::End
    }),
];

/// Takes the lock on an inode, as soon as nobody has it.
fn locks(world: &mut World, inode: u8) -> Then {
    if world.locks.contains_key(&inode) {
        return Then::Wait;
    }
    world.locks.insert(inode, world.me);
    Then::Next
}

fn unlocks(world: &mut World) {
    let me = world.me;
    world.locks.retain(|_, holder| *holder != me);
}

const WORKS_LOCKED: [Op; 4] = [
    ("locks the lock file", |world| if nothing_to_do(world) { Then::Wait } else { locks(world, world.names["lock"]) }),
    ("reads the file", reads),
    ("does the first item", does),
    ("replaces the file, without that item, and unlocks", |world| {
        let rest = without_the_first(world);
        world.replace(V, &rest);
        unlocks(world);
        Then::Goto(0)
    }),
];

const ADDS_LOCKED: [Op; 3] = [
    ("locks the lock file", |world| locks(world, world.names["lock"])),
    ("reads the file", reads),
    ("replaces the file, with item 2, and unlocks", |world| {
        let more = with_another(world);
        world.replace(V, &more);
        unlocks(world);
        Then::End
    }),
];

fn opens(world: &mut World) -> Then {
    let inode = world.names[V];
    world.remember("handle", &[inode]);
    Then::Next
}

fn locks_what_it_opened(world: &mut World) -> Then {
    let inode = world.recall("handle")[0];
    locks(world, inode)
}

fn reads_what_it_opened(world: &mut World) -> Then {
    let inode = world.recall("handle")[0];
    let items = world.inodes[&inode].items.clone();
    world.remember("items", &items);
    Then::Next
}

const WORKS_LOCKING_IT: [Op; 5] = [
    ("opens the file", |world| if nothing_to_do(world) { Then::Wait } else { opens(world) }),
    ("locks what it opened", locks_what_it_opened),
    ("reads what it opened", reads_what_it_opened),
    ("does the first item", does),
    ("replaces the file, without that item, and unlocks", |world| {
        let rest = without_the_first(world);
        world.replace(V, &rest);
        unlocks(world);
        Then::Goto(0)
    }),
];

const ADDS_LOCKING_IT: [Op; 4] = [
    ("opens the file", opens),
    ("locks what it opened", locks_what_it_opened),
    ("reads what it opened", reads_what_it_opened),
    ("replaces the file, with item 2, and unlocks", |world| {
        let more = with_another(world);
        world.replace(V, &more);
        unlocks(world);
        Then::End
    }),
];

const TEMP: &str = "ideas_log.json.tmp";

fn opens_temp(world: &mut World) -> Then {
    // O_CREAT and O_TRUNC: a file that is there is emptied, whoever writes it.
    if world.names.contains_key(TEMP) {
        world.write(TEMP, &[], true);
    } else {
        world.create(TEMP, &[]);
    }
    let inode = world.names[TEMP];
    world.remember("handle", &[inode]);
    Then::Next
}

fn writes_temp(world: &mut World, items: &[u8]) -> Then {
    let inode = world.recall("handle")[0];
    if let Some(file) = world.inodes.get_mut(&inode) {
        file.items = items.to_vec();
        file.torn = false;
    }
    Then::Next
}

fn renames_temp(world: &mut World) {
    // Where the other has renamed it already there is none: ENOENT, and the change is lost.
    let Some(inode) = world.names.remove(TEMP) else { return };
    if world.inodes[&inode].torn {
        world.set("half a file is in place");
    }
    world.rename(inode, V);
}

const WORKS_BY_TEMP: [Op; 5] = [
    ("reads the file", |world| {
        let through = nothing_to_do(world) || world.has("half a file is in place") || !world.done.is_empty();
        if through { Then::Wait } else { reads(world) }
    }),
    ("does the first item", does),
    ("opens the temporary file", opens_temp),
    ("writes it, without that item", |world| {
        let rest = without_the_first(world);
        writes_temp(world, &rest)
    }),
    ("renames it over the file", |world| {
        renames_temp(world);
        Then::Goto(0)
    }),
];

const ADDS_BY_TEMP: [Op; 4] = [
    ("reads the file", reads),
    ("opens the temporary file", opens_temp),
    ("writes it, with item 2", |world| {
        let more = with_another(world);
        writes_temp(world, &more)
    }),
    ("renames it over the file", |world| {
        renames_temp(world);
        Then::End
    }),
];

/// One kill at any step, and a new worker.
const KILLS: [Op; 1] = [("kills the worker, and starts it again", |world| {
    world.start("worker");
    Then::End
})];

const EFFECT_FIRST: [Op; 3] = [
    ("reads the file", |world| if nothing_to_do(world) { Then::Wait } else { reads(world) }),
    ("does the item", does),
    ("commits: replaces the file, without that item", |world| {
        let rest = without_the_first(world);
        world.replace(V, &rest);
        Then::Goto(0)
    }),
];

const COMMIT_FIRST: [Op; 3] = [
    ("reads the file", |world| if nothing_to_do(world) { Then::Wait } else { reads(world) }),
    ("commits: replaces the file, without that item", |world| {
        let rest = without_the_first(world);
        world.replace(V, &rest);
        Then::Next
    }),
    ("does the item", |world| {
        does(world);
        Then::Goto(0)
    }),
];

const OUT_THEN_IN: [Op; 3] = [
    ("reads the file", |world| if nothing_to_do(world) { Then::Wait } else { reads(world) }),
    ("takes the item out of the one", |world| {
        world.replace(V, &[]);
        Then::Next
    }),
    ("puts it into the other", |world| {
        world.replace(ISSUES, &[1]);
        Then::Goto(0)
    }),
];

const IN_THEN_OUT: [Op; 3] = [
    ("reads the file", |world| if nothing_to_do(world) { Then::Wait } else { reads(world) }),
    ("puts the item into the other", |world| {
        let mut items = world.file(ISSUES).items.clone();
        items.push(1);
        world.replace(ISSUES, &items);
        Then::Next
    }),
    ("takes it out of the one", |world| {
        world.replace(V, &[]);
        Then::Goto(0)
    }),
];

/// Takes the old worker for dead, and does not wait until it is.
const STARTS_ANOTHER: [Op; 1] = [("finds the status stale, and starts another worker", |world| {
    world.set("another is started");
    Then::End
})];

const AFTER_THE_MONITOR: [Op; 4] = [
    ("begins", |world| world.wait_for("another is started")),
    ("reads the file", |world| if nothing_to_do(world) { Then::Wait } else { reads(world) }),
    ("does the item", does),
    ("commits: replaces the file, without that item", |world| {
        let rest = without_the_first(world);
        world.replace(V, &rest);
        Then::Goto(1)
    }),
];
