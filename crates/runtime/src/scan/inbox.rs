//! The drop-box: one file for each job, written in `inbox/tmp`, renamed into `inbox/new`.
//!
//! **Invariant.** A file is taken whole or put aside where a person finds it; it is removed only after its job is durable,
//! and not by this module.

use super::item::{check_key, one_line};
use super::read::read_file;
use super::{Complaint, INBOX_FILES_MAX, Item, Look, Seen};
use crate::pipeline::{Pipeline, StateDir, key_hash, payload_digest};
use serde::Deserialize;
use serde_json::value::RawValue;
use sprag_core::{SourceFault, Wall, When};
use sprag_journal::fs::Fs;
use std::io;

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
        let called = name.to_string_lossy();
        let hash = key_hash("", &called);
        if seen.keys.contains_key(&hash) {
            continue;
        }
        if look.items.len() >= INBOX_FILES_MAX {
            break;
        }
        let path = dir.join(&name);
        let taken = match name.to_str() {
            Some(name) => read_file(fs, &path).and_then(|bytes| dropped(&bytes, name, pipeline)),
            None => Err(Complaint::new(SourceFault::Malformed, "its name is not UTF-8")),
        };
        match taken {
            Ok(item) => {
                seen.keys.insert(hash, item.digest);
                look.items.push(item);
            }
            Err(complaint) if complaint.fault == SourceFault::Missing => {}
            Err(complaint) => {
                // One that cannot be put aside must not keep the others out.
                let what = match fs.rename(&path, &state.inbox("rejected").join(&name)) {
                    Ok(()) => "was put into inbox/rejected".into(),
                    Err(error) => format!("can neither be taken nor put into inbox/rejected ({error})"),
                };
                let text = format!("{called} {what}: {}", complaint.text);
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
    dropped.key.as_deref().map_or(Ok(()), check_key)?;
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
