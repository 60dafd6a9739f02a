//! A folder, the real processes, and the keeper's side of them.

// Each test file uses its part of this one.
#![allow(dead_code, reason = "compiled once for each test file")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use it")]

use sprag_core::{Attempt, JobId, Outcome, QueueId, Seq, Slot, SpawnFailure};
use sprag_runtime::live::{Children, LiveProcesses, Message, now, sys};
use sprag_runtime::pipeline::item_key;
use sprag_runtime::seams::{ChildId, Exit, Nonce, Processes, SpawnSpec};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Nothing here takes longer, by far, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) queue_id: String,
    pub(crate) processes: LiveProcesses,
    pub(crate) children: Children,
    messages: UnboundedReceiver<Message>,
}

pub(crate) fn attempt(number: u32) -> ChildId {
    let attempt = Attempt { number, slot: Slot(0), fence: Seq(u64::from(number)), queue: QueueId(0) };
    ChildId::Attempt { job: JobId(1), attempt }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl World {
    /// To be called inside a runtime.
    pub(crate) fn new() -> World {
        sys::settle_in().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (sender, messages) = unbounded_channel();
        let tell_keeper = move |message| sender.send(message).unwrap();
        World {
            queue_id: item_key(dir.path().as_os_str().as_bytes()),
            dir,
            processes: LiveProcesses::new(Arc::new(tell_keeper)),
            children: Children::new().unwrap(),
            messages,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn nonce(&self, name: &str) -> Nonce {
        Nonce { queue_id: self.queue_id.clone(), epoch: 1, name: name.into() }
    }

    /// `command` as attempt `number`, marked with that number.
    pub(crate) fn spec(&self, number: u32, command: &[&str]) -> SpawnSpec {
        let nonce = self.nonce(&number.to_string());
        let path = "/usr/local/bin:/usr/bin:/bin".to_owned();
        SpawnSpec {
            child: attempt(number),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            dir: self.dir.path().into(),
            env: BTreeMap::from([("PATH".into(), path), (Nonce::VARIABLE.into(), nonce.to_string())]),
            nonce,
            input: self.path(&format!("{number}.in")),
            payload: Vec::new(),
            stdout: self.path(&format!("{number}.log")),
            stderr: self.path(&format!("{number}.log")),
            bounds: Vec::new(),
        }
    }

    pub(crate) fn script(&self, number: u32, script: &str) -> SpawnSpec {
        self.spec(number, &["sh", "-c", script])
    }

    /// Starts it and takes it over.
    pub(crate) fn start(&mut self, spec: &SpawnSpec) -> Result<(), SpawnFailure> {
        let result = self.processes.spawn(spec);
        self.deliver();
        result.map_err(|not| not.failure)
    }

    /// Does what was said.
    pub(crate) fn deliver(&mut self) {
        while let Ok(message) = self.messages.try_recv() {
            self.children.take(message).unwrap();
        }
    }

    pub(crate) fn next(&mut self) -> Exit {
        let patience_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
        self.children.next(Some(patience_ms)).unwrap().expect("a child should have ended")
    }

    /// Starts it and waits for its end.
    pub(crate) fn run(&mut self, spec: &SpawnSpec) -> Outcome {
        self.start(spec).unwrap();
        let exit = self.next();
        assert_eq!(exit.child, spec.child);
        exit.outcome
    }

    pub(crate) fn log(&self, number: u32) -> String {
        fs::read_to_string(self.path(&format!("{number}.log"))).unwrap()
    }

    pub(crate) fn is_free(&self, number: u32) -> bool {
        self.processes.is_free(&self.path(&format!("{number}.in"))).unwrap()
    }

    /// A process number that a command wrote into a file.
    pub(crate) async fn pid_in(&self, name: &str) -> u32 {
        let path = self.path(name);
        let read = || fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'));
        eventually("the command should have written its number", || read().is_some()).await;
        read().unwrap().trim().parse().unwrap()
    }
}

impl Drop for World {
    /// Whatever a failed test has left behind.
    fn drop(&mut self) {
        let _ = self.processes.sweep(&self.queue_id, &|_| true);
    }
}

/// Whether a process runs; one that nobody has reaped does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = now().mono.after(u64::try_from(PATIENCE.as_millis()).unwrap());
    while !holds() {
        assert!(now().mono < end, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A file as another process makes it: so that no descriptor of ours can be open for writing when it is executed.
pub(crate) fn make_file(path: &Path, content: &str, mode: &str) {
    let script = r#"printf '%b' "$2" > "$1" && chmod "$3" "$1""#;
    let args = ["-c", script, "sh", path.to_str().unwrap(), content, mode];
    assert!(std::process::Command::new("sh").args(args).status().unwrap().success());
}
