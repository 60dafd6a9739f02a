//! What goes wrong on the network, and clients that are slow, broken or rude.
//!
//! **Invariant.** No rude client asks for anything that changes the world: what they do must lead to nothing. Each is drawn
//! beside a request of a polite one, and holds its connection for a bounded time.

use super::clients::Connection;
use super::net::Net;
use super::{CLIENTS, SPRAG};
use crate::places::{Actor, Site};
use crate::trace::Kind;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// The longest time that a connection is held in silence.
const HOLD_MS_MAX: u64 = 100_000;
/// The longest trouble.
const TROUBLE_MS_MAX: u64 = 2_000;
/// So many requests are sent by somebody who never reads an answer.
const UNREAD: usize = 300;

/// A rude client.
#[derive(Clone, Copy, Debug)]
enum Rude {
    /// Connects and says nothing.
    Silent,
    /// Sends a part of a header, and no more.
    HalfHeader,
    /// Sends a part of a body, and no more.
    HalfBody,
    /// As well, and hangs up.
    HangsUp,
    /// Asks again and again, and reads no answer.
    NeverReads,
    /// Does not speak HTTP.
    Junk,
}

/// What goes wrong on the network.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// What is sent either way is lost.
    Parted,
    /// What is sent to the clients is lost.
    Deaf,
    /// What is sent waits.
    Held,
}

/// Draws whether somebody is rude now, and whether the network is.
pub(super) fn perhaps(net: &Rc<Net>) {
    let rude = match net.below(Site::NetRude, 12) {
        6 => Some(Rude::Silent),
        7 => Some(Rude::HalfHeader),
        8 => Some(Rude::HalfBody),
        9 => Some(Rude::HangsUp),
        10 => Some(Rude::NeverReads),
        11 => Some(Rude::Junk),
        _ => None,
    };
    // While it is waited for room alone, there would be too many of them in the end.
    if let Some(rude) = rude.filter(|_| !net.shared.world.borrow().waits_for_room()) {
        let (before_ms, hold_ms) = (net.below(Site::NetSpan, 10), net.below(Site::NetSpan, HOLD_MS_MAX));
        spawn_local(be_rude(Rc::clone(net), rude, before_ms, hold_ms));
    }
    if net.shared.world.borrow().healed || net.troubles.get() > 0 {
        return;
    }
    let trouble = match net.below(Site::NetFault, 16) {
        13 => Some(Trouble::Parted),
        14 => Some(Trouble::Deaf),
        15 => Some(Trouble::Held),
        _ => None,
    };
    if let Some(trouble) = trouble {
        let (before_ms, for_ms) = (net.below(Site::NetSpan, 60), 1 + net.below(Site::NetSpan, TROUBLE_MS_MAX));
        net.troubles.set(net.troubles.get() + 1);
        spawn_local(make_trouble(Rc::clone(net), trouble, before_ms, for_ms));
    }
}

async fn be_rude(net: Rc<Net>, rude: Rude, before_ms: u64, hold_ms: u64) {
    sleep(Duration::from_millis(before_ms)).await;
    net.tell(format_args!("a rude client: {rude:?}"));
    // What becomes of it is its own affair.
    let Ok(mut connection) = Connection::open().await else { return };
    let body =
        "POST /v1/queues/a/jobs HTTP/1.1\r\nhost: sprag\r\ncontent-length: 200\r\n\r\n{\"payload\":{\"id\":\"rude\"";
    let bytes = match rude {
        Rude::Silent => "",
        Rude::HalfHeader => "POST /v1/queues/a/jobs HTTP/1.1\r\nhost: spr",
        Rude::HalfBody | Rude::HangsUp => body,
        Rude::NeverReads => "GET /v1/status HTTP/1.1\r\nhost: sprag\r\n\r\n",
        Rude::Junk => "\u{16}\u{3}\u{1}\r\n\r\n\r\n",
    };
    let times = if matches!(rude, Rude::NeverReads) { UNREAD } else { 1 };
    for _ in 0..times {
        if !bytes.is_empty() && connection.write(bytes.as_bytes()).await.is_err() {
            return;
        }
    }
    if !matches!(rude, Rude::HangsUp) {
        sleep(Duration::from_millis(hold_ms)).await;
    }
}

async fn make_trouble(net: Rc<Net>, trouble: Trouble, before_ms: u64, for_ms: u64) {
    sleep(Duration::from_millis(before_ms)).await;
    let note = |what: std::fmt::Arguments<'_>| net.shared.world.borrow_mut().note(Actor::World, Kind::Fault, what);
    note(format_args!("the network: {trouble:?} for {for_ms} ms"));
    match trouble {
        Trouble::Parted => turmoil::partition(CLIENTS, SPRAG),
        Trouble::Deaf => turmoil::partition_oneway(SPRAG, CLIENTS),
        Trouble::Held => turmoil::hold(CLIENTS, SPRAG),
    }
    sleep(Duration::from_millis(for_ms)).await;
    match trouble {
        Trouble::Parted => turmoil::repair(CLIENTS, SPRAG),
        Trouble::Deaf => turmoil::repair_oneway(SPRAG, CLIENTS),
        Trouble::Held => turmoil::release(CLIENTS, SPRAG),
    }
    note(format_args!("the network is well again"));
    net.troubles.set(net.troubles.get() - 1);
}
