//! One file for each command.
//!
//! **Invariant.** A command reads, says what it found, and ends in an [`Exit`] or a [`Failure`]; it neither exits nor
//! writes to standard error by itself.

mod add;
mod journal;
mod list;
mod run;
mod show;
mod status;

use crate::cli::{Cli, Command};
use crate::config;
use crate::exit::{Exit, Failure};
use crate::out::Out;
use sprag_runtime::pipeline::StateDir;
use std::path::Path;

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Run(args) => run::run(cli, args),
        Command::Add(args) => answer(|out| add::run(cli, args, out)),
        Command::List(args) => answer(|out| list::run(cli, args, out)),
        Command::Status(_) => answer(|out| status::run(cli, out)),
        Command::Show(args) => answer(|out| show::run(cli, args, out)),
        Command::Journal(what) => answer(|out| journal::run(cli, what, out)),
    }
}

/// Runs a command that only answers.
fn answer(command: impl FnOnce(&mut Out) -> Result<Exit, Failure>) -> Result<Exit, Failure> {
    let mut out = Out::new();
    let exit = command(&mut out)?;
    out.flush()?;
    Ok(exit)
}

/// The state folder of the pipeline in `dir`. Reading it needs no valid configuration, but there must be a pipeline.
fn state_of(dir: &Path) -> Result<StateDir, Failure> {
    let state = StateDir::of(dir);
    let there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
    if !there(state.path()) && !there(&dir.join(config::FILE)) {
        let what = format!("there is neither a {} nor a folder .sprag in {}", config::FILE, dir.display());
        return Err(Failure::new(Exit::Configuration, what).mend("name the folder of the pipeline: sprag -C DIR ..."));
    }
    Ok(state)
}

/// The words for a queue that is not there.
fn no_such_queue<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Failure {
    let known_text = known.clone().collect::<Vec<_>>().join(", ");
    let what = format!("there is no queue {name:?}{}", config::did_you_mean(name, known));
    let failure = Failure::new(Exit::Usage, what);
    if known_text.is_empty() { failure } else { failure.mend(format!("queues here: {known_text}")) }
}
