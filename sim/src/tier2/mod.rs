//! The second tier: the loop on tokio and the control API as they ship, on hosts of turmoil, in the world of the first.
//!
//! **Invariant.** The world is that of the first tier, to its heap: files, processes, change events, producers, crashes. What
//! comes off the heap for the loop reaches [`sprag_runtime::live::Live`] through its mailbox, and what the loop hands away goes
//! back onto the heap (`hands`). What clients ask and are answered goes over turmoil's TCP, and through the API
//! (`clients`). Two clocks: turmoil's, by which messages travel and clients wait, goes in milliseconds; the world's follows
//! it while anything is on the network, and else jumps to what is due next.

mod clients;
mod hands;
mod host;
mod line;
mod net;
mod rude;
mod wire;

use crate::chance::Script;
use crate::failure::Check;
use crate::places::{Actor, Site};
use crate::run::{Report, Run, failed_by_panic};
use crate::shared::Shared;
use crate::trace::Keep;
use crate::world::Due;
use net::Net;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::task::JoinError;
use turmoil::Sim;

pub use net::Way;

/// The host that sprag runs on, and that of everybody who asks.
const SPRAG: &str = "sprag";
const CLIENTS: &str = "clients";
/// No run takes more of turmoil's steps.
const STEPS_MAX: u64 = 1_000_000;

/// Runs a seed or a tape to its end, over a network that is like this.
pub fn run(script: impl Into<Script>, way: Way, keep: Keep) -> Report {
    let shared = Shared::new(script.into(), keep);
    let net = Net::new(Rc::clone(&shared), Run::new(Rc::clone(&shared)), way);
    let mut sim = build(&net);
    let outcome = catch_unwind(AssertUnwindSafe(|| go(&net, &mut sim)));
    if let Err(panic) = outcome {
        failed_by_panic(&shared, &*panic);
    }
    drop(sim);
    net.run.borrow().report()
}

fn build(net: &Rc<Net>) -> Sim<'static> {
    let mut builder = turmoil::Builder::new();
    let seed = net.shared.world.borrow_mut().chance.below(Actor::World, Site::NetSeed, u64::MAX);
    builder
        .rng_seed(seed)
        .epoch(UNIX_EPOCH)
        .tick_duration(Duration::from_millis(net.plan.step_ms))
        .simulation_duration(Duration::MAX)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::from_millis(net.plan.latency_ms_max));
    let mut sim = builder.build();
    let (of_sprag, of_clients) = (Rc::clone(net), Rc::clone(net));
    sim.host(SPRAG, move || host::software(Rc::clone(&of_sprag)));
    sim.host(CLIENTS, move || clients::software(Rc::clone(&of_clients)));
    sim
}

fn go(net: &Rc<Net>, sim: &mut Sim<'static>) {
    net.run.borrow_mut().prepare();
    if net.way == Way::Rough {
        // A loop that stands would still hear what comes over the network.
        net.shared.world.borrow_mut().heap.retain(|_, entry| !matches!(*entry.due, Due::Freeze));
    }
    let mut steps = 0;
    loop {
        let over = net.run.borrow().is_over();
        if over {
            return;
        }
        let ending = net.shared.world.borrow().ending;
        if let Some(end) = ending {
            sim.crash(SPRAG);
            net.buried();
            net.run.borrow_mut().bury(end);
        } else if net.is_hosted() || !net.turn_without_sprag() {
            steps += 1;
            step(net, sim);
        } else if net.run.borrow().driver.is_some() {
            sim.bounce(SPRAG);
            net.hosted();
        }
        net.run.borrow_mut().watch_the_end();
        if steps > STEPS_MAX {
            let what = format!("does not come to rest in {STEPS_MAX} steps of the network");
            net.shared.world.borrow_mut().fail(Check::ComesToRest.failed(what));
        }
    }
}

fn step(net: &Net, sim: &mut Sim<'static>) {
    if let Err(error) = sim.step() {
        match error.downcast::<JoinError>().map(|error| error.try_into_panic()) {
            Ok(Ok(panic)) => failed_by_panic(&net.shared, &*panic),
            Ok(Err(error)) => failed_by_panic(&net.shared, &error.to_string()),
            Err(error) => failed_by_panic(&net.shared, &error.to_string()),
        }
    }
    net.stepped(sim.elapsed());
}
