//! The Unix socket: one address that only we can reach, and who is at the other end.
//!
//! **Invariant.** The socket lies in the state folder, which nobody else may enter; whoever is let in has our user number,
//! or is root. A file that a dead sprag left behind is replaced, which only the holder of the folder's lock may do.

use super::Listener;
use rustix::process::geteuid;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// An address can hold no longer path, in bytes.
const PATH_BYTES_MAX: usize = 107;

/// Listens in the state folder. The file is removed when this is dropped.
#[derive(Debug)]
pub struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalListener {
    /// Makes the socket at `path`. The caller holds the folder's lock; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The file system has no sockets, or a folder stands in its place.
    pub fn bind(path: &Path) -> io::Result<LocalListener> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let (address, _folder) = short(path)?;
        let listener = UnixListener::bind(address)?;
        // The umask may have left more; until now the folder alone kept others out.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(LocalListener { listener, path: path.into() })
    }
}

impl Listener for LocalListener {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let user = stream.peer_cred()?.uid();
            if user == geteuid().as_raw() || user == 0 {
                return Ok(stream);
            }
            tracing::warn!(user, "somebody else knocked at the socket and was turned away");
        }
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // A file that stays is replaced by the next sprag.
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the socket at `path`. Must be called inside a tokio runtime.
///
/// # Errors
/// Nobody listens there, it is not ours to use, or so many wait already that one more cannot.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (address, _folder) = short(path)?;
    UnixStream::connect(address).await
}

/// A name of the same file that is short enough for an address, for as long as the folder is open.
fn short(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if path.as_os_str().len() > PATH_BYTES_MAX => {
            let folder = File::open(folder)?;
            let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
            Ok((short, Some(folder)))
        }
        (_, _) => Ok((path.into(), None)),
    }
}
