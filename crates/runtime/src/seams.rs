//! The seams between the driver and a world: starting processes, watching paths; beside `Fs` in the journal crate.
//!
//! **Invariant.** Each has exactly two implementers, real and simulated, and is called only off the loop, from
//! [`crate::task`]. A call may block; what it finds comes back to the loop as an event.

use sprag_core::{Attempt, JobId, Kill, Outcome, SpawnFailure};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A process that sprag started and waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildId {
    /// An attempt of a job.
    Attempt {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// A run of a service.
    Service {
        /// Its place in the pipeline.
        index: u16,
        /// Counts the runs in this life of sprag.
        run: u32,
    },
}

/// What marks every process of a child, in its environment, across forks and lives of sprag.
///
/// As text `<queue id>-<epoch>-<name>`: the queue id keeps pipelines apart, the epoch the lives of sprag, and the name is
/// the attempt's fence (a number) or `service.<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce {
    /// The journal's identity, 32 hexadecimal digits.
    pub queue_id: String,
    /// The life of sprag that started it.
    pub epoch: u64,
    /// Which child it marks.
    pub name: String,
}

/// What to execute, and around what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnSpec {
    /// Who it will be.
    pub child: ChildId,
    /// Its mark.
    pub nonce: Nonce,
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// The working directory.
    pub dir: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The file that becomes standard input: rewritten with `payload` and locked before the start. The lock is held by
    /// every process that has the descriptor, and by nobody else.
    pub input: PathBuf,
    /// What the command reads.
    pub payload: Vec<u8>,
    /// Standard output: emptied, then appended to. The same path as `stderr` for one common file.
    pub stdout: PathBuf,
    /// Standard error: emptied, then appended to.
    pub stderr: PathBuf,
    /// What it writes, and how much of that is kept.
    pub bounds: Vec<Bound>,
}

/// A file that a command writes, and how long it may become. It is looked at while the command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The file; it need not be there.
    pub path: PathBuf,
    /// Its limit, in bytes.
    pub bytes_max: u64,
    /// What becomes of it beyond.
    pub over: Over,
}

/// A command that was not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSpawned {
    /// What kind of reason it was.
    pub failure: SpawnFailure,
    /// The reason, for people.
    pub why: String,
}

/// What becomes of a file that is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A log: it keeps its beginning and its end.
    LosesItsMiddle,
    /// A result: nothing of it is kept, and a command that exits well has not succeeded.
    IsSpoiled,
}

/// What one look at the processes of an earlier life, or of an attempt whose command exited, has found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sweep {
    /// The marks of processes that are still alive though they were killed.
    pub alive: Vec<Nonce>,
}

/// Starting, signalling, and proving dead.
pub trait Processes: Clone {
    /// Executes a command in a process group of its own, with descriptors 0 to 2 and nothing else. After `Ok` the world
    /// will report its end once, as an exit event for `spec.child`, after its group was killed and it was reaped.
    fn spawn(&self, spec: &SpawnSpec) -> Result<(), NotSpawned>;

    /// Signals the group of a child whose end was not reported. No effect on any other.
    fn signal(&self, child: ChildId, kill: Kill);

    /// Kills every process marked with `queue_id` for which `doomed` says so, and looks twice. What is left is alive.
    fn sweep(&self, queue_id: &str, doomed: &dyn Fn(&Nonce) -> bool) -> io::Result<Sweep>;

    /// Whether nobody holds the lock on an input file: every process that was given it is gone. True for a file that
    /// does not exist. One that is about to let go is given a moment for it.
    fn is_free(&self, input: &Path) -> io::Result<bool>;

    /// The same, asked once and without waiting: `false` may be true a moment later.
    fn is_free_now(&self, input: &Path) -> io::Result<bool>;
}

/// Watching a path for changes. Hints only: correctness must hold if every one is lost.
pub trait Watch: Clone {
    /// From now on a change of the file at `path` (written, replaced, made or removed) sets flag `index` of the world's
    /// dirty latch. The last component `*` stands for every name in the folder. An index may have many paths: called
    /// again with one that it has, it renews the watch; with another, it adds it. After an error changes may still be heard
    /// of, but are not to be relied on.
    fn arm(&self, index: u16, path: &Path) -> io::Result<()>;
}

/// How the world says that a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Which.
    pub child: ChildId,
    /// How.
    pub outcome: Outcome,
}

impl NotSpawned {
    /// One for lack of something that the command cannot help.
    pub fn short(why: impl ToString) -> NotSpawned {
        NotSpawned { failure: SpawnFailure::Resources, why: why.to_string() }
    }
}

impl Nonce {
    /// The environment variable that carries it.
    pub const VARIABLE: &'static str = "SPRAG_NONCE";

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Nonce> {
        let (queue_id, rest) = text.split_once('-')?;
        let (epoch, name) = rest.split_once('-')?;
        Some(Nonce { queue_id: queue_id.into(), epoch: epoch.parse().ok()?, name: name.into() })
    }
}

impl std::fmt::Display for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.queue_id, self.epoch, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_survives_its_text() {
        let nonce = Nonce { queue_id: "0f".repeat(16), epoch: 12, name: "service.a-b".into() };
        assert_eq!(Nonce::parse(&nonce.to_string()), Some(nonce));
        assert_eq!(Nonce::parse("0f-x-1"), None);
        assert_eq!(Nonce::parse("0f"), None);
    }
}
