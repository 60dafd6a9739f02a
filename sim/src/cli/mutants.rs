//! `sim mutants`: the planted bugs, one after the other.

use super::{FAILED, USAGE, WELL, complain, save, say};
use clap::Args;
use serde_json::json;
use sim::mutants::{EVENTS_MAX, Hunt, hunt};
use sim::saved::Trace;
use sim::shrink::Shrunk;
use sprag_core::{Bug, Role};
use std::path::PathBuf;

/// Which, and how often.
#[derive(Args)]
pub(crate) struct Mutants {
    /// Only these; all if none is named.
    bugs: Vec<String>,
    /// How often each is looked for.
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// One start each, and nothing shrunk: whether each is found, in a few minutes.
    #[arg(long, conflicts_with_all = ["starts", "traces"])]
    quick: bool,
    /// Threads; as many as there are processors if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where the shrunk traces go; nowhere if not given.
    #[arg(long, value_name = "FOLDER")]
    traces: Option<PathBuf>,
    /// JSON, one object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn mutants(args: &Mutants) -> u8 {
    let named: Result<Vec<Bug>, String> = args.bugs.iter().map(|name| super::bug_named(name)).collect();
    let bugs = match named {
        Ok(bugs) if bugs.is_empty() => Bug::ALL.to_vec(),
        Ok(bugs) => bugs,
        Err(what) => {
            complain(format_args!("{what}"));
            return USAGE;
        }
    };
    if !args.json {
        say(format_args!("{:<22} {:<10} {:>7} {:>6} {:>7}  found by", "planted", "level", "median", "worst", "events"));
    }
    let jobs = super::jobs(args.jobs);
    let mut missed = 0;
    for some in bugs.chunks(jobs) {
        let hunted: Vec<(Hunt, Option<Shrunk>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|bug| scope.spawn(|| one(*bug, args))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        for (hunt, shrunk) in &hunted {
            missed += u32::from(tell(hunt, shrunk.as_ref(), args));
        }
        missed += (some.len() - hunted.len()) as u32;
    }
    if !args.json {
        let alive = bugs.iter().filter(|bug| bug.role() == Role::Bug).count();
        let well = bugs.len() as u32 - missed;
        say(format_args!("{well} of {} are as they should be; {alive} of them bugs", bugs.len()));
    }
    if missed > 0 { FAILED } else { WELL }
}

fn one(bug: Bug, args: &Mutants) -> (Hunt, Option<Shrunk>) {
    let hunt = hunt(bug, if args.quick { 1 } else { args.starts });
    let shrunk = if args.quick { None } else { hunt.shrink() };
    (hunt, shrunk)
}

/// Prints what came of one; true if that is not what should have.
fn tell(hunt: &Hunt, shrunk: Option<&Shrunk>, args: &Mutants) -> bool {
    let (name, events) = (format!("{:?}", hunt.bug), shrunk.map(|shrunk| shrunk.report.events));
    let large = events.is_some_and(|events| events > EVENTS_MAX);
    let large = large.then(|| format!("the shrunk trace has more than {EVENTS_MAX} events"));
    let missed = hunt.missed.clone().or(large);
    if let (Some(folder), Some(shrunk)) = (&args.traces, shrunk)
        && let Some(trace) = Trace::of(&shrunk.report, hunt.shown_by.first().copied(), Some(name.clone()))
        && let Err(what) = save(&trace, &folder.join(format!("{name}.json")))
    {
        complain(format_args!("{what}"));
    }
    let level = match hunt.bug.role() {
        Role::Bug if hunt.bug.is_of_the_adapter() => "tier 2",
        Role::Bug => "tier 1",
        Role::Leak => "run twice",
        Role::Control => "control",
    };
    let checks: Vec<String> = hunt.checks.keys().map(ToString::to_string).collect();
    if args.json {
        let said = json!({
            "planted": name, "about": hunt.bug.about().trim(), "level": level, "median": hunt.median(),
            "worst": hunt.worst(), "starts": hunt.seeds, "events": events, "checks": checks, "missed": missed,
        });
        say(format_args!("{said}"));
        return missed.is_some();
    }
    let events = events.map_or_else(|| "-".into(), |events| events.to_string());
    let found = match (&missed, hunt.bug.role()) {
        (Some(what), _) => format!("MISSED: {what}"),
        (None, Role::Control) => "nothing, as it should be".into(),
        (None, Role::Leak) => "two runs that differ".into(),
        (None, Role::Bug) => checks.join(", "),
    };
    say(format_args!("{name:<22} {level:<10} {:>7} {:>6} {events:>7}  {found}", hunt.median(), hunt.worst()));
    missed.is_some()
}
