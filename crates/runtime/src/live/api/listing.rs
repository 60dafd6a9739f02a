//! Jobs as lines, a page at a time.
//!
//! **Invariant.** However many jobs there are, the loop is asked for one bounded page, and for the next one when the reader
//! has taken that: no listing holds up anybody, or takes memory for more than a few pages. A listing that ends before its
//! end is cut off, so that nobody takes it for whole.

use super::answer::Said;
use super::route::Listing;
use super::{JSON_LINES, Reply, Shared, lines_reply};
use crate::request::{Answer, Page, Request};
use bytes::Bytes;
use http_body_util::channel::Sender;
use std::io;
use std::sync::Arc;

/// Begins the listing, or says what is wrong with it.
pub(super) async fn answer(shared: &Arc<Shared>, mut asked: Listing) -> Result<Reply, Said> {
    let first = next_page(shared, &mut asked).await?;
    let (sender, reply) = lines_reply(JSON_LINES);
    tokio::spawn(go_on(Arc::clone(shared), asked, first, sender));
    Ok(reply)
}

async fn go_on(shared: Arc<Shared>, mut asked: Listing, first: Page, mut sender: Sender<Bytes, io::Error>) {
    let mut page = first;
    loop {
        let mut lines = Vec::new();
        for view in &page.jobs {
            lines.extend(view.json());
            lines.push(b'\n');
        }
        // A reader that has gone wants no more.
        if !lines.is_empty() && sender.send_data(lines.into()).await.is_err() {
            return;
        }
        if page.next.is_none() || asked.limit == 0 {
            return;
        }
        page = match next_page(&shared, &mut asked).await {
            Ok(page) => page,
            Err(_) => return sender.abort(io::ErrorKind::Interrupted.into()),
        };
    }
}

async fn next_page(shared: &Shared, asked: &mut Listing) -> Result<Page, Said> {
    let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let request = Request::Jobs { which: asked.which.clone(), after: asked.after, limit };
    match shared.ask(request).await? {
        Answer::Jobs(page) => {
            asked.limit -= page.jobs.len() as u64;
            asked.after = page.next.unwrap_or(asked.after);
            Ok(page)
        }
        other => Err(other.into()),
    }
}
