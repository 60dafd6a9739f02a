//! `sim`: runs seeds, tells the story of one, shrinks a failure, and checks that a seed is one story.
//!
//! **Invariant.** What is printed depends on the arguments and the program alone, but for how fast it went.

mod cli;

use clap::{Parser, Subcommand};
use cli::races::{Tale, Whose};
use cli::{How, Subject};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs sprag's own driver, Machine and journal in simulated worlds, one per seed.
#[derive(Parser)]
#[command(name = "sim", version, after_help = cli::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds, and say which ones fail.
    #[command(
        after_help = "Examples:\n  sim run --seeds 20000\n  sim run --seeds 500 --start 7000 --twice 1 --json\n  \
                            sim run --for 2m --start 4711"
    )]
    Run(cli::run::Run),
    /// The race catalogue: what can come of R0 to R29 in the original's design, with polling, and in sprag's.
    #[command(
        after_help = "Examples:\n  sim races\n  sim replay R17 --design original\n  sim races --seeds 4000 --json"
    )]
    Races(cli::races::Races),
    /// Tell the story of a seed, or of a saved trace.
    #[command(after_help = "Examples:\n  sim replay 42\n  sim replay sim-traces/seed-42.json --events\n  \
                            sim replay 42 --html story.html\n  sim replay R17 --design original\n  \
                            sim replay --incident ~/pipeline\n  \
                            sim replay --incident ~/pipeline --until 1042 --job 17")]
    Replay {
        /// A seed, the file of a trace, or a row of the race catalogue (R17).
        #[arg(value_name = "SUBJECT", required_unless_present = "incident")]
        tale: Option<Tale>,
        /// For a row of the race catalogue: in whose design.
        #[arg(long, value_enum, default_value_t = Whose::Sprag)]
        design: Whose,
        /// Run again what the flight recorder of a sprag wrote down: the folder of a pipeline, its `.sprag`, or a copy.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["tale", "calls", "design"])]
        incident: Option<PathBuf>,
        /// Of an incident: stop there, and show the state. A record's number, an input's (e12), seconds (4.5s), or a moment
        /// (@MILLISECONDS since 1970).
        #[arg(long, value_name = "POINT", requires = "incident")]
        until: Option<cli::incident::Point>,
        /// Of an incident: this job alone, what led to it, and why it is where it is.
        #[arg(long, value_name = "ID", requires = "incident")]
        job: Option<u64>,
        /// Of an incident: this life of sprag alone; 1 is the first on record. Without it, all are run and the last is told.
        #[arg(long, value_name = "N", requires = "incident")]
        life: Option<usize>,
        /// The events alone: what went wrong, what actors did, what sprag decided.
        #[arg(long)]
        events: bool,
        /// Every call that sprag makes of its system too.
        #[arg(long, conflicts_with = "events")]
        calls: bool,
        /// Write the story to this file as a page to look through, instead of printing it.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Measure how fast seeds go.
    #[command(after_help = "Example:\n  sim bench --seeds 2000")]
    Bench(cli::bench::Bench),
    /// Search small worlds to their end: every state of the Machine, every disk that a crash may leave to the journal.
    #[command(after_help = "Examples:\n  sim explore\n  sim explore machine --small\n  sim explore disks --json")]
    Explore(cli::explore::Explore),
    /// Run a seed or a trace twice, the second time in another process, and print the first thing that was not the same.
    #[command(after_help = "Example:\n  sim check 42")]
    Check {
        /// A seed, or the file of a trace.
        subject: Subject,
        #[command(flatten)]
        how: How,
    },
    /// Plant known bugs one by one, and say how long each hides and how small a world shows it.
    #[cfg(feature = "planted")]
    #[command(after_help = "Examples:\n  sim mutants\n  sim mutants --quick\n  \
                      sim mutants TornRead KeyForgotten --starts 5 --traces mutants\n  \
                      sim mutants --table > docs/planted-bugs.md")]
    Mutants(cli::mutants::Mutants),
    /// Plant known bugs one by one, and say how long each hides. Only in a build with `--features planted`; this is none.
    #[cfg(not(feature = "planted"))]
    Mutants {
        /// Whatever it would be asked.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        asked: Vec<String>,
    },
    /// Find the calmest world in which a seed or a trace still fails in the same way.
    #[command(
        after_help = "Examples:\n  sim shrink 42\n  sim shrink sim-traces/seed-42.json --out tests/traces/lost.json"
    )]
    Shrink {
        /// A seed that fails, or the file of a trace.
        subject: Subject,
        /// Where the shrunk trace goes.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// At most so many runs.
        #[arg(long, default_value_t = 20_000)]
        runs: u32,
        #[command(flatten)]
        how: How,
    },
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        if error.use_stderr() && std::env::args().any(|arg| arg == "--json") {
            cli::refuse(&error.to_string());
        }
        error.exit()
    });
    sim::quiet_panics();
    let code = match cli.command {
        Command::Run(run) => cli::run::run(&run),
        Command::Races(races) => cli::races::races(&races),
        Command::Replay { tale, design, incident, until, job, life, events, calls, html, how } => {
            let subject = match (incident, tale) {
                (Some(dir), _) => {
                    let asked = cli::incident::Asked { until, job, life, events, html };
                    return ExitCode::from(cli::incident::replay(&dir, &asked, &how));
                }
                (None, Some(Tale::Of(subject))) => subject,
                (None, Some(Tale::Race(id))) => match cli::races::replay(&id, design, html.as_deref(), &how) {
                    Ok(code) => return ExitCode::from(code),
                    Err(subject) => subject,
                },
                (None, None) => unreachable!("clap asks for one of them"),
            };
            cli::replay::replay(&subject, events, calls, html.as_deref(), &how)
        }
        Command::Bench(bench) => cli::bench::bench(&bench),
        Command::Explore(explore) => cli::explore::explore(&explore),
        Command::Check { subject, how } => cli::check::check(&subject, &how),
        #[cfg(feature = "planted")]
        Command::Mutants(mutants) => cli::mutants::mutants(&mutants),
        #[cfg(not(feature = "planted"))]
        Command::Mutants { asked } => cli::no_mutants(&asked),
        Command::Shrink { subject, out, runs, how } => cli::shrink::shrink(&subject, out.as_deref(), runs, &how),
    };
    ExitCode::from(code)
}
