//! Sprag's threads besides the loop: the pool, the keeper that starts commands and hears of their ends, the journal thread.
//!
//! **Invariant.** They are what the tokio adapter has: many pool threads, one keeper, one journal thread, the last two in
//! order. What they find comes back to the loop as an event, unless sprag has ended meanwhile.

use crate::describe;
use crate::failure::Check;
use crate::incident::Recorded;
use crate::places::{Actor, Hazard, Site};
use crate::shared::Shared;
use crate::trace::Kind;
use crate::world::{Due, World};
use sprag_runtime::driver::{Event, JournalWork, journal_step, record_step};
use sprag_runtime::seams::Exit;
use sprag_runtime::task::{Done, Task};
use std::rc::Rc;

/// What the keeper is to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Start a command.
    Start(Task),
    /// Hear of a child's end.
    Hear(Exit),
}

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
        if task.makes_process() {
            return self.order(life, Order::Start(task));
        }
        let slow_us = if matches!(task, Task::Look { .. } | Task::Arm { .. }) { self.source_takes_us() } else { 0 };
        let delay_us = slow_us + self.delay_us(Site::TaskDelay, 5, 3_000);
        self.schedule(delay_us, Due::Pool { life, task });
    }

    /// How much longer a source takes than it must: before it is touched, and after.
    fn source_takes_us(&mut self) -> u64 {
        if self.strikes(Actor::Sprag, Hazard::SourceIsSlow) {
            self.chance.span(Actor::Sprag, Site::Slow, 10_000, 1_500_000)
        } else {
            0
        }
    }

    /// Something for the keeper of this life to do.
    pub fn order(&mut self, life: u32, order: Order) {
        let delay_us = self.delay_us(Site::TaskDelay, 5, 3_000);
        self.keeper.push_back(order);
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
            let looked = matches!(event, Event::Done(Done::Looked { .. } | Done::Armed { .. }));
            let slow_us = if looked { self.source_takes_us() } else { 0 };
            let mut delay_us = slow_us + self.delay_us(Site::AnswerDelay, 5, 2_000);
            if matches!(event, Event::Journal(_)) {
                // One thread, and one mailbox: what it says later is heard later.
                delay_us = delay_us.max(self.journal_told_us.saturating_sub(self.now_us));
                self.journal_told_us = self.now_us + delay_us;
            }
            self.schedule(delay_us, Due::Heard { life, event });
        }
    }
}

/// A pool thread does a task.
pub fn task(shared: &Rc<Shared>, task: Task) {
    let looks = u32::from(matches!(task, Task::Look { .. }));
    let (life, threads) = {
        let mut world = shared.world.borrow_mut();
        world.note(Actor::Sprag, Kind::Did, format_args!("{}", describe::Task(&task)));
        (world.life, world.threads.clone())
    };
    let Some(threads) = threads else { return };
    shared.world.borrow_mut().looking += looks;
    let done = threads.context.run(task);
    let mut world = shared.world.borrow_mut();
    world.looking -= looks;
    world.answer(life, Event::Done(done));
}

/// The keeper does the next of its orders.
pub fn keeper(shared: &Rc<Shared>) {
    let next = shared.world.borrow().keeper.front().cloned();
    let Some(next) = next else { return };
    // It stays at the front while it is done: there is one keeper.
    match next {
        Order::Start(start) => task(shared, start),
        Order::Hear(exit) => hear(shared, exit),
    }
    let mut world = shared.world.borrow_mut();
    world.keeper.pop_front();
    if !world.keeper.is_empty() {
        let (life, delay_us) = (world.life, world.delay_us(Site::TaskDelay, 5, 300));
        world.schedule(delay_us, Due::Keeper { life });
    }
}

/// The keeper hears of a child's end.
fn hear(shared: &Rc<Shared>, exit: Exit) {
    let (life, threads) = {
        let world = shared.world.borrow();
        (world.life, world.threads.clone())
    };
    let Some(threads) = threads else { return };
    let event = threads.context.ended(exit);
    shared.world.borrow_mut().answer(life, event);
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
    let (_, failed) = record_step(&mut threads.recorder.borrow_mut());
    if let Some(failed) = failed {
        let mut world = shared.world.borrow_mut();
        world.recorded = world.recorded.map(|recorded| Recorded { whole: false, ..recorded });
        world.answer(life, Event::Journal(failed));
    }
    let committed = journal_step(&mut threads.writer.borrow_mut(), work);
    let mut world = shared.world.borrow_mut();
    world.journal.pop_front();
    world.answer(life, Event::Journal(committed));
    if !world.journal.is_empty() {
        let delay_us = world.delay_us(Site::JournalDelay, 5, 300);
        world.schedule(delay_us, Due::Journal { life });
    }
}
