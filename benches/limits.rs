//! What the machine can do at best: the other side of every ratio.

use crate::Res;
use rustix::process::{WaitOptions, wait};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A job of 200 bytes takes so many bytes where nothing but it is written.
pub(crate) const JOB_BYTES: usize = 216;

/// A file that is appended to and synced.
pub(crate) struct Appended {
    file: File,
    bytes: Vec<u8>,
    /// How many jobs that many bytes stand for.
    jobs: usize,
}

impl Appended {
    /// `jobs` jobs with every sync.
    pub(crate) fn new(dir: &Path, jobs: usize) -> Res<Appended> {
        let file = OpenOptions::new().create(true).append(true).open(dir.join(format!("limit-{jobs}")))?;
        Ok(Appended { file, bytes: vec![b'x'; jobs * JOB_BYTES], jobs })
    }

    pub(crate) fn once(&mut self) -> Res<()> {
        self.file.write_all(&self.bytes)?;
        Ok(self.file.sync_data()?)
    }

    /// Jobs a second.
    pub(crate) fn slice(&mut self, slice: Duration) -> Res<f64> {
        rate(slice, || self.once().map(|()| self.jobs))
    }
}

/// Does something until the time is over, and tells how much of it was done a second.
pub(crate) fn rate(slice: Duration, mut once: impl FnMut() -> Res<usize>) -> Res<f64> {
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < slice {
        done += once()?;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

/// Executes a program two at a time (the library does it by posix_spawn) and waits for it: runs a second. Nothing else that
/// this process started may end meanwhile.
pub(crate) fn spawn_two(program: &Path, slice: Duration) -> Res<f64> {
    let begin = Instant::now();
    let (mut running, mut done) = (0_u32, 0_u32);
    loop {
        while running < 2 && begin.elapsed() < slice {
            let mut command = Command::new(program);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // Reaped below, whichever ends first.
            drop(command.spawn()?);
            running += 1;
        }
        if running == 0 {
            return Ok(f64::from(done) / begin.elapsed().as_secs_f64());
        }
        match wait(WaitOptions::empty())? {
            Some((_, status)) if status.exit_status() == Some(0) => (running, done) = (running - 1, done + 1),
            other => return Err(format!("a child of the limit ended with {other:?}").into()),
        }
    }
}
