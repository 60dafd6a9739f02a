//! Lines at known places, cheaply when they are asked for in about the order in which they stand.
//!
//! Invariant: what is handed out is the bytes at the place, without a newline in them. They were checked when the journal
//! was opened, and are not checked again.

use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::fs::{Fs, Open, read_full_at};
use crate::line::Place;
use crate::names;
use crate::snapshot::{Snapshot, lookup};

/// The first window is this long, and each further one twice as long as the one before, up to the second of these: most
/// journals are short, and room that is not filled costs time as well.
const WINDOW_BYTES: [usize; 2] = [16 * 1024, 1024 * 1024];

/// Reads from the segments, and from one snapshot as segment 0.
#[derive(Debug)]
pub struct Lines<'a, F: Fs> {
    fs: F,
    dir: PathBuf,
    snapshot: Option<&'a Snapshot<F>>,
    segment: Option<(u32, F::File)>,
    /// The bytes of segment `window_of` from `window_at` on.
    window: Vec<u8>,
    window_of: u32,
    window_at: u64,
    /// How long the next window is.
    window_len: usize,
}

impl<'a, F: Fs> Lines<'a, F> {
    /// Of the journal in the folder `root`.
    pub fn new(fs: &F, root: &Path, snapshot: Option<&'a Snapshot<F>>) -> Lines<'a, F> {
        let (fs, dir) = (fs.clone(), names::journal_dir(root));
        let window_len = WINDOW_BYTES[0];
        Lines { fs, dir, snapshot, segment: None, window: Vec::new(), window_of: 0, window_at: 0, window_len }
    }

    /// The line at a place.
    pub fn read(&mut self, place: Place) -> Result<&[u8], JournalError> {
        let len = place.len as usize;
        if self.window_of != place.segment || !self.holds(place) {
            self.fill(place)?;
        }
        let from = usize::try_from(place.offset - self.window_at).unwrap_or(usize::MAX);
        let line = self.window.get(from..).and_then(|rest| rest.get(..len)).filter(|line| !line.contains(&b'\n'));
        let path = self.dir.join(names::segment(place.segment));
        line.ok_or_else(|| JournalError::corrupt(&path, place.offset, 0, "no line of that length stands here"))
    }

    fn holds(&self, place: Place) -> bool {
        let end = self.window_at + self.window.len() as u64;
        place.offset >= self.window_at && place.offset + u64::from(place.len) <= end
    }

    fn fill(&mut self, place: Place) -> Result<(), JournalError> {
        let path = self.dir.join(names::segment(place.segment));
        self.window.resize(self.window_len.max(place.len as usize), 0);
        self.window_len = (2 * self.window_len).min(WINDOW_BYTES[1]);
        (self.window_of, self.window_at) = (place.segment, place.offset);
        let n = match (place.segment, self.snapshot) {
            (0, Some(snapshot)) => read_full_at(snapshot.file(), &mut self.window, place.offset),
            (number, _) => {
                let file = match self.segment.take() {
                    Some((open, file)) if open == number => file,
                    Some(_) | None => self.fs.open(&path, Open::Read).map_err(JournalError::io("open", &path))?,
                };
                let n = read_full_at(&file, &mut self.window, place.offset);
                self.segment = Some((number, file));
                n
            }
        };
        self.window.truncate(n.map_err(JournalError::io("read", &path))?);
        Ok(())
    }
}

/// The line of a job: the record that added it, at its place; or, where that stands no more, its line in a snapshot.
pub fn read_job<F: Fs>(fs: &F, root: &Path, job: u64, place: Place) -> Result<Vec<u8>, JournalError> {
    if place.segment > 0 {
        match crate::read(fs, root, place) {
            Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            read => return read,
        }
    }
    lookup(fs, root, job)
}
