//! How the program ends: the exit codes, and failures as people read them.
//!
//! **Invariant.** Every end is one of [`Exit`]; a number never changes its meaning. A failure says what happened and, where
//! something can be done, what.

use crate::config::ConfigError;
use sprag_journal::JournalError;
use sprag_runtime::live::LockError;
use std::fmt::Write as _;
use std::io;
use std::process::{ExitCode, Termination};

/// A line of the table fits into 80 columns.
const MEANING_CHARS_MAX: usize = 73;

/// Why the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    No = 1,
    Usage = 2,
    Configuration = 3,
    Running = 4,
    Corrupt = 5,
    StateIo = 6,
    UnsafeFolder = 7,
    Interrupted = 8,
    NotRunning = 9,
    Refused = 10,
    TimedOut = 11,
    HeldUp = 12,
    OtherVersion = 13,
    Bug = 70,
}

impl Exit {
    pub(crate) const ALL: [Exit; 15] = [
        Exit::Ok,
        Exit::No,
        Exit::Usage,
        Exit::Configuration,
        Exit::Running,
        Exit::Corrupt,
        Exit::StateIo,
        Exit::UnsafeFolder,
        Exit::Interrupted,
        Exit::NotRunning,
        Exit::Refused,
        Exit::TimedOut,
        Exit::HeldUp,
        Exit::OtherVersion,
        Exit::Bug,
    ];

    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for the table in the help.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "all went well; `run --until-idle`: nothing is left to do, whether or not jobs are dead",
            Exit::No => {
                "the answer is no: no such job; a dead one with --fail-on-dead; `wait`: dead or cancelled; `health`: degraded"
            }
            Exit::Usage => {
                "the command line is wrong: no such option, queue or service; `health`: stalled, or no sprag runs here"
            }
            Exit::Configuration => {
                "there is no pipeline in the folder, or its sprag.toml is wrong; nothing was started"
            }
            Exit::Running => "another sprag runs this pipeline",
            Exit::Corrupt => "the journal is damaged; file, offset and sequence are named",
            Exit::StateIo => {
                "a file cannot be read or written, .sprag was taken away, or the sprag that runs does not answer"
            }
            Exit::UnsafeFolder => "the folder .sprag is not safe: others may write to it or own it",
            Exit::Interrupted => "stopped by a signal before everything was done",
            Exit::NotRunning => "no sprag runs here, and this needs one",
            Exit::Refused => {
                "refused: the key is known with another payload, the state of the job, no room, sprag ends, bad lines"
            }
            Exit::TimedOut => "not at an end in time",
            Exit::HeldUp => {
                "`run --until-idle`: what is left cannot be done: a faulty source, a result without a \
                 place, a paused or unknown queue"
            }
            Exit::OtherVersion => "the files of .sprag have a version that this program does not know",
            Exit::Bug => "a bug in sprag",
        }
    }

    /// The table of all codes.
    pub(crate) fn table() -> String {
        Exit::ALL.iter().fold(String::from("Exit codes:\n"), |mut table, exit| {
            let _ = write!(table, "  {:>2} ", exit.code());
            let mut column = 0;
            for word in exit.meaning().split(' ') {
                if column + word.len() > MEANING_CHARS_MAX {
                    table.push_str("\n     ");
                    column = 0;
                }
                let _ = write!(table, " {word}");
                column += word.len() + 1;
            }
            table.push('\n');
            table
        })
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.code().into()
    }
}

/// An end that is not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What happened, to what. Empty when there is nobody to tell.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) mend: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Failure {
        Failure { exit, what: what.into(), mend: None }
    }

    pub(crate) fn mend(self, mend: impl Into<String>) -> Failure {
        Failure { mend: Some(mend.into()), ..self }
    }

    /// Standard output cannot be written to. When its reader has gone (`sprag list | head`), all is well.
    pub(crate) fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Ok, ""),
            _ => Failure::new(Exit::StateIo, format!("cannot write to standard output: {error}")),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let mend = error.how_to_mend().map(Into::into);
        Failure { exit: Exit::Configuration, what: error.to_string(), mend }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        let exit = match &error {
            JournalError::Corrupt { .. } | JournalError::Missing { .. } => Exit::Corrupt,
            JournalError::Version { .. } => Exit::OtherVersion,
            JournalError::Io { .. } => Exit::StateIo,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Failure {
        let exit = match &error {
            LockError::Held { .. } => Exit::Running,
            LockError::Unsafe { .. } => Exit::UnsafeFolder,
            LockError::Version { .. } => Exit::OtherVersion,
            LockError::Io { .. } => Exit::StateIo,
        };
        Failure::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_the_documented_ones() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 70]);
        assert!(Exit::table().lines().skip(1).all(|line| line.len() > 8), "{}", Exit::table());
        let readme = include_str!("../../../README.md");
        for exit in Exit::ALL {
            let row = format!("\n| {} | {} |\n", exit.code(), exit.meaning());
            assert!(readme.contains(&row), "README.md lacks {row:?}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        assert_eq!(Failure::output(&io::ErrorKind::BrokenPipe.into()).exit, Exit::Ok);
        assert_eq!(Failure::output(&io::ErrorKind::StorageFull.into()).exit, Exit::StateIo);
    }
}
