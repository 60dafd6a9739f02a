//! What both hosts and the runner share: the world, the requests on their way, and the two clocks.
//!
//! **Invariant.** The world's clock never goes back, and stands while the loop is at work. On a still network it also stands
//! while anything travels.

use super::clients::Connection;
use crate::places::{Actor, Site};
use crate::run::Run;
use crate::shared::Shared;
use crate::world::Due;
use sprag_runtime::driver::{Effect, Event};
use sprag_runtime::request::Request;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// What a still network is given to carry what there is: there and back, and a step for each host, in microseconds.
const CALM_US: u64 = 8_000;

/// No network is slower, in milliseconds each way.
const LATENCY_MS_MAX: u64 = 30;

/// What the network is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Messages take no time of the world, nothing goes wrong, nobody is rude: what sprag decides must be what it decides
    /// without a network.
    Still,
    /// Whatever the seed says.
    Rough,
}

/// What the network of a seed is like.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) latency_ms_max: u64,
    /// Turmoil's step, in milliseconds. Each costs the same whether anything happens or not.
    pub(super) step_ms: u64,
}

/// A request on its way to sprag.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) ticket: u64,
    pub(super) request: Request,
}

pub(super) struct Net {
    pub(super) shared: Rc<Shared>,
    pub(super) run: RefCell<Run>,
    pub(super) way: Way,
    pub(super) plan: Plan,
    pub(super) outbox: RefCell<VecDeque<Asking>>,
    /// Somebody waits for more lines for a stream.
    pub(super) gathers: Cell<bool>,
    /// Connections that can be used again.
    pub(super) pool: RefCell<Vec<Connection>>,
    /// So many things are wrong with the network.
    pub(super) troubles: Cell<u32>,
    /// Rung when something is put there.
    pub(super) bell: Notify,
    /// So many clients are in the middle of something that takes time.
    pub(super) busy: Cell<u32>,
    /// How far the world may go, in its microseconds.
    horizon_us: Cell<u64>,
    /// What of that the machine has slept.
    asleep_us: Cell<u64>,
    /// Turmoil's clock when that was last looked at, in microseconds.
    seen_us: Cell<u64>,
    /// What travels on a still network has arrived when turmoil's clock is here.
    calm_us: Cell<u64>,
    /// A request was sent that the loop has not heard.
    pub(super) awaited: Cell<bool>,
    /// So much was handed to the loop that it has not heard.
    pub(super) handed: Cell<u32>,
    /// The loop has nothing to do before something new comes.
    pub(super) rests: Cell<bool>,
    /// The deadline that the loop asked for has come.
    pub(super) ticked: Cell<bool>,
    hosted: Cell<bool>,
    /// The line that says what the loop was told last.
    cause: Cell<u32>,
}

impl Net {
    pub(super) fn new(shared: Rc<Shared>, run: Run, way: Way) -> Rc<Net> {
        let (latency_ms_max, step_ms) = match way {
            Way::Still => (0, 1),
            Way::Rough => {
                let world = &mut *shared.world.borrow_mut();
                let (whims, burst) = (2 + world.chance.below(Actor::World, Site::Requests, 8), 5);
                world.client.is_eager(whims, burst);
                (1 + world.chance.below(Actor::World, Site::NetLatency, LATENCY_MS_MAX), 5)
            }
        };
        Rc::new(Net {
            shared,
            run: RefCell::new(run),
            way,
            plan: Plan { latency_ms_max, step_ms },
            outbox: RefCell::default(),
            gathers: Cell::new(false),
            pool: RefCell::default(),
            troubles: Cell::new(0),
            bell: Notify::new(),
            busy: Cell::new(0),
            horizon_us: Cell::new(0),
            asleep_us: Cell::new(0),
            seen_us: Cell::new(0),
            calm_us: Cell::new(0),
            awaited: Cell::new(false),
            handed: Cell::new(0),
            rests: Cell::new(false),
            ticked: Cell::new(false),
            hosted: Cell::new(false),
            cause: Cell::new(0),
        })
    }

    /// Whether sprag is at work on its host.
    pub(super) fn is_hosted(&self) -> bool {
        self.hosted.get()
    }

    /// Sprag has been started on its host.
    pub(super) fn hosted(&self) {
        self.hosted.set(true);
        self.handed.set(0);
        self.rests.set(false);
        self.ticked.set(false);
    }

    /// It is gone from there.
    pub(super) fn buried(&self) {
        self.hosted.set(false);
        self.awaited.set(false);
        self.outbox.borrow_mut().clear();
    }

    /// The loop is told something. False when its life ends before it is.
    pub(super) fn hears(&self, event: &Event) -> bool {
        let told = self.run.borrow_mut().about_to_hear(event).is_some();
        self.cause.set(self.shared.world.borrow().cause);
        told
    }

    /// What happens now follows from what the loop was told last. False when its life has ended.
    pub(super) fn resume(&self) -> bool {
        let mut world = self.shared.world.borrow_mut();
        world.cause = self.cause.get();
        world.ending.is_none()
    }

    /// The loop wants something done: it is, unless its life has ended meanwhile.
    pub(super) fn effect(&self, effect: Effect) {
        if self.resume() {
            self.run.borrow_mut().effect(effect, None);
        }
    }

    /// Turmoil's clock is there.
    pub(super) fn stepped(&self, elapsed: Duration) {
        let now_us = elapsed.as_micros() as u64;
        let passed_us = now_us.saturating_sub(self.seen_us.replace(now_us));
        if self.way == Way::Rough {
            self.horizon_us.set(self.horizon_us.get() + passed_us);
        }
    }

    /// Something may travel now that must arrive, on a still network, before the world goes on.
    pub(super) fn stir(&self) {
        self.calm_us.set(self.seen_us.get() + CALM_US);
    }

    /// Whether the world's clock may jump to what is due next.
    fn may_jump(&self) -> bool {
        let quiet = self.busy.get() == 0 && self.outbox.borrow().is_empty();
        match self.way {
            Way::Still => quiet || (!self.awaited.get() && self.seen_us.get() >= self.calm_us.get()),
            Way::Rough => quiet,
        }
    }

    /// Takes the next thing for the loop that is due, and does all that comes before it. Without one: how long that will take
    /// on turmoil's clock at least, as far as it is known.
    pub(super) fn next(&self) -> Result<Due, Option<Duration>> {
        loop {
            // While the machine sleeps, the network stands as well.
            let asleep_us = self.shared.world.borrow().asleep_us;
            let slept_us = asleep_us - self.asleep_us.replace(asleep_us);
            self.horizon_us.set(self.horizon_us.get() + slept_us);
            let next_us = match self.shared.world.borrow().heap.first_key_value() {
                // To be told so.
                None => 0,
                Some(((at_us, _), _)) => *at_us,
            };
            // What is due at the same time as a request comes after it, as in tier 1.
            let behind = self.way == Way::Still && self.awaited.get();
            if behind || next_us > self.horizon_us.get() {
                if !self.may_jump() {
                    let wait_us = match self.way {
                        Way::Still => self.calm_us.get().saturating_sub(self.seen_us.get()),
                        Way::Rough => next_us - self.horizon_us.get(),
                    };
                    return Err(Some(Duration::from_micros(wait_us.max(1_000))));
                }
                self.horizon_us.set(next_us.max(self.horizon_us.get()));
            }
            if let Some(due) = self.shared.next() {
                return Ok(due);
            }
            let ending = self.shared.world.borrow().ending.is_some();
            self.run.borrow_mut().watch_the_end();
            if ending || self.run.borrow().is_over() {
                return Err(None);
            }
        }
    }

    /// While there is no sprag: does what is due. False when time must pass on the network first.
    pub(super) fn turn_without_sprag(&self) -> bool {
        match self.next() {
            Ok(Due::Open) => {
                self.run.borrow_mut().open();
                true
            }
            // For a sprag that is no more.
            Ok(_) | Err(None) => true,
            Err(Some(_)) => false,
        }
    }
}
