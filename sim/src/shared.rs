//! How the world runs around sprag: before each of its calls, and between what its loop does.
//!
//! **Invariant.** Before each call that sprag makes of its world, time passes and everything else that is due runs, its own
//! other threads included, the loop alone excepted: so a read can be torn and a scan can race. A life of sprag can end
//! before any such call and before any event.

use crate::chance::Script;
use crate::failure::Check;
use crate::fs::{Call, Fault, SimFs};
use crate::monitor::Pending;
use crate::places::{Actor, Site};
use crate::processes::SimProcesses;
use crate::threads;
use crate::trace::{Keep, Kind};
use crate::watch::{self, SimWatch, Watched};
use crate::world::{Due, End, Entry, Fate, World};
use sprag_journal::Writer;
use sprag_runtime::flight::Recorder;
use sprag_runtime::task::Context;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Threads of sprag that can be in the middle of something at once, one inside a call of the other.
const NESTED_MAX: u32 = 4;

/// The world, and the two things in it that must be had while the world is at work.
#[derive(Debug)]
pub struct Shared {
    /// Everything else.
    pub world: RefCell<World>,
    /// Who watches what.
    pub watch: RefCell<Watched>,
    /// The process number of the sprag that lives.
    sprag: Cell<Option<u32>>,
}

/// What sprag's threads hold in one life.
#[derive(Debug)]
pub struct Threads {
    /// The seams.
    pub context: Context<SimFs, SimProcesses, SimWatch>,
    /// The journal thread's.
    pub writer: RefCell<Writer<SimFs>>,
    /// The flight recorder's, on the same thread.
    pub recorder: RefCell<Recorder<SimFs>>,
}

impl Shared {
    /// A new world, with nothing in it yet but its producers.
    pub fn new(script: Script, keep: Keep) -> Rc<Shared> {
        let world = RefCell::new(World::new(script, keep));
        let shared = Rc::new(Shared { world, watch: RefCell::default(), sprag: Cell::new(None) });
        let weak = Rc::downgrade(&shared);
        let hook = move |call: &Call<'_>| weak.upgrade().and_then(|shared| shared.before_call(call));
        shared.world.borrow().fs.set_hook(Some(Rc::new(hook)));
        shared.world.borrow().fs.listen();
        shared
    }

    /// Runs before every file system call of anybody.
    fn before_call(self: &Rc<Shared>, call: &Call<'_>) -> Option<Fault> {
        if self.sprag.get() != Some(call.process) {
            return None;
        }
        let fault = self.world.borrow_mut().before_call(call);
        self.interleave();
        fault
    }

    /// Before a call of sprag that is none of the file system: false when it does not come to it.
    pub fn sprag_call(self: &Rc<Shared>, what: &str) -> Result<(), End> {
        {
            let mut world = self.world.borrow_mut();
            if let Some(end) = world.ending {
                return Err(end);
            }
            let cost_us = world.chance.span(Actor::Sprag, Site::CallTime, 2, 400);
            world.note(Actor::Sprag, Kind::Call, format_args!("{what}"));
            world.sprag_steps(cost_us, false);
            world.end_process();
        }
        self.interleave();
        self.world.borrow().ending.map_or(Ok(()), Err)
    }

    /// Everything but the loop that is due by now.
    fn interleave(self: &Rc<Shared>) {
        let mut world = self.world.borrow_mut();
        watch::deliver(&mut world, &mut self.watch.borrow_mut());
        if world.ending.is_some() {
            return;
        }
        let (cause, may_nest) = (world.cause, world.nested < NESTED_MAX);
        world.nested += 1;
        while let Some(entry) = world.pop_outside(may_nest) {
            drop(world);
            self.happen(entry);
            world = self.world.borrow_mut();
            if world.ending.is_some() {
                break;
            }
        }
        world.nested -= 1;
        world.cause = cause;
    }

    /// Does what is due. What is for the loop is not done here.
    fn happen(self: &Rc<Shared>, entry: Entry) {
        let life = {
            let mut world = self.world.borrow_mut();
            world.cause = entry.cause;
            world.life
        };
        match *entry.due {
            Due::Pool { life: of, task } if life == of => threads::task(self, task),
            Due::Keeper { life: of } if life == of => threads::keeper(self),
            Due::Journal { life: of } if life == of => threads::journal(self),
            Due::Events { life: of } if life == of => {
                watch::wake(&mut self.world.borrow_mut(), &mut self.watch.borrow_mut());
            }
            Due::Pool { .. } | Due::Keeper { .. } | Due::Journal { .. } | Due::Events { .. } => {}
            Due::Producer(index) => self.world.borrow_mut().producer_step(index),
            Due::Process(pid) => self.world.borrow_mut().process_step(pid),
            Due::WallStep => self.world.borrow_mut().wall_step(),
            Due::Sleep => self.world.borrow_mut().sleep(),
            Due::Freeze => self.world.borrow_mut().freeze(),
            Due::Monitor => self.world.borrow_mut().monitor_step(),
            Due::Disk { full } => self.world.borrow_mut().disk(full),
            Due::Heal => self.world.borrow_mut().heal(),
            Due::Client => self.world.borrow_mut().client_step(),
            Due::Heard { .. } | Due::Marked { .. } | Due::Tick { .. } | Due::Open => panic!("only the loop does this"),
        }
        watch::deliver(&mut self.world.borrow_mut(), &mut self.watch.borrow_mut());
    }

    /// Takes the next thing that is due. What is not for the loop is done, and then `None` is returned.
    pub fn next(self: &Rc<Shared>) -> Option<Due> {
        let mut world = self.world.borrow_mut();
        let Some(((at_us, _), entry)) = world.heap.pop_first() else {
            world.fail(Check::ComesToRest.failed("nothing is due any more, and the end was not reached"));
            return None;
        };
        world.now_us = world.now_us.max(at_us);
        world.cause = entry.cause;
        match *entry.due {
            Due::Heard { .. } | Due::Marked { .. } | Due::Tick { .. } | Due::Open => Some(*entry.due),
            Due::Pool { .. }
            | Due::Keeper { .. }
            | Due::Journal { .. }
            | Due::Events { .. }
            | Due::Producer(_)
            | Due::Client
            | Due::Process(_)
            | Due::WallStep
            | Due::Sleep
            | Due::Freeze
            | Due::Monitor
            | Due::Disk { .. }
            | Due::Heal => {
                drop(world);
                self.happen(entry);
                None
            }
        }
    }

    /// A new process is sprag from here on.
    pub fn begin_life(&self, fate: Option<Fate>) -> SimFs {
        let mut world = self.world.borrow_mut();
        let fs = world.fs.new_process();
        self.sprag.set(Some(fs.process()));
        world.sprag_fs = fs.clone();
        world.life += 1;
        world.fate = fate;
        (world.slept_ms, world.began_us, world.frozen_until_us) = (0, world.now_us, 0);
        (world.ending, world.in_flight, world.excused) = (None, None, world.squeezed.is_some());
        (world.stopping, world.recorded) = (false, None);
        fs
    }

    /// What dies with the process.
    pub fn end_life(&self) {
        self.sprag.set(None);
        self.watch.borrow_mut().forget();
        let held = {
            let mut world = self.world.borrow_mut();
            world.life += 1;
            world.fate = None;
            world.preparing.clear();
            world.keeper.clear();
            world.journal.clear();
            world.marked.clear();
            world.pending = Pending::default();
            world.client.lose();
            world.sprag_fs.kill();
            world.threads.take()
        };
        drop(held);
    }
}
