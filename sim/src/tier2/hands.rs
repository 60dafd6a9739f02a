//! The loop's hands in the simulated world: what it hands away goes onto the heap.
//!
//! **Invariant.** Nothing is decided or ordered here: [`Run`](crate::run::Run) does with an effect what it does in the first
//! tier.

use super::net::{Net, Way};
use crate::describe;
use crate::failure::Check;
use crate::places::Actor;
use crate::trace::Kind;
use sprag_core::{Kill, Mono, Now};
use sprag_runtime::driver::{Driver, Effect, Event, JournalWork, Notice};
use sprag_runtime::live::Hands;
use sprag_runtime::seams::ChildId;
use sprag_runtime::task::Task;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

pub(super) struct SimHands(pub(super) Rc<Net>);

/// The loop tells people something.
pub(super) fn say(net: &Net, notice: &Notice) {
    let effect = match notice {
        Notice::Settled => Effect::Idle,
        notice => Effect::Say(notice.clone()),
    };
    net.effect(effect);
}

impl Hands for SimHands {
    fn now(&self) -> Now {
        self.0.shared.world.borrow().now()
    }

    fn slept_ms(&mut self) -> u64 {
        let ms = std::mem::take(&mut self.0.shared.world.borrow_mut().slept_ms);
        if ms > 0 {
            let mut world = self.0.shared.world.borrow_mut();
            world.note(Actor::Sprag, Kind::Heard, format_args!("{}", describe::Heard(&Event::Slept { ms })));
        }
        ms
    }

    fn until(&mut self, _deadline: Option<Mono>) -> impl Future<Output = io::Result<()>> {
        // It was asked for when the loop came to rest, and comes off the heap like everything else.
        let net = Rc::clone(&self.0);
        poll_fn(move |_| if net.ticked.take() { Poll::Ready(Ok(())) } else { Poll::Pending })
    }

    fn write(&mut self, work: JournalWork) {
        self.0.effect(Effect::Journal(work));
    }

    fn run(&mut self, task: Task) {
        self.0.effect(Effect::Run(task));
    }

    fn signal(&mut self, child: ChildId, kill: Kill) {
        self.0.effect(Effect::Signal { child, kill });
    }

    fn heard(&mut self, event: &Event) {
        // What comes off the heap was told before it was handed to the loop.
        if let Event::Request { .. } = event {
            self.0.awaited.set(false);
            // One that comes in the last moment is heard by nobody: nothing that follows from it is done.
            self.0.hears(event);
            return;
        }
        match self.0.handed.get().checked_sub(1) {
            Some(handed) => self.0.handed.set(handed),
            None => self.0.fails(Check::HeardNoMore, format!("the loop hears what nobody told it: {event:?}")),
        }
    }

    fn rest(&mut self, driver: &Driver, deadline: Option<Mono>) {
        let now = self.now();
        if self.0.resume() {
            self.0.run.borrow_mut().about_to_wait(driver, now, deadline, &driver.machine().verdict(now));
        }
        self.0.rests.set(true);
        if self.0.way == Way::Still && self.0.busy.get() > 0 {
            // An answer may be on its way.
            self.0.stir();
        }
    }

    fn close(self) {}
}
