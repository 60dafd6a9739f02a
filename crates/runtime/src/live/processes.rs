//! Starting processes, off the loop. What happens to them afterwards is [`super::children`]'s.
//!
//! **Invariant.** A command that was executed has the lock on its input, leads a process group of its own, has
//! descriptors 0 to 2 and nothing else, and the keeper is told of it. A command that was not executed leaves no lock held.
//!
//! Nothing here signals a process, except one that was started, could not be handed over, and is not yet reaped.

use super::cgroup::{Cgroup, Cgroups};
use super::children::{Message, Spawned, kill_group};
use super::sweep::{self, Patience};
use crate::seams::{ChildId, Nonce, NotSpawned, Processes, SpawnSpec, Sweep};
use rustix::fs::{Access, CWD, FlockOperation, Mode, OFlags, access, fstat, ftruncate, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sprag_core::{Kill, SpawnFailure};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

/// Where a command without a slash is looked for when its environment has no `PATH`; what the C library does.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// Starts processes and hands them to whoever keeps the children.
#[derive(Clone)]
pub struct LiveProcesses {
    tell_keeper: Arc<dyn Fn(Message) + Send + Sync>,
    cgroups: Option<Arc<Cgroups>>,
}

impl LiveProcesses {
    /// `tell_keeper` brings every message to [`super::children::Children::take`], in order, and does not block.
    pub fn new(tell_keeper: Arc<dyn Fn(Message) + Send + Sync>) -> LiveProcesses {
        LiveProcesses { tell_keeper, cgroups: None }
    }

    /// The same, with each child in a cgroup of its own where such are made.
    pub(super) fn within(self, cgroups: Cgroups) -> LiveProcesses {
        LiveProcesses { cgroups: Some(Arc::new(cgroups)), ..self }
    }

    /// Nothing is started any more.
    pub(super) fn leave(&self) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.leave();
        }
    }
}

impl LiveProcesses {
    fn try_spawn(&self, spec: &SpawnSpec) -> Result<(), NotSpawned> {
        let program = resolve(spec)?;
        let files = Files::prepare(spec).map_err(NotSpawned::short)?;
        let cgroup = match &self.cgroups {
            Some(cgroups) => cgroups.make(&spec.nonce).map_err(NotSpawned::short)?,
            None => None,
        };
        let mut process = execute(spec, &program, files, cgroup.as_ref())?;
        let pidfd = match pidfd_open(Pid::from_child(&process), PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                kill_group(Pid::from_child(&process));
                let end = process.wait();
                return Err(NotSpawned::short(format!("cannot hear of its end ({error}), so it was ended: {end:?}")));
            }
        };
        let (child, bounds) = (spec.child, spec.bounds.clone());
        let spawned = Spawned { child, pidfd, process, cgroup, bounds, spoiled: false };
        (self.tell_keeper)(Message::Spawned(spawned));
        Ok(())
    }
}

impl std::fmt::Debug for LiveProcesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveProcesses").finish_non_exhaustive()
    }
}

impl Processes for LiveProcesses {
    fn spawn(&self, spec: &SpawnSpec) -> Result<(), NotSpawned> {
        self.try_spawn(spec)
    }

    fn signal(&self, child: ChildId, kill: Kill) {
        (self.tell_keeper)(Message::Signal { child, kill });
    }

    fn sweep(&self, queue_id: &str, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Sweep> {
        let mut sweep = sweep::sweep(queue_id, doomed)?;
        if let Some(cgroups) = &self.cgroups {
            sweep.alive.extend(cgroups.sweep(doomed)?);
        }
        Ok(sweep)
    }

    fn is_free(&self, input: &Path) -> io::Result<bool> {
        sweep::is_free(input, Patience::Some)
    }

    fn is_free_now(&self, input: &Path) -> io::Result<bool> {
        sweep::is_free(input, Patience::None)
    }
}

/// What becomes descriptors 0 to 2.
struct Files {
    stdin: File,
    stdout: File,
    stderr: File,
}

impl Files {
    /// The outputs are emptied only under the lock: before, an earlier command might still write to them.
    fn prepare(spec: &SpawnSpec) -> io::Result<Files> {
        let stdin = open(&spec.input, OFlags::RDWR)?;
        if !sweep::try_lock(&stdin, FlockOperation::NonBlockingLockExclusive, Patience::Some)? {
            let path = spec.input.display();
            return Err(io::Error::other(format!("{path}: a process of an earlier command still holds its lock")));
        }
        rewrite(&stdin, &spec.payload).map_err(|error| at(&spec.input, error))?;
        let stderr = open_emptied(&spec.stderr)?;
        let stdout = if spec.stdout == spec.stderr { stderr.try_clone()? } else { open_emptied(&spec.stdout)? };
        Ok(Files { stdin, stdout, stderr })
    }
}

/// Opens a file of ours, made if missing. A new description, so that a lock on it is nobody else's.
fn open(path: &Path, access: OFlags) -> io::Result<File> {
    let flags = access | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| at(path, error.into()))?;
    Ok(File::from(file))
}

fn open_emptied(path: &Path) -> io::Result<File> {
    let file = open(path, OFlags::WRONLY | OFlags::APPEND)?;
    cut(&file, 0).map_err(|error| at(path, error))?;
    Ok(file)
}

/// Gives the file exactly this content and leaves its offset at the start. It is cut after writing, and only when it is
/// longer: some file systems write a file out at once if it was first cut to nothing.
fn rewrite(file: &File, content: &[u8]) -> io::Result<()> {
    file.write_all_at(content, 0)?;
    cut(file, content.len() as u64)
}

fn cut(file: &File, len: u64) -> io::Result<()> {
    if u64::try_from(fstat(file)?.st_size).unwrap_or(0) > len {
        ftruncate(file, len)?;
    }
    Ok(())
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The program to execute. Found here, not by the C library, because that would look along our `PATH` and not the
/// command's.
fn resolve(spec: &SpawnSpec) -> Result<PathBuf, NotSpawned> {
    let name = program_of(spec);
    let dir = std::path::absolute(&spec.dir).map_err(NotSpawned::short)?;
    if name.contains('/') {
        return Ok(dir.join(name));
    }
    let mut failure = SpawnFailure::NotFound;
    let path = spec.env.get("PATH").map_or(PATH_DEFAULT, String::as_str);
    for candidate in path.split(':').map(|folder| dir.join(folder).join(name)) {
        match access(&candidate, Access::EXEC_OK) {
            Ok(()) if candidate.is_file() => return Ok(candidate),
            Ok(()) | Err(Errno::ACCESS) => failure = SpawnFailure::NotExecutable,
            Err(_) => {}
        }
    }
    let what = if failure == SpawnFailure::NotFound { "there is no such program" } else { "it may not be executed" };
    Err(NotSpawned { failure, why: format!("{what} along its PATH, {path}") })
}

fn program_of(spec: &SpawnSpec) -> &str {
    assert!(!spec.command.is_empty(), "a command without a program for {:?}", spec.child);
    &spec.command[0]
}

/// When this returns, no descriptor of `files` is open on our side.
fn execute(spec: &SpawnSpec, program: &Path, files: Files, cgroup: Option<&Cgroup>) -> Result<Child, NotSpawned> {
    let not_spawned = |error: io::Error| {
        let failure = classify(&error);
        NotSpawned { failure, why: format!("{} ({error})", reason(spec, program, failure, &error)) }
    };
    let mut command = match cgroup {
        Some(cgroup) => {
            // What is executed first is ourselves, and that does not fail for the command's reasons.
            access(program, Access::EXEC_OK).map_err(|error| not_spawned(error.into()))?;
            cgroup.command(program_of(spec), program)
        }
        None => {
            let mut command = Command::new(program);
            command.arg0(program_of(spec));
            command
        }
    };
    // Nothing that runs code between fork and exec: so the standard library uses posix_spawn, which does not copy our
    // address space, and which reports exactly why an exec failed.
    command
        .args(&spec.command[1..])
        .current_dir(&spec.dir)
        .env_clear()
        .envs(&spec.env)
        .process_group(0)
        .stdin(files.stdin)
        .stdout(files.stdout)
        .stderr(files.stderr)
        .spawn()
        .map_err(not_spawned)
}

/// Only what every other start would meet as well is a shortage of the system, for that holds all of them up. What the command
/// cannot do today, and what is not known here, is a failure of this attempt.
pub(super) fn classify(error: &io::Error) -> SpawnFailure {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => SpawnFailure::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::TOOBIG | Errno::NAMETOOLONG) => {
            SpawnFailure::NotExecutable
        }
        Some(Errno::ISDIR | Errno::LOOP | Errno::INVAL | Errno::LIBBAD) => SpawnFailure::NotExecutable,
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => SpawnFailure::Resources,
        Some(_) => SpawnFailure::NotStarted,
        // The standard library itself refuses a NUL byte.
        None => SpawnFailure::NotExecutable,
    }
}

/// For people: three different things give "no such file or directory".
fn reason(spec: &SpawnSpec, program: &Path, failure: SpawnFailure, error: &io::Error) -> &'static str {
    match failure {
        SpawnFailure::NotFound if !spec.dir.is_dir() => "its working directory is missing",
        SpawnFailure::NotFound if program.exists() => "the interpreter or loader that it names is missing",
        SpawnFailure::NotFound => "there is no such program",
        SpawnFailure::NotExecutable => "it may not be executed, or is no program, or its arguments are too long",
        SpawnFailure::NotStarted if error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error()) => {
            "somebody has it open for writing"
        }
        SpawnFailure::NotStarted => "the system would not execute it this time",
        SpawnFailure::Resources => "the system is short of something",
    }
}
