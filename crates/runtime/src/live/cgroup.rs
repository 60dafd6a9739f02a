//! A cgroup for each child, where the user asks for it and the kernel gives it: no process leaves one by itself, whatever it
//! does to its group, its environment and its descriptors.
//!
//! **Invariant.** A command is executed by a process that is in its cgroup already ([`enter`]), so nothing that it starts
//! was ever outside. The folder of a cgroup bears the mark of its child, below a folder of the queue whose place is on file
//! before it is made: so the next life of sprag finds what this one leaves, even if it is itself started elsewhere.

use super::processes::classify;
use super::sys::pause_ms;
use crate::pipeline::file_name_of;
use crate::seams::Nonce;
use rustix::io::Errno;
use sprag_core::SpawnFailure;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first argument with which sprag executes itself to become a command inside a cgroup.
pub const ENTER: &str = "--enter-cgroup";
/// How often a sweep looks whether what it killed is gone, and how long it waits in between.
const LOOKS_MAX: u32 = 20;
const LOOK_MS: u64 = 2;
/// The exit codes of shells for a program that is not there, and for one that cannot be executed.
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_EXECUTABLE: u8 = 126;

/// The cgroups of a queue.
#[derive(Debug)]
pub(super) struct Cgroups {
    queue_id: String,
    /// Where lives of sprag have made cgroups; each may be gone.
    places: Vec<PathBuf>,
    /// Where this one makes them, if it does.
    here: Option<PathBuf>,
}

/// The cgroup of one child. Whoever has it ends it; what is merely dropped is found by the next sweep.
#[derive(Debug)]
pub(super) struct Cgroup(PathBuf);

impl Cgroups {
    /// Those that `memo` tells of; and, if they are `wanted`, a place for new ones below our own cgroup.
    ///
    /// # Errors
    /// There is no unified hierarchy of cgroups, or we may not make any.
    pub(super) fn open(queue_id: &str, memo: &Path, wanted: bool) -> io::Result<Cgroups> {
        let told = match fs::read_to_string(memo) {
            Ok(told) => told,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut places: Vec<PathBuf> = told.lines().map(PathBuf::from).filter(|place| place.is_dir()).collect();
        let here = if wanted { Some(own()?.join(format!("sprag-{queue_id}"))) } else { None };
        if let Some(here) = &here {
            if !places.contains(here) {
                places.push(here.clone());
            }
            let lines: String = places.iter().map(|place| format!("{}\n", place.display())).collect();
            fs::write(memo, lines)?;
            make(here)?;
            // Without the right to move a process there, it is of no use.
            rustix::fs::access(here.join("cgroup.procs"), rustix::fs::Access::WRITE_OK)?;
        }
        Ok(Cgroups { queue_id: queue_id.into(), places, here })
    }

    /// One for a child that is to be started; none where none are made.
    pub(super) fn make(&self, nonce: &Nonce) -> io::Result<Option<Cgroup>> {
        let Some(here) = &self.here else { return Ok(None) };
        let path = here.join(format!("{}-{}", nonce.epoch, file_name_of(&nonce.name)));
        make(&path).map_err(|error| io::Error::new(error.kind(), format!("cgroup {}: {error}", path.display())))?;
        Ok(Some(Cgroup(path)))
    }

    /// Kills everything in doomed cgroups and removes them. The marks of those that are still populated.
    pub(super) fn sweep(&self, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Vec<Nonce>> {
        let mut left = self.doomed(doomed)?;
        for look in 0..LOOKS_MAX {
            if look > 0 {
                pause_ms(LOOK_MS);
            }
            let mut still = Vec::new();
            for (nonce, cgroup) in left {
                if !cgroup.end()? {
                    still.push((nonce, cgroup));
                }
            }
            left = still;
            if left.is_empty() {
                break;
            }
        }
        Ok(left.into_iter().map(|(nonce, _)| nonce).collect())
    }

    /// Removes the places that are empty: nothing is started any more.
    pub(super) fn leave(&self) {
        for place in &self.places {
            // One that is not empty is for the next life.
            let _ = rustix::fs::rmdir(place);
        }
    }

    fn doomed(&self, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Vec<(Nonce, Cgroup)>> {
        let mut found = Vec::new();
        for place in &self.places {
            let entries = match fs::read_dir(place) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let nonce = entry.file_name().to_str().and_then(|name| self.nonce(name)).filter(|nonce| doomed(nonce));
                found.extend(nonce.map(|nonce| (nonce, Cgroup(entry.path()))));
            }
        }
        Ok(found)
    }

    fn nonce(&self, name: &str) -> Option<Nonce> {
        let (epoch, name) = name.split_once('-')?;
        Some(Nonce { queue_id: self.queue_id.clone(), epoch: epoch.parse().ok()?, name: name.into() })
    }
}

impl Cgroup {
    /// Kills everything in it, and removes it if it is empty by now. Whether it is gone.
    pub(super) fn end(&self) -> io::Result<bool> {
        // An empty one is removed at once; that is the common case.
        if self.remove()? {
            return Ok(true);
        }
        match fs::write(self.0.join("cgroup.kill"), "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => self.remove(),
        }
    }

    fn remove(&self) -> io::Result<bool> {
        match rustix::fs::rmdir(&self.0) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::BUSY) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What executes `program` inside it.
    pub(super) fn command(&self, arg0: &str, program: &Path) -> Command {
        // The very program that runs, even if another one has taken its place on the disk.
        let mut command = Command::new("/proc/self/exe");
        command.arg(ENTER).arg(self.0.join("cgroup.procs")).arg(program).arg(arg0);
        command
    }
}

/// Moves this process into a cgroup and becomes a command: `args` are the file `cgroup.procs`, the program, its name for
/// itself, and its arguments. Returns, with the exit code of shells, only if that is not to be done.
pub fn enter(mut args: impl Iterator<Item = OsString>) -> (u8, String) {
    let (Some(procs), Some(program), Some(arg0)) = (args.next(), args.next(), args.next()) else {
        return (EXIT_NOT_EXECUTABLE, format!("{ENTER} is for sprag itself"));
    };
    if let Err(error) = fs::write(&procs, "0") {
        return (EXIT_NOT_EXECUTABLE, format!("the command cannot be put into its cgroup: {}: {error}", shown(&procs)));
    }
    let error = Command::new(&program).arg0(arg0).args(args).exec();
    let code = if classify(&error) == SpawnFailure::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE };
    (code, format!("{} cannot be executed: {error}", shown(&program)))
}

fn shown(path: &OsStr) -> std::path::Display<'_> {
    Path::new(path).display()
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The folder of the cgroup that we are in ourselves (cgroups(7), "/proc files").
fn own() -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::Unsupported, "there is no mounted hierarchy of version 2");
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let (root, point) = mounts.lines().find_map(mounted).ok_or_else(missing)?;
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(missing)?;
    let below = Path::new(path).strip_prefix(&root).map_err(|_| missing())?;
    Ok(Path::new(&point).join(below))
}

/// The root and the place of a mount, if it is of cgroups of version 2 (proc(5), mountinfo).
fn mounted(line: &str) -> Option<(String, String)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3).map(|field| field.replace("\\040", " "));
    (kind.split(' ').next() == Some("cgroup2")).then_some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_type() {
        let line = "40 31 0:27 / /sys/fs/cg\\040two rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(mounted(line), Some(("/".into(), "/sys/fs/cg two".into())));
        assert_eq!(mounted("40 31 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
    }
}
