//! The state folder before anything is written to it.
//!
//! **Invariant.** What this returns for exists, durably, belongs to us, and nobody else may write to it or put another in
//! its place.

use crate::exit::Failure;
use sprag_journal::RealFs;
use sprag_journal::fs::Fs as _;
use sprag_runtime::pipeline::StateDir;
use std::io;
use std::path::{Path, PathBuf};

/// Makes the state folder if it is missing, and checks it.
pub(crate) fn make(state: &StateDir) -> Result<(), Failure> {
    sprag_runtime::live::open_folder(state)?;
    Ok(())
}

/// Makes folders, each inside one that is there or stands before it; their names are durable when this returns, whoever
/// made them. An error names the path that it is about.
pub(crate) fn make_durable(folders: &[&Path]) -> Result<(), (PathBuf, io::Error)> {
    for folder in folders {
        match RealFs.create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(((*folder).to_owned(), error)),
        }
        let above = parent(folder);
        RealFs.sync_dir(above).map_err(|error| (above.to_owned(), error))?;
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        Some(_) | None => Path::new("."),
    }
}
