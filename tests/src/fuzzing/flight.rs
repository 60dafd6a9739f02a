//! A recording of the flight recorder, of any bytes.
//!
//! **Invariant.** What of a recording is whole is read, whatever follows it; what is wrong with the rest is said.

use super::{ROOT, empty_disk, put};
use sim::fs::SimFs;
use sprag_runtime::flight::{Segment, segments};
use std::path::Path;

/// The first byte says whether the rest is a segment as it is, or its lines without the hashes, with a zero byte where one
/// stands; the next, where it is cut. What was whole before the cut is read the same.
pub fn flight(bytes: &[u8]) {
    let [kind, cut, content @ ..] = bytes else { return };
    let content = if kind % 2 == 0 { content.to_vec() } else { hashed(content) };
    let half = &content[..content.len() * usize::from(*cut) / 256];
    let (whole, half) = (read(&content), read(half));
    assert!(whole.head.is_some() || whole.damage.is_some(), "no beginning, and nothing is wrong");
    assert!(whole.events.starts_with(&half.events), "what was cut says more than the whole");
    assert!(half.head.is_none() || half.head == whole.head, "what was cut begins otherwise");
}

fn read(content: &[u8]) -> Segment {
    let mut image = empty_disk();
    image.dirs.insert(Path::new(ROOT).join("flight"));
    put(&mut image, "flight/00000001.jsonl", content);
    let mut read = segments(&SimFs::boot(&image), Path::new(ROOT)).expect("the file can be read");
    read.pop().expect("there is one segment")
}

/// Puts the hash that is due behind each part.
fn hashed(content: &[u8]) -> Vec<u8> {
    let (mut all, mut before) = (Vec::new(), [0; 8]);
    for part in content.split(|byte| *byte == 0) {
        let sum = blake3::Hasher::new().update(&before).update(part).finalize();
        before.copy_from_slice(&sum.as_bytes()[..8]);
        all.extend_from_slice(part);
        all.extend_from_slice(format!("{{\"sum\":\"{:016x}\"}}\n", u64::from_be_bytes(before)).as_bytes());
    }
    all
}
