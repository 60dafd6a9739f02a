//! The command line.
//!
//! **Invariant.** Every command shows an example in its help. What is said here is all there is: defaults that matter stand
//! in the help, and nothing is read from the environment but what a terminal can show, and `RUST_LOG`.

use crate::exit::Exit;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use sprag_core::StateName;
use std::path::PathBuf;

/// A crash-safe work queue and supervisor for pipelines that live in plain files.
#[derive(Debug, Parser)]
#[command(
    name = "sprag",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
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
    let example = "Examples:\n  sprag init && sprag run\n  sprag -C docs/examples/ideas status";
    format!("{example}\n\n{}", Exit::table())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Add(Add),
    List(List),
    Status(Status),
    Show(Show),
    Log(Log),
    Wait(Wait),
    /// End jobs, waiting or running.
    ///
    /// Those that wait end at once, those that run with TERM and, after the grace of their queue, KILL.
    Cancel(Jobs),
    Retry(Retry),
    /// Start nothing more in a queue.
    ///
    /// It lasts until `sprag resume`, across restarts too; what runs is left alone.
    Pause(Queue),
    /// Let a paused queue go on.
    Resume(Queue),
    Drain(Drain),
    Health(Health),
    Export(Export),
    #[command(subcommand)]
    Journal(Journal),
    Init(Init),
    Completions(Completions),
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
    /// End when the oneshot services have ended, no job waits or runs, and every source was read once more. If all that is
    /// left cannot be done (a faulty source, a result that cannot be put at its place), end after 10 s with exit code 12; at once
    /// when it is the jobs of a queue that is paused or no longer in sprag.toml.
    #[arg(long)]
    pub(crate) until_idle: bool,
    /// End with exit code 1 if a job is dead.
    #[arg(long)]
    pub(crate) fail_on_dead: bool,
    /// Also write what happens inside, for those who work on sprag; `RUST_LOG=trace` writes still more.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// Add a job, or many at once.
///
/// When a sprag runs here, it takes the job at once, and the answer has the job's number. Otherwise the job is written to
/// the drop-box, .sprag/inbox, and synced, and the next sprag takes it.
#[derive(Debug, Args)]
#[command(after_help = concat!(r#"Examples:
  sprag add implement '{"id": "idea-9", "title": "a clock"}' --key idea-9
  sprag add implement --text 'a clock that runs backwards' --delay 10m
  jq -c .[0] ideas_log.json | sprag add implement - --priority 5
  sprag add report --at '2030-01-31 09:00'
  sprag add implement '{"id": "idea-9"}' --wait && echo done
  jq -c .[] ideas_log.json | sprag add implement --lines - --key-at /id

With --lines each line of FILE is a payload of its own, and becomes a job; a line that is refused is named by its number "#,
r#"and the others go on. With --json: an answer a line, {"line":1,"status":201,"result":"added","job":7}."#))]
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
    #[arg(long, value_name = "TIME", value_parser = crate::config::delay_ms, conflicts_with = "at")]
    pub(crate) delay: Option<u64>,
    /// Not before this moment: '2030-01-31 09:00' here, or 2030-01-31T09:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Wait until the job is at an end, and end as `sprag wait` does; needs a sprag that runs.
    #[arg(long, conflicts_with = "lines")]
    pub(crate) wait: bool,
    /// A job for each line of this file, or of standard input (`-`); needs a sprag that runs.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "text", "key"])]
    pub(crate) lines: Option<PathBuf>,
    /// Where each line has its key: a JSON pointer such as /id. Without it the jobs have no keys.
    #[arg(long, value_name = "POINTER", requires = "lines", conflicts_with = "key",
        value_parser = crate::config::pointer_arg)]
    pub(crate) key_at: Option<String>,
}

/// List jobs and their states, in order of arrival.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag list
  sprag list --state dead --queue implement
  sprag list --sort due --limit 5          which five are due next
  sprag list --sort priority --reverse --limit 5
  sprag list --json | jq 'select(.state == \"dead\") | .key'

With --json each line has: id, queue, key, state, attempts, priority, added_at_ms, changed_at_ms, due_at_ms (when \
scheduled), reason (when dead), unpublished (when a result is not yet at its destination).")]
pub(crate) struct List {
    /// Only jobs in this state.
    #[arg(long, value_name = "S", value_parser = states())]
    pub(crate) state: Option<StateName>,
    /// Only jobs of this queue.
    #[arg(long, value_name = "Q")]
    pub(crate) queue: Option<String>,
    /// In this order; equals in order of arrival, which is the order without it.
    #[arg(long, value_name = "BY", value_enum)]
    pub(crate) sort: Option<Sort>,
    /// In the opposite order.
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Only so many: with --sort or --reverse the first of that order, else those that came last.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// An order of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// Order of arrival
    Id,
    /// By the moment they were added
    Created,
    /// By the moment of what last happened to them
    Changed,
    /// Those that wait for no moment last, either way
    Due,
    /// From scheduled to cancelled
    State,
    /// By queue
    Queue,
    /// By key; those without one first
    Key,
    /// By attempts so far
    Attempts,
    /// Higher priorities last
    Priority,
}

/// The states as the command line names them.
fn states() -> impl TypedValueParser<Value = StateName> {
    let meaning = |state| match state {
        StateName::Scheduled => "Waits for its time",
        StateName::Ready => "Waits for a place",
        StateName::Running => "An attempt is alive",
        StateName::Unknown => "An attempt was alive when sprag died, and is not yet proved dead",
        StateName::Succeeded => "Done",
        StateName::Dead => "Given up",
        StateName::Cancelled => "Ended by request",
    };
    let values = StateName::ALL.map(|state| PossibleValue::new(state.as_str()).help(meaning(state)));
    PossibleValuesParser::new(values).try_map(|word| StateName::named(&word).ok_or("no such state"))
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

/// Show what a job's command, or a service, has written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag log 3
  sprag log 3 -f                 until the job is at an end
  sprag log 3 --attempt 1
  sprag log producer -f          of the service, since it was last started

With --json each line has: job and attempt, or service; and text.")]
pub(crate) struct Log {
    /// The job's number, or the name of a service.
    #[arg(value_name = "JOB|SERVICE")]
    pub(crate) what: String,
    /// Go on until the job is at an end, over all its attempts; with a service, until sprag ends.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// This attempt only; without it, the last one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
    /// Byte by byte as it was written, and nothing else; otherwise what steers a terminal is shown, not done.
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

/// Wait until jobs are at an end.
///
/// Exit code 0 when all succeeded, 1 when one is dead or cancelled, 11 when time is up.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag wait 3
  sprag wait 3 4 5 --timeout 10m || echo not all done")]
pub(crate) struct Wait {
    /// The jobs' numbers.
    #[arg(value_name = "JOB", required = true)]
    pub(crate) jobs: Vec<u64>,
    /// No longer than this: 500ms, 5s, 10m, 1h30m.
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration_ms)]
    pub(crate) timeout: Option<u64>,
}

/// End jobs: those that wait at once, those that run with TERM and, after the grace of their queue, KILL.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sprag cancel 3 4")]
pub(crate) struct Jobs {
    /// The jobs' numbers.
    #[arg(value_name = "JOB", required = true)]
    pub(crate) jobs: Vec<u64>,
}

/// Let dead or cancelled jobs begin anew, at once and with all their attempts.
///
/// One that was cancelled while it waited for its time does not wait again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag retry 3
  sprag retry --dead implement   every dead job of the queue")]
pub(crate) struct Retry {
    /// The jobs' numbers.
    #[arg(value_name = "JOB", required_unless_present = "dead")]
    pub(crate) jobs: Vec<u64>,
    /// Every dead job of this queue.
    #[arg(long, value_name = "QUEUE", conflicts_with = "jobs")]
    pub(crate) dead: Option<String>,
}

/// Start nothing more in a queue (`pause`), or go on (`resume`). It lasts across restarts; what runs is left alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sprag pause implement\n  sprag resume implement")]
pub(crate) struct Queue {
    /// The queue, as sprag.toml names it.
    pub(crate) queue: String,
}

/// End the sprag that runs here in good order.
///
/// Nothing new is taken or started, what runs may finish.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag drain
  sprag drain --now              what runs is ended, which costs it no retry
  sprag drain --wait && sprag run
                                 take over what changed in sprag.toml")]
pub(crate) struct Drain {
    /// Wait for nobody: what runs gets TERM and, after the grace of its queue, KILL, and is tried again by the next sprag.
    #[arg(long)]
    pub(crate) now: bool,
    /// Wait until it has ended; then the next one can be started.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Say whether all is well: exit code 0 well, 1 degraded, 2 stalled or not running.
///
/// Any other code says that it could not be asked: 3 when DIR holds no pipeline.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag health || mail -s 'sprag is unwell' me < /dev/null
  sprag health --json | jq .reasons
  sprag health --diagnose        who waits for whom, when nothing moves")]
pub(crate) struct Health {
    /// Say of everything in the running program what it waits for, and for how long.
    #[arg(long)]
    pub(crate) diagnose: bool,
}

/// Write out every job with its payload, one JSON object a line.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  sprag export | jq -c 'select(.state == \"dead\") | .payload'

Each line has: id, queue, key, payload, priority, state, attempts, failures, added_at_ms, changed_at_ms, outcome (of the \
last attempt that ended).")]
pub(crate) struct Export {}

/// Write a sprag.toml to begin with.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sprag -C pipeline init")]
pub(crate) struct Init {}

/// Write out what a shell needs to complete command lines of sprag.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sprag completions bash > ~/.local/share/bash-completion/completions/sprag
  sprag completions zsh > ~/.zfunc/_sprag")]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
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
