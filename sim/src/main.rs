//! `sim`: runs seeds, tells the story of one, and checks that a seed is one story.
//!
//! **Invariant.** What is printed depends on the arguments alone, but for seeds per second.

use clap::{Args, Parser, Subcommand};
use serde_json::json;
use sim::{Keep, Report};
use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// So many seeds per thread between two looks at the progress.
const BATCH: u64 = 64;
/// No more failures are printed one by one.
const FAILURES_MAX: usize = 20;

/// Runs sprag's own driver, Machine and journal in simulated worlds, one per seed.
///
/// Exit codes: 0 all is well; 1 a seed failed; 2 wrong usage; 3 two runs of one seed were not the same.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds, and say which ones fail.
    Run {
        /// How many.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        start: u64,
        /// Threads; as many as there are processors if not given.
        #[arg(long)]
        jobs: Option<usize>,
        #[command(flatten)]
        how: How,
    },
    /// Run one seed, and print all that happened.
    Replay {
        /// The seed.
        seed: u64,
        /// Every file system call of sprag too.
        #[arg(long)]
        calls: bool,
        #[command(flatten)]
        how: How,
    },
    /// Run one seed twice, and print the first thing that was not the same.
    Check {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Args, Clone)]
struct How {
    /// JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// Plant a known bug (`help` lists them), to see that it is found.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "NAME", value_parser = bug_named)]
    plant: Option<sprag_core::Bug>,
}

#[cfg(feature = "planted")]
fn bug_named(name: &str) -> Result<sprag_core::Bug, String> {
    let names = || sprag_core::Bug::ALL.map(|bug| format!("{bug:?}")).join(", ");
    let found = sprag_core::Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    found.ok_or_else(|| format!("the bugs are: {}", names()))
}

impl How {
    /// Makes the bug that was asked for alive in this thread.
    fn plant(&self) {
        #[cfg(feature = "planted")]
        sprag_core::plant(self.plant);
    }
}

thread_local! {
    /// Where the last panic of this thread was: the code under test may panic, and is not to be heard.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        PANIC.with(|panic| *panic.borrow_mut() = at);
    }));
    let code = match cli.command {
        Command::Run { seeds, start, jobs, how } => run(start, seeds, jobs, &how),
        Command::Replay { seed, calls, how } => replay(seed, calls, &how),
        Command::Check { seed, how } => check(seed, &how),
    };
    ExitCode::from(code)
}

/// Writes a line; whoever closed the pipe wants no more of it.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn run_one(seed: u64, keep: Keep, how: &How) -> Report {
    how.plant();
    PANIC.with(|panic| panic.borrow_mut().clear());
    let mut report = sim::run(seed, keep);
    if let Some(failure) = &mut report.failure {
        PANIC.with(|panic| failure.push_str(&panic.borrow()));
    }
    report
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    events: u64,
    simulated_us: u64,
    lives: u64,
    executions: u64,
    failures: usize,
}

fn run(start: u64, seeds: u64, jobs: Option<usize>, how: &How) -> u8 {
    let jobs = jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1).max(1) as u64;
    let terminal = std::io::stderr().is_terminal() && !how.json;
    let began = now();
    let mut sum = Sum::default();
    while sum.seeds < seeds {
        let (first, count) = (start + sum.seeds, (jobs * BATCH).min(seeds - sum.seeds));
        for report in batch(first, count, jobs, how) {
            sum.seeds += 1;
            sum.events += u64::from(report.events);
            sum.simulated_us += report.simulated_us;
            sum.lives += u64::from(report.lives);
            sum.executions += report.executions;
            if let Some(failure) = &report.failure {
                sum.failures += 1;
                failed(report.seed, failure, sum.failures, how);
            }
        }
        if terminal {
            let _ = write!(std::io::stderr(), "\r{} of {seeds} seeds, {} failed ", sum.seeds, sum.failures);
        }
    }
    if terminal {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    summary(&sum, now().duration_since(began).as_secs_f64(), how);
    u8::from(sum.failures > 0)
}

#[expect(clippy::disallowed_methods, reason = "how fast it went is told to people, and decides nothing")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Runs `count` seeds from `first` on; the reports come in the order of the seeds.
fn batch(first: u64, count: u64, jobs: u64, how: &How) -> Vec<Report> {
    let mut reports: Vec<Report> = std::thread::scope(|scope| {
        let threads = (0..jobs).map(|job| {
            let seeds = (first + job..first + count).step_by(jobs as usize);
            scope.spawn(move || seeds.map(|seed| run_one(seed, Keep::Hash, how)).collect::<Vec<_>>())
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    reports.sort_by_key(|report| report.seed);
    reports
}

fn failed(seed: u64, failure: &str, failures: usize, how: &How) {
    if how.json {
        say(format_args!("{}", json!({ "seed": seed, "failure": failure, "replay": format!("sim replay {seed}") })));
    } else if failures <= FAILURES_MAX {
        say(format_args!("seed {seed}: {failure}\n    sim replay {seed}"));
    } else if failures == FAILURES_MAX + 1 {
        say(format_args!("and more"));
    }
}

fn summary(sum: &Sum, seconds: f64, how: &How) {
    let Sum { seeds, events, simulated_us, lives, executions, failures } = *sum;
    let (rate, simulated_s) = (seeds as f64 / seconds, simulated_us / 1_000_000);
    if how.json {
        let summary = json!({
            "seeds": seeds, "failures": failures, "events": events, "simulated_s": simulated_s, "lives": lives,
            "executions": executions, "seconds": seconds, "seeds_per_s": rate,
        });
        say(format_args!("{summary}"));
    } else {
        say(format_args!(
            "{seeds} seeds, {failures} failed; {events} events, {lives} lives of sprag, {executions} commands, \
             {simulated_s} simulated seconds; {rate:.0} seeds/s"
        ));
    }
}

fn replay(seed: u64, calls: bool, how: &How) -> u8 {
    let report = run_one(seed, if calls { Keep::Calls } else { Keep::Lines }, how);
    for line in &report.lines {
        if how.json {
            let line = json!({
                "number": line.number, "at_us": line.at_us, "actor": line.actor.to_string(), "kind": line.kind,
                "text": line.text, "cause": line.cause,
            });
            say(format_args!("{line}"));
        } else {
            say(format_args!("{line}"));
        }
    }
    if how.json {
        let choices: Vec<String> = report.choices.iter().map(ToString::to_string).collect();
        let end = json!({
            "seed": seed, "hash": format!("{:016x}", report.hash), "failure": report.failure, "choices": choices,
        });
        say(format_args!("{end}"));
    } else {
        say(format_args!("\nwhat went wrong in this world ({} choices):", report.choices.len()));
        report.choices.iter().for_each(|choice| say(format_args!("  {choice}")));
        let verdict = report.failure.as_deref().unwrap_or("all is well");
        say(format_args!("seed {seed}, hash {:016x}: {verdict}", report.hash));
    }
    u8::from(report.failure.is_some())
}

fn check(seed: u64, how: &How) -> u8 {
    let (one, two) = (run_one(seed, Keep::Calls, how), run_one(seed, Keep::Calls, how));
    let same = one.hash == two.hash;
    let differs = one.lines.iter().zip(&two.lines).find(|(one, two)| one != two);
    if how.json {
        let differs = differs.map(|(one, two)| [one.to_string(), two.to_string()]);
        say(format_args!("{}", json!({ "seed": seed, "same": same, "first_difference": differs })));
    } else if same {
        say(format_args!("seed {seed}: the same twice, {} events, hash {:016x}", one.events, one.hash));
    } else {
        say(format_args!("seed {seed}: two runs, {:016x} and {:016x}; the first difference:", one.hash, two.hash));
        match differs {
            Some((one, two)) => say(format_args!("{one}\n{two}")),
            None => say(format_args!("one goes on after line {}", one.lines.len().min(two.lines.len()))),
        }
    }
    if same { u8::from(one.failure.is_some()) } else { 3 }
}
