//! A pipeline in a folder of its own, and the real binary run on it.
//!
//! **Invariant.** Every wait has an end; only children of ours are signalled; a child never outlives its test.

use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No command takes longer, on a loaded machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A folder with a pipeline in it.
pub(crate) struct Pipeline {
    dir: tempfile::TempDir,
    /// Where `sprag.toml` lies: there, or on a disk of its own that is mounted below it.
    root: PathBuf,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A sprag that runs until it is stopped, or dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Pipeline {
    pub(crate) fn new(config: &str) -> Pipeline {
        let dir = tempfile::tempdir().unwrap();
        let pipeline = Pipeline { root: dir.path().into(), dir };
        pipeline.write("sprag.toml", config);
        pipeline
    }

    /// On a disk of its own, in memory; `None`, said aloud, where none can be mounted.
    #[expect(clippy::print_stdout, reason = "a skip is said aloud")]
    pub(crate) fn on_a_disk_of(size: &str, config: &str) -> Option<Pipeline> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("disk");
        fs::create_dir(&root).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs"]).arg(&root).stderr(Stdio::null());
        if !mount.status().is_ok_and(|end| end.success()) {
            println!("SKIPPED: nothing can be mounted; run this as root, or under `unshare -rm`");
            return None;
        }
        let pipeline = Pipeline { dir, root };
        pipeline.write("sprag.toml", config);
        Some(pipeline)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file as a whole: a temporary one, then a rename.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let temporary = self.path("temporary.new");
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, self.path(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The program, to be run in the folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sprag"));
        command.args(args).current_dir(&self.root).stdin(Stdio::null()).env("TZ", "UTC");
        command
    }

    /// Runs a command to its end.
    pub(crate) fn sprag(&self, args: &[&str]) -> Answer {
        self.finish(self.command(args))
    }

    /// Runs a command to its end, what it says going to files, so that no pipe can fill.
    pub(crate) fn finish(&self, mut command: Command) -> Answer {
        let outside = tempfile::tempdir().unwrap();
        let (out, err) = (outside.path().join("out"), outside.path().join("err"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let code = wait(command.spawn().unwrap());
        Answer { code, out: fs::read_to_string(out).unwrap(), err: fs::read_to_string(err).unwrap() }
    }

    /// Starts `sprag run` and waits until it holds the folder.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let log = self.dir.path().join("run.log");
        let said = File::create(&log).unwrap();
        let mut command = self.command(&[&["run"], args].concat());
        let child = command.stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let running = Running { child, log };
        let id = u64::from(running.id());
        until("sprag runs", || self.json(&["status"])[0]["running_pid"].as_u64() == Some(id));
        running
    }

    /// Starts a command that runs a sprag on the folder, and waits until one does.
    pub(crate) fn start_as(&self, mut command: Command) -> Running {
        let log = self.dir.path().join("run.log");
        let said = File::create(&log).unwrap();
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        let child = command.stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let running = Running { child, log };
        until("sprag runs", || self.json(&["status"])[0]["running_pid"].as_u64().is_some());
        running
    }

    /// What a command says with `--json`, line by line.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        let answer = self.sprag(&[args, &["--json"]].concat());
        assert_eq!(answer.code, Some(0), "{args:?}: {answer:?}");
        lines(&answer.out)
    }

    /// The state and attempt of the job with that key.
    pub(crate) fn state(&self, key: &str) -> (String, u64) {
        let jobs = self.json(&["list"]);
        let job = jobs.iter().find(|job| job["key"] == key);
        job.map_or(("none".into(), 0), |job| (job["state"].as_str().unwrap().into(), job["attempt"].as_u64().unwrap()))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.root != self.dir.path() {
            let _ = Command::new("umount").arg("-l").arg(&self.root).status();
        }
    }
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end; its exit code and what it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let code = wait_for(&mut self.child);
        (code, fs::read_to_string(&self.log).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Waits for a child that must end by itself.
pub(crate) fn wait(mut child: Child) -> Option<i32> {
    wait_for(&mut child)
}

fn wait_for(child: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begin.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not end within {LIMIT:?}");
        }
        sleep(Duration::from_millis(5));
    }
}

/// Waits for something to become true.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
