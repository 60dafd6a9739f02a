//! The host of the clients: what is asked goes over the network, and is asked again until it is answered.
//!
//! **Invariant.** A request that has got an answer gets no other, and no connection says anything unasked. One that got none is
//! sent again as it was, over a new connection, until sprag has ended; but not before the first one has arrived or is lost,
//! so that no request is carried out after one that was asked later. On a network where nothing goes wrong nobody waits long,
//! whatever others do ([`rude`](super::rude)).

use super::SPRAG;
use super::host::PORT;
use super::net::{Asking, Net, Way};
use super::{rude, wire};
use crate::failure::Check;
use crate::places::{Actor, Site};
use crate::trace::Kind;
use sprag_runtime::driver::Effect;
use sprag_runtime::request::{Answer, Request, Ticket};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

/// An answer that takes longer is not waited for: the connection may be dead.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Between two tries. Longer than any message travels.
const AGAIN: Duration = Duration::from_millis(100);
/// So long after the last trouble a network is as if there had been none.
const RECOVERED_US: u64 = 5_000_000;
/// When nothing goes wrong any more, no answer takes longer, in all tries.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// So long others are waited for that can share a stream.
const GATHER: Duration = Duration::from_millis(6);
/// What was sent in one piece is read in one.
const READ_BYTES: usize = 4_096;

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Over a connection that was used before, if there is one.
    Kept,
    /// Over a new one.
    New,
    /// Piece by piece.
    Slow,
    /// Hangs up before the answer, and then asks again.
    Impatient,
    /// New jobs, as lines of one stream.
    Streamed,
}

/// Everybody who asks.
pub(super) async fn software(net: Rc<Net>) -> turmoil::Result {
    loop {
        let gathers = net.gathers.get();
        let Some(asking) = net.take(|request| !gathers || !matches!(request, Request::Add(_))) else {
            net.bell.notified().await;
            continue;
        };
        net.busy.set(net.busy.get() + 1);
        net.stir();
        spawn_local(serve(Rc::clone(&net), asking));
    }
}

/// One request, and those that share its stream, to their ends.
async fn serve(net: Rc<Net>, asking: Asking) {
    let mut manner = Manner::Kept;
    if net.way == Way::Rough {
        rude::perhaps(&net);
        manner = net.manner(&asking);
    }
    let mut batch = VecDeque::from([asking]);
    if manner == Manner::Streamed {
        net.gathers.set(true);
        sleep(GATHER).await;
        net.gathers.set(false);
        net.bell.notify_one();
        let same = |queue: &str, other: &Request| matches!(other, Request::Add(add) if add.queue == queue);
        while let Some(Request::Add(add)) = batch.front().map(|asking| &asking.request)
            && let Some(next) = net.take(|other| same(&add.queue, other))
        {
            batch.push_back(next);
        }
        let (first, count) = (batch.front().map_or(0, |asking| asking.ticket), batch.len());
        match timeout(PATIENCE, stream(&net, &mut batch)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => net.tell(format_args!("stream of {count} from request {first} on: {error}")),
            Err(_) => net.tell(format_args!("stream of {count} from request {first} on is not answered in time")),
        }
        if !batch.is_empty() {
            sleep(AGAIN).await;
        }
        manner = Manner::New;
    }
    for asking in batch {
        exchange(&net, &asking, manner).await;
    }
    net.busy.set(net.busy.get() - 1);
}

/// A connection, and what came over it that was not read yet.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    come: Vec<u8>,
}

impl Connection {
    pub(super) async fn open() -> io::Result<Connection> {
        Ok(Connection { stream: TcpStream::connect((SPRAG, PORT)).await?, come: Vec::new() })
    }

    /// Itself if it can be used again: it was not closed, and nothing was said unasked.
    async fn if_fresh(mut self, net: &Net) -> Option<Connection> {
        match timeout(Duration::ZERO, self.stream.read_buf(&mut self.come)).await {
            Err(_) => Some(self),
            Ok(Ok(0) | Err(_)) => None,
            Ok(Ok(_)) => {
                let what = format!("is told without having asked: {:?}", String::from_utf8_lossy(&self.come));
                net.fails(Check::AnsweredOnce, what);
                None
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    async fn read(&mut self) -> io::Result<()> {
        self.come.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.come).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if wire::is_turned_away(&self.come) => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => Ok(()),
        }
    }
}

/// Asks until there is an answer, or nobody who could give it.
async fn exchange(net: &Net, asking: &Asking, mut manner: Manner) {
    let (ticket, began) = (asking.ticket, net.now_us());
    while net.waits(ticket) {
        match timeout(PATIENCE, once(net, asking, manner)).await {
            Ok(Ok(Some(answer))) => {
                let lasted = net.calm_since(began);
                if lasted > ANSWER_WITHIN {
                    let what = format!("request {ticket} took {} ms, and nothing went wrong", lasted.as_millis());
                    net.fails(Check::NobodyStalls, what);
                }
                return net.answered(ticket, &answer);
            }
            Ok(Ok(None)) => net.tell(format_args!("request {ticket}: there is no answer ({manner:?})")),
            Ok(Err(error)) => net.tell(format_args!("request {ticket}: {:?}", error.kind())),
            Err(_) => net.tell(format_args!("request {ticket} is not answered in time")),
        }
        if net.calm_since(began) > ANSWER_WITHIN + PATIENCE {
            return net.fails(Check::NobodyStalls, format!("request {ticket} is not answered, and nothing went wrong"));
        }
        manner = Manner::New;
        sleep(AGAIN).await;
    }
}

/// Sends it and reads the answer; `None` if there was none to be had.
async fn once(net: &Net, asking: &Asking, manner: Manner) -> io::Result<Option<Answer>> {
    let Asking { ticket, request } = asking;
    let kept = if manner == Manner::Kept { net.pool.borrow_mut().pop() } else { None };
    let fresh = match kept {
        Some(kept) => kept.if_fresh(net).await,
        None => None,
    };
    let mut connection = match fresh {
        Some(fresh) => fresh,
        None => Connection::open().await?,
    };
    // To connect may take longer than sprag lives, and what was given up on must not be asked of the next.
    if !net.waits(*ticket) {
        return Ok(None);
    }
    let life = net.life();
    let bytes = wire::request(request);
    match manner {
        Manner::Slow => {
            let size = bytes.len().div_ceil(1 + net.below(Site::NetManner, 6) as usize);
            for piece in bytes.chunks(size) {
                if !net.waits(*ticket) {
                    return Ok(None);
                }
                connection.write(piece).await?;
                sleep(Duration::from_millis(1 + net.below(Site::NetSpan, 40))).await;
            }
        }
        Manner::Kept | Manner::New | Manner::Impatient | Manner::Streamed => connection.write(&bytes).await?,
    }
    if manner == Manner::Impatient {
        return Ok(None);
    }
    let (response, len) = loop {
        match wire::response(&connection.come) {
            Ok(Some(whole)) => break whole,
            Ok(None) => connection.read().await?,
            Err(what) => {
                net.fails(Check::RightAnswer, what);
                return Ok(None);
            }
        }
    };
    connection.come.drain(..len);
    if !connection.come.is_empty() {
        net.fails(Check::AnsweredOnce, format!("more than one answer to request {ticket}: {:?}", connection.come));
    }
    if !response.last {
        net.pool.borrow_mut().push(connection);
    }
    Ok(net.read(request, life, response.code, &response.body))
}

/// Sends all of them as lines, and takes off what is acknowledged. It may hang up in the middle of a line.
async fn stream(net: &Net, batch: &mut VecDeque<Asking>) -> io::Result<()> {
    let mut connection = Connection::open().await?;
    let life = net.life();
    let lines: Vec<(String, String)> =
        batch.iter().filter_map(|asking| wire::queue_and_line(&asking.request)).collect();
    let Some((queue, _)) = lines.first() else { return Ok(()) };
    connection.write(&wire::stream_head(queue)).await?;
    let cut = net.below(Site::NetManner, 4 * (lines.len() as u64 + 1)) as usize;
    for (at, (_, line)) in lines.iter().enumerate() {
        if cut == at + 1 {
            connection.write(&wire::chunk(&line[..line.len() / 2])).await?;
            return Err(io::Error::other("hangs up in the middle of a line"));
        }
        connection.write(&wire::chunk(&format!("{line}\n"))).await?;
        sleep(Duration::from_millis(net.below(Site::NetSpan, 3))).await;
    }
    let (mut acks, mut last) = (wire::Acks::default(), 0);
    while !batch.is_empty() {
        connection.read().await?;
        let read = acks.push(&std::mem::take(&mut connection.come));
        for (line, code, body) in read.map_err(|what| net.wrong(what))? {
            last += 1;
            let Some(asking) = batch.pop_front().filter(|_| line == last) else {
                net.fails(Check::AnsweredOnce, format!("line {line} is acknowledged, not line {last}"));
                return Ok(());
            };
            match net.read(&asking.request, life, code, &body) {
                Some(answer) => net.answered(asking.ticket, &answer),
                None => {
                    batch.push_front(asking);
                    return Err(io::Error::other("sprag has ended"));
                }
            }
        }
    }
    net.tell(format_args!("a stream of {last} lines is acknowledged"));
    connection.write(wire::STREAM_END).await
}

impl Net {
    /// The next request of these.
    fn take(&self, wanted: impl Fn(&Request) -> bool) -> Option<Asking> {
        let mut outbox = self.outbox.borrow_mut();
        let at = outbox.iter().position(|asking| wanted(&asking.request))?;
        outbox.remove(at)
    }

    fn manner(&self, asking: &Asking) -> Manner {
        match (self.below(Site::NetManner, 8), &asking.request) {
            (0, _) => Manner::Kept,
            (1, _) => Manner::New,
            (2, _) => Manner::Slow,
            (3, _) => Manner::Impatient,
            (_, Request::Add(_)) => Manner::Streamed,
            (_, _) => Manner::Kept,
        }
    }

    pub(super) fn below(&self, site: Site, n: u64) -> u64 {
        self.shared.world.borrow_mut().chance.below(Actor::Client, site, n)
    }

    /// The world's time, in simulated microseconds.
    fn now_us(&self) -> u64 {
        self.shared.world.borrow().now_us
    }

    /// For how long nothing has gone wrong, on the network either and counted from `us` at the earliest.
    fn calm_since(&self, us: u64) -> Duration {
        let calm_us = self.shared.world.borrow().healed_us.map(|healed_us| us.max(healed_us + RECOVERED_US));
        let calm_us = calm_us.filter(|_| self.is_calm());
        Duration::from_micros(calm_us.map_or(0, |calm_us| self.now_us().saturating_sub(calm_us)))
    }

    /// Whether nothing goes wrong any more, on the network either.
    pub(super) fn is_calm(&self) -> bool {
        self.shared.world.borrow().healed_us.is_some() && self.troubles.get() == 0
    }

    fn waits(&self, ticket: u64) -> bool {
        self.shared.world.borrow().client.is_open(ticket)
    }

    fn life(&self) -> u32 {
        self.shared.world.borrow().life
    }

    /// What an answer says to a request that was sent in this life of sprag, if it is one.
    fn read(&self, request: &Request, life: u32, code: u16, body: &[u8]) -> Option<Answer> {
        let answer = match wire::answer(request, code, body) {
            Ok(answer) => answer,
            Err(what) => {
                self.fails(Check::RightAnswer, what);
                return None;
            }
        };
        let goes_on = {
            let world = self.shared.world.borrow();
            world.life == life && !world.stopping && world.ending.is_none()
        };
        if answer.is_none() && goes_on && self.is_hosted() {
            self.fails(Check::EndIsTrue, format!("{request:?} is answered as if sprag had ended"));
        }
        answer
    }

    pub(super) fn fails(&self, check: Check, what: String) {
        self.shared.world.borrow_mut().fail(check.failed(what));
    }

    fn wrong(&self, what: String) -> io::Error {
        self.fails(Check::RightAnswer, what.clone());
        io::Error::other(what)
    }

    /// A client does something that leads to nothing by itself.
    pub(super) fn tell(&self, what: std::fmt::Arguments<'_>) {
        self.shared.world.borrow_mut().note(Actor::Client, Kind::Step, what);
    }

    fn answered(&self, ticket: u64, answer: &Answer) {
        match answer {
            Answer::Status(json) => self.tell(format_args!("request {ticket} is answered: {} bytes", json.len())),
            answer => self.tell(format_args!("request {ticket} is answered: {answer:?}")),
        }
        // One that sprag has died over was given up on.
        if self.waits(ticket) {
            let (mut world, ticket) = (self.shared.world.borrow_mut(), Ticket(ticket));
            world.mark_effect(&Effect::Answer { ticket, answer: answer.clone() });
            world.answered(ticket, answer);
        }
    }
}
