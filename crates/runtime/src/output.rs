//! What commands write, and how much of it is kept.
//!
//! **Invariant.** A log takes no more room on the disk than its limit, and what is written between two looks at it. It keeps
//! its beginning and its end, and says where how much is missing; whoever writes it is never held up and never hurt. A
//! result is whole or there is none: one that was ever over its limit does not count, whatever its length is later.

use crate::attempt;
use crate::seams::{Bound, Over};
use sprag_journal::fs::{File, Fs, Open, read_full_at, write_all_at};
use std::io;
use std::ops::Range;
use std::path::Path;

/// Holes begin and end at multiples of this, as the blocks of nearly all file systems do, in bytes.
const BLOCK_BYTES: u64 = 4096;
/// A log is cut only when it is longer than its limit by more than the line that says so, in bytes.
const LINE_BYTES_MAX: u64 = 200;
/// Moved at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// The line that stands where bytes were left out of a log.
pub fn left_out(bytes: u64) -> String {
    format!("[sprag: {bytes} bytes are left out here, the log is over log_max]")
}

/// The middle that a log of `len` bytes loses, if it is to keep no more than `bytes_max`.
fn middle(len: u64, bytes_max: u64) -> Range<u64> {
    let head = bytes_max / 2 / BLOCK_BYTES * BLOCK_BYTES;
    let tail = bytes_max - head;
    head..len.saturating_sub(tail).max(head)
}

/// Looks at a file that is being written: whether it is over its limit. What it may not keep is given back to the disk.
pub(crate) fn hold<F: Fs>(fs: &F, bound: &Bound) -> io::Result<bool> {
    let len = attempt::len(fs, &bound.path)?;
    if len <= bound.bytes_max {
        return Ok(false);
    }
    let lost = match bound.over {
        Over::LosesItsMiddle => middle(len, bound.bytes_max),
        Over::IsSpoiled => 0..len,
    };
    let end = lost.end / BLOCK_BYTES * BLOCK_BYTES;
    if end > lost.start {
        fs.open(&bound.path, Open::Write)?.punch(lost.start, end - lost.start)?;
    }
    Ok(true)
}

/// Keeps a log under another name, without its middle if it is too long; nothing of an empty one. One that cannot be cut,
/// since the disk is full, say, is kept as it is.
pub(crate) fn keep_log<F: Fs>(fs: &F, from: &Path, to: &Path, bytes_max: u64) -> io::Result<()> {
    let len = attempt::len(fs, from)?;
    if is_cut(len, bytes_max) {
        let _ = fs.open(from, Open::Write).and_then(|file| cut(&file, len, bytes_max));
    }
    attempt::rename_unless_empty(fs, from, to)
}

/// Whether keeping a log of `len` bytes means more than giving it another name.
pub(crate) fn is_cut(len: u64, bytes_max: u64) -> bool {
    len > bytes_max.saturating_add(LINE_BYTES_MAX)
}

fn cut<F: File>(file: &F, len: u64, bytes_max: u64) -> io::Result<()> {
    let lost = middle(len, bytes_max);
    let line = format!("\n{}\n", left_out(lost.end - lost.start));
    assert!(line.len() as u64 <= LINE_BYTES_MAX, "the line is longer than the room for it: {line}");
    write_all_at(file, line.as_bytes(), lost.start)?;
    let (mut from, mut to) = (lost.end, lost.start + line.len() as u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    while from < len {
        // Towards the beginning, so what is overwritten was read.
        let n = read_full_at(file, &mut chunk, from)?;
        if n == 0 {
            break;
        }
        write_all_at(file, &chunk[..n], to)?;
        (from, to) = (from + n as u64, to + n as u64);
    }
    file.truncate(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprag_journal::RealFs;
    use sprag_journal::fs::read_all;

    fn read(path: &Path) -> Vec<u8> {
        read_all(&RealFs, path, u64::MAX).unwrap()
    }

    fn log(len: u64) -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let bytes: Vec<u8> = (0..len).map(|at| b'a' + u8::try_from(at / 1000 % 26).unwrap()).collect();
        write_all_at(&RealFs.open(&path, Open::Create).unwrap(), &bytes, 0).unwrap();
        (dir, path, bytes)
    }

    #[test]
    fn a_log_over_its_limit_keeps_both_ends_and_says_what_is_missing() {
        let max = 64 << 10;
        for len in [max + LINE_BYTES_MAX + 1, max + 4096, 2 * max + 17, 5 << 20] {
            let (dir, path, bytes) = log(len);
            let kept = dir.path().join("kept");
            keep_log(&RealFs, &path, &kept, max).unwrap();
            assert!(!path.exists());
            let text = read(&kept);
            let line = format!("\n{}\n", left_out(len - max)).into_bytes();
            let at = text.windows(line.len()).position(|window| window == line).unwrap();
            let (head, tail) = (&text[..at], &text[at + line.len()..]);
            assert!(bytes.starts_with(head) && bytes.ends_with(tail), "{len}");
            assert_eq!(head.len() + tail.len(), usize::try_from(max).unwrap());
            assert!(head.len() >= 30_000 && tail.len() >= 30_000);
        }
    }

    #[test]
    fn a_log_within_its_limit_is_kept_as_it_is() {
        for len in [0, 1, 64 << 10, (64 << 10) + LINE_BYTES_MAX] {
            let (dir, path, bytes) = log(len);
            let kept = dir.path().join("kept");
            keep_log(&RealFs, &path, &kept, 64 << 10).unwrap();
            assert_eq!(if len > 0 { read(&kept) } else { Vec::new() }, bytes);
            assert_eq!(kept.exists(), len > 0);
        }
    }

    #[test]
    fn a_file_that_grows_is_held_to_its_limit_and_its_ends_stay() {
        let (_dir, path, bytes) = log(8 << 20);
        let bound = |over, bytes_max| Bound { path: path.clone(), bytes_max, over };
        assert!(!hold(&RealFs, &bound(Over::LosesItsMiddle, 8 << 20)).unwrap());
        assert!(hold(&RealFs, &bound(Over::LosesItsMiddle, 1 << 20)).unwrap());
        let now = read(&path);
        let half = 1 << 19;
        assert_eq!(now.len(), bytes.len());
        assert_eq!((&now[..half], &now[bytes.len() - half..]), (&bytes[..half], &bytes[bytes.len() - half..]));
        assert!(now[half..bytes.len() - half].iter().all(|byte| *byte == 0), "the middle is a hole");
        assert!(hold(&RealFs, &bound(Over::IsSpoiled, 1 << 20)).unwrap());
        assert!(read(&path).iter().all(|byte| *byte == 0));
        assert!(!hold(&RealFs, &Bound { path: "/nonexistent/log".into(), ..bound(Over::IsSpoiled, 0) }).unwrap());
    }
}
