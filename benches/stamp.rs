//! The command whose first instruction is timed: this very program, which tells the moment at which it began.
//!
//! **Invariant.** The clock is the one that the bench reads, the same for all processes of a machine.

use crate::Res;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::time::{ClockId, clock_gettime};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The word on the command line.
pub(crate) const WORD: &str = "--stamp";

pub(crate) fn now_ns() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// What the command does.
pub(crate) fn tell(at_ns: i64, fifo: &str) -> Res<()> {
    Ok(OpenOptions::new().write(true).open(fifo)?.write_all(&at_ns.to_le_bytes())?)
}

/// Where commands tell.
pub(crate) struct Stamps {
    path: PathBuf,
    told: File,
}

impl Stamps {
    pub(crate) fn new(dir: &Path) -> Res<Stamps> {
        let path = dir.join("stamps");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
        // Open for both, so that it is never at its end.
        let told = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Stamps { path, told })
    }

    /// Waits for the next command to have begun.
    pub(crate) fn next_ns(&mut self) -> Res<i64> {
        let mut bytes = [0; 8];
        self.told.read_exact(&mut bytes)?;
        Ok(i64::from_le_bytes(bytes))
    }

    /// The same, passing over those that began earlier than that.
    pub(crate) fn next_after_ns(&mut self, after_ns: i64) -> Res<i64> {
        loop {
            let at_ns = self.next_ns()?;
            if at_ns > after_ns {
                return Ok(at_ns);
            }
        }
    }

    /// For a configuration.
    pub(crate) fn command_toml(&self) -> Res<String> {
        Ok(format!("[{:?}, {WORD:?}, {:?}]", std::env::current_exe()?, self.path))
    }

    /// For a shell.
    pub(crate) fn command_line(&self) -> Res<String> {
        Ok(format!("'{}' {WORD} '{}'", std::env::current_exe()?.display(), self.path.display()))
    }

    pub(crate) fn command(&self) -> Res<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORD).arg(&self.path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }
}
