//! The real program in a folder of its own.
//!
//! **Invariant.** Nothing outlives its measure: the program is killed when it is let go of, and so is its folder. Only what this
//! process started is signalled.

use crate::Res;
use crate::http::Client;
use crate::stamp::now_ns;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer.
const WAIT_S_MAX: u64 = 120;

pub(crate) struct Server {
    dir: PathBuf,
    child: Child,
    control: Client,
}

/// How a queue stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ready: u64,
    pub(crate) succeeded: u64,
    /// Jobs with an attempt that is not over.
    pub(crate) open: u64,
}

impl Server {
    /// Starts sprag in a new folder, with this configuration.
    pub(crate) fn new(dir: PathBuf, config: &str) -> Res<Server> {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("sprag.toml"), config)?;
        Server::start(dir)
    }

    fn start(dir: PathBuf) -> Res<Server> {
        let child = spawn(&dir)?;
        let control = reach(&dir)?;
        Ok(Server { dir, child, control })
    }

    /// `kill -9`, and a new one in the same folder, whose queue is resumed at once. The moment at which that one began.
    pub(crate) fn kill_and_start(&mut self) -> Res<i64> {
        self.child.kill()?;
        self.child.wait()?;
        let begin_ns = now_ns();
        self.child = spawn(&self.dir)?;
        self.control = reach(&self.dir)?;
        self.resume()?;
        Ok(begin_ns)
    }

    /// A connection of now: sprag closes one that is not used for a while.
    pub(crate) fn control(&mut self) -> Res<&mut Client> {
        self.control = Client::connect(&self.state())?;
        Ok(&mut self.control)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join(".sprag")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn pause(&mut self) -> Res<()> {
        self.control()?.ask("POST /v1/queues/bench/pause", "").map(drop)
    }

    pub(crate) fn resume(&mut self) -> Res<()> {
        self.control()?.ask("POST /v1/queues/bench/resume", "").map(drop)
    }

    /// Stands still, children too when they need nothing of it.
    pub(crate) fn freeze(&self) -> Res<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    pub(crate) fn thaw(&self) -> Res<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    pub(crate) fn counts(&mut self) -> Res<Counts> {
        let status: serde_json::Value = serde_json::from_slice(&self.control()?.ask("GET /v1/status", "")?)?;
        let queues = status["queues"].as_array().ok_or("no queues in the status")?;
        let queue = queues.iter().find(|queue| queue["name"] == "bench").ok_or("no queue in the status")?;
        let count = |name: &str| queue["jobs"][name].as_u64().unwrap_or(0);
        let open = count("reserved") + count("running");
        Ok(Counts { ready: count("ready"), succeeded: count("succeeded"), open })
    }

    /// Adds so many jobs in bulk.
    pub(crate) fn fill(&mut self, jobs: u64, mut first: u64) -> Res<()> {
        let end = first + jobs;
        while first < end {
            let next = end.min(first + 50_000);
            let lines: String = (first..next).map(line).collect();
            self.control()?.stream(lines.as_bytes())?;
            first = next;
        }
        Ok(())
    }

    /// Waits until no snapshot is being written.
    pub(crate) fn settle(&self) -> Res<()> {
        let mut quiet = 0;
        until("the snapshot", || {
            let names = fs::read_dir(self.state())?.collect::<std::io::Result<Vec<_>>>()?;
            let writing = names.iter().any(|entry| entry.file_name().as_encoded_bytes().ends_with(b"jsonl.tmp"));
            quiet = if writing { 0 } else { quiet + 1 };
            Ok(quiet > 20)
        })
    }

    /// Resident memory, in bytes.
    pub(crate) fn rss_bytes(&self) -> Res<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// Processor time of all its threads so far.
    pub(crate) fn cpu(&self) -> Res<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()))?;
        // One that has just ended has none.
        Ok(tasks.filter_map(|task| task_cpu(&task.ok()?.path()).ok()).sum())
    }

    /// Processor time of its first thread so far.
    pub(crate) fn main_cpu(&self) -> Res<Duration> {
        task_cpu(Path::new(&format!("/proc/{}", self.pid())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A job with a key, as a line of a bulk add.
pub(crate) fn line(n: u64) -> String {
    format!("{{\"payload\":{},\"key\":\"item-{n}\"}}\n", crate::http::payload(n))
}

pub(crate) fn sprag(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sprag"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

fn spawn(dir: &Path) -> Res<Child> {
    let said = fs::File::create(dir.join("run.log"))?;
    Ok(sprag(dir).arg("run").stdout(said.try_clone()?).stderr(said).spawn()?)
}

/// Connects as soon as somebody listens. A socket that a `kill -9` left behind refuses until then.
fn reach(dir: &Path) -> Res<Client> {
    let begin = Instant::now();
    loop {
        if let Ok(client) = Client::connect(&dir.join(".sprag")) {
            return Ok(client);
        }
        if begin.elapsed().as_secs() > WAIT_S_MAX {
            let said = fs::read_to_string(dir.join("run.log")).unwrap_or_default();
            return Err(format!("sprag does not answer: {said}").into());
        }
        sleep(Duration::from_micros(200));
    }
}

fn task_cpu(task: &Path) -> Res<Duration> {
    let text = fs::read_to_string(task.join("schedstat"))?;
    let ns = text.split_whitespace().next().ok_or("no schedstat")?.parse::<u64>()?;
    Ok(Duration::from_nanos(ns))
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> Res<bool>) -> Res<()> {
    let begin = Instant::now();
    while !is_so()? {
        if begin.elapsed().as_secs() > WAIT_S_MAX {
            return Err(format!("not within {WAIT_S_MAX} s: {what}").into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
