//! `sim explore`: the searches without chance, as many at once as there are threads.

use super::spread::spread;
use super::{FAILED, How, WELL, say};
use clap::{Args, ValueEnum};
use serde_json::json;
use sim::explore::{Bound, Level, Search, searches};
use std::io::{IsTerminal as _, Write as _};

/// Which, and how far.
#[derive(Args)]
pub(crate) struct Explore {
    /// Only this level; both if none is named.
    level: Option<Which>,
    /// As far as plain `cargo test` goes, and no further.
    #[arg(long)]
    small: bool,
    /// Threads; as many as there are processors if not given.
    #[arg(long)]
    jobs: Option<usize>,
    #[command(flatten)]
    how: How,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    /// All states of the Machine in small worlds.
    Machine,
    /// All disks that crashes of small workloads leave to the journal.
    Disks,
}

pub(crate) fn explore(args: &Explore) -> u8 {
    let level = args.level.map(|which| match which {
        Which::Machine => Level::Machine,
        Which::Disks => Level::Disks,
    });
    let bound = if args.small { Bound::Small } else { Bound::Full };
    let bar = std::io::stderr().is_terminal() && !args.how.json;
    let mut plans = searches(bound);
    plans.retain(|plan| level.is_none_or(|level| plan.level() == level));
    let work = |place: usize| {
        args.how.plant();
        let (plan, began) = (&plans[place], super::now());
        let search = plan.run(&mut |done, known| show(bar, &plan.name(), done, known));
        (search, super::now().duration_since(began).as_secs_f64())
    };
    let mut code = WELL;
    spread(super::jobs(args.jobs), plans.len(), work, |(search, seconds)| {
        if bar {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        tell(&search, seconds, args.how.json);
        if !search.is_well() {
            code = FAILED;
        }
    });
    code
}

fn show(on: bool, name: &str, done: usize, known: usize) {
    const WIDTH: usize = 30;
    if on {
        let filled = done * WIDTH / known.max(1);
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(WIDTH - filled));
        // In one piece: others write there too.
        let line = format!("\r\x1b[K[{bar}] {done} of {known} known: {name} ");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn tell(search: &Search, seconds: f64, as_json: bool) {
    let Search { name, visited, depth, notes, cut, finding } = search;
    if as_json {
        let notes: serde_json::Map<String, _> = notes.iter().map(|(what, n)| ((*what).into(), json!(n))).collect();
        let finding = finding.as_ref().map(|finding| json!({ "what": finding.what, "story": finding.story }));
        let said = json!({
            "search": name, "visited": visited, "depth": depth, "exhaustive": search.is_well(), "cut": cut,
            "seconds": seconds, "notes": notes, "finding": finding,
        });
        return say(format_args!("{said}"));
    }
    let result = match (finding, cut) {
        (Some(_), _) => "FOUND SOMETHING".to_owned(),
        (None, Some(why)) => format!("CUT OFF: {why}"),
        (None, None) => "all of it, and all is well".to_owned(),
    };
    let notes: Vec<String> = notes.iter().map(|(what, n)| format!("{n} {what}")).collect();
    say(format_args!("{name}: {visited} states, depth {depth}, {} ({seconds:.1} s): {result}", notes.join(", ")));
    if let Some(finding) = finding {
        say(format_args!("{finding}"));
    }
}
