//! Sprag's threads besides the loop: the pool, the keeper that starts commands, the journal thread.
//!
//! **Invariant.** They are what the tokio adapter has: many pool threads, one keeper, one journal thread, the last two in
//! order. What they find comes back to the loop as an event, unless sprag has ended meanwhile.

use crate::describe;
use crate::failure::Check;
use crate::places::{Actor, Hazard, Site};
use crate::shared::Shared;
use crate::trace::Kind;
use crate::world::{Due, World};
use sprag_runtime::driver::{Event, JournalWork, journal_step};
use sprag_runtime::task::Task;
use std::rc::Rc;

/// A stall is so many times longer than the longest delay.
const STALL: u64 = 1_000;

impl World {
    fn delay_us(&mut self, site: Site, from_us: u64, to_us: u64) -> u64 {
        let stalls = self.strikes(Actor::Sprag, Hazard::Stall);
        self.chance.span(Actor::Sprag, site, from_us, to_us) * if stalls { STALL } else { 1 }
    }

    /// The loop hands a task away.
    pub fn run(&mut self, task: Task) {
        let life = self.life;
        let delay_us = self.delay_us(Site::TaskDelay, 5, 3_000);
        if !task.makes_process() {
            self.schedule(delay_us, Due::Pool { life, task });
            return;
        }
        self.keeper.push_back(task);
        if self.keeper.len() == 1 {
            self.schedule(delay_us, Due::Keeper { life });
        }
    }

    /// The loop hands work to the journal thread.
    pub fn write(&mut self, work: JournalWork) {
        if let JournalWork::Append(frame) = &work
            && self.in_flight.replace((self.now_us, frame.n)).is_some()
        {
            self.fail(Check::OneFrame.failed("two frames are in flight"));
        }
        self.journal.push_back(work);
        if self.journal.len() == 1 {
            let delay_us = self.delay_us(Site::JournalDelay, 5, 2_000);
            let life = self.life;
            self.schedule(delay_us, Due::Journal { life });
        }
    }

    /// Something for the loop, from a thread of this life.
    fn answer(&mut self, life: u32, event: Event) {
        if life == self.life && self.ending.is_none() {
            let delay_us = self.delay_us(Site::AnswerDelay, 5, 2_000);
            self.schedule(delay_us, Due::Heard { life, event });
        }
    }
}

/// A pool thread does a task.
pub fn task(shared: &Rc<Shared>, task: Task) {
    let (life, threads) = {
        let mut world = shared.world.borrow_mut();
        world.note(Actor::Sprag, Kind::Did, format_args!("{}", describe::Task(&task)));
        (world.life, world.threads.clone())
    };
    let Some(threads) = threads else { return };
    let done = threads.context.run(task);
    shared.world.borrow_mut().answer(life, Event::Done(done));
}

/// The keeper does the next of its tasks.
pub fn keeper(shared: &Rc<Shared>) {
    let next = shared.world.borrow().keeper.front().cloned();
    let Some(next) = next else { return };
    // It stays at the front while it is done: there is one keeper.
    task(shared, next);
    let mut world = shared.world.borrow_mut();
    world.keeper.pop_front();
    if !world.keeper.is_empty() {
        let (life, delay_us) = (world.life, world.delay_us(Site::TaskDelay, 5, 300));
        world.schedule(delay_us, Due::Keeper { life });
    }
}

/// The journal thread does the next of its work.
pub fn journal(shared: &Rc<Shared>) {
    let (life, threads, work) = {
        let mut world = shared.world.borrow_mut();
        let Some(work) = world.journal.front_mut() else { return };
        // What stays at the front says that the thread is busy.
        let work = std::mem::replace(work, JournalWork::CheckRoom);
        world.note(Actor::Sprag, Kind::Did, format_args!("journal thread: {}", describe::Work(&work)));
        (world.life, world.threads.clone(), work)
    };
    let Some(threads) = threads else { return };
    let committed = journal_step(&mut threads.writer.borrow_mut(), work);
    let mut world = shared.world.borrow_mut();
    world.journal.pop_front();
    world.answer(life, Event::Journal(committed));
    if !world.journal.is_empty() {
        let delay_us = world.delay_us(Site::JournalDelay, 5, 300);
        world.schedule(delay_us, Due::Journal { life });
    }
}
