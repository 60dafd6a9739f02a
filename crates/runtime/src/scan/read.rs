//! From a path to the bytes behind it.
//!
//! **Invariant.** Only a regular file is read, whole, up to a limit, and reading waits for nobody: a pipe, a device or a folder
//! under the name of a source is refused by name.

use super::{Complaint, LINKS_MAX, READS_MAX, SOURCE_BYTES_MAX, Seen};
use crate::pipeline::Format;
use sprag_core::SourceFault;
use sprag_journal::fs::{Fs, Kind, Open, read_all, read_whole};
use std::io;
use std::path::{Path, PathBuf};

/// What stands at the end of the symbolic links that begin at `path`, and what it is. What it says is true of that moment
/// only; whatever is opened afterwards is opened without following a link.
///
/// # Errors
/// Nothing is there, it cannot be asked, or the links go round.
pub fn resolve<F: Fs>(fs: &F, path: &Path) -> Result<(PathBuf, Kind), Complaint> {
    let mut at = path.to_owned();
    for _ in 0..=LINKS_MAX {
        let kind = fs.metadata(&at).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if at != path => {
                let text = format!("a symbolic link to {}, which does not exist", at.display());
                Complaint::new(SourceFault::Missing, text)
            }
            _ => cannot(error),
        })?;
        match kind.kind {
            Kind::File | Kind::Dir => return Ok((at, kind.kind)),
            Kind::Other => match fs.read_link(&at) {
                Ok(target) => at = at.parent().unwrap_or(Path::new("/")).join(target),
                Err(_) => return Ok((at, Kind::Other)),
            },
        }
    }
    let text = format!("symbolic links that go round, or more than {LINKS_MAX}, one behind the other");
    Err(Complaint::new(SourceFault::Unreadable, text))
}

/// What a file held when it was read.
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) hash: blake3::Hash,
}

/// Reads the file of a source, through links. A content that is new counts when two readings through one descriptor agree:
/// else what was there before and what somebody is writing over it could pass for one. A file that is replaced under our
/// hands stays the same to that descriptor, and one that only grows holds up nobody.
pub(super) fn read_source<F: Fs>(fs: &F, path: &Path, format: Format, seen: &mut Seen) -> Result<Content, Complaint> {
    let (path, kind) = resolve(fs, path)?;
    regular(kind)?;
    let file = fs.open(&path, Open::Read).map_err(cannot)?;
    let mut bytes = read_whole(&file, SOURCE_BYTES_MAX).map_err(cannot)?;
    for _ in 1..READS_MAX {
        let hash = blake3::hash(&bytes);
        if seen.read == Some(hash) {
            return Ok(Content { bytes, hash });
        }
        let again = read_whole(&file, SOURCE_BYTES_MAX).map_err(cannot)?;
        let grows = format == Format::JsonLines && again.starts_with(&bytes);
        if again == bytes || grows {
            seen.read = Some(hash);
            return Ok(Content { bytes, hash });
        }
        bytes = again;
    }
    Err(Complaint::new(SourceFault::Malformed, format!("somebody writes to it: {READS_MAX} readings all differ")))
}

/// Reads a file that must not be a link.
pub(super) fn read_file<F: Fs>(fs: &F, path: &Path) -> Result<Vec<u8>, Complaint> {
    regular(fs.metadata(path).map_err(cannot)?.kind)?;
    read_all(fs, path, SOURCE_BYTES_MAX).map_err(cannot)
}

fn regular(kind: Kind) -> Result<(), Complaint> {
    match kind {
        Kind::File => Ok(()),
        Kind::Dir => Err(Complaint::new(SourceFault::Unreadable, "a folder, not a file")),
        Kind::Other => Err(Complaint::new(SourceFault::Unreadable, "not a regular file")),
    }
}

pub(super) fn cannot(error: io::Error) -> Complaint {
    match error.kind() {
        io::ErrorKind::NotFound => Complaint::new(SourceFault::Missing, "no such file"),
        io::ErrorKind::FileTooLarge => {
            Complaint::new(SourceFault::TooLarge, format!("larger than {SOURCE_BYTES_MAX} bytes"))
        }
        _ => Complaint::new(SourceFault::Unreadable, error.to_string()),
    }
}

/// Without the mark that some editors put before UTF-8.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
