//! What is at which path.
//!
//! **Invariant.** Every path and parameter is named here; what is not named is refused with a sentence, never passed over.

use super::answer::Said;
use super::events::Listen;
use super::{Reply, Shared, add, ask, events, lines, listing, reply};
use crate::listing::Which;
use crate::request::Request;
use hyper::body::Incoming;
use hyper::{Method, Uri};
use sprag_core::{JobId, StateName, StopLevel};
use std::sync::Arc;

/// The answer to a request, whatever it is.
pub(super) async fn answer(shared: &Arc<Shared>, request: hyper::Request<Incoming>) -> Reply {
    match route(shared, request).await {
        Ok(answered) => answered,
        Err(said) => reply(said),
    }
}

async fn route(shared: &Arc<Shared>, request: hyper::Request<Incoming>) -> Result<Reply, Said> {
    let uri = request.uri().clone();
    let (path, method) = (uri.path(), request.method().clone());
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    // The paths that have parameters.
    match (parts.as_slice(), &method) {
        (["v1", "jobs"], &Method::GET) => {
            let asked = Listing::of(Query::of(&uri)?)?;
            return listing::answer(shared, asked).await;
        }
        (["v1", "events"], &Method::GET) => {
            let mut query = Query::of(&uri)?;
            let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
            let last = header("last-event-id").map(|text| whole("last-event-id", text)).transpose()?;
            let after = query.take("after").map(|text| whole("after", &text)).transpose()?.or(last);
            let as_events = header("accept").is_some_and(|kinds| kinds.contains("text/event-stream"));
            query.end()?;
            return events::answer(shared, &Listen { after, as_events });
        }
        _ => Query::of(&uri)?.end()?,
    }
    let asked = match (parts.as_slice(), &method) {
        (["v1", "queues", queue, "jobs"], &Method::POST) => {
            return Ok(reply(add(shared, text(queue)?, request.into_body()).await));
        }
        (["v1", "queues", queue, "jobs", "stream"], &Method::POST) => {
            return Ok(lines::answer(shared, text(queue)?, request.into_body()));
        }
        (["v1", "queues"], &Method::GET) => Request::Queues { queue: None },
        (["v1", "queues", queue], &Method::GET) => Request::Queues { queue: Some(text(queue)?) },
        (["v1", "queues", queue, "pause"], &Method::POST) => Request::Pause { queue: text(queue)? },
        (["v1", "queues", queue, "resume"], &Method::POST) => Request::Resume { queue: text(queue)? },
        (["v1", "queues", queue, "retry-dead"], &Method::POST) => Request::RetryDead { queue: text(queue)? },
        (["v1", "jobs", job], &Method::GET) => Request::Job(number(job)?),
        (["v1", "jobs", job, "cancel"], &Method::POST) => Request::Cancel(number(job)?),
        (["v1", "jobs", job, "retry"], &Method::POST) => Request::Retry(number(job)?),
        (["v1", "drain"], &Method::POST) => Request::Stop(StopLevel::Drain),
        (["v1", "stop"], &Method::POST) => Request::Stop(StopLevel::Kill),
        (["v1", "status"], &Method::GET) => Request::Status,
        (["v1", "diagnose"], &Method::GET) => Request::Diagnose,
        (["v1", "queues", _, "jobs" | "pause" | "resume" | "retry-dead"], _)
        | (["v1", "queues", _, "jobs", "stream"] | ["v1", "queues"] | ["v1", "queues", _], _)
        | (["v1", "jobs"] | ["v1", "jobs", _] | ["v1", "jobs", _, "cancel" | "retry"], _)
        | (["v1", "drain" | "stop" | "status" | "diagnose" | "events"], _) => {
            return Err(Said::error(405, format!("{method} is not for {path}")));
        }
        _ => return Err(Said::error(404, format!("there is nothing at {path}; docs/api.md lists what there is"))),
    };
    Ok(reply(ask(shared, asked, 0).await))
}

/// What a listing is asked for with.
pub(super) struct Listing {
    pub(super) which: Which,
    pub(super) after: JobId,
    pub(super) limit: u64,
}

impl Listing {
    fn of(mut query: Query) -> Result<Listing, Said> {
        let state = query.take("state").map(|word| {
            let known = || StateName::ALL.map(StateName::as_str).join(", ");
            StateName::named(&word)
                .ok_or_else(|| Said::error(400, format!("{word:?} is no state; there are {}", known())))
        });
        let listing = Listing {
            which: Which { queue: query.take("queue"), state: state.transpose()? },
            after: JobId(query.take("after").map(|text| whole("after", &text)).transpose()?.unwrap_or(0)),
            limit: query.take("limit").map(|text| whole("limit", &text)).transpose()?.unwrap_or(u64::MAX),
        };
        query.end().map(|()| listing)
    }
}

/// The parameters behind the `?` of an address.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(uri: &Uri) -> Result<Query, Said> {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((text(name)?, text(value)?))
        };
        Ok(Query(pairs.map(pair).collect::<Result<_, Said>>()?))
    }

    /// A parameter, taken out; the last one when there are many.
    fn take(&mut self, name: &str) -> Option<String> {
        let (taken, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0).into_iter().partition(|(is, _)| is == name);
        self.0 = rest;
        taken.into_iter().next_back().map(|(_, value)| value)
    }

    /// Nothing is left over.
    fn end(self) -> Result<(), Said> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Said::error(400, format!("there is no parameter {name:?} here"))),
        }
    }
}

fn whole(name: &str, text: &str) -> Result<u64, Said> {
    text.parse().map_err(|_| Said::error(400, format!("{name}={text} is no whole number")))
}

fn number(text: &str) -> Result<JobId, Said> {
    text.parse().map(JobId).map_err(|_| Said::error(400, format!("{text:?} is no job number")))
}

/// A piece of an address, which may be percent-encoded.
fn text(piece: &str) -> Result<String, Said> {
    let bad = || Said::error(400, format!("{piece:?} is not percent-encoded UTF-8"));
    let (mut bytes, mut rest) = (Vec::with_capacity(piece.len()), piece.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(bad)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}
