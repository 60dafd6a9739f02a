//! One file for each command.
//!
//! **Invariant.** A command reads, says what it found, and ends in an [`Exit`] or a [`Failure`]; it neither exits nor
//! writes to standard error by itself.

mod add;
mod bulk;
mod control;
mod export;
mod health;
mod init;
mod journal;
mod list;
mod log;
mod run;
mod service_log;
mod show;
mod status;
mod wait;

use crate::cli::{Cli, Command, Completions};
use crate::config;
use crate::exit::{Exit, Failure};
use crate::out::Out;
use clap::CommandFactory as _;
use sprag_runtime::driver::count_text;
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
        Command::Log(args) => answer(|out| log::run(cli, args, out)),
        Command::Wait(args) => answer(|out| wait::run(cli, args, out)),
        Command::Cancel(args) => answer(|out| control::cancel(cli, args, out)),
        Command::Retry(args) => answer(|out| control::retry(cli, args, out)),
        Command::Pause(args) => answer(|out| control::pause(cli, args, out)),
        Command::Resume(args) => answer(|out| control::resume(cli, args, out)),
        Command::Drain(args) => answer(|out| control::drain(cli, args, out)),
        Command::Health(command) => answer(|out| health::run(cli, command, out)),
        Command::Export(_) => answer(|out| export::run(cli, out)),
        Command::Init(_) => answer(|out| init::run(cli, out)),
        Command::Completions(args) => answer(|out| completions(args, out)),
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

fn completions(args: &Completions, out: &mut Out) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sprag", &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Ok)
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

/// What a look at the folder adds to what the running sprag says of itself.
fn notes(cli: &Cli, state: &StateDir, running: Option<&str>, told: Vec<String>) -> Vec<String> {
    let rejected = std::fs::read_dir(state.inbox("rejected")).map_or(0, Iterator::count);
    let refused = || format!("drop-box: {} refused, see .sprag/inbox/rejected", count_text(rejected as u64, "file"));
    let rejected = (rejected > 0).then(refused);
    changed(cli, running).into_iter().chain(rejected).chain(told).collect()
}

/// What to know when sprag.toml is no longer what the running sprag was started with.
fn changed(cli: &Cli, running: Option<&str>) -> Option<String> {
    let now = config::digest(&cli.dir);
    let changed = running.is_some_and(|running| now.as_deref() != Some(running));
    changed.then(|| format!("{} changed since sprag was started: restart it to take the change over", config::FILE))
}

/// The words for a queue that is not there.
fn no_such_queue<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Failure {
    let known_text = known.clone().collect::<Vec<_>>().join(", ");
    let what = format!("there is no queue {name:?}{}", config::did_you_mean(name, known));
    let failure = Failure::new(Exit::Usage, what);
    if known_text.is_empty() { failure } else { failure.mend(format!("queues here: {known_text}")) }
}
