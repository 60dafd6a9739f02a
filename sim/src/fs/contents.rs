//! The bytes of a file on the medium, and changes of them on their way there.
//!
//! **Invariant.** What was written beyond the length does not count, and a reader sees zeros where nothing was written.

use std::rc::Rc;

/// A change of one file that is not durable yet.
#[derive(Clone, Debug)]
pub(super) enum DataOp {
    Write {
        offset: u64,
        bytes: Rc<[u8]>,
    },
    /// A write made the file at least this long.
    Grow(u64),
    /// The length was set; what lay beyond is gone.
    SetLen(u64),
}

/// Bytes, and how many of them count.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) bytes: Vec<u8>,
    pub(super) len: u64,
}

impl Contents {
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if self.bytes.len() < to {
            self.bytes.resize(to, 0);
        }
        self.bytes[from..to].copy_from_slice(bytes);
    }

    pub(super) fn apply(&mut self, op: &DataOp) {
        match op {
            DataOp::Write { offset, bytes } => self.write(*offset, bytes),
            DataOp::Grow(len) => self.len = self.len.max(*len),
            DataOp::SetLen(len) => {
                self.bytes.truncate(*len as usize);
                self.len = *len;
            }
        }
    }

    /// What a reader sees: exactly `len` bytes.
    pub(super) fn settle(&mut self) {
        self.bytes.resize(self.len as usize, 0);
    }
}
