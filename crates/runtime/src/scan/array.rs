//! `json-array`: a file that holds one JSON array, replaced as a whole.
//!
//! **Invariant.** The file is taken whole or not at all; an item that is unfit is named by its place, counted from 0, and
//! the others are taken.

use super::item::item_of;
use super::read::{Content, without_mark};
use super::{Complaint, Look, Passed, SOURCE_ITEMS_MAX, Seen};
use crate::json;
use crate::pipeline::SourceSpec;
use serde_json::value::RawValue;
use sprag_core::{Bug, SourceFault, planted};
use std::collections::BTreeMap;

pub(super) fn look(content: &Content, spec: &SourceSpec, seen: &mut Seen) -> Result<Look, Complaint> {
    let (bytes, content) = (content.bytes.as_slice(), content.hash);
    if let Some(taken) = seen.content.as_ref().filter(|taken| taken.0 == content) {
        return Ok(Look { complaint: taken.1.clone(), ..Look::default() });
    }
    let look = parse(without_mark(bytes), spec, seen)?;
    seen.content = Some(Box::new((content, look.complaint.clone())));
    Ok(look)
}

fn parse(bytes: &[u8], spec: &SourceSpec, seen: &Seen) -> Result<Look, Complaint> {
    let malformed = |text: String| Complaint::new(SourceFault::Malformed, text);
    if bytes.is_empty() {
        return Err(malformed("empty: not even `[]`".into()));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| malformed(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    let closed = if planted(Bug::TornRead) { close(text) } else { None };
    let text = closed.as_deref().unwrap_or(text);
    let raw: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| malformed(format!("not a whole JSON array: {}", json::words(&error))))?;
    if raw.len() > SOURCE_ITEMS_MAX {
        return Err(Complaint::new(SourceFault::TooLarge, format!("more than {SOURCE_ITEMS_MAX} items")));
    }
    let (mut look, mut passed, mut first) = (Look::default(), Passed::default(), BTreeMap::new());
    for (index, raw) in raw.into_iter().enumerate() {
        let place = format!("item {index}");
        match item_of(raw, spec) {
            Ok(item) => match first.get(&item.hash) {
                None => {
                    first.insert(item.hash, (index, item.digest));
                    if !seen.has(&item) {
                        look.items.push(item);
                    }
                }
                Some((_, digest)) if *digest == item.digest => {}
                Some((other, _)) => {
                    passed.add(&place, malformed(format!("other content under the key of item {other}, which counts")));
                }
            },
            Err(complaint) => passed.add(&place, complaint),
        }
    }
    look.complaint = passed.complaint();
    Ok(look)
}

/// The planted bug: half an array, closed as if that were all of it.
fn close(text: &str) -> Option<String> {
    let closed = ["]", "}]", "\"}]"].into_iter().map(|end| format!("{text}{end}"));
    closed.into_iter().find(|text| serde_json::from_str::<Vec<&RawValue>>(text).is_ok())
}
