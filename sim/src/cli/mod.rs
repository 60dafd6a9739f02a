//! The commands, one in each module, and what they share.
//!
//! **Invariant.** Each command says what came of it by its exit code, and with `--json` in lines that are objects.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod explore;
pub(crate) mod incident;
#[cfg(feature = "planted")]
pub(crate) mod mutants;
pub(crate) mod races;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod shrink;
mod spread;

use clap::Args;
use sim::saved::Trace;
use sim::{Keep, Report, Script, Tape};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// All is well.
pub(crate) const WELL: u8 = 0;
/// A run failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage, or a file that cannot be read or written.
pub(crate) const USAGE: u8 = 2;
/// Two runs of one seed were not the same.
pub(crate) const DIFFERS: u8 = 3;
/// A trace proves nothing any more.
pub(crate) const STALE: u8 = 4;

/// For the help.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0  all is well
  1  a run failed
  2  wrong usage, or a file that cannot be read or written
  3  two runs of one seed were not the same
  4  a saved trace is stale, or a recording is damaged or cut: it proves less than it should";

/// What every command takes.
#[derive(Args, Clone)]
pub(crate) struct How {
    /// JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// 1: the driver on an event heap. 2: the loop on tokio and the control API too, on a simulated network.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    tier: u8,
    /// Plant a known bug, to see that it is found.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "NAME", value_parser = bug_named)]
    plant: Option<sprag_core::Bug>,
}

#[cfg(feature = "planted")]
fn bug_named(name: &str) -> Result<sprag_core::Bug, String> {
    let names = || sprag_core::Bug::ALL.iter().map(|bug| format!("{bug:?}")).collect::<Vec<_>>().join(", ");
    let found = sprag_core::Bug::ALL.iter().find(|bug| format!("{bug:?}") == name).copied();
    found.ok_or_else(|| format!("the bugs are: {}", names()))
}

impl How {
    /// Runs a seed in the tier that was asked for.
    pub(crate) fn run(&self, seed: u64, keep: Keep) -> Report {
        sim::run(if self.tier == 2 { Script::Networked(seed) } else { Script::Seed(seed) }, keep)
    }

    /// The end of a command that runs a seed in the same way.
    pub(crate) fn suffix(&self) -> String {
        self.args().iter().map(|arg| format!(" {arg}")).collect()
    }

    /// The arguments with which another process runs the same.
    pub(crate) fn args(&self) -> Vec<String> {
        let planted = self.planted().map(|bug| ["--plant".to_owned(), bug]);
        let tier = (self.tier != 1).then(|| ["--tier".to_owned(), self.tier.to_string()]);
        planted.into_iter().chain(tier).flatten().collect()
    }

    /// Makes the bug that was asked for alive in this thread.
    pub(crate) fn plant(&self) {
        #[cfg(feature = "planted")]
        sprag_core::plant(self.plant);
    }

    /// Its name.
    #[cfg(feature = "planted")]
    pub(crate) fn planted(&self) -> Option<String> {
        self.plant.map(|bug| format!("{bug:?}"))
    }

    /// Its name.
    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn planted(&self) -> Option<String> {
        None
    }

    /// Plants what a trace was saved with.
    #[cfg(feature = "planted")]
    fn plant_as(&mut self, trace: &Trace) -> Result<(), String> {
        if let Some(name) = &trace.planted {
            self.plant = Some(bug_named(name)?);
        }
        Ok(())
    }

    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    fn plant_as(&mut self, trace: &Trace) -> Result<(), String> {
        let planted = trace.planted.as_ref();
        planted.map_or(Ok(()), |bug| Err(format!("{bug} was planted: build with `--features planted`")))
    }
}

/// What a command is about.
#[derive(Clone)]
pub(crate) enum Subject {
    Seed(u64),
    File(PathBuf),
    /// A world in which sprag lives through a row of the race catalogue.
    Race(String, Tape),
}

impl FromStr for Subject {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Subject, Self::Err> {
        Ok(text.parse().map_or_else(|_| Subject::File(text.into()), Subject::Seed))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Seed(seed) => write!(f, "seed {seed}"),
            Subject::File(path) => write!(f, "{}", path.display()),
            Subject::Race(id, _) => write!(f, "{id} in sprag's design"),
        }
    }
}

/// A subject, read.
pub(crate) enum Source {
    Seed(u64),
    Trace(Box<Trace>),
    Tape(Tape),
}

impl Source {
    /// Reads a subject and plants what it was saved with; says what is wrong.
    pub(crate) fn read(subject: &Subject, how: &How) -> Result<Source, u8> {
        let mut how = how.clone();
        let source = match subject {
            Subject::Seed(seed) => Ok(Source::Seed(*seed)),
            Subject::Race(_, tape) => Ok(Source::Tape(tape.clone())),
            Subject::File(path) => read_trace(path).and_then(|trace| {
                how.plant_as(&trace)?;
                Ok(Source::Trace(trace))
            }),
        };
        how.plant();
        source.map_err(|what| {
            complain(how.json, format_args!("{subject}: {what}"));
            USAGE
        })
    }

    pub(crate) fn run(&self, keep: Keep, how: &How) -> Report {
        match self {
            Source::Seed(seed) => how.run(*seed, keep),
            Source::Trace(trace) => sim::run(trace.tape(), keep),
            Source::Tape(tape) => sim::run(tape.clone(), keep),
        }
    }

    pub(crate) fn seed(&self) -> Option<u64> {
        match self {
            Source::Seed(seed) => Some(*seed),
            Source::Trace(trace) => trace.seed,
            Source::Tape(_) => None,
        }
    }

    pub(crate) fn planted(&self, how: &How) -> Option<String> {
        match self {
            Source::Seed(_) | Source::Tape(_) => how.planted(),
            Source::Trace(trace) => trace.planted.clone(),
        }
    }
}

fn read_trace(path: &Path) -> Result<Box<Trace>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Trace::parse(&text).map(Box::new)
}

/// Writes a trace to a file; says where it could not.
pub(crate) fn save(trace: &Trace, path: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let text = trace.to_json().map_err(|error| error.to_string())?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    std::fs::write(path, text).map_err(wrong)
}

#[expect(clippy::disallowed_methods, reason = "how fast it went is told to people, and decides nothing")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// How many threads.
pub(crate) fn jobs(asked: Option<usize>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1).max(1)
}

/// Writes a line; whoever closed the pipe wants no more of it.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// In a build without planted bugs: how to have them.
#[cfg(not(feature = "planted"))]
pub(crate) fn no_mutants(asked: &[String]) -> u8 {
    let command = "cargo run --release -p sim --features planted -- mutants";
    let asked: String = asked.iter().map(|arg| format!(" {arg}")).collect();
    let json = asked.contains("--json");
    complain(json, format_args!("bugs are planted only in a build with `--features planted`:\n    {command}{asked}"));
    USAGE
}

/// An object for whatever reads objects, that says what is in the way.
pub(crate) fn refuse(what: &str) {
    say(format_args!("{}", serde_json::json!({ "error": what })));
}

/// Says what is in the way to whoever called, and with `--json` to whatever reads the objects too.
pub(crate) fn complain(json: bool, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
    if json {
        refuse(&line.to_string());
    }
}

/// How many choices there are of each kind, for people.
pub(crate) fn tape_text(tape: &Tape) -> String {
    let strikes = tape.choices().filter(|choice| choice.strikes()).count();
    format!("{} choices, {strikes} of them faults", tape.len())
}
