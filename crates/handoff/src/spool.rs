//! Bytes on their way to one thread that comes for them by itself: nobody is woken, and nobody waits.
//!
//! Invariant: what `push` took in is in exactly one `take`, in order, under its mark. Never more than `bytes_max` wait: who
//! comes for them too late is given a beginning and no more, and the pusher knows.

use std::mem;

use super::sync::Mutex;

/// Bytes in order, in parts: what was pushed under one mark is one part of a [`take`](Spool::take).
#[derive(Debug)]
pub struct Spool {
    parts: Mutex<Vec<(u32, Vec<u8>)>>,
    bytes_max: usize,
}

impl Spool {
    /// An empty one, for so many bytes at a time.
    pub fn new(bytes_max: usize) -> Self {
        Self { parts: Mutex::new(Vec::new()), bytes_max }
    }

    /// Adds bytes under a mark. False, and nothing is added, when there is no room for them. Never blocks.
    pub fn push(&self, mark: u32, bytes: &[u8]) -> bool {
        let Ok(mut parts) = self.parts.lock() else { return false };
        let waiting: usize = parts.iter().map(|(_, part)| part.len()).sum();
        if waiting + bytes.len() > self.bytes_max {
            return false;
        }
        match parts.last_mut() {
            Some((last, part)) if *last == mark => part.extend_from_slice(bytes),
            Some(_) | None => parts.push((mark, bytes.to_vec())),
        }
        true
    }

    /// Everything that waits.
    pub fn take(&self) -> Vec<(u32, Vec<u8>)> {
        self.parts.lock().map(|mut parts| mem::take(&mut *parts)).unwrap_or_default()
    }
}
