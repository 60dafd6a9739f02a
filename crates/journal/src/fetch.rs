//! One record by its place: what a job's payload is read with, long after the record was written.
//!
//! Invariant: a place given by [`crate::Framer::push`] or [`crate::open`] names the same line for as long as its segment
//! stands; anything else read there is an error, never another record.

use std::io;
use std::path::Path;

use sprag_core::PayloadRef;

use crate::fs::{Fs, Open, read_full_at};
use crate::line::Place;
use crate::names;

/// Reads the record's line, without its newline, from the journal in the folder `root`.
pub fn read_line<F: Fs>(fs: &F, root: &Path, place: Place) -> io::Result<Vec<u8>> {
    let path = names::journal_dir(root).join(names::segment(place.segment));
    let file = fs.open(&path, Open::Read)?;
    let mut line = vec![0; place.len as usize + 1];
    let read = read_full_at(&file, &mut line, place.offset)?;
    if read < line.len() || line.pop() != Some(b'\n') {
        return Err(io::Error::other(format!("no record of {} bytes at offset {}", place.len, place.offset)));
    }
    Ok(line)
}

impl From<PayloadRef> for Place {
    fn from(payload: PayloadRef) -> Place {
        Place { segment: payload.segment, offset: payload.offset, len: payload.len }
    }
}

impl From<Place> for PayloadRef {
    fn from(place: Place) -> PayloadRef {
        PayloadRef { segment: place.segment, offset: place.offset, len: place.len }
    }
}
