//! What readers could have found, and what a power cut may have left of it.
//!
//! **Invariant.** What *stood* in a source is what a reader could have taken whole: it is looked up in the files after each step
//! that may change it.

use super::{Habit, Producer, Shape};
use crate::fs::Image;
use crate::items::{self, Id};
use serde::de::IgnoredAny;
use sprag_journal::fs::{File as _, Fs as _, Open, read_all};
use sprag_runtime::pipeline::Format;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// No source file is longer, in bytes.
pub(super) const BYTES_MAX: u64 = 1 << 20;

impl Producer {
    /// Whether an item could have been found here.
    pub fn has_stood(&self, item: u16) -> bool {
        self.stood.contains(&item)
    }

    /// Every item that could have been found here.
    pub fn stood(&self) -> impl Iterator<Item = u16> {
        self.stood.iter().copied()
    }

    /// Since when an item has stood here without a break, if it does.
    pub fn standing_since(&self, item: u16) -> Option<u64> {
        self.standing.get(&item).copied()
    }

    /// The items that must come to an end: what a reader of the source finds in an image, and all that the drop-box was given.
    pub fn left_in(&self, image: &Image) -> Vec<Id> {
        let bytes = |path: &Path| image.files.get(path).map_or(&[][..], |bytes| &bytes[..]);
        match self.shape {
            Shape::Source(Format::JsonArray) => items::of_array(bytes(&self.target())).unwrap_or_default(),
            Shape::Source(Format::JsonLines) => items::of_lines(bytes(&self.target())).unwrap_or_default(),
            Shape::Source(Format::Files) => {
                let names = self.stood.iter().map(|item| (self.source, *item));
                names.filter(|id| image.files.contains_key(&self.folder().join(items::file_name(*id)))).collect()
            }
            Shape::Inbox => self.stood.iter().map(|item| (self.source, *item)).collect(),
        }
    }

    /// A power cut may tear a file that was not synced into something that is whole and was never written: a lie that no
    /// reader can see through. It is emptied instead, or gone, which a power cut may do as well.
    pub fn unlie(&self, image: &mut Image) {
        match self.shape {
            Shape::Source(format @ (Format::JsonArray | Format::JsonLines)) => {
                let Some(bytes) = image.files.get_mut(&self.target()) else { return };
                if visible(format, bytes).is_err() {
                    *bytes = Rc::from([]);
                }
            }
            Shape::Source(Format::Files) => {
                for item in 0..self.states.len() as u16 {
                    let path = self.folder().join(items::file_name((self.source, item)));
                    let right = items::text((self.source, item)).len();
                    if image.files.get(&path).is_some_and(|bytes| bytes.len() != right) {
                        image.files.remove(&path);
                    }
                }
            }
            Shape::Inbox => {
                for item in 0..self.states.len() as u16 {
                    let Some(bytes) = image.files.get_mut(&self.folder().join(self.drop_name(item))) else { continue };
                    let whole = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
                    if whole && **bytes != *self.drop(item).as_bytes() {
                        *bytes = Rc::from([]);
                    }
                }
            }
        }
    }

    /// Looks up what a reader would find in the file now. Files in a folder stand from when they are whole.
    pub fn look(&mut self, now_us: u64) {
        let Shape::Source(format @ (Format::JsonArray | Format::JsonLines)) = self.shape else { return };
        let path = self.target();
        let bytes = read_all(&self.fs, &path, BYTES_MAX).unwrap_or_default();
        let found = visible(format, &bytes).unwrap_or_else(|_| {
            // Two hands on one file made something that is whole and is nobody's: a lie, as after a power cut.
            let _ = self.fs.open(&path, Open::Replace);
            Vec::new()
        });
        self.stood.extend(found.iter().map(|(_, item)| *item));
        let since = |item: u16| (item, self.standing.get(&item).copied().unwrap_or(now_us));
        self.standing = found.iter().map(|(_, item)| since(*item)).collect();
    }

    /// What was written in place is whole. The name may be another file's by now, but who opened this one before finds it.
    pub(super) fn shows(&mut self) -> io::Result<()> {
        if let Shape::Source(format) = self.shape {
            let mut bytes = vec![0; self.file()?.len()? as usize];
            let len = self.file()?.read_at(&mut bytes, 0)?;
            self.stood.extend(visible(format, &bytes[..len]).unwrap_or_default().iter().map(|(_, item)| *item));
        }
        Ok(())
    }

    /// The state that was written stands, where each item is a file of its own.
    pub(super) fn stands(&mut self, now_us: u64) {
        let item = self.state as u16;
        if !self.one_file_each() || (self.rubbish && item == 0) {
            return;
        }
        self.stood.insert(item);
        // What is taken out of the drop-box stands nowhere, and what was not synced not for sure.
        if self.shape != Shape::Inbox && self.habit == Habit::Atomic {
            self.standing.entry(item).or_insert(now_us);
        }
    }

    /// Nothing has stood without a break over a power cut.
    pub(super) fn stands_anew(&mut self, now_us: u64) {
        match self.shape {
            Shape::Source(Format::Files) => self.standing.values_mut().for_each(|since_us| *since_us = now_us),
            Shape::Source(Format::JsonArray | Format::JsonLines) | Shape::Inbox => self.standing.clear(),
        }
        self.look(now_us);
    }
}

fn visible(format: Format, bytes: &[u8]) -> Result<Vec<Id>, String> {
    match format {
        Format::JsonArray => items::of_array(bytes),
        Format::JsonLines => items::of_lines(bytes),
        Format::Files => Ok(Vec::new()),
    }
}
