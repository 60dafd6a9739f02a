//! `sim mutants`: the planted bugs, one after the other.

use super::spread::spread;
use super::{FAILED, USAGE, WELL, complain, save, say};
use clap::Args;
use serde_json::json;
use sim::Keep;
use sim::mutants::{Effort, Hunt, hunt};
use sim::saved::Trace;
use sim::shrink::{EVENTS_MAX, Shrunk};
use sprag_core::{Bug, Role};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// No more of what a search says is printed in a line.
const WHAT_CHARS_MAX: usize = 60;

/// What stands above the table's rows.
const TABLE: &str = "# Planted bugs

Made by `cargo run --release -p sim --features planted -- mutants --table > docs/planted-bugs.md`, never by hand.
What planted bugs are for stands in [simulation.md](simulation.md). The columns: who catches it; seeds until it is found, the
median of the starts and the worst; events in its shortest story; by which check it is found, or what a search says. With
`--quick` there is one start, the first that finds it is told, and no story is sought.

| planted | what is wrong with it | level | median | worst | events | found by |
|---|---|---|---|---|---|---|
";

/// Which, and how often.
#[derive(Args)]
pub(crate) struct Mutants {
    /// Only these; all if none is named.
    bugs: Vec<String>,
    /// How often each is looked for.
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// Whether each is found, and nothing more: the first thing that finds it will do, and nothing is shrunk.
    #[arg(long, conflicts_with_all = ["starts", "traces"])]
    quick: bool,
    /// Threads; as many as there are processors if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where the shrunk traces go; nowhere if not given.
    #[arg(long, value_name = "FOLDER")]
    traces: Option<PathBuf>,
    /// The page of the documentation that lists them, instead of lines; with names, its rows for those.
    #[arg(long, conflicts_with = "json")]
    table: bool,
    /// JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// What came of one, and its shrunk trace.
type Hunted = (Hunt, Option<Shrunk>);

pub(crate) fn mutants(args: &Mutants) -> u8 {
    let named: Result<Vec<Bug>, String> = args.bugs.iter().map(|name| super::bug_named(name)).collect();
    let bugs = match named {
        Ok(bugs) if bugs.is_empty() => Bug::ALL.to_vec(),
        Ok(bugs) => bugs,
        Err(what) => {
            complain(args.json, format_args!("{what}"));
            return USAGE;
        }
    };
    if args.table {
        say(format_args!("{}", TABLE.trim_end()));
    } else if !args.json {
        say(format_args!("{:<22} {:<16} {:>7} {:>6} {:>7}  found by", "planted", "level", "median", "worst", "events"));
    }
    let mut missed = 0;
    spread(
        super::jobs(args.jobs),
        bugs.len(),
        |place| one(bugs[place], args),
        |(hunt, shrunk)| {
            missed += usize::from(tell(&hunt, shrunk.as_ref(), args));
        },
    );
    if !args.json && !args.table {
        let alive = bugs.iter().filter(|bug| bug.role() == Role::Bug).count();
        let well = bugs.len() - missed;
        say(format_args!("{well} of {} are as they should be; {alive} of them bugs", bugs.len()));
        say(format_args!(
            "level: who catches it; seeds (simulation), races (sim races), states and disks (sim explore)"
        ));
    }
    if missed > 0 { FAILED } else { WELL }
}

fn one(bug: Bug, args: &Mutants) -> Hunted {
    let hunt = hunt(bug, if args.quick { Effort::Whether } else { Effort::Starts(args.starts) });
    let shrunk = if args.quick { None } else { hunt.shrink() };
    (hunt, shrunk)
}

/// Prints what came of one; true if that is not what should have.
fn tell(hunt: &Hunt, shrunk: Option<&Shrunk>, args: &Mutants) -> bool {
    let events = hunt.events(shrunk);
    let large = events.is_some_and(|events| events > EVENTS_MAX);
    let large = large.then(|| format!("its shortest story has more than {EVENTS_MAX} events"));
    let missed = hunt.missed.clone().or(large);
    keep(hunt, shrunk, args);
    if args.json {
        json_of(hunt, events, missed.as_deref());
    } else if args.table {
        row(hunt, events, missed.as_deref());
    } else {
        line(hunt, events, missed.as_deref());
    }
    missed.is_some()
}

/// Saves the shrunk trace, if that was asked for.
fn keep(hunt: &Hunt, shrunk: Option<&Shrunk>, args: &Mutants) {
    let name = format!("{:?}", hunt.bug);
    if let (Some(folder), Some(shrunk)) = (&args.traces, shrunk)
        && let Some(trace) = Trace::of(
            &shrunk.report,
            hunt.shown_by.first().copied().filter(|_| hunt.told.is_none()),
            Some(name.clone()),
        )
        // Nothing is planted any more.
        && let trace = trace.mended_in(&sim::run(shrunk.report.tape(), Keep::Hash))
        && let Err(what) = save(&trace, &folder.join(format!("{name}.json")))
    {
        complain(args.json, format_args!("{what}"));
    }
}

fn levels(hunt: &Hunt) -> Vec<&'static str> {
    match hunt.bug.role() {
        Role::Bug => hunt.levels(),
        Role::Leak => vec!["run twice"],
        Role::Control => vec!["control"],
    }
}

fn checks(hunt: &Hunt) -> Vec<String> {
    hunt.checks.keys().map(ToString::to_string).collect()
}

fn json_of(hunt: &Hunt, events: Option<u32>, missed: Option<&str>) {
    let explored = hunt.explored.iter().map(|explored| {
        let finding = &explored.finding;
        let said = json!({ "visited": explored.visited, "what": finding.what, "story": finding.story });
        (explored.level.as_str(), said)
    });
    let explored: BTreeMap<&str, _> = explored.collect();
    let said = json!({
        "planted": format!("{:?}", hunt.bug), "about": hunt.bug.about().trim(), "levels": levels(hunt),
        "median": hunt.median(), "worst": hunt.worst(), "starts": hunt.seeds, "events": events, "checks": checks(hunt),
        "explored": explored, "missed": missed,
    });
    say(format_args!("{said}"));
}

/// A line for people.
fn line(hunt: &Hunt, events: Option<u32>, missed: Option<&str>) {
    let (name, levels) = (format!("{:?}", hunt.bug), levels(hunt).join(","));
    let events = events.map_or_else(|| "-".into(), |events| events.to_string());
    let (median, worst, found) = (hunt.median(), hunt.worst(), found_by(hunt, missed));
    say(format_args!("{name:<22} {levels:<16} {median:>7} {worst:>6} {events:>7}  {found}"));
}

/// A row of the table in the documentation.
fn row(hunt: &Hunt, events: Option<u32>, missed: Option<&str>) {
    let about = hunt.bug.about().trim();
    let number = |n: u64| if n == 0 { "-".to_owned() } else { n.to_string() };
    let (median, worst, events) = (number(hunt.median()), number(hunt.worst()), number(events.unwrap_or(0).into()));
    let (levels, found) = (levels(hunt).join(", "), found_by(hunt, missed));
    say(format_args!("| `{:?}` | {about} | {levels} | {median} | {worst} | {events} | {found} |", hunt.bug));
}

fn found_by(hunt: &Hunt, missed: Option<&str>) -> String {
    match (missed, hunt.bug.role()) {
        (Some(what), _) => format!("MISSED: {what}"),
        (None, Role::Control) => "nothing, as it should be".into(),
        (None, Role::Leak) => "two runs that differ".into(),
        (None, Role::Bug) if hunt.checks.is_empty() => {
            let what = hunt.explored.first().map_or("", |explored| explored.finding.what.as_str());
            what.chars().take(WHAT_CHARS_MAX).collect()
        }
        (None, Role::Bug) => checks(hunt).join(", "),
    }
}
