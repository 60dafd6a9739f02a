//! The host of sprag: one life of the loop, and what comes off the heap for it.
//!
//! **Invariant.** What the loop is handed it handles before it is handed more. When its life has ended it is not polled again:
//! a process that was killed does nothing more.

use super::hands::{SimHands, say};
use super::line::Network;
use super::net::{Asking, Net};
use crate::world::{Due, End};
use sprag_core::StopLevel;
use sprag_handoff::{Level, Stop};
use sprag_runtime::driver::{Effect, Event};
use sprag_runtime::live::{Answer, Ears, Ended, Live, Options, RunError};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::{Sleep, sleep};
use turmoil::net::TcpListener;

/// Where sprag listens.
pub(super) const PORT: u16 = 80;

/// One life, if there is a driver to live it.
pub(super) async fn software(net: Rc<Net>) -> turmoil::Result {
    let driver = net.run.borrow_mut().driver.take();
    if let Some(driver) = driver {
        let (listener, scissors) = Network::new(TcpListener::bind(("0.0.0.0", PORT)).await?);
        let ears = Ears::new(driver.pipeline().sources.len(), Arc::new(Stop::new()));
        let api = ears.serve(listener, driver.machine().durable_seq());
        let live = Live::new(*driver, SimHands(Rc::clone(&net)), ears.clone(), Some(api), Options::default());
        let of_people = Rc::clone(&net);
        let turn = live.turn(move |_, notice| say(&of_people, notice));
        let mut turn = std::pin::pin!(turn);
        let mut host = Host { net, ears, begun: false, asleep: None };
        poll_fn(|cx| host.poll(cx, turn.as_mut())).await;
        scissors.cut();
    }
    // What is left of it goes when the host is crashed.
    pending().await
}

struct Host {
    net: Rc<Net>,
    ears: Ears,
    /// The loop has begun to turn.
    begun: bool,
    asleep: Option<Pin<Box<Sleep>>>,
}

type Turn<'a> = Pin<&'a mut dyn Future<Output = Result<Ended, RunError>>>;

impl Host {
    /// Until this life has ended.
    fn poll(&mut self, cx: &mut Context<'_>, mut turn: Turn<'_>) -> Poll<()> {
        loop {
            self.net.stepped(turmoil::sim_elapsed().unwrap_or_default());
            if self.begun {
                if let Poll::Ready(ended) = turn.as_mut().poll(cx) {
                    self.ended(ended);
                }
                self.net.run.borrow_mut().watch_the_end();
            }
            if self.net.shared.world.borrow().ending.is_some() || self.net.run.borrow().is_over() {
                return Poll::Ready(());
            }
            if self.begun && !self.net.rests.get() {
                // It lets others go first, or waits for them at its end.
                self.wake_in(cx, std::time::Duration::from_millis(1));
                return Poll::Pending;
            }
            match self.net.next() {
                Ok(due) => self.deliver(due),
                Err(Some(wait)) => {
                    if self.wake_in(cx, wait) {
                        return Poll::Pending;
                    }
                }
                Err(None) => return Poll::Ready(()),
            }
        }
    }

    /// False when that is now.
    fn wake_in(&mut self, cx: &mut Context<'_>, wait: std::time::Duration) -> bool {
        let mut asleep = Box::pin(sleep(wait));
        let pending = asleep.as_mut().poll(cx).is_pending();
        self.asleep = Some(asleep);
        pending
    }

    /// Something came off the heap for the loop.
    fn deliver(&mut self, due: Due) {
        let life = self.net.shared.world.borrow().life;
        match due {
            // The loop's first word is its own: what comes before that waits for it.
            Due::Heard { .. } | Due::Marked { .. } if !self.begun => {
                self.net.shared.world.borrow_mut().schedule(1, due);
            }
            Due::Heard { life: of, event: Event::Request { ticket, request } } if of == life => {
                self.net.outbox.borrow_mut().push_back(Asking { ticket: ticket.0, request });
                self.net.awaited.set(true);
                self.net.bell.notify_one();
            }
            Due::Heard { life: of, event } if of == life => self.hear(event),
            Due::Marked { life: of, source } if of == life => {
                self.net.shared.world.borrow_mut().marked.remove(&source);
                if self.hears(&Event::Dirty { source }) {
                    self.ears.dirty.set(usize::from(source));
                }
            }
            Due::Tick { life: of } if of == life => {
                self.net.run.borrow_mut().tick = None;
                if self.hears(&Event::Tick) {
                    // Its first one it tells itself.
                    self.net.ticked.set(self.begun);
                    self.begun = true;
                }
            }
            Due::Heard { .. } | Due::Marked { .. } | Due::Tick { .. } => {}
            Due::Open => panic!("sprag is started while it runs"),
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
            | Due::Heal => panic!("the world does this"),
        }
    }

    fn hear(&self, event: Event) {
        // It is as far on its way to its end already.
        let known = matches!(event, Event::Stop(level) if level_of(level) <= self.ears.stop.level());
        if known || !self.hears(&event) {
            return;
        }
        match event {
            Event::Stop(level) => self.ears.stop.raise(level_of(level)),
            Event::Journal(_)
            | Event::Dirty { .. }
            | Event::Done(_)
            | Event::Exited(_)
            | Event::Request { .. }
            | Event::Tick
            | Event::Slept { .. } => {
                // A mailbox that is closed is that of a loop that is ending.
                let _ = self.ears.answers.push(Answer::Event(event));
            }
        }
    }

    fn hears(&self, event: &Event) -> bool {
        let told = self.net.hears(event);
        if told {
            self.net.rests.set(false);
            self.net.handed.set(self.net.handed.get() + 1);
        }
        told
    }

    fn ended(&self, ended: Result<Ended, RunError>) {
        if self.net.shared.world.borrow().ending.is_some() {
            return;
        }
        let effect = match ended {
            Ok(_) => Effect::Stopped,
            Err(error) => Effect::Fatal { what: error.to_string() },
        };
        self.net.run.borrow_mut().effect(effect, None);
        let mut world = self.net.shared.world.borrow_mut();
        world.ending.get_or_insert(End::Exit);
    }
}

fn level_of(level: StopLevel) -> Level {
    match level {
        StopLevel::Run => Level::Running,
        StopLevel::Drain => Level::Draining,
        StopLevel::Kill => Level::Stopping,
    }
}
