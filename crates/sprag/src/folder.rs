//! The state folder before anything is written to it.
//!
//! **Invariant.** What this returns for exists, durably, belongs to us, and nobody else may write to it or put another in
//! its place.

use crate::exit::{Exit, Failure};
use sprag_journal::RealFs;
use sprag_journal::fs::Fs as _;
use sprag_runtime::pipeline::StateDir;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Makes the state folder if it is missing, and checks it.
pub(crate) fn make(state: &StateDir) -> Result<(), Failure> {
    let path = state.path();
    let base = parent(path);
    let failed = |(path, error): (PathBuf, io::Error)| {
        Failure::new(Exit::StateIo, format!("cannot make {}: {error}", path.display()))
    };
    make_durable(&[path]).map_err(failed)?;
    let failed_at = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| failed((path, error))
    };
    let dir = std::fs::symlink_metadata(path).map_err(failed_at(path))?;
    let above = std::fs::metadata(base).map_err(failed_at(base))?;
    let user = rustix::process::geteuid().as_raw();
    let (others_write, sticky) = (0o002, 0o1000);
    let unsafe_folder = |path: &Path, what: String, mend: &str| {
        Err(Failure::new(Exit::UnsafeFolder, format!("{}: {what}", path.display())).mend(mend))
    };
    if !dir.is_dir() {
        return unsafe_folder(path, "it is a symbolic link, or no folder".into(), "move it away");
    }
    if dir.uid() != user {
        return unsafe_folder(path, format!("it belongs to user {}, not {user}", dir.uid()), "run as its owner");
    }
    if dir.mode() & 0o022 != 0 {
        return unsafe_folder(path, "others may write to it".into(), "run `chmod go-w` on it");
    }
    if above.mode() & others_write != 0 && above.mode() & sticky == 0 {
        return unsafe_folder(base, "everybody may replace what is in it".into(), "run `chmod o-w` on it");
    }
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
