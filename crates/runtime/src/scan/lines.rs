//! `json-lines`: a file with one JSON value on each line, appended to or replaced as a whole.
//!
//! **Invariant.** A line counts from its newline on; what stands behind the last newline is not yet written. A line that is
//! unfit is named by its number, counted from 1, and the others are taken. Whether the lines that were taken still stand is
//! proved by a hash of their bytes; only then is what follows them read alone.

use super::item::item_of;
use super::read::{Content, without_mark};
use super::{Complaint, Look, Passed, SOURCE_ITEMS_MAX, Seen, UNFINISHED_MS};
use crate::json;
use crate::pipeline::SourceSpec;
use serde_json::value::RawValue;
use sprag_core::{Bug, Mono, SourceFault, planted};
use std::collections::BTreeMap;

/// The lines that were taken: so many bytes from the start of the file, up to a newline.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    bytes: usize,
    hash: Option<blake3::Hash>,
    lines: usize,
    passed: Passed,
    /// What stood behind them, and since when.
    unfinished: Option<(blake3::Hash, Mono)>,
}

pub(super) fn look(content: &Content, spec: &SourceSpec, seen: &mut Seen) -> Result<Look, Complaint> {
    let bytes = content.bytes.as_slice();
    let mut hasher = blake3::Hasher::new();
    let stands =
        bytes.get(..seen.lines.bytes).is_some_and(|taken| Some(hasher.update(taken).finalize()) == seen.lines.hash);
    let mut taken = if stands { (*seen.lines).clone() } else { Taken::default() };
    if !stands {
        hasher.reset();
    }
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = if planted(Bug::HalfLineTaken) { bytes.len() } else { end };
    let (mut look, mut offered) = (Look::default(), BTreeMap::new());
    for line in bytes[taken.bytes..end].split_inclusive(|byte| *byte == b'\n') {
        taken.lines += 1;
        if taken.lines > SOURCE_ITEMS_MAX {
            let text = format!("more than {SOURCE_ITEMS_MAX} lines: begin a new file");
            return Err(Complaint::new(SourceFault::TooLarge, text));
        }
        match parse(if taken.lines == 1 { without_mark(line) } else { line }, spec) {
            // Against the last line with this key, wherever the look before ended.
            Ok(Some(item)) if offered.get(&item.hash).map_or(seen.has(&item), |digest| *digest == item.digest) => {}
            Ok(Some(item)) => {
                offered.insert(item.hash, item.digest);
                look.items.push(item);
            }
            Ok(None) => {}
            Err(complaint) => taken.passed.add(&format!("line {}", taken.lines), complaint),
        }
    }
    taken.hash = Some(hasher.update(&bytes[taken.bytes..end]).finalize());
    taken.bytes = end;
    taken.unfinished = unfinished(&bytes[end..], seen);
    let waits_ms = taken.unfinished.map_or(0, |(_, since)| seen.at.since_ms(since));
    look.complaint = taken.passed.complaint().or_else(|| {
        let text = format!("line {} has no newline at its end: it is read when it has one", taken.lines + 1);
        (waits_ms >= UNFINISHED_MS).then(|| Complaint::new(SourceFault::Malformed, text))
    });
    *seen.lines = taken;
    Ok(look)
}

/// What stands behind the last newline, and since when it has stood there unchanged.
fn unfinished(rest: &[u8], seen: &Seen) -> Option<(blake3::Hash, Mono)> {
    if rest.trim_ascii().is_empty() {
        return None;
    }
    let hash = blake3::hash(rest);
    let before = seen.lines.unfinished.filter(|(before, _)| *before == hash);
    Some(before.unwrap_or((hash, seen.at)))
}

/// The item on a line; none on a blank one.
fn parse(line: &[u8], spec: &SourceSpec) -> Result<Option<super::Item>, Complaint> {
    let malformed = |text: String| Complaint::new(SourceFault::Malformed, text);
    let text = std::str::from_utf8(line)
        .map_err(|error| malformed(format!("not UTF-8 at byte {} of the line", error.valid_up_to())))?;
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| malformed(format!("not JSON: {}", json::words_on_a_line(&error))))?;
    item_of(raw, spec).map(Some)
}
