//! Reading sources: the truth behind every event.
//!
//! **Invariant.** A file is taken whole or not at all: what cannot be read or parsed to its end changes nothing. An item
//! is known by its key, so reading it again, in another order, or beside others, offers it no second time. Change is
//! seen by content, never by time, size or inode. Sources are never written; only drop-box files, which were given to
//! us, are removed, and only after their jobs are durable.

use crate::pipeline::{Format, Pipeline, SourceSpec, StateDir, item_key, key_hash, payload_digest};
use serde::Deserialize;
use serde_json::value::RawValue;
use sprag_core::{Bug, KeyHash, SourceFault, Wall, When, planted};
use sprag_journal::fs::{Fs, Kind, read_all};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// No source file is larger, in bytes.
pub const SOURCE_BYTES_MAX: u64 = 64 << 20;
/// No source holds more items.
pub const SOURCE_ITEMS_MAX: usize = 1_000_000;
/// No payload is longer, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// No payload is nested deeper.
pub const PAYLOAD_DEPTH_MAX: u32 = 64;
/// So many drop-box files are taken in one look.
pub const INBOX_FILES_MAX: usize = 1_000;

/// What a source has offered before, so that a look returns only what is new. Lost at a restart, and then rebuilt: the
/// Machine knows every key.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    content: Option<blake3::Hash>,
    keys: BTreeSet<KeyHash>,
}

/// An item that was not offered before.
#[derive(Clone, Debug)]
pub struct Item {
    /// The name of its queue.
    pub queue: String,
    /// Its key as text, if it has one that a person gave.
    pub key: Option<String>,
    /// What makes it unique.
    pub hash: KeyHash,
    /// Tells payloads of one key apart.
    pub digest: u64,
    /// The item itself, as one line of JSON.
    pub payload: Box<RawValue>,
    /// Higher runs first.
    pub priority: i16,
    /// Not before.
    pub when: When,
    /// The drop-box file it came in.
    pub file: Option<String>,
}

/// What a look has found.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The new items, in the order of the source.
    pub items: Vec<Item>,
    /// What was wrong with some of it; the rest was taken.
    pub complaint: Option<Complaint>,
}

/// What is wrong with a source, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The kind, for health.
    pub fault: SourceFault,
    /// The place and the cause, for people.
    pub text: String,
}

impl Complaint {
    fn new(fault: SourceFault, text: impl Into<String>) -> Complaint {
        Complaint { fault, text: text.into() }
    }
}

/// Looks at a source. On a complaint alone nothing is taken and `seen` stands.
pub fn look<F: Fs>(fs: &F, dir: &Path, spec: &SourceSpec, seen: &mut Seen) -> Result<Look, Complaint> {
    let bytes = read_source(fs, &dir.join(&spec.path))?;
    let content = blake3::hash(&bytes);
    if seen.content == Some(content) {
        return Ok(Look::default());
    }
    let found = match spec.format {
        Format::JsonArray => parse_array(&bytes, spec, seen)?,
    };
    seen.keys.extend(found.items.iter().map(|item| item.hash));
    // A source with items that were passed over is read again as a whole, so that the complaint stands until it is mended.
    seen.content = found.complaint.is_none().then_some(content);
    Ok(found)
}

fn read_source<F: Fs>(fs: &F, path: &Path) -> Result<Vec<u8>, Complaint> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Complaint::new(SourceFault::Missing, "no such file"),
        io::ErrorKind::FileTooLarge => {
            Complaint::new(SourceFault::TooLarge, format!("larger than {SOURCE_BYTES_MAX} bytes"))
        }
        _ => Complaint::new(SourceFault::Unreadable, error.to_string()),
    };
    if fs.metadata(path).map_err(cannot)?.kind != Kind::File {
        return Err(Complaint::new(SourceFault::Unreadable, "not a regular file"));
    }
    read_all(fs, path, SOURCE_BYTES_MAX).map_err(cannot)
}

fn parse_array(bytes: &[u8], spec: &SourceSpec, seen: &Seen) -> Result<Look, Complaint> {
    let malformed = |text: String| Complaint::new(SourceFault::Malformed, text);
    let text =
        std::str::from_utf8(bytes).map_err(|error| malformed(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    let closed = if planted(Bug::TornRead) { close(text) } else { None };
    let text = closed.as_deref().unwrap_or(text);
    let raw: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| malformed(format!("not a whole JSON array: {error}")))?;
    if raw.len() > SOURCE_ITEMS_MAX {
        return Err(Complaint::new(SourceFault::TooLarge, format!("more than {SOURCE_ITEMS_MAX} items")));
    }
    let mut look = Look::default();
    let mut offered = BTreeSet::new();
    for (index, raw) in raw.into_iter().enumerate() {
        match item_of(raw, spec) {
            Ok(item) if seen.keys.contains(&item.hash) || !offered.insert(item.hash) => {}
            Ok(item) => look.items.push(item),
            Err(complaint) => {
                let text = format!("item {index}: {}", complaint.text);
                look.complaint.get_or_insert(Complaint { text, ..complaint });
            }
        }
    }
    Ok(look)
}

/// The planted bug: half an array, closed as if that were all of it.
fn close(text: &str) -> Option<String> {
    let closed = ["]", "}]", "\"}]"].into_iter().map(|end| format!("{text}{end}"));
    closed.into_iter().find(|text| serde_json::from_str::<Vec<&RawValue>>(text).is_ok())
}

fn item_of(raw: &RawValue, spec: &SourceSpec) -> Result<Item, Complaint> {
    let payload = one_line(raw)?;
    let key = match &spec.key {
        None => item_key(payload.get().as_bytes()),
        Some(pointer) => key_at(&payload, pointer)?,
    };
    Ok(Item {
        hash: key_hash(&spec.queue, &key),
        digest: payload_digest(payload.get().as_bytes()),
        queue: spec.queue.clone(),
        key: Some(key),
        payload,
        priority: 0,
        when: When::Now,
        file: None,
    })
}

/// The key of an item: a string as it is, a number or a truth value as JSON writes it.
fn key_at(payload: &RawValue, pointer: &str) -> Result<String, Complaint> {
    let without = |what: &str| Complaint::new(SourceFault::ItemWithoutKey, format!("{what} at {pointer}"));
    let value: serde_json::Value =
        serde_json::from_str(payload.get()).map_err(|error| without(&format!("no key ({error})")))?;
    match value.pointer(pointer) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(value.to_string()),
        Some(serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_)) => {
            Err(without("a key that is neither text nor number"))
        }
        None => Err(without("no key")),
    }
}

/// The same JSON without white space between its tokens: one line, and the same item however it is laid out.
pub fn one_line(raw: &RawValue) -> Result<Box<RawValue>, Complaint> {
    let too_large = |text: String| Complaint::new(SourceFault::TooLarge, text);
    let mut out = String::with_capacity(raw.get().len());
    let (mut in_string, mut escaped, mut depth) = (false, false, 0);
    for c in raw.get().chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                '"' => in_string = true,
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                ' ' | '\n' | '\r' | '\t' => continue,
                _ => {}
            }
        }
        if depth > PAYLOAD_DEPTH_MAX {
            return Err(too_large(format!("nested deeper than {PAYLOAD_DEPTH_MAX}")));
        }
        out.push(c);
    }
    if out.len() > PAYLOAD_BYTES_MAX {
        return Err(too_large(format!("longer than {PAYLOAD_BYTES_MAX} bytes")));
    }
    RawValue::from_string(out).map_err(|error| Complaint::new(SourceFault::Malformed, error.to_string()))
}

/// A drop-box file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dropped<'a> {
    queue: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    key: Option<String>,
    #[serde(default)]
    priority: i16,
    delay_ms: Option<u64>,
    at_ms: Option<u64>,
}

/// Looks into the drop-box. A file that cannot be taken is put aside in `inbox/rejected`, where a person finds it.
pub fn look_into_inbox<F: Fs>(
    fs: &F,
    state: &StateDir,
    pipeline: &Pipeline,
    seen: &mut Seen,
) -> Result<Look, Complaint> {
    let dir = state.inbox("new");
    let cannot = |error: io::Error| Complaint::new(SourceFault::Unreadable, format!("the drop-box: {error}"));
    let mut look = Look::default();
    for name in fs.list(&dir).map_err(cannot)? {
        let Some(name) = name.to_str() else { continue };
        let hash = key_hash("", name);
        if seen.keys.contains(&hash) {
            continue;
        }
        if look.items.len() >= INBOX_FILES_MAX {
            break;
        }
        match read_source(fs, &dir.join(name)).and_then(|bytes| dropped(&bytes, name, pipeline)) {
            Ok(item) => {
                seen.keys.insert(hash);
                look.items.push(item);
            }
            Err(complaint) if complaint.fault == SourceFault::Missing => {}
            Err(complaint) => {
                fs.rename(&dir.join(name), &state.inbox("rejected").join(name)).map_err(cannot)?;
                let text = format!("{name} was put into inbox/rejected: {}", complaint.text);
                look.complaint.get_or_insert(Complaint { text, ..complaint });
            }
        }
    }
    Ok(look)
}

fn dropped(bytes: &[u8], name: &str, pipeline: &Pipeline) -> Result<Item, Complaint> {
    let malformed = |text: String| Complaint::new(SourceFault::Malformed, text);
    let dropped: Dropped<'_> = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if pipeline.queue(&dropped.queue).is_none() {
        return Err(malformed(format!("there is no queue `{}`", dropped.queue)));
    }
    let payload = one_line(dropped.payload)?;
    let hash = match &dropped.key {
        Some(key) => key_hash(&dropped.queue, key),
        // Without a key the file's own name makes it unique, so that a crash before its removal adds it once.
        None => key_hash("", name),
    };
    let when = match (dropped.delay_ms, dropped.at_ms) {
        (_, Some(at_ms)) => When::At(Wall(at_ms)),
        (Some(delay_ms), None) => When::Delay(delay_ms),
        (None, None) => When::Now,
    };
    Ok(Item {
        queue: dropped.queue,
        key: dropped.key,
        hash,
        digest: payload_digest(payload.get().as_bytes()),
        payload,
        priority: dropped.priority,
        when,
        file: Some(name.into()),
    })
}

impl Seen {
    /// Forgets a drop-box file that is gone.
    pub fn forget_file(&mut self, name: &str) {
        self.keys.remove(&key_hash("", name));
    }
}
