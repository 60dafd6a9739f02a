//! The command line.
//!
//! **Invariant.** Every command shows an example in its help. What is said here is all there is: defaults that matter stand
//! in the help, and nothing is read from the environment but what a terminal can show.

use crate::exit::Exit;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sprag_core::StateName;
use std::path::PathBuf;

/// A crash-safe work queue and supervisor for pipelines that live in plain files.
#[derive(Debug, Parser)]
#[command(
    name = "sprag",
    version,
    arg_required_else_help = true,
    after_help = top_help(),
)]
pub(crate) struct Cli {
    /// The folder that holds sprag.toml.
    #[arg(short = 'C', value_name = "DIR", default_value = ".", global = true)]
    pub(crate) dir: PathBuf,
    /// Write JSON, one object a line, for programs to read.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn top_help() -> String {
    let example = "Example:\n  sprag run docs/examples/ideas --until-idle\n  sprag -C docs/examples/ideas list";
    format!("{example}\n\n{}", Exit::table())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Add(Add),
    List(List),
    Status(Status),
    Show(Show),
    #[command(subcommand)]
    Journal(Journal),
}

/// Run the pipeline: watch its sources, do its jobs, keep its services.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag run                      run the pipeline here until Ctrl-C
  sprag run docs/examples/ideas --until-idle
                                 do all there is to do, then end
  sprag run --until-idle --fail-on-dead && echo all done")]
pub(crate) struct Run {
    /// The folder that holds sprag.toml, seen from the one that -C names.
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// End when the oneshot services have ended, no job waits or runs, and every source was read once more.
    #[arg(long)]
    pub(crate) until_idle: bool,
    /// End with exit code 1 if a job is dead.
    #[arg(long)]
    pub(crate) fail_on_dead: bool,
}

/// Add a job, whether sprag runs or not.
///
/// The job is written to the drop-box, .sprag/inbox, and synced. The sprag that runs takes it at once; otherwise the next
/// one does.
#[derive(Debug, Args)]
#[command(after_help = r#"Examples:
  sprag add implement '{"id": "idea-9", "title": "a clock"}' --key idea-9
  sprag add implement --text 'a clock that runs backwards' --delay 10m
  jq -c .[0] ideas_log.json | sprag add implement - --priority 5
  sprag add report --at '2030-01-31 09:00'"#)]
pub(crate) struct Add {
    /// The queue, as sprag.toml names it.
    pub(crate) queue: String,
    /// What the command reads on its standard input: JSON, or `-` to read it from standard input here. Without it: null.
    pub(crate) payload: Option<String>,
    /// The payload is any text; the command gets it as a JSON string.
    #[arg(long)]
    pub(crate) text: bool,
    /// What makes the job unique in its queue: a key that is known makes no second job.
    #[arg(long, value_name = "K")]
    pub(crate) key: Option<String>,
    /// Higher runs first, -32768 to 32767.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i16,
    /// Not before so much time has passed: 500ms, 5s, 10m, 1h30m.
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration_ms, conflicts_with = "at")]
    pub(crate) delay: Option<u64>,
    /// Not before this moment: '2030-01-31 09:00' here, or 2030-01-31T09:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
}

/// List jobs and their states, in order of arrival.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag list
  sprag list --state dead --queue implement
  sprag list --json | jq 'select(.state == \"dead\") | .key'

With --json each line has: id, queue, key, state, attempt, priority, added_at_ms, changed_at_ms, due_at_ms (when
scheduled), reason (when dead), unpublished (when a result is not yet at its destination).")]
pub(crate) struct List {
    /// Only jobs in this state.
    #[arg(long, value_name = "S")]
    pub(crate) state: Option<StateArg>,
    /// Only jobs of this queue.
    #[arg(long, value_name = "Q")]
    pub(crate) queue: Option<String>,
    /// Only the last so many.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// A state as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateArg {
    /// Waits for its time.
    Scheduled,
    /// Waits for a place.
    Ready,
    /// An attempt is alive.
    Running,
    /// An attempt was alive when sprag died, and is not yet proved dead.
    Unknown,
    /// Done.
    Succeeded,
    /// Given up.
    Dead,
    /// Ended by request.
    Cancelled,
}

impl StateArg {
    pub(crate) fn name(self) -> StateName {
        match self {
            StateArg::Scheduled => StateName::Scheduled,
            StateArg::Ready => StateName::Ready,
            StateArg::Running => StateName::Running,
            StateArg::Unknown => StateName::Unknown,
            StateArg::Succeeded => StateName::Succeeded,
            StateArg::Dead => StateName::Dead,
            StateArg::Cancelled => StateName::Cancelled,
        }
    }
}

/// Show the pipeline: whether it runs, its health, its queues.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag status
  sprag status --json | jq .health")]
pub(crate) struct Status {}

/// Show a job's whole story: what happened to it, and when.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag show 3
  sprag show 3 --json            its records in the journal, one a line")]
pub(crate) struct Show {
    /// The job's number, as `sprag list` has it.
    #[arg(value_name = "JOB")]
    pub(crate) job: u64,
}

/// Look into the journal; nothing is changed, and sprag may run meanwhile.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  sprag journal verify
  sprag journal dump | jq -c 'select(.type == \"finished\")'")]
pub(crate) enum Journal {
    /// Check every frame, chain and snapshot.
    #[command(after_help = "Example:\n  sprag journal verify && cp -r .sprag /backup")]
    Verify,
    /// Write out every record, one JSON object a line.
    #[command(after_help = "Example:\n  sprag journal dump | jq -c 'select(.job == 3)'")]
    Dump,
}
