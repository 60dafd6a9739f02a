//! The drop-box: one file for each job, written in `inbox/tmp`, renamed into `inbox/new`.
//!
//! **Invariant.** A file is taken whole or put aside where a person finds it; it is removed only after its job is durable,
//! and not by this module. One that the system does not let us read says nothing about itself: it stays and is read again.

use super::read::read_file;
use super::{Complaint, INBOX_FILES_MAX, Item, Look, SETTLE_MS, Seen};
use crate::pipeline::{Pipeline, StateDir, key_hash};
use crate::request::Add;
use sprag_core::{Bug, SourceFault, planted};
use sprag_journal::fs::{Fs, Kind};
use std::io;
use std::path::Path;

/// So many refused files of one look are told, each with its reason; the others are counted.
const TOLD_MAX: usize = 20;

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
    let mut unread = None;
    let mut refused = Vec::new();
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
                seen.taken.insert(called.into_owned(), item.hash);
                look.items.push(item);
            }
            Err(complaint) if complaint.fault == SourceFault::Missing => {}
            Err(complaint)
                if complaint.fault == SourceFault::Unreadable
                    && is_file(fs, &path)
                    && !planted(Bug::UnreadRejected) =>
            {
                unread.get_or_insert(complaint.of(&format!("{called} cannot be read: ")));
            }
            Err(complaint) => {
                let aside = state.inbox("rejected").join(&name);
                // One that cannot be put aside must not keep the others out.
                let what = match fs.rename(&path, &aside) {
                    Ok(()) if is_job(fs, &aside, &called, pipeline) => {
                        // Somebody has put another one in its place since it was read.
                        if fs.rename(&aside, &path).is_ok() {
                            look.again_ms = Some(SETTLE_MS);
                            continue;
                        }
                        "was put into inbox/rejected".into()
                    }
                    Ok(()) => "was put into inbox/rejected".into(),
                    Err(error) => format!("can neither be taken nor put into inbox/rejected ({error})"),
                };
                let text = format!("{called} {what}: {}", complaint.text);
                refused.push(Complaint { text, ..complaint });
            }
        }
    }
    look.complaint = all_of(refused);
    match unread {
        // Nothing could be taken: as long as this lasts there is more to do.
        Some(complaint) if look.items.is_empty() && look.complaint.is_none() => Err(complaint),
        unread => {
            look.complaint = look.complaint.or(unread);
            Ok(look)
        }
    }
}

/// Each is told: whoever wrote one of them looks for its name.
fn all_of(refused: Vec<Complaint>) -> Option<Complaint> {
    let fault = refused.first()?.fault;
    let mut texts: Vec<String> = refused.into_iter().map(|complaint| complaint.text).collect();
    let more = texts.len().saturating_sub(TOLD_MAX);
    texts.truncate(TOLD_MAX);
    texts.extend((more > 0).then(|| format!("and {more} more")));
    Some(Complaint::new(fault, texts.join("; ")))
}

/// Whether what was put aside is a job after all.
fn is_job<F: Fs>(fs: &F, path: &Path, name: &str, pipeline: &Pipeline) -> bool {
    read_file(fs, path).and_then(|bytes| dropped(&bytes, name, pipeline)).is_ok()
}

/// Whether a regular file stands there, as far as can be told.
fn is_file<F: Fs>(fs: &F, path: &Path) -> bool {
    fs.metadata(path).map_or(true, |metadata| metadata.kind == Kind::File)
}

fn dropped(bytes: &[u8], name: &str, pipeline: &Pipeline) -> Result<Item, Complaint> {
    let Add { queue, key, hash, digest, payload, priority, when } = Add::parse(None, bytes)?;
    if pipeline.queue(&queue).is_none() {
        return Err(Complaint::new(SourceFault::Malformed, format!("there is no queue `{queue}`")));
    }
    // Without a key the file's own name makes it unique, so that a crash before its removal adds it once.
    let hash = hash.unwrap_or_else(|| key_hash("", name));
    Ok(Item { queue, key, hash, digest, payload, priority, when, file: Some(name.into()) })
}
