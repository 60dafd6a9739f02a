//! The `sprag` command: all of it, so that its parts can be tested with bytes as they come.
//!
//! **Invariant.** Whatever happens, it ends with one of the codes of `exit::Exit`; errors go to standard error as what
//! happened and what to do, answers to standard output.

mod cli;
mod client;
mod commands;
mod config;
mod exit;
mod folder;
mod notice;
mod out;
mod past;
mod printer;
mod signals;
mod words;

use clap::Parser as _;
use exit::{Exit, Failure};
use sprag_runtime::live;
use sprag_runtime::pipeline::Pipeline;
use std::io::Write as _;
use std::path::Path;
use std::process::{ExitCode, Termination};

/// Does what the arguments of this process say, and ends with the exit code that fits.
pub fn main() -> impl Termination {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == live::ENTER) {
        let (code, why) = live::enter(args);
        // It goes to the log of the command that was to be.
        let _ = writeln!(std::io::stderr().lock(), "sprag: {why}");
        return ExitCode::from(code);
    }
    command().report()
}

/// What a `sprag.toml` of these bytes means, in a folder that need not exist.
///
/// # Errors
/// What is wrong with it, where, and what was meant.
pub fn parse_config(bytes: &[u8]) -> Result<Pipeline, String> {
    config::parse("/pipeline".into(), Path::new(config::FILE), bytes).map_err(|error| error.to_string())
}

fn command() -> Exit {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Help and version are answers, not errors; a reader that has gone does not matter either way.
            if message.use_stderr() && std::env::args_os().any(|arg| arg == "--json") {
                say(&Failure::new(Exit::Usage, plainly(&message)), true);
                return Exit::Usage;
            }
            let _ = message.print();
            return if message.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    end_at_bugs(cli.json);
    match commands::run(&cli) {
        Ok(exit) => exit,
        Err(failure) => {
            say(&failure, cli.json);
            failure.exit
        }
    }
}

/// A broken assertion ends the whole program, whichever thread it broke on: its state is not to be trusted any more, and
/// what was acknowledged lies in the journal.
fn end_at_bugs(json: bool) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        let what = "this is a bug: one of our own promises did not hold; which one stands above";
        let mend = "keep a copy of the folder .sprag and report it; what was acknowledged is safe, run again";
        say(&Failure::new(Exit::Bug, what).mend(mend), json);
        std::process::exit(Exit::Bug.code().into());
    }));
}

/// What is wrong with the command line, on one line.
fn plainly(message: &clap::Error) -> String {
    let text = message.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ").trim_start_matches("error: ").into()
}

/// A failure as a program reads it.
#[derive(serde::Serialize)]
struct Told<'a> {
    error: &'a str,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<&'a str>,
}

/// Tells a person, or with `json` a program, what happened and what to do.
fn say(failure: &Failure, json: bool) {
    if failure.what.is_empty() {
        return;
    }
    if json {
        let told = Told { error: &failure.what, exit: failure.exit.code(), mend: failure.mend.as_deref() };
        let line = serde_json::to_string(&told).unwrap_or_default() + "\n";
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
        return;
    }
    let mut text = format!("sprag: {}\n", failure.what);
    if let Some(mend) = &failure.mend {
        text.push_str(&format!("  to mend it: {mend}\n"));
    }
    // There is nobody left to tell.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
