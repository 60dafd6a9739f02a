//! The host of the clients: what is asked goes over the network, and is asked again until it is answered.
//!
//! **Invariant.** A request that has got an answer gets no other, and no connection says anything unasked. One that got none is
//! sent again as it was, over a new connection, until sprag has ended.

use super::SPRAG;
use super::host::PORT;
use super::net::{Asking, Net};
use super::wire;
use crate::failure::Check;
use crate::places::Actor;
use crate::trace::Kind;
use sprag_runtime::request::{Answer, Ticket};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

/// An answer that takes longer is not waited for: the connection may be dead.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(20);

/// Everybody who asks.
pub(super) async fn software(net: Rc<Net>) -> turmoil::Result {
    let mut connection = None;
    loop {
        let next = net.outbox.borrow_mut().pop_front();
        let Some(asking) = next else {
            net.bell.notified().await;
            continue;
        };
        net.busy.set(net.busy.get() + 1);
        net.stir();
        exchange(&net, &asking, &mut connection).await;
        net.busy.set(net.busy.get() - 1);
    }
}

/// A connection, and what came over it that was not read yet.
struct Connection {
    stream: TcpStream,
    come: Vec<u8>,
}

/// Asks until there is an answer, or nobody who could give it.
async fn exchange(net: &Net, asking: &Asking, connection: &mut Option<Connection>) {
    let ticket = asking.ticket;
    while net.shared.world.borrow().client.is_open(ticket) {
        match timeout(PATIENCE, once(net, asking, connection)).await {
            Ok(Ok(Some(answer))) => return net.answered(ticket, &answer),
            Ok(Ok(None)) => net.tell(format_args!("request {ticket}: sprag has ended")),
            Ok(Err(error)) => net.tell(format_args!("request {ticket}: {error}")),
            Err(_) => net.tell(format_args!("request {ticket} is not answered in time")),
        }
        *connection = None;
        sleep(AGAIN).await;
    }
}

/// Sends it and reads the answer.
async fn once(net: &Net, asking: &Asking, connection: &mut Option<Connection>) -> io::Result<Option<Answer>> {
    if connection.is_none() {
        let stream = TcpStream::connect((SPRAG, PORT)).await?;
        *connection = Some(Connection { stream, come: Vec::new() });
    }
    let Some(open) = connection else { return Ok(None) };
    open.stream.write_all(&wire::request(&asking.request)).await?;
    let (response, len) = loop {
        match wire::response(&open.come) {
            Ok(Some(whole)) => break whole,
            Ok(None) => {}
            Err(what) => {
                net.shared.world.borrow_mut().fail(Check::RightAnswer.failed(what));
                return Ok(None);
            }
        }
        if open.stream.read_buf(&mut open.come).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    open.come.drain(..len);
    if !open.come.is_empty() {
        let what = format!("more than one answer to request {}: {:?}", asking.ticket, open.come);
        net.shared.world.borrow_mut().fail(Check::AnsweredOnce.failed(what));
    }
    if response.last {
        *connection = None;
    }
    match wire::answer(&asking.request, response.code, &response.body) {
        Ok(answer) => Ok(answer),
        Err(what) => {
            net.shared.world.borrow_mut().fail(Check::RightAnswer.failed(what));
            Ok(None)
        }
    }
}

impl Net {
    /// A client does something that leads to nothing by itself.
    fn tell(&self, what: std::fmt::Arguments<'_>) {
        self.shared.world.borrow_mut().note(Actor::Client, Kind::Step, what);
    }

    fn answered(&self, ticket: u64, answer: &Answer) {
        self.tell(format_args!("request {ticket} is answered: {answer:?}"));
        // One that sprag has died over was given up on.
        let mut world = self.shared.world.borrow_mut();
        if world.client.is_open(ticket) {
            world.answered(Ticket(ticket), answer);
        }
    }
}
