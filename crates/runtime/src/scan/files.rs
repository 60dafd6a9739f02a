//! `files`: a folder in which each regular file is an item.
//!
//! **Invariant.** A file is offered when two looks, [`SETTLE_MS`] apart at least, found it unchanged: its length, and the
//! time of its last change as the file system has it. Its key is its path below the folder; it is never opened. A folder is
//! watched before it is listed.

use super::item::check_key;
use super::read::{cannot, resolve};
use super::{Complaint, FOLDERS_DEPTH_MAX, FOLDERS_MAX, Item, Look, Passed, SETTLE_MS, SOURCE_ITEMS_MAX, Seen};
use crate::pipeline::{SourceSpec, key_hash, payload_digest};
use serde::Serialize;
use sprag_core::{Bug, Mono, SourceFault, When, planted};
use sprag_journal::fs::{Fs, Kind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files that are not yet at rest, by key.
pub(super) type Settling = BTreeMap<String, Moving>;

/// A file as it was last found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    bytes: u64,
    changed_ns: u64,
    /// The end of the look that found it so first; none while that look is under way.
    since: Option<Mono>,
}

/// What was found by the look that ended now has been so from now on.
pub(super) fn rest_from(settling: &mut Settling, now: Mono) {
    settling.values_mut().for_each(|moving| moving.since = moving.since.or(Some(now)));
}

/// Nobody wrote while the machine slept: what was found before it has been so from now on.
pub(super) fn rest_anew(settling: &mut Settling, now: Mono) {
    settling.values_mut().for_each(|moving| moving.since = moving.since.map(|_| now));
}

/// What a command reads.
#[derive(Serialize)]
struct Payload<'a> {
    path: &'a str,
    bytes: u64,
}

pub(super) fn look<F: Fs>(
    fs: &F,
    watch: &dyn Fn(&Path) -> Result<(), String>,
    path: &Path,
    spec: &SourceSpec,
    seen: &mut Seen,
) -> Result<Look, Complaint> {
    let (root, kind) = resolve(fs, path)?;
    if kind != Kind::Dir {
        return Err(Complaint::new(SourceFault::Unreadable, "not a folder"));
    }
    let mut walk = Walk {
        fs,
        spec,
        seen,
        root,
        files: 0,
        folders: 0,
        waiting: vec![(String::new(), 0)],
        settling: Settling::new(),
        passed: Passed::default(),
        items: Vec::new(),
    };
    let mut unwatched = None;
    while let Some((folder, depth)) = walk.waiting.pop() {
        let path = walk.root.join(&folder);
        if let Err(what) = watch(&path) {
            unwatched.get_or_insert(what);
        }
        walk.list(&path, &folder, depth)?;
    }
    let Walk { settling, passed, items, .. } = walk;
    let again_ms = (!settling.is_empty()).then_some(SETTLE_MS);
    seen.settling = settling;
    Ok(Look { items, complaint: passed.complaint(), again_ms, unwatched })
}

struct Walk<'a, F> {
    fs: &'a F,
    spec: &'a SourceSpec,
    seen: &'a Seen,
    root: PathBuf,
    files: usize,
    folders: usize,
    /// Folders that are not yet listed, and how deep they lie.
    waiting: Vec<(String, u32)>,
    settling: Settling,
    passed: Passed,
    items: Vec<Item>,
}

impl<F: Fs> Walk<'_, F> {
    fn list(&mut self, path: &Path, folder: &str, depth: u32) -> Result<(), Complaint> {
        let names = match self.fs.list(path).map_err(cannot) {
            Ok(names) => names,
            // Gone since its name was read: then it is as if it had never been.
            Err(complaint) if complaint.fault == SourceFault::Missing && depth > 0 => return Ok(()),
            Err(complaint) if depth > 0 => {
                self.passed.add(folder, complaint);
                return Ok(());
            }
            Err(complaint) => return Err(complaint),
        };
        for name in names {
            let Some(text) = name.to_str() else {
                let complaint = Complaint::new(SourceFault::Malformed, "its name is not UTF-8: give it another");
                self.passed.add(&format!("{}", Path::new(folder).join(&name).display()), complaint);
                continue;
            };
            if text.starts_with('.') || text.ends_with('~') || text.ends_with(".tmp") {
                continue;
            }
            let key = if folder.is_empty() { text.to_owned() } else { format!("{folder}/{text}") };
            self.entry(&path.join(text), key, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, key: String, depth: u32) -> Result<(), Complaint> {
        let too_large = |text: String| Complaint::new(SourceFault::TooLarge, text);
        let metadata = match self.fs.metadata(path).map_err(cannot) {
            Ok(metadata) => metadata,
            Err(complaint) if complaint.fault == SourceFault::Missing => return Ok(()),
            Err(complaint) => {
                self.passed.add(&key, complaint);
                return Ok(());
            }
        };
        match metadata.kind {
            Kind::File => {
                self.files += 1;
                if self.files > SOURCE_ITEMS_MAX {
                    return Err(too_large(format!("more than {SOURCE_ITEMS_MAX} files: take some out")));
                }
                if let Err(complaint) = self.file(path, &key, metadata.len) {
                    self.passed.add(&key, complaint);
                }
            }
            Kind::Dir => {
                self.folders += 1;
                if self.folders > FOLDERS_MAX {
                    return Err(too_large(format!("more than {FOLDERS_MAX} folders: take some out")));
                }
                if depth == FOLDERS_DEPTH_MAX {
                    self.passed.add(&key, too_large(format!("deeper than {FOLDERS_DEPTH_MAX} folders")));
                } else {
                    self.waiting.push((key, depth + 1));
                }
            }
            Kind::Other => {
                let text = "neither a file nor a folder; symbolic links in here are not followed";
                self.passed.add(&key, Complaint::new(SourceFault::Unreadable, text));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, key: &str, bytes: u64) -> Result<(), Complaint> {
        let hash = key_hash(&self.spec.queue, key);
        if self.seen.keys.contains_key(&hash) {
            return Ok(());
        }
        check_key(key)?;
        let changed_ns = match self.fs.changed_ns(path).map_err(cannot) {
            Ok(changed_ns) => changed_ns,
            Err(complaint) if complaint.fault == SourceFault::Missing => return Ok(()),
            Err(complaint) => return Err(complaint),
        };
        let before = self.seen.settling.get(key);
        let same = before.filter(|before| before.bytes == bytes && before.changed_ns == changed_ns);
        let since = same.and_then(|before| before.since);
        let moves = since.is_none_or(|since| self.seen.at.since_ms(since) < SETTLE_MS);
        if moves && !planted(Bug::UnsettledTaken) {
            self.settling.insert(key.to_owned(), Moving { bytes, changed_ns, since });
            return Ok(());
        }
        let place = self.spec.path.join(key);
        let payload = serde_json::value::to_raw_value(&Payload { path: &place.to_string_lossy(), bytes })
            .map_err(|error| Complaint::new(SourceFault::Malformed, error.to_string()))?;
        self.items.push(Item {
            queue: self.spec.queue.clone(),
            key: Some(key.to_owned()),
            hash,
            digest: payload_digest(payload.get().as_bytes()),
            payload,
            priority: 0,
            when: When::Now,
            file: None,
        });
        Ok(())
    }
}
