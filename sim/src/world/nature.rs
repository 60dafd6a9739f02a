//! What comes over everybody: the calendar jumps, the machine sleeps or loses power, sprag is stopped, the disk fills up.
//!
//! **Invariant.** Nothing of it happens once the world is healed, but that what was taken is given back.

use super::{Due, World};
use crate::marks::Mark;
use crate::places::{Actor, Site};
use crate::settled::ROOM_FOR_A_SNAPSHOT;
use crate::trace::Kind;

/// So long room stays short when nothing else goes wrong any more.
const SHORT_US: u64 = 90_000_000;

impl World {
    /// The calendar jumps.
    pub fn wall_step(&mut self) {
        if self.healed {
            return;
        }
        let step_ms = self.chance.span(Actor::World, Site::WallStep, 1, 30_000);
        let back = self.chance.below(Actor::World, Site::WallStep, 2) == 1;
        self.wall_ms = if back { self.wall_ms - step_ms } else { self.wall_ms + step_ms };
        self.stepped_us = Some(self.now_us);
        self.mark(if back { Mark::CalendarBack } else { Mark::CalendarForward });
        let way = if back { "back" } else { "forward" };
        self.note(Actor::World, Kind::Fault, format_args!("the calendar steps {step_ms} ms {way}"));
    }

    /// The machine sleeps: time goes on, and nobody does anything. Timers that ran out meanwhile ring at once.
    pub fn sleep(&mut self) {
        if self.healed {
            return;
        }
        let slept_ms = self.chance.span(Actor::World, Site::Sleep, 1, 60_000);
        self.note(Actor::World, Kind::Fault, format_args!("the machine sleeps for {slept_ms} ms"));
        for ((at_us, number), entry) in std::mem::take(&mut self.heap) {
            let rings = matches!(*entry.due, Due::Tick { .. } | Due::Heal);
            self.heap.insert((if rings { at_us } else { at_us + slept_ms * 1000 }, number), entry);
        }
        // Who is to continue it sleeps as well.
        if self.frozen_until_us > self.now_us {
            self.stands_until(self.frozen_until_us + slept_ms * 1000);
        }
        self.now_us += slept_ms * 1000;
        self.slept_ms += slept_ms;
        self.asleep_us += slept_ms * 1000;
    }

    /// Sprag is stopped: whatever was to reach it, or to be done by a thread of it, waits until it is continued. Nobody tells
    /// it, and everybody else goes on.
    pub fn freeze(&mut self) {
        if self.healed || self.threads.is_none() {
            return;
        }
        let stands_us = self.chance.span(Actor::World, Site::Frozen, 1_000, 20_000_000);
        self.note(Actor::World, Kind::Fault, format_args!("sprag is stopped for {stands_us} us"));
        self.mark(Mark::SpragStopped);
        self.stands_until(self.now_us + stands_us);
    }

    /// What is of sprag waits for so long: what is due, and what will be.
    fn stands_until(&mut self, until_us: u64) {
        self.frozen_until_us = self.frozen_until_us.max(until_us);
        for ((at_us, number), entry) in std::mem::take(&mut self.heap) {
            let at_us = if entry.due.is_of_sprag() { at_us.max(self.frozen_until_us) } else { at_us };
            self.heap.insert((at_us, number), entry);
        }
    }

    /// The disk is full, or has room again.
    pub fn disk(&mut self, full: bool) {
        if full && self.healed {
            return;
        }
        let free = full.then(|| self.chance.below(Actor::World, Site::DiskFull, 6).saturating_sub(2) * (12 << 10));
        if self.healed {
            self.judge_short();
        }
        self.fs.squeeze(free);
        self.squeezed = free;
        match free {
            Some(free) => self.note(Actor::World, Kind::Fault, format_args!("the disk has {free} bytes left")),
            None => self.note(Actor::World, Kind::Fault, format_args!("the disk has room")),
        }
        if self.healed {
            self.healed_us = Some(self.now_us);
        }
        if full {
            self.excused = true;
            let again_us = self.chance.span(Actor::World, Site::DiskFull, 1_000, 60_000_000);
            self.schedule(again_us, Due::Disk { full: false });
        }
    }

    /// From here on nothing goes wrong. Where the disk is full it stays so for long enough that sprag can make what room it can.
    pub fn heal(&mut self) {
        if self.healed {
            return;
        }
        self.healed = true;
        self.chance.heal();
        self.fate = None;
        self.note(Actor::World, Kind::World, format_args!("from here on nothing goes wrong"));
        // As well, room is short at times just where sprag has a little left for itself.
        let least = self.pipeline.disk.min_free_bytes(0);
        if self.squeezed.is_none() && least > ROOM_FOR_A_SNAPSHOT && self.chance.one_in(Actor::World, Site::DiskFull, 3)
        {
            let free = ROOM_FOR_A_SNAPSHOT + self.chance.below(Actor::World, Site::DiskFull, least / 2);
            self.squeezed = Some(free);
            self.fs.squeeze(self.squeezed);
            self.note(Actor::World, Kind::World, format_args!("but that the disk has {free} bytes left for now"));
        }
        if self.squeezed.is_some() {
            self.heap.retain(|_, entry| !matches!(*entry.due, Due::Disk { .. }));
            self.schedule(SHORT_US, Due::Disk { full: false });
            return;
        }
        self.healed_us = Some(self.now_us);
    }

    /// Nothing goes wrong any more, but that room is short.
    pub fn waits_for_room(&self) -> bool {
        self.healed && self.healed_us.is_none()
    }

    /// Power is back: the medium holds an image that a power cut may leave, and everything that ran is gone.
    pub fn reboot(&mut self) {
        let mut image = {
            let chance = &mut self.chance;
            self.fs.draw(&mut |n| chance.below(Actor::Disk, Site::PowerCutImage, u64::from(n)) as u32)
        };
        self.producers.iter().for_each(|producer| producer.unlie(&mut image));
        self.processes.clear();
        self.fs = self.fs.reboot(&image);
        self.fs.squeeze(self.squeezed);
        self.boot_us = self.now_us;
        self.producers_restart();
        self.note(Actor::World, Kind::World, format_args!("the machine is up again: {} files", image.files.len()));
    }
}
