//! Changes that are not noticed, or are noticed for ever: R11 to R16, R20, R21.
//!
//! **Invariant.** A watcher's `handles` is enabled while there is an event; a poller's `looks` while what it compares differs
//! from what it remembers: that stands for all of its periods, of which only those can do anything.

use super::Scenario;
use super::world::{Actor, Event, Harm, Op, Then, Watch, World};
use crate::Design::{Original, Polling};

const V: &str = "ideas_log.json";

pub(super) fn scenarios() -> Vec<Scenario> {
    let row = |id, name, design, variant, expected, begin, actors| Scenario {
        id,
        name,
        design,
        variant,
        expected,
        actors,
        begin,
        judge: last_seen,
    };
    let both = |writer: &'static [Op], reader: &'static [Op]| {
        vec![Actor { name: "writer", steps: writer }, Actor { name: "worker", steps: reader }]
    };
    let missed = Some(Harm::Missed);
    let rivals = || {
        vec![
            Actor { name: "writer", steps: &REPLACES_LATE },
            Actor { name: "rival", steps: &REPLACES_ONCE },
            Actor { name: "poller", steps: &STATS_THEN_READS },
        ]
    };
    vec![
        row("R11", "inode watch lost", Original, "", missed, watch_inode, both(&REPLACES, &HANDLES_ALL)),
        row("R11", "inode watch lost", Polling, "", None, nothing_seen, both(&REPLACES, &COMPARES)),
        row("R12", "on_modified only", Original, "", missed, watch_folder, both(&REPLACES, &HANDLES_MODIFIED)),
        row("R12", "on_modified only", Polling, "", None, nothing_seen, both(&REPLACES, &COMPARES)),
        row("R13", "scan before arm", Original, "", missed, begin, both(&REPLACES_ONCE, &SCANS_THEN_ARMS)),
        row(
            "R13",
            "scan before arm",
            Original,
            "control: arms first",
            None,
            begin,
            both(&REPLACES_ONCE, &ARMS_THEN_SCANS),
        ),
        row("R13", "scan before arm", Polling, "", None, nothing_seen, both(&REPLACES_ONCE, &COMPARES)),
        row("R14", "overflow", Original, "", missed, watch_folder, both(&BURST, &HANDLES_ALL)),
        row("R14", "overflow", Polling, "", None, nothing_seen, both(&BURST, &COMPARES)),
        row("R15", "self-trigger", Original, "", Some(Harm::Storm), watch_folder, both(&REPLACES_ONCE, &WRITES_BACK)),
        row(
            "R15",
            "self-trigger",
            Polling,
            "",
            Some(Harm::SelfWake),
            nothing_seen,
            both(&REPLACES_ONCE, &POLLS_AND_WRITES_BACK),
        ),
        row("R16", "torn read", Original, "", Some(Harm::Torn), watch_folder, both(&IN_PLACE, &HANDLES_ALL)),
        row("R16", "torn read", Polling, "", Some(Harm::Torn), nothing_seen, both(&IN_PLACE, &COMPARES)),
        row("R20", "read, then stat", Polling, "", missed, begin, both(&REPLACES_ONCE, &READS_THEN_STATS)),
        row(
            "R20",
            "read, then stat",
            Polling,
            "control: stats first",
            None,
            begin,
            both(&REPLACES_ONCE, &STATS_THEN_READS),
        ),
        row("R21", "backward mtime", Polling, "mtime > last", missed, begin, rivals()),
        row("R21", "same tick", Polling, "mtime != last", missed, begin, both(&REPLACES_IN_A_TICK, &STATS_UNEQUAL)),
    ]
}

fn begin(world: &mut World) {
    world.create(V, &[0]);
}

fn nothing_seen(world: &mut World) {
    begin(world);
}

fn watch_inode(world: &mut World) {
    begin(world);
    world.watch = Watch::Inode(world.names[V]);
}

fn watch_folder(world: &mut World) {
    begin(world);
    world.watch = Watch::Folder;
}

/// What stands at the name in the end must have been seen by whoever reads.
fn last_seen(world: &World) -> Option<Harm> {
    if world.has("died of it") {
        return Some(Harm::Torn);
    }
    if world.has("storm") {
        return Some(Harm::Storm);
    }
    if world.has("woke itself") {
        return Some(Harm::SelfWake);
    }
    (world.done.last() != world.file(V).items.last()).then_some(Harm::Missed)
}

// Who writes.

const REPLACES: [Op; 2] = [
    ("replaces the file: version 1", |world| {
        world.replace(V, &[1]);
        Then::Next
    }),
    ("replaces the file: version 2", |world| {
        world.replace(V, &[2]);
        Then::End
    }),
];

const REPLACES_ONCE: [Op; 2] = [
    ("prepares a temporary file: version 1", |world| {
        world.wall += 1;
        let inode = world.write_new(&[1]);
        world.remember("temporary", &[inode]);
        Then::Next
    }),
    ("renames it over the file", |world| {
        let inode = world.recall("temporary")[0];
        world.rename(inode, V);
        Then::End
    }),
];

/// Prepares before the other, renames whenever it likes.
const REPLACES_LATE: [Op; 2] = [
    ("prepares a temporary file: version 2", |world| {
        world.wall += 1;
        let inode = world.write_new(&[2]);
        world.remember("temporary", &[inode]);
        Then::Next
    }),
    ("renames it over the file", REPLACES_ONCE[1].1),
];

const REPLACES_IN_A_TICK: [Op; 2] = [
    ("replaces the file: version 1", |world| {
        world.wall += 1;
        world.replace(V, &[1]);
        Then::Next
    }),
    ("replaces the file in the same tick: version 2", |world| {
        world.replace(V, &[2]);
        Then::End
    }),
];

const BURST: [Op; 4] = [
    ("writes another file", |world| {
        world.replace("a", &[9]);
        Then::Next
    }),
    ("writes another file", |world| {
        world.replace("b", &[9]);
        Then::Next
    }),
    ("writes another file", |world| {
        world.replace("c", &[9]);
        Then::Next
    }),
    ("replaces the file: version 1", |world| {
        world.replace(V, &[1]);
        Then::End
    }),
];

const IN_PLACE: [Op; 2] = [
    ("truncates the file and writes the first half", |world| {
        world.write(V, &[1], true);
        Then::Next
    }),
    ("writes the second half", |world| {
        world.write(V, &[1], false);
        Then::End
    }),
];

// Who reads.

/// Reads the file, and dies of what is no JSON.
fn read(world: &mut World) -> bool {
    let file = world.file(V).clone();
    if file.torn {
        world.set("died of it");
        return false;
    }
    world.done.extend(file.items.last());
    true
}

const HANDLES_ALL: [Op; 1] = [("handles an event", |world| match world.events.pop_front() {
    None => Then::Wait,
    // Nothing that it knows to do anything about.
    Some(Event::Overflow | Event::Ignored) => Then::Goto(0),
    Some(Event::Modified(name) | Event::MovedTo(name)) if name != V => Then::Goto(0),
    Some(Event::Modified(_) | Event::MovedTo(_)) => {
        if read(world) {
            Then::Goto(0)
        } else {
            Then::End
        }
    }
})];

const HANDLES_MODIFIED: [Op; 1] = [("handles an event", |world| match world.events.pop_front() {
    None => Then::Wait,
    Some(Event::Modified(_)) => {
        if read(world) {
            Then::Goto(0)
        } else {
            Then::End
        }
    }
    Some(Event::MovedTo(_) | Event::Overflow | Event::Ignored) => Then::Goto(0),
})];

const SCANS_THEN_ARMS: [Op; 3] = [
    ("scans", |world| {
        read(world);
        Then::Next
    }),
    ("arms the watch", |world| {
        world.watch = Watch::Folder;
        Then::Next
    }),
    ("handles an event", handles_after),
];

const ARMS_THEN_SCANS: [Op; 3] = [
    ("arms the watch", |world| {
        world.watch = Watch::Folder;
        Then::Next
    }),
    ("scans", |world| {
        read(world);
        Then::Next
    }),
    ("handles an event", handles_after),
];

fn handles_after(world: &mut World) -> Then {
    match (HANDLES_ALL[0].1)(world) {
        Then::Goto(_) => Then::Goto(2),
        then => then,
    }
}

/// So many times, and it is taken for endless.
const TIMES_MAX: usize = 6;

const WRITES_BACK: [Op; 1] = [("handles an event: reads, and writes what it has done", |world| {
    let Some(Event::Modified(V) | Event::MovedTo(V)) = world.events.pop_front() else { return Then::Wait };
    read(world);
    if world.done.len() >= TIMES_MAX {
        world.set("storm");
        return Then::End;
    }
    let items = world.file(V).items.clone();
    world.replace(V, &items);
    Then::Goto(0)
})];

/// Compares what it reads with what it read.
const COMPARES: [Op; 1] = [("looks, and finds it changed", |world| {
    let file = world.file(V).clone();
    if file.torn {
        world.set("died of it");
        return Then::End;
    }
    if world.recall("seen") == file.items {
        return Then::Wait;
    }
    world.done.extend(file.items.last());
    world.remember("seen", &file.items);
    Then::Goto(0)
})];

/// Its own write is a change too: one more look that does everything again, and then none, since it writes the same.
const POLLS_AND_WRITES_BACK: [Op; 1] = [("looks, finds a newer time, reads, and writes what it has done", |world| {
    let mtime = world.file(V).mtime as u8;
    if world.recall("mtime") == [mtime] {
        return Then::Wait;
    }
    read(world);
    world.remember("mtime", &[mtime]);
    if world.done.len() > 1 && world.done.windows(2).any(|two| two[0] == two[1]) {
        world.set("woke itself");
        return Then::End;
    }
    world.wall += 1;
    let items = world.file(V).items.clone();
    world.replace(V, &items);
    Then::Goto(0)
})];

fn mtime_is(world: &World, known: fn(u8, u8) -> bool) -> bool {
    let mtime = world.file(V).mtime as u8;
    world.recall("mtime").first().is_some_and(|last| known(mtime, *last))
}

const READS_THEN_STATS: [Op; 2] = [
    ("looks, finds another time, and reads", |world| {
        if mtime_is(world, |mtime, last| mtime == last) {
            return Then::Wait;
        }
        read(world);
        Then::Next
    }),
    ("asks for the time of what it read", |world| {
        let mtime = world.file(V).mtime as u8;
        world.remember("mtime", &[mtime]);
        Then::Goto(0)
    }),
];

const STATS_THEN_READS: [Op; 2] = [
    ("looks, and finds a later time", |world| {
        if mtime_is(world, |mtime, last| mtime <= last) {
            return Then::Wait;
        }
        let mtime = world.file(V).mtime as u8;
        world.remember("mtime", &[mtime]);
        Then::Next
    }),
    ("reads", |world| {
        read(world);
        Then::Goto(0)
    }),
];

const STATS_UNEQUAL: [Op; 2] = [
    ("looks, and finds another time", |world| {
        if mtime_is(world, |mtime, last| mtime == last) {
            return Then::Wait;
        }
        let mtime = world.file(V).mtime as u8;
        world.remember("mtime", &[mtime]);
        Then::Next
    }),
    ("reads", |world| {
        read(world);
        Then::Goto(0)
    }),
];
