//! The end of the recorder that writes: on the journal thread, before each of its frames and whenever it comes by.
//!
//! **Invariant.** What is handed over is written in order, in one write a time, and closed by its hash. After an error
//! nothing more of that segment is written. All segments together take no more than was allowed.

use super::{FILES_MAX, SEGMENTS, name, number};
use sprag_handoff::Spool;
use sprag_journal::fs::{Fs, Open, write_all_at};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes what the loop hands over.
#[derive(Debug)]
pub struct Recorder<F: Fs> {
    fs: F,
    dir: PathBuf,
    spool: Arc<Spool>,
    bytes_max: u64,
    open: Option<Segment<F::File>>,
    /// Nothing more is written of this segment and those before it.
    given_up: u32,
    /// How long each segment is.
    lens: BTreeMap<u32, u64>,
}

#[derive(Debug)]
struct Segment<T> {
    number: u32,
    file: T,
    len: u64,
    /// The hash that closes what was written last.
    sum: [u8; 8],
}

impl<F: Fs> Recorder<F> {
    /// Finds what is there. Says which number the next segment has.
    pub(crate) fn new(fs: &F, dir: PathBuf, spool: Arc<Spool>, bytes_max: u64) -> (Recorder<F>, u32) {
        let names = fs.list(&dir).unwrap_or_default();
        let len = |number: u32| fs.metadata(&dir.join(name(number))).map_or(0, |metadata| metadata.len);
        let lens: BTreeMap<u32, u64> =
            names.iter().filter_map(|file| number(file)).map(|number| (number, len(number))).collect();
        let next = lens.last_key_value().map_or(1, |(last, _)| last + 1);
        (Recorder { fs: fs.clone(), dir, spool, bytes_max, open: None, given_up: 0, lens }, next)
    }

    /// Whether there is anything to come by for, ever.
    pub fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// Writes what was handed over. Says whether there was anything, or what went wrong.
    ///
    /// # Errors
    /// What kept it from writing; the rest of that segment is left out.
    pub fn drain(&mut self) -> Result<bool, String> {
        let parts = self.spool.take();
        let some = !parts.is_empty();
        for (number, bytes) in parts {
            if number <= self.given_up {
                continue;
            }
            if let Err(error) = self.write(number, bytes) {
                (self.given_up, self.open) = (number, None);
                return Err(format!("{}: {error}", self.dir.join(name(number)).display()));
            }
        }
        Ok(some)
    }

    fn write(&mut self, number: u32, mut bytes: Vec<u8>) -> io::Result<()> {
        let mut segment = match self.open.take() {
            Some(open) if open.number == number => open,
            Some(_) | None => self.begin(number)?,
        };
        segment.sum = close(&mut bytes, segment.sum);
        write_all_at(&segment.file, &bytes, segment.len)?;
        segment.len += bytes.len() as u64;
        self.lens.insert(number, segment.len);
        self.open = Some(segment);
        Ok(())
    }

    fn begin(&mut self, number: u32) -> io::Result<Segment<F::File>> {
        // The new one is not yet as long as it will be.
        let rest = self.bytes_max - self.bytes_max / SEGMENTS;
        while self.lens.len() >= FILES_MAX || self.lens.values().sum::<u64>() > rest {
            let Some((oldest, _)) = self.lens.pop_first() else { break };
            // One that cannot be removed is in nobody's way, and counts again after the next start.
            let _ = self.fs.remove(&self.dir.join(name(oldest)));
        }
        let file = self.fs.open(&self.dir.join(name(number)), Open::Replace)?;
        Ok(Segment { number, file, len: 0, sum: [0; 8] })
    }
}

/// Closes lines by their hash, which goes on from the one before.
fn close(bytes: &mut Vec<u8>, before: [u8; 8]) -> [u8; 8] {
    let sum = sum(bytes, before);
    bytes.extend_from_slice(format!("{{\"sum\":\"{:016x}\"}}\n", u64::from_be_bytes(sum)).as_bytes());
    sum
}

/// The hash that closes lines behind those with the hash `before`.
pub(super) fn sum(bytes: &[u8], before: [u8; 8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before).update(bytes);
    let mut sum = [0; 8];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    sum
}

/// The folder of the segments, in the state folder.
pub(crate) fn dir(state: &Path) -> PathBuf {
    state.join("flight")
}
